// SPDX-License-Identifier: GPL-2.0
/* gs_waitgroup: it waits, it can be used again, and Go's texts where it is misused. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "util.h"

static gs_waitgroup wg;
static int ran; /* atomic */

static void work(void *arg)
{
	for (intptr_t i = 0; i < (intptr_t)arg; i++)
		gs_yield();
	ADD(ran, 1);
}

static void work_done(void *arg)
{
	work(arg);
	gs_wg_done(&wg);
}

static void waits_main(void *arg)
{
	long rounds = ut_count(500, 20);

	gs_wg_wait(&wg); /* zero: at once */
	/* the same one again and again: as soon as wait returned it may be used */
	for (long r = 0; r < rounds; r++) {
		int n = 1 + (int)(r % 40);

		STORE(ran, 0);
		gs_wg_add(&wg, n);
		for (int i = 0; i < n; i++)
			CHECK_EQ(gs_go(work_done, (void *)(intptr_t)(i % 4)), 0);
		gs_wg_wait(&wg);
		CHECK_EQ(ran, n);
	}
	for (long r = 0; r < rounds; r++) {
		STORE(ran, 0);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(gs_wg_go(&wg, work, (void *)(intptr_t)(i % 3)), 0);
		gs_wg_wait(&wg);
		CHECK_EQ(ran, 10);
	}
}

/* wait returns when all are done, and the group is as new */
TEST(waits)
{
	RUN(waits_main, NULL);
}

static gs_waitgroup other;

static void pass(void *arg)
{
	gs_wg_done(&wg);
	gs_wg_wait(&other);
	ADD(ran, 1);
}

static void barrier_main(void *arg)
{
	for (int round = 0; round < 8; round++) {
		int n = 16;

		STORE(ran, 0);
		gs_wg_add(&wg, n);
		gs_wg_add(&other, n);
		for (int i = 0; i < n; i++)
			CHECK_EQ(gs_go(pass, NULL), 0);
		gs_wg_wait(&wg);
		for (int i = 0; i < n; i++) {
			ut_let_run(3);
			CHECK_EQ(LOAD(ran), 0);
			gs_wg_done(&other);
		}
		UNTIL(LOAD(ran) == n);
	}
}

/* Go's TestWaitGroup: nobody passes the second group before its last done, then all do */
TEST(barrier)
{
	RUN(barrier_main, NULL);
}

static int round_begun, round_ended; /* atomic; they order nothing for the waiter */
static long plain;		     /* the waitgroup orders it */

/* Now and then: the other one may stand behind us on this CPU. */
static void spin(unsigned *turns)
{
	if (++*turns % 4096 == 0)
		sched_yield();
}

static void *done_thread(void *arg)
{
	unsigned turns = 0;

	for (int r = 1, begun;; r++) {
		while ((begun = __atomic_load_n(&round_begun, __ATOMIC_ACQUIRE)) != r) {
			if (begun < 0)
				return NULL;
			spin(&turns);
		}
		plain = r;
		gs_wg_done(&wg);
		while (__atomic_load_n(&round_ended, __ATOMIC_RELAXED) != r)
			spin(&turns);
	}
}

/* wait meets done at every instruction: what was done before done is seen after wait */
TEST(orders)
{
	int rounds = (int)ut_count(400000, 20000);
	int64_t end = gs_now() + 60 * SEC;
	pthread_t t;

	if (ut_cpus() < 2)
		SKIP(return, "the two must run at the same time");
	ASSERT_EQ(0, pthread_create(&t, NULL, done_thread, NULL));
	/* fewer where others leave the two no CPU each: a round takes slices then */
	for (int r = 1; r <= rounds && (r % 64 || gs_now() < end); r++) {
		gs_wg_add(&wg, 1);
		__atomic_store_n(&round_begun, r, __ATOMIC_RELEASE);
		for (volatile int i = 0; i < r % 64; i++)
			;
		gs_wg_wait(&wg);
		ASSERT_EQ(plain, r);
		__atomic_store_n(&round_ended, r, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&round_begun, -1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
}

static void leaves(void *arg)
{
	ADD(ran, 1);
	gs_exit();
}

static void recovers(void *arg)
{
	gs_recover();
}

static void panics(void *arg)
{
	gs_defer(recovers, NULL);
	ADD(ran, 1);
	gs_panic("recovered");
}

static void leaves_main(void *arg)
{
	for (int i = 0; i < 10; i++)
		gs_wg_go(&wg, i % 2 ? leaves : panics, NULL);
	gs_wg_wait(&wg);
	CHECK_EQ(ran, 10);
}

/* gs_wg_go counts a fiber done however it ends */
TEST(go_that_leaves)
{
	RUN(leaves_main, NULL);
}

static int woken; /* atomic */

static void waiter(void *arg)
{
	gs_wg_wait(&wg);
	CHECK_EQ(LOAD(ran), 1);
	ADD(woken, 1);
}

static void *waiter_thread(void *arg)
{
	waiter(arg);
	return NULL;
}

static void waiters_main(void *arg)
{
	pthread_t t[3];

	gs_wg_add(&wg, 2);
	for (int i = 0; i < 100; i++)
		gs_go(waiter, NULL);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, waiter_thread, NULL), 0);
	for (int i = 0; i < 50; i++)
		gs_yield();
	gs_wg_add(&wg, -1);
	CHECK_EQ(LOAD(woken), 0);
	STORE(ran, 1);
	gs_wg_done(&wg);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	UNTIL(LOAD(woken) == 103);
}

