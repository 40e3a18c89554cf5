/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Worker threads and the spawner that makes them.
 *
 * The spawner is an ordinary thread without a proc or a runtime lock. It keeps
 * GS_STANDBYS workers parked, and the reserve (preempt.c): each that gets a proc and finds fewer
 * wakes it, and so does an enqueuer that finds none. Nobody waits for it, for pthread_create takes
 * libc locks whose holder may be a fiber that does not run. A new worker's first PARK looks at all
 * queues, so work that found no stand-by is found by the next one.
 *
 * The cap on threads (GSCHED_MAXTHREADS) is one for those that block: at the cap nobody gets
 * their procs until one comes back. But all of them may wait for a lock whose holder was
 * interrupted, and is queued: then none would. So when nobody has a proc, and such fibers stand
 * in the queues, for EXCESS_NS, the spawner makes one thread more. As
 * long as there are threads in excess they run nobody but who was interrupted, unless there are
 * stand-bys, too; and who finds nothing to do ends. So there are never more of them than
 * interrupted fibers.
 *
 * A worker ends when the fiber that is locked to it has ended, and when it has waited for
 * RETIRE_NS without work while enough others are parked. These may leave
 * only by being granted a proc, which wakes the spawner, or by retiring, for which they
 * look again: there are never fewer for it.
 */
#include "worker.h"

#include <errno.h>
#include <gsched/debug.h>
#include <gsched/time.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "backend.h"
#include "base/fatal.h"
#include "base/sanitizer.h"
#include "base/mmap.h"
#include "base/syscall.h"
#include "preempt.h"
#include "runq.h"
#include "sched_int.h"
#include "tls.h"

#define GS_STANDBYS 2
#define WORKER_STACK ((size_t)128 << 10)

#define IDLE_LONG_NS (10 * INT64_C(1000000000))
#define RETIRE_NS (10 * INT64_C(1000000000))
#define SPAWN_RETRY_NS 10000000
#define EXCESS_NS 20000000

uint32_t gs_nthreads;
uint32_t gs_nblind;
void (*gs_idle_hook)(int64_t *next);

int64_t gs_retire_ns = RETIRE_NS;

static struct gs_lock list_lock;     /* no other is taken under it */
static struct gs_worker *workers;    /* list_lock */
static struct gs_stats ended;	     /* list_lock: what the workers that ended had counted */
static uint32_t spawn_word;	     /* atomic: raised by gs_spawner_wake, futex */
static uint32_t starting;	     /* atomic: threads made that have not parked yet */
static uint32_t nworkers;	     /* atomic */
static const struct gs_backend *be;  /* before the spawner; gs_be is cleared if start fails */
static uint32_t max_threads = 10000; /* atomic */
static uint32_t reserve;	     /* of stand-bys, for bound fibers; before the spawner */
static uint32_t first_done;	     /* atomic futex: the first worker attached or failed */
static int first_error;		     /* before first_done */
static sigset_t worker_mask;	     /* of whoever started the runtime; before the spawner */

static void count(struct gs_stats *s, const struct gs_worker *w)
{
	const struct gs_slot *slot = w->slot;

	s->blocks += gs_load_relaxed(&slot->blocks);
	s->handoffs += gs_load_relaxed(&slot->handoffs);
	s->returns += gs_load_relaxed(&slot->returns);
	s->lost += gs_load_relaxed(&slot->lost);
	s->depth_blocks += gs_load_relaxed(&slot->depth_blocks);
	s->grants += gs_load_relaxed(&slot->grants);
	s->upcalls += gs_load_relaxed(&slot->upcalls);
	s->refusals += gs_load_relaxed(&slot->refusals);
	s->travels += gs_load_relaxed(&w->travels);
	s->freezes += gs_load_relaxed(&w->freezes);
}

