// SPDX-License-Identifier: GPL-2.0
/*
 * How workers, contexts and the module end (13): exit, kill, exec, fork, close,
 * rmmod. Whatever a worker held is handed on, and nothing is left behind.
 */
#include <linux/io_uring.h>
#include "disk.h"
#include "kutil.h"
#include <sys/resource.h>

/* Contexts and workers of all processes; ours are gone when both are 0. */
static bool nothing_left(void)
{
	return until(k_stat("contexts") == 0 && k_stat("workers") == 0);
}

/* Two procs, a on proc 0, b a stand-by. */
FIXTURE(life)
{
	struct ktx k;
	struct puppet a, b;
};

FIXTURE_SETUP(life)
{
	/* The process of the test before may not be gone altogether. */
	ASSERT_TRUE(nothing_left());
	k_open(&self->k, 2);
	puppet_new(&self->a, &self->k);
	puppet_new(&self->b, &self->k);
	ASSERT_TRUE(puppet_standby(&self->b));
	ASSERT_EQ(0, puppet_run(&self->a, order_acquire, 0));
}

FIXTURE_TEARDOWN(life) {}

/* A thread that exits while it holds a proc hands it on, though its depth is 1. */
TEST_F(life, exit_with_demand)
{
	k_queue(&self->k, 0, 1);
	puppet_end(&self->a);
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(1, self->b.slot->proc);
	EXPECT_TRUE(until(k_stat("workers") == 1));
	EXPECT_EQ(1, self->k.h->workers);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* Without demand its proc is idle. */
TEST_F(life, exit_without_demand)
{
	puppet_end(&self->a);
	EXPECT_TRUE(until(k_idle_exact(&self->k, 2)));
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_TRUE(until(k_stat("workers") == 1));
	/* The index is used again. */
	puppet_new(&self->a, &self->k);
	EXPECT_EQ(0, self->a.w);
}

/* DETACH does the same. */
TEST_F(life, detach_with_demand)
{
	k_queue(&self->k, 0, 1);
	EXPECT_EQ(0, puppet_run(&self->a, order_detach, 0));
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(1, k_stat("workers"));
	EXPECT_EQ(-ESRCH, puppet_run(&self->a, order_acquire, 0));
}

static int pipe_fd[2];

static long order_open_pipe_again(struct puppet *p, long unused)
{
	char path[32];

	/* The last descriptor of a file of its own: closed when the thread ends. */
	if (unshare(CLONE_FILES))
		return -errno;
	sprintf(path, "/proc/self/fd/%d", pipe_fd[0]);
	return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) < 0 ? -errno : 0;
}

static long order_write_pipe(struct puppet *p, long page)
{
	return write(pipe_fd[1], (char *)page, 1);
}

/* A pipe whose lock c holds when it is told to, while it waits for a page. */
struct holder {
	struct puppet c;
	char *page;
	int uffd;
};

static bool holder_new(struct holder *h, struct ktx *k)
{
	if (pipe(pipe_fd))
		return false;
	h->uffd = k_uffd(&h->page, 4096);
	puppet_new(&h->c, k);
	return h->uffd >= 0;
}

static bool holder_holds(struct holder *h)
{
	puppet_start(&h->c, order_write_pipe, (long)h->page);
	return until(puppet_asleep(&h->c));
}

static bool holder_lets_go(struct holder *h)
{
	return k_uffd_fill(h->uffd, h->page) >= 0 && puppet_finish(&h->c) == 1;
}

/*
 * A thread that blocks while it exits gives its proc away at any depth. Here a
 * closes a pipe and waits for its lock, which c holds while it waits for a page.
 */
