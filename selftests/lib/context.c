// SPDX-License-Identifier: GPL-2.0
/* Contexts: Go's own tests in behaviour, and what counting, threads and trees add. */
#include <limits.h>
#include <pthread.h>

#include <gsched/context.h>
#include <gsched/select.h>
#include <gsched/sync.h>

#include "util.h"

#define HOUR (3600 * SEC)

static bool is_done(gs_context *ctx)
{
	return gs_chan_try_recv(gs_context_done(ctx), NULL) == 0;
}

/* Cancelled with err, the channel closed; or 0: not cancelled. */
static void check_err(gs_context *ctx, int err)
{
	CHECK_EQ(is_done(ctx), err != 0);
	CHECK_EQ(gs_context_err(ctx), err);
}

static void wait_done(gs_context *ctx)
{
	int i = gs_select(GS_RECV(gs_context_done(ctx), NULL), GS_AFTER(ut_limit(UT_WAIT * SEC)));

	CHECK_EQ(i, 0);
}

/* ------------------------------------------------------------------------- */
/* Go: context/x_test.go                                                       */

/* the static ones: never cancelled, no deadline, no value, no channel, no counting */
TEST(background_and_todo)
{
	gs_context *all[] = {gs_background(), gs_todo(), NULL};
	int64_t when = 77;
	int key;

	EXPECT_NE(gs_background(), gs_todo());
	for (int i = 0; i < 3; i++) {
		gs_context *c = all[i];

		EXPECT_EQ(NULL, gs_context_done(c));
		EXPECT_EQ(0, gs_context_err(c));
		EXPECT_EQ(0, gs_context_cause(c));
		EXPECT_FALSE(gs_context_deadline(c, &when));
		EXPECT_EQ(77, when);
		EXPECT_EQ(NULL, gs_context_value(c, &key));
		EXPECT_EQ(c, gs_context_ref(c));
		gs_context_unref(c);
		gs_context_unref(c);
		gs_context_unref(c);
	}
	EXPECT_EQ(gs_background(), gs_background());
}

/* cancel reaches the context and its child before it returns; twice is once */
TEST(with_cancel)
{
	gs_cancel cancel, cancel2;
	gs_context *c1 = gs_with_cancel(gs_background(), &cancel);
	gs_context *c2 = gs_with_cancel(c1, &cancel2);
	gs_chan *done = gs_context_done(c1);

	EXPECT_EQ(c1, cancel.ctx);
	EXPECT_NE(NULL, done);
	EXPECT_EQ(done, gs_context_done(c1));
	EXPECT_NE(done, gs_context_done(c2));
	check_err(c1, 0);
	check_err(c2, 0);
	gs_cancel_call(&cancel);
	check_err(c1, -ECANCELED);
	check_err(c2, -ECANCELED);
	EXPECT_EQ(done, gs_context_done(c1));
	gs_cancel_call(&cancel);
	gs_cancel_cause(&cancel, -EIO);
	EXPECT_EQ(-ECANCELED, gs_context_cause(c1));
	gs_cancel_call(&cancel2);
	gs_context_unref(c1);
	check_err(c2, -ECANCELED);
	gs_context_unref(c2);
	EXPECT_EQ(0, ut_failed);
}

static void deadline_main(void *arg)
{
	int64_t from[] = {1 * MS, 1, 0, -1 * MS, INT64_MIN};
	gs_context *c, *o;
	gs_cancel cancel;
	int64_t when, at;

	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		at = gs_now();
		when = from[i] == INT64_MIN ? from[i] : at + from[i];
		c = gs_with_deadline(gs_background(), when, &cancel);
		if (from[i] <= 0)
			check_err(c, -ETIMEDOUT);
		wait_done(c);
		CHECK_GE(gs_now(), when);
		check_err(c, -ETIMEDOUT);
		CHECK_EQ(gs_context_cause(c), -ETIMEDOUT);
		CHECK(gs_context_deadline(c, &at));
		CHECK_EQ(at, when);
		CHECK(gs_context_deadline(c, NULL));
		gs_cancel_call(&cancel);
		check_err(c, -ETIMEDOUT);
		gs_context_unref(c);

		c = gs_with_timeout(gs_background(), from[i], &cancel);
		wait_done(c);
		check_err(c, -ETIMEDOUT);
		gs_context_unref(c);
	}

	/* a later deadline below an earlier one: the earlier holds */
	c = gs_with_timeout(gs_background(), 2 * MS, NULL);
	o = gs_with_timeout(c, HOUR, &cancel);
	CHECK(gs_context_deadline(c, &at) && gs_context_deadline(o, &when));
	CHECK_EQ(at, when);
	gs_context_unref(c);
	wait_done(o);
	check_err(o, -ETIMEDOUT);
	gs_context_unref(o);

	/* an earlier one below a later one: its own, and the parent goes on */
	c = gs_with_timeout(gs_background(), HOUR, &cancel);
	o = gs_with_timeout(c, 1 * MS, NULL);
	wait_done(o);
	check_err(o, -ETIMEDOUT);
	check_err(c, 0);
	gs_context_unref(o);
	gs_cancel_call(&cancel);
	check_err(c, -ECANCELED);
	gs_context_unref(c);

	/* for ever */
	c = gs_with_timeout(gs_background(), INT64_MAX, &cancel);
	CHECK(gs_context_deadline(c, &when));
	CHECK_EQ(when, INT64_MAX);
	o = gs_with_value(c, &when, NULL);
	CHECK(gs_context_deadline(o, NULL));
	check_err(o, 0);
	gs_cancel_call(&cancel);
	check_err(o, -ECANCELED);
	gs_context_unref(c);
	gs_context_unref(o);
}

/* deadlines: to come, now, passed; below each other; what gs_context_deadline says */
TEST(deadline)
{
	RUN(deadline_main, NULL);
}

/* the same on an ordinary thread */
TEST(deadline_in_thread)
{
	deadline_main(NULL);
	EXPECT_EQ(0, ut_failed);
}

/* cancel a child with a deadline before it comes: the parent's stays */
TEST(canceled_timeout)
{
	gs_context *p = gs_with_timeout(gs_background(), HOUR, NULL), *c;
	gs_cancel cancel;

	c = gs_with_timeout(p, HOUR / 2, &cancel);
	gs_cancel_call(&cancel);
	check_err(c, -ECANCELED);
	check_err(p, 0);
	gs_context_unref(p);
	gs_context_unref(c);
	EXPECT_EQ(0, ut_failed);
}

