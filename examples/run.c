/* SPDX-License-Identifier: 0BSD */
/*
 * run SECONDS COMMAND [ARGUMENT]...: run a command, pass SIGINT and SIGTERM on to it, and
 * end it when the time is up. Exits as the command did.
 */
#include <gsched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct job {
	char **argv;
	double seconds;
	gs_process *child;
	gs_chan_of(int) ended;
	gs_chan *signals; /* of int */
	int status;
};

static void wait_for(void *arg)
{
	struct job *j = arg;

	gs_process_wait(j->child, NULL, &j->status);
	gs_close(j->ended);
}

static void run(void *arg)
{
	struct job *j = arg;
	const struct gs_process_attr attr = {.path = j->argv[0], .argv = j->argv};
	int64_t until = gs_now() + (int64_t)(j->seconds * 1e9);
	int signo = 0, r;

	r = gs_signal_notify(j->signals, SIGINT);
	if (!r)
		r = gs_signal_notify(j->signals, SIGTERM);
	if (!r)
		r = gs_process_start(&attr, &j->child);
	if (r) {
		fprintf(stderr, "run: %s: %s\n", j->argv[0], strerror(-r));
		j->status = 127 << 8;
		return;
	}
	if (gs_go(wait_for, j)) {
		gs_process_kill(j->child, SIGKILL);
		wait_for(j);
	}
	for (;;) {
		switch (gs_select(GS_RECV(j->ended, NULL), GS_RECV(j->signals, &signo),
				  GS_AFTER(until - gs_now()))) {
		case 0:
			return;
		case 1:
			gs_process_kill(j->child, signo);
			break;
		case 2:
			fprintf(stderr, "run: the time is up\n");
			gs_process_kill(j->child, SIGKILL);
			until = INT64_MAX;
		}
	}
}

int main(int argc, char **argv)
{
	struct job j = {
		.argv = argv + 2, .ended = gs_make(int, 0), .signals = gs_chan_new(sizeof(int), 4)};
	int err;

	/* NaN is not above 0 either; 9e9 s are 285 years, what fits in ns */
	if (argc < 3 || !((j.seconds = atof(argv[1])) > 0 && j.seconds < 9e9)) {
		fprintf(stderr, "usage: run seconds command [argument]...\n");
		return 2;
	}
	err = !j.ended || !j.signals || gs_run(run, &j);
	gs_free(j.ended);
	gs_chan_unref(j.signals);
	if (err)
		return 1;
	return WIFEXITED(j.status) ? WEXITSTATUS(j.status) : 128 + WTERMSIG(j.status);
}
