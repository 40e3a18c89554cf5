// SPDX-License-Identifier: GPL-2.0
/*
 * Forward progress when there is no thread to be had: the spawner stuck on a lock that a
 * queued fiber holds, the user's limit on threads, the cap, all of them blocked. Whatever
 * can go on does, and what was put off comes to its end.
 */
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <gsched/sync.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "dump.h"
#include "interrupts.h"
#include "nobody.h"
#include "util.h"

#define BLOCKERS 12

static int pipes[2];
static int blocked, done, stop; /* atomic */

static void block(void *arg)
{
	char c;

	ADD(blocked, 1);
	CHECK_EQ(read(pipes[0], &c, 1), 1);
	ADD(done, 1);
}

static void let_go(int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(write(pipes[1], "x", 1), 1);
}

static void go_block(int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(gs_go(block, NULL), 0);
}

/* ------------------------------------------------------------------------- */
/* A program with an allocator of its own, whose lock pthread_create needs. */

#if !defined(UT_ASAN) && !defined(UT_TSAN)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

static pthread_mutex_t allocator = PTHREAD_MUTEX_INITIALIZER;
static int waits, held; /* atomic: for the lock, and it */

static void allocator_enter(void)
{
	if (!pthread_mutex_trylock(&allocator))
		return;
	ADD(waits, 1);
	pthread_mutex_lock(&allocator);
}

void *malloc(size_t size)
{
	void *p;

	allocator_enter();
	p = __libc_malloc(size);
	pthread_mutex_unlock(&allocator);
	return p;
}

void *calloc(size_t n, size_t size)
{
	void *p;

	allocator_enter();
	p = __libc_calloc(n, size);
	pthread_mutex_unlock(&allocator);
	return p;
}

void *realloc(void *old, size_t size)
{
	void *p;

	allocator_enter();
	p = __libc_realloc(old, size);
	pthread_mutex_unlock(&allocator);
	return p;
}

void free(void *p)
{
	allocator_enter();
	__libc_free(p);
	pthread_mutex_unlock(&allocator);
}

static void hold(void *arg)
{
	int64_t end = gs_now() + 2 * SEC;

	pthread_mutex_lock(&allocator);
	STORE(held, 1);
	/*
	 * Interrupted in here, and queued behind those who block; unless the spawner was
	 * stuck before there was what that takes.
	 */
	while ((!LOAD(waits) || !LOAD(blocked)) && gs_now() < end)
		;
	pthread_mutex_unlock(&allocator);
	STORE(held, 2);
}

static void *release(void *arg)
{
	/* so many threads there are in the end */
	UNTIL(LOAD(blocked) == BLOCKERS);
	CHECK_EQ(LOAD(held), 2);
	let_go(BLOCKERS);
	return NULL;
}

static void lock_main(void *arg)
{
	int64_t begin = gs_now();
	pthread_t t;

	UNTIL(stats().standbys >= 3);

	CHECK_EQ(pthread_create(&t, NULL, release, NULL), 0);
	go_block(BLOCKERS);
	CHECK_EQ(gs_go(hold, NULL), 0);
	pthread_join(t, NULL);
	UNTIL(LOAD(done) == BLOCKERS);
	/* nobody waited for a stand-by to look around by itself */
	CHECK_LT(gs_now() - begin, 8 * SEC);
}

/* the spawner waits for a lock whose holder is queued, and the stand-bys are used up */
TEST(spawner_stuck)
{
	NEEDS_INTERRUPTS(1, 10000, "frozen");
	ASSERT_EQ(0, pipe(pipes));
	RUN(lock_main, NULL);
}

/*
 * Two procs. One is idle when a fiber is queued behind a hog, and there is no stand-by for it:
 * the spawner waits for the lock. Then a thread comes back to it, which runs its own fiber and
 * does not search, and only then is there a stand-by: nobody is idle any more. It is the tick
 * that must be there.
 */
static int way[2];
static int may_release, is_back, has_run; /* atomic */

static bool in_vain(int64_t begin)
{
	return gs_now() - begin > ut_limit(5 * SEC);
}

static void comes_back(void *arg)
{
	int64_t begin;
	char c;

	ADD(blocked, 1);
	CHECK_EQ(read(way[0], &c, 1), 1);
	/* on posix nobody has seen it come back yet */
	gs_nopreempt_begin();
	gs_nopreempt_end();
	STORE(is_back, 1);
	begin = gs_now();
	while (!LOAD(has_run) && !in_vain(begin))
		ut_burn(10000);
}

static void queued(void *arg)
{
	gs_chan_recv(arg, NULL);
	STORE(has_run, 1);
}

