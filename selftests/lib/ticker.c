// SPDX-License-Identifier: GPL-2.0
/* Tickers, and the stop/reset/stale-value matrix for timers too: Go's time/tick_test.go. */
#include <gsched/chan.h>
#include <gsched/select.h>
#include <gsched/sync.h>
#include <pthread.h>

#include "dump.h"
#include "util.h"

/* The untyped channel behind a typed one. */
#define CH(c) ((gs_chan *)(void *)(c))
#define HOUR (3600 * SEC)

static gs_chan *ticks(gs_ticker *t)
{
	return CH(gs_ticker_chan(t));
}

static bool poll(gs_chan *c)
{
	return gs_select(GS_RECV(c, NULL), GS_DEFAULT) == 0;
}

static int64_t recv(gs_chan *c)
{
	int64_t v = 0;

	CHECK(gs_chan_recv(c, &v));
	return v;
}

static void go_named(const char *name, void (*fn)(void *), void *arg)
{
	struct gs_attr attr = {.name = name};

	CHECK_EQ(gs_go_attr(&attr, fn, arg), 0);
}

/* ------------------------------------------------------------------------- */

static const char *rate_once(int64_t d)
{
	int64_t start = gs_now(), took, want = 15 * d, slop = want * 3 / 10;
	gs_ticker *t = gs_ticker_new(d);
	const char *err = NULL;

	for (int i = 0; i < 5; i++)
		recv(ticks(t));
	gs_ticker_reset(t, 2 * d);
	for (int i = 0; i < 5; i++)
		recv(ticks(t));
	gs_ticker_stop(t);
	took = gs_now() - start;
	/* of ticks that were missed one came at once, and those after it on time */
	CHECK_GE(took, want);
	if (took > want + slop)
		err = "took too long";
	gs_sleep(2 * d);
	CHECK(!poll(ticks(t)));
	gs_ticker_free(t);
	return err;
}

static void run_rate(void *arg)
{
	const char *err = "";

	for (int64_t d = 2 * MS; err && d < 2 * SEC; d *= 2)
		err = rate_once(d);
	CHECK(!err);
}

/* Go's TestTicker: so many ticks take so long, before and after a reset; none after stop */
TEST(rate)
{
	RUN(run_rate, NULL);
}

static void *rate_thread(void *arg)
{
	run_rate(NULL);
	return NULL;
}

/* the same on a thread, of a process that has no fiber */
TEST(rate_on_thread)
{
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, rate_thread, NULL));
	pthread_join(t, NULL);
	EXPECT_EQ(0, ut_failed);
	EXPECT_EQ(0, gs_num_fibers());
}

static void run_values(void *arg)
{
	const int64_t period = 2 * MS;
	int64_t before = gs_now(), first, last;
	gs_ticker *t = gs_ticker_new(period);
	int64_t after = gs_now();

	CHECK_EQ(gs_chan_len(ticks(t)), 0u);
	CHECK_EQ(gs_chan_cap(ticks(t)), 0u);
	first = last = recv(ticks(t));
	CHECK_GE(first, before + period);
	CHECK_LE(first, after + period);
	for (int i = 0; i < 20; i++) {
		int64_t v, missed;

		if (i % 5 == 4)
			gs_sleep(3 * period + period / 2);
		/* the one kept is the first missed; it is followed by one in the future */
		missed = i % 5 == 4 ? last + period : 0;
		v = recv(ticks(t));
		CHECK_LE(v, gs_now());
		CHECK_GT(v, last);
		CHECK_EQ((v - first) % period, 0);
		if (missed) {
			CHECK_GE(v, missed);
			CHECK_LT(v, gs_now() - 2 * period);
			CHECK_EQ(gs_chan_len(ticks(t)), 0u);
		}
		last = v;
	}
	gs_ticker_free(t);
}

/* ticks come at whole periods, of a slow receiver's one is kept and the others are dropped */
TEST(values_and_drops)
{
	RUN(run_values, NULL);
}

static void run_late_look(void *arg)
{
	int64_t before = gs_now(), v;
	gs_ticker *t = gs_ticker_new(2 * MS);
	int64_t made = gs_now();

	gs_sleep(30 * MS);
	v = recv(ticks(t));
	CHECK_GE(v, before + 2 * MS);
	CHECK_LE(v, made + 2 * MS);
	gs_ticker_free(t);
}

