// SPDX-License-Identifier: GPL-2.0
/*
 * PARK, PARK_TO, UNPARK, ACQUIRE, SET_PROCS: each result, and the owner words
 * and counts afterwards (sections 4, 6, 7, 8 and 12).
 */
#include "kutil.h"

/* Two procs, three puppets that hold nothing. */
FIXTURE(park)
{
	struct ktx k;
	struct puppet a, b, c;
};

FIXTURE_SETUP(park)
{
	k_open(&self->k, 2);
	puppet_new(&self->a, &self->k);
	puppet_new(&self->b, &self->k);
	puppet_new(&self->c, &self->k);
}

FIXTURE_TEARDOWN(park) {}

static struct gsched_park order_args;

/* PARK with order_args, so that the test can see what happens to them. */
static long order_park_until(struct puppet *p, long unused)
{
	return k_park(p->k, order_args.flags, order_args.deadline);
}

static long park_until(struct puppet *p, unsigned int flags, uint64_t deadline)
{
	order_args.flags = flags;
	order_args.deadline = deadline;
	return puppet_run(p, order_park_until, 0);
}

/* A puppet that takes the proc @first from ACQUIRE: only right while it is idle. */
static bool acquire(struct puppet *p, long proc)
{
	return puppet_run(p, order_acquire, 0) == proc && p->slot->proc == proc + 1u &&
	       p->k->p[proc].owner == p->w + 1u;
}

/*
 * PARK that returns at once (4, 6): as the one spinner if nobody spins.
 */

/* a. An idle proc whose own queue is not empty. */
TEST_F(park, demand_own_queue)
{
	k_queue(&self->k, 1, 1);
	EXPECT_EQ(1 | GSCHED_GRANT_SPIN, puppet_run(&self->a, order_park, 0));
	EXPECT_EQ(2, self->a.slot->proc);
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_EQ(0, self->a.slot->grants);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	/* It is the caller's own proc now: no matter, the work is still there. */
	EXPECT_EQ(1, puppet_run(&self->a, order_park, 0));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* a. runnext alone, and a tail that wrapped around. */
TEST_F(park, demand_runnext_and_wrap)
{
	self->k.h->spinning = 1;
	self->k.p[1].runnext = 1ull << 40;
	EXPECT_EQ(1, puppet_run(&self->a, order_park, 0));
	self->k.p[1].runnext = 0;
	self->k.p[0].head = 0xffffffff;
	self->k.p[0].tail = 0;
	EXPECT_EQ(0, puppet_run(&self->a, order_park, 0));
	EXPECT_EQ(1, self->a.slot->proc);
}

/* b. The global queue, the express queue: any idle proc, the old one first. */
TEST_F(park, demand_shared_queues)
{
	self->k.h->global_len = 1;
	EXPECT_EQ(GSCHED_GRANT_SPIN, puppet_run(&self->a, order_park, 0));
	/* the others run on with a spinner beside them */
	EXPECT_EQ(1, puppet_run(&self->b, order_park, 0));
	EXPECT_EQ(1, puppet_run(&self->b, order_park, 0));
	self->k.h->global_len = 0;
	self->k.h->express_len = 1;
	EXPECT_EQ(1, puppet_run(&self->b, order_park, 0));
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* c. Bound fibers that are runnable. */
TEST_F(park, demand_bound_runnable)
{
	self->k.h->bound_runnable = 1;
	EXPECT_EQ(GSCHED_GRANT_SPIN, puppet_run(&self->a, order_park, 0));
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* d. Somebody else's queue: as the one spinner. */
TEST_F(park, demand_of_others)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	k_queue(&self->k, 0, 1);
	EXPECT_EQ(1 | GSCHED_GRANT_SPIN, puppet_run(&self->b, order_park, 0));
	EXPECT_EQ(1, self->k.h->spinning);
	/* Somebody spins: no demand, and b becomes a stand-by. */
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* Nothing to do: the proc is given up, and nobody gets it. */
TEST_F(park, no_demand)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_TRUE(puppet_standby(&self->a));
	EXPECT_EQ(2, self->k.h->standby);
	EXPECT_EQ(2, k_fdinfo(&self->k, "standby"));
	EXPECT_EQ(0, self->a.slot->proc);
	EXPECT_TRUE(k_idle_exact(&self->k, 2));
	EXPECT_EQ(0, self->b.slot->grants);
}

/* BOUND does not look again, and is chosen by nobody. */
TEST_F(park, bound)
{
	k_queue(&self->k, 0, 1);
	EXPECT_TRUE(puppet_bound(&self->a));
	EXPECT_EQ(0, self->k.h->standby);
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_PROC, 0));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, self->a.slot->grants);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* BOUND offers the proc it gives up to the stand-bys, if there is demand. */
TEST_F(park, bound_hands_on)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(puppet_standby(&self->b));
	k_queue(&self->k, 0, 1);
	EXPECT_TRUE(puppet_bound(&self->a));
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(1, self->b.slot->proc);
	EXPECT_EQ(1, self->b.slot->grants);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/*
 * How the wait ends.
 */

