/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The child of a fork: one thread, no scheduler. Whatever is called there answers, as on an
 * ordinary thread, or says that it cannot, and nothing waits for those who are not there.
 */
#include <poll.h>
#include <gsched.h>
#include <pthread.h>
#include <stdio_ext.h>

#include "dump.h"
#include "util.h"

/* What the parent made, and used, before the fork. */
static struct {
	gs_chan *used, *waited_for;
	gs_mutex mutex;
	gs_waitgroup wg;
	gs_timer *due_late, *due_late_func;
	gs_context *ctx;
	gs_cancel cancel;
	gs_context_hook *hook;
	gs_pool pool;
	gs_local local;
	gs_conn *conn, *unix_conn;
	char path[64];
	int pipe[2];
} had;

static void never(void *arg)
{
	CHECK(false);
}

static int never_either(void *arg)
{
	CHECK(false);
	return 0;
}

static void one_more(void *arg)
{
	++*(int *)arg;
}

static int flies(void *arg, void **result)
{
	*result = arg;
	return 0;
}

static void *make(void)
{
	return &had;
}

/* No fiber starts, and nothing that needs one or the poller. */
static void what_cannot_be(void)
{
	const struct gs_attr attr = {.name = "none"};
	gs_errgroup group = {0};
	gs_waitgroup wg = {0};
	struct gs_stats stats;
	gs_cancel cancel;
	gs_chan *c;

	CHECK_EQ(gs_run(never, NULL), -EPERM);
	CHECK_EQ(gs_go(never, NULL), -EPERM);
	CHECK_EQ(gs_go_attr(&attr, never, NULL), -EPERM);
	CHECK_EQ(gs_go_copy(never, "", 1), -EPERM);
	CHECK_EQ(gs_wg_go(&wg, never, NULL), -EPERM);
	gs_wg_wait(&wg);
	gs_errgroup_go(&group, never_either, NULL);
	CHECK_EQ(gs_errgroup_wait(&group), -EPERM);
	CHECK(!gs_errgroup_try_go(&group, never_either, NULL));
	CHECK_EQ(gs_errgroup_wait(&group), -EPERM);

	errno = 0;
	CHECK(!gs_timer_new(1) && errno == EPERM);
	errno = 0;
	CHECK(!gs_after_func(1, never, NULL) && errno == EPERM);
	errno = 0;
	CHECK(!gs_ticker_new(1) && errno == EPERM);
	errno = 0;
	CHECK(!gs_after(1) && errno == EPERM);
	errno = 0;
	CHECK(!gs_with_timeout(gs_background(), SEC, &cancel) && errno == EPERM);
	CHECK_EQ(gs_select(GS_AFTER(1)), -EPERM);
	c = gs_chan_new(sizeof(int), 1);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), -EPERM);
	gs_chan_unref(c);
	CHECK_EQ(gs_trace_start("trace.json"), -EPERM);
	CHECK_EQ(gs_stats(&stats), -EPERM);
	CHECK_EQ(gs_max_procs(2), 0);
	CHECK(!strcmp(gs_backend(), "none"));
	gs_dump(had.pipe[1]);
}

