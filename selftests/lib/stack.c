// SPDX-License-Identifier: GPL-2.0
/* Fiber stacks: their sizes, their guards, what they cost. */
#include <sys/resource.h>

#include "util.h"

static long done; /* atomic */

static void use_bytes(void *arg)
{
	size_t size = (size_t)arg;
	volatile char *p = __builtin_alloca(size);

	for (size_t i = 0; i < size; i += 1024)
		p[i] = (char)(i >> 10);
	gs_yield();
	for (size_t i = 0; i < size; i += 1024)
		if (p[i] != (char)(i >> 10)) {
			CHECK(!"stack content lost");
			break;
		}
	ADD(done, 1);
}

static void use_many(void *arg)
{
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gs_go(use_bytes, arg), 0);
	UNTIL(LOAD(done) == 100);
	/* recycled ones */
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gs_go(use_bytes, arg), 0);
	UNTIL(LOAD(done) == 200);
}

/* the default is 256 KiB: 240 of them can be used, by a hundred at once */
TEST(default_size)
{
	unsetenv("GSCHED_STACK");
	RUN(use_many, (void *)(240ul << 10));
}

/* GSCHED_STACK makes it larger */
TEST(env_larger)
{
	setenv("GSCHED_STACK", "2097152", 1);
	RUN(use_many, (void *)(2000ul << 10));
}

/* GSCHED_STACK makes it smaller; the least is 16 KiB, and plain fibers run on it */
TEST(env_smallest)
{
#if defined(UT_ASAN) || defined(UT_TSAN)
	SKIP(return, "a sanitizer's frames are larger");
#endif
	setenv("GSCHED_STACK", "16384", 1);
	RUN(use_many, (void *)(6ul << 10));
}

/* a size that is no power of two is rounded up */
TEST(env_odd)
{
	setenv("GSCHED_STACK", "300000", 1);
	RUN(use_many, (void *)280000ul);
}

/* ------------------------------------------------------------------------- */

static int __attribute__((noinline)) overflow(int depth)
{
	volatile char frame[500];

	frame[0] = (char)depth;
	if (depth > 10000000)
		return 0;
	return overflow(depth + 1) + frame[0];
}

static void overflow_fiber(void *arg)
{
	STORE(done, overflow(0));
}

static void start_overflow(void *arg)
{
	struct gs_attr attr = {.stack_size = (size_t)arg, .name = "deep one"};

	CHECK_EQ(gs_go_attr(&attr, overflow_fiber, NULL), 0);
	UNTIL(LOAD(done));
}

static void overflow_child(void *arg)
{
	struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	gs_run(start_overflow, arg);
}

#if defined(UT_ASAN) || defined(UT_TSAN)
/* the sanitizer says it, in its own words */
#define DIED_BY_OVERFLOW(c, fiber, bytes)                                                          \
	EXPECT_NE(0, (c)->status);                                                                 \
	EXPECT_FALSE((c)->timed_out)
#else
#define DIED_BY_OVERFLOW(c, fiber, bytes)                                                          \
	EXPECT_EQ(128 + SIGSEGV, (c)->status);                                                     \
	EXPECT_FALSE((c)->timed_out);                                                              \
	EXPECT_NE(NULL, strstr((c)->err, fiber " needs more stack than " bytes " bytes"));         \
	EXPECT_NE(NULL, strstr((c)->err, "\nfatal error: stack overflow\n"));                      \
	EXPECT_NE(NULL, strstr((c)->err, " [running]:\noverflow(...)\n"))
#endif

/* an overflow says which fiber, how large its stack is and where it is; then SIGSEGV */
TEST(overflow_dies)
{
	struct ut_child *c;

	unsetenv("GSCHED_STACK");
	c = ut_child_run(overflow_child, (void *)0, UT_WAIT * SEC);
	DIED_BY_OVERFLOW(c, "(deep one)", "262144");
	c = ut_child_run(overflow_child, (void *)(64ul << 10), UT_WAIT * SEC);
	DIED_BY_OVERFLOW(c, "(deep one)", "65536");
	c = ut_child_run(overflow_child, (void *)(1ul << 20), UT_WAIT * SEC);
	DIED_BY_OVERFLOW(c, "(deep one)", "1048576");
}

/* the same with each kind of guard; a kernel that lacks one gets another */
TEST(overflow_of_each_guard)
{
	static const char *const kinds[] = {"install", "poison", "mprotect"};

	unsetenv("GSCHED_STACK");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct ut_child *c;

		setenv("GSCHED_GUARD", kinds[i], 1);
		c = ut_child_run(overflow_child, (void *)0, UT_WAIT * SEC);
		DIED_BY_OVERFLOW(c, "(deep one)", "262144");
	}
}

#if !defined(UT_ASAN) && !defined(UT_TSAN)
static void __attribute__((noinline)) overrun(size_t size)
{
	volatile char frame[size] UT_UNUSED;

	for (size_t i = size; i-- > 0;)
		frame[i] = 1;
}

