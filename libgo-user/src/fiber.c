/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fiber.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "base/lock.h"
#include "base/mmap.h"
#include "base/sanitizer.h"
#include "base/syscall.h"

#define CHUNK_SIZE ((size_t)64 << 10)

struct chunk {
	struct chunk *next; /* I */
	uint32_t used;	    /* fibers handed out so far; only grows; release/acquire */
	struct gs_fiber fibers[] __attribute__((aligned(64)));
};

#define CHUNK_FIBERS ((CHUNK_SIZE - sizeof(struct chunk)) / sizeof(struct gs_fiber))

static struct gs_lock lock;
static struct gs_fiber *free_list; /* lock */
static struct chunk *chunks;	   /* written under lock; release/acquire for gs_fiber_each */

static struct gs_fiber *slab_take(void)
{
	bool pinned = gs_arch_pin_worker();
	struct chunk *c;
	struct gs_fiber *f;

	gs_lock_acquire(&lock);
	f = free_list;
	c = chunks;
	if (f) {
		free_list = f->next;
	} else if (c && c->used < CHUNK_FIBERS) {
		f = &c->fibers[c->used];
		/* pairs with the acquire in gs_fiber_each */
		gs_store_release(&c->used, c->used + 1);
	}
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	return f;
}

/* Depth 0: maps memory. What another adds at the same time is used later. */
static bool slab_grow(void)
{
	struct chunk *c = gs_mmap(CHUNK_SIZE, 0);
	bool pinned;

	if (!c)
		return false;
	pinned = gs_arch_pin_worker();
	gs_lock_acquire(&lock);
	if (chunks && chunks->used < CHUNK_FIBERS) {
		gs_lock_release(&lock);
		gs_arch_unpin_worker(pinned);
		gs_munmap(c, CHUNK_SIZE);
		return true;
	}
	c->next = chunks;
	/* pairs with the acquire in gs_fiber_each */
	gs_store_release(&chunks, c);
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
	/* fibers' values: local.c */
	gs_san_root(c, CHUNK_SIZE);
	return true;
}

static struct gs_fiber *slab_get(void)
{
	struct gs_fiber *f;

	while (!(f = slab_take()))
		if (!slab_grow())
			return NULL;
	return f;
}

static void slab_put(struct gs_fiber *f)
{
	bool pinned = gs_arch_pin_worker();

	gs_store_relaxed(&f->state, GS_IDLE);
	gs_lock_acquire(&lock);
	f->next = free_list;
	free_list = f;
	gs_lock_release(&lock);
	gs_arch_unpin_worker(pinned);
}

void gs_fiber_each(bool (*cb)(struct gs_fiber *f, void *arg), void *arg)
{
	for (struct chunk *c = gs_load_acquire(&chunks); c; c = c->next) {
		uint32_t n = gs_load_acquire(&c->used);

		for (uint32_t i = 0; i < n; i++)
			if (gs_load_relaxed(&c->fibers[i].state) != GS_IDLE &&
			    !cb(&c->fibers[i], arg))
				return;
	}
}

void *gs_fiber_lay_cold(struct gs_fiber *f)
{
	char *top = f->ref.stack.lo + f->ref.stack.size;
	struct gs_fiber_cold *cold;

	top -= (sizeof(*cold) + GS_STACK_TOP + 63) & ~(size_t)63;
	cold = (struct gs_fiber_cold *)top;
	cold->done = NULL;
	cold->name[0] = '\0';
	f->ref.stack.warm = true;
	gs_store_relaxed(&f->cold, cold);
	if (f->copied) {
		top -= GS_COPY;
		f->arg = memcpy(top, f->copy, GS_COPY);
	}
	f->wake = NULL;
	f->err = 0;
	gs_store_relaxed(&f->locks, 0);
	f->unwinds = false;
	return top;
}

void gs_fiber_lay(struct gs_fiber *f)
{
	gs_store_relaxed(&f->ref.sp, gs_arch_frame(gs_fiber_lay_cold(f), f));
}

/* The same with a copy of what arg points to, which is more than GS_COPY. */
static void lay_with(struct gs_fiber *f, size_t size)
{
	char *top = gs_fiber_lay_cold(f);

	top -= (size + 15) & ~(size_t)15;
	f->arg = memcpy(top, f->arg, size);
	gs_store_relaxed(&f->ref.sp, gs_arch_frame(top, f));
}

_Static_assert(sizeof(struct gs_fiber) == 160 || GS_SAN_STACKS, "a parked fiber's share");

int gs_fiber_init(struct gs_fiber *f, void (*fn)(void *), void *arg, size_t size)
{
	/* leave a page to run on */
	if (size > f->ref.stack.size - 8192)
		return -EINVAL;
	gs_fiber_stack_enter(f);
	gs_san_stack_reuse(f->ref.stack.lo, f->ref.stack.size);
	gs_race_new_stack(f->ref.stack.lo, f->ref.stack.size);
	gs_store_relaxed(&f->fn, fn);
	f->arg = arg;
	gs_store_relaxed(&f->cold, NULL);
	gs_san_fiber_create(&f->ref);
	f->copied = 0;
	if (gs_unlikely(size > GS_COPY)) {
		lay_with(f, size);
	} else {
		f->copied = (uint8_t)size;
		if (size)
			memcpy(f->copy, arg, size);
		if (GS_SAN_STACKS)
			gs_fiber_lay(f);
	}
	f->frozen = NULL;
	gs_store_relaxed(&f->tls, NULL);
	f->own = NULL;
	f->handling = false;
	f->express = false;
	gs_store_relaxed(&f->leaked, false);
	gs_store_relaxed(&f->reason, 0);
	/* not waiting: nobody could ready it, and the deadlock check must not count it so */
	gs_store_relaxed(&f->state, GS_RUNNABLE);
	gs_fiber_stack_leave(f);
	return 0;
}

struct gs_fiber *gs_fiber_new(void (*fn)(void *), void *arg, size_t size, size_t stack_size,
			      int *err)
{
	struct gs_fiber *f = slab_get();

	if (!f) {
		*err = -ENOMEM;
		return NULL;
	}
	*err = gs_stack_get(&f->ref.stack, stack_size);
	if (*err) {
		slab_put(f);
		return NULL;
	}
	*err = gs_fiber_init(f, fn, arg, size);
	if (*err) {
		gs_fiber_free(f);
		return NULL;
	}
	return f;
}

void gs_fiber_free(struct gs_fiber *f)
{
	gs_san_stack_reuse(f->ref.stack.lo, f->ref.stack.size);
	gs_stack_put(&f->ref.stack);
	slab_put(f);
}
