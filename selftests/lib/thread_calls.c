// SPDX-License-Identifier: GPL-2.0
/*
 * Every call of sync.h, context.h, time.h, chan.h and select.h that is marked (T), by an
 * ordinary thread. A test is a child process, and what it calls is for many of them the first
 * that the runtime hears of it. What waits is ended by a fiber, a little later.
 */
#include <gsched.h>
#include <math.h>
#include <pthread.h>

#include "util.h"

#define SOON (MS / 2)

/* Done by a fiber, when the thread has probably come to its wait. */
struct later {
	void (*fn)(void *);
	void *arg;
};

static int pending; /* atomic: of those */

static void run_later(void *arg)
{
	const struct later *l = arg;

	CHECK_NE(gs_id(), 0u);
	gs_sleep(SOON);
	l->fn(l->arg);
	ADD(pending, -1);
}

static void later(void (*fn)(void *), void *arg)
{
	struct later l = {fn, arg};

	ADD(pending, 1);
	CHECK_EQ(gs_go_copy(run_later, &l, sizeof(l)), 0);
}

/* They have left the objects that stand on our stack. */
static void all_done(void)
{
	UNTIL(LOAD(pending) == 0);
}

static int count; /* atomic */

static void add_one(void *arg)
{
	ADD(count, 1);
}

static bool came_to(int n)
{
	UNTIL(LOAD(count) == n);
	STORE(count, 0);
	return true;
}

/* ------------------------------------------------------------------------- */
/* sync.h                                                                      */

static void unlock(void *arg)
{
	gs_mutex_unlock(arg);
}

static void mutex(void)
{
	gs_mutex m = {0};

	gs_mutex_lock(&m);
	CHECK(!gs_mutex_trylock(&m));
	later(unlock, &m);
	gs_mutex_lock(&m);
	gs_mutex_unlock(&m);
	all_done();
	CHECK(gs_mutex_trylock(&m));
	gs_mutex_unlock(&m);
}

static void rw_unlock(void *arg)
{
	gs_rwmutex_unlock(arg);
}

static void rw_runlock(void *arg)
{
	gs_rwmutex_runlock(arg);
}

static void rwmutex(void)
{
	gs_rwmutex rw = {0};

	gs_rwmutex_rlock(&rw);
	CHECK(gs_rwmutex_tryrlock(&rw));
	CHECK(!gs_rwmutex_trylock(&rw));
	gs_rwmutex_runlock(&rw);
	later(rw_runlock, &rw);
	gs_rwmutex_lock(&rw);
	CHECK(!gs_rwmutex_tryrlock(&rw));
	later(rw_unlock, &rw);
	gs_rwmutex_rlock(&rw);
	gs_rwmutex_runlock(&rw);
	all_done(); /* a writer that unlocks lets readers in first, and other writers then */
	CHECK(gs_rwmutex_trylock(&rw));
	gs_rwmutex_unlock(&rw);
}

struct waits {
	gs_mutex m;
	gs_cond c;
	int come, woken, go;
};

static void wait_for_go(void *arg)
{
	struct waits *w = arg;

	gs_mutex_lock(&w->m);
	w->come++;
	while (!w->go)
		gs_cond_wait(&w->c);
	w->go--;
	w->woken++;
	gs_mutex_unlock(&w->m);
	ADD(count, 1);
}

static void let_go(void *arg)
{
	struct waits *w = arg;

	gs_mutex_lock(&w->m);
	w->go++;
	gs_cond_signal(&w->c);
	gs_mutex_unlock(&w->m);
}

static void all_have_come(struct waits *w, int n)
{
	for (bool come = false; !come;) {
		gs_mutex_lock(&w->m);
		come = w->come == n;
		gs_mutex_unlock(&w->m);
	}
}

static void cond(void)
{
	struct waits w = {.go = 0};

	gs_cond_init(&w.c, &w.m);
	later(let_go, &w);
	wait_for_go(&w);
	CHECK_EQ(w.woken, 1);
	came_to(1);
	w.come = 0;
	for (int i = 0; i < 3; i++)
		gs_go(wait_for_go, &w);
	all_have_come(&w, 3);
	let_go(&w);
	came_to(1);
	gs_mutex_lock(&w.m);
	w.go = 2;
	gs_mutex_unlock(&w.m);
	gs_cond_broadcast(&w.c);
	came_to(2);
	all_done();
}

static void slowly(void *arg)
{
	gs_sleep(SOON);
	ADD(count, 1);
}

static void do_once(void *once)
{
	gs_once_do(once, slowly, NULL);
	CHECK_EQ(LOAD(count) % 100, 1);
	ADD(count, 100);
}

