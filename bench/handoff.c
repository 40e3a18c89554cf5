/* SPDX-License-Identifier: GPL-2.0 */
/*
 * handoff: a fiber has computed for so many milliseconds as the first parameter says,
 * makes another runnable and then blocks in read(2): how long until that one runs? On one
 * proc, n times. The time includes what the wake-up and the call itself take.
 */
#include <gsched.h>
#include <unistd.h>

#include "bench.h"

static gs_chan *go;
static int fds[2];
static int64_t *took;

/* Waits, and lets the blocked one go on. */
static void other(void *arg)
{
	long n = *(long *)arg;
	int64_t begin;

	for (long i = 0; i < n; i++) {
		gs_chan_recv(go, &begin);
		took[i] = bench_now() - begin;
		BENCH_CHECK(write(fds[1], "x", 1) == 1);
	}
}

static void answer(long n)
{
	int64_t work = bench_arg(0, 0) * 1000000, end, now;
	uint64_t x = 1;
	char c;

	took = calloc((size_t)n, sizeof(*took));
	go = bench_chan(sizeof(int64_t), 1);
	BENCH_CHECK(took && pipe(fds) == 0);
	bench_go(other, &n);
	for (long i = 0; i < n; i++) {
		gs_yield(); /* other waits now */
		end = bench_now() + work;
		do
			x = bench_work(x, 100);
		while ((now = bench_now()) < end);
		gs_chan_send(go, &now);
		BENCH_CHECK(read(fds[0], &c, 1) == 1);
	}
	BENCH_CHECK(x);
	bench_percentiles(took, n);
	free(took);
	gs_chan_unref(go);
}

BENCH(answer);
