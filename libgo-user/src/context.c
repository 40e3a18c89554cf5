/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contexts.
 *
 * Four kinds. A value is a link in the chain of parents and no more. What can be
 * cancelled, and what ends cancellation from above (without_cancel and the static ones),
 * is a core; every context points to its nearest core, itself or above, and err, done,
 * deadline and hooks are that core's. A core that can be cancelled is on the list of
 * children of the nearest one above it that can be, `up`.
 *
 * References. A context holds its parent, so `up` and `core` outlive whoever points at
 * them. The list of children holds nothing: a child whose count is 0 is on its way to
 * take itself off the list, for which it needs the parent's lock; so whoever has that
 * lock may look at every child, and takes a reference by "add one unless it is 0". The
 * timer holds nothing, either; the last unref stops it, and waits for a run under way.
 *
 * Cancelling a tree. Whoever sets err, once, under the core's lock, owns the propagation:
 *
 *	begin(c): set cause, done, err; close done; start the hooks' fibers
 *	for each child: begin(child) and so on, depth first
 *	settle(c): nothing above 0 is left below c
 *	take c off its parent's list
 *
 * One lock at a time, held for a few instructions, for the children are taken off the
 * list one by one; no recursion, the cores under way are chained through `below`. Nobody
 * else's code runs under a lock or within the propagation: hooks have fibers of their own.
 *
 * A cancel that comes second, from outside or in another's propagation from above, waits
 * until c is settled, so that each returns only when all below is cancelled (in Go the
 * mutex of c does that). They wait downwards only: who propagates c waits for cores below
 * c. And a core stays on its parent's list until it is settled, or one who cancels the
 * parent would not know of it.
 *
 * Deadlines. The timer fires on the poller, which must not block, allocate, or run long.
 * It puts the core on the list of those due and starts a fiber that was made before, the
 * spare; that fiber first makes the next spare, then cancels what is due. What is put on
 * the list while there is no spare comes before that fiber looks at the list: nothing
 * is forgotten. While there is no memory for a spare, the fiber stays itself.
 *
 * Locks, in this order; no two of a kind at the same time:
 *	a core's lock
 *	the timer heap's (arming)
 * and each alone: due.lock, slots.lock, a channel's. On the poller: due.lock.
 */
#include <gsched/context.h>

#include <errno.h>
#include <gsched/runtime.h>
#include <gsched/sync.h>
#include <gsched/time.h>
#include <stdlib.h>
#include <string.h>

#include "base/fatal.h"
#include "base/list.h"
#include "base/sanitizer.h"
#include "chan.h"
#include "fiber.h"
#include "leak.h"
#include "sched_int.h"
#include "timer.h"
#include "waitq.h"

enum kind {
	KIND_STATIC,
	KIND_VALUE,
	KIND_CANCEL,
	KIND_DEADLINE,
	KIND_WITHOUT,
};

/* All of it but the count is written before anybody sees it. */
struct gs_context {
	uint32_t refs; /* atomic */
	enum kind kind;
	struct gs_context *parent; /* held; NULL: static */
	struct core *core;
};

struct value {
	struct gs_context ctx;
	const void *key;
	void *value;
};

/*
 * Protection: [I] never changes; [L] lock; [LR] written under lock, read anywhere with
 * acquire; [U] up's lock; [B] whoever set err.
 */
struct core {
	struct gs_context ctx;
	struct core *up; /* I: who cancels it; NULL nobody */
	struct gs_lock lock;
	int32_t err;		 /* LR: 0 -> what it stays; after cause and done */
	int32_t cause;		 /* LR: by err */
	bool settled;		 /* LR: err has reached all below */
	bool has_deadline;	 /* I */
	int64_t deadline;	 /* I: ns CLOCK_MONOTONIC */
	gs_chan *done;		 /* LR: made by need; &closed_chan */
	struct gs_list children; /* L: cores, by node; none are added once err is set */
	struct gs_list node;	 /* U: points at itself when on no list */
	struct gs_list hooks;	 /* L: struct slot; none are added once err is set */
	struct gs_waitq waiters; /* L: for settled */
	struct core *below;	 /* B: the next one of those under way, its parent */
};

