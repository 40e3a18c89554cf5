// SPDX-License-Identifier: GPL-2.0
/*
 * An echo server with a fiber for each connection, and a client that measures:
 *	echo [address]			serve at host:port or /path; default 127.0.0.1:7777
 *	echo address clients rounds	how long do round trips of 64 bytes take?
 */
#include <gsched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *address = "127.0.0.1:7777", *network = "tcp";
static long clients, rounds;
static gs_waitgroup done;

static void check(long result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "echo: %s %s: %s\n", what, address, strerrordesc_np((int)-result));
	exit(1);
}

static void serve(void *conn)
{
	char buf[4096];
	ssize_t n;

	while ((n = gs_conn_read(conn, buf, sizeof(buf))) > 0 && gs_conn_write(conn, buf, n) == n)
		;
	gs_conn_close(conn);
}

static void measure(void *arg)
{
	char buf[64] = "echo";
	gs_conn *c;

	check(gs_dial(network, address, NULL, &c), "dial");
	for (int64_t *took = arg, i = 0; i < rounds; i++) {
		took[i] = -gs_now();
		check(gs_conn_write(c, buf, sizeof(buf)), "write");
		check(gs_conn_read_full(c, buf, sizeof(buf)), "read");
		took[i] += gs_now();
	}
	gs_conn_close(c);
}

static int longer(const void *a, const void *b)
{
	return (*(int64_t *)a > *(int64_t *)b) - (*(int64_t *)a < *(int64_t *)b);
}

static void start(void *arg)
{
	int64_t *took = arg; /* ns of each round trip */
	size_t n = clients * rounds;
	gs_listener *l;
	gs_conn *c;

	if (!n)
		for (check(gs_listen(network, address, &l), "listen");; gs_go(serve, c))
			check(gs_accept(l, &c), "accept");
	for (long i = 0; i < clients; i++)
		gs_wg_go(&done, measure, took + i * rounds);
	gs_wg_wait(&done);
	qsort(took, n, sizeof(*took), longer);
	printf("%zu round trips: half of them took up to %.1f us, 99 %% up to %.1f us\n", n,
	       took[n / 2] / 1e3, took[n * 99 / 100] / 1e3);
}

int main(int argc, char **argv)
{
	address = argc > 1 ? argv[1] : address;
	network = *address == '/' ? "unix" : "tcp";
	clients = argc > 3 ? atol(argv[2]) : 0;
	rounds = argc > 3 ? atol(argv[3]) : 0;
	return gs_run(start, calloc(clients * rounds + 1, sizeof(int64_t))) != 0;
}
