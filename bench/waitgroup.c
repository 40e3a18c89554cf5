/* SPDX-License-Identifier: GPL-2.0 */
/*
 * waitgroup: what does a round of two fibers cost: add one to the other's group, count
 * one's own down, and wait for it? n rounds.
 */
#include <gsched.h>

#include "bench.h"

struct side {
	gs_waitgroup *mine, *other;
	long n;
};

static long rounds; /* of both, in turns */
static gs_chan *end;

/* The other has added to mine before it waits; I add to the other's, then let it go on. */
static void side(void *arg)
{
	struct side *s = arg;

	for (long i = 0; i < s->n; i++) {
		gs_wg_wait(s->mine);
		rounds++;
		gs_wg_add(s->mine, 1);
		gs_wg_done(s->other);
	}
	gs_chan_send(end, NULL);
}

static int64_t round_of(long n)
{
	gs_waitgroup wg[2] = {{0}, {0}};
	struct side sides[2] = {{&wg[0], &wg[1], n / 2}, {&wg[1], &wg[0], n / 2}};
	int64_t begin = bench_now();

	rounds = 0;
	gs_wg_add(&wg[1], 1);
	bench_go(side, &sides[1]);
	bench_go(side, &sides[0]);
	gs_chan_recv(end, NULL);
	gs_chan_recv(end, NULL);
	begin = bench_now() - begin;
	BENCH_CHECK(rounds == n / 2 * 2);
	return begin;
}

static void answer(long n)
{
	end = bench_chan(0, 0);
	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
