// SPDX-License-Identifier: GPL-2.0
/*
 * The module comes and goes while programs use it, or try to. It can be unloaded between
 * two of them and never under one; what it left behind would be found by the next kernel
 * log or, on the debug kernel, as a leak.
 *
 * Environment: GSCHED_TEST_LONG=1: 1000 times, else 100; fewer on a machine so slow that
 * selftests/run would lose patience.
 */
#include "kutil.h"
#include <sys/prctl.h>
#include <sys/stat.h>

#define USERS 3

/* Shared with the users. */
static struct {
	bool pause, stop;
	uint32_t lives; /* how many contexts they had */
} * shared;

struct life {
	int fd;
	uint32_t seed;
};

/* A worker that works a little, and ends in one way or another. */
static void *life(void *arg)
{
	struct timespec t = {.tv_nsec = 100000};
	struct life *l = arg;
	struct gsched_park park = {.deadline = now_ns() + 1000000};

	if (ioctl(l->fd, GSCHED_IOC_ATTACH) < 0)
		return NULL;
	ioctl(l->fd, GSCHED_IOC_ACQUIRE);
	/* depth 1, so the proc is kept; then there is none to keep */
	nanosleep(&t, NULL);
	ioctl(l->fd, GSCHED_IOC_PARK, &park);
	if (k_rnd(&l->seed) % 2)
		ioctl(l->fd, GSCHED_IOC_DETACH);
	return NULL;
}

static void one_life(uint32_t *seed)
{
	struct gsched_setup setup = k_setup_arg(1);
	struct life l = {.fd = open("/dev/gsched", O_RDWR | O_CLOEXEC), .seed = k_rnd(seed) | 1};
	void *head = MAP_FAILED;
	pthread_t t;

	/* It may be gone, or going. */
	if (l.fd < 0)
		return;
	if (!ioctl(l.fd, GSCHED_IOC_SETUP, &setup)) {
		head = mmap(NULL, GSCHED_HEAD_SIZE, PROT_READ, MAP_SHARED, l.fd, 0);
		if (!pthread_create(&t, NULL, life, &l))
			pthread_join(t, NULL);
		__atomic_add_fetch(&shared->lives, 1, __ATOMIC_RELAXED);
	}
	close(l.fd);
	if (head != MAP_FAILED)
		munmap(head, GSCHED_HEAD_SIZE);
}

static int user(uint32_t seed)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		if (!__atomic_load_n(&shared->pause, __ATOMIC_ACQUIRE))
			one_life(&seed);
		usleep(k_rnd(&seed) % 2000);
	}
	return 0;
}

/* Out it goes; if it is always in use, the users make a pause. */
static long unload_at_last(int *busy)
{
	uint64_t end = now_ns() + wait_ns();
	long ret;
	int n = 0;

	while ((ret = k_unload("gsched")) == -EAGAIN && now_ns() < end) {
		++*busy;
		if (++n == 20)
			__atomic_store_n(&shared->pause, true, __ATOMIC_RELEASE);
		usleep(200);
	}
	__atomic_store_n(&shared->pause, false, __ATOMIC_RELEASE);
	return ret;
}

TEST(reload)
{
	int i, rounds, n = getenv("GSCHED_TEST_LONG") ? 1000 : 100, busy = 0, status;
	uint64_t end = now_ns() + (n > 100 ? 500 : 150) * NS_PER_S;
	pid_t users[USERS];
	struct stat st;

	if (access(K_MODULE, R_OK))
		SKIP(return, "no module to load");
	if (k_stale_code())
		SKIP(return, "emulated processors; one alone can do it");
	ASSERT_EQ(0, stat("/dev/gsched", &st));
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	for (i = 0; i < USERS; i++) {
		users[i] = fork();
		if (!users[i])
			_exit(user(i + 1));
	}
	for (i = 0; i < n && (i < 12 || now_ns() < end); i++) {
		uint32_t lives = __atomic_load_n(&shared->lives, __ATOMIC_RELAXED);

		/* now and then its samples and its tracepoints are on when it goes */
		if (i % 4 == 1)
			ASSERT_TRUE(k_write("/sys/kernel/debug/gsched/sample_us", "100"));
		if (i % 4 == 2)
			k_write("/sys/kernel/tracing/events/gsched/enable", "1");
		ASSERT_EQ(0, unload_at_last(&busy))
		{
			TH_LOG("round %d", i);
		}
		EXPECT_EQ(-ENOENT, k_unload("gsched"));
		ASSERT_EQ(0, k_load(K_MODULE));
		/* now and then it is really used */
		if (i % 10 == 0)
			ASSERT_TRUE(
				until(__atomic_load_n(&shared->lives, __ATOMIC_RELAXED) > lives));
	}
	rounds = i;
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < USERS; i++) {
		ASSERT_EQ(users[i], waitpid(users[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	TH_LOG("%d times; busy %d times; %u contexts in between", rounds, busy, shared->lives);
	EXPECT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0));
	/* as it was found */
	EXPECT_TRUE(k_device_as(&st));
}

TEST_HARNESS_MAIN
