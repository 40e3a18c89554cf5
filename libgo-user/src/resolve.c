/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names and addresses. Numbers are understood here; a name is a matter for getaddrinfo,
 * which takes locks, much stack, and its time. It runs on a fiber of its own, without a
 * proc. Who asked waits on a channel, and may go away before: the job is counted.
 */
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gsched/chan.h>
#include <gsched/net.h>
#include <gsched/runtime.h>
#include <gsched/select.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "sched.h"

#define HOST_MAX 256
#define PORT_MAX 64
#define LOOKUP_STACK ((size_t)512 << 10)

const struct gs_network *gs_network_find(const char *name)
{
	static const struct gs_network known[] = {
		{"tcp", AF_UNSPEC, SOCK_STREAM}, {"tcp4", AF_INET, SOCK_STREAM},
		{"tcp6", AF_INET6, SOCK_STREAM}, {"udp", AF_UNSPEC, SOCK_DGRAM},
		{"udp4", AF_INET, SOCK_DGRAM},	 {"udp6", AF_INET6, SOCK_DGRAM},
		{"unix", AF_UNIX, SOCK_STREAM},	 {"unixgram", AF_UNIX, SOCK_DGRAM},
	};

	for (size_t i = 0; name && i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(name, known[i].name))
			return &known[i];
	return NULL;
}

static int unix_address(const char *path, struct gs_sockaddr *a)
{
	size_t n = strlen(path);

	if (!n)
		return -EINVAL;
	if (n >= sizeof(a->un.sun_path))
		return -ENAMETOOLONG;
	memset(a, 0, sizeof(*a));
	a->un.sun_family = AF_UNIX;
	memcpy(a->un.sun_path, path, n);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (path[0] == '@') {
		a->un.sun_path[0] = '\0';
		a->len--; /* such a name has no end but its length */
	}
	return 0;
}

/* "host:port", "[host]:port" -> host and port; 0 or -EINVAL. */
static int split(const char *s, char *host, char *port)
{
	const char *colon = strrchr(s, ':'), *end = colon;
	size_t n;

	if (!colon || strlen(colon + 1) >= PORT_MAX)
		return -EINVAL;
	if (*s == '[') {
		s++;
		if (end == s || end[-1] != ']')
			return -EINVAL;
		end--;
	} else if (memchr(s, ':', (size_t)(end - s))) {
		return -EINVAL; /* IPv6 without brackets */
	}
	n = (size_t)(end - s);
	if (n >= HOST_MAX || memchr(s, '[', n) || memchr(s, ']', n))
		return -EINVAL;
	memcpy(host, s, n);
	host[n] = '\0';
	strcpy(port, colon + 1);
	return 0;
}

/* A number as port: true. Its absence is 0, as in Go. */
static bool numeric_port(const char *s, in_port_t *port)
{
	unsigned int n = 0;

	for (; *s; s++) {
		if (*s < '0' || *s > '9' || n > 65535)
			return false;
		n = n * 10 + (unsigned int)(*s - '0');
	}
	*port = htons((in_port_t)n);
	return n <= 65535;
}

static void put4(struct gs_resolved *out, struct in_addr ip, in_port_t port)
{
	struct gs_sockaddr *a = &out->addr[out->n++];

	memset(a, 0, sizeof(*a));
	a->in.sin_family = AF_INET;
	a->in.sin_addr = ip;
	a->in.sin_port = port;
	a->len = sizeof(a->in);
}

static void put6(struct gs_resolved *out, struct in6_addr ip, in_port_t port, uint32_t scope)
{
	struct gs_sockaddr *a = &out->addr[out->n++];

	memset(a, 0, sizeof(*a));
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_addr = ip;
	a->in6.sin6_port = port;
	a->in6.sin6_scope_id = scope;
	a->len = sizeof(a->in6);
}

