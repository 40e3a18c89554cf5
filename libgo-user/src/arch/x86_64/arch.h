/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * x86-64: the stack switch, and how code finds the slot of the worker it is on.
 *
 * The GS base of a worker is its slot. A fiber may be moved to another thread
 * between any two instructions once fibers can be interrupted, so the no-preempt
 * depth is raised by one instruction, and so is "am I on a worker" asked: by a byte of
 * thread-local storage, which is set where a worker holds that storage. The GS base
 * would not do, for pthread_create copies it; and to read it takes 2.3 ns, where a send
 * to a buffered channel takes 5 without.
 *
 * Without FSGSBASE (an old kernel, valgrind) the slot is found through a
 * thread-local variable, which is right as long as fibers keep their thread
 * between voluntary switches.
 */
#ifndef GS_ARCH_H
#define GS_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "base/atomic.h"

#pragma GCC visibility push(hidden)

/* Why fibers cannot run in this process at all; NULL: they can. */
const char *gs_arch_unusable(void);
void gs_switch(void **save, void *to);
void gs_fiber_entry(void);
/* What a switch to the frame of gs_arch_frame does; leaves the stack it is called on as it is. */
_Noreturn void gs_arch_begin(void *top, void *fiber);
extern char gs_upcall_entry[], gs_upcall_end[];
void gs_unwind_parked(void *sp, void (*fn)(void *), void *arg);

/* Set once before the first worker exists. */
extern bool gs_arch_gs; /* other threads may ask before and meanwhile: relaxed */

/* The fallback's thread-local; never inlined, for the thread may have changed. */
struct gs_slot *gs_arch_tls_slot(void);

void gs_arch_init(void);

/* Makes slot that of the calling thread; NULL: it is no worker any more. */
void gs_arch_set_slot(struct gs_slot *slot);

/*
 * Set in the thread-local storage that a worker holds: the GS base is its slot. Not without
 * FSGSBASE.
 */
extern __thread bool gs_arch_here __attribute__((tls_model("initial-exec")));

/* The look is one instruction: it is about what the caller runs on at that moment. */
static inline bool gs_arch_is_here(void)
{
	bool here;
	long off;

	__asm__ volatile("movq gs_arch_here@gottpoff(%%rip), %1\n\tcmpb $0, %%fs:(%1)"
			 : "=@ccne"(here), "=&r"(off));
	return here;
}

static inline void gs_arch_set_here(bool here)
{
	long off;

	__asm__ volatile("movq gs_arch_here@gottpoff(%%rip), %0\n\tmovb %1, %%fs:(%0)"
			 : "=&r"(off)
			 : "q"(here)
			 : "memory");
}

/*
 * The thread pointer. Not __builtin_thread_pointer: to the compiler that is a constant,
 * which it keeps over a switch or reads again after one, as it likes.
 */
static inline void *gs_arch_tp(void)
{
	void *tp;

	__asm__ volatile("movq %%fs:0, %0" : "=r"(tp));
	return tp;
}

/* The slot of the calling worker, or NULL. Stable while the depth is raised. */
static inline struct gs_slot *gs_arch_slot(void)
{
	struct gs_slot *slot;

	if (gs_unlikely(!gs_arch_is_here()))
		return gs_load_relaxed(&gs_arch_gs) ? NULL : gs_arch_tls_slot();
	__asm__ volatile("rdgsbase %0" : "=r"(slot));
	return slot;
}

/*
 * Raise the depth of the worker the caller is on; the caller knows it is on one.
 * After it the worker cannot change. Returns its slot.
 */
static inline struct gs_slot *gs_arch_pin(void)
{
	struct gs_slot *slot;

	if (gs_unlikely(!gs_load_relaxed(&gs_arch_gs))) {
		slot = gs_arch_tls_slot();
		slot->depth++;
		__asm__ volatile("" ::: "memory");
		return slot;
	}
	/* one instruction: gcc splits x++ on __seg_gs */
	__asm__ volatile("incl %%gs:0" ::: "memory", "cc");
	__asm__ volatile("rdgsbase %0" : "=r"(slot));
	return slot;
}

/* The worker whose depth the caller has raised, in one load. */
static inline struct gs_worker *gs_arch_worker(void)
{
	struct gs_worker *w;

	if (gs_unlikely(!gs_load_relaxed(&gs_arch_gs)))
		return gs_arch_tls_slot()->worker;
	__asm__ volatile("movq %%gs:%c1, %0" : "=r"(w) : "i"(offsetof(struct gs_slot, worker)));
	return w;
}

/* The worker the caller is on, or NULL. Stable while the depth is raised. */
static inline struct gs_worker *gs_arch_self(void)
{
	if (gs_likely(gs_arch_is_here()))
		return gs_arch_worker();
	return gs_load_relaxed(&gs_arch_gs) || !gs_arch_tls_slot() ? NULL
								   : gs_arch_tls_slot()->worker;
}

/* Lower the depth of a pinned worker; returns true when that made it 0. */
static inline bool gs_arch_unpin(void)
{
	bool zero;

	if (gs_unlikely(!gs_load_relaxed(&gs_arch_gs))) {
		__asm__ volatile("" ::: "memory");
		return --gs_arch_tls_slot()->depth == 0;
	}
	__asm__ volatile("decl %%gs:0" : "=@ccz"(zero)::"memory");
	return zero;
}

