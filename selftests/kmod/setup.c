// SPDX-License-Identifier: GPL-2.0
/*
 * What is refused, and with which errno: SETUP, arguments, mmap, other
 * processes; and how workers come and go.
 */
#include "kutil.h"
#include <sys/socket.h>
#include <sys/sysinfo.h>

static long raw(int fd, unsigned long cmd, void *arg)
{
	return kret(ioctl(fd, cmd, arg));
}

static long map(int fd, size_t size, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, size, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, size);
	return 0;
}

#define RW (PROT_READ | PROT_WRITE)

/* Before SETUP there is nothing: -ENXIO. */
TEST(before_setup)
{
	struct gsched_unpark unpark = {.flags = GSCHED_UNPARK_ANY};
	struct gsched_park park = {0};
	int fd = k_device();

	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_ATTACH, NULL));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_DETACH, NULL));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_PARK, &park));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_PARK_TO, &park));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_UNPARK, &unpark));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_ACQUIRE, NULL));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_KICK, NULL));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_TICK, NULL));
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_SET_PROCS, (void *)1));
	EXPECT_EQ(-ENXIO, map(fd, GSCHED_HEAD_SIZE, RW, MAP_SHARED, 0));
	close(fd);
}

/* SETUP checks the version first, then each field, then the features. */
TEST(setup_refuses)
{
	struct gsched_setup s;
	int fd = k_device();
	void *page;

	EXPECT_EQ(-EFAULT, raw(fd, GSCHED_IOC_SETUP, NULL));

	s = k_setup_arg(1);
	s.abi_major = GSCHED_ABI_MAJOR + 1;
	s.size = 1;
	EXPECT_EQ(-EPROTO, k_setup_raw(fd, &s));
	EXPECT_EQ(GSCHED_ABI_MAJOR, s.abi_major);
	s = k_setup_arg(1);
	s.abi_major = 0;
	EXPECT_EQ(-EPROTO, k_setup_raw(fd, &s));

	s = k_setup_arg(1);
	s.size--;
	s.abi_minor = 77;
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));
	/* no answer but those that say so */
	EXPECT_EQ(77, s.abi_minor);
	s = k_setup_arg(1);
	s.size++;
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));
	s = k_setup_arg(0);
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));
	s = k_setup_arg(GSCHED_MAXPROCS + 1);
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));
	s = k_setup_arg(1);
	s._pad[1] = 1ull << 63;
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));
	s = k_setup_arg(1);
	s.trampoline = 0x400000;
	s.trampoline_size = -1ull;
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));
	s = k_setup_arg(1);
	s.trampoline = 0xffffffff81000000ull;
	EXPECT_EQ(-EINVAL, k_setup_raw(fd, &s));

	s = k_setup_arg(1);
	s.features = 1ull << 63;
	EXPECT_EQ(-EOPNOTSUPP, k_setup_raw(fd, &s));
	EXPECT_TRUE(s.features & GSCHED_F_HANDOFF);
	EXPECT_FALSE(s.features & (1ull << 63));

	/* The answer cannot be written. */
	page = mmap(NULL, 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	s = k_setup_arg(1);
	memcpy(page, &s, sizeof(s));
	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, raw(fd, GSCHED_IOC_SETUP, page));

	/* Nothing of this made a context. */
	EXPECT_EQ(-ENXIO, raw(fd, GSCHED_IOC_ATTACH, NULL));
}

/* SETUP answers, fills the head, and works once. */
TEST(setup_works_once)
{
	struct gsched_setup s = k_setup_arg(3);
	struct gsched_proc *p;
	struct gsched_header *h;
	int i, fd = k_device();

	s.features = GSCHED_F_HANDOFF;
	ASSERT_EQ(0, k_setup_raw(fd, &s));
	EXPECT_EQ(GSCHED_ABI_MAJOR, s.abi_major);
	EXPECT_EQ(GSCHED_ABI_MINOR, s.abi_minor);
	EXPECT_TRUE(s.features & GSCHED_F_HANDOFF);
	EXPECT_EQ(!(s.features & GSCHED_F_TICK), s.slice_ns == 0);
	EXPECT_EQ(-EBUSY, k_setup_raw(fd, &s));

	h = mmap(NULL, GSCHED_HEAD_SIZE, RW, MAP_SHARED, fd, GSCHED_OFF_HEAD);
	ASSERT_NE(MAP_FAILED, h);
	EXPECT_EQ(GSCHED_ABI_MAJOR, h->abi_major);
	EXPECT_EQ(3, h->nproc);
	EXPECT_EQ(3, h->procs_used);
	EXPECT_EQ(3, h->idle);
	EXPECT_EQ(0, h->standby);
	EXPECT_EQ(0, h->workers);
	p = (void *)((char *)h + GSCHED_PROCS_OFFSET);
	for (i = 0; i < GSCHED_MAXPROCS; i++)
		EXPECT_EQ(i < 3 ? GSCHED_OWNER_IDLE : GSCHED_RETIRED, p[i].owner);
}

