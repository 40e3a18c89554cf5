// SPDX-License-Identifier: GPL-2.0
/*
 * What the module costs those who do not use it, and those who do when they do not block:
 * interleaved pairs of the same work with and without, in processor time, so that what else
 * runs does not count. A test fails if the lower end of the interval in which the median
 * lies is above the bound, three times one after the other: more pairs make it sharper, a
 * noisy machine wider, and another program that comes or goes meanwhile shifts it.
 *
 * Beside it the same program runs, and uses the module or does not: where that may come and
 * go (k_stale_code()) it is loaded only in the former case.
 */
#include "kutil.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define PAIRS 20
#define TRIES 3
/* In order, of PAIRS: the median is above this one with a probability of 98 %. */
#define LOWER 5
#define UPPER (PAIRS - 1 - LOWER)

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double lower_end(double *ratio, const char *what)
{
	qsort(ratio, PAIRS, sizeof(*ratio), by_value);
	fprintf(stderr, "# note: %s: with / without %.4f (%.4f to %.4f) \n", what,
		(ratio[PAIRS / 2 - 1] + ratio[PAIRS / 2]) / 2, ratio[LOWER], ratio[UPPER]);
	return ratio[LOWER];
}

/* ------------------------------------------------------------------------- */
/* Two processes that take turns on one processor, and know nothing of the module. */

#define SAMPLE_NS (150 * 1000000ull) /* processor time of both */
#define USE_NS 40000000		     /* how often the other program blocks */

static int turn[2][2];
static clockid_t other_clock;

static void other(void)
{
	char c;

	while (read(turn[0][0], &c, 1) == 1 && write(turn[1][1], &c, 1) == 1)
		;
	_exit(0);
}

static pid_t make_other(void)
{
	cpu_set_t one;
	pid_t pid;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one) || pipe(turn[0]) || pipe(turn[1]))
		return -1;
	pid = fork();
	if (!pid) {
		close(turn[0][1]);
		close(turn[1][0]);
		other();
	}
	close(turn[0][0]);
	close(turn[1][1]);
	return pid > 0 && !clock_getcpuclockid(pid, &other_clock) ? pid : -1;
}

static uint64_t both_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID) + clock_ns(other_clock);
}

static uint64_t turns(long n)
{
	char c = 0;

	while (n--)
		if (write(turn[0][1], &c, 1) != 1 || read(turn[1][0], &c, 1) != 1)
			abort();
	return both_ns();
}

/* Nanoseconds of processor time for a turn of each: two switches. */
static double turn_ns(void)
{
	uint64_t begin = both_ns(), end;
	long n = 0;

	/* To warm up: the switch's code may have been patched just now. */
	while (turns(100) - begin < SAMPLE_NS / 2)
		;
	begin = both_ns();
	do {
		n += 100;
		end = turns(100);
	} while (end - begin < SAMPLE_NS);
	return (double)(end - begin) / n;
}

/* ------------------------------------------------------------------------- */
/* Somebody else uses the module: 0 blocks, 1 gets its proc, finds all done and parks again. */

static long order_use(struct puppet *p, long me)
{
	struct timespec ts = {.tv_nsec = USE_NS};

	for (;;) {
		if (me) {
			k_park_found(p->k, 0, 0);
			k_drain(p->k, 0);
			continue;
		}
		k_acquire(p->k);
		k_queue(p->k, 0, 1);
		p->slot->depth = 0;
		nanosleep(&ts, NULL);
		p->slot->depth = 1;
	}
	return 0;
}

/* The same without it: else what the other processor does counted, too. */
static void *use_nothing(void *arg)
{
	static uint32_t word;
	struct timespec ts = {.tv_nsec = USE_NS};

	for (;;) {
		if (arg) {
			kfutex(&word, FUTEX_WAIT, __atomic_load_n(&word, __ATOMIC_RELAXED));
			continue;
		}
		nanosleep(&ts, NULL);
		__atomic_add_fetch(&word, 1, __ATOMIC_RELAXED);
		kfutex(&word, FUTEX_WAKE, 1);
	}
	return NULL;
}

