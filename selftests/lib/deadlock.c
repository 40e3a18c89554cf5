// SPDX-License-Identifier: GPL-2.0
/* The deadlock report: its text, what it lists, when it comes and when it must not. */
#include <gsched/chan.h>
#include <gsched/select.h>
#include <gsched/sync.h>
#include <pthread.h>

#include "util.h"

#define ASLEEP "fatal error: all goroutines are asleep - deadlock!"
#define GOEXIT "fatal error: no goroutines (main called runtime.Goexit) - deadlock!"
#define NO_REPORT "fatal error"

/* names in backtraces: visible, so that -rdynamic shows them */
#define NAMED __attribute__((noinline, visibility("default")))

NAMED void ut_marker_receive(void)
{
	gs_chan_recv(NULL, NULL);
	__asm__ volatile("");
}

static void park_nil(void *arg)
{
	ut_marker_receive();
}

static void run_nil(void *arg)
{
	gs_run(park_nil, NULL);
}

static void expect_report(struct __test_metadata *_metadata, struct ut_child *c, const char *text)
{
	EXPECT_FALSE(c->timed_out);
	EXPECT_EQ(2, c->status);
	EXPECT_EQ(1, ut_occurs(c->err, "fatal error"));
	EXPECT_SAYS(c, text);
	EXPECT_EQ(0, strncmp(c->err, "fatal error", 11));
	free(c);
}

static void expect_quiet(struct __test_metadata *_metadata, struct ut_child *c, int status)
{
	EXPECT_EQ(status, c->status);
	EXPECT_SAYS_NOT(c, NO_REPORT);
	free(c);
}

/* As ut_child_run, and again if that took too long: so it may, for the machine's sake. */
static struct ut_child *run_in_time(void (*fn)(void *), void *arg, int64_t most)
{
	struct ut_child *c = NULL;

	for (int i = 0; i < 10; i++) {
		free(c);
		c = ut_child_run(fn, arg, UT_WAIT * SEC);
		if (c->timed_out || c->took <= most)
			break;
	}
	return c;
}

/* the main fiber alone, for ever in a nil channel: Go's text, exit status 2, and soon */
TEST(one_fiber)
{
	int64_t most = ut_limit(3 * SEC);
	struct ut_child *c = run_in_time(run_nil, NULL, most);

	EXPECT_LE(c->took, most);
	expect_report(_metadata, c, ASLEEP);
}

NAMED void ut_marker_send(void)
{
	gs_chan_send(NULL, NULL);
	__asm__ volatile("");
}

static void f_send(void *arg)
{
	ut_marker_send();
}

NAMED void ut_marker_select(void)
{
	gs_select_cases(NULL, 0);
	__asm__ volatile("");
}

static void f_select(void *arg)
{
	ut_marker_select();
}

static gs_mutex mutex;

NAMED void ut_marker_mutex(void)
{
	gs_mutex_lock(&mutex);
	__asm__ volatile("");
}

static void f_mutex(void *arg)
{
	ut_marker_mutex();
}

static gs_waitgroup group;

NAMED void ut_marker_group(void)
{
	gs_wg_wait(&group);
	__asm__ volatile("");
}

static void f_group(void *arg)
{
	ut_marker_group();
}

static void f_recv(void *arg)
{
	gs_chan_recv(gs_chan_new(4, 0), NULL);
}

static void go_named(void (*fn)(void *), const char *name)
{
	struct gs_attr attr = {.name = name};

	if (gs_go_attr(&attr, fn, NULL))
		_exit(9);
}

static void many_ways(void *arg)
{
	gs_mutex_lock(&mutex);
	gs_wg_add(&group, 1);
	go_named(f_send, "sender");
	go_named(f_select, "selector");
	go_named(f_mutex, "locker");
	go_named(f_group, "waiter");
	go_named(f_recv, "receiver");
	ut_marker_receive();
}

static void run_many_ways(void *arg)
{
	gs_run(many_ways, NULL);
}

