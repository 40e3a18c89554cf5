/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The deadlock report. A worker that found no work parks with a short deadline; when
 * that passes it asks here whether anything can ever happen again. Nothing can when,
 * while a gs_run is active: every proc is idle, every queue empty, every fiber waits, none
 * of them for I/O, no timer is armed or firing, and the process has no thread but the
 * runtime's, those waiting in gs_run and the kernel's I/O workers. All of that is stable once true,
 * for only a fiber, a timer or another thread could change it; so it is looked at twice, with the
 * sum of all schedulings in between unchanged, and then it is the truth.
 *
 * Every worker that gave up a proc asks once, so the last one to park asks after all
 * others have parked.
 */
#include "debug.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gsched/debug.h>
#include <gsched/runtime.h>
#include <gsched/time.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "arch.h"
#include "backend.h"
#include "backtrace.h"
#include "base/fatal.h"
#include "base/syscall.h"
#include "config.h"
#include "fiber.h"
#include "kick.h"
#include "leak.h"
#include "netpoll.h"
#include "poller.h"
#include "runq.h"
#include "sched_int.h"
#include "sigwrap.h"
#include "timer.h"
#include "tls.h"
#include "upcall.h"

#define RECHECK_NS INT64_C(1000000000)

static uint32_t mains; /* atomic: gs_run calls that wait */
static struct gs_lock report_lock;
static int64_t started; /* written once */

static void say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(int fd, const char *fmt, ...)
{
	char buf[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(buf) - 1)
		n = sizeof(buf) - 1;
	if (n > 0)
		gs_write_raw(fd, buf, (size_t)n);
}

void gs_debug_main_started(void)
{
	gs_fetch_add_seq(&mains, 1);
}

void gs_debug_main_ended(void)
{
	gs_fetch_sub_seq(&mains, 1);
}

/* ------------------------------------------------------------------------- */

/*
 * A dump goes beside running fibers, and one that waits now may run, or be gone, at the
 * next instruction. So its stack is copied, by a system call that fails where the memory
 * is gone; the fiber's seqcount (turns) says whether it stood still meanwhile. The
 * unwinder then walks the copy, in which every word that points into the stack was moved
 * along. Scheduler and fibers pay two stores a switch for it and never wait.
 *
 * Rejected: keeping gs_ready from going on while its fiber is walked: a dump may be
 * written to a pipe that a fiber reads.
 */
struct dump {
	int fd;
	char *copy; /* mapped */
	size_t size;
	bool leaks; /* mark those that can never run again: gs_leak_check */
};

#define RED_ZONE 128

/* More than this in use: no backtrace. */
#define DUMP_MAX_STACK ((size_t)64 << 20)

static bool dump_grow(struct dump *d, size_t need)
{
	size_t size = d->size ? d->size : (size_t)64 << 10;
	void *p;

	while (size < need)
		size *= 2;
	if (size == d->size)
		return true;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return false;
	if (d->copy)
		munmap(d->copy, d->size);
	d->copy = p;
	d->size = size;
	return true;
}

/* Copy memory of this process that may not be there. */
static bool dump_read(void *to, uintptr_t from, size_t size)
{
	struct iovec local = {to, size}, remote = {(void *)from, size};
	long fd, n;

	n = gs_syscall6(SYS_process_vm_readv, getpid(), (long)&local, 1, (long)&remote, 1, 0);
	if (n != -ENOSYS)
		return n == (long)size;
	/* a kernel without CROSS_MEMORY_ATTACH */
	fd = gs_syscall6(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDONLY | O_CLOEXEC, 0, 0,
			 0);
	n = gs_syscall6(SYS_pread64, fd, (long)to, (long)size, (long)from, 0, 0);
	gs_syscall3(SYS_close, fd, 0, 0);
	return n == (long)size;
}

static void print_parked(void *arg)
{
	/* without this function and gs_unwind_parked; the empty asm keeps it a call */
	gs_backtrace_print(((struct dump *)arg)->fd, 2);
	__asm__ volatile("");
}

/* A piece of memory that is in use, and how far its copy lies from it. */
struct part {
	uintptr_t from;
	size_t size;
	uintptr_t moved;
};

