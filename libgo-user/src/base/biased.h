/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lock biased to a proc: who holds that proc takes it without a locked instruction.
 *
 * Most channels are used by the fibers of one proc for long stretches: all of them where there
 * is one proc only, and pairs that wake each other on any number. Two of three nanoseconds of
 * an operation on a buffered channel were the locked instruction of its lock.
 *
 * The fibers of one proc exclude each other already, while they are in the runtime: who holds
 * a proc with its depth raised is the only one who does. So the proc the lock is biased to, its
 * owner, notes in a byte of its own that it is in; everybody else takes the word, and then has
 * to make sure that the owner is out, and stays out:
 *
 *	the owner				another, who has the word
 *	(a) mine = TRIES			(1) biased = false
 *	    compiler barrier			(2) membarrier
 *	(b) biased?				(3) wait until mine = OUT
 *	    yes: mine = HELD; no: mine = OUT,
 *	    and by the word
 *
 * (a) is no locked instruction: the membarrier makes a full barrier on the owner's CPU. So
 * either the owner saw in (b) that it is biased no more, or (3) sees (a). Modelled in
 * selftests/model/biased.
 *
 * A proc that takes the word so often in a row that the time it will have saved is that of a
 * membarrier biases the lock. Each time the bias is taken away that number is sixteen times
 * larger: what a lock that two procs share loses is bounded, by 4 membarriers for its life.
 * (Biased locking is Russell's and Detlefs' for Java, 2006; that what it cost where locks are
 * shared was not bounded is why Java gave it up.)
 *
 * Invariants: owner is written once, by a proc to itself; biased under the word alone; mine by
 * the owner alone, whoever it is that could be about to do so since long ago: so no second one
 * can be. Inside is who holds the word, nobody being HELD, or the owner, HELD. It says HELD only
 * from inside, so a release sees how it got in; TRIES may come and go at any time.
 *
 * TSan does not see a membarrier: there the lock is never biased.
 */
#ifndef GS_BASE_BIASED_H
#define GS_BASE_BIASED_H

#include "base/lock.h"

#pragma GCC visibility push(hidden)

enum { GS_BIASED_OUT, GS_BIASED_TRIES, GS_BIASED_HELD };

/* Zeroed: free, without an owner. */
struct gs_biased {
	struct gs_lock lock; /* the word */
	uint16_t owner;	     /* 0 -> a proc's index + 1, once, by that proc under the word */
	uint8_t mine;	     /* the owner's */
	bool biased;	     /* written under the word */
	uint32_t left;	     /* under the word: acquisitions by last before the bias */
	uint16_t last;	     /* under the word: who had it last */
	uint8_t taken;	     /* under the word: how often the bias was taken away */
};

/* Before the first proc runs. Without it nothing is ever biased. */
void gs_biased_init(void);

/* With the word: the lock is biased to another, or me is a new one, or had it often enough. */
void gs_biased_turn(struct gs_biased *l, uint32_t me);

static inline bool gs_biased_mine(struct gs_biased *l, uint32_t me)
{
#ifndef GS_TSAN
	if (gs_load_relaxed(&l->biased) && gs_load_relaxed(&l->owner) == me) {
		gs_inject();
		gs_store_relaxed(&l->mine, GS_BIASED_TRIES);
		/* pairs with the membarrier in gs_biased_turn, which makes a fence of this */
		__asm__ volatile("" ::: "memory");
		gs_inject();
		if (gs_likely(gs_load_relaxed(&l->biased))) {
			gs_store_relaxed(&l->mine, GS_BIASED_HELD);
			return true;
		}
		gs_store_relaxed(&l->mine, GS_BIASED_OUT);
	}
#else
	(void)l;
	(void)me;
#endif
	return false;
}

/* me: the index + 1 of the proc that the caller holds, depth raised; 0: it is no worker's. */
static inline void gs_biased_acquire(struct gs_biased *l, uint32_t me)
{
	if (gs_biased_mine(l, me))
		return;
	if (gs_unlikely(!gs_lock_try(&l->lock)))
		gs_lock_slow(&l->lock);
#ifndef GS_TSAN
	if (gs_unlikely(gs_load_relaxed(&l->biased)) || gs_unlikely(l->last != me) ||
	    gs_unlikely(!l->left--))
		gs_biased_turn(l, me);
#endif
}

static inline __attribute__((always_inline)) void gs_biased_release(struct gs_biased *l)
{
#ifndef GS_TSAN
	if (gs_load_relaxed(&l->mine) == GS_BIASED_HELD) {
		/* pairs with the acquire in gs_biased_turn */
		gs_store_release(&l->mine, GS_BIASED_OUT);
		return;
	}
#endif
	gs_store_release(&l->lock.word, 0);
}

/* In a commit function, for its caller; see gs_race_parks. */
static inline __attribute__((always_inline)) void gs_biased_release_for(struct gs_biased *l)
{
	gs_biased_release(l);
}

#ifdef GS_LOCKRANK
#define gs_biased_acquire(l, me)                                                                   \
	(gs_lockrank_acquire(&(l)->lock, __FILE_NAME__, #l), (gs_biased_acquire)((l), (me)))
#define gs_biased_release(l) (gs_lockrank_release(&(l)->lock), (gs_biased_release)(l))
#define gs_biased_release_for(l) (gs_lockrank_release(&(l)->lock), (gs_biased_release_for)(l))
#endif

#pragma GCC visibility pop

#endif /* GS_BASE_BIASED_H */
