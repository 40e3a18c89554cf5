// SPDX-License-Identifier: GPL-2.0
/* gs_limiter: x/time/rate's own tests in behaviour; their times are given, not waited for. */
#include <math.h>
#include <pthread.h>

#include <gsched/context.h>
#include <gsched/sync.h>

#include "util.h"

#define D (100 * MS)

/* t0 and so on of Go's tests */
static int64_t at(int n)
{
	return 1000 * SEC + n * D;
}

struct allow {
	int t;
	double tokens;
	int n;
	bool ok;
};

static void run_allow(gs_limiter *l, const struct allow *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double tokens = gs_limiter_tokens(l, at(a[i].t));

		if (tokens != a[i].tokens)
			ut_fail(__FILE__, __LINE__, "step %zu: %f tokens, not %f", i, tokens,
				a[i].tokens);
		if (gs_limiter_allow_n(l, at(a[i].t), a[i].n) != a[i].ok)
			ut_fail(__FILE__, __LINE__, "step %zu: not %d", i, a[i].ok);
	}
}

#define RUN_ALLOW(l, ...)                                                                          \
	do {                                                                                       \
		static const struct allow steps[] = {__VA_ARGS__};                                 \
		run_allow((l), steps, ARRAY_SIZE(steps));                                          \
		EXPECT_EQ(0, ut_failed);                                                           \
	} while (0)

/* Reserve n at t: ok, to act at `act`. */
static gs_reservation reserve_max(gs_limiter *l, int t, int n, int act, bool ok, int64_t max)
{
	gs_reservation r;
	bool got = gs_limiter_reserve(l, at(t), n, max, &r);

	CHECK_EQ(got, ok);
	CHECK_EQ(r.limiter != NULL, ok);
	if (got && ok)
		CHECK_EQ((r.act - at(0) + D / 2) / D, act);
	return r;
}

static gs_reservation reserve(gs_limiter *l, int t, int n, int act, bool ok)
{
	return reserve_max(l, t, n, act, ok, INT64_MAX);
}

static gs_limiter l;

/* a bucket of one */
TEST(burst_1)
{
	gs_limiter_init(&l, 10, 1);
	RUN_ALLOW(&l, {0, 1, 1, true}, {0, 0, 1, false}, {0, 0, 1, false}, {1, 1, 1, true},
		  {1, 0, 1, false}, {1, 0, 1, false}, {2, 1, 2, false}, {2, 1, 1, true},
		  {2, 0, 1, false});
}

/* a bucket of three */
TEST(burst_3)
{
	gs_limiter_init(&l, 10, 3);
	RUN_ALLOW(&l, {0, 3, 2, true}, {0, 1, 2, false}, {0, 1, 1, true}, {0, 0, 1, false},
		  {1, 1, 4, false}, {2, 2, 1, true}, {3, 2, 1, true}, {4, 2, 1, true},
		  {4, 1, 1, true}, {4, 0, 1, false}, {4, 0, 1, false}, {9, 3, 3, true},
		  {9, 0, 0, true});
}

/* time that goes backwards gives nothing and takes nothing */
TEST(jump_backwards)
{
	gs_limiter_init(&l, 10, 3);
	RUN_ALLOW(&l, {1, 3, 1, true}, {0, 2, 1, true}, {0, 1, 1, true}, {0, 0, 1, false},
		  {0, 0, 1, false}, {1, 1, 1, true}, {1, 0, 1, false}, {1, 0, 1, false},
		  {2, 1, 1, true}, {2, 0, 1, false}, {2, 0, 1, false});
}

/* rates without an exact nanosecond, zero, tiny, infinite, and a zeroed limiter */
TEST(rates)
{
	int64_t far = gs_now();

	gs_limiter_init(&l, 0.7692307692307693, 1);
	EXPECT_TRUE(gs_limiter_allow(&l));

	gs_limiter_init(&l, 0, 1);
	EXPECT_TRUE(gs_limiter_allow(&l));
	EXPECT_FALSE(gs_limiter_allow(&l));
	EXPECT_FALSE(gs_limiter_allow_n(&l, INT64_MAX, 1));

	gs_limiter_init(&l, 1e-10, 1);
	EXPECT_TRUE(gs_limiter_allow(&l));
	EXPECT_FALSE(gs_limiter_allow(&l));

	gs_limiter_init(&l, INFINITY, 0);
	for (int i = 0; i < 100; i++)
		EXPECT_TRUE(gs_limiter_allow_n(&l, far, 1000));
	EXPECT_EQ(0, gs_limiter_wait_n(&l, NULL, 3));

	memset(&l, 0, sizeof(l));
	EXPECT_FALSE(gs_limiter_allow(&l));
	EXPECT_TRUE(gs_limiter_allow_n(&l, far, 0));
	EXPECT_EQ(-EINVAL, gs_limiter_wait(&l, NULL));

	/* no burst, no limit large enough to overflow */
	gs_limiter_init(&l, 1e300, INT64_MAX);
	EXPECT_TRUE(gs_limiter_allow_n(&l, far, INT64_MAX));
	EXPECT_TRUE(gs_limiter_allow_n(&l, far + 1, INT64_MAX));
}

