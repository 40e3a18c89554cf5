/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One call in flight for each key. The flights are in a hash table, chained, under the
 * mutex; a flight leaves it when its call is over, or when it is forgotten, and the last
 * one takes the table along, so that an unused object holds no memory.
 *
 * A flight is counted: one for the caller that flies it, one for each that waits.
 */
#include <errno.h>
#include <gsched/runtime.h>
#include <gsched/sync.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "panic.h"
#include "sched.h"

#define FIRST_SIZE 8

enum outcome { EXITED, RETURNED, PANICKED };

/* Protection: [M] the object's mutex; [W] written before landed is done, read after it. */
struct gs_flight {
	struct gs_flight *next; /* M: in its chain */
	gs_singleflight *group; /* I */
	uint64_t hash;		/* I */
	gs_waitgroup landed;
	uint32_t refs;	      /* atomic */
	uint32_t dups;	      /* M: who waits */
	bool listed;	      /* M */
	enum outcome outcome; /* W */
	int err;	      /* W */
	void *result;	      /* W */
	char *text;	      /* W: of the panic; malloc'd */
	char key[];	      /* I */
};

/* FNV-1a. */
static uint64_t hash_of(const char *key)
{
	uint64_t h = 0xcbf29ce484222325u;

	while (*key)
		h = (h ^ (unsigned char)*key++) * 0x100000001b3u;
	return h ^ h >> 32;
}

static struct gs_flight *find(const gs_singleflight *g, const char *key, uint64_t hash)
{
	struct gs_flight *f = g->count ? g->table[hash & (g->size - 1)] : NULL;

	while (f && (f->hash != hash || strcmp(f->key, key)))
		f = f->next;
	return f;
}

/* Room for one more; a table that cannot grow works on. False: there is none at all. */
static bool make_room(gs_singleflight *g)
{
	uint32_t size = g->size ? 2 * g->size : FIRST_SIZE;
	struct gs_flight **table;

	if (g->count < g->size || size < g->size)
		return true;
	table = calloc(size, sizeof(*table));
	if (!table)
		return g->size;
	for (uint32_t i = 0; i < g->size; i++) {
		struct gs_flight *f;

		while ((f = g->table[i])) {
			g->table[i] = f->next;
			f->next = table[f->hash & (size - 1)];
			table[f->hash & (size - 1)] = f;
		}
	}
	free(g->table);
	g->table = table;
	g->size = size;
	return true;
}

static void unlist(gs_singleflight *g, struct gs_flight *f)
{
	struct gs_flight **at = &g->table[f->hash & (g->size - 1)];

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->listed = false;
	if (--g->count == 0) {
		free(g->table);
		g->table = NULL;
		g->size = 0;
	}
}

static void unref(struct gs_flight *f)
{
	/* acq_rel: what others read of it they have read */
	if (gs_fetch_sub_acq_rel(&f->refs, 1) != 1)
		return;
	free(f->text);
	free(f);
}

static void land(struct gs_flight *f)
{
	gs_singleflight *g = f->group;

	gs_mutex_lock(&g->mutex);
	if (f->listed)
		unlist(g, f);
	gs_mutex_unlock(&g->mutex);
	gs_wg_done(&f->landed);
}

static _Noreturn void panic_as(struct gs_flight *f)
{
	char text[1024];

	strncpy(text, f->text ? f->text : "panic in gs_singleflight_do", sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	unref(f);
	gs_panic("%s", text);
}

/* Deferred by the flyer: fn returned, or panicked, or exited. */
static void after_call(void *arg)
{
	struct gs_flight *f = arg;
	const char *text;

	if (f->outcome == RETURNED)
		return;
	text = gs_recover();
	if (text) {
		f->outcome = PANICKED;
		f->text = strdup(text);
	}
	land(f);
	if (text)
		panic_as(f); /* go on with it */
	unref(f);
}

static int wait_for(struct gs_flight *f, void **result, bool *shared)
{
	int err;

	gs_wg_wait(&f->landed);
	if (f->outcome == PANICKED)
		panic_as(f);
	if (f->outcome == EXITED) {
		unref(f);
		if (gs_on_fiber())
			gs_exit();
		return -ECANCELED;
	}
	err = f->err;
	if (result)
		*result = f->result;
	if (shared)
		*shared = true;
	unref(f);
	return err;
}

int gs_singleflight_do(gs_singleflight *g, const char *key, int (*fn)(void *arg, void **result),
		       void *arg, void **result, bool *shared)
{
	uint64_t hash = hash_of(key);
	size_t len = strlen(key) + 1;
	struct gs_flight *f;
	struct gs_deferred d;
	int err;

	if (result)
		*result = NULL;
	if (shared)
		*shared = false;
	gs_mutex_lock(&g->mutex);
	f = find(g, key, hash);
	if (f) {
		f->dups++;
		gs_fetch_add_relaxed(&f->refs, 1);
		gs_mutex_unlock(&g->mutex);
		return wait_for(f, result, shared);
	}
	f = make_room(g) ? calloc(1, sizeof(*f) + len) : NULL;
	if (!f) {
		if (!g->count) {
			free(g->table);
			g->table = NULL;
			g->size = 0;
		}
		gs_mutex_unlock(&g->mutex);
		return -ENOMEM;
	}
	memcpy(f->key, key, len);
	f->group = g;
	f->hash = hash;
	f->refs = 1;
	gs_wg_add(&f->landed, 1);
	f->listed = true;
	f->next = g->table[hash & (g->size - 1)];
	g->table[hash & (g->size - 1)] = f;
	g->count++;
	gs_mutex_unlock(&g->mutex);

	gs_defer_push(&d, after_call, f);
	f->err = fn(arg, &f->result);
	f->outcome = RETURNED;
	/* what fn deferred comes after the landing, at the fiber's end: it is not its function */
	gs_defer_pop(&d);
	land(f);
	/* off the list, or forgotten: none is added */
	err = f->err;
	if (result)
		*result = f->result;
	if (shared)
		*shared = f->dups;
	unref(f);
	return err;
}

void gs_singleflight_forget(gs_singleflight *g, const char *key)
{
	uint64_t hash = hash_of(key);
	struct gs_flight *f;

	gs_mutex_lock(&g->mutex);
	f = find(g, key, hash);
	if (f)
		unlist(g, f);
	gs_mutex_unlock(&g->mutex);
}