/* As on any thread. */
static void what_can_be(void)
{
	static const char text[] = "text";
	gs_chan *c = gs_chan_new(sizeof(int), 2), *d = gs_chan_new(sizeof(int), 0);
	int64_t begin = gs_now();
	gs_singleflight flight = {0};
	gs_rwmutex rw = {0};
	gs_once once = {0};
	gs_limiter limiter;
	int ran = 0, v = 1;
	gs_cancel cancel;
	gs_context *ctx;
	char buf[8] = "";
	gs_sem sem;
	int p[2];
	void *x;

	CHECK_EQ(gs_id(), 0u);
	gs_yield();
	gs_sleep(MS);
	CHECK_GE(gs_now() - begin, MS);
	gs_lock_thread();
	gs_unlock_thread();
	gs_nopreempt_begin();
	gs_nopreempt_end();
	gs_blocking_begin();
	gs_blocking_end();

	gs_chan_send(c, &v);
	CHECK(gs_chan_recv(c, &v) && v == 1);
	CHECK_EQ(gs_select(GS_RECV(d, &v), GS_SEND(c, 7)), 1);
	CHECK_EQ(gs_select(GS_RECV(d, &v), GS_DEFAULT), 1);
	CHECK_EQ(gs_chan_try_send(d, &v), -EAGAIN);
	gs_chan_close(c);
	CHECK(gs_chan_recv(c, &v) && v == 7 && !gs_chan_recv(c, &v));
	gs_chan_unref(c);
	gs_chan_unref(d);

	gs_rwmutex_rlock(&rw);
	gs_rwmutex_runlock(&rw);
	gs_rwmutex_lock(&rw);
	gs_rwmutex_unlock(&rw);
	gs_once_do(&once, one_more, &ran);
	gs_once_do(&once, one_more, &ran);
	CHECK_EQ(ran, 1);
	gs_sem_init(&sem, 1);
	CHECK_EQ(gs_sem_acquire(&sem, NULL, 1), 0);
	CHECK(!gs_sem_try_acquire(&sem, 1));
	gs_sem_release(&sem, 1);
	CHECK_EQ(gs_singleflight_do(&flight, "key", flies, &ran, &x, NULL), 0);
	CHECK(x == &ran);
	gs_limiter_init(&limiter, 1000, 1);
	CHECK_EQ(gs_limiter_wait(&limiter, NULL), 0);

	ctx = gs_with_cancel(gs_background(), &cancel);
	CHECK_EQ(gs_context_err(ctx), 0);
	gs_cancel_call(&cancel);
	CHECK_EQ(gs_context_err(ctx), -ECANCELED);
	CHECK(!gs_chan_recv(gs_context_done(ctx), NULL));
	gs_context_unref(ctx);

	if (!CHECK_EQ(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0))
		return;
	CHECK_EQ(gs_poll_fd(p[0], POLLIN, MS), 0);
	CHECK_EQ(gs_write(p[1], text, sizeof(text)), (ssize_t)sizeof(text));
	CHECK_EQ(gs_read(p[0], buf, sizeof(buf)), (ssize_t)sizeof(text));
	CHECK(!strcmp(buf, text));
	CHECK_EQ(gs_close_fd(p[0]), 0);
	CHECK_EQ(gs_close_fd(p[1]), 0);
}

static void *cancels(void *cancel)
{
	gs_cancel_call(cancel);
	return NULL;
}

/* By another thread, where there may be one. */
static void cancel_meanwhile(gs_cancel *cancel)
{
#ifdef UT_TSAN
	/* it has no threads in the child of a fork */
	cancels(cancel);
#else
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, cancels, cancel), 0);
	pthread_detach(t);
#endif
}

/* Waited for with a context that nobody cancels, and with one that somebody does. */
static void processes(void)
{
	char *ends[] = {"true", NULL}, *stays[] = {"sleep", "1000", NULL};
	struct gs_process_attr attr = {.path = "true", .argv = ends};
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	gs_process *process;
	int status = -1;

	CHECK_EQ(gs_process_start(&attr, &process), 0);
	CHECK_EQ(gs_process_wait(process, ctx, &status), 0);
	CHECK_EQ(status, 0);
	attr.path = "sleep";
	attr.argv = stays;
	CHECK_EQ(gs_process_start(&attr, &process), 0);
	cancel_meanwhile(&cancel);
	CHECK_EQ(gs_process_wait(process, ctx, NULL), -ECANCELED);
	CHECK_EQ(gs_process_kill(process, SIGKILL), 0);
	CHECK_EQ(gs_process_wait(process, NULL, &status), 0);
	gs_context_unref(ctx);
}

/* What the parent had: nobody else uses it any more. */
static void what_there_was(void)
{
	int v = 5;

	/* its lock is biased to a proc of the parent's */
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(gs_chan_try_send(had.used, &i), 0);
		CHECK(gs_chan_recv(had.used, &v) && v == i);
	}
	gs_chan_close(had.used);
	gs_mutex_lock(&had.mutex);
	gs_mutex_unlock(&had.mutex);
	/* those who wait for it are not here: they are left alone */
	gs_chan_close(had.waited_for);
	gs_wg_done(&had.wg);
	gs_wg_wait(&had.wg);
	CHECK(gs_timer_stop(had.due_late));
	CHECK(!gs_timer_reset(had.due_late, SEC));
	CHECK(gs_timer_stop(had.due_late_func));
	gs_timer_free(had.due_late_func);
	/* a fiber of the parent's would call its hook */
	gs_cancel_call(&had.cancel);
	CHECK_EQ(gs_context_err(had.ctx), -ECANCELED);
	CHECK(!gs_context_hook_stop(had.hook));
	gs_context_unref(had.ctx);
	CHECK(gs_pool_get(&had.pool) != NULL);
	gs_pool_clear(&had.pool);
	CHECK_EQ(gs_conn_sendto(had.conn, "x", 1, "localhost:9"), -EPERM);
	CHECK_EQ(gs_conn_sendto(had.conn, "x", 1, "127.0.0.1:9"), 1);
	CHECK_EQ(gs_conn_close(had.conn), 0);
	/* its file is the parent's */
	CHECK_EQ(gs_conn_close(had.unix_conn), 0);
	CHECK_EQ(access(had.path, F_OK), 0);
	gs_local_delete(had.local);
}

