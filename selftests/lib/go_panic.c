// SPDX-License-Identifier: GPL-2.0
/*
 * What Go's src/runtime/crash_test.go (testdata/testprog) and defer_test.go demand of
 * deferred calls, panics, recover and Goexit; Documentation/conformance.rst says which test
 * is which.
 */
#include <gsched.h>

#include "util.h"

static void in_run(void *arg)
{
	void (*fn)(void *);

	memcpy(&fn, arg, sizeof(fn));
	gs_run(fn, NULL);
	_exit(55);
}

/* fn as gs_run's fiber in a process of its own: status 2, and stderr begins with that */
static void dies(struct __test_metadata *_metadata, void (*fn)(void *), const char *text)
{
	struct ut_child *c = ut_child_run(in_run, &fn, 60 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_EQ(0, strncmp(c->err, text, strlen(text)))
	{
		TH_LOG("instead of:\n%s\n%.2000s", text, c->err);
	}
	free(c);
}

static void do_panic(void *arg)
{
	gs_panic("%s", (const char *)arg);
}

/* fmt.Println(recover()) */
static void print_recovered(void *arg)
{
	const char *text = gs_recover();

	dprintf(2, "%s\n", text ? text : "nil");
}

static void must_recover(void *arg)
{
	const char *text = gs_recover();

	if (!text || strcmp(text, arg))
		ut_fail(__FILE__, __LINE__, "recovered \"%s\", not \"%s\"", text ? text : "nil",
			(const char *)arg);
}

static void must_not_recover(void *arg)
{
	CHECK(!gs_recover());
}

/* ------------------------------------------------------------------------- */
/* testprog: recursive panics                                                  */

static void wrap(void *arg)
{
	const char *text = gs_recover();

	if (text)
		gs_panic("wrap: %s", text);
}

static int panics_bad(void)
{
	GS_DEFER_SCOPE;
	volatile char x[8192];

	x[0] = 0;
	gs_defer(wrap, NULL);
	gs_panic("bad");
	return x[0];
}

static int recovers_wrapped(void)
{
	GS_DEFER_SCOPE;
	gs_defer(print_recovered, NULL);
	panics_bad();
	return 1;
}

static void recursive1(void *arg)
{
	recovers_wrapped();
	gs_panic("again");
}

static int first_and_second(void)
{
	GS_DEFER_SCOPE;
	gs_defer(do_panic, "second panic");
	gs_defer(print_recovered, NULL);
	gs_panic("first panic");
	return 1;
}

static int recovers_second(void)
{
	GS_DEFER_SCOPE;
	gs_defer(print_recovered, NULL);
	first_and_second();
	return 1;
}

static void recursive2(void *arg)
{
	recovers_second();
	gs_panic("third panic");
}

static void recover_any(void *arg)
{
	gs_recover();
}

static void panics_and_recovers(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_any, NULL);
	gs_panic("second panic");
}

static void recursive3(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(panics_and_recovers, NULL);
	gs_panic("first panic");
}

static void recover_then_panic(void *arg)
{
	gs_recover();
	gs_panic("second panic");
}

static void recursive4(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_then_panic, NULL);
	gs_panic("first panic");
}

static void print_and_panic(void *arg)
{
	print_recovered(NULL);
	gs_panic("second panic");
}

static void nothing(void *arg) {}

static int three(void)
{
	GS_DEFER_SCOPE;
	gs_defer(nothing, NULL);
	gs_defer(print_recovered, NULL);
	gs_defer(print_and_panic, NULL);
	gs_panic("first panic");
	return 1;
}

static int two(void)
{
	GS_DEFER_SCOPE;
	gs_defer(nothing, NULL);
	return three();
}

static void recursive5(void *arg)
{
	two();
	gs_panic("third panic");
}

/* recovered and raised again, at each of the places where that can be */
TEST(recursive_panics)
{
	dies(_metadata, recursive1, "wrap: bad\npanic: again\n\n");
	dies(_metadata, recursive2, "first panic\nsecond panic\npanic: third panic\n\n");
	dies(_metadata, recursive3, "panic: first panic\n\n");
	dies(_metadata, recursive4, "panic: first panic [recovered]\n\tpanic: second panic\n\n");
	dies(_metadata, recursive5, "first panic\nsecond panic\npanic: third panic\n\n");
}

