/* SPDX-License-Identifier: GPL-2.0 */
/*
 * echo: what does a round trip of 64 bytes by TCP take, n of them over as many connections at
 * once as the first parameter says (64), both ends in this process?
 */
#include <gsched.h>

#include "bench.h"

static gs_waitgroup done;
static long each;

static void serve(void *conn)
{
	char buf[64];

	while (gs_conn_read_full(conn, buf, sizeof(buf)) == sizeof(buf))
		BENCH_CHECK(gs_conn_write(conn, buf, sizeof(buf)) == sizeof(buf));
	gs_conn_close(conn);
	gs_wg_done(&done);
}

static void ask(void *conn)
{
	char buf[64] = "echo", back[64];

	for (long i = 0; i < each; i++) {
		memcpy(buf + 8, &i, sizeof(i));
		BENCH_CHECK(gs_conn_write(conn, buf, sizeof(buf)) == sizeof(buf) &&
			    gs_conn_read_full(conn, back, sizeof(back)) == sizeof(back));
		BENCH_CHECK(!memcmp(buf, back, sizeof(buf)));
	}
	gs_conn_close(conn);
	gs_wg_done(&done);
}

static int64_t round_of(long n, long conns)
{
	char address[64];
	gs_conn *near, *far;
	gs_listener *l;
	int64_t begin;

	each = n / conns;
	BENCH_CHECK(gs_listen("tcp", "127.0.0.1:0", &l) == 0 &&
		    gs_listener_addr(l, address, sizeof(address)) == 0);
	gs_wg_add(&done, 2 * conns);
	begin = bench_now();
	for (long i = 0; i < conns; i++) {
		BENCH_CHECK(gs_dial("tcp", address, NULL, &near) == 0 && gs_accept(l, &far) == 0);
		bench_go(serve, far);
		bench_go(ask, near);
	}
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	gs_listener_close(l);
	return begin;
}

static void answer(long n)
{
	long conns = bench_arg(0, 64);

	round_of(n / 10, conns);
	bench_per_op(round_of(n, conns), n);
}

BENCH(answer);
