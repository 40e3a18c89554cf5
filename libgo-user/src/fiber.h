/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fiber: what it is made of.
 *
 * States, and who owns the stack, the proc and the queue place:
 *
 *   idle	the slab or a proc's cache	- 	-
 *   runnable	nobody				-	the queue it stands in
 *   running	the worker			its worker's, or none (lost)
 *   waiting	nobody				-	whoever will call gs_ready
 *   dead	the worker leaving it		its worker's
 *
 * A running fiber whose thread is blocked in the kernel without a proc is what Go
 * calls "syscall": running here, for the kernel changes it without telling us.
 *
 * The hot part lives in a dense slab that is never freed, so that a dump may walk
 * over all fibers at any time; the cold part at the top of its stack.
 *
 * Nothing is laid on a stack before its fiber begins, unless there is much to copy or it has a
 * name: until then it may get another (dead.h), and a page that nobody touches is not there.
 */
#ifndef GS_FIBER_H
#define GS_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "stack.h"

enum gs_state { GS_IDLE, GS_RUNNABLE, GS_RUNNING, GS_WAITING, GS_DEAD };

/* A stack one can switch to. */
struct gs_stackref {
	void *sp; /* saved stack pointer, valid while not running */
	struct gs_stack stack;
#ifdef GS_ASAN
	void *fake;
#endif
#ifdef GS_TSAN
	void *tsan;
#endif
};

struct gs_fiber_cold {
	void (*done)(void *arg); /* after fn returned and its deferred calls ran */
	void *done_arg;
	_Alignas(8) char unwind[64]; /* panic.c's, if the fiber unwinds */
	uint64_t cxx[2];	     /* the C++ exceptions it handles, across a park */
	char name[32];
	bool returned; /* done, if there is one, is due however the fiber ends */
};

/* What gs_go_copy copies is kept here until the fiber begins, if it is no more. */
#define GS_COPY 32

/*
 * Protection: [Q] the queue it stands in, [W] its worker or, while it waits, the
 * one that will ready it, [I] written at creation only.
 */
struct gs_fiber {
	struct gs_stackref ref;	    /* W */
	struct gs_fiber *next;	    /* Q */
	struct gs_fiber *ahead;	    /* Q: one that comes after it there, or did once: to fetch */
	struct gs_worker *frozen;   /* Q: continues on this worker only: interrupted, or locked */
	struct gs_tls *tls;	    /* W: the context it brings along, or NULL; read by dumps */
	struct gs_tls *own;	    /* I: the context it has for life, or NULL */
	struct gs_fiber_cold *cold; /* W: NULL: nothing is laid on its stack yet */
	void (*fn)(void *arg);	    /* I: read by dumps: relaxed */
	union {
		void *arg;		 /* I: until it begins */
		struct gs_locals *local; /* W: from then on: local.c's, or NULL */
	};
	const void *from; /* I: the return address of gs_go; read by dumps: relaxed */
	uint64_t id;	  /* I */
	union {
		struct {
			void *wake;	/* W */
			void *low;	/* W: interrupted; its stack pointer then, for dumps */
			int err;	/* W: errno across a park */
			uint32_t futex; /* stand-in of a thread: 1 = ready */
			uint32_t locks; /* W: gs_lock_thread's nesting; read by dumps: relaxed */
		};
		char copy[GS_COPY]; /* W: before it begins: what arg will point to */
	};
	uint32_t state;	 /* W: enum gs_state; read by dumps: relaxed */
	uint32_t turns;	 /* W: odd while its stack is in use; a dump's seqcount */
	uint8_t copied;	 /* I: so many bytes of copy */
	uint8_t reason;	 /* W: enum gs_wait */
	bool thread;	 /* I: stand-in of an ordinary thread */
	bool unwinds;	 /* W: cold->unwind is in use */
	bool handling;	 /* W: cold->cxx is in use */
	bool express;	 /* W: readied by the poller, and not preempted since */
	bool leaked;	 /* W: waits on what nobody has any more; read by dumps: relaxed */
	uint8_t readied; /* W: in which trace it was last readied; 0 none: event.c */
};

/*
 * Make a fiber with a stack of `stack_size` (0 default), ready to be queued; if
 * size is not 0, arg points to that many bytes to copy. Depth 0 or an ordinary
 * thread. NULL with *err -ENOMEM or -EINVAL.
 */
struct gs_fiber *gs_fiber_new(void (*fn)(void *), void *arg, size_t size, size_t stack_size,
			      int *err);

/* Begin a new life of a fiber whose stack is at hand. -EINVAL: size has no room. */
int gs_fiber_init(struct gs_fiber *f, void (*fn)(void *), void *arg, size_t size);

/* Lay its cold part and its first frame on its stack. By who is about to run it, or made it. */
void gs_fiber_lay(struct gs_fiber *f);

/* The same without the frame, for who takes over the stack he stands on: where to begin. */
void *gs_fiber_lay_cold(struct gs_fiber *f);

/*
 * The seqcount by which a dump knows that the stack it copied stood still. enter: before
 * the fiber's first instruction; leave: when it is off its stack, before its commit.
 */
static inline void gs_fiber_stack_enter(struct gs_fiber *f)
{
	gs_store_relaxed(&f->turns, f->turns + 1);
	gs_store_fence();
}

static inline void gs_fiber_stack_leave(struct gs_fiber *f)
{
	gs_store_release(&f->turns, f->turns + 1);
}

/* All of it: who stood in a queue for long is in no cache. */
static inline void gs_fiber_prefetch(const struct gs_fiber *f)
{
	for (size_t at = 0; at < sizeof(*f); at += 64)
		__builtin_prefetch((const char *)f + at);
}

/* Give a dead fiber's stack and slab place back. Any depth. */
void gs_fiber_free(struct gs_fiber *f);

/* Every fiber of the slab that is not idle. The callback returns false to stop. */
void gs_fiber_each(bool (*cb)(struct gs_fiber *f, void *arg), void *arg);

/* 64 zeroed bytes of the calling fiber, private to panic.c; NULL outside a fiber. */
void *gs_fiber_unwind_area(void);

/*
 * Called on a fiber, depth 0, after its function returned, with its gs_fiber_unwind_area, if it
 * ever asked for that.
 * Set before the first fiber.
 */
void gs_fiber_set_exit_hook(void (*hook)(void *area));

/*
 * Ends the calling fiber, whose deferred calls have run: the destructors of its own storage, and
 * its completion if its function returned, or that is what it looks like. Depth 0.
 */
_Noreturn void gs_fiber_finish(bool returned);

#endif /* GS_FIBER_H */