static uint32_t allowed; /* atomic */

static void allow_fiber(void *arg)
{
	if (gs_limiter_allow(&l))
		ADD(allowed, 1);
}

static void simultaneous_main(void *arg)
{
	gs_waitgroup wg = {0};

	gs_limiter_init(&l, 0.001, 5);
	for (int i = 0; i < 200; i++)
		gs_wg_go(&wg, allow_fiber, NULL);
	gs_wg_wait(&wg);
	CHECK_EQ(allowed, 5u);
}

/* many ask at once: as many are allowed as there are tokens */
TEST(simultaneous_requests)
{
	RUN(simultaneous_main, NULL);
}

/* over five seconds, a hundred a second and the burst */
TEST(long_running)
{
	int64_t t = at(0);
	int ok = 0;
	double ideal = 100 + 100 * 5;

	gs_limiter_init(&l, 100, 100);
	for (; t < at(50); t += 2 * MS)
		ok += gs_limiter_allow_n(&l, t, 1);
	EXPECT_LE(ok, (int)(ideal + 1));
	EXPECT_GE(ok, (int)(0.999 * ideal));
}

/* reservations: to come, too many, too late, mixed with allow */
TEST(reservations)
{
	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	reserve(&l, 0, 2, 2, true);
	reserve(&l, 3, 2, 4, true);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 3, 1, false);
	reserve(&l, 0, 2, 0, true);
	RUN_ALLOW(&l, {1, 1, 2, false});
	reserve(&l, 1, 2, 2, true);
	RUN_ALLOW(&l, {1, -1, 1, false});
	RUN_ALLOW(&l, {3, 1, 1, true});

	gs_limiter_init(&l, 10, 2);
	reserve_max(&l, 0, 2, 0, true, D);
	reserve_max(&l, 0, 1, 1, true, D);
	reserve_max(&l, 0, 1, 2, false, D);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 1, 2, 1, true);
	reserve(&l, 0, 1, 1, true);
	reserve(&l, 2, 2, 3, true);
	reserve(&l, 0, 3, 0, false);
	reserve(&l, 2, 1, 4, true);
	reserve_max(&l, 0, 2, 0, false, D);
	reserve(&l, 2, 1, 5, true);
	EXPECT_EQ(0, ut_failed);
}

/* cancelled: what others have not reserved comes back, if it is not too late */
TEST(cancel)
{
	gs_reservation r, c;

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	r = reserve(&l, 0, 3, 3, false);
	gs_reservation_cancel(&r, at(0));
	reserve(&l, 0, 2, 2, true);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	r = reserve(&l, 0, 2, 2, true);
	gs_reservation_cancel(&r, at(1));
	gs_reservation_cancel(&r, at(1)); /* once */
	reserve(&l, 1, 2, 2, true);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	r = reserve(&l, 0, 2, 2, true);
	gs_reservation_cancel(&r, at(3));
	reserve(&l, 3, 2, 4, true);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	r = reserve(&l, 0, 1, 1, true);
	reserve(&l, 0, 1, 2, true);
	gs_reservation_cancel(&r, at(0));
	reserve(&l, 0, 1, 3, true);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	r = reserve(&l, 0, 2, 2, true);
	reserve(&l, 0, 1, 3, true);
	gs_reservation_cancel(&r, at(2));
	reserve(&l, 2, 2, 4, true);

	gs_limiter_init(&l, 10, 4);
	reserve(&l, 0, 4, 0, true);
	r = reserve(&l, 0, 3, 3, true);
	reserve(&l, 0, 1, 4, true);
	c = reserve(&l, 0, 1, 5, true);
	gs_reservation_cancel(&c, at(1));
	gs_reservation_cancel(&r, at(1));
	reserve(&l, 1, 3, 5, true);

	gs_limiter_init(&l, 10, 2);
	reserve(&l, 1, 2, 1, true);
	r = reserve(&l, 1, 2, 3, true);
	reserve(&l, 1, 1, 4, true);
	gs_reservation_cancel(&r, at(0));
	reserve(&l, 1, 2, 4, true);
	EXPECT_EQ(0, ut_failed);
}

