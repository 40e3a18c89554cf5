// SPDX-License-Identifier: GPL-2.0
/*
 * Hand-off (5) and return rule (9): who gets a proc that a blocked worker gave away, what
 * that one finds when it comes back, and what is no block at all. block.c has the ways to
 * block.
 */
#include "kutil.h"
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

/* A context with a puppet on proc 0 and a stand-by. */
FIXTURE(pair)
{
	struct ktx k;
	struct puppet a, b;
};

FIXTURE_SETUP(pair)
{
	/* Each block is counted: no thread is to wait for its code, or for khugepaged. */
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) || mlockall(MCL_CURRENT));
	k_open(&self->k, 1);
	puppet_new(&self->a, &self->k);
	puppet_new(&self->b, &self->k);
	ASSERT_TRUE(puppet_standby(&self->b));
	ASSERT_EQ(0, puppet_run(&self->a, order_acquire, 0));
}

FIXTURE_TEARDOWN(pair) {}

static volatile int spin_stop;

static long order_spin(struct puppet *p, long yield)
{
	long n = 0;

	p->slot->depth = 0;
	/* once at least: all may be over when a slow machine comes to this */
	do {
		if (yield)
			sched_yield();
		n++;
	} while (!spin_stop);
	p->slot->depth = 1;
	return n;
}

static void *hog(void *unused)
{
	while (!spin_stop)
		;
	return NULL;
}

static void yield_or_be_preempted(struct __test_metadata *_metadata, FIXTURE_DATA(pair) * self,
				  bool yield)
{
	int i, n = 2 * sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t hogs[n];
	uint64_t end;

	k_queue(&self->k, 0, 1);
	spin_stop = 0;
	/* Before a begins: making threads locks the mm, and a fault would wait for it. */
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, pthread_create(&hogs[i], NULL, hog, NULL));
	puppet_start(&self->a, order_spin, yield);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	/* This is what is tested: that nothing happens for a while. */
	end = now_ns() + NS_PER_S / 2;
	while (now_ns() < end)
		sched_yield();
	spin_stop = 1;
	EXPECT_LT(0, puppet_finish(&self->a));
	for (i = 0; i < n; i++)
		pthread_join(hogs[i], NULL);
	EXPECT_EQ(0, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_EQ(0, self->b.slot->grants);
}

/* Who yields does not block. */
TEST_F(pair, sched_yield)
{
	yield_or_be_preempted(_metadata, self, true);
}

/* Who is preempted does not block. */
TEST_F(pair, preempted)
{
	yield_or_be_preempted(_metadata, self, false);
}

/*
 * Runs @job in a child, while puppet a spins at depth 0 on its proc and there
 * is demand for it. The child is made before: fork write-protects our pages,
 * and a fault on one may wait for fork to end, which is a block indeed.
 */
static int spin_beside(FIXTURE_DATA(pair) * self, int (*job)(pid_t pid, int tid))
{
	int go[2], status;
	pid_t child, pid = getpid();
	char c;

	if (pipe(go))
		return -1;
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	child = fork();
	if (!child)
		_exit(read(go[0], &c, 1) != 1 || job(pid, self->a.tid));
	k_queue(&self->k, 0, 1);
	spin_stop = 0;
	puppet_start(&self->a, order_spin, 0);
	if (!until(self->a.slot->depth == 0) || write(go[1], "", 1) != 1)
		return -1;
	waitpid(child, &status, 0);
	spin_stop = 1;
	if (puppet_finish(&self->a) <= 0)
		return -1;
	return status;
}

static int job_trace(pid_t pid, int tid)
{
	int i, status;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0))
		return 1;
	for (i = 0; i < 20; i++)
		if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) || waitpid(tid, &status, __WALL) != tid ||
		    !WIFSTOPPED(status) || !until(task_state(pid, tid) == 't') ||
		    ptrace(PTRACE_CONT, tid, 0, 0))
			return 1;
	return 0;
}

/* A thread stopped by a debugger is not blocked: it keeps the proc. */
TEST_F(pair, traced)
{
	ASSERT_EQ(0, spin_beside(self, job_trace));
	EXPECT_EQ(0, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_EQ(0, self->b.slot->grants);
	EXPECT_EQ(1, self->k.h->standby);
}

/*
 * Is the thread off its CPU? Its state says so a moment before, and a wake-up in
 * that moment makes the kernel forget what it was going to sleep for.
 */
static bool off_cpu(pid_t pid, int tid)
{
	char path[64], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return false;
	close(fd);
	return strncmp(text, "running", 7);
}

static int job_stop(pid_t pid, int tid)
{
	bool stopped;

	kill(pid, SIGSTOP);
	stopped = until(task_state(pid, tid) == 'T' && off_cpu(pid, tid));
	kill(pid, SIGCONT);
	return !stopped;
}

/* A process stopped by job control is not blocked. */
TEST_F(pair, stopped)
{
	ASSERT_EQ(0, spin_beside(self, job_stop));
	EXPECT_EQ(0, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->proc);
	/* The stop is a signal for the stand-by. */
	EXPECT_EQ(-EINTR, puppet_finish(&self->b));
}

static char cgroup[] = "/tmp/cgroupXXXXXX";

static int cgroup_write(const char *file, const char *text)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	fd = open(path, O_WRONLY);
	ret = fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text);
	close(fd);
	return ret;
}

