/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What gs_dump says, for tests: above all, that a fiber has parked and where. A number of
 * yields is no proof of that: its thread may be kept from running by the machine.
 */
#ifndef GS_SELFTESTS_DUMP_H
#define GS_SELFTESTS_DUMP_H

#include <gsched/debug.h>

#include "util.h"

/* What gs_dump writes, as text; to be freed. */
static UT_UNUSED char *ut_dump(void)
{
	int fd = memfd_create("dump", MFD_CLOEXEC);
	size_t size, len = 0;
	off_t end;
	ssize_t n;
	char *text;

	if (fd < 0)
		abort();
	gs_dump(fd);
	end = lseek(fd, 0, SEEK_END);
	size = end > 0 ? (size_t)end : 0;
	text = calloc(1, size + 1);
	if (!text)
		abort();
	while ((n = pread(fd, text + len, size - len, (off_t)len)) > 0)
		len += (size_t)n;
	close(fd);
	return text;
}

/* How many fibers wait for this reason ("chan receive"), and with that name unless NULL. */
static UT_UNUSED int ut_waiting(const char *reason, const char *name)
{
	char *text = ut_dump(), what[128];
	int n;

	snprintf(what, sizeof(what), "[%s]%s%s%s", reason, name ? ": " : "", name ? name : "",
		 name ? "\n" : "");
	n = ut_occurs(text, what);
	free(text);
	return n;
}

#endif
