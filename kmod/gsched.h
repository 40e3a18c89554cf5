/* SPDX-License-Identifier: GPL-2.0 */
/*
 * gsched: what the files of the module share. The protocol they implement is
 * described in uapi/linux/gsched.h; numbers in comments are its sections.
 *
 *	main.c		init ladder and its mirror image
 *	device.c	/dev/gsched: the only file that reads or writes user memory
 *	notify.c	what the scheduler tells us: blocked, back, exec, dead
 *	proc.c		the right to run: owner words, demand, grants, PARK, UNPARK
 *	worker.c	one thread: its life, its sleep, its wake-up
 *	context.c	one open file: its lifetime, its table of workers
 *	user.c		how many contexts a user has
 *	shared.c	the pages mapped by user space
 *	tick.c		the time slice, KICK
 *	sample.c	looks whether the return rule is kept
 *	debug.c		fdinfo and debugfs
 *	inject.c	delays where parties race, on debug kernels
 *	trace.h		tracepoints
 *	compat.h	differences between kernel versions
 *
 * Truth: each decision is taken from kernel memory, under the lock of the
 * context. The shared area gets copies, which the program may scribble over.
 * What the module reads from there (queue ends, lengths, depth) is policy: a
 * wrong value costs the program work, never the kernel memory or time.
 *
 * Locks: context->mutex > rq->lock > context->lock > the lock of an hrtimer base.
 * context->lock is taken in sched_out: nothing is woken under it, except by
 * irq_work; nothing is allocated, printed or copied to or from user space; and
 * the tick is started, which is a hard timer, as those of the scheduler's own
 * that are started under rq->lock.
 */
#ifndef _GSCHED_KMOD_H
#define _GSCHED_KMOD_H

#include <linux/bitmap.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>
#include <linux/gsched.h>
#include "upcall.h"

struct gsched_user;
struct seq_file;
struct vm_area_struct;

#define GSCHED_MAXCHUNKS	(GSCHED_MAXWORKERS / GSCHED_CHUNK_SLOTS)

/* In the order of the statistics in struct gsched_slot. */
enum gsched_count {
	GSCHED_BLOCKS,
	GSCHED_HANDOFFS,
	GSCHED_RETURNS,
	GSCHED_LOSTS,
	GSCHED_DEPTH_BLOCKS,
	GSCHED_GRANTS,
	GSCHED_UPCALLS,
	GSCHED_REFUSALS,
	GSCHED_NR_COUNTS
};

/* What a worker was seen doing in user mode; see sample.c. */
enum gsched_sample {
	GSCHED_SAMPLED_FIBER,		/* runs a fiber, has a proc */
	GSCHED_SAMPLED_RUNTIME,		/* depth raised: no fiber's code */
	GSCHED_SAMPLED_TOLD,		/* no proc, told in slot.pending, or by SIGURG */
	GSCHED_SAMPLED_REFUSED,		/* no proc, upcall refused: by reason, too */
	GSCHED_SAMPLED_VIOLATION,	/* no proc, and no reason */
	GSCHED_NR_SAMPLES
};

/**
 * struct gsched_pages - pages that kernel and user space both map
 * @addr: where the kernel sees them
 * @nr: how many
 * @page: the pages
 */
struct gsched_pages {
	void *addr;
	unsigned int nr;
	struct page *page[];
};

/*
 * What protects a field:
 *   I  immutable once the object can be found by others
 *   L  context->lock
 *   M  context->mutex
 *   O  written by the worker's own thread and under L: that thread may read it
 *      without L, others need it
 *   R  written once under M, with release; read with acquire
 *   S  shared with user space, written under L: see uapi/linux/gsched.h
 *   A  atomic
 */

/**
 * struct gsched_chunk - GSCHED_CHUNK_SLOTS workers and their slots
 * @slots: I, the pages of the slots
 * @worker: L, the workers attached, or NULL
 */
struct gsched_chunk {
	struct gsched_pages *slots;
	struct gsched_worker *worker[GSCHED_CHUNK_SLOTS];
};

/**
 * struct gsched_seen - a proc as the tick saw it last
 * @owner: worker index, or GSCHED_NONE
 * @tick: gsched_proc.tick
 * @since: when both were seen first, CLOCK_MONOTONIC ns
 */
struct gsched_seen {
	u32 owner;
	u32 tick;
	u64 since;
};

