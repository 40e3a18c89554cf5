/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Groups of fibers with a first error. The group's reference to its context goes when
 * wait returns; until then every fiber of the group may cancel it. The waitgroup is the
 * last thing a fiber touches, so the group may be freed after wait.
 */
#include <gsched/runtime.h>
#include <gsched/sync.h>

#include "base/atomic.h"
#include "panic.h"

struct task {
	gs_errgroup *g;
	int (*fn)(void *arg);
	void *arg;
	bool limited; /* it holds one of g->slots */
};

gs_context *gs_errgroup_with_context(gs_errgroup *g, gs_context *parent)
{
	gs_context *ctx = gs_with_cancel(parent, NULL);

	g->err = 0;
	g->ctx = gs_context_ref(ctx);
	return ctx;
}

static void fail(gs_errgroup *g, int err)
{
	gs_cancel cancel = {g->ctx};
	int none = 0;

	/* relaxed would do: the waitgroup orders it for wait */
	if (gs_cas_release(&g->err, &none, err) && cancel.ctx)
		gs_cancel_cause(&cancel, err);
}

static void done(void *arg)
{
	struct task *t = arg;
	gs_errgroup *g = t->g;

	if (t->limited)
		gs_sem_release(&g->slots, 1);
	gs_wg_done(&g->wg);
}

static void end(void *arg)
{
	gs_defer_last(done, arg);
}

static void run(void *arg)
{
	struct task *t = arg;
	struct gs_deferred d;
	int err;

	gs_defer_push(&d, end, t);
	err = t->fn(t->arg);
	if (err)
		fail(t->g, err);
	/* what fn deferred comes before done, as a function's defers in Go */
	gs_defer_run(&d);
}

/* The slot, if there is a limit, is taken. */
static int start(gs_errgroup *g, int (*fn)(void *), void *arg)
{
	struct task t = {g, fn, arg, g->limited};
	int r;

	gs_wg_add(&g->wg, 1);
	r = gs_go_copy(run, &t, sizeof(t));
	if (r)
		done(&t);
	return r;
}

void gs_errgroup_go(gs_errgroup *g, int (*fn)(void *), void *arg)
{
	int r;

	if (!fn)
		gs_panic("go of nil func value");
	if (g->limited)
		gs_sem_acquire(&g->slots, NULL, 1);
	/* or wait would return between the failed start and its error */
	gs_wg_add(&g->wg, 1);
	r = start(g, fn, arg);
	if (r)
		fail(g, r);
	gs_wg_done(&g->wg);
}

bool gs_errgroup_try_go(gs_errgroup *g, int (*fn)(void *), void *arg)
{
	if (!fn)
		gs_panic("go of nil func value");
	if (g->limited && !gs_sem_try_acquire(&g->slots, 1))
		return false;
	return start(g, fn, arg) == 0;
}

void gs_errgroup_set_limit(gs_errgroup *g, int n)
{
	if (n < 0) {
		g->limited = false;
		return;
	}
	if (g->slots.held)
		gs_panic(
			"errgroup: modify limit while %lld goroutines in the group are still active",
			(long long)g->slots.held);
	gs_sem_init(&g->slots, n);
	g->limited = true;
}

int gs_errgroup_wait(gs_errgroup *g)
{
	gs_cancel cancel;
	int err;

	gs_wg_wait(&g->wg);
	err = gs_load_relaxed(&g->err);
	/* of several waits one has it */
	cancel.ctx = gs_xchg_seq(&g->ctx, (gs_context *)0);
	if (cancel.ctx) {
		gs_cancel_cause(&cancel, err);
		gs_context_unref(cancel.ctx);
	}
	return err;
}
