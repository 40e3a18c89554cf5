/* SPDX-License-Identifier: GPL-2.0 */
/* yield: what does it cost to give way? n times, by 4 fibers that do nothing else. */
#include <gsched.h>

#include "bench.h"

#define FIBERS 4

static gs_waitgroup done;
static uint64_t count; /* atomic */

static void yielder(void *arg)
{
	long n = *(long *)arg;
	uint64_t mine = 0;

	for (long i = 0; i < n; i++) {
		gs_yield();
		mine++;
	}
	__atomic_fetch_add(&count, mine, __ATOMIC_RELAXED);
	gs_wg_done(&done);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	long each = n / FIBERS;

	count = 0;
	gs_wg_add(&done, FIBERS);
	for (int i = 0; i < FIBERS; i++)
		bench_go(yielder, &each);
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	BENCH_CHECK(count == (uint64_t)each * FIBERS);
	return begin;
}

static void answer(long n)
{
	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
