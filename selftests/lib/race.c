/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the race detector sees: SAN=race only, and after Documentation/memory-model.rst.
 *
 * For each order promised there is one small program. A writer writes x and then does the
 * one half of it, a reader does the other half and then uses x: that must be silent. Then
 * the same with the write after the writer's half: that must be reported, naming both
 * fibers, on one proc as well as on two, whatever the scheduler did in between.
 */
#include <gsched.h>

#include "util.h"

#define GET(v) __atomic_load_n(&(v), __ATOMIC_RELAXED)
#define SET(v, n) __atomic_store_n(&(v), (n), __ATOMIC_RELAXED)

struct op {
	void (*setup)(void);
	void (*release)(void); /* the writer's half */
	void (*acquire)(void); /* the reader's */
};

static const struct op *op;
static bool racy;
static long x;

/* Relaxed: they order nothing. */
static int released, ended, reading;

static gs_chan *c, *c2;
static gs_mutex mutex;
static gs_rwmutex rw;
static gs_cond cond;
static gs_waitgroup wg;
static gs_once once;
static gs_sem sem;
static gs_pool pool;
static gs_map map;
static gs_errgroup group;
static gs_singleflight flights;
static gs_context *ctx;
static gs_cancel cancel;
static gs_timer *timer;
static gs_ticker *ticker;
static int fds[2];

static void await(int *flag)
{
	while (!GET(*flag))
		gs_yield();
}

static void writer(void *arg)
{
	if (!racy)
		x = 1;
	op->release();
	SET(released, 1);
	if (racy)
		x = 1;
	__atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
}

static void reader(void *arg)
{
	SET(reading, 1);
	op->acquire();
	x++;
	__atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
}

static void main_fiber(void *arg)
{
	const struct gs_attr w = {.name = "writer"}, r = {.name = "reader"};

	if (op->setup)
		op->setup();
	gs_go_attr(&w, writer, NULL);
	gs_go_attr(&r, reader, NULL);
	while (GET(ended) < 2)
		gs_yield();
}

static void run_op(void *arg)
{
	racy = arg;
	if (gs_run(main_fiber, NULL))
		_exit(3);
	exit(0);
}

static void nothing(void) {}

static void until_released(void)
{
	await(&released);
}

static void expect(struct __test_metadata *_metadata, const struct op *o, bool run_racy,
		   bool report)
{
	struct ut_child *child;

	op = o;
	child = ut_child_run(run_op, run_racy ? &racy : NULL, 60 * SEC);
	EXPECT_FALSE(child->timed_out);
	if (report) {
		EXPECT_SAYS(child, "ThreadSanitizer: data race");
		EXPECT_SAYS(child, "(writer)'");
		EXPECT_SAYS(child, "(reader)'");
	} else {
		EXPECT_EQ(0, child->status);
		EXPECT_SAYS_NOT(child, "ThreadSanitizer");
	}
	free(child);
}

/* One test: silent, and reported when x is written too late. */
#define ORDERS(name, setup, release, acquire)                                                      \
	TEST(name)                                                                                 \
	{                                                                                          \
		static const struct op o = {setup, release, acquire};                              \
                                                                                                   \
		expect(_metadata, &o, false, false);                                               \
		expect(_metadata, &o, true, true);                                                 \
	}

/* No order, whatever it looks like: reported though x is written first. */
#define ORDERS_NOT(name, setup, release, acquire)                                                  \
	TEST(name)                                                                                 \
	{                                                                                          \
		static const struct op o = {setup, release, acquire};                              \
                                                                                                   \
		expect(_metadata, &o, false, true);                                                \
	}

/* ------------------------------------------------------------------------- */
/* Fibers                                                                      */

static void send_c(void *arg)
{
	gs_chan_send(c, NULL);
}

static void recv_c(void)
{
	gs_chan_recv(c, NULL);
}

static void make_c(void)
{
	c = gs_chan_new(0, 0);
}

static void start_fiber(void)
{
	gs_go(send_c, NULL);
}

