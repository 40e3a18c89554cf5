// SPDX-License-Identifier: GPL-2.0
/* gs_sleep and gs_now: never early, not very late, in order, many, extreme values. */
#include <pthread.h>

#include "util.h"

static void accuracy(void *arg)
{
	static const int64_t want[] = {1,      1000,	10000,	 50000,	  100000,
				       500000, 1000000, 2500000, 10000000};
	int64_t worst = 0, end = gs_now() + ut_limit(UT_WAIT * SEC);

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		int64_t best = INT64_MAX;

		/* a busy machine may be late for a while, not always */
		for (int k = 0; k < 10 || (best - want[i] > ut_limit(5 * MS) && gs_now() < end);
		     k++) {
			int64_t t = gs_now(), d;

			gs_sleep(want[i]);
			d = gs_now() - t;
			CHECK_GE(d, want[i]);
			if (d < best)
				best = d;
		}
		if (best - want[i] > worst)
			worst = best - want[i];
	}
	CHECK_LE(worst, ut_limit(5 * MS));
}

/* sleeps are never early, and the best of ten or more is less than 5 ms late */
TEST(accuracy_in_fiber)
{
	RUN(accuracy, NULL);
}

/* the same on an ordinary thread, without a runtime */
TEST(accuracy_in_thread)
{
	accuracy(NULL);
	EXPECT_EQ(0, ut_failed);
	/* and nothing was started for it */
	EXPECT_EQ(0, gs_num_fibers());
}

static int64_t no_sleeps(void)
{
	int64_t t = gs_now();

	for (int i = 0; i < 1000; i++) {
		gs_sleep(0);
		gs_sleep(-1);
		gs_sleep(INT64_MIN);
	}
	return gs_now() - t;
}

static void no_sleep(void *arg)
{
	UNTIL(no_sleeps() <= ut_limit(SEC));
}

/* zero and negative return at once */
TEST(not_positive)
{
	no_sleep(NULL);
	RUN(no_sleep, NULL);
}

static int flag; /* atomic */

static void set_flag(void *arg)
{
	STORE(flag, 1);
}

/* How often of twenty times another fiber ran while we slept so ten times. */
static int ran_meanwhile(int64_t ns)
{
	int ran = 0;

	for (int k = 0; k < 20; k++) {
		STORE(flag, 0);
		gs_go(set_flag, NULL);
		for (int i = 0; i < 10 && !LOAD(flag); i++)
			gs_sleep(ns);
		ran += LOAD(flag);
		UNTIL(LOAD(flag));
	}
	return ran;
}

static void sleep_0(void *arg)
{
	/* its thread may lose the proc before it sets the flag: not always */
	UNTIL(ran_meanwhile(0) >= 10);
	UNTIL(ran_meanwhile(-5) >= 10);
}

/* a sleep of nothing yields: on one proc another fiber runs meanwhile */
TEST(zero_yields)
{
	ut_set_procs(1);
	RUN(sleep_0, NULL);
}

struct nap {
	int64_t when;
	long index;
};

#define NAPS 10000
static struct nap naps[NAPS];
static long wake_order[NAPS];
static long nwoken, nended; /* atomic */
static int64_t first_wake;  /* atomic */

static void nap(void *arg)
{
	struct nap *n = arg;
	int64_t left = n->when - gs_now();

	/* it must be asleep before the first one wakes, or there is no order to keep */
	if (gs_now() > LOAD(first_wake))
		STORE(flag, 1);
	gs_sleep(left);
	CHECK_GE(gs_now(), n->when);
	STORE(wake_order[ADD(nwoken, 1) - 1], n->index);
	ADD(nended, 1);
}

/* n sleepers, started in a shuffled order, `step` apart; how many woke out of place */
static long out_of_place(long n, int64_t step, long slack)
{
	for (int64_t margin = 50 * MS;; margin *= 2) {
		int64_t start = gs_now() + margin;
		long bad = 0;

		STORE(first_wake, start);
		STORE(flag, 0);
		STORE(nwoken, 0);
		STORE(nended, 0);
		for (long i = 0; i < n; i++) {
			/* 7919 is prime: every index once */
			long k = (i * 7919) % n;

			naps[i].index = k;
			naps[i].when = start + k * step;
			CHECK_EQ(gs_go(nap, &naps[i]), 0);
		}
		while (LOAD(nended) < n && gs_now() < start + ut_limit(60 * SEC))
			gs_sleep(MS);
		CHECK_EQ(LOAD(nended), n);
		if (LOAD(flag) && margin < 20 * SEC)
			continue;
		for (long i = 0; i < n; i++)
			if (labs(LOAD(wake_order[i]) - i) > slack)
				bad++;
		return bad;
	}
}

