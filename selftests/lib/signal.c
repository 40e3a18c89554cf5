// SPDX-License-Identifier: GPL-2.0
/* gsched/signal.h: signals into channels, what they do without one, and in children. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/syscall.h>

#include <gsched/chan.h>
#include <gsched/debug.h>
#include <gsched/io.h>
#include <gsched/select.h>
#include <gsched/signal.h>
#include <gsched/sync.h>
#include <gsched/typed.h>

#include "util.h"

static gs_chan *new_chan(size_t cap)
{
	gs_chan *c = gs_chan_new(sizeof(int), cap);

	if (!c)
		abort();
	return c;
}

static void send_self(int sig)
{
	CHECK_EQ(kill(getpid(), sig), 0);
}

static int recv_one(gs_chan *c)
{
	int sig = -1;
	bool ok = false;
	struct gs_case cases[] = {
		{.chan = c, .op = GS_OP_RECV, .elem = &sig, .ok = &ok},
		{.op = GS_OP_AFTER, .ns = ut_limit(UT_WAIT * SEC)},
	};

	CHECK_EQ(gs_select_cases(cases, 2), 0);
	CHECK(ok);
	return sig;
}

static void drop(gs_chan *c)
{
	gs_signal_stop(c);
	gs_chan_unref(c);
}

/* ------------------------------------------------------------------------- */

static void told(void *arg)
{
	gs_chan *c = new_chan(1);

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	for (int i = 0; i < 20; i++) {
		send_self(SIGUSR1);
		CHECK_EQ(recv_one(c), SIGUSR1);
	}
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(recv_one(c), SIGUSR1);
	CHECK_EQ(gs_chan_len(c), 0);
	drop(c);
}

TEST(told_to_a_fiber)
{
	RUN(told, NULL);
}

TEST(told_to_a_thread)
{
	told(NULL);
	EXPECT_EQ(0, LOAD(ut_failed));
}

static void every_number(void *arg)
{
	gs_chan *c = new_chan(70);

	(void)arg;
	for (int sig = 1; sig <= 64; sig++) {
		bool ok = sig != SIGKILL && sig != SIGSTOP && sig != 32 && sig != 33;

		CHECK_EQ(gs_signal_notify(c, sig), ok ? 0 : -EINVAL);
		if (!ok)
			continue;
		send_self(sig);
		CHECK_EQ(recv_one(c), sig);
	}
	drop(c);
}

TEST(every_number_told)
{
	RUN(every_number, NULL);
}

TEST(bad_numbers)
{
	static const int bad[] = {-1, 0, SIGKILL, SIGSTOP, 32, 33, 65, 1000, INT32_MAX, INT32_MIN};
	gs_chan *c = new_chan(1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EXPECT_EQ(-EINVAL, gs_signal_notify(c, bad[i]));
		EXPECT_EQ(-EINVAL, gs_signal_ignore(bad[i]));
		EXPECT_EQ(-EINVAL, gs_signal_reset(bad[i]));
		EXPECT_FALSE(gs_signal_ignored(bad[i]));
	}
	gs_signal_stop(c);
	gs_signal_stop(NULL);
	gs_chan_unref(c);
}

