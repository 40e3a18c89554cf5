// SPDX-License-Identifier: GPL-2.0
/*
 * Every way to block (5, 9): with demand a stand-by gets the proc, without it nobody is
 * woken, with the depth raised the proc is kept; and each block is counted, once.
 *
 * The truth is ru_nvcsw: how often the thread left its CPU of its own will.
 */
#include "disk.h"
#include <link.h>
#include <linux/io_uring.h>
#include <netdb.h>
#include <netinet/in.h>
#include <nss.h>
#include <resolv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <termios.h>

/* resolv.h has a macro of that name */
#undef p_type

#define ROUNDS 200
#define PAGE 4096ul

/*
 * One thing to block in. block() blocks until release() of the same object is called by
 * another thread; rearm() is called before each block(). Those two may block, too, but not
 * release(), which may be called when mmap_lock is taken and the disks stand.
 */
struct blocker {
	int fd[2];
	uint32_t released, armed;
	char *page; /* next page nobody touched yet */
	int uffd;
	FILE *file;
	pid_t child;
	struct disk disk;
	uint32_t holds; /* orders to the thread that holds mmap_lock */
	char *scratch;
	char stack[16384] __attribute__((aligned(64)));
	struct {
		unsigned int *sq_tail, *cq_head, *cq_tail;
		struct io_uring_sqe *sqe;
		unsigned int mask;
	} ring;
};

/*
 * once: block() is one system call that leaves the CPU once. The others may do so several
 * times for one block, as a disk is asked several times, or block in more than one call.
 * init: 1 if that is not to be had here.
 */
struct kind {
	int (*init)(struct blocker *b);
	void (*rearm)(struct blocker *b);
	void (*block)(struct blocker *b);
	void (*release)(struct blocker *b);
	void (*end)(struct blocker *b);
	bool once;
};

static int no_init(struct blocker *b)
{
	return 0;
}

static void nothing(struct blocker *b) {}

/* ------------------------------------------------------------------------- */

static int pipe_init(struct blocker *b)
{
	return pipe(b->fd);
}

static void read_block(struct blocker *b)
{
	char c;

	if (read(b->fd[0], &c, 1) != 1)
		abort();
}

static void write_release(struct blocker *b)
{
	if (write(b->fd[1], "", 1) != 1)
		abort();
}

static const struct kind pipe_read = {
	.init = pipe_init,
	.rearm = nothing,
	.block = read_block,
	.release = write_release,
	.once = true,
};

static int socket_init(struct blocker *b)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b->fd);
}

static const struct kind unix_socket = {
	.init = socket_init,
	.rearm = nothing,
	.block = read_block,
	.release = write_release,
};

/* A socket on the loopback interface, and its address. */
static int loopback(int type, struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_in){.sin_family = AF_INET};
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (void *)addr, len) || getsockname(fd, (void *)addr, &len))
		return -1;
	return fd;
}

static int tcp_init(struct blocker *b)
{
	struct sockaddr_in addr, other;
	int fd = loopback(SOCK_STREAM, &addr);

	b->fd[1] = loopback(SOCK_STREAM, &other);
	if (fd < 0 || b->fd[1] < 0 || listen(fd, 1) ||
	    connect(b->fd[1], (void *)&addr, sizeof(addr)))
		return -1;
	b->fd[0] = accept(fd, NULL, NULL);
	close(fd);
	return b->fd[0] < 0 ? -1 : 0;
}

static const struct kind tcp_socket = {
	.init = tcp_init,
	.rearm = nothing,
	.block = read_block,
	.release = write_release,
};

