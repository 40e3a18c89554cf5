/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The backend without the module: the protocol of uapi/linux/gsched.h in user
 * space. Numbers in comments are that file's sections.
 *
 * What differs: nobody notices when a thread blocks. A proc is given up by PARK and by
 * gs_blocking_begin, and retaken from a worker that is seen asleep in the kernel
 * (posix_sysmon.c says when). The context lock is `lock`; a stand-by waits on a futex
 * word of its own.
 *
 * A proc's owner word changes under `lock` only, so the swaps of the protocol are
 * stores here; idle is raised before and lowered after them all the same, for it is
 * read without the lock. There is one exception, the retaking of proc p from worker w,
 * whose thread is not asked:
 *
 *	sysmon					w
 *	(1) owner: w -> limbo(w)		(a) depth++
 *	(2) membarrier				(b) owner == w? then p is kept
 *	(3) depth != 0: (4) limbo(w) -> w	(c) else, under the lock: limbo(w) -> w,
 *	    depth == 0: (5) limbo(w) -> idle	    or p is lost and another is looked for
 *
 * (a) is no locked instruction: the membarrier makes a full barrier on w's CPU, too. So
 * either w sees limbo(w) in (b), or sysmon sees the depth in (3); (c) and (5) are
 * compare-and-swap, and one of them fails, harmlessly. Forbidden: (5) after w passed (b).
 *	Nobody else writes to limbo(w): the owner alone gives a proc up, in (c) it swaps
 * back first or overwrites the word, whereupon (4) and (5) fail; and there is one sysmon,
 * so that the word is never somebody else's limbo. To all others limbo(w) is an owner like
 * any other. slot.proc is told in (5), under the lock: it is not zero without being w's
 * but in limbo, and it is the owner word that the entry rule reads.
 */
#include <errno.h>
#include <gsched/time.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "backend.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/sanitizer.h"
#include "base/syscall.h"
#include "posix.h"
#include "redirect.h"

#define MAXWORKERS 16384
#define NO_GRANT (-1)

#define LIMBO 0x80000000u /* w + 1 with this bit: w's, perhaps; never GS_RETIRED */

/* Protection: [L] lock, [A] atomic. */
struct pworker {
	struct gs_list node; /* L: in standbys while parked */
	struct gs_slot *slot;
	struct gs_slice slice;
	int32_t tid;	/* A: of its thread */
	int old;	/* L: the proc it held last */
	int grant;	/* L: NO_GRANT or what PARK returns */
	bool used;	/* L */
	bool parked;	/* L */
	bool lost;	/* L: has found none since it held one */
	uint32_t futex; /* A: 1 = look at grant */
};

static struct gs_lock lock;
static struct gs_header header;
static struct gs_line lines[GS_MAXPROCS] __attribute__((aligned(64)));
static struct gs_slot *slots;	 /* [MAXWORKERS], touched as used */
static struct pworker *pworkers; /* likewise */
static struct gs_list standbys;	 /* L */
static uint32_t nworkers;	 /* L: highest id used + 1 */
static uint64_t ticks, preempts; /* L, read by anyone: relaxed */
static bool can_retake;		 /* written once */

/* sysmon swaps without the lock */
static uint32_t owner_of(uint32_t p)
{
	return gs_load_seq(&lines[p].owner);
}

static struct pworker *of_slot(struct gs_slot *slot)
{
	return &pworkers[slot - slots];
}

static uint32_t tag_of(struct pworker *w)
{
	return (uint32_t)(w - pworkers) + 1;
}

static int posix_init(int nproc, const struct gs_upcall_setup *upcall, const char **why)
{
	size_t size = sizeof(struct gs_slot) * MAXWORKERS + sizeof(struct pworker) * MAXWORKERS;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		*why = "no address space for worker slots";
		return -ENOMEM;
	}
	slots = p;
	pworkers = (struct pworker *)(slots + MAXWORKERS);
	gs_list_init(&standbys);
	for (int i = 0; i < GS_MAXPROCS; i++)
		lines[i].owner = i < nproc ? 0 : GS_RETIRED;
	header.nproc = (uint32_t)nproc;
	header.procs_used = (uint32_t)nproc;
	header.idle = (uint32_t)nproc;
	/* who cannot be interrupted need not be asked for it */
	header.ticking = !gs_slice_init(upcall);
	/* without it nothing is retaken: hints alone give procs away */
	can_retake = gs_syscall3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ==
		     0;
	gs_hdr = &header;
	gs_lines = lines;
	return 0;
}

