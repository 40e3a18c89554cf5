// SPDX-License-Identifier: GPL-2.0
/*
 * Timers: gs_after, gs_timer_*, gs_after_func. After Go's time/sleep_test.go, and what C
 * adds: who frees what and when, threads, deadlocks, the cost of many.
 *
 * Environment: GSCHED_TEST_TIMERS=n, how many lifetimes no_leak goes through of each kind.
 */
#include <gsched/chan.h>
#include <gsched/select.h>
#include <gsched/sync.h>
#include <gsched/typed.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

#include "dump.h"
#include "util.h"

#if defined(UT_TSAN) || defined(UT_ASAN)
size_t __sanitizer_get_current_allocated_bytes(void);
#endif

/* The untyped channel behind a typed one. */
#define CH(c) ((gs_chan *)(void *)(c))
#define HOUR (3600 * SEC)

/* How many to have a fiber started for: TSan takes half a millisecond for each. */
#ifdef UT_TSAN
#define FIBERS(n) ((n) / 25)
#else
#define FIBERS(n) (n)
#endif

static gs_chan *timer_chan(gs_timer *t)
{
	return CH(gs_timer_chan(t));
}

static gs_chan *after(int64_t ns)
{
	return CH(gs_after(ns));
}

/* Without waiting: is there a value? */
static bool poll(gs_chan *c)
{
	return gs_chan_try_recv(c, NULL) == 1;
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
/* Firing                                                                      */

/* How late it was. */
static int64_t value_once(int64_t ns)
{
	int64_t start = gs_now(), v, end;
	gs_chan *c = after(ns);

	CHECK_EQ(gs_chan_len(c), 0u);
	CHECK_EQ(gs_chan_cap(c), 0u);
	v = recv(c);
	end = gs_now();
	CHECK_GE(v, start + (ns > 0 ? ns : 0));
	CHECK_LE(v, end);
	/* once only */
	CHECK(!poll(c));
	gs_chan_unref(c);
	return end - v;
}

static void value(void *arg)
{
	/* a busy machine may be late now and then, not always */
	for (int64_t ns = -1; ns < 3 * MS; ns += MS / 2)
		UNTIL(value_once(ns) <= ut_limit(SEC));
}

static void *value_thread(void *arg)
{
	value(NULL);
	return NULL;
}

static void value_both(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, value_thread, NULL), 0);
	value(NULL);
	pthread_join(t, NULL);
}

/* Go's TestAfter: never early, its value the time it was due, length and capacity 0 */
TEST(after_value)
{
	RUN(value_both, NULL);
}

static void run_typed(void *arg)
{
	int64_t start = gs_now(), v = 0;
	gs_recv_only(int64_t) c = gs_after(MS), later = gs_after(HOUR);
	gs_timer *t = gs_timer_new(MS);
	bool ok = false;

	CHECK_EQ(gs_try_recv(later, &v), -EAGAIN);
	CHECK_EQ(gs_len(later), 0u);
	CHECK_EQ(gs_cap(later), 0u);
	gs_free(later);
	CHECK(gs_recv(c, &v));
	CHECK_GE(v, start + MS);
	CHECK_EQ(gs_select(GS_RECV(c, &v), GS_RECV_OK(gs_timer_chan(t), &v, &ok)), 1);
	CHECK(ok);
	gs_timer_free(t);
	gs_free(c);
}

/* the channels are typed ones, to receive from */
TEST(typed)
{
	RUN(run_typed, NULL);
}

/* a thread in a process without a fiber: the runtime starts for it */
TEST(after_thread_alone)
{
	value(NULL);
	EXPECT_EQ(0, ut_failed);
	EXPECT_EQ(0, gs_num_fibers());
}

static int64_t ten(void)
{
	int64_t start = gs_now(), took;

	for (int i = 0; i < 10; i++) {
		gs_chan *c = after(5 * MS);

		recv(c);
		gs_chan_unref(c);
	}
	took = gs_now() - start;
	CHECK_GE(took, 50 * MS);
	return took;
}

static void after_tick(void *arg)
{
	UNTIL(ten() <= ut_limit(5 * SEC));
}

/* Go's TestAfterTick: ten in a row take ten times as long */
TEST(after_ten)
{
	RUN(after_tick, NULL);
}

static void late_look(void *arg)
{
	int64_t before = gs_now(), v;
	gs_chan *c = after(2 * MS);
	int64_t made = gs_now();

	gs_sleep(30 * MS);
	v = recv(c);
	CHECK_GE(v, before + 2 * MS);
	CHECK_LE(v, made + 2 * MS);
	gs_chan_unref(c);
}

/* Go's TestAfterTimes: the value is of the time it was due, not of the receive */
TEST(after_value_of_due_time)
{
	RUN(late_look, NULL);
}

static const int slots[] = {5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0};

struct await {
	gs_chan *c, *result;
	int slot;
};

static void await(void *arg)
{
	struct await *a = arg;

	recv(a->c);
	gs_chan_unref(a->c);
	gs_chan_send(a->result, &a->slot);
}

static void func_send(void *arg)
{
	int64_t now = gs_now();

	gs_chan_send(arg, &now);
}

struct func_chan {
	gs_timer *t;
	gs_chan *c;
};

/* A timer of gs_after_func that looks like one with a channel: Go's newTimerFunc. */
static struct func_chan func_chan_new(int64_t ns)
{
	gs_chan *c = gs_chan_new(sizeof(int64_t), 1);
	struct func_chan f = {gs_after_func(ns, func_send, c), c};

	CHECK(f.t);
	CHECK(!gs_timer_chan(f.t));
	return f;
}

