/* SPDX-License-Identifier: GPL-2.0 */
/*
 * chan_spsc: what does a value cost from one fiber to another? n values over a channel
 * of the capacity that the first parameter says; 0 is unbuffered.
 */
#include <gsched.h>

#include "bench.h"

static gs_chan *c;

static void sender(void *arg)
{
	long n = *(long *)arg;

	for (long i = 0; i < n; i++)
		gs_chan_send(c, &i);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	long v, bad = 0;

	bench_go(sender, &n);
	for (long i = 0; i < n; i++) {
		gs_chan_recv(c, &v);
		bad += v != i;
	}
	begin = bench_now() - begin;
	BENCH_CHECK(bad == 0);
	return begin;
}

static void answer(long n)
{
	c = bench_chan(sizeof(long), (size_t)bench_arg(0, 0));
	round_of(n / 10);
	bench_per_op(round_of(n), n);
	gs_chan_unref(c);
}

BENCH(answer);