/* The deadline: -ETIMEDOUT, not before, and the worker is no stand-by any more. */
TEST_F(park, deadline)
{
	uint64_t at = now_ns() + 20000000;

	EXPECT_EQ(-ETIMEDOUT, park_until(&self->a, 0, at));
	EXPECT_LE(at, now_ns());
	EXPECT_EQ(-ETIMEDOUT, park_until(&self->a, GSCHED_PARK_BOUND, 1));
	ASSERT_TRUE(acquire(&self->a, 0));
	EXPECT_EQ(-ETIMEDOUT, park_until(&self->a, 0, 1));
	EXPECT_EQ(0, self->a.slot->proc);
	EXPECT_EQ(0, self->k.h->standby);
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(0, self->k.h->spinning);
	EXPECT_TRUE(k_idle_exact(&self->k, 2));
}

/* A deadline beyond what the kernel's clock can say is none. */
TEST_F(park, deadline_far)
{
	order_args.flags = 0;
	order_args.deadline = ~0ull;
	puppet_start(&self->a, order_park_until, 0);
	EXPECT_TRUE(until(puppet_asleep(&self->a)));
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(1, puppet_finish(&self->a));
}

static void on_signal(int sig) {}

/* A signal: -EINTR, whatever SA_RESTART says, and no stand-by any more. */
TEST_F(park, signal)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_TRUE(puppet_standby(&self->a));
	ASSERT_TRUE(puppet_bound(&self->b));
	pthread_kill(self->a.thread, SIGUSR1);
	pthread_kill(self->b.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, puppet_finish(&self->a));
	EXPECT_EQ(-EINTR, puppet_finish(&self->b));
	EXPECT_EQ(0, self->k.h->standby);
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_TRUE(k_idle_exact(&self->k, 2));
}

