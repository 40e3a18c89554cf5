// SPDX-License-Identifier: GPL-2.0
/* gsched/net.h: connections, listeners, datagrams and names, with both pollers. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <gsched/context.h>
#include <gsched/debug.h>
#include <gsched/io.h>
#include <gsched/net.h>
#include <gsched/sync.h>

#include "dump.h"
#include "poller.h"

static const char *const tcp[2] = {"tcp", "127.0.0.1:0"};
static const char *const tcp6[2] = {"tcp6", "[::1]:0"};
static const char *const un[2] = {"unix", "@gsched-selftest"};

static gs_listener *listen_on(const char *const net[2], char *addr, size_t size)
{
	gs_listener *l = NULL;
	char own[128];
	int r;

	/* abstract names and ports are the machine's; each process has its own */
	if (net[1][0] == '@')
		snprintf(own, sizeof(own), "%s-%d", net[1], getpid());
	else if (net == tcp)
		snprintf(own, sizeof(own), "127.%d.%d.%d:0", 1 + (getpid() >> 16 & 127),
			 getpid() >> 8 & 255, getpid() & 255);
	else
		snprintf(own, sizeof(own), "%s", net[1]);
	r = gs_listen(net[0], own, &l);
	if (!CHECK_EQ(r, 0))
		abort();
	CHECK_EQ(gs_listener_addr(l, addr, size), 0);
	return l;
}

/* Two ends of one connection. */
static void connect_pair(const char *const net[2], gs_conn **a, gs_conn **b)
{
	char addr[128];
	gs_listener *l = listen_on(net, addr, sizeof(addr));

	CHECK_EQ(gs_dial(net[0], addr, NULL, a), 0);
	CHECK_EQ(gs_accept(l, b), 0);
	CHECK_EQ(gs_listener_close(l), 0);
}

static bool no_ipv6(void)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool no = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a));

	if (fd >= 0)
		close(fd);
	return no;
}

/* ------------------------------------------------------------------------- */

#define CLIENTS 80

static const char *const *echo_net;
static char echo_addr[128];
static long echo_rounds;
static int clients_left, echoes_left; /* atomic */

static void echo_conn(void *arg)
{
	gs_conn *c = arg;
	char buf[5000];
	ssize_t n;

	while ((n = gs_conn_read(c, buf, sizeof(buf))) > 0)
		CHECK_EQ(gs_conn_write(c, buf, (size_t)n), n);
	CHECK_EQ(n, 0);
	CHECK_EQ(gs_conn_close(c), 0);
	ADD(echoes_left, -1);
}

static void echo_accept(void *arg)
{
	gs_conn *c;
	int r;

	while ((r = gs_accept(arg, &c)) == 0)
		CHECK_EQ(gs_go(echo_conn, c), 0);
	CHECK_EQ(r, -ECANCELED);
	ADD(clients_left, -1);
}

static void echo_client(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	char out[9000], in[9000];
	gs_conn *c = NULL;

	if (CHECK_EQ(gs_dial(echo_net[0], echo_addr, NULL, &c), 0)) {
		for (long i = 0; i < echo_rounds; i++) {
			size_t n =
				1 + (unsigned int)rand_r(&seed) % (i % 8 ? 100 : sizeof(out) - 1);

			for (size_t k = 0; k < n; k++)
				out[k] = (char)rand_r(&seed);
			CHECK_EQ(gs_conn_write(c, out, n), n);
			if (!CHECK_EQ(gs_conn_read_full(c, in, n), n))
				break;
			CHECK(!memcmp(out, in, n));
		}
		CHECK_EQ(gs_conn_close_write(c), 0);
		CHECK_EQ(gs_conn_read(c, in, 1), 0);
		CHECK_EQ(gs_conn_close(c), 0);
	}
	ADD(clients_left, -1);
}

static void *echo_client_thread(void *arg)
{
	echo_client(arg);
	return NULL;
}

