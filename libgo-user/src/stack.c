/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stacks of the default size come from chunks of GS_CHUNK_STACKS slots, so that a
 * million of them is a few thousand mappings and not a million; a freed one goes
 * to a LIFO list and is used again while it is warm. Other sizes are mapped one
 * by one; unmapping one takes long and may sleep, so the next gs_stack_get does it. The
 * lock is held with the depth raised and around list operations only: mapping is done at
 * depth 0 without it, so that a thread that sleeps there holds neither proc nor lock.
 * The lowest page of each slot is the guard (guard.c).
 *
 * Where no guard can be had (old kernels, beyond 30,000) an overflow is seen when the fiber
 * parks or ends: a canary below has changed by then. It is the last word of the slot below,
 * which nobody uses (GS_STACK_TOP) and whose page is committed for that fiber anyway. Who has
 * no slot below has one at the end of the page where the guard would be.
 */
#include "stack.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "arch.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/mmap.h"
#include "base/sanitizer.h"
#include "base/syscall.h"
#include "base/valgrind.h"
#include "guard.h"

#define GS_PAGE GS_GUARD_SIZE
#define GS_CHUNK_STACKS 64

/* What a free stack holds, in its top words: they are committed already. */
struct free_stack {
	struct free_stack *next;
	char *lo;
	const uint64_t *canary;
	uint32_t size;
	uint8_t guard;
};

static struct gs_lock lock;
static struct free_stack *free_list; /* lock */
static struct free_stack *odd_list;  /* lock: of other sizes, to be unmapped */
static char *chunk_next, *chunk_end; /* lock: fresh slots */
static char *chunk_begin;	     /* lock */
static size_t default_size = GS_STACK_DEFAULT;

void gs_stack_set_default(size_t size)
{
	default_size = GS_STACK_MIN;
	while (default_size < size)
		default_size *= 2;
}

size_t gs_stack_default(void)
{
	return default_size;
}

bool gs_stack_of_default(const struct gs_stack *s)
{
	return s->size == default_size - GS_PAGE;
}

#ifdef GS_RACE
/* Another fiber's stack now: TSan forgets what was done with a page that is mapped anew. */
void gs_race_new_stack(void *lo, unsigned long size)
{
	void *p = mmap(lo, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED)
		gs_fatal("no memory for a stack");
}
#endif

static void *map_stack(size_t size)
{
	void *p = gs_mmap(size, MAP_NORESERVE | MAP_STACK);

	if (!p)
		return NULL;
	/* a huge page would commit 2 MiB for the first touch; old kernels may lack it */
	gs_syscall3(SYS_madvise, p, size, MADV_NOHUGEPAGE);
	return p;
}

/* Depth 0: touches the page. NULL: none, for a sanitizer sees overflows itself. */
static const uint64_t *plant(void *at)
{
#if defined(GS_ASAN) || defined(GS_TSAN)
	(void)at;
	return NULL;
#else
	uint64_t *canary = at;

	*canary = GS_CANARY;
	return canary;
#endif
}

/* A used stack with its canary, or a fresh slot of a chunk that has no guard yet. */
struct taken {
	char *lo; /* NULL: there is none */
	const uint64_t *canary;
	uint8_t guard;
	bool fresh, first; /* of a chunk */
};

static struct taken take(void)
{
	bool pinned = gs_arch_pin_worker();
	struct taken t = {0};
	struct free_stack *f;

	gs_lock_acquire(&lock);
	f = free_list;
	if (f) {
		free_list = f->next;
		t.lo = f->lo;
		t.canary = f->canary;
		t.guard = f->guard;
	} else if (chunk_next != chunk_end) {
		t.lo = chunk_next + GS_PAGE;
		t.fresh = true;
		t.first = chunk_next == chunk_begin;
		chunk_next += default_size;
	}
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	return t;
}

