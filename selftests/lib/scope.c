// SPDX-License-Identifier: GPL-2.0
/* GS_DEFER_SCOPE: deferred calls of a function, and what it returns after a recover. */
#include <gsched/chan.h>
#include <gsched/sync.h>

#include "util.h"

static gs_waitgroup all;
static char trace[400]; /* what ran, in order; one fiber at a time writes */

static void note(const char *what)
{
	strncat(trace, what, sizeof(trace) - strlen(trace) - 1);
}

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

/* ------------------------------------------------------------------------- */
/* Order                                                                       */

static void inner(void)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "a");
	gs_defer(say, "b");
	note("in");
}

static int early(int n)
{
	GS_DEFER_SCOPE;
	for (int i = 0; i < n; i++)
		gs_defer(say, i % 2 ? "o" : "e");
	if (n > 2)
		return n;
	gs_defer(say, "!");
	return -n;
}

static void without_scope(void)
{
	gs_defer(say, "w");
}

static void borrows(void)
{
	GS_DEFER_SCOPE;
	without_scope(); /* belongs to us */
	note("x");
}

static void returns(void *arg)
{
	gs_defer(say, "end");
	note("0");
	inner();
	note("1");
	CHECK_EQ(early(3), 3);
	note("2");
	CHECK_EQ(early(1), -1);
	note("3");
	borrows();
	note("4");
}

static void exits_inside(void)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "i");
	gs_exit();
}

static void exits(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "o");
	exits_inside();
}

/* ------------------------------------------------------------------------- */
/* Recover                                                                     */

static int panic_wanted = 1;

static void deep(int n)
{
	volatile char frame[200];

	frame[n % 200] = (char)n;
	if (n)
		deep(n - 1);
	else if (panic_wanted)
		gs_panic("p");
	frame[0] = frame[n % 200];
}

static long gives_long(int n)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "l");
	gs_defer(recover_say, NULL);
	gs_defer(say, "m");
	deep(n);
	return 7;
}

static const char *gives_pointer(int n)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	deep(n);
	return "not this";
}

static double gives_double(int n)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	deep(n);
	return 1.5;
}

static __int128 gives_wide(int n)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	deep(n);
	return ((__int128)1 << 100) + 5;
}

/* Registers that belong to the caller come back, however many are in use. */
static long __attribute__((noinline)) mix(bool calls)
{
	long a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;

	for (int i = 0; i < 3; i++) {
		a += b;
		b ^= c * 3;
		c += d + (long)i;
		d = d * 5 + e;
		e -= f;
		f += g * 2;
		g ^= h;
		h += a;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e));
		if (!calls)
			continue;
		CHECK_EQ(gives_long(i * 20), 0);
		CHECK(gives_pointer(i) == NULL);
		CHECK(gives_double(i) == 0.0);
		CHECK(gives_wide(i) == 0);
	}
	return a + 3 * b + 5 * c + 7 * d + 11 * e + 13 * f + 17 * g + 19 * h;
}

static void recovers(void *arg)
{
	CHECK_EQ(mix(true), mix(false));
}

/* the frames in between have scopes of their own, which run first */
static void middle(void)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "M");
	deep(3);
}

static int outer(void)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "1");
	gs_defer(recover_say, NULL);
	gs_defer(say, "2");
	middle();
	return 9;
}

static void nested(void *arg)
{
	gs_defer(say, "z");
	CHECK_EQ(outer(), 0);
	note("-");
	CHECK_EQ(outer(), 0);
}

/* a deferred call with a scope of its own recovers its own panic: the first goes on */
static void own_panic(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	gs_panic("p2");
}

static int first_goes_on(void)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	gs_defer(own_panic, NULL);
	gs_panic("p1");
}

static void inside(void *arg)
{
	CHECK_EQ(first_goes_on(), 0);
	note(".");
}

static void panics_p2(void *arg)
{
	gs_panic("p2");
}

/* the first call recovers, a later one panics again: a third recovers that */
static int twice(void)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	gs_defer(panics_p2, NULL);
	gs_defer(recover_say, NULL);
	gs_panic("p1");
}

static void again(void *arg)
{
	CHECK_EQ(twice(), 0);
	note(".");
}

/* a call that has recovered panics; what it deferred recovers that: the function returns */
static void recover_defer_and_panic(void *arg)
{
	recover_say(arg);
	gs_defer(recover_say, NULL);
	gs_panic("p2");
}

static int recovers_both(void)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_defer_and_panic, NULL);
	gs_panic("p1");
}

static void both(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "a");
	CHECK_EQ(recovers_both(), 0);
	note(".");
}

