/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the C sides of the benchmarks share. A program asks one question: BENCH names
 * the function that answers it, in a fiber of gs_run. Its command line is a count and
 * perhaps parameters, the same as its Go twin's in bench/go; it warms up, measures
 * once, checks that the work was done, and prints lines of
 *
 *	metric TAB unit TAB "lower" or "higher" (which is better) TAB value
 *
 * Repetition, medians and comparison are bench/run's and bench/report.awk's.
 */
#ifndef GS_BENCH_H
#define GS_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_UNUSED __attribute__((unused))

/* Monotonic ns, by the clock that the Go twins' time.Now reads. */
static BENCH_UNUSED int64_t bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Not true: the work was not done, and its time means nothing. */
#define BENCH_CHECK(cond)                                                                          \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #cond);        \
			_Exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static BENCH_UNUSED void bench_result(const char *metric, const char *unit, const char *better,
				      double value)
{
	printf("%s\t%s\t%s\t%.6g\n", metric, unit, better, value);
	fflush(stdout);
}

/* The usual result: what one of n operations took. */
static BENCH_UNUSED void bench_per_op(int64_t ns, long n)
{
	bench_result("time", "ns", "lower", (double)ns / (double)n);
}

static BENCH_UNUSED int bench_compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* Median and 99th percentile of n times in ns, printed in us; sorts them. */
static BENCH_UNUSED void bench_percentiles(int64_t *ns, long n)
{
	qsort(ns, (size_t)n, sizeof(*ns), bench_compare);
	bench_result("p50", "us", "lower", (double)ns[n / 2] / 1e3);
	bench_result("p99", "us", "lower", (double)ns[n * 99 / 100] / 1e3);
}

/* Some work that is not optimised away, and that another compiler does as fast. */
static BENCH_UNUSED uint64_t bench_work(uint64_t x, long steps)
{
	for (long i = 0; i < steps; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

static int bench_argc;
static char **bench_argv;

/* The i-th parameter after the count, or what it is without one. */
static BENCH_UNUSED long bench_arg(int i, long without)
{
	return i + 2 < bench_argc ? atol(bench_argv[i + 2]) : without;
}

static BENCH_UNUSED const char *bench_word(int i)
{
	return i + 2 < bench_argc ? bench_argv[i + 2] : "";
}

static BENCH_UNUSED long bench_count(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 0;

	bench_argc = argc;
	bench_argv = argv;
	if (n < 1) {
		fprintf(stderr, "usage: %s count [parameter]... (see bench/rows.tsv)\n", argv[0]);
		exit(2);
	}
	return n;
}

#ifdef GSCHED_RUNTIME_H
/* A fiber, or an end to all of it. */
static BENCH_UNUSED void bench_go(void (*fn)(void *), void *arg)
{
	int r = gs_go(fn, arg);

	if (r) {
		fprintf(stderr, "gs_go: %s\n", strerror(-r));
		_Exit(1);
	}
}

static BENCH_UNUSED gs_chan *bench_chan(size_t size, size_t capacity)
{
	gs_chan *c = gs_chan_new(size, capacity);

	BENCH_CHECK(c);
	return c;
}

/* answer(n): warms up, measures, checks, prints */
#define BENCH(answer)                                                                              \
	static void bench_fiber(void *n)                                                           \
	{                                                                                          \
		answer(*(long *)n);                                                                \
	}                                                                                          \
	int main(int argc, char **argv)                                                            \
	{                                                                                          \
		long n = bench_count(argc, argv);                                                  \
                                                                                                   \
		return gs_run(bench_fiber, &n) != 0;                                               \
	}                                                                                          \
	_Static_assert(1, "")
#endif

#endif /* GS_BENCH_H */