/* limit and burst changed on the way */
TEST(set_limit_and_burst)
{
	gs_reservation r;

	gs_limiter_init(&l, 5, 2);
	reserve(&l, 0, 2, 0, true);
	reserve(&l, 0, 2, 4, true);
	gs_limiter_set_limit(&l, at(2), 10);
	reserve(&l, 2, 1, 4, true);

	gs_limiter_init(&l, 5, 2);
	reserve(&l, 0, 2, 0, true);
	reserve(&l, 0, 2, 4, true);
	gs_limiter_set_burst(&l, at(3), 4);
	reserve(&l, 0, 4, 9, true);

	gs_limiter_init(&l, 5, 2);
	reserve(&l, 0, 2, 0, true);
	r = reserve(&l, 0, 2, 4, true);
	gs_limiter_set_limit(&l, at(2), 10);
	gs_reservation_cancel(&r, at(2));
	reserve(&l, 2, 2, 3, true);
	EXPECT_EQ(0, ut_failed);
}

/* an infinite limit, changed twice in the same nanosecond: tokens stay a number */
TEST(infinite_then_not)
{
	gs_reservation r;

	gs_limiter_init(&l, INFINITY, 1);
	gs_limiter_set_burst(&l, at(1), 2);
	gs_limiter_set_limit(&l, at(1), 10);
	/* as Go's: a burst that grows brings no tokens */
	RUN_ALLOW(&l, {1, 1, 1, true}, {1, 0, 1, false}, {3, 2, 1, true}, {3, 1, 1, true},
		  {3, 0, 1, false});

	gs_limiter_init(&l, INFINITY, 2);
	gs_limiter_set_limit(&l, at(1), INFINITY);
	gs_limiter_set_limit(&l, at(1), 10);
	RUN_ALLOW(&l, {1, 2, 1, true}, {1, 1, 1, true}, {1, 0, 1, false});

	/* what was reserved without a limit took nothing, and gives nothing back */
	gs_limiter_init(&l, 10, 2);
	reserve(&l, 0, 2, 0, true);
	reserve(&l, 0, 2, 2, true);
	gs_limiter_set_limit(&l, at(0), INFINITY);
	r = reserve(&l, 5, 1, 5, true);
	gs_limiter_set_limit(&l, at(0), 10);
	gs_reservation_cancel(&r, at(1));
	RUN_ALLOW(&l, {1, -1, 1, false});
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */
/* Waiting, in real time                                                       */

/*
 * Wait for n, which takes `least` since the call before began, or what came after that, and
 * says `want`. Not much more: what must not be waited for takes half a minute at least.
 */
static void wait_for(gs_context *ctx, int n, int64_t least, int want)
{
	static int64_t before;
	int64_t begin = gs_now();

	CHECK_EQ(gs_limiter_wait_n(&l, ctx, n), want);
	CHECK_GE(gs_now() - before, least);
	CHECK_LT(gs_now() - begin, 25 * SEC);
	before = begin;
}

static void cancel_later(void *arg)
{
	gs_sleep(5 * MS);
	gs_cancel_call(arg);
}

static void wait_main(void *arg)
{
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);

	gs_limiter_init(&l, 100, 3);
	gs_cancel_call(&cancel);
	wait_for(ctx, 1, 0, -ECANCELED);
	wait_for(ctx, 4, 0, -EINVAL);
	gs_context_unref(ctx);
	wait_for(NULL, 4, 0, -EINVAL);
	wait_for(gs_background(), 2, 0, 0);
	wait_for(gs_background(), 3, 20 * MS, 0);
	wait_for(NULL, 1, 10 * MS, 0);

	/* cancelled on the way: they come back */
	gs_limiter_init(&l, 1e-3, 3);
	ctx = gs_with_cancel(gs_background(), &cancel);
	wait_for(ctx, 2, 0, 0);
	gs_go(cancel_later, &cancel);
	wait_for(ctx, 3, 5 * MS, -ECANCELED);
	CHECK_GE(gs_limiter_tokens(&l, gs_now()), 0.99);
	CHECK(gs_limiter_allow(&l));
	gs_context_unref(ctx);

	/* the deadline is too early: said at once, and nothing is taken */
	gs_limiter_init(&l, 0.01, 3);
	ctx = gs_with_timeout(gs_background(), 50 * SEC, NULL);
	wait_for(ctx, 2, 0, 0);
	wait_for(ctx, 2, 0, -ETIMEDOUT);
	wait_for(ctx, 1, 0, 0);
	wait_for(ctx, 1, 0, -ETIMEDOUT);
	gs_context_unref(ctx);

	/* a limit set on an empty one */
	gs_limiter_init(&l, 0, 1);
	wait_for(NULL, 1, 0, 0);
	CHECK(!gs_limiter_allow(&l));
	gs_limiter_set_limit(&l, gs_now(), 100);
	wait_for(NULL, 1, 10 * MS, 0);
}