static void echo(void *arg)
{
	gs_listener *l;
	pthread_t t[2];

	echo_net = arg;
	echo_rounds = ut_count(30, 2);
	l = listen_on(echo_net, echo_addr, sizeof(echo_addr));
	STORE(clients_left, CLIENTS);
	STORE(echoes_left, CLIENTS);
	gs_go(echo_accept, l);
	gs_go(echo_accept, l);
	for (uintptr_t i = 1; i <= CLIENTS; i++) {
		if (i <= 2)
			pthread_create(&t[i - 1], NULL, echo_client_thread, (void *)i);
		else
			gs_go(echo_client, (void *)i);
	}
	UNTIL(LOAD(echoes_left) == 0);
	UNTIL(LOAD(clients_left) == 0);
	STORE(clients_left, 2);
	CHECK_EQ(gs_listener_close(l), 0);
	UNTIL(LOAD(clients_left) == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

/* an echo server and 80 clients, two of them threads; what is sent comes back */
TEST_F(poller, echo_tcp)
{
	RUN(echo, (void *)tcp);
}

TEST_F(poller, echo_tcp6)
{
	if (no_ipv6())
		SKIP(return, "no IPv6 here");
	RUN(echo, (void *)tcp6);
}

TEST_F(poller, echo_unix)
{
	RUN(echo, (void *)un);
}

/* ------------------------------------------------------------------------- */

static void big_writer(void *arg)
{
	gs_conn *c = ((void **)arg)[0];
	char mark = *(char *)((void **)arg)[1];
	size_t n = 300000;
	char *buf = malloc(n);

	memset(buf, mark, n);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gs_conn_write(c, buf, n), n);
	free(buf);
	if (ADD(clients_left, -1) == 0)
		CHECK_EQ(gs_conn_close_write(c), 0);
}

static void big_writes(void *arg)
{
	static char marks[] = "abcdef";
	void *args[6][2];
	size_t run = 0, total = 0;
	char buf[7000], last = 0;
	gs_conn *a, *b;
	ssize_t n;

	connect_pair(arg, &a, &b);
	STORE(clients_left, 6);
	for (int i = 0; i < 6; i++) {
		args[i][0] = a;
		args[i][1] = &marks[i];
		gs_go(big_writer, args[i]);
	}
	while ((n = gs_conn_read(b, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			/* a write ends before another begins */
			if (buf[i] != last)
				CHECK_EQ(run % 300000, 0);
			last = buf[i];
			run = buf[i] == last ? run + 1 : 1;
		}
		total += (size_t)n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(total, 6 * 4 * 300000);
	CHECK_EQ(gs_conn_close(a), 0);
	CHECK_EQ(gs_conn_close(b), 0);
}

/* writes much larger than the socket's buffer are whole, and do not mix */
TEST_F(poller, big_writes)
{
	RUN(big_writes, (void *)tcp);
	RUN(big_writes, (void *)un);
}

static void half_close(void *arg)
{
	gs_conn *a, *b;
	char buf[16];

	connect_pair(arg, &a, &b);
	CHECK_EQ(gs_conn_write(a, "question", 8), 8);
	CHECK_EQ(gs_conn_close_write(a), 0);
	CHECK_EQ(gs_conn_read_full(b, buf, 8), 8);
	CHECK_EQ(gs_conn_read(b, buf, 8), 0);
	CHECK_EQ(gs_conn_read(b, buf, 0), 0);
	CHECK_EQ(gs_conn_write(b, "answer", 6), 6);
	CHECK_EQ(gs_conn_write(b, "", 0), 0);
	CHECK_EQ(gs_conn_write(a, "x", 1), -EPIPE);
	CHECK_EQ(gs_conn_close(b), 0);
	/* what there is before the end of file */
	CHECK_EQ(gs_conn_read_full(a, buf, 16), 6);
	CHECK(!memcmp(buf, "answer", 6));
	CHECK_EQ(gs_conn_read_full(a, buf, 16), 0);
	CHECK_EQ(gs_conn_close(a), 0);
}

/* one end closed for writing: end of file there, and an answer back */
TEST_F(poller, half_close)
{
	RUN(half_close, (void *)tcp);
	RUN(half_close, (void *)un);
	half_close((void *)tcp);
	EXPECT_EQ(0, ut_failed);
}

static void peer_gone(void *arg)
{
	char buf[4096] = "";
	gs_conn *a, *b;
	ssize_t r;

	connect_pair(arg, &a, &b);
	/* unread data: the close resets the connection */
	CHECK_EQ(gs_conn_write(a, "x", 1), 1);
	CHECK_EQ(gs_poll_fd(gs_conn_fd(b), POLLIN, -1), POLLIN);
	CHECK_EQ(gs_conn_close(b), 0);
	while ((r = gs_conn_write(a, buf, sizeof(buf))) > 0)
		;
	CHECK(r == -EPIPE || r == -ECONNRESET);
	r = gs_conn_read(a, buf, sizeof(buf));
	CHECK(r == 0 || r == -ECONNRESET);
	CHECK_EQ(gs_conn_close(a), 0);
}

/* a peer that is gone is an error, and no SIGPIPE */
TEST_F(poller, peer_gone)
{
	RUN(peer_gone, (void *)tcp);
	RUN(peer_gone, (void *)un);
}

/* ------------------------------------------------------------------------- */

/* A call that waits: what it returned, and when. */
struct pending {
	gs_conn *c;
	gs_listener *l;
	char *buf;
	size_t size;
	bool write;
	bool started;	/* atomic */
	ssize_t result; /* atomic: 1 << 40 unknown */
	int64_t ended;	/* atomic */
};

#define UNKNOWN (1l << 40)

static void pending_run(void *arg)
{
	struct pending *p = arg;
	gs_conn *got;
	ssize_t r;

	STORE(p->started, true);
	if (p->l)
		r = gs_accept(p->l, &got);
	else if (p->write)
		r = gs_conn_write(p->c, p->buf, p->size);
	else
		r = gs_conn_read(p->c, p->buf, p->size);
	STORE(p->ended, gs_now());
	STORE(p->result, r);
}

static void *pending_thread(void *arg)
{
	pending_run(arg);
	return NULL;
}

static char pending_buf[8 << 20];

static struct pending *pending_start(gs_conn *c, gs_listener *l, bool write, bool thread)
{
	struct pending *p = calloc(1, sizeof(*p));
	pthread_t t;

	p->c = c;
	p->l = l;
	p->write = write;
	p->buf = pending_buf;
	p->size = write ? sizeof(pending_buf) : 1;
	p->result = UNKNOWN;
	if (!thread) {
		gs_go(pending_run, p);
	} else {
		if (pthread_create(&t, NULL, pending_thread, p))
			abort();
		pthread_detach(t);
	}
	UNTIL(LOAD(p->started));
	return p;
}

static ssize_t pending_end(struct pending *p, int64_t *ended)
{
	ssize_t r;

	UNTIL(LOAD(p->result) != UNKNOWN);
	r = LOAD(p->result);
	if (ended)
		*ended = LOAD(p->ended);
	free(p);
	return r;
}

static void set_deadline(gs_conn *c, int which, int64_t when)
{
	if (which == 0)
		CHECK_EQ(gs_conn_set_read_deadline(c, when), 0);
	else if (which == 1)
		CHECK_EQ(gs_conn_set_write_deadline(c, when), 0);
	else
		CHECK_EQ(gs_conn_set_deadline(c, when), 0);
}

/* A call that waits, whose deadline was moved to `to` before it passed, and has no effect. */
static struct pending *move_in_time(gs_conn *c, int which, bool write, bool thread, int64_t to)
{
	for (int64_t margin = 4 * MS;; margin *= 2) {
		int64_t when = gs_now() + margin;
		struct pending *p;

		set_deadline(c, which, when);
		p = pending_start(c, NULL, write, thread);
		set_deadline(c, which, to);
		if (gs_now() < when || margin > 10 * SEC) {
			gs_sleep(when + 2 * MS - gs_now());
			CHECK_EQ(LOAD(p->result), UNKNOWN);
			return p;
		}
		/* the machine is slow: it may have passed */
		set_deadline(c, which, 1);
		pending_end(p, NULL);
	}
}

/* which deadline, which call it governs, in a fiber or a thread */
static void deadline_one(const char *const net[2], int which, bool write, bool thread)
{
	struct pending *p;
	gs_conn *a, *b;
	int64_t when, ended;
	char c;

	connect_pair(net, &a, &b);
	/* passed: at once, even if there was something to read or room to write; and again */
	CHECK_EQ(gs_conn_write(b, "x", 1), 1);
	CHECK_EQ(gs_poll_fd(gs_conn_fd(a), POLLIN, -1), POLLIN);
	for (int i = 0; i < 2; i++) {
		set_deadline(a, which, i ? gs_now() : -5);
		CHECK_EQ(write ? gs_conn_write(a, "y", 1) : gs_conn_read(a, &c, 1), -ETIMEDOUT);
		CHECK_EQ(write ? gs_conn_write(a, "y", 1) : gs_conn_read(a, &c, 1), -ETIMEDOUT);
	}
	/* the other direction knows nothing of it */
	if (which != 2)
		CHECK_EQ(write ? gs_conn_read(a, &c, 1) : gs_conn_write(a, "y", 1), 1);
	/* set anew, it is as before */
	set_deadline(a, which, 0);
	if (which == 2 || !write)
		CHECK_EQ(gs_conn_read(a, &c, 1), 1);

	/* in the future: a call begun before it and one begun after it; late now and then */
	for (int i = 0; i < 2; i++) {
		for (int tries = 0; tries < 10; tries++) {
			when = gs_now() + 4 * MS;
			if (i)
				set_deadline(a, which, when);
			p = pending_start(a, NULL, write, thread);
			if (!i)
				set_deadline(a, which, when);
			CHECK_EQ(pending_end(p, &ended), -ETIMEDOUT);
			CHECK_GE(ended, when);
			if (ended <= when + ut_limit(2 * SEC))
				break;
			/* the next one begins without a deadline, or with its own */
			set_deadline(a, which, 0);
		}
		CHECK_LE(ended, when + ut_limit(2 * SEC));
	}
	/* moved: later, then earlier; taken away, then passed at once */
	p = move_in_time(a, which, write, thread, gs_now() + 3600 * SEC);
	when = gs_now() + 2 * MS;
	set_deadline(a, which, when);
	CHECK_EQ(pending_end(p, &ended), -ETIMEDOUT);
	CHECK_GE(ended, when);
	p = move_in_time(a, which, write, thread, 0);
	set_deadline(a, which, 1);
	CHECK_EQ(pending_end(p, NULL), -ETIMEDOUT);
	CHECK_EQ(gs_conn_close(a), 0);
	CHECK_EQ(gs_conn_close(b), 0);
}

static void deadlines(void *arg)
{
	for (int thread = 0; thread < 2; thread++)
		for (int write = 0; write < 2; write++) {
			deadline_one(arg, write, write, thread);
			deadline_one(arg, 2, write, thread);
		}
}

/* deadlines: passed, coming, moved, taken away; for readers, writers, fibers, threads */
TEST_F(poller, deadlines)
{
	RUN(deadlines, (void *)tcp);
	RUN(deadlines, (void *)un);
}

static void accept_deadline(void *arg)
{
	char addr[128];
	gs_listener *l = listen_on(arg, addr, sizeof(addr));
	gs_conn *a, *b;
	struct pending *p;

	CHECK_EQ(gs_listener_set_deadline(l, 1), 0);
	CHECK_EQ(gs_dial(*(const char **)arg, addr, NULL, &a), 0);
	CHECK_EQ(gs_accept(l, &b), -ETIMEDOUT);
	CHECK_EQ(gs_listener_set_deadline(l, gs_now() + 3600 * SEC), 0);
	CHECK_EQ(gs_accept(l, &b), 0);
	p = pending_start(NULL, l, false, false);
	CHECK_EQ(gs_listener_set_deadline(l, gs_now() + MS), 0);
	CHECK_EQ(pending_end(p, NULL), -ETIMEDOUT);
	gs_conn_close(a);
	gs_conn_close(b);
	CHECK_EQ(gs_listener_close(l), 0);
}

/* the same for accept */
TEST_F(poller, accept_deadline)
{
	RUN(accept_deadline, (void *)tcp);
}

static void deadline_race(void *arg)
{
	gs_conn *a, *b;
	char c;

	connect_pair(un, &a, &b);
	for (long i = 0; i < ut_count(1000, 40); i++) {
		struct pending *p = pending_start(a, NULL, false, false);
		ssize_t r;

		/* data and deadline come together: one of them counts, and no byte is lost */
		gs_conn_set_read_deadline(a, gs_now() + i % 40 * 1000 + 1);
		CHECK_EQ(gs_conn_write(b, "x", 1), 1);
		r = pending_end(p, NULL);
		CHECK(r == 1 || r == -ETIMEDOUT);
		gs_conn_set_read_deadline(a, 0);
		if (r != 1)
			CHECK_EQ(gs_conn_read(a, &c, 1), 1);
	}
	gs_conn_close(a);
	gs_conn_close(b);
}

/* deadlines that race with data, and with being set anew */
TEST_F(poller, deadline_race)
{
	RUN(deadline_race, NULL);
}

static int stop_storm; /* atomic */

static void storm_reader(void *arg)
{
	char buf[100];
	ssize_t r;

	do {
		r = gs_conn_read(arg, buf, sizeof(buf));
		gs_yield();
	} while (r > 0 || r == -ETIMEDOUT);
	/* closed here, or first at the other end */
	CHECK(r == -ECANCELED || (LOAD(stop_storm) && (r == 0 || r == -ECONNRESET)));
	ADD(clients_left, -1);
}

static void storm_writer(void *arg)
{
	char buf[100] = "";
	ssize_t r;

	do {
		r = gs_conn_write(arg, buf, sizeof(buf));
		gs_yield();
	} while (r == sizeof(buf) || r == -ETIMEDOUT);
	CHECK(r == -ECANCELED || (LOAD(stop_storm) && (r == -EPIPE || r == -ECONNRESET)));
	ADD(clients_left, -1);
}

static void storm_setter(void *arg)
{
	unsigned int seed = 1;

	while (!LOAD(stop_storm)) {
		int64_t when = rand_r(&seed) % 3 ? gs_now() + rand_r(&seed) % 200000 : 0;

		set_deadline(arg, rand_r(&seed) % 3, when);
		gs_yield();
	}
	ADD(clients_left, -1);
}

static void deadline_storm(void *arg)
{
	gs_conn *a, *b;

	connect_pair(tcp, &a, &b);
	STORE(stop_storm, 0);
	STORE(clients_left, 8);
	gs_go(storm_setter, a);
	gs_go(storm_setter, a);
	for (int i = 0; i < 2; i++) {
		gs_go(storm_reader, a);
		gs_go(storm_writer, a);
	}
	gs_go(storm_reader, b);
	gs_go(storm_writer, b);
	gs_sleep(ut_scale() > 1 ? 20 * MS : 100 * MS);
	STORE(stop_storm, 1);
	UNTIL(LOAD(clients_left) <= 6);
	CHECK_EQ(gs_conn_close(a), 0);
	CHECK_EQ(gs_conn_close(b), 0);
	UNTIL(LOAD(clients_left) == 0);
}

/* readers, writers and deadlines that come and go on one connection, all at once */
TEST_F(poller, deadline_storm)
{
	RUN(deadline_storm, NULL);
}

static void flood(void *arg)
{
	char buf[1000] = "";

	while (gs_conn_write(arg, buf, sizeof(buf)) == sizeof(buf))
		;
	ADD(clients_left, -1);
}

static void steady(void *arg)
{
	static const int64_t after[] = {1, 20000, 500000, 5000000};
	gs_conn *a, *b;
	char buf[1000];
	ssize_t r;

	connect_pair(tcp, &a, &b);
	STORE(clients_left, 1);
	gs_go(flood, b);
	for (size_t i = 0; i < ARRAY_SIZE(after); i++) {
		int64_t late = INT64_MAX;

		/* late it may be now and then, for the machine's sake */
		for (int tries = 0; tries < 10 && late > ut_limit(2 * SEC); tries++) {
			int64_t when = gs_now() + after[i];

			gs_conn_set_read_deadline(a, when);
			while ((r = gs_conn_read(a, buf, sizeof(buf))) > 0)
				;
			late = gs_now() - when;
			CHECK_EQ(r, -ETIMEDOUT);
			CHECK_GE(late, 0);
			gs_conn_set_read_deadline(a, 0);
			CHECK_GT(gs_conn_read(a, buf, sizeof(buf)), 0);
		}
		CHECK_LE(late, ut_limit(2 * SEC));
	}
	gs_conn_close(a);
	UNTIL(LOAD(clients_left) == 0);
	gs_conn_close(b);
}

/* a deadline ends reading though there is always something to read */
TEST_F(poller, steady_data)
{
	RUN(steady, NULL);
}

/* ------------------------------------------------------------------------- */

static void close_one(const char *const net[2], bool thread)
{
	struct pending *p[8];
	gs_conn *a, *b;
	gs_listener *l;
	char addr[128], c;

	connect_pair(net, &a, &b);
	for (int i = 0; i < 8; i++)
		p[i] = pending_start(a, NULL, i % 2, thread && i < 2);
	gs_sleep(2 * MS);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(LOAD(p[i]->result), UNKNOWN);
	CHECK_EQ(gs_conn_close(a), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pending_end(p[i], NULL), -ECANCELED);
	/* too late, and found out */
	CHECK_EQ(gs_conn_close(a), -ECANCELED);
	CHECK_EQ(gs_conn_read(a, &c, 1), -ECANCELED);
	CHECK_EQ(gs_conn_write(a, &c, 1), -ECANCELED);
	CHECK_EQ(gs_conn_set_deadline(a, 0), -ECANCELED);
	CHECK_EQ(gs_conn_close_write(a), -ECANCELED);
	CHECK_EQ(gs_conn_fd(a), -ECANCELED);
	CHECK_EQ(gs_conn_local(a, addr, sizeof(addr)), -ECANCELED);
	CHECK_EQ(gs_conn_close(b), 0);

	l = listen_on(net, addr, sizeof(addr));
	for (int i = 0; i < 3; i++)
		p[i] = pending_start(NULL, l, false, thread && !i);
	gs_sleep(MS);
	CHECK_EQ(gs_listener_close(l), 0);
	/* the address is free at once */
	if (net != un) {
		CHECK_EQ(gs_listen(net[0], addr, &l), 0);
		CHECK_EQ(gs_listener_close(l), 0);
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pending_end(p[i], NULL), -ECANCELED);
	CHECK_EQ(gs_listener_close(l), -ECANCELED);
	CHECK_EQ(gs_accept(l, &a), -ECANCELED);
	CHECK_EQ(gs_dial(net[0], addr, NULL, &a), -ECONNREFUSED);
}

static void closes(void *arg)
{
	close_one(tcp, arg);
	close_one(un, arg);
}

/* closing ends readers, writers and accepts with -ECANCELED */
TEST_F(poller, closes)
{
	RUN(closes, NULL);
	RUN(closes, (void *)1);
}

static void close_race(void *arg)
{
	gs_listener *l;
	char addr[128];

	l = listen_on(tcp, addr, sizeof(addr));
	for (long i = 0; i < ut_count(500, 20); i++) {
		struct pending *p, *q;
		gs_conn *a, *b;
		ssize_t r;

		CHECK_EQ(gs_dial("tcp", addr, NULL, &a), 0);
		CHECK_EQ(gs_accept(l, &b), 0);
		p = pending_start(a, NULL, false, false);
		q = pending_start(b, NULL, false, false);
		if (i % 3)
			gs_sleep(i % 7 * 1000);
		/* one end is closed here; the other one reads the end of file */
		CHECK_EQ(gs_conn_close(a), 0);
		CHECK_EQ(pending_end(p, NULL), -ECANCELED);
		r = pending_end(q, NULL);
		CHECK_EQ(r, 0);
		CHECK_EQ(gs_conn_close(b), 0);
	}
	gs_listener_close(l);
}

/* connections come and go, their numbers are used again; every wait ends */
TEST_F(poller, close_race)
{
	RUN(close_race, NULL);
}

/* ------------------------------------------------------------------------- */

static void pong(void *arg)
{
	long v;

	while (gs_conn_read_full(arg, &v, sizeof(v)) == sizeof(v)) {
		v = -v;
		CHECK_EQ(gs_conn_write(arg, &v, sizeof(v)), sizeof(v));
	}
	ADD(clients_left, -1);
}

static void ping_pong(void *arg)
{
	gs_conn *a, *b;
	long v;

	connect_pair(arg, &a, &b);
	STORE(clients_left, 1);
	gs_go(pong, b);
	for (long i = 1; i <= ut_count(2000, 60); i++) {
		v = i;
		CHECK_EQ(gs_conn_write(a, &v, sizeof(v)), sizeof(v));
		for (long k = 0; k < i % 256; k++)
			__asm__ volatile("" ::: "memory");
		if (i % 5 == 0)
			gs_yield();
		if (!CHECK_EQ(gs_conn_read_full(a, &v, sizeof(v)), sizeof(v)))
			break;
		CHECK_EQ(v, -i);
	}
	CHECK_EQ(gs_conn_close(a), 0);
	UNTIL(LOAD(clients_left) == 0);
	CHECK_EQ(gs_conn_close(b), 0);
}

/* thousands of messages to and fro: none is waited for in vain */
TEST_F(poller, ping_pong)
{
	RUN(ping_pong, (void *)tcp);
	RUN(ping_pong, (void *)un);
}

/* ------------------------------------------------------------------------- */

/* libgo-user/src/poller.h: called at each turn of the poller, on its thread */
extern void (*gs_poller_hook)(void);
void gs_poller_wake(void);

static int hold, held, turns; /* atomic; turns: that it may take though it is held */

static void hold_poller(void)
{
	struct timespec ts = {.tv_nsec = 100000};

	while (LOAD(hold) && !LOAD(turns)) {
		STORE(held, 1);
		nanosleep(&ts, NULL);
	}
	if (LOAD(turns))
		ADD(turns, -1);
}

static long answered; /* atomic */

static void asks(void *arg)
{
	char buf[8] = "ask";

	for (;;) {
		if (gs_conn_write(arg, buf, sizeof(buf)) != sizeof(buf) ||
		    gs_conn_read_full(arg, buf, sizeof(buf)) != sizeof(buf))
			break;
		ADD(answered, 1);
	}
	CHECK_EQ(gs_conn_close(arg), 0);
	ADD(echoes_left, -1);
}

static void held_main(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	long rounds = ut_count(2000, 200), before, helps;
	gs_conn *a, *b;

	(void)arg;
	connect_pair(tcp, &a, &b);
	STORE(echoes_left, 2);
	CHECK_EQ(gs_go(echo_conn, b), 0);
	CHECK_EQ(gs_go(asks, a), 0);
	UNTIL(LOAD(answered) > 0);
	STORE(hold, 1);
	STORE(gs_poller_hook, hold_poller);
	gs_poller_wake();
	UNTIL(LOAD(held));
	/*
	 * The answer may come a moment after the look, where only the poller sees it; and while
	 * the machine does something else, there is none either.
	 */
	do {
		before = LOAD(answered);
		helps = 0;
		while (LOAD(answered) - before < rounds && helps < rounds) {
			long n = LOAD(answered);

			if (!UNTIL_NS(LOAD(answered) > n, MS)) {
				ADD(turns, 1);
				helps++;
			}
		}
	} while (helps >= rounds / 4 && gs_now() < end);
	CHECK_LT(helps, rounds / 4);
	STORE(hold, 0);
	/* orderly: the other end reads the end of file */
	CHECK_EQ(gs_conn_close_write(a), 0);
	UNTIL(LOAD(echoes_left) == 0);
}

/* question and answer need no poller: who waits looks for events himself */
TEST_F(poller, answers_without)
{
	RUN(held_main, NULL);
}

static long nidle, idle_started; /* atomic */
static gs_conn *idle_near[4000], *idle_far[4000];
static long idle_got; /* atomic */

static void idle_one(void *arg)
{
	char c = 0;

	ADD(idle_started, 1);
	CHECK_EQ(gs_conn_read(arg, &c, 1), 1);
	ADD(idle_got, c);
}

static void idle(void *arg)
{
	char addr[128];
	gs_listener *l = listen_on(un, addr, sizeof(addr));
	struct gs_stats s;

	STORE(idle_got, 0);
	for (long i = 0; i < nidle; i++) {
		CHECK_EQ(gs_dial("unix", addr, NULL, &idle_near[i]), 0);
		if (!CHECK_EQ(gs_accept(l, &idle_far[i]), 0))
			_exit(1);
		CHECK_EQ(gs_go(idle_one, idle_far[i]), 0);
	}
	UNTIL(LOAD(idle_started) == nidle);
	CHECK_EQ(gs_stats(&s), 0);
	/* none has a thread of its own */
	CHECK_LT(s.workers, nidle / 2);
	/* a few of so many */
	for (long i = 0; i < nidle; i += nidle / 20)
		CHECK_EQ(gs_conn_write(idle_near[i], "\001", 1), 1);
	UNTIL(LOAD(idle_got) == 20);
	for (long i = 0; i < nidle; i++)
		if (i % (nidle / 20))
			CHECK_EQ(gs_conn_write(idle_near[i], "\001", 1), 1);
	UNTIL(LOAD(idle_got) == nidle);
	for (long i = 0; i < nidle; i++) {
		CHECK_EQ(gs_conn_close(idle_near[i]), 0);
		CHECK_EQ(gs_conn_close(idle_far[i]), 0);
	}
	gs_listener_close(l);
}

/* thousands of connections, all idle but a few */
TEST_F(poller, idle_connections)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	nidle = ut_count(4000, 100);
	if ((long)lim.rlim_cur / 2 - 100 < nidle)
		nidle = (long)lim.rlim_cur / 2 - 100;
	nidle -= nidle % 20;
	RUN(idle, NULL);
}

static void forked(void *arg)
{
	gs_conn *a, *b;
	int status = -1;
	char c = 0;
	pid_t pid;

	connect_pair(arg, &a, &b);
	pid = fork();
	if (pid == 0) {
		/* the connection is the parent's as well; one end is let go here */
		gs_conn_set_read_deadline(a, gs_now() + MS);
		if (gs_conn_read(a, &c, 1) != -ETIMEDOUT || gs_conn_close(a))
			_exit(1);
		if (gs_conn_write(b, "c", 1) != 1 || gs_conn_read(b, &c, 1) != 1 || c != 'p')
			_exit(2);
		_exit(gs_conn_close(b) ? 3 : 0);
	}
	/* waits long before the child writes: its registration must still be there */
	CHECK_EQ(gs_conn_read(a, &c, 1), 1);
	CHECK_EQ(c, 'c');
	CHECK_EQ(gs_conn_write(a, "p", 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(gs_conn_close(a), 0);
	CHECK_EQ(gs_conn_read(b, &c, 1), 0);
	CHECK_EQ(gs_conn_close(b), 0);
}

/* a child of a fork that closes its copy of a connection does its parent no harm */
TEST_F(poller, forked)
{
	RUN(forked, (void *)tcp);
	RUN(forked, (void *)un);
}

/* ------------------------------------------------------------------------- */

static void addresses(void *arg)
{
	static const struct {
		const char *net, *addr;
		int error;
	} bad[] = {
		{"tcp", "127.0.0.1", -EINVAL},
		{"tcp", "127.0.0.1:70000", -EINVAL},
		{"tcp", "127.0.0.1:-1", -EINVAL},
		{"tcp", "127.0.0.1:0x50", -EINVAL},
		{"tcp", "::1:80", -EINVAL},
		{"tcp", "[::1]", -EINVAL},
		{"tcp", "[::1:80", -EINVAL},
		{"tcp", "::1]:80", -EINVAL},
		{"tcp", "", -EINVAL},
		{"tcp", NULL, -EINVAL},
		{"tcp4", "[::1]:0", -EINVAL},
		{"tcp6", "127.0.0.1:0", -EINVAL},
		{"unix", "", -EINVAL},
		{"unix", "/no/such/directory/at/all", -ENOENT},
		{"tcp9", "127.0.0.1:0", -EPROTONOSUPPORT},
		{"", "127.0.0.1:0", -EPROTONOSUPPORT},
		{NULL, "127.0.0.1:0", -EPROTONOSUPPORT},
		{"udp", "127.0.0.1:0", -EPROTONOSUPPORT},
	};
	static const char *const good[][3] = {
		{"tcp", "127.0.0.1:0", "127.0.0.1:"},
		{"tcp4", ":0", "0.0.0.0:"},
		{"tcp4", "localhost:0", "127.0.0.1:"},
		{"tcp", "127.0.0.1:", "127.0.0.1:"},
		{"tcp", "[::1]:0", "[::1]:"},
		{"tcp6", ":0", "[::]:"},
		{"tcp", "[::ffff:127.0.0.1]:0", "127.0.0.1:"},
	};
	char text[128], path[200], small[4];
	gs_listener *l;
	gs_conn *a, *b;
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int r = gs_listen(bad[i].net, bad[i].addr, &l);

		if (!CHECK_EQ(r, bad[i].error))
			fprintf(stderr, "# listen %s %s\n", bad[i].net, bad[i].addr);
		if (bad[i].error == -EINVAL)
			CHECK_EQ(gs_dial(bad[i].net, bad[i].addr, NULL, &a), -EINVAL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (i >= 4 && no_ipv6())
			continue;
		if (!CHECK_EQ(gs_listen(good[i][0], good[i][1], &l), 0)) {
			fprintf(stderr, "# listen %s %s\n", good[i][0], good[i][1]);
			continue;
		}
		CHECK_EQ(gs_listener_addr(l, text, sizeof(text)), 0);
		if (!CHECK(!strncmp(text, good[i][2], strlen(good[i][2]))))
			fprintf(stderr, "# %s is %s\n", good[i][1], text);
		CHECK_GT(atoi(strrchr(text, ':') + 1), 0);
		CHECK_EQ(gs_listener_close(l), 0);
	}

	/* each end names the other; no host is all addresses, or this machine */
	CHECK_EQ(gs_listen("tcp", ":0", &l), 0);
	CHECK_EQ(gs_listener_addr(l, text, sizeof(text)), 0);
	CHECK_EQ(gs_listener_addr(l, small, sizeof(small)), -ENOSPC);
	snprintf(path, sizeof(path), "127.0.0.1%s", strrchr(text, ':'));
	CHECK_EQ(gs_dial("tcp", path, NULL, &a), 0);
	CHECK_EQ(gs_accept(l, &b), 0);
	CHECK_EQ(gs_conn_remote(a, text, sizeof(text)), 0);
	CHECK(!strcmp(text, path));
	CHECK_EQ(gs_conn_local(b, text, sizeof(text)), 0);
	CHECK(!strcmp(text, path));
	CHECK_EQ(gs_conn_local(a, path, sizeof(path)), 0);
	CHECK_EQ(gs_conn_remote(b, text, sizeof(text)), 0);
	CHECK(!strcmp(text, path));
	gs_conn_close(a);
	gs_conn_close(b);
	CHECK_EQ(gs_dial("tcp", strrchr(strcpy(text, "x:1"), ':'), NULL, &a), -ECONNREFUSED);
	gs_listener_addr(l, text, sizeof(text));
	CHECK_EQ(gs_dial("tcp", strrchr(text, ':'), NULL, &a), 0);
	gs_conn_close(a);
	snprintf(path, sizeof(path), "localhost%s", strrchr(text, ':'));
	CHECK_EQ(gs_dial("tcp", path, NULL, &a), 0);
	gs_conn_close(a);
	gs_listener_close(l);

	/* a file that must not be there before, and is not after */
	snprintf(path, sizeof(path), "/tmp/gs-net-%d", getpid());
	CHECK_EQ(gs_dial("unix", path, NULL, &a), -ENOENT);
	CHECK_EQ(gs_listen("unix", path, &l), 0);
	CHECK_EQ(gs_listen("unix", path, &l), -EADDRINUSE);
	CHECK_EQ(gs_listener_addr(l, text, sizeof(text)), 0);
	CHECK(!strcmp(text, path));
	CHECK_EQ(gs_dial("unix", path, NULL, &a), 0);
	CHECK_EQ(gs_accept(l, &b), 0);
	CHECK_EQ(gs_conn_remote(a, text, sizeof(text)), 0);
	CHECK(!strcmp(text, path));
	CHECK_EQ(gs_conn_local(a, text, sizeof(text)), 0);
	CHECK(!strcmp(text, ""));
	gs_conn_close(a);
	gs_conn_close(b);
	CHECK_EQ(gs_listener_close(l), 0);
	CHECK_EQ(stat(path, &st), -1);
	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	CHECK_EQ(gs_listen("unix", path, &l), -ENAMETOOLONG);
	/* it belongs to the connection */
	connect_pair(tcp, &a, &b);
	CHECK_EQ(gs_close_fd(gs_conn_fd(a)), -EBUSY);
	gs_conn_close(a);
	gs_conn_close(b);
}

/* addresses, there and back as text; those that are none */
TEST_F(poller, addresses)
{
	RUN(addresses, NULL);
}

/* ------------------------------------------------------------------------- */

/* Of a listener: what waits to be accepted, and how much may (tcp(7) does not tell). */
static bool backlog_full(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		abort();
	return info.tcpi_unacked > info.tcpi_sacked;
}

/* A listener that takes no more connections: a dial there waits. */
static int full_tcp(char *addr, size_t size)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&a, len) || listen(fd, 0) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		abort();
	snprintf(addr, size, "127.0.0.1:%d", ntohs(a.sin_port));
	/* one stands in the queue then, and the kernel answers no other */
	connect(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), (struct sockaddr *)&a, len);
	UNTIL(backlog_full(fd));
	return fd;
}

static int full_unix(char *addr, size_t size)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr, size, "/tmp/gs-full-%d", getpid());
	strcpy(a.sun_path, addr);
	unlink(addr);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 0))
		abort();
	while (!connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), (struct sockaddr *)&a,
			sizeof(a)))
		;
	return fd;
}

