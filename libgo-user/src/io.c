/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors of the program's own: see gsched/io.h for what is promised.
 *
 * What a descriptor is is not known, and a number may be another file at each call. So
 * every way to try it fails harmlessly on what it is not for, and pd->kind only says with
 * which to begin:
 *
 *	recvmsg(MSG_DONTWAIT)		-ENOTSOCK	next
 *	preadv2(-1, RWF_NOWAIT)		-EOPNOTSUPP	next
 *	poll(0), then readv		works with all
 *
 * With O_NONBLOCK set the last one needs no poll. A file that says -EAGAIN to RWF_NOWAIT
 * is handed over to the ring (gs_file_op). One that says -EOPNOTSUPP (writing to ext4,
 * for one) is not: a thread of the kernel's would make the plain call for it, at 15 us
 * where it mostly takes 1; so it is made here, without a proc.
 */
#include <errno.h>
#include <fcntl.h>
#include <gsched/io.h>
#include <gsched/runtime.h>
#include <gsched/sync.h>
#include <gsched/time.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/syscall.h"
#include "netpoll.h"
#include "sched.h"

/* A pipe that is ready for writing takes this much without blocking. */
#define CHUNK PIPE_BUF

/* What it is not possible to write at once is written in windows of as many vectors. */
#define WINDOW 16

static const short ready_events[2] = {POLLIN, POLLOUT};

static short poll_now(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	long r;

	/* even a look that does not wait is interrupted if nothing is ready and a signal is due */
	do {
		r = gs_syscall3(SYS_poll, &p, 1, 0);
	} while (r == -EINTR);
	/* an error is the call's to report */
	return r < 0 ? POLLERR : p.revents;
}

static bool nonblocking(int fd)
{
	return gs_syscall3(SYS_fcntl, fd, F_GETFL, 0) & O_NONBLOCK;
}

static bool is_a(int fd, mode_t this, mode_t or_that)
{
	struct stat st;

	/* x86-64's structure is the kernel's; elsewhere glibc's call sets errno */
#ifdef __x86_64__
	if (gs_syscall3(SYS_fstat, fd, &st, 0))
		return false;
#else
	if (fstat(fd, &st))
		return false;
#endif
	return (st.st_mode & S_IFMT) == this || (st.st_mode & S_IFMT) == or_that;
}

static bool is_file(int fd)
{
	return is_a(fd, S_IFREG, S_IFBLK);
}

static long plain(int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	return gs_syscall3(dir == GS_PD_READ ? SYS_readv : SYS_writev, fd, iov, n);
}

