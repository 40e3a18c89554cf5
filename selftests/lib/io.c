// SPDX-License-Identifier: GPL-2.0
/* gsched/io.h: descriptors of all kinds, with both pollers. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <gsched/chan.h>
#include <gsched/io.h>
#include <gsched/net.h>
#include <gsched/sync.h>

#include "dump.h"
#include "poller.h"

/* A pipe whose ends are non-blocking or not. */
struct pipe {
	int rd, wr;
};

static struct pipe make_pipe(int flags)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | flags))
		abort();
	return (struct pipe){fd[0], fd[1]};
}

static struct pipe make_pair(int type)
{
	int fd[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fd))
		abort();
	return (struct pipe){fd[0], fd[1]};
}

/* A terminal: the slave, and the master's end. */
static struct pipe make_tty(void)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), zero = 0, slave = -1;
	unsigned int number;
	char name[64];

	if (master >= 0 && !ioctl(master, TIOCSPTLCK, &zero) && !ioctl(master, TIOCGPTN, &number)) {
		snprintf(name, sizeof(name), "/dev/pts/%u", number);
		slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	}
	if (slave < 0)
		abort();
	return (struct pipe){slave, master};
}

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

static void fill(unsigned char *p, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(from + i);
}

static size_t wrong(const unsigned char *p, size_t from, size_t n)
{
	size_t bad = 0;

	for (size_t i = 0; i < n; i++)
		bad += p[i] != byte_at(from + i);
	return bad;
}

static int waiting; /* atomic: how many are about to wait */

/*
 * Give a descriptor a number that is not given away by the kernel: the runtime opens files
 * of /proc for a moment.
 */
#define NUMBER 300

static int at_number(int fd)
{
	if (dup2(fd, NUMBER) != NUMBER)
		abort();
	close(fd);
	return NUMBER;
}

/* ------------------------------------------------------------------------- */

static void pipe_writer(void *arg)
{
	struct pipe *p = arg;

	UNTIL(LOAD(waiting) == 1);
	gs_sleep(MS);
	CHECK_EQ(gs_write(p->wr, "hello", 5), 5);
}

static void pipe_reader(void *arg)
{
	struct pipe p = *(struct pipe *)arg;
	char buf[16];

	p.rd = at_number(p.rd);
	STORE(waiting, 0);
	gs_go(pipe_writer, &p);
	ADD(waiting, 1);
	CHECK_EQ(gs_read(p.rd, buf, sizeof(buf)), 5);
	CHECK(!memcmp(buf, "hello", 5));
	CHECK_EQ(gs_read(p.rd, buf, 0), 0);
	CHECK_EQ(gs_close_fd(p.wr), 0);
	CHECK_EQ(gs_read(p.rd, buf, sizeof(buf)), 0);
	CHECK_EQ(gs_close_fd(p.rd), 0);
	CHECK_EQ(gs_close_fd(p.rd), -EBADF);
	CHECK_EQ(gs_read(p.rd, buf, 1), -EBADF);
}

/* a reader waits for the writer, then for the end of file; on one proc */
TEST_F(poller, pipes)
{
	struct pipe p[] = {make_pipe(0), make_pipe(O_NONBLOCK), make_pair(SOCK_STREAM),
			   make_pair(SOCK_STREAM | SOCK_NONBLOCK)};

	ut_set_procs(1);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		RUN(pipe_reader, &p[i]);
}

struct stream {
	struct pipe p;
	size_t total, chunk;
	bool blocking;
	int done; /* atomic */
};

static void stream_write(void *arg)
{
	struct stream *s = arg;
	unsigned char *buf = malloc(s->chunk);
	bool partial = false;

	for (size_t at = 0; at < s->total;) {
		size_t n = s->total - at < s->chunk ? s->total - at : s->chunk;
		ssize_t r;

		fill(buf, at, n);
		r = gs_write(s->p.wr, buf, n);
		if (!CHECK_GT(r, 0))
			break;
		partial |= (size_t)r < n;
		at += (size_t)r;
	}
	/* all at once if the descriptor blocks, as write(2); else what there is room for, which
	 * beside a reader may be all */
	if (s->blocking)
		CHECK(!partial);
	free(buf);
	CHECK_EQ(gs_close_fd(s->p.wr), 0);
	ADD(s->done, 1);
}

static void stream_run(void *arg)
{
	struct stream *s = arg;
	unsigned char buf[3000];
	size_t at = 0;
	ssize_t r;

	gs_go(stream_write, s);
	while ((r = gs_read(s->p.rd, buf, sizeof(buf))) > 0) {
		CHECK_EQ(wrong(buf, at, (size_t)r), 0);
		at += (size_t)r;
	}
	CHECK_EQ(r, 0);
	CHECK_EQ(at, s->total);
	UNTIL(LOAD(s->done) == 1);
	CHECK_EQ(gs_close_fd(s->p.rd), 0);
}

