// SPDX-License-Identifier: GPL-2.0
/*
 * Thread-local storage of fibers that are interrupted anywhere: it travels with them, or
 * their threads wait with them. Where fibers are not interrupted the tests skip.
 */
#include <dirent.h>
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <gsched/sync.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>

#include "interrupts.h"

extern char **environ;

static int stop; /* atomic */
static gs_waitgroup all;

/* ------------------------------------------------------------------------- */
/* What is a thread's own                                                      */

#define KEEPERS 12

static __thread long word;
static pthread_key_t key;
static pthread_mutex_t recursive, checking = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static long guarded[3]; /* the locks' */
static FILE *shared;
static long turns_due;
static long moved;   /* atomic: computations that ended on another thread than they began */
static long bad;     /* atomic */
static long held;    /* atomic: how often all the locks were */
static int enough;   /* atomic: interrupted as often as is wanted */
static bool to_move; /* before the fibers: wait for such a computation, too */
static bool to_go;   /* likewise, for fibers that travel */

#define UPCALLS (ut_on_kmod() ? 100u : 10u)

static void compute(long n)
{
	for (volatile long i = 0; i < n; i++)
		;
}

#define KEEP(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond) && ADD(bad, 1) < 10)                                                   \
			fprintf(stderr, "# %s:%d: %s is false\n", __FILE__, __LINE__, #cond);      \
	} while (0)

/* One computation: nothing in it waits of its own will, so all of it is on one TLS. */
static void __attribute__((noinline)) keep(long me, long i)
{
	long tid = syscall(SYS_gettid), n = 2000 + (me * 31 + i * 17) % 3000;
	pthread_t self = pthread_self();
	char text[64], *end;
	double d;

	word = me * 1000 + i;
	pthread_setspecific(key, &moved + me);
	ut_set_errno((int)(100 + me));
	compute(n);
	KEEP(ut_errno() == 100 + me);
	KEEP(pthread_equal(pthread_self(), self));
	compute(n);
	KEEP(word == me * 1000 + i);
	KEEP(pthread_getspecific(key) == &moved + me);
	ut_set_errno(0);
	KEEP(strtol("99999999999999999999999", NULL, 10) > 0);
	compute(n / 8);
	KEEP(ut_errno() == ERANGE);
	snprintf(text, sizeof(text), "%.6f|", (double)(me * 7 + i) / 8);
	d = strtod(text, &end);
	KEEP(d == (double)(me * 7 + i) / 8 && *end == '|');
	if (syscall(SYS_gettid) != tid)
		ADD(moved, 1);
}

/* Locks that know their owner, held while it is interrupted. */
static void __attribute__((noinline)) hold(long me, long i)
{
	long n = 300 + (me * 13 + i * 29) % 2000, seen;

	KEEP(!pthread_mutex_lock(&recursive));
	KEEP(!pthread_mutex_lock(&recursive));
	seen = guarded[0];
	compute(n);
	guarded[0] = seen + 1;
	KEEP(!pthread_mutex_unlock(&recursive));
	compute(n / 4);
	KEEP(!pthread_mutex_unlock(&recursive));

	KEEP(!pthread_mutex_lock(&checking));
	seen = guarded[1];
	compute(n);
	KEEP(pthread_mutex_lock(&checking) == EDEADLK);
	guarded[1] = seen + 1;
	KEEP(!pthread_mutex_unlock(&checking));

	KEEP(!pthread_rwlock_wrlock(&rw));
	seen = guarded[2];
	compute(n);
	KEEP(pthread_rwlock_wrlock(&rw) == EDEADLK);
	guarded[2] = seen + 1;
	KEEP(!pthread_rwlock_unlock(&rw));

	flockfile(shared);
	fprintf(shared, "<%ld ", me);
	compute(n / 2);
	fprintf(shared, "%ld>\n", me);
	funlockfile(shared);
	ADD(held, 1);
}

