// SPDX-License-Identifier: GPL-2.0
/*
 * Procs: who has the right to run.
 *
 * Everything here happens under the lock of the context and is decided from
 * context->owner and the fields of the workers. Invariants, whenever the lock
 * is free:
 *
 *   - worker w has a proc p (worker->proc) or a grant for it (worker->grant):
 *     owner[p] == w + 1. No proc is in two such places.
 *   - bit p of context->idle: owner[p] == GSCHED_OWNER_IDLE; nidle counts them;
 *     all of them are below nproc.
 *   - owner[p] == GSCHED_RETIRED: not granted, not idle. All procs that are at
 *     or above nproc are retired or still owned.
 *   - a worker is on context->standbys if and only if parked == GSCHED_STANDBY;
 *     it has neither proc nor grant then. nstandby counts them.
 *   - not all of these: a proc is idle, there is demand for it, a stand-by
 *     waits beyond the reserve, nobody spins. (As far as the lock can tell:
 *     demand also comes from Enqueue, which then calls UNPARK.)
 *
 * Owner words in the shared area are copies, written by exchange: the lock
 * makes that the compare-and-swap of the protocol, and a word scribbled over
 * heals at its next transition.
 *
 * The barriers. Enqueue in user space publishes a fiber, fences, and reads
 * header.idle and header.spinning. Its partners are here: the exchange in
 * make_idle() before demand() (hand-off), and the smp_mb() in look_again()
 * (PARK of a worker that held no proc, but had lowered header.spinning).
 */
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include "compat.h"
#include "gsched.h"
#include "inject.h"
#include "trace.h"

/* How many stand-bys are looked at for one that last ran on this CPU. */
#define LOOK_AT_STANDBYS	8

/* Why a proc is wanted, the stronger the later (4). */
enum demand {
	DEMAND_NONE,
	DEMAND_OTHERS,		/* d: some other proc's queue, and nobody spins */
	DEMAND_QUEUED,		/* a, b: its own queue, or one shared by all */
	DEMAND_BOUND,		/* c: may use up the reserve */
};

/*
 * What user space says. Each word is read once, and all that a lie can do is
 * to wake a stand-by that finds nothing, or none where one was needed.
 */

/* Head before tail: both only grow, so equal means empty when tail was read. */
static bool queued(struct gsched_context *context, unsigned int p)
{
	struct gsched_proc *proc = &context->procs[p];
	u32 head;

	if (READ_ONCE(proc->runnext))
		return true;
	/* Orders the two loads; whoever raises tail fences before it looks at us. */
	head = smp_load_acquire(&proc->head);
	return head != READ_ONCE(proc->tail);
}

static bool others_queued(struct gsched_context *context, unsigned int not)
{
	unsigned int p;

	for (p = 0; p < context->procs_used; p++)
		if (p != not && queued(context, p))
			return true;
	return false;
}

static enum demand near_demand(struct gsched_context *context, unsigned int p)
{
	struct gsched_header *header = context->header;

	if (READ_ONCE(header->bound_runnable))
		return DEMAND_BOUND;
	if (queued(context, p) || READ_ONCE(header->express_len) ||
	    READ_ONCE(header->global_len))
		return DEMAND_QUEUED;
	return DEMAND_NONE;
}

static enum demand demand(struct gsched_context *context, unsigned int p)
{
	enum demand why = near_demand(context, p);

	if (why == DEMAND_NONE && !READ_ONCE(context->header->spinning) &&
	    others_queued(context, p))
		why = DEMAND_OTHERS;
	return why;
}

/* Only for one who certainly searches: a grant or a PARK that returns at once. */
static bool start_spinner(struct gsched_context *context)
{
	return cmpxchg(&context->header->spinning, 0, 1) == 0;
}

/* Is there a stand-by for a grant that is, or is not, for a bound fiber (8)? */
static bool have_standby(struct gsched_context *context, bool for_bound)
{
	return context->nstandby > (for_bound ? 0 : READ_ONCE(context->header->reserve));
}

/*
 * Owner words (3).
 */