static bool queue_empty(uint32_t p)
{
	/* head before tail, section 4 */
	uint32_t head = gs_load_seq(&lines[p].head);

	return head == gs_load_seq(&lines[p].tail) && !gs_load_seq(&lines[p].runnext);
}

/* Section 4, d: any queue but p's. */
static bool others_queued(uint32_t p)
{
	for (uint32_t q = 0; q < header.procs_used; q++)
		if (q != p && !queue_empty(q))
			return true;
	return false;
}

static bool shared_demand(void)
{
	return gs_load_seq(&header.express_len) || gs_load_seq(&header.global_len) ||
	       gs_load_relaxed(&header.bound_runnable);
}

/* 0 -> 1, under the lock, together with a worker that will certainly search. */
static bool become_spinner(void)
{
	uint32_t none = 0;

	return gs_cas_seq(&header.spinning, &none, 1);
}

/* Do fibers wait in the queue of a proc that is no more? Nobody is scheduled there. */
static bool left_behind(void)
{
	for (uint32_t p = header.nproc; p < header.procs_used; p++)
		if (owner_of(p) == GS_RETIRED && !queue_empty(p))
			return true;
	return false;
}

/* Section 4, a to c, and what is left behind (12). */
static bool wanted(uint32_t p)
{
	return !queue_empty(p) || shared_demand() || left_behind();
}

static void count(uint64_t *n)
{
	gs_store_relaxed(n, *n + 1);
}

/* Somebody waits: slices are measured; lock held. */
static void start_ticking(void)
{
	gs_store_relaxed(&header.ticking, 1);
	for (uint32_t p = 0; p < header.procs_used; p++) {
		uint32_t id, owner = owner_of(p);

		if (owner == 0 || owner == GS_RETIRED)
			continue;
		/* from limbo it may come back with nobody asked: by its owner, or sysmon's undo */
		id = (owner & ~LIMBO) - 1;
		gs_slice_arm(&pworkers[id].slice, gs_posix_tid(id), false);
	}
}

/* w has got p: section 10; lock held. */
static void need_tick(uint32_t p, struct pworker *w)
{
	if (header.ticking)
		gs_slice_arm(&w->slice, gs_load_relaxed(&w->tid), false);
	else if (wanted(p))
		start_ticking();
}

static void count_idle(int n)
{
	gs_fetch_add_seq(&header.idle, (uint32_t)n);
}

/* idle -> w; lock held. */
static void take(uint32_t p, struct pworker *w)
{
	gs_store_seq(&lines[p].owner, tag_of(w));
	count_idle(-1);
	w->old = (int)p;
	w->lost = false;
	gs_store_relaxed(&w->slot->proc, p + 1);
	/* count_idle is a full barrier: pairs with the fence in sysmon's rest */
	gs_sysmon_awake();
	need_tick(p, w);
}

/* me -> idle: true; me -> retired: false, there is nothing to offer; lock held. */
static bool release(uint32_t p, struct pworker *w)
{
	gs_store_relaxed(&w->slot->proc, 0);
	if (p >= header.nproc) {
		gs_store_seq(&lines[p].owner, GS_RETIRED);
		return false;
	}
	count_idle(1);
	gs_store_seq(&lines[p].owner, 0);
	/* pairs with Enqueue's fence (gs_wake_idle) */
	gs_full_fence();
	return true;
}

/* Is there a stand-by? The reserve is for bound fibers: uapi section 8. Lock held. */
static bool have_standby(bool for_bound)
{
	return header.standby > (for_bound ? 0 : gs_load_relaxed(&header.reserve));
}

static bool bound_waits(void)
{
	return gs_load_relaxed(&header.bound_runnable);
}

/* There is one; lock held. */
static struct pworker *pop_standby(void)
{
	struct gs_list *n = standbys.next;

	gs_list_del(n);
	gs_store_relaxed(&header.standby, header.standby - 1);
	gs_container_of(n, struct pworker, node)->parked = false;
	return gs_container_of(n, struct pworker, node);
}

/* Give idle p to stand-by x; lock held. The caller wakes x after unlocking. */
static void grant(uint32_t p, struct pworker *x, int flags)
{
	take(p, x);
	x->grant = (int)p | flags;
	gs_store_relaxed(&x->slot->grants, x->slot->grants + 1);
}

static void wake(struct pworker *x)
{
	gs_store_release(&x->futex, 1);
	gs_futex_wake(&x->futex, 1);
}

