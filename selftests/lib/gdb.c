// SPDX-License-Identifier: GPL-2.0
/*
 * What gdb sees of fibers, in a running program and in a core file: by itself of those that
 * were interrupted and have a thread, their own calls, below those of the runtime that has
 * interrupted them; with tools/gsched-gdb.py of all.
 *
 * Where there is no gdb (guests) the tests skip; once is enough, so they do, too, but for one
 * number of procs.
 */
#include <pthread.h>
#include <sys/resource.h>

#include <gsched/chan.h>

#include "dump.h"
#include "interrupts.h"

static int stop;  /* atomic */
static int begun; /* atomic */

static void __attribute__((noinline)) victim_inner(int *on)
{
	while (!LOAD(*on))
		;
	__asm__ volatile("" ::: "memory");
}

static void __attribute__((noinline)) victim_outer(void *arg)
{
	ADD(begun, 1);
	victim_inner(arg);
	__asm__ volatile("" ::: "memory");
}

static bool leaves_core; /* before the runtime starts */

/* gdb stops here, when fibers have been interrupted, or the program dies. */
static void __attribute__((noinline)) reached(void)
{
	if (leaves_core)
		abort();
	__asm__ volatile("" ::: "memory");
}

static void *wait_for_freezes(void *arg)
{
	const struct timespec ts = {.tv_nsec = 1000000};

	/* all are in their loops then, and all but one at most are interrupted */
	while (LOAD(begun) < 3 || stats().freezes < 3)
		nanosleep(&ts, NULL);
	reached();
	return NULL;
}

static void debugged_main(void *arg)
{
	for (int i = 0; i < 2; i++)
		gs_go(victim_outer, &stop);
	ADD(begun, 1);
	victim_inner(&stop);
}

/* A line a step, as it is written. */
#ifdef __clang__
#define AS_WRITTEN __attribute__((noinline, optnone))
#else
#define AS_WRITTEN __attribute__((noinline, optimize("O0")))
#endif

static int step_pipe[2];
static gs_chan *step_chan;

/* It is sent to when that read(2) has lost its proc to the other fiber. */
static void AS_WRITTEN step_fiber(void *arg)
{
	long v = 4711;
	char c;

	if (read(step_pipe[0], &c, 1) != 1)
		_exit(2);
	gs_chan_send(step_chan, &v);
	fprintf(stderr, "sent\n");
	ADD(begun, 1);
}

static void step_receiver(void *arg)
{
	long v = 0;

	gs_chan_recv(step_chan, &v);
	fprintf(stderr, "received %ld\n", v);
	ADD(begun, 1);
}

static void step_main(void *arg)
{
	const struct timespec ts = {.tv_nsec = 1000000};
	int64_t end;

	step_chan = gs_chan_new(sizeof(long), 0);
	if (!step_chan || pipe(step_pipe))
		_exit(2);
	gs_go(step_receiver, NULL);
	gs_go(step_fiber, NULL);
	/* its turn, and ours again when it sleeps in its read */
	while (!stats().handoffs)
		gs_yield();
	nanosleep(&ts, NULL);
	if (write(step_pipe[1], "x", 1) != 1)
		_exit(2);
	/* a hog for ten slices; then the others have theirs */
	for (end = gs_now() + 10 * MS; gs_now() < end;)
		;
	while (LOAD(begun) < 2)
		gs_yield();
}

/* ------------------------------------------------------------------------- */
/* One fiber of each kind, for tools/gsched-gdb.py                             */

/* atomic; for gdb, which finds them by their names */
static uint64_t parked_id __attribute__((used)), kept_id __attribute__((used));
static uint64_t hog_ids[2] __attribute__((used)), blocked_id __attribute__((used));
static uint64_t hog_rounds[3]; /* atomic */
static int fresh_ran;	       /* atomic */
static int blocked_pipe[2];
static gs_chan *parked_chan;

static void AS_WRITTEN parked_inner(gs_chan *c)
{
	long received = 4711;

	gs_chan_recv(c, &received);
}

static void AS_WRITTEN parked_outer(void *arg)
{
	STORE(parked_id, gs_id());
	parked_inner(arg);
}

/* Calls nothing: it can be interrupted in itself only. */
static void __attribute__((noinline)) hog_leaf(uint64_t *rounds, uint64_t mark)
{
	while (!LOAD(stop))
		__atomic_fetch_add(rounds, mark, __ATOMIC_SEQ_CST);
	__asm__ volatile("" ::: "memory");
}

