// SPDX-License-Identifier: GPL-2.0
/* Everything at once for some seconds, with the invariants looked at from aside. */
#include <gsched/debug.h>
#include <pthread.h>

#include "util.h"

static long started, ended, steps; /* atomic */
static int stop, changing, gone;   /* atomic */

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

struct life {
	uint32_t seed;
	int depth;
	char pad[40];
};

static void live(void *arg);

static void spawn(uint32_t seed, int depth)
{
	struct life l = {.seed = seed | 1, .depth = depth};

	memset(l.pad, (int)(seed & 0x7f), sizeof(l.pad));
	ADD(started, 1);
	if (!CHECK_EQ(gs_go_copy(live, &l, sizeof(l)), 0))
		ADD(started, -1);
}

static void check_life(const struct life *l, uint32_t seed, uint64_t id, int err)
{
	for (size_t i = 0; i < sizeof(l->pad); i++)
		if (l->pad[i] != (char)(seed & 0x7f)) {
			CHECK(!"another fiber wrote on this stack");
			break;
		}
	CHECK_EQ(gs_id(), id);
	CHECK_EQ(ut_errno(), err);
}

static void live(void *arg)
{
	struct life *l = arg;
	uint32_t seed = l->seed, x = seed;
	/* spawn() set the lowest bit, which the pattern does not know */
	uint32_t pattern = (uint32_t)l->pad[0];
	uint64_t id = gs_id();
	int err = (int)(id & 0xffff);

	for (int i = 0; i < 20; i++) {
		struct timespec ts = {.tv_nsec = next_random(&x) % 100000};

		ut_set_errno(err);
		switch (next_random(&x) % 10) {
		case 0:
		case 1:
		case 2:
			gs_yield();
			break;
		case 3:
			gs_sleep(next_random(&x) % 500000);
			break;
		case 4:
			gs_blocking_begin();
			nanosleep(&ts, NULL);
			gs_blocking_end();
			ut_set_errno(err);
			break;
		case 5:
			if (l->depth && !LOAD(stop))
				spawn(next_random(&x), l->depth - 1);
			ut_set_errno(err);
			break;
		case 6:
			gs_nopreempt_begin();
			ut_burn(500);
			gs_nopreempt_end();
			break;
		case 7:
			ut_burn(next_random(&x) % 20000);
			break;
		case 8:
			if (next_random(&x) % 40 == 0) {
				ADD(ended, 1);
				gs_exit();
			}
			break;
		default:
			gs_sleep(0);
		}
		check_life(l, pattern, id, err);
		ADD(steps, 1);
	}
	ADD(ended, 1);
}

static void *outside(void *arg)
{
	uint32_t x = (uint32_t)(long)arg * 77777 + 1;

	while (!LOAD(stop)) {
		if (LOAD(started) - LOAD(ended) < 300)
			spawn(next_random(&x), 2);
		else
			gs_sleep(200000);
		if (LOAD(changing) && next_random(&x) % 16 == 0)
			gs_max_procs(1 + (int)(next_random(&x) % 8));
	}
	ADD(gone, 1);
	return NULL;
}

static void look(int64_t ns)
{
	int64_t end = gs_now() + ns;
	struct gs_stats last, s;

	gs_stats(&last);
	while (gs_now() < end) {
		long seen = LOAD(steps);

		gs_stats(&s);
		CHECK_LE(s.procs, 256u);
		CHECK_LE(s.spinning, s.workers);
		CHECK_LE(s.standbys, s.workers);
		/* idle is never below the truth, so it may be above for a moment */
		CHECK_LE(s.idle_procs, 256u + 8);
		CHECK_GE(s.blocks, last.blocks);
		CHECK_GE(s.switches + 1000000, last.switches);
		/* they are not read at one moment: the later ones of these now */
		CHECK_LE(last.handoffs, s.blocks);
		last = s;
		/* life goes on */
		UNTIL(LOAD(steps) > seen);
	}
}

