/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors that fibers wait for: see netpoll.h.
 *
 * A waiter is on pd->waiters from before its registration until somebody takes it off,
 * under the lock, and so decides its result: an event, a deadline, a close. Whoever
 * took it off calls gs_ready if the waiter has parked by then; if not, the waiter sees
 * it under the lock and does not park.
 *
 *	waiter					poller
 *	turn = seq				(event comes)
 *	read: EAGAIN				seq + 1, wake all who wait for it
 *	lock; seq != turn? try again
 *	on the list
 *
 * Forbidden: the waiter is on the list after the event, with a turn from before it.
 * The kernel's own order does the rest: an event that comes after the EAGAIN comes
 * after the turn was noted.
 *
 * One-shot registrations are made by one waiter at a time (arming), with the events of
 * all; who comes meanwhile leaves it to that one (rearm). The number may be closed, and be
 * another file's, before the call is made: so its failure is theirs only for whom it was
 * made (gathered), and gs_pd_own waits until nobody is about to.
 *
 * The lock order: pd's, then the timer heap's.
 */
#include "netpoll.h"

#include <gsched/runtime.h>
#include <gsched/time.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/mmap.h"
#include "base/syscall.h"
#include "poller.h"
#include "sched_int.h"
#include "worker.h"

#define CHUNK 256
#define CHUNKS (((size_t)INT32_MAX + 1) / CHUNK)

struct waiter {
	struct gs_list node;	/* L */
	struct gs_pd *pd;	/* I */
	struct gs_fiber *fiber; /* L: set when it parks */
	struct waiter *chain;	/* of the one who took it off */
	struct gs_rtimer timer; /* gs_pd_wait_until */
	int64_t until;		/* I */
	uint32_t events;	/* I */
	int dir;		/* I: whose deadline it obeys; -1 none */
	int result;		/* L */
	bool queued;		/* L */
	bool gathered;		/* L: arm registers it, or has */
};

const struct gs_netpoll *gs_np;
uint32_t gs_io_waiting;

static struct gs_pd **chunks; /* [CHUNKS], address space; release/acquire, as are its words */
static uint32_t nchunks;      /* atomic: those from here on were never made */

/* ------------------------------------------------------------------------- */
/* The table                                                                   */

/* Memory that is zero and touched as used. Two may make it at once: the first counts. */
static void *table_grow(void *where, size_t size)
{
	void *none = NULL, **word = where;
	void *p = gs_mmap(size, MAP_NORESERVE);

	if (!p)
		return NULL;
	if (gs_cas_seq(word, &none, p))
		return p;
	gs_munmap(p, size);
	return none;
}

struct gs_pd *gs_pd_of(int fd)
{
	struct gs_pd **table = gs_load_acquire(&chunks), *c;

	if (fd < 0)
		return NULL;
	if (gs_unlikely(!table)) {
		table = table_grow(&chunks, CHUNKS * sizeof(*table));
		if (!table)
			return NULL;
	}
	c = gs_load_acquire(&table[fd / CHUNK]);
	if (gs_unlikely(!c)) {
		uint32_t n = gs_load_relaxed(&nchunks), last = (uint32_t)fd / CHUNK;

		while (n <= last && !gs_cas_seq(&nchunks, &n, last + 1))
			;
		c = table_grow(&table[fd / CHUNK], CHUNK * sizeof(*c));
		if (!c)
			return NULL;
	}
	return &c[fd % CHUNK];
}

void gs_netpoll_forked(void)
{
	for (uint32_t i = 0; i < nchunks; i++) {
		struct gs_pd *c = chunks ? chunks[i] : NULL;

		for (int k = 0; c && k < CHUNK; k++) {
			struct gs_pd *pd = &c[k];

			/* the pages that need not be written stay the parent's, too */
			if (pd->lock.word)
				pd->lock = (struct gs_lock){0};
			if (pd->arming)
				pd->arming = false;
			for (int dir = GS_PD_READ; dir <= GS_PD_WRITE; dir++)
				if (pd->turn[dir].state)
					pd->turn[dir] = (gs_mutex){0};
		}
	}
}