static void many_to_many(void *arg)
{
	gs_chan *a = new_chan(4), *b = new_chan(4), *other = new_chan(4);

	(void)arg;
	CHECK_EQ(gs_signal_notify(a, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(a, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(a, SIGUSR2), 0);
	CHECK_EQ(gs_signal_notify(b, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(other, SIGHUP), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(a), SIGUSR1);
	CHECK_EQ(recv_one(b), SIGUSR1);
	send_self(SIGUSR2);
	CHECK_EQ(recv_one(a), SIGUSR2);
	gs_signal_stop(a);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(b), SIGUSR1);
	send_self(SIGHUP);
	CHECK_EQ(recv_one(other), SIGHUP);
	CHECK_EQ(gs_chan_len(a), 0);
	CHECK_EQ(gs_chan_len(b), 0);
	CHECK_EQ(gs_chan_len(other), 0);
	drop(a);
	drop(b);
	drop(other);
}

TEST(many_channels_many_signals)
{
	RUN(many_to_many, NULL);
}

/* The second channel tells when the first one's turn is over: it is served after it. */
static void full_drops(void *arg)
{
	gs_chan *full = new_chan(1), *after = new_chan(1);

	(void)arg;
	CHECK_EQ(gs_signal_notify(full, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(full, SIGUSR2), 0);
	CHECK_EQ(gs_signal_notify(after, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(after, SIGUSR2), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(after), SIGUSR1);
	send_self(SIGUSR2);
	CHECK_EQ(recv_one(after), SIGUSR2);
	CHECK_EQ(recv_one(full), SIGUSR1);
	CHECK_EQ(gs_chan_len(full), 0);
	/* and there is room again */
	send_self(SIGUSR2);
	CHECK_EQ(recv_one(after), SIGUSR2);
	CHECK_EQ(recv_one(full), SIGUSR2);
	drop(full);
	drop(after);
}

TEST(full_channel_drops)
{
	RUN(full_drops, NULL);
}

static int handled; /* atomic */

static void on_usr(int sig)
{
	ADD(handled, 1);
	(void)sig;
}

static void handle(int sig, void (*fn)(int))
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = SA_RESTART};

	if (sigaction(sig, &sa, NULL))
		abort();
}

static int got; /* atomic */

static void take_one(void *c)
{
	STORE(got, recv_one(c));
}

static void unbuffered(void *arg)
{
	gs_chan *c = new_chan(0), *after = new_chan(1);

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(after, SIGUSR1), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(after), SIGUSR1);
	CHECK_EQ(gs_chan_try_recv(c, NULL), -EAGAIN);
	CHECK_EQ(gs_go(take_one, c), 0);
	/* it may not wait yet */
	UNTIL(({
		int sig;

		send_self(SIGUSR1);
		gs_yield();
		while (gs_chan_try_recv(after, &sig) == 1)
			;
		LOAD(got) == SIGUSR1;
	}));
	drop(c);
	drop(after);
}

TEST(unbuffered_needs_a_receiver)
{
	/* of many that are sent the last may come after the stop */
	handle(SIGUSR1, on_usr);
	RUN(unbuffered, NULL);
}

/* ------------------------------------------------------------------------- */
/* Without a channel                                                           */

static void stop_then_die(void *arg)
{
	int how = (int)(intptr_t)arg;
	gs_chan *c = new_chan(1), *d = new_chan(1);

	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(d, SIGUSR1), 0);
	gs_signal_stop(c);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(d), SIGUSR1);
	if (how == 0)
		gs_signal_stop(d);
	else
		CHECK_EQ(gs_signal_reset(SIGUSR1), 0);
	if (LOAD(ut_failed))
		_exit(9);
	send_self(SIGUSR1);
	_exit(10);
}

static void run_stop_then_die(void *arg)
{
	gs_run(stop_then_die, arg);
}

TEST(default_action_after_stop)
{
	struct ut_child *c = ut_child_run(run_stop_then_die, (void *)0, 60 * SEC);

	EXPECT_EQ(128 + SIGUSR1, c->status);
}

TEST(default_action_after_reset)
{
	struct ut_child *c = ut_child_run(run_stop_then_die, (void *)1, 60 * SEC);

	EXPECT_EQ(128 + SIGUSR1, c->status);
}

static void earlier_handler(void *arg)
{
	gs_chan *c = new_chan(1);
	struct sigaction now;

	(void)arg;
	handle(SIGUSR1, on_usr);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	CHECK_EQ(LOAD(handled), 0);
	gs_signal_stop(c);
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 1);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &now), 0);
	CHECK(now.sa_handler == on_usr);
	CHECK_EQ(now.sa_flags & (SA_RESTART | SA_ONSTACK | SA_SIGINFO), SA_RESTART);
	/* again, and by the other way */
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	CHECK_EQ(gs_signal_reset(SIGUSR1), 0);
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 2);
	CHECK_EQ(gs_chan_len(c), 0);
	gs_chan_unref(c);
}

