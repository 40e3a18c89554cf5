/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Page faults that take time: bench/pager.c, a process of its own, brings the pages of
 * an area of ours, each so many microseconds after it was asked for. Its code is the
 * same for both sides, and no thread of theirs takes part.
 */
#ifndef GS_BENCH_PAGER_H
#define GS_BENCH_PAGER_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

struct pager {
	char *area; /* a page for each user */
};

/* Starts pager, which lies beside this program. */
static BENCH_UNUSED void pager_start(struct pager *p, int users, long us)
{
	size_t size = (size_t)users * 4096;
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg;
	char path[4096], number[32], *argv[] = {path, number, NULL};
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 8);
	posix_spawn_file_actions_t fa;
	int fd;
	pid_t pid;

	BENCH_CHECK(len > 0);
	path[len] = 0;
	strcpy(strrchr(path, '/'), "/pager");
	snprintf(number, sizeof(number), "%ld", us);
	p->area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	BENCH_CHECK(p->area != MAP_FAILED && fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0);
	reg = (struct uffdio_register){.range = {(uintptr_t)p->area, size},
				       .mode = UFFDIO_REGISTER_MODE_MISSING};
	BENCH_CHECK(ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
	BENCH_CHECK(posix_spawn_file_actions_init(&fa) == 0 &&
		    posix_spawn_file_actions_adddup2(&fa, fd, 3) == 0 &&
		    posix_spawn(&pid, path, &fa, NULL, argv, NULL) == 0);
	posix_spawn_file_actions_destroy(&fa);
	/* the pager has it, and ends when we do */
	if (fd != 3)
		close(fd);
}

/* One page fault on the page of this user; 0 if the page is what the pager brings. */
static BENCH_UNUSED int pager_touch(struct pager *p, int user)
{
	char *page = p->area + user * 4096;
	char c = *(volatile char *)page;

	return madvise(page, 4096, MADV_DONTNEED) || c != 'p';
}

#endif /* GS_BENCH_PAGER_H */
