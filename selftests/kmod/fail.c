// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of the module, and every look into user memory, is made to fail, one
 * after the other: the n-th of each call, until the call gets by without. Needs a kernel
 * that can do that (fail-nth); the debug kernel can, and looks for leaks besides.
 */
#include "kutil.h"

#define DEBUG "/sys/kernel/debug/"

static int fail_nth = -1;

static bool have_faults(void)
{
	static const char *const files[][2] = {
		{DEBUG "failslab/ignore-gfp-wait", "N"},
		{DEBUG "fail_page_alloc/ignore-gfp-wait", "N"},
		{DEBUG "fail_page_alloc/ignore-gfp-highmem", "N"},
		{DEBUG "fail_page_alloc/min-order", "0"},
		/* not a word of each in the log */
		{DEBUG "failslab/verbose", "0"},
		{DEBUG "fail_page_alloc/verbose", "0"},
		{DEBUG "fail_usercopy/verbose", "0"},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (!k_write(files[i][0], files[i][1]))
			return false;
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return fail_nth >= 0;
}

/* The n-th from now on fails, of this thread; that may be this very write. */
static void fail(int n)
{
	char text[16];
	int len = sprintf(text, "%d", n);

	while (pwrite(fail_nth, text, len, 0) != len)
		if (errno != EFAULT)
			abort();
}

/* No more of that. Did it happen? */
static bool failed(void)
{
	char text[16] = "";
	bool ok = pread(fail_nth, text, sizeof(text) - 1, 0) > 0;

	fail(0);
	return ok && atoi(text) == 0;
}

/*
 * One call, made ready by @prepare, taken back by @undo if it was successful. The return
 * value of @call is not negative then.
 */
struct step {
	const char *name;
	bool (*prepare)(void);
	long (*call)(void);
	void (*undo)(void);
	void (*clear)(void); /* what prepare() did */
};

static int fd;
static void *mapped;

static bool nothing(void)
{
	return true;
}

static void no_undo(void) {}

static long do_open(void)
{
	fd = open("/dev/gsched", O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : 0;
}

static void do_close(void)
{
	close(fd);
}

static bool prepare_open(void)
{
	return do_open() == 0;
}

static long do_setup(void)
{
	struct gsched_setup setup = k_setup_arg(2);

	return k_setup_raw(fd, &setup);
}

static bool prepare_setup(void)
{
	return prepare_open() && do_setup() == 0;
}

static long do_mmap(void)
{
	mapped = mmap(NULL, GSCHED_HEAD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return mapped == MAP_FAILED ? -errno : 0;
}

static void undo_mmap(void)
{
	munmap(mapped, GSCHED_HEAD_SIZE);
}

static long do_attach(void)
{
	return kret(ioctl(fd, GSCHED_IOC_ATTACH));
}

static void undo_attach(void)
{
	if (ioctl(fd, GSCHED_IOC_DETACH))
		abort();
}

static bool prepare_attach(void)
{
	return prepare_setup() && do_attach() == 0;
}

static void clear_attach(void)
{
	undo_attach();
	do_close();
}

static long do_park(void)
{
	struct gsched_park park = {.deadline = 1};
	long ret = kret(ioctl(fd, GSCHED_IOC_PARK, &park));

	return ret == -ETIMEDOUT ? 0 : ret;
}

static long do_unpark(void)
{
	struct gsched_unpark unpark = {.flags = GSCHED_UNPARK_ANY};
	long ret = kret(ioctl(fd, GSCHED_IOC_UNPARK, &unpark));

	return ret == -EAGAIN ? 0 : ret;
}

static long do_chunk(void)
{
	mapped = mmap(NULL, GSCHED_CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      GSCHED_OFF_CHUNK(0));
	return mapped == MAP_FAILED ? -errno : 0;
}

static void undo_chunk(void)
{
	munmap(mapped, GSCHED_CHUNK_SIZE);
}

static long do_fdinfo(void)
{
	struct ktx k = {.fd = fd};

	return k_fdinfo(&k, "workers") < 0 ? -ENOMEM : 0;
}

static const struct step steps[] = {
	{"open", nothing, do_open, do_close, no_undo},
	{"SETUP", prepare_open, do_setup, no_undo, do_close},
	{"mmap of the head", prepare_setup, do_mmap, undo_mmap, do_close},
	{"ATTACH", prepare_setup, do_attach, undo_attach, do_close},
	{"mmap of a chunk", prepare_attach, do_chunk, undo_chunk, clear_attach},
	{"PARK", prepare_attach, do_park, no_undo, clear_attach},
	{"UNPARK", prepare_attach, do_unpark, no_undo, clear_attach},
	{"fdinfo", prepare_setup, do_fdinfo, no_undo, do_close},
};

/* Errors that a failed allocation, or a page that is not there, may come to. */
static bool fair(long ret)
{
	return ret == -ENOMEM || ret == -EFAULT || ret == -ENFILE || ret == -EAGAIN;
}

TEST(calls)
{
	size_t i;
	int n, failures, errors;

	if (!have_faults())
		SKIP(return, "no fault injection");
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *s = &steps[i];
		bool more = true;

		failures = errors = 0;
		for (n = 1; more; n++) {
			long ret;

			ASSERT_LT(n, 1000);
			ASSERT_TRUE(s->prepare());
			fail(n);
			ret = s->call();
			more = failed();
			failures += more;
			errors += ret < 0;
			if (ret >= 0) {
				s->undo();
			} else {
				EXPECT_TRUE(more && fair(ret))
				{
					TH_LOG("%s: failure %d came to %ld", s->name, n, ret);
				}
				/* the same again is good: nothing was half done */
				ret = s->call();
				EXPECT_LE(0, ret)
				{
					TH_LOG("%s: after failure %d: %ld", s->name, n, ret);
				}
				if (ret >= 0)
					s->undo();
			}
			s->clear();
			EXPECT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0));
		}
		TH_LOG("%s: %d failures, %d errors", s->name, failures, errors);
		EXPECT_LE(1, errors);
	}
}

