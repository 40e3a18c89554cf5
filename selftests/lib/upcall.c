// SPDX-License-Identifier: GPL-2.0
/*
 * The trampoline, instruction by instruction. An upcall is made by hand, as the kernel makes
 * it, and single-stepped: at each step an unwinder must find its way from the trampoline
 * into the interrupted function or stop, and the vector registers may be overwritten by
 * the runtime without the fiber noticing.
 */
#include <cpuid.h>
#include <ucontext.h>
#include <unwind.h>

#include "util.h"

#if defined(__x86_64__) && !defined(UT_TSAN)

/* libgo-user/src/arch/x86_64/upcall.S */
extern char gs_upcall_entry[], gs_upcall_end[];

#define TF 0x100

/* The interrupted functions: an int3 where the upcall comes. */
void victim(void);
void victim_vectors(const void *in, void *out);
extern char victim_end[], victim_resume[], victim_vectors_resume[];
uintptr_t victim_caller; /* the return address of victim */

__asm__(".text\n"
	".globl victim, victim_end, victim_resume, victim_vectors, victim_vectors_resume\n"
	".hidden victim, victim_end, victim_resume, victim_vectors, victim_vectors_resume\n"
	".type victim, @function\n"
	"victim:\n"
	"	.cfi_startproc\n"
	"	movq	(%rsp), %rax\n"
	"	movq	%rax, victim_caller(%rip)\n"
	"	pushq	%rbx\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %rbx, 0\n"
	"	pushq	%rbp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %rbp, 0\n"
	"	pushq	%r12\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %r12, 0\n"
	"	pushq	%r13\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %r13, 0\n"
	"	pushq	%r14\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %r14, 0\n"
	"	pushq	%r15\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %r15, 0\n"
	"	movq	$0x1003, %rbx\n"
	"	movq	$0x1006, %rbp\n"
	"	movq	$0x100c, %r12\n"
	"	movq	$0x100d, %r13\n"
	"	movq	$0x100e, %r14\n"
	"	movq	$0x100f, %r15\n"
	"	int3\n"
	"victim_resume:\n"
	"	nop\n"
	"	nop\n"
	"	popq	%r15\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq	%r14\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq	%r13\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq	%r12\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq	%rbp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq	%rbx\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size victim, .-victim\n"
	".type victim_vectors, @function\n"
	"victim_vectors:\n"
	"	.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu	32*\\n(%rdi), %ymm\\n\n"
	"	.endr\n"
	"	int3\n"
	"victim_vectors_resume:\n"
	"	nop\n"
	"	nop\n"
	"	.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu	%ymm\\n, 32*\\n(%rsi)\n"
	"	.endr\n"
	"	vzeroupper\n"
	"	ret\n"
	"victim_end:\n"
	".size victim_vectors, .-victim_vectors\n");

static bool inside; /* an upcall is being stepped */
static bool overwrite;
static long steps, unwound, ended, astray, overwritten;
static bool unwinds; /* it did so at an earlier step of this upcall */

struct walk {
	uintptr_t ip;
	int stage; /* 0 above the trampoline, 1 in it, 2 in the victim, 3 in its caller */
	bool bad;
};

static _Unwind_Reason_Code step_up(struct _Unwind_Context *c, void *arg)
{
	static const int saved[] = {3, 6, 12, 13, 14, 15};
	struct walk *w = arg;
	int before;
	uintptr_t ip = _Unwind_GetIPInfo(c, &before);

	switch (w->stage) {
	case 0:
		if (ip == w->ip)
			w->stage = 1;
		return _URC_NO_REASON;
	case 1:
		if (!ip)
			return _URC_END_OF_STACK;
		w->stage = 2;
		w->bad = ip != (uintptr_t)victim_resume;
		for (size_t i = 0; i < sizeof(saved) / sizeof(saved[0]) && !w->bad; i++)
			w->bad = _Unwind_GetGR(c, saved[i]) != 0x1000u + (unsigned int)saved[i];
		return w->bad ? _URC_END_OF_STACK : _URC_NO_REASON;
	default:
		w->stage = 3;
		w->bad = ip != victim_caller;
		return _URC_END_OF_STACK;
	}
}

