// SPDX-License-Identifier: GPL-2.0
/*
 * Storms. A toy runtime that obeys the protocol, with everything at once; calls
 * at random that obey nothing; and the same while the shared area is scribbled
 * over. When the wind drops the counts must be exact and nothing may be lost.
 */
#include "kutil.h"

static void on_signal(int sig) {}

/*
 * The toy runtime. Fibers are only counted: in the queues of the procs (head
 * and tail), in the global queue, and those bound to one of BOUND_WORKERS.
 * A worker that ran a fiber may queue more of them, block, or yield.
 */
#define WORKERS 6
#define BOUND_WORKERS 2
#define ALL_WORKERS (WORKERS + BOUND_WORKERS)
#define QUEUE_MAX 200

static struct toy {
	struct ktx k;
	struct puppet p[ALL_WORKERS];
	uint32_t runs[GSCHED_MAXPROCS]; /* who runs on the proc, or 0 */
	uint32_t bound[ALL_WORKERS];	/* 0 idle, 1 runnable, 2 chosen */
	uint64_t queued, ran;
	uint64_t budget;    /* how many fibers may still be born */
	long twice, errors; /* must stay 0 */
	int first_error;
	bool stop;
} toy;

static void toy_error(int what)
{
	int none = 0;

	__atomic_compare_exchange_n(&toy.first_error, &none, what, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
	__atomic_add_fetch(&toy.errors, 1, __ATOMIC_RELAXED);
}

/* The second half of Enqueue (5), after the queue was stored. */
static void toy_wake(void)
{
	long ret;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!toy.k.h->idle || toy.k.h->spinning)
		return;
	ret = k_unpark(&toy.k, GSCHED_UNPARK_ANY, 0);
	if (ret != 0 && ret != 1 && ret != -EAGAIN)
		toy_error(ret);
}

static bool toy_birth(void)
{
	uint64_t n = __atomic_load_n(&toy.budget, __ATOMIC_RELAXED);

	while (n)
		if (__atomic_compare_exchange_n(&toy.budget, &n, n - 1, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED)) {
			__atomic_add_fetch(&toy.queued, 1, __ATOMIC_RELAXED);
			return true;
		}
	return false;
}

static void toy_enqueue_global(void)
{
	__atomic_add_fetch(&toy.k.h->global_len, 1, __ATOMIC_SEQ_CST);
	toy_wake();
}

static void toy_enqueue(unsigned int proc)
{
	volatile struct gsched_proc *p = &toy.k.p[proc];

	if (p->tail - p->head >= QUEUE_MAX) {
		toy_enqueue_global();
		return;
	}
	__atomic_store_n(&p->tail, p->tail + 1, __ATOMIC_RELEASE);
	toy_wake();
}

