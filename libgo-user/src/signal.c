/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals into channels: gsched/signal.h says what is promised.
 *
 *	the kernel			the poller, at each turn	a channel
 *	runs on_signal: a bit in	takes `pending`, and		receives
 *	`pending`, wakes the poller	offers to each sink
 *
 * on_signal may interrupt anything, also code that holds runtime locks or libc's, or that
 * is half way from one fiber's thread-local storage to the next's. So it does what is safe
 * anywhere: atomic words, and one write to the eventfd that the poller waits for, by raw
 * system calls. The channels' locks are left to the poller, an ordinary thread that never
 * waits for a proc: a signal is told however busy the procs are. The poller also has the
 * notified signals unblocked, so that some thread takes them if the program's all do not.
 *
 * Rejected: a signalfd. It tells only signals that are blocked in all threads, and then
 * foreign code and programs started by exec have them blocked, too.
 *
 * Whoever restores an action does it first and clears the bit in `wanted` then; who
 * installs ours does so last. So the handler finds the bit clear only if another action
 * than ours is there already, and hands the signal on to that one (pass_on): it is told or
 * acts, and is not lost.
 *
 *	handler				settle
 *	inflight++			wanted &= ~bit
 *	wanted & bit?			inflight == 0?
 *	pending |= bit			deliver
 *	inflight--
 *
 * Forbidden: the bit is set in pending after the last look at it. All four words are
 * accessed sequentially consistent.
 */
#include <gsched/signal.h>

#include <errno.h>
#include <gsched/runtime.h>
#include <gsched/sync.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#include "base/syscall.h"
#include "chan.h"
#include "netpoll.h"
#include "poller.h"
#include "sched.h"
#include "sigwrap.h"

#define SIGNALS 64
#define SA_RESTORER 0x04000000 /* the kernel's, which libc hides */

/* glibc's own, which cannot be taken, nor blocked */
#define LIBC_SIGNALS (bit(32) | bit(33))

/* A channel. Protection: [L] lock. */
struct sink {
	gs_chan *chan;	   /* a reference */
	uint64_t want;	   /* L: it is notified of these */
	uint64_t late;	   /* L: no more, but those that came before are still sent */
	struct sink *next; /* L */
};

static struct gs_lock lock;
static struct sink *sinks; /* L: the oldest first */
static uint64_t taken;	   /* L: where our handler is, as far as we know */
/*
 * What was there before us. A handler that is late may read while this is written anew, so the
 * other one of two is written, and only if it differs.
 */
static struct sigaction saved[SIGNALS + 1][2]; /* L writes the one that is not current */
static uint8_t current[SIGNALS + 1];	       /* release by L, acquire */
static uint64_t used_up;		       /* atomic: its SA_RESETHAND has come true */
static gs_mutex lessening;		       /* of whoever makes sinks want less; before lock */

static uint64_t wanted;	  /* atomic; L writes: the signals of all sinks */
static uint64_t pending;  /* atomic: came, not told yet */
static uint64_t ignored;  /* atomic; L writes: where SIG_IGN is ours */
static uint32_t inflight; /* atomic: handlers at work */
static long owner;	  /* atomic: this process, not a fork of it; before the first handler */

static inline uint64_t bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

static bool valid(int sig)
{
	return sig >= 1 && sig <= SIGNALS && sig != SIGKILL && sig != SIGSTOP &&
	       !(bit(sig) & LIBC_SIGNALS);
}

/* ------------------------------------------------------------------------- */
/* The handler                                                                 */

static void on_signal(int sig, siginfo_t *info, void *context);

static bool is_ours(const struct sigaction *a)
{
	return (a->sa_flags & SA_SIGINFO) && a->sa_sigaction == on_signal;
}

/* Raised by an instruction of this thread, which would only raise it again. */
static bool is_fault(int sig, const siginfo_t *info)
{
	return info->si_code > 0 && (sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE ||
				     sig == SIGILL || sig == SIGTRAP || sig == SIGSYS);
}

static struct sigaction *what_was(int sig)
{
	/* acquire: pairs with the release in save */
	return &saved[sig][gs_load_acquire(&current[sig])];
}

/* The kernel knows one word of the mask, and libc adds a flag of its own. */
static bool same(const struct sigaction *a, const struct sigaction *b)
{
	return a->sa_sigaction == b->sa_sigaction && a->sa_mask.__val[0] == b->sa_mask.__val[0] &&
	       !((a->sa_flags ^ b->sa_flags) & ~SA_RESTORER);
}

