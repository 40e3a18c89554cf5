/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Delays, yields, preemptions and failed allocations where they hurt: SAN=inject only, whose
 * every file includes this first.
 *
 * Each atomic read-modify-write, release or sequentially consistent store and full fence
 * (base/atomic.h), and so each lock, is a point, known by its file and line: between two of
 * them another thread may come. The code is not littered with them.
 *
 *	GSCHED_INJECT=seed[,rate=N][,at=file][,fail=N]
 *
 * Nothing is injected without it. One point in rate (100) spins for a while, gives up its CPU,
 * sleeps, or has the fiber asked to yield when it leaves the runtime, as the seed has it; at
 * limits that to points whose file's name begins so. fail: the N-th allocation fails, which is
 * one by malloc and its kin or a mapping.
 *
 * An injection touches no thread-local storage and no errno: it may come while a thread is
 * half way from one fiber's to the next's, or in a signal handler.
 */
#ifndef GS_BASE_INJECT_H
#define GS_BASE_INJECT_H

#ifndef __ASSEMBLER__

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Asks the fiber here to yield, as the backend would; set by who knows how. */
extern __attribute__((visibility("hidden"))) void (*gs_inject_preempt)(void);

__attribute__((visibility("hidden"))) void gs_inject_point(const char *file, int line);
__attribute__((visibility("hidden"))) bool gs_inject_fails(void);

/* Let the n-th allocation from now on fail, and nothing else happen. */
__attribute__((visibility("hidden"))) void gs_inject_fail_at(unsigned long n);

/* How many allocations there were so far, and how many injections. */
__attribute__((visibility("hidden"))) unsigned long gs_inject_allocations(void);
__attribute__((visibility("hidden"))) unsigned long gs_inject_done(void);

#define gs_inject() gs_inject_point(__FILE_NAME__, __LINE__)

/* A function-like macro is not expanded within itself. */
#define malloc(size) (gs_inject_fails() ? (errno = ENOMEM, (void *)0) : malloc(size))
#define calloc(n, size) (gs_inject_fails() ? (errno = ENOMEM, (void *)0) : calloc((n), (size)))
#define strdup(text) (gs_inject_fails() ? (errno = ENOMEM, (char *)0) : strdup(text))
#define aligned_alloc(to, size)                                                                    \
	(gs_inject_fails() ? (errno = ENOMEM, (void *)0) : aligned_alloc((to), (size)))
#define mmap(...) (gs_inject_fails() ? (errno = ENOMEM, MAP_FAILED) : mmap(__VA_ARGS__))

#endif /* __ASSEMBLER__ */

#endif /* GS_BASE_INJECT_H */
