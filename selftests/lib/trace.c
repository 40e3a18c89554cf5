// SPDX-License-Identifier: GPL-2.0
/* gs_trace_start, gs_trace_stop: the file is parsed, and what it says must fit together. */
#include <ctype.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <gsched/chan.h>
#include <gsched/debug.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

/* ------------------------------------------------------------------------- */
/* Just enough of JSON, and strict: an array of objects, which may nest          */

struct event {
	char ph, name[128], cat[32], end[64];
	long pid, tid;
	int64_t ts, dur; /* ns */
	uint64_t id, fiber, worker, events, procs, count;
	bool has_ts, has_dur, has_tid;
};

static struct event *events; /* sorted by ts after check() */
static size_t nevents;
static const char *at; /* NULL: it was no JSON */

static void bad(const char *what)
{
	if (at)
		ut_fail(__FILE__, __LINE__, "not JSON: %s at \"%.60s\"", what, at);
	at = NULL;
}

static void space(void)
{
	while (at && isspace((unsigned char)*at))
		at++;
}

static void expect(char c)
{
	space();
	if (at && *at == c)
		at++;
	else
		bad("another character");
}

static void string(char *to, size_t size)
{
	size_t n = 0;

	expect('"');
	while (at && *at != '"') {
		unsigned c = (unsigned char)*at++;

		if (c < 0x20) {
			bad("control character");
		} else if (c == '\\') {
			c = (unsigned char)*at++;
			if (c == 'u') {
				char hex[5] = {0};

				memcpy(hex, at, 4);
				c = (unsigned)strtoul(hex, NULL, 16);
				at += 4;
			} else if (!strchr("\"\\/bfnrt", (int)c)) {
				bad("escape");
			}
		}
		if (n < size - 1)
			to[n++] = (char)c;
	}
	to[n] = '\0';
	if (at)
		at++;
}

/* Thousandths of it: ns where us are written. */
static int64_t number(bool *integer)
{
	int64_t v = 0;
	int digits = 0;

	space();
	*integer = true;
	while (at && isdigit((unsigned char)*at)) {
		v = v * 10 + (*at++ - '0');
		digits++;
	}
	if (!digits)
		bad("no number");
	v *= 1000;
	if (at && *at == '.') {
		int64_t unit = 100;

		*integer = false;
		for (at++; isdigit((unsigned char)*at); at++, unit /= 10)
			v += (*at - '0') * unit;
	}
	return v;
}

static void object(struct event *e);

static void value(struct event *e, const char *key)
{
	bool integer;
	int64_t v;

	space();
	if (at && *at == '{') {
		object(e);
	} else if (at && *at == '"') {
		char text[128];

		string(text, sizeof(text));
		if (!strcmp(key, "ph"))
			e->ph = text[0];
		/* that of a name's event is in its args, and of no use here */
		else if (!strcmp(key, "name") && !e->name[0])
			strcpy(e->name, text);
		else if (!strcmp(key, "cat"))
			snprintf(e->cat, sizeof(e->cat), "%.31s", text);
		else if (!strcmp(key, "end"))
			snprintf(e->end, sizeof(e->end), "%.63s", text);
	} else {
		v = number(&integer);
		if (!strcmp(key, "ts")) {
			e->ts = v;
			e->has_ts = true;
		} else if (!strcmp(key, "dur")) {
			e->dur = v;
			e->has_dur = true;
		} else if (!CHECK(integer)) {
			bad("no integer");
		}
		v /= 1000;
		if (!strcmp(key, "pid")) {
			e->pid = v;
		} else if (!strcmp(key, "tid")) {
			e->tid = v;
			e->has_tid = true;
		} else if (!strcmp(key, "id")) {
			e->id = (uint64_t)v;
		} else if (!strcmp(key, "fiber")) {
			e->fiber = (uint64_t)v;
		} else if (!strcmp(key, "worker")) {
			e->worker = (uint64_t)v;
		} else if (!strcmp(key, "events")) {
			e->events = (uint64_t)v;
		} else if (!strcmp(key, "procs")) {
			e->procs = (uint64_t)v;
		} else if (!strcmp(key, "count")) {
			e->count = (uint64_t)v;
		}
	}
}

