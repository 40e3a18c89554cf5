// SPDX-License-Identifier: GPL-2.0
/* gs_run: its result, its stack, who may call it, and what goes on after it. */
#include <pthread.h>
#include <sys/resource.h>

#include "util.h"

static __thread int tls_word = 5;

static void set_arg(void *arg)
{
	CHECK_NE(gs_id(), 0u);
	CHECK_EQ(tls_word, 5);
	STORE(*(int *)arg, 42);
}

/* gs_run returns 0 after fn ran with its argument, on thread-locals of its own */
TEST(result)
{
	int v = 0;

	tls_word = 6;
	RUN(set_arg, &v);
	EXPECT_EQ(42, v);
	EXPECT_EQ(6, tls_word);
	EXPECT_EQ(0, gs_id());
}

static void never(void *arg)
{
	CHECK(!"reached");
}

static void run_in_fiber(void *arg)
{
	CHECK_EQ(gs_run(never, NULL), -EBUSY);
	CHECK_EQ(gs_run(never, NULL), -EBUSY);
}

/* in a fiber gs_run fails with -EBUSY and does not call fn */
TEST(busy_in_fiber)
{
	RUN(run_in_fiber, NULL);
}

/* the same thread may run again and again */
TEST(many_in_a_row)
{
	long n = ut_count(2000, 100);

	for (long i = 0; i < n; i++) {
		int v = 0;

		RUN(set_arg, &v);
		ASSERT_EQ(42, v);
	}
}

static int met[2]; /* atomic */

static void meet(void *arg)
{
	long me = (long)arg;

	STORE(met[me], 1);
	UNTIL(LOAD(met[!me]));
}

static void *run_meet(void *arg)
{
	CHECK_EQ(gs_run(meet, arg), 0);
	CHECK_EQ(gs_id(), 0u);
	return NULL;
}

/* two threads run at once: each fiber waits for the other */
TEST(two_threads)
{
	pthread_t t[2];

	for (long i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, run_meet, (void *)i));
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(0, ut_failed);
}

static void *run_set(void *arg)
{
	int v = 0;

	CHECK_EQ(gs_run(set_arg, &v), 0);
	CHECK_EQ(v, 42);
	return NULL;
}

/* a new thread each time: none of the last one's state is needed */
TEST(threads_in_a_row)
{
	long n = ut_count(200, 20);

	for (long i = 0; i < n; i++) {
		pthread_t t;

		ASSERT_EQ(0, pthread_create(&t, NULL, run_set, NULL));
		pthread_join(t, NULL);
	}
	EXPECT_EQ(0, ut_failed);
}

static void use_stack(void *arg)
{
	size_t size = *(size_t *)arg;
	volatile char *p = __builtin_alloca(size);

	for (size_t i = 0; i < size; i += 512)
		p[i] = (char)i;
	gs_yield();
	for (size_t i = 0; i < size; i += 512)
		if (p[i] != (char)i)
			CHECK(!"stack content lost");
}

static void limit_stack(rlim_t bytes)
{
	struct rlimit lim;

	getrlimit(RLIMIT_STACK, &lim);
	lim.rlim_cur = bytes;
	if (setrlimit(RLIMIT_STACK, &lim))
		abort();
}

/* the main fiber has the stack of RLIMIT_STACK: 7 of 8 MiB are usable */
TEST(stack_8m)
{
	size_t size = 7u << 20;

	limit_stack(8u << 20);
	RUN(use_stack, &size);
}

/* an unlimited stack is one of 8 MiB */
TEST(stack_unlimited)
{
	struct rlimit lim;
	size_t size = 7u << 20;

	getrlimit(RLIMIT_STACK, &lim);
	if (lim.rlim_max != RLIM_INFINITY)
		SKIP(return, "the hard limit of the stack is not unlimited");
	limit_stack(RLIM_INFINITY);
	RUN(use_stack, &size);
}

/* a small RLIMIT_STACK still gives a fiber's default stack */
TEST(stack_small)
{
	size_t size = 150u << 10;

	limit_stack(64u << 10);
	RUN(use_stack, &size);
}

static int beats, stop_beats, stopped; /* atomic */

static void beat(void *arg)
{
	while (!LOAD(stop_beats)) {
		ADD(beats, 1);
		if (arg)
			gs_sleep(100000);
		else
			gs_yield();
	}
	ADD(stopped, 1);
}

static void spawn_beats(void *arg)
{
	CHECK_EQ(gs_go(beat, NULL), 0);
	CHECK_EQ(gs_go(beat, (void *)1), 0);
	UNTIL(LOAD(beats) > 10);
}

/* fibers started in fn go on after gs_run returned, without any gs_run */
TEST(others_survive)
{
	int seen;

	RUN(spawn_beats, NULL);
	for (int i = 0; i < 5; i++) {
		seen = LOAD(beats);
		UNTIL(LOAD(beats) > seen + 100);
	}
	/* and beside another one */
	RUN(run_in_fiber, NULL);
	STORE(stop_beats, 1);
	UNTIL(LOAD(stopped) == 2);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

/* after gs_run the caller is an ordinary thread: sleep, yield, hints do what they do there */
TEST(thread_again)
{
	int v = 0;
	int64_t t;

	RUN(set_arg, &v);
	errno = 77;
	EXPECT_EQ(0, gs_id());
	gs_yield();
	gs_nopreempt_begin();
	gs_nopreempt_end();
	gs_blocking_begin();
	gs_blocking_end();
	EXPECT_EQ(77, errno);
	t = gs_now();
	gs_sleep(2 * MS);
	EXPECT_GE(gs_now() - t, 2 * MS);
}

static int handled;

static void on_signal(int sig)
{
	ADD(handled, 1);
}

static pthread_t runner;

static void kill_runner(void *arg)
{
	for (int i = 0; i < 20; i++) {
		int seen = LOAD(handled);

		CHECK_EQ(pthread_kill(runner, SIGUSR1), 0);
		UNTIL(LOAD(handled) > seen);
	}
	*(int *)arg = 1;
}

/* a signal that interrupts the waiting thread does not end gs_run early */
TEST(signal_while_waiting)
{
	struct sigaction sa = {.sa_handler = on_signal};
	int done = 0;

	runner = pthread_self();
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	RUN(kill_runner, &done);
	EXPECT_EQ(1, done);
}

static void run_nil(void *arg)
{
	gs_run(NULL, NULL);
}

/* a nil function panics as in Go */
TEST(nil_function)
{
	struct ut_child *c = ut_child_run(run_nil, NULL, UT_WAIT * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "go of nil func value");
}

TEST_HARNESS_MAIN
