// SPDX-License-Identifier: GPL-2.0
/* Bad environment, no memory, no threads, no permission: a clear line, an errno, no crash. */
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "nobody.h"
#include "util.h"

static long done; /* atomic */

static void count(void *arg)
{
	ADD(done, 1);
}

static void never(void *arg)
{
	_exit(99);
}

struct env {
	const char *name, *value;
	int error; /* what gs_run and gs_go return */
};

/* Everything of the API when the runtime cannot start. */
static void all_calls(void *arg)
{
	const struct env *e = arg;
	struct gs_attr attr = {0};
	struct gs_stats s;

	if (setenv(e->name, e->value, 1))
		_exit(98);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gs_run(never, NULL), e->error);
		CHECK_EQ(gs_go(never, NULL), e->error);
		CHECK_EQ(gs_go_copy(never, "x", 1), e->error);
		CHECK_EQ(gs_go_attr(&attr, never, NULL), e->error);
		CHECK_EQ(gs_stats(&s), e->error);
		CHECK_EQ(s.procs, 0u);
		CHECK_EQ(gs_max_procs(3), 0);
		gs_set_max_threads(50);
		CHECK_EQ(gs_num_fibers(), 0u);
		CHECK_EQ(gs_id(), 0u);
		CHECK(gs_backend() != NULL);
		gs_dump(2);
		gs_yield();
		gs_sleep(1000);
		gs_nopreempt_begin();
		gs_nopreempt_end();
		gs_blocking_begin();
		gs_blocking_end();
	}
	_exit(ut_failed ? 1 : 0);
}

static void expect_refused(struct __test_metadata *_metadata, const char *name, const char *value,
			   int error)
{
	struct env e = {name, value, error};
	struct ut_child *c = ut_child_run(all_calls, &e, 20 * SEC);

	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s=%s: status %d, stderr:\n%s", name, value, c->status, c->err);
	}
	/* one line, with the variable's name and the value */
	EXPECT_SAYS(c, name);
	EXPECT_SAYS(c, value);
	EXPECT_SAYS(c, "gsched: ");
	EXPECT_EQ(1, ut_occurs(c->err, "\n"))
	{
		TH_LOG("%s=%s said:\n%s", name, value, c->err);
	}
	free(c);
}

/* an unknown backend: -EINVAL from gs_run and gs_go, one line that names it */
TEST(backend_unknown)
{
	expect_refused(_metadata, "GSCHED_BACKEND", "windows", -EINVAL);
	expect_refused(_metadata, "GSCHED_BACKEND", "POSIX", -EINVAL);
	expect_refused(_metadata, "GSCHED_BACKEND", "kmod,posix", -EINVAL);
}

/* GSCHED_MAXPROCS: garbage, zero, negative, too long for a number */
TEST(maxprocs_bad)
{
	static const char *const bad[] = {"four",
					  "0",
					  "-1",
					  "-2147483648",
					  "4x",
					  "4 ",
					  "0x4",
					  "1.5",
					  "1e3",
					  " ",
					  "2147483648000",
					  "99999999999999999999"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, "GSCHED_MAXPROCS", bad[i], -EINVAL);
}

/* GSCHED_STACK: not a number, too small, too large */
TEST(stack_bad)
{
	static const char *const bad[] = {"big",   "0",		 "-4096", "1",
					  "16383", "1073741825", "64k",	  "99999999999999999999"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, "GSCHED_STACK", bad[i], -EINVAL);
}

/* GSCHED_MAXTHREADS: the same */
TEST(maxthreads_bad)
{
	static const char *const bad[] = {"many", "0", "-1", "10 000"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, "GSCHED_MAXTHREADS", bad[i], -EINVAL);
}

static void runs_with(void *arg)
{
	const struct env *e = arg;

	setenv(e->name, e->value, 1);
	CHECK_EQ(gs_run(count, NULL), 0);
	CHECK_EQ(LOAD(done), 1);
	if (e->error)
		CHECK_EQ(gs_max_procs(0), e->error);
	_exit(ut_failed ? 1 : 0);
}

static struct ut_child *runs(struct __test_metadata *_metadata, const char *name, const char *value,
			     int procs)
{
	struct env e = {name, value, procs};
	struct ut_child *c = ut_child_run(runs_with, &e, 20 * SEC);

	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s=%s: status %d, stderr:\n%s", name, value, c->status, c->err);
	}
	return c;
}

