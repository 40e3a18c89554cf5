// SPDX-License-Identifier: GPL-2.0
/* gs_pool: nothing is lost or given out twice, whoever puts and gets and clears. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "util.h"

struct thing {
	int busy; /* atomic: who has it */
	long writes;
};

static int made, dropped; /* atomic */

static void *make(void)
{
	ADD(made, 1);
	return calloc(1, sizeof(struct thing));
}

static void drop(void *x)
{
	struct thing *t = x;

	CHECK_EQ(LOAD(t->busy), 0);
	ADD(dropped, 1);
	free(x);
}

static gs_pool pool = {.new_fn = make, .drop_fn = drop};

/* what was put comes back, each once; then new_fn, or NULL */
TEST(put_and_get)
{
	static int items[1000];
	gs_pool p = {0};
	int seen[1000] = {0};

	EXPECT_EQ(NULL, gs_pool_get(&p));
	gs_pool_put(&p, NULL);
	EXPECT_EQ(NULL, p.table);
	EXPECT_EQ(NULL, gs_pool_get(&p));
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 1000; i++)
			gs_pool_put(&p, &items[i]);
		for (int i = 0; i < 1000; i++) {
			int *x = gs_pool_get(&p);

			ASSERT_NE(NULL, x);
			ASSERT_EQ(round, ++seen[x - items]);
		}
		EXPECT_EQ(NULL, gs_pool_get(&p));
	}
	/* the newest first */
	gs_pool_put(&p, &items[0]);
	gs_pool_put(&p, &items[1]);
	EXPECT_EQ((void *)&items[1], gs_pool_get(&p));
	EXPECT_EQ((void *)&items[0], gs_pool_get(&p));
	gs_pool_clear(&p);
	gs_pool_clear(&p);
	EXPECT_EQ(NULL, p.table);
	EXPECT_EQ(NULL, gs_pool_get(&p));
}

/* new_fn makes one when there is none, and only then */
TEST(makes_new)
{
	struct thing *a = gs_pool_get(&pool), *b = gs_pool_get(&pool);

	EXPECT_EQ(2, made);
	EXPECT_NE(a, b);
	gs_pool_put(&pool, a);
	EXPECT_EQ(a, gs_pool_get(&pool));
	EXPECT_EQ(2, made);
	gs_pool_put(&pool, a);
	gs_pool_put(&pool, b);
	gs_pool_clear(&pool);
	EXPECT_EQ(2, dropped);
}

/* clear drops everything there is, each once, and gives up all memory; without drop_fn, too */
TEST(clear)
{
	gs_pool p = {0};

	for (int i = 0; i < 1000; i++)
		gs_pool_put(&pool, make());
	gs_pool_clear(&pool);
	EXPECT_EQ(1000, dropped);
	EXPECT_EQ(NULL, pool.table);
	for (int i = 0; i < 1000; i++)
		gs_pool_put(&p, &p);
	gs_pool_clear(&p);
	EXPECT_EQ(NULL, p.table);
	EXPECT_EQ(NULL, gs_pool_get(&p));
	EXPECT_EQ(1000, dropped);
}

static gs_waitgroup all;

static void put_some(void *arg)
{
	for (int i = 0; i < 100; i++) {
		gs_pool_put(&pool, make());
		gs_yield();
	}
}

static void *put_thread(void *arg)
{
	put_some(arg);
	return NULL;
}

static void steal_main(void *arg)
{
	struct thing **got = calloc(500, sizeof(*got));
	pthread_t t;

	for (int i = 0; i < 4; i++)
		gs_wg_go(&all, put_some, NULL);
	CHECK_EQ(pthread_create(&t, NULL, put_thread, NULL), 0);
	pthread_join(t, NULL);
	gs_wg_wait(&all);
	/* wherever they are: none is made anew */
	for (int i = 0; i < 500; i++)
		got[i] = gs_pool_get(&pool);
	CHECK_EQ(made, 500);
	for (int i = 0; i < 500; i++)
		gs_pool_put(&pool, got[i]);
	gs_pool_clear(&pool);
	CHECK_EQ(dropped, 500);
	free(got);
}

