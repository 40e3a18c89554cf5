// SPDX-License-Identifier: GPL-2.0
/*
 * What slices must not disturb: sleeps and calls of the program's own, its signals and
 * their handlers, SIGURG above all. On both backends.
 */
#include <gsched/debug.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "util.h"

static int stop;  /* atomic */
static long done; /* atomic */

static void short_slices(int procs)
{
	ut_set_procs(procs);
	setenv("GSCHED_SLICE", "100", 1);
}

static struct gs_stats stats(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s;
}

static void hog(void *arg)
{
	while (!LOAD(stop))
		;
	ADD(done, 1);
}

/* ------------------------------------------------------------------------- */
/* Sleeps                                                                      */

static long calls, eintr; /* atomic */
static int epfd;

static int sleep_nanosleep(long ns)
{
	struct timespec ts = {.tv_nsec = ns};

	return nanosleep(&ts, NULL);
}

static int sleep_epoll(long ns)
{
	struct epoll_event e;

	return epoll_wait(epfd, &e, 1, ns > 100000);
}

static int sleep_futex(long ns)
{
	struct timespec ts = {.tv_nsec = ns};
	uint32_t word = 0;
	long r = syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &ts, NULL, 0);

	return r < 0 && errno == ETIMEDOUT ? 0 : (int)r;
}

static int (*const sleeps[])(long) = {sleep_nanosleep, sleep_epoll, sleep_futex};

static void __attribute__((noinline)) one_sleep(int (*fn)(long), long ns)
{
	int r = fn(ns);

	__asm__ volatile("" ::: "memory");
	if (r < 0) {
		if (ut_errno() == EINTR)
			ADD(eintr, 1);
		else
			ut_fail(__FILE__, __LINE__, "errno %d", ut_errno());
	}
}

static void sleeper(void *arg)
{
	unsigned int rng = (unsigned int)(long)arg + 1;
	int (*fn)(long) = sleeps[(long)arg % 3];

	while (!LOAD(stop)) {
		rng = rng * 1103515245 + 12345;
		/* enough to be rung for, and at any moment */
		for (volatile unsigned int i = 0; i < (rng >> 8) % 20000; i++)
			;
		one_sleep(fn, 1000 + (long)(rng >> 10) % 200000);
		ADD(calls, 1);
	}
	ADD(done, 1);
}

static void sleep_main(void *arg)
{
	int64_t end = gs_now() + SEC;
	struct gs_stats s;

	epfd = epoll_create1(EPOLL_CLOEXEC);
	for (long i = 0; i < 9; i++)
		CHECK_EQ(gs_go(sleeper, (void *)i), 0);
	CHECK_EQ(gs_go(hog, NULL), 0);
	UNTIL(gs_now() > end && LOAD(calls) > ut_count(500, 50) && stats().upcalls > 5);
	STORE(stop, 1);
	UNTIL(LOAD(done) == 10);
	s = stats();
	fprintf(stderr, "# %ld calls, %llu upcalls, EINTR %ld, counted %llu\n", LOAD(calls),
		(unsigned long long)s.upcalls, LOAD(eintr), (unsigned long long)s.interrupted);
	CHECK_EQ(LOAD(eintr), 0);
	CHECK_EQ(s.interrupted, 0u);
}

/* nanosleep, epoll_wait and timed futex waits under the shortest slice: never EINTR */
TEST(no_eintr)
{
#ifdef UT_TSAN
	SKIP(return, "under TSan nothing is interrupted");
#endif
	short_slices(2);
	RUN(sleep_main, NULL);
	close(epfd);
}

/* ------------------------------------------------------------------------- */
/* The program's own SIGURG                                                    */

#define OWN 50

static long urgent; /* atomic */
static int from;    /* atomic: who sent it, as told */

static void on_urg(int sig, siginfo_t *info, void *context)
{
	STORE(from, info->si_pid);
	ADD(urgent, 1);
}

static void *send_urg(void *arg)
{
	for (long i = 1; i <= OWN; i++) {
		kill(getpid(), SIGURG);
		if (!UNTIL(LOAD(urgent) == i))
			break;
	}
	/* nobody else's came */
	CHECK_EQ(LOAD(urgent), OWN);
	STORE(stop, 1);
	return NULL;
}

