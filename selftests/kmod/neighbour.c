// SPDX-License-Identifier: GPL-2.0
/*
 * Others use the same notifiers: neighbour/ is a module that registers and unregisters its
 * own, before and after ours, in interrupts too. Neither notices the other.
 */
#include "good.h"
#include <sched.h>
#include <sys/stat.h>

#define NEIGHBOUR "neighbour.ko"
#define PARAMETERS "/sys/module/neighbour/parameters/"

static bool act(const char *words)
{
	return k_write(PARAMETERS "act", words);
}

struct calls {
	long in, out, user_return;
};

static struct calls calls(void)
{
	FILE *f = fopen(PARAMETERS "calls", "re");
	struct calls c = {0};

	if (!f || fscanf(f, "%ld %ld %ld", &c.in, &c.out, &c.user_return) != 3)
		abort();
	fclose(f);
	return c;
}

FIXTURE(neighbour)
{
	bool absent;
};

FIXTURE_SETUP(neighbour)
{
	self->absent = access(NEIGHBOUR, R_OK);
	if (self->absent)
		SKIP(return, "no neighbour.ko for this kernel");
	ASSERT_EQ(0, k_load(NEIGHBOUR));
}

FIXTURE_TEARDOWN(neighbour)
{
	if (!self->absent)
		EXPECT_TRUE(until(!k_unload("neighbour")));
}

/* ------------------------------------------------------------------------- */

/* A hand-off and a return, seen by n others. */
static bool blocks(struct puppet *p, long n)
{
	struct timespec ts = {.tv_nsec = 1000000};
	volatile struct gsched_slot *slot = p->slot;
	struct calls before = calls(), after;
	uint64_t blocked = slot->blocks, returned = slot->returns;

	slot->depth = 0;
	/* one that is over before it begins is none */
	for (int i = 0; i < 100 && slot->blocks == blocked; i++)
		nanosleep(&ts, NULL);
	slot->depth = 1;
	after = calls();
	return slot->blocks == blocked + 1 && slot->returns == returned + 1 &&
	       after.in - before.in >= n && after.out - before.out >= n;
}

/* Theirs come before ours or after, and go before ours or after. */
static long order_orders(struct puppet *p, long arg)
{
	for (int i = 0; i < 16; i++) {
		bool first[2] = {i & 1, i & 2}, last[2] = {i & 4, i & 8};
		long ret = -1 - i;

		if ((first[0] && !act("in 0")) || (first[1] && !act("in 1")))
			return ret;
		if (order_attach(p, 0) < 0 || k_acquire(p->k) != 0)
			return ret;
		if ((!first[0] && !act("in 0")) || (!first[1] && !act("in 1")))
			return ret;
		if (!blocks(p, 2))
			return ret;
		if ((!last[0] && !act("out 0")) || (!last[1] && !act("out 1")))
			return ret;
		if (!blocks(p, last[0] + last[1]) || k_detach(p->k))
			return ret;
		if ((last[0] && !act("out 0")) || (last[1] && !act("out 1")))
			return ret;
	}
	return 0;
}

TEST_F(neighbour, preempt_notifiers)
{
	struct puppet p;
	struct ktx k;

	if (self->absent)
		return;
	k_open(&k, 1);
	puppet_new(&p, &k);
	ASSERT_EQ(0, puppet_run(&p, order_detach, 0));
	EXPECT_EQ(0, puppet_run(&p, order_orders, 0));
}

/* A thread that ends with theirs on its list, and ours. */
static long order_end(struct puppet *p, long arg)
{
	return act("in 2") ? k_acquire(p->k) : -1;
}

TEST_F(neighbour, ends_with_it)
{
	struct puppet p;
	struct ktx k;

	if (self->absent)
		return;
	k_open(&k, 1);
	puppet_new(&p, &k);
	ASSERT_EQ(0, puppet_run(&p, order_end, 0));
	puppet_end(&p);
	EXPECT_TRUE(until(k.h->workers == 0 && k_idle_exact(&k, 1)));
}

/* ------------------------------------------------------------------------- */

#define CALLS 1000

/* How often it was called while this thread left the kernel CALLS times. */
static long called(void)
{
	long before = calls().user_return;

	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	return calls().user_return - before;
}

/* Whoever stays registered is called whenever its CPU returns to user mode, beside ours. */
TEST_F(neighbour, stays)
{
	static const char *const ways[][2] = {
		{"stay", "gone"}, {"irq stay", "gone"}, {"stay", "irq gone"}};
	cpu_set_t one;
	struct ktx k;

	if (self->absent)
		return;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	k_open(&k, 1);
	ASSERT_LE(0, k_attach(&k));
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(act(ways[i][0]));
		EXPECT_LE(CALLS, called());
		ASSERT_TRUE(act(ways[i][1]));
		EXPECT_EQ(0, called());
	}
	/* who does as KVM does is called once, on the way out of that, and then there is peace */
	for (int i = 0; i < 2; i++) {
		long before = calls().user_return;

		ASSERT_TRUE(act(i ? "irq once" : "once"));
		EXPECT_EQ(before + 1, calls().user_return);
		EXPECT_EQ(0, called());
	}
}

/* ------------------------------------------------------------------------- */

/* Everywhere, at random, in interrupts, under a program whose counts are exact. */
TEST_F(neighbour, storm)
{
	bool *enough = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long n = 0;
	struct calls before;
	int status;
	pid_t pid;

	if (self->absent)
		return;
	ASSERT_NE(MAP_FAILED, (void *)enough);
	before = calls();
	pid = fork();
	if (!pid)
		_exit(good_main(1000000, enough));
	for (; n < 5000; n++) {
		ASSERT_TRUE(act("all"));
		if (n % 100)
			continue;
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
		usleep(100);
	}
	__atomic_store_n(enough, true, __ATOMIC_RELEASE);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_LT(before.user_return + n / 3, calls().user_return);
}

/* ------------------------------------------------------------------------- */

/* gsched comes and goes between them: last in and first out, and first in and first out. */
TEST_F(neighbour, gsched_reloaded)
{
	cpu_set_t one;
	struct stat st;

	if (self->absent || access(K_MODULE, R_OK))
		return;
	if (k_stale_code())
		SKIP(return, "emulated processors; one alone can do it");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	ASSERT_EQ(0, stat("/dev/gsched", &st));
	ASSERT_TRUE(act("in 3") && act("stay"));
	EXPECT_TRUE(until(!k_unload("gsched")));
	EXPECT_LE(CALLS, called());
	EXPECT_EQ(0, k_load(K_MODULE));
	EXPECT_LE(CALLS, called());
	EXPECT_TRUE(act("gone"));
	EXPECT_EQ(0, called());
	EXPECT_TRUE(act("stay") && until(!k_unload("gsched")));
	EXPECT_LE(CALLS, called());
	EXPECT_TRUE(act("gone") && act("out 3"));
	EXPECT_EQ(0, called());
	EXPECT_EQ(0, k_load(K_MODULE));
	/* as it was found */
	EXPECT_TRUE(k_device_as(&st));
}

TEST_HARNESS_MAIN