static void AS_WRITTEN hog_outer(void *arg)
{
	int number = (int)(intptr_t)arg;

	STORE(hog_ids[number], gs_id());
	hog_leaf(&hog_rounds[number], 0x5eed);
}

static void AS_WRITTEN kept_outer(void *arg)
{
	gs_lock_thread();
	STORE(kept_id, gs_id());
	hog_leaf(&hog_rounds[2], 1);
}

static void AS_WRITTEN blocked_outer(void *arg)
{
	char c;

	STORE(blocked_id, gs_id());
	if (read(blocked_pipe[0], &c, 1) != 1)
		_exit(2);
}

static void yields(void *arg)
{
	while (!LOAD(stop))
		gs_yield();
}

static void fresh(void *arg)
{
	STORE(fresh_ran, 1);
}

static void AS_WRITTEN named(const char *name, void (*fn)(void *), void *arg)
{
	const struct gs_attr attr = {.name = name};

	if (gs_go_attr(&attr, fn, arg))
		_exit(2);
}

/* All of them where they shall be; who calls has the only proc, and keeps it. */
static bool kinds_stand(void)
{
	return LOAD(hog_rounds[0]) && LOAD(hog_rounds[1]) && LOAD(hog_rounds[2]) &&
	       LOAD(blocked_id) && !LOAD(fresh_ran) && ut_waiting("chan receive", "parked") == 1 &&
	       ut_waiting("preempted", "hog 0") == 1 && ut_waiting("preempted", "hog 1") == 1 &&
	       ut_waiting("preempted, locked to thread", "kept") == 1 &&
	       ut_waiting("runnable", "yields") == 1 && ut_waiting("running", "blocked") == 1 &&
	       ut_waiting("runnable", "fresh") == 1;
}

static void kinds_main(void *arg)
{
	parked_chan = gs_chan_new(sizeof(long), 0);
	if (!parked_chan || pipe(blocked_pipe))
		_exit(2);
	named("parked", parked_outer, parked_chan);
	named("hog 0", hog_outer, (void *)0);
	named("hog 1", hog_outer, (void *)1);
	named("kept", kept_outer, NULL);
	named("blocked", blocked_outer, NULL);
	named("yields", yields, NULL);
	for (;;) {
		gs_yield();
		STORE(fresh_ran, 0);
		named("fresh", fresh, NULL);
		gs_go(fresh, NULL);
		gs_nopreempt_begin();
		if (kinds_stand())
			reached();
		gs_nopreempt_end();
	}
}

/* The program that gdb runs is this one, too. */
static void __attribute__((constructor)) debugged(void)
{
	const char *mode = getenv("GSCHED_TEST_DEBUGGED");
	pthread_t t;

	if (!mode)
		return;
	unsetenv("GSCHED_TEST_DEBUGGED");
	leaves_core = getenv("GSCHED_TEST_DIES");
	ut_set_procs(1);
	setenv("GSCHED_SLICE", "1000", 1);
	if (!strcmp(mode, "steps")) {
		gs_run(step_main, NULL);
		_exit(0);
	}
	if (!strcmp(mode, "kinds")) {
		setenv("GSCHED_TLS", "travel", 1);
		gs_run(kinds_main, NULL);
		_exit(0);
	}
	setenv("GSCHED_TLS", mode, 1);
	if (!strcmp(mode, "frozen"))
		pthread_create(&t, NULL, wait_for_freezes, NULL);
	gs_run(debugged_main, NULL);
	_exit(0);
}

static char said[1 << 20];

/* gdb's output into said; false: it could not be run. */
static bool gdb(const char *args)
{
	char self[512], line[2048];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t len = 0, more;
	FILE *f;

	if (n < 0)
		return false;
	self[n] = '\0';
	snprintf(line, sizeof(line),
		 "timeout -k 5 %d gdb -nx -batch -iex 'set debuginfod enabled off' "
		 "-ex 'set pagination off' -ex 'set confirm off' %s '%s' %s 2>&1 </dev/null",
		 120, "", self, args);
	f = popen(line, "r");
	while (f && (more = fread(said + len, 1, sizeof(said) - 1 - len, f)) > 0)
		len += more;
	said[len] = '\0';
	return f && pclose(f) >= 0;
}

/*
 * How many backtraces lead from the trampoline to a victim and to where fibers begin. gdb
 * takes the trampoline for what it is like, a signal frame.
 */
