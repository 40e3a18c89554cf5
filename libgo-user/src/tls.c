/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making TLS contexts for glibc.
 *
 * The dynamic linker makes the static TLS and the dtv (_dl_allocate_tls); the thread
 * control block in front of it is libc's struct pthread, whose layout is private. So it
 * is not filled in but copied: a probe thread copies its own, and in each copy the words
 * that point into it are moved along, those that point into the probe's stack are
 * cleared, and what must be each context's own is set:
 *
 *   self pointers, dtv		as the psABI says: words 0, 2 and 1
 *   tid			unique and that of no thread: recursive and error-checking
 *				mutexes know their owner by it, and it must stay the same
 *				when the fiber goes on elsewhere
 *   list			linked into libc's list of threads with stacks of their own:
 *			dlopen walks it to initialise static TLS that it hands out late,
 *			and to wait for those who are looking up a symbol
 *   stack			none: fibers bring their own
 *   rseq			not registered; cpu_id says so
 *   __resp			its own resolver state
 *
 * The offsets come from what libc publishes for debuggers (_thread_db_*), from
 * __rseq_offset, and from looking for the probe's stack. Whatever is not as expected ends
 * in "not here", and interrupted fibers keep their threads (preempt.c).
 *
 * Contexts are never freed, but pooled: libc does not give back all of what hangs on one.
 */
#include "tls.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "base/lock.h"
#include "base/mmap.h"
#include "base/sanitizer.h"
#include "base/syscall.h"
#include "upcall.h"

#if defined(GS_TSAN) || defined(GS_ASAN)
#define WHY_NOT "a sanitizer watches threads"
#elif !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 35)
#define WHY_NOT "not glibc 2.35 or later"
#else
#include <sys/rseq.h>
#endif

/* Touched beforehand: a page fault at raised depth would keep the proc. */
#define AREA_TOUCHED ((size_t)16 << 10)
#define GUARD ((size_t)4096)

bool gs_tls_travels;
bool gs_tls_unprotected;

struct pool {
	struct gs_lock lock;
	struct gs_tls *first; /* lock */
	uint32_t n;	      /* lock; read by all: relaxed */
};

static struct pool used, clean; /* for anybody; for fibers with their own */
static uint32_t made, owned;	/* atomic: all there are; those of fibers with their own */

static struct gs_tls *pool_get(struct pool *p)
{
	bool pinned = gs_arch_pin_worker();
	struct gs_tls *t;

	gs_lock_acquire(&p->lock);
	t = p->first;
	if (t) {
		p->first = t->next;
		gs_store_relaxed(&p->n, p->n - 1);
	}
	gs_lock_release(&p->lock);
	gs_arch_unpin_worker(pinned);
	return t;
}

static void pool_put(struct pool *p, struct gs_tls *t)
{
	bool pinned = gs_arch_pin_worker();

	gs_lock_acquire(&p->lock);
	t->next = p->first;
	p->first = t;
	gs_store_relaxed(&p->n, p->n + 1);
	gs_lock_release(&p->lock);
	gs_arch_unpin_worker(pinned);
}

struct gs_tls *gs_tls_get(void)
{
	return pool_get(&used);
}

void gs_tls_put(struct gs_tls *t)
{
	pool_put(&used, t);
}

struct gs_tls *gs_tls_get_own(void)
{
	struct gs_tls *t = pool_get(&clean);

	if (t)
		return t;
	t = gs_tls_make();
	if (t)
		gs_fetch_add_relaxed(&owned, 1);
	return t;
}

void gs_tls_put_own(struct gs_tls *t)
{
	if (t)
		pool_put(&clean, t);
}

uint32_t gs_tls_pooled(void)
{
	return gs_load_relaxed(&used.n);
}

uint32_t gs_tls_made(void)
{
	return gs_load_relaxed(&made) - gs_load_relaxed(&owned);
}

