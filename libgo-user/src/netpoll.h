/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for descriptors: what netpoll_epoll.c and netpoll_uring.c do for the poller,
 * and what a fiber that got EAGAIN does.
 *
 *	struct gs_pd *pd = gs_pd_of(fd);
 *	struct gs_pd_turn turn;
 *
 *	do {
 *		turn = gs_pd_begin(pd);
 *		r = recv(fd, ... without blocking ...);
 *	} while (r == -EAGAIN && !(r = gs_pd_wait(pd, turn, POLLIN, GS_PD_READ)));
 *
 * Readiness is not kept as a state but counted: every event raises pd->seq and wakes
 * whoever waits for it. gs_pd_begin notes the count before the try, so that an event
 * that comes between try and wait is seen: the wait returns at once. Nothing is lost
 * with any number of readers, and a wake-up too many costs one more EAGAIN.
 *
 * A pd belongs to a descriptor's *number* and is never freed, so a late event, timer
 * or waiter always finds one. What it must not do is take part in the number's next
 * life: gs_pd_close raises pd->gen, and a wait with an older one ends with -ECANCELED.
 *
 * Two ways to be registered:
 *   owned	by net.c, which opens and closes the descriptor: once, edge-triggered.
 *   not owned	anybody's, who may close it by close(2) and open another under the same
 *		number, unseen: one-shot, anew for each wait.
 */
#ifndef GS_NETPOLL_H
#define GS_NETPOLL_H

#include <errno.h>
#include <gsched/sync.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"
#include "timer.h"

enum gs_pd_dir { GS_PD_READ, GS_PD_WRITE };

/* How a descriptor is read without blocking: a guess that io.c checks at each use. */
enum gs_pd_kind { GS_PD_SOCKET, GS_PD_NOWAIT, GS_PD_OTHER };

struct gs_pd_deadline {
	struct gs_rtimer timer;
	int64_t when; /* L: 0 none; passed: fails until it is set anew */
};

/* Protection: [L] lock; [A] atomic. */
struct gs_pd {
	struct gs_lock lock;
	uint32_t gen;		/* L writes, A: lives of this number */
	uint32_t seq;		/* L writes, A: events so far */
	uint8_t kind[2];	/* A: enum gs_pd_kind, by direction */
	bool owned;		/* L writes, A */
	bool arming;		/* L: somebody registers it just now... */
	bool rearm;		/* L: ...and has to do so again */
	struct gs_list waiters; /* L: zeroed until first used */
	struct gs_pd_deadline deadline[2];
	/* where only poll says that a call will not block: one such call at a time */
	gs_mutex turn[2];
};

struct gs_pd_turn {
	uint32_t gen, seq;
};

/* The descriptor's pd; NULL: fd is negative, or no memory. Depth 0. (T) */
struct gs_pd *gs_pd_of(int fd);

/* In the child of a fork: nobody is at work on any number, which may be another file's soon. */
void gs_netpoll_forked(void);

static inline int gs_pd_fd_error(int fd)
{
	return fd < 0 ? -EBADF : -ENOMEM;
}

static inline struct gs_pd_turn gs_pd_begin(struct gs_pd *pd)
{
	/* acquire: pairs with the releases in netpoll.c; what is tried now comes after */
	struct gs_pd_turn t = {gs_load_acquire(&pd->gen), gs_load_acquire(&pd->seq)};

	return t;
}

/*
 * Wait for one of the events (POLLIN ...), or for an error or hang-up: 0 (try again),
 * -ECANCELED (closed), -ETIMEDOUT (the direction's deadline), or what the registration
 * failed with. Depth 0, not in gs_nopreempt. (T)
 */
int gs_pd_wait(struct gs_pd *pd, int fd, struct gs_pd_turn turn, uint32_t events,
	       enum gs_pd_dir dir);

/* The same without the pd's deadlines, until a time of CLOCK_MONOTONIC; 0 for ever. */
int gs_pd_wait_until(struct gs_pd *pd, int fd, struct gs_pd_turn turn, uint32_t events,
		     int64_t until);

/* 0, -ECANCELED or -ETIMEDOUT: may an operation of this life begin? */
int gs_pd_check(struct gs_pd *pd, uint32_t gen, enum gs_pd_dir dir);

