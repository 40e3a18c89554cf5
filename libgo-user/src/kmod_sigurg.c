/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The module's SIGURG (uapi section 10, GSCHED_F_SIGURG), where it cannot send a thread to
 * the trampoline itself: the handler does.
 *
 * slot.pending is the message, the signal only says: look there. The bits are set by other
 * threads, too, at any time, and taken by this one alone:
 *
 *	the module			the handler, at depth 0
 *	or the bit into pending		exchange pending with 0
 *	send SIGURG			act on all bits there were
 *
 * so a bit that comes after the exchange has a signal of its own that comes after the
 * handler. What cannot be acted upon goes back into pending; the runtime looks there when it
 * is left or schedules, and the module tells those who are lost again.
 *
 * The handler runs on the worker's alternate stack, since the fiber's may be full up to its
 * guard. A program that switches that off in a fiber has handlers on the fiber's stack, this
 * one, too.
 */
#include "kmod.h"

#include <errno.h>
#include <signal.h>

#include "arch.h"
#include "redirect.h"
#include "sigwrap.h"

#ifndef GS_TSAN

/* All signals are blocked. errno is not touched: nothing here calls libc. */
static void on_sigurg(int sig, siginfo_t *info, void *context)
{
	struct gs_slot *slot;
	uint32_t bits;

	(void)sig;
	gs_redirect_count(context);
	/* one of the program's may stand for one of the module's, so the bits are looked at */
	if (info->si_code != SI_KERNEL || info->si_errno != GS_KMOD_SI_ERRNO)
		gs_sig_pass_urg(info, context);
	slot = gs_arch_slot();
	if (!slot || slot->depth || !gs_load_relaxed(&slot->pending))
		return;
	gs_store_relaxed(&slot->depth, 1);
	bits = gs_xchg_seq(&slot->pending, 0);
	if (gs_redirect(slot, context, bits & GS_PENDING_LOST ? GS_PENDING_LOST : bits))
		return;
	gs_fetch_or_seq(&slot->pending, bits);
	gs_store_relaxed(&slot->depth, 0);
}

int gs_kmod_take_urg(void)
{
	return gs_sig_take_urg(on_sigurg);
}

#else

int gs_kmod_take_urg(void)
{
	return -EOPNOTSUPP;
}

#endif
