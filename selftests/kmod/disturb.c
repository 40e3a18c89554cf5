// SPDX-License-Identifier: GPL-2.0
/*
 * What is done to threads from outside: job control, debuggers that come, go and step,
 * the freezer, other CPUs, fewer CPUs, namespaces. A well-behaved program (good.h) must
 * not notice: not one hand-off is lost, doubled or invented.
 */
#include "good.h"
#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#define ACTS 40
#define CGROUP "/sys/fs/cgroup/gsched-disturb"
#define CGROUP_ROOT "/sys/fs/cgroup/cgroup.subtree_control"

static uint32_t seed = 2654435761u;

static uint32_t rnd(uint32_t n)
{
	return k_rnd(&seed) % n;
}

/* Any thread of the process, or 0. */
static pid_t any_thread(pid_t pid)
{
	struct dirent *e;
	pid_t tid = 0;
	char path[32];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && !rnd(++n))
			tid = atoi(e->d_name);
	if (d)
		closedir(d);
	return tid;
}

static bool here(void)
{
	return true;
}

static void nothing(void) {}

static bool stop_and_continue(pid_t pid)
{
	bool ok = !kill(pid, SIGSTOP);

	usleep(rnd(2000));
	return !kill(pid, SIGCONT) && ok;
}

/* A debugger that looks at one thread and lets it make so many steps. */
static bool debug(pid_t pid, unsigned int steps)
{
	pid_t tid = any_thread(pid);
	int status;

	if (!tid || ptrace(PTRACE_SEIZE, tid, NULL, NULL))
		return false;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
		return false;
	while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status) && steps--)
		if (ptrace(PTRACE_SINGLESTEP, tid, NULL, NULL))
			return false;
	return WIFSTOPPED(status) && !ptrace(PTRACE_DETACH, tid, NULL, NULL);
}

static bool attach_and_detach(pid_t pid)
{
	return debug(pid, 0);
}

static bool step(pid_t pid)
{
	return debug(pid, 1 + rnd(50));
}

static bool affinity(pid_t pid)
{
	pid_t tid = any_thread(pid);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(rnd(get_nprocs()), &set);
	CPU_SET(rnd(get_nprocs()), &set);
	return tid && !sched_setaffinity(tid, sizeof(set), &set);
}

static bool two_cpus(void)
{
	return get_nprocs() > 1;
}

static bool cgroup(const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), CGROUP "/%s", file);
	k_write(CGROUP_ROOT, "+cpuset");
	return (!mkdir(CGROUP, 0700) || errno == EEXIST) && !access(path, W_OK);
}

static void end_cgroup(void)
{
	/* its last process may not be gone altogether */
	until(!rmdir(CGROUP) || errno != EBUSY);
}

static bool join(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return k_write(CGROUP "/cgroup.procs", text);
}

static bool have_freezer(void)
{
	return cgroup("cgroup.freeze");
}

static bool freeze(pid_t pid)
{
	bool ok = join(pid) && k_write(CGROUP "/cgroup.freeze", "1");

	usleep(rnd(2000));
	return k_write(CGROUP "/cgroup.freeze", "0") && ok;
}

static bool have_cpuset(void)
{
	return two_cpus() && cgroup("cpuset.cpus");
}

static bool cpuset(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", rnd(get_nprocs()));
	return join(pid) && k_write(CGROUP "/cpuset.cpus", text);
}

static int nr_cpus;

static bool have_hotplug(void)
{
	nr_cpus = get_nprocs();
	return two_cpus() && !access("/sys/devices/system/cpu/cpu1/online", W_OK);
}

static bool hotplug(pid_t pid)
{
	char path[64];
	bool ok;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", 1 + rnd(nr_cpus - 1));
	ok = k_write(path, "0");
	usleep(rnd(2000));
	return k_write(path, "1") && ok;
}

/* The program as the first of a pid namespace of its own, root of a user namespace. */
static int apart(long rounds, bool *enough)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWUSER | CLONE_NEWPID))
		return 100;
	pid = fork();
	if (!pid)
		_exit(good_main(rounds, enough));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

static bool have_namespaces(void)
{
	return !access("/proc/self/ns/user", F_OK) && !access("/proc/self/ns/pid", F_OK);
}

static bool wait_a_little(pid_t pid)
{
	return !usleep(rnd(2000));
}

FIXTURE(disturb)
{
	bool *enough; /* shared with the program */
	bool absent;
};

FIXTURE_VARIANT(disturb)
{
	bool (*have)(void);	/* can it be done on this machine? */
	bool (*act)(pid_t pid); /* once; false: it was not */
	void (*end)(void);
	bool apart;
};

#define DISTURB(name, ...)                                                                         \
	FIXTURE_VARIANT_ADD(disturb, name)                                                         \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

DISTURB(job_control, .have = here, .act = stop_and_continue, .end = nothing);
DISTURB(debugger, .have = here, .act = attach_and_detach, .end = nothing);
DISTURB(steps, .have = here, .act = step, .end = nothing);
DISTURB(affinity, .have = two_cpus, .act = affinity, .end = nothing);
DISTURB(freezer, .have = have_freezer, .act = freeze, .end = end_cgroup);
DISTURB(cpuset, .have = have_cpuset, .act = cpuset, .end = end_cgroup);
DISTURB(hotplug, .have = have_hotplug, .act = hotplug, .end = nothing);
DISTURB(namespaces, .have = have_namespaces, .act = wait_a_little, .end = nothing, .apart = true);

FIXTURE_SETUP(disturb)
{
	self->enough = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->enough);
	self->absent = !variant->have();
	if (self->absent)
		SKIP(return, "not on this machine");
}

FIXTURE_TEARDOWN(disturb) {}

/* The program goes on until it has been disturbed often, and its counts are exact. */
TEST_F(disturb, good_program)
{
	uint64_t end = now_ns() + patience_ns() / 4;
	int acts = 0, status;
	pid_t pid;

	if (self->absent)
		return;
	pid = fork();
	if (!pid)
		_exit((variant->apart ? apart : good_main)(1000000, self->enough));
	/* on a slow machine as often as there is time, for the program's patience has an end */
	while (acts < ACTS && (acts == 0 || now_ns() < end)) {
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG))
		{
			TH_LOG("it ended: 0x%x", status);
		}
		if (variant->act(pid))
			acts++;
		usleep(rnd(3000));
	}
	__atomic_store_n(self->enough, true, __ATOMIC_RELEASE);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("after %d acts: 0x%x", acts, status);
	}
	variant->end();
	EXPECT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0));
}

TEST_HARNESS_MAIN
