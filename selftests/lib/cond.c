// SPDX-License-Identifier: GPL-2.0
/* gs_cond: no signal is lost, none wakes two, first in first out. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "util.h"

static gs_waitgroup all;
static gs_mutex mutex;
static gs_cond cond, space;
static long items, taken, given; /* mutex */

#define ROOM 4

static void take_n(void *arg)
{
	for (long i = 0; i < (long)(intptr_t)arg; i++) {
		gs_mutex_lock(&mutex);
		while (!items)
			gs_cond_wait(&cond);
		items--;
		taken++;
		gs_cond_signal(&space);
		gs_mutex_unlock(&mutex);
	}
}

static void give_n(void *arg)
{
	for (long i = 0; i < (long)(intptr_t)arg; i++) {
		gs_mutex_lock(&mutex);
		while (items == ROOM)
			gs_cond_wait(&space);
		items++;
		given++;
		gs_mutex_unlock(&mutex);
		gs_cond_signal(&cond); /* without the mutex: allowed */
	}
}

static void *take_thread(void *arg)
{
	take_n(arg);
	return NULL;
}

static void *give_thread(void *arg)
{
	give_n(arg);
	return NULL;
}

static void queue_main(void *arg)
{
	void *n = (void *)(intptr_t)ut_count(10000, 200);
	pthread_t t[2];

	gs_cond_init(&cond, &mutex);
	gs_cond_init(&space, &mutex);
	CHECK_EQ(pthread_create(&t[0], NULL, take_thread, n), 0);
	CHECK_EQ(pthread_create(&t[1], NULL, give_thread, n), 0);
	for (int i = 0; i < 5; i++) {
		gs_wg_go(&all, take_n, n);
		gs_wg_go(&all, give_n, n);
	}
	gs_wg_wait(&all);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	CHECK_EQ(items, 0);
	CHECK_EQ(taken, given);
}

/* a bounded queue of fibers and threads: one lost signal and it hangs */
TEST(bounded_queue)
{
	RUN(queue_main, NULL);
}

#define WAITERS 30

static int at, order[WAITERS], norder; /* mutex */

static void wait_once(void *arg)
{
	gs_mutex_lock(&mutex);
	at++;
	gs_cond_wait(&cond); /* no loop: there are no spurious wake-ups */
	order[norder++] = (int)(intptr_t)arg;
	gs_mutex_unlock(&mutex);
}

static int seen(const int *what)
{
	int n;

	gs_mutex_lock(&mutex);
	n = *what;
	gs_mutex_unlock(&mutex);
	return n;
}

static void fifo_main(void *arg)
{
	gs_cond_init(&cond, &mutex);
	gs_cond_signal(&cond); /* nobody: forgotten */
	gs_cond_broadcast(&cond);
	for (int i = 0; i < WAITERS; i++) {
		gs_wg_go(&all, wait_once, (void *)(intptr_t)i);
		UNTIL(seen(&at) == i + 1);
	}
	for (int i = 0; i < WAITERS / 2; i++) {
		gs_cond_signal(&cond);
		UNTIL(seen(&norder) == i + 1);
		for (int k = 0; k < 10; k++)
			gs_yield();
		CHECK_EQ(seen(&norder), i + 1);
	}
	gs_cond_broadcast(&cond);
	gs_wg_wait(&all);
	CHECK_EQ(norder, WAITERS);
	for (int i = 0; i < WAITERS / 2; i++)
		CHECK_EQ(order[i], i);
}

/* a signal wakes exactly the first that waits, a broadcast all, neither is kept */
TEST(fifo)
{
	RUN(fifo_main, NULL);
}

static gs_chan *running, *awake;

static void wait_tell(void *arg)
{
	int who = (int)(intptr_t)arg;

	gs_mutex_lock(&mutex);
	gs_chan_send(running, NULL);
	gs_cond_wait(&cond);
	gs_chan_send(awake, &who);
	gs_mutex_unlock(&mutex);
}

static void generations_main(void *arg)
{
	int n = 100, who;

	gs_cond_init(&cond, &mutex);
	running = gs_chan_new(0, (size_t)n);
	awake = gs_chan_new(sizeof(who), (size_t)n);
	for (int i = 0; i < n; i++) {
		gs_wg_go(&all, wait_tell, (void *)(intptr_t)i);
		if (i > 0) {
			CHECK(gs_chan_recv(awake, &who));
			CHECK_EQ(who, i - 1);
		}
		gs_chan_recv(running, NULL);
		gs_mutex_lock(&mutex);
		gs_cond_signal(&cond);
		gs_mutex_unlock(&mutex);
	}
	gs_wg_wait(&all);
	gs_chan_unref(running);
	gs_chan_unref(awake);
}

/* Go's TestCondSignalGenerations: who comes after a signal does not get it from who came before */
TEST(signal_generations)
{
	RUN(generations_main, NULL);
}

static bool leave; /* mutex */

