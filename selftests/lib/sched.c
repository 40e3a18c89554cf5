// SPDX-License-Identifier: GPL-2.0
/* The scheduler: what a switch preserves, and that runnable fibers and free procs meet. */
#include <gsched/chan.h>
#include <pthread.h>

#include "util.h"

static long done; /* atomic */
static int stop;  /* atomic */

static long procs(void)
{
	return gs_max_procs(0);
}

/* ------------------------------------------------------------------------- */
/* What a park preserves                                                       */

static void keep_errno(void *arg)
{
	int mine = (int)(long)arg;

	ut_set_errno(mine);
	for (int i = 0; i < 200; i++) {
		if (i % 50 == 7)
			gs_sleep(20000);
		else
			gs_yield();
		if (!CHECK_EQ(ut_errno(), mine))
			break;
		ut_set_errno(++mine);
	}
	ADD(done, 1);
}

static void many_errnos(void *arg)
{
	for (long i = 0; i < 100; i++)
		gs_go(keep_errno, (void *)(1000 * (i + 1)));
	UNTIL(LOAD(done) == 100);
}

/* errno belongs to the fiber: 100 fibers on all procs, yields and sleeps */
TEST(errno_kept)
{
	RUN(many_errnos, NULL);
}

static void fresh_errno(void *arg)
{
	CHECK_EQ(ut_errno(), 0);
	ut_set_errno(4711);
	ADD(done, 1);
}

static void fresh_errnos(void *arg)
{
	for (long i = 1; i <= 100; i++) {
		ut_set_errno(88);
		gs_go(fresh_errno, NULL);
		UNTIL(LOAD(done) == i);
	}
}

/* a new fiber starts with errno 0, whatever its thread's last one left */
TEST(errno_fresh)
{
	RUN(fresh_errnos, NULL);
}

#ifdef __x86_64__
/* rounding modes, as both control words number them: nearest, down, up, to zero */
static int get_rounding(void)
{
	uint32_t mxcsr = __builtin_ia32_stmxcsr();
	uint16_t cw;

	__asm__ volatile("fnstcw %0" : "=m"(cw));
	return ((mxcsr >> 13) & 3) == ((cw >> 10) & 3u) ? (mxcsr >> 13) & 3 : -1;
}

static void set_rounding(int mode)
{
	uint16_t cw;

	__builtin_ia32_ldmxcsr((__builtin_ia32_stmxcsr() & ~0x6000u) | (uint32_t)mode << 13);
	__asm__ volatile("fnstcw %0" : "=m"(cw));
	cw = (uint16_t)((cw & ~0xc00) | mode << 10);
	__asm__ volatile("fldcw %0" ::"m"(cw));
}

static void keep_rounding(void *arg)
{
	int mode = (int)((long)arg % 4);
	volatile double one = 1, three = 3, r;
	volatile long double lone = 1, lthree = 3, lr;
	double want;
	long double lwant;

	/* each fiber starts with the ABI's words */
	CHECK_EQ(get_rounding(), 0);
	set_rounding(mode);
	want = one / three;
	lwant = lone / lthree;
	for (int i = 0; i < 300; i++) {
		if (i % 60 == 7)
			gs_sleep(20000);
		else
			gs_yield();
		r = one / three;
		lr = lone / lthree;
		if (!CHECK_EQ(get_rounding(), mode) || !CHECK(r == want) || !CHECK(lr == lwant))
			break;
	}
	ADD(done, 1);
}

static void roundings(void *arg)
{
	for (long i = 0; i < 64; i++)
		gs_go(keep_rounding, (void *)i);
	UNTIL(LOAD(done) == 64);
	/* dead ones leave nothing behind in recycled fibers */
	for (long i = 0; i < 64; i++)
		gs_go(keep_rounding, (void *)i);
	UNTIL(LOAD(done) == 128);
	CHECK_EQ(get_rounding(), 0);
}

/* rounding modes of SSE and x87 belong to the fiber, and a new one starts with the default */
TEST(float_control_kept)
{
	RUN(roundings, NULL);
}

