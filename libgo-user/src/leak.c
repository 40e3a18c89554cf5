/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hash table of what lives, by address. */
#include "leak.h"

#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "backtrace.h"
#include "base/lock.h"

#define BUCKETS 4096

uint32_t gs_leak_state;

static struct gs_lock lock;
GS_LOCK_FORKS(leak_lock, lock);
static struct gs_leak *table[BUCKETS]; /* lock */
static size_t count;		       /* lock */

/* leak, or leak=n with n not 0, among the words of GSCHED_DEBUG. */
bool gs_leak_find(void)
{
	const char *s = getenv("GSCHED_DEBUG");
	bool on = false;

	while (s && *s) {
		size_t n = strcspn(s, ",");

		if (!strncmp(s, "leak", 4) && (n == 4 || s[4] == '='))
			on = n == 4 || atoi(s + 5);
		s += n + (s[n] == ',');
	}
	gs_store_relaxed(&gs_leak_state, on ? 2 : 1);
	return on;
}

static struct gs_leak **bucket(const void *object)
{
	return &table[((uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 52];
}

void gs_leak_add(enum gs_leak_kind kind, const void *object)
{
	struct gs_leak *l = object ? calloc(1, sizeof(*l)) : NULL, **head = bucket(object);
	bool pinned;

	if (!l)
		return;
	l->object = object;
	l->kind = kind;
	l->npcs = gs_backtrace_keep(l->pcs, GS_LEAK_FRAMES, 1);
	pinned = gs_arch_pin_worker();
	gs_lock_acquire(&lock);
	l->next = *head;
	*head = l;
	count++;
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
}

void gs_leak_remove(const void *object)
{
	bool pinned = gs_arch_pin_worker();
	struct gs_leak **at, *l;

	gs_lock_acquire(&lock);
	for (at = bucket(object); *at && (*at)->object != object; at = &(*at)->next)
		;
	l = *at;
	if (l) {
		*at = l->next;
		count--;
	}
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	free(l);
}

struct gs_leak *gs_leak_copy(size_t *n)
{
	size_t room = gs_load_relaxed(&count) + 64;
	struct gs_leak *all = malloc(room * sizeof(*all));
	bool pinned;

	*n = 0;
	if (!all)
		return NULL;
	pinned = gs_arch_pin_worker();
	gs_lock_acquire(&lock);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct gs_leak *l = table[i]; l && *n < room; l = l->next)
			all[(*n)++] = *l;
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	return all;
}
