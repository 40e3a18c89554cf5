/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections and listeners: sockets that the library opens and closes, registered with
 * the poller once (gs_pd_own).
 *
 * The descriptor is closed by the last call that uses it (life.h), or one could meet its
 * number's next life. Close waits for that: a port is free again when its listener's close
 * returns.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gsched/context.h>
#include <gsched/net.h>
#include <gsched/runtime.h>
#include <gsched/sync.h>
#include <gsched/time.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "base/syscall.h"
#include "life.h"
#include "netpoll.h"
#include "resolve.h"
#include "sched.h"

#define BACKLOG 4096
#define KEEPALIVE_S 15
#define DIAL_SHARE_NS (2 * INT64_C(1000000000))

/* between looks at what nobody tells of: at first, and at most */
#define PAUSE_NS 100000
#define PAUSE_MAX_NS 10000000

/* Protection: [I] set before it is handed out. */
struct sock {
	struct gs_life life;
	uint32_t gen;	   /* I: of the pd */
	int fd;		   /* I; -1 when it is closed */
	int type;	   /* I: SOCK_STREAM, SOCK_DGRAM */
	struct gs_pd *pd;  /* I */
	gs_mutex writing;  /* streams: writes do not mix */
	gs_waitgroup gone; /* until the descriptor is closed */
	char *path;	   /* I: to be removed; NULL */
};

/* The same behind two names. */
struct gs_conn {
	struct sock s;
};
struct gs_listener {
	struct sock s;
};

static struct gs_life_list socks;
GS_LOCK_FORKS(socks_lock, socks.lock);

/* ------------------------------------------------------------------------- */
/* Lives                                                                       */

static void sock_free(struct sock *s)
{
	free(s->path);
	s->path = NULL;
	gs_life_free(&socks, &s->life);
}

/* A call begins: 0, or -ECANCELED if it is closed. */
static int begin(struct sock *s)
{
	return gs_life_get(&s->life) ? 0 : -ECANCELED;
}

/* Was it the last? */
static bool end(struct sock *s)
{
	if (!gs_life_put(&s->life))
		return false;
	gs_syscall3(SYS_close, gs_xchg_seq(&s->fd, -1), 0, 0);
	gs_wg_done(&s->gone);
	return true;
}

/* The file of a Unix socket, which we made: the next one could not be bound there. */
static void remove_path(const char *path)
{
	if (path)
		gs_syscall3(SYS_unlinkat, AT_FDCWD, path, 0);
}

/* Takes the descriptor and the path's file, also if it fails. path: malloc'ed, or NULL. */
static int sock_new(int fd, int type, char *path, struct sock **out)
{
	struct gs_pd *pd = gs_pd_of(fd);
	struct sock *s = pd ? gs_life_alloc(&socks, sizeof(*s)) : NULL;
	int r = -ENOMEM;

	if (s) {
		memset(&s->writing, 0, sizeof(s->writing));
		memset(&s->gone, 0, sizeof(s->gone));
		gs_wg_add(&s->gone, 1);
		s->fd = fd;
		s->type = type;
		s->pd = pd;
		s->path = path;
		r = gs_pd_own(pd, fd, &s->gen);
	}
	if (r) {
		gs_syscall3(SYS_close, fd, 0, 0);
		remove_path(path);
		if (s)
			sock_free(s);
		else
			free(path);
		return r;
	}
	gs_life_begin(&s->life);
	*out = s;
	return 0;
}

static int sock_close(struct sock *s)
{
	int r = begin(s);

	if (r)
		return r;
	if (!gs_life_end(&s->life)) {
		end(s);
		return -ECANCELED;
	}
	gs_io_out();
	gs_pd_close(s->pd, s->fd, s->gen);
	/* in the child of a fork those who wait for it are the parent's, as is the file */
	if (gs_forked) {
		if (end(s))
			sock_free(s);
		else
			gs_syscall3(SYS_close, gs_xchg_seq(&s->fd, -1), 0, 0);
		return 0;
	}
	end(s);
	gs_wg_wait(&s->gone);
	remove_path(s->path);
	sock_free(s);
	return 0;
}

/* ------------------------------------------------------------------------- */
/* Calls                                                                       */

enum what { RECV, SEND, RECVFROM, SENDTO, ACCEPT };

struct call {
	enum what what;
	void *buf;
	size_t count;
	struct gs_sockaddr *addr;
};