static int status_of(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* It may fork again. */
static void child_of_its_own(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(gs_go(never, NULL) == -EPERM && gs_timer_stop(had.due_late) ? 7 : 1);
	CHECK_EQ(status_of(pid), 7 << 8);
}

static void in_child(void *arg)
{
	bool fiber = arg;

	/* one that hangs ends by this, and says so by its status */
	alarm((unsigned int)(ut_limit(20 * SEC) / SEC));
	CHECK_EQ((long)(intptr_t)gs_local_get(had.local), fiber ? 11 : 0);
	what_cannot_be();
	what_can_be();
	processes();
	what_there_was();
	child_of_its_own();
	_exit(ut_failed ? 1 : 7);
}

static void one_child(bool fiber)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		in_child(fiber ? &had : NULL);
	CHECK_GT(pid, 0);
	status = status_of(pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 7);
}

static void *from_a_thread(void *arg)
{
	one_child(false);
	return NULL;
}

static void waits(void *arg)
{
	int v;

	gs_wg_done(&had.wg);
	CHECK(!gs_chan_recv(had.waited_for, &v));
	gs_wg_done(&had.wg);
}

static void makes_and_forks(void *arg)
{
	int v = 0;

	had.used = gs_chan_new(sizeof(int), 4);
	/* often enough for the lock to become a proc's own */
	for (int i = 0; i < 100000; i++) {
		gs_chan_send(had.used, &i);
		gs_chan_recv(had.used, &v);
	}
	had.waited_for = gs_chan_new(sizeof(int), 0);
	gs_wg_add(&had.wg, 10);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gs_go(waits, NULL), 0);
	gs_wg_wait(&had.wg);
	gs_wg_add(&had.wg, 1);
	had.due_late = gs_timer_new(3600 * SEC);
	had.due_late_func = gs_after_func(3600 * SEC, never, NULL);
	had.ctx = gs_with_timeout(gs_background(), 3600 * SEC, &had.cancel);
	had.hook = gs_context_after_func(had.ctx, never, NULL);
	had.pool.new_fn = make;
	gs_pool_put(&had.pool, &had);
	CHECK_EQ(gs_local_create(&had.local, NULL), 0);
	CHECK_EQ(gs_local_set(had.local, (void *)11), 0);
	CHECK_EQ(pipe2(had.pipe, O_CLOEXEC | O_NONBLOCK), 0);
	CHECK_EQ(gs_listen_packet("udp4", "127.0.0.1:0", &had.conn), 0);
	snprintf(had.path, sizeof(had.path), "/tmp/gsched-fork.%d", getpid());
	CHECK_EQ(gs_listen_packet("unixgram", had.path, &had.unix_conn), 0);
}

static void close_both(void)
{
	CHECK_EQ(gs_conn_close(had.conn), 0);
	CHECK_EQ(gs_conn_close(had.unix_conn), 0);
	CHECK_EQ(access(had.path, F_OK), -1);
}

static void fiber_main(void *arg)
{
	makes_and_forks(NULL);
	for (int i = 0; i < 5; i++)
		one_child(true);
	/* the parent's are as they were */
	gs_wg_done(&had.wg);
	gs_wg_add(&had.wg, 10);
	gs_chan_close(had.waited_for);
	gs_wg_wait(&had.wg);
	CHECK(gs_timer_stop(had.due_late));
	CHECK(gs_timer_stop(had.due_late_func));
	CHECK_EQ(gs_context_err(had.ctx), 0);
	CHECK(gs_context_hook_stop(had.hook));
	gs_cancel_call(&had.cancel);
	close_both();
}

/* everything is called in the child of a fiber that forks */
TEST(in_a_fiber)
{
	RUN(fiber_main, NULL);
}

static void thread_main(void *arg)
{
	pthread_t thread;

	makes_and_forks(NULL);
	CHECK_EQ(pthread_create(&thread, NULL, from_a_thread, NULL), 0);
	pthread_join(thread, NULL);
	close_both();
}

