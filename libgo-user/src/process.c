/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Child processes: gsched/process.h says what is promised.
 *
 * Start: clone with CLONE_VM and CLONE_VFORK. The child runs in our memory, on a stack of
 * its own, until it execs or exits; meanwhile this thread is blocked in the kernel,
 * without its proc. What fails in the child is a word in our memory. The child does raw
 * system calls only: its thread-local storage and its gs base are those of the fiber that
 * started it. Signals are blocked from before the clone until the child has none of our
 * handlers left, which would run in our memory; so the fiber does not travel meanwhile
 * (preempt.c), and restores the mask of the thread that it was taken from.
 *
 * End: whoever waits tries waitid(WNOHANG), and waits for the pidfd in between. Without a
 * pidfd a fiber blocks in waitid(WNOWAIT) on behalf of all who wait, and closes a channel.
 * Nobody tries meanwhile: the process id could be another child's when it gets there. There
 * is at most one such fiber in a process's life, as it closes the channel.
 *
 * A process's life (life.h) is over when it was waited for: its id may be another's then.
 */
#include <gsched/process.h>

#include <errno.h>
#include <fcntl.h>
#include <gsched/chan.h>
#include <gsched/context.h>
#include <gsched/io.h>
#include <gsched/runtime.h>
#include <gsched/select.h>
#include <gsched/time.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "arch.h"
#include "base/syscall.h"
#include "life.h"
#include "netpoll.h"
#include "sched.h"
#include "sigwrap.h"

#define CHILD_STACK ((size_t)32 << 10)
#define SIGNALS 64
#define LOOK_NS 10000000
#define WAIT_PIDFD 3 /* P_PIDFD, which older headers lack */

#define FLAGS (GS_PROCESS_SETSID | GS_PROCESS_SETPGID | GS_PROCESS_SETCTTY | GS_PROCESS_CLOSE_FDS)

/* libc's own by that name: TSan takes every clone for a fork of its own memory */
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);

/* Protection: [I] set before it is handed out; [L] lock. */
struct gs_process {
	struct gs_life life; /* its end: L */
	struct gs_lock lock;
	pid_t pid;	/* I */
	int pidfd;	/* I: below 0 none */
	gs_chan *ended; /* I: closed by the fiber that waits; NULL: there is a pidfd */
	enum {		/* L: without a pidfd; it only grows */
	       UNWATCHED,
	       WATCHED, /* a fiber is blocked in waitid */
	       SEEN,	/* it is not any more, and closes ended */
	} watch;
};

static struct gs_life_list processes;
GS_LOCK_FORKS(processes_lock, processes.lock);

/* ------------------------------------------------------------------------- */
/* In the child                                                                */

/* What the child is told, and what it says. */
struct start {
	const struct gs_process_attr *attr;
	const char *path;
	char *const *argv;
	char *const *envp;
	int *fds;	/* a copy, which the child changes */
	size_t nfds;	/* at least 3, if there are any */
	uint64_t mask;	/* of signals, that the program starts with */
	pid_t parent;	/* of the child */
	volatile int r; /* 0 or -errno */
};

#define NOT_INSTRUMENTED __attribute__((no_sanitize("address", "thread", "undefined")))

#define TRY(call)                                                                                  \
	do {                                                                                       \
		long try_r = (call);                                                               \
		if (try_r < 0)                                                                     \
			return (int)try_r;                                                         \
	} while (0)

/* Signals are blocked. What is not ignored is the default's, as exec will do. */
static NOT_INSTRUMENTED void child_signals(const struct start *s)
{
	const struct sigaction none = {.sa_handler = SIG_DFL};
	struct sigaction a;

	for (int sig = 1; sig <= SIGNALS; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP || sig == 32 || sig == 33)
			continue;
		/* not those that keep books: they would note it as ours */
		if (!__sigaction(sig, NULL, &a) && gs_sig_is_handler(&a))
			__sigaction(sig, &none, NULL);
	}
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&s->mask, 0, sizeof(s->mask), 0, 0);
}

/*
 * fds[i] becomes i, for all i. First those are moved out of the way that a smaller number
 * would overwrite.
 */