/* more than fits: all of it comes, in order; partial counts only with O_NONBLOCK */
TEST_F(poller, streams)
{
	size_t total = (size_t)ut_count(3 << 20, 400000), chunk = 700001;
	struct stream s[] = {
		{make_pipe(0), total, chunk, true, 0},
		{make_pipe(O_NONBLOCK), total, chunk, false, 0},
		{make_pair(SOCK_STREAM), total, chunk, true, 0},
		{make_pair(SOCK_STREAM | SOCK_NONBLOCK), total, chunk, false, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		RUN(stream_run, &s[i]);
}

#define VECTORS 50
static unsigned char vec_out[VECTORS * VECTORS * 100], vec_in[sizeof(vec_out)];

static void vec_write(void *arg)
{
	struct pipe *p = arg;
	struct iovec v[VECTORS];
	size_t at = 0;

	for (size_t i = 0; i < VECTORS; i++) {
		v[i].iov_base = vec_out + at;
		v[i].iov_len = i % 3 ? i * 100 : 0;
		at += v[i].iov_len;
	}
	CHECK_EQ(gs_writev(p->wr, v, VECTORS), at);
	CHECK_EQ(gs_close_fd(p->wr), 0);
}

static void vectors(void *arg)
{
	struct pipe p = *(struct pipe *)arg;
	size_t at = 0;
	ssize_t r;

	fill(vec_out, 0, sizeof(vec_out));
	gs_go(vec_write, &p);
	do {
		struct iovec v[3] = {{vec_in + at, 7}, {NULL, 0}, {vec_in + at + 7, 4000}};

		r = gs_readv(p.rd, v, 3);
		if (CHECK_GE(r, 0))
			at += (size_t)r;
	} while (r > 0);
	CHECK_GT(at, 65536);
	CHECK_EQ(wrong(vec_in, 0, at), 0);
	gs_close_fd(p.rd);
}

/* vectors, some of them empty, of more than a pipe holds */
TEST_F(poller, vectors)
{
	struct pipe p[] = {make_pipe(0), make_pair(SOCK_STREAM)};

	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		RUN(vectors, &p[i]);
}

static void messages(void *arg)
{
	struct pipe p = make_pair(SOCK_DGRAM);
	char buf[16];

	CHECK_EQ(gs_write(p.wr, "one", 3), 3);
	CHECK_EQ(gs_write(p.wr, "", 0), 0);
	CHECK_EQ(gs_write(p.wr, "three", 5), 5);
	CHECK_EQ(gs_read(p.rd, buf, sizeof(buf)), 3);
	CHECK_EQ(gs_read(p.rd, buf, sizeof(buf)), 0);
	CHECK_EQ(gs_read(p.rd, buf, 2), 2);
	gs_close_fd(p.rd);
	gs_close_fd(p.wr);

	/* a peer that is gone: an error and no signal */
	p = make_pair(SOCK_STREAM);
	gs_close_fd(p.rd);
	CHECK_EQ(gs_write(p.wr, "x", 1), -EPIPE);
	gs_close_fd(p.wr);
}

/* datagrams keep their bounds; no SIGPIPE from a socket */
TEST_F(poller, messages)
{
	RUN(messages, NULL);
}

static void after_pipe(void *arg)
{
	struct pipe p = make_pipe(0), s;
	char c = 0;
	int fd;

	/* the number's kind is known: a pipe */
	CHECK_EQ(gs_write(p.wr, "x", 1), 1);
	CHECK_EQ(gs_read(p.rd, &c, 1), 1);
	s = make_pair(SOCK_STREAM);
	/* and then, unseen, it is a socket whose peer is gone */
	fd = dup2(s.wr, p.wr);
	CHECK_EQ(fd, p.wr);
	CHECK_EQ(dup2(s.rd, p.rd), p.rd);
	CHECK_EQ(gs_write(fd, "y", 1), 1);
	CHECK_EQ(gs_read(p.rd, &c, 1), 1);
	CHECK_EQ(c, 'y');
	close(s.rd);
	close(p.rd);
	CHECK_EQ(gs_write(fd, "x", 1), -EPIPE);
}

/* a number that becomes another kind of file behind our back */
TEST_F(poller, stale_kind)
{
	RUN(after_pipe, NULL);
}

/* ------------------------------------------------------------------------- */

static struct pipe shared;
static long got_bytes, got_sum, readers_left; /* atomic */

static void shared_reader(void *arg)
{
	unsigned char buf[3];
	ssize_t r;

	while ((r = gs_read(shared.rd, buf, sizeof(buf))) > 0) {
		ADD(got_bytes, r);
		for (ssize_t i = 0; i < r; i++)
			ADD(got_sum, buf[i]);
	}
	CHECK_EQ(r, 0);
	ADD(readers_left, -1);
}

static void many_readers(void *arg)
{
	long n = 20, rounds = ut_count(4000, 300), sum = 0;

	shared = *(struct pipe *)arg;
	STORE(got_bytes, 0);
	STORE(got_sum, 0);
	STORE(readers_left, n);
	for (long i = 0; i < n; i++)
		gs_go(shared_reader, NULL);
	for (long i = 0; i < rounds; i++) {
		unsigned char b[2] = {byte_at((size_t)i), 1};

		sum += b[0] + b[1];
		CHECK_EQ(gs_write(shared.wr, b, 2), 2);
		/* let them run out of bytes often */
		if (i % 16 == 0)
			gs_yield();
		if (i % 256 == 0)
			UNTIL(LOAD(got_bytes) == 2 * (i + 1));
	}
	CHECK_EQ(gs_close_fd(shared.wr), 0);
	UNTIL(LOAD(readers_left) == 0);
	CHECK_EQ(LOAD(got_bytes), 2 * rounds);
	CHECK_EQ(LOAD(got_sum), sum);
	gs_close_fd(shared.rd);
}

/* twenty fibers read one descriptor: every byte once, and all of them see the end */
TEST_F(poller, many_readers)
{
	struct pipe p[] = {make_pipe(0), make_pipe(O_NONBLOCK), make_pair(SOCK_STREAM)};

	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		RUN(many_readers, &p[i]);
}

struct pong {
	struct pipe there, back;
	long rounds;
	int done; /* atomic */
};

static void *pong(void *arg)
{
	struct pong *p = arg;
	long v;

	for (long i = 0; i < p->rounds; i++) {
		if (!CHECK_EQ(gs_read(p->there.rd, &v, sizeof(v)), sizeof(v)))
			break;
		CHECK_EQ(v, i);
		v = -v;
		CHECK_EQ(gs_write(p->back.wr, &v, sizeof(v)), sizeof(v));
	}
	ADD(p->done, 1);
	return NULL;
}

static void pong_fiber(void *arg)
{
	pong(arg);
}

static void ping(struct pong *p)
{
	long v;

	for (long i = 0; i < p->rounds; i++) {
		v = i;
		CHECK_EQ(gs_write(p->there.wr, &v, sizeof(v)), sizeof(v));
		/* now and then it is there before we look, or comes just then */
		for (long k = 0; k < i % 64; k++)
			__asm__ volatile("" ::: "memory");
		if (i % 5 == 0)
			gs_yield();
		if (!CHECK_EQ(gs_read(p->back.rd, &v, sizeof(v)), sizeof(v)))
			break;
		CHECK_EQ(v, -i);
	}
	UNTIL(LOAD(p->done) == 1);
}

static void ping_fiber(void *arg)
{
	struct pong *p = arg;

	gs_go(pong_fiber, p);
	ping(p);
}

static void ping_thread(void *arg)
{
	struct pong *p = arg;
	pthread_t t;

	if (pthread_create(&t, NULL, pong, p))
		abort();
	ping(p);
	pthread_join(t, NULL);
}

/* a message there and one back, thousands of times: none is waited for in vain */
TEST_F(poller, ping_pong)
{
	long rounds = ut_count(1500, 40);
	struct pong p[] = {
		{make_pipe(0), make_pipe(0), rounds, 0},
		{make_pipe(O_NONBLOCK), make_pair(SOCK_STREAM), rounds, 0},
		{make_pair(SOCK_STREAM), make_pair(SOCK_DGRAM), rounds, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		RUN(ping_fiber, &p[i]);
		p[i].done = 0;
		RUN(ping_thread, &p[i]);
	}
}

/* ------------------------------------------------------------------------- */

#define NO_RESULT 12345

struct closed {
	int fd;
	int result; /* atomic */
	short events;
};

static void close_reader(void *arg)
{
	struct closed *c = arg;
	char buf[8];

	ADD(waiting, 1);
	STORE(c->result,
	      c->events ? gs_poll_fd(c->fd, c->events, -1) : (int)gs_read(c->fd, buf, sizeof(buf)));
}

static void *close_reader_thread(void *arg)
{
	close_reader(arg);
	return NULL;
}

static void close_wakes(void *arg)
{
	struct pipe p = *(struct pipe *)arg;
	struct closed c[] = {{p.rd, NO_RESULT, 0},
			     {p.rd, NO_RESULT, 0},
			     {p.rd, NO_RESULT, POLLIN},
			     {p.rd, NO_RESULT, POLLPRI},
			     {p.rd, NO_RESULT, 0}};
	struct pipe again;
	pthread_t t;
	char b;

	p.rd = at_number(p.rd);
	for (int i = 0; i < 5; i++)
		c[i].fd = p.rd;
	STORE(waiting, 0);
	for (int i = 0; i < 4; i++)
		gs_go(close_reader, &c[i]);
	if (pthread_create(&t, NULL, close_reader_thread, &c[4]))
		abort();
	UNTIL(LOAD(waiting) == 5);
	UNTIL(ut_waiting("IO wait", NULL) == 4);
	gs_sleep(2 * MS);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(LOAD(c[i].result), NO_RESULT);
	CHECK_EQ(gs_close_fd(p.rd), 0);
	pthread_join(t, NULL);
	for (int i = 0; i < 5; i++) {
		UNTIL(LOAD(c[i].result) != NO_RESULT);
		/* nobody sees whether a thread waits: it may be too late */
		if (i < 4 || LOAD(c[i].result) != -EBADF)
			CHECK_EQ(LOAD(c[i].result), -ECANCELED);
	}
	/* the number's next life */
	gs_close_fd(p.wr);
	again = make_pipe(0);
	again.rd = at_number(again.rd);
	CHECK_EQ(gs_write(again.wr, "z", 1), 1);
	CHECK_EQ(gs_read(again.rd, &b, 1), 1);
	CHECK_EQ(gs_poll_fd(again.rd, POLLIN, MS), 0);
	gs_close_fd(again.rd);
	gs_close_fd(again.wr);
}

/* gs_close_fd wakes readers and pollers, in fibers and threads, with -ECANCELED */
TEST_F(poller, close_wakes)
{
	struct pipe p[] = {make_pipe(0), make_pipe(O_NONBLOCK), make_pair(SOCK_STREAM), make_tty()};

	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		RUN(close_wakes, &p[i]);
}

static void close_races(void *arg)
{
	for (long i = 0; i < ut_count(1000, 50); i++) {
		struct pipe p = i % 2 ? make_pipe(O_NONBLOCK) : make_pair(SOCK_STREAM);
		struct closed c = {at_number(p.rd), NO_RESULT, i % 3 ? 0 : POLLIN};

		p.rd = c.fd;
		STORE(waiting, 0);
		gs_go(close_reader, &c);
		if (i % 4)
			UNTIL(LOAD(waiting) == 1);
		for (long k = 0; k < i % 200; k++)
			__asm__ volatile("" ::: "memory");
		CHECK_EQ(gs_close_fd(p.rd), 0);
		if (!UNTIL(LOAD(c.result) != NO_RESULT))
			break;
		/* it came before, or too late */
		CHECK(c.result == -ECANCELED || c.result == -EBADF);
		gs_close_fd(p.wr);
	}
}

/* a close that races with the beginning of the wait: it always ends */
TEST_F(poller, close_races)
{
	RUN(close_races, NULL);
}

static void reuse(void *arg)
{
	for (long i = 0; i < ut_count(300, 20); i++) {
		struct pipe p = i % 2 ? make_pipe(0) : make_pair(SOCK_STREAM);
		struct closed c = {at_number(p.rd), NO_RESULT, 0};

		p.rd = c.fd;
		STORE(waiting, 0);
		gs_go(close_reader, &c);
		UNTIL(LOAD(waiting) == 1);
		if (i % 3)
			gs_sleep(10000);
		CHECK_EQ(gs_write(p.wr, "abc", 3), 3);
		UNTIL(LOAD(c.result) != NO_RESULT);
		CHECK_EQ(LOAD(c.result), 3);
		/* the library does not see it */
		close(p.rd);
		close(p.wr);
	}
}

/* close(2) and a new file under the same number: its readiness is seen as well */
TEST_F(poller, reuse)
{
	RUN(reuse, NULL);
}

/* ------------------------------------------------------------------------- */

static void poll_write(void *arg)
{
	gs_sleep(3 * MS);
	CHECK_EQ(gs_write(*(int *)arg, "x", 1), 1);
}

static void poll_fd(void *arg)
{
	struct pipe p = make_pipe(0), s = make_pair(SOCK_STREAM);
	int file = memfd_create("file", 0);
	char buf[65536] = "";
	int64_t t;

	p.rd = at_number(p.rd);
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, 0), 0);
	t = gs_now();
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, 3 * MS), 0);
	CHECK_GE(gs_now() - t, 3 * MS);
	CHECK_EQ(gs_poll_fd(p.wr, POLLOUT, -1), POLLOUT);
	CHECK_EQ(gs_poll_fd(p.wr, POLLIN | POLLOUT, -1), POLLOUT);
	gs_go(poll_write, &p.wr);
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, -1), POLLIN);
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, -1), POLLIN);
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, INT64_MAX), POLLIN);
	CHECK_EQ(gs_read(p.rd, buf, sizeof(buf)), 1);
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, 1), 0);

	/* a full pipe, until it is read */
	while (gs_poll_fd(p.wr, POLLOUT, 0))
		CHECK_EQ(gs_write(p.wr, buf, 4096), 4096);
	t = gs_now();
	CHECK_EQ(gs_poll_fd(p.wr, POLLOUT, 2 * MS), 0);
	CHECK_GE(gs_now() - t, 2 * MS);
	CHECK_GT(gs_read(p.rd, buf, sizeof(buf)), 0);
	CHECK_EQ(gs_poll_fd(p.wr, POLLOUT, -1), POLLOUT);

	/* hang-ups and errors come unasked */
	gs_go(poll_write, &s.wr);
	CHECK_EQ(gs_poll_fd(s.rd, POLLIN | POLLRDHUP, -1), POLLIN);
	CHECK_EQ(gs_read(s.rd, buf, 1), 1);
	CHECK_EQ(gs_close_fd(s.wr), 0);
	CHECK_EQ(gs_poll_fd(s.rd, 0, -1), POLLHUP);
	CHECK_EQ(gs_poll_fd(s.rd, POLLIN, -1), POLLIN | POLLHUP);
	CHECK_EQ(gs_close_fd(p.rd), 0);
	CHECK_EQ(gs_poll_fd(p.wr, 0, -1), POLLERR);

	CHECK_EQ(gs_poll_fd(file, POLLIN | POLLOUT, -1), POLLIN | POLLOUT);
	CHECK_EQ(gs_poll_fd(-1, POLLIN, 0), -EBADF);
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, -1), -EBADF);
	CHECK_EQ(gs_poll_fd(1000000, POLLIN, -1), -EBADF);
	gs_close_fd(p.wr);
	gs_close_fd(s.rd);
	gs_close_fd(file);
}

