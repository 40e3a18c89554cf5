/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Switching stacks. The saved frame, from the saved stack pointer upwards:
 *
 *	 0  mxcsr (4), x87 control word (4)
 *	 8  r15, r14, r13, r12, rbx, rbp
 *	56  return address
 *
 * The control words are callee-saved by the psABI. They are loaded always: to see whether
 * they differ they would have to be read back right after they were stored, which takes
 * longer (stmxcsr is slow to forward), and mxcsr's exception flags differ often.
 */
	.text

/* void gs_switch(void **save, void *to) */
	.globl	gs_switch
	.hidden	gs_switch
	.type	gs_switch, @function
	.p2align 4
gs_switch:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	/* both stacks have the same frame on top: the CFI holds throughout */
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	.size	gs_switch, .-gs_switch

/* The first code on a new fiber's stack: the frame made by gs_arch_frame. */
	.globl	gs_fiber_entry
	.hidden	gs_fiber_entry
	.type	gs_fiber_entry, @function
	.p2align 4
gs_fiber_entry:
	.cfi_startproc
	.cfi_undefined %rip
	xorl	%ebp, %ebp
	movq	%r12, %rdi
	call	gs_fiber_main
	ud2
	.cfi_endproc
	.size	gs_fiber_entry, .-gs_fiber_entry

/* void gs_arch_begin(void *top, void *fiber): as gs_switch to what gs_arch_frame lays there */
	.globl	gs_arch_begin
	.hidden	gs_arch_begin
	.type	gs_arch_begin, @function
	.p2align 4
gs_arch_begin:
	.cfi_startproc
	.cfi_undefined %rip
	leaq	-16(%rdi), %rsp
	xorl	%ebp, %ebp
	movl	$0x1f80, (%rsp)
	movl	$0x037f, 4(%rsp)
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	movq	$0, (%rsp)
	movq	$0, 8(%rsp)
	movq	%rsi, %r12
	jmp	gs_fiber_entry
	.cfi_endproc
	.size	gs_arch_begin, .-gs_arch_begin

/*
 * void gs_unwind_parked(void *sp, void (*fn)(void *), void *arg)
 *
 * Calls fn(arg) such that an unwinder that starts in fn walks on into the frames
 * of the fiber whose saved stack pointer is sp: the CFI describes the caller's
 * frame as the one that gs_switch saved there. Nothing on that stack is touched.
 */
	.globl	gs_unwind_parked
	.hidden	gs_unwind_parked
	.type	gs_unwind_parked, @function
	.p2align 4
gs_unwind_parked:
	.cfi_startproc
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	movq	%rdi, %rbx
	movq	%rdx, %rdi
	.cfi_remember_state
	.cfi_def_cfa %rbx, 64
	.cfi_offset %rip, -8
	.cfi_offset %rbp, -16
	.cfi_offset %rbx, -24
	.cfi_offset %r12, -32
	.cfi_offset %r13, -40
	.cfi_offset %r14, -48
	.cfi_offset %r15, -56
	call	*%rsi
	nop
	.cfi_restore_state
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_endproc
	.size	gs_unwind_parked, .-gs_unwind_parked

/* void gs_arch_return_zero(const struct gs_arch_frame_regs *regs) */
	.globl	gs_arch_return_zero
	.hidden	gs_arch_return_zero
	.type	gs_arch_return_zero, @function
	.p2align 4
gs_arch_return_zero:
	.cfi_startproc
	movq	(%rdi), %rbx
	movq	8(%rdi), %rbp
	movq	16(%rdi), %r12
	movq	24(%rdi), %r13
	movq	32(%rdi), %r14
	movq	40(%rdi), %r15
	movq	56(%rdi), %rcx
	/* nothing below the new stack pointer is read after it is set: a signal may come */
	movq	48(%rdi), %rsp
	.cfi_undefined %rip
	xorl	%eax, %eax
	xorl	%edx, %edx
	xorps	%xmm0, %xmm0
	xorps	%xmm1, %xmm1
	jmp	*%rcx
	.cfi_endproc
	.size	gs_arch_return_zero, .-gs_arch_return_zero

	.section .note.GNU-stack, "", @progbits
