/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fibers that ended: each stays with the proc it ended on, stack and all, for the next gs_go
 * there. Spawn and finish touch no shared word for it.
 *
 * A fiber that has not begun yet has a stack that nothing was laid on, and may run on any
 * other of its size. So the stacks are told apart: warm, somebody ran on it, or cold, and its
 * pages are perhaps not there. gs_go takes cold ones, and who begins changes a cold stack for
 * the warm one of whoever ended last: a crowd of fibers that are started, run and end one after
 * the other runs on one stack, in the first-level cache.
 *
 * Where one proc starts fibers and others run them, the dead go back in batches, by way of some
 * that belong to all: a magazine and its depot (Bonwick and Adams, 2001).
 */
#ifndef GS_DEAD_H
#define GS_DEAD_H

#include "fiber.h"

#pragma GCC visibility push(hidden)

#define GS_DEAD_BATCH 32

/* Of one temperature. By the owner of the proc. */
struct gs_dead {
	struct gs_fiber *list;
	struct gs_fiber *batch; /* GS_DEAD_BATCH more, or NULL */
	uint32_t n;		/* in list, up to GS_DEAD_BATCH */
};

/* The list is full. */
void gs_dead_put_slow(struct gs_dead d[2], struct gs_fiber *f);

/* f, of the default size, is off its stack. d: those of the caller's proc, by warmth; or NULL. */
static inline void gs_dead_put(struct gs_dead d[2], struct gs_fiber *f)
{
	struct gs_dead *of = d ? &d[f->ref.stack.warm] : NULL;

	gs_store_relaxed(&f->state, GS_IDLE);
	if (gs_unlikely(!of || of->n == GS_DEAD_BATCH)) {
		gs_dead_put_slow(d, f);
		return;
	}
	f->next = of->list;
	of->list = f;
	of->n++;
}

/* One for gs_go, a cold one if there is one; NULL: there is none. d as above. */
struct gs_fiber *gs_dead_get(struct gs_dead d[2]);

/* f is about to begin, on a cold stack of the default size: a warm one for it, if there is. */
void gs_dead_warm(struct gs_dead d[2], struct gs_fiber *f);

#pragma GCC visibility pop

#endif /* GS_DEAD_H */