/* Go's TestTickTimes: a tick's value is the time it was due, not that of the receive */
TEST(value_of_due_time)
{
	RUN(run_late_look, NULL);
}

static void run_drops(void *arg)
{
	gs_ticker *t = gs_ticker_new(MS);
	int64_t end;
	int n = 0;

	gs_sleep(50 * MS);
	/* fifty are due; after the one that was kept there is none before the next period */
	end = gs_now();
	while (recv(ticks(t)) <= end)
		n++;
	CHECK_EQ(n, 1);
	gs_ticker_free(t);
}

/* of fifty missed ticks one is there */
TEST(one_kept)
{
	RUN(run_drops, NULL);
}

static void run_teardown(void *arg)
{
	for (int i = 0; i < 3; i++) {
		gs_ticker *t = gs_ticker_new(10 * MS);

		recv(ticks(t));
		gs_ticker_stop(t);
		gs_ticker_free(t);
	}
}

/* Go's TestTeardown */
TEST(teardown)
{
	RUN(run_teardown, NULL);
}

static void new_zero(void *arg)
{
	gs_ticker_new(0);
}

static void new_negative(void *arg)
{
	gs_ticker_new(-1);
}

static void reset_zero(void *arg)
{
	gs_ticker_reset(gs_ticker_new(SEC), 0);
}

static void reset_null(void *arg)
{
	gs_ticker_reset(NULL, 1);
}

static void run_it(void *fn)
{
	gs_run((void (*)(void *))fn, NULL);
}

static void expect_panic(struct __test_metadata *_metadata, void (*fn)(void *), const char *text)
{
	struct ut_child *c = ut_child_run(run_it, (void *)fn, 30 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, text);
	free(c);
}

/* Go's TestNewTickerLtZeroDuration, TestTickerResetLtZeroDuration; stop of none is nothing */
TEST(misuse)
{
	expect_panic(_metadata, new_zero, "panic: non-positive interval for NewTicker\n");
	expect_panic(_metadata, new_negative, "panic: non-positive interval for NewTicker\n");
	expect_panic(_metadata, reset_zero, "panic: non-positive interval for Ticker.Reset\n");
	expect_panic(_metadata, reset_null, "panic: time: Reset called on uninitialized Ticker\n");
	gs_ticker_stop(NULL);
	gs_ticker_free(NULL);
	EXPECT_EQ(NULL, ticks(NULL));
}

static void run_huge(void *arg)
{
	gs_ticker *t = gs_ticker_new(INT64_MAX), *u = gs_ticker_new(MS);

	recv(ticks(u));
	CHECK(!poll(ticks(t)));
	/* due in a millisecond, and then never */
	gs_ticker_reset(t, INT64_MAX - gs_now());
	CHECK_EQ(gs_select(GS_RECV(ticks(t), NULL), GS_RECV(ticks(u), NULL)), 1);
	gs_ticker_free(t);
	gs_ticker_free(u);
}

/* a period to the end of time: none is due, others are not disturbed */
TEST(overflow)
{
	RUN(run_huge, NULL);
}

/* ------------------------------------------------------------------------- */
/* Many                                                                        */

static int stop; /* atomic */

static void noise(void *arg)
{
	while (!LOAD(stop))
		gs_sleep(1);
}

static void run_stress(void *arg)
{
	gs_ticker *t = gs_ticker_new(1);

	gs_go(noise, NULL);
	for (int i = 0; i < 100; i++)
		recv(ticks(t));
	gs_ticker_stop(t);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_ticker_free(t);
}

/* Go's TestTickerStress: a ticker of 1 ns beside a fiber that sleeps shortly */
TEST(stress)
{
	RUN(run_stress, NULL);
}

static void recv_100(void *arg)
{
	for (int i = 0; i < 100; i++)
		recv(arg);
}

static void run_concurrent(void *arg)
{
	gs_ticker *t = gs_ticker_new(1);

	gs_go(noise, NULL);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gs_go(recv_100, ticks(t)), 0);
	UNTIL(gs_num_fibers() == 2);
	gs_ticker_stop(t);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_ticker_free(t);
}

/* Go's TestTickerConcurrentStress: ten receivers get a hundred ticks each */
TEST(concurrent_stress)
{
	RUN(run_concurrent, NULL);
}

