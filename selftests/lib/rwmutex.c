// SPDX-License-Identifier: GPL-2.0
/* gs_rwmutex: who excludes whom, a waiting writer goes first, misuse. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

static gs_waitgroup all;
static gs_rwmutex rw;
static int readers, writers, most; /* atomic: inside now, and most readers seen */
static long value[2];		   /* rw: always equal */

static void read_once(void)
{
	int n = ADD(readers, 1), m = LOAD(most);

	CHECK_EQ(LOAD(writers), 0);
	CHECK_EQ(value[0], value[1]);
	while (n > m && !__atomic_compare_exchange_n(&most, &m, n, false, __ATOMIC_SEQ_CST,
						     __ATOMIC_SEQ_CST))
		;
	ADD(readers, -1);
}

static void write_once(bool yield)
{
	CHECK_EQ(ADD(writers, 1), 1);
	CHECK_EQ(LOAD(readers), 0);
	value[0]++;
	if (yield)
		gs_yield();
	value[1]++;
	ADD(writers, -1);
}

static void crowd(void *arg)
{
	unsigned x = (unsigned)(intptr_t)arg * 999 + 1;
	long n = ut_count(10000, 300);

	for (long i = 0; i < n; i++) {
		x = x * 1103515245 + 12345;
		switch (x >> 16 & 15) {
		case 0:
			gs_rwmutex_lock(&rw);
			write_once(x >> 20 & 1);
			gs_rwmutex_unlock(&rw);
			break;
		case 1:
			if (gs_rwmutex_trylock(&rw)) {
				write_once(false);
				gs_rwmutex_unlock(&rw);
			}
			break;
		case 2:
			if (gs_rwmutex_tryrlock(&rw)) {
				read_once();
				gs_rwmutex_runlock(&rw);
			}
			break;
		default:
			gs_rwmutex_rlock(&rw);
			read_once();
			if (x >> 20 & 1)
				gs_yield();
			gs_rwmutex_runlock(&rw);
		}
	}
}

static void *crowd_thread(void *arg)
{
	crowd(arg);
	return NULL;
}

static void crowd_main(void *arg)
{
	pthread_t t[3];

	for (long i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, crowd_thread, (void *)(i + 50)), 0);
	for (long i = 0; i < 10; i++)
		gs_wg_go(&all, crowd, (void *)i);
	gs_wg_wait(&all);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CHECK(gs_rwmutex_trylock(&rw));
	CHECK_EQ(value[0], value[1]);
	gs_rwmutex_unlock(&rw);
}

/* a writer is alone, readers are together; fibers and threads */
TEST(exclusion)
{
	RUN(crowd_main, NULL);
}

static int at, order[8], norder; /* atomic; order: one proc */

static void reader(void *arg)
{
	ADD(at, 1);
	gs_rwmutex_rlock(&rw);
	order[ADD(norder, 1) - 1] = (int)(intptr_t)arg;
	gs_rwmutex_runlock(&rw);
}

static void writer(void *arg)
{
	ADD(at, 1);
	gs_rwmutex_lock(&rw);
	order[ADD(norder, 1) - 1] = (int)(intptr_t)arg;
	gs_rwmutex_unlock(&rw);
}

/* Waits for the lock when this returns. */
static void start(void (*fn)(void *), int who)
{
	int before = LOAD(at);

	gs_wg_go(&all, fn, (void *)(intptr_t)who);
	/* one writer waits for the readers, the next for that writer */
	UNTIL(ut_waiting("sync.RWMutex.RLock", NULL) + ut_waiting("sync.RWMutex.Lock", NULL) +
		      ut_waiting("sync.Mutex.Lock", NULL) ==
	      before + 1);
}

static void order_main(void *arg)
{
	/* a reader holds it; a writer waits: new readers wait, too */
	gs_rwmutex_rlock(&rw);
	CHECK(gs_rwmutex_tryrlock(&rw));
	gs_rwmutex_runlock(&rw);
	CHECK(!gs_rwmutex_trylock(&rw));
	start(writer, 1);
	CHECK(!gs_rwmutex_tryrlock(&rw));
	start(reader, 2);
	start(writer, 3);
	start(reader, 4);
	CHECK_EQ(norder, 0);
	gs_rwmutex_runlock(&rw);
	gs_wg_wait(&all);
	/* the first writer; then all readers that waited; then the next writer */
	CHECK_EQ(norder, 4);
	CHECK_EQ(order[0], 1);
	CHECK_EQ(order[1] + order[2], 6);
	CHECK_EQ(order[3], 3);
}

/* a waiting writer stops new readers; its unlock lets the readers before the next writer */
TEST(writers_first)
{
	ut_set_procs(1);
	RUN(order_main, NULL);
}

static gs_chan *read_locked, *write_locked, *let_go;

static void hold_read(void *arg)
{
	gs_rwmutex_rlock(&rw);
	gs_chan_send(read_locked, NULL);
	gs_chan_recv(let_go, NULL);
	gs_rwmutex_runlock(&rw);
}