/* any number may wait, fibers and threads: all are woken, none before */
TEST(many_waiters)
{
	RUN(waiters_main, NULL);
}

struct own {
	gs_waitgroup wg;
	int value;
};

static void set_done(void *arg)
{
	struct own *o = arg;

	o->value = 5;
	gs_wg_done(&o->wg);
}

static void *set_done_thread(void *arg)
{
	set_done(arg);
	return NULL;
}

static void free_main(void *arg)
{
	long n = ut_count(20000, 500);

	for (long i = 0; i < n; i++) {
		struct own *o = calloc(1, sizeof(*o));
		pthread_t t;

		gs_wg_add(&o->wg, 1);
		if (i % 100 == 0)
			CHECK_EQ(pthread_create(&t, NULL, set_done_thread, o), 0);
		else
			gs_go(set_done, o);
		gs_wg_wait(&o->wg);
		CHECK_EQ(o->value, 5);
		memset(o, 0x5a, sizeof(*o));
		free(o);
		if (i % 100 == 0)
			pthread_join(t, NULL);
	}
}

/* the only waiter may free it, though the last done still returns (ASan looks on) */
TEST(freed_after_wait)
{
	RUN(free_main, NULL);
}

static void add_done(void *arg)
{
	struct own *o = arg;

	ADD(o->value, 1);
	gs_wg_done(&o->wg);
}

static void fresh_main(void *arg)
{
	for (long i = ut_count(20000, 500); i > 0; i--) {
		struct own o = {{0}, 0};

		gs_wg_add(&o.wg, 1);
		gs_go(add_done, &o);
		/* the first one may be done by now: from zero again */
		gs_wg_add(&o.wg, 1);
		gs_go(add_done, &o);
		gs_wg_wait(&o.wg);
		CHECK_EQ(LOAD(o.value), 2);
	}
}

/* Go's TestWaitGroupRace: of two that finish while one waits, both are waited for */
TEST(race)
{
	RUN(fresh_main, NULL);
}

static void negative(void *arg)
{
	gs_waitgroup g = {0};

	gs_wg_add(&g, 2);
	gs_wg_done(&g);
	gs_wg_add(&g, -2);
}

static void wait_forever(void *arg)
{
	STORE(ran, 1);
	gs_wg_wait(&wg);
}

/* wg has a count of one, and a fiber that waits for it. */
static void let_one_wait(void)
{
	uint64_t alone;

	gs_wg_add(&wg, 1);
	alone = LOAD(wg.state);
	gs_go(wait_forever, NULL);
	UNTIL(LOAD(ran) && LOAD(wg.state) != alone);
	/* it is counted; now it parks */
	for (int i = 0; i < 10; i++)
		gs_yield();
}

static void misuse_main(void *arg)
{
	let_one_wait();
	/* down to zero and up again behind the back of wait: state as if it raced */
	__atomic_fetch_sub(&wg.state, 2, __ATOMIC_SEQ_CST);
	gs_wg_add(&wg, 1);
}

static void add_beside_wait(void *arg)
{
	ut_set_procs(1);
	gs_run(misuse_main, NULL);
}

static void reuse_main(void *arg)
{
	let_one_wait();
	/* the waiter is ready, and must not run in between: a page fault would let it */
	gs_nopreempt_begin();
	gs_wg_done(&wg);
	gs_wg_add(&wg, 1);
	gs_nopreempt_end();
	/* ends with the process */
	UNTIL_NS(false, UT_WAIT * SEC);
}

static void reuse(void *arg)
{
	ut_set_procs(1);
	gs_run(reuse_main, NULL);
}

/* a negative count, add beside wait, and use before wait returned panic with Go's texts */
TEST(misuse)
{
	static const struct {
		void (*fn)(void *);
		const char *text;
	} cases[] = {
		{negative, "panic: sync: negative WaitGroup counter\n"},
		{add_beside_wait,
		 "panic: sync: WaitGroup misuse: Add called concurrently with Wait\n"},
		{reuse, "panic: sync: WaitGroup is reused before previous Wait has returned\n"},
	};

	for (int i = 0; i < 3; i++) {
		struct ut_child *c = ut_child_run(cases[i].fn, NULL, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, cases[i].text);
		free(c);
	}
}

static void check_text(void *arg)
{
	const char *text = gs_recover();

	CHECK(text && strcmp(text, "sync: negative WaitGroup counter") == 0);
	ADD(ran, 1);
}

static void recovered_main(void *arg)
{
	gs_defer(check_text, NULL);
	gs_wg_add(&wg, 1);
	gs_wg_done(&wg);
	gs_wg_done(&wg);
	CHECK(!"reached");
}

/* Go's TestWaitGroupMisuse: it is a panic, to be recovered */
TEST(misuse_recovered)
{
	RUN(recovered_main, NULL);
	EXPECT_EQ(1, ran);
}

TEST_HARNESS_MAIN