/* every fiber is listed, with id, name, wait reason and a backtrace that names functions */
TEST(lists_all)
{
	static const char *const says[] = {
		"[chan receive (nil chan)]",
		"[chan send (nil chan)]",
		"[select (no cases)]",
		"[sync.Mutex.Lock]",
		"[sync.WaitGroup.Wait]",
		"[chan receive]",
		"main",
		"sender",
		"selector",
		"locker",
		"waiter",
		"receiver",
	};
	static const char *const functions[] = {"ut_marker_receive", "ut_marker_send",
						"ut_marker_select", "ut_marker_mutex",
						"ut_marker_group"};
	struct ut_child *c = ut_child_run(run_many_ways, NULL, UT_WAIT * SEC);

	EXPECT_EQ(6, ut_occurs(c->err, "\nfiber "));
	for (size_t i = 0; i < ARRAY_SIZE(says); i++)
		EXPECT_SAYS(c, says[i]);
	/* without -rdynamic there are addresses only */
	if (strstr(c->err, "ut_marker"))
		for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
			EXPECT_SAYS(c, functions[i]);
	else
		EXPECT_GE(ut_occurs(c->err, "0x"), 6 * 3);
	expect_report(_metadata, c, ASLEEP);
}

static void f_park(void *arg)
{
	ut_marker_receive();
}

static void crowd(void *arg)
{
	for (long i = 0; i < (long)arg; i++)
		gs_go(f_park, NULL);
	ut_marker_receive();
}

static void run_crowd(void *arg)
{
	gs_run(crowd, arg);
}

/* two hundred blocked fibers: each is listed once */
TEST(lists_many)
{
	struct ut_child *c = ut_child_run(run_crowd, (void *)200, 60 * SEC);

	EXPECT_EQ(201, ut_occurs(c->err, "\nfiber "));
	expect_report(_metadata, c, ASLEEP);
}

static void leave_main(void *arg)
{
	gs_go(f_park, NULL);
	gs_exit();
}

static void run_leave_main(void *arg)
{
	gs_run(leave_main, NULL);
}

/* the main fiber left by gs_exit, another is blocked: Go's other text */
TEST(main_left_others_blocked)
{
	expect_report(_metadata, ut_child_run(run_leave_main, NULL, UT_WAIT * SEC), GOEXIT);
}

static void leave_alone(void *arg)
{
	gs_exit();
}

static void run_leave_alone(void *arg)
{
	gs_run(leave_alone, NULL);
}

/* the main fiber left by gs_exit and nobody is there */
TEST(main_left_nobody)
{
	expect_report(_metadata, ut_child_run(run_leave_alone, NULL, UT_WAIT * SEC), GOEXIT);
}

static void exit_0(void *arg)
{
	gs_sleep(100 * MS);
	_exit(0);
}

static void leave_to_worker(void *arg)
{
	gs_go(exit_0, NULL);
	gs_exit();
}

static void run_leave_to_worker(void *arg)
{
	gs_run(leave_to_worker, NULL);
	_exit(5); /* Go's main does not return either */
}

/* after the main fiber's gs_exit the others go on, and gs_run does not return */
TEST(main_left_others_run)
{
	expect_quiet(_metadata, ut_child_run(run_leave_to_worker, NULL, UT_WAIT * SEC), 0);
}

/* ------------------------------------------------------------------------- */
/* When it must not come, or not yet                                           */

static void sleep_once(void *arg)
{
	gs_sleep(400 * MS);
}

static void timer_then_block(void *arg)
{
	gs_go(sleep_once, NULL);
	ut_marker_receive();
}

static void run_timer_then_block(void *arg)
{
	gs_run(timer_then_block, NULL);
}

/* no report while a fiber sleeps; after it ended there is one */
TEST(not_while_timer)
{
	int64_t most = 400 * MS + ut_limit(3 * SEC);
	struct ut_child *c = run_in_time(run_timer_then_block, NULL, most);

	EXPECT_GE(c->took, 400 * MS);
	EXPECT_LE(c->took, most);
	expect_report(_metadata, c, ASLEEP);
}

