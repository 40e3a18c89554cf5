// SPDX-License-Identifier: GPL-2.0
/*
 * Foreign code that blocks, as programs have it and as others' fibers stop at it: a plain
 * mutex of libc's held over a sleep and over a park (apache/brpc#1741: everything stands
 * for good; yyzybb537/libgo#62, #298), a third party's library, and page faults of a mapped
 * file on a slow disk. The others go on: how long they stood at most has a bound, and the
 * share that one which computes keeps has one, too.
 */
#include <gsched/chan.h>
#include <gsched/debug.h>
#include <gsched/sync.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/file.h>

#include "../slow_disk.h"
#include "util.h"

#define FIBERS 100

static gs_waitgroup all;

static struct gs_stats stats(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s;
}

static void nap(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / SEC, .tv_nsec = ns % SEC};

	while (nanosleep(&ts, &ts))
		;
}

/* ------------------------------------------------------------------------- */
/* The others, who have nothing to do with it                                  */

enum { COUNTING, EXCHANGING, SLEEPING, KINDS };

static const char *const kinds[KINDS] = {"counting", "exchanging", "sleeping"};
static gs_waitgroup others;
static int stop; /* atomic */
static struct {
	int64_t longest; /* atomic: ns that one stood */
	long steps;	 /* atomic */
} seen[KINDS];
static gs_chan *there, *back;

