// SPDX-License-Identifier: GPL-2.0
/*
 * A program that is linked statically (selftests/Makefile): libc does not say there how its
 * threads are made, so interrupted fibers keep theirs, and nothing else is different.
 */
#include "interrupts.h"

static int stop;    /* atomic */
static long rounds; /* atomic */

static void mixer(void *arg)
{
	long me = (long)(intptr_t)arg;

	for (long i = 0; !LOAD(stop); i++) {
		char want[64], *text = malloc(64);

		snprintf(want, sizeof(want), "%ld %ld %.3f", me, i, (double)i / 8);
		snprintf(text, 64, "%ld %ld %.3f", me, i, (double)i / 8);
		if (!CHECK_EQ(strcmp(text, want), 0))
			break;
		free(text);
		ADD(rounds, 1);
	}
}

static void mixers(void *arg)
{
	const struct gs_attr own = {.flags = GS_OWN_TLS};

	CHECK_EQ(gs_go_attr(&own, mixer, NULL), -EOPNOTSUPP);
	for (long i = 0; i < 6; i++)
		CHECK_EQ(gs_go(mixer, (void *)i), 0);
	UNTIL(LOAD(rounds) > 100 && stats().freezes > 50);
	CHECK_EQ(stats().travels, 0u);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* malloc and printf, interrupted anywhere, without contexts */
TEST(frozen)
{
#ifndef UT_STATIC
	SKIP(return, "sanitizers are not linked statically");
#endif
	NEEDS_INTERRUPTS(2, 100, "travel");
	RUN(mixers, NULL);
}

/* C++, static.cc */
bool cxx_throws(void (*between)(void), long me);
bool cxx_handles(void (*between)(void), long me);

static int throwing; /* atomic */

static void thrower(void *arg)
{
	for (long i = 0; i < ut_count(200, 20); i++) {
		CHECK(cxx_handles(gs_yield, (long)(intptr_t)arg));
		CHECK(cxx_throws(gs_yield, (long)(intptr_t)arg));
	}
	ADD(throwing, -1);
}

static void throwers(void *arg)
{
	for (long i = 1; i <= 10; i++) {
		ADD(throwing, 1);
		CHECK_EQ(gs_go(thrower, (void *)i), 0);
	}
	UNTIL(LOAD(throwing) == 0);
}

/* each handles its own exceptions over waits: here dlsym does not find where they are */
TEST(exceptions_over_waits)
{
	RUN(throwers, NULL);
}

static void say(void *arg)
{
	_exit(gs_backend() ? 0 : 1);
}

/* GSCHED_DEBUG=backend tells why */
TEST(why)
{
	struct ut_child *c;

#ifndef UT_STATIC
	SKIP(return, "sanitizers are not linked statically");
#endif
	setenv("GSCHED_DEBUG", "backend=1", 1);
	c = ut_child_run(say, NULL, 20 * SEC);
	EXPECT_EQ(0, c->status);
	EXPECT_SAYS(c, "\ngsched: interrupted fibers keep their threads ("
		       "this libc does not say how its threads are made)\n");
}

TEST_HARNESS_MAIN
