/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fiber stacks: address space with a guard below, pages committed by touch. */
#ifndef GS_STACK_H
#define GS_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#define GS_STACK_DEFAULT ((size_t)256 << 10)
#define GS_STACK_MIN ((size_t)16 << 10)
#define GS_STACK_MAX ((size_t)1 << 30)

struct gs_stack {
	char *lo; /* lowest usable address; the guard is the page below */
	/* a word below that an overflow reaches first, where no guard could be had; or NULL */
	const uint64_t *canary;
	uint32_t size; /* usable bytes: the top is lo + size */
	bool warm;     /* somebody ran on it: its uppermost page is there */
	uint8_t guard; /* enum gs_guard: how the page below was made one */
};

/* So many bytes at the top are not its fiber's: the last word may be another's canary. */
#define GS_STACK_TOP ((size_t)16)

#define GS_CANARY UINT64_C(0x9d3c5a7e61f08b24)

/* Of fibers that no dump looks at now. */
static inline void gs_stack_swap(struct gs_stack *a, struct gs_stack *b)
{
	struct gs_stack was = *a;

	gs_store_relaxed(&a->lo, b->lo);
	gs_store_relaxed(&a->size, b->size);
	a->canary = b->canary;
	a->warm = b->warm;
	a->guard = b->guard;
	gs_store_relaxed(&b->lo, was.lo);
	gs_store_relaxed(&b->size, was.size);
	b->canary = was.canary;
	b->warm = was.warm;
	b->guard = was.guard;
}

/* Does the word below still stand? Whoever leaves the stack asks. */
static inline bool gs_stack_whole(const struct gs_stack *s)
{
	return !s->canary || *s->canary == GS_CANARY;
}

/* The size that zero stands for; a power of two. Before the first fiber. */
void gs_stack_set_default(size_t size);
size_t gs_stack_default(void);

/* Has it the default size? Such stacks may be swapped. */
bool gs_stack_of_default(const struct gs_stack *s);

/*
 * Get a stack of at least `size` bytes of address space, guard included (0: the
 * default). Depth 0 or an ordinary thread: may map memory. 0, -ENOMEM, -EINVAL.
 */
int gs_stack_get(struct gs_stack *s, size_t size);

/* Give it back. Any depth; nobody is on it. */
void gs_stack_put(struct gs_stack *s);

#endif /* GS_STACK_H */
