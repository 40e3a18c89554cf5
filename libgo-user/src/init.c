/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting the runtime, once a process: configuration, backend, threads; and gs_run.
 * Everything is made before the first fiber.
 */
#include <errno.h>
#include <gsched/debug.h>
#include <gsched/runtime.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "arch.h"
#include "backend.h"
#include "base/biased.h"
#include "config.h"
#include "debug.h"
#include "event.h"
#include "fiber.h"
#include "guard.h"
#include "leak.h"
#include "local.h"
#include "netpoll.h"
#include "overflow.h"
#include "panic.h"
#include "poller.h"
#include "preempt.h"
#include "runq.h"
#include "sched_int.h"
#include "sigwrap.h"
#include "timer.h"
#include "tls.h"
#include "trace.h"
#include "width.h"

const struct gs_backend *gs_be; /* release/acquire */
bool gs_forked;			/* set before the child of a fork has a second thread */
uint32_t gs_started;		/* release/acquire: set last, when all is ready */
struct gs_line *gs_lines;

/* What every switch reads, in one cache line: one section, in this order. */
#if defined(__has_attribute) && __has_attribute(no_reorder)
#define HOT __attribute__((section(".data.gs_hot"), no_reorder))
#else
#define HOT __attribute__((section(".data.gs_hot")))
#endif
struct gs_header *gs_hdr HOT __attribute__((aligned(64)));
uint32_t gs_tracing HOT;
bool gs_alone HOT;
uint32_t gs_excess HOT;

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static int start_error;	 /* start_lock */
static bool start_begun; /* start_lock */

static int choose_backend(const struct gs_config *c, const struct gs_backend **be)
{
	struct gs_upcall_setup upcall = {.slice_ns = c->slice_ns};
	const char *why = "";
	int r;

	gs_preempt_trampoline(&upcall);
	if (c->backend != GS_WANT_POSIX) {
		r = gs_backend_kmod.init(c->procs, &upcall, &why);
		if (r == 0) {
			*be = &gs_backend_kmod;
			if (c->debug_backend)
				fprintf(stderr, "gsched: backend kmod (/dev/gsched%s)\n", why);
			return 0;
		}
		if (c->backend == GS_WANT_KMOD) {
			fprintf(stderr, "gsched: GSCHED_BACKEND=kmod: %s (%s)\n", why,
				strerrordesc_np(-r));
			return r;
		}
		/* no module is the normal case without it; anything else is worth a line */
		if (r != -ENOENT || c->debug_backend)
			fprintf(stderr, "gsched: %s (%s); using the posix backend\n", why,
				strerrordesc_np(-r));
	}
	r = gs_backend_posix.init(c->procs, &upcall, &why);
	if (r)
		fprintf(stderr, "gsched: posix backend: %s (%s)\n", why, strerrordesc_np(-r));
	else if (c->debug_backend)
		fprintf(stderr, "gsched: backend posix\n");
	*be = &gs_backend_posix;
	return r;
}

static int choose_poller(const struct gs_config *c, const struct gs_netpoll **np)
{
	int r;

	if (c->poller != GS_POLLER_EPOLL) {
		*np = &gs_netpoll_uring;
		r = (*np)->init();
		if (r == 0 || c->poller == GS_POLLER_URING) {
			if (r)
				fprintf(stderr, "gsched: GSCHED_POLLER=uring: %s\n",
					strerrordesc_np(-r));
			return r;
		}
		if (c->debug_backend)
			fprintf(stderr, "gsched: io_uring is refused (%s)\n", strerrordesc_np(-r));
	}
	*np = &gs_netpoll_epoll;
	r = (*np)->init();
	if (r)
		fprintf(stderr, "gsched: epoll: %s\n", strerrordesc_np(-r));
	return r;
}

/*
 * In the child of a fork: the calling fiber is all there is, on an ordinary thread. The
 * slot and, on kmod, the shared area are not mapped here, and something else may be by now.
 * So they are replaced, and what points there points at ours: who stops a timer of the parent's
 * writes its heap's deadline, who closes a channel that others wait for queues them, and they
 * stay there. Nothing is idle, so nothing is ever woken, and no new fiber can start.
 */
static void forked(void)
{
	static struct gs_header header = {.ticking = 1};
	static struct gs_line lines[GS_MAXPROCS];

	gs_arch_set_slot(NULL);
	gs_local_forked();
	gs_trace_forked();
	gs_hdr = &header;
	gs_lines = lines;
	gs_procs_init();
	gs_runq_init();
	gs_timers_forked();
	gs_locks_forked();
	gs_be = NULL;
	gs_netpoll_forked();
	gs_started = 0;
	gs_forked = true;
	if (!start_error)
		start_error = -EPERM;
}

/* Whose thread-local storage is whose: tls.h. */
static int choose_tls(const struct gs_config *c, const struct gs_backend *be)
{
	const char *why = gs_preempt_tls(c->tls != GS_WANT_FROZEN, c->tls != GS_WANT_NONE);

	gs_tls_find_cxx();
	if (why && c->tls == GS_WANT_OWN) {
		fprintf(stderr, "gsched: GSCHED_TLS=fiber: %s\n", why);
		return -EOPNOTSUPP;
	}
	gs_tls_each = c->tls == GS_WANT_OWN;
	if (!c->debug_backend)
		return 0;
	if (!be->interrupts()) {
		const char *not = gs_preempt_why_not();

		fprintf(stderr, "gsched: fibers are not interrupted (%s)\n",
			not ? not : "the backend cannot");
		return 0;
	}
	if (why)
		fprintf(stderr, "gsched: interrupted fibers keep their threads (%s)\n", why);
	else
		fprintf(stderr, "gsched: interrupted fibers %s\n",
			gs_tls_each	     ? "have thread-local storage of their own"
			: gs_tls_unprotected ? "go without their thread-local storage"
					     : "take their thread-local storage along");
	return 0;
}

