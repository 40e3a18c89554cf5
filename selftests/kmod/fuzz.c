// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile programs (2, 13): threads scribble over the whole shared area while others call
 * everything with random and truncated arguments, come and go, fork, exec and are killed.
 * The kernel must not complain or leak, and a well-behaved program beside them must not
 * notice. Deterministic as far as one program's own choices go: the seeds are printed.
 *
 * Environment: GSCHED_TEST_FUZZ=s seconds (default 15), GSCHED_TEST_SEED=n.
 */
#include "good.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Small, at an edge, a power of two and its neighbours, or anything. */
static uint64_t odd_number(uint32_t *seed)
{
	static const uint64_t edges[] = {
		0, 1, GSCHED_MAXPROCS, GSCHED_MAXWORKERS, 0x7fffffff, 0xffffffff, ~0ull, 1ull << 47,
	};
	uint64_t n = k_rnd(seed);

	switch (k_rnd(seed) % 4) {
	case 0:
		return n % 8;
	case 1:
		return edges[n % 8] + k_rnd(seed) % 3 - 1;
	case 2:
		return (1ull << n % 64) + k_rnd(seed) % 3 - 1;
	default:
		return n << 32 | k_rnd(seed);
	}
}

/* ------------------------------------------------------------------------- */
/* The hostile program                                                         */

#define HOSTILE_THREADS 5
#define MAPPED (1 + 2) /* head, chunks */

static struct {
	int fd;
	char *area[MAPPED];
	char *edge;		  /* a page with nothing behind it */
	int tid[HOSTILE_THREADS]; /* atomic; 0 between two threads of a line */
	uint64_t *calls;	  /* atomic; shared with the test */
} hostile;

static const size_t sizes[MAPPED] = {GSCHED_HEAD_SIZE, GSCHED_CHUNK_SIZE, GSCHED_CHUNK_SIZE};

static void map_areas(void)
{
	for (int i = 0; i < MAPPED; i++) {
		void *p;

		if (hostile.area[i])
			continue;
		p = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_SHARED, hostile.fd,
			 i ? GSCHED_OFF_CHUNK(i - 1) : GSCHED_OFF_HEAD);
		if (p != MAP_FAILED)
			hostile.area[i] = p;
	}
}

static void scribble(uint32_t *seed)
{
	for (int n = 0; n < 200; n++) {
		int i = k_rnd(seed) % MAPPED;
		size_t where = k_rnd(seed);

		if (!hostile.area[i])
			continue;
		/* mostly where the kernel looks: the first lines */
		where = where % 4 ? where / 4 % 4096 : where / 4 % sizes[i];
		*(volatile uint32_t *)(hostile.area[i] + where / 4 * 4) = odd_number(seed);
	}
}

/* A request's argument: a number, nothing, a lie, or memory that is too short. */
static unsigned long argument(uint32_t *seed)
{
	uint64_t words[16];
	char *where = hostile.edge + 4096 - sizeof(words);

	switch (k_rnd(seed) % 8) {
	case 0:
		return odd_number(seed);
	case 1:
		return (unsigned long)hostile.edge + 4096 - k_rnd(seed) % 64;
	case 2:
		return (unsigned long)hostile.area[k_rnd(seed) % MAPPED] + k_rnd(seed) % 4096;
	default:
		for (int i = 0; i < 16; i++)
			words[i] = odd_number(seed);
		/* now and then one that is nearly right */
		if (k_rnd(seed) % 2)
			words[0] = k_rnd(seed) % 3 | (uint64_t)(k_rnd(seed) % 4) << 32;
		if (k_rnd(seed) % 2)
			words[1] = now_ns() + k_rnd(seed) % 1000000;
		memcpy(where, words, sizeof(words));
		return (unsigned long)where;
	}
}

static unsigned int command(uint32_t *seed)
{
	static const unsigned int known[] = {
		GSCHED_IOC_ATTACH,  GSCHED_IOC_ATTACH,	GSCHED_IOC_DETACH, GSCHED_IOC_PARK,
		GSCHED_IOC_PARK,    GSCHED_IOC_PARK_TO, GSCHED_IOC_UNPARK, GSCHED_IOC_UNPARK,
		GSCHED_IOC_ACQUIRE, GSCHED_IOC_KICK,	GSCHED_IOC_TICK,   GSCHED_IOC_SET_PROCS,
		GSCHED_IOC_SETUP,
	};
	unsigned int cmd = known[k_rnd(seed) % (sizeof(known) / sizeof(known[0]))];

	switch (k_rnd(seed) % 16) {
	case 0:
		return k_rnd(seed);
	case 1:
		return _IOC(k_rnd(seed) % 4, GSCHED_IOC_MAGIC, k_rnd(seed) % 16, k_rnd(seed) % 128);
	default:
		return cmd;
	}
}

