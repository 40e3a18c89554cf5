// SPDX-License-Identifier: GPL-2.0
/* gs_map: Go's sync.Map tests in behaviour, keys of our own, and memory. */
#include <pthread.h>

#include <gsched/sync.h>

#include "util.h"

static gs_waitgroup all;
static int over;	  /* atomic */
static char k[64], v[64]; /* pointers to be used as keys and values */

static bool count_one(const void *key, void *value, void *arg)
{
	++*(long *)arg;
	return true;
}

static long count(gs_map *m)
{
	long n = 0;

	gs_map_range(m, count_one, &n);
	return n;
}

/* every call, on keys that are there and not */
TEST(calls)
{
	gs_map m = {0};
	void *x = &m;

	EXPECT_FALSE(gs_map_load(&m, &k[0], &x));
	EXPECT_EQ(NULL, x);
	EXPECT_FALSE(gs_map_delete(&m, &k[0]));
	EXPECT_FALSE(gs_map_load_and_delete(&m, &k[0], &x));
	EXPECT_FALSE(gs_map_compare_and_swap(&m, &k[0], NULL, &v[1]));
	EXPECT_FALSE(gs_map_compare_and_delete(&m, &k[0], NULL));
	EXPECT_EQ(0, count(&m));
	gs_map_clear(&m);
	EXPECT_EQ(NULL, m.table);

	gs_map_store(&m, &k[0], &v[0]);
	EXPECT_TRUE(gs_map_load(&m, &k[0], &x));
	EXPECT_EQ((void *)&v[0], x);
	EXPECT_TRUE(gs_map_load(&m, &k[0], NULL));
	gs_map_store(&m, &k[0], &v[1]);
	EXPECT_EQ(1, count(&m));
	EXPECT_TRUE(gs_map_load_or_store(&m, &k[0], &v[2], &x));
	EXPECT_EQ((void *)&v[1], x);
	EXPECT_FALSE(gs_map_load_or_store(&m, &k[1], &v[2], &x));
	EXPECT_EQ((void *)&v[2], x);
	EXPECT_FALSE(gs_map_load_or_store(&m, &k[2], NULL, NULL));
	EXPECT_TRUE(gs_map_load(&m, &k[2], &x));
	EXPECT_EQ(NULL, x);
	EXPECT_TRUE(gs_map_swap(&m, &k[2], &v[3], &x));
	EXPECT_EQ(NULL, x);
	EXPECT_TRUE(gs_map_swap(&m, &k[2], &v[4], &x));
	EXPECT_EQ((void *)&v[3], x);
	x = &m;
	EXPECT_FALSE(gs_map_swap(&m, &k[3], &v[5], &x));
	EXPECT_EQ(NULL, x);
	EXPECT_EQ(4, count(&m));

	EXPECT_FALSE(gs_map_compare_and_swap(&m, &k[3], &v[4], &v[6]));
	EXPECT_TRUE(gs_map_compare_and_swap(&m, &k[3], &v[5], &v[6]));
	EXPECT_FALSE(gs_map_compare_and_delete(&m, &k[3], &v[5]));
	EXPECT_TRUE(gs_map_load(&m, &k[3], &x));
	EXPECT_EQ((void *)&v[6], x);
	EXPECT_TRUE(gs_map_compare_and_delete(&m, &k[3], &v[6]));
	EXPECT_FALSE(gs_map_load(&m, &k[3], &x));
	EXPECT_TRUE(gs_map_load_and_delete(&m, &k[0], &x));
	EXPECT_EQ((void *)&v[1], x);
	EXPECT_TRUE(gs_map_delete(&m, &k[1]));
	EXPECT_FALSE(gs_map_delete(&m, &k[1]));
	EXPECT_EQ(1, count(&m));
	gs_map_clear(&m);
	EXPECT_EQ(0, count(&m));
	EXPECT_FALSE(gs_map_load(&m, &k[2], NULL));
	gs_map_store(&m, NULL, &v[0]); /* a key like others */
	EXPECT_TRUE(gs_map_load(&m, NULL, NULL));
	gs_map_clear(&m);
	EXPECT_EQ(NULL, m.table);
}

