/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sigaction, signal, pthread_sigmask and sigprocmask, before libc's: the library defines
 * them itself, so that a program linked with it calls these. They keep two rules:
 *
 *   1. A handler runs on the alternate stack if its thread has one, and with SIGURG
 *	blocked (SA_ONSTACK, SIGURG in sa_mask). A worker has one: the stack of the fiber
 *	that is interrupted may be small or full. A handler is not interrupted by the
 *	runtime, which would leave the thread with the handler's mask.
 *   2. SIGURG is not blocked on a worker: who blocks it is not interrupted, and neither
 *	would be the fibers that come after. On the program's own threads it may be.
 *
 * The program does not see it: what sigaction gives back is what was asked for. Handlers
 * that came another way (sigset, raw system calls, shared objects that bind libc's symbol
 * by its version) are brought in line when the runtime starts, if they are there by then.
 *
 * Where the runtime needs SIGURG itself, the program's action for it is kept here, and
 * called for signals that are not the runtime's. A program that has no handler for it but
 * has it blocked when the runtime starts may wait for it, by sigwait or a signalfd; then
 * one that comes to a worker (which may not know yet that it is one) is sent on to the
 * process, and that thread blocks it from then on. So it reaches who waits; the worker is
 * interrupted no more.
 *
 * Under TSan all that is TSan's own business, and nothing is interrupted.
 */
#include "sigwrap.h"

#include <errno.h>
#include <stdint.h>
#include <ucontext.h>

#include "arch.h"
#include "base/lock.h"
#include "base/syscall.h"

/* glibc's own two, and the number of signals the kernel knows of */
#define SIG_CANCEL 32
#define SIG_SETXID 33
#define SIGNALS 64

void gs_sig_set_default(int sig, struct sigaction action)
{
	struct sigaction had;

	if (sigaction(sig, NULL, &had) || gs_sig_is_handler(&had) || had.sa_handler != SIG_DFL)
		return;
	sigfillset(&action.sa_mask);
	sigaction(sig, &action, NULL);
}

#ifndef GS_TSAN

static uint64_t added_onstack, added_urg; /* atomic: a bit for each signal */
static bool urg_taken;			  /* atomic */
static bool urg_waited;			  /* before urg_taken */
static struct sigaction urg;		  /* the program's; urg_lock */
static struct gs_lock urg_lock;		  /* taken with all signals blocked */
GS_LOCK_FORKS(urg_locks, urg_lock);

static uint64_t bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

static bool in_line(const struct sigaction *a)
{
	return !gs_sig_is_handler(a) ||
	       ((a->sa_flags & SA_ONSTACK) && sigismember(&a->sa_mask, SIGURG));
}

static void note(uint64_t *word, int sig, bool added)
{
	if (added)
		gs_fetch_or_seq(word, bit(sig));
	else
		gs_fetch_and_relaxed(word, ~bit(sig));
}

/* Rule 1. */
static void bring_in_line(int sig, struct sigaction *a)
{
	note(&added_onstack, sig, gs_sig_is_handler(a) && !(a->sa_flags & SA_ONSTACK));
	note(&added_urg, sig, gs_sig_is_handler(a) && !sigismember(&a->sa_mask, SIGURG));
	if (!gs_sig_is_handler(a))
		return;
	a->sa_flags |= SA_ONSTACK;
	sigaddset(&a->sa_mask, SIGURG);
}

static void as_asked(struct sigaction *a, uint64_t onstack, uint64_t no_urg)
{
	if (onstack)
		a->sa_flags &= ~SA_ONSTACK;
	if (no_urg)
		sigdelset(&a->sa_mask, SIGURG);
}

static void block_all(uint64_t *old)
{
	const uint64_t all = UINT64_MAX;

	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)old, sizeof(all), 0, 0);
}

static void unblock(const uint64_t *old)
{
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)old, 0, sizeof(*old), 0, 0);
}

static void urg_action(const struct sigaction *action, struct sigaction *old)
{
	struct sigaction was;
	uint64_t mask;

	block_all(&mask);
	gs_lock_acquire(&urg_lock);
	was = urg;
	if (action)
		urg = *action;
	gs_lock_release(&urg_lock);
	unblock(&mask);
	if (old)
		*old = was;
}

__attribute__((visibility("default"))) int sigaction(int sig, const struct sigaction *action,
						     struct sigaction *old)
{
	struct sigaction mine;
	uint64_t onstack, no_urg;
	int r;