/* gs_poll_fd: ready, in time, too late, hung up, closed */
TEST_F(poller, poll_fd)
{
	RUN(poll_fd, NULL);
	/* and on an ordinary thread */
	poll_fd(NULL);
	EXPECT_EQ(0, ut_failed);
}

static void poll_times(void *arg)
{
	struct pipe p = *(struct pipe *)arg;

	for (int i = 0; i < 30; i++) {
		int64_t ns = (i % 10) * 100000 + 1, t = gs_now();

		CHECK_EQ(gs_poll_fd(p.rd, i % 2 ? POLLIN : POLLPRI, ns), 0);
		CHECK_GE(gs_now() - t, ns);
	}
	ADD(readers_left, -1);
}

static void many_polls(void *arg)
{
	struct pipe p = make_pair(SOCK_STREAM);

	STORE(readers_left, 20);
	for (int i = 0; i < 20; i++)
		gs_go(poll_times, &p);
	UNTIL(LOAD(readers_left) == 0);
	close(p.rd);
	close(p.wr);
}

/* twenty fibers wait for one descriptor, each for its own time and its own event */
TEST_F(poller, many_polls)
{
	RUN(many_polls, NULL);
}

static int told; /* atomic: bits of the waiters that were */

static void want_in(void *arg)
{
	CHECK_EQ(gs_poll_fd(*(int *)arg, POLLIN, -1), POLLIN);
	ADD(told, 1);
}

