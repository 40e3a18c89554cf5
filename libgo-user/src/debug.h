/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dumps, statistics, schedtrace and the deadlock report. */
#ifndef GS_DEBUG_H
#define GS_DEBUG_H

struct gs_config;

/* Before the runtime's threads start. */
void gs_debug_init(const struct gs_config *c);

/* A gs_run waits from here to there: a deadlock is reported in between only. */
void gs_debug_main_started(void);
void gs_debug_main_ended(void);

#endif /* GS_DEBUG_H */
