/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The execution trace: events (event.h) become a file that Perfetto and chrome://tracing
 * open. A thread of the runtime's, the writer, lives as long as a trace does: every few
 * milliseconds it empties the rings, puts what it found in the order of time, and follows
 * what each proc and each worker does.
 *
 * The format is JSON, one event a line, as an array. Rejected: Perfetto's protobuf. It is a
 * third of the size, but chrome://tracing does not read it, and neither does grep; and an
 * array needs no end, so the file of a program that died tells what was before.
 *
 *	"processes"	"threads"	what is on them
 *	1 procs		a proc		a slice for each time a fiber ran there
 *	2 workers	a worker	the same, and slices for fibers blocked in the kernel
 *	3 threads	poller, others	timers that fire, what threads made ready
 *
 * A slice says in "end" why it ended. A flow (an arrow, "s" to "f", its id the fiber's)
 * leads from where a fiber was made ready to the slice in which it ran. The kernel gives
 * the proc of a blocked fiber away without a word: so that slice is ended when the next
 * worker says that it has the proc, and what is not seen at all, blocks while nobody wanted
 * the proc, is counted in "blocks".
 *
 * gs_trace_start and _stop: the one whose compare-and-swap moves `state` goes on. A stale
 * look at gs_tracing records an event too many or too few at either end; what is left in
 * the rings from the trace before is older than this one, and skipped.
 */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <gsched/debug.h>
#include <gsched/time.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "backend.h"
#include "base/syscall.h"
#include "event.h"
#include "sched.h"

#define PERIOD_NS 2000000
#define MAXWORKERS GS_EVENT_NONE

enum { OFF, STARTING, ON, STOPPING };

static uint32_t state;	   /* atomic */
static uint32_t stop_word; /* atomic futex: 1 the writer shall end */
static uint32_t done_word; /* atomic futex: 1 the writer has ended; release/acquire */
static uint32_t sessions;  /* written in STARTING only */

/* ------------------------------------------------------------------------- */
/* The file. All from here on is the writer's, or STARTING's before it runs.   */

static struct {
	int fd;
	int err; /* the first that a write met; nothing is written any more */
	size_t len;
	bool first; /* no event yet */
	char buf[1 << 16];
} out;

static void flush(void)
{
	size_t at = 0;

	while (at < out.len && !out.err) {
		long r = gs_write_raw(out.fd, out.buf + at, out.len - at);

		if (r > 0)
			at += (size_t)r;
		else if (r != -EINTR && r != -EAGAIN)
			out.err = r ? (int)r : -EIO;
	}
	out.len = 0;
}

static void put(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void put(const char *fmt, ...)
{
	va_list ap;

	if (out.len > sizeof(out.buf) - 1024)
		flush();
	va_start(ap, fmt);
	out.len += (size_t)vsnprintf(out.buf + out.len, 1024, fmt, ap);
	va_end(ap);
}

/* Bytes of the UTF-8 character at s, 0: it is none. */
static size_t utf8(const char *s, size_t left)
{
	unsigned char c = (unsigned char)s[0];
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* A fiber's name, and its id: a JSON string, 31 characters of 6 bytes at most. */
static void put_name(const char *prefix, const char *name, uint64_t id)
{
	size_t n = strnlen(name, sizeof(((struct gs_event *)0)->name) - 1);

	put("{\"name\":\"%s", prefix);
	for (size_t i = 0, k; i < n; i += k) {
		k = utf8(name + i, n - i);
		if (!k) {
			put("?");
			k = 1;
		} else if (name[i] == '"' || name[i] == '\\') {
			put("\\%c", name[i]);
		} else if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
			put("\\u%04x", (unsigned char)name[i]);
		} else {
			put("%.*s", (int)k, name + i);
		}
	}
	put("%s %llu\"", n ? "" : "fiber", (unsigned long long)id);
}

static void begin_event(void)
{
	put(out.first ? "[\n" : ",\n");
	out.first = false;
}

static int64_t t0; /* when the trace began */

static void put_time(const char *what, int64_t ns)
{
	put(",\"%s\":%lld.%03d", what, (long long)(ns / 1000), (int)(ns % 1000));
}

enum { PROCS = 1, WORKERS, THREADS };

static void put_track(int pid, uint32_t tid, int64_t time)
{
	put(",\"pid\":%d,\"tid\":%u", pid, tid);
	put_time("ts", time - t0);
}

/* thread: 0 none */
static void name_track(int pid, uint32_t tid, const char *what, uint32_t number, uint32_t thread)
{
	begin_event();
	put("{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"args\":{\"name\":\"",
	    pid, tid);
	put("%s %u", what, number);
	if (thread)
		put(" (thread %u)", thread);
	put("\"}}");
}

/* ------------------------------------------------------------------------- */
/* What is going on                                                            */

/* What stands on a track since when. */
struct track {
	enum { FREE, RUNNING, BLOCKED } what;
	bool seen; /* there was an event of this one */
	bool flow; /* an arrow ends here */
	uint16_t blocks;
	uint32_t other; /* a proc's worker, a worker's proc */
	uint32_t tid;	/* a worker's, as last named */
	uint64_t fiber;
	int64_t since;
	char name[32];
};

static struct track procs[GS_MAXPROCS];
static struct track *workers; /* mapped, MAXWORKERS of them */
static uint64_t dropped;
static uint32_t poller_tid;
static int64_t timer_since; /* a timer's function runs on the poller; 0 none */

static void slice(int pid, uint32_t tid, struct track *t, int64_t end, const char *why,
		  uint16_t blocks)
{
	begin_event();
	put_name(t->what == BLOCKED ? "blocked: " : "", t->name, t->fiber);
	put(",\"cat\":\"%s\",\"ph\":\"X\"", t->what == BLOCKED ? "blocked" : "run");
	put_track(pid, tid, t->since);
	put_time("dur", end > t->since ? end - t->since : 0);
	put(",\"args\":{\"fiber\":%llu", (unsigned long long)t->fiber);
	if (t->what == RUNNING)
		put(",\"%s\":%u,\"blocks\":%u", pid == PROCS ? "worker" : "proc", t->other,
		    (uint16_t)(blocks - t->blocks));
	put(",\"end\":\"%s\"}}", why);
	if (pid == PROCS && t->flow) {
		/* behind its slice, for they begin at the same time */
		begin_event();
		put("{\"name\":\"ready\",\"cat\":\"ready\",\"ph\":\"f\",\"bp\":\"e\",\"id\":%llu",
		    (unsigned long long)t->fiber);
		put_track(pid, tid, t->since);
		put("}");
	}
	t->what = FREE;
}

static void instant(int pid, uint32_t tid, int64_t time, const char *name, const char *key,
		    uint64_t a, uint64_t b)
{
	begin_event();
	put("{\"name\":\"%s\",\"ph\":\"i\",\"s\":\"t\"", name);
	put_track(pid, tid, time);
	put(",\"args\":{\"%s\":%llu", key, (unsigned long long)a);
	if (b)
		put(",\"count\":%llu", (unsigned long long)b);
	put("}}");
}

/* On which track an event is. */
static void where(const struct gs_event *e, int *pid, uint32_t *tid)
{
	if (e->proc != GS_EVENT_NONE) {
		*pid = PROCS;
		*tid = e->proc;
	} else if (e->worker != GS_EVENT_NONE) {
		*pid = WORKERS;
		*tid = e->worker;
	} else {
		*pid = THREADS;
		*tid = e->tid;
	}
}

static void occupy(struct track *t, const struct gs_event *e, uint32_t other, bool flow)
{
	t->what = RUNNING;
	t->flow = flow;
	t->blocks = e->blocks;
	t->other = other;
	t->fiber = e->fiber;
	t->since = e->time;
	memcpy(t->name, e->name, sizeof(t->name));
	t->name[sizeof(t->name) - 1] = '\0';
}

/* The proc has another worker, so the fiber that ran there is blocked. */
static void handed_off(uint32_t p, int64_t time)
{
	struct track *t = &procs[p], *w = &workers[t->other];

	if (w->what == RUNNING && w->fiber == t->fiber) {
		slice(WORKERS, t->other, w, time, "blocked", (uint16_t)(w->blocks + 1));
		w->what = BLOCKED;
		w->since = time;
	}
	slice(PROCS, p, t, time, "blocked", (uint16_t)(t->blocks + 1));
}

/* Nothing is known of it any more; why. */
static void clear_worker(uint32_t id, int64_t time, const char *why)
{
	struct track *w = &workers[id];

	if (w->what == RUNNING && procs[w->other].what == RUNNING && procs[w->other].other == id)
		slice(PROCS, w->other, &procs[w->other], time, why, procs[w->other].blocks);
	if (w->what != FREE)
		slice(WORKERS, id, w, time, why, w->blocks);
}

static void run(const struct gs_event *e)
{
	struct track *p = &procs[e->proc], *w = &workers[e->worker];

	if (p->what != FREE && p->other != e->worker)
		handed_off(e->proc, e->time);
	clear_worker(e->worker, e->time, "unknown");
	occupy(p, e, e->worker, e->arg);
	occupy(w, e, e->proc, false);
}

static void back(const struct gs_event *e)
{
	struct track *p = &procs[e->proc], *w = &workers[e->worker];

	if (p->what != FREE && p->other == e->worker && p->fiber == e->fiber)
		return; /* it kept the proc, to all who looked */
	if (p->what != FREE)
		handed_off(e->proc, e->time);
	clear_worker(e->worker, e->time, w->what == BLOCKED ? "got a proc" : "blocked");
	occupy(p, e, e->worker, false);
	occupy(w, e, e->proc, false);
}

/*
 * A worker that was blocked has a proc and is no stand-by that was granted one: its fiber is
 * back. Who got his old proc again in the kernel, or by the tick, enters the runtime as if he
 * had never been away and says nothing of it.
 */
static void returned(const struct gs_event *e)
{
	const struct track *w = &workers[e->worker];
	struct gs_event since = *e;

	since.fiber = w->fiber;
	memcpy(since.name, w->name, sizeof(since.name));
	back(&since);
}

/* What came next is not known, so nothing is said of it. */
static void gap(const struct gs_event *e)
{
	if (e->proc != GS_EVENT_NONE && procs[e->proc].what != FREE)
		clear_worker(procs[e->proc].other, e->time, "dropped");
	for (uint32_t i = 0; e->proc == GS_EVENT_NONE && i < MAXWORKERS; i++)
		if (workers[i].what == BLOCKED)
			clear_worker(i, e->time, "dropped");
}

static void stop_running(const struct gs_event *e, const char *why)
{
	struct track *w = &workers[e->worker], *p;

	if (w->what == FREE && !w->seen && e->proc != GS_EVENT_NONE && !procs[e->proc].seen) {
		/* the first we hear of either: it has run here since before the trace */
		occupy(w, e, e->proc, false);
		occupy(&procs[e->proc], e, e->worker, false);
		w->since = t0;
		procs[e->proc].since = t0;
	}
	if (w->what == FREE || w->fiber != e->fiber)
		return;
	p = &procs[w->other];
	if (w->what == RUNNING && p->what == RUNNING && p->fiber == e->fiber)
		slice(PROCS, w->other, p, e->time, why, e->blocks);
	if (w->what == BLOCKED)
		why = "lost";
	slice(WORKERS, e->worker, w, e->time, why, e->blocks);
}

static void ready(const struct gs_event *e)
{
	uint32_t tid;
	int pid;

	where(e, &pid, &tid);
	begin_event();
	put("{\"name\":\"ready\",\"cat\":\"ready\",\"ph\":\"s\",\"id\":%llu",
	    (unsigned long long)e->fiber);
	put_track(pid, tid, e->time);
	put("}");
	if (pid != THREADS || timer_since)
		return;
	/* an arrow begins at a slice */
	begin_event();
	put("{\"name\":\"ready fiber %llu\",\"cat\":\"thread\",\"ph\":\"X\"",
	    (unsigned long long)e->fiber);
	put_track(pid, tid, e->time);
	put(",\"dur\":0.001}");
}

static void timer(const struct gs_event *e)
{
	if (e->tid != poller_tid) {
		poller_tid = e->tid;
		name_track(THREADS, e->tid, "poller, thread", e->tid, 0);
	}
	if (e->kind == GS_EV_TIMER) {
		timer_since = e->time;
		return;
	}
	if (!timer_since)
		return;
	begin_event();
	put("{\"name\":\"timer\",\"cat\":\"timer\",\"ph\":\"X\"");
	put_track(THREADS, e->tid, timer_since);
	put_time("dur", e->time - timer_since);
	put("}");
	timer_since = 0;
}

static void see(const struct gs_event *e)
{
	struct track *w;

	if (e->worker == GS_EVENT_NONE)
		return;
	w = &workers[e->worker];
	if (w->tid != e->tid) {
		w->tid = e->tid; /* another thread may have had the number before */
		name_track(WORKERS, e->worker, "worker", e->worker, e->tid);
	}
	if (e->proc != GS_EVENT_NONE && !procs[e->proc].seen)
		name_track(PROCS, e->proc, "proc", e->proc, 0);
}

static void handle(const struct gs_event *e)
{
	uint32_t tid;
	int pid;

	if (e->time < t0)
		return;
	see(e);
	where(e, &pid, &tid);
	if (e->worker != GS_EVENT_NONE && e->proc != GS_EVENT_NONE && e->kind != GS_EV_GRANT &&
	    e->kind != GS_EV_RUN && e->kind != GS_EV_BACK && workers[e->worker].what == BLOCKED)
		returned(e);
	switch (e->kind) {
	case GS_EV_START:
		instant(pid, tid, e->time, "start", "fiber", e->fiber, 0);
		break;
	case GS_EV_READY:
		ready(e);
		break;
	case GS_EV_RUN:
		run(e);
		break;
	case GS_EV_PARK:
		stop_running(e, gs_wait_text(e->arg));
		break;
	case GS_EV_END:
		stop_running(e, "end");
		break;
	case GS_EV_GRANT:
		if (procs[e->proc].what == RUNNING && procs[e->proc].other != e->worker) {
			instant(PROCS, e->proc, e->time, "hand-off", "worker", e->worker, 0);
			handed_off(e->proc, e->time);
		}
		break;
	case GS_EV_BACK:
		back(e);
		break;
	case GS_EV_STEAL:
		instant(pid, tid, e->time, "steal", "from", e->num[0], e->num[1]);
		break;
	case GS_EV_TIMER:
	case GS_EV_TIMER_END:
		timer(e);
		break;
	case GS_EV_GAP:
		gap(e);
		break;
	}
	if (e->proc != GS_EVENT_NONE)
		procs[e->proc].seen = true;
	if (e->worker != GS_EVENT_NONE)
		workers[e->worker].seen = true;
}

/* ------------------------------------------------------------------------- */
/* The order of time                                                           */

/* What was taken from the rings and is not written yet: mapped, grown as needed. */
static struct gs_event *batch;
static size_t batch_len, batch_size;

static void keep(const struct gs_event *e)
{
	if (batch_len == batch_size) {
		size_t size = batch_size ? 2 * batch_size : 4096;
		void *p = mmap(NULL, size * sizeof(*e), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED) {
			dropped++;
			return;
		}
		if (batch) {
			memcpy(p, batch, batch_len * sizeof(*e));
			munmap(batch, batch_size * sizeof(*e));
		}
		batch = p;
		batch_size = size;
	}
	batch[batch_len++] = *e;
}

/* By time; those of one ring that the clock cannot tell apart as they came. */
static bool before(const struct gs_event *a, const struct gs_event *b)
{
	return a->time < b->time || (a->time == b->time && a->seq < b->seq);
}

static void sift_down(size_t i, size_t n)
{
	struct gs_event e = batch[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && before(&batch[child], &batch[child + 1]))
			child++;
		if (!before(&e, &batch[child]))
			break;
		batch[i] = batch[child];
		i = child;
	}
	batch[i] = e;
}

/* In place: qsort may call malloc, whose lock a fiber that does not run may hold. */
static void sort(void)
{
	for (size_t i = batch_len / 2; i-- > 0;)
		sift_down(i, batch_len);
	for (size_t i = batch_len; i-- > 1;) {
		struct gs_event e = batch[0];

		batch[0] = batch[i];
		batch[i] = e;
		sift_down(0, i);
	}
}

static void drain(void)
{
	int64_t now = gs_now();
	uint64_t lost;
	size_t n;

	/* pairs with the compare-and-swap in event.c: what is older than now is there */
	gs_full_fence();
	gs_events_take(keep, &lost);
	dropped += lost;
	sort();
	for (n = 0; n < batch_len && batch[n].time < now; n++)
		handle(&batch[n]);
	batch_len -= n;
	if (batch_len) /* else there may be no batch yet */
		memmove(batch, batch + n, batch_len * sizeof(*batch));
	flush();
}

/* ------------------------------------------------------------------------- */

static void write_head(uint32_t nproc)
{
	static const char *const name[] = {
		[PROCS] = "procs", [WORKERS] = "workers", [THREADS] = "other threads"};

	for (int pid = PROCS; pid <= THREADS; pid++) {
		begin_event();
		put("{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":\"%s\"}}",
		    pid, name[pid]);
		begin_event();
		put("{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%d,"
		    "\"args\":{\"sort_index\":%d}}",
		    pid, pid);
	}
	begin_event();
	put("{\"name\":\"trace\",\"ph\":\"i\",\"s\":\"g\",\"pid\":%d,\"tid\":0,\"ts\":0,"
	    "\"args\":{\"backend\":\"%s\",\"procs\":%u}}",
	    PROCS, gs_be->name, nproc);
}

static void write_tail(int64_t end)
{
	for (uint32_t i = 0; i < MAXWORKERS; i++)
		clear_worker(i, end, "the trace ends");
	for (uint32_t i = 0; i < GS_MAXPROCS; i++)
		if (procs[i].what != FREE)
			slice(PROCS, i, &procs[i], end, "the trace ends", procs[i].blocks);
	begin_event();
	put("{\"name\":\"dropped\",\"ph\":\"i\",\"s\":\"g\",\"pid\":%d,\"tid\":0", PROCS);
	put_time("ts", end - t0);
	put(",\"args\":{\"events\":%llu}}\n]\n", (unsigned long long)dropped);
	flush();
}

static void *writer(void *arg)
{
	const size_t size = MAXWORKERS * sizeof(*workers);

	(void)arg;
	while (!gs_load_seq(&stop_word)) {
		gs_futex_wait(&stop_word, 0, gs_now() + PERIOD_NS);
		drain();
	}
	/* what came while the last write waited for its file */
	drain();
	write_tail(gs_now());
	if (batch)
		munmap(batch, batch_size * sizeof(*batch));
	batch = NULL;
	batch_len = batch_size = 0;
	munmap(workers, size);
	/* before it says so: whoever waits may look at the number of threads */
	gs_fetch_sub_seq(&gs_nthreads, 1);
	gs_fetch_sub_seq(&gs_nblind, 1);
	gs_store_release(&done_word, 1);
	gs_futex_wake(&done_word, 1);
	return NULL;
}

/* In STARTING. 0 or -errno. */
static int start(const char *path)
{
	uint32_t nproc = gs_load_relaxed(&gs_hdr->procs_used);
	long fd;
	int r;

	r = gs_events_init(nproc);
	if (r)
		return r;
	fd = gs_syscall6(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			 0666, 0, 0);
	if (fd < 0)
		return (int)fd;
	workers = mmap(NULL, MAXWORKERS * sizeof(*workers), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (workers == MAP_FAILED) {
		gs_syscall3(SYS_close, fd, 0, 0);
		return -ENOMEM;
	}
	memset(procs, 0, sizeof(procs));
	out.fd = (int)fd;
	out.err = 0;
	out.len = 0;
	out.first = true;
	dropped = 0;
	poller_tid = 0;
	timer_since = 0;
	t0 = gs_now();
	write_head(nproc);
	gs_store_seq(&stop_word, 0);
	gs_store_seq(&done_word, 0);
	r = gs_thread_start(writer, NULL, (size_t)128 << 10);
	if (r) {
		munmap(workers, MAXWORKERS * sizeof(*workers));
		gs_syscall3(SYS_close, fd, 0, 0);
		return r;
	}
	sessions = sessions % 255 + 1;
	gs_store_relaxed(&gs_tracing, sessions);
	return 0;
}

int gs_trace_start(const char *path)
{
	uint32_t off = OFF;
	int r = gs_rt_start();

	if (r)
		return r;
	if (!gs_cas_seq(&state, &off, STARTING))
		return -EBUSY;
	r = start(path);
	gs_store_seq(&state, r ? OFF : ON);
	return r;
}

int gs_trace_stop(void)
{
	uint32_t on = ON;
	int r;

	if (!gs_cas_seq(&state, &on, STOPPING))
		return -EINVAL;
	gs_store_relaxed(&gs_tracing, 0);
	gs_store_seq(&stop_word, 1);
	gs_futex_wake(&stop_word, 1);
	while (!gs_load_acquire(&done_word))
		gs_futex_wait(&done_word, 0, 0);
	r = out.err;
	gs_syscall3(SYS_close, out.fd, 0, 0);
	gs_store_seq(&state, OFF);
	return r;
}

void gs_trace_forked(void)
{
	/* the writer is the parent's, and the descriptor its file */
	gs_store_relaxed(&gs_tracing, 0);
	gs_store_seq(&state, OFF);
}
