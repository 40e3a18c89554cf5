/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A trampoline (9, 10). It saves everything on an area of the worker's, calls on_upcall(),
 * which whoever includes this defines, and goes back. Its tail, with the depth at 0 again,
 * is TRAMP_TAIL times around a loop.
 */
#ifndef TRAMP_H
#define TRAMP_H

#include <asm/prctl.h>
#include "kutil.h"

#ifndef TRAMP_TAIL
#define TRAMP_TAIL "1"
#endif

/* What the trampoline saved, lowest address first. */
struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t flags, sp, ip;
};

/* slot.user[]: the kernel never looks at it. user[2] and user[3] are the trampoline's. */
#define U_AREA 2

extern char up_entry[], up_end[];

__asm__(".text\n"
	".globl up_entry, up_end\n"
	"up_entry:\n"
	"	movq %rsp, %gs:48\n"
	"	movq %gs:40, %rsp\n"
	"	pushq %gs:8\n"
	"	pushq %gs:48\n"
	"	pushfq\n"
	"	cld\n"
	"	pushq %rax\n	pushq %rbx\n	pushq %rcx\n	pushq %rdx\n"
	"	pushq %rsi\n	pushq %rdi\n	pushq %rbp\n"
	"	pushq %r8\n	pushq %r9\n	pushq %r10\n	pushq %r11\n"
	"	pushq %r12\n	pushq %r13\n	pushq %r14\n	pushq %r15\n"
	"	movq %rsp, %rbp\n"
	"	movq %rsp, %rdi\n"
	"	subq $512, %rsp\n"
	"	andq $-64, %rsp\n"
	"	fxsave64 (%rsp)\n"
	"	movq %rsp, %rbx\n"
	"	call on_upcall\n"
	"	fxrstor64 (%rbx)\n"
	"	movq %rbp, %rsp\n"
	"	decl %gs:0\n"
	"	movl $" TRAMP_TAIL ", %ecx\n" /* the tail */
	"1:	loop 1b\n"
	"	popq %r15\n	popq %r14\n	popq %r13\n	popq %r12\n"
	"	popq %r11\n	popq %r10\n	popq %r9\n	popq %r8\n"
	"	popq %rbp\n	popq %rdi\n	popq %rsi\n"
	"	popq %rdx\n	popq %rcx\n	popq %rbx\n	popq %rax\n"
	"	popfq\n"
	"	movq %gs:48, %rsp\n"
	"	jmp *%gs:8\n"
	"up_end:\n");

void on_upcall(struct frame *f);

/* The calling thread, a worker, may get upcalls: it is to use the slot and that memory. */
static inline bool tramp_prepare(volatile struct gsched_slot *slot, char *area, size_t size)
{
	slot->user[U_AREA] = (uintptr_t)(area + size) & -16ul;
	return !syscall(SYS_arch_prctl, ARCH_SET_GS, slot);
}

static inline void tramp_setup(struct gsched_setup *setup)
{
	setup->trampoline = (uintptr_t)up_entry;
	setup->trampoline_size = up_end - up_entry;
}

#endif /* TRAMP_H */
