// SPDX-License-Identifier: GPL-2.0
/*
 * An echo server with a fiber for each connection, and a client that measures:
 *	echo [address]			serve at host:port or /path; default 127.0.0.1:7777
 *	echo address clients rounds	how long do round trips of 64 bytes take?
 */
#include <errno.h>
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
	char buf[64] = "echo", back[64];
	gs_conn *c;

	check(gs_dial(network, address, NULL, &c), "dial");
	for (int64_t *took = arg, i = 0; i < rounds; i++) {
		took[i] = -gs_now();
		check(gs_conn_write(c, buf, sizeof(buf)), "write");
		ssize_t n = gs_conn_read_full(c, back, sizeof(back));

		took[i] += gs_now();
		check(n, "read");
		/* less: the other side has closed */
		if (n < (ssize_t)sizeof(back) || memcmp(buf, back, sizeof(back)))
			check(-EBADMSG, "read");
	}
	gs_conn_close(c);
}

static int longer(const void *a, const void *b)
{
	return (*(int64_t *)a > *(int64_t *)b) - (*(int64_t *)a < *(int64_t *)b);
}

static void serve_all(void)
{
	gs_listener *l;
	gs_conn *c;

	check(gs_listen(network, address, &l), "listen");
	for (;;) {
		int err = gs_accept(l, &c);

		/* no more files may be open: when some have closed theirs it goes on */
		if (err == -EMFILE || err == -ENFILE || err == -ECONNABORTED) {
			gs_sleep(10000000);
			continue;
		}
		check(err, "accept");
		if (gs_go(serve, c))
			gs_conn_close(c);
	}
}

static void start(void *arg)
{
	int64_t *took = arg; /* ns of each round trip */
	size_t n = clients * rounds;

	if (!n)
		serve_all();
	for (long i = 0; i < clients; i++)
		check(gs_wg_go(&done, measure, took + i * rounds), "start");
	gs_wg_wait(&done);
	qsort(took, n, sizeof(*took), longer);
	printf("%zu round trips: half of them took up to %.1f us, 99 %% up to %.1f us\n", n,
	       took[n / 2] / 1e3, took[n * 99 / 100] / 1e3);
}

int main(int argc, char **argv)
{
	int64_t *took;

	address = argc > 1 ? argv[1] : address;
	network = *address == '/' ? "unix" : "tcp";
	clients = argc > 3 ? atoi(argv[2]) : 0;
	rounds = argc > 3 ? atoi(argv[3]) : 0;
	if (argc == 3 || argc > 4 || (argc == 4 && (clients < 1 || rounds < 1))) {
		fprintf(stderr, "usage: echo [address [clients rounds]]\n");
		return 2;
	}
	took = calloc(clients * rounds + 1, sizeof(*took));
	if (!took)
		check(-ENOMEM, "measure");
	return gs_run(start, took) != 0;
}
