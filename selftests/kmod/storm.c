// SPDX-License-Identifier: GPL-2.0
/*
 * Storms. A toy runtime that obeys the protocol, with everything at once; calls
 * at random that obey nothing; and the same while the shared area is scribbled
 * over. When the wind drops the counts must be exact and nothing may be lost.
 */
#include "chaos.h"
#include "toy.h"

static uint64_t end;

static bool it_is_time(void)
{
	return now_ns() >= end;
}

static bool never(void)
{
	return false;
}

FIXTURE(toy){};

FIXTURE_VARIANT(toy)
{
	unsigned int nproc;
	bool resize;
};

FIXTURE_VARIANT_ADD(toy, procs_1){.nproc = 1};
FIXTURE_VARIANT_ADD(toy, procs_2){.nproc = 2};
FIXTURE_VARIANT_ADD(toy, procs_4){.nproc = 4};
FIXTURE_VARIANT_ADD(toy, procs_vary){.nproc = 4, .resize = true};

FIXTURE_SETUP(toy) {}

FIXTURE_TEARDOWN(toy) {}

/* Every fiber runs, no proc is owned twice, and all is exact in the end. */
TEST_F(toy, obeys)
{
	struct toy_plan plan = {
		.nproc = variant->nproc,
		.resize = variant->resize,
		.enough = it_is_time,
	};
	const char *wrong;

	end = now_ns() + NS_PER_S * 3 / 2;
	wrong = toy_run(&plan);
	EXPECT_EQ(NULL, wrong)
	{
		TH_LOG("%s", wrong);
		_exit(1);
	}
	TH_LOG("%lu fibers, %ld blocks, %ld hand-offs, %ld lost, %ld grants", (long)toy.ran,
	       k_fdinfo(&toy.k, "blocks"), k_fdinfo(&toy.k, "handoffs"), k_fdinfo(&toy.k, "lost"),
	       k_fdinfo(&toy.k, "grants"));
}

/* Calls at random, threads that come and go: the counts are exact afterwards. */
TEST(random_calls)
{
	unsigned int p, n;

	chaos.seed = 99;
	end = now_ns() + NS_PER_S * 3 / 2;
	chaos_run(4, false, it_is_time);
	EXPECT_TRUE(until(truth_holds(&chaos.k)));
	n = k_set_procs(&chaos.k, 3);
	EXPECT_TRUE(n >= 1 && n <= 6);
	EXPECT_TRUE(k_idle_exact(&chaos.k, 3));
	EXPECT_EQ(0, chaos.k.h->standby);
	EXPECT_EQ(0, chaos.k.h->workers);
	for (p = 3; p < GSCHED_MAXPROCS; p++)
		EXPECT_EQ(GSCHED_RETIRED, chaos.k.p[p].owner);
	TH_LOG("%lu calls", (long)chaos.calls);
}

/* The same while the shared area is scribbled over: the kernel's truth holds. */
TEST(scribbled)
{
	chaos.seed = 7;
	end = now_ns() + NS_PER_S * 3 / 2;
	chaos_run(3, true, it_is_time);
	EXPECT_TRUE(until(truth_holds(&chaos.k)));
	TH_LOG("%lu calls", (long)chaos.calls);
}

/* ... and the process is killed in the middle of it. */
TEST(scribbled_and_killed)
{
	int status;
	pid_t child;

	child = fork();
	if (!child) {
		chaos.seed = 21;
		/* until it is killed, however late we look */
		chaos_run(2, true, never);
		_exit(0);
	}
	EXPECT_TRUE(until(k_stat("workers") > 2));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0));
}

TEST_HARNESS_MAIN
