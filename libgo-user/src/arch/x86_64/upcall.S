/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an interrupted fiber finds itself (uapi sections 9 and 10).
 *
 * The kernel (or, on posix, the signal handler) put the interrupted instruction pointer
 * into slot.ip, set slot.depth to 1 and sent the thread here; nothing else changed. Not a
 * byte of the fiber's stack is written: it may be full up to its guard, and below its
 * stack pointer lies its red zone. Everything is saved on the worker's upcall area.
 *
 * The way back is one instruction, iretq. The depth must be 0 before it, and a signal may
 * come in between: its handler then runs on the upcall area, below the frame, and may be
 * interrupted itself. So who is interrupted with the stack pointer in the area stays on
 * that stack. Nobody is redirected while its instruction pointer is in
 * [gs_upcall_entry, gs_upcall_end).
 *
 * The frame on the upcall area, from the top:
 *	what iretq takes: ss, sp, flags, cs, ip; then rbp, rax .. r15, then xsave.
 * It is described by CFI, so that debuggers and gs_dump walk on into the fiber, and so
 * that an unwinder that comes by signal at any instruction does, or stops here: until the
 * frame is complete the way back is in the slot, where CFI does not reach.
 */
#include "upcall.h"

#define SLOT_DEPTH 0
#define SLOT_IP 8
#define SLOT_AREA 40
#define SLOT_SP 48
#define SLOT_SCRATCH 56

#define FLAG_TF 0x100
#define USER_CS 0x33
#define USER_SS 0x2b

	.text
	.globl	gs_upcall_entry, gs_upcall_end
	.hidden	gs_upcall_entry, gs_upcall_end
	.type	gs_upcall_entry, @function
	.p2align 4
	/* unwinders look up pc - 1 unless this is a signal frame */
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa %rsp, 0
	.cfi_undefined %rip
	nop
gs_upcall_entry:
	/* no byte of the stack may be written yet, no flag be lost: they are kept in ax */
	movq	%rax, %gs:SLOT_SP
	movq	%rbx, %gs:SLOT_SCRATCH
	lahf
	seto	%al
	movq	%gs:SLOT_AREA, %rbx
	subq	%rsp, %rbx
	cmpq	$GS_UPCALL_AREA, %rbx
	jae	1f
	addb	$127, %al
	sahf
	movq	%gs:SLOT_SCRATCH, %rbx
	movq	%gs:SLOT_SP, %rax
	movq	%rsp, %gs:SLOT_SP
	leaq	-128(%rsp), %rsp
	jmp	2f
1:	addb	$127, %al
	sahf
	movq	%gs:SLOT_SCRATCH, %rbx
	movq	%gs:SLOT_SP, %rax
	movq	%rsp, %gs:SLOT_SP
	movq	%gs:SLOT_AREA, %rsp
2:	pushq	$USER_SS
	pushq	%gs:SLOT_SP
	pushfq
	/* a debugger that steps over pushfq leaves its trap flag there; it may be gone later */
	andl	$~FLAG_TF, (%rsp)
	cld
	pushq	$USER_CS
	pushq	%gs:SLOT_IP
	pushq	%rbp
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rbp
	/* CFA = the interrupted sp = *(rbp + 144); everything else relative to rbp */
	.cfi_escape 0x0f, 0x04, 0x76, 0x90, 0x01, 0x06	/* def_cfa_expression: breg6 144, deref */
	.cfi_escape 0x10, 0x10, 0x03, 0x76, 0xf8, 0x00	/* rip at rbp + 120 */
	.cfi_escape 0x10, 0x06, 0x03, 0x76, 0xf0, 0x00	/* rbp at rbp + 112 */
	.cfi_escape 0x10, 0x03, 0x03, 0x76, 0xe0, 0x00	/* rbx at rbp + 96 */
	.cfi_escape 0x10, 0x0c, 0x02, 0x76, 0x18	/* r12 at rbp + 24 */
	.cfi_escape 0x10, 0x0d, 0x02, 0x76, 0x10	/* r13 at rbp + 16 */
	.cfi_escape 0x10, 0x0e, 0x02, 0x76, 0x08	/* r14 at rbp + 8 */
	.cfi_escape 0x10, 0x0f, 0x02, 0x76, 0x00	/* r15 at rbp */
	/* and what a call may change: the fiber made none, and a debugger asks for it */
	.cfi_escape 0x10, 0x00, 0x03, 0x76, 0xe8, 0x00	/* rax at rbp + 104 */
	.cfi_escape 0x10, 0x02, 0x03, 0x76, 0xd8, 0x00	/* rcx at rbp + 88 */
	.cfi_escape 0x10, 0x01, 0x03, 0x76, 0xd0, 0x00	/* rdx at rbp + 80 */
	.cfi_escape 0x10, 0x04, 0x03, 0x76, 0xc8, 0x00	/* rsi at rbp + 72 */
	.cfi_escape 0x10, 0x05, 0x03, 0x76, 0xc0, 0x00	/* rdi at rbp + 64 */
	.cfi_escape 0x10, 0x08, 0x02, 0x76, 0x38	/* r8 at rbp + 56 */
	.cfi_escape 0x10, 0x09, 0x02, 0x76, 0x30	/* r9 at rbp + 48 */
	.cfi_escape 0x10, 0x0a, 0x02, 0x76, 0x28	/* r10 at rbp + 40 */
	.cfi_escape 0x10, 0x0b, 0x02, 0x76, 0x20	/* r11 at rbp + 32 */
	movl	gs_upcall_xsave(%rip), %ecx
	subq	%rcx, %rsp
	andq	$-64, %rsp
	/* xrstor wants the reserved words of the xsave header zero */
	xorl	%eax, %eax
	movq	%rax, 512(%rsp)
	movq	%rax, 520(%rsp)
	movq	%rax, 528(%rsp)
	movq	%rax, 536(%rsp)
	movq	%rax, 544(%rsp)
	movq	%rax, 552(%rsp)
	movq	%rax, 560(%rsp)
	movq	%rax, 568(%rsp)
	movl	$-1, %eax
	movl	$-1, %edx
	xsave64	(%rsp)
	movq	%rsp, %rbx
	/* which leaves the x87 stack as it was: here, and in the next fiber, it is empty */
	fninit
	/* the C ABI's control words: the fiber may have changed them */
	pushq	$0
	pushq	$0x1f80
	ldmxcsr	(%rsp)
	addq	$16, %rsp
	call	gs_upcall
	movl	$-1, %eax
	movl	$-1, %edx
	xrstor64 (%rbx)
	movq	%rbp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	popq	%rbp
	.cfi_escape 0x0f, 0x03, 0x77, 0x18, 0x06	/* CFA: breg7 24, deref */
	.cfi_escape 0x10, 0x10, 0x02, 0x77, 0x00	/* rip at rsp */
	.cfi_same_value %rbp
	.cfi_same_value %rbx
	.cfi_same_value %r12
	.cfi_same_value %r13
	.cfi_same_value %r14
	.cfi_same_value %r15
	.cfi_same_value %rax
	.cfi_same_value %rcx
	.cfi_same_value %rdx
	.cfi_same_value %rsi
	.cfi_same_value %rdi
	.cfi_same_value %r8
	.cfi_same_value %r9
	.cfi_same_value %r10
	.cfi_same_value %r11
	decl	%gs:SLOT_DEPTH
	iretq
gs_upcall_end:
	.cfi_endproc
	.size	gs_upcall_entry, .-gs_upcall_entry

	.section .note.GNU-stack, "", @progbits
