/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SAN=inject: see inject.h. */
#ifdef GS_INJECT

#include <sched.h>
#include <stdint.h>
#include <stdio.h>

#include "base/inject.h"
#include "base/syscall.h"

#define RATE 100

void (*gs_inject_preempt)(void);

/* From the environment, before main, or gs_inject_fail_at, before the runtime; then read only. */
static bool on;
static uint64_t seed, rate = RATE, fail;
static const char *at = "";

static uint64_t points, allocations, injected; /* atomic */

static void __attribute__((constructor)) init(void)
{
	const char *s = getenv("GSCHED_INJECT");
	char *end;

	if (!s)
		return;
	seed = strtoull(s, &end, 0);
	/* fail alone is exact: nothing else comes in between */
	on = end > s;
	for (s = end; *s; s = end) {
		s += *s == ',';
		if (!strncmp(s, "rate=", 5)) {
			rate = strtoull(s + 5, &end, 0);
		} else if (!strncmp(s, "fail=", 5)) {
			fail = strtoull(s + 5, &end, 0);
		} else if (!strncmp(s, "at=", 3)) {
			end = strchrnul(s, ',');
			at = strndup(s + 3, (size_t)(end - s) - 3);
		} else {
			break;
		}
	}
	if (*s || !rate || !at) {
		fprintf(stderr, "GSCHED_INJECT=seed[,rate=N][,at=file][,fail=N]\n");
		exit(2);
	}
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

void gs_inject_point(const char *file, int line)
{
	struct timespec ts = {0};
	uint64_t x;

	if (!on || strncmp(file, at, strlen(at)) != 0)
		return;
	x = mix(seed +
		mix(__atomic_fetch_add(&points, 1, __ATOMIC_RELAXED) * 4096 + (uint64_t)line));
	if (x % rate)
		return;
	__atomic_fetch_add(&injected, 1, __ATOMIC_RELAXED);
	x = mix(x);
	switch (x % 16) {
	case 0 ... 7:
		for (uint64_t n = 16u << x / 16 % 8; n; n--)
			__asm__ volatile("" ::: "memory");
		break;
	case 8 ... 11:
		gs_syscall3(SYS_sched_yield, 0, 0, 0);
		break;
	case 12:
		ts.tv_nsec = (long)(x / 16 % 64) * 1000;
		gs_syscall3(SYS_nanosleep, &ts, NULL, 0);
		break;
	default:
		if (gs_inject_preempt)
			gs_inject_preempt();
	}
}

bool gs_inject_fails(void)
{
	return __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED) + 1 == fail;
}

void gs_inject_fail_at(unsigned long n)
{
	on = false;
	fail = n;
	allocations = 0;
}

unsigned long gs_inject_allocations(void)
{
	return __atomic_load_n(&allocations, __ATOMIC_RELAXED);
}

unsigned long gs_inject_done(void)
{
	return __atomic_load_n(&injected, __ATOMIC_RELAXED);
}

#endif /* GS_INJECT */