static bool queue_once(int64_t delta, bool func)
{
	struct await a[ARRAY_SIZE(slots)];
	gs_chan *result = gs_chan_new(sizeof(int), ARRAY_SIZE(slots));
	bool ok = true;
	int last = 0;

	for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
		a[i].slot = slots[i];
		a[i].result = result;
		if (func) {
			struct func_chan f = func_chan_new(slots[i] * delta);

			gs_timer_free(f.t);
			a[i].c = f.c;
		} else {
			a[i].c = after(slots[i] * delta);
		}
		CHECK_EQ(gs_go(await, &a[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
		int slot;

		gs_chan_recv(result, &slot);
		ok = ok && slot >= last;
		last = slot;
	}
	gs_chan_unref(result);
	return ok;
}

static void queue(void *arg)
{
	bool ok = false;

	for (int64_t delta = 4 * MS; !ok && delta < 2 * SEC; delta *= 2)
		ok = queue_once(delta, arg);
	CHECK(ok);
}

/* Go's TestAfterQueuing: thirteen timers fire in the order of their times */
TEST(order_chan)
{
	RUN(queue, NULL);
}

/* the same with functions */
TEST(order_func)
{
	RUN(queue, (void *)1);
}

static int nth, chain_done; /* atomic */

static void chain(void *arg)
{
	if (ADD(nth, 1) < 10) {
		gs_timer *t = gs_after_func(0, chain, NULL);

		CHECK(t);
		gs_timer_free(t);
		gs_sleep(5 * MS);
	} else {
		STORE(chain_done, 1);
	}
}

static void after_func(void *arg)
{
	gs_timer_free(gs_after_func(0, chain, NULL));
	UNTIL(LOAD(chain_done));
	CHECK_EQ(LOAD(nth), 10);
	UNTIL(gs_num_fibers() == 1);
}

/* Go's TestAfterFunc: one starts the next, and sleeps on in its own fiber */
TEST(func_chain)
{
	RUN(after_func, NULL);
}

static uint64_t func_ids[2]; /* atomic */

static void func_id(void *arg)
{
	STORE(*(uint64_t *)arg, gs_id());
	gs_sleep(INT64_MAX);
}

static void own_fibers(void *arg)
{
	gs_timer *t[2];

	/* at the same moment, and the first never returns */
	for (int i = 0; i < 2; i++)
		t[i] = gs_after_func(MS, func_id, &func_ids[i]);
	UNTIL(LOAD(func_ids[0]) && LOAD(func_ids[1]));
	CHECK_NE(LOAD(func_ids[0]), LOAD(func_ids[1]));
	CHECK_NE(LOAD(func_ids[0]), gs_id());
	for (int i = 0; i < 2; i++) {
		CHECK(!gs_timer_stop(t[i]));
		gs_timer_free(t[i]);
	}
	CHECK_EQ(gs_num_fibers(), 3u);
}

/* each function has a fiber of its own: one that never returns delays no other */
TEST(func_own_fiber)
{
	ut_set_procs(1);
	RUN(own_fibers, NULL);
}

static int stop_pingpong; /* atomic */

static void pp_send(void *arg)
{
	bool v = true;

	while (!LOAD(stop_pingpong))
		gs_chan_send(arg, &v);
	gs_chan_close(arg);
}

static void pp_recv(void *arg)
{
	while (gs_chan_recv(arg, NULL))
		;
}

static void set_stop(void *arg)
{
	STORE(stop_pingpong, 1);
}

static void starvation(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(bool), 1);

	CHECK_EQ(gs_go(pp_send, c), 0);
	CHECK_EQ(gs_go(pp_recv, c), 0);
	gs_timer_free(gs_after_func(1000, set_stop, NULL));
	UNTIL(gs_num_fibers() == 1);
	gs_chan_unref(c);
}

/* Go's TestAfterFuncStarvation: two fibers that feed each other on one proc do not keep it away */
TEST(func_starvation)
{
	ut_set_procs(1);
	RUN(starvation, NULL);
}

#define MANY 20000
static long ran_order[MANY];
static long nran; /* atomic */
static long want_order[MANY];

static void note_order(void *arg)
{
	long at = ADD(nran, 1) - 1;

	if (CHECK_LT(at, MANY))
		STORE(ran_order[at], *(long *)arg);
}

/*
 * How many ran far from their place; all if it took longer than `lead` until the third was
 * stopped, for then some had run already.
 */
static long out_of_order(int64_t lead)
{
	static gs_timer *t[MANY];
	long n = ut_count(MANY, 500), kept = n, bad = 0;
	int64_t base;

	STORE(nran, 0);
	for (long i = 0; i < n; i++)
		t[i] = gs_after_func(HOUR + i * 7919 % n, note_order, &want_order[i]);
	/* move all, in another order; then take every third out of the middle */
	base = gs_now() + lead;
	for (long i = 0; i < n; i++) {
		long k = i * 7919 % n;

		CHECK(gs_timer_reset(t[k], base + k * 1000 - gs_now()));
	}
	for (long i = 0; i < n; i += 3)
		kept -= gs_timer_stop(t[i]);
	if (gs_now() >= base)
		bad = n;
	else
		CHECK_EQ(kept, n - (n + 2) / 3);
	/* nobody runs while all become due, so that they leave the heap in one go */
	ut_burn(base + n * 1000 - gs_now());
	UNTIL(LOAD(nran) == kept && gs_num_fibers() == 1);
	for (long i = 0; i < n; i++)
		gs_timer_free(t[i]);
	for (long i = 64; i < kept && bad < n; i++)
		bad += LOAD(ran_order[i]) < LOAD(ran_order[i - 64]);
	return bad;
}

static void heap_order(void *arg)
{
	long n = ut_count(MANY, 500), bad = n;
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	for (long i = 0; i < n; i++)
		want_order[i] = i;
	/* 7919 is prime: every index once */
	CHECK_NE(n % 7919, 0);
	/*
	 * Each reset reads the clock a little later than it says, or much later if it was
	 * unlucky; and a fiber may be interrupted before it notes its place.
	 */
	for (int64_t lead = 100 * MS + ut_limit(n * 5000); bad > n / 50 && gs_now() < end;
	     lead = lead < 10 * SEC ? 2 * lead : lead)
		bad = out_of_order(lead);
	CHECK_LE(bad, n / 50);
}

/* twenty thousand functions, moved and a third stopped, run in the order of their times */
TEST(heap_in_order)
{
	ut_set_procs(1);
	RUN(heap_order, NULL);
}

/* ------------------------------------------------------------------------- */
/* Stop and reset                                                              */

static void nothing(void *arg) {}

static const char *after_stop_once(bool func, int64_t unit)
{
	gs_chan *c1 = gs_chan_new(sizeof(int64_t), 1), *c2 = after(4 * unit);
	gs_timer *between = gs_after_func(2 * unit, nothing, NULL), *t0, *t1;
	struct func_chan f = {NULL, NULL};
	const char *err = NULL;

	if (func)
		f = func_chan_new(unit);
	t0 = func ? f.t : gs_timer_new(unit);
	t1 = gs_after_func(3 * unit, func_send, c1);
	if (!gs_timer_stop(t0))
		err = "failed to stop event 0";
	else if (!gs_timer_stop(t1))
		err = "failed to stop event 1";
	recv(c2);
	if (!err && poll(func ? f.c : timer_chan(t0)))
		err = "event 0 was not stopped";
	if (!err && poll(c1))
		err = "event 1 was not stopped";
	CHECK(err || !gs_timer_stop(t0));
	CHECK(err || !gs_timer_stop(t1));
	gs_timer_free(between);
	gs_timer_free(t0);
	gs_timer_free(t1);
	gs_chan_unref(c2);
	/* where it was not stopped its function may still send */
	if (!err) {
		gs_chan_unref(c1);
		gs_chan_unref(f.c);
	}
	return err;
}

static void after_stop(void *arg)
{
	const char *err = "";

	for (int64_t unit = 5 * MS; err && unit < 2 * SEC; unit *= 4)
		err = after_stop_once(arg, unit);
	CHECK(!err);
}

/* Go's TestAfterStop: what was stopped does not fire, not even after a longer one */
TEST(stop_chan)
{
	RUN(after_stop, NULL);
}

/* the same with functions */
TEST(stop_func)
{
	RUN(after_stop, (void *)1);
}

static void must_not_run(void *arg)
{
	CHECK(!"a stopped timer's function ran");
}

static void stop_after_nap(void *arg)
{
	gs_timer *t = gs_after_func(60 * SEC, must_not_run, NULL);

	gs_sleep(10 * MS);
	CHECK(gs_timer_stop(t));
	gs_timer_free(t);
}

static void stop_stress(void *arg)
{
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gs_go(stop_after_nap, NULL), 0);
	UNTIL(gs_num_fibers() == 1);
}

