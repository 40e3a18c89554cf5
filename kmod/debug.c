// SPDX-License-Identifier: GPL-2.0
/*
 * Statistics: per worker in its slot, per context in /proc/PID/fdinfo/FD, over
 * all in /sys/kernel/debug/gsched/stats. Nothing else depends on them.
 * /sys/kernel/debug/gsched/sample_us switches the samples of sample.c on.
 * The tracepoints of trace.h have their code here.
 */
#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/debugfs.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include "gsched.h"
#include "inject.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static const char * const names[GSCHED_NR_COUNTS] = {
	[GSCHED_BLOCKS]		= "blocks",
	[GSCHED_HANDOFFS]	= "handoffs",
	[GSCHED_RETURNS]	= "returns",
	[GSCHED_LOSTS]		= "lost",
	[GSCHED_DEPTH_BLOCKS]	= "depth_blocks",
	[GSCHED_GRANTS]		= "grants",
	[GSCHED_UPCALLS]	= "upcalls",
	[GSCHED_REFUSALS]	= "refusals",
};

static_assert(offsetof(struct gsched_slot, handoffs) ==
	      offsetof(struct gsched_slot, blocks) + GSCHED_HANDOFFS * sizeof(u64));
static_assert(offsetof(struct gsched_slot, refusals) ==
	      offsetof(struct gsched_slot, blocks) + GSCHED_REFUSALS * sizeof(u64));

static const char * const samples[GSCHED_NR_SAMPLES] = {
	[GSCHED_SAMPLED_FIBER]		= "fiber",
	[GSCHED_SAMPLED_RUNTIME]	= "runtime",
	[GSCHED_SAMPLED_TOLD]		= "told",
	[GSCHED_SAMPLED_REFUSED]	= "refused",
	[GSCHED_SAMPLED_VIOLATION]	= "violation",
};

static const char * const refusals[GSCHED_NR_REFUSALS] = {
	[GSCHED_REFUSED_NO_TRAMPOLINE]	= "no-trampoline",
	[GSCHED_REFUSED_DEPTH]		= "depth",
	[GSCHED_REFUSED_MASKED]		= "masked",
	[GSCHED_REFUSED_SIGSTACK]	= "sigstack",
	[GSCHED_REFUSED_STEP]		= "step",
	[GSCHED_REFUSED_MODE]		= "mode",
	[GSCHED_REFUSED_RESTART]	= "restart",
	[GSCHED_REFUSED_TAIL]		= "tail",
	[GSCHED_REFUSED_RSEQ]		= "rseq",
};

static atomic_t contexts;	/* live now */
static atomic_t workers;	/* live now */
static DEFINE_PER_CPU(u64[GSCHED_NR_COUNTS], counts);
static struct dentry *dir;

/**
 * gsched_debug_count() - count an event of a worker
 * @worker: its context is locked
 * @what: the event
 */
void gsched_debug_count(struct gsched_worker *worker, enum gsched_count what)
{
	u64 *count = &worker->slot->blocks + what;

	lockdep_assert_held(&worker->context->lock);
	WRITE_ONCE(*count, READ_ONCE(*count) + 1);
	worker->context->count[what]++;
	this_cpu_inc(counts[what]);
}

/**
 * gsched_debug_sampled() - count what a worker was seen doing
 * @worker: its context is locked
 * @what: that
 * @why: the reason of GSCHED_SAMPLED_REFUSED
 */
void gsched_debug_sampled(struct gsched_worker *worker, enum gsched_sample what,
			  enum gsched_refusal why)
{
	lockdep_assert_held(&worker->context->lock);
	worker->context->sampled[what]++;
	if (what == GSCHED_SAMPLED_REFUSED)
		worker->context->sampled_refused[why]++;
}

void gsched_debug_contexts(int change)
{
	atomic_add(change, &contexts);
}

void gsched_debug_workers(int change)
{
	atomic_add(change, &workers);
}

/* Anyone who may open the file of /proc may read this, whatever their mm. */
void gsched_debug_fdinfo(struct seq_file *m, struct gsched_context *context)
{
	u32 nproc, nidle, nstandby, nworkers;
	u64 count[GSCHED_NR_COUNTS], refused[GSCHED_NR_REFUSALS];
	u64 sampled[GSCHED_NR_SAMPLES], sampled_refused[GSCHED_NR_REFUSALS];
	u64 ticks, preempts;
	unsigned int i;

	raw_spin_lock_irq(&context->lock);
	nproc = context->nproc;
	nidle = context->nidle;
	nstandby = context->nstandby;
	nworkers = context->nworkers;
	memcpy(count, context->count, sizeof(count));
	memcpy(refused, context->refused, sizeof(refused));
	memcpy(sampled, context->sampled, sizeof(sampled));
	memcpy(sampled_refused, context->sampled_refused, sizeof(sampled_refused));
	ticks = context->ticks;
	preempts = context->preempts;
	raw_spin_unlock_irq(&context->lock);

	seq_printf(m, "gsched-nproc:\t%u\n", nproc);
	seq_printf(m, "gsched-idle:\t%u\n", nidle);
	seq_printf(m, "gsched-standby:\t%u\n", nstandby);
	seq_printf(m, "gsched-workers:\t%u\n", nworkers);
	for (i = 0; i < GSCHED_NR_COUNTS; i++)
		seq_printf(m, "gsched-%s:\t%llu\n", names[i], count[i]);
	seq_printf(m, "gsched-ticks:\t%llu\n", ticks);
	seq_printf(m, "gsched-preempts:\t%llu\n", preempts);
	for (i = GSCHED_REFUSED_NOT + 1; i < GSCHED_NR_REFUSALS; i++)
		seq_printf(m, "gsched-refused-%s:\t%llu\n", refusals[i], refused[i]);
	for (i = 0; i < GSCHED_NR_SAMPLES; i++)
		seq_printf(m, "gsched-sampled-%s:\t%llu\n", samples[i], sampled[i]);
	for (i = GSCHED_REFUSED_NOT + 1; i < GSCHED_NR_REFUSALS; i++)
		seq_printf(m, "gsched-sampled-refused-%s:\t%llu\n", refusals[i],
			   sampled_refused[i]);
}

static int stats_show(struct seq_file *m, void *unused)
{
	unsigned int i, cpu;

	seq_printf(m, "contexts %d\n", atomic_read(&contexts));
	seq_printf(m, "workers %d\n", atomic_read(&workers));
	for (i = 0; i < GSCHED_NR_COUNTS; i++) {
		u64 sum = 0;

		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu(counts, cpu)[i]);
		seq_printf(m, "%s %llu\n", names[i], sum);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int sample_get(void *unused, u64 *us)
{
	*us = gsched_sample_get();
	return 0;
}

static int sample_set(void *unused, u64 us)
{
	return gsched_sample_set(us);
}
DEFINE_DEBUGFS_ATTRIBUTE(sample_fops, sample_get, sample_set, "%llu\n");

void gsched_debug_init(void)
{
	dir = debugfs_create_dir("gsched", NULL);
	debugfs_create_file("stats", 0444, dir, NULL, &stats_fops);
	debugfs_create_file_unsafe("sample_us", 0600, dir, NULL, &sample_fops);
	gsched_inject_init(dir);
}

void gsched_debug_exit(void)
{
	debugfs_remove_recursive(dir);
	gsched_sample_set(0);
}