/* what was put on other procs and by threads is found */
TEST(found_elsewhere)
{
	RUN(steal_main, NULL);
}

struct work {
	unsigned seed;
	long loops;
};

static void use(void *arg)
{
	struct work *w = arg;
	struct thing *hold[8] = {0};

	for (long i = 0; i < w->loops; i++) {
		unsigned k = (unsigned)rand_r(&w->seed) % 8;

		if (hold[k]) {
			hold[k]->writes++;
			CHECK_EQ(ADD(hold[k]->busy, -1), 0);
			gs_pool_put(&pool, hold[k]);
			hold[k] = NULL;
		} else {
			hold[k] = gs_pool_get(&pool);
			CHECK_EQ(ADD(hold[k]->busy, 1), 1);
			hold[k]->writes++;
		}
		if (i % 32 == 0)
			gs_yield();
	}
	for (int k = 0; k < 8; k++)
		if (hold[k]) {
			ADD(hold[k]->busy, -1);
			gs_pool_put(&pool, hold[k]);
		}
}

static void *use_thread(void *arg)
{
	use(arg);
	return NULL;
}

static int over; /* atomic */

static void *clear_thread(void *arg)
{
	while (!LOAD(over)) {
		gs_pool_clear(&pool);
		sched_yield();
	}
	return NULL;
}

static void *own_thread(void *arg)
{
	/* so many lives, or until it is over */
	for (long i = 0; arg ? i < (long)(intptr_t)arg : !LOAD(over); i++) {
		gs_pool *p = calloc(1, sizeof(*p));
		void *x = p;

		for (int k = 0; k < 3; k++)
			gs_pool_put(p, &((char *)x)[k]);
		for (int k = 2; k >= 0; k--)
			CHECK(gs_pool_get(p) == &((char *)x)[k]);
		gs_pool_put(p, x);
		gs_pool_clear(p);
		free(p);
	}
	return NULL;
}

enum { FIBERS = 8, THREADS = 3 };

/* How many were made. */
static int stress(bool clearing)
{
	struct work w[FIBERS + THREADS];
	pthread_t t[THREADS + 2];
	int n = 0;

	STORE(over, 0);
	STORE(made, 0);
	STORE(dropped, 0);
	if (clearing) {
		CHECK_EQ(pthread_create(&t[n++], NULL, clear_thread, NULL), 0);
		/* other pools, which get the tables that this one gives up */
		CHECK_EQ(pthread_create(&t[n++], NULL, own_thread, NULL), 0);
	}
	for (int i = 0; i < FIBERS + THREADS; i++) {
		w[i] = (struct work){(unsigned)i, ut_count(clearing ? 8000 : 40000, 500)};
		if (i < FIBERS)
			gs_wg_go(&all, use, &w[i]);
		else
			CHECK_EQ(pthread_create(&t[n++], NULL, use_thread, &w[i]), 0);
	}
	gs_wg_wait(&all);
	for (int i = clearing ? 2 : 0; i < n; i++)
		pthread_join(t[i], NULL);
	STORE(over, 1);
	for (int i = 0; clearing && i < 2; i++)
		pthread_join(t[i], NULL);
	if (!clearing)
		CHECK_EQ(dropped, 0);
	gs_pool_clear(&pool);
	CHECK_EQ(made, dropped);
	return made;
}

static void stress_main(void *arg)
{
	int64_t end = gs_now() + ut_limit(30 * SEC);
	int n;

	/*
	 * At most what was in use at one time. Who is kept from running while it looks for one
	 * may miss those that move behind it; that is rare, and not so in every run.
	 */
	do
		n = stress(false);
	while (n > (FIBERS + THREADS) * 8 && gs_now() < end);
	CHECK_LE(n, (FIBERS + THREADS) * 8);
}

/* fibers and threads put and get: none is given out twice, none is lost, none too many made */
TEST(many_users)
{
	RUN(stress_main, NULL);
}