/* ------------------------------------------------------------------------- */
/* testprog: Goexit                                                            */

#define GOEXIT "fatal error: no goroutines (main called runtime.Goexit) - deadlock!\n"

static void exits(void *arg)
{
	gs_exit();
}

static void exit_in_panic(void *arg)
{
	gs_defer(exits, NULL);
	gs_panic("hello");
}

static void goexit_in_panic(void *arg)
{
	gs_go(exit_in_panic, NULL);
	gs_exit();
}

static void panic_after_exit(void *arg)
{
	gs_defer(do_panic, "hello");
	gs_exit();
}

static void recovers_hello(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "hello");
	gs_panic("hello");
}

static void recovered_after_exit(void *arg)
{
	gs_defer(recovers_hello, NULL);
	gs_exit();
}

static int recover_before_exit_in(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "hello");
	gs_defer(do_panic, "hello");
	gs_exit();
	return 1;
}

static void recover_before_exit(void *arg)
{
	recover_before_exit_in();
	dprintf(2, "came back\n");
}

static void recover_before_exit2(void *arg)
{
	for (int i = 0; i < 2; i++)
		gs_defer(nothing, NULL);
	recover_before_exit_in();
	dprintf(2, "came back\n");
}

static void short_life(void *arg)
{
	for (int i = 0; i < 10; i++)
		__asm__ volatile("");
}

static void exit_others_end(void *arg)
{
	gs_go(short_life, NULL);
	gs_go(short_life, NULL);
	gs_exit();
}

static void exit_sleeper(void *arg)
{
	gs_sleep(MS);
}

static void exit_timer(void *arg)
{
	gs_go(exit_sleeper, NULL);
	gs_exit();
}

/* gs_exit in a panic, panics in gs_exit, recovered or not: an exit stays one */
TEST(goexit)
{
	dies(_metadata, goexit_in_panic, GOEXIT);
	dies(_metadata, panic_after_exit, "panic: hello\n\n");
	dies(_metadata, recovered_after_exit, GOEXIT);
	dies(_metadata, recover_before_exit, GOEXIT);
	dies(_metadata, recover_before_exit2, GOEXIT);
	dies(_metadata, exit_others_end, GOEXIT);
	dies(_metadata, exit_timer, GOEXIT);
}

static void tell(void *arg)
{
	CHECK(!gs_recover());
	gs_send((gs_chan_of(bool))arg, true);
}

static void exit_telling(void *arg)
{
	gs_defer(tell, arg);
	gs_exit();
}

static void exit_defer_main(void *arg)
{
	gs_chan_of(bool) c = gs_make(bool, 0);

	gs_go(exit_telling, c);
	CHECK(gs_recv(c, NULL));
	gs_free(c);
}

