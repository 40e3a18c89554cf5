// SPDX-License-Identifier: GPL-2.0
/* gs_sem: x/sync/semaphore's own tests in behaviour, order, threads and races. */
#include <pthread.h>

#include <gsched/context.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

static gs_sem sem;
static gs_waitgroup all;
static int64_t held; /* atomic */

struct user {
	int64_t n;
	long loops;
	unsigned seed;
};

static void hammer(void *arg)
{
	struct user *u = arg;

	for (long i = 0; i < u->loops; i++) {
		CHECK_EQ(gs_sem_acquire(&sem, NULL, u->n), 0);
		CHECK_LE(ADD(held, u->n), sem.size);
		if (rand_r(&u->seed) % 4 == 0)
			gs_yield();
		ADD(held, -u->n);
		gs_sem_release(&sem, u->n);
	}
}

static void *hammer_thread(void *arg)
{
	hammer(arg);
	return NULL;
}

static void hammer_main(void *arg)
{
	struct user u[8];
	pthread_t t[2];

	gs_sem_init(&sem, 5);
	for (int i = 0; i < 8; i++) {
		u[i] = (struct user){i % 6, ut_count(8000, 300), (unsigned)i};
		if (i < 6)
			CHECK_EQ(gs_wg_go(&all, hammer, &u[i]), 0);
		else
			CHECK_EQ(pthread_create(&t[i - 6], NULL, hammer_thread, &u[i]), 0);
	}
	gs_wg_wait(&all);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK(gs_sem_try_acquire(&sem, 5));
}

/* weights 0 to 5 of 5, fibers and threads: never more than there is, all come to an end */
TEST(weighted)
{
	RUN(hammer_main, NULL);
}

static void over(void *arg)
{
	gs_sem_init(&sem, 1);
	gs_sem_release(&sem, 1);
}

