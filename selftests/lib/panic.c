// SPDX-License-Identifier: GPL-2.0
/* gs_defer, gs_panic, gs_recover, gs_exit: order, nesting, reports, exit statuses. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/sync.h>

#include "util.h"

static gs_waitgroup all;
static char trace[200]; /* what ran, in order; one fiber at a time writes */

static void note(const char *what)
{
	strncat(trace, what, sizeof(trace) - strlen(trace) - 1);
}

/* Runs fn in a fiber of its own; its trace must then be the text. */
static void traces(void (*fn)(void *), const char *want, int line)
{
	trace[0] = '\0';
	gs_wg_go(&all, fn, NULL);
	gs_wg_wait(&all);
	if (strcmp(trace, want))
		ut_fail(__FILE__, line, "trace %s instead of %s", trace, want);
}
#define TRACES(fn, want) traces(fn, want, __LINE__)

static void say(void *arg)
{
	note(arg);
}

static void recover_say(void *arg)
{
	const char *text = gs_recover();

	note("[");
	note(text ? text : "nil");
	note("]");
}

static void yield_say(void *arg)
{
	gs_yield();
	note(arg);
}

static void returns(void *arg)
{
	gs_defer(say, "a");
	gs_defer(yield_say, "b");
	gs_defer(recover_say, NULL);
	gs_defer(say, "c");
	note("0");
}

static void exits(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_say, NULL);
	gs_defer(yield_say, "b");
	gs_exit();
}

static void panics(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_say, NULL);
	gs_defer(recover_say, NULL);
	gs_defer(say, "b");
	gs_panic("p%d", 1);
}

/* a deferred call defers another */
static void defer_more(void *arg)
{
	note("x");
	gs_defer(say, "y");
}

static void defers_more(void *arg)
{
	gs_defer(say, "a");
	gs_defer(defer_more, NULL);
	gs_defer(say, "b");
}

static void panic2(void *arg)
{
	note("x");
	gs_panic("p2");
}

/* the second panic is recovered by a call of the same level: both are over */
static void panics_twice(void *arg)
{
	gs_defer(recover_say, NULL);
	gs_defer(recover_say, NULL);
	gs_defer(panic2, NULL);
	gs_panic("p1");
}

static void panic2_inner(void *arg)
{
	gs_defer(recover_say, NULL);
	gs_panic("p2");
}

/* recovered inside a deferred call: the first panic goes on */
static void panics_inside(void *arg)
{
	gs_defer(recover_say, NULL);
	gs_defer(say, "a");
	gs_defer(panic2_inner, NULL);
	gs_panic("p1");
}

static void exit_again(void *arg)
{
	note("e");
	gs_exit();
}

/* gs_exit in a deferred call ends the panic, without recover */
static void exit_in_panic(void *arg)
{
	gs_defer(recover_say, NULL);
	gs_defer(exit_again, NULL);
	gs_panic("p1");
}

/* a panic during gs_exit can be recovered, the exit goes on */
static void panic_in_exit(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_say, NULL);
	gs_defer(recover_say, NULL);
	gs_defer(panic2, NULL);
	gs_exit();
}

/* panic in a deferred call of a fiber that returned */
static void panic_at_end(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_say, NULL);
	gs_defer(panic2, NULL);
}

/* recover, then panic again in the same deferred call */
static void recover_and_panic(void *arg)
{
	recover_say(arg);
	gs_panic("p2");
}

static void panics_after_recover(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_say, NULL);
	gs_defer(recover_and_panic, NULL);
	gs_panic("p1");
}

/* what a call defers that has recovered, and then a panic in it */
static void recover_and_defer(void *arg)
{
	recover_say(arg);
	gs_defer(recover_say, NULL);
	gs_defer(panic2, NULL);
}

static void defers_after_recover(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_and_defer, NULL);
	gs_panic("p1");
}

/* the last of it is recovered in what the first one's recoverer deferred */
static void recover_defer_and_panic(void *arg)
{
	recover_say(arg);
	gs_defer(recover_say, NULL);
	gs_panic("p2");
}

static void recovers_both(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_defer_and_panic, NULL);
	gs_panic("p1");
}

