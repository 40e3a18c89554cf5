/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Express work is not starved by fibers that compute. */
#ifndef GS_KICK_H
#define GS_KICK_H

#include <stdint.h>

/* How long a fiber runs, at least, before it is interrupted for another. */
#define GS_KICK_AFTER_NS 100000

/*
 * By the poller before it sleeps: if what it queued waits and no proc is to be had, kick one.
 * When to call again though nothing else happens, 0: no need.
 */
int64_t gs_kick(void);

/*
 * By the poller when it starts: the processor is asked for in short slices, so that a thread
 * that computes is preempted for this one at once.
 */
void gs_kick_thread(void);

extern uint64_t gs_kicks; /* atomic: kicks so far */

#endif /* GS_KICK_H */
