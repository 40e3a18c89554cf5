// SPDX-License-Identifier: GPL-2.0
/* gs_singleflight: x/sync/singleflight's own tests in behaviour. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

static gs_singleflight g;
static gs_waitgroup all;
static int calls, got, shares; /* atomic */
static char value[] = "bar";

static int returns_bar(void *arg, void **result)
{
	*result = value;
	return 0;
}

static int returns_err(void *arg, void **result)
{
	return -EIO;
}

/* the function's result and error come back, and no memory stays */
TEST(do_once)
{
	void *result = &g;
	bool shared = true;

	EXPECT_EQ(0, gs_singleflight_do(&g, "key", returns_bar, NULL, &result, &shared));
	EXPECT_EQ((void *)value, result);
	EXPECT_FALSE(shared);
	EXPECT_EQ(-EIO, gs_singleflight_do(&g, "key", returns_err, NULL, &result, &shared));
	EXPECT_EQ(NULL, result);
	EXPECT_FALSE(shared);
	EXPECT_EQ(0, gs_singleflight_do(&g, "", returns_bar, NULL, NULL, NULL));
	gs_singleflight_forget(&g, "never");
	EXPECT_EQ(NULL, g.table);
}

static int blocks(void *arg, void **result)
{
	ADD(calls, 1);
	gs_chan_recv(arg, NULL);
	*result = value;
	return 5;
}

static void do_blocks(void *arg)
{
	void *result = NULL;
	bool shared = false;

	CHECK_EQ(gs_singleflight_do(&g, "key", blocks, arg, &result, &shared), 5);
	CHECK(result == (void *)value);
	ADD(shares, shared);
	ADD(got, 1);
}

static int asking; /* atomic */

static void *do_blocks_thread(void *arg)
{
	ADD(asking, 1);
	do_blocks(arg);
	return NULL;
}

static unsigned flights(void)
{
	unsigned n;

	gs_mutex_lock(&g.mutex);
	n = g.count;
	gs_mutex_unlock(&g.mutex);
	return n;
}

/* Fibers that wait for another's call, and those that make one. */
static bool joined(int n, int make)
{
	return ut_waiting("sync.WaitGroup.Wait", NULL) == n &&
	       ut_waiting("chan receive", NULL) == make;
}

static void dup_main(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);
	pthread_t t[2];

	for (int i = 0; i < 10; i++)
		gs_wg_go(&all, do_blocks, c);
	UNTIL(joined(9, 1));
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, do_blocks_thread, c), 0);
	/* a thread that is later than the call's end makes one of its own */
	UNTIL_NS(LOAD(asking) == 2, SEC);
	CHECK_EQ(LOAD(calls), 1);
	CHECK_EQ(flights(), 1u);
	CHECK_EQ(LOAD(got), 0);
	gs_chan_close(c);
	gs_wg_wait(&all);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(got, 12);
	CHECK_LE(calls, 3);
	CHECK_GE(shares, 10);
	CHECK(g.table == NULL);
	gs_chan_unref(c);
}

/* twelve callers, one call, all get its result, marked as shared */
TEST(duplicates_suppressed)
{
	RUN(dup_main, NULL);
}

static int forgets(void *arg, void **result)
{
	ADD(calls, 1);
	gs_chan_recv(arg, NULL);
	*result = arg;
	return 0;
}

static void do_forgets(void *arg)
{
	void *result;

	CHECK_EQ(gs_singleflight_do(&g, "key", forgets, arg, &result, NULL), 0);
	CHECK(result == arg);
}

static void do_second(void *arg)
{
	void *result;
	bool shared;

	/* it joins the second flight, not the forgotten first */
	CHECK_EQ(gs_singleflight_do(&g, "key", returns_bar, NULL, &result, &shared), 0);
	CHECK(result == arg);
	CHECK(shared);
}

static void forget_main(void *arg)
{
	gs_chan *c1 = gs_chan_new(0, 0), *c2 = gs_chan_new(0, 0);

	gs_wg_go(&all, do_forgets, c1);
	UNTIL(LOAD(calls) == 1);
	gs_singleflight_forget(&g, "key");
	gs_singleflight_forget(&g, "key");
	gs_wg_go(&all, do_forgets, c2);
	UNTIL(LOAD(calls) == 2);
	/* the end of the first does not take the second away */
	gs_chan_close(c1);
	UNTIL(joined(0, 1));
	CHECK_EQ(flights(), 1u);
	gs_wg_go(&all, do_second, c2);
	UNTIL(joined(1, 1));
	CHECK_EQ(flights(), 1u);
	gs_chan_close(c2);
	gs_wg_wait(&all);
	CHECK(g.table == NULL);
	gs_chan_unref(c1);
	gs_chan_unref(c2);
}