static void set_owner(struct gsched_context *context, unsigned int p, u32 owner)
{
	lockdep_assert_held(&context->lock);
	context->owner[p] = owner;
	/* A full barrier, see the head of this file. */
	xchg(&context->procs[p].owner, owner);
}

/* idle++ first: header.idle is never below the truth. */
static void make_idle(struct gsched_context *context, unsigned int p)
{
	WRITE_ONCE(context->header->idle, ++context->nidle);
	__set_bit(p, context->idle);
	set_owner(context, p, GSCHED_OWNER_IDLE);
}

/* ... and idle-- last. */
static void end_idle(struct gsched_context *context, unsigned int p, u32 owner)
{
	set_owner(context, p, owner);
	__clear_bit(p, context->idle);
	WRITE_ONCE(context->header->idle, --context->nidle);
}

/* An idle proc: @first if it is, else one with work in its queue, else any. */
static int find_idle(struct gsched_context *context, int first)
{
	unsigned int p;

	if (first != GSCHED_NONE && test_bit(first, context->idle))
		return first;
	for_each_set_bit(p, context->idle, GSCHED_MAXPROCS)
		if (queued(context, p))
			return p;
	p = find_first_bit(context->idle, GSCHED_MAXPROCS);
	return p < GSCHED_MAXPROCS ? p : GSCHED_NONE;
}

/* What was to be said to the fiber that ran on its proc: another one does, or will. */
static void told_nothing(struct gsched_worker *worker)
{
	worker->preempt = false;
	worker->refused = false;
	worker->aborted = false;
}

/* The worker has @p, whose owner word says so already. */
static void have_proc(struct gsched_worker *worker, unsigned int p)
{
	worker->proc = p;
	worker->away = false;
	worker->told = false;
	worker->counted = false;
	worker->why = GSCHED_REFUSED_NOT;
	told_nothing(worker);
	WRITE_ONCE(worker->slot->proc, p + 1);
	gsched_tick_need(worker->context, p);
}

static void take_idle(struct gsched_worker *worker, unsigned int p)
{
	end_idle(worker->context, p, worker->id + 1);
	have_proc(worker, p);
}

static unsigned int drop_proc(struct gsched_worker *worker)
{
	unsigned int p = worker->proc;

	worker->proc = GSCHED_NONE;
	worker->last = p;
	WRITE_ONCE(worker->slot->proc, 0);
	return p;
}

/*
 * me -> idle, or me -> retired. Returns the idle proc to offer to the
 * stand-bys: this one, or when this is retired any other one, for the queue
 * left behind counts as demand for that; GSCHED_NONE if there is none, or if
 * the worker had no proc.
 */
static int put_proc(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	unsigned int p;

	if (worker->proc == GSCHED_NONE)
		return GSCHED_NONE;
	p = drop_proc(worker);
	if (p < context->nproc) {
		make_idle(context, p);
		return p;
	}
	set_owner(context, p, GSCHED_RETIRED);
	/* Where all others have their fibers, nobody looks at what it leaves behind. */
	gsched_tick_retired(context, p);
	return find_idle(context, GSCHED_NONE);
}

/*
 * Grants.
 */

static void add_standby(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;

	worker->parked = GSCHED_STANDBY;
	list_add(&worker->standby, &context->standbys);
	WRITE_ONCE(context->header->standby, ++context->nstandby);
}

static void unpark(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;

	if (worker->parked == GSCHED_STANDBY) {
		list_del_init(&worker->standby);
		WRITE_ONCE(context->header->standby, --context->nstandby);
	}
	worker->parked = GSCHED_NOT_PARKED;
}

/*
 * Waking on this CPU costs a fraction of waking on another one, and the CPU is
 * about to be free when this is a hand-off. Else the last parked is the
 * warmest. A stand-by with a signal pending would run the handler first, or
 * stop: the last choice, but better than none, for it does take the grant.
 */
static struct gsched_worker *choose_standby(struct gsched_context *context)
{
	struct gsched_worker *x, *chosen = NULL;
	int cpu = raw_smp_processor_id();
	int n = 0;