static void want_out(void *arg)
{
	CHECK_EQ(gs_poll_fd(*(int *)arg, POLLOUT, -1) & POLLOUT, POLLOUT);
	ADD(told, 2);
}

static void both_ways(void *arg)
{
	struct pipe p = make_pair(SOCK_STREAM | SOCK_NONBLOCK);
	char buf[4096] = "";

	while (write(p.rd, buf, sizeof(buf)) > 0)
		;
	STORE(told, 0);
	gs_go(want_out, &p.rd);
	gs_go(want_in, &p.rd);
	gs_sleep(2 * MS);
	CHECK_EQ(LOAD(told), 0);
	/* the one event spends the registration: the other's has to be renewed */
	CHECK_EQ(gs_write(p.wr, "x", 1), 1);
	UNTIL(LOAD(told) == 1);
	while (read(p.wr, buf, sizeof(buf)) > 0)
		;
	UNTIL(LOAD(told) == 3);
	close(p.rd);
	close(p.wr);
}

/* a reader and a writer of one descriptor wait each for its own event */
TEST_F(poller, both_ways)
{
	for (long i = 0; i < ut_count(20, 3); i++)
		RUN(both_ways, NULL);
}

/* ------------------------------------------------------------------------- */

/* A thread whose registration of a descriptor the kernel holds back until told. */
struct late {
	int fd;
	int gate;   /* atomic: where it is told; -1 not yet, -2 the machine has no such thing */
	int result; /* atomic */
};

static void *late_poll(void *arg)
{
	struct late *l = arg;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, EPOLL_CTL_MOD, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {ARRAY_SIZE(code), code};
	int gate = -1;

	if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		gate = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				    SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
	STORE(l->gate, gate < 0 ? -2 : gate);
	if (gate >= 0)
		STORE(l->result, gs_poll_fd(l->fd, POLLIN, -1));
	return NULL;
}

