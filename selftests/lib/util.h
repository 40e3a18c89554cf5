/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the library's selftests share: checks that work inside fibers, bounded
 * waiting, and running a piece of a test in a child process of its own.
 *
 * The harness runs each TEST in a forked child; the runtime is started there. Its
 * EXPECT_* and ASSERT_* belong to that child's first thread. In fibers and other
 * threads use CHECK*: they count failures atomically and print file and line; the
 * test looks at the count at its end (RUN does so).
 *
 * Environment: GSCHED_TEST_SCALE=n divides iteration counts by n and multiplies time
 * limits by it (at most 10), for the emulated guest.
 */
#ifndef GS_SELFTESTS_UTIL_H
#define GS_SELFTESTS_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gsched/runtime.h>
#include <gsched/time.h>

/* The harness's own macros and functions need these, here and where they expand. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#ifdef __clang__
#pragma clang diagnostic ignored "-Wempty-body"
#endif
#include "kselftest_harness.h"

/* The harness's 30 s are short for the emulated guest; TEST reads the macro late. */
#undef TEST_TIMEOUT_DEFAULT
#ifndef UT_TIMEOUT
#define UT_TIMEOUT 180
#endif
#define TEST_TIMEOUT_DEFAULT UT_TIMEOUT

/* seconds UNTIL waits: a condition that comes true costs nothing, however slow the machine */
#ifndef UT_WAIT
#define UT_WAIT 60
#endif

#define UT_UNUSED __attribute__((unused))

#if defined(__SANITIZE_THREAD__)
#define UT_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define UT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UT_TSAN 1
#elif __has_feature(address_sanitizer)
#define UT_ASAN 1
#endif
#endif

#define MS INT64_C(1000000)
#define SEC INT64_C(1000000000)

/* A shell that starts a program behind it has these two ignored, and so would the program. */
static UT_UNUSED __attribute__((constructor)) void ut_default_signals(void)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
}

/* ------------------------------------------------------------------------- */
/* How much, how long                                                          */

static UT_UNUSED int ut_scale(void)
{
	static int scale; /* the same whoever computes it */
	int n = __atomic_load_n(&scale, __ATOMIC_RELAXED);

	if (!n) {
		const char *s = getenv("GSCHED_TEST_SCALE");

		n = s ? atoi(s) : 1;
		if (n < 1)
			n = 1;
#ifdef UT_TSAN
		n *= 8;
#elif defined(UT_ASAN)
		n *= 2;
#endif
		__atomic_store_n(&scale, n, __ATOMIC_RELAXED);
	}
	return n;
}

/* n on a fast machine, less on a slow one, never below least. */
static UT_UNUSED long ut_count(long n, long least)
{
	n /= ut_scale();
	return n > least ? n : least;
}

/* n, or more in make test-long, which sets GSCHED_TEST_LONG. */
static UT_UNUSED long ut_long(long n, long more)
{
	const char *s = getenv("GSCHED_TEST_LONG");

	return s && atoi(s) > 0 ? more : n;
}

/*
 * A time limit: ns on a fast machine. The harness kills without a word; what reports that
 * it waited in vain is to come before that.
 */
static UT_UNUSED int64_t ut_limit(int64_t ns)
{
	int64_t k = ut_scale(), most = INT64_C(750000000) * UT_TIMEOUT;

	ns *= k < 10 ? k : 10;
	return ns < most ? ns : most;
}

static UT_UNUSED int ut_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

/* ------------------------------------------------------------------------- */
/* Checks anywhere                                                             */

static UT_UNUSED int ut_failed; /* atomic */

static UT_UNUSED void __attribute__((format(printf, 3, 4)))
ut_fail(const char *file, int line, const char *fmt, ...)
{
	char buf[512];
	va_list ap;
	int n = __atomic_fetch_add(&ut_failed, 1, __ATOMIC_SEQ_CST), len;

	if (n >= 20)
		return; /* the first ones tell the story */
	len = snprintf(buf, sizeof(buf), "# %s:%d: ", file, line);
	va_start(ap, fmt);
	len += vsnprintf(buf + len, sizeof(buf) - (size_t)len, fmt, ap);
	va_end(ap);
	if (len > (int)sizeof(buf) - 2)
		len = sizeof(buf) - 2;
	buf[len++] = '\n';
	if (write(2, buf, (size_t)len) < 0)
		abort();
}

