/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deferred calls, for the library's own use: nodes on the caller's stack. */
#ifndef GS_PANIC_H
#define GS_PANIC_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

struct scope;

/* One deferred call. Owned by the fiber whose list it is on; nobody else looks. */
struct gs_deferred {
	struct gs_deferred *next;
	void (*fn)(void *arg);
	void *arg;
	uint64_t under;		   /* serial number of the panic or exit it was made under, or 0 */
	struct scope *scope;	   /* the function's that it belongs to, or NULL */
	struct scope *place;	   /* with whose calls it runs; NULL the fiber's last ones */
	struct gs_deferred *outer; /* a node in a frame: the next older such */
	uintptr_t frame;	   /* and the stack pointer of that frame, when located */
	bool heap;		   /* free it before it is called */
};

/* Once, before the first fiber. */
void gs_panic_init(void);

/*
 * Run fn(arg) at the matching pop, or when the fiber panics or exits before it. The
 * node lives on the caller's stack; calls nest. On an ordinary thread, which has no
 * way to end but the process's, only pop runs it.
 */
void gs_defer_push(struct gs_deferred *d, void (*fn)(void *), void *arg);
void gs_defer_pop(struct gs_deferred *d);

/* The same, but all that was deferred since the push runs before it. */
void gs_defer_run(struct gs_deferred *d);

/*
 * By the deferred call that is the fiber's last, and tells others that it is done by fn(arg):
 * before that, the destructors of its values, as at its end.
 */
void gs_defer_last(void (*fn)(void *), void *arg);

#pragma GCC visibility pop

#endif /* GS_PANIC_H */