static int race_fd;
static long race_ok, race_busy;
static pthread_barrier_t race_barrier;

static void *race_setup(void *unused)
{
	struct gsched_setup s = k_setup_arg(1);
	long ret;

	pthread_barrier_wait(&race_barrier);
	ret = k_setup_raw(race_fd, &s);
	if (!ret)
		__atomic_add_fetch(&race_ok, 1, __ATOMIC_RELAXED);
	else if (ret == -EBUSY)
		__atomic_add_fetch(&race_busy, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Of several threads that do SETUP at once exactly one succeeds. */
TEST(setup_race)
{
	pthread_t t[4];
	int i, round;

	pthread_barrier_init(&race_barrier, NULL, 4);
	for (round = 0; round < 20; round++) {
		race_fd = k_device();
		race_ok = 0;
		race_busy = 0;
		for (i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, race_setup, NULL);
		for (i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		EXPECT_EQ(1, race_ok);
		EXPECT_EQ(3, race_busy);
		close(race_fd);
	}
	EXPECT_TRUE(until(k_stat("contexts") == 0));
}

/* Unknown calls: -ENOTTY. Bad pointers: -EFAULT. */
TEST(unknown_calls)
{
	void *bad = (void *)16;
	struct ktx k;

	k_open(&k, 1);
	EXPECT_EQ(-ENOTTY, raw(k.fd, _IO(GSCHED_IOC_MAGIC, 0x40), NULL));
	EXPECT_EQ(-ENOTTY, raw(k.fd, _IO('x', 0x01), NULL));
	/* Another size is another call. */
	EXPECT_EQ(-ENOTTY, raw(k.fd, _IOW(GSCHED_IOC_MAGIC, 0x03, char), NULL));
	EXPECT_EQ(-ENOTTY, raw(k.fd, FIONREAD, NULL));
	EXPECT_EQ(-EFAULT, raw(k.fd, GSCHED_IOC_UNPARK, bad));
	ASSERT_EQ(0, k_attach(&k));
	EXPECT_EQ(-EFAULT, raw(k.fd, GSCHED_IOC_PARK, bad));
	EXPECT_EQ(-EFAULT, raw(k.fd, GSCHED_IOC_PARK_TO, bad));
}

/* Unknown flags and indices out of range: -EINVAL. */
TEST(bad_arguments)
{
	struct gsched_park park = {.target = 1};
	struct ktx k;

	k_open(&k, 2);
	ASSERT_EQ(0, k_attach(&k));
	EXPECT_EQ(-EINVAL, k_park(&k, 1u << 31, 1));
	EXPECT_EQ(-EINVAL, raw(k.fd, GSCHED_IOC_PARK, &park));
	EXPECT_EQ(-EINVAL, k_park_to(&k, 1u << 1, 0, 1));
	EXPECT_EQ(-EINVAL, k_park_to(&k, 0, GSCHED_MAXWORKERS, 1));
	EXPECT_EQ(-EINVAL, k_park_to(&k, 0, -1, 1));
	EXPECT_EQ(-EINVAL, k_unpark(&k, 0, 0));
	EXPECT_EQ(-EINVAL, k_unpark(&k, GSCHED_UNPARK_ANY | GSCHED_UNPARK_PROC, 0));
	EXPECT_EQ(-EINVAL, k_unpark(&k, 1u << 3, 0));
	EXPECT_EQ(-EINVAL, k_unpark(&k, GSCHED_UNPARK_ANY, 1));
	EXPECT_EQ(0, k_unpark(&k, GSCHED_UNPARK_PROC, 2));
	EXPECT_EQ(-EINVAL, k_unpark(&k, GSCHED_UNPARK_PROC, GSCHED_MAXPROCS));
	EXPECT_EQ(-EINVAL, k_unpark(&k, GSCHED_UNPARK_PROC, -1));
	EXPECT_EQ(-EINVAL, k_unpark(&k, GSCHED_UNPARK_WORKER, GSCHED_MAXWORKERS));
	EXPECT_EQ(-EINVAL, k_unpark(&k, GSCHED_UNPARK_WORKER, -1));
	EXPECT_EQ(-EINVAL, k_set_procs(&k, 0));
	EXPECT_EQ(-EINVAL, k_set_procs(&k, GSCHED_MAXPROCS + 1));
	EXPECT_EQ(-EINVAL, k_set_procs(&k, -1ul));
	EXPECT_EQ(2, k.h->nproc);
	EXPECT_TRUE(k_idle_exact(&k, 2));
}

/* KICK of a proc that nobody owns is none; out of range it is -EINVAL. */
TEST(kick_nobody)
{
	struct ktx k;

	k_open(&k, 1);
	EXPECT_EQ(0, k_kick(&k, 0));
	EXPECT_EQ(0, k_kick(&k, GSCHED_MAXPROCS - 1));
	EXPECT_EQ(-EINVAL, k_kick(&k, GSCHED_MAXPROCS));
	EXPECT_EQ(-EINVAL, k_kick(&k, -1ul));
	EXPECT_EQ(0, k_tick(&k));
	EXPECT_EQ(0, k_fdinfo(&k, "ticks"));
}

/* ... which the module's parameter says, within the same limits. */
TEST(slice_parameter)
{
	static const struct {
		const char *us;
		uint64_t asked, ns;
	} cases[] = {
		{"2000", 0, 2000000}, {"2000", 5000000, 5000000},	{"1", 0, 100000},
		{"0", 0, 100000},     {"4000000000", 0, 10 * NS_PER_S}, {"10000", 0, 10000000},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gsched_setup s = k_setup_arg(1);
		int fd = k_device();

		ASSERT_TRUE(k_parameter("slice_us", cases[i].us));
		s.slice_ns = cases[i].asked;
		EXPECT_EQ(0, k_setup_raw(fd, &s));
		EXPECT_EQ(cases[i].ns, s.slice_ns);
		close(fd);
	}
	EXPECT_FALSE(k_parameter("slice_us", "fast"));
}

/* The slice: 10 ms unless asked, from 100 us to 10 s. */
TEST(slice_is_clamped)
{
	static const uint64_t asked[][2] = {
		{0, 10000000},
		{1, 100000},
		{250000, 250000},
		{-1ull, 10 * NS_PER_S},
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		struct gsched_setup s = k_setup_arg(1);
		int fd = k_device();

		s.slice_ns = asked[i][0];
		s.features = GSCHED_F_UPCALL | GSCHED_F_TICK;
		EXPECT_EQ(0, k_setup_raw(fd, &s));
		EXPECT_EQ(asked[i][1], s.slice_ns);
		close(fd);
	}
}

/* Calls of workers, by others: -ESRCH. */
TEST(needs_attached)
{
	struct ktx k;

	k_open(&k, 1);
	EXPECT_EQ(-ESRCH, k_park(&k, 0, 1));
	EXPECT_EQ(-ESRCH, k_park_to(&k, 0, 0, 1));
	EXPECT_EQ(-ESRCH, k_acquire(&k));
	EXPECT_EQ(-ESRCH, k_detach(&k));
	EXPECT_EQ(0, k_attach(&k));
	EXPECT_EQ(0, k_detach(&k));
	EXPECT_EQ(-ESRCH, k_detach(&k));
}

/* A thread is a worker once, whatever the context, and for that context only. */
TEST(attach_once)
{
	struct ktx k, other;

	k_open(&k, 1);
	k_open(&other, 1);
	EXPECT_EQ(0, k_attach(&k));
	EXPECT_EQ(-EBUSY, k_attach(&k));
	EXPECT_EQ(-EBUSY, k_attach(&other));
	EXPECT_EQ(-ESRCH, k_acquire(&other));
	EXPECT_EQ(-ESRCH, k_detach(&other));
	EXPECT_EQ(1, k.h->workers);
	EXPECT_EQ(0, other.h->workers);
	EXPECT_EQ(0, k_detach(&k));
	EXPECT_EQ(0, k_attach(&other));
}

/* A slot starts zeroed, with depth 1, also when the index was used before. */
TEST(slot_starts_clean)
{
	volatile struct gsched_slot *slot;
	struct ktx k;
	int i;

	k_open(&k, 1);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, k_attach(&k));
		slot = k_slot(&k, 0);
		EXPECT_EQ(1, slot->depth);
		EXPECT_EQ(0, slot->pending);
		EXPECT_EQ(0, slot->proc);
		EXPECT_EQ(0, slot->user[0]);
		EXPECT_EQ(0, slot->blocks);
		EXPECT_EQ(0, slot->grants);
		EXPECT_EQ(0, k_acquire(&k));
		EXPECT_EQ(1, slot->proc);
		memset((void *)slot, 0xff, sizeof(*slot));
		EXPECT_EQ(1, k.h->workers);
		EXPECT_EQ(0, k_detach(&k));
		EXPECT_EQ(0, k.h->workers);
		EXPECT_TRUE(k_idle_exact(&k, 1));
	}
}

/* More workers than a chunk has slots: the next chunk appears, and can be mapped. */
TEST(second_chunk)
{
	static struct puppet p[GSCHED_CHUNK_SLOTS + 3];
	char seen[GSCHED_CHUNK_SLOTS + 3] = {0};
	struct ktx k;
	int i;

	k_open(&k, 1);
	EXPECT_EQ(-ENXIO, map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED, GSCHED_OFF_CHUNK(0)));
	for (i = 0; i < GSCHED_CHUNK_SLOTS + 3; i++) {
		if (i == GSCHED_CHUNK_SLOTS) {
			EXPECT_EQ(-ENXIO, map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED,
					      GSCHED_OFF_CHUNK(1)));
		}
		puppet_new(&p[i], &k);
		ASSERT_GT(GSCHED_CHUNK_SLOTS + 3, p[i].w);
		EXPECT_EQ(0, seen[p[i].w]++);
	}
	EXPECT_EQ(GSCHED_CHUNK_SLOTS + 3, k.h->workers);
	/* The last one is as good as the first. */
	EXPECT_TRUE(puppet_bound(&p[GSCHED_CHUNK_SLOTS + 2]));
	EXPECT_EQ(1, k_unpark(&k, GSCHED_UNPARK_WORKER, p[GSCHED_CHUNK_SLOTS + 2].w));
	EXPECT_EQ(0, puppet_finish(&p[GSCHED_CHUNK_SLOTS + 2]));
	EXPECT_EQ(1, p[GSCHED_CHUNK_SLOTS + 2].slot->proc);
	for (i = 0; i < GSCHED_CHUNK_SLOTS + 3; i++)
		puppet_end(&p[i]);
	EXPECT_TRUE(until(k.h->workers == 0));
	EXPECT_TRUE(until(k_stat("workers") == 0));
	EXPECT_TRUE(k_idle_exact(&k, 1));
}

