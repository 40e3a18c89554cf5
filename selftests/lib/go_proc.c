// SPDX-License-Identifier: GPL-2.0
/*
 * What Go's src/runtime/proc_test.go demands of the scheduler;
 * Documentation/conformance.rst says which test is which.
 */
#include <pthread.h>
#include <sys/prctl.h>

#include <gsched.h>

#include "dump.h"
#include "util.h"

#ifdef UT_TSAN
/* TSan's threads and the posix backend's signals do not go together: no slices there */
#define UT_COOPERATIVE 1
#else
#define UT_COOPERATIVE 0
#endif

static gs_waitgroup all;

/* ------------------------------------------------------------------------- */
/* Yield, and locked fibers                                                    */

static gs_chan_of(bool) stop_it, stopped;

static void yields_until_told(void *arg)
{
	if (arg)
		gs_lock_thread();
	while (gs_select(GS_RECV(stop_it, NULL), GS_DEFAULT) == 1)
		gs_yield();
	gs_send(stopped, true);
}

static void progress_main(void *arg)
{
	stop_it = gs_make(bool, 0);
	stopped = gs_make(bool, 0);
	gs_go(yields_until_told, arg);
	gs_sleep(10 * MS);
	gs_send(stop_it, true);
	gs_recv(stopped, NULL);
	gs_free(stop_it);
	gs_free(stopped);
}

/* one that polls and yields lets another send to it */
TEST(yield_progress)
{
	RUN(progress_main, NULL);
}

/* also when it is locked to its thread */
TEST(yield_locked_progress)
{
	RUN(progress_main, (void *)1);
}

static void yields_and_sleeps(void *arg)
{
	gs_lock_thread();
	for (int i = 0; i < 10; i++) {
		gs_yield();
		gs_sleep(MS);
	}
	gs_send((gs_chan_of(bool))arg, true);
	/* it ends locked */
}

static void sends_locked(void *arg)
{
	gs_lock_thread();
	for (int i = 0; i < 10; i++)
		gs_send((gs_chan_of(bool))arg, true);
	gs_unlock_thread();
}

static void locked_main(void *arg)
{
	gs_chan_of(bool) c = gs_make(bool, 0);

	gs_go(yields_and_sleeps, c);
	CHECK(gs_recv(c, NULL));
	gs_go(sends_locked, c);
	for (int i = 0; i < 10; i++)
		CHECK(gs_recv(c, NULL));
	gs_free(c);
}

/* a locked fiber yields, sleeps, blocks in a channel, and ends without unlocking */
TEST(yield_and_block_locked)
{
	RUN(locked_main, NULL);
}

static int inherited; /* atomic */

#define ODD_SLACK 123457

static void look_at_thread(void *arg)
{
	/* this thread is busy: the next fiber needs another, perhaps a new one */
	gs_blocking_begin();
	if (prctl(PR_GET_TIMERSLACK) == ODD_SLACK)
		ADD(inherited, 1);
	nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
	gs_blocking_end();
}

static void state_main(void *arg)
{
	gs_lock_thread();
	/* what a thread made by this one would inherit */
	CHECK_EQ(prctl(PR_SET_TIMERSLACK, ODD_SLACK), 0);
	for (int i = 0; i < 40; i++)
		gs_wg_go(&all, look_at_thread, NULL);
	gs_wg_wait(&all);
	CHECK_EQ(prctl(PR_GET_TIMERSLACK), ODD_SLACK);
	CHECK_EQ(LOAD(inherited), 0);
	/* it ends locked: nobody gets its thread */
}