TEST(earlier_handler_comes_back)
{
	RUN(earlier_handler, NULL);
}

static void later_handler(void *arg)
{
	gs_chan *c = new_chan(1);

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	handle(SIGUSR1, on_usr);
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 1);
	CHECK_EQ(gs_chan_len(c), 0);
	/* until the next notify... */
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	CHECK_EQ(LOAD(handled), 1);
	/* ...and it is what a stop leaves or brings back */
	gs_signal_stop(c);
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 2);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	handle(SIGUSR1, on_usr);
	gs_signal_stop(c);
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 3);
	gs_chan_unref(c);
}

TEST(later_handler_counts)
{
	RUN(later_handler, NULL);
}

static void (*before)(int, siginfo_t *, void *);

static void on_usr_chained(int sig, siginfo_t *info, void *context)
{
	ADD(handled, 1);
	before(sig, info, context);
}

/* A handler that calls the one it found, which was the library's. */
static void chained(void *arg)
{
	struct sigaction sa = {.sa_sigaction = on_usr_chained, .sa_flags = SA_SIGINFO}, old;
	gs_chan *c = new_chan(1);

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &old), 0);
	before = old.sa_sigaction;
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	UNTIL(LOAD(handled) == 1);
	drop(c);
	/* it has nobody to tell any more, and does not stand for the default action */
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 2);
}

TEST(handler_that_calls_ours)
{
	RUN(chained, NULL);
}

static void ignore_it(void *arg)
{
	gs_chan *c = new_chan(1), *after = new_chan(1);
	struct sigaction now;

	(void)arg;
	handle(SIGUSR1, on_usr);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(after, SIGUSR2), 0);
	CHECK(!gs_signal_ignored(SIGUSR1));
	CHECK_EQ(gs_signal_ignore(SIGUSR1), 0);
	CHECK_EQ(gs_signal_ignore(SIGUSR1), 0);
	CHECK(gs_signal_ignored(SIGUSR1));
	CHECK(!gs_signal_ignored(SIGUSR2));
	CHECK_EQ(sigaction(SIGUSR1, NULL, &now), 0);
	CHECK(now.sa_handler == SIG_IGN);
	send_self(SIGUSR1);
	send_self(SIGUSR2);
	CHECK_EQ(recv_one(after), SIGUSR2);
	CHECK_EQ(gs_chan_len(c), 0);
	CHECK_EQ(LOAD(handled), 0);
	/* notify undoes it */
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK(!gs_signal_ignored(SIGUSR1));
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	/* and reset goes back to what was before all of that */
	CHECK_EQ(gs_signal_ignore(SIGUSR1), 0);
	CHECK_EQ(gs_signal_reset(SIGUSR1), 0);
	CHECK(!gs_signal_ignored(SIGUSR1));
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 1);
	CHECK_EQ(gs_signal_reset(SIGUSR1), 0);
	send_self(SIGUSR1);
	UNTIL(LOAD(handled) == 2);
	CHECK_EQ(gs_chan_len(c), 0);
	gs_chan_unref(c);
	drop(after);
}

TEST(ignore)
{
	RUN(ignore_it, NULL);
}

TEST(reset_of_nothing)
{
	handle(SIGUSR1, on_usr);
	EXPECT_EQ(0, gs_signal_reset(SIGUSR1));
	EXPECT_EQ(0, gs_signal_reset(SIGUSR2));
	raise(SIGUSR1);
	EXPECT_EQ(1, LOAD(handled));
}

/* As under nohup(1): what was ignored from the start is so again after a stop. */
static void nohup(void *arg)
{
	gs_chan *c = new_chan(1), *after = new_chan(1);

	(void)arg;
	CHECK(gs_signal_ignored(SIGHUP));
	CHECK_EQ(gs_signal_notify(after, SIGUSR1), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gs_signal_notify(c, SIGHUP), 0);
		CHECK(!gs_signal_ignored(SIGHUP));
		send_self(SIGHUP);
		CHECK_EQ(recv_one(c), SIGHUP);
		gs_signal_stop(c);
		CHECK(gs_signal_ignored(SIGHUP));
		send_self(SIGHUP);
		send_self(SIGUSR1);
		CHECK_EQ(recv_one(after), SIGUSR1);
		CHECK_EQ(gs_chan_len(c), 0);
	}
	gs_chan_unref(c);
	drop(after);
}

