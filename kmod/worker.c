// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: one attached thread, its life and its sleep.
 *
 * Life. Made by ATTACH, ended in one of three places (notify.c): DETACH, the
 * last sched_out of the thread, and the return to user mode of a thread that
 * did exec. Each of them first takes the worker out of the table under the
 * lock of the context (gsched_proc_leave()); from there on:
 *   1. nobody finds it: table, list of stand-bys and owner words are all read
 *      under that lock, and it is in none of them any more;
 *   2. no wake-up or signal is queued for it any more: that happens under the same lock,
 *      to workers found in the table or on the list. One queued before is
 *      waited for by irq_work_sync(). A ring that its thread has not come to yet
 *      is the thread's own to come: it is freed there;
 *   3. the scheduler does not call it any more: its notifier was unregistered,
 *      or its thread will not run again;
 *   4. so gsched_worker_free() frees the last pointer to it. Where nothing may
 *      sleep the way there is an irq_work, which also lets the scheduler finish
 *      its walk over the notifiers, and a work item.
 */
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <asm/syscall.h>
#include "compat.h"
#include "gsched.h"
#include "inject.h"
#include "trace.h"
#include "upcall.h"

/* How late a deadline may be, so that timers of several workers may fire at once. */
#define SLACK_NS	(10 * NSEC_PER_USEC)

static void wake(struct irq_work *work)
{
	struct gsched_worker *worker = container_of(work, struct gsched_worker, wake);

	/* It may be up already, and asleep elsewhere: a spurious wake-up then. */
	wake_up_process(worker->task);
}

/*
 * SIGURG is sent by the thread itself, on its way to user mode, and so ends no call that
 * sleeps. A reason that comes while ring() is on its way needs no other one:
 *
 *	gsched_proc_ring(), then signal()	ring()
 *	pending |= reason			ringing = 0
 *	full barrier (xchg)			full barrier (xchg)
 *	ringing was 0? add ring()		pending?  send
 *
 * Forbidden: a reason is pending, and neither is ring() to come nor has it seen it. depth is
 * the thread's own: where it is raised, the runtime looks at pending when it lowers it.
 */
static bool orphans;	/* there was one: set by ring(), read when the module goes */

static void signal(struct irq_work *work)
{
	struct gsched_worker *worker = container_of(work, struct gsched_worker, signal);

	if (atomic_xchg(&worker->ringing, 1))
		return;
	/* Not any more, where it exits. */
	if (gsched_task_work_add(worker->task, &worker->ring))
		atomic_set(&worker->ringing, 0);
}

/*
 * A call that was woken by no signal of the program's, but by a debugger, a stop, the freezer,
 * or io_uring, begins anew or goes on unseen. A handler would end it, SA_RESTART or not.
 */
static bool call_goes_on(void)
{
	const struct pt_regs *regs = task_pt_regs(current);
	long err;

	if (syscall_get_nr(current, (struct pt_regs *)regs) >= 0) {
		err = syscall_get_error(current, (struct pt_regs *)regs);
		if (err == -ERESTARTNOHAND || err == -ERESTART_RESTARTBLOCK)
			return true;
	}
	return gsched_upcall_restarts(regs);
}

static void ring(struct callback_head *head)
{
	struct gsched_worker *worker = container_of(head, struct gsched_worker, ring);
	bool masked = sigismember(&current->blocked, SIGURG);
	struct kernel_siginfo info;

	atomic_xchg(&worker->ringing, 0);
	if (worker->orphan) {
		gsched_inject(GSCHED_POINT_ORPHAN);
		WRITE_ONCE(orphans, true);
		queue_work(gsched_wq, &worker->free);
		return;
	}
	if (current->mm != worker->context->mm)
		return;
	if (READ_ONCE(worker->rest)) {
		local_irq_disable();
		gsched_tick_rest(worker);
		local_irq_enable();
	}
	if (!gsched_proc_rung(worker, masked, call_goes_on()))
		return;
	clear_siginfo(&info);
	info.si_signo = SIGURG;
	info.si_code = SI_KERNEL;
	info.si_errno = GSCHED_SI_ERRNO;
	send_sig_info(SIGURG, &info, current);
}

static void free_work(struct work_struct *work)
{
	struct gsched_worker *worker = container_of(work, struct gsched_worker, free);

	worker->orphan = false;
	gsched_worker_free(worker);
}

static void dead(struct irq_work *work)
{
	struct gsched_worker *worker = container_of(work, struct gsched_worker, dead);

	queue_work(gsched_wq, &worker->free);
}

static void again(struct irq_work *work)
{
}

/* A free index whose slot exists, or an errno. */
static int slot_get(struct gsched_context *context)
{
	unsigned int id = find_first_zero_bit(context->index, GSCHED_MAXWORKERS);
	struct gsched_chunk *chunk;

	lockdep_assert_held(&context->mutex);
	if (id >= GSCHED_MAXWORKERS)
		return -ENOSPC;
	if (!context->chunk[id / GSCHED_CHUNK_SLOTS]) {
		chunk = kzalloc(sizeof(*chunk), GFP_KERNEL_ACCOUNT);
		if (!chunk)
			return -ENOMEM;
		chunk->slots = gsched_shared_alloc(GSCHED_CHUNK_SIZE);
		if (!chunk->slots) {
			kfree(chunk);
			return -ENOMEM;
		}
		/* Pairs with shared.c:gsched_shared_mmap() and context.c. */
		smp_store_release(&context->chunk[id / GSCHED_CHUNK_SLOTS], chunk);
	}
	/* Only we set bits. Pairs with the release in gsched_worker_free(). */
	test_and_set_bit(id, context->index);
	return id;
}

