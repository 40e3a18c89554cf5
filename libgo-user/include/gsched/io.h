/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing descriptors without blocking a thread.
 *
 * Each call does what the system call of its name does and returns what that returns,
 * or a negative errno; errno is left alone. -EINTR never comes: interrupted calls go on.
 * Where the system call would block, the fiber waits and its worker runs others. All (T):
 * an ordinary thread blocks.
 *
 * Any descriptor will do, whether O_NONBLOCK is set or not, and the library never
 * changes that flag, for it belongs to the open file, which others may share:
 *
 *   sockets	are tried with MSG_DONTWAIT. Time limits set by SO_RCVTIMEO and
 *		SO_SNDTIMEO are not looked at. Writing never raises SIGPIPE.
 *   files	what is in memory is read, and opened, at once; the rest, and fsync, is done
 *		through io_uring, or, with GSCHED_POLLER=epoll, by the plain call on a
 *		thread that gave its proc away. So is writing, where the filesystem knows no
 *		RWF_NOWAIT for it: io_uring would use a thread for it, too, and more time.
 *   others	pipes, terminals, eventfds...: tried if they are O_NONBLOCK, or if the kernel
 *		does RWF_NOWAIT with them (pipes, from Linux 6.5). If not, poll(2) is asked
 *		first, and one call at a time is made in each direction. If another process
 *		reads the same pipe or terminal, it may take what poll promised: then the
 *		thread blocks, without its proc.
 *
 * O_NONBLOCK does not make gs_read return -EAGAIN: it waits all the same. Try with
 * gs_poll_fd(fd, POLLIN, 0). What the flag does is what it does to write(2): without it
 * gs_write returns when all is written (or an error came in between), with it when
 * something is.
 *
 * Any number of fibers may use one descriptor. Waiting readers are all woken when data
 * comes; the first gets it.
 *
 * gs_close_fd wakes those who wait for the descriptor. close(2) does not: a fiber that
 * waits for a descriptor closed that way may wait for ever. A descriptor of a gs_conn or
 * gs_listener (net.h) is closed with that one only.
 */
#ifndef GSCHED_IO_H
#define GSCHED_IO_H

#include <stdint.h>
#include <sys/types.h>

#include <gsched/process.h>
#include <gsched/signal.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct iovec;

/* As read(2), write(2) and so on: a count, 0 at the end of file, or -errno. (T) */
ssize_t gs_read(int fd, void *buf, size_t count);
ssize_t gs_write(int fd, const void *buf, size_t count);
ssize_t gs_readv(int fd, const struct iovec *iov, int iovcnt);
ssize_t gs_writev(int fd, const struct iovec *iov, int iovcnt);
ssize_t gs_pread(int fd, void *buf, size_t count, off_t offset);
ssize_t gs_pwrite(int fd, const void *buf, size_t count, off_t offset);

/* As open(2) and openat(2): a descriptor or -errno; mode counts with O_CREAT only. (T) */
int gs_open(const char *path, int flags, mode_t mode);
int gs_openat(int dirfd, const char *path, int flags, mode_t mode);

/*
 * As close(2): 0 or -errno. Calls that wait for the descriptor, in whatever fiber, return
 * -ECANCELED. -EBUSY: it belongs to a gs_conn or gs_listener, and stays open. (T)
 */
int gs_close_fd(int fd);

/* As fsync(2). (T) */
int gs_fsync(int fd);

/**
 * gs_poll_fd - wait until a descriptor is ready
 * @fd: what poll(2) takes; regular files are always ready
 * @events: POLLIN, POLLOUT, POLLPRI, POLLRDHUP; POLLERR and POLLHUP come unasked
 * @ns: how long at most, in nanoseconds; 0 not at all, below 0 for ever
 *
 * Return: what is ready (poll's revents, above 0), 0 when the time was up, -EBADF,
 * -ECANCELED (gs_close_fd was called), or another -errno. (T)
 */
int gs_poll_fd(int fd, short events, int64_t ns);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_IO_H */
