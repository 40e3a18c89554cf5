/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scheduler: park, ready, and the search for work.
 *
 * A fiber that parks pops the next one from its proc's queue and switches to it
 * directly; only when that queue is empty does it switch to the worker's own stack
 * (g0), which looks everywhere: express queue, global queue, other procs. One switch
 * instead of two for the common case.
 *
 *   fiber A: gs_park(commit)        fiber B (or g0)
 *     state = waiting
 *     worker->prev = A, commit
 *     gs_switch ------------------> gs_sched_finish: commit(A), now A may be readied
 *
 * A is visible to nobody before its registers are saved and its stack is left, for
 * the commit, which releases the lock A was queued under, runs on B's stack.
 *
 * Enqueue (uapi section 5): every path that makes a fiber runnable publishes it in a
 * queue, then passes gs_wake_idle: full fence, then header.idle and header.spinning; or
 * wake_idle_fenced after an exchange that is one (gs_runq_put_next); or, with one proc,
 * wake_idle_on, which needs none.
 * A path that moves fibers from one queue to another has them in neither for a while,
 * and so ends with gs_wake_idle too, or is a spinner's, which does it when it stops
 * spinning (reset_spinning).
 *
 * Rejected: a scheduler stack for every switch (Go's mcall/g0): 11 ns more a switch
 * on the machine this was written on, and nothing gained, for commit functions are
 * short.
 */
#include "sched.h"

#include <errno.h>
#include <gsched/runtime.h>
#include <gsched/time.h>
#include <linux/membarrier.h>
#include <sched.h>

#include "arch.h"
#include "backend.h"
#include "base/sanitizer.h"
#include "base/syscall.h"
#include "enter.h"
#include "event.h"
#include "fiber.h"
#include "preempt.h"
#include "runq.h"
#include "tls.h"
#include "worker.h"
#include "sched_int.h"

/*
 * The global queue's turn comes every so many time slices. Fibers that ready each other have
 * one between them, as in Go, and give way to all when it is over; and after so many
 * schedulings, too, for where nobody can be interrupted.
 */
#define FAIR_SLICES 61
#define FAIR_TURNS 4096

/*
 * A thief's looks at the others, so far apart, and how much time each switch takes of a proc that
 * is left alone: see struct look.
 */
#define LOOKS 3
#define LOOK_NS 2500
#define SHORT_TURN_NS 250

/* A queue of so many is stolen from at once, and so many procs are looked at. */
#define LONG_QUEUE 4
#define LOOK_PROCS 64

/* So many express fibers in a row; then one of the local queue, if there is one. */
#define EXPRESS_ROW 16

void (*gs_late_hook)(void);
bool (*gs_look_hook)(bool idle);
void (*gs_overrun_hook)(const struct gs_fiber *f);

static __thread struct gs_fiber thread_fiber = {.thread = true};
static __thread bool thread_is_poller;

/* ------------------------------------------------------------------------- */
/* Who am I                                                                    */

struct gs_worker *gs_worker_self(void)
{
	return gs_arch_self();
}

uint32_t gs_proc_here(void)
{
	struct gs_worker *w = gs_arch_self();

	return w ? w->proc_tag : 0;
}

bool gs_on_fiber(void)
{
	return gs_arch_self() != NULL;
}

struct gs_fiber *gs_self(void)
{
	struct gs_worker *w = gs_arch_self();

	return w ? w->cur : &thread_fiber;
}

struct gs_fiber *gs_self_outside(void)
{
	bool pinned = gs_arch_pin_worker();
	struct gs_fiber *f = gs_self();

	gs_arch_unpin_worker(pinned);
	return f;
}

void gs_thread_set_poller(void)
{
	thread_is_poller = true;
}

/* ------------------------------------------------------------------------- */
/* Switching                                                                   */

static inline void switch_to(struct gs_stackref *from, struct gs_stackref *to, bool dying)
{
	gs_san_switch_begin(from, to, dying);
	gs_switch(&from->sp, to->sp);
	gs_san_switch_end(from);
}

/* Completes the park of whoever ran here before. On every arrival from a switch. */
void gs_sched_finish(void)
{
	struct gs_worker *w = gs_arch_worker();
	struct gs_fiber *prev = w->prev;
	gs_commit_fn commit = w->commit;

	if (!prev)
		return;
	w->prev = NULL;
	gs_fiber_stack_leave(prev);
	if (commit && !commit(prev, w->commit_arg))
		gs_ready(prev);
}

const uint32_t gs_nobody;

static void set_proc(struct gs_worker *w, uint32_t tag)
{
	w->proc_tag = tag;
	w->proc = tag ? &gs_procs[tag - 1] : NULL;
	w->owner = tag ? &w->proc->line->owner : &gs_nobody;
}

void gs_sched_hold_tls(struct gs_worker *w, struct gs_tls *t)
{
	if (gs_likely(!gs_tls_unprotected)) {
		gs_arch_hold(w->slot, t->tp);
	}
	w->slot->area = t->area;
	w->tls = t;
}

/*
 * Another scheduling on p. By line->tick the backend sees whose slice it is: the same one's
 * still, if this fiber comes from runnext.
 */
static inline void next_turn(struct gs_proc *p)
{
	gs_store_relaxed(&p->turn, p->turn + 1);
	if (!p->inherits)
		gs_store_relaxed(&p->line->tick, p->line->tick + 1);
	p->inherits = false;
}

/* w, the proc's owner, is about to switch to f for the first time. */
static void __attribute__((noinline)) lay(struct gs_worker *w, struct gs_fiber *f)
{
	if (!f->ref.stack.warm && gs_stack_of_default(&f->ref.stack))
		gs_dead_warm(w->proc->dead, f);
	gs_fiber_lay(f);
}

/* f, whose stack is entered, is who w runs. */
static inline void set_running(struct gs_worker *w, struct gs_fiber *f)
{
	if (gs_unlikely(f->tls)) {
		struct gs_tls *old = w->tls;

		gs_sched_hold_tls(w, f->tls);
		gs_store_relaxed(&f->tls, NULL);
		if (f->own)
			w->spare = old;
		else
			gs_tls_put(old);
	}
	/* what the fiber before was asked for: this scheduling is it */
	if (gs_unlikely(gs_load_relaxed(&w->slot->pending)))
		gs_store_relaxed(&w->slot->pending, 0);
	if (gs_traced())
		gs_event_switch(w, f);
	next_turn(w->proc);
	gs_store_relaxed(&f->state, GS_RUNNING);
	gs_store_relaxed(&w->cur, f);
}

static inline void run_here(struct gs_worker *w, struct gs_fiber *f)
{
	gs_fiber_stack_enter(f);
	if (gs_unlikely(!f->cold))
		lay(w, f);
	set_running(w, f);
}

/*
 * Enqueue (3) and (4). The idle proc may have gone to a thread that came back, which runs its
 * own fiber and does not search; and until there is a stand-by one may yet: so whenever
 * nobody was woken the tick must be there, whatever idle says.
 */
static inline void wake_idle_fenced(void)
{
	if (gs_load_relaxed(&gs_hdr->idle)) {
		int r;

		if (gs_load_relaxed(&gs_hdr->spinning))
			return;
		r = gs_be->unpark_any();
		if (r > 0)
			return;
		if (r == -EAGAIN)
			gs_spawner_wake();
	}
	if (gs_unlikely(!gs_load_relaxed(&gs_hdr->ticking)))
		gs_be->tick();
}

void gs_wake_idle(void)
{
	/* Enqueue (2): pairs with the swap to idle in hand-off and PARK */
	gs_full_fence();
	wake_idle_fenced();
}

/*
 * By w, which queued something. While there is one proc only, and w has it, nothing is idle,
 * and the tick does not end behind its back: the module asks its thread first (uapi section
 * 5), and on posix that thread ends it itself. So there is nobody whom a fence would pair
 * with, and it is the dearest instruction of a switch: it waits for all stores before it.
 */
static inline void wake_idle_on(struct gs_worker *w)
{
	/* pairs with the membarrier in gs_sched_set_procs, which makes a fence of this */
	__asm__ volatile("" ::: "memory");
	if (gs_likely(gs_load_relaxed(&gs_alone)) && w && gs_proc_of(w)) {
		if (gs_unlikely(!gs_load_relaxed(&gs_hdr->ticking)))
			gs_be->tick();
		return;
	}
	gs_wake_idle();
}

/* Procs are beyond their number: their queues may have been left behind. */
static bool some_retired(void)
{
	return gs_load_relaxed(&gs_hdr->procs_used) > gs_load_relaxed(&gs_hdr->nproc);
}

/*
 * The reserve is in use, and fibers interrupted anywhere wait: one may hold the lock of
 * libc's that the spawner waits for, so that there will be no other stand-by before it has
 * gone on. To run it costs none, for who gives his proc to it becomes one.
 */
static bool bound_only(void)
{
	return gs_unlikely(gs_load_relaxed(&gs_hdr->bound_runnable)) &&
	       gs_load_relaxed(&gs_hdr->standby) < gs_load_relaxed(&gs_hdr->reserve);
}

/* Of whoever did not run for long, because of fibers that ready each other. */
static bool all_turn(const struct gs_proc *p)
{
	return p->turn % FAIR_TURNS == 0;
}

/*
 * Is it the turn of the fibers that are bound to their threads? As often as each of the
 * others has its own, for these go around the local queues and the global one. The turns of
 * express fibers do not count, or the others had none between those and these.
 */
static bool bound_turn(const struct gs_proc *p)
{
	uint32_t bound = gs_load_relaxed(&gs_hdr->bound_runnable), every;

	if (gs_likely(!bound))
		return false;
	every = 2 + gs_load_relaxed(&gs_hdr->global_len) / bound;
	if (every > FAIR_SLICES)
		every = FAIR_SLICES;
	return (p->line->tick - p->expressed) % every == 0 || all_turn(p);
}

/* Work at hand without a lock or a search; NULL: let g0 look. */
static struct gs_fiber *pick_fast(struct gs_worker *w)
{
	struct gs_proc *p = gs_proc_of(w);
	struct gs_fiber *f;
	bool all;

	if (gs_unlikely(!p || gs_load_relaxed(&gs_hdr->express_len) | gs_load_relaxed(&gs_excess) ||
			p->id >= gs_load_relaxed(&gs_hdr->nproc) || bound_only()))
		return NULL;
	all = all_turn(p);
	if (gs_unlikely(p->line->tick % FAIR_SLICES == 0 || p->owed || all) &&
	    (gs_load_relaxed(&gs_hdr->global_len) || some_retired()))
		return NULL;
	if (bound_turn(p))
		return NULL;
	if (gs_unlikely(all)) {
		f = gs_runq_get_fair(p);
		wake_idle_on(w);
	} else {
		f = gs_runq_get(p);
	}
	return f;
}

/* next: who runs then; NULL: let g0 look. */
static inline void leave_fiber_to(struct gs_worker *w, struct gs_fiber *next, gs_commit_fn commit,
				  void *arg, enum gs_wait reason, bool dying)
{
	struct gs_fiber *f = w->cur;

	if (gs_unlikely(!gs_stack_whole(&f->ref.stack)))
		gs_overrun_hook(f);
	gs_store_relaxed(&f->reason, (uint8_t)reason);
	/* release: pairs with the acquire in the deadlock report's all_waiting */
	gs_store_release(&f->state, dying ? GS_DEAD : GS_WAITING);
	w->prev = f;
	w->commit = commit;
	w->commit_arg = arg;
	if (next) {
		run_here(w, next);
		switch_to(&f->ref, &next->ref, dying);
	} else {
		if (gs_traced())
			gs_event_switch(w, NULL);
		gs_store_relaxed(&w->cur, NULL);
		switch_to(&f->ref, &w->g0, dying);
	}
	gs_sched_finish();
}

/* Who runs after the fiber on w. */
static inline struct gs_fiber *pick_after(struct gs_worker *w, bool dying)
{
	if (gs_likely(!w->cur->frozen))
		return pick_fast(w);
	/* locked to its thread: g0 gives the proc to others */
	if (dying) {
		w->locked = NULL;
		w->ending = true;
	}
	return NULL;
}

/* A fiber with its own context parks: it keeps that, and w what it had before. */
static void __attribute__((noinline)) shed_own(struct gs_worker *w, struct gs_fiber *f, bool dying)
{
	struct gs_tls *own = w->tls;

	gs_sched_hold_tls(w, w->spare);
	w->spare = NULL;
	if (dying)
		gs_tls_put_own(own);
	else
		gs_store_relaxed(&f->tls, own);
}

/* The C++ exceptions that a fiber handles are its own, and the next one handles none. */
static bool __attribute__((noinline)) save_cxx(struct gs_fiber *f)
{
	f->cold->cxx[0] = gs_arch_tls_word(gs_tls_cxx_off);
	f->cold->cxx[1] = gs_arch_tls_word(gs_tls_cxx_off + 8);
	if (!f->cold->cxx[0] && !f->cold->cxx[1])
		return false;
	gs_arch_set_tls_word(gs_tls_cxx_off, 0);
	gs_arch_set_tls_word(gs_tls_cxx_off + 8, 0);
	return true;
}

static void __attribute__((noinline)) restore_cxx(struct gs_fiber *f)
{
	gs_arch_set_tls_word(gs_tls_cxx_off, f->cold->cxx[0]);
	gs_arch_set_tls_word(gs_tls_cxx_off + 8, f->cold->cxx[1]);
	f->handling = false;
}

static inline void park_fiber_to(struct gs_worker *w, struct gs_fiber *next, gs_commit_fn commit,
				 void *arg, enum gs_wait reason, bool dying)
{
	struct gs_fiber *f = w->cur;

	f->err = gs_arch_errno();
	if (gs_unlikely(gs_tls_cxx_off))
		f->handling = save_cxx(f);
	if (gs_unlikely(f->own))
		shed_own(w, f, dying);
	leave_fiber_to(w, next, commit, arg, reason, dying);
	gs_race_acquire(f);
	gs_arch_set_errno(f->err);
	if (gs_unlikely(f->handling))
		restore_cxx(f);
}

static inline void park_fiber(struct gs_worker *w, gs_commit_fn commit, void *arg,
			      enum gs_wait reason, bool dying)
{
	park_fiber_to(w, pick_after(w, dying), commit, arg, reason, dying);
}

static void park_thread(struct gs_fiber *f, gs_commit_fn commit, void *arg)
{
	if (commit && !commit(f, arg))
		return;
	/* acquire: pairs with the release in gs_ready */
	while (!gs_load_acquire(&f->futex))
		gs_futex_wait(&f->futex, 0, 0);
	gs_race_acquire(f);
	gs_store_relaxed(&f->futex, 0);
}

/* In a signal handler, that is: the stack is the worker's and the next handler's. */
static inline bool on_signal_stack(const struct gs_worker *w)
{
	return (uintptr_t)__builtin_frame_address(0) - (uintptr_t)w->signal_stack < w->signal_size;
}

static inline void not_in_handler(const struct gs_worker *w)
{
	if (gs_unlikely(on_signal_stack(w)))
		gs_panic("gsched: fiber parks in a signal handler");
}

void gs_park_on(struct gs_worker *w, gs_commit_fn commit, void *arg, enum gs_wait reason)
{
	if (!w) {
		park_thread(&thread_fiber, commit, arg);
		return;
	}
	not_in_handler(w);
	if (gs_unlikely(w->slot->depth != 1))
		gs_panic("gsched: fiber parks between gs_nopreempt_begin and gs_nopreempt_end");
	park_fiber(w, commit, arg, reason, false);
}

void gs_park(gs_commit_fn commit, void *arg, enum gs_wait reason)
{
	gs_park_on(gs_worker_self(), commit, arg, reason);
}

/*
 * The fiber on w ends, and next has not begun: it gets this stack, and begins at its top. No
 * switch, and nothing that is cold.
 */
static _Noreturn void __attribute__((noinline))
succeed(struct gs_worker *w, struct gs_fiber *next, gs_commit_fn commit)
{
	struct gs_fiber *f = w->cur;
	void *top;

	if (gs_unlikely(!gs_stack_whole(&f->ref.stack)))
		gs_overrun_hook(f);
	if (gs_unlikely(gs_tls_cxx_off))
		save_cxx(f); /* nobody's: none is handled from here on */
	gs_store_relaxed(&f->reason, GS_WAIT_NONE);
	gs_store_relaxed(&f->state, GS_DEAD);
	if (gs_traced())
		gs_event(w, GS_EV_END, f);
	gs_fiber_stack_enter(next);
	gs_stack_swap(&f->ref.stack, &next->ref.stack);
	gs_fiber_stack_leave(f);
	commit(f, NULL);
	top = gs_fiber_lay_cold(next);
	set_running(w, next);
	gs_arch_begin(top, next);
}

/* Is it worth it, and would it harm nobody? */
static inline bool may_succeed(const struct gs_fiber *f, const struct gs_fiber *next)
{
	return next && !next->cold && !next->tls && !f->own && !GS_SAN_STACKS &&
	       f->ref.stack.size == next->ref.stack.size;
}

_Noreturn void gs_sched_die(gs_commit_fn commit)
{
	struct gs_worker *w = gs_arch_worker();
	struct gs_fiber *next = pick_after(w, true);

	if (may_succeed(w->cur, next))
		succeed(w, next, commit);
	park_fiber_to(w, next, commit, NULL, GS_WAIT_NONE, true);
	__builtin_unreachable();
}

/* ------------------------------------------------------------------------- */
/* Ready                                                                       */

int gs_sched_set_procs(int n)
{
	if (n > 1 && gs_load_relaxed(&gs_hdr->procs_used) == 1) {
		unsigned int turn = 0;

		gs_store_relaxed(&gs_alone, false);
		/* whoever did not see it has stored what he queued; once registered it fails for
		 * want of memory only */
		while (gs_syscall3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) ==
		       -ENOMEM)
			gs_backoff(turn++);
		gs_runq_shared();
	}
	return gs_load_acquire(&gs_be)->set_procs(n);
}