static struct {
	struct ktx k;
	long attached, full, other;
	uint32_t end;
} crowd;

static void *crowd_thread(void *unused)
{
	long w = k_attach(&crowd.k);
	long *count = w >= 0 ? &crowd.attached : w == -ENOSPC ? &crowd.full : &crowd.other;

	__atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
	while (!__atomic_load_n(&crowd.end, __ATOMIC_ACQUIRE))
		kfutex(&crowd.end, FUTEX_WAIT, 0);
	return NULL;
}

/* GSCHED_MAXWORKERS of them, and not one more, until one ends. */
TEST(too_many_workers)
{
	static pthread_t t[GSCHED_MAXWORKERS + 1];
	const char *scale = getenv("GSCHED_TEST_SCALE");
	pthread_attr_t attr;
	struct sysinfo info;
	int i, n = GSCHED_MAXWORKERS + 1;

	sysinfo(&info);
	if (info.totalram * info.mem_unit < 2ull << 30 || (scale && atoi(scale) > 4))
		SKIP(return, "too small or too slow a machine for %d threads", n);
	k_open(&crowd.k, 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, pthread_create(&t[i], &attr, crowd_thread, NULL));
	EXPECT_TRUE(until(crowd.attached + crowd.full + crowd.other == n));
	EXPECT_EQ(GSCHED_MAXWORKERS, crowd.attached);
	EXPECT_EQ(1, crowd.full);
	EXPECT_EQ(GSCHED_MAXWORKERS, crowd.k.h->workers);
	EXPECT_EQ(-ENOSPC, k_attach(&crowd.k));
	EXPECT_EQ(0, map(crowd.k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED,
			 GSCHED_OFF_CHUNK(MAX_CHUNKS - 1)));
	__atomic_store_n(&crowd.end, 1, __ATOMIC_RELEASE);
	kfutex(&crowd.end, FUTEX_WAKE, n);
	for (i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	EXPECT_TRUE(until(k_stat("workers") == 0));
	EXPECT_EQ(0, crowd.k.h->workers);
	EXPECT_EQ(0, k_attach(&crowd.k));
}

/* mmap: shared, not executable, these offsets and sizes only. */
TEST(mmap_rules)
{
	struct ktx k;
	void *p;

	k_open(&k, 1);
	ASSERT_EQ(0, k_attach(&k));
	EXPECT_EQ(0, map(k.fd, GSCHED_HEAD_SIZE, RW, MAP_SHARED, GSCHED_OFF_HEAD));
	EXPECT_EQ(0, map(k.fd, GSCHED_HEAD_SIZE, PROT_READ, MAP_SHARED, GSCHED_OFF_HEAD));
	EXPECT_EQ(0, map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED, GSCHED_OFF_CHUNK(0)));

	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_HEAD_SIZE, RW, MAP_PRIVATE, GSCHED_OFF_HEAD));
	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_HEAD_SIZE, RW | PROT_EXEC, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_HEAD_SIZE - 4096, RW, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_HEAD_SIZE + 4096, RW, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_HEAD_SIZE, RW, MAP_SHARED, 4096));
	EXPECT_EQ(-EINVAL, map(k.fd, 2 * GSCHED_CHUNK_SIZE, RW, MAP_SHARED, GSCHED_OFF_CHUNK(0)));
	EXPECT_EQ(-EINVAL, map(k.fd, 4096, RW, MAP_SHARED, GSCHED_OFF_CHUNK(0)));
	EXPECT_EQ(-EINVAL,
		  map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED, GSCHED_OFF_CHUNK(0) + 4096));
	EXPECT_EQ(-EINVAL,
		  map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED, GSCHED_OFF_CHUNK(MAX_CHUNKS)));
	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED,
			       GSCHED_OFF_CHUNK(0) - GSCHED_CHUNK_SIZE));
	EXPECT_EQ(-EINVAL, map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED, 1ull << 43));
	EXPECT_EQ(-ENXIO, map(k.fd, GSCHED_CHUNK_SIZE, RW, MAP_SHARED, GSCHED_OFF_CHUNK(1)));

	/* Nor later. */
	EXPECT_NE(0, mprotect((void *)k.h, GSCHED_HEAD_SIZE, RW | PROT_EXEC));
	p = mremap((void *)k.h, GSCHED_HEAD_SIZE, GSCHED_HEAD_SIZE + 4096, MREMAP_MAYMOVE);
	EXPECT_EQ(MAP_FAILED, p);
	EXPECT_EQ(1, k.h->nproc);
}