/* Depth 0. False: no memory. */
static bool add_chunk(void)
{
	size_t size = default_size * GS_CHUNK_STACKS;
	char *map = map_stack(size + default_size), *chunk;
	size_t before;
	bool pinned;

	if (!map)
		return false;
	/* slots are aligned to their size: cut off what is too much at both ends */
	before = -(uintptr_t)map & (default_size - 1);
	chunk = map + before;
	if (before)
		gs_munmap(map, before);
	gs_munmap(chunk + size, default_size - before);
	gs_guard_region(chunk, size);
	pinned = gs_arch_pin_worker();
	gs_lock_acquire(&lock);
	if (chunk_next == chunk_end) {
		chunk_next = chunk_begin = chunk;
		chunk_end = chunk + size;
		chunk = NULL;
	}
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	/* another was faster: its chunk will do */
	if (chunk)
		gs_munmap(chunk, size);
	return true;
}

static int get_default(struct gs_stack *s)
{
	struct taken t;

	while (!(t = take()).lo)
		if (!add_chunk())
			return -ENOMEM;
	if (t.fresh) {
		char *slot = t.lo - GS_PAGE;

		t.guard = gs_guard_page(slot);
		if (t.guard == GS_GUARD_NONE)
			t.canary = plant((t.first ? t.lo : slot) - sizeof(*t.canary));
		gs_valgrind_stack(t.lo, default_size - GS_PAGE);
	}
	gs_store_relaxed(&s->lo, t.lo);
	gs_store_relaxed(&s->size, (uint32_t)(default_size - GS_PAGE));
	s->canary = t.canary;
	s->guard = t.guard;
	s->warm = !t.fresh;
	return 0;
}

/* Unmap what gs_stack_put left. Depth 0. */
static void reap(void)
{
	struct free_stack *f;
	bool pinned;

	if (gs_likely(!gs_load_relaxed(&odd_list)))
		return;
	pinned = gs_arch_pin_worker();
	gs_lock_acquire(&lock);
	f = odd_list;
	gs_store_relaxed(&odd_list, NULL);
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	while (f) {
		struct free_stack *next = f->next;
		enum gs_guard how = f->guard;

		gs_valgrind_stack_gone(f->lo);
		gs_munmap(f->lo - GS_PAGE, f->size + GS_PAGE);
		gs_guard_gone(how);
		f = next;
	}
}

int gs_stack_get(struct gs_stack *s, size_t size)
{
	char *p;

	reap();
	if (size == 0 || size == default_size)
		return get_default(s);
	if (size > GS_STACK_MAX)
		return -EINVAL;
	if (size < GS_STACK_MIN)
		size = GS_STACK_MIN;
	size = (size + GS_PAGE - 1) & ~(GS_PAGE - 1);
	p = map_stack(size);
	if (!p)
		return -ENOMEM;
	gs_guard_region(p, size);
	s->guard = gs_guard_page(p);
	s->canary = s->guard == GS_GUARD_NONE ? plant(p + GS_PAGE - sizeof(*s->canary)) : NULL;
	gs_valgrind_stack(p + GS_PAGE, size - GS_PAGE);
	gs_store_relaxed(&s->lo, p + GS_PAGE);
	gs_store_relaxed(&s->size, (uint32_t)(size - GS_PAGE));
	s->warm = false;
	return 0;
}

void gs_stack_put(struct gs_stack *s)
{
	struct free_stack *f = (void *)(s->lo + s->size - GS_STACK_TOP - sizeof(*f));
	bool odd = !gs_stack_of_default(s);
	bool pinned = gs_arch_pin_worker();

	f->lo = s->lo;
	f->size = s->size;
	f->canary = s->canary;
	f->guard = s->guard;
	gs_lock_acquire(&lock);
	if (odd) {
		f->next = odd_list;
		gs_store_relaxed(&odd_list, f);
	} else {
		f->next = free_list;
		free_list = f;
	}
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
}
