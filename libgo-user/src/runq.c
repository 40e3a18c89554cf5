/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local queue is a ring of GS_RUNQ_SIZE places with one producer, its owner,
 * and many consumers: the owner and thieves. head and tail only grow and stand in
 * the shared line, where the kernel reads them as demand.
 *
 *   tail	stored by the owner with release after it filled the place; thieves
 *		load it with acquire
 *   head	moved by whoever consumes, with compare-and-swap. Release: the place
 *		was read before; the producer's acquire load of head pairs with it, so
 *		that a place is not filled again before it was read
 *   runnext	exchanged by everybody; outside the ring, so that the fiber readied
 *		last runs next
 *
 * While there is one proc there are no thieves, and its owner takes by plain loads and stores: two
 * of the locked instructions were a fourth of what it takes to start a fiber. Who adds a second one
 * lowers gs_alone, and waits until the owner is out of its queue; the protocol is that of a
 * biased lock (base/biased.h), plain being its `mine`:
 *
 *	the owner				who adds a proc (gs_sched_set_procs)
 *	(a) plain = true			(1) gs_alone = false
 *	    compiler barrier			(2) membarrier
 *	(b) gs_alone?				(3) wait until !plain
 *	    yes: loads and stores, plain = false    (4) thieves may come
 *	    no: plain = false, and as ever
 *
 * Invariant: 0 <= tail - head <= GS_RUNQ_SIZE as the owner sees it. A thief may see
 * more (head loaded long before tail) and looks again.
 */
#include "runq.h"

#include "arch.h"
#include "worker.h"

struct gs_gq gs_global;
struct gs_gq gs_express;
struct gs_gq gs_bound;

void gs_runq_init(void)
{
	gs_global = (struct gs_gq){.len = &gs_hdr->global_len};
	gs_express = (struct gs_gq){.len = &gs_hdr->express_len};
	gs_bound = (struct gs_gq){.len = &gs_hdr->bound_runnable};
}

#define PLACE(p, i) (&(p)->ring[(i) % GS_RUNQ_SIZE])

/* (a) and (b): true, and the caller ends it. By the owner of p. */
static inline bool begin_plain(struct gs_proc *p)
{
	if (!gs_load_relaxed(&gs_alone))
		return false;
	gs_store_relaxed(&p->plain, true);
	/* pairs with the membarrier in gs_sched_set_procs, which makes a fence of this */
	__asm__ volatile("" ::: "memory");
	gs_inject();
	if (gs_likely(gs_load_relaxed(&gs_alone)))
		return true;
	gs_store_relaxed(&p->plain, false);
	return false;
}

static inline void end_plain(struct gs_proc *p)
{
	/* pairs with the acquire in gs_runq_shared */
	gs_store_release(&p->plain, false);
}

void gs_runq_shared(void)
{
	unsigned int n = 0;

	/* acquire: what the owner did there */
	while (gs_load_acquire(&gs_procs[0].plain))
		gs_backoff(n++);
}

/* So far ahead of the one that is taken out of the global queue: some are on their way then. */
#define AHEAD 12

/* Half of a full queue and f go to the global queue; false: a thief made room. */
static bool put_slow(struct gs_proc *p, struct gs_fiber *f, uint32_t head)
{
	const uint32_t n = GS_RUNQ_SIZE / 2;
	struct gs_fiber *batch[GS_RUNQ_SIZE / 2 + 1];

	for (uint32_t i = 0; i < n; i++)
		batch[i] = gs_load_relaxed(PLACE(p, head + i));
	if (!gs_cas_release(&p->line->head, &head, head + n))
		return false;
	batch[n] = f;
	for (uint32_t i = 0; i < n; i++) {
		batch[i]->next = batch[i + 1];
		batch[i]->ahead = batch[i + AHEAD < n ? i + AHEAD : n];
	}
	gs_gq_put_list(&gs_global, batch[0], f, n + 1);
	return true;
}

void gs_runq_put(struct gs_proc *p, struct gs_fiber *f)
{
	for (;;) {
		uint32_t head = gs_load_acquire(&p->line->head);
		uint32_t tail = gs_load_relaxed(&p->line->tail);

		if (gs_likely(tail - head < GS_RUNQ_SIZE)) {
			gs_store_relaxed(PLACE(p, tail), f);
			gs_store_release(&p->line->tail, tail + 1);
			return;
		}
		if (put_slow(p, f, head))
			return;
	}
}

