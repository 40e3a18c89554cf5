// SPDX-License-Identifier: GPL-2.0
/*
 * Upcalls by SIGURG (9, 10), as on kernels that can do no better: slot.pending is the
 * message, the signal says: look there. The module is forced to it by a parameter.
 */
#include "kutil.h"
#include <sys/epoll.h>
#include <ucontext.h>

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)

/* What a thread's handler saw. */
struct seen {
	uint32_t n;	    /* signals */
	uint32_t told;	    /* of these, with a message */
	uint32_t reason;    /* of the last of those */
	uint32_t raised;    /* signals that came with the depth raised */
	uint32_t elsewhere; /* signals not from the module */
	uint32_t leave;	    /* that often it cannot act upon the message */
	long ax;
};

static __thread struct seen *me;
static __thread volatile struct gsched_slot *my_slot;
static int stop, phase, strays; /* atomic */

/* As the library does: with the depth raised nothing, for the runtime looks by itself. */
static void on_sigurg(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	uint32_t reason;

	if (!me) {
		__atomic_add_fetch(&strays, 1, __ATOMIC_SEQ_CST);
		return;
	}
	me->elsewhere += si->si_code != SI_KERNEL || si->si_errno != GSCHED_SI_ERRNO;
	me->ax = uc->uc_mcontext.gregs[REG_RAX];
	if (my_slot->depth) {
		me->raised++;
	} else if (me->leave) {
		me->leave--;
	} else {
		reason = __atomic_exchange_n(&my_slot->pending, 0, __ATOMIC_SEQ_CST);
		if (reason) {
			me->reason = reason;
			__atomic_add_fetch(&me->told, 1, __ATOMIC_SEQ_CST);
		}
	}
	__atomic_add_fetch(&me->n, 1, __ATOMIC_SEQ_CST);
}

FIXTURE(sigurg)
{
	struct ktx k;
	struct puppet a, b;
	struct seen seen;
};

static long order_prepare(struct puppet *p, long arg)
{
	me = (struct seen *)arg;
	my_slot = p->slot;
	return k_acquire(p->k);
}

