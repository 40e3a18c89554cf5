// SPDX-License-Identifier: GPL-2.0
/*
 * Blocked threads give their proc away, whatever blocks them: on kmod at once, on posix
 * when sysmon has seen them asleep, or at once with the hint. And gs_nopreempt, which
 * keeps it.
 *
 * One proc: fiber A starts fiber B and blocks, B ends the block. If the proc stayed with
 * A, B would never run; a watching thread then ends the block and the test fails.
 */
#include <gsched/debug.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "util.h"

static long done; /* atomic */
static int stop;  /* atomic */

static void count(void *arg)
{
	ADD(done, 1);
}

struct block {
	void (*block)(void);
	void (*unblock)(void);
	bool hint;
	int blocking, unblocked, returned; /* atomic */
};

static void block_b(void *arg)
{
	struct block *b = arg;

	/* on kmod a page fault may have let this one in early */
	UNTIL(LOAD(b->blocking));
	CHECK_EQ(LOAD(b->returned), 0);
	STORE(b->unblocked, 1);
	if (b->unblock)
		b->unblock();
}

static void block_a(void *arg)
{
	struct block *b = arg;

	CHECK_EQ(gs_go(block_b, b), 0);
	if (b->hint)
		gs_blocking_begin();
	STORE(b->blocking, 1);
	b->block();
	if (b->hint)
		gs_blocking_end();
	STORE(b->returned, 1);
}

static void *watch(void *arg)
{
	struct block *b = arg;

	if (!UNTIL_NS(LOAD(b->unblocked), UT_WAIT * SEC / 2)) {
		ut_fail(__FILE__, __LINE__, "the blocked fiber kept its proc");
		if (b->unblock)
			b->unblock();
	}
	return NULL;
}

static void one_block(void *arg)
{
	struct block *b = arg;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, watch, b), 0);
	CHECK_EQ(gs_go(block_a, b), 0);
	UNTIL(LOAD(b->returned));
	CHECK_EQ(LOAD(b->unblocked), 1);
	pthread_join(t, NULL);
}

/* One that is preempted before it blocks does not block; and no stand-by may be there. */
static bool handed_off(long n)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.blocks >= (uint64_t)n && s.handoffs >= 1;
}

static void repeat_block(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	const struct block *b = arg;
	long n = ut_count(20, 3);

	for (long i = 0; i < n || (!handed_off(n) && gs_now() < end); i++) {
		struct block one = *b;

		one_block(&one);
		if (LOAD(ut_failed))
			return;
	}
}

/* ------------------------------------------------------------------------- */

static int pipes[2];

static void read_pipe(void)
{
	char c;

	CHECK_EQ(read(pipes[0], &c, 1), 1);
}

static void write_pipe(void)
{
	CHECK_EQ(write(pipes[1], "x", 1), 1);
}

/* with the hint: read(2) of an empty pipe, one proc, either backend */
TEST(hint_read)
{
	struct block b = {.block = read_pipe, .unblock = write_pipe, .hint = true};
	struct gs_stats s;

	ut_set_procs(1);
	ASSERT_EQ(0, pipe(pipes));
	RUN(repeat_block, &b);
	gs_stats(&s);
	EXPECT_GE(s.blocks, ut_count(20, 3));
}

static int slept_enough; /* atomic */

/* until the other fiber was seen running meanwhile */
static void sleep_a_while(void)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	while (!LOAD(slept_enough) && gs_now() < end) {
		struct timespec ts = {.tv_nsec = 20 * MS};

		while (nanosleep(&ts, &ts))
			;
	}
	STORE(slept_enough, 0);
}

static void wake_up(void)
{
	STORE(slept_enough, 1);
}

/* with the hint: a sleeping thread */
TEST(hint_nanosleep)
{
	struct block b = {.block = sleep_a_while, .unblock = wake_up, .hint = true};

	ut_set_procs(1);
	RUN(repeat_block, &b);
}

static void block_count(void *arg)
{
	char c;

	gs_blocking_begin();
	CHECK_EQ(read(pipes[0], &c, 1), 1);
	gs_blocking_end();
	ADD(done, 1);
}

