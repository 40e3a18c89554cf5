/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events for the execution trace (trace.c): what happens to fibers and procs is recorded
 * here, in a ring for each proc and one for those who hold none; a thread of trace.c's
 * empties them. While nothing is traced all of it is one branch on gs_tracing, which lies
 * in a cache line that every switch reads (init.c).
 *
 * An event is recorded before what it tells of becomes visible to others: READY before the
 * fiber is queued, PARK before its stack is left. So by time a fiber's events are in the
 * order of its life, on whatever rings they are.
 */
#ifndef GS_EVENT_H
#define GS_EVENT_H

#include <stdint.h>

#include "base/atomic.h"
#include "worker.h"

#pragma GCC visibility push(hidden)

enum gs_event_kind {
	GS_EV_START = 1, /* fiber was made */
	GS_EV_READY,	 /* fiber was made runnable */
	GS_EV_RUN,	 /* fiber begins to run; arg: 1 it was READY in this trace */
	GS_EV_PARK,	 /* fiber stops to run; arg: enum gs_wait */
	GS_EV_END,	 /* fiber ends */
	GS_EV_GRANT,	 /* the worker got the proc while it was parked */
	GS_EV_BACK,	 /* fiber's worker came back from a block, and has the proc */
	GS_EV_STEAL,	 /* num[0]: from which proc, num[1]: how many */
	GS_EV_TIMER,	 /* a timer's function is called */
	GS_EV_TIMER_END, /* and returned */
	GS_EV_GAP,	 /* events of this proc's ring found no room after this time */
};

#define GS_EVENT_NONE 0xffffu

struct gs_event {
	int64_t time; /* CLOCK_MONOTONIC, ns */
	uint64_t fiber;
	uint32_t seq;	 /* place in the ring + 1; release/acquire: the event is complete */
	uint32_t tid;	 /* whose event it is */
	uint16_t worker; /* its number, GS_EVENT_NONE: an ordinary thread's */
	uint16_t proc;	 /* GS_EVENT_NONE: without */
	uint16_t blocks; /* low bits of slot->blocks */
	uint8_t kind;
	uint8_t arg;
	union {
		char name[32]; /* RUN, BACK, PARK, END: the fiber's */
		uint32_t num[8];
	};
};

_Static_assert(sizeof(struct gs_event) == 64, "a cache line");

/* The number of the trace that is going on, 1 to 255; 0 none. Relaxed: see trace.c. */
extern uint32_t gs_tracing;

static inline bool gs_traced(void)
{
	return gs_unlikely(gs_load_relaxed(&gs_tracing));
}

/*
 * Record. Entered (the poller and ordinary threads: anywhere). w is the caller's worker,
 * NULL on an ordinary thread.
 */
void gs_event(struct gs_worker *w, enum gs_event_kind kind, struct gs_fiber *f);
void gs_event_steal(struct gs_worker *w, const struct gs_proc *victim, uint32_t n);

/* w leaves the fiber that it names in prev, if any, for next, if any. */
void gs_event_switch(struct gs_worker *w, struct gs_fiber *next);

/* For trace.c. Rings for so many procs: 0 or -ENOMEM. They stay for good. */
int gs_events_init(uint32_t procs);

/*
 * Take the events out of all rings, in any order: each is given to take, which must not
 * fail. All that were recorded with a time before the call are among them. Events that
 * found no room are counted, from the call before on. By one thread at a time.
 */
void gs_events_take(void (*take)(const struct gs_event *e), uint64_t *dropped);

#pragma GCC visibility pop

#endif /* GS_EVENT_H */
