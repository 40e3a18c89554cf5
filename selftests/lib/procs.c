// SPDX-License-Identifier: GPL-2.0
/* The number of procs and of threads: never more at work, and changed under load. */
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <limits.h>
#include <pthread.h>

#include "interrupts.h"

static long done; /* atomic */
static int stop;  /* atomic */

static void no_work(void *arg) {}

/* gs_max_procs: what the environment says; <= 0 only asks; at most 256 */
TEST(get_and_set)
{
	ut_set_procs(3);
	EXPECT_EQ(3, gs_max_procs(0));
	EXPECT_EQ(3, gs_max_procs(-1));
	EXPECT_EQ(3, gs_max_procs(5));
	EXPECT_EQ(5, gs_max_procs(1));
	EXPECT_EQ(1, gs_max_procs(100000));
	EXPECT_EQ(256, gs_max_procs(2));
	RUN(no_work, NULL);
	EXPECT_EQ(2, gs_max_procs(0));
}

/* without GSCHED_MAXPROCS: what the affinity mask allows, at least one, at most that */
TEST(default_number)
{
	unsetenv("GSCHED_MAXPROCS");
	EXPECT_GE(gs_max_procs(0), 1);
	EXPECT_LE(gs_max_procs(0), ut_cpus());
}

/* a mask of one CPU gives one proc */
TEST(default_by_affinity)
{
	cpu_set_t set, one;

	unsetenv("GSCHED_MAXPROCS");
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(set), &set));
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set)) {
			CPU_ZERO(&one);
			CPU_SET(i, &one);
			break;
		}
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	EXPECT_EQ(1, gs_max_procs(0));
}

/* ------------------------------------------------------------------------- */

static int inside, most; /* atomic */
static long rounds[40];	 /* atomic: of each worker in breathe */

static void enter(void)
{
	int n = ADD(inside, 1), m = LOAD(most);

	while (n > m && !__atomic_compare_exchange_n(&most, &m, n, false, __ATOMIC_SEQ_CST,
						     __ATOMIC_SEQ_CST))
		;
}

/* works without the runtime between enter and leave */
static void work(void *arg)
{
	while (!LOAD(stop)) {
		enter();
		ut_burn(20000);
		ADD(inside, -1);
		ADD(done, 1);
		if (arg)
			ADD(*(long *)arg, 1);
		gs_yield();
	}
}

/*
 * Fibers that were taken from between enter and leave: counted, but not at work. Who has
 * none in a stretch of time may count in it. A page fault blocks, too, where another thread
 * has the lock of the address space; under TSan its own locks do.
 */
static uint64_t taken(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.upcalls + s.lost + s.blocks;
}

static void at_most(void *arg)
{
	uint64_t before = taken();
	int n = gs_max_procs(0), seen_most;

	for (int i = 0; i < 4 * n + 4; i++)
		gs_go(work, NULL);
	for (int i = 0; i < 20; i++) {
		long seen = LOAD(done);

		UNTIL(LOAD(done) > seen + 20);
	}
	/* in this order: one may be taken from in between */
	seen_most = LOAD(most);
	if (taken() == before)
		CHECK_LE(seen_most, n);
	CHECK_GE(seen_most, 1);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* no more fibers run at a time than there are procs */
TEST(never_more_at_work)
{
	RUN(at_most, NULL);
}

/* each has been scheduled anew since */
static void all_rescheduled(void)
{
	long seen[ARRAY_SIZE(rounds)];

	for (size_t i = 0; i < ARRAY_SIZE(rounds); i++)
		seen[i] = LOAD(rounds[i]);
	for (size_t i = 0; i < ARRAY_SIZE(rounds); i++)
		UNTIL(LOAD(rounds[i]) >= seen[i] + 2);
}

static void breathe(void *arg)
{
	static const int widths[] = {1, 8, 2, 7, 3, 1, 4, 256, 1, 16, 2};
	struct gs_stats s;

	for (size_t i = 0; i < ARRAY_SIZE(rounds); i++)
		gs_go(work, &rounds[i]);
	for (long round = 0; round < ut_count(8, 2); round++) {
		for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
			int n = widths[i], seen_most;
			uint64_t before;
			long seen;

			gs_max_procs(n);
			CHECK_EQ(gs_max_procs(0), n);
			/* procs above n are left at the next scheduling; then count anew */
			before = taken();
			all_rescheduled();
			STORE(most, 0);
			seen = LOAD(done);
			UNTIL(LOAD(done) > seen + 100);
			/* in this order, as above */
			seen_most = LOAD(most);
			if (taken() == before)
				CHECK_LE(seen_most, n);
			gs_stats(&s);
			CHECK_EQ(s.procs, (uint32_t)n);
			CHECK_LE(s.idle_procs, (uint32_t)n);
		}
	}
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* up and down under load: work goes on, and the width is kept */
TEST(live_changes)
{
	RUN(breathe, NULL);
}

static void count(void *arg)
{
	gs_yield();
	ADD(done, 1);
}

static void strand(void *arg)
{
	long n = 0;

	for (long round = 0; round < ut_count(100, 10); round++) {
		gs_max_procs(8);
		for (int i = 0; i < 2000; i++) {
			gs_go(count, NULL);
			n++;
			if (i % 100 == 99)
				gs_yield();
		}
		/* seven of eight queues lose their owner */
		gs_max_procs(1);
		UNTIL(LOAD(done) == n);
	}
}

/* fibers queued on procs that are taken away still run */
TEST(nothing_stranded)
{
	RUN(strand, NULL);
}

static int phase; /* atomic */

static void leave_queue(void *arg)
{
	for (int i = 0; i < 13; i++)
		gs_go(count, NULL);
	STORE(phase, 1);
	while (gs_max_procs(0) != 1)
		;
	gs_blocking_begin();
	STORE(phase, 2);
	while (LOAD(phase) != 3)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	gs_blocking_end();
}

/* Calls no_work of the library's but the clock. */
static bool hog_until_done(void)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	while (LOAD(done) != 13 && gs_now() < end)
		;
	return LOAD(done) == 13;
}