static int interrupted_traces(void)
{
	int n = 0;

	for (char *at = said; (at = strstr(at, "<signal handler called>")); at++) {
		char *end = strstr(at + 1, "<signal handler called>"),
		     *inner = strstr(at, "victim_inner");
		char *main = strstr(at, "gs_fiber_main");

		n += inner && main && inner < main && (!end || main < end);
	}
	return n;
}

#define NEEDS_GDB                                                                                  \
	do {                                                                                       \
		const char *ut_procs = getenv("GSCHED_MAXPROCS");                                  \
		if (system("command -v gdb >/dev/null 2>&1"))                                      \
			SKIP(return, "no gdb here");                                               \
		if (ut_procs && strcmp(ut_procs, "1"))                                             \
			SKIP(return, "only with one proc");                                        \
		if (system("timeout -k 5 60 gdb -nx -batch -ex run --args true 2>&1 </dev/null | " \
			   "grep -q 'exited normally'"))                                           \
			SKIP(return, "gdb may run no program here");                               \
	} while (0)

#if defined(UT_ASAN) || defined(UT_TSAN)
#define NEEDS_PLAIN SKIP(return, "not under a sanitizer: gdb stops at what that does")
#else
#define NEEDS_PLAIN (void)0
#endif

#define EXPECT_TRACES(least)                                                                       \
	EXPECT_LE(least, interrupted_traces())                                                     \
	{                                                                                          \
		TH_LOG("gdb said:\n%s", said);                                                     \
	}

/* frozen fibers in a running program: the calls on their threads */
TEST(frozen)
{
	NEEDS_PLAIN;
	NEEDS_GDB;
	ASSERT_TRUE(gdb("-ex 'set environment GSCHED_TEST_DEBUGGED=frozen' "
			"-ex 'handle SIGURG nostop noprint pass' -ex 'break reached' -ex run "
			"-ex 'thread apply all bt' -ex kill"));
	EXPECT_TRACES(2);
	/* there are three fibers */
	EXPECT_GE(3, interrupted_traces());
}

static const char *dying_mode;

static void dies(void *arg)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	if (chdir(arg) || setrlimit(RLIMIT_CORE, &unlimited))
		_exit(1);
	setenv("GSCHED_TEST_DEBUGGED", dying_mode, 1);
	setenv("GSCHED_TEST_DIES", "1", 1);
	execl("/proc/self/exe", "gdb", NULL);
	_exit(1);
}

/* This program in that mode leaves a core file in dir, which is made; NULL, or why not. */
static const char *leave_core(const char *mode, char *dir)
{
	char pattern[256] = "";
	struct ut_child *c;
	FILE *f = fopen("/proc/sys/kernel/core_pattern", "r");
	bool here = f && fgets(pattern, sizeof(pattern), f) && !strchr("|/", pattern[0]);

	if (f)
		fclose(f);
	if (!here)
		return "core files go elsewhere here";
	if (!mkdtemp(dir))
		return "no directory";
	dying_mode = mode;
	c = ut_child_run(dies, dir, 60 * SEC);
	if (c->status == 1) {
		rmdir(dir);
		return "core files are not allowed here";
	}
	return c->status == 128 + SIGABRT ? NULL : c->err;
}

#define NEEDS_CORE(mode, dir)                                                                      \
	do {                                                                                       \
		const char *ut_why = leave_core(mode, dir);                                        \
		if (ut_why && strstr(ut_why, " here"))                                             \
			SKIP(return, "%s", ut_why);                                                \
		ASSERT_EQ(NULL, ut_why);                                                           \
	} while (0)

/* the same in the core file of a program that has died */
TEST(core)
{
	char dir[] = "/tmp/gsched-gdb.XXXXXX", args[512];

	NEEDS_PLAIN;
	NEEDS_GDB;
	NEEDS_CORE("frozen", dir);
	snprintf(args, sizeof(args), "%s/* -ex 'thread apply all bt'", dir);
	EXPECT_TRUE(gdb(args));
	EXPECT_TRACES(2);
	snprintf(args, sizeof(args), "rm -r %s", dir);
	EXPECT_EQ(0, system(args));
}

/* a fiber that is about to travel: from the scheduler down to where it was interrupted */
TEST(travel)
{
	NEEDS_PLAIN;
	NEEDS_GDB;
	/* the first may be interrupted before they are in their loops */
	ASSERT_TRUE(gdb("-ex 'set environment GSCHED_TEST_DEBUGGED=travel' "
			"-ex 'handle SIGURG nostop noprint pass' -ex 'break gs_sched_travel' "
			"-ex run -ex bt -ex continue -ex bt -ex continue -ex bt "
			"-ex continue -ex bt -ex kill"));
	EXPECT_TRACES(2);
}