static int tty_init(struct blocker *b)
{
	struct termios t;

	b->fd[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (b->fd[1] < 0 || grantpt(b->fd[1]) || unlockpt(b->fd[1]))
		return -1;
	b->fd[0] = open(ptsname(b->fd[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (b->fd[0] < 0 || tcgetattr(b->fd[0], &t))
		return -1;
	cfmakeraw(&t);
	return tcsetattr(b->fd[0], TCSANOW, &t);
}

static const struct kind tty = {
	.init = tty_init,
	.rearm = nothing,
	.block = read_block,
	.release = write_release,
};

static int fread_init(struct blocker *b)
{
	if (pipe(b->fd))
		return -1;
	b->file = fdopen(b->fd[0], "r");
	return b->file ? 0 : -1;
}

static void fread_block(struct blocker *b)
{
	char c;

	if (fread(&c, 1, 1, b->file) != 1)
		abort();
}

/* In libc, with a FILE locked. */
static const struct kind in_fread = {
	.init = fread_init,
	.rearm = nothing,
	.block = fread_block,
	.release = write_release,
};

/* ------------------------------------------------------------------------- */

static void sleep_block(struct blocker *b)
{
	struct timespec t = {.tv_nsec = 1000000};

	syscall(SYS_nanosleep, &t, NULL);
}

static const struct kind nanosleep_ = {
	.init = no_init,
	.rearm = nothing,
	.block = sleep_block,
	.release = nothing,
	.once = true,
};

static void futex_rearm(struct blocker *b)
{
	b->released = 0;
}

static void futex_block(struct blocker *b)
{
	while (!__atomic_load_n(&b->released, __ATOMIC_ACQUIRE))
		kfutex(&b->released, FUTEX_WAIT, 0);
}

static void futex_release(struct blocker *b)
{
	__atomic_store_n(&b->released, 1, __ATOMIC_RELEASE);
	kfutex(&b->released, FUTEX_WAKE, 1);
}

static const struct kind futex = {
	.init = no_init,
	.rearm = futex_rearm,
	.block = futex_block,
	.release = futex_release,
	.once = true,
};

/* ------------------------------------------------------------------------- */

/* One file, open twice. */
static int lock_init(struct blocker *b)
{
	char name[] = "/tmp/lockXXXXXX";

	b->fd[0] = mkstemp(name);
	b->fd[1] = open(name, O_RDWR | O_CLOEXEC);
	unlink(name);
	return b->fd[0] < 0 || b->fd[1] < 0 ? -1 : 0;
}

static void flock_rearm(struct blocker *b)
{
	flock(b->fd[0], LOCK_UN);
	if (flock(b->fd[1], LOCK_EX | LOCK_NB))
		abort();
}

static void flock_block(struct blocker *b)
{
	flock(b->fd[0], LOCK_EX);
}

static void flock_release(struct blocker *b)
{
	flock(b->fd[1], LOCK_UN);
}

static const struct kind flock_ = {
	.init = lock_init,
	.rearm = flock_rearm,
	.block = flock_block,
	.release = flock_release,
	.once = true,
};

static int ofd_lock(int fd, int cmd, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};

	return fcntl(fd, cmd, &l);
}

static void fcntl_rearm(struct blocker *b)
{
	if (ofd_lock(b->fd[0], F_OFD_SETLK, F_UNLCK) || ofd_lock(b->fd[1], F_OFD_SETLK, F_WRLCK))
		abort();
}

static void fcntl_block(struct blocker *b)
{
	if (ofd_lock(b->fd[0], F_OFD_SETLKW, F_WRLCK))
		abort();
}

static void fcntl_release(struct blocker *b)
{
	if (ofd_lock(b->fd[1], F_OFD_SETLK, F_UNLCK))
		abort();
}

static const struct kind fcntl_lock = {
	.init = lock_init,
	.rearm = fcntl_rearm,
	.block = fcntl_block,
	.release = fcntl_release,
};

/* ------------------------------------------------------------------------- */

/* Raw calls only: it has its parent's memory, and errno. */
static int child_main(void *arg)
{
	struct blocker *b = arg;
	char c;

	syscall(SYS_read, b->fd[0], &c, 1);
	return 0;
}

static void wait_rearm(struct blocker *b)
{
	b->child = clone(child_main, b->stack + sizeof(b->stack), CLONE_VM | SIGCHLD, b);
	if (b->child < 0)
		abort();
}

static void wait_block(struct blocker *b)
{
	if (wait4(b->child, NULL, 0, NULL) != b->child)
		abort();
}

static const struct kind wait4_ = {
	.init = pipe_init,
	.rearm = wait_rearm,
	.block = wait_block,
	.release = write_release,
};

/* ------------------------------------------------------------------------- */

static int epoll_init(struct blocker *b)
{
	struct epoll_event ev = {.events = EPOLLIN};

	b->fd[0] = epoll_create1(EPOLL_CLOEXEC);
	b->fd[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (b->fd[0] < 0 || b->fd[1] < 0)
		return -1;
	return epoll_ctl(b->fd[0], EPOLL_CTL_ADD, b->fd[1], &ev);
}

static void epoll_rearm(struct blocker *b)
{
	uint64_t n;

	if (read(b->fd[1], &n, sizeof(n)) < 0 && errno != EAGAIN)
		abort();
}

static void epoll_block(struct blocker *b)
{
	struct epoll_event ev;

	if (epoll_wait(b->fd[0], &ev, 1, -1) != 1)
		abort();
}

static void eventfd_release(struct blocker *b)
{
	uint64_t n = 1;

	if (write(b->fd[1], &n, sizeof(n)) != sizeof(n))
		abort();
}

static const struct kind epoll_wait_ = {
	.init = epoll_init,
	.rearm = epoll_rearm,
	.block = epoll_block,
	.release = eventfd_release,
};

static int ring_init(struct blocker *b)
{
	struct io_uring_params p = {0};
	char *sq, *cq;

	b->fd[0] = syscall(SYS_io_uring_setup, 4, &p);
	b->fd[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (b->fd[0] < 0 || b->fd[1] < 0)
		return errno == ENOSYS || errno == EPERM ? 1 : -1;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned int),
		  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, b->fd[0], IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, b->fd[0], IORING_OFF_CQ_RING);
	b->ring.sqe = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_POPULATE, b->fd[0], IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)b->ring.sqe == MAP_FAILED)
		return -1;
	b->ring.sq_tail = (void *)(sq + p.sq_off.tail);
	b->ring.cq_head = (void *)(cq + p.cq_off.head);
	b->ring.cq_tail = (void *)(cq + p.cq_off.tail);
	b->ring.mask = p.sq_entries - 1;
	((unsigned int *)(sq + p.sq_off.array))[0] = 0;
	((unsigned int *)(sq + p.sq_off.array))[1] = 0;
	((unsigned int *)(sq + p.sq_off.array))[2] = 0;
	((unsigned int *)(sq + p.sq_off.array))[3] = 0;
	return 0;
}

/* Asks for an event, and waits for it, in one call. */
static void ring_block(struct blocker *b)
{
	b->ring.sqe[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD,
		.fd = b->fd[1],
		.poll32_events = EPOLLIN,
	};
	__atomic_store_n(b->ring.sq_tail, *b->ring.sq_tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, b->fd[0], 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1 ||
	    __atomic_load_n(b->ring.cq_tail, __ATOMIC_ACQUIRE) == *b->ring.cq_head)
		abort();
	__atomic_store_n(b->ring.cq_head, *b->ring.cq_head + 1, __ATOMIC_RELEASE);
}

static const struct kind io_uring_enter = {
	.init = ring_init,
	.rearm = epoll_rearm,
	.block = ring_block,
	.release = eventfd_release,
};

/* ------------------------------------------------------------------------- */

static int uffd_init(struct blocker *b)
{
	b->uffd = k_uffd(&b->page, PAGE * (ROUNDS + 2));
	return b->uffd < 0 ? -1 : pipe(b->fd);
}

static void uffd_rearm(struct blocker *b)
{
	b->page += PAGE;
}

static void uffd_block(struct blocker *b)
{
	*(volatile char *)b->page = 1;
}

static void uffd_release(struct blocker *b)
{
	k_uffd_fill(b->uffd, b->page);
}

static const struct kind page_fault = {
	.init = uffd_init,
	.rearm = uffd_rearm,
	.block = uffd_block,
	.release = uffd_release,
	.once = true,
};

static void uffd_rearm_read(struct blocker *b)
{
	b->page += PAGE;
	if (write(b->fd[1], "", 1) != 1)
		abort();
}

static void uffd_block_read(struct blocker *b)
{
	if (read(b->fd[0], b->page, 1) != 1)
		abort();
}

/* The same inside a system call that does not block itself. */
static const struct kind fault_in_call = {
	.init = uffd_init,
	.rearm = uffd_rearm_read,
	.block = uffd_block_read,
	.release = uffd_release,
};

/* ------------------------------------------------------------------------- */
/* Disks                                                                       */

/* The pages to be touched begin behind what the kernel reads by itself. */
/* lockdep has a report of nbd's own about a disk in a mapping, and stops after it. */
static bool no_faults(void)
{
	return !access("/proc/lockdep", F_OK);
}

static int disk_init(struct blocker *b)
{
	int ret = no_faults() ? 1 : disk_new(&b->disk);

	if (ret)
		return ret;
	b->page = mmap(NULL, DISK_SIZE, PROT_READ, MAP_SHARED, b->disk.fd, 0);
	/* One page at a time, none ahead. */
	if (b->page == MAP_FAILED || madvise(b->page, DISK_SIZE, MADV_RANDOM))
		return -1;
	b->page += 64 * PAGE;
	return 0;
}

static void disk_release(struct blocker *b)
{
	disk_open(&b->disk);
}

static void disk_end_(struct blocker *b)
{
	disk_end(&b->disk);
}

static void fsync_rearm(struct blocker *b)
{
	if (pwrite(b->disk.fd, b->stack, PAGE, 64 * PAGE) != PAGE)
		abort();
	disk_close(&b->disk);
}

static void fsync_block(struct blocker *b)
{
	if (fsync(b->disk.fd))
		abort();
}

static const struct kind fsync_ = {
	.init = disk_init,
	.rearm = fsync_rearm,
	.block = fsync_block,
	.release = disk_release,
	.end = disk_end_,
};

static void mmap_rearm(struct blocker *b)
{
	b->page += PAGE;
	disk_close(&b->disk);
}

static void mmap_block(struct blocker *b)
{
	if (*(volatile char *)b->page)
		abort();
}

static const struct kind mmap_fault = {
	.init = disk_init,
	.rearm = mmap_rearm,
	.block = mmap_block,
	.release = disk_release,
	.end = disk_end_,
};

static int direct_init(struct blocker *b)
{
	int ret = disk_init(b);

	if (ret)
		return ret;
	b->fd[0] = open(b->disk.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	b->scratch = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return b->fd[0] < 0 || b->scratch == MAP_FAILED ? -1 : 0;
}

static void direct_rearm(struct blocker *b)
{
	disk_close(&b->disk);
}

static void direct_block(struct blocker *b)
{
	if (pread(b->fd[0], b->scratch, PAGE, 64 * PAGE) != PAGE)
		abort();
}

static const struct kind direct_read = {
	.init = direct_init,
	.rearm = direct_rearm,
	.block = direct_block,
	.release = disk_release,
	.end = disk_end_,
};

/* What mkswap writes. */
static void make_swap(char *store)
{
	uint32_t *info = (uint32_t *)(store + 1024);

	info[0] = 1;			/* version */
	info[1] = DISK_SIZE / PAGE - 1; /* last page */
	memcpy(store + PAGE - 10, "SWAPSPACE2", 10);
}

#define SWAP_PAGES (ROUNDS + 2)

static bool swapped_out(char *region)
{
	unsigned char in[SWAP_PAGES];
	int i;

	if (mincore(region, SWAP_PAGES * PAGE, in))
		return false;
	for (i = 0; i < SWAP_PAGES && !(in[i] & 1); i++)
		;
	return i == SWAP_PAGES;
}

#define CGROUP "/sys/fs/cgroup/gsched-swap"

/*
 * One for all: a disk for each would not do, for the kernel puts a page on which one it
 * likes. There is one reader at a time, so one gate serves.
 */
static struct disk swap_disk;

/* Its swap space: all of our pages but for the regions are locked, for the server is ours. */
static int swap_on(void)
{
	char pid[16];
	int ret;

	if (swap_disk.store)
		return 0;
	if (no_faults())
		return 1;
	ret = disk_new(&swap_disk);
	if (ret)
		return ret;
	snprintf(pid, sizeof(pid), "%d", getpid());
	k_write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0700);
	if (!k_write(CGROUP "/cgroup.procs", pid) || access(CGROUP "/memory.reclaim", F_OK))
		return 1;
	if (!k_write("/proc/sys/vm/page-cluster", "0"))
		return -1;
	/* that would be memory, no disk */
	k_write("/sys/module/zswap/parameters/enabled", "N");
	make_swap(swap_disk.store);
	return mlockall(MCL_CURRENT | MCL_ONFAULT) || swapon(swap_disk.path, 0) ? -1 : 0;
}

/*
 * A region whose pages are on the disk and nowhere else. What was swapped out stays in
 * memory until memory is wanted, so some is wanted, of a cgroup of ours.
 */
static int swap_init(struct blocker *b)
{
	int ret = swap_on();

	if (ret)
		return ret;
	b->page = mmap(NULL, SWAP_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	/* EINVAL: there are no huge pages */
	if (b->page == MAP_FAILED ||
	    (madvise(b->page, SWAP_PAGES * PAGE, MADV_NOHUGEPAGE) && errno != EINVAL))
		return -1;
	memset(b->page, 1, SWAP_PAGES * PAGE);
	return until((madvise(b->page, SWAP_PAGES * PAGE, MADV_PAGEOUT),
		      k_write(CGROUP "/memory.reclaim", "1M"), swapped_out(b->page)))
		       ? 0
		       : -1;
}

static void swap_rearm(struct blocker *b)
{
	b->page += PAGE;
	disk_close(&swap_disk);
}

static void swap_block(struct blocker *b)
{
	if (*(volatile char *)b->page != 1)
		abort();
}

static void swap_release(struct blocker *b)
{
	disk_open(&swap_disk);
}

static void swap_end(struct blocker *b)
{
	if (!swap_disk.store)
		return;
	disk_open(&swap_disk);
	swapoff(swap_disk.path);
	k_write("/proc/sys/vm/page-cluster", "3");
	disk_end(&swap_disk);
	swap_disk.store = NULL;
}

static const struct kind swap_in = {
	.init = swap_init,
	.rearm = swap_rearm,
	.block = swap_block,
	.release = swap_release,
	.end = swap_end,
};

/*
 * mmap_lock: held by a thread that reads our memory by /proc, the way a debugger does. It
 * waits for the disk with the lock in its hand.
 */
static void *holder(void *arg)
{
	struct blocker *b = arg;
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	uint32_t n = 0;
	char c;

	for (;;) {
		while (__atomic_load_n(&b->holds, __ATOMIC_ACQUIRE) == n)
			kfutex(&b->holds, FUTEX_WAIT, n);
		n++;
		if (pread(fd, &c, 1, (uintptr_t)b->page) != 1)
			abort();
	}
}

static int lock_object(struct dl_phdr_info *info, size_t size, void *unused)
{
	const ElfW(Phdr) *ph = info->dlpi_phdr;

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			mlock((void *)(info->dlpi_addr + ph[i].p_vaddr), ph[i].p_memsz);
	return 0;
}

/*
 * Who waits for mmap_lock to write holds up all that come to read: a page fault of a thread
 * that is to let go of the disk would wait for itself. So its code and data are there, the
 * latter its own since the fork.
 */
static int mmap_lock_init(struct blocker *b)
{
	pthread_t t;
	int ret = disk_init(b);

	if (ret)
		return ret;
	mlock(b, sizeof(*b));
	dl_iterate_phdr(lock_object, NULL);
	b->scratch = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return b->scratch == MAP_FAILED || pthread_create(&t, NULL, holder, b) ? -1 : 0;
}

static void mmap_lock_rearm(struct blocker *b)
{
	mprotect(b->scratch, PAGE, PROT_READ);
	mmap_rearm(b);
	__atomic_add_fetch(&b->holds, 1, __ATOMIC_RELEASE);
	kfutex(&b->holds, FUTEX_WAKE, 1);
	if (!spin_until(disk_held(&b->disk)))
		abort();
}

static void mmap_lock_block(struct blocker *b)
{
	if (mprotect(b->scratch, PAGE, PROT_READ | PROT_WRITE))
		abort();
}

static const struct kind mmap_lock = {
	.init = mmap_lock_init,
	.rearm = mmap_lock_rearm,
	.block = mmap_lock_block,
	.release = disk_release,
	.end = disk_end_,
};

/* ------------------------------------------------------------------------- */
/* A name server that answers when it is told to                              */

static int dns_init(struct blocker *b)
{
	struct sockaddr_in addr;

	b->fd[0] = loopback(SOCK_DGRAM, &addr);
	b->fd[1] = ntohs(addr.sin_port);
	return b->fd[0] < 0 || __nss_configure_lookup("hosts", "dns") ? -1 : 0;
}

/* For this thread. */
static void dns_rearm(struct blocker *b)
{
	static __thread bool ready;

	if (ready)
		return;
	if (res_init())
		abort();
	_res.nscount = 1;
	_res.nsaddr_list[0] = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(b->fd[1]),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	_res.retrans = 300;
	_res.retry = 1;
	ready = true;
}

static void dns_block(struct blocker *b)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
	struct sockaddr_in *addr;

	if (getaddrinfo("slow.gsched.test.", NULL, &hints, &found))
		abort();
	addr = (void *)found->ai_addr;
	if (addr->sin_addr.s_addr != htonl(0x0a010203))
		abort();
	freeaddrinfo(found);
}

static void dns_release(struct blocker *b)
{
	static const unsigned char answer[] = {0xc0, 12, 0, 1, 0,  1, 0, 0,
					       0,    60, 0, 4, 10, 1, 2, 3};
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char m[512];
	ssize_t n = recvfrom(b->fd[0], m, sizeof(m) - sizeof(answer), 0, (void *)&from, &len);

	if (n < 12)
		abort();
	m[2] |= 0x80; /* a response */
	m[3] = (char)0x80;
	m[7] = 1; /* one answer, and nothing else */
	memset(m + 8, 0, 4);
	memcpy(m + n, answer, sizeof(answer));
	if (sendto(b->fd[0], m, n + sizeof(answer), 0, (void *)&from, len) < 0)
		abort();
}

static const struct kind in_getaddrinfo = {
	.init = dns_init,
	.rearm = dns_rearm,
	.block = dns_block,
	.release = dns_release,
};

/* ------------------------------------------------------------------------- */

/* How often the calling thread left the CPU of its own will: the truth about blocks. */
static long voluntary_switches(void)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	return ru.ru_nvcsw;
}