/* arg: one that computes, not NULL */
static void strand_by_block(void *arg)
{
	bool ok;

	for (long round = 0; round < ut_count(50, 5); round++) {
		gs_max_procs(2);
		STORE(done, 0);
		STORE(phase, 0);
		gs_go(leave_queue, NULL);
		while (LOAD(phase) != 1)
			;
		gs_max_procs(1);
		while (LOAD(phase) != 2)
			;
		if (arg)
			ok = CHECK(hog_until_done());
		else
			ok = UNTIL(LOAD(done) == 13);
		STORE(phase, 3);
		if (!ok || !UNTIL(gs_num_fibers() == 1))
			break;
	}
}

/* a proc is taken away as its fiber blocks: its queue is seen by one that only yields */
TEST(queue_left_by_a_block)
{
	RUN(strand_by_block, NULL);
}

/* the same where the only other fiber computes: it is interrupted for that queue */
TEST(queue_left_to_a_hog)
{
	NEEDS_INTERRUPTS(2, 1000, "travel");
	RUN(strand_by_block, &done);
}

static void nap(void *arg)
{
	for (int i = 0; i < 50; i++)
		gs_sleep(100000);
	ADD(done, 1);
}

static void strand_timers(void *arg)
{
	gs_max_procs(8);
	for (int i = 0; i < 200; i++) {
		gs_go(nap, NULL);
		if (i % 10 == 9)
			gs_yield();
	}
	for (int i = 0; LOAD(done) < 200; i++) {
		gs_max_procs(i % 2 ? 1 : 8);
		gs_sleep(500000);
	}
}

/* timers armed on procs that are taken away still fire */
TEST(timers_not_stranded)
{
	RUN(strand_timers, NULL);
}

static void *change_thread(void *arg)
{
	unsigned x = (unsigned)(long)arg;

	while (!LOAD(stop)) {
		x = x * 1103515245 + 12345;
		gs_max_procs(1 + (x >> 16) % 8);
	}
	return NULL;
}

static void changed_by_threads(void *arg)
{
	long n = ut_count(20000, 1000);
	pthread_t t[2];

	for (long i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, change_thread, (void *)(i + 1)), 0);
	for (long i = 0; i < n; i++) {
		CHECK_EQ(gs_go(count, NULL), 0);
		if (i % 20 == 0)
			gs_yield();
		if (i % 500 == 0)
			gs_sleep(1000);
	}
	UNTIL_NS(LOAD(done) == n, 60 * SEC);
	CHECK_EQ(LOAD(done), n);
	STORE(stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK_GE(gs_max_procs(0), 1);
	CHECK_LE(gs_max_procs(0), 8);
}

/* two threads change the number as fast as they can while fibers come and go */
TEST(changed_by_threads_at_once)
{
	RUN(changed_by_threads, NULL);
}

/* ------------------------------------------------------------------------- */

/* gs_set_max_threads: default 10,000; <= 0 only asks; the environment sets it */
TEST(max_threads_get_and_set)
{
	EXPECT_EQ(10000, gs_set_max_threads(0));
	EXPECT_EQ(10000, gs_set_max_threads(-3));
	EXPECT_EQ(10000, gs_set_max_threads(50));
	EXPECT_EQ(50, gs_set_max_threads(0));
	setenv("GSCHED_MAXTHREADS", "77", 1);
	RUN(no_work, NULL);
	EXPECT_EQ(77, gs_set_max_threads(0));
}

static int blocked; /* atomic */
static int pipes[2];

static void block(void *arg)
{
	char c;

	gs_blocking_begin();
	ADD(blocked, 1);
	CHECK_EQ(read(pipes[0], &c, 1), 1);
	gs_blocking_end();
	ADD(done, 1);
}

