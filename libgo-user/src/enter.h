/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gs_rt_enter and gs_rt_leave (sched.h) in line, for what is called most. A function with
 * one of them before a park and one behind it is fine: arch.h reads anew who we are.
 */
#ifndef GS_ENTER_H
#define GS_ENTER_H

#include "arch.h"
#include "base/sanitizer.h"
#include "preempt.h"
#include "worker.h"

#pragma GCC visibility push(hidden)

/* The proc is another than it was, or none. May return on another worker. Depth raised. */
void gs_enter_slow(struct gs_slot *slot);

/*
 * The proc's owner word alone is the truth: on kmod slot->proc says the same, but on posix
 * another thread may have retaken the proc. Depth raised. Few loads, and none of them waits
 * long for another: they stand between two locked instructions, which overlap nothing.
 */
static inline bool gs_holds_proc_on(const struct gs_worker *w)
{
	return gs_load_relaxed(w->owner) == w->id + 1;
}

static inline bool gs_holds_proc(const struct gs_slot *slot)
{
	return gs_holds_proc_on(slot->worker);
}

#ifdef GS_RACE_SEEN
/* TSan need not know of workers and procs */
static inline struct gs_worker *gs_enter(void)
{
	gs_rt_enter();
	return gs_worker_self();
}
#define gs_leave_worker() gs_rt_leave()
#define gs_leave() gs_rt_leave()
#define gs_self_on(w) ((void)(w), gs_self())
#else
/*
 * Returns the worker, or NULL on an ordinary thread. The worker is another after a park,
 * but a fiber stays one: so what it returned says all along which of the two the caller is.
 */
static inline struct gs_worker *gs_enter(void)
{
	struct gs_worker *w = gs_arch_enter();

	if (gs_likely(w != NULL) && gs_unlikely(!gs_holds_proc_on(w))) {
		gs_enter_slow(w->slot);
		return gs_arch_worker();
	}
	return w;
}

/* gs_leave for one who knows from gs_enter that it is on a worker. */
static inline void gs_leave_worker(void)
{
#ifdef GS_TSAN
	gs_san_release(gs_arch_worker()->slot); /* to whoever retakes the proc */
#endif
	/* an upcall between the two does what the bits ask for, and more harmlessly */
	if (gs_unlikely(gs_arch_leave()))
		gs_preempt_pending();
}

static inline void gs_leave(void)
{
	if (gs_arch_self())
		gs_leave_worker();
}

static inline struct gs_fiber *gs_self_on(struct gs_worker *w)
{
	return gs_likely(w != NULL) ? w->cur : gs_self();
}
#endif

/* gs_park and gs_ready (sched.h), as gs_self_on, for one who has just asked who he is. */
void gs_park_on(struct gs_worker *w, gs_commit_fn commit, void *arg, enum gs_wait reason);
void gs_ready_on(struct gs_worker *w, struct gs_fiber *f);

#pragma GCC visibility pop

#endif /* GS_ENTER_H */