ORDERS(go_statement, make_c, start_fiber, recv_c)

static void sleep_a_little(void)
{
	gs_sleep(1000000);
}

static void released_and_slept(void)
{
	await(&released);
	gs_sleep(1000000);
}

ORDERS_NOT(end_of_fiber, NULL, nothing, until_released)
ORDERS_NOT(yielding, NULL, gs_yield, until_released)
ORDERS_NOT(sleeping, NULL, sleep_a_little, released_and_slept)

/* ------------------------------------------------------------------------- */
/* Channels                                                                    */

static void make_buffered(void)
{
	c = gs_chan_new(sizeof(long), 3);
}

static void send_long(void)
{
	long v = 7;

	gs_chan_send(c, &v);
}

static void recv_long(void)
{
	long v;

	gs_chan_recv(c, &v);
	if (v != 7)
		_exit(4);
}

ORDERS(send_buffered, make_buffered, send_long, recv_long)

static void make_unbuffered(void)
{
	c = gs_chan_new(sizeof(long), 0);
}

ORDERS(send_unbuffered, make_unbuffered, send_long, recv_long)
ORDERS(recv_unbuffered, make_unbuffered, recv_long, send_long)

static void make_full(void)
{
	c = gs_chan_new(sizeof(long), 1);
	send_long();
}

/* the k-th receive is before the completion of the k+C-th send */
ORDERS(recv_buffered, make_full, recv_long, send_long)

struct large {
	char bytes[200];
};

static void make_large(void)
{
	c = gs_chan_new(sizeof(struct large), 0);
}

static void send_large(void)
{
	struct large v = {"data"};

	gs_chan_send(c, &v);
}

static void recv_large(void)
{
	struct large v;

	gs_chan_recv(c, &v);
	if (strcmp(v.bytes, "data"))
		_exit(4);
}

ORDERS(send_large_element, make_large, send_large, recv_large)

static void close_c(void)
{
	gs_chan_close(c);
}

ORDERS(close_channel, make_unbuffered, close_c, recv_c)

static void try_send(void)
{
	long v = 7;

	while (gs_chan_try_send(c, &v))
		gs_yield();
}

static void try_recv(void)
{
	long v;

	while (gs_chan_try_recv(c, &v) != 1)
		gs_yield();
}

ORDERS(try_operations, make_buffered, try_send, try_recv)

static void make_two(void)
{
	make_unbuffered();
	c2 = gs_chan_new(sizeof(long), 0);
}

static void select_send(void)
{
	long v = 7;

	gs_select(GS_SEND_PTR(c, &v), GS_RECV(c2, NULL));
}

static void select_recv(void)
{
	long v;

	gs_select(GS_RECV_PTR(c2, &v, NULL), GS_RECV_PTR(c, &v, NULL), GS_AFTER(3600 * SEC));
	if (v != 7)
		_exit(4);
}

ORDERS(select_both_sides, make_two, select_send, select_recv)

/* ------------------------------------------------------------------------- */
/* sync                                                                        */

static void lock_unlock(void)
{
	gs_mutex_lock(&mutex);
	gs_mutex_unlock(&mutex);
}

static void released_lock(void)
{
	await(&released);
	lock_unlock();
}

ORDERS(mutex_lock, NULL, lock_unlock, released_lock)

static void lock_held_for_reader(void)
{
	gs_mutex_lock(&mutex);
}

/* Unlocks when the reader waits, or is about to; both ways must order. */
static void unlock_when_waited_for(void)
{
	await(&reading);
	for (int i = 0; i < 3; i++)
		gs_yield();
	gs_mutex_unlock(&mutex);
}

static void lock_only(void)
{
	gs_mutex_lock(&mutex);
}

ORDERS(mutex_wait, lock_held_for_reader, unlock_when_waited_for, lock_only)

static void trylock(void)
{
	await(&released);
	while (!gs_mutex_trylock(&mutex))
		gs_yield();
}

ORDERS(mutex_trylock, NULL, lock_unlock, trylock)

