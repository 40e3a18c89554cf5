/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the posix backend share: backend_posix.c and posix_*.c. */
#ifndef GS_POSIX_H
#define GS_POSIX_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "backend.h"
#include "base/atomic.h"
#include "base/syscall.h"

#define GS_POSIX_NOBODY 0xffffffffu

/* backend_posix.c: the worker that holds p; is it outside the runtime; its thread. */
uint32_t gs_posix_owner(uint32_t p);
bool gs_posix_outside(uint32_t id);
int32_t gs_posix_tid(uint32_t id);

/*
 * Take p from worker `id`, which is asleep and whose thread has used `cpu` ns so far, and
 * offer it. False: it is inside the runtime or has run since. By sysmon alone.
 */
bool gs_posix_retake(uint32_t p, uint32_t id, int64_t cpu);

/*
 * The timer of worker `slot`, which runs on this very thread, rang, or it was kicked; the
 * caller raised the depth from 0. What to tell the fiber: a reason bit, or 0.
 */
uint32_t gs_posix_tick(struct gs_slot *slot, bool kick);
struct gs_slice *gs_posix_slice(struct gs_slot *slot);

/* The same inside the runtime, where no lock can be taken: shall it yield when it leaves? */
bool gs_posix_tick_inside(struct gs_slot *slot, bool kick);

/* The CPU clock of another thread, as pthread_getcpuclockid makes it, but by tid. */
static inline clockid_t gs_posix_cpuclock(int32_t tid)
{
	return (clockid_t)((~(uint32_t)tid << 3) | 6);
}

/* ns the thread has run, or < 0 when it is gone. */
static inline int64_t gs_posix_cpu(int32_t tid)
{
	struct timespec ts;
	long r = gs_syscall3(SYS_clock_gettime, gs_posix_cpuclock(tid), &ts, 0);

	return r ? r : ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* posix_sysmon.c: the letter of a thread's state, 0 gone; sysmon itself; and a proc was idle and is
 * held now. */
char gs_posix_state(int32_t tid);
void *gs_sysmon(void *arg);
extern uint32_t gs_sysmon_word;	 /* atomic, futex */
extern uint32_t gs_sysmon_rests; /* atomic */

static inline void gs_sysmon_awake(void)
{
	if (gs_unlikely(gs_load_relaxed(&gs_sysmon_rests))) {
		gs_fetch_add_seq(&gs_sysmon_word, 1);
		gs_futex_wake(&gs_sysmon_word, 1);
	}
}

/*
 * posix_slice.c: a worker's timer, which rings while its thread runs. arm, disarm and free
 * under the backend's lock, over by the worker itself.
 */
struct gs_slice {
	bool made, armed;
	int32_t timer;
	uint32_t proc, tick; /* the fiber that ran at the last look */
	int64_t since;	     /* CPU time of the thread at the first look at it */
	stack_t stack;	     /* the thread's alternate one */
};

/* Can fibers be interrupted? */
bool gs_slice_init(const struct gs_upcall_setup *upcall);

bool gs_slice_possible(void);

/* Interrupt the fiber on that thread, wherever it is. */
void gs_slice_kick(int32_t tid);

/* now: as soon as the thread runs. */
void gs_slice_arm(struct gs_slice *s, int32_t tid, bool now);
void gs_slice_disarm(struct gs_slice *s);
void gs_slice_attach(struct gs_slice *s); /* by the worker itself */
void gs_slice_free(struct gs_slice *s);

/* Has the fiber that runs on proc, at its tick, run a whole slice? */
bool gs_slice_over(struct gs_slice *s, uint32_t proc, uint32_t tick);

#endif /* GS_POSIX_H */