static void once(void)
{
	gs_once o = {0}, o2 = {0};

	gs_once_do(&o, add_one, NULL);
	gs_once_do(&o, add_one, NULL);
	came_to(1);
	/* the thread or the fiber is the first */
	CHECK_EQ(gs_go(do_once, &o2), 0);
	do_once(&o2);
	came_to(201);
}

static void wg_done(void *arg)
{
	gs_wg_done(arg);
}

static void waitgroup(void)
{
	gs_waitgroup wg = {0};

	gs_wg_add(&wg, 3);
	gs_wg_done(&wg);
	gs_wg_add(&wg, -1);
	later(wg_done, &wg);
	gs_wg_wait(&wg);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gs_wg_go(&wg, add_one, NULL), 0);
	gs_wg_wait(&wg);
	CHECK_EQ(LOAD(count), 10);
	all_done();
}

static void release_two(void *arg)
{
	gs_sem_release(arg, 2);
}

static void cancel_it(void *arg)
{
	gs_cancel_call(arg);
}

static void sem(void)
{
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	gs_sem s;

	gs_sem_init(&s, 2);
	CHECK(gs_sem_try_acquire(&s, 2));
	CHECK(!gs_sem_try_acquire(&s, 1));
	later(release_two, &s);
	CHECK_EQ(gs_sem_acquire(&s, ctx, 2), 0);
	later(cancel_it, &cancel);
	CHECK_EQ(gs_sem_acquire(&s, ctx, 1), -ECANCELED);
	gs_sem_release(&s, 2);
	all_done();
	gs_context_unref(ctx);
}

static int part(void *arg)
{
	gs_sleep(SOON);
	ADD(count, 1);
	return (int)(intptr_t)arg;
}

static int gate; /* atomic */

static void open_gate(void *arg)
{
	STORE(gate, 1);
}

static int gated_part(void *arg)
{
	while (!LOAD(gate))
		gs_sleep(SOON);
	return part(arg);
}

static void errgroup(void)
{
	gs_errgroup g = {.ctx = NULL};
	gs_context *ctx = gs_errgroup_with_context(&g, gs_background());

	STORE(gate, 0);
	gs_errgroup_set_limit(&g, 1);
	gs_errgroup_go(&g, gated_part, NULL);
	CHECK(!gs_errgroup_try_go(&g, part, NULL));
	later(open_gate, NULL);
	/* waits for the first one's end */
	gs_errgroup_go(&g, part, (void *)-EIO);
	CHECK_EQ(gs_errgroup_wait(&g), -EIO);
	came_to(2);
	CHECK_EQ(gs_context_cause(ctx), -EIO);
	all_done();
	gs_context_unref(ctx);
}

static int fly(void *arg, void **result)
{
	gs_sleep(SOON);
	ADD(count, 1);
	*result = arg;
	return 0;
}

static void fly_too(void *arg)
{
	void *result = NULL;

	CHECK_EQ(gs_singleflight_do(arg, "key", fly, &count, &result, NULL), 0);
	CHECK(result == &count);
	ADD(count, 100);
}

static void singleflight(void)
{
	gs_singleflight g = {.table = NULL};
	int n;

	CHECK_EQ(gs_go(fly_too, &g), 0);
	fly_too(&g);
	UNTIL(LOAD(count) > 200);
	n = LOAD(count);
	CHECK(n == 201 || n == 202);
	gs_singleflight_forget(&g, "key");
}

static void limiter(void)
{
	gs_context *ctx = gs_with_timeout(gs_background(), 5 * MS, NULL);
	gs_reservation r;
	gs_limiter l;

	gs_limiter_init(&l, 1000, 2);
	CHECK(gs_limiter_allow(&l));
	CHECK(gs_limiter_allow_n(&l, gs_now(), 1));
	CHECK_EQ(gs_limiter_wait(&l, NULL), 0);
	CHECK_EQ(gs_limiter_wait_n(&l, NULL, 2), 0);
	CHECK(gs_limiter_reserve(&l, gs_now(), 2, SEC, &r));
	gs_reservation_cancel(&r, gs_now());
	gs_limiter_set_limit(&l, gs_now(), 0.001);
	gs_limiter_set_burst(&l, gs_now(), 3);
	CHECK_LE(gs_limiter_tokens(&l, gs_now()), 3);
	/* three are not there, and will not be before the deadline */
	CHECK_EQ(gs_limiter_wait_n(&l, ctx, 3), -ETIMEDOUT);
	gs_context_unref(ctx);
}

static void *make(void)
{
	return calloc(1, 8);
}

