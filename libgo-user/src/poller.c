/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The poller holds no proc and is no stand-by: expired timers and descriptors that are
 * ready are found, and their fibers queued (express), however busy the procs are.
 *
 * But each event wakes it, for one fiber mostly, on another processor. So workers look for
 * descriptors, too: when they have nothing else to do, as Go's, and when a fiber begins to wait
 * and those that the last look found have run. As long as they do the poller leaves the
 * descriptors to them, and naps: it waits for timers and what else is its own. Whoever finds
 * nothing to do ends that, and nobody looking for NAP_NS does:
 *
 *	worker, idle			poller
 *	looked = 0			napping = 1
 *	full fence			full fence
 *	napping? wake it		looked == 0? do not nap
 *
 * Forbidden: all workers sleep, and the poller naps.
 */
#include "poller.h"

#include <gsched/time.h>
#include <sys/prctl.h>

#include "backend.h"
#include "base/sanitizer.h"
#include "kick.h"
#include "netpoll.h"
#include "runq.h"
#include "sched_int.h"
#include "timer.h"

#define PERIODICS 2

/* What is called now and then: added before the poller starts, then the poller's own. */
static struct periodic {
	void (*fn)(void);
	int64_t period, next;
} periodics[PERIODICS];
static int nperiodics;

void (*gs_poller_hook)(void);

#define NAP_NS 200000

/* Who gives way so soon does not compute; on an average over so long. */
#define SHORT_TURN_NS 10000
#define PACE_NS 1000000

static int64_t looked;	 /* atomic: when a worker did last; 0: one has nothing to do */
static uint32_t napping; /* atomic */

void gs_poller_wake(void)
{
	gs_np->wake();
}

void gs_poller_add_periodic(void (*fn)(void), int64_t ns)
{
	periodics[nperiodics++] = (struct periodic){fn, ns, gs_now() + ns};
}

/* Call what is due; when the next one is, 0 never. */
static int64_t run_periodics(int64_t now)
{
	int64_t next = 0;

	for (struct periodic *p = periodics; p < periodics + nperiodics; p++) {
		if (now >= p->next) {
			p->fn();
			p->next = now + p->period;
		}
		if (!next || p->next < next)
			next = p->next;
	}
	return next;
}

/*
 * Whom the outside woke goes first (express), or he would be late by the slices of those who
 * compute. But where nobody does, and that is where many wait for descriptors, he queues as all
 * do: that takes no lock, and no search.
 */
static bool nobody_computes(struct gs_proc *p, int64_t now)
{
	int64_t ns = now - p->pace_time;

	if (ns >= PACE_NS) {
		p->fast = ns < (int64_t)(p->turn - p->pace_turn) * SHORT_TURN_NS;
		p->pace_turn = p->turn;
		p->pace_time = now;
	}
	return p->fast || (gs_runq_empty(p) && !gs_load_relaxed(&gs_hdr->global_len));
}

bool gs_poller_look(bool idle)
{
	struct gs_worker *w = gs_worker_self();
	struct gs_proc *p = gs_proc_of(w);
	uint32_t tail, found;
	bool alone;
	int64_t now;

	if (!p || !gs_load_relaxed(&gs_io_waiting))
		return false;
	/* those of the last look first: meanwhile more become ready, and a look is a call */
	if ((int32_t)(p->look_tail - gs_load_relaxed(&p->line->head)) > 0)
		return false;
	now = gs_now();
	gs_store_relaxed(&looked, now);
	alone = gs_runq_empty(p);
	tail = gs_load_relaxed(&p->line->tail);
	w->gathers = nobody_computes(p, now);
	gs_np->poll();
	w->gathers = false;
	found = gs_load_relaxed(&p->line->tail) - tail;
	p->look_tail = found ? tail + found : gs_load_relaxed(&p->line->head);
	if (found == 1 && alone)
		return true;
	if (found)
		gs_wake_idle();
	if (!idle || !gs_runq_empty(p))
		return false;
	gs_store_relaxed(&looked, 0);
	/* pairs with the one in nap */
	gs_full_fence();
	if (gs_load_relaxed(&napping))
		gs_np->wake();
	return false;
}

/* Until next at most. False: it is not the time for it. */
static bool nap(int64_t next)
{
	int64_t until = gs_load_relaxed(&looked) + NAP_NS;

	if (until <= gs_now())
		return false;
	if (next && next < until)
		until = next;
	gs_store_relaxed(&gs_hdr->poll_until, (uint64_t)until);
	gs_store_relaxed(&napping, 1);
	/* pairs with the one in gs_poller_look */
	gs_full_fence();
	if (gs_load_relaxed(&looked))
		gs_np->nap(until);
	gs_store_relaxed(&napping, 0);
	return true;
}

static void *poller_main(void *arg)
{
	(void)arg;
	gs_thread_set_poller();
	gs_race_ignore_thread();
	/* default slack is 50 us, more than a short sleep */
	prctl(PR_SET_TIMERSLACK, 1);
	gs_kick_thread();
	for (;;) {
		void (*hook)(void) = gs_load_acquire(&gs_poller_hook);
		int64_t now = gs_now(), next, tick, kick;

		/* awake: whoever arms a timer need not wake us */
		gs_store_relaxed(&gs_hdr->poll_until, 0);
		if (hook)
			hook();
		tick = run_periodics(now);
		next = gs_timers_run(now);
		if (tick && (!next || tick < next))
			next = tick;
		kick = gs_kick();
		if (kick && (!next || kick < next))
			next = kick;
		gs_store_relaxed(&gs_hdr->poll_until, next ? (uint64_t)next : UINT64_MAX);
		/* pairs with the fence in gs_rtimer_set */
		gs_full_fence();
		now = gs_timers_next();
		if (now && (!next || now < next))
			continue;
		if (!nap(next))
			gs_np->wait(next);
	}
	return NULL;
}

/* It counts how long the procs' fibers run from when it looks: see kick.c. */
static void look_soon(void)
{
	uint64_t until = gs_load_relaxed(&gs_hdr->poll_until);

	/* 0: it is awake, but may have looked */
	if (until - 1 > (uint64_t)gs_now() + GS_KICK_AFTER_NS)
		gs_poller_wake();
}

int gs_poller_start(const struct gs_netpoll *np)
{
	gs_np = np;
	gs_late_hook = look_soon;
	gs_look_hook = gs_poller_look;
	return gs_thread_start(poller_main, NULL, (size_t)128 << 10);
}
