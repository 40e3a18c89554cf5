// SPDX-License-Identifier: GPL-2.0
/* gs_go and its kin: who may call them, copies, attributes, ids, counts, gs_exit. */
#include <gsched/debug.h>
#include <pthread.h>
#include <stddef.h>

#include "util.h"

static long done_count; /* atomic */

static void count(void *arg)
{
	ADD(done_count, 1);
}

static void go_some(void *arg)
{
	for (long i = 0; i < (long)arg; i++)
		CHECK_EQ(gs_go(count, NULL), 0);
	UNTIL(LOAD(done_count) == (long)arg);
}

/* gs_go in a fiber: all of them run */
TEST(from_fiber)
{
	RUN(go_some, (void *)ut_count(20000, 1000));
}

/* gs_go in a thread that never called gs_run starts the runtime */
TEST(before_run)
{
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(0, gs_go(count, NULL));
	UNTIL(LOAD(done_count) == 1000);
	STORE(done_count, 0);
	RUN(go_some, (void *)1000);
}

static void *go_thread(void *arg)
{
	long n = ut_count(5000, 200);

	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(count, NULL), 0);
	return NULL;
}

/* gs_go from eight threads at once */
TEST(from_threads)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, go_thread, NULL));
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	UNTIL(LOAD(done_count) == 8 * ut_count(5000, 200));
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

static int order[3];	   /* atomic */
static int norder, nnoted; /* atomic */

static void note(void *arg)
{
	/* it may be interrupted anywhere, and another come in between */
	STORE(order[ADD(norder, 1) - 1], (int)(long)arg);
	ADD(nnoted, 1);
}

static void go_ordered(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	int good;

	/*
	 * Every 64th scheduling is otherwise; a block or the end of a slice lets others in, on a
	 * machine that is slow or busy in many rounds.
	 */
	do {
		good = 0;
		for (int round = 0; round < 20; round++) {
			STORE(norder, 0);
			STORE(nnoted, 0);
			for (long i = 0; i < 3; i++)
				gs_go(note, (void *)(i + 1));
			if (!UNTIL(LOAD(nnoted) == 3))
				return;
			good += LOAD(order[0]) == 3 && LOAD(order[1]) == 1 && LOAD(order[2]) == 2;
		}
	} while (good < 10 && gs_now() < end);
	CHECK_GE(good, 10);
}

/* on one proc the fiber started last runs next, the others in order behind it */
TEST(newest_runs_next)
{
	ut_set_procs(1);
	RUN(go_ordered, NULL);
}

/* ------------------------------------------------------------------------- */

struct blob {
	uint32_t size;
	unsigned char bytes[];
};

static void check_blob(void *arg)
{
	struct blob *b = arg;
	uint32_t n = b->size - 4;

	CHECK_EQ((uintptr_t)arg % _Alignof(max_align_t), 0u);
	gs_yield();
	for (uint32_t i = 0; i < n; i++)
		if (b->bytes[i] != (unsigned char)(n + i)) {
			CHECK(!"copy differs");
			break;
		}
	/* the copy is the fiber's own */
	memset(b->bytes, 0xee, n);
	ADD(done_count, 1);
}

static void copies(void *arg)
{
	static const uint32_t sizes[] = {4,    5,    8,	   12,	 15,   16,    17,
					 31,   32,   33,   63,	 64,   65,    100,
					 1000, 4095, 4096, 4097, 9999, 65536, 200000};
	static char buf[200000] __attribute__((aligned(16)));
	struct blob *b = (void *)buf;
	long n = 0;

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			b->size = sizes[i];
			for (uint32_t k = 0; k < sizes[i] - 4; k++)
				b->bytes[k] = (unsigned char)(sizes[i] - 4 + k);
			CHECK_EQ(gs_go_copy(check_blob, b, sizes[i]), 0);
			/* the source may go at once */
			memset(buf, 0x55, sizes[i]);
			n++;
		}
		UNTIL(LOAD(done_count) == n);
	}
}

/* gs_go_copy: content and alignment, of fresh and of recycled stacks */
TEST(copy)
{
	RUN(copies, NULL);
}

static void *copies_thread(void *arg)
{
	copies(NULL);
	return NULL;
}

/* gs_go_copy on an ordinary thread */
TEST(copy_from_thread)
{
	copies_thread(NULL);
	EXPECT_EQ(0, ut_failed);
}

static void never(void *arg)
{
	CHECK(!"reached");
}

