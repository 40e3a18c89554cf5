/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals as values in channels, as Go's package os/signal.
 *
 *	gs_chan *stop = gs_chan_new(sizeof(int), 1);
 *
 *	gs_signal_notify(stop, SIGINT);
 *	gs_signal_notify(stop, SIGTERM);
 *	gs_chan_recv(stop, &signo);		// until somebody wants us to end
 *	gs_signal_stop(stop);			// from now on they end us at once again
 *
 * The channel's elements are int. A signal that comes, to the process or to a thread, is
 * sent to every channel that was given to gs_signal_notify for it, without waiting: what a
 * channel has no room or no waiting receiver for is dropped. So let it have a capacity, 1
 * for a single signal number. Signals of one number that come in quick succession may be
 * told once, real-time signals, too. Closing a channel that is still notified panics at
 * the next signal with "send on closed channel".
 *
 * While a channel is notified of a signal, the signal has no other effect: neither its
 * default action nor a handler that the program installed by sigaction(2). When no channel
 * is left, or after gs_signal_reset, what was installed before is installed again. If the
 * program installs a handler meanwhile, that one counts, until the next gs_signal_notify.
 * Faults (SIGSEGV and its kin that this process's own instructions raise, not those that
 * somebody sent) go where they went before.
 *
 * System calls in progress go on (SA_RESTART). Signals may be blocked in every thread of
 * the program: notified ones are taken by a thread of the runtime's. Who is notified of
 * SIGURG gets those that are sent to the program, not the runtime's own. A channel that is
 * notified is why a program in which all fibers wait is no deadlock.
 *
 * In the child of a fork signals do again what they did before gs_signal_notify, also those
 * that come between the fork and its return; a program started by exec has the default
 * actions, but ignores what was ignored.
 *
 * Signal numbers: 1 to SIGRTMAX. -EINVAL for all others, for SIGKILL and SIGSTOP, which
 * cannot be caught, and for the two between that are libc's own. All calls are (T); not
 * from signal handlers.
 */
#ifndef GSCHED_SIGNAL_H
#define GSCHED_SIGNAL_H

#include <stdbool.h>

#include <gsched/chan.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * gs_signal_notify - have a signal sent to a channel (T)
 * @of_int: a channel of int; it is referenced until it is notified of nothing any more
 * @signo: in addition to those of earlier calls; undoes gs_signal_ignore
 *
 * Starts the runtime if it is not running. NULL panics with "os/signal: Notify using nil
 * channel", elements of another size panic, too.
 *
 * Return: 0; -EINVAL as above; -ENOMEM; in the child of a fork -EPERM, as gs_run.
 */
int gs_signal_notify(gs_chan *of_int, int signo);

/*
 * Send no more signals to this channel. When it returns, those that came before have been
 * sent (or dropped), and it is certain that no more will be. One that comes at this moment is
 * either sent or does what it does without a channel: it is never lost. (T)
 */
void gs_signal_stop(gs_chan *of_int);

/* Ignore a signal: no channel is notified of it any more, nothing happens. 0, -EINVAL. (T) */
int gs_signal_ignore(int signo);

/*
 * Undo gs_signal_notify, for all channels, and gs_signal_ignore: the signal does what it
 * did before the first of them. 0 (also if there was none) or -EINVAL. (T)
 */
int gs_signal_reset(int signo);

/* Is it ignored, by gs_signal_ignore, sigaction or since the program was started? (T) */
bool gs_signal_ignored(int signo);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_SIGNAL_H */