static void order_main(void *arg)
{
	TRACES(returns, "0c[nil]ba");
	TRACES(exits, "b[nil]a");
	TRACES(panics, "b[p1][nil]a");
	TRACES(defers_more, "bxya");
	TRACES(panics_twice, "x[p2][nil]");
	TRACES(panics_inside, "[p2]a[p1]");
	TRACES(exit_in_panic, "e[nil]");
	TRACES(panic_in_exit, "x[p2][nil]a");
	TRACES(panic_at_end, "x[p2]a");
	TRACES(panics_after_recover, "[p1][p2]a");
	TRACES(defers_after_recover, "[p1]x[p2]a");
	TRACES(recovers_both, "[p1][p2]a");
}

/* deferred calls run last in first out at return, exit and panic; nesting as in Go */
TEST(order)
{
	RUN(order_main, NULL);
}

static void recover_text(void *arg)
{
	const char **text = arg;

	*text = gs_recover();
	CHECK_EQ(gs_recover() == NULL, true);
}

static void check_text(void *arg)
{
	const char **text = arg;

	/* still there: in a later deferred call of the same fiber */
	CHECK(*text && strlen(*text) == 1000 && (*text)[0] == 'l' && (*text)[999] == 'l');
	note("ok");
}

static void long_text(void *arg)
{
	static const char *text;
	char buf[1001];

	memset(buf, 'l', 1000);
	buf[1000] = '\0';
	gs_defer(check_text, &text);
	gs_defer(recover_text, &text);
	gs_panic("%s", buf);
}

static void text_main(void *arg)
{
	TRACES(long_text, "ok");
	CHECK(!gs_recover());
}

/* the text lives on after the deferred call; outside of a panic recover gives NULL */
TEST(text)
{
	RUN(text_main, NULL);
	EXPECT_EQ(NULL, gs_recover());
}

static void recover_main(void *arg)
{
	gs_defer(say, "a");
	gs_defer(recover_say, NULL);
	gs_panic("in main");
}

/* a recovered panic in gs_run's fiber: gs_run returns 0 */
TEST(recovered_in_main)
{
	RUN(recover_main, NULL);
	EXPECT_EQ(0, strcmp(trace, "[in main]a"));
	RUN(order_main, NULL);
}

static void many_defers(void *arg)
{
	long *n = arg;

	--*n;
}

static void many(void *arg)
{
	long n = ut_count(100000, 1000);
	static long left;

	left = n;
	for (long i = 0; i < n; i++)
		gs_defer(many_defers, &left);
	gs_exit();
}

static void many_main(void *arg)
{
	for (int i = 0; i < 10; i++) {
		gs_wg_go(&all, many, NULL);
		gs_wg_wait(&all);
	}
	for (long i = 0; i < ut_count(20000, 200); i++)
		gs_wg_go(&all, i % 2 ? panics : exits, NULL), gs_wg_wait(&all), trace[0] = '\0';
}