/* Block, really, at @depth. Returns the number of times the thread was switched out. */
static long block_once(const struct kind *kind, struct blocker *b,
		       volatile struct gsched_slot *slot, unsigned int depth)
{
	long before, n;

	kind->rearm(b);
	__atomic_store_n(&b->armed, 1, __ATOMIC_SEQ_CST);
	slot->depth = depth;
	do {
		before = voluntary_switches();
		kind->block(b);
		n = voluntary_switches() - before;
		/* A short sleep may be over before it began, on a slow machine. */
	} while (!n && kind->release == nothing);
	slot->depth = 1;
	__atomic_store_n(&b->armed, 0, __ATOMIC_SEQ_CST);
	return n;
}

FIXTURE(block)
{
	struct ktx k;
	struct blocker *b, *other;
	const struct kind *kind;
	bool absent; /* not on this kernel: not every harness ends the test at SKIP here */
};

FIXTURE_VARIANT(block)
{
	const struct kind *kind;
};

#define KIND(kind_)                                                                                \
	FIXTURE_VARIANT_ADD(block, kind_)                                                          \
	{                                                                                          \
		.kind = &(kind_)                                                                   \
	}

KIND(pipe_read);
KIND(unix_socket);
KIND(tcp_socket);
KIND(tty);
KIND(in_fread);
KIND(nanosleep_);
KIND(futex);
KIND(flock_);
KIND(fcntl_lock);
KIND(wait4_);
KIND(epoll_wait_);
KIND(io_uring_enter);
KIND(page_fault);
KIND(fault_in_call);
KIND(fsync_);
KIND(mmap_fault);
KIND(direct_read);
KIND(swap_in);
KIND(mmap_lock);
KIND(in_getaddrinfo);