/* Words of the copy that point into what was copied point into the copy then. */
static void dump_relocate(struct dump *d, size_t size, const struct part *part, int n)
{
	uintptr_t *word = (uintptr_t *)d->copy;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		for (int k = 0; k < n; k++)
			if (word[i] - part[k].from < part[k].size) {
				word[i] += part[k].moved;
				break;
			}
}

/*
 * The used part of f's stack into d->copy, behind what it uses of its upcall area if it
 * was interrupted and travels. How far the stack was moved; 0 if f did not stand still.
 */
static uintptr_t dump_stack(struct dump *d, struct gs_fiber *f, uint32_t turns)
{
	uintptr_t sp = (uintptr_t)gs_load_relaxed(&f->ref.sp);
	uintptr_t lo = (uintptr_t)gs_load_relaxed(&f->ref.stack.lo);
	uintptr_t top = lo + gs_load_relaxed(&f->ref.stack.size);
	const struct gs_tls *t = gs_load_relaxed(&f->tls); /* never freed */
	struct part part[2];
	size_t size = 0;
	int n = 0;

	if (turns % 2)
		return 0;
	if (t && (uintptr_t)t->area - sp < GS_UPCALL_AREA) {
		part[n++] = (struct part){.from = sp, .size = (uintptr_t)t->area - sp};
		sp = (uintptr_t)gs_load_relaxed(&f->low);
		/*
		 * The red zone, too: in an epilogue's last instructions CFI says of registers
		 * that were popped already that they are still below the stack pointer.
		 */
		if (sp - lo >= RED_ZONE)
			sp -= RED_ZONE;
	}
	if (sp < lo || sp > top)
		return 0; /* in a signal handler on the upcall area; or it is gone */
	part[n++] = (struct part){.from = sp, .size = top - sp};
	for (int i = 0; i < n; i++) {
		if (part[i].from % sizeof(uintptr_t) && i == 0)
			return 0;
		/* whole words: the interrupted stack pointer may be anything */
		part[i].size += part[i].from % sizeof(uintptr_t);
		part[i].from -= part[i].from % sizeof(uintptr_t);
		size += part[i].size;
	}
	if (size > DUMP_MAX_STACK || !dump_grow(d, size))
		return 0;
	size = 0;
	for (int i = 0; i < n; i++) {
		if (!dump_read(d->copy + size, part[i].from, part[i].size))
			return 0;
		part[i].moved = (uintptr_t)d->copy + size - part[i].from;
		size += part[i].size;
	}
	gs_full_fence();
	/* pairs with gs_fiber_stack_enter: unchanged, so the copy is from before it */
	if (gs_load_relaxed(&f->turns) != turns)
		return 0;
	dump_relocate(d, size, part, n);
	return part[n - 1].moved;
}

/* It waits, and nobody can ever ready it. */
static bool leaked(const struct gs_fiber *f, uint32_t state)
{
	uint32_t reason = gs_load_relaxed(&f->reason);

	return state == GS_WAITING &&
	       (gs_load_relaxed(&f->leaked) || reason == GS_WAIT_CHAN_SEND_NIL ||
		reason == GS_WAIT_CHAN_RECV_NIL || reason == GS_WAIT_SELECT_NONE);
}

static bool dump_fiber(struct gs_fiber *f, void *arg)
{
	struct dump *d = arg;
	uint32_t turns = gs_load_acquire(&f->turns);
	uint32_t state = gs_load_relaxed(&f->state);
	uint32_t reason = gs_load_relaxed(&f->reason);
	uint64_t id = gs_load_relaxed(&f->id);
	uintptr_t cold = (uintptr_t)gs_load_relaxed(&f->cold), moved;
	const char *text = "running", *where = "running on a thread";
	char name[sizeof(f->cold->name)] = "";
	uintptr_t fn = (uintptr_t)gs_load_relaxed(&f->fn);
	uintptr_t from = (uintptr_t)gs_load_relaxed(&f->from);

	if (state == GS_IDLE || state == GS_DEAD)
		return true;
	moved = cold ? dump_stack(d, f, turns) : 0;
	if (moved) {
		text = state == GS_WAITING || reason == GS_WAIT_PREEMPTED ? gs_wait_text(reason)
									  : "runnable";
		memcpy(name, ((struct gs_fiber_cold *)(cold + moved))->name, sizeof(name));
	} else if (!cold) {
		text = "runnable";
	} else if (!dump_read(name, cold + offsetof(struct gs_fiber_cold, name), sizeof(name))) {
		name[0] = '\0'; /* it ended */
	}
	if (!moved && state == GS_RUNNABLE && reason == GS_WAIT_PREEMPTED) {
		text = gs_wait_text(reason);
		where = "interrupted on its thread";
	}
	name[sizeof(name) - 1] = '\0';
	say(d->fd, "\nfiber %llu [%s%s%s]:%s%s\n", (unsigned long long)id, text,
	    d->leaks && leaked(f, state) ? " (leaked)" : "",
	    cold && gs_load_relaxed(&f->locks) ? ", locked to thread" : "", name[0] ? " " : "",
	    name);
	if (moved)
		gs_unwind_parked(d->copy, print_parked, d);
	else if (!cold)
		gs_backtrace_print_kept(d->fd, (void *const *)&fn, 1); /* where it will begin */
	else
		say(d->fd, "\tfiber %s; stack unavailable\n", where);
	if (from) {
		void *call = (void *)(from - 1);

		say(d->fd, "created by ");
		gs_backtrace_print_kept(d->fd, &call, 1);
	}
	return true;
}

