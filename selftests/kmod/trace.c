// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints: each tells what happened, in the order in which it did.
 */
#include "kutil.h"
#include <stdarg.h>
#include <sys/stat.h>

#define TRACING "/sys/kernel/tracing/instances/gsched-test"

/* A buffer of our own, for the events of this process. */
FIXTURE(trace)
{
	FILE *f;
	bool absent;
};

FIXTURE_SETUP(trace)
{
	char filter[32];

	rmdir(TRACING);
	self->absent = mkdir(TRACING, 0700) && errno != EEXIST;
	if (self->absent)
		SKIP(return, "no tracefs");
	snprintf(filter, sizeof(filter), "tgid == %d", getpid());
	/* in one order, whichever CPU it was on */
	ASSERT_TRUE(k_write(TRACING "/trace_clock", "global"));
	ASSERT_TRUE(k_write(TRACING "/events/gsched/filter", filter));
	ASSERT_TRUE(k_write(TRACING "/events/gsched/enable", "1"));
}

FIXTURE_TEARDOWN(trace)
{
	if (self->f)
		fclose(self->f);
	k_write(TRACING "/events/gsched/enable", "0");
	rmdir(TRACING);
}

/*
 * The next event, as "name: fields"; "" if there is none. Blocks that keep the proc are
 * counted apart: a puppet has some between any two orders.
 */
static int kept;

static const char *next_event(FILE **f)
{
	static char line[512];
	char *s;

	if (!*f)
		*f = fopen(TRACING "/trace", "r");
	while (*f && fgets(line, sizeof(line), *f)) {
		line[strcspn(line, "\n")] = 0;
		s = strstr(line, " gsched_");
		if (line[0] == '#' || !s)
			continue;
		if (!strstr(line, "kept=1"))
			return s + 1;
		kept++;
	}
	return "";
}

__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
	static char s[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(s, sizeof(s), format, ap);
	va_end(ap);
	return s;
}

#define NEXT(...) EXPECT_STREQ(text(__VA_ARGS__), next_event(&self->f))

static int pipe_fd[2];

static long order_read(struct puppet *p, long depth)
{
	char c;

	p->slot->depth = depth;
	/* not read(): it may be bound only now, and what that faults in may block once more */
	if (syscall(SYS_read, pipe_fd[0], &c, 1) != 1)
		return -1;
	p->slot->depth = 1;
	return p->slot->proc;
}

/* a blocks, b gets its proc; a comes back, is lost; b is kicked, blocks, keeps its proc. */
TEST_F(trace, story)
{
	struct puppet a, b;
	int tgid = getpid();
	struct ktx k;

	if (self->absent)
		return;
	ASSERT_EQ(0, pipe(pipe_fd));
	k_open(&k, 1);
	puppet_new(&a, &k);
	puppet_new(&b, &k);
	ASSERT_EQ(0, puppet_run(&a, order_acquire, 0));
	ASSERT_TRUE(puppet_standby(&b));
	k_queue(&k, 0, 1);
	puppet_start(&a, order_read, 0);
	ASSERT_EQ(0, puppet_finish(&b));
	ASSERT_EQ(1, write(pipe_fd[1], "", 1));
	ASSERT_EQ(0, puppet_finish(&a));
	ASSERT_EQ(0, k_kick(&k, 0));
	puppet_start(&b, order_read, 2);
	ASSERT_TRUE(until(b.slot->depth == 2 && puppet_asleep(&b)));
	ASSERT_EQ(GSCHED_PREEMPT, b.slot->pending);
	ASSERT_EQ(1, write(pipe_fd[1], "", 1));
	ASSERT_EQ(1, puppet_finish(&b));
	puppet_end(&a);
	ASSERT_TRUE(until(k.h->workers == 1));
	puppet_end(&b);
	ASSERT_TRUE(until(k.h->workers == 0));
	ASSERT_TRUE(k_write(TRACING "/events/gsched/enable", "0"));

	NEXT("gsched_attach: tgid=%d tid=%d worker=0 proc=-1", tgid, a.tid);
	NEXT("gsched_attach: tgid=%d tid=%d worker=1 proc=-1", tgid, b.tid);
	NEXT("gsched_block: tgid=%d tid=%d worker=0 proc=0 kept=0", tgid, a.tid);
	NEXT("gsched_grant: tgid=%d tid=%d worker=1 proc=0", tgid, b.tid);
	NEXT("gsched_handoff: tgid=%d worker=0 to=1 to_tid=%d proc=0", tgid, b.tid);
	NEXT("gsched_return: tgid=%d tid=%d worker=0 proc=-1", tgid, a.tid);
	NEXT("gsched_upcall: tgid=%d tid=%d worker=0 reason=lost refused=no-trampoline", tgid,
	     a.tid);
	NEXT("gsched_kick: tgid=%d tid=%d worker=1 proc=0", tgid, b.tid);
	NEXT("gsched_upcall: tgid=%d tid=%d worker=1 reason=preempt refused=no-trampoline", tgid,
	     b.tid);
	NEXT("gsched_leave: tgid=%d tid=%d worker=0 proc=-1", tgid, a.tid);
	NEXT("gsched_leave: tgid=%d tid=%d worker=1 proc=0", tgid, b.tid);
	EXPECT_STREQ("", next_event(&self->f));
	EXPECT_LE(1, kept);
	EXPECT_EQ(a.slot->depth_blocks + b.slot->depth_blocks, kept);
}

TEST_HARNESS_MAIN