static void keeper(void *arg)
{
	long me = (long)(intptr_t)arg;
	void *block[8] = {NULL};

	for (long i = 0; (i < turns_due || !LOAD(enough)) && !LOAD(bad); i++) {
		unsigned char *p = block[i % 8];

		for (int k = 0; p && k < 50; k++)
			KEEP(p[k] == (unsigned char)me);
		free(p);
		block[i % 8] = memset(malloc(50 + (size_t)(i * me) % 500), (int)me, 50);
		keep(me, i);
		if (i % 4 == me % 4)
			hold(me, i);
		if (i % 8 == 0)
			gs_yield();
	}
	for (int k = 0; k < 8; k++)
		free(block[k]);
}

/* How many of the lines in the shared file are whole. */
static long whole_lines(const char *text)
{
	long n = 0, a, b;
	int len;

	for (; sscanf(text, "<%ld %ld>%n", &a, &b, &len) == 2 && a == b; text += len + 1)
		n++;
	KEEP(!*text);
	return n;
}

static void keepers_main(void *arg)
{
	struct gs_stats *s = arg;
	char *text = NULL;
	size_t size;
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	shared = open_memstream(&text, &size);
	for (long me = 1; me <= KEEPERS; me++)
		CHECK_EQ(gs_wg_go(&all, keeper, (void *)me), 0);
	/* as many turns as are due, and more until they were interrupted often enough */
	do {
		gs_sleep(MS);
		*s = stats();
	} while (!LOAD(bad) && gs_now() < end &&
		 (s->upcalls <= UPCALLS || (s->travels + s->freezes) <= UPCALLS / 2 ||
		  (to_go && s->travels <= UPCALLS / 20) || (to_move && !LOAD(moved))));
	STORE(enough, 1);
	gs_wg_wait(&all);
	fclose(shared);
	*s = stats();
	if (!LOAD(bad)) {
		KEEP(whole_lines(text) == LOAD(held));
		for (int i = 0; i < 3; i++)
			KEEP(guarded[i] == LOAD(held));
	}
	free(text);
	fprintf(stderr, "# %llu upcalls, %llu travels, %llu freezes, moved %ld, workers %u\n",
		(unsigned long long)s->upcalls, (unsigned long long)s->travels,
		(unsigned long long)s->freezes, LOAD(moved), s->workers);
}

static struct gs_stats keepers(void)
{
	pthread_mutexattr_t attr;
	struct gs_stats s = {0};

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&recursive, &attr);
	pthread_key_create(&key, NULL);
	turns_due = ut_count(1000, 60);
	CHECK_EQ(gs_run(keepers_main, &s), 0);
	return s;
}

static void check_keepers(struct __test_metadata *_metadata, int procs, const char *mode)
{
	struct gs_stats s;

	NEEDS_INTERRUPTS(procs, 100, mode);
	to_go = strcmp(mode, "frozen");
	to_move = procs > 1 && to_go;
	s = keepers();
	EXPECT_EQ(0, LOAD(bad));
	EXPECT_EQ(0, ut_failed);
	EXPECT_GT(s.upcalls, UPCALLS);
	if (!strcmp(mode, "frozen")) {
		EXPECT_EQ(0u, s.travels);
	} else {
		/* the others freeze in libc, the more the slower the machine */
		EXPECT_GT(s.travels, UPCALLS / 20);
		if (procs > 1)
			EXPECT_GT(LOAD(moved), 0);
	}
}

/* errno, thread_local, keys, owners of locks survive interruptions: they travel, one proc */
TEST(travel_1)
{
	NEEDS_TRAVEL;
	check_keepers(_metadata, 1, "travel");
}

/* the same on two procs, and computations go on on other threads */
TEST(travel_2)
{
	NEEDS_TRAVEL;
	check_keepers(_metadata, 2, "travel");
}

/* the same on four */
TEST(travel_4)
{
	NEEDS_TRAVEL;
	check_keepers(_metadata, 4, "travel");
}

/* GSCHED_TLS=frozen: the same, and threads wait with their fibers */
TEST(frozen_2)
{
	check_keepers(_metadata, 2, "frozen");
}

static void unprotected(void *arg)
{
	keepers();
	_exit(LOAD(bad) || LOAD(ut_failed) ? 1 : 0);
}