/* values at the edge of what is good: an empty one is none, too many procs are the most */
TEST(edges_good)
{
	runs(_metadata, "GSCHED_MAXPROCS", "1", 1);
	runs(_metadata, "GSCHED_MAXPROCS", "256", 256);
	runs(_metadata, "GSCHED_MAXPROCS", "257", 256);
	runs(_metadata, "GSCHED_MAXPROCS", "1000000", 256);
	runs(_metadata, "GSCHED_MAXPROCS", "", 0);
	runs(_metadata, "GSCHED_STACK", "", 0);
	runs(_metadata, "GSCHED_STACK", "65537", 0);
	runs(_metadata, "GSCHED_MAXTHREADS", "", 0);
	runs(_metadata, "GSCHED_BACKEND", "", 0);
	runs(_metadata, "GSCHED_BACKEND", "posix", 0);
	runs(_metadata, "GSCHED_BACKEND", "auto", 0);
}

/* GSCHED_DEBUG misspelt: said, and the program runs */
TEST(debug_bad)
{
	static const char *const bad[] = {"nonsense", "schedtrace=x", "schedtrace=-1", "backend=,x",
					  "schedtrace=99999999999"};
	char long_one[2000];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ut_child *c = runs(_metadata, "GSCHED_DEBUG", bad[i], 0);

		EXPECT_SAYS(c, "GSCHED_DEBUG");
		EXPECT_SAYS(c, bad[i]);
		free(c);
	}
	memset(long_one, 'a', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = 0;
	EXPECT_SAYS(runs(_metadata, "GSCHED_DEBUG", long_one, 0), "GSCHED_DEBUG");
	/* help lists the words */
	EXPECT_SAYS(runs(_metadata, "GSCHED_DEBUG", "help", 0), "schedtrace");
}

/* GSCHED_BACKEND=kmod without the module */
TEST(kmod_missing)
{
	if (access("/dev/gsched", F_OK) == 0)
		SKIP(return, "the module is loaded");
	expect_refused(_metadata, "GSCHED_BACKEND", "kmod", -ENOENT);
}

/* ------------------------------------------------------------------------- */

#if !defined(UT_ASAN) && !defined(UT_TSAN)
static long alive;	/* atomic */
static gs_chan *let_go; /* closed: they may end */

static void hold(void *arg)
{
	volatile char b[100];

	b[0] = 1;
	ADD(alive, 1);
	gs_chan_recv(let_go, NULL);
	b[99] = b[0];
	ADD(done, 1);
}

static long vsize(void)
{
	long size = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%ld", &size) != 1)
		abort();
	fclose(f);
	return size * 4096;
}

static unsigned standbys(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.standbys;
}

static void no_memory(void *arg)
{
	struct gs_attr attr = {.stack_size = 1 << 30};
	struct rlimit old, lim;
	int r = 0, copied;
	long n = 0;

	let_go = gs_chan_new(0, 0);
	/* the threads the runtime wants to have are there, or most of them */
	UNTIL(standbys() >= 2);
	gs_sleep(20 * MS);
	getrlimit(RLIMIT_AS, &old);
	lim = old;
	lim.rlim_cur = (rlim_t)vsize() + (600 << 20);
	if (setrlimit(RLIMIT_AS, &lim))
		_exit(97);
	/* one that is larger than all there is */
	CHECK_EQ(gs_go_attr(&attr, never, NULL), -ENOMEM);
	do {
		while (n < 100000 && (r = gs_go(hold, NULL)) == 0)
			n++;
		/* a thread that begins takes more than it keeps: there may be room again */
		copied = gs_go_copy(hold, "abc", 3);
		n += !copied;
	} while (!copied && n < 100000);
	CHECK_EQ(r, -ENOMEM);
	CHECK_EQ(copied, -ENOMEM);
	CHECK_GT(n, 1000);
	CHECK_EQ(gs_num_fibers(), n + 1);
	UNTIL(LOAD(alive) == n);
	/* those that live go on, and their stacks serve again */
	gs_chan_close(let_go);
	UNTIL(LOAD(done) == n);
	UNTIL(gs_num_fibers() == 1);
	STORE(done, 0);
	/* each proc keeps up to 64 for itself, and threads made meanwhile have taken some room */
	n = (n - 64 * gs_max_procs(0)) / 2;
	for (long i = 0; i < n; i++)
		if (!CHECK_EQ(gs_go(count, NULL), 0))
			return;
	UNTIL(LOAD(done) == n);
	setrlimit(RLIMIT_AS, &old);
	attr.stack_size = 64 << 20;
	CHECK_EQ(gs_go_attr(&attr, count, NULL), 0);
	UNTIL(LOAD(done) == n + 1);
}

