/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mutexes and their kin, as Go's package sync. They park fibers, never threads, and
 * work between fibers and ordinary threads in any mixture: all calls are (T).
 *
 * A zeroed object is ready to use, except where an init is named. None may be copied
 * after its first use, nor freed while a call on it has not returned; but a gs_mutex
 * may be freed by whoever unlocked it last, and a gs_waitgroup by whoever returned
 * from its only gs_wg_wait, though the call that let them is still returning.
 *
 * What happened before an unlock is seen after the lock that follows it; likewise
 * gs_wg_done and gs_wg_wait, the function of gs_once_do and its return, signal and
 * wait. Misuse is found where it costs nothing: then it ends the process with Go's
 * text, a "fatal error" where Go makes it one, a panic where Go panics.
 *
 * The members are private.
 */
#ifndef GSCHED_SYNC_H
#define GSCHED_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include <gsched/context.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct gs_sudog;
struct gs_waitq {
	struct gs_sudog *first, *last;
};
struct gs_sema {
	uint32_t lock, count;
	struct gs_waitq waiters;
};

/**
 * gs_mutex - mutual exclusion
 *
 * Who waits is served first in, first out, but a newcomer that runs may overtake: a
 * waiter that was woken has to compete. One that has lost for more than a millisecond
 * puts the mutex into starvation mode: then each unlock hands it to the first waiter,
 * and newcomers queue at the end, until a waiter gets it within a millisecond or is
 * the last.
 *
 * It belongs to no fiber: one may lock it and another unlock it. Not recursive.
 * Unlocking a free one: "fatal error: sync: unlock of unlocked mutex".
 */
typedef struct gs_mutex {
	uint32_t state, lock;
	struct gs_waitq waiters;
} gs_mutex;

void gs_mutex_lock(gs_mutex *m);
bool gs_mutex_trylock(gs_mutex *m); /* true: locked; never blocks */
void gs_mutex_unlock(gs_mutex *m);

/*
 * Both are functions of the library; where nobody waits they are in line, one access each. Go
 * does that, too, and the call takes a third of the time.
 */
void gs_mutex_lock_slow(gs_mutex *m, uint32_t old);
void gs_mutex_unlock_slow(gs_mutex *m, uint32_t old);
#if defined(__GNUC__) && !defined(GS_INJECT)
extern inline __attribute__((__gnu_inline__)) void gs_mutex_lock(gs_mutex *m)
{
	uint32_t old = 0;

	if (__builtin_expect(!__atomic_compare_exchange_n(&m->state, &old, 1u, false,
							  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED),
			     0))
		gs_mutex_lock_slow(m, old);
}

extern inline __attribute__((__gnu_inline__)) void gs_mutex_unlock(gs_mutex *m)
{
	uint32_t old = 1;

	if (__builtin_expect(!__atomic_compare_exchange_n(&m->state, &old, 0u, false,
							  __ATOMIC_RELEASE, __ATOMIC_RELAXED),
			     0))
		gs_mutex_unlock_slow(m, old);
}
#endif

/**
 * gs_rwmutex - many readers or one writer
 *
 * A writer that waits stops new readers, so a fiber must not read-lock twice. When a
 * writer unlocks, the readers that waited go before the next writer.
 * Misuse: "fatal error: sync: RUnlock of unlocked RWMutex", "fatal error: sync: Unlock
 * of unlocked RWMutex".
 */
typedef struct gs_rwmutex {
	gs_mutex writers;
	struct gs_sema writer, reader;
	int32_t readers, departing;
} gs_rwmutex;

void gs_rwmutex_lock(gs_rwmutex *rw);
bool gs_rwmutex_trylock(gs_rwmutex *rw);
void gs_rwmutex_unlock(gs_rwmutex *rw);
void gs_rwmutex_rlock(gs_rwmutex *rw);
bool gs_rwmutex_tryrlock(gs_rwmutex *rw);
void gs_rwmutex_runlock(gs_rwmutex *rw);

/* As gs_mutex_lock: the readers' part is in line where no writer is. */
void gs_rwmutex_rlock_slow(gs_rwmutex *rw);
void gs_rwmutex_runlock_slow(gs_rwmutex *rw, int32_t were);
#if defined(__GNUC__) && !defined(GS_INJECT)
extern inline __attribute__((__gnu_inline__)) void gs_rwmutex_rlock(gs_rwmutex *rw)
{
	if (__builtin_expect(__atomic_fetch_add(&rw->readers, 1, __ATOMIC_SEQ_CST) < -1, 0))
		gs_rwmutex_rlock_slow(rw);
}