/*
 * Over a read(2) that loses its proc, into gs_chan_send, and out again: nothing is lost. On
 * posix a slice's signal may come just when gdb steps, and it stops in the handler: then it
 * tries once more. When the process ends gdb may still ask for a thread that is gone.
 */
TEST(stepping)
{
	const char *over, *in = NULL;

	NEEDS_PLAIN;
	NEEDS_GDB;
	for (int i = 0; i < 10 && !in; i++) {
		ASSERT_TRUE(gdb("-ex 'set environment GSCHED_TEST_DEBUGGED=steps' "
				"-ex 'handle SIGURG nostop noprint pass' -ex 'break step_fiber' "
				"-ex run -ex next -ex next -ex next -ex step -ex bt -ex continue"));
		EXPECT_TRUE(strstr(said, "received 4711") && strstr(said, "sent\n") &&
			    (strstr(said, "exited normally") ||
			     strstr(said, "get registers: No such process")))
		{
			TH_LOG("gdb said:\n%s", said);
			return;
		}
		over = strstr(said, "gs_chan_send(step_chan, &v);");
		in = over ? strstr(over, "gs_chan_send (c=") : NULL;
		in = in ? strstr(in, "step_fiber") : NULL;
	}
	EXPECT_NE(NULL, in)
	{
		TH_LOG("gdb said:\n%s", said);
	}
}

/* ------------------------------------------------------------------------- */

/* tools/gsched-gdb.py: from build/selftests/lib, or where a guest has it; NULL. */
static const char *script_path(void)
{
	static const char *const places[] = {"../../../tools", ".."};
	static char path[600];
	char self[512], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return NULL;
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s/gsched-gdb.py", self, places[i]);
		if (access(path, R_OK) == 0)
			return path;
	}
	return NULL;
}

#define NEEDS_SCRIPT                                                                               \
	do {                                                                                       \
		if (!script_path())                                                                \
			SKIP(return, "gsched-gdb.py is not here");                                 \
	} while (0)

/* What comes after `from` in said, and before `to`; to be freed, never NULL. */
static char *between(const char *from, const char *to)
{
	const char *at = strstr(said, from), *end;

	if (!at)
		return strdup("");
	end = strstr(at + strlen(from), to);
	return end ? strndup(at, end - at) : strdup(at);
}

/* The words come in this order; NULL ends them. */
static bool in_order(const char *text, ...)
{
	const char *word;
	va_list ap;

	va_start(ap, text);
	while (text && (word = va_arg(ap, const char *))) {
		text = strstr(text, word);
		if (text)
			text += strlen(word);
	}
	va_end(ap);
	return text;
}

/* One line of the list has all of these, in order. */
static bool listed(const char *state, const char *name, const char *function)
{
	char *list = between("==list==", "==end=="), *rest = list, *line;
	bool found = false;

	while ((line = strsep(&rest, "\n")))
		found |= in_order(line, state, name, function, " at gdb.c:", NULL);
	free(list);
	return found;
}

/* What the next tests ask gdb of a process and of a core file. */
#define SAY(what) " -ex 'echo ==" what "==\\n'"
#define QUESTIONS                                                                                                       \
	SAY("list")                                                                                                     \
	" -ex 'info gs-fibers'" SAY("end") SAY("parked") " -ex 'gs bt parked_id'" SAY("end") SAY(                       \
		"hog 0") " -ex 'gs bt hog_ids[0]'" SAY("end")                                                           \
		SAY("hog 1") " -ex 'gs bt hog_ids[1]'" SAY("end") SAY("kept") " -ex 'gs bt kept_id'" SAY(               \
			"end") SAY("blocked") " -ex 'gs bt blocked_id'" SAY("end")                                      \
			SAY("selected") " -ex 'gs fiber parked_id' -ex 'info locals' -ex up -ex bt -ex 'gs fiber'" SAY( \
				"end")                                                                                  \
				SAY("leaf") " -ex 'gs fiber hog_ids[1]' -ex 'p rounds == &hog_rounds[1]'"               \
					    " -ex 'p/x mark' -ex up -ex 'info locals'" SAY("end") SAY(                  \
						    "thread") " -ex 'gs fiber -' -ex bt" SAY("end")                     \
						    SAY("tables") " -ex 'gs procs' -ex 'gs workers'" SAY(               \
							    "end")                                                      \
							    SAY("all") " -ex 'gs bt all'" SAY(                          \
								    "end") " -ex 'gs fiber 999999'"