struct timed {
	struct core core;
	int cause;		/* I: when the deadline cancels it; 0 none */
	struct gs_rtimer timer; /* armed under the core's lock, at most once */
	struct timed *next;	/* due.lock */
};

#define STATIC_CORE(name)                                                                          \
	{                                                                                          \
		.ctx = {.kind = KIND_STATIC, .core = &(name)},                                     \
		.children = {&(name).children, &(name).children},                                  \
		.node = {&(name).node, &(name).node}, .hooks = {&(name).hooks, &(name).hooks},     \
	}

static struct core background = STATIC_CORE(background);
static struct core todo = STATIC_CORE(todo);
GS_LOCK_FORKS(background_lock, background.lock);
GS_LOCK_FORKS(todo_lock, todo.lock);

/* What all contexts share that were cancelled before anybody asked for their channel. */
static struct gs_chan closed_chan = {.flags = GS_CHAN_F_CLOSED, .refs = 1};
GS_LOCK_FORKS(closed_chan_lock, closed_chan.lock);

static inline struct core *core_of(gs_context *ctx)
{
	return ctx ? ctx->core : &background;
}

static inline bool can_cancel(const struct core *c)
{
	return c->ctx.kind == KIND_CANCEL || c->ctx.kind == KIND_DEADLINE;
}

/* A function of its own: it must not know errno's address from before a park. */
static void *__attribute__((noinline, cold)) fail(int err)
{
	errno = err;
	__asm__ volatile("" ::: "memory");
	return NULL;
}

static void lock_core(struct core *c)
{
	gs_rt_enter();
	gs_lock_acquire(&c->lock);
}

static void unlock_core(struct core *c)
{
	gs_lock_release(&c->lock);
	gs_rt_leave();
}

/* ------------------------------------------------------------------------- */
/* References                                                                  */

gs_context *gs_context_ref(gs_context *ctx)
{
	if (ctx && ctx->kind != KIND_STATIC)
		gs_fetch_add_relaxed(&ctx->refs, 1);
	return ctx;
}

/* Of one that may be on its way to be freed, but is not yet: see above. */
static bool ref_unless_zero(gs_context *ctx)
{
	uint32_t n = gs_load_relaxed(&ctx->refs);

	while (n)
		/* acquire: pairs with the release of whoever gave up the other references */
		if (gs_cas_acquire(&ctx->refs, &n, n + 1))
			return true;
	return false;
}

static void drop_hooks(struct core *c);

static void free_core(struct core *c)
{
	if (c->up) {
		lock_core(c->up);
		gs_list_del(&c->node);
		unlock_core(c->up);
	}
	if (c->ctx.kind == KIND_DEADLINE) {
		struct gs_rtimer *t = &((struct timed *)c)->timer;

		gs_rt_enter();
		if (!gs_rtimer_stop(t))
			gs_rtimer_sync(t);
		gs_rt_leave();
	}
	drop_hooks(c);
	if (c->done != &closed_chan)
		gs_chan_unref(c->done);
}

void gs_context_unref(gs_context *ctx)
{
	/* a chain of parents may be long: no recursion */
	while (ctx && ctx->kind != KIND_STATIC) {
		gs_context *parent = ctx->parent;

		/* acq_rel: what others did with it before they let go is seen by the last */
		if (gs_fetch_sub_acq_rel(&ctx->refs, 1) != 1)
			return;
		if (ctx->kind != KIND_VALUE)
			free_core((struct core *)ctx);
		gs_leak_freed(ctx);
		free(ctx);
		ctx = parent;
	}
}

/* ------------------------------------------------------------------------- */
/* Hooks                                                                       */