/* values: the nearest counts, also if it is NULL; NULL is no key */
TEST(values)
{
	static char k1, k2, k3, v1[] = "1", v2[] = "2", v3[] = "3";
	gs_context *c1 = gs_with_value(gs_background(), &k1, v1);
	gs_context *c2 = gs_with_value(c1, &k2, v2);
	gs_context *c3 = gs_with_value(c2, &k3, v3);
	gs_context *c4 = gs_with_value(c3, &k1, NULL);
	gs_context *cc = gs_with_cancel(c3, NULL), *c5;
	gs_context *all[] = {gs_background(), c1, c2, c3, c4, cc};
	char *want[][3] = {{NULL, NULL, NULL}, {v1, NULL, NULL}, {v1, v2, NULL},
			   {v1, v2, v3},       {NULL, v2, v3},	 {v1, v2, v3}};

	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(want[i][0], gs_context_value(all[i], &k1));
		EXPECT_EQ(want[i][1], gs_context_value(all[i], &k2));
		EXPECT_EQ(want[i][2], gs_context_value(all[i], &k3));
		EXPECT_EQ(NULL, gs_context_value(all[i], NULL));
	}
	c5 = gs_with_value(cc, &k1, NULL);
	EXPECT_EQ(gs_context_done(cc), gs_context_done(c5));
	gs_context_unref(c5);
	EXPECT_EQ(NULL, gs_context_done(c4));
	/* c4 and cc hold what is above them */
	gs_context_unref(c1);
	gs_context_unref(c2);
	gs_context_unref(c3);
	EXPECT_EQ(want[2][1], gs_context_value(c4, &k2));
	gs_context_unref(c4);
	gs_context_unref(cc);
}

/* A tree of n contexts with four children each. */
static void tree(gs_context **ctx, gs_cancel *cancel, int n)
{
	for (int i = 0; i < n; i++)
		ctx[i] = gs_with_cancel(i ? ctx[(i - 1) / 4] : gs_background(), &cancel[i]);
}

#define CROWD 100

static gs_context *crowd[CROWD];
static gs_cancel crowd_cancel[CROWD];
static gs_waitgroup all;

static void cancel_fiber(void *arg)
{
	gs_cancel_call(arg);
}

static void simultaneous_main(void *arg)
{
	long rounds = ut_count(100, 5);

	for (long r = 0; r < rounds; r++) {
		int order[CROWD];

		tree(crowd, crowd_cancel, CROWD);
		for (int i = 0; i < CROWD; i++)
			order[i] = i;
		for (int i = CROWD - 1; i > 0; i--) {
			int k = rand() % (i + 1), t = order[i];

			order[i] = order[k];
			order[k] = t;
		}
		for (int i = 0; i < CROWD; i++)
			CHECK_EQ(gs_wg_go(&all, cancel_fiber, &crowd_cancel[order[i]]), 0);
		for (int i = 0; i < CROWD; i++)
			wait_done(crowd[i]);
		gs_wg_wait(&all);
		for (int i = 0; i < CROWD; i++)
			check_err(crowd[i], -ECANCELED);
		for (int i = 0; i < CROWD; i++)
			gs_context_unref(crowd[order[i]]);
	}
}

/* all contexts of a tree are cancelled at once, in any order, and freed in any order */
TEST(simultaneous_cancels)
{
	srand((unsigned)gs_now());
	RUN(simultaneous_main, NULL);
}

struct pair {
	gs_context *parent, *child;
	gs_cancel cancel_parent, cancel_child;
};

static void interlocked_child(void *arg)
{
	struct pair *p = arg;

	gs_chan_recv(gs_context_done(p->parent), NULL);
	gs_cancel_call(&p->cancel_child);
	check_err(p->child, -ECANCELED);
	gs_context_unref(p->parent);
}

static void interlocked_main(void *arg)
{
	long rounds = ut_count(2000, 50);

	for (long r = 0; r < rounds; r++) {
		struct pair p;

		p.parent = gs_with_cancel(gs_background(), &p.cancel_parent);
		p.child = gs_with_cancel(p.parent, &p.cancel_child);
		gs_context_ref(p.parent);
		gs_wg_go(&all, interlocked_child, &p);
		if (r % 2)
			gs_yield();
		gs_cancel_call(&p.cancel_parent);
		check_err(p.child, -ECANCELED);
		gs_context_unref(p.parent);
		gs_wg_wait(&all);
		gs_context_unref(p.child);
	}
}

/* the child is cancelled by one who was woken by the parent's cancel */
TEST(interlocked_cancels)
{
	RUN(interlocked_main, NULL);
}

static void layers(bool timeout)
{
	gs_context *ctx = gs_background(), *next;
	static char keys[200];
	gs_cancel cancels[200];
	int n = 0, values = 0, timers = 0;

	for (int i = 0; i < 150 && (i < 30 || !n || !values || !timers); i++) {
		switch (rand() % 3) {
		case 0:
			next = gs_with_value(ctx, &keys[values], &keys[values]);
			values++;
			break;
		case 1:
			next = gs_with_cancel(ctx, &cancels[n++]);
			break;
		default:
			next = gs_with_timeout(ctx, timeout ? 1 * MS : HOUR, &cancels[n++]);
			timers++;
		}
		gs_context_unref(ctx);
		ctx = next;
	}
	if (!timeout)
		check_err(ctx, 0);
	for (int i = 0; i < values; i++)
		CHECK(gs_context_value(ctx, &keys[i]) == &keys[i]);
	if (timeout) {
		wait_done(ctx);
		check_err(ctx, -ETIMEDOUT);
	} else {
		gs_cancel_call(&cancels[rand() % n]);
		check_err(ctx, -ECANCELED);
	}
	for (int i = 0; i < values; i++)
		CHECK(gs_context_value(ctx, &keys[i]) == &keys[i]);
	gs_context_unref(ctx);
}

static void layers_main(void *arg)
{
	long rounds = ut_count(300, 20);

	for (long r = 0; r < rounds; r++) {
		layers(false);
		if (r % 10 == 0)
			layers(true);
	}
}

