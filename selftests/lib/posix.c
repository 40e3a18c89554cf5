// SPDX-License-Identifier: GPL-2.0
/*
 * The posix backend by itself, call by call, without the runtime: the protocol of
 * uapi/linux/gsched.h. What kmod/park asks of the module.
 */
#include <pthread.h>

#include "../../libgo-user/src/backend.h"
#include "util.h"

static const struct gs_backend *const be = &gs_backend_posix;

struct one {
	struct gs_slot *slot;
	uint32_t id;
};

static struct one attach(void)
{
	struct one w;
	int err = 0;

	w.slot = be->attach(&w.id, &err);
	CHECK(w.slot);
	CHECK_EQ(err, 0);
	return w;
}

static void start(int nproc)
{
	struct gs_upcall_setup none = {0};
	const char *why = "";

	CHECK_EQ(be->init(nproc, &none, &why), 0);
}

static uint32_t owner(int p)
{
	return LOAD(gs_lines[p].owner);
}

/* PARK_TO b, which is not parked, and then b gets another proc by itself. */
static void latch(struct one a, struct one b)
{
	CHECK_EQ(be->acquire(a.slot), 0);
	CHECK_EQ(be->park_to(a.slot, b.id, gs_now(), true), -ETIMEDOUT);
	CHECK_EQ(owner(0), b.id + 1);
	CHECK_EQ(be->acquire(b.slot), 1);
	CHECK_EQ(owner(1), b.id + 1);
	CHECK_EQ(LOAD(gs_hdr->idle), 0);
}

/* PARK with a latched grant gives up what is held */
TEST(latched)
{
	struct one a, b;

	start(2);
	a = attach();
	b = attach();
	latch(a, b);
	CHECK_EQ(be->park(b.slot, gs_now(), true), 0);
	CHECK_EQ(owner(0), b.id + 1);
	CHECK_EQ(owner(1), 0);
	CHECK_EQ(LOAD(gs_hdr->idle), 1);
	/* it is there for the next one */
	CHECK_EQ(be->acquire(a.slot), 1);
	be->detach(a.slot);
	be->detach(b.slot);
	CHECK_EQ(LOAD(gs_hdr->idle), 2);
	EXPECT_EQ(0, LOAD(ut_failed));
}

static void *stand_by(void *arg)
{
	struct one *c = arg;

	*c = attach();
	return (void *)(long)be->park(c->slot, gs_now() + ut_limit(20 * SEC), false);
}

/* the same while somebody waits for it: by the hand-off rule */
TEST(latched_demand)
{
	struct one a, b, c;
	pthread_t t;
	void *r;

	start(2);
	a = attach();
	b = attach();
	ASSERT_EQ(0, pthread_create(&t, NULL, stand_by, &c));
	UNTIL(LOAD(gs_hdr->standby) == 1);
	latch(a, b);
	STORE(gs_hdr->global_len, 1);
	CHECK_EQ(be->park(b.slot, gs_now(), true), 0);
	pthread_join(t, &r);
	CHECK_EQ((long)r, 1);
	CHECK_EQ(owner(0), b.id + 1);
	CHECK_EQ(owner(1), c.id + 1);
	CHECK_EQ(LOAD(gs_hdr->idle), 0);
	EXPECT_EQ(0, LOAD(ut_failed));
}

/* with nothing latched, and nothing to be had, it waits */
TEST(nothing_latched)
{
	struct one a, b;

	start(1);
	a = attach();
	b = attach();
	CHECK_EQ(be->acquire(a.slot), 0);
	CHECK_EQ(be->park(b.slot, gs_now() + MS, true), -ETIMEDOUT);
	CHECK_EQ(be->acquire(b.slot), -EAGAIN);
	/* PARK_TO who holds one already: the caller keeps its own */
	CHECK_EQ(be->park_to(b.slot, a.id, gs_now(), true), -EBUSY);
	CHECK_EQ(owner(0), a.id + 1);
	EXPECT_EQ(0, LOAD(ut_failed));
}

TEST_HARNESS_MAIN