/* It is there; and let it go on, as often as it comes. */
static bool late_held(struct late *l)
{
	struct pollfd p = {.fd = l->gate, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static void late_go(struct late *l)
{
	while (LOAD(l->result) == NO_RESULT) {
		struct seccomp_notif n = {0};
		struct seccomp_notif_resp r = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

		if (!late_held(l)) {
			gs_yield();
		} else if (!ioctl(l->gate, SECCOMP_IOCTL_NOTIF_RECV, &n)) {
			r.id = n.id;
			CHECK_EQ(ioctl(l->gate, SECCOMP_IOCTL_NOTIF_SEND, &r), 0);
		}
	}
}

static char late_addr[64];
static gs_conn *late_conn;
static bool no_gate, dialled; /* atomic: dialled */

static void late_dial(void *arg)
{
	CHECK_EQ(gs_dial("unix", late_addr, NULL, &late_conn), 0);
	STORE(dialled, true);
}

static void late_echo(void *arg)
{
	gs_conn *c = arg;
	char b;

	while (gs_conn_read(c, &b, 1) == 1)
		CHECK_EQ(gs_conn_write(c, &b, 1), 1);
	gs_conn_close(c);
	ADD(told, 1);
}

/* True: the connection got the number, or there is no telling. */
static bool late_round(gs_listener *listener)
{
	struct pipe p = make_pipe(0);
	struct late l = {p.rd, -1, NO_RESULT};
	gs_conn *other;
	pthread_t t;
	bool same;
	char b = 'x';

	if (pthread_create(&t, NULL, late_poll, &l))
		abort();
	UNTIL(LOAD(l.gate) != -1);
	no_gate = l.gate == -2;
	if (no_gate) {
		pthread_join(t, NULL);
		return true;
	}
	UNTIL(late_held(&l));
	CHECK_EQ(gs_close_fd(p.rd), 0);
	STORE(dialled, false);
	gs_go(late_dial, NULL);
	/* it had better not, but if it does it is to be before the late one */
	UNTIL_NS(LOAD(dialled), 5 * MS);
	late_go(&l);
	pthread_join(t, NULL);
	CHECK_EQ(l.result, -ECANCELED);
	if (!UNTIL(LOAD(dialled)))
		return true;
	CHECK_EQ(gs_accept(listener, &other), 0);
	same = gs_conn_fd(late_conn) == p.rd;
	STORE(told, 0);
	gs_go(late_echo, other);
	gs_conn_set_deadline(late_conn, gs_now() + ut_limit(5 * SEC));
	for (int i = 0; same && i < 10; i++) {
		if (!CHECK_EQ(gs_conn_write(late_conn, &b, 1), 1) ||
		    !CHECK_EQ(gs_conn_read(late_conn, &b, 1), 1))
			break;
	}
	gs_conn_close(late_conn);
	UNTIL(LOAD(told) == 1);
	gs_close_fd(p.wr);
	close(l.gate);
	return same;
}

static void late_arm(void *arg)
{
	gs_listener *l = NULL;
	int i;

	snprintf(late_addr, sizeof(late_addr), "@gs-late-%d", getpid());
	if (!CHECK_EQ(gs_listen("unix", late_addr, &l), 0))
		return;
	/* the runtime opens files of its own, so the number may be taken */
	for (i = 0; i < 100; i++)
		if (late_round(l))
			break;
	CHECK_LT(i, 100);
	gs_listener_close(l);
}

/*
 * Who registers a descriptor that is closed meanwhile comes late: the number is a
 * connection's, which is told of its events all the same; on one proc.
 */
TEST_F(poller, late_arm)
{
	ut_set_procs(1);
	RUN(late_arm, NULL);
	if (no_gate)
		SKIP(return, "no filter of system calls here");
}

static void next_reader(void *arg)
{
	char b;

	CHECK_EQ(gs_read(*(int *)arg, &b, 1), 1);
	ADD(told, 1);
}

static void next_life(void *arg)
{
	for (long i = 0; i < ut_count(2000, 200) && !LOAD(ut_failed); i++) {
		struct pipe p = make_pipe(0), next = make_pipe(0);
		struct closed c = {at_number(p.rd), NO_RESULT, POLLIN};

		STORE(waiting, 0);
		STORE(told, 0);
		gs_go(close_reader, &c);
		if (i % 4)
			UNTIL(LOAD(waiting) == 1);
		for (long k = 0; k < i % 300; k++)
			__asm__ volatile("" ::: "memory");
		CHECK_EQ(gs_close_fd(c.fd), 0);
		next.rd = at_number(next.rd);
		gs_go(next_reader, &next.rd);
		gs_yield();
		CHECK_EQ(gs_write(next.wr, "x", 1), 1);
		UNTIL(LOAD(told) == 1);
		/* late, it waits for the next life, for nobody told it otherwise */
		CHECK_EQ(gs_close_fd(next.rd), 0);
		UNTIL(LOAD(c.result) != NO_RESULT);
		gs_close_fd(next.wr);
		gs_close_fd(p.wr);
	}
}

/* a number closed while it is registered, and opened and waited for at once: no -EBADF */
TEST_F(poller, next_life)
{
	ut_set_procs(2);
	RUN(next_life, NULL);
}

/* ------------------------------------------------------------------------- */

#define FILE_BLOCK 10000

static int file_fd;
static long files_left; /* atomic */

static void file_fiber(void *arg)
{
	size_t at = (size_t)(uintptr_t)arg * FILE_BLOCK;
	unsigned char buf[FILE_BLOCK];

	fill(buf, at, sizeof(buf));
	CHECK_EQ(gs_pwrite(file_fd, buf, sizeof(buf), (off_t)at), sizeof(buf));
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(gs_pread(file_fd, buf, sizeof(buf), (off_t)at), sizeof(buf));
	CHECK_EQ(wrong(buf, at, sizeof(buf)), 0);
	if ((uintptr_t)arg % 16 == 0)
		CHECK_EQ(gs_fsync(file_fd), 0);
	ADD(files_left, -1);
}

static void files(void *arg)
{
	char name[64], sub[32];
	size_t n = (size_t)ut_count(200, 20), all = n * FILE_BLOCK;
	unsigned char *buf = malloc(2 * all);
	int dir, fd;

	snprintf(name, sizeof(name), "%s/gs-io-%d", (char *)arg, getpid());
	snprintf(sub, sizeof(sub), "gs-io-%d", getpid());
	CHECK_EQ(gs_open(name, O_RDONLY, 0), -ENOENT);
	file_fd = gs_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	CHECK_GE(file_fd, 0);
	CHECK_EQ(gs_open(name, O_RDWR | O_CREAT | O_EXCL, 0640), -EEXIST);
	STORE(files_left, (long)n);
	for (size_t i = 0; i < n; i++)
		gs_go(file_fiber, (void *)(uintptr_t)i);
	UNTIL(LOAD(files_left) == 0);

	/* as a whole, by the file's position; the second read is for what is not in memory */
	for (int i = 0; i < 2; i++) {
		memset(buf, 0, all);
		CHECK_EQ(lseek(file_fd, 0, SEEK_SET), 0);
		CHECK_EQ(gs_read(file_fd, buf, 2 * all), all);
		CHECK_EQ(wrong(buf, 0, all), 0);
		CHECK_EQ(gs_read(file_fd, buf, 1), 0);
		CHECK_EQ(gs_pread(file_fd, buf, 2 * all, 5), all - 5);
		CHECK_EQ(wrong(buf, 5, all - 5), 0);
		CHECK_EQ(gs_pread(file_fd, buf, 1, (off_t)all), 0);
		fsync(file_fd);
		posix_fadvise(file_fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	CHECK_EQ(gs_pread(file_fd, buf, 1, -1), -EINVAL);
	CHECK_EQ(gs_write(file_fd, "tail", 4), 4);
	CHECK_EQ(gs_pread(file_fd, buf, 10, (off_t)all), 4);
	CHECK(!memcmp(buf, "tail", 4));
	CHECK_EQ(gs_close_fd(file_fd), 0);

	dir = gs_open(arg, O_RDONLY | O_DIRECTORY, 0);
	CHECK_GE(dir, 0);
	CHECK_EQ(gs_read(dir, buf, 10), -EISDIR);
	fd = gs_openat(dir, sub, O_WRONLY | O_APPEND, 0);
	CHECK_GE(fd, 0);
	CHECK_EQ(gs_write(fd, "more", 4), 4);
	CHECK_EQ(gs_read(fd, buf, 4), -EBADF);
	CHECK_EQ(gs_close_fd(fd), 0);
	fd = gs_openat(dir, sub, O_RDONLY | O_NONBLOCK, 0);
	CHECK_EQ(lseek(fd, (off_t)all, SEEK_SET), (off_t)all);
	CHECK_EQ(gs_read(fd, buf, 100), 8);
	CHECK(!memcmp(buf, "tailmore", 8));
	CHECK_EQ(gs_write(fd, "x", 1), -EBADF);
	CHECK_EQ(gs_close_fd(fd), 0);
	CHECK_EQ(gs_close_fd(dir), 0);
	unlink(name);
	free(buf);
}

/* files: in memory and not, at a place and by position; what fails, fails as it should */
TEST_F(poller, files)
{
	RUN(files, "/tmp");
	RUN(files, ".");
	files("/dev/shm");
	EXPECT_EQ(0, ut_failed);
}

static void not_files(void *arg)
{
	struct pipe p = make_pipe(0);
	struct iovec v[1] = {{"x", 1}};
	char c;

	CHECK_EQ(gs_pread(p.rd, &c, 1, 0), -ESPIPE);
	CHECK_EQ(gs_pwrite(p.wr, &c, 1, 0), -ESPIPE);
	CHECK_EQ(gs_fsync(p.rd), -EINVAL);
	CHECK_EQ(gs_fsync(-1), -EBADF);
	CHECK_EQ(gs_open(NULL, O_RDONLY, 0), -EFAULT);
	CHECK_EQ(gs_open("", O_RDONLY, 0), -ENOENT);
	CHECK_EQ(gs_openat(-1, "x", O_RDONLY, 0), -EBADF);
	CHECK_EQ(gs_read(-1, &c, 1), -EBADF);
	CHECK_EQ(gs_write(p.rd, &c, 1), -EBADF);
	CHECK_EQ(gs_read(p.wr, &c, 1), -EBADF);
	CHECK_EQ(gs_readv(p.rd, v, -1), -EINVAL);
	CHECK_EQ(gs_writev(p.wr, v, 5000), -EINVAL);
	CHECK_EQ(gs_writev(p.wr, v, 0), 0);
	CHECK_EQ(gs_close_fd(-1), -EBADF);
	CHECK_EQ(gs_write(p.wr, NULL, 5), -EFAULT);
	gs_close_fd(p.rd);
	gs_close_fd(p.wr);
}

/* misuse is an errno */
TEST_F(poller, misuse)
{
	RUN(not_files, NULL);
}

#define REFUSED 64

static void refused_run(void *arg)
{
	/* what the kernel refuses as it takes it, and what it does not */
	switch ((uintptr_t)arg % 4) {
	case 1:
		CHECK_EQ(gs_fsync(file_fd), 0);
		break;
	case 3:
		CHECK_EQ(gs_open("/no/such/file", O_RDONLY, 0), -ENOENT);
		break;
	default:
		CHECK_EQ(gs_open("", O_RDONLY, 0), -ENOENT);
	}
	ADD(files_left, -1);
}

static void refused(void *arg)
{
	file_fd = memfd_create("refused", MFD_CLOEXEC);
	CHECK_GE(file_fd, 0);
	for (long i = 0; i < ut_count(50, 5) && !LOAD(ut_failed); i++) {
		STORE(files_left, REFUSED);
		for (uintptr_t n = 0; n < REFUSED; n++)
			gs_go(refused_run, (void *)n);
		UNTIL(LOAD(files_left) == 0);
	}
	close(file_fd);
}

/* one that is refused at once does not keep up those that were asked for with it; one proc */
TEST_F(poller, refused)
{
	ut_set_procs(1);
	RUN(refused, NULL);
}

#define FIFOS 20
static char fifo_names[FIFOS][64];

static void fifo_reader(void *arg)
{
	int fd = gs_open(arg, O_RDONLY, 0);
	char c = 0;

	CHECK_GE(fd, 0);
	/* had it been opened without its peer, there would be no byte */
	CHECK_EQ(gs_read(fd, &c, 1), 1);
	CHECK_EQ(c, 'f');
	CHECK_EQ(gs_close_fd(fd), 0);
	ADD(readers_left, -1);
}

static void fifos(void *arg)
{
	STORE(readers_left, FIFOS);
	for (int i = 0; i < FIFOS; i++) {
		snprintf(fifo_names[i], sizeof(fifo_names[i]), "/tmp/gs-fifo-%d-%d", getpid(), i);
		CHECK_EQ(mkfifo(fifo_names[i], 0600), 0);
		gs_go(fifo_reader, fifo_names[i]);
	}
	gs_sleep(2 * MS);
	/* those that are opened last have to be let in first */
	for (int i = FIFOS; i-- > 0;) {
		int fd = gs_open(fifo_names[i], O_WRONLY, 0);

		CHECK_GE(fd, 0);
		CHECK_EQ(gs_write(fd, "f", 1), 1);
		CHECK_EQ(gs_close_fd(fd), 0);
		unlink(fifo_names[i]);
	}
	UNTIL(LOAD(readers_left) == 0);
}

/* opening a FIFO waits for the other end; many may wait, and no proc does */
TEST_F(poller, fifos)
{
	ut_set_procs(1);
	RUN(fifos, NULL);
}

/* ------------------------------------------------------------------------- */

static void tty_reader(void *arg)
{
	char buf[64];

	ADD(waiting, 1);
	CHECK_EQ(gs_read(*(int *)arg, buf, sizeof(buf)), 6);
	CHECK(!memcmp(buf, "line1\n", 6));
	ADD(told, 1);
}

static void ttys(void *arg)
{
	struct pipe p = make_tty();
	int master = p.wr, slave = p.rd;
	char buf[64];

	STORE(told, 0);
	STORE(waiting, 0);
	gs_go(tty_reader, &slave);
	UNTIL(LOAD(waiting) == 1);
	/* not a line yet */
	CHECK_EQ(gs_write(master, "line", 4), 4);
	gs_sleep(2 * MS);
	CHECK_EQ(LOAD(told), 0);
	CHECK_EQ(gs_write(master, "1\n", 2), 2);
	UNTIL(LOAD(told) == 1);
	/* the echo */
	for (size_t n = 0; n < 7;) {
		ssize_t r = gs_read(master, buf + n, sizeof(buf) - n);

		if (!CHECK_GT(r, 0))
			break;
		n += (size_t)r;
	}
	CHECK(!memcmp(buf, "line1\r\n", 7));
	CHECK_EQ(gs_write(slave, "out", 3), 3);
	CHECK_EQ(gs_read(master, buf, sizeof(buf)), 3);
	CHECK_EQ(gs_close_fd(slave), 0);
	CHECK_EQ(gs_read(master, buf, sizeof(buf)), -EIO);
	CHECK_EQ(gs_close_fd(master), 0);
}

/* a terminal, both ends of it; on one proc */
TEST_F(poller, ttys)
{
	ut_set_procs(1);
	RUN(ttys, NULL);
}

static void event_reader(void *arg)
{
	uint64_t v = 0;

	CHECK_EQ(gs_read(*(int *)arg, &v, sizeof(v)), sizeof(v));
	CHECK_EQ(v, 42);
	ADD(told, 1);
}

static void events(void *arg)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t v = 42;

	STORE(told, 0);
	gs_go(event_reader, &fd);
	gs_sleep(MS);
	CHECK_EQ(LOAD(told), 0);
	CHECK_EQ(gs_write(fd, &v, sizeof(v)), sizeof(v));
	UNTIL(LOAD(told) == 1);
	gs_close_fd(fd);
}

/* an eventfd that blocks */
TEST_F(poller, events)
{
	RUN(events, NULL);
}

/* ------------------------------------------------------------------------- */

#define WAITERS 200
static struct pipe many[WAITERS];

static void wait_one(void *arg)
{
	struct pipe *p = arg;
	char c;

	ADD(waiting, 1);
	CHECK_EQ(gs_read(p->rd, &c, 1), 1);
	ADD(readers_left, -1);
}

static void no_threads(void *arg)
{
	struct gs_stats s;

	STORE(waiting, 0);
	STORE(readers_left, WAITERS);
	for (int i = 0; i < WAITERS; i++) {
		many[i] = i % 2 ? make_pipe(0) : make_pair(SOCK_STREAM);
		gs_go(wait_one, &many[i]);
	}
	UNTIL(LOAD(waiting) == WAITERS && ut_waiting("IO wait", NULL) == WAITERS);
	CHECK_EQ(gs_stats(&s), 0);
	/* none of them has a thread of its own; a few on the way here is the machine's matter */
	CHECK_LT(s.workers, WAITERS / 2);
	for (int i = 0; i < WAITERS; i++)
		CHECK_EQ(gs_write(many[i].wr, "x", 1), 1);
	UNTIL(LOAD(readers_left) == 0);
	for (int i = 0; i < WAITERS; i++) {
		close(many[i].rd);
		close(many[i].wr);
	}
}

/* fibers that wait for blocking descriptors hold no thread */
TEST_F(poller, no_threads)
{
	ut_set_procs(1);
	RUN(no_threads, NULL);
}

static void on_signal(int signo) {}

static int storm_on; /* atomic */

static void *signal_storm(void *arg)
{
	while (LOAD(storm_on)) {
		kill(getpid(), SIGUSR1);
		usleep(50);
	}
	return NULL;
}

static void *looks(void *arg)
{
	struct pipe p = make_pair(SOCK_STREAM);

	for (int i = ut_count(100000, 5000); i > 0 && !LOAD(ut_failed); i--)
		CHECK_EQ(gs_poll_fd(p.rd, POLLIN, 0), 0);
	close(p.rd);
	close(p.wr);
	STORE(storm_on, 0);
	return NULL;
}

/* poll(2) that does not wait is interrupted, too, by a signal that comes while it looks */
static void looks_under_fire(void)
{
	pthread_t t;

	STORE(storm_on, 1);
	pthread_create(&t, NULL, looks, NULL);
	while (LOAD(storm_on))
		pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
}

static void no_eintr(void *arg)
{
	struct pong p = {make_pipe(0), make_pair(SOCK_STREAM), ut_count(500, 30), 0};
	pthread_t t;

	STORE(storm_on, 1);
	pthread_create(&t, NULL, signal_storm, NULL);
	ping_fiber(&p);
	p.done = 0;
	ping_thread(&p);
	files("/tmp");
	STORE(storm_on, 0);
	pthread_join(t, NULL);
	looks_under_fire();
}

/* signals, without SA_RESTART: nothing returns -EINTR */
TEST_F(poller, no_eintr)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &sa, NULL);
	RUN(no_eintr, NULL);
}

/* ------------------------------------------------------------------------- */

static void read_for_ever(void *arg)
{
	struct pipe p = make_pipe(0);
	char c;

	gs_go(poll_write, &p.wr);
	CHECK_EQ(gs_read(p.rd, &c, 1), 1);
	/* all wait, long enough for the check to run; but a byte may come from anywhere */
	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, 300 * MS), 0);
}