static NOT_INSTRUMENTED int child_fds(struct start *s)
{
	long null = -1;

	for (size_t i = 0; i < s->nfds; i++) {
		if (s->fds[i] == GS_FD_NULL) {
			if (null < 0) {
				TRY(null = gs_syscall6(SYS_openat, AT_FDCWD, (long)"/dev/null",
						       O_RDWR | O_CLOEXEC, 0, 0, 0));
				TRY(null = gs_syscall3(SYS_fcntl, null, F_DUPFD_CLOEXEC, s->nfds));
			}
			s->fds[i] = (int)null;
		} else if (s->fds[i] < (int)i) {
			long moved = gs_syscall3(SYS_fcntl, s->fds[i], F_DUPFD_CLOEXEC, s->nfds);

			TRY(moved);
			s->fds[i] = (int)moved;
		}
	}
	for (size_t i = 0; i < s->nfds; i++) {
		if (s->fds[i] == (int)i)
			TRY(gs_syscall3(SYS_fcntl, i, F_SETFD, 0));
		else
			TRY(gs_syscall3(SYS_dup3, s->fds[i], i, 0));
	}
	return 0;
}

static NOT_INSTRUMENTED void child_close_fds(size_t from)
{
	struct rlimit lim;

	if (!gs_syscall3(SYS_close_range, from, ~0u, CLOSE_RANGE_CLOEXEC))
		return;
	/* before Linux 5.11 */
	if (gs_syscall6(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&lim, 0, 0))
		return;
	for (size_t fd = from; fd < lim.rlim_cur; fd++)
		gs_syscall3(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/* The order is Go's. */
static NOT_INSTRUMENTED int child_exec(struct start *s)
{
	const struct gs_process_attr *a = s->attr;

	if (a->flags & GS_PROCESS_SETSID)
		TRY(gs_syscall3(SYS_setsid, 0, 0, 0));
	if (a->flags & GS_PROCESS_SETPGID)
		TRY(gs_syscall3(SYS_setpgid, 0, a->pgid, 0));
	if (a->dir)
		TRY(gs_syscall3(SYS_chdir, a->dir, 0, 0));
	if (a->pdeathsig) {
		TRY(gs_syscall6(SYS_prctl, PR_SET_PDEATHSIG, a->pdeathsig, 0, 0, 0, 0));
		/* too late? */
		if (gs_syscall3(SYS_getppid, 0, 0, 0) != s->parent)
			gs_syscall3(SYS_kill, gs_syscall3(SYS_getpid, 0, 0, 0), a->pdeathsig, 0);
	}
	TRY(child_fds(s));
	if (a->flags & GS_PROCESS_SETCTTY)
		TRY(gs_syscall3(SYS_ioctl, 0, TIOCSCTTY, 0));
	if (a->flags & GS_PROCESS_CLOSE_FDS)
		child_close_fds(s->nfds ? s->nfds : 3);
	child_signals(s);
	return (int)gs_syscall3(SYS_execve, s->path, s->argv, s->envp);
}

static NOT_INSTRUMENTED int child_main(void *arg)
{
	struct start *s = arg;

	s->r = child_exec(s);
	gs_syscall3(SYS_exit_group, 127, 0, 0);
	return 127;
}

/* ------------------------------------------------------------------------- */
/* Starting                                                                    */

/* As Go's exec.LookPath, but for relative directories, which are not looked into. */
static char *look_path(const char *name)
{
	const char *dir = getenv("PATH"), *end;
	size_t len = strlen(name);
	struct stat st;
	char *path;

	for (dir = dir ? dir : "/usr/bin:/bin"; *dir; dir = *end ? end + 1 : end) {
		end = strchrnul(dir, ':');
		if (*dir != '/')
			continue;
		path = malloc((size_t)(end - dir) + 1 + len + 1);
		if (!path)
			return NULL;
		memcpy(path, dir, (size_t)(end - dir));
		path[end - dir] = '/';
		memcpy(path + (end - dir) + 1, name, len + 1);
		if (!stat(path, &st) && !S_ISDIR(st.st_mode) &&
		    !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
			return path;
		free(path);
	}
	errno = ENOENT;
	return NULL;
}

/* The child's process id, when it has exec'ed, or -errno. */
static int spawn(struct start *s)
{
	const uint64_t all = UINT64_MAX;
	char *stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int pid;

	if (stack == MAP_FAILED)
		return -ENOMEM;
	gs_io_out();
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&s->mask, sizeof(all), 0, 0);
	pid = __clone(child_main, stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
	if (pid < 0)
		pid = -errno;
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&s->mask, 0, sizeof(s->mask), 0, 0);
	munmap(stack, CHILD_STACK);
	if (pid < 0 || !s->r)
		return pid;
	while (gs_syscall6(SYS_waitid, P_PID, pid, 0, WEXITED, 0, 0) == -EINTR)
		;
	return s->r;
}

/* The descriptors, all of the first three among them; NULL and nfds 0: as they are. */
static int copy_fds(struct start *s)
{
	const struct gs_process_attr *a = s->attr;

	if (!a->fds)
		return a->nfds ? -EINVAL : 0;
	s->nfds = a->nfds > 3 ? a->nfds : 3;
	s->fds = calloc(s->nfds, sizeof(*s->fds));
	if (!s->fds)
		return -ENOMEM;
	for (size_t i = 0; i < s->nfds; i++) {
		s->fds[i] = i < a->nfds ? a->fds[i] : GS_FD_NULL;
		if (s->fds[i] < GS_FD_NULL)
			return -EBADF;
	}
	return 0;
}

static bool attr_valid(const struct gs_process_attr *a)
{
	return a->path && a->path[0] && !(a->flags & ~FLAGS) && !a->pad0 && !a->pad[0] &&
	       !a->pad[1] && !a->pad[2] && !a->pad[3];
}

static int start(const struct gs_process_attr *attr, gs_process **process)
{
	char *only[2] = {(char *)(uintptr_t)attr->path, NULL}, *found = NULL;
	struct start s = {
		.attr = attr,
		.path = attr->path,
		.argv = attr->argv ? attr->argv : only,
		.envp = attr->envp ? attr->envp : environ,
		.parent = getpid(),
	};
	struct gs_process *p;
	gs_chan *ended;
	int r;

	if (!attr_valid(attr))
		return -EINVAL;
	p = gs_life_alloc(&processes, sizeof(*p));
	/* before there is a child that could not be given away for want of it */
	ended = gs_chan_new(0, 0);
	r = p && ended ? copy_fds(&s) : -ENOMEM;
	gs_blocking_begin();
	if (!r && !strchr(attr->path, '/')) {
		s.path = found = look_path(attr->path);
		r = found ? 0 : -errno;
	}
	if (!r)
		r = spawn(&s);
	gs_blocking_end();
	free(found);
	free(s.fds);
	if (r < 0) {
		gs_chan_unref(ended);
		if (p)
			gs_life_free(&processes, &p->life);
		return r;
	}
	p->pid = r;
	/* nobody has waited for it, so it is still its own */
	p->pidfd = (int)gs_syscall3(SYS_pidfd_open, p->pid, 0, 0);
	if (p->pidfd >= 0 && !gs_pd_of(p->pidfd)) {
		gs_syscall3(SYS_close, p->pidfd, 0, 0);
		p->pidfd = -ENOMEM;
	}
	if (p->pidfd >= 0) {
		gs_chan_unref(ended);
		ended = NULL;
	}
	p->ended = ended;
	p->watch = UNWATCHED;
	gs_life_begin(&p->life);
	*process = p;
	return 0;
}

int gs_process_start(const struct gs_process_attr *attr, gs_process **process)
{
	/* what looks for the file sets it, and finds it elsewhere */
	int err = gs_arch_errno(), r = start(attr, process);

	gs_arch_set_errno(err);
	return r;
}

/* ------------------------------------------------------------------------- */
/* Calls                                                                       */

/* A call begins: false if it was waited for. */
static bool begin(struct gs_process *p)
{
	return gs_life_get(&p->life);
}

static void end(struct gs_process *p)
{
	if (!gs_life_put(&p->life))
		return;
	if (p->pidfd >= 0)
		gs_close_fd(p->pidfd);
	gs_chan_unref(p->ended);
	gs_life_free(&processes, &p->life);
}

/* waitid that does not block: 1 it has ended, 0 not yet, -ECHILD. Lock held. */
static int look(struct gs_process *p, int options, siginfo_t *info)
{
	bool fd = p->pidfd >= 0;
	long r;

	info->si_pid = 0;
	r = gs_syscall6(SYS_waitid, fd ? WAIT_PIDFD : P_PID, fd ? p->pidfd : p->pid, (long)info,
			WEXITED | WNOHANG | options, 0, 0);
	return r ? (int)r : info->si_pid != 0;
}

static int status_of(const siginfo_t *info)
{
	switch (info->si_code) {
	case CLD_EXITED:
		return (info->si_status & 0xff) << 8;
	case CLD_DUMPED:
		return info->si_status | 0x80;
	default:
		return info->si_status;
	}
}

/* 0 and its status; -EAGAIN not yet; -ECHILD. */
static int reap(struct gs_process *p, int *status)
{
	siginfo_t info;
	int r = -ECHILD;
	/* in the child of a fork nobody watches */
	bool watched = p->pidfd < 0 && !gs_rt_start();

	gs_rt_enter();
	gs_lock_acquire(&p->lock);
	if (!gs_life_over(&p->life)) {
		r = watched && p->watch == WATCHED ? 0 : look(p, 0, &info);
		if (r)
			gs_life_end(&p->life);
		r = r == 1 ? 0 : r ? r : -EAGAIN;
	}
	gs_lock_release(&p->lock);
	gs_rt_leave();
	if (!r && status)
		*status = status_of(&info);
	gs_io_in();
	return r;
}

/* The fiber that waits where there is no pidfd. Holds p by begin. */
static void wait_blocked(void *arg)
{
	struct gs_process *p = arg;
	long r;

	do {
		gs_blocking_begin();
		r = gs_syscall6(SYS_waitid, P_PID, p->pid, 0, WEXITED | WNOWAIT, 0, 0);
		gs_blocking_end();
	} while (r == -EINTR);
	gs_rt_enter();
	gs_lock_acquire(&p->lock);
	p->watch = SEEN;
	gs_lock_release(&p->lock);
	gs_rt_leave();
	gs_chan_close(p->ended);
	end(p);
}

/* Wait without a pidfd; then try again. */
static void wait_otherwise(struct gs_process *p, gs_context *ctx)
{
	const struct gs_attr attr = {.name = "waitid"};
	struct gs_case cases[2] = {
		{.chan = p->ended, .op = GS_OP_RECV},
		{.chan = ctx ? gs_context_done(ctx) : NULL, .op = GS_OP_RECV},
	};
	bool start = false, over;

	/* no fiber is to be had in the child of a fork */
	if (gs_rt_start()) {
		gs_sleep(LOOK_NS);
		return;
	}
	gs_rt_enter();
	gs_lock_acquire(&p->lock);
	/* another may have reaped it since we tried: before anybody watched */
	over = gs_life_over(&p->life);
	if (!over && p->watch == UNWATCHED) {
		start = begin(p);
		p->watch = WATCHED;
	}
	gs_lock_release(&p->lock);
	gs_rt_leave();
	if (over)
		return;
	/* no fiber to be had: then here */
	if (start && gs_go_attr(&attr, wait_blocked, p))
		wait_blocked(p);
	gs_select_cases(cases, 2);
}

/* The context of one who waits is cancelled: all look again. */
static void look_again(void *pd)
{
	gs_pd_closed(pd);
}

int gs_process_wait(gs_process *p, gs_context *ctx, int *status)
{
	gs_context_hook *hook = NULL;
	struct gs_pd_turn turn = {0};
	struct gs_pd *pd;
	bool hooks;
	int r;

	if (!begin(p))
		return -ECHILD;
	pd = gs_pd_of(p->pidfd);
	hooks = ctx && !gs_rt_start();
	for (;;) {
		if (pd)
			turn = gs_pd_begin(pd);
		r = reap(p, status);
		if (r == -EAGAIN && ctx && gs_context_err(ctx))
			r = gs_context_err(ctx);
		if (r != -EAGAIN)
			break;
		if (!pd) {
			wait_otherwise(p, ctx);
			continue;
		}
		if (hooks && !hook && gs_context_done(ctx)) {
			hook = gs_context_after_func(ctx, look_again, pd);
			if (!hook) {
				r = -ENOMEM;
				break;
			}
		}
		/* no hook is called in the child of a fork: there we look at the context */
		r = gs_pd_wait_until(pd, p->pidfd, turn, POLLIN,
				     ctx && !hooks ? gs_now() + LOOK_NS : 0);
		if (r && (r != -ETIMEDOUT || hooks))
			break;
	}
	if (hook)
		gs_context_hook_stop(hook);
	end(p);
	return r;
}

int gs_process_kill(gs_process *p, int signo)
{
	siginfo_t info;
	int r = -ESRCH;

	if (!begin(p))
		return -ESRCH;
	gs_rt_enter();
	gs_lock_acquire(&p->lock);
	/* one that has ended and was not waited for would take it as if it had not */
	if (!gs_life_over(&p->life) && look(p, WNOWAIT, &info) == 0) {
		r = -ENOSYS;
		if (p->pidfd >= 0)
			r = (int)gs_syscall6(SYS_pidfd_send_signal, p->pidfd, signo, 0, 0, 0, 0);
		if (r == -ENOSYS)
			r = (int)gs_syscall3(SYS_kill, p->pid, signo, 0);
	}
	gs_lock_release(&p->lock);
	gs_rt_leave();
	end(p);
	return r;
}

pid_t gs_process_pid(gs_process *p)
{
	pid_t pid;

	if (!begin(p))
		return -ESRCH;
	pid = p->pid;
	end(p);
	return pid;
}

/* Holds it by begin: else it could be another process by now, if somebody else waited. */
static void wait_unwatched(void *arg)
{
	gs_process_wait(arg, NULL, NULL);
	end(arg);
}

int gs_process_release(gs_process *p)
{
	const struct gs_attr attr = {.name = "released process"};
	int r = -ECHILD;

	if (!begin(p))
		return r;
	r = gs_go_attr(&attr, wait_unwatched, p);
	if (r)
		end(p);
	return r;
}
