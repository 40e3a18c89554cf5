/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The poller holds no proc and is no stand-by: expired timers and descriptors that are
 * ready are found, and their fibers queued (express), however busy the procs are.
 */
#include "poller.h"

#include <gsched/time.h>
#include <sys/prctl.h>

#include "backend.h"
#include "base/sanitizer.h"
#include "kick.h"
#include "netpoll.h"
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
	return gs_thread_start(poller_main, NULL, (size_t)128 << 10);
}
