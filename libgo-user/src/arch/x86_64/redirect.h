/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interrupting a fiber from the handler of a signal. */
#ifndef GS_ARCH_REDIRECT_H
#define GS_ARCH_REDIRECT_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "backend.h"

/*
 * Send what the signal interrupted to the trampoline, for that reason. By the handler on the
 * worker of that slot, which raised the depth from 0; it is lowered by the trampoline, or by
 * the caller where it was refused: false.
 */
bool gs_redirect(struct gs_slot *slot, ucontext_t *uc, uint32_t reason);

/* Was that a system call of the program's, which the signal ended? Then count it. */
void gs_redirect_count(const ucontext_t *uc);
extern uint64_t gs_redirect_interrupted; /* atomic */

#endif /* GS_ARCH_REDIRECT_H */
