/* SPDX-License-Identifier: 0BSD */
/*
 * sieve [N]: the primes up to N by a chain of fibers, one a prime, each of which passes on
 * what its prime does not divide (McIlroy 1968, Hoare 1978).
 *
 *	count --> not by 2 --> not by 3 --> not by 5 --> ...
 *
 * Who receives from a channel frees it, once it is closed; who sends closes it.
 */
#include <gsched.h>
#include <stdio.h>
#include <stdlib.h>

struct link {
	gs_recv_only(int) from;
	gs_send_only(int) to;
	int n;
};

static void count(void *arg)
{
	struct link *l = arg;

	for (int i = 2; i <= l->n; i++)
		gs_send(l->to, i);
	gs_close(l->to);
}

static void filter(void *arg)
{
	struct link *l = arg;

	gs_range(i, l->from) {
		if (i % l->n)
			gs_send(l->to, i);
	}
	gs_close(l->to);
	gs_free(l->from);
}

/* Adds a fiber to the end of the chain, with a copy of its link; the new end. */
static gs_recv_only(int) append(void (*fn)(void *), gs_recv_only(int) from, int n)
{
	gs_chan_of(int) c = gs_make(int, 0);
	struct link l = {.from = from, .to = gs_as_send(c), .n = n};

	if (!c || gs_go_copy(fn, &l, sizeof(l))) {
		fprintf(stderr, "sieve: no memory for another fiber\n");
		exit(1);
	}
	return gs_as_recv(c);
}

static void sieve(void *limit)
{
	gs_recv_only(int) end = append(count, NULL, *(int *)limit);
	int prime;

	while (gs_recv(end, &prime)) {
		printf("%d\n", prime);
		end = append(filter, end, prime);
	}
	gs_free(end);
}

int main(int argc, char **argv)
{
	int limit = argc > 1 ? atoi(argv[1]) : 1000;

	return gs_run(sieve, &limit) != 0;
}