/* An upcall area above a guard page, and `more` bytes above it. */
static char *map_area(size_t more)
{
	char *p = gs_mmap(GUARD + GS_UPCALL_AREA + more, 0);
	char *top;

	if (!p)
		return NULL;
	gs_syscall3(SYS_mprotect, p, GUARD, PROT_NONE);
	top = p + GUARD + GS_UPCALL_AREA;
	for (size_t i = 4096; i <= AREA_TOUCHED; i += 4096)
		*(volatile char *)(top - i) = 0;
	return top;
}

/* Areas of threads that ended, linked through their last words. */
static struct gs_lock areas_lock;
static char *areas; /* areas_lock */

static char **area_link(char *top)
{
	return (char **)(void *)(top - 64);
}

char *gs_tls_area(void)
{
	char *top;

	gs_lock_acquire(&areas_lock);
	top = areas;
	if (top)
		areas = *area_link(top);
	gs_lock_release(&areas_lock);
	return top ? top : map_area(0);
}

void gs_tls_area_free(char *top)
{
	gs_lock_acquire(&areas_lock);
	*area_link(top) = areas;
	areas = top;
	gs_lock_release(&areas_lock);
}

/* ------------------------------------------------------------------------- */
/* libc's code                                                                 */

#define MAX_RANGES 8

static struct range {
	uintptr_t lo, hi;
} ranges[MAX_RANGES]; /* written at init */
static int nranges;

bool gs_tls_in_libc(uintptr_t ip)
{
	for (int i = 0; i < nranges; i++)
		if (ip - ranges[i].lo < ranges[i].hi - ranges[i].lo)
			return true;
	return false;
}

#ifndef WHY_NOT

/* The executable segments of the object that holds the address. */
static int add_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t addr = *(uintptr_t *)arg;
	bool ours = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		ours |= p->p_type == PT_LOAD && addr - (info->dlpi_addr + p->p_vaddr) < p->p_memsz;
	}
	for (int i = 0; ours && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t lo = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || gs_tls_in_libc(lo))
			continue;
		if (nranges == MAX_RANGES)
			return -1;
		ranges[nranges].lo = lo;
		ranges[nranges++].hi = lo + p->p_memsz;
	}
	return ours;
}

