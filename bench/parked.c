/* SPDX-License-Identifier: GPL-2.0 */
/*
 * parked: how much memory does a fiber take that waits? n fibers wait for a channel to
 * be closed. What the process has resident, page tables included, before and after.
 */
#include <gsched.h>

#include "bench.h"

static gs_chan *c;
static gs_waitgroup up, done;

static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kib, sum = 0;

	BENCH_CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1 || sscanf(line, "VmPTE: %ld", &kib) == 1)
			sum += kib;
	fclose(f);
	return sum;
}

static void waiter(void *arg)
{
	(void)arg;
	gs_wg_done(&up);
	gs_chan_recv(c, NULL);
	gs_wg_done(&done);
}

static void answer(long n)
{
	long before = 0, after = 0;

	c = bench_chan(0, 0);
	/* one first, so that what is there once is there */
	for (long round = 1; round <= n; round += n - 1) {
		before = resident_kib();
		gs_wg_add(&up, round);
		gs_wg_add(&done, round);
		for (long i = 0; i < round; i++)
			bench_go(waiter, NULL);
		gs_wg_wait(&up);
		after = resident_kib();
	}
	bench_result("memory", "B", "lower", (double)(after - before) * 1024 / (double)n);
	BENCH_CHECK(gs_num_fibers() == (size_t)n + 2);
	gs_chan_close(c);
	gs_wg_wait(&done);
}

BENCH(answer);