static long try(const struct sock *s, const struct call *c)
{
	struct gs_sockaddr *a = c->addr;

	switch (c->what) {
	case RECV:
		return gs_syscall6(SYS_recvfrom, s->fd, (long)c->buf, (long)c->count, MSG_DONTWAIT,
				   0, 0);
	case RECVFROM:
		a->len = sizeof(a->un);
		return gs_syscall6(SYS_recvfrom, s->fd, (long)c->buf, (long)c->count, MSG_DONTWAIT,
				   (long)&a->sa, (long)&a->len);
	case ACCEPT:
		return gs_syscall6(SYS_accept4, s->fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC, 0, 0);
	default:
		return gs_syscall6(SYS_sendto, s->fd, (long)c->buf, (long)c->count,
				   MSG_DONTWAIT | MSG_NOSIGNAL, a ? (long)&a->sa : 0,
				   a ? (long)a->len : 0);
	}
}

static bool writable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return gs_syscall3(SYS_poll, &p, 1, 0) > 0;
}

/*
 * A Unix receiver whose queue is full tells only those who are connected to it when there is
 * room again: whoever names it has to look. What our own socket says meanwhile is no news,
 * for each try that fails gives its buffer back. 0: try again.
 */
static int pause_sending(struct sock *s, int64_t *pause)
{
	uint32_t events = writable(s->fd) ? 0 : POLLOUT;
	int64_t until = gs_now() + *pause;
	int r;

	if (*pause < PAUSE_MAX_NS)
		*pause *= 2;
	do {
		struct gs_pd_turn turn = gs_pd_begin(s->pd);

		turn.gen = s->gen;
		r = gs_pd_wait_until(s->pd, s->fd, turn, events, until);
		if (r && r != -ETIMEDOUT)
			return r;
		r = gs_pd_check(s->pd, s->gen, GS_PD_WRITE);
	} while (!r && !events && gs_now() < until);
	return r;
}

/* Until it succeeds or fails. The call has begun. */
static long until_done(struct sock *s, const struct call *c)
{
	enum gs_pd_dir dir = c->what == SEND || c->what == SENDTO ? GS_PD_WRITE : GS_PD_READ;
	int64_t pause = PAUSE_NS;
	long r;

	if (dir == GS_PD_WRITE)
		gs_io_out();
	r = gs_pd_check(s->pd, s->gen, dir);
	if (r)
		return r;
	for (;;) {
		struct gs_pd_turn turn = gs_pd_begin(s->pd);

		turn.gen = s->gen;
		r = try(s, c);
		if (r == -EAGAIN) {
			if (c->what == SENDTO && c->addr && c->addr->sa.sa_family == AF_UNIX)
				r = pause_sending(s, &pause);
			else
				r = gs_pd_wait(s->pd, s->fd, turn,
					       dir == GS_PD_READ ? POLLIN : POLLOUT, dir);
			if (r)
				return r;
		} else if (r != -EINTR && !(c->what == ACCEPT && r == -ECONNABORTED)) {
			break;
		}
	}
	if (dir == GS_PD_READ)
		gs_io_in();
	return r;
}

ssize_t gs_conn_read(gs_conn *conn, void *buf, size_t count)
{
	struct call c = {.what = RECV, .buf = buf, .count = count};
	struct sock *s = &conn->s;
	ssize_t r = begin(s);

	if (r)
		return r;
	/* nothing of a datagram is still a datagram */
	if (!count && s->type == SOCK_STREAM)
		r = gs_pd_check(s->pd, s->gen, GS_PD_READ);
	else
		r = until_done(s, &c);
	end(s);
	return r;
}

ssize_t gs_conn_read_full(gs_conn *conn, void *buf, size_t count)
{
	size_t done = 0;
	ssize_t r;

	do {
		r = gs_conn_read(conn, (char *)buf + done, count - done);
		if (r < 0)
			return r;
		done += (size_t)r;
	} while (r && done < count);
	return (ssize_t)done;
}

ssize_t gs_conn_write(gs_conn *conn, const void *buf, size_t count)
{
	struct call c = {.what = SEND, .buf = (void *)buf, .count = count};
	struct sock *s = &conn->s;
	ssize_t r = begin(s);

	if (r)
		return r;
	if (s->type != SOCK_STREAM) {
		r = until_done(s, &c);
		end(s);
		return r;
	}
	gs_mutex_lock(&s->writing);
	do {
		r = until_done(s, &c);
		if (r < 0)
			break;
		c.buf = (char *)c.buf + r;
		c.count -= (size_t)r;
	} while (c.count);
	gs_mutex_unlock(&s->writing);
	end(s);
	return r < 0 ? r : (ssize_t)count;
}

