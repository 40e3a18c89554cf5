/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The poller: a thread of the runtime that runs timers and waits for I/O. */
#ifndef GS_POLLER_H
#define GS_POLLER_H

#include <stdbool.h>
#include <stdint.h>

struct gs_netpoll;

/* Start it, waiting by `np`, which is initialised. 0 or -errno. */
int gs_poller_start(const struct gs_netpoll *np);

/* A deadline earlier than header.poll_until was set. Never blocks. Any thread. */
void gs_poller_wake(void);

/*
 * By a worker: look whether descriptors that fibers wait for are ready, unless those that were
 * found last wait yet; idle: there is nothing else to do. Depth raised.
 *
 * True: one was found, and nobody was woken for it, for the caller's proc has nothing else to
 * run: the caller parks, or calls gs_wake_idle.
 */
bool gs_poller_look(bool idle);

/* To be called on the poller's thread every `period` ns. Before it starts; two at most. */
void gs_poller_add_periodic(void (*fn)(void), int64_t period);

/* Atomic. Called by the poller at each turn, so after every gs_poller_wake; NULL. */
extern void (*gs_poller_hook)(void);

#endif /* GS_POLLER_H */
