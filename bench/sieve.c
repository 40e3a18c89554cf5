/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sieve: the prime sieve of Go's and Newsqueak's manuals. A fiber sends all numbers from
 * 2; each prime found puts a fiber behind it that lets pass what it does not divide. The
 * time until the n-th prime.
 */
#include <gsched.h>

#include "bench.h"

struct filter {
	gs_chan *in, *out;
	int prime;
};

static void generate(void *arg)
{
	gs_chan *c = arg;

	for (int i = 2;; i++)
		gs_chan_send(c, &i);
}

static void filter(void *arg)
{
	struct filter f = *(struct filter *)arg;
	int v;

	for (;;) {
		gs_chan_recv(f.in, &v);
		if (v % f.prime)
			gs_chan_send(f.out, &v);
	}
}

static int nth_prime(long n)
{
	for (int v = 2;; v++) {
		int d = 2;

		while (d * d <= v && v % d)
			d++;
		if (d * d > v && --n == 0)
			return v;
	}
}

/* The fibers stay where they wait, in Go, too: the program is over. */
static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	gs_chan *c = bench_chan(sizeof(int), 0);
	int prime = 0;

	bench_go(generate, c);
	for (long i = 0; i < n; i++) {
		struct filter f = {.in = c};

		gs_chan_recv(c, &prime);
		f.out = bench_chan(sizeof(int), 0);
		f.prime = prime;
		BENCH_CHECK(gs_go_copy(filter, &f, sizeof(f)) == 0);
		c = f.out;
	}
	begin = bench_now() - begin;
	BENCH_CHECK(prime == nth_prime(n));
	return begin;
}

static void answer(long n)
{
	bench_result("time", "ms", "lower", (double)round_of(n) / 1e6);
}

BENCH(answer);