static void parallel_main(void *arg)
{
	static const int cases[][2] = {{1, 4}, {3, 4}, {4, 2}, {100, 1}};

	read_locked = gs_chan_new(0, 0);
	let_go = gs_chan_new(0, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int n = cases[i][0];

		gs_max_procs(cases[i][1]);
		for (int k = 0; k < n; k++)
			gs_wg_go(&all, hold_read, NULL);
		for (int k = 0; k < n; k++)
			gs_chan_recv(read_locked, NULL); /* deadlocks unless all have it */
		for (int k = 0; k < n; k++) {
			CHECK(!gs_rwmutex_trylock(&rw));
			gs_chan_send(let_go, NULL);
		}
		gs_wg_wait(&all);
		CHECK(gs_rwmutex_trylock(&rw));
		gs_rwmutex_unlock(&rw);
	}
	gs_chan_unref(read_locked);
	gs_chan_unref(let_go);
}

/* Go's TestParallelReaders: all hold it at the same time, on any number of procs */
TEST(parallel_readers)
{
	RUN(parallel_main, NULL);
}

/* Go's TestRWMutex: what the two trylocks say in each state */
TEST(trylocks)
{
	gs_rwmutex_lock(&rw);
	EXPECT_FALSE(gs_rwmutex_trylock(&rw));
	EXPECT_FALSE(gs_rwmutex_tryrlock(&rw));
	gs_rwmutex_unlock(&rw);
	ASSERT_TRUE(gs_rwmutex_trylock(&rw));
	EXPECT_FALSE(gs_rwmutex_trylock(&rw));
	EXPECT_FALSE(gs_rwmutex_tryrlock(&rw));
	gs_rwmutex_unlock(&rw);
	ASSERT_TRUE(gs_rwmutex_tryrlock(&rw));
	ASSERT_TRUE(gs_rwmutex_tryrlock(&rw));
	EXPECT_FALSE(gs_rwmutex_trylock(&rw));
	gs_rwmutex_runlock(&rw);
	EXPECT_FALSE(gs_rwmutex_trylock(&rw));
	gs_rwmutex_runlock(&rw);
	ASSERT_TRUE(gs_rwmutex_trylock(&rw));
	gs_rwmutex_unlock(&rw);
}

#define TURNS 10

static void read_then_write(void *arg)
{
	for (int i = 0; i < TURNS; i++) {
		gs_rwmutex_rlock(&rw);
		gs_rwmutex_rlock(&rw);
		gs_chan_send(read_locked, NULL);
		gs_rwmutex_lock(&rw);
		gs_chan_send(write_locked, NULL);
	}
}

static void another_main(void *arg)
{
	read_locked = gs_chan_new(0, 1);
	write_locked = gs_chan_new(0, 1);
	gs_wg_go(&all, read_then_write, NULL);
	for (int i = 0; i < TURNS; i++) {
		gs_chan_recv(read_locked, NULL);
		gs_rwmutex_runlock(&rw);
		ut_let_run(20);
		CHECK_EQ(gs_chan_try_recv(write_locked, NULL), -EAGAIN);
		gs_rwmutex_runlock(&rw);
		gs_chan_recv(write_locked, NULL);
		ut_let_run(20);
		CHECK_EQ(gs_chan_try_recv(read_locked, NULL), -EAGAIN);
		gs_rwmutex_unlock(&rw);
	}
	gs_wg_wait(&all);
	gs_chan_unref(read_locked);
	gs_chan_unref(write_locked);
}

/* Go's TestRLocker: two read locks of one fiber count twice; another fiber unlocks all of them */
TEST(unlocked_by_another)
{
	RUN(another_main, NULL);
}

static void runlock_free(void *arg)
{
	gs_rwmutex_runlock(&rw);
}

static void unlock_free(void *arg)
{
	gs_rwmutex_unlock(&rw);
}

static void runlock_written(void *arg)
{
	gs_rwmutex_lock(&rw);
	gs_rwmutex_runlock(&rw);
}

static void runlock_twice(void *arg)
{
	gs_rwmutex_rlock(&rw);
	gs_rwmutex_runlock(&rw);
	gs_rwmutex_runlock(&rw);
}

static void unlock_read(void *arg)
{
	gs_rwmutex_rlock(&rw);
	gs_rwmutex_unlock(&rw);
}

static void unlock_twice(void *arg)
{
	gs_rwmutex_lock(&rw);
	gs_rwmutex_unlock(&rw);
	gs_rwmutex_unlock(&rw);
}

struct misuse {
	void (*fn)(void *);
	const char *text;
};

static void recovers(void *arg)
{
	gs_recover();
	_exit(7);
}

static void misuse_main(void *arg)
{
	const struct misuse *m = arg;

	gs_defer(recovers, NULL); /* no use: a fatal error runs nothing */
	m->fn(NULL);
	_exit(6);
}

static void misuse_in_fiber(void *arg)
{
	gs_run(misuse_main, arg);
}

/* unlocking what is not locked ends the process with Go's texts, whatever would recover */
TEST(misuse)
{
	static struct misuse cases[] = {
		{runlock_free, "fatal error: sync: RUnlock of unlocked RWMutex\n"},
		{runlock_written, "fatal error: sync: RUnlock of unlocked RWMutex\n"},
		{runlock_twice, "fatal error: sync: RUnlock of unlocked RWMutex\n"},
		{unlock_free, "fatal error: sync: Unlock of unlocked RWMutex\n"},
		{unlock_read, "fatal error: sync: Unlock of unlocked RWMutex\n"},
		{unlock_twice, "fatal error: sync: Unlock of unlocked RWMutex\n"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ut_child *c = ut_child_run(misuse_in_fiber, &cases[i], 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, cases[i].text);
		free(c);
		c = ut_child_run(cases[i].fn, NULL, 20 * SEC);
		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, cases[i].text);
		free(c);
	}
}

TEST_HARNESS_MAIN
