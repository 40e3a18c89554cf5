// SPDX-License-Identifier: GPL-2.0
/* gs_mutex: exclusion, who is next, starvation mode, misuse, and when it may be freed. */
#include <limits.h>
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

static gs_waitgroup all;
static gs_mutex mutex;
static long counter; /* mutex */
static int inside;   /* atomic: who is between lock and unlock */

static void critical(bool yield)
{
	CHECK_EQ(ADD(inside, 1), 1);
	counter++;
	if (yield)
		gs_yield();
	CHECK_EQ(ADD(inside, -1), 0);
}

static void lock_often(void *arg)
{
	long n = ut_count(20000, 300);

	for (long i = 0; i < n; i++) {
		if (i % 5 == 4) {
			if (!gs_mutex_trylock(&mutex)) {
				gs_yield();
				gs_mutex_lock(&mutex);
			}
		} else {
			gs_mutex_lock(&mutex);
		}
		critical(i % 64 == 0);
		gs_mutex_unlock(&mutex);
	}
}

static void *lock_often_thread(void *arg)
{
	lock_often(arg);
	return NULL;
}

static void exclusion_main(void *arg)
{
	int fibers = 8, threads = (int)(intptr_t)arg;
	pthread_t t[4];

	counter = 0;
	for (int i = 0; i < threads; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, lock_often_thread, NULL), 0);
	for (int i = 0; i < fibers; i++)
		CHECK_EQ(gs_wg_go(&all, lock_often, NULL), 0);
	gs_wg_wait(&all);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(counter, (fibers + threads) * ut_count(20000, 300));
	CHECK(gs_mutex_trylock(&mutex));
	CHECK(!gs_mutex_trylock(&mutex));
	gs_mutex_unlock(&mutex);
}

/* never two inside, and no increment lost: fibers */
TEST(exclusion)
{
	RUN(exclusion_main, (void *)0);
}

/* the same with ordinary threads among them */
TEST(exclusion_threads)
{
	RUN(exclusion_main, (void *)4);
}

/* threads alone, without the runtime */
TEST(threads_alone)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, lock_often_thread, NULL));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ASSERT_EQ(4 * ut_count(20000, 300), counter);
	ASSERT_EQ(0, ut_failed);
}

static void unlocker(void *arg)
{
	gs_mutex_unlock(&mutex);
}

static void foreign_main(void *arg)
{
	gs_mutex_lock(&mutex);
	gs_go(unlocker, NULL);
	gs_mutex_lock(&mutex); /* waits for it */
	gs_mutex_unlock(&mutex);
}

/* it belongs to nobody: another fiber may unlock it */
TEST(unlocked_by_another)
{
	RUN(foreign_main, NULL);
}

#define WAITERS 20

static int order[WAITERS], norder; /* mutex */

static void wait_turn(void *arg)
{
	gs_mutex_lock(&mutex);
	order[norder++] = (int)(intptr_t)arg;
	gs_mutex_unlock(&mutex);
}

static void fifo_main(void *arg)
{
	bool starve = arg;

	norder = 0;
	gs_mutex_lock(&mutex);
	for (int i = 0; i < WAITERS; i++) {
		gs_wg_go(&all, wait_turn, (void *)(intptr_t)i);
		UNTIL(ut_waiting("sync.Mutex.Lock", NULL) == i + 1);
	}
	if (starve) {
		/* the first is woken, loses after more than a millisecond: starvation */
		ut_burn(2 * MS);
		gs_nopreempt_begin(); /* or it would run before it can lose */
		gs_mutex_unlock(&mutex);
		CHECK(gs_mutex_trylock(&mutex));
		gs_nopreempt_end();
		UNTIL(ut_waiting("sync.Mutex.Lock", NULL) == WAITERS);
		gs_nopreempt_begin(); /* or all of them might be done */
		gs_mutex_unlock(&mutex);
		/* handed over: there is no moment when it could be taken */
		CHECK(!gs_mutex_trylock(&mutex));
		gs_nopreempt_end();
		gs_mutex_lock(&mutex);
		/* newcomers queue at the end: all the others were before us */
		CHECK_EQ(norder, WAITERS);
	}
	gs_mutex_unlock(&mutex);
	gs_wg_wait(&all);
	CHECK_EQ(norder, WAITERS);
	for (int i = 0; i < WAITERS; i++)
		CHECK_EQ(order[i], i);
	/* and normal again: */
	CHECK(gs_mutex_trylock(&mutex));
	gs_mutex_unlock(&mutex);
}