/* Go's TestTimerStopStress: a hundred fibers stop theirs */
TEST(stop_many)
{
	RUN(stop_stress, NULL);
}

static const char *reset_once(int64_t d)
{
	gs_timer *t = gs_timer_new(2 * d);
	const char *err = NULL;

	gs_sleep(d);
	if (!gs_timer_reset(t, 3 * d))
		err = "resetting an unfired timer returned false";
	gs_sleep(2 * d);
	if (!err && poll(timer_chan(t)))
		err = "fired early";
	gs_sleep(2 * d);
	if (!err && !poll(timer_chan(t)))
		err = "did not fire";
	if (!err && gs_timer_reset(t, 50 * MS))
		err = "resetting an expired timer returned true";
	gs_timer_free(t);
	return err;
}

static void reset(void *arg)
{
	const char *err = "";

	for (int64_t d = MS; err && d < 2 * SEC; d *= 2)
		err = reset_once(d);
	CHECK(!err);
}

/* Go's TestReset: later than it was to, and again */
TEST(reset_later)
{
	RUN(reset, NULL);
}

static void results(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);

	/* not due */
	CHECK(gs_timer_stop(t));
	CHECK(!gs_timer_stop(t));
	CHECK(!gs_timer_reset(t, HOUR));
	CHECK(gs_timer_reset(t, HOUR));
	/* due, not received: as if it were not due */
	CHECK(gs_timer_reset(t, 0));
	CHECK(gs_timer_stop(t));
	CHECK(!poll(timer_chan(t)));
	CHECK(!gs_timer_reset(t, -1));
	CHECK(gs_timer_reset(t, HOUR));
	CHECK(!poll(timer_chan(t)));
	/* received */
	CHECK(gs_timer_reset(t, INT64_MIN));
	CHECK(poll(timer_chan(t)));
	CHECK(!poll(timer_chan(t)));
	CHECK(!gs_timer_stop(t));
	CHECK(!gs_timer_reset(t, 0));
	recv(timer_chan(t));
	CHECK(!gs_timer_reset(t, HOUR));
	CHECK_EQ(gs_chan_len(timer_chan(t)), 0u);
	CHECK_EQ(gs_chan_cap(timer_chan(t)), 0u);
	gs_timer_free(t);
}

/* what stop and reset return, before, while and after it is due; no stale value, ever */
TEST(results_chan)
{
	results(NULL);
	EXPECT_EQ(0, ut_failed);
	RUN(results, NULL);
}

static void count_run(void *arg)
{
	ADD(*(long *)arg, 1);
}

static void results_f(void *arg)
{
	long n = 0;
	gs_timer *t = gs_after_func(HOUR, count_run, &n);

	CHECK(gs_timer_stop(t));
	CHECK(!gs_timer_stop(t));
	CHECK(!gs_timer_reset(t, HOUR));
	CHECK(gs_timer_reset(t, HOUR));
	CHECK_EQ(LOAD(n), 0);
	CHECK(gs_timer_reset(t, 0));
	UNTIL(LOAD(n) == 1);
	CHECK(!gs_timer_stop(t));
	CHECK(!gs_timer_reset(t, -1));
	UNTIL(LOAD(n) == 2);
	gs_timer_free(t);
}

/* the same with a function, which runs again after each reset */
TEST(results_func)
{
	RUN(results_f, NULL);
}

/* Either may win, but what it says is so: Go's TestStopResult and TestResetResult. */
static void race_result(void *arg)
{
	long n = ut_count(100, 4);

	for (long j = 0; j < n; j++) {
		gs_timer *t1 = gs_timer_new(MS), *t2 = gs_timer_new(MS), *other;

		if (gs_select(GS_RECV(timer_chan(t1), NULL), GS_RECV(timer_chan(t2), NULL)) == 0)
			other = t2;
		else
			other = t1;
		/* hangs if the result is wrong */
		if (!(arg ? gs_timer_stop(other) : gs_timer_reset(other, HOUR))) {
			CHECK(!"a timer whose value was not received was not active");
			recv(timer_chan(other));
		}
		CHECK(!poll(timer_chan(other)));
		gs_timer_free(t1);
		gs_timer_free(t2);
	}
}

static void race_results(void *arg)
{
	long n = ut_count(300, 20);

	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(race_result, arg), 0);
	UNTIL(gs_num_fibers() == 1);
}

/* Go's TestStopResult: hundreds of fibers with two timers each, one fires, the other is stopped */
TEST(stop_result)
{
	RUN(race_results, (void *)1);
}

/* Go's TestResetResult: or is reset */
TEST(reset_result)
{
	RUN(race_results, NULL);
}

static int stop_shared;		  /* atomic */
static int64_t last_shared;	  /* atomic: the newest value received */
static int64_t shared_valid_from; /* atomic: no value may be older */

