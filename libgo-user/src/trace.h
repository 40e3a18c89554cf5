/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The execution trace; gs_trace_start and gs_trace_stop are in gsched/debug.h. */
#ifndef GS_TRACE_H
#define GS_TRACE_H

#pragma GCC visibility push(hidden)

/* In the child of a fork: nothing is traced there. */
void gs_trace_forked(void);

#pragma GCC visibility pop

#endif /* GS_TRACE_H */
