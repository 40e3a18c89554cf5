/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contexts: cancellation, deadlines and values that go down a tree of calls, as Go's
 * package context.
 *
 *	gs_cancel cancel;
 *	gs_context *ctx = gs_with_timeout(parent, 1000000000, &cancel);
 *	...
 *	switch (gs_select(GS_RECV(replies, &r), GS_RECV(gs_context_done(ctx), NULL))) {
 *	...
 *	gs_cancel_call(&cancel);	// the work is over: stop its timer, tell the children
 *	gs_context_unref(ctx);
 *
 * A context is cancelled once, by gs_cancel_call, by its deadline, or with its parent;
 * the first of them counts. When gs_cancel_call returns, the context and all below it are
 * cancelled: errors are set, done channels closed, after_func fibers started. When a
 * deadline has passed, a fiber of the runtime's own does it.
 *
 * Contexts are counted. Each constructor returns one reference, a child holds its parent.
 * The last reference stops the timer and frees it; it does not cancel: nobody is left
 * who could see that. The static ones need no reference.
 *
 * What happened before a cancel is seen after the done channel was received from or an
 * error other than 0 was read, and by the fibers of gs_context_after_func.
 *
 * All calls are (T). Where a context is read, NULL is as the background. A NULL parent
 * panics with "cannot create context from nil parent". The constructors return NULL with
 * errno ENOMEM, those with a deadline and gs_context_after_func also with what gs_run
 * returns when the runtime could not be started.
 */
#ifndef GSCHED_CONTEXT_H
#define GSCHED_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include <gsched/chan.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gs_context gs_context;
typedef struct gs_context_hook gs_context_hook;

/*
 * The handle by which a context is cancelled: the caller's object, filled by the
 * constructor, no reference. It may be copied, and is valid until the context's last
 * unref. When the constructor failed it is of no effect.
 */
typedef struct gs_cancel {
	gs_context *ctx;
} gs_cancel;

/* Never cancelled, no deadline, no values; for main and for tests. Static. */
gs_context *gs_background(void);

/* The same, where it is not clear yet which context should stand there. Static. */
gs_context *gs_todo(void);

/**
 * gs_with_cancel - a child that can be cancelled (T)
 * @parent: it is cancelled with this one, or born cancelled
 * @cancel: filled; NULL if only the parent shall cancel it
 */
gs_context *gs_with_cancel(gs_context *parent, gs_cancel *cancel);

/**
 * gs_with_deadline - a child that is cancelled with -ETIMEDOUT at a point in time (T)
 * @parent: its deadline holds, too, if it is the earlier one
 * @when: ns of CLOCK_MONOTONIC, as gs_now; in the past: it is born cancelled
 * @cancel: as for gs_with_cancel; call it when the work is over, to stop the timer
 */
gs_context *gs_with_deadline(gs_context *parent, int64_t when, gs_cancel *cancel);

/* The same, ns nanoseconds from now. (T) */
gs_context *gs_with_timeout(gs_context *parent, int64_t ns, gs_cancel *cancel);

/* The same two; if it is the deadline that cancels it, cause is its cause. (T) */
gs_context *gs_with_deadline_cause(gs_context *parent, int64_t when, int cause, gs_cancel *cancel);
gs_context *gs_with_timeout_cause(gs_context *parent, int64_t ns, int cause, gs_cancel *cancel);

/*
 * Cancel with -ECANCELED; no effect on one that is cancelled already, but it returns only
 * when that has reached all below it. (T)
 */
void gs_cancel_call(gs_cancel *cancel);

/* The same, and err, a negative errno, is its cause; 0: none. (T) */
void gs_cancel_cause(gs_cancel *cancel, int err);

/**
 * gs_with_value - a child that knows a value (T)
 * @key: compared as a pointer; use the address of something of yours. NULL panics with
 *       "nil key"
 * @value: not touched; it must outlive the context
 */
gs_context *gs_with_value(gs_context *parent, const void *key, void *value);

/* The value of the nearest context, from this one upwards, that has the key; or NULL. (T) */
void *gs_context_value(gs_context *ctx, const void *key);

/* A child with the parent's values that is never cancelled and has no deadline. (T) */
gs_context *gs_without_cancel(gs_context *parent);

/**
 * gs_context_after_func - call fn(arg) in a fiber of its own once ctx is cancelled (T)
 *
 * At once if it is cancelled already. The hook belongs to the nearest context, this one or
 * above it, that can be cancelled or that ends cancellation: not to a value's own. That one's
 * last unref takes it away, uncalled, and then gs_context_hook_stop may not be called any
 * more. fn does not hold the context. gs_background and gs_todo have no last unref: a hook on
 * these takes memory until it is stopped. In the child of a fork no hook is called.
 *
 * Return: the hook; NULL with errno.
 */
gs_context_hook *gs_context_after_func(gs_context *ctx, void (*fn)(void *), void *arg);

/*
 * True once: fn has not been and will not be called. False if its fiber was started, or
 * it was stopped before; it does not wait for that fiber. A hook that was stopped or called
 * takes no memory. (T)
 */
bool gs_context_hook_stop(gs_context_hook *hook);

/*
 * A channel that is closed when ctx is cancelled, always the same; NULL if it can never
 * be. Borrowed: valid as long as the context, do not close it. It is made by the first
 * call; without memory for it the process ends as Go's does. (T)
 */
gs_chan *gs_context_done(gs_context *ctx);

/* 0, or why it was cancelled: -ECANCELED or -ETIMEDOUT; then done is closed. (T) */
int gs_context_err(gs_context *ctx);

/* The cause given where it, or the one above it by which it was, was cancelled; else err. (T) */
int gs_context_cause(gs_context *ctx);

/* Whether it has a deadline; then *when, if not NULL, is the earliest that holds. (T) */
bool gs_context_deadline(gs_context *ctx, int64_t *when);

/* One more reference; returns its argument. NULL and static ones are fine. (T) */
gs_context *gs_context_ref(gs_context *ctx);

/* One less; the last frees it and lets its parent go. NULL and static ones are fine. (T) */
void gs_context_unref(gs_context *ctx);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_CONTEXT_H */