/* many deferred calls, many fibers that panic and exit: nothing leaks (ASan) */
TEST(many_defers_many_exits)
{
	RUN(many_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Reports                                                                     */

static void die_plain(void *arg)
{
	gs_defer(say, "never shown");
	gs_panic("%s %d", "plain", 7);
}

static void __attribute__((noinline)) named_function_of_the_test(void)
{
	gs_panic("named");
}

static void die_named(void *arg)
{
	named_function_of_the_test();
	__asm__ volatile("");
}

static void die_lines(void *arg)
{
	gs_panic("one\ntwo\nthree");
}

static void do_panic(void *arg)
{
	gs_panic("%s", (const char *)arg);
}

static void die_nested(void *arg)
{
	gs_defer(do_panic, "third");
	gs_defer(do_panic, "second");
	gs_panic("first");
}

static void recover_then_other(void *arg)
{
	gs_recover();
	gs_panic("other");
}

static void die_recovered(void *arg)
{
	gs_defer(recover_then_other, NULL);
	gs_panic("first");
}

static void repanic(void *arg)
{
	gs_panic("%s", gs_recover());
}

static void die_repanicked(void *arg)
{
	gs_defer(repanic, NULL);
	gs_panic("again");
}

static void die_in_exit(void *arg)
{
	gs_defer(do_panic, "at exit");
	gs_exit();
}

static void die_at_end(void *arg)
{
	gs_defer(do_panic, "at end");
}

static void die_nopreempt(void *arg)
{
	gs_defer(recover_say, NULL);
	gs_nopreempt_begin();
	gs_panic("no way back");
}

static void in_run(void *arg)
{
	void (*fn)(void *);

	memcpy(&fn, arg, sizeof(fn));
	gs_run(fn, NULL);
	_exit(55);
}

/* the report of an unrecovered panic, Go's form, and exit status 2 */
TEST(report)
{
	static const struct {
		void (*fn)(void *);
		const char *text;
	} cases[] = {
		{die_plain, "panic: plain 7\n\nfiber 1 [running]:\n"},
		{die_lines, "panic: one\n\ttwo\n\tthree\n\nfiber 1 [running]:\n"},
		{die_nested,
		 "panic: first\n\tpanic: second\n\tpanic: third\n\nfiber 1 [running]:\n"},
		{die_recovered, "panic: first [recovered]\n\tpanic: other\n\nfiber 1 [running]:\n"},
		{die_repanicked, "panic: again [recovered, repanicked]\n\nfiber 1 [running]:\n"},
		{die_in_exit, "panic: at exit\n\nfiber 1 [running]:\n"},
		{die_at_end, "panic: at end\n\nfiber 1 [running]:\n"},
		{die_nopreempt, "panic: no way back\n\nfiber 1 [running]:\n"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ut_child *c = ut_child_run(in_run, (void *)&cases[i].fn, UT_WAIT * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_EQ(0, strncmp(c->err, cases[i].text, strlen(cases[i].text)))
		{
			TH_LOG("instead of:\n%s\n%.2000s", cases[i].text, c->err);
		}
		free(c);
	}
}

/* the backtrace names functions, static ones too, innermost first */
TEST(backtrace)
{
	void (*fn)(void *) = die_named;
	struct ut_child *c = ut_child_run(in_run, &fn, UT_WAIT * SEC);
	const char *inner, *outer;

	EXPECT_EQ(2, c->status);
	inner = strstr(c->err, "\nnamed_function_of_the_test(...)\n\t");
	outer = strstr(c->err, "\ndie_named(...)\n\t");
	EXPECT_NE(NULL, inner);
	EXPECT_NE(NULL, outer);
	EXPECT_LT(inner, outer);
	EXPECT_SAYS(c, "+0x");
	free(c);
}

static void *panic_thread(void *arg)
{
	gs_panic("thread's %s", "own");
}

static void die_thread(void *arg)
{
	pthread_t t;

	pthread_create(&t, NULL, panic_thread, NULL);
	pthread_join(t, NULL);
}

static void defer_in_thread(void *arg)
{
	gs_defer(say, "x");
}

static void exit_in_thread(void *arg)
{
	gs_exit();
}

/* on an ordinary thread: the same with the thread's id; defer and exit are misuse */
TEST(thread)
{
	struct ut_child *c = ut_child_run(die_thread, NULL, UT_WAIT * SEC);
	unsigned tid = 0;
	char end = 0;

	EXPECT_EQ(2, c->status);
	EXPECT_EQ(2, sscanf(c->err, "panic: thread's own\n\nthread %u [running]%c", &tid, &end));
	EXPECT_GT(tid, 1);
	EXPECT_EQ(':', end);
	EXPECT_SAYS(c, "panic_thread(...)");
	free(c);
	c = ut_child_run(defer_in_thread, NULL, UT_WAIT * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: gs_defer outside of a fiber\n");
	free(c);
	c = ut_child_run(exit_in_thread, NULL, UT_WAIT * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: gs_exit outside of a fiber\n");
	free(c);
}

static void all_panic(void *arg)
{
	gs_panic("one of many");
}

static void many_die(void *arg)
{
	for (int i = 0; i < 50; i++)
		gs_go(all_panic, NULL);
	for (;;)
		gs_yield();
}

/* many panic at once: one report, not mixed with another */
TEST(one_report)
{
	void (*fn)(void *) = many_die;

	/* the one that reports is due to be interrupted, and the next one to run there */
	setenv("GSCHED_SLICE", "100", 1);
	for (int i = 0; i < 10; i++) {
		struct ut_child *c = ut_child_run(in_run, &fn, UT_WAIT * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_EQ(1, ut_occurs(c->err, "panic: one of many"));
		EXPECT_EQ(1, ut_occurs(c->err, "[running]:"));
		free(c);
	}
}

TEST_HARNESS_MAIN