static void blocks_when_told(void *arg)
{
	gs_chan_recv(arg, NULL);
	block(NULL);
}

static void *takes_lock(void *arg)
{
	pthread_mutex_lock(&allocator);
	STORE(held, 1);
	while (!LOAD(may_release))
		usleep(100);
	pthread_mutex_unlock(&allocator);
	return NULL;
}

static void tick_main(void *arg)
{
	gs_chan *tell = gs_chan_new(0, 0), *run = gs_chan_new(0, 0);
	int n = 0, extra = 40;
	int64_t begin;
	pthread_t t;

	CHECK_EQ(gs_go(comes_back, NULL), 0);
	CHECK_EQ(gs_go(queued, run), 0);
	for (int i = 0; i < extra; i++)
		CHECK_EQ(gs_go(blocks_when_told, tell), 0);
	UNTIL(ut_waiting("chan receive", NULL) == extra + 1 && LOAD(blocked) == 1);
	CHECK_EQ(pthread_create(&t, NULL, takes_lock, NULL), 0);
	UNTIL(LOAD(held));
	/*
	 * Use up the stand-bys, but for the reserve. The spawner may have been past that lock
	 * already: until no more of them come for a while. Nobody waits then: the tick ends
	 * after a slice.
	 */
	for (int quiet = 0; quiet < 100 && n < extra; quiet++) {
		if (stats().standbys <= 1) {
			ut_burn(2 * MS);
			continue;
		}
		gs_chan_send(tell, NULL);
		n++;
		UNTIL(LOAD(blocked) == 1 + n && stats().idle_procs == 1);
		quiet = 0;
	}
	CHECK_LE(stats().standbys, 1);
	gs_nopreempt_begin();
	gs_chan_send(run, NULL);
	CHECK_EQ(write(way[1], "x", 1), 1);
	begin = gs_now();
	while (!LOAD(is_back) && !in_vain(begin))
		;
	STORE(may_release, 1);
	gs_nopreempt_end();
	while (!LOAD(has_run) && !in_vain(begin))
		ut_burn(10000);
	CHECK(LOAD(has_run));
	pthread_join(t, NULL);
	let_go(n);
	gs_chan_close(tell);
	UNTIL(LOAD(blocked) == 1 + extra);
	let_go(extra - n);
	UNTIL(LOAD(done) == extra);
	gs_chan_unref(tell);
	gs_chan_unref(run);
}

/* a fiber queued behind a hog while nobody could be woken for the idle proc */
TEST(queued_while_no_standby)
{
	NEEDS_INTERRUPTS(2, 10000, NULL);
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, pipe(way));
	RUN(tick_main, NULL);
}

#endif

/* ------------------------------------------------------------------------- */
/* libc's own allocator, one arena: who is interrupted in there holds what pthread_create needs. */

static void hammer(void *arg)
{
	while (!LOAD(stop)) {
		void *p = malloc(100000), *q = malloc(3000);

		__asm__ volatile("" : : "r"(p), "r"(q) : "memory");
		free(p);
		free(q);
	}
	ADD(done, 1);
}

static void *rounds(void *arg)
{
	for (int n = 0; n < ut_count(200, 20); n++) {
		UNTIL(LOAD(blocked) >= (n + 1) * BLOCKERS);
		let_go(BLOCKERS);
		UNTIL(LOAD(done) >= (n + 1) * BLOCKERS);
	}
	STORE(stop, 1);
	return NULL;
}

static void arena_main(void *arg)
{
	pthread_t t;
	int n = 0;

	CHECK_EQ(pthread_create(&t, NULL, rounds, NULL), 0);
	for (int i = 0; i < 4; i++)
		gs_go(hammer, NULL);
	while (!LOAD(stop)) {
		if (LOAD(done) >= n * BLOCKERS && n < ut_count(200, 20)) {
			go_block(BLOCKERS);
			n++;
		}
		gs_sleep(MS);
	}
	pthread_join(t, NULL);
	UNTIL(LOAD(done) == n * BLOCKERS + 4);
}

