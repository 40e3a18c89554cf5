/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fiber's birth and death.
 *
 * Spawn and finish touch no shared word but the run queue: dead.h. A fiber's memory is given
 * up only by the commit of its last switch, when nobody is on its stack.
 */
#include <errno.h>
#include <gsched/local.h>
#include <gsched/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "backend.h"
#include "base/lock.h"
#include "base/sanitizer.h"
#include "enter.h"
#include "event.h"
#include "fiber.h"
#include "local.h"
#include "sched_int.h"
#include "tls.h"

uint32_t gs_mains_left;

static void (*exit_hook)(void *area);
bool gs_tls_each;
static uint64_t ids;		/* atomic */
static int64_t thread_started;	/* atomic: by ordinary threads */
static int64_t thread_finished; /* atomic: on a worker without a proc */

void *gs_fiber_unwind_area(void)
{
	struct gs_fiber *f = gs_self_outside();

	if (f->thread)
		return NULL;
	if (!f->unwinds) {
		memset(f->cold->unwind, 0, sizeof(f->cold->unwind));
		f->unwinds = true;
	}
	return f->cold->unwind;
}

void gs_fiber_set_exit_hook(void (*hook)(void *area))
{
	exit_hook = hook;
}

uint64_t gs_id(void)
{
	struct gs_fiber *f = gs_self_outside();

	return f->thread ? 0 : f->id;
}

/* Those of w's proc, for gs_dead_get and its kin. */
static inline struct gs_dead *dead_of(struct gs_worker *w)
{
	return gs_likely(w != NULL) && gs_proc_of(w) ? w->proc->dead : NULL;
}

/* f is dead and off its stack: keep it for the next gs_go on this proc. */
static bool commit_dead(struct gs_fiber *f, void *arg)
{
	struct gs_worker *w = gs_arch_worker();
	struct gs_proc *p = gs_proc_of(w);

	(void)arg;
	gs_san_fiber_destroy(&f->ref);
	if (gs_likely(gs_stack_of_default(&f->ref.stack)))
		gs_dead_put(dead_of(w), f);
	else
		gs_fiber_free(f);
	/* release: pairs with the acquire in gs_num_fibers */
	if (p)
		gs_store_release(&p->finished, p->finished + 1);
	else
		gs_fetch_add_seq(&thread_finished, 1);
	return true;
}

/*
 * What the fiber has for itself alone. The destructors of either kind may give new values to the
 * other; the context must be as new in the end.
 */
static void __attribute__((noinline)) end_storage(struct gs_fiber *f)
{
	for (int round = 0; round < GS_LOCAL_ROUNDS; round++) {
		if (f->local)
			gs_local_end(f);
		if (!f->own)
			return;
		gs_tls_finish();
		if (!f->local)
			return;
	}
	gs_local_drop(f);
}

/* In the child of a fork the end of the last thread is the process's. */
static void __attribute__((noinline)) not_in_child(void)
{
	if (!gs_arch_self())
		exit(0);
}

/* Or the next fiber on this worker would have the depth raised. */
static void __attribute__((noinline)) panic_pinned(void)
{
	gs_panic("gsched: fiber ends between gs_nopreempt_begin and gs_nopreempt_end");
}

static inline _Noreturn void finish(struct gs_fiber *f, bool returned)
{
	struct gs_fiber_cold *cold = f->cold;
	const struct gs_worker *w;

	if (gs_unlikely(f->local || f->own || cold->done)) {
		not_in_child();
		/* before its gs_run hears of it, and returns */
		if (gs_arch_pinned())
			panic_pinned();
	}
	if (gs_unlikely(f->local || f->own)) {
		/* to be known if a destructor calls gs_exit */
		if (returned)
			cold->returned = true;
		end_storage(f);
		not_in_child();
		/* a destructor recovered, perhaps: of no text any more */
		if (f->unwinds)
			exit_hook(cold->unwind);
	}
	if (gs_unlikely(cold->done != NULL)) {
		if (returned || cold->returned)
			cold->done(cold->done_arg);
		else /* its gs_run waits for a return that will not come */
			gs_fetch_add_seq(&gs_mains_left, 1);
	}
	w = gs_enter();
	if (gs_unlikely(!w))
		exit(0);
	if (gs_unlikely(w->slot->depth != 1))
		panic_pinned();
	gs_sched_die(commit_dead);
}

_Noreturn void gs_fiber_finish(bool returned)
{
	finish(gs_self_outside(), returned);
}

/* The first C function on a fiber's stack, at depth 1. */
_Noreturn void gs_fiber_main(struct gs_fiber *f)
{
	void *arg = f->arg;

	gs_san_first_run();
	gs_sched_finish();
	gs_arch_set_errno(0); /* as a new thread's; the last fiber here left its own */
	f->local = NULL;
	gs_leave_worker();
	f->fn(arg);
	if (gs_unlikely(f->unwinds)) {
		not_in_child();
		exit_hook(f->cold->unwind);
	}
	finish(f, true);
}

static uint64_t new_id(struct gs_proc *p)
{
	if (!p)
		return gs_fetch_add_relaxed(&ids, 1) + 1;
	if (p->id_next == p->id_end) {
		p->id_next = gs_fetch_add_relaxed(&ids, 64) + 1;
		p->id_end = p->id_next + 64;
	}
	return p->id_next++;
}

