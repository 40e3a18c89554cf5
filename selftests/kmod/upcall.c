// SPDX-License-Identifier: GPL-2.0
/*
 * Upcalls (9, 10): a thread about to return to user mode is sent to the trampoline
 * instead, unless a rule refuses that. Each rule has a test here that fails without it.
 *
 * The trampoline's tail is made long, so that upcalls fall due there.
 */
#define TRAMP_TAIL "20000"
#include "tramp.h"
#include <linux/rseq.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>

/* What upcalls a thread saw; its own writes, everybody reads. */
struct seen {
	uint32_t n;
	uint32_t reason; /* of the last one */
	uint64_t ip, rax;
	uint32_t in_section; /* interrupted between section[0] and section[1] */
};

static __thread struct seen *me;
static uint64_t section[2];
static int stop, phase; /* atomic */

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)

#define SLICE_NS 1000000

/* A fiber that schedules all the time: the thread's own, but for hasty. */
static struct {
	int on;		  /* atomic */
	uint64_t last;	  /* when the turn began */
	uint64_t longest; /* turn since it was told, including that one */
	bool told;	  /* in this turn */
	int hasty;	  /* atomic: told without a turn of half a slice */
} turns;

static void told_in_turn(void)
{
	if (now_ns() - turns.last < SLICE_NS / 2 && turns.longest < SLICE_NS / 2)
		__atomic_add_fetch(&turns.hasty, 1, __ATOMIC_SEQ_CST);
	turns.told = true;
}

void on_upcall(struct frame *f)
{
	uint32_t reason;

	__asm__ volatile("movl %%gs:20, %0" : "=r"(reason));
	me->reason = reason;
	me->ip = f->ip;
	me->rax = f->rax;
	me->in_section += f->ip >= section[0] && f->ip < section[1];
	if (LOAD(turns.on))
		told_in_turn();
	__atomic_add_fetch(&me->n, 1, __ATOMIC_SEQ_CST);
}

FIXTURE(upcall)
{
	struct ktx k;
	struct puppet a, b, c;
	struct seen seen;
};

/* The first order of a puppet that is to get upcalls. */
static long order_prepare(struct puppet *p, long arg)
{
	char *area = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (area == MAP_FAILED || !tramp_prepare(p->slot, area, 65536))
		return -1;
	me = (struct seen *)arg;
	return k_acquire(p->k);
}

static void open_with_slice(FIXTURE_DATA(upcall) * self, uint64_t slice_ns)
{
	struct gsched_setup setup = k_setup_arg(1);

	tramp_setup(&setup);
	setup.slice_ns = slice_ns;
	k_open_setup(&self->k, &setup);
}

/* One proc, and a, which holds it. */
FIXTURE_SETUP(upcall)
{
	stop = phase = 0;
	section[0] = section[1] = 0;
	memset(&self->seen, 0, sizeof(self->seen));
	open_with_slice(self, SLICE_NS);
	puppet_new(&self->a, &self->k);
	puppet_new(&self->b, &self->k);
	puppet_new(&self->c, &self->k);
	ASSERT_EQ(0, puppet_run(&self->a, order_prepare, (long)&self->seen));
}

FIXTURE_TEARDOWN(upcall) {}

static void user_begin(struct puppet *p)
{
	p->slot->depth = 0;
}

static void user_end(struct puppet *p)
{
	p->slot->depth = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint32_t upcalls(FIXTURE_DATA(upcall) * self)
{
	return LOAD(self->seen.n);
}

/* Kick until the kernel has refused n more times for that reason: each is a way out. */
static bool kick_refused(FIXTURE_DATA(upcall) * self, const char *reason, long n)
{
	char name[32];
	long before;

	snprintf(name, sizeof(name), "refused-%s", reason);
	before = k_fdinfo(&self->k, name);
	return before >= 0 &&
	       until(k_kick(&self->k, 0) == 0 && k_fdinfo(&self->k, name) >= before + n);
}

/* ------------------------------------------------------------------------- */

static void __attribute__((noinline)) spin(void)
{
	while (!LOAD(stop))
		;
}

static long order_spin(struct puppet *p, long depth)
{
	p->slot->depth = depth;
	spin();
	user_end(p);
	return 0;
}

/* KICK: the fiber is interrupted where it is, told why, and goes on. */
TEST_F(upcall, kick)
{
	struct puppet *a = &self->a;
	uint32_t i;

	puppet_start(a, order_spin, 0);
	ASSERT_TRUE(until(a->slot->depth == 0));
	for (i = 1; i <= 200; i++) {
		/* one that comes while the last is being told is told by slot.pending */
		ASSERT_TRUE(until(k_kick(&self->k, 0) == 0 && upcalls(self) >= i));
	}
	EXPECT_EQ(GSCHED_PREEMPT, self->seen.reason);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(a));
	EXPECT_EQ(1, a->slot->depth);
	EXPECT_EQ(1, a->slot->proc);
	EXPECT_EQ(upcalls(self), a->slot->upcalls);
	EXPECT_EQ(0, a->slot->pending & ~GSCHED_PREEMPT);
}

