/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pools. Each proc has a stack of objects, in chunks, under a lock that is hardly ever
 * contended: only who finds his own stack empty comes for another's. Ordinary threads
 * share the first.
 *
 * The table with the stacks is one of sync_tables.h.
 */
#include <gsched/sync.h>

#include <stdlib.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "panic.h"
#include "sched.h"
#include "sync_tables.h"

#define CHUNK_ITEMS 62
#define STACKS 64 /* procs beyond share */

struct chunk {
	struct chunk *next;
	size_t n;
	void *items[CHUNK_ITEMS];
};

/* Protection: [L] lock; [LR] written under lock, a hint to others. */
struct stack {
	struct gs_lock lock;
	uint32_t filled;      /* LR: there is something */
	const gs_pool *owner; /* L: NULL none */
	struct chunk *top;    /* L: no empty ones */
	struct chunk *spare;  /* L: an empty one */
} __attribute__((aligned(64)));

struct gs_pool_table {
	struct gs_table table;
	uint32_t used; /* atomic: stacks that were ever pushed to; only grows */
	struct stack stacks[STACKS];
};

static struct gs_tables tables = {
	.align = _Alignof(struct gs_pool_table),
	.size = sizeof(struct gs_pool_table),
};
GS_LOCK_FORKS(pool_tables_lock, tables.lock);

/* An empty table's stacks are p's from now on. Depth 0. */
static void table_own(struct gs_pool_table *t, const gs_pool *p)
{
	for (int i = 0; i < STACKS; i++) {
		gs_rt_enter();
		gs_lock_acquire(&t->stacks[i].lock);
		t->stacks[i].owner = p;
		gs_lock_release(&t->stacks[i].lock);
		gs_rt_leave();
	}
}

/* How far the giving up of a table has come. */
struct disown {
	struct gs_pool_table *t; /* NULL: it is over */
	gs_pool *p;
	void (*each)(gs_pool *p, void *x);
	int next;	     /* of the stacks */
	struct chunk *chunk; /* not yet freed, its items from k on not yet seen */
	size_t k;
};

/* The next stack is nobody's any more. */
static struct chunk *disown_stack(struct stack *s)
{
	struct chunk *c;

	gs_rt_enter();
	gs_lock_acquire(&s->lock);
	c = s->top;
	if (s->spare) {
		s->spare->next = c;
		c = s->spare;
	}
	s->top = NULL;
	s->spare = NULL;
	s->owner = NULL;
	gs_store_relaxed(&s->filled, 0);
	gs_lock_release(&s->lock);
	gs_rt_leave();
	return c;
}

/* The rest of it, deferred as well: each may panic or exit, and the others have their turn. */
static void disown_rest(void *arg)
{
	struct disown *d = arg;
	struct gs_deferred deferred;

	if (!d->t)
		return;
	gs_defer_push(&deferred, disown_rest, d);
	while (d->chunk || d->next < STACKS) {
		struct chunk *c = d->chunk;

		if (!c) {
			d->chunk = disown_stack(&d->t->stacks[d->next++]);
			d->k = 0;
		} else if (d->k < c->n) {
			d->each(d->p, c->items[d->k++]);
		} else {
			d->chunk = c->next;
			d->k = 0;
			free(c);
		}
	}
	gs_tables_put(&tables, &d->t->table);
	d->t = NULL;
	gs_defer_pop(&deferred);
}

/* Its stacks are nobody's any more, and each(p, x) gets what was on them. Depth 0. */
static void table_disown(struct gs_pool_table *t, gs_pool *p, void (*each)(gs_pool *p, void *x))
{
	struct disown d = {.t = t, .p = p, .each = each};

	disown_rest(&d);
}

/*
 * Give p a table, unless another did. False: no memory. Who is about to put something into
 * a table that p had before may find it p's again, though it is not to become p's table.
 */
static bool table_get(gs_pool *p)
{
	struct gs_pool_table *t, *other = NULL;
	bool fresh;

	t = (struct gs_pool_table *)gs_tables_get(&tables, &fresh);
	if (!t)
		return false;
	table_own(t, p);
	/* acq_rel: pairs with the acquire in put and get */
	if (!gs_cas_acq_rel(&p->table, &other, t))
		table_disown(t, p, gs_pool_put);
	return true;
}

