/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Run queues: one local queue a proc, the global queue, the express queue. */
#ifndef GS_RUNQ_H
#define GS_RUNQ_H

#include <stdbool.h>

#include "base/lock.h"
#include "proc.h"

/* A locked FIFO whose length the backend sees in the shared header. */
struct gs_gq {
	struct gs_lock lock;
	struct gs_fiber *head, *tail; /* lock */
	uint32_t *len;		      /* in the shared header; written under lock */
	uint32_t out;		      /* how many have left it; written under lock, read anywhere */
	uint32_t interrupted;	      /* of those in it; written under lock, read anywhere */
};

extern struct gs_gq gs_global;
extern struct gs_gq gs_express;
extern struct gs_gq gs_bound; /* fibers that go on on their own, frozen workers: preempt.c */

void gs_runq_init(void);

/* By the owner of p. A full queue moves half of itself to the global queue. */
void gs_runq_put(struct gs_proc *p, struct gs_fiber *f);

/*
 * By the owner: f runs next, who stood there goes to the tail. True: nobody did, and the exchange
 * is a full barrier, Enqueue's (2).
 */
bool gs_runq_put_next(struct gs_proc *p, struct gs_fiber *f);

/*
 * By the owner: runnext, else the head of the queue; NULL. The former goes on with the time
 * slice of who readied it: p->inherits.
 */
struct gs_fiber *gs_runq_get(struct gs_proc *p);

/*
 * Wait until the first proc's worker is out of its queue, where it may be by plain stores: gs_alone
 * has been lowered, and a membarrier made since. Any thread but in the runtime's own calls above.
 */
void gs_runq_shared(void);

/* By anybody, to leave it to all: runnext, else the head of the queue; NULL. */
struct gs_fiber *gs_runq_take(struct gs_proc *p);

/* By the owner: as gs_runq_get, but runnext goes to the tail first. */
struct gs_fiber *gs_runq_get_fair(struct gs_proc *p);

bool gs_runq_empty(const struct gs_proc *p);

/* How many stand in the ring; by the owner, else a hint. */
static inline uint32_t gs_runq_len(const struct gs_proc *p)
{
	uint32_t head = gs_load_relaxed(&p->line->head);

	return gs_load_relaxed(&p->line->tail) - head;
}

/*
 * By the owner of p: half of victim's queue moves into p's (which is empty), one
 * of them is returned. With take_next also a lone runnext.
 */
struct gs_fiber *gs_runq_steal(struct gs_proc *p, struct gs_proc *victim, bool take_next);

/* The global and express queues; any thread, between enter and leave. */
void gs_gq_put(struct gs_gq *q, struct gs_fiber *f);
void gs_gq_put_list(struct gs_gq *q, struct gs_fiber *first, struct gs_fiber *last, uint32_t n);
struct gs_fiber *gs_gq_get(struct gs_gq *q);

/*
 * How many fibers stand in the global and express queues that were interrupted, or came back
 * from a block and had no proc: they did not park of their own will, and may hold a lock that
 * any number of others wait for. They stand in no local queue. Any thread; as it was a moment
 * ago.
 */
uint32_t gs_gq_interrupted(void);

/* How many fibers have left the shared queues: it changes if anybody runs from there. */
uint32_t gs_gq_out(void);

/* The first of those that were interrupted, wherever it stands: O(n). NULL: there is none. */
struct gs_fiber *gs_gq_get_interrupted(void);

/* Take f out, wherever it stands: O(n). False: it is not there. */
bool gs_gq_remove(struct gs_gq *q, struct gs_fiber *f);

/*
 * Has the first of gs_bound waited as long as the first of gs_global? Any thread; as it was
 * a moment ago.
 */
bool gs_bound_first(void);

/*
 * A fair share of the global queue for p: one is returned, the rest queued on p. It ends
 * before the next one that was interrupted.
 */
struct gs_fiber *gs_gq_get_batch(struct gs_gq *q, struct gs_proc *p, uint32_t nproc);

#endif /* GS_RUNQ_H */
