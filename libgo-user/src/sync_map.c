/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map: 16 parts, chosen by the hash, each a chained hash table under a gs_rwmutex. The
 * entries of a part are also in a list, in the order of their coming, for range.
 *
 * Range. A cursor, on the ranger's stack, is known to the part: it points at the next entry
 * to be seen, and whoever takes that entry away moves it on. Entries have numbers; the ones
 * that came after the ranger are not seen, so it comes to an end whatever its function
 * stores. The cursor leaves the part however that function ends.
 *
 * equal and ref are called with the part locked: a map that has the one, or a call with the
 * other, unlocks it in a deferred call, for they may panic or exit.
 *
 * The table with the parts is one of sync_tables.h. Entries and chains are freed; nobody has a
 * pointer to them without the part's lock, cursors apart.
 */
#include <gsched/runtime.h>
#include <gsched/sync.h>

#include <stdlib.h>

#include "base/atomic.h"
#include "base/fatal.h"
#include "base/list.h"
#include "panic.h"
#include "sync_tables.h"

#define PART_BITS 4
#define PARTS (1 << PART_BITS)
#define FIRST_CHAINS 4

struct entry {
	struct entry *next;  /* in its chain */
	struct gs_list node; /* in the part */
	uint64_t hash;
	uint64_t number;
	const void *key;
	void *value;
};

struct cursor {
	struct gs_list node; /* in the part */
	struct gs_list *at;  /* the next entry's node, or the part's */
	uint64_t limit;	     /* entries from this number on are not seen */
	struct part *part;
	const gs_map *map;
};

/* All under lock: written by who has it alone, but for a cursor's fields, its ranger's. */
struct part {
	gs_rwmutex lock;
	const gs_map *owner; /* NULL none */
	struct entry **chains;
	uint64_t nchains; /* a power of two; 0 none */
	uint64_t count;
	uint64_t numbers; /* the next entry's */
	struct gs_list entries;
	struct gs_list cursors;
} __attribute__((aligned(64)));

struct gs_map_table {
	struct gs_table table;
	struct part parts[PARTS];
};

static struct gs_tables tables = {
	.align = _Alignof(struct gs_map_table),
	.size = sizeof(struct gs_map_table),
};
GS_LOCK_FORKS(map_tables_lock, tables.lock);

static _Noreturn void __attribute__((noinline, cold)) no_memory(void)
{
	gs_fatal("gs_map: out of memory");
}

/* The finaliser of MurmurHash3: a weak hash, or a pointer, has all its bits in all of these. */
static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	return h ^ h >> 33;
}

static uint64_t hash_of(const gs_map *m, const void *key)
{
	return mix(m->hash ? m->hash(key) : (uint64_t)(uintptr_t)key);
}

/* ------------------------------------------------------------------------- */
/* Tables                                                                      */

/* The part is nobody's: its entries, chained by next. Cursors find that they are at the end. */
static struct entry *disown(struct part *part)
{
	struct entry *chain = NULL;
	struct gs_list *l;

	while (!gs_list_empty(&part->entries)) {
		struct entry *e = gs_container_of(part->entries.next, struct entry, node);

		gs_list_del(&e->node);
		e->next = chain;
		chain = e;
	}
	for (l = part->cursors.next; l != &part->cursors; l = l->next)
		gs_container_of(l, struct cursor, node)->at = &part->entries;
	free(part->chains);
	part->chains = NULL;
	part->nchains = 0;
	part->count = 0;
	part->owner = NULL;
	return chain;
}

/* Its parts are nobody's any more, and what was in them is gone. */
static void table_disown(struct gs_map_table *t)
{
	for (int i = 0; i < PARTS; i++) {
		struct entry *e, *next;

		gs_rwmutex_lock(&t->parts[i].lock);
		e = disown(&t->parts[i]);
		gs_rwmutex_unlock(&t->parts[i].lock);
		for (; e; e = next) {
			next = e->next;
			free(e);
		}
	}
	gs_tables_put(&tables, &t->table);
}

/* An empty table's parts are m's from now on. */
static void table_own(struct gs_map_table *t, const gs_map *m)
{
	for (int i = 0; i < PARTS; i++) {
		gs_rwmutex_lock(&t->parts[i].lock);
		t->parts[i].owner = m;
		gs_rwmutex_unlock(&t->parts[i].lock);
	}
}

static struct gs_map_table *table_get(gs_map *m)
{
	struct gs_map_table *t, *other = NULL;
	bool fresh;

	t = (struct gs_map_table *)gs_tables_get(&tables, &fresh);
	if (!t)
		no_memory();
	for (int i = 0; fresh && i < PARTS; i++) {
		gs_list_init(&t->parts[i].entries);
		gs_list_init(&t->parts[i].cursors);
	}
	table_own(t, m);
	/* acq_rel: pairs with the acquire in lock_part */
	if (gs_cas_acq_rel(&m->table, &other, t))
		return t;
	/*
	 * Who is about to store something in a table that m had before a clear may have
	 * found this one to be m's again: that was cleared.
	 */
	table_disown(t);
	return NULL;
}

