/* SPDX-License-Identifier: GPL-2.0 */
/*
 * timers: what does a timer cost?
 *
 *	after	n functions, each in a fiber of its own, at times up to 10 ms from their start
 *	reset	n times one of 10,000 timers is set anew; none fires
 */
#include <gsched.h>
#include <gsched/time.h>

#include "bench.h"

#define TIMERS 10000
#define SOON 10000000
#define LATER INT64_C(3600000000000)

static gs_waitgroup done;
static uint64_t ran; /* atomic */

static void fire(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&ran, 1, __ATOMIC_RELAXED);
	gs_wg_done(&done);
}

static int64_t after(long n)
{
	int64_t begin = bench_now();
	uint64_t x = 1;

	ran = 0;
	gs_wg_add(&done, n);
	for (long i = 0; i < n; i++) {
		gs_timer *t;

		x = bench_work(x, 1);
		t = gs_after_func((int64_t)(x % SOON), fire, NULL);
		BENCH_CHECK(t);
		gs_timer_free(t);
	}
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	BENCH_CHECK(ran == (uint64_t)n);
	return begin;
}

static int64_t reset(long n)
{
	static gs_timer *timers[TIMERS];
	uint64_t x = 1;
	int64_t begin;

	for (int i = 0; i < TIMERS; i++) {
		timers[i] = gs_after_func(LATER + i, fire, NULL);
		BENCH_CHECK(timers[i]);
	}
	begin = bench_now();
	for (long i = 0; i < n; i++) {
		x = bench_work(x, 1);
		BENCH_CHECK(gs_timer_reset(timers[x % TIMERS], LATER + (int64_t)(x % SOON)));
	}
	begin = bench_now() - begin;
	for (int i = 0; i < TIMERS; i++) {
		BENCH_CHECK(gs_timer_stop(timers[i]));
		gs_timer_free(timers[i]);
	}
	return begin;
}

static void answer(long n)
{
	int64_t (*round_of)(long) = strcmp(bench_word(0), "reset") ? after : reset;

	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