/* The mapping outlives the descriptor. */
TEST(mapping_after_close)
{
	struct ktx k;

	k_open(&k, 1);
	close(k.fd);
	EXPECT_EQ(1, k.h->nproc);
	/* the process of the test before may not be gone altogether */
	EXPECT_TRUE(until(k_stat("contexts") == 1));
	munmap((void *)k.h, GSCHED_HEAD_SIZE);
	EXPECT_TRUE(until(k_stat("contexts") == 0));
}

/* All calls, by someone who is not of the process: how many did not give -EPERM? */
static int all_eperm(int fd)
{
	struct gsched_unpark unpark = {.flags = GSCHED_UNPARK_ANY};
	struct gsched_setup setup = k_setup_arg(1);
	struct gsched_park park = {0};

	return (raw(fd, GSCHED_IOC_SETUP, &setup) != -EPERM) +
	       (raw(fd, GSCHED_IOC_ATTACH, NULL) != -EPERM) +
	       (raw(fd, GSCHED_IOC_DETACH, NULL) != -EPERM) +
	       (raw(fd, GSCHED_IOC_PARK, &park) != -EPERM) +
	       (raw(fd, GSCHED_IOC_PARK_TO, &park) != -EPERM) +
	       (raw(fd, GSCHED_IOC_UNPARK, &unpark) != -EPERM) +
	       (raw(fd, GSCHED_IOC_ACQUIRE, NULL) != -EPERM) +
	       (raw(fd, GSCHED_IOC_KICK, NULL) != -EPERM) +
	       (raw(fd, GSCHED_IOC_TICK, NULL) != -EPERM) +
	       (raw(fd, GSCHED_IOC_SET_PROCS, (void *)2) != -EPERM) +
	       (map(fd, GSCHED_HEAD_SIZE, RW, MAP_SHARED, 0) != -EPERM);
}