static bool at_rest(struct gs_stats *s)
{
	gs_stats(s);
	return s->idle_procs == s->procs && !s->spinning && !s->queued &&
	       s->standbys == s->workers && !s->fibers;
}

static void mix(void *arg)
{
	pthread_t t[2];

	for (long i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, outside, (void *)(i + 1)), 0);
	look((int64_t)(intptr_t)arg);
	STORE(stop, 1);
	/* these first: one that has looked at stop before starts a fiber still */
	UNTIL(LOAD(gone) == 2);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	UNTIL(LOAD(ended) == LOAD(started) && gs_num_fibers() == 1);
	CHECK_EQ(LOAD(ended), LOAD(started));
}

/* Comes to rest. False if more workers than should blocked with the depth raised since last. */
static bool check_rest(struct gs_stats *last)
{
	unsigned long long depth_blocks, blocks;
	struct gs_stats s = {0};

	/* as it was seen then: a late wake-up may find nothing to do once more */
	UNTIL(at_rest(&s));
	CHECK_EQ(s.fibers, 0u);
	CHECK_EQ(s.queued, 0u);
	CHECK_EQ(s.idle_procs, s.procs);
	CHECK_EQ(s.spinning, 0u);
	printf("# steps %ld fibers %ld switches %llu blocks %llu handoffs %llu returns %llu "
	       "lost %llu depth_blocks %llu workers %u\n",
	       LOAD(steps), LOAD(ended), (unsigned long long)s.switches,
	       (unsigned long long)s.blocks, (unsigned long long)s.handoffs,
	       (unsigned long long)s.returns, (unsigned long long)s.lost,
	       (unsigned long long)s.depth_blocks, s.workers);
	fflush(stdout);
	depth_blocks = s.depth_blocks - last->depth_blocks;
	blocks = s.blocks - last->blocks;
	*last = s;
	/* the first touch of pages and no more */
	return depth_blocks <= 100 + blocks / 20;
}

/*
 * Run fn so often, until all is at rest. Again if too many blocked with the depth raised: some
 * wait so for a lock whose holder the machine keeps from running, but not each time.
 */
static void run_and_rest(struct __test_metadata *_metadata, void (*fn)(void *), int64_t ns,
			 long times)
{
	int64_t end = gs_now() + ut_limit(30 * SEC);
	struct gs_stats last = {0};
	bool few;

	do {
		STORE(stop, 0);
		STORE(gone, 0);
		for (long i = 0; i < times; i++)
			RUN(fn, (void *)(intptr_t)ns);
		few = check_rest(&last);
	} while (!few && gs_now() < end);
	CHECK(few);
	EXPECT_EQ(0, ut_failed);
}

/* spawn, yield, sleep, block, exit on a fixed number of procs; at rest all is idle */
TEST(fixed_procs)
{
	run_and_rest(_metadata, mix, 2 * SEC, 1);
}

/* the same while the number of procs changes all the time */
TEST(changing_procs)
{
	STORE(changing, 1);
	run_and_rest(_metadata, mix, 2 * SEC, 1);
}

/* the same with 32 KiB stacks and eight procs on whatever CPUs there are */
TEST(small_stacks)
{
	ut_set_procs(8);
#if !defined(UT_ASAN) && !defined(UT_TSAN)
	setenv("GSCHED_STACK", "32768", 1);
#endif
	run_and_rest(_metadata, mix, 1 * SEC, 1);
}

static void again(void *arg)
{
	for (int i = 0; i < 50; i++)
		spawn((uint32_t)i * 1234567u + 1, 1);
	UNTIL(LOAD(ended) == LOAD(started));
}

/* short runs with rests in between: idle and busy alternate */
TEST(busy_and_idle)
{
	run_and_rest(_metadata, again, 0, ut_count(100, 5));
}

TEST_HARNESS_MAIN