extern inline __attribute__((__gnu_inline__)) void gs_rwmutex_runlock(gs_rwmutex *rw)
{
	int32_t were = __atomic_fetch_sub(&rw->readers, 1, __ATOMIC_SEQ_CST);

	if (__builtin_expect(were <= 0, 0))
		gs_rwmutex_runlock_slow(rw, were);
}
#endif

/**
 * gs_cond - wait for a condition under a mutex
 *
 * gs_cond_wait unlocks the mutex, waits for a signal or broadcast that comes after it,
 * and locks the mutex again. No spurious wake-ups, but the condition may have changed
 * again: wait in a loop. Waiters are woken first in, first out. Signal and broadcast
 * may be called with or without the mutex.
 */
typedef struct gs_cond {
	gs_mutex *mutex;
	uint32_t lock, pad;
	struct gs_waitq waiters;
} gs_cond;

void gs_cond_init(gs_cond *c, gs_mutex *m);
void gs_cond_wait(gs_cond *c);
void gs_cond_signal(gs_cond *c);
void gs_cond_broadcast(gs_cond *c);

/**
 * gs_once - do something once
 *
 * The first gs_once_do on it calls fn(arg); the others return when that call is over.
 * It counts as done however it ended: by return, panic or gs_exit. Calling it on the
 * same object from fn deadlocks.
 */
typedef struct gs_once {
	uint32_t done, pad;
	gs_mutex mutex;
} gs_once;

void gs_once_do(gs_once *o, void (*fn)(void *), void *arg);

/**
 * gs_waitgroup - wait until a count is zero
 *
 * gs_wg_add changes the count by n, which may be negative; gs_wg_done subtracts one;
 * gs_wg_wait returns when it is zero. What raises it from zero must happen before
 * the wait, and before it is used again every wait must have returned.
 *
 * Panics: "sync: negative WaitGroup counter"; "sync: WaitGroup misuse: Add called
 * concurrently with Wait"; "sync: WaitGroup is reused before previous Wait has returned".
 */
typedef struct gs_waitgroup {
	uint64_t state;
	uint32_t lock, pad;
	struct gs_waitq waiters;
} gs_waitgroup;

void gs_wg_add(gs_waitgroup *wg, int64_t n);
void gs_wg_done(gs_waitgroup *wg);
void gs_wg_wait(gs_waitgroup *wg);

/*
 * Add one, and start a fiber that calls fn(arg), then the destructors of its gs_local values,
 * and then gs_wg_done, however fn ends.
 * Return: 0, or what gs_go returns; then the count is what it was.
 */
int gs_wg_go(gs_waitgroup *wg, void (*fn)(void *), void *arg);

/**
 * gs_sem - a weighted semaphore, as x/sync/semaphore
 *
 * n units in all. Who waits is served first in, first out, so a large acquire is not
 * starved by small ones: while it waits, nobody behind it gets any. Zeroed: no units.
 * Releasing more than is held panics with "semaphore: released more than held".
 */
typedef struct gs_sem {
	int64_t size, held;
	uint32_t lock, pad;
	struct gs_waitq waiters;
} gs_sem;

void gs_sem_init(gs_sem *s, int64_t n);

/**
 * gs_sem_acquire - take n units, or wait for them
 * @ctx: gives up when it is cancelled, also if the units are there; NULL: never
 * @n: more than the semaphore has: waits for ctx, and stands in nobody's way
 *
 * Return: 0, or the context's error; then nothing was taken.
 */
int gs_sem_acquire(gs_sem *s, gs_context *ctx, int64_t n);
bool gs_sem_try_acquire(gs_sem *s, int64_t n); /* true: taken; false also if somebody waits */
void gs_sem_release(gs_sem *s, int64_t n);

/**
 * gs_errgroup - fibers that work on parts of one task, as x/sync/errgroup
 *
 *	gs_errgroup g = {0};
 *	gs_context *ctx = gs_errgroup_with_context(&g, parent);
 *	gs_errgroup_go(&g, part, &args[0]); ...
 *	err = gs_errgroup_wait(&g);
 *	gs_context_unref(ctx);
 *
 * The first result other than 0 is the group's; wait returns it when all have returned.
 * A fiber that leaves by gs_exit has the result 0. A panic is not caught.
 */