/* GSCHED_TLS=none: fibers go without their storage, and these tests see it */
TEST(unprotected_is_seen)
{
	struct ut_child *c;

	NEEDS_TRAVEL;
	NEEDS_INTERRUPTS(2, 100, "none");
	/* most interruptions do harm, but few are waited for */
	for (int i = 0; i < 10; i++) {
		c = ut_child_run(unprotected, NULL, 10 * SEC);
		if (c->timed_out || c->status != 0)
			break;
	}
	EXPECT_TRUE(c->timed_out || c->status != 0)
	{
		TH_LOG("nothing was seen:\n%s", c->err);
	}
}

/* ------------------------------------------------------------------------- */
/* Contexts and threads                                                        */

#define HOGS 100

static gs_waitgroup begun;

static void hog_named(void *arg)
{
	gs_wg_done(&begun);
	while (!LOAD(stop))
		;
}

/* From outside: beside so many a fiber would seldom have its turn. */
static void *start_hogs(void *arg)
{
	for (long i = 0; i < (intptr_t)arg; i++)
		CHECK_EQ(gs_wg_go(&all, hog_named, NULL), 0);
	return NULL;
}

/* So many, and each has had its turn. */
static void let_hogs_run(long n)
{
	pthread_t t;

	gs_wg_add(&begun, n);
	CHECK_EQ(pthread_create(&t, NULL, start_hogs, (void *)n), 0);
	gs_wg_wait(&begun);
	pthread_join(t, NULL);
}

#define TOO_MANY 3

static void many_main(void *arg)
{
	struct gs_stats s;

	let_hogs_run(HOGS);
	UNTIL(stats().travels >= (uint64_t)HOGS / 2);
	s = stats();
	fprintf(stderr, "# %llu travels, %llu freezes, workers %u\n", (unsigned long long)s.travels,
		(unsigned long long)s.freezes, s.workers);
	/*
	 * A dozen, if the spawner gets to make contexts before they are needed. Who finds none
	 * freezes, with its thread: so it has not got there too often.
	 */
	*(bool *)arg = s.workers >= HOGS / 2u;
	STORE(stop, 1);
	gs_wg_wait(&all);
}

static void many_child(void *arg)
{
	bool too_many = false;

	if (gs_run(many_main, &too_many) || LOAD(ut_failed))
		_exit(1);
	_exit(too_many ? TOO_MANY : 0);
}

/* 100 endless loops share two procs by contexts, not by a thread for each */
TEST(many_hogs_few_threads)
{
	struct ut_child *c = NULL;

	NEEDS_TRAVEL;
	NEEDS_INTERRUPTS(2, 1000, "travel");
	/* the spawner may be kept from running by the machine, but not each time */
	for (int i = 0; i < 10; i++) {
		free(c);
		c = ut_child_run(many_child, NULL, 2 * UT_WAIT * SEC);
		if (c->status != TOO_MANY)
			break;
	}
	EXPECT_EQ(0, c->status)
	{
		TH_LOG("%s", c->err);
	}
	free(c);
}

static void dump_main(void *arg)
{
	static char text[65536];
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	int pipes[2];
	bool seen = false;

	let_hogs_run(3);
	while (!seen && gs_now() < end) {
		ssize_t n;

		CHECK_EQ(pipe(pipes), 0);
		gs_dump(pipes[1]);
		close(pipes[1]);
		memset(text, 0, sizeof(text));
		for (size_t len = 0; (n = read(pipes[0], text + len, sizeof(text) - 1 - len)) > 0;)
			len += (size_t)n;
		close(pipes[0]);
		/* in its backtrace, which begins where it was interrupted */
		for (const char *at = text; !seen && (at = strstr(at, "[preempted]")); at++) {
			const char *next = strstr(at, "\nfiber "), *hit = strstr(at, "hog_named");

			seen = hit && (!next || hit < next);
		}
		gs_yield();
	}
	if (!CHECK(seen))
		fprintf(stderr, "%s\n", text);
	STORE(stop, 1);
	gs_wg_wait(&all);
}

