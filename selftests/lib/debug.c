// SPDX-License-Identifier: GPL-2.0
/* gs_stats, gs_dump, schedtrace and what GSCHED_DEBUG=backend=1 says. */
#include <pthread.h>

#include "dump.h"
#include "util.h"

#define NAMED __attribute__((noinline, visibility("default")))

static long done, alive; /* atomic */
static int stop;	 /* atomic */

static void hold(void *arg)
{
	ADD(alive, 1);
	while (!LOAD(stop))
		gs_sleep(MS);
	ADD(done, 1);
}

static void check_stats(void *arg)
{
	struct gs_stats a, b;

	memset(&a, 0xff, sizeof(a));
	/* else a page fault may take its proc away */
	gs_nopreempt_begin();
	CHECK_EQ(gs_stats(&a), 0);
	gs_nopreempt_end();
	CHECK(strcmp(a.backend, gs_backend()) == 0);
	CHECK_EQ(a.procs, (uint32_t)gs_max_procs(0));
	CHECK_LT(a.idle_procs, a.procs); /* this fiber holds one */
	CHECK_GE(a.workers, 1u);
	CHECK_LE(a.standbys, a.workers);
	CHECK_LE(a.spinning, a.procs);
	CHECK_EQ(a.fibers, 1u);
	CHECK_EQ(a.queued, 0u);
	CHECK_EQ(a._pad, 0u);
	for (size_t i = 0; i < ARRAY_SIZE(a._reserved); i++)
		CHECK_EQ(a._reserved[i], 0u);
	for (int i = 0; i < 100; i++)
		gs_go(hold, NULL);
	gs_stats(&b);
	CHECK_EQ(b.fibers, 101u);
	UNTIL(LOAD(alive) == 100);
	for (int i = 0; i < 10; i++)
		gs_sleep(MS);
	gs_stats(&b);
	CHECK_GE(b.switches, a.switches + 110);
	/* never backwards */
	CHECK_GE(b.grants, a.grants);
	CHECK_GE(b.blocks, a.blocks);
	CHECK_GE(b.returns, a.returns);
	CHECK_GE(b.depth_blocks, a.depth_blocks);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* gs_stats: each field is what it says */
TEST(stats)
{
	RUN(check_stats, NULL);
}

static bool all_idle(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.idle_procs == s.procs && !s.spinning && !s.queued && s.standbys == s.workers;
}

static bool two_standbys(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.standbys >= 2;
}

/* when all is done every proc is idle, every worker a stand-by, nobody spins; from a thread */
TEST(stats_at_rest)
{
	struct gs_stats s;

	RUN(check_stats, NULL);
	/* two stand-bys are kept: the spawner makes them in its own time */
	UNTIL(two_standbys() && all_idle());
	gs_stats(&s);
	EXPECT_EQ(0, s.fibers);
	EXPECT_GE(s.workers, 2);
	/* no more than the work needed were made, and some for those on their way */
	EXPECT_LE(s.workers, 2 * s.procs + 16 + s.blocks + s.freezes);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

NAMED void ut_marker_asleep(void)
{
	ADD(alive, 1);
	while (!LOAD(stop))
		gs_sleep(3600 * SEC);
	__asm__ volatile("");
}

static void asleep(void *arg)
{
	ut_marker_asleep();
}

static void go_named(const char *name, void (*fn)(void *), void *arg)
{
	struct gs_attr attr = {.name = name};

	CHECK_EQ(gs_go_attr(&attr, fn, arg), 0);
}

static void count(void *arg)
{
	ADD(done, 1);
}

static bool has(const char *text, const char *what)
{
	if (strstr(text, what))
		return true;
	fprintf(stderr, "no \"%s\" in:\n%.3000s\n", what, text);
	return false;
}

static void check_dump(void *arg)
{
	static const char longest[] = "0123456789012345678901234567890"; /* 31 */
	char name[100], *text;

	/* recycled stacks have names as well, and no one else's */
	for (int i = 0; i < 20; i++)
		go_named("forgotten", count, NULL);
	UNTIL(LOAD(done) == 20);
	UNTIL(gs_num_fibers() == 1);
	go_named("sleepy", asleep, NULL);
	go_named(longest, asleep, NULL);
	go_named("tooolong-xxxxxxxxxxxxxxxxxxxxxx-cut-here", asleep, NULL);
	go_named("", asleep, NULL);
	gs_go(asleep, NULL);
	UNTIL(ut_waiting("sleep", NULL) == 5);
	text = ut_dump();
	CHECK_EQ(ut_occurs(text, "\nfiber "), 6);
	CHECK_EQ(ut_occurs(text, "[sleep]"), 5);
	CHECK_EQ(ut_occurs(text, "[running]"), 1);
	CHECK(has(text, " sleepy\n"));
	CHECK(has(text, longest));
	CHECK(has(text, "tooolong-xxxxxxxxxxxxxxxxxxxxxx\n"));
	CHECK(!strstr(text, "cut-here"));
	CHECK(!strstr(text, "forgotten"));
	snprintf(name, sizeof(name), "fiber %llu [running]", (unsigned long long)gs_id());
	CHECK(has(text, name));
	/* functions by name where the program exports them, else addresses */
	if (strstr(text, "ut_marker"))
		CHECK_EQ(ut_occurs(text, "ut_marker_asleep"), 5);
	else
		CHECK_GE(ut_occurs(text, "0x"), 10);
	STORE(stop, 1);
}

/* gs_dump: every fiber with id, state, name, wait reason and backtrace */
TEST(dump)
{
	RUN(check_dump, NULL);
	/* and from a thread, with the sleepers only */
	EXPECT_EQ(5, ut_occurs(ut_dump(), "[sleep]"));
}

/* nothing to dump: no runtime, then no fiber */
TEST(dump_nothing)
{
	EXPECT_EQ(0, ut_occurs(ut_dump(), "fiber "));
	RUN(count, NULL);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_occurs(ut_dump(), "\nfiber "));
	gs_dump(-1); /* a bad descriptor is nobody's death */
}

static void queued(void *arg)
{
	ADD(done, 1);
}

static void check_queued(void *arg)
{
	struct gs_stats s;
	char *text;

	/* else a page fault gives the proc to another thread, which runs some */
	gs_nopreempt_begin();
	for (int i = 0; i < 30; i++)
		gs_go(queued, NULL);
	gs_stats(&s);
	text = ut_dump();
	gs_nopreempt_end();
	CHECK_EQ(s.queued, 30u);
	CHECK_EQ(ut_occurs(text, "[runnable]"), 30);
	UNTIL(LOAD(done) == 30);
}

/* fibers that have not run yet are runnable, and counted as queued */
TEST(dump_runnable)
{
	ut_set_procs(1);
	RUN(check_queued, NULL);
}

static void busy(void *arg)
{
	while (!LOAD(stop)) {
		if (gs_id() % 3 == 0)
			gs_sleep(10000);
		else
			gs_yield();
		if (gs_id() % 7 == 0)
			gs_go(count, NULL);
	}
}

static void *dump_loop(void *arg)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	for (long i = 0; i < ut_count(80, 5); i++) {
		struct gs_stats s;

		gs_dump(fd);
		gs_stats(&s);
	}
	close(fd);
	ADD(alive, 1);
	return NULL;
}

