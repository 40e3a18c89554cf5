/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch.h"

#include <asm/prctl.h>
#include <errno.h>
#include <sys/auxv.h>
#include <unwind.h>

#include "base/syscall.h"

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif

bool gs_arch_gs;
long gs_arch_errno_off;

static __thread struct gs_slot *tls_slot;

struct gs_slot *__attribute__((noinline)) gs_arch_tls_slot(void)
{
	__asm__ volatile("");
	return tls_slot;
}

void gs_arch_init(void)
{
	gs_store_relaxed(&gs_arch_gs, (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) != 0);
	gs_arch_errno_off = (char *)&errno - (char *)gs_arch_tp();
}

void gs_arch_set_slot(struct gs_slot *slot)
{
	tls_slot = slot;
	if (slot)
		slot->tls = gs_arch_tp();
	if (gs_load_relaxed(&gs_arch_gs))
		__asm__ volatile("wrgsbase %0" ::"r"(slot) : "memory");
}

void gs_arch_frame_of(struct _Unwind_Context *context, struct gs_arch_frame_regs *regs)
{
	/* DWARF's numbers: System V ABI, AMD64 supplement, figure 3.36 */
	regs->rbx = _Unwind_GetGR(context, 3);
	regs->rbp = _Unwind_GetGR(context, 6);
	regs->r12 = _Unwind_GetGR(context, 12);
	regs->r13 = _Unwind_GetGR(context, 13);
	regs->r14 = _Unwind_GetGR(context, 14);
	regs->r15 = _Unwind_GetGR(context, 15);
	regs->rsp = _Unwind_GetCFA(context);
	regs->rip = _Unwind_GetIP(context);
}
