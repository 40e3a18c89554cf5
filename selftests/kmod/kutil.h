/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the ioctl-level tests share: a context, and puppets.
 *
 * A puppet is a thread that does what the test tells it, one thing at a time.
 * Between two orders it sleeps with its depth raised, as the library does in
 * its own code, so it keeps what it holds. Nothing here sleeps to synchronise:
 * until() polls a condition, and gives up after wait_ns().
 *
 * Environment: GSCHED_TEST_SCALE=n says that the machine is slow. GSCHED_TEST_SIGURG=1
 * forces the module to the mechanism of machines that have no upcalls.
 *
 * Calls return what the ioctl returns, or -errno.
 */
#ifndef KUTIL_H
#define KUTIL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/gsched.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The harness kills a test after that many seconds: 30 are few on a slow machine, and
 * kmod/fuzz takes 600 in make test-long. Less than what selftests/run gives a program there.
 */
#include "kselftest_harness.h"
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 850

#define NS_PER_S 1000000000ull
#define MAX_CHUNKS (GSCHED_MAXWORKERS / GSCHED_CHUNK_SLOTS)

struct ktx {
	int fd;
	volatile struct gsched_header *h;
	volatile struct gsched_proc *p;
	volatile struct gsched_slot *chunk[MAX_CHUNKS];
	pthread_mutex_t lock; /* for chunk[] */
};

struct puppet {
	struct ktx *k;
	volatile struct gsched_slot *slot;
	int w; /* worker index */
	int tid;
	pthread_t thread;
	long (*order)(struct puppet *p, long arg);
	long arg;
	long ret;
	uint32_t go, running, done; /* numbers of orders */
};

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* How long something may go on that is ended by nothing else. */
static inline uint64_t patience_ns(void)
{
	const char *scale = getenv("GSCHED_TEST_SCALE");
	int n = scale ? atoi(scale) : 0;

	return (n > 0 ? n : 2) * 5 * NS_PER_S;
}

/* How long a condition may take to come true: one that does costs nothing. */
static inline uint64_t wait_ns(void)
{
	uint64_t patience = patience_ns();

	return patience > 60 * NS_PER_S ? patience : 60 * NS_PER_S;
}

/* Poll for a condition; false after wait_ns(). */
#define until(cond)                                                                                \
	({                                                                                         \
		uint64_t _end = now_ns() + wait_ns();                                              \
		bool _ok;                                                                          \
                                                                                                   \
		while (!(_ok = (cond)) && now_ns() < _end)                                         \
			usleep(200);                                                               \
		_ok;                                                                               \
	})

/* The same for threads that must not sleep, since they hold a proc at depth 0. */
#define spin_until(cond)                                                                           \
	({                                                                                         \
		uint64_t _end = now_ns() + wait_ns();                                              \
		bool _ok;                                                                          \
                                                                                                   \
		while (!(_ok = (cond)) && now_ns() < _end)                                         \
			sched_yield();                                                             \
		_ok;                                                                               \
	})

static inline long kret(long ret)
{
	return ret < 0 ? -errno : ret;
}

static inline long kfutex(uint32_t *word, int op, uint32_t val)
{
	return kret(syscall(SYS_futex, word, op, val, NULL, NULL, 0));
}

/* The calls. */

static inline long k_setup_raw(int fd, struct gsched_setup *setup)
{
	return kret(ioctl(fd, GSCHED_IOC_SETUP, setup));
}

static inline struct gsched_setup k_setup_arg(unsigned int nproc)
{
	struct gsched_setup setup = {
		.size = sizeof(setup),
		.abi_major = GSCHED_ABI_MAJOR,
		.nproc = nproc,
	};

	return setup;
}

static inline long k_attach(struct ktx *k)
{
	return kret(ioctl(k->fd, GSCHED_IOC_ATTACH));
}

static inline long k_detach(struct ktx *k)
{
	return kret(ioctl(k->fd, GSCHED_IOC_DETACH));
}