static void dumped(void *arg)
{
	pthread_t t[2];

	for (int i = 0; i < 40; i++)
		gs_go(busy, NULL);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, dump_loop, NULL), 0);
	UNTIL_NS(LOAD(alive) == 2, 60 * SEC);
	STORE(stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	UNTIL(gs_num_fibers() == 1);
}

/* two threads dump and count while fibers switch, start and end */
TEST(dump_under_load)
{
	RUN(dumped, NULL);
}

/* ------------------------------------------------------------------------- */

/* So many lines of schedtrace are on stderr, which ut_child_run made a file. */
static int sched_lines(void)
{
	static char text[1 << 18];
	size_t len = 0;
	ssize_t n;

	while ((n = pread(2, text + len, sizeof(text) - 1 - len, (off_t)len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return ut_occurs(text, "SCHED ");
}

static void for_a_while(void *arg)
{
	int seen = sched_lines();

	for (int i = 0; i < 10; i++)
		gs_go(hold, NULL);
	gs_sleep(550 * MS);
	/* the poller may be late: one line may be of the time before, the next one is not */
	if (strstr(getenv("GSCHED_DEBUG"), "schedtrace"))
		UNTIL(sched_lines() >= seen + 2);
}

static void run_traced(void *arg)
{
	setenv("GSCHED_DEBUG", arg, 1);
	_exit(gs_run(for_a_while, NULL) || LOAD(ut_failed) ? 1 : 0);
}

/* GSCHED_DEBUG=schedtrace=50: a line every 50 ms, in the manner of Go's */
TEST(schedtrace)
{
	struct ut_child *c = ut_child_run(run_traced, "schedtrace=50", UT_WAIT * SEC);
	int lines = ut_occurs(c->err, "SCHED "), good = 0, working = 0;

	EXPECT_EQ(0, c->status);
	EXPECT_GE(lines, 2);
	EXPECT_LE(lines, c->took / (50 * MS) + 2);
	for (char *s = c->err; (s = strstr(s, "SCHED ")); s++) {
		long long ms, fibers;
		unsigned procs, idle, threads;

		if (sscanf(s, "SCHED %lldms: gomaxprocs=%u idleprocs=%u threads=%u", &ms, &procs,
			   &idle, &threads) == 4 &&
		    procs > 0 && idle <= procs) {
			good++;
			/* the first lines may come before the first worker does */
			working += threads > 0;
		}
		s = strstr(s, "fibers=") ?: s;
		if (sscanf(s, "fibers=%lld", &fibers) == 1)
			EXPECT_LE(fibers, 11);
	}
	EXPECT_EQ(lines, good)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_GE(working, 1);
}

/* without it, silence */
TEST(silent)
{
	struct ut_child *c = ut_child_run(run_traced, "", UT_WAIT * SEC);

	EXPECT_EQ(0, c->status);
	EXPECT_EQ(0, c->len)
	{
		TH_LOG("%s", c->err);
	}
}

/* GSCHED_DEBUG=backend=1 says which one, and so does gs_backend */
TEST(backend_said)
{
	struct ut_child *c = ut_child_run(run_traced, "backend=1", UT_WAIT * SEC);

	EXPECT_EQ(0, c->status);
	EXPECT_SAYS(c, "gsched: backend ");
	EXPECT_TRUE(strcmp(gs_backend(), "posix") == 0 || strcmp(gs_backend(), "kmod") == 0);
	EXPECT_SAYS(c, gs_backend());
}

TEST_HARNESS_MAIN