void gs_sched_init(void)
{
	bool can = gs_syscall3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ==
		   0;

	gs_store_relaxed(&gs_alone, can && gs_load_relaxed(&gs_hdr->procs_used) == 1);
}

/* Its own worker gets an idle proc at once; else whoever takes it off the queue sees to it. */
static void __attribute__((noinline)) ready_bound(struct gs_fiber *f)
{
	if (gs_load_relaxed(&gs_hdr->idle) && gs_be->unpark_worker(f->frozen->id) == 1)
		return;
	gs_gq_put(&gs_bound, f);
	gs_wake_idle();
}

static void put_express(struct gs_fiber *f)
{
	f->express = true;
	gs_gq_put(&gs_express, f);
}

static inline void set_runnable(struct gs_worker *w, struct gs_fiber *f)
{
	gs_store_relaxed(&f->state, GS_RUNNABLE);
	if (gs_traced())
		gs_event(w, GS_EV_READY, f);
}

void gs_ready_on(struct gs_worker *w, struct gs_fiber *f)
{
	gs_race_release(f); /* to gs_park, there */
	if (gs_unlikely(f->thread)) {
		/* release: pairs with the acquire in park_thread; f may be gone after it */
		gs_store_release(&f->futex, 1);
		gs_futex_wake(&f->futex, 1);
		return;
	}
	set_runnable(w, f);
	if (gs_unlikely(f->frozen)) {
		ready_bound(f);
		return;
	}
	if (w && gs_proc_of(w)) {
		/* it runs soon, and the registers and locals of who waited long are in no cache */
		__builtin_prefetch(f->ref.sp);
		__builtin_prefetch((const char *)f->ref.sp + 64);
		if (gs_runq_put_next(w->proc, f)) {
			wake_idle_fenced();
			return;
		}
	} else if (thread_is_poller) {
		put_express(f);
	} else {
		gs_gq_put(&gs_global, f);
	}
	wake_idle_on(w);
}

