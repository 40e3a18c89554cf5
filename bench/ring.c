/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ring (the benchmark game's thread-ring): 503 fibers stand in a ring, an unbuffered
 * channel between each and the next; a token goes round, n hops.
 */
#include <gsched.h>

#include "bench.h"

#define FIBERS 503

struct place {
	gs_chan *in, *out;
	long id;
};

static gs_chan *result;

/* The token is the number of hops left; there it ends. The members stay where they wait. */
static void member(void *arg)
{
	struct place p = *(struct place *)arg;
	long token;

	for (;;) {
		gs_chan_recv(p.in, &token);
		if (token == 0) {
			gs_chan_send(result, &p.id);
			continue;
		}
		token--;
		gs_chan_send(p.out, &token);
	}
}

static int64_t round_of(long n)
{
	gs_chan *chans[FIBERS];
	long token = n, id;
	int64_t begin;

	for (int i = 0; i < FIBERS; i++)
		chans[i] = bench_chan(sizeof(long), 0);
	for (int i = 0; i < FIBERS; i++) {
		struct place p = {chans[i], chans[(i + 1) % FIBERS], i + 1};

		BENCH_CHECK(gs_go_copy(member, &p, sizeof(p)) == 0);
	}
	begin = bench_now();
	gs_chan_send(chans[0], &token);
	gs_chan_recv(result, &id);
	begin = bench_now() - begin;
	BENCH_CHECK(id == n % FIBERS + 1);
	return begin;
}

static void answer(long n)
{
	result = bench_chan(sizeof(long), 0);
	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