/* Depth raised: no upcall then nor later, but the bit in slot.pending. */
TEST_F(upcall, refused_by_depth)
{
	struct puppet *a = &self->a;

	puppet_start(a, order_spin, 3);
	ASSERT_TRUE(until(a->slot->depth == 3));
	ASSERT_TRUE(kick_refused(self, "depth", 1));
	EXPECT_EQ(GSCHED_PREEMPT, a->slot->pending);
	EXPECT_EQ(0, upcalls(self));
	EXPECT_EQ(3, a->slot->depth);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(a));
	EXPECT_EQ(0, upcalls(self));
}

/* Without a trampoline slot.pending is all that tells. */
TEST_F(upcall, no_trampoline)
{
	struct puppet a;
	struct ktx k;

	k_open(&k, 1);
	EXPECT_EQ(1, k.h->ticking);
	puppet_new(&a, &k);
	ASSERT_EQ(0, puppet_run(&a, order_acquire, 0));
	puppet_start(&a, order_spin, 0);
	ASSERT_TRUE(until(a.slot->depth == 0));
	ASSERT_EQ(0, k_kick(&k, 0));
	EXPECT_TRUE(until(a.slot->pending == GSCHED_PREEMPT));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&a));
	EXPECT_EQ(1, k_fdinfo(&k, "refused-no-trampoline"));
}

/* ------------------------------------------------------------------------- */

static long order_masked(struct puppet *p, long arg)
{
	sigset_t urg;

	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	pthread_sigmask(SIG_BLOCK, &urg, NULL);
	user_begin(p);
	while (!LOAD(phase))
		;
	pthread_sigmask(SIG_UNBLOCK, &urg, NULL);
	STORE(phase, 2);
	spin();
	user_end(p);
	return 0;
}

