/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS contexts: what a fiber that is interrupted anywhere takes along.
 *
 * A context is all that C code on a thread takes for its own: a thread control block,
 * static thread-local storage, and the upcall area, which holds the frame of the fiber
 * that was interrupted on it. Fibers and scheduler run on whatever context their worker
 * holds; the native one of its thread comes to use at the thread's start and end, and in
 * libc's handler of signal 33. See preempt.c for who holds a context when.
 */
#ifndef GS_TLS_H
#define GS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gs_tls {
	void *tp;	     /* I: the thread pointer */
	char *area;	     /* I: top of the upcall area */
	struct gs_tls *next; /* the pool's lock */
};

/* Set by gs_tls_init, before the first worker. */
extern bool gs_tls_travels;

/*
 * Where the C++ runtime keeps the exceptions being handled, from the thread pointer; 0: not
 * there. Two words, which are zero outside of a handler.
 */
extern long gs_tls_cxx_off;

/* Before gs_tls_init, once: look for it. Starts a thread in a C++ program. */
void gs_tls_find_cxx(void);

/* Contexts lend their upcall areas only: fibers travel without their TLS. For tests. */
extern bool gs_tls_unprotected;

/*
 * Find out whether contexts can be made here: once, before the first worker and on no
 * fiber. Starts two threads, one after the other. Why not, in words, or NULL if so.
 */
const char *gs_tls_init(void);

/* An upcall area alone, by its top, or NULL; and give it back. On no fiber. */
char *gs_tls_area(void);
void gs_tls_area_free(char *top);

/* A new context, not in the pool; NULL: no memory. Takes libc's locks: depth 0. */
struct gs_tls *gs_tls_make(void);

/* Take one from the pool, NULL: it is empty; give one back. Any depth and thread. */
struct gs_tls *gs_tls_get(void);
void gs_tls_put(struct gs_tls *t);

/*
 * A context of its own for a fiber: as a new thread's, so never one that others have used.
 * get: depth 0, NULL: no memory. put: any depth, after gs_tls_finish or unused; NULL is fine.
 */
struct gs_tls *gs_tls_get_own(void);
void gs_tls_put_own(struct gs_tls *t);

/*
 * By the fiber whose own context it is, at depth 0, when it ends: what ends with a thread.
 * Runs the destructors of thread_local objects and of pthread keys, and makes the context
 * as new.
 */
void gs_tls_finish(void);

/* How many are in the pool, and how many there are but for those of fibers with their own. */
uint32_t gs_tls_pooled(void);
uint32_t gs_tls_made(void);

/*
 * Is this address in code that may hold a lock of libc's: libc, the dynamic linker, and
 * where malloc comes from?
 */
bool gs_tls_in_libc(uintptr_t ip);

#endif /* GS_TLS_H */
