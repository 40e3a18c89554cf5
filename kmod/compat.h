/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions and configurations: here and nowhere
 * else.
 */
#ifndef _GSCHED_COMPAT_H
#define _GSCHED_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/sched/jobctl.h>
#include <linux/task_work.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#if !defined(CONFIG_PREEMPT_NOTIFIERS)
#error "gsched needs CONFIG_PREEMPT_NOTIFIERS (KVM selects it)"
#endif

/*
 * GSCHED_TASK_WORK (Kbuild): this kernel exports task_work_add(). Else SIGURG is no choice,
 * and there must be redirects. GSCHED_NO_TASK_WORK is for trying that out.
 */
#if defined(GSCHED_TASK_WORK) && !defined(GSCHED_NO_TASK_WORK)
#define GSCHED_SIGURG	1
#define gsched_task_work_add(task, work)	task_work_add((task), (work), TWA_RESUME)
#else
#define GSCHED_SIGURG	0
#define gsched_task_work_add(task, work)	((void)(work), -EOPNOTSUPP)
#endif

/*
 * The caller's CLOCK_MONOTONIC may be that of a time namespace: the host's time for its
 * deadline. timens_ktime_to_host() does that, but not for modules.
 */
static inline ktime_t gsched_deadline(u64 deadline)
{
	s64 at = min_t(u64, deadline, KTIME_MAX), offset;
	struct timespec64 ts = {};

	timens_add_monotonic(&ts);
	offset = timespec64_to_ns(&ts);
	if (offset > 0)
		return at == KTIME_MAX ? at : max_t(s64, at - offset, 0);
	return at > KTIME_MAX + offset ? KTIME_MAX : at - offset;
}

/*
 * It will not go to user mode again. PF_EXITING comes later than it may sleep, for io_uring's
 * workers and for a lock of cgroups; the other one is the first that do_exit() sets.
 */
static inline bool gsched_exiting(const struct task_struct *task)
{
	return READ_ONCE(task->flags) & (PF_EXITING | PF_POSTCOREDUMP);
}

/* Does it run? Switched out, preempted or not, it does not. */
static inline bool gsched_on_cpu(const struct task_struct *task)
{
#ifdef CONFIG_SMP
	return READ_ONCE(task->on_cpu);
#else
	return task == current;
#endif
}

/* For current in sched_out: did it leave the run queue? */
static inline bool gsched_dequeued(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	/* A sleeper may stay on the queue for its lag: delayed dequeue. */
	return !task_is_runnable(current);
#else
	return !current->on_rq;
#endif
}

/* For current in sched_out, dequeued: is it frozen by a cgroup or by suspend? */
static inline bool gsched_frozen(void)
{
	if (READ_ONCE(current->__state) & TASK_FROZEN)
		return true;
#ifdef CONFIG_CGROUPS
	/*
	 * current->frozen alone says too much: a thread that waits for its
	 * vfork child has it, too. The trap tells the freezer's sleep.
	 */
	return current->frozen && (READ_ONCE(current->jobctl) & JOBCTL_TRAP_FREEZE);
#else
	return false;
#endif
}

/*
 * @task sleeps and is about to be woken here, by a CPU that has just become free: let the
 * choice of a CPU for it begin with this one, not with the one it slept on. The
 * workqueues do the same for their workers; a hint, so races do no harm.
 */
static inline void gsched_wake_here(struct task_struct *task)
{
#ifdef CONFIG_SMP
	int cpu = raw_smp_processor_id();

	if (cpumask_test_cpu(cpu, task->cpus_ptr))
		WRITE_ONCE(task->wake_cpu, cpu);
#endif
}

static inline void gsched_hrtimer_setup(struct hrtimer *timer,
					enum hrtimer_restart (*fn)(struct hrtimer *),
					clockid_t clock, enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, fn, clock, mode);
#else
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
#endif
}

#ifdef CONFIG_RSEQ
/* Is current inside an rseq section, or can that not be told? Faults nothing in. */
static inline bool gsched_rseq_busy(void)
{
	u64 section;

	if (!current->rseq)
		return false;
	return copy_from_user_nofault(&section, &current->rseq->rseq_cs, sizeof(section)) ||
	       section;
}

/* The next way out of the kernel aborts the section, as after a preemption. */
static inline void gsched_rseq_abort(void)
{
	rseq_preempt(current);
}
#else
static inline bool gsched_rseq_busy(void)
{
	return false;
}

static inline void gsched_rseq_abort(void)
{
}
#endif

static inline void gsched_vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set,
				       vm_flags_t clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

#endif /* _GSCHED_COMPAT_H */
