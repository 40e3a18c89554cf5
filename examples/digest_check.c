/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The result as text, the same from sha256sum, and what the scheduler did meanwhile.
 */
#include "digest.h"

#include <errno.h>
#include <fcntl.h>
#include <gsched/debug.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* For one sha256sum: what Linux takes as arguments whatever the limits, environment apart. */
enum { BATCH = 1000, BATCH_BYTES = 64 << 10 };

/*
 * As coreutils' sha256sum: "\" before the line if the name needs escapes, and these in the
 * name. (That of busybox escapes nothing, so such names differ there.)
 */
static void put_file(FILE *out, const struct file *f)
{
	if (strpbrk(f->path, "\\\n\r"))
		putc('\\', out);
	for (size_t i = 0; i < sizeof(f->sum); i++)
		fprintf(out, "%02x", f->sum[i]);
	fputs("  ", out);
	for (const char *c = f->path; *c; c++) {
		const char *escaped = *c == '\\'   ? "\\\\"
				      : *c == '\n' ? "\\n"
				      : *c == '\r' ? "\\r"
						   : NULL;

		if (escaped)
			fputs(escaped, out);
		else
			putc(*c, out);
	}
	putc('\n', out);
}

static char *format_files(const struct file *files, size_t n)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < n; i++)
		put_file(out, &files[i]);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* Start sha256sum for the first of the n files; *k says how many. Its output, or NULL. */
static FILE *start_sha256sum(const struct file *files, size_t n, size_t *k, pid_t *pid)
{
	char *argv[2 + BATCH + 1] = {"sha256sum", "--"};
	posix_spawn_file_actions_t actions;
	size_t bytes = 0;
	int fd[2], err;

	for (*k = 0; *k < n && *k < BATCH && bytes < BATCH_BYTES; ++*k) {
		argv[2 + *k] = files[*k].path;
		bytes += strlen(files[*k].path) + 1;
	}
	if (pipe2(fd, O_CLOEXEC))
		return NULL;
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		err = posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO);
		if (!err)
			err = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(fd[1]);
	if (!err)
		return fdopen(fd[0], "r");
	close(fd[0]);
	errno = err;
	return NULL;
}

/* Compare what it prints with the lines at *text, and move on behind them. 0 or 1. */
static int compare(FILE *sums, const char **text)
{
	char *line = NULL;
	size_t room = 0;
	int status = 0;
	ssize_t len;

	while (!status && (len = getline(&line, &room, sums)) > 0) {
		if (strncmp(*text, line, (size_t)len)) {
			fprintf(stderr, "digest: differs from sha256sum\nours:   %.*s\ntheirs: %s",
				(int)strcspn(*text, "\n"), *text, line);
			status = 1;
		} else {
			*text += len;
		}
	}
	free(line);
	return status;
}

static int check_files(const struct file *files, size_t n, const char *text)
{
	int status = 0, exited;
	size_t k;

	for (; n && !status; files += k, n -= k) {
		pid_t pid;
		FILE *sums = start_sha256sum(files, n, &k, &pid);

		if (!sums) {
			perror("digest: sha256sum");
			return 1;
		}
		status = compare(sums, &text);
		fclose(sums);
		if (waitpid(pid, &exited, 0) != pid || (exited && !status)) {
			fprintf(stderr, "digest: sha256sum failed\n");
			status = 1;
		}
	}
	if (*text && !status) {
		fprintf(stderr, "digest: sha256sum prints nothing for\n%s", text);
		status = 1;
	}
	return status;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

int report(struct file *files, size_t n)
{
	uint64_t bytes = 0;
	int status = 1;
	char *text;

	if (n)
		qsort(files, n, sizeof(*files), by_path);
	for (size_t i = 0; i < n; i++)
		bytes += files[i].size;
	text = format_files(files, n);
	if (!text || fputs(text, stdout) < 0 || fflush(stdout))
		perror("digest: output");
	else
		status = check_files(files, n, text);
	free(text);
	if (!status)
		fprintf(stderr, "digest: %zu files, %" PRIu64 " bytes: identical to sha256sum\n", n,
			bytes);
	return status;
}

void print_stats(int64_t elapsed_ns)
{
	struct gs_stats s;

	if (gs_stats(&s))
		return;
	fprintf(stderr,
		"  backend    %10s\n"
		"  procs      %10" PRIu32 "  fibers that may run at once\n"
		"  workers    %10" PRIu32 "  threads, made as others blocked\n"
		"  switches   %10" PRIu64 "  fibers scheduled\n"
		"  blocks     %10" PRIu64 "  times a fiber blocked and its proc was given up\n"
		"  hand-offs  %10" PRIu64 "  of these, another worker got the proc at once\n"
		"  returns    %10" PRIu64 "  it came back and found a proc\n"
		"  lost       %10" PRIu64 "  it came back and found none: it stood in the queue\n"
		"  elapsed    %8" PRId64 ".%03d  seconds\n",
		s.backend, s.procs, s.workers, s.switches, s.blocks, s.handoffs, s.returns, s.lost,
		elapsed_ns / 1000000000, (int)(elapsed_ns / 1000000 % 1000));
}