/*
 * A hook's handle must stay good after it was called or stopped, as long as its context,
 * which may live as long as the process; the hook's memory need not. So hooks are slots of
 * a table, used again and again, and a handle is an index and a generation: the slot's
 * is raised when the hook is taken off its context, and then old handles are stale.
 *
 * Who has a handle holds the context. So when the generation is the handle's, before and
 * after the owner was read, that owner is alive, and under its lock the generation says
 * whether the hook still stands there.
 */
struct slot {
	uint32_t gen;	     /* owner's lock; read anywhere */
	uint32_t next;	     /* slots.lock: of the free list; its index + 1 */
	uint32_t index;	     /* I: its own */
	struct core *owner;  /* written by who took the slot, read anywhere */
	struct gs_list node; /* owner's lock */
	void (*fn)(void *);  /* owner's lock */
	void *arg;	     /* owner's lock */
};

/* Chunk k holds FIRST << k slots, so an index tells its chunk and nothing ever moves. */
#define FIRST_BITS 6
#define FIRST (1u << FIRST_BITS)
#define CHUNKS (32 - FIRST_BITS)

static struct {
	struct gs_lock lock;
	uint32_t used;		     /* lock: slots ever taken */
	uint32_t room;		     /* lock: slots there are */
	uint32_t nchunks;	     /* lock */
	uint32_t free;		     /* lock: index + 1 */
	struct slot *chunks[CHUNKS]; /* written under lock; read by who has an index */
} slots;
GS_LOCK_FORKS(slots_lock, slots.lock);

_Static_assert(sizeof(void *) == 8, "a hook's handle holds two words of 32 bits");

static struct slot *slot_at(uint32_t index)
{
	uint32_t n = index + FIRST;
	unsigned k = 31u - (unsigned)__builtin_clz(n) - FIRST_BITS;

	/* relaxed: whoever has the index got it after the chunk was stored */
	return &gs_load_relaxed(&slots.chunks[k])[n - (FIRST << k)];
}

static gs_context_hook *slot_handle(const struct slot *s)
{
	return (gs_context_hook *)((uint64_t)s->gen << 32 | (s->index + 1));
}

/* A slot nobody else has; NULL: no memory. Depth 0. */
static struct slot *slot_get(void)
{
	for (;;) {
		struct slot *s = NULL, *chunk;
		uint32_t k;

		gs_rt_enter();
		gs_lock_acquire(&slots.lock);
		if (slots.free) {
			s = slot_at(slots.free - 1);
			slots.free = s->next;
		} else if (slots.used < slots.room) {
			s = slot_at(slots.used);
			s->index = slots.used++;
		}
		k = slots.nchunks;
		gs_lock_release(&slots.lock);
		gs_rt_leave();
		if (s)
			return s;
		chunk = k < CHUNKS ? calloc((size_t)FIRST << k, sizeof(*chunk)) : NULL;
		if (!chunk)
			return NULL;
		gs_rt_enter();
		gs_lock_acquire(&slots.lock);
		if (slots.nchunks == k) {
			gs_store_relaxed(&slots.chunks[k], chunk);
			slots.nchunks++;
			slots.room += FIRST << k;
			chunk = NULL;
		}
		gs_lock_release(&slots.lock);
		gs_rt_leave();
		free(chunk);
	}
}

/* Entered, no locks. */
static void slot_put(struct slot *s)
{
	gs_lock_acquire(&slots.lock);
	s->next = slots.free;
	slots.free = s->index + 1;
	gs_lock_release(&slots.lock);
}

/* The hook is no longer its context's. Under the owner's lock; slot_put follows. */
static void slot_retire(struct slot *s)
{
	gs_list_del(&s->node);
	/* release: whoever finds it raised finds what came before; see slot_owner */
	gs_store_release(&s->gen, s->gen + 1);
}

/* Take the first hook off c, with what it calls. */
static bool take_hook(struct core *c, void (**fn)(void *), void **arg)
{
	struct slot *s = NULL;

	lock_core(c);
	if (!gs_list_empty(&c->hooks)) {
		s = gs_container_of(c->hooks.next, struct slot, node);
		*fn = s->fn;
		*arg = s->arg;
		slot_retire(s);
	}
	gs_lock_release(&c->lock);
	if (s)
		slot_put(s);
	gs_rt_leave();
	return s;
}