static void many_blocked(void *arg)
{
	long n = (long)arg;
	char buf[1000] = "";
	struct gs_stats s;

	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(block_count, NULL), 0);
	/* all of them get as far as to their read: each on a thread of its own */
	UNTIL_NS((gs_stats(&s), s.blocks >= n && s.workers >= n), 60 * SEC);
	CHECK_GE(s.blocks, n);
	CHECK_GE(s.workers, n);
	CHECK_EQ(LOAD(done), 0);
	CHECK_EQ(write(pipes[1], buf, n), n);
	UNTIL(LOAD(done) == n);
}

/* 300 fibers blocked at the same time beside one proc, and all come back to it */
TEST(hint_many)
{
	ut_set_procs(1);
	ASSERT_EQ(0, pipe(pipes));
	RUN(many_blocked, (void *)ut_count(300, 50));
	/* the threads are there now: again, without new ones */
	STORE(done, 0);
	RUN(many_blocked, (void *)ut_count(300, 50));
}

static void odd_hints(void *arg)
{
	for (int i = 0; i < 50; i++) {
		gs_blocking_end(); /* without begin */
		gs_blocking_begin();
		gs_blocking_begin();
		gs_yield(); /* takes a proc again */
		gs_blocking_end();
		gs_blocking_end();
		gs_blocking_begin();
		CHECK_NE(gs_id(), 0u);
		CHECK_EQ(gs_go(count, NULL), 0);
		gs_blocking_begin();
		gs_sleep(1000);
		gs_blocking_begin();
		gs_nopreempt_begin();
		gs_blocking_begin(); /* nothing: the proc is kept */
		gs_blocking_end();
		gs_nopreempt_end();
		gs_blocking_end();
	}
	ADD(done, 1);
}

static void odd_ones(void *arg)
{
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gs_go(odd_hints, NULL), 0);
	UNTIL(LOAD(done) == 10 * 51);
	UNTIL(gs_num_fibers() == 1);
}

static void begin_and_end(void *arg)
{
	gs_blocking_begin();
	ADD(done, 1);
	/* ends without gs_blocking_end */
	if (arg)
		gs_exit();
}

static void without_end(void *arg)
{
	long n = ut_count(500, 50);

	for (long i = 0; i < n; i++)
		CHECK_EQ(gs_go(begin_and_end, (void *)(i % 2)), 0);
	UNTIL(LOAD(done) == n);
	UNTIL(gs_num_fibers() == 1);
}

/* hints nested, doubled, around any other call */
TEST(hint_odd)
{
	RUN(odd_ones, NULL);
}

/* fibers that end, or gs_exit, between begin and end */
TEST(hint_without_end)
{
	RUN(without_end, NULL);
}

static int inside, most; /* atomic */

static void come_and_go(void *arg)
{
	struct timespec ts = {.tv_nsec = 20000};

	while (!LOAD(stop)) {
		int n, m;

		gs_blocking_begin();
		nanosleep(&ts, NULL);
		gs_blocking_end();
		/* here a proc is held */
		n = ADD(inside, 1);
		m = LOAD(most);
		while (n > m && !__atomic_compare_exchange_n(&most, &m, n, false, __ATOMIC_SEQ_CST,
							     __ATOMIC_SEQ_CST))
			;
		ut_burn(5000);
		ADD(inside, -1);
		ADD(done, 1);
	}
}

static void width_kept(void *arg)
{
	struct gs_stats s;

	ut_burn(5000); /* its page is there: a fault would be a block, and cost the proc */
	for (int i = 0; i < 16; i++)
		gs_go(come_and_go, NULL);
	UNTIL_NS(LOAD(done) >= ut_count(5000, 200), 60 * SEC);
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_stats(&s);
	/* on kmod a page fault in between may cost the proc as well, see procs.c */
	if (strcmp(s.backend, "kmod"))
		CHECK_LE(LOAD(most), gs_max_procs(0));
}

/* those that come back wait for a proc: no more fibers at work than procs */
TEST(hint_width_kept)
{
	/* who is preempted is inside still, without a proc */
	setenv("GSCHED_SLICE", "10000000", 1);
	RUN(width_kept, NULL);
}

/* ------------------------------------------------------------------------- */

static void only_nest(void *arg)
{
	for (int depth = 1; depth < 50; depth++) {
		for (int i = 0; i < depth; i++)
			gs_nopreempt_begin();
		for (int i = 0; i < depth; i++)
			gs_nopreempt_end();
		/* parks again */
		gs_sleep(1000);
		gs_yield();
	}
	ADD(done, 1);
}

