/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other programs, as Go's os.StartProcess and package os/exec.
 *
 *	char *argv[] = {"make", "-s", NULL};
 *	const struct gs_process_attr attr = {.path = "make", .argv = argv, .dir = "/src"};
 *	gs_process *p;
 *	int status, r = gs_process_start(&attr, &p);
 *
 *	if (r == 0)
 *		r = gs_process_wait(p, NULL, &status);
 *
 * The child is started as by vfork and execve: no copy of the memory is made, however
 * large. It has the signal mask of the calling thread. Signals that the program, or
 * gs_signal_notify, handles have their default action in it; ignored ones stay ignored.
 * Waiting blocks no thread: it is for the child's pidfd, by the poller. Where the machine
 * refuses pidfds, a fiber of its own is blocked in waitid(2), without a proc.
 *
 * To write to a child and read from it pass it ends of pipes, made with O_CLOEXEC, and
 * close them here after the start. To end a child when a context is cancelled:
 *
 *	r = gs_process_wait(p, ctx, &status);
 *	if (r < 0 && gs_context_err(ctx)) {
 *		gs_process_kill(p, SIGKILL);
 *		r = gs_process_wait(p, NULL, &status);
 *	}
 *
 * All (T), also in the child of a fork, for children of its own.
 */
#ifndef GSCHED_PROCESS_H
#define GSCHED_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gs_context gs_context; /* context.h */
typedef struct gs_process gs_process;

/* A session of its own: setsid(2). Go's Setsid. */
#define GS_PROCESS_SETSID (1u << 0)
/* The process group pgid, 0 for one of its own: setpgid(2). Go's Setpgid, Pgid. */
#define GS_PROCESS_SETPGID (1u << 1)
/* With SETSID: the child's descriptor 0 is its controlling terminal. Go's Setctty. */
#define GS_PROCESS_SETCTTY (1u << 2)
/* Descriptors beyond those in fds are closed, whether they are O_CLOEXEC or not. */
#define GS_PROCESS_CLOSE_FDS (1u << 3)

/* A GS_FD_NULL among the descriptors is /dev/null. */
#define GS_FD_NULL (-1)

/**
 * struct gs_process_attr - what to start; zero is the default everywhere but for path
 * @path: the program. With a slash: its file, relative to dir. Without one it is looked for
 *	in the directories of PATH (this process's), but for those that are relative.
 * @argv: its arguments, from its name on, NULL at the end; NULL: {path, NULL}
 * @envp: its environment; NULL: this process's
 * @dir: its working directory; NULL: this process's
 * @fds: this process's descriptors that it gets as 0, 1, ...; NULL: 0, 1 and 2 as they are.
 *	It keeps others that are not O_CLOEXEC, as with every exec.
 * @nfds: how many of them; those missing of 0, 1 and 2 are GS_FD_NULL
 * @flags: GS_PROCESS_...
 * @pgid: with GS_PROCESS_SETPGID
 * @pdeathsig: the signal it gets when the thread ends that started it, 0 none; see
 *	PR_SET_PDEATHSIG in prctl(2), and gs_lock_thread. Go's Pdeathsig.
 * @pad: zero
 */
struct gs_process_attr {
	const char *path;
	char *const *argv;
	char *const *envp;
	const char *dir;
	const int *fds;
	size_t nfds;
	unsigned flags;
	pid_t pgid;
	int pdeathsig;
	int pad0;
	uint64_t pad[4];
};

/**
 * gs_process_start - start a program (T)
 * @attr: need not live longer than the call
 * @process: filled on success; lives until gs_process_wait or gs_process_release
 *
 * Return: 0, and the program runs; or -errno: what execve(2), or one of the steps before it
 * in the child (chdir, setsid, dup...), failed with: -ENOENT, -EACCES, -ENOEXEC...;
 * -EBADF one of the descriptors is none; -EINVAL no path, unknown flags or non-zero
 * padding; -ENOMEM, -EAGAIN no process could be made.
 */
int gs_process_start(const struct gs_process_attr *attr, gs_process **process);

/**
 * gs_process_wait - wait until it has ended
 * @process: freed on success
 * @ctx: gives up when this is cancelled or its deadline passes; NULL: never
 * @status: as waitpid(2)'s, for WIFEXITED and its like; NULL: not wanted
 *
 * Any number of fibers may wait: one gets the status, the others -ECHILD, and so does who
 * comes later (as long as not many processes have been started since: the memory is used
 * again). If the context gave up, the process goes on and can be waited for anew; one that
 * has ended already is told even if the context is cancelled.
 *
 * Return: 0; the context's error; -ECHILD also if somebody else has waited for it, by
 * waitpid(2) or by ignoring SIGCHLD, and then it is freed, too. (T)
 */
int gs_process_wait(gs_process *process, gs_context *ctx, int *status);

/*
 * Send it a signal (0: only look): 0, or -ESRCH if it has ended, waited for or not (Go's
 * os.ErrProcessDone), -EINVAL no such signal, -EPERM it is another user's by now. (T)
 */
int gs_process_kill(gs_process *process, int signo);

/* Its process id; -ESRCH when it was waited for, since it may be another's then. (T) */
pid_t gs_process_pid(gs_process *process);

/*
 * Nobody will wait for it: it is freed, and runs on. When it ends it is waited for by the
 * runtime. Those who wait already go on. 0, or -ECHILD it was waited for, or what
 * gs_go returns, and then nothing has happened. (T)
 */
int gs_process_release(gs_process *process);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_PROCESS_H */
