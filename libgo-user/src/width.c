/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The default number of procs, and following it (Go 1.25, runtime/cgroup_linux.go).
 *
 * Where the limit of a cgroup stands: /proc/self/mountinfo says where the hierarchies are
 * mounted, and which part of each (its root, in containers not "/"); /proc/self/cgroup,
 * where in them this process is. From there up to the mount point each directory may have
 * a limit of its own, and the least counts:
 *
 *	version 2	cpu.max				"max 100000", "150000 100000"
 *	version 1	cpu.cfs_quota_us		-1: none
 *			cpu.cfs_period_us
 *
 * Where the cpu controller is one of version 1 the limits of version 2 are not in force.
 * All is read anew each time, for the process may be moved; that is once a second at most.
 *
 * The affinity mask is that of the calling thread: first of the one that starts the
 * runtime, from which the workers inherit theirs, then of the poller, whose mask changes
 * with theirs when somebody moves the whole process (taskset -a).
 *
 * On the poller no libc lock may be taken: its holder may be an interrupted fiber. So there
 * is no stdio here.
 */
#include "width.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "backend.h"
#include "base/lock.h"
#include "base/syscall.h"
#include "poller.h"
#include "sched_int.h"

#define FOLLOW_NS INT64_C(1000000000)

/* A file, or the beginning of it, as text: its length, or -errno. */
static long read_file(const char *path, char *text, size_t size)
{
	long fd = gs_syscall6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	size_t len = 0;
	long n;

	if (fd < 0)
		return fd;
	while (len < size - 1 && (n = gs_syscall3(SYS_read, fd, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	gs_syscall3(SYS_close, fd, 0, 0);
	text[len] = '\0';
	return (long)len;
}

/* dst = a + b + c; false if there is no room. */
static bool join(char *dst, size_t size, const char *a, const char *b, const char *c)
{
	const char *parts[] = {a, b, c};
	size_t len = 0;

	for (int i = 0; i < 3; i++) {
		size_t n = strlen(parts[i]);

		if (n >= size - len)
			return false;
		memcpy(dst + len, parts[i], n);
		len += n;
	}
	dst[len] = '\0';
	return true;
}

/* The decimal number at *s, which moves behind it; -1: there is none, or none that fits. */
static long number(const char **s)
{
	long n = 0;

	if (**s < '0' || **s > '9')
		return -1;
	for (; **s >= '0' && **s <= '9'; (*s)++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, **s - '0', &n))
			return -1;
	return n;
}

/* The next field of a line, up to a blank: cut off, "" at the end. */
static char *field(char **line)
{
	char *begin = *line, *end = begin + strcspn(begin, " ");

	*line = *end ? end + 1 : end;
	*end = '\0';
	return begin;
}

/* Is `name` one of the comma-separated words of list? */
static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (;;) {
		size_t len = strcspn(list, ",");

		if (len == n && !memcmp(list, name, n))
			return true;
		if (!list[len])
			return false;
		list += len + 1;
	}
}

/* Blanks and the like stand as \040 in mountinfo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to = *s;
		}
	}
	*to = '\0';
}

/* Calls each(line, arg) for the lines of a file of any length; until it returns true. */
static bool each_line(const char *path, bool (*each)(char *line, void *arg), void *arg)
{
	long fd = gs_syscall6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	char buf[8192];
	size_t len = 0;
	bool done = false, skip = false;
	long n;

	if (fd < 0)
		return false;
	while (!done && (n = gs_syscall3(SYS_read, fd, buf + len, sizeof(buf) - 1 - len)) > 0) {
		char *line = buf, *end;

		len += (size_t)n;
		buf[len] = '\0';
		while (!done && (end = memchr(line, '\n', len - (size_t)(line - buf)))) {
			*end = '\0';
			if (!skip)
				done = each(line, arg);
			skip = false;
			line = end + 1;
		}
		len -= (size_t)(line - buf);
		memmove(buf, line, len);
		/* a line longer than that is none of ours */
		if (len == sizeof(buf) - 1) {
			skip = true;
			len = 0;
		}
	}
	gs_syscall3(SYS_close, fd, 0, 0);
	return done;
}

struct place {
	bool v1;
	char path[PATH_MAX];  /* from /proc/self/cgroup */
	char mount[PATH_MAX]; /* the mount point */
	char part[PATH_MAX];  /* of the hierarchy, that is mounted there */
};

/* "4:cpu,cpuacct:/path" or "0::/path" */
static bool cgroup_line(char *line, void *arg)
{
	struct place *at = arg;
	char *controllers = strchr(line, ':'), *path;

	if (!controllers)
		return false;
	path = strchr(++controllers, ':');
	if (!path)
		return false;
	*path++ = '\0';
	if (*controllers ? !listed(controllers, "cpu") : strcmp(line, "0:") != 0)
		return false;
	at->v1 = *controllers;
	if (!join(at->path, sizeof(at->path), path, "", ""))
		at->path[0] = '\0';
	return at->v1; /* that of version 2 counts only if there is none of version 1 */
}

/* "36 35 98:0 /part /mount options tags... - type source options" */
static bool mount_line(char *line, void *arg)
{
	struct place *at = arg;
	char *part, *mount, *type;

	for (int i = 0; i < 3; i++)
		field(&line);
	part = field(&line);
	mount = field(&line);
	while (*line && strcmp(field(&line), "-") != 0)
		;
	type = field(&line);
	if (strcmp(type, at->v1 ? "cgroup" : "cgroup2") != 0)
		return false;
	field(&line);
	if (at->v1 && !listed(field(&line), "cpu"))
		return false;
	unescape(part);
	unescape(mount);
	return join(at->mount, sizeof(at->mount), mount, "", "") &&
	       join(at->part, sizeof(at->part), part, "", "");
}

/* The limit of one directory in thousandths, 0: none. */
static long limit_of(const char *dir, bool v1)
{
	char path[PATH_MAX + 32], text[64];
	const char *s = text;
	long quota, period;

	if (!join(path, sizeof(path), dir, v1 ? "/cpu.cfs_quota_us" : "/cpu.max", "") ||
	    read_file(path, text, sizeof(text)) < 0)
		return 0;
	quota = number(&s); /* "max" and "-1" are no numbers */
	if (v1) {
		s = text;
		if (!join(path, sizeof(path), dir, "/cpu.cfs_period_us", "") ||
		    read_file(path, text, sizeof(text)) < 0)
			return 0;
	} else {
		s += *s == ' ';
	}
	period = number(&s);
	if (quota <= 0 || period <= 0 || quota > LONG_MAX / 1000)
		return 0;
	/* rounded up: a limit is not no limit */
	return (quota * 1000 + period - 1) / period;
}

long gs_width_cgroup(const char *root)
{
	char path[2 * PATH_MAX], *below;
	struct place at = {.v1 = false};
	size_t top, part;
	long least = 0;

	if (join(path, sizeof(path), root, "/proc/self/cgroup", ""))
		each_line(path, cgroup_line, &at);
	if (!at.path[0] || !join(path, sizeof(path), root, "/proc/self/mountinfo", "") ||
	    !each_line(path, mount_line, &at))
		return 0;
	/* what is not below the part that is mounted here cannot be seen: the mount point */
	part = strcmp(at.part, "/") == 0 ? 0 : strlen(at.part);
	below = at.path + part;
	if (strncmp(at.path, at.part, part) != 0 || (*below && *below != '/') ||
	    strncmp(below, "/..", 3) == 0)
		below = at.path + strlen(at.path);
	if (!join(path, sizeof(path), root, at.mount, ""))
		return 0;
	top = strlen(path);
	if (!join(path + top, sizeof(path) - top, below, "", ""))
		return 0;
	for (;;) {
		size_t len = strlen(path);
		long n;

		while (len > top && path[len - 1] == '/')
			path[--len] = '\0';
		n = limit_of(path, at.v1);
		if (n && (!least || n < least))
			least = n;
		if (len <= top)
			return least;
		while (len > top && path[len - 1] != '/')
			path[--len] = '\0';
	}
}

int gs_width(void)
{
	unsigned long mask[8192 / (8 * sizeof(long))];
	long n = gs_syscall3(SYS_sched_getaffinity, 0, sizeof(mask), mask), limit;
	int cpus = 0;

	for (long i = 0; i < n / (long)sizeof(mask[0]); i++)
		cpus += __builtin_popcountl(mask[i]);
	if (cpus < 1)
		cpus = 1;
	limit = gs_width_cgroup("");
	if (limit) {
		limit = (limit + 999) / 1000;
		if (limit < 2)
			limit = 2;
		if (limit < cpus)
			cpus = (int)limit;
	}
	return cpus < GS_MAXPROCS ? cpus : GS_MAXPROCS;
}

/* ------------------------------------------------------------------------- */

static struct gs_lock lock;
static bool following; /* lock; once false, it stays so */
static int last;       /* the poller's: what gs_width said */

static void follow(void)
{
	int n;

	/* no backend: the start failed after it had made the poller, which stays */
	if (!gs_load_relaxed(&following) || !gs_load_acquire(&gs_be))
		return;
	n = gs_width();
	if (n == last)
		return;
	last = n;
	gs_lock_acquire(&lock);
	if (following)
		gs_sched_set_procs(n);
	gs_lock_release(&lock);
	/* new procs may have work waiting for them */
	gs_wake_idle();
}

void gs_width_follow(int procs)
{
	last = procs;
	following = true;
	gs_poller_add_periodic(follow, FOLLOW_NS);
}

int gs_width_set(int n)
{
	gs_rt_enter();
	gs_lock_acquire(&lock);
	gs_store_relaxed(&following, false);
	gs_lock_release(&lock);
	gs_rt_leave();
	n = gs_sched_set_procs(n);
	gs_rt_enter();
	gs_wake_idle();
	gs_rt_leave();
	return n;
}
