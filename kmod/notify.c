// SPDX-License-Identifier: GPL-2.0
/*
 * What the scheduler tells us, and what we do with it.
 *
 * Two hooks. The preempt notifier of a worker is called when its thread is
 * switched out and in. The user-return notifier, one per CPU, is called last
 * before the CPU returns to user mode, if the thread flag
 * TIF_USER_RETURN_NOTIFY is set. It stays registered while the CPU is online:
 * its list is not interrupt-safe, and KVM's, too.
 *
 *	switched out	blocked: hand the proc off (A)
 *			dead: end of the worker (B)
 *	switched in	away, or another mm: set the flag
 *	user return	away: the return rule (A); another mm, after exec: end (C)
 *
 * The flag belongs to the CPU and so moves to the next thread at a context
 * switch. A worker that is preempted on its way out gets it again when it is
 * switched in; another thread that got it finds no worker and clears it, unless
 * others than us are on the CPU's list.
 *
 * Without redirects, by the machine or by choice (context->sigurg), there is no user
 * return: the return rule is done in sched_in, and a worker that did exec is taken out of
 * its context there and freed at (B).
 *
 * Notifiers are registered and unregistered by their own thread, never from
 * within sched_in or sched_out. At (B) it stays registered with a thread that
 * never runs again; at (C), in DETACH, and when exec closes the descriptor, it
 * is unregistered.
 */
#include <linux/cpuhotplug.h>
#include <linux/err.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include "compat.h"
#include "gsched.h"
#include "inject.h"

#if GSCHED_REDIRECT
#include <linux/user-return-notifier.h>

/**
 * struct user_return - what a CPU has registered, with interrupts off
 * @notifier: on the CPU's list
 * @head: that list's
 */
struct user_return {
	struct user_return_notifier notifier;
	struct hlist_node **head;
};

static DEFINE_PER_CPU(struct user_return, user_returns);
static enum cpuhp_state online_state;
#endif

/* Did exec replace the program? While exiting there is no mm at all. */
static bool other_program(const struct gsched_worker *worker)
{
	return current->mm && current->mm != worker->context->mm;
}

/* Once: nobody finds it any more. */
static void leave(struct gsched_worker *worker)
{
	if (!worker->gone)
		gsched_proc_leave(worker);
	worker->gone = true;
}

/* All that others do on the way to user mode. */
static void sched_in_sigurg(struct gsched_worker *worker)
{
	unsigned long flags;

	if (other_program(worker)) {
		leave(worker);
	} else if (worker->away && !gsched_exiting(current)) {
		local_irq_save(flags);
		gsched_proc_return(worker);
		local_irq_restore(flags);
	}
}

static void sched_in(struct preempt_notifier *notifier, int cpu)
{
	struct gsched_worker *worker = container_of(notifier, struct gsched_worker, notifier);

	gsched_inject(GSCHED_POINT_IN);
	/* Pairs with the one in the tick's runs(): this CPU's note that it runs comes first. */
	smp_mb();
	if (READ_ONCE(worker->off))
		gsched_tick_back(worker);
	if (worker->context->sigurg) {
		sched_in_sigurg(worker);
		return;
	}
#if GSCHED_REDIRECT
	if (worker->away || READ_ONCE(worker->preempt) || READ_ONCE(worker->rest) ||
	    other_program(worker))
		set_thread_flag(TIF_USER_RETURN_NOTIFY);
#endif
}

static void sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	struct gsched_worker *worker = container_of(notifier, struct gsched_worker, notifier);
	unsigned int state = READ_ONCE(current->__state);
	bool comes_back = !gsched_exiting(current) && current->mm == worker->context->mm;

	if (state == TASK_DEAD) {
		gsched_inject(GSCHED_POINT_LEAVE);
		leave(worker);
		irq_work_queue(&worker->dead);
		return;
	}
	/* Who does not come back may have been granted one. */
	if ((worker->proc == GSCHED_NONE && comes_back) || !gsched_dequeued())
		return;
	/*
	 * Job control, debuggers and freezers stop a thread: it is not blocked. Nor is it
	 * where PREEMPT_RT has it wait for what is a spinlock elsewhere, nor when another CPU
	 * is waking it already, whatever it waited for.
	 */
	if (state & (TASK_RTLOCK_WAIT | TASK_WAKING))
		return;
	if ((state & (__TASK_STOPPED | __TASK_TRACED)) || gsched_frozen()) {
		WRITE_ONCE(worker->off, true);
		return;
	}
	gsched_proc_handoff(worker, comes_back);
}

static struct preempt_ops notifier_ops = {
	.sched_in = sched_in,
	.sched_out = sched_out,
};

/**
 * gsched_notify_current() - the worker that the calling thread is
 *
 * Return: the worker, of whatever context, or NULL.
 */
struct gsched_worker *gsched_notify_current(void)
{
	struct preempt_notifier *notifier;

	hlist_for_each_entry(notifier, &current->preempt_notifiers, link)
		if (notifier->ops == &notifier_ops)
			return container_of(notifier, struct gsched_worker, notifier);
	return NULL;
}