/* All processors but the first. */
static void others(const char *online)
{
	char path[64];

	for (int i = 1; i < 64; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", i);
		if (access(path, F_OK))
			break;
		k_write(path, online);
	}
}

/* What is left of the count when the module's start is over. */
static int start_left(void)
{
	FILE *f = fopen("/sys/module/gsched/parameters/fail_start", "re");
	int left = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &left) != 1)
		left = -1;
	fclose(f);
	return left;
}

/* The module's own start: each failure is an error, and nothing stays behind. */
TEST(loading)
{
	int n, failures = 0, errors = 0;
	bool more = true;

	if (access(K_MODULE, R_OK) || !have_faults())
		SKIP(return, "no fault injection");
	if (k_stale_code())
		others("0");
	for (n = 1; more; n++) {
		char option[32];
		long ret;

		ASSERT_LT(n, 1000);
		ASSERT_TRUE(until((ret = k_unload("gsched")) == 0 || ret == -ENOENT));
		snprintf(option, sizeof(option), "fail_start=%d", n);
		ret = k_load_with(K_MODULE, option);
		more = ret < 0 || start_left() == 0;
		failures += more;
		errors += ret < 0;
		if (ret < 0) {
			EXPECT_TRUE(ret == -ENOMEM)
			{
				TH_LOG("failure %d came to %ld", n, ret);
			}
			EXPECT_EQ(-1, access("/dev/gsched", F_OK));
			EXPECT_EQ(-1, access(DEBUG "gsched", F_OK));
		}
	}
	TH_LOG("%d failures, %d errors", failures, errors);
	EXPECT_LE(3, errors);
	EXPECT_EQ(0, access("/dev/gsched", F_OK));
	EXPECT_EQ(0, access(DEBUG "gsched/inject", F_OK));
	others("1");
}

TEST_HARNESS_MAIN