static void io_child(void *arg)
{
	pid_t pid;
	struct pipe p = make_pipe(0);

	pid = fork();
	if (pid == 0) {
		usleep(400000);
		_exit(write(p.wr, "x", 1) != 1);
	}
	STORE(shared.rd, p.rd);
	gs_run(wait_one, &p);
	waitpid(pid, NULL, 0);
	if (gs_run(read_for_ever, NULL) || ut_failed)
		_exit(1);
}

/* a fiber that waits for a byte from another process is no deadlock */
TEST_F(poller, no_deadlock)
{
	struct ut_child *c = ut_child_run(io_child, NULL, UT_WAIT * SEC);

	EXPECT_EQ(0, c->status);
	EXPECT_SAYS_NOT(c, "deadlock");
	free(c);
}

static void io_then_sleep(void *arg)
{
	/* the kernel's threads for io_uring stay a while: they are nobody's */
	files("/tmp");
	dprintf(2, "# asleep at %lld\n", (long long)gs_now());
	gs_chan_recv(NULL, NULL);
}

static void deadlock_child(void *arg)
{
	gs_run(io_then_sleep, NULL);
}

/* after file I/O a deadlock is still found, at once */
TEST_F(poller, deadlock_after_io)
{
	struct ut_child *c = NULL;
	int64_t late;

	/* the kernel's threads end after 5 s; what else makes it late does so to one in ten */
	for (int i = 0; i < 10; i++) {
		int64_t begin = gs_now();
		const char *at;

		free(c);
		c = ut_child_run(deadlock_child, NULL, UT_WAIT * SEC);
		at = strstr(c->err, "asleep at ");
		ASSERT_NE(NULL, at);
		late = begin + c->took - atoll(at + 10);
		if (c->timed_out || late < ut_limit(4 * SEC))
			break;
	}
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "fatal error: all goroutines are asleep - deadlock!");
	EXPECT_LT(late, ut_limit(4 * SEC));
	free(c);
}