/* SIGURG masked, as libc does where it must not be moved: later. */
TEST_F(upcall, refused_by_mask)
{
	puppet_start(&self->a, order_masked, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	ASSERT_TRUE(kick_refused(self, "masked", 20));
	EXPECT_EQ(0, upcalls(self));
	STORE(phase, 1);
	EXPECT_TRUE(until(upcalls(self) == 1));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* It is tried at each interrupt; nothing is due when that has ended. */
static bool refusals_stand(struct ktx *k)
{
	const struct timespec ts = {.tv_nsec = 20 * SLICE_NS};
	long n = k_fdinfo(k, "refused-masked");

	nanosleep(&ts, NULL);
	return k_fdinfo(k, "refused-masked") == n;
}

static uint32_t take_pending(struct puppet *p)
{
	return __atomic_exchange_n(&p->slot->pending, 0, __ATOMIC_SEQ_CST);
}

/* ... but not if the runtime has done it meanwhile: another fiber runs there now. */
TEST_F(upcall, heeded_while_refused)
{
	puppet_start(&self->a, order_masked, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	ASSERT_TRUE(kick_refused(self, "masked", 20));
	EXPECT_FALSE(refusals_stand(&self->k));
	EXPECT_EQ(GSCHED_PREEMPT, take_pending(&self->a));
	ASSERT_TRUE(until(!take_pending(&self->a) && refusals_stand(&self->k)));
	STORE(phase, 1);
	ASSERT_TRUE(until(LOAD(phase) == 2));
	EXPECT_EQ(0, upcalls(self));
	/* the next one is another */
	EXPECT_EQ(0, k_kick(&self->k, 0));
	EXPECT_TRUE(until(upcalls(self) == 1));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

static void spin_in_handler(int sig)
{
	STORE(phase, 1);
	while (LOAD(phase) == 1)
		;
}

static long order_sigstack(struct puppet *p, long arg)
{
	stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
	struct sigaction sa = {.sa_handler = spin_in_handler, .sa_flags = SA_ONSTACK};

	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	user_begin(p);
	raise(SIGUSR1);
	spin();
	user_end(p);
	return 0;
}

/* A handler on the alternate signal stack: a fiber could not be left there. Later. */
TEST_F(upcall, refused_by_sigstack)
{
	puppet_start(&self->a, order_sigstack, 0);
	ASSERT_TRUE(until(LOAD(phase) == 1));
	ASSERT_TRUE(kick_refused(self, "sigstack", 20));
	EXPECT_EQ(0, upcalls(self));
	STORE(phase, 2);
	EXPECT_TRUE(until(upcalls(self) == 1));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

static int stepping; /* atomic */

static void on_trap(int sig)
{
	STORE(stepping, 1);
}

static long order_step(struct puppet *p, long arg)
{
	stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
	struct sigaction sa = {.sa_handler = on_trap, .sa_flags = SA_ONSTACK};

	sigaltstack(&ss, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	user_begin(p);
	__asm__ volatile("subq $128, %%rsp\n"
			 "pushfq\n"
			 "orl $0x100, (%%rsp)\n"
			 "popfq\n"
			 "1: cmpl $0, %0\n"
			 "je 1b\n"
			 "pushfq\n"
			 "andl $0xfffffeff, (%%rsp)\n"
			 "popfq\n"
			 "addq $128, %%rsp\n"
			 :
			 : "m"(phase)
			 : "memory", "cc");
	spin();
	user_end(p);
	return 0;
}

/* Single steps, as a debugger makes them: the step would end in the trampoline. Later. */
TEST_F(upcall, refused_by_step)
{
	puppet_start(&self->a, order_step, 0);
	ASSERT_TRUE(until(LOAD(stepping)));
	ASSERT_TRUE(kick_refused(self, "step", 20));
	EXPECT_EQ(0, upcalls(self));
	STORE(phase, 1);
	EXPECT_TRUE(until(upcalls(self) == 1));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* ------------------------------------------------------------------------- */

/*
 * To the 32-bit code at rdi, which comes back by a 64-bit piece of code beside it: that
 * one loads rsp from rdi + 128 and returns.
 */
void enter32(char *code);
__asm__(".text\n"
	"enter32:\n"
	"	pushq %rbx\n	pushq %rbp\n	pushq %r12\n	pushq %r13\n"
	"	pushq %r14\n	pushq %r15\n"
	"	movl $0x2b, %eax\n"
	"	movl %eax, %ds\n"
	"	leaq 1f(%rip), %rax\n"
	"	pushq %rax\n"
	"	movq %rsp, 128(%rdi)\n"
	"	pushq $0x23\n"
	"	pushq %rdi\n"
	"	lretq\n"
	"1:	xorl %eax, %eax\n"
	"	movl %eax, %ds\n"
	"	popq %r15\n	popq %r14\n	popq %r13\n	popq %r12\n"
	"	popq %rbp\n	popq %rbx\n"
	"	ret\n");

/* Sets the byte at code + 140; then until the word at code + 136 is not zero. */
static void write_code32(char *code)
{
	static const unsigned char back[] = {0x48, 0x8b, 0x25, 0x39, 0, 0, 0, 0xc3};
	unsigned char there[7] = {0xc6, 0x05, 0, 0, 0, 0, 1};
	unsigned char loop[16] = {0xa1, 0, 0, 0, 0, 0x85, 0xc0, 0x74, 0xf7, 0xea, 0, 0, 0, 0, 0x33};
	uint32_t here = (uintptr_t)code + 140, flag = (uintptr_t)code + 136,
		 to = (uintptr_t)code + 64;

	memcpy(there + 2, &here, 4);
	memcpy(loop + 1, &flag, 4);
	memcpy(loop + 10, &to, 4);
	memcpy(code, there, sizeof(there));
	memcpy(code + sizeof(there), loop, sizeof(loop));
	memcpy(code + 64, back, sizeof(back));
}

static long order_32bit(struct puppet *p, long code)
{
	user_begin(p);
	enter32((char *)code);
	spin();
	user_end(p);
	return 0;
}

/* 32-bit code: the trampoline is 64-bit. Later. */
TEST_F(upcall, refused_by_mode)
{
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)code);
	write_code32(code);
	puppet_start(&self->a, order_32bit, (long)code);
	ASSERT_TRUE(until(((volatile char *)code)[140]));
	ASSERT_TRUE(kick_refused(self, "mode", 20));
	EXPECT_EQ(0, upcalls(self));
	*(volatile uint32_t *)(code + 136) = 1;
	EXPECT_TRUE(until(upcalls(self) == 1));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* ------------------------------------------------------------------------- */

static int pipefd[2];

static long order_read(struct puppet *p, long arg)
{
	char c = 0;
	long r;

	user_begin(p);
	r = syscall(SYS_read, pipefd[0], &c, 1);
	for (int i = 0; i < 5; i++)
		usleep(1000); /* in and out of the scheduler: nothing new to be told */
	spin();
	user_end(p);
	return r * 1000 + c;
}

/* a blocks, b takes the only proc. */
static bool rob(FIXTURE_DATA(upcall) * self)
{
	return until(self->a.slot->blocks == 1) && puppet_run(&self->b, order_acquire, 0) == 0;
}

/* Back from a read(2) whose proc another has: told right behind the call, which is whole. */
TEST_F(upcall, lost_after_read)
{
	ASSERT_EQ(0, pipe(pipefd));
	puppet_start(&self->a, order_read, 0);
	ASSERT_TRUE(rob(self));
	EXPECT_EQ(0, upcalls(self));
	ASSERT_EQ(1, write(pipefd[1], "x", 1));
	EXPECT_TRUE(until(upcalls(self) == 1));
	EXPECT_EQ(GSCHED_LOST, self->seen.reason);
	EXPECT_EQ(1, self->seen.rax);
	EXPECT_EQ(0, memcmp((char *)self->seen.ip - 2, "\x0f\x05", 2));
	EXPECT_EQ(0, self->a.slot->proc);
	EXPECT_EQ(1, self->a.slot->lost);
	STORE(stop, 1);
	EXPECT_EQ(1000 + 'x', puppet_finish(&self->a));
	/* Once, though it looked for a proc again each time it had slept. */
	EXPECT_EQ(1, upcalls(self));
}

static long order_touch(struct puppet *p, long page)
{
	long c;

	user_begin(p);
	c = *(volatile char *)page;
	spin();
	user_end(p);
	return c;
}

/* Back from a page fault: told in front of the access, which is then made. */
TEST_F(upcall, lost_after_fault)
{
	char *page;
	int uffd = k_uffd(&page, 4096);

	ASSERT_LE(0, uffd);
	puppet_start(&self->a, order_touch, (long)page);
	ASSERT_TRUE(rob(self));
	ASSERT_EQ(0, k_uffd_fill(uffd, page));
	EXPECT_TRUE(until(upcalls(self) == 1));
	EXPECT_EQ(GSCHED_LOST, self->seen.reason);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, upcalls(self));
}

/* Lost and refused: told in slot.pending at once, by upcall when that can be. */
TEST_F(upcall, lost_while_masked)
{
	static struct puppet x;
	sigset_t urg, old;

	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	ASSERT_EQ(0, pipe(pipefd));
	pthread_sigmask(SIG_BLOCK, &urg, &old);
	puppet_new(&x, &self->k);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	EXPECT_EQ(0, puppet_run(&self->a, order_detach, 0));
	ASSERT_EQ(0, puppet_run(&x, order_prepare, (long)&self->seen));
	puppet_start(&x, order_read, 0);
	ASSERT_TRUE(until(x.slot->blocks == 1));
	ASSERT_EQ(0, puppet_run(&self->b, order_acquire, 0));
	ASSERT_EQ(1, write(pipefd[1], "x", 1));
	EXPECT_TRUE(until(x.slot->pending == GSCHED_LOST));
	EXPECT_TRUE(until(k_fdinfo(&self->k, "refused-masked") > 3));
	EXPECT_EQ(0, upcalls(self));
	EXPECT_EQ(1, x.slot->lost);
	STORE(stop, 1);
	EXPECT_EQ(1000 + 'x', puppet_finish(&x));
}

/* ------------------------------------------------------------------------- */

static long order_poll(struct puppet *p, long arg)
{
	struct pollfd fd = {.fd = pipefd[0], .events = POLLIN};
	long r;

	user_begin(p);
	r = syscall(SYS_poll, &fd, 1, -1);
	spin();
	user_end(p);
	return r * 1000 + fd.revents;
}

/* A child of ours interrupts the thread, as a debugger does. */
static int tracer(int tid, int rounds)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL))
		return 2;
	while (rounds--) {
		if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) ||
		    waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status) ||
		    ptrace(PTRACE_CONT, tid, NULL, NULL))
			return 3;
	}
	return 0;
}