static void cancel_soon(void *arg)
{
	gs_sleep(3 * MS);
	gs_cancel_call(arg);
}

static void dial_context(void *arg)
{
	const char *net = arg;
	char addr[128];
	int fd = !strcmp(net, "tcp") ? full_tcp(addr, sizeof(addr)) : full_unix(addr, sizeof(addr));
	gs_cancel cancel;
	gs_context *ctx;
	gs_conn *c = NULL;
	int64_t t;

	/* cancelled before, during; a deadline */
	ctx = gs_with_cancel(gs_background(), &cancel);
	gs_go(cancel_soon, &cancel);
	CHECK_EQ(gs_dial(net, addr, ctx, &c), -ECANCELED);
	CHECK_EQ(gs_dial(net, addr, ctx, &c), -ECANCELED);
	gs_context_unref(ctx);
	t = gs_now();
	ctx = gs_with_timeout(gs_background(), 5 * MS, &cancel);
	CHECK_EQ(gs_dial(net, addr, ctx, &c), -ETIMEDOUT);
	CHECK_GE(gs_now() - t, 5 * MS);
	CHECK_EQ(gs_dial(net, addr, ctx, &c), -ETIMEDOUT);
	gs_context_unref(ctx);
	CHECK(!c);
	close(fd);
	if (addr[0] == '/')
		unlink(addr);
}

