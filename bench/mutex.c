/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mutex: what do a lock and an unlock cost? n of them, by as many fibers as the first
 * parameter says, round a counter.
 */
#include <gsched.h>

#include "bench.h"

static gs_mutex mutex;
static gs_waitgroup done;
static long counter; /* mutex */

static void locker(void *arg)
{
	long n = *(long *)arg;

	for (long i = 0; i < n; i++) {
		gs_mutex_lock(&mutex);
		counter++;
		gs_mutex_unlock(&mutex);
	}
	gs_wg_done(&done);
}

static int64_t round_of(long n, long fibers)
{
	int64_t begin = bench_now();
	long each = n / fibers;

	counter = 0;
	gs_wg_add(&done, fibers);
	for (int i = 0; i < fibers; i++)
		bench_go(locker, &each);
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	BENCH_CHECK(counter == each * fibers);
	return begin;
}

static void answer(long n)
{
	long fibers = bench_arg(0, 1);

	round_of(n / 10, fibers);
	bench_per_op(round_of(n, fibers), n);
}

BENCH(answer);
