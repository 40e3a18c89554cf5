// SPDX-License-Identifier: GPL-2.0
/* select: which case runs, with what chance, and what the others must not do. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/select.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

static gs_waitgroup all;

/* ------------------------------------------------------------------------- */
/* One call, nobody else: a truth table                                        */

/* Every state a channel can be in when nobody waits, and two where somebody does. */
enum state {
	NIL,
	EMPTY, /* capacity 2 */
	HALF,
	FULL,
	CLOSED,
	CLOSED_HALF,
	UNBUFFERED,
	SENDER, /* unbuffered, a fiber blocked in send */
	RECEIVER,
	STATES
};

static bool recv_ready(enum state s)
{
	return s == HALF || s == FULL || s == CLOSED || s == CLOSED_HALF || s == SENDER;
}

static bool send_ready(enum state s)
{
	/* a send on a closed channel is ready, too: it panics */
	return s == EMPTY || s == HALF || s == CLOSED || s == CLOSED_HALF || s == RECEIVER;
}

struct partner {
	gs_chan *c;
	int v;
	bool ok;
	int done; /* atomic */
};

static void partner_send(void *arg)
{
	struct partner *p = arg;

	p->v = 77;
	gs_chan_send(p->c, &p->v);
	STORE(p->done, 1);
}

static void partner_recv(void *arg)
{
	struct partner *p = arg;

	p->ok = gs_chan_recv(p->c, &p->v);
	STORE(p->done, 1);
}

/* A channel in that state; so many partners of that kind wait already. */
static gs_chan *make(enum state s, struct partner *p, int before)
{
	static const size_t caps[STATES] = {0, 2, 2, 2, 2, 2, 0, 0, 0};
	gs_chan *c;
	int v = 10;

	memset(p, 0, sizeof(*p));
	if (s == NIL)
		return NULL;
	c = gs_chan_new(sizeof(int), caps[s]);
	p->c = c;
	if (s == HALF || s == FULL || s == CLOSED_HALF)
		gs_chan_send(c, &v);
	v = 11;
	if (s == FULL)
		gs_chan_send(c, &v);
	if (s == CLOSED || s == CLOSED_HALF)
		gs_chan_close(c);
	if (s == SENDER || s == RECEIVER) {
		gs_wg_go(&all, s == SENDER ? partner_send : partner_recv, p);
		gs_yield(); /* so that mostly one look is enough */
		UNTIL(ut_waiting(s == SENDER ? "chan send" : "chan receive", NULL) == before + 1);
	}
	return c;
}

/* What the case did, or that it did nothing; then the channel goes. */
static void check(const struct gs_case *k, enum state s, bool chosen, struct partner *p)
{
	static const int lens[STATES] = {0, 0, 1, 2, 0, 1, 0, 0, 0};
	int elem = k->elem ? *(int *)k->elem : 0;
	bool send = k->op == GS_OP_SEND;
	int len = (int)gs_chan_len(k->chan), v;

	if (!chosen) {
		CHECK_EQ(len, lens[s]);
		CHECK_EQ(elem, send ? 55 : 33);
		CHECK_EQ(LOAD(p->done), 0);
		if (s == SENDER) {
			CHECK_EQ(gs_chan_try_recv(k->chan, &v), 1);
			CHECK_EQ(v, 77);
		} else if (s == RECEIVER) {
			v = 66;
			CHECK_EQ(gs_chan_try_send(k->chan, &v), 0);
		}
	} else if (send) {
		CHECK(send_ready(s));
		CHECK_EQ(len, s == RECEIVER ? 0 : lens[s] + 1);
	} else {
		CHECK(recv_ready(s));
		CHECK_EQ(len, s == HALF || s == FULL || s == CLOSED_HALF ? lens[s] - 1 : 0);
		CHECK_EQ(elem, s == CLOSED ? 0 : s == SENDER ? 77 : 10);
		CHECK_EQ(*k->ok, s != CLOSED);
	}
	if (s == SENDER || s == RECEIVER) {
		UNTIL(LOAD(p->done));
		if (s == RECEIVER) {
			CHECK(p->ok);
			CHECK_EQ(p->v, chosen ? 55 : 66);
		}
	}
	gs_chan_unref(k->chan);
}

static int panics; /* atomic */