static inline long k_park(struct ktx *k, unsigned int flags, uint64_t deadline)
{
	struct gsched_park park = {.flags = flags, .deadline = deadline};

	return kret(ioctl(k->fd, GSCHED_IOC_PARK, &park));
}

/* By one who finds a fiber at once, and so spins no longer, if it was told to. */
static inline long k_park_found(struct ktx *k, unsigned int flags, uint64_t deadline)
{
	long r = k_park(k, flags, deadline);

	if (r < 0 || !(r & GSCHED_GRANT_SPIN))
		return r;
	__atomic_sub_fetch(&k->h->spinning, 1, __ATOMIC_SEQ_CST);
	return r & GSCHED_GRANT_PROC;
}

static inline long k_park_to(struct ktx *k, unsigned int flags, unsigned int target,
			     uint64_t deadline)
{
	struct gsched_park park = {.flags = flags, .target = target, .deadline = deadline};

	return kret(ioctl(k->fd, GSCHED_IOC_PARK_TO, &park));
}

static inline long k_unpark(struct ktx *k, unsigned int flags, unsigned int target)
{
	struct gsched_unpark unpark = {.flags = flags, .target = target};

	return kret(ioctl(k->fd, GSCHED_IOC_UNPARK, &unpark));
}

static inline long k_acquire(struct ktx *k)
{
	return kret(ioctl(k->fd, GSCHED_IOC_ACQUIRE));
}

static inline long k_kick(struct ktx *k, unsigned long proc)
{
	return kret(ioctl(k->fd, GSCHED_IOC_KICK, proc));
}

static inline long k_tick(struct ktx *k)
{
	return kret(ioctl(k->fd, GSCHED_IOC_TICK));
}

static inline long k_set_procs(struct ktx *k, unsigned long nproc)
{
	return kret(ioctl(k->fd, GSCHED_IOC_SET_PROCS, nproc));
}

/* Contexts. */

static inline int k_device(void)
{
	int fd = open("/dev/gsched", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		perror("/dev/gsched");
		exit(1);
	}
	return fd;
}

/* xorshift32 (Marsaglia 2003); *seed is not 0. */
static inline uint32_t k_rnd(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/*
 * Other processors run while this one patches the kernel's text, as loading a module does
 * (the key of the preempt notifiers, in __schedule()), and all are emulated: QEMU's TCG may
 * go on with code it translated from the bytes before the last ones were written. Seen as
 * "Oops: int3" where memory holds no int3, once in some hundred loads.
 */
static inline bool k_stale_code(void)
{
	char line[256];
	bool tcg = false;
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f && !tcg && fgets(line, sizeof(line), f))
		tcg = strstr(line, "QEMU TCG");
	if (f)
		fclose(f);
	return tcg && sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

#define K_MODULE "/vm/gsched.ko"

static inline long k_load_with(const char *path, const char *parameters)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long ret = fd < 0 ? -errno : kret(syscall(SYS_finit_module, fd, parameters, 0));

	close(fd);
	return ret;
}

static inline long k_load(const char *path)
{
	return k_load_with(path, "");
}

static inline long k_unload(const char *name)
{
	return kret(syscall(SYS_delete_module, name, O_NONBLOCK));
}

/* Who owned the device, and its mode: for when the module was loaded anew. */
static inline bool k_device_as(const struct stat *st)
{
	return !chown("/dev/gsched", st->st_uid, st->st_gid) &&
	       !chmod("/dev/gsched", st->st_mode & 07777);
}

/* Spinlocks sleep: a thread may be switched out for one, and not be blocked. */
static inline bool k_realtime(void)
{
	return !access("/sys/kernel/realtime", F_OK);
}

/* A word into a file of the kernel's. */
static inline bool k_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text);
}

static inline bool k_parameter(const char *name, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/gsched/parameters/%s", name);
	return k_write(path, value);
}