/* Two, for those who block by turns. */
FIXTURE_SETUP(block)
{
	int ret;

	/* Each block is counted: no thread is to wait for its code, or for khugepaged. */
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) || mlockall(MCL_CURRENT));
	memset(self, 0, sizeof(*self));
	self->kind = variant->kind;
	self->b = aligned_alloc(64, sizeof(*self->b));
	self->other = aligned_alloc(64, sizeof(*self->other));
	ASSERT_TRUE(self->b && self->other);
	memset(self->b, 0, sizeof(*self->b));
	memset(self->other, 0, sizeof(*self->other));
	ret = self->kind->init(self->b);
	if (!ret)
		ret = self->kind->init(self->other);
	ASSERT_LE(0, ret)
	{
		TH_LOG("no blocker: %m");
	}
	self->absent = ret;
	if (self->absent)
		SKIP(return, "not on this kernel");
}

FIXTURE_TEARDOWN(block)
{
	if (!self->kind->end)
		return;
	self->kind->end(self->b);
	self->kind->end(self->other);
}

/*
 * Two workers, one proc, work queued: the one that gets the proc wakes the
 * other out of what it blocked in, waits until that one found no proc and is a
 * stand-by, and blocks itself. Each blocks @rounds times, each time with one
 * stand-by: so each block is a hand-off, and each return finds no proc.
 */
