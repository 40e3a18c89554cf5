// SPDX-License-Identifier: GPL-2.0
/*
 * Preemption: a fiber that ran a whole slice while others wait is told so.
 *
 * One hrtimer a context, hard, so that it fires on PREEMPT_RT, too. It looks at
 * the procs that are held, several times a slice, and stands when nobody waits
 * for any of them:
 *
 *	the handler			Enqueue
 *	header.ticking = 0		publish the fiber
 *	full barrier			full fence
 *	demand? then go on		header.ticking == 0? TICK
 *
 * Forbidden: a fiber queued, the tick standing. A proc that nobody held when the
 * handler looked is looked at by whoever gets it: gsched_tick_need().
 *
 * As long as there has never been a second proc its owner leaves the fence out (uapi
 * section 5). Then the handler does not end the tick itself but asks the owner's thread,
 * which looks on its way to user mode: it sees all that it has queued itself, and what
 * another one queued as the owner before it, for a proc changes hands under the lock. The
 * timer stands meanwhile; whoever gets the proc starts it again.
 *
 * Whether the fiber is the same as at the last look is told by proc.tick, which
 * user space raises at each scheduling: a lie costs its own fairness.
 */
#include <linux/hrtimer.h>
#include <linux/sched/signal.h>
#include "compat.h"
#include "gsched.h"
#include "inject.h"
#include "trace.h"

#define LOOKS_A_SLICE	8
#define PERIOD_MIN_NS	(100 * NSEC_PER_USEC)
#define PROCS_A_PERIOD	64
#define BOUND_PART	3

/* A look takes the longer the more procs there are: so it is the less often. */
static u64 period_ns(const struct gsched_context *context)
{
	u64 least = PERIOD_MIN_NS * DIV_ROUND_UP(READ_ONCE(context->procs_used), PROCS_A_PERIOD);

	return max(context->slice_ns / LOOKS_A_SLICE, least);
}

/*
 * Bound fibers are mostly those that came back from a block and found no proc: whoever has
 * one is to let them have it sooner, or those who block all the time are left behind by those
 * who never do.
 */
static u64 slice_ns(const struct gsched_context *context)
{
	u64 slice = context->slice_ns;

	if (READ_ONCE(context->header->bound_runnable))
		slice = max_t(u64, slice / BOUND_PART, PERIOD_MIN_NS);
	return slice;
}

/*
 * Who does not run cannot give way, be it stopped, preempted, or out of its cgroup's time:
 * a timer of its own would take from others what it may not have. See gsched_tick_back().
 */
static bool runs(struct gsched_worker *worker)
{
	if (READ_ONCE(worker->off))
		return false;
	if (gsched_on_cpu(worker->task))
		return true;
	WRITE_ONCE(worker->off, true);
	/* Pairs with the one in sched_in(): it sees that, or we see that it runs. */
	smp_mb();
	if (!gsched_on_cpu(worker->task))
		return false;
	WRITE_ONCE(worker->off, false);
	return true;
}

/* Through the kernel once, to see what it has been told: now if it runs, else then. */
static void through(struct gsched_worker *worker)
{
#if GSCHED_REDIRECT
	gsched_inject(GSCHED_POINT_KICK);
	set_tsk_thread_flag(worker->task, TIF_USER_RETURN_NOTIFY);
	gsched_inject(GSCHED_POINT_FLAG);
	/* An IPI if it runs on another CPU; no lock of the scheduler's. */
	kick_process(worker->task);
#endif
}

/* The worker is to give way. */
static void poke(struct gsched_worker *worker)
{
	lockdep_assert_held(&worker->context->lock);
	trace_gsched_kick(worker, worker->proc);
	if (worker->context->sigurg) {
		gsched_proc_ring(worker, GSCHED_PREEMPT);
		return;
	}
	WRITE_ONCE(worker->preempt, true);
	WRITE_ONCE(worker->refused, false);
	through(worker);
}

/* The owner of the only proc is to say whether there is still demand for it. */
static bool ask(struct gsched_context *context)
{
	struct gsched_worker *worker;

	if (context->procs_used != 1)
		return false;
	worker = gsched_proc_owner(context, 0);
	if (!worker)
		return false;
	context->resting = true;
	WRITE_ONCE(worker->rest, true);
	if (context->sigurg)
		irq_work_queue(&worker->signal);
	else
		through(worker);
	return true;
}

/* One proc; returns whether there is demand for it while it is held. left: for any. */
static bool look(struct gsched_context *context, unsigned int p, u64 now, bool left)
{
	struct gsched_worker *worker = gsched_proc_owner(context, p);
	struct gsched_seen *seen = &context->seen[p];
	u32 tick;

	if (!worker || !runs(worker))
		return false;
	tick = READ_ONCE(context->procs[p].tick);
	if (seen->owner != worker->id || seen->tick != tick) {
		seen->owner = worker->id;
		seen->tick = tick;
		seen->since = now;
	}
	if (!left && !gsched_proc_wanted(context, p))
		return false;
	/* We saw it up to a period after it began. */
	if (now - seen->since + period_ns(context) >= slice_ns(context) &&
	    !worker->preempt && gsched_proc_relief(context)) {
		context->preempts++;
		poke(worker);
	}
	return true;
}

static bool look_at_all(struct gsched_context *context)
{
	/* Under the lock: no slice that has begun begins after it. */
	u64 now = ktime_get_ns();
	bool left = gsched_proc_left(context), wanted = false;
	unsigned int p;

	for (p = 0; p < context->procs_used; p++)
		wanted |= look(context, p, now, left);
	return wanted;
}