static long try_socket(int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};

	if (dir == GS_PD_READ)
		return gs_syscall3(SYS_recvmsg, fd, &m, MSG_DONTWAIT);
	return gs_syscall3(SYS_sendmsg, fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static long try_nowait(int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	return gs_syscall6(dir == GS_PD_READ ? SYS_preadv2 : SYS_pwritev2, fd, (long)iov, n, -1, -1,
			   RWF_NOWAIT);
}

/* Blocking, whatever it takes: neither tried nor waited for. */
static long blocking(int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	long r;

	gs_blocking_begin();
	r = plain(fd, iov, n, dir);
	gs_blocking_end();
	return r;
}

/* Alone of this direction, so that what poll says is still true; another process apart. */
static long try_polled(struct gs_pd *pd, int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	struct iovec first;
	long r = -EAGAIN;

	if (is_file(fd))
		return blocking(fd, iov, n, dir);
	if (nonblocking(fd))
		return plain(fd, iov, n, dir);
	if (dir == GS_PD_WRITE) {
		for (; n > 1 && !iov->iov_len; n--)
			iov++;
		first = *iov;
		if (first.iov_len > CHUNK)
			first.iov_len = CHUNK;
		iov = &first;
		n = 1;
	}
	gs_mutex_lock(&pd->turn[dir]);
	if (poll_now(fd, ready_events[dir]))
		r = blocking(fd, iov, n, dir);
	gs_mutex_unlock(&pd->turn[dir]);
	return r;
}

/* A socket is always written to as one: a stale guess must not raise SIGPIPE. */
static long try(struct gs_pd *pd, int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	uint8_t guess = gs_load_relaxed(&pd->kind[dir]), kind = guess;
	long r = -EOPNOTSUPP;

	if (dir == GS_PD_WRITE || kind == GS_PD_SOCKET) {
		r = try_socket(fd, iov, n, dir);
		if (r != -ENOTSOCK && r != -EOPNOTSUPP)
			kind = GS_PD_SOCKET;
		else if (kind == GS_PD_SOCKET)
			kind = GS_PD_NOWAIT;
	}
	if (kind == GS_PD_NOWAIT) {
		r = try_nowait(fd, iov, n, dir);
		if (r == -EOPNOTSUPP)
			kind = GS_PD_OTHER;
	}
	if (kind != guess)
		gs_store_relaxed(&pd->kind[dir], kind);
	return kind == GS_PD_OTHER ? try_polled(pd, fd, iov, n, dir) : r;
}

/* What is left of iov after `done` bytes: as many vectors as fit in w; their number. */
static int window(struct iovec *w, const struct iovec *iov, int n, size_t done)
{
	int k = 0;

	for (int i = 0; i < n && k < WINDOW; i++) {
		if (done >= iov[i].iov_len) {
			done -= iov[i].iov_len;
			continue;
		}
		w[k].iov_base = (char *)iov[i].iov_base + done;
		w[k].iov_len = iov[i].iov_len - done;
		done = 0;
		k++;
	}
	return k;
}

static size_t total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* A step: a count above or equal 0, -EAGAIN or -EINTR (once more), or an error. */
static long step(struct gs_pd *pd, int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	struct gs_pd_turn turn = gs_pd_begin(pd);
	long r = try(pd, fd, iov, n, dir);

	if (r != -EAGAIN)
		return r;
	if (is_file(fd)) {
		struct gs_file_op op = {
			.nr = dir == GS_PD_READ ? SYS_preadv : SYS_pwritev,
			.fd = fd,
			.arg = iov,
			.len = (uint32_t)n,
			.off = -1,
		};

		return gs_file_op(&op);
	}
	r = gs_pd_wait(pd, fd, turn, (uint32_t)ready_events[dir], dir);
	if (r == -EPERM)
		return blocking(fd, iov, n, dir);
	return r ? r : -EAGAIN;
}

/* Does the call go on after it transferred some, as the system call would? */
static bool goes_on(int fd, enum gs_pd_dir dir)
{
	/* what is in memory of a file may end before what was asked for */
	return dir == GS_PD_READ ? is_file(fd) : !nonblocking(fd);
}

static ssize_t transfer(int fd, const struct iovec *iov, int n, enum gs_pd_dir dir)
{
	struct gs_pd *pd = gs_pd_of(fd);
	struct iovec left[WINDOW];
	const struct iovec *now = iov;
	size_t all, done = 0;
	int count = n;
	ssize_t r;

	if (!pd)
		return gs_pd_fd_error(fd);
	if (n <= 0 || n > IOV_MAX)
		return plain(fd, iov, n, dir); /* the system's word on it */
	all = total(iov, n);
	if (!all && dir == GS_PD_READ)
		return plain(fd, iov, n, dir); /* never blocks; recvmsg might */
	if (dir == GS_PD_WRITE)
		gs_io_out();
	for (;;) {
		r = step(pd, fd, now, count, dir);
		if (r == -EAGAIN || r == -EINTR)
			continue;
		if (r <= 0)
			break;
		done += (size_t)r;
		if (done >= all || !goes_on(fd, dir))
			break;
		count = window(left, iov, n, done);
		now = left;
	}
	if (dir == GS_PD_READ)
		gs_io_in();
	return done ? (ssize_t)done : r;
}

ssize_t gs_read(int fd, void *buf, size_t count)
{
	struct iovec iov = {buf, count};

	return transfer(fd, &iov, 1, GS_PD_READ);
}

ssize_t gs_write(int fd, const void *buf, size_t count)
{
	struct iovec iov = {(void *)buf, count};

	return transfer(fd, &iov, 1, GS_PD_WRITE);
}

ssize_t gs_readv(int fd, const struct iovec *iov, int iovcnt)
{
	return transfer(fd, iov, iovcnt, GS_PD_READ);
}

ssize_t gs_writev(int fd, const struct iovec *iov, int iovcnt)
{
	return transfer(fd, iov, iovcnt, GS_PD_WRITE);
}

/* At a place: files only, so nothing is ever waited for but the file itself. */
static ssize_t transfer_at(int fd, void *buf, size_t count, off_t off, enum gs_pd_dir dir)
{
	size_t done = 0;
	ssize_t r;

	if (off < 0)
		return -EINVAL;
	if (dir == GS_PD_WRITE)
		gs_io_out();
	do {
		struct iovec iov = {(char *)buf + done, count - done};

		r = gs_syscall6(dir == GS_PD_READ ? SYS_preadv2 : SYS_pwritev2, fd, (long)&iov, 1,
				off + (off_t)done, 0, RWF_NOWAIT);
		if (r == -EAGAIN || r == -EOPNOTSUPP) {
			struct gs_file_op op = {
				.nr = dir == GS_PD_READ ? SYS_preadv : SYS_pwritev,
				.fd = fd,
				.arg = &iov,
				.len = 1,
				.off = off + (off_t)done,
				.plain = r == -EOPNOTSUPP,
			};

			r = gs_file_op(&op);
		}
		if (r > 0)
			done += (size_t)r;
	} while (r == -EINTR || (r > 0 && done < count));
	if (dir == GS_PD_READ)
		gs_io_in();
	return done ? (ssize_t)done : r;
}

ssize_t gs_pread(int fd, void *buf, size_t count, off_t offset)
{
	return transfer_at(fd, buf, count, offset, GS_PD_READ);
}

ssize_t gs_pwrite(int fd, const void *buf, size_t count, off_t offset)
{
	return transfer_at(fd, (void *)buf, count, offset, GS_PD_WRITE);
}

/* A new life of the number begins, or its old one ends. */
static void forget(struct gs_pd *pd)
{
	gs_store_relaxed(&pd->kind[GS_PD_READ], GS_PD_SOCKET);
	gs_store_relaxed(&pd->kind[GS_PD_WRITE], GS_PD_SOCKET);
}

/*
 * A file or directory whose names are all in memory opens without waiting: its descriptor,
 * or -1. Whether it is one is looked at first (O_PATH), for opening a FIFO waits, and
 * opening one with O_NONBLOCK to find out would be seen at its other end.
 */
static int open_cached(int dirfd, const char *path, int flags)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | (flags & (O_NOFOLLOW | O_DIRECTORY)),
			       .resolve = RESOLVE_CACHED};
	int fd;
	bool ok;

	if (flags & (O_CREAT | O_TRUNC | O_PATH))
		return -1;
	fd = (int)gs_syscall6(SYS_openat2, dirfd, (long)path, (long)&how, sizeof(how), 0, 0);
	if (fd < 0)
		return -1;
	ok = is_a(fd, S_IFREG, S_IFDIR);
	gs_syscall3(SYS_close, fd, 0, 0);
	how.flags = (uint32_t)flags;
	return ok ? (int)gs_syscall6(SYS_openat2, dirfd, (long)path, (long)&how, sizeof(how), 0, 0)
		  : -1;
}