/* threads end and are made anew all the time, while fibers are interrupted in malloc */
TEST(interrupted_in_malloc)
{
	mallopt(M_ARENA_MAX, 1);
	setenv("GSCHED_RETIRE", "1", 1);
	/* the debug kernel has no time for anything else between slices of 100 us */
	NEEDS_INTERRUPTS(1, ut_scale() >= 10 ? 1000 : 100, "travel");
	ASSERT_EQ(0, pipe(pipes));
	RUN(arena_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* No more threads for this user. */

/* Not for ever: where no thread can be had nobody has to be interrupted. */
static void spin(void *arg)
{
	int64_t end = gs_now() + 30 * MS;

	while (gs_now() < end)
		;
	ADD(done, 1);
}

/* All that can be had are blocked, and it was said. Then there may be more. */
static void *at_limit(void *arg)
{
	UNTIL(lseek(2, 0, SEEK_END) > 0);
	CHECK_LT(LOAD(blocked), BLOCKERS);
	let_go(BLOCKERS);
	UNTIL(LOAD(done) == BLOCKERS + 3);
	CHECK_EQ(limit_threads(RLIM_INFINITY), 0);
	STORE(stop, 1);
	UNTIL(LOAD(blocked) == 2 * BLOCKERS);
	let_go(BLOCKERS);
	return NULL;
}

static void limit_main(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, at_limit, NULL), 0);
	CHECK_EQ(limit_threads(1), 0);
	/* hogs among them, and nobody to serve those who wait for these */
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gs_go(spin, NULL), 0);
		go_block(BLOCKERS / 3);
	}
	UNTIL(LOAD(stop));
	go_block(BLOCKERS);
	pthread_join(t, NULL);
	UNTIL(LOAD(done) == 2 * BLOCKERS + 3);
}

static void limited_child(void *arg)
{
	become_nobody();
	ut_set_procs(1);
	setenv("GSCHED_SLICE", "1000", 1);
	_exit(gs_run(limit_main, NULL) ? 10 : ut_failed);
}

/* the user may have no more threads, and later he may */
TEST(limit_of_the_user)
{
	struct ut_child *c;

	if (getuid())
		SKIP(return, "needs root, to become nobody");
	ASSERT_EQ(0, pipe(pipes));
	c = ut_child_run(limited_child, NULL, 60 * SEC);
	if (c->status == 77)
		SKIP(return, "cannot become nobody here");
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_SAYS(c, "cannot make a thread");
}

static void *lift_limit(void *arg)
{
	struct timespec ts = {.tv_nsec = 100 * MS};

	/* the spawner tries, in vain, before and after each look of ours */
	UNTIL(LOAD(stop) && !stats().workers);
	nanosleep(&ts, NULL);
	CHECK_EQ(LOAD(done), 0);
	CHECK_EQ(limit_threads(RLIM_INFINITY), 0);
	return NULL;
}

static void take_thread_along(void *arg)
{
	gs_lock_thread();
	STORE(stop, 1);
}

static void no_worker_main(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, lift_limit, NULL), 0);
	CHECK_EQ(limit_threads(1), 0);
	CHECK_EQ(gs_go(take_thread_along, NULL), 0);
	while (!LOAD(stop))
		gs_yield();
	STORE(done, 1);
	pthread_join(t, NULL);
}

static void no_worker_child(void *arg)
{
	become_nobody();
	ut_set_procs(1);
	setenv("GSCHED_MAXTHREADS", "1", 1);
	_exit(gs_run(no_worker_main, NULL) ? 10 : ut_failed);
}

/* the only thread there may be ends with its fiber, and for a while there is no other */
TEST(limit_without_worker)
{
	struct ut_child *c;

	if (getuid())
		SKIP(return, "needs root, to become nobody");
	c = ut_child_run(no_worker_child, NULL, 30 * SEC);
	if (c->status == 77)
		SKIP(return, "cannot become nobody here");
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
}

/* ------------------------------------------------------------------------- */
/* Interrupted fibers have threads of their own, as many as there may be, and more block. */

static void *at_cap(void *arg)
{
	UNTIL(lseek(2, 0, SEEK_END) > 0);
	let_go(BLOCKERS);
	return NULL;
}

static void cap_main(void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, at_cap, NULL), 0);
	for (int i = 0; i < 6; i++) {
		CHECK_EQ(gs_go(spin, NULL), 0);
		go_block(BLOCKERS / 6);
	}
	UNTIL(LOAD(done) == BLOCKERS + 6);
	CHECK_LE(stats().workers, 7);
	pthread_join(t, NULL);
}

static void capped_child(void *arg)
{
	ut_set_procs(2);
	setenv("GSCHED_MAXTHREADS", "7", 1);
	setenv("GSCHED_SLICE", "1000", 1);
	setenv("GSCHED_TLS", "frozen", 1);
	_exit(gs_run(cap_main, NULL) ? 10 : ut_failed);
}

/* runnable bound fibers at the cap */
TEST(frozen_at_cap)
{
	struct ut_child *c;

	ASSERT_EQ(0, pipe(pipes));
	c = ut_child_run(capped_child, NULL, 60 * SEC);
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_SAYS(c, "GSCHED_MAXTHREADS");
}