static long order_park_signal_blocked(struct puppet *p, long unused)
{
	sigset_t set, old;
	long ret;

	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	signal(SIGUSR1, on_signal);
	pthread_kill(pthread_self(), SIGUSR1);
	ret = k_park(p->k, 0, 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

/* A blocked signal does not end the wait. */
TEST_F(park, signal_blocked)
{
	puppet_start(&self->a, order_park_signal_blocked, 0);
	ASSERT_TRUE(until(puppet_asleep(&self->a)));
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(GSCHED_GRANT_SPIN, puppet_finish(&self->a));
}

/* From here on puppets a and b run only while we sleep. */
static bool rule_the_cpu(FIXTURE_DATA(park) * self)
{
	struct sched_param param = {.sched_priority = 10};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return !sched_setaffinity(self->a.tid, sizeof(set), &set) &&
	       !sched_setaffinity(self->b.tid, sizeof(set), &set) &&
	       !sched_setaffinity(0, sizeof(set), &set) &&
	       !sched_setscheduler(0, SCHED_FIFO, &param);
}

/* A grant that comes after the signal, but before the worker ran, is returned. */
TEST_F(park, grant_beats_signal)
{
	uint64_t end = now_ns() + wait_ns();
	long ret;

	signal(SIGUSR1, on_signal);
	ASSERT_TRUE(rule_the_cpu(self));
	do {
		ASSERT_TRUE(puppet_standby(&self->a));
		pthread_kill(self->a.thread, SIGUSR1);
		ret = k_unpark(&self->k, GSCHED_UNPARK_PROC, 1);
		EXPECT_EQ(ret == 1 ? 1 : -EINTR, puppet_finish(&self->a));
		/* If we stood still for so long that the kernel let it run first: again. */
	} while (ret == -EAGAIN && now_ns() < end);
	EXPECT_EQ(1, ret);
	EXPECT_EQ(2, self->a.slot->proc);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* A stand-by with a signal pending is chosen only if there is no other one. */
TEST_F(park, signalled_standby_is_last_choice)
{
	signal(SIGUSR1, on_signal);
	ASSERT_TRUE(rule_the_cpu(self));
	ASSERT_TRUE(puppet_standby(&self->a));
	ASSERT_TRUE(puppet_standby(&self->b));
	pthread_kill(self->b.thread, SIGUSR1);
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(1, puppet_finish(&self->a));
	EXPECT_EQ(-EINTR, puppet_finish(&self->b));
}

/*
 * UNPARK (7).
 */

/* ANY: 1 with a spinner, 0 while it spins, 0 if no proc is idle, -EAGAIN. */
TEST_F(park, unpark_any)
{
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(0, self->k.h->spinning);
	ASSERT_TRUE(puppet_standby(&self->a));
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_EQ(0, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	/* One of the two. */
	EXPECT_TRUE(until(puppet_done(&self->a) || puppet_done(&self->b)));
	EXPECT_TRUE((puppet_done(&self->a) ? self->a.ret : self->b.ret) == GSCHED_GRANT_SPIN);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));

	self->k.h->spinning = 0;
	ASSERT_TRUE(acquire(&self->c, 1));
	EXPECT_EQ(0, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(0, self->k.h->spinning);
	EXPECT_EQ(1, self->k.h->standby);
}

/* ANY prefers a proc that has work. */
TEST_F(park, unpark_any_takes_work)
{
	ASSERT_TRUE(puppet_standby(&self->a));
	k_queue(&self->k, 1, 1);
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(1 | GSCHED_GRANT_SPIN, puppet_finish(&self->a));
}

/* PROC: 1 without spinning, though somebody spins; 0 not idle; -EAGAIN. */
TEST_F(park, unpark_proc)
{
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	self->k.h->spinning = 1;
	ASSERT_TRUE(puppet_standby(&self->a));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(1, puppet_finish(&self->a));
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_EQ(0, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_PROC, 0));
	EXPECT_EQ(2, self->a.slot->proc);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* WORKER: 1 stand-by or bound, -EBUSY has a grant, -EAGAIN no idle proc, -ESRCH. */
TEST_F(park, unpark_worker)
{
	EXPECT_EQ(-ESRCH, k_unpark(&self->k, GSCHED_UNPARK_WORKER, 77));
	EXPECT_EQ(-ESRCH, k_unpark(&self->k, GSCHED_UNPARK_WORKER, GSCHED_MAXWORKERS - 1));
	ASSERT_TRUE(puppet_standby(&self->a));
	ASSERT_TRUE(puppet_bound(&self->b));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_EQ(0, self->k.h->standby);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->b.w));
	EXPECT_EQ(1, puppet_finish(&self->b));
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->c.w));
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
	EXPECT_EQ(0, puppet_run(&self->a, order_detach, 0));
	EXPECT_EQ(-ESRCH, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* The reserve holds for ANY and PROC, unless a bound fiber waits; not by name. */
TEST_F(park, reserve)
{
	ASSERT_TRUE(puppet_standby(&self->a));
	self->k.h->reserve = 1;
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_EQ(-EAGAIN, k_unpark(&self->k, GSCHED_UNPARK_PROC, 0));
	EXPECT_EQ(0, self->k.h->spinning);
	self->k.h->bound_runnable = 1;
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	EXPECT_EQ(1, puppet_finish(&self->a));
	self->k.h->bound_runnable = 0;
	ASSERT_TRUE(puppet_standby(&self->a));
	self->k.h->bound_runnable = 1;
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_ANY, 0));
	EXPECT_LE(0, puppet_finish(&self->a));
	self->k.h->bound_runnable = 0;
	ASSERT_TRUE(puppet_standby(&self->a));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_LE(0, puppet_finish(&self->a));
}