void gs_ready(struct gs_fiber *f)
{
	gs_ready_on(gs_worker_self(), f);
}

void gs_ready_express(struct gs_fiber *f)
{
	struct gs_worker *w = gs_worker_self();

	if (w && w->gathers && !f->thread && !f->frozen) {
		gs_race_release(f);
		set_runnable(w, f);
		gs_runq_put(w->proc, f); /* Enqueue (2) is gs_poller_look's */
		return;
	}
	/* with nobody else about, next is as soon, and stays on this processor */
	if (f->thread || f->frozen ||
	    (w && gs_proc_of(w) && gs_runq_empty(w->proc) &&
	     !gs_load_relaxed(&gs_hdr->global_len))) {
		gs_ready_on(w, f);
		return;
	}
	gs_race_release(f);
	set_runnable(w, f);
	put_express(f);
	gs_wake_idle();
}

static bool commit_global(struct gs_fiber *f, void *arg)
{
	(void)arg;
	gs_store_relaxed(&f->state, GS_RUNNABLE);
	gs_gq_put(f->frozen ? &gs_bound : &gs_global, f);
	gs_wake_idle();
	return true;
}

/*
 * Who came from the express queue goes back there, once: the kick for the next one may hit
 * it (no other proc's fiber had run longer), and behind the hogs it would wait for a slice
 * of each.
 */
