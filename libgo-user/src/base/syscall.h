/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw system calls for scheduler code.
 *
 * The scheduler runs on whatever thread-local storage its worker holds, so it
 * never touches errno: these return the negative errno itself.
 */
#ifndef GS_BASE_SYSCALL_H
#define GS_BASE_SYSCALL_H

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

#ifdef __x86_64__
static inline long gs_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#else
static inline long gs_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long ret = syscall(nr, a, b, c, d, e, f);

	if (ret == -1)
		ret = -errno;
	errno = saved;
	return ret;
}
#endif

#ifdef GS_INJECT
static inline long gs_syscall6_or_fail(long nr, long a, long b, long c, long d, long e, long f)
{
	return nr == SYS_mmap && gs_inject_fails() ? -ENOMEM : gs_syscall6(nr, a, b, c, d, e, f);
}
#define gs_syscall6 gs_syscall6_or_fail
#endif

#define gs_syscall3(nr, a, b, c) gs_syscall6((nr), (long)(a), (long)(b), (long)(c), 0, 0, 0)

static inline long gs_write_raw(int fd, const void *buf, size_t n)
{
	return gs_syscall3(SYS_write, fd, buf, n);
}

static inline long gs_futex_wait_until(uint32_t *word, uint32_t val, int64_t deadline)
{
	struct timespec ts = {
		.tv_sec = deadline / 1000000000,
		.tv_nsec = deadline % 1000000000,
	};

	return gs_syscall6(SYS_futex, (long)word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, (long)val,
			   deadline ? (long)&ts : 0, 0, (long)FUTEX_BITSET_MATCH_ANY);
}

/*
 * Wait while *word == val, until the absolute CLOCK_MONOTONIC deadline (0 never):
 * 0, -EAGAIN, -EINTR (look again), -ETIMEDOUT.
 */
static inline long gs_futex_wait(uint32_t *word, uint32_t val, int64_t deadline)
{
#ifdef GS_TSAN
	/*
	 * TSan notes a signal and runs its handler at the thread's next atomic operation:
	 * not before the wait ends, if the signal came just before it or if the handler has
	 * SA_RESTART. So no wait is long.
	 */
	const int64_t most = 50000000;
	struct timespec now;
	int64_t soon;

	clock_gettime(CLOCK_MONOTONIC, &now);
	soon = now.tv_sec * INT64_C(1000000000) + now.tv_nsec + most;
	if (!deadline || deadline > soon) {
		long r = gs_futex_wait_until(word, val, soon);

		return r == -ETIMEDOUT ? -EINTR : r;
	}
#endif
	return gs_futex_wait_until(word, val, deadline);
}

static inline long gs_futex_wake(uint32_t *word, int n)
{
	return gs_syscall3(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n);
}

#endif /* GS_BASE_SYSCALL_H */