TEST_F(life, blocks_in_exit)
{
	struct holder h;

	ASSERT_TRUE(holder_new(&h, &self->k));
	ASSERT_EQ(0, puppet_run(&self->a, order_open_pipe_again, 0));
	ASSERT_TRUE(holder_holds(&h));

	k_queue(&self->k, 0, 1);
	EXPECT_EQ(0, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->depth);
	puppet_end(&self->a);
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(1, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->handoffs);
	/* It is blocked still, and exiting: no use in a grant. */
	EXPECT_EQ(3, self->k.h->workers);
	EXPECT_EQ(-ESRCH, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_TRUE(holder_lets_go(&h));
	EXPECT_TRUE(until(self->k.h->workers == 2));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* And what was latched for it, which it does not come to take. */
TEST_F(life, latched_and_blocks_in_exit)
{
	struct holder h;

	ASSERT_TRUE(holder_new(&h, &self->k));
	ASSERT_EQ(0, puppet_run(&self->a, order_open_pipe_again, 0));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_EQ(self->a.w + 1, self->k.p[1].owner);
	ASSERT_TRUE(holder_holds(&h));

	puppet_end(&self->a);
	EXPECT_TRUE(until(self->k.p[1].owner == GSCHED_OWNER_IDLE));
	EXPECT_TRUE(until(k_idle_exact(&self->k, 2)));
	/* One block, of one proc; it is blocked still. */
	EXPECT_EQ(1, self->a.slot->blocks);
	EXPECT_EQ(3, self->k.h->workers);
	EXPECT_TRUE(holder_lets_go(&h));
	EXPECT_TRUE(until(self->k.h->workers == 2));
	EXPECT_TRUE(k_idle_exact(&self->k, 2));
}

/* The same for one that holds no proc when it blocks there. */
TEST_F(life, latched_without_proc)
{
	struct holder h;
	struct puppet d;

	ASSERT_TRUE(holder_new(&h, &self->k));
	puppet_new(&d, &self->k);
	ASSERT_EQ(0, puppet_run(&d, order_open_pipe_again, 0));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, d.w));
	EXPECT_EQ(d.w + 1, self->k.p[1].owner);
	ASSERT_TRUE(holder_holds(&h));

	puppet_end(&d);
	EXPECT_TRUE(until(self->k.p[1].owner == GSCHED_OWNER_IDLE));
	EXPECT_EQ(0, d.slot->blocks);
	EXPECT_EQ(4, self->k.h->workers);
	EXPECT_TRUE(holder_lets_go(&h));
	EXPECT_TRUE(until(self->k.h->workers == 3));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

static struct disk disk;

/* A read that a thread of the ring's waits for in the kernel, not we. */
static long order_read_by_ring(struct puppet *p, long unused)
{
	struct io_uring_params params = {0};
	int ring = syscall(SYS_io_uring_setup, 1, &params);
	struct io_uring_sqe *sqe;
	unsigned int *tail;
	char *sq;

	if (ring < 0)
		return -errno;
	sq = mmap(NULL, params.sq_off.array + sizeof(unsigned int), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
		   IORING_OFF_SQES);
	if (sq == MAP_FAILED || sqe == MAP_FAILED)
		return -errno;
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_READ,
		.flags = IOSQE_ASYNC,
		.fd = disk.fd,
		.off = DISK_SIZE / 2,
		.addr = (uintptr_t)disk.store,
		.len = 4096,
	};
	((unsigned int *)(sq + params.sq_off.array))[0] = 0;
	tail = (unsigned int *)(sq + params.sq_off.tail);
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1 ? 0 : -errno;
}