static void many_naps(void *arg)
{
	long n = ut_count(NAPS, 500);

	/*
	 * On one proc, for with several the order in which woken sleepers run is the
	 * machine's: a worker that is off its CPU delays the handful it has. With no order
	 * at all nearly every one would be out of place.
	 */
	gs_max_procs(1);
	UNTIL(out_of_place(n, 20000, 200) <= n / 50);
}

/* ten thousand sleepers wake in the order of their times */
TEST(many_in_order)
{
	ASSERT_NE(0, ut_count(NAPS, 500) % 7919);
	RUN(many_naps, NULL);
}

static void few_naps(void *arg)
{
	/* late: those whose worker lost its CPU between reading the clock and arming */
	UNTIL(out_of_place(500, 10000, 50) <= 25);
}

/* on one proc the order is kept to a fraction of a millisecond */
TEST(order_on_one_proc)
{
	ut_set_procs(1);
	RUN(few_naps, NULL);
}

static void forever(void *arg)
{
	gs_sleep((int64_t)(intptr_t)arg);
	CHECK(!"woke from an endless sleep");
}

static void endless(void *arg)
{
	int64_t t = gs_now();

	CHECK_EQ(gs_go(forever, (void *)INT64_MAX), 0);
	CHECK_EQ(gs_go(forever, (void *)(INT64_MAX - 1)), 0);
	CHECK_EQ(gs_go(forever, (void *)(INT64_MAX - gs_now())), 0);
	CHECK_EQ(gs_go(forever, (void *)(100L * 365 * 86400 * SEC)), 0);
	/* shorter ones beside them are not disturbed */
	for (int i = 0; i < 20; i++)
		gs_sleep(MS);
	CHECK_GE(gs_now() - t, 20 * MS);
	CHECK_EQ(gs_num_fibers(), 5u);
}

/* INT64_MAX and other centuries: they sleep on, others are not disturbed */
TEST(endless_sleep)
{
	RUN(endless, NULL);
}

static void *sleep_thread(void *arg)
{
	for (int i = 0; i < 50; i++) {
		int64_t t = gs_now();

		gs_sleep(300000);
		CHECK_GE(gs_now() - t, 300000);
	}
	return NULL;
}

static void sleep_fiber(void *arg)
{
	sleep_thread(NULL);
}

static void both(void *arg)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++) {
		CHECK_EQ(pthread_create(&t[i], NULL, sleep_thread, NULL), 0);
		CHECK_EQ(gs_go(sleep_fiber, NULL), 0);
	}
	UNTIL(gs_num_fibers() == 1);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

/* fibers and threads sleep side by side */
TEST(fibers_and_threads)
{
	RUN(both, NULL);
}

/* The longest of some short sleeps, each with another endless one beside it or not. */
static int64_t longest(int times, bool beside)
{
	int64_t most = 0;

	for (int round = 0; round < times; round++) {
		int64_t t = gs_now(), d;

		if (beside)
			gs_go(forever, (void *)(3600 * SEC));
		gs_sleep(beside ? 2 * MS - round * 50000 : 200000);
		d = gs_now() - t;
		most = d > most ? d : most;
	}
	return most;
}

static void earlier_later(void *arg)
{
	/* a long sleep first, then ever shorter ones: each must shorten the poller's wait */
	UNTIL(longest(20, true) <= ut_limit(2 * SEC));
}

/* a sleep shorter than the one the poller waits for is not forgotten */
TEST(shorter_than_pending)
{
	RUN(earlier_later, NULL);
}

static int hogging; /* atomic */

static void hog(void *arg)
{
	ADD(hogging, 1);
	while (!LOAD(flag))
		;
}

static void late_under_hogs(void *arg)
{
	int n = gs_max_procs(0);

	/* all procs but this fiber's are hogged; it parks, and must come back */
	for (int i = 0; i < n - 1; i++)
		gs_go(hog, NULL);
	UNTIL(LOAD(hogging) == n - 1);
	UNTIL(longest(50, false) <= ut_limit(SEC));
	STORE(flag, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* a proc left free is enough for a sleeper while all others are hogged */
TEST(beside_hogs)
{
	ut_set_procs(2);
	RUN(late_under_hogs, NULL);
}

/* gs_now is CLOCK_MONOTONIC and does not go back */
TEST(now)
{
	struct timespec ts;
	int64_t a, b, last = 0;

	a = gs_now();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	b = gs_now();
	EXPECT_LE(a, ts.tv_sec * SEC + ts.tv_nsec);
	EXPECT_GE(b, ts.tv_sec * SEC + ts.tv_nsec);
	for (int i = 0; i < 10000; i++) {
		int64_t t = gs_now();

		ASSERT_GE(t, last);
		last = t;
	}
}

TEST_HARNESS_MAIN