/* deferred calls run at gs_exit, may block, and find nothing to recover */
TEST(goexit_defer)
{
	RUN(exit_defer_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* testprog: deadlocks and reports                                             */

static void blocks(void *arg)
{
	gs_select();
}

static void locked_blocks(void *arg)
{
	gs_lock_thread();
	gs_select();
}

static void locked_beside(void *arg)
{
	gs_go(locked_blocks, NULL);
	gs_sleep(MS);
	gs_select();
}

/* all blocked, the main fiber or another locked to its thread */
TEST(deadlocks)
{
	static const char text[] = "fatal error: all goroutines are asleep - deadlock!\n";

	dies(_metadata, blocks, text);
	dies(_metadata, locked_blocks, text);
	dies(_metadata, locked_beside, text);
}

static void just_panics(void *arg)
{
	gs_after_func(3600 * SEC, nothing, NULL);
	gs_panic("oops");
}

/* a panic's report shows the fiber that panicked, the first, and no other */
TEST(main_fiber_only)
{
	void (*fn)(void *) = just_panics;
	struct ut_child *c = ut_child_run(in_run, &fn, 60 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_EQ(0, strncmp(c->err, "panic: oops\n\nfiber 1 [running]:\n", 31));
	EXPECT_EQ(1, ut_occurs(c->err, "fiber 1 ["));
	EXPECT_EQ(1, ut_occurs(c->err, "\nfiber "));
	free(c);
}

/* names in backtraces: visible, so that they are found without a symbol table, too */
#define NAMED __attribute__((noinline, visibility("default")))

NAMED void ut_pt1_deferred(void *arg)
{
	gs_panic("panic pt1");
}

NAMED void ut_pt2_deferred(void *arg)
{
	gs_panic("panic pt2");
}

NAMED int ut_pt2(void)
{
	GS_DEFER_SCOPE;
	gs_defer(ut_pt2_deferred, NULL);
	gs_panic("hello");
	return 1;
}

NAMED int ut_pt1(void)
{
	GS_DEFER_SCOPE;
	gs_defer(ut_pt1_deferred, NULL);
	return ut_pt2() + 1;
}

static void traced(void *arg)
{
	CHECK_EQ(ut_pt1(), 0);
}

/* the backtrace of nested panics: each deferred call above the function it belongs to */
TEST(panic_traceback)
{
	static const char *const fns[] = {"\nut_pt1_deferred", "\nut_pt2_deferred", "\nut_pt2",
					  "\nut_pt1"};
	static const char text[] = "panic: hello\n\tpanic: panic pt2\n\tpanic: panic pt1\n\n";
	void (*fn)(void *) = traced;
	struct ut_child *c = ut_child_run(in_run, &fn, 60 * SEC);
	const char *at = c->err;

	EXPECT_EQ(2, c->status);
	EXPECT_EQ(0, strncmp(c->err, text, sizeof(text) - 1));
	for (size_t i = 0; i < ARRAY_SIZE(fns); i++) {
		at = strstr(at, fns[i]);
		ASSERT_NE(NULL, at)
		{
			TH_LOG("no%s in its place in:\n%.4000s", fns[i], c->err);
		}
		at += strlen(fns[i]);
	}
	free(c);
}

/* ------------------------------------------------------------------------- */
/* defer_test.go                                                               */

/* Runs fn in a fiber, after which nothing may be left to recover. */
static void alone(void *arg)
{
	void (*fn)(void);

	memcpy(&fn, arg, sizeof(fn));
	fn();
	CHECK(!gs_recover());
}

#define RUN_ALONE(fn)                                                                              \
	do {                                                                                       \
		void (*ut_fn)(void) = fn;                                                          \
		RUN(alone, &ut_fn);                                                                \
	} while (0)

static char list[64];

static void append(void *arg)
{
	strncat(list, arg, sizeof(list) - strlen(list) - 1);
}

static int conditional(int n)
{
	GS_DEFER_SCOPE;
	gs_defer(append, "1");
	if (n > 5) {
		gs_defer(append, "2");
		if (n > 8)
			gs_defer(append, "3");
		else
			gs_defer(append, "4");
	}
	gs_panic("testConditional");
	return 1;
}

static int open_defer(int n)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "testOpenDefer");
	if (n > 2)
		gs_panic("testOpenDefer");
	return 1;
}

static int loop_defer(bool before)
{
	GS_DEFER_SCOPE;
	if (before)
		CHECK_EQ(open_defer(47), 0);
	for (int i = 0; i < 3; i++)
		gs_defer(i ? must_not_recover : nothing, NULL);
	for (;;) {
		gs_defer(must_recover, "testNonOpenDefer");
		if (list[0] == '\0')
			break;
	}
	if (!before)
		CHECK_EQ(open_defer(47), 0);
	gs_panic("testNonOpenDefer");
	return 1;
}

static int conditional_recovered(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "testConditional");
	return conditional(8);
}

static void conditions(void)
{
	list[0] = '\0';
	CHECK_EQ(loop_defer(true), 0);
	CHECK_EQ(loop_defer(false), 0);
	CHECK_EQ(conditional_recovered(), 0);
	CHECK_EQ(strcmp(list, "421"), 0);
}

