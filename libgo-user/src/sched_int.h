/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the scheduler's own files share: sched.c, worker.c, timer.c, poller.c, init.c. */
#ifndef GS_SCHED_INT_H
#define GS_SCHED_INT_H

#include <gsched/runtime.h>

#include "worker.h"

/* Enqueue (2) and (3) of the protocol: after a fiber was put into a queue. */
void gs_wake_idle(void);

/* After the backend's start, before the first worker. */
void gs_sched_init(void);

/* Backend's set_procs, by any thread: every change of their number goes through here. */
int gs_sched_set_procs(int n);

/* Run fibers with the granted proc until there are none. On g0, depth 1. */
void gs_sched_run(struct gs_worker *w, int grant);

/* Take notice of what slot->proc says: after an upcall. Depth 1. */
void gs_sched_sync(struct gs_worker *w);

/* A frozen fiber's worker was granted a proc: it goes on. Depth 1. */
void gs_sched_thaw(struct gs_worker *w, struct gs_fiber *f, int grant);

/* The calling worker goes over to this context; the one it held is the caller's. Depth 1. */
void gs_sched_hold_tls(struct gs_worker *w, struct gs_tls *t);

/*
 * The fiber on w was interrupted: it goes into the global queue with the context that it
 * was interrupted on, and w goes on with a fresh one. Returns when the fiber runs again,
 * perhaps on another worker. On the upcall area, depth 1.
 */
void gs_sched_travel(struct gs_worker *w, struct gs_tls *fresh);

/*
 * w, whose fiber f goes on there only, waits for a proc: the grant. r: what a first
 * attempt returned, < 0 if none. Depth 1.
 */
int gs_sched_await_bound(struct gs_worker *w, struct gs_fiber *f, int r);

/*
 * f, on w, was interrupted and is queued in gs_bound: w's proc goes to the worker of next, which
 * the caller took off that queue before. What gs_sched_await_bound begins with. Depth 1.
 */
int gs_sched_exchange(struct gs_worker *w, struct gs_fiber *f, struct gs_fiber *next);

/* Does anybody wait who could run instead of the fiber on w? */
bool gs_sched_has_work(struct gs_worker *w);

/* The calling fiber's slice is over: it goes behind all others. Not entered. */
void gs_sched_preempted(void);

/* Express fibers wait while another one runs: the poller's. Set before the first worker. */
extern void (*gs_late_hook)(void);

/* gs_poller_look. Set before the first worker. */
extern bool (*gs_look_hook)(bool idle);

/* A fiber that leaves its stack has overrun it (gs_stack_whole); set before the first fiber. */
extern void (*gs_overrun_hook)(const struct gs_fiber *f);

/* How long a worker without work waits before it asks gs_idle_hook. */
#define GS_IDLE_CHECK_NS 20000000

/* Completes the park of whoever ran here before. On every arrival from a switch. */
void gs_sched_finish(void);

/* Leave this fiber for good; commit gets it when nobody is on its stack. Entered. */
_Noreturn void gs_sched_die(gs_commit_fn commit);

/* A fiber that gs_fiber_start will start, one that ended or a new one; NULL. Depth 0. */
struct gs_fiber *gs_fiber_get(void (*fn)(void *), void *arg);

/* Publish a new fiber. Entered. */
void gs_fiber_start(struct gs_fiber *f);

/* Every fiber has TLS of its own: GSCHED_TLS=fiber. Before the first fiber. */
extern bool gs_tls_each;

/* A context for a fiber that shall have its own: 0, -EOPNOTSUPP, -ENOMEM. Depth 0. */
int gs_fiber_get_own(struct gs_tls **own);

/* Fibers of gs_run that left by gs_exit: atomic. */
extern uint32_t gs_mains_left;

/* The calling thread is the poller: what it readies goes to the express queue. */
void gs_thread_set_poller(void);

/* The first C function of a fiber; called by gs_fiber_entry. */
_Noreturn void gs_fiber_main(struct gs_fiber *f);

#endif /* GS_SCHED_INT_H */
