// SPDX-License-Identifier: GPL-2.0
/*
 * exec of a program that may do more than its caller, while upcalls fall due faster than
 * instructions of user mode: the new program must not be sent anywhere, not once.
 *
 * The trampoline lies where the new program has nothing, so that it would die of it. The
 * caller is nobody, in the group that may use the device.
 */
#include "kutil.h"
#include <asm/prctl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define PROGRAM "/tmp/gsched-setuid"
#define NOBODY 65534
#define GROUP 990
#define TRAMPOLINE 0x7000000000ul
#define EXECED_WELL 42

extern char su_entry[], su_end[];

/* Goes back to where it came from; of the registers it touches none, nor the flags. */
__asm__(".text\n"
	"su_entry:\n"
	"	movq %rax, %gs:24\n"
	"	movl %gs:0, %eax\n"
	"	leal -1(%rax), %eax\n"
	"	movl %eax, %gs:0\n"
	"	movq %gs:24, %rax\n"
	"	jmp *%gs:8\n"
	"su_end:\n");

/* A copy of this program that belongs to root and is setuid. */
static bool make_program(void)
{
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(PROGRAM, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	struct stat st;
	bool ok;

	ok = in >= 0 && out >= 0 && !fstat(in, &st) &&
	     sendfile(out, in, NULL, st.st_size) == st.st_size && !fchmod(out, 04755);
	close(in);
	close(out);
	return ok;
}

static long order_exec(struct puppet *p, long unused)
{
	char *argv[] = {PROGRAM, "--setuid", NULL};

	if (syscall(SYS_arch_prctl, ARCH_SET_GS, p->slot))
		return -1;
	p->slot->depth = 0;
	/* They do come. */
	while (p->slot->upcalls < 20)
		;
	syscall(SYS_execve, PROGRAM, argv, environ);
	return -errno;
}

static struct ktx k;

static void *kicker(void *unused)
{
	for (;;)
		k_kick(&k, 0);
	return NULL;
}

/* As the first thread or as another one; the descriptor is closed by exec or stays open. */
static int caller(bool first, bool cloexec)
{
	static struct puppet a, b;
	struct gsched_setup setup = k_setup_arg(1);
	gid_t group = GROUP;
	pthread_t t;
	void *page;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setgroups(1, &group) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	page = mmap((void *)TRAMPOLINE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page != (void *)TRAMPOLINE)
		return 2;
	memcpy(page, su_entry, su_end - su_entry);
	setup.trampoline = TRAMPOLINE;
	setup.trampoline_size = su_end - su_entry;
	setup.slice_ns = 100000;
	k_open_setup(&k, &setup);
	if (!cloexec)
		fcntl(k.fd, F_SETFD, 0);
	a.k = &k;
	if (first && (order_attach(&a, 0) < 0 || k_acquire(&k) != 0))
		return 3;
	if (!first)
		puppet_new(&a, &k);
	if (!first && puppet_run(&a, order_acquire, 0) != 0)
		return 4;
	/* Somebody waits for the proc, and somebody could take it: each slice ends. */
	puppet_new(&b, &k);
	if (!puppet_standby(&b))
		return 5;
	k_queue(&k, 0, 1);
	if (pthread_create(&t, NULL, kicker, NULL))
		return 6;
	if (first)
		return 30 - (int)order_exec(&a, 0);
	puppet_start(&a, order_exec, 0);
	puppet_finish(&a);
	return 7;
}

/* The new program: many ways out of the kernel, none of which leads to the trampoline. */
static int execed(void)
{
	int i;

	if (geteuid() != 0 || getuid() != NOBODY)
		return 20;
	for (i = 0; i < 200; i++) {
		sched_yield();
		getppid();
	}
	usleep(1000);
	return EXECED_WELL;
}

/* Many times, for it is a matter of a few instructions. */
TEST(setuid_program)
{
	int i, status;

	ASSERT_TRUE(make_program());
	ASSERT_EQ(0, chown("/dev/gsched", 0, GROUP));
	ASSERT_EQ(0, chmod("/dev/gsched", 0660));
	for (i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(caller(i % 2, i / 2 % 2));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == EXECED_WELL)
		{
			TH_LOG("round %d: status 0x%x", i, status);
		}
	}
	EXPECT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0));
	unlink(PROGRAM);
}

/* Without the group there is nothing to be had. */
TEST(not_in_the_group)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(1);
		_exit(open("/dev/gsched", O_RDWR) != -1 || errno != EACCES);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Where order_exec() comes out. */
static void __attribute__((constructor)) before_main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--setuid"))
		exit(execed());
}

TEST_HARNESS_MAIN