static void no_memory_child(void *arg)
{
	if (gs_run(no_memory, NULL))
		_exit(96);
	_exit(ut_failed ? 1 : 0);
}

/* no address space for another stack: -ENOMEM, and the program goes on */
TEST(no_memory_for_fibers)
{
	struct ut_child *c = ut_child_run(no_memory_child, NULL, 60 * SEC);

	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
}

static void no_memory_start_child(void *arg)
{
	struct rlimit lim;
	int r;

	getrlimit(RLIMIT_AS, &lim);
	lim.rlim_cur = (rlim_t)vsize() + (long)arg;
	if (setrlimit(RLIMIT_AS, &lim))
		_exit(97);
	r = gs_run(count, NULL);
	_exit(r == 0 ? 0 : r == -ENOMEM || r == -EAGAIN ? 1 : 2);
}

/* no address space for the runtime itself: an errno and a line, at any point of the start */
TEST(no_memory_to_start)
{
	int failed = 0, succeeded = 0;

	for (long bytes = 0; bytes < 64 << 20; bytes += bytes < 4 << 20 ? 100 << 10 : 4 << 20) {
		struct ut_child *c = ut_child_run(no_memory_start_child, (void *)bytes, 20 * SEC);

		EXPECT_FALSE(c->timed_out)
		{
			TH_LOG("hangs with %ld bytes: %s", bytes, c->err);
		}
		EXPECT_TRUE(c->status == 0 || c->status == 1)
		{
			TH_LOG("with %ld bytes: status %d: %s", bytes, c->status, c->err);
		}
		failed += c->status == 1;
		succeeded += c->status == 0;
		free(c);
	}
	EXPECT_GT(failed, 0);
	EXPECT_GT(succeeded, 0);
}
#endif

/* ------------------------------------------------------------------------- */

/* another process of that user: with it the limit of 1 is reached */
static pid_t other_process(void)
{
	int p[2];
	pid_t pid;
	char c;

	if (pipe(p))
		abort();
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		become_nobody();
		close(p[1]);
		for (;;)
			pause();
	}
	/* until it is that user's, or has ended */
	close(p[1]);
	while (read(p[0], &c, 1) < 0 && errno == EINTR)
		;
	close(p[0]);
	return pid;
}

static void no_threads_child(void *arg)
{
	become_nobody();
	if (limit_threads(1))
		_exit(97);
	CHECK_EQ(gs_run(never, NULL), -EAGAIN);
	CHECK_EQ(gs_go(never, NULL), -EAGAIN);
	/* threads there are now; what failed to start stays so, and nothing comes after it */
	if (limit_threads(RLIM_INFINITY))
		_exit(97);
	gs_sleep(100 * MS);
	CHECK_EQ(gs_run(never, NULL), -EAGAIN);
	_exit(ut_failed ? 1 : 0);
}

/* no thread can be made: -EAGAIN and a line */
TEST(no_threads_to_start)
{
	struct ut_child *c;
	pid_t other;

	if (getuid())
		SKIP(return, "needs root, to become nobody");
	other = other_process();
	c = ut_child_run(no_threads_child, NULL, 20 * SEC);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	if (c->status == 77)
		SKIP(return, "cannot become nobody here");
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_SAYS(c, "gsched: cannot start the runtime's threads");
}

static void few_threads_child(void *arg)
{
	/*
	 * Let in one thread after the other, until all of the start succeeds: every
	 * point of failure is met. The limit counts all of this user's threads.
	 */
	int r;

	become_nobody();
	if (limit_threads((rlim_t)(long)arg))
		_exit(97);
	r = gs_run(count, NULL);
	if (limit_threads(RLIM_INFINITY) && limit_threads(1000))
		_exit(97);
	/* whoever tries again by himself has time to */
	gs_sleep(50 * MS);
	if (r == 0)
		CHECK_EQ(LOAD(done), 1);
	if (r)
		CHECK_EQ(r, -EAGAIN);
	_exit(ut_failed ? 2 : r ? 1 : 0);
}

