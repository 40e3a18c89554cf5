/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The runtime's own lock: a word, spun on, then slept on for moments.
 *
 * It is taken with the no-preempt depth raised (or from an ordinary thread),
 * so a holder is never a parked or interrupted fiber; but its thread may be
 * off the CPU, so a waiter gives the CPU up after a short spin. It never waits
 * in the kernel until the lock is free, for a worker that does keeps its proc
 * (depth is raised), and the holder would have to enter the kernel to wake it.
 */
#ifndef GS_BASE_LOCK_H
#define GS_BASE_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

struct gs_lock {
	uint32_t word; /* 0 free, 1 held */
};

/*
 * After the n-th look, in vain, at what another thread is about to do, if it is not off the
 * CPU: a pause at first, then the CPU is given up. Any context.
 */
void gs_backoff(unsigned int n);

void gs_lock_slow(struct gs_lock *l);

static inline bool gs_lock_try(struct gs_lock *l)
{
	uint32_t free = 0;

	/* pairs with the release in gs_lock_release */
	return gs_cas_acquire(&l->word, &free, 1);
}

static inline void gs_lock_acquire(struct gs_lock *l)
{
	if (gs_unlikely(!gs_lock_try(l)))
		gs_lock_slow(l);
}

static inline void gs_lock_release(struct gs_lock *l)
{
	gs_store_release(&l->word, 0);
}

/* In a commit function, for its caller; see gs_race_parks. */
static inline __attribute__((always_inline)) void gs_lock_release_for(struct gs_lock *l)
{
	gs_store_release(&l->word, 0);
}

/*
 * A lock that is no object's: in the child of a fork it is free, though another thread may have
 * had it. For what is whole between any two stores under it, or what forked() makes anew.
 */
#define GS_LOCK_FORKS(name, lock)                                                                  \
	static const struct gs_lock_forks name GS_KEPT                                             \
		__attribute__((used, section("gs_locks"))) = {&(lock), sizeof(lock)}

struct gs_lock_forks {
	void *lock; /* a gs_lock or a gs_biased: zero is free */
	size_t size;
};

/* Also by linkers that drop a section that only its bounds refer to. */
#if __has_attribute(retain)
#define GS_KEPT __attribute__((retain))
#else
#define GS_KEPT
#endif

/* In the child: all of these are free. */
void gs_locks_forked(void);

#ifdef GS_LOCKRANK
/* See lockrank.c. */
void gs_lockrank_acquire(const struct gs_lock *l, const char *file, const char *what);
void gs_lockrank_release(const struct gs_lock *l);
#define gs_lock_acquire(l) (gs_lockrank_acquire((l), __FILE_NAME__, #l), (gs_lock_acquire)(l))
#define gs_lock_release(l) (gs_lockrank_release(l), (gs_lock_release)(l))
#define gs_lock_release_for(l) (gs_lockrank_release(l), (gs_lock_release_for)(l))
#endif

#endif /* GS_BASE_LOCK_H */