/* restart_syscall: what is to be restarted belongs to the thread. After it. */
TEST_F(upcall, refused_by_restart)
{
	int status = -1;
	pid_t pid;

	/* poll(2) goes on by that call, too, and however late the debugger comes */
	ASSERT_EQ(0, pipe(pipefd));
	puppet_start(&self->a, order_poll, 0);
	ASSERT_TRUE(rob(self));
	pid = fork();
	if (pid == 0)
		_exit(tracer(self->a.tid, 20));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	/* when the debugger is gone the thread may be on its way out of the kernel */
	EXPECT_TRUE(until(k_fdinfo(&self->k, "refused-restart") >= 1));
	EXPECT_EQ(0, upcalls(self));
	ASSERT_EQ(1, write(pipefd[1], "x", 1));
	EXPECT_TRUE(until(upcalls(self) == 1));
	/* poll's result, not the number of the call that goes on with it */
	EXPECT_EQ(1, self->seen.rax);
	STORE(stop, 1);
	EXPECT_EQ(1000 + POLLIN, puppet_finish(&self->a));
}

/* Code of one call's instruction, in a page of its own, and the number of the call. */
struct restart {
	char *page;
	long nr;
};

static long order_restart(struct puppet *p, long arg)
{
	const struct restart *c = (const struct restart *)arg;
	long r = c->nr;

	user_begin(p);
	__asm__ volatile("call *%1"
			 : "+a"(r)
			 : "r"(c->page)
			 : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	spin();
	user_end(p);
	return r;
}

/* The thread is back in user mode already, and has to fetch the instruction that calls. */
static void before_restart(struct __test_metadata *_metadata, FIXTURE_DATA(upcall) * self,
			   const char *insn, long nr)
{
	static char code[4096] __attribute__((aligned(4096)));
	struct uffdio_copy copy = {.src = (uintptr_t)code, .len = sizeof(code)};
	struct restart c = {.nr = nr};
	int uffd = k_uffd(&c.page, sizeof(code));

	memcpy(code, insn, 3);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, mprotect(c.page, sizeof(code), PROT_READ | PROT_EXEC));
	puppet_start(&self->a, order_restart, (long)&c);
	ASSERT_TRUE(rob(self));
	copy.dst = (uintptr_t)c.page;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	EXPECT_TRUE(until(upcalls(self) == 1));
	/* behind it: nothing was to be gone on with */
	EXPECT_EQ((uintptr_t)c.page + 2, self->seen.ip);
	EXPECT_EQ((uint64_t)-EINTR, self->seen.rax);
	/* and once more for each interrupt before that instruction */
	EXPECT_LE(1, k_fdinfo(&self->k, "refused-restart"));
	STORE(stop, 1);
	EXPECT_EQ(-EINTR, puppet_finish(&self->a));
}

