// SPDX-License-Identifier: GPL-2.0
/*
 * The windows of kmod/inject.h held open: each point is passed 10,000 times with a delay, by
 * the toy runtime (toy.h), which must lose nothing, and where workers come and go by the
 * calls at random (chaos.h), after which the counts must be exact; where they pass seldom, by
 * the well-behaved program (good.h), whose every return finds no proc. On the debug kernels.
 * GSCHED_TEST_POINT=name takes one of them.
 */
#include "chaos.h"
#include "good.h"
#include "toy.h"

#define INJECT "/sys/kernel/debug/gsched/inject"
#define PASSES 10000

static char point[16];
static long passes; /* are enough */

static long passed(void)
{
	char line[64], name[16];
	long n, found = -1;
	FILE *f = fopen(INJECT, "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%15s %ld", name, &n) == 2 && !strcmp(name, point))
			found = n;
	if (f)
		fclose(f);
	return found;
}

/* Asked in a loop, so not each time of the kernel. */
static bool enough(void)
{
	static unsigned int asked;

	return asked++ % 16 == 0 && passed() >= passes;
}

/* A child, for a context of its own. */
static void drive(void (*fn)(void), long until)
{
	int status;
	pid_t pid;

	passes = until;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		fn();
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "# %s: status %x\n", point, status);
		exit(1);
	}
}

static void drive_toy(void)
{
	struct toy_plan plan = {.nproc = 2, .resize = true, .upcalls = true, .enough = enough};
	const char *wrong = toy_run(&plan);

	if (wrong)
		fprintf(stderr, "# %s: %s\n", point, wrong);
	else
		fprintf(stderr, "# %s: %lu fibers, %ld upcalls, %ld hand-offs\n", point,
			(long)toy.ran, toy.upcalls, k_fdinfo(&toy.k, "handoffs"));
	_exit(!!wrong);
}

static void drive_chaos(void)
{
	chaos.seed = 4711;
	chaos.upcalls = true;
	chaos_run(4, false, enough);
	_exit(!until(truth_holds(&chaos.k)));
}

static void drive_good(void)
{
	int wrong = good_main(PASSES / 2, NULL);

	if (wrong)
		fprintf(stderr, "# %s: %d\n", point, wrong);
	_exit(wrong);
}

static void *come_and_go(void *unused)
{
	while (!__atomic_load_n(&chaos.stop, __ATOMIC_ACQUIRE)) {
		long err = k_attach(&chaos.k);

		if (err >= 0)
			err = k_acquire(&chaos.k);
		if (err >= 0 || err == -EAGAIN)
			err = k_detach(&chaos.k);
		if (err)
			abort();
	}
	return NULL;
}

/* Who comes, takes a proc, and goes is kicked all the time, by SIGURG. */
static void drive_orphans(void)
{
	struct gsched_setup setup = k_setup_arg(2);
	pthread_t t[2];
	int i;

	setup.features = GSCHED_F_SIGURG;
	tramp_setup(&setup);
	k_open_setup(&chaos.k, &setup);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, come_and_go, NULL);
	while (!enough())
		for (i = 0; i < 2; i++)
			k_kick(&chaos.k, i);
	__atomic_store_n(&chaos.stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	_exit(!until(truth_holds(&chaos.k)));
}

FIXTURE(point){};

FIXTURE_VARIANT(point)
{
	const char *name;
	unsigned int us;
	bool ends;	  /* only those who end pass it */
	bool lacks;	  /* only those who find no proc do */
	const char *from; /* only in the window of another point, and by SIGURG */
};

/* Some are passed under locks, with interrupts off: not for so long. */
#define POINT(n, u, ...)                                                                           \
	FIXTURE_VARIANT_ADD(point, n)                                                              \
	{                                                                                          \
		.name = #n, .us = u, __VA_ARGS__                                                   \
	}

POINT(park, 300);
POINT(wait, 300);
POINT(handoff, 100);
POINT(look, 100);
POINT(wake, 300);
POINT(leave, 100, .ends = true);
POINT(free, 300, .ends = true);
POINT(kick, 100);
POINT(flag, 100);
POINT(in, 100);
POINT(return, 100);
POINT(tell, 100, .lacks = true);
POINT(rest, 100);
POINT(tick, 100);
POINT(detach, 300, .ends = true);
POINT(orphan, 300, .from = ",detach");

FIXTURE_SETUP(point) {}

FIXTURE_TEARDOWN(point)
{
	k_write(INJECT, "none 0");
}

/* Ten thousand passages, and nothing is lost, doubled, or used after it is gone. */
TEST_F(point, held_open)
{
	const char *only = getenv("GSCHED_TEST_POINT");
	char text[32];

	if (access(INJECT, F_OK))
		SKIP(return, "a module without injection points");
	if (only && strcmp(only, variant->name))
		SKIP(return, "another point is asked for");
	snprintf(point, sizeof(point), "%s", variant->name);
	snprintf(text, sizeof(text), "%s%s %u", variant->name, variant->from ?: "", variant->us);
	ASSERT_TRUE(k_write(INJECT, text));
	if (variant->from) {
		drive(drive_orphans, PASSES);
	} else if (variant->lacks) {
		drive(drive_good, PASSES);
	} else {
		if (!variant->ends)
			drive(drive_toy, PASSES / 2);
		drive(drive_chaos, PASSES);
	}
	EXPECT_LE(PASSES, passed());
}

/* Each point that the module has is one of those above. */
TEST(all_points)
{
	static const char all[] =
		" park wait handoff look wake leave free kick flag in return tell rest tick detach orphan ";
	char line[64], name[16];
	FILE *f = fopen(INJECT, "re");

	if (!f)
		SKIP(return, "a module without injection points");
	while (fgets(line, sizeof(line), f)) {
		ASSERT_EQ(1, sscanf(line, "%13s", name + 1));
		name[0] = ' ';
		strcat(name, " ");
		EXPECT_NE(NULL, strstr(all, name))
		{
			TH_LOG("%s", name);
		}
	}
	fclose(f);
}

TEST_HARNESS_MAIN