static void shared_recv(void *arg)
{
	while (!LOAD(stop_shared)) {
		int64_t from = LOAD(shared_valid_from), v;

		if (gs_select(GS_RECV(timer_chan(arg), &v), GS_AFTER(2 * MS)) == 0) {
			int64_t last = LOAD(last_shared);

			CHECK_GE(v, from);
			/* the others store theirs meanwhile */
			while (v > last &&
			       !__atomic_compare_exchange_n(&last_shared, &last, v, false,
							    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
				;
		}
	}
}

static void stale(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);
	long n = ut_count(4000, 100);
	int64_t last;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gs_go(shared_recv, t), 0);
	for (long i = 0; i < n; i++) {
		int64_t now;

		gs_timer_reset(t, i % 7 * 3000);
		if (i % 3 == 0)
			gs_yield();
		/* whatever was due before now must not come any more */
		if (i % 2)
			gs_timer_stop(t);
		now = gs_now();
		gs_timer_reset(t, i % 5 * 2000);
		STORE(shared_valid_from, now);
		if (i % 4 == 0)
			gs_sleep(i % 3 * 5000);
	}
	/* and at last one that does come */
	last = gs_now() + MS;
	gs_timer_reset(t, MS);
	UNTIL(LOAD(last_shared) >= last);
	STORE(stop_shared, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_timer_free(t);
}

/* four receivers see no value from before the last reset that had returned when they began */
TEST(no_stale_value)
{
	RUN(stale, NULL);
}

static long counted; /* atomic */

static void count_values(void *arg)
{
	int64_t v;

	while (gs_chan_recv(arg, &v)) {
		CHECK_LE(v, gs_now());
		ADD(counted, 1);
	}
}

static void value_or_stop(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);
	long n = ut_count(5000, 200), want = 0;
	uint32_t rnd = 1;

	CHECK_EQ(gs_go(count_values, timer_chan(t)), 0);
	for (long i = 0; i < n; i++) {
		rnd = rnd * 1103515245 + 12345;
		gs_timer_reset(t, 0);
		/* the poller is on its way: it comes about when we take it back */
		ut_burn((rnd >> 16) % 40 * 1000);
		want += !(i % 2 ? gs_timer_stop(t) : gs_timer_reset(t, HOUR));
		if (i % 16 == 0)
			UNTIL(LOAD(counted) == want);
	}
	gs_timer_stop(t);
	UNTIL(LOAD(counted) == want);
	gs_chan_close(timer_chan(t));
	UNTIL(gs_num_fibers() == 1);
	CHECK_EQ(LOAD(counted), want);
	gs_timer_free(t);
}

/* a stop or reset and the poller meet: either it was active, or its value is received */
TEST(stop_or_value)
{
	ut_set_procs(2);
	RUN(value_or_stop, NULL);
}

static void wake_timer(void *arg)
{
	long n = ut_count(10000, 200);

	for (long i = 0; i < n; i++) {
		gs_select(GS_RECV(timer_chan(arg), NULL), GS_DEFAULT);
		gs_timer_reset(arg, 1);
		if (i % 64 == 0)
			gs_yield();
	}
}

static void run_multi_wakeup(void *arg)
{
	gs_timer *t = gs_timer_new(1);

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gs_go(wake_timer, t), 0);
	UNTIL(gs_num_fibers() == 1);
	CHECK(gs_timer_stop(t));
	gs_timer_free(t);
}

/* Go's TestMultiWakeupTimer: many poll and reset the same timer */
TEST(multi_wakeup)
{
	RUN(run_multi_wakeup, NULL);
}

struct stale {
	gs_timer *t;
	gs_chan *other;
	int won; /* atomic: the case, -1 none yet */
};

static void stale_fiber(void *arg)
{
	struct stale *s = arg;
	int64_t v;

	STORE(s->won, gs_select(GS_RECV(timer_chan(s->t), &v), GS_RECV(s->other, NULL)));
}

static void stale_main(void *arg)
{
	for (int i = 0; i < 200; i++) {
		struct stale s = {gs_timer_new(HOUR), gs_chan_new(0, 0), -1};
		bool got;

		gs_go(stale_fiber, &s);
		/* it waits */
		gs_nopreempt_begin();
		while (gs_chan_try_send(s.other, NULL)) {
			gs_nopreempt_end();
			gs_yield();
			gs_nopreempt_begin();
		}
		/* and still stands at the timer, but is no receiver of its */
		gs_timer_reset(s.t, 0);
		got = poll(timer_chan(s.t));
		gs_nopreempt_end();
		CHECK(got);
		UNTIL(LOAD(s.won) != -1);
		CHECK_EQ(s.won, 1);
		gs_chan_unref(s.other);
		gs_timer_free(s.t);
	}
}