/* ------------------------------------------------------------------------- */
/* Waking                                                                      */

/* Take w off; lock held. It goes onto the chain if it has to be readied. */
static void take_off(struct waiter *w, int result, struct waiter ***tail)
{
	gs_list_del(&w->node);
	w->queued = false;
	w->result = result;
	if (w->fiber) {
		w->chain = NULL;
		**tail = w;
		*tail = &w->chain;
	}
}

static void ready_chain(struct waiter *w)
{
	while (w) {
		struct waiter *next = w->chain;

		gs_ready_express(w->fiber);
		w = next;
	}
}

#define each_waiter(pd, n, next)                                                                   \
	for (n = (pd)->waiters.next; n && n != &(pd)->waiters && (next = n->next, true); n = next)

/* All that `want` of w says; lock held. */
static void take_off_if(struct gs_pd *pd, bool (*want)(const struct waiter *, uint32_t),
			uint32_t arg, int result, struct waiter ***tail)
{
	struct gs_list *n, *next;

	each_waiter(pd, n, next)
	{
		struct waiter *w = gs_container_of(n, struct waiter, node);

		if (want(w, arg))
			take_off(w, result, tail);
	}
}

static bool waits_for(const struct waiter *w, uint32_t events)
{
	return events & (w->events | POLLERR | POLLHUP);
}

static bool obeys(const struct waiter *w, uint32_t dir)
{
	return w->dir == (int)dir;
}

static bool gathered(const struct waiter *w, uint32_t arg)
{
	(void)arg;
	return w->gathered;
}

static bool any(const struct waiter *w, uint32_t arg)
{
	(void)w;
	(void)arg;
	return true;
}

static bool has_waiters(const struct gs_pd *pd)
{
	return pd->waiters.next && !gs_list_empty(&pd->waiters);
}

/* Register what the waiters of a pd that is not owned wait for. Depth 0, or by poll. */
static void arm(struct gs_pd *pd, int fd)
{
	struct waiter *chain = NULL, **tail = &chain;
	int r = 0;

	gs_rt_enter();
	gs_lock_acquire(&pd->lock);
	if (pd->arming || pd->owned) {
		pd->rearm = true;
		gs_lock_release(&pd->lock);
		gs_rt_leave();
		return;
	}
	pd->arming = true;
	do {
		struct gs_list *n, *next;
		uint32_t events = 0;

		pd->rearm = false;
		each_waiter(pd, n, next)
		{
			struct waiter *w = gs_container_of(n, struct waiter, node);

			events |= w->events;
			w->gathered = true;
		}
		gs_lock_release(&pd->lock);
		gs_inject();
		gs_rt_leave();
		r = gs_np->arm(fd, events, pd);
		gs_inject();
		gs_rt_enter();
		gs_lock_acquire(&pd->lock);
	} while (pd->rearm && !pd->owned && has_waiters(pd));
	pd->arming = false;
	/* who came later is about to call this himself, perhaps for the number's next life */
	if (r)
		take_off_if(pd, gathered, 0, r, &tail);
	gs_lock_release(&pd->lock);
	ready_chain(chain);
	gs_rt_leave();
}

void gs_pd_event(struct gs_pd *pd, int fd, uint32_t events)
{
	struct waiter *chain = NULL, **tail = &chain;
	bool again;

	gs_lock_acquire(&pd->lock);
	/* release: pairs with gs_pd_begin */
	gs_store_release(&pd->seq, pd->seq + 1);
	take_off_if(pd, waits_for, events, 0, &tail);
	/* the one shot is spent */
	again = !pd->owned && has_waiters(pd);
	gs_lock_release(&pd->lock);
	ready_chain(chain);
	if (again)
		arm(pd, fd);
}