/* Lock held. */
static void save(int sig, const struct sigaction *a)
{
	uint8_t other = !gs_load_relaxed(&current[sig]);

	if (same(what_was(sig), a) && !(gs_load_relaxed(&used_up) & bit(sig)))
		return;
	saved[sig][other] = *a;
	/* release: pairs with the acquire in what_was */
	gs_store_release(&current[sig], other);
	gs_fetch_and_relaxed(&used_up, ~bit(sig));
}

/* Put it back. Lock held, or in the child of a fork. */
static void restore(int sig)
{
	const struct sigaction none = {.sa_handler = SIG_DFL};

	sigaction(sig, gs_load_relaxed(&used_up) & bit(sig) ? &none : what_was(sig), NULL);
}

static void our_action(struct sigaction *a)
{
	*a = (struct sigaction){
		.sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
	};
	sigfillset(&a->sa_mask);
}

static bool default_stops(int sig)
{
	return sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

/* A stopped process went on when SIGCONT was sent. */
static bool default_ignores(int sig)
{
	return sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH;
}

/*
 * As if it had come to what was installed before us. All signals are blocked. mine: it is not
 * the child of a fork, or of a vfork, whose actions are its own, though its memory may be ours.
 */
static void pass_on(int sig, siginfo_t *info, void *context, bool mine)
{
	const struct sigaction none = {.sa_handler = SIG_DFL};
	const ucontext_t *uc = context;
	uint64_t during, only = bit(sig);
	struct sigaction a, now;
	long pid, tid;

	if (!is_fault(sig, info) && gs_load_seq(&ignored) & bit(sig))
		return;
	a = *what_was(sig);
	if (a.sa_flags & SA_RESETHAND) {
		if ((mine ? gs_fetch_or_seq(&used_up, bit(sig)) : gs_load_seq(&used_up)) & bit(sig))
			a = none;
		else if (!mine)
			gs_sig_action(sig, &none, NULL);
	}
	if (gs_sig_is_handler(&a)) {
		during = uc->uc_sigmask.__val[0] | a.sa_mask.__val[0];
		if (!(a.sa_flags & SA_NODEFER))
			during |= bit(sig);
		gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&during, 0, sizeof(during), 0,
			    0);
		if (a.sa_flags & SA_SIGINFO)
			a.sa_sigaction(sig, info, context);
		else
			a.sa_handler(sig);
		return;
	}
	if (a.sa_handler == SIG_IGN && !is_fault(sig, info))
		return;
	/*
	 * Nothing is what the default does by now. And what is below would undo a
	 * gs_signal_notify that has come since we looked; where the default ends the process it
	 * comes too late for this signal, in whatever order, and where it stops it see below.
	 */
	if (default_ignores(sig))
		return;
	gs_sig_action(sig, NULL, &now);
	/* a handler that came after ours, and that called ours */
	if (gs_sig_is_handler(&now) && !is_ours(&now))
		return;
	gs_sig_action(sig, &none, NULL);
	/*
	 * Blocked until we return. To this thread: only there may any thread say that it came
	 * from kill; by rt_sigqueueinfo the first one may.
	 */
	pid = gs_syscall3(SYS_getpid, 0, 0, 0);
	tid = gs_syscall3(SYS_gettid, 0, 0, 0);
	gs_syscall6(SYS_rt_tgsigqueueinfo, pid, tid, sig, (long)info, 0, 0);
	if (!default_stops(sig))
		return;
	/* here; and it goes on, perhaps notified anew */
	gs_syscall6(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&only, 0, sizeof(only), 0, 0);
	gs_syscall6(SYS_rt_sigprocmask, SIG_BLOCK, (long)&only, 0, sizeof(only), 0, 0);
	if (mine && gs_load_seq(&wanted) & bit(sig)) {
		our_action(&a);
		gs_sig_action(sig, &a, NULL);
	}
}

/* On whatever thread, all signals blocked, on its alternate stack if it has one. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	bool told = false, mine = gs_syscall3(SYS_getpid, 0, 0, 0) == gs_load_relaxed(&owner);

	/*
	 * In a child between its fork and forked() below, or a vfork, whose memory is ours:
	 * the signal is not this process's, and neither is the poller.
	 */
	if (is_fault(sig, info) || !mine) {
		pass_on(sig, info, context, mine);
		return;
	}
	gs_fetch_add_seq(&inflight, 1);
	if (gs_load_seq(&wanted) & bit(sig)) {
		gs_fetch_or_seq(&pending, bit(sig));
		gs_poller_wake();
		told = true;
	}
	gs_fetch_sub_seq(&inflight, 1);
	if (!told)
		pass_on(sig, info, context, true);
}