typedef struct gs_errgroup {
	gs_waitgroup wg;
	gs_sem slots;
	gs_context *ctx;
	int err;
	uint32_t limited;
} gs_errgroup;

/*
 * Before the first go: the group gets a context, a child of parent, that is cancelled by
 * the first error, with it as the cause, or when wait returns. One reference for the
 * caller, one for the group, until wait returns: every such group must be waited for.
 * NULL with errno as gs_with_cancel; then the group has none.
 */
gs_context *gs_errgroup_with_context(gs_errgroup *g, gs_context *parent);

/*
 * Start a fiber that calls fn(arg); at the limit, wait for one to end. If no fiber can be
 * started the group fails with what gs_go returned.
 */
void gs_errgroup_go(gs_errgroup *g, int (*fn)(void *), void *arg);

/* The same, but false, and nothing happened, at the limit or if it cannot be started. */
bool gs_errgroup_try_go(gs_errgroup *g, int (*fn)(void *), void *arg);

/*
 * At most n fibers at a time; 0: none any more; negative: no limit. Panics with "errgroup:
 * modify limit while N goroutines in the group are still active".
 */
void gs_errgroup_set_limit(gs_errgroup *g, int n);
int gs_errgroup_wait(gs_errgroup *g);

/**
 * gs_singleflight - suppress calls for the same thing, as x/sync/singleflight
 *
 * It takes memory only while calls are in flight.
 */
typedef struct gs_singleflight {
	gs_mutex mutex;
	struct gs_flight **table;
	uint32_t size, count;
} gs_singleflight;

/**
 * gs_singleflight_do - call fn, or wait for the call in flight with the same key
 * @key: a string; copied
 * @fn: returns a result by its second argument, NULL if it sets none, and an error
 * @result: gets the result; may be NULL. All callers get the same pointer.
 * @shared: gets whether the result went to several callers; may be NULL
 *
 * If fn panics so does every caller, with its text; if it leaves by gs_exit every caller
 * that is a fiber does, on an ordinary thread -ECANCELED is returned.
 *
 * Return: what fn returned; -ENOMEM.
 */
int gs_singleflight_do(gs_singleflight *g, const char *key, int (*fn)(void *arg, void **result),
		       void *arg, void **result, bool *shared);

/* The next do with this key calls its function, even if one is in flight. */
void gs_singleflight_forget(gs_singleflight *g, const char *key);

/**
 * gs_limiter - a token bucket, as x/time/rate
 *
 * It holds at most `burst` tokens, is full at first, and gets per_second tokens a second
 * (INFINITY: all is allowed; 0: none). Each event takes one token, or n. Zeroed: nothing is
 * allowed. Times are those of gs_now; the calls without `now` use gs_now().
 */
typedef struct gs_limiter {
	uint32_t lock, pad;
	int64_t burst, last, last_event;
	double limit, tokens;
} gs_limiter;

/* A promise to act not before `act`; what gs_limiter_reserve fills. */
typedef struct gs_reservation {
	gs_limiter *limiter; /* NULL: there is none */
	int64_t tokens, act;
	double limit;
} gs_reservation;

void gs_limiter_init(gs_limiter *l, double per_second, int64_t burst);
bool gs_limiter_allow(gs_limiter *l); /* true: it may happen now, a token was taken */
bool gs_limiter_allow_n(gs_limiter *l, int64_t now, int64_t n);

/**
 * gs_limiter_wait - wait for a token (gs_limiter_wait_n: for n of them)
 * @ctx: gives up when it is cancelled, and at once if its deadline is too early; NULL: none
 *
 * Return: 0; the context's error, the tokens are given back; -ETIMEDOUT at once when the wait
 * would exceed the deadline; -EINVAL when n is more than the burst.
 */
int gs_limiter_wait(gs_limiter *l, gs_context *ctx);
int gs_limiter_wait_n(gs_limiter *l, gs_context *ctx, int64_t n);

/*
 * Take n tokens that may be still to come: act at r->act. False, and nothing happened, if n
 * is more than the burst or the wait more than max_wait nanoseconds.
 */
bool gs_limiter_reserve(gs_limiter *l, int64_t now, int64_t n, int64_t max_wait, gs_reservation *r);

/* It will not happen: give back what others did not reserve meanwhile, if act is to come. */
void gs_reservation_cancel(gs_reservation *r, int64_t now);