static void sleep_long(void *arg)
{
	gs_sleep(arg ? (int64_t)(intptr_t)arg : INT64_MAX);
}

static void endless_timer(void *arg)
{
	gs_go(sleep_long, NULL);
	ut_marker_receive();
}

static void run_endless_timer(void *arg)
{
	alarm(2); /* the end of this child: nothing else ends it */
	gs_run(endless_timer, NULL);
}

/* a timer in centuries is a timer */
TEST(not_while_endless_timer)
{
	expect_quiet(_metadata, ut_child_run(run_endless_timer, NULL, UT_WAIT * SEC),
		     128 + SIGALRM);
}

static void *thread_ends(void *arg)
{
	gs_sleep(700 * MS);
	return NULL;
}

static void run_beside_thread(void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread_ends, NULL))
		_exit(9);
	pthread_detach(t);
	gs_run(park_nil, NULL);
}

/* another thread might wake somebody: the report comes within seconds after it ended */
TEST(not_while_thread)
{
	int64_t most = 700 * MS + ut_limit(3 * SEC);
	struct ut_child *c = run_in_time(run_beside_thread, NULL, most);

	EXPECT_GE(c->took, 700 * MS);
	EXPECT_LE(c->took, most);
	expect_report(_metadata, c, ASLEEP);
}

static gs_chan *chan;

static void *thread_sends(void *arg)
{
	int v = 1;

	gs_sleep(1500 * MS);
	gs_chan_send(chan, &v);
	return NULL;
}

static void receive(void *arg)
{
	int v;

	gs_chan_recv(chan, &v);
}

static void run_until_sent(void *arg)
{
	pthread_t t;

	chan = gs_chan_new(sizeof(int), 0);
	if (pthread_create(&t, NULL, thread_sends, NULL))
		_exit(9);
	pthread_detach(t);
	gs_run(receive, NULL);
	_exit(3);
}

/* a thread that does wake the fiber, late */
TEST(thread_wakes)
{
	expect_quiet(_metadata, ut_child_run(run_until_sent, NULL, UT_WAIT * SEC), 3);
}

static void block_in_kernel(void *arg)
{
	struct timespec ts = {.tv_nsec = 500 * MS};

	if (arg)
		gs_blocking_begin();
	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
	if (arg)
		gs_blocking_end();
}

static void kernel_then_block(void *arg)
{
	gs_go(block_in_kernel, arg);
	ut_marker_receive();
}

static void run_kernel_then_block(void *arg)
{
	gs_run(kernel_then_block, arg);
}

/* a fiber blocked in the kernel, with the hint and without: no report before it is back */
TEST(not_while_in_kernel)
{
	for (long hint = 0; hint < 2; hint++) {
		int64_t most = 500 * MS + ut_limit(3 * SEC);
		struct ut_child *c = run_in_time(run_kernel_then_block, (void *)hint, most);

		EXPECT_GE(c->took, 500 * MS);
		EXPECT_LE(c->took, most);
		expect_report(_metadata, c, ASLEEP);
	}
}

static void burn_long(void *arg)
{
	ut_burn(500 * MS);
}

static void burn_then_block(void *arg)
{
	gs_go(burn_long, NULL);
	ut_marker_receive();
}

static void run_burn_then_block(void *arg)
{
	gs_run(burn_then_block, NULL);
}

/* nor while a fiber computes */
TEST(not_while_running)
{
	struct ut_child *c = ut_child_run(run_burn_then_block, NULL, UT_WAIT * SEC);

	EXPECT_GE(c->took, 500 * MS);
	expect_report(_metadata, c, ASLEEP);
}

static void no_run(void *arg)
{
	if (gs_go(f_park, NULL))
		_exit(9);
	gs_sleep(1500 * MS);
	_exit(4);
}

/* no report while no gs_run is active */
TEST(not_without_run)
{
	expect_quiet(_metadata, ut_child_run(no_run, NULL, UT_WAIT * SEC), 4);
}