/* Hand-off (2) and (3) for p, which is idle now; lock held. Whom to wake, or NULL. */
static struct pworker *offer(uint32_t p)
{
	struct pworker *x;
	int flags = 0;

	if (!have_standby(bound_waits()))
		return NULL;
	if (queue_empty(p) && !shared_demand()) {
		if (!others_queued(p) || !become_spinner())
			return NULL;
		flags = GS_GRANT_SPIN;
	}
	x = pop_standby();
	grant(p, x, flags);
	return x;
}

/* PARK (3): an idle proc worth taking; lock held. */
static int look_again(struct pworker *w, uint32_t hint)
{
	uint32_t idle = GS_MAXPROCS;
	bool demand = false;
	int spin = 0;

	if (!gs_load_relaxed(&header.idle))
		return -EAGAIN;
	for (uint32_t i = 0; i < header.nproc; i++) {
		uint32_t p = (hint + i) % header.nproc;

		if (owner_of(p) != 0)
			continue;
		if (!queue_empty(p)) {
			demand = true;
			idle = p;
			break;
		}
		if (idle == GS_MAXPROCS)
			idle = p;
	}
	if (idle == GS_MAXPROCS)
		return -EAGAIN;
	demand = demand || shared_demand();
	if (!demand && !others_queued(idle))
		return -EAGAIN;
	/*
	 * w may have been the spinner whom all relied on, and runs only one of the fibers
	 * that were queued meanwhile: let it spin if nobody does.
	 */
	if (become_spinner())
		spin = GS_GRANT_SPIN;
	else if (!demand)
		return -EAGAIN;
	take(idle, w);
	return (int)idle | spin;
}

/* By w itself, lock held: the proc is w's, and in limbo no more. */
static bool owns(struct pworker *w, uint32_t *p)
{
	uint32_t tag = w->slot->proc, owner = tag_of(w) | LIMBO;

	*p = tag - 1;
	if (!tag)
		return false;
	/* fails with owner w: sysmon, which needs no lock to undo limbo, has just done so */
	return owner_of(*p) == tag_of(w) || gs_cas_seq(&lines[*p].owner, &owner, tag_of(w)) ||
	       owner == tag_of(w);
}

/*
 * A proc became retired and leaves its queue behind, which is demand for any idle one
 * (section 12); lock held. Whom to wake, or NULL.
 */
static struct pworker *offer_any(void)
{
	for (uint32_t p = 0; p < header.nproc; p++)
		if (owner_of(p) == 0)
			return offer(p);
	/* all others have their fibers, and nobody looks there */
	if (!header.ticking && left_behind())
		start_ticking();
	return NULL;
}

/* Give up what w holds and offer it; lock held. Whom to wake, or NULL. */
static struct pworker *give_away(struct pworker *w)
{
	uint32_t p;

	if (!owns(w, &p))
		return NULL;
	return release(p, w) ? offer(p) : offer_any();
}

static void count_block(struct pworker *w, const struct pworker *x)
{
	gs_store_relaxed(&w->slot->blocks, w->slot->blocks + 1);
	if (x)
		gs_store_relaxed(&w->slot->handoffs, w->slot->handoffs + 1);
}

/* The worker that holds p, or GS_POSIX_NOBODY. */
uint32_t gs_posix_owner(uint32_t p)
{
	uint32_t owner = owner_of(p);

	/* a proc in limbo is ours, sysmon's, or its owner is on its way in */
	return owner == 0 || owner & LIMBO ? GS_POSIX_NOBODY : owner - 1;
}

bool gs_posix_outside(uint32_t id)
{
	return gs_load_relaxed(&slots[id].depth) == 0;
}

int32_t gs_posix_tid(uint32_t id)
{
	return gs_load_relaxed(&pworkers[id].tid);
}

/* (5) of the head of this file; lock held. False: w swapped it back. Else *x: whom to wake. */
static bool retake_commit(uint32_t p, struct pworker *w, struct pworker **x)
{
	uint32_t limbo = tag_of(w) | LIMBO;
	bool retired = p >= header.nproc;

	if (!retired)
		count_idle(1);
	if (!gs_cas_seq(&lines[p].owner, &limbo, retired ? GS_RETIRED : 0)) {
		if (!retired)
			count_idle(-1);
		return false;
	}
	/* what w did to p before it left the runtime; the membarrier did it in truth */
	gs_san_acquire(w->slot);
	gs_store_relaxed(&w->slot->proc, 0);
	gs_full_fence(); /* pairs with Enqueue's fence (gs_wake_idle) */
	*x = retired ? offer_any() : offer(p);
	count_block(w, *x);
	/* when it runs again it has a proc or is told not */
	gs_slice_arm(&w->slice, gs_load_relaxed(&w->tid), true);
	return true;
}

