/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Channels; chan.h has the invariants and the operations on a locked one. */
#include "chan.h"

#include <errno.h>
#include <stdlib.h>

#include "enter.h"
#include "leak.h"
#include "poller.h"

gs_chan *gs_chan_new(size_t elem_size, size_t capacity)
{
	size_t size;
	gs_chan *c;

	if (__builtin_mul_overflow(elem_size, capacity, &size) ||
	    __builtin_add_overflow(size, sizeof(*c), &size) || size > PTRDIFF_MAX) {
		errno = EOVERFLOW;
		return NULL;
	}
	c = malloc(size); /* sets errno to ENOMEM */
	if (!c)
		return NULL;
	/* not the buffer: it is written before it is read, and may be large */
	memset(c, 0, sizeof(*c));
	c->cap = capacity;
	c->elem_size = elem_size;
	c->refs = 1;
	gs_leak_made(GS_LEAK_CHAN, c);
	return c;
}

gs_chan *gs_chan_ref(gs_chan *c)
{
	if (c)
		gs_fetch_add_relaxed(&c->refs, 1);
	return c;
}

void gs_chan_free(gs_chan *c)
{
	if (gs_unlikely(c->flags & GS_CHAN_F_TIMER))
		gs_chan_timer_end(c);
	gs_leak_freed(c);
	free(c);
}

/* On a channel that nobody has: who waits for nothing else waits for ever. */
static void lost_waiters(struct gs_waitq *q)
{
	for (struct gs_sudog *s = q->first; s; s = s->next)
		if (!s->sel)
			gs_fiber_set_leaked(s->fiber);
}

void gs_chan_unref(gs_chan *c)
{
	bool unused;

	/* acq_rel: what others did with it before they let go is seen by the last */
	if (!c || gs_fetch_sub_acq_rel(&c->refs, 1) != 1)
		return;
	/*
	 * An operation by whose value we learnt that it is over may still be about to
	 * release the lock; we get it after that. And see chan.h about orphans.
	 */
	gs_chan_lock(c, gs_enter());
	unused = gs_chan_unused(c);
	c->orphan = true;
	if (gs_unlikely(!unused) && !(c->flags & GS_CHAN_F_TIMER)) {
		lost_waiters(&c->recvq);
		lost_waiters(&c->sendq);
	}
	gs_chan_unlock(c);
	gs_leave();
	if (unused)
		gs_chan_free(c);
}

size_t gs_chan_len(const gs_chan *c)
{
	return c ? gs_load_relaxed(&c->count) : 0;
}

size_t gs_chan_cap(const gs_chan *c)
{
	return c ? c->cap : 0;
}

static _Noreturn void __attribute__((noinline, cold)) panic_send_closed(void)
{
	gs_panic("send on closed channel");
}

/* Nobody is told where this fiber waits: it waits for ever. */
static _Noreturn void __attribute__((noinline, cold)) block_for_ever(enum gs_wait reason)
{
	gs_enter();
	for (;;)
		gs_park(NULL, NULL, reason);
}

static GS_RACE_UNSEEN bool commit_wait(struct gs_fiber *f, void *c)
{
	(void)f;
	gs_chan_unlock_for(c);
	return true;
}

/* The channel is locked and will be released; returns whether it was an operation. */
static inline bool wait_on(struct gs_worker *w, gs_chan *c, struct gs_waitq *q, void *elem,
			   enum gs_wait reason)
{
	struct gs_sudog s;

	s.fiber = gs_self_on(w);
	s.elem = elem;
	s.sel = NULL;
	s.success = false;
	gs_waitq_push(q, &s);
	gs_race_parks(&c->lock);
	gs_park_on(w, commit_wait, c, reason);
	/* c may be gone: see chan.h */
	return s.success;
}

/* What enter found holds to the end: see gs_enter. */
static inline void leave(struct gs_worker *w)
{
	if (gs_likely(w != NULL))
		gs_leave_worker();
}

struct timer_wait {
	gs_chan *c;
	bool poke; /* the poller */
};

static GS_RACE_UNSEEN bool commit_timer(struct gs_fiber *f, void *arg)
{
	struct timer_wait *w = arg;
	bool poke = w->poke;

	(void)f;
	gs_chan_unlock_for(w->c);
	/* w is gone */
	if (poke)
		gs_poller_wake();
	return true;
}

