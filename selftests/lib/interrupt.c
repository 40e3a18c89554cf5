// SPDX-License-Identifier: GPL-2.0
/*
 * Any C code, interrupted anywhere: fibers call what programs call, each checks what it
 * gets, and the slices are short. What fails without the protection of thread-local storage
 * (GSCHED_TLS=none) is shown to fail.
 *
 * The tests end when they have seen enough interruptions and each kind of work often enough;
 * on kmod 3,000 in all, with GSCHED_TEST_LONG 100,000. The last test shows the sum.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dlfcn.h>
#include <gsched/sync.h>
#include <limits.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <spawn.h>
#include <wchar.h>
#include <sys/syscall.h>
#include <wctype.h>

/* the long runs take their time */
#define UT_TIMEOUT 800
#include "interrupts.h"

extern char **environ;

/* interrupt.cc, interrupt.so.c */
bool cxx_rethrow(int depth, long me);
long cxx_local(long set);
long cxx_locals(void);
extern const char interrupt_so[], interrupt_so_end[];

static gs_waitgroup all;
static int stop; /* atomic */
static long bad; /* atomic */

/* shared by all tests of this program */
static struct totals {
	unsigned long interruptions; /* atomic */
} * totals;

static void __attribute__((constructor)) make_totals(void)
{
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
}

