// SPDX-License-Identifier: GPL-2.0
/*
 * What a user may have, and who pays: contexts per user, memory by the cgroup, also from
 * within a user namespace. And callers of 32 bits, who get the same answers.
 */
#include "kutil.h"
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NOBODY 65534
#define GROUP 990
#define CGROUP "/sys/fs/cgroup/gsched-limits"

static bool nothing_left(void)
{
	return until(k_stat("contexts") == 0 && k_stat("workers") == 0);
}

/* From here on this process is nobody, in the group that may use the device. */
static bool become_nobody(void)
{
	gid_t group = GROUP;

	return !setgroups(1, &group) && !setresgid(NOBODY, NOBODY, NOBODY) &&
	       !setresuid(NOBODY, NOBODY, NOBODY);
}

/* Contexts until there are no more of them, at most @max; the last errno. */
static int many_contexts(int max, int *err)
{
	struct rlimit files = {max + 64, max + 64};
	int n;

	setrlimit(RLIMIT_NOFILE, &files);
	*err = 0;
	for (n = 0; n < max && !*err; n++) {
		struct gsched_setup setup = k_setup_arg(1);
		int fd = open("/dev/gsched", O_RDWR | O_CLOEXEC);

		*err = fd < 0 ? -errno : k_setup_raw(fd, &setup);
	}
	return n - (*err != 0);
}

FIXTURE(limits){};

FIXTURE_SETUP(limits)
{
	ASSERT_TRUE(nothing_left());
	ASSERT_EQ(0, chown("/dev/gsched", 0, GROUP));
	ASSERT_EQ(0, chmod("/dev/gsched", 0660));
	ASSERT_TRUE(k_parameter("max_contexts", "10"));
}

FIXTURE_TEARDOWN(limits)
{
	EXPECT_TRUE(k_parameter("max_contexts", "64"));
}

/* Two processes of one user share a limit, which ends with them. */
TEST_F(limits, contexts_per_user)
{
	int round, status, ready[2];
	char c;

	for (round = 0; round < 2; round++) {
		int n, err, hold[2];
		pid_t first, second;

		ASSERT_EQ(0, pipe(ready));
		ASSERT_EQ(0, pipe(hold));
		first = fork();
		if (!first) {
			close(hold[1]);
			if (!become_nobody() || many_contexts(6, &err) != 6 ||
			    write(ready[1], "", 1) != 1)
				_exit(1);
			_exit(read(hold[0], &c, 1) != 0);
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		second = fork();
		if (!second) {
			if (!become_nobody())
				_exit(1);
			n = many_contexts(20, &err);
			_exit(n != 4 ? 2 : err != -EUSERS);
		}
		ASSERT_EQ(second, waitpid(second, &status, 0));
		EXPECT_EQ(0, status);
		close(hold[1]);
		ASSERT_EQ(first, waitpid(first, &status, 0));
		EXPECT_EQ(0, status);
		close(hold[0]);
		close(ready[0]);
		close(ready[1]);
		ASSERT_TRUE(nothing_left());
	}
}

/* Who may exceed resource limits may exceed this one. */
TEST_F(limits, none_for_root)
{
	int err;

	EXPECT_EQ(40, many_contexts(40, &err));
	EXPECT_EQ(0, err);
}

/* Two of the ids that nobody has in a namespace of its own, which @go has mapped. */
static int in_namespace(int ready, int go)
{
	int status, err;
	pid_t pid;
	char c;

	if (!become_nobody())
		return 1;
	if (unshare(CLONE_NEWUSER))
		return errno == EPERM || errno == ENOSPC ? 4 : 2;
	if (write(ready, "", 1) != 1 || read(go, &c, 1) != 1)
		return 3;
	if (setresuid(0, 0, 0) || many_contexts(6, &err) != 6)
		return 5;
	pid = fork();
	if (!pid)
		_exit(setresuid(1, 1, 1) || many_contexts(20, &err) != 4 || err != -EUSERS);
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 6;
}

/* The user ids of a user namespace are all one user's. */
TEST_F(limits, user_namespace)
{
	int status, ready[2], go[2];
	char c, path[32];
	pid_t pid;

	if (access("/proc/self/ns/user", F_OK))
		SKIP(return, "no user namespaces");
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid)
		_exit(in_namespace(ready[1], go[0]));
	close(ready[1]);
	if (read(ready[0], &c, 1) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
		EXPECT_TRUE(k_write(path, "0 100000 2"));
		EXPECT_EQ(1, write(go[1], "", 1));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 4)
		SKIP(return, "user namespaces are not for everyone here");
	EXPECT_EQ(0, status);
}

static long number_in(const char *path, const char *name)
{
	char line[128], want[64];
	long value = -1;
	FILE *f = fopen(path, "r");

	snprintf(want, sizeof(want), "%s%%ld", name);
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, want, &value) == 1)
			break;
	if (f)
		fclose(f);
	return value;
}

#define MANY 200

/* In the child of memory, after each step a byte to the parent, and one back. */
static int use_memory(int tell, int go)
{
	const int first = open("/dev/null", O_RDONLY | O_CLOEXEC) + 1;
	char pid[16], c;
	int n, err;

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!k_write(CGROUP "/cgroup.procs", pid) || write(tell, "", 1) != 1 ||
	    read(go, &c, 1) != 1 || many_contexts(MANY, &err) != MANY || write(tell, "", 1) != 1 ||
	    read(go, &c, 1) != 1)
		return 1;
	for (n = 0; n < MANY; n++)
		if (ioctl(first + n, GSCHED_IOC_ATTACH, 0) < 0 ||
		    ioctl(first + n, GSCHED_IOC_DETACH, 0))
			return 4;
	if (write(tell, "", 1) != 1 || read(go, &c, 1) != 1)
		return 1;
	/* now until the limit ends it, one way or the other */
	n = many_contexts(4000, &err);
	return n == 4000 ? 2 : err == -ENOMEM ? 0 : 3;
}