static uint64_t hash_string(const void *key)
{
	uint64_t h = 5381;

	for (const char *s = key; *s; s++)
		h = h * 33 + (unsigned char)*s;
	return h;
}

static uint64_t hash_badly(const void *key)
{
	return 7;
}

static bool equal_string(const void *a, const void *b)
{
	return strcmp(a, b) == 0;
}

static void strings(uint64_t (*hash)(const void *), int n)
{
	gs_map m;
	char buf[16];
	void *x;

	gs_map_init(&m, hash, equal_string);
	for (int i = 0; i < n; i++) {
		snprintf(buf, sizeof(buf), "key %d", i);
		gs_map_store(&m, strdup(buf), (void *)(intptr_t)i);
	}
	for (int i = 0; i < n; i++) {
		snprintf(buf, sizeof(buf), "key %d", i);
		if (!CHECK(gs_map_load(&m, buf, &x)) || !CHECK((intptr_t)x == i))
			break;
		CHECK(gs_map_load_or_store(&m, buf, NULL, NULL));
	}
	CHECK(!gs_map_load(&m, "key", NULL));
	CHECK_EQ(count(&m), n);
	gs_map_clear(&m);
}

/* keys of one's own: many, and with a hash that is none */
TEST(own_keys)
{
	strings(hash_string, (int)ut_count(20000, 1000));
	strings(hash_badly, 200);
	EXPECT_EQ(0, ut_failed);
}

/* The same as an array of values says: one user, random calls. */
TEST(matches_reference)
{
	long rounds = ut_count(200000, 5000);
	unsigned seed = (unsigned)gs_now();
	void *ref[64] = {0};
	bool has[64] = {0};
	gs_map m = {0};

	for (long r = 0; r < rounds; r++) {
		int i = rand_r(&seed) % 64, j = rand_r(&seed) % 4;
		void *x = &m, *old = has[i] ? ref[i] : NULL;
		bool ok;

		switch (rand_r(&seed) % (r % 1000 ? 8 : 9)) {
		case 0:
			ASSERT_EQ(has[i], gs_map_load(&m, &k[i], &x));
			ASSERT_EQ(old, x);
			break;
		case 1:
			gs_map_store(&m, &k[i], &v[j]);
			has[i] = true;
			ref[i] = &v[j];
			break;
		case 2:
			ASSERT_EQ(has[i], gs_map_load_or_store(&m, &k[i], &v[j], &x));
			if (!has[i])
				ref[i] = &v[j];
			has[i] = true;
			ASSERT_EQ(ref[i], x);
			break;
		case 3:
			ASSERT_EQ(has[i], gs_map_load_and_delete(&m, &k[i], &x));
			ASSERT_EQ(old, x);
			has[i] = false;
			break;
		case 4:
			ASSERT_EQ(has[i], gs_map_delete(&m, &k[i]));
			has[i] = false;
			break;
		case 5:
			ASSERT_EQ(has[i], gs_map_swap(&m, &k[i], &v[j], &x));
			ASSERT_EQ(old, x);
			has[i] = true;
			ref[i] = &v[j];
			break;
		case 6:
			ok = has[i] && ref[i] == &v[0];
			ASSERT_EQ(ok, gs_map_compare_and_swap(&m, &k[i], &v[0], &v[j]));
			if (ok)
				ref[i] = &v[j];
			break;
		case 7:
			ok = has[i] && ref[i] == &v[1];
			ASSERT_EQ(ok, gs_map_compare_and_delete(&m, &k[i], &v[1]));
			if (ok)
				has[i] = false;
			break;
		default:
			gs_map_clear(&m);
			memset(has, 0, sizeof(has));
		}
		if (r % 100 == 0) {
			long n = 0;

			for (int e = 0; e < 64; e++)
				n += has[e];
			ASSERT_EQ(n, count(&m));
		}
	}
	gs_map_clear(&m);
}

/* ------------------------------------------------------------------------- */
/* Range                                                                       */

static gs_map map;

