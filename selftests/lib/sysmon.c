// SPDX-License-Identifier: GPL-2.0
/*
 * Sysmon, which retakes the procs of blocked workers where no kernel does: how soon, from
 * whom, from whom not, and what happens to those who come back. All of it holds on kmod
 * as well, where the kernel hands procs off.
 */
#include <dirent.h>
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <limits.h>
#include <pthread.h>

#include "util.h"

#define SLICE (10 * MS)

static int stop;  /* atomic */
static long done; /* atomic */

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static struct gs_stats stats(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s;
}

static void nap(long ns)
{
	struct timespec ts = {.tv_nsec = ns};

	while (nanosleep(&ts, &ts))
		;
}

/* ------------------------------------------------------------------------- */
/* How soon                                                                    */

#define MAX_ROUNDS 200

static int fds[2];
static int64_t blocked_at; /* atomic */
static int64_t took[MAX_ROUNDS];

static void unblock(void *arg)
{
	int64_t *t = arg, at = LOAD(blocked_at);

	/* the other one may be preempted before it blocks */
	*t = at ? gs_now() - at : 0;
	CHECK_EQ(write(fds[1], "x", 1), 1);
}

static void *watch(void *arg)
{
	if (!UNTIL_NS(LOAD(done), UT_WAIT * SEC)) {
		ut_fail(__FILE__, __LINE__, "the blocked fiber kept its proc");
		(void)!write(fds[1], "x", 1);
	}
	return NULL;
}

/* The median of so many. */
static int64_t block_often(long n, int64_t before)
{
	char c;

	for (long i = 0; i < n && !LOAD(ut_failed); i++) {
		ut_burn(before);
		STORE(blocked_at, 0);
		CHECK_EQ(gs_go(unblock, &took[i]), 0);
		STORE(blocked_at, gs_now());
		CHECK_EQ(read(fds[0], &c, 1), 1);
		gs_yield();
	}
	qsort(took, (size_t)n, sizeof(*took), by_value);
	fprintf(stderr, "# retaken after %lld us (median), %lld us (p90), %lld us at most\n",
		(long long)took[n / 2] / 1000, (long long)took[n * 9 / 10] / 1000,
		(long long)took[n - 1] / 1000);
	return took[n / 2];
}

static void block_rounds(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC) / 2, before = *(int64_t *)arg, median;
	long n = ut_count(before ? 10 : MAX_ROUNDS, 5);
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, watch, NULL), 0);
	/* not p90, and not always: a machine that has other work lets sysmon wait for its turn */
	do
		median = block_often(n, before);
	while (median > ut_limit(2 * SLICE) && !LOAD(ut_failed) && gs_now() < end);
	CHECK_LE(median, ut_limit(2 * SLICE));
	STORE(done, 1);
	pthread_join(t, NULL);
}

/* read(2) of an empty pipe, again and again: the other fiber runs within two slices */
TEST(soon)
{
	int64_t before = 0;

	ut_set_procs(1);
	ASSERT_EQ(0, pipe(fds));
	RUN(block_rounds, &before);
}

/* the same after 40 ms without a block, when sysmon looks seldom */
TEST(soon_after_a_while)
{
	int64_t before = 40 * MS;

	ut_set_procs(1);
	ASSERT_EQ(0, pipe(fds));
	RUN(block_rounds, &before);
}

/* ------------------------------------------------------------------------- */
/* From whom not                                                               */

static void undemanded(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	struct gs_stats before, after;

	/* let the workers that are there come to rest */
	nap(50 * MS);
	before = after = stats();
	/* sysmon may be late for some */
	for (int i = 0; i < 20 || (after.blocks < before.blocks + 10 && gs_now() < end); i++) {
		nap(10 * MS);
		/* on posix it holds a proc again when it comes into the runtime */
		gs_yield();
		after = stats();
	}
	CHECK_GE(after.blocks, before.blocks + 10);
	CHECK_EQ(after.handoffs, before.handoffs);
	CHECK_EQ(after.grants, before.grants);
}

/* a fiber that blocks while nobody waits: its proc is free, and no thread is woken */
TEST(no_demand)
{
	ut_set_procs(1);
	RUN(undemanded, NULL);
}

static void *compete(void *arg)
{
	while (!LOAD(stop))
		;
	return NULL;
}

static void starve(void *arg)
{
	struct gs_stats before;
	uint64_t blocks = 1;
	pthread_t t[4];
	cpu_set_t cpu, all;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&cpu);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&cpu); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &cpu);
	/* threads inherit it: this worker and four others share a CPU */
	sched_setaffinity(0, sizeof(cpu), &cpu);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, compete, NULL), 0);
	/* a page fault is a block, too, but does not come each time */
	for (int i = 0; i < 5 && blocks; i++) {
		before = stats();
		ut_burn(300 * MS);
		blocks = stats().blocks - before.blocks;
	}
	CHECK_EQ(blocks, 0u);
	STORE(stop, 1);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	sched_setaffinity(0, sizeof(all), &all);
}

/* a thread that waits for a CPU is not blocked: it keeps its proc */
TEST(waits_for_cpu)
{
	ut_set_procs(1);
	RUN(starve, NULL);
}

static void inside_nopreempt(void *arg)
{
	struct gs_stats before;

	gs_nopreempt_begin();
	before = stats();
	for (int i = 0; i < 10; i++)
		nap(10 * MS);
	CHECK_EQ(stats().blocks, before.blocks);
	gs_nopreempt_end();
}

/* nor does a thread that sleeps with preemption off lose it */
TEST(nopreempt)
{
	ut_set_procs(1);
	RUN(inside_nopreempt, NULL);
}