TEST_F(upcall, refused_before_restart)
{
	before_restart(_metadata, self, "\x0f\x05\xc3" /* syscall, ret */, SYS_restart_syscall);
}

/* By the instruction and the number of 32-bit code, which works in 64-bit code. */
TEST_F(upcall, refused_before_int80)
{
	before_restart(_metadata, self, "\xcd\x80\xc3" /* int $0x80, ret */, 0);
}

/* ------------------------------------------------------------------------- */

extern char rs_start[], rs_end[], rs_abort[];

static long aborted; /* atomic */

/* Restartable sequences until stop; counts those aborted. */
static long order_rseq(struct puppet *p, long arg)
{
	struct rseq *rs = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	struct rseq_cs cs __attribute__((aligned(32))) = {
		.start_ip = (uintptr_t)rs_start,
		.post_commit_offset = rs_end - rs_start,
		.abort_ip = (uintptr_t)rs_abort,
	};

	user_begin(p);
	__asm__ volatile("jmp 1f\n"
			 ".long 0x53053053\n"
			 "rs_abort:\n"
			 "incq %0\n"
			 "1: movq %1, %2\n"
			 "rs_start:\n"
			 "cmpl $0, %3\n"
			 "je rs_start\n"
			 "rs_end:\n"
			 : "+m"(aborted)
			 : "r"(&cs), "m"(rs->rseq_cs), "m"(stop)
			 : "memory", "cc");
	user_end(p);
	return 0;
}

