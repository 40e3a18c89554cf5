/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/lock.h"

#include "base/syscall.h"

/* About a microsecond: longer than any critical section that is not off the CPU. */
#define GS_LOCK_SPINS 100

void gs_lock_slow(struct gs_lock *l)
{
	for (;;) {
		for (int i = 0; i < GS_LOCK_SPINS; i++) {
			if (gs_load_relaxed(&l->word) == 0 && gs_lock_try(l))
				return;
#ifdef __x86_64__
			__builtin_ia32_pause();
#endif
		}
		gs_syscall3(SYS_sched_yield, 0, 0, 0);
	}
}