/*
 * The pages of a context and of its workers are charged to the cgroup, as many as uapi.rst
 * says; and its limit holds for them.
 */
TEST_F(limits, memory)
{
	/* memory.current counts what each processor has in stock, and files, inodes, the stack */
	const long more = (sysconf(_SC_NPROCESSORS_ONLN) * 64 + 64) * 4096l + MANY * 4096l;
	/* KASAN puts something beside each object */
	const int debug = access("/sys/kernel/debug/gsched/inject", F_OK) ? 1 : 2;
	long at[3], head, workers;
	int status, i, ready[2], hold[2];
	char c;
	pid_t child;

	k_write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if ((mkdir(CGROUP, 0700) && errno != EEXIST) || access(CGROUP "/memory.max", W_OK))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(hold));
	child = fork();
	if (!child)
		_exit(use_memory(ready[1], hold[0]));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, read(ready[0], &c, 1));
		at[i] = number_in(CGROUP "/memory.current", "");
		if (i < 2)
			ASSERT_EQ(1, write(hold[1], "", 1));
	}
	head = at[1] - at[0];
	workers = at[2] - at[1];
	fprintf(stderr, "# note: %ld bytes a context, %ld for its first worker\n", head / MANY,
		workers / MANY);
	EXPECT_LE(MANY * GSCHED_HEAD_SIZE, head);
	EXPECT_GE(MANY * (28l << 10) * debug + more, head);
	EXPECT_LE(MANY * GSCHED_CHUNK_SIZE, workers);
	EXPECT_GE(MANY * (72l << 10) * debug + more, workers);
	ASSERT_TRUE(k_write(CGROUP "/memory.max", "32M"));
	ASSERT_EQ(1, write(hold[1], "", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
	{
		TH_LOG("status 0x%x", status);
	}
	EXPECT_LT(0, number_in(CGROUP "/memory.events", "max "));
	EXPECT_TRUE(nothing_left());
	EXPECT_TRUE(until(!rmdir(CGROUP)));
}

/* ------------------------------------------------------------------------- */

/* The ioctl() of a 32-bit program: its number there, and pointers below 4 GiB. */
static long compat_ioctl(int fd, unsigned int cmd, unsigned long arg)
{
	int ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(54), "b"(fd), "c"(cmd), "d"((uint32_t)arg)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

/* 0, or which answer was not the same as of 64 bits. */
static int compat_calls(void)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct gsched_setup *setup = (void *)low;
	struct gsched_park *park = (void *)low;
	struct gsched_unpark *unpark = (void *)low;
	unsigned long arg = (unsigned long)low;
	int fd = k_device();

	if (low == MAP_FAILED)
		return 1;
	*setup = k_setup_arg(2);
	if (compat_ioctl(fd, GSCHED_IOC_ATTACH, 0) != -ENXIO ||
	    compat_ioctl(fd, GSCHED_IOC_SETUP, 0) != -EFAULT)
		return 2;
	setup->_pad[1] = 1;
	if (compat_ioctl(fd, GSCHED_IOC_SETUP, arg) != -EINVAL)
		return 3;
	*setup = k_setup_arg(2);
	if (compat_ioctl(fd, GSCHED_IOC_SETUP, arg) != 0 || setup->slice_ns != 10000000)
		return 4;
	if (compat_ioctl(fd, GSCHED_IOC_ATTACH, 0) != 0 ||
	    compat_ioctl(fd, GSCHED_IOC_ACQUIRE, 0) != 0)
		return 5;
	*park = (struct gsched_park){.deadline = 1};
	if (compat_ioctl(fd, GSCHED_IOC_PARK, arg) != -ETIMEDOUT)
		return 6;
	*park = (struct gsched_park){.target = 1};
	if (compat_ioctl(fd, GSCHED_IOC_PARK, arg) != -EINVAL ||
	    compat_ioctl(fd, GSCHED_IOC_PARK_TO, arg) != -ESRCH)
		return 7;
	*unpark = (struct gsched_unpark){.flags = GSCHED_UNPARK_PROC, .target = 1};
	if (compat_ioctl(fd, GSCHED_IOC_UNPARK, arg) != -EAGAIN)
		return 8;
	if (compat_ioctl(fd, GSCHED_IOC_KICK, 1) != 0 || compat_ioctl(fd, GSCHED_IOC_TICK, 0) != 0)
		return 9;
	if (compat_ioctl(fd, GSCHED_IOC_KICK, ~0ul) != -EINVAL ||
	    compat_ioctl(fd, GSCHED_IOC_SET_PROCS, 3) != 2)
		return 10;
	if (compat_ioctl(fd, GSCHED_IOC_DETACH, 0) != 0 ||
	    compat_ioctl(fd, _IO(GSCHED_IOC_MAGIC, 0x7f), 0) != -ENOTTY)
		return 11;
	return 0;
}

/* Where the kernel has no such calls, the instruction is a segmentation fault. */
TEST(compat)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(compat_calls());
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
		SKIP(return, "no 32-bit calls");
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
