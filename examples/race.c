/* SPDX-License-Identifier: 0BSD */
/*
 * race [mended]: fibers count words into one total. The first way has a data race: two
 * fibers may read the same old total. The other holds a mutex. To see it reported:
 *
 *	make examples SAN=race && build/race/examples/race; build/race/examples/race mended
 */
#include <ctype.h>
#include <gsched.h>
#include <stdio.h>
#include <string.h>

static const char *const lines[] = {
	"Do not communicate by sharing memory;",
	"instead, share memory by communicating.",
	"Concurrency is not parallelism.",
	"Channels orchestrate; mutexes serialize.",
};

#define LINES (sizeof(lines) / sizeof(lines[0]))

static gs_mutex mutex;
static long total; /* mutex */
static bool mended;

static void count(void *arg)
{
	long words = 0;

	for (const char *s = arg; *s; s++)
		words += !isspace(*s) && (!s[1] || isspace(s[1]));
	if (mended)
		gs_mutex_lock(&mutex);
	total += words;
	if (mended)
		gs_mutex_unlock(&mutex);
}

static void count_all(void *arg)
{
	gs_waitgroup wg = {0};

	(void)arg;
	for (size_t i = 0; i < LINES; i++)
		gs_wg_go(&wg, count, (void *)lines[i]);
	gs_wg_wait(&wg);
	printf("%ld words\n", total);
}

int main(int argc, char **argv)
{
	mended = argc > 1 && strcmp(argv[1], "mended") == 0;
	return gs_run(count_all, NULL) != 0;
}