	if (sig < 1 || sig > SIGNALS)
		return __sigaction(sig, action, old);
	if (sig == SIGURG && gs_load_acquire(&urg_taken)) {
		urg_action(action, old);
		return 0;
	}
	onstack = gs_load_relaxed(&added_onstack) & bit(sig);
	no_urg = gs_load_relaxed(&added_urg) & bit(sig);
	if (action) {
		mine = *action;
		bring_in_line(sig, &mine);
		action = &mine;
	}
	r = __sigaction(sig, action, old);
	if (r == 0 && old)
		as_asked(old, onstack, no_urg);
	return r;
}

/* As BSD's, and glibc's; without siginterrupt, whose word is libc's own. */
__attribute__((visibility("default"))) __sighandler_t signal(int sig, __sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;

	if (handler == SIG_ERR || sig < 1 || sig > SIGNALS) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, sig);
	return sigaction(sig, &action, &old) ? SIG_ERR : old.sa_handler;
}

static int mask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t mine;

	if (set && how != SIG_UNBLOCK) {
		mine = *set;
		/* glibc does the same: they are its own; they cannot be named to sigdelset */
		mine.__val[0] &= ~(bit(SIG_CANCEL) | bit(SIG_SETXID));
		if (gs_arch_slot())
			mine.__val[0] &= ~bit(SIGURG);
		set = &mine;
	}
	return (int)gs_syscall6(SYS_rt_sigprocmask, how, (long)set, (long)old, SIGNALS / 8, 0, 0);
}

__attribute__((visibility("default"))) int pthread_sigmask(int how, const sigset_t *set,
							   sigset_t *old)
{
	return -mask(how, set, old);
}

__attribute__((visibility("default"))) int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int r = mask(how, set, old);

	if (r == 0)
		return 0;
	errno = -r;
	return -1;
}

void gs_sig_init(void)
{
	for (int sig = 1; sig <= SIGNALS; sig++) {
		struct sigaction a;

		if (sig == SIG_CANCEL || sig == SIG_SETXID || __sigaction(sig, NULL, &a) ||
		    in_line(&a))
			continue;
		bring_in_line(sig, &a);
		__sigaction(sig, &a, NULL);
	}
}

static bool urg_blocked(void)
{
	sigset_t now;

	mask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, SIGURG);
}

int gs_sig_take_urg(void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
	};

	urg_waited = urg_blocked();
	sigfillset(&action.sa_mask);
	sigaction(SIGURG, NULL, &urg);
	if (__sigaction(SIGURG, &action, NULL))
		return -errno;
	gs_store_release(&urg_taken, true);
	return 0;
}

void gs_sig_pass_urg(siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct sigaction a;
	uint64_t during;
	long pid;

	urg_action(NULL, &a);
	if (!gs_sig_is_handler(&a)) {
		if (!urg_waited || a.sa_handler == SIG_IGN)
			return;
		sigaddset(&uc->uc_sigmask, SIGURG);
		pid = gs_syscall3(SYS_getpid, 0, 0, 0);
		if (!gs_syscall3(SYS_rt_sigqueueinfo, pid, SIGURG, info))
			return;
		/* only the process's first thread may say that it came from kill */
		info->si_code = SI_QUEUE;
		gs_syscall3(SYS_rt_sigqueueinfo, pid, SIGURG, info);
		return;
	}
	if (a.sa_flags & SA_RESETHAND) {
		struct sigaction none = {.sa_handler = SIG_DFL};

		urg_action(&none, NULL);
	}
	/* as if it were entered by the kernel; SIGURG stays blocked, by rule 1 */
	during = uc->uc_sigmask.__val[0] | a.sa_mask.__val[0] | bit(SIGURG);
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&during, 0, sizeof(during), 0, 0);
	if (a.sa_flags & SA_SIGINFO)
		a.sa_sigaction(SIGURG, info, context);
	else
		a.sa_handler(SIGURG);
}

static void pass_urg(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	gs_sig_pass_urg(info, context);
}

void gs_sig_mind_urg(void)
{
	if (urg_blocked())
		gs_sig_take_urg(pass_urg);
}

#else

void gs_sig_init(void) {}

void gs_sig_mind_urg(void) {}

int gs_sig_take_urg(void (*handler)(int, siginfo_t *, void *))
{
	(void)handler;
	return -EOPNOTSUPP;
}

#endif