/* Nobody cancelled it, and nobody has it any more. */
static void drop_hooks(struct core *c)
{
	void (*fn)(void *);
	void *arg;

	while (!gs_list_empty(&c->hooks))
		take_hook(c, &fn, &arg);
}

/* A hook must not be forgotten: wait for memory as long as there is hope. */
static void start_hook(void (*fn)(void *), void *arg)
{
	int r;

	for (int i = 0; (r = gs_go(fn, arg)); i++) {
		/* the child of a fork, where no fiber starts */
		if (r == -EPERM)
			return;
		if (i == 10000)
			gs_fatal("gs_context_after_func: no memory for a fiber");
		gs_sleep(1000000);
	}
}

static int err_of(struct core *c)
{
	/* acquire: pairs with the release in begin */
	int err = gs_load_acquire(&c->err);
	/* acquire: pairs with the release in begin, behind that of the error */
	const gs_chan *done = err ? gs_load_acquire(&c->done) : NULL;

	/* acquire: pairs with the release in gs_chan_close. Who sees an error finds it closed. */
	return done && gs_chan_closed(done) ? err : 0;
}

gs_context_hook *gs_context_after_func(gs_context *ctx, void (*fn)(void *), void *arg)
{
	struct core *c = core_of(ctx);
	gs_context_hook *hook;
	struct slot *s;
	bool late;
	int r;

	if (!fn)
		gs_panic("go of nil func value");
	r = gs_rt_start();
	if (r)
		return fail(-r);
	s = slot_get();
	if (!s)
		return fail(ENOMEM);
	hook = slot_handle(s);
	s->fn = fn;
	s->arg = arg;
	/* release: pairs with the acquire in gs_context_hook_stop */
	gs_store_release(&s->owner, c);
	lock_core(c);
	gs_list_add_tail(&c->hooks, &s->node);
	/* not while begin is on its way to close done: it comes for all hooks after that */
	late = err_of(c);
	if (late)
		slot_retire(s);
	gs_lock_release(&c->lock);
	if (late)
		slot_put(s);
	gs_rt_leave();
	if (late) {
		r = gs_go(fn, arg);
		if (r)
			return fail(-r);
	}
	return hook;
}

bool gs_context_hook_stop(gs_context_hook *hook)
{
	uint32_t gen = (uint32_t)((uintptr_t)hook >> 32);
	struct core *c;
	struct slot *s;
	bool mine;

	if (!hook)
		return false;
	s = slot_at((uint32_t)(uintptr_t)hook - 1);
	/*
	 * acquire: an owner of a later life of the slot was stored after the generation was
	 * raised, which is then seen by the second look.
	 */
	c = gs_load_acquire(&s->owner);
	if (gs_load_acquire(&s->gen) != gen)
		return false;
	lock_core(c);
	/*
	 * relaxed: if it is raised, it may be by another owner's lock by now, for a later
	 * hook; if it is not, it cannot be while we hold this one.
	 */
	mine = gs_load_relaxed(&s->gen) == gen;
	if (mine)
		slot_retire(s);
	gs_lock_release(&c->lock);
	if (mine)
		slot_put(s);
	gs_rt_leave();
	return mine;
}

/* ------------------------------------------------------------------------- */
/* Cancellation                                                                */

/* Be the one who cancels c; false: another was, or is. */
static bool begin(struct core *c, int err, int cause)
{
	void (*fn)(void *);
	gs_chan *done;
	void *arg;

	lock_core(c);
	if (c->err) {
		unlock_core(c);
		return false;
	}
	gs_store_relaxed(&c->cause, cause);
	done = c->done;
	/* release: pairs with the acquire in err_of */
	gs_store_release(&c->err, err);
	/*
	 * The error first: who finds the channel closed asks for it. release: pairs with the
	 * acquire in gs_context_done.
	 */
	if (!done)
		gs_store_release(&c->done, &closed_chan);
	unlock_core(c);
	if (c->ctx.kind == KIND_DEADLINE) {
		/* armed before the lock was taken, or never */
		gs_rt_enter();
		gs_rtimer_stop(&((struct timed *)c)->timer);
		gs_rt_leave();
	}
	if (done)
		gs_chan_close(done);
	while (take_hook(c, &fn, &arg))
		start_hook(fn, arg);
	return true;
}

