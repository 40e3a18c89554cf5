/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Slow disks: what waits for one waits until the test says so.
 *
 * A network block device whose server is a thread of this process. While the gate is
 * closed the server keeps the requests it gets; whoever made them waits in the kernel.
 * The gate is opened by disk_open(), from any thread, without locks and page faults.
 */
#ifndef DISK_H
#define DISK_H

#include <arpa/inet.h>
#include <endian.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <sys/socket.h>
#include "kutil.h"

#define DISK_SIZE (4ul << 20)

struct disk {
	char path[16];
	int fd;		       /* the block device */
	int sock[2];	       /* the kernel's end, the server's end */
	char *store;	       /* what is on the disk */
	uint32_t closings;     /* of the gate, so far */
	uint32_t closed, held; /* the gate: 0 or which closing; at which a request waits */
	bool broken;
};

static inline bool disk_transfer(int fd, void *buf, size_t len, bool out)
{
	while (len) {
		ssize_t n = out ? write(fd, buf, len) : read(fd, buf, len);

		if (n <= 0)
			return false;
		buf = (char *)buf + n;
		len -= n;
	}
	return true;
}

static inline void *disk_server(void *arg)
{
	struct disk *d = arg;
	struct nbd_request rq;
	uint32_t closed;

	while (disk_transfer(d->sock[1], &rq, sizeof(rq), false)) {
		struct nbd_reply reply = {.magic = htonl(NBD_REPLY_MAGIC)};
		uint64_t from = be64toh(rq.from);
		uint32_t len = ntohl(rq.len), type = ntohl(rq.type) & 0xffff;
		char *where = d->store + from;

		if (type == NBD_CMD_DISC)
			break;
		if (type != NBD_CMD_READ && type != NBD_CMD_WRITE)
			len = 0;
		if (len > DISK_SIZE || from > DISK_SIZE - len)
			break;
		if (type == NBD_CMD_WRITE && !disk_transfer(d->sock[1], where, len, false))
			break;
		/* One that found it open is not held, though it be closed before it has passed. */
		while ((closed = __atomic_load_n(&d->closed, __ATOMIC_SEQ_CST))) {
			__atomic_store_n(&d->held, closed, __ATOMIC_SEQ_CST);
			kfutex(&d->closed, FUTEX_WAIT, closed);
		}
		__atomic_store_n(&d->held, 0, __ATOMIC_SEQ_CST);
		memcpy(reply.handle, rq.handle, sizeof(reply.handle));
		if (!disk_transfer(d->sock[1], &reply, sizeof(reply), true) ||
		    (type == NBD_CMD_READ && !disk_transfer(d->sock[1], where, len, true)))
			break;
	}
	close(d->sock[1]);
	return NULL;
}

/* The kernel's side of the connection: a call that lasts as long as the disk. */
static inline void *disk_client(void *arg)
{
	struct disk *d = arg;

	ioctl(d->fd, NBD_DO_IT);
	__atomic_store_n(&d->broken, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static inline void disk_close(struct disk *d)
{
	__atomic_store_n(&d->closed, ++d->closings, __ATOMIC_SEQ_CST);
}

static inline void disk_open(struct disk *d)
{
	__atomic_store_n(&d->closed, 0, __ATOMIC_SEQ_CST);
	kfutex(&d->closed, FUTEX_WAKE, 1);
}

/* Does a request wait at the gate? */
static inline bool disk_held(struct disk *d)
{
	uint32_t closed = __atomic_load_n(&d->closed, __ATOMIC_SEQ_CST);

	return closed && __atomic_load_n(&d->held, __ATOMIC_SEQ_CST) == closed;
}

/* Is there a server behind it? */
static inline bool disk_served(struct disk *d)
{
	char name[64];

	snprintf(name, sizeof(name), "/sys/block/%s/pid", d->path + strlen("/dev/"));
	return !access(name, F_OK);
}

/* And is the kernel done with making it a disk? */
static inline bool disk_complete(struct disk *d)
{
	uint64_t size = 0;

	return disk_served(d) && !ioctl(d->fd, BLKGETSIZE64, &size) && size == DISK_SIZE;
}

/* The gate is open. 1 if this kernel has no such disks, -1 and errno if it should. */
static inline int disk_new(struct disk *d)
{
	pthread_t t;
	int i;

	memset(d, 0, sizeof(*d));
	if (access("/sys/block/nbd0", F_OK))
		return 1;
	d->store = mmap(NULL, DISK_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (d->store == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, d->sock))
		return -1;
	for (i = 0; i < 16; i++) {
		snprintf(d->path, sizeof(d->path), "/dev/nbd%d", i);
		if (disk_served(d))
			continue;
		d->fd = open(d->path, O_RDWR | O_CLOEXEC);
		if (d->fd < 0)
			return -1;
		if (!ioctl(d->fd, NBD_SET_SOCK, d->sock[0]))
			break;
		close(d->fd);
	}
	if (i == 16 || ioctl(d->fd, NBD_SET_BLKSIZE, 4096ul) ||
	    ioctl(d->fd, NBD_SET_SIZE_BLOCKS, DISK_SIZE / 4096) ||
	    ioctl(d->fd, NBD_SET_FLAGS, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH) ||
	    pthread_create(&t, NULL, disk_server, d) || pthread_detach(t) ||
	    pthread_create(&t, NULL, disk_client, d) || pthread_detach(t))
		return -1;
	return until(disk_complete(d) || d->broken) && !d->broken ? 0 : -1;
}

/* The gate is open, and all that waited has gone through. */
static inline void disk_end(struct disk *d)
{
	if (!d->store)
		return;
	disk_open(d);
	ioctl(d->fd, NBD_DISCONNECT);
	ioctl(d->fd, NBD_CLEAR_SOCK);
	close(d->fd);
}

#endif /* DISK_H */
