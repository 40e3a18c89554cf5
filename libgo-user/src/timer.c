/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Timers: a pairing heap a proc, and one more for ordinary threads.
 *
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) is intrusive: arming a
 * timer allocates nothing, which scheduler code could not do. Arm is O(1), removal
 * O(log n) amortised. As it stands in the book a million arms make a million children
 * of the root, and the first removal pays for them all, with the lock held. So whoever
 * becomes a child of the root carries as in a binary counter: it is first paired with
 * those before whose rank is not higher. Of two trees of the same rank comes one of the
 * next rank, so there are at most as many ranks as bits in the number of arms, and the
 * root has at most that many children of different rank in front, behind which stand
 * those it had when it won them: no removal takes long.
 *
 * A timer that is put off, as a connection's deadline with each read, stays where it is until
 * that time, and is moved then, once (so do Go's).
 *
 * The poller alone runs timers, so no proc must be awake for one and a busy proc
 * delays none. Arming versus the poller's sleep (uapi section 11):
 *
 *	arm					poller
 *	heap's deadline = when			poll_until = earliest
 *	full fence				full fence
 *	when < poll_until? wake it		all deadlines again, earlier? do not sleep
 *
 * Forbidden: the poller sleeps past `when` and is not woken.
 *
 * A timer that fires: under the lock it leaves the heap and becomes `firing`, then its
 * function runs without the lock, then firing is cleared. sync waits for the last.
 * `runs` is odd from before the timer leaves the heap until its function is over: by it
 * the deadlock check (gs_timers_pending) sees a timer that is in no heap any more, or
 * not again yet.
 */
#include "timer.h"

#include <gsched/runtime.h>
#include <gsched/time.h>
#include <stddef.h>
#include <time.h>

#include "arch.h"
#include "backend.h"
#include "base/lock.h"
#include "event.h"
#include "fiber.h"
#include "poller.h"
#include "sched.h"
#include "worker.h"

struct gs_heap {
	struct gs_lock lock;
	struct gs_rtimer *root; /* lock */
	uint64_t *deadline;	/* lock writes, release; read by anyone: 0 none */
} __attribute__((aligned(64)));

static struct gs_heap heaps[GS_MAXPROCS + 1];
static uint64_t thread_deadline;
static struct gs_rtimer *firing; /* the poller's; release/acquire with sync */
static uint64_t runs;		 /* the poller's; release/acquire with gs_timers_pending */
/*
 * In the child of a fork nothing fires, and another thread may have been at work on a heap: a
 * timer is armed there or not, and is in none.
 */
static bool none_fires; /* before there is a second thread */

void gs_timers_init(void)
{
	for (int i = 0; i < GS_MAXPROCS; i++)
		heaps[i].deadline = &gs_lines[i].deadline;
	heaps[GS_MAXPROCS].deadline = &thread_deadline;
}

void gs_timers_forked(void)
{
	none_fires = true;
	for (int i = 0; i <= GS_MAXPROCS; i++) {
		heaps[i].lock = (struct gs_lock){0};
		heaps[i].root = NULL;
	}
	thread_deadline = 0;
	firing = NULL;
	runs += runs & 1;
	gs_timers_init();
}

/* One tree of two, neither of them on a list. */
static struct gs_rtimer *meld(struct gs_rtimer *a, struct gs_rtimer *b)
{
	if (b->when < a->when) {
		struct gs_rtimer *t = a;

		a = b;
		b = t;
	}
	if (a->rank == b->rank)
		a->rank++;
	else if (a->rank < b->rank)
		a->rank = b->rank;
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	b->prev = a; /* the first child's prev is its parent */
	a->child = b;
	a->next = NULL;
	a->prev = NULL;
	return a;
}

/* Another tree for the heap; see above about the carry. */
static void add_tree(struct gs_heap *h, struct gs_rtimer *t)
{
	struct gs_rtimer *root = h->root, *c;

	if (!root || t->when < root->when) {
		h->root = root ? meld(root, t) : t;
		return;
	}
	while ((c = root->child) && c->rank <= t->rank) {
		root->child = c->next;
		t = meld(t, c);
	}
	t->next = c;
	if (c)
		c->prev = t;
	t->prev = root;
	root->child = t;
}

/* The two-pass merge of a list of siblings. */
static struct gs_rtimer *merge_pairs(struct gs_rtimer *list)
{
	struct gs_rtimer *pairs = NULL, *root = NULL;

	while (list) {
		struct gs_rtimer *a = list, *b = a->next;

		list = b ? b->next : NULL;
		a->next = NULL;
		a->prev = NULL;
		if (b)
			a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct gs_rtimer *a = pairs;

		pairs = a->next;
		a->next = NULL;
		root = root ? meld(root, a) : a;
	}
	return root;
}

static void set_deadline(struct gs_heap *h)
{
	/* release: pairs with gs_timers_next in gs_timers_pending */
	gs_store_release(h->deadline, h->root ? (uint64_t)h->root->when : 0);
}

static void heap_remove(struct gs_heap *h, struct gs_rtimer *t)
{
	struct gs_rtimer *rest = merge_pairs(t->child);

	if (t == h->root) {
		h->root = rest;
		set_deadline(h);
	} else {
		if (t->prev->child == t)
			t->prev->child = t->next;
		else
			t->prev->next = t->next;
		if (t->next)
			t->next->prev = t->prev;
		if (rest)
			add_tree(h, rest);
	}
	/* pairs with the acquire in gs_rtimer_stop */
	gs_store_release(&t->armed, false);
}

/* A tree of its own, for add_tree. */
static void make_tree(struct gs_rtimer *t)
{
	t->when = t->due;
	t->child = NULL;
	t->next = NULL;
	t->prev = NULL;
	t->rank = 0;
}

/* The root's time has come, but it was put off. */
static void move_root(struct gs_heap *h)
{
	struct gs_rtimer *t = h->root;

	h->root = merge_pairs(t->child);
	make_tree(t);
	add_tree(h, t);
	set_deadline(h);
}

bool gs_rtimer_put_off(struct gs_rtimer *t, int64_t when)
{
	struct gs_heap *h = t->heap;
	bool later;

	if (!gs_load_acquire(&t->armed) || none_fires)
		return false;
	gs_lock_acquire(&h->lock);
	later = t->armed && when >= t->when;
	if (later)
		t->due = when;
	gs_lock_release(&h->lock);
	return later;
}

bool gs_rtimer_set(struct gs_rtimer *t, int64_t when)
{
	struct gs_worker *w = gs_worker_self();
	struct gs_heap *h = t->heap;
	bool first;

	if (when < 1)
		when = 1; /* 0 means none */
	if (gs_rtimer_put_off(t, when))
		return false;
	gs_rtimer_stop(t);
	if (gs_unlikely(none_fires)) {
		gs_store_relaxed(&t->armed, true);
		return false;
	}
	if (w && w->proc_tag)
		h = &heaps[w->proc_tag - 1];
	else if (!h)
		h = &heaps[GS_MAXPROCS];
	gs_lock_acquire(&h->lock);
	t->due = when;
	t->heap = h;
	make_tree(t);
	gs_store_relaxed(&t->armed, true);
	add_tree(h, t);
	first = h->root == t;
	if (first)
		gs_store_release(h->deadline, (uint64_t)when);
	gs_lock_release(&h->lock);
	if (!first)
		return false;
	/* pairs with the fence in the poller's loop */
	gs_full_fence();
	return (uint64_t)when < gs_load_relaxed(&gs_hdr->poll_until);
}

void gs_rtimer_arm(struct gs_rtimer *t, int64_t when)
{
	if (gs_rtimer_set(t, when))
		gs_poller_wake();
}

bool gs_rtimer_stop(struct gs_rtimer *t)
{
	struct gs_heap *h = t->heap;
	bool armed;

	if (!gs_load_acquire(&t->armed))
		return false;
	if (gs_unlikely(none_fires)) {
		gs_store_relaxed(&t->armed, false);
		return true;
	}
	gs_lock_acquire(&h->lock);
	armed = t->armed;
	if (armed)
		heap_remove(h, t);
	gs_lock_release(&h->lock);
	return armed;
}

void gs_rtimer_sync(struct gs_rtimer *t)
{
	for (unsigned int n = 0; gs_load_acquire(&firing) == t; n++)
		gs_backoff(n);
}

void gs_rtimer_done(void)
{
	gs_store_release(&firing, NULL);
}

static void heap_run(struct gs_heap *h, int64_t now)
{
	for (;;) {
		struct gs_rtimer *t;

		gs_lock_acquire(&h->lock);
		t = h->root;
		if (!t || t->when > now) {
			gs_lock_release(&h->lock);
			return;
		}
		if (t->due > now) {
			move_root(h);
			gs_lock_release(&h->lock);
			continue;
		}
		gs_store_relaxed(&runs, runs + 1);
		/*
		 * Before it is disarmed: whoever fails to stop it sees it firing. Release
		 * here too, for who waited for the last one may see this one first.
		 */
		gs_store_release(&firing, t);
		heap_remove(h, t);
		gs_lock_release(&h->lock);
		if (gs_traced())
			gs_event(NULL, GS_EV_TIMER, NULL);
		t->fn(t);
		if (gs_traced())
			gs_event(NULL, GS_EV_TIMER_END, NULL);
		gs_store_release(&firing, NULL);
		gs_store_release(&runs, runs + 1);
	}
}

int64_t gs_timers_next(void)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);
	uint64_t next = gs_load_acquire(&thread_deadline);

	for (uint32_t i = 0; i < n; i++) {
		uint64_t d = gs_load_acquire(heaps[i].deadline);

		if (d && (!next || d < next))
			next = d;
	}
	return (int64_t)next;
}