static void nests(void *arg)
{
	for (int i = 0; i < 20; i++)
		gs_go(only_nest, NULL);
	UNTIL(LOAD(done) == 20);
}

/* gs_nopreempt nests; after the last end a fiber parks as before */
TEST(nopreempt_nests)
{
	RUN(nests, NULL);
}

static void allowed(void *arg)
{
	struct timespec ts = {.tv_nsec = 100000};

	for (long i = 1; i <= 50; i++) {
		gs_nopreempt_begin();
		CHECK_EQ(gs_go(count, NULL), 0);
		CHECK_NE(gs_id(), 0u);
		CHECK_GE(gs_num_fibers(), 1u);
		nanosleep(&ts, NULL); /* blocks, and holds the proc */
		CHECK_EQ(LOAD(done), i - 1);
		gs_nopreempt_end();
		UNTIL(LOAD(done) == i);
	}
}

/* between begin and end: starting fibers and blocking is allowed, and the proc is kept */
TEST(nopreempt_keeps_proc)
{
	ut_set_procs(1);
	RUN(allowed, NULL);
}

static void park_inside(void *arg)
{
	gs_nopreempt_begin();
	if ((long)arg & 1)
		gs_nopreempt_begin();
	if ((long)arg & 2) {
		gs_go(count, NULL);
		gs_yield();
	} else {
		gs_sleep(MS);
	}
	_exit(50);
}

static void run_park_inside(void *arg)
{
	ut_set_procs(1);
	gs_run(park_inside, arg);
	_exit(51);
}

/* parking between begin and end panics: sleep, yield with others waiting, nested or not */
TEST(nopreempt_park_panics)
{
	for (long i = 0; i < 4; i++) {
		struct ut_child *c = ut_child_run(run_park_inside, (void *)i, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, "gs_nopreempt_begin");
		free(c);
	}
}

static void end_inside(void *arg)
{
	gs_nopreempt_begin();
	if (arg)
		gs_exit();
}

static void receive(void *arg)
{
	gs_sleep(MS);
	_exit(50);
}

static void run_end_inside(void *arg)
{
	ut_set_procs(1);
	if (arg == (void *)2) {
		/* gs_run's own, which returns when it ends */
		gs_run(end_inside, NULL);
		_exit(51);
	}
	gs_go(end_inside, arg);
	gs_run(receive, NULL);
	_exit(51);
}

/* and so does the end of a fiber, which would leave it to the next one */
TEST(nopreempt_end_panics)
{
	for (long i = 0; i < 3; i++) {
		struct ut_child *c = ut_child_run(run_end_inside, (void *)i, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, "fiber ends between gs_nopreempt_begin");
		free(c);
	}
}

/* ------------------------------------------------------------------------- */
/* No hint at all                                                              */

static void expect_handoffs(struct __test_metadata *_metadata)
{
	struct gs_stats s;

	gs_stats(&s);
	EXPECT_GE(s.blocks, ut_count(20, 3));
	EXPECT_GE(s.handoffs, 1);
}

