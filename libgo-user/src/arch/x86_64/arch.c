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
/* asm/prctl.h, Linux 6.6 */
#ifndef ARCH_SHSTK_STATUS
#define ARCH_SHSTK_STATUS 0x5005
#endif

bool gs_arch_gs;
long gs_arch_errno_off;

static __thread struct gs_slot *tls_slot;
__thread bool gs_arch_here;

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

/*
 * glibc switches shadow stacks on for programs all of whose objects say that they can do with
 * them. Ours do not say so: only a program that switches them on itself gets here.
 */
const char *gs_arch_unusable(void)
{
	uint64_t on = 0;

	if (gs_syscall3(SYS_arch_prctl, ARCH_SHSTK_STATUS, (long)&on, 0) || !on)
		return NULL;
	return "user shadow stacks are on: fibers' stacks would have none";
}

void gs_arch_set_slot(struct gs_slot *slot)
{
	tls_slot = slot;
	if (slot)
		slot->tls = gs_arch_tp();
	if (!gs_load_relaxed(&gs_arch_gs))
		return;
	gs_arch_set_here(false);
	__asm__ volatile("wrgsbase %0" ::"r"(slot) : "memory");
	gs_arch_set_here(slot);
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