static void clear_main(void *arg)
{
	stress(true);
}

/* the same, cleared all the time: each is dropped once in the end */
TEST(cleared_meanwhile)
{
	RUN(clear_main, NULL);
}

static intptr_t leaves; /* how: 1 panics, 2 exits */
static int recovered;

static void drop_and_leave(void *x)
{
	drop(x);
	if (dropped % 10)
		return;
	if (leaves == 1)
		gs_panic("not this one");
	gs_exit();
}

static gs_pool left = {.new_fn = make, .drop_fn = drop_and_leave};

static void recover(void *arg)
{
	recovered += gs_recover() != NULL;
}

static void leave_fiber(void *arg)
{
	GS_DEFER_SCOPE;

	gs_defer(recover, NULL);
	gs_pool_clear(&left);
}

static void leave_main(void *arg)
{
	for (leaves = 1; leaves <= 2; leaves++) {
		gs_pool other = {0};
		struct gs_pool_table *table;

		made = dropped = recovered = 0;
		for (int i = 0; i < 205; i++)
			gs_pool_put(&left, make());
		table = left.table;
		gs_wg_go(&all, leave_fiber, NULL);
		gs_wg_wait(&all);
		/* all of them, and the table is there for others */
		CHECK_EQ(dropped, 205);
		CHECK_EQ(recovered, leaves == 1);
		gs_pool_put(&other, &other);
		CHECK(other.table == table);
		gs_pool_clear(&other);
	}
}

/* drop_fn may panic, again and again, or exit: the rest is dropped all the same */
TEST(drop_leaves)
{
	RUN(leave_main, NULL);
}

static gs_pool plain; /* of no objects */

static void *plain_thread(void *arg)
{
	for (long i = 0; i < (long)(intptr_t)arg; i++) {
		gs_pool_clear(&plain);
		gs_pool_put(&plain, &plain);
	}
	return NULL;
}

/* What is in use when some have put so often, and cleared. */
static size_t after_puts(long n)
{
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, plain_thread, (void *)(intptr_t)n), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	gs_pool_clear(&plain);
	return ut_allocated();
}

/* a put that finds no room, and then no table, has memory for the one chunk it needs */
TEST(memory)
{
	size_t before = after_puts(1000);

	/* a few tables and what malloc keeps for a thread are no leak */
	EXPECT_LT(after_puts(ut_count(50000, 30000)), before + 50000);
	EXPECT_EQ(0, ut_failed);
}

/* pools come and go: they share what is kept of them, and never mix */
TEST(lives)
{
	long n = ut_count(20000, 300);
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, own_thread, (void *)(intptr_t)n));
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(0, ut_failed);
}

static gs_pool late; /* its table is another pool's by now */

static void *late_put(void *arg)
{
	gs_pool_put(&late, arg);
	STORE(over, 1);
	return NULL;
}

/* who looked up the table before clear, and comes after it was given to another pool */
TEST(late_for_clear)
{
	gs_pool other = {0};
	struct gs_pool_table *table;
	int x, y;
	pthread_t t;

	gs_pool_put(&late, &x);
	table = late.table;
	gs_pool_clear(&late);
	gs_pool_put(&other, &y);
	ASSERT_EQ(table, other.table); /* or this test says nothing */

	STORE(late.table, table);
	EXPECT_EQ(NULL, gs_pool_get(&late));
	ASSERT_EQ(0, pthread_create(&t, NULL, late_put, &x));
	EXPECT_FALSE(UNTIL_NS(LOAD(over), 5 * MS));
	STORE(late.table, NULL);
	pthread_join(t, NULL);
	EXPECT_EQ((void *)&x, gs_pool_get(&late));
	EXPECT_EQ((void *)&y, gs_pool_get(&other));
	EXPECT_EQ(NULL, gs_pool_get(&other));
	gs_pool_clear(&late);
	gs_pool_clear(&other);
}

TEST_HARNESS_MAIN
