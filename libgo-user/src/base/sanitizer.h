/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What ASan and TSan must be told about stacks that are switched by hand. The
 * macros take any struct with the members of struct gs_stackref.
 */
#ifndef GS_BASE_SANITIZER_H
#define GS_BASE_SANITIZER_H

#include "base/atomic.h"

#ifdef GS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
/* frames that were left without returning keep their red zones poisoned */
#define gs_san_stack_reuse(lo, size) __asan_unpoison_memory_region((lo), (size))
#define gs_san_switch_begin(from, to, dying)                                                       \
	__sanitizer_start_switch_fiber((dying) ? NULL : &(from)->fake, (to)->stack.lo,             \
				       (to)->stack.size)
#define gs_san_switch_end(me) __sanitizer_finish_switch_fiber((me)->fake, NULL, NULL)
#define gs_san_first_run() __sanitizer_finish_switch_fiber(NULL, NULL, NULL)
/* frames are about to be left without returning */
#define gs_san_no_return() __asan_handle_no_return()
/* what is found there is not lost */
#define gs_san_root(lo, size) __lsan_register_root_region((lo), (size))
#else
#define gs_san_stack_reuse(lo, size) ((void)(lo), (void)(size))
#define gs_san_no_return() ((void)0)
#define gs_san_root(lo, size) ((void)(lo), (void)(size))
#endif

#ifdef GS_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_set_fiber_name(void *fiber, const char *name);
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define gs_san_fiber_create(ref) ((ref)->tsan = __tsan_create_fiber(0))
#define gs_san_fiber_destroy(ref) __tsan_destroy_fiber((ref)->tsan)
#define gs_san_fiber_native(ref) ((ref)->tsan = __tsan_get_current_fiber())
#define gs_san_fiber_name(ref, name) __tsan_set_fiber_name((ref)->tsan, (name))
#define gs_san_switch_begin(from, to, dying)                                                       \
	((void)(from), (void)(dying), __tsan_switch_to_fiber((to)->tsan, GS_SAN_SWITCH))
#else
#define gs_san_fiber_create(ref) ((void)(ref))
#define gs_san_fiber_destroy(ref) ((void)(ref))
#define gs_san_fiber_native(ref) ((void)(ref))
#define gs_san_fiber_name(ref, name) ((void)(ref), (void)(name))
#endif

/* They know which stack is whose: it stays so. */
#if defined(GS_ASAN) || defined(GS_TSAN)
#define GS_SAN_STACKS 1
#else
#define GS_SAN_STACKS 0
#endif

/*
 * SAN=thread looks for races in the library. Every switch is a synchronisation there, and so
 * is every lock of the scheduler's: two fibers that ran one after the other on a thread, or
 * stood in the same queue, are ordered, and a race between them is not seen.
 *
 * SAN=race looks for races in the program, as Go's -race does. The scheduler is compiled
 * without TSan, a switch orders nothing, and the poller is ignored. What is left are the
 * orders that Documentation/memory-model.rst promises: from a fiber's creator to it, from
 * gs_ready to the return of gs_park, by the locks and atomics of the objects above the
 * scheduler, and these:
 *
 * gs_race_acquire, gs_race_release: an order that passes through the scheduler.
 * gs_race_parks(lock): the caller parks with the lock held; the commit function releases it
 * on another's stack, and is for that reason GS_RACE_UNSEEN, as is all that it calls.
 */
#ifdef GS_RACE
#define GS_SAN_SWITCH 1 /* __tsan_switch_to_fiber_no_sync */
#define GS_RACE_UNSEEN __attribute__((no_sanitize("thread")))
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreSyncBegin(const char *file, int line);
void gs_race_new_stack(void *lo, unsigned long size);
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *addr, long size,
			     const char *why);
#define gs_race_ignore_memory(lo, size) AnnotateBenignRaceSized("", 0, (lo), (long)(size), "")
#define gs_race_acquire(addr) __tsan_acquire((void *)(addr))
#define gs_race_release(addr) __tsan_release((void *)(addr))
/* from, a return address, shall stand in reports for the caller */
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void *unused);
#define gs_race_called(from) __tsan_func_entry((void *)(from))
#define gs_race_returns() __tsan_func_exit((void *)0)
#define gs_race_ignore_thread()                                                                    \
	(AnnotateIgnoreReadsBegin("", 0), AnnotateIgnoreWritesBegin("", 0),                        \
	 AnnotateIgnoreSyncBegin("", 0))
#else
#define GS_SAN_SWITCH 0
#define GS_RACE_UNSEEN
#define gs_race_acquire(addr) ((void)(addr))
#define gs_race_release(addr) ((void)(addr))
#define gs_race_new_stack(lo, size) ((void)(lo), (void)(size))
#define gs_race_ignore_memory(lo, size) ((void)(lo), (void)(size))
#define gs_race_called(from) ((void)(from))
#define gs_race_returns() ((void)0)
#define gs_race_ignore_thread() ((void)0)
#endif
#define gs_race_parks(lock) gs_race_release(lock)

/* SAN=thread: an order that TSan cannot see: a barrier made by the kernel, or by assembly. */
#if defined(GS_TSAN) && !defined(GS_RACE)
#define gs_san_acquire(addr) __tsan_acquire(addr)
#define gs_san_release(addr) __tsan_release(addr)
#else
#define gs_san_acquire(addr) ((void)(addr))
#define gs_san_release(addr) ((void)(addr))
#endif

#ifndef gs_san_switch_begin
#define gs_san_switch_begin(from, to, dying) ((void)(from), (void)(to), (void)(dying))
#endif
#ifndef gs_san_switch_end
#define gs_san_switch_end(me) ((void)(me))
#define gs_san_first_run() ((void)0)
#endif

#endif /* GS_BASE_SANITIZER_H */
