/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fiber-local storage: values that each fiber has for itself, as pthread keys and C11's
 * tss_t are each thread's. A fiber's values follow it wherever it runs.
 *
 *	static gs_local buffer;
 *
 *	gs_local_create(&buffer, free);			// once
 *	...
 *	char *b = gs_local_get(buffer);			// NULL at first, in every fiber
 *
 *	if (!b) {
 *		b = malloc(SIZE);
 *		gs_local_set(buffer, b);
 *	}
 *
 * On an ordinary thread the same calls work on values of that thread.
 *
 * When a fiber ends, by a return, by gs_exit or after a panic that it recovered from, its
 * destructors run in it, when all that it deferred has run: for each value that is not NULL
 * and whose key has a destructor, the value becomes NULL and the destructor is called with
 * what it was. They may do all that a fiber may: wait, defer, set values. While there are
 * new ones they are called again, for up to GS_LOCAL_ROUNDS rounds; what is left is
 * forgotten. gs_exit ends the destructor, not the others. The order of keys in a round is
 * not specified.
 *
 * gs_run, gs_wg_wait and gs_errgroup_wait return when the destructors of the fibers that they
 * wait for have run: those of gs_run, gs_wg_go and gs_errgroup_go. Whoever is told in
 * another way, by a channel or by gs_wg_done, that a fiber is done may be told before.
 *
 * A thread's destructors run when the thread ends, with those of its pthread keys. None runs
 * when the process ends (and so does every fiber), by exit, by a panic, or by fork in the
 * child: that one finds the values that the calling fiber or thread had.
 *
 * A fiber that sets no value pays nothing. One that does has a table, by the number of keys
 * in use when it first set one; it is freed when the fiber ends.
 *
 * All calls may be used on fibers and on any ordinary thread (T), whether the runtime runs or
 * not, by no signal handler, and none of them waits.
 */
#ifndef GSCHED_LOCAL_H
#define GSCHED_LOCAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* So many keys there may be at a time, in the process. */
#define GS_LOCAL_KEYS_MAX 1024

/* So often destructors are called for what destructors set, the first time included. */
#define GS_LOCAL_ROUNDS 4

/* A key: to be copied as one likes. Zero-initialised it is none. The members are private. */
typedef struct gs_local {
	uint32_t index;
	uint32_t serial;
} gs_local;

/**
 * gs_local_create - make a key (T)
 * @key: where it goes, when that succeeded. To make it once, use gs_once_do
 * @destroy: called with the value, not NULL, of a fiber or thread that ends; NULL: nothing is
 *
 * The value is NULL in all fibers and threads, those to come, too.
 *
 * Return: 0; -EAGAIN when there are GS_LOCAL_KEYS_MAX keys; -EINVAL when @key is NULL.
 */
int gs_local_create(gs_local *key, void (*destroy)(void *value));

/**
 * gs_local_delete - give a key back (T)
 * @key: one that is none, or was deleted, is left alone
 *
 * No destructor is called for it from now on, by whoever sees that it was deleted: values that
 * are to be freed are the caller's. One that has begun goes on. What the key's place is used
 * for later shows none of its values.
 */
void gs_local_delete(gs_local key);

/**
 * gs_local_get - the calling fiber's or thread's value (T)
 * @key: the key
 *
 * Return: what was set last; NULL when nothing was, or @key is none, or was deleted.
 */
void *gs_local_get(gs_local key);

/**
 * gs_local_set - set the calling fiber's or thread's value (T)
 * @key: the key
 * @value: the value; no destructor is called for the one before
 *
 * Return: 0; -EINVAL when @key is none, or was deleted; -ENOMEM, or, on an ordinary thread,
 * -EAGAIN when pthread keys have run out: the value is what it was.
 */
int gs_local_set(gs_local key, const void *value);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_LOCAL_H */
