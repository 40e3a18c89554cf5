/* SPDX-License-Identifier: GPL-2.0 */
/* For tests of fibers that are interrupted anywhere: is that possible here, and how? */
#ifndef GS_SELFTESTS_INTERRUPTS_H
#define GS_SELFTESTS_INTERRUPTS_H

#include <gsched/debug.h>

#include "util.h"

static UT_UNUSED struct gs_stats stats(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s;
}

static UT_UNUSED void nothing(void *arg) {}

/* Is a fiber that computes while another waits interrupted here? */
static UT_UNUSED void probe_main(void *arg)
{
	bool *found = arg;
	int64_t end = gs_now() + ut_limit(ut_on_kmod() ? 10 * SEC : 3 * SEC);

#ifdef UT_TSAN
	if (!ut_on_kmod())
		return; /* never */
#endif
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
	_exit(found ? 0 : ut_on_kmod() ? 2 : 1);
}

/* Before the runtime starts. */
#define NEEDS_INTERRUPTS(procs, us, mode)                                                          \
	do {                                                                                       \
		char ut_us[16];                                                                    \
		ut_set_procs(procs);                                                               \
		snprintf(ut_us, sizeof(ut_us), "%d", (us));                                        \
		setenv("GSCHED_SLICE", ut_us, 1);                                                  \
		setenv("GSCHED_TLS", (mode), 1);                                                   \
		int ut_probed = ut_child_run(probe, NULL, 20 * SEC)->status;                       \
		ASSERT_TRUE(ut_probed == 0 || ut_probed == 1);                                     \
		if (ut_probed)                                                                     \
			SKIP(return, "fibers are not interrupted here");                           \
	} while (0)

#if defined(UT_ASAN) || defined(UT_TSAN)
#define NEEDS_TRAVEL SKIP(return, "sanitizers watch threads: fibers do not travel")
#else
#define NEEDS_TRAVEL (void)0
#endif

#endif /* GS_SELFTESTS_INTERRUPTS_H */
