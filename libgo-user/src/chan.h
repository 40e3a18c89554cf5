/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What chan.c and select.c share: a channel, and the two operations on a locked one.
 *
 * Invariants, whenever the lock is free (Go, runtime/chan.go, says the same of its):
 *  - at least one of recvq and sendq is empty, except that one select may stand on
 *    both of the same unbuffered channel;
 *  - cap > 0: count > 0 means recvq has no waiter but stale ones;
 *	     count < cap means sendq has none;
 *  - closed: both queues are empty.
 *
 * The last thing any operation does with a channel is to release its lock, and what a
 * woken waiter needs it finds in its own sudog: so a receiver may drop the last
 * reference as soon as it has its value, and the sender's call is not disturbed.
 *
 * A timer's channel (time.c) has no buffer: its value is there when it is time, that is,
 * when the timer is armed and due. A receiver that comes then takes it; one that must
 * wait stands on recvq as ever, and only as long as somebody stands there the timer is
 * in a heap, so that the poller serves him. Stop and reset hold the channel's lock: a
 * value from before them is nowhere. All that is behind `flags`, which are tested where
 * an open channel would fail anyway.
 *
 * References. A call in progress on a channel holds it: without an atomic count on
 * the way, but by the rule who frees. The last unref looks under the lock whether
 * anybody still stands on the channel; if so the channel is an orphan. A plain waiter
 * on an orphan can be woken by nobody any more and waits for ever, as in Go. A select
 * may go on through another of its cases, and must come back to take its sudog off:
 * `selects` counts those, and the last one to come back frees the orphan. On a timer's
 * channel plain receivers come back, too, for the timer wakes them on an orphan yet.
 */
#ifndef GS_CHAN_H
#define GS_CHAN_H

#include <gsched/chan.h>
#include <gsched/runtime.h>
#include <string.h>

#include "base/biased.h"
#include "waitq.h"
#include "worker.h"

#pragma GCC visibility push(hidden)

enum {
	GS_CHAN_F_CLOSED = 1,
	GS_CHAN_F_TIMER = 2, /* I: in buf is a timer's state */
};

/*
 * Protection: [L] lock; [LR] written under lock with a relaxed store, read also
 * without; [I] never changes; [A] atomic.
 */
struct gs_chan {
	struct gs_biased lock;
	uint32_t flags;				 /* LR; release/acquire for the unlocked readers */
	size_t count;				 /* LR: elements in the buffer */
	size_t cap;				 /* I */
	size_t elem_size;			 /* I */
	size_t sendx;				 /* L: where the next element goes */
	size_t recvx;				 /* L: where the next one comes from */
	struct gs_waitq recvq;			 /* L; first LR */
	struct gs_waitq sendq;			 /* L; first LR */
	uint32_t refs;				 /* A */
	uint32_t selects;			 /* L: sudogs whose owners have to come back */
	bool orphan;				 /* L: refs is 0 and somebody was still here */
	char buf[] __attribute__((aligned(16))); /* L: cap elements, a ring */
};

/* By a caller on worker w (gs_enter), or NULL: an ordinary thread. */
static inline void gs_chan_lock(struct gs_chan *c, const struct gs_worker *w)
{
	gs_biased_acquire(&c->lock, gs_likely(w != NULL) ? w->proc_tag : 0);
}

static inline void gs_chan_unlock(struct gs_chan *c)
{
	gs_biased_release(&c->lock);
}

/* In a commit function, for its caller; see gs_race_parks. */
static inline GS_RACE_UNSEEN void gs_chan_unlock_for(struct gs_chan *c)
{
	gs_biased_release_for(&c->lock);
}

/* Elements are small, mostly: no call for those. NULL as source is a zero value. */
static inline void gs_chan_copy(void *dst, const void *src, size_t size)
{
	if (gs_unlikely(!src)) {
		memset(dst, 0, size);
		return;
	}
	if (gs_likely(size == 8)) {
		__builtin_memcpy(dst, src, 8);
		return;
	}
	switch (size) {
	case 0:
		break;
	case 1:
		__builtin_memcpy(dst, src, 1);
		break;
	case 2:
		__builtin_memcpy(dst, src, 2);
		break;
	case 4:
		__builtin_memcpy(dst, src, 4);
		break;
	case 16:
		__builtin_memcpy(dst, src, 16);
		break;
	default:
		memcpy(dst, src, size);
	}
}

/* acquire: pairs with the release in gs_chan_close. Locked or not. */
static inline bool gs_chan_closed(const struct gs_chan *c)
{
	return gs_load_acquire(&c->flags) & GS_CHAN_F_CLOSED;
}

static inline void *gs_chan_slot(struct gs_chan *c, size_t i)
{
	return c->buf + i * c->elem_size;
}

static inline size_t gs_chan_next(const struct gs_chan *c, size_t i)
{
	return i + 1 == c->cap ? 0 : i + 1;
}

/* A timer's channel: time.c. Unlocked: a value is there; somebody may wait for it. */
bool gs_chan_timer_hint(struct gs_chan *c);

/* Locked: and nobody waits for it; take it. elem may be NULL. */
bool gs_chan_timer_ready(struct gs_chan *c);
bool gs_chan_timer_take(struct gs_chan *c, void *elem);

/* Locked: a receiver was queued. True: gs_poller_wake, after the lock is released. */
bool gs_chan_timer_wait(struct gs_chan *c);

/* Locked: one left the queue and was not served. */
void gs_chan_timer_leave(struct gs_chan *c);