/* The rest of a receive from a timer's channel that has to wait. As wait_on, and leaves. */
static bool __attribute__((noinline)) recv_timer(gs_chan *c, void *elem)
{
	struct gs_sudog s = {.fiber = gs_self(), .elem = elem};
	struct timer_wait w = {.c = c};
	bool dead;

	c->selects++;
	gs_waitq_push(&c->recvq, &s);
	w.poke = gs_chan_timer_wait(c);
	gs_race_parks(&c->lock);
	gs_park(commit_timer, &w, GS_WAIT_CHAN_RECV);
	gs_chan_lock(c, gs_worker_self());
	c->selects--;
	dead = c->orphan && gs_chan_unused(c);
	if (!s.success && elem)
		memset(elem, 0, c->elem_size);
	gs_chan_unlock(c);
	gs_rt_leave();
	if (gs_unlikely(dead))
		gs_chan_free(c);
	return s.success;
}

void gs_chan_send(gs_chan *c, const void *elem)
{
	enum gs_chan_result r;
	struct gs_worker *w;
	struct gs_sudog *wake;

	if (gs_unlikely(!c))
		block_for_ever(GS_WAIT_CHAN_SEND_NIL);
	w = gs_enter();
	gs_chan_lock(c, w);
	r = gs_chan_send_locked(c, elem, &wake);
	if (r == GS_CHAN_BLOCK) {
		/* nobody writes through a sender's elem */
		bool ok = wait_on(w, c, &c->sendq, (void *)(uintptr_t)elem, GS_WAIT_CHAN_SEND);

		leave(w);
		if (gs_unlikely(!ok))
			panic_send_closed();
		return;
	}
	gs_chan_unlock(c);
	if (wake)
		gs_ready_on(w, wake->fiber);
	leave(w);
	if (gs_unlikely(r == GS_CHAN_CLOSED))
		panic_send_closed();
}

bool gs_chan_recv(gs_chan *c, void *elem)
{
	enum gs_chan_result r;
	struct gs_worker *w;
	struct gs_sudog *wake;
	size_t size;
	bool ok;

	if (gs_unlikely(!c))
		block_for_ever(GS_WAIT_CHAN_RECV_NIL);
	w = gs_enter();
	gs_chan_lock(c, w);
	r = gs_chan_recv_locked(c, elem, &wake);
	if (r == GS_CHAN_BLOCK) {
		if (gs_unlikely(c->flags & GS_CHAN_F_TIMER))
			return recv_timer(c, elem);
		size = c->elem_size;
		ok = wait_on(w, c, &c->recvq, elem, GS_WAIT_CHAN_RECV);
		leave(w);
		if (!ok && elem)
			memset(elem, 0, size);
		return ok;
	}
	gs_chan_unlock(c);
	if (wake)
		gs_ready_on(w, wake->fiber);
	leave(w);
	return r == GS_CHAN_DONE;
}

int gs_chan_try_send(gs_chan *c, const void *elem)
{
	enum gs_chan_result r;
	struct gs_worker *w;
	struct gs_sudog *wake;

	if (!c || !gs_chan_send_hint(c))
		return -EAGAIN;
	w = gs_enter();
	gs_chan_lock(c, w);
	r = gs_chan_send_locked(c, elem, &wake);
	gs_chan_unlock(c);
	if (wake)
		gs_ready_on(w, wake->fiber);
	leave(w);
	if (gs_unlikely(r == GS_CHAN_CLOSED))
		panic_send_closed();
	return r == GS_CHAN_DONE ? 0 : -EAGAIN;
}

int gs_chan_try_recv(gs_chan *c, void *elem)
{
	enum gs_chan_result r;
	struct gs_worker *w;
	struct gs_sudog *wake;

	if (!c || !gs_chan_recv_hint(c))
		return -EAGAIN;
	w = gs_enter();
	gs_chan_lock(c, w);
	r = gs_chan_recv_locked(c, elem, &wake);
	gs_chan_unlock(c);
	if (wake)
		gs_ready_on(w, wake->fiber);
	leave(w);
	return r == GS_CHAN_DONE ? 1 : r == GS_CHAN_CLOSED ? 0 : -EAGAIN;
}

void gs_chan_close(gs_chan *c)
{
	struct gs_sudog *chain = NULL, **tail = &chain, *s;

	if (!c)
		gs_panic("close of nil channel");
	gs_chan_lock(c, gs_enter());
	if (c->flags & GS_CHAN_F_CLOSED) {
		gs_chan_unlock(c);
		gs_leave();
		gs_panic("close of closed channel");
	}
	/* release: pairs with the unlocked readers' acquire */
	gs_store_release(&c->flags, c->flags | GS_CHAN_F_CLOSED);
	/* success stays false: that is how they know */
	while ((s = gs_waitq_pop(&c->recvq)) || (s = gs_waitq_pop(&c->sendq))) {
		*tail = s;
		tail = &s->next;
	}
	*tail = NULL;
	if (gs_unlikely(c->flags & GS_CHAN_F_TIMER))
		gs_chan_timer_leave(c);
	gs_chan_unlock(c);
	gs_waitq_wake_all(chain);
	gs_leave();
}
