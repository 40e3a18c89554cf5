/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the environment says: GSCHED_*. */
#ifndef GS_CONFIG_H
#define GS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guard.h"

enum gs_want { GS_WANT_AUTO, GS_WANT_KMOD, GS_WANT_POSIX };
enum gs_want_poller { GS_POLLER_AUTO, GS_POLLER_URING, GS_POLLER_EPOLL };
enum gs_want_tls { GS_WANT_TRAVEL, GS_WANT_OWN, GS_WANT_FROZEN, GS_WANT_NONE };

struct gs_config {
	int procs;
	bool follow; /* procs is the default, to be followed when it changes */
	int max_threads;
	int64_t retire_ns; /* 0 the default */
	size_t stack;
	enum gs_guard guard;
	int64_t slice_ns; /* 0 the default */
	enum gs_want backend;
	enum gs_want_poller poller;
	enum gs_want_tls tls;
	int64_t schedtrace_ns; /* 0 off */
	bool debug_backend;
};

/* 0, or -EINVAL after a line on stderr that names the variable and the value. */
int gs_config_read(struct gs_config *c);

#endif /* GS_CONFIG_H */