/* Stopping at the trampoline is right only as long as nothing has been saved yet. */
static void look_up(uintptr_t ip)
{
	struct walk w = {.ip = ip};

	_Unwind_Backtrace(step_up, &w);
	if (w.stage == 3 && !w.bad) {
		unwinds = true;
		unwound++;
	} else if (w.stage == 1 && !unwinds) {
		ended++;
	} else {
		astray++;
		ut_fail(__FILE__, __LINE__, "astray at gs_upcall_entry + %ld, stage %d",
			(long)(ip - (uintptr_t)gs_upcall_entry), w.stage);
	}
}

/* As the C code of the runtime might. */
static void overwrite_vectors(ucontext_t *uc)
{
	char *fp = (char *)uc->uc_mcontext.fpregs;

	memset(fp + 160, 0xee, 256);	/* xmm */
	memset(fp + 576, 0xee, 256);	/* the upper halves */
	*(uint64_t *)(fp + 512) |= 0x6; /* both are in use */
	overwritten++;
}

static void on_trap(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	greg_t *r = uc->uc_mcontext.gregs;
	uintptr_t ip = (uintptr_t)r[REG_RIP];

	if (!inside) {
		/* what kmod/arch/x86/upcall.c does; reason: preempted */
		__asm__ volatile("movq %0, %%gs:8" : : "r"(ip));
		__asm__ volatile("movl $2, %gs:20\n"
				 "movl $1, %gs:0");
		r[REG_RIP] = (greg_t)(uintptr_t)gs_upcall_entry;
		r[REG_EFL] |= TF;
		inside = true;
		unwinds = false;
		return;
	}
	if (ip >= (uintptr_t)victim && ip < (uintptr_t)victim_end) {
		r[REG_EFL] &= ~TF;
		inside = false;
		return;
	}
	steps++;
	if (ip < (uintptr_t)gs_upcall_entry || ip >= (uintptr_t)gs_upcall_end) {
		if (overwrite)
			overwrite_vectors(uc);
	} else if (!overwrite) {
		look_up(ip);
	}
}

/* A worker's slot is at gs, and it has an area for upcalls; else there is no trampoline. */
static bool have_trampoline(void)
{
	uint64_t area = 0;
	unsigned long base;

	__asm__ volatile("rdgsbase %0" : "=r"(base));
	if (base)
		__asm__ volatile("movq %%gs:40, %0" : "=r"(area));
	return area != 0;
}

static bool skipped;

static void unwind_main(void *arg)
{
	if (!have_trampoline()) {
		skipped = true;
		return;
	}
	victim();
	fprintf(stderr, "# %ld steps, %ld unwound, %ld ended\n", steps, unwound, ended);
	CHECK_EQ(astray, 0);
	/* the frame is complete for most of the way; the C code is stepped over, too */
	CHECK_GE(unwound, 30);
	CHECK_GE(ended, 5);
	CHECK_GE(steps, unwound + ended + 10);
}

static void vectors_main(void *arg)
{
	char in[512], out[512];
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_AVX) || !have_trampoline()) {
		skipped = true;
		return;
	}
	for (int i = 0; i < 512; i++)
		in[i] = (char)(i * 7 + 1);
	memset(out, 0, sizeof(out));
	overwrite = true;
	for (int i = 0; i < 3; i++) {
		victim_vectors(in, out);
		CHECK_EQ(memcmp(in, out, sizeof(in)), 0);
	}
	CHECK_GE(overwritten, 3);
}

static void trap(void)
{
	struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	sigaction(SIGTRAP, &sa, NULL);
	ut_set_procs(1);
}

/* from each instruction of the trampoline an unwinder gets to the interrupted function */
TEST(unwind)
{
	trap();
	RUN(unwind_main, NULL);
	if (skipped)
		SKIP(return, "no trampoline here");
}

/* whatever the runtime does to the vector registers, the fiber has its own again */
TEST(vectors)
{
	trap();
	RUN(vectors_main, NULL);
	if (skipped)
		SKIP(return, "no trampoline, or no AVX");
}

#else

TEST(nothing)
{
	SKIP(return, "no trampoline here");
}

#endif

TEST_HARNESS_MAIN
