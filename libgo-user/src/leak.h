/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Objects that a program must give back, remembered from their making to their end: with
 * GSCHED_DEBUG=leak only. gs_leak_check (debug.c) reports them.
 */
#ifndef GS_LEAK_H
#define GS_LEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#pragma GCC visibility push(hidden)

enum gs_leak_kind {
	GS_LEAK_CHAN,
	GS_LEAK_TIMER, /* or ticker, or what gs_after returned */
	GS_LEAK_CONTEXT,
	GS_LEAK_KINDS
};

#define GS_LEAK_FRAMES 12

struct gs_leak {
	struct gs_leak *next; /* the registry's lock */
	const void *object;
	enum gs_leak_kind kind;
	int npcs;
	void *pcs[GS_LEAK_FRAMES]; /* of gs_backtrace_keep, from the function of gsched.h on */
};

extern uint32_t gs_leak_state; /* relaxed: 0 not asked yet, 1 off, 2 on */

bool gs_leak_find(void);
void gs_leak_add(enum gs_leak_kind kind, const void *object);
void gs_leak_remove(const void *object);

/* Does the environment ask for it? Any thread. */
static inline bool gs_leak_on(void)
{
	uint32_t state = gs_load_relaxed(&gs_leak_state);

	return gs_unlikely(state != 1) && (state == 2 || gs_leak_find());
}

/* Around an object's life. Depth 0; object may be NULL. */
static inline void gs_leak_made(enum gs_leak_kind kind, const void *object)
{
	if (gs_leak_on())
		gs_leak_add(kind, object);
}

static inline void gs_leak_freed(const void *object)
{
	if (gs_leak_on())
		gs_leak_remove(object);
}

/* A copy of what is remembered: *n of them, to be freed; NULL: none, or no memory. */
struct gs_leak *gs_leak_copy(size_t *n);

#pragma GCC visibility pop

#endif /* GS_LEAK_H */