static void step(int kind, int64_t gap)
{
	int64_t most = LOAD(seen[kind].longest);

	while (gap > most && !__atomic_compare_exchange_n(&seen[kind].longest, &most, gap, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	ADD(seen[kind].steps, 1);
}

static void counting(void *arg)
{
	int64_t last = gs_now(), now;

	while (!LOAD(stop)) {
		ut_burn(20000);
		gs_yield();
		now = gs_now();
		step(COUNTING, now - last);
		last = now;
	}
}

static void exchanging(void *arg)
{
	int64_t begin;
	long v = 0, w;

	while (!LOAD(stop)) {
		begin = gs_now();
		v++;
		gs_chan_send(there, &v);
		CHECK_EQ(gs_chan_recv(back, &w), 1);
		CHECK_EQ(w, v);
		step(EXCHANGING, gs_now() - begin);
	}
	gs_chan_close(there);
}

static void echoing(void *arg)
{
	long v;

	while (gs_chan_recv(there, &v) == 1)
		gs_chan_send(back, &v);
}

static void sleeping(void *arg)
{
	while (!LOAD(stop)) {
		int64_t begin = gs_now();

		gs_sleep(MS);
		step(SLEEPING, gs_now() - begin - MS);
	}
}

static void others_start(void)
{
	memset(seen, 0, sizeof(seen));
	STORE(stop, 0);
	there = gs_chan_new(sizeof(long), 0);
	back = gs_chan_new(sizeof(long), 0);
	CHECK_EQ(gs_wg_go(&others, counting, NULL), 0);
	CHECK_EQ(gs_wg_go(&others, exchanging, NULL), 0);
	CHECK_EQ(gs_wg_go(&others, echoing, NULL), 0);
	CHECK_EQ(gs_wg_go(&others, sleeping, NULL), 0);
	/* they have begun */
	UNTIL(LOAD(seen[COUNTING].steps) && LOAD(seen[EXCHANGING].steps) &&
	      LOAD(seen[SLEEPING].steps));
}

/* How long one of them stood at most. */
static int64_t others_end(const char *beside)
{
	int64_t longest = 0;

	STORE(stop, 1);
	gs_wg_wait(&others);
	gs_chan_unref(there);
	gs_chan_unref(back);
	for (int i = 0; i < KINDS; i++) {
		CHECK_GE(seen[i].steps, 5);
		fprintf(stderr, "# beside %s: %ld steps %s, stood for %lld us\n", beside,
			seen[i].steps, kinds[i], (long long)seen[i].longest / 1000);
		if (seen[i].longest > longest)
			longest = seen[i].longest;
	}
	return longest;
}

/* fn is done once more if its others stood for too long: the machine may have other work. */
static void bounded(void (*fn)(void), const char *what, int64_t bound)
{
	int64_t longest;

	for (int i = 0; i < 5; i++) {
		others_start();
		fn();
		longest = others_end(what);
		if (longest <= bound || LOAD(ut_failed))
			break;
	}
	CHECK_LE(longest, bound);
	fprintf(stderr, "# note: %s: others stood for %lld ms, %u workers\n", what,
		(long long)(longest / MS), stats().workers);
}

/* ------------------------------------------------------------------------- */
/* A plain mutex                                                               */

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static long turns; /* plain */

/* kmod: at once; posix: sysmon finds them one by one */
static int64_t lock_bound(void)
{
	return ut_limit((ut_on_kmod() ? 150 : 400) * MS);
}

/* The first one for so long that the others' gap is too long without hand-off. */
static void hold_asleep(void *arg)
{
	pthread_mutex_lock(&plain);
	nap(turns++ ? 10 * MS : 2 * lock_bound());
	pthread_mutex_unlock(&plain);
}

static void holders(void)
{
	turns = 0;
	for (int i = 0; i < FIBERS; i++)
		CHECK_EQ(gs_wg_go(&all, hold_asleep, NULL), 0);
	gs_wg_wait(&all);
	CHECK_EQ(turns, FIBERS);
}

static void lock_main(void *arg)
{
	bounded(holders, "a plain mutex", lock_bound());
}

/* 100 fibers hold a plain mutex, asleep, and wait for it: the others do not stand */
TEST(lock_over_nanosleep)
{
	ut_set_procs(2);
	RUN(lock_main, NULL);
}

static long finished; /* atomic */
static gs_chan *ask, *answer;

/* What a fiber does with the mutex held; it is another thread that unlocks it, mostly. */
static void (*how)(void);

static void park_asleep(void)
{
	gs_sleep(MS);
}

static void park_exchange(void)
{
	long v = turns;

	gs_chan_send(ask, &v);
	CHECK_EQ(gs_chan_recv(answer, &v), 1);
	CHECK_EQ(v, turns + 1);
}

/* to the letter */
static void block_asleep(void)
{
	nap(MS);
}

static void answering(void *arg)
{
	long v;

	while (gs_chan_recv(ask, &v) == 1) {
		v++;
		gs_chan_send(answer, &v);
	}
}

static void hold_parked(void *arg)
{
	pthread_mutex_lock(&plain);
	gs_yield();
	how();
	turns++;
	pthread_mutex_unlock(&plain);
	ADD(finished, 1);
}

/* One that is no fiber takes it, too. */
static void *outsider(void *arg)
{
	for (int i = 0; i < 10; i++) {
		pthread_mutex_lock(&plain);
		nap(100000);
		turns++;
		pthread_mutex_unlock(&plain);
	}
	return NULL;
}

/* If they stand, so does whoever would say so, were it a fiber. */
static void *watching(void *arg)
{
	if (!UNTIL_NS(LOAD(finished) == FIBERS, 20 * SEC)) {
		ut_fail(__FILE__, __LINE__, "%ld of %d have finished", LOAD(finished), FIBERS);
		_exit(1);
	}
	return NULL;
}

static void parked_holders(void)
{
	pthread_t t[2];

	turns = 0;
	STORE(finished, 0);
	CHECK_EQ(pthread_create(&t[0], NULL, outsider, NULL), 0);
	CHECK_EQ(pthread_create(&t[1], NULL, watching, NULL), 0);
	for (int i = 0; i < FIBERS; i++)
		CHECK_EQ(gs_go(hold_parked, NULL), 0);
	UNTIL(LOAD(finished) == FIBERS);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(turns, FIBERS + 10);
}

static void park_main(void *arg)
{
	how = (void (*)(void))arg;
	ask = gs_chan_new(sizeof(long), 0);
	answer = gs_chan_new(sizeof(long), 0);
	CHECK_EQ(gs_go(answering, NULL), 0);
	bounded(parked_holders, "a mutex held over a park",
		ut_limit((ut_on_kmod() ? 150 : 1500) * MS));
	gs_chan_close(ask);
}

/* brpc#1741: one proc; with a plain mutex held, 100 fibers yield and block */
TEST(lock_over_yield)
{
	ut_set_procs(1);
	RUN(park_main, (void *)block_asleep);
}

/* the same, but they sleep as fibers do; libgo#298: so does a thread */
TEST(lock_over_gs_sleep)
{
	ut_set_procs(1);
	RUN(park_main, (void *)park_asleep);
}

/* the same over a channel, whose other end is a fiber that needs a proc */
TEST(lock_over_channel)
{
	ut_set_procs(1);
	RUN(park_main, (void *)park_exchange);
}

/* ------------------------------------------------------------------------- */
/* A library that knows nothing of fibers                                      */

#define CALLERS 4 /* of each of its functions */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	sem_t sem;
	char path[32]; /* a file to lock */
} lib = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static struct timespec from_now(int64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ns += ts.tv_nsec;
	return (struct timespec){.tv_sec = ts.tv_sec + ns / SEC, .tv_nsec = ns % SEC};
}

static void lib_cond(void)
{
	struct timespec until = from_now(20 * MS);
	int r = 0;

	pthread_mutex_lock(&lib.lock);
	while (!r)
		r = pthread_cond_timedwait(&lib.cond, &lib.lock, &until);
	CHECK_EQ(r, ETIMEDOUT);
	pthread_mutex_unlock(&lib.lock);
}

static void lib_sem(void)
{
	struct timespec until = from_now(20 * MS);
	int r;

	/* posix: the runtime's signals end it, as any signal does */
	do
		r = sem_timedwait(&lib.sem, &until);
	while (r && ut_errno() == EINTR);
	CHECK_EQ(r, -1);
	CHECK_EQ(ut_errno(), ETIMEDOUT);
}

/* By one after the other; each of them has opened it itself. */
static void lib_flock(void)
{
	int fd = open(lib.path, O_RDWR | O_CLOEXEC);

	CHECK_GE(fd, 0);
	CHECK_EQ(flock(fd, LOCK_EX), 0);
	nap(20 * MS);
	CHECK_EQ(flock(fd, LOCK_UN), 0);
	close(fd);
}

static void lib_popen(void)
{
	FILE *f = popen("sleep 0.02; echo said", "r");
	char text[32] = "";

	if (!CHECK(f != NULL))
		return;
	CHECK(fgets(text, sizeof(text), f) && !strcmp(text, "said\n"));
	CHECK_EQ(pclose(f), 0);
}

static void lib_pipe(void)
{
	struct pollfd p = {.events = POLLIN};
	int fds[2], r;

	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	p.fd = fds[0];
	do
		r = poll(&p, 1, 20);
	while (r < 0 && ut_errno() == EINTR);
	CHECK_EQ(r, 0);
	close(fds[0]);
	close(fds[1]);
}

static void (*const calls[])(void) = {lib_cond, lib_sem, lib_flock, lib_popen, lib_pipe};

#define CALLS ((long)(sizeof(calls) / sizeof(calls[0])))

static void caller(void *arg)
{
	for (int i = 0; i < 10; i++)
		calls[(intptr_t)arg % CALLS]();
}

static void callers(void)
{
	for (long i = 0; i < CALLERS * CALLS; i++)
		CHECK_EQ(gs_wg_go(&all, caller, (void *)i), 0);
	gs_wg_wait(&all);
}

static void library_main(void *arg)
{
	/* posix: a call of 20 ms may be over before it was seen, 20 in a row */
	bounded(callers, "a library", ut_limit((ut_on_kmod() ? 150 : 400) * MS));
}

/* on one proc, 20 fibers in five kinds of blocking calls of a library's */
TEST(library)
{
	int fd;

	ut_set_procs(1);
	strcpy(lib.path, "/tmp/foreign.XXXXXX");
	fd = mkstemp(lib.path);
	ASSERT_GE(fd, 0);
	close(fd);
	ASSERT_EQ(0, sem_init(&lib.sem, 0, 0));
	RUN(library_main, NULL);
	unlink(lib.path);
}

/* ------------------------------------------------------------------------- */
/* A slow disk                                                                 */

#define READERS 8

static const char *disk;	/* mapped */
static long next_page[READERS]; /* none is read twice */
static long faults;		/* atomic */

static void reader(void *arg)
{
	long me = (long)(intptr_t)arg;

	while (!LOAD(stop)) {
		long page = me * SLOW_DISK_PAGES + next_page[me]++;

		CHECK_LT(next_page[me], SLOW_DISK_PAGES);
		CHECK_EQ(((volatile const char *)disk)[page * SLOW_DISK_PAGE], 'p');
		ADD(faults, 1);
	}
}

static void *reading_thread(void *arg)
{
	reader(arg);
	return NULL;
}

static int64_t thread_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

struct speed {
	double per_second; /* steps */
	double running;	   /* part of the time that it was on a processor */
};

/*
 * Counts, for so long. Where it runs is looked at between the steps; the time of one in
 * which it changed the thread is not known, and not counted.
 */
static struct speed count(int64_t ns)
{
	int64_t begin = gs_now(), before = thread_time(), used = 0, now, after;
	pid_t on = gettid(), was;
	long n = 0;

	do {
		for (volatile int i = 0; i < 20000; i++)
			;
		n++;
		was = on;
		on = gettid();
		after = thread_time();
		if (on == was && gettid() == on)
			used += after - before;
		before = after;
	} while ((now = gs_now()) - begin < ns);
	return (struct speed){(double)n * 1e9 / (double)(now - begin),
			      (double)used / (double)(now - begin)};
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

#define ROUNDS 5
#define ALONE (100 * MS)
#define BESIDE (300 * MS)

/* Percent that it keeps beside the readers, fibers or plain threads, as a median. */
static double keeps(bool threads)
{
	pthread_t t[READERS];
	double running[ROUNDS], speed[ROUNDS];
	struct speed alone, beside, again;
	long were = LOAD(faults);

	for (int i = 0; i < ROUNDS; i++) {
		STORE(stop, 0);
		alone = count(ALONE);
		for (long r = 0; r < READERS; r++)
			CHECK_EQ(threads ? pthread_create(&t[r], NULL, reading_thread, (void *)r)
					 : gs_wg_go(&all, reader, (void *)r),
				 0);
		beside = count(BESIDE);
		STORE(stop, 1);
		gs_wg_wait(&all);
		for (int r = 0; threads && r < READERS; r++)
			pthread_join(t[r], NULL);
		again = count(ALONE);
		running[i] = 200 * beside.running / (alone.running + again.running);
		speed[i] = 200 * beside.per_second / (alone.per_second + again.per_second);
	}
	qsort(running, ROUNDS, sizeof(running[0]), by_value);
	qsort(speed, ROUNDS, sizeof(speed[0]), by_value);
	fprintf(stderr,
		"# beside %s: on a processor %.0f %% (%.0f to %.0f) of what it is alone, "
		"speed %.0f %% (%.0f to %.0f), %ld faults\n",
		threads ? "threads" : "fibers", running[ROUNDS / 2], running[0],
		running[ROUNDS - 1], speed[ROUNDS / 2], speed[0], speed[ROUNDS - 1],
		LOAD(faults) - were);
	return running[ROUNDS / 2];
}

/*
 * Four fifths; on posix, where sysmon has to see each fault first, half of that. Where
 * plain threads leave it less than all, for want of processors, that part of what they do.
 */
static void disk_main(void *arg)
{
	double aim = ut_on_kmod() ? 80 : 40, due = aim, kept = 0;
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC) / 2;

	count(ALONE);
	do {
		kept = keeps(false);
		if (kept < aim)
			due = aim * fmin(keeps(true), 100) / 100;
	} while (kept < due && gs_now() < end && !LOAD(ut_failed));
	CHECK_GE(kept, due);
	CHECK_GE(LOAD(faults), 100);
	fprintf(stderr, "# note: kept %.0f %%, due %.0f %%, %u workers\n", kept, due,
		stats().workers);
}

/* 8 fibers fault on a mapped file of a slow disk: one that counts keeps four fifths */
TEST(slow_disk)
{
	size_t size = READERS * SLOW_DISK_PAGES * SLOW_DISK_PAGE;
	char path[32] = "";
	int tell[2], fd;
	ssize_t n;
	pid_t pid;

	if (!slow_disk_possible())
		SKIP(return, "no network block devices here");
	/* lockdep has a report of nbd's own about a disk in a mapping, and stops after it */
	if (!access("/proc/lockdep", F_OK))
		SKIP(return, "lockdep");
	ut_set_procs(2);
	ASSERT_EQ(0, pipe2(tell, O_CLOEXEC));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		close(tell[0]);
		_exit(slow_disk_serve(READERS, 5000, tell[1]));
	}
	close(tell[1]);
	n = read(tell[0], path, sizeof(path) - 1);
	ASSERT_GT(n, 1);
	path[n - 1] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	disk = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)disk);
	/* one page at a time, none ahead */
	ASSERT_EQ(0, madvise((void *)disk, size, MADV_RANDOM));
	RUN(disk_main, NULL);
	close(fd);
	munmap((void *)disk, size);
	/* it ends when nobody listens */
	close(tell[0]);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
}

TEST_HARNESS_MAIN