/* values, cancels and deadlines in random layers, held by the lowest alone */
TEST(random_layers)
{
	srand((unsigned)gs_now());
	RUN(layers_main, NULL);
}

static void cancel_io_fiber(void *arg)
{
	gs_cancel_cause(arg, -EIO);
	gs_context_unref(((gs_cancel *)arg)->ctx);
}

static void canceled_parent_main(void *arg)
{
	long rounds = ut_count(5000, 100);
	gs_context *p, *c;
	gs_cancel cancel;

	p = gs_with_cancel(gs_background(), &cancel);
	gs_cancel_cause(&cancel, -EIO);
	c = gs_with_cancel(p, NULL);
	check_err(c, -ECANCELED);
	CHECK_EQ(gs_context_cause(c), -EIO);
	gs_context_unref(c);
	c = gs_with_timeout(p, -1, NULL);
	check_err(c, -ECANCELED);
	CHECK_EQ(gs_context_cause(c), -EIO);
	gs_context_unref(c);
	c = gs_with_timeout(p, HOUR, NULL);
	check_err(c, -ECANCELED);
	gs_context_unref(c);
	gs_context_unref(p);

	for (long r = 0; r < rounds; r++) {
		p = gs_with_cancel(gs_background(), &cancel);
		gs_context_ref(p);
		gs_wg_go(&all, cancel_io_fiber, &cancel);
		for (int i = 0; i < rand() % 8; i++)
			gs_yield();
		c = r % 2 ? gs_with_cancel(p, NULL) : gs_with_timeout(p, HOUR, NULL);
		gs_context_unref(p);
		wait_done(c);
		check_err(c, -ECANCELED);
		CHECK_EQ(gs_context_cause(c), -EIO);
		gs_wg_wait(&all);
		gs_context_unref(c);
	}
}

/* a child of one that is cancelled, or being cancelled, is cancelled, with its cause */
TEST(canceled_parent)
{
	RUN(canceled_parent_main, NULL);
}

static void bad_cancel(void *arg)
{
	gs_with_cancel(NULL, NULL);
}

static void bad_deadline(void *arg)
{
	gs_with_deadline(NULL, gs_now() + SEC, NULL);
}

static void bad_timeout(void *arg)
{
	gs_with_timeout(NULL, SEC, NULL);
}

static void bad_value(void *arg)
{
	gs_with_value(NULL, &all, NULL);
}

static void bad_without(void *arg)
{
	gs_without_cancel(NULL);
}

static void bad_key(void *arg)
{
	gs_with_value(gs_background(), NULL, "x");
}

static void bad_hook(void *arg)
{
	gs_context_after_func(gs_background(), NULL, NULL);
}