static void unlock_part(struct part *part, bool write)
{
	if (write)
		gs_rwmutex_unlock(&part->lock);
	else
		gs_rwmutex_runlock(&part->lock);
}

/* A locked part, and what is to be freed when it is not any more. */
struct held {
	struct gs_deferred deferred; /* if guarded */
	struct part *part;
	struct entry *entry;
	bool write, guarded;
};

static void let_go(void *arg)
{
	struct held *h = arg;

	unlock_part(h->part, h->write);
	free(h->entry);
}

static inline void end_hold(struct held *h)
{
	if (gs_unlikely(h->guarded))
		gs_defer_pop(&h->deferred);
	else
		let_go(h);
}

/* Lock the hash's part; NULL: there is nothing in the map, and make is false. */
static struct part *lock_part(gs_map *m, uint64_t hash, bool write, bool make)
{
	for (;;) {
		/* acquire: pairs with the release in table_get */
		struct gs_map_table *t = gs_load_acquire(&m->table);
		struct part *part;

		if (!t) {
			if (!make)
				return NULL;
			t = table_get(m);
			if (!t)
				continue;
		}
		part = &t->parts[hash >> (64 - PART_BITS)];
		if (write)
			gs_rwmutex_lock(&part->lock);
		else
			gs_rwmutex_rlock(&part->lock);
		if (gs_likely(part->owner == m))
			return part;
		unlock_part(part, write);
	}
}

/*
 * The same until end_hold; false: nothing is there, or held. guarded: somebody else's code
 * will run meanwhile.
 */
static inline bool hold(struct held *h, gs_map *m, uint64_t hash, bool make, bool guarded)
{
	h->part = lock_part(m, hash, h->write, make);
	if (!h->part)
		return false;
	h->guarded = guarded;
	if (gs_unlikely(guarded))
		gs_defer_push(&h->deferred, let_go, h);
	return true;
}

/* ------------------------------------------------------------------------- */
/* Entries, the part locked                                                    */

static struct entry **find(const gs_map *m, struct part *part, uint64_t hash, const void *key)
{
	static struct entry *none;
	struct entry **at;

	if (!part->count)
		return &none;
	for (at = &part->chains[hash & (part->nchains - 1)]; *at; at = &(*at)->next) {
		const struct entry *e = *at;

		if (e->hash == hash && (e->key == key || (m->equal && m->equal(e->key, key))))
			break;
	}
	return at;
}

/* Twice the chains when there is one entry for each; without memory they get longer. */
static void grow(struct part *part)
{
	uint64_t n = part->nchains ? 2 * part->nchains : FIRST_CHAINS;
	struct entry **chains;
	struct gs_list *l;

	if (part->count < part->nchains)
		return;
	chains = calloc(n, sizeof(struct entry *));
	if (!chains) {
		if (!part->nchains)
			no_memory();
		return;
	}
	for (l = part->entries.next; l != &part->entries; l = l->next) {
		struct entry *e = gs_container_of(l, struct entry, node);

		e->next = chains[e->hash & (n - 1)];
		chains[e->hash & (n - 1)] = e;
	}
	free(part->chains);
	part->chains = chains;
	part->nchains = n;
}

static void insert(struct part *part, struct entry *e)
{
	struct entry **chain;

	grow(part);
	chain = &part->chains[e->hash & (part->nchains - 1)];
	e->next = *chain;
	*chain = e;
	e->number = part->numbers++;
	gs_list_add_tail(&part->entries, &e->node);
	part->count++;
}

/* *at is off the part; the caller frees it, unlocked. */
static struct entry *take_out(struct part *part, struct entry **at)
{
	struct entry *e = *at;
	struct gs_list *l;

	*at = e->next;
	for (l = part->cursors.next; l != &part->cursors; l = l->next) {
		struct cursor *c = gs_container_of(l, struct cursor, node);

		if (c->at == &e->node)
			c->at = e->node.next;
	}
	gs_list_del(&e->node);
	part->count--;
	return e;
}

static void give(void **to, void *value)
{
	if (to)
		*to = value;
}

/* ------------------------------------------------------------------------- */
/* The calls                                                                   */

void gs_map_init(gs_map *m, uint64_t (*hash)(const void *key),
		 bool (*equal)(const void *a, const void *b))
{
	if (equal && !hash)
		gs_panic("gs_map_init: equal without hash");
	*m = (gs_map){.hash = hash, .equal = equal};
}

bool gs_map_load_ref(gs_map *m, const void *key, void (*ref)(void *value), void **value)
{
	struct held h = {.write = false};
	uint64_t hash;
	struct entry *e;

	give(value, NULL);
	if (!gs_load_relaxed(&m->table))
		return false;
	hash = hash_of(m, key);
	if (!hold(&h, m, hash, false, m->equal || ref))
		return false;
	e = *find(m, h.part, hash, key);
	if (e) {
		if (ref)
			ref(e->value);
		give(value, e->value);
	}
	end_hold(&h);
	return e;
}