static void too_big(void *arg)
{
	static const size_t bad[] = {SIZE_MAX,	 SIZE_MAX - 15,	      SIZE_MAX / 2,	  1u << 20,
				     256u << 10, (256u << 10) - 4096, (256u << 10) - 8192};
	static char src[256 << 10];
	size_t lo = 0, hi = 256 << 10;

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
			CHECK_EQ(gs_go_copy(never, src, bad[i]), -EINVAL);
		CHECK_EQ(gs_num_fibers(), 1u);
		/* the second round finds a recycled stack */
		gs_go(count, NULL);
		UNTIL(gs_num_fibers() == 1);
	}
	/* the largest that is taken leaves room to run on */
	STORE(done_count, 0);
	for (long n = 0; hi - lo > 1;) {
		size_t mid = (lo + hi) / 2;
		int r = gs_go_copy(count, src, mid);

		if (r == 0) {
			n++;
			lo = mid;
			UNTIL(LOAD(done_count) == n);
		} else {
			CHECK_EQ(r, -EINVAL);
			hi = mid;
		}
	}
	CHECK_GE(lo, 200u << 10);
}

/* a copy the stack has no room for is -EINVAL, and nothing was started */
TEST(copy_too_big)
{
	unsetenv("GSCHED_STACK");
	RUN(too_big, NULL);
}

static void copy_nothing(void *arg)
{
	CHECK_EQ(gs_go_copy(count, NULL, 0), 0);
	CHECK_EQ(gs_go_copy(count, arg, 0), 0);
	UNTIL(LOAD(done_count) == 2);
}

/* a copy of nothing */
TEST(copy_size_0)
{
	int v;

	RUN(copy_nothing, &v);
}

/* ------------------------------------------------------------------------- */

static void use_bytes(void *arg)
{
	size_t size = (size_t)arg;
	volatile char *p = __builtin_alloca(size);

	p[0] = 1;
	for (size_t i = 0; i < size; i += 4096)
		p[i] = (char)(i >> 12);
	gs_yield();
	for (size_t i = 0; i < size; i += 4096)
		if (p[i] != (char)(i >> 12))
			CHECK(!"stack content lost");
	ADD(done_count, 1);
}

static void stack_sizes(void *arg)
{
	struct gs_attr attr = {0};
	long n = 0;

	/* what is asked for, less the guard and a page to run on, can be used */
	for (size_t size = 32u << 10; size <= 64u << 20; size *= 2) {
		for (int i = 0; i < 3; i++) {
			attr.stack_size = size + (size_t)i * 1000;
			CHECK_EQ(gs_go_attr(&attr, use_bytes, (void *)(size - (16u << 10))), 0);
			n++;
		}
		UNTIL(LOAD(done_count) == n);
	}
	/* tiny is rounded up */
	attr.stack_size = 1;
	CHECK_EQ(gs_go_attr(&attr, count, NULL), 0);
	/* the largest */
	attr.stack_size = (size_t)1 << 30;
	CHECK_EQ(gs_go_attr(&attr, use_bytes, (void *)(1u << 20)), 0);
	n += 2;
	UNTIL(LOAD(done_count) == n);
	attr.stack_size = ((size_t)1 << 30) + 1;
	CHECK_EQ(gs_go_attr(&attr, never, NULL), -EINVAL);
	attr.stack_size = SIZE_MAX;
	CHECK_EQ(gs_go_attr(&attr, never, NULL), -EINVAL);
}

/* gs_go_attr: stacks from tiny to 1 GiB; larger is -EINVAL */
TEST(attr_stack)
{
	RUN(stack_sizes, NULL);
}

static void attr_checks(void *arg)
{
	struct gs_attr attr = {0};
	int r;

	CHECK_EQ(gs_go_attr(&attr, count, NULL), 0);
	for (unsigned bit = 1; bit < 32; bit++) {
		attr.flags = 1u << bit;
		CHECK_EQ(gs_go_attr(&attr, never, NULL), -EINVAL);
		attr.flags |= GS_OWN_TLS;
		CHECK_EQ(gs_go_attr(&attr, never, NULL), -EINVAL);
	}
	attr.flags = 0;
	for (int i = 0; i < 4; i++) {
		attr.pad[i] = 1ull << (i * 20);
		CHECK_EQ(gs_go_attr(&attr, never, NULL), -EINVAL);
		attr.pad[i] = 0;
	}
	UNTIL(LOAD(done_count) == 1);
	attr.flags = GS_OWN_TLS;
	r = gs_go_attr(&attr, count, NULL);
	CHECK(r == 0 || r == -EOPNOTSUPP);
	UNTIL(LOAD(done_count) == 1 + (r == 0));
}

/* gs_go_attr: zeroes are gs_go; unknown flags and padding are -EINVAL */
TEST(attr_bad)
{
	RUN(attr_checks, NULL);
}