/* fills every callee-saved register from seed, calls fn, returns how many changed */
int ut_regs(void (*fn)(void), uint64_t seed);
__asm__("	.text\n"
	"	.globl	ut_regs\n"
	"	.hidden	ut_regs\n"
	"	.type	ut_regs, @function\n"
	"ut_regs:\n"
	"	.cfi_startproc\n"
	"	pushq	%rbp\n"
	"	pushq	%rbx\n"
	"	pushq	%r12\n"
	"	pushq	%r13\n"
	"	pushq	%r14\n"
	"	pushq	%r15\n"
	"	pushq	%rsi\n"
	"	.cfi_def_cfa_offset 64\n"
	"	movq	%rsi, %rbx\n"
	"	leaq	1(%rsi), %rbp\n"
	"	leaq	2(%rsi), %r12\n"
	"	leaq	3(%rsi), %r13\n"
	"	leaq	4(%rsi), %r14\n"
	"	leaq	5(%rsi), %r15\n"
	"	call	*%rdi\n"
	"	movq	(%rsp), %rsi\n"
	"	xorl	%eax, %eax\n"
	"	xorl	%ecx, %ecx\n"
	"	cmpq	%rsi, %rbx\n	setne %cl\n	addl %ecx, %eax\n"
	"	leaq	1(%rsi), %rdx\n	cmpq %rdx, %rbp\n	setne %cl\n	addl %ecx, %eax\n"
	"	leaq	2(%rsi), %rdx\n	cmpq %rdx, %r12\n	setne %cl\n	addl %ecx, %eax\n"
	"	leaq	3(%rsi), %rdx\n	cmpq %rdx, %r13\n	setne %cl\n	addl %ecx, %eax\n"
	"	leaq	4(%rsi), %rdx\n	cmpq %rdx, %r14\n	setne %cl\n	addl %ecx, %eax\n"
	"	leaq	5(%rsi), %rdx\n	cmpq %rdx, %r15\n	setne %cl\n	addl %ecx, %eax\n"
	"	popq	%rsi\n"
	"	popq	%r15\n"
	"	popq	%r14\n"
	"	popq	%r13\n"
	"	popq	%r12\n"
	"	popq	%rbx\n"
	"	popq	%rbp\n"
	"	.cfi_def_cfa_offset 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.size	ut_regs, .-ut_regs\n");

static void short_sleep(void)
{
	gs_sleep(10000);
}

static void keep_regs(void *arg)
{
	uint64_t seed = 0x0123456789ab0000ull + (uint64_t)(long)arg * 16;

	for (int i = 0; i < 300; i++)
		if (!CHECK_EQ(ut_regs(i % 50 == 7 ? short_sleep : gs_yield, seed), 0))
			break;
	ADD(done, 1);
}

static void many_regs(void *arg)
{
	for (long i = 0; i < 64; i++)
		gs_go(keep_regs, (void *)i);
	UNTIL(LOAD(done) == 64);
}

/* callee-saved registers survive yields and sleeps */
TEST(registers_kept)
{
	RUN(many_regs, NULL);
}
#endif

/* ------------------------------------------------------------------------- */
/* Many                                                                        */

static long alive; /* atomic */
static gs_chan *gate;

static void live(void *arg)
{
	volatile char page[1000];

	page[0] = 1;
	ADD(alive, 1);
	/* those that sleep wake now and then, the others all at once */
	while ((long)arg % 8 == 0 && !LOAD(stop))
		gs_sleep(SEC);
	gs_chan_recv(gate, NULL);
	page[999] = page[0];
	ADD(done, 1);
}

static void crowd(void *arg)
{
	long n = (long)arg;

	gate = gs_chan_new(0, 0);
	for (long i = 0; i < n; i++)
		if (!CHECK_EQ(gs_go(live, (void *)i), 0)) {
			n = i;
			break;
		}
	UNTIL_NS(LOAD(alive) == n, 2 * UT_WAIT * SEC);
	CHECK_EQ(LOAD(alive), n);
	CHECK_EQ(gs_num_fibers(), n + 1);
	STORE(stop, 1);
	gs_chan_close(gate);
	UNTIL_NS(LOAD(done) == n, 2 * UT_WAIT * SEC);
	CHECK_EQ(LOAD(done), n);
	UNTIL(gs_num_fibers() == 1);
	gs_chan_unref(gate);
}

/* 100,000 fibers alive at once; on a slow machine in make test-long only */
TEST(hundred_thousand)
{
#ifdef UT_TSAN
	RUN(crowd, (void *)1000l); /* of a limit of 8,128; 4,000 took minutes */
#else
	RUN(crowd, (void *)ut_long(ut_count(100000, 1000), 100000));
#endif
}

struct node {
	struct node *parent;
	long num, size;
	long sum;  /* atomic */
	long left; /* atomic: children that have not reported */
};

static long root_sum, root_done; /* atomic */

static void report(struct node *n)
{
	struct node *up = n->parent;
	long sum = LOAD(n->sum);

	free(n);
	if (!up) {
		STORE(root_sum, sum);
		STORE(root_done, 1);
		return;
	}
	ADD(up->sum, sum);
	if (ADD(up->left, -1) == 0)
		report(up);
}

static void skynet(void *arg)
{
	struct node *n = arg;

	if (n->size == 1) {
		n->sum = n->num;
		report(n);
		return;
	}
	for (long i = 0; i < 10; i++) {
		struct node *c = calloc(1, sizeof(*c));
		long each = n->size / 10;

		c->parent = n;
		c->num = n->num + i * each;
		c->size = each;
		c->left = 10;
		CHECK_EQ(gs_go(skynet, c), 0);
	}
}