/* SETUP by that mechanism; the next one by another process is as always again. */
static inline long k_setup_sigurg(int fd, struct gsched_setup *setup)
{
	long ret;

	if (!k_parameter("sigurg", "Y"))
		return -EIO;
	ret = k_setup_raw(fd, setup);
	k_parameter("sigurg", "N");
	return ret;
}

static inline void k_open_setup(struct ktx *k, struct gsched_setup *setup)
{
	const char *sigurg = getenv("GSCHED_TEST_SIGURG");
	void *head;

	memset(k, 0, sizeof(*k));
	pthread_mutex_init(&k->lock, NULL);
	k->fd = k_device();
	if (sigurg && *sigurg == '1')
		setup->features |= GSCHED_F_SIGURG;
	if (setup->features & GSCHED_F_SIGURG ? k_setup_sigurg(k->fd, setup)
					      : k_setup_raw(k->fd, setup)) {
		perror("SETUP");
		exit(1);
	}
	head = mmap(NULL, GSCHED_HEAD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd,
		    GSCHED_OFF_HEAD);
	if (head == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	k->h = head;
	k->p = (void *)((char *)head + GSCHED_PROCS_OFFSET);
}

static inline void k_open(struct ktx *k, unsigned int nproc)
{
	struct gsched_setup setup = k_setup_arg(nproc);

	k_open_setup(k, &setup);
}

static inline volatile struct gsched_slot *k_slot(struct ktx *k, unsigned int w)
{
	unsigned int n = w / GSCHED_CHUNK_SLOTS;

	pthread_mutex_lock(&k->lock);
	if (!k->chunk[n]) {
		k->chunk[n] = mmap(NULL, GSCHED_CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				   k->fd, GSCHED_OFF_CHUNK(n));
		if (k->chunk[n] == MAP_FAILED) {
			perror("mmap of a chunk");
			exit(1);
		}
	}
	pthread_mutex_unlock(&k->lock);
	return &k->chunk[n][w % GSCHED_CHUNK_SLOTS];
}

/* A number from the kernel's own truth: "idle", "standby", "workers", ... */
static inline long k_fdinfo(struct ktx *k, const char *name)
{
	char path[64], line[128], want[64];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", k->fd);
	snprintf(want, sizeof(want), "gsched-%s:\t%%ld", name);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, want, &value) == 1)
			break;
	if (f)
		fclose(f);
	return value;
}

/* A number from debugfs, over all contexts: "contexts", "workers", ... */
static inline long k_stat(const char *name)
{
	char line[128], want[64];
	long value = -1;
	FILE *f;

	snprintf(want, sizeof(want), "%s %%ld", name);
	f = fopen("/sys/kernel/debug/gsched/stats", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, want, &value) == 1)
			break;
	if (f)
		fclose(f);
	return value;
}

/* Idle owner words, to compare with header.idle and with the kernel's count. */
static inline unsigned int k_count_idle(struct ktx *k)
{
	unsigned int p, n = 0;

	for (p = 0; p < k->h->nproc; p++)
		n += k->p[p].owner == GSCHED_OWNER_IDLE;
	return n;
}

static inline bool k_idle_exact(struct ktx *k, unsigned int want)
{
	return k_count_idle(k) == want && k->h->idle == want && k_fdinfo(k, "idle") == (long)want;
}

/* Fibers: the kernel looks at the ends of the queue only. */
static inline void k_queue(struct ktx *k, unsigned int p, unsigned int n)
{
	k->p[p].tail += n;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void k_drain(struct ktx *k, unsigned int p)
{
	k->p[p].head = k->p[p].tail;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Memory whose first touch blocks, until k_uffd_fill() of that page. */
static inline int k_uffd(char **memory, size_t size)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	*memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || *memory == MAP_FAILED || ioctl(fd, UFFDIO_API, &api))
		return -1;
	madvise(*memory, size, MADV_NOHUGEPAGE);
	reg.range.start = (unsigned long)*memory;
	reg.range.len = size;
	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -1 : fd;
}