static bool find_code(void)
{
	static const char *const names[] = {"pthread_create", "write", "malloc",
					    "calloc",	      "free",  "_dl_allocate_tls"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uintptr_t addr = (uintptr_t)dlsym(RTLD_DEFAULT, names[i]);

		if (!addr)
			addr = (uintptr_t)dlvsym(RTLD_DEFAULT, names[i], "GLIBC_PRIVATE");
		if (!addr || dl_iterate_phdr(add_object, &addr) != 1)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------- */
/* The layout                                                                  */

/* libc's record of a pthread key */
struct key {
	uintptr_t seq;
	void (*destructor)(void *);
};

/* an element of libc's lists, and the head of one */
struct node {
	struct node *next, *prev;
};

static struct {
	void *(*allocate_tls)(void *tcb);
	void (*ctype_init)(void);
	void (*call_tls_dtors)(void);
	const struct key *keys;
	size_t static_size, align, tcb_size;
	void (*init_tls)(void *tcb, bool data);
	struct node *threads;
	size_t tid, list, stack, stack_size;
	ptrdiff_t rseq, resp, res; /* from the thread pointer; the first may lie below it */
	char *tcb;		   /* the probe's, as it was */
	uintptr_t tp;		   /* where it was */
} lay;

#define PROBE_STACK (((size_t)512 << 10) + 5 * 4096) /* a size that stands nowhere else */
#define FAKE_TID 0x20000000			     /* above what the kernel gives out */

static void *libc_symbol(const char *name)
{
	return dlvsym(RTLD_DEFAULT, name, "GLIBC_PRIVATE");
}

/* The offset of a field of struct pthread: libc's table for debuggers. 0: not there. */
static size_t field(const char *name)
{
	const uint32_t *d = libc_symbol(name); /* bits, elements, offset */

	return d ? d[2] : 0;
}

/* libc's list of the threads that brought their stacks, and of the first one; or NULL. */
static struct node *libc_threads(void)
{
	char *rtld = libc_symbol("_rtld_global");
	size_t at = field("_thread_db_rtld_global__dl_stack_user");

	return rtld && at ? (struct node *)(void *)(rtld + at) : NULL;
}

struct probe {
	char *stack;
	const char *why; /* not NULL: not as expected */
};

static void *probe(void *arg)
{
	struct probe *p = arg;
	char *tp = gs_arch_tp();
	uintptr_t lo = (uintptr_t)p->stack;
	void **resp = libc_symbol("__resp");
	int stacks = 0, sizes = 0;

	if (*(char **)tp != tp || ((char **)tp)[2] != tp)
		p->why = "the thread pointer does not point to itself";
	else if (*(int *)(tp + lay.tid) != (int)gs_syscall3(SYS_gettid, 0, 0, 0))
		p->why = "the thread's id is not where it should be";
	else if (!resp || *resp < (void *)tp || *resp >= (void *)(tp + lay.tcb_size))
		p->why = "the resolver's state is not in the control block";
	if (p->why)
		return NULL;
	lay.tp = (uintptr_t)tp;
	lay.resp = (char *)resp - tp;
	lay.res = (char *)*resp - tp;
	memcpy(lay.tcb, tp, lay.tcb_size);
	/* word 0 to 2 are the psABI's, and set for each */
	for (size_t i = 24; i + 8 <= lay.tcb_size; i += 8) {
		uintptr_t word = *(uintptr_t *)(lay.tcb + i);

		if (word == PROBE_STACK) {
			lay.stack_size = i;
			sizes++;
		} else if (word == lo) {
			lay.stack = i;
			stacks++;
		} else if (word - lo < PROBE_STACK && word - lay.tp >= lay.tcb_size) {
			/* something of this thread's own, such as its rseq or its argument */
			*(uintptr_t *)(lay.tcb + i) = 0;
		}
	}
	if (stacks != 1 || sizes != 1)
		p->why = "the stack's bounds are not in the control block";
	return NULL;
}

static const char *learn(void)
{
	void (*info)(size_t *, size_t *) =
		(void (*)(size_t *, size_t *))libc_symbol("_dl_get_tls_static_info");
	const uint32_t *sizeof_pthread = libc_symbol("_thread_db_sizeof_pthread");
	struct probe p = {0};
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	lay.allocate_tls = (void *(*)(void *))libc_symbol("_dl_allocate_tls");
	lay.ctype_init = (void (*)(void))libc_symbol("__ctype_init");
	lay.call_tls_dtors = (void (*)(void))libc_symbol("__call_tls_dtors");
	lay.keys = libc_symbol("__pthread_keys");
	lay.tid = field("_thread_db_pthread_tid");
	lay.list = field("_thread_db_pthread_list");
	if (!info || !sizeof_pthread || !lay.allocate_tls || !lay.ctype_init ||
	    !lay.call_tls_dtors || !lay.keys || !lay.tid || !lay.list)
		return "this libc does not say how its threads are made";
	lay.init_tls = (void (*)(void *, bool))libc_symbol("_dl_allocate_tls_init");
	lay.threads = libc_threads();
	info(&lay.static_size, &lay.align);
	lay.tcb_size = *sizeof_pthread;
	lay.rseq = __rseq_offset;
	if (lay.align & (lay.align - 1) || lay.align > 4096 || lay.static_size < lay.tcb_size ||
	    lay.static_size > (size_t)1 << 20 || lay.tid + 4 > lay.tcb_size ||
	    lay.list + 16 > lay.tcb_size)
		return "the sizes of thread-local storage make no sense";
	if (lay.rseq > (ptrdiff_t)lay.tcb_size - 32 ||
	    lay.rseq < (ptrdiff_t)lay.tcb_size - (ptrdiff_t)lay.static_size)
		return "the rseq area is not in thread-local storage";
	if (!find_code())
		return "libc's code cannot be told from the program's";
	lay.tcb = malloc(lay.tcb_size);
	if (!lay.tcb)
		return "no memory";
	p.stack =
		mmap(NULL, PROBE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p.stack == MAP_FAILED)
		return "no memory";
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, p.stack, PROBE_STACK);
	err = pthread_create(&thread, &attr, probe, &p);
	pthread_attr_destroy(&attr);
	if (err)
		p.why = "no thread could be started";
	else
		pthread_join(thread, NULL);
	munmap(p.stack, PROBE_STACK);
	return p.why;
}

/* ------------------------------------------------------------------------- */
/* A context                                                                   */

/* An ordinary thread uses a context for a moment: with all signals blocked, libc's too. */
static void *borrow(void *tp, uint64_t *mask)
{
	static const uint64_t all = UINT64_MAX;
	void *native = gs_arch_tp();

	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)mask, sizeof(all), 0, 0);
	gs_arch_set_tp(tp);
	return native;
}

