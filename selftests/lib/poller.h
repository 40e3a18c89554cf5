/* SPDX-License-Identifier: GPL-2.0 */
/* A fixture that runs each test with either poller: TEST_F(poller, name). */
#ifndef GS_SELFTESTS_POLLER_H
#define GS_SELFTESTS_POLLER_H

#include <linux/io_uring.h>
#include <sys/syscall.h>

#include "util.h"

static UT_UNUSED bool ut_uring_refused(void)
{
	struct io_uring_params p = {0};
	long fd = syscall(SYS_io_uring_setup, 1, &p);

	if (fd >= 0)
		close((int)fd);
	return fd < 0;
}

FIXTURE(poller){};

FIXTURE_VARIANT(poller)
{
	const char *name;
};

FIXTURE_VARIANT_ADD(poller, uring){
	.name = "uring",
};

FIXTURE_VARIANT_ADD(poller, epoll){
	.name = "epoll",
};

FIXTURE_SETUP(poller)
{
	if (strcmp(variant->name, "uring") == 0 && ut_uring_refused())
		SKIP(return, "this machine refuses io_uring");
	setenv("GSCHED_POLLER", variant->name, 1);
}

FIXTURE_TEARDOWN(poller) {}

#endif /* GS_SELFTESTS_POLLER_H */