static void two_hogs(void *arg)
{
	for (int i = 0; i < 2; i++)
		CHECK_EQ(gs_go(hog, NULL), 0);
	/* who sets it waits for each signal, not for all of them together */
	while (!LOAD(stop))
		ut_relax();
	UNTIL(LOAD(done) == 2);
}

static void with_own(struct __test_metadata *_metadata, bool late)
{
	struct sigaction sa = {.sa_sigaction = on_urg, .sa_flags = SA_SIGINFO}, old;
	pthread_t t;

	sigaddset(&sa.sa_mask, SIGUSR1);
	short_slices(1);
	if (late)
		ASSERT_TRUE(gs_backend() != NULL);
	ASSERT_EQ(0, sigaction(SIGURG, &sa, NULL));
	/* it reads back as it was set */
	ASSERT_EQ(0, sigaction(SIGURG, NULL, &old));
	EXPECT_EQ((void *)on_urg, (void *)old.sa_sigaction);
	EXPECT_EQ(SA_SIGINFO, old.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_RESTART));
	EXPECT_EQ(1, sigismember(&old.sa_mask, SIGUSR1));
	EXPECT_EQ(0, sigismember(&old.sa_mask, SIGUSR2));
	ASSERT_EQ(0, pthread_create(&t, NULL, send_urg, NULL));
	RUN(two_hogs, NULL);
	pthread_join(t, NULL);
	EXPECT_EQ(OWN, LOAD(urgent));
	EXPECT_EQ(getpid(), LOAD(from));
	ASSERT_EQ(0, sigaction(SIGURG, NULL, &old));
	EXPECT_EQ((void *)on_urg, (void *)old.sa_sigaction);
}

/* a handler of the program's for SIGURG gets its signals, and none of the runtime's */
TEST(own_handler)
{
	with_own(_metadata, false);
}

/* the same, installed when the runtime runs */
TEST(own_handler_late)
{
	with_own(_metadata, true);
}

static void *wait_urg(void *arg)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	for (long i = 0; i < OWN; i++) {
		if (!CHECK_EQ(sigwait(&set, &sig), 0))
			break;
		CHECK_EQ(sig, SIGURG);
		ADD(urgent, 1);
	}
	return NULL;
}

/* a program that blocks SIGURG and waits for it by sigwait */
TEST(own_sigwait)
{
	sigset_t set;
	pthread_t wait, send;

	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	short_slices(1);
	ASSERT_EQ(0, pthread_create(&wait, NULL, wait_urg, NULL));
	ASSERT_EQ(0, pthread_create(&send, NULL, send_urg, NULL));
	RUN(two_hogs, NULL);
	pthread_join(send, NULL);
	pthread_join(wait, NULL);
	EXPECT_EQ(OWN, LOAD(urgent));
}

/* without a handler SIGURG means nothing, as ever */
TEST(own_default)
{
	short_slices(1);
	RUN(two_hogs, (STORE(stop, 1), NULL));
	STORE(stop, 0);
	STORE(done, 0);
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(0, kill(getpid(), SIGURG));
	STORE(stop, 1);
	RUN(two_hogs, NULL);
}

/* ------------------------------------------------------------------------- */
/* Handlers and masks                                                          */

static int seen_onstack, seen_masked; /* atomic */

static void on_usr(int sig)
{
	sigset_t set;
	stack_t ss;

	sigaltstack(NULL, &ss);
	STORE(seen_onstack, ss.ss_flags & SS_ONSTACK);
	sigemptyset(&set);
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	STORE(seen_masked, sigismember(&set, SIGURG) + 1);
}

static void raise_here(void *arg)
{
	STORE(seen_onstack, 0);
	STORE(seen_masked, 0);
	raise(SIGUSR1);
	/* it runs where the stack is large, and is not interrupted */
	CHECK_EQ(LOAD(seen_onstack), SS_ONSTACK);
	CHECK_EQ(LOAD(seen_masked), 2);
}