/* No demand was seen: the tick ends, if that is still so. Returns whether it goes on. */
static bool end(struct gsched_context *context)
{
	bool wanted;

	WRITE_ONCE(context->header->ticking, 0);
	gsched_inject(GSCHED_POINT_REST);
	/* Pairs with the fence of Enqueue, see the head of this file. */
	smp_mb();
	wanted = look_at_all(context);
	if (wanted)
		WRITE_ONCE(context->header->ticking, 1);
	context->ticking = wanted;
	return wanted;
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	struct gsched_context *context = container_of(timer, struct gsched_context, tick);
	bool go_on;

	gsched_inject(GSCHED_POINT_TICK);
	raw_spin_lock(&context->lock);
	context->ticks++;
	go_on = look_at_all(context);
	if (!go_on && !ask(context))
		go_on = end(context);
	raw_spin_unlock(&context->lock);
	if (!go_on)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, ns_to_ktime(period_ns(context)));
	return HRTIMER_RESTART;
}

static void start_timer(struct gsched_context *context)
{
	hrtimer_start(&context->tick, ns_to_ktime(period_ns(context)), HRTIMER_MODE_REL_HARD);
}

/* False: it goes on already, or there is nobody to be told. */
static bool start(struct gsched_context *context)
{
	lockdep_assert_held(&context->lock);
	if ((context->ticking && !context->resting) || !context->trampoline)
		return false;
	context->ticking = true;
	context->resting = false;
	WRITE_ONCE(context->header->ticking, 1);
	start_timer(context);
	return true;
}

/**
 * gsched_tick_rest() - the tick would end, and asks the owner of the only proc
 * @worker: of the current thread, about to return to user mode; interrupts off
 */
void gsched_tick_rest(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;

	raw_spin_lock(&context->lock);
	WRITE_ONCE(worker->rest, false);
	if (context->resting && worker->proc == 0) {
		context->resting = false;
		if (look_at_all(context) || end(context))
			start_timer(context);
	}
	raw_spin_unlock(&context->lock);
}

/**
 * gsched_tick_need() - a worker has got a proc: start the tick if others wait
 * @context: locked
 * @p: the proc
 */
void gsched_tick_need(struct gsched_context *context, unsigned int p)
{
	if (!context->resting && context->ticking)
		return;
	if (context->resting || gsched_proc_wanted(context, p) || gsched_proc_left(context))
		start(context);
}

/**
 * gsched_tick_retired() - a proc has retired: start the tick if its queue is not empty
 * @context: locked
 * @p: the proc; the change of its owner is a full barrier, which orders the look
 */
void gsched_tick_retired(struct gsched_context *context, unsigned int p)
{
	if ((context->resting || !context->ticking) && gsched_proc_left(context))
		start(context);
}

/**
 * gsched_tick_back() - a worker that had kept its proc while it did not run is switched in
 * @worker: of the current thread
 *
 * The tick ends while all owners are stopped, frozen or asleep inside the runtime; whoever
 * comes back starts it again.
 */
void gsched_tick_back(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;
	unsigned long flags;

	raw_spin_lock_irqsave(&context->lock, flags);
	WRITE_ONCE(worker->off, false);
	if (worker->proc != GSCHED_NONE)
		gsched_tick_need(context, worker->proc);
	raw_spin_unlock_irqrestore(&context->lock, flags);
}

/**
 * gsched_tick_start() - TICK: user space queued a fiber while the tick stood
 * @context: the context
 *
 * Whoever has been seen, and has had his slice since while nobody waited, gives way now. When
 * he queued that fiber himself, it runs before he can go on to block: no thread need be woken
 * for it. Whoever was scheduled while the tick stood begins his slice now.
 */
void gsched_tick_start(struct gsched_context *context)
{
	raw_spin_lock_irq(&context->lock);
	if (start(context))
		look_at_all(context);
	raw_spin_unlock_irq(&context->lock);
}

/**
 * gsched_tick_begin() - a worker goes on with its fiber on a proc: a slice begins
 * @worker: holds a proc; its context is locked
 *
 * Else the time that a fiber was blocked counted as its own, when nobody else ran there.
 */
void gsched_tick_begin(const struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;

	lockdep_assert_held(&context->lock);
	context->seen[worker->proc] = (struct gsched_seen){
		.owner = worker->id,
		.tick = READ_ONCE(context->procs[worker->proc].tick),
		.since = ktime_get_ns(),
	};
}

/**
 * gsched_tick_kick() - KICK: preempt the owner of a proc now
 * @context: the context
 * @p: a proc, checked by the caller
 */
void gsched_tick_kick(struct gsched_context *context, u32 p)
{
	struct gsched_worker *worker;

	raw_spin_lock_irq(&context->lock);
	worker = gsched_proc_owner(context, p);
	if (worker)
		poke(worker);
	raw_spin_unlock_irq(&context->lock);
}

/**
 * gsched_tick_init() - the tick of a context that nobody knows yet
 * @context: its trampoline is set
 */
void gsched_tick_init(struct gsched_context *context)
{
	unsigned int p;

	gsched_hrtimer_setup(&context->tick, tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	for (p = 0; p < GSCHED_MAXPROCS; p++)
		context->seen[p].owner = GSCHED_NONE;
	/* Nobody can be told: so nobody need ask for it. */
	context->header->ticking = !context->trampoline;
}

/**
 * gsched_tick_exit() - stop it for good
 * @context: without workers
 */
void gsched_tick_exit(struct gsched_context *context)
{
	hrtimer_cancel(&context->tick);
}