	list_for_each_entry(x, &context->standbys, standby) {
		if (!signal_pending(x->task)) {
			if (task_cpu(x->task) == cpu)
				return x;
			if (!chosen)
				chosen = x;
		}
		if (++n == LOOK_AT_STANDBYS)
			break;
	}
	return chosen ?: list_first_entry(&context->standbys, struct gsched_worker, standby);
}

/*
 * Note the grant of a proc that @x owns already. Returns @x if it sleeps in
 * PARK and must be woken, NULL if the grant is latched.
 *
 * PARK takes a grant before it returns, come what may, so only latched grants
 * can be left when a worker ends. Spinners are chosen among the stand-bys: so
 * none ends without user space having been told that it is one.
 */
static struct gsched_worker *note_grant(struct gsched_worker *x, unsigned int p, u32 spin)
{
	bool asleep = x->parked != GSCHED_NOT_PARKED;

	/* Pairs with gsched_worker_wait(). */
	WRITE_ONCE(x->grant, p | spin);
	trace_gsched_grant(x, p);
	if (!asleep)
		return NULL;
	unpark(x);
	gsched_debug_count(x, GSCHED_GRANTS);
	return x;
}

static struct gsched_worker *grant_idle(struct gsched_worker *x, unsigned int p, u32 spin)
{
	end_idle(x->context, p, x->id + 1);
	return note_grant(x, p, spin);
}

static int take_grant(struct gsched_worker *worker)
{
	int grant = worker->grant;

	WRITE_ONCE(worker->grant, GSCHED_NONE);
	have_proc(worker, grant & GSCHED_GRANT_PROC);
	return grant;
}

/*
 * Steps (2) and (3) of hand-off (5): @p has just become idle. Returns the
 * stand-by that got it and must be woken, or NULL.
 */
static struct gsched_worker *offer(struct gsched_context *context, int p)
{
	enum demand why;

	if (p == GSCHED_NONE || !context->nstandby)
		return NULL;
	gsched_inject(GSCHED_POINT_HANDOFF);
	why = demand(context, p);
	if (why == DEMAND_NONE || !have_standby(context, why == DEMAND_BOUND))
		return NULL;
	if (why != DEMAND_OTHERS)
		return grant_idle(choose_standby(context), p, 0);
	if (!start_spinner(context))
		return NULL;
	return grant_idle(choose_standby(context), p, GSCHED_GRANT_SPIN);
}

/* Drop the lock, then wake whom offer() and its like returned. */
static void unlock_and_wake(struct gsched_context *context, struct gsched_worker *x)
	__releases(&context->lock)
{
	struct task_struct *task = x ? get_task_struct(x->task) : NULL;

	/* It has the proc, and sleeps: whoever preempts the two of us would have it wait. */
	preempt_disable();
	raw_spin_unlock_irq(&context->lock);
	if (task) {
		gsched_inject(GSCHED_POINT_WAKE);
		wake_up_process(task);
	}
	preempt_enable();
	if (task)
		put_task_struct(task);
}

/* The same where the scheduler's locks may be held. */
static void wake_later(struct gsched_worker *x)
{
	if (x)
		irq_work_queue(&x->wake);
}

/* For grants by name. An exiting thread would sit on the proc until it is dead. */
static struct gsched_worker *find_worker(struct gsched_context *context, u32 id)
{
	struct gsched_worker *x = gsched_context_worker(context, id);

	return x && !gsched_exiting(x->task) ? x : NULL;
}

/*
 * The calls.
 */

/**
 * gsched_proc_setup() - the procs of a context that nobody knows yet
 * @context: its head is all zero
 * @nproc: how many are idle; all others are retired
 */
