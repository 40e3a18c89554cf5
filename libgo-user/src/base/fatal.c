/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fatal.h"

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/syscall.h"

/* The kernel's id of the thread that reports, 0 none; only ever 0 -> tid. */
static uint32_t reporter;

void gs_write_all(int fd, const char *buf, size_t n)
{
	while (n) {
		long r = gs_write_raw(fd, buf, n);

		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r <= 0)
			return;
		buf += r;
		n -= (size_t)r;
	}
}

void gs_dying(void)
{
	const uint64_t urg = UINT64_C(1) << (SIGURG - 1);
	uint32_t none = 0, me;

	/*
	 * Not interrupted from here on: a fiber that came next on this thread, and is about to
	 * report something itself, would be taken for a failure of the report.
	 */
	gs_syscall6(SYS_rt_sigprocmask, SIG_BLOCK, (long)&urg, 0, sizeof(urg), 0, 0);
	me = (uint32_t)gs_syscall3(SYS_gettid, 0, 0, 0);
	if (gs_cas_seq(&reporter, &none, me))
		return;
	if (none == me)
		gs_die(2);
	for (;;)
		gs_syscall3(SYS_pause, 0, 0, 0);
}

_Noreturn void gs_die(int status)
{
#if defined(GS_TSAN) || defined(GS_ASAN)
	_exit(status); /* the sanitizer wants to see it, and may change the status */
#else
	for (;;)
		gs_syscall3(SYS_exit_group, status, 0, 0);
#endif
}

_Noreturn void gs_fatal(const char *fmt, ...)
{
	static const char head[] = "fatal error: ";
	char buf[1024];
	size_t len = sizeof(head) - 1;
	va_list ap;
	int n;

	gs_dying();
	__builtin_memcpy(buf, head, len);
	va_start(ap, fmt);
	n = vsnprintf(buf + len, sizeof(buf) - len - 1, fmt, ap);
	va_end(ap);
	if (n > 0)
		len += (size_t)n < sizeof(buf) - len - 1 ? (size_t)n : sizeof(buf) - len - 2;
	buf[len++] = '\n';
	gs_write_all(2, buf, len);
	gs_die(2);
}
