/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the handler of a signal to the trampoline (upcall.S), where the module does not send
 * threads there itself (kmod/arch/x86/upcall.c): on the posix backend, and with
 * GSCHED_F_SIGURG.
 *
 * The handler never switches stacks or fibers. It does what the module's upcall does: the
 * interrupted instruction pointer into slot.ip, and the saved context is sent to the
 * trampoline. So what runs then, runs outside the handler, with the signals as they were.
 * It is refused
 *
 *	on the alternate signal stack	a handler is not moved
 *	when a debugger steps, in 32-bit code, in the trampoline itself
 *
 * The trampoline ends with iretq, and the kernel takes the trap flag for the program's own
 * from the moment a debugger steps over one: it would stay set when the debugger is gone.
 * The kernel leaves the flag out of the context it saves; but who steps, steps here, too.
 *
 * What else the module refuses does not come up here: SIGURG is not delivered where it is
 * blocked, an rseq section is aborted by the kernel before a handler is entered, and a call
 * that waits for restart_syscall ends with EINTR when a handler is.
 */
#include "redirect.h"

#include <errno.h>

#include "arch.h"

#define USER_CS 0x33
#define FLAG_TF 0x100

uint64_t gs_redirect_interrupted;

#ifndef GS_TSAN

/* SYSCALL leaves rip in rcx and the flags in r11: this context is right behind one. */
void gs_redirect_count(const ucontext_t *uc)
{
	const greg_t *regs = uc->uc_mcontext.gregs;

	if (regs[REG_RAX] == -EINTR && regs[REG_RCX] == regs[REG_RIP] &&
	    regs[REG_R11] == regs[REG_EFL])
		gs_fetch_add_relaxed(&gs_redirect_interrupted, 1);
}

static bool refused(const ucontext_t *uc)
{
	const greg_t *regs = uc->uc_mcontext.gregs;
	uintptr_t sp = (uintptr_t)regs[REG_RSP], ip = (uintptr_t)regs[REG_RIP];

	return sp - (uintptr_t)uc->uc_stack.ss_sp < uc->uc_stack.ss_size ||
	       ((__builtin_ia32_readeflags_u64() | (uint64_t)regs[REG_EFL]) & FLAG_TF) ||
	       (regs[REG_CSGSFS] & 0xffff) != USER_CS ||
	       ip - (uintptr_t)gs_upcall_entry <
		       (uintptr_t)gs_upcall_end - (uintptr_t)gs_upcall_entry;
}

bool gs_redirect(struct gs_slot *slot, ucontext_t *uc, uint32_t reason)
{
	if (refused(uc))
		return false;
	slot->ip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	slot->reason = reason;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)gs_upcall_entry;
	return true;
}

#endif
