// SPDX-License-Identifier: GPL-2.0
/* Injected failures (base/inject.h): SAN=inject only. */
#include <poll.h>
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/context.h>
#include <gsched/debug.h>
#include <gsched/io.h>
#include <gsched/local.h>
#include <gsched/net.h>
#include <gsched/process.h>
#include <gsched/select.h>
#include <gsched/signal.h>
#include <gsched/sync.h>
#include <gsched/time.h>

#include "interrupts.h"
#include "util.h"

void gs_inject_fail_at(unsigned long n);
unsigned long gs_inject_allocations(void);
unsigned long gs_inject_done(void);

#define NOT_REACHED 77
#define NOT_STARTED 78

static long started, ended; /* atomic */
static gs_waitgroup all;

/* It went well, or failed for want of memory, and says so. */
#define FINE(r)                                                                                    \
	({                                                                                         \
		long fine = (long)(r);                                                             \
		if (fine < 0)                                                                      \
			CHECK_EQ(fine, -ENOMEM);                                                   \
		fine >= 0;                                                                         \
	})
#define MADE(p)                                                                                    \
	({                                                                                         \
		__auto_type made = (ut_set_errno(0), (p));                                         \
		if (!made)                                                                         \
			CHECK_EQ(ut_errno(), ENOMEM);                                              \
		made;                                                                              \
	})

static void end(void *arg)
{
	ADD(ended, 1);
}

static void fibers(void)
{
	struct gs_attr big = {.stack_size = 1 << 20}, own = {.flags = GS_OWN_TLS};
	char args[3000] = "";

	for (int i = 0; i < 100; i++)
		ADD(started, FINE(gs_go(end, NULL)));
	ADD(started, FINE(gs_go_copy(end, args, sizeof(args))));
	ADD(started, FINE(gs_go_attr(&big, end, NULL)));
	if (gs_go_attr(&own, end, NULL) == 0)
		ADD(started, 1);
	UNTIL(LOAD(ended) == LOAD(started));
	UNTIL(gs_num_fibers() == 1);
}

static void channels(void)
{
	gs_chan *c = MADE(gs_chan_new(8, 100));
	struct gs_case cases[100];
	uint64_t v = 1;

	if (!c)
		return;
	for (int i = 0; i < 100; i++)
		cases[i] = (struct gs_case){.op = GS_OP_RECV, .chan = c, .elem = &v, .size = 8};
	cases[99] = (struct gs_case){.op = GS_OP_AFTER, .ns = 100000};
	FINE(gs_select_cases(cases, 100));
	FINE(gs_select_cases(cases + 95, 5));
	gs_chan_unref(c);
}

static void timers(void)
{
	gs_timer *t = MADE(gs_timer_new(SEC)), *f = MADE(gs_after_func(0, end, NULL));
	gs_ticker *k = MADE(gs_ticker_new(SEC));

	if (f) {
		ADD(started, 1);
		/* the fiber that is to run it may be what there is no memory for; then it is late */
		UNTIL(LOAD(ended) == LOAD(started));
		gs_timer_free(f);
	}
	if (t)
		gs_timer_free(t);
	if (k)
		gs_ticker_free(k);
}

static void contexts(void)
{
	gs_cancel cancel;
	gs_context *a = MADE(gs_with_cancel(gs_background(), &cancel)), *b;
	gs_context_hook *hook;

	if (!a)
		return;
	b = MADE(gs_with_value(a, &all, &all));
	if (b)
		gs_context_unref(b);
	b = MADE(gs_with_timeout(a, SEC, NULL));
	if (b) {
		MADE(gs_context_done(b));
		hook = MADE(gs_context_after_func(b, end, NULL));
		if (hook)
			ADD(started, 1);
	}
	gs_cancel_call(&cancel);
	if (b)
		UNTIL(LOAD(ended) == LOAD(started));
	if (b)
		gs_context_unref(b);
	gs_context_unref(a);
}

static int succeed(void *arg)
{
	return 0;
}

static long given, taken; /* atomic */

static void take(void *value)
{
	ADD(taken, 1);
}

