/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interrupted fibers: what happens when the kernel (or a signal) takes the thread. */
#ifndef GS_PREEMPT_H
#define GS_PREEMPT_H

#include <stdbool.h>

struct gs_worker;
struct gs_upcall_setup;
struct gs_fiber;

/* Before the first worker: may fibers be interrupted here at all? */
void gs_preempt_init(void);

/* After that: why they may not, in words, or NULL. */
const char *gs_preempt_why_not(void);

/* The trampoline, for the backend; both 0 when there is none. */
void gs_preempt_trampoline(struct gs_upcall_setup *setup);

/* How many TLS contexts the spawner keeps in the pool. */
#define GS_TLS_SPARE 4

/*
 * Before the first worker: shall interrupted fibers take their TLS along, or (a test's
 * wish) go without? Returns why they cannot, or NULL. Not on a fiber.
 */
const char *gs_preempt_tls(bool wanted, bool protect);

/* By the worker before it attaches: its upcall area or context, its signal stack. 0 or -ENOMEM. */
int gs_preempt_worker(struct gs_worker *w);

/* When it has its slot, at raised depth; and on its stack before its thread may end. */
void gs_preempt_attached(struct gs_worker *w);
void gs_preempt_detach(struct gs_worker *w);

/* The depth fell to 0 with reasons pending: act on them. Any context of a fiber. */
void gs_preempt_pending(void);

#endif /* GS_PREEMPT_H */