static void overrun_fiber(void *arg)
{
	overrun((size_t)arg);
	gs_yield();
	STORE(done, 1);
}

static void overrun_to_the_end(void *arg)
{
	overrun((size_t)arg);
	STORE(done, 1);
}

static void nothing(void *arg) {}

/* The first stack of its size; one among others, nobody on the next; one of its own size. */
static void start_overrun(void *arg)
{
	const struct gs_attr attr = {.name = "deep one"},
			     odd = {.stack_size = 48 << 10, .name = "deep one"};

	switch ((long)arg) {
	case 0:
		CHECK_EQ(gs_go_attr(&attr, overrun_fiber, (void *)(size_t)63000), 0);
		break;
	case 1:
		for (int i = 0; i < 10; i++)
			CHECK_EQ(gs_go(nothing, NULL), 0);
		UNTIL(gs_num_fibers() == 1);
		CHECK_EQ(gs_go_attr(&attr, overrun_to_the_end, (void *)(size_t)66000), 0);
		break;
	default:
		CHECK_EQ(gs_go_attr(&odd, overrun_fiber, (void *)(size_t)47000), 0);
	}
	UNTIL(LOAD(done) && gs_num_fibers() == 1);
}

static void overrun_child(void *arg)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	gs_run(start_overrun, arg);
}

/* without a guard it is found out when the fiber parks or ends, and said as well */
TEST(overrun_without_guard)
{
	ut_set_procs(1);
	setenv("GSCHED_STACK", "65536", 1);
	setenv("GSCHED_GUARD", "none", 1);
	for (long i = 0; i < 3; i++) {
		struct ut_child *c = ut_child_run(overrun_child, (void *)i, UT_WAIT * SEC);

		EXPECT_EQ(128 + SIGSEGV, c->status);
		EXPECT_FALSE(c->timed_out);
		EXPECT_NE(NULL,
			  strstr(c->err, i < 2 ? "(deep one) needs more stack than 65536 bytes"
					       : "(deep one) needs more stack than 49152 bytes"));
		EXPECT_NE(NULL, strstr(c->err, "\nfatal error: stack overflow\n"));
		free(c);
	}
}
#endif

static void main_overflow_child(void *arg)
{
	const struct rlimit none = {0, 0}, stack = {4 << 20, RLIM_INFINITY};

	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_STACK, &stack);
	gs_run(overflow_fiber, NULL);
}

/* gs_run's fiber has the stack that ulimit -s says, and a guard as well */
TEST(main_overflow_dies)
{
	struct ut_child *c = ut_child_run(main_overflow_child, NULL, UT_WAIT * SEC);

	DIED_BY_OVERFLOW(c, "(main)", "4194304");
}

/* ------------------------------------------------------------------------- */
/* Faults that are none                                                        */

#if !defined(UT_ASAN) && !defined(UT_TSAN)
/* not NULL: UBSan would say that itself */
static void *volatile nowhere = (void *)16;

static void fault(void *arg)
{
	*(volatile char *)nowhere = 1;
}

static void send(void *arg)
{
	kill(getpid(), (int)(long)arg);
	pause();
}

static void fault_child(void *arg)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	gs_run(arg ? send : fault, arg);
}

/* any other fault, and a signal that somebody sends, ends the process as ever */
TEST(plain_fault_dies)
{
	static const int signals[] = {0, SIGSEGV, SIGBUS};

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct ut_child *c =
			ut_child_run(fault_child, (void *)(long)signals[i], UT_WAIT * SEC);

		EXPECT_EQ(128 + (signals[i] ?: SIGSEGV), c->status);
		EXPECT_EQ(NULL, strstr(c->err, "overflow"));
	}
}

static void on_fault(int signo)
{
	_exit(3);
}

static void own_before_child(void *arg)
{
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	gs_run(start_overflow, NULL);
}

static void own_after(void *arg)
{
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	start_overflow(NULL);
}

static void own_after_child(void *arg)
{
	gs_run(own_after, NULL);
}

/* the program's own handler is called for an overflow, on a stack that has room */
TEST(own_handler)
{
	struct ut_child *c = ut_child_run(own_before_child, NULL, UT_WAIT * SEC);

	EXPECT_EQ(3, c->status);
	EXPECT_EQ(NULL, strstr(c->err, "overflow"));
	c = ut_child_run(own_after_child, NULL, UT_WAIT * SEC);
	EXPECT_EQ(3, c->status);
	EXPECT_EQ(NULL, strstr(c->err, "overflow"));
}
#endif

/* ------------------------------------------------------------------------- */

#if !defined(UT_ASAN) && !defined(UT_TSAN)
static long alive; /* atomic */
static int stop;   /* atomic */