/**
 * gsched_worker_exit() - the module goes, without workers
 *
 * The last instructions of a ring() may be all that is left of its context.
 */
void gsched_worker_exit(void)
{
	if (READ_ONCE(orphans))
		synchronize_rcu_tasks();
}

/**
 * gsched_worker_create() - make the calling thread a worker
 * @context: of the caller
 *
 * Return: a worker without a proc that others can find already, or ERR_PTR().
 */
struct gsched_worker *gsched_worker_create(struct gsched_context *context)
{
	struct gsched_worker *worker;
	struct gsched_chunk *chunk;
	int id;

	worker = kzalloc(sizeof(*worker), GFP_KERNEL_ACCOUNT);
	if (!worker)
		return ERR_PTR(-ENOMEM);
	mutex_lock(&context->mutex);
	id = slot_get(context);
	mutex_unlock(&context->mutex);
	if (id < 0) {
		kfree(worker);
		return ERR_PTR(id);
	}
	gsched_context_get(context);
	chunk = context->chunk[id / GSCHED_CHUNK_SLOTS];
	worker->context = context;
	worker->task = get_task_struct(current);
	worker->id = id;
	worker->slot = (struct gsched_slot *)chunk->slots->addr + id % GSCHED_CHUNK_SLOTS;
	worker->proc = GSCHED_NONE;
	worker->last = GSCHED_NONE;
	worker->grant = GSCHED_NONE;
	INIT_LIST_HEAD(&worker->standby);
	worker->wake = IRQ_WORK_INIT_HARD(wake);
	worker->signal = IRQ_WORK_INIT_HARD(signal);
	init_task_work(&worker->ring, ring);
	worker->dead = IRQ_WORK_INIT_HARD(dead);
	worker->again = IRQ_WORK_INIT_HARD(again);
	INIT_WORK(&worker->free, free_work);

	memset(worker->slot, 0, sizeof(*worker->slot));
	WRITE_ONCE(worker->slot->depth, 1);
	gsched_debug_workers(1);

	raw_spin_lock_irq(&context->lock);
	chunk->worker[id % GSCHED_CHUNK_SLOTS] = worker;
	WRITE_ONCE(context->header->workers, ++context->nworkers);
	trace_gsched_attach(worker, GSCHED_NONE);
	raw_spin_unlock_irq(&context->lock);
	return worker;
}

/**
 * gsched_worker_free() - free a worker that nobody can find any more
 * @worker: after gsched_proc_leave(), and no longer called by the scheduler
 *
 * Process context. May free the context, too.
 */
void gsched_worker_free(struct gsched_worker *worker)
{
	struct gsched_context *context = worker->context;

	gsched_inject(GSCHED_POINT_FREE);
	irq_work_sync(&worker->wake);
	irq_work_sync(&worker->signal);
	irq_work_sync(&worker->dead);
	irq_work_sync(&worker->again);
	if (atomic_read(&worker->ringing)) {
		/* Its thread is this one: those that exit do their task work before. */
		worker->orphan = true;
		return;
	}
	/* No mutex: whoever holds it may be slow, and others' workers wait behind this one. */
	clear_bit_unlock(worker->id, context->index);
	put_task_struct(worker->task);
	/* PREEMPT_RT looks at an irq_work once more after irq_work_sync() may return. */
	kfree_rcu(worker, rcu);
	gsched_debug_workers(-1);
	gsched_context_put(context);
}

/**
 * gsched_worker_wait() - sleep until there is a grant
 * @worker: of the calling thread, parked
 * @deadline: CLOCK_MONOTONIC ns at which to give up, 0 never
 *
 * Whoever grants stores the grant under the lock and then wakes:
 *
 *	here				granter
 *	state = INTERRUPTIBLE		grant = p
 *	full barrier			full barrier (in the wake-up)
 *	grant?  no: sleep		state?  wake
 *
 * so one of the two sees the other, and a grant is never slept over. Without
 * the lock the answer may be outdated at once: the caller looks under it.
 *
 * Return: 0 there was a grant, -EINTR, -ETIMEDOUT.
 */
int gsched_worker_wait(struct gsched_worker *worker, u64 deadline)
{
	ktime_t expires = gsched_deadline(deadline);
	int err;

	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		gsched_inject(GSCHED_POINT_WAIT);
		err = 0;
		if (READ_ONCE(worker->grant) != GSCHED_NONE)
			break;
		err = -EINTR;
		if (signal_pending(current))
			break;
		err = -ETIMEDOUT;
		if (!schedule_hrtimeout_range(deadline ? &expires : NULL, SLACK_NS,
					      HRTIMER_MODE_ABS))
			break;
	}
	__set_current_state(TASK_RUNNING);
	return err;
}