/* ------------------------------------------------------------------------- */
/* Telling                                                                     */

/* False: it is closed. Lock held. */
static bool offer(gs_chan *c, int sig)
{
	const int value[4] = {sig}; /* gcc looks at all that gs_chan_copy could do */
	enum gs_chan_result r;
	struct gs_sudog *wake;

	gs_chan_lock(c, gs_worker_self());
	r = gs_chan_send_locked(c, value, &wake);
	gs_chan_unlock(c);
	if (wake)
		gs_ready(wake->fiber);
	return r != GS_CHAN_CLOSED;
}

/* Tell what came so far; lock held. False: one of the channels is closed. */
static bool deliver(void)
{
	uint64_t came = gs_load_relaxed(&pending) ? gs_xchg_seq(&pending, 0) : 0;
	bool ok = true;

	while (came) {
		int sig = __builtin_ctzll(came) + 1;

		came &= came - 1;
		for (struct sink *s = sinks; s; s = s->next)
			if ((s->want | s->late) & bit(sig))
				ok = offer(s->chan, sig) && ok;
	}
	return ok;
}

static _Noreturn void __attribute__((noinline, cold)) panic_closed(void)
{
	gs_panic("send on closed channel");
}

/* On the poller, at each of its turns. */
static void poller_turn(void)
{
	static uint64_t unblocked; /* the poller's */
	uint64_t want = gs_load_seq(&wanted), mask = ~(want | LIBC_SIGNALS);
	bool ok;

	if (want != unblocked) {
		gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask), 0, 0);
		unblocked = want;
	}
	if (!gs_load_seq(&pending))
		return;
	gs_lock_acquire(&lock);
	ok = deliver();
	gs_lock_release(&lock);
	if (!ok)
		panic_closed();
}

/* ------------------------------------------------------------------------- */
/* Who is notified of what                                                     */

/* In the child of a fork, whose only thread this is; the lock may be somebody's. */
static void forked(void)
{
	for (int sig = 1; sig <= SIGNALS; sig++) {
		struct sigaction now;

		/* unless the program has put another there since */
		if (taken & bit(sig) && !sigaction(sig, NULL, &now) && is_ours(&now))
			restore(sig);
	}
	lock = (struct gs_lock){0};
	lessening = (gs_mutex){0};
	sinks = NULL;
	taken = 0;
	wanted = 0;
	pending = 0;
	inflight = 0;
}

static void register_once(void)
{
	pthread_atfork(NULL, NULL, forked);
}

/* Before the lock is taken for the first time. */
static void register_forked(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_once);
}

/* What is there now is kept, if it is the program's. Lock held. */
static void keep(int sig, const struct sigaction *now)
{
	if (is_ours(now) || (gs_load_relaxed(&ignored) & bit(sig) && now->sa_handler == SIG_IGN))
		return;
	save(sig, now);
}

/* Our handler for sig. Lock held. */
static void take(int sig)
{
	struct sigaction ours, now;

	sigaction(sig, NULL, &now);
	keep(sig, &now);
	our_action(&ours);
	if (!is_ours(&now))
		sigaction(sig, &ours, NULL);
	taken |= bit(sig);
	gs_store_seq(&ignored, gs_load_relaxed(&ignored) & ~bit(sig));
}

static void ignore(int sig)
{
	const struct sigaction none = {.sa_handler = SIG_IGN};
	struct sigaction now;

	sigaction(sig, NULL, &now);
	keep(sig, &now);
	sigaction(sig, &none, NULL);
	taken &= ~bit(sig);
	gs_store_seq(&ignored, gs_load_relaxed(&ignored) | bit(sig));
}

/* What was there before us, unless the program has put another there since. Lock held. */
static void give_back(int sig)
{
	bool ign = gs_load_relaxed(&ignored) & bit(sig);
	struct sigaction now;

	if (!ign && !(taken & bit(sig)))
		return;
	sigaction(sig, NULL, &now);
	if (ign ? now.sa_handler == SIG_IGN : is_ours(&now))
		restore(sig);
	taken &= ~bit(sig);
	gs_store_seq(&ignored, gs_load_relaxed(&ignored) & ~bit(sig));
}