/* An rseq section is aborted first: none is ever interrupted in the middle. */
TEST_F(upcall, rseq)
{
	uint32_t i;

	if (!__rseq_size)
		SKIP(return, "libc has not registered rseq");
	section[0] = (uintptr_t)rs_start;
	section[1] = (uintptr_t)rs_end;
	puppet_start(&self->a, order_rseq, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	for (i = 1; i <= 100; i++) {
		ASSERT_TRUE(until(k_kick(&self->k, 0) == 0 && upcalls(self) >= i));
	}
	/* on one CPU the kick finds it preempted, and so aborted, already */
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		EXPECT_TRUE(
			until(k_kick(&self->k, 0) == 0 && k_fdinfo(&self->k, "refused-rseq") >= 1));
	/* each may have come between two sections */
	EXPECT_TRUE(until(k_kick(&self->k, 0) == 0 && LOAD(aborted) >= 1));
	EXPECT_EQ(0, self->seen.in_section);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

static bool kick_many(FIXTURE_DATA(upcall) * self)
{
	int i;

	for (i = 0; i < 200; i++)
		k_kick(&self->k, 0);
	return upcalls(self) >= 100;
}

/* Kicks faster than upcalls: none nests in the tail of another. */
TEST_F(upcall, refused_in_tail)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "kicks come between its turns here, not into them");
	section[0] = (uintptr_t)up_entry;
	section[1] = (uintptr_t)up_end;
	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	ASSERT_TRUE(spin_until(kick_many(self) && k_fdinfo(&self->k, "refused-tail") > 0));
	EXPECT_EQ(0, self->seen.in_section);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, self->a.slot->depth);
}

/* ------------------------------------------------------------------------- */

/* A queue that a retired proc left behind is demand for all: nobody is scheduled there. */
TEST_F(upcall, retired_queue)
{
	struct ktx *k = &self->k;
	struct seen others = {0};

	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(1, k_set_procs(k, 2));
	ASSERT_EQ(1, puppet_run(&self->b, order_prepare, (long)&others));
	ASSERT_TRUE(puppet_standby(&self->c));
	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	k_queue(k, 1, 1);
	EXPECT_EQ(2, k_set_procs(k, 1));
	/* its owner serves it still, and nobody else's */
	EXPECT_EQ(0, k->h->ticking);
	puppet_start(&self->b, order_read, 0);
	EXPECT_TRUE(until(upcalls(self) > 2));
	EXPECT_EQ(GSCHED_PREEMPT, self->seen.reason);
	k_drain(k, 1);
	EXPECT_TRUE(until(k->h->ticking == 0));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
	EXPECT_EQ(1, write(pipefd[1], "x", 1));
	puppet_finish(&self->b);
}

/* Alone a fiber is left alone; when others wait, and can be served, its slice ends. */
TEST_F(upcall, slice)
{
	struct ktx *k = &self->k;
	uint32_t told;
	long ticks;

	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	EXPECT_EQ(0, k_fdinfo(k, "ticks"));
	EXPECT_EQ(0, k->h->ticking);

	/* nobody to serve it */
	k_queue(k, 0, 1);
	EXPECT_EQ(0, k_tick(k));
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > 40));
	EXPECT_EQ(1, k->h->ticking);
	EXPECT_EQ(0, upcalls(self));
	EXPECT_EQ(0, k_fdinfo(k, "preempts"));

	/* it can give its proc to a bound fiber's worker itself */
	STORE(k->h->bound_runnable, 1);
	EXPECT_TRUE(until(upcalls(self) > 10));
	STORE(k->h->bound_runnable, 0);

	ASSERT_TRUE(puppet_standby(&self->b));
	told = upcalls(self);
	EXPECT_TRUE(until(upcalls(self) > told + 10));
	EXPECT_EQ(GSCHED_PREEMPT, self->seen.reason);

	/* nobody waits: it stands soon */
	k_drain(k, 0);
	EXPECT_TRUE(until(k->h->ticking == 0));
	ticks = k_fdinfo(k, "ticks");
	/* the last one by slice may still be on its way */
	told = upcalls(self);
	EXPECT_TRUE(until(k_kick(k, 0) == 0 && upcalls(self) >= told + 2));
	EXPECT_EQ(ticks, k_fdinfo(k, "ticks"));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* A grant that waits for a worker's next PARK is no reason to let it run for ever. */