void gsched_proc_setup(struct gsched_context *context, u32 nproc)
{
	struct gsched_header *header = context->header;
	unsigned int p;

	context->nproc = nproc;
	context->procs_used = nproc;
	context->nidle = nproc;
	bitmap_set(context->idle, 0, nproc);
	for (p = nproc; p < GSCHED_MAXPROCS; p++) {
		context->owner[p] = GSCHED_RETIRED;
		context->procs[p].owner = GSCHED_RETIRED;
	}
	header->abi_major = GSCHED_ABI_MAJOR;
	header->abi_minor = GSCHED_ABI_MINOR;
	header->nproc = nproc;
	header->procs_used = nproc;
	header->idle = nproc;
}

static void resize_up(struct gsched_context *context, u32 from, u32 to)
{
	u32 p;

	/* One at a time, to keep interrupts on in between: demand takes long. */
	for (p = from; p < to; p++) {
		raw_spin_lock_irq(&context->lock);
		/* Else its owner never noticed that it had been retired. */
		if (context->owner[p] == GSCHED_RETIRED) {
			make_idle(context, p);
			unlock_and_wake(context, offer(context, p));
		} else {
			raw_spin_unlock_irq(&context->lock);
		}
	}
}

/**
 * gsched_proc_resize() - SET_PROCS (12)
 * @context: the context
 * @nproc: the new number, checked by the caller
 *
 * Return: the old number.
 */
int gsched_proc_resize(struct gsched_context *context, u32 nproc)
{
	u32 old, p;

	mutex_lock(&context->mutex);
	raw_spin_lock_irq(&context->lock);
	old = context->nproc;
	context->nproc = nproc;
	WRITE_ONCE(context->header->nproc, nproc);
	if (nproc > context->procs_used) {
		WRITE_ONCE(context->procs_used, nproc);
		WRITE_ONCE(context->header->procs_used, nproc);
	}
	for (p = nproc; p < old; p++)
		if (test_bit(p, context->idle))
			end_idle(context, p, GSCHED_RETIRED);
	/* What was retired may have left a queue behind: demand for the others. */
	unlock_and_wake(context, nproc < old ?
			offer(context, find_idle(context, GSCHED_NONE)) : NULL);
	resize_up(context, old, nproc);
	mutex_unlock(&context->mutex);
	return old;
}

/*
 * Step (3) of PARK (6): an idle proc with work in its queue, or any if there is
 * work elsewhere. Takes it; returns what PARK returns, or GSCHED_NONE.
 */
static int look_again(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	enum demand reason = DEMAND_QUEUED;
	bool spin;
	int p;

	gsched_inject(GSCHED_POINT_LOOK);
	/* Pairs with Enqueue's fence, see the head of this file. */
	smp_mb();
	if (!context->nidle)
		return GSCHED_NONE;
	p = worker->last;
	if (p == GSCHED_NONE || !test_bit(p, context->idle) || !queued(context, p))
		p = find_idle(context, GSCHED_NONE);
	if (!queued(context, p)) {
		/* No idle proc has work of its own, so take the old one if we can. */
		p = find_idle(context, worker->last);
		reason = demand(context, p);
		if (reason == DEMAND_NONE)
			return GSCHED_NONE;
	}
	/*
	 * Our caller may have been the spinner whom all relied on, and runs only one
	 * of the fibers that were queued meanwhile: let it spin if nobody does.
	 */
	spin = start_spinner(context);
	if (reason == DEMAND_OTHERS && !spin)
		return GSCHED_NONE;
	take_idle(worker, p);
	return p | (spin ? GSCHED_GRANT_SPIN : 0);
}

/* The first half of PARK_TO (6): me -> x. */
static int pass(struct gsched_worker *worker, int to, struct gsched_worker **wake)
{
	struct gsched_context *context = worker->context;
	struct gsched_worker *x = find_worker(context, to);
	unsigned int p;

	if (!x)
		return -ESRCH;
	if (x->proc != GSCHED_NONE || x->grant != GSCHED_NONE)
		return -EBUSY;
	if (worker->proc == GSCHED_NONE || worker->proc >= context->nproc)
		return -EAGAIN;
	p = drop_proc(worker);
	set_owner(context, p, x->id + 1);
	*wake = note_grant(x, p, 0);
	return 0;
}