static void start_skynet(void *arg)
{
	long size = ut_scale() > 4 ? 1000 : ut_scale() > 1 ? 10000 : 100000;

	for (int round = 0; round < 3; round++) {
		struct node *root = calloc(1, sizeof(*root));

		STORE(root_done, 0);
		root->size = size;
		root->left = 10;
		CHECK_EQ(gs_go(skynet, root), 0);
		UNTIL_NS(LOAD(root_done), 2 * UT_WAIT * SEC);
		CHECK_EQ(LOAD(root_sum), size * (size - 1) / 2);
	}
	UNTIL(gs_num_fibers() == 1);
}

/* a tree of fibers, ten children each, 100,000 leaves, summed up */
TEST(skynet_tree)
{
	RUN(start_skynet, NULL);
}

static void deep(void *arg)
{
	if ((long)arg)
		CHECK_EQ(gs_go(deep, (void *)((long)arg - 1)), 0);
	else
		ADD(done, 1);
}

static void start_deep(void *arg)
{
#ifdef UT_TSAN
	long n = 2000; /* each birth and death is dear there */
#else
	long n = ut_count(100000, 1000);
#endif

	for (int i = 0; i < 8; i++)
		gs_go(deep, (void *)n);
	UNTIL_NS(LOAD(done) == 8, 2 * UT_WAIT * SEC);
	CHECK_EQ(LOAD(done), 8);
}

/* chains of fibers, each the child of the one before */
TEST(deep_chain)
{
	RUN(start_deep, NULL);
}

/* ------------------------------------------------------------------------- */
/* Work and procs meet                                                         */

static long progress[64]; /* atomic */

/* never yields: it ends when it has seen all others move since it began, again and again */
static void watch_others(void *arg)
{
	long me = (long)arg, n = procs(), seen[64] = {0};
	int64_t end = gs_now() + ut_limit(2 * UT_WAIT * SEC);

	for (int round = 0; round < 5; round++) {
		for (long k = 0; k < n; k++) {
			while (LOAD(progress[k]) == seen[k]) {
				ADD(progress[me], 1);
				if (gs_now() > end) {
					CHECK(!"the others stand still");
					goto out;
				}
			}
			seen[k] = LOAD(progress[k]);
		}
	}
out:
	ADD(done, 1);
	/* the others still need to see this one move */
	while (LOAD(done) < n && gs_now() < end)
		ADD(progress[me], 1);
}

static void conserve(void *arg)
{
	long n = procs();

	for (int round = 0; round < 10; round++) {
		STORE(done, 0);
		memset(progress, 0, sizeof(progress));
		for (long i = 1; i < n; i++)
			gs_go(watch_others, (void *)i);
		watch_others((void *)0);
		UNTIL(gs_num_fibers() == 1);
	}
}

/* as many CPU-bound fibers as procs run at the same time: each sees the others' progress */
TEST(work_conservation)
{
	if (atoi(getenv("GSCHED_MAXPROCS") ?: "2") > 64)
		ut_set_procs(64);
	RUN(conserve, NULL);
}

static void finish(void *arg)
{
	ADD(done, 1);
}

static void hog_and_wait(void *arg)
{
	for (long n = 1; n <= 130; n = n < 4 ? n + 1 : n * 2) {
		int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

		STORE(done, 0);
		for (long i = 0; i < n; i++)
			gs_go(finish, NULL);
		/* no yield: only another proc can run them */
		while (LOAD(done) < n && gs_now() < end)
			;
		CHECK_EQ(LOAD(done), n);
	}
}

/* what stands in the queue of a busy proc is stolen, down to the one that would run next */
TEST(stealing)
{
	ut_set_procs(2);
	RUN(hog_and_wait, NULL);
	ASSERT_EQ(2, gs_max_procs(8));
	RUN(hog_and_wait, NULL);
}

static int64_t begun; /* atomic: when the last of them began */

/* keeps its proc and needs no CPU; on kmod the next one gets the proc, which is as good */
static void begin_and_block(void *arg)
{
	int64_t ns = ut_limit(30 * MS);
	struct timespec ts = {.tv_sec = ns / SEC, .tv_nsec = ns % SEC};

	STORE(begun, gs_now());
	ADD(done, 1);
	nanosleep(&ts, NULL);
}

static void *chain_link(void *arg)
{
	pthread_t t;

	STORE(begun, gs_now());
	if (arg && CHECK_EQ(pthread_create(&t, NULL, chain_link, (char *)arg - 1), 0))
		pthread_join(t, NULL);
	return NULL;
}

