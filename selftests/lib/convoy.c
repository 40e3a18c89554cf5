// SPDX-License-Identifier: GPL-2.0
/*
 * Slices and locks. Whoever is interrupted keeps the locks it holds, and those who want them
 * pile up behind it: a convoy. Here fibers, 200 of them in the long
 * tests, do little but take libc's locks, with slices
 * of 10 ms and without; both get done, and with slices it takes about as long.
 *
 * The ratio of the times is looked at in the long tests only (GSCHED_TEST_LONG): the median
 * of ten pairs, each measured back to back.
 */
#include <gsched/sync.h>

#include "interrupts.h"

#define LIMIT 1.3

/* Each fiber computes for more than a slice, or nobody would be interrupted. */
#define WORK (15 * MS)

static gs_waitgroup all;
static FILE *shared;
static long fibers, rounds; /* before the fibers */

static struct result {
	int64_t ns;
	unsigned long interruptions;
	long lines;
} * result; /* shared with the child that runs */

static long written; /* the stream's lock */

static ssize_t count_lines(void *cookie, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		written += text[i] == '\n';
	return (ssize_t)size;
}

static void locker(void *arg)
{
	uint32_t rng = (uint32_t)(intptr_t)arg;
	void *block[16] = {NULL};

	for (long i = 0; i < rounds; i++) {
		for (int k = 0; k < 20; k++) {
			rng = rng * 1664525 + 1013904223;
			free(block[k % 16]);
			/* beyond the sizes that threads keep for themselves, too */
			block[k % 16] = malloc(16 + (rng >> 8) % 4000);
			memset(block[k % 16], 1, 16);
		}
		fprintf(shared, "fiber %ld, round %ld\n", (long)(intptr_t)arg, i);
	}
	for (int k = 0; k < 16; k++)
		free(block[k]);
}

/* How many rounds make so much CPU time. */
static long rounds_in(int64_t ns)
{
	struct timespec from, to;

	shared = fopen("/dev/null", "w");
	rounds = 500;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	locker(NULL);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	fclose(shared);
	return 1 + (long)(rounds * ns /
			  ((to.tv_sec - from.tv_sec) * SEC + to.tv_nsec - from.tv_nsec + 1));
}

static void run_main(void *arg)
{
	int64_t began = gs_now();

	for (long i = 1; i <= fibers; i++)
		CHECK_EQ(gs_wg_go(&all, locker, (void *)i), 0);
	gs_wg_wait(&all);
	result->ns = gs_now() - began;
}

static void run(void *arg)
{
	const cookie_io_functions_t io = {.write = count_lines};
	struct gs_stats s;

	setenv("GSCHED_SLICE", arg, 1);
	shared = fopencookie(NULL, "w", io);
	CHECK_EQ(gs_run(run_main, NULL), 0);
	fclose(shared);
	s = stats();
	result->lines = written;
	result->interruptions = s.travels + s.freezes;
	_exit(LOAD(ut_failed) ? 1 : 0);
}

static bool measure(const char *slice)
{
	struct ut_child *c;

	memset(result, 0, sizeof(*result));
	c = ut_child_run(run, (void *)slice, 60 * SEC);
	if (c->status)
		fprintf(stderr, "# slices of %s us: %s, status %d\n%s", slice,
			c->timed_out ? "timed out" : "failed", c->status, c->err);
	return !c->status && result->lines == fibers * rounds;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void pairs(struct __test_metadata *_metadata, int procs)
{
#ifdef UT_TSAN
	SKIP(return, "TSan does not see the lock of a FILE");
#endif
	int n = getenv("GSCHED_TEST_LONG") ? 10 : 1;
	unsigned long interruptions = 0;
	double ratio[10], median;

	result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ASSERT_NE(MAP_FAILED, (void *)result);
	fibers = n > 1 ? 200 : 20;
	rounds = rounds_in(WORK);
	ut_set_procs(procs);
	for (int i = 0; i < n; i++) {
		int64_t with = 0, without = 0;

		/* in turns, so that it does not matter who comes first */
		for (int k = 0; k < 2; k++) {
			bool sliced = (i + k) % 2;

			ASSERT_TRUE(measure(sliced ? "10000" : "10000000"));
			*(sliced ? &with : &without) = result->ns;
			interruptions += sliced ? result->interruptions : 0;
		}
		ratio[i] = (double)with / (double)without;
		fprintf(stderr, "# %d ms with slices, %d without: %.2f\n", (int)(with / MS),
			(int)(without / MS), ratio[i]);
	}
	qsort(ratio, (size_t)n, sizeof(*ratio), by_value);
	median = (ratio[(n - 1) / 2] + ratio[n / 2]) / 2;
	if (n == 1)
		return;
	fprintf(stderr, "# note: %d procs: %.2f times as long, %lu interruptions\n", procs, median,
		interruptions);
	/* each fiber takes longer than a slice, but may end in the one in which it begins */
	EXPECT_GE(interruptions, (unsigned long)(n * fibers / 4));
	EXPECT_LE(median, LIMIT);
}

/* one proc: who waits for a lock waits for its holder's next turn */
TEST(one_proc)
{
	pairs(_metadata, 1);
}

/* two procs, which want each other's locks besides */
TEST(two_procs)
{
	pairs(_metadata, 2);
}

TEST_HARNESS_MAIN