/* calls deferred in loops and under conditions, before and after others that panicked */
TEST(conditional_defers)
{
	RUN_ALONE(conditions);
}

static int aborted(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_not_recover, NULL);
	gs_defer(must_recover, "panic2");
	gs_defer(do_panic, "panic2");
	gs_panic("panic1");
	return 1;
}

static void aborted_main(void)
{
	CHECK_EQ(aborted(), 0);
}

/* the second panic is recovered by a call older than the one that raised it: so is the first */
TEST(aborted_panic)
{
	RUN_ALONE(aborted_main);
}

/* its function is not the one that panics */
static void defers_recover(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(must_not_recover, NULL);
}

static void defers_recover_unscoped(void *arg)
{
	gs_defer(must_not_recover, NULL);
}

static int matching(void (*fn)(void *))
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "panic1");
	gs_defer(fn, NULL);
	gs_panic("panic1");
	return 1;
}

static void matching_main(void)
{
	CHECK_EQ(matching(defers_recover), 0);
	CHECK_EQ(matching(defers_recover_unscoped), 0);
}

/* a call deferred by a deferred call does not recover what went on before */
TEST(recover_matching)
{
	RUN_ALONE(matching_main);
}

static int cond;

static void check_cond(void *arg)
{
	CHECK_EQ(cond, 2);
	must_recover("Test panic");
}

static int no_exit(void)
{
	GS_DEFER_SCOPE;
	cond = 1;
	gs_defer(check_cond, NULL);
	cond = 2;
	if (cond == 2)
		gs_panic("Test panic");
	for (;;)
		;
	return 1;
}

static void no_exit_main(void)
{
	CHECK_EQ(no_exit(), 0);
}

/* from a function that has no other way out */
TEST(func_with_no_exit)
{
	RUN_ALONE(no_exit_main);
}

static void reraise(void *arg)
{
	const char *text = gs_recover();

	if (text && atoi(text) != (int)(long)arg)
		gs_panic("%s", text);
}

static int interpreter(long level, long most, int rec)
{
	GS_DEFER_SCOPE;
	gs_defer(reraise, (void *)level);
	if (level + 1 < most)
		interpreter(level + 1, most, rec);
	else
		gs_panic("%d", rec);
	return 1;
}

static int recurse(int level)
{
	volatile unsigned a[40];

	for (int i = 0; i < 40; i++)
		a[i] = 0xffffffff;
	if (!a[0])
		return 0;
	if (level)
		return recurse(level - 1) + (int)a[level];
	gs_panic("recurse");
}

static int recurse_recovered(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "recurse");
	return recurse(10);
}

static void repanics(void)
{
	for (int rec = 1; rec <= 3; rec++) {
		interpreter(0, 6, rec);
		CHECK_EQ(recurse_recovered(), 0);
	}
}

/* recovered and raised again from frame to frame, until the right one */
TEST(repeated_repanics)
{
	RUN_ALONE(repanics);
}

static void panics_4(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "4");
	gs_panic("4");
}

static int issue43921_inner(void)
{
	GS_DEFER_SCOPE;
	for (;;) {
		gs_defer(nothing, NULL);
		break;
	}
	gs_defer(panics_4, NULL);
	gs_panic("1");
	return 1;
}

static int issue43921(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "1");
	return issue43921_inner();
}

static int steps;

static void step(void *arg)
{
	steps++;
	CHECK_EQ(steps, (long)arg);
}

static int panics_in_between(void)
{
	GS_DEFER_SCOPE;
	gs_panic("4");
	return 1;
}

static void d_four_five(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "5");
	gs_defer(do_panic, "5");
	panics_in_between();
}

static void d_three(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(d_four_five, NULL);
	gs_defer(must_recover, "3");
	gs_defer(do_panic, "3");
}

static int issue43920_inner(void)
{
	GS_DEFER_SCOPE;
	gs_defer(step, (void *)1);
	gs_panic("1");
	return 1;
}

static int issue43920(void)
{
	GS_DEFER_SCOPE;
	steps = 0;
	gs_defer(must_recover, "1");
	gs_defer(d_three, NULL);
	return issue43920_inner();
}

