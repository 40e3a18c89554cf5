/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sleep: how long does a short sleep take? n sleeps of as many microseconds as the first
 * parameter says, by one fiber, while nothing else runs.
 */
#include <gsched.h>

#include "bench.h"

static void answer(long n)
{
	int64_t ns = bench_arg(0, 50) * 1000, *took = calloc((size_t)n, sizeof(*took));

	BENCH_CHECK(took);
	for (long i = 0; i < n; i++) {
		int64_t begin = bench_now();

		gs_sleep(ns);
		took[i] = bench_now() - begin;
		BENCH_CHECK(took[i] >= ns);
	}
	bench_percentiles(took, n);
	free(took);
}

BENCH(answer);