static void touch_guard(void *arg)
{
	char here, *lo = &here;

	/* default slots are aligned to their size: the lowest page is the guard */
	lo = (char *)((uintptr_t)lo & ~((uintptr_t)(256 << 10) - 1));
	lo[4095] = 1;
	STORE(stop, 1);
}

static void many_then_touch(void *arg)
{
	/* not the first slot of a chunk: its neighbour below is another stack */
	for (int i = 0; i < 100; i++)
		gs_go(use_bytes, (void *)1000ul);
	gs_go(touch_guard, NULL);
	/* that ends us, or this */
	UNTIL(LOAD(stop));
}

static void touch_child(void *arg)
{
	struct rlimit none = {0, 0};

	unsetenv("GSCHED_STACK");
	setrlimit(RLIMIT_CORE, &none);
	gs_run(many_then_touch, NULL);
}

/* the page below a stack among others is not writable */
TEST(guard_between_stacks)
{
	struct ut_child *c = ut_child_run(touch_child, NULL, UT_WAIT * SEC);

	EXPECT_EQ(128 + SIGSEGV, c->status);
}

#define ODD ((size_t)20 << 10)

static void touch_own_guard(void *arg)
{
	char here, *end = (char *)(((uintptr_t)&here | 4095) + 1);

	(end - ODD)[100] = 1;
	STORE(stop, 1);
}

/* More than the guards that mprotect makes, but never at a time. */
static void odd_then_touch(void *arg)
{
	static const struct gs_attr odd = {.stack_size = ODD};

	for (int i = 0; i < 30100; i++) {
		CHECK_EQ(gs_go_attr(&odd, nothing, NULL), 0);
		if (i % 100 == 99)
			UNTIL(gs_num_fibers() == 1);
	}
	CHECK_EQ(gs_go_attr(&odd, touch_own_guard, NULL), 0);
	UNTIL(LOAD(stop));
}

static void odd_child(void *arg)
{
	struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	gs_run(odd_then_touch, NULL);
}

/* mprotect's guards are limited: those of unmapped stacks do not count */
TEST(guards_come_and_go)
{
	struct ut_child *c;

	setenv("GSCHED_GUARD", "mprotect", 1);
	c = ut_child_run(odd_child, NULL, 60 * SEC);
	EXPECT_EQ(128 + SIGSEGV, c->status);
	EXPECT_NE(NULL, strstr(c->err, "\nfatal error: stack overflow\n"));
}

static long maps_lines(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	long n = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static void park(void *arg)
{
	ADD(alive, 1);
	while (!LOAD(stop))
		gs_sleep(200 * MS);
}

static void count_maps(void *arg)
{
	long before = maps_lines();

	for (int i = 0; i < 2000; i++)
		CHECK_EQ(gs_go(park, NULL), 0);
	UNTIL(LOAD(alive) == 2000);
	fprintf(stderr, "# mappings: %ld\n", maps_lines() - before);
}

static void maps_child(void *arg)
{
	gs_run(count_maps, NULL);
}

/* guards cost no mappings where the kernel has another kind than mprotect */
TEST(mappings)
{
	struct ut_child *c;
	const char *at;

	unsetenv("GSCHED_STACK");
	setenv("GSCHED_DEBUG", "backend=1", 1);
	c = ut_child_run(maps_child, NULL, 60 * SEC);
	EXPECT_EQ(0, c->status);
	at = strstr(c->err, "# mappings: ");
	ASSERT_NE(NULL, at);
	dprintf(1, "%s", at);
	if (strstr(c->err, "guards by mprotect")) {
		EXPECT_GE(atol(at + 12), 2000);
	} else {
		/* some are the threads': how many of those is the machine's matter */
		EXPECT_LE(atol(at + 12), 1000);
	}
}

static long rss_pages(void)
{
	long size, rss = -1;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%ld %ld", &size, &rss) != 2)
		rss = -1;
	if (f)
		fclose(f);
	return rss;
}

static void measure(void *arg)
{
	long n = (long)arg, all = 500, before, grown;

	/* what the first ones bring with them */
	for (int i = 0; i < 500; i++)
		CHECK_EQ(gs_go(park, NULL), 0);
	UNTIL(LOAD(alive) == 500);
	/* threads that come meanwhile, and who is interrupted, cost more: not each time */
	for (int tries = 0; tries < 5; tries++) {
		before = rss_pages();
		for (long i = 0; i < n; i++)
			CHECK_EQ(gs_go(park, NULL), 0);
		all += n;
		UNTIL(LOAD(alive) == all);
		grown = rss_pages() - before;
		dprintf(1, "# %.2f pages a fiber\n", (double)grown / (double)n);
		if (grown <= 2 * n)
			break;
	}
	CHECK_LE(grown, 2 * n);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
}

/* a parked fiber that used little stack costs at most two pages */
TEST(cost_of_a_parked_fiber)
{
	unsetenv("GSCHED_STACK");
	RUN(measure, (void *)ut_count(20000, 1000));
}
#endif

TEST_HARNESS_MAIN