/**
 * gsched_proc_park() - PARK and PARK_TO (6)
 * @worker: of the calling thread
 * @to: the worker that gets the proc, or GSCHED_NONE
 * @bound: wait for a grant by name only
 * @deadline: CLOCK_MONOTONIC ns, 0 never
 *
 * Return: proc granted, perhaps with GSCHED_GRANT_SPIN, or an errno.
 */
int gsched_proc_park(struct gsched_worker *worker, int to, bool bound, u64 deadline)
{
	struct gsched_context *context = worker->context;
	struct gsched_worker *x = NULL;
	int ret, p;

	raw_spin_lock_irq(&context->lock);
	if (to != GSCHED_NONE) {
		ret = pass(worker, to, &x);
		if (ret) {
			raw_spin_unlock_irq(&context->lock);
			return ret;
		}
	}
	/* From here on the worker has nothing to offer after pass() did. */
	p = put_proc(worker);
	worker->away = false;
	worker->told = false;
	worker->counted = false;
	worker->why = GSCHED_REFUSED_NOT;
	told_nothing(worker);
	if (worker->grant != GSCHED_NONE) {
		ret = take_grant(worker);
		unlock_and_wake(context, x ?: offer(context, p));
		return ret;
	}
	if (bound) {
		worker->parked = GSCHED_BOUND;
		x = x ?: offer(context, p);
	} else {
		ret = look_again(worker);
		if (ret != GSCHED_NONE) {
			unlock_and_wake(context, x);
			return ret;
		}
		add_standby(worker);
	}
	unlock_and_wake(context, x);

	gsched_inject(GSCHED_POINT_PARK);
	ret = gsched_worker_wait(worker, deadline);

	raw_spin_lock_irq(&context->lock);
	unpark(worker);
	if (worker->grant != GSCHED_NONE)
		ret = take_grant(worker);
	raw_spin_unlock_irq(&context->lock);
	return ret;
}

/**
 * gsched_proc_unpark_any() - UNPARK with GSCHED_UNPARK_ANY (7)
 * @context: the context
 *
 * Return: 1 woke a spinner, 0 no need, -EAGAIN no stand-by.
 */
int gsched_proc_unpark_any(struct gsched_context *context)
{
	struct gsched_header *header = context->header;
	struct gsched_worker *x = NULL;
	int ret = 0;

	raw_spin_lock_irq(&context->lock);
	if (context->nidle && !READ_ONCE(header->spinning)) {
		if (!have_standby(context, READ_ONCE(header->bound_runnable))) {
			ret = -EAGAIN;
		} else if (start_spinner(context)) {
			x = grant_idle(choose_standby(context),
				       find_idle(context, GSCHED_NONE), GSCHED_GRANT_SPIN);
			ret = 1;
		}
	}
	unlock_and_wake(context, x);
	return ret;
}

/**
 * gsched_proc_unpark_proc() - UNPARK with GSCHED_UNPARK_PROC (7)
 * @context: the context
 * @proc: any number from user space
 *
 * Return: 1 woke one, 0 the proc is not idle, -EAGAIN no stand-by, -EINVAL.
 */
int gsched_proc_unpark_proc(struct gsched_context *context, u32 proc)
{
	struct gsched_worker *x = NULL;
	int ret = 0;

	raw_spin_lock_irq(&context->lock);
	if (proc >= GSCHED_MAXPROCS) {
		ret = -EINVAL;
	} else {
		proc = array_index_nospec(proc, GSCHED_MAXPROCS);
		/* No retired one is idle. */
		if (test_bit(proc, context->idle)) {
			ret = -EAGAIN;
			if (have_standby(context, READ_ONCE(context->header->bound_runnable))) {
				x = grant_idle(choose_standby(context), proc, 0);
				ret = 1;
			}
		}
	}
	unlock_and_wake(context, x);
	return ret;
}

/**
 * gsched_proc_unpark_worker() - UNPARK with GSCHED_UNPARK_WORKER (7)
 * @context: the context
 * @id: any number from user space
 *
 * Return: 1 granted or latched, -ESRCH, -EBUSY it has a grant already, -EAGAIN
 * no proc is idle.
 */