/* gs_exit cannot be recovered from: the function does not return */
static void stays_exit(void)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	gs_defer(panics_p2, NULL);
	gs_exit();
}

static void exit_goes_on(void *arg)
{
	gs_defer(say, "end");
	stays_exit();
	note("never");
}

/* a send on a closed channel, deep in the library */
static int sends(gs_chan *c)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	gs_chan_send(c, &(int){1});
	return 1;
}

static void library(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 1);

	gs_chan_close(c);
	CHECK_EQ(sends(c), 0);
	gs_chan_unref(c);
}

static void order_main(void *arg)
{
	TRACES(returns, "0inba1eoe2!e3xw4end");
	TRACES(exits, "io");
	trace[0] = '\0';
	recovers(NULL);
	CHECK_EQ(strcmp(trace, "m[p]l[p][p][p]m[p]l[p][p][p]m[p]l[p][p][p]"), 0);
	TRACES(nested, "M2[p]1-M2[p]1z");
	TRACES(inside, "[p2][p1].");
	TRACES(again, "[p1][p2].");
	TRACES(both, "[p1][p2].a");
	TRACES(exit_goes_on, "[p2]end");
	TRACES(library, "[send on closed channel]");
}

/* calls run when their function returns, exits or panics; a recover lets it return 0 */
TEST(order)
{
	RUN(order_main, NULL);
}

static void many(void *arg)
{
	for (long i = 0; i < ut_count(5000, 100); i++) {
		trace[0] = '\0';
		CHECK_EQ(gives_long((int)(i % 50)), 0);
		if (i % 16 == 0)
			gs_yield();
	}
}

static void many_main(void *arg)
{
	many(NULL);
	CHECK_EQ(early(3), 3);
}

/* thousands of recovered panics on one stack: nothing leaks, nothing grows */
TEST(many_recovers)
{
	RUN(many_main, NULL);
}

static void panics_again(void *arg)
{
	gs_panic("again");
}

/* The first is recovered, and another call of the scope leaves before its function returns. */
static int leaves_while_leaving(void)
{
	GS_DEFER_SCOPE;
	gs_defer(panics_again, NULL);
	gs_defer(recover_say, NULL);
	gs_panic("p");
}

static int recovers_the_second(void)
{
	GS_DEFER_SCOPE;
	gs_defer(recover_say, NULL);
	leaves_while_leaving();
	return 1;
}

static void leaving_main(void *arg)
{
	size_t before = 0, grown;

	for (long i = 0; i < 3000; i++) {
		trace[0] = '\0';
		CHECK_EQ(recovers_the_second(), 0);
		if (i == 1000)
			before = ut_allocated();
	}
	CHECK(!strcmp(trace, "[p][again]"));
	grown = ut_allocated() - before;
	/* other threads may start meanwhile */
	CHECK_LT((long)grown, 30000);
}

/* nor where the call after the one that recovered does not return */
TEST(many_left)
{
	RUN(leaving_main, NULL);
}

static void unrecovered(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(say, "x");
	deep(2);
}

static void dies(void *arg)
{
	gs_run(unrecovered, NULL);
}

/* not recovered: the report has the frames in which it happened, and status 2 */
TEST(report)
{
	struct ut_child *c = ut_child_run(dies, NULL, UT_WAIT * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: p\n");
	EXPECT_SAYS(c, "unrecovered");
}

/* ------------------------------------------------------------------------- */
/* C++                                                                         */

/* scope.cc */
int cxx_scoped(void (*defer)(void (*)(void *), void *), void (*say)(void *),
	       void (*recover)(void *), void (*panic)(int));

static void cxx_main(void *arg)
{
	trace[0] = '\0';
	CHECK_EQ(cxx_scoped(gs_defer, say, recover_say, deep), 0);
	/* frame by frame, the innermost first; in each its deferred calls, then what it holds */
	if (strcmp(trace, "~3~2d[p]~1"))
		ut_fail(__FILE__, __LINE__, "trace %s", trace);
}

/* C++: destructors of the frames that are left run, and the function returns */
TEST(destructors)
{
	RUN(cxx_main, NULL);
}

static void cxx_exit(int n)
{
	gs_exit();
}

static void cxx_exits(void *arg)
{
	gs_defer(say, "end");
	cxx_scoped(gs_defer, say, recover_say, cxx_exit);
	note("never");
}

static void cxx_exit_main(void *arg)
{
	TRACES(cxx_exits, "~3~2d[nil]~1end");
}

/* the same at gs_exit, to the end of the stack */
TEST(destructors_at_exit)
{
	RUN(cxx_exit_main, NULL);
}

TEST_HARNESS_MAIN