/* fork: the child may not call, and has no mapping. */
TEST(fork_inherits_nothing)
{
	struct ktx k;
	int status;
	pid_t child;

	k_open(&k, 1);
	ASSERT_EQ(0, k_attach(&k));
	child = fork();
	if (!child)
		_exit(all_eperm(k.fd));
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	child = fork();
	if (!child) {
		unsigned char vec[16];

		_exit(mincore((void *)k.h, GSCHED_HEAD_SIZE, vec) != -1 || errno != ENOMEM);
	}
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	/* The parent is a worker as before. */
	EXPECT_EQ(0, k_acquire(&k));
	EXPECT_EQ(1, k.h->nproc);
}

/* vfork: the child shares the mm, and still may not call. */
TEST(vfork_child)
{
	volatile int bad = -1;
	struct ktx k;
	int status;
	pid_t child;

	k_open(&k, 1);
	child = vfork();
	if (!child) {
		bad = all_eperm(k.fd);
		_exit(0);
	}
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, bad);
}

struct cloned {
	struct ktx *k;
	int bad;
};

static int cloned_main(void *arg)
{
	struct cloned *c = arg;

	c->bad = all_eperm(c->k->fd);
	return c->bad;
}

/* All that clone() can share but the thread group: the child may not call. */
TEST(clone_flags)
{
	static const int flags[] = {
		0,
		CLONE_VM,
		CLONE_FILES,
		CLONE_VM | CLONE_FILES | CLONE_FS,
		CLONE_VM | CLONE_FILES | CLONE_SIGHAND,
		CLONE_VM | CLONE_VFORK,
	};
	static char stack[65536] __attribute__((aligned(64)));
	struct ktx k;
	int status;

	k_open(&k, 1);
	ASSERT_EQ(0, k_attach(&k));
	ASSERT_EQ(0, k_acquire(&k));
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct cloned c = {.k = &k, .bad = 100};
		pid_t child = clone(cloned_main, stack + sizeof(stack), flags[i] | SIGCHLD, &c);

		ASSERT_LT(0, child);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status)
		{
			TH_LOG("flags 0x%x", flags[i]);
		}
		EXPECT_EQ(flags[i] & CLONE_VM ? 0 : 100, c.bad);
		EXPECT_TRUE(until(k_stat("workers") == 1));
	}
	/* The parent is a worker as before. */
	EXPECT_EQ(0, k_acquire(&k));
}

