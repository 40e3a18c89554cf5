// SPDX-License-Identifier: GPL-2.0
/*
 * gsched/process.h: starting programs and waiting for them, with pidfds and where the
 * machine refuses them. The program is this one, in a role: see the constructor.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <gsched/context.h>
#include <gsched/debug.h>
#include <gsched/io.h>
#include <gsched/process.h>
#include <gsched/signal.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

/* ------------------------------------------------------------------------- */
/* Roles                                                                       */

static const char self[] = "/proc/self/exe";

static void say(const char *fmt, ...)
{
	char buf[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (write(1, buf, (size_t)n) != n)
		_exit(99);
}

/* A line of /proc/self/status, as a number in base 16. */
static unsigned long long status_line(const char *name)
{
	char text[4096] = "", *s;
	int fd = open("/proc/self/status", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		_exit(98);
	close(fd);
	s = strstr(text, name);
	return s ? strtoull(s + strlen(name), NULL, 16) : 0;
}

static void say_fds(void)
{
	for (int fd = 0; fd < 64; fd++) {
		char c = '-';

		if (fd != 1 && pread(fd, &c, 1, 0) == 1)
			say("%d=%c ", fd, c);
		else if (fcntl(fd, F_GETFD) >= 0 && fd > 2)
			say("%d ", fd);
	}
}

/* The number in the memory that is descriptor 0, which the other one has mapped, too. */
static void double_shared(void)
{
	long *n = mmap(NULL, sizeof(*n), PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0);

	if (n == MAP_FAILED)
		_exit(96);
	*n *= 2;
}

static void __attribute__((constructor)) role(int argc, char **argv, char **envp)
{
	const char *what = argc > 2 && !strcmp(argv[1], "--role") ? argv[2] : NULL;
	char dir[256];

	if (!what)
		return;
	if (!strcmp(what, "exit"))
		_exit(atoi(argv[3]));
	if (!strcmp(what, "die"))
		kill(getpid(), atoi(argv[3]));
	if (!strcmp(what, "hang"))
		for (;;)
			pause();
	if (!strcmp(what, "read")) {
		char byte;

		_exit(read(0, &byte, 1) == 1 ? byte : 97);
	}
	if (!strcmp(what, "double"))
		double_shared();
	if (!strcmp(what, "args")) {
		say("%s|", argv[0]);
		for (int i = 3; i < argc; i++)
			say("%s|", argv[i]);
		for (int i = 0; envp[i]; i++)
			if (!strncmp(envp[i], "UT_", 3))
				say("%s|", envp[i]);
		say("%s", getcwd(dir, sizeof(dir)));
	}
	if (!strcmp(what, "signals"))
		say("blocked %llx ignored %llx", status_line("SigBlk:"), status_line("SigIgn:"));
	if (!strcmp(what, "fds"))
		say_fds();
	if (!strcmp(what, "ids"))
		say("%d %d %d", getpid(), getpgrp(), getsid(0));
	if (!strcmp(what, "tty"))
		say("%d", open("/dev/tty", O_RDWR) >= 0);
	_exit(0);
}

/* ------------------------------------------------------------------------- */
/* Tools                                                                       */

FIXTURE(process){};

FIXTURE_VARIANT(process)
{
	bool refused;
};

FIXTURE_VARIANT_ADD(process, pidfd){
	.refused = false,
};

FIXTURE_VARIANT_ADD(process, no_pidfd){
	.refused = true,
};

/* From here on pidfd_open is no system call; for this process and its children. */
static int refuse_pidfd(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

FIXTURE_SETUP(process)
{
	if (variant->refused && refuse_pidfd())
		SKIP(return, "this machine has no seccomp filters");
}

FIXTURE_TEARDOWN(process) {}

static int start(gs_process **p, const char *what, const char *arg, struct gs_process_attr attr)
{
	char *argv[] = {"name", "--role", (char *)what, (char *)arg, NULL};

	if (!attr.path)
		attr.path = self;
	if (!attr.argv)
		attr.argv = argv;
	return gs_process_start(&attr, p);
}

#define START(p, what, arg, ...)                                                                   \
	CHECK_EQ(start((p), (what), (arg), (struct gs_process_attr){__VA_ARGS__}), 0)

/* What a program says on its descriptor 1; it has ended. */
static char *output(const char *what, const char *arg, struct gs_process_attr attr)
{
	static char text[8192];
	int fds[64] = {GS_FD_NULL, 0, 2}, end[2], status = -1;
	size_t len = 0;
	gs_process *p;
	ssize_t n;

	text[0] = '\0';
	if (!CHECK_EQ(pipe2(end, O_CLOEXEC), 0))
		return text;
	if (attr.nfds)
		memcpy(fds, attr.fds, attr.nfds * sizeof(*fds));
	else
		attr.nfds = 3;
	fds[1] = end[1];
	attr.fds = fds;
	CHECK_EQ(start(&p, what, arg, attr), 0);
	close(end[1]);
	while ((n = gs_read(end[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(end[0]);
	text[len] = '\0';
	CHECK_EQ(gs_process_wait(p, NULL, &status), 0);
	CHECK_EQ(status, 0);
	return text;
}

#define CHECK_SAYS(expected, ...)                                                                  \
	({                                                                                         \
		const char *ut_text = output(__VA_ARGS__);                                         \
		if (strcmp(ut_text, (expected)))                                                   \
			ut_fail(__FILE__, __LINE__, "\"%s\", not \"%s\"", ut_text, (expected));    \
	})

/* The runtime's threads open a file now and then, so compare by <= until it is true. */
static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool no_child(void)
{
	return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD;
}

static int wait_status(gs_process *p)
{
	int status = -1;

	CHECK_EQ(gs_process_wait(p, NULL, &status), 0);
	return status;
}

/* ------------------------------------------------------------------------- */

static void nothing(void *arg)
{
	STORE(*(int *)arg, 1);
}

static void ends(void *arg)
{
	int fds, ran = 0;
	gs_process *p;

	(void)arg;
	START(&p, "exit", "0");
	CHECK_EQ(wait_status(p), 0);
	/* the first stack may bring a descriptor for its guard with it; none in a fork */
	if (gs_go(nothing, &ran) == 0)
		UNTIL(LOAD(ran));
	fds = count_fds();
	for (int i = 0; i < 3; i++) {
		START(&p, "exit", "255");
		CHECK_EQ(wait_status(p), 255 << 8);
		START(&p, "die", "15");
		CHECK_EQ(wait_status(p), SIGTERM);
		START(&p, "exit", "7");
		CHECK_EQ(gs_process_wait(p, NULL, NULL), 0);
		/* once */
		CHECK_EQ(gs_process_wait(p, NULL, NULL), -ECHILD);
		CHECK_EQ(gs_process_kill(p, SIGKILL), -ESRCH);
		CHECK_EQ(gs_process_pid(p), -ESRCH);
		CHECK_EQ(gs_process_release(p), -ECHILD);
	}
	UNTIL(count_fds() <= fds);
	CHECK(no_child());
}

TEST_F(process, ends_in_a_fiber)
{
	RUN(ends, NULL);
}

TEST_F(process, ends_in_a_thread)
{
	gs_backend(); /* its descriptors are there when ours are counted */
	ends(NULL);
	EXPECT_EQ(0, LOAD(ut_failed));
}

/* In the child of a fork there is no scheduler, but it may have children. */
TEST_F(process, ends_in_a_fork)
{
	int status;
	pid_t pid;

	gs_backend();
	pid = fork();
	if (!pid) {
		ends(NULL);
		_exit(LOAD(ut_failed) != 0);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

#ifndef UT_TSAN /* which has no threads in the child of a fork */
static gs_waitgroup waiters;

static void *cancels(void *cancel)
{
	gs_cancel_call(cancel);
	return NULL;
}

static void waits_for_it(void *p)
{
	CHECK_EQ(gs_process_wait(p, NULL, NULL), 0);
	gs_wg_done(&waiters);
}

static void waited_in_child(gs_process *parents)
{
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	gs_process *own;
	pthread_t t;

	alarm((unsigned int)(ut_limit(10 * SEC) / SEC));
	CHECK_EQ(gs_process_wait(parents, ctx, NULL), -ECHILD);
	START(&own, "hang", NULL);
	CHECK_EQ(pthread_create(&t, NULL, cancels, &cancel), 0);
	CHECK_EQ(gs_process_wait(own, ctx, NULL), -ECANCELED);
	CHECK_EQ(gs_process_kill(own, SIGKILL), 0);
	CHECK_EQ(wait_status(own), SIGKILL);
	_exit(LOAD(ut_failed) != 0);
}

static void waiting_and_forked(void *arg)
{
	gs_process *p;
	int status;
	pid_t pid;

	(void)arg;
	START(&p, "hang", NULL);
	gs_wg_add(&waiters, 1);
	CHECK_EQ(gs_go(waits_for_it, p), 0);
	/* on a pidfd, or for who watches */
	UNTIL(ut_waiting("IO wait", NULL) == 1 || ut_waiting("chan receive", NULL) == 1);
	pid = fork();
	if (!pid)
		waited_in_child(p);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(gs_process_kill(p, SIGKILL), 0);
	gs_wg_wait(&waiters);
}

/* there nobody watches those of the parent's; its own are waited for until one is cancelled */
TEST_F(process, waited_for_in_a_fork)
{
	gs_backend();
	RUN(waiting_and_forked, NULL);
}
#endif

static void make_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	CHECK_EQ(fchmod(fd, mode), 0);
	close(fd);
}

static void errors(void *arg)
{
	char dir[] = "/tmp/gsched-process-XXXXXX", path[64];
	const int closed[] = {0, 1, 2, 1000}, below[] = {0, -2};
	gs_process *p = NULL;
	char *huge = malloc(1 << 20);
	int fds;

	(void)arg;
	CHECK(mkdtemp(dir) != NULL);
	memset(huge, 'x', 1 << 20);
	huge[(1 << 20) - 1] = '\0';
	fds = count_fds();
#define FAILS(error, ...)                                                                          \
	CHECK_EQ(start(&p, "exit", "0", (struct gs_process_attr){__VA_ARGS__}), error)
	FAILS(-ENOENT, .path = "/no/such/program");
	FAILS(-ENOENT, .path = "no-such-program-anywhere");
	FAILS(-ENOENT, .dir = "/no/such/directory");
	FAILS(-ENOTDIR, .dir = self);
	FAILS(-EACCES, .path = "/");
	FAILS(-EINVAL, .path = "");
	FAILS(-EBADF, .fds = closed, .nfds = 4);
	FAILS(-EBADF, .fds = below, .nfds = 2);
	FAILS(-EINVAL, .nfds = 2);
	FAILS(-EINVAL, .flags = 1u << 31);
	FAILS(-EINVAL, .pad[3] = 1);
	FAILS(-EINVAL, .pad0 = 1);
	FAILS(-EINVAL, .pdeathsig = 1000);
	FAILS(-E2BIG, .argv = (char *[]){"name", huge, NULL});
	FAILS(-EINVAL, .flags = GS_PROCESS_SETPGID, .pgid = -1);
	snprintf(path, sizeof(path), "%s/plain", dir);
	make_file(path, "text", 0600);
	FAILS(-EACCES, .path = path);
	make_file(path, "text", 0700);
	FAILS(-ENOEXEC, .path = path);
	make_file(path, "#!/no/such/interpreter\n", 0700);
	FAILS(-ENOENT, .path = path);
	unlink(path);
	rmdir(dir);
	free(huge);
	CHECK(p == NULL);
	CHECK_EQ(gs_process_start(&(struct gs_process_attr){0}, &p), -EINVAL);
	UNTIL(count_fds() <= fds);
	/* the child that could not exec is gone */
	CHECK(no_child());
}

TEST(errors_of_the_start)
{
	RUN(errors, NULL);
}

static void environment(void *arg)
{
	char dir[] = "/tmp/gsched-process-XXXXXX", path[64], expected[512], own[256];
	char *env[] = {"UT_A=1", "UT_B=", NULL};
	char *argv[] = {"other", "--role", "args", "x", "", "y z", NULL};

	(void)arg;
	CHECK(mkdtemp(dir) != NULL);
	CHECK(getcwd(own, sizeof(own)) != NULL);
	setenv("UT_OWN", "here", 1);
	snprintf(expected, sizeof(expected), "name|one|UT_OWN=here|%s", own);
	CHECK_SAYS(expected, "args", "one", (struct gs_process_attr){0});
	snprintf(expected, sizeof(expected), "other|x||y z|UT_A=1|UT_B=|%s", dir);
	CHECK_SAYS(expected, NULL, NULL,
		   (struct gs_process_attr){.argv = argv, .envp = env, .dir = dir});
	/* a path is of that directory, and one without a slash is looked for */
	snprintf(path, sizeof(path), "%s/prog", dir);
	CHECK_EQ(symlink(self, path), 0);
	snprintf(expected, sizeof(expected), "name|one|UT_OWN=here|%s", dir);
	CHECK_SAYS(expected, "args", "one", (struct gs_process_attr){.path = "./prog", .dir = dir});
	{
		char *was = strdup(getenv("PATH") ?: ""), many[256];
		gs_process *p;

		CHECK_EQ(chdir(dir), 0);
		CHECK_EQ(mkdir("sub", 0700), 0);
		CHECK_EQ(mkdir("sub/prog", 0700), 0);
		make_file("plain", "text", 0600);
		/* relative ones, directories and plain files are not what is meant */
		snprintf(many, sizeof(many), ":.:/no/such:%s/sub:%s:", dir, dir);
		setenv("PATH", many, 1);
		CHECK_SAYS(expected, "args", "one", (struct gs_process_attr){.path = "prog"});
		CHECK_EQ(start(&p, "exit", "0", (struct gs_process_attr){.path = "plain"}),
			 -ENOENT);
		setenv("PATH", ".::sub", 1);
		CHECK_EQ(start(&p, "exit", "0", (struct gs_process_attr){.path = "prog"}), -ENOENT);
		setenv("PATH", was, 1);
		free(was);
		CHECK_EQ(unlink("plain"), 0);
		CHECK_EQ(rmdir("sub/prog"), 0);
		CHECK_EQ(rmdir("sub"), 0);
		CHECK_EQ(unlink("prog"), 0);
		CHECK_EQ(chdir(own), 0);
	}
	CHECK_EQ(rmdir(dir), 0);
}

TEST(arguments_environment_directory)
{
	RUN(environment, NULL);
}

/* /proc/self/exe is the symbolic link's target in the child, too: the test itself */
static void files(void *arg)
{
	int fds[12] = {GS_FD_NULL, 1, 2}, leak;

	(void)arg;
	/* descriptors 10 to 17 hold the letters A to H */
	for (int i = 0; i < 8; i++) {
		char c = (char)('A' + i);
		int fd = memfd_create("letter", MFD_CLOEXEC);

		CHECK_EQ(write(fd, &c, 1), 1);
		CHECK_EQ(dup3(fd, 10 + i, O_CLOEXEC), 10 + i);
		close(fd);
	}
	/* and 3 to 7 A to E, which get into each other's way */
	for (int i = 0; i < 5; i++)
		CHECK_EQ(dup3(10 + i, 3 + i, O_CLOEXEC), 3 + i);
	CHECK_SAYS("", "fds", NULL, (struct gs_process_attr){.flags = GS_PROCESS_CLOSE_FDS});
	memcpy(fds + 3, (const int[]){7, 3, 3, 6, 17}, 5 * sizeof(*fds));
	CHECK_SAYS("3=E 4=A 5=A 6=D 7=H ", "fds", NULL,
		   (struct gs_process_attr){.fds = fds, .nfds = 8, .flags = GS_PROCESS_CLOSE_FDS});
	memcpy(fds + 3, (const int[]){4, 5, 6, 7, 3}, 5 * sizeof(*fds));
	fds[0] = 7;
	CHECK_SAYS("0=E 3=B 4=C 5=D 6=E 7=A ", "fds", NULL,
		   (struct gs_process_attr){.fds = fds, .nfds = 8, .flags = GS_PROCESS_CLOSE_FDS});
	memcpy(fds + 3, (const int[]){GS_FD_NULL, 3, GS_FD_NULL, 4}, 4 * sizeof(*fds));
	fds[0] = GS_FD_NULL;
	CHECK_SAYS("3 4=A 5 6=B ", "fds", NULL,
		   (struct gs_process_attr){.fds = fds, .nfds = 7, .flags = GS_PROCESS_CLOSE_FDS});
	/* without the flag one that is not close-on-exec goes along */
	leak = dup2(10, 40);
	CHECK(strstr(output("fds", NULL, (struct gs_process_attr){0}), "40=A ") != NULL);
	CHECK(!strstr(output("fds", NULL, (struct gs_process_attr){.flags = GS_PROCESS_CLOSE_FDS}),
		      "40=A "));
	close(leak);
	/* nothing was changed here */
	for (int i = 0; i < 5; i++) {
		char c;

		CHECK_EQ(pread(3 + i, &c, 1, 0), 1);
		CHECK_EQ(c, 'A' + i);
		CHECK_EQ(fcntl(3 + i, F_GETFD), FD_CLOEXEC);
	}
}

TEST(descriptors)
{
	/* the runtime's own are elsewhere, then */
	for (int fd = 3; fd < 40; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			ASSERT_EQ(fd, dup3(2, fd, O_CLOEXEC));
	gs_backend();
	RUN(files, NULL);
}

static void write_and_read(void *arg)
{
	int fd = memfd_create("shared", MFD_CLOEXEC);
	long *n, expected = 1;
	gs_process *p;

	(void)arg;
	CHECK_EQ(ftruncate(fd, sizeof(*n)), 0);
	n = mmap(NULL, sizeof(*n), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!CHECK(n != MAP_FAILED))
		return;
	*n = 1;
	for (int i = 0; i < 20; i++) {
		START(&p, "double", NULL, .fds = &fd, .nfds = 1);
		CHECK_EQ(wait_status(p), 0);
		/* plain accesses on both sides, in turn */
		*n += 1;
		expected = 2 * expected + 1;
		CHECK_EQ(*n, expected);
	}
	munmap(n, sizeof(*n));
	close(fd);
}

/* what was written before the start is seen there, and what it wrote is after the wait */
TEST(shared_memory)
{
	RUN(write_and_read, NULL);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void dispositions(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 1);
	sigset_t set, old;
	unsigned long long b, i;
	gs_process *p;
	const char *text;

	(void)arg;
	CHECK_EQ(gs_signal_notify(c, SIGUSR1), 0);
	CHECK_EQ(gs_signal_ignore(SIGUSR2), 0);
	signal(SIGHUP, on_signal);
	signal(SIGWINCH, SIG_IGN);
	gs_lock_thread();
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
	text = output("signals", NULL, (struct gs_process_attr){0});
	CHECK_EQ(sscanf(text, "blocked %llx ignored %llx", &b, &i), 2);
	CHECK(b >> (SIGALRM - 1) & 1);
	CHECK_EQ(b & ~(1ull << (SIGALRM - 1)), 0);
	CHECK(i >> (SIGUSR2 - 1) & 1 && i >> (SIGWINCH - 1) & 1);
	CHECK(!(i >> (SIGUSR1 - 1) & 1) && !(i >> (SIGHUP - 1) & 1));
	/* our own mask is as it was */
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, &set), 0);
	CHECK_EQ(sigismember(&set, SIGALRM), 1);
	CHECK_EQ(sigismember(&set, SIGTERM), 0);
	gs_unlock_thread();
	for (int k = 0; k < 2; k++) {
		START(&p, "die", k ? "1" : "10");
		CHECK_EQ(wait_status(p), k ? SIGHUP : SIGUSR1);
	}
	CHECK_EQ(gs_chan_len(c), 0);
	gs_signal_stop(c);
	gs_chan_unref(c);
}

TEST(signals_of_the_child)
{
	RUN(dispositions, NULL);
}

static void killing(void *arg)
{
	gs_process *p;
	siginfo_t info;

	(void)arg;
	START(&p, "hang", NULL);
	CHECK_EQ(gs_process_kill(p, 0), 0);
	CHECK_EQ(gs_process_kill(p, 1000), -EINVAL);
	CHECK_EQ(kill(gs_process_pid(p), 0), 0);
	CHECK_EQ(gs_process_kill(p, SIGKILL), 0);
	/* it has ended, and nobody has waited for it */
	CHECK_EQ(waitid(P_PID, (id_t)gs_process_pid(p), &info, WEXITED | WNOWAIT), 0);
	CHECK_EQ(gs_process_kill(p, SIGKILL), -ESRCH);
	CHECK_EQ(gs_process_kill(p, 0), -ESRCH);
	CHECK_EQ(wait_status(p), SIGKILL);
	CHECK_EQ(gs_process_kill(p, SIGKILL), -ESRCH);
}

TEST_F(process, kill)
{
	RUN(killing, NULL);
}

static void call_cancel(void *cancel)
{
	gs_cancel_call(cancel);
}

static void with_context(void *arg)
{
	gs_timer *timer;
	gs_cancel cancel;
	gs_context *ctx = gs_with_timeout(gs_background(), 5 * MS, &cancel), *dead;
	gs_process *p;
	siginfo_t info;

	(void)arg;
	START(&p, "hang", NULL);
	CHECK_EQ(gs_process_wait(p, ctx, NULL), -ETIMEDOUT);
	CHECK_EQ(gs_process_wait(p, ctx, NULL), -ETIMEDOUT);
	dead = gs_with_cancel(gs_background(), &cancel);
	gs_cancel_call(&cancel);
	CHECK_EQ(gs_process_wait(p, dead, NULL), -ECANCELED);
	gs_context_unref(ctx);
	/* a wait is going on when it is cancelled */
	ctx = gs_with_cancel(gs_background(), &cancel);
	timer = gs_after_func(5 * MS, call_cancel, &cancel);
	CHECK_EQ(gs_process_wait(p, ctx, NULL), -ECANCELED);
	gs_timer_free(timer);
	CHECK_EQ(gs_process_kill(p, 0), 0);
	CHECK_EQ(gs_process_kill(p, SIGTERM), 0);
	CHECK_EQ(waitid(P_PID, (id_t)gs_process_pid(p), &info, WEXITED | WNOWAIT), 0);
	gs_context_unref(ctx);
	/* and one that nobody cancels */
	ctx = gs_with_cancel(gs_background(), &cancel);
	CHECK_EQ(gs_process_wait(p, ctx, NULL), 0);
	gs_context_unref(ctx);
	gs_context_unref(dead);
}

TEST_F(process, wait_with_context)
{
	RUN(with_context, NULL);
}

static void ended_and_cancelled(void *arg)
{
	gs_cancel cancel;
	gs_context *dead = gs_with_cancel(gs_background(), &cancel);
	gs_process *p;
	siginfo_t info;
	int status = -1;

	(void)arg;
	gs_cancel_call(&cancel);
	START(&p, "exit", "3");
	CHECK_EQ(waitid(P_PID, (id_t)gs_process_pid(p), &info, WEXITED | WNOWAIT), 0);
	CHECK_EQ(gs_process_wait(p, dead, &status), 0);
	CHECK_EQ(status, 3 << 8);
	gs_context_unref(dead);
}

TEST_F(process, told_though_cancelled)
{
	RUN(ended_and_cancelled, NULL);
}

static gs_process *shared;
static int told, not_told; /* atomic */

static void one_of_many(void *arg)
{
	int r = gs_process_wait(shared, NULL, NULL);

	(void)arg;
	CHECK(r == 0 || r == -ECHILD);
	ADD(*(r ? &not_told : &told), 1);
}

static void *one_of_many_thread(void *arg)
{
	one_of_many(arg);
	return NULL;
}

static void many_waiters(void *arg)
{
	pthread_t thread;

	(void)arg;
	START(&shared, "hang", NULL);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gs_go(one_of_many, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, one_of_many_thread, NULL), 0);
	for (int i = 0; i < 50; i++)
		gs_yield();
	CHECK_EQ(gs_process_kill(shared, SIGKILL), 0);
	UNTIL(LOAD(told) + LOAD(not_told) == 9);
	CHECK_EQ(LOAD(told), 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(no_child());
}

TEST_F(process, many_waiters)
{
	RUN(many_waiters, NULL);
}

/*
 * Waits that are given up and begun again, while the process ends: who begins has just
 * tried, and did not see it.
 */
static void comes_and_goes(void *arg)
{
	int64_t patience = (intptr_t)arg * MS / 20;
	int r;

	do {
		gs_cancel cancel;
		gs_context *ctx = gs_with_timeout(gs_background(), patience, &cancel);

		r = gs_process_wait(shared, ctx, NULL);
		gs_context_unref(ctx);
	} while (r == -ETIMEDOUT);
	CHECK(r == 0 || r == -ECHILD);
	ADD(*(r ? &not_told : &told), 1);
}

static void waits_while_it_ends(void *arg)
{
	const long rounds = ut_long(ut_count(600, 60), 2000);

	(void)arg;
	for (long i = 0; i < rounds; i++) {
		STORE(told, 0);
		STORE(not_told, 0);
		START(&shared, "exit", "0");
		for (intptr_t k = 0; k < 4; k++)
			CHECK_EQ(gs_go(comes_and_goes, (void *)(k + 1)), 0);
		UNTIL(LOAD(told) + LOAD(not_told) == 4);
		CHECK_EQ(LOAD(told), 1);
	}
	CHECK(no_child());
}

TEST_F(process, wait_while_it_ends)
{
	RUN(waits_while_it_ends, NULL);
}

#define CHILDREN 24

static void wait_for_one(void *arg)
{
	CHECK_EQ(wait_status(arg), 'x' << 8);
	ADD(told, 1);
}

/* As many waits as children, and not a thread for them. */
static void no_thread_blocks(void *arg)
{
	gs_process *p[CHILDREN];
	int end[2];

	(void)arg;
	CHECK_EQ(pipe2(end, O_CLOEXEC), 0);
	for (int i = 0; i < CHILDREN; i++) {
		const int fds[] = {end[0], 1, 2};

		START(&p[i], "read", NULL, .fds = fds, .nfds = 3);
	}
	for (int i = 0; i < CHILDREN; i++)
		CHECK_EQ(gs_go(wait_for_one, p[i]), 0);
	/* all of them are parked: on no thread */
	UNTIL(ut_waiting("IO wait", NULL) == CHILDREN);
	CHECK_EQ(LOAD(told), 0);
	for (int i = 0; i < CHILDREN; i++)
		CHECK_EQ(write(end[1], "x", 1), 1);
	UNTIL(LOAD(told) == CHILDREN);
	close(end[0]);
	close(end[1]);
	CHECK(no_child());
}

TEST(waiting_blocks_no_thread)
{
	RUN(no_thread_blocks, NULL);
}

/* ------------------------------------------------------------------------- */

static void sessions(void *arg)
{
	int pid, group, session;
	gs_process *p, *q;

	(void)arg;
#define IDS(f)                                                                                     \
	CHECK_EQ(sscanf(output("ids", NULL, (struct gs_process_attr){.flags = (f)}), "%d %d %d",   \
			&pid, &group, &session),                                                   \
		 3)
	IDS(0);
	CHECK_EQ(group, getpgrp());
	CHECK_EQ(session, getsid(0));
	IDS(GS_PROCESS_SETPGID);
	CHECK_EQ(group, pid);
	CHECK_EQ(session, getsid(0));
	IDS(GS_PROCESS_SETSID);
	CHECK_EQ(group, pid);
	CHECK_EQ(session, pid);
	/* into another's group */
	START(&p, "hang", NULL, .flags = GS_PROCESS_SETPGID);
	START(&q, "hang", NULL, .flags = GS_PROCESS_SETPGID, .pgid = gs_process_pid(p));
	CHECK_EQ(getpgid(gs_process_pid(q)), gs_process_pid(p));
	CHECK_EQ(kill(-gs_process_pid(p), SIGKILL), 0);
	CHECK_EQ(wait_status(q), SIGKILL);
	CHECK_EQ(wait_status(p), SIGKILL);
}

TEST(sessions_and_groups)
{
	RUN(sessions, NULL);
}

static void terminal(void *arg)
{
	int tty = *(int *)arg;
	int fds[] = {tty, 1, 2};
	struct gs_process_attr attr = {
		.fds = fds, .nfds = 3, .flags = GS_PROCESS_SETSID | GS_PROCESS_SETCTTY};

	CHECK_SAYS("1", "tty", NULL, attr);
	attr.flags = GS_PROCESS_SETSID;
	CHECK_SAYS("0", "tty", NULL, attr);
}

TEST(controlling_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), tty = -1;

	if (master >= 0 && !grantpt(master) && !unlockpt(master))
		tty = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0)
		SKIP(return, "no pseudo terminals here");
	RUN(terminal, &tty);
}

static void *start_and_end(void *arg)
{
	START(arg, "hang", NULL, .pdeathsig = SIGTERM);
	return NULL;
}

static void parent_thread_ends(void *arg)
{
	gs_process *p;
	pthread_t thread;

	(void)arg;
	CHECK_EQ(pthread_create(&thread, NULL, start_and_end, &p), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(wait_status(p), SIGTERM);
}

TEST(pdeathsig)
{
	RUN(parent_thread_ends, NULL);
}

static void releasing(void *arg)
{
	gs_process *p;
	int fds = count_fds();
	pid_t pid;

	(void)arg;
	START(&p, "hang", NULL);
	pid = gs_process_pid(p);
	CHECK_EQ(gs_process_release(p), 0);
	CHECK_EQ(kill(pid, SIGKILL), 0);
	UNTIL(no_child());
	UNTIL(count_fds() <= fds);
}

TEST_F(process, released)
{
	gs_backend();
	RUN(releasing, NULL);
}

#define KEPT 256 /* of those that were waited for, before one's memory is another's */

static int begun, over; /* atomic */

/* Meanwhile nobody else runs on the one proc. */
static void keep_the_proc(void)
{
	gs_nopreempt_begin();
	STORE(begun, 1);
	while (!LOAD(over))
		;
	gs_nopreempt_end();
}

static bool has_released(void)
{
	char *text = ut_dump();
	bool has = strstr(text, "released process");

	free(text);
	return has;
}

static void *release_and_go_on(void *arg)
{
	gs_process *p, *q = NULL;

	(void)arg;
	UNTIL(LOAD(begun));
	START(&p, "exit", "3");
	CHECK_EQ(gs_process_release(p), 0);
	CHECK_EQ(wait_status(p), 3 << 8);
	/* what ended first is used first */
	for (int i = 0; i < KEPT + 3 && q != p; i++) {
		START(&q, "exit", "4");
		if (q != p)
			CHECK_EQ(wait_status(q), 4 << 8);
	}
	STORE(over, 1);
	UNTIL(!has_released());
	if (q == p)
		CHECK_EQ(wait_status(q), 4 << 8);
	STORE(begun, 2);
	return NULL;
}

static void releasing_late(void *arg)
{
	pthread_t t;

	(void)arg;
	pthread_create(&t, NULL, release_and_go_on, NULL);
	keep_the_proc();
	UNTIL(LOAD(begun) == 2);
	pthread_join(t, NULL);
}

/* a released process that others waited for first: its fiber comes late, and waits for no other */
TEST(released_late)
{
	ut_set_procs(1);
	RUN(releasing_late, NULL);
}

static void taken_by_others(void *arg)
{
	gs_process *p;
	pid_t pid;

	(void)arg;
	START(&p, "exit", "0");
	pid = gs_process_pid(p);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	CHECK_EQ(gs_process_kill(p, SIGKILL), -ESRCH);
	CHECK_EQ(gs_process_wait(p, NULL, NULL), -ECHILD);
	signal(SIGCHLD, SIG_IGN);
	START(&p, "exit", "0");
	CHECK_EQ(gs_process_wait(p, NULL, NULL), -ECHILD);
	CHECK_EQ(gs_process_start(&(struct gs_process_attr){.path = "/no/such"}, &p), -ENOENT);
	signal(SIGCHLD, SIG_DFL);
	START(&p, "exit", "5");
	CHECK_EQ(wait_status(p), 5 << 8);
}

TEST_F(process, waited_for_by_others)
{
	RUN(taken_by_others, NULL);
}

/* ------------------------------------------------------------------------- */

static gs_waitgroup users;
static int shower_stop; /* atomic */

static void user(void *arg)
{
	long n = ut_count(12, 2);

	for (long i = 0; i < n; i++) {
		char code[8];
		gs_process *p = NULL;

		snprintf(code, sizeof(code), "%ld", ((long)(intptr_t)arg + i) % 100);
		if (i % 4 == 3) {
			START(&p, "hang", NULL);
			CHECK_EQ(gs_process_kill(p, SIGKILL), 0);
			CHECK_EQ(wait_status(p), SIGKILL);
		} else {
			START(&p, "exit", code);
			CHECK_EQ(wait_status(p), atoi(code) << 8);
		}
	}
	gs_wg_done(&users);
}

/* Signals come all the time, and none of their handlers may run in a child. */
static void *shower(void *arg)
{
	(void)arg;
	while (!LOAD(shower_stop)) {
		kill(0, SIGWINCH);
		usleep(200);
	}
	return NULL;
}

static pid_t owner;

static void on_shower(int sig)
{
	(void)sig;
	if (syscall(SYS_getpid) != owner)
		ut_fail(__FILE__, __LINE__, "a handler ran in a child");
}

static void stress(void *arg)
{
	struct sigaction sa = {.sa_handler = on_shower, .sa_flags = SA_RESTART};
	pthread_t thread;
	int fds = count_fds();

	(void)arg;
	owner = getpid();
	CHECK_EQ(sigaction(SIGWINCH, &sa, NULL), 0);
	/* a group of our own; our children ignore that signal */
	CHECK_EQ(setpgid(0, 0), 0);
	CHECK_EQ(pthread_create(&thread, NULL, shower, NULL), 0);
	gs_wg_add(&users, 8);
	for (intptr_t i = 0; i < 8; i++)
		CHECK_EQ(gs_go(user, (void *)(i * 10)), 0);
	gs_wg_wait(&users);
	STORE(shower_stop, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(no_child());
	UNTIL(count_fds() <= fds);
}

TEST_F(process, many_users)
{
	gs_backend();
	RUN(stress, NULL);
}

TEST_HARNESS_MAIN