static void wait_rounds(void *arg)
{
	int who = (int)(intptr_t)arg;

	gs_mutex_lock(&mutex);
	while (!leave) {
		gs_chan_send(running, NULL);
		gs_cond_wait(&cond);
		gs_chan_send(awake, &who);
	}
	gs_mutex_unlock(&mutex);
}

static void broadcast_main(void *arg)
{
	int n = (int)ut_count(200, 20), who;

	gs_cond_init(&cond, &mutex);
	running = gs_chan_new(0, (size_t)n);
	awake = gs_chan_new(sizeof(who), (size_t)n);
	for (int i = 0; i < n; i++)
		gs_wg_go(&all, wait_rounds, (void *)(intptr_t)i);
	for (int round = 0; round < n; round++) {
		bool seen_in_round[200] = {false};

		for (int i = 0; i < n; i++)
			gs_chan_recv(running, NULL); /* deadlocks unless all wait again */
		CHECK_EQ(gs_chan_try_recv(awake, NULL), -EAGAIN);
		gs_mutex_lock(&mutex);
		leave = round == n - 1;
		gs_cond_broadcast(&cond);
		gs_mutex_unlock(&mutex);
		for (int i = 0; i < n; i++) {
			CHECK(gs_chan_recv(awake, &who));
			CHECK(!seen_in_round[who]);
			seen_in_round[who] = true;
		}
	}
	gs_wg_wait(&all);
	CHECK_EQ(gs_chan_try_recv(running, NULL), -EAGAIN);
	gs_cond_broadcast(&cond);
	gs_chan_unref(running);
	gs_chan_unref(awake);
}

/* Go's TestCondBroadcast: each wakes all that wait, and each of them once */
TEST(broadcast_rounds)
{
	RUN(broadcast_main, NULL);
}

static int x; /* mutex */

static void makes_1_and_3(void *arg)
{
	gs_mutex_lock(&mutex);
	x = 1;
	gs_cond_wait(&cond);
	CHECK_EQ(x, 2);
	x = 3;
	gs_cond_signal(&cond);
	gs_mutex_unlock(&mutex);
}

/* Until x is this much; the mutex is held then. */
static void lock_at(int least)
{
	gs_mutex_lock(&mutex);
	while (x < least) {
		gs_mutex_unlock(&mutex);
		gs_yield();
		gs_mutex_lock(&mutex);
	}
}

static void makes_2(void *arg)
{
	lock_at(1);
	CHECK_EQ(x, 1);
	x = 2;
	gs_cond_signal(&cond);
	gs_mutex_unlock(&mutex);
}

static void waits_for_3(void *arg)
{
	lock_at(2);
	if (x == 2)
		gs_cond_wait(&cond);
	CHECK_EQ(x, 3);
	gs_mutex_unlock(&mutex);
}

static void race_main(void *arg)
{
	for (long r = ut_count(1000, 50); r > 0; r--) {
		x = 0;
		gs_cond_init(&cond, &mutex);
		gs_wg_go(&all, makes_1_and_3, NULL);
		gs_wg_go(&all, makes_2, NULL);
		gs_wg_go(&all, waits_for_3, NULL);
		gs_wg_wait(&all);
		CHECK_EQ(x, 3);
	}
}

/* Go's TestRace: one that waits and one that polls hand a value on, and it is woken when it is due */
TEST(race)
{
	RUN(race_main, NULL);
}

static void wait_and_send(void *c)
{
	gs_mutex_lock(&mutex);
	gs_chan_send(c, NULL);
	gs_cond_wait(&cond);
	gs_mutex_unlock(&mutex);
	gs_chan_send(c, NULL);
}

static void wait_to_leave(void *arg)
{
	gs_mutex_lock(&mutex);
	while (!leave)
		gs_cond_wait(&cond);
	gs_mutex_unlock(&mutex);
}

static void broadcasts(void *arg)
{
	gs_cond_broadcast(&cond);
}

static void signals(void *arg)
{
	gs_cond_signal(&cond);
}

static void stealing_main(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);

	gs_cond_init(&cond, &mutex);
	for (long r = ut_count(1000, 50); r > 0; r--) {
		leave = false;
		gs_wg_go(&all, wait_and_send, c);
		gs_chan_recv(c, NULL);
		gs_mutex_lock(&mutex); /* it waits */
		gs_mutex_unlock(&mutex);
		gs_wg_go(&all, r % 2 ? broadcasts : signals, NULL);
		gs_wg_go(&all, wait_to_leave, NULL);
		gs_chan_recv(c, NULL); /* deadlocks if it was not woken */
		gs_mutex_lock(&mutex);
		leave = true;
		gs_mutex_unlock(&mutex);
		gs_cond_broadcast(&cond);
		gs_wg_wait(&all);
	}
	gs_chan_unref(c);
}

/* Go's TestCondSignalStealing: who comes beside a wake-up does not take it from who waited before */
TEST(signal_stealing)
{
	RUN(stealing_main, NULL);
}

TEST_HARNESS_MAIN
