// SPDX-License-Identifier: GPL-2.0
/*
 * Looks whether the return rule is kept: off by default, and then free of cost.
 *
 * A timer on each CPU interrupts whatever runs there. If that is a worker in user mode,
 * with its depth at 0, it runs code of a fiber, and must have a proc. No proc is in two
 * hands (that is looked at, too), so as long as each worker that runs a fiber has one,
 * there are never more of them than procs: what is found on one CPU says so, and the CPUs
 * need not be stopped to be counted at the same instant.
 *
 * Without a proc a fiber may run on for these reasons only, which are counted: the upcall
 * was refused, for a reason that holds now or held at the last way out of the kernel and is
 * tried again at this one; or its program was told in another way, by slot.pending alone or
 * by SIGURG, and has not acted upon it yet.
 */
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/ptrace.h>
#include <linux/smp.h>
#include <asm/irq_regs.h>
#include "compat.h"
#include "gsched.h"

#define SAMPLE_MIN_US	10
#define SAMPLE_MAX_US	USEC_PER_SEC

static DEFINE_PER_CPU(struct hrtimer, sample_timer);
static DEFINE_MUTEX(sample_mutex);
static u64 sample_us;	/* written under sample_mutex */

static bool due(void)
{
#if GSCHED_REDIRECT
	return test_thread_flag(TIF_USER_RETURN_NOTIFY);
#else
	return false;
#endif
}

static enum gsched_sample classify(const struct gsched_worker *worker,
				   const struct pt_regs *regs, enum gsched_refusal *why)
{
	const struct gsched_context *context = worker->context;

	if (READ_ONCE(worker->slot->depth))
		return GSCHED_SAMPLED_RUNTIME;
	if (worker->proc != GSCHED_NONE)
		return context->owner[worker->proc] == worker->id + 1 ? GSCHED_SAMPLED_FIBER :
									GSCHED_SAMPLED_VIOLATION;
	if (!worker->away)
		return GSCHED_SAMPLED_VIOLATION;
	if (worker->told && (context->sigurg || worker->why != GSCHED_REFUSED_NOT))
		return GSCHED_SAMPLED_TOLD;
	*why = gsched_upcall_check(worker, regs);
	if (*why == GSCHED_REFUSED_NOT && due())
		*why = worker->why;
	return *why == GSCHED_REFUSED_NOT ? GSCHED_SAMPLED_VIOLATION : GSCHED_SAMPLED_REFUSED;
}

static void sample(void)
{
	const struct pt_regs *regs = get_irq_regs();
	enum gsched_refusal why = GSCHED_REFUSED_NOT;
	struct gsched_worker *worker;
	enum gsched_sample what;

	if (!regs || !user_mode((struct pt_regs *)regs))
		return;
	worker = gsched_notify_current();
	if (!worker || current->mm != worker->context->mm)
		return;
	/* Nothing of ours can have been interrupted: it was user mode. */
	raw_spin_lock(&worker->context->lock);
	what = classify(worker, regs, &why);
	gsched_debug_sampled(worker, what, why);
	raw_spin_unlock(&worker->context->lock);
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	u64 us = READ_ONCE(sample_us);

	if (!us)
		return HRTIMER_NORESTART;
	sample();
	hrtimer_forward_now(timer, ns_to_ktime(us * NSEC_PER_USEC));
	return HRTIMER_RESTART;
}

static void start(void *unused)
{
	hrtimer_start(this_cpu_ptr(&sample_timer), ns_to_ktime(sample_us * NSEC_PER_USEC),
		      HRTIMER_MODE_REL_PINNED_HARD);
}

/**
 * gsched_sample_set() - look so often on each CPU that is online now
 * @us: every so many microseconds, 0 never
 *
 * Process context.
 *
 * Return: 0 or -EINVAL.
 */
int gsched_sample_set(u64 us)
{
	unsigned int cpu;

	if (us && (us < SAMPLE_MIN_US || us > SAMPLE_MAX_US))
		return -EINVAL;
	mutex_lock(&sample_mutex);
	if (sample_us) {
		WRITE_ONCE(sample_us, 0);
		for_each_possible_cpu(cpu)
			hrtimer_cancel(per_cpu_ptr(&sample_timer, cpu));
	}
	WRITE_ONCE(sample_us, us);
	if (us) {
		for_each_possible_cpu(cpu)
			gsched_hrtimer_setup(per_cpu_ptr(&sample_timer, cpu), tick,
					     CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
		on_each_cpu(start, NULL, 1);
	}
	mutex_unlock(&sample_mutex);
	return 0;
}

u64 gsched_sample_get(void)
{
	return READ_ONCE(sample_us);
}
