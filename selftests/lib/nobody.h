/* SPDX-License-Identifier: GPL-2.0 */
/* Without root's rights, for limits that do not bind root. */
#ifndef GS_SELFTESTS_NOBODY_H
#define GS_SELFTESTS_NOBODY_H

#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

/* that user, but of the group that may use the device; ends with 77 if that cannot be */
static inline void become(uid_t uid)
{
	struct stat st;
	gid_t gid = stat("/dev/gsched", &st) ? NOBODY : st.st_gid;

	if (setgroups(0, NULL) || setgid(gid) || setuid(uid))
		_exit(77);
}

static inline void become_nobody(void)
{
	become(NOBODY);
}

/* Somebody who has no other threads, where their number counts. */
static inline void become_alone(void)
{
	become(20000 + (uid_t)getpid() % 40000);
}

/* RLIMIT_NPROC, as far as the hard limit allows. */
static inline int limit_threads(rlim_t n)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NPROC, &lim);
	lim.rlim_cur = n < lim.rlim_max ? n : lim.rlim_max;
	return setrlimit(RLIMIT_NPROC, &lim);
}

#endif /* GS_SELFTESTS_NOBODY_H */
