/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Circular doubly linked lists, intrusive. */
#ifndef GS_BASE_LIST_H
#define GS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct gs_list {
	struct gs_list *next;
	struct gs_list *prev;
};

#define gs_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void gs_list_init(struct gs_list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool gs_list_empty(const struct gs_list *l)
{
	return l->next == l;
}

static inline void gs_list_add_tail(struct gs_list *l, struct gs_list *node)
{
	node->next = l;
	node->prev = l->prev;
	l->prev->next = node;
	l->prev = node;
}

static inline void gs_list_add_head(struct gs_list *l, struct gs_list *node)
{
	node->next = l->next;
	node->prev = l;
	l->next->prev = node;
	l->next = node;
}

/* Leaves the node pointing at itself, so that a second removal is harmless. */
static inline void gs_list_del(struct gs_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	gs_list_init(node);
}

#endif /* GS_BASE_LIST_H */
