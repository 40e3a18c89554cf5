/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pager MICROSECONDS: brings a page for each fault on the userfaultfd that is descriptor
 * 3, so long after it was asked for; ends with its parent. See pager.h.
 */
#include <errno.h>
#include <poll.h>

#include "pager.h"

#define FD 3
#define MAX 1024

struct fault {
	uint64_t page;
	int64_t due;
};

static char filled[4096] __attribute__((aligned(4096)));

static void bring(uint64_t page)
{
	struct uffdio_copy copy = {.dst = page, .src = (uintptr_t)filled, .len = 4096};
	struct uffdio_range range = {page, 4096};

	while (ioctl(FD, UFFDIO_COPY, &copy)) {
		if (errno == EAGAIN) {
			copy.copy = 0;
			continue;
		}
		/* asked for twice: a signal came between */
		if (errno == EEXIST)
			ioctl(FD, UFFDIO_WAKE, &range);
		else if (errno != ENOENT)
			exit(0); /* its memory is gone, and so is our parent */
		break;
	}
}

int main(int argc, char **argv)
{
	int64_t delay = (argc > 1 ? atol(argv[1]) : 1000) * INT64_C(1000);
	struct pollfd pfd = {.fd = FD, .events = POLLIN};
	static struct fault faults[MAX]; /* a ring; the delay is the same for all */
	unsigned head = 0, tail = 0;
	pid_t parent = getppid();
	struct uffd_msg msg;

	memset(filled, 'p', sizeof(filled));
	if (fcntl(FD, F_SETFL, O_NONBLOCK))
		return 1;
	while (getppid() == parent) {
		int64_t wait = 200000000;
		struct timespec ts;

		while (head != tail && faults[head % MAX].due <= bench_now())
			bring(faults[head++ % MAX].page);
		if (head != tail) {
			wait = faults[head % MAX].due - bench_now();
			wait = wait > 0 ? wait : 0;
		}
		ts = (struct timespec){.tv_nsec = wait};
		if (ppoll(&pfd, 1, &ts, NULL) <= 0)
			continue;
		while (tail - head < MAX && read(FD, &msg, sizeof(msg)) == sizeof(msg))
			if (msg.event == UFFD_EVENT_PAGEFAULT)
				faults[tail++ % MAX] =
					(struct fault){msg.arg.pagefault.address & ~UINT64_C(4095),
						       bench_now() + delay};
		if (pfd.revents & (POLLERR | POLLHUP))
			break;
	}
	return 0;
}