static void write_lock_unlock(void)
{
	gs_rwmutex_lock(&rw);
	gs_rwmutex_unlock(&rw);
}

static void read_lock_unlock(void)
{
	gs_rwmutex_rlock(&rw);
	gs_rwmutex_runlock(&rw);
}

static void released_read_lock(void)
{
	await(&released);
	read_lock_unlock();
}

static void released_write_lock(void)
{
	await(&released);
	write_lock_unlock();
}

ORDERS(rwmutex_rlock, NULL, write_lock_unlock, released_read_lock)
ORDERS(rwmutex_lock, NULL, read_lock_unlock, released_write_lock)

static void try_write_lock(void)
{
	await(&released);
	while (!gs_rwmutex_trylock(&rw))
		gs_yield();
}

static void try_read_lock(void)
{
	await(&released);
	while (!gs_rwmutex_tryrlock(&rw))
		gs_yield();
}

ORDERS(rwmutex_trylock, NULL, read_lock_unlock, try_write_lock)
ORDERS(rwmutex_tryrlock, NULL, write_lock_unlock, try_read_lock)

static void hold_for_reading(void)
{
	gs_rwmutex_rlock(&rw);
}

static void runlock_when_waited_for(void)
{
	await(&reading);
	for (int i = 0; i < 3; i++)
		gs_yield();
	gs_rwmutex_runlock(&rw);
}

ORDERS(rwmutex_wait, hold_for_reading, runlock_when_waited_for, write_lock_unlock)

static void make_cond(void)
{
	gs_cond_init(&cond, &mutex);
}

static int woken;

/* without the mutex, which orders by itself */
static void signal_until_woken(void)
{
	while (!GET(woken)) {
		gs_cond_signal(&cond);
		gs_yield();
	}
}

static void broadcast_until_woken(void)
{
	while (!GET(woken)) {
		gs_cond_broadcast(&cond);
		gs_yield();
	}
}

static void wait_cond(void)
{
	gs_mutex_lock(&mutex);
	gs_cond_wait(&cond);
	SET(woken, 1);
	gs_mutex_unlock(&mutex);
}

ORDERS(cond_signal, make_cond, signal_until_woken, wait_cond)
ORDERS(cond_broadcast, make_cond, broadcast_until_woken, wait_cond)

static void add_one(void)
{
	gs_wg_add(&wg, 1);
}

static void wg_done(void)
{
	gs_wg_done(&wg);
}

static void wg_wait(void)
{
	gs_wg_wait(&wg);
}

static void add_two(void)
{
	gs_wg_add(&wg, 2);
}

static void done_one(void)
{
	gs_wg_done(&wg);
}

static void add_after_done(void)
{
	await(&released);
	gs_wg_add(&wg, 1);
}

ORDERS_NOT(waitgroup_add, add_two, done_one, add_after_done)
ORDERS(waitgroup, add_one, wg_done, wg_wait)

static void no_function(void *arg) {}

static void do_once(void)
{
	gs_once_do(&once, no_function, NULL);
}

static void released_do_once(void)
{
	await(&released);
	do_once();
}

ORDERS(once_do, NULL, do_once, released_do_once)

static void make_sem(void)
{
	gs_sem_init(&sem, 1);
	gs_sem_acquire(&sem, NULL, 1);
}

static void sem_release(void)
{
	gs_sem_release(&sem, 1);
}

static void sem_acquire(void)
{
	gs_sem_acquire(&sem, NULL, 1);
}

ORDERS(semaphore, make_sem, sem_release, sem_acquire)

static void sem_try_acquire(void)
{
	while (!gs_sem_try_acquire(&sem, 1))
		gs_yield();
}

ORDERS(semaphore_try, make_sem, sem_release, sem_try_acquire)

static void pool_put(void)
{
	gs_pool_put(&pool, &x);
}

static void pool_get(void)
{
	while (!gs_pool_get(&pool))
		gs_yield();
}

ORDERS(pool_object, NULL, pool_put, pool_get)

static void map_store(void)
{
	gs_map_store(&map, &x, &x);
}

