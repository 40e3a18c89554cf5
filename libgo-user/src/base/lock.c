/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/lock.h"

#include <string.h>
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

/*
 * Each look takes the lock's cache line from its holder, who is about to take and leave it
 * many times more where two processors use it all the time. So the looks are the further
 * apart the more there were, and who has it does all he has to in one go: eight fibers that
 * send and eight that receive, on two procs, 230 ns a value when every pause was a look, 25
 * like this (Go's 92).
 */
#define APART 4
#define APART_MOST 64

void gs_lock_slow(struct gs_lock *l)
{
	unsigned int n = 0, apart = APART;

	do {
		for (unsigned int i = 0; i < apart; i++)
			gs_backoff(n++);
		if (apart < APART_MOST)
			apart *= 2;
	} while (gs_load_relaxed(&l->word) || !gs_lock_try(l));
}

/* Made by the linker; none if no object with such a lock is linked. */
extern const struct gs_lock_forks __start_gs_locks[] __attribute__((weak, visibility("hidden")));
extern const struct gs_lock_forks __stop_gs_locks[] __attribute__((weak, visibility("hidden")));

void gs_locks_forked(void)
{
	for (const struct gs_lock_forks *l = __start_gs_locks; l != __stop_gs_locks; l++)
		memset(l->lock, 0, l->size);
}
