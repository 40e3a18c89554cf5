/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A counting semaphore inside the object that needs it: no table by address as in Go,
 * for here an object can hold its own queue.
 *
 * The release's last access is to its lock, before it readies the waiter.
 */
#ifndef GS_SEMA_H
#define GS_SEMA_H

#include <gsched/sync.h>

#include "sched.h"

#pragma GCC visibility push(hidden)

/* Take one; wait for it, first in first out. Depth 0. */
void gs_sema_acquire(struct gs_sema *s, enum gs_wait reason);

/* Give one, to the first waiter if there is any. */
void gs_sema_release(struct gs_sema *s);

#pragma GCC visibility pop

/* The lock words of the public structs; they are only ever used through these. */
static inline struct gs_lock *gs_lock_of(uint32_t *word)
{
	return (struct gs_lock *)word;
}

#endif /* GS_SEMA_H */