static bool stop_at_third(const void *key, void *value, void *arg)
{
	return ++*(int *)arg < 3;
}

struct seen {
	int times[64];
	int calls;
};

static bool see_and_store(const void *key, void *value, void *arg)
{
	struct seen *s = arg;
	int i = (int)((const char *)key - k);

	if (CHECK(i >= 0 && i < 64)) {
		s->times[i]++;
		CHECK(value == &v[i]);
	}
	s->calls++;
	/* again and again the same, deleted and stored anew, and others besides */
	gs_map_delete(&map, key);
	gs_map_store(&map, key, value);
	gs_map_store(&map, &s->times[s->calls % 64], NULL);
	gs_map_delete(&map, &s->times[s->calls % 64]);
	return CHECK(s->calls < 1000);
}

static bool delete_others(const void *key, void *value, void *arg)
{
	++*(int *)arg;
	for (int i = 0; i < 64; i++)
		if (&k[i] != key)
			gs_map_delete(&map, &k[i]);
	return true;
}

static bool clear_in_range(const void *key, void *value, void *arg)
{
	++*(int *)arg;
	gs_map_clear(&map);
	return true;
}

static bool inner_range(const void *key, void *value, void *arg)
{
	void *x;

	CHECK(gs_map_load(&map, key, &x));
	CHECK(x == value);
	CHECK(!gs_map_load_or_store(&map, &k[42], &v[42], NULL));
	gs_map_store(&map, &k[42], &v[43]);
	CHECK(gs_map_load_and_delete(&map, &k[42], &x));
	CHECK(x == &v[43]);
	++*(int *)arg;
	return true;
}

static bool outer_range(const void *key, void *value, void *arg)
{
	gs_map_range(&map, inner_range, arg);
	CHECK(gs_map_delete(&map, key));
	return true;
}

/* range: stops when told, sees each once, not what was deleted, comes to an end, nests */
TEST(range)
{
	struct seen s = {{0}, 0};
	int n = 0;

	for (int i = 0; i < 64; i++)
		gs_map_store(&map, &k[i], &v[i]);
	gs_map_range(&map, stop_at_third, &n);
	EXPECT_EQ(3, n);
	gs_map_range(&map, see_and_store, &s);
	for (int i = 0; i < 64; i++)
		EXPECT_EQ(1, s.times[i]);
	n = 0;
	gs_map_range(&map, delete_others, &n);
	EXPECT_EQ(1, n);
	EXPECT_EQ(1, count(&map));
	for (int i = 0; i < 64; i++)
		gs_map_store(&map, &k[i], &v[i]);
	n = 0;
	gs_map_range(&map, clear_in_range, &n);
	EXPECT_EQ(1, n);
	EXPECT_EQ(0, count(&map));
	for (int i = 0; i < 3; i++)
		gs_map_store(&map, &k[i], &v[i]);
	n = 0;
	gs_map_range(&map, outer_range, &n);
	EXPECT_EQ(3 + 2 + 1, n);
	EXPECT_EQ(0, count(&map));
	EXPECT_EQ(0, ut_failed);
	gs_map_clear(&map);
}

static bool exits_in_range(const void *key, void *value, void *arg)
{
	gs_exit();
}

static void exit_fiber(void *arg)
{
	gs_map_range(&map, exits_in_range, NULL);
}

static void exit_main(void *arg)
{
	for (int r = 0; r < 20; r++) {
		for (int i = 0; i < 64; i++)
			gs_map_store(&map, &k[i], &v[i]);
		gs_wg_go(&all, exit_fiber, NULL);
		gs_wg_wait(&all);
		/* the cursor is gone: these would write to the dead fiber's stack */
		for (int i = 0; i < 64; i++)
			CHECK(gs_map_delete(&map, &k[i]));
		CHECK_EQ(count(&map), 0);
	}
	gs_map_clear(&map);
}