static bool commit_preempted(struct gs_fiber *f, void *arg)
{
	if (!f->express || f->frozen) {
		commit_global(f, arg);
	} else {
		f->express = false;
		gs_store_relaxed(&f->state, GS_RUNNABLE);
		gs_gq_put(&gs_express, f);
		gs_wake_idle();
	}
	/* it may hold a lock that all threads come to wait for: exceed(), which sees it now */
	if (gs_load_relaxed(&gs_hdr->standby) <= gs_load_relaxed(&gs_hdr->reserve))
		gs_spawner_wake();
	return true;
}

void gs_sched_preempted(void)
{
	gs_rt_enter();
	if (gs_sched_has_work(gs_worker_self()))
		gs_park(commit_preempted, NULL, GS_WAIT_PREEMPTED);
	gs_rt_leave();
}

void gs_sched_travel(struct gs_worker *w, struct gs_tls *fresh)
{
	struct gs_fiber *f = w->cur;

	gs_store_relaxed(&f->tls, w->tls);
	gs_store_relaxed(&f->low, w->slot->sp);
	gs_sched_hold_tls(w, fresh);
	if (gs_unlikely(w->spare)) {
		gs_tls_put(w->spare);
		w->spare = NULL;
	}
	/* errno stays in the context that it takes along */
	leave_fiber_to(w, pick_after(w, false), commit_preempted, NULL, GS_WAIT_PREEMPTED, false);
}