int64_t gs_timers_run(int64_t now)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);

	for (uint32_t i = 0; i <= n; i++) {
		struct gs_heap *h = &heaps[i < n ? i : GS_MAXPROCS];
		uint64_t d = gs_load_relaxed(h->deadline);

		if (d && (int64_t)d <= now)
			heap_run(h, now);
	}
	return gs_timers_next();
}

/*
 *	poller				here
 *	runs odd			runs even?
 *	deadline = 0			no deadline?
 *	fn: arm, ready			runs unchanged?
 *	runs even
 *
 * One that began before the first look has ended, or that look sees it; if it ended, what
 * it armed is seen by the second. One that began later and took the deadline away before
 * the second is seen by the third.
 */
bool gs_timers_pending(void)
{
	uint64_t before = gs_load_acquire(&runs);

	return before % 2 || gs_timers_next() || gs_load_relaxed(&runs) != before;
}

int64_t gs_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

struct sleeper {
	struct gs_rtimer timer;
	struct gs_fiber *fiber;
	int64_t when;
};

static void sleep_fire(struct gs_rtimer *t)
{
	gs_ready(((struct sleeper *)t)->fiber);
}

static bool sleep_commit(struct gs_fiber *f, void *arg)
{
	struct sleeper *s = arg;

	(void)f;
	gs_rtimer_arm(&s->timer, s->when);
	return true;
}

void gs_sleep(int64_t ns)
{
	struct sleeper s = {.timer.fn = sleep_fire};

	if (ns <= 0) {
		if (gs_on_fiber())
			gs_yield();
		return;
	}
	if (!gs_on_fiber()) {
		struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

		while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts))
			;
		return;
	}
	if (__builtin_add_overflow(gs_now(), ns, &s.when))
		s.when = INT64_MAX;
	gs_rt_enter();
	s.fiber = gs_self();
	gs_park(sleep_commit, &s, GS_WAIT_SLEEP);
	gs_rt_leave();
}