/* gs_dump walks from the upcall area of an interrupted fiber into its stack */
TEST(dump_of_traveller)
{
	NEEDS_TRAVEL;
	NEEDS_INTERRUPTS(1, 1000, "travel");
	RUN(dump_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Storage of a fiber's own                                                    */

static __thread long own_word = 77;
static long destroyed; /* atomic */
static pthread_key_t own_key;
static pthread_mutex_t own_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* tls.cc */
void cxx_object_set(long v);
long cxx_object_get(void);
long cxx_objects(void);
bool cxx_throws(void (*between)(void), long me);
bool cxx_handles(void (*between)(void), long me);

static void own_key_gone(void *value)
{
	ADD(destroyed, 1);
	free(value);
}

static void own_fiber(void *arg)
{
	long me = (long)(intptr_t)arg, *kept = malloc(sizeof(*kept));
	pthread_t self = pthread_self();
	char *strerror_of_mine;

	/* as in a new thread */
	CHECK_EQ(own_word, 77);
	CHECK_EQ(cxx_object_get(), 0);
	CHECK(pthread_getspecific(own_key) == NULL);
	own_word = me;
	*kept = me;
	cxx_object_set(me);
	pthread_setspecific(own_key, kept);
	strerror_of_mine = strerror(1000 + (int)me); /* a buffer of the thread's */
	for (int i = 0; i < 20; i++) {
		ut_set_errno((int)me);
		gs_yield();
		if (i == 7)
			gs_sleep(MS / 10);
		CHECK_EQ(ut_errno(), (int)me);
		CHECK_EQ(own_word, me);
		CHECK_EQ(cxx_object_get(), me);
		CHECK(pthread_getspecific(own_key) == kept);
		CHECK(pthread_equal(pthread_self(), self));
	}
	CHECK_EQ(atol(strrchr(strerror_of_mine, ' ')), 1000 + me);
}

static long own_guarded; /* own_lock */

/* A lock that knows its owner, held over waits. */
static void own_locker(void *arg)
{
	for (int i = 0; i < 10; i++) {
		long seen;

		while (pthread_mutex_trylock(&own_lock))
			gs_yield();
		CHECK_EQ(pthread_mutex_trylock(&own_lock), 0);
		seen = own_guarded;
		gs_yield();
		CHECK_EQ(pthread_mutex_unlock(&own_lock), 0);
		gs_yield();
		own_guarded = seen + 1;
		CHECK_EQ(pthread_mutex_unlock(&own_lock), 0);
	}
}

static void own_main(void *arg)
{
	const struct gs_attr attr = {.flags = GS_OWN_TLS};
	long n = ut_count(400, 40);
	int r;

	r = gs_go_attr(&attr, nothing, NULL);
	if (r == -EOPNOTSUPP) {
		*(bool *)arg = true;
		return;
	}
	CHECK_EQ(r, 0);
	pthread_key_create(&own_key, own_key_gone);
	for (int round = 0; round < 2; round++) {
		STORE(destroyed, 0);
		for (long i = 1; i <= n; i++) {
			CHECK_EQ(gs_go_attr(&attr, own_fiber, (void *)i), 0);
			if (i % 20 == 0)
				UNTIL(gs_num_fibers() < 10);
		}
		UNTIL(gs_num_fibers() == 1);
		CHECK_EQ(LOAD(destroyed), n);
		CHECK_EQ(cxx_objects(), 0);
	}
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gs_go_attr(&attr, own_locker, NULL), 0);
	UNTIL(gs_num_fibers() == 1);
	CHECK_EQ(own_guarded, 8 * 10);
}

static void own(struct __test_metadata *_metadata, int procs)
{
	bool none = false;

	ut_set_procs(procs);
	setenv("GSCHED_SLICE", "100", 1);
	RUN(own_main, &none);
	if (none)
		SKIP(return, "no thread-local storage for fibers here");
}

/* GS_OWN_TLS: thread_local, keys, errno, pthread_self over waits; as new, and destructors run */
TEST(own_1)
{
	own(_metadata, 1);
}

/* the same on four procs */
TEST(own_4)
{
	own(_metadata, 4);
}

/* ------------------------------------------------------------------------- */
/* C++                                                                         */

static void wait_a_little(void)
{
	gs_yield();
	gs_sleep(1);
}

static void handles(void *arg)
{
	for (long i = 0; i < ut_count(200, 20); i++) {
		CHECK(cxx_handles(wait_a_little, (long)(intptr_t)arg));
		CHECK(cxx_throws(wait_a_little, (long)(intptr_t)arg));
	}
}

static void handles_main(void *arg)
{
	for (long i = 1; i <= 10; i++)
		gs_wg_go(&all, handles, (void *)i);
	gs_wg_wait(&all);
}

/* fibers wait in the middle of handlers and of unwinding: each handles its own exceptions */
TEST(exceptions_over_waits)
{
	ut_set_procs(2);
	RUN(handles_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* libc's own business with threads                                            */

/* Every thread of this process has this real user id. */
static bool all_have_uid(unsigned uid)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	bool all_have = true;

	while (d && (e = readdir(d))) {
		char path[300], line[128] = "";
		unsigned real = 0;
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "Uid: %u", &real) == 1)
				all_have &= real == uid;
		if (f)
			fclose(f);
	}
	closedir(d);
	return all_have;
}