ssize_t gs_conn_recvfrom(gs_conn *conn, void *buf, size_t count, char *from, size_t from_size)
{
	struct gs_sockaddr a;
	struct call c = {.what = RECVFROM, .buf = buf, .count = count, .addr = &a};
	ssize_t r = begin(&conn->s);
	int err;

	if (r)
		return r;
	r = until_done(&conn->s, &c);
	end(&conn->s);
	if (r < 0 || !from)
		return r;
	err = gs_sockaddr_text(&a, from, from_size);
	return err ? err : r;
}

/* What a socket of s's family takes: IPv4 addresses have their place in IPv6. */
static void map_family(const struct sock *s, struct gs_sockaddr *a)
{
	struct gs_sockaddr own = {.len = sizeof(own.un)};
	struct in_addr ip = a->in.sin_addr;
	in_port_t port = a->in.sin_port;

	if (a->sa.sa_family != AF_INET ||
	    gs_syscall3(SYS_getsockname, s->fd, &own.sa, &own.len) < 0 ||
	    own.sa.sa_family != AF_INET6)
		return;
	memset(a, 0, sizeof(*a));
	a->len = sizeof(a->in6);
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_port = port;
	a->in6.sin6_addr.s6_addr[10] = 0xff;
	a->in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(a->in6.sin6_addr.s6_addr + 12, &ip, sizeof(ip));
}

/*
 * A lookup on behalf of gs_conn_sendto, which waits for it as for its own socket: what ends
 * that wait leaves the lookup to itself. Protection: [I] before its fiber starts; [F] the
 * fiber's, until done.
 */
struct lookup {
	uint32_t refs;		      /* atomic */
	bool done;		      /* atomic */
	int result;		      /* F */
	struct gs_pd *pd;	      /* I */
	const struct gs_network *net; /* I */
	struct gs_resolved found;     /* F */
	char to[];		      /* I */
};

static void lookup_put(struct lookup *l)
{
	/* the last one frees: pairs with itself */
	if (gs_fetch_sub_acq_rel(&l->refs, 1) == 1)
		free(l);
}

static void lookup_run(void *arg)
{
	struct lookup *l = arg;

	l->result = gs_resolve(l->net, l->to, false, NULL, &l->found);
	/* release: pairs with look_up */
	gs_store_release(&l->done, true);
	/* all who wait there look again, as would those of the number's next life */
	gs_pd_closed(l->pd);
	lookup_put(l);
}

/* The call has begun. */
static int look_up(struct sock *s, const struct gs_network *net, const char *to,
		   struct gs_resolved *found)
{
	const struct gs_attr attr = {.name = "lookup"};
	size_t size = strlen(to) + 1;
	struct lookup *l = calloc(1, sizeof(*l) + size);
	int r;

	if (!l)
		return -ENOMEM;
	l->refs = 2;
	l->pd = s->pd;
	l->net = net;
	memcpy(l->to, to, size);
	r = gs_go_attr(&attr, lookup_run, l);
	if (r) {
		free(l);
		return r;
	}
	do {
		struct gs_pd_turn turn = gs_pd_begin(s->pd);

		turn.gen = s->gen;
		/* acquire: pairs with lookup_run */
		if (gs_load_acquire(&l->done)) {
			r = l->result;
			*found = l->found;
			break;
		}
		r = gs_pd_wait(s->pd, s->fd, turn, 0, GS_PD_WRITE);
	} while (!r);
	lookup_put(l);
	return r;
}

/* Is nobody asked what it means? If in doubt, somebody is. */
static bool in_numbers(const char *to)
{
	const char *port = strrchr(to, ':');
	char host[INET6_ADDRSTRLEN];
	struct in6_addr ip;
	size_t n;

	if (!port || port[1 + strspn(port + 1, "0123456789")])
		return false;
	if (port == to)
		return true;
	if (*to == '[')
		n = strcspn(++to, "%]");
	else
		n = (size_t)(port - to);
	if (n >= sizeof(host))
		return false;
	memcpy(host, to, n);
	host[n] = '\0';
	return inet_pton(AF_INET, host, &ip) == 1 || inet_pton(AF_INET6, host, &ip) == 1;
}