/* One part of the answer has these words, in this order. */
#define ANSWERED(part, ...)                                                                        \
	({                                                                                         \
		char *ut_part = between("==" part "==", "==end==");                                \
		bool ut_found = in_order(ut_part, __VA_ARGS__, NULL);                              \
		free(ut_part);                                                                     \
		EXPECT_TRUE(ut_found)                                                              \
		{                                                                                  \
			TH_LOG(part ": not as expected; gdb said:\n%s", said);                     \
		}                                                                                  \
	})

/* And these it has not. */
#define NOT_ANSWERED(part, word)                                                                   \
	({                                                                                         \
		char *ut_part = between("==" part "==", "==end==");                                \
		EXPECT_EQ(NULL, strstr(ut_part, word))                                             \
		{                                                                                  \
			TH_LOG(part ": not as expected; gdb said:\n%s", said);                     \
		}                                                                                  \
		free(ut_part);                                                                     \
	})

#define EXPECT_LISTED(state, name, function)                                                       \
	EXPECT_TRUE(listed(state, name, function))                                                 \
	{                                                                                          \
		TH_LOG("%s is not listed; gdb said:\n%s", name, said);                             \
	}

#define EXPECT_ANSWERS(main_state)                                                                 \
	do {                                                                                       \
		EXPECT_LISTED(" chan rec", " parked ", "parked_inner");                            \
		EXPECT_LISTED(" preempted ", " hog 0 ", "hog_leaf");                               \
		EXPECT_LISTED(" preempted ", " hog 1 ", "hog_leaf");                               \
		EXPECT_LISTED(" preempted, keeps its thread, locked to thread ", " kept ",         \
			      "hog_leaf");                                                         \
		EXPECT_LISTED(" running, no proc ", " blocked ", "blocked_outer");                 \
		EXPECT_LISTED(" runnable ", " yields ", "yields");                                 \
		EXPECT_LISTED(" not begun ", " fresh ", "fresh");                                  \
		EXPECT_LISTED(" not begun ", " - ", "fresh");                                      \
		EXPECT_LISTED(main_state, " main ", "reached");                                    \
		ANSWERED("parked", "[chan rec", "] parked\n", "gs_chan_recv", "parked_inner",      \
			 "parked_outer", "gs_fiber_main", "created by named at gdb.c:");           \
		ANSWERED("hog 0", "[preempted] hog 0\n", "<signal handler called>", "hog_leaf",    \
			 "hog_outer", "gs_fiber_main");                                            \
		ANSWERED("hog 1", "[preempted] hog 1\n", "<signal handler called>", "hog_leaf",    \
			 "hog_outer", "gs_fiber_main");                                            \
		ANSWERED("kept", "locked to thread] kept\n", "<signal handler called>",            \
			 "hog_leaf", "kept_outer", "gs_fiber_main");                               \
		ANSWERED("blocked", "blocked_outer", "gs_fiber_main");                             \
		/* the innermost of the program's is selected, the thread's own are not shown */   \
		ANSWERED("selected", "parked_inner (c=", "received = 4711",                        \
			 "parked_outer (arg=", "#1 ", "gs_chan_recv", "is selected");              \
		NOT_ANSWERED("selected", "#0 ");                                                   \
		NOT_ANSWERED("selected", "reached");                                               \
		/* registers that a call does not keep are the interrupted fiber's, too */         \
		ANSWERED("leaf", "hog_leaf (rounds=", " = 1\n", " = 0x5eed\n",                     \
			 "hog_outer (arg=", "number = 1\n");                                       \
		ANSWERED("thread", "#0 ", "reached", "kinds_main");                                \
		NOT_ANSWERED("thread", "parked");                                                  \
		ANSWERED("tables", "Proc ", "\n0 ", "Worker ");                                    \
		ANSWERED("all", "parked_inner", "hog_outer", "kept_outer", "blocked_outer",        \
			 "not begun: fresh at gdb.c:");                                            \
		EXPECT_NE(NULL, strstr(said, "gsched: no fiber 999999"));                          \
	} while (0)

/* What is debugged, and the script, whose path is an argument. */
#define KINDS                                                                                      \
	"-ex 'set environment GSCHED_TEST_DEBUGGED=kinds' "                                        \
	"-ex 'handle SIGURG nostop noprint pass' -ex 'source %s' "