/* waiters are served first in, first out */
TEST(fifo)
{
	ut_set_procs(1);
	RUN(fifo_main, NULL);
}

/* in starvation mode nobody gets between, not even who runs and asks */
TEST(fifo_starving)
{
	ut_set_procs(1);
	RUN(fifo_main, (void *)1);
}

static int stop;  /* atomic */
static long hogs; /* atomic: how often a hog got it */

static void hog(void *arg)
{
	while (!LOAD(stop)) {
		gs_mutex_lock(&mutex);
		ADD(hogs, 1);
		ut_burn(MS / 5);
		gs_yield(); /* who is woken finds it locked */
		gs_mutex_unlock(&mutex);
	}
}

/* Lock it n times, after so much sleep: how often the hogs got it meanwhile, in all and at most. */
static long lock_among_hogs(int n, int64_t ns, long *worst)
{
	long sum = 0;

	*worst = 0;
	for (int i = 0; i < n; i++) {
		long before, passed;

		gs_sleep(ns);
		before = LOAD(hogs);
		gs_mutex_lock(&mutex);
		passed = LOAD(hogs) - before;
		gs_mutex_unlock(&mutex);
		if (passed > *worst)
			*worst = passed;
		sum += passed;
	}
	return sum;
}

static void starve_main(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	long good = 0, want = ut_count(5, 1), worst, sum;

	STORE(stop, 0);
	for (int i = 0; i < 3; i++)
		gs_wg_go(&all, hog, NULL);
	/*
	 * A millisecond until starvation is five turns of 200 us; then those queued before
	 * it. Counted in turns, not in time, for this machine has other work, too; and where
	 * that keeps us from running while the hogs do, another twenty locks tell more.
	 */
	do {
		sum = lock_among_hogs(20, MS, &worst);
		good += sum <= 20 * 20 && worst <= 100;
	} while (good < want && gs_now() < end);
	STORE(stop, 1);
	gs_wg_wait(&all);
	if (good < want) {
		CHECK_LE(sum / 20, 20);
		CHECK_LE(worst, 100);
		CHECK_GE(good, want);
	}
}

/* fibers that hold it nearly always do not keep another from it */
TEST(starvation_bounded)
{
	RUN(starve_main, NULL);
}

static long fewest = LONG_MAX; /* atomic: turns of the hog in ten waits */

static void sleepy_hog(void *arg)
{
	while (!LOAD(stop)) {
		gs_mutex_lock(&mutex);
		ADD(hogs, 1);
		gs_sleep(MS / 10);
		gs_mutex_unlock(&mutex);
	}
}

static void wants_it(void *arg)
{
	while (!LOAD(stop)) {
		long worst, passed = lock_among_hogs(10, MS / 10, &worst);

		if (passed < LOAD(fewest))
			STORE(fewest, passed);
	}
}

static void fairness_main(void *arg)
{
	gs_wg_go(&all, sleepy_hog, NULL);
	gs_wg_go(&all, wants_it, NULL);
	/*
	 * A millisecond is ten turns of the other's; without starvation mode it would never come.
	 * The machine may keep the one from running and not the other: not every time.
	 */
	UNTIL(LOAD(fewest) <= 10 * 100);
	STORE(stop, 1);
	gs_wg_wait(&all);
}

/* Go's TestMutexFairness: nor does one who sleeps with it, and takes it again at once */
TEST(fairness)
{
	RUN(fairness_main, NULL);
}

static void unlock_free(void *arg)
{
	gs_mutex m = {0};

	gs_mutex_unlock(&m);
}

static void unlock_twice(void *arg)
{
	gs_mutex_lock(&mutex);
	gs_mutex_unlock(&mutex);
	gs_defer(unlock_free, NULL); /* not recoverable: a fatal error runs nothing */
	gs_mutex_unlock(&mutex);
}

static void unlock_in_fiber(void *arg)
{
	gs_run(unlock_twice, NULL);
}

