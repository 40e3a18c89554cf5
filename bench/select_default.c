/* SPDX-License-Identifier: GPL-2.0 */
/* select_default: what does it cost to look into an empty channel and go on? */
#include <gsched.h>

#include "bench.h"

static int64_t round_of(gs_chan *c, long n)
{
	int64_t begin = bench_now();
	long v = 0, got = 0;

	for (long i = 0; i < n; i++)
		switch (gs_select(GS_RECV(c, &v), GS_DEFAULT)) {
		case 0:
			got++;
			break;
		case 1:
			break;
		}
	begin = bench_now() - begin;
	BENCH_CHECK(got == 0);
	return begin;
}

static void answer(long n)
{
	gs_chan *c = bench_chan(sizeof(long), 1);
	long v = 1;

	round_of(c, n / 10);
	bench_per_op(round_of(c, n), n);
	gs_chan_send(c, &v);
	BENCH_CHECK(gs_select(GS_RECV(c, &v), GS_DEFAULT) == 0);
	gs_chan_unref(c);
}

BENCH(answer);