static void dial_outlives(void *arg)
{
	char addr[128], buf[4];
	gs_listener *l = listen_on(tcp, addr, sizeof(addr));
	gs_cancel cancel;
	gs_context *ctx = gs_with_timeout(gs_background(), 3600 * SEC, &cancel);
	gs_conn *a, *b;

	/* after the dial the context has no say */
	CHECK_EQ(gs_dial("tcp", addr, ctx, &a), 0);
	CHECK_EQ(gs_accept(l, &b), 0);
	gs_cancel_call(&cancel);
	gs_context_unref(ctx);
	CHECK_EQ(gs_conn_write(a, "abc", 3), 3);
	CHECK_EQ(gs_conn_write(b, "def", 3), 3);
	CHECK_EQ(gs_conn_read(a, buf, 3), 3);
	gs_conn_close(a);
	gs_conn_close(b);
	CHECK_EQ(gs_dial("tcp", addr, gs_background(), &a), 0);
	gs_conn_close(a);
	gs_listener_close(l);
}

/* gs_dial gives up when its context says so, and only then */
TEST_F(poller, dial_context)
{
	RUN(dial_context, "tcp");
	RUN(dial_context, "unix");
	RUN(dial_outlives, NULL);
}

static void dial_races(void *arg)
{
	char addr[128];
	gs_listener *l = listen_on(un, addr, sizeof(addr));

	for (long i = 0; i < ut_count(300, 20); i++) {
		gs_cancel cancel;
		gs_context *ctx = gs_with_timeout(gs_background(), 1000 + i % 100 * 1000, &cancel);
		gs_conn *a = NULL, *b;
		int r = gs_dial("unix", addr, ctx, &a);

		if (r == 0) {
			CHECK_EQ(gs_accept(l, &b), 0);
			CHECK_EQ(gs_conn_write(a, "x", 1), 1);
			gs_conn_close(b);
			gs_conn_close(a);
		} else {
			CHECK_EQ(r, -ETIMEDOUT);
			/* it may have come through all the same */
			gs_listener_set_deadline(l, gs_now() + 100000);
			if (gs_accept(l, &b) == 0)
				gs_conn_close(b);
			gs_listener_set_deadline(l, 0);
		}
		gs_context_unref(ctx);
	}
	gs_listener_close(l);
}

