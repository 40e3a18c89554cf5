/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams and datagrams: TCP, UDP and Unix sockets whose calls park the fiber.
 *
 *	gs_conn *c;
 *	int r = gs_dial("tcp", "example.org:80", NULL, &c);
 *	if (r < 0)
 *		...
 *	gs_conn_write(c, "GET / HTTP/1.0\r\n\r\n", 18);
 *	while ((n = gs_conn_read(c, buf, sizeof(buf))) > 0)
 *		...
 *	gs_conn_close(c);
 *
 * Networks: "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram"; the 4 and 6
 * admit that address family only. Any other is -EPROTONOSUPPORT.
 *
 * Addresses: "host:port", where the host is a name, "127.0.0.1", "[::1]" (brackets around
 * IPv6), "[fe80::1%eth0]", or empty: this machine for gs_dial, all its addresses for
 * gs_listen; the port is a number or a service's name, 0 for gs_listen: any that is free.
 * Unix: a path of up to 107 bytes, or "@name" in the abstract namespace. What is not
 * understood is -EINVAL. Names are looked up by getaddrinfo(3) on a fiber of their own; a
 * name that does not exist is -ENOENT, a server that does not answer -EAGAIN.
 *
 * TCP connections have TCP_NODELAY and keep-alive (15 s) set. No call raises SIGPIPE.
 * -EINTR never comes, nor -EAGAIN from reading and writing.
 *
 * Deadlines are points in time of gs_now. One that has passed makes every call that it
 * governs fail with -ETIMEDOUT, at once and even if it could be served, until it is set
 * anew. A call in progress obeys a deadline that is set or moved meanwhile.
 *
 * Any number of fibers may use one connection. Writes do not mix; which of several
 * readers gets what is not said. Closing ends all calls in progress with -ECANCELED and
 * frees the connection or listener: the pointer may not be used any more. Calls that
 * come too late all the same find -ECANCELED, as long as not many have been closed since.
 *
 * All (T).
 */
#ifndef GSCHED_NET_H
#define GSCHED_NET_H

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gs_context gs_context; /* context.h */
typedef struct gs_conn gs_conn;
typedef struct gs_listener gs_listener;

/**
 * gs_dial - connect
 * @network: see above
 * @address: of whom; if it has several addresses they are tried in turn
 * @ctx: gives up when this is cancelled or its deadline passes, of which every address
 *       gets its share; NULL: never. It has no say after the return.
 * @conn: filled on success
 *
 * Return: 0, the context's error, or what the first address failed with. (T)
 */
int gs_dial(const char *network, const char *address, gs_context *ctx, gs_conn **conn);

/**
 * gs_listen - wait for connections
 * @network: a tcp one or "unix"
 * @address: of this machine. "tcp" without a host, or with "[::]", is IPv4 and IPv6.
 * @listener: filled on success
 *
 * SO_REUSEADDR is set. The file of a Unix socket must not exist yet; gs_listener_close
 * removes it.
 *
 * Return: 0 or -errno, as -EADDRINUSE. (T)
 */
int gs_listen(const char *network, const char *address, gs_listener **listener);

/* The next connection: 0 or -errno, -ECANCELED when the listener is closed. (T) */
int gs_accept(gs_listener *listener, gs_conn **conn);

/* Close and free it: 0, or -ECANCELED if it is closed already. (T) */
int gs_listener_close(gs_listener *listener);

/* Its address as text into buf: 0, -ENOSPC if that is too small. (T) */
int gs_listener_addr(gs_listener *listener, char *buf, size_t size);

/* Deadline of gs_accept, 0 none: 0 or -ECANCELED. (T) */
int gs_listener_set_deadline(gs_listener *listener, int64_t when);

/* The descriptor, for getsockopt(2) and its like; it stays the listener's. (T) */
int gs_listener_fd(gs_listener *listener);

/**
 * gs_listen_packet - a socket for datagrams that is bound and not connected
 * @network: a udp one or "unixgram"
 * @address: of this machine, as for gs_listen
 * @conn: filled on success; for gs_conn_recvfrom and gs_conn_sendto
 *
 * Closing removes the file of a Unix socket. Return: 0 or -errno. (T)
 */
int gs_listen_packet(const char *network, const char *address, gs_conn **conn);

/* Some bytes, or one datagram: a count, 0 when the peer wrote its last, or -errno. (T) */
ssize_t gs_conn_read(gs_conn *conn, void *buf, size_t count);

/* All of them: count; less if the stream ended before; or -errno. (T) */
ssize_t gs_conn_read_full(gs_conn *conn, void *buf, size_t count);

/* All of them: count, or -errno, and then nobody knows how many were sent. (T) */
ssize_t gs_conn_write(gs_conn *conn, const void *buf, size_t count);

/* Close and free it: 0, or -ECANCELED if it is closed already. (T) */
int gs_conn_close(gs_conn *conn);

/* Write no more: the peer reads an end of file. 0 or -errno. (T) */
int gs_conn_close_write(gs_conn *conn);

/* The descriptor, for setsockopt(2) and its like; it stays the connection's. (T) */
int gs_conn_fd(gs_conn *conn);

/* An end's address as text, "" if it has none: 0, -ENOSPC if buf is too small. (T) */
int gs_conn_local(gs_conn *conn, char *buf, size_t size);
int gs_conn_remote(gs_conn *conn, char *buf, size_t size);

/* Deadline of reads, of writes, of both; 0 none. 0, or -ECANCELED if it is closed. (T) */
int gs_conn_set_deadline(gs_conn *conn, int64_t when);
int gs_conn_set_read_deadline(gs_conn *conn, int64_t when);
int gs_conn_set_write_deadline(gs_conn *conn, int64_t when);

/*
 * A datagram and whence it came, as text that gs_conn_sendto takes; from may be NULL. What
 * of it is longer than count is lost. A count, or -errno, -ENOSPC (the datagram is lost)
 * if from_size is too small. (T)
 */
ssize_t gs_conn_recvfrom(gs_conn *conn, void *buf, size_t count, char *from, size_t from_size);

/* A datagram to an address; NULL: to whom it is connected. The count or -errno. (T) */
ssize_t gs_conn_sendto(gs_conn *conn, const void *buf, size_t count, const char *to);

#define GS_ADDRS_MAX 16

/**
 * struct gs_addrs - what a name stands for
 * @count: how many addresses
 * @addr: each as text, "192.0.2.1" or "2001:db8::1", the most preferable first
 */
struct gs_addrs {
	uint32_t count;
	char addr[GS_ADDRS_MAX][64];
};

/*
 * Look a name up, getaddrinfo(3)'s way (hosts file, then the network): 0, -ENOENT, -EAGAIN
 * (no answer), the context's error, or another -errno. ctx may be NULL. (T)
 */
int gs_lookup_host(const char *name, gs_context *ctx, struct gs_addrs *addrs);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_NET_H */