ssize_t gs_conn_sendto(gs_conn *conn, const void *buf, size_t count, const char *to)
{
	struct call c = {.what = SENDTO, .buf = (void *)buf, .count = count};
	struct sock *s = &conn->s;
	const struct gs_network *net;
	struct gs_resolved found;
	struct gs_sockaddr own = {.len = sizeof(own.un)};
	ssize_t r = begin(s);

	if (r)
		return r;
	if (to) {
		gs_syscall3(SYS_getsockname, s->fd, &own.sa, &own.len);
		net = gs_network_find(own.sa.sa_family == AF_UNIX   ? "unixgram"
				      : own.sa.sa_family == AF_INET ? "udp4"
								    : "udp");
		r = net->family == AF_UNIX || in_numbers(to)
			    ? gs_resolve(net, to, false, NULL, &found)
			    : look_up(s, net, to, &found);
		if (!r) {
			c.addr = &found.addr[0];
			map_family(s, c.addr);
		}
	}
	if (!r)
		r = until_done(s, &c);
	end(s);
	return r;
}

/* ------------------------------------------------------------------------- */
/* The rest of a connection                                                    */

static int name_of(struct sock *s, long nr, char *buf, size_t size)
{
	struct gs_sockaddr a = {.len = sizeof(a.un)};
	int r = begin(s);

	if (r)
		return r;
	r = (int)gs_syscall3(nr, s->fd, &a.sa, &a.len);
	end(s);
	if (r == -ENOTCONN)
		a.len = 0; /* text of nothing */
	else if (r)
		return r;
	return gs_sockaddr_text(&a, buf, size);
}

int gs_conn_local(gs_conn *conn, char *buf, size_t size)
{
	return name_of(&conn->s, SYS_getsockname, buf, size);
}

int gs_conn_remote(gs_conn *conn, char *buf, size_t size)
{
	return name_of(&conn->s, SYS_getpeername, buf, size);
}

int gs_listener_addr(gs_listener *listener, char *buf, size_t size)
{
	return name_of(&listener->s, SYS_getsockname, buf, size);
}

static int fd_of(struct sock *s)
{
	return gs_life_over(&s->life) ? -ECANCELED : s->fd;
}

int gs_conn_fd(gs_conn *conn)
{
	return fd_of(&conn->s);
}

int gs_listener_fd(gs_listener *listener)
{
	return fd_of(&listener->s);
}

static int set_deadline(struct sock *s, bool read, bool write, int64_t when)
{
	int r = begin(s);

	if (r)
		return r;
	if (read)
		r = gs_pd_set_deadline(s->pd, s->gen, GS_PD_READ, when);
	if (write && !r)
		r = gs_pd_set_deadline(s->pd, s->gen, GS_PD_WRITE, when);
	end(s);
	return r;
}

int gs_conn_set_deadline(gs_conn *conn, int64_t when)
{
	return set_deadline(&conn->s, true, true, when);
}

int gs_conn_set_read_deadline(gs_conn *conn, int64_t when)
{
	return set_deadline(&conn->s, true, false, when);
}

int gs_conn_set_write_deadline(gs_conn *conn, int64_t when)
{
	return set_deadline(&conn->s, false, true, when);
}

int gs_listener_set_deadline(gs_listener *listener, int64_t when)
{
	return set_deadline(&listener->s, true, false, when);
}

int gs_conn_close_write(gs_conn *conn)
{
	int r = begin(&conn->s);

	if (r)
		return r;
	gs_io_out();
	r = (int)gs_syscall3(SYS_shutdown, conn->s.fd, SHUT_WR, 0);
	end(&conn->s);
	return r;
}

int gs_conn_close(gs_conn *conn)
{
	return sock_close(&conn->s);
}

int gs_listener_close(gs_listener *listener)
{
	return sock_close(&listener->s);
}

/* ------------------------------------------------------------------------- */
/* Listening                                                                   */

