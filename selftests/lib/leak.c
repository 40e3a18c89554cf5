// SPDX-License-Identifier: GPL-2.0
/* gs_leak_check, GSCHED_DEBUG=leak, what SIGQUIT says, and where dumps say fibers are from. */
#include <gsched/chan.h>
#include <gsched/context.h>
#include <gsched/select.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

#define NAMED __attribute__((noinline, visibility("default")))

static long alive; /* atomic */
static int found;  /* what gs_leak_check returned */
static gs_chan *chan;

/* what gs_leak_check writes, as text; not freed */
static char *leak_text(void)
{
	int fd = memfd_create("leaks", MFD_CLOEXEC);
	size_t cap = 1 << 20, len = 0;
	char *text = calloc(1, cap);
	ssize_t n;

	if (fd < 0 || !text)
		abort();
	found = gs_leak_check(fd);
	while ((n = pread(fd, text + len, cap - 1 - len, (off_t)len)) > 0)
		len += (size_t)n;
	close(fd);
	return text;
}

static bool says(const char *text, const char *what, int times)
{
	if (ut_occurs(text, what) == times)
		return true;
	ut_fail(__FILE__, __LINE__, "\"%s\" %d times in:\n%.3000s", what, ut_occurs(text, what),
		text);
	return false;
}

static void go_named(const char *name, void (*fn)(void *), void *arg)
{
	struct gs_attr attr = {.name = name};

	CHECK_EQ(gs_go_attr(&attr, fn, arg), 0);
}

static void receives(void *c)
{
	ADD(alive, 1);
	gs_chan_recv(c, NULL);
	ADD(alive, -1);
}

static void sends(void *c)
{
	ADD(alive, 1);
	gs_chan_send(c, NULL);
	ADD(alive, -1);
}

static void selects_none(void *arg)
{
	ADD(alive, 1);
	gs_select_cases(NULL, 0);
}

/* two channels: nobody has them any more, but that cannot be said of one who selects */
static void selects(void *arg)
{
	gs_chan **c = arg;

	ADD(alive, 1);
	gs_select(GS_RECV(c[0], NULL), GS_RECV(c[1], NULL));
	ADD(alive, -1);
}

NAMED void ut_marker_starts(gs_chan *c)
{
	go_named("receiver", receives, c);
	__asm__ volatile("");
}

static bool waiting(int n)
{
	char *text = ut_dump();
	int waiting = ut_occurs(text, "[chan ") + ut_occurs(text, "[select");

	free(text);
	return LOAD(alive) == n && waiting == n;
}

/* gs_leak_check gives who is about to end, or to wait, a second: there may be more to it. */
static bool finds(int n)
{
	free(leak_text());
	return found == n;
}

static void check_fibers(void *arg)
{
	gs_chan *a = gs_chan_new(0, 0), *b = gs_chan_new(0, 0), *two[2];
	char *text;

	CHECK_EQ(gs_leak_check(2), 0);
	ut_marker_starts(a);
	go_named("sender", sends, b);
	go_named("nil", sends, NULL);
	go_named("none", selects_none, NULL);
	two[0] = gs_chan_new(0, 0);
	two[1] = gs_chan_new(0, 0);
	go_named("selecter", selects, two);
	UNTIL(waiting(5));
	/* somebody has a and b: these may go on yet */
	text = leak_text();
	CHECK_EQ(found, 5);
	says(text, "5 fibers not finished, 2 of them for ever; 0 objects", 1);
	says(text, "[chan send (nil chan) (leaked)]: nil\n", 1);
	says(text, "[select (no cases) (leaked)]: none\n", 1);
	says(text, "[chan receive]: receiver\n", 1);
	says(text, "[chan send]: sender\n", 1);
	says(text, "created by ut_marker_starts(...)\n", 1);
	gs_chan_unref(b);
	text = leak_text();
	CHECK_EQ(found, 5);
	says(text, "5 fibers not finished, 3 of them for ever; 0 objects", 1);
	says(text, "[chan send (leaked)]: sender\n", 1);
	says(text, "[chan receive]: receiver\n", 1);
	gs_chan_unref(two[0]);
	gs_chan_ref(a);
	gs_chan_unref(a);
	text = leak_text();
	says(text, "5 fibers not finished, 3 of them for ever; 0 objects", 1);
	says(text, "[select]: selecter\n", 1);
	/* and they do */
	gs_chan_close(a);
	gs_chan_close(two[1]);
	UNTIL(gs_num_fibers() == 4);
	CHECK_EQ(LOAD(alive), 3);
	text = leak_text();
	CHECK_EQ(found, 3);
	gs_chan_unref(a);
	gs_chan_unref(two[1]);
}

