// SPDX-License-Identifier: GPL-2.0
/* gs_yield and fairness: nobody starves on one proc, whatever the others do. */
#include <pthread.h>

#include "util.h"

/* fibers that yield in turn; how far apart they may get: a hand-off may reorder a few */
#define SLACK 300

static long turns[4]; /* atomic */
static int nrunning;  /* atomic */
static long apart;    /* atomic: the most that one was ahead of another */

static void turn(void *arg)
{
	long me = (long)arg, n = ut_count(50000, 2000);

	ADD(nrunning, 1);
	UNTIL(LOAD(nrunning) >= 4);
	for (long i = 0; i < n; i++) {
		ADD(turns[me], 1);
		for (int k = 0; k < 4; k++) {
			long ahead = i - LOAD(turns[k]);

			if (ahead > LOAD(apart))
				STORE(apart, ahead);
		}
		if (LOAD(apart) > SLACK)
			return;
		gs_yield();
	}
}

static void four_turns(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	/* one whose thread was blocked meanwhile, by a page fault, falls behind: not always */
	do {
		for (int k = 0; k < 4; k++)
			STORE(turns[k], 0);
		STORE(nrunning, 0);
		STORE(apart, 0);
		for (long i = 0; i < 4; i++)
			gs_go(turn, (void *)i);
		UNTIL(gs_num_fibers() == 1);
	} while (LOAD(apart) > SLACK && gs_now() < end);
	CHECK_LE(LOAD(apart), SLACK);
}

/* on one proc fibers that yield go forward in step */
TEST(in_turn)
{
	ut_set_procs(1);
	RUN(four_turns, NULL);
}

static void yield_alone(void *arg)
{
	for (int i = 0; i < 1000; i++)
		gs_yield();
}

/* gs_yield returns when there is nobody else, and does nothing on a thread */
TEST(alone)
{
	gs_yield();
	RUN(yield_alone, NULL);
	gs_yield();
}

static long links; /* atomic: fibers of the chain so far */
static int stop;   /* atomic */

/* each fiber starts the next one, which therefore always "runs next" */
static void chain(void *arg)
{
	ADD(links, 1);
	if (!LOAD(stop))
		gs_go(chain, arg);
}

/* The most links that a yield took, of n. */
static long longest_yield(long n)
{
	long worst = 0;

	for (long i = 0; i < n; i++) {
		long before = LOAD(links);

		gs_yield();
		before = LOAD(links) - before;
		if (before > worst)
			worst = before;
	}
	return worst;
}