/* ------------------------------------------------------------------------- */
/* Those who come back                                                         */

#define STORMERS 24

static int width;     /* before the fibers */
static int inside;    /* atomic: fibers that hold a proc for certain */
static gs_chan *ball; /* goes round */
static long passes;   /* atomic */
static unsigned int seeds[STORMERS];

static void stormer(void *arg)
{
	unsigned int *rng = arg;
	int32_t v;

	while (!LOAD(stop)) {
		*rng = *rng * 1103515245 + 12345;
		/* sysmon's looks, and the moment it retakes a proc, come anywhere */
		nap(1 + (long)(*rng >> 8) % 150000);
		for (unsigned int i = 0; i < (*rng >> 4) % 8; i++) {
			gs_nopreempt_begin();
			CHECK_LE(ADD(inside, 1), width);
			for (volatile unsigned int k = 0; k < (*rng >> 6) % 512; k++)
				;
			ADD(inside, -1);
			gs_nopreempt_end();
		}
		if (*rng >> 30 == 0 && gs_chan_try_recv(ball, &v) == 1) {
			v++;
			gs_chan_send(ball, &v);
			ADD(passes, 1);
		}
		if (*rng >> 30 == 1)
			gs_yield();
		ADD(done, 1);
	}
}

static void storm(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	long n = ut_count(5000, 500);
	bool resize = arg;
	struct gs_stats s;
	int32_t v = 0;

	width = gs_max_procs(0);
	ball = gs_chan_new(sizeof(v), 1);
	gs_chan_send(ball, &v);
	for (int i = 0; i < STORMERS; i++) {
		seeds[i] = (unsigned int)(gs_now() + i * 7919);
		CHECK_EQ(gs_go(stormer, &seeds[i]), 0);
	}
	/* sysmon sees a block sooner or later */
	for (int i = 0; (LOAD(done) < n || (!stats().blocks && gs_now() < end)) && !LOAD(ut_failed);
	     i++) {
		nap(200000);
		if (resize)
			gs_max_procs(1 + i % width);
	}
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_max_procs(width);
	CHECK_EQ(gs_chan_try_recv(ball, &v), 1);
	CHECK_EQ(v, LOAD(passes));
	gs_chan_unref(ball);
	s = stats();
	fprintf(stderr, "# blocks %llu hand-offs %llu returns %llu lost %llu, passes %ld\n",
		(unsigned long long)s.blocks, (unsigned long long)s.handoffs,
		(unsigned long long)s.returns, (unsigned long long)s.lost, LOAD(passes));
	CHECK_GE(s.blocks, 1u);
	CHECK_EQ(s.procs, (uint32_t)width);
	CHECK_LE(s.idle_procs, s.procs);
	/* this one holds a proc, and soon nobody else does */
	UNTIL(({
		uint32_t idle;

		gs_nopreempt_begin();
		idle = stats().idle_procs;
		gs_nopreempt_end();
		idle == s.procs - 1;
	}));
}

/* fibers that block and come back at every moment: as many hold a proc as there are */
TEST(storm_1)
{
	ut_set_procs(1);
	RUN(storm, NULL);
}

/* the same on two procs */
TEST(storm_2)
{
	ut_set_procs(2);
	RUN(storm, NULL);
}

/* the same on four, whose number changes meanwhile */
TEST(storm_resized)
{
	ut_set_procs(4);
	RUN(storm, (void *)1);
}

/* ------------------------------------------------------------------------- */
/* Nothing to do                                                               */

/* how often the threads of this program, without the calling one, went to sleep */
static long switches(void)
{
	DIR *d = opendir("/proc/self/task");
	char path[300], text[4096];
	struct dirent *e;
	long n = 0;

	while (d && (e = readdir(d))) {
		const char *at;
		ssize_t len;
		int fd;

		if (e->d_name[0] == '.' || atoi(e->d_name) == gettid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[len > 0 ? len : 0] = '\0';
		at = strstr(text, "\nvoluntary_ctxt_switches:");
		n += at ? atol(at + 25) : 0;
	}
	closedir(d);
	return n;
}

static gs_chan *never;

static void wait_for_it(void *arg)
{
	gs_chan_recv(never, NULL);
}

static void *look_on(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	long before, n = LONG_MAX;

	/* sysmon looks on for a while; then it is quiet */
	while (n > 20 && gs_now() < end) {
		before = switches();
		nap(300 * MS);
		n = switches() - before;
	}
	fprintf(stderr, "# %ld wake-ups in 300 ms\n", n);
	STORE(done, n);
	gs_chan_close(never);
	return NULL;
}

/* a program whose fibers all wait: sysmon, too, sleeps */
TEST(rests)
{
	pthread_t t;

#ifdef UT_TSAN
	SKIP(return, "under TSan no wait is long");
#endif
	never = gs_chan_new(0, 0);
	ASSERT_EQ(0, pthread_create(&t, NULL, look_on, NULL));
	RUN(wait_for_it, NULL);
	pthread_join(t, NULL);
	EXPECT_LE(done, 20);
	gs_chan_unref(never);
}

static void pause_and_block(void *arg)
{
	/* sysmon has come to rest when all wait for long enough; then it is needed */
	for (int i = 0; i < 2; i++) {
		gs_sleep(250 * MS);
		STORE(done, 0);
		block_rounds(arg);
	}
}

/* after a rest it is there again */
TEST(soon_after_rest)
{
	int64_t before = 1;

	ut_set_procs(1);
	ASSERT_EQ(0, pipe(fds));
	RUN(pause_and_block, &before);
}

TEST_HARNESS_MAIN