/* How long it takes until seven threads run, each of which starts the next. */
static int64_t chain_of_threads(void)
{
	int64_t from = gs_now();

	chain_link((void *)7);
	return LOAD(begun) - from;
}

/* How many of these rounds were slow; control: slower than plain threads, too. */
static long slow_bursts(long rounds, bool control)
{
	long slow = 0;

	for (long round = 0; round < rounds; round++) {
		struct timespec ts = {.tv_nsec = MS};
		int64_t most = ut_limit(15 * MS) + (control ? chain_of_threads() : 0);
		int64_t from = gs_now();

		STORE(done, 0);
		for (int i = 0; i < 7; i++)
			gs_go(begin_and_block, NULL);
		/* no yield here */
		while (LOAD(done) < 7 && gs_now() < from + ut_limit(UT_WAIT * SEC))
			nanosleep(&ts, NULL);
		CHECK_EQ(LOAD(done), 7);
		slow += LOAD(begun) - from > most;
		UNTIL(gs_num_fibers() == 1);
	}
	return slow;
}

static void burst(void *arg)
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);
	long rounds = ut_count(40, 20), slow = slow_bursts(rounds, false);

	/* where others use the CPUs everything is slow, now and then: plain threads, too */
	while (slow > rounds / 8 && !LOAD(ut_failed) && gs_now() < end)
		slow = slow_bursts(rounds, true);
	/* each worker that finds work wakes the next, at once: not after a time-out of 20 ms */
	CHECK_LE(slow, rounds / 8);
}

/* a burst of seven fibers spreads over seven idle procs at once */
TEST(burst_spreads)
{
	ut_set_procs(8);
	RUN(burst, NULL);
}

static void wake_all_procs(void *arg)
{
	/* all idle but this one; each new piece of work must wake another */
	for (long i = 0; i < ut_count(300, 20); i++)
		hog_and_wait(NULL);
}

/* lost wake-ups: work given to idle procs, over and over */
TEST(idle_procs_wake)
{
	ut_set_procs(4);
	RUN(wake_all_procs, NULL);
}

/* the same from outside: an ordinary thread's fiber wakes an idle runtime */
TEST(idle_runtime_wakes)
{
	int64_t enough = gs_now() + ut_limit(30 * SEC);
	long n = ut_count(20000, 500);

	/* each may wait for the end of this thread's time slice */
	for (long i = 1; i <= n && gs_now() < enough; i++) {
		int64_t end;

		ASSERT_EQ(0, gs_go(finish, NULL));
		end = gs_now() + ut_limit(UT_WAIT * SEC);
		while (LOAD(done) < i && gs_now() < end)
			if (i % 4 == 0)
				sched_yield();
		ASSERT_EQ(i, LOAD(done));
		/* let the worker park at different depths */
		if (i % 16 == 0)
			gs_sleep(i % 7 * 10000);
	}
	EXPECT_EQ(0, ut_failed);
}

struct relay {
	long hops;
	int next;
};

static void relay_hop(void *arg)
{
	struct relay *r = arg;

	if (r->next) /* sometimes from a timer, sometimes straight */
		gs_sleep(r->hops % 3 * 1000);
	if (--r->hops == 0) {
		ADD(done, 1);
		return;
	}
	CHECK_EQ(gs_go_copy(relay_hop, r, sizeof(*r)), 0);
}

static void relays(void *arg)
{
	struct relay r = {.hops = ut_count(3000, 100)};

	for (int i = 0; i < 6; i++) {
		r.next = i % 2;
		CHECK_EQ(gs_go_copy(relay_hop, &r, sizeof(r)), 0);
	}
	/* sleeps, so that all procs go idle between the hops */
	while (LOAD(done) < 6)
		gs_sleep(MS);
}

/* a few relays that leave the procs idle most of the time never stop */
TEST(sparse_work)
{
	RUN(relays, NULL);
}

static void *go_loop(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		CHECK_EQ(gs_go(finish, NULL), 0);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void spawn_loop(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		CHECK_EQ(gs_go(finish, NULL), 0);
		if (i % 100 == 99)
			gs_yield();
	}
	ADD(done, 1);
}

static void from_all_sides(void *arg)
{
	long n = (long)arg;
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, go_loop, arg), 0);
	for (int i = 0; i < 3; i++)
		gs_go(spawn_loop, arg);
	UNTIL_NS(LOAD(done) == 6 * n + 3, 2 * UT_WAIT * SEC);
	CHECK_EQ(LOAD(done), 6 * n + 3);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

/* threads and fibers start fibers at once: each runs exactly once */
TEST(exactly_once)
{
	RUN(from_all_sides, (void *)ut_count(20000, 500));
	UNTIL(gs_num_fibers() == 0);
	EXPECT_EQ(0, ut_failed);
}

TEST_HARNESS_MAIN
