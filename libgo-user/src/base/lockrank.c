/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order of locks, checked at each acquisition (as Go's lockrank). GS_LOCKRANK only, which
 * SAN=undefined defines.
 *
 * A lock is known by the place it is taken at: the file and the words in the parentheses. So a
 * lock costs nothing for being ranked, and the table below is the order, in one place; see
 * Documentation/scheduler.rst. A new place must be entered.
 *
 * What is held is noted for each thread, by its id in the kernel: not in thread-local storage,
 * for that is the fiber's, and a commit function releases what another fiber acquired.
 */
#ifdef GS_LOCKRANK

#include <stdbool.h>
#include <string.h>

#include "base/fatal.h"
#include "base/lock.h"
#include "base/syscall.h"

enum rank {
	REPORT = 1, /* held for good: the process ends */
	WIDTH,
	NOTIFIED,  /* signals', over the channels that are told */
	SEMAPHORE, /* a gs_sem, over the channel of the context that may end the wait */
	CHANNEL,   /* several, by ascending address */
	OBJECT,	   /* one of a mutex, condition, wait group, context, descriptor ... */
	LIST,	   /* of those due, or expired, or of hooks */
	HEAP,	   /* of timers */
	BACKEND,
	QUEUE, /* of runnable fibers */
	LEAF,  /* free lists and the like */
};

static const struct place {
	const char *file, *what;
	enum rank rank;
} places[] = {
	{"debug.c", "&report_lock", REPORT},
	{"width.c", "&lock", WIDTH},
	{"signal.c", "&lock", NOTIFIED},
	{"sync_sem.c", "locks.sem", SEMAPHORE},
	{"sync_sem.c", "gs_lock_of(&s->lock)", SEMAPHORE},
	{"chan.h", "&c->lock", CHANNEL},
	{"time.c", "&t->lock", OBJECT},
	{"context.c", "&c->lock", OBJECT},
	{"netpoll.c", "&pd->lock", OBJECT},
	{"sema.c", "lock", OBJECT},
	{"sema.c", "gs_lock_of(&s->lock)", OBJECT},
	{"sync_cond.c", "lock", OBJECT},
	{"sync_cond.c", "gs_lock_of(&c->lock)", OBJECT},
	{"sync_limiter.c", "gs_lock_of(&l->lock)", OBJECT},
	{"sync_mutex.c", "lock", OBJECT},
	{"sync_pool.c", "&t->stacks[i].lock", OBJECT},
	{"sync_pool.c", "&s->lock", OBJECT},
	{"sync_waitgroup.c", "lock", OBJECT},
	{"sync_waitgroup.c", "gs_lock_of(&wg->lock)", OBJECT},
	{"context.c", "&slots.lock", LIST},
	{"context.c", "&due.lock", LIST},
	{"time.c", "&expired.lock", LIST},
	{"timer.c", "&h->lock", HEAP},
	{"backend_posix.c", "&lock", BACKEND},
	{"runq.c", "&q->lock", QUEUE},
	{"backend_kmod.c", "&chunk_lock", LEAF},
	{"dead.c", "&depot[warm].lock", LEAF},
	{"fiber.c", "&lock", LEAF},
	{"leak.c", "&lock", LEAF},
	{"life.c", "&list->lock", LEAF},
	{"process.c", "&p->lock", LEAF},
	{"sigwrap.c", "&urg_lock", LEAF},
	{"stack.c", "&lock", LEAF},
	{"sync_tables.c", "&kind->lock", LEAF},
	{"tls.c", "&areas_lock", LEAF},
	{"tls.c", "&chain_lock", LEAF},
	{"tls.c", "&p->lock", LEAF},
	{"worker.c", "&list_lock", LEAF},
};

#define THREADS 4096
#define PROBES 64
#define DEPTH 600 /* a select's channels */

/* Of one thread, but for tid: 0 -> it, by compare-and-swap, and back. */
static struct held {
	uint32_t tid;
	uint32_t n;
	struct {
		const struct gs_lock *lock;
		const struct place *place;
	} at[DEPTH];
} threads[THREADS];

static struct held *mine(bool make)
{
	uint32_t tid = (uint32_t)gs_syscall3(SYS_gettid, 0, 0, 0), none;

	for (uint32_t i = 0; i < PROBES; i++)
		if (gs_load_relaxed(&threads[(tid + i) % THREADS].tid) == tid)
			return &threads[(tid + i) % THREADS];
	for (uint32_t i = 0; make && i < PROBES; i++) {
		none = 0;
		if (gs_cas_acquire(&threads[(tid + i) % THREADS].tid, &none, tid))
			return &threads[(tid + i) % THREADS];
	}
	return NULL;
}

static const struct place *place_of(const char *file, const char *what)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!strcmp(places[i].file, file) && !strcmp(places[i].what, what))
			return &places[i];
	gs_fatal("lock rank: %s: (%s) is in no rank of base/lockrank.c", file, what);
}

void gs_lockrank_acquire(const struct gs_lock *l, const char *file, const char *what)
{
	const struct place *p = place_of(file, what), *last;
	struct held *h = mine(true);

	if (!h || h->n == DEPTH)
		return; /* too many for this check */
	for (uint32_t i = 0; i < h->n; i++)
		if (h->at[i].lock == l)
			gs_fatal("lock rank: %s: (%s) is held already", file, what);
	if (h->n) {
		last = h->at[h->n - 1].place;
		if (p->rank < last->rank ||
		    (p->rank == last->rank && (p->rank != CHANNEL || l < h->at[h->n - 1].lock)))
			gs_fatal("lock rank: %s: (%s) is taken while %s: (%s) is held", file, what,
				 last->file, last->what);
	}
	h->at[h->n].lock = l;
	h->at[h->n].place = p;
	h->n++;
}

void gs_lockrank_release(const struct gs_lock *l)
{
	struct held *h = mine(false);
	uint32_t i;

	if (!h)
		return;
	for (i = h->n; i > 0 && h->at[i - 1].lock != l; i--)
		;
	if (!i)
		gs_fatal("lock rank: a thread releases a lock that it does not hold");
	h->n--;
	memmove(&h->at[i - 1], &h->at[i], (h->n - (i - 1)) * sizeof(h->at[0]));
	/* pairs with the swap in mine(): who has it next sees that nothing is held */
	if (!h->n)
		gs_store_release(&h->tid, 0);
}

#endif /* GS_LOCKRANK */
