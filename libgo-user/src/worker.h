/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker: a thread attached to the scheduler. Its own stack (g0) runs the search
 * for work and waits in the backend; fibers switch to each other directly while
 * their proc has work at hand.
 */
#ifndef GS_WORKER_H
#define GS_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "proc.h"
#include "sched.h"

#pragma GCC visibility push(hidden)

/* All fields belong to the worker itself; [D] dumps read them, relaxed. */
struct gs_worker {
	struct gs_slot *slot;
	uint32_t id;
	uint32_t proc_tag;    /* slot->proc as last seen: proc's index + 1 */
	struct gs_proc *proc; /* valid while slot->proc == proc_tag */
	/* the proc's owner word; without a proc one that is never ours: see gs_holds_proc */
	const uint32_t *owner;
	struct gs_fiber *cur;	 /* D: the fiber running here, NULL in g0 */
	struct gs_fiber *locked; /* the fiber that is locked to this thread: it runs no other */
	struct gs_fiber *prev;	 /* who was just left; gs_sched_finish completes it */
	gs_commit_fn commit;	 /* prev's */
	void *commit_arg;
	bool gathers;  /* what becomes ready outside is queued here, in order */
	bool spinning; /* it is counted in header.spinning */
	bool ending;   /* its locked fiber has ended, or it is in excess: so does the thread */
	bool excess;   /* made in excess; where one ends it may be another */
	uint32_t rng;
	struct gs_stackref g0;
	char *upcall_area;  /* top of it; NULL: it is tls's */
	char *signal_stack; /* bottom of it */
	uint32_t signal_size;
	bool signal_ours;	   /* unmapped with the worker */
	struct gs_tls *tls;	   /* the context it holds, NULL: its thread's own */
	struct gs_tls *spare;	   /* what it held before its fiber brought its own */
	void *native_tp;	   /* I: its thread's own thread pointer */
	int64_t put_off;	   /* since when a preemption is, which hit libc's code */
	uint32_t put_off_turn;	   /* in which turn of the proc's */
	uint64_t travels, freezes; /* D: how often a fiber did so */
	struct gs_worker *next;	   /* list of all, see worker.c */
	uint32_t tid;		   /* D */
	uint32_t turn;		   /* gs_bound.lock, and who queues its fiber: gs_bound_first */
};

/* Where owner points without a proc: no worker's id + 1. */
extern const uint32_t gs_nobody;

/* The proc it holds as the runtime knows it; NULL. Depth raised. */
static inline struct gs_proc *gs_proc_of(const struct gs_worker *w)
{
	return w->proc_tag ? w->proc : NULL;
}

/* The worker of the calling fiber; NULL on an ordinary thread. Depth raised. */
struct gs_worker *gs_worker_self(void);

/* Start the spawner and through it the first stand-bys. 0 or -errno. */
int gs_workers_start(void);

/* Fewer than two stand-bys: the spawner makes another. Never blocks. Any thread. */
void gs_spawner_wake(void);

/* The calling worker got a proc while it was parked: one stand-by less. */
void gs_worker_granted(void);

/*
 * Threads beyond the cap (worker.c). While there are any a worker without work asks may_end:
 * true, and it must.
 */
extern uint32_t gs_excess; /* atomic */
bool gs_worker_may_end(void);

/* What all workers counted, those that ended too, and their number now. (T) */
struct gs_stats;
void gs_workers_count(struct gs_stats *s);

/* A stand-by that is not needed ends after so many ns without work. Before the first. */
extern int64_t gs_retire_ns;

/*
 * Threads the runtime made: workers, spawner, poller. Counted once they exist, so it
 * is never above the truth: the deadlock check takes the rest for the program's.
 */
extern uint32_t gs_nthreads; /* atomic */

/* Of these, those of gs_thread_start. */
extern uint32_t gs_nblind; /* atomic */

/* Called on an idle worker's thread when all has been idle for a while. */
extern void (*gs_idle_hook)(int64_t *next);

/* A detached thread of the runtime's own, all signals blocked. 0 or -errno. */
int gs_thread_start(void *(*fn)(void *), void *arg, size_t stack);

#pragma GCC visibility pop

#endif /* GS_WORKER_H */
