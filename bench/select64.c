/* SPDX-License-Identifier: GPL-2.0 */
/* select64: what does a select over 64 unbuffered channels cost, with a fiber sending on each? */
#include <gsched.h>

#include "bench.h"

#define WAYS 64

struct job {
	gs_chan *c;
	long n;
};

static gs_chan *chans[WAYS];
static gs_waitgroup done;

static void sender(void *arg)
{
	struct job *job = arg;

	for (long i = 0; i < job->n; i++)
		gs_chan_send(job->c, &i);
	gs_wg_done(&done);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	struct job jobs[WAYS];
	struct gs_case cases[WAYS];
	long next[WAYS] = {0}, v = 0, bad = 0;

	gs_wg_add(&done, WAYS);
	for (int i = 0; i < WAYS; i++) {
		jobs[i] = (struct job){chans[i], n / WAYS};
		bench_go(sender, &jobs[i]);
		cases[i] = GS_RECV(chans[i], &v);
	}
	for (long i = 0; i < n / WAYS * WAYS; i++) {
		int k = gs_select_cases(cases, WAYS);

		bad += v != next[k]++;
	}
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	BENCH_CHECK(bad == 0);
	for (int i = 0; i < WAYS; i++)
		BENCH_CHECK(next[i] == n / WAYS);
	return begin;
}

static void answer(long n)
{
	for (int i = 0; i < WAYS; i++)
		chans[i] = bench_chan(sizeof(long), 0);
	round_of(n / 10);
	bench_per_op(round_of(n), n);
	for (int i = 0; i < WAYS; i++)
		gs_chan_unref(chans[i]);
}

BENCH(answer);