static bool cgroup_frozen(void)
{
	char path[128], line[64];
	bool frozen = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/gsched/cgroup.events", cgroup);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		frozen |= !strcmp(line, "frozen 1\n");
	if (f)
		fclose(f);
	return frozen;
}

static int job_freeze(pid_t pid, int tid)
{
	char text[16];
	int ret;

	snprintf(text, sizeof(text), "%d", pid);
	ret = cgroup_write("gsched/cgroup.procs", text) ||
	      cgroup_write("gsched/cgroup.freeze", "1") ||
	      !until(cgroup_frozen() && off_cpu(pid, tid)) ||
	      cgroup_write("gsched/cgroup.freeze", "0");
	return cgroup_write("cgroup.procs", text) || ret;
}

/* Nor is one that is frozen with its cgroup. */
TEST_F(pair, frozen)
{
	char path[128];

	ASSERT_NE(NULL, mkdtemp(cgroup));
	snprintf(path, sizeof(path), "%s/gsched", cgroup);
	if (mount("cgroup2", cgroup, "cgroup2", 0, NULL) || mkdir(path, 0700))
		SKIP(return, "no cgroup2 here: %m");
	EXPECT_EQ(0, spin_beside(self, job_freeze));
	EXPECT_EQ(0, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_EQ(-EINTR, puppet_finish(&self->b));
	rmdir(path);
	umount2(cgroup, MNT_DETACH);
}

static bool freezer_says(const char *state)
{
	char path[128], line[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/gsched/freezer.state", cgroup);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return !strcmp(line, state);
}

static int job_freeze_v1(pid_t pid, int tid)
{
	char text[16];
	int ret;

	snprintf(text, sizeof(text), "%d", pid);
	ret = cgroup_write("gsched/cgroup.procs", text) ||
	      cgroup_write("gsched/freezer.state", "FROZEN") ||
	      !until(freezer_says("FROZEN\n") && off_cpu(pid, tid)) ||
	      cgroup_write("gsched/freezer.state", "THAWED") || !until(freezer_says("THAWED\n"));
	return cgroup_write("cgroup.procs", text) || ret;
}

/* Nor by the older freezer, which is that of suspend, too. */
TEST_F(pair, frozen_as_by_suspend)
{
	char path[128];

	ASSERT_NE(NULL, mkdtemp(cgroup));
	snprintf(path, sizeof(path), "%s/gsched", cgroup);
	if (mount("cgroup", cgroup, "cgroup", 0, "freezer") || mkdir(path, 0700))
		SKIP(return, "no freezer of cgroup v1 here: %m");
	EXPECT_EQ(0, spin_beside(self, job_freeze_v1));
	EXPECT_EQ(0, self->a.slot->blocks);
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_EQ(-EINTR, puppet_finish(&self->b));
	rmdir(path);
	umount2(cgroup, MNT_DETACH);
}

static int pair_pipe[2];

static void pipe_block(void)
{
	char c;

	if (read(pair_pipe[0], &c, 1) != 1)
		abort();
}

static void pipe_release(void)
{
	if (write(pair_pipe[1], "", 1) != 1)
		abort();
}

static long order_pipe(struct puppet *p, long unused)
{
	p->slot->depth = 0;
	pipe_block();
	p->slot->depth = 1;
	return p->slot->proc;
}

/* Came back, the old proc is taken: another idle one will do. */
TEST_F(pair, another_proc)
{
	ASSERT_EQ(0, pipe(pair_pipe));
	k_queue(&self->k, 0, 1);
	puppet_start(&self->a, order_pipe, 0);
	ASSERT_EQ(0, puppet_finish(&self->b));
	ASSERT_EQ(1, k_set_procs(&self->k, 3));
	pipe_release();
	EXPECT_NE(0, puppet_finish(&self->a));
	EXPECT_LE(2, self->a.slot->proc);
	EXPECT_EQ(1, self->a.slot->returns);
	EXPECT_EQ(0, self->a.slot->lost);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* Came back, several are idle: its old one, which is neither the first nor the last. */
TEST_F(pair, old_proc)
{
	struct puppet c;

	ASSERT_EQ(1, k_set_procs(&self->k, 3));
	puppet_new(&c, &self->k);
	ASSERT_EQ(1, puppet_run(&c, order_acquire, 0));
	ASSERT_EQ(0, pipe(pair_pipe));
	puppet_start(&c, order_pipe, 0);
	ASSERT_TRUE(until(c.slot->blocks == 1));
	/* a's and c's proc are idle then, and so is the third. */
	ASSERT_EQ(0, puppet_run(&self->a, order_detach, 0));
	ASSERT_TRUE(k_idle_exact(&self->k, 3));
	pipe_release();
	EXPECT_NE(0, puppet_finish(&c));
	EXPECT_EQ(2, c.slot->proc);
	EXPECT_EQ(1, c.slot->returns);
}

/* Lost: told so once, ACQUIRE fails while all procs are taken, then succeeds. */
TEST_F(pair, lost_acquire)
{
	ASSERT_EQ(0, pipe(pair_pipe));
	k_queue(&self->k, 0, 1);
	puppet_start(&self->a, order_pipe, 0);
	ASSERT_EQ(0, puppet_finish(&self->b));
	pipe_release();
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(GSCHED_LOST, self->a.slot->pending);
	EXPECT_EQ(1, self->a.slot->lost);
	EXPECT_EQ(-EAGAIN, puppet_run(&self->a, order_acquire, 0));
	EXPECT_EQ(0, self->a.slot->proc);

	k_drain(&self->k, 0);
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	EXPECT_EQ(0, puppet_run(&self->a, order_acquire, 0));
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_EQ(0, puppet_run(&self->a, order_acquire, 0));
	EXPECT_EQ(1, self->a.slot->lost);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

static long order_wait_for_proc(struct puppet *p, long unused)
{
	struct timespec t = {.tv_nsec = 100000};
	uint64_t end;

	p->slot->depth = 0;
	pipe_block();
	end = now_ns() + wait_ns();
	while (!p->slot->proc && now_ns() < end)
		syscall(SYS_nanosleep, &t, NULL);
	p->slot->depth = 1;
	return p->slot->proc;
}

/* Lost, and runs on: a later return to user mode finds a proc for it. */
TEST_F(pair, lost_then_found)
{
	ASSERT_EQ(0, pipe(pair_pipe));
	k_queue(&self->k, 0, 1);
	puppet_start(&self->a, order_wait_for_proc, 0);
	ASSERT_EQ(0, puppet_finish(&self->b));
	pipe_release();
	ASSERT_TRUE(until(self->a.slot->lost == 1));
	k_drain(&self->k, 0);
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, puppet_finish(&self->a));
	EXPECT_EQ(1, self->a.slot->lost);
	EXPECT_LE(1, self->a.slot->returns);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* The work is in another queue: who gets the proc is a spinner, and only one is. */
TEST_F(pair, spinner)
{
	ASSERT_EQ(0, pipe(pair_pipe));
	ASSERT_EQ(1, k_set_procs(&self->k, 2));
	ASSERT_EQ(2, k_set_procs(&self->k, 1));
	k_queue(&self->k, 1, 1); /* retired, but still a victim */

	self->k.h->spinning = 1;
	puppet_start(&self->a, order_pipe, 0);
	ASSERT_TRUE(until(self->k.h->idle == 1));
	pipe_release();
	EXPECT_EQ(1, puppet_finish(&self->a));
	EXPECT_EQ(0, self->a.slot->handoffs);

	self->k.h->spinning = 0;
	puppet_start(&self->a, order_pipe, 0);
	EXPECT_EQ(0 | GSCHED_GRANT_SPIN, puppet_finish(&self->b));
	EXPECT_EQ(1, self->k.h->spinning);
	pipe_release();
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, self->a.slot->handoffs);
}

/* The reserve is for bound fibers: a hand-off leaves it alone for all else. */
TEST_F(pair, reserve)
{
	ASSERT_EQ(0, pipe(pair_pipe));
	self->k.h->reserve = 1;
	k_queue(&self->k, 0, 1);
	self->k.h->global_len = 1;
	self->k.h->express_len = 1;
	puppet_start(&self->a, order_pipe, 0);
	ASSERT_TRUE(until(self->k.h->idle == 1));
	pipe_release();
	EXPECT_EQ(1, puppet_finish(&self->a));
	EXPECT_EQ(0, self->a.slot->handoffs);
	EXPECT_EQ(1, self->k.h->standby);

	self->k.h->bound_runnable = 1;
	puppet_start(&self->a, order_pipe, 0);
	EXPECT_EQ(0, puppet_finish(&self->b));
	pipe_release();
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, self->a.slot->handoffs);
	EXPECT_EQ(0, self->k.h->standby);
}

TEST_HARNESS_MAIN
