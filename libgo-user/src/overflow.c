/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard page below a fiber's stack was touched: SIGSEGV, or SIGBUS where the guard is a
 * poisoned page (guard.c). The handler runs on the worker's signal stack. It says which
 * fiber it was, how large its stack is and what makes it larger, and where the fiber is;
 * then the process dies by SIGSEGV, with a core file, as it would without the handler.
 *
 * A fiber that has no guard but a canary (stack.c) is found out when it parks or ends.
 *
 * Every other fault is let through: the action becomes the default again, and the
 * instruction is run once more. A program that handles these signals itself replaces the
 * handler, or has been there before it: then nothing is said here.
 */
#include "overflow.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "arch.h"
#include "backend.h"
#include "backtrace.h"
#include "base/fatal.h"
#include "base/syscall.h"
#include "fiber.h"
#include "guard.h"
#include "sched_int.h"
#include "sigwrap.h"
#include "worker.h"

#if !defined(GS_ASAN) && !defined(GS_TSAN)

/* The fiber of this thread, if the address is in its guard. */
static struct gs_fiber *overflown(const siginfo_t *info)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	struct gs_slot *slot = gs_arch_slot();
	struct gs_fiber *f;

	/* somebody sent it */
	if (info->si_code <= 0 || !slot)
		return NULL;
	f = gs_load_relaxed(&slot->worker->cur);
	if (!f)
		return NULL;
	return (uintptr_t)f->ref.stack.lo - at - 1 < GS_GUARD_SIZE ? f : NULL;
}

/* The cold part is at the other end of the stack. */
static void report(const struct gs_fiber *f)
{
	size_t size = f->ref.stack.size + GS_GUARD_SIZE;
	const char *name = f->cold->name;
	char buf[400];
	int n;

	n = snprintf(buf, sizeof(buf),
		     "gsched: fiber %llu%s%s%s needs more stack than %zu bytes: see GSCHED_STACK, "
		     "gs_go_attr%s\n"
		     "fatal error: stack overflow\n\nfiber %llu [running]:\n",
		     (unsigned long long)f->id, *name ? " (" : "", name, *name ? ")" : "", size,
		     size == gs_stack_default() ? "" : ", and ulimit -s for gs_run",
		     (unsigned long long)f->id);
	gs_write_all(2, buf, (size_t)n);
}

static void by_default(int signo)
{
	const struct sigaction none = {.sa_handler = SIG_DFL};

	sigaction(signo, &none, NULL);
}

static void raise_here(int signo)
{
	gs_syscall3(SYS_tgkill, gs_syscall3(SYS_getpid, 0, 0, 0), gs_syscall3(SYS_gettid, 0, 0, 0),
		    signo);
}

static void fault(int signo, siginfo_t *info, void *context)
{
	const struct gs_fiber *f = overflown(info);

	(void)context;
	/* first: a fault from here on must not come back here */
	by_default(SIGSEGV);
	by_default(SIGBUS);
	if (f) {
		gs_dying();
		report(f);
		gs_backtrace_print(2, 2);
		signo = SIGSEGV;
	} else if (info->si_code > 0) {
		return;
	}
	/* taken when the handler returns */
	raise_here(signo);
}

/* Without a guard: the fiber parks or ends, with more written than its stack has room for. */
static _Noreturn void overrun(const struct gs_fiber *f)
{
	by_default(SIGSEGV);
	gs_dying();
	report(f);
	gs_backtrace_print(2, 2);
	raise_here(SIGSEGV);
	gs_die(2);
}

void gs_overflow_init(void)
{
	const struct sigaction mine = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	gs_overrun_hook = overrun;
	gs_sig_set_default(SIGSEGV, mine);
	gs_sig_set_default(SIGBUS, mine);
}

#else

/* The sanitizers report it themselves. */
void gs_overflow_init(void) {}

#endif
