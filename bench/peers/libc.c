/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What libc alone offers: peer-libc QUESTION COUNT [PARAMETER]..., the questions of
 * bench/ that have an answer there. yield is swapcontext(3) between four contexts, which
 * saves the signal mask by a system call; the rest are threads: a channel is a ring
 * under a mutex with two condition variables (unbuffered: the ring has one place, which
 * is less than the other sides promise, and a hundredth of the values must do).
 */
#include <pthread.h>
#include <sched.h>
#include <ucontext.h>
#include <unistd.h>

#include "bench.h"

/* ------------------------------------------------------------------------- */
/* yield                                                                       */

#define FIBERS 4

static ucontext_t contexts[FIBERS], home;
static long left, switches;
static int running;

static void context_main(void)
{
	while (left-- > 0) {
		int from = running;

		running = (running + 1) % FIBERS;
		switches++;
		swapcontext(&contexts[from], &contexts[running]);
	}
	setcontext(&home);
}

static int64_t yield(long n)
{
	static char stacks[FIBERS][65536];
	int64_t begin = bench_now();

	left = n;
	switches = 0;
	running = 0;
	for (int i = 0; i < FIBERS; i++) {
		BENCH_CHECK(getcontext(&contexts[i]) == 0);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = sizeof(stacks[i]);
		makecontext(&contexts[i], context_main, 0);
	}
	BENCH_CHECK(swapcontext(&home, &contexts[0]) == 0);
	BENCH_CHECK(switches == n);
	return bench_now() - begin;
}

/* ------------------------------------------------------------------------- */
/* chan_spsc, chan_mpmc                                                        */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled, drained;
	long cap, head, tail, closed;
	long ring[1024];
} ch = {.lock = PTHREAD_MUTEX_INITIALIZER,
	.filled = PTHREAD_COND_INITIALIZER,
	.drained = PTHREAD_COND_INITIALIZER};
static long each, sum; /* sum: atomic */

static void *sender(void *arg)
{
	for (long i = 1; i <= each; i++) {
		pthread_mutex_lock(&ch.lock);
		while (ch.tail - ch.head == ch.cap)
			pthread_cond_wait(&ch.drained, &ch.lock);
		ch.ring[ch.tail++ % ch.cap] = i;
		pthread_cond_signal(&ch.filled);
		pthread_mutex_unlock(&ch.lock);
	}
	return arg;
}

static void *receiver(void *arg)
{
	long mine = 0;

	pthread_mutex_lock(&ch.lock);
	for (;;) {
		while (ch.tail == ch.head && !ch.closed)
			pthread_cond_wait(&ch.filled, &ch.lock);
		if (ch.tail == ch.head)
			break;
		mine += ch.ring[ch.head++ % ch.cap];
		pthread_cond_signal(&ch.drained);
		pthread_mutex_unlock(&ch.lock);
		pthread_mutex_lock(&ch.lock);
	}
	pthread_mutex_unlock(&ch.lock);
	__atomic_fetch_add(&sum, mine, __ATOMIC_RELAXED);
	return arg;
}

static int64_t channel(long n, long threads)
{
	pthread_t from[8], to[8];
	int64_t begin = bench_now();

	ch.cap = bench_arg(1, 0) ? bench_arg(1, 0) : 1;
	BENCH_CHECK(ch.cap <= (long)(sizeof(ch.ring) / sizeof(ch.ring[0])));
	ch.head = ch.tail = ch.closed = 0;
	sum = 0;
	each = n / threads;
	for (int i = 0; i < threads; i++)
		BENCH_CHECK(pthread_create(&to[i], NULL, receiver, NULL) == 0 &&
			    pthread_create(&from[i], NULL, sender, NULL) == 0);
	for (int i = 0; i < threads; i++)
		pthread_join(from[i], NULL);
	pthread_mutex_lock(&ch.lock);
	ch.closed = 1;
	pthread_cond_broadcast(&ch.filled);
	pthread_mutex_unlock(&ch.lock);
	for (int i = 0; i < threads; i++)
		pthread_join(to[i], NULL);
	begin = bench_now() - begin;
	BENCH_CHECK(sum == each * (each + 1) / 2 * threads);
	return begin;
}

/* ------------------------------------------------------------------------- */
/* spawn, mutex                                                                */

#define BATCH 64

static long ran; /* atomic */

static void *fiber(void *arg)
{
	__atomic_fetch_add(&ran, 1, __ATOMIC_RELAXED);
	return arg;
}

static int64_t spawn(long n)
{
	pthread_t threads[BATCH];
	int64_t begin = bench_now();

	ran = 0;
	for (long i = 0; i < n / BATCH; i++) {
		for (int k = 0; k < BATCH; k++)
			BENCH_CHECK(pthread_create(&threads[k], NULL, fiber, NULL) == 0);
		for (int k = 0; k < BATCH; k++)
			pthread_join(threads[k], NULL);
	}
	BENCH_CHECK(ran == n / BATCH * BATCH);
	return bench_now() - begin;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter; /* mutex */

static void *locker(void *arg)
{
	for (long i = 0; i < each; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

static int64_t locking(long n, long threads)
{
	pthread_t t[64];
	int64_t begin = bench_now();

	BENCH_CHECK(threads <= 64);
	each = n / threads;
	counter = 0;
	for (int i = 0; i < threads; i++)
		BENCH_CHECK(pthread_create(&t[i], NULL, locker, NULL) == 0);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	BENCH_CHECK(counter == each * threads);
	return bench_now() - begin;
}

/* ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	long n = bench_count(argc - 1, argv + 1);
	long procs = argc > 2 && getenv("GOMAXPROCS") ? atol(getenv("GOMAXPROCS")) : 0;
	cpu_set_t set;

	/* as many processors as the others have procs */
	if (procs == 1) {
		CPU_ZERO(&set);
		CPU_SET(sched_getcpu(), &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	bench_argc = argc;
	bench_argv = argv;
	if (!strcmp(what, "yield")) {
		yield(n / 10);
		bench_per_op(yield(n), n);
	} else if (!strcmp(what, "chan_spsc")) {
		n = bench_arg(1, 0) ? n : n / 100;
		bench_per_op(channel(n, 1), n);
	} else if (!strcmp(what, "chan_mpmc")) {
		n = bench_arg(1, 0) ? n : n / 100;
		bench_per_op(channel(n, 8), n);
	} else if (!strcmp(what, "spawn")) {
		n /= 10;
		bench_per_op(spawn(n), n);
	} else if (!strcmp(what, "mutex")) {
		bench_per_op(locking(n, bench_arg(1, 1)), n);
	} else {
		fprintf(stderr, "peer-libc has no %s\n", what);
		return 2;
	}
	return 0;
}