bool gs_runq_put_next(struct gs_proc *p, struct gs_fiber *f)
{
	bool fenced = false;
	uint64_t old;

	if (begin_plain(p)) {
		old = gs_load_relaxed(&p->line->runnext);
		gs_inject();
		gs_store_relaxed(&p->line->runnext, (uint64_t)(uintptr_t)f);
		end_plain(p);
	} else {
		old = gs_xchg_seq(&p->line->runnext, (uint64_t)(uintptr_t)f);
		gs_full_fence_after_xchg();
		fenced = true;
	}
	if (!old)
		return fenced;
	gs_runq_put(p, (struct gs_fiber *)(uintptr_t)old);
	return false;
}

static struct gs_fiber *ring_get(struct gs_proc *p)
{
	uint32_t head;

	/*
	 * head by acquire, so that tail is not older; tail by acquire: pairs with the
	 * release in gs_runq_put when p is not the caller's own
	 */
	while (head = gs_load_acquire(&p->line->head), head != gs_load_acquire(&p->line->tail)) {
		struct gs_fiber *f = gs_load_relaxed(PLACE(p, head));

		if (gs_cas_release(&p->line->head, &head, head + 1))
			return f;
	}
	return NULL;
}

static struct gs_fiber *take_runnext(struct gs_proc *p)
{
	if (!gs_load_relaxed(&p->line->runnext))
		return NULL;
	/* acquire: pairs with the exchange in gs_runq_put_next when a thief takes it */
	return (struct gs_fiber *)(uintptr_t)gs_xchg_acquire(&p->line->runnext, 0);
}

/* The same two, by the owner within begin_plain. */
static struct gs_fiber *plain_ring_get(struct gs_proc *p)
{
	uint32_t head = gs_load_relaxed(&p->line->head);
	struct gs_fiber *f;

	if (head == gs_load_relaxed(&p->line->tail))
		return NULL;
	f = gs_load_relaxed(PLACE(p, head));
	gs_inject();
	gs_store_relaxed(&p->line->head, head + 1);
	return f;
}

static struct gs_fiber *plain_take_runnext(struct gs_proc *p)
{
	uint64_t next = gs_load_relaxed(&p->line->runnext);

	gs_inject();
	if (next)
		gs_store_relaxed(&p->line->runnext, 0);
	return (struct gs_fiber *)(uintptr_t)next;
}

struct gs_fiber *gs_runq_get(struct gs_proc *p)
{
	bool plain = begin_plain(p);
	struct gs_fiber *f = plain ? plain_take_runnext(p) : take_runnext(p);

	if (f)
		p->inherits = true;
	else
		f = plain ? plain_ring_get(p) : ring_get(p);
	if (plain)
		end_plain(p);
	return f;
}

struct gs_fiber *gs_runq_take(struct gs_proc *p)
{
	struct gs_fiber *f = take_runnext(p);

	return f ? f : ring_get(p);
}

struct gs_fiber *gs_runq_get_fair(struct gs_proc *p)
{
	struct gs_fiber *f = take_runnext(p);

	if (f)
		gs_runq_put(p, f);
	return ring_get(p);
}

bool gs_runq_empty(const struct gs_proc *p)
{
	uint32_t head = gs_load_acquire(&p->line->head);

	return head == gs_load_acquire(&p->line->tail) && !gs_load_relaxed(&p->line->runnext);
}

struct gs_fiber *gs_runq_steal(struct gs_proc *p, struct gs_proc *victim, bool take_next)
{
	uint32_t tail = gs_load_relaxed(&p->line->tail);
	struct gs_fiber *f = NULL;

	for (;;) {
		uint32_t head = gs_load_acquire(&victim->line->head);
		uint32_t n = gs_load_acquire(&victim->line->tail) - head;

		n -= n / 2;
		if (n == 0)
			return take_next ? take_runnext(victim) : NULL;
		if (n > GS_RUNQ_SIZE / 2)
			continue; /* head and tail are from different times */
		for (uint32_t i = 0; i < n; i++) {
			f = gs_load_relaxed(PLACE(victim, head + i));
			gs_store_relaxed(PLACE(p, tail + i), f);
		}
		if (gs_cas_acq_rel(&victim->line->head, &head, head + n)) {
			/* the last one is returned, the others become visible */
			if (n > 1)
				gs_store_release(&p->line->tail, tail + n - 1);
			return f;
		}
	}
}

static bool interrupted(const struct gs_fiber *f)
{
	return f->reason == GS_WAIT_PREEMPTED || f->reason == GS_WAIT_PROC;
}

