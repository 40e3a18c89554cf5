/* SPDX-License-Identifier: GPL-2.0 */
/* locked: what does a round trip take between two fibers that are locked to their threads? */
#include <gsched.h>

#include "bench.h"

struct pair {
	gs_chan *there, *back;
};

static void answerer(void *arg)
{
	struct pair *p = arg;
	long v;

	gs_lock_thread();
	while (gs_chan_recv(p->there, &v)) {
		v++;
		gs_chan_send(p->back, &v);
	}
	gs_chan_close(p->back);
}

static int64_t round_of(long n)
{
	struct pair p = {bench_chan(sizeof(long), 0), bench_chan(sizeof(long), 0)};
	int64_t begin;
	long v;

	bench_go(answerer, &p);
	begin = bench_now();
	for (long i = 0; i < n; i++) {
		v = i;
		gs_chan_send(p.there, &v);
		BENCH_CHECK(gs_chan_recv(p.back, &v) && v == i + 1);
	}
	begin = bench_now() - begin;
	gs_chan_close(p.there);
	BENCH_CHECK(!gs_chan_recv(p.back, &v));
	gs_chan_unref(p.there);
	gs_chan_unref(p.back);
	return begin;
}

static void answer(long n)
{
	gs_lock_thread();
	round_of(n / 10);
	bench_per_op(round_of(n), n);
	gs_unlock_thread();
}

BENCH(answer);
