/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ASan finds in fibers and on their stacks, and what it must not: SAN=address only.
 * Each program is a child process; the correct ones do the same as the others, rightly.
 */
#include <gsched/chan.h>

#include "util.h"

static gs_chan *c;
static char *shared;
static volatile int at; /* the compiler must not see what is wrong */
static volatile bool wrong;

static void __attribute__((noinline)) write_at(char *p, int i)
{
	p[i] = 1;
	__asm__ volatile("" ::: "memory");
}

/* A fiber's local array, after it has waited and perhaps changed threads. */
static void local_array(void *arg)
{
	char local[40];

	for (int i = 0; i < 40; i++)
		write_at(local, i);
	gs_yield();
	gs_sleep(MS / 10);
	write_at(local, at);
	gs_chan_send(c, NULL);
}

static char *__attribute__((noinline)) same(char *p)
{
	__asm__ volatile("" : "+r"(p));
	return p;
}

/* A block that has been left. */
static void local_block(void *arg)
{
	char *p;

	{
		char local[100];

		p = same(local);
		write_at(p, 3);
	}
	gs_yield();
	if (wrong)
		write_at(p, 7);
	gs_chan_send(c, NULL);
}

static void free_shared(void *arg)
{
	free(shared);
	gs_chan_send(arg, NULL);
}

/* One fiber allocates and uses, another frees. */
static void freed_by_another(void *arg)
{
	gs_chan *freed = gs_chan_new(0, 0);

	shared = malloc(64);
	write_at(shared, 5);
	gs_go(free_shared, freed);
	gs_chan_recv(freed, NULL);
	gs_chan_unref(freed);
	if (wrong)
		write_at(shared, 5);
	gs_chan_send(c, NULL);
}

static void main_fiber(void *fn)
{
	void (*const *f)(void *) = fn;

	c = gs_chan_new(0, 0);
	for (int i = 0; i < 10; i++) {
		gs_go(*f, NULL);
		gs_chan_recv(c, NULL);
	}
	UNTIL(gs_num_fibers() == 1);
	gs_chan_unref(c);
	c = NULL;
}

/* The same on the stack of gs_run's fiber. */
static void on_main_stack(void *arg)
{
	c = gs_chan_new(0, 1);
	local_array(NULL);
	gs_chan_unref(c);
	c = NULL;
}

/* Of a type that returns: the compiler does not clean up before the call. */
static void (*volatile exits)(void) = gs_exit;

/* Frames are left without a return, and the stack is used again: what they poisoned is free. */
static void leave(void *arg)
{
	int depth = (int)(intptr_t)arg;
	char local[1000];

	write_at(local, depth);
	gs_yield();
	if (depth == 0 && wrong)
		gs_panic("left");
	if (depth == 0)
		exits();
	if (at)
		leave((void *)(intptr_t)(depth - 1));
	write_at(local, 0);
}

static void recovers(void *arg)
{
	CHECK(gs_recover() != NULL);
}

static void panic_and_recover(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(recovers, NULL);
	leave(arg);
}

static void left_frames(void *arg)
{
	for (int i = 0; i < 50; i++) {
		wrong = false;
		for (int k = 0; k < 5; k++)
			gs_go(leave, (void *)(intptr_t)((i + k) % 20));
		UNTIL(gs_num_fibers() == 1);
		wrong = true;
		panic_and_recover((void *)(intptr_t)(i % 20));
		/* other frames over where those were */
		wrong = false;
		at = 39;
		gs_go(leave, (void *)(intptr_t)(i * 7 % 20));
		on_main_stack(NULL);
	}
	UNTIL(gs_num_fibers() == 1);
}

static void run(void *fn)
{
	void (*const *f)(void *) = fn;

	if (gs_run(*f == on_main_stack || *f == left_frames ? *f : main_fiber, fn))
		_exit(4);
	if (LOAD(ut_failed))
		_exit(3);
	exit(0);
}

static void expect(struct __test_metadata *_metadata, void (*fn)(void *), const char *report,
		   const char *where)
{
	struct ut_child *child = ut_child_run(run, &fn, 60 * SEC);

	EXPECT_FALSE(child->timed_out);
	if (report) {
		EXPECT_NE(0, child->status);
		EXPECT_SAYS(child, report);
		EXPECT_SAYS(child, where);
	} else {
		EXPECT_EQ(0, child->status);
		EXPECT_SAYS_NOT(child, "AddressSanitizer");
	}
	free(child);
}

/* an array's end on a fiber's stack: reported with the variable, and the fiber's frame is known */
TEST(overflow_of_a_local)
{
	at = 40;
	expect(_metadata, local_array, "stack-buffer-overflow", "'local'");
	at = 39;
	expect(_metadata, local_array, NULL, NULL);
}

/* the same on the stack that gs_run's fiber has */
TEST(overflow_on_main_stack)
{
	at = 40;
	expect(_metadata, on_main_stack, "stack-buffer-overflow", "'local'");
	at = 39;
	expect(_metadata, on_main_stack, NULL, NULL);
}

/* a variable of a block that was left, on a fiber's stack */
TEST(use_after_scope)
{
	wrong = true;
	expect(_metadata, local_block, "stack-use-after-scope", "'local'");
	wrong = false;
	expect(_metadata, local_block, NULL, NULL);
}

/* what another fiber freed: reported with that one's calls */
TEST(use_after_free)
{
	wrong = true;
	expect(_metadata, freed_by_another, "heap-use-after-free", "in free_shared");
	wrong = false;
	expect(_metadata, freed_by_another, NULL, NULL);
}

/* frames that a panic or gs_exit left are no errors for those that come after them */
TEST(left_frames_are_forgotten)
{
	at = 39;
	expect(_metadata, left_frames, NULL, NULL);
}

TEST_HARNESS_MAIN