static void pool(void)
{
	gs_pool p = {.new_fn = make, .drop_fn = free};
	void *x = gs_pool_get(&p);

	gs_pool_put(&p, x);
	CHECK(gs_pool_get(&p) == x);
	gs_pool_put(&p, x);
	gs_pool_put(&p, make());
	gs_pool_clear(&p);
}

static bool add_value(const void *key, void *value, void *arg)
{
	*(long *)arg += (long)(intptr_t)value;
	return true;
}

static void no_ref(void *value)
{
	ADD(count, 1);
}

static void map(void)
{
	void *v = NULL, *one = (void *)1, *two = (void *)2;
	int a, b;
	gs_map m = {0};
	long sum = 0;

	gs_map_init(&m, NULL, NULL);
	gs_map_store(&m, &a, one);
	CHECK(!gs_map_load_or_store(&m, &b, two, &v));
	gs_map_range(&m, add_value, &sum);
	CHECK_EQ(sum, 3);
	CHECK(gs_map_load(&m, &a, &v) && v == one);
	CHECK(gs_map_load_ref(&m, &b, no_ref, &v) && v == two);
	came_to(1);
	CHECK(gs_map_swap(&m, &a, two, &v) && v == one);
	CHECK(gs_map_compare_and_swap(&m, &a, two, one));
	CHECK(!gs_map_compare_and_delete(&m, &a, two));
	CHECK(gs_map_compare_and_delete(&m, &a, one));
	CHECK(gs_map_load_and_delete(&m, &b, &v) && v == two);
	CHECK(!gs_map_delete(&m, &b));
	gs_map_clear(&m);
}

/* ------------------------------------------------------------------------- */
/* context.h                                                                   */

static void contexts(void)
{
	gs_cancel cancel, cancel2;
	gs_context *root = gs_with_cancel(gs_todo(), &cancel), *ctx;
	gs_context_hook *hook;
	int64_t when = gs_now() + 3600 * SEC, w;

	ctx = gs_with_value(root, &count, &when);
	CHECK(gs_context_value(ctx, &count) == &when);
	CHECK(!gs_context_deadline(ctx, &w));
	CHECK_EQ(gs_context_err(ctx), 0);
	hook = gs_context_after_func(ctx, add_one, NULL);
	CHECK(gs_context_hook_stop(hook));
	gs_context_after_func(ctx, add_one, NULL);
	later(cancel_it, &cancel);
	gs_chan_recv(gs_context_done(ctx), NULL);
	CHECK_EQ(gs_context_err(ctx), -ECANCELED);
	CHECK_EQ(gs_context_cause(ctx), -ECANCELED);
	came_to(1);
	all_done();
	gs_context_unref(gs_context_ref(ctx));
	gs_context_unref(ctx);

	ctx = gs_without_cancel(root);
	CHECK_EQ(gs_context_err(ctx), 0);
	gs_context_unref(root);
	root = gs_with_deadline(ctx, when, &cancel);
	CHECK(gs_context_deadline(root, &w) && w == when);
	gs_context_unref(ctx);
	ctx = gs_with_deadline_cause(root, gs_now() + SOON, -EIO, NULL);
	gs_chan_recv(gs_context_done(ctx), NULL);
	CHECK_EQ(gs_context_err(ctx), -ETIMEDOUT);
	CHECK_EQ(gs_context_cause(ctx), -EIO);
	gs_context_unref(ctx);
	ctx = gs_with_timeout_cause(root, SOON, -EPERM, NULL);
	gs_chan_recv(gs_context_done(ctx), NULL);
	CHECK_EQ(gs_context_cause(ctx), -EPERM);
	gs_context_unref(ctx);
	ctx = gs_with_timeout(root, 3600 * SEC, &cancel2);
	gs_cancel_cause(&cancel2, -ENOENT);
	CHECK_EQ(gs_context_cause(ctx), -ENOENT);
	gs_context_unref(ctx);
	gs_cancel_call(&cancel);
	gs_context_unref(root);
}

/* ------------------------------------------------------------------------- */
/* time.h                                                                      */

#define CHAN_OF(c) ((gs_chan *)(void *)(c))