static void count_panic(void *arg)
{
	const char *text = gs_recover();

	if (text && strcmp(text, "send on closed channel") == 0)
		ADD(panics, 1);
}

struct table {
	struct gs_case cases[3];
	int result;
};

static void table_call(void *arg)
{
	struct table *t = arg;

	gs_defer(count_panic, NULL);
	STORE(t->result, gs_select_cases(t->cases, 3));
}

static void table_main(void *arg)
{
	/* each combination of two operations, two states, and default */
	for (int ops = 0; ops < 4; ops++)
		for (int s0 = 0; s0 < STATES; s0++)
			for (int s1 = 0; s1 < STATES; s1++) {
				bool send0 = ops & 1, send1 = ops & 2;
				bool r0 = send0 ? send_ready(s0) : recv_ready(s0);
				bool r1 = send1 ? send_ready(s1) : recv_ready(s1);
				bool closed0 = send0 && (s0 == CLOSED || s0 == CLOSED_HALF);
				bool closed1 = send1 && (s1 == CLOSED || s1 == CLOSED_HALF);
				/* to see that a partner waits takes time */
				bool partner = s0 >= SENDER || s1 >= SENDER;
				int least = partner ? (int)ut_count(8, 2) : 40;
				int seen[3] = {0, 0, 0};

				for (int k = 0;
				     k < least || (k < 40 && r0 && r1 && (!seen[0] || !seen[1]));
				     k++) {
					int e0 = send0 ? 55 : 33, e1 = send1 ? 55 : 33;
					bool ok0 = false, ok1 = false;
					struct partner p0, p1;
					gs_chan *c0 = make(s0, &p0, 0);
					gs_chan *c1 = make(s1, &p1, s0 == s1);
					struct table t = {
						.result = -1,
						.cases =
							{
								{.chan = c0,
								 .elem = &e0,
								 .ok = &ok0,
								 .op = send0 ? GS_OP_SEND
									     : GS_OP_RECV,
								 .size = sizeof(int)},
								{.chan = c1,
								 .elem = &e1,
								 .ok = &ok1,
								 .op = send1 ? GS_OP_SEND
									     : GS_OP_RECV},
								{.op = GS_OP_DEFAULT},
							},
					};

					STORE(panics, 0);
					gs_wg_go(&all, table_call, &t);
					/* the partners may be waiting still */
					UNTIL(LOAD(t.result) >= 0 || LOAD(panics));
					if (LOAD(panics)) {
						CHECK(closed0 || closed1);
						check(&t.cases[0], s0, false, &p0);
						check(&t.cases[1], s1, false, &p1);
						seen[closed0 ? 0 : 1]++;
						gs_wg_wait(&all);
						continue;
					}
					seen[t.result]++;
					CHECK_EQ(t.result == 2, !r0 && !r1);
					CHECK(!(t.result == 0 && closed0));
					CHECK(!(t.result == 1 && closed1));
					check(&t.cases[0], s0, t.result == 0, &p0);
					check(&t.cases[1], s1, t.result == 1, &p1);
					gs_wg_wait(&all);
				}
				/* both if both are ready: chance of not seeing one is 2^-39 */
				if (!(closed0 && closed1)) {
					CHECK_EQ(seen[0] > 0, r0);
					CHECK_EQ(seen[1] > 0, r1);
				}
			}
}

/* all pairs of operations and channel states: who may run runs, the other does nothing */
TEST(truth_table)
{
	ut_set_procs(1);
	RUN(table_main, NULL);
}

static void blocked_call(void *arg)
{
	struct table *t = arg;

	gs_defer(count_panic, NULL);
	STORE(t->result, gs_select_cases(t->cases, 2));
}

