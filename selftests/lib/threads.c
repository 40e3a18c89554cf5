// SPDX-License-Identifier: GPL-2.0
/* Ordinary threads beside the runtime: every (T) call, threads made in fibers, their ends. */
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <gsched/net.h>
#include <gsched/select.h>
#include <gsched/sync.h>
#include <pthread.h>

#include "util.h"

static long done; /* atomic */
static int stop;  /* atomic */

static void count(void *arg)
{
	ADD(done, 1);
}

/* what a thread may do, and what it does there */
static void be_a_thread(void)
{
	struct gs_attr attr = {.name = "from a thread"};
	struct gs_stats s;
	long before = LOAD(done);
	int64_t t;

	CHECK_EQ(gs_id(), 0u);
	gs_yield();
	gs_nopreempt_begin();
	gs_nopreempt_begin();
	/* there is no fiber to keep from parking */
	t = gs_now();
	gs_sleep(200000);
	CHECK_GE(gs_now() - t, 200000);
	gs_nopreempt_end();
	gs_nopreempt_end();
	gs_blocking_begin();
	gs_blocking_begin();
	gs_blocking_end();
	CHECK_EQ(gs_go(count, NULL), 0);
	CHECK_EQ(gs_go_copy(count, &t, sizeof(t)), 0);
	CHECK_EQ(gs_go_attr(&attr, count, NULL), 0);
	CHECK_GE(gs_max_procs(0), 1);
	CHECK_EQ(gs_stats(&s), 0);
	UNTIL(LOAD(done) >= before + 3);
}

static void *thread(void *arg)
{
	be_a_thread();
	return NULL;
}

/* the (T) calls on a thread that never ran a fiber, and on four at once */
TEST(all_calls)
{
	pthread_t t[4];

	be_a_thread();
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, thread, NULL));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(15, LOAD(done));
	EXPECT_EQ(0, ut_failed);
}

static void nested_run(void *arg)
{
	CHECK_NE(gs_id(), 0u);
	gs_yield();
	STORE(*(int *)arg, 1);
}

static void *thread_from_fiber(void *arg)
{
	int ran = 0;

	/* made by a fiber's thread, it is none */
	be_a_thread();
	CHECK_EQ(gs_run(nested_run, &ran), 0);
	CHECK_EQ(ran, 1);
	be_a_thread();
	STORE(*(int *)arg, 1);
	return NULL;
}

static void make_threads(void *arg)
{
	for (long i = 0; i < ut_count(50, 5); i++) {
		int ended = 0;
		pthread_t t;

		CHECK_EQ(pthread_create(&t, NULL, thread_from_fiber, &ended), 0);
		/* the thread needs fibers to run: do not keep the only proc */
		UNTIL(LOAD(ended));
		CHECK_EQ(pthread_join(t, NULL), 0);
	}
	ADD(done, 1);
}

/* a thread made by a fiber is an ordinary one, even to gs_run */
TEST(made_in_a_fiber)
{
	RUN(make_threads, NULL);
}

static void many_makers(void *arg)
{
	long before = LOAD(done);
	gs_waitgroup makers = {0};

	for (int i = 0; i < 8; i++)
		gs_wg_go(&makers, make_threads, NULL);
	gs_wg_wait(&makers); /* hundreds of threads: no limit but the test's own */
	UNTIL(gs_num_fibers() == 1);
	CHECK_GE(LOAD(done), before + 8);
}

/* eight fibers make threads at the same time */
TEST(made_in_many_fibers)
{
	RUN(many_makers, NULL);
}

static void yields(void *arg)
{
	for (int i = 0; i < 50; i++)
		gs_yield();
	ADD(*(long *)arg, 1);
}

static void run_some(void *arg)
{
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gs_go(yields, arg), 0);
	UNTIL(LOAD(*(long *)arg) == 20);
}

static void *run_thread(void *arg)
{
	for (long i = 0; i < ut_count(50, 5); i++) {
		long n = 0;

		CHECK_EQ(gs_run(run_some, &n), 0);
		CHECK_EQ(n, 20);
		CHECK_EQ(gs_id(), 0u);
	}
	return NULL;
}

/* eight threads run at once, again and again, each with fibers of its own */
TEST(runs_at_once)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, run_thread, NULL));
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

/* eight threads start the runtime at the same moment */
TEST(start_at_once)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, thread, NULL));
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(24, LOAD(done));
	EXPECT_EQ(0, ut_failed);
}