static void wake_fiber(void *arg)
{
	long n = ut_count(2000, 50);

	for (long i = 0; i < n; i++) {
		gs_chan *c = CH(gs_after(MS));

		gs_select(GS_RECV(arg, NULL), GS_RECV(c, NULL));
		gs_chan_unref(c);
	}
}

static void run_wakeup(void *arg)
{
	gs_ticker *t = gs_ticker_new(1000);

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gs_go(wake_fiber, ticks(t)), 0);
	UNTIL(gs_num_fibers() == 1);
	gs_ticker_free(t);
}

/* Go's TestMultiWakeupTicker: several select on it and on a short gs_after */
TEST(multi_wakeup)
{
	RUN(run_wakeup, NULL);
}

struct queued {
	gs_ticker *t;
	int64_t tick; /* atomic */
};

static void recv_one(void *arg)
{
	struct queued *q = arg;

	STORE(q->tick, recv(ticks(q->t)));
}

static void run_fifo(void *arg)
{
	gs_ticker *t = gs_ticker_new(HOUR);
	struct queued q[8];
	int64_t last;

	for (int i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof(name), "queued%d", i);
		q[i] = (struct queued){t, 0};
		go_named(name, recv_one, &q[i]);
		UNTIL(ut_waiting("chan receive", name) == 1);
	}
	/* one tick each; who comes now is behind those who wait */
	gs_ticker_reset(t, 3 * MS);
	last = recv(ticks(t));
	UNTIL(gs_num_fibers() == 1);
	/* by the ticks: who was woken first need not run first */
	for (int i = 0; i < 8; i++) {
		CHECK_GT(LOAD(q[i].tick), 0);
		CHECK_LT(LOAD(q[i].tick), i < 7 ? LOAD(q[i + 1].tick) : last);
	}
	gs_ticker_free(t);
}

/* receivers are served first in, first out, each with a tick of its own */
TEST(fifo)
{
	ut_set_procs(1);
	RUN(run_fifo, NULL);
}

static int64_t first_value; /* atomic */

static void recv_first(void *arg)
{
	STORE(first_value, recv(arg));
}

static void run_newcomer(void *arg)
{
	for (int i = 0; i < 50; i++) {
		gs_ticker *t = gs_ticker_new(HOUR);
		int64_t v;

		STORE(first_value, 0);
		go_named("first", recv_first, ticks(t));
		UNTIL(ut_waiting("chan receive", "first") == 1);
		/* due, and the poller is not there yet */
		gs_ticker_reset(t, 1);
		v = recv(ticks(t));
		UNTIL(LOAD(first_value));
		CHECK_GT(v, LOAD(first_value));
		gs_ticker_free(t);
		UNTIL(gs_num_fibers() == 1);
	}
}

/* who comes when a tick is due takes it from nobody who waits */
TEST(newcomer_last)
{
	RUN(run_newcomer, NULL);
}

static void short_nap(void *arg)
{
	gs_sleep(10000);
}

struct queue_fiber {
	gs_chan *in, *out, *done;
};

static void queue_fiber(void *arg)
{
	struct queue_fiber *q = arg;
	long n = 0, v;

	for (;;) {
		bool ok;

		switch (gs_select(GS_SEND_PTR(n ? q->out : NULL, &n), GS_RECV_OK(q->in, &v, &ok),
				  GS_RECV(q->done, NULL))) {
		case 0:
			n--;
			break;
		case 1:
			if (!ok)
				goto out;
			n++;
			break;
		default:
			goto out;
		}
	}
out:
	gs_chan_close(q->out);
}

static void close_done(void *arg)
{
	gs_chan_close(arg);
}

