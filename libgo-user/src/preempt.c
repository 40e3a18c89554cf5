/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupted fibers.
 *
 * A fiber interrupted anywhere may be inside malloc or printf: no other fiber may run on
 * that TLS until it goes on, and it must go on with that TLS. There are two ways.
 *
 * It *travels*: it takes along the TLS context it was interrupted on (tls.h), into the
 * global queue and to whichever worker takes it from there; its worker goes on with
 * another one. Who takes it holds that context from then on, and puts his own into the
 * pool; when the fiber parks of its own will the context stays where it is. So contexts
 * are as many as workers and interrupted fibers, and a voluntary switch costs nothing for
 * it.
 *
 *	worker W, fiber f on context A		worker X, on context C
 *	take B from the pool
 *	f->tls = A, hold B
 *	leave f's stack (and A's upcall area)
 *	queue f					take f off the queue
 *						hold A, put C into the pool
 *						switch to f: upcall.S restores it
 *
 * Or it keeps its whole thread: the worker *freezes*. Where contexts cannot be had (other
 * libc, sanitizers), and besides
 *  - for a fiber that lost its proc in a block: it has its own thread anyway;
 *  - inside libc: the fiber may hold a lock that the spawner needs to make a thread, so it
 *    must not depend on finding a worker (the reserve, below). Such a preemption is put
 *    off for a slice first;
 *  - locked to its thread (gs_lock_thread);
 *  - in a signal handler, or with a signal mask of its own: that belongs to the thread.
 *
 * Who was interrupted may hold any lock of the program's, or one of libc's that calls back
 * (dl_iterate_phdr). When all threads there may be wait for it there is one more (worker.c).
 *
 * No convoys: who is interrupted with a lock makes a queue of those who want it. Go's runtime
 * has no such locks, libc is full of them. Two things are for it: a preemption that hits
 * libc's code is put off for a slice, and one that does not travels to the end of the queue
 * like any other. With these, 200 fibers on one FILE and malloc's arenas take 0.84 to 1.01
 * times as long with slices of 10 ms as without (selftests/lib/convoy). So there is no rule
 * that somebody's block in a futex brings forward those who were interrupted; it would need
 * the backend to say which blocks are such.
 *
 * Freezing: the fiber is queued like any runnable one, marked
 * with its worker; the worker waits in PARK BOUND. Who takes the fiber off the queue does
 * not switch to it but gives its proc to the frozen worker by PARK_TO, and becomes a
 * stand-by itself.
 *
 *	frozen worker W				worker X
 *	queue f, marked W			takes f off the queue
 *	PARK BOUND (gives up its proc)		PARK_TO(W)
 *
 * X may come before W parked: the grant is latched if W holds no proc any more; if it
 * still does (preempt), PARK_TO fails with -EBUSY, and X queues f again.
 *
 * Frozen fibers have a queue of their own, gs_bound; its length, header.bound_runnable, is
 * demand for the kernel.
 *
 * The interrupted fiber may hold a lock that the spawner needs to make a thread, so that
 * there are no new stand-bys before it has gone on. Hence the reserve (uapi section 8): one
 * stand-by serves bound fibers only, and who gave his proc to one is a stand-by again. That
 * one can be lost, too: a worker takes a proc without having been granted it, by PARK or
 * when it comes back from a block, and then its fiber blocks. Then a proc is idle and nobody
 * is there to take it, and a frozen worker takes it by itself, after a while. Or it is not:
 * a fiber computes on it. That one is interrupted all the same, and freezes by an exchange,
 * which takes no stand-by:
 *
 *	worker W, computing			frozen worker X, in PARK BOUND
 *	take its fiber off gs_bound
 *	queue f, marked W
 *	PARK_TO(X), bound			goes on
 *
 * For those who wait may hold the lock, or just have been woken for it: a futex's wake is
 * used up then, and the spawner, next in the line, gets none before they have been there.
 */
#include "preempt.h"

#include <cpuid.h>
#include <errno.h>
#include <gsched/time.h>
#include <signal.h>
#include <sys/mman.h>

#include "arch.h"
#include "backend.h"
#include "base/mmap.h"
#include "base/syscall.h"
#include "event.h"
#include "runq.h"
#include "sched_int.h"
#include "tls.h"
#include "upcall.h"
#include "worker.h"

/* How long a preemption that hit libc is put off: a slice. */
#define SLICE_NS 10000000
static int64_t slice_ns = SLICE_NS; /* before the first worker */

static uint64_t normal_mask; /* the workers' signal mask; before the first worker */

uint32_t gs_upcall_xsave; /* bytes of the xsave area: arch/x86_64/upcall.S */

void gs_upcall(void);