/* One proc, and a, which holds it. */
FIXTURE_SETUP(sigurg)
{
	struct sigaction sa = {.sa_sigaction = on_sigurg, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct gsched_setup setup = k_setup_arg(1);

	stop = phase = strays = 0;
	memset(&self->seen, 0, sizeof(self->seen));
	ASSERT_EQ(0, sigaction(SIGURG, &sa, NULL));
	setup.features = GSCHED_F_SIGURG;
	setup.trampoline = (uintptr_t)on_sigurg;
	setup.slice_ns = 1000000;
	k_open_setup(&self->k, &setup);
	puppet_new(&self->a, &self->k);
	puppet_new(&self->b, &self->k);
	ASSERT_EQ(0, puppet_run(&self->a, order_prepare, (long)&self->seen));
}

FIXTURE_TEARDOWN(sigurg) {}

/* The two exclude each other, and SETUP says which there is. */
TEST(features)
{
	struct gsched_setup s = k_setup_arg(1);
	int fd = k_device();

	s.features = GSCHED_F_UPCALL;
	EXPECT_EQ(-EOPNOTSUPP, k_setup_sigurg(fd, &s));
	EXPECT_EQ(GSCHED_F_HANDOFF | GSCHED_F_TICK | GSCHED_F_SIGURG, s.features);
	s = k_setup_arg(1);
	s.features = GSCHED_F_SIGURG | GSCHED_F_UPCALL;
	EXPECT_EQ(-EOPNOTSUPP, k_setup_raw(fd, &s));
	/* a module that cannot redirect has nothing else without the parameter, either */
	if (s.features & GSCHED_F_UPCALL) {
		EXPECT_EQ(GSCHED_F_HANDOFF | GSCHED_F_TICK | GSCHED_F_UPCALL, s.features);
		s = k_setup_arg(1);
		s.features = GSCHED_F_SIGURG;
		EXPECT_EQ(-EOPNOTSUPP, k_setup_raw(fd, &s));
	}
	s = k_setup_arg(1);
	s.features = GSCHED_F_SIGURG;
	EXPECT_EQ(0, k_setup_sigurg(fd, &s));
}

static void user_begin(struct puppet *p, unsigned int depth)
{
	p->slot->depth = depth;
}

static void user_end(struct puppet *p)
{
	p->slot->depth = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void spin(void)
{
	while (!LOAD(stop))
		;
}

static long order_spin(struct puppet *p, long depth)
{
	user_begin(p, depth);
	spin();
	user_end(p);
	return 0;
}

/* KICK: this thread, no other, hears of it from the kernel, and why. */
TEST_F(sigurg, kick)
{
	struct puppet *a = &self->a;
	uint32_t i;

	puppet_start(a, order_spin, 0);
	ASSERT_TRUE(until(a->slot->depth == 0));
	for (i = 1; i <= 200; i++)
		ASSERT_TRUE(until(k_kick(&self->k, 0) == 0 && LOAD(self->seen.told) >= i));
	EXPECT_EQ(GSCHED_PREEMPT, self->seen.reason);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(a));
	EXPECT_EQ(0, self->seen.elsewhere);
	EXPECT_EQ(0, strays);
	EXPECT_EQ(1, a->slot->proc);
	/* those that come while the handler runs are one, and wait for its end */
	EXPECT_LE(self->seen.n, a->slot->upcalls);
	EXPECT_EQ(a->slot->refusals, k_fdinfo(&self->k, "refused-masked"));
}

/* With the depth raised there is no signal: the message stays where the runtime looks. */
TEST_F(sigurg, depth)
{
	struct puppet *a = &self->a;

	puppet_start(a, order_spin, 3);
	ASSERT_TRUE(until(a->slot->depth == 3));
	EXPECT_EQ(0, k_kick(&self->k, 0));
	EXPECT_TRUE(until(a->slot->pending == GSCHED_PREEMPT));
	STORE(stop, 1);
	/* it has been to the kernel and back */
	EXPECT_EQ(0, puppet_finish(a));
	EXPECT_EQ(0, self->seen.n);
	EXPECT_EQ(GSCHED_PREEMPT, a->slot->pending);
}

/* Who did not ask for signals gets none, though he has a trampoline. */
TEST_F(sigurg, not_asked_for)
{
	struct gsched_setup s = k_setup_arg(1);

	s.trampoline = (uintptr_t)on_sigurg;
	s.trampoline_size = 16;
	ASSERT_EQ(0, k_setup_sigurg(k_device(), &s));
	EXPECT_EQ(0, s.trampoline);
	EXPECT_EQ(GSCHED_F_HANDOFF | GSCHED_F_TICK | GSCHED_F_SIGURG, s.features);
}

/* Without a trampoline nobody can be told by signal, either. */
TEST(no_trampoline)
{
	struct gsched_setup setup = k_setup_arg(1);
	struct puppet a;
	struct ktx k;

	setup.features = GSCHED_F_SIGURG;
	signal(SIGURG, SIG_DFL);
	stop = 0;
	k_open_setup(&k, &setup);
	EXPECT_EQ(1, k.h->ticking);
	puppet_new(&a, &k);
	ASSERT_EQ(0, puppet_run(&a, order_acquire, 0));
	puppet_start(&a, order_spin, 0);
	ASSERT_TRUE(until(a.slot->depth == 0));
	ASSERT_EQ(0, k_kick(&k, 0));
	EXPECT_TRUE(until(a.slot->pending == GSCHED_PREEMPT));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&a));
	EXPECT_EQ(1, k_fdinfo(&k, "refused-no-trampoline"));
	EXPECT_EQ(0, a.slot->upcalls);
}

static long order_masked(struct puppet *p, long arg)
{
	sigset_t urg;

	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	pthread_sigmask(SIG_BLOCK, &urg, NULL);
	user_begin(p, 0);
	while (!LOAD(phase))
		;
	pthread_sigmask(SIG_UNBLOCK, &urg, NULL);
	spin();
	user_end(p);
	return 0;
}

/* Where libc masks everything it comes later. */
TEST_F(sigurg, masked)
{
	struct puppet *a = &self->a;

	puppet_start(a, order_masked, 0);
	ASSERT_TRUE(until(a->slot->depth == 0));
	ASSERT_EQ(0, k_kick(&self->k, 0));
	EXPECT_TRUE(until(a->slot->pending == GSCHED_PREEMPT && a->slot->upcalls == 1));
	EXPECT_EQ(0, LOAD(self->seen.n));
	STORE(phase, 1);
	EXPECT_TRUE(until(LOAD(self->seen.told) == 1));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(a));
}

/* ------------------------------------------------------------------------- */

static int pipefd[2];

static long order_read(struct puppet *p, long arg)
{
	char c = 0;
	long r;

	user_begin(p, 0);
	r = syscall(SYS_read, pipefd[0], &c, 1);
	for (int i = 0; i < 5; i++)
		usleep(1000); /* in and out of the scheduler: nothing new to be told */
	spin();
	user_end(p);
	return r * 1000 + c;
}