/* a deadline that comes while the dial ends: a good connection or an error, never half */
TEST_F(poller, dial_races)
{
	RUN(dial_races, NULL);
}

/* ------------------------------------------------------------------------- */

static void datagrams(void *arg)
{
	char addr[128], from[128], buf[16];
	gs_conn *a = NULL, *b = NULL, *c = NULL;
	struct pending *p;

	CHECK_EQ(gs_listen_packet("udp", "127.0.0.1:0", &a), 0);
	CHECK_EQ(gs_conn_local(a, addr, sizeof(addr)), 0);
	CHECK_EQ(gs_listen_packet("udp4", ":0", &b), 0);
	CHECK_EQ(gs_conn_sendto(b, "hello", 5, addr), 5);
	CHECK_EQ(gs_conn_recvfrom(a, buf, sizeof(buf), from, sizeof(from)), 5);
	CHECK_EQ(gs_conn_sendto(a, "", 0, from), 0);
	CHECK_EQ(gs_conn_read(b, buf, sizeof(buf)), 0);
	/* connected */
	CHECK_EQ(gs_dial("udp", addr, NULL, &c), 0);
	CHECK_EQ(gs_conn_write(c, "abcd", 4), 4);
	CHECK_EQ(gs_conn_sendto(c, "ef", 2, NULL), 2);
	CHECK_EQ(gs_conn_recvfrom(a, buf, 2, from, sizeof(from)), 2);
	CHECK_EQ(gs_conn_recvfrom(a, buf, sizeof(buf), NULL, 0), 2);
	CHECK_EQ(gs_conn_local(c, addr, sizeof(addr)), 0);
	CHECK(!strcmp(addr, from));
	CHECK_EQ(gs_conn_sendto(a, "back", 4, from), 4);
	CHECK_EQ(gs_conn_read(c, buf, sizeof(buf)), 4);
	CHECK_EQ(gs_conn_sendto(a, "x", 1, NULL), -EDESTADDRREQ);
	CHECK_EQ(gs_conn_sendto(a, "x", 1, "nonsense"), -EINVAL);
	/* waiting, deadlines, closing are as elsewhere */
	p = pending_start(a, NULL, false, false);
	CHECK_EQ(gs_conn_write(c, "y", 1), 1);
	CHECK_EQ(pending_end(p, NULL), 1);
	gs_conn_set_read_deadline(a, gs_now() + MS);
	CHECK_EQ(gs_conn_recvfrom(a, buf, 2, from, sizeof(from)), -ETIMEDOUT);
	gs_conn_set_read_deadline(a, 0);
	p = pending_start(a, NULL, false, false);
	CHECK_EQ(gs_conn_close(a), 0);
	CHECK_EQ(pending_end(p, NULL), -ECANCELED);
	gs_conn_close(b);
	gs_conn_close(c);
	if (no_ipv6())
		return;
	/* one socket for both families */
	CHECK_EQ(gs_listen_packet("udp", ":0", &a), 0);
	CHECK_EQ(gs_conn_local(a, addr, sizeof(addr)), 0);
	CHECK_EQ(gs_listen_packet("udp", "127.0.0.1:0", &b), 0);
	snprintf(from, sizeof(from), "127.0.0.1%s", strrchr(addr, ':'));
	CHECK_EQ(gs_conn_sendto(b, "four", 4, from), 4);
	CHECK_EQ(gs_conn_recvfrom(a, buf, sizeof(buf), from, sizeof(from)), 4);
	CHECK(!strncmp(from, "127.0.0.1:", 10));
	CHECK_EQ(gs_conn_sendto(a, "five5", 5, from), 5);
	CHECK_EQ(gs_conn_read(b, buf, sizeof(buf)), 5);
	gs_conn_close(a);
	gs_conn_close(b);
}