static int new_socket(int family, int type)
{
	return (int)gs_syscall3(SYS_socket, family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void set_option(int fd, int level, int name, int value)
{
	gs_syscall6(SYS_setsockopt, fd, level, name, (long)&value, sizeof(value), 0);
}

/* Accepted sockets inherit them. */
static void set_tcp_options(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_S);
}

/* A bound socket: its descriptor or -errno. */
static int bind_to(const struct gs_network *net, const struct gs_sockaddr *a)
{
	int family = a->sa.sa_family, r;
	int fd = new_socket(family, net->type);

	if (fd < 0)
		return fd;
	if (family != AF_UNIX && net->type == SOCK_STREAM)
		set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	/* all addresses of either family, if the network is not one of IPv6 only */
	if (family == AF_INET6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY,
			   net->family == AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr));
	r = (int)gs_syscall3(SYS_bind, fd, &a->sa, a->len);
	if (r) {
		gs_syscall3(SYS_close, fd, 0, 0);
		return r;
	}
	return fd;
}

/* The address to listen at: a name's first one, IPv4 rather than IPv6. */
static const struct gs_sockaddr *to_listen_at(const struct gs_resolved *found)
{
	for (unsigned int i = 0; i < found->n; i++)
		if (found->addr[i].sa.sa_family == AF_INET)
			return &found->addr[i];
	return &found->addr[0];
}

static int bind_any(const struct gs_network *net, const char *address, char **path)
{
	struct gs_resolved found;
	const struct gs_sockaddr *a;
	int r = gs_resolve(net, address, true, NULL, &found), fd;

	*path = NULL;
	if (r)
		return r;
	if (!found.n)
		return -ENOENT;
	a = to_listen_at(&found);
	fd = bind_to(net, a);
	if (fd < 0 && a->sa.sa_family == AF_INET6 && net->family == AF_UNSPEC &&
	    IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) &&
	    (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)) {
		/* a machine without IPv6 */
		struct gs_sockaddr all = {.len = sizeof(all.in)};

		all.in.sin_family = AF_INET;
		all.in.sin_port = a->in6.sin6_port;
		fd = bind_to(net, &all);
	}
	if (fd >= 0 && net->family == AF_UNIX && address[0] != '@') {
		*path = strdup(address);
		if (!*path) {
			gs_syscall3(SYS_close, fd, 0, 0);
			remove_path(address);
			return -ENOMEM;
		}
	}
	return fd;
}

int gs_listen(const char *network, const char *address, gs_listener **listener)
{
	const struct gs_network *net = gs_network_find(network);
	struct sock *s = NULL;
	char *path;
	int fd, r;

	if (!net || net->type != SOCK_STREAM)
		return -EPROTONOSUPPORT;
	fd = bind_any(net, address, &path);
	if (fd < 0)
		return fd;
	if (net->family != AF_UNIX)
		set_tcp_options(fd);
	r = (int)gs_syscall3(SYS_listen, fd, BACKLOG, 0);
	if (r) {
		gs_syscall3(SYS_close, fd, 0, 0);
		remove_path(path);
		free(path);
		return r;
	}
	r = sock_new(fd, SOCK_STREAM, path, &s);
	if (!r)
		*listener = gs_container_of(s, struct gs_listener, s);
	return r;
}

int gs_listen_packet(const char *network, const char *address, gs_conn **conn)
{
	const struct gs_network *net = gs_network_find(network);
	struct sock *s = NULL;
	char *path;
	int fd, r;

	if (!net || net->type != SOCK_DGRAM)
		return -EPROTONOSUPPORT;
	fd = bind_any(net, address, &path);
	if (fd < 0)
		return fd;
	r = sock_new(fd, SOCK_DGRAM, path, &s);
	if (!r)
		*conn = gs_container_of(s, struct gs_conn, s);
	return r;
}

int gs_accept(gs_listener *listener, gs_conn **conn)
{
	struct call c = {.what = ACCEPT};
	struct sock *s = &listener->s, *new = NULL;
	int r = gs_rt_start();

	/* in the child of a fork it would take from the parent what it cannot use */
	if (!r)
		r = begin(s);
	if (r)
		return r;
	r = (int)until_done(s, &c);
	end(s);
	if (r < 0)
		return r;
	r = sock_new(r, SOCK_STREAM, NULL, &new);
	if (!r)
		*conn = gs_container_of(new, struct gs_conn, s);
	return r;
}

/* ------------------------------------------------------------------------- */
/* Dialing                                                                     */

/* The context was cancelled: the connect's wait ends. Holds the socket by begin. */
static void give_up(void *arg)
{
	struct sock *s = arg;

	gs_pd_set_deadline(s->pd, s->gen, GS_PD_WRITE, 1);
	end(s);
}