bool gs_posix_retake(uint32_t p, uint32_t id, int64_t cpu)
{
	struct pworker *w = &pworkers[id], *x = NULL;
	uint32_t tag = id + 1, limbo = tag | LIMBO;
	bool done;

	if (!can_retake || !gs_cas_seq(&lines[p].owner, &tag, limbo))
		return false;
	gs_syscall3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	if (!gs_posix_outside(id) || gs_posix_cpu(gs_posix_tid(id)) != cpu) {
		(void)gs_cas_seq(&lines[p].owner, &limbo, id + 1);
		return false;
	}
	gs_lock_acquire(&lock);
	done = retake_commit(p, w, &x);
	gs_lock_release(&lock);
	if (x)
		wake(x);
	return done;
}

static struct gs_slot *posix_attach(uint32_t *id, int *err)
{
	struct pworker *w = NULL;
	uint32_t i;

	gs_lock_acquire(&lock);
	for (i = 0; i < nworkers && pworkers[i].used; i++)
		;
	if (i < MAXWORKERS) {
		if (i == nworkers)
			nworkers++;
		w = &pworkers[i];
		memset(w, 0, sizeof(*w));
		/* sysmon may still look at the depth of who had this number before */
		gs_store_relaxed(&slots[i].depth, 1);
		memset(&slots[i].pending, 0, sizeof(slots[i]) - offsetof(struct gs_slot, pending));
		w->used = true;
		w->slot = &slots[i];
		gs_store_relaxed(&w->tid, (int32_t)gs_syscall3(SYS_gettid, 0, 0, 0));
		gs_slice_attach(&w->slice);
		w->grant = NO_GRANT;
		gs_list_init(&w->node);
		gs_store_relaxed(&header.workers, header.workers + 1);
	}
	gs_lock_release(&lock);
	if (!w) {
		*err = -ENOSPC;
		return NULL;
	}
	*id = i;
	return w->slot;
}

static void posix_detach(struct gs_slot *slot)
{
	struct pworker *w = of_slot(slot), *x;

	gs_lock_acquire(&lock);
	x = give_away(w);
	gs_slice_free(&w->slice);
	w->used = false;
	gs_store_relaxed(&header.workers, header.workers - 1);
	gs_lock_release(&lock);
	if (x)
		wake(x);
}

/*
 * Section 6 from (1) on; lock held, released. x: a worker that was given the proc by
 * park_to and is to be woken.
 */
static int park_locked(struct pworker *w, struct pworker *x, int64_t deadline, bool bound)
{
	uint32_t p, hint = 0;
	bool idle;
	int r;

	w->lost = false;
	r = w->grant;
	if (r != NO_GRANT) {
		/*
		 * Latched: it held nothing then, but may have acquired one since. Who comes
		 * with an x has given his away already.
		 */
		w->grant = NO_GRANT;
		if (!x)
			x = give_away(w);
		gs_store_relaxed(&w->slot->proc, (uint32_t)r + 1);
		goto out;
	}
	idle = owns(w, &p) && release(p, w);
	if (idle)
		hint = p;
	if (bound) {
		if (idle)
			x = offer(p); /* park_to, which brings an x, has left no proc */
	} else {
		r = look_again(w, hint);
		if (r >= 0)
			goto out;
		gs_list_add_head(&standbys, &w->node);
		gs_store_relaxed(&header.standby, header.standby + 1);
	}
	gs_store_relaxed(&w->futex, 0);
	w->parked = true;
	gs_lock_release(&lock);
	if (x)
		wake(x);

	/* acquire: pairs with the release in wake() */
	while (!gs_load_acquire(&w->futex)) {
		if (gs_futex_wait(&w->futex, 0, deadline) == -ETIMEDOUT)
			break;
	}
	gs_lock_acquire(&lock);
	w->parked = false;
	r = w->grant;
	w->grant = NO_GRANT;
	if (r == NO_GRANT) {
		if (!bound) {
			gs_list_del(&w->node);
			gs_store_relaxed(&header.standby, header.standby - 1);
		}
		r = -ETIMEDOUT;
	}
	gs_lock_release(&lock);
	/* a grant that raced with the deadline: its wake comes yet, harmlessly */
	return r;
out:
	gs_lock_release(&lock);
	if (x)
		wake(x);
	return r;
}

