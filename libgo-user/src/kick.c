/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kicks: a fiber whose timer fired or whose descriptor is ready does not wait for the end
 * of somebody's slice. The poller queues it (express), and when every proc is busy, one
 * whose fiber has had its minimum run is interrupted for it; while none has, the poller
 * sleeps until the first one will have had it. A proc that is idle for want of a thread helps
 * nobody, and counts as none.
 *
 * How long a fiber has run is told by proc.tick, which changes with each scheduling: it has
 * run since the first look that found this tick. So the poller looks whenever it is awake
 * and every proc is busy, though nothing may wait.
 *
 * One kick at a time: the worker that is interrupted takes all that waits, for express
 * comes first at each scheduling. If something still waits a minimum run later, the next
 * proc is kicked; one that was kicked already, in vain (it was refused: libc, a handler),
 * after a while again. So long may run, too, who came from express himself: where a thread
 * is slow in coming, a second kick would hit him, who is about to wait anyway.
 */
#include "kick.h"

#include <gsched/time.h>
#include <stdbool.h>

#include "backend.h"
#include "base/atomic.h"
#include "base/syscall.h"
#include "proc.h"

#define AGAIN_NS 1000000

/* The poller's own. */
struct seen {
	uint32_t owner, tick;
	int64_t since;
	int64_t due; /* when it may be kicked */
};

uint64_t gs_kicks;

static struct seen seen[GS_MAXPROCS];

/* linux/sched/types.h clashes with libc's sched.h */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

void gs_kick_thread(void)
{
	struct attr attr = {.size = sizeof(attr)};

	if (gs_syscall6(SYS_sched_getattr, 0, (long)&attr, sizeof(attr), 0, 0, 0) ||
	    attr.policy != 0)
		return;
	/* from Linux 6.12 on; before it means nothing */
	attr.runtime = GS_KICK_AFTER_NS;
	gs_syscall3(SYS_sched_setattr, 0, &attr, 0);
}

/* False: nobody holds p. */
static bool look(uint32_t p, int64_t now)
{
	uint32_t owner = gs_load_relaxed(&gs_lines[p].owner);
	uint32_t tick = gs_load_relaxed(&gs_lines[p].tick);
	struct seen *s = &seen[p];

	if (s->owner != owner || s->tick != tick || !s->since) {
		s->owner = owner;
		s->tick = tick;
		s->since = now;
		s->due = now + (gs_load_relaxed(&gs_procs[p].express_tick) == tick
					? AGAIN_NS
					: GS_KICK_AFTER_NS);
	}
	return owner && owner != GS_RETIRED;
}

/*
 * Will somebody take the idle proc soon? At the cap on threads, or where none can be made,
 * nobody does until one comes back: then those who run have to give way.
 */
static bool proc_to_be_had(void)
{
	return gs_load_relaxed(&gs_hdr->idle) &&
	       (gs_load_relaxed(&gs_hdr->spinning) ||
		gs_load_relaxed(&gs_hdr->standby) > gs_load_relaxed(&gs_hdr->reserve));
}

int64_t gs_kick(void)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);
	bool waits = gs_load_relaxed(&gs_hdr->express_len);
	struct seen *first = NULL;
	int64_t now;

	if (proc_to_be_had())
		return waits ? gs_now() + AGAIN_NS : 0;
	now = gs_now();
	for (uint32_t p = 0; p < n; p++)
		if (look(p, now) && (!first || seen[p].due < first->due))
			first = &seen[p];
	if (!waits)
		return 0;
	if (!first)
		return now + AGAIN_NS;
	if (first->due > now)
		return first->due;
	first->due = now + AGAIN_NS;
	gs_store_relaxed(&gs_kicks, gs_kicks + 1);
	gs_be->kick((uint32_t)(first - seen));
	return now + GS_KICK_AFTER_NS;
}