static void setuid_main(void *arg)
{
	long n = ut_count(200, 20);

	let_hogs_run(6);
	for (long i = 0; i < n; i++) {
		CHECK_EQ(setresuid(i % 2 ? 0 : 65534, -1, -1), 0);
		if (i % 10 == 0)
			CHECK(all_have_uid(65534));
	}
	CHECK_EQ(setresuid(0, -1, -1), 0);
	STORE(stop, 1);
	gs_wg_wait(&all);
}

/* setresuid reaches every thread, whatever context it holds, and comes back */
TEST(setuid_everywhere)
{
	if (geteuid())
		SKIP(return, "not root");
	NEEDS_INTERRUPTS(2, 100, "travel");
	RUN(setuid_main, NULL);
}

/* What a thread's id is good for, if it is a fiber's. */
static long told; /* atomic: signals that came */
static pthread_t fiber_self;

static void on_told(int signo)
{
	ADD(told, 1);
}

static void *from_outside(void *arg)
{
	return (void *)(intptr_t)pthread_kill(fiber_self, SIGUSR1);
}

static void ids_main(void *arg)
{
	bool travels = *(bool *)arg;
	struct sched_param param;
	char name[16] = "";
	struct timespec ts;
	pthread_attr_t attr;
	void *outside = NULL;
	cpu_set_t set;
	pthread_t t;
	int policy;

	fiber_self = pthread_self();
	CHECK(pthread_equal(fiber_self, pthread_self()));
	CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(LOAD(told), 2);
	CHECK_EQ(pthread_kill(pthread_self(), 0), 0);
	CHECK_EQ(pthread_setname_np(pthread_self(), "ids_main"), 0);
	CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
	CHECK_EQ(strcmp(name, "ids_main"), 0);
	CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	CHECK_EQ(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
	CHECK_EQ(pthread_getaffinity_np(pthread_self(), sizeof(set), &set), travels ? ESRCH : 0);
	CHECK_EQ(pthread_setaffinity_np(pthread_self(), sizeof(set), &set), travels ? ESRCH : 0);
	CHECK_EQ(pthread_getschedparam(pthread_self(), &policy, &param) != 0, travels);
	/* it would tell of the first thread's stack */
	CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), travels ? ESRCH : 0);
	if (!travels)
		pthread_attr_destroy(&attr);
	/* nobody else reaches it; a real thread would be */
	CHECK_EQ(pthread_create(&t, NULL, from_outside, NULL), 0);
	CHECK_EQ(pthread_join(t, &outside), 0);
	CHECK_EQ((int)(intptr_t)outside, travels ? ESRCH : 0);
}

static void ids(struct __test_metadata *_metadata, const char *mode)
{
	struct sigaction sa = {.sa_handler = on_told};
	bool travels = !strcmp(mode, "travel");

	setenv("GSCHED_TLS", mode, 1);
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	RUN(ids_main, &travels);
}

