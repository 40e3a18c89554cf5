// SPDX-License-Identifier: GPL-2.0
/*
 * What gdb sees of interrupted fibers, in a running program and in a core file: their own
 * calls, below those of the runtime that has interrupted them.
 *
 * Where there is no gdb (guests) the tests skip; once is enough, so they do, too, but for one
 * number of procs.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "interrupts.h"

static int stop;  /* atomic */
static int begun; /* atomic */

static void __attribute__((noinline)) victim_inner(int *on)
{
	while (!LOAD(*on))
		;
	__asm__ volatile("" ::: "memory");
}

static void __attribute__((noinline)) victim_outer(void *arg)
{
	ADD(begun, 1);
	victim_inner(arg);
	__asm__ volatile("" ::: "memory");
}

/* gdb stops here, when fibers have been interrupted. */
static void __attribute__((noinline)) reached(void)
{
	__asm__ volatile("" ::: "memory");
}

static void *wait_for_freezes(void *arg)
{
	const struct timespec ts = {.tv_nsec = 1000000};

	/* all are in their loops then, and all but one at most are interrupted */
	while (LOAD(begun) < 3 || stats().freezes < 3)
		nanosleep(&ts, NULL);
	if (arg)
		abort();
	reached();
	return NULL;
}

static void debugged_main(void *arg)
{
	for (int i = 0; i < 2; i++)
		gs_go(victim_outer, &stop);
	ADD(begun, 1);
	victim_inner(&stop);
}

/* A line a step, as it is written. */
#ifdef __clang__
#define AS_WRITTEN __attribute__((noinline, optnone))
#else
#define AS_WRITTEN __attribute__((noinline, optimize("O0")))
#endif

static int step_pipe[2];
static gs_chan *step_chan;

/* It is sent to when that read(2) has lost its proc to the other fiber. */
static void AS_WRITTEN step_fiber(void *arg)
{
	long v = 4711;
	char c;

	if (read(step_pipe[0], &c, 1) != 1)
		_exit(2);
	gs_chan_send(step_chan, &v);
	fprintf(stderr, "sent\n");
	ADD(begun, 1);
}

static void step_receiver(void *arg)
{
	long v = 0;

	gs_chan_recv(step_chan, &v);
	fprintf(stderr, "received %ld\n", v);
	ADD(begun, 1);
}

static void step_main(void *arg)
{
	const struct timespec ts = {.tv_nsec = 1000000};
	int64_t end;

	step_chan = gs_chan_new(sizeof(long), 0);
	if (!step_chan || pipe(step_pipe))
		_exit(2);
	gs_go(step_receiver, NULL);
	gs_go(step_fiber, NULL);
	/* its turn, and ours again when it sleeps in its read */
	while (!stats().handoffs)
		gs_yield();
	nanosleep(&ts, NULL);
	if (write(step_pipe[1], "x", 1) != 1)
		_exit(2);
	/* a hog for ten slices; then the others have theirs */
	for (end = gs_now() + 10 * MS; gs_now() < end;)
		;
	while (LOAD(begun) < 2)
		gs_yield();
}

/* The program that gdb runs is this one, too. */
static void __attribute__((constructor)) debugged(void)
{
	const char *mode = getenv("GSCHED_TEST_DEBUGGED"), *dies = getenv("GSCHED_TEST_DIES");
	pthread_t t;

	if (!mode)
		return;
	unsetenv("GSCHED_TEST_DEBUGGED");
	ut_set_procs(1);
	setenv("GSCHED_SLICE", "1000", 1);
	if (!strcmp(mode, "steps")) {
		gs_run(step_main, NULL);
		_exit(0);
	}
	setenv("GSCHED_TLS", mode, 1);
	if (!strcmp(mode, "frozen"))
		pthread_create(&t, NULL, wait_for_freezes, (void *)dies);
	gs_run(debugged_main, NULL);
	_exit(0);
}

static char said[1 << 20];

/* gdb's output into said; false: it could not be run. */
static bool gdb(const char *args)
{
	char self[512], line[2048];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t len = 0, more;
	FILE *f;

	if (n < 0)
		return false;
	self[n] = '\0';
	snprintf(line, sizeof(line),
		 "timeout -k 5 %d gdb -nx -batch -iex 'set debuginfod enabled off' "
		 "-ex 'set pagination off' -ex 'set confirm off' %s '%s' %s 2>&1 </dev/null",
		 120, "", self, args);
	f = popen(line, "r");
	while (f && (more = fread(said + len, 1, sizeof(said) - 1 - len, f)) > 0)
		len += more;
	said[len] = '\0';
	return f && pclose(f) >= 0;
}

/*
 * How many backtraces lead from the trampoline to a victim and to where fibers begin. gdb
 * takes the trampoline for what it is like, a signal frame.
 */
static int interrupted_traces(void)
{
	int n = 0;

	for (char *at = said; (at = strstr(at, "<signal handler called>")); at++) {
		char *end = strstr(at + 1, "<signal handler called>"),
		     *inner = strstr(at, "victim_inner");
		char *main = strstr(at, "gs_fiber_main");

		n += inner && main && inner < main && (!end || main < end);
	}
	return n;
}