static void d_two_three(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "3");
	gs_defer(do_panic, "3");
	gs_panic("2");
}

static int f_one(void)
{
	GS_DEFER_SCOPE;
	gs_defer(d_two_three, NULL);
	gs_defer(must_recover, "1");
	gs_defer(do_panic, "1");
	return 0;
}

static int f_steps(void)
{
	GS_DEFER_SCOPE;
	f_one();
	gs_defer(nothing, NULL);
	gs_defer(nothing, NULL);
	gs_defer(step, (void *)10);
	gs_defer(step, (void *)9);
	step((void *)8);
	return 0;
}

static int f_panics(void)
{
	GS_DEFER_SCOPE;
	gs_defer(step, (void *)11);
	gs_panic("4");
	return 1;
}

static int f_outer(void)
{
	GS_DEFER_SCOPE;
	gs_defer(step, (void *)13);
	gs_defer(step, (void *)12);
	f_panics();
	gs_defer(do_panic, "-1");
	gs_defer(step, (void *)-1);
	return 1;
}

static void step_recover(void *arg)
{
	step((void *)14);
	must_recover("4");
}

static int issue43941(void)
{
	GS_DEFER_SCOPE;
	steps = 7;
	gs_defer(step_recover, NULL);
	f_steps();
	f_outer();
	return 1;
}

static void issues(void)
{
	CHECK_EQ(issue43921(), 0);
	CHECK_EQ(issue43920(), 0);
	CHECK_EQ(steps, 1);
	CHECK_EQ(issue43941(), 0);
	CHECK_EQ(steps, 14);
}

/* Go's issues 43920, 43921 and 43941: panics in calls that run because of a panic */
TEST(nested_defers)
{
	RUN_ALONE(issues);
}

/* ------------------------------------------------------------------------- */
/* Beyond Go's                                                                 */

static int recovered_text_in_other(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "outer");
	gs_panic("outer");
	return 1;
}

static void not_deferred(void)
{
	CHECK(!gs_recover());
	for (int i = 0; i < 100; i++)
		CHECK_EQ(recovered_text_in_other(), 0);
	CHECK(!gs_recover());
}

static gs_once once;

static void once_panics(void *arg)
{
	gs_panic("once");
}

static int once_recovered(void)
{
	GS_DEFER_SCOPE;
	gs_defer(must_recover, "once");
	gs_once_do(&once, once_panics, NULL);
	return 1;
}

/* the library's own deferred call runs, too, between the scopes of its caller and of fn */
static void once_main(void)
{
	not_deferred();
	CHECK_EQ(once_recovered(), 0);
	gs_once_do(&once, once_panics, NULL);
}

/* recover is for deferred calls; a mutex that the library holds is let go on the way */
TEST(library_defers)
{
	RUN_ALONE(once_main);
}

static gs_waitgroup ended;
static long exited; /* atomic */

static void note_exit(void *arg)
{
	ADD(exited, 1);
}

static void deep_exit(long n)
{
	volatile char frame[64];

	frame[0] = (char)n;
	if (n < 0)
		return;
	if (n)
		deep_exit(n - 1);
	else
		gs_exit();
	frame[1] = frame[0];
}

static void exit_deep(void *arg)
{
	gs_defer(note_exit, NULL);
	deep_exit((long)arg);
}

static void exits_main(void *arg)
{
	long n = ut_count(5000, 100);

	for (long i = 0; i < 20; i++) {
		gs_wg_go(&ended, exit_deep, (void *)(i * 40));
		gs_wg_wait(&ended);
	}
	CHECK_EQ(LOAD(exited), 20);
	/* and one after the other, thousands */
	for (long i = 0; i < n; i++)
		gs_wg_go(&ended, exit_deep, (void *)(i % 8));
	gs_wg_wait(&ended);
	CHECK_EQ(LOAD(exited), 20 + n);
}

/* gs_exit from deep in the stack: it is unwound to its end */
TEST(exit_from_deep)
{
	ut_set_procs(1);
	RUN(exits_main, NULL);
}

TEST_HARNESS_MAIN