/* It waits for that in its exit, long before it takes no signals any more. */
TEST_F(life, waits_for_ring_in_exit)
{
	long r;

	switch (disk_new(&disk)) {
	case 1:
		SKIP(return, "no network block devices here");
	case 0:
		break;
	default:
		ASSERT_EQ(0, errno);
	}
	disk_close(&disk);
	r = puppet_run(&self->a, order_read_by_ring, 0);
	if (r == -ENOSYS || r == -EPERM) {
		disk_end(&disk);
		SKIP(return, "no io_uring here");
	}
	EXPECT_EQ(0, r);
	ASSERT_TRUE(until(disk_held(&disk)));
	k_queue(&self->k, 0, 1);
	EXPECT_EQ(1, self->a.slot->depth);
	/* who joins it waits for the disk, too */
	puppet_start(&self->a, NULL, 0);
	EXPECT_TRUE(until(puppet_done(&self->b)));
	EXPECT_EQ(-ESRCH, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_EQ(2, self->k.h->workers);
	EXPECT_TRUE(disk_held(&disk));
	disk_open(&disk);
	pthread_join(self->a.thread, NULL);
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_TRUE(until(self->k.h->workers == 1));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	disk_end(&disk);
}

static long order_read(struct puppet *p, long unused)
{
	char c;

	p->slot->depth = 0;
	if (read(pipe_fd[0], &c, 1) != 1)
		return -1;
	p->slot->depth = 1;
	return p->slot->proc;
}

static long order_spin(struct puppet *p, long unused)
{
	p->slot->depth = 0;
	for (;;)
		;
	return 0;
}

/* Where upcalls go, and stay. */
static void trampoline(void)
{
	for (;;)
		;
}

/*
 * A process with workers that run, hold, block, are parked, bound, latched, and in an
 * upcall.
 */
#define BUSY_WORKERS 8

static void busy_process(void)
{
	struct gsched_setup setup = k_setup_arg(5);
	static struct puppet p[BUSY_WORKERS];
	struct ktx k;
	int i;

	setup.trampoline = (uintptr_t)trampoline;
	k_open_setup(&k, &setup);
	if (pipe(pipe_fd))
		_exit(1);
	for (i = 0; i < BUSY_WORKERS; i++)
		puppet_new(&p[i], &k);
	puppet_run(&p[0], order_acquire, 0);
	puppet_start(&p[0], order_spin, 0);
	puppet_run(&p[1], order_acquire, 0);
	puppet_run(&p[2], order_acquire, 0);
	puppet_start(&p[2], order_read, 0);
	puppet_run(&p[7], order_acquire, 0);
	puppet_start(&p[7], order_spin, 0);
	puppet_standby(&p[3]);
	puppet_standby(&p[4]);
	puppet_bound(&p[5]);
	k_unpark(&k, GSCHED_UNPARK_WORKER, p[6].w);
	if (!until(puppet_asleep(&p[2]) && p[0].slot->depth == 0 && p[7].slot->depth == 0) ||
	    p[7].slot->proc == 0 || k_kick(&k, p[7].slot->proc - 1) ||
	    !until(p[7].slot->upcalls == 1))
		_exit(1);
	k_queue(&k, 0, 1);
}

/* exit_group() of such a process. */
TEST(exit_group)
{
	int i, status;

	ASSERT_TRUE(nothing_left());
	for (i = 0; i < 5; i++) {
		pid_t child = fork();

		if (!child) {
			busy_process();
			_exit(42);
		}
		waitpid(child, &status, 0);
		EXPECT_EQ(42, WEXITSTATUS(status));
		EXPECT_TRUE(nothing_left());
	}
}

/* SIGKILL of such a process. */
TEST(sigkill)
{
	int i, status, ready[2];
	char c;

	ASSERT_TRUE(nothing_left());
	ASSERT_EQ(0, pipe(ready));
	for (i = 0; i < 5; i++) {
		pid_t child = fork();

		if (!child) {
			busy_process();
			if (write(ready[1], "", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		EXPECT_EQ(1, k_stat("contexts"));
		EXPECT_EQ(BUSY_WORKERS, k_stat("workers"));
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		EXPECT_EQ(SIGKILL, WTERMSIG(status));
		EXPECT_TRUE(nothing_left());
	}
}

/* ... and its death by a signal that makes a core: that is written while they all stand. */
TEST(core_dump)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	char path[32];
	int status;
	pid_t child;

	ASSERT_TRUE(nothing_left());
	if (access("/proc/sys/kernel/core_pattern", W_OK))
		SKIP(return, "no core dumps");
	ASSERT_TRUE(k_write("/proc/sys/kernel/core_pattern", "/tmp/core.%p"));
	child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &unlimited);
		busy_process();
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	waitpid(child, &status, 0);
	EXPECT_EQ(SIGABRT, WTERMSIG(status));
	EXPECT_TRUE(WCOREDUMP(status));
	EXPECT_TRUE(nothing_left());
	snprintf(path, sizeof(path), "/tmp/core.%d", child);
	EXPECT_EQ(0, unlink(path));
}

/*
 * exec. The new program is this one, see before_main(); it is told the case and
 * the descriptor, and says what it finds.
 */
enum exec_case {
	EXEC_ALONE,	  /* the only worker, O_CLOEXEC */
	EXEC_LEADER,	  /* there are others, O_CLOEXEC */
	EXEC_THREAD,	  /* it is not the first thread, O_CLOEXEC */
	EXEC_LEADER_OPEN, /* the same without O_CLOEXEC */
	EXEC_THREAD_OPEN,
	EXEC_CASES
};

static bool exec_open(enum exec_case what)
{
	return what == EXEC_LEADER_OPEN || what == EXEC_THREAD_OPEN;
}

static long order_exec(struct puppet *p, long what)
{
	char arg[2][16], *argv[] = {"life", "--execed", arg[0], arg[1], NULL};

	sprintf(arg[0], "%ld", what);
	sprintf(arg[1], "%d", p->k->fd);
	execve("/proc/self/exe", argv, environ);
	return -errno;
}

static int execed(enum exec_case what, int fd)
{
	struct gsched_setup setup = k_setup_arg(1);
	struct ktx old = {.fd = fd}, k;

	/* With O_CLOEXEC the worker ended before this program began. */
	if (what == EXEC_ALONE && k_stat("workers"))
		return 1;
	/* It is a thread like any other. */
	k_open(&k, 1);
	if (k_attach(&k) || k_acquire(&k) || k_detach(&k))
		return 2;
	close(k.fd);
	munmap((void *)k.h, GSCHED_HEAD_SIZE);
	if (exec_open(what) && (k_setup_raw(fd, &setup) != -EPERM || k_attach(&old) != -EPERM))
		return 3;
	/* The other workers are freed a little later. */
	if (!until(k_stat("workers") == 0 && k_stat("contexts") == exec_open(what)))
		return 4;
	return 42;
}

static int exec_child(enum exec_case what)
{
	static struct puppet p[3];
	struct ktx k;

	k_open(&k, 2);
	if (exec_open(what))
		fcntl(k.fd, F_SETFD, 0);
	if (what != EXEC_ALONE) {
		puppet_new(&p[0], &k);
		puppet_new(&p[1], &k);
		puppet_new(&p[2], &k);
		puppet_standby(&p[1]);
	}
	if (what == EXEC_THREAD || what == EXEC_THREAD_OPEN) {
		puppet_run(&p[0], order_acquire, 0);
		puppet_start(&p[0], order_exec, what);
		puppet_finish(&p[0]);
	} else {
		struct puppet me = {.k = &k};

		if (order_attach(&me, 0) < 0 || k_acquire(&k) < 0)
			return 100;
		me.slot->depth = 0;
		order_exec(&me, what);
	}
	return 101;
}

/* exec while holding a proc, with and without O_CLOEXEC, alone and not. */
TEST(exec)
{
	int i, status;

	for (i = 0; i < EXEC_CASES; i++) {
		pid_t child;

		ASSERT_TRUE(nothing_left());
		child = fork();
		if (!child)
			_exit(exec_child(i));
		waitpid(child, &status, 0);
		EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42)
		{
			TH_LOG("case %d: status 0x%x", i, status);
		}
	}
	EXPECT_TRUE(nothing_left());
}

static long order_vfork(struct puppet *p, long unused)
{
	volatile struct gsched_proc *proc = p->k->p;
	unsigned int me = p->w + 1;
	pid_t child;
	int status;

	p->slot->depth = 0;
	child = vfork();
	if (!child) {
		/* The parent waits for us, so it is blocked. */
		_exit(!spin_until(proc[0].owner != me));
	}
	p->slot->depth = 1;
	waitpid(child, &status, 0);
	return status;
}

/* A worker that waits for its vfork child is blocked. */
TEST_F(life, vfork)
{
	k_queue(&self->k, 0, 1);
	puppet_start(&self->a, order_vfork, 0);
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, self->a.slot->handoffs);
}