struct pingpong {
	struct ktx *k;
	const struct kind *kind;
	struct blocker *b[2];
	struct puppet p[2];
	int rounds;
	long turns; /* so far, of both */
	long switches, bad_proc, bad_lost, bad_acquire;
	long awake; /* grants that came before PARK slept */
};

static struct pingpong pp;

static long order_pingpong(struct puppet *p, long me)
{
	volatile struct gsched_slot *slot = p->slot;
	long before;
	int i;

	for (i = 0; i < pp.rounds; i++) {
		before = voluntary_switches();
		if (k_park_found(p->k, 0, 0) != 0)
			return -1;
		__atomic_add_fetch(&pp.turns, 1, __ATOMIC_RELAXED);
		pp.awake += (i || me) && voluntary_switches() == before;
		pp.bad_proc += slot->proc != 1 || p->k->p[0].owner != p->w + 1u;
		if (i || me) {
			pp.kind->release(pp.b[!me]);
			if (!spin_until(p->k->h->standby == 1))
				return -2;
		}
		pp.switches += block_once(pp.kind, pp.b[me], slot, 0);
		pp.bad_proc += slot->proc != 0;
		pp.bad_lost += __atomic_exchange_n(&slot->pending, 0, __ATOMIC_SEQ_CST) !=
			       GSCHED_LOST;
		pp.bad_acquire += k_acquire(p->k) != -EAGAIN;
	}
	if (me)
		return 0;
	/* 1 blocked last. */
	if (k_park_found(p->k, 0, 0) != 0)
		return -3;
	pp.kind->release(pp.b[1]);
	return 0;
}

