/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mutex, with Go's two modes (sync/mutex.go): normal, where a woken waiter competes
 * with newcomers, who are running already and mostly win, which is fast; and
 * starvation, where unlock hands the mutex over, which is fair.
 *
 * One word, `state`:
 *	LOCKED		somebody has it
 *	WOKEN		one waiter was woken, or spins, and will look at the state: wake no
 *			other. Set by compare-and-swap for that one, who alone clears it
 *	STARVING	unlock hands over to the first waiter
 *	WAITERS		the queue is not empty
 *
 * LOCKED alone comes and goes by compare-and-swap, without the lock. WAITERS and the
 * queue change under the lock only; STARVING too, but for the owner who got the mutex by
 * hand-over and ends that mode. So:
 *  - unlock's fast path (LOCKED -> 0) succeeds only when nobody waits;
 *  - once a waiter has set WAITERS, with the lock held until it has parked, the holder
 *    comes for the lock and finds it on the queue: no wake-up is lost;
 *  - STARVING implies LOCKED and WAITERS: hand-over never clears LOCKED in between.
 *
 * Freeing it: unlock's last access must come before anybody who got the mutex by it can
 * have unlocked it again. The fast path is one access; so it is with WOKEN, where the one
 * who was woken is still to come. With a waiter to wake the lock is released, which is the
 * last access, before that waiter is readied; until it has come, and has cleared WOKEN or
 * unlocked what was handed over to it, no unlock can be the last one. Without one, the lock
 * is released first and the state changed last.
 */
#include <gsched/sync.h>
#include <gsched/time.h>

#include "arch.h"
#include "backend.h"
#include "base/fatal.h"
#include "sema.h"
#include "waitq.h"

#define LOCKED 1u /* sync.h has this number in line */
#define WOKEN 2u
#define STARVING 4u
#define WAITERS 8u

#define STARVE_NS 1000000

/* Go: four rounds of thirty pauses; only where the holder can run meanwhile. */
#define SPIN_ROUNDS 4
#define SPIN_PAUSES 30

static bool spinning_helps(void)
{
	const struct gs_header *hdr = gs_hdr;

	/* without the runtime there are threads only, and they can sleep */
	return hdr && gs_load_relaxed(&hdr->nproc) > 1;
}

/*
 * Spin while it is held in normal mode. Returns true if WOKEN was set: by us, so
 * that unlock does not wake a waiter that would find us there first.
 */
static bool spin(gs_mutex *m)
{
	bool woken = false;

	for (int i = 0; i < SPIN_ROUNDS; i++) {
		uint32_t old = gs_load_relaxed(&m->state);

		if ((old & (LOCKED | STARVING)) != LOCKED)
			break;
		if (!woken && (old & (WOKEN | WAITERS)) == WAITERS)
			woken = gs_cas_acquire(&m->state, &old, old | WOKEN);
		for (int k = 0; k < SPIN_PAUSES; k++)
			gs_cpu_relax();
	}
	return woken;
}

static void __attribute__((noinline)) lock_slow(gs_mutex *m)
{
	struct gs_lock *lock = gs_lock_of(&m->lock);
	bool woken, queued_before = false;
	struct gs_sudog me = {0};
	int64_t began = 0;

	woken = spinning_helps() && spin(m);
	for (;;) {
		uint32_t old = gs_load_relaxed(&m->state), new;
		bool starving;

		/* a newcomer does not queue for the lock to find the mutex free */
		if (!(old & LOCKED)) {
			new = old | LOCKED;
			if (woken)
				new &= ~WOKEN;
			/* acquire: pairs with the release in unlock */
			if (gs_cas_acquire(&m->state, &old, new))
				return;
			continue;
		}
		starving = queued_before && gs_now() - began > STARVE_NS;
		if (!began)
			began = gs_now();

		gs_rt_enter();
		gs_lock_acquire(lock);
		old = gs_load_relaxed(&m->state);
		do {
			if (!(old & LOCKED))
				break;
			new = old | WAITERS;
			if (starving)
				new |= STARVING;
			if (woken)
				new &= ~WOKEN;
		} while (!gs_cas_acquire(&m->state, &old, new));
		if (!(old & LOCKED)) {
			gs_lock_release(lock);
			gs_rt_leave();
			continue;
		}
		woken = false;
		me.fiber = gs_self();
		me.success = false;
		/* who was woken and lost goes back to where it was */
		if (queued_before)
			gs_waitq_push_front(&m->waiters, &me);
		else
			gs_waitq_push(&m->waiters, &me);
		gs_park_unlock(lock, GS_WAIT_MUTEX);
		gs_rt_leave();

		if (me.success) {
			/* handed over: LOCKED stands for us, and its unlocker released to us
			 * through gs_ready. Short wait: back to normal. */
			if (gs_now() - began <= STARVE_NS)
				gs_fetch_and_relaxed(&m->state, ~STARVING);
			return;
		}
		queued_before = true;
		woken = true; /* unlock set it for us */
	}
}