/* the same in the child of an ordinary thread that forks beside fibers */
TEST(in_a_thread)
{
	RUN(thread_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Others are at work in the library when the child comes into being           */

static int at_work; /* atomic: 0 they stop */

static void uses_timers(void *arg)
{
	gs_timer *t = gs_after_func(3600 * SEC, never, NULL);
	int n = 0;

	while (LOAD(at_work)) {
		gs_timer_reset(t, 3600 * SEC - n % 1000 * SEC);
		if (++n % 1000 == 0)
			gs_yield();
	}
	gs_timer_free(t);
	gs_wg_done(&had.wg);
}

static void sleeps(void *arg)
{
	while (LOAD(at_work))
		gs_sleep(50000);
	gs_wg_done(&had.wg);
}

static void uses_signals(void *arg)
{
	while (LOAD(at_work)) {
		gs_signal_ignore(SIGUSR2);
		gs_signal_reset(SIGUSR2);
		gs_yield();
	}
	gs_wg_done(&had.wg);
}

/* They have one channel, which is closed. */
static gs_context *cancelled(void)
{
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);

	gs_cancel_call(&cancel);
	return ctx;
}

static void receives(void *arg)
{
	gs_context *ctx = cancelled();

	while (LOAD(at_work)) {
		for (int i = 0; i < 10000; i++)
			gs_chan_recv(gs_context_done(ctx), NULL);
		gs_yield();
	}
	gs_context_unref(ctx);
	gs_wg_done(&had.wg);
}

static void uses_tables(void *arg)
{
	while (LOAD(at_work)) {
		gs_context *ctx = gs_with_cancel(gs_background(), NULL);
		gs_pool pool = {0};

		for (int i = 0; i < 100; i++) {
			gs_context_hook_stop(gs_context_after_func(ctx, never, NULL));
			gs_context_hook_stop(gs_context_after_func(gs_background(), never, NULL));
		}
		gs_context_unref(ctx);
		gs_pool_put(&pool, &pool);
		gs_pool_clear(&pool);
		gs_yield();
	}
	gs_wg_done(&had.wg);
}

static gs_context_hook *static_hook; /* of gs_background */

/* Whatever takes a lock that is no object's. */
static void midst_child(void)
{
	gs_pool pool = {0};
	gs_context *ctx;

	alarm((unsigned int)(ut_limit(5 * SEC) / SEC));
	CHECK(gs_timer_stop(had.due_late_func));
	gs_timer_free(had.due_late_func);
	gs_cancel_call(&had.cancel);
	gs_context_unref(had.ctx);
	CHECK(gs_context_hook_stop(static_hook));
	gs_pool_put(&pool, &pool);
	gs_pool_clear(&pool);
	CHECK_EQ(gs_signal_reset(SIGUSR2), 0);
	ctx = cancelled();
	CHECK(!gs_chan_recv(gs_context_done(ctx), NULL));
	gs_context_unref(ctx);
	_exit(ut_failed ? 1 : 7);
}

static void forks_in_the_midst(void *arg)
{
	long n = ut_count(600, 100);

	STORE(at_work, 1);
	had.due_late_func = gs_after_func(3600 * SEC, never, NULL);
	had.ctx = gs_with_timeout(gs_background(), 3600 * SEC, &had.cancel);
	had.hook = gs_context_after_func(had.ctx, never, NULL);
	static_hook = gs_context_after_func(gs_background(), never, NULL);
	gs_wg_add(&had.wg, 4 + 50 + 2 + 1 + 2);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gs_go(uses_timers, NULL), 0);
	for (int i = 0; i < 50; i++)
		CHECK_EQ(gs_go(sleeps, NULL), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(gs_go(uses_tables, NULL), 0);
	CHECK_EQ(gs_go(uses_signals, NULL), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(gs_go(receives, NULL), 0);
	for (long i = 0; i < n && !ut_failed; i++) {
		pid_t pid = fork();

		if (pid == 0)
			midst_child();
		CHECK_EQ(status_of(pid), 7 << 8);
		gs_yield();
	}
	STORE(at_work, 0);
	gs_wg_wait(&had.wg);
	CHECK(gs_timer_stop(had.due_late_func));
	gs_timer_free(had.due_late_func);
	CHECK(gs_context_hook_stop(had.hook));
	CHECK(gs_context_hook_stop(static_hook));
	gs_cancel_call(&had.cancel);
	gs_context_unref(had.ctx);
}

/* no lock of the library's own stays held */
TEST(in_the_midst)
{
	ut_set_procs(2);
	RUN(forks_in_the_midst, NULL);
}

/* ------------------------------------------------------------------------- */
/* The child's fiber returns                                                   */

static int returned; /* atomic */
static bool in_the_child;

#ifdef UT_ASAN
int __lsan_is_turned_off(void);

/*
 * What the parent's fibers have is found on their stacks, which it does not know in the child;
 * and it would wait for the parent's threads.
 */
int __lsan_is_turned_off(void)
{
	return in_the_child;
}
#endif

static void returns_in_child(void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		in_the_child = true;
		/* what the harness has not written yet */
		__fpurge(stdout);
		__fpurge(stderr);
		return;
	}
	CHECK_EQ(status_of(pid), 0);
	ADD(returned, 1);
}

static pid_t parent;

static void never_in_child(void *arg)
{
	CHECK_EQ(getpid(), parent);
}

static void recovers_and_forks(void *arg)
{
	gs_recover();
	returns_in_child(arg);
}

/* The one who leaves is a deferred call, or a destructor. */
static void leaves_by_deferred(void *arg)
{
	gs_defer(never_in_child, NULL);
	switch ((long)arg) {
	case 0:
		gs_defer(returns_in_child, NULL);
		return;
	case 1:
		gs_defer(returns_in_child, NULL);
		gs_exit();
	case 2:
		gs_defer(recovers_and_forks, NULL);
		gs_panic("to be recovered");
	default:
		CHECK_EQ(gs_local_set(had.local, &had), 0);
	}
}

static int scoped(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(never_in_child, NULL);
	switch ((long)arg) {
	case 0:
		gs_defer(returns_in_child, NULL);
		return 0;
	case 1:
		gs_defer(returns_in_child, NULL);
		gs_exit();
	default:
		gs_defer(recovers_and_forks, NULL);
		gs_panic("to be recovered");
	}
}

static void leaves_by_scope(void *arg)
{
	gs_defer(never_in_child, NULL);
	scoped(arg);
	/* who returned from there goes on, and is on a fiber no more */
	CHECK_EQ(getpid() == parent, gs_id() != 0);
}

static void deferring_main(void *arg)
{
	gs_waitgroup wg = {0};

	parent = getpid();
	CHECK_EQ(gs_local_create(&had.local, returns_in_child), 0);
	for (long i = 0; i < 4; i++)
		CHECK_EQ(gs_wg_go(&wg, leaves_by_deferred, (void *)i), 0);
	for (long i = 0; i < 3; i++)
		CHECK_EQ(gs_wg_go(&wg, leaves_by_scope, (void *)i), 0);
	UNTIL(LOAD(returned) == 7);
	gs_wg_wait(&wg);
}

/* the same from a deferred call: no other is called there, however the fiber was about to end */
TEST(child_returns_deferred)
{
	RUN(deferring_main, NULL);
	EXPECT_EQ(7, LOAD(returned));
}

static void returning_main(void *arg)
{
	const struct gs_attr own = {.flags = GS_OWN_TLS};
	gs_waitgroup wg = {0};

	CHECK_EQ(gs_go(returns_in_child, NULL), 0);
	CHECK_EQ(gs_wg_go(&wg, returns_in_child, NULL), 0);
	gs_wg_wait(&wg);
	if (gs_go_attr(&own, returns_in_child, NULL))
		ADD(returned, 1); /* there is no such thing here */
	UNTIL(LOAD(returned) == 3);
	returns_in_child(NULL);
}

/* as the last thread of a process: its end is the process's, with status 0 */
TEST(child_returns)
{
	RUN(returning_main, NULL);
	EXPECT_EQ(4, LOAD(returned));
}

/* ------------------------------------------------------------------------- */
/* What fibers of the parent's wait for                                        */

static gs_listener *listener;
static gs_conn *pair[2];
static char address[64];
static int came; /* atomic */

static void accepts(void *arg)
{
	CHECK_EQ(gs_accept(listener, &pair[1]), 0);
	ADD(came, 1);
	CHECK_EQ(gs_accept(listener, &pair[1]), -ECANCELED);
	ADD(came, 1);
}

static void reads(void *arg)
{
	char c;

	CHECK_EQ(gs_conn_read(pair[0], &c, 1), 1);
	ADD(came, 1);
	CHECK_EQ(gs_conn_read(pair[0], &c, 1), -ECANCELED);
	ADD(came, 1);
}

static pid_t child_that_closes(void)
{
	pid_t pid = fork();
	gs_conn *c;

	if (pid)
		return pid;
	alarm((unsigned int)(ut_limit(5 * SEC) / SEC));
	CHECK_EQ(gs_accept(listener, &c), -EPERM);
	CHECK_EQ(gs_conn_close(pair[0]), 0);
	CHECK_EQ(gs_conn_close(pair[0]), -ECANCELED);
	CHECK_EQ(gs_listener_close(listener), 0);
	CHECK_EQ(gs_conn_close(pair[1]), 0);
	_exit(ut_failed ? 1 : 7);
}

static void closing_main(void *arg)
{
	snprintf(address, sizeof(address), "@gsched-fork.%d", getpid());
	CHECK_EQ(gs_listen("unix", address, &listener), 0);
	CHECK_EQ(gs_go(accepts, NULL), 0);
	CHECK_EQ(gs_dial("unix", address, NULL, &pair[0]), 0);
	UNTIL(LOAD(came) == 1);
	CHECK_EQ(gs_go(reads, NULL), 0);
	UNTIL(ut_waiting("IO wait", NULL) == 2);
	CHECK_EQ(status_of(child_that_closes()), 7 << 8);
	/* the parent's are as they were */
	CHECK_EQ(gs_conn_write(pair[1], "x", 1), 1);
	UNTIL(LOAD(came) == 2);
	UNTIL(ut_waiting("IO wait", NULL) == 2);
	CHECK_EQ(gs_conn_close(pair[0]), 0);
	CHECK_EQ(gs_listener_close(listener), 0);
	CHECK_EQ(gs_conn_close(pair[1]), 0);
	UNTIL(LOAD(came) == 4);
}

/* closing what others wait for waits for nobody who is not there */
TEST(closes_what_others_wait_for)
{
	RUN(closing_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* While the runtime starts                                                    */

static void failing_child(void *arg)
{
	int r = gs_run(never, NULL);
	pid_t pid;

	CHECK_EQ(r, -EINVAL);
	pid = fork();
	if (!pid)
		_exit(gs_run(never, NULL) == r && gs_go(never, NULL) == r ? 7 : 1);
	CHECK_EQ(status_of(pid), 7 << 8);
	_exit(ut_failed);
}

/* where the start has failed, it has in the child, for the same reason */
TEST(after_failed_start)
{
	struct ut_child *c;

	setenv("GSCHED_BACKEND", "nonesuch", 1);
	c = ut_child_run(failing_child, NULL, 20 * SEC);
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	free(c);
}

static void started_meanwhile(void *arg)
{
	ADD(returned, 1);
}

static void *forks_meanwhile(void *arg)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		int r;

		if (pid == 0) {
			alarm((unsigned int)(ut_limit(5 * SEC) / SEC));
			r = gs_go(started_meanwhile, NULL);
			_exit(r == 0 || r == -EPERM ? 7 : 1);
		}
		CHECK_EQ(status_of(pid), 7 << 8);
	}
	return NULL;
}

static void start_and_fork(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, forks_meanwhile, NULL), 0);
	usleep((useconds_t)(intptr_t)arg);
	CHECK_EQ(gs_go(started_meanwhile, NULL), 0);
	pthread_join(t, NULL);
	UNTIL(LOAD(returned) == 1);
	_exit(ut_failed);
}

/* a fork by another thread, while one is about to start the runtime */
TEST(while_it_starts)
{
#ifdef UT_TSAN
	SKIP(return, "TSan has no threads in the child of a fork");
#endif
	for (intptr_t i = 0; i < ut_count(30, 10); i++) {
		struct ut_child *c = ut_child_run(start_and_fork, (void *)(i * 100), 30 * SEC);

		EXPECT_EQ(0, c->status)
		{
			TH_LOG("%s", c->err);
		}
		free(c);
	}
}

static void late_starter(void *arg)
{
	STORE(*(int *)arg, 1);
}

/* who forks before there is a runtime has a child that may have one */
TEST(before_the_start)
{
	pid_t pid = fork();
	int status, ran = 0;

	if (pid == 0) {
		alarm((unsigned int)(ut_limit(20 * SEC) / SEC));
		_exit(gs_run(late_starter, &ran) == 0 && ran ? 7 : 1);
	}
	status = status_of(pid);
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(7, WEXITSTATUS(status));
	RUN(late_starter, &ran);
	EXPECT_EQ(1, ran);
}

TEST_HARNESS_MAIN