/* last: the only one that may have been interrupted. */
void gs_gq_put_list(struct gs_gq *q, struct gs_fiber *first, struct gs_fiber *last, uint32_t n)
{
	last->next = NULL;
	gs_lock_acquire(&q->lock);
	if (interrupted(last))
		gs_store_relaxed(&q->interrupted, q->interrupted + 1);
	if (q->tail)
		q->tail->next = first;
	else
		q->head = first;
	q->tail = last;
	gs_store_relaxed(q->len, *q->len + n);
	gs_lock_release(&q->lock);
}

void gs_gq_put(struct gs_gq *q, struct gs_fiber *f)
{
	/* how many have left the global queue when those before f have: gs_bound_first */
	if (q == &gs_bound)
		gs_store_relaxed(&f->frozen->turn,
				 gs_load_relaxed(&gs_global.out) + gs_load_relaxed(gs_global.len));
	gs_gq_put_list(q, f, f, 1);
}

bool gs_bound_first(void)
{
	struct gs_gq *q = &gs_bound;
	struct gs_fiber *f;
	bool first;

	if (!gs_load_relaxed(q->len))
		return false;
	if (!gs_load_relaxed(gs_global.len))
		return true;
	gs_lock_acquire(&q->lock);
	f = q->head;
	first = f &&
		(int32_t)(gs_load_relaxed(&gs_global.out) - gs_load_relaxed(&f->frozen->turn)) >= 0;
	gs_lock_release(&q->lock);
	return first;
}

/* f has been taken out; lock held. */
static void left(struct gs_gq *q, const struct gs_fiber *f)
{
	if (interrupted(f))
		gs_store_relaxed(&q->interrupted, q->interrupted - 1);
	gs_store_relaxed(q->len, *q->len - 1);
	gs_store_relaxed(&q->out, q->out + 1);
}

static struct gs_fiber *gq_pop(struct gs_gq *q)
{
	struct gs_fiber *f = q->head;

	if (f) {
		q->head = f->next;
		gs_fiber_prefetch(f->ahead);
		if (!q->head)
			q->tail = NULL;
		left(q, f);
	}
	return f;
}

struct gs_fiber *gs_gq_get(struct gs_gq *q)
{
	struct gs_fiber *f;

	if (!gs_load_relaxed(q->len))
		return NULL;
	gs_lock_acquire(&q->lock);
	f = gq_pop(q);
	gs_lock_release(&q->lock);
	return f;
}

/* Take out f, or without one the first that was interrupted. */
static struct gs_fiber *take_out(struct gs_gq *q, const struct gs_fiber *f)
{
	struct gs_fiber **at = &q->head, *before = NULL, *found;

	gs_lock_acquire(&q->lock);
	while (*at && (f ? *at != f : !interrupted(*at))) {
		before = *at;
		at = &before->next;
	}
	found = *at;
	if (found) {
		*at = found->next;
		if (q->tail == found)
			q->tail = before;
		left(q, found);
	}
	gs_lock_release(&q->lock);
	return found;
}

bool gs_gq_remove(struct gs_gq *q, struct gs_fiber *f)
{
	return take_out(q, f);
}

uint32_t gs_gq_interrupted(void)
{
	return gs_load_relaxed(&gs_express.interrupted) + gs_load_relaxed(&gs_global.interrupted);
}

uint32_t gs_gq_out(void)
{
	return gs_load_relaxed(&gs_express.out) + gs_load_relaxed(&gs_global.out) +
	       gs_load_relaxed(&gs_bound.out);
}

struct gs_fiber *gs_gq_get_interrupted(void)
{
	struct gs_fiber *f = NULL;

	if (gs_load_relaxed(&gs_express.interrupted))
		f = take_out(&gs_express, NULL);
	if (!f && gs_load_relaxed(&gs_global.interrupted))
		f = take_out(&gs_global, NULL);
	return f;
}

struct gs_fiber *gs_gq_get_batch(struct gs_gq *q, struct gs_proc *p, uint32_t nproc)
{
	struct gs_fiber *first, *f, *rest = NULL, **end = &rest;
	uint32_t n;

	if (!gs_load_relaxed(q->len))
		return NULL;
	gs_lock_acquire(&q->lock);
	n = *q->len / nproc + 1;
	if (n > GS_RUNQ_SIZE / 2)
		n = GS_RUNQ_SIZE / 2;
	first = gq_pop(q);
	while (first && --n > 0 && q->head && !interrupted(q->head)) {
		f = gq_pop(q);
		*end = f;
		end = &f->next;
	}
	*end = NULL;
	gs_lock_release(&q->lock);
	/* outside the lock: a full local queue would come back to it */
	while (rest) {
		f = rest;
		rest = f->next;
		gs_runq_put(p, f);
	}
	return first;
}
