/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/biased.h"

#include <errno.h>
#include <linux/membarrier.h>

#include "base/syscall.h"

/*
 * A membarrier of a process with a few running threads takes 1 to 5 us, a locked instruction
 * 5 ns: after a thousand the first has been worth it.
 */
#ifdef GS_INJECT
#define FIRST 8
#else
#define FIRST 1024
#endif
#define LATER_SHIFT 4
#define TAKEN_MOST 4

static bool possible; /* before the first proc */

void gs_biased_init(void)
{
	possible = gs_syscall3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ==
		   0;
}

static void take_away(struct gs_biased *l)
{
	unsigned int n = 0;

	gs_store_relaxed(&l->biased, false);
	/*
	 * Pairs with the compiler barrier in gs_biased_mine. Once registered it fails for want of
	 * memory only; in the child of a fork, where it may not be, nobody else runs.
	 */
	while (gs_syscall3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == -ENOMEM)
		gs_backoff(n++);
	/* acquire: what the owner did inside; pairs with gs_biased_release */
	while (gs_load_acquire(&l->mine))
		gs_backoff(n++);
	l->taken++;
}

void gs_biased_turn(struct gs_biased *l, uint32_t me)
{
	bool often = !l->biased && l->last == me && me;

	if (l->biased)
		take_away(l);
	if (often && possible && l->taken < TAKEN_MOST && (!l->owner || l->owner == me)) {
		gs_store_relaxed(&l->owner, (uint16_t)me);
		gs_store_relaxed(&l->biased, true);
	}
	l->last = (uint16_t)me;
	l->left = FIRST << LATER_SHIFT * l->taken;
}