static uint64_t all_want(void)
{
	uint64_t all = 0;

	for (struct sink *s = sinks; s; s = s->next)
		all |= s->want;
	return all;
}

/*
 * After sinks want less: give back what nobody wants, tell what came before that, and free
 * the sinks that want nothing. `lessening` is held.
 */
static void settle(void)
{
	struct sink *gone = NULL, *s, **at = &sinks;
	uint64_t less;
	bool ok;

	gs_rt_enter();
	gs_lock_acquire(&lock);
	less = gs_load_relaxed(&wanted) & ~all_want();
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (less & taken & bit(sig))
			give_back(sig);
	gs_store_seq(&wanted, gs_load_relaxed(&wanted) & ~less);
	gs_lock_release(&lock);
	gs_rt_leave();
	/* handlers are short, but their threads may be off the CPU */
	while (gs_load_seq(&inflight))
		gs_yield();
	gs_rt_enter();
	gs_lock_acquire(&lock);
	ok = deliver();
	while ((s = *at)) {
		s->late = 0;
		if (s->want) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		s->next = gone;
		gone = s;
	}
	gs_lock_release(&lock);
	gs_poller_wake(); /* it unblocks what is wanted */
	gs_rt_leave();
	while ((s = gone)) {
		gone = s->next;
		gs_chan_unref(s->chan);
		free(s);
		gs_fetch_sub_seq(&gs_io_waiting, 1);
	}
	if (!ok) {
		gs_mutex_unlock(&lessening);
		panic_closed();
	}
}

/* That channel (NULL: all) is not notified of `less` any more; was it? Lock held. */
static bool want_less(const gs_chan *c, uint64_t less)
{
	bool any = false;

	for (struct sink *s = sinks; s; s = s->next)
		if ((!c || s->chan == c) && s->want & less) {
			s->late |= s->want & less;
			s->want &= ~less;
			any = true;
		}
	return any;
}

int gs_signal_notify(gs_chan *c, int sig)
{
	struct sink *s, *new, **at = &sinks;
	int r;

	if (!c)
		gs_panic("os/signal: Notify using nil channel");
	if (!valid(sig))
		return -EINVAL;
	if (c->elem_size != sizeof(int))
		gs_panic("gs_signal_notify: a channel of elements of %zu bytes, not of int",
			 c->elem_size);
	r = gs_rt_start();
	if (r)
		return r;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	register_forked();
	gs_store_relaxed(&owner, gs_syscall3(SYS_getpid, 0, 0, 0));
	gs_rt_enter();
	gs_lock_acquire(&lock);
	/* release: pairs with the poller's acquire */
	gs_store_release(&gs_poller_hook, poller_turn);
	while ((s = *at) && s->chan != c)
		at = &s->next;
	if (!s) {
		s = new;
		new = NULL;
		s->chan = gs_chan_ref(c);
		gs_fetch_add_seq(&gs_io_waiting, 1);
		*at = s;
	}
	s->want |= bit(sig);
	/* before our handler is there: it would pass the signal on */
	gs_store_seq(&wanted, gs_load_relaxed(&wanted) | bit(sig));
	take(sig);
	gs_lock_release(&lock);
	gs_poller_wake();
	gs_rt_leave();
	free(new);
	return 0;
}

/* That channel is notified of less; with the lock held `instead` changes what sig does. */
static void less(const gs_chan *c, uint64_t bits, void (*instead)(int sig), int sig)
{
	bool any;

	register_forked();
	gs_mutex_lock(&lessening);
	gs_rt_enter();
	gs_lock_acquire(&lock);
	any = want_less(c, bits);
	if (instead)
		instead(sig);
	gs_lock_release(&lock);
	gs_rt_leave();
	if (any)
		settle();
	gs_mutex_unlock(&lessening);
}

void gs_signal_stop(gs_chan *c)
{
	if (c)
		less(c, UINT64_MAX, NULL, 0);
}

int gs_signal_ignore(int sig)
{
	if (!valid(sig))
		return -EINVAL;
	less(NULL, bit(sig), ignore, sig);
	return 0;
}

int gs_signal_reset(int sig)
{
	if (!valid(sig))
		return -EINVAL;
	less(NULL, bit(sig), give_back, sig);
	return 0;
}

bool gs_signal_ignored(int sig)
{
	struct sigaction now;

	return valid(sig) && !sigaction(sig, NULL, &now) && !gs_sig_is_handler(&now) &&
	       now.sa_handler == SIG_IGN;
}