static int posix_park(struct gs_slot *slot, int64_t deadline, bool bound)
{
	gs_lock_acquire(&lock);
	return park_locked(of_slot(slot), NULL, deadline, bound);
}

static int posix_park_to(struct gs_slot *slot, uint32_t to, int64_t deadline, bool bound)
{
	struct pworker *w = of_slot(slot), *x = &pworkers[to];
	uint32_t p;
	int r = 0;

	gs_lock_acquire(&lock);
	if (to >= nworkers || !x->used)
		r = -ESRCH;
	else if (x->slot->proc || x->grant != NO_GRANT)
		r = -EBUSY;
	else if (!owns(w, &p) || p >= header.nproc)
		r = -EAGAIN;
	if (r) {
		gs_lock_release(&lock);
		return r;
	}
	gs_store_relaxed(&w->slot->proc, 0);
	gs_store_seq(&lines[p].owner, tag_of(x));
	need_tick(p, x);
	x->old = (int)p;
	x->grant = (int)p;
	if (x->parked) {
		x->parked = false;
		gs_store_relaxed(&x->slot->proc, p + 1);
		gs_store_relaxed(&x->slot->grants, x->slot->grants + 1);
	} else {
		x = NULL; /* latched */
	}
	return park_locked(w, x, deadline, bound);
}

/* ACQUIRE, lock held: the proc's index or -EAGAIN. */
static int acquire_locked(struct pworker *w)
{
	uint32_t first = (uint32_t)w->old < header.nproc ? (uint32_t)w->old : 0, p;

	if (owns(w, &p))
		return (int)p;
	gs_store_relaxed(&w->slot->proc, 0);
	for (uint32_t i = 0; i < header.nproc; i++) {
		p = (first + i) % header.nproc;
		if (owner_of(p) == 0) {
			take(p, w);
			count(&w->slot->returns);
			return (int)p;
		}
	}
	/* it may ask again and again: in gs_nopreempt, or from each ring */
	if (!w->lost)
		count(&w->slot->lost);
	w->lost = true;
	return -EAGAIN;
}

static int posix_acquire(struct gs_slot *slot)
{
	int r;

	gs_lock_acquire(&lock);
	r = acquire_locked(of_slot(slot));
	gs_lock_release(&lock);
	return r;
}

static void posix_tick(void)
{
	gs_lock_acquire(&lock);
	if (!header.ticking)
		start_ticking();
	gs_lock_release(&lock);
}

/* On a processor just now: its clock goes on. Much cheaper than the letter of its state. */
static bool on_processor(int32_t tid)
{
	return gs_posix_cpu(tid) != gs_posix_cpu(tid);
}

/*
 * A thread inside the runtime is asked to yield when it leaves; one outside gets the
 * signal if it was just seen running. It may fall asleep before the signal comes: that
 * call ends with EINTR, and is counted.
 */
static void posix_kick(uint32_t p)
{
	uint32_t id = gs_posix_owner(p);

	/* under TSan fibers are not interrupted, nor asked to yield */
	if (id == GS_POSIX_NOBODY || !gs_slice_possible())
		return;
	if (gs_posix_outside(id)) {
		int32_t tid = gs_posix_tid(id);

		if (on_processor(tid) || gs_posix_state(tid) == 'R')
			gs_slice_kick(tid);
		return;
	}
	/* from another thread: the worker may clear it unseen, and be kicked again */
	gs_fetch_or_seq(&slots[id].pending, GS_PENDING_PREEMPT);
}

/*
 * Nobody waits for p any more: w's timer stands; lock held. header.ticking pairs with
 * step (4) of Enqueue: either it sees 0, or we see what it queued.
 */
static void stop_ticking(uint32_t p, struct pworker *w)
{
	gs_slice_disarm(&w->slice);
	gs_store_relaxed(&header.ticking, 0);
	gs_full_fence();
	if (wanted(p))
		start_ticking();
}

