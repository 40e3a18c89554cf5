/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What UBSan finds in fibers, and that it walks their stacks: SAN=undefined, or with address.
 * Each program is a child process; the correct ones do the same as the others, rightly.
 */
#include <gsched/chan.h>

#include "util.h"

/* Read by the sanitizer: reports with the calls that led there. */
const char *__ubsan_default_options(void);
__attribute__((visibility("default"), used)) const char *__ubsan_default_options(void)
{
	return "print_stacktrace=1";
}

static gs_chan *c;
static volatile int by; /* the compiler must not see what is wrong */

static int __attribute__((noinline)) add(int to)
{
	return to + by;
}

static int __attribute__((noinline)) shift(int from)
{
	return from << by;
}

static int __attribute__((noinline)) element(int of)
{
	int v[8] = {of};

	return v[by & 15];
}

static int __attribute__((noinline)) unaligned(int of)
{
	char v[16] __attribute__((aligned(8))) = {(char)of};

	return *(int *)(void *)(v + by % 8);
}

static int (*does)(int);

/* After it has waited and perhaps changed threads, below some calls. */
static int __attribute__((noinline)) deep(int depth)
{
	int r;

	if (depth == 0) {
		gs_yield();
		gs_sleep(MS / 10);
		return does(1);
	}
	r = deep(depth - 1);
	__asm__ volatile("" : "+r"(r)); /* no tail call */
	return r;
}

static void the_fiber(void *arg)
{
	deep(3);
	gs_chan_send(c, NULL);
}

static void main_fiber(void *arg)
{
	c = gs_chan_new(0, 0);
	for (int i = 0; i < 10; i++) {
		gs_go(the_fiber, NULL);
		gs_chan_recv(c, NULL);
	}
	UNTIL(gs_num_fibers() == 1);
	gs_chan_unref(c);
	c = NULL;
}

static void run(void *arg)
{
	if (gs_run(main_fiber, NULL))
		_exit(4);
	if (LOAD(ut_failed))
		_exit(3);
	exit(0);
}

/* Wrong with by == bad, and then named so and found in that function; right with 0. */
static void expect(struct __test_metadata *_metadata, int (*fn)(int), int bad, const char *report,
		   const char *function)
{
	struct ut_child *child;

	does = fn;
	by = 0;
	child = ut_child_run(run, NULL, 60 * SEC);
	EXPECT_EQ(0, child->status);
	EXPECT_SAYS_NOT(child, "runtime error");
	free(child);

	by = bad;
	child = ut_child_run(run, NULL, 60 * SEC);
	EXPECT_FALSE(child->timed_out);
	EXPECT_NE(0, child->status);
	EXPECT_SAYS(child, "ubsan.c:");
	EXPECT_SAYS(child, report);
	EXPECT_SAYS(child, function);
	EXPECT_SAYS(child, "in deep");
	EXPECT_SAYS(child, "in the_fiber");
	free(child);
}

/* a sum too large, in a fiber that has waited: reported with the fiber's calls */
TEST(overflow)
{
	expect(_metadata, add, 0x7fffffff, "signed integer overflow: 2147483647 + 1", "in add");
}

/* bits shifted by more than there are */
TEST(shift_too_far)
{
	expect(_metadata, shift, 33, "shift exponent 33 is too large", "in shift");
}

/* beyond an array's end, by its type */
TEST(index_out_of_bounds)
{
	expect(_metadata, element, 9, "index 9 out of bounds", "in element");
}

/* an int where none may stand */
TEST(misaligned)
{
	expect(_metadata, unaligned, 1, "load of misaligned address", "in unaligned");
}

TEST_HARNESS_MAIN