static void blocked_main(void *arg)
{
	/* both cases block; then one becomes ready: in each of four ways */
	for (int which = 0; which < 2; which++)
		for (int way = 0; way < 4; way++) {
			int elem[2] = {33, 33}, v = 5;
			bool ok[2] = {false, true};
			struct gs_case other;
			struct table t = {.result = -1};
			bool send = way % 2;

			memset(&other, 0, sizeof(other));
			for (int i = 0; i < 2; i++)
				t.cases[i] = (struct gs_case){
					.chan = gs_chan_new(sizeof(int), 0),
					.elem = &elem[i],
					.ok = &ok[i],
					.op = i == which && send ? GS_OP_SEND : GS_OP_RECV,
				};
			STORE(panics, 0);
			gs_wg_go(&all, blocked_call, &t);
			UNTIL(ut_waiting("select", NULL) == 1);
			CHECK_EQ(LOAD(t.result), -1);
			ok[which] = way < 2 ? false : true;
			if (way >= 2) {
				gs_chan_close(t.cases[which].chan);
			} else if (send) {
				CHECK_EQ(gs_chan_try_recv(t.cases[which].chan, &v), 1);
				CHECK_EQ(v, 33);
			} else {
				CHECK_EQ(gs_chan_try_send(t.cases[which].chan, &v), 0);
				CHECK_EQ(elem[which], 5); /* handed over already */
			}
			gs_wg_wait(&all);
			if (way == 3) {
				CHECK_EQ(panics, 1);
			} else {
				CHECK_EQ(t.result, which);
				if (!send) {
					CHECK_EQ(ok[which], way < 2);
					CHECK_EQ(elem[which], way < 2 ? 5 : 0);
				}
			}
			CHECK_EQ(elem[!which], 33);
			/* nobody stands on the other any more */
			CHECK_EQ(gs_chan_try_send(t.cases[!which].chan, &v), -EAGAIN);
			gs_chan_unref(t.cases[0].chan);
			gs_chan_unref(t.cases[1].chan);
		}
}