/* a fiber may end in range's function */
TEST(exit_in_range)
{
	RUN(exit_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Functions that do not return                                                */

static intptr_t leaves; /* how: 1 panics, 2 exits, 0 returns. Once. */

static void leave(void)
{
	intptr_t how = leaves;

	leaves = 0;
	if (how == 1)
		gs_panic("not equal");
	if (how == 2)
		gs_exit();
}

static bool equal_leaves(const void *a, const void *b)
{
	leave();
	return strcmp(a, b) == 0;
}

static void ref_leaves(void *value)
{
	leave();
}

static void recover(void *arg)
{
	if (gs_recover())
		++*(int *)arg;
}

/* The keys are the same string at other addresses: equal is asked, in any case. */
static void call(gs_map *m, int which)
{
	static char same[] = "key";
	void *x;

	switch (which) {
	case 0:
		gs_map_load(m, same, &x);
		break;
	case 1:
		gs_map_store(m, same, NULL);
		break;
	case 2:
		gs_map_swap(m, same, NULL, &x);
		break;
	case 3:
		gs_map_delete(m, same);
		break;
	case 4:
		gs_map_compare_and_swap(m, same, &v[0], NULL);
		break;
	case 5:
		gs_map_compare_and_delete(m, same, &v[0]);
		break;
	default:
		gs_map_load_ref(m, which == 6 ? same : k, ref_leaves, &x);
	}
}

static gs_map left;
static int recovered, returned;

static void call_scoped(int which)
{
	GS_DEFER_SCOPE;

	gs_defer(recover, &recovered);
	call(&left, which);
	returned++;
}

static void leave_fiber(void *arg)
{
	bool panics = leaves == 1;

	call_scoped((int)(intptr_t)arg);
	/* in the same fiber, too */
	if (CHECK(panics))
		CHECK(gs_map_load(&left, k, NULL));
}

static void store_fiber(void *arg)
{
	static char other[] = "key";
	void *x = NULL;

	/* as it was, and as ever */
	CHECK(gs_map_swap(&left, other, &v[1], &x));
	CHECK(x == &v[0]);
	CHECK(gs_map_load_and_delete(&left, other, &x));
	CHECK(x == &v[1]);
	STORE(over, 1);
}

static void leave_main(void *arg)
{
	int panics = 0;

	for (int which = 0; which < 8; which++)
		for (intptr_t how = 1; how <= 2; how++) {
			/* the last: equal is none, the function is ref */
			gs_map_init(&left, hash_string, which < 7 ? equal_leaves : NULL);
			gs_map_store(&left, strcpy(k, "key"), &v[0]);
			leaves = how;
			panics += how == 1;
			STORE(over, 0);
			gs_wg_go(&all, leave_fiber, (void *)(intptr_t)which);
			gs_wg_wait(&all);
			CHECK_EQ(leaves, 0);
			if (which == 7)
				left.equal = equal_leaves; /* for the fiber's other key */
			gs_go(store_fiber, NULL);
			if (!UNTIL_NS(LOAD(over), 5 * SEC)) {
				ut_fail(__FILE__, __LINE__, "call %d, way %d: locked for ever",
					which, (int)how);
				_exit(1);
			}
			gs_map_clear(&left);
		}
	CHECK_EQ(recovered, panics);
	CHECK_EQ(returned, 0);
}

/* equal and ref may panic or exit: nothing happened, and nothing stays locked */
TEST(functions_that_leave)
{
	RUN(leave_main, NULL);
}

#define RANGE_SIZE 512

static long plain[RANGE_SIZE];

struct ranger {
	unsigned char seen[RANGE_SIZE];
};

/* Keys are addresses in plain; the value at i is always a multiple of i + 1. */
static bool check_multiple(const void *key, void *value, void *arg)
{
	struct ranger *r = arg;
	long i = (const long *)key - plain;

	CHECK_EQ((long)(intptr_t)value % (i + 1), 0);
	CHECK_EQ(r->seen[i]++, 0);
	return true;
}

static void store_multiples(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (long g = 1; !LOAD(over); g++) {
		for (long i = 0; i < RANGE_SIZE && !LOAD(over); i++) {
			intptr_t value = g * (i + 1) % 100000 / (i + 1) * (i + 1);

			if (rand_r(&seed) % 2)
				gs_map_store(&map, &plain[i], (void *)value);
			else
				gs_map_load(&map, &plain[i], NULL);
		}
		gs_yield();
	}
}

static void *store_thread(void *arg)
{
	store_multiples(arg);
	return NULL;
}

static void range_main(void *arg)
{
	long rounds = ut_count(300, 10);
	pthread_t t;

	STORE(over, 0);
	for (long i = 0; i < RANGE_SIZE; i++)
		gs_map_store(&map, &plain[i], (void *)(intptr_t)(i + 1));
	for (int i = 0; i < 3; i++)
		gs_wg_go(&all, store_multiples, (void *)(uintptr_t)i);
	CHECK_EQ(pthread_create(&t, NULL, store_thread, (void *)9), 0);
	for (long r = 0; r < rounds; r++) {
		struct ranger ranger = {{0}};

		gs_map_range(&map, check_multiple, &ranger);
		for (int i = 0; i < RANGE_SIZE; i++)
			CHECK_EQ(ranger.seen[i], 1);
	}
	STORE(over, 1);
	gs_wg_wait(&all);
	pthread_join(t, NULL);
	gs_map_clear(&map);
}

/* Go's TestConcurrentRange: values change under it, every key is seen once */
TEST(concurrent_range)
{
	RUN(range_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Many users                                                                  */

struct counted {
	int refs; /* atomic */
	int id;
	long guard;
};

static int alive; /* atomic */

static void counted_ref(void *value)
{
	ADD(((struct counted *)value)->refs, 1);
}

static void counted_unref(struct counted *c)
{
	CHECK_EQ(c->guard, 0x5eed);
	if (ADD(c->refs, -1) == 0) {
		c->guard = 0;
		ADD(alive, -1);
		free(c);
	}
}

static bool drop_counted(const void *key, void *value, void *arg)
{
	void *x;

	if (gs_map_load_and_delete(&map, key, &x))
		counted_unref(x);
	return true;
}

static void use_counted(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	long n = ut_count(20000, 500);

	for (long r = 0; r < n; r++) {
		int i = rand_r(&seed) % 8;
		struct counted *c;
		void *x;

		switch (rand_r(&seed) % 4) {
		case 0:
			c = calloc(1, sizeof(*c));
			*c = (struct counted){1, i, 0x5eed};
			ADD(alive, 1);
			if (gs_map_swap(&map, &k[i], c, &x))
				counted_unref(x);
			break;
		case 1:
			if (gs_map_load_and_delete(&map, &k[i], &x))
				counted_unref(x);
			break;
		default:
			if (gs_map_load_ref(&map, &k[i], counted_ref, &x)) {
				c = x;
				if (r % 16 == 0)
					gs_yield();
				CHECK_EQ(c->guard, 0x5eed);
				CHECK_EQ(c->id, i);
				counted_unref(c);
			}
		}
		if (r % 1000 == 0)
			gs_map_range(&map, drop_counted, NULL);
	}
}

static void *use_counted_thread(void *arg)
{
	use_counted(arg);
	return NULL;
}

static void counted_main(void *arg)
{
	pthread_t t[2];

	for (uintptr_t i = 0; i < 6; i++)
		gs_wg_go(&all, use_counted, (void *)i);
	for (uintptr_t i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, use_counted_thread, (void *)(i + 10)), 0);
	gs_wg_wait(&all);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	gs_map_range(&map, drop_counted, NULL);
	CHECK_EQ(alive, 0);
	gs_map_clear(&map);
}

/* counted values, taken with load_ref, are never freed under a reader, and all in the end */
TEST(counted_values)
{
	RUN(counted_main, NULL);
}

static void add_keys(void *arg)
{
	/* Go's issue 40999: new keys, stored and deleted, must not grow it for ever */
	for (long i = 0; i < ut_count(100000, 2000); i++) {
		void *key = (void *)(uintptr_t)((uintptr_t)arg + (uintptr_t)i * 16);

		gs_map_store(&map, key, key);
		CHECK(gs_map_load_and_delete(&map, key, NULL));
	}
}

static void churn_main(void *arg)
{
	for (uintptr_t i = 1; i < 5; i++)
		gs_wg_go(&all, add_keys, (void *)i);
	gs_wg_wait(&all);
	CHECK_EQ(count(&map), 0);
	gs_map_clear(&map);
}

/* keys that come and go, each its owner's alone: what was stored is there */
TEST(churn)
{
	RUN(churn_main, NULL);
}

static void once_fiber(void *arg)
{
	for (int i = 0; i < 64; i++) {
		void *x;
		bool loaded = gs_map_load_or_store(&map, &k[i], arg, &x);

		CHECK(loaded || x == arg);
		if (!loaded)
			ADD(alive, 1);
		if (i % 8 == 0)
			gs_yield();
	}
}

static void *once_thread(void *arg)
{
	once_fiber(arg);
	return NULL;
}

static void once_main(void *arg)
{
	long rounds = ut_count(300, 10);

	for (long r = 0; r < rounds; r++) {
		pthread_t t;

		STORE(alive, 0);
		CHECK_EQ(pthread_create(&t, NULL, once_thread, &v[10]), 0);
		for (int i = 0; i < 8; i++)
			gs_wg_go(&all, once_fiber, &v[i]);
		gs_wg_wait(&all);
		pthread_join(t, NULL);
		/* of all that tried one stored each key */
		CHECK_EQ(LOAD(alive), 64);
		CHECK_EQ(count(&map), 64);
		gs_map_clear(&map);
	}
}

/* many load_or_store the same: one of them stores, all get its value */
TEST(one_stores)
{
	RUN(once_main, NULL);
}

static void use_cleared(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (long i = 0; i < ut_count(4000, 200); i++) {
		int n = rand_r(&seed) % 4;
		void *x = NULL;

		switch (rand_r(&seed) % 4) {
		case 0:
			if (gs_map_load(&map, &k[n], &x))
				CHECK(x == &v[n]);
			break;
		case 1:
			gs_map_store(&map, &k[n], &v[n]);
			break;
		case 2:
			gs_map_delete(&map, &k[n]);
			break;
		default:
			if (i % 16)
				gs_map_load_or_store(&map, &k[n], &v[n], &x);
			else
				gs_map_clear(&map);
		}
	}
}

static void *use_cleared_thread(void *arg)
{
	use_cleared(arg);
	return NULL;
}

static bool equal_slowly(const void *a, const void *b)
{
	static int calls; /* atomic */

	/* the lock is held meanwhile: others queue for it, and are overtaken by clear */
	if (ADD(calls, 1) % 4 == 0)
		ut_relax();
	return a == b;
}

static void *other_maps_thread(void *arg)
{
	/* another map, which may get the first one's tables */
	while (!LOAD(over)) {
		gs_map m;
		void *x;

		gs_map_init(&m, hash_badly, equal_slowly);
		gs_map_store(&m, &k[1], &m);
		gs_map_store(&m, &k[2], &m);
		CHECK(gs_map_load(&m, &k[1], &x));
		CHECK(x == &m);
		CHECK_EQ(count(&m), 2);
		gs_map_clear(&m);
	}
	return NULL;
}

static void cleared_main(void *arg)
{
	pthread_t t[3];

	STORE(over, 0);
	/* all in one part */
	gs_map_init(&map, hash_badly, equal_slowly);
	for (uintptr_t i = 0; i < 8; i++)
		gs_wg_go(&all, use_cleared, (void *)i);
	for (uintptr_t i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, use_cleared_thread, (void *)(i + 10)), 0);
	CHECK_EQ(pthread_create(&t[2], NULL, other_maps_thread, NULL), 0);
	gs_wg_wait(&all);
	STORE(over, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	gs_map_clear(&map);
	CHECK_EQ(count(&map), 0);
	CHECK(map.table == NULL);
}

/* Go's TestConcurrentClear: cleared beside everything else, and beside other maps' lives */
TEST(concurrent_clear)
{
	RUN(cleared_main, NULL);
}

TEST_HARNESS_MAIN