static void *release_blocked(void *arg)
{
	/* all that the cap allows are blocked; the rest waits; and it was said */
	UNTIL(LOAD(blocked) >= 5);
	UNTIL(lseek(2, 0, SEEK_END) > 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(write(pipes[1], "x", 1), 1);
	return NULL;
}

static void beyond_cap(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, release_blocked, NULL), 0);
	for (int i = 0; i < 20; i++)
		gs_go(block, NULL);
	UNTIL(LOAD(done) == 20);
	CHECK_EQ(LOAD(done), 20);
	pthread_join(t, NULL);
}

static void capped_child(void *arg)
{
	struct gs_stats s;

	ut_set_procs(1);
	setenv("GSCHED_MAXTHREADS", "5", 1);
	if (gs_run(beyond_cap, NULL))
		_exit(10);
	gs_stats(&s);
	CHECK_LE(s.workers, 5u);
	_exit(ut_failed ? 11 : 0);
}

/* at the cap hand-off waits, says so once, and all comes to an end */
TEST(max_threads_delays)
{
	struct ut_child *c;

	ASSERT_EQ(0, pipe(pipes));
	c = ut_child_run(capped_child, NULL, 60 * SEC);
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_SAYS(c, "GSCHED_MAXTHREADS");
	EXPECT_EQ(1, ut_occurs(c->err, "GSCHED_MAXTHREADS"));
}

static void *raise_cap(void *arg)
{
	/* no_work comes back: only a higher cap lets the others go on */
	UNTIL(LOAD(blocked) == 5);
	gs_set_max_threads(100);
	if (UNTIL(LOAD(blocked) == 20))
		ADD(stop, 1);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(write(pipes[1], "x", 1), 1);
	return NULL;
}

static void raised_cap(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, raise_cap, NULL), 0);
	for (int i = 0; i < 20; i++)
		gs_go(block, NULL);
	UNTIL(LOAD(done) == 20);
	CHECK_EQ(LOAD(stop), 1);
	pthread_join(t, NULL);
}

/* a cap raised while all threads are blocked takes effect at once */
TEST(max_threads_raised)
{
	ut_set_procs(1);
	setenv("GSCHED_MAXTHREADS", "5", 1);
	ASSERT_EQ(0, pipe(pipes));
	RUN(raised_cap, NULL);
}

/* ------------------------------------------------------------------------- */
/* The first proc's queue has one user until there is a second proc: at any moment. */

#define YIELDERS 8
#define PAIRS 4

static long passes[YIELDERS + PAIRS]; /* atomic */
static int running[YIELDERS];	      /* atomic */

static void pass(void *arg)
{
	intptr_t me = (intptr_t)arg;

	while (!LOAD(stop)) {
		/* nobody is taken from the queue twice */
		CHECK_EQ(ADD(running[me], 1), 1);
		ADD(running[me], -1);
		ADD(passes[me], 1);
		gs_yield();
	}
}

static void echo(void *arg)
{
	gs_chan *c = arg;
	int v;

	while (gs_chan_recv(c, &v))
		;
}

/* Each is readied as the one that runs next. */
static void ask(void *arg)
{
	intptr_t me = (intptr_t)arg;
	gs_chan *c = gs_chan_new(sizeof(int), 0);
	int i;

	gs_go(echo, c);
	for (i = 0; !LOAD(stop); i++) {
		gs_chan_send(c, &i);
		ADD(passes[me], 1);
		gs_go(no_work, NULL);
	}
	gs_chan_close(c);
}

static bool all_pass(long n)
{
	long before[ARRAY_SIZE(passes)];
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(passes); i++)
		before[i] = LOAD(passes[i]);
	for (size_t i = 0; ok && i < ARRAY_SIZE(passes); i++)
		ok = UNTIL(LOAD(passes[i]) >= before[i] + n);
	return ok;
}

/* A moment of its own for each round. */
static void busy_for(long n)
{
	for (volatile long i = 0; i < n; i++)
		;
}

static void *add_procs(void *arg)
{
	all_pass(2);
	busy_for((long)arg);
	CHECK_EQ(gs_max_procs(4), 1);
	all_pass(20);
	STORE(stop, 1);
	return NULL;
}

static void second_main(void *arg)
{
	pthread_t t;

	for (intptr_t i = 0; i < YIELDERS; i++)
		gs_go(pass, (void *)i);
	for (intptr_t i = YIELDERS; i < YIELDERS + PAIRS; i++)
		gs_go(ask, (void *)i);
	CHECK_EQ(pthread_create(&t, NULL, add_procs, arg), 0);
	UNTIL(LOAD(stop) && gs_num_fibers() == 1);
	pthread_join(t, NULL);
}

static void second_child(void *arg)
{
	ut_set_procs(1);
	_exit(gs_run(second_main, arg) ? 10 : ut_failed);
}

/* a second proc comes while the first one's queue is in use: nobody is lost or runs twice */
TEST(second_proc)
{
	for (long i = 0; i < ut_count(40, 4); i++) {
		struct ut_child *c = ut_child_run(second_child, (void *)(i * 1009), UT_WAIT * SEC);

		EXPECT_EQ(0, c->status)
		{
			TH_LOG("round %ld: %s", i, c->err);
			i = LONG_MAX - 1;
		}
		free(c);
	}
}

TEST_HARNESS_MAIN
