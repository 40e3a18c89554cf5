/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lives of objects that calls may meet, also after their end: connections, processes.
 *
 * state counts the calls in progress, and has a bit that says that the life is over:
 *
 *	call: state + REF, unless over		end: set the bit; wake all who wait
 *	... the call ...
 *	state - REF; the last one after the bit was set gives up what the object has
 *
 * Its memory goes to the end of a list then, and is taken from its head again when the
 * list is long: a call on a stale pointer meets the bit, and not another's memory; not
 * for ever, but for long enough to find the mistake.
 */
#ifndef GS_LIFE_H
#define GS_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/lock.h"

#pragma GCC visibility push(hidden)

#define GS_LIFE_OVER 1u
#define GS_LIFE_REF 2u

/* The first member. */
struct gs_life {
	uint32_t state;	      /* atomic: calls in progress and GS_LIFE_OVER */
	struct gs_life *next; /* the list's lock */
};

/* Of one kind of object; zeroed at first. Protection: [L] lock. */
struct gs_life_list {
	struct gs_lock lock;
	unsigned int n;		      /* L */
	struct gs_life *first, *last; /* L */
};

/* Zeroed, or as it was given back; over, until gs_life_begin. NULL: no memory. Depth 0. */
void *gs_life_alloc(struct gs_life_list *list, size_t size);

/* No call is in progress, and it is over. */
void gs_life_free(struct gs_life_list *list, struct gs_life *life);

/* All is set; it may be handed out. */
static inline void gs_life_begin(struct gs_life *life)
{
	/* release: pairs with gs_life_get */
	gs_store_release(&life->state, 0);
}

/* A call begins: false if it is over. */
static inline bool gs_life_get(struct gs_life *life)
{
	uint32_t state = gs_load_relaxed(&life->state);

	do {
		if (state & GS_LIFE_OVER)
			return false;
		/* acquire: what made it is seen */
	} while (!gs_cas_acquire(&life->state, &state, state + GS_LIFE_REF));
	return true;
}

/* A call ends: true if it was the last one of all; the others' use of it has ended. */
static inline bool gs_life_put(struct gs_life *life)
{
	return gs_fetch_sub_acq_rel(&life->state, GS_LIFE_REF) == (GS_LIFE_REF | GS_LIFE_OVER);
}

/* In a call: it is over; false: it was already. */
static inline bool gs_life_end(struct gs_life *life)
{
	return !(gs_fetch_or_seq(&life->state, GS_LIFE_OVER) & GS_LIFE_OVER);
}

static inline bool gs_life_over(const struct gs_life *life)
{
	return gs_load_acquire(&life->state) & GS_LIFE_OVER;
}

#pragma GCC visibility pop

#endif /* GS_LIFE_H */