/* every kind of fiber by the script, in a process */
TEST(script)
{
	char args[4096];

	NEEDS_PLAIN;
	NEEDS_GDB;
	NEEDS_SCRIPT;
	snprintf(args, sizeof(args),
		 KINDS "-ex 'break reached' "
		       "-ex run " QUESTIONS " -ex kill",
		 script_path());
	ASSERT_TRUE(gdb(args));
	EXPECT_ANSWERS(" running ");
}

/* and in its core file; the kernel may have taken the proc of who died */
TEST(script_core)
{
	char dir[] = "/tmp/gsched-gdb.XXXXXX", args[4096];

	NEEDS_PLAIN;
	NEEDS_GDB;
	NEEDS_SCRIPT;
	NEEDS_CORE("kinds", dir);
	snprintf(args, sizeof(args), "%s/* -ex 'source %s' " QUESTIONS, dir, script_path());
	EXPECT_TRUE(gdb(args));
	EXPECT_ANSWERS(" running");
	snprintf(args, sizeof(args), "rm -r %s", dir);
	EXPECT_EQ(0, system(args));
}

#define SWITCHES                                                                                   \
	" -ex 'tbreak gs_switch' -ex continue" SAY("before") " -ex 'gs bt all'" SAY(               \
		"end") " -ex 'break gs_sched_finish' -ex continue" SAY("after") " -ex 'gs bt all'" SAY("end")

/* Each fiber's calls are there, and no others are taken for them. */
static bool each_its_own(const char *text)
{
	return ut_occurs(text, " in kinds_main (") == 1 &&
	       ut_occurs(text, " in parked_inner (") == 1 && ut_occurs(text, " hog_leaf (") == 3 &&
	       ut_occurs(text, " in kept_outer (") == 1 && ut_occurs(text, " in yields (") == 1 &&
	       ut_occurs(text, " in blocked_outer (") == 1;
}

/* Just before the stacks are switched, and just after: who leaves is on the thread, or no more. */
TEST(script_switching)
{
	char args[2048], *before, *after;

	NEEDS_PLAIN;
	NEEDS_GDB;
	NEEDS_SCRIPT;
	snprintf(args, sizeof(args),
		 KINDS "-ex 'tbreak reached' "
		       "-ex run " SWITCHES " -ex kill",
		 script_path());
	ASSERT_TRUE(gdb(args));
	before = between("==before==", "==end==");
	after = between("==after==", "==end==");
	EXPECT_TRUE(in_order(before, "gs_switch ()", "kinds_main (", NULL) &&
		    !strstr(after, "gs_switch ()") && each_its_own(before) && each_its_own(after))
	{
		TH_LOG("gdb said:\n%s", said);
	}
	free(before);
	free(after);
}

/* what is not there is said in one line */
TEST(script_blind)
{
	char args[2048], self[512], copy[] = "/tmp/gsched-gdb.XXXXXX";
	static const char *const how[] = {"", "-g"};
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int fd;

	NEEDS_PLAIN;
	NEEDS_GDB;
	NEEDS_SCRIPT;
	snprintf(args, sizeof(args), "-ex 'source %s' -ex 'gs fibers' -ex 'gs bt 1'",
		 script_path());
	ASSERT_TRUE(gdb(args));
	EXPECT_EQ(2, ut_occurs(said, "gsched: no process and no core file\n"));
	if (system("command -v strip >/dev/null 2>&1"))
		SKIP(return, "no strip here");
	ASSERT_LT(0, n);
	self[n] = '\0';
	fd = mkstemp(copy);
	ASSERT_LE(0, fd);
	close(fd);
	for (int i = 0; i < 2; i++) {
		snprintf(args, sizeof(args), "strip %s -o %s '%s'", how[i], copy, self);
		ASSERT_EQ(0, system(args));
		snprintf(args, sizeof(args),
			 "-ex 'file %s' " KINDS
			 "-ex 'catch syscall memfd_create' -ex run -ex 'echo ==list==\\n' "
			 "-ex 'gs fibers' -ex 'gs bt 1' -ex 'gs procs' -ex 'gs workers' "
			 "-ex 'echo ==end==\\n' -ex kill",
			 copy, script_path());
		ASSERT_TRUE(gdb(args));
		EXPECT_EQ(4, ut_occurs(said, "gsched: no debugging information of libgo-user"));
		NOT_ANSWERED("list", "Traceback");
		NOT_ANSWERED("list", "Fiber");
	}
	unlink(copy);
}

TEST_HARNESS_MAIN