/* woken by send, receive or close: the right case, value and ok; the other has left */
TEST(blocks_until_ready)
{
	ut_set_procs(1);
	RUN(blocked_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* The macros                                                                  */

struct point {
	int x, y;
};

static int calls;

static int counted(int v)
{
	calls++;
	return v;
}

static void macros_main(void *arg)
{
	gs_chan *p = gs_chan_new(sizeof(struct point), 1), *i = gs_chan_new(sizeof(int), 1);
	const struct point origin = {0, 0};
	struct point got = {9, 9};
	bool ok = false;
	int v = 0;

	CHECK_EQ(gs_select(GS_SEND(p, (struct point){3, 4}), GS_DEFAULT), 0);
	CHECK_EQ(gs_select(GS_SEND_PTR(p, &origin), GS_DEFAULT), 1);
	CHECK_EQ(gs_select(GS_RECV(i, &v), GS_RECV_OK(p, &got, &ok)), 1);
	CHECK(ok && got.x == 3 && got.y == 4);
	CHECK_EQ(gs_select(GS_SEND(p, origin)), 0);
	CHECK_EQ(gs_select(GS_RECV_PTR(p, NULL, &ok)), 0);
	CHECK_EQ(gs_select(GS_SEND(i, counted(8)), GS_AFTER(-1)) <= 1, true);
	CHECK_EQ(calls, 1);
	CHECK_EQ(gs_select(GS_RECV(NULL, NULL), GS_DEFAULT), 1);
	while (gs_chan_try_recv(i, &v) == 1)
		;
	switch (gs_select(GS_RECV(i, &v), GS_DEFAULT, GS_DEFAULT)) {
	case 1:
		break;
	default:
		CHECK(!"the first default");
	}
	/* an index may be used as any other int, and selects nest */
	CHECK_EQ(gs_select(GS_SEND(i, gs_select(GS_SEND_PTR(p, &origin)) + 70)), 0);
	CHECK_EQ(gs_select(GS_RECV(i, &v)), 0);
	CHECK_EQ(v, 70);
	gs_chan_unref(p);
	gs_chan_unref(i);
}

/* struct literals, NULL for what is not wanted, one evaluation, nesting */
TEST(macros)
{
	RUN(macros_main, NULL);
}

static void bad_size(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(long), 1);
	char v;

	gs_select(GS_RECV(c, &v), GS_DEFAULT);
}

static void bad_op(void *arg)
{
	struct gs_case c[2] = {{.op = GS_OP_DEFAULT}, {.op = 9}};

	gs_select_cases(c, 2);
}

/* a size that is not the channel's and an unknown operation panic */
TEST(misuse)
{
	struct ut_child *c = ut_child_run(bad_size, NULL, 20 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: gsched: select case 0: element of 1 bytes, channel of 8\n");
	free(c);
	c = ut_child_run(bad_op, NULL, 20 * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: gsched: select case 1: unknown operation 9\n");
	free(c);
}

static int blocked[3]; /* atomic */

static void block_empty(void *arg)
{
	STORE(blocked[0], 1);
	gs_select();
	STORE(blocked[0], 2);
}

static void block_array(void *arg)
{
	STORE(blocked[1], 1);
	gs_select_cases(NULL, 0);
	STORE(blocked[1], 2);
}

static void block_nil(void *arg)
{
	STORE(blocked[2], 1);
	gs_select(GS_RECV(NULL, NULL), GS_SEND(NULL, 1));
	STORE(blocked[2], 2);
}

static void block_main(void *arg)
{
	gs_go(block_empty, NULL);
	gs_go(block_array, NULL);
	gs_go(block_nil, NULL);
	for (int i = 0; i < 3; i++)
		UNTIL(LOAD(blocked[i]));
	for (int i = 0; i < 100; i++)
		gs_yield();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(LOAD(blocked[i]), 1);
}

/* no cases, or nil channels only: blocks for ever */
TEST(blocks_for_ever)
{
	RUN(block_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Chance                                                                      */

static void fair_main(void *arg)
{
	static const int sizes[] = {2, 3, 4, 5, 8, 9, 20, 100};

	for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		int n = sizes[k];
		long draws = ut_count(ut_long(100000, 1000000), 3000), hits[100] = {0};
		struct gs_case cases[100];
		gs_chan *c = gs_chan_new(sizeof(int), 4), *u = gs_chan_new(0, 0);

		/* of every kind: closed, with room, elapsed; the same channel often */
		gs_chan_close(u);
		for (int i = 0; i < n; i++)
			switch (i % 3) {
			case 0:
				cases[i] = GS_RECV(u, NULL);
				break;
			case 1:
				cases[i] = GS_SEND_PTR(c, &k);
				break;
			case 2:
				cases[i] = GS_AFTER(0);
				break;
			}
		for (long d = 0; d < draws; d++) {
			int i = gs_select_cases(cases, (size_t)n);

			if (CHECK(i >= 0 && i < n))
				hits[i]++;
			gs_chan_try_recv(c, NULL);
		}
		ut_check_equal_chance(hits, n, __LINE__);
		gs_chan_unref(c);
		gs_chan_unref(u);
	}
}

/* ready cases run with equal chance, 2 to 100 of them */
TEST(fair)
{
	RUN(fair_main, NULL);
}

/* the same on an ordinary thread */
TEST(fair_thread)
{
	fair_main(NULL);
	ASSERT_EQ(0, ut_failed);
}

static void partly_main(void *arg)
{
	gs_chan *dead = gs_chan_new(0, 0), *quiet = gs_chan_new(0, 0);
	long draws = ut_count(ut_long(100000, 1000000), 3000), hits[8] = {0}, ready[3];

	gs_chan_close(dead);
	for (long d = 0; d < draws; d++) {
		int i = gs_select(GS_RECV(quiet, NULL), GS_RECV(dead, NULL), GS_RECV(NULL, NULL),
				  GS_RECV(dead, NULL), GS_SEND_PTR(quiet, NULL), GS_AFTER(SEC),
				  GS_RECV(dead, NULL));

		hits[i]++;
	}
	ready[0] = hits[1];
	ready[1] = hits[3];
	ready[2] = hits[6];
	CHECK_EQ(ready[0] + ready[1] + ready[2], draws);
	ut_check_equal_chance(ready, 3, __LINE__);
	gs_chan_unref(dead);
	gs_chan_unref(quiet);
}

/* cases that are not ready do not weigh in, wherever they stand */
TEST(fair_among_ready)
{
	RUN(partly_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Itself, duplicates                                                          */

static void self_main(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 0);
	long n = ut_count(5000, 200);
	int v = 1;

	for (long i = 0; i < n; i++) {
		CHECK_EQ(gs_select(GS_SEND(c, v), GS_RECV(c, &v), GS_DEFAULT), 2);
		if (i % 50 == 0)
			CHECK_EQ(gs_select(GS_RECV(c, &v), GS_SEND(c, v), GS_AFTER(MS / 10)), 2);
	}
	gs_chan_unref(c);
}

/* a select that sends to and receives from an unbuffered channel never meets itself */
TEST(never_meets_itself)
{
	RUN(self_main, NULL);
}

static gs_chan *chan;
static long sum[2], count[2]; /* atomic: sent, received */

static long meets_left;	    /* atomic: selects to go */
static int64_t meets_until; /* before the fibers */

static void self_many(void *arg)
{
	long me = (long)(intptr_t)arg;

	/* together, or the last would wait for nobody; longer if time had passed for all of them */
	for (long i = 0; ADD(meets_left, -1) >= 0 || (!LOAD(count[0]) && gs_now() < meets_until);
	     i++) {
		long out = me * 1000000 + i, in = -1;

		switch (gs_select(GS_SEND(chan, out), GS_RECV(chan, &in), GS_AFTER(5 * MS))) {
		case 0:
			ADD(count[0], 1);
			ADD(sum[0], out);
			break;
		case 1:
			CHECK_NE(in / 1000000, me); /* not its own */
			ADD(count[1], 1);
			ADD(sum[1], in);
			break;
		}
	}
}

static void self_many_main(void *arg)
{
	chan = gs_chan_new(sizeof(long), 0);
	meets_left = ut_count(40000, 1000);
	meets_until = gs_now() + ut_limit(UT_WAIT * SEC);
	for (long i = 1; i <= 8; i++)
		gs_wg_go(&all, self_many, (void *)i);
	gs_wg_wait(&all);
	CHECK_EQ(count[0], count[1]);
	CHECK_EQ(sum[0], sum[1]);
	CHECK_GT(count[0], 0);
	gs_chan_unref(chan);
}

/* many such meet each other: each send is one receive of somebody else */
TEST(meets_others)
{
	RUN(self_many_main, NULL);
}

static int dup_hits[5], dup_total; /* atomic */

static void dup_select(void *arg)
{
	long v;

	for (;;) {
		int i = gs_select(GS_RECV(chan, &v), GS_RECV(chan, &v), GS_RECV(arg, NULL),
				  GS_RECV(chan, &v), GS_RECV(chan, &v));

		if (i == 2)
			return;
		ADD(dup_hits[i], 1);
		ADD(dup_total, 1);
		ADD(sum[1], v);
	}
}

static void dup_main(void *arg)
{
	long n = ut_count(20000, 500), total = 0;
	gs_chan *quit = gs_chan_new(0, 0);

	chan = gs_chan_new(sizeof(long), 0);
	for (int i = 0; i < 3; i++)
		gs_wg_go(&all, dup_select, quit);
	for (long i = 1; i <= n; i++) {
		gs_chan_send(chan, &i);
		total += i;
	}
	UNTIL(LOAD(dup_total) == n);
	gs_chan_close(quit);
	gs_wg_wait(&all);
	CHECK_EQ(sum[1], total);
	gs_chan_unref(chan);
	gs_chan_unref(quit);
}

/* one channel in several cases: each value comes out once */
TEST(duplicates)
{
	RUN(dup_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* AFTER                                                                       */

static void after_main(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 0);
	int64_t begin, took;
	int v;

	for (int i = 0; i < 20; i++) {
		begin = gs_now();
		CHECK_EQ(gs_select(GS_RECV(c, &v), GS_AFTER(2 * MS)), 1);
		took = gs_now() - begin;
		CHECK_GE(took, 2 * MS);
		CHECK_LT(took, ut_limit(10 * SEC));
	}
	/* the earliest of several */
	CHECK_EQ(gs_select(GS_AFTER(20 * SEC), GS_AFTER(MS), GS_RECV(c, &v), GS_AFTER(10 * SEC)),
		 1);
	/* alone, or among nil channels only, it sleeps */
	begin = gs_now();
	CHECK_EQ(gs_select(GS_AFTER(MS)), 0);
	CHECK_EQ(gs_select(GS_RECV(NULL, NULL), GS_AFTER(MS)), 1);
	CHECK_GE(gs_now() - begin, 2 * MS);
	/* elapsed: at once; default does not wait for one that is not */
	begin = gs_now();
	CHECK_EQ(gs_select(GS_RECV(c, &v), GS_AFTER(0)), 1);
	CHECK_EQ(gs_select(GS_RECV(c, &v), GS_AFTER(INT64_MIN), GS_DEFAULT), 1);
	CHECK_EQ(gs_select(GS_RECV(c, &v), GS_AFTER(INT64_MAX), GS_DEFAULT), 2);
	CHECK_EQ(gs_select(GS_AFTER(10 * SEC), GS_DEFAULT), 1);
	CHECK_LT(gs_now() - begin, ut_limit(10 * SEC));
	gs_chan_unref(c);
}

/* AFTER runs when its time has passed, not before; the earliest of several */
TEST(after)
{
	RUN(after_main, NULL);
}

/* the same on an ordinary thread */
TEST(after_thread)
{
	after_main(NULL);
	ASSERT_EQ(0, ut_failed);
}

static void far_main(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 0);
	gs_chan *quit = gs_chan_new(0, 0);
	int64_t begin = gs_now();
	int v = 0;

	(void)v;
	for (int i = 0; i < 50; i++) {
		gs_chan_close(quit);
		CHECK_EQ(gs_select(GS_RECV(c, &v), GS_RECV(quit, NULL), GS_AFTER(INT64_MAX)), 1);
		gs_chan_unref(quit);
		quit = gs_chan_new(0, 0);
	}
	CHECK_LT(gs_now() - begin, ut_limit(10 * SEC));
	gs_chan_unref(c);
	gs_chan_unref(quit);
}

/* a time beyond the end of time does not overflow into the past */
TEST(after_far)
{
	RUN(far_main, NULL);
}

static int race_done; /* atomic */

static void race_sender(void *arg)
{
	unsigned x = 1;

	while (!LOAD(race_done)) {
		long v = 1;

		if (gs_chan_try_send(chan, &v) == 0)
			ADD(count[0], 1);
		x = x * 1103515245 + 12345;
		for (unsigned i = 0; i < (x >> 16) % 4; i++)
			gs_yield();
	}
}

static void race_main(void *arg)
{
	long n = ut_count(20000, 500), elapsed = 0;

	chan = gs_chan_new(sizeof(long), 0);
	gs_wg_go(&all, race_sender, NULL);
	for (long i = 0; i < n; i++) {
		long v = -1;

		if (gs_select(GS_RECV(chan, &v), GS_AFTER(1 + i % 50 * 1000)) == 0) {
			CHECK_EQ(v, 1);
			count[1]++;
		} else {
			CHECK_EQ(v, -1);
			elapsed++;
		}
	}
	STORE(race_done, 1);
	gs_wg_wait(&all);
	CHECK_EQ(count[0], count[1]);
	CHECK_EQ(count[1] + elapsed, n);
	gs_chan_unref(chan);
}

/* time against value, close together: one of them, and no value is lost */
TEST(after_races)
{
	RUN(race_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Many cases, many waiters                                                    */

static void wide_main(void *arg)
{
	static const int sizes[] = {9, 10, 63, 64, 65, 1000};

	for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		int n = sizes[k], v;
		gs_chan **c = calloc((size_t)n, sizeof(*c));
		struct gs_case *cases = calloc((size_t)n, sizeof(*cases));

		for (int i = 0; i < n; i++) {
			c[i] = gs_chan_new(sizeof(int), 1);
			cases[i] = GS_RECV(c[i], &v);
		}
		for (int i = 0; i < n; i += n / 9) {
			v = 1000 + i;
			gs_chan_send(c[i], &v);
			v = 0;
			CHECK_EQ(gs_select_cases(cases, (size_t)n), i);
			CHECK_EQ(v, 1000 + i);
		}
		for (int i = 0; i < n; i++)
			gs_chan_unref(c[i]);
		free(c);
		free(cases);
	}
}

/* more cases than fit on the stack: 9 to 1000 */
TEST(many_cases)
{
	RUN(wide_main, NULL);
}

struct crowd {
	gs_chan *c, *quit;
	int n;
};

/* n sudogs on c's queue until quit is closed */
static void crowd_wait(void *arg)
{
	struct crowd *w = arg;
	struct gs_case *cases = calloc((size_t)w->n + 1, sizeof(*cases));

	for (int i = 0; i < w->n; i++)
		cases[i] = GS_RECV(w->c, NULL);
	cases[w->n] = GS_RECV(w->quit, NULL);
	CHECK_EQ(gs_select_cases(cases, (size_t)w->n + 1), w->n);
	free(cases);
}

/* What it costs 500 cases to join and leave the end of a queue of n others. */
static int64_t leave_cost(int n)
{
	struct crowd w = {.c = gs_chan_new(0, 0), .quit = gs_chan_new(0, 0), .n = n};
	struct gs_case cases[501];
	int64_t best = INT64_MAX;

	gs_wg_go(&all, crowd_wait, &w);
	UNTIL(ut_waiting("select", NULL) == 1);
	for (int i = 0; i < 500; i++)
		cases[i] = GS_RECV(w.c, NULL);
	cases[500] = GS_AFTER(1);
	for (int k = 0; k < 10; k++) {
		int64_t took = gs_now();

		CHECK_EQ(gs_select_cases(cases, 501), 500);
		took = gs_now() - took;
		if (took < best)
			best = took;
	}
	gs_chan_close(w.quit);
	gs_wg_wait(&all);
	gs_chan_unref(w.c);
	gs_chan_unref(w.quit);
	return best;
}

static void leave_main(void *arg)
{
	int64_t few = INT64_MAX, many = INT64_MAX, end = gs_now() + ut_limit(30 * SEC);
	bool good;

	/*
	 * Walking a queue of 100,000 would take it 50 million steps: 50 ms at best. The least of
	 * all there is, and more of it where the machine was busy.
	 */
	do {
		int64_t f = leave_cost(10), m = leave_cost(100000);

		few = f < few ? f : few;
		many = m < many ? m : many;
		good = many <= 10 * few + ut_limit(5 * MS);
	} while (!good && gs_now() < end);
	if (!good)
		ut_fail(__FILE__, __LINE__, "%lld ns, behind 100,000 others %lld", (long long)few,
			(long long)many);
}

/* a losing case leaves its queue at the same cost, however many stand there */
TEST(leaving_is_constant)
{
	ut_set_procs(1);
	RUN(leave_main, NULL);
}

struct own {
	gs_chan *c;
	int hit; /* atomic */
};

static gs_chan *common;
static int waiting; /* atomic */

static void own_wait(void *arg)
{
	struct own *o = arg;
	int v = 0;

	ADD(waiting, 1);
	STORE(o->hit, 1 + gs_select(GS_RECV(common, &v), GS_RECV(o->c, &v), GS_RECV(common, &v)));
	CHECK_EQ(v, 12);
}

static void masses_main(void *arg)
{
	int n = (int)ut_count(20000, 500), v = 12, by_common = 0, by_own = 0;
	struct own *o = calloc((size_t)n, sizeof(*o));

	common = gs_chan_new(sizeof(int), 0);
	for (int i = 0; i < n; i++) {
		o[i].c = gs_chan_new(sizeof(int), 1);
		CHECK_EQ(gs_wg_go(&all, own_wait, &o[i]), 0);
	}
	UNTIL(LOAD(waiting) == n);
	/* half by their own channels, all over the queue; the rest by the common one */
	for (int i = 0; i < n; i += 2)
		gs_chan_send(o[(int)((int64_t)i * 7919 % n) & ~1].c, &v);
	for (int i = 0; i < n; i += 2)
		UNTIL(LOAD(o[i].hit));
	for (int i = 1; i < n; i += 2)
		gs_chan_send(common, &v);
	gs_wg_wait(&all);
	for (int i = 0; i < n; i++) {
		by_own += o[i].hit == 2;
		by_common += o[i].hit == 1 || o[i].hit == 3;
		CHECK_EQ(o[i].hit == 2, i % 2 == 0);
		gs_chan_unref(o[i].c);
	}
	CHECK_EQ(by_own, n / 2);
	CHECK_EQ(by_common, n - n / 2);
	gs_chan_unref(common);
	free(o);
}

/* thousands wait on one channel and each on its own: each is woken once, the right way */
TEST(masses)
{
	RUN(masses_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Everybody at once                                                           */

#define CHANS 6

static gs_chan *net[CHANS];
static long net_left;	       /* atomic: operations to go */
static long net_sent, net_got; /* atomic: sums */
static long net_nsent, net_ngot;

static void net_run(unsigned seed, bool sender)
{
	while (ADD(net_left, -1) >= 0) {
		struct gs_case cases[CHANS + 1];
		long out[CHANS], in[CHANS];
		size_t n = 0;
		int i;

		for (int k = 0; k < CHANS; k++) {
			seed = seed * 1103515245 + 12345;
			if (seed >> 16 & 1)
				continue;
			out[n] = seed >> 8;
			in[n] = 0;
			/* senders send mostly, but some of both, and to themselves */
			if ((seed >> 17 & 3) ? sender : !sender)
				cases[n] = GS_SEND_PTR(net[k], &out[n]);
			else
				cases[n] = GS_RECV(net[k], &in[n]);
			n++;
		}
		if (seed >> 20 & 1)
			cases[n++] = GS_DEFAULT;
		else
			cases[n++] = GS_AFTER(MS / 5);
		i = gs_select_cases(cases, n);
		if (!CHECK(i >= 0 && i < (int)n))
			return;
		if (cases[i].op == GS_OP_SEND) {
			ADD(net_sent, out[i]);
			ADD(net_nsent, 1);
		} else if (cases[i].op == GS_OP_RECV) {
			ADD(net_got, in[i]);
			ADD(net_ngot, 1);
		}
		for (int k = 0; k < (int)n - 1; k++)
			if (k != i && cases[k].op == GS_OP_RECV)
				CHECK_EQ(in[k], 0);
	}
}

static void net_fiber(void *arg)
{
	net_run((unsigned)(intptr_t)arg * 77 + 5, (intptr_t)arg % 2);
}

static void *net_thread(void *arg)
{
	net_fiber(arg);
	return NULL;
}

static void net_main(void *arg)
{
	int threads = (int)(intptr_t)arg;
	pthread_t t[4];
	long v;

	net_left = ut_count(200000, 3000);
	net_sent = net_got = net_nsent = net_ngot = 0;
	for (int i = 0; i < CHANS; i++)
		net[i] = gs_chan_new(sizeof(long), (size_t)i / 2);
	for (long i = 0; i < 12; i++)
		gs_wg_go(&all, net_fiber, (void *)i);
	for (long i = 0; i < threads; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, net_thread, (void *)(i + 20)), 0);
	gs_wg_wait(&all);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < CHANS; i++) {
		while (gs_chan_try_recv(net[i], &v) == 1) {
			net_got += v;
			net_ngot++;
		}
		gs_chan_unref(net[i]);
	}
	CHECK_EQ(net_nsent, net_ngot);
	CHECK_EQ(net_sent, net_got);
	CHECK_GT(net_nsent, 0);
}

/* random selects by many over few channels: what was sent is what was received */
TEST(storm)
{
	RUN(net_main, (void *)0);
}

/* the same with ordinary threads among the fibers */
TEST(storm_threads)
{
	RUN(net_main, (void *)4);
}

static int closed_seen; /* atomic */

static void close_select(void *arg)
{
	gs_chan **c = arg;
	int v = 7, w = 7, i;
	bool ok = true;

	gs_defer(count_panic, NULL);
	i = gs_select(GS_RECV_OK(c[0], &v, &ok), GS_SEND(c[1], 5), GS_RECV(c[2], &w));
	CHECK_EQ(i, 0);
	CHECK(!ok);
	CHECK_EQ(v, 0);
	CHECK_EQ(w, 7);
	ADD(closed_seen, 1);
}

static void close_main(void *arg)
{
	long n = ut_count(500, 20);

	for (long k = 0; k < n; k++) {
		gs_chan *c[3];

		for (int i = 0; i < 3; i++)
			c[i] = gs_chan_new(sizeof(int), 0);
		STORE(panics, 0);
		STORE(closed_seen, 0);
		for (int i = 0; i < 20; i++)
			gs_wg_go(&all, close_select, c);
		for (long i = 0; i < k % 8; i++)
			gs_yield();
		/* the two race for each of them; whoever wins closed it alone or in part */
		gs_chan_close(c[k % 2]);
		gs_chan_close(c[!(k % 2)]);
		gs_wg_wait(&all);
		CHECK_EQ(panics + closed_seen, 20);
		for (int i = 0; i < 3; i++)
			gs_chan_unref(c[i]);
	}
}

/* close wakes every select once: a receive case gets zero, a send case panics */
TEST(close_wakes)
{
	RUN(close_main, NULL);
}

TEST_HARNESS_MAIN