static void hand_back(void *native, const uint64_t *mask)
{
	gs_arch_set_tp(native);
	gs_syscall6(SYS_rt_sigprocmask, SIG_SETMASK, (long)mask, 0, sizeof(*mask), 0, 0);
}

/*
 * What stands behind the head of libc's list: the stacks it keeps for later, their sum, one
 * that is being moved from list to list, and the lock of all these.
 */
struct libc_stacks {
	struct node threads, cache;
	size_t cache_size;
	uintptr_t in_flight;
	uint32_t lock; /* a futex: 2 when somebody sleeps on it */
};

static bool sound(const struct node *head)
{
	return head->next && head->prev && head->next->prev == head && head->prev->next == head;
}

/*
 * The contexts in libc's list stand between the first and the last one, which are made at
 * init and put there under libc's lock. From then on the words between those two are ours,
 * under chain_lock, and libc's is not needed: libc itself walks forward only, and writes to
 * neighbours.
 */
static struct gs_lock chain_lock; /* pinned */
static struct node *chain_end;	  /* the last one; written at init */

static struct node *node_of(const struct gs_tls *t)
{
	return (struct node *)(void *)((char *)t->tp + lay.list);
}

/* On no fiber, with signals as they are: setuid waits for all threads with the lock held. */
static bool start_chain(struct gs_tls *first, struct gs_tls *last)
{
	struct libc_stacks *s = (struct libc_stacks *)(void *)lay.threads;
	struct node *a = node_of(first), *b = node_of(last);
	uint32_t free;
	bool fits;

	if (!s || !lay.init_tls)
		return false;
	for (unsigned int n = 0; free = 0, !gs_cas_acquire(&s->lock, &free, 1); n++) {
		if (free > 2)
			return false;
		gs_backoff(n);
	}
	fits = sound(&s->threads) && sound(&s->cache) && !s->in_flight && s->cache_size % 4096 == 0;
	if (fits) {
		a->prev = &s->threads;
		a->next = b;
		b->prev = a;
		b->next = s->threads.next;
		b->next->prev = b;
		gs_store_release(&s->threads.next, a);
	}
	if (gs_xchg_seq(&s->lock, 0) == 2)
		gs_futex_wake(&s->lock, 1);
	chain_end = fits ? b : NULL;
	return fits;
}

/* A context made later. */
static void list(struct gs_tls *t)
{
	struct node *n = node_of(t);
	bool pinned = gs_arch_pin_worker();

	gs_lock_acquire(&chain_lock);
	n->next = chain_end;
	n->prev = chain_end->prev;
	gs_store_release(&n->prev->next, n); /* to libc's readers: with its next */
	chain_end->prev = n;
	gs_lock_release(&chain_lock);
	gs_arch_unpin_worker(pinned);
}

