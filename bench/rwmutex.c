/* SPDX-License-Identifier: GPL-2.0 */
/*
 * rwmutex: what does a read lock cost? n of them by 8 fibers; a ninth writes now and
 * then, once for each thousand of theirs.
 */
#include <gsched.h>

#include "bench.h"

#define READERS 8
#define PER_WRITE 1000

static gs_rwmutex rw;
static gs_waitgroup done;
static long a, b; /* rw: always equal */
static long torn; /* atomic */

static void reader(void *arg)
{
	long n = *(long *)arg, bad = 0;

	for (long i = 0; i < n; i++) {
		gs_rwmutex_rlock(&rw);
		bad += a != b;
		gs_rwmutex_runlock(&rw);
	}
	__atomic_fetch_add(&torn, bad, __ATOMIC_RELAXED);
	gs_wg_done(&done);
}

static void writer(void *arg)
{
	long n = *(long *)arg;

	for (long i = 0; i < n; i++) {
		gs_rwmutex_lock(&rw);
		a++;
		b++;
		gs_rwmutex_unlock(&rw);
		gs_yield();
	}
	gs_wg_done(&done);
}

static int64_t round_of(long n)
{
	int64_t begin = bench_now();
	long each = n / READERS, writes = n / PER_WRITE;

	a = b = 0;
	gs_wg_add(&done, READERS + 1);
	for (int i = 0; i < READERS; i++)
		bench_go(reader, &each);
	bench_go(writer, &writes);
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	BENCH_CHECK(torn == 0 && a == writes && b == writes);
	return begin;
}

static void answer(long n)
{
	round_of(n / 10);
	bench_per_op(round_of(n), n);
}

BENCH(answer);
