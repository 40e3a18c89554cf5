/* SPDX-License-Identifier: GPL-2.0 */
/*
 * parallel: 64 fibers have some computing to do, n steps in all, in 16 pieces each with a
 * yield between: how long does it take? Its figures for 1 and 2 procs tell what the
 * second is worth.
 */
#include <gsched.h>

#include "bench.h"

#define FIBERS 64
#define PIECES 16

static gs_waitgroup done;
static uint64_t result; /* atomic */

static void fiber(void *arg)
{
	long steps = *(long *)arg;
	uint64_t x = 1;

	for (int i = 0; i < PIECES; i++) {
		x = bench_work(x, steps);
		gs_yield();
	}
	__atomic_fetch_add(&result, x, __ATOMIC_RELAXED);
	gs_wg_done(&done);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	long steps = n / FIBERS / PIECES;

	result = 0;
	gs_wg_add(&done, FIBERS);
	for (int i = 0; i < FIBERS; i++)
		bench_go(fiber, &steps);
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	BENCH_CHECK(result == FIBERS * bench_work(1, steps * PIECES));
	return begin;
}

static void answer(long n)
{
	round_of(n / 10);
	bench_result("time", "ms", "lower", (double)round_of(n) / 1e6);
}

BENCH(answer);
