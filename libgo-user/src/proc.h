/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A proc: the right to run fibers, with a local run queue and caches. The words
 * the backend must see (owner, head, tail, runnext) are in its shared line.
 */
#ifndef GS_PROC_H
#define GS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "dead.h"

#pragma GCC visibility push(hidden)

#define GS_RUNQ_SIZE 256

/* Protection: [O] the worker that owns the proc, [A] atomic, see runq.c. */
struct gs_proc {
	struct gs_line *line;
	uint32_t id;
	uint32_t turn;	 /* O writes, relaxed: schedulings, each of them */
	uint32_t yields; /* O writes, relaxed: of its fibers */
	bool inherits;	 /* O: who is about to run came from runnext */
	bool owed;	 /* O: the shared queues missed their turn */
	bool plain;	 /* O writes: it is in its queue by plain stores: runq.c */
	uint32_t express_turn, express_row;  /* O: last look into express; looks in a row */
	uint32_t expressed;		     /* O: turns of express fibers */
	uint32_t express_tick;		     /* O writes, relaxed: line->tick of its last one */
	struct gs_dead dead[2];		     /* O: fibers with stacks, cold and warm ones */
	bool fast;			     /* O: none of its fibers computes: poller.c */
	uint32_t pace_turn;		     /* O: turn when that was last looked at */
	int64_t pace_time;		     /* O: when that was */
	uint32_t look_tail;		     /* O: behind those that the last look queued */
	int64_t started, finished;	     /* O writes, gs_num_fibers reads */
	uint64_t id_next, id_end;	     /* O: fiber ids reserved for this proc */
	struct gs_fiber *ring[GS_RUNQ_SIZE]; /* A */
} __attribute__((aligned(64)));

extern struct gs_proc gs_procs[GS_MAXPROCS];

/*
 * There has been one proc only so far: nobody steals from its queue, and its worker needs no
 * fence for what it queues. Lowered once, by gs_sched_set_procs; init.c.
 */
extern bool gs_alone;

/* After the backend made the shared area. */
void gs_procs_init(void);

#pragma GCC visibility pop

#endif /* GS_PROC_H */
