/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/lock.h"

#include <time.h>

#include "base/syscall.h"

/* About a microsecond: longer than any critical section that is not off the CPU. */
#define SPINS 100

/*
 * Linux's fair scheduler may give the CPU to the same thread again at each sched_yield, for
 * milliseconds, if that one has slept and the other has not: as the poller has when it is
 * woken on the CPU of one who holds a lock. So after a few it sleeps.
 */
#define YIELDS 4
#define SLEEP_NS 10000

void gs_backoff(unsigned int n)
{
	static const struct timespec ts = {.tv_nsec = SLEEP_NS};

	if (n % (SPINS + 1) < SPINS) {
#ifdef __x86_64__
		__builtin_ia32_pause();
#endif
	} else if (n / (SPINS + 1) < YIELDS) {
		gs_syscall3(SYS_sched_yield, 0, 0, 0);
	} else {
		gs_syscall3(SYS_nanosleep, (long)&ts, 0, 0);
	}
}

void gs_lock_slow(struct gs_lock *l)
{
	for (unsigned int n = 0; gs_load_relaxed(&l->word) || !gs_lock_try(l); n++)
		gs_backoff(n);
}
