// SPDX-License-Identifier: GPL-2.0
/*
 * The samples by which the kernel itself says whether the return rule is kept: what each
 * of them counts, and a storm in which there is no violation.
 */
#include "kutil.h"

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)

#define SAMPLE_US "/sys/kernel/debug/gsched/sample_us"

static int stop; /* atomic */

static long sampled(struct ktx *k, const char *what)
{
	char name[40];

	snprintf(name, sizeof(name), "sampled-%s", what);
	return k_fdinfo(k, name);
}

/* Off unless asked for, and then not at any rate. */
TEST(sample_us)
{
	char text[16] = "";
	int fd = open(SAMPLE_US, O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(2, read(fd, text, sizeof(text)));
	EXPECT_STREQ("0\n", text);
	EXPECT_FALSE(k_write(SAMPLE_US, "9"));
	EXPECT_FALSE(k_write(SAMPLE_US, "1000001"));
	EXPECT_TRUE(k_write(SAMPLE_US, "1000000"));
	EXPECT_TRUE(k_write(SAMPLE_US, "10"));
	EXPECT_TRUE(k_write(SAMPLE_US, "0"));
	close(fd);
}

FIXTURE(sample)
{
	struct ktx k;
	struct puppet a, b;
};

FIXTURE_SETUP(sample)
{
	stop = 0;
	ASSERT_TRUE(k_write(SAMPLE_US, "500"));
}

FIXTURE_TEARDOWN(sample)
{
	k_write(SAMPLE_US, "0");
}

static void open_with(FIXTURE_DATA(sample) * self, uintptr_t trampoline)
{
	struct gsched_setup setup = k_setup_arg(1);

	setup.trampoline = trampoline;
	k_open_setup(&self->k, &setup);
	puppet_new(&self->a, &self->k);
	puppet_new(&self->b, &self->k);
}

static void spin(void)
{
	while (!LOAD(stop))
		;
}

static long order_spin(struct puppet *p, long depth)
{
	p->slot->depth = depth;
	spin();
	p->slot->depth = 1;
	return 0;
}

/* A worker with a proc runs a fiber; with its depth raised it does not. */
TEST_F(sample, fiber_and_runtime)
{
	struct ktx *k = &self->k;

	open_with(self, 0);
	ASSERT_EQ(0, puppet_run(&self->a, order_acquire, 0));
	puppet_start(&self->a, order_spin, 0);
	EXPECT_TRUE(until(sampled(k, "fiber") > 20));
	puppet_start(&self->b, order_spin, 2);
	EXPECT_TRUE(until(sampled(k, "runtime") > 20));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(0, sampled(k, "told"));
	EXPECT_EQ(0, sampled(k, "refused"));
	EXPECT_EQ(0, sampled(k, "violation"));
}

/* One that runs a fiber without ever having had a proc is seen. */
TEST_F(sample, violation)
{
	open_with(self, 0);
	puppet_start(&self->a, order_spin, 0);
	EXPECT_TRUE(until(sampled(&self->k, "violation") > 20));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(0, sampled(&self->k, "fiber"));
}

static int pipefd[2];

static long order_lose(struct puppet *p, long masked)
{
	sigset_t urg;
	char c;

	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	pthread_sigmask(masked ? SIG_BLOCK : SIG_UNBLOCK, &urg, NULL);
	p->slot->depth = 0;
	if (syscall(SYS_read, pipefd[0], &c, 1) != 1)
		abort();
	spin();
	p->slot->depth = 1;
	return 0;
}

static bool lose(FIXTURE_DATA(sample) * self, long masked)
{
	if (pipe(pipefd) || puppet_run(&self->a, order_acquire, 0))
		return false;
	puppet_start(&self->a, order_lose, masked);
	return until(self->a.slot->blocks == 1) && puppet_run(&self->b, order_acquire, 0) == 0 &&
	       write(pipefd[1], "", 1) == 1;
}

/* Lost, and told so in slot.pending: the program's turn. */
TEST_F(sample, told)
{
	open_with(self, 0);
	ASSERT_TRUE(lose(self, false));
	EXPECT_TRUE(until(sampled(&self->k, "told") > 20));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(0, sampled(&self->k, "refused"));
	EXPECT_EQ(0, sampled(&self->k, "violation"));
}

/* Lost, and cannot be told now: counted by the reason. */
TEST_F(sample, refused)
{
	open_with(self, (uintptr_t)spin);
	ASSERT_TRUE(lose(self, true));
	EXPECT_TRUE(until(sampled(&self->k, "refused") > 20));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(sampled(&self->k, "refused"), sampled(&self->k, "refused-masked"));
	EXPECT_EQ(0, sampled(&self->k, "told"));
	EXPECT_EQ(0, sampled(&self->k, "violation"));
}

TEST_HARNESS_MAIN