static void timers(void)
{
	int64_t start = gs_now(), at;
	gs_chan *c = CHAN_OF(gs_after(SOON));
	gs_timer *t = gs_timer_new(SOON);
	gs_ticker *k = gs_ticker_new(SOON);

	CHECK(gs_chan_recv(c, &at));
	CHECK_GE(at - start, SOON);
	gs_chan_unref(c);
	CHECK(gs_chan_recv(CHAN_OF(gs_timer_chan(t)), &at));
	CHECK(!gs_timer_reset(t, 3600 * SEC));
	CHECK(gs_timer_stop(t));
	CHECK(!gs_timer_reset(t, SOON));
	CHECK(gs_chan_recv(CHAN_OF(gs_timer_chan(t)), &at));
	gs_timer_free(t);
	for (int i = 0; i < 3; i++)
		CHECK(gs_chan_recv(CHAN_OF(gs_ticker_chan(k)), &at));
	gs_ticker_stop(k);
	gs_ticker_reset(k, SOON);
	CHECK(gs_chan_recv(CHAN_OF(gs_ticker_chan(k)), &at));
	gs_ticker_free(k);
	t = gs_after_func(SOON, add_one, NULL);
	came_to(1);
	CHECK(!gs_timer_stop(t));
	gs_timer_free(t);
	start = gs_now();
	gs_sleep(SOON);
	CHECK_GE(gs_now() - start, SOON);
}

/* ------------------------------------------------------------------------- */
/* chan.h, select.h                                                            */

static void send_7(void *arg)
{
	int v = 7;

	gs_chan_send(arg, &v);
}

static void recv_8(void *arg)
{
	int v = 0;

	CHECK(gs_chan_recv(arg, &v));
	CHECK_EQ(v, 8);
	ADD(count, 1);
}

static void close_it(void *arg)
{
	gs_chan_close(arg);
}

static void channels(void)
{
	gs_chan *c = gs_chan_new(sizeof(int), 0), *b = gs_chan_new(sizeof(int), 1);
	int v = 8, got = 0;
	bool ok = true;

	CHECK_EQ(gs_chan_try_send(c, &v), -EAGAIN);
	CHECK_EQ(gs_chan_try_recv(c, &v), -EAGAIN);
	CHECK_EQ(gs_chan_try_send(b, &v), 0);
	CHECK_EQ(gs_chan_len(b), 1u);
	CHECK_EQ(gs_chan_cap(b), 1u);
	CHECK_EQ(gs_chan_try_recv(b, &got), 1);
	CHECK_EQ(got, 8);
	later(send_7, c);
	CHECK(gs_chan_recv(c, &got));
	CHECK_EQ(got, 7);
	later(recv_8, c);
	gs_chan_send(c, &v);
	came_to(1);
	later(send_7, c);
	got = 0;
	CHECK_EQ(gs_select(GS_RECV_OK(b, &got, &ok), GS_RECV_OK(c, &got, &ok), GS_AFTER(60 * SEC)),
		 1);
	CHECK(ok);
	CHECK_EQ(got, 7);
	later(close_it, b);
	CHECK(!gs_chan_recv(b, &got));
	CHECK_EQ(got, 0);
	gs_chan_close(c);
	CHECK_EQ(gs_chan_try_recv(c, &got), 0);
	all_done();
	gs_chan_unref(gs_chan_ref(c));
	gs_chan_unref(c);
	gs_chan_unref(b);
}

/* ------------------------------------------------------------------------- */

static void *in_thread(void *fn)
{
	(*(void (**)(void))fn)();
	return NULL;
}

static void on_a_thread(void (*fn)(void))
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, in_thread, &fn), 0);
	pthread_join(t, NULL);
	STORE(count, 0);
}

struct beside {
	void (*fn)(void);
	int ended;
};

static void *thread_beside(void *arg)
{
	struct beside *b = arg;

	b->fn();
	STORE(b->ended, 1);
	return NULL;
}

static void in_run(void *fn)
{
	struct beside b = {.fn = *(void (**)(void))fn};
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, thread_beside, &b), 0);
	UNTIL(LOAD(b.ended));
	pthread_join(t, NULL);
	STORE(count, 0);
}

/*
 * As the process's first thread, before there is a runtime; on another thread; on one that a
 * fiber made while gs_run is active; and after that.
 */
#define THREAD_CALLS(name)                                                                         \
	TEST(name##_calls)                                                                         \
	{                                                                                          \
		void (*fn)(void) = name;                                                           \
                                                                                                   \
		name();                                                                            \
		STORE(count, 0);                                                                   \
		on_a_thread(name);                                                                 \
		RUN(in_run, &fn);                                                                  \
		on_a_thread(name);                                                                 \
		EXPECT_EQ(0, LOAD(ut_failed));                                                     \
	}

THREAD_CALLS(mutex)
THREAD_CALLS(rwmutex)
THREAD_CALLS(cond)
THREAD_CALLS(once)
THREAD_CALLS(waitgroup)
THREAD_CALLS(sem)
THREAD_CALLS(errgroup)
THREAD_CALLS(singleflight)
THREAD_CALLS(limiter)
THREAD_CALLS(pool)
THREAD_CALLS(map)
THREAD_CALLS(contexts)
THREAD_CALLS(timers)
THREAD_CALLS(channels)

TEST_HARNESS_MAIN
