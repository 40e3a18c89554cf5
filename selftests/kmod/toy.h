/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A toy runtime that obeys the protocol. Fibers are only counted: in the queues of the
 * procs (head and tail), in the global queue, and those bound to one of BOUND_WORKERS.
 * A worker that ran a fiber may queue more of them, block, compute, or yield.
 */
#ifndef TOY_H
#define TOY_H

#include "tramp.h"

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
	long upcalls;
	bool hogs; /* some fibers compute until they are interrupted */
	bool stop;
} toy;

static void toy_signal(int sig) {}

/* A fiber is interrupted, and goes on: toy_away() looks what it has left. */
void on_upcall(struct frame *f)
{
	__atomic_add_fetch(&toy.upcalls, 1, __ATOMIC_RELAXED);
}

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
	if (!toy.k.h->ticking)
		k_tick(&toy.k);
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

static void __attribute__((noinline)) toy_spin(unsigned long ns)
{
	uint64_t end = now_ns() + ns;

	while (now_ns() < end)
		;
}

/* Compute until that is over: somebody waits for the proc, so the tick must run. */
static void __attribute__((noinline)) toy_hog(struct puppet *p, unsigned int proc)
{
	volatile struct gsched_proc *q = &toy.k.p[proc];
	uint64_t before = p->slot->upcalls;

	while (p->slot->upcalls == before &&
	       (q->head != q->tail || toy.k.h->global_len || toy.k.h->bound_runnable))
		;
}

/* Leave the runtime, block or compute; returns the proc had afterwards, or -EAGAIN. */
static long toy_away(struct puppet *p, unsigned int proc, uint32_t *seed)
{
	struct timespec t = {.tv_nsec = k_rnd(seed) % 200000};
	unsigned int what = k_rnd(seed) % (toy.hogs ? 3 : 2);
	long ret;

	toy_leaves(p, proc);
	p->slot->depth = 0;
	if (what == 0)
		syscall(SYS_nanosleep, &t, NULL);
	else if (what == 1)
		toy_spin(t.tv_nsec);
	else
		toy_hog(p, proc);
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
				got = toy_away(p, proc, &seed);
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
			__atomic_add_fetch(&p->k->p[proc].tick, 1, __ATOMIC_RELAXED);
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
			got = toy_away(p, got, &seed);
		__atomic_add_fetch(&toy.ran, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&toy.bound[i], 0, __ATOMIC_SEQ_CST);
		if (got >= 0)
			toy_leaves(p, got);
	}
}

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

/* How it is to be. */
struct toy_plan {
	unsigned int nproc;
	bool resize;	      /* more and fewer procs */
	bool upcalls;	      /* a trampoline, ticks and kicks; threads are moved about */
	bool (*enough)(void); /* asked now and then */
};

/*
 * Signals have a stack of their own: a handler that came in the trampoline's tail, on its area
 * and with the depth at 0, must not get an upcall, which would use that area.
 */
static long order_toy_upcalls(struct puppet *p, long unused)
{
	size_t size = 65536;
	char *area = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	stack_t ss = {.ss_sp = area + size, .ss_size = size};

	return area == MAP_FAILED || sigaltstack(&ss, NULL) || !tramp_prepare(p->slot, area, size);
}

static bool toy_open(const struct toy_plan *plan)
{
	struct gsched_setup setup = k_setup_arg(plan->nproc);
	struct sigaction sa = {.sa_handler = toy_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
	unsigned int i;

	if (plan->upcalls) {
		tramp_setup(&setup);
		setup.slice_ns = 100000;
		toy.hogs = true;
	}
	sigaction(SIGUSR1, &sa, NULL);
	k_open_setup(&toy.k, &setup);
	toy.k.h->reserve = 1;
	for (i = 0; i < ALL_WORKERS; i++) {
		puppet_new(&toy.p[i], &toy.k);
		if (plan->upcalls && puppet_run(&toy.p[i], order_toy_upcalls, 0))
			return false;
	}
	return true;
}

/* To another processor with one of its threads, and a proc's fiber is interrupted. */
static void toy_disturb(const struct toy_plan *plan, uint32_t *seed)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(k_rnd(seed) % cpus, &set);
	CPU_SET(k_rnd(seed) % cpus, &set);
	if (k_rnd(seed) % 4 == 0 &&
	    sched_setaffinity(toy.p[k_rnd(seed) % ALL_WORKERS].tid, sizeof(set), &set))
		toy_error(2);
	if (k_kick(&toy.k, k_rnd(seed) % plan->nproc))
		toy_error(3);
}