/* wait: now, later, more than the burst, cancelled, beyond the deadline */
TEST(waits)
{
	RUN(wait_main, NULL);
}

/* the same on an ordinary thread */
TEST(waits_in_thread)
{
	wait_main(NULL);
	EXPECT_EQ(0, ut_failed);
}

static void wait_one(void *arg)
{
	CHECK_EQ(gs_limiter_wait(&l, NULL), 0);
	ADD(allowed, 1);
}

static int64_t crowd_once(int n)
{
	gs_waitgroup wg = {0};
	int64_t t = gs_now();

	gs_limiter_init(&l, 1000, 1);
	STORE(allowed, 0);
	for (int i = 0; i < n; i++)
		gs_wg_go(&wg, wait_one, NULL);
	gs_wg_wait(&wg);
	t = gs_now() - t;
	CHECK_EQ(LOAD(allowed), (unsigned)n);
	return t;
}

static void crowd_main(void *arg)
{
	int n = (int)ut_count(200, 40);

	/*
	 * Each but the first waits for its own millisecond. As in Go, who read the clock long
	 * before it gets the lock sets the limiter back, and what came since comes twice: not
	 * always.
	 */
	UNTIL(crowd_once(n) >= (n - 2) * MS);
}

/* many wait: each for a token of its own */
TEST(crowd)
{
	RUN(crowd_main, NULL);
}

static int late_result; /* atomic: 1 waits */

static void late_fiber(void *ctx)
{
	STORE(late_result, gs_limiter_wait(&l, ctx));
}

static void late_main(void *arg)
{
	for (int found = 0; found < 10;) {
		gs_cancel cancel;
		gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
		int64_t took = gs_now() - 60 * MS, act = took + 100 * MS;
		bool early;

		gs_limiter_init(&l, 10, 1);
		CHECK(gs_limiter_allow_n(&l, took, 1));
		STORE(late_result, 1);
		gs_go(late_fiber, ctx);
		UNTIL(gs_limiter_tokens(&l, took) < 0);
		gs_nopreempt_begin();
		ut_burn(act - 5 * MS - gs_now());
		gs_cancel_call(&cancel);
		early = gs_now() < act - MS;
		ut_burn(act + 5 * MS - gs_now());
		gs_nopreempt_end();
		UNTIL(LOAD(late_result) != 1);
		/* else it was not yet waiting, or its time came first */
		if (early && LOAD(late_result) == -ECANCELED) {
			CHECK(gs_limiter_allow(&l));
			found++;
		}
		gs_context_unref(ctx);
	}
}

/* cancelled before its time and run after it: what it would have taken is there */
TEST(cancelled_and_late)
{
	ut_set_procs(1);
	RUN(late_main, NULL);
}

static int over; /* atomic */

static void *change_burst_thread(void *arg)
{
	while (!LOAD(over)) {
		gs_limiter_set_burst(&l, gs_now(), 1);
		gs_limiter_set_burst(&l, gs_now(), 2);
	}
	return NULL;
}

/* the burst gets less between the calls of a wait and within: too many is never too late */
TEST(burst_gets_less)
{
	long left = ut_count(200000, 20000);
	pthread_t t;

	gs_limiter_init(&l, 1e12, 2);
	ASSERT_EQ(0, pthread_create(&t, NULL, change_burst_thread, NULL));
	while (left) {
		int r = gs_limiter_wait_n(&l, NULL, 2);
		if (r && r != -EINVAL) {
			EXPECT_EQ(-EINVAL, r);
			break;
		}
		left -= r != 0;
	}
	STORE(over, 1);
	pthread_join(t, NULL);
}

TEST_HARNESS_MAIN
