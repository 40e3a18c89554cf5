/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the process ends when it cannot go on: a text on stderr, exit status 2. */
#ifndef GS_BASE_FATAL_H
#define GS_BASE_FATAL_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Write all of buf, as far as the descriptor takes it. No libc, no errno. */
void gs_write_all(int fd, const char *buf, size_t n);

/*
 * The first to call it returns and will end the process; whoever comes after it
 * waits here for that end, so that two reports do not mix. The same thread or
 * fiber twice (the report itself failed) ends the process at once.
 */
void gs_dying(void);

/* exit_group(2), without atexit handlers, as Go. */
_Noreturn void gs_die(int status);

/* Print "fatal error: <text>" and exit with status 2. Any context, any depth. */
_Noreturn void gs_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

#pragma GCC visibility pop

#endif /* GS_BASE_FATAL_H */