void gs_workers_count(struct gs_stats *s)
{
	struct gs_stats all;
	uint32_t n = 0;

	gs_rt_enter();
	gs_lock_acquire(&list_lock);
	all = ended;
	for (struct gs_worker *w = workers; w; w = w->next, n++)
		count(&all, w);
	gs_lock_release(&list_lock);
	gs_rt_leave();
	s->workers = n;
	s->blocks = all.blocks;
	s->handoffs = all.handoffs;
	s->returns = all.returns;
	s->lost = all.lost;
	s->depth_blocks = all.depth_blocks;
	s->grants = all.grants;
	s->upcalls = all.upcalls;
	s->refusals = all.refusals;
	s->travels = all.travels;
	s->freezes = all.freezes;
}

static void list_add(struct gs_worker *w)
{
	gs_lock_acquire(&list_lock);
	w->next = workers;
	workers = w;
	gs_lock_release(&list_lock);
}

static void list_remove(struct gs_worker *w)
{
	struct gs_worker **at = &workers;

	gs_lock_acquire(&list_lock);
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	count(&ended, w);
	gs_lock_release(&list_lock);
}

int gs_set_max_threads(int n)
{
	uint32_t old = gs_load_relaxed(&max_threads);

	if (n > 0) {
		gs_store_relaxed(&max_threads, (uint32_t)n);
		/* by the new cap there may be none; if there are, they are not many */
		gs_store_relaxed(&gs_excess, 0);
		/* all workers may be blocked: then nobody else would */
		gs_spawner_wake();
	}
	return (int)old;
}

static uint32_t standbys_wanted(void)
{
	return GS_STANDBYS + gs_load_relaxed(&gs_hdr->reserve);
}

void gs_worker_granted(void)
{
	if (gs_load_relaxed(&gs_hdr->standby) < standbys_wanted())
		gs_spawner_wake();
}

bool gs_worker_may_end(void)
{
	uint32_t n = gs_load_relaxed(&gs_excess);

	while (n && !gs_cas_seq(&gs_excess, &n, n - 1))
		;
	return n;
}

static void first_result(int err)
{
	static uint32_t taken;
	uint32_t none = 0;

	if (!gs_cas_seq(&taken, &none, 1))
		return;
	first_error = err;
	gs_store_release(&first_done, 1);
	gs_futex_wake(&first_done, 1);
}

static void set_g0_bounds(struct gs_worker *w)
{
	pthread_attr_t attr;
	void *lo;
	size_t size;

	gs_san_fiber_native(&w->g0);
	if (pthread_getattr_np(pthread_self(), &attr))
		return;
	if (!pthread_attr_getstack(&attr, &lo, &size)) {
		w->g0.stack.lo = lo;
		w->g0.stack.size = size;
		/* its thread-local storage is there, too: one fiber's after the other */
		gs_race_ignore_memory(lo, size);
	}
	pthread_attr_destroy(&attr);
}

/*
 * The thread is no worker any more: its proc goes by the hand-off rule, its context into
 * the pool. No signal's handler may run while it is half of each, libc's own neither.
 */
static void end_worker(struct gs_worker *w)
{
	uint64_t all = UINT64_MAX, old = 0;

	list_remove(w);
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&old, sizeof(all), 0, 0);
	be->detach(w->slot);
	gs_arch_set_slot(NULL);
	gs_preempt_detach(w);
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0, sizeof(old), 0, 0);
	gs_munmap(w, sizeof(*w));
	gs_fetch_sub_seq(&nworkers, 1);
	gs_spawner_wake();
	gs_fetch_sub_seq(&gs_nthreads, 1);
}

/* It waited for nothing since then: may it go, and until when shall it wait if not? */
static bool may_retire(int64_t since, int64_t now, int64_t *wait)
{
	int64_t left = since + gs_retire_ns - now;

	/* one for each idle proc besides: what is idle now may be busy in a moment */
	if (left <= 0 &&
	    gs_load_seq(&gs_hdr->standby) >= standbys_wanted() + gs_load_relaxed(&gs_hdr->idle))
		return true;
	if (left <= 0)
		left = gs_retire_ns;
	if (left < *wait)
		*wait = left;
	return false;
}