static void object(struct event *e)
{
	expect('{');
	for (bool first = true; at; first = false) {
		char key[64];

		space();
		if (first && at && *at == '}')
			break;
		string(key, sizeof(key));
		expect(':');
		if (at)
			value(e, key);
		space();
		if (!at || *at != ',')
			break;
		at++;
	}
	expect('}');
}

static char *read_all(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 1 << 16, len = 0;
	char *text = malloc(size);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + len, size - 1 - len)) > 0) {
		len += (size_t)n;
		if (len == size - 1)
			text = realloc(text, size *= 2);
	}
	text[len] = '\0';
	close(fd);
	return text;
}

static bool parse(const char *text)
{
	size_t size = 0;

	nevents = 0;
	free(events);
	events = NULL;
	at = text;
	expect('[');
	while (at) {
		if (nevents == size) {
			size = size ? 2 * size : 1024;
			events = realloc(events, size * sizeof(*events));
		}
		memset(&events[nevents], 0, sizeof(*events));
		object(&events[nevents++]);
		space();
		if (!at || *at != ',')
			break;
		at++;
	}
	expect(']');
	space();
	if (at && *at)
		bad("more behind the end");
	return at != NULL;
}

/* ------------------------------------------------------------------------- */
/* Does it fit together?                                                       */

enum { PROCS = 1, WORKERS, THREADS };

static bool is_slice(const struct event *e, long pid)
{
	return e->ph == 'X' && e->pid == pid &&
	       (!strcmp(e->cat, "run") || !strcmp(e->cat, "blocked"));
}

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->ts != y->ts)
		return x->ts < y->ts ? -1 : 1;
	/* one that took no time ends before the next begins */
	if (x->ph == 'X' && y->ph == 'X' && x->dur != y->dur)
		return x->dur < y->dur ? -1 : 1;
	return (x->ph == 'f') - (y->ph == 'f');
}

/* Whatever `key` says is one thing that does one thing at a time. */
static void check_no_overlap(long pid, const char *what, uint64_t (*key)(const struct event *))
{
	const size_t most = 1 << 20;
	int64_t *until = calloc(most, sizeof(*until));

	for (size_t i = 0; i < nevents; i++) {
		const struct event *e = &events[i];
		uint64_t k = key(e);

		if (!is_slice(e, pid) || !CHECK_LT(k, most))
			continue;
		if (e->ts < until[k])
			ut_fail(__FILE__, __LINE__, "%s %llu: \"%s\" begins at %lld, before %lld",
				what, (unsigned long long)k, e->name, (long long)e->ts,
				(long long)until[k]);
		until[k] = e->ts + e->dur;
	}
	free(until);
}

static uint64_t track_of(const struct event *e)
{
	return (uint64_t)e->tid;
}

static uint64_t fiber_of(const struct event *e)
{
	return e->fiber;
}

struct edge {
	int64_t ts;
	int step;
};

static int by_edge(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return x->ts != y->ts ? (x->ts < y->ts ? -1 : 1) : x->step - y->step;
}

/* Never more workers in fibers' code, and not blocked, than there are procs. */
static void check_width(uint64_t procs)
{
	struct edge *edges = calloc(2 * nevents, sizeof(*edges));
	size_t n = 0;
	int64_t now = 0;

	for (size_t i = 0; i < nevents; i++)
		if (is_slice(&events[i], WORKERS) && !strcmp(events[i].cat, "run")) {
			edges[n++] = (struct edge){events[i].ts, 1};
			edges[n++] = (struct edge){events[i].ts + events[i].dur, -1};
		}
	qsort(edges, n, sizeof(*edges), by_edge);
	for (size_t i = 0; i < n; i++) {
		now += edges[i].step;
		if (!CHECK_LE(now, (int64_t)procs))
			break;
	}
	free(edges);
}

