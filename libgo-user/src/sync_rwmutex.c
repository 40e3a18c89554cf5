/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers and writers, Go's algorithm (sync/rwmutex.go).
 *
 * `readers` counts the readers that hold or wait; a writer that has come subtracts
 * MOST from it, so that it is negative and new readers see to it that they wait. The
 * writer then waits for the readers that were there before it: `departing` of them.
 *
 *	rlock				lock (holding `writers`)
 *	readers += 1			readers -= MOST, r = what it was
 *	< 0: wait on `reader`		departing += r; != 0: wait on `writer`
 *
 *	runlock				unlock
 *	readers -= 1			readers += MOST, r = what it is
 *	< 0: departing -= 1;		r times: release `reader`
 *	     0: release `writer`	unlock `writers`
 *
 * departing may be lowered before the writer raises it, hence negative meanwhile; the
 * one that makes it zero after both, runlock or the writer itself, lets the writer in.
 */
#include <gsched/sync.h>

#include "base/fatal.h"
#include "sema.h"

#define MOST (1 << 30)

/* sync.h: it has been counted, and there is a writer. */
void gs_rwmutex_rlock_slow(gs_rwmutex *rw)
{
	gs_sema_acquire(&rw->reader, GS_WAIT_RWMUTEX_R);
}

/* For who does not have it in line. */
void gs_rwmutex_rlock(gs_rwmutex *rw)
{
	/* acquire: pairs with the writer's release in unlock */
	if (gs_unlikely(gs_fetch_add_seq(&rw->readers, 1) + 1 < 0))
		gs_rwmutex_rlock_slow(rw);
}

bool gs_rwmutex_tryrlock(gs_rwmutex *rw)
{
	int32_t r = gs_load_relaxed(&rw->readers);

	while (r >= 0)
		if (gs_cas_acquire(&rw->readers, &r, r + 1))
			return true;
	return false;
}

/* sync.h: so many they were before this one, not more than 0: none, or there is a writer. */
void gs_rwmutex_runlock_slow(gs_rwmutex *rw, int32_t were)
{
	if (were == 0 || were == -MOST)
		gs_fatal("sync: RUnlock of unlocked RWMutex");
	if (gs_fetch_add_seq(&rw->departing, -1) == 1)
		gs_sema_release(&rw->writer);
}

void gs_rwmutex_runlock(gs_rwmutex *rw)
{
	/* release: pairs with the writer's read-modify-write of readers or departing */
	int32_t were = gs_fetch_add_seq(&rw->readers, -1);

	if (gs_unlikely(were <= 0))
		gs_rwmutex_runlock_slow(rw, were);
}

void gs_rwmutex_lock(gs_rwmutex *rw)
{
	int32_t r;

	gs_mutex_lock(&rw->writers);
	r = gs_fetch_add_seq(&rw->readers, -MOST);
	if (r && gs_fetch_add_seq(&rw->departing, r) + r != 0)
		gs_sema_acquire(&rw->writer, GS_WAIT_RWMUTEX_W);
}

bool gs_rwmutex_trylock(gs_rwmutex *rw)
{
	int32_t none = 0;

	if (!gs_mutex_trylock(&rw->writers))
		return false;
	if (gs_cas_seq(&rw->readers, &none, -MOST))
		return true;
	gs_mutex_unlock(&rw->writers);
	return false;
}

void gs_rwmutex_unlock(gs_rwmutex *rw)
{
	/* release: pairs with rlock's acquire */
	int32_t r = gs_fetch_add_seq(&rw->readers, MOST) + MOST;

	if (r >= MOST)
		gs_fatal("sync: Unlock of unlocked RWMutex");
	for (int32_t i = 0; i < r; i++)
		gs_sema_release(&rw->reader);
	gs_mutex_unlock(&rw->writers);
}