static bool commit_yield(struct gs_fiber *f, void *arg)
{
	struct gs_worker *w = gs_arch_worker();

	(void)arg;
	if (gs_unlikely(!gs_proc_of(w) || f->frozen))
		return commit_global(f, NULL);
	gs_store_relaxed(&f->state, GS_RUNNABLE);
	gs_store_relaxed(&w->proc->yields, w->proc->yields + 1);
	gs_runq_put(w->proc, f);
	wake_idle_on(w);
	return true;
}

/* ------------------------------------------------------------------------- */
/* Entering and leaving the runtime                                            */

/*
 * The worker came back from a block with another proc, or with none (uapi section 9).
 * Depth raised. May return on another worker.
 */
void __attribute__((noinline, cold)) gs_enter_slow(struct gs_slot *slot)
{
	struct gs_worker *w = slot->worker;
	int r = gs_be->acquire(slot);

	if (r >= 0) {
		gs_store_relaxed(&slot->pending, 0);
		set_proc(w, (uint32_t)r + 1);
		if (gs_traced() && w->cur)
			gs_event(w, GS_EV_BACK, w->cur);
		return;
	}
	set_proc(w, 0);
	if (slot->depth != 1)
		return; /* in gs_nopreempt: goes on without, touches nothing of a proc */
	/* another worker would go on with it, on this one's stack for signals */
	not_in_handler(w);
	park_fiber(w, commit_global, NULL, GS_WAIT_PROC, false);
}

void gs_rt_enter(void)
{
	gs_enter();
}

void gs_rt_leave(void)
{
	gs_leave();
}

void gs_nopreempt_begin(void)
{
	gs_rt_enter();
}

void gs_nopreempt_end(void)
{
	gs_rt_leave();
}

void gs_blocking_begin(void)
{
	struct gs_slot *slot;

	if (!gs_on_fiber() || !gs_be->blocking_begin)
		return;
	slot = gs_arch_pin();
	if (slot->depth == 1 && gs_holds_proc(slot)) {
		set_proc(slot->worker, 0);
		gs_be->blocking_begin(slot);
	}
	gs_arch_unpin();
}

void gs_blocking_end(void)
{
	/* takes the old proc or an idle one, or queues the fiber */
	gs_rt_enter();
	gs_rt_leave();
}

/* ------------------------------------------------------------------------- */
/* Yield, and what a waker says                                                */

void gs_yield(void)
{
	struct gs_worker *w = gs_enter();
	struct gs_fiber *next;

	if (gs_unlikely(!w)) {
		sched_yield();
		return;
	}
	next = gs_likely(w->slot->depth == 1 && !w->cur->frozen && !on_signal_stack(w))
		       ? pick_fast(w)
		       : NULL;
	if (gs_likely(next != NULL))
		park_fiber_to(w, next, commit_yield, NULL, GS_WAIT_YIELD, false);
	else if (some_retired() || gs_sched_has_work(w))
		/* where there are fewer procs than there were, this one may be too many */
		gs_park_on(w, commit_yield, NULL, GS_WAIT_YIELD);
	gs_leave_worker();
}

void gs_fiber_set_wake(struct gs_fiber *f, void *wake)
{
	f->wake = wake;
}

void *gs_fiber_wake(const struct gs_fiber *f)
{
	return f->wake;
}

void gs_fiber_set_leaked(struct gs_fiber *f)
{
	gs_store_relaxed(&f->leaked, true);
}

/* ------------------------------------------------------------------------- */
/* The search for work, on g0                                                  */

uint32_t gs_rt_random(void)
{
	struct gs_worker *w = gs_worker_self();
	static __thread uint32_t thread_rng;
	uint32_t *rng = w ? &w->rng : &thread_rng;
	uint32_t x = *rng;

	/* xorshift32 (Marsaglia 2003); seeded by address where it is zero */
	if (!x)
		x = (uint32_t)((uintptr_t)rng >> 4) | 1;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	*rng = x;
	return x;
}

static void start_spinning(struct gs_worker *w)
{
	w->spinning = true;
	gs_fetch_add_seq(&gs_hdr->spinning, 1);
}

static uint32_t stop_spinning(struct gs_worker *w)
{
	w->spinning = false;
	/* a full barrier: pairs with Enqueue's fence; whoever looks after it sees all */
	return gs_fetch_sub_seq(&gs_hdr->spinning, 1);
}

/* A spinner found work: if it was the last, another takes its place. */
static void reset_spinning(struct gs_worker *w)
{
	if (stop_spinning(w) == 1)
		gs_wake_idle();
}

/*
 * What a thief leaves to a running proc's owner. Two that answer each other stay on one processor,
 * where they are several times as fast:
 *
 *  - the fiber in runnext, unless the owner computes: he has not switched between two looks. (Go
 *    sleeps for 3 us.)
 *  - a short queue that he goes through in no time. Those in it wait for each other, and what each
 *    of them does takes less time than to bring it, and then the others, to another processor.
 *    But who yields waits for nobody.
 *
 * Between two looks the thief touches nothing of theirs: each look takes the line away from its
 * owner, who writes there at every switch.
 */
struct look {
	uint64_t next;
	uint32_t head, turn, yields;
};