#define CHECK(cond)                                                                                \
	({                                                                                         \
		bool ut_ok = (cond);                                                               \
		if (!ut_ok)                                                                        \
			ut_fail(__FILE__, __LINE__, "%s is false", #cond);                         \
		ut_ok;                                                                             \
	})

#define UT_CMP(a, op, b)                                                                           \
	({                                                                                         \
		__auto_type ut_a = (a);                                                            \
		__auto_type ut_b = (b);                                                            \
		bool ut_ok = ut_a op ut_b;                                                         \
		if (!ut_ok)                                                                        \
			ut_fail(__FILE__, __LINE__, "%s (%lld) " #op " %s (%lld) is false", #a,    \
				(long long)ut_a, #b, (long long)ut_b);                             \
		ut_ok;                                                                             \
	})
#define CHECK_EQ(a, b) UT_CMP(a, ==, b)
#define CHECK_NE(a, b) UT_CMP(a, !=, b)
#define CHECK_LT(a, b) UT_CMP(a, <, b)
#define CHECK_LE(a, b) UT_CMP(a, <=, b)
#define CHECK_GT(a, b) UT_CMP(a, >, b)
#define CHECK_GE(a, b) UT_CMP(a, >=, b)

/* gs_run from the test's thread; fails the test when the run or a CHECK in it failed. */
#define RUN(fn, arg)                                                                               \
	do {                                                                                       \
		ASSERT_EQ(0, gs_run((fn), (arg)));                                                 \
		ASSERT_EQ(0, __atomic_load_n(&ut_failed, __ATOMIC_SEQ_CST));                       \
	} while (0)

/* ------------------------------------------------------------------------- */
/* Waiting for a condition, bounded                                            */

/* One step of a wait: a fiber yields; a thread sleeps shortly. */
static UT_UNUSED void ut_relax(void)
{
	struct timespec ts = {.tv_nsec = 50000};

	if (gs_id())
		gs_yield();
	else
		nanosleep(&ts, NULL);
}

/* Until cond holds, at most ns (scaled): whether it did. Records no failure. */
#define UNTIL_NS(cond, ns)                                                                         \
	({                                                                                         \
		int64_t ut_end = gs_now() + ut_limit(ns);                                          \
		bool ut_ok;                                                                        \
		while (!(ut_ok = (cond)) && gs_now() < ut_end)                                     \
			ut_relax();                                                                \
		ut_ok;                                                                             \
	})

/* The same with a generous limit, and recorded when it does not come true. */
#define UNTIL(cond)                                                                                \
	({                                                                                         \
		bool ut_done = UNTIL_NS(cond, UT_WAIT * SEC);                                      \
		if (!ut_done)                                                                      \
			ut_fail(__FILE__, __LINE__, "%s did not come true", #cond);                \
		ut_done;                                                                           \
	})

/* Let others run for a while; proves nothing, but gives what must not happen a chance. */
static UT_UNUSED void ut_let_run(int times)
{
	while (times-- > 0)
		gs_yield();
}

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_add_fetch(&(x), (v), __ATOMIC_SEQ_CST)

/* CPU time of this thread goes by; not optimised away. */
static UT_UNUSED void ut_burn(int64_t ns)
{
	int64_t end = gs_now() + ns;

	while (gs_now() < end)
		;
}

/* Bytes of this process in memory. */
static UT_UNUSED long ut_resident(void)
{
	char buf[128];
	int fd = open("/proc/self/statm", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	char *s = buf;

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	strtol(s, &s, 10);
	return strtol(s, NULL, 10) * getpagesize();
}

/*
 * errno in a fiber. glibc declares the function behind it const, so the compiler keeps
 * its address over calls; after a park the thread, and so the address, may be another.
 */
static UT_UNUSED void __attribute__((noinline)) ut_set_errno(int v)
{
	errno = v;
	__asm__ volatile("" ::: "memory");
}

static UT_UNUSED int __attribute__((noinline)) ut_errno(void)
{
	__asm__ volatile("" ::: "memory");
	return errno;
}

/*
 * Chi-squared of hits over n cases of equal chance. The bound (Wilson and Hilferty's, on
 * the safe side for few cases) is passed by chance once in 2e10 times.
 */
static UT_UNUSED void ut_check_equal_chance(const long *hits, int n, int line)
{
	double draws = 0, chi = 0, e, k = 2.0 / (9 * (n - 1)), bound;

	for (int i = 0; i < n; i++)
		draws += (double)hits[i];
	e = draws / n;
	for (int i = 0; i < n; i++)
		chi += ((double)hits[i] - e) * ((double)hits[i] - e) / e;
	bound = 1 - k + 6.5 * sqrt(k);
	bound *= bound * bound * (n - 1);
	if (chi <= bound)
		return;
	ut_fail(__FILE__, line, "%d cases, %.0f draws: chi squared %.1f, at most %.1f", n, draws,
		chi, bound);
	for (int i = 0; i < n; i++)
		ut_fail(__FILE__, line, "case %d: %ld", i, hits[i]);
}

/* ------------------------------------------------------------------------- */
/* Memory                                                                      */

#if defined(UT_TSAN) || defined(UT_ASAN)
size_t __sanitizer_get_current_allocated_bytes(void);
#endif

/* Bytes that malloc has given, to whomever. */
static UT_UNUSED size_t ut_allocated(void)
{
#if defined(UT_TSAN) || defined(UT_ASAN)
	return __sanitizer_get_current_allocated_bytes();
#else
	return mallinfo2().uordblks;
#endif
}

/* ------------------------------------------------------------------------- */
/* A child process: its exit status and what it wrote on stderr                */

struct ut_child {
	int status;	/* exit status, or 128 + the signal that ended it */
	bool timed_out; /* it was killed after the limit */
	int64_t took;	/* ns */
	size_t len;
	char err[1 << 18]; /* NUL-terminated, cut */
};

/*
 * Run fn(arg) in a forked child whose stderr is kept; call it before this process
 * started the runtime. fn's return is exit status 0.
 */
static UT_UNUSED struct ut_child *ut_child_run(void (*fn)(void *), void *arg, int64_t limit_ns)
{
	struct ut_child *c = calloc(1, sizeof(*c));
	int fd = memfd_create("stderr", MFD_CLOEXEC), status;
	int64_t begin = gs_now(), end = begin + ut_limit(limit_ns);
	ssize_t n;
	pid_t pid;

	if (!c || fd < 0)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		dup2(fd, 2);
		fn(arg);
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct timespec ts = {.tv_nsec = 1000000};

		if (gs_now() > end) {
			c->timed_out = true;
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		nanosleep(&ts, NULL);
	}
	c->took = gs_now() - begin;
	c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	while ((n = pread(fd, c->err + c->len, sizeof(c->err) - 1 - c->len, (off_t)c->len)) > 0)
		c->len += (size_t)n;
	close(fd);
	return c;
}

/* How often a string stands in a text. */
static UT_UNUSED int ut_occurs(const char *text, const char *what)
{
	int n = 0;

	for (const char *s = text; (s = strstr(s, what)); s += strlen(what))
		n++;
	return n;
}

/* EXPECT that the child's stderr holds a text; shows the stderr if not. */
#define EXPECT_SAYS(child, what)                                                                   \
	do {                                                                                       \
		EXPECT_NE(NULL, strstr((child)->err, (what)))                                      \
		{                                                                                  \
			TH_LOG("no \"%s\" in:\n%.4000s", (what), (child)->err);                    \
		}                                                                                  \
	} while (0)
#define EXPECT_SAYS_NOT(child, what)                                                               \
	do {                                                                                       \
		EXPECT_EQ(NULL, strstr((child)->err, (what)))                                      \
		{                                                                                  \
			TH_LOG("\"%s\" in:\n%.4000s", (what), (child)->err);                       \
		}                                                                                  \
	} while (0)

/* ------------------------------------------------------------------------- */

/* Before the first gs_ call of a test that needs a certain number of procs. */
static UT_UNUSED void ut_set_procs(int n)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%d", n);
	setenv("GSCHED_MAXPROCS", buf, 1);
}

static UT_UNUSED bool ut_on_kmod(void)
{
	return strcmp(gs_backend(), "kmod") == 0;
}

/* Does the module interrupt fibers by SIGURG? */
static UT_UNUSED bool ut_by_signal(void)
{
	int fd = open("/sys/module/gsched/parameters/sigurg", O_RDONLY);
	char c = 'N';

	if (fd < 0 || read(fd, &c, 1) != 1)
		c = 'N';
	close(fd);
	return ut_on_kmod() && c == 'Y';
}

#endif /* GS_SELFTESTS_UTIL_H */