static size_t named(char ph, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < nevents; i++)
		n += events[i].ph == ph && !strcmp(events[i].name, name);
	return n;
}

/* Who is made ready runs, and once for each time. Arrows end where a slice begins. */
static void check_arrows(bool at_rest)
{
	const size_t most = 1 << 20;
	uint8_t *pending = calloc(most, 1);
	int64_t *begun = calloc(most, sizeof(*begun));
	size_t left = 0, odd = 0;

	for (size_t i = 0; i < nevents; i++) {
		const struct event *e = &events[i];

		if (is_slice(e, PROCS))
			begun[e->fiber % most] = e->ts + 1;
		if (e->ph != 's' && e->ph != 'f')
			continue;
		if (!CHECK_LT(e->id, most))
			continue;
		odd += pending[e->id] != (e->ph == 'f');
		pending[e->id] = e->ph == 's';
		if (e->ph == 'f')
			CHECK_EQ(begun[e->id], e->ts + 1);
	}
	for (size_t i = 0; i < most; i++)
		left += pending[i];
	if (at_rest) {
		CHECK_EQ(left, 0u);
		CHECK_EQ(odd, 0u);
	} else {
		/* a thread that was kept from running in a trace before records it in this one */
		CHECK_LE(odd, named('M', "thread_name") + 8);
	}
	free(pending);
	free(begun);
}

static const struct event *find(char ph, const char *name)
{
	for (size_t i = 0; i < nevents; i++)
		if (events[i].ph == ph && !strcmp(events[i].name, name))
			return &events[i];
	return NULL;
}

/* Slices of a fiber of that name, up to its number, on tracks of that kind that ended so. */
static size_t ended_named(long pid, const char *name, const char *end)
{
	size_t n = 0;

	for (size_t i = 0; i < nevents; i++)
		n += is_slice(&events[i], pid) && !strcmp(events[i].end, end) &&
		     !strncmp(events[i].name, name, strlen(name));
	return n;
}

/* Slices on tracks of that kind that ended so. */
static size_t ended(long pid, const char *cat, const char *end)
{
	size_t n = 0;

	for (size_t i = 0; i < nevents; i++)
		n += is_slice(&events[i], pid) && !strcmp(events[i].cat, cat) &&
		     !strcmp(events[i].end, end);
	return n;
}

/*
 * Parse it, and everything that holds for any trace, one that ends at rest, too: nobody is
 * ready then who has not run. How many events were dropped.
 */
static uint64_t check_any(const char *path, bool at_rest)
{
	char *text = read_all(path);
	const struct event *head, *tail;
	size_t procs = 0, workers = 0;
	uint64_t dropped;

	if (!parse(text))
		exit(1);
	free(text);
	for (size_t i = 0; i < nevents; i++) {
		const struct event *e = &events[i];

		CHECK(strchr("XisfM", e->ph) && e->ph);
		CHECK(e->name[0]);
		CHECK(e->pid >= PROCS && e->pid <= THREADS);
		CHECK_EQ(e->has_ts, e->ph != 'M');
		CHECK_EQ(e->has_dur, e->ph == 'X');
		procs += is_slice(e, PROCS);
		workers += is_slice(e, WORKERS) && !strcmp(e->cat, "run");
	}
	/* each stands on both tracks */
	CHECK_EQ(procs, workers);
	head = find('i', "trace");
	tail = find('i', "dropped");
	if (!CHECK(head) || !CHECK(tail))
		exit(1);
	dropped = tail->events;
	CHECK(tail == &events[nevents - 1]);
	procs = head->procs;
	CHECK_GE(procs, 1u);
	qsort(events, nevents, sizeof(*events), by_time);
	check_no_overlap(PROCS, "proc", track_of);
	check_no_overlap(WORKERS, "worker", track_of);
	check_no_overlap(PROCS, "fiber", fiber_of);
	check_no_overlap(WORKERS, "fiber", fiber_of);
	check_width(procs);
	if (!dropped)
		check_arrows(at_rest);
	return dropped;
}

