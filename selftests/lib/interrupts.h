/* SPDX-License-Identifier: GPL-2.0 */
/* For tests of fibers that are interrupted anywhere: is that possible here, and how? */
#ifndef GS_SELFTESTS_INTERRUPTS_H
#define GS_SELFTESTS_INTERRUPTS_H

#include <gsched/debug.h>
#include <pthread.h>
#include <sys/auxv.h>

#include "util.h"

static UT_UNUSED struct gs_stats stats(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s;
}

static UT_UNUSED void nothing(void *arg) {}

/* Without it a fiber cannot find its worker from anywhere: nobody is interrupted. */
static UT_UNUSED bool has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & 2;
}

/* Is a fiber that computes while another waits interrupted here? */
static UT_UNUSED void probe_main(void *arg)
{
	bool *found = arg;
	int64_t end = gs_now() + ut_limit(ut_on_kmod() ? 10 * SEC : 3 * SEC);

#ifdef UT_TSAN
	return; /* never: Documentation/tls.rst */
#endif
	if (!has_fsgsbase())
		return;
	while (!stats().upcalls && gs_now() < end) {
		/* a page fault would have let it run */
		if (gs_num_fibers() == 1)
			gs_go(nothing, NULL);
		ut_burn(100000); /* outside of the runtime */
	}
	*found = stats().upcalls;
}

static UT_UNUSED void probe(void *arg)
{
	bool found = false;

	ut_set_procs(1);
	gs_run(probe_main, &found);
#ifndef UT_TSAN
	if (!found && ut_on_kmod() && has_fsgsbase())
		_exit(2);
#endif
	_exit(found ? 0 : 1);
}

/* GSCHED_TLS; NULL: the default. */
static UT_UNUSED void ut_set_tls(const char *mode)
{
	if (mode)
		setenv("GSCHED_TLS", mode, 1);
	else
		unsetenv("GSCHED_TLS");
}

/* Before the runtime starts. */
#define NEEDS_INTERRUPTS(procs, us, mode)                                                          \
	do {                                                                                       \
		char ut_us[16];                                                                    \
		ut_set_procs(procs);                                                               \
		snprintf(ut_us, sizeof(ut_us), "%d", (us));                                        \
		setenv("GSCHED_SLICE", ut_us, 1);                                                  \
		ut_set_tls(mode);                                                                  \
		int ut_probed = ut_child_run(probe, NULL, 20 * SEC)->status;                       \
		ASSERT_TRUE(ut_probed == 0 || ut_probed == 1);                                     \
		if (ut_probed)                                                                     \
			SKIP(return, "fibers are not interrupted here");                           \
	} while (0)

/* Where interrupted fibers must travel (Documentation/tls.rst): here nothing may skip. */
static UT_UNUSED bool must_travel(void)
{
#if defined(UT_ASAN) || defined(UT_TSAN) || defined(UT_STATIC) || !defined(__x86_64__) ||          \
	!__GLIBC_PREREQ(2, 35)
	return false;
#else
	return has_fsgsbase();
#endif
}

#if defined(UT_ASAN) || defined(UT_TSAN)
#define NEEDS_TRAVEL SKIP(return, "sanitizers watch threads: fibers do not travel")
#else
#define NEEDS_TRAVEL                                                                               \
	do {                                                                                       \
		if (!has_fsgsbase())                                                               \
			SKIP(return, "without FSGSBASE fibers do not travel");                     \
	} while (0)
#endif

/* ------------------------------------------------------------------------- */
/* What became of a run                                                        */

/* How a child without protection ends, besides by a fatal signal; none of sh's and libc's. */
enum {
	RUN_RIGHT = 0,
	RUN_WRONG = 90,	 /* a value was not what it had to be */
	RUN_STUCK = 91,	 /* nothing was done any more */
	RUN_SLOW = 92,	 /* right as far as it came: it did not get done */
	RUN_FAILED = 93, /* the machine or the test, not storage: no memory, no thread */
};

/* A fault, and not just a run that was slow or did not start. */
static UT_UNUSED bool fault_seen(const struct ut_child *c)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP};

	if (c->timed_out)
		return false;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		if (c->status == 128 + fatal[i])
			return true;
	return c->status == RUN_WRONG || c->status == RUN_STUCK;
}

/*
 * A thread beside the run looks every 100 ms whether work has been done since. Its looks are
 * counted, not the time: a machine that stands still stops it, too.
 */
#define LOOK_NS (100 * MS)

static struct watch {
	long (*done)(void);  /* how much work has been done */
	int64_t stuck_looks; /* so many in vain: exit status RUN_STUCK */
	int64_t longest;     /* atomic: looks in vain, one after the other */
	int over;	     /* atomic */
	pthread_t thread;
} watch;

static UT_UNUSED void *watch_main(void *arg)
{
	const struct timespec ts = {.tv_nsec = LOOK_NS};
	long before = -1;
	int64_t vain = 0;

	while (!LOAD(watch.over)) {
		long now = watch.done();

		vain = now == before ? vain + 1 : 0;
		before = now;
		if (vain > LOAD(watch.longest))
			STORE(watch.longest, vain);
		if (vain >= watch.stuck_looks) {
			fprintf(stderr, "# stuck: no work was done for %d looks, %ld before\n",
				(int)vain, now);
			_exit(RUN_STUCK);
		}
		nanosleep(&ts, NULL);
	}
	return NULL;
}

/* So long without work is a lock that nobody will release, mostly. */
static UT_UNUSED int64_t stuck_looks(void)
{
	return ut_limit(3 * SEC) / LOOK_NS;
}

/* Before the runtime starts, and so on no fiber. */
static UT_UNUSED bool watch_begin(long (*done)(void), int64_t looks)
{
	watch = (struct watch){.done = done, .stuck_looks = looks};
	return !pthread_create(&watch.thread, NULL, watch_main, NULL);
}

static UT_UNUSED void watch_end(void)
{
	STORE(watch.over, 1);
	pthread_join(watch.thread, NULL);
}

#endif /* GS_SELFTESTS_INTERRUPTS_H */