TEST_F(upcall, slice_with_grant)
{
	struct ktx *k = &self->k;

	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	ASSERT_EQ(1, k_set_procs(k, 2));
	ASSERT_EQ(1, k_unpark(k, GSCHED_UNPARK_WORKER, self->a.w));
	ASSERT_TRUE(puppet_standby(&self->b));
	k_queue(k, 0, 1);
	EXPECT_EQ(0, k_tick(k));
	EXPECT_TRUE(until(upcalls(self) > 0));
	k_drain(k, 0);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

static long order_read_inside(struct puppet *p, long arg)
{
	long r;
	char c;

	/* with the depth raised: it keeps its proc */
	r = syscall(SYS_read, pipefd[0], &c, 1);
	spin();
	return r;
}

/* Is the timer off? It fires eight times a slice. */
static bool ticks_stand(struct ktx *k)
{
	const struct timespec slices = {.tv_nsec = 20 * SLICE_NS};
	long ticks = k_fdinfo(k, "ticks");

	nanosleep(&slices, NULL);
	return k_fdinfo(k, "ticks") == ticks;
}

/* The tick of an only proc ends when its owner's thread has looked, which may be asleep. */
TEST_F(upcall, owner_ends_tick)
{
	struct puppet *a = &self->a;
	struct ktx *k = &self->k;
	long ticks;

	ASSERT_EQ(0, pipe(pipefd));
	puppet_start(a, order_read_inside, 0);
	ASSERT_TRUE(until(a->slot->depth_blocks > 0 && puppet_asleep(a)));
	k_queue(k, 0, 1);
	EXPECT_EQ(0, k_tick(k));
	/* one that sleeps cannot give way: it is not watched, whatever waits */
	EXPECT_TRUE(until(ticks_stand(k)));
	/* who queues something has no reason to call TICK */
	EXPECT_EQ(1, k->h->ticking);
	ticks = k_fdinfo(k, "ticks");
	EXPECT_TRUE(ticks_stand(k));
	/* it comes back and sees that */
	ASSERT_EQ(1, write(pipefd[1], "x", 1));
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > ticks + 10));
	EXPECT_EQ(1, k->h->ticking);
	k_drain(k, 0);
	EXPECT_TRUE(until(k->h->ticking == 0));
	STORE(stop, 1);
	EXPECT_EQ(1, puppet_finish(a));
}

/* A debugger: stops the thread, says so, and lets it go when it hears something. */
static int debugger(pid_t tid, int in, int out)
{
	int status;
	char c;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
		return 1;
	if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
		return 2;
	if (write(out, "x", 1) != 1 || read(in, &c, 1) != 1)
		return 3;
	return ptrace(PTRACE_DETACH, tid, NULL, NULL) ? 4 : 0;
}

/* Nor is one that is stopped: no timer for a program that does not run. */
TEST_F(upcall, stopped_is_not_watched)
{
	struct ktx *k = &self->k;
	int in[2], out[2], status;
	pid_t child;
	long ticks;
	char c;

	ASSERT_EQ(0, pipe(in));
	ASSERT_EQ(0, pipe(out));
	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	k_queue(k, 0, 1);
	EXPECT_EQ(0, k_tick(k));
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > 10));
	child = fork();
	if (!child)
		_exit(debugger(self->a.tid, in[0], out[1]));
	ASSERT_LT(0, child);
	ASSERT_EQ(1, read(out[0], &c, 1));
	EXPECT_TRUE(until(ticks_stand(k)));
	ticks = k_fdinfo(k, "ticks");
	ASSERT_EQ(1, write(in[1], "x", 1));
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > ticks + 10));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	k_drain(k, 0);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* Nor is one that has no CPU, for others have it, or its cgroup no time. */
TEST_F(upcall, preempted_is_not_watched)
{
	struct sched_param param = {.sched_priority = 1}, zero = {0};
	struct ktx *k = &self->k;
	cpu_set_t all, one;
	long before, after;
	uint64_t end;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(0, sched_setaffinity(self->a.tid, sizeof(one), &one));
	puppet_start(&self->a, order_spin, 0);
	ASSERT_TRUE(until(self->a.slot->depth == 0));
	k_queue(k, 0, 1);
	EXPECT_EQ(0, k_tick(k));
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > 10));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &param));
	/* it has been seen without */
	for (end = now_ns() + 20 * SLICE_NS; now_ns() < end;)
		;
	before = k_fdinfo(k, "ticks");
	for (end = now_ns() + 20 * SLICE_NS; now_ns() < end;)
		;
	after = k_fdinfo(k, "ticks");
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &zero));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(all), &all));
	EXPECT_EQ(before, after);
	/* and watched again when it runs */
	EXPECT_TRUE(until(k_fdinfo(k, "ticks") > after + 10));
	k_drain(k, 0);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

static long order_reschedule(struct puppet *p, long least)
{
	uint64_t now, gap;

	user_begin(p);
	turns.last = now_ns();
	STORE(turns.on, 1);
	while (!LOAD(stop)) {
		now = now_ns();
		gap = now - turns.last;
		if (gap < (uint64_t)least)
			continue;
		turns.last = now;
		if (turns.told || gap > turns.longest)
			turns.longest = gap;
		turns.told = false;
		p->k->p[0].tick++;
	}
	user_end(p);
	return 0;
}

