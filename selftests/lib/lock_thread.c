// SPDX-License-Identifier: GPL-2.0
/* Fibers locked to their threads, and threads that end. */
#include <dirent.h>
#include <gsched.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "util.h"

static pid_t __attribute__((noinline)) tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static bool thread_is_gone(pid_t t)
{
	return syscall(SYS_tgkill, getpid(), t, 0) != 0;
}

static int stop, others, started; /* atomic */

static void churn(void *arg)
{
	ADD(started, 1);
	while (!LOAD(stop)) {
		ADD(others, 1);
		gs_yield();
	}
	ADD(started, -1);
}

static void reset(void)
{
	STORE(stop, 0);
	STORE(others, 0);
	STORE(started, 0);
}

/* ------------------------------------------------------------------------- */

struct stay {
	gs_chan_of(int) c;
	long rounds;
	int done; /* atomic */
};

static __thread long mine;

static void stays(void *arg)
{
	struct stay *s = arg;
	pid_t t;
	int v;

	gs_lock_thread();
	t = tid();
	mine = t;
	for (long i = 0; i < s->rounds; i++) {
		switch (i % 5) {
		case 0:
			gs_yield();
			break;
		case 1:
			gs_sleep(20000);
			break;
		case 2:
			gs_select(GS_RECV(s->c, &v), GS_AFTER(20000));
			break;
		case 3:
			usleep(20);
			break;
		case 4:
			gs_send(s->c, 1);
			break;
		}
		if (!CHECK_EQ(tid(), t) || !CHECK_EQ(mine, t))
			break;
	}
	gs_unlock_thread();
	ADD(s->done, 1);
}

static void drain(void *arg)
{
	gs_range(v, (gs_recv_only(int))arg)
		ADD(others, v);
}

static void stay_main(void *arg)
{
	struct stay s = {.c = gs_make(int, 1), .rounds = ut_count(400, 50)};

	reset();
	for (int i = 0; i < 3; i++)
		gs_go(churn, NULL);
	gs_go(drain, gs_as_recv(s.c));
	for (int i = 0; i < 4; i++)
		gs_go(stays, &s);
	UNTIL(LOAD(s.done) == 4);
	gs_close(s.c);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_free(s.c);
}

/* a locked fiber is on its thread after every kind of wait; its thread_locals stay */
TEST(stays_on_thread)
{
	ut_set_procs(2);
	RUN(stay_main, NULL);
}

/* the same with more locked fibers than procs */
TEST(stays_one_proc)
{
	ut_set_procs(1);
	RUN(stay_main, NULL);
}

/* ------------------------------------------------------------------------- */

static pid_t locked_tid; /* atomic */

static void intrude(void *arg)
{
	for (int i = 0; i < 200 && !LOAD(stop); i++) {
		if (!CHECK_NE(tid(), LOAD(locked_tid)))
			break;
		gs_yield();
	}
	ADD(others, 1);
}

static void alone_main(void *arg)
{
	reset();
	gs_lock_thread();
	STORE(locked_tid, tid());
	for (int i = 0; i < 20; i++)
		gs_go(intrude, NULL);
	UNTIL(LOAD(others) == 20);
	CHECK_EQ(tid(), LOAD(locked_tid));
	gs_unlock_thread();
}

/* no other fiber runs on a locked fiber's thread; those it starts are not locked */
TEST(alone_on_its_thread)
{
	ut_set_procs(2);
	RUN(alone_main, NULL);
}

/* ------------------------------------------------------------------------- */

static void progress_main(void *arg)
{
	int seen;

	reset();
	gs_lock_thread();
	gs_go(churn, NULL);
	UNTIL(LOAD(started) == 1);
	for (int i = 0; i < 20; i++) {
		seen = LOAD(others);
		UNTIL(LOAD(others) > seen);
	}
	STORE(stop, 1);
	UNTIL(LOAD(started) == 0);
	gs_unlock_thread();
}

/* a locked fiber that yields in a loop lets another run, and is let (yield progress) */
TEST(yield_progress)
{
	ut_set_procs(1);
	RUN(progress_main, NULL);
}