int gsched_proc_unpark_worker(struct gsched_context *context, u32 id)
{
	struct gsched_worker *x, *wake = NULL;
	int ret, p;

	raw_spin_lock_irq(&context->lock);
	x = find_worker(context, id);
	if (!x) {
		ret = -ESRCH;
	} else if (x->grant != GSCHED_NONE) {
		ret = -EBUSY;
	} else {
		p = find_idle(context, x->last);
		ret = -EAGAIN;
		if (p != GSCHED_NONE) {
			wake = grant_idle(x, p, 0);
			ret = 1;
		}
	}
	unlock_and_wake(context, wake);
	return ret;
}

/**
 * gsched_proc_acquire() - ACQUIRE (7)
 * @worker: of the calling thread
 *
 * Return: the proc held now, or -EAGAIN.
 */
int gsched_proc_acquire(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	int p;

	raw_spin_lock_irq(&context->lock);
	p = worker->proc;
	if (p == GSCHED_NONE) {
		p = find_idle(context, worker->last);
		if (p != GSCHED_NONE) {
			take_idle(worker, p);
			gsched_tick_begin(worker);
		}
	}
	raw_spin_unlock_irq(&context->lock);
	return p != GSCHED_NONE ? p : -EAGAIN;
}

/*
 * It will not PARK again: what is latched for it goes by the hand-off rule. By name, so
 * without GSCHED_GRANT_SPIN, see note_grant(). It holds no proc.
 */
static void drop_grant(struct gsched_worker *worker)
{
	if (worker->grant == GSCHED_NONE)
		return;
	take_grant(worker);
	wake_later(offer(worker->context, put_proc(worker)));
}

/**
 * gsched_proc_handoff() - a worker blocks (5)
 * @worker: of the current thread, which is being switched out; it holds a proc, or does not
 *	come back
 * @comes_back: it will return to user mode of this program: obey its depth, and
 *	find it a proc then. Else what was latched for it is given away, too (13)
 *
 * Under the run queue's lock, interrupts off.
 */
void gsched_proc_handoff(struct gsched_worker *worker, bool comes_back)
{
	struct gsched_context *context = worker->context;
	bool kept = comes_back && READ_ONCE(worker->slot->depth);
	struct gsched_worker *x;

	lockdep_assert_irqs_disabled();
	raw_spin_lock(&context->lock);
	if (worker->proc != GSCHED_NONE)
		trace_gsched_block(worker, worker->proc, kept);
	if (kept) {
		gsched_debug_count(worker, GSCHED_DEPTH_BLOCKS);
		WRITE_ONCE(worker->off, true);
	} else {
		if (worker->proc != GSCHED_NONE)
			gsched_debug_count(worker, GSCHED_BLOCKS);
		worker->away = comes_back;
		x = offer(context, put_proc(worker));
		if (x) {
			gsched_debug_count(worker, GSCHED_HANDOFFS);
			gsched_wake_here(x->task);
			trace_gsched_handoff(worker, x, x->grant & GSCHED_GRANT_PROC);
		}
		/* Under the lock: x could wake, exit and be freed before. */
		wake_later(x);
		if (!comes_back)
			drop_grant(worker);
	}
	raw_spin_unlock(&context->lock);
}

/**
 * gsched_proc_return() - the return rule (9)
 * @worker: of the current thread, away, about to run user code; interrupts off
 *
 * With the depth raised the worker is one that runs on without a proc, knows
 * it, and is inside the runtime: that one asks for a proc itself.
 *
 * Without redirects this happens when its thread is switched in, perhaps long before
 * it runs user code: if it blocks again, it gives the proc away again.
 *
 * Return: true if it found none, and its program is to be told that it is lost.
 */