TEST(ignored_from_the_start)
{
	signal(SIGHUP, SIG_IGN);
	RUN(nohup, NULL);
}

/* ------------------------------------------------------------------------- */
/* A signal that comes while it is stopped is told, or does what it did            */

static void *killer(void *arg)
{
	struct timespec ts = {.tv_nsec = (long)(intptr_t)arg};

	nanosleep(&ts, NULL);
	kill(getpid(), SIGINT);
	return NULL;
}

static void stop_at_once(void *arg)
{
	gs_chan *c = new_chan(1);
	pthread_t thread;

	CHECK_EQ(gs_signal_notify(c, SIGINT), 0);
	CHECK_EQ(pthread_create(&thread, NULL, killer, arg), 0);
	ut_burn((intptr_t)arg * 31 % 150000);
	gs_signal_stop(c);
	/* a thread may have taken it before and not got to the handler yet */
	_exit(UNTIL_NS(gs_chan_try_recv(c, NULL) == 1, UT_WAIT * SEC) ? 7 : 8);
}

static void run_stop_at_once(void *arg)
{
	gs_run(stop_at_once, arg);
}

TEST(stop_loses_nothing)
{
#ifdef UT_TSAN
	SKIP(return, "TSan delays signals");
#endif
	long n = ut_count(60, 12);
	int told_n = 0, killed_n = 0;

	for (long i = 0; i < n; i++) {
		struct ut_child *c = ut_child_run(run_stop_at_once,
						  (void *)(intptr_t)(i * 7919 % 60000), 60 * SEC);

		told_n += c->status == 7;
		killed_n += c->status == 128 + SIGINT;
		free(c);
	}
	EXPECT_EQ(n, told_n + killed_n)
	{
		TH_LOG("%d told, %d killed", told_n, killed_n);
	}
}

/* As if the kernel had chosen our handler before the stop; on a worker, not the first thread. */
static void late_on_a_worker(void *arg)
{
	gs_chan *c = new_chan(1);
	struct sigaction ours;

	CHECK_EQ(gs_signal_notify(c, SIGINT), 0);
	CHECK_EQ(sigaction(SIGINT, NULL, &ours), 0);
	gs_signal_stop(c);
	CHECK_EQ(sigaction(SIGINT, &ours, NULL), 0);
	raise(SIGINT);
	_exit(8);
}

static void run_late_on_a_worker(void *arg)
{
	gs_run(late_on_a_worker, arg);
}

TEST(late_is_not_lost)
{
	struct ut_child *c = ut_child_run(run_late_on_a_worker, NULL, 60 * SEC);

	EXPECT_EQ(128 + SIGINT, c->status);
	free(c);
}

/* ------------------------------------------------------------------------- */
/* Where it comes to                                                           */

static int pipe_fd[2];
static pid_t reader_tid;
static int reader_state; /* atomic: 1 it reads, 2 it has read */

static void read_plainly(void *arg)
{
	char byte = 0;

	(void)arg;
	/* so that it is blocked on the thread that it names */
	gs_lock_thread();
	reader_tid = (pid_t)syscall(SYS_gettid);
	STORE(reader_state, 1);
	gs_blocking_begin();
	/* no EINTR: SA_RESTART */
	CHECK_EQ(read(pipe_fd[0], &byte, 1), 1);
	gs_blocking_end();
	gs_unlock_thread();
	CHECK_EQ(byte, 'x');
	STORE(reader_state, 2);
}

static bool sleeps_in_read(void)
{
	char path[300], text[256] = "";
	DIR *dir;
	struct dirent *e;
	bool found = false;

	dir = opendir("/proc/self/task");
	while (dir && (e = readdir(dir))) {
		int fd;
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", e->d_name);
		fd = open(path, O_RDONLY);
		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		if (fd >= 0)
			close(fd);
		if (n > 0) {
			long nr;
			unsigned long a;

			text[n] = '\0';
			if (sscanf(text, "%ld %lx", &nr, &a) == 2 && nr == SYS_read &&
			    a == (unsigned long)pipe_fd[0])
				found = true;
		}
	}
	if (dir)
		closedir(dir);
	return found;
}