/* a sleeps in read(2), by that order, until b has its proc and it has been told nothing yet. */
static bool rob(FIXTURE_DATA(sigurg) * self, long (*order)(struct puppet *p, long arg))
{
	if (pipe(pipefd))
		return false;
	puppet_start(&self->a, order, 0);
	return until(self->a.slot->blocks == 1) && !puppet_run(&self->b, order_acquire, 0) &&
	       !LOAD(self->seen.n) && write(pipefd[1], "x", 1) == 1;
}

/* Back from a read(2) whose proc another has: told, and the call is whole. */
TEST_F(sigurg, lost)
{
	struct puppet *a = &self->a;

	ASSERT_TRUE(rob(self, order_read));
	EXPECT_TRUE(until(LOAD(self->seen.told) == 1));
	EXPECT_EQ(GSCHED_LOST, self->seen.reason);
	EXPECT_EQ(1, self->seen.ax);
	EXPECT_EQ(0, a->slot->proc);
	EXPECT_EQ(1, a->slot->lost);
	STORE(stop, 1);
	EXPECT_EQ(1000 + 'x', puppet_finish(a));
	/* once, though it looked for a proc again each time it had slept */
	EXPECT_EQ(1, self->seen.told);
	EXPECT_EQ(0, strays);
}

static long order_sleep(struct puppet *p, long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	long r;

	user_begin(p, 0);
	r = syscall(SYS_nanosleep, &t, NULL) ? -errno : 0;
	spin();
	user_end(p);
	return r;
}

/* Stopped by job control until it is seen to be, in a process of its own, and let go on. */
static bool stop_and_continue(void)
{
	pid_t me_ = getpid(), child = fork();
	int status;

	if (!child) {
		kill(me_, SIGSTOP);
		_exit(!until(task_state(me_, me_) == 'T') || kill(me_, SIGCONT));
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Job control wakes it, it is lost then: but the call, which SA_RESTART does not help, goes on. */
TEST_F(sigurg, lost_in_a_stop)
{
	const long ms = 2000;
	struct puppet *a = &self->a;

	puppet_start(a, order_sleep, ms);
	ASSERT_TRUE(until(a->slot->blocks == 1));
	ASSERT_EQ(0, puppet_run(&self->b, order_acquire, 0));
	ASSERT_TRUE(stop_and_continue());
	EXPECT_TRUE(until(k_fdinfo(&self->k, "refused-restart") >= 1));
	EXPECT_EQ(0, LOAD(self->seen.n));
	EXPECT_TRUE(until(LOAD(self->seen.told) == 1));
	EXPECT_EQ(GSCHED_LOST, self->seen.reason);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(a));
}

/* A handler that could not act upon it hears of it again. */
TEST_F(sigurg, lost_again)
{
	struct puppet *a = &self->a;

	self->seen.leave = 3;
	ASSERT_TRUE(rob(self, order_read));
	EXPECT_TRUE(until(LOAD(self->seen.told) == 1));
	EXPECT_EQ(GSCHED_LOST, self->seen.reason);
	EXPECT_EQ(0, self->seen.leave);
	STORE(stop, 1);
	EXPECT_EQ(1000 + 'x', puppet_finish(a));
	EXPECT_LE(4, self->seen.n);
}

/* Back to find the proc idle: nothing to be told. */
TEST_F(sigurg, found)
{
	struct puppet *a = &self->a;

	ASSERT_EQ(0, pipe(pipefd));
	puppet_start(a, order_read, 0);
	ASSERT_TRUE(until(a->slot->blocks == 1 && k_idle_exact(&self->k, 1)));
	ASSERT_EQ(1, write(pipefd[1], "x", 1));
	/* it spins then, after a few short sleeps */
	EXPECT_TRUE(until(a->slot->returns >= 1 && a->slot->proc == 1));
	STORE(stop, 1);
	EXPECT_EQ(1000 + 'x', puppet_finish(a));
	EXPECT_EQ(0, self->seen.n);
	EXPECT_EQ(0, a->slot->lost);
	EXPECT_EQ(a->slot->blocks, a->slot->returns);
}

static long order_read_until_proc(struct puppet *p, long arg)
{
	char c = 0;
	long r;

	user_begin(p, 0);
	r = syscall(SYS_read, pipefd[0], &c, 1);
	while (!p->slot->proc && !LOAD(stop))
		usleep(200);
	user_end(p);
	return r;
}

/* Lost, and then there is a proc again: found when it is switched in the next time. */
TEST_F(sigurg, lost_and_found)
{
	struct puppet *a = &self->a;

	ASSERT_TRUE(rob(self, order_read_until_proc));
	EXPECT_TRUE(until(LOAD(self->seen.told) == 1));
	ASSERT_EQ(1, k_set_procs(&self->k, 2));
	EXPECT_EQ(1, puppet_finish(a));
	EXPECT_EQ(2, a->slot->proc);
	EXPECT_EQ(1, a->slot->lost);
	STORE(stop, 1);
}

/* ------------------------------------------------------------------------- */

/* Alone a fiber is left alone; when others wait, and can be served, its slice ends. */
TEST_F(sigurg, slice)
{
	struct ktx *k = &self->k;
	long ticks;

	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	EXPECT_EQ(0, k_fdinfo(k, "ticks"));
	k_queue(k, 0, 1);
	EXPECT_EQ(0, k_tick(k));
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > 40));
	EXPECT_EQ(0, LOAD(self->seen.n));

	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_TRUE(until(LOAD(self->seen.told) > 10));
	EXPECT_EQ(GSCHED_PREEMPT, self->seen.reason);
	k_drain(k, 0);
	EXPECT_TRUE(until(k->h->ticking == 0));
	ticks = k_fdinfo(k, "ticks");
	EXPECT_EQ(0, k_kick(k, 0));
	EXPECT_EQ(0, LOAD(self->seen.raised));
	EXPECT_EQ(ticks, k_fdinfo(k, "ticks"));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(0, strays);
}