static void unix_datagrams(void *arg)
{
	char path[64], other[64], from[128], buf[16];
	gs_conn *a = NULL, *b = NULL, *c = NULL;
	struct stat st;

	snprintf(path, sizeof(path), "/tmp/gs-dgram-%d", getpid());
	snprintf(other, sizeof(other), "@gs-dgram-%d", getpid());
	CHECK_EQ(gs_listen_packet("unixgram", path, &a), 0);
	CHECK_EQ(gs_listen_packet("unixgram", other, &b), 0);
	CHECK_EQ(gs_conn_sendto(b, "hello", 5, path), 5);
	CHECK_EQ(gs_conn_recvfrom(a, buf, sizeof(buf), from, sizeof(from)), 5);
	CHECK(!strcmp(from, other));
	CHECK_EQ(gs_conn_sendto(a, "hi", 2, from), 2);
	CHECK_EQ(gs_conn_read(b, buf, sizeof(buf)), 2);
	CHECK_EQ(gs_dial("unixgram", path, NULL, &c), 0);
	CHECK_EQ(gs_conn_write(c, "x", 1), 1);
	CHECK_EQ(gs_conn_recvfrom(a, buf, sizeof(buf), from, sizeof(from)), 1);
	CHECK(!strcmp(from, ""));
	gs_conn_close(a);
	CHECK_EQ(stat(path, &st), -1);
	gs_conn_close(b);
	gs_conn_close(c);
}

