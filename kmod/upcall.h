/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The upcall: send the current thread, which is about to return to user mode,
 * to the trampoline of its program (uapi sections 9 and 10). What that takes is
 * the architecture's business: arch/x86/upcall.c.
 */
#ifndef _GSCHED_UPCALL_H
#define _GSCHED_UPCALL_H

#include <linux/types.h>

struct gsched_worker;
struct pt_regs;

/*
 * Is there such a thing on this architecture and kernel? Without it, and where the
 * module was told so, SIGURG does its work (uapi section 10). GSCHED_NO_REDIRECT is for
 * trying that out: tools/kmod -d GSCHED_NO_REDIRECT.
 */
#if defined(CONFIG_X86_64) && defined(CONFIG_USER_RETURN_NOTIFIER) && \
	!defined(GSCHED_NO_REDIRECT)
#define GSCHED_REDIRECT	1
#else
#define GSCHED_REDIRECT	0
#endif

/* Why an upcall was refused. Each has a counter and a test. */
enum gsched_refusal {
	GSCHED_REFUSED_NOT,		/* done */
	GSCHED_REFUSED_NO_TRAMPOLINE,	/* the program gave none */
	GSCHED_REFUSED_DEPTH,		/* inside the runtime: told by slot.pending */
	GSCHED_REFUSED_MASKED,		/* SIGURG blocked: posix_spawn, pthread_create */
	GSCHED_REFUSED_SIGSTACK,	/* a handler on the alternate signal stack */
	GSCHED_REFUSED_STEP,		/* a debugger steps */
	GSCHED_REFUSED_MODE,		/* not 64-bit user code */
	GSCHED_REFUSED_RESTART,		/* restart_syscall: its state is the thread's */
	GSCHED_REFUSED_TAIL,		/* inside the trampoline, its last instructions */
	GSCHED_REFUSED_RSEQ,		/* in an rseq section; aborted, comes back at once */
	GSCHED_NR_REFUSALS
};

#ifdef CONFIG_X86_64
bool gsched_upcall_restarts(const struct pt_regs *regs);
#else
static inline bool gsched_upcall_restarts(const struct pt_regs *regs)
{
	return false;
}
#endif

#if GSCHED_REDIRECT
/* Interrupts off, last thing before user mode. */
enum gsched_refusal gsched_upcall(struct gsched_worker *worker, u32 reason);
/* Would that be refused, with these registers of user mode? Interrupts off. */
enum gsched_refusal gsched_upcall_check(const struct gsched_worker *worker,
					const struct pt_regs *regs);
#else
static inline enum gsched_refusal gsched_upcall_check(const struct gsched_worker *worker,
						      const struct pt_regs *regs)
{
	return GSCHED_REFUSED_NOT;
}
#endif

#endif /* _GSCHED_UPCALL_H */
