/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Time: nanoseconds of CLOCK_MONOTONIC.
 *
 * A timer or ticker has a channel that gives the time at which it was due; a receive on
 * it, plain or in a select, waits for that. The channels are synchronous, as since Go
 * 1.23: their length and capacity are 0, and once a stop or reset has returned, no value
 * from before it can be received. So stop and reset return true, too, when the timer was
 * due but its value had not been received. They may be received from by any number of
 * fibers and threads, who are served first in, first out.
 *
 * Durations <= 0 are over at once; those beyond the end of time (INT64_MAX) never.
 *
 * What happened before a timer was made or reset is seen after the receive of its value,
 * and by the function it runs.
 *
 * All calls may be made in a fiber and on an ordinary thread: (T). None may be made in a
 * signal handler. Constructors return NULL with errno ENOMEM, or what gs_run returns when
 * the runtime cannot be started.
 */
#ifndef GSCHED_TIME_H
#define GSCHED_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include <gsched/typed.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gs_timer gs_timer;
typedef struct gs_ticker gs_ticker;

/* Now, in ns of CLOCK_MONOTONIC. Any context. */
int64_t gs_now(void);

/* Sleep at least ns nanoseconds; <= 0 returns at once (yields in a fiber). (T) */
void gs_sleep(int64_t ns);

/**
 * gs_after - a channel that gives a value once, in ns nanoseconds (T)
 * @ns: from now on
 *
 * Return: a channel with one reference, which the caller frees with gs_free, before it
 * fires or after; NULL with errno.
 */
gs_recv_only(int64_t) gs_after(int64_t ns);

/**
 * gs_timer_new - a timer with a channel (T)
 * @ns: when it fires, from now on
 *
 * Return: a timer, to be freed with gs_timer_free; NULL with errno.
 */
gs_timer *gs_timer_new(int64_t ns);

/*
 * Its channel, which belongs to the timer; NULL for a timer of gs_after_func, and for
 * NULL. Whoever wants it for longer than the timer takes a reference (gs_ref). (T)
 */
gs_recv_only(int64_t) gs_timer_chan(gs_timer *t);

/**
 * gs_after_func - run a function in a fiber of its own, in ns nanoseconds (T)
 * @ns: from now on
 * @fn: the function; if NULL, firing panics with "go of nil func value"
 * @arg: its argument
 *
 * Firing needs memory for a fiber. Where there is none it is tried again until there is.
 *
 * Return: a timer to stop or reset it by, to be freed with gs_timer_free; NULL with errno.
 */
gs_timer *gs_after_func(int64_t ns, void (*fn)(void *), void *arg);

/**
 * gs_timer_stop - it shall not fire (T)
 *
 * With a channel: no value will be received. With a function: if it was too late, the
 * function runs, or will, in its fiber; this does not wait for it.
 * NULL panics with "time: Stop called on uninitialized Timer".
 *
 * Return: true if it was active and will not fire; false if it had fired or was stopped.
 */
bool gs_timer_stop(gs_timer *t);

/**
 * gs_timer_reset - it shall fire in ns nanoseconds, instead of when it was to or again (T)
 *
 * With a function: if it had fired, the new run may overlap with that one.
 * NULL panics with "time: Reset called on uninitialized Timer".
 *
 * Return: true if it was active; false if it had fired or was stopped.
 */
bool gs_timer_reset(gs_timer *t, int64_t ns);

/*
 * The timer is not used any more. That does not stop it: a function still pending runs
 * at its time, and whoever has a reference to the channel, or waits on it, gets his
 * value. NULL is fine. (T)
 */
void gs_timer_free(gs_timer *t);

/**
 * gs_ticker_new - a channel that gives a value every ns nanoseconds (T)
 * @ns: the interval; <= 0 panics with "non-positive interval for NewTicker"
 *
 * Ticks are dropped for a slow receiver: at most one is kept, the first he missed; after
 * it come those at whole intervals again.
 *
 * Return: a ticker, to be freed with gs_ticker_free; NULL with errno.
 */
gs_ticker *gs_ticker_new(int64_t ns);

/* Its channel, which belongs to the ticker; NULL: NULL. (T) */
gs_recv_only(int64_t) gs_ticker_chan(gs_ticker *t);

/* No more ticks, until it is reset. Does not close the channel. NULL is fine. (T) */
void gs_ticker_stop(gs_ticker *t);

/*
 * The next tick in ns nanoseconds, and then every ns. Panics with "non-positive interval
 * for Ticker.Reset", or, if t is NULL, "time: Reset called on uninitialized Ticker". (T)
 */
void gs_ticker_reset(gs_ticker *t, int64_t ns);

/*
 * The ticker is not used any more. It ticks for those who still have a reference to the
 * channel, or wait on it. NULL is fine. (T)
 */
void gs_ticker_free(gs_ticker *t);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_TIME_H */