/* All there is to see of it. */
static void toy_show(void)
{
	struct ktx *k = &toy.k;
	char line[128];
	unsigned int i;
	FILE *f;

	fprintf(stderr,
		"# nproc %u idle %u standby %u spinning %u global %u bound %u reserve %u ticking %u\n",
		k->h->nproc, k->h->idle, k->h->standby, k->h->spinning, k->h->global_len,
		k->h->bound_runnable, k->h->reserve, k->h->ticking);
	for (i = 0; i < k->h->procs_used; i++)
		fprintf(stderr, "# proc %u: owner %u head %u tail %u tick %u\n", i, k->p[i].owner,
			k->p[i].head, k->p[i].tail, k->p[i].tick);
	for (i = 0; i < ALL_WORKERS; i++)
		fprintf(stderr,
			"# worker %d: depth %u proc %u pending %x upcalls %lu refusals %lu\n",
			toy.p[i].w, toy.p[i].slot->depth, toy.p[i].slot->proc,
			toy.p[i].slot->pending, (long)toy.p[i].slot->upcalls,
			(long)toy.p[i].slot->refusals);
	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", k->fd);
	f = fopen(line, "r");
	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "# %s", line);
	if (f)
		fclose(f);
}

/*
 * Fibers, signals, more and fewer procs, until it is enough; then it comes to rest, and
 * everything must be exact. NULL, or what is wrong.
 */
static const char *toy_run(const struct toy_plan *plan)
{
	struct ktx *k = &toy.k;
	uint64_t seen = 0, since = now_ns(), sum = 0;
	uint32_t seed = 12345;
	unsigned int i;
	bool stuck = false;

	if (!toy_open(plan))
		return "no workers";
	for (i = 0; i < ALL_WORKERS; i++)
		puppet_start(&toy.p[i], i < WORKERS ? order_toy : order_toy_bound, 77 + i);

	while (!plan->enough() && !stuck) {
		__atomic_store_n(&toy.budget, k_rnd(&seed) % 20, __ATOMIC_RELAXED);
		__atomic_add_fetch(&toy.queued, 1, __ATOMIC_RELAXED);
		toy_enqueue_global();
		if (k_rnd(&seed) % 4 == 0)
			pthread_kill(toy.p[k_rnd(&seed) % ALL_WORKERS].thread, SIGUSR1);
		if (plan->upcalls)
			toy_disturb(plan, &seed);
		if (plan->resize && k_rnd(&seed) % 4 == 0 &&
		    k_set_procs(k, 1 + k_rnd(&seed) % plan->nproc) <= 0)
			toy_error(4);
		/* Let it come to rest now and then: that is where wake-ups get lost. */
		if (k_rnd(&seed) % 4)
			while (toy.ran != toy.queued && !toy.errors &&
			       !(stuck = toy_stuck(&seen, &since)))
				sched_yield();
	}
	toy.budget = 0;
	while (toy.ran != toy.queued && !toy.errors && !(stuck = toy_stuck(&seen, &since)))
		usleep(200);
	if (stuck) {
		toy_show();
		return "a fiber is queued and nobody runs it";
	}
	if (toy.errors) {
		fprintf(stderr, "# %ld errors, the first one %d\n", toy.errors, toy.first_error);
		return "a call went wrong";
	}
	if (toy.twice)
		return "a proc in two hands";

	if (k_set_procs(k, plan->nproc) <= 0 ||
	    !until(k->h->standby == WORKERS && k_idle_exact(k, plan->nproc)))
		return "not all procs come to rest";
	if (k->h->spinning || k->h->bound_runnable)
		return "somebody spins, or is bound and runnable";
	for (i = 0; i < ALL_WORKERS; i++) {
		if (toy.p[i].slot->proc)
			return "a worker still has a proc";
		sum += toy.p[i].slot->blocks;
	}
	if (sum != (uint64_t)k_fdinfo(k, "blocks"))
		return "blocks counted differently";
	__atomic_store_n(&toy.stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < ALL_WORKERS; i++) {
		while (!puppet_done(&toy.p[i])) {
			pthread_kill(toy.p[i].thread, SIGUSR1);
			usleep(200);
		}
		puppet_end(&toy.p[i]);
	}
	if (!until(k->h->workers == 0) || !k_idle_exact(k, plan->nproc))
		return "a worker or a proc is left";
	return NULL;
}

#endif /* TOY_H */
