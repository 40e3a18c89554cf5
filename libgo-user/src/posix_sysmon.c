/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sysmon: the thread that notices blocked workers where no kernel does.
 *
 * It looks at the procs that are held, every 20 us at first; when nothing has come of
 * fifty looks the interval doubles, look by look, to half a slice, 5 ms by default. When
 * no proc is held any more it rests until one is: an idle program is not woken.
 *
 * A worker has blocked when, at depth 0,
 *
 *	its thread used no CPU time between two looks, and
 *	it is asleep: S or D in /proc/self/task/TID/stat
 *
 * The first alone may be a thread that waits for a CPU, and so keeps its proc. The second
 * alone may be one that will wake in a moment: so the looks are 20 us apart at least.
 * Stopped and traced threads (T, t) keep their procs as on kmod. CPU time is asked for
 * instead of the number of context switches in `status`: it says more (the thread did not
 * run at all) and costs a tenth, and a hog, whose time differs, costs nothing else. After
 * long intervals the state is read at the first look already, and the next look comes at
 * once, so that a proc is idle for one interval, not for two.
 *
 * The proc is then retaken (backend_posix.c), which makes it idle whether or not anybody
 * wants it: so the next Enqueue finds it by itself, and without demand nobody is woken.
 *
 *	rest						take, the owner's side
 *	gs_sysmon_rests = 1				owner = w
 *	full fence					full barrier
 *	owners: none? then wait				gs_sysmon_rests? wake
 *
 * Forbidden: a proc held and sysmon at rest.
 *
 * Rejected: a periodic call of the poller's. Looks at short intervals and the wait for
 * timers and I/O would disturb each other, and a fiber that waits for a descriptor in the
 * kernel must not wait for the poller's turn.
 */
#include <fcntl.h>
#include <gsched/time.h>
#include <string.h>

#include "backend.h"
#include "posix.h"

#define FIRST_NS 20000
#define FIRST_LOOKS 50
#define MOST_NS 5000000
/* From here on the state is read at once. */
#define LONG_NS 1000000
/* Looks in a row, at the longest interval, that found no proc held. */
#define REST_LOOKS 10

/* A proc as the last look found it; sysmon's own. */
struct seen {
	uint32_t worker;
	int64_t cpu;
};

enum verdict { FREE, BUSY, DOZING, RETAKEN };

uint32_t gs_sysmon_word;
uint32_t gs_sysmon_rests;

static struct seen seen[GS_MAXPROCS];

static char *put(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

/* The letter of its state; 0 when the thread is gone or cannot be seen. */
char gs_posix_state(int32_t tid)
{
	char path[64], text[128], digits[12], *at = digits + sizeof(digits);
	long fd, n;

	/* no stdio here, and it takes a while, too */
	*--at = '\0';
	for (uint32_t t = (uint32_t)tid; t; t /= 10)
		*--at = (char)('0' + t % 10);
	*put(put(put(path, "/proc/self/task/"), at), "/stat") = '\0';
	fd = gs_syscall6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return 0;
	n = gs_syscall3(SYS_read, fd, text, sizeof(text) - 1);
	gs_syscall3(SYS_close, fd, 0, 0);
	/* "TID (name) S": the name has 15 characters at most, any of them a parenthesis */
	while (n > 2 && text[n - 1] != ')')
		n--;
	return n > 2 ? text[n + 1] : 0;
}

static bool asleep(int32_t tid)
{
	char state = gs_posix_state(tid);

	return state == 'S' || state == 'D';
}

static enum verdict look(uint32_t p, bool eager)
{
	uint32_t worker = gs_posix_owner(p);
	struct seen *s = &seen[p];
	int32_t tid;
	int64_t cpu;
	bool same;

	if (worker == GS_POSIX_NOBODY) {
		s->worker = GS_POSIX_NOBODY;
		return FREE;
	}
	if (!gs_posix_outside(worker)) {
		s->worker = GS_POSIX_NOBODY;
		return BUSY;
	}
	tid = gs_posix_tid(worker);
	cpu = gs_posix_cpu(tid);
	same = s->worker == worker && s->cpu == cpu;
	s->worker = worker;
	s->cpu = cpu;
	if ((!same && !eager) || !asleep(tid))
		return BUSY;
	if (!same)
		return DOZING;
	return gs_posix_retake(p, worker, cpu) ? RETAKEN : BUSY;
}

static enum verdict look_at_all(bool eager)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);
	enum verdict most = FREE;

	for (uint32_t p = 0; p < n; p++) {
		enum verdict v = look(p, eager);

		most = v > most ? v : most;
	}
	return most;
}

static bool any_held(void)
{
	uint32_t n = gs_load_seq(&gs_hdr->procs_used);

	for (uint32_t p = 0; p < n; p++) {
		uint32_t owner = gs_load_seq(&gs_lines[p].owner);

		if (owner && owner != GS_RETIRED)
			return true;
	}
	return false;
}

static void rest(void)
{
	uint32_t word = gs_load_seq(&gs_sysmon_word);

	gs_store_seq(&gs_sysmon_rests, 1);
	/* pairs with the barrier in take() */
	gs_full_fence();
	while (!any_held() && gs_load_seq(&gs_sysmon_word) == word)
		gs_futex_wait(&gs_sysmon_word, word, 0);
	gs_store_seq(&gs_sysmon_rests, 0);
}

void *gs_sysmon(void *arg)
{
	int64_t wait = FIRST_NS;
	uint32_t vain = 0, none = 0;

	(void)arg;
	for (uint32_t p = 0; p < GS_MAXPROCS; p++)
		seen[p].worker = GS_POSIX_NOBODY;
	for (;;) {
		struct timespec ts = {.tv_nsec = wait};
		enum verdict v;

		gs_syscall3(SYS_nanosleep, &ts, NULL, 0);
		v = look_at_all(wait >= LONG_NS);
		none = v == FREE ? none + 1 : 0;
		if (v > BUSY) {
			vain = 0;
			wait = FIRST_NS;
		} else if (++vain > FIRST_LOOKS) {
			wait = 2 * wait < MOST_NS ? 2 * wait : MOST_NS;
		}
		if (none > REST_LOOKS && wait == MOST_NS) {
			rest();
			vain = none = 0;
			wait = FIRST_NS;
		}
	}
	return NULL;
}