/* ------------------------------------------------------------------------- */
/* No stand-by, and none to be had: one fiber computes, another is bound to its thread. */

static gs_chan *wake_up;
static int has_thread, turns; /* atomic */

static void locked(void *arg)
{
	int v;

	gs_lock_thread();
	STORE(has_thread, 1);
	while (gs_chan_recv(wake_up, &v))
		ADD(turns, 1);
}

static void pair_main(void *arg)
{
	wake_up = gs_chan_new(sizeof(int), 1);
	CHECK_EQ(gs_go(locked, NULL), 0);
	UNTIL(LOAD(has_thread));
	for (int i = 0; i < 20; i++) {
		int64_t end = gs_now() + ut_limit(10 * SEC);

		gs_chan_send(wake_up, &i);
		/* gives way to nobody of its own will */
		while (LOAD(turns) <= i && gs_now() < end)
			ut_burn(10000);
		CHECK_EQ(LOAD(turns), i + 1);
	}
	CHECK_EQ(stats().workers, 2);
}

static void pair_child(void *arg)
{
	ut_set_procs(1);
	setenv("GSCHED_MAXTHREADS", "2", 1);
	setenv("GSCHED_SLICE", "1000", 1);
	ut_set_tls(arg);
	_exit(gs_run(pair_main, NULL) ? 10 : ut_failed);
}

static void test_pair(struct __test_metadata *_metadata, const char *tls)
{
	struct ut_child *c = ut_child_run(pair_child, (void *)tls, 60 * SEC);

	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
}

/* the two threads give each other the proc: who is interrupted stays on his */
TEST(exchange_frozen)
{
	NEEDS_INTERRUPTS(1, 1000, "frozen");
	test_pair(_metadata, "frozen");
}

/* the same where fibers travel */
TEST(exchange)
{
	NEEDS_INTERRUPTS(1, 1000, NULL);
	test_pair(_metadata, NULL);
}

/* ------------------------------------------------------------------------- */
/* All threads that there may be wait for a lock; who has it was interrupted, and is queued. */

#define LOCK_CAP 4
#define LOCK_ROUNDS 5
#define LOCKERS 20

static pthread_mutex_t wanted_by_all = PTHREAD_MUTEX_INITIALIZER;
static gs_waitgroup lockers;
static int wanting; /* atomic */

static void lock_it(void *arg)
{
	ADD(wanting, 1);
	pthread_mutex_lock(&wanted_by_all);
	pthread_mutex_unlock(&wanted_by_all);
}

/* Makes sure that he is interrupted with it: the others run by that alone. */
static void hold_it(void *arg)
{
	pthread_mutex_lock(&wanted_by_all);
	for (int i = 0; i < LOCKERS; i++)
		CHECK_EQ(gs_wg_go(&lockers, lock_it, NULL), 0);
	while (LOAD(wanting) < LOCK_CAP - 2)
		;
	/* and is interrupted again, with all of them blocked */
	ut_burn(5 * MS);
	pthread_mutex_unlock(&wanted_by_all);
}

static void cap_lock_main(void *arg)
{
	for (int i = 0; i < LOCK_ROUNDS; i++) {
		STORE(wanting, 0);
		CHECK_EQ(gs_wg_go(&lockers, hold_it, NULL), 0);
		gs_wg_wait(&lockers);
		CHECK_EQ(LOAD(wanting), LOCKERS);
	}
	/* a thread more than there may be, for him, ends */
	UNTIL(stats().workers <= LOCK_CAP);
}

static void lock_child(void *arg)
{
	char cap[16];

	snprintf(cap, sizeof(cap), "%d", LOCK_CAP);
	setenv("GSCHED_MAXTHREADS", cap, 1);
	_exit(gs_run(cap_lock_main, NULL) ? 10 : ut_failed);
}

static void test_lock_at_cap(struct __test_metadata *_metadata, int procs, const char *tls)
{
	struct ut_child *c;

	NEEDS_INTERRUPTS(procs, 1000, tls);
	c = ut_child_run(lock_child, NULL, 60 * SEC);
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	EXPECT_SAYS(c, "GSCHED_MAXTHREADS");
}

/* who was interrupted with the lock gets a thread more */
TEST(lock_at_cap_1)
{
	test_lock_at_cap(_metadata, 1, NULL);
}

/* the same on two procs */
TEST(lock_at_cap_2)
{
	test_lock_at_cap(_metadata, 2, NULL);
}

/* and where he has kept his thread */
TEST(lock_at_cap_frozen)
{
	test_lock_at_cap(_metadata, 1, "frozen");
}

TEST_HARNESS_MAIN
