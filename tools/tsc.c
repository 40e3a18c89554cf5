// SPDX-License-Identifier: GPL-2.0
/* Prints how many thousand times a second this machine's time stamp counter counts. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 20
#define APART_NS 50000000

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Both clocks at the same time: of several tries the one that took least. */
static void look(int64_t *ns, uint64_t *tsc)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc();
		int64_t t = now();
		uint64_t took = __rdtsc() - before;

		if (took < best) {
			best = took;
			*ns = t;
			*tsc = before + took / 2;
		}
	}
}

int main(void)
{
	struct timespec ts = {.tv_nsec = APART_NS};
	uint64_t tsc[2];
	int64_t ns[2];

	look(&ns[0], &tsc[0]);
	nanosleep(&ts, NULL);
	look(&ns[1], &tsc[1]);
	printf("%.0f\n", (double)(tsc[1] - tsc[0]) * 1e6 / (double)(ns[1] - ns[0]));
	return 0;
}
