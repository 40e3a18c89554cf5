/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring has one producer at most times, the worker that holds the proc, and one consumer.
 * Still producers take their place by compare-and-swap: the last ring has many, and none
 * need ask whether its hold of the proc is beyond doubt.
 *
 *	producer			consumer
 *	head: h -> h + 1		now
 *	time = now			head
 *	fill, seq = h + 1 (release)	each place up to it: wait for its seq (acquire)
 *					tail (release)
 *
 * The place is taken before the clock is read: so what has a time before the consumer's
 * `now` has its place already, and the consumer, which waits until that is filled, misses
 * none: it may put them in order. That wait is short, for who fills has its depth raised.
 *
 * Rejected: a ring for each worker: they come and go. Rejected: to overwrite the oldest
 * events: a trace with its end cut off is as good, and the writer needs no retry.
 */
#include "event.h"

#include <errno.h>
#include <gsched/time.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "base/lock.h"
#include "base/mmap.h"
#include "base/syscall.h"

#define RING 16384

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct ring {
	uint64_t head __attribute__((aligned(64))); /* atomic: producers */
	uint64_t dropped;			    /* atomic: producers */
	uint64_t tail __attribute__((aligned(64))); /* release/acquire: the consumer */
	struct gs_event *events;		    /* release/acquire; NULL: not there */
};

/* The last one is for those without a proc, and for procs that came later. */
static struct ring rings[GS_MAXPROCS + 1];

static int ring_init(struct ring *r)
{
	const size_t size = RING * sizeof(struct gs_event);
	void *p;

	if (r->events)
		return 0;
	p = gs_mmap(size, 0);
	if (!p)
		return -ENOMEM;
	/* now, for producers fault with a proc in hand; where that is unknown they do */
	gs_syscall3(SYS_madvise, p, size, MADV_POPULATE_WRITE);
	gs_store_release(&r->events, p);
	return 0;
}

int gs_events_init(uint32_t procs)
{
	int r = ring_init(&rings[GS_MAXPROCS]);

	for (uint32_t i = 0; i < procs && !r; i++)
		r = ring_init(&rings[i]);
	return r;
}

/* A place in a ring, and its number; NULL: none is free. */
static struct gs_event *reserve(uint32_t proc, uint64_t *place)
{
	struct ring *r = &rings[proc < GS_MAXPROCS ? proc : GS_MAXPROCS];
	struct gs_event *events = gs_load_acquire(&r->events);
	uint64_t head;

	if (!events) {
		r = &rings[GS_MAXPROCS];
		events = gs_load_acquire(&r->events);
		if (!events)
			return NULL;
	}
	head = gs_load_relaxed(&r->head);
	do {
		/* acquire: pairs with gs_events_take; the place was read */
		if (head - gs_load_acquire(&r->tail) >= RING) {
			gs_fetch_add_relaxed(&r->dropped, 1);
			return NULL;
		}
	} while (!gs_cas_seq(&r->head, &head, head + 1));
	*place = head;
	return &events[head % RING];
}

static struct gs_event *begin(struct gs_worker *w, enum gs_event_kind kind, uint64_t *place)
{
	const struct gs_proc *p = w ? gs_proc_of(w) : NULL;
	uint32_t proc = p ? p->id : GS_EVENT_NONE;
	struct gs_event *e = reserve(proc, place);

	if (!e)
		return NULL;
	e->time = gs_now();
	e->fiber = 0;
	e->tid = w ? w->tid : (uint32_t)gs_syscall3(SYS_gettid, 0, 0, 0);
	e->worker = (uint16_t)(w ? w->id : GS_EVENT_NONE);
	e->proc = (uint16_t)proc;
	e->blocks = (uint16_t)(w ? gs_load_relaxed(&w->slot->blocks) : 0);
	e->kind = (uint8_t)kind;
	e->arg = 0;
	return e;
}

static void end(struct gs_event *e, uint64_t place)
{
	/* release: pairs with the acquire in gs_events_take */
	gs_store_release(&e->seq, (uint32_t)(place + 1));
}

void __attribute__((noinline, cold))
gs_event(struct gs_worker *w, enum gs_event_kind kind, struct gs_fiber *f)
{
	uint32_t session = gs_load_relaxed(&gs_tracing);
	uint64_t place;
	struct gs_event *e = begin(w, kind, &place);

	if (!e) {
		if (kind == GS_EV_RUN)
			f->readied = 0;
		return;
	}
	if (f)
		e->fiber = f->id;
	if (kind == GS_EV_READY) {
		f->readied = (uint8_t)session;
	} else if (kind == GS_EV_PARK || kind == GS_EV_END) {
		e->arg = f->reason;
		memcpy(e->name, f->cold->name, sizeof(e->name));
	} else if (kind == GS_EV_RUN || kind == GS_EV_BACK) {
		memcpy(e->name, f->cold->name, sizeof(e->name));
		if (kind == GS_EV_RUN) {
			e->arg = session && f->readied == session;
			f->readied = 0;
		}
	}
	end(e, place);
}

void __attribute__((noinline, cold)) gs_event_switch(struct gs_worker *w, struct gs_fiber *next)
{
	struct gs_fiber *prev = w->prev;

	if (prev)
		gs_event(w, prev->state == GS_DEAD ? GS_EV_END : GS_EV_PARK, prev);
	if (next)
		gs_event(w, GS_EV_RUN, next);
}

void __attribute__((noinline, cold))
gs_event_steal(struct gs_worker *w, const struct gs_proc *victim, uint32_t n)
{
	uint64_t place;
	struct gs_event *e = begin(w, GS_EV_STEAL, &place);

	if (!e)
		return;
	e->num[0] = victim->id;
	e->num[1] = n;
	end(e, place);
}

/* The events from place `at` to place `to`; the last one's time, if there is one. */
static void take_some(struct ring *r, uint64_t at, uint64_t to, int64_t *time,
		      void (*take)(const struct gs_event *e))
{
	for (; at != to; at++) {
		const struct gs_event *e = &r->events[at % RING];

		for (unsigned int n = 0; gs_load_acquire(&e->seq) != (uint32_t)(at + 1); n++)
			gs_backoff(n);
		*time = e->time;
		take(e);
	}
}

void gs_events_take(void (*take)(const struct gs_event *e), uint64_t *dropped)
{
	*dropped = 0;
	for (uint32_t i = 0; i <= GS_MAXPROCS; i++) {
		struct ring *r = &rings[i];
		uint64_t head = gs_load_seq(&r->head), n;
		struct gs_event gap = {
			.kind = GS_EV_GAP,
			.proc = (uint16_t)(i < GS_MAXPROCS ? i : GS_EVENT_NONE),
			.worker = GS_EVENT_NONE,
		};

		take_some(r, r->tail, head, &gap.time, take);
		if (gs_load_seq(&r->head) - r->tail >= RING) {
			/* full until tail moves: what found no room came after all in it */
			take_some(r, head, r->tail + RING, &gap.time, take);
			head = r->tail + RING;
		}
		/* release: pairs with the acquire in reserve */
		gs_store_release(&r->tail, head);
		n = gs_xchg_seq(&r->dropped, 0);
		if (n) {
			gap.seq = (uint32_t)head + 1;
			take(&gap);
			*dropped += n;
		}
	}
}