static void look_at(struct look *l, const struct gs_proc *victim)
{
	l->next = gs_load_relaxed(&victim->line->runnext);
	l->head = gs_load_relaxed(&victim->line->head);
	l->turn = gs_load_relaxed(&victim->turn);
	l->yields = gs_load_relaxed(&victim->yields);
}

static bool computes(const struct look *before, const struct look *now)
{
	return now->next && now->next == before->next && now->turn == before->turn;
}

static bool passes(const struct look *before, const struct look *now)
{
	return now->head != before->head && now->yields == before->yields &&
	       now->turn - before->turn > LOOK_NS / SHORT_TURN_NS;
}

/* before: the last look at it, if this is not the first one; made anew. */
static struct gs_fiber *steal_from(struct gs_proc *victim, struct gs_worker *w, struct look *before,
				   int round)
{
	uint32_t len = gs_runq_len(victim);
	struct gs_fiber *f = NULL;
	struct look now;

	look_at(&now, victim);
	if (!gs_load_relaxed(&victim->line->owner))
		f = gs_runq_steal(w->proc, victim, true);
	else if (round == LOOKS - 1 && computes(before, &now))
		f = gs_runq_steal(w->proc, victim, true);
	else if (len >= LONG_QUEUE || (len && round && !passes(before, &now)))
		f = gs_runq_steal(w->proc, victim, false);
	*before = now;
	return f;
}

static struct gs_fiber *steal(struct gs_worker *w)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);
	uint32_t start = gs_rt_random() % n;
	struct look looks[LOOK_PROCS];
	int64_t begin = 0;

	if (n == 1)
		return NULL;
	for (int round = 0; round < LOOKS; round++) {
		for (uint32_t i = 0; i < n && i < LOOK_PROCS; i++) {
			struct gs_proc *victim = &gs_procs[(start + i) % n];
			struct gs_fiber *f;

			if (victim == w->proc)
				continue;
			f = steal_from(victim, w, &looks[i], round);
			if (f && gs_traced())
				gs_event_steal(w, victim, 1 + gs_runq_len(w->proc));
			if (f)
				return f;
		}
		if (!begin)
			begin = gs_now();
		while (round < LOOKS - 1 && gs_now() < begin + (round + 1) * LOOK_NS)
			gs_cpu_relax();
	}
	return NULL;
}

/*
 * The proc's index is beyond the number of procs: leave its fibers to all. p may be
 * another's by now, if their number has grown meanwhile.
 */
static void drain(struct gs_proc *p)
{
	struct gs_fiber *f;

	while ((f = gs_runq_take(p)))
		gs_gq_put(&gs_global, f);
	gs_wake_idle();
}

/*
 * The queues of procs that nobody owns any more. Thieves look at them, but there may be
 * none: fibers that only yield never leave their procs without work.
 */
static void drain_retired(uint32_t nproc)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);

	for (uint32_t i = nproc; i < n; i++)
		if (gs_load_relaxed(&gs_lines[i].owner) == GS_RETIRED &&
		    !gs_runq_empty(&gs_procs[i]))
			drain(&gs_procs[i]);
}

/*
 * Is it the shared queues' turn? Once in FAIR_SLICES; an express fiber goes first, but only
 * one: who comes from there may be late by a slice of a hog's otherwise.
 */
static bool fair_turn(struct gs_proc *p)
{
	bool turn = p->owed || p->line->tick % FAIR_SLICES == 0 || all_turn(p);

	p->owed = turn && !p->owed && gs_load_relaxed(&gs_hdr->express_len);
	return turn && !p->owed;
}

/* Who waits longest in the global queue and in that of bound fibers. */
static struct gs_fiber *get_shared(void)
{
	bool bound = gs_bound_first();
	struct gs_fiber *f = gs_gq_get(bound ? &gs_bound : &gs_global);

	return f ? f : gs_gq_get(bound ? &gs_global : &gs_bound);
}

/* Fibers that answer each other through descriptors would keep all others waiting for ever. */
static struct gs_fiber *get_express(struct gs_proc *p)
{
	struct gs_fiber *f;

	if (!gs_load_relaxed(&gs_hdr->express_len))
		return NULL;
	p->express_row = p->turn == p->express_turn + 1 ? p->express_row + 1 : 0;
	p->express_turn = p->turn;
	if (p->express_row >= EXPRESS_ROW && !gs_runq_empty(p)) {
		p->express_row = 0;
		return NULL;
	}
	f = gs_gq_get(&gs_express);
	if (f) {
		p->expressed++;
		/* what next_turn will make of it; first, so that who sees the tick sees this */
		gs_store_relaxed(&p->express_tick, p->line->tick + 1);
	}
	return f;
}

/*
 * There are more threads than there may be, for who was interrupted (worker.c): the others get
 * none by that, and a thread ends when it is not needed. NULL: that is this one, or it is over.
 */
static struct gs_fiber *find_in_excess(struct gs_worker *w)
{
	struct gs_fiber *f = NULL;

	if (!gs_load_relaxed(&gs_hdr->standby)) {
		if (bound_turn(w->proc))
			f = gs_gq_get(&gs_bound);
		if (!f)
			f = gs_gq_get_interrupted();
		if (!f)
			f = gs_gq_get(&gs_bound);
	}
	if (!f)
		w->ending = gs_worker_may_end();
	return f;
}

static struct gs_fiber *find_runnable(struct gs_worker *w)
{
	struct gs_proc *p = gs_proc_of(w);
	uint32_t nproc = gs_load_relaxed(&gs_hdr->nproc);
	struct gs_fiber *f = NULL;

