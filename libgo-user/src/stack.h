/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fiber stacks: address space with a guard below, pages committed by touch. */
#ifndef GS_STACK_H
#define GS_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GS_STACK_DEFAULT ((size_t)256 << 10)
#define GS_STACK_MIN ((size_t)16 << 10)
#define GS_STACK_MAX ((size_t)1 << 30)

struct gs_stack {
	char *lo;    /* lowest usable address; the guard is the page below */
	size_t size; /* usable bytes: the top is lo + size */
	/* a word below that an overflow reaches first, where no guard could be had; or NULL */
	const uint64_t *canary;
};

/* So many bytes at the top are not its fiber's: the last word may be another's canary. */
#define GS_STACK_TOP ((size_t)16)

#define GS_CANARY UINT64_C(0x9d3c5a7e61f08b24)

/* Does the word below still stand? Whoever leaves the stack asks. */
static inline bool gs_stack_whole(const struct gs_stack *s)
{
	return !s->canary || *s->canary == GS_CANARY;
}

/* The size that zero stands for; a power of two. Before the first fiber. */
void gs_stack_set_default(size_t size);
size_t gs_stack_default(void);

/*
 * Get a stack of at least `size` bytes of address space, guard included (0: the
 * default). Depth 0 or an ordinary thread: may map memory. 0, -ENOMEM, -EINVAL.
 */
int gs_stack_get(struct gs_stack *s, size_t size);

/* Give it back. Any depth; nobody is on it. */
void gs_stack_put(struct gs_stack *s);

#endif /* GS_STACK_H */