/**
 * struct gsched_context - an open file after SETUP
 * @ref: A, the file's and one for each worker
 * @mm: I, of the process that did SETUP; held by mmgrab()
 * @tgid: I, thread group of that process
 * @user: I, charged for it
 * @head: I, the pages of @header and @procs
 * @header: I, S, counts
 * @procs: I, S, the lines of the procs
 * @trampoline: I, where an upcall goes, or 0
 * @trampoline_size: I, bytes of its text
 * @slice_ns: I, the time slice
 * @sigurg: I, upcalls are made by SIGURG
 * @mutex: serialises ATTACH and SET_PROCS
 * @index: worker indices in use: M sets one, the end of a worker clears it
 * @chunk: R, grown by ATTACH
 * @lock: innermost lock, see above
 * @nproc: L, procs in use
 * @procs_used: L, highest @nproc so far
 * @owner: L, of each proc: the truth that header and procs copy
 * @idle: L, procs whose owner is GSCHED_OWNER_IDLE
 * @nidle: L, how many
 * @standbys: L, workers in PARK that are not bound, last parked first
 * @nstandby: L, how many
 * @nworkers: L, workers attached
 * @tick: started under L, see tick.c
 * @ticking: L, @tick is queued or its handler will look again, or @resting
 * @resting: L, the owner of the only proc was asked whether @tick may end
 * @seen: L, each proc as the last tick saw it
 * @ticks: L, how often it looked
 * @preempts: L, fibers told that their slice is over
 * @refused: L, upcalls refused, by reason
 * @sampled: L, what workers were seen doing
 * @sampled_refused: L, of these, those without a proc, by the reason of the refusal
 * @count: L, sums over all workers that ever were
 */
struct gsched_context {
	struct kref ref;
	struct mm_struct *mm;
	pid_t tgid;
	struct gsched_user *user;
	struct gsched_pages *head;
	struct gsched_header *header;
	struct gsched_proc *procs;
	unsigned long trampoline;
	unsigned long trampoline_size;
	u64 slice_ns;
	bool sigurg;

	struct mutex mutex;	/* see above */
	DECLARE_BITMAP(index, GSCHED_MAXWORKERS);
	struct gsched_chunk *chunk[GSCHED_MAXCHUNKS];

	raw_spinlock_t lock ____cacheline_aligned_in_smp;
	u32 nproc;
	u32 procs_used;
	u32 owner[GSCHED_MAXPROCS];
	DECLARE_BITMAP(idle, GSCHED_MAXPROCS);
	u32 nidle;
	struct list_head standbys;
	u32 nstandby;
	u32 nworkers;
	struct hrtimer tick;
	bool ticking;
	bool resting;
	struct gsched_seen seen[GSCHED_MAXPROCS];
	u64 ticks;
	u64 preempts;
	u64 refused[GSCHED_NR_REFUSALS];
	u64 sampled[GSCHED_NR_SAMPLES];
	u64 sampled_refused[GSCHED_NR_REFUSALS];
	u64 count[GSCHED_NR_COUNTS];
};

/* Where a worker is, as far as grants are concerned. */
enum gsched_parked {
	GSCHED_NOT_PARKED,	/* a grant is latched */
	GSCHED_STANDBY,		/* on context->standbys: anyone's choice */
	GSCHED_BOUND,		/* woken by name only */
};

#define GSCHED_NONE	(-1)	/* no proc, no grant */

/**
 * struct gsched_worker - an attached thread
 * @notifier: owned by the scheduler between attach and the end
 * @context: I, has a reference
 * @task: I, has a reference
 * @slot: I, S
 * @id: I, index in the context
 * @proc: O, proc held, or GSCHED_NONE
 * @last: O, proc held last, or GSCHED_NONE; the return rule tries it first
 * @grant: L, proc granted but not taken yet, perhaps with GSCHED_GRANT_SPIN,
 *	or GSCHED_NONE; PARK looks at it without L before it sleeps
 * @away: O, a proc was handed off, and no PARK or ACQUIRE made up for it: the
 *	return rule applies
 * @told: O, user space knows that it is lost; cleared with @away
 * @preempt: L writes, its thread reads without: PREEMPT is due
 * @rest: L writes, its thread reads without: it was asked whether the tick may end
 * @counted: O, @away has been counted as lost
 * @why: O, what gsched_upcall() said last of LOST; cleared with @away
 * @gone: its own thread only: it has left its program by exec, and is freed when the
 *	thread ends
 * @aborted: O, its thread's rseq section was aborted for the upcall that is due; cleared
 *	with it
 * @refused: L writes, its thread reads without: PREEMPT is due since an upcall was refused
 * @off: true: the tick does not watch it, for it keeps its proc but does not run. Its own
 *	thread writes true without L, on its way out of the CPU, stopped, frozen or asleep,
 *	and false under L; the tick both under L. A lost true is set at the next look
 * @parked: L, enum gsched_parked
 * @standby: L, place on context->standbys
 * @wake: wakes @task where the scheduler's locks are held; queued under L only
 * @signal: has @task send itself SIGURG; queued under L only
 * @ring: does that
 * @ringing: @ring was added and has not come yet; atomic
 * @orphan: its own thread's, then @free's: it ended while @ringing, and @ring frees it
 * @dead: takes the end of the worker out of the scheduler
 * @again: does nothing: makes its CPU leave the kernel once more
 * @free: frees the worker in process context
 * @rcu: frees its memory
 */