/* unlock of a free one ends the process with Go's text */
TEST(unlock_of_unlocked)
{
	void (*const fns[])(void *) = {unlock_free, unlock_in_fiber};

	for (int i = 0; i < 2; i++) {
		struct ut_child *c = ut_child_run(fns[i], NULL, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_EQ(0, strncmp(c->err, "fatal error: sync: unlock of unlocked mutex\n", 44));
		free(c);
	}
}

/* An object with a count under its own mutex: who brings it to 0 frees it. */
struct counted {
	gs_mutex mutex;
	int refs;
	bool slow;
};

static void put(void *arg)
{
	struct counted *o = arg;
	int left;

	gs_mutex_lock(&o->mutex);
	left = --o->refs;
	if (o->slow)
		gs_yield(); /* so that others come and wait */
	gs_mutex_unlock(&o->mutex);
	if (!left) {
		memset(o, 0x5a, sizeof(*o));
		free(o);
	}
}

static void *put_thread(void *arg)
{
	struct counted *const *o = arg;

	for (; *o; o++)
		put(*o);
	return NULL;
}

static void put_all(void *arg)
{
	put_thread(arg);
}

static void free_main(void *arg)
{
	long n = ut_count(20000, 500);
	struct counted **o = calloc((size_t)n + 1, sizeof(*o));
	int threads = (int)(intptr_t)arg;
	pthread_t t[3];

	for (long i = 0; i < n; i++) {
		o[i] = calloc(1, sizeof(**o));
		o[i]->refs = 4 + threads;
		o[i]->slow = i % 3 == 0;
	}
	for (int i = 0; i < threads; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, put_thread, o), 0);
	for (int i = 0; i < 4; i++)
		gs_wg_go(&all, put_all, o);
	gs_wg_wait(&all);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	free(o);
}

/* whoever unlocked it last may free it (ASan looks on) */
TEST(freed_after_unlock)
{
	RUN(free_main, (void *)0);
	RUN(free_main, (void *)3);
}

/*
 * The narrow case of it: a woken waiter takes the mutex the moment a thread that got
 * between has freed it in unlock's slow path, unlocks by the fast one, and frees it.
 */
static struct counted *victim; /* handed round by phase */
static int phase;	       /* atomic */

static void reach(int to)
{
	while (LOAD(phase) != to)
		sched_yield();
}

static void *get_between(void *arg)
{
	for (long i = 0; i < (long)(intptr_t)arg; i++) {
		gs_mutex *m;

		reach(1);
		m = &victim->mutex;
		gs_mutex_lock(m);
		STORE(phase, 2);
		reach(3); /* a fiber waits: wake it; it has no proc to run on */
		gs_mutex_unlock(m);
		CHECK(gs_mutex_trylock(m));
		STORE(phase, 4);
		reach(5);
		gs_mutex_unlock(m);
		STORE(phase, 6);
	}
	return NULL;
}

static void free_it(void *arg)
{
	struct counted *o = arg;

	gs_mutex_lock(&o->mutex);
	gs_mutex_unlock(&o->mutex);
	memset(o, 0x5a, sizeof(*o));
	free(o);
}

static void between_main(void *arg)
{
	long n = ut_count(5000, 200);
	uint32_t alone;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, get_between, (void *)n), 0);
	for (long i = 0; i < n; i++) {
		victim = calloc(1, sizeof(*victim));
		STORE(phase, 1);
		reach(2);
		alone = LOAD(victim->mutex.state);
		gs_wg_go(&all, free_it, victim);
		UNTIL(LOAD(victim->mutex.state) != alone); /* it is queued */
		gs_nopreempt_begin(); /* it gets no proc before the thread has got between */
		STORE(phase, 3);
		reach(4);
		gs_nopreempt_end();
		STORE(phase, 5);
		ut_burn(i % 40 * 250);
		gs_wg_wait(&all); /* the fiber runs, and unlock at the same time */
		reach(6);
	}
	pthread_join(t, NULL);
}

/* freed by a waiter that was woken, while a slow unlock returns */
TEST(freed_by_woken)
{
	ut_set_procs(1);
	RUN(between_main, NULL);
}

TEST_HARNESS_MAIN