/* An address in numbers: 1 it was one, 0 it was not, or -errno. */
static int numeric_host(const char *host, int family, in_port_t port, struct gs_resolved *out)
{
	char text[INET6_ADDRSTRLEN];
	const char *zone = strchr(host, '%');
	uint32_t scope = 0;
	struct in_addr ip4;
	struct in6_addr ip6;
	size_t n = zone ? (size_t)(zone - host) : strlen(host);

	if (inet_pton(AF_INET, host, &ip4) == 1) {
		if (family == AF_INET6)
			return -EINVAL;
		put4(out, ip4, port);
		return 1;
	}
	if (n >= sizeof(text))
		return 0;
	memcpy(text, host, n);
	text[n] = '\0';
	if (inet_pton(AF_INET6, text, &ip6) != 1)
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(&ip6) && family != AF_INET6) {
		memcpy(&ip4, ip6.s6_addr + 12, sizeof(ip4));
		put4(out, ip4, port);
		return 1;
	}
	if (family == AF_INET)
		return -EINVAL;
	if (zone) {
		scope = if_nametoindex(zone + 1);
		if (!scope)
			scope = (uint32_t)strtoul(zone + 1, NULL, 10);
		if (!scope)
			return -EINVAL;
	}
	put6(out, ip6, port, scope);
	return 1;
}

/* ------------------------------------------------------------------------- */
/* Names                                                                       */

/* Protection: [I] before the fiber starts; [F] the fiber's, until `done` is closed. */
struct job {
	uint32_t refs;			     /* atomic */
	int family;			     /* I */
	int type;			     /* I */
	int result;			     /* F */
	gs_chan *done;			     /* I */
	struct gs_resolved found;	     /* F */
	char host[HOST_MAX], port[PORT_MAX]; /* I */
};

static void job_put(struct job *j)
{
	/* the last one frees: pairs with itself */
	if (gs_fetch_sub_acq_rel(&j->refs, 1) != 1)
		return;
	gs_chan_unref(j->done);
	free(j);
}