static void *worker_main(void *arg)
{
	struct gs_worker *w = arg;
	int64_t wait = GS_IDLE_CHECK_NS, since;
	struct gs_slot *slot;
	int err = 0;

	pthread_sigmask(SIG_SETMASK, &worker_mask, NULL);
	set_g0_bounds(w);
	w->tid = (uint32_t)gs_syscall3(SYS_gettid, 0, 0, 0);
	w->rng = w->tid * 2654435761u | 1;
	err = gs_preempt_worker(w);
	slot = err ? NULL : be->attach(&w->id, &err);
	if (!slot) {
		/* before it counts as starting no more: then there may be another in excess */
		if (w->excess)
			(void)gs_worker_may_end();
		gs_preempt_detach(w);
		gs_munmap(w, sizeof(*w));
		first_result(err);
		/* counted as starting until then, so that the spawner tries again, not at once */
		gs_sleep(SPAWN_RETRY_NS);
		gs_fetch_sub_seq(&nworkers, 1);
		gs_fetch_sub_seq(&starting, 1);
		gs_spawner_wake();
		gs_fetch_sub_seq(&gs_nthreads, 1);
		return NULL;
	}
	w->slot = slot;
	w->owner = &gs_nobody;
	slot->worker = w;
	gs_arch_set_slot(slot);
	gs_preempt_attached(w);
	list_add(w);
	first_result(0);
	gs_fetch_sub_seq(&starting, 1);
	since = gs_now();
	while (!w->ending) {
		int r = be->park(slot, gs_now() + wait, false);

		if (r >= 0) {
			gs_worker_granted();
			gs_sched_run(w, r);
			wait = GS_IDLE_CHECK_NS;
			since = gs_now();
		} else if (r == -ETIMEDOUT) {
			wait = IDLE_LONG_NS;
			if (gs_idle_hook)
				gs_idle_hook(&wait);
			if (may_retire(since, gs_now(), &wait))
				break;
		}
	}
	end_worker(w);
	return NULL;
}

static int make_worker(bool excess)
{
	pthread_attr_t attr;
	struct gs_worker *w;
	pthread_t thread;
	int err;

	w = gs_mmap(sizeof(*w), 0);
	if (!w)
		return -ENOMEM;
	w->excess = excess;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	gs_fetch_add_seq(&starting, 1);
	err = pthread_create(&thread, &attr, worker_main, w);
	pthread_attr_destroy(&attr);
	if (err) {
		gs_fetch_sub_seq(&starting, 1);
		gs_munmap(w, sizeof(*w));
		return -err;
	}
	gs_fetch_add_seq(&gs_nthreads, 1);
	gs_fetch_add_seq(&nworkers, 1);
	return 0;
}

/* Not by stderr: its lock may be held by who was interrupted, and waits for a thread. */
static void say_once(const char *what, int err)
{
	static bool said;
	char text[160];
	int n;

	if (said)
		return;
	said = true;
	n = snprintf(text, sizeof(text),
		     "gsched: %s (%s): blocked threads hand their proc on late\n", what,
		     strerrordesc_np(-err));
	gs_write_all(2, text, (size_t)n);
}

/* Can nobody go on but fibers that were interrupted, and there is no thread for them? */
static bool stuck(void)
{
	return gs_load_seq(&gs_hdr->idle) == gs_load_relaxed(&gs_hdr->nproc) &&
	       !gs_load_relaxed(&gs_hdr->standby) && !gs_load_relaxed(&starting) &&
	       gs_gq_interrupted();
}

/*
 * The reserve is for the spawner's sake: a bound fiber may hold the lock it needs to make a
 * thread. When it may make none it would only keep a thread from those that wait.
 */
static void set_reserve(uint32_t n)
{
	if (gs_load_relaxed(&gs_hdr->reserve) == n)
		return;
	gs_store_relaxed(&gs_hdr->reserve, n);
	/* a proc may be idle for it, with fibers queued; the call's lock orders the two */
	if (!n)
		be->unpark_any();
}