bool gs_map_load(gs_map *m, const void *key, void **value)
{
	return gs_map_load_ref(m, key, NULL, value);
}

/* What of it there is, or else the new one: true, and *old is set; or false. */
static bool store(gs_map *m, const void *key, void *value, bool replace, void **old)
{
	uint64_t hash = hash_of(m, key);
	struct held h = {.write = true, .entry = malloc(sizeof(*h.entry))};
	struct entry *e;

	if (!h.entry)
		no_memory();
	hold(&h, m, hash, true, m->equal);
	e = *find(m, h.part, hash, key);
	if (e) {
		*old = e->value;
		if (replace)
			e->value = value;
	} else {
		*h.entry = (struct entry){.hash = hash, .key = key, .value = value};
		insert(h.part, h.entry);
		h.entry = NULL;
	}
	end_hold(&h);
	return e;
}

void gs_map_store(gs_map *m, const void *key, void *value)
{
	void *old;

	store(m, key, value, true, &old);
}

bool gs_map_load_or_store(gs_map *m, const void *key, void *value, void **actual)
{
	void *old = value;
	bool loaded;

	if (gs_map_load(m, key, &old)) {
		give(actual, old);
		return true;
	}
	old = value;
	loaded = store(m, key, value, false, &old);
	give(actual, old);
	return loaded;
}

bool gs_map_swap(gs_map *m, const void *key, void *value, void **previous)
{
	void *old = NULL;
	bool loaded = store(m, key, value, true, &old);

	give(previous, old);
	return loaded;
}

static bool take(gs_map *m, const void *key, const void *const *only, void **value)
{
	struct held h = {.write = true};
	struct entry **at;
	uint64_t hash;
	bool taken;

	give(value, NULL);
	if (!gs_load_relaxed(&m->table))
		return false;
	hash = hash_of(m, key);
	if (!hold(&h, m, hash, false, m->equal))
		return false;
	at = find(m, h.part, hash, key);
	taken = *at && (!only || (*at)->value == *only);
	if (taken) {
		h.entry = take_out(h.part, at);
		give(value, h.entry->value);
	}
	end_hold(&h);
	return taken;
}

bool gs_map_load_and_delete(gs_map *m, const void *key, void **value)
{
	return take(m, key, NULL, value);
}

bool gs_map_delete(gs_map *m, const void *key)
{
	return take(m, key, NULL, NULL);
}

bool gs_map_compare_and_delete(gs_map *m, const void *key, void *old)
{
	const void *only = old;

	return take(m, key, &only, NULL);
}

bool gs_map_compare_and_swap(gs_map *m, const void *key, void *old, void *value)
{
	struct held h = {.write = true};
	bool swapped = false;
	struct entry *e;
	uint64_t hash;

	if (!gs_load_relaxed(&m->table))
		return false;
	hash = hash_of(m, key);
	if (!hold(&h, m, hash, false, m->equal))
		return false;
	e = *find(m, h.part, hash, key);
	if (e && e->value == old) {
		e->value = value;
		swapped = true;
	}
	end_hold(&h);
	return swapped;
}

/* Deferred: however the ranger's function ends. */
static void end_range(void *arg)
{
	struct cursor *c = arg;

	gs_rwmutex_lock(&c->part->lock);
	gs_list_del(&c->node);
	gs_rwmutex_unlock(&c->part->lock);
}

/* The next entry of the part, copied; false: there is none, or it is another map's now. */
static bool next_entry(struct cursor *c, const void **key, void **value)
{
	struct part *part = c->part;
	struct entry *e = NULL;

	gs_rwmutex_rlock(&part->lock);
	if (part->owner == c->map && c->at != &part->entries) {
		e = gs_container_of(c->at, struct entry, node);
		if (e->number >= c->limit)
			e = NULL;
	}
	if (e) {
		*key = e->key;
		*value = e->value;
		c->at = c->at->next;
	}
	gs_rwmutex_runlock(&part->lock);
	return e;
}

void gs_map_range(gs_map *m, bool (*fn)(const void *key, void *value, void *arg), void *arg)
{
	struct gs_map_table *t = gs_load_acquire(&m->table);
	bool go_on = true;

	for (int i = 0; t && go_on && i < PARTS; i++) {
		struct cursor c = {.part = &t->parts[i], .map = m};
		struct gs_deferred d;
		const void *key;
		void *value;

		gs_rwmutex_lock(&c.part->lock);
		c.at = c.part->owner == m ? c.part->entries.next : &c.part->entries;
		c.limit = c.part->numbers;
		gs_list_add_tail(&c.part->cursors, &c.node);
		gs_rwmutex_unlock(&c.part->lock);
		gs_defer_push(&d, end_range, &c);
		while (go_on && next_entry(&c, &key, &value))
			go_on = fn(key, value, arg);
		gs_defer_pop(&d);
	}
}

void gs_map_clear(gs_map *m)
{
	struct gs_map_table *t = gs_xchg_seq(&m->table, (struct gs_map_table *)0);

	if (t)
		table_disown(t);
}