bool gsched_proc_return(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	struct gsched_slot *slot = worker->slot;
	bool tell = false;
	int p;

	lockdep_assert_irqs_disabled();
	if (READ_ONCE(slot->depth))
		return false;
	raw_spin_lock(&context->lock);
	p = find_idle(context, worker->last);
	if (p != GSCHED_NONE) {
		take_idle(worker, p);
		gsched_tick_begin(worker);
		gsched_debug_count(worker, GSCHED_RETURNS);
		trace_gsched_return(worker, p);
	} else {
		if (!worker->counted) {
			gsched_debug_count(worker, GSCHED_LOSTS);
			trace_gsched_return(worker, GSCHED_NONE);
		}
		worker->counted = true;
		tell = !worker->told;
		/* The handler left it: it came where the thread must not be moved. */
		if (context->sigurg && READ_ONCE(slot->pending) & GSCHED_LOST)
			tell = true;
		if (tell && context->sigurg) {
			gsched_proc_ring(worker, GSCHED_LOST);
			worker->told = true;
			tell = false;
		}
	}
	raw_spin_unlock(&context->lock);
	return tell;
}

static void count_refused(struct gsched_worker *worker, u32 reason, enum gsched_refusal why)
{
	trace_gsched_upcall(worker, reason, why);
	gsched_debug_count(worker, GSCHED_REFUSALS);
	worker->context->refused[why]++;
}

static void count_upcall(struct gsched_worker *worker, u32 reason)
{
	trace_gsched_upcall(worker, reason, GSCHED_REFUSED_NOT);
	gsched_debug_count(worker, GSCHED_UPCALLS);
}

/**
 * gsched_proc_ring() - tell a worker by SIGURG (10)
 * @worker: found under the lock of its context, which is held
 * @reason: GSCHED_LOST or GSCHED_PREEMPT
 *
 * The bit in slot.pending is the message, the signal only says: look there.
 */
void gsched_proc_ring(struct gsched_worker *worker, u32 reason)
{
	lockdep_assert_held(&worker->context->lock);
	/* User space takes bits out by exchange. */
	atomic_or(reason, (atomic_t *)&worker->slot->pending);
	if (worker->context->trampoline)
		irq_work_queue(&worker->signal);
	else
		count_refused(worker, reason, GSCHED_REFUSED_NO_TRAMPOLINE);
}

/**
 * gsched_proc_rung() - that has arrived
 * @worker: of the current thread, on its way to user mode
 * @masked: it blocks the signal, which will wait then
 * @restarts: in a call that a handler would end: not now
 *
 * Who is lost is told when its thread is switched in the next time, see gsched_proc_return(),
 * and who is to give way by the next tick.
 *
 * Return: true if the signal is to be sent.
 */
bool gsched_proc_rung(struct gsched_worker *worker, bool masked, bool restarts)
{
	struct gsched_context *context = worker->context;
	u32 pending;
	bool send;

	raw_spin_lock_irq(&context->lock);
	pending = READ_ONCE(worker->slot->pending);
	send = pending && !READ_ONCE(worker->slot->depth);
	if (pending && !send)
		count_refused(worker, pending, GSCHED_REFUSED_DEPTH);
	if (send && restarts) {
		count_refused(worker, pending, GSCHED_REFUSED_RESTART);
		send = false;
	}
	if (send && masked)
		count_refused(worker, pending, GSCHED_REFUSED_MASKED);
	if (send)
		count_upcall(worker, pending);
	raw_spin_unlock_irq(&context->lock);
	return send;
}

/**
 * gsched_proc_told() - an upcall was done or refused
 * @worker: of the current thread, about to return to user mode; interrupts off
 * @reason: GSCHED_LOST or GSCHED_PREEMPT
 * @why: what gsched_upcall() returned
 *
 * Inside the runtime, and where there is no trampoline, slot.pending tells it.
 * All other refusals pass: the bit is set, too, for the next entry into the
 * runtime may come first, but the upcall stays due.
 */
