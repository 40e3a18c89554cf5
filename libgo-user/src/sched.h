/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scheduler's contract with everything above it: channels, select, sync,
 * timers, context, I/O are clients of two primitives, gs_park and gs_ready.
 *
 * A client looks like this:
 *
 *	gs_rt_enter();                      // depth raised, a proc is held
 *	gs_lock_acquire(&c->lock);
 *	...
 *	f = gs_self();
 *	enqueue (f, ...) on c;
 *	gs_park(unlock_commit, c, GS_WAIT_CHAN_RECV);
 *	... whoever took f off the queue called gs_ready(f) ...
 *	gs_rt_leave();
 *
 * The commit function runs after the fiber's registers are saved and it is off
 * its stack: only then may anybody else see it, so it releases the lock under
 * which the fiber was put on a queue. If it returns false the fiber does not
 * park after all and goes on.
 *
 * All of it works on ordinary threads as well (T): there gs_self is a stand-in
 * for the thread, gs_park waits on a futex, gs_rt_enter does nothing.
 *
 * Locks (struct gs_lock) are taken between enter and leave only.
 */
#ifndef GS_SCHED_H
#define GS_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"

struct gs_fiber;
struct gs_worker;

/* Why a fiber waits; the text a dump shows, as Go's waitReason. */
enum gs_wait {
	GS_WAIT_NONE,
	GS_WAIT_CHAN_SEND,
	GS_WAIT_CHAN_RECV,
	GS_WAIT_CHAN_SEND_NIL,
	GS_WAIT_CHAN_RECV_NIL,
	GS_WAIT_SELECT,
	GS_WAIT_SELECT_NONE,
	GS_WAIT_SLEEP,
	GS_WAIT_MUTEX,
	GS_WAIT_RWMUTEX_R,
	GS_WAIT_RWMUTEX_W,
	GS_WAIT_COND,
	GS_WAIT_WAITGROUP,
	GS_WAIT_SEMA,
	GS_WAIT_ONCE,
	GS_WAIT_IO,
	GS_WAIT_RUN,
	GS_WAIT_YIELD,
	GS_WAIT_PROC,
	GS_WAIT_PREEMPTED,
	GS_WAIT_MAX
};

const char *gs_wait_text(enum gs_wait reason);

/* Raise and lower the no-preempt depth; nest. No-ops on an ordinary thread. */
void gs_rt_enter(void);
void gs_rt_leave(void);

/* The calling fiber, or the calling thread's stand-in. Between enter and leave. */
struct gs_fiber *gs_self(void);

/*
 * The same outside: a fiber that is interrupted between finding its worker and asking it
 * may be on another one by then, and would be told whom that one runs now.
 */
struct gs_fiber *gs_self_outside(void);

typedef bool (*gs_commit_fn)(struct gs_fiber *f, void *arg);

/*
 * gs_park - wait until somebody calls gs_ready on this fiber
 * @commit: called off the fiber's stack, may be NULL; see above
 *
 * Called between one enter and leave (depth exactly 1: nested it panics, since
 * the caller asked not to be descheduled). May return on another thread.
 */
void gs_park(gs_commit_fn commit, void *arg, enum gs_wait reason);

/*
 * gs_ready - make a fiber that parked runnable
 *
 * Between enter and leave, after the caller alone took the fiber off whatever
 * it waited on. From a worker it runs next on this proc; from another thread
 * it goes to the global queue. May be called with runtime locks held, but
 * better after they are released.
 */
void gs_ready(struct gs_fiber *f);

/* The same for a fiber that the outside world woke: it goes before those that are queued. */
void gs_ready_express(struct gs_fiber *f);

/* What the waker tells the woken, set before gs_ready, read after gs_park. */
void gs_fiber_set_wake(struct gs_fiber *f, void *wake);
void *gs_fiber_wake(const struct gs_fiber *f);

/* 1 + the number of the proc one is on; 0 none. Between enter and leave. */
uint32_t gs_proc_here(void);

/* Nobody can ready this waiting fiber any more: for gs_leak_check. */
void gs_fiber_set_leaked(struct gs_fiber *f);

/* True on a fiber, false on an ordinary thread. Any context. */
bool gs_on_fiber(void);

/* Start the runtime if it is not running: 0 or -errno. (T) */
int gs_rt_start(void);

/* A cheap random number of this thread, for select's order. Between enter and leave. */
uint32_t gs_rt_random(void);

#endif /* GS_SCHED_H */