/* a NULL parent and a NULL key panic with Go's texts */
TEST(invalid_derived)
{
	static const struct {
		void (*fn)(void *);
		const char *text;
	} cases[] = {
		{bad_cancel, "panic: cannot create context from nil parent\n"},
		{bad_deadline, "panic: cannot create context from nil parent\n"},
		{bad_timeout, "panic: cannot create context from nil parent\n"},
		{bad_value, "panic: cannot create context from nil parent\n"},
		{bad_without, "panic: cannot create context from nil parent\n"},
		{bad_key, "panic: nil key\n"},
		{bad_hook, "panic: go of nil func value\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ut_child *c = ut_child_run(cases[i].fn, NULL, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, cases[i].text);
		free(c);
	}
}

enum { PARENT = -1001, CHILD = -1002, SLOW = -1003, EARLY = -1004 };

/* p cancelled with a, if not 0, before or after c with b; 1: no cause. The cause of c. */
static int cause_of(bool parent_first, int a, int b)
{
	gs_cancel cp, cc;
	gs_context *p = gs_with_cancel(gs_background(), &cp), *c = gs_with_cancel(p, &cc);
	int cause;

	for (int i = 0; i < 2; i++)
		if (parent_first == (i == 0)) {
			if (a)
				gs_cancel_cause(&cp, a == 1 ? 0 : a);
		} else if (b) {
			gs_cancel_cause(&cc, b == 1 ? 0 : b);
		}
	CHECK_EQ(gs_context_err(c), a || b ? -ECANCELED : 0);
	CHECK_EQ(gs_context_err(p), a ? -ECANCELED : 0);
	cause = gs_context_cause(c);
	gs_context_unref(p);
	gs_context_unref(c);
	return cause;
}

/* the cause: what the first cancel gave, from above or here, or err when it gave none */
TEST(cause)
{
	gs_cancel cancel;
	gs_context *c, *p;

	EXPECT_EQ(0, cause_of(true, 0, 0));
	EXPECT_EQ(-ECANCELED, cause_of(true, 0, 1));
	EXPECT_EQ(CHILD, cause_of(true, 0, CHILD));
	EXPECT_EQ(PARENT, cause_of(true, PARENT, 0));
	EXPECT_EQ(PARENT, cause_of(true, PARENT, CHILD));
	EXPECT_EQ(CHILD, cause_of(false, PARENT, CHILD));
	EXPECT_EQ(PARENT, cause_of(true, PARENT, 1));
	EXPECT_EQ(-ECANCELED, cause_of(false, PARENT, 1));
	EXPECT_EQ(-ECANCELED, cause_of(true, 1, CHILD));
	EXPECT_EQ(CHILD, cause_of(false, 1, CHILD));

	c = gs_with_timeout(gs_background(), 0, &cancel);
	gs_cancel_cause(&cancel, EARLY);
	EXPECT_EQ(-ETIMEDOUT, gs_context_err(c));
	EXPECT_EQ(-ETIMEDOUT, gs_context_cause(c));
	gs_context_unref(c);

	c = gs_with_timeout_cause(gs_background(), 0, SLOW, &cancel);
	gs_cancel_cause(&cancel, EARLY);
	EXPECT_EQ(-ETIMEDOUT, gs_context_err(c));
	EXPECT_EQ(SLOW, gs_context_cause(c));
	gs_context_unref(c);

	c = gs_with_timeout_cause(gs_background(), 1 * MS, SLOW, &cancel);
	gs_chan_recv(gs_context_done(c), NULL);
	EXPECT_EQ(-ETIMEDOUT, gs_context_err(c));
	EXPECT_EQ(SLOW, gs_context_cause(c));
	gs_context_unref(c);

	c = gs_with_timeout_cause(gs_background(), HOUR, SLOW, &cancel);
	gs_cancel_call(&cancel);
	EXPECT_EQ(-ECANCELED, gs_context_err(c));
	EXPECT_EQ(-ECANCELED, gs_context_cause(c));
	gs_context_unref(c);

	p = gs_with_cancel(gs_background(), &cancel);
	c = gs_with_timeout_cause(p, 0, SLOW, NULL);
	gs_cancel_cause(&cancel, EARLY);
	EXPECT_EQ(-ETIMEDOUT, gs_context_err(c));
	EXPECT_EQ(SLOW, gs_context_cause(c));
	EXPECT_EQ(EARLY, gs_context_cause(p));
	gs_context_unref(c);
	gs_context_unref(p);

	p = gs_with_cancel(gs_background(), &cancel);
	c = gs_with_deadline_cause(p, gs_now() + HOUR, SLOW, NULL);
	gs_cancel_cause(&cancel, EARLY);
	EXPECT_EQ(-ECANCELED, gs_context_err(c));
	EXPECT_EQ(EARLY, gs_context_cause(c));
	gs_context_unref(c);
	c = gs_without_cancel(p);
	EXPECT_EQ(0, gs_context_err(c));
	EXPECT_EQ(0, gs_context_cause(c));
	gs_context_unref(c);
	gs_context_unref(p);
	EXPECT_EQ(0, ut_failed);
}

static void hook_finds_err(void *arg)
{
	CHECK_EQ(gs_context_err(arg), -ECANCELED);
	gs_context_unref(arg);
	gs_wg_done(&all);
}

static void closed_race_main(void *arg)
{
	long rounds = ut_count(20000, 200);

	for (long r = 0; r < rounds; r++) {
		gs_cancel cancel;
		gs_context *c = gs_with_cancel(gs_background(), &cancel);
		int err;

		gs_context_ref(c);
		gs_wg_go(&all, cancel_io_fiber, &cancel);
		/* at every moment of the cancel the channel may be asked for the first time */
		for (long i = 0; i < r % 64; i++)
			LOAD(rounds);
		if (r % 2)
			gs_yield();
		gs_wg_add(&all, 1);
		if (r % 4 < 2)
			gs_context_done(c);
		CHECK(gs_context_after_func(c, hook_finds_err, gs_context_ref(c)) != NULL);
		while (gs_chan_try_recv(gs_context_done(c), NULL) == -EAGAIN)
			gs_yield();
		err = gs_context_err(c);
		if (!CHECK_EQ(err, -ECANCELED))
			break;
		gs_context_unref(c);
		gs_wg_wait(&all);
	}
	gs_wg_wait(&all);
}

/* who finds the done channel closed, though made for him just then, finds the error; hooks, too */
TEST(closed_means_err)
{
	RUN(closed_race_main, NULL);
}

static void cause_race_main(void *arg)
{
	long rounds = ut_count(5000, 100);

	for (long r = 0; r < rounds; r++) {
		gs_cancel cancel;
		gs_context *c = gs_with_cancel(gs_background(), &cancel);
		int cause;

		gs_context_ref(c);
		gs_wg_go(&all, cancel_io_fiber, &cancel);
		while (!(cause = gs_context_cause(c)))
			gs_yield();
		CHECK_EQ(cause, -EIO);
		check_err(c, -ECANCELED);
		gs_context_unref(c);
		gs_wg_wait(&all);
	}
}

/* who polls the cause never sees another one */
TEST(cause_race)
{
	RUN(cause_race_main, NULL);
}

/* without_cancel: the values stay, deadline and cancellation do not; below it they begin anew */
TEST(without_cancel)
{
	static char key, value;
	gs_cancel cancel, below;
	gs_context *p = gs_with_timeout(gs_background(), HOUR, &cancel);
	gs_context *v = gs_with_value(p, &key, &value);
	gs_context *c = gs_without_cancel(v), *d;

	EXPECT_FALSE(gs_context_deadline(c, NULL));
	EXPECT_EQ(NULL, gs_context_done(c));
	EXPECT_EQ(&value, gs_context_value(c, &key));
	d = gs_with_cancel(c, &below);
	EXPECT_FALSE(gs_context_deadline(d, NULL));
	gs_cancel_call(&cancel);
	EXPECT_EQ(-ECANCELED, gs_context_err(v));
	EXPECT_EQ(0, gs_context_err(c));
	check_err(d, 0);
	gs_context_unref(p);
	gs_context_unref(v);
	EXPECT_EQ(&value, gs_context_value(d, &key));
	gs_cancel_call(&below);
	check_err(d, -ECANCELED);
	EXPECT_EQ(0, gs_context_err(c));
	gs_context_unref(c);
	gs_context_unref(d);
	EXPECT_EQ(0, ut_failed);
}

/* Go's XTestParentFinishesChild: every kind of child is finished with the parent */
TEST(parent_finishes_child)
{
	static char key;
	gs_cancel cancel;
	gs_context *p = gs_with_cancel(gs_background(), &cancel);
	gs_context *c = gs_with_cancel(p, NULL), *v = gs_with_value(p, &key, &key);
	gs_context *t = gs_with_timeout(v, HOUR, NULL), *late;

	EXPECT_EQ(-1,
		  gs_select(GS_RECV(gs_context_done(p), NULL), GS_RECV(gs_context_done(c), NULL),
			    GS_RECV(gs_context_done(t), NULL), GS_RECV(gs_context_done(v), NULL),
			    GS_DEFAULT) -
			  5);
	gs_cancel_call(&cancel);
	check_err(p, -ECANCELED);
	check_err(c, -ECANCELED);
	check_err(v, -ECANCELED);
	check_err(t, -ECANCELED);
	late = gs_with_value(p, &key, NULL);
	check_err(late, -ECANCELED);
	gs_context_unref(late);
	gs_context_unref(p);
	gs_context_unref(c);
	gs_context_unref(t);
	gs_context_unref(v);
	EXPECT_EQ(0, ut_failed);
}

/* a child that is cancelled leaves its parent alone */
TEST(child_finishes_first)
{
	gs_cancel cancel;
	gs_context *p = gs_with_cancel(gs_background(), NULL), *c;

	c = gs_with_cancel(gs_background(), &cancel);
	gs_cancel_call(&cancel);
	check_err(c, -ECANCELED);
	gs_context_unref(c);
	c = gs_with_cancel(p, &cancel);
	gs_cancel_call(&cancel);
	check_err(c, -ECANCELED);
	check_err(p, 0);
	gs_context_unref(c);
	check_err(p, 0);
	gs_context_unref(p);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */
/* after_func                                                                  */

static int hooks_run; /* atomic */

static void count_hook(void *arg)
{
	CHECK(gs_id() != 0);
	ADD(hooks_run, 1);
}

static void close_chan(void *arg)
{
	gs_chan_close(arg);
}

static void send_chan(void *arg)
{
	gs_chan_send(arg, NULL);
}

static void after_func_main(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);
	gs_context_hook *hook, *other;
	gs_context *ctx, *value;
	gs_cancel cancel;

	/* called after cancel, not before */
	ctx = gs_with_cancel(gs_background(), &cancel);
	hook = gs_context_after_func(ctx, close_chan, c);
	CHECK(hook != NULL);
	CHECK_EQ(gs_select(GS_RECV(c, NULL), GS_AFTER(1 * MS)), 1);
	gs_cancel_call(&cancel);
	CHECK(!gs_chan_recv(c, NULL));
	CHECK(!gs_context_hook_stop(hook));
	CHECK(!gs_context_hook_stop(hook));
	gs_context_unref(ctx);
	gs_chan_unref(c);

	/* after the deadline */
	c = gs_chan_new(0, 0);
	ctx = gs_with_timeout(gs_background(), 1 * MS, &cancel);
	gs_context_after_func(ctx, close_chan, c);
	CHECK(!gs_chan_recv(c, NULL));
	check_err(ctx, -ETIMEDOUT);
	gs_context_unref(ctx);
	gs_chan_unref(c);

	/* at once when it is cancelled already */
	c = gs_chan_new(0, 0);
	ctx = gs_with_cancel(gs_background(), &cancel);
	gs_cancel_call(&cancel);
	hook = gs_context_after_func(ctx, close_chan, c);
	CHECK(!gs_chan_recv(c, NULL));
	CHECK(!gs_context_hook_stop(hook));
	gs_context_unref(ctx);
	gs_chan_unref(c);

	/* not after stop, which is true once; others are not disturbed by an old handle */
	STORE(hooks_run, 0);
	ctx = gs_with_cancel(gs_background(), &cancel);
	hook = gs_context_after_func(ctx, count_hook, NULL);
	CHECK(gs_context_hook_stop(hook));
	other = gs_context_after_func(ctx, count_hook, NULL);
	CHECK(!gs_context_hook_stop(hook));
	gs_cancel_call(&cancel);
	UNTIL(LOAD(hooks_run) == 1);
	CHECK(!gs_context_hook_stop(hook));
	CHECK(!gs_context_hook_stop(other));
	CHECK(!gs_context_hook_stop(NULL));
	gs_context_unref(ctx);

	/* cancel does not wait for it; it may hang on a value's context */
	c = gs_chan_new(0, 0);
	ctx = gs_with_cancel(gs_background(), &cancel);
	value = gs_with_value(ctx, &all, NULL);
	gs_context_after_func(value, send_chan, c);
	gs_context_unref(value);
	gs_cancel_call(&cancel);
	CHECK(gs_chan_recv(c, NULL));
	gs_context_unref(ctx);
	gs_chan_unref(c);

	/* on what is never cancelled, it can be stopped */
	hook = gs_context_after_func(gs_background(), count_hook, NULL);
	CHECK(gs_context_hook_stop(hook));
	CHECK(!gs_context_hook_stop(hook));
	ctx = gs_without_cancel(gs_background());
	hook = gs_context_after_func(ctx, count_hook, NULL);
	CHECK(gs_context_hook_stop(hook));
	CHECK(!gs_context_hook_stop(hook));
	gs_context_after_func(ctx, count_hook, NULL);
	gs_context_unref(ctx);

	/* the last unref takes it away */
	ctx = gs_with_timeout(gs_background(), HOUR, NULL);
	for (int i = 0; i < 1000; i++)
		gs_context_after_func(ctx, count_hook, NULL);
	gs_context_unref(ctx);
	CHECK_EQ(LOAD(hooks_run), 1);
}

/* Go's tests of AfterFunc: when it is called, when not, and what stop says */
TEST(after_func)
{
	RUN(after_func_main, NULL);
}

/* the same on an ordinary thread */
TEST(after_func_in_thread)
{
	after_func_main(NULL);
	EXPECT_EQ(0, ut_failed);
}

static void many_hooks_main(void *arg)
{
	long n = ut_count(20000, 500);
	gs_context_hook **hooks = calloc((size_t)n, sizeof(*hooks));
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	long stopped = 0;

	STORE(hooks_run, 0);
	for (long i = 0; i < n; i++) {
		hooks[i] = gs_context_after_func(ctx, count_hook, NULL);
		CHECK(hooks[i] != NULL);
	}
	for (long i = 0; i < n; i += 3)
		stopped += gs_context_hook_stop(hooks[i]);
	CHECK_EQ(stopped, (n + 2) / 3);
	gs_cancel_call(&cancel);
	for (long i = 0; i < n; i++)
		CHECK(!gs_context_hook_stop(hooks[i]));
	gs_context_unref(ctx);
	UNTIL(LOAD(hooks_run) == n - stopped);
	free(hooks);
}

/* many on one context, a third of them stopped: the others are called, each once */
TEST(many_hooks)
{
	RUN(many_hooks_main, NULL);
}

static struct race {
	gs_context *ctx;
	gs_cancel cancel;
	gs_context_hook *hook;
	int ran, stopped; /* atomic */
	int ready;	  /* atomic: how many are at the start */
} race;

static void race_hook(void *arg)
{
	check_err(race.ctx, gs_context_err(race.ctx));
	CHECK_NE(gs_context_err(race.ctx), 0);
	ADD(race.ran, 1);
	gs_context_unref(race.ctx);
	gs_wg_done(&all);
}

static void at_start(int n)
{
	ADD(race.ready, 1);
	for (int i = 0; i < 1000 && LOAD(race.ready) < n; i++)
		gs_yield();
}

static void race_cancel(void *arg)
{
	at_start(3);
	gs_cancel_call(&race.cancel);
	CHECK_NE(gs_context_err(race.ctx), 0);
	gs_context_unref(race.ctx);
}

static void race_stop(void *arg)
{
	at_start(3);
	if (gs_context_hook_stop(race.hook)) {
		ADD(race.stopped, 1);
		gs_context_unref(race.ctx);
		gs_wg_done(&all);
	}
	gs_context_unref(race.ctx);
}

static void race_child(void *arg)
{
	gs_context *c, *d;

	at_start(3);
	c = gs_with_cancel(race.ctx, NULL);
	d = gs_with_timeout(c, HOUR, NULL);
	gs_context_unref(race.ctx);
	gs_context_unref(c);
	wait_done(d);
	CHECK_NE(gs_context_err(d), 0);
	gs_context_unref(d);
}

static void race_main(void *arg)
{
	long rounds = ut_count(4000, 100);

	for (long r = 0; r < rounds; r++) {
		memset(&race, 0, sizeof(race));
		/* the deadline takes part, about when the others are there */
		race.ctx = gs_with_timeout(gs_background(), r % 4 ? r % 30 * 1000 : HOUR,
					   &race.cancel);
		for (int i = 0; i < 4; i++)
			gs_context_ref(race.ctx);
		gs_wg_add(&all, 1); /* the hook's end, called or stopped */
		race.hook = gs_context_after_func(race.ctx, race_hook, NULL);
		gs_wg_go(&all, race_stop, NULL);
		gs_wg_go(&all, race_cancel, NULL);
		gs_wg_go(&all, race_child, NULL);
		gs_context_unref(race.ctx);
		gs_wg_wait(&all);
		/* called or stopped, never both, never neither */
		CHECK_EQ(race.ran + race.stopped, 1);
	}
}

/* cancel, deadline, stop, a new child and unref at the same moment, again and again */
TEST(races)
{
	RUN(race_main, NULL);
}

static void *race_thread(void *arg)
{
	gs_context *root = arg;
	long rounds = ut_count(6000, 200);
	unsigned seed = (unsigned)(uintptr_t)&seed;

	for (long r = 0; r < rounds; r++) {
		gs_context *c, *d;
		gs_context_hook *hook;
		gs_cancel cancel;

		c = gs_with_timeout(root, rand_r(&seed) % 50000, &cancel);
		hook = gs_context_after_func(c, count_hook, NULL);
		d = gs_with_cancel(c, NULL);
		if (rand_r(&seed) % 2)
			gs_cancel_call(&cancel);
		if (rand_r(&seed) % 2)
			gs_context_hook_stop(hook);
		if (rand_r(&seed) % 2)
			gs_context_done(d);
		if (rand_r(&seed) % 4 == 0)
			wait_done(d);
		gs_context_unref(c);
		gs_context_unref(d);
	}
	gs_context_unref(root);
	return NULL;
}

/* threads make, cancel and drop children of a context that is cancelled meanwhile */
TEST(race_threads)
{
	pthread_t t[4];
	gs_cancel cancel;
	gs_context *root = gs_with_cancel(gs_background(), &cancel);

	for (int i = 0; i < 4; i++) {
		gs_context_ref(root);
		ASSERT_EQ(0, pthread_create(&t[i], NULL, race_thread, root));
	}
	gs_sleep(20 * MS);
	gs_cancel_call(&cancel);
	gs_context_unref(root);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */
/* Waiters, and who is still on the way                                        */

static int woken; /* atomic */

static void wait_fiber(void *arg)
{
	gs_context *ctx = arg;

	if (gs_select(GS_RECV(gs_context_done(ctx), NULL), GS_AFTER(HOUR)) == 0) {
		/* who saw the channel closed sees the error */
		CHECK_EQ(gs_context_err(ctx), -ECANCELED);
		ADD(woken, 1);
	}
	gs_context_unref(ctx);
}

static void *wait_thread(void *arg)
{
	wait_fiber(arg);
	return NULL;
}

static void waiters_main(void *arg)
{
	long n = ut_count(5000, 200);
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	pthread_t t[4];

	STORE(woken, 0);
	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(wait_fiber, gs_context_ref(ctx)), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, wait_thread, gs_context_ref(ctx)), 0);
	for (int i = 0; i < 10; i++)
		gs_yield();
	CHECK_EQ(LOAD(woken), 0);
	gs_cancel_call(&cancel);
	gs_context_unref(ctx);
	UNTIL(LOAD(woken) == n + 4);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

/* every waiter is woken, fibers and threads; the last of them frees it */
TEST(waiters)
{
	RUN(waiters_main, NULL);
}

static void second_cancel(void *arg)
{
	gs_context *leaf = arg;

	while (!gs_context_err(crowd[1]))
		gs_yield();
	/* another propagates; when we return, it has reached the leaf */
	gs_cancel_call(&crowd_cancel[rand() % 2]);
	CHECK_EQ(gs_context_err(leaf), -ECANCELED);
}

static void second_main(void *arg)
{
	long n = ut_count(20000, 500);
	gs_context **ctx = calloc((size_t)n, sizeof(*ctx)), *c = NULL;

	crowd[0] = gs_with_cancel(gs_background(), &crowd_cancel[0]);
	crowd[1] = gs_with_cancel(crowd[0], &crowd_cancel[1]);
	for (long i = 0; i < n; i++)
		c = ctx[i] = gs_with_cancel(i % 50 ? c : crowd[1], NULL);
	for (int i = 0; i < 4; i++)
		gs_wg_go(&all, second_cancel, c);
	gs_cancel_call(&crowd_cancel[1]);
	CHECK_EQ(gs_context_err(c), -ECANCELED);
	gs_wg_wait(&all);
	for (long i = 0; i < n; i++)
		gs_context_unref(ctx[i]);
	gs_context_unref(crowd[0]);
	gs_context_unref(crowd[1]);
	free(ctx);
}

/* a second cancel, of the same or of its parent, returns only when the first has reached everything
 * below */
TEST(second_cancel_waits)
{
	for (int i = 0; i < 5; i++)
		RUN(second_main, NULL);
}

static struct {
	gs_context *ctx;
	long plain[4]; /* the context orders them */
} order;

static void order_hook(void *arg)
{
	CHECK_EQ(order.plain[0], (long)(intptr_t)arg);
	order.plain[1] = 1;
	gs_wg_done(&all);
}

static void order_done(void *arg)
{
	gs_chan_recv(gs_context_done(order.ctx), NULL);
	CHECK_EQ(order.plain[0], (long)(intptr_t)arg);
	order.plain[2] = 1;
}

static void *order_poll(void *arg)
{
	while (!gs_context_err(order.ctx))
		sched_yield();
	CHECK_EQ(order.plain[0], (long)(intptr_t)arg);
	order.plain[3] = 1;
	return NULL;
}

static void order_main(void *arg)
{
	long rounds = ut_count(1000, 30);

	for (long r = 1; r <= rounds; r++) {
		gs_cancel cancel, cancel_child;
		gs_context *parent = gs_with_cancel(gs_background(), &cancel);
		void *round = (void *)(intptr_t)r;
		pthread_t t;

		order.ctx = gs_with_timeout(parent, HOUR, &cancel_child);
		gs_wg_add(&all, 1);
		gs_context_after_func(order.ctx, order_hook, round);
		gs_wg_go(&all, order_done, round);
		CHECK_EQ(pthread_create(&t, NULL, order_poll, round), 0);
		if (r % 2)
			gs_yield();
		order.plain[0] = r;
		gs_cancel_call(r % 3 ? &cancel : &cancel_child);
		gs_wg_wait(&all);
		pthread_join(t, NULL);
		for (int i = 1; i < 4; i++) {
			CHECK_EQ(order.plain[i], 1);
			order.plain[i] = 0;
		}
		gs_context_unref(order.ctx);
		gs_context_unref(parent);
	}
}

/* what was done before cancel is seen by who waits for done, who polls err, and the hook */
TEST(orders)
{
	RUN(order_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Size                                                                        */

/* For 100,000: some 20 ms. A list searched for each would take longer than this. */
#define CANCEL_LIMIT ut_limit(4 * SEC)

static void other_fiber(void *arg)
{
	while (!LOAD(*(int *)arg))
		gs_yield();
}

static int64_t longer(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The longest time that a cancel or an unref took. */
static int64_t big_once(void)
{
	long n = ut_count(100000, 2000), i;
	gs_context **ctx = calloc((size_t)n, sizeof(*ctx)), *root, *c;
	gs_cancel cancel;
	int64_t t, most;

	/* wide, some with deadlines and channels */
	root = gs_with_cancel(gs_background(), &cancel);
	for (i = 0; i < n; i++) {
		ctx[i] = i % 10 ? gs_with_cancel(root, NULL) : gs_with_timeout(root, HOUR, NULL);
		if (i % 7 == 0)
			gs_context_done(ctx[i]);
	}
	t = gs_now();
	gs_cancel_call(&cancel);
	most = gs_now() - t;
	for (i = 0; i < n; i++) {
		CHECK_EQ(gs_context_err(ctx[i]), -ECANCELED);
		gs_context_unref(ctx[i]);
	}
	gs_context_unref(root);

	/* deep: every one the child of the one before */
	c = root = gs_with_cancel(gs_background(), &cancel);
	for (i = 0; i < n; i++) {
		gs_context *below = gs_with_cancel(c, NULL);

		gs_context_unref(c);
		c = below;
	}
	t = gs_now();
	gs_cancel_call(&cancel);
	most = longer(most, gs_now() - t);
	CHECK_EQ(gs_context_err(c), -ECANCELED);
	t = gs_now();
	gs_context_unref(c); /* the whole chain */
	most = longer(most, gs_now() - t);

	/* both: four children each */
	for (i = 0; i < n; i++)
		ctx[i] = gs_with_cancel(i ? ctx[(i - 1) / 4] : gs_background(), i ? NULL : &cancel);
	t = gs_now();
	gs_cancel_call(&cancel);
	most = longer(most, gs_now() - t);
	for (i = 0; i < n; i++) {
		CHECK_EQ(gs_context_err(ctx[i]), -ECANCELED);
		gs_context_unref(ctx[i]);
	}
	free(ctx);
	return most;
}

static void big_main(void *arg)
{
	static int over; /* atomic */

	gs_go(other_fiber, &over);
	UNTIL(big_once() < CANCEL_LIMIT);
	STORE(over, 1);
}

/* trees of 100,000, wide, deep and both, are cancelled in bounded time and little stack */
TEST(big_trees)
{
	RUN(big_main, NULL);
}

/* A hook that calls into the tree it hangs in, while that is being cancelled. */
struct tree_hook {
	gs_context *ctx, *leaf;
	gs_cancel *root;
};

static void use_tree(void *arg)
{
	struct tree_hook *h = arg;
	gs_context_hook *hook;
	gs_context *below;
	gs_cancel cancel;

	check_err(h->ctx, -ECANCELED);
	below = gs_with_cancel(h->ctx, &cancel);
	check_err(below, -ECANCELED);
	gs_cancel_call(&cancel);
	hook = gs_context_after_func(below, count_hook, NULL);
	CHECK(!gs_context_hook_stop(hook));
	gs_context_unref(below);
	/* it began already; this returns when it is over */
	gs_cancel_call(h->root);
	CHECK_EQ(gs_context_err(h->leaf), -ECANCELED);
	ADD(hooks_run, 1);
}

static void grow_tree(void *arg)
{
	const struct tree_hook *h = arg;

	/* to the last children of the root and of a leaf come and go */
	while (!gs_context_err(h->leaf)) {
		gs_context *high = gs_with_cancel(h->ctx, NULL),
			   *low = gs_with_cancel(h->leaf, NULL);

		gs_context_unref(high);
		gs_context_unref(low);
		gs_yield();
	}
}

static void wait_closed(void *arg)
{
	CHECK(!gs_chan_recv(arg, NULL));
	ADD(hooks_run, 1);
}

static int64_t cancel_took;

/* On a thread: hooks run meanwhile with one proc, too. */
static void *cancel_thread(void *arg)
{
	int64_t t = gs_now();

	gs_cancel_call(arg);
	cancel_took = gs_now() - t;
	return NULL;
}

/* How long the cancel took. */
static int64_t tree_hooks_once(void)
{
	long n = ut_count(100000, 2000), every = 50, hooks = 0;
	struct tree_hook *h = calloc((size_t)(n / every + 1), sizeof(*h));
	gs_context **ctx = calloc((size_t)n, sizeof(*ctx));
	gs_chan *c = gs_chan_new(0, 0);
	gs_cancel cancel;
	pthread_t t;

	STORE(hooks_run, 0);
	for (long i = 0; i < n; i++)
		ctx[i] = gs_with_cancel(i ? ctx[(i - 1) / 4] : gs_background(), i ? NULL : &cancel);
	/* the first one blocks: the cancel does not wait for it */
	CHECK(gs_context_after_func(ctx[0], wait_closed, c) != NULL);
	for (long i = 0; i < n; i += every) {
		h[hooks] = (struct tree_hook){ctx[i], ctx[n - 1], &cancel};
		CHECK(gs_context_after_func(ctx[i], use_tree, &h[hooks++]) != NULL);
	}
	gs_wg_go(&all, grow_tree, &h[0]);
	ut_let_run(10);
	CHECK_EQ(pthread_create(&t, NULL, cancel_thread, &cancel), 0);
	gs_wg_wait(&all);
	CHECK_EQ(gs_context_err(ctx[n - 1]), -ECANCELED);
	/* each of them, and the one it put on the context that it made */
	UNTIL(LOAD(hooks_run) == 2 * hooks);
	pthread_join(t, NULL); /* though one hook still blocks */
	gs_chan_close(c);
	UNTIL(LOAD(hooks_run) == 2 * hooks + 1);
	gs_chan_unref(c);
	for (long i = 0; i < n; i++)
		gs_context_unref(ctx[i]);
	free(ctx);
	free(h);
	return cancel_took;
}

static void tree_hooks_main(void *arg)
{
	UNTIL(tree_hooks_once() < CANCEL_LIMIT);
}

/* no lock is held over hooks: they cancel and use the tree of 100,000 that calls them, and block */
TEST(hooks_use_the_tree)
{
	RUN(tree_hooks_main, NULL);
}

/* How long after the last deadline all had been kept. */
static int64_t deadlines_late(void)
{
	long n = ut_count(20000, 500);
	gs_context **ctx = calloc((size_t)n, sizeof(*ctx));
	int64_t last = 0, late;

	for (long i = 0; i < n; i++) {
		last = gs_now() + 5 * MS + i % 1000 * 1000;
		ctx[i] = gs_with_deadline(gs_background(), last, NULL);
	}
	for (long i = 0; i < n; i++)
		wait_done(ctx[i]);
	late = gs_now() - last;
	for (long i = 0; i < n; i++) {
		check_err(ctx[i], -ETIMEDOUT);
		gs_context_unref(ctx[i]);
	}
	free(ctx);
	return late;
}

static void storm_main(void *arg)
{
	UNTIL(deadlines_late() < ut_limit(SEC));
}

/* many deadlines at once: all are kept */
TEST(many_deadlines)
{
	RUN(storm_main, NULL);
}

/* ASan keeps what was freed, but knows what was lost. */
#ifdef UT_ASAN
int __lsan_do_recoverable_leak_check(void);
#define GROWTH_SHOWS false
#define EXPECT_NO_LEAK() EXPECT_EQ(0, __lsan_do_recoverable_leak_check())
#else
#ifdef UT_TSAN
#define GROWTH_SHOWS false
#else
#define GROWTH_SHOWS true
#endif
#define EXPECT_NO_LEAK() ((void)0)
#endif

static void lives(long n, gs_context *root)
{
	for (long i = 0; i < n; i++) {
		gs_context *c, *v, *d;
		gs_context_hook *hook = NULL;
		gs_cancel cancel;

		c = i % 2 ? gs_with_cancel(root, &cancel) : gs_with_timeout(root, HOUR, &cancel);
		v = gs_with_value(c, &all, NULL);
		if (i % 4 == 0)
			hook = gs_context_after_func(v, count_hook, NULL);
		d = i % 3 ? gs_with_cancel(v, NULL) : gs_without_cancel(v);
		if (i % 5 == 0)
			gs_context_done(c);
		if (hook && i % 8 == 0)
			gs_context_hook_stop(hook);
		else if (i % 4)
			gs_cancel_call(&cancel);
		gs_context_unref(c);
		gs_context_unref(d);
		gs_context_unref(v);
	}
}

static void lives_main(void *arg)
{
	/* ten million contexts in make test-long: three a life */
	long n = ut_count(ut_long(1000000, 3400000), 4000), grown = LONG_MAX;
	gs_context *root = gs_with_cancel(gs_background(), NULL);

	lives(n / 10, root);
	/*
	 * The least that a life could leave behind is 48 bytes. What caches hold grows with
	 * the threads there were at a time, and then no more.
	 */
	for (int i = 0; i < 4 && grown >= n * 16 + (2 << 20); i++) {
		grown = ut_resident();
		lives(n, root);
		grown = GROWTH_SHOWS ? ut_resident() - grown : 0;
	}
	CHECK_LT(grown, n * 16 + (2 << 20));
	gs_context_unref(root);
}

/* no growth over millions of lives below a context that lives on: timers, hooks, values */
TEST(no_growth)
{
	RUN(lives_main, NULL);
	EXPECT_NO_LEAK();
}

static void fire(long n)
{
	for (long i = 0; i < n; i++) {
		gs_context *c = gs_with_timeout(gs_background(), i % 20000, NULL);

		/* the last one, too: those before it have been cancelled then */
		if (i % 64 == 0 || i == n - 1)
			wait_done(c);
		gs_context_unref(c);
	}
	UNTIL(gs_num_fibers() == 1);
}

static void fired_main(void *arg)
{
	long n = ut_count(ut_long(100000, 1000000), 1000), grown = LONG_MAX;

	fire(n / 10);
	/* as above */
	for (int i = 0; i < 4 && grown >= n * 16 + (2 << 20); i++) {
		grown = ut_resident();
		fire(n);
		grown = GROWTH_SHOWS ? ut_resident() - grown : 0;
	}
	CHECK_LT(grown, n * 16 + (2 << 20));
}

/* nor when their deadlines pass while the last reference goes */
TEST(no_growth_fired)
{
	RUN(fired_main, NULL);
	EXPECT_NO_LEAK();
}

TEST_HARNESS_MAIN
