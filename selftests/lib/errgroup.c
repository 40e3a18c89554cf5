// SPDX-License-Identifier: GPL-2.0
/* gs_errgroup: x/sync/errgroup's own tests in behaviour. */
#include <gsched/context.h>
#include <gsched/select.h>
#include <gsched/sync.h>

#include "util.h"

static int returns(void *arg)
{
	return (int)(intptr_t)arg;
}

static int yields_returns(void *arg)
{
	for (int i = 0; i < 50; i++)
		gs_yield();
	return (int)(intptr_t)arg;
}

static void zero_main(void *arg)
{
	static const int cases[][3] = {{0}, {-5}, {0, 0}, {-5, 0}, {0, -7}, {-5, -7}, {0, 3, -4}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		gs_errgroup g = {0};
		int first = 0;

		for (int k = 0; k < 3; k++) {
			int err = cases[i][k];

			gs_errgroup_go(&g, returns, (void *)(intptr_t)err);
			if (!first)
				first = err;
			/* after each: the first error, again and again */
			CHECK_EQ(gs_errgroup_wait(&g), first);
		}
		CHECK_EQ(gs_errgroup_wait(&g), first);
	}
}

/* a zeroed group: wait returns the first result that is not 0, whenever it is asked */
TEST(zero_group)
{
	RUN(zero_main, NULL);
}

/* the same on an ordinary thread */
TEST(zero_group_in_thread)
{
	zero_main(NULL);
	EXPECT_EQ(0, ut_failed);
}

static void context_main(void *arg)
{
	static const int cases[][2] = {{0, 0}, {-5, 0}, {0, -7}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int want = cases[i][0] ? cases[i][0] : cases[i][1];
		gs_errgroup g = {0};
		gs_context *ctx = gs_errgroup_with_context(&g, gs_background());

		CHECK_EQ(gs_context_err(ctx), 0);
		for (int k = 0; k < 2; k++)
			gs_errgroup_go(&g, returns, (void *)(intptr_t)cases[i][k]);
		CHECK_EQ(gs_errgroup_wait(&g), want);
		CHECK_EQ(gs_context_err(ctx), -ECANCELED);
		CHECK_EQ(gs_context_cause(ctx), want ? want : -ECANCELED);
		gs_context_unref(ctx);
	}
}

/* with a context: cancelled when wait returns, the first error is its cause */
TEST(with_context)
{
	RUN(context_main, NULL);
}

static int until_cancelled(void *arg)
{
	gs_context *ctx = arg;

	gs_chan_recv(gs_context_done(ctx), NULL);
	CHECK_EQ(gs_context_cause(ctx), -EIO);
	return gs_context_err(ctx);
}

static void cancels_main(void *arg)
{
	long rounds = ut_count(800, 50);

	for (long r = 0; r < rounds; r++) {
		gs_cancel cancel;
		gs_context *parent = gs_with_cancel(gs_background(), &cancel), *ctx;
		gs_errgroup *g = calloc(1, sizeof(*g));

		ctx = gs_errgroup_with_context(g, parent);
		for (int i = 0; i < 5; i++)
			gs_errgroup_go(g, until_cancelled, ctx);
		gs_errgroup_go(g, r % 2 ? returns : yields_returns, (void *)(intptr_t)-EIO);
		CHECK_EQ(gs_errgroup_wait(g), -EIO);
		memset(g, 0x5a, sizeof(*g));
		free(g);
		CHECK_EQ(gs_context_err(parent), 0);
		gs_context_unref(ctx);
		gs_context_unref(parent);
	}
}

/* the first error cancels the others' context at once; after wait the group may go */
TEST(error_cancels)
{
	RUN(cancels_main, NULL);
}

static int active, most; /* atomic */

