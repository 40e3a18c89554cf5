/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runtime timers: an object of the caller's, armed with a deadline and a function.
 *
 * The function runs on the poller thread, which is no worker: it may take
 * runtime locks and call gs_ready, and must not block. When gs_rtimer_stop
 * returns true the function will not run; when it returns false it has run or
 * is running: gs_rtimer_sync waits for that run to end, so that the object can go.
 * After the function called gs_ready nobody touches the timer any more, so a fiber
 * woken by its own timer need not sync.
 */
#ifndef GS_TIMER_H
#define GS_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct gs_heap;

/*
 * Zeroed, then fn set, is initialised. when, due, child, next, prev, rank and h->root are
 * protected by the heap's lock. armed is set by the owner; cleared, with release, under
 * the heap's lock as the last thing that is done with a timer there: so an owner who
 * reads false with acquire has it to himself, without the lock.
 */
struct gs_rtimer {
	int64_t when; /* ns CLOCK_MONOTONIC: its place in the heap */
	int64_t due;  /* when it shall fire: not earlier */
	void (*fn)(struct gs_rtimer *t);
	struct gs_heap *heap; /* owner: the one it is or was armed in */
	struct gs_rtimer *child, *next, *prev;
	uint32_t rank; /* grows when it is paired: timer.c */
	bool armed;
};

/*
 * The owner's side. Between gs_rt_enter and gs_rt_leave; the owner sees to it that
 * calls on one timer do not overlap.
 */

/*
 * Arm it, or if it is armed move it. True: call gs_poller_wake, after locks that
 * the timer's function takes have been released.
 */
bool gs_rtimer_set(struct gs_rtimer *t, int64_t when);

/* The same, and wakes the poller where necessary. */
void gs_rtimer_arm(struct gs_rtimer *t, int64_t when);

/* The same if it is armed, and for an earlier time; else false, and nothing is changed. */
bool gs_rtimer_put_off(struct gs_rtimer *t, int64_t when);

bool gs_rtimer_stop(struct gs_rtimer *t);

/* Any context. */
void gs_rtimer_sync(struct gs_rtimer *t);

/*
 * In a timer's function: it touches the timer no more, so that sync need not wait for
 * what it does yet.
 */
void gs_rtimer_done(void);

/* The poller's side: run what is due; returns the earliest deadline left, or 0. */
int64_t gs_timers_run(int64_t now);

/* The earliest deadline of all heaps, 0 none. Any thread. */
int64_t gs_timers_next(void);

/* Timers armed or firing now; exact when all procs are idle. */
bool gs_timers_pending(void);

void gs_timers_init(void);

/* In the child of a fork, from the one thread there is: no timer fires. */
void gs_timers_forked(void);

#endif /* GS_TIMER_H */
