// SPDX-License-Identifier: GPL-2.0
/*
 * x86-64: redirect a thread to its trampoline.
 *
 * The registers user mode will see lie on the kernel stack. The interrupted
 * instruction pointer goes to slot.ip, the no-preempt depth becomes 1, and the
 * instruction pointer becomes the trampoline: not a byte of user memory is
 * written. SYSRET cannot return with rcx != rip, and the entry code uses IRET
 * then by itself.
 *
 * All of it may be refused, and then stays due: the thread flag is set again,
 * so that every later way out of the kernel tries once more.
 */
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>
#include <asm/syscall.h>
#include "../../compat.h"
#include "../../gsched.h"
#include "../../upcall.h"

#define INSN_SYSCALL	0x050f
#define INSN_INT80	0x80cd
#define IA32_NR_RESTART	0

/**
 * gsched_upcall_restarts() - will restart_syscall be called next?
 * @regs: what the current thread has in user mode
 *
 * The block it goes on with belongs to the thread, not to the fiber, and a signal's handler
 * makes an error of it. The kernel may have just arranged that, on the way out of a call; or
 * the thread had come back to user mode already, and an interrupt was there before the
 * instruction that makes the call. That may be the one of 32-bit code in 64-bit code, too,
 * with the number it has there, which many a call returns.
 */
bool gsched_upcall_restarts(const struct pt_regs *regs)
{
	bool native = (regs->ax & ~__X32_SYSCALL_BIT) == __NR_restart_syscall;
	u16 next;

	if (!native && regs->ax != IA32_NR_RESTART)
		return false;
	if (native && (long)regs->orig_ax >= 0)
		return true;
	if (copy_from_user_nofault(&next, (void __user *)regs->ip, sizeof(next)))
		return native;
	return native ? next == INSN_SYSCALL : next == INSN_INT80;
}

#if GSCHED_REDIRECT

/**
 * gsched_upcall_check() - would an upcall be refused?
 * @worker: of the current thread
 * @regs: what it has in user mode
 *
 * Return: why, or GSCHED_REFUSED_NOT.
 */
enum gsched_refusal gsched_upcall_check(const struct gsched_worker *worker,
					const struct pt_regs *regs)
{
	const struct gsched_context *context = worker->context;

	if (!context->trampoline)
		return GSCHED_REFUSED_NO_TRAMPOLINE;
	if (READ_ONCE(worker->slot->depth))
		return GSCHED_REFUSED_DEPTH;
	if (!user_64bit_mode((struct pt_regs *)regs))
		return GSCHED_REFUSED_MODE;
	/*
	 * libc masks everything where it must not be moved: a fiber that left
	 * here would leave this thread masked for ever.
	 */
	if (sigismember(&current->blocked, SIGURG))
		return GSCHED_REFUSED_MASKED;
	if (on_sig_stack(regs->sp))
		return GSCHED_REFUSED_SIGSTACK;
	if ((regs->flags & X86_EFLAGS_TF) || test_thread_flag(TIF_SINGLESTEP))
		return GSCHED_REFUSED_STEP;
	if (gsched_upcall_restarts(regs))
		return GSCHED_REFUSED_RESTART;
	if (regs->ip - context->trampoline < context->trampoline_size)
		return GSCHED_REFUSED_TAIL;
	if (!worker->aborted && gsched_rseq_busy())
		return GSCHED_REFUSED_RSEQ;
	return GSCHED_REFUSED_NOT;
}

/**
 * gsched_upcall() - redirect the current thread, or say why not
 * @worker: of the current thread, about to return to user mode
 * @reason: GSCHED_LOST or GSCHED_PREEMPT
 *
 * Interrupts are off.
 *
 * Return: GSCHED_REFUSED_NOT when it was done.
 */
enum gsched_refusal gsched_upcall(struct gsched_worker *worker, u32 reason)
{
	struct pt_regs *regs = task_pt_regs(current);
	struct gsched_slot *slot = worker->slot;
	enum gsched_refusal why;

	lockdep_assert_irqs_disabled();
	why = gsched_upcall_check(worker, regs);
	if (why != GSCHED_REFUSED_NOT)
		return why;
	WRITE_ONCE(slot->ip, regs->ip);
	WRITE_ONCE(slot->reason, reason);
	WRITE_ONCE(slot->depth, 1);
	regs->ip = worker->context->trampoline;
	return GSCHED_REFUSED_NOT;
}

#endif /* GSCHED_REDIRECT */