static uint64_t check(const char *path)
{
	return check_any(path, true);
}

/* ------------------------------------------------------------------------- */

static const char file[] = "trace.json";
static long alive; /* atomic */
static int stop;   /* atomic */

static void go_named(const char *name, void (*fn)(void *), void *arg)
{
	struct gs_attr attr = {.name = name};

	ADD(alive, 1);
	if (!CHECK_EQ(gs_go_attr(&attr, fn, arg), 0))
		ADD(alive, -1);
}

static void everybody_ends(void)
{
	UNTIL(LOAD(alive) == 0);
	UNTIL(gs_num_fibers() == 1);
}

/*
 * Run fn until its trace shows what it takes some luck to see: no event was dropped, though
 * the writer may be kept from running, and `shown` holds. Each trace is checked.
 */
static void trace_until(void (*fn)(void *), bool (*shown)(void))
{
	int64_t end = gs_now() + ut_limit(UT_WAIT * SEC);

	do {
		if (!CHECK_EQ(gs_run(fn, NULL), 0))
			return;
	} while ((check(file) || !shown()) && !LOAD(ut_failed) && gs_now() < end);
}

static void sleeper(void *arg)
{
	gs_sleep(MS);
	ADD(alive, -1);
}

static void receiver(void *arg)
{
	while (gs_chan_recv(arg, NULL))
		;
	ADD(alive, -1);
}

static void yielder(void *arg)
{
	for (int i = 0; i < 10; i++)
		gs_yield();
	ADD(alive, -1);
}

static gs_mutex mutex;

static void locker(void *arg)
{
	gs_mutex_lock(&mutex);
	gs_mutex_unlock(&mutex);
	ADD(alive, -1);
}

static void *thread_sends(void *c)
{
	gs_chan_send(c, NULL);
	return NULL;
}

static void scene(void *arg)
{
	gs_chan *c = gs_chan_new(0, 0);
	pthread_t t;

	CHECK_EQ(gs_trace_start(file), 0);
	go_named("sleeper", sleeper, NULL);
	go_named("receiver", receiver, c);
	UNTIL(ut_waiting("chan receive", "receiver") == 1);
	gs_mutex_lock(&mutex);
	go_named("locker", locker, NULL);
	for (int i = 0; i < 100; i++) {
		gs_chan_send(c, NULL);
		gs_sleep(i % 10 ? 0 : MS / 10);
	}
	/* a fiber that starts now finds it locked, and this one does not unlock before */
	gs_sleep(5 * MS);
	gs_mutex_unlock(&mutex);
	CHECK_EQ(pthread_create(&t, NULL, thread_sends, c), 0);
	pthread_join(t, NULL);
	gs_chan_close(c);
	for (int i = 0; i < 10; i++)
		go_named("yielder", yielder, NULL);
	everybody_ends();
	CHECK_EQ(gs_trace_stop(), 0);
	gs_chan_unref(c);
}

static bool scene_shown(void)
{
	return !find('i', "dropped")->events && ended(PROCS, "run", "chan receive") >= 1 &&
	       ended(PROCS, "run", "sleep") >= 2 && ended(PROCS, "run", "yield") >= 1 &&
	       named('X', "timer") >= 2;
}