static void odd_mmap(uint32_t *seed)
{
	void *p = mmap(NULL, (size_t)(1 + k_rnd(seed) % 20) << 12, k_rnd(seed) % 8,
		       k_rnd(seed) % 2 ? MAP_SHARED : MAP_PRIVATE, hostile.fd,
		       (long)(odd_number(seed) << 12 & 0x7ffffffffffff000));

	if (p != MAP_FAILED)
		munmap(p, (size_t)(1 + k_rnd(seed) % 20) << 12);
}

static void odd_fork(uint32_t *seed)
{
	bool same_mm = k_rnd(seed) % 2;
	pid_t pid = same_mm ? vfork() : fork();

	if (pid == 0) {
		ioctl(hostile.fd, GSCHED_IOC_ATTACH);
		ioctl(hostile.fd, GSCHED_IOC_ACQUIRE);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* Another's descriptor, over a socket: of no use to him (-EPERM). */
static void pass_descriptor(void)
{
	int pair[2], fd = hostile.fd;
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = "", c = 0;
	struct iovec io = {.iov_base = &c, .iov_len = 1};
	struct msghdr m = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return;
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	if (sendmsg(pair[0], &m, 0) == 1 && recvmsg(pair[1], &m, 0) == 1) {
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
		ioctl(fd, GSCHED_IOC_TICK);
		close(fd);
	}
	close(pair[0]);
	close(pair[1]);
}

static void one_act(uint32_t *seed)
{
	struct timespec t = {.tv_nsec = k_rnd(seed) % 100000};

	switch (k_rnd(seed) % 64) {
	case 0:
		odd_mmap(seed);
		break;
	case 1:
		odd_fork(seed);
		break;
	case 2:
		pass_descriptor();
		break;
	case 3:
		close(dup(hostile.fd));
		break;
	case 4:
		map_areas();
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		/* at whatever depth it has now */
		nanosleep(&t, NULL);
		break;
	case 9:
	case 10:
		sched_yield();
		break;
	case 11:
		k_fdinfo(&(struct ktx){.fd = hostile.fd}, "idle");
		break;
	default:
		ioctl(hostile.fd, command(seed), argument(seed));
		__atomic_add_fetch(hostile.calls, 1, __ATOMIC_RELAXED);
	}
}

struct line {
	int *tid;
	uint32_t seed;
};

static void *hostile_thread(void *arg)
{
	struct line *line = arg;
	uint32_t seed = k_rnd(&line->seed) | 1;
	int n = k_rnd(&seed) % 2000;

	__atomic_store_n(line->tid, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	for (int i = 0; i < n; i++) {
		if (k_rnd(&seed) % 8 == 0)
			scribble(&seed);
		if (i == 8)
			map_areas();
		one_act(&seed);
	}
	__atomic_store_n(line->tid, 0, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Threads that end, and are followed by others. */
static void *hostile_line(void *arg)
{
	pthread_t t;

	for (;;) {
		if (pthread_create(&t, NULL, hostile_thread, arg))
			continue;
		pthread_join(t, NULL);
	}
	return NULL;
}

static void on_signal(int sig) {}

/* Is killed, or kills itself: its trampoline may be anything. */
static void hostile_main(uint32_t seed, bool sigurg)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct rlimit none = {0};
	struct gsched_setup setup = k_setup_arg(1 + k_rnd(&seed) % 4);
	static struct line lines[HOSTILE_THREADS];
	pthread_t t[HOSTILE_THREADS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &none);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGURG, &sa, NULL);
	hostile.fd = k_device();
	if (k_rnd(&seed) % 4 == 0)
		setup.trampoline = odd_number(&seed) % (1ull << 47);
	if (sigurg) {
		setup.features = GSCHED_F_SIGURG;
		setup.trampoline = setup.trampoline ?: 4096;
	}
	setup.slice_ns = odd_number(&seed);
	if (k_setup_raw(hostile.fd, &setup))
		_exit(1);
	hostile.edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(hostile.edge + 4096, 4096);
	map_areas();
	for (int i = 0; i < HOSTILE_THREADS; i++)
		lines[i] = (struct line){.tid = &hostile.tid[i], .seed = k_rnd(&seed) | 1};
	for (int i = 0; i < HOSTILE_THREADS; i++)
		pthread_create(&t[i], NULL, hostile_line, &lines[i]);
	/* Out of whatever they sleep in; and now and then a new program. */
	for (int i = 0;; i++) {
		for (int k = 0; k < HOSTILE_THREADS; k++)
			if (__atomic_load_n(&hostile.tid[k], __ATOMIC_SEQ_CST))
				syscall(SYS_tgkill, getpid(), hostile.tid[k], SIGUSR1);
		usleep(500);
		if (i > 100 && k_rnd(&seed) % 256 == 0)
			execl("/proc/self/exe", "fuzz", "--nothing", NULL);
	}
}

/* Stops and goes on, as under a debugger that comes and goes. */
static void pester(pid_t pid, uint32_t *seed)
{
	siginfo_t info;

	switch (k_rnd(seed) % 4) {
	case 0:
		kill(pid, SIGSTOP);
		kill(pid, SIGCONT);
		break;
	case 1:
		if (!ptrace(PTRACE_SEIZE, pid, NULL, NULL) &&
		    !ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) &&
		    /* it may end instead: that is for the caller to see */
		    !waitid(P_PID, pid, &info, WSTOPPED | WEXITED | WNOWAIT | __WALL) &&
		    info.si_code != CLD_EXITED && info.si_code != CLD_KILLED &&
		    info.si_code != CLD_DUMPED)
			ptrace(PTRACE_DETACH, pid, NULL, NULL);
		break;
	default:
		usleep(k_rnd(seed) % 20000);
	}
}

/* ------------------------------------------------------------------------- */

/* Has it ended by itself? It is there to be waited for all the same. */
static bool is_over(pid_t pid)
{
	siginfo_t info = {0};

	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

static pid_t start(bool good_one, uint32_t seed, bool sigurg)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (good_one)
		_exit(good_main(50, NULL));
	hostile_main(seed, sigurg);
	_exit(0);
}

/* Hostile programs, one after the other, and good ones beside them. */
TEST(hostile_programs)
{
	const char *s = getenv("GSCHED_TEST_FUZZ"), *first = getenv("GSCHED_TEST_SEED");
	uint32_t seed = (first ? atoi(first) : 1) * 2654435761u | 1;
	uint64_t end = now_ns() + (s ? atoi(s) : 15) * NS_PER_S;
	int programs = 0, well = 0, ended[3] = {0};

	hostile.calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)hostile.calls);

	/* longer where the machine is so slow that the first ones got nowhere */
	while (now_ns() < end || (*hostile.calls < 10ul * programs && now_ns() < end + wait_ns())) {
		uint32_t this = k_rnd(&seed);
		/* it is told by signals, then */
		bool sigurg = k_rnd(&seed) % 4 == 0;
		bool set = k_parameter("sigurg", sigurg ? "Y" : "N");
		pid_t bad = start(false, this, sigurg), good_pid = start(true, 0, false);
		uint64_t before = __atomic_load_n(hostile.calls, __ATOMIC_RELAXED);
		uint64_t begin = now_ns();
		int status;

		EXPECT_TRUE(set);
		/* a second, and on a slow machine until it got somewhere */
		while (now_ns() < begin + NS_PER_S ||
		       (__atomic_load_n(hostile.calls, __ATOMIC_RELAXED) < before + 20 &&
			!is_over(bad) && now_ns() < begin + patience_ns()))
			pester(bad, &seed);
		/* it may lie stopped */
		kill(bad, SIGKILL);
		ASSERT_EQ(bad, waitpid(bad, &status, 0));
		ended[WIFEXITED(status) ? 0 : WTERMSIG(status) == SIGKILL ? 1 : 2]++;
		ASSERT_EQ(good_pid, waitpid(good_pid, &status, 0));
		EXPECT_EQ(0, status)
		{
			TH_LOG("the good program, beside seed %u: %d", this, status >> 8);
		}
		well += status == 0;
		programs++;
		/* nothing is left of either */
		ASSERT_TRUE(until(k_stat("contexts") == 0 && k_stat("workers") == 0))
		{
			TH_LOG("left behind by seed %u", this);
		}
	}
	TH_LOG("%d hostile programs, %lu calls: %d ended, %d were killed, %d died; %d good ones",
	       programs, *hostile.calls, ended[0], ended[1], ended[2], well);
	/* few on a slow machine, but they do get through */
	EXPECT_LE(10ul * programs, *hostile.calls);
	EXPECT_TRUE(k_parameter("sigurg", "N"));
}

/* Where an exec of hostile_main() comes out. */
static void __attribute__((constructor)) before_main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--nothing"))
		exit(0);
}

TEST_HARNESS_MAIN