static void map_load(void)
{
	while (!gs_map_load(&map, &x, NULL))
		gs_yield();
}

ORDERS(map_value, NULL, map_store, map_load)

static int part(void *arg)
{
	SET(released, 1);
	return 0;
}

static void group_go(void)
{
	gs_errgroup_go(&group, part, NULL);
}

static void group_wait(void)
{
	await(&released);
	gs_errgroup_wait(&group);
}

ORDERS(errgroup_wait, NULL, group_go, group_wait)

static int flight(void *arg, void **result)
{
	await(&reading);
	for (int i = 0; i < 3; i++)
		gs_yield();
	SET(released, 1);
	return 0;
}

static int late_flight(void *arg, void **result)
{
	return 0;
}

static void fly(void)
{
	gs_singleflight_do(&flights, "key", flight, NULL, NULL, NULL);
}

/* shared, or after it: both are ordered */
static void fly_along(void)
{
	await(&released);
	gs_singleflight_do(&flights, "key", late_flight, NULL, NULL, NULL);
}

ORDERS(singleflight, NULL, fly, fly_along)

/* ------------------------------------------------------------------------- */
/* Time, contexts, I/O                                                         */

static void after_func(void)
{
	timer = gs_after_func(1000, send_c, NULL);
}

ORDERS(timer_func, make_c, after_func, recv_c)

static void make_timer(void)
{
	make_c();
	timer = gs_after_func(3600 * SEC, send_c, NULL);
}

static void reset_timer(void)
{
	gs_timer_reset(timer, 1000);
}

ORDERS(timer_reset, make_timer, reset_timer, recv_c)

static void make_timer_chan(void)
{
	timer = gs_timer_new(3600 * SEC);
}

static void recv_timer(void)
{
	gs_chan_recv((gs_chan *)(void *)gs_timer_chan(timer), NULL);
}

ORDERS(timer_chan, make_timer_chan, reset_timer, recv_timer)

static void make_ticker(void)
{
	ticker = gs_ticker_new(3600 * SEC);
}

static void reset_ticker(void)
{
	gs_ticker_reset(ticker, 1000);
}

static void recv_tick(void)
{
	gs_chan_recv((gs_chan *)(void *)gs_ticker_chan(ticker), NULL);
}

ORDERS(ticker_chan, make_ticker, reset_ticker, recv_tick)

static void make_context(void)
{
	ctx = gs_with_cancel(gs_background(), &cancel);
}

static void cancel_context(void)
{
	gs_cancel_call(&cancel);
}

static void receive_done(void)
{
	gs_chan_recv(gs_context_done(ctx), NULL);
}

static void poll_err(void)
{
	while (!gs_context_err(ctx))
		gs_yield();
}

ORDERS(context_done, make_context, cancel_context, receive_done)
ORDERS(context_err, make_context, cancel_context, poll_err)

static void poll_cause(void)
{
	while (!gs_context_cause(ctx))
		gs_yield();
}

ORDERS(context_cause, make_context, cancel_context, poll_cause)

static void make_hooked(void)
{
	make_c();
	make_context();
	gs_context_after_func(ctx, send_c, NULL);
}

ORDERS(context_hook, make_hooked, cancel_context, recv_c)

static void make_cancelled(void)
{
	make_c();
	make_context();
	cancel_context();
}

static void hook(void)
{
	gs_context_after_func(ctx, send_c, NULL);
}

ORDERS(context_after_func, make_cancelled, hook, recv_c)

static void notify(void)
{
	c = gs_chan_new(sizeof(int), 1);
	if (gs_signal_notify(c, SIGUSR1))
		_exit(5);
}

static void send_signal(void)
{
	kill(getpid(), SIGUSR1);
}

static void recv_signal(void)
{
	int sig;

	if (!gs_chan_recv(c, &sig) || sig != SIGUSR1)
		_exit(5);
}

/* The kernel is in between. */
ORDERS_NOT(signal_notify, notify, send_signal, recv_signal)