/* releasing what is not held panics with Go's text */
TEST(weighted_panic)
{
	struct ut_child *c = ut_child_run(over, NULL, 20 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: semaphore: released more than held\n");
	free(c);
}

/* try_acquire takes what is there and nothing else */
TEST(try_acquire)
{
	gs_sem_init(&sem, 2);
	EXPECT_EQ(0, gs_sem_acquire(&sem, NULL, 1));
	EXPECT_TRUE(gs_sem_try_acquire(&sem, 1));
	EXPECT_FALSE(gs_sem_try_acquire(&sem, 1));
	EXPECT_TRUE(gs_sem_try_acquire(&sem, 0));
	gs_sem_release(&sem, 2);
	EXPECT_FALSE(gs_sem_try_acquire(&sem, 3));
	EXPECT_TRUE(gs_sem_try_acquire(&sem, 1));
	EXPECT_EQ(0, gs_sem_acquire(&sem, gs_background(), 1));
	EXPECT_FALSE(gs_sem_try_acquire(&sem, 1));
}

static int acquire_for(int64_t ns, int64_t n)
{
	gs_context *ctx = gs_with_timeout(gs_background(), ns, NULL);
	int r = gs_sem_acquire(&sem, ctx, n);

	gs_context_unref(ctx);
	return r;
}

static void acquire_main(void *arg)
{
	gs_sem_init(&sem, 2);
	CHECK_EQ(gs_sem_acquire(&sem, gs_background(), 1), 0);
	CHECK_EQ(acquire_for(3600 * SEC, 1), 0);
	CHECK_EQ(acquire_for(5 * MS, 1), -ETIMEDOUT);
	CHECK_EQ(acquire_for(0, 1), -ETIMEDOUT);
	gs_sem_release(&sem, 2);
	CHECK_EQ(acquire_for(3600 * SEC, 1), 0);
	CHECK_EQ(acquire_for(0, 1), -ETIMEDOUT); /* though it is there */
	CHECK_EQ(gs_sem_acquire(&sem, gs_background(), 1), 0);
	CHECK_EQ(acquire_for(5 * MS, 1), -ETIMEDOUT);
	CHECK_EQ(acquire_for(5 * MS, 3), -ETIMEDOUT); /* more than there ever is */
	gs_sem_release(&sem, 2);
	CHECK(gs_sem_try_acquire(&sem, 2));
}

/* acquire with a deadline: taken, or the context's error and nothing taken */
TEST(acquire)
{
	RUN(acquire_main, NULL);
}

/* the same on an ordinary thread */
TEST(acquire_in_thread)
{
	acquire_main(NULL);
	EXPECT_EQ(0, ut_failed);
}

struct
try {
	gs_context *ctx;
	int64_t n;
	int result, done, order; /* done: atomic */
};
static int served; /* atomic */

static void acquire_fiber(void *arg)
{
	struct try *t = arg;

	t->result = gs_sem_acquire(&sem, t->ctx, t->n);
	t->order = ADD(served, 1);
	STORE(t->done, 1);
}

static void too_big_main(void *arg)
{
	struct try big = {.n = 3}, t[12];
	gs_cancel cancel;

	gs_sem_init(&sem, 2);
	big.ctx = gs_with_cancel(gs_background(), &cancel);
	CHECK_EQ(gs_wg_go(&all, acquire_fiber, &big), 0);
	UNTIL(ut_waiting("chan receive", NULL) == 1);
	for (int i = 0; i < 12; i++) {
		t[i] = (struct try){.n = 1};
		gs_wg_go(&all, acquire_fiber, &t[i]);
	}
	for (int i = 0; i < 12; i++) {
		UNTIL(LOAD(served) > i);
		gs_sem_release(&sem, 1);
	}
	CHECK_EQ(LOAD(big.done), 0);
	gs_cancel_call(&cancel);
	gs_wg_wait(&all);
	CHECK_EQ(big.result, -ECANCELED);
	gs_context_unref(big.ctx);
}

/* who wants more than there ever is waits for his context and stands in nobody's way */
TEST(too_big_does_not_block)
{
	ut_set_procs(1);
	RUN(too_big_main, NULL);
}

static void fifo_main(void *arg)
{
	struct try t[20];

	gs_sem_init(&sem, 4);
	CHECK(gs_sem_try_acquire(&sem, 4));
	for (int i = 0; i < 20; i++) {
		t[i] = (struct try){.n = 1 + i % 4};
		CHECK_EQ(gs_wg_go(&all, acquire_fiber, &t[i]), 0);
		UNTIL(ut_waiting("semacquire", NULL) == i + 1);
	}
	CHECK(!gs_sem_try_acquire(&sem, 1));
	/* one unit each time: only ever the first gets what it wants, however small the next */
	for (int i = 0; i < 20; i++) {
		for (int units = 1; units <= t[i].n; units++) {
			CHECK_EQ(LOAD(t[i].done), 0);
			gs_sem_release(&sem, 1);
			for (int k = 0; k < 5; k++)
				gs_yield();
			/* try does not overtake, though there may be units */
			CHECK(!gs_sem_try_acquire(&sem, 1));
		}
		UNTIL(LOAD(t[i].done));
		CHECK_EQ(t[i].order, i + 1);
	}
	gs_wg_wait(&all);
}

/* first in, first out, whatever the weights */
TEST(fifo)
{
	ut_set_procs(1);
	RUN(fifo_main, NULL);
}

static int running; /* atomic */

static void small_user(void *arg)
{
	while (LOAD(running)) {
		gs_yield();
		gs_sem_release(&sem, 1);
		CHECK_EQ(gs_sem_acquire(&sem, NULL, 1), 0);
	}
	gs_sem_release(&sem, 1);
}

static void starve_main(void *arg)
{
	for (int r = 0; r < 50; r++) {
		gs_sem_init(&sem, 4);
		STORE(running, 1);
		for (int i = 0; i < 4; i++) {
			CHECK_EQ(gs_sem_acquire(&sem, NULL, 1), 0);
			gs_wg_go(&all, small_user, NULL);
		}
		CHECK_EQ(gs_sem_acquire(&sem, NULL, 4), 0);
		STORE(running, 0);
		gs_sem_release(&sem, 4);
		gs_wg_wait(&all);
	}
}

/* a large acquire gets its turn among small ones that come and go */
TEST(large_acquire_does_not_starve)
{
	RUN(starve_main, NULL);
}

static void cancel_fiber(void *arg)
{
	gs_cancel_call(arg);
}

static void cancel_frees_main(void *arg)
{
	long rounds = ut_count(1500, 100);

	for (long r = 0; r < rounds; r++) {
		struct try big = {.n = 10}, next = {.n = 1};
		gs_cancel cancel;

		gs_sem_init(&sem, 10);
		CHECK(gs_sem_try_acquire(&sem, 1));
		big.ctx = gs_with_cancel(gs_background(), &cancel);
		gs_wg_go(&all, acquire_fiber, &big);
		UNTIL(LOAD(sem.waiters.first));
		/* one waits behind the large one, or comes when that is cancelled */
		gs_wg_go(&all, acquire_fiber, &next);
		if (r % 2)
			gs_yield();
		gs_wg_go(&all, cancel_fiber, &cancel);
		CHECK_EQ(gs_sem_acquire(&sem, gs_background(), 1), 0);
		gs_wg_wait(&all);
		CHECK_EQ(big.result, -ECANCELED);
		CHECK_EQ(next.result, 0);
		CHECK(gs_sem_try_acquire(&sem, 7));
		gs_context_unref(big.ctx);
	}
}

/* a large one that is cancelled lets those behind it through */
TEST(cancel_does_not_starve)
{
	RUN(cancel_frees_main, NULL);
}

static void cancel_release(void *arg)
{
	while (gs_sem_try_acquire(&sem, 1)) {
		gs_sem_release(&sem, 1);
		gs_yield();
	}
	gs_cancel_call(arg);
	gs_sem_release(&sem, 1);
}

static void canceled_main(void *arg)
{
	long rounds = ut_count(1500, 100);

	for (long r = 0; r < rounds; r++) {
		gs_cancel cancel;
		gs_context *ctx = gs_with_cancel(gs_background(), &cancel);

		gs_sem_init(&sem, 2);
		CHECK(gs_sem_try_acquire(&sem, 1));
		gs_wg_go(&all, cancel_release, &cancel);
		/* the cancel comes first, so it must fail */
		CHECK_EQ(gs_sem_acquire(&sem, ctx, 2), -ECANCELED);
		gs_wg_wait(&all);
		CHECK(gs_sem_try_acquire(&sem, 2));
		gs_sem_release(&sem, 2);
		CHECK_EQ(gs_sem_acquire(&sem, ctx, 1), -ECANCELED);
		gs_context_unref(ctx);
	}
}

/* a cancel that comes before the units wins, and nothing is lost; also without waiting */
TEST(acquire_canceled)
{
	RUN(canceled_main, NULL);
}

static void race_user(void *arg)
{
	struct user *u = arg;

	for (long i = 0; i < u->loops; i++) {
		gs_cancel cancel;
		gs_context *ctx =
			gs_with_timeout(gs_background(), rand_r(&u->seed) % 50000, &cancel);

		if (gs_sem_acquire(&sem, ctx, u->n) == 0) {
			CHECK_LE(ADD(held, u->n), sem.size);
			gs_yield();
			ADD(held, -u->n);
			gs_sem_release(&sem, u->n);
		}
		gs_cancel_call(&cancel);
		gs_context_unref(ctx);
	}
}

static void *race_thread(void *arg)
{
	race_user(arg);
	return NULL;
}

static void race_main(void *arg)
{
	struct user u[10];
	pthread_t t[2];

	gs_sem_init(&sem, 6);
	for (int i = 0; i < 10; i++) {
		u[i] = (struct user){1 + i % 6, ut_count(1500, 100),
				     (unsigned)gs_now() + (unsigned)i};
		if (i < 8)
			CHECK_EQ(gs_wg_go(&all, race_user, &u[i]), 0);
		else
			CHECK_EQ(pthread_create(&t[i - 8], NULL, race_thread, &u[i]), 0);
	}
	gs_wg_wait(&all);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(LOAD(held), 0);
	CHECK(gs_sem_try_acquire(&sem, 6));
}

/* deadlines against releases at every moment: the units are all there in the end */
TEST(races)
{
	RUN(race_main, NULL);
}

struct own {
	gs_sem sem;
	int value;
};

static void own_release(void *arg)
{
	struct own *o = arg;

	o->value = 7;
	gs_sem_release(&o->sem, 1);
}

static void own_main(void *arg)
{
	long n = ut_count(8000, 300);

	for (long i = 0; i < n; i++) {
		struct own *o = calloc(1, sizeof(*o));

		gs_sem_init(&o->sem, 1);
		CHECK(gs_sem_try_acquire(&o->sem, 1));
		gs_go(own_release, o);
		CHECK_EQ(gs_sem_acquire(&o->sem, NULL, 1), 0);
		CHECK_EQ(o->value, 7);
		memset(o, 0x5a, sizeof(*o));
		free(o);
	}
}

/* what was done before a release is seen after the acquire, which may free it */
TEST(orders)
{
	RUN(own_main, NULL);
}

TEST_HARNESS_MAIN