/* ------------------------------------------------------------------------- */
/* Waiting                                                                     */

static bool passed(int64_t when)
{
	return when && when <= gs_now();
}

static bool wait_commit(struct gs_fiber *f, void *arg)
{
	struct waiter *w = arg;
	struct gs_pd *pd = w->pd;
	bool wake;

	(void)f;
	wake = w->until && gs_rtimer_set(&w->timer, w->until);
	/* then it may be gone */
	gs_lock_release(&pd->lock);
	if (wake)
		gs_poller_wake();
	return true;
}

static void wait_fire(struct gs_rtimer *t)
{
	struct waiter *w = gs_container_of(t, struct waiter, timer);
	struct waiter *chain = NULL, **tail = &chain;
	struct gs_pd *pd = w->pd;

	gs_lock_acquire(&pd->lock);
	if (w->queued)
		take_off(w, -ETIMEDOUT, &tail);
	gs_lock_release(&pd->lock);
	/* if another took it off, its fiber waits until we return */
	ready_chain(chain);
}

/* Without a runtime (the child of a fork) there is no poller: the thread waits itself. */
static int wait_plain(struct gs_pd *pd, int fd, uint32_t events, int dir, int64_t until)
{
	struct pollfd p = {.fd = fd, .events = (short)events};

	if (dir >= 0)
		until = gs_load_relaxed(&pd->deadline[dir].when);
	for (;;) {
		int64_t left = until ? until - gs_now() : 0;
		struct timespec ts;
		long r;

		if (left < 0 || (until && !left))
			return -ETIMEDOUT;
		ts.tv_sec = left / 1000000000;
		ts.tv_nsec = left % 1000000000;
		r = gs_syscall6(SYS_ppoll, (long)&p, 1, until ? (long)&ts : 0, 0, 0, 0);
		if (r > 0)
			return p.revents & POLLNVAL ? -EBADF : 0;
		if (r < 0 && r != -EINTR)
			return (int)r;
	}
}

static int wait_for(struct gs_pd *pd, int fd, struct gs_pd_turn turn, struct waiter *w)
{
	bool owned = false, found;

	if (gs_rt_start())
		return wait_plain(pd, fd, w->events, w->dir, w->until);
	w->pd = pd;
	gs_fetch_add_seq(&gs_io_waiting, 1);
	gs_rt_enter();
	/*
	 * Who waits for an answer has often made another one's descriptor ready just now, a
	 * moment ago: that one is our proc's next, and need not wait until the poller runs.
	 */
	found = gs_worker_self() && gs_poller_look(false);
	gs_lock_acquire(&pd->lock);
	if (pd->gen != turn.gen) {
		w->result = -ECANCELED;
	} else if (w->dir >= 0 && passed(pd->deadline[w->dir].when)) {
		w->result = -ETIMEDOUT;
	} else if (pd->seq == turn.seq) {
		if (!pd->waiters.next)
			gs_list_init(&pd->waiters);
		gs_list_add_tail(&pd->waiters, &w->node);
		w->queued = true;
		owned = pd->owned;
	}
	if (w->queued && !owned) {
		gs_lock_release(&pd->lock);
		if (found)
			gs_wake_idle();
		found = false;
		gs_inject();
		gs_rt_leave();
		arm(pd, fd);
		gs_rt_enter();
		gs_lock_acquire(&pd->lock);
	}
	if (w->queued) {
		w->fiber = gs_self();
		gs_park(wait_commit, w, GS_WAIT_IO);
		/* whom its own timer woke need not wait for that one */
		if (w->until && w->result != -ETIMEDOUT && !gs_rtimer_stop(&w->timer))
			gs_rtimer_sync(&w->timer);
	} else {
		gs_lock_release(&pd->lock);
		if (found)
			gs_wake_idle();
	}
	gs_rt_leave();
	gs_fetch_sub_seq(&gs_io_waiting, 1);
	return w->result;
}

