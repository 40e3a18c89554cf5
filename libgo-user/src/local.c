/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keys are a table of the process's, values one of each fiber's or thread's, made when the
 * first is set, and looked at by nobody else.
 *
 * A key's place has a serial number, odd while it is in use; the key says which, and so does
 * each value. So values of a key that was deleted are nobody's, and nothing has to look for
 * them.
 */
#include "local.h"

#include <errno.h>
#include <gsched/local.h>
#include <gsched/runtime.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "fiber.h"
#include "worker.h"

struct value {
	void *value;
	uint32_t serial; /* of the key it belongs to; 0 none */
};

struct gs_locals {
	uint32_t n;
	/* destructors: how far they have come, for one of them may end the fiber */
	uint32_t round, at;
	bool called; /* one in this round */
	struct value values[];
};

static struct key {
	uint32_t serial; /* atomic */
	void (*destroy)(void *value);
} keys[GS_LOCAL_KEYS_MAX];

static __thread struct gs_locals *of_thread;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key; /* set where of_thread is: for its destructor */
static bool thread_ends;	 /* there is such a key; written once */

/* ------------------------------------------------------------------------- */
/* Keys                                                                        */

static inline bool is_key(gs_local key)
{
	return key.index < GS_LOCAL_KEYS_MAX && key.serial & 1 &&
	       gs_load_relaxed(&keys[key.index].serial) == key.serial;
}

int gs_local_create(gs_local *key, void (*destroy)(void *))
{
	if (!key)
		return -EINVAL;
	for (uint32_t i = 0; i < GS_LOCAL_KEYS_MAX; i++) {
		uint32_t serial = gs_load_relaxed(&keys[i].serial);

		/* the last number there is ends the use of this place */
		if (serial & 1 || serial == UINT32_MAX - 1 ||
		    !gs_cas_acquire(&keys[i].serial, &serial, serial + 1))
			continue;
		/* release: pairs with destructor_of; who sees it sees the new number */
		gs_store_release(&keys[i].destroy, destroy);
		key->index = i;
		key->serial = serial + 1;
		return 0;
	}
	return -EAGAIN;
}

void gs_local_delete(gs_local key)
{
	uint32_t serial = key.serial;

	if (key.index < GS_LOCAL_KEYS_MAX && serial & 1)
		gs_cas_release(&keys[key.index].serial, &serial, serial + 1);
}

/* NULL: none, or the key is no more. */
static void (*destructor_of(uint32_t index, uint32_t serial))(void *)
{
	struct key *k = &keys[index];
	/* acquire: if it is that of a later key, so is the number */
	void (*destroy)(void *) = gs_load_acquire(&k->destroy);

	return gs_load_relaxed(&k->serial) == serial ? destroy : NULL;
}

/* ------------------------------------------------------------------------- */
/* Values                                                                      */

/*
 * The calling fiber; NULL on an ordinary thread. A preemption that comes meanwhile comes again:
 * none of these calls gives way.
 */
static inline struct gs_fiber *self(void)
{
	struct gs_worker *w = gs_arch_enter();
	struct gs_fiber *f;

	if (gs_unlikely(!w))
		return NULL;
	f = w->cur;
	gs_arch_unpin();
	return f;
}

void *gs_local_get(gs_local key)
{
	struct gs_fiber *f = self();
	struct gs_locals *t = gs_likely(f != NULL) ? f->local : of_thread;
	struct value *v;

	if (gs_unlikely(!t || key.index >= t->n))
		return NULL;
	v = &t->values[key.index];
	return v->serial == key.serial && is_key(key) ? v->value : NULL;
}

static void thread_end(void *arg);

static void make_thread_key(void)
{
	thread_ends = !pthread_key_create(&thread_key, thread_end);
}

/* A table with room for the index in its place. */
static int grow(struct gs_locals **place, uint32_t index)
{
	struct gs_locals *old = *place, *t;
	uint32_t n = 4;

	while (n <= index)
		n *= 2;
	t = calloc(1, sizeof(*t) + n * sizeof(t->values[0]));
	if (!t)
		return -ENOMEM;
	if (old)
		memcpy(t, old, sizeof(*t) + old->n * sizeof(t->values[0]));
	t->n = n;
	*place = t;
	free(old);
	return 0;
}

/* The calling thread's first table: its end must be noticed. */
static int begin_thread(void)
{
	pthread_once(&thread_once, make_thread_key);
	if (!thread_ends)
		return -EAGAIN;
	return -pthread_setspecific(thread_key, &thread_key);
}

int gs_local_set(gs_local key, const void *value)
{
	struct gs_fiber *f = self();
	struct gs_locals **place = f ? &f->local : &of_thread;
	struct value *v;
	int r = 0, saved;

	if (!is_key(key))
		return -EINVAL;
	if (gs_unlikely(!*place || key.index >= (*place)->n)) {
		if (!value)
			return 0;
		saved = errno;
		if (!f && !*place)
			r = begin_thread();
		if (!r)
			r = grow(place, key.index);
		errno = saved;
		if (r)
			return r;
	}
	v = &(*place)->values[key.index];
	v->serial = key.serial;
	v->value = (void *)(uintptr_t)value;
	return 0;
}

/* ------------------------------------------------------------------------- */
/* Their end                                                                   */

/* The next destructor to call, or NULL. Each call may have changed the table. */
static void (*next(struct gs_locals *t, void **value))(void *)
{
	void (*destroy)(void *);

	for (;;) {
		while (t->at < t->n) {
			struct value *v = &t->values[t->at++];

			destroy = v->value ? destructor_of(t->at - 1, v->serial) : NULL;
			if (!destroy)
				continue;
			*value = v->value;
			v->value = NULL;
			t->called = true;
			return destroy;
		}
		if (!t->called || ++t->round >= GS_LOCAL_ROUNDS)
			return NULL;
		t->called = false;
		t->at = 0;
	}
}

static void drop(struct gs_locals **place)
{
	struct gs_locals *t = *place;

	*place = NULL;
	free(t);
}

/* What it defers runs when it returns, and it may recover from a panic by that. */
static int call(void (*destroy)(void *), void *value)
{
	GS_DEFER_SCOPE;
	destroy(value);
	return 0;
}

bool gs_local_any(void)
{
	const struct gs_fiber *f = self();

	/* NULL: in the child of a fork its values are the thread's */
	return f && f->local;
}

void gs_local_end(struct gs_fiber *f)
{
	void (*destroy)(void *);
	void *value;

	while ((destroy = next(f->local, &value)))
		call(destroy, value);
	drop(&f->local);
}

void gs_local_drop(struct gs_fiber *f)
{
	drop(&f->local);
}

/* Where a value is set after this, by another key's destructor, libc calls it again. */
static void thread_end(void *arg)
{
	void (*destroy)(void *);
	void *value;

	(void)arg;
	if (!of_thread)
		return;
	while ((destroy = next(of_thread, &value)))
		destroy(value);
	drop(&of_thread);
}

/* In the child the fiber goes on as an ordinary thread, and what tells fibers is not mapped. */
static __thread struct gs_fiber *forking;

void gs_local_fork(void)
{
	forking = self();
}

void gs_local_forked(void)
{
	if (forking)
		of_thread = forking->local;
	forking = NULL;
}