static void during_a_call(void *arg)
{
	gs_chan *c = new_chan(1);

	(void)arg;
	CHECK_EQ(pipe(pipe_fd), 0);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gs_go(read_plainly, NULL), 0);
	UNTIL(LOAD(reader_state) == 1 && sleeps_in_read());
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	/* to the very thread that is blocked */
	CHECK_EQ(syscall(SYS_tgkill, getpid(), reader_tid, SIGUSR1), 0);
	CHECK_EQ(recv_one(c), SIGUSR1);
	CHECK_EQ(LOAD(reader_state), 1);
	CHECK_EQ(write(pipe_fd[1], "x", 1), 1);
	UNTIL(LOAD(reader_state) == 2);
	drop(c);
}

TEST(during_a_system_call)
{
#ifdef UT_TSAN
	SKIP(return, "TSan runs handlers when the call has ended");
#endif
	RUN(during_a_call, NULL);
}

static void *wait_in_thread(void *arg)
{
	int *state = arg;

	/*
	 * gcc's TSan loses a signal that comes while a thread's first call makes what it keeps
	 * signals in; seen in a program without us.
	 */
	usleep(1000);
	STORE(*state, 1);
	while (LOAD(*state) == 1)
		usleep(1000);
	return NULL;
}

static void to_a_thread(void *arg)
{
	gs_chan *c = new_chan(1);
	pthread_t thread;
	int state = 0;

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(pthread_create(&thread, NULL, wait_in_thread, &state), 0);
	UNTIL(LOAD(state) == 1);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
		CHECK_EQ(recv_one(c), SIGUSR1);
	}
	STORE(state, 2);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	drop(c);
}

TEST(directed_at_a_thread)
{
	RUN(to_a_thread, NULL);
}

static void blocked(void *arg)
{
	gs_chan *c = new_chan(1);
	sigset_t pending;

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	gs_signal_stop(c);
	/* the runtime's thread has it blocked again, sooner or later: then it stays pending */
	signal(SIGUSR1, on_usr);
	UNTIL(({
		send_self(SIGUSR1);
		CHECK_EQ(sigpending(&pending), 0);
		sigismember(&pending, SIGUSR1);
	}));
	gs_chan_unref(c);
}

TEST(blocked_in_every_thread)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	RUN(blocked, NULL);
}

static int hogs_stop; /* atomic */

static void hog(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&hogs_stop, __ATOMIC_RELAXED))
		;
}

static void beside_hogs(void *arg)
{
	gs_chan *c = new_chan(1);
	int n = gs_max_procs(0);

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGTERM), 0);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gs_go(hog, NULL), 0);
	for (int i = 0; i < 5; i++) {
		send_self(SIGTERM);
		CHECK_EQ(recv_one(c), SIGTERM);
	}
	STORE(hogs_stop, 1);
	drop(c);
}

TEST(beside_fibers_that_compute)
{
#ifdef UT_TSAN
	SKIP(return, "nothing is interrupted under TSan");
#endif
	RUN(beside_hogs, NULL);
}

/* The runtime's own signals, by which it slices and kicks, are not told. */
static void sigurg(void *arg)
{
	gs_chan *c = new_chan(16), *after = new_chan(1);
	int n = gs_max_procs(0);

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGURG), 0);
	CHECK_EQ(gs_signal_notify(after, SIGUSR1), 0);
	for (int i = 0; i < n + 1; i++)
		CHECK_EQ(gs_go(hog, NULL), 0);
	for (int i = 0; i < 10; i++)
		gs_sleep(5 * MS);
	CHECK_EQ(gs_chan_len(c), 0);
	send_self(SIGURG);
	CHECK_EQ(recv_one(c), SIGURG);
	STORE(hogs_stop, 1);
	gs_signal_stop(c);
	send_self(SIGURG);
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(after), SIGUSR1);
	CHECK_EQ(gs_chan_len(c), 0);
	gs_chan_unref(c);
	drop(after);
}