/*
 * By the spawner at the cap. True: it made a thread more; else *retry is when to look again, or
 * 0. Between two looks at which all is stuck no fiber left a queue: a stand-by counts as none
 * when its time was up, and is about to look itself.
 */
static bool exceed(int64_t *retry)
{
	static int64_t since; /* the first such look; 0: none */
	static uint32_t then; /* what had left until then */
	uint32_t out = gs_gq_out();
	int64_t now = gs_now();

	/* none: who is the first looks for a stand-by, and wakes us if there is none */
	*retry = gs_gq_interrupted() ? now + EXCESS_NS : 0;
	if (!stuck()) {
		since = 0;
		return false;
	}
	if (!since || out != then) {
		since = now;
		then = out;
	}
	if (now - since < EXCESS_NS)
		return false;
	since = 0;
	gs_fetch_add_seq(&gs_excess, 1);
	if (!make_worker(true))
		return true;
	(void)gs_worker_may_end();
	return false;
}

/*
 * TLS contexts ahead of need. Each worker has one; of fibers that were interrupted as many
 * travel at most as there may be threads.
 */
static void make_contexts(void)
{
	uint32_t most = gs_load_relaxed(&max_threads) + gs_load_relaxed(&nworkers);

	while (gs_tls_pooled() < GS_TLS_SPARE && gs_tls_made() < most) {
		struct gs_tls *t = gs_tls_make();

		if (!t)
			return;
		gs_tls_put(t);
	}
}

static void *spawner_main(void *arg)
{
	(void)arg;
	/* until the start failed; acquire: pairs with the release in first_result */
	while (!gs_load_acquire(&first_done) || !first_error) {
		uint32_t seen = gs_load_seq(&spawn_word);
		int64_t retry = 0;

		for (;;) {
			bool capped = gs_load_seq(&nworkers) >= gs_load_relaxed(&max_threads);
			int err;

			set_reserve(capped ? 0 : reserve);
			/*
			 * Between any two threads: who finds none freezes and uses a stand-by
			 * up, and with one in each slice this loop did not end.
			 */
			if (gs_tls_travels)
				make_contexts();
			if (gs_load_seq(&gs_hdr->standby) + gs_load_seq(&starting) >=
			    standbys_wanted())
				break;
			if (capped) {
				say_once("GSCHED_MAXTHREADS reached", -EAGAIN);
				if (exceed(&retry))
					continue;
				break;
			}
			err = make_worker(false);
			if (err) {
				/*
				 * In this order: the last worker that ended had a result. Later on
				 * no worker is left when each fiber kept its thread to its end.
				 */
				if (!gs_load_seq(&nworkers) && !gs_load_acquire(&first_done)) {
					first_result(err);
					goto out;
				}
				say_once("cannot make a thread", err);
				set_reserve(0);
				retry = gs_now() + SPAWN_RETRY_NS;
				break;
			}
		}
		gs_futex_wait(&spawn_word, seen, retry);
	}
out:
	gs_fetch_sub_seq(&gs_nthreads, 1);
	gs_fetch_sub_seq(&gs_nblind, 1);
	return NULL;
}

void gs_spawner_wake(void)
{
	gs_fetch_add_seq(&spawn_word, 1);
	gs_futex_wake(&spawn_word, 1);
}

int gs_thread_start(void *(*fn)(void *), void *arg, size_t stack)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, stack);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, &attr, fn, arg);
	if (!err) {
		gs_fetch_add_seq(&gs_nblind, 1);
		gs_fetch_add_seq(&gs_nthreads, 1);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

int gs_workers_start(void)
{
	int err;

	be = gs_load_acquire(&gs_be);
	reserve = gs_load_relaxed(&gs_hdr->reserve);
	pthread_sigmask(SIG_SETMASK, NULL, &worker_mask);
	sigdelset(&worker_mask, SIGURG); /* who blocks it is not interrupted */
	err = gs_thread_start(spawner_main, NULL, WORKER_STACK);
	if (err)
		return err;
	while (!gs_load_acquire(&first_done))
		gs_futex_wait(&first_done, 0, 0);
	return first_error;
}