static bool toy_take_one(volatile uint32_t *count)
{
	uint32_t n = __atomic_load_n(count, __ATOMIC_RELAXED);

	while (n)
		if (__atomic_compare_exchange_n(count, &n, n - 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

static bool toy_take_from(unsigned int proc)
{
	volatile struct gsched_proc *p = &toy.k.p[proc];
	uint32_t head = __atomic_load_n(&p->head, __ATOMIC_ACQUIRE);

	while (head != __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE))
		if (__atomic_compare_exchange_n(&p->head, &head, head + 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return true;
	return false;
}

static bool toy_find(unsigned int proc)
{
	unsigned int i, n = toy.k.h->procs_used;

	if (toy_take_from(proc) || toy_take_one(&toy.k.h->global_len))
		return true;
	for (i = 1; i < n; i++)
		if (toy_take_from((proc + i) % n))
			return true;
	return false;
}

static void toy_runs_on(struct puppet *p, unsigned int proc)
{
	if (__atomic_exchange_n(&toy.runs[proc], p->w + 1, __ATOMIC_SEQ_CST))
		__atomic_add_fetch(&toy.twice, 1, __ATOMIC_RELAXED);
	if (p->slot->proc != proc + 1 || toy.k.p[proc].owner != p->w + 1u)
		toy_error(1);
}

static void toy_leaves(struct puppet *p, unsigned int proc)
{
	if (__atomic_exchange_n(&toy.runs[proc], 0, __ATOMIC_SEQ_CST) != p->w + 1u)
		__atomic_add_fetch(&toy.twice, 1, __ATOMIC_RELAXED);
}

/* Block without the proc; returns the proc had afterwards, or -EAGAIN. */
static long toy_block(struct puppet *p, unsigned int proc, uint32_t *seed)
{
	struct timespec t = {.tv_nsec = k_rnd(seed) % 200000};
	long ret;

	toy_leaves(p, proc);
	p->slot->depth = 0;
	syscall(SYS_nanosleep, &t, NULL);
	p->slot->depth = 1;
	__atomic_exchange_n(&p->slot->pending, 0, __ATOMIC_SEQ_CST);
	ret = p->slot->proc ? p->slot->proc - 1l : k_acquire(&toy.k);
	if (ret >= 0)
		toy_runs_on(p, ret);
	return ret;
}

/* A runnable bound fiber gets the proc, if there is one. Returns what PARK does. */
static long toy_pass(struct puppet *p, unsigned int proc, uint32_t *seed)
{
	uint32_t runnable = 1;
	long ret;
	int x = WORKERS + k_rnd(seed) % BOUND_WORKERS;

	if (!toy.k.h->bound_runnable ||
	    !__atomic_compare_exchange_n(&toy.bound[x], &runnable, 2, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return -EBUSY;
	__atomic_sub_fetch(&toy.k.h->bound_runnable, 1, __ATOMIC_SEQ_CST);
	toy_leaves(p, proc);
	ret = k_park_to(&toy.k, 0, toy.p[x].w, 0);
	if (ret == -EBUSY || ret == -EAGAIN) {
		/* It has not parked yet, or our proc is one too many: later. */
		toy_runs_on(p, proc);
		__atomic_store_n(&toy.bound[x], 1, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&toy.k.h->bound_runnable, 1, __ATOMIC_SEQ_CST);
		toy_wake();
		return -EBUSY;
	}
	return ret;
}

static long toy_park(struct puppet *p, uint32_t *seed)
{
	uint64_t deadline = k_rnd(seed) % 8 ? 0 : now_ns() + k_rnd(seed) % 2000000;

	return k_park(&toy.k, 0, deadline);
}

static long order_toy(struct puppet *p, long seed_)
{
	uint32_t seed = seed_;
	long got = k_park(&toy.k, 0, 0);
	bool spins;
	unsigned int proc;

	for (;;) {
		while (got == -EINTR || got == -ETIMEDOUT) {
			if (__atomic_load_n(&toy.stop, __ATOMIC_ACQUIRE))
				return 0;
			got = toy_park(p, &seed);
		}
		if (got < 0) {
			toy_error(got);
			return got;
		}
		proc = got & GSCHED_GRANT_PROC;
		spins = got & GSCHED_GRANT_SPIN;
		toy_runs_on(p, proc);

		for (;;) {
			bool found = proc < toy.k.h->nproc && toy_find(proc);

			/* The last spinner that found something wakes the next one. */
			if (spins && !__atomic_sub_fetch(&toy.k.h->spinning, 1, __ATOMIC_SEQ_CST) &&
			    found)
				toy_wake();
			spins = false;
			if (!found)
				break;
			if (toy_birth())
				toy_enqueue(proc);
			if (k_rnd(&seed) % 4 == 0 && toy_birth())
				toy_enqueue(proc);
			if (k_rnd(&seed) % 8 == 0) {
				got = toy_block(p, proc, &seed);
				if (got < 0) {
					/* Another worker goes on with the fiber. */
					toy_enqueue_global();
					goto park;
				}
				proc = got;
			} else if (k_rnd(&seed) % 8 == 0) {
				sched_yield();
			}
			if (k_rnd(&seed) % 8 == 0) {
				uint32_t idle = 0;
				int x = WORKERS + k_rnd(&seed) % BOUND_WORKERS;

				if (__atomic_compare_exchange_n(&toy.bound[x], &idle, 1, false,
								__ATOMIC_SEQ_CST,
								__ATOMIC_SEQ_CST)) {
					__atomic_add_fetch(&toy.queued, 1, __ATOMIC_RELAXED);
					__atomic_add_fetch(&toy.k.h->bound_runnable, 1,
							   __ATOMIC_SEQ_CST);
					toy_wake();
				}
			}
			__atomic_add_fetch(&toy.ran, 1, __ATOMIC_RELAXED);
			got = toy_pass(p, proc, &seed);
			if (got != -EBUSY)
				goto again;
		}
		/* Bound fibers first: they may be all that is left. */
		got = toy_pass(p, proc, &seed);
		if (got != -EBUSY)
			goto again;
		toy_leaves(p, proc);
park:
		if (__atomic_load_n(&toy.stop, __ATOMIC_ACQUIRE))
			return 0;
		got = toy_park(p, &seed);
again:;
	}
}

/* A worker with a fiber of its own. */
static long order_toy_bound(struct puppet *p, long seed_)
{
	uint32_t seed = seed_, i = p - toy.p;
	long got;

	for (;;) {
		got = k_park(&toy.k, GSCHED_PARK_BOUND, 0);
		if (__atomic_load_n(&toy.stop, __ATOMIC_ACQUIRE))
			return 0;
		if (got == -EINTR)
			continue;
		if (got < 0 || toy.bound[i] != 2) {
			toy_error(got);
			return got;
		}
		toy_runs_on(p, got);
		if (k_rnd(&seed) % 2)
			got = toy_block(p, got, &seed);
		__atomic_add_fetch(&toy.ran, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&toy.bound[i], 0, __ATOMIC_SEQ_CST);
		if (got >= 0)
			toy_leaves(p, got);
	}
}

FIXTURE(toy){};

FIXTURE_VARIANT(toy)
{
	unsigned int nproc;
	bool resize;
};

FIXTURE_VARIANT_ADD(toy, procs_1){.nproc = 1};
FIXTURE_VARIANT_ADD(toy, procs_2){.nproc = 2};
FIXTURE_VARIANT_ADD(toy, procs_4){.nproc = 4};
FIXTURE_VARIANT_ADD(toy, procs_vary){.nproc = 4, .resize = true};

FIXTURE_SETUP(toy) {}

FIXTURE_TEARDOWN(toy) {}

/* Nothing has run for a while though something is queued. */
static bool toy_stuck(uint64_t *seen, uint64_t *since)
{
	uint64_t ran = __atomic_load_n(&toy.ran, __ATOMIC_RELAXED);

	if (ran != *seen) {
		*seen = ran;
		*since = now_ns();
	}
	return now_ns() - *since > wait_ns();
}

/* Every fiber runs, no proc is owned twice, and all is exact in the end. */
TEST_F(toy, obeys)
{
	struct ktx *k = &toy.k;
	uint64_t seen = 0, since = now_ns(), end = now_ns() + NS_PER_S * 3 / 2, sum = 0;
	uint32_t seed = 12345;
	unsigned int i;
	bool stuck = false;

	signal(SIGUSR1, on_signal);
	k_open(k, variant->nproc);
	k->h->reserve = 1;
	for (i = 0; i < ALL_WORKERS; i++)
		puppet_new(&toy.p[i], k);
	for (i = 0; i < ALL_WORKERS; i++)
		puppet_start(&toy.p[i], i < WORKERS ? order_toy : order_toy_bound, 77 + i);

	/* We are the outside world: fibers, signals, more and fewer procs. */
	while (now_ns() < end && !stuck) {
		__atomic_store_n(&toy.budget, k_rnd(&seed) % 20, __ATOMIC_RELAXED);
		__atomic_add_fetch(&toy.queued, 1, __ATOMIC_RELAXED);
		toy_enqueue_global();
		if (k_rnd(&seed) % 4 == 0)
			pthread_kill(toy.p[k_rnd(&seed) % ALL_WORKERS].thread, SIGUSR1);
		if (variant->resize && k_rnd(&seed) % 4 == 0)
			EXPECT_LT(0, k_set_procs(k, 1 + k_rnd(&seed) % variant->nproc));
		/* Let it come to rest now and then: that is where wake-ups get lost. */
		if (k_rnd(&seed) % 4)
			while (toy.ran != toy.queued && !toy.errors &&
			       !(stuck = toy_stuck(&seen, &since)))
				sched_yield();
	}
	toy.budget = 0;
	while (toy.ran != toy.queued && !toy.errors && !(stuck = toy_stuck(&seen, &since)))
		usleep(200);
	EXPECT_FALSE(stuck)
	{
		TH_LOG("stuck: idle %u standby %u spinning %u global %u bound %u reserve %u",
		       k->h->idle, k->h->standby, k->h->spinning, k->h->global_len,
		       k->h->bound_runnable, k->h->reserve);
	}
	EXPECT_EQ(toy.queued, toy.ran);
	EXPECT_EQ(0, toy.twice);
	EXPECT_EQ(0, toy.errors)
	{
		TH_LOG("first error %d", toy.first_error);
	}
	if (toy.errors || stuck)
		_exit(1);

	EXPECT_LT(0, k_set_procs(k, variant->nproc));
	EXPECT_TRUE(until(k->h->standby == WORKERS && k_idle_exact(k, variant->nproc)));
	EXPECT_EQ(0, k->h->spinning);
	EXPECT_EQ(0, k->h->bound_runnable);
	for (i = 0; i < ALL_WORKERS; i++) {
		EXPECT_EQ(0, toy.p[i].slot->proc);
		sum += toy.p[i].slot->blocks;
	}
	EXPECT_EQ(sum, k_fdinfo(k, "blocks"));
	__atomic_store_n(&toy.stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < ALL_WORKERS; i++) {
		while (!puppet_done(&toy.p[i])) {
			pthread_kill(toy.p[i].thread, SIGUSR1);
			usleep(200);
		}
		puppet_end(&toy.p[i]);
	}
	EXPECT_TRUE(until(k->h->workers == 0));
	EXPECT_TRUE(k_idle_exact(k, variant->nproc));
	TH_LOG("%lu fibers, %lu blocks, %ld hand-offs, %ld lost, %ld grants", (long)toy.ran, sum,
	       k_fdinfo(k, "handoffs"), k_fdinfo(k, "lost"), k_fdinfo(k, "grants"));
}

/*
 * No rules: threads that attach, call whatever they like, and end.
 */
#define CHAOS_THREADS 6

static struct {
	struct ktx k;
	bool stop, scribble;
	uint32_t seed;
	uint64_t calls;
} chaos;

static void chaos_call(uint32_t *seed, volatile struct gsched_slot *slot)
{
	struct ktx *k = &chaos.k;
	struct timespec t = {.tv_nsec = k_rnd(seed) % 100000};
	uint64_t soon = now_ns() + k_rnd(seed) % 1000000;
	unsigned int who = k_rnd(seed) % 10;

	switch (k_rnd(seed) % 12) {
	case 0:
	case 1:
		k_park(k, 0, soon);
		break;
	case 2:
		k_park(k, GSCHED_PARK_BOUND, soon);
		break;
	case 3:
		k_park_to(k, k_rnd(seed) % 2, who, soon);
		break;
	case 4:
		k_unpark(k, GSCHED_UNPARK_ANY, 0);
		break;
	case 5:
		k_unpark(k, GSCHED_UNPARK_PROC, who);
		break;
	case 6:
		k_unpark(k, GSCHED_UNPARK_WORKER, who);
		break;
	case 7:
	case 8:
		k_acquire(k);
		break;
	case 9:
		slot->depth = k_rnd(seed) % 2;
		syscall(SYS_nanosleep, &t, NULL);
		break;
	case 10:
		sched_yield();
		break;
	case 11:
		if (k_rnd(seed) % 8 == 0)
			k_set_procs(k, 1 + k_rnd(seed) % 6);
		break;
	}
}

static void *chaos_thread(void *unused)
{
	uint32_t seed = __atomic_add_fetch(&chaos.seed, 0x9e3779b9, __ATOMIC_RELAXED) | 1;
	volatile struct gsched_slot *slot;
	int i, n = k_rnd(&seed) % 100;
	long w;

	w = k_attach(&chaos.k);
	if (w < 0)
		return NULL;
	slot = k_slot(&chaos.k, w);
	for (i = 0; i < n; i++)
		chaos_call(&seed, slot);
	__atomic_add_fetch(&chaos.calls, n, __ATOMIC_RELAXED);
	if (k_rnd(&seed) % 2)
		k_detach(&chaos.k);
	return NULL;
}

/* One thread after the other. */
static void *chaos_main(void *unused)
{
	pthread_t t;

	while (!__atomic_load_n(&chaos.stop, __ATOMIC_ACQUIRE)) {
		if (pthread_create(&t, NULL, chaos_thread, NULL))
			abort();
		pthread_join(t, NULL);
	}
	return NULL;
}

static void *chaos_scribble(void *unused)
{
	volatile uint32_t *word;
	uint32_t seed = 4711;

	while (!__atomic_load_n(&chaos.stop, __ATOMIC_ACQUIRE)) {
		unsigned int where = k_rnd(&seed);

		/* Mostly where the kernel looks: header, first procs, first slots. */
		if (where % 4 == 0 && chaos.k.chunk[0])
			word = (void *)((char *)chaos.k.chunk[0] + k_rnd(&seed) % 2048 / 4 * 4);
		else if (where % 4 == 1)
			word = (void *)((char *)chaos.k.p + k_rnd(&seed) % 1024 / 4 * 4);
		else
			word = (void *)((char *)chaos.k.h + k_rnd(&seed) % 320 / 4 * 4);
		*word = k_rnd(&seed) % 2 ? k_rnd(&seed) : k_rnd(&seed) % 3 - 1;
		if (where % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* What the kernel itself holds true, whatever the shared area says. */
static bool truth_holds(struct ktx *k)
{
	return k_fdinfo(k, "workers") == 0 && k_fdinfo(k, "standby") == 0 &&
	       k_fdinfo(k, "idle") == k_fdinfo(k, "nproc");
}

static void chaos_run(unsigned int nproc, bool scribble, uint64_t ns)
{
	pthread_t t[CHAOS_THREADS], s;
	uint64_t end = now_ns() + ns;
	int i;

	k_open(&chaos.k, nproc);
	for (i = 0; i < CHAOS_THREADS; i++)
		pthread_create(&t[i], NULL, chaos_main, NULL);
	if (scribble)
		pthread_create(&s, NULL, chaos_scribble, NULL);
	while (now_ns() < end) {
		if (scribble)
			k_fdinfo(&chaos.k, "idle");
		else if (k_rnd(&chaos.seed) % 2)
			k_queue(&chaos.k, k_rnd(&chaos.seed) % nproc, 1);
		else
			k_drain(&chaos.k, k_rnd(&chaos.seed) % nproc);
		usleep(500);
	}
	__atomic_store_n(&chaos.stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < CHAOS_THREADS; i++)
		pthread_join(t[i], NULL);
	if (scribble)
		pthread_join(s, NULL);
}

/* Calls at random, threads that come and go: the counts are exact afterwards. */
TEST(random_calls)
{
	unsigned int p, n;

	chaos.seed = 99;
	chaos_run(4, false, NS_PER_S * 3 / 2);
	EXPECT_TRUE(until(truth_holds(&chaos.k)));
	n = k_set_procs(&chaos.k, 3);
	EXPECT_TRUE(n >= 1 && n <= 6);
	EXPECT_TRUE(k_idle_exact(&chaos.k, 3));
	EXPECT_EQ(0, chaos.k.h->standby);
	EXPECT_EQ(0, chaos.k.h->workers);
	for (p = 3; p < GSCHED_MAXPROCS; p++)
		EXPECT_EQ(GSCHED_RETIRED, chaos.k.p[p].owner);
	TH_LOG("%lu calls", (long)chaos.calls);
}

/* The same while the shared area is scribbled over: the kernel's truth holds. */
TEST(scribbled)
{
	chaos.seed = 7;
	chaos_run(3, true, NS_PER_S * 3 / 2);
	EXPECT_TRUE(until(truth_holds(&chaos.k)));
	TH_LOG("%lu calls", (long)chaos.calls);
}

/* ... and the process is killed in the middle of it. */
TEST(scribbled_and_killed)
{
	int status;
	pid_t child;

	child = fork();
	if (!child) {
		chaos.seed = 21;
		/* until it is killed, however late we look */
		chaos_run(2, true, 3600 * NS_PER_S);
		_exit(0);
	}
	EXPECT_TRUE(until(k_stat("workers") > 2));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0));
}

TEST_HARNESS_MAIN
