/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From addresses as text to those the kernel takes, and back. */
#ifndef GS_RESOLVE_H
#define GS_RESOLVE_H

#include <gsched/context.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GS_RESOLVE_MAX 16

struct gs_sockaddr {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};

struct gs_resolved {
	unsigned int n;
	struct gs_sockaddr addr[GS_RESOLVE_MAX];
};

/* What a network's name says. */
struct gs_network {
	const char *name;
	int family; /* AF_UNSPEC: either */
	int type;
};

/* NULL: unknown. */
const struct gs_network *gs_network_find(const char *name);

/*
 * The addresses an address stands for; passive: to listen there, so that no host means
 * all addresses. 0 or -errno, see gsched/net.h. Depth 0. (T)
 */
int gs_resolve(const struct gs_network *net, const char *address, bool passive, gs_context *ctx,
	       struct gs_resolved *out);

/* 0 or -ENOSPC. */
int gs_sockaddr_text(const struct gs_sockaddr *a, char *buf, size_t size);

#endif /* GS_RESOLVE_H */