static long order_pin_and_park(struct puppet *p, long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	return k_park(p->k, 0, 0);
}

/* Of several stand-bys the one that last ran on this CPU, else the last parked. */
TEST_F(park, whom_to_wake)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
	puppet_start(&self->a, order_pin_and_park, 0);
	ASSERT_TRUE(until(self->k.h->standby == 1 && puppet_asleep(&self->a)));
	puppet_start(&self->b, order_pin_and_park, 0);
	ASSERT_TRUE(until(self->k.h->standby == 2 && puppet_asleep(&self->b)));
	puppet_start(&self->c, order_pin_and_park, cpus > 1);
	ASSERT_TRUE(until(self->k.h->standby == 3 && puppet_asleep(&self->c)));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_PROC, 0));
	EXPECT_EQ(0, puppet_finish(cpus > 1 ? &self->b : &self->c));
	EXPECT_EQ(2, self->k.h->standby);
}

/*
 * Latched grants (7).
 */

/* Granted while it ran: the next PARK gives up what is held, returns the grant. */
TEST_F(park, latched)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_EQ(self->a.w + 1, self->k.p[1].owner);
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
	EXPECT_EQ(-EBUSY, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_EQ(0, puppet_run(&self->a, order_acquire, 0));
	EXPECT_EQ(1, puppet_run(&self->a, order_park, 0));
	EXPECT_EQ(2, self->a.slot->proc);
	EXPECT_EQ(0, self->k.p[0].owner);
	EXPECT_EQ(0, self->a.slot->grants);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	/* Once. */
	EXPECT_TRUE(puppet_standby(&self->a));
	EXPECT_TRUE(k_idle_exact(&self->k, 2));
}

/* ... and what it gives up is handed on if there is demand. */
TEST_F(park, latched_hands_on)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	k_queue(&self->k, 0, 1);
	EXPECT_EQ(1, puppet_run(&self->a, order_park, GSCHED_PARK_BOUND));
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* The grant it is, and that alone, though the proc that is given up has work. */
TEST_F(park, latched_beats_work)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	k_queue(&self->k, 0, 1);
	EXPECT_EQ(1, puppet_run(&self->a, order_park, 0));
	EXPECT_EQ(2, self->a.slot->proc);
	EXPECT_EQ(GSCHED_OWNER_IDLE, self->k.p[0].owner);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* DETACH with a latched grant: both procs are handed on. */
TEST_F(park, latched_detach)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(puppet_standby(&self->b));
	ASSERT_TRUE(puppet_standby(&self->c));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	k_queue(&self->k, 0, 1);
	k_queue(&self->k, 1, 1);
	EXPECT_EQ(0, puppet_run(&self->a, order_detach, 0));
	EXPECT_LE(0, puppet_finish(&self->b));
	EXPECT_LE(0, puppet_finish(&self->c));
	EXPECT_NE(self->b.ret, self->c.ret);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* The same at the end of the thread; without demand both become idle. */