/* handlers run on the worker's signal stack with SIGURG blocked; nobody is told */
TEST(handlers)
{
	struct sigaction sa = {.sa_handler = on_usr, .sa_flags = SA_RESTART}, old;

#ifdef UT_TSAN
	SKIP(return, "TSan has its own");
#endif
	ut_set_procs(1);
	/* before the start, and after it */
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	RUN(raise_here, NULL);
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, &old));
	EXPECT_EQ(SA_RESTART, old.sa_flags & (SA_ONSTACK | SA_RESTART));
	EXPECT_EQ(0, sigismember(&old.sa_mask, SIGURG));
	RUN(raise_here, NULL);
	sa.sa_flags = SA_ONSTACK;
	sigaddset(&sa.sa_mask, SIGURG);
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, sigaction(SIGUSR1, NULL, &old));
	EXPECT_EQ(SA_ONSTACK, old.sa_flags & SA_ONSTACK);
	EXPECT_EQ(1, sigismember(&old.sa_mask, SIGURG));
	/* signal() says who was there, and restarts calls */
	EXPECT_EQ((void *)on_usr, (void *)signal(SIGUSR1, SIG_IGN));
	EXPECT_EQ((void *)SIG_IGN, (void *)signal(SIGUSR1, on_usr));
	ASSERT_EQ(0, sigaction(SIGUSR1, NULL, &old));
	EXPECT_EQ(SA_RESTART, old.sa_flags & (SA_ONSTACK | SA_RESTART | SA_SIGINFO));
	EXPECT_EQ(1, sigismember(&old.sa_mask, SIGUSR1));
	RUN(raise_here, NULL);
	EXPECT_EQ(SIG_ERR, signal(0, on_usr));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(SIG_ERR, signal(SIGKILL, on_usr));
	EXPECT_EQ(-1, sigaction(65, &sa, NULL));
	EXPECT_EQ(EINVAL, errno);
}

static void block_all(void *arg)
{
	sigset_t all, now;

	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
	CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &now), 0);
	CHECK_EQ(sigismember(&now, SIGURG), 0);
	CHECK_EQ(sigismember(&now, SIGUSR1), 1);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
	CHECK_EQ(sigismember(&now, SIGURG), 0);
	CHECK_EQ(sigprocmask(SIG_UNBLOCK, &all, NULL), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
	CHECK_EQ(sigismember(&now, SIGUSR1), 0);
	CHECK_EQ(pthread_sigmask(99, &all, NULL), EINVAL);
	errno = 0;
	CHECK_EQ(sigprocmask(99, &all, NULL), -1);
	CHECK_EQ(ut_errno(), EINVAL);
}

/* a fiber cannot block SIGURG, a thread of the program's own can */
TEST(masks)
{
	sigset_t all, now;

#ifdef UT_TSAN
	SKIP(return, "TSan has its own");
#endif
	ut_set_procs(1);
	RUN(block_all, NULL);
	sigfillset(&all);
	ASSERT_EQ(0, pthread_sigmask(SIG_SETMASK, &all, NULL));
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, NULL, &now));
	EXPECT_EQ(1, sigismember(&now, SIGURG));
	EXPECT_EQ(1, sigismember(&now, SIGUSR1));
}

static void stackless(void *arg)
{
	stack_t off = {.ss_flags = SS_DISABLE}, ss;

	CHECK_EQ(sigaltstack(&off, NULL), 0);
	CHECK_EQ(gs_go(hog, NULL), 0);
	CHECK_EQ(gs_go(hog, NULL), 0);
	/* on kmod no signal comes, and so none is given */
	UNTIL((sigaltstack(NULL, &ss), !(ss.ss_flags & SS_DISABLE)) || ut_on_kmod());
	STORE(stop, 1);
	UNTIL(LOAD(done) == 2);
}

/* a fiber that switches its thread's signal stack off is interrupted all the same */
TEST(no_signal_stack)
{
#ifdef UT_TSAN
	SKIP(return, "under TSan nothing is interrupted");
#endif
	short_slices(1);
	RUN(stackless, NULL);
}

TEST_HARNESS_MAIN
