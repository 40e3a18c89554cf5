/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files by io_uring: one ring, the poller's. Readiness is epoll's, as in
 * netpoll_epoll.c; the ring's own descriptor is in the set.
 *
 * io_uring runs its task work on the thread that submitted, and cancels what a thread
 * submitted when it exits. So only the poller, which lives as long as the process, enters
 * the ring. A fiber pushes its operation onto `inbox`, a stack without a lock, and who
 * found it empty wakes the poller, which takes all of it, and submits it by one call.
 *
 * Rejected: readiness by multishot poll. It would have to be asked for and taken back
 * by the poller, two hops between threads for each connection, where epoll_ctl is a call
 * of the fiber's own; and a request that waits keeps the file open: a socket closed
 * meanwhile says nothing to its peer until the poller has cancelled it.
 */
#include <liburing.h>

#include "base/syscall.h"
#include "netpoll.h"
#include "sched.h"

#define ENTRIES 256

/*
 * Threads of the kernel for calls that block: opening a FIFO may last as long as the
 * program, and the default (four a CPU) would be used up by a few.
 */
#define BLOCKING_CALLS 256

static struct io_uring ring;	 /* the poller's */
static struct gs_file_op *inbox; /* atomic */

static bool knows(struct io_uring_probe *p)
{
	return io_uring_opcode_supported(p, IORING_OP_READV) &&
	       io_uring_opcode_supported(p, IORING_OP_WRITEV) &&
	       io_uring_opcode_supported(p, IORING_OP_OPENAT) &&
	       io_uring_opcode_supported(p, IORING_OP_FSYNC);
}

static void uring_reap(void)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n;

	do {
		n = 0;
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			struct gs_file_op *op = io_uring_cqe_get_data(cqe);

			op->result = cqe->res;
			gs_ready(op->fiber);
			n++;
		}
		io_uring_cq_advance(&ring, n);
		/* what had no room is kept by the kernel until asked for */
	} while (io_uring_cq_has_overflow(&ring) && io_uring_get_events(&ring) >= 0);
}

static int uring_init(void)
{
	unsigned int most[2] = {BLOCKING_CALLS, 0};
	struct io_uring_probe *p;
	int r;

	r = io_uring_queue_init(ENTRIES, &ring, IORING_SETUP_CLAMP);
	if (r)
		return r;
	p = io_uring_get_probe_ring(&ring);
	r = !p || !knows(p) || !(ring.features & IORING_FEAT_NODROP) ? -EOPNOTSUPP : 0;
	if (p)
		io_uring_free_probe(p);
	if (!r)
		r = gs_epoll_init();
	if (!r)
		r = gs_epoll_watch(ring.ring_fd, uring_reap);
	if (r) {
		io_uring_queue_exit(&ring);
		return r;
	}
	/* from 5.15 on; without it the default has to do */
	io_uring_register_iowq_max_workers(&ring, most);
	return 0;
}

static void prepare(struct io_uring_sqe *sqe, const struct gs_file_op *op)
{
	switch (op->nr) {
	case SYS_preadv:
		io_uring_prep_readv(sqe, op->fd, op->arg, op->len, (uint64_t)op->off);
		break;
	case SYS_pwritev:
		io_uring_prep_writev(sqe, op->fd, op->arg, op->len, (uint64_t)op->off);
		break;
	case SYS_openat:
		io_uring_prep_openat(sqe, op->fd, op->arg, op->flags, op->mode);
		/* its first try is with O_NONBLOCK, which opens a FIFO without its peer */
		sqe->flags |= IOSQE_ASYNC;
		break;
	default:
		io_uring_prep_fsync(sqe, op->fd, 0);
	}
	io_uring_sqe_set_data(sqe, (void *)op);
}

static void submit_all(void)
{
	struct gs_file_op *op = gs_xchg_acquire(&inbox, NULL), *oldest = NULL;
	struct io_uring_sqe *sqe;

	while (op) {
		struct gs_file_op *next = op->next;

		op->next = oldest;
		oldest = op;
		op = next;
	}
	for (op = oldest; op;) {
		struct gs_file_op *next = op->next;

		sqe = io_uring_get_sqe(&ring);
		if (sqe) {
			prepare(sqe, op);
			op = next;
			continue;
		}
		io_uring_submit(&ring);
		uring_reap();
	}
	/*
	 * The kernel takes them up to one that it refuses at once, and that one: then the rest.
	 * None: short of memory, or too much completed and not reaped.
	 */
	while (io_uring_sq_ready(&ring)) {
		if (io_uring_submit(&ring) > 0)
			continue;
		uring_reap();
		gs_syscall3(SYS_sched_yield, 0, 0, 0);
	}
}

static void uring_wait(int64_t deadline)
{
	/* what comes after this look finds the eventfd written: gs_epoll_wake */
	if (gs_load_acquire(&inbox))
		submit_all();
	uring_reap();
	gs_epoll_wait(deadline);
	uring_reap();
}

static void uring_nap(int64_t until)
{
	if (gs_load_acquire(&inbox))
		submit_all();
	uring_reap();
	gs_epoll_nap(until);
	uring_reap();
}

static void uring_submit(struct gs_file_op *op)
{
	struct gs_file_op *head = gs_load_relaxed(&inbox);

	do {
		op->next = head;
	} while (!gs_cas_release(&inbox, &head, op));
	/* op may be gone by now */
	if (!head)
		gs_epoll_wake();
}

const struct gs_netpoll gs_netpoll_uring = {
	.name = "uring",
	.init = uring_init,
	.wait = uring_wait,
	.nap = uring_nap,
	.poll = gs_epoll_poll,
	.wake = gs_epoll_wake,
	.arm = gs_epoll_arm,
	.add = gs_epoll_add,
	.del = gs_epoll_del,
	.submit = uring_submit,
};