/* The result, however long all the rounds take, as long as they go on. */
static long pingpong_finish(struct puppet *p)
{
	long turns, ret;

	do {
		turns = __atomic_load_n(&pp.turns, __ATOMIC_RELAXED);
		ret = puppet_finish(p);
	} while (ret == NOT_DONE && __atomic_load_n(&pp.turns, __ATOMIC_RELAXED) != turns);
	return ret;
}

/* With demand a stand-by gets the proc, each time, and the blocked one is lost. */
TEST_F(block, demand)
{
	struct ktx *k = &self->k;

	if (self->absent)
		return;
	k_open(k, 1);
	k_queue(k, 0, 1);
	pp = (struct pingpong){.k = k, .kind = self->kind, .rounds = ROUNDS / 2};
	pp.b[0] = self->b;
	pp.b[1] = self->other;
	puppet_new(&pp.p[0], k);
	puppet_new(&pp.p[1], k);

	ASSERT_EQ(0, puppet_run(&pp.p[0], order_acquire, 0));
	puppet_start(&pp.p[1], order_pingpong, 1);
	ASSERT_TRUE(until(k->h->standby == 1));
	puppet_start(&pp.p[0], order_pingpong, 0);
	EXPECT_EQ(0, pingpong_finish(&pp.p[0]));
	EXPECT_EQ(0, pingpong_finish(&pp.p[1]));

	EXPECT_EQ(0, pp.bad_proc);
	EXPECT_EQ(0, pp.bad_lost);
	EXPECT_EQ(0, pp.bad_acquire);
	/* Who saw the grant before it slept may be woken later, once, out of its block. */
	if (self->kind->once && !k_realtime())
		EXPECT_GE(ROUNDS + pp.awake, pp.switches);
	EXPECT_LE(ROUNDS, pp.switches);
	EXPECT_EQ(ROUNDS, pp.p[0].slot->blocks + pp.p[1].slot->blocks);
	EXPECT_EQ(ROUNDS, pp.p[0].slot->handoffs + pp.p[1].slot->handoffs);
	EXPECT_EQ(ROUNDS, pp.p[0].slot->lost + pp.p[1].slot->lost);
	EXPECT_EQ(ROUNDS, k_fdinfo(k, "handoffs"));
	EXPECT_EQ(0, k->h->spinning);
}