static void fork_in_fiber(void *arg)
{
	struct pipe p = make_pipe(0), q = make_pipe(0);
	int status = -1;
	char c = 0;
	pid_t pid;

	CHECK_EQ(gs_poll_fd(p.rd, POLLIN, MS), 0);
	pid = fork();
	if (pid == 0) {
		/* no poller here: the calls do without */
		if (gs_poll_fd(p.rd, POLLIN, MS) != 0)
			_exit(1);
		if (gs_write(q.wr, "a", 1) != 1 || gs_read(p.rd, &c, 1) != 1 || c != 'b')
			_exit(2);
		if (gs_open("/", O_RDONLY, 0) < 0 || gs_close_fd(p.rd))
			_exit(3);
		_exit(0);
	}
	CHECK_EQ(gs_read(q.rd, &c, 1), 1);
	CHECK_EQ(gs_write(p.wr, "b", 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

/* in the child of a fork the calls work, though nothing of the runtime is there */
TEST_F(poller, forked)
{
	RUN(fork_in_fiber, NULL);
}

static void which_child(void *arg)
{
	setenv("GSCHED_POLLER", arg, 1);
	setenv("GSCHED_DEBUG", "backend=1", 1);
	_exit(gs_run(messages, NULL) ? 7 : 0);
}

/* GSCHED_POLLER: what was asked for is what is used; nonsense is refused */
TEST(chosen)
{
	static const char *const word[] = {"epoll", "uring", "auto", ""};
	struct ut_child *c;

	for (size_t i = 0; i < ARRAY_SIZE(word); i++) {
		bool uring = i > 0 && !ut_uring_refused();

		c = ut_child_run(which_child, (void *)word[i], UT_WAIT * SEC);
		if (i == 1 && !uring) {
			EXPECT_EQ(7, c->status);
		} else {
			EXPECT_EQ(0, c->status);
			EXPECT_SAYS(c, uring ? "gsched: poller uring" : "gsched: poller epoll");
		}
		free(c);
	}
	c = ut_child_run(which_child, "select", UT_WAIT * SEC);
	EXPECT_EQ(7, c->status);
	EXPECT_SAYS(c, "GSCHED_POLLER=select: wants auto, uring or epoll");
	free(c);
}

TEST_HARNESS_MAIN
