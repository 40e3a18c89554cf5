/* SPDX-License-Identifier: GPL-2.0 */
/*
 * chan_mpmc: what does a value cost where many send and many receive? n values from 8
 * fibers to 8 over one channel of the capacity that the first parameter says.
 */
#include <gsched.h>

#include "bench.h"

#define FIBERS 8

static gs_chan *c;
static gs_waitgroup sent, received;
static uint64_t sum; /* atomic */

static void sender(void *arg)
{
	long n = *(long *)arg;

	for (long i = 1; i <= n; i++)
		gs_chan_send(c, &i);
	gs_wg_done(&sent);
}

static void receiver(void *arg)
{
	uint64_t mine = 0;
	long v;

	(void)arg;
	while (gs_chan_recv(c, &v))
		mine += (uint64_t)v;
	__atomic_fetch_add(&sum, mine, __ATOMIC_RELAXED);
	gs_wg_done(&received);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	long each = n / FIBERS;

	sum = 0;
	c = bench_chan(sizeof(long), (size_t)bench_arg(0, 0));
	gs_wg_add(&sent, FIBERS);
	gs_wg_add(&received, FIBERS);
	for (int i = 0; i < FIBERS; i++) {
		bench_go(receiver, NULL);
		bench_go(sender, &each);
	}
	gs_wg_wait(&sent);
	gs_chan_close(c);
	gs_wg_wait(&received);
	begin = bench_now() - begin;
	BENCH_CHECK(sum == (uint64_t)each * (uint64_t)(each + 1) / 2 * FIBERS);
	gs_chan_unref(c);
	return begin;
}

static void answer(long n)
{
	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
