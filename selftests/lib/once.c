// SPDX-License-Identifier: GPL-2.0
/* gs_once: once, seen by all, however the first call ended. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "util.h"

static gs_waitgroup all;
static int ran;	      /* atomic */
static long prepared; /* written by the first call, read by all after it */

static void prepare(void *arg)
{
	ADD(ran, 1);
	for (int i = 0; i < 20; i++)
		gs_yield();
	prepared = (long)(intptr_t)arg;
}

static gs_once *once;

static void use(void *arg)
{
	gs_once_do(once, prepare, arg);
	CHECK_NE(prepared, 0);
}

static void *use_thread(void *arg)
{
	use(arg);
	return NULL;
}

static void once_main(void *arg)
{
	long rounds = ut_count(300, 20);

	for (long r = 0; r < rounds; r++) {
		gs_once o = {0};
		pthread_t t[2];

		once = &o;
		prepared = 0;
		STORE(ran, 0);
		for (long i = 1; i < 20; i++)
			gs_wg_go(&all, use, (void *)i);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, use_thread, (void *)99), 0);
		gs_wg_wait(&all);
		for (int i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		CHECK_EQ(ran, 1);
		use(NULL);
		CHECK_EQ(ran, 1);
	}
}

/* of many calls one runs fn, and none returns before that is over */
TEST(one_runs_all_see)
{
	RUN(once_main, NULL);
}

static void recovers(void *arg)
{
	const char *text = gs_recover();

	CHECK(text && strcmp(text, "in once") == 0);
	ADD(ran, 100);
}

static void fails(void *arg)
{
	ADD(ran, 1);
	for (int i = 0; i < 20; i++)
		gs_yield();
	if (arg)
		gs_panic("in once");
	gs_exit();
}

static void first(void *arg)
{
	if (arg)
		gs_defer(recovers, NULL);
	gs_once_do(once, fails, arg);
	CHECK(!"reached");
}

static void later(void *arg)
{
	gs_once_do(once, fails, arg);
	ADD(ran, 10);
}

static void fails_main(void *arg)
{
	gs_once o = {0};

	once = &o;
	STORE(ran, 0);
	gs_wg_go(&all, first, arg);
	UNTIL(LOAD(ran));
	gs_wg_go(&all, later, arg);
	gs_wg_go(&all, later, arg);
	gs_wg_wait(&all);
	CHECK_EQ(ran, arg ? 121 : 21);
	gs_once_do(&o, fails, arg);
}

/* a panic in fn counts as done: who waited goes on, and the panic goes its way */
TEST(panic_counts)
{
	RUN(fails_main, (void *)1);
}

/* so does gs_exit */
TEST(exit_counts)
{
	RUN(fails_main, NULL);
}

static void keep(void *arg)
{
	ADD(ran, 1);
}

static void defers(void *arg)
{
	gs_defer(keep, NULL);
}

static void defers_main(void *arg)
{
	gs_once o = {0};

	gs_once_do(&o, defers, NULL);
	CHECK_EQ(LOAD(ran), 0); /* for the fiber's end */
	gs_once_do(&o, defers, NULL);
}

/* what fn defers is the fiber's, as anywhere */
TEST(defer_in_fn)
{
	RUN(defers_main, NULL);
	EXPECT_EQ(1, ran);
}

TEST_HARNESS_MAIN