/* a takes turns that are so long, b could serve who waits; for so many looks nobody is told. */
static bool not_told_in_turns(FIXTURE_DATA(upcall) * self, uint64_t least, long looks)
{
	struct ktx *k = &self->k;
	long ticks;

	puppet_start(&self->a, order_reschedule, least);
	if (!until(self->a.slot->depth == 0) || !puppet_standby(&self->b))
		return false;
	k_queue(k, 0, 1);
	if (k_tick(k) || !until(LOAD(turns.on)))
		return false;
	ticks = k_fdinfo(k, "ticks");
	return until(k_fdinfo(k, "ticks") > ticks + looks) && LOAD(turns.hasty) == 0;
}

/*
 * Who schedules within his slice is not told, however long it goes on: but for those turns
 * that the machine makes longer, by keeping the thread from running.
 */
TEST_F(upcall, slice_begins_anew)
{
	EXPECT_TRUE(not_told_in_turns(self, 0, 500));
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* A third of a slice is enough while a bound fiber waits. */
TEST_F(upcall, slice_while_bound_waits)
{
	EXPECT_TRUE(not_told_in_turns(self, SLICE_NS * 45 / 100, 100));
	STORE(self->k.h->bound_runnable, 1);
	EXPECT_TRUE(until(LOAD(turns.hasty) > 20));
	STORE(self->k.h->bound_runnable, 0);
	STORE(stop, 1);
	EXPECT_EQ(0, puppet_finish(&self->a));
}

/* Queues a fiber and calls TICK: was the caller told to give way, there and then? */
static bool told_by_tick(struct puppet *p)
{
	struct ktx *k = p->k;
	bool told;

	p->slot->pending = 0;
	k_queue(k, 0, 1);
	k_tick(k);
	told = p->slot->pending & GSCHED_PREEMPT;
	k_drain(k, 0);
	return told;
}

/* The same when the slice has hardly begun, by what begin() does. */
static bool told_early(struct puppet *p, void (*begin)(struct puppet *p))
{
	uint64_t since;
	bool told;

	do {
		if (!until(p->k->h->ticking == 0))
			return true;
		begin(p);
		since = now_ns();
		told = told_by_tick(p);
		/* else the machine kept the thread from running */
	} while (now_ns() - since > SLICE_NS / 4);
	return told;
}

static void begin_by_schedule(struct puppet *p)
{
	p->k->p[0].tick++;
}

/* Longer than a slice, with nobody else there to get the proc. */
static void begin_by_return(struct puppet *p)
{
	struct timespec ts = {.tv_nsec = 2 * SLICE_NS};

	user_begin(p);
	nanosleep(&ts, NULL);
	user_end(p);
}

static long order_outstay(struct puppet *p, long arg)
{
	uint64_t end = now_ns() + 2 * SLICE_NS;

	while (now_ns() < end)
		;
	return told_by_tick(p) | told_early(p, begin_by_schedule) << 1 |
	       told_early(p, begin_by_return) << 2;
}

/* Who had his slice while nobody waited gives way as soon as somebody does. */
TEST_F(upcall, over_at_once)
{
	ASSERT_TRUE(puppet_standby(&self->b));
	EXPECT_EQ(1, puppet_run(&self->a, order_outstay, 0));
}

static long order_park_and_spin(struct puppet *p, long inside)
{
	long r = k_park(p->k, 0, 0);

	if (r < 0)
		return r;
	if (!inside)
		user_begin(p);
	spin();
	if (!inside)
		user_end(p);
	return r;
}

/* A proc that is handed over with fibers in its queue: the tick starts by itself. */
TEST_F(upcall, slice_after_handoff)
{
	struct ktx *k = &self->k;

	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(-EAGAIN, puppet_run(&self->b, order_prepare, (long)&self->seen));
	puppet_start(&self->b, order_park_and_spin, 0);
	puppet_start(&self->c, order_park_and_spin, 1);
	ASSERT_TRUE(until(k->h->standby == 2));
	k_queue(k, 0, 2);
	EXPECT_EQ(0, k->h->ticking);
	puppet_start(&self->a, order_read, 0);
	ASSERT_TRUE(until(self->a.slot->handoffs == 1));
	/* whichever of the two got it, the other may serve the rest */
	EXPECT_TRUE(until(k_fdinfo(k, "preempts") > 0));
	STORE(stop, 1);
	ASSERT_EQ(1, write(pipefd[1], "x", 1));
	EXPECT_EQ(1000 + 'x', puppet_finish(&self->a));
}

TEST_HARNESS_MAIN
