/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The token bucket (x/time/rate). Nothing fills it: `tokens` is what there was at `last`,
 * and what came since is added when somebody asks. It is negative when tokens to come are
 * reserved; last_event is when the latest of those acts. All under the lock.
 */
#include <errno.h>
#include <gsched/select.h>
#include <gsched/sync.h>
#include <gsched/time.h>
#include <math.h>

#include "sema.h"

static void lock(gs_limiter *l)
{
	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&l->lock));
}

static void unlock(gs_limiter *l)
{
	gs_lock_release(gs_lock_of(&l->lock));
	gs_rt_leave();
}

static int64_t add_time(int64_t t, int64_t ns)
{
	int64_t sum;

	if (__builtin_add_overflow(t, ns, &sum))
		return ns < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

static int64_t sub_time(int64_t a, int64_t b)
{
	int64_t diff;

	if (__builtin_sub_overflow(a, b, &diff))
		return a < b ? INT64_MIN : INT64_MAX;
	return diff;
}

static bool unlimited(double limit)
{
	return isinf(limit) && limit > 0;
}

/* How long it takes for so many to come. */
static int64_t time_of(double limit, double tokens)
{
	double ns;

	if (!(limit > 0))
		return INT64_MAX;
	ns = tokens / limit * 1e9;
	return ns >= 0x1p63 ? INT64_MAX : (int64_t)ns;
}

static double tokens_of(double limit, int64_t ns)
{
	/* no time: 0 of an infinite limit, too, not 0 * INFINITY */
	return limit > 0 && ns ? (double)ns / 1e9 * limit : 0;
}

static double tokens_at(const gs_limiter *l, int64_t now)
{
	/* before last: nothing came */
	int64_t elapsed = now < l->last ? 0 : sub_time(now, l->last);
	double tokens = l->tokens + tokens_of(l->limit, elapsed);

	return tokens > (double)l->burst ? (double)l->burst : tokens;
}

void gs_limiter_init(gs_limiter *l, double per_second, int64_t burst)
{
	*l = (gs_limiter){.limit = per_second, .burst = burst, .tokens = (double)burst};
}

/* 0, or why not: -EINVAL more than the burst, -ETIMEDOUT later than max_wait. */
static int reserve(gs_limiter *l, int64_t now, int64_t n, int64_t max_wait, gs_reservation *r)
{
	int64_t wait = 0;
	double tokens;
	int err = 0;

	*r = (gs_reservation){0};
	lock(l);
	r->limit = l->limit;
	if (unlimited(l->limit)) {
		r->act = now;
	} else {
		tokens = tokens_at(l, now) - (double)n;
		if (tokens < 0)
			wait = time_of(l->limit, -tokens);
		if (n > l->burst) {
			err = -EINVAL;
		} else if (wait > max_wait) {
			err = -ETIMEDOUT;
		} else {
			r->act = add_time(now, wait);
			l->last = now;
			l->tokens = tokens;
			l->last_event = r->act;
		}
	}
	unlock(l);
	if (!err) {
		r->limiter = l;
		r->tokens = n;
	}
	return err;
}

bool gs_limiter_reserve(gs_limiter *l, int64_t now, int64_t n, int64_t max_wait, gs_reservation *r)
{
	return reserve(l, now, n, max_wait, r) == 0;
}

/* What was reserved will not be used, whether its time has come or not. */
static void give_back(gs_reservation *r, int64_t now)
{
	gs_limiter *l = r->limiter;
	double back, tokens;
	int64_t before;

	/* an infinite limit took none */
	if (unlimited(r->limit))
		return;
	lock(l);
	/* not what was reserved after it: that counts on these having been taken */
	back = (double)r->tokens - tokens_of(r->limit, sub_time(l->last_event, r->act));
	if (!unlimited(l->limit) && back > 0) {
		tokens = tokens_at(l, now) + back;
		l->last = now;
		l->tokens = tokens > (double)l->burst ? (double)l->burst : tokens;
		if (r->act == l->last_event) {
			before = sub_time(r->act, time_of(r->limit, (double)r->tokens));
			if (before >= now)
				l->last_event = before;
		}
	}
	unlock(l);
	r->limiter = NULL;
}

void gs_reservation_cancel(gs_reservation *r, int64_t now)
{
	if (r->limiter && r->tokens && r->act >= now)
		give_back(r, now);
}

bool gs_limiter_allow_n(gs_limiter *l, int64_t now, int64_t n)
{
	gs_reservation r;

	return gs_limiter_reserve(l, now, n, 0, &r);
}

bool gs_limiter_allow(gs_limiter *l)
{
	return gs_limiter_allow_n(l, gs_now(), 1);
}

int gs_limiter_wait_n(gs_limiter *l, gs_context *ctx, int64_t n)
{
	int64_t now = gs_now(), max_wait = INT64_MAX, deadline;
	gs_reservation r;
	int err;

	lock(l);
	err = n > l->burst && !unlimited(l->limit) ? -EINVAL : 0;
	unlock(l);
	if (!err)
		err = gs_context_err(ctx);
	if (err)
		return err;
	if (gs_context_deadline(ctx, &deadline))
		max_wait = sub_time(deadline, now);
	/* the burst may have become less since */
	err = reserve(l, now, n, max_wait, &r);
	if (err)
		return err;
	if (r.act <= now)
		return 0;
	err = gs_select(GS_RECV(gs_context_done(ctx), NULL), GS_AFTER(sub_time(r.act, gs_now())));
	if (err == 1)
		return 0;
	/* its time may have come since it was cancelled */
	if (r.tokens)
		give_back(&r, gs_now());
	/* below 0: no runtime to wait with, on an ordinary thread */
	return err ? err : gs_context_err(ctx);
}

int gs_limiter_wait(gs_limiter *l, gs_context *ctx)
{
	return gs_limiter_wait_n(l, ctx, 1);
}

void gs_limiter_set_limit(gs_limiter *l, int64_t now, double per_second)
{
	lock(l);
	l->tokens = tokens_at(l, now);
	l->last = now;
	l->limit = per_second;
	unlock(l);
}

void gs_limiter_set_burst(gs_limiter *l, int64_t now, int64_t burst)
{
	lock(l);
	l->tokens = tokens_at(l, now);
	l->last = now;
	l->burst = burst;
	unlock(l);
}

double gs_limiter_tokens(gs_limiter *l, int64_t now)
{
	double tokens;

	lock(l);
	tokens = tokens_at(l, now);
	unlock(l);
	return tokens;
}