/* Did connect, which was begun, succeed? 0, -EINPROGRESS not yet, or its error. */
static int connected(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);
	struct gs_sockaddr a = {.len = sizeof(a.un)};
	int r = (int)gs_syscall6(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, (long)&err, (long)&len,
				 0);

	if (r || err)
		return r ? r : -err;
	return gs_syscall3(SYS_getpeername, fd, &a.sa, &a.len) < 0 ? -EINPROGRESS : 0;
}

static int finish_connect(struct sock *s, const struct gs_sockaddr *a)
{
	int64_t pause = PAUSE_NS;
	int r;

	for (;;) {
		struct gs_pd_turn turn = gs_pd_begin(s->pd);

		turn.gen = s->gen;
		r = (int)gs_syscall3(SYS_connect, s->fd, &a->sa, a->len);
		if (r == -EINTR)
			continue;
		if (r == -EAGAIN) {
			/* a Unix listener whose backlog is full, of which nobody will tell us */
			r = gs_pd_check(s->pd, s->gen, GS_PD_WRITE);
			if (r)
				return r;
			gs_sleep(pause);
			if (pause < PAUSE_MAX_NS)
				pause *= 2;
			continue;
		}
		if (r != -EINPROGRESS && r != -EALREADY)
			return r == -EISCONN ? 0 : r;
		do {
			r = gs_pd_wait(s->pd, s->fd, turn, POLLOUT, GS_PD_WRITE);
			if (r)
				return r;
			turn = gs_pd_begin(s->pd);
			turn.gen = s->gen;
			r = connected(s->fd);
		} while (r == -EINPROGRESS);
		return r;
	}
}

static int dial_one(const struct gs_network *net, const struct gs_sockaddr *a, gs_context *ctx,
		    int64_t deadline, struct sock **out)
{
	int fd = new_socket(a->sa.sa_family, net->type), r;
	gs_context_hook *hook = NULL;
	struct sock *s = NULL;

	if (fd < 0)
		return fd;
	if (net->family != AF_UNIX && net->type == SOCK_STREAM)
		set_tcp_options(fd);
	r = sock_new(fd, net->type, NULL, &s);
	if (r)
		return r;
	if (deadline)
		gs_pd_set_deadline(s->pd, s->gen, GS_PD_WRITE, deadline);
	if (ctx && gs_context_done(ctx)) {
		begin(s);
		hook = gs_context_after_func(ctx, give_up, s);
		if (!hook) {
			end(s);
			r = -ENOMEM;
		}
	}
	gs_io_out();
	if (!r)
		r = finish_connect(s, a);
	if (hook) {
		if (gs_context_hook_stop(hook))
			end(s);
		else
			r = gs_context_err(ctx); /* give_up sets a deadline that stays */
	}
	if (!r && deadline)
		gs_pd_set_deadline(s->pd, s->gen, GS_PD_WRITE, 0);
	if (r) {
		sock_close(s);
		return r;
	}
	*out = s;
	return 0;
}

/* The share of one of n addresses in the time until the deadline; 0 none. */
static int64_t share(int64_t deadline, unsigned int n)
{
	int64_t now = gs_now(), left = deadline - now, part = left / n;

	if (!deadline || left <= 0)
		return deadline;
	if (part < DIAL_SHARE_NS)
		part = left < DIAL_SHARE_NS ? left : DIAL_SHARE_NS;
	return now + part;
}

int gs_dial(const char *network, const char *address, gs_context *ctx, gs_conn **conn)
{
	const struct gs_network *net = gs_network_find(network);
	struct gs_resolved found;
	int64_t deadline = 0;
	struct sock *s = NULL;
	int r, first = 0;

	if (!net)
		return -EPROTONOSUPPORT;
	r = gs_rt_start();
	if (!r && ctx)
		r = gs_context_err(ctx);
	if (!r)
		r = gs_resolve(net, address, false, ctx, &found);
	if (r)
		return r;
	if (ctx && !gs_context_deadline(ctx, &deadline))
		deadline = 0;
	for (unsigned int i = 0; i < found.n; i++) {
		r = dial_one(net, &found.addr[i], ctx, share(deadline, found.n - i), &s);
		if (!r) {
			*conn = gs_container_of(s, struct gs_conn, s);
			return 0;
		}
		if (!first)
			first = r;
		r = ctx ? gs_context_err(ctx) : 0;
		if (r)
			return r;
		if (deadline && deadline <= gs_now())
			return -ETIMEDOUT;
	}
	return first ? first : -ENOENT;
}
