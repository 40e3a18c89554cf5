/* SPDX-License-Identifier: GPL-2.0 */
/* The check of the order of locks (base/lockrank.c): SAN=undefined only. */
#include "util.h"

struct gs_lock {
	uint32_t word;
};

void gs_lockrank_acquire(const struct gs_lock *l, const char *file, const char *what);
void gs_lockrank_release(const struct gs_lock *l);

static struct gs_lock locks[2];

static void in_order(void *arg)
{
	gs_lockrank_acquire(&locks[0], "chan.h", "&c->lock");
	gs_lockrank_acquire(&locks[1], "chan.h", "&c->lock"); /* ascending */
	gs_lockrank_release(&locks[0]);
	gs_lockrank_release(&locks[1]);
	gs_lockrank_acquire(&locks[1], "chan.h", "&c->lock");
	gs_lockrank_acquire(&locks[0], "timer.c", "&h->lock");
}

static void out_of_order(void *arg)
{
	gs_lockrank_acquire(&locks[0], "timer.c", "&h->lock");
	gs_lockrank_acquire(&locks[1], "chan.h", "&c->lock");
}

static void descending(void *arg)
{
	gs_lockrank_acquire(&locks[1], "chan.h", "&c->lock");
	gs_lockrank_acquire(&locks[0], "chan.h", "&c->lock");
}

static void two_of_a_rank(void *arg)
{
	gs_lockrank_acquire(&locks[0], "context.c", "&c->lock");
	gs_lockrank_acquire(&locks[1], "context.c", "&c->lock");
}

static void twice(void *arg)
{
	gs_lockrank_acquire(&locks[0], "chan.h", "&c->lock");
	gs_lockrank_acquire(&locks[0], "chan.h", "&c->lock");
}

static void unknown(void *arg)
{
	gs_lockrank_acquire(&locks[0], "chan.c", "&new->lock");
}

static void not_held(void *arg)
{
	gs_lockrank_acquire(&locks[0], "chan.h", "&c->lock");
	gs_lockrank_release(&locks[1]);
}

TEST(check)
{
	static const struct {
		void (*fn)(void *);
		const char *says;
	} cases[] = {
		{in_order, NULL},
		{out_of_order, "chan.h: (&c->lock) is taken while timer.c: (&h->lock) is held"},
		{descending, "(&c->lock) is taken while chan.h: (&c->lock) is held"},
		{two_of_a_rank, "(&c->lock) is taken while context.c: (&c->lock) is held"},
		{twice, "chan.h: (&c->lock) is held already"},
		{unknown, "chan.c: (&new->lock) is in no rank"},
		{not_held, "releases a lock that it does not hold"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ut_child *child = ut_child_run(cases[i].fn, NULL, 20 * SEC);

		if (cases[i].says) {
			EXPECT_NE(0, child->status);
			EXPECT_SAYS(child, cases[i].says);
		} else {
			EXPECT_EQ(0, child->status);
			EXPECT_SAYS_NOT(child, "lock rank");
		}
		free(child);
	}
}

TEST_HARNESS_MAIN