/* The same for code that may run on an ordinary thread too: was there anything to pin? */
static inline bool gs_arch_pin_worker(void)
{
	if (!gs_arch_self())
		return false;
	gs_arch_pin();
	return true;
}

static inline void gs_arch_unpin_worker(bool pinned)
{
	if (pinned)
		gs_arch_unpin();
}

/*
 * Is the depth of the worker that the calling fiber is on raised? One instruction, for at
 * depth 0 the next one may be on another worker. Not on an ordinary thread.
 */
static inline bool gs_arch_pinned(void)
{
	bool none;

	if (gs_unlikely(!gs_load_relaxed(&gs_arch_gs)))
		return gs_arch_tls_slot()->depth != 0;
	__asm__ volatile("cmpl $0, %%gs:0" : "=@ccz"(none)::"memory");
	return !none;
}

/* Reason bits the kernel left for us; at depth 0, one instruction. */
static inline bool gs_arch_pending(void)
{
	bool none;

	if (gs_unlikely(!gs_load_relaxed(&gs_arch_gs)))
		return gs_arch_tls_slot()->pending != 0;
	__asm__ volatile("cmpl $0, %%gs:4" : "=@ccz"(none)::"memory");
	return !none;
}

/*
 * gs_arch_slot, gs_arch_pin and gs_arch_worker in one, for the way into the runtime: the
 * worker, its depth raised; NULL on an ordinary thread.
 */
static inline struct gs_worker *gs_arch_enter(void)
{
	struct gs_worker *w;

	if (gs_unlikely(!gs_arch_is_here())) {
		struct gs_slot *slot = gs_load_relaxed(&gs_arch_gs) ? NULL : gs_arch_tls_slot();

		if (!slot)
			return NULL;
		slot->depth++;
		__asm__ volatile("" ::: "memory");
		return slot->worker;
	}
	__asm__ volatile("incl %%gs:0" ::: "memory", "cc");
	__asm__ volatile("movq %%gs:%c1, %0" : "=r"(w) : "i"(offsetof(struct gs_slot, worker)));
	return w;
}

/* gs_arch_unpin and then gs_arch_pending: is there anything to do outside? */
static inline bool gs_arch_leave(void)
{
	bool zero, none;

	if (gs_unlikely(!gs_load_relaxed(&gs_arch_gs)))
		return gs_arch_unpin() && gs_arch_pending();
	__asm__ volatile("decl %%gs:0" : "=@ccz"(zero)::"memory");
	if (gs_unlikely(!zero))
		return false;
	__asm__ volatile("cmpl $0, %%gs:4" : "=@ccz"(none)::"memory");
	return !none;
}

/* Lays the first frame of a fiber below top (16-aligned); returns its stack pointer. */
static inline void *gs_arch_frame(void *top, void *fiber)
{
	uint64_t *sp = top;

	*--sp = 0; /* the unwinder stops at gs_fiber_entry; keep the stack aligned */
	*--sp = 0;
	*--sp = (uint64_t)(uintptr_t)gs_fiber_entry;
	*--sp = 0;			    /* rbp */
	*--sp = 0;			    /* rbx */
	*--sp = (uint64_t)(uintptr_t)fiber; /* r12 */
	*--sp = 0;
	*--sp = 0;
	*--sp = 0;
	*--sp = 0x037f00001f80ull; /* the ABI's initial control words */
	return sp;
}

static inline void gs_cpu_relax(void)
{
	__builtin_ia32_pause();
}

static inline void gs_arch_set_tp(void *tp)
{
	__asm__ volatile("wrfsbase %0" ::"r"(tp) : "memory");
}

/* The worker of slot, whose depth is raised, gives up the storage it holds for this one. */
static inline void gs_arch_hold(struct gs_slot *slot, void *tp)
{
	gs_arch_set_here(false);
	gs_arch_set_tp(tp);
	slot->tls = tp;
	gs_arch_set_here(true);
}

/* errno of the current TLS context by offset: its address must not be cached. */
extern long gs_arch_errno_off;

static inline int gs_arch_errno(void)
{
	int v;

	__asm__ volatile("movl %%fs:(%1), %0" : "=r"(v) : "r"(gs_arch_errno_off));
	return v;
}

static inline void gs_arch_set_errno(int v)
{
	__asm__ volatile("movl %0, %%fs:(%1)" ::"r"(v), "r"(gs_arch_errno_off) : "memory");
}

/* A word of thread-local storage by its offset from the thread pointer. */
static inline uint64_t gs_arch_tls_word(long off)
{
	uint64_t v;

	__asm__ volatile("movq %%fs:(%1), %0" : "=r"(v) : "r"(off));
	return v;
}

static inline void gs_arch_set_tls_word(long off, uint64_t v)
{
	__asm__ volatile("movq %0, %%fs:(%1)" ::"r"(v), "r"(off) : "memory");
}

/* What a function's caller finds when it returns. */
struct gs_arch_frame_regs {
	uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
};

struct _Unwind_Context;

/* Those of the frame that the unwinder stands at. */
void gs_arch_frame_of(struct _Unwind_Context *context, struct gs_arch_frame_regs *regs);

/* Go there, as if the function called there had returned 0. */
_Noreturn void gs_arch_return_zero(const struct gs_arch_frame_regs *regs);

#pragma GCC visibility pop

#endif /* GS_ARCH_H */