static void user(int ready, bool uses)
{
	pthread_t t[2];
	static struct puppet p[2];
	struct ktx k;
	cpu_set_t rest;

	/* What it takes of that processor is not what is looked for, if there are others. */
	memset(&rest, 0xff, sizeof(rest));
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		CPU_CLR(0, &rest);
	sched_setaffinity(0, sizeof(rest), &rest);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (long i = 0; i < 2 && !uses; i++)
		pthread_create(&t[i], NULL, use_nothing, (void *)i);
	if (uses)
		k_open(&k, 1);
	for (int i = 0; i < 2 && uses; i++) {
		puppet_new(&p[i], &k);
		puppet_start(&p[i], order_use, i);
	}
	if ((uses && !until(p[0].slot->handoffs > 4)) || write(ready, "", 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

static pid_t make_user(bool uses)
{
	int ready[2];
	char c;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid)
		user(ready[1], uses);
	close(ready[1]);
	if (pid > 0 && read(ready[0], &c, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

static bool end_user(pid_t pid)
{
	return !kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid;
}

static double beside_user(bool uses, bool reload)
{
	double ns;
	pid_t pid;

	if (uses && reload && k_load(K_MODULE))
		return -1;
	pid = make_user(uses);
	ns = turn_ns();
	if (pid < 0 || !end_user(pid) || (uses && reload && !until(!k_unload("gsched"))))
		return -1;
	return ns;
}

static bool pairs_of_switches(double *ratio, bool reload)
{
	for (int i = 0; i < PAIRS; i++) {
		double ns[2];

		for (int n = 0; n < 2; n++) {
			bool uses = (i + n) % 2;

			ns[uses] = beside_user(uses, reload);
			if (ns[uses] < 0)
				return false;
		}
		ratio[i] = ns[1] / ns[0];
	}
	return true;
}

/* The switches of a process that has nothing to do with it: at most 2 %. */
TEST(others)
{
	bool reload = !access(K_MODULE, R_OK) && !k_stale_code();
	double ratio[PAIRS], low = 2;
	struct stat st;
	pid_t pid;

	ASSERT_EQ(0, stat("/dev/gsched", &st));
	pid = make_other();
	ASSERT_LT(0, pid);
	if (reload)
		ASSERT_TRUE(until(!k_unload("gsched")));
	for (int i = 0; i < TRIES && low >= 1.02; i++) {
		ASSERT_TRUE(pairs_of_switches(ratio, reload));
		low = lower_end(ratio, "switches of others");
	}
	EXPECT_LT(low, 1.02);
	kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	if (reload) {
		ASSERT_EQ(0, k_load(K_MODULE));
		/* as it was found */
		EXPECT_TRUE(k_device_as(&st));
	}
}

/* ------------------------------------------------------------------------- */

static double call_ns(void)
{
	uint64_t begin = 0, end;
	long n = -1000;

	do {
		/* not one that libc answers */
		syscall(SYS_getppid);
		if (!++n)
			begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	} while (n < 1000 || n % 1000 ||
		 (end = clock_ns(CLOCK_THREAD_CPUTIME_ID)) - begin < SAMPLE_NS / 4);
	return (double)(end - begin) / n;
}

/* By a fiber, so to say; < 0: the proc was not there, or not kept. */
static double worker_call_ns(struct ktx *k)
{
	volatile struct gsched_slot *slot;
	int w = k_attach(k);
	double ns;

	if (w < 0 || k_acquire(k))
		return -1;
	slot = k_slot(k, w);
	slot->depth = 0;
	ns = call_ns();
	slot->depth = 1;
	return slot->proc != 1 || k_detach(k) ? -1 : ns;
}

/* A call that does not block, by a fiber: at most 5 %. */
TEST(own_calls)
{
	double ratio[PAIRS], low = 2;
	struct puppet standby;
	struct ktx k;

	k_open(&k, 1);
	puppet_new(&standby, &k);
	ASSERT_TRUE(puppet_standby(&standby));
	for (int t = 0; t < TRIES && low >= 1.05; t++) {
		for (int i = 0; i < PAIRS; i++) {
			double without = i % 2 ? call_ns() : 0, with = worker_call_ns(&k);

			ASSERT_LT(0, with);
			ratio[i] = with / (i % 2 ? without : call_ns());
		}
		low = lower_end(ratio, "calls of a worker");
	}
	EXPECT_LT(low, 1.05);
}

TEST_HARNESS_MAIN