static void beside_chain(void *arg)
{
#ifdef UT_TSAN
	long n = 1; /* 4096 births and deaths, dear there */
#else
	long n = ut_count(300, 30);
#endif

	gs_go(chain, NULL);
	gs_go(chain, NULL);
	UNTIL(LOAD(links) > 100);
	/*
	 * A slice, or 4096 schedulings if that is less: a few rounds of slack. It takes longer
	 * if our thread is kept from running while it has no proc: not always.
	 */
	UNTIL(longest_yield(n) <= 4096 * 6);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* a chain of fibers that always run next does not starve one in the local queue */
TEST(runnext_does_not_starve)
{
	ut_set_procs(1);
	RUN(beside_chain, NULL);
}

static void yielder(void *arg)
{
	while (!LOAD(stop)) {
		ADD(links, 1);
		gs_yield();
	}
}

static long ran_at; /* atomic: links when the fiber from outside ran, and 1; 0 not yet */

static void outsider(void *arg)
{
	STORE(ran_at, LOAD(links) + 1);
}

/* Of n fibers from outside, how many had to wait for more than `most` links. */
static long late_outsiders(long n, long most)
{
	long late = 0;

	for (long i = 0; i < n; i++) {
		long from;

		STORE(ran_at, 0);
		CHECK_EQ(gs_go(outsider, NULL), 0);
		/* after it stood in the global queue: too late a reading errs to our side */
		from = LOAD(links);
		if (!UNTIL(LOAD(ran_at)))
			return n;
		late += LOAD(ran_at) - 1 - from > most;
	}
	return late;
}

static void *start_outsiders(void *arg)
{
	long most = (long)arg, n = most > 1000 ? ut_count(60, 3) : ut_count(200, 20);

	/* its turn came, and its thread was blocked before it noted that: not often */
	UNTIL(late_outsiders(n, most) <= n / 50);
	STORE(stop, 1);
	return NULL;
}

static void full_local(void *arg)
{
	pthread_t t;

	for (long i = 0; i < (long)arg; i++)
		gs_go(yielder, NULL);
	CHECK_EQ(pthread_create(&t, NULL, start_outsiders, (void *)(61 * 4l)), 0);
	pthread_detach(t);
	UNTIL_NS(LOAD(stop), UT_TIMEOUT * SEC);
	UNTIL(gs_num_fibers() == 1);
}

/* a fiber in the global queue is served though the local queue never empties */
TEST(global_served_beside_local)
{
	ut_set_procs(1);
	RUN(full_local, (void *)100);
}

/* the same beside a chain of runnext */
static void chains_beside_global(void *arg)
{
	pthread_t t;

	gs_go(chain, NULL);
	/* a chain has one slice, and 4096 schedulings at most */
	CHECK_EQ(pthread_create(&t, NULL, start_outsiders, (void *)(4096 * 4l)), 0);
	pthread_detach(t);
	/* this fiber must not be what makes room */
	while (!LOAD(stop))
		gs_sleep(10 * MS);
	UNTIL(gs_num_fibers() == 1);
}

/* a fiber in the global queue is served though runnext is never empty */
TEST(global_served_beside_runnext)
{
	ut_set_procs(1);
	RUN(chains_beside_global, NULL);
}

static long nsleeps; /* atomic */

static void sleeper(void *arg)
{
	while (!LOAD(stop)) {
		gs_sleep(500000);
		ADD(nsleeps, 1);
	}
}

static void sleeper_beside(void *arg)
{
	for (int i = 0; i < 50; i++)
		gs_go(yielder, NULL);
	gs_go(chain, NULL);
	gs_go(sleeper, NULL);
	UNTIL(LOAD(nsleeps) >= 50);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* a sleeper wakes though yielders and a chain keep one proc busy */
TEST(sleeper_served)
{
	ut_set_procs(1);
	RUN(sleeper_beside, NULL);
}

static long ran; /* atomic */

static void once(void *arg)
{
	ADD(ran, 1);
}

static void overflow(void *arg)
{
	/* 256 fit into the local queue; the rest goes to the global one and comes back */
	long n = ut_count(3000, 600);

	for (long round = 1; round <= 10; round++) {
		for (long i = 0; i < n; i++)
			CHECK_EQ(gs_go(once, NULL), 0);
		/* this fiber may be interrupted meanwhile */
		CHECK_LE(LOAD(ran), n * round);
		UNTIL(LOAD(ran) == n * round);
	}
}

/* more runnable fibers than the local queue holds: each runs exactly once */
TEST(overflow_to_global)
{
	ut_set_procs(1);
	RUN(overflow, NULL);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(10 * ut_count(3000, 600), ran);
	EXPECT_EQ(0, ut_failed);
}

static void *set_stop(void *arg)
{
	CHECK_EQ(gs_go(outsider, NULL), 0);
	return NULL;
}

static void spin_yield(void *arg)
{
	pthread_t t;

	STORE(links, 1);
	for (int i = 0; i < 50; i++) {
		STORE(ran_at, 0);
		CHECK_EQ(pthread_create(&t, NULL, set_stop, NULL), 0);
		UNTIL(LOAD(ran_at));
		pthread_join(t, NULL);
	}
}

/* a lone fiber that yields lets one from the global queue in, on any number of procs */
TEST(yield_sees_global)
{
	RUN(spin_yield, NULL);
}

TEST_HARNESS_MAIN
