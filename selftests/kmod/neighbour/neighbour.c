// SPDX-License-Identifier: GPL-2.0
/*
 * Another user of the notifiers that gsched lives on, as KVM is one: does to its own what
 * the words say that are written to the parameter "act", and counts its calls in "calls".
 *
 *	in N, out N	preempt notifier N of the writing thread is registered, unregistered
 *	once, stay	the user-return notifier of this CPU is registered; it unregisters
 *			itself when it is called, as KVM's, or stays
 *	gone		it is unregistered
 *	irq WORD	the same in an interrupt of this CPU
 *	all		in an interrupt of each CPU one of the three, at random
 */
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/user-return-notifier.h>

#define NR_NOTIFIERS 4

enum what { ONCE, STAY, GONE, NR_WHATS };

static const char *const words[NR_WHATS] = {"once", "stay", "gone"};

/**
 * struct side - what belongs to a CPU, with interrupts off
 * @notifier: see on_user_return()
 * @registered: is it?
 * @once: unregister at the next call
 * @work: does @what in an interrupt
 * @what: for @work
 * @seed: of the random numbers
 */
struct side {
	struct user_return_notifier notifier;
	bool registered;
	bool once;
	struct irq_work work;
	enum what what;
	u32 seed;
};

static DEFINE_PER_CPU(struct side, sides);
static struct preempt_notifier notifiers[NR_NOTIFIERS];
static atomic_long_t ins, outs, returns;

static void on_user_return(struct user_return_notifier *notifier)
{
	struct side *side = container_of(notifier, struct side, notifier);

	atomic_long_inc(&returns);
	if (side->once) {
		side->registered = false;
		user_return_notifier_unregister(notifier);
	}
}

static void act_here(enum what what)
{
	struct side *side = this_cpu_ptr(&sides);

	lockdep_assert_irqs_disabled();
	if (side->registered) {
		side->registered = false;
		user_return_notifier_unregister(&side->notifier);
	}
	if (what == GONE)
		return;
	side->once = what == ONCE;
	side->registered = true;
	side->notifier.on_user_return = on_user_return;
	user_return_notifier_register(&side->notifier);
}

static void in_irq_work(struct irq_work *work)
{
	struct side *side = container_of(work, struct side, work);

	act_here(side->what);
}

static void at_random(void *unused)
{
	struct side *side = this_cpu_ptr(&sides);

	side->seed = side->seed * 1664525 + 1013904223;
	act_here((side->seed >> 16) % NR_WHATS);
}

static void gone(void *unused)
{
	act_here(GONE);
}

static void sched_in(struct preempt_notifier *notifier, int cpu)
{
	atomic_long_inc(&ins);
}

static void sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	atomic_long_inc(&outs);
}

static struct preempt_ops ops = {
	.sched_in = sched_in,
	.sched_out = sched_out,
};

static int act_on_thread(const char *val)
{
	unsigned int n;
	bool in = sscanf(val, "in %u", &n) == 1;

	if ((!in && sscanf(val, "out %u", &n) != 1) || n >= NR_NOTIFIERS)
		return -EINVAL;
	if (in)
		preempt_notifier_init(&notifiers[n], &ops);
	preempt_disable();
	if (in)
		preempt_notifier_register(&notifiers[n]);
	else
		preempt_notifier_unregister(&notifiers[n]);
	preempt_enable();
	return 0;
}

static int act_on_cpu(const char *val)
{
	bool irq = !strncmp(val, "irq ", 4);
	int what = match_string(words, NR_WHATS, val + (irq ? 4 : 0));
	struct side *side;

	if (what < 0)
		return what;
	local_irq_disable();
	side = this_cpu_ptr(&sides);
	if (irq) {
		side->what = what;
		irq_work_queue(&side->work);
	} else {
		act_here(what);
	}
	local_irq_enable();
	if (irq)
		irq_work_sync(&side->work);
	return 0;
}

/* The lock of the parameters makes all of them one after the other. */
static int act(const char *val, const struct kernel_param *kp)
{
	int ret = act_on_thread(val);

	if (ret && !strcmp(val, "all"))
		ret = 0, on_each_cpu(at_random, NULL, 1);
	else if (ret)
		ret = act_on_cpu(val);
	return ret;
}

static const struct kernel_param_ops act_ops = {
	.set = act,
};
module_param_cb(act, &act_ops, NULL, 0200);

static int calls(char *buffer, const struct kernel_param *kp)
{
	return sprintf(buffer, "%ld %ld %ld\n", atomic_long_read(&ins), atomic_long_read(&outs),
		       atomic_long_read(&returns));
}

static const struct kernel_param_ops calls_ops = {
	.get = calls,
};
module_param_cb(calls, &calls_ops, NULL, 0400);

static int __init neighbour_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		per_cpu(sides, cpu).work = IRQ_WORK_INIT_HARD(in_irq_work);
		per_cpu(sides, cpu).seed = cpu;
	}
	preempt_notifier_inc();
	return 0;
}

static void __exit neighbour_exit(void)
{
	on_each_cpu(gone, NULL, 1);
	preempt_notifier_dec();
}

module_init(neighbour_init);
module_exit(neighbour_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A neighbour of gsched's, for its tests");