/* a select that another case has won takes nothing from who asks for a value that is there */
TEST(select_elsewhere)
{
	ut_set_procs(1);
	RUN(stale_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Extreme times                                                               */

static void endless(void *arg)
{
	gs_chan *big = after(INT64_MAX), *c, *least;
	gs_timer *t = gs_timer_new(INT64_MAX - gs_now()), *f;

	f = gs_after_func(INT64_MAX - 1, must_not_run, NULL);
	for (int i = 0; i < 3; i++) {
		c = after(5 * MS);
		CHECK_EQ(gs_select(GS_RECV(big, NULL), GS_RECV(c, NULL),
				   GS_RECV(timer_chan(t), NULL)),
			 1);
		gs_chan_unref(c);
		CHECK(gs_timer_reset(t, INT64_MAX));
		CHECK(gs_timer_reset(f, INT64_MAX));
	}
	c = after(60 * SEC);
	least = after(INT64_MIN);
	CHECK_EQ(gs_select(GS_RECV(least, NULL), GS_RECV(c, NULL), GS_RECV(big, NULL)), 0);
	CHECK(gs_timer_stop(t));
	CHECK(gs_timer_stop(f));
	gs_chan_unref(c);
	gs_chan_unref(least);
	gs_chan_unref(big);
	gs_timer_free(t);
	gs_timer_free(f);
}

/* Go's TestOverflowSleep: the longest never fire and disturb nobody, the most negative do at once */
TEST(overflow)
{
	RUN(endless, NULL);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The longest that one took. */
static int64_t zero_all(void)
{
	long n = ut_count(20000, 500);
	struct func_chan f = func_chan_new(HOUR);
	int64_t most = 0;

	for (long i = 0; i < n; i++) {
		gs_timer *t = gs_timer_new(0);
		int64_t start = gs_now();

		recv(timer_chan(t));
		most = later(most, gs_now() - start);
		gs_timer_free(t);
	}
	for (long i = 0; i < n / 4; i++) {
		int64_t start = gs_now();

		gs_timer_reset(f.t, 0);
		recv(f.c);
		most = later(most, gs_now() - start);
	}
	for (long i = 0; i < n / 4; i++) {
		struct func_chan g = func_chan_new(0);

		recv(g.c);
		gs_timer_free(g.t);
		gs_chan_unref(g.c);
	}
	gs_timer_free(f.t);
	gs_chan_unref(f.c);
	return most;
}

static void zero(void *arg)
{
	/* one that was forgotten is late whenever it happens, the machine only now and then */
	UNTIL(zero_all() <= ut_limit(2 * SEC));
}

/* Go's TestZeroTimer: timers of no duration are not forgotten */
TEST(zero_timer)
{
	RUN(zero, NULL);
}

static void earlier(void *arg)
{
	long n = ut_count(1000, 50);

	for (long i = 0; i < n; i++) {
		struct func_chan f = func_chan_new(HOUR);
		gs_chan *limit = after(ut_limit(UT_WAIT * SEC));

		for (int j = 0; j < 10; j++) {
			if (!gs_timer_stop(f.t))
				recv(f.c);
			gs_timer_reset(f.t, -gs_now());
		}
		CHECK_EQ(gs_select(GS_RECV(f.c, NULL), GS_RECV(limit, NULL)), 0);
		gs_timer_free(f.t);
		gs_chan_unref(f.c);
		gs_chan_unref(limit);
	}
}

/* Go's TestTimerModifiedEarlier: moved to the past again and again it is not dropped */
TEST(modified_earlier)
{
	RUN(earlier, NULL);
}

/* The longest wait for one that was due. */
static int64_t adjust_all(void)
{
	enum { N = 100 };
	struct func_chan t[N];
	int state[N] = {0}, left[N], n = N;
	uint32_t rnd = 12345;
	int64_t most = 0;

	for (int i = 0; i < N; i++)
		left[i] = i;
	while (n) {
		int at, i;

		rnd = rnd * 1103515245 + 12345;
		at = (int)((rnd >> 8) % (unsigned)n);
		i = left[at];
		switch (state[i]++) {
		case 0:
			t[i] = func_chan_new(0);
			break;
		case 1:
			recv(t[i].c);
			break;
		case 2:
			CHECK(!gs_timer_reset(t[i].t, HOUR));
			break;
		case 4:
			CHECK(!gs_timer_reset(t[i].t, 3 * HOUR));
			break;
		case 6:
			CHECK(!gs_timer_reset(t[i].t, 2 * HOUR));
			break;
		case 3:
		case 5:
		case 7:
			CHECK(gs_timer_stop(t[i].t));
			break;
		case 8:
			CHECK(!gs_timer_reset(t[i].t, 0));
			break;
		case 9: {
			int64_t now = gs_now();

			recv(t[i].c);
			most = later(most, gs_now() - now);
			gs_timer_free(t[i].t);
			gs_chan_unref(t[i].c);
			left[at] = left[--n];
			break;
		}
		}
	}
	return most;
}

static void run_adjust(void *arg)
{
	UNTIL(adjust_all() <= ut_limit(750 * MS));
}

/* Go's TestAdjustTimers: a hundred timers moved earlier and later in random order */
TEST(adjust)
{
	RUN(run_adjust, NULL);
}

/* ------------------------------------------------------------------------- */
/* Misuse                                                                      */

static void stop_ticker(void *ticker)
{
	gs_ticker_stop(ticker);
	fprintf(stderr, "ticker stopped\n");
}

static void stop_null(void *arg)
{
	/* Go's TestIssue5745: whoever panics holds no lock */
	gs_defer(stop_ticker, gs_ticker_new(HOUR));
	gs_timer_stop(NULL);
}

static void reset_null(void *arg)
{
	gs_timer_reset(NULL, 1);
}

static void func_null(void *arg)
{
	gs_timer_free(gs_after_func(0, NULL, NULL));
	gs_sleep(INT64_MAX);
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

/* Go's TestZeroTimerStopPanics, TestZeroTimerResetPanics; a nil function when it fires */
TEST(misuse)
{
	expect_panic(_metadata, stop_null,
		     "ticker stopped\npanic: time: Stop called on uninitialized Timer\n");
	expect_panic(_metadata, reset_null, "panic: time: Reset called on uninitialized Timer\n");
	expect_panic(_metadata, func_null, "panic: go of nil func value\n");
	EXPECT_EQ(NULL, timer_chan(NULL));
	gs_timer_free(NULL);
}

/* ------------------------------------------------------------------------- */
/* Who frees, and when                                                         */

static int64_t orphan_value; /* atomic */

static void orphan_recv(void *arg)
{
	STORE(orphan_value, recv(arg));
}

static void orphan_select(void *arg)
{
	gs_chan *never = gs_chan_new(0, 0);
	int64_t v = 0;

	CHECK_EQ(gs_select(GS_RECV(never, NULL), GS_RECV(arg, &v)), 1);
	STORE(orphan_value, v);
	gs_chan_unref(never);
}

static void orphans(void *arg)
{
	for (int i = 0; i < 8; i++) {
		int64_t start = gs_now();
		gs_timer *t = NULL;
		gs_chan *c;

		/* long enough that it waits; then it is moved */
		t = gs_timer_new(HOUR);
		c = timer_chan(t);
		STORE(orphan_value, 0);
		go_named("orphan", i % 2 ? orphan_select : orphan_recv, c);
		UNTIL(ut_waiting(i % 2 ? "select" : "chan receive", "orphan") == 1);
		gs_timer_reset(t, 3 * MS);
		gs_timer_free(t);
		UNTIL(LOAD(orphan_value));
		CHECK_GE(LOAD(orphan_value), start + 3 * MS);
		UNTIL(gs_num_fibers() == 1);
	}
}

/* the last reference goes while somebody waits: he gets his value, and frees the channel */
TEST(free_while_waiting)
{
	RUN(orphans, NULL);
}

static void kept(void *arg)
{
	gs_timer *t = gs_timer_new(2 * MS);
	gs_chan *c = gs_chan_ref(timer_chan(t));
	long n = 0;

	gs_timer_free(t);
	recv(c);
	CHECK(!poll(c));
	gs_chan_unref(c);
	/* and a function's */
	for (int i = 0; i < 100; i++)
		gs_timer_free(gs_after_func(i * 10000, count_run, &n));
	UNTIL(LOAD(n) == 100);
}

/* freeing a timer stops it not: a referenced channel and a pending function get theirs */
TEST(free_does_not_stop)
{
	RUN(kept, NULL);
}

static long race_ops; /* atomic */

/* Every way to let go of a timer around the moment it fires. */
static void race_free(unsigned seed)
{
	long n = ut_count(4000, 100);
	uint32_t rnd = seed * 2654435761u + 1;
	long runs = 0, want = 0;

	for (long i = 0; i < n; i++) {
		int64_t ns, v;
		gs_timer *t;
		gs_chan *c;

		rnd = rnd * 1103515245 + 12345;
		ns = (rnd >> 16) % 30 * 500;
		switch ((rnd >> 8) % 6) {
		case 0:
			c = after(ns);
			recv(c);
			gs_chan_unref(c);
			break;
		case 1:
			c = after(ns);
			if (gs_select(GS_RECV(c, &v), GS_AFTER(5000)) == 0)
				CHECK_LE(v, gs_now());
			gs_chan_unref(c);
			break;
		case 2:
			t = gs_timer_new(ns);
			ut_burn(ns);
			gs_select(GS_RECV(timer_chan(t), NULL), GS_DEFAULT);
			gs_timer_free(t);
			break;
		case 3:
			t = gs_timer_new(ns);
			gs_select(GS_RECV(timer_chan(t), NULL), GS_AFTER(ns));
			gs_timer_stop(t);
			gs_timer_free(t);
			break;
		case 4:
			t = gs_after_func(ns, count_run, &runs);
			if (rnd >> 31)
				ut_burn(ns);
			want += !gs_timer_stop(t);
			gs_timer_free(t);
			break;
		case 5:
			t = gs_after_func(ns, count_run, &runs);
			want++;
			if (rnd >> 31)
				ut_burn(ns);
			want += !gs_timer_reset(t, ns / 2);
			gs_timer_free(t);
			break;
		}
		ADD(race_ops, 1);
	}
	UNTIL(LOAD(runs) == want);
}

static void race_free_fiber(void *arg)
{
	race_free((unsigned)(uintptr_t)arg);
}

static void *race_free_thread(void *arg)
{
	race_free((unsigned)(uintptr_t)arg);
	return NULL;
}

static void race_free_all(void *arg)
{
	pthread_t t[2];

	for (uintptr_t i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, race_free_thread, (void *)(i + 100)), 0);
	for (uintptr_t i = 0; i < 6; i++)
		CHECK_EQ(gs_go(race_free_fiber, (void *)i), 0);
	UNTIL(gs_num_fibers() == 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(LOAD(race_ops), 8 * ut_count(4000, 100));
}

/* freed, stopped, reset while they fire, by fibers and threads; no function runs too often */
TEST(free_while_firing)
{
	RUN(race_free_all, NULL);
}

#define SHARED 64
static gs_timer *shared[SHARED];
static long shared_runs, shared_arms, shared_taken; /* atomic */

/* A timer's runs are its arms less those that a stop or reset says it took away. */
static void stress(unsigned seed)
{
	long n = ut_count(20000, 300);
	uint32_t rnd = seed * 2654435761u + 1;
	gs_timer *own[32] = {NULL};
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	/* the poller may come late: until some have run and some were taken away */
	for (long i = 0; i < n || (!(LOAD(shared_runs) && LOAD(shared_taken)) && gs_now() < end);
	     i++) {
		gs_timer **t;
		int64_t ns;

		rnd = rnd * 1103515245 + 12345;
		ns = rnd >> 31 ? (rnd >> 16) % 100 * 1000 : HOUR + rnd;
		t = rnd & 1 << 9 ? &own[(rnd >> 10) % 32] : &shared[(rnd >> 10) % SHARED];
		if (!*t) {
			*t = gs_after_func(ns, count_run, &shared_runs);
			ADD(shared_arms, 1);
		} else if (rnd & 1 << 8) {
			if (gs_timer_stop(*t))
				ADD(shared_taken, 1);
		} else {
			ADD(shared_arms, 1);
			if (gs_timer_reset(*t, ns))
				ADD(shared_taken, 1);
		}
		if (rnd % 64 == 0 && gs_id())
			gs_yield();
	}
	for (int i = 0; i < 32; i++) {
		if (!own[i])
			continue;
		if (gs_timer_stop(own[i]))
			ADD(shared_taken, 1);
		gs_timer_free(own[i]);
	}
}

static void heap_stress_fiber(void *arg)
{
	stress((unsigned)(uintptr_t)arg);
}

static void *heap_stress_thread(void *arg)
{
	stress((unsigned)(uintptr_t)arg);
	return NULL;
}

static void heap_stress_all(void *arg)
{
	pthread_t t[2];

	for (int i = 0; i < SHARED; i++) {
		shared[i] = gs_after_func(HOUR, count_run, &shared_runs);
		ADD(shared_arms, 1);
	}
	for (uintptr_t i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, heap_stress_thread, (void *)(i + 100)), 0);
	for (uintptr_t i = 0; i < 6; i++)
		CHECK_EQ(gs_go(heap_stress_fiber, (void *)i), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	UNTIL(LOAD(shared_arms) - LOAD(shared_taken) - LOAD(shared_runs) <= SHARED &&
	      gs_num_fibers() == 1);
	for (int i = 0; i < SHARED; i++) {
		if (gs_timer_stop(shared[i]))
			ADD(shared_taken, 1);
		gs_timer_free(shared[i]);
	}
	UNTIL(LOAD(shared_runs) == LOAD(shared_arms) - LOAD(shared_taken));
	gs_sleep(MS);
	CHECK_EQ(LOAD(shared_runs), LOAD(shared_arms) - LOAD(shared_taken));
	CHECK_GT(LOAD(shared_runs), 0);
	CHECK_GT(LOAD(shared_taken), 0);
}

/* fibers and threads arm, move and stop own and shared timers: no run is lost or too many */
TEST(heap_stress)
{
	RUN(heap_stress_all, NULL);
}

static long plain;

struct seen {
	gs_timer *t;
	gs_chan *c, *done;
};

static void see_recv(void *arg)
{
	struct seen *s = arg;

	recv(s->c);
	CHECK_EQ(plain, 42);
	plain = 43;
	gs_chan_close(s->done);
}

static void see_func(void *arg)
{
	struct seen *s = arg;

	CHECK_EQ(plain, 44);
	plain = 45;
	gs_chan_close(s->done);
}

static void run_happens_before(void *arg)
{
	struct seen s = {.t = gs_timer_new(HOUR), .done = gs_chan_new(0, 0)};

	s.c = timer_chan(s.t);
	go_named("see", see_recv, &s);
	UNTIL(ut_waiting("chan receive", "see") == 1);
	plain = 42;
	gs_timer_reset(s.t, 1000);
	gs_chan_recv(s.done, NULL);
	CHECK_EQ(plain, 43);
	gs_timer_free(s.t);
	gs_chan_unref(s.done);

	s.done = gs_chan_new(0, 0);
	plain = 44;
	s.t = gs_after_func(1000, see_func, &s);
	gs_chan_recv(s.done, NULL);
	CHECK_EQ(plain, 45);
	gs_timer_free(s.t);
	gs_chan_unref(s.done);
}

/* what was before a reset or after_func is seen by who receives, or by the function (TSan) */
TEST(happens_before)
{
	RUN(run_happens_before, NULL);
}

/* ------------------------------------------------------------------------- */
/* Memory                                                                      */

static size_t allocated(void)
{
#if defined(UT_TSAN) || defined(UT_ASAN)
	return __sanitizer_get_current_allocated_bytes();
#else
	return mallinfo2().uordblks;
#endif
}

/* A sanitizer keeps what was freed. */
static long resident(void)
{
#if defined(UT_TSAN) || defined(UT_ASAN)
	return 0;
#else
	return ut_resident();
#endif
}

static long life_runs; /* atomic */

static void lifetimes(long n)
{
	long before = LOAD(life_runs);
	gs_chan *busy = gs_chan_new(0, 1);

	gs_chan_send(busy, NULL);
	for (long i = 0; i < n; i++) {
		gs_timer *t = gs_timer_new(HOUR);
		gs_chan *c = after(i % 2 ? HOUR : 0);
		gs_ticker *k = gs_ticker_new(HOUR);

		if (i % 2 == 0)
			recv(c);
		else
			gs_select(GS_RECV(c, NULL), GS_RECV(busy, NULL), GS_DEFAULT);
		if (i % 2)
			gs_chan_try_send(busy, NULL);
		gs_chan_unref(c);
		if (i % 3)
			gs_timer_stop(t);
		gs_timer_free(t);
		gs_ticker_free(k);
		t = gs_after_func(i % 2 ? HOUR : 0, count_run, &life_runs);
		if (i % 2)
			CHECK(gs_timer_stop(t));
		gs_timer_free(t);
		/* one in a hundred waits for it */
		if (i % 100 == 0) {
			c = after(1);
			recv(c);
			gs_chan_unref(c);
		}
		/* what waits to run takes memory, too, and is no leak */
		if (i % 1000 == 0)
			UNTIL(LOAD(life_runs) == before + i / 2 + 1);
	}
	gs_chan_unref(busy);
	UNTIL(LOAD(life_runs) == before + (n + 1) / 2);
	UNTIL(gs_num_fibers() == 1);
}

static void run_no_leak(void *arg)
{
	const char *s = getenv("GSCHED_TEST_TIMERS");
	/* each round has four lives: ten million in make test-long */
	long n = s ? atol(s) : ut_count(FIBERS(ut_long(400000, 2500000)), 500);
	long grown = LONG_MAX, more = LONG_MAX;

	lifetimes(n / 10);
	/*
	 * A byte for each round would be too much; what caches hold does not depend on n. They
	 * grow with the threads and fibers there were at a time, and then no more.
	 */
	for (int i = 0; i < 4 && (grown >= n + 65536 || more >= n * 4 + (4 << 20)); i++) {
		size_t before = allocated();
		long kept = resident();

		lifetimes(n);
		grown = (long)(allocated() - before);
		more = resident() - kept;
	}
	CHECK_LT(grown, n + 65536);
	CHECK_LT(more, n * 4 + (4 << 20));
}

/* hundreds of thousands of lives of each kind leave nothing behind (Go's TestTimerGC) */
TEST(no_leak)
{
	RUN(run_no_leak, NULL);
}

static int starved_ran; /* atomic */

static void starved(void *arg)
{
	ADD(starved_ran, 1);
}

static void block(void *arg)
{
	gs_chan_recv(arg, NULL);
}

/* Until no stack is left for another fiber, nor comes from a thread that starts. */
static void use_up_memory(gs_chan *c)
{
	int n;

	for (int quiet = 0; quiet < 5; quiet++) {
		for (n = 0; gs_go(block, c) == 0; n++)
			quiet = -1;
		CHECK_LT(n, 100000);
		gs_sleep(2 * MS);
	}
}

/* Ten functions are due and none runs for a while: false if memory came back for one. */
static bool wait_for_memory(gs_timer **t, gs_chan *c, bool *armed)
{
	int before;

	use_up_memory(c);
	before = LOAD(starved_ran);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(gs_timer_reset(t[i], 0), *armed);
		/* until it has fired: the poller may be late */
		UNTIL(({
			bool active = gs_timer_stop(t[i]);

			if (active) {
				gs_timer_reset(t[i], 0);
				gs_sleep(MS);
			}
			!active;
		}));
	}
	*armed = false;
	gs_sleep(20 * MS);
	return LOAD(starved_ran) == before && gs_go(block, c) == -ENOMEM;
}

static void run_no_memory(void *arg)
{
	struct rlimit old, lim;
	gs_chan *c = gs_chan_new(0, 0);
	gs_timer *t[10];
	bool armed = true;
	int rounds = 0;
	long pages = 0;
	FILE *f;

	for (int i = 0; i < 10; i++)
		t[i] = gs_after_func(HOUR, starved, NULL);
	CHECK_EQ(getrlimit(RLIMIT_AS, &old), 0);
	f = fopen("/proc/self/statm", "r");
	CHECK_EQ(fscanf(f, "%ld", &pages), 1);
	fclose(f);
	lim = old;
	lim.rlim_cur = (rlim_t)pages * 4096;
	CHECK_EQ(setrlimit(RLIMIT_AS, &lim), 0);
	UNTIL((rounds++, wait_for_memory(t, c, &armed)));
	CHECK_EQ(setrlimit(RLIMIT_AS, &old), 0);
	UNTIL(LOAD(starved_ran) == 10 * rounds);
	for (int i = 0; i < 10; i++)
		gs_timer_free(t[i]);
	gs_chan_close(c);
	UNTIL(gs_num_fibers() == 1);
	CHECK_EQ(LOAD(starved_ran), 10 * rounds);
	gs_chan_unref(c);
}

/* without memory for a fiber functions wait for it, and then run, each once */
TEST(no_memory)
{
#if defined(UT_TSAN) || defined(UT_ASAN)
	SKIP(return, "a sanitizer needs address space");
#endif
	/* a thread's arena is mapped at twice its size and trimmed: a gap when it is late */
	CHECK(mallopt(M_ARENA_MAX, 1));
	RUN(run_no_memory, NULL);
}

/* ------------------------------------------------------------------------- */
/* The cost of many                                                            */

static int64_t stop_some(gs_timer **t, long n, long some)
{
	int64_t start = gs_now();

	for (long i = 0; i < some; i++)
		CHECK(gs_timer_stop(t[i * 7919 % n]));
	return gs_now() - start;
}

static void stop_cost(void *arg)
{
	long n = ut_count(1000000, 10000), few = n / 1000, some = few / 2;
	gs_timer **t = malloc((size_t)n * sizeof(*t));
	int64_t small = INT64_MAX, large = INT64_MAX, root = INT64_MAX;
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	if (!CHECK(t))
		return;
	for (int round = 0; round < 3; round++) {
		int64_t d;

		for (long i = 0; i < few; i++)
			t[i] = gs_after_func(HOUR + i * 7 % few * 1000, nothing, NULL);
		d = stop_some(t, few, some);
		small = d < small ? d : small;
		for (long i = 0; i < few; i++) {
			gs_timer_stop(t[i]);
			gs_timer_free(t[i]);
		}
	}
	for (long i = 0; i < n; i++)
		t[i] = gs_after_func(HOUR + i * 1000, nothing, NULL);
	/* the first to fire, after all have been armed: nothing was put off for it */
	for (int round = 0; round == 0 || (root > ut_limit(8 * MS) && gs_now() < end); round++) {
		int64_t d;

		for (long i = 0; round && i < n; i++)
			gs_timer_stop(t[i]);
		for (long i = 0; round && i < n; i++)
			gs_timer_reset(t[i], HOUR + i * 1000);
		d = gs_now();
		CHECK(gs_timer_stop(t[0]));
		d = gs_now() - d;
		root = d < root ? d : root;
	}
	for (long i = 0; i < n; i++)
		gs_timer_reset(t[i], HOUR + i * 7919 % n * 1000);
	/* a thousand times as many: ten levels more, and misses; linear would be 1000 */
	for (int round = 0;
	     round < 3 || (round < 200 && large > 100 * small + ut_limit(some * 100)); round++) {
		/* each round others, spread over all */
		int64_t d = stop_some(t + round, n - round, some);

		large = d < large ? d : large;
		for (long i = 0; i < some; i++)
			gs_timer_reset(t[round + i * 7919 % (n - round)], HOUR + i);
	}
	fprintf(stderr,
		"# one of %ld stopped in %lld ns, of %ld in %lld ns, the first in %lld ns\n", few,
		(long long)(small / some), n, (long long)(large / some), (long long)root);
	CHECK_LE(large, 100 * small + ut_limit(some * 100));
	CHECK_LE(root, ut_limit(8 * MS));
	for (long i = 0; i < n; i++) {
		gs_timer_stop(t[i]);
		gs_timer_free(t[i]);
	}
	free(t);
}

/* one of a million is stopped in O(log n), also the first after a million were armed */
TEST(stop_is_logarithmic)
{
	RUN(stop_cost, NULL);
}

static int64_t fire_all(long n)
{
	static long runs; /* atomic */
	int64_t start;

	STORE(runs, 0);
	for (long i = 0; i < n; i++)
		gs_timer_free(gs_after_func(2 * MS, count_run, &runs));
	start = gs_now();
	while (LOAD(runs) < n && gs_now() < start + ut_limit(UT_WAIT * SEC))
		gs_sleep(MS);
	CHECK_EQ(LOAD(runs), n);
	fprintf(stderr, "# %ld fired in %lld us\n", n, (long long)(gs_now() - start) / 1000);
	return gs_now() - start;
}

static void run_fire_many(void *arg)
{
	UNTIL(fire_all(ut_count(FIBERS(100000), 500)) <= ut_limit(5 * SEC));
}

/* a hundred thousand functions due at once need no hundred thousand stacks, and little time */
TEST(fire_many)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	RUN(run_fire_many, NULL);
	getrusage(RUSAGE_SELF, &after);
#if !defined(UT_TSAN) && !defined(UT_ASAN)
	/* KiB: the timers themselves, and not 4 KiB for each */
	EXPECT_LE(after.ru_maxrss - before.ru_maxrss, 64 << 10);
#endif
}

/* ------------------------------------------------------------------------- */
/* Deadlocks                                                                   */

#define ASLEEP "fatal error: all goroutines are asleep - deadlock!"

static void dead_stopped(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);

	gs_timer_stop(t);
	recv(timer_chan(t));
}

static void dead_fired(void *arg)
{
	gs_chan *c = after(MS);

	recv(c);
	recv(c);
}

static void dead_nobody_waits(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);
	gs_chan *c = after(MS), *never = gs_chan_new(0, 0);

	/* it waited for both; then nobody waits for the long one */
	gs_select(GS_RECV(timer_chan(t), NULL), GS_RECV(c, NULL));
	gs_chan_recv(never, NULL);
}