/* what pthread_self() of a fiber is good for, as Documentation/tls.rst tells */
TEST(ids_travel)
{
	NEEDS_TRAVEL;
	ids(_metadata, "travel");
}

/* and without travelling: it is a thread's */
TEST(ids_frozen)
{
	ids(_metadata, "frozen");
}

static void *plain_thread(void *arg)
{
	word = 7;
	free(malloc(100));
	gs_chan *c = arg;
	long v = 42;

	gs_chan_send(c, &v);
	return arg;
}

static void processes(void *arg)
{
	for (long i = 0; i < *(long *)arg; i++) {
		char *argv[] = {"true", NULL}, text[32] = "";
		gs_chan *c = gs_chan_new(sizeof(long), 0);
		int status = -1;
		pthread_t t;
		void *result;
		pid_t pid;
		long v = 0;
		FILE *f;

		CHECK_EQ(WEXITSTATUS(system("exit 3")), 3);
		f = popen("echo said", "r");
		CHECK(f && fgets(text, sizeof(text), f));
		CHECK_EQ(strcmp(text, "said\n"), 0);
		CHECK_EQ(pclose(f), 0);
		CHECK_EQ(posix_spawnp(&pid, "true", NULL, NULL, argv, environ), 0);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
		pid = fork();
		if (pid == 0) {
			void *p = malloc(10000);

			memset(p, 1, 10000);
			free(p);
			_exit(pthread_equal(pthread_self(), pthread_self()) ? 7 : 8);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(WEXITSTATUS(status), 7);
		CHECK_EQ(pthread_create(&t, NULL, plain_thread, c), 0);
		CHECK(gs_chan_recv(c, &v));
		CHECK_EQ(v, 42);
		CHECK_EQ(pthread_join(t, &result), 0);
		CHECK(result == c);
		gs_chan_unref(c);
	}
}

static void processes_main(void *arg)
{
	long n = ut_count(20, 2);

	let_hogs_run(3);
	processes(&n);
	STORE(stop, 1);
	gs_wg_wait(&all);
}

/* system, popen, posix_spawn, fork and pthread_create from a fiber beside travelling ones */
TEST(new_processes)
{
	NEEDS_INTERRUPTS(2, 100, "travel");
	RUN(processes_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Signals                                                                     */

static long handled; /* atomic */
static long strange; /* atomic */

/* On the fiber's stack, for no alternate one is asked for; long enough to be interrupted. */
static void handler(int signo)
{
	long tid = syscall(SYS_gettid);
	sigset_t now;

	compute(20000);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	if (!sigismember(&now, signo) || syscall(SYS_gettid) != tid)
		ADD(strange, 1);
	ADD(handled, 1);
}

static void raiser(void *arg)
{
	while (!LOAD(stop)) {
		raise(SIGUSR1);
		compute(5000);
	}
}

static bool blocks_usr1(const char *tid)
{
	char path[300], line[128];
	unsigned long long mask = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "SigBlk: %llx", &mask);
	if (f)
		fclose(f);
	/* the poller and the spawner block all */
	return mask >> (SIGUSR1 - 1) & 1 && !(mask >> (SIGUSR2 - 1) & 1);
}

static void handlers_main(void *arg)
{
	struct dirent *e;
	DIR *d;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gs_wg_go(&all, raiser, NULL), 0);
	UNTIL(LOAD(handled) >= ut_count(2000, 100));
	STORE(stop, 1);
	gs_wg_wait(&all);
	CHECK_EQ(LOAD(strange), 0);
	d = opendir("/proc/self/task");
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			CHECK(!blocks_usr1(e->d_name));
	closedir(d);
}

/* a fiber in a signal handler does not leave its thread, whose mask comes back */
TEST(handlers_stay)
{
	struct sigaction sa = {.sa_handler = handler};

	NEEDS_INTERRUPTS(2, 100, "travel");
	sigaction(SIGUSR1, &sa, NULL);
	RUN(handlers_main, NULL);
}

TEST_HARNESS_MAIN