struct gsched_worker {
	struct preempt_notifier notifier;
	struct gsched_context *context;
	struct task_struct *task;
	struct gsched_slot *slot;
	u32 id;

	int proc;
	int last;
	int grant;
	bool away;
	bool told;
	bool preempt;
	bool rest;
	bool counted;
	bool gone;
	bool aborted;
	bool refused;
	bool off;
	enum gsched_refusal why;
	enum gsched_parked parked;
	struct list_head standby;

	struct irq_work wake;
	struct irq_work signal;
	struct callback_head ring;
	atomic_t ringing;
	bool orphan;
	struct irq_work dead;
	struct irq_work again;
	struct work_struct free;
	struct rcu_head rcu;
};

/* main.c */
extern struct workqueue_struct *gsched_wq;

/* device.c */
int gsched_device_init(void);
void gsched_device_exit(void);

/* notify.c */
struct gsched_worker *gsched_notify_current(void);
int gsched_notify_attach(struct gsched_context *context);
void gsched_notify_detach(struct gsched_worker *worker);
void gsched_notify_close(struct gsched_context *context);
int gsched_notify_init(void);
void gsched_notify_exit(void);

/* proc.c */
void gsched_proc_setup(struct gsched_context *context, u32 nproc);
int gsched_proc_resize(struct gsched_context *context, u32 nproc);
int gsched_proc_park(struct gsched_worker *worker, int to, bool bound, u64 deadline);
int gsched_proc_unpark_any(struct gsched_context *context);
int gsched_proc_unpark_proc(struct gsched_context *context, u32 proc);
int gsched_proc_unpark_worker(struct gsched_context *context, u32 id);
int gsched_proc_acquire(struct gsched_worker *worker);
void gsched_proc_handoff(struct gsched_worker *worker, bool comes_back);
bool gsched_proc_return(struct gsched_worker *worker);
void gsched_proc_ring(struct gsched_worker *worker, u32 reason);
bool gsched_proc_rung(struct gsched_worker *worker, bool masked, bool restarts);
void gsched_proc_told(struct gsched_worker *worker, u32 reason, enum gsched_refusal why);
bool gsched_proc_heeded(struct gsched_worker *worker);
void gsched_proc_leave(struct gsched_worker *worker);
struct gsched_worker *gsched_proc_owner(struct gsched_context *context, unsigned int p);
bool gsched_proc_wanted(struct gsched_context *context, unsigned int p);
bool gsched_proc_left(struct gsched_context *context);
bool gsched_proc_relief(struct gsched_context *context);

/* tick.c */
void gsched_tick_init(struct gsched_context *context);
void gsched_tick_exit(struct gsched_context *context);
void gsched_tick_need(struct gsched_context *context, unsigned int p);
void gsched_tick_retired(struct gsched_context *context, unsigned int p);
void gsched_tick_begin(const struct gsched_worker *worker);
void gsched_tick_start(struct gsched_context *context);
void gsched_tick_kick(struct gsched_context *context, u32 p);
void gsched_tick_rest(struct gsched_worker *worker);
void gsched_tick_back(struct gsched_worker *worker);

/* sample.c */
int gsched_sample_set(u64 us);
u64 gsched_sample_get(void);

/* worker.c */
struct gsched_worker *gsched_worker_create(struct gsched_context *context);
void gsched_worker_free(struct gsched_worker *worker);
void gsched_worker_exit(void);
int gsched_worker_wait(struct gsched_worker *worker, u64 deadline);

/* context.c */
struct gsched_context *gsched_context_create(const struct gsched_setup *setup);
void gsched_context_get(struct gsched_context *context);
void gsched_context_put(struct gsched_context *context);
bool gsched_context_mine(const struct gsched_context *context);
struct gsched_worker *gsched_context_worker(struct gsched_context *context, u32 id);

/* user.c */
struct gsched_user *gsched_user_charge(void);
void gsched_user_uncharge(struct gsched_user *user);

/* shared.c */
struct gsched_pages *gsched_shared_alloc(size_t size);
void gsched_shared_free(struct gsched_pages *pages);
int gsched_shared_mmap(struct gsched_context *context, struct vm_area_struct *vma);

/* debug.c */
void gsched_debug_count(struct gsched_worker *worker, enum gsched_count what);
void gsched_debug_sampled(struct gsched_worker *worker, enum gsched_sample what,
			  enum gsched_refusal why);
void gsched_debug_contexts(int change);
void gsched_debug_workers(int change);
void gsched_debug_fdinfo(struct seq_file *m, struct gsched_context *context);
void gsched_debug_init(void);
void gsched_debug_exit(void);

#endif /* _GSCHED_KMOD_H */