int gs_pd_wait(struct gs_pd *pd, int fd, struct gs_pd_turn turn, uint32_t events,
	       enum gs_pd_dir dir)
{
	struct waiter w = {.events = events, .dir = dir};

	return wait_for(pd, fd, turn, &w);
}

int gs_pd_wait_until(struct gs_pd *pd, int fd, struct gs_pd_turn turn, uint32_t events,
		     int64_t until)
{
	struct waiter w = {.events = events, .dir = -1, .until = until, .timer.fn = wait_fire};

	return wait_for(pd, fd, turn, &w);
}

/* ------------------------------------------------------------------------- */
/* Lives and deadlines                                                         */

int gs_pd_check(struct gs_pd *pd, uint32_t gen, enum gs_pd_dir dir)
{
	if (gs_load_acquire(&pd->gen) != gen)
		return -ECANCELED;
	return passed(gs_load_relaxed(&pd->deadline[dir].when)) ? -ETIMEDOUT : 0;
}

static void deadline_fire(struct gs_pd *pd, enum gs_pd_dir dir)
{
	struct waiter *chain = NULL, **tail = &chain;

	gs_lock_acquire(&pd->lock);
	/* it may have been moved, or be another life's, while we were on our way */
	if (passed(pd->deadline[dir].when))
		take_off_if(pd, obeys, dir, -ETIMEDOUT, &tail);
	gs_lock_release(&pd->lock);
	ready_chain(chain);
}

static void fire_read(struct gs_rtimer *t)
{
	deadline_fire(gs_container_of(t, struct gs_pd, deadline[GS_PD_READ].timer), GS_PD_READ);
}

static void fire_write(struct gs_rtimer *t)
{
	deadline_fire(gs_container_of(t, struct gs_pd, deadline[GS_PD_WRITE].timer), GS_PD_WRITE);
}

/*
 * Lock held. A timer that is firing just now finds the new time, and does no harm. True:
 * wake the poller, without the lock.
 */
static bool set_deadline(struct gs_pd *pd, enum gs_pd_dir dir, int64_t when, struct waiter ***tail)
{
	struct gs_pd_deadline *d = &pd->deadline[dir];

	if (d->when)
		gs_rtimer_stop(&d->timer);
	gs_store_relaxed(&d->when, when);
	if (passed(when)) {
		take_off_if(pd, obeys, dir, -ETIMEDOUT, tail);
	} else if (when) {
		/* once: the poller may read it just now, on behalf of an earlier time */
		if (!d->timer.fn)
			d->timer.fn = dir == GS_PD_READ ? fire_read : fire_write;
		return gs_rtimer_set(&d->timer, when);
	}
	return false;
}

int gs_pd_set_deadline(struct gs_pd *pd, uint32_t gen, enum gs_pd_dir dir, int64_t when)
{
	struct waiter *chain = NULL, **tail = &chain;
	bool wake = false;
	int r = 0;

	gs_rt_enter();
	gs_lock_acquire(&pd->lock);
	if (pd->gen == gen)
		wake = set_deadline(pd, dir, when, &tail);
	else
		r = -ECANCELED;
	gs_lock_release(&pd->lock);
	if (wake)
		gs_poller_wake();
	ready_chain(chain);
	gs_rt_leave();
	return r;
}

static bool is_arming(struct gs_pd *pd)
{
	bool arming;

	gs_rt_enter();
	gs_lock_acquire(&pd->lock);
	arming = pd->arming;
	gs_lock_release(&pd->lock);
	gs_rt_leave();
	return arming;
}