static struct {
	const struct kind *kind;
	struct blocker *b;
	long switches, bad;
} alone;

static long order_block(struct puppet *p, long depth)
{
	uint32_t proc = p->slot->proc;

	alone.switches += block_once(alone.kind, alone.b, p->slot, depth);
	alone.bad += p->slot->proc != proc;
	return 0;
}

/* Puppet a, on a proc, blocks and is woken @n times. */
static bool block_alone(struct puppet *a, const struct kind *kind, struct blocker *b, int n,
			unsigned int depth, unsigned int idle_then)
{
	int i;

	alone.kind = kind;
	alone.b = b;
	alone.bad = 0;
	alone.switches = 0;
	for (i = 0; i < n; i++) {
		unsigned long blocks = a->slot->blocks + a->slot->depth_blocks;

		puppet_start(a, order_block, depth);
		/* Those that need no release may be back at once. */
		if (kind->release != nothing &&
		    !until(a->slot->blocks + a->slot->depth_blocks > blocks &&
			   a->k->h->idle == idle_then &&
			   __atomic_load_n(&b->armed, __ATOMIC_SEQ_CST) && puppet_asleep(a)))
			return false;
		kind->release(b);
		if (puppet_finish(a) != 0)
			return false;
	}
	return true;
}

/* Without demand each block is seen, nobody is woken, and the old proc is back. */
TEST_F(block, no_demand)
{
	struct ktx *k = &self->k;
	struct puppet a, standby;

	if (self->absent)
		return;
	k_open(k, 2);
	puppet_new(&a, k);
	puppet_new(&standby, k);
	/* Not the first proc, which is idle, too: it must be the old one. */
	ASSERT_EQ(0, puppet_run(&standby, order_acquire, 0));
	ASSERT_EQ(1, puppet_run(&a, order_acquire, 0));
	ASSERT_TRUE(puppet_standby(&standby));

	EXPECT_TRUE(block_alone(&a, self->kind, self->b, ROUNDS, 0, 2));
	EXPECT_EQ(0, alone.bad);
	if (self->kind->once) {
		if (!k_realtime())
			EXPECT_EQ(ROUNDS, alone.switches);
		EXPECT_EQ(ROUNDS, a.slot->blocks);
	}
	EXPECT_LE(ROUNDS, a.slot->blocks);
	EXPECT_LE(a.slot->blocks, alone.switches);
	EXPECT_EQ(a.slot->blocks, a.slot->returns);
	EXPECT_EQ(0, a.slot->handoffs);
	EXPECT_EQ(0, a.slot->lost);
	EXPECT_EQ(0, a.slot->pending);
	EXPECT_EQ(0, standby.slot->grants);
	EXPECT_EQ(1, k->h->standby);
	EXPECT_TRUE(k_idle_exact(k, 1));
}

/* With the depth raised the proc is kept, whatever the demand, and it is counted. */
TEST_F(block, depth)
{
	struct ktx *k = &self->k;
	struct puppet a, standby;
	unsigned long before;

	if (self->absent)
		return;
	k_open(k, 1);
	puppet_new(&a, k);
	puppet_new(&standby, k);
	ASSERT_TRUE(puppet_standby(&standby));
	ASSERT_EQ(0, puppet_run(&a, order_acquire, 0));
	k_queue(k, 0, 1);
	before = a.slot->depth_blocks;

	EXPECT_TRUE(block_alone(&a, self->kind, self->b, 20, 3, 0));
	EXPECT_EQ(0, alone.bad);
	EXPECT_EQ(0, a.slot->blocks);
	/* At least one each; the puppet also sleeps between its orders. */
	EXPECT_LE(before + 20, a.slot->depth_blocks);
	EXPECT_EQ(0, standby.slot->grants);
	EXPECT_EQ(a.w + 1, k->p[0].owner);
}

TEST_HARNESS_MAIN