/* after forget the next one calls again, and is the one that others join */
TEST(forget)
{
	RUN(forget_main, NULL);
}

static int panicked; /* atomic */

static void expect_panic(void *arg)
{
	const char *text = gs_recover();

	if (CHECK(text != NULL) && CHECK(strcmp(text, "invalid memory address") == 0))
		ADD(panicked, 1);
}

static int panics(void *arg, void **result)
{
	ADD(calls, 1);
	for (int i = 0; i < 100; i++)
		gs_yield();
	gs_panic("invalid memory address");
}

static void do_panics(void *arg)
{
	gs_defer(expect_panic, NULL);
	gs_singleflight_do(&g, "key", panics, NULL, NULL, NULL);
	CHECK(!"reached");
}

static int exits(void *arg, void **result)
{
	ADD(calls, 1);
	for (int i = 0; i < 100; i++)
		gs_yield();
	gs_exit();
}

static void no_panic(void *arg)
{
	CHECK(gs_recover() == NULL);
	ADD(got, 1);
}

static void do_exits(void *arg)
{
	void *result = NULL;

	gs_defer(no_panic, NULL);
	/* comes back only if it joined the call of the thread, who was too late for ours */
	CHECK_EQ(gs_singleflight_do(&g, "key", exits, NULL, &result, NULL), 0);
	CHECK(result == (void *)value);
}

static void *do_exits_thread(void *arg)
{
	void *result = &g;
	int r;

	UNTIL(LOAD(calls) > 0);
	r = gs_singleflight_do(&g, "key", returns_bar, NULL, &result, NULL);
	/* in time, or too late: then it called its own */
	CHECK(r == 0 ? result == (void *)value : r == -ECANCELED && !result);
	return NULL;
}

static void ends_main(void *arg)
{
	pthread_t t;

	for (int i = 0; i < 5; i++)
		gs_wg_go(&all, do_panics, NULL);
	gs_wg_wait(&all);
	CHECK_EQ(panicked, 5);
	CHECK_GE(calls, 1);
	CHECK(g.table == NULL);

	STORE(calls, 0);
	STORE(got, 0);
	CHECK_EQ(pthread_create(&t, NULL, do_exits_thread, NULL), 0);
	for (int i = 0; i < 5; i++)
		gs_wg_go(&all, do_exits, NULL);
	gs_wg_wait(&all);
	pthread_join(t, NULL);
	CHECK_EQ(got, 5);
	CHECK_GE(calls, 1);
	CHECK(g.table == NULL);
}

/* a panic or exit of the function is that of every caller, and the key is free again */
TEST(panic_and_exit)
{
	RUN(ends_main, NULL);
}

static void panic_alone(void *arg)
{
	gs_singleflight_do(&g, "key", panics, NULL, NULL, NULL);
}

static void panic_run(void *arg)
{
	gs_run(panic_alone, NULL);
}

/* a panic that nobody recovers ends the process, fiber or thread */
TEST(panic_ends_process)
{
	static void (*const fns[])(void *) = {panic_alone, panic_run};

	for (int i = 0; i < 2; i++) {
		struct ut_child *c = ut_child_run(fns[i], NULL, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, "panic: invalid memory address");
		free(c);
	}
}

struct work {
	unsigned seed;
	long loops;
};

static int storm_call(void *arg, void **result)
{
	long key = (long)(intptr_t)arg;

	if (key % 3)
		gs_yield();
	*result = arg;
	return (int)key;
}

static void storm(void *arg)
{
	struct work *w = arg;

	for (long i = 0; i < w->loops; i++) {
		long key = rand_r(&w->seed) % 200;
		void *result;
		char name[16];

		snprintf(name, sizeof(name), "key %ld", key);
		CHECK_EQ(gs_singleflight_do(&g, name, storm_call, (void *)key, &result, NULL), key);
		CHECK(result == (void *)key);
		if (i % 16 == 0)
			gs_singleflight_forget(&g, name);
	}
}

static void *storm_thread(void *arg)
{
	storm(arg);
	return NULL;
}

static void storm_main(void *arg)
{
	struct work w[100];
	pthread_t t[2];

	for (int i = 0; i < 100; i++) {
		w[i] = (struct work){(unsigned)i, ut_count(1000, 30)};
		if (i < 98)
			gs_wg_go(&all, storm, &w[i]);
		else
			CHECK_EQ(pthread_create(&t[i - 98], NULL, storm_thread, &w[i]), 0);
	}
	gs_wg_wait(&all);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK(g.table == NULL);
	CHECK_EQ(g.count, 0u);
}

/* many keys, many callers: each gets its own key's result */
TEST(many_keys)
{
	RUN(storm_main, NULL);
}

TEST_HARNESS_MAIN