static void valued(void *arg)
{
	gs_local *keys = arg;

	ut_set_errno(77);
	for (int i = 0; i < 20; i++) {
		if (FINE(gs_local_set(keys[i], &all)))
			ADD(given, 1);
		else
			CHECK_EQ(gs_local_get(keys[i]), NULL);
		CHECK_EQ(ut_errno(), 77);
	}
}

static void values(void)
{
	gs_local keys[20];

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gs_local_create(&keys[i], take), 0);
	if (FINE(gs_wg_go(&all, valued, keys)))
		gs_wg_wait(&all);
	CHECK_EQ(LOAD(taken), LOAD(given));
	for (int i = 0; i < 20; i++)
		gs_local_delete(keys[i]);
}

static int something(void *arg, void **result)
{
	*result = arg;
	return 0;
}

static void synchronised(void)
{
	static gs_errgroup group;
	static gs_singleflight flight;
	static gs_pool pool;
	void *x;

	for (int i = 0; i < 20; i++)
		gs_errgroup_go(&group, succeed, NULL);
	FINE(gs_errgroup_wait(&group));
	FINE(gs_singleflight_do(&flight, "key", something, &all, &x, NULL));
	gs_pool_put(&pool, &all);
	gs_pool_get(&pool);
	gs_pool_clear(&pool);
}

static void echo(void *arg)
{
	gs_conn *c = NULL;
	int r = gs_accept(arg, &c);
	char b;

	if (r < 0) {
		/* closed: nobody could dial */
		CHECK(r == -ENOMEM || r == -ECANCELED);
	} else {
		while (gs_conn_read(c, &b, 1) == 1)
			if (gs_conn_write(c, &b, 1) != 1)
				break;
		gs_conn_close(c);
	}
}

static void network(void)
{
	gs_listener *l = NULL;
	gs_conn *c = NULL;
	char addr[100], b = 'x';

	if (!FINE(gs_listen("tcp", "127.0.0.1:0", &l)))
		return;
	if (FINE(gs_wg_go(&all, echo, l))) {
		CHECK_EQ(gs_listener_addr(l, addr, sizeof(addr)) < 0, false);
		if (FINE(gs_dial("tcp", addr, NULL, &c))) {
			/* who could not be accepted is hung up on */
			if (gs_conn_write(c, &b, 1) == 1)
				gs_conn_read(c, &b, 1);
			gs_conn_close(c);
		}
	}
	gs_listener_close(l);
	gs_wg_wait(&all);
}

static void files(void)
{
	struct gs_addrs addrs = {0};
	int p[2], fd = gs_open("/dev/null", O_RDWR | O_CLOEXEC, 0);
	char b = 0;

	if (FINE(fd))
		FINE(gs_close_fd(fd));
	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	FINE(gs_poll_fd(p[0], POLLIN, 100000));
	if (FINE(gs_write(p[1], &b, 1)))
		FINE(gs_read(p[0], &b, 1));
	gs_close_fd(p[0]);
	gs_close_fd(p[1]);
	if (gs_lookup_host("127.0.0.1", NULL, &addrs) >= 0)
		CHECK_GE(addrs.count, 1u);
}

static void processes(void)
{
	char *argv[] = {"true", NULL};
	struct gs_process_attr attr = {.path = "true", .argv = argv};
	gs_process *p;
	gs_chan *c = MADE(gs_chan_new(sizeof(int), 1));
	int status = -1;

	if (FINE(gs_process_start(&attr, &p))) {
		CHECK_EQ(gs_process_wait(p, NULL, &status), 0);
		CHECK_EQ(status, 0);
		gs_process_release(p);
	}
	if (!c)
		return;
	if (FINE(gs_signal_notify(c, SIGUSR1)))
		gs_signal_stop(c);
	gs_chan_unref(c);
}

static void observed(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (FINE(gs_trace_start("/dev/null")))
		FINE(gs_trace_stop());
	gs_dump(null);
	FINE(gs_leak_check(null));
	close(null);
}

static void everything(void *arg)
{
	fibers();
	channels();
	timers();
	contexts();
	synchronised();
	values();
	network();
	files();
	processes();
	observed();
	fibers();
}