TEST_F(park, latched_exit)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->a.w));
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
	puppet_end(&self->a);
	EXPECT_TRUE(until(k_idle_exact(&self->k, 2)));
	EXPECT_EQ(2, self->k.h->workers);
	EXPECT_EQ(0, self->b.slot->grants);
}

/*
 * Deadlines are the caller's CLOCK_MONOTONIC, also in a time namespace.
 */

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static void *parks_for_ever(void *arg)
{
	k_attach(arg);
	k_park(arg, 0, ~0ull);
	return NULL;
}

/* In the namespace: 0 if PARK gave up when it was time, soon after. */
static int parks(int64_t wait)
{
	uint64_t at;
	struct ktx k;
	pthread_t t;
	long r;

	k_open(&k, 1);
	if (pthread_create(&t, NULL, parks_for_ever, &k) || k_attach(&k) < 0)
		return 2;
	at = now_ns() + wait;
	r = k_park(&k, 0, at);
	if (r != -ETIMEDOUT)
		return 3;
	if (now_ns() < at)
		return 4;
	if (now_ns() > at + wait_ns())
		return 5;
	/* no deadline is none there, too: it still waits */
	return k.h->standby == 1 ? 0 : 6;
}

/* Its exit status; 77: no such namespaces here. */
static int parks_in_time_namespace(const char *offset, int64_t wait)
{
	int status, fd;
	pid_t pid;

	pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWTIME))
			_exit(77);
		fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
		if (write(fd, offset, strlen(offset)) < 0)
			_exit(78);
		/* the next child is in it */
		pid = fork();
		if (!pid) {
			alarm(30);
			_exit(parks(wait));
		}
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 79);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 80;
}

TEST(time_namespace)
{
	if (access("/proc/self/ns/time", F_OK))
		SKIP(return, "no time namespaces");
	/* a container that was moved from a machine that has been up longer, or shorter */
	EXPECT_EQ(0, parks_in_time_namespace("monotonic 10000 0\n", 20000000));
	EXPECT_EQ(0, parks_in_time_namespace("monotonic -1 0\n", 500000000));
}

/*
 * PARK_TO (6).
 */

static long order_park_to(struct puppet *p, long target)
{
	return k_park_to(p->k, 0, target, 0);
}

static long order_park_to_bound(struct puppet *p, long target)
{
	return k_park_to(p->k, GSCHED_PARK_BOUND, target, 0);
}

/* The proc goes from one to the other and is never idle. */
TEST_F(park, park_to)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(puppet_bound(&self->b));
	puppet_start(&self->a, order_park_to, self->b.w);
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(1, self->b.slot->proc);
	EXPECT_EQ(1, self->b.slot->grants);
	EXPECT_TRUE(until(self->k.h->standby == 1));
	EXPECT_EQ(0, self->a.slot->proc);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	/* A stand-by may be named, too; the caller may be bound. */
	puppet_start(&self->b, order_park_to_bound, self->a.w);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_TRUE(until(puppet_asleep(&self->b)));
	EXPECT_EQ(0, self->k.h->standby);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/* The caller looks again, like any that parks. */
TEST_F(park, park_to_looks_again)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(puppet_bound(&self->b));
	k_queue(&self->k, 1, 1);
	EXPECT_EQ(1 | GSCHED_GRANT_SPIN, puppet_run(&self->a, order_park_to, self->b.w));
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* -ESRCH, -EBUSY, -EAGAIN: nothing changes. */
TEST_F(park, park_to_refused)
{
	EXPECT_EQ(-ESRCH, puppet_run(&self->a, order_park_to, 99));
	/* Holds none itself. */
	EXPECT_EQ(-EAGAIN, puppet_run(&self->a, order_park_to, self->b.w));
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(acquire(&self->b, 1));
	EXPECT_EQ(-ESRCH, puppet_run(&self->a, order_park_to, 99));
	EXPECT_EQ(-EBUSY, puppet_run(&self->a, order_park_to, self->b.w));
	EXPECT_EQ(-EBUSY, puppet_run(&self->a, order_park_to, self->a.w));
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->c.w));
	EXPECT_EQ(-EBUSY, puppet_run(&self->a, order_park_to, self->c.w));
	EXPECT_EQ(1, self->a.slot->proc);
	EXPECT_EQ(self->a.w + 1, self->k.p[0].owner);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* The target is not in PARK: the grant is latched. */