static int error_of(int eai)
{
	switch (eai) {
	case 0:
		return 0;
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SERVICE:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static void lookup(void *arg)
{
	struct job *j = arg;
	struct addrinfo hints = {.ai_family = j->family, .ai_socktype = j->type}, *list = NULL;
	int r;

	gs_blocking_begin();
	r = getaddrinfo(j->host[0] ? j->host : NULL, j->port[0] ? j->port : NULL, &hints, &list);
	gs_blocking_end();
	j->result = error_of(r);
	for (struct addrinfo *a = list; !r && a && j->found.n < GS_RESOLVE_MAX; a = a->ai_next) {
		struct gs_sockaddr *to = &j->found.addr[j->found.n];

		if (a->ai_addrlen > sizeof(to->un))
			continue;
		memcpy(&to->sa, a->ai_addr, a->ai_addrlen);
		to->len = a->ai_addrlen;
		j->found.n++;
	}
	if (!r)
		freeaddrinfo(list);
	gs_chan_close(j->done);
	job_put(j);
}

static int by_name(const char *host, const char *port, int family, int type, gs_context *ctx,
		   struct gs_resolved *out)
{
	const struct gs_attr attr = {.stack_size = LOOKUP_STACK, .name = "lookup"};
	struct job *j = calloc(1, sizeof(*j));
	struct gs_case cases[2] = {{.op = GS_OP_RECV}, {.op = GS_OP_RECV}};
	int r;

	if (!j)
		return -ENOMEM;
	j->done = gs_chan_new(0, 0);
	if (!j->done) {
		free(j);
		return -ENOMEM;
	}
	j->refs = 2;
	j->family = family;
	j->type = type;
	strcpy(j->host, host);
	strcpy(j->port, port);
	cases[0].chan = j->done;
	/* NULL is never ready */
	cases[1].chan = ctx ? gs_context_done(ctx) : NULL;
	r = gs_go_attr(&attr, lookup, j);
	if (r) {
		j->refs = 1;
		job_put(j);
		return r;
	}
	if (gs_select_cases(cases, 2) == 0) {
		r = j->result;
		*out = j->found;
	} else {
		r = gs_context_err(ctx);
	}
	job_put(j);
	return r;
}

/* ------------------------------------------------------------------------- */

int gs_resolve(const struct gs_network *net, const char *address, bool passive, gs_context *ctx,
	       struct gs_resolved *out)
{
	char host[HOST_MAX], port[PORT_MAX];
	in_port_t number;
	int r;

	out->n = 0;
	if (!address)
		return -EINVAL;
	if (net->family == AF_UNIX) {
		out->n = 1;
		return unix_address(address, &out->addr[0]);
	}
	r = split(address, host, port);
	if (r)
		return r;
	if (numeric_port(port, &number)) {
		if (!host[0]) {
			const struct in_addr local = {htonl(INADDR_LOOPBACK)}, all = {INADDR_ANY};

			if (passive ? net->family != AF_INET : net->family == AF_INET6)
				put6(out, passive ? in6addr_any : in6addr_loopback, number, 0);
			else
				put4(out, passive ? all : local, number);
			if (!passive && net->family == AF_UNSPEC)
				put6(out, in6addr_loopback, number, 0);
			return 0;
		}
		r = numeric_host(host, net->family, number, out);
		if (r)
			return r < 0 ? r : 0;
	} else if (port[0] >= '0' && port[0] <= '9') {
		return -EINVAL;
	}
	if (!host[0])
		strcpy(host, passive ? (net->family == AF_INET ? "0.0.0.0" : "::") : "localhost");
	return by_name(host, port, net->family, net->type, ctx, out);
}

static int copy_out(char *buf, size_t size, const char *text)
{
	size_t n = strlen(text);

	if (n >= size)
		return -ENOSPC;
	memcpy(buf, text, n + 1);
	return 0;
}

/* The address without its port; text has room for 64 bytes. */
static void ip_text(const struct gs_sockaddr *a, char *text)
{
	char name[IF_NAMESIZE];
	size_t n;

	if (a->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->in.sin_addr, text, 64);
	} else if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
		inet_ntop(AF_INET, (const char *)&a->in6.sin6_addr + 12, text, 64);
	} else {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, text, 64);
		n = strlen(text);
		if (!a->in6.sin6_scope_id)
			return;
		if (if_indextoname(a->in6.sin6_scope_id, name))
			snprintf(text + n, 64 - n, "%%%s", name);
		else
			snprintf(text + n, 64 - n, "%%%u", a->in6.sin6_scope_id);
	}
}

int gs_sockaddr_text(const struct gs_sockaddr *a, char *buf, size_t size)
{
	char text[sizeof(a->un.sun_path) + 2] = "", ip[64];
	size_t n;

	switch (a->len >= sizeof(sa_family_t) ? a->sa.sa_family : AF_UNSPEC) {
	case AF_UNIX:
		n = a->len - offsetof(struct sockaddr_un, sun_path);
		if (a->len <= offsetof(struct sockaddr_un, sun_path))
			break;
		memcpy(text, a->un.sun_path, n);
		if (!text[0])
			text[0] = '@';
		break;
	case AF_INET:
	case AF_INET6:
		ip_text(a, ip);
		snprintf(text, sizeof(text), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip,
			 ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port));
		break;
	}
	return copy_out(buf, size, text);
}

int gs_lookup_host(const char *name, gs_context *ctx, struct gs_addrs *addrs)
{
	struct gs_resolved found = {0};
	int r;

	addrs->count = 0;
	if (!name || !name[0] || strlen(name) >= HOST_MAX)
		return -EINVAL;
	r = ctx ? gs_context_err(ctx) : 0;
	if (r)
		return r;
	r = numeric_host(name, AF_UNSPEC, 0, &found);
	if (r == 0)
		r = by_name(name, "", AF_UNSPEC, SOCK_STREAM, ctx, &found);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < found.n && i < GS_ADDRS_MAX; i++)
		ip_text(&found.addr[i], addrs->addr[addrs->count++]);
	return 0;
}