/* one of each: what a trace says of starts, waits, timers, channels, threads and ends */
TEST(one_of_each)
{
	size_t starts = 0;

	trace_until(scene, scene_shown);
	EXPECT_EQ(0, find('i', "dropped")->events);
	EXPECT_GE(ended(PROCS, "run", "end"), 13);
	EXPECT_GE(ended(PROCS, "run", "chan receive"), 1);
	EXPECT_GE(ended(PROCS, "run", "sleep"), 2);
	EXPECT_GE(ended(PROCS, "run", "yield"), 1);
	EXPECT_GE(named('X', "timer"), 2);
	EXPECT_EQ(13, named('i', "start"));
	/* those that began and ended in it have a slice each, at least, under their names */
	for (size_t i = 0; i < nevents; i++) {
		const struct event *e = &events[i];

		starts += is_slice(e, PROCS) && !strcmp(e->end, "end") &&
			  (!strncmp(e->name, "sleeper ", 8) || !strncmp(e->name, "receiver ", 9) ||
			   !strncmp(e->name, "locker ", 7) || !strncmp(e->name, "yielder ", 8));
	}
	EXPECT_EQ(13, starts);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

static long ran; /* atomic */

static void counts(void *arg)
{
	ADD(ran, 1);
	ADD(alive, -1);
}

static void blocker(void *arg)
{
	long before = LOAD(ran);
	struct timespec ts = {.tv_nsec = 20 * MS};

	for (int i = 0; i < 3000 && LOAD(ran) == before; i++) {
		go_named("", counts, NULL);
		nanosleep(&ts, NULL);
	}
	/* somebody ran while this thread was in the kernel, or came back from it */
	CHECK_GT(LOAD(ran), before);
	ADD(alive, -1);
}

static void blocks(void *arg)
{
	CHECK_EQ(gs_trace_start(file), 0);
	go_named("blocker", blocker, NULL);
	while (LOAD(alive))
		gs_sleep(MS);
	everybody_ends();
	CHECK_EQ(gs_trace_stop(), 0);
}

/* the other may have run for another reason: the end of a slice, a timer */
static bool block_shown(void)
{
	return ended(PROCS, "run", "blocked") && ended(WORKERS, "run", "blocked") &&
	       named('i', "hand-off");
}

/*
 * a fiber blocks in the kernel: its proc goes to another worker, which the trace shows, and it
 * gets the proc again, whoever gave it to it
 */
TEST(block)
{
	ut_set_procs(1);
	trace_until(blocks, block_shown);
	EXPECT_EQ(0, find('i', "dropped")->events);
	EXPECT_GE(ended(PROCS, "run", "blocked"), 1);
	EXPECT_GE(ended(WORKERS, "run", "blocked"), 1);
	EXPECT_GE(named('i', "hand-off"), 1);
	EXPECT_EQ(1, ended_named(PROCS, "blocker ", "end"));
	EXPECT_EQ(1, ended_named(WORKERS, "blocker ", "end"));
	EXPECT_EQ(0, ut_failed);
}

static void hog(void *arg)
{
	while (!LOAD(stop))
		;
	ADD(alive, -1);
}

static uint64_t preemptions(void)
{
	struct gs_stats s;

	gs_stats(&s);
	return s.travels + s.freezes;
}

static void hogs(void *arg)
{
	uint64_t before;

	STORE(stop, 0);
	go_named("hog a", hog, NULL);
	go_named("hog b", hog, NULL);
	gs_sleep(MS);
	CHECK_EQ(gs_trace_start(file), 0);
	before = preemptions();
	while (preemptions() < before + 4)
		gs_sleep(5 * MS);
	STORE(stop, 1);
	everybody_ends();
	CHECK_EQ(gs_trace_stop(), 0);
}

static bool preempt_shown(void)
{
	return ended(PROCS, "run", "preempted");
}

/* fibers that are interrupted, some of which ran before the trace began */
TEST(preempt)
{
#ifdef UT_TSAN
	SKIP(return, "fibers are not interrupted under TSan");
#endif
	ut_set_procs(1);
	trace_until(hogs, preempt_shown);
	EXPECT_GE(ended(PROCS, "run", "preempted"), 1);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

static gs_chan *work;

static void worker(void *arg)
{
	uint32_t x = (uint32_t)(uintptr_t)arg * 2654435761u | 1;

	for (long i = 0; i < 40; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		switch (x % 4) {
		case 0:
			gs_sleep(x % 200000);
			break;
		case 1:
			gs_yield();
			break;
		case 2:
			gs_chan_try_send(work, NULL);
			break;
		default:
			gs_chan_try_recv(work, NULL);
		}
	}
	ADD(alive, -1);
}

static void *thread_spawns(void *arg)
{
	for (long i = 0; i < 20; i++) {
		ADD(alive, 1);
		CHECK_EQ(gs_go(worker, (void *)(i + 100)), 0);
		gs_sleep(MS / 10);
	}
	return NULL;
}

static void load(void *arg)
{
	pthread_t t;

	work = gs_chan_new(0, 8);
	CHECK_EQ(gs_trace_start(file), 0);
	CHECK_EQ(pthread_create(&t, NULL, thread_spawns, NULL), 0);
	for (long i = 0; i < 40; i++)
		go_named("worker", worker, (void *)i);
	pthread_join(t, NULL);
	everybody_ends();
	CHECK_EQ(gs_trace_stop(), 0);
}

static bool all_shown(void)
{
	return true;
}

/* fibers, timers and a thread at once, on as many procs as there are: all fits together */
TEST(many)
{
	trace_until(load, all_shown);
	EXPECT_EQ(0, find('i', "dropped")->events);
	EXPECT_EQ(60, named('i', "start"));
	EXPECT_EQ(60, ended(PROCS, "run", "end"));
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

static const char *const odd_names[] = {
	"quote \" backslash \\", "tab \t newline \n", "caf\xc3\xa9", "broken \xc3( \xff", "",
};

static void named_fibers(void *arg)
{
	CHECK_EQ(gs_trace_start(file), 0);
	for (size_t i = 0; i < ARRAY_SIZE(odd_names); i++)
		go_named(odd_names[i], yielder, NULL);
	everybody_ends();
	CHECK_EQ(gs_trace_stop(), 0);
}

/* names are JSON strings, whatever they are; what is no UTF-8 is a question mark */
TEST(names)
{
	static const char *const shown[] = {
		"quote \" backslash \\ ",
		"tab \t newline \n ",
		"caf\xc3\xa9 ",
		"broken ?( ? ",
		"fiber ",
	};

	RUN(named_fibers, NULL);
	check(file);
	for (size_t k = 0; k < ARRAY_SIZE(shown); k++) {
		size_t n = 0;

		for (size_t i = 0; i < nevents; i++)
			n += is_slice(&events[i], PROCS) &&
			     !strncmp(events[i].name, shown[k], strlen(shown[k]));
		EXPECT_GE(n, 1)
		{
			TH_LOG("no slice named \"%s\"", shown[k]);
		}
	}
}

/* ------------------------------------------------------------------------- */

static void nothing(void *arg) {}

static void errors(void *arg)
{
	CHECK_EQ(gs_trace_stop(), -EINVAL);
	CHECK_EQ(gs_trace_start("no/such/directory"), -ENOENT);
	CHECK_EQ(gs_trace_start("."), -EISDIR);
	CHECK_EQ(gs_trace_start(file), 0);
	CHECK_EQ(gs_trace_start("other.json"), -EBUSY);
	CHECK_EQ(access("other.json", F_OK), -1);
	CHECK_EQ(gs_trace_stop(), 0);
	CHECK_EQ(gs_trace_stop(), -EINVAL);
	CHECK_EQ(gs_trace_start("/dev/full"), 0);
	CHECK_EQ(gs_trace_stop(), -ENOSPC);
	CHECK_EQ(gs_trace_start(file), 0);
	CHECK_EQ(gs_trace_stop(), 0);
}

/* what the calls return, in a fiber and on a thread that has not even started the runtime */
TEST(returns)
{
	errors(NULL);
	check(file);
	RUN(errors, NULL);
	check(file);
	EXPECT_EQ(0, ut_failed);
}

static void forks(void *arg)
{
	int status;
	pid_t pid;

	CHECK_EQ(gs_trace_start(file), 0);
	pid = fork();
	if (pid == 0)
		_exit(gs_trace_stop() == -EINVAL && gs_trace_start(file) < 0 ? 0 : 1);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	CHECK_EQ(status, 0);
	go_named("", yielder, NULL);
	everybody_ends();
	CHECK_EQ(gs_trace_stop(), 0);
}

/* the child of a fork has no trace, and does not harm its parent's */
TEST(forked)
{
	RUN(forks, NULL);
	check(file);
	EXPECT_GE(ended(PROCS, "run", "end"), 1);
}

/* ------------------------------------------------------------------------- */

static void *drink(void *fd)
{
	int to = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	char buf[4096];
	ssize_t n;

	while ((n = read((int)(long)fd, buf, sizeof(buf))) > 0)
		CHECK_EQ(write(to, buf, (size_t)n), n);
	close(to);
	return NULL;
}

static void flood(void *arg)
{
	pthread_t t;
	int fd;

	unlink("pipe");
	CHECK_EQ(mkfifo("pipe", 0600), 0);
	fd = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK_EQ(gs_trace_start("pipe"), 0);
	CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
	/*
	 * Nobody reads, so the writer stands still when it has emptied the rings once, late
	 * perhaps. A ring has 16384 places, and there is one for each proc: of four events a
	 * fiber one gets more than twice that.
	 */
	for (long i = 0; i < 9000L * (gs_max_procs(0) + 1); i++) {
		go_named("", counts, NULL);
		if (i % 100 == 99)
			gs_yield();
	}
	everybody_ends();
	CHECK_EQ(pthread_create(&t, NULL, drink, (void *)(long)fd), 0);
	CHECK_EQ(gs_trace_stop(), 0);
	pthread_join(t, NULL);
	close(fd);
}

/* a file that takes nothing delays nobody; what found no room is counted */
TEST(dropped)
{
#ifdef UT_TSAN
	SKIP(return, "TSan takes long for so many fibers");
#endif
	RUN(flood, NULL);
	EXPECT_GE(check(file), 1);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

static long cycles; /* atomic: traces begun and ended */

static void toggle(void)
{
	for (long i = 0; i < ut_count(40, 10); i++) {
		int r = gs_trace_start(file);

		CHECK(r == 0 || r == -EBUSY);
		gs_sleep(MS / 4);
		r = gs_trace_stop();
		CHECK(r == 0 || r == -EINVAL);
		if (r == 0)
			ADD(cycles, 1);
	}
	ADD(alive, -1);
}

static void fiber_toggles(void *arg)
{
	toggle();
}

static void *thread_toggles(void *arg)
{
	toggle();
	return NULL;
}

static void toggles(void *arg)
{
	pthread_t t[2];

	work = gs_chan_new(0, 8);
	for (int i = 0; i < 2; i++) {
		ADD(alive, 1);
		CHECK_EQ(pthread_create(&t[i], NULL, thread_toggles, NULL), 0);
		go_named("toggles", fiber_toggles, NULL);
	}
	for (long i = 0; i < 50; i++)
		go_named("worker", worker, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	everybody_ends();
	CHECK_GE(LOAD(cycles), 1);
	CHECK_EQ(gs_trace_stop(), -EINVAL);
}

/* two threads and two fibers start and stop traces under load; the last file is whole */
TEST(start_and_stop)
{
	RUN(toggles, NULL);
	check_any(file, false);
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */

extern char gs_hdr, gs_tracing;

/* off, it costs a look at a flag that lies where every switch looks anyway */
TEST(flag)
{
	EXPECT_EQ((uintptr_t)&gs_hdr / 64, (uintptr_t)&gs_tracing / 64);
	RUN(nothing, NULL);
}

TEST_HARNESS_MAIN