TEST_F(park, park_to_latched)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	puppet_start(&self->a, order_park_to, self->b.w);
	EXPECT_TRUE(until(self->k.h->standby == 1));
	EXPECT_EQ(self->b.w + 1, self->k.p[0].owner);
	EXPECT_EQ(0, self->b.slot->proc);
	EXPECT_EQ(0, puppet_run(&self->b, order_park, 0));
	EXPECT_EQ(1, self->b.slot->proc);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

#define HOPS 500

static uint32_t hops;

static long order_hop(struct puppet *p, long other)
{
	long ret;

	for (;;) {
		if (p->slot->proc != 1)
			return -1;
		if (++hops >= HOPS)
			return 0;
		ret = k_park_to(p->k, GSCHED_PARK_BOUND, other, 0);
		if (ret)
			return ret;
	}
}

static long order_park_then_hop(struct puppet *p, long other)
{
	long ret = k_park(p->k, GSCHED_PARK_BOUND, 0);

	return ret ? ret : order_hop(p, other);
}

/* To and fro, many times: also to one that has not parked yet. */
TEST_F(park, park_to_and_fro)
{
	uint32_t before;
	bool done;

	ASSERT_TRUE(acquire(&self->a, 0));
	hops = 0;
	puppet_start(&self->b, order_park_then_hop, self->a.w);
	puppet_start(&self->a, order_hop, self->b.w);
	/* However long it takes, as long as it goes on. */
	do {
		before = __atomic_load_n(&hops, __ATOMIC_RELAXED);
		done = until(puppet_done(&self->a) || puppet_done(&self->b));
	} while (!done && __atomic_load_n(&hops, __ATOMIC_RELAXED) != before);
	EXPECT_TRUE(done);
	EXPECT_EQ(HOPS, hops);
	EXPECT_EQ(0, puppet_done(&self->a) ? self->a.ret : self->b.ret);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

/*
 * SET_PROCS (12).
 */

/* Down: idle procs retire at once, and are never granted. */
TEST_F(park, fewer_procs_idle)
{
	EXPECT_EQ(2, k_set_procs(&self->k, 1));
	EXPECT_EQ(1, self->k.h->nproc);
	EXPECT_EQ(2, self->k.h->procs_used);
	EXPECT_EQ(GSCHED_RETIRED, self->k.p[1].owner);
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	EXPECT_EQ(0, k_unpark(&self->k, GSCHED_UNPARK_PROC, 1));
	ASSERT_TRUE(acquire(&self->a, 0));
	EXPECT_EQ(-EAGAIN, puppet_run(&self->b, order_acquire, 0));
	/* Its queue is demand for the others, but never makes it a choice. */
	k_queue(&self->k, 1, 1);
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(GSCHED_GRANT_SPIN, puppet_run(&self->a, order_park, 0));
}

/* Down: an owner keeps its proc until it parks. */
TEST_F(park, fewer_procs_owned)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(acquire(&self->b, 1));
	EXPECT_EQ(2, k_set_procs(&self->k, 1));
	EXPECT_EQ(self->b.w + 1, self->k.p[1].owner);
	EXPECT_EQ(1, puppet_run(&self->b, order_acquire, 0));
	/* Nor may it be passed on. */
	EXPECT_EQ(-EAGAIN, puppet_run(&self->b, order_park_to, self->c.w));
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(GSCHED_RETIRED, self->k.p[1].owner);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

/* Down and up again before the owner noticed: nothing happened. */
TEST_F(park, fewer_and_more)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(acquire(&self->b, 1));
	EXPECT_EQ(2, k_set_procs(&self->k, 1));
	EXPECT_EQ(1, k_set_procs(&self->k, 2));
	EXPECT_EQ(self->b.w + 1, self->k.p[1].owner);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
}