static int start(void)
{
	const struct gs_backend *be = NULL;
	const struct gs_netpoll *np = NULL;
	struct gs_config c;
	const char *why;
	int r;

	r = gs_config_read(&c);
	if (r)
		return r;
	why = gs_arch_unusable();
	if (why) {
		fprintf(stderr, "gsched: %s\n", why);
		return -EOPNOTSUPP;
	}
	gs_arch_init();
	gs_preempt_init();
	gs_sig_init();
	gs_overflow_init();
	gs_guard_init(c.guard);
	if (c.stack)
		gs_stack_set_default(c.stack);
	if (c.max_threads)
		gs_set_max_threads(c.max_threads);
	if (c.retire_ns)
		gs_retire_ns = c.retire_ns;
	r = choose_poller(&c, &np);
	if (r)
		return r;
	if (c.debug_backend)
		fprintf(stderr, "gsched: poller %s\ngsched: stack guards by %s\n", np->name,
			gs_guard_name());
	r = choose_backend(&c, &be);
	if (r)
		return r;
	r = choose_tls(&c, be);
	if (r)
		return r;
	/* where fibers are interrupted anywhere: preempt.c */
	gs_hdr->reserve = gs_hdr->ticking ? 0 : 1;
	gs_procs_init();
	gs_biased_init();
	gs_sched_init();
	gs_runq_init();
	gs_timers_init();
	gs_panic_init();
	gs_debug_init(&c);
	if (c.follow)
		gs_width_follow(c.procs);
	pthread_atfork(gs_local_fork, NULL, forked);
	/* workers and the poller look at gs_be; nobody else does before gs_started */
	gs_store_release(&gs_be, be);
	r = gs_poller_start(np);
	if (!r)
		r = gs_workers_start();
	if (!r && be->monitor)
		r = gs_thread_start(be->monitor, NULL, (size_t)128 << 10);
	if (r) {
		fprintf(stderr, "gsched: cannot start the runtime's threads (%s)\n",
			strerrordesc_np(-r));
		gs_store_release(&gs_be, NULL);
		return r;
	}
	/* pairs with the acquires in gs_rt_start and gs_go */
	gs_store_release(&gs_started, 1);
	return 0;
}

/* In the child of a fork: another thread may have had the lock, and be half way. */
static void forked_at_start(void)
{
	start_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	if (start_begun && !start_error)
		start_error = -EPERM;
}

static void register_forked(void)
{
	pthread_atfork(NULL, NULL, forked_at_start);
}

int gs_rt_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int r = 0;

	/* not gs_be, which is there before the poller and the workers are */
	if (gs_load_acquire(&gs_started))
		return 0;
	pthread_once(&once, register_forked);
	pthread_mutex_lock(&start_lock);
	if (!gs_started) {
		/* one try: half-started threads are not taken back */
		if (!start_error) {
			start_begun = true;
			start_error = start();
		}
		r = start_error;
	}
	pthread_mutex_unlock(&start_lock);
	return r;
}

const char *gs_backend(void)
{
	return gs_rt_start() ? "none" : gs_load_acquire(&gs_be)->name;
}

int gs_max_procs(int n)
{
	if (gs_rt_start())
		return 0;
	if (n > GS_MAXPROCS)
		n = GS_MAXPROCS;
	if (n <= 0)
		return (int)gs_load_relaxed(&gs_hdr->nproc);
	return gs_width_set(n);
}

static void run_done(void *arg)
{
	gs_debug_main_ended();
	gs_rt_enter();
	gs_ready(arg);
	gs_rt_leave();
}

static size_t main_stack(void)
{
	const size_t most = (size_t)8 << 20;
	struct rlimit lim;

	if (getrlimit(RLIMIT_STACK, &lim) || lim.rlim_cur > most)
		return most;
	return lim.rlim_cur < gs_stack_default() ? gs_stack_default() : lim.rlim_cur;
}

int gs_run(void (*fn)(void *), void *arg)
{
	struct gs_tls *own = NULL;
	struct gs_fiber *f;
	int r;

	if (gs_on_fiber())
		return -EBUSY;
	if (!fn)
		gs_panic("go of nil func value");
	r = gs_rt_start();
	if (r)
		return r;
	if (gs_tls_each) {
		r = gs_fiber_get_own(&own);
		if (r)
			return r;
	}
	f = gs_fiber_new(fn, arg, 0, main_stack(), &r);
	if (!f) {
		gs_tls_put_own(own);
		return r;
	}
	f->own = own;
	gs_store_relaxed(&f->tls, own);
	gs_fiber_lay(f);
	f->cold->done = run_done;
	f->cold->done_arg = gs_self();
	f->cold->returned = false;
	f->from = __builtin_return_address(0);
	strcpy(f->cold->name, "main");
	gs_debug_main_started();
	gs_fiber_start(f);
	gs_park(NULL, NULL, GS_WAIT_RUN);
	if (gs_leak_on())
		gs_leak_check(2);
	return 0;
}
