/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Time slices where no kernel measures them: a timer for each worker that has needed one,
 * on the CPU clock of its thread. It rings by SIGURG, on that thread, and while that thread
 * runs: the kernel looks at such clocks in its tick, and sends the signal on the way to
 * user mode (task work), when a system call that the tick interrupted has come to its end
 * by itself. So no sleep is cut short and no call fails with EINTR: lib/slice tests it.
 *
 * The price is the resolution: a tick, 4 ms at CONFIG_HZ=250. So slices on this backend
 * are rounded up to ticks, and a slice is over when the fiber has run that long as far as
 * the rings tell, give or take one of them. Timers ring eight times a slice, or with
 * every tick, and stand unless somebody waits: uapi section 10, where backend_posix.c's
 * start_ticking and stop_ticking take the place of the module's tick.
 *
 * The timer also keeps the return rule. A worker whose proc was retaken gets its timer set
 * to ring at the first tick that finds it running; it then has a proc, or is told that it
 * is lost. Who runs for less than a tick after each block gets there by chance, in
 * proportion to the time it runs.
 *
 * What the handler does is told in arch/x86_64/redirect.c. At depth > 0 the reason goes to
 * slot.pending.
 *
 * The handler runs on the worker's alternate stack, since the fiber's may be full up to
 * its guard. A program that switched that off in a fiber gets it again.
 */
#include <signal.h>
#include <ucontext.h>

#include "arch.h"
#include "base/sanitizer.h"
#include "posix.h"
#include "redirect.h"
#include "sigwrap.h"

#define SLICE_NS 10000000
#define LOOKS_A_SLICE 8
#define PERIOD_MIN_NS 100000

static bool possible;	    /* written once */
static int64_t slice_ns;    /* written once */
static int64_t interval_ns; /* written once: of the timers */
static int64_t period_ns;   /* written once: at which they ring */

#if defined(__x86_64__) && !defined(GS_TSAN)

static void count(uint64_t *n)
{
	gs_store_relaxed(n, *n + 1);
}

static void ring(struct gs_slot *slot, ucontext_t *uc, bool kick)
{
	uint32_t reason;

	if (slot->depth) {
		if (gs_posix_tick_inside(slot, kick)) {
			gs_store_relaxed(&slot->pending, slot->pending | GS_PENDING_PREEMPT);
			count(&slot->refusals);
		}
		return;
	}
	if (uc->uc_stack.ss_flags & SS_DISABLE)
		uc->uc_stack = gs_posix_slice(slot)->stack;
	/* as by gs_arch_pin: pairs with sysmon's membarrier */
	gs_store_relaxed(&slot->depth, 1);
	__asm__ volatile("" ::: "memory");
	reason = gs_posix_tick(slot, kick);
	if (reason && gs_redirect(slot, uc, reason)) {
		count(&slot->upcalls);
		return;
	}
	if (reason)
		count(&slot->refusals);
	__asm__ volatile("" ::: "memory");
	gs_store_relaxed(&slot->depth, 0);
}

/* All signals are blocked. errno is not touched: nothing here calls libc. */
static void on_sigurg(int sig, siginfo_t *info, void *context)
{
	bool rang = info->si_code == SI_TIMER && info->si_value.sival_ptr == &possible;
	bool kicked = info->si_code == SI_QUEUE && info->si_value.sival_ptr == &possible;
	struct gs_slot *slot = gs_arch_slot();

	(void)sig;
	if (!rang && !kicked) {
		gs_sig_pass_urg(info, context);
		return;
	}
	gs_redirect_count(context);
	if (slot)
		ring(slot, context, kicked);
}

static bool handle(void)
{
	return gs_sig_take_urg(on_sigurg) == 0;
}

#else

static bool handle(void)
{
	return false;
}

#endif

bool gs_slice_init(const struct gs_upcall_setup *upcall)
{
	struct timespec tick = {0};

	slice_ns = upcall->slice_ns ? upcall->slice_ns : SLICE_NS;
	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	interval_ns = slice_ns / LOOKS_A_SLICE;
	if (interval_ns < PERIOD_MIN_NS)
		interval_ns = PERIOD_MIN_NS;
	period_ns = interval_ns;
	if (period_ns < tick.tv_nsec) {
		period_ns = tick.tv_nsec;
		/* a little less than a tick, or every other tick would be too early */
		interval_ns = interval_ns < period_ns / 2 ? interval_ns : period_ns / 2;
	}
	possible = upcall->entry && handle();
	return possible;
}

bool gs_slice_possible(void)
{
	return possible;
}

void gs_slice_kick(int32_t tid)
{
	siginfo_t info = {.si_signo = SIGURG, .si_code = SI_QUEUE};
	long pid = gs_syscall3(SYS_getpid, 0, 0, 0);

	info.si_value.sival_ptr = &possible;
	gs_syscall6(SYS_rt_tgsigqueueinfo, pid, tid, SIGURG, (long)&info, 0, 0);
}

static bool make(struct gs_slice *s, int32_t tid)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGURG,
		.sigev_value.sival_ptr = &possible,
	};

	event._sigev_un._tid = tid;
	/* fails where the limit of queued signals is reached: then it is not interrupted */
	s->made = gs_syscall3(SYS_timer_create, gs_posix_cpuclock(tid), &event, &s->timer) == 0;
	return s->made;
}

static void set(struct gs_slice *s, int64_t first, int64_t interval)
{
	struct itimerspec spec = {
		.it_value = {.tv_sec = first / 1000000000, .tv_nsec = first % 1000000000},
		.it_interval = {.tv_sec = interval / 1000000000, .tv_nsec = interval % 1000000000},
	};

	gs_syscall6(SYS_timer_settime, s->timer, 0, (long)&spec, 0, 0, 0);
}

void gs_slice_arm(struct gs_slice *s, int32_t tid, bool now)
{
	if (!possible || (s->armed && !now) || (!s->made && !make(s, tid)))
		return;
	s->armed = true;
	set(s, now ? 1 : interval_ns, interval_ns);
}

void gs_slice_disarm(struct gs_slice *s)
{
	if (!s->armed)
		return;
	s->armed = false;
	set(s, 0, 0);
}

void gs_slice_attach(struct gs_slice *s)
{
	gs_syscall3(SYS_sigaltstack, NULL, &s->stack, 0);
}

void gs_slice_free(struct gs_slice *s)
{
	if (s->made)
		gs_syscall3(SYS_timer_delete, s->timer, 0, 0);
	s->made = false;
	s->armed = false;
}

bool gs_slice_over(struct gs_slice *s, uint32_t proc, uint32_t tick)
{
	struct timespec ts;
	int64_t cpu;

	gs_syscall3(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &ts, 0);
	cpu = ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
	if (s->proc != proc || s->tick != tick || !s->since) {
		s->proc = proc;
		s->tick = tick;
		s->since = cpu;
	}
	/* it may have begun right after the last ring */
	return cpu - s->since + period_ns >= slice_ns;
}