/* the same from an ordinary thread */
TEST(attr_bad_from_thread)
{
	attr_checks(NULL);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

#define IDS 20000
static uint64_t ids[IDS];
static long nids;

static void take_id(void *arg)
{
	uint64_t id = gs_id();
	long i = ADD(nids, 1) - 1;

	CHECK_NE(id, 0u);
	if (i < IDS)
		ids[i] = id;
	gs_yield();
	CHECK_EQ(gs_id(), id);
	gs_sleep(1000);
	CHECK_EQ(gs_id(), id);
	ADD(done_count, 1);
}

static void take_ids(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		CHECK_EQ(gs_go(take_id, NULL), 0);
		if (i % 100 == 0)
			gs_yield();
	}
	UNTIL(LOAD(done_count) >= (long)arg);
}

static void *take_ids_thread(void *arg)
{
	for (long i = 0; i < (long)arg; i++)
		CHECK_EQ(gs_go(take_id, NULL), 0);
	CHECK_EQ(gs_id(), 0u);
	return NULL;
}

static int cmp_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* ids: never 0, unique though fibers and threads start them on all procs, constant */
TEST(ids_unique)
{
	long n = ut_count(IDS / 4, 200);
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, take_ids_thread, (void *)n));
	RUN(take_ids, (void *)n);
	RUN(take_ids, (void *)n);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	UNTIL(LOAD(done_count) == 4 * n);
	ASSERT_EQ(4 * n, nids);
	qsort(ids, (size_t)nids, sizeof(*ids), cmp_id);
	for (long i = 1; i < nids; i++)
		ASSERT_NE(ids[i - 1], ids[i]);
	EXPECT_EQ(0, ut_failed);
}

static int hold; /* atomic */

static void held(void *arg)
{
	while (LOAD(hold))
		gs_sleep(MS);
}

static void count_fibers(void *arg)
{
	CHECK_EQ(gs_num_fibers(), 1u);
	STORE(hold, 1);
	for (size_t i = 0; i < 500; i++) {
		CHECK_EQ(gs_num_fibers(), 1 + i);
		CHECK_EQ(gs_go(held, NULL), 0);
	}
	CHECK_EQ(gs_num_fibers(), 501u);
	STORE(hold, 0);
	UNTIL(gs_num_fibers() == 1);
}