void gsched_proc_told(struct gsched_worker *worker, u32 reason, enum gsched_refusal why)
{
	struct gsched_context *context = worker->context;
	bool final = why == GSCHED_REFUSED_NOT || why == GSCHED_REFUSED_DEPTH ||
		     why == GSCHED_REFUSED_NO_TRAMPOLINE;

	raw_spin_lock(&context->lock);
	if (why == GSCHED_REFUSED_NOT) {
		count_upcall(worker, reason);
	} else {
		count_refused(worker, reason, why);
		/* User space takes bits out by exchange. */
		atomic_or(reason, (atomic_t *)&worker->slot->pending);
	}
	if (reason == GSCHED_LOST) {
		worker->told = final;
		worker->why = why;
	}
	if (final)
		worker->preempt = false;
	WRITE_ONCE(worker->refused, reason == GSCHED_PREEMPT && !final);
	raw_spin_unlock(&context->lock);
}

/**
 * gsched_proc_heeded() - PREEMPT was refused: has it been done without an upcall?
 * @worker: of the current thread, about to return to user mode; interrupts off
 *
 * The runtime took the bit out of slot.pending, so another fiber runs there now.
 *
 * Return: true if so, and nothing is due any more.
 */
bool gsched_proc_heeded(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	bool heeded;

	raw_spin_lock(&context->lock);
	heeded = worker->refused && !(READ_ONCE(worker->slot->pending) & GSCHED_PREEMPT);
	if (heeded)
		told_nothing(worker);
	raw_spin_unlock(&context->lock);
	return heeded;
}

/**
 * gsched_proc_owner() - the worker that holds a proc
 * @context: locked
 * @p: a proc
 *
 * Return: the worker, good as long as the lock is held; NULL if there is none,
 * or if it has been granted the proc and has not taken it yet.
 */
struct gsched_worker *gsched_proc_owner(struct gsched_context *context, unsigned int p)
{
	u32 owner = context->owner[p];
	struct gsched_worker *worker;

	lockdep_assert_held(&context->lock);
	if (owner == GSCHED_OWNER_IDLE || owner == GSCHED_RETIRED)
		return NULL;
	worker = gsched_context_worker(context, owner - 1);
	return worker && worker->proc == p ? worker : NULL;
}

/**
 * gsched_proc_wanted() - do fibers wait for this proc while it is held?
 * @context: locked
 * @p: a proc
 */
bool gsched_proc_wanted(struct gsched_context *context, unsigned int p)
{
	lockdep_assert_held(&context->lock);
	return near_demand(context, p) != DEMAND_NONE;
}

/**
 * gsched_proc_left() - do fibers wait in the queue of a proc that is no more?
 * @context: locked
 *
 * That is demand for all procs: nobody is scheduled where it is.
 */
bool gsched_proc_left(struct gsched_context *context)
{
	unsigned int p;

	lockdep_assert_held(&context->lock);
	for (p = context->nproc; p < context->procs_used; p++)
		if (context->owner[p] == GSCHED_RETIRED && queued(context, p))
			return true;
	return false;
}

/**
 * gsched_proc_relief() - is there anybody to serve the demand for a held proc?
 * @context: locked
 *
 * Return: true for a stand-by, or for a bound fiber: its worker can be given
 * the proc by PARK_TO.
 */
bool gsched_proc_relief(struct gsched_context *context)
{
	lockdep_assert_held(&context->lock);
	return READ_ONCE(context->header->bound_runnable) || have_standby(context, false);
}

/**
 * gsched_proc_leave() - the end of a worker: nobody finds it any more (13)
 * @worker: not parked
 *
 * Gives away what it holds and what it was granted, by the hand-off rule.
 * Any context, also under the run queue's lock.
 */
void gsched_proc_leave(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	struct gsched_chunk *chunk = context->chunk[worker->id / GSCHED_CHUNK_SLOTS];
	unsigned long flags;

	raw_spin_lock_irqsave(&context->lock, flags);
	trace_gsched_leave(worker, worker->proc);
	chunk->worker[worker->id % GSCHED_CHUNK_SLOTS] = NULL;
	WRITE_ONCE(context->header->workers, --context->nworkers);
	worker->away = false;
	wake_later(offer(context, put_proc(worker)));
	drop_grant(worker);
	raw_spin_unlock_irqrestore(&context->lock, flags);
}