/* As at the start of a thread. */
static void start(struct gs_tls *t)
{
	uint64_t mask;
	void *native;

	/* once more: dlopen finds it from now on, but not what was loaded just before */
	if (chain_end)
		lay.init_tls(t->tp, true);
	/* the tables of <ctype.h> are found through a thread-local */
	native = borrow(t->tp, &mask);
	lay.ctype_init();
	hand_back(native, &mask);
}

struct gs_tls *gs_tls_make(void)
{
	size_t size = (lay.static_size + lay.align + sizeof(struct gs_tls) + 4095) & ~(size_t)4095;
	char *area = map_area(size), *tp;
	struct gs_tls *t;
	struct node *node;
	uintptr_t *word;
	void *dtv;

	if (!area)
		return NULL;
	t = (struct gs_tls *)area;
	tp = (char *)((uintptr_t)(area + size - lay.tcb_size) & ~(uintptr_t)(lay.align - 1));
	if (!lay.allocate_tls(tp)) {
		gs_munmap(area - GUARD - GS_UPCALL_AREA, GUARD + GS_UPCALL_AREA + size);
		return NULL;
	}
	word = (uintptr_t *)tp;
	dtv = (void *)word[1];
	memcpy(tp, lay.tcb, lay.tcb_size);
	for (size_t i = 3; i < lay.tcb_size / 8; i++)
		if (word[i] - lay.tp < lay.tcb_size)
			word[i] += (uintptr_t)tp - lay.tp;
	word[0] = (uintptr_t)tp;
	word[1] = (uintptr_t)dtv;
	word[2] = (uintptr_t)tp;
	*(uint32_t *)(tp + lay.tid) = FAKE_TID + gs_fetch_add_relaxed(&made, 1);
	node = (struct node *)(void *)(tp + lay.list);
	node->next = node;
	node->prev = node;
	*(void **)(tp + lay.stack) = NULL;
	*(size_t *)(tp + lay.stack_size) = 0;
	memset(tp + lay.rseq, 0, 32);
	((struct rseq *)(tp + lay.rseq))->cpu_id = (uint32_t)RSEQ_CPU_ID_REGISTRATION_FAILED;
	*(void **)(tp + lay.resp) = tp + lay.res;
	t->tp = tp;
	t->area = area;
	if (chain_end)
		list(t);
	start(t);
	return t;
}

/* The calling fiber's thread-locals of one object become what they are in a new thread. */
static int renew(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Phdr) *tls = NULL;

	(void)arg;
	if (size < offsetof(struct dl_phdr_info, dlpi_tls_data) + sizeof(info->dlpi_tls_data) ||
	    !info->dlpi_tls_data)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_TLS)
			tls = p;
		/* libc's, and where malloc keeps its caches: they live on */
		if (p->p_type == PT_LOAD && p->p_flags & PF_X &&
		    gs_tls_in_libc(info->dlpi_addr + p->p_vaddr))
			return 0;
	}
	if (tls) {
		/* who is interrupted in between would be on no worker */
		gs_arch_pin();
		memcpy(info->dlpi_tls_data, (void *)(info->dlpi_addr + tls->p_vaddr),
		       tls->p_filesz);
		memset((char *)info->dlpi_tls_data + tls->p_filesz, 0,
		       tls->p_memsz - tls->p_filesz);
		gs_arch_set_here(true);
		/* what it was asked for meanwhile is done when it ends, in a moment */
		gs_arch_unpin();
	}
	return 0;
}

void gs_tls_finish(void)
{
	bool any = true;

	lay.call_tls_dtors();
	for (int round = 0; any && round < PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
		any = false;
		for (unsigned int k = 0; k < PTHREAD_KEYS_MAX; k++) {
			void *value = pthread_getspecific(k);

			if (!value)
				continue;
			pthread_setspecific(k, NULL);
			if (lay.keys[k].destructor) {
				lay.keys[k].destructor(value);
				any = true;
			}
		}
	}
	uselocale(LC_GLOBAL_LOCALE);
	dl_iterate_phdr(renew, NULL);
}