/* The next child of c, taken off its list, with a reference; NULL: there is none left. */
static struct core *next_child(struct core *c)
{
	struct core *child = NULL;

	lock_core(c);
	while (!child && !gs_list_empty(&c->children)) {
		child = gs_container_of(c->children.next, struct core, node);
		gs_list_del(&child->node);
		if (!ref_unless_zero(&child->ctx))
			child = NULL; /* its last unref waits for our lock */
	}
	unlock_core(c);
	return child;
}

static void settle(struct core *c)
{
	struct gs_sudog *chain;

	lock_core(c);
	/* release: pairs with the acquire in wait_settled */
	gs_store_release(&c->settled, true);
	chain = c->waiters.first;
	c->waiters.last = NULL;
	gs_store_relaxed(&c->waiters.first, NULL);
	gs_lock_release(&c->lock);
	gs_waitq_wake_all(chain);
	gs_rt_leave();
}

/* Another has begun to cancel c: until that has reached all below it. */
static void wait_settled(struct core *c)
{
	struct gs_sudog me = {0};

	/* acquire: pairs with the release in settle */
	if (gs_load_acquire(&c->settled))
		return;
	lock_core(c);
	if (c->settled) {
		unlock_core(c);
		return;
	}
	me.fiber = gs_self();
	gs_waitq_push(&c->waiters, &me);
	gs_park_unlock(&c->lock, GS_WAIT_MUTEX);
	gs_rt_leave();
}

/* The caller began root. */
static void propagate(struct core *root, int err, int cause)
{
	struct core *c = root;

	root->below = NULL;
	while (c) {
		struct core *child = next_child(c), *up;

		if (!child) {
			up = c->below;
			settle(c);
			if (c != root)
				gs_context_unref(&c->ctx);
			c = up;
		} else if (begin(child, err, cause)) {
			child->below = c;
			c = child;
		} else {
			wait_settled(child);
			gs_context_unref(&child->ctx);
		}
	}
}

static void cancel_core(struct core *c, int err, int cause)
{
	/* whoever is woken by it may drop the last reference */
	gs_context_ref(&c->ctx);
	if (begin(c, err, cause ? cause : err)) {
		propagate(c, err, cause ? cause : err);
		if (c->up) {
			lock_core(c->up);
			gs_list_del(&c->node);
			unlock_core(c->up);
		}
	} else {
		wait_settled(c);
	}
	gs_context_unref(&c->ctx);
}

void gs_cancel_call(gs_cancel *cancel)
{
	gs_cancel_cause(cancel, 0);
}

void gs_cancel_cause(gs_cancel *cancel, int err)
{
	if (cancel->ctx)
		cancel_core(cancel->ctx->core, -ECANCELED, err);
}

/* ------------------------------------------------------------------------- */
/* Deadlines                                                                   */

static struct {
	struct gs_lock lock;
	struct timed *first, *last; /* lock: each holds a reference */
	struct gs_fiber *spare;	    /* lock: it will run sweep */
	uint32_t made;		    /* atomic: there has been a spare */
} due;

/* Make the spare unless there is one: false if there is no memory. Depth 0. */
static bool make_spare(void (*sweep)(void *))
{
	struct gs_fiber *f;

	f = gs_fiber_get(sweep, NULL);
	if (!f)
		return false;
	gs_fiber_lay(f);
	strcpy(f->cold->name, "context deadlines");
	/* it does not exist before it is started, to dumps and to the deadlock check */
	gs_store_relaxed(&f->state, GS_IDLE);
	gs_rt_enter();
	gs_lock_acquire(&due.lock);
	if (!due.spare) {
		due.spare = f;
		f = NULL;
	}
	gs_lock_release(&due.lock);
	gs_rt_leave();
	if (f) {
		gs_san_fiber_destroy(&f->ref);
		gs_fiber_free(f);
	}
	/* release: pairs with the acquire in gs_with_deadline_cause */
	gs_store_release(&due.made, 1);
	return true;
}

