/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fiber-local storage, for those who end fibers. */
#ifndef GS_LOCAL_H
#define GS_LOCAL_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

struct gs_fiber;

/*
 * By f, which has values (f->local), at depth 0: run the destructors and free the table. May be
 * called again, also while it is at it: one of the destructors may end the fiber.
 */
void gs_local_end(struct gs_fiber *f);

/* The same without destructors: what their last round left. */
void gs_local_drop(struct gs_fiber *f);

/* Has the calling fiber values? */
bool gs_local_any(void);

/* Before a fork, and in the child, which is on no worker: the thread takes the values along. */
void gs_local_fork(void);
void gs_local_forked(void);

#pragma GCC visibility pop

#endif /* GS_LOCAL_H */