static int pipe_fd[2];

static long order_read(struct puppet *p, long unused)
{
	char c;

	p->slot->depth = 0;
	if (read(pipe_fd[0], &c, 1) != 1)
		return -1;
	p->slot->depth = 1;
	return p->slot->proc;
}

/* Down: an owner that blocks retires the proc, and does not get it back. */
TEST_F(park, fewer_procs_blocks)
{
	ASSERT_EQ(0, pipe(pipe_fd));
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(acquire(&self->b, 1));
	EXPECT_EQ(2, k_set_procs(&self->k, 1));
	puppet_start(&self->b, order_read, 0);
	ASSERT_TRUE(until(self->k.p[1].owner == GSCHED_RETIRED));
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
	EXPECT_EQ(1, write(pipe_fd[1], "", 1));
	EXPECT_EQ(0, puppet_finish(&self->b));
	EXPECT_EQ(GSCHED_LOST, self->b.slot->pending);
	EXPECT_EQ(GSCHED_RETIRED, self->k.p[1].owner);
}

/* ... and the queue it leaves behind is demand: another idle proc is offered. */
TEST_F(park, retired_queue_is_offered)
{
	ASSERT_EQ(0, pipe(pipe_fd));
	ASSERT_TRUE(acquire(&self->a, 0));
	ASSERT_TRUE(acquire(&self->b, 1));
	ASSERT_TRUE(puppet_standby(&self->c));
	ASSERT_TRUE(puppet_standby(&self->a));
	EXPECT_EQ(2, k_set_procs(&self->k, 1));
	k_queue(&self->k, 1, 1);
	puppet_start(&self->b, order_read, 0);
	EXPECT_TRUE(until(puppet_done(&self->a) || puppet_done(&self->c)));
	EXPECT_EQ(1, self->k.h->spinning);
	EXPECT_EQ(1, self->k.h->standby);
	EXPECT_EQ(1, self->b.slot->handoffs);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
	EXPECT_EQ(1, write(pipe_fd[1], "", 1));
	EXPECT_EQ(0, puppet_finish(&self->b));
}

/* Up: new procs are idle, and offered if there is work. */
TEST_F(park, more_procs)
{
	ASSERT_TRUE(puppet_standby(&self->a));
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(2, k_set_procs(&self->k, 5));
	EXPECT_TRUE(k_idle_exact(&self->k, 5));
	EXPECT_EQ(5, self->k.h->procs_used);
	EXPECT_EQ(2, self->k.h->standby);

	EXPECT_EQ(5, k_set_procs(&self->k, 1));
	EXPECT_TRUE(k_idle_exact(&self->k, 1));
	k_queue(&self->k, 3, 1);
	EXPECT_EQ(1, k_set_procs(&self->k, GSCHED_MAXPROCS));
	/* The one with the work, or a spinner: both find it. */
	EXPECT_TRUE(until(puppet_done(&self->a) || puppet_done(&self->b)));
	EXPECT_EQ(GSCHED_MAXPROCS, k_set_procs(&self->k, 2));
}

/* Down while one is latched: it is returned all the same, and retires then. */
TEST_F(park, fewer_procs_latched)
{
	ASSERT_TRUE(acquire(&self->a, 0));
	EXPECT_EQ(1, k_unpark(&self->k, GSCHED_UNPARK_WORKER, self->b.w));
	EXPECT_EQ(2, k_set_procs(&self->k, 1));
	EXPECT_EQ(1, puppet_run(&self->b, order_park, 0));
	EXPECT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(GSCHED_RETIRED, self->k.p[1].owner);
	EXPECT_TRUE(k_idle_exact(&self->k, 0));
}

TEST_HARNESS_MAIN