void gs_dump(int fd)
{
	struct dump d = {.fd = fd};

	gs_fiber_each(dump_fiber, &d);
	if (d.copy)
		munmap(d.copy, d.size);
}

/* ------------------------------------------------------------------------- */

struct leaks {
	struct dump dump;
	const struct gs_fiber *self;
	int fibers, leaked;
	bool waiting; /* leak_rest: all the others are */
	bool print;   /* the second time */
};

static bool leak_fiber(struct gs_fiber *f, void *arg)
{
	struct leaks *l = arg;
	uint32_t state = gs_load_relaxed(&f->state);

	if (f == l->self || state == GS_IDLE || state == GS_DEAD)
		return true;
	if (l->print)
		return dump_fiber(f, &l->dump);
	l->fibers++;
	l->leaked += leaked(f, state);
	return true;
}

static bool leak_waits(struct gs_fiber *f, void *arg)
{
	struct leaks *l = arg;

	l->waiting = f == l->self || gs_load_relaxed(&f->state) == GS_WAITING;
	return l->waiting;
}

/* Who has just said that he is done may not have ended yet. */
static void leak_rest(struct leaks *l)
{
	const int64_t end = gs_now() + RECHECK_NS;

	for (int64_t ns = 10000; gs_now() < end; ns *= 2) {
		l->waiting = true;
		gs_fiber_each(leak_waits, l);
		if (l->waiting)
			break;
		gs_sleep(ns);
	}
}

int gs_leak_check(int fd)
{
	static const char *const kinds[GS_LEAK_KINDS] = {
		[GS_LEAK_CHAN] = "channel",
		[GS_LEAK_TIMER] = "timer",
		[GS_LEAK_CONTEXT] = "context",
	};
	struct leaks l = {.dump = {.fd = fd, .leaks = true}, .self = gs_self_outside()};
	struct gs_leak *objects = NULL;
	size_t n = 0;

	leak_rest(&l);
	if (gs_leak_on())
		objects = gs_leak_copy(&n);
	gs_fiber_each(leak_fiber, &l);
	if (l.fibers || n)
		say(fd,
		    "gsched: leak check: %d fibers not finished, %d of them for ever; "
		    "%zu objects not freed\n",
		    l.fibers, l.leaked, n);
	l.print = true;
	gs_fiber_each(leak_fiber, &l);
	if (l.dump.copy)
		munmap(l.dump.copy, l.dump.size);
	for (size_t i = 0; i < n; i++) {
		say(fd, "\n%s %p, made by:\n", kinds[objects[i].kind], objects[i].object);
		gs_backtrace_print_kept(fd, objects[i].pcs, objects[i].npcs);
	}
	free(objects);
	return l.fibers + (int)n;
}