static void child(void *arg)
{
	unsigned long n = (unsigned long)arg;
	int r;

	gs_inject_fail_at(n);
	r = gs_run(everything, NULL);
	if (ut_failed)
		_exit(1);
	if (r)
		_exit(r == -ENOMEM || r == -EAGAIN ? NOT_STARTED : 1);
	_exit(gs_inject_allocations() < n ? NOT_REACHED : 0);
}

/* each allocation fails once: the call says so, or the line of a report; no crash, no hang */
TEST(no_memory)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	struct ut_child *c;
	long n, refused = 0, died = 0;

	for (n = 1;; n++) {
		c = ut_child_run(child, (void *)n, 20 * SEC);
		if (c->status == NOT_REACHED) {
			if (n > 60 || gs_now() >= end)
				break;
			/* how many there are depends on who ran first: once more */
			free(c);
			n--;
			continue;
		}
		refused += c->status == NOT_STARTED;
		/* some calls have no way to say it but a panic */
		died += c->status == 2 && strstr(c->err, "memory");
		if (c->timed_out || (c->status != 0 && c->status != NOT_STARTED &&
				     !(c->status == 2 && strstr(c->err, "memory"))))
			TH_LOG("allocation %ld: status %d%s\n%s", n, c->status,
			       c->timed_out ? ", timed out" : "", c->err);
		EXPECT_FALSE(c->timed_out);
		EXPECT_TRUE(c->status == 0 || c->status == NOT_STARTED || c->status == 2);
		free(c);
	}
	free(c);
	fprintf(stderr, "# note: %ld allocations, %ld starts refused, %ld panics\n", n - 1, refused,
		died);
	EXPECT_GT(n, 60);
}

static void count_points(void *arg)
{
	/* one point in a hundred, by chance */
	for (int i = 0; i == 0 || (i < 100 && !gs_inject_done()); i++)
		fibers();
}

/* with a seed something is injected, so that the other tests of this flavour are worth it */
TEST(seeded)
{
	if (!getenv("GSCHED_INJECT"))
		SKIP(return, "no GSCHED_INJECT");
	RUN(count_points, NULL);
	EXPECT_GT(gs_inject_done(), 0);
}

/* ------------------------------------------------------------------------- */
/* All threads that there may be wait for a lock; the one more, for its holder, is not to be had. */

/* libgo-user/src/worker.h: threads beyond the cap */
extern __attribute__((visibility("hidden"))) uint32_t gs_excess;

#define CAP 2

static pthread_mutex_t wanted_by_all = PTHREAD_MUTEX_INITIALIZER;

static void lock_it(void *arg)
{
	pthread_mutex_lock(&wanted_by_all);
	pthread_mutex_unlock(&wanted_by_all);
}

/* Interrupted with the lock, he comes again by a thread in excess. */
static void hold_it(void *arg)
{
	int64_t end = gs_now() + ut_limit(10 * SEC);
	uint32_t n;

	pthread_mutex_lock(&wanted_by_all);
	for (int i = 0; i < 2 * CAP; i++)
		CHECK_EQ(gs_wg_go(&all, lock_it, NULL), 0);
	gs_inject_fail_at((unsigned long)arg);
	while (!(n = LOAD(gs_excess)) && gs_now() < end)
		;
	CHECK_EQ(n, 1u);
	pthread_mutex_unlock(&wanted_by_all);
}

static void excess_main(void *arg)
{
	CHECK_EQ(gs_wg_go(&all, hold_it, arg), 0);
	gs_wg_wait(&all);
	UNTIL(!LOAD(gs_excess) && stats().workers <= CAP);
}

static void excess_child(void *arg)
{
	setenv("GSCHED_MAXTHREADS", "2", 1);
	_exit(gs_run(excess_main, arg) ? 10 : ut_failed);
}

/* a thread in excess that cannot be a worker is none: each allocation on its way fails once */
TEST(no_excess)
{
	struct ut_child *c;

	NEEDS_INTERRUPTS(1, 1000, NULL);
	for (long n = 1; n <= 8; n++) {
		c = ut_child_run(excess_child, (void *)n, 30 * SEC);
		EXPECT_EQ(0, c->status)
		{
			TH_LOG("allocation %ld: %s", n, c->err);
		}
		free(c);
	}
}

TEST_HARNESS_MAIN