TEST(sigurg_of_the_programs_own)
{
#ifdef UT_TSAN
	SKIP(return, "nothing is interrupted under TSan");
#endif
	RUN(sigurg, NULL);
}

/* ------------------------------------------------------------------------- */
/* Faults                                                                      */

static sigjmp_buf fault_jmp;
/* not NULL: UBSan would say that itself */
static volatile int *volatile nowhere = (volatile int *)16;

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(fault_jmp, 1);
}

static void faults(void *arg)
{
	gs_chan *c = new_chan(1);
	volatile int n = 0;

	(void)arg;
	handle(SIGSEGV, on_fault);
	CHECK_EQ(gs_signal_notify(c, SIGSEGV), 0);
	for (int i = 0; i < 3; i++) {
		if (sigsetjmp(fault_jmp, 1) == 0)
			*nowhere = 1;
		n++;
	}
	CHECK_EQ(n, 3);
	CHECK_EQ(gs_chan_len(c), 0);
	/* one that was sent is a signal like all others */
	send_self(SIGSEGV);
	CHECK_EQ(recv_one(c), SIGSEGV);
	drop(c);
}

TEST(faults_go_to_the_programs_handler)
{
	RUN(faults, NULL);
}

static void fault_kills(void *arg)
{
	gs_chan *c = new_chan(1);

	(void)arg;
	gs_signal_notify(c, SIGSEGV);
	*nowhere = 1;
}

static void run_fault_kills(void *arg)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};

	sigaction(SIGSEGV, &sa, NULL);
	gs_run(fault_kills, arg);
}

TEST(fault_without_a_handler_kills)
{
	struct ut_child *c = ut_child_run(run_fault_kills, NULL, 60 * SEC);

	EXPECT_EQ(128 + SIGSEGV, c->status);
}

/* ------------------------------------------------------------------------- */
/* Misuse, deadlock                                                            */

static void notify_nil(void *arg)
{
	(void)arg;
	gs_signal_notify(NULL, SIGINT);
}

static void notify_chars(void *arg)
{
	(void)arg;
	gs_signal_notify(gs_chan_new(1, 1), SIGINT);
}

static void notify_closed(void *arg)
{
	gs_chan *c = new_chan(1);

	(void)arg;
	gs_signal_notify(c, SIGUSR1);
	gs_chan_close(c);
	send_self(SIGUSR1);
	for (;;)
		gs_sleep(SEC);
}

static void deadlock_while_notified(void *arg)
{
	gs_chan *c = new_chan(1);

	(void)arg;
	gs_signal_notify(c, SIGUSR1);
	/* nothing else can wake anybody */
	gs_chan_recv(c, NULL);
	gs_signal_stop(c);
	gs_chan_recv(c, NULL);
}

static void run_in_child(void *arg)
{
	void (*fn)(void *);

	memcpy(&fn, arg, sizeof(fn));
	gs_run(fn, NULL);
}

static struct ut_child *child(void (*fn)(void *))
{
	return ut_child_run(run_in_child, &fn, 60 * SEC);
}

TEST(misuse)
{
	struct ut_child *c = child(notify_nil);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: os/signal: Notify using nil channel");
	c = child(notify_chars);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: gs_signal_notify: a channel of elements of 1 bytes, not of int");
	c = child(notify_closed);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: send on closed channel");
}