/* fibers that never end are reported; for ever is what certainly is for ever */
TEST(fibers)
{
	RUN(check_fibers, NULL);
	/* gs_run's own has said that it is done, and may not have ended */
	UNTIL(finds(3));
	EXPECT_EQ(0, ut_failed);
}

static void returns(void *arg) {}

/* a fiber's place in memory serves the next one: what is said of one is not of another */
static void check_reuse(void *arg)
{
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gs_go(returns, NULL), 0);
	UNTIL(gs_num_fibers() == 1);
	CHECK_EQ(gs_leak_check(2), 0);
}

TEST(nothing_left)
{
	RUN(check_reuse, NULL);
	UNTIL(finds(0));
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

NAMED void ut_marker_makes(void)
{
	chan = gs_chan_new(8, 4);
	__asm__ volatile("");
}

static void make_and_free(void *arg)
{
	gs_context *ctx;
	gs_cancel cancel;
	gs_timer *t;

	for (int i = 0; i < 3; i++) {
		gs_chan *c = gs_chan_new(1, 1);

		gs_chan_ref(c);
		gs_chan_unref(c);
		gs_chan_unref(c);
		t = gs_timer_new(SEC);
		gs_timer_free(t);
		t = gs_after_func(3600 * SEC, returns, NULL);
		CHECK(gs_timer_stop(t));
		gs_timer_free(t);
		ctx = gs_with_cancel(gs_background(), &cancel);
		gs_context_done(ctx);
		gs_cancel_call(&cancel);
		gs_context_unref(ctx);
	}
}

static void make_and_leave(void *arg)
{
	static gs_cancel cancel;

	make_and_free(NULL);
	ut_marker_makes();
	gs_timer_new(SEC);
	gs_ticker_new(SEC);
	gs_with_cancel(gs_background(), &cancel);
	go_named("left", receives, chan);
	UNTIL(waiting(1));
}

/*
 * The report at the end of gs_run lists its own fiber, too, if that was kept from ending for
 * more than a second: then once more.
 */
static struct ut_child *run_reported(void (*fn)(void *), void *arg)
{
	struct ut_child *c = NULL;

	for (int i = 0; i < 10; i++) {
		free(c);
		c = ut_child_run(fn, arg, UT_WAIT * SEC);
		if (!strstr(c->err, "]: main\n"))
			break;
	}
	return c;
}

static void run_leaky(void *arg)
{
	setenv("GSCHED_DEBUG", "leak=1", 1);
	if (gs_run(make_and_leave, NULL))
		_exit(1);
}

/* GSCHED_DEBUG=leak=1: each gs_run ends with a report, objects included */
TEST(environment)
{
	struct ut_child *c = run_reported(run_leaky, NULL);

	EXPECT_EQ(0, c->status);
	EXPECT_SAYS(c, "leak check: 1 fibers not finished, 0 of them for ever; 4 objects");
	EXPECT_SAYS(c, "[chan receive]: left\n");
	EXPECT_SAYS(c, "ut_marker_makes(...)\n");
	EXPECT_EQ(1, ut_occurs(c->err, "\nchannel 0x"));
	EXPECT_EQ(2, ut_occurs(c->err, "\ntimer 0x"));
	EXPECT_EQ(1, ut_occurs(c->err, "\ncontext 0x"));
}

static void run_clean(void *arg)
{
	setenv("GSCHED_DEBUG", arg, 1);
	if (gs_run(make_and_free, NULL) || gs_leak_check(2))
		_exit(1);
}

static void run_leaky_unasked(void *arg)
{
	setenv("GSCHED_DEBUG", "backend=0,leak=0", 1);
	if (gs_run(make_and_leave, NULL))
		_exit(1);
}

/* nothing left, nothing said; and nothing at all when it was not asked for */
TEST(silent)
{
	struct ut_child *c = run_reported(run_clean, "backend=0,leak");

	EXPECT_EQ(0, c->status);
	EXPECT_EQ(0, c->len)
	{
		TH_LOG("%s", c->err);
	}
	c = ut_child_run(run_leaky_unasked, NULL, UT_WAIT * SEC);
	EXPECT_EQ(0, c->status);
	EXPECT_EQ(0, c->len)
	{
		TH_LOG("%s", c->err);
	}
}

static void run_help(void *arg)
{
	setenv("GSCHED_DEBUG", "help", 1);
	gs_run(returns, NULL);
}

/* GSCHED_DEBUG=help names each word, and the words it names are known */
TEST(help)
{
	static const char *const words[] = {"schedtrace=", "backend=", "leak=", "help"};
	struct ut_child *c = ut_child_run(run_help, NULL, UT_WAIT * SEC);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		EXPECT_SAYS(c, words[i]);
	EXPECT_EQ(ARRAY_SIZE(words), ut_occurs(c->err, "\n  ") - ut_occurs(c->err, "\n   "));
}

/* ------------------------------------------------------------------------- */

static void quits(void *arg)
{
	go_named("waits", receives, gs_chan_new(0, 0));
	UNTIL(waiting(1));
	kill(getpid(), SIGQUIT);
	gs_sleep(3600 * SEC);
}

static void run_quits(void *arg)
{
	gs_run(quits, NULL);
}

/* SIGQUIT: every fiber on stderr, exit status 2 */
TEST(sigquit)
{
	struct ut_child *c = ut_child_run(run_quits, NULL, 60 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "SIGQUIT: quit\n");
	EXPECT_SAYS(c, "[chan receive]: waits\n");
	EXPECT_SAYS(c, "receives(...)\n");
	EXPECT_SAYS(c, "]: main\n");
}

static int caught; /* atomic */

static void catches(int signo)
{
	STORE(caught, signo);
}

static void quits_and_goes_on(void *arg)
{
	kill(getpid(), SIGQUIT);
	while (arg && LOAD(caught) != SIGQUIT)
		gs_sleep(MS);
}

static void run_catches_before(void *arg)
{
	signal(SIGQUIT, catches);
	_exit(gs_run(quits_and_goes_on, arg) ? 1 : 7);
}

static void installs(void *arg)
{
	signal(SIGQUIT, catches);
	quits_and_goes_on(arg);
}

static void run_catches_later(void *arg)
{
	_exit(gs_run(installs, arg) ? 1 : 7);
}

static void run_ignores(void *arg)
{
	signal(SIGQUIT, SIG_IGN);
	_exit(gs_run(quits_and_goes_on, NULL) ? 1 : 7);
}

/* a program's own handler, whenever it came, is its own, and so is SIG_IGN */
TEST(sigquit_own_handler)
{
	void (*const run[])(void *) = {run_catches_before, run_catches_later, run_ignores};

	for (size_t i = 0; i < ARRAY_SIZE(run); i++) {
		struct ut_child *c = ut_child_run(run[i], (void *)"", 60 * SEC);

		EXPECT_EQ(7, c->status);
		EXPECT_SAYS_NOT(c, "SIGQUIT");
	}
}

static void forks(void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		raise(SIGQUIT);
		_exit(1);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
}

/* the child of a fork has no runtime: there it is the signal's own default */
TEST(sigquit_forked)
{
#ifdef UT_TSAN
	SKIP(return, "TSan delays signals");
#endif
	RUN(forks, NULL);
}

TEST_HARNESS_MAIN
