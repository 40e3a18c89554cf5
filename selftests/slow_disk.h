/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A slow disk, for lib/foreign and bench/disk: a network block device, whose server, a
 * process of its own, answers each request so many microseconds after it was made. It
 * serves any number of them side by side, and all that is on the disk is the letter p.
 * (kmod/disk.h: disks that wait for the test.)
 */
#ifndef SLOW_DISK_H
#define SLOW_DISK_H

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SLOW_DISK_PAGE 4096l
/* of those who read; each has a part of its own, more than he can read in half a minute */
#define SLOW_DISK_PAGES 32768l
#define SLOW_DISK_PENDING 1024 /* requests; nbd makes 128 at most */

struct slow_disk_request {
	struct nbd_request request;
	int64_t due;
};

static inline int64_t slow_disk_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static inline bool slow_disk_transfer(int fd, void *buf, size_t len, bool out)
{
	while (len) {
		ssize_t n = out ? write(fd, buf, len) : read(fd, buf, len);

		if (n <= 0)
			return false;
		buf = (char *)buf + n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool slow_disk_answer(int fd, const struct nbd_request *rq)
{
	struct nbd_reply reply = {.magic = htonl(NBD_REPLY_MAGIC)};
	uint32_t len = (ntohl(rq->type) & 0xffff) == NBD_CMD_READ ? ntohl(rq->len) : 0;
	char page[SLOW_DISK_PAGE];

	memcpy(reply.handle, rq->handle, sizeof(reply.handle));
	memset(page, 'p', sizeof(page));
	if (!slow_disk_transfer(fd, &reply, sizeof(reply), true))
		return false;
	for (uint32_t n; len; len -= n) {
		n = len < sizeof(page) ? len : (uint32_t)sizeof(page);
		if (!slow_disk_transfer(fd, page, n, true))
			return false;
	}
	return true;
}

/* Until nobody holds the other end of tell any more, or the disk is no more. */
static inline void slow_disk_loop(int sock, int tell, int64_t delay)
{
	static struct slow_disk_request pending[SLOW_DISK_PENDING]; /* a ring */
	struct pollfd fds[] = {{.fd = sock, .events = POLLIN}, {.fd = tell}};
	unsigned int head = 0, tail = 0;

	for (;;) {
		struct slow_disk_request *rq = &pending[head % SLOW_DISK_PENDING];
		int64_t wait = head != tail ? rq->due - slow_disk_now() : 0;
		struct timespec ts = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};

		if (head != tail && wait <= 0) {
			if (!slow_disk_answer(sock, &rq->request))
				return;
			head++;
			continue;
		}
		if (ppoll(fds, 2, head != tail ? &ts : NULL, NULL) < 0 || fds[1].revents)
			return;
		if (!fds[0].revents)
			continue;
		rq = &pending[tail % SLOW_DISK_PENDING];
		if (tail - head == SLOW_DISK_PENDING ||
		    !slow_disk_transfer(sock, &rq->request, sizeof(rq->request), false) ||
		    (ntohl(rq->request.type) & 0xffff) == NBD_CMD_DISC)
			return;
		rq->due = slow_disk_now() + delay;
		tail++;
	}
}

/* The kernel's side of the connection: a call that lasts as long as the disk. */
static inline void *slow_disk_client(void *fd)
{
	ioctl((int)(intptr_t)fd, NBD_DO_IT);
	return NULL;
}

/* Whether this kernel has such disks. */
static inline bool slow_disk_possible(void)
{
	return !access("/sys/block/nbd0", F_OK) && !access("/dev/nbd0", R_OK | W_OK);
}

/*
 * The server's whole life: makes a disk with pages for so many users, writes its path to
 * tell, a pipe, and serves until nobody has that pipe open for reading. 0, or 1: no disk.
 */
static inline int slow_disk_serve(long users, long us, int tell)
{
	unsigned long pages = (unsigned long)users * SLOW_DISK_PAGES;
	char path[32], name[64];
	uint64_t size = 0;
	int sock[2], fd = -1;
	pthread_t t;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		return 1;
	for (int i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "/dev/nbd%d", i);
		snprintf(name, sizeof(name), "/sys/block/nbd%d/pid", i);
		if (!access(name, F_OK))
			continue;
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && !ioctl(fd, NBD_SET_SOCK, sock[0]))
			break;
		close(fd);
		fd = -1;
	}
	if (fd < 0 || ioctl(fd, NBD_SET_BLKSIZE, SLOW_DISK_PAGE) ||
	    ioctl(fd, NBD_SET_SIZE_BLOCKS, pages) ||
	    ioctl(fd, NBD_SET_FLAGS, NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY) ||
	    pthread_create(&t, NULL, slow_disk_client, (void *)(intptr_t)fd))
		return 1;
	/* the kernel says by nothing else that it is a disk now */
	for (int64_t end = slow_disk_now() + INT64_C(60000000000);
	     access(name, F_OK) || ioctl(fd, BLKGETSIZE64, &size) ||
	     size != pages * SLOW_DISK_PAGE;) {
		struct timespec ts = {.tv_nsec = 1000000};

		if (slow_disk_now() > end)
			return 1;
		nanosleep(&ts, NULL);
	}
	/* at once: it is read at once */
	strcat(path, "\n");
	if (slow_disk_transfer(tell, path, strlen(path), true))
		slow_disk_loop(sock[1], tell, us * INT64_C(1000));
	ioctl(fd, NBD_DISCONNECT);
	ioctl(fd, NBD_CLEAR_SOCK);
	close(sock[0]);
	close(sock[1]);
	pthread_join(t, NULL);
	return 0;
}

#endif /* SLOW_DISK_H */
