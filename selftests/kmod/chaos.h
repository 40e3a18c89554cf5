/* SPDX-License-Identifier: GPL-2.0 */
/*
 * No rules: threads that attach, call whatever they like, and end.
 */
#ifndef CHAOS_H
#define CHAOS_H

#include "tramp.h"

#define CHAOS_THREADS 6

static struct {
	struct ktx k;
	bool stop, scribble;
	bool upcalls; /* a trampoline, ticks and kicks */
	uint32_t seed;
	uint64_t calls;
} chaos;

static void chaos_call(uint32_t *seed, volatile struct gsched_slot *slot)
{
	struct ktx *k = &chaos.k;
	struct timespec t = {.tv_nsec = k_rnd(seed) % 100000};
	uint64_t soon = now_ns() + k_rnd(seed) % 1000000;
	unsigned int who = k_rnd(seed) % 10;

	switch (k_rnd(seed) % 13) {
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
	case 12:
		if (chaos.upcalls)
			k_kick(k, who);
		break;
	}
}

static void *chaos_thread(void *unused)
{
	static __thread char area[65536];
	uint32_t seed = __atomic_add_fetch(&chaos.seed, 0x9e3779b9, __ATOMIC_RELAXED) | 1;
	volatile struct gsched_slot *slot;
	int i, n = k_rnd(&seed) % 100;
	long w;

	w = k_attach(&chaos.k);
	if (w < 0)
		return NULL;
	slot = k_slot(&chaos.k, w);
	if (chaos.upcalls && !tramp_prepare(slot, area, sizeof(area)))
		abort();
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

/* Until it is enough. */
static void chaos_run(unsigned int nproc, bool scribble, bool (*enough)(void))
{
	struct gsched_setup setup = k_setup_arg(nproc);
	pthread_t t[CHAOS_THREADS], s;
	int i;

	if (chaos.upcalls) {
		tramp_setup(&setup);
		setup.slice_ns = 100000;
	}
	k_open_setup(&chaos.k, &setup);
	for (i = 0; i < CHAOS_THREADS; i++)
		pthread_create(&t[i], NULL, chaos_main, NULL);
	if (scribble)
		pthread_create(&s, NULL, chaos_scribble, NULL);
	while (!enough()) {
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

#endif /* CHAOS_H */