static void run_adjust(void *arg)
{
	long count = ut_count(2000, 100), rounds = ut_count(400, 10);
	struct queue_fiber q = {gs_chan_new(sizeof(long), 0), gs_chan_new(sizeof(long), 0),
				gs_chan_new(0, 0)};
	gs_timer *limit;
	long v = 0;

	for (long i = 0; i < count; i++)
		CHECK_EQ(gs_go(short_nap, NULL), 0);
	for (long i = 0; i < count / 10; i++)
		gs_sleep(1000);
	limit = gs_after_func(ut_limit(UT_TIMEOUT * SEC), close_done, q.done);
	CHECK_EQ(gs_go(queue_fiber, &q), 0);
	for (long i = 0; i < rounds; i++) {
		for (int k = 0; k < 20; k++)
			gs_chan_send(q.in, &v);
		for (int k = 0; k < 20; k++) {
			gs_chan *c = CH(gs_after(ut_limit(UT_TIMEOUT * SEC)));
			bool ok = false;

			/* many timers that never fire come and go */
			CHECK_EQ(gs_select(GS_RECV_OK(q.out, &v, &ok), GS_RECV(c, NULL),
					   GS_RECV(q.done, NULL)),
				 0);
			CHECK(ok);
			gs_chan_unref(c);
		}
	}
	gs_chan_close(q.in);
	CHECK(gs_timer_stop(limit));
	UNTIL(gs_num_fibers() == 1);
	gs_timer_free(limit);
	gs_chan_unref(q.in);
	gs_chan_unref(q.out);
	gs_chan_unref(q.done);
}

/* Go's TestLongAdjustTimers: thousands of selects with a time limit that is never reached */
TEST(limits_never_reached)
{
	RUN(run_adjust, NULL);
}

static int orphan_ticks; /* atomic */

static void orphan(void *arg)
{
	recv(arg);
	ADD(orphan_ticks, 1);
}

static void run_orphan(void *arg)
{
	for (int i = 0; i < 4; i++) {
		gs_ticker *t = gs_ticker_new(HOUR);
		gs_chan *c = ticks(t);

		go_named("orphan", orphan, c);
		UNTIL(ut_waiting("chan receive", "orphan") == 1);
		gs_ticker_reset(t, MS);
		gs_ticker_free(t);
		UNTIL(LOAD(orphan_ticks) == i + 1);
		/* and with a reference it ticks on */
		t = gs_ticker_new(MS);
		c = gs_chan_ref(ticks(t));
		gs_ticker_free(t);
		CHECK_LT(recv(c), recv(c) + 1);
		gs_chan_unref(c);
	}
	UNTIL(gs_num_fibers() == 1);
}

/* freed while somebody waits or has a reference: it ticks for him */
TEST(free_while_used)
{
	RUN(run_orphan, NULL);
}

/* ------------------------------------------------------------------------- */
/* The matrix of Go's testTimerChan                                            */

#define SCHED (5 * MS)
#define TRIES 400

/* Either, with what a timer's calls return. */
struct tim {
	gs_timer *timer;
	gs_ticker *ticker;
	bool stopped;
	gs_chan *c;
};

static bool tim_stop(struct tim *t)
{
	bool pending = !t->stopped;

	if (t->timer)
		return gs_timer_stop(t->timer);
	t->stopped = true;
	gs_ticker_stop(t->ticker);
	return pending;
}

static bool tim_reset(struct tim *t, int64_t ns)
{
	bool pending = !t->stopped;

	if (t->timer)
		return gs_timer_reset(t->timer, ns);
	t->stopped = false;
	gs_ticker_reset(t->ticker, ns);
	return pending;
}

#define no_tick(t) CHECK(!poll((t)->c))

/* Within a while: on a busy machine it may be late. */
#define assert_tick(t)                                                                             \
	({                                                                                         \
		int tries = TRIES;                                                                 \
		bool ticked;                                                                       \
		while (!(ticked = poll((t)->c)) && tries--)                                        \
			gs_sleep(SCHED);                                                           \
		CHECK(ticked);                                                                     \
	})

struct observer {
	struct tim *t;
	gs_chan *stop;
	int *done; /* atomic: one more when it got a value */
	int *left; /* atomic: one more when it ended */
};

static void observe_plain(void *arg)
{
	struct observer *o = arg;

	recv(o->t->c);
	ADD(*o->done, 1);
	ADD(*o->left, 1);
}

static void observe_select(void *arg)
{
	struct observer *o = arg;

	if (gs_select(GS_RECV(o->t->c, NULL), GS_RECV(o->stop, NULL)) == 0)
		ADD(*o->done, 1);
	ADD(*o->left, 1);
}