void gs_limiter_set_limit(gs_limiter *l, int64_t now, double per_second);
void gs_limiter_set_burst(gs_limiter *l, int64_t now, int64_t burst);
double gs_limiter_tokens(gs_limiter *l, int64_t now); /* how many there are; negative: owed */

/**
 * gs_pool - objects to be used again
 * @new_fn: makes one when there is none; NULL: gs_pool_get returns NULL then
 * @drop_fn: frees one; NULL: nothing is to be freed
 *
 * A cache on each proc, and one for ordinary threads: what is put is mostly got again on
 * the same proc, the newest first, else by who finds his own cache empty. Any object may
 * come back, with whatever was left in it.
 *
 * There is no garbage collector: unlike in Go, an object stays until it is got or
 * gs_pool_clear drops it. Clear gives up all the pool's memory, so it is also the last call
 * on a pool that goes. An object that cannot be kept for want of memory is dropped at once.
 * new_fn and drop_fn are called without a lock and may block, panic and exit. When drop_fn
 * does not return the rest is dropped in a deferred call, some 4 KiB further down the stack.
 */
typedef struct gs_pool {
	void *(*new_fn)(void);
	void (*drop_fn)(void *);
	struct gs_pool_table *table;
} gs_pool;

void *gs_pool_get(gs_pool *p);
void gs_pool_put(gs_pool *p, void *x); /* NULL is ignored */
void gs_pool_clear(gs_pool *p);	       /* beside get and put, too */

/**
 * gs_map - a hash map for many fibers, as sync.Map
 * @hash: of a key; NULL: keys compare as pointers
 * @equal: whether two keys are the same; NULL: as pointers
 *
 * Keys and values are pointers of the caller's; the map looks at keys through hash and equal
 * only, and at values never. It has 16 parts, each with its own gs_rwmutex: readers do not
 * wait for each other, and seldom for writers. hash and equal may block, panic and exit, but
 * must not use the map.
 *
 * Memory. A key must stay as it is while it stands in the map. When delete, clear, or what
 * else took an entry away has returned, no call looks at its key any more. But who loaded
 * a value may still use it when another deletes it and frees it. Ways to be safe from that:
 *  - values that are not freed while the map is in use;
 *  - counted values, and gs_map_load_ref, which takes a reference while the entry cannot be
 *    deleted; whoever deletes it then gives up the map's reference.
 *
 * It takes memory from the first store on; gs_map_clear gives up all of it, so it is also
 * the last call on a map that goes. A store without memory ends the process as Go's does.
 */
typedef struct gs_map {
	uint64_t (*hash)(const void *key);
	bool (*equal)(const void *a, const void *b);
	struct gs_map_table *table;
} gs_map;

void gs_map_init(gs_map *m, uint64_t (*hash)(const void *key),
		 bool (*equal)(const void *a, const void *b));

/* True: there; *value gets the value. value may be NULL, here and below. */
bool gs_map_load(gs_map *m, const void *key, void **value);

/* The same, and ref(value) is called before anybody can have deleted it; it must not block long. */
bool gs_map_load_ref(gs_map *m, const void *key, void (*ref)(void *value), void **value);

/* When the key is there, its value is replaced and the map keeps the key it has. */
void gs_map_store(gs_map *m, const void *key, void *value);

/* True: there, *actual gets its value. False: stored, *actual gets the one given. */
bool gs_map_load_or_store(gs_map *m, const void *key, void *value, void **actual);

/* Store; true: there was a value, *previous gets it. Else *previous gets NULL. */
bool gs_map_swap(gs_map *m, const void *key, void *value, void **previous);

/* True: there, and it is not any more. *value gets its value, or NULL. */
bool gs_map_delete(gs_map *m, const void *key);
bool gs_map_load_and_delete(gs_map *m, const void *key, void **value);

/* If it is there and its value is old: replace it, or delete it. True: done. */
bool gs_map_compare_and_swap(gs_map *m, const void *key, void *old, void *value);
bool gs_map_compare_and_delete(gs_map *m, const void *key, void *old);

/**
 * gs_map_range - call fn for each entry, until it returns false
 *
 * fn is called without a lock and may use the map, range over it too. An entry that is there
 * all the time is seen, once; one that was deleted before its turn is not; one that came
 * meanwhile may be. It is no snapshot: each is seen as it is at its turn.
 */
void gs_map_range(gs_map *m, bool (*fn)(const void *key, void *value, void *arg), void *arg);
void gs_map_clear(gs_map *m); /* delete all */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_SYNC_H */