static inline long k_uffd_fill(int fd, char *page)
{
	struct uffdio_zeropage zero = {
		.range = {.start = (unsigned long)page, .len = 4096},
	};

	return kret(ioctl(fd, UFFDIO_ZEROPAGE, &zero));
}

/* Puppets. */

static inline void *puppet_main(void *arg)
{
	struct puppet *p = arg;
	uint32_t n = 0;

	p->tid = syscall(SYS_gettid);
	for (;;) {
		while (__atomic_load_n(&p->go, __ATOMIC_ACQUIRE) == n)
			kfutex(&p->go, FUTEX_WAIT, n);
		n++;
		__atomic_store_n(&p->running, n, __ATOMIC_RELEASE);
		if (!p->order)
			return NULL;
		p->ret = p->order(p, p->arg);
		__atomic_store_n(&p->done, n, __ATOMIC_RELEASE);
	}
}

static inline void puppet_start(struct puppet *p, long (*order)(struct puppet *p, long arg),
				long arg)
{
	p->order = order;
	p->arg = arg;
	__atomic_add_fetch(&p->go, 1, __ATOMIC_RELEASE);
	kfutex(&p->go, FUTEX_WAKE, 1);
}

static inline bool puppet_done(struct puppet *p)
{
	return __atomic_load_n(&p->done, __ATOMIC_ACQUIRE) == p->go;
}

#define NOT_DONE (-100000)

/* The result of the order, or NOT_DONE after wait_ns(). */
static inline long puppet_finish(struct puppet *p)
{
	return until(puppet_done(p)) ? p->ret : NOT_DONE;
}

static inline long puppet_run(struct puppet *p, long (*order)(struct puppet *p, long arg), long arg)
{
	puppet_start(p, order, arg);
	return puppet_finish(p);
}

static inline char task_state(int pid, int tid)
{
	char path[64], buf[256], *s;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = 0;
	s = strrchr(buf, ')');
	return s && s[1] ? s[2] : 0;
}

/* Did it fall asleep in its order? Right for orders that sleep in one place. */
static inline bool puppet_asleep(struct puppet *p)
{
	char s;

	if (__atomic_load_n(&p->running, __ATOMIC_ACQUIRE) != p->go || puppet_done(p))
		return false;
	s = task_state(getpid(), p->tid);
	return s == 'S' || s == 'D';
}

static inline long order_attach(struct puppet *p, long arg)
{
	p->w = k_attach(p->k);
	if (p->w >= 0)
		p->slot = k_slot(p->k, p->w);
	return p->w;
}

static inline long order_detach(struct puppet *p, long arg)
{
	return k_detach(p->k);
}

static inline long order_acquire(struct puppet *p, long arg)
{
	return k_acquire(p->k);
}

static inline long order_park(struct puppet *p, long flags)
{
	return k_park(p->k, flags, 0);
}

/* A new thread, attached. */
static inline void puppet_new(struct puppet *p, struct ktx *k)
{
	memset(p, 0, sizeof(*p));
	p->k = k;
	p->w = -1;
	if (pthread_create(&p->thread, NULL, puppet_main, p) ||
	    puppet_run(p, order_attach, 0) < 0) {
		fprintf(stderr, "no puppet: %d\n", p->w);
		exit(1);
	}
}

/* The thread ends, without DETACH unless that was ordered before. */
static inline void puppet_end(struct puppet *p)
{
	puppet_start(p, NULL, 0);
	pthread_join(p->thread, NULL);
}

/* Let it park, and wait until it is a stand-by. */
static inline bool puppet_standby(struct puppet *p)
{
	unsigned int n = p->k->h->standby;

	puppet_start(p, order_park, 0);
	return until(p->k->h->standby == n + 1 || puppet_done(p)) && !puppet_done(p);
}

/* Let it park bound, and wait until it sleeps there. */
static inline bool puppet_bound(struct puppet *p)
{
	puppet_start(p, order_park, GSCHED_PARK_BOUND);
	return until(puppet_asleep(p) || puppet_done(p)) && !puppet_done(p);
}

#endif /* KUTIL_H */
