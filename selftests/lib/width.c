// SPDX-License-Identifier: GPL-2.0
/* The default number of procs: affinity, cgroups, and following both. */
#include <gsched.h>
#include <dirent.h>
#include <sys/stat.h>

#include "nobody.h"
#include "util.h"

/* The library's own: what the cgroups below root allow, in thousandths; 0 no limit. */
long gs_width_cgroup(const char *root);

/* ------------------------------------------------------------------------- */
/* A tree of files in a directory of its own                                   */

static char root[64];

static void __attribute__((format(printf, 2, 3))) put(const char *path, const char *fmt, ...)
{
	char name[1024];
	va_list ap;
	FILE *f;

	snprintf(name, sizeof(name), "%s/%s", root, path);
	for (char *s = name + strlen(root) + 1; (s = strchr(s, '/')); s++) {
		*s = '\0';
		mkdir(name, 0755);
		*s = '/';
	}
	f = fopen(name, "w");
	if (!f)
		abort();
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	char name[1024];

	while (dir && (e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (unlink(name))
			remove_tree(name);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

FIXTURE(tree){};

FIXTURE_SETUP(tree)
{
	strcpy(root, "/tmp/gsched-width-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(root));
}

FIXTURE_TEARDOWN(tree)
{
	remove_tree(root);
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define OTHERS                                                                                     \
	"22 29 0:20 / /proc rw,nosuid - proc proc rw\n"                                            \
	"29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"

/* no hierarchy, no limit, or nothing that can be understood: no limit */
TEST_F(tree, none)
{
	EXPECT_EQ(0, gs_width_cgroup(root));
	put("proc/self/cgroup", "0::/a\n");
	EXPECT_EQ(0, gs_width_cgroup(root));
	put("proc/self/mountinfo", OTHERS);
	EXPECT_EQ(0, gs_width_cgroup(root));
	put("proc/self/mountinfo", OTHERS V2_MOUNT);
	EXPECT_EQ(0, gs_width_cgroup(root));
	put("sys/fs/cgroup/a/cpu.max", "max 100000\n");
	EXPECT_EQ(0, gs_width_cgroup(root));
	for (const char *const *s =
		     (const char *const[]){"", "\n", "x y\n", "100000\n", "0 0\n", "1 -1\n",
					   "99999999999999999999 1\n", NULL};
	     *s; s++) {
		put("sys/fs/cgroup/a/cpu.max", "%s", *s);
		EXPECT_EQ(0, gs_width_cgroup(root));
	}
	put("proc/self/cgroup", "nonsense\n7\n");
	EXPECT_EQ(0, gs_width_cgroup(root));
}

/* version 2: the directory's own limit, and those of all above it: the least */
TEST_F(tree, version_2)
{
	put("proc/self/mountinfo", OTHERS V2_MOUNT);
	put("proc/self/cgroup", "0::/a/b/c\n");
	put("sys/fs/cgroup/a/b/c/cpu.max", "250000 100000\n");
	EXPECT_EQ(2500, gs_width_cgroup(root));
	put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	EXPECT_EQ(2500, gs_width_cgroup(root));
	put("sys/fs/cgroup/a/cpu.max", "30000 20000\n");
	EXPECT_EQ(1500, gs_width_cgroup(root));
	put("sys/fs/cgroup/a/cpu.max", "800000 100000\n");
	EXPECT_EQ(2500, gs_width_cgroup(root));
	/* the mount point's own, as in a container; not above it */
	put("sys/fs/cgroup/cpu.max", "50000 100000\n");
	put("sys/fs/cpu.max", "10000 100000\n");
	EXPECT_EQ(500, gs_width_cgroup(root));
	put("proc/self/cgroup", "0::/\n");
	EXPECT_EQ(500, gs_width_cgroup(root));
	/* less than a thousandth is not none */
	put("sys/fs/cgroup/cpu.max", "1 1000000\n");
	EXPECT_EQ(1, gs_width_cgroup(root));
}

/* version 1: quota and period, by the controller's name; before version 2 */
TEST_F(tree, version_1)
{
	put("proc/self/mountinfo", OTHERS
	    "31 30 0:27 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
	    "32 30 0:28 / /cg/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n" V2_MOUNT);
	put("proc/self/cgroup", "12:cpuset:/x\n4:cpuacct,cpu:/u/v\n0::/a\n");
	put("cg/cpu,cpuacct/u/v/cpu.cfs_quota_us", "-1\n");
	put("cg/cpu,cpuacct/u/v/cpu.cfs_period_us", "100000\n");
	put("sys/fs/cgroup/a/cpu.max", "100000 100000\n");
	EXPECT_EQ(0, gs_width_cgroup(root));
	put("cg/cpu,cpuacct/u/cpu.cfs_quota_us", "350000\n");
	EXPECT_EQ(0, gs_width_cgroup(root)); /* without a period it is none */
	put("cg/cpu,cpuacct/u/cpu.cfs_period_us", "100000\n");
	EXPECT_EQ(3500, gs_width_cgroup(root));
	put("cg/cpu,cpuacct/u/v/cpu.cfs_quota_us", "120000\n");
	EXPECT_EQ(1200, gs_width_cgroup(root));
	/* without a controller for CPU time there, version 2 counts */
	put("proc/self/cgroup", "12:cpuset:/x\n0::/a\n");
	EXPECT_EQ(1000, gs_width_cgroup(root));
}

/* a part of the hierarchy is mounted, as without a namespace; blanks in paths; long files */
TEST_F(tree, mounts)
{
	char line[9000];

	put("proc/self/mountinfo", "%s",
	    "30 23 0:26 /docker/1f /sys/fs/cg\\040v2 rw - cgroup2 cgroup2 rw\n");
	put("proc/self/cgroup", "0::/docker/1f/job\n");
	put("sys/fs/cg v2/job/cpu.max", "400000 100000\n");
	put("sys/fs/cg v2/cpu.max", "700000 100000\n");
	EXPECT_EQ(4000, gs_width_cgroup(root));
	/* a name that only begins like the part, and what lies outside: the mount point */
	put("proc/self/cgroup", "0::/docker/1fff/job\n");
	EXPECT_EQ(7000, gs_width_cgroup(root));
	put("proc/self/cgroup", "0::/../other\n");
	EXPECT_EQ(7000, gs_width_cgroup(root));
	/* lines longer than any of ours, and many */
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 2] = '\n';
	line[sizeof(line) - 1] = '\0';
	put("proc/self/mountinfo", "%s" OTHERS "%s" OTHERS V2_MOUNT, line, line);
	put("proc/self/cgroup", "0::/z\n");
	put("sys/fs/cgroup/z/cpu.max", "600000 100000\n");
	EXPECT_EQ(6000, gs_width_cgroup(root));
}

/* ------------------------------------------------------------------------- */

/* what this machine and its cgroups allow: the test's own arithmetic */
static int expected(int cpus)
{
	long limit = gs_width_cgroup("");
	int n = limit ? (int)((limit + 999) / 1000) : cpus;

	if (limit && n < 2)
		n = 2;
	return n < cpus ? n : cpus;
}

/* every thread of this process, as taskset -a does */
static void set_affinity_of_all(const cpu_set_t *set)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			CHECK(sched_setaffinity(atoi(e->d_name), sizeof(*set), set) == 0 ||
			      errno == ESRCH);
	closedir(dir);
}

static cpu_set_t one_of(const cpu_set_t *set)
{
	cpu_set_t one;
	int cpu = 0;

	while (!CPU_ISSET(cpu, set))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return one;
}

static void nothing(void *arg) {}

static void follows(const cpu_set_t *all)
{
	cpu_set_t one = one_of(all);

	gs_run(nothing, NULL);
	CHECK_EQ(expected(CPU_COUNT(all)), gs_max_procs(0));
	set_affinity_of_all(&one);
	UNTIL(gs_max_procs(0) == 1);
	set_affinity_of_all(all);
	UNTIL(gs_max_procs(0) == expected(CPU_COUNT(all)));
}

static void starts(const cpu_set_t *all)
{
	cpu_set_t one = one_of(all);

	CHECK_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	CHECK_EQ(1, gs_max_procs(0));
}

static void narrow_and_wait(const cpu_set_t *all)
{
	cpu_set_t one = one_of(all);

	set_affinity_of_all(&one);
	gs_sleep(1500 * MS); /* longer than it looks */
}

static void call_stays(const cpu_set_t *all)
{
	gs_max_procs(3);
	narrow_and_wait(all);
	CHECK_EQ(3, gs_max_procs(0));
}

static void environment_stays(const cpu_set_t *all)
{
	ut_set_procs(4);
	CHECK_EQ(4, gs_max_procs(0));
	narrow_and_wait(all);
	CHECK_EQ(4, gs_max_procs(0));
}

/*
 * The number is that of the affinity mask, and follows it down and up again while the
 * program runs; one that gs_max_procs or GSCHED_MAXPROCS gave stays. A process for each, at
 * the same time, for each takes a second or two.
 */
TEST(follows_affinity)
{
	void (*const parts[])(const cpu_set_t *) = {follows, starts, call_stays, environment_stays};
	cpu_set_t all;
	pid_t pid[4];
	int status;

	unsetenv("GSCHED_MAXPROCS");
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	if (CPU_COUNT(&all) < 2)
		SKIP(return, "one CPU");
	for (int i = 0; i < 4; i++) {
		pid[i] = fork();
		ASSERT_GE(pid[i], 0);
		if (pid[i] == 0) {
			parts[i](&all);
			_exit(LOAD(ut_failed) != 0);
		}
	}
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
}

static int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;
	int n = 0;

	while (dir && (e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void failed_child(void *arg)
{
	const cpu_set_t *all = arg;

	become_alone();
	/* for the poller, and no other */
	CHECK_EQ(limit_threads(2), 0);
	CHECK_EQ(gs_run(nothing, NULL), -EAGAIN);
	CHECK_EQ(threads(), 2);
	narrow_and_wait(all);
	_exit(ut_failed);
}

/* a start that failed leaves its poller behind, which has nothing to follow then */
TEST(failed_start)
{
	struct ut_child *c;
	cpu_set_t all;

	unsetenv("GSCHED_MAXPROCS");
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	if (CPU_COUNT(&all) < 2)
		SKIP(return, "one CPU");
	if (getuid())
		SKIP(return, "needs root, to become another");
	c = ut_child_run(failed_child, &all, 30 * SEC);
	if (c->status == 77)
		SKIP(return, "cannot become another here");
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
}

TEST_HARNESS_MAIN