static void spawn_parked(void *arg)
{
	gs_go(f_park, NULL);
	gs_yield();
}

static void after_run(void *arg)
{
	gs_run(spawn_parked, NULL);
	gs_sleep(300 * MS);
	/* the parked one is no reason either way */
	gs_run(spawn_parked, NULL);
	if (arg)
		gs_run(park_nil, NULL);
	_exit(4);
}

/* fibers left behind by a gs_run that returned are no deadlock; in the next one they may be */
TEST(between_runs)
{
	struct ut_child *c;

	expect_quiet(_metadata, ut_child_run(after_run, NULL, UT_WAIT * SEC), 4);
	c = ut_child_run(after_run, (void *)1, UT_WAIT * SEC);
	EXPECT_EQ(3, ut_occurs(c->err, "\nfiber "));
	expect_report(_metadata, c, ASLEEP);
}

static void *run_short(void *arg)
{
	gs_run(sleep_once, NULL);
	return NULL;
}

static void two_runs(void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, run_short, NULL))
		_exit(9);
	pthread_detach(t);
	gs_run(park_nil, NULL);
}

/* two gs_runs: one blocks, the other still sleeps, then its thread ends */
TEST(two_runs_one_blocked)
{
	int64_t most = 400 * MS + ut_limit(4 * SEC);
	struct ut_child *c = run_in_time(two_runs, NULL, most);

	EXPECT_GE(c->took, 400 * MS);
	EXPECT_LE(c->took, most);
	expect_report(_metadata, c, ASLEEP);
}

static void *run_blocked(void *arg)
{
	gs_run(park_nil, NULL);
	return NULL;
}

static void both_blocked(void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, run_blocked, NULL))
		_exit(9);
	pthread_detach(t);
	gs_run(park_nil, NULL);
}

/* both blocked: the threads that wait in gs_run wake nobody */
TEST(two_runs_both_blocked)
{
	struct ut_child *c = ut_child_run(both_blocked, NULL, UT_WAIT * SEC);

	EXPECT_EQ(2, ut_occurs(c->err, "\nfiber "));
	expect_report(_metadata, c, ASLEEP);
}

static void idle_now_and_then(void *arg)
{
	unsigned x = 1;

	/* pauses around the 20 ms after which an idle worker asks */
	for (int i = 0; i < 40; i++) {
		struct timespec ts;

		x = x * 1103515245 + 12345;
		ts = (struct timespec){.tv_nsec = 15 * MS + (x >> 16) % 10 * MS};
		if (i % 3 == 0) {
			gs_blocking_begin();
			nanosleep(&ts, NULL);
			gs_blocking_end();
		} else if (i % 3 == 1) {
			nanosleep(&ts, NULL);
		} else {
			gs_sleep(ts.tv_nsec);
		}
	}
	_exit(6);
}

static void run_idle(void *arg)
{
	gs_run(crowd, (void *)5);
}

static void false_alarm(void *arg)
{
	if (gs_go(idle_now_and_then, NULL))
		_exit(9);
	run_idle(NULL);
}

/* no false alarm while one fiber comes and goes from kernel and timers among blocked ones */
TEST(no_false_alarm)
{
	expect_quiet(_metadata, ut_child_run(false_alarm, NULL, 60 * SEC), 6);
}

static void soon(void *arg)
{
	for (int i = 0; i < 5; i++)
		gs_sleep(MS);
}

static void after_load(void *arg)
{
	for (int i = 0; i < 2000; i++)
		gs_go(soon, NULL);
	ut_marker_receive();
}

static void run_after_load(void *arg)
{
	gs_run(after_load, NULL);
}

/* after a busy time on all procs the report still comes, again and again */
TEST(after_load_always)
{
	for (long i = 0; i < ut_count(20, 3); i++)
		expect_report(_metadata, ut_child_run(run_after_load, NULL, UT_WAIT * SEC), ASLEEP);
}

TEST_HARNESS_MAIN