/* sync.h: state was old, and not 0. Others may wait, as long as it is free. */
void gs_mutex_lock_slow(gs_mutex *m, uint32_t old)
{
	/* acquire: pairs with the release in unlock */
	while (!(old & LOCKED))
		if (gs_cas_acquire(&m->state, &old, old | LOCKED))
			return;
	lock_slow(m);
}

/* For who does not have it in line. */
void gs_mutex_lock(gs_mutex *m)
{
	uint32_t old = 0;

	/* acquire: pairs with the release in unlock */
	if (gs_unlikely(!gs_cas_acquire(&m->state, &old, LOCKED)))
		gs_mutex_lock_slow(m, old);
}

bool gs_mutex_trylock(gs_mutex *m)
{
	uint32_t old = gs_load_relaxed(&m->state);

	while (!(old & (LOCKED | STARVING)))
		if (gs_cas_acquire(&m->state, &old, old | LOCKED))
			return true;
	return false;
}

static void __attribute__((noinline)) unlock_slow(gs_mutex *m)
{
	struct gs_lock *lock = gs_lock_of(&m->lock);
	struct gs_sudog *w;
	uint32_t old, new;

	gs_rt_enter();
	gs_lock_acquire(lock);
	old = gs_load_relaxed(&m->state);
	for (;;) {
		if (gs_unlikely(!(old & LOCKED))) {
			gs_lock_release(lock);
			gs_rt_leave();
			gs_fatal("sync: unlock of unlocked mutex");
		}
		w = m->waiters.first;
		if (old & STARVING) {
			w->success = true;
			gs_waitq_del(&m->waiters, w);
			if (!m->waiters.first)
				gs_fetch_and_relaxed(&m->state, ~(STARVING | WAITERS));
			gs_lock_release(lock);
			break;
		}
		if ((old & (WAITERS | WOKEN)) == WAITERS) {
			new = (old & ~LOCKED) | WOKEN;
			if (!w->next)
				new &= ~WAITERS;
			/* release: pairs with the acquire in lock. Fails if one spins now. */
			if (!gs_cas_release(&m->state, &old, new))
				continue;
			gs_waitq_del(&m->waiters, w);
			gs_lock_release(lock);
			break;
		}
		/* nobody to wake: the word last, for the mutex may be gone after it */
		w = NULL;
		gs_lock_release(lock);
		if (gs_cas_release(&m->state, &old, old & ~LOCKED))
			break;
		gs_lock_acquire(lock);
	}
	if (w)
		gs_ready(w->fiber);
	gs_rt_leave();
}

/* sync.h: state was old, and not LOCKED. */
void gs_mutex_unlock_slow(gs_mutex *m, uint32_t old)
{
	/* one was woken, or spins, and has not come yet: it will see to the others */
	while ((old & (LOCKED | WOKEN | STARVING)) == (LOCKED | WOKEN))
		if (gs_cas_release(&m->state, &old, old & ~LOCKED))
			return;
	unlock_slow(m);
}

void gs_mutex_unlock(gs_mutex *m)
{
	uint32_t old = LOCKED;

	/* release: pairs with the acquire in lock */
	if (gs_unlikely(!gs_cas_release(&m->state, &old, 0)))
		gs_mutex_unlock_slow(m, old);
}