static int send_fd(int sock, int fd)
{
	char c = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {&c, 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

static int receive_fd(int sock)
{
	char c, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&c, 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* A descriptor passed over a socket is of no use to the receiver. */
TEST(descriptor_passed)
{
	int sock[2], status;
	struct ktx k;
	pid_t child;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	child = fork();
	if (!child) {
		int fd = receive_fd(sock[1]);

		_exit(fd < 0 ? 100 : all_eperm(fd));
	}
	k_open(&k, 1);
	ASSERT_EQ(0, send_fd(sock[0], k.fd));
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
}

/* fdinfo tells the counts. */
TEST(fdinfo)
{
	struct ktx k;

	k_open(&k, 3);
	ASSERT_EQ(0, k_attach(&k));
	ASSERT_EQ(0, k_acquire(&k));
	EXPECT_EQ(3, k_fdinfo(&k, "nproc"));
	EXPECT_EQ(2, k_fdinfo(&k, "idle"));
	EXPECT_EQ(0, k_fdinfo(&k, "standby"));
	EXPECT_EQ(1, k_fdinfo(&k, "workers"));
	EXPECT_EQ(0, k_fdinfo(&k, "grants"));
	EXPECT_LE(0, k_fdinfo(&k, "depth_blocks"));
	EXPECT_TRUE(until(k_stat("contexts") == 1));
	EXPECT_TRUE(until(k_stat("workers") == 1));
}

TEST_HARNESS_MAIN