/* gs_num_fibers counts the living, from before the runtime runs until after gs_run */
TEST(num_fibers)
{
	EXPECT_EQ(0, gs_num_fibers());
	RUN(count_fibers, NULL);
	UNTIL(gs_num_fibers() == 0);
	STORE(hold, 1);
	for (int i = 0; i < 10; i++)
		ASSERT_EQ(0, gs_go(held, NULL));
	EXPECT_EQ(10, gs_num_fibers());
	STORE(hold, 0);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

/* Starts the next one before it ends: there is always one of each chain. */
static void link_of_chain(void *arg)
{
	if (LOAD(hold))
		CHECK_EQ(gs_go(link_of_chain, NULL), 0);
}

/* while fibers start and end, gs_num_fibers never says fewer than there are at every moment */
TEST(num_fibers_not_too_few)
{
	long n = ut_count(1000000, 20000);
	size_t least = 4, seen = 4;

	STORE(hold, 1);
	for (size_t i = 0; i < least; i++)
		ASSERT_EQ(0, gs_go(link_of_chain, NULL));
	for (long i = 0; i < n; i++) {
		size_t now = gs_num_fibers();

		seen = now < seen ? now : seen;
	}
	EXPECT_EQ(least, seen);
	STORE(hold, 0);
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

static void __attribute__((noinline)) leave(int depth)
{
	volatile char pad[200];

	pad[0] = (char)depth;
	if (depth < 0)
		return; /* never, but the compiler cannot know */
	if (depth)
		leave(depth - 1);
	else
		gs_exit();
	CHECK(pad[0] != (char)depth && !"reached");
}

static void leaver(void *arg)
{
	if ((long)arg % 3 == 0)
		gs_yield();
	ADD(done_count, 1);
	leave((int)((long)arg % 50));
	CHECK(!"reached");
}

static void leavers(void *arg)
{
	for (long i = 0; i < (long)arg; i++)
		CHECK_EQ(gs_go(leaver, (void *)i), 0);
	UNTIL(LOAD(done_count) == (long)arg);
	UNTIL(gs_num_fibers() == 1);
}

/* gs_exit ends the fiber from any depth of calls, and its stack serves again */
TEST(exit_anywhere)
{
	RUN(leavers, (void *)ut_count(10000, 500));
}

static long rss_pages(void)
{
	long size, rss = -1;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f) {
		if (fscanf(f, "%ld %ld", &size, &rss) != 2)
			rss = -1;
		fclose(f);
	}
	return rss;
}

/* So many come and go, 50 alive at a time: how many pages more there are then. */
static long churn_growth(long rounds)
{
	long before = rss_pages(), from = LOAD(done_count), n = 0;

	for (long i = 0; i < rounds; i++) {
		CHECK_EQ(gs_go(count, NULL), 0);
		n++;
		if (i % 50 == 49)
			UNTIL(LOAD(done_count) == from + n);
	}
	UNTIL(LOAD(done_count) == from + n);
	UNTIL(gs_num_fibers() == 1);
	return rss_pages() - before;
}

static void churn(void *arg)
{
	long rounds = ut_count(200000, 2000), growth UT_UNUSED;

	churn_growth(2000);
	growth = churn_growth(rounds);
#if !defined(UT_TSAN) && !defined(UT_ASAN)
	/*
	 * Memory does not grow with the number that lived. Procs that had not run before, or
	 * threads that block, bring theirs along; but not for ever.
	 */
	for (int i = 0; i < 10 && growth > 600; i++)
		growth = churn_growth(rounds);
	CHECK_LE(growth, 600);
#endif
}

/* fibers that come and go use no more memory than those alive at once */
TEST(no_growth)
{
	RUN(churn, NULL);
}

/* ------------------------------------------------------------------------- */

#if !defined(UT_TSAN) && !defined(UT_ASAN)
static uintptr_t stands[100]; /* one proc */
static long nstands, nunclean, ndeferred;

static void deferred(void *arg)
{
	ndeferred++;
}

/* Ends in one of the ways there are, and leaves behind what the next one must not find. */
static void heir(void *arg)
{
	uint32_t mxcsr = __builtin_ia32_stmxcsr();
	uint16_t cw;
	int here;

	__asm__ volatile("fnstcw %0" : "=m"(cw));
	nunclean += errno != 0 || mxcsr != 0x1f80 || cw != 0x37f ||
		    (uintptr_t)__builtin_frame_address(0) % 16 != 0;
	if (nstands < (long)ARRAY_SIZE(stands))
		stands[nstands] = (uintptr_t)&here;
	nstands++;
	errno = EDOM;
	__builtin_ia32_ldmxcsr(0x7f80);
	cw = 0xf7f;
	__asm__ volatile("fldcw %0" : : "m"(cw));
	switch ((long)arg % 4) {
	case 1:
		gs_defer(deferred, NULL);
		break;
	case 2:
		gs_defer(deferred, NULL);
		gs_exit();
	case 3:
		leave(30);
	}
}

static void make_heirs(void *arg)
{
	const int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	long n = ARRAY_SIZE(stands), same;

	/* a slice may end in between, and another's stack be warm then */
	do {
		nstands = nunclean = ndeferred = same = 0;
		for (long i = 0; i < n; i++)
			CHECK_EQ(gs_go(heir, (void *)i), 0);
		UNTIL(gs_num_fibers() == 1);
		CHECK_EQ(nstands, n);
		CHECK_EQ(nunclean, 0);
		CHECK_EQ(ndeferred, n / 2);
		for (long i = 1; i < n; i++)
			same += stands[i] == stands[0];
	} while (same < n * 9 / 10 && gs_now() < end);
	CHECK_GE(same, n * 9 / 10);
}

/* fibers that end one after the other run on one stack, and find nothing of each other */
TEST(heirs)
{
	ut_set_procs(1);
	RUN(make_heirs, NULL);
}

static void go_crowd(void *arg)
{
	const long n = ut_count(20000, 2000);
	long before = rss_pages(), started;

	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(count, NULL), 0);
	started = rss_pages() - before;
	UNTIL(LOAD(done_count) == n);
	UNTIL(gs_num_fibers() == 1);
	dprintf(1, "# pages for %ld fibers: %ld when started, %ld when they ran\n", n, started,
		rss_pages() - before);
	/* a stack that is touched takes one at least */
	CHECK_LE(rss_pages() - before, n / 3);
}

/* a fiber that has not begun, and one that does not wait, costs no page of a stack */
TEST(crowd)
{
	ut_set_procs(1);
	unsetenv("GSCHED_STACK");
	/* canaries would be on other stacks' pages */
	setenv("GSCHED_GUARD", "auto", 1);
	RUN(go_crowd, NULL);
}
#endif

static void go_nil(void *arg)
{
	gs_go(NULL, NULL);
}

/* a nil function panics as in Go */
TEST(nil_function)
{
	struct ut_child *c = ut_child_run(go_nil, NULL, UT_WAIT * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "go of nil func value");
}

TEST_HARNESS_MAIN