static void dead_func_stopped(void *arg)
{
	gs_timer *t = gs_after_func(HOUR, nothing, NULL);

	gs_timer_stop(t);
	gs_chan_recv(gs_chan_new(0, 0), NULL);
}

static void stop_it(void *arg)
{
	gs_timer_stop(arg);
}

static void dead_stopped_later(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);

	/* armed for the receiver, then stopped under him */
	gs_timer_free(gs_after_func(50 * MS, stop_it, t));
	recv(timer_chan(t));
}

static void live_chan(void *arg)
{
	recv(after(120 * MS));
	_exit(7);
}

static void live_select(void *arg)
{
	gs_select(GS_RECV(after(HOUR), NULL), GS_RECV(after(120 * MS), NULL));
	_exit(7);
}

static void close_it(void *arg)
{
	gs_chan_close(arg);
}

static void live_func(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);

	gs_timer_free(gs_after_func(120 * MS, close_it, c));
	gs_chan_recv(c, NULL);
	_exit(7);
}

static void reset_it(void *arg)
{
	gs_timer_reset(arg, 60 * MS);
}

static void live_reset(void *arg)
{
	gs_timer *t = gs_timer_new(HOUR);

	gs_timer_stop(t);
	gs_timer_free(gs_after_func(60 * MS, reset_it, t));
	recv(timer_chan(t));
	_exit(7);
}

static void expect_dead(struct __test_metadata *_metadata, void (*fn)(void *))
{
	struct ut_child *c = ut_child_run(run_it, (void *)fn, 30 * SEC);

	EXPECT_FALSE(c->timed_out);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, ASLEEP);
	free(c);
}

/* waiting for a timer that is stopped, or fired, is a deadlock, whatever else is armed for nobody */
TEST(deadlock)
{
	expect_dead(_metadata, dead_stopped);
	expect_dead(_metadata, dead_fired);
	expect_dead(_metadata, dead_nobody_waits);
	expect_dead(_metadata, dead_func_stopped);
	expect_dead(_metadata, dead_stopped_later);
}

static void expect_live(struct __test_metadata *_metadata, void (*fn)(void *))
{
	struct ut_child *c = ut_child_run(run_it, (void *)fn, 30 * SEC);

	EXPECT_EQ(7, c->status);
	EXPECT_SAYS_NOT(c, "fatal error");
	free(c);
}

/* waiting for one that is armed, or for what its function will do, is none */
TEST(no_deadlock)
{
	expect_live(_metadata, live_chan);
	expect_live(_metadata, live_select);
	expect_live(_metadata, live_func);
	expect_live(_metadata, live_reset);
}

TEST_HARNESS_MAIN