/* without the hint: read(2) of an empty pipe */
TEST(plain_read)
{
	struct block b = {.block = read_pipe, .unblock = write_pipe};

	ut_set_procs(1);
	ASSERT_EQ(0, pipe(pipes));
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

/* without the hint: nanosleep(2) */
TEST(plain_nanosleep)
{
	struct block b = {.block = sleep_a_while, .unblock = wake_up};

	ut_set_procs(1);
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

static uint32_t futex_word; /* atomic */

static void futex_wait(void)
{
	while (!LOAD(futex_word))
		syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, NULL, NULL, 0);
	STORE(futex_word, 0);
}

static void futex_wake(void)
{
	STORE(futex_word, 1);
	syscall(SYS_futex, &futex_word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* without the hint: futex(2) */
TEST(plain_futex)
{
	struct block b = {.block = futex_wait, .unblock = futex_wake};

	ut_set_procs(1);
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int signalled;

static void cond_wait(void)
{
	pthread_mutex_lock(&mutex);
	while (!signalled)
		pthread_cond_wait(&cond, &mutex);
	signalled = 0;
	pthread_mutex_unlock(&mutex);
}

static void cond_signal(void)
{
	pthread_mutex_lock(&mutex);
	signalled = 1;
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&mutex);
}

/* without the hint: foreign code, here glibc's condition variable */
TEST(plain_pthread_cond)
{
	struct block b = {.block = cond_wait, .unblock = cond_signal};

	ut_set_procs(1);
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

static int lock_fd[2];

static void flock_wait(void)
{
	CHECK_EQ(flock(lock_fd[1], LOCK_EX), 0);
	CHECK_EQ(flock(lock_fd[1], LOCK_UN), 0);
	CHECK_EQ(flock(lock_fd[0], LOCK_EX), 0);
}

static void flock_release(void)
{
	CHECK_EQ(flock(lock_fd[0], LOCK_UN), 0);
}

/* without the hint: flock(2) */
TEST(plain_flock)
{
	struct block b = {.block = flock_wait, .unblock = flock_release};
	char path[] = "/tmp/gsched-flock-XXXXXX";

	ut_set_procs(1);
	lock_fd[0] = mkstemp(path);
	ASSERT_GE(lock_fd[0], 0);
	lock_fd[1] = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	ASSERT_GE(lock_fd[1], 0);
	ASSERT_EQ(0, flock(lock_fd[0], LOCK_EX));
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

static void poll_wait(void)
{
	struct pollfd p = {.fd = pipes[0], .events = POLLIN};

	CHECK_EQ(poll(&p, 1, -1), 1);
	read_pipe();
}

/* without the hint: poll(2) */
TEST(plain_poll)
{
	struct block b = {.block = poll_wait, .unblock = write_pipe};

	ut_set_procs(1);
	ASSERT_EQ(0, pipe(pipes));
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

static int uffd;
static char *page;
static char content[4096] = "content";

static void touch_page(void)
{
	CHECK_EQ(*(volatile char *)page, 'c');
	/* gone again for the next round */
	CHECK_EQ(madvise(page, 4096, MADV_REMOVE), 0);
}

static void fill_page(void)
{
	struct uffd_msg msg;
	struct uffdio_copy copy = {.dst = (uintptr_t)page, .src = (uintptr_t)content, .len = 4096};

	CHECK_EQ(read(uffd, &msg, sizeof(msg)), (ssize_t)sizeof(msg));
	CHECK_EQ(ioctl(uffd, UFFDIO_COPY, &copy), 0);
}

/* without the hint: a page fault on a shared file mapping (shmem) that another fiber serves */
TEST(plain_page_fault)
{
	struct block b = {.block = touch_page, .unblock = fill_page};
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd;

	ut_set_procs(1);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		SKIP(return, "no userfaultfd here (%s)", strerror(errno));
	if (ioctl(uffd, UFFDIO_API, &api))
		SKIP(return, "userfaultfd cannot do shmem");
	fd = memfd_create("page", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(fd, 4096));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)page);
	reg.range.start = (uintptr_t)page;
	reg.range.len = 4096;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	RUN(repeat_block, &b);
	expect_handoffs(_metadata);
}

static void share_with_blockers(void *arg)
{
	struct timespec ts = {.tv_nsec = 200000};

	while (!LOAD(stop)) {
		nanosleep(&ts, NULL);
		ADD(done, 1);
		/* without an upcall a lost thread gets its next proc here */
		gs_yield();
	}
}

static void beside_blockers(void *arg)
{
	long n = ut_count(2000, 100);
	uint64_t due = ut_on_kmod() ? (uint64_t)n / 2 : 1;
	struct gs_stats s;

	for (int i = 0; i < 8; i++)
		gs_go(share_with_blockers, NULL);
	/*
	 * sysmon does not see every short sleep, and some are over before the thread is asleep;
	 * whoever came back found a proc, or none
	 */
	UNTIL((gs_stats(&s), LOAD(done) >= n && s.blocks >= due && s.returns + s.lost >= 1));
	STORE(stop, 1);
	UNTIL(gs_num_fibers() == 1);
	gs_stats(&s);
	CHECK_LE(s.handoffs, s.blocks);
}

/* without the hint: eight fibers that block all the time, on any number of procs */
TEST(plain_blockers)
{
	RUN(beside_blockers, NULL);
}

TEST_HARNESS_MAIN