#define NEEDS_GDB                                                                                  \
	do {                                                                                       \
		const char *ut_procs = getenv("GSCHED_MAXPROCS");                                  \
		if (system("command -v gdb >/dev/null 2>&1"))                                      \
			SKIP(return, "no gdb here");                                               \
		if (ut_procs && strcmp(ut_procs, "1"))                                             \
			SKIP(return, "only with one proc");                                        \
		if (system("timeout -k 5 60 gdb -nx -batch -ex run --args true 2>&1 </dev/null | " \
			   "grep -q 'exited normally'"))                                           \
			SKIP(return, "gdb may run no program here");                               \
	} while (0)

#if defined(UT_ASAN) || defined(UT_TSAN)
#define NEEDS_PLAIN SKIP(return, "not under a sanitizer: gdb stops at what that does")
#else
#define NEEDS_PLAIN (void)0
#endif

#define EXPECT_TRACES(least)                                                                       \
	EXPECT_LE(least, interrupted_traces())                                                     \
	{                                                                                          \
		TH_LOG("gdb said:\n%s", said);                                                     \
	}

/* frozen fibers in a running program: the calls on their threads */
TEST(frozen)
{
	NEEDS_PLAIN;
	NEEDS_GDB;
	ASSERT_TRUE(gdb("-ex 'set environment GSCHED_TEST_DEBUGGED=frozen' "
			"-ex 'handle SIGURG nostop noprint pass' -ex 'break reached' -ex run "
			"-ex 'thread apply all bt' -ex kill"));
	EXPECT_TRACES(2);
	/* there are three fibers */
	EXPECT_GE(3, interrupted_traces());
}

static void dies(void *arg)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	if (chdir(arg) || setrlimit(RLIMIT_CORE, &unlimited))
		_exit(1);
	setenv("GSCHED_TEST_DEBUGGED", "frozen", 1);
	setenv("GSCHED_TEST_DIES", "1", 1);
	execl("/proc/self/exe", "gdb", NULL);
	_exit(1);
}

/* the same in the core file of a program that has died */
TEST(core)
{
	char dir[] = "/tmp/gsched-gdb.XXXXXX", pattern[256] = "", args[512];
	struct ut_child *c;
	FILE *f;

	NEEDS_PLAIN;
	NEEDS_GDB;
	f = fopen("/proc/sys/kernel/core_pattern", "r");
	if (f && fgets(pattern, sizeof(pattern), f) && !strchr("|/", pattern[0]))
		pattern[strcspn(pattern, "\n")] = '\0';
	else
		SKIP(return, "core files go elsewhere here");
	fclose(f);
	ASSERT_NE(NULL, mkdtemp(dir));
	c = ut_child_run(dies, dir, 60 * SEC);
	if (c->status == 1) {
		rmdir(dir);
		SKIP(return, "core files are not allowed here");
	}
	EXPECT_EQ(128 + SIGABRT, c->status);
	snprintf(args, sizeof(args), "%s/* -ex 'thread apply all bt'", dir);
	EXPECT_TRUE(gdb(args));
	EXPECT_TRACES(2);
	snprintf(args, sizeof(args), "rm -r %s", dir);
	EXPECT_EQ(0, system(args));
}

/* a fiber that is about to travel: from the scheduler down to where it was interrupted */
TEST(travel)
{
	NEEDS_PLAIN;
	NEEDS_GDB;
	/* the first may be interrupted before they are in their loops */
	ASSERT_TRUE(gdb("-ex 'set environment GSCHED_TEST_DEBUGGED=travel' "
			"-ex 'handle SIGURG nostop noprint pass' -ex 'break gs_sched_travel' "
			"-ex run -ex bt -ex continue -ex bt -ex continue -ex bt "
			"-ex continue -ex bt -ex kill"));
	EXPECT_TRACES(2);
}

/*
 * Over a read(2) that loses its proc, into gs_chan_send, and out again: nothing is lost. On
 * posix a slice's signal may come just when gdb steps, and it stops in the handler: then it
 * tries once more. When the process ends gdb may still ask for a thread that is gone.
 */
TEST(stepping)
{
	const char *over, *in = NULL;

	NEEDS_PLAIN;
	NEEDS_GDB;
	for (int i = 0; i < 10 && !in; i++) {
		ASSERT_TRUE(gdb("-ex 'set environment GSCHED_TEST_DEBUGGED=steps' "
				"-ex 'handle SIGURG nostop noprint pass' -ex 'break step_fiber' "
				"-ex run -ex next -ex next -ex next -ex step -ex bt -ex continue"));
		EXPECT_TRUE(strstr(said, "received 4711") && strstr(said, "sent\n") &&
			    (strstr(said, "exited normally") ||
			     strstr(said, "get registers: No such process")))
		{
			TH_LOG("gdb said:\n%s", said);
			return;
		}
		over = strstr(said, "gs_chan_send(step_chan, &v);");
		in = over ? strstr(over, "gs_chan_send (c=") : NULL;
		in = in ? strstr(in, "step_fiber") : NULL;
	}
	EXPECT_NE(NULL, in)
	{
		TH_LOG("gdb said:\n%s", said);
	}
}

TEST_HARNESS_MAIN