/* the state of a locked thread does not spread to threads that the runtime makes */
TEST(lock_state_stays)
{
	ut_set_procs(1);
	RUN(state_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Parallelism                                                                 */

#define WIDTH 4

static uint32_t baton; /* atomic */

/*
 * Bounded, for a missing partner must not hang the test; and no fiber gets in. Threads may,
 * with `polite`: there may be more of them than CPUs.
 */
static bool spin_until(uint32_t want, bool polite)
{
	int64_t end = gs_now() + ut_limit(3 * UT_WAIT * SEC);

	while (LOAD(baton) != want) {
		if (gs_now() > end)
			return false;
		if (polite)
			sched_yield();
	}
	return true;
}

/* All must run at the same time: each waits for the one before it, three times. */
static void passes_baton(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;

	gs_nopreempt_begin();
	for (uint32_t i = 0; i < 3; i++) {
		if (!CHECK(spin_until(WIDTH * i + me, true)))
			break;
		STORE(baton, WIDTH * i + me + 1);
	}
	gs_nopreempt_end();
}

static void starts_two(void *arg)
{
	for (long i = 0; i < 2; i++)
		gs_wg_go(&all, passes_baton, (void *)(2 * (long)arg + i));
}

static void meets_all(void *arg)
{
	gs_nopreempt_begin();
	ADD(baton, 1);
	CHECK(spin_until(WIDTH, true));
	gs_nopreempt_end();
}

static void parallel_main(void *arg)
{
	bool load = (long)arg & 1, netpoll = (long)arg & 2, nested = (long)arg & 4;
	gs_listener *l = NULL;

	for (int round = 0; round < 3; round++) {
		if (load) {
			STORE(baton, 0);
			for (int i = 0; i < WIDTH; i++)
				gs_wg_go(&all, meets_all, NULL);
			gs_wg_wait(&all);
		}
		if (netpoll && !l)
			CHECK_EQ(gs_listen("tcp", "127.0.0.1:0", &l), 0);
		STORE(baton, 0);
		for (long i = 0; i < (nested ? WIDTH / 2 : WIDTH); i++)
			gs_wg_go(&all, nested ? starts_two : passes_baton, (void *)i);
		gs_wg_wait(&all);
	}
	if (l)
		gs_listener_close(l);
}

/* as many fibers as procs run at the same time, on however many CPUs */
TEST(parallelism)
{
	ut_set_procs(WIDTH);
	RUN(parallel_main, NULL);
}

/* the same after a load has gone, with the poller at work, and started by each other */
TEST(parallelism2)
{
	ut_set_procs(WIDTH);
	RUN(parallel_main, (void *)5);
	RUN(parallel_main, (void *)6);
	RUN(parallel_main, (void *)7);
}

/* ------------------------------------------------------------------------- */
/* Fairness                                                                    */

static gs_chan_of(bool) busy, enough;

static void always_ready(void *arg)
{
	while (gs_select(GS_SEND(busy, true), GS_RECV(enough, NULL)) == 0)
		;
}

static void timer_fair_main(void *arg)
{
	gs_recv_only(int64_t) timer;

	busy = gs_make(bool, 0);
	enough = gs_make(bool, 0);
	gs_wg_go(&all, always_ready, NULL);
	gs_wg_go(&all, always_ready, NULL);
	timer = gs_after(20 * MS);
	/* hangs, if the timer is never looked at */
	while (gs_select(GS_RECV(busy, NULL), GS_RECV(timer, NULL)) == 0)
		;
	gs_free(timer);
	gs_close(enough);
	gs_wg_wait(&all);
	gs_free(busy);
	gs_free(enough);
}

/* a timer's channel is chosen beside one that is always ready */
TEST(timer_fairness)
{
	RUN(timer_fair_main, NULL);
}

static void calls_and_selects(void *arg)
{
	gs_recv_only(int64_t) timer = gs_after(20 * MS);
	char c;
	int k;

	do {
		if (read(0, &c, 0) < 0 && errno != EBADF)
			CHECK(!"read");
		k = gs_select(GS_SEND(busy, true), GS_RECV(busy, NULL), GS_RECV(timer, NULL));
	} while (k != 2);
	gs_free(timer);
}

static void timer_fair2_main(void *arg)
{
	busy = gs_make(bool, 0);
	gs_wg_go(&all, calls_and_selects, NULL);
	gs_wg_go(&all, calls_and_selects, NULL);
	gs_wg_wait(&all);
	gs_free(busy);
}

/* the same of two that send to each other and make short system calls */
TEST(timer_fairness2)
{
	RUN(timer_fair2_main, NULL);
}

static int turns_left;

/* Never calls the library while it waits for the other. */
static void takes_turns(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;

	for (int i = 0; i < turns_left; i++) {
		if (!CHECK(spin_until(me, false)))
			return;
		STORE(baton, 1 - me);
	}
}

static void turns_main(void *arg)
{
	turns_left = 5;
	STORE(baton, 0);
	gs_wg_go(&all, takes_turns, (void *)0);
	gs_wg_go(&all, takes_turns, (void *)1);
	gs_wg_wait(&all);
}

/* two that only look at memory are preempted for each other, on one proc too */
TEST(preemption)
{
	if (UT_COOPERATIVE)
		ut_set_procs(2);
	RUN(turns_main, NULL);
}

static gs_chan_of(bool) hog_wake, light_wake, hogs_end;
static volatile long hog_count, light_count;

static void run_pair(gs_chan_of(bool) wake, long limit, volatile long *count)
{
	while (gs_select(GS_RECV(hogs_end, NULL), GS_RECV(wake, NULL)) == 1) {
		for (long i = 0; i < limit; i++)
			++*count;
		if (gs_select(GS_RECV(hogs_end, NULL), GS_SEND(wake, true)) == 0)
			return;
	}
}

static void hog_pair(void *arg)
{
	run_pair(hog_wake, 1000000, &hog_count);
}

static void light_pair(void *arg)
{
	run_pair(light_wake, 1000, &light_count);
}

static void hogs_main(void *arg)
{
	double ratio = 0;

	/* a pair has one slice between them; what happens to the machine, not to each attempt */
	for (int attempt = 0; attempt < 40; attempt++) {
		hog_wake = gs_make(bool, 0);
		light_wake = gs_make(bool, 0);
		hogs_end = gs_make(bool, 0);
		hog_count = 0;
		light_count = 0;
		for (int i = 0; i < 2; i++) {
			gs_wg_go(&all, hog_pair, NULL);
			gs_wg_go(&all, light_pair, NULL);
		}
		gs_send(hog_wake, true);
		gs_send(light_wake, true);
		gs_sleep(ut_limit(150 * MS));
		gs_close(hogs_end);
		gs_wg_wait(&all);
		ratio = (double)hog_count / (double)(light_count + 1);
		gs_free(hog_wake);
		gs_free(light_wake);
		gs_free(hogs_end);
		if (ratio < 20 && ratio > 1 / 20.)
			return;
#if defined(UT_TSAN) || defined(UT_ASAN)
		/* no slices with the one; the light pair's time is the sanitizer's with the other */
		return;
#endif
	}
	ut_fail(__FILE__, __LINE__, "hogs had %g times the time of the others", ratio);
}

/* two that compute long and hand over, and two that compute little: each pair has its slices */
TEST(ping_pong_hog)
{
	ut_set_procs(1);
	RUN(hogs_main, NULL);
}

static long rounds; /* atomic */
static int enough_rounds;

static void relay(void *arg)
{
	gs_chan_of(bool) *c = arg;

	while (gs_recv(c[0], NULL) && !LOAD(enough_rounds)) {
		ADD(rounds, 1);
		gs_send(c[1], true);
	}
	gs_close(c[1]);
}

static void beside_pair(void *arg)
{
	gs_chan_of(bool) c[4] = {gs_make(bool, 1), gs_make(bool, 1)};
	long n = ut_count(500, 50), worst;

	c[2] = c[1];
	c[3] = c[0];
	gs_wg_go(&all, relay, c);
	gs_wg_go(&all, relay, c + 2);
	gs_send(c[0], true);
	UNTIL(LOAD(rounds) > 1000);
	/* who blocks in a page fault is away for as long as the machine likes: not each time */
	for (int attempt = 0; attempt < 20; attempt++) {
		worst = 0;
		for (long i = 0; i < n; i++) {
			long before = LOAD(rounds);

			gs_yield();
			before = LOAD(rounds) - before;
			if (before > worst)
				worst = before;
		}
		if (worst <= 4096 * 6)
			break;
	}
	/* a slice, or 4096 schedulings if that is less: a few rounds of slack */
	CHECK_LE(worst, 4096 * 6);
	STORE(enough_rounds, 1);
	gs_wg_wait(&all);
	gs_free(c[0]);
	gs_free(c[1]);
}

/* two that always make each other ready do not keep the proc from a third */
TEST(ready_loop_does_not_starve)
{
	ut_set_procs(1);
	RUN(beside_pair, NULL);
}

/* ------------------------------------------------------------------------- */
/* System calls, procs, numbers                                                */

static long call_ns;
static int calls_stop, calls_started; /* atomic */

static void short_calls(void *arg)
{
	ADD(calls_started, 1);
	while (!LOAD(calls_stop)) {
		gs_blocking_begin();
		ut_burn(call_ns);
		gs_blocking_end();
	}
}

static void calls_main(void *arg)
{
	static const long durations[] = {10000, 100000, 1000000};

	for (int k = 0; k < 3; k++)
		for (long round = 0; round < ut_count(4, 1); round++) {
			call_ns = durations[k];
			STORE(calls_stop, 0);
			STORE(calls_started, 0);
			for (int i = 0; i < 8; i++)
				gs_wg_go(&all, short_calls, NULL);
			/* each is let run, though the others never wait for anything */
			while (LOAD(calls_started) < 8 &&
			       UNTIL_NS(LOAD(calls_started) == 8, UT_WAIT * SEC))
				;
			CHECK_EQ(LOAD(calls_started), 8);
			STORE(calls_stop, 1);
			gs_wg_wait(&all);
		}
}

/* fibers in short system calls are preempted for others */
TEST(preemption_after_syscall)
{
	ut_set_procs(2);
	RUN(calls_main, NULL);
}

static long crowd; /* atomic */

static void yields_a_little(void *arg)
{
	for (int i = 0; i < 10; i++)
		gs_yield();
	ADD(crowd, 1);
}

static void big_main(void *arg)
{
	long n = ut_count(20000, 1000);

	CHECK_EQ(gs_max_procs(0), 256);
	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(yields_a_little, NULL), 0);
	UNTIL(LOAD(crowd) == n);
}

/* a huge number of procs: as many as there can be, and they work */
TEST(big_maxprocs)
{
	ut_set_procs(1024);
	RUN(big_main, NULL);
}

static void parked(void *arg)
{
	gs_recv((gs_chan_of(bool))arg, NULL);
}

static int count_in_dump(void)
{
	char *text = ut_dump();
	int n = ut_occurs(text, "\nfiber ") + !strncmp(text, "fiber ", 6);

	free(text);
	return n;
}

static void numbers_main(void *arg)
{
	gs_chan_of(bool) c = gs_make(bool, 0);

	CHECK_EQ(gs_num_fibers(), 1u);
	for (int i = 0; i < 20; i++)
		gs_wg_go(&all, parked, c);
	UNTIL(gs_num_fibers() == 21 && count_in_dump() == 21);
	gs_close(c);
	gs_wg_wait(&all);
	UNTIL(gs_num_fibers() == 1 && count_in_dump() == 1);
	gs_free(c);
}

/* the number of fibers is the number that a dump shows */
TEST(num_fibers_as_dumped)
{
	RUN(numbers_main, NULL);
}

TEST_HARNESS_MAIN