static long order_hog_reads(struct puppet *p, long rounds)
{
	char c;
	long i, ok = 0;

	user_begin(p, 0);
	for (i = 0; i < rounds; i++)
		ok += read(pipefd[0], &c, 1) == 1;
	user_end(p);
	return ok;
}

/* Signals while it sleeps in read(2): with SA_RESTART no call fails. */
TEST_F(sigurg, no_eintr)
{
	struct puppet *a = &self->a;
	int i, j;

	ASSERT_EQ(0, pipe(pipefd));
	puppet_start(a, order_hog_reads, 50);
	for (i = 0; i < 50; i++) {
		/* and has had the signals before: those not yet taken would be one with these */
		ASSERT_TRUE(until(LOAD(self->seen.n) >= i && puppet_asleep(a)));
		for (j = 0; j < 4; j++)
			syscall(SYS_tgkill, getpid(), a->tid, SIGURG);
		k_kick(&self->k, 0);
		ASSERT_EQ(1, write(pipefd[1], "x", 1));
	}
	EXPECT_EQ(50, puppet_finish(a));
	EXPECT_LE(50, self->seen.n);
}

#define NAPS 60
#define SIGNALS 15

static long order_nap(struct puppet *p, long arg)
{
	const struct timespec nap = {0, 50000};
	long i, ended = 0;
	uint32_t had;

	user_begin(p, 0);
	for (i = 0; i < NAPS; i++) {
		had = LOAD(me->n);
		/* on one processor nobody kicks while it runs, but where it is interrupted */
		while (i % (NAPS / SIGNALS) == 0 && LOAD(me->n) == had)
			;
		ended += syscall(SYS_nanosleep, &nap, NULL) != 0;
		ended += syscall(SYS_epoll_wait, arg, &(struct epoll_event){}, 1, 1) != 0;
	}
	user_end(p);
	__atomic_add_fetch(&phase, 1, __ATOMIC_SEQ_CST);
	return ended;
}

/* The module's own end no call, not even those that SA_RESTART does not help. */
TEST_F(sigurg, ends_no_call)
{
	struct puppet *a = &self->a;
	int epfd = epoll_create1(0);
	long kicks = 0;

	ASSERT_LE(0, epfd);
	puppet_start(a, order_nap, epfd);
	for (; !LOAD(phase); kicks++)
		k_kick(&self->k, 0);
	EXPECT_EQ(0, puppet_finish(a));
	TH_LOG("%ld kicks, %u signals", kicks, self->seen.n);
	EXPECT_LE(SIGNALS, self->seen.n);
	EXPECT_EQ(0, self->seen.elsewhere);
}

/* A thread that detaches with a signal on the way is no worker any more, and gets none. */
static long order_detach_rung(struct puppet *p, long rounds)
{
	struct ktx *k = p->k;
	long i, bad = 0;

	for (i = 0; i < rounds; i++) {
		int id;

		bad += k_detach(k) != 0;
		id = k_attach(k);
		bad += id < 0;
		STORE(phase, id + 1);
		bad += k_acquire(k) != 0;
	}
	return bad;
}

TEST_F(sigurg, detach)
{
	struct puppet *a = &self->a;
	long kicks = 0;

	puppet_start(a, order_detach_rung, 2000);
	while (!puppet_done(a)) {
		k_kick(&self->k, 0);
		kicks++;
	}
	EXPECT_EQ(0, puppet_finish(a));
	EXPECT_LE(1000, kicks);
}

TEST_HARNESS_MAIN
