/* SPDX-License-Identifier: GPL-2.0 */
/*
 * late: how late is a fiber that sleeps for a millisecond, n times, beside fibers that
 * compute without ever calling the runtime? The first parameter is how it sleeps: "gs",
 * by the library, or "raw", by nanosleep(2), which the runtime does not see; the second
 * one is how many compute, by default twice as many as there are procs.
 *
 * The same first without them: how late that is, is the machine's doing and no fault of
 * the scheduler. "beyond" is by how much the one exceeds the other, both at p99.
 */
#include <gsched.h>

#include "bench.h"

#define NAP 1000000

static gs_waitgroup done;
static int stop; /* atomic */
static bool raw;

static void hog(void *arg)
{
	uint64_t x = (uintptr_t)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		x = bench_work(x, 100);
	BENCH_CHECK(x);
	gs_wg_done(&done);
}

static void nap(void)
{
	struct timespec ts = {.tv_nsec = NAP};

	if (!raw)
		gs_sleep(NAP);
	else
		BENCH_CHECK(nanosleep(&ts, NULL) == 0);
}

/* How late it is, n times, sorted. */
static int64_t *measure(long n)
{
	int64_t *late = calloc((size_t)n, sizeof(*late));

	BENCH_CHECK(late);
	nap();
	for (long i = 0; i < n; i++) {
		int64_t begin = bench_now();

		nap();
		late[i] = bench_now() - begin - NAP;
		BENCH_CHECK(late[i] >= 0);
	}
	qsort(late, (size_t)n, sizeof(*late), bench_compare);
	return late;
}

static void answer(long n)
{
	int hogs = (int)bench_arg(1, 2 * gs_max_procs(0));
	int64_t *idle, *late, beyond;

	raw = !strcmp(bench_word(0), "raw");
	idle = measure(n);
	gs_wg_add(&done, hogs);
	for (int i = 0; i < hogs; i++)
		bench_go(hog, (void *)(uintptr_t)(i + 1));
	late = measure(n);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	gs_wg_wait(&done);
	bench_percentiles(late, n);
	bench_result("idle_p99", "us", "lower", (double)idle[n * 99 / 100] / 1e3);
	beyond = late[n * 99 / 100] - idle[n * 99 / 100];
	bench_result("beyond", "us", "lower", beyond > 0 ? (double)beyond / 1e3 : 0);
	free(idle);
	free(late);
}

BENCH(answer);