/* Nobody has it: the poller does not, either, after this. Depth 0. */
void gs_chan_timer_end(struct gs_chan *c);

/*
 * A look without the lock whether the operation would block. It may be wrong the next
 * moment, and was right at one moment during the call: that is all that a
 * nonblocking operation promises.
 */
static inline bool gs_chan_recv_hint(struct gs_chan *c)
{
	uint32_t flags;

	if (c->cap ? gs_load_acquire(&c->count) != 0 : gs_load_acquire(&c->sendq.first) != NULL)
		return true;
	flags = gs_load_acquire(&c->flags);
	return gs_unlikely(flags) && (flags & GS_CHAN_F_CLOSED || gs_chan_timer_hint(c));
}

static inline bool gs_chan_send_hint(struct gs_chan *c)
{
	/* both parts are read: full, and not closed before that (Go: chansend) */
	return gs_chan_closed(c) || (c->cap ? gs_load_relaxed(&c->count) < c->cap
					    : gs_load_relaxed(&c->recvq.first) != NULL);
}

enum gs_chan_result {
	GS_CHAN_BLOCK, /* nothing happened: it would block */
	GS_CHAN_DONE,
	GS_CHAN_CLOSED /* receive: closed and drained; send: closed */
};

/*
 * Receive on a locked channel. elem may be NULL. On GS_CHAN_DONE *wake is a sender to
 * be readied after the lock is released, or NULL. GS_CHAN_CLOSED: *elem is zeroed.
 */
static inline __attribute__((always_inline)) enum gs_chan_result
gs_chan_recv_locked(struct gs_chan *c, void *elem, struct gs_sudog **wake)
{
	struct gs_sudog *s;

	*wake = NULL;
	if (c->count) {
		void *slot = gs_chan_slot(c, c->recvx);

		if (elem)
			gs_chan_copy(elem, slot, c->elem_size);
		c->recvx = gs_chan_next(c, c->recvx);
		s = gs_unlikely(c->sendq.first != NULL) ? gs_waitq_pop(&c->sendq) : NULL;
		if (s) {
			/* full: the slot just freed is the one the next element goes to */
			gs_chan_copy(slot, s->elem, c->elem_size);
			c->sendx = c->recvx;
			s->success = true;
			*wake = s;
		} else {
			gs_store_relaxed(&c->count, c->count - 1);
		}
		return GS_CHAN_DONE;
	}
	if (gs_unlikely(c->flags)) {
		if (c->flags & GS_CHAN_F_CLOSED) {
			if (elem)
				memset(elem, 0, c->elem_size);
			return GS_CHAN_CLOSED;
		}
		if (gs_chan_timer_take(c, elem))
			return GS_CHAN_DONE;
	}
	s = gs_waitq_pop(&c->sendq);
	if (!s)
		return GS_CHAN_BLOCK;
	if (elem)
		gs_chan_copy(elem, s->elem, c->elem_size);
	s->success = true;
	*wake = s;
	return GS_CHAN_DONE;
}

/* Send on a locked channel; as above. A waiting receiver gets it into its own buffer. */
static inline enum gs_chan_result gs_chan_send_locked(struct gs_chan *c, const void *elem,
						      struct gs_sudog **wake)
{
	struct gs_sudog *s;

	*wake = NULL;
	if (gs_unlikely(c->flags & GS_CHAN_F_CLOSED))
		return GS_CHAN_CLOSED;
	s = gs_waitq_pop(&c->recvq);
	if (s) {
		if (s->elem)
			gs_chan_copy(s->elem, elem, c->elem_size);
		s->success = true;
		*wake = s;
		return GS_CHAN_DONE;
	}
	if (c->count == c->cap)
		return GS_CHAN_BLOCK;
	gs_chan_copy(gs_chan_slot(c, c->sendx), elem, c->elem_size);
	c->sendx = gs_chan_next(c, c->sendx);
	gs_store_relaxed(&c->count, c->count + 1);
	return GS_CHAN_DONE;
}

/* Nobody has it or stands on it. Depth 0. */
void gs_chan_free(struct gs_chan *c);

static inline bool gs_chan_unused(const struct gs_chan *c)
{
	return !c->selects && !c->recvq.first && !c->sendq.first;
}

/*
 * A waiter that is woken by other things than this channel, too, so s->sel is set, steps
 * on one of its queues (c is locked), and must step off again, whatever woke it (entered;
 * it leaves and enters where it must free an orphan). step_on returns true if it is a
 * timer's channel and the poller must be woken, after the lock is released.
 */
static inline bool gs_chan_step_on(struct gs_chan *c, struct gs_waitq *q, struct gs_sudog *s)
{
	c->selects++;
	gs_waitq_push(q, s);
	return gs_unlikely(c->flags & GS_CHAN_F_TIMER) && q == &c->recvq && gs_chan_timer_wait(c);
}

static inline void gs_chan_step_off(struct gs_chan *c, struct gs_waitq *q, struct gs_sudog *s)
{
	bool dead;

	gs_chan_lock(c, gs_worker_self());
	if (s->queued)
		gs_waitq_del(q, s);
	if (gs_unlikely(c->flags & GS_CHAN_F_TIMER))
		gs_chan_timer_leave(c);
	c->selects--;
	dead = c->orphan && gs_chan_unused(c);
	gs_chan_unlock(c);
	if (gs_unlikely(dead)) {
		gs_rt_leave();
		gs_chan_free(c);
		gs_rt_enter();
	}
}

#pragma GCC visibility pop

#endif /* GS_CHAN_H */