TEST(no_deadlock_while_notified)
{
	int fds[2], status;
	char buf[4096];
	ssize_t n, len = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		void (*fn)(void *) = deadlock_while_notified;

		dup2(fds[1], 2);
		close(fds[1]);
		run_in_child(&fn);
		_exit(0);
	}
	close(fds[1]);
	/* a report would come after 10 ms or so; what is late does not fail */
	usleep(100000);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	/* SIGUSR1 kills it unless it was notified by then: only then there is a report */
	UNTIL(({
		char path[64], text[4096] = "", *s;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
			text[0] = '\0';
		if (fd >= 0)
			close(fd);
		s = strstr(text, "SigCgt:");
		s &&strtoull(s + 7, NULL, 16) >> (SIGUSR1 - 1) & 1;
	}));
	EXPECT_EQ(0, kill(pid, SIGUSR1));
	while ((n = read(fds[0], buf + len, sizeof(buf) - 1 - (size_t)len)) > 0)
		len += n;
	buf[len] = '\0';
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	EXPECT_NE(NULL, strstr(buf, "all goroutines are asleep - deadlock!"))
	{
		TH_LOG("%s", buf);
	}
}

/* ------------------------------------------------------------------------- */
/* Children                                                                    */

static void on_winch(int sig)
{
	ADD(handled, 100);
	(void)sig;
}

static void in_fork(void *arg)
{
	gs_chan *c = new_chan(1);
	int status = 0;
	pid_t pid;

	(void)arg;
	handle(SIGUSR2, on_usr);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gs_signal_notify(c, SIGUSR2), 0);
	CHECK_EQ(gs_signal_notify(c, SIGWINCH), 0);
	handle(SIGWINCH, on_winch);
	CHECK_EQ(gs_signal_ignore(SIGHUP), 0);
	pid = fork();
	if (!pid) {
		bool ok = gs_signal_ignored(SIGHUP) && gs_signal_notify(c, SIGUSR1) == -EPERM;

		raise(SIGUSR2);
		ok = ok && LOAD(handled) == 1;
		/* the program's, which came after ours */
		raise(SIGWINCH);
		ok = ok && LOAD(handled) == 101;
		gs_signal_stop(c);
		raise(SIGHUP);
		if (!ok)
			_exit(3);
		raise(SIGUSR1);
		_exit(4);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	CHECK_EQ(gs_chan_len(c), 0);
	send_self(SIGUSR2);
	CHECK_EQ(recv_one(c), SIGUSR2);
	CHECK_EQ(LOAD(handled), 0);
	drop(c);
}

TEST(child_of_a_fork)
{
	RUN(in_fork, NULL);
}