int gs_stats(struct gs_stats *s)
{
	struct gs_backend_counts c = {0};
	int r = gs_rt_start();

	memset(s, 0, sizeof(*s));
	if (r)
		return r;
	s->backend = gs_load_acquire(&gs_be)->name;
	s->procs = gs_load_relaxed(&gs_hdr->nproc);
	s->idle_procs = gs_load_relaxed(&gs_hdr->idle);
	s->standbys = gs_load_relaxed(&gs_hdr->standby);
	s->spinning = gs_load_relaxed(&gs_hdr->spinning);
	s->fibers = gs_num_fibers();
	s->queued = gs_load_relaxed(&gs_hdr->global_len) + gs_load_relaxed(&gs_hdr->express_len) +
		    gs_load_relaxed(&gs_hdr->bound_runnable);
	for (uint32_t p = 0; p < gs_load_relaxed(&gs_hdr->procs_used); p++) {
		const struct gs_line *l = &gs_lines[p];
		uint32_t head = gs_load_relaxed(&l->head);

		s->queued += gs_load_relaxed(&l->tail) - head;
		s->queued += gs_load_relaxed(&l->runnext) != 0;
		s->switches += gs_load_relaxed(&gs_procs[p].turn);
	}
	gs_workers_count(s);
	s->kicks = gs_load_relaxed(&gs_kicks);
	gs_load_acquire(&gs_be)->counts(&c);
	s->ticks = c.ticks;
	s->preempts = c.preempts;
	s->interrupted = c.interrupted;
	return 0;
}

/* ------------------------------------------------------------------------- */

/*
 * A fiber without a proc, one that lost it in a block, waits for none when it parks: it is
 * about to be queued, and until then stands nowhere else than in its reason.
 */
static bool all_waiting(struct gs_fiber *f, void *arg)
{
	bool *all = arg;
	uint8_t reason;

	/* acquire: pairs with the release in leave_fiber, so the reason is this state's */
	*all = gs_load_acquire(&f->state) == GS_WAITING;
	reason = gs_load_relaxed(&f->reason);
	if (reason == GS_WAIT_PROC || reason == GS_WAIT_PREEMPTED || reason == GS_WAIT_YIELD)
		*all = false;
	return *all;
}

static bool quiet(uint64_t *turns)
{
	uint32_t n = gs_load_relaxed(&gs_hdr->procs_used);
	bool all = true;

	if (gs_load_seq(&gs_hdr->idle) < gs_load_relaxed(&gs_hdr->nproc) ||
	    gs_load_seq(&gs_hdr->global_len) || gs_load_seq(&gs_hdr->express_len) ||
	    gs_timers_pending() || gs_load_seq(&gs_io_waiting))
		return false;
	*turns = 0;
	for (uint32_t p = 0; p < n; p++) {
		if (!gs_runq_empty(&gs_procs[p]))
			return false;
		*turns += gs_load_relaxed(&gs_procs[p].turn);
	}
	gs_fiber_each(all_waiting, &all);
	return all;
}

/* A file of a thread's, as text; empty if the thread is gone. */
static void task_file(const char *tid, const char *file, char *text, size_t size)
{
	char path[300];
	long fd, n;

	snprintf(path, sizeof(path), "/proc/self/task/%s/%s", tid, file);
	fd = gs_syscall3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
	n = gs_syscall3(SYS_read, fd, text, size - 1);
	if (fd >= 0)
		gs_syscall3(SYS_close, fd, 0, 0);
	text[n > 0 ? n : 0] = '\0';
}

/* The kernel's own threads in this process: of io_uring, the library's or the program's. */
static bool io_worker(const char *tid)
{
	const unsigned long pf_io_worker = 0x10; /* include/linux/sched.h */
	char text[512], *s;

	task_file(tid, "stat", text, sizeof(text));
	/* pid (name) state ppid pgrp session tty tpgid flags; the name may hold anything */
	s = strrchr(text, ')');
	for (int i = 0; s && i < 7; i++)
		s = strchr(s + 1, ' ');
	return s && strtoul(s, NULL, 10) & pf_io_worker;
}

#ifdef GS_TSAN
/* A thread that blocks all signals, but for those libc and TSan keep for themselves. */
static bool sanitizer_thread(const char *tid)
{
	char text[2048];
	const char *mask;

	task_file(tid, "status", text, sizeof(text));
	mask = strstr(text, "SigBlk:");
	return mask && strtoull(mask + 7, NULL, 16) >> 34 == 0x3fffffff;
}
#else
#define sanitizer_thread(tid) ((void)(tid), false)
#endif

/*
 * Threads that the runtime did not make and that are nobody's: I/O workers, and TSan's
 * background threads: one, or two in the child of a fork. They block all signals, which of
 * the others those of gs_thread_start do. By raw system calls, for TSan watches
 * descriptors as well.
 */
