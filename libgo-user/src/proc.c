/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proc.h"

struct gs_proc gs_procs[GS_MAXPROCS];

void gs_procs_init(void)
{
	for (uint32_t i = 0; i < GS_MAXPROCS; i++) {
		gs_procs[i].line = &gs_lines[i];
		gs_procs[i].id = i;
	}
}