static struct timed *take_due(void)
{
	struct timed *t;

	gs_rt_enter();
	gs_lock_acquire(&due.lock);
	t = due.first;
	if (t) {
		gs_race_acquire(t);
		due.first = t->next;
	}
	gs_lock_release(&due.lock);
	gs_rt_leave();
	return t;
}

/* The fiber that cancels what is due. */
static void sweep(void *arg)
{
	bool replaced;

	(void)arg;
	do {
		struct timed *t;

		replaced = make_spare(sweep);
		while ((t = take_due())) {
			cancel_core(&t->core, -ETIMEDOUT, t->cause);
			gs_context_unref(&t->core.ctx);
		}
		if (!replaced)
			gs_sleep(1000000);
	} while (!replaced);
}

/* On the poller. */
static void expire(struct gs_rtimer *timer)
{
	struct timed *t = gs_container_of(timer, struct timed, timer);
	struct gs_fiber *f;

	/* 0: its last unref waits for us to return */
	if (!ref_unless_zero(&t->core.ctx))
		return;
	t->next = NULL;
	gs_lock_acquire(&due.lock);
	if (due.first)
		due.last->next = t;
	else
		due.first = t;
	due.last = t;
	f = due.spare;
	due.spare = NULL;
	gs_lock_release(&due.lock);
	if (f)
		gs_fiber_start(f);
}

/* ------------------------------------------------------------------------- */
/* Constructors                                                                */

gs_context *gs_background(void)
{
	return &background.ctx;
}

gs_context *gs_todo(void)
{
	return &todo.ctx;
}

static void check_parent(const gs_context *parent)
{
	if (!parent)
		gs_panic("cannot create context from nil parent");
}

static void *new_context(size_t size, enum kind kind, gs_context *parent)
{
	gs_context *ctx = calloc(1, size);

	if (!ctx)
		return fail(ENOMEM);
	ctx->refs = 1;
	ctx->kind = kind;
	ctx->parent = gs_context_ref(parent);
	gs_leak_made(GS_LEAK_CONTEXT, ctx);
	return ctx;
}

static struct core *new_core(size_t size, enum kind kind, gs_context *parent)
{
	struct core *c = new_context(size, kind, parent);

	if (c) {
		c->ctx.core = c;
		gs_list_init(&c->children);
		gs_list_init(&c->node);
		gs_list_init(&c->hooks);
	}
	return c;
}

/* Below what can cancel it, or cancelled at once. */
static void link_core(struct core *c)
{
	struct core *up = c->ctx.parent->core;

	if (!can_cancel(up))
		return;
	c->up = up;
	lock_core(up);
	if (!up->err) {
		gs_list_add_tail(&up->children, &c->node);
	} else {
		c->cause = up->cause;
		c->err = up->err;
		c->done = &closed_chan;
		c->settled = true;
	}
	unlock_core(up);
}

static gs_context *give(struct core *c, gs_cancel *cancel)
{
	if (cancel)
		cancel->ctx = c ? &c->ctx : NULL;
	return c ? &c->ctx : NULL;
}

gs_context *gs_with_cancel(gs_context *parent, gs_cancel *cancel)
{
	struct core *c;

	check_parent(parent);
	c = new_core(sizeof(*c), KIND_CANCEL, parent);
	if (c) {
		c->has_deadline = parent->core->has_deadline;
		c->deadline = parent->core->deadline;
		link_core(c);
	}
	return give(c, cancel);
}