#define KEEP(cond)                                                                                 \
	({                                                                                         \
		bool ut_ok = (cond);                                                               \
		if (!ut_ok && ADD(bad, 1) < 10)                                                    \
			ut_fail(__FILE__, __LINE__, "%s is false", #cond);                         \
		ut_ok;                                                                             \
	})

struct fiber {
	long me;
	uint32_t rng;
	bool own;    /* has thread-local storage of its own */
	bool waited; /* called the library since it was cleared */
	bool locked; /* has held the locks */
	long word;   /* with storage of its own: what it keeps there */
	pthread_t self;
	unsigned char *block[8];
	size_t size[8];
};

static uint32_t pick(struct fiber *f, uint32_t n)
{
	f->rng = f->rng * 1664525 + 1013904223;
	return (f->rng >> 8) % n;
}

static void compute(uint32_t n)
{
	for (volatile uint32_t i = 0; i < n; i++)
		;
}

/* ------------------------------------------------------------------------- */
/* Work: none of it waits by a call of the library's, but with storage of its own */

/* What lasts over a wait with storage of one's own only. */
static void wait_here(struct fiber *f)
{
	f->waited = true;
	gs_yield();
}

static void fill(unsigned char *p, size_t size)
{
	memcpy(p, &size, sizeof(size));
	memset(p + sizeof(size), (int)(size * 7), size - sizeof(size));
}

/* The block says itself what is in it: who frees it need not have made it. */
static void check_and_free(unsigned char *p)
{
	size_t size;

	if (!p)
		return;
	memcpy(&size, p, sizeof(size));
	if (KEEP(size >= 16 && size < 70000))
		for (size_t i = sizeof(size); i < size; i++)
			if (p[i] != (unsigned char)(size * 7)) {
				KEEP(!"a block is as it was left");
				break;
			}
	free(p);
}

#define POSTED 64
static unsigned char *posted[POSTED]; /* atomic: blocks on their way to another fiber */

static void blocks(struct fiber *f)
{
	uint32_t k = pick(f, 8);
	size_t size = 16 + (pick(f, 20) ? pick(f, 1000) : pick(f, 60000));
	unsigned char *p;

	check_and_free(f->block[k]);
	p = malloc(size);
	fill(p, size);
	if (pick(f, 3) == 0) {
		p = realloc(p, size * 2);
		fill(p, size);
	}
	f->block[k] = NULL;
	if (pick(f, 2))
		f->block[k] = p;
	else
		check_and_free(__atomic_exchange_n(&posted[pick(f, POSTED)], p, __ATOMIC_ACQ_REL));
}

static FILE *shared;
static long lines; /* atomic */

/* Under the stream's lock: what fibers wrote comes in whole lines, whatever the cuts. */
static ssize_t take_lines(void *cookie, const char *text, size_t size)
{
	static char line[64];
	static size_t len;

	for (size_t i = 0; i < size; i++) {
		long a, b;
		int end = 0;

		if (text[i] != '\n') {
			if (!KEEP(len < sizeof(line) - 1))
				len = 0;
			line[len++] = text[i];
			continue;
		}
		line[len] = '\0';
		KEEP(sscanf(line, "<%ld %*f %ld>%n", &a, &b, &end) == 2 && a == b &&
		     end == (int)len);
		len = 0;
		ADD(lines, 1);
	}
	return (ssize_t)size;
}

static long printed; /* atomic */

static void stream(struct fiber *f)
{
	KEEP(fprintf(shared, "<%ld %.3f %ld>\n", f->me, f->me / 8.0, f->me) > 0);
	if (pick(f, 8) == 0) {
		/* held over other work, too; the lock knows its owner */
		flockfile(shared);
		fprintf(shared, "<%ld ", f->me);
		compute(pick(f, 2000));
		fprintf(shared, "%f %ld>\n", 0.5, f->me);
		funlockfile(shared);
		ADD(printed, 1);
	}
	ADD(printed, 1);
}

static void numbers(struct fiber *f)
{
	double d = (double)pick(f, 1u << 20) / 1024, back;
	char text[400], *end;

	for (int i = 0; i < 4; i++, d *= 1e30) {
		int n = snprintf(text, sizeof(text), "%.10f|", d);

		KEEP(n == (int)strlen(text));
		back = strtod(text, &end);
		KEEP(back == d && *end == '|');
	}
	errno = 0;
	KEEP(strtol("-99999999999999999999999", NULL, 10) == LONG_MIN);
	compute(pick(f, 500));
	KEEP(errno == ERANGE);
	errno = 7000 + (int)f->me;
	KEEP(strtol("1234567", &end, 8) == 01234567 && !*end);
	KEEP(strtod("1e-5", NULL) == 1e-5);
	compute(pick(f, 500));
	KEEP(errno == 7000 + (int)f->me);
	errno = 0;
	KEEP(strtod("1e999", NULL) > 1e300 && errno == ERANGE);
}

static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_mutex_t checking = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static long guarded[3];	     /* by these, one each */
static long locked;	     /* atomic */
static long contended;	     /* atomic: another had one of them */
static long lockers[2];	     /* atomic: fibers that have held them, with their own storage [1] */
static uint32_t lock_seldom; /* before the fibers: every so often */
static long lock_one_of;     /* before the fibers: of so many fibers one takes locks */

/* 0, as the lock; whether somebody else had it is counted. */
#define CONTEND(try, lock)                                                                         \
	({                                                                                         \
		int ut_r = (try);                                                                  \
		if (ut_r == EBUSY) {                                                               \
			ADD(contended, 1);                                                         \
			ut_r = (lock);                                                             \
		}                                                                                  \
		ut_r;                                                                              \
	})

static void locks(struct fiber *f)
{
	long seen;

	/* whoever waits takes a thread: not all of 300, and few at a time */
	if (f->me % lock_one_of || pick(f, lock_seldom))
		return;
	KEEP(!CONTEND(pthread_mutex_trylock(&recursive), pthread_mutex_lock(&recursive)));
	KEEP(!pthread_mutex_lock(&recursive));
	seen = guarded[0];
	compute(pick(f, 3000));
	if (f->own && pick(f, 8) == 0)
		wait_here(f);
	guarded[0] = seen + 1;
	KEEP(!pthread_mutex_unlock(&recursive));
	compute(pick(f, 300));
	KEEP(!pthread_mutex_unlock(&recursive));
	KEEP(pthread_mutex_unlock(&recursive) == EPERM);

	KEEP(!CONTEND(pthread_mutex_trylock(&checking), pthread_mutex_lock(&checking)));
	seen = guarded[1];
	compute(pick(f, 3000));
	KEEP(pthread_mutex_lock(&checking) == EDEADLK);
	guarded[1] = seen + 1;
	KEEP(!pthread_mutex_unlock(&checking));
	KEEP(pthread_mutex_unlock(&checking) == EPERM);

	KEEP(!CONTEND(pthread_rwlock_tryrdlock(&rw), pthread_rwlock_rdlock(&rw)));
	seen = guarded[2];
	compute(pick(f, 3000));
	KEEP(guarded[2] == seen);
	KEEP(!pthread_rwlock_unlock(&rw));
	KEEP(!CONTEND(pthread_rwlock_trywrlock(&rw), pthread_rwlock_wrlock(&rw)));
	seen = guarded[2];
	compute(pick(f, 3000));
	KEEP(pthread_rwlock_wrlock(&rw) == EDEADLK);
	KEEP(pthread_rwlock_rdlock(&rw) == EDEADLK);
	guarded[2] = seen + 1;
	KEEP(!pthread_rwlock_unlock(&rw));
	ADD(locked, 1);
	if (!f->locked)
		ADD(lockers[f->own], 1);
	f->locked = true;
}

static void exceptions(struct fiber *f)
{
	KEEP(cxx_rethrow(1 + (int)pick(f, 4), f->me));
}

static bool names_are_known; /* before the fibers */

static void names(struct fiber *f)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *a = NULL;
	char text[64], back[64] = "";
	uint32_t n = pick(f, 250);

	snprintf(text, sizeof(text), "10.1.2.%u", n);
	if (KEEP(!getaddrinfo(text, "80", &hints, &a))) {
		const struct sockaddr_in *in = (const void *)a->ai_addr;

		KEEP(in->sin_family == AF_INET && in->sin_port == htons(80));
		KEEP(in->sin_addr.s_addr == htonl(0x0a010200 + n));
		KEEP(!getnameinfo(a->ai_addr, a->ai_addrlen, back, sizeof(back), NULL, 0,
				  NI_NUMERICHOST));
		KEEP(!strcmp(text, back));
		freeaddrinfo(a);
	}
	if (!names_are_known || pick(f, 4))
		return;
	hints.ai_flags = 0;
	hints.ai_family = AF_INET;
	if (KEEP(!getaddrinfo("localhost", NULL, &hints, &a))) {
		KEEP(((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr.s_addr ==
		     htonl(INADDR_LOOPBACK));
		freeaddrinfo(a);
	}
}

static int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return x < y ? -1 : x > y;
}

static void sorting(struct fiber *f)
{
	size_t n = 1 + pick(f, 400), i;
	long *v = malloc(n * sizeof(*v)), sum = 0;

	for (i = 0; i < n; i++)
		sum += v[i] = (long)pick(f, 100000);
	qsort(v, n, sizeof(*v), by_value);
	for (i = 0; i < n; i++) {
		KEEP(!i || v[i - 1] <= v[i]);
		sum -= v[i];
	}
	KEEP(sum == 0);
	free(v);
}

static locale_t utf8; /* before the fibers; NULL: there is none here */

static void locales(struct fiber *f)
{
	wchar_t wide[32];
	struct tm tm;
	time_t t = 1000000 + f->me;
	char text[64];

	KEEP(isalpha('x') && !isalpha('7') && toupper('q') == 'Q');
	KEEP(gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%H:%M %B", &tm) == 13);
	KEEP(!strcmp(text + 6, "January"));
	if (!utf8)
		return;
	/* the thread's own locale: this fiber's until it waits */
	uselocale(utf8);
	compute(pick(f, 500));
	KEEP(mbstowcs(wide, "gr\xc3\xbc\xc3\x9f", 32) == 4 && wide[2] == 0xfc);
	KEEP(towupper(0xfc) == 0xdc && iswalpha(0xdf));
	compute(pick(f, 500));
	KEEP(uselocale(LC_GLOBAL_LOCALE) == utf8);
	KEEP(mbstowcs(wide, "\xc3\xbc", 32) == (size_t)-1);
}

static __thread long word = 77;
static pthread_key_t key, own_key;
static long owners, keys_gone; /* atomic: fibers with storage of their own, destructors run */

static void key_gone(void *value)
{
	KEEP(*(long *)value == 4321);
	free(value);
	ADD(keys_gone, 1);
}

static long __attribute__((noinline)) get_word(void)
{
	return word;
}

static void __attribute__((noinline)) set_word(long v)
{
	word = v;
}

static void locals(struct fiber *f)
{
	static const char marks[64];
	const void *mine = marks + f->me % 64;
	pthread_t self = pthread_self();

	if (f->own) {
		/* for life: over waits, too */
		for (int i = 0; i < 2; i++) {
			KEEP(get_word() == f->word);
			KEEP(*(long *)pthread_getspecific(own_key) == 4321);
			KEEP(pthread_equal(self, f->self));
			KEEP(cxx_local(0) == f->me);
			if (i == 0)
				set_word(f->word += 1000);
			compute(pick(f, 3000));
			if (i == 0)
				wait_here(f);
		}
		return;
	}
	set_word(f->me);
	pthread_setspecific(key, mine);
	compute(pick(f, 3000));
	KEEP(get_word() == f->me);
	KEEP(pthread_getspecific(key) == mine);
	KEEP(pthread_equal(self, pthread_self()));
	pthread_setspecific(key, NULL);
}

/* Loaded while fibers are interrupted; written whole before it is there to be called. */
struct lib {
	void *handle;
	long (*fixed_word)(int i);
	long (*lazy_word)(long add);
};

static struct lib *lib; /* atomic */

static struct lib *load(void)
{
	static int loads; /* by one fiber */
	struct lib *l = calloc(1, sizeof(*l));
	int made = memfd_create("interrupt.so", MFD_CLOEXEC), fd;
	size_t size = (size_t)(interrupt_so_end - interrupt_so);
	char path[32];

	/* dlopen knows libraries by their names: not the first one's again */
	fd = fcntl(made, F_DUPFD_CLOEXEC, 100 + (loads ? 1 + loads % 500 : 0));
	close(made);
	loads++;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (KEEP(fd >= 0) && KEEP(write(fd, interrupt_so, size) == (ssize_t)size))
		l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	close(fd);
	if (!l->handle) {
		fprintf(stderr, "# %s\n", dlerror());
		KEEP(l->handle != NULL);
		free(l);
		return NULL;
	}
	l->fixed_word = (long (*)(int))dlsym(l->handle, "fixed_word");
	l->lazy_word = (long (*)(long))dlsym(l->handle, "lazy_word");
	KEEP(l->fixed_word && l->lazy_word);
	return l;
}

/* On whatever storage: it is as the library says, though nobody here set it so. */
static void library(struct fiber *f)
{
	struct lib *l = __atomic_load_n(&lib, __ATOMIC_ACQUIRE);
	long before;

	if (!l)
		return;
	for (int i = 0; i < 16; i++)
		KEEP(l->fixed_word(i) == (i < 5 ? 4711 + i : 0));
	before = l->lazy_word(0);
	KEEP(before >= 5001);
	compute(pick(f, 2000));
	KEEP(l->lazy_word(3) == before + 3);
}

static void (*const works[])(struct fiber *) = {
	blocks,	 stream, numbers, locks,  exceptions, names,
	sorting, blocks, locals,  stream, locales,    library,
};

#define WORKS (sizeof(works) / sizeof(works[0]))

static long worked[WORKS]; /* atomic */
static long moved;	   /* atomic: work that ended on another thread than it began */

static void work(struct fiber *f)
{
	while (!LOAD(stop) && !LOAD(bad)) {
		uint32_t k = pick(f, WORKS);
		long tid = syscall(SYS_gettid);

		f->waited = false;
		works[k](f);
		if (!f->waited && syscall(SYS_gettid) != tid)
			ADD(moved, 1);
		ADD(worked[k], 1);
		if (pick(f, 16) == 0)
			gs_yield();
	}
	for (int k = 0; k < 8; k++)
		check_and_free(f->block[k]);
}

static void worker(void *arg)
{
	struct fiber f = {.me = (long)(intptr_t)arg, .rng = (uint32_t)(intptr_t)arg * 2654435761u};

	work(&f);
	gs_wg_done(&all);
}

static void owner(void *arg)
{
	struct fiber f = {.me = (long)(intptr_t)arg, .rng = (uint32_t)(intptr_t)arg, .own = true};
	long *value = malloc(sizeof(*value));

	/* as in a new thread */
	KEEP(get_word() == 77 && !pthread_getspecific(own_key) && cxx_local(0) == 0);
	*value = 4321;
	pthread_setspecific(own_key, value);
	f.self = pthread_self();
	set_word(f.word = 77 + f.me);
	cxx_local(f.me);
	ADD(owners, 1);
	work(&f);
	gs_wg_done(&all);
}

/* ------------------------------------------------------------------------- */
/* What takes long, by one fiber beside the others                             */

static void *plain_thread(void *arg)
{
	struct fiber f = {.me = 1, .rng = (uint32_t)(intptr_t)arg};

	for (int i = 0; i < 10; i++) {
		blocks(&f);
		numbers(&f);
		library(&f);
	}
	for (int k = 0; k < 8; k++)
		check_and_free(f.block[k]);
	return arg;
}

static void chore_thread(long i)
{
	void *result = NULL;
	pthread_t t;

	if (KEEP(!pthread_create(&t, NULL, plain_thread, (void *)(i + 1))))
		KEEP(!pthread_join(t, &result) && result == (void *)(i + 1));
}

static void chore_fork(long i)
{
#ifndef UT_ASAN /* whose malloc may be locked for ever in the child */
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct fiber f = {.me = 3, .rng = (uint32_t)i};

		for (int k = 0; k < 20; k++) {
			blocks(&f);
			numbers(&f);
			sorting(&f);
		}
		_exit(LOAD(bad) ? 8 : 7);
	}
	KEEP(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
#endif
}

static void chore_spawn(long i)
{
	char *argv[] = {"sh", "-c", "exit 5", NULL};
	int status = -1;
	pid_t pid;

	if (KEEP(!posix_spawnp(&pid, "sh", NULL, NULL, argv, environ)))
		KEEP(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
}

static void chore_popen(long i)
{
	char text[32] = "";
	FILE *f = popen("echo said", "r");

	if (KEEP(f != NULL)) {
		KEEP(fgets(text, sizeof(text), f) && !strcmp(text, "said\n"));
		KEEP(!pclose(f));
	}
}

static void chore_system(long i)
{
	KEEP(WEXITSTATUS(system("exit 3")) == 3);
}

/* It stays for the others to call; and one that comes and goes. */
static void chore_load(long i)
{
	struct lib *l = load();

	if (!l || (!lib && !LOAD(bad))) {
		__atomic_store_n(&lib, l, __ATOMIC_RELEASE);
		return;
	}
	KEEP(l->fixed_word(2) == 4713 && l->lazy_word(1) == 5002);
	KEEP(!dlclose(l->handle));
	free(l);
}

/* libc has every thread do it. */
static void chore_uid(long i)
{
	if (geteuid())
		return;
	KEEP(!setresuid(65534, (uid_t)-1, (uid_t)-1));
	KEEP(getuid() == 65534);
	KEEP(!setresuid(0, (uid_t)-1, (uid_t)-1));
	KEEP(getuid() == 0);
}

static void (*const chores[])(long) = {
	chore_load,  chore_thread, chore_fork, chore_spawn, chore_load,
	chore_popen, chore_system, chore_uid,  chore_uid,
};

#define CHORES ((long)(sizeof(chores) / sizeof(chores[0])))

static long chores_done; /* atomic */

static void chore(void *arg)
{
	for (long i = 0; !LOAD(stop) && !LOAD(bad); i++) {
		chores[i % CHORES](i);
		ADD(chores_done, 1);
		gs_sleep(MS / 10);
	}
}

/* ------------------------------------------------------------------------- */
/* Runs                                                                        */

static struct run {
	int procs, us;
	long fibers, share; /* of all interruptions, in percent */
	const char *mode;
} run;

static bool owns; /* before the fibers: they can have storage of their own */
static int slow;  /* atomic: it was right, but did not get done */

static unsigned long interruptions(void)
{
	struct gs_stats s = stats();

	return s.travels + s.freezes;
}

/*
 * On kmod, by all tests together; four guests of make test take 50,000, eighteen runs of
 * test-long over a million: tools/test adds them up. A debug kernel is slower by far.
 */
static unsigned long all_due(void)
{
	if (ut_scale() >= 10)
		return 1000;
	return getenv("GSCHED_TEST_LONG") ? 100000 : 13000;
}

/* On posix they come with the kernel's ticks at most. */
static unsigned long due(void)
{
	return ut_on_kmod() ? all_due() * (unsigned long)run.share / 100 : 40;
}

static bool travelling(void)
{
	return must_travel() && strcmp(run.mode, "frozen");
}

/* On several procs who is interrupted goes on elsewhere, now and then. */
static bool moved_enough(void)
{
	return run.procs == 1 || !travelling() || LOAD(moved);
}

/* Many fibers, of both kinds, wanted the same locks. */
static bool locked_enough(void)
{
	return LOAD(contended) >= 5 && LOAD(lockers[0]) + LOAD(lockers[1]) >= 6 &&
	       (!owns || LOAD(lockers[1]) >= 2);
}

static long chores_due; /* before the fibers */

static bool worked_enough(void)
{
	for (size_t k = 0; k < WORKS; k++)
		if (LOAD(worked[k]) < 10)
			return false;
	return LOAD(chores_done) >= chores_due && locked_enough() && moved_enough();
}

static long all_work(void)
{
	long n = 0;

	for (size_t k = 0; k < WORKS; k++)
		n += LOAD(worked[k]);
	return n;
}

static void start_fibers(void)
{
	const struct gs_attr own = {.flags = GS_OWN_TLS};
	const bool each = !strcmp(run.mode, "fiber");

	owns = gs_go_attr(&own, nothing, NULL) == 0;
	for (long me = 1; me <= run.fibers; me++) {
		gs_wg_add(&all, 1);
		if (each || !owns || me % 3)
			KEEP(!gs_go(each ? owner : worker, (void *)me));
		else
			KEEP(!gs_go_attr(&own, owner, (void *)me));
	}
	KEEP(!gs_wg_go(&all, chore, NULL));
}

static void run_main(void *arg)
{
	unsigned long n = due();
	/* as long as it takes; who is stuck is told so */
	int64_t limit = (UT_WAIT + (int64_t)n / 50) * SEC, most = ut_limit(UT_TIMEOUT * SEC);
	int64_t least = ut_limit(UT_WAIT * SEC), end;

	limit = limit > least ? limit : least;
	end = gs_now() + (limit < most ? limit : most);
	start_fibers();
	while (!LOAD(bad) && (interruptions() < n || !worked_enough()) && gs_now() < end)
		gs_sleep(MS);
	if (!LOAD(bad) && (interruptions() < n || !worked_enough()))
		STORE(slow, 1);
	STORE(stop, 1);
	gs_wg_wait(&all);
	for (int i = 0; i < POSTED; i++)
		check_and_free(posted[i]);
	fclose(shared);
	KEEP(LOAD(lines) == LOAD(printed));
	for (int i = 0; i < 3; i++)
		KEEP(guarded[i] == LOAD(locked));
	/* destructors run behind the function */
	UNTIL(LOAD(keys_gone) == LOAD(owners) && cxx_locals() == 0);
}

static void know_names(void)
{
	/* a guest may have none; libc looks here first, and needs no other file for it */
	int fd = open("/etc/hosts", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd >= 0 && write(fd, "127.0.0.1 localhost\n", 20) != 20)
		abort();
	if (fd >= 0)
		close(fd);
	names_are_known = !access("/etc/hosts", R_OK);
}

static struct gs_stats ran; /* after the run */

/* How it went: RUN_... On this process's first thread. */
static int do_run(int64_t looks)
{
	const cookie_io_functions_t io = {.write = take_lines};
	int r;

	know_names();
	lock_one_of = run.fibers > 100 ? 4 : 1;
	lock_seldom = ut_on_kmod() ? 4 : 1;
	/* beside so many each of their calls waits, on posix for a second */
	chores_due = run.fibers > 100 ? 3 : CHORES;
	utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
	shared = fopencookie(NULL, "w", io);
	if (!shared || pthread_key_create(&key, NULL) || pthread_key_create(&own_key, key_gone) ||
	    !watch_begin(all_work, looks))
		return RUN_FAILED;
	r = gs_run(run_main, NULL);
	watch_end();
	ran = stats();
	fprintf(stderr,
		"# %llu upcalls, %llu travels, %llu freezes, %llu lost, %ld moved, %u workers, %ld chores; locks taken %ld times by %ld + %ld, waited for %ld times; at most %ld00 ms without work\n",
		(unsigned long long)ran.upcalls, (unsigned long long)ran.travels,
		(unsigned long long)ran.freezes, (unsigned long long)ran.lost, LOAD(moved),
		ran.workers, LOAD(chores_done), LOAD(locked), LOAD(lockers[0]), LOAD(lockers[1]),
		LOAD(contended), (long)watch.longest);
	ADD(totals->interruptions, ran.travels + ran.freezes);
	if (r)
		return RUN_FAILED;
	return LOAD(bad) || LOAD(ut_failed) ? RUN_WRONG : LOAD(slow) ? RUN_SLOW : RUN_RIGHT;
}

static void go(struct __test_metadata *_metadata, struct run what)
{
	run = what;
	NEEDS_INTERRUPTS(run.procs, run.us, run.mode);
	/* never so long as what counts as stuck below: that would prove nothing */
	EXPECT_EQ(RUN_RIGHT, do_run(2 * stuck_looks()));
	EXPECT_LT(watch.longest, stuck_looks());
	EXPECT_GE(ran.travels + ran.freezes, due());
	if (travelling()) {
		EXPECT_TRUE(owns);
		EXPECT_GT(ran.travels, 0u);
		if (run.procs > 1)
			EXPECT_GT(LOAD(moved), 0);
		/*
		 * Who is inside libc again and again keeps its thread, and this work is little
		 * else, the longer the slower the machine; and so does who found no proc when
		 * it came back from a block, which on kmod is counted.
		 */
		if (ut_on_kmod()) {
			EXPECT_GT((ut_scale() == 1 ? 3 : 10) * ran.travels + ran.lost, ran.freezes);
		} else {
			EXPECT_GT((ut_scale() == 1 ? 2 : 20) * ran.travels, ran.freezes);
		}
	} else {
		EXPECT_EQ(0u, ran.travels);
		EXPECT_EQ(0, LOAD(moved));
	}
}

/* The number of procs: of the environment, on the host; else its own. */
static int procs(int n)
{
	const char *s = getenv("GSCHED_MAXPROCS");

	return s ? atoi(s) : n;
}

/* 24 fibers, slices of 100 us, one proc */
TEST(us_100)
{
	go(_metadata, (struct run){procs(1), 100, 24, 30, "travel"});
}

/* 300 fibers, slices of 100 us, four procs */
TEST(us_100_many)
{
	go(_metadata, (struct run){procs(4), 100, 300, 30, "travel"});
}

/* slices of 1 ms, two procs */
TEST(ms_1)
{
	go(_metadata, (struct run){procs(2), 1000, 24, 10, "travel"});
}

/* 300 fibers, slices of 1 ms, three procs */
TEST(ms_1_many)
{
	go(_metadata, (struct run){procs(3), 1000, 300, 9, "travel"});
}

/* slices of 10 ms, three procs */
TEST(ms_10)
{
	go(_metadata, (struct run){procs(3), 10000, 24, 1, "travel"});
}

/* 300 fibers, slices of 10 ms, four procs */
TEST(ms_10_many)
{
	go(_metadata, (struct run){procs(4), 10000, 300, 1, "travel"});
}

/* each fiber with storage of its own */
TEST(fiber)
{
	go(_metadata, (struct run){procs(2), 100, 24, 10, "fiber"});
}

/* threads wait with their fibers */
TEST(frozen)
{
	go(_metadata, (struct run){procs(2), 100, 24, 9, "frozen"});
}

static void unprotected(void *arg)
{
	_exit(do_run(stuck_looks()));
}

/* GSCHED_TLS=none, the same work: it must fail, or these tests see nothing */
TEST(none)
{
	struct ut_child *c;

#if defined(UT_ASAN) || defined(UT_TSAN)
	SKIP(return, "sanitizers watch threads: fibers do not travel");
#endif
	run = (struct run){procs(2), 100, 24, 100, "none"};
	NEEDS_INTERRUPTS(run.procs, run.us, run.mode);
	/* the few interruptions of posix need not hit: again, until one does */
	for (int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);; free(c)) {
		c = ut_child_run(unprotected, NULL, 2 * UT_WAIT * SEC);
		if (fault_seen(c) || gs_now() > end)
			break;
	}
	EXPECT_TRUE(fault_seen(c))
	{
		TH_LOG("no fault, status %d%s:\n%s", c->status, c->timed_out ? ", timed out" : "",
		       c->err);
	}
	fprintf(stderr, "# status %d\n", c->status);
}

/* ------------------------------------------------------------------------- */
/* Foreign code that blocks                                                    */

#define WAITERS 100

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static long steps; /* atomic: of those who have nothing to do with it */
static long turns; /* plain */

/* Holds it, asleep, until the others have come on; meanwhile 99 wait for it in the kernel. */
static void holder(void *arg)
{
	const struct timespec ts = {.tv_nsec = 100000};

	for (int i = 0; i < 2; i++) {
		int64_t end;
		long due;

		pthread_mutex_lock(&plain);
		due = LOAD(steps) + 20;
		for (end = gs_now() + ut_limit(UT_WAIT * SEC); LOAD(steps) < due;) {
			if (!KEEP(gs_now() < end))
				break;
			nanosleep(&ts, NULL);
		}
		turns++;
		pthread_mutex_unlock(&plain);
	}
}

static void stepper(void *arg)
{
	while (!LOAD(stop)) {
		ADD(steps, 1);
		compute(1000);
		gs_yield();
	}
}

static void holders_main(void *arg)
{
	gs_waitgroup others = {0};

	for (long i = 0; i < 2; i++)
		KEEP(!gs_wg_go(&others, stepper, NULL));
	for (long i = 0; i < WAITERS; i++)
		KEEP(!gs_wg_go(&all, holder, NULL));
	gs_wg_wait(&all);
	STORE(stop, 1);
	gs_wg_wait(&others);
	KEEP(turns == 2 * WAITERS);
	fprintf(stderr, "# %ld steps, %u workers\n", LOAD(steps), stats().workers);
}

/* 100 fibers hold, asleep, and wait for a plain mutex of libc's: the others go on */
TEST(blocking_lock)
{
	ut_set_procs(procs(2));
	RUN(holders_main, NULL);
	EXPECT_EQ(0, LOAD(bad));
}

/* ------------------------------------------------------------------------- */

/* all of these together were interrupted often enough */
TEST(sum)
{
	fprintf(stderr, "# note: %lu interruptions\n", LOAD(totals->interruptions));
	if (ut_on_kmod())
		EXPECT_GE(LOAD(totals->interruptions), all_due());
}

TEST_HARNESS_MAIN
