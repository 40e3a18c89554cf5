/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Page faults that wait for a disk: bench/disk.c, a process of its own, serves one whose
 * pages take so many microseconds each. It is mapped as a file, and no page of it is read
 * twice, or ahead. Its code is the same for both sides, and no thread of theirs takes part.
 */
#ifndef GS_BENCH_DISK_H
#define GS_BENCH_DISK_H

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define DISK_PAGES 32768l /* for each user: SLOW_DISK_PAGES */

struct disk {
	char *area;
	long *next; /* page of each user */
};

/* Starts disk, which lies beside this program. */
static BENCH_UNUSED void disk_start(struct disk *d, int users, long us)
{
	size_t size = (size_t)users * DISK_PAGES * 4096;
	char path[4096], n[32], delay[32], *argv[] = {path, n, delay, NULL};
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 8);
	posix_spawn_file_actions_t fa;
	int fds[2], fd;
	pid_t pid;

	BENCH_CHECK(len > 0);
	path[len] = 0;
	strcpy(strrchr(path, '/'), "/disk");
	snprintf(n, sizeof(n), "%d", users);
	snprintf(delay, sizeof(delay), "%ld", us);
	BENCH_CHECK(pipe2(fds, O_CLOEXEC) == 0 && posix_spawn_file_actions_init(&fa) == 0 &&
		    posix_spawn_file_actions_adddup2(&fa, fds[1], 1) == 0 &&
		    posix_spawn(&pid, path, &fa, NULL, argv, NULL) == 0);
	posix_spawn_file_actions_destroy(&fa);
	close(fds[1]);
	/* stays open: the server ends when we do */
	len = read(fds[0], path, sizeof(path));
	BENCH_CHECK(len > 1 && path[len - 1] == '\n');
	path[len - 1] = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	BENCH_CHECK(fd >= 0);
	d->area = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	d->next = calloc((size_t)users, sizeof(*d->next));
	BENCH_CHECK(d->area != MAP_FAILED && d->next && madvise(d->area, size, MADV_RANDOM) == 0);
	close(fd);
}

/* One page fault on a page that nobody has touched; 0 if the page is what the disk holds. */
static BENCH_UNUSED int disk_touch(struct disk *d, int user)
{
	long page = user * DISK_PAGES + d->next[user]++;

	return d->next[user] > DISK_PAGES || ((volatile char *)d->area)[page * 4096] != 'p';
}

#endif /* GS_BENCH_DISK_H */
