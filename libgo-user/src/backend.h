/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * THE contract with the system: how workers wait for procs and get them.
 *
 * Two backends keep it: backend_kmod.c (the gsched module: hand-off at the moment
 * of the block) and backend_posix.c (futexes; the protocol of the module, section
 * by section, in user space). The protocol itself (owner words, demand, the order
 * of hand-off and of enqueue, the forbidden outcome) is written down once, in
 * uapi/linux/gsched.h; the structures here have its layout, and backend_kmod.c
 * asserts it.
 *
 * All calls are made by a worker with its depth raised, unless (T) says that any
 * thread may.
 */
#ifndef GS_BACKEND_H
#define GS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define GS_MAXPROCS 256

/* Who writes: B the backend (or the kernel), R the runtime. */
struct gs_header {
	uint32_t abi[2];
	uint32_t nproc;					  /* B */
	uint32_t procs_used;				  /* B: highest nproc so far */
	uint32_t idle;					  /* B: idle procs, never below the truth */
	uint32_t standby;				  /* B: workers parked, not bound */
	uint32_t workers;				  /* B */
	uint32_t ticking;				  /* B: 0: call tick after Enqueue */
	uint32_t spinning __attribute__((aligned(64)));	  /* B, R: atomic */
	uint32_t global_len __attribute__((aligned(64))); /* R: global queue's lock */
	uint32_t express_len __attribute__((aligned(64))); /* R: express queue's lock */
	uint64_t poll_until __attribute__((aligned(64)));  /* R: the poller */
	uint32_t reserve;				   /* R */
	uint32_t bound_runnable;			   /* R */
};

struct gs_line {
	uint32_t owner;	   /* B: 0 idle, worker + 1, GS_RETIRED */
	uint32_t tick;	   /* R: the owner; raised at each scheduling */
	uint32_t head;	   /* R: the owner and thieves, compare-and-swap */
	uint32_t tail;	   /* R: the owner */
	uint64_t runnext;  /* R: the owner and thieves, exchange */
	uint64_t deadline; /* R: the timer heap's lock */
	uint64_t user[4];
};

struct gs_slot {
	uint32_t depth;		  /* R: the worker itself */
	uint32_t pending;	  /* B sets, R clears */
	uint64_t ip;		  /* B */
	uint32_t proc;		  /* B: index + 1, 0 none */
	uint32_t reason;	  /* B */
	void *tls;		  /* R: thread pointer that belongs to this worker now */
	struct gs_worker *worker; /* R: set before the slot is used */
	void *area;		  /* R: top of the worker's upcall area */
	void *sp;		  /* R: an interrupted fiber's stack pointer */
	uint64_t scratch;	  /* R: the trampoline's */
	uint64_t blocks, handoffs, returns, lost, depth_blocks, grants; /* B */
	uint64_t upcalls, refusals;					/* B */
};

#define GS_RETIRED 0xffffffffu
#define GS_PENDING_LOST 1u
#define GS_PENDING_PREEMPT 2u

#define GS_GRANT_SPIN 0x10000
#define GS_GRANT_PROC 0xffff

/* Where interrupted fibers are sent, and when; all zero: nowhere, the default. */
struct gs_upcall_setup {
	uintptr_t entry, size; /* the trampoline */
	int64_t slice_ns;
};

/* What is not counted by worker; see struct gs_stats. */
struct gs_backend_counts {
	uint64_t ticks, preempts, interrupted;
};

struct gs_backend {
	const char *name;

	/*
	 * Make the shared area and set gs_hdr and gs_lines. Once, by the thread
	 * that starts the runtime. 0, with what is to be said of it in `why`, or -errno
	 * with the reason.
	 */
	int (*init)(int nproc, const struct gs_upcall_setup *upcall, const char **why);

	/* After that: are fibers that compute interrupted here? */
	bool (*interrupts)(void);

	/* The calling thread becomes a worker: its slot, or NULL with *err. No proc. */
	struct gs_slot *(*attach)(uint32_t *id, int *err);
	void (*detach)(struct gs_slot *slot);

	/*
	 * Give up the proc, if any, and wait for one: its index, perhaps with
	 * GS_GRANT_SPIN; -ETIMEDOUT after the absolute deadline (0 none); -EINTR.
	 * bound: be woken by park_to only.
	 */
	int (*park)(struct gs_slot *slot, int64_t deadline, bool bound);

	/*
	 * Give the proc held to the bound worker `to`, then park. -EBUSY: it has one
	 * (or is not parked yet and still holds one); the caller keeps its proc.
	 */
	int (*park_to)(struct gs_slot *slot, uint32_t to, int64_t deadline, bool bound);

	/* Never blocks: the proc's index or -EAGAIN. */
	int (*acquire)(struct gs_slot *slot);

	/*
	 * (T) An idle proc and nobody spins: give it to a stand-by that will spin.
	 * 1 done, 0 not needed, -EAGAIN no stand-by.
	 */
	int (*unpark_any)(void);

	/*
	 * (T) Give an idle proc to the bound worker `to`. 1 done, or latched for its next
	 * park; -EAGAIN none is idle, -EBUSY it has a grant, or is not parked.
	 */
	int (*unpark_worker)(uint32_t to);

	/*
	 * (T) After Enqueue, when header.ticking is 0: look after the procs that are held,
	 * for others wait now.
	 */
	void (*tick)(void);

	/* (T) Interrupt the fiber on that proc now, if somebody waits who can run instead. */
	void (*kick)(uint32_t proc);

	/* (T) Set the number of procs; returns the old one. */
	int (*set_procs)(int n);

	/*
	 * The worker may block from here to blocking_end: give its proc away. NULL
	 * where the system does so by itself. Called with the depth raised.
	 */
	void (*blocking_begin)(struct gs_slot *slot);

	/* The body of a thread of the runtime's that the backend wants, or NULL. */
	void *(*monitor)(void *arg);

	/* (T) Into zeroed counts; what it leaves, somebody else counts (the module, in fdinfo). */
	void (*counts)(struct gs_backend_counts *c);
};

extern const struct gs_backend gs_backend_kmod;
extern const struct gs_backend gs_backend_posix;

extern const struct gs_backend *gs_be; /* the one in use */
extern bool gs_forked;		       /* in the child of a fork; see init.c */
extern uint32_t gs_started;	       /* atomic: the runtime is there; see init.c */
extern struct gs_header *gs_hdr;
extern struct gs_line *gs_lines;

#pragma GCC visibility pop

#endif /* GS_BACKEND_H */