int gs_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	struct gs_file_op op = {
		.nr = SYS_openat, .fd = dirfd, .arg = path, .flags = flags, .mode = mode};
	struct gs_pd *pd;
	int fd = open_cached(dirfd, path, flags);

	/* whatever went wrong, the plain call tells */
	if (fd < 0)
		fd = (int)gs_file_op(&op);
	if (fd >= 0) {
		pd = gs_pd_of(fd);
		if (pd)
			forget(pd);
	}
	return fd;
}

int gs_open(const char *path, int flags, mode_t mode)
{
	return gs_openat(AT_FDCWD, path, flags, mode);
}

int gs_fsync(int fd)
{
	struct gs_file_op op = {.nr = SYS_fsync, .fd = fd};

	return (int)gs_file_op(&op);
}

int gs_close_fd(int fd)
{
	struct gs_pd *pd = gs_pd_of(fd);
	int r;

	if (pd) {
		if (gs_load_relaxed(&pd->owned))
			return -EBUSY;
		gs_pd_close(pd, fd, gs_pd_begin(pd).gen);
		forget(pd);
	}
	gs_io_out();
	r = (int)gs_syscall3(SYS_close, fd, 0, 0);
	if (pd)
		gs_pd_closed(pd);
	/* it is closed all the same */
	return r == -EINTR ? 0 : r;
}

int gs_poll_fd(int fd, short events, int64_t ns)
{
	struct gs_pd *pd = gs_pd_of(fd);
	int64_t until = 0;

	if (!pd)
		return gs_pd_fd_error(fd);
	if (ns > 0 && __builtin_add_overflow(gs_now(), ns, &until))
		until = INT64_MAX;
	for (;;) {
		struct gs_pd_turn turn = gs_pd_begin(pd);
		short revents = poll_now(fd, events);
		int r;

		if (revents & POLLNVAL)
			return -EBADF;
		if (revents || !ns) {
			gs_io_in();
			return revents;
		}
		r = gs_pd_wait_until(pd, fd, turn, (uint16_t)events, until);
		if (r)
			return r == -ETIMEDOUT ? 0 : r;
	}
}
