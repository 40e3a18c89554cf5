/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The default number of procs: what the machine lets this process use. */
#ifndef GS_WIDTH_H
#define GS_WIDTH_H

#include <stdbool.h>

/*
 * The CPUs in the calling thread's affinity mask, or fewer if the CPU limit of the cgroup
 * or of one above it is less: rounded up, and at least 2 then. Any thread; no libc locks.
 */
int gs_width(void);

/*
 * That limit in thousandths of a CPU, 0 if there is none; every path begins with root,
 * which is "" but in tests.
 */
long gs_width_cgroup(const char *root);

/* Before the poller: follow gs_width from now on, which was `procs`. */
void gs_width_follow(int procs);

/*
 * gs_max_procs: set the number of procs to n and follow no more; returns the previous one.
 */
int gs_width_set(int n);

#endif /* GS_WIDTH_H */