#ifdef GS_INJECT
/* As the backend does where it may not interrupt. */
static void ask_to_yield(void)
{
	struct gs_slot *slot = gs_arch_slot();

	if (slot && slot->depth)
		__atomic_fetch_or(&slot->pending, GS_PENDING_PREEMPT, __ATOMIC_RELAXED);
}
#endif

void gs_preempt_init(void)
{
	unsigned int a, b, c, d;

#ifdef GS_INJECT
	gs_inject_preempt = ask_to_yield;
#endif
	if (!gs_arch_gs || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return;
	__cpuid_count(0xd, 0, a, b, c, d);
	gs_upcall_xsave = b;
}

const char *gs_preempt_why_not(void)
{
#ifdef GS_TSAN
	/* its books are a thread's: whose, where a fiber leaves in the midst of them? */
	return "ThreadSanitizer";
#else
	if (!gs_load_relaxed(&gs_arch_gs))
		return "no FSGSBASE";
	if (!gs_upcall_xsave || gs_upcall_xsave >= GS_UPCALL_AREA / 2)
		return "no room for the registers";
	return NULL;
#endif
}

void gs_preempt_trampoline(struct gs_upcall_setup *setup)
{
	if (setup->slice_ns)
		slice_ns = setup->slice_ns;
	if (gs_preempt_why_not())
		return;
	setup->entry = (uintptr_t)gs_upcall_entry;
	setup->size = (uintptr_t)gs_upcall_end - (uintptr_t)gs_upcall_entry;
}

/* Handlers run there: the stack of the fiber below may be full. 0 or -ENOMEM. */
static int signal_stack(struct gs_worker *w)
{
	stack_t had = {.ss_flags = SS_DISABLE}, mine = {.ss_size = GS_SIGSTACK};
	char *p;

	/* a sanitizer may have given the thread one, and will take that back itself */
	gs_syscall3(SYS_sigaltstack, NULL, &had, 0);
	if (!(had.ss_flags & SS_DISABLE)) {
		w->signal_stack = had.ss_sp;
		w->signal_size = (uint32_t)had.ss_size;
		return 0;
	}
	p = gs_mmap(GS_UPCALL_GUARD + GS_SIGSTACK, 0);
	if (!p)
		return -ENOMEM;
	gs_syscall3(SYS_mprotect, p, GS_UPCALL_GUARD, PROT_NONE);
	w->signal_stack = p + GS_UPCALL_GUARD;
	w->signal_size = GS_SIGSTACK;
	w->signal_ours = true;
	mine.ss_sp = w->signal_stack;
	return (int)gs_syscall3(SYS_sigaltstack, &mine, NULL, 0);
}

int gs_preempt_worker(struct gs_worker *w)
{
	int err = signal_stack(w);

	if (err)
		return err;
	w->native_tp = gs_arch_tp();
	if (gs_tls_travels) {
		w->tls = gs_tls_get();
		if (!w->tls)
			w->tls = gs_tls_make();
		return w->tls ? 0 : -ENOMEM;
	}
	w->upcall_area = gs_tls_area();
	return w->upcall_area ? 0 : -ENOMEM;
}

void gs_preempt_attached(struct gs_worker *w)
{
	if (w->tls)
		gs_sched_hold_tls(w, w->tls);
	else
		w->slot->area = w->upcall_area;
}

void gs_preempt_detach(struct gs_worker *w)
{
	if (w->signal_ours) {
		const stack_t off = {.ss_flags = SS_DISABLE};

		gs_syscall3(SYS_sigaltstack, &off, NULL, 0);
		gs_munmap(w->signal_stack - GS_UPCALL_GUARD, GS_UPCALL_GUARD + GS_SIGSTACK);
		w->signal_ours = false;
	}
	if (!w->tls) {
		if (w->upcall_area)
			gs_tls_area_free(w->upcall_area);
		w->upcall_area = NULL;
		return;
	}
	gs_arch_set_tp(w->native_tp);
	gs_tls_put(w->tls);
	w->tls = NULL;
}

/* ------------------------------------------------------------------------- */
/* libc's signal 33                                                            */

/*
 * setuid and its kin have every thread run a handler of libc's, which finds its thread by
 * the thread pointer: it must be the native one. Nothing else may come in between.
 */
#define SIGSETXID 33

struct kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static void (*libc_setxid)(int, siginfo_t *, void *);

static void setxid(int signo, siginfo_t *info, void *context)
{
	struct gs_slot *slot = gs_arch_slot();
	void *tp;

	if (!slot) {
		libc_setxid(signo, info, context);
		return;
	}
	tp = slot->tls;
	gs_arch_set_tp(slot->worker->native_tp);
	libc_setxid(signo, info, context);
	gs_arch_set_tp(tp);
}

/* libc installs its handler with its first thread: there has been one. */
static bool wrap_setxid(void)
{
	struct kernel_sigaction sa;

	if (gs_syscall6(SYS_rt_sigaction, SIGSETXID, 0, (long)&sa, sizeof(sa.mask), 0, 0) ||
	    !(sa.flags & SA_SIGINFO))
		return false;
	if (sa.handler == setxid)
		return true;
	libc_setxid = sa.handler;
	sa.handler = setxid;
	sa.mask = UINT64_MAX;
	return !gs_syscall6(SYS_rt_sigaction, SIGSETXID, (long)&sa, 0, sizeof(sa.mask), 0, 0);
}

const char *gs_preempt_tls(bool wanted, bool protect)
{
	const char *why = wanted ? gs_tls_init() : "GSCHED_TLS=frozen";

	gs_tls_unprotected = !protect;
	if (!why && !wrap_setxid()) {
		gs_tls_travels = false;
		why = "libc's handler of signal 33 is not as expected";
	}
	if (!why)
		gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, 0, (long)&normal_mask,
			    sizeof(normal_mask), 0, 0);
	normal_mask &= ~(UINT64_C(1) << (SIGURG - 1)); /* as worker.c */
	return why;
}

