/* SPDX-License-Identifier: GPL-2.0 */
/*
 * share: a fiber computes; beside it 8 fibers are in blocking calls all the time. Which
 * share of the speed it has alone does it keep, and how many calls do the 8 complete?
 *
 * The count is the milliseconds to measure. The first parameter is the call: "sleep",
 * a plain nanosleep(2); "read", a read(2) of a timerfd; "fault", the touch of a page that
 * another process brings (bench/pager.c); "disk", the touch of a page of a file that is
 * mapped, on a slow disk (bench/disk.c). The second one is how many microseconds it takes.
 */
#include <errno.h>
#include <gsched.h>
#include <pthread.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench.h"
#include "disk.h"
#include "pager.h"

#define BLOCKERS 8

static gs_waitgroup done;
static int stop;       /* atomic */
static uint64_t calls; /* atomic */
static long us;
static struct pager pager;
static struct disk disk;

/* One blocking call, whatever thread it is on. 0, or it went wrong. */
static int block_sleep(int id, int fd)
{
	struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	(void)id;
	(void)fd;
	return nanosleep(&ts, NULL);
}

static int block_read(int id, int fd)
{
	uint64_t v;

	(void)id;
	return read(fd, &v, sizeof(v)) != sizeof(v);
}

static int block_fault(int id, int fd)
{
	(void)fd;
	return pager_touch(&pager, id);
}

static int block_disk(int id, int fd)
{
	(void)fd;
	return disk_touch(&disk, id);
}

static int (*block)(int id, int fd);

static void blocker(void *arg)
{
	int id = (int)(uintptr_t)arg, fd = -1;
	uint64_t n = 0;

	if (block == block_read) {
		struct itimerspec its = {.it_interval = {.tv_nsec = us * 1000},
					 .it_value = {.tv_nsec = us * 1000}};

		fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		BENCH_CHECK(fd >= 0 && timerfd_settime(fd, 0, &its, NULL) == 0);
	}
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		BENCH_CHECK(block(id, fd) == 0);
		n++;
	}
	__atomic_fetch_add(&calls, n, __ATOMIC_RELAXED);
	if (fd >= 0)
		close(fd);
	gs_wg_done(&done);
}

/* Steps of work per second, for so long. */
static double compute(int64_t ns)
{
	int64_t begin = bench_now(), now;
	uint64_t x = 1, n = 0;

	do {
		x = bench_work(x, 1000);
		n++;
	} while ((now = bench_now()) - begin < ns);
	BENCH_CHECK(x);
	return (double)n * 1e9 / (double)(now - begin);
}

static void answer(long n)
{
	int64_t ns = n * 1000000, begin;
	const char *call = bench_word(0);
	double alone, beside, again;

	us = bench_arg(1, 1000);
	block = !strcmp(call, "read")	 ? block_read
		: !strcmp(call, "fault") ? block_fault
		: !strcmp(call, "disk")	 ? block_disk
					 : block_sleep;
	if (block == block_fault)
		pager_start(&pager, BLOCKERS, us);
	else if (block == block_disk)
		disk_start(&disk, BLOCKERS, us);
	compute(ns / 10);
	alone = compute(ns / 2);
	gs_wg_add(&done, BLOCKERS);
	for (int i = 0; i < BLOCKERS; i++)
		bench_go(blocker, (void *)(uintptr_t)i);
	gs_yield();
	begin = bench_now();
	beside = compute(ns);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	gs_wg_wait(&done);
	begin = bench_now() - begin;
	/* others may have had a part of the processor during one of the two */
	again = compute(ns / 2);
	alone = again > alone ? again : alone;
	bench_result("share", "%", "higher", 100 * beside / alone);
	bench_result("calls", "1/s", "higher", (double)calls * 1e9 / (double)begin);
	BENCH_CHECK(calls >= BLOCKERS);
}

BENCH(answer);
