/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first of these that the kernel offers:
 *
 *   guard-install	madvise, Linux 6.13 on: a marker in the page table, any number
 *   poison	userfaultfd, Linux 6.6 on: a marker, too. The stacks are registered for
 *		write protection, which nobody ever asks for: no fault of theirs goes that
 *		way. An overflow is a SIGBUS, as for a page whose memory is broken
 *   mprotect	splits the mapping: only the first MPROTECT_MAX, for vm.max_map_count is
 *		65,530 and each costs two
 *   none	beyond that: stack.c has canaries for these
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/mmap.h"
#include "base/syscall.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* Linux 6.6's */
#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
struct uffdio_poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#endif

#define MPROTECT_MAX 30000

static enum gs_guard kind; /* atomic; AUTO until the first page */
static uint32_t nmprotect; /* atomic; that are mapped */
static int32_t uffd = -1;  /* atomic; set once, never closed */

void gs_guard_init(enum gs_guard wanted)
{
	gs_store_relaxed(&kind, wanted);
}

/* The descriptor that all regions are registered with, or < 0. */
static int get_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_POISON};
	int32_t none = -1;
	long fd;

	if (gs_load_relaxed(&uffd) >= 0)
		return gs_load_relaxed(&uffd);
	/* faults in user mode: all that an unprivileged program may ask for */
	fd = gs_syscall3(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0);
	if (fd < 0)
		return (int)fd;
	if (gs_syscall3(SYS_ioctl, fd, UFFDIO_API, &api) < 0) {
		gs_syscall3(SYS_close, fd, 0, 0);
		return -EOPNOTSUPP;
	}
	if (!gs_cas_seq(&uffd, &none, (int32_t)fd)) {
		gs_syscall3(SYS_close, fd, 0, 0);
		return none;
	}
	return (int)fd;
}

static bool enrol(void *map, size_t size)
{
	struct uffdio_register r = {
		.range = {(uintptr_t)map, size},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = get_uffd();

	return fd >= 0 && !gs_syscall3(SYS_ioctl, fd, UFFDIO_REGISTER, &r);
}

static bool poison(void *page)
{
	struct uffdio_poison p = {.range = {(uintptr_t)page, GS_GUARD_SIZE}};
	int fd = gs_load_relaxed(&uffd);

	return fd >= 0 && !gs_syscall3(SYS_ioctl, fd, UFFDIO_POISON, &p);
}

static bool install(void *page)
{
	return !gs_syscall3(SYS_madvise, page, GS_GUARD_SIZE, MADV_GUARD_INSTALL);
}

/* Several may find out at once, and find the same. */
static enum gs_guard find_kind(void)
{
	void *page = gs_mmap(GS_GUARD_SIZE, 0);
	enum gs_guard found = GS_GUARD_MPROTECT;

	/* no memory: the next one asks again */
	if (!page)
		return GS_GUARD_AUTO;
	if (install(page)) {
		found = GS_GUARD_INSTALL;
	} else if (get_uffd() >= 0 && enrol(page, GS_GUARD_SIZE) && poison(page)) {
		found = GS_GUARD_POISON;
	}
	gs_munmap(page, GS_GUARD_SIZE);
	gs_store_relaxed(&kind, found);
	return found;
}

const char *gs_guard_name(void)
{
	enum gs_guard k = gs_load_relaxed(&kind);

	if (k == GS_GUARD_AUTO)
		k = find_kind();
	return k == GS_GUARD_INSTALL  ? "guard-install"
	       : k == GS_GUARD_POISON ? "poison"
	       : k == GS_GUARD_NONE   ? "none"
				      : "mprotect";
}

void gs_guard_region(void *map, size_t size)
{
	enum gs_guard k = gs_load_relaxed(&kind);

	if (k == GS_GUARD_AUTO)
		k = find_kind();
	if (k == GS_GUARD_POISON)
		enrol(map, size);
}

enum gs_guard gs_guard_page(void *page)
{
	switch (gs_load_relaxed(&kind)) {
	case GS_GUARD_INSTALL:
		if (install(page))
			return GS_GUARD_INSTALL;
		break;
	case GS_GUARD_POISON:
		if (poison(page))
			return GS_GUARD_POISON;
		break;
	case GS_GUARD_NONE:
		return GS_GUARD_NONE;
	default:
		break;
	}
	/* also where the other way fails for once: memory for page tables may be short */
	if (gs_load_relaxed(&nmprotect) >= MPROTECT_MAX ||
	    gs_syscall3(SYS_mprotect, page, GS_GUARD_SIZE, PROT_NONE))
		return GS_GUARD_NONE;
	gs_fetch_add_relaxed(&nmprotect, 1);
	return GS_GUARD_MPROTECT;
}

void gs_guard_gone(enum gs_guard how)
{
	if (how == GS_GUARD_MPROTECT)
		gs_fetch_sub_relaxed(&nmprotect, 1);
}
