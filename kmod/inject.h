/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Injection points: where two parties race, a delay holds the window open. They are there
 * on kernels that can inject faults themselves (see Kbuild), which no distribution's is, and
 * nothing elsewhere.
 *
 * Each names the race and what must never come of it; the lines point at the code that
 * prevents it. kmod/window.c of the selftests drives each one.
 */
#ifndef _GSCHED_INJECT_H
#define _GSCHED_INJECT_H

enum gsched_point {
	GSCHED_POINT_NONE,
	/*
	 * Park against hand-off. A worker is on the list of stand-bys and does not sleep yet:
	 * a grant must not be slept over (gsched_worker_wait()).
	 */
	GSCHED_POINT_PARK,
	/* Its state is set, the grant not yet looked at. */
	GSCHED_POINT_WAIT,
	/* A proc has become idle, demand is not looked at yet; Enqueue may have looked. */
	GSCHED_POINT_HANDOFF,
	/* PARK of one who spun no longer, before it looks for demand: Enqueue saw a spinner. */
	GSCHED_POINT_LOOK,
	/*
	 * Unpark against exit. A worker was chosen, and is not woken yet: it may wake by
	 * itself, end, and be freed (unlock_and_wake()).
	 */
	GSCHED_POINT_WAKE,
	/* The last switch of a thread; it can still be found, and be granted a proc. */
	GSCHED_POINT_LEAVE,
	/* Nobody finds the worker any more: who found it before may still use it. */
	GSCHED_POINT_FREE,
	/*
	 * Kick against migration. The worker is marked, its thread's flag is not: the thread
	 * moves, and sched_in looks at the mark.
	 */
	GSCHED_POINT_KICK,
	/* The flag is set, the processor not interrupted yet: the thread moves on. */
	GSCHED_POINT_FLAG,
	/* A worker is switched in: what came before is seen, what comes after sets the flag. */
	GSCHED_POINT_IN,
	/*
	 * Return against retake. A worker is back and its old proc idle, perhaps: another one
	 * may take it, SET_PROCS may retire it.
	 */
	GSCHED_POINT_RETURN,
	/* It found none, and is not told yet: one may become idle meanwhile. */
	GSCHED_POINT_TELL,
	/*
	 * Arm against rest. The tick says that it stands, and looks once more: a fiber queued
	 * before that is seen, or its Enqueue calls TICK.
	 */
	GSCHED_POINT_REST,
	/*
	 * Detach against tick. The handler is about to look at the owners: one of them ends.
	 */
	GSCHED_POINT_TICK,
	/* DETACH: no notifier any more, and still a worker that others find. */
	GSCHED_POINT_DETACH,
	/*
	 * Detach against kick. A worker was freed while its task work, which sends SIGURG, was
	 * due, and that frees it (ring()). Only those who detach pass it: see also there.
	 */
	GSCHED_POINT_ORPHAN,
	GSCHED_NR_POINTS
};

struct dentry;

#ifdef GSCHED_INJECT
void gsched_inject(enum gsched_point point);
void gsched_inject_init(struct dentry *dir);
void gsched_inject_start(void);
void gsched_inject_started(void);
#else
static inline void gsched_inject(enum gsched_point point)
{
}

static inline void gsched_inject_start(void)
{
}

static inline void gsched_inject_started(void)
{
}

static inline void gsched_inject_init(struct dentry *dir)
{
}
#endif

#endif /* _GSCHED_INJECT_H */
