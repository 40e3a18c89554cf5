/* SPDX-License-Identifier: GPL-2.0 */
/*
 * echo_hogs: how long does a round trip of 64 bytes by TCP take, n times, 5 ms apart,
 * beside as many fibers that compute as the first parameter says (8), and what do they
 * keep of what they computed while nobody else had anything to do?
 */
#include <gsched.h>

#include "bench.h"

#define APART 5000000
#define FIRST 10 /* not counted: where code is emulated, it is translated when it is first run */

static gs_waitgroup done;
static int stop;       /* atomic */
static uint64_t *work; /* a hog's own cache line each; atomic */
static int hogs;

static void hog(void *arg)
{
	uint64_t *mine = &work[(uintptr_t)arg * 8], n = 0, x = 1;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		x = bench_work(x, 100);
		__atomic_store_n(mine, ++n, __ATOMIC_RELAXED);
	}
	BENCH_CHECK(x);
	gs_wg_done(&done);
}

static uint64_t worked(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < hogs; i++)
		sum += __atomic_load_n(&work[i * 8], __ATOMIC_RELAXED);
	return sum;
}

/* Of all hogs, since they had done so much at that time. */
static double rate(uint64_t before, int64_t begin)
{
	return (double)(worked() - before) / (double)(bench_now() - begin);
}

/* While everybody else sleeps. */
static double rate_alone(void)
{
	uint64_t before = worked();
	int64_t begin = bench_now();

	gs_sleep(500000000);
	return rate(before, begin);
}

static void serve(void *conn)
{
	char buf[64];

	while (gs_conn_read_full(conn, buf, sizeof(buf)) == sizeof(buf))
		BENCH_CHECK(gs_conn_write(conn, buf, sizeof(buf)) == sizeof(buf));
	gs_conn_close(conn);
	gs_wg_done(&done);
}

static void answer(long n)
{
	int64_t *took = calloc((size_t)n, sizeof(*took)), begin = 0;
	char address[64], buf[64] = "echo", back[64];
	double alone, beside, again;
	gs_conn *near, *far;
	gs_listener *l;
	uint64_t before = 0;

	hogs = (int)bench_arg(0, 8);
	work = calloc((size_t)hogs * 8, sizeof(*work));
	BENCH_CHECK(took && work && gs_listen("tcp", "127.0.0.1:0", &l) == 0 &&
		    gs_listener_addr(l, address, sizeof(address)) == 0 &&
		    gs_dial("tcp", address, NULL, &near) == 0 && gs_accept(l, &far) == 0);
	gs_wg_add(&done, 1 + hogs);
	bench_go(serve, far);
	for (int i = 0; i < hogs; i++)
		bench_go(hog, (void *)(uintptr_t)i);
	gs_sleep(100000000); /* all have begun */
	alone = rate_alone();
	for (long i = -FIRST; i < n; i++) {
		int64_t t;

		if (i == 0) {
			before = worked();
			begin = bench_now();
		}
		gs_sleep(APART);
		t = bench_now();
		BENCH_CHECK(gs_conn_write(near, buf, sizeof(buf)) == sizeof(buf) &&
			    gs_conn_read_full(near, back, sizeof(back)) == sizeof(back));
		if (i >= 0)
			took[i] = bench_now() - t;
		BENCH_CHECK(!memcmp(buf, back, sizeof(buf)));
	}
	beside = rate(before, begin);
	/* others may have had a part of the processors during one of the two */
	again = rate_alone();
	alone = again > alone ? again : alone;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	gs_conn_close(near);
	gs_wg_wait(&done);
	gs_listener_close(l);
	bench_percentiles(took, n);
	bench_result("hogs", "%", "higher", 100 * beside / alone);
	free(took);
	free(work);
}

BENCH(answer);
