/* SPDX-License-Identifier: GPL-2.0 */
/*
 * skynet (github.com/atemerev/skynet): a fiber starts ten, each of these ten, and so on
 * to n leaves; the sum of the leaves' numbers comes back over channels.
 */
#include <gsched.h>

#include "bench.h"

#define TEN 10

struct node {
	gs_chan *c;
	long num, size;
};

static void skynet(void *arg)
{
	struct node *node = arg, child;
	long sum = 0, v;

	if (node->size == 1) {
		gs_chan_send(node->c, &node->num);
		return;
	}
	child.c = bench_chan(sizeof(long), 0);
	child.size = node->size / TEN;
	for (long i = 0; i < TEN; i++) {
		child.num = node->num + i * child.size;
		BENCH_CHECK(gs_go_copy(skynet, &child, sizeof(child)) == 0);
	}
	for (int i = 0; i < TEN; i++) {
		gs_chan_recv(child.c, &v);
		sum += v;
	}
	gs_chan_unref(child.c);
	gs_chan_send(node->c, &sum);
}

static int64_t round_of(long n)
{
	struct node root = {.c = bench_chan(sizeof(long), 0), .size = n};
	int64_t begin = bench_now();
	long sum;

	BENCH_CHECK(gs_go_copy(skynet, &root, sizeof(root)) == 0);
	gs_chan_recv(root.c, &sum);
	begin = bench_now() - begin;
	BENCH_CHECK(sum == n * (n - 1) / 2);
	gs_chan_unref(root.c);
	return begin;
}

/* n: a power of ten */
static void answer(long n)
{
	round_of(n / 10);
	bench_result("time", "ms", "lower", (double)round_of(n) / 1e6);
}

BENCH(answer);