gs_context *gs_with_deadline_cause(gs_context *parent, int64_t when, int cause, gs_cancel *cancel)
{
	struct timed *t;
	bool passed;
	int r;

	check_parent(parent);
	if (parent->core->has_deadline && parent->core->deadline < when)
		return gs_with_cancel(parent, cancel);
	passed = when <= gs_now();
	if (!passed) {
		r = gs_rt_start();
		/* acquire: pairs with the release in make_spare */
		if (!r && !gs_load_acquire(&due.made) && !make_spare(sweep))
			r = -ENOMEM;
		if (r) {
			give(NULL, cancel);
			return fail(-r);
		}
	}
	t = (struct timed *)new_core(sizeof(*t), KIND_DEADLINE, parent);
	if (!t)
		return give(NULL, cancel);
	t->cause = cause;
	t->timer.fn = expire;
	t->core.has_deadline = true;
	t->core.deadline = when;
	link_core(&t->core);
	if (passed) {
		cancel_core(&t->core, -ETIMEDOUT, cause);
	} else {
		lock_core(&t->core);
		if (!t->core.err) {
			gs_race_release(t); /* to take_due: the poller is in between */
			gs_rtimer_arm(&t->timer, when);
		}
		unlock_core(&t->core);
	}
	return give(&t->core, cancel);
}

gs_context *gs_with_deadline(gs_context *parent, int64_t when, gs_cancel *cancel)
{
	return gs_with_deadline_cause(parent, when, 0, cancel);
}

gs_context *gs_with_timeout_cause(gs_context *parent, int64_t ns, int cause, gs_cancel *cancel)
{
	int64_t when;

	if (__builtin_add_overflow(gs_now(), ns, &when))
		when = INT64_MAX;
	return gs_with_deadline_cause(parent, when, cause, cancel);
}

gs_context *gs_with_timeout(gs_context *parent, int64_t ns, gs_cancel *cancel)
{
	return gs_with_timeout_cause(parent, ns, 0, cancel);
}

gs_context *gs_with_value(gs_context *parent, const void *key, void *value)
{
	struct value *v;

	check_parent(parent);
	if (!key)
		gs_panic("nil key");
	v = new_context(sizeof(*v), KIND_VALUE, parent);
	if (!v)
		return NULL;
	v->ctx.core = parent->core;
	v->key = key;
	v->value = value;
	return &v->ctx;
}

gs_context *gs_without_cancel(gs_context *parent)
{
	struct core *c;

	check_parent(parent);
	c = new_core(sizeof(*c), KIND_WITHOUT, parent);
	return c ? &c->ctx : NULL;
}

/* ------------------------------------------------------------------------- */
/* Reading                                                                     */

void *gs_context_value(gs_context *ctx, const void *key)
{
	for (; ctx; ctx = ctx->parent)
		if (ctx->kind == KIND_VALUE && ((struct value *)ctx)->key == key)
			return ((struct value *)ctx)->value;
	return NULL;
}

gs_chan *gs_context_done(gs_context *ctx)
{
	struct core *c = core_of(ctx);
	gs_chan *done, *fresh;

	if (!can_cancel(c))
		return NULL;
	/* acquire: pairs with the releases here and in begin */
	done = gs_load_acquire(&c->done);
	if (done)
		return done;
	fresh = gs_chan_new(0, 0);
	if (!fresh)
		gs_fatal("gs_context_done: out of memory");
	lock_core(c);
	done = c->done;
	if (!done) {
		done = fresh;
		fresh = NULL;
		gs_store_release(&c->done, done);
	}
	unlock_core(c);
	gs_chan_unref(fresh);
	return done;
}

int gs_context_err(gs_context *ctx)
{
	return err_of(core_of(ctx));
}

int gs_context_cause(gs_context *ctx)
{
	struct core *c = core_of(ctx);

	return err_of(c) ? gs_load_relaxed(&c->cause) : 0;
}

bool gs_context_deadline(gs_context *ctx, int64_t *when)
{
	const struct core *c = core_of(ctx);

	if (c->has_deadline && when)
		*when = c->deadline;
	return c->has_deadline;
}