/* The descriptor is closed while workers are attached: they go on. */
TEST_F(life, close_while_attached)
{
	ASSERT_EQ(0, pipe(pipe_fd));
	k_queue(&self->k, 0, 1);
	close(self->k.fd);
	puppet_start(&self->a, order_read, 0);
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(1, write(pipe_fd[1], "", 1));
	EXPECT_EQ(2, puppet_finish(&self->a));
	EXPECT_EQ(1, k_stat("contexts"));
	/* Now the mapping goes, too. What is left are the workers. */
	munmap((void *)self->k.chunk[0], GSCHED_CHUNK_SIZE);
	munmap((void *)self->k.h, GSCHED_HEAD_SIZE);
	EXPECT_EQ(2, k_stat("workers"));
	EXPECT_EQ(1, k_stat("contexts"));
	puppet_end(&self->b);
	puppet_end(&self->a);
	EXPECT_TRUE(nothing_left());
}

/* One of two descriptors is closed by another thread while a worker waits by it. */
TEST_F(life, close_while_parked)
{
	struct ktx other = self->k;

	other.fd = dup(self->k.fd);
	ASSERT_LE(0, other.fd);
	close(self->k.fd);
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_EQ(1, k_unpark(&other, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(1, puppet_finish(&self->b));
	EXPECT_EQ(-EBADF, puppet_run(&self->b, order_park, 0));
	self->b.k = &other;
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, k_unpark(&other, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(1, puppet_finish(&self->b));
}

/* Opened anew by its name in /proc it is another file, with nothing in it. */
TEST_F(life, open_again)
{
	struct gsched_setup setup = k_setup_arg(1);
	struct ktx other = {0};
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->k.fd);
	other.fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, other.fd);
	EXPECT_EQ(-ENXIO, k_attach(&other));
	EXPECT_EQ(0, k_setup_raw(other.fd, &setup));
	EXPECT_EQ(2, k_stat("contexts"));
	EXPECT_EQ(1, self->k.h->idle);
	close(other.fd);
	EXPECT_TRUE(until(k_stat("contexts") == 1));
}

/*
 * The mappings are moved, cut and taken away under the workers: that is the program's own
 * affair, the kernel looks elsewhere.
 */
TEST_F(life, mappings)
{
	char *head = (char *)self->k.h, *slots = (char *)self->k.chunk[0], *moved;
	struct puppet c;

	/* has the second proc: for who comes back without one there is none */
	puppet_new(&c, &self->k);
	ASSERT_EQ(1, puppet_run(&c, order_acquire, 0));
	/* not longer, not executable */
	EXPECT_EQ(MAP_FAILED, mremap(head, GSCHED_HEAD_SIZE, 2 * GSCHED_HEAD_SIZE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, mprotect(head, GSCHED_HEAD_SIZE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	/* elsewhere */
	moved = mremap(
		slots, GSCHED_CHUNK_SIZE, GSCHED_CHUNK_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		mmap(NULL, GSCHED_CHUNK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_NE(MAP_FAILED, moved);
	self->k.chunk[0] = (void *)moved;
	self->a.slot = self->k.chunk[0] + self->a.w;
	self->b.slot = self->k.chunk[0] + self->b.w;
	ASSERT_EQ(0, pipe(pipe_fd));
	k_queue(&self->k, 0, 1);
	puppet_start(&self->a, order_read, 0);
	EXPECT_EQ(0, puppet_finish(&self->b));
	/* no more, while one is blocked at depth 0 and comes back lost */
	EXPECT_EQ(0, mprotect(moved, GSCHED_CHUNK_SIZE, PROT_READ));
	EXPECT_EQ(0, munmap(moved + 4096, GSCHED_CHUNK_SIZE - 4096));
	EXPECT_EQ(0, munmap(head, 4096));
	EXPECT_EQ(0, madvise(head + 4096, GSCHED_HEAD_SIZE - 4096, MADV_DONTNEED));
	EXPECT_EQ(0, k_fdinfo(&self->k, "lost"));
	/* its next instruction would write to the slot: let it have that */
	EXPECT_EQ(0, mprotect(moved, 4096, PROT_READ | PROT_WRITE));
	EXPECT_EQ(1, write(pipe_fd[1], "", 1));
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, k_fdinfo(&self->k, "lost"));
	EXPECT_EQ(0, munmap(moved, 4096));
	EXPECT_EQ(3, k_fdinfo(&self->k, "workers"));
}

static long remove_module(void)
{
	return kret(syscall(SYS_delete_module, "gsched", O_NONBLOCK));
}

/* The module is busy as long as a file is open or a worker lives. */
TEST(module_is_busy)
{
	static struct puppet p;
	struct ktx k;

	ASSERT_TRUE(nothing_left());
	k_open(&k, 1);
	EXPECT_EQ(-EAGAIN, remove_module());
	puppet_new(&p, &k);
	close(k.fd);
	munmap((void *)k.chunk[0], GSCHED_CHUNK_SIZE);
	munmap((void *)k.h, GSCHED_HEAD_SIZE);
	EXPECT_EQ(-EAGAIN, remove_module());
	EXPECT_EQ(1, k_stat("contexts"));
	puppet_end(&p);
	EXPECT_TRUE(nothing_left());
}

static long order_many_lives(struct puppet *p, long n)
{
	long i, ret = 0;

	for (i = 0; i < n && !ret; i++) {
		p->w = k_attach(p->k);
		if (p->w < 0)
			return p->w;
		p->slot = k_slot(p->k, p->w);
		ret = k_acquire(p->k);
		if (ret >= 0 || ret == -EAGAIN)
			ret = k_detach(p->k);
	}
	return ret;
}

/* Many lives at once: ATTACH, ACQUIRE, DETACH in four threads, and threads that end. */
TEST(many_lives)
{
	static struct puppet p[4];
	struct ktx k;
	int i, round;

	ASSERT_TRUE(nothing_left());
	k_open(&k, 2);
	for (round = 0; round < 30; round++) {
		for (i = 0; i < 4; i++) {
			puppet_new(&p[i], &k);
			puppet_run(&p[i], order_acquire, 0);
			if (i & 1)
				puppet_run(&p[i], order_detach, 0);
		}
		puppet_start(&p[1], order_many_lives, 20);
		puppet_start(&p[3], order_many_lives, 20);
		puppet_end(&p[0]);
		puppet_end(&p[2]);
		EXPECT_EQ(0, puppet_finish(&p[1]));
		EXPECT_EQ(0, puppet_finish(&p[3]));
		puppet_end(&p[1]);
		puppet_end(&p[3]);
	}
	EXPECT_TRUE(until(k_stat("workers") == 0));
	EXPECT_EQ(0, k.h->workers);
	EXPECT_TRUE(k_idle_exact(&k, 2));
}

/* Where order_exec() comes out. */
static void __attribute__((constructor)) before_main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--execed"))
		exit(execed(atoi(argv[2]), atoi(argv[3])));
}

TEST_HARNESS_MAIN