static void matrix(struct tim *t)
{
	bool ticker = t->ticker;
	int done = 0, left = 0;
	struct observer o = {t, gs_chan_new(0, 0), &done, &left};

	/* stop and reset of one that was never waited for */
	CHECK(tim_stop(t));
	no_tick(t);
	CHECK(!tim_reset(t, 10000 * SEC));
	no_tick(t);

	/* due: length and capacity stay 0; it is there at once */
	CHECK(tim_reset(t, 1));
	gs_sleep(SCHED);
	CHECK_EQ(gs_chan_len(t->c), 0u);
	CHECK_EQ(gs_chan_cap(t->c), 0u);
	CHECK(poll(t->c));

	/* a ticker's next is due again; a reset takes it away */
	gs_sleep(SCHED);
	CHECK_EQ(tim_reset(t, 10000 * SEC), ticker);
	no_tick(t);

	/* somebody waits; moved far away, then near */
	CHECK(tim_reset(t, 10000 * SEC));
	go_named("plain", observe_plain, &o);
	UNTIL(ut_waiting("chan receive", "plain") == 1);
	CHECK_EQ(LOAD(done), 0);
	CHECK(tim_reset(t, 20000 * SEC));
	gs_sleep(SCHED);
	CHECK_EQ(LOAD(done), 0);
	CHECK(tim_reset(t, 1));
	UNTIL(LOAD(left) == 1);
	if (ticker)
		assert_tick(t);
	else
		no_tick(t);
	CHECK_EQ(tim_stop(t), ticker);
	no_tick(t);

	/* two wait, in selects */
	tim_reset(t, 10000 * SEC);
	STORE(done, 0);
	STORE(left, 0);
	for (int i = 0; i < 2; i++)
		go_named("select", observe_select, &o);
	UNTIL(ut_waiting("select", "select") == 2);
	gs_sleep(SCHED);
	CHECK_EQ(LOAD(done), 0);
	tim_reset(t, SCHED / 2);
	UNTIL(LOAD(done) >= 1);
	tim_stop(t);
	no_tick(t);
	gs_chan_close(o.stop);
	UNTIL(LOAD(left) == 2);
	if (!ticker)
		CHECK_EQ(LOAD(done), 1);
	no_tick(t);
	gs_chan_unref(o.stop);

	/* two wait while it is stopped */
	o.stop = gs_chan_new(0, 0);
	STORE(done, 0);
	STORE(left, 0);
	for (int i = 0; i < 2; i++)
		go_named("stopped", observe_select, &o);
	UNTIL(ut_waiting("select", "stopped") == 2);
	gs_sleep(SCHED);
	gs_chan_close(o.stop);
	UNTIL(LOAD(left) == 2);
	CHECK_EQ(LOAD(done), 0);
	gs_chan_unref(o.stop);

	/* and are served after a reset */
	o.stop = gs_chan_new(0, 0);
	STORE(left, 0);
	for (int i = 0; i < 2; i++)
		go_named("revived", observe_select, &o);
	UNTIL(ut_waiting("select", "revived") == 2);
	CHECK(!tim_reset(t, MS));
	UNTIL(LOAD(done) >= 1);
	tim_stop(t);
	gs_chan_close(o.stop);
	UNTIL(LOAD(left) == 2);
	gs_chan_unref(o.stop);

	/* stop and reset keep old values from being received: go.dev/issue/37196 */
	tim_reset(t, 1);
	gs_sleep(SCHED);
	CHECK(tim_stop(t));
	no_tick(t);
	CHECK(!tim_reset(t, HOUR));
	no_tick(t);
	CHECK(tim_reset(t, 1));
	assert_tick(t);
	gs_sleep(SCHED);
	if (ticker) {
		assert_tick(t);
		gs_sleep(SCHED);
	} else {
		no_tick(t);
	}
	CHECK_EQ(tim_reset(t, HOUR), ticker);
	no_tick(t);
	UNTIL(gs_num_fibers() == 1);
}

static void run_matrix_timer(void *arg)
{
	struct tim t = {.timer = gs_timer_new(10000 * SEC)};

	t.c = CH(gs_timer_chan(t.timer));
	matrix(&t);
	gs_timer_free(t.timer);
}

static void run_matrix_ticker(void *arg)
{
	struct tim t = {.ticker = gs_ticker_new(10000 * SEC)};

	t.c = ticks(t.ticker);
	matrix(&t);
	gs_ticker_free(t.ticker);
}

/* Go's TestChan/Timer: stop, reset and stale values, with nobody, one and two waiting */
TEST(matrix_timer)
{
	RUN(run_matrix_timer, NULL);
}

/* Go's TestChan/Ticker */
TEST(matrix_ticker)
{
	RUN(run_matrix_ticker, NULL);
}

TEST_HARNESS_MAIN