static void make_pipe(void)
{
	if (pipe(fds))
		_exit(5);
}

static void write_pipe(void)
{
	if (gs_write(fds[1], "x", 1) != 1)
		_exit(5);
}

static void read_pipe(void)
{
	char byte;

	if (gs_read(fds[0], &byte, 1) != 1)
		_exit(5);
}

ORDERS(pipe_data, make_pipe, write_pipe, read_pipe)

/* ------------------------------------------------------------------------- */

static void run_silent(void *fn)
{
	if (gs_run((void (*)(void *))(uintptr_t)fn, NULL))
		_exit(3);
	exit(0);
}

#define SILENT(name, fn)                                                                           \
	TEST(name)                                                                                 \
	{                                                                                          \
		struct ut_child *child =                                                           \
			ut_child_run(run_silent, (void *)(uintptr_t)(fn), 60 * SEC);               \
                                                                                                   \
		EXPECT_EQ(0, child->status);                                                       \
		EXPECT_SAYS_NOT(child, "ThreadSanitizer");                                         \
		free(child);                                                                       \
	}

static __thread volatile int of_thread;

static void __attribute__((noinline)) use_locals(void *arg)
{
	volatile char local[3000];

	for (size_t i = 0; i < sizeof(local); i++)
		local[i] = (char)i;
	of_thread++;
	ut_set_errno(EIO);
	gs_yield();
	local[0]++;
	of_thread++;
	ut_set_errno(0);
	__atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
}

/* One after the other on the same stacks, with the same thread-local storage. */
static void many_locals(void *arg)
{
	for (int i = 1; i <= 40; i++) {
		gs_go(use_locals, NULL);
		gs_go(use_locals, NULL);
		while (GET(ended) < 2 * i)
			gs_yield();
	}
}

SILENT(stacks_and_thread_locals, many_locals)

static long shared; /* mutex */

static void locks_and_frees(void *arg)
{
	for (int i = 0; i < 200; i++) {
		char *p = malloc(100);

		memset(p, i, 100);
		gs_mutex_lock(&mutex);
		shared++;
		gs_mutex_unlock(&mutex);
		gs_map_store(&map, (void *)(uintptr_t)(i % 10 + 1), p);
		gs_chan_send(c, &p);
		if (i % 8 == 0)
			gs_sleep(1000);
	}
}

static void takes(void *arg)
{
	char *p;

	while (gs_select(GS_RECV_PTR(c, &p, NULL), GS_RECV(c2, NULL)) == 0) {
		gs_map_compare_and_delete(&map, (void *)(uintptr_t)(p[5] % 10 + 1), p);
		gs_mutex_lock(&mutex);
		shared--;
		gs_mutex_unlock(&mutex);
		free(p);
	}
}

static void workload(void *arg)
{
	gs_waitgroup senders = {0}, receivers = {0};

	c = gs_chan_new(sizeof(char *), 2);
	c2 = gs_chan_new(0, 0);
	for (int i = 0; i < 4; i++) {
		gs_wg_go(&senders, locks_and_frees, NULL);
		gs_wg_go(&receivers, takes, NULL);
	}
	gs_wg_wait(&senders);
	while (gs_chan_len(c))
		gs_yield();
	gs_chan_close(c2);
	gs_wg_wait(&receivers);
	gs_map_clear(&map);
	gs_chan_unref(c);
	gs_chan_unref(c2);
}

SILENT(memory_passed_on, workload)

static void set_x(void *arg)
{
	x = 1;
}

static void run_and_read(void *arg)
{
	x = 3;
	if (gs_run(set_x, NULL))
		_exit(3);
	exit(x == 1 ? 0 : 6);
}

/* From gs_run's caller to the main fiber, and back when it returned. */
TEST(run)
{
	struct ut_child *child = ut_child_run(run_and_read, NULL, 60 * SEC);

	EXPECT_EQ(0, child->status);
	EXPECT_SAYS_NOT(child, "ThreadSanitizer");
	free(child);
}

TEST_HARNESS_MAIN