static void *starts(void *started)
{
	CHECK_EQ(gs_run(count, NULL), 0);
	/* relaxed: nothing but what the library itself orders */
	__atomic_store_n((int *)started, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *uses_all_of_it(void *started)
{
	gs_conn *conn;

	while (!__atomic_load_n((int *)started, __ATOMIC_RELAXED))
		usleep(100);
	CHECK_EQ(gs_listen_packet("udp", "127.0.0.1:0", &conn), 0);
	CHECK_EQ(gs_conn_close(conn), 0);
	CHECK_EQ(gs_run(count, NULL), 0);
	return NULL;
}

/* another thread started it, and told nobody */
TEST(started_by_another)
{
	pthread_t t[2];
	int started = 0;

	ASSERT_EQ(0, pthread_create(&t[0], NULL, uses_all_of_it, &started));
	ASSERT_EQ(0, pthread_create(&t[1], NULL, starts, &started));
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(0, ut_failed);
}

static void linger(void *arg)
{
	while (!LOAD(stop)) {
		ADD(done, 1);
		gs_sleep(100000);
	}
}

static void leave_some(void *arg)
{
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gs_go(linger, NULL), 0);
}

static void *run_and_end(void *arg)
{
	CHECK_EQ(gs_run(leave_some, NULL), 0);
	return NULL;
}

/* the thread of gs_run, which started the runtime, ends: its fibers do not notice */
TEST(runner_ends)
{
	pthread_t t;
	long seen;

	ASSERT_EQ(0, pthread_create(&t, NULL, run_and_end, NULL));
	pthread_join(t, NULL);
	for (int i = 0; i < 5; i++) {
		seen = LOAD(done);
		UNTIL(LOAD(done) > seen + 20);
	}
	UNTIL(gs_num_fibers() <= 10); /* gs_run returns before its fiber is gone */
	EXPECT_EQ(10, gs_num_fibers());
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

static void *go_and_end(void *arg)
{
	CHECK_EQ(gs_go(count, NULL), 0);
	return NULL;
}

/* threads that start one fiber and end at once */
TEST(short_lived)
{
	long n = ut_count(500, 50);
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (long i = 0; i < n; i++)
		ASSERT_EQ(0, pthread_create(&t, &attr, go_and_end, NULL));
	UNTIL(LOAD(done) == n);
	EXPECT_EQ(0, ut_failed);
}

static sigset_t seen_mask;

static void look_at_mask(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, &seen_mask);
}

/* fibers see the signal mask of the thread that started the runtime */
TEST(signal_mask)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	RUN(look_at_mask, NULL);
	EXPECT_EQ(1, sigismember(&seen_mask, SIGUSR2));
	EXPECT_EQ(0, sigismember(&seen_mask, SIGUSR1));
	EXPECT_EQ(0, sigismember(&seen_mask, SIGTERM));
}

static int handled; /* atomic */

static void on_signal(int sig)
{
	ADD(handled, 1);
}

static void spin_for_signals(void *arg)
{
	while (!LOAD(stop))
		gs_yield();
	ADD(done, 1);
}

static void signals(void *arg)
{
	for (int i = 0; i < 10; i++)
		gs_go(spin_for_signals, NULL);
	for (int i = 0; i < 200; i++) {
		int seen = LOAD(handled);

		CHECK_EQ(kill(getpid(), SIGUSR1), 0);
		UNTIL(LOAD(handled) > seen);
		if (i % 10 == 0)
			gs_sleep(100000);
	}
	STORE(stop, 1);
	UNTIL(LOAD(done) == 10);
}

/* handlers run on whatever thread, between and within fibers, and disturb nothing */
TEST(signals_everywhere)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	RUN(signals, NULL);
}

static void fork_in_fiber(void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		/* this fiber is all there is; it is an ordinary thread here */
		struct timespec ts = {.tv_nsec = 1000};

		nanosleep(&ts, NULL);
		_exit(gs_id() == 0 ? 7 : 8);
	}
	CHECK_GT(pid, 0);
	UNTIL(waitpid(pid, &status, WNOHANG) == pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 7);
	/* and the parent's scheduler is what it was */
	gs_sleep(MS);
	ADD(done, 1);
}

/* a fiber may fork; the child is an ordinary process */
TEST(fork_from_fiber)
{
	RUN(fork_in_fiber, NULL);
	EXPECT_EQ(1, LOAD(done));
}

/* ------------------------------------------------------------------------- */
/* Beside, before and after gs_run                                             */

static int fibers_run; /* atomic */

static void from_a_thread(void *arg)
{
	gs_chan *c = arg;
	int v = 0;

	CHECK(gs_chan_recv(c, &v));
	v++;
	gs_chan_send(c, &v);
	CHECK(!gs_chan_recv(c, &v));
	gs_chan_unref(c);
	ADD(fibers_run, 1);
}

/* Everything that ordinary threads may do to a fiber of their own, and to each other. */
static void *thread_life(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 0), *done = gs_chan_new(0, 1);
	int v = (int)(intptr_t)arg, got = 0;
	bool ok = false;
	struct gs_case cases[] = {
		{.op = GS_OP_RECV, .chan = c, .elem = &got, .size = sizeof(got), .ok = &ok},
		{.op = GS_OP_RECV, .chan = done},
		{.op = GS_OP_AFTER, .ns = ut_limit(20 * SEC)},
	};

	CHECK_EQ(gs_go(from_a_thread, gs_chan_ref(c)), 0);
	gs_chan_send(c, &v);
	CHECK_EQ(gs_select_cases(cases, 3), 0);
	CHECK(ok);
	CHECK_EQ(got, v + 1);
	gs_chan_close(c);
	gs_chan_send(done, NULL);
	CHECK(gs_chan_recv(done, NULL));
	gs_chan_unref(c);
	gs_chan_unref(done);
	return NULL;
}

static void some_threads(long n)
{
	pthread_t t[8];

	for (long i = 0; i < n; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, thread_life, (void *)i), 0);
	for (long i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void *threads_beside(void *arg)
{
	some_threads(8);
	STORE(*(int *)arg, 1);
	return NULL;
}

static void run_beside(void *arg)
{
	int over = 0;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, threads_beside, &over), 0);
	UNTIL(LOAD(over));
	pthread_join(t, NULL);
}

/* send, receive, select, close and gs_go by threads: before the first gs_run, beside it, after */
TEST(before_during_after)
{
	some_threads(8);
	UNTIL(LOAD(fibers_run) == 8);
	RUN(run_beside, NULL);
	UNTIL(LOAD(fibers_run) == 16);
	some_threads(8);
	UNTIL(LOAD(fibers_run) == 24);
	RUN(run_beside, NULL);
	EXPECT_EQ(0, LOAD(ut_failed));
}

TEST_HARNESS_MAIN