	if (!p)
		return NULL;
	if (p->id >= nproc) {
		drain(p);
		return NULL;
	}
	if (gs_unlikely(gs_load_relaxed(&gs_excess))) {
		f = find_in_excess(w);
		if (f || w->ending)
			return f;
	}
	if (bound_only())
		f = gs_gq_get(&gs_bound);
	if (!f && fair_turn(p)) {
		drain_retired(nproc);
		f = get_shared();
	}
	if (!f && bound_turn(p))
		f = gs_gq_get(&gs_bound);
	if (!f) {
		f = get_express(p);
		if (f)
			return f;
		f = gs_runq_get(p);
	}
	if (f) {
		if (gs_unlikely(gs_load_relaxed(&gs_hdr->express_len)))
			gs_late_hook();
		return f;
	}
	/* who was interrupted just now is behind who waits already */
	if (gs_bound_first()) {
		f = gs_gq_get(&gs_bound);
		if (f)
			return f;
	}
	f = gs_gq_get_batch(&gs_global, p, nproc);
	if (f) {
		gs_wake_idle();
		return f;
	}
	f = gs_gq_get(&gs_bound);
	if (f)
		return f;
	gs_look_hook(true);
	f = gs_runq_get(p); /* what was found alone */
	if (f)
		return f;
	if (!w->spinning) {
		uint32_t busy = nproc - gs_load_relaxed(&gs_hdr->idle);

		if (2 * gs_load_relaxed(&gs_hdr->spinning) >= busy)
			return NULL;
		start_spinning(w);
	}
	f = steal(w);
	if (!f)
		f = gs_gq_get(&gs_express);
	if (!f)
		f = gs_gq_get(&gs_bound);
	if (!f)
		f = gs_gq_get(&gs_global);
	return f;
}

void gs_sched_sync(struct gs_worker *w)
{
	set_proc(w, gs_load_relaxed(&w->slot->proc));
}

void gs_sched_thaw(struct gs_worker *w, struct gs_fiber *f, int grant)
{
	set_proc(w, (uint32_t)(grant & GS_GRANT_PROC) + 1);
	if (gs_traced())
		gs_event(w, GS_EV_RUN, f);
	next_turn(w->proc);
	f->frozen = f->locks ? w : NULL;
	gs_store_relaxed(&f->state, GS_RUNNING);
	/* it never left its stack, so its seqcount stays odd all the time */
	gs_store_relaxed(&w->cur, f);
}

bool gs_sched_has_work(struct gs_worker *w)
{
	struct gs_proc *p = gs_proc_of(w);

	/* theirs is nobody's turn otherwise while the others compute */
	if (p && gs_unlikely(some_retired()))
		drain_retired(gs_load_relaxed(&gs_hdr->nproc));
	return gs_load_relaxed(&gs_hdr->global_len) || gs_load_relaxed(&gs_hdr->express_len) ||
	       gs_load_relaxed(&gs_hdr->bound_runnable) || (p && !gs_runq_empty(p));
}

static void take_grant(struct gs_worker *w, int grant)
{
	set_proc(w, (uint32_t)(grant & GS_GRANT_PROC) + 1);
	w->spinning = grant & GS_GRANT_SPIN;
	if (gs_traced())
		gs_event(w, GS_EV_GRANT, NULL);
}

/*
 * f goes on on its own worker: that one gets our proc, we wait for another. False: none
 * came. A worker that has not parked yet keeps its proc (-EBUSY): f is queued again.
 */
static bool thaw(struct gs_worker *w, struct gs_fiber *f)
{
	int r;

	r = gs_be->park_to(w->slot, f->frozen->id, gs_now() + GS_IDLE_CHECK_NS, false);
	if (r == -EBUSY || r == -EAGAIN) {
		gs_gq_put(&gs_bound, f);
		gs_wake_idle();
		gs_syscall3(SYS_sched_yield, 0, 0, 0);
		return true;
	}
	if (r < 0)
		return false;
	/* as worker_main does: or frozen workers may be all there are */
	gs_worker_granted();
	take_grant(w, r);
	return true;
}

/*
 * A worker that waits bound looks now and then whether it must help itself: an idle proc,
 * its fiber queued, and no stand-by that would bring the two together (preempt.c).
 */
#define RESCUE_FIRST_NS 20000000
#define RESCUE_MOST_NS 1000000000

int gs_sched_await_bound(struct gs_worker *w, struct gs_fiber *f, int r)
{
	int64_t wait = RESCUE_FIRST_NS;

	while (r < 0) {
		r = gs_be->park(w->slot, gs_now() + wait, true);
		if (r == -ETIMEDOUT && !gs_load_relaxed(&gs_hdr->standby) &&
		    gs_load_relaxed(&gs_hdr->idle)) {
			r = gs_be->acquire(w->slot);
			/* not there: it does not run yet, or somebody is about to give us his
			 * proc. PARK gives up ours */
			if (r >= 0 && !gs_gq_remove(&gs_bound, f))
				r = -EAGAIN;
		}
		wait = wait < RESCUE_MOST_NS / 2 ? 2 * wait : wait;
	}
	return r;
}

/*
 * The worker of next, off the queue, gets w's proc, and w waits bound. A grant, or an errno:
 * -ETIMEDOUT and -EINTR w has no proc, -EAGAIN it has kept it and next is queued again, whose
 * worker has not parked yet.
 */
static int give_bound(struct gs_worker *w, struct gs_fiber *next)
{
	int r = gs_be->park_to(w->slot, next->frozen->id, gs_now() + RESCUE_FIRST_NS, true);

	if (r >= 0 || r == -ETIMEDOUT || r == -EINTR)
		return r;
	gs_gq_put(&gs_bound, next);
	gs_wake_idle();
	return -EAGAIN;
}

