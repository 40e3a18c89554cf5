/* SPDX-License-Identifier: GPL-2.0 */
/* spawn: what does a fiber cost, from gs_go to its end? n of them, 64 at a time. */
#include <gsched.h>

#include "bench.h"

#define BATCH 64

static gs_waitgroup done;
static uint64_t ran; /* atomic */

static void fiber(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&ran, 1, __ATOMIC_RELAXED);
	gs_wg_done(&done);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();

	ran = 0;
	for (long i = 0; i < n / BATCH; i++) {
		gs_wg_add(&done, BATCH);
		for (int k = 0; k < BATCH; k++)
			bench_go(fiber, NULL);
		gs_wg_wait(&done);
	}
	begin = bench_now() - begin;
	BENCH_CHECK(ran == (uint64_t)(n / BATCH * BATCH));
	return begin;
}

static void answer(long n)
{
	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