int gs_pd_own(struct gs_pd *pd, int fd, uint32_t *gen)
{
	struct waiter *chain = NULL, **tail = &chain;
	bool arming;
	int r = gs_rt_start();

	if (r)
		return r;
	gs_rt_enter();
	gs_lock_acquire(&pd->lock);
	/* whoever waits since the number's last life, which close(2) ended unseen */
	take_off_if(pd, any, 0, -ECANCELED, &tail);
	gs_store_release(&pd->gen, pd->gen + 1);
	gs_store_relaxed(&pd->owned, true);
	gs_store_relaxed(&pd->kind[GS_PD_READ], GS_PD_SOCKET);
	gs_store_relaxed(&pd->kind[GS_PD_WRITE], GS_PD_SOCKET);
	*gen = pd->gen;
	arming = pd->arming;
	gs_lock_release(&pd->lock);
	ready_chain(chain);
	gs_rt_leave();
	/* for its last life, late: it would change our registration. Nobody begins anew. */
	while (gs_unlikely(arming)) {
		gs_yield();
		arming = is_arming(pd);
	}
	r = gs_np->add(fd, pd);
	if (r)
		gs_pd_close(pd, fd, *gen);
	return r;
}

bool gs_pd_close(struct gs_pd *pd, int fd, uint32_t gen)
{
	struct waiter *chain = NULL, **tail = &chain;
	bool ok, owned = false;

	gs_rt_enter();
	gs_lock_acquire(&pd->lock);
	ok = pd->gen == gen;
	if (ok) {
		owned = pd->owned;
		gs_store_release(&pd->gen, gen + 1);
		gs_store_relaxed(&pd->owned, false);
		set_deadline(pd, GS_PD_READ, 0, &tail);
		set_deadline(pd, GS_PD_WRITE, 0, &tail);
		take_off_if(pd, any, 0, -ECANCELED, &tail);
	}
	gs_lock_release(&pd->lock);
	ready_chain(chain);
	gs_rt_leave();
	/*
	 * The child of a fork has a copy of the descriptor, which would keep it registered;
	 * in that child the set is its parent's.
	 */
	if (owned && !gs_rt_start())
		gs_np->del(fd);
	return ok;
}

void gs_pd_closed(struct gs_pd *pd)
{
	struct waiter *chain = NULL, **tail = &chain;

	gs_rt_enter();
	gs_lock_acquire(&pd->lock);
	gs_store_release(&pd->seq, pd->seq + 1);
	take_off_if(pd, any, 0, 0, &tail);
	gs_lock_release(&pd->lock);
	ready_chain(chain);
	gs_rt_leave();
}

/* ------------------------------------------------------------------------- */
/* Files                                                                       */

static bool submit_commit(struct gs_fiber *f, void *arg)
{
	(void)f;
	gs_np->submit(arg);
	return true;
}

static long call(const struct gs_file_op *op)
{
	switch (op->nr) {
	case SYS_preadv:
	case SYS_pwritev:
		if (op->off < 0)
			return gs_syscall3(op->nr == SYS_preadv ? SYS_readv : SYS_writev, op->fd,
					   op->arg, op->len);
		return gs_syscall6(op->nr, op->fd, (long)op->arg, (long)op->len, (long)op->off, 0,
				   0);
	case SYS_openat:
		return gs_syscall6(op->nr, op->fd, (long)op->arg, op->flags, op->mode, 0, 0);
	default:
		return gs_syscall3(op->nr, op->fd, 0, 0);
	}
}

long gs_file_op(struct gs_file_op *op)
{
	long r;

	if (!op->plain && !gs_rt_start() && gs_np->submit) {
		gs_fetch_add_seq(&gs_io_waiting, 1);
		do {
			gs_rt_enter();
			op->fiber = gs_self();
			gs_park(submit_commit, op, GS_WAIT_IO);
			gs_rt_leave();
		} while (op->result == -EINTR);
		gs_fetch_sub_seq(&gs_io_waiting, 1);
		/* a file with O_NONBLOCK on a filesystem that has no such thing */
		if (op->result != -EAGAIN)
			return op->result;
	}
	do {
		gs_blocking_begin();
		r = call(op);
		gs_blocking_end();
	} while (r == -EINTR);
	return r;
}