/* "fiber 17", or "fiber 17 (name)": as reports call it. */
static void name_for_tsan(struct gs_fiber *f)
{
#ifdef GS_TSAN
	char text[64];

	snprintf(text, sizeof(text), f->cold->name[0] ? "fiber %lu (%s)" : "fiber %lu", f->id,
		 f->cold->name);
	gs_san_fiber_name(&f->ref, text);
#else
	(void)f;
#endif
}

/* Publish a fiber made by gs_fiber_new or taken from the cache. Entered. */
static inline void start(struct gs_worker *w, struct gs_fiber *f)
{
	struct gs_proc *p = w ? gs_proc_of(w) : NULL;

	gs_store_relaxed(&f->id, new_id(p));
	name_for_tsan(f);
	if (p)
		gs_store_relaxed(&p->started, p->started + 1);
	else
		gs_fetch_add_relaxed(&thread_started, 1);
	if (gs_traced())
		gs_event(w, GS_EV_START, f);
	gs_ready_on(w, f);
}

void gs_fiber_start(struct gs_fiber *f)
{
	start(gs_worker_self(), f);
}

/* One too long is cut. */
static void set_name(struct gs_fiber *f, const struct gs_attr *attr)
{
	size_t i = 0;

	if (gs_likely(!attr || !attr->name))
		return;
	if (!f->cold)
		gs_fiber_lay(f);
	for (; i < sizeof(f->cold->name) - 1 && attr->name[i]; i++)
		f->cold->name[i] = attr->name[i];
	f->cold->name[i] = '\0';
}

struct gs_fiber *gs_fiber_get(void (*fn)(void *), void *arg)
{
	struct gs_fiber *f;
	int r;

	f = gs_dead_get(dead_of(gs_enter()));
	gs_leave();
	if (!f)
		return gs_fiber_new(fn, arg, 0, 0, &r);
	gs_fiber_init(f, fn, arg, 0);
	return f;
}

int gs_fiber_get_own(struct gs_tls **own)
{
	if (!gs_tls_travels)
		return -EOPNOTSUPP;
	*own = gs_tls_get_own();
	return *own ? 0 : -ENOMEM;
}

static inline __attribute__((always_inline)) int make(void (*fn)(void *), void *arg, size_t size,
						      const struct gs_attr *attr, const void *from)
{
	size_t stack_size = attr ? attr->stack_size : 0;
	struct gs_fiber *f = NULL;
	struct gs_tls *own = NULL;
	struct gs_worker *w;
	int r;

	if (gs_unlikely(!fn))
		gs_panic("go of nil func value");
	/* acquire: pairs with the release at the end of start(), by another thread perhaps */
	if (gs_unlikely(!gs_load_acquire(&gs_started))) {
		r = gs_rt_start();
		if (r)
			return r;
	}
	if (gs_unlikely(gs_tls_each || (attr && attr->flags & GS_OWN_TLS))) {
		r = gs_fiber_get_own(&own);
		if (r)
			return r;
	}
	if (!stack_size) {
		w = gs_enter();
		f = gs_dead_get(dead_of(w));
		if (f) {
			r = gs_fiber_init(f, fn, arg, size);
			if (gs_unlikely(r)) {
				gs_leave();
				gs_fiber_free(f);
				gs_tls_put_own(own);
				return r;
			}
			f->own = own;
			gs_store_relaxed(&f->tls, own);
			set_name(f, attr);
			gs_store_relaxed(&f->from, from);
			start(w, f);
			gs_leave();
			return 0;
		}
		gs_leave();
	}
	/* mapping memory sleeps: at depth 0, so that the proc can go to another */
	f = gs_fiber_new(fn, arg, size, stack_size, &r);
	if (!f) {
		gs_tls_put_own(own);
		return r;
	}
	f->own = own;
	gs_store_relaxed(&f->tls, own);
	set_name(f, attr);
	gs_store_relaxed(&f->from, from);
	gs_rt_enter();
	gs_fiber_start(f);
	gs_rt_leave();
	return 0;
}

/* gs_go and its kin. from: who called that. */
static inline __attribute__((always_inline)) int
go_from(void (*fn)(void *), void *arg, size_t size, const struct gs_attr *attr, const void *from)
{
	int r;

	gs_race_called(from);
	r = make(fn, arg, size, attr, from);
	gs_race_returns();
	return r;
}

int gs_go(void (*fn)(void *), void *arg)
{
	return go_from(fn, arg, 0, NULL, __builtin_return_address(0));
}

int gs_go_copy(void (*fn)(void *), const void *args, size_t size)
{
	return go_from(fn, (void *)(uintptr_t)args, size, NULL, __builtin_return_address(0));
}

int gs_go_attr(const struct gs_attr *attr, void (*fn)(void *), void *arg)
{
	if (attr->stack_size > GS_STACK_MAX || attr->flags & ~GS_OWN_TLS || attr->pad[0] ||
	    attr->pad[1] || attr->pad[2] || attr->pad[3])
		return -EINVAL;
	return go_from(fn, arg, 0, attr, __builtin_return_address(0));
}

size_t gs_num_fibers(void)
{
	/*
	 * No snapshot: fibers start and end meanwhile. The ends are counted first, and who is
	 * seen to have ended is seen to have started: too many, but never too few.
	 * acquire: pairs with the release in commit_dead
	 */
	int64_t n = -gs_load_acquire(&thread_finished);

	for (uint32_t i = 0; i < GS_MAXPROCS; i++)
		n -= gs_load_acquire(&gs_procs[i].finished);
	n += gs_load_relaxed(&thread_started);
	for (uint32_t i = 0; i < GS_MAXPROCS; i++)
		n += gs_load_relaxed(&gs_procs[i].started);
	return (size_t)n;
}