static void pong(void *arg)
{
	gs_chan_of(int) *c = arg;

	gs_lock_thread();
	gs_range(v, c[0])
		gs_send(c[1], v + 1);
	gs_close(c[1]);
}

/* How often the third one had its turn in 200 turns of theirs. */
static int turns_beside_pair(void)
{
	gs_chan_of(int) c[2] = {gs_make(int, 0), gs_make(int, 0)};
	int before = 0, v = 0;

	reset();
	gs_go(pong, c);
	gs_go(churn, NULL);
	gs_lock_thread();
	for (int i = 0; i < 200; i++) {
		gs_send(c[0], v);
		gs_recv(c[1], &v);
		if (i == 100)
			before = LOAD(others);
	}
	CHECK_EQ(v, 200);
	before = LOAD(others) - before;
	STORE(stop, 1);
	gs_close(c[0]);
	CHECK(!gs_recv(c[1], NULL));
	UNTIL(gs_num_fibers() == 1);
	gs_unlock_thread();
	gs_free(c[0]);
	gs_free(c[1]);
	return before;
}

static void fair_main(void *arg)
{
	/* it had a fair share, unless its thread was blocked meanwhile */
	UNTIL(turns_beside_pair() >= 20);
}

/* two locked fibers that hand the only proc to each other do not keep it from a third */
TEST(pair_is_fair)
{
	ut_set_procs(1);
	RUN(fair_main, NULL);
}

/* ------------------------------------------------------------------------- */

static void nest_main(void *arg)
{
	pid_t t;

	reset();
	gs_unlock_thread(); /* not locked: nothing */
	gs_lock_thread();
	t = tid();
	gs_lock_thread();
	gs_lock_thread();
	gs_unlock_thread();
	gs_unlock_thread();
	for (int i = 0; i < 2; i++)
		gs_go(churn, NULL);
	for (int i = 0; i < 50; i++) {
		gs_sleep(10000);
		CHECK_EQ(tid(), t);
	}
	gs_unlock_thread();
	gs_unlock_thread();
	/* free again: some wait takes it elsewhere, or its thread runs others */
	STORE(locked_tid, t);
	UNTIL(({
		gs_sleep(10000);
		tid() != t;
	}));
	STORE(stop, 1);
	UNTIL(LOAD(started) == 0);
}

/* calls nest: locked until as many unlocks as locks, and then not any more */
TEST(nests)
{
	ut_set_procs(2);
	RUN(nest_main, NULL);
}

/* ------------------------------------------------------------------------- */

static void ends_locked(void *arg)
{
	gs_lock_thread();
	STORE(locked_tid, tid());
	if (arg)
		gs_exit();
}

static void ends_unlocked(void *arg)
{
	gs_lock_thread();
	gs_unlock_thread();
	STORE(locked_tid, tid());
}

static void exit_main(void *arg)
{
	long n = ut_count(60, 10);
	struct gs_stats s, t;

	for (long i = 0; i < n; i++) {
		STORE(locked_tid, 0);
		gs_go(ends_locked, i % 2 ? arg : NULL);
		UNTIL(LOAD(locked_tid) != 0);
		UNTIL(thread_is_gone(LOAD(locked_tid)));
	}
	/*
	 * They are not counted any more; what they had counted is. Others were made for those
	 * that blocked, and end when they have waited for a while.
	 */
	UNTIL(({
		gs_stats(&s);
		s.workers <= 16;
	}));
	STORE(locked_tid, 0);
	gs_go(ends_unlocked, NULL);
	UNTIL(LOAD(locked_tid) != 0);
	UNTIL(gs_num_fibers() == 1);
	CHECK(!thread_is_gone(LOAD(locked_tid)));
	gs_stats(&t);
	CHECK_GE(t.grants, s.grants);
	CHECK_GE(t.switches, (uint64_t)n);
}

/* a fiber that ends locked, by return or gs_exit, ends its thread; unlocked it does not */
TEST(exit_ends_thread)
{
	ut_set_procs(2);
	RUN(exit_main, (void *)1);
}