/* Its memory is ours: the handler must know all the same. */
static void in_vfork(void *arg)
{
	struct sigaction once = {.sa_handler = on_usr, .sa_flags = SA_RESETHAND}, a;
	gs_chan *c = new_chan(1);
	int status = 0;
	pid_t pid;

	(void)arg;
	CHECK_EQ(sigaction(SIGWINCH, &once, NULL), 0);
	CHECK_EQ(gs_signal_notify(c, SIGWINCH), 0);
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	/* no fiber that vforks may be taken to another thread meanwhile */
	gs_lock_thread();
	pid = vfork();
	if (!pid) {
		/* its handler's one time is the child's */
		syscall(SYS_kill, syscall(SYS_getpid), SIGWINCH);
		syscall(SYS_kill, syscall(SYS_getpid), SIGWINCH);
		syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
		_exit(4);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	gs_unlock_thread();
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	CHECK_EQ(gs_chan_len(c), 0);
#ifndef UT_TSAN /* it calls handlers later than that */
	CHECK_EQ(LOAD(handled), 1);
#endif
	send_self(SIGUSR1);
	CHECK_EQ(recv_one(c), SIGUSR1);
	drop(c);
	CHECK_EQ(sigaction(SIGWINCH, NULL, &a), 0);
	CHECK(a.sa_handler == on_usr);
}

TEST(child_of_a_vfork)
{
	RUN(in_vfork, NULL);
}

/* ------------------------------------------------------------------------- */
/* What a handler may not do                                                   */

static intptr_t way; /* before the handler */
static gs_chan *nobody_sends;
static gs_mutex held;

static void park_in_handler(int sig)
{
	(void)sig;
	switch (way) {
	case 0:
		gs_yield();
		break;
	case 1:
		gs_sleep(MS);
		break;
	case 2:
		gs_chan_recv(nobody_sends, NULL);
		break;
	case 3:
		/* long enough for its proc to go to another: it would have to be queued */
		usleep(100000);
		gs_id();
		gs_nopreempt_begin();
		break;
	default:
		gs_mutex_lock(&held);
	}
	_exit(50);
}

/* Somebody for gs_yield to yield to, whenever the handler comes. */
static void yields(void *arg)
{
	(void)arg;
	for (;;)
		gs_yield();
}

static void handler_parks(void *arg)
{
	(void)arg;
	nobody_sends = new_chan(0);
	gs_mutex_lock(&held);
	gs_go(yields, NULL);
	handle(SIGUSR1, park_in_handler);
	raise(SIGUSR1);
}

static void run_handler_parks(void *arg)
{
	way = (intptr_t)arg;
	ut_set_procs(1);
	gs_run(handler_parks, NULL);
	_exit(51);
}

/* the stack it would leave is its worker's, and the next handler's */
TEST(handler_park_panics)
{
#ifdef UT_TSAN
	SKIP(return, "TSan calls handlers on the fiber's stack");
#endif
	for (intptr_t i = 0; i < 5; i++) {
		struct ut_child *c = ut_child_run(run_handler_parks, (void *)i, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, "gsched: fiber parks in a signal handler");
		free(c);
	}
}

/* ------------------------------------------------------------------------- */
/* All at once                                                                 */

static int users_left; /* atomic */
static long rounds;

/* Go's TestStress and TestStop in one: whoever is notified hears of what he sends. */
static void user(void *arg)
{
	const int sigs[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH};
	int sig = sigs[(intptr_t)arg % 4];

	for (long i = 0; i < rounds; i++) {
		gs_chan *c = new_chan(1);

		CHECK_EQ(gs_signal_notify(c, sig), 0);
		send_self(sig);
		CHECK_EQ(recv_one(c), sig);
		drop(c);
	}
	ADD(users_left, -1);
}

static void *user_thread(void *arg)
{
	user(arg);
	return NULL;
}

static void stress(void *arg)
{
	pthread_t thread[2];

	(void)arg;
	rounds = ut_count(200, 20);
	STORE(users_left, 10);
	for (int sig = 0; sig < 4; sig++)
		handle((const int[]){SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH}[sig], on_usr);
	for (intptr_t i = 0; i < 8; i++)
		CHECK_EQ(gs_go(user, (void *)i), 0);
	for (intptr_t i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, user_thread, (void *)i), 0);
	UNTIL(LOAD(users_left) == 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
}

TEST(many_users)
{
	RUN(stress, NULL);
}

static int storm_over; /* atomic */

static int storm_signal = SIGWINCH;

static void *storm(void *arg)
{
	while (!LOAD(storm_over))
		send_self(storm_signal);
	return arg;
}

static void in_storm(void *arg)
{
	gs_chan *c = new_chan(1);
	pthread_t thread[2];
	struct sigaction a;

	(void)arg;
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, storm, NULL), 0);
	for (long i = 0; i < ut_count(6000, 500) && !ut_failed; i++) {
		CHECK_EQ(gs_signal_notify(c, storm_signal), 0);
		CHECK_EQ(recv_one(c), storm_signal);
		/* a late handler may have it for a moment that stops the process */
		UNTIL(!sigaction(storm_signal, NULL, &a) && a.sa_handler != SIG_DFL);
		gs_signal_stop(c);
		gs_chan_try_recv(c, NULL);
	}
	STORE(storm_over, 1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	gs_chan_unref(c);
}

/* one that comes just when nobody is notified any more does not keep the next from being */
TEST(notified_anew_in_a_storm)
{
	RUN(in_storm, NULL);
}

static void stop_storm_child(void *arg)
{
	(void)arg;
	/* no process group in which a shell could make it go on again: it does not stop */
	if (setsid() < 0 && getpgrp() != getpid())
		_exit(60);
	storm_signal = SIGTSTP;
	gs_run(in_storm, NULL);
	_exit(ut_failed);
}

/* nor one that stops the process, which goes on */
TEST(notified_anew_after_a_stop)
{
	struct ut_child *c = ut_child_run(stop_storm_child, NULL, 60 * SEC);

	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	free(c);
}

TEST_HARNESS_MAIN