/* Register fd once, edge-triggered; *gen is this life. 0 or -errno. Depth 0. (T) */
int gs_pd_own(struct gs_pd *pd, int fd, uint32_t *gen);

/*
 * The end of a life, before close(2): waiters get -ECANCELED. False: that life had
 * ended already. gs_pd_closed, after close(2), for a descriptor that is not owned: who
 * began to wait between the two looks again. Depth 0. (T)
 */
bool gs_pd_close(struct gs_pd *pd, int fd, uint32_t gen);
void gs_pd_closed(struct gs_pd *pd);

/* The deadline of one direction, 0 none; 0 or -ECANCELED. Depth 0. (T) */
int gs_pd_set_deadline(struct gs_pd *pd, uint32_t gen, enum gs_pd_dir dir, int64_t when);

/* ------------------------------------------------------------------------- */
/* Operations that poll knows nothing of: files                                */

/* The system call, and where its completion goes. On the caller's stack. */
struct gs_file_op {
	struct gs_file_op *next;
	struct gs_fiber *fiber;
	long nr; /* SYS_preadv, SYS_pwritev, SYS_openat, SYS_fsync */
	int fd;
	const void *arg; /* iovec or path */
	uint32_t len;	 /* number of iovecs */
	int flags;	 /* openat */
	uint32_t mode;	 /* openat */
	int64_t off;	 /* -1: the file's own position */
	bool plain;	 /* by the plain call, without a proc: the ring would not do better */
	long result;
};

/* Do it; what the call returns, or -errno; never -EINTR. Depth 0. (T) */
long gs_file_op(struct gs_file_op *op);

/* ------------------------------------------------------------------------- */
/* The poller's side                                                           */

struct gs_netpoll {
	const char *name;

	/* 0, or -errno where the machine refuses it. Once, before the poller's thread. */
	int (*init)(void);

	/* Wait for events until the deadline (0 none), and report them. Poller only. */
	void (*wait)(int64_t deadline);

	/* Wait until then for all but the events of descriptors. Poller only. */
	void (*nap)(int64_t until);

	/* Report those of descriptors that are there, without waiting. Depth raised. */
	void (*poll)(void);

	/* Make wait return. Never blocks. (T) */
	void (*wake)(void);

	/* (Re-)register for one event of the mask. Depth 0, or as poll's caller. (T) */
	int (*arm)(int fd, uint32_t events, struct gs_pd *pd);

	/* Register for all events, edge-triggered; undo it. Depth 0. (T) */
	int (*add)(int fd, struct gs_pd *pd);
	void (*del)(int fd);

	/* Begin a file operation; its fiber is readied at the end. NULL: none. (T) */
	void (*submit)(struct gs_file_op *op);
};

extern const struct gs_netpoll gs_netpoll_epoll;
extern const struct gs_netpoll gs_netpoll_uring;
extern const struct gs_netpoll *gs_np; /* the one in use */

/* An event; by who waits or polls. */
void gs_pd_event(struct gs_pd *pd, int fd, uint32_t events);

/* Fibers and threads that wait here: atomic. They are why a program is no deadlock. */
extern uint32_t gs_io_waiting;

/* What netpoll_epoll.c does for netpoll_uring.c: a descriptor of its own in the set. */
int gs_epoll_init(void);
int gs_epoll_watch(int fd, void (*fn)(void));
void gs_epoll_wait(int64_t deadline);
void gs_epoll_nap(int64_t until);
void gs_epoll_poll(void);
void gs_epoll_wake(void);
int gs_epoll_arm(int fd, uint32_t events, struct gs_pd *pd);
int gs_epoll_add(int fd, struct gs_pd *pd);
void gs_epoll_del(int fd);

/*
 * TSan: data that went through a descriptor was written before and is read after. It
 * does not see raw system calls, so every write happens before every later read.
 */
#ifdef GS_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define gs_io_out() __tsan_release(&gs_io_waiting)
#define gs_io_in() __tsan_acquire(&gs_io_waiting)
#else
#define gs_io_out() ((void)0)
#define gs_io_in() ((void)0)
#endif

#endif /* GS_NETPOLL_H */