static void main_ends_locked(void *arg)
{
	gs_lock_thread();
	STORE(locked_tid, tid());
}

/* gs_run returns though its fiber's thread ends, and runs again */
TEST(main_thread_ends)
{
	ut_set_procs(1);
	for (int i = 0; i < 5; i++) {
		RUN(main_ends_locked, NULL);
		ASSERT_NE(tid(), LOAD(locked_tid));
		ASSERT_TRUE(UNTIL(thread_is_gone(LOAD(locked_tid))));
	}
}

/* ------------------------------------------------------------------------- */

static void hog(void *arg)
{
	pid_t t;

	gs_lock_thread();
	t = tid();
	ADD(started, 1);
	while (!LOAD(stop)) {
		ut_burn(100000);
		if (!CHECK_EQ(tid(), t))
			break;
	}
	ADD(started, -1);
	gs_unlock_thread();
}

static void hog_main(void *arg)
{
	int seen;

	reset();
	gs_lock_thread();
	for (int i = 0; i < 3; i++)
		gs_go(hog, NULL);
	UNTIL(LOAD(started) == 3);
	gs_go(churn, NULL);
	seen = LOAD(others);
	UNTIL(LOAD(others) > seen + 2);
	STORE(stop, 1);
	UNTIL(LOAD(started) == 0);
}

/* locked fibers that compute are interrupted like others, and go on where they were */
TEST(preempted)
{
	ut_set_procs(1);
	if (!ut_on_kmod())
		SKIP(return, "no preemption here");
	RUN(hog_main, NULL);
}

/* ------------------------------------------------------------------------- */

static void *thread_calls(void *arg)
{
	gs_lock_thread();
	gs_unlock_thread();
	gs_unlock_thread();
	return NULL;
}

static void wait_for_nothing(void *arg)
{
	gs_lock_thread();
	gs_recv((gs_chan_of(int))NULL, NULL);
}

static void run_deadlock(void *arg)
{
	gs_run(wait_for_nothing, NULL);
}

/* a locked fiber that waits for ever is a deadlock as any; on a thread the calls are nothing */
TEST(deadlock)
{
	struct ut_child *c;
	pthread_t t;

	ut_set_procs(2);
	c = ut_child_run(run_deadlock, NULL, 60 * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "all goroutines are asleep - deadlock!");
	EXPECT_SAYS(c, "[chan receive (nil chan), locked to thread]: main");
	free(c);
	ASSERT_EQ(0, pthread_create(&t, NULL, thread_calls, NULL));
	ASSERT_EQ(0, pthread_join(t, NULL));
}

/* ------------------------------------------------------------------------- */

#define HOPS 2000

/*
 * On one CPU a hop takes the CPU time it costs, or more if other processes want the CPU,
 * too: so CPU time is what is compared.
 */
static int64_t cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

static uint32_t word; /* atomic, futex */

static void futex_to(uint32_t from, uint32_t to)
{
	uint32_t v;

	while ((v = __atomic_load_n(&word, __ATOMIC_ACQUIRE)) != from)
		syscall(SYS_futex, &word, 128, v, NULL, NULL, 0); /* FUTEX_WAIT_PRIVATE */
	__atomic_store_n(&word, to, __ATOMIC_RELEASE);
	syscall(SYS_futex, &word, 129, 1, NULL, NULL, 0);
}

static void *futex_peer(void *arg)
{
	for (int i = 0; i < HOPS; i++)
		futex_to(1, 0);
	return NULL;
}

static int64_t futex_hop(void)
{
	pthread_t t;
	int64_t begin;

	pthread_create(&t, NULL, futex_peer, NULL);
	begin = cpu_now();
	for (int i = 0; i < HOPS; i++)
		futex_to(0, 1);
	pthread_join(t, NULL);
	return (cpu_now() - begin) / (2 * HOPS);
}

