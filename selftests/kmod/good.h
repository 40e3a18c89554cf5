/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A well-behaved program, that others are let loose on or beside. Two workers have one
 * proc: the one that has it wakes the other out of read(2), waits until that one has found
 * no proc and is a stand-by, and blocks. So each block is a hand-off, each return is lost,
 * and whatever happens to the threads meanwhile, the counts are exact.
 */
#ifndef GOOD_H
#define GOOD_H

#include <sys/prctl.h>
#include "kutil.h"

static struct {
	struct ktx k;
	struct puppet p[2];
	int pipe[2][2];
	long rounds;  /* the last one has this number: written by 0, read by 1 */
	bool *enough; /* of another process: no more rounds */
	long errors;
	long interrupted; /* PARKs */
	long reads;	  /* how far they are */
} good;

/*
 * Job control, debuggers and freezers end a PARK, as signals do. If the other one blocks just
 * then its proc is idle, and the next PARK finds it: that is no hand-off. Or the other one
 * does, if it was not the read that it blocked in: a return, and then it blocks once more.
 */
static long good_park(struct puppet *p)
{
	long ret;

	while ((ret = k_park_found(p->k, 0, 0)) == -EINTR)
		__atomic_add_fetch(&good.interrupted, 1, __ATOMIC_SEQ_CST);
	return ret;
}

static long order_good(struct puppet *p, long me)
{
	long i;
	char c;

	for (i = 0; i < __atomic_load_n(&good.rounds, __ATOMIC_ACQUIRE); i++) {
		if (good_park(p) != 0)
			return -1;
		/* 1 has its round i after this one, and its look at the number, too */
		if (!me && good.enough && __atomic_load_n(good.enough, __ATOMIC_ACQUIRE))
			__atomic_store_n(&good.rounds, i + 1, __ATOMIC_RELEASE);
		if ((i || me) &&
		    (write(good.pipe[!me][1], "", 1) != 1 || !spin_until(p->k->h->standby == 1)))
			return -2;
		p->slot->depth = 0;
		if (read(good.pipe[me][0], &c, 1) != 1)
			return -3;
		p->slot->depth = 1;
		__atomic_add_fetch(&good.reads, 1, __ATOMIC_RELAXED);
		if (__atomic_exchange_n(&p->slot->pending, 0, __ATOMIC_SEQ_CST) != GSCHED_LOST ||
		    k_acquire(p->k) != -EAGAIN)
			__atomic_add_fetch(&good.errors, 1, __ATOMIC_SEQ_CST);
	}
	if (me)
		return 0;
	if (good_park(p) != 0 || write(good.pipe[1][1], "", 1) != 1)
		return -4;
	return 0;
}

/* The result, however long all the rounds take, as long as they go on. */
static long good_finish(struct puppet *p)
{
	long reads, ret;

	do {
		reads = __atomic_load_n(&good.reads, __ATOMIC_RELAXED);
		ret = puppet_finish(p);
	} while (ret == NOT_DONE && __atomic_load_n(&good.reads, __ATOMIC_RELAXED) != reads);
	return ret;
}

/* So many rounds, or fewer if @enough says so. 0, or what went wrong. */
static int good_main(long rounds, bool *enough)
{
	struct ktx *k = &good.k;
	long blocks, returns, handoffs;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	good.rounds = rounds;
	good.enough = enough;
	if (pipe(good.pipe[0]) || pipe(good.pipe[1]))
		return 1;
	k_open(k, 1);
	k_queue(k, 0, 1);
	puppet_new(&good.p[0], k);
	puppet_new(&good.p[1], k);
	if (puppet_run(&good.p[0], order_acquire, 0) != 0)
		return 2;
	puppet_start(&good.p[1], order_good, 1);
	if (!until(k->h->standby == 1))
		return 3;
	puppet_start(&good.p[0], order_good, 0);
	if (good_finish(&good.p[0]) || good_finish(&good.p[1]))
		return 4;
	if (good.errors)
		return 5;
	rounds = 2 * good.rounds;
	blocks = k_fdinfo(k, "blocks");
	returns = k_fdinfo(k, "returns");
	handoffs = k_fdinfo(k, "handoffs");
	if (blocks == rounds + returns && handoffs <= rounds &&
	    handoffs >= rounds - good.interrupted && returns <= good.interrupted)
		return 0;
	fprintf(stderr,
		"# %ld blocks in %ld rounds of two, %ld returns, %ld hand-offs, %ld EINTR\n",
		blocks, good.rounds, returns, handoffs, good.interrupted);
	return 6;
}

#endif /* GOOD_H */