/* ------------------------------------------------------------------------- */
/* The proof                                                                   */

static __thread uint32_t tls_word = 0x5eed;

/* Plain C on the context; false: something is not as it should be. */
static bool __attribute__((noinline)) works(void *tp)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t m;
	char text[64];
	bool ok;
	void *p;

	ok = pthread_self() == (pthread_t)tp && tls_word == 0x5eed && isalpha('a') && !isalpha('1');
	tls_word = 1;
	gs_arch_set_errno(0);
	ok = ok && strtol("99999999999999999999999", NULL, 10) && gs_arch_errno() == ERANGE;
	p = malloc(100);
	ok = ok && p;
	free(p);
	snprintf(text, sizeof(text), "%.3f %s", 1.5, strerror(ENOENT));
	ok = ok && !strncmp(text, "1.500 ", 6);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&m, &attr);
	ok = ok && !pthread_mutex_lock(&m) && pthread_mutex_lock(&m) == EDEADLK &&
	     !pthread_mutex_unlock(&m);
	pthread_mutex_destroy(&m);
	return ok;
}

static void *prove(void *arg)
{
	struct gs_tls *t = *(struct gs_tls **)arg;
	uint64_t mask;
	void *native;
	bool ok;

	tls_word = 0xbad;
	native = borrow(t->tp, &mask);
	ok = works(t->tp);
	hand_back(native, &mask);
	return ok && tls_word == 0xbad ? arg : NULL;
}

const char *gs_tls_init(void)
{
	const char *why;
	struct gs_tls *t, *last;
	pthread_t thread;
	void *proved = NULL;

	if (!gs_load_relaxed(&gs_arch_gs))
		return "no FSGSBASE";
	why = learn();
	if (why)
		return why;
	t = gs_tls_make();
	last = gs_tls_make();
	if (!t || !last)
		return "no memory";
	if (!start_chain(t, last))
		return "libc's list of threads is not as expected";
	start(t);
	start(last);
	if (pthread_create(&thread, NULL, prove, &t))
		return "no thread could be started";
	pthread_join(thread, &proved);
	if (!proved)
		return "a thread on a context of its own does not work";
	gs_tls_put(last);
	gs_tls_put(t);
	gs_tls_travels = true;
	return NULL;
}

#else /* WHY_NOT */

void gs_tls_finish(void) {}

const char *gs_tls_init(void)
{
	return WHY_NOT;
}

struct gs_tls *gs_tls_make(void)
{
	return NULL;
}

#endif

/* ------------------------------------------------------------------------- */
/* C++                                                                         */

long gs_tls_cxx_off;

/*
 * C++ ABI for Itanium, 2.2.2. Weak: a program that is linked statically has it if it throws, and
 * there dlsym finds nothing; dlsym finds what was loaded without the program asking for it.
 */
void *__cxa_get_globals(void) __attribute__((weak));

static long cxx_offset(void *(*globals)(void))
{
	return (char *)globals() - (char *)gs_arch_tp();
}

static void *cxx_probe(void *arg)
{
	return (void *)cxx_offset(*(void *(**)(void))arg);
}

void gs_tls_find_cxx(void)
{
	void *(*globals)(void) = __cxa_get_globals;
	pthread_t thread;
	void *there = NULL;

	if (!globals)
		globals = (void *(*)(void))dlsym(RTLD_DEFAULT, "__cxa_get_globals");
	if (!globals || pthread_create(&thread, NULL, cxx_probe, &globals))
		return;
	pthread_join(thread, &there);
	/* the same everywhere: static TLS, so it is there on every context */
	if ((long)there == cxx_offset(globals))
		gs_tls_cxx_off = (long)there;
}