int gs_sched_exchange(struct gs_worker *w, struct gs_fiber *f, struct gs_fiber *next)
{
	int r = give_bound(w, next);

	/* not there: somebody is about to give us his proc */
	if (r == -EAGAIN && gs_gq_remove(&gs_bound, f))
		r = (int)gs_proc_of(w)->id;
	return r;
}

/* ------------------------------------------------------------------------- */
/* Fibers locked to their threads                                              */

/*
 * Such a fiber runs on one worker, and that worker runs no other. While it waits f->frozen
 * names the worker, which waits in PARK BOUND as a frozen one does; to run it is to give
 * the proc to that worker. Two hops then, over a stand-by, are often one:
 *
 *  - who readies it while a proc is idle has the kernel give that one to the worker;
 *  - when it parks while another such fiber is queued, its worker gives the proc to that
 *    one's by PARK_TO, itself to wait bound: one call.
 *
 * The latter passes over the fibers in other queues, and so is done only when it is the turn
 * of such fibers. Else PARK offers the proc to a stand-by, which looks everywhere.
 */
static int pass_on(struct gs_worker *w)
{
	struct gs_proc *p = gs_proc_of(w);
	struct gs_fiber *next = NULL;
	bool others;

	if (!p || p->id >= gs_load_relaxed(&gs_hdr->nproc))
		return -EAGAIN;
	others = !gs_runq_empty(p) || gs_load_relaxed(&gs_hdr->global_len) ||
		 gs_load_relaxed(&gs_hdr->express_len);
	if (!others || bound_turn(p))
		next = gs_gq_get(&gs_bound);
	if (!next)
		return -EAGAIN;
	if (next != w->locked)
		return give_bound(w, next);
	/* readied before it got here, or it yields, and then to others */
	if (!others && !gs_load_relaxed(&gs_hdr->bound_runnable))
		return (int)p->id;
	gs_gq_put(&gs_bound, next);
	gs_wake_idle();
	return -EAGAIN;
}

/* On g0: wait until w's fiber is to run, and run it. */
static void run_locked(struct gs_worker *w)
{
	struct gs_fiber *f = w->locked;
	int r = gs_sched_await_bound(w, f, pass_on(w));

	set_proc(w, (uint32_t)(r & GS_GRANT_PROC) + 1);
	run_here(w, f);
	switch_to(&w->g0, &f->ref, false);
	gs_sched_finish();
}

void gs_lock_thread(void)
{
	struct gs_fiber *f;

	if (!gs_on_fiber())
		return;
	gs_rt_enter();
	f = gs_self();
	if (f->locks == 0) {
		f->frozen = gs_worker_self();
		f->frozen->locked = f;
	}
	gs_store_relaxed(&f->locks, f->locks + 1);
	gs_rt_leave();
}

void gs_unlock_thread(void)
{
	struct gs_fiber *f;

	if (!gs_on_fiber())
		return;
	gs_rt_enter();
	f = gs_self();
	if (f->locks)
		gs_store_relaxed(&f->locks, f->locks - 1);
	if (f->locks == 0 && f->frozen) {
		f->frozen->locked = NULL;
		f->frozen = NULL;
	}
	gs_rt_leave();
}

/* ------------------------------------------------------------------------- */

/* Run fibers until there are none, or until the proc is gone. On g0, depth 1. */
void gs_sched_run(struct gs_worker *w, int grant)
{
	take_grant(w, grant);
	while (!w->ending) {
		struct gs_fiber *f;

		if (gs_unlikely(w->locked)) {
			run_locked(w);
			continue;
		}
		f = find_runnable(w);
		if (w->spinning) {
			if (f)
				reset_spinning(w);
			else
				stop_spinning(w); /* PARK looks at every queue again */
		}
		if (!f)
			break;
		if (gs_unlikely(f->frozen)) {
			if (!thaw(w, f))
				break;
			continue;
		}
		run_here(w, f);
		switch_to(&w->g0, &f->ref, false);
		gs_sched_finish();
	}
	set_proc(w, 0);
}

const char *gs_wait_text(enum gs_wait reason)
{
	static const char *const text[GS_WAIT_MAX] = {
		[GS_WAIT_NONE] = "",
		[GS_WAIT_CHAN_SEND] = "chan send",
		[GS_WAIT_CHAN_RECV] = "chan receive",
		[GS_WAIT_CHAN_SEND_NIL] = "chan send (nil chan)",
		[GS_WAIT_CHAN_RECV_NIL] = "chan receive (nil chan)",
		[GS_WAIT_SELECT] = "select",
		[GS_WAIT_SELECT_NONE] = "select (no cases)",
		[GS_WAIT_SLEEP] = "sleep",
		[GS_WAIT_MUTEX] = "sync.Mutex.Lock",
		[GS_WAIT_RWMUTEX_R] = "sync.RWMutex.RLock",
		[GS_WAIT_RWMUTEX_W] = "sync.RWMutex.Lock",
		[GS_WAIT_COND] = "sync.Cond.Wait",
		[GS_WAIT_WAITGROUP] = "sync.WaitGroup.Wait",
		[GS_WAIT_SEMA] = "semacquire",
		[GS_WAIT_ONCE] = "sync.Once.Do",
		[GS_WAIT_IO] = "IO wait",
		[GS_WAIT_RUN] = "gs_run",
		[GS_WAIT_YIELD] = "yield",
		[GS_WAIT_PROC] = "waiting for a proc",
		[GS_WAIT_PREEMPTED] = "preempted",
	};

	return reason < GS_WAIT_MAX && text[reason] ? text[reason] : "?";
}