static void hop_main(void *arg)
{
	gs_chan_of(int) c[2] = {gs_make(int, 0), gs_make(int, 0)};
	int64_t begin, *best = arg;
	int v = 0;

	gs_lock_thread();
	gs_go(pong, c);
	begin = cpu_now();
	for (int i = 0; i < HOPS; i++) {
		gs_send(c[0], v);
		gs_recv(c[1], &v);
	}
	begin = (cpu_now() - begin) / (2 * HOPS);
	if (begin < *best)
		*best = begin;
	gs_close(c[0]);
	gs_recv(c[1], NULL);
	gs_unlock_thread();
	gs_free(c[0]);
	gs_free(c[1]);
}

/* a hand-over between two locked fibers costs at most twice that of a futex, on one CPU */
TEST(cost_of_a_hop)
{
	/* in an emulated machine three: it has its own prices */
	const int64_t times = ut_scale() > 1 ? 3 : 2;
	int64_t hop = INT64_MAX, locked = INT64_MAX, end, ns;
	cpu_set_t set;
	int cpu;

	ut_set_procs(1);
	CPU_ZERO(&set);
	cpu = sched_getcpu();
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
	/* of several tries the best; with a sanitizer they are not compared */
#if defined(UT_TSAN) || defined(UT_ASAN)
	end = gs_now();
#else
	end = gs_now() + ut_limit(UT_WAIT * SEC);
#endif
	for (int i = 0; i < 3 || (locked > times * hop && gs_now() < end); i++) {
		ns = futex_hop();
		hop = ns < hop ? ns : hop;
		RUN(hop_main, &locked);
	}
	TH_LOG("futex hop %lld ns, locked hand-over %lld ns", (long long)hop, (long long)locked);
#if !defined(UT_TSAN) && !defined(UT_ASAN)
	EXPECT_LE(locked, times * hop);
#endif
}

/* ------------------------------------------------------------------------- */

static int blocked; /* atomic */

static void blocks(void *arg)
{
	char c;

	ADD(blocked, 1);
	gs_blocking_begin();
	CHECK_EQ(read(*(int *)arg, &c, 1), 1);
	gs_blocking_end();
	ADD(blocked, -1);
}

/* the process's threads; how many */
static int threads(pid_t *tids, int most)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;
	int n = 0;

	while (dir && (e = readdir(dir)) && n < most)
		if (e->d_name[0] != '.')
			tids[n++] = atoi(e->d_name);
	closedir(dir);
	return n;
}

/* does no thread end for that long? */
static bool none_ended(int64_t ns)
{
	pid_t before[64];
	int n = threads(before, 64);

	gs_sleep(ns);
	for (int i = 0; i < n; i++)
		if (thread_is_gone(before[i]))
			return false;
	return true;
}

static uint32_t workers(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.workers;
}

static void retire_main(void *arg)
{
	const int n = 12;
	int p[2];

	CHECK_EQ(0, pipe(p));
	for (int i = 0; i < n; i++)
		gs_go(blocks, &p[0]);
	UNTIL(LOAD(blocked) == n && workers() >= (uint32_t)n);
	CHECK_EQ(n, write(p[1], "123456789012", n));
	UNTIL(LOAD(blocked) == 0);
	/* the one that runs this, two stand-bys, with the module one in reserve */
	UNTIL(({
		gs_sleep(5 * MS);
		workers() <= 4;
	}));
	/* and never the last ones: then the same threads are there after many times that */
	UNTIL(none_ended(300 * MS));
	UNTIL(workers() >= 3);
	/* new ones are made when they are wanted again */
	for (int i = 0; i < n; i++)
		gs_go(blocks, &p[0]);
	UNTIL(LOAD(blocked) == n);
	CHECK_EQ(n, write(p[1], "123456789012", n));
	UNTIL(LOAD(blocked) == 0);
	close(p[0]);
	close(p[1]);
}

/* stand-bys without work end after a while, but not the last ones */
TEST(idle_workers_retire)
{
	ut_set_procs(1);
	setenv("GSCHED_RETIRE", "30", 1);
	RUN(retire_main, NULL);
}

TEST_HARNESS_MAIN