uint32_t gs_posix_tick(struct gs_slot *slot, bool kick)
{
	struct pworker *w = of_slot(slot);
	uint32_t reason = 0;
	int p;

	gs_lock_acquire(&lock);
	count(&ticks);
	p = acquire_locked(w);
	if (p < 0) {
		reason = GS_PENDING_LOST;
	} else if (!wanted((uint32_t)p)) {
		stop_ticking((uint32_t)p, w);
	} else if (gs_slice_over(&w->slice, (uint32_t)p, gs_load_relaxed(&lines[p].tick)) || kick) {
		count(&preempts);
		reason = GS_PENDING_PREEMPT;
	}
	gs_lock_release(&lock);
	return reason;
}

struct gs_slice *gs_posix_slice(struct gs_slot *slot)
{
	return &of_slot(slot)->slice;
}

bool gs_posix_tick_inside(struct gs_slot *slot, bool kick)
{
	struct pworker *w = of_slot(slot);
	uint32_t tag = gs_load_relaxed(&slot->proc);

	return tag && wanted(tag - 1) &&
	       (gs_slice_over(&w->slice, tag - 1, gs_load_relaxed(&lines[tag - 1].tick)) || kick);
}

static void posix_counts(struct gs_backend_counts *c)
{
	c->ticks = gs_load_relaxed(&ticks);
	c->preempts = gs_load_relaxed(&preempts);
	c->interrupted = gs_load_relaxed(&gs_redirect_interrupted);
}

static int posix_unpark_any(void)
{
	struct pworker *x;
	int r = 0;

	gs_lock_acquire(&lock);
	if (!header.idle || gs_load_seq(&header.spinning))
		goto out;
	r = -EAGAIN;
	if (!have_standby(bound_waits()))
		goto out;
	if (!become_spinner()) {
		r = 0;
		goto out;
	}
	x = pop_standby();
	/* under the lock idle is exact: there is one */
	for (uint32_t p = 0; p < header.nproc; p++) {
		if (owner_of(p) == 0) {
			grant(p, x, GS_GRANT_SPIN);
			break;
		}
	}
	gs_lock_release(&lock);
	wake(x);
	return 1;
out:
	gs_lock_release(&lock);
	return r;
}

static int posix_unpark_worker(uint32_t to)
{
	struct pworker *x = &pworkers[to];
	int r = -EBUSY;

	gs_lock_acquire(&lock);
	if (x->parked && x->grant == NO_GRANT) {
		uint32_t first = (uint32_t)x->old < header.nproc ? (uint32_t)x->old : 0;

		r = -EAGAIN;
		for (uint32_t i = 0; i < header.nproc && r != 1; i++) {
			uint32_t p = (first + i) % header.nproc;

			if (owner_of(p) == 0) {
				x->parked = false;
				grant(p, x, 0);
				r = 1;
			}
		}
	}
	gs_lock_release(&lock);
	if (r == 1)
		wake(x);
	return r;
}

static int posix_set_procs(int n)
{
	/* the lock is not left to a slice that ends: its handler takes it, too */
	bool pinned = gs_arch_pin_worker();
	int old;

	gs_lock_acquire(&lock);
	old = (int)header.nproc;
	for (int p = old; p < n; p++) {
		if (owner_of(p) != GS_RETIRED)
			continue; /* its owner has not noticed the last shrinking: it stays */
		count_idle(1);
		gs_store_seq(&lines[p].owner, 0);
	}
	gs_store_seq(&header.nproc, (uint32_t)n);
	if ((uint32_t)n > header.procs_used)
		gs_store_relaxed(&header.procs_used, (uint32_t)n);
	for (int p = n; p < old; p++) {
		if (owner_of(p) != 0)
			continue; /* retired when its owner gives it up */
		gs_store_seq(&lines[p].owner, GS_RETIRED);
		count_idle(-1);
	}
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	return old;
}

static void posix_blocking_begin(struct gs_slot *slot)
{
	struct pworker *w = of_slot(slot), *x;

	gs_lock_acquire(&lock);
	x = give_away(w);
	count_block(w, x);
	gs_lock_release(&lock);
	if (x)
		wake(x);
}

const struct gs_backend gs_backend_posix = {
	.name = "posix",
	.init = posix_init,
	.interrupts = gs_slice_possible,
	.attach = posix_attach,
	.detach = posix_detach,
	.park = posix_park,
	.park_to = posix_park_to,
	.acquire = posix_acquire,
	.unpark_any = posix_unpark_any,
	.unpark_worker = posix_unpark_worker,
	.tick = posix_tick,
	.kick = posix_kick,
	.set_procs = posix_set_procs,
	.blocking_begin = posix_blocking_begin,
	.monitor = gs_sysmon,
	.counts = posix_counts,
};