static int count_active(void *arg)
{
	int n = ADD(active, 1), m = LOAD(most);

	while (n > m &&
	       !__atomic_compare_exchange_n(&most, &m, n, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	for (int i = 0; i < 3; i++)
		gs_yield();
	ADD(active, -1);
	return 0;
}

static void limit_main(void *arg)
{
	long n = ut_count(2000, 100);
	gs_errgroup g = {0};

	STORE(most, 0);
	gs_errgroup_set_limit(&g, 7);
	for (long i = 0; i < n; i++)
		gs_errgroup_go(&g, count_active, NULL);
	CHECK_EQ(gs_errgroup_wait(&g), 0);
	CHECK_LE(most, 7);
	CHECK_GT(most, 0);
	/* idle: it may be changed, and taken away */
	gs_errgroup_set_limit(&g, 1);
	STORE(most, 0);
	for (int i = 0; i < 50; i++)
		gs_errgroup_go(&g, count_active, NULL);
	gs_errgroup_wait(&g);
	CHECK_EQ(most, 1);
	gs_errgroup_set_limit(&g, -1);
	for (int i = 0; i < 50; i++)
		CHECK(gs_errgroup_try_go(&g, count_active, NULL));
	gs_errgroup_wait(&g);
	gs_errgroup_set_limit(&g, 0);
	CHECK(!gs_errgroup_try_go(&g, returns, NULL));
	CHECK_EQ(gs_errgroup_wait(&g), 0);
}

/* never more than the limit; it can be changed and taken away; 0 lets nobody in */
TEST(go_limit)
{
	RUN(limit_main, NULL);
}

static int from_chan(void *arg)
{
	gs_chan_recv(arg, NULL);
	return 0;
}

static void try_main(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);
	gs_errgroup g = {0};

	gs_errgroup_set_limit(&g, 42);
	for (int i = 0; i < 42; i++)
		CHECK(gs_errgroup_try_go(&g, from_chan, c));
	CHECK(!gs_errgroup_try_go(&g, returns, (void *)(intptr_t)-EIO));
	gs_chan_send(c, NULL);
	/* one has ended */
	UNTIL(gs_errgroup_try_go(&g, from_chan, c));
	CHECK(!gs_errgroup_try_go(&g, returns, NULL));
	for (int i = 0; i < 42; i++)
		gs_chan_send(c, NULL);
	CHECK_EQ(gs_errgroup_wait(&g), 0);
	CHECK(gs_errgroup_try_go(&g, returns, (void *)(intptr_t)-EIO));
	CHECK_EQ(gs_errgroup_wait(&g), -EIO);
	gs_chan_unref(c);
}

/* try_go: up to the limit, and again when one has ended */
TEST(try_go)
{
	RUN(try_main, NULL);
}

static void limit_active(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);
	gs_errgroup g = {0};

	gs_errgroup_set_limit(&g, 3);
	gs_errgroup_go(&g, from_chan, c);
	gs_errgroup_go(&g, from_chan, c);
	gs_errgroup_set_limit(&g, 4);
}

static int panics(void *arg)
{
	gs_panic("in the group");
}

static void panic_main(void *arg)
{
	gs_errgroup g = {0};

	gs_errgroup_go(&g, panics, NULL);
	gs_errgroup_wait(&g);
	for (;;)
		gs_yield();
}

static void panic_run(void *arg)
{
	gs_run(panic_main, NULL);
}

/* Go's text for a limit changed in use; a panic is not caught */
TEST(misuse)
{
	struct ut_child *c = ut_child_run(limit_active, NULL, 20 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(
		c,
		"panic: errgroup: modify limit while 2 goroutines in the group are still active\n");
	free(c);
	c = ut_child_run(panic_run, NULL, 20 * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: in the group\n");
	free(c);
}

static int deferred; /* atomic */

static void defers(void *arg)
{
	ADD(deferred, 1);
}

static int exits(void *arg)
{
	gs_defer(defers, NULL);
	gs_exit();
}

static int defers_returns(void *arg)
{
	gs_defer(defers, NULL);
	return (int)(intptr_t)arg;
}

static void exit_main(void *arg)
{
	gs_errgroup g = {0};

	gs_errgroup_set_limit(&g, 2);
	for (int i = 0; i < 10; i++) {
		gs_errgroup_go(&g, exits, NULL);
		gs_errgroup_go(&g, defers_returns, NULL);
	}
	CHECK_EQ(gs_errgroup_wait(&g), 0);
	/* what they deferred came before the group's end */
	CHECK_EQ(deferred, 20);
}

/* a fiber that exits has ended; deferred calls run before wait returns */
TEST(exit_and_defer)
{
	RUN(exit_main, NULL);
}

TEST_HARNESS_MAIN
