/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dead.h"

#include "base/lock.h"

/* Linked by wake, which who is dead has no use for: the first of each batch, and these alone. */
static struct {
	struct gs_lock lock;
	struct gs_fiber *batches; /* lock; a hint elsewhere */
	struct gs_fiber *singles; /* lock: of threads without a proc; a hint elsewhere */
} depot[2];

static void depot_put(bool warm, struct gs_fiber *batch)
{
	gs_lock_acquire(&depot[warm].lock);
	batch->wake = depot[warm].batches;
	gs_store_relaxed(&depot[warm].batches, batch);
	gs_lock_release(&depot[warm].lock);
}

static struct gs_fiber *depot_get(bool warm)
{
	struct gs_fiber *batch;

	if (!gs_load_relaxed(&depot[warm].batches))
		return NULL;
	gs_lock_acquire(&depot[warm].lock);
	batch = depot[warm].batches;
	if (batch)
		gs_store_relaxed(&depot[warm].batches, batch->wake);
	gs_lock_release(&depot[warm].lock);
	return batch;
}

static void single_put(bool warm, struct gs_fiber *f)
{
	gs_lock_acquire(&depot[warm].lock);
	f->next = depot[warm].singles;
	gs_store_relaxed(&depot[warm].singles, f);
	gs_lock_release(&depot[warm].lock);
}

/* By a thread without a proc: a batch is broken up for it. */
static struct gs_fiber *single_get(bool warm)
{
	struct gs_fiber *f;

	if (!gs_load_relaxed(&depot[warm].singles) && !gs_load_relaxed(&depot[warm].batches))
		return NULL;
	gs_lock_acquire(&depot[warm].lock);
	f = depot[warm].singles;
	if (!f) {
		f = depot[warm].batches;
		if (f)
			gs_store_relaxed(&depot[warm].batches, f->wake);
	}
	if (f)
		gs_store_relaxed(&depot[warm].singles, f->next);
	gs_lock_release(&depot[warm].lock);
	return f;
}

void gs_dead_put_slow(struct gs_dead d[2], struct gs_fiber *f)
{
	bool warm = f->ref.stack.warm;

	if (!d) {
		single_put(warm, f);
		return;
	}
	d += warm;
	if (d->batch)
		depot_put(warm, d->batch);
	d->batch = d->list;
	f->next = NULL;
	d->list = f;
	d->n = 1;
}

/* Only to be asked if a look at what there might be says so. */
static bool __attribute__((noinline)) refill(struct gs_dead *d, bool warm)
{
	d->list = d->batch ? d->batch : depot_get(warm);
	d->batch = NULL;
	d->n = d->list ? GS_DEAD_BATCH : 0;
	return d->list;
}

static struct gs_fiber *get(struct gs_dead *d, bool warm)
{
	struct gs_fiber *f;

	if (!d->list && ((!d->batch && !gs_load_relaxed(&depot[warm].batches)) || !refill(d, warm)))
		return NULL;
	f = d->list;
	d->list = f->next;
	d->n--;
	return f;
}

struct gs_fiber *gs_dead_get(struct gs_dead d[2])
{
	struct gs_fiber *f;

	if (gs_likely(d != NULL)) {
		f = get(&d[0], false);
		if (!f)
			f = get(&d[1], true);
		if (f)
			return f;
	}
	/* what threads without a proc left */
	f = single_get(false);
	return f ? f : single_get(true);
}

void gs_dead_warm(struct gs_dead d[2], struct gs_fiber *f)
{
	struct gs_fiber *dead = get(&d[1], true);

	if (!dead)
		return;
	gs_stack_swap(&f->ref.stack, &dead->ref.stack);
	gs_dead_put(d, dead);
}