/* ------------------------------------------------------------------------- */

/*
 * Queue the fiber and wait for a proc, on this very thread. next: who gets ours, off gs_bound,
 * or NULL. Depth 1, on the upcall area.
 */
static void freeze(struct gs_worker *w, struct gs_fiber *f, struct gs_fiber *next)
{
	int r = -EAGAIN;

	gs_store_relaxed(&w->freezes, w->freezes + 1);
	f->reason = GS_WAIT_PREEMPTED;
	f->frozen = w;
	if (gs_traced())
		gs_event(w, GS_EV_PARK, f);
	gs_store_relaxed(&f->state, GS_RUNNABLE);
	gs_store_relaxed(&w->cur, NULL);
	gs_gq_put(&gs_bound, f);
	gs_wake_idle();
	if (next)
		r = gs_sched_exchange(w, f, next);
	gs_sched_thaw(w, f, gs_sched_await_bound(w, f, r));
}

/*
 * May the fiber leave its thread? Not from a signal handler, nor from where it blocks
 * signals: the mask is the thread's.
 */
static bool may_travel(void)
{
	uint64_t mask = 0;

	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, 0, (long)&mask, sizeof(mask), 0, 0);
	return mask == normal_mask;
}

/*
 * Interrupted inside libc: wait for a better moment? Not longer than a slice from the first
 * time in this turn of the fiber's.
 */
static bool put_off(struct gs_worker *w)
{
	uint32_t turn = gs_proc_of(w)->turn;
	int64_t now = gs_now();

	if (!w->put_off || w->put_off_turn != turn) {
		w->put_off = now;
		w->put_off_turn = turn;
	}
	return now - w->put_off < slice_ns;
}

/* Preempted, and others wait. */
static void preempted(struct gs_worker *w, struct gs_fiber *f)
{
	struct gs_fiber *next = NULL;
	uint32_t standbys;

	if (gs_tls_travels && !f->locks) {
		struct gs_tls *fresh;

		if (!gs_tls_unprotected && gs_tls_in_libc(w->slot->ip)) {
			if (put_off(w))
				return;
		} else if (may_travel()) {
			fresh = gs_tls_get();
			if (gs_tls_pooled() < GS_TLS_SPARE)
				gs_spawner_wake();
			if (fresh) {
				gs_store_relaxed(&w->travels, w->travels + 1);
				gs_sched_travel(w, fresh);
				return;
			}
		}
	}
	standbys = gs_load_relaxed(&gs_hdr->standby);
	if (standbys <= gs_load_relaxed(&gs_hdr->reserve)) {
		gs_spawner_wake();
		/* the reserve is for bound fibers; the next tick tries again */
		if (!gs_load_relaxed(&gs_hdr->bound_runnable))
			return;
		if (!standbys) {
			next = gs_gq_get(&gs_bound);
			if (!next)
				return;
		}
	}
	freeze(w, f, next);
}

/*
 * The C half of the upcall: on the worker's upcall area, at depth 1. errno and the whole
 * register file belong to the interrupted fiber; the trampoline saves the latter, and
 * nothing here touches the former.
 */
void gs_upcall(void)
{
	struct gs_slot *slot = gs_arch_slot();
	struct gs_worker *w = slot->worker;

	gs_sched_sync(w);
	if (!gs_proc_of(w))
		freeze(w, w->cur, NULL);
	else if (gs_sched_has_work(w))
		/* else it is not worth it */
		preempted(w, w->cur);
}

void gs_preempt_pending(void)
{
	struct gs_slot *slot = gs_arch_pin();

	/* no exchange: a bit that is lost here asks for what is done below */
	gs_store_relaxed(&slot->pending, 0);
	gs_arch_unpin();
	/* lost: enter finds a proc or queues the fiber; preempted: let the others run */
	gs_sched_preempted();
}