static long others_threads(void)
{
	long fd = gs_syscall3(SYS_open, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	char buf[4096] __attribute__((aligned(8)));
	long workers = 0, n = -(long)gs_load_seq(&gs_nblind), len;

	while (fd >= 0 && (len = gs_syscall3(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		const struct dirent64 *e;

		for (long at = 0; at < len; at += e->d_reclen) {
			e = (const void *)(buf + at);
			if (e->d_name[0] == '.')
				continue;
			if (io_worker(e->d_name))
				workers++;
			else
				n += sanitizer_thread(e->d_name);
		}
	}
	if (fd >= 0)
		gs_syscall3(SYS_close, fd, 0, 0);
	return workers + (n > 0 ? n : 0);
}

/* Threads that are neither the runtime's, nor waiting in gs_run, nor as above. */
static bool other_threads(void)
{
	long ours = gs_load_seq(&gs_nthreads) + gs_load_seq(&mains);
	struct stat st;

	if (stat("/proc/self/task", &st))
		return true; /* cannot know: no report */
	if ((long)st.st_nlink - 2 <= ours)
		return false;
	return (long)st.st_nlink - 2 > ours + others_threads();
}

static void idle_check(int64_t *next)
{
	uint64_t before, after;

	if (!gs_load_seq(&mains) || !quiet(&before))
		return;
	if (other_threads()) {
		*next = RECHECK_NS;
		return;
	}
	gs_full_fence();
	if (!quiet(&after) || before != after || !gs_load_seq(&mains))
		return;
	gs_lock_acquire(&report_lock); /* held for good: one report */
	if (gs_load_seq(&gs_mains_left))
		say(2, "fatal error: no goroutines (main called runtime.Goexit) - deadlock!\n");
	else
		say(2, "fatal error: all goroutines are asleep - deadlock!\n");
	gs_dump(2);
	_exit(2);
}

/* ------------------------------------------------------------------------- */

/*
 * SIGQUIT, unless the program has a handler or ignores it when the runtime starts, or
 * installs one later. The handler may have interrupted anything but itself: what it calls
 * takes no lock of the runtime's, and no libc lock that its own thread might hold, but for
 * the dynamic linker's, which is recursive. In the child of a fork it is as if it were not.
 */
static void sigquit(int signo)
{
	if (!gs_load_acquire(&gs_be)) {
		signal(signo, SIG_DFL);
		raise(signo); /* comes when the handler returns */
		return;
	}
	gs_dying();
	say(2, "SIGQUIT: quit\n");
	gs_dump(2);
	gs_die(2);
}

/* One line in the manner of Go's schedtrace. On the poller. */
static void schedtrace(void)
{
	struct gs_stats s;
	char queues[1024];
	size_t len = 0;

	gs_stats(&s);
	for (uint32_t p = 0; p < s.procs && len < sizeof(queues) - 16; p++) {
		uint32_t head = gs_load_relaxed(&gs_lines[p].head);
		uint32_t n = gs_load_relaxed(&gs_lines[p].tail) - head;

		n += gs_load_relaxed(&gs_lines[p].runnext) != 0;
		len += (size_t)snprintf(queues + len, sizeof(queues) - len, "%s%u", p ? " " : "",
					n);
	}
	say(2,
	    "SCHED %lldms: gomaxprocs=%u idleprocs=%u threads=%u spinningthreads=%u "
	    "idlethreads=%u fibers=%llu runqueue=%u [%s] blocks=%llu handoffs=%llu "
	    "returns=%llu lost=%llu\n",
	    (long long)((gs_now() - started) / 1000000), s.procs, s.idle_procs, s.workers,
	    s.spinning, s.standbys, (unsigned long long)s.fibers,
	    gs_load_relaxed(&gs_hdr->global_len), queues, (unsigned long long)s.blocks,
	    (unsigned long long)s.handoffs, (unsigned long long)s.returns,
	    (unsigned long long)s.lost);
}

void gs_debug_init(const struct gs_config *c)
{
	const struct sigaction quit = {.sa_handler = sigquit, .sa_flags = SA_ONSTACK | SA_RESTART};

	started = gs_now();
	gs_idle_hook = idle_check;
	gs_sig_set_default(SIGQUIT, quit);
	if (c->schedtrace_ns)
		gs_poller_add_periodic(schedtrace, c->schedtrace_ns);
}
