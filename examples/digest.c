/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * digest [DIR]: the SHA-256 of every regular file below DIR, as sha256sum prints it,
 * sorted by path (strcmp); symbolic links are skipped. Then sha256sum has to say the same.
 * Without DIR: the headers of the running kernel.
 *
 *	walk --paths--> 16 x hash --found--> collect
 *
 * The work is plain blocking code (digest_file.c). With the gsched module a fiber that
 * waits for the disk gives its proc to another one at that moment, so that files are
 * read side by side on a single proc; the table on stderr shows how often.
 */
#include "digest.h"

#include <errno.h>
#include <gsched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define READERS 16
#define SECOND INT64_C(1000000000)

static gs_chan *paths;	/* of char *: from walk, which closes it */
static gs_chan *found;	/* of struct file: closed when all readers ended */
static gs_chan *cancel; /* closed by the first error or SIGINT: start nothing new */
static gs_chan *done;	/* closed by collect: the ticker may end */
static gs_waitgroup readers, others;
static gs_once failed;
static sigset_t sigint;			/* blocked everywhere, asked for by tick */
static struct file *files;		/* collect's */
static _Atomic uint64_t nfiles, nbytes; /* collect counts, tick shows */

static void close_cancel(void *unused)
{
	(void)unused;
	gs_chan_close(cancel);
}

static void fail(const char *what, int err)
{
	fprintf(stderr, "digest: %s: %s\n", what, strerrordesc_np(err));
	gs_once_do(&failed, close_cancel, NULL);
}

static void walk(void *dir)
{
	char *roots[] = {dir, NULL}, *path = NULL;
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
	int err = tree ? 0 : errno;

	while (tree && (path = next_file(tree, &err)) && !err) {
		if (gs_select(GS_SEND(paths, path), GS_RECV(cancel, NULL)) == 1)
			break;
	}
	if (err)
		fail(path ? path : dir, err);
	free(path); /* what is left is nobody else's */
	if (tree)
		fts_close(tree);
	gs_chan_close(paths);
}

static void hash(void *unused)
{
	struct file f;

	(void)unused;
	while (gs_chan_recv(paths, &f.path)) {
		int err = hash_file(&f);

		if (!err) {
			gs_chan_send(found, &f);
			continue;
		}
		fail(f.path, err);
		free(f.path);
	}
}

static void close_found(void *unused)
{
	(void)unused;
	gs_wg_wait(&readers);
	gs_chan_close(found);
}

static void tick(void *unused)
{
	(void)unused;
	while (gs_select(GS_RECV(done, NULL), GS_AFTER(SECOND)) == 1) {
		fprintf(stderr, "digest: %lu files, %lu bytes so far\n", nfiles, nbytes);
		if (sigtimedwait(&sigint, NULL, &(struct timespec){0}) == SIGINT)
			fail("interrupted", ECANCELED);
	}
}

static void start(gs_waitgroup *wg, void (*fn)(void *), void *arg)
{
	int err = gs_wg_go(wg, fn, arg);

	if (err) {
		fprintf(stderr, "digest: cannot start a fiber: %s\n", strerrordesc_np(-err));
		exit(EXIT_FAILURE);
	}
}

static void keep(const struct file *f)
{
	/* nfiles is 0 or a power of two: there is no room left */
	if ((nfiles & (nfiles - 1)) == 0) {
		struct file *more = reallocarray(files, nfiles ? 2 * nfiles : 1, sizeof(*f));

		if (!more) {
			fail("collect", ENOMEM);
			free(f->path);
			return;
		}
		files = more;
	}
	files[nfiles++] = *f;
	nbytes += f->size;
}

static void collect(void *dir)
{
	gs_chan *stop = cancel;
	struct file f;
	bool ok = true;

	start(&others, walk, dir);
	for (int i = 0; i < READERS; i++)
		start(&readers, hash, NULL);
	start(&others, close_found, NULL);
	start(&others, tick, NULL);
	while (ok) {
		switch (gs_select(GS_RECV_OK(found, &f, &ok), GS_RECV(stop, NULL))) {
		case 0:
			if (ok)
				keep(&f);
			break;
		case 1:
			stop = NULL; /* never ready again; what was begun comes to its end */
		}
	}
	gs_chan_close(done);
	gs_wg_wait(&others);
}

int main(int argc, char **argv)
{
	int64_t begin = gs_now(), elapsed;
	char dir[128];
	struct utsname uts;
	int status = 1;

	if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
		fprintf(stderr, "usage: digest [DIR]\n");
		return 2;
	}
	uname(&uts);
	snprintf(dir, sizeof(dir), "/usr/src/linux-headers-%s", uts.release);
	sigemptyset(&sigint);
	sigaddset(&sigint, SIGINT);
	pthread_sigmask(SIG_BLOCK, &sigint, NULL);

	paths = gs_chan_new(sizeof(char *), 0);
	found = gs_chan_new(sizeof(struct file), READERS);
	cancel = gs_chan_new(0, 0);
	done = gs_chan_new(0, 0);
	if (!paths || !found || !cancel || !done || gs_run(collect, argc == 2 ? argv[1] : dir)) {
		fprintf(stderr, "digest: cannot start\n");
		return 1;
	}
	pthread_sigmask(SIG_UNBLOCK, &sigint, NULL);
	elapsed = gs_now() - begin;

	/* from here on an ordinary program on an ordinary thread */
	if (gs_chan_try_recv(cancel, NULL) == -EAGAIN)
		status = report(files, nfiles);
	print_stats(elapsed);
	for (size_t i = 0; i < nfiles; i++)
		free(files[i].path);
	free(files);
	gs_chan_unref(paths);
	gs_chan_unref(found);
	gs_chan_unref(cancel);
	gs_chan_unref(done);
	return status;
}