/* On this thread, this call with that second argument fails from now on. */
static bool refuse(long nr, unsigned int second)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {ARRAY_SIZE(code), code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static bool nothing_refused;

/* On a thread, for what it has refused to itself is so for good. */
static void *half_bound(void *arg)
{
	char path[64];
	gs_listener *l = NULL;
	gs_conn *c = NULL;

	snprintf(path, sizeof(path), "/tmp/gs-half-%d", getpid());
	if (!refuse(SYS_epoll_ctl, EPOLL_CTL_ADD)) {
		nothing_refused = true;
		return NULL;
	}
	CHECK_EQ(gs_listen_packet("unixgram", path, &c), -ENOSPC);
	CHECK_EQ(access(path, F_OK), -1);
	CHECK_EQ(gs_listen("unix", path, &l), -ENOSPC);
	CHECK_EQ(access(path, F_OK), -1);
	CHECK(refuse(SYS_listen, 4096));
	CHECK_EQ(gs_listen("unix", path, &l), -ENOSPC);
	CHECK_EQ(access(path, F_OK), -1);
	/* another's stays */
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	CHECK_EQ(gs_listen("unix", path, &l), -EADDRINUSE);
	CHECK_EQ(access(path, F_OK), 0);
	unlink(path);
	return NULL;
}

/* a listener that fails after it was bound leaves no file */
TEST_F(poller, half_bound)
{
	pthread_t t;

	/* so that the runtime's own threads are without the filter */
	RUN(unix_datagrams, NULL);
	ASSERT_EQ(0, pthread_create(&t, NULL, half_bound, NULL));
	pthread_join(t, NULL);
	EXPECT_EQ(0, ut_failed);
	if (nothing_refused)
		SKIP(return, "no filter of system calls here");
}

/* datagrams: from whom, to whom, cut, empty */
TEST_F(poller, datagrams)
{
	RUN(datagrams, NULL);
	RUN(unix_datagrams, NULL);
}

static char full_addr[64];

static void send_to_full(void *arg)
{
	struct pending *p = arg;
	ssize_t r = gs_conn_sendto(p->c, "y", 1, full_addr);

	STORE(p->ended, gs_now());
	STORE(p->result, r);
}

static struct pending *full_start(gs_conn *c)
{
	const struct gs_attr attr = {.name = "to the full one"};
	struct pending *p = calloc(1, sizeof(*p));

	p->c = c;
	p->result = UNKNOWN;
	gs_go_attr(&attr, send_to_full, p);
	UNTIL(LOAD(p->result) != UNKNOWN || ut_waiting("IO wait", attr.name) == 1);
	CHECK_EQ(LOAD(p->result), UNKNOWN);
	return p;
}

static void full_receiver(void *arg)
{
	gs_conn *to = NULL, *filler = NULL, *c = NULL;
	char name[64], b = 0;
	struct pending *p;
	long n = 0, got = 0;

	snprintf(full_addr, sizeof(full_addr), "@gs-full-%d", getpid());
	CHECK_EQ(gs_listen_packet("unixgram", full_addr, &to), 0);
	snprintf(name, sizeof(name), "@gs-filler-%d", getpid());
	CHECK_EQ(gs_listen_packet("unixgram", name, &filler), 0);
	snprintf(name, sizeof(name), "@gs-sender-%d", getpid());
	CHECK_EQ(gs_listen_packet("unixgram", name, &c), 0);
	gs_conn_set_write_deadline(filler, gs_now() + 20 * MS);
	while (gs_conn_sendto(filler, "x", 1, full_addr) == 1)
		n++;
	CHECK_GT(n, 0);
	CHECK_EQ(gs_conn_sendto(filler, "x", 1, full_addr), -ETIMEDOUT);

	/* a deadline and a close end it */
	p = full_start(c);
	gs_conn_set_write_deadline(c, gs_now() + MS);
	CHECK_EQ(pending_end(p, NULL), -ETIMEDOUT);
	gs_conn_set_write_deadline(c, 0);
	gs_conn_set_write_deadline(filler, 0);
	p = full_start(filler);
	CHECK_EQ(gs_conn_close(filler), 0);
	CHECK_EQ(pending_end(p, NULL), -ECANCELED);
	/* and room, of which nobody tells */
	p = full_start(c);
	for (; got < n; got++)
		CHECK_EQ(gs_conn_read(to, &b, 1), 1);
	CHECK_EQ(pending_end(p, NULL), 1);
	CHECK_EQ(gs_conn_read(to, &b, 1), 1);
	CHECK_EQ(b, 'y');
	gs_conn_close(to);
	gs_conn_close(c);
}

/* a datagram for one whose queue is full, by one who is not connected to it */
TEST_F(poller, full_receiver)
{
	RUN(full_receiver, NULL);
}

#define HELD "held.invalid"

static sem_t let_go;
static int lookups, lookups_ended; /* atomic: of that name */
static int (*real_getaddrinfo)(const char *, const char *, const struct addrinfo *,
			       struct addrinfo **);

/* The library's lookups come here: those of one name are kept until they are let go. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **list)
{
	if (node && !strcmp(node, HELD)) {
		ADD(lookups, 1);
		while (sem_wait(&let_go))
			;
		ADD(lookups_ended, 1);
		node = "127.0.0.1";
	}
	return real_getaddrinfo(node, service, hints, list);
}

static void __attribute__((constructor)) find_getaddrinfo(void)
{
	*(void **)&real_getaddrinfo = dlsym(RTLD_NEXT, "getaddrinfo");
	sem_init(&let_go, 0, 0);
}

static char held_addr[64];
static bool closed; /* atomic */

static void send_to_held(void *arg)
{
	struct pending *p = arg;
	ssize_t r = gs_conn_sendto(p->c, "x", 1, held_addr);

	STORE(p->ended, gs_now());
	STORE(p->result, r);
}

static struct pending *held_start(gs_conn *c)
{
	struct pending *p = calloc(1, sizeof(*p));
	int before = LOAD(lookups);

	p->c = c;
	p->result = UNKNOWN;
	gs_go(send_to_held, p);
	UNTIL(LOAD(lookups) == before + 1);
	return p;
}

static void close_it(void *arg)
{
	CHECK_EQ(gs_conn_close(arg), 0);
	STORE(closed, true);
}

static void held_lookup(void *arg)
{
	gs_conn *to = NULL, *c = NULL;
	struct pending *p;
	char addr[64], b;

	CHECK_EQ(gs_listen_packet("udp", "127.0.0.1:0", &to), 0);
	CHECK_EQ(gs_conn_local(to, addr, sizeof(addr)), 0);
	snprintf(held_addr, sizeof(held_addr), HELD "%s", strrchr(addr, ':'));
	CHECK_EQ(gs_listen_packet("udp", "127.0.0.1:0", &c), 0);

	p = held_start(c);
	sem_post(&let_go);
	CHECK_EQ(pending_end(p, NULL), 1);
	CHECK_EQ(gs_conn_read(to, &b, 1), 1);

	p = held_start(c);
	gs_conn_set_write_deadline(c, gs_now() + MS);
	CHECK_EQ(pending_end(p, NULL), -ETIMEDOUT);
	gs_conn_set_write_deadline(c, 0);

	p = held_start(c);
	STORE(closed, false);
	gs_go(close_it, c);
	UNTIL(LOAD(closed));
	CHECK_EQ(pending_end(p, NULL), -ECANCELED);
	CHECK_EQ(LOAD(lookups_ended), 1);
	/* they end when they like */
	sem_post(&let_go);
	sem_post(&let_go);
	UNTIL(LOAD(lookups_ended) == 3);
	gs_conn_close(to);
}

/* a datagram to a name that is looked up for long: a close and a deadline do not wait for it */
TEST_F(poller, held_lookup)
{
	RUN(held_lookup, NULL);
}

static void names(void *arg)
{
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	struct gs_addrs a;
	bool loopback = false;
	int r;

	CHECK_EQ(gs_lookup_host("localhost", NULL, &a), 0);
	for (uint32_t i = 0; i < a.count; i++)
		loopback |= !strcmp(a.addr[i], "127.0.0.1") || !strcmp(a.addr[i], "::1");
	CHECK(loopback);
	CHECK_EQ(gs_lookup_host("192.0.2.7", ctx, &a), 0);
	CHECK_EQ(a.count, 1);
	CHECK(!strcmp(a.addr[0], "192.0.2.7"));
	CHECK_EQ(gs_lookup_host("2001:DB8::7", ctx, &a), 0);
	CHECK(!strcmp(a.addr[0], "2001:db8::7"));
	CHECK_EQ(gs_lookup_host("", NULL, &a), -EINVAL);
	CHECK_EQ(gs_lookup_host(NULL, NULL, &a), -EINVAL);
	r = gs_lookup_host("no-such-name.invalid", NULL, &a);
	CHECK(r == -ENOENT || r == -EAGAIN);
	gs_cancel_call(&cancel);
	CHECK_EQ(gs_lookup_host("localhost", ctx, &a), -ECANCELED);
	gs_context_unref(ctx);
}

/* names and numbers; a lookup that is cancelled */
TEST_F(poller, names)
{
	RUN(names, NULL);
	names(NULL);
	EXPECT_EQ(0, ut_failed);
}

TEST_HARNESS_MAIN
