/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readiness by epoll: one set for all, an eventfd in it to wake the poller. */
#include <gsched/time.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/syscall.h"
#include "netpoll.h"

#define EVENTS 128

/* fds and pds in one word: a pd is told by its descriptor */
#define OWN_WAKE (~0ull)
#define OWN_WATCH (~1ull)

static int set = -1, wake_fd = -1, watch_fd = -1;
static void (*watch_fn)(void);
static uint32_t woken; /* atomic: the eventfd was written and not read since */

static int ctl(int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};

	return (int)gs_syscall6(SYS_epoll_ctl, set, op, fd, (long)&ev, 0, 0);
}

int gs_epoll_init(void)
{
	int r = (int)gs_syscall3(SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0);

	if (r < 0)
		return r;
	set = r;
	r = (int)gs_syscall3(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0);
	if (r < 0)
		return r;
	wake_fd = r;
	return ctl(EPOLL_CTL_ADD, wake_fd, EPOLLIN, OWN_WAKE);
}

int gs_epoll_watch(int fd, void (*fn)(void))
{
	watch_fd = fd;
	watch_fn = fn;
	return ctl(EPOLL_CTL_ADD, fd, EPOLLIN, OWN_WATCH);
}

/*
 * The waker publishes what is to be seen, then swaps woken to 1; the poller swaps it to
 * 0, then looks. So either the poller sees it, or the eventfd is written (once).
 */
void gs_epoll_wake(void)
{
	const uint64_t one = 1;

	if (!gs_xchg_seq(&woken, 1))
		gs_syscall3(SYS_write, wake_fd, &one, sizeof(one));
}

static void wake_seen(void)
{
	uint64_t n;

	gs_syscall3(SYS_read, wake_fd, &n, sizeof(n));
	gs_xchg_seq(&woken, 0);
}

static struct timespec time_left(int64_t deadline)
{
	int64_t left = deadline ? deadline - gs_now() : 0;

	if (left < 0)
		left = 0;
	return (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
}

static long wait_events(struct epoll_event *ev, int64_t deadline)
{
	static bool no_pwait2; /* the poller's */
	struct timespec ts = time_left(deadline);
	struct pollfd p = {.fd = set, .events = POLLIN};
	long r;

	if (!no_pwait2) {
		r = gs_syscall6(SYS_epoll_pwait2, set, (long)ev, EVENTS, deadline ? (long)&ts : 0,
				0, 0);
		if (r != -ENOSYS)
			return r;
		no_pwait2 = true;
	}
	r = gs_syscall6(SYS_ppoll, (long)&p, 1, deadline ? (long)&ts : 0, 0, 0, 0);
	return r <= 0 ? r : gs_syscall6(SYS_epoll_pwait, set, (long)ev, EVENTS, 0, 0, 0);
}

void gs_epoll_wait(int64_t deadline)
{
	struct epoll_event ev[EVENTS];
	long n = wait_events(ev, deadline);

	for (long i = 0; i < n; i++) {
		int fd;

		if (ev[i].data.u64 == OWN_WAKE) {
			wake_seen();
		} else if (ev[i].data.u64 == OWN_WATCH) {
			watch_fn();
		} else {
			fd = (int)ev[i].data.u64;
			gs_pd_event(gs_pd_of(fd), fd, ev[i].events);
		}
	}
	/* -EINTR: task work of the ring; what it completed is there to be taken */
	if (n < 0 && watch_fn)
		watch_fn();
}

void gs_epoll_nap(int64_t until)
{
	struct pollfd p[2] = {{.fd = wake_fd, .events = POLLIN},
			      {.fd = watch_fd, .events = POLLIN}};
	struct timespec ts = time_left(until);

	gs_syscall6(SYS_ppoll, (long)p, 2, (long)&ts, 0, 0, 0);
	if (p[0].revents)
		wake_seen();
	if (p[1].revents > 0)
		watch_fn();
}

/* What is the poller's own stays for it: both are level-triggered. */
void gs_epoll_poll(void)
{
	struct epoll_event ev[EVENTS];
	long n = gs_syscall6(SYS_epoll_pwait, set, (long)ev, EVENTS, 0, 0, 0);

	for (long i = 0; i < n; i++) {
		int fd = (int)ev[i].data.u64;

		if (ev[i].data.u64 != OWN_WAKE && ev[i].data.u64 != OWN_WATCH)
			gs_pd_event(gs_pd_of(fd), fd, ev[i].events);
	}
}

int gs_epoll_arm(int fd, uint32_t events, struct gs_pd *pd)
{
	int r;

	(void)pd;
	events |= EPOLLONESHOT;
	r = ctl(EPOLL_CTL_MOD, fd, events, (uint64_t)fd);
	if (r == -ENOENT)
		r = ctl(EPOLL_CTL_ADD, fd, events, (uint64_t)fd);
	/* two descriptors' lives crossed: it is there after all */
	if (r == -EEXIST)
		r = ctl(EPOLL_CTL_MOD, fd, events, (uint64_t)fd);
	return r;
}

int gs_epoll_add(int fd, struct gs_pd *pd)
{
	const uint32_t all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
	int r = ctl(EPOLL_CTL_ADD, fd, all, (uint64_t)fd);

	(void)pd;
	return r == -EEXIST ? ctl(EPOLL_CTL_MOD, fd, all, (uint64_t)fd) : r;
}

void gs_epoll_del(int fd)
{
	ctl(EPOLL_CTL_DEL, fd, 0, 0);
}

const struct gs_netpoll gs_netpoll_epoll = {
	.name = "epoll",
	.init = gs_epoll_init,
	.wait = gs_epoll_wait,
	.nap = gs_epoll_nap,
	.poll = gs_epoll_poll,
	.wake = gs_epoll_wake,
	.arm = gs_epoll_arm,
	.add = gs_epoll_add,
	.del = gs_epoll_del,
};