/* threads run out in the middle of the start: it works or fails, and never hangs or crashes */
TEST(few_threads_to_start)
{
	int failed = 0, succeeded = 0;

	if (getuid())
		SKIP(return, "needs root, to become nobody");
	for (long n = 1; n < 60; n++) {
		struct ut_child *c = ut_child_run(few_threads_child, (void *)n, 20 * SEC);

		if (c->status == 77)
			SKIP(return, "cannot become nobody here");
		EXPECT_FALSE(c->timed_out);
		EXPECT_TRUE(c->status == 0 || c->status == 1)
		{
			TH_LOG("limit %ld: status %d: %s", n, c->status, c->err);
		}
		failed += c->status == 1;
		succeeded += c->status == 0;
		free(c);
		if (succeeded >= 4)
			break;
	}
	EXPECT_GT(failed, 0);
	EXPECT_GT(succeeded, 0);
}

static int pipes[2];
static long blocked; /* atomic */

static void block(void *arg)
{
	char c;

	gs_blocking_begin();
	ADD(blocked, 1);
	CHECK_EQ(read(pipes[0], &c, 1), 1);
	gs_blocking_end();
	ADD(done, 1);
}

static void *release(void *arg)
{
	long seen = -1;

	/* until no more get in, and the reason was said; then let all through */
	while (seen != LOAD(blocked)) {
		seen = LOAD(blocked);
		gs_sleep(50 * MS);
	}
	UNTIL(lseek(2, 0, SEEK_END) > 0);
	CHECK_LT(seen, 20);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(write(pipes[1], "x", 1), 1);
	return NULL;
}

static void threads_run_out(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, release, NULL), 0);
	if (limit_threads(1))
		_exit(97);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gs_go(block, NULL), 0);
	UNTIL(LOAD(done) == 20);
	pthread_join(t, NULL);
}

static void threads_run_out_child(void *arg)
{
	become_nobody();
	ut_set_procs(1);
	CHECK_EQ(pipe(pipes), 0);
	if (gs_run(threads_run_out, NULL))
		_exit(96);
	_exit(ut_failed ? 1 : 0);
}

/* threads run out later: blocked fibers wait for each other, it is said once, all end */
TEST(threads_run_out_later)
{
	struct ut_child *c;

	if (getuid())
		SKIP(return, "needs root, to become nobody");
	c = ut_child_run(threads_run_out_child, NULL, 40 * SEC);
	if (c->status == 77)
		SKIP(return, "cannot become nobody here");
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_EQ(1, ut_occurs(c->err, "gsched: cannot make a thread"))
	{
		TH_LOG("%s", c->err);
	}
}

static void denied_child(void *arg)
{
	become_nobody();
	setenv("GSCHED_BACKEND", arg ? "kmod" : "auto", 1);
	if (arg) {
		CHECK_EQ(gs_run(never, NULL), -EACCES);
	} else {
		CHECK_EQ(gs_run(count, NULL), 0);
		CHECK_EQ(LOAD(done), 1);
		CHECK(strcmp(gs_backend(), "posix") == 0);
	}
	_exit(ut_failed ? 1 : 0);
}

/* no permission for /dev/gsched: a line, and the posix backend; an error if kmod was asked for */
TEST(device_denied)
{
	struct ut_child *c[2];
	struct stat st;

	if (stat("/dev/gsched", &st))
		SKIP(return, "no /dev/gsched here");
	if (getuid())
		SKIP(return, "needs root, to become nobody");
	ASSERT_EQ(0, chmod("/dev/gsched", 0));
	for (long i = 0; i < 2; i++)
		c[i] = ut_child_run(denied_child, (void *)i, 20 * SEC);
	ASSERT_EQ(0, chmod("/dev/gsched", st.st_mode & 07777));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, c[i]->status)
		{
			TH_LOG("%s", c[i]->err);
		}
		EXPECT_SAYS(c[i], "permission denied");
		EXPECT_EQ(1, ut_occurs(c[i]->err, "\n"));
	}
	EXPECT_SAYS(c[0], "using the posix backend");
}

TEST_HARNESS_MAIN
