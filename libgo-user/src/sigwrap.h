/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals of the program's own in a program with fibers. */
#ifndef GS_SIGWRAP_H
#define GS_SIGWRAP_H

#include <signal.h>
#include <stdbool.h>

#ifndef __GLIBC__
#error "libgo-user needs glibc, whose sigaction is called by a name of its own: Documentation/tls.rst"
#endif

/* libc's own, past the one of sigwrap.c and a sanitizer's, which keep books. */
int __sigaction(int sig, const struct sigaction *action, struct sigaction *old);

/* The same for a handler; TSan's books say which handler is the program's. */
#ifdef GS_TSAN
#define gs_sig_action sigaction
#else
#define gs_sig_action __sigaction
#endif

/* Inlined anywhere, also where a sanitizer must not look. */
static inline __attribute__((always_inline)) bool gs_sig_is_handler(const struct sigaction *a)
{
	return (a->sa_flags & SA_SIGINFO) || (a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN);
}

/* That action, all signals blocked meanwhile, if the program has left it the default one. */
void gs_sig_set_default(int sig, struct sigaction action);

/* Before the first worker: handlers that are there already get what later ones get. */
void gs_sig_init(void);

/* SIGURG is the runtime's now, with that handler; flags besides SA_SIGINFO. 0 or -errno. */
int gs_sig_take_urg(void (*handler)(int, siginfo_t *, void *));

/*
 * Where the runtime has no use for it, before the first worker: a program that blocks SIGURG
 * to wait for it gets what comes to a worker, too.
 */
void gs_sig_mind_urg(void);

/* In that handler, all signals blocked: this one is not the runtime's. */
void gs_sig_pass_urg(siginfo_t *info, void *context);

#endif /* GS_SIGWRAP_H */