#if GSCHED_REDIRECT
/*
 * An upcall is due. A refusal that passes leaves it due: the flag makes the next
 * way out of the kernel try again. Out of an rseq section it is helped: the
 * kernel aborts that on its way out after an event, and the interrupt makes
 * another way out follow at once.
 */
static void tell(struct gsched_worker *worker, u32 reason)
{
	enum gsched_refusal why = gsched_upcall(worker, reason);

	gsched_proc_told(worker, reason, why);
	worker->aborted = why == GSCHED_REFUSED_RSEQ;
	switch (why) {
	case GSCHED_REFUSED_NOT:
	case GSCHED_REFUSED_DEPTH:
	case GSCHED_REFUSED_NO_TRAMPOLINE:
		break;
	case GSCHED_REFUSED_RSEQ:
		gsched_rseq_abort();
		irq_work_queue(&worker->again);
		fallthrough;
	default:
		set_thread_flag(TIF_USER_RETURN_NOTIFY);
	}
}

/*
 * The flag is there for all on the list: one who stays there, too, wants to be called at every
 * return. KVM takes itself off when it is called; the flag goes at the next return then.
 */
static void clear_flag(struct user_return_notifier *notifier)
{
	const struct hlist_node *link = &notifier->link;

	if (!link->next && link->pprev == this_cpu_ptr(&user_returns)->head)
		clear_thread_flag(TIF_USER_RETURN_NOTIFY);
}

/* Interrupts are off, and nothing comes after this but user mode. */
static void on_user_return(struct user_return_notifier *notifier)
{
	struct gsched_worker *worker = gsched_notify_current();
	bool lost = false;

	clear_flag(notifier);
	if (!worker || worker->context->sigurg)
		return;
	if (other_program(worker)) {
		preempt_notifier_unregister(&worker->notifier);
		leave(worker);
		irq_work_queue(&worker->dead);
		return;
	}
	if (READ_ONCE(worker->rest))
		gsched_tick_rest(worker);
	if (worker->away) {
		gsched_inject(GSCHED_POINT_RETURN);
		lost = gsched_proc_return(worker);
	}
	if (lost) {
		gsched_inject(GSCHED_POINT_TELL);
		tell(worker, GSCHED_LOST);
	} else if (READ_ONCE(worker->preempt) &&
		   !(READ_ONCE(worker->refused) && gsched_proc_heeded(worker))) {
		tell(worker, GSCHED_PREEMPT);
	}
}
#endif /* GSCHED_REDIRECT */

/**
 * gsched_notify_detach() - DETACH
 * @worker: of the calling thread; freed
 */
void gsched_notify_detach(struct gsched_worker *worker)
{
	preempt_disable();
	preempt_notifier_unregister(&worker->notifier);
	preempt_enable();
	gsched_inject(GSCHED_POINT_DETACH);
	leave(worker);
	gsched_worker_free(worker);
}

/**
 * gsched_notify_attach() - ATTACH
 * @context: of the calling process
 *
 * Return: index of the new worker, or an errno.
 */
int gsched_notify_attach(struct gsched_context *context)
{
	struct gsched_worker *worker = gsched_notify_current();

	if (worker && other_program(worker)) {
		/* A new program, not switched out since it began: see sched_in(). */
		gsched_notify_detach(worker);
		worker = NULL;
	}
	if (worker)
		return -EBUSY;
	worker = gsched_worker_create(context);
	if (IS_ERR(worker))
		return PTR_ERR(worker);
	preempt_notifier_init(&worker->notifier, &notifier_ops);
	preempt_disable();
	preempt_notifier_register(&worker->notifier);
	preempt_enable();
	return worker->id;
}

/**
 * gsched_notify_close() - a descriptor is being closed
 * @context: of the descriptor
 *
 * If exec does that (O_CLOEXEC), the worker can end here and now. There is no
 * way back for exec then, though it may not have replaced the mm yet. Without
 * O_CLOEXEC the next sched_in sees that it did.
 */
void gsched_notify_close(struct gsched_context *context)
{
	struct gsched_worker *worker = gsched_notify_current();

	if (worker && worker->context == context && current->in_execve)
		gsched_notify_detach(worker);
}

#if GSCHED_REDIRECT
static int online(unsigned int cpu)
{
	struct user_return *r = this_cpu_ptr(&user_returns);
	unsigned long flags;

	r->notifier.on_user_return = on_user_return;
	local_irq_save(flags);
	user_return_notifier_register(&r->notifier);
	/* Whoever is registered last is first. */
	r->head = r->notifier.link.pprev;
	local_irq_restore(flags);
	return 0;
}

static int offline(unsigned int cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	user_return_notifier_unregister(&this_cpu_ptr(&user_returns)->notifier);
	local_irq_restore(flags);
	return 0;
}

int gsched_notify_init(void)
{
	int ret;

	preempt_notifier_inc();
	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "gsched:online", online, offline);
	if (ret < 0) {
		preempt_notifier_dec();
		return ret;
	}
	online_state = ret;
	return 0;
}

void gsched_notify_exit(void)
{
	cpuhp_remove_state(online_state);
	preempt_notifier_dec();
}
#else
int gsched_notify_init(void)
{
	preempt_notifier_inc();
	return 0;
}

void gsched_notify_exit(void)
{
	preempt_notifier_dec();
}
#endif /* GSCHED_REDIRECT */
