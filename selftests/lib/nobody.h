/* SPDX-License-Identifier: GPL-2.0 */
/* Without root's rights, for limits that do not bind root. */
#ifndef GS_SELFTESTS_NOBODY_H
#define GS_SELFTESTS_NOBODY_H

#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

/* nobody, but of the group that may use the device; ends with 77 if that cannot be */
static inline void become_nobody(void)
{
	struct stat st;
	gid_t gid = stat("/dev/gsched", &st) ? NOBODY : st.st_gid;

	if (setgroups(0, NULL) || setgid(gid) || setuid(NOBODY))
		_exit(77);
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