/* The stack of the proc we are on. Entered. */
static uint32_t mine(void)
{
	uint32_t proc = gs_proc_here();

	return proc ? 1 + (proc - 1) % (STACKS - 1) : 0;
}

enum push { PUSHED, NO_ROOM, NOT_OURS };

/* Locked. *chunk is used if it is needed. */
static enum push push(struct stack *s, const gs_pool *p, void *x, struct chunk **chunk)
{
	struct chunk *c = s->top;

	if (s->owner != p)
		return NOT_OURS;
	if (!c || c->n == CHUNK_ITEMS) {
		c = s->spare;
		s->spare = NULL;
		if (!c) {
			c = *chunk;
			*chunk = NULL;
		}
		if (!c)
			return NO_ROOM;
		c->n = 0;
		c->next = s->top;
		s->top = c;
	}
	c->items[c->n++] = x;
	gs_store_relaxed(&s->filled, 1);
	return PUSHED;
}

void gs_pool_put(gs_pool *p, void *x)
{
	struct chunk *chunk = NULL;
	enum push r = NOT_OURS;

	if (!x)
		return;
	do {
		struct gs_pool_table *t = gs_load_acquire(&p->table);
		uint32_t i;

		/* there is one already if a clear took the table before it was used */
		if (gs_unlikely(r == NO_ROOM && !chunk)) {
			chunk = malloc(sizeof(*chunk));
			if (!chunk)
				break;
		}
		if (gs_unlikely(!t)) {
			if (!table_get(p))
				break;
			continue;
		}
		gs_rt_enter();
		i = mine();
		gs_lock_acquire(&t->stacks[i].lock);
		r = push(&t->stacks[i], p, x, &chunk);
		gs_lock_release(&t->stacks[i].lock);
		if (r == PUSHED && i >= gs_load_relaxed(&t->used)) {
			uint32_t used = gs_load_relaxed(&t->used);

			while (used <= i && !gs_cas_acq_rel(&t->used, &used, i + 1))
				;
		}
		gs_rt_leave();
	} while (r != PUSHED);
	free(chunk);
	if (gs_unlikely(r != PUSHED) && p->drop_fn)
		p->drop_fn(x);
}

/* Entered; *chunk gets one to be freed. */
static void *pop(struct stack *s, const gs_pool *p, struct chunk **chunk)
{
	struct chunk *c;
	void *x = NULL;

	if (!gs_load_relaxed(&s->filled))
		return NULL;
	gs_lock_acquire(&s->lock);
	c = s->owner == p ? s->top : NULL;
	if (c) {
		x = c->items[--c->n];
		if (!c->n) {
			s->top = c->next;
			*chunk = s->spare;
			s->spare = c;
			gs_store_relaxed(&s->filled, s->top != NULL);
		}
	}
	gs_lock_release(&s->lock);
	return x;
}

void *gs_pool_get(gs_pool *p)
{
	struct gs_pool_table *t = gs_load_acquire(&p->table);
	struct chunk *chunk = NULL;
	void *x = NULL;

	if (gs_likely(t != NULL)) {
		uint32_t used = gs_load_relaxed(&t->used), i;

		gs_rt_enter();
		i = mine();
		x = pop(&t->stacks[i], p, &chunk);
		for (uint32_t k = 0; !x && k < used; k++)
			x = pop(&t->stacks[(i + k) % used], p, &chunk);
		gs_rt_leave();
		free(chunk);
	}
	if (!x && p->new_fn)
		x = p->new_fn();
	return x;
}

static void drop(gs_pool *p, void *x)
{
	if (p->drop_fn)
		p->drop_fn(x);
}

void gs_pool_clear(gs_pool *p)
{
	struct gs_pool_table *t = gs_xchg_seq(&p->table, (struct gs_pool_table *)0);

	if (t)
		table_disown(t, p, drop);
}
