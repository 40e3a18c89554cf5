/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fibers: start, yield, exit, panic. (T) marks calls usable from any ordinary
 * thread as well. Failure is a negative errno. Semantics follow Go 1.25.
 */
#ifndef GSCHED_RUNTIME_H
#define GSCHED_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define GS_NORETURN [[noreturn]]
#else
#define GS_NORETURN _Noreturn
#endif
#pragma GCC visibility push(default)

/**
 * gs_run - run fn as a fiber and wait for it on this thread
 * @fn: the fiber's function
 * @arg: its argument
 *
 * Starts the runtime if it is not running. Other fibers go on, on the runtime's
 * own workers, until the process exits. The fiber's stack has the size of
 * RLIMIT_STACK, at most 8 MiB.
 *
 * Ordinary threads only. Return: 0 when fn returned; -EBUSY in a fiber;
 * -ENOMEM, -EAGAIN when the fiber or the runtime could not be started; -EPERM in
 * the child of a fork, if the runtime was running when it was made.
 */
int gs_run(void (*fn)(void *), void *arg);

/**
 * gs_go - start a fiber (T)
 * @fn: the fiber's function
 * @arg: its argument
 *
 * Go's go statement. The new fiber runs next on the caller's proc.
 *
 * Return: 0; -ENOMEM no memory for a stack; -EAGAIN no thread could be started;
 * -EPERM as gs_run.
 */
int gs_go(void (*fn)(void *), void *arg);

/**
 * gs_go_copy - start a fiber with a copy of the arguments (T)
 * @fn: the fiber's function; gets a pointer to the copy
 * @args: what to copy onto the new fiber's stack, max_align_t aligned
 * @size: its size in bytes; -EINVAL when the stack has no room for it
 */
int gs_go_copy(void (*fn)(void *), const void *args, size_t size);

/* GS_OWN_TLS: thread_local storage of its own for the fiber's life. */
#define GS_OWN_TLS (1u << 0)

struct gs_attr {
	size_t stack_size; /* bytes of address space; 0 the default; at most 1 GiB */
	const char *name;  /* shown in dumps; copied, cut at 31 bytes; NULL none */
	unsigned flags;	   /* GS_OWN_TLS */
	uint64_t pad[4];   /* zero */
};

/**
 * gs_go_attr - start a fiber with attributes (T)
 *
 * Return: as gs_go, and -EINVAL for a stack too large, an unknown flag or
 * non-zero padding; -EOPNOTSUPP for GS_OWN_TLS where it cannot be had.
 */
int gs_go_attr(const struct gs_attr *attr, void (*fn)(void *), void *arg);

/* Let other fibers run (Gosched); sched_yield on an ordinary thread. */
void gs_yield(void);

/* End this fiber after its deferred calls and clean-ups (Goexit): see gs_defer. Fibers only. */
GS_NORETURN void gs_exit(void);

/* This fiber's id, unique for the life of the process; 0 outside a fiber. */
uint64_t gs_id(void);

/* Fibers that have not finished; while some start and end never too few, perhaps too many. (T) */
size_t gs_num_fibers(void);

/* Set the number of procs if n > 0; returns the previous number. (T) */
int gs_max_procs(int n);

/*
 * Set the cap on the runtime's threads if n > 0 (default 10,000); returns the
 * previous one. At the cap a block keeps its proc from nobody: hand-off is delayed
 * until a thread comes back. A fiber that was interrupted may hold a lock that they
 * all wait for: when all threads are blocked it gets one more, for as long. (T)
 */
int gs_set_max_threads(int n);

/**
 * gs_lock_thread - this fiber keeps to its thread (Go's LockOSThread)
 *
 * Until as many calls of gs_unlock_thread: the fiber runs on the thread it is on now,
 * and that thread runs no other fiber. For what belongs to a thread: its signal mask,
 * affinity, name, credentials, thread_local variables, libraries that want to be called
 * from one thread. A fiber that ends while it is locked ends its thread, too. Fibers it
 * starts are not locked. No effect on an ordinary thread.
 */
void gs_lock_thread(void);
void gs_unlock_thread(void);

/* No preemption in between; nest. Parking inside panics. */
void gs_nopreempt_begin(void);
void gs_nopreempt_end(void);

/*
 * Hint that what follows may block this thread: on the posix backend the proc
 * is given away at once; nothing on kmod, where the kernel does it by itself.
 */
void gs_blocking_begin(void);
void gs_blocking_end(void);

/* "kmod" or "posix"; starts the runtime if it is not running. (T) */
const char *gs_backend(void);

/**
 * gs_defer - call fn(arg) when this function returns, however it does
 *
 * Last in first out: when the function that holds the innermost GS_DEFER_SCOPE returns;
 * without one, when the fiber ends. In both cases also at gs_exit and at a panic, which
 * leave one frame after the other, the innermost first: in each the deferred calls of its
 * scope, then, if it was compiled with -fexceptions, its destructors and cleanup attributes.
 * A panic that nobody can recover any more ends the process where it is. Fibers only.
 */
void gs_defer(void (*fn)(void *), void *arg);

/*
 * GS_DEFER_SCOPE; at the top of a function: what gs_defer is told from there on is called
 * when the function returns. If such a call recovers from a panic, the others of this scope
 * are called, and the function returns to its caller: 0, NULL or 0.0 (the value of a struct
 * or a long double is not specified). A catch (...) in a frame that is left must rethrow,
 * and a noexcept function cannot be left: as with any forced unwind of the C++ ABI.
 *
 * The function is not inlined, for the compiler sees a call that may return twice. clang
 * takes a function that can only end in gs_panic for one that never returns, and its caller
 * is then not prepared: leave it a way to return.
 */
struct gs_defer_scope {
	void *private_[6];
};
int gs_defer_scope_enter(struct gs_defer_scope *scope) __attribute__((returns_twice));
void gs_defer_scope_leave(struct gs_defer_scope *scope);
#if defined(__GNUC__) && !defined(__clang__)
/* Never taken: gcc takes a function that can only panic for one that does not return. */
#define GS_DEFER_SCOPE_RETURN(again)                                                               \
	do {                                                                                       \
		if (again) {                                                                       \
			static const char gs_zero_[512] = {0};                                     \
			__builtin_return((void *)(uintptr_t)gs_zero_);                             \
		}                                                                                  \
	} while (0)
#else
#define GS_DEFER_SCOPE_RETURN(again) ((void)(again))
#endif
#define GS_DEFER_SCOPE                                                                             \
	struct gs_defer_scope gs_defer_scope_                                                      \
		__attribute__((cleanup(gs_defer_scope_leave), unused));                            \
	GS_DEFER_SCOPE_RETURN(gs_defer_scope_enter(&gs_defer_scope_))

/**
 * gs_panic - Go's panic
 * @fmt: printf format of the text
 *
 * Runs the fiber's deferred calls; unless one of them recovers, prints
 * "panic: <text>", "fiber <id> [running]:" and a backtrace on stderr and exits
 * the process with status 2.
 */
GS_NORETURN void gs_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

/*
 * In a deferred call during a panic: stops it and returns its text; else NULL. The function
 * with the GS_DEFER_SCOPE returns then; without one the fiber ends normally. What was
 * going on already when the call was deferred is not its own to stop: NULL, too.
 */
const char *gs_recover(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_RUNTIME_H */
