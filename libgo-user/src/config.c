/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "stack.h"
#include "width.h"

static int bad(const char *name, const char *value, const char *want)
{
	fprintf(stderr, "gsched: %s=%s: %s\n", name, value, want);
	return -EINVAL;
}

static bool number(const char *s, long min, long max, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(s, &end, 10);
	return end != s && !*end && !errno && *out >= min && *out <= max;
}

static int read_debug(struct gs_config *c, const char *value)
{
	char buf[256], *save = NULL;
	int r = 0;

	if (strlen(value) >= sizeof(buf))
		return bad("GSCHED_DEBUG", value, "too long");
	strcpy(buf, value);
	for (char *w = strtok_r(buf, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(w, '=');
		long n = 1;

		if (eq) {
			*eq = 0;
			if (!number(eq + 1, 0, 1000000, &n))
				r = bad("GSCHED_DEBUG", value, "not a number after '='");
		}
		if (!strcmp(w, "schedtrace"))
			c->schedtrace_ns = n * INT64_C(1000000);
		else if (!strcmp(w, "backend"))
			c->debug_backend = n;
		else if (!strcmp(w, "leak"))
			; /* leak.c asks for itself: channels may be made before the runtime */
		else if (!strcmp(w, "help"))
			fputs("GSCHED_DEBUG: comma-separated words\n"
			      "  schedtrace=MS  a line about the scheduler every MS milliseconds\n"
			      "  backend=1      say which backend was chosen and why\n"
			      "  leak=1         when gs_run ends say what is left: fibers, channels,\n"
			      "                 timers, contexts\n"
			      "  help           this text\n",
			      stderr);
		else
			r = bad("GSCHED_DEBUG", value,
				"unknown word; GSCHED_DEBUG=help lists them");
	}
	return r;
}

int gs_config_read(struct gs_config *c)
{
	const char *s;
	long n;

	*c = (struct gs_config){.procs = gs_width(), .follow = true};
	s = getenv("GSCHED_MAXPROCS");
	if (s && *s) {
		if (!number(s, 1, 1L << 30, &n))
			return bad("GSCHED_MAXPROCS", s, "wants a positive number");
		c->procs = n > GS_MAXPROCS ? GS_MAXPROCS : (int)n;
		c->follow = false;
	}
	s = getenv("GSCHED_MAXTHREADS");
	if (s && *s) {
		if (!number(s, 1, 1L << 30, &n))
			return bad("GSCHED_MAXTHREADS", s, "wants a positive number");
		c->max_threads = (int)n;
	}
	s = getenv("GSCHED_RETIRE");
	if (s && *s) {
		if (!number(s, 1, 1000000000, &n))
			return bad("GSCHED_RETIRE", s, "wants milliseconds from 1 to 1000000000");
		c->retire_ns = n * INT64_C(1000000);
	}
	s = getenv("GSCHED_STACK");
	if (s && *s) {
		if (!number(s, (long)GS_STACK_MIN, (long)GS_STACK_MAX, &n))
			return bad("GSCHED_STACK", s, "wants bytes from 16384 to 1073741824");
		c->stack = (size_t)n;
	}
	s = getenv("GSCHED_SLICE");
	if (s && *s) {
		if (!number(s, 100, 10000000, &n))
			return bad("GSCHED_SLICE", s, "wants microseconds from 100 to 10000000");
		c->slice_ns = n * 1000;
	}
	s = getenv("GSCHED_BACKEND");
	if (s && *s) {
		if (!strcmp(s, "kmod"))
			c->backend = GS_WANT_KMOD;
		else if (!strcmp(s, "posix"))
			c->backend = GS_WANT_POSIX;
		else if (strcmp(s, "auto"))
			return bad("GSCHED_BACKEND", s, "wants auto, kmod or posix");
	}
	s = getenv("GSCHED_POLLER");
	if (s && *s) {
		if (!strcmp(s, "uring"))
			c->poller = GS_POLLER_URING;
		else if (!strcmp(s, "epoll"))
			c->poller = GS_POLLER_EPOLL;
		else if (strcmp(s, "auto"))
			return bad("GSCHED_POLLER", s, "wants auto, uring or epoll");
	}
	s = getenv("GSCHED_TLS");
	if (s && *s) {
		if (!strcmp(s, "frozen"))
			c->tls = GS_WANT_FROZEN;
		else if (!strcmp(s, "fiber"))
			c->tls = GS_WANT_OWN;
		else if (!strcmp(s, "none"))
			c->tls = GS_WANT_NONE;
		else if (strcmp(s, "travel"))
			return bad("GSCHED_TLS", s, "wants travel, fiber, frozen or none");
	}
	s = getenv("GSCHED_GUARD");
	if (s && *s) {
		if (!strcmp(s, "install"))
			c->guard = GS_GUARD_INSTALL;
		else if (!strcmp(s, "poison"))
			c->guard = GS_GUARD_POISON;
		else if (!strcmp(s, "mprotect"))
			c->guard = GS_GUARD_MPROTECT;
		else if (!strcmp(s, "none"))
			c->guard = GS_GUARD_NONE;
		else if (strcmp(s, "auto"))
			return bad("GSCHED_GUARD", s,
				   "wants auto, install, poison, mprotect or none");
	}
	s = getenv("GSCHED_DEBUG");
	/* a misspelt debug word is said, and no reason not to run */
	if (s && *s)
		read_debug(c, s);
	return 0;
}
