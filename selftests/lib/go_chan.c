// SPDX-License-Identifier: GPL-2.0
/*
 * What Go's test/chan and src/runtime/chan_test.go demand of channels and select;
 * Documentation/conformance.rst says which test is which.
 */
#include <malloc.h>

#include <gsched.h>

#include "dump.h"
#include "util.h"

static gs_waitgroup all;

/* ------------------------------------------------------------------------- */
/* test/chan/select.go, select3.go                                             */

static unsigned counter, shift;

static unsigned get_value(void)
{
	counter++;
	return 1u << shift;
}

static int send_both(gs_chan_of(unsigned) a, gs_chan_of(unsigned) b)
{
	for (int n = 0;; shift++)
		switch (gs_select(GS_SEND(a, get_value()), GS_SEND(b, get_value()), GS_DEFAULT)) {
		case 0:
			a = NULL;
			n++;
			break;
		case 1:
			b = NULL;
			n++;
			break;
		default:
			return n;
		}
}

static void simple_main(void *arg)
{
	gs_chan_of(unsigned) a = gs_make(unsigned, 1), b = gs_make(unsigned, 1);
	unsigned va, vb;

	CHECK_EQ(send_both(a, b), 2);
	CHECK(gs_recv(a, &va) && gs_recv(b, &vb));
	CHECK_EQ(va | vb, 3u);
	CHECK_EQ(send_both(a, NULL), 1);
	CHECK_EQ(counter, 10u);
	gs_free(a);
	gs_free(b);
}

/* nil switches a case off; the values of all cases are computed, each once */
TEST(select_simple)
{
	RUN(simple_main, NULL);
}

static gs_chan_of(int) nilch;
static gs_chan_of(int) closedch;

static void t_nil_send(void)
{
	gs_send(nilch, 7);
}

static void t_nil_recv(void)
{
	gs_recv(nilch, NULL);
}

static void t_room(void)
{
	gs_chan_of(int) c = gs_make(int, 1);

	gs_send(c, 7);
	gs_free(c);
}

static void t_closed_recv(void)
{
	for (int i = 0; i < 10; i++) {
		int v = 5;

		CHECK(!gs_recv(closedch, &v));
		CHECK_EQ(v, 0);
	}
}

static void t_closed_send(void)
{
	gs_send(closedch, 7);
}

static void t_empty_recv(void)
{
	gs_chan_of(int) c = gs_make(int, 0);

	gs_recv(c, NULL);
}

static void t_select_empty(void)
{
	gs_select();
}

static void t_select_nil_recv(void)
{
	gs_select(GS_RECV(nilch, NULL));
}

static void t_select_nil_send(void)
{
	gs_select(GS_SEND(nilch, 7));
}

static void t_select_nil_both(void)
{
	gs_select(GS_RECV(nilch, NULL), GS_SEND(nilch, 7));
}

static void t_select_not_ready(void)
{
	gs_chan_of(int) c = gs_make(int, 0);

	gs_select(GS_RECV(c, NULL));
}

static void t_default(void)
{
	CHECK_EQ(gs_select(GS_DEFAULT), 0);
}

static void t_default_nil_recv(void)
{
	CHECK_EQ(gs_select(GS_RECV(nilch, NULL), GS_DEFAULT), 1);
}

static void t_default_nil_send(void)
{
	CHECK_EQ(gs_select(GS_SEND(nilch, 7), GS_DEFAULT), 1);
}

static void t_ready_send(void)
{
	gs_chan_of(int) c = gs_make(int, 1);

	CHECK_EQ(gs_select(GS_SEND(c, 7), GS_DEFAULT), 0);
	gs_free(c);
}

static void t_ready_recv(void)
{
	gs_chan_of(int) c = gs_make(int, 1);

	gs_send(c, 7);
	CHECK_EQ(gs_select(GS_RECV(c, NULL), GS_DEFAULT), 0);
	gs_free(c);
}

static void t_select_closed(void)
{
	int v = 5;
	bool ok = true;

	CHECK_EQ(gs_select(GS_RECV(closedch, NULL)), 0);
	CHECK_EQ(gs_select(GS_RECV_OK(closedch, &v, &ok)), 0);
	CHECK(v == 0 && !ok);
}

static void t_select_closed_send(void)
{
	gs_select(GS_SEND(closedch, 7));
}

static void t_sees_itself(void)
{
	gs_chan_of(int) c = gs_make(int, 0);

	gs_select(GS_SEND(c, 1), GS_RECV(c, NULL));
}

enum verdict { RETURNS, BLOCKS, PANICS };

static const struct form {
	const char *name;
	void (*fn)(void);
	enum verdict want;
} forms[] = {
#define FORM(fn, want)                                                                             \
	{                                                                                          \
#fn, fn, want                                                                      \
	}
	FORM(t_nil_send, BLOCKS),
	FORM(t_nil_recv, BLOCKS),
	FORM(t_room, RETURNS),
	FORM(t_closed_recv, RETURNS),
	FORM(t_closed_send, PANICS),
	FORM(t_empty_recv, BLOCKS),
	FORM(t_select_empty, BLOCKS),
	FORM(t_select_nil_recv, BLOCKS),
	FORM(t_select_nil_send, BLOCKS),
	FORM(t_select_nil_both, BLOCKS),
	FORM(t_select_not_ready, BLOCKS),
	FORM(t_default, RETURNS),
	FORM(t_default_nil_recv, RETURNS),
	FORM(t_default_nil_send, RETURNS),
	FORM(t_ready_send, RETURNS),
	FORM(t_ready_recv, RETURNS),
	FORM(t_select_closed, RETURNS),
	FORM(t_select_closed_send, PANICS),
	FORM(t_sees_itself, BLOCKS),
#undef FORM
};

static struct probe {
	int started, ended;
	bool panicked;
} probes[ARRAY_SIZE(forms)];

static void probe_end(void *arg)
{
	struct probe *p = arg;
	const char *text = gs_recover();

	if (text) {
		CHECK(strcmp(text, "send on closed channel") == 0);
		p->panicked = true;
	}
	STORE(p->ended, 1);
}

static void probe_form(void *arg)
{
	long i = (long)arg;

	gs_defer(probe_end, &probes[i]);
	STORE(probes[i].started, 1);
	forms[i].fn();
}

static void table_main(void *arg)
{
	closedch = gs_make(int, 0);
	gs_close(closedch);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		CHECK_EQ(gs_go(probe_form, (void *)i), 0);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		UNTIL(LOAD(probes[i].started));
		if (forms[i].want == BLOCKS)
			continue;
		if (!UNTIL(LOAD(probes[i].ended)) ||
		    probes[i].panicked != (forms[i].want == PANICS))
			ut_fail(__FILE__, __LINE__, "%s: ended %d, panicked %d", forms[i].name,
				LOAD(probes[i].ended), probes[i].panicked);
	}
	ut_let_run(200);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		if (forms[i].want == BLOCKS && LOAD(probes[i].ended))
			ut_fail(__FILE__, __LINE__, "%s did not block", forms[i].name);
}

/* which operations and selects return, which block for ever, and which panic */
TEST(select3_table)
{
	RUN(table_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* test/chan/doubleselect.go                                                   */

static long double_n;
static gs_chan_of(long) four[4];
static gs_chan_of(long) merged;

static void double_sender(void *arg)
{
	for (long i = 0; i < double_n; i++)
		gs_select(GS_SEND(four[0], i), GS_SEND(four[1], i), GS_SEND(four[2], i),
			  GS_SEND(four[3], i));
	for (int k = 0; k < 4; k++)
		gs_close(four[k]);
}

static void forward(void *arg)
{
	gs_chan_of(long) in = arg;

	gs_range(v, in)
		gs_send(merged, v);
}

static void close_merged(void *arg)
{
	gs_wg_wait(&all);
	gs_close(merged);
}

static void double_main(void *arg)
{
	unsigned char *seen;
	long n = 0;

	double_n = ut_count(100000, 2000);
	seen = calloc((size_t)double_n, 1);
	merged = gs_make(long, 0);
	for (int k = 0; k < 4; k++) {
		four[k] = gs_make(long, 0);
		gs_wg_go(&all, forward, four[k]);
	}
	gs_go(close_merged, NULL);
	gs_go(double_sender, NULL);
	gs_range(v, merged) {
		if (CHECK(v >= 0 && v < double_n))
			CHECK_EQ(seen[v]++, 0);
		n++;
	}
	CHECK_EQ(n, double_n);
	for (int k = 0; k < 4; k++)
		gs_free(four[k]);
	gs_free(merged);
	free(seen);
}

/* a select sends in one case only */
TEST(doubleselect)
{
	RUN(double_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* test/chan/fifo.go, nonblock.go, goroutines.go                               */

#define LINKS 10

struct chain_link {
	gs_chan_of(int) c, in, out;
	int value;
};

static void chain(void *arg)
{
	struct chain_link *l = arg;
	int v = -1;

	gs_recv(l->in, NULL);
	gs_recv(l->c, &v);
	CHECK_EQ(v, l->value);
	gs_send(l->out, 1);
}

static void fifo_main(void *arg)
{
	gs_chan_of(int) c = gs_make(int, LINKS), first = gs_make(int, 0), in = first;
	int v = -1;

	for (int i = 0; i < LINKS; i++)
		gs_send(c, i);
	for (int i = 0; i < LINKS; i++) {
		gs_recv(c, &v);
		CHECK_EQ(v, i);
	}
	gs_free(c);
	c = gs_make(int, 0);
	for (int i = 0; i < LINKS; i++) {
		struct chain_link l = {c, in, gs_make(int, 0), i};

		CHECK_EQ(gs_go_copy(chain, &l, sizeof(l)), 0);
		in = l.out;
	}
	gs_send(first, 0);
	for (int i = 0; i < LINKS; i++)
		gs_send(c, i);
	gs_recv(in, NULL);
}

/* buffered and unbuffered: what goes in first comes out first, along a chain of fibers */
TEST(fifo)
{
	RUN(fifo_main, NULL);
}

struct operand {
	gs_chan *c;
	gs_chan_of(bool) strobe;
	size_t size;
	const void *to, *from;
};

static void operand_receiver(void *arg)
{
	struct operand *o = arg;
	char v[16] = {0};

	CHECK(gs_chan_recv(o->c, v));
	CHECK(memcmp(v, o->to, o->size) == 0);
	gs_send(o->strobe, true);
}

static void operand_sender(void *arg)
{
	struct operand *o = arg;

	gs_chan_send(o->c, o->from);
	gs_send(o->strobe, true);
}

static void nonblock_one(size_t size, const void *to, const void *from)
{
	for (size_t buffer = 0; buffer < 2; buffer++) {
		struct operand o = {gs_chan_new(size, buffer), gs_make(bool, 0), size, to, from};
		char v[16] = {0};
		struct gs_case cases[2] = {{.chan = o.c, .op = GS_OP_RECV}, GS_DEFAULT};

		cases[0].elem = v;
		CHECK_EQ(gs_select_cases(cases, 2), 1);
		gs_go(operand_receiver, &o);
		cases[0].op = GS_OP_SEND;
		cases[0].elem = (void *)(uintptr_t)to;
		UNTIL(gs_select_cases(cases, 2) == 0);
		gs_recv(o.strobe, NULL);

		gs_go(operand_sender, &o);
		if (buffer)
			gs_recv(o.strobe, NULL);
		cases[0].op = GS_OP_RECV;
		cases[0].elem = v;
		UNTIL(gs_select_cases(cases, 2) == 0);
		CHECK(memcmp(v, from, size) == 0);
		if (!buffer)
			gs_recv(o.strobe, NULL);
		gs_chan_unref(o.c);
		gs_free(o.strobe);
	}
}

static void nonblock_main(void *arg)
{
	nonblock_one(4, &(int32_t){123}, &(int32_t){234});
	nonblock_one(8, &(int64_t){123456}, &(int64_t){234567});
	nonblock_one(1, &(bool){true}, &(bool){true});
	nonblock_one(16, "hello\0\0\0\0\0\0\0\0\0\0", "hello again\0\0\0\0");
}

/* nonblocking operations of several sizes get through when somebody waits, and not before */
TEST(nonblock)
{
	RUN(nonblock_main, NULL);
}

struct pair {
	gs_chan_of(int) left, right;
};

static void pass_left(void *arg)
{
	struct pair *p = arg;
	int v = 0;

	gs_recv(p->right, &v);
	gs_send(p->left, v + 1);
	gs_free(p->right);
}

static void chain_main(void *arg)
{
	int n = (int)ut_count(10000, 1000), v = -1;
	struct pair p = {.right = gs_make(int, 0)};
	gs_chan_of(int) leftmost = p.right;

	for (int i = 0; i < n; i++) {
		p.left = p.right;
		p.right = gs_make(int, 0);
		CHECK_EQ(gs_go_copy(pass_left, &p, sizeof(p)), 0);
	}
	gs_send(p.right, 1);
	gs_recv(leftmost, &v);
	CHECK_EQ(v, n + 1);
	gs_free(leftmost);
}

/* ten thousand fibers threaded together */
TEST(goroutines)
{
	RUN(chain_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* test/chan/select2.go to select8.go                                          */

static long selects;

static void ones(void *arg)
{
	for (long i = 0; i < selects; i++)
		gs_send((gs_chan_of(int))arg, 1);
}

static void memory_main(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 0), dummy = gs_make(int, 0);
	int64_t end = gs_now() + ut_limit(30 * SEC);
	size_t least = SIZE_MAX, grown, most;

	selects = ut_count(50000, 10000);
	most = (size_t)selects * 2;
	for (int attempt = 0; attempt < 6 || (least > most && gs_now() < end); attempt++) {
		size_t before = mallinfo2().uordblks, after;

		gs_wg_go(&all, ones, c);
		for (long i = 0; i < selects; i++)
			CHECK_EQ(gs_select(GS_RECV(c, NULL), GS_RECV(dummy, NULL)), 0);
		gs_wg_wait(&all);
		after = mallinfo2().uordblks;
		/* the first warms up; threads that the runtime starts meanwhile are no leak */
		grown = after > before ? after - before : 0;
		if (attempt && grown < least)
			least = grown;
	}
	CHECK_LE(least, most);
	gs_free(c);
	gs_free(dummy);
}

/* selects leave no memory behind */
TEST(select2_memory)
{
	RUN(memory_main, NULL);
}

static void proceeds_main(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 1), c1 = gs_make(int, 0);
	struct {
		int before, a, after;
	} x = {1, 0, 2};
	int other = 9;

	gs_send(c, 42);
	CHECK_EQ(gs_select(GS_RECV(c1, &other), GS_RECV(c, &x.a)), 1);
	CHECK(x.a == 42 && x.before == 1 && x.after == 2 && other == 9);
	gs_free(c);
	gs_free(c1);
}

/* the value that is ready goes where its case says, and nothing else is written */
TEST(select4_proceeds)
{
	RUN(proceeds_main, NULL);
}

/* All paths through a piece of code that asks maybe(): each once, as select5.go does. */
static bool choices[32];
static int nchoices, choice = -1;

static bool maybe(void)
{
	if (choice == nchoices) {
		if (!CHECK(nchoices < (int)ARRAY_SIZE(choices)))
			return false;
		choices[nchoices++] = true;
	}
	return choices[choice++];
}

static bool next_path(void)
{
	if (choice >= 0) {
		while (nchoices && !choices[nchoices - 1])
			nchoices--;
		if (!nchoices) {
			choice = -1;
			return false;
		}
		choices[nchoices - 1] = false;
	}
	choice = 0;
	return true;
}

static gs_chan_of(int) one, never;
static struct gs_case path[16];
static size_t npath;
static int value = 1, got;

static void add_case(struct gs_case c)
{
	path[npath++] = c;
}

static bool add_default(bool already)
{
	if (already || !maybe())
		return already;
	add_case((struct gs_case)GS_DEFAULT);
	return true;
}

/* Cases that are never ready. */
static void add_dummies(void)
{
	static int out = 1, in = 77;

	if (maybe())
		add_case((struct gs_case)GS_SEND_PTR(never, &out));
	if (maybe())
		add_case((struct gs_case)GS_RECV(never, &in));
	if (maybe())
		add_case((struct gs_case)GS_SEND_PTR(nilch, &out));
	if (maybe())
		add_case((struct gs_case)GS_RECV(nilch, &in));
	CHECK_EQ(in, 77);
}

/* The select must run that case, as the oracle knows, and no other. */
static void select_path(size_t want)
{
	size_t i = (size_t)gs_select_cases(path, npath);

	if (i != want)
		ut_fail(__FILE__, __LINE__, "case %zu of %zu ran instead of %zu", i, npath, want);
}

static void path_recv(void)
{
	bool dflt, ok = false;
	size_t want;

	gs_send(one, value);
	if (maybe()) {
		CHECK(gs_recv(one, &got));
	} else {
		npath = 0;
		dflt = add_default(false);
		want = npath;
		if (maybe())
			add_case((struct gs_case)GS_RECV(one, &got));
		else if (maybe())
			add_case((struct gs_case)GS_RECV_OK(one, &got, &ok));
		else if (maybe())
			add_case((struct gs_case)GS_RECV_PTR((gs_chan *)one, &got, &ok));
		else
			add_case((struct gs_case){
				.chan = (gs_chan *)one, .elem = &got, .op = GS_OP_RECV});
		add_default(dflt);
		add_dummies();
		select_path(want);
		CHECK_EQ(ok, path[want].ok == &ok);
	}
	CHECK_EQ(got, value);
	value++;
}

static void path_send(void)
{
	bool dflt;
	size_t want;

	if (maybe()) {
		gs_send(one, value);
	} else {
		npath = 0;
		dflt = add_default(false);
		want = npath;
		if (maybe())
			add_case((struct gs_case)GS_SEND_PTR(one, &value));
		else
			add_case((struct gs_case){
				.chan = (gs_chan *)one, .elem = &value, .op = GS_OP_SEND});
		add_default(dflt);
		add_dummies();
		select_path(want);
	}
	CHECK(gs_recv(one, &got));
	CHECK_EQ(got, value);
	value++;
}

static void path_nonblock(void)
{
	size_t want = 0;
	bool dflt, ok = true;
	int x = value;

	npath = 0;
	dflt = add_default(false);
	add_dummies();
	if (maybe())
		add_case((struct gs_case)GS_RECV(never, &x));
	if (maybe())
		add_case((struct gs_case)GS_RECV_OK(nilch, &x, &ok));
	/* nothing may be stored: it would crash */
	if (maybe())
		add_case((struct gs_case){.chan = (gs_chan *)never,
					  .elem = (void *)8,
					  .ok = (bool *)8,
					  .op = GS_OP_RECV});
	if (!dflt) {
		want = npath;
		add_case((struct gs_case)GS_DEFAULT);
	}
	select_path(want);
	CHECK(x == value && ok);
	value++;
}

static void paths_main(void *arg)
{
	int n = 0;

	one = gs_make(int, 1);
	never = gs_make(int, 0);
	for (; next_path(); n++)
		path_recv();
	for (; next_path(); n++)
		path_send();
	for (; next_path(); n++)
		path_nonblock();
	CHECK_EQ(gs_len(one), 0u);
	CHECK_EQ(n, (1 + 3 * 4 * 16) + (1 + 3 * 2 * 16) + 2 * 16 * 8);
	gs_free(one);
	gs_free(never);
}

/* hundreds of selects, each with one way that it must take */
TEST(select5_paths)
{
	RUN(paths_main, NULL);
}

static gs_chan_of(bool) c1, c2, c3;

static void recv_c1(void *arg)
{
	CHECK(gs_recv(c1, NULL));
}

static void select_c1_c2(void *arg)
{
	CHECK_EQ(gs_select(GS_RECV(c1, NULL), GS_RECV(c2, NULL)), 1);
	gs_send(c3, true);
	CHECK(gs_recv(c1, NULL));
}

static void failed_case_main(void *arg)
{
	c1 = gs_make(bool, 0);
	c2 = gs_make(bool, 0);
	c3 = gs_make(bool, 0);
	gs_wg_go(&all, recv_c1, NULL);
	gs_wg_go(&all, select_c1_c2, NULL);
	gs_send(c2, true);
	gs_recv(c3, NULL);
	gs_send(c1, true);
	gs_send(c1, true);
	gs_wg_wait(&all);
	gs_free(c1);
	gs_free(c2);
	gs_free(c3);
}

/* a case that lost and stood last on its channel leaves the queue in order */
TEST(select6_failed_case)
{
	RUN(failed_case_main, NULL);
}

static void discard(void *arg)
{
	struct {
		gs_chan_of(int) c;
		int how;
	} *a = arg;
	gs_chan_of(int) other = gs_make(int, 0);

	if (a->how == 0)
		CHECK(gs_recv(a->c, NULL));
	else if (a->how == 1)
		CHECK_EQ(gs_select(GS_RECV(a->c, NULL)), 0);
	else
		CHECK_EQ(gs_select(GS_RECV(a->c, NULL), GS_RECV(other, NULL)), 0);
	gs_free(other);
	gs_free(a->c);
}

static void discard_main(void *arg)
{
	for (int how = 0; how < 9; how++) {
		struct {
			gs_chan_of(int) c;
			int how;
		} a = {gs_make(int, 0), how % 3};
		gs_chan_of(int) other = gs_make(int, 0), c = gs_ref(a.c);

		CHECK_EQ(gs_go_copy(discard, &a, sizeof(a)), 0);
		gs_yield();
		if (how / 3 == 0)
			gs_send(c, 1);
		else if (how / 3 == 1)
			CHECK_EQ(gs_select(GS_SEND(c, 1)), 0);
		else
			CHECK_EQ(gs_select(GS_SEND(c, 1), GS_SEND(other, 1)), 0);
		gs_free(other);
		gs_free(c);
	}
}

/* a value that nobody wants, over each kind of send and receive */
TEST(select7_discard)
{
	RUN(discard_main, NULL);
}

static void fives(void *arg)
{
	for (int i = 0; i < 2; i++)
		gs_send((gs_chan_of(int))arg, 5);
}

static void break_main(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 0);
	int v = 0, reached = 0;

	gs_wg_go(&all, fives, c);
	switch (gs_select(GS_RECV(c, &v))) {
	case 0:
		if (v == 5)
			break;
		reached++;
	}
	switch (gs_select(GS_DEFAULT)) {
	case 0:
		if (v == 5)
			break;
		reached++;
	}
	switch (gs_select(GS_RECV(c, &v), GS_RECV(nilch, &v))) {
	case 0:
		if (v == 5)
			break;
		reached++;
		break;
	case 1:
		reached++;
	}
	CHECK_EQ(reached, 0);
	gs_wg_wait(&all);
	gs_free(c);
}

/* break leaves the select, of one, two or more cases */
TEST(select8_break)
{
	RUN(break_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* test/chan/sieve1.go, sieve2.go, powser1.go                                  */

static const int primes[] = {2,	 3,  5,	 7,  11, 13, 17, 19, 23, 29, 31, 37, 41,
			     43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97};

static void generate(void *arg)
{
	for (int i = 2;; i++)
		gs_send((gs_chan_of(int))arg, i);
}

struct filter {
	gs_chan_of(int) in, out;
	int prime;
};

static void filter(void *arg)
{
	struct filter *f = arg;

	gs_range(i, f->in)
		if (i % f->prime)
			gs_send(f->out, i);
}

static void sieve(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 0);

	gs_go(generate, c);
	for (;;) {
		struct filter f = {c, gs_make(int, 0), 0};

		gs_recv(c, &f.prime);
		gs_send((gs_chan_of(int))arg, f.prime);
		CHECK_EQ(gs_go_copy(filter, &f, sizeof(f)), 0);
		c = f.out;
	}
}

static void sieve_main(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 0);
	int v;

	gs_go(sieve, c);
	for (size_t i = 0; i < ARRAY_SIZE(primes); i++) {
		gs_recv(c, &v);
		CHECK_EQ(v, primes[i]);
	}
}

/* a sieve of filters in a row */
TEST(sieve1)
{
	RUN(sieve_main, NULL);
}

struct count_by {
	gs_chan_of(int) out;
	int from, by;
};

static void count_by(void *arg)
{
	struct count_by *c = arg;

	for (int n = c->from;; n += c->by)
		gs_send(c->out, n);
}

static gs_chan_of(int) numbers(int from, int by, size_t cap)
{
	struct count_by c = {gs_make(int, cap), from, by};

	CHECK_EQ(gs_go_copy(count_by, &c, sizeof(c)), 0);
	return c.out;
}

static struct {
	gs_chan_of(int) out, composites, primes, proxy;
} s2;

/* Sends on what it is given whenever that is wanted; never blocks who gives. */
static void send_proxy(void *arg)
{
	static int ring[1 << 16];
	unsigned first = 0, last = 0;
	int e = 0, in = 0;

	for (;;) {
		gs_chan_of(int) c = first == last ? NULL : s2.primes;

		if (c)
			e = ring[first % ARRAY_SIZE(ring)];
		if (gs_select(GS_RECV(s2.proxy, &in), GS_SEND(c, e)) == 0)
			ring[last++ % ARRAY_SIZE(ring)] = in;
		else
			first++;
	}
}

struct peek {
	int head;
	gs_chan_of(int) c;
};

static struct peek heap[1024];
static int nheap;

static void heap_push(struct peek p)
{
	int i;

	if (!CHECK(nheap < (int)ARRAY_SIZE(heap)))
		return;
	for (i = nheap++; i && heap[(i - 1) / 2].head > p.head; i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = p;
}

static struct peek heap_pop(void)
{
	struct peek top = heap[0], p = heap[--nheap];
	int i = 0, k;

	while ((k = 2 * i + 1) < nheap) {
		if (k + 1 < nheap && heap[k + 1].head < heap[k].head)
			k++;
		if (p.head <= heap[k].head)
			break;
		heap[i] = heap[k];
		i = k;
	}
	heap[i] = p;
	return top;
}

/* The next multiple, from the channel with the least; the one before is in *min. */
static void advance(int *min)
{
	struct peek p = heap_pop();

	*min = p.head;
	gs_recv(p.c, &p.head);
	heap_push(p);
}

static void merge_multiples(void *arg)
{
	int min = 15;

	for (;;) {
		struct peek m = {0};
		int p, head;

		gs_recv(s2.primes, &p);
		m.c = numbers(p * p, 2 * p, 10);
		gs_recv(m.c, &head);
		while (min < head) {
			gs_send(s2.composites, min);
			advance(&min);
		}
		while (min == head)
			advance(&min);
		gs_send(s2.composites, head);
		gs_recv(m.c, &m.head);
		heap_push(m);
	}
}

static void sieve_composites(void *arg)
{
	gs_chan_of(int) candidates = numbers(5, 2, 50);
	int p, c;

	gs_recv(candidates, &p);
	for (;;) {
		gs_recv(s2.composites, &c);
		while (p < c) {
			gs_send(s2.proxy, p);
			gs_send(s2.out, p);
			gs_recv(candidates, &p);
		}
		if (p == c)
			gs_recv(candidates, &p);
	}
}

static void sieve2_main(void *arg)
{
	int v;

	s2.out = gs_make(int, 10);
	s2.composites = gs_make(int, 50);
	s2.primes = gs_make(int, 10);
	s2.proxy = gs_make(int, 10);
	gs_send(s2.out, 2);
	gs_send(s2.out, 3);
	gs_send(s2.primes, 3);
	gs_go(send_proxy, NULL);
	gs_go(merge_multiples, NULL);
	gs_go(sieve_composites, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(primes); i++) {
		gs_recv(s2.out, &v);
		CHECK_EQ(v, primes[i]);
	}
}

/* a sieve with feedback: a select that now and then has nothing to send */
TEST(sieve2)
{
	RUN(sieve2_main, NULL);
}

/* Power series: each a channel of demands and one of rational coefficients. */
struct rat {
	int64_t num, den; /* den 0: the series has ended */
};

struct series {
	gs_chan_of(int) req;
	gs_chan_of(struct rat) dat;
};

static struct series *series_new(void)
{
	struct series *s = malloc(sizeof(*s)); /* they live on to the end of the process */

	s->req = gs_make(int, 0);
	s->dat = gs_make(struct rat, 0);
	return s;
}

/* What the fiber behind a series gets; which of it, differs. */
struct gen {
	struct series *u, *v, *z, *z2;
	gs_chan_of(int) wait;
	struct rat c;
	int n;
};

static struct series *start(void (*fn)(void *), struct gen g)
{
	if (!g.z)
		g.z = series_new();
	CHECK_EQ(gs_go_copy(fn, &g, sizeof(g)), 0);
	return g.z;
}

static int64_t gcd(int64_t u, int64_t v)
{
	while (u) {
		int64_t t = v % u;

		v = u;
		u = t;
	}
	return v < 0 ? -v : v;
}

static struct rat ratio(int64_t u, int64_t v)
{
	int64_t g = gcd(u, v);

	if (v <= 0)
		g = -g;
	return (struct rat){u / g, v / g};
}

static const struct rat finis = {1, 0}, zero = {0, 1}, unit = {1, 1};

static struct rat r_add(struct rat u, struct rat v)
{
	int64_t g = gcd(u.den, v.den);

	return ratio(u.num * (v.den / g) + v.num * (u.den / g), u.den * (v.den / g));
}

static struct rat r_mul(struct rat u, struct rat v)
{
	int64_t g1 = gcd(u.num, v.den), g2 = gcd(u.den, v.num);

	return (struct rat){(u.num / g1) * (v.num / g2), (u.den / g2) * (v.den / g1)};
}

static struct rat r_neg(struct rat u)
{
	return (struct rat){-u.num, u.den};
}

static bool ended(struct rat u)
{
	return u.den == 0;
}

static void put(struct rat r, struct series *z)
{
	gs_recv(z->req, NULL);
	gs_send(z->dat, r);
}

static struct rat get(struct series *u)
{
	struct rat r = finis;

	gs_send(u->req, 1);
	gs_recv(u->dat, &r);
	return r;
}

/* One from each of two, in whichever order they come. */
static void get2(struct series *u, struct series *v, struct rat out[2])
{
	struct series *in[2] = {u, v};
	gs_chan_of(int) req[2] = {u->req, v->req};
	gs_chan_of(struct rat) dat[2] = {NULL, NULL};

	for (int n = 0; n < 4; n++) {
		int i = gs_select(GS_SEND(req[0], 1), GS_SEND(req[1], 1), GS_RECV(dat[0], &out[0]),
				  GS_RECV(dat[1], &out[1]));

		if (i < 2) {
			dat[i] = in[i]->dat;
			req[i] = NULL;
		} else {
			dat[i - 2] = NULL;
		}
	}
}

static _Noreturn void copy(struct series *u, struct series *z)
{
	for (;;) {
		gs_recv(z->req, NULL);
		gs_send(z->dat, get(u));
	}
}

/* The newest serves the first output, the oldest the second; those between hold data. */
static void split_fiber(void *arg)
{
	struct gen *g = arg, next = *g;
	struct series *first = g->z, *second = g->z2, *t;
	bool both = false;
	struct rat r;

	if (gs_select(GS_RECV(first->req, NULL), GS_RECV(g->wait, NULL)) == 1) {
		both = true;
		if (gs_select(GS_RECV(first->req, NULL), GS_RECV(second->req, NULL)) == 1) {
			t = first;
			first = second;
			second = t;
		}
	}
	gs_send(g->u->req, 1);
	next.z = first;
	next.z2 = second;
	next.wait = gs_make(int, 0);
	start(split_fiber, next);
	gs_recv(g->u->dat, &r);
	gs_send(first->dat, r);
	if (!both)
		gs_recv(g->wait, NULL);
	gs_recv(second->req, NULL);
	gs_send(second->dat, r);
	gs_free(g->wait);
	gs_send(next.wait, 0);
}

static void split_into(struct series *u, struct series *z, struct series *z2)
{
	struct gen g = {.u = u, .z = z, .z2 = z2, .wait = gs_ref(gs_make(int, 0))};

	start(split_fiber, g);
	gs_send(g.wait, 0);
}

static void split(struct series *u, struct series **z, struct series **z2)
{
	*z = series_new();
	*z2 = series_new();
	split_into(u, *z, *z2);
}

static void rep_fiber(void *arg)
{
	struct gen *g = arg;

	for (;;)
		put(g->c, g->z);
}

static void add_fiber(void *arg)
{
	struct gen *g = arg;
	struct rat uv[2];

	for (;;) {
		gs_recv(g->z->req, NULL);
		get2(g->u, g->v, uv);
		if (ended(uv[0]) && ended(uv[1])) {
			gs_send(g->z->dat, finis);
		} else if (ended(uv[0])) {
			gs_send(g->z->dat, uv[1]);
			copy(g->v, g->z);
		} else if (ended(uv[1])) {
			gs_send(g->z->dat, uv[0]);
			copy(g->u, g->z);
		} else {
			gs_send(g->z->dat, r_add(uv[0], uv[1]));
		}
	}
}

static void cmul_fiber(void *arg)
{
	struct gen *g = arg;
	struct rat r;

	for (;;) {
		gs_recv(g->z->req, NULL);
		r = get(g->u);
		gs_send(g->z->dat, ended(r) ? finis : r_mul(g->c, r));
		if (ended(r))
			return;
	}
}

static struct series *series_add(struct series *u, struct series *v)
{
	return start(add_fiber, (struct gen){.u = u, .v = v});
}

static struct series *series_cmul(struct rat c, struct series *u)
{
	return start(cmul_fiber, (struct gen){.u = u, .c = c});
}

/* (u + x U)(v + x V) = u v + x (u V + v U) + x x U V */
static void mul_fiber(void *arg)
{
	struct gen *g = arg;
	struct series *u[2], *v[2], *w;
	struct rat uv[2];

	gs_recv(g->z->req, NULL);
	get2(g->u, g->v, uv);
	if (ended(uv[0]) || ended(uv[1])) {
		gs_send(g->z->dat, finis);
		return;
	}
	gs_send(g->z->dat, r_mul(uv[0], uv[1]));
	split(g->u, &u[0], &u[1]);
	split(g->v, &v[0], &v[1]);
	w = series_add(series_cmul(uv[0], v[0]), series_cmul(uv[1], u[0]));
	gs_recv(g->z->req, NULL);
	gs_send(g->z->dat, get(w));
	copy(series_add(w, start(mul_fiber, (struct gen){.u = u[1], .v = v[1]})), g->z);
}

static void diff_fiber(void *arg)
{
	struct gen *g = arg;
	struct rat r;

	gs_recv(g->z->req, NULL);
	r = get(g->u);
	for (int i = 1; !ended(r); i++) {
		r = get(g->u);
		if (ended(r))
			break;
		gs_send(g->z->dat, r_mul(ratio(i, 1), r));
		gs_recv(g->z->req, NULL);
	}
	gs_send(g->z->dat, finis);
}

static void integ_fiber(void *arg)
{
	struct gen *g = arg;
	struct rat r;

	put(g->c, g->z);
	for (int i = 1;; i++) {
		gs_recv(g->z->req, NULL);
		r = get(g->u);
		if (ended(r))
			break;
		gs_send(g->z->dat, r_mul(ratio(1, i), r));
	}
	gs_send(g->z->dat, finis);
}

/* U(c x^n) */
static void monsubst_fiber(void *arg)
{
	struct gen *g = arg;
	struct rat c = unit, r;

	for (;;) {
		gs_recv(g->z->req, NULL);
		r = get(g->u);
		gs_send(g->z->dat, ended(r) ? finis : r_mul(r, c));
		if (ended(r))
			return;
		c = r_mul(c, g->c);
		for (int i = 1; i < g->n; i++)
			put(zero, g->z);
	}
}

static struct series *series_rep(struct rat c)
{
	return start(rep_fiber, (struct gen){.c = c});
}

/* Z = exp(U), for Z' = Z U': its first output is what it is made of */
static struct series *series_exp(struct series *u)
{
	struct series *z = series_new(), *z2 = series_new(), *d, *m;

	d = start(diff_fiber, (struct gen){.u = u});
	m = start(mul_fiber, (struct gen){.u = z, .v = d});
	split_into(start(integ_fiber, (struct gen){.u = m, .c = unit}), z, z2);
	return z2;
}

static void check_series(struct series *u, const struct rat *want, int n, const char *name)
{
	for (int i = 0; i < n; i++) {
		struct rat r = get(u);

		if (r.num != want[i].num || r.den != want[i].den)
			ut_fail(__FILE__, __LINE__, "%s: coefficient %d is %lld/%lld", name, i,
				(long long)r.num, (long long)r.den);
	}
}

static void powser_main(void *arg)
{
	struct series *units = series_rep(unit), *twos = series_rep(ratio(2, 1));
	struct rat a[10],
		e[10] = {{1, 1},    {1, 1},	 {3, 2},	{13, 6},       {73, 24},
			 {167, 40}, {4051, 720}, {37633, 5040}, {43817, 4480}, {4596553, 362880}};
	struct series *s;

	for (int i = 0; i < 10; i++)
		a[i] = unit;
	check_series(units, a, 5, "ones");
	for (int i = 0; i < 10; i++)
		a[i] = ratio(2, 1);
	check_series(series_add(units, units), a, 10, "ones + ones");
	for (int i = 0; i < 10; i++)
		a[i] = ratio(3, 1);
	check_series(series_add(units, twos), a, 10, "ones + twos");
	for (int i = 0; i < 10; i++)
		a[i] = ratio(i + 1, 1);
	check_series(start(diff_fiber, (struct gen){.u = units}), a, 10, "diff");
	for (int i = 0; i < 10; i++)
		a[i] = i ? ratio(1, i) : zero;
	check_series(start(integ_fiber, (struct gen){.u = units, .c = zero}), a, 10, "integ");
	for (int i = 0; i < 10; i++)
		a[i] = ratio(-2, 1);
	check_series(series_cmul(r_neg(unit), twos), a, 10, "cmul");
	for (int i = 0; i < 10; i++)
		a[i] = ratio(-1, 1);
	check_series(series_add(units, series_cmul(r_neg(unit), twos)), a, 10, "ones - twos");
	for (int i = 0; i < 10; i++)
		a[i] = ratio(i + 1, 1);
	check_series(start(mul_fiber, (struct gen){.u = units, .v = units}), a, 10, "mul");
	check_series(series_exp(units), e, 10, "exp");
	s = start(monsubst_fiber, (struct gen){.u = units, .c = r_neg(unit), .n = 2});
	for (int i = 0; i < 10; i++)
		a[i] = i % 2 ? ratio(i % 4 == 1 ? 1 : -1, i) : zero;
	check_series(start(integ_fiber, (struct gen){.u = s, .c = zero}), a, 10, "atan");
}

/* power series: hundreds of fibers that ask each other for the next coefficient */
TEST(powser1)
{
	RUN(powser_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* test/chanlinear.go, closedchan.go, peano.go, test/chan/zerosize.go           */

#define MESSAGES 10

struct waits {
	gs_chan_of(bool) common, own;
};

static void waits_twice(void *arg)
{
	struct waits *w = arg;

	for (int i = 0; i < MESSAGES; i++)
		CHECK_EQ(gs_select(GS_RECV(w->common, NULL), GS_RECV(w->own, NULL)), 1);
}

/*
 * CPU time for n fibers to leave a queue, in an order that is not the queue's, and to
 * join it again: one queue for all of them, or one for each.
 */
static int64_t leave_and_join(long n, bool shared)
{
	gs_chan_of(bool) common = gs_make(bool, 0);
	struct waits *w = calloc((size_t)n, sizeof(*w));
	struct timespec a, b;

	for (long i = 0; i < n; i++) {
		w[i] = (struct waits){shared ? gs_ref(common) : gs_make(bool, 0), gs_make(bool, 0)};
		gs_wg_go(&all, waits_twice, &w[i]);
	}
	for (long i = 0; i < n; i++) /* first touch of everything */
		gs_send(w[i].own, true);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	for (int k = 1; k < MESSAGES; k++)
		for (long i = 0; i < n; i++)
			gs_send(w[i * 7919 % n].own, true);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	gs_wg_wait(&all);
	for (long i = 0; i < n; i++) {
		gs_free(w[i].own);
		gs_free(w[i].common);
	}
	gs_free(common);
	free(w);
	return (b.tv_sec - a.tv_sec) * SEC + b.tv_nsec - a.tv_nsec;
}

static void linear_main(void *arg)
{
	long n = ut_count(3000, 1000);
	int64_t each = INT64_MAX, shared = INT64_MAX, end = gs_now() + ut_limit(30 * SEC);

	/* Go compares n with 2 n, but they differ in more: the caches. These two do not. */
	for (int attempt = 0; attempt < 10 || gs_now() < end; attempt++) {
		int64_t e = leave_and_join(n, false), s = leave_and_join(n, true);

		/* the least of each, for others use these caches, too */
		each = e < each ? e : each;
		shared = s < shared ? s : shared;
		if (shared < 4 * each)
			return;
	}
	ut_fail(__FILE__, __LINE__, "%ld queues of one: %lld ns, one of %ld: %lld ns", n,
		(long long)each, n, (long long)shared);
}

/* to leave a queue costs the same, however many stand there */
TEST(chanlinear)
{
#if defined(UT_ASAN) || defined(UT_TSAN)
	SKIP(return, "a sanitizer's own cost is not the same for each fiber");
#endif
	ut_set_procs(1);
	RUN(linear_main, NULL);
}

/* Three ways to do each operation: direct, a select of one channel, one of two. */
static gs_chan_of(bool) dummy;

static bool way_recv(int way, gs_chan_of(int) c, int *v)
{
	bool ok = true;

	switch (way) {
	case 0:
		return gs_recv(c, v);
	case 1:
		CHECK_EQ(gs_select(GS_RECV_OK(c, v, &ok)), 0);
		return ok;
	default:
		CHECK_EQ(gs_select(GS_RECV_OK(c, v, &ok), GS_RECV(dummy, NULL)), 0);
		return ok;
	}
}

/* 1 a value, 0 closed, -EAGAIN */
static int way_try_recv(int way, gs_chan_of(int) c, int *v)
{
	bool ok = true;

	switch (way) {
	case 0:
		return gs_try_recv(c, v);
	case 1:
		return gs_select(GS_RECV_OK(c, v, &ok), GS_DEFAULT) == 0 ? ok : -EAGAIN;
	default:
		return gs_select(GS_RECV(dummy, NULL), GS_DEFAULT, GS_RECV_OK(c, v, &ok)) == 2
			       ? ok
			       : -EAGAIN;
	}
}

static void way_send(int way, bool block, gs_chan_of(int) c)
{
	if (way == 0 && block)
		gs_send(c, 1);
	else if (way == 0)
		gs_try_send(c, 1);
	else if (way == 1 && block)
		gs_select(GS_SEND(c, 1));
	else if (way == 1)
		gs_select(GS_DEFAULT, GS_SEND(c, 1));
	else if (block)
		gs_select(GS_SEND(c, 1), GS_RECV(dummy, NULL));
	else
		gs_select(GS_DEFAULT, GS_RECV(dummy, NULL), GS_SEND(c, 1));
}

static void must_panic(void *arg)
{
	const char *text = gs_recover();

	CHECK(text && strcmp(text, arg) == 0);
}

static int sends_panicking(int way, bool block, gs_chan_of(int) c)
{
	GS_DEFER_SCOPE;
	gs_defer(must_panic, "send on closed channel");
	way_send(way, block, c);
	return 1;
}

static int closes_panicking(gs_chan_of(int) c, char *text)
{
	GS_DEFER_SCOPE;
	gs_defer(must_panic, text);
	gs_close(c);
	return 1;
}

static void drained(int way, gs_chan_of(int) c)
{
	for (int i = 0; i < 3; i++) {
		int v = 9;

		CHECK(!way_recv(way, c, &v));
		CHECK_EQ(v, 0);
		v = 9;
		CHECK_EQ(way_try_recv(way, c, &v), 0);
		CHECK_EQ(v, 0);
	}
	for (int block = 0; block < 2; block++) {
		int v = 9;

		CHECK_EQ(sends_panicking(way, block, c), 0);
		/* and the value is gone */
		CHECK(!way_recv(way, c, &v));
		CHECK_EQ(v, 0);
	}
	gs_free(c);
}

static void closed_main(void *arg)
{
	gs_chan_of(int) c;

	dummy = gs_make(bool, 0);
	for (int way = 0; way < 3; way++) {
		c = gs_make(int, 0);
		gs_close(c);
		drained(way, c);
		for (int block = 0; block < 2; block++) {
			int v = 0;

			c = gs_make(int, 2);
			gs_send(c, 1);
			gs_close(c);
			CHECK_EQ(block ? way_recv(way, c, &v) : way_try_recv(way, c, &v), 1);
			CHECK_EQ(v, 1);
			drained(way, c);
		}
	}
	CHECK_EQ(closes_panicking(NULL, "close of nil channel"), 0);
	c = gs_make(int, 0);
	gs_close(c);
	CHECK_EQ(closes_panicking(c, "close of closed channel"), 0);
	gs_free(c);
	gs_free(dummy);
}

/* a closed channel over each kind of operation: the rest, then zero and false; panics */
TEST(closedchan)
{
	RUN(closed_main, NULL);
}

struct number {
	struct number *less;
};

/* Every call takes a frame: none of them is a loop in disguise. */
#define DEEP __attribute__((noinline))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static DEEP struct number *add1(struct number *x)
{
	struct number *e = malloc(sizeof(*e));

	e->less = x;
	return e;
}

static DEEP struct number *add(struct number *x, struct number *y)
{
	struct number *r = y ? add(add1(x), y->less) : x;

	KEEP_FRAME();
	return r;
}

static DEEP struct number *mul(struct number *x, struct number *y)
{
	struct number *r = x && y ? add(mul(x, y->less), x) : NULL;

	KEEP_FRAME();
	return r;
}

static DEEP struct number *fact(struct number *n)
{
	struct number *r = n ? mul(fact(n->less), n) : add1(NULL);

	KEEP_FRAME();
	return r;
}

static DEEP struct number *unary(int n)
{
	struct number *r = n > 0 ? add1(unary(n - 1)) : NULL;

	KEEP_FRAME();
	return r;
}

static DEEP int number_count(struct number *x)
{
	int n = x ? number_count(x->less) + 1 : 0;

	KEEP_FRAME();
	return n;
}

static void peano_tables(void *arg)
{
	static const int results[] = {1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880};
	int max = ut_scale() > 1 ? 7 : 9;

	CHECK_EQ(number_count(add(unary(3), unary(4))), 7);
	CHECK_EQ(number_count(mul(unary(3), unary(4))), 12);
	CHECK_EQ(number_count(mul(unary(3), NULL)), 0);
	for (int i = 0; i <= max; i++)
		CHECK_EQ(number_count(fact(unary(i))), results[i]);
}

static void peano_main(void *arg)
{
	struct gs_attr attr = {.stack_size = 256 << 20};

	gs_wg_add(&all, 1);
	CHECK_EQ(gs_go_attr(&attr, arg, NULL), 0);
	gs_wg_wait(&all);
}

static void peano_fiber(void *arg)
{
	peano_tables(NULL);
	gs_wg_done(&all);
}

/* hundreds of thousands of calls deep: a stack may be as large as that needs */
TEST(peano)
{
	RUN(peano_main, peano_fiber);
}

struct nothing {
};

/* channels of a type without size */
TEST(zerosize)
{
	gs_chan_of(struct nothing) c = gs_make(struct nothing, 0), d = gs_make(struct nothing, 1);
	struct nothing n = {};

	ASSERT_NE(NULL, c);
	ASSERT_NE(NULL, d);
	gs_send(d, n);
	EXPECT_EQ(1, gs_len(d));
	EXPECT_EQ(-EAGAIN, gs_try_send(d, n));
	EXPECT_TRUE(gs_recv(d, &n));
	EXPECT_EQ(-EAGAIN, gs_try_recv(c, &n));
	gs_free(c);
	gs_free(d);
}

/* ------------------------------------------------------------------------- */
/* src/runtime/chan_test.go                                                    */

static int wakes; /* atomic */

static void recv_and_count(void *arg)
{
	CHECK(gs_recv((gs_chan_of(int))arg, NULL));
	ADD(wakes, 1);
}

static void send_and_count(void *arg)
{
	gs_send((gs_chan_of(int))arg, 0);
	ADD(wakes, 1);
}

static void recv_closed(void *arg)
{
	int v = 5;

	CHECK(!gs_recv((gs_chan_of(int))arg, &v));
	CHECK_EQ(v, 0);
}

static void send_100(void *arg)
{
	for (int i = 0; i < 100; i++)
		gs_send((gs_chan_of(int))arg, i);
}

#define EACH 100
static int received[EACH]; /* atomic */

static void recv_100(void *arg)
{
	for (int i = 0; i < EACH; i++) {
		int v = -1;

		CHECK(gs_recv((gs_chan_of(int))arg, &v));
		if (CHECK(v >= 0 && v < EACH))
			ADD(received[v], 1);
	}
}

static void chan_of_cap(int cap)
{
	gs_chan_of(int) c = gs_make(int, (size_t)cap);
	int v;

	/* a receive from an empty one blocks */
	STORE(wakes, 0);
	gs_wg_go(&all, recv_and_count, c);
	gs_wg_go(&all, recv_and_count, c);
	ut_let_run(20);
	CHECK_EQ(LOAD(wakes), 0);
	CHECK_EQ(gs_select(GS_RECV(c, NULL), GS_DEFAULT), 1);
	gs_send(c, 0);
	gs_send(c, 0);
	gs_wg_wait(&all);

	/* and a send to a full one */
	for (int i = 0; i < cap; i++)
		gs_send(c, i);
	STORE(wakes, 0);
	gs_wg_go(&all, send_and_count, c);
	ut_let_run(20);
	CHECK_EQ(LOAD(wakes), 0);
	CHECK_EQ(gs_len(c), (size_t)cap);
	CHECK_EQ(gs_cap(c), (size_t)cap);
	if (cap) /* with no buffer, its sender may be there: it would be met */
		CHECK_EQ(gs_select(GS_SEND(c, 0), GS_DEFAULT), 1);
	gs_recv(c, &v);
	gs_wg_wait(&all);
	while (gs_try_recv(c, &v) == 1)
		;

	/* in order; then from four to four, each value as often as it was sent */
	gs_wg_go(&all, send_100, c);
	for (int i = 0; i < 100; i++) {
		CHECK(gs_recv(c, &v));
		CHECK_EQ(v, i);
	}
	memset(received, 0, sizeof(received));
	for (int i = 0; i < 4; i++) {
		gs_wg_go(&all, send_100, c);
		gs_wg_go(&all, recv_100, c);
	}
	gs_wg_wait(&all);
	for (int i = 0; i < EACH; i++)
		CHECK_EQ(received[i], 4);

	/* closed: what is left, then zeros; and whoever waits is woken */
	for (int i = 0; i < cap; i++)
		gs_send(c, i);
	gs_close(c);
	for (int i = 0; i < cap; i++) {
		CHECK(gs_recv(c, &v));
		CHECK_EQ(v, i);
	}
	recv_closed(c);
	gs_free(c);
	c = gs_make(int, (size_t)cap);
	gs_wg_go(&all, recv_closed, c);
	ut_let_run(5);
	gs_close(c);
	gs_wg_wait(&all);
	gs_free(c);
}

static void chan_main(void *arg)
{
	int n = (int)ut_count(200, 10);

	gs_max_procs(4);
	for (int cap = 0; cap < n; cap++)
		chan_of_cap(cap);
}

/* the same of channels with room for none, one, ... two hundred */
TEST(capacities)
{
	RUN(chan_main, NULL);
}

static void must_be_ready(void *arg)
{
	gs_chan_of(int) c = arg;

	CHECK_EQ(gs_select(GS_RECV(c, NULL), GS_DEFAULT), 0);
	gs_free(c);
}

static void recv_race_main(void *arg)
{
	long n = ut_count(10000, 200);

	for (long i = 0; i < n && !LOAD(ut_failed); i++) {
		gs_chan_of(int) c = gs_make(int, 1);

		gs_send(c, 1);
		gs_wg_go(&all, must_be_ready, gs_ref(c));
		gs_close(c);
		gs_recv(c, NULL);
		gs_free(c);
	}
	gs_wg_wait(&all);
}

/* closed before its value is taken: at every moment a receive is ready */
TEST(nonblock_recv_race)
{
	RUN(recv_race_main, NULL);
}

struct two {
	gs_chan_of(int) a, b;
	bool swap;
};

static void one_is_ready(void *arg)
{
	struct two *t = arg;

	/* a look at one after the other would be wrong in the second order */
	if (t->swap)
		CHECK_LT(gs_select(GS_RECV(t->b, NULL), GS_RECV(t->a, NULL), GS_DEFAULT), 2);
	else
		CHECK_LT(gs_select(GS_RECV(t->a, NULL), GS_RECV(t->b, NULL), GS_DEFAULT), 2);
	gs_free(t->a);
	gs_free(t->b);
}

static void select_race_main(void *arg)
{
	long n = ut_count(ut_long(10000, 200000), 500);

	for (long i = 0; i < n && !LOAD(ut_failed); i++) {
		struct two t = {gs_make(int, 1), gs_make(int, arg ? 0 : 1), i % 4};

		gs_send(t.a, 1);
		gs_ref(t.a);
		gs_ref(t.b);
		gs_go_copy(one_is_ready, &t, sizeof(t));
		if (arg)
			gs_close(t.b);
		else
			gs_send(t.b, 1);
		gs_try_recv(t.a, NULL);
		gs_free(t.a);
		gs_free(t.b);
	}
	UNTIL(gs_num_fibers() == 1);
}

/* one of two is ready at every moment: the default never runs */
TEST(nonblock_select_race)
{
	RUN(select_race_main, NULL);
}

/* the same where the second becomes ready by a close */
TEST(nonblock_select_race2)
{
	RUN(select_race_main, (void *)1);
}

static size_t self_cap;

static void select_itself(void *arg)
{
	struct {
		gs_chan_of(int) c;
		int me;
	} *s = arg;

	for (int i = 0; i < 1000; i++) {
		int v = -1, k;

		if (s->me == 0 || i % 2 == 0)
			k = gs_select(GS_SEND(s->c, s->me), GS_RECV(s->c, &v));
		else
			k = !gs_select(GS_RECV(s->c, &v), GS_SEND(s->c, s->me));
		if (k == 1 && self_cap == 0)
			CHECK_EQ(v, 1 - s->me);
	}
	gs_wg_done(&all);
}

static void self_main(void *arg)
{
	for (self_cap = 0; self_cap <= 10; self_cap += 10) {
		gs_chan_of(int) c = gs_make(int, self_cap);

		gs_wg_add(&all, 2);
		for (int i = 0; i < 2; i++) {
			struct {
				gs_chan_of(int) c;
				int me;
			} s = {c, i};

			gs_go_copy(select_itself, &s, sizeof(s));
		}
		gs_wg_wait(&all);
		gs_free(c);
	}
}

/* two that both send and receive: buffered too; none meets itself, none is left over */
TEST(self_select)
{
	RUN(self_main, NULL);
}

static gs_chan_of(int) stress[4];
static long stress_n;

static void stress_send(void *arg)
{
	for (long i = 0; i < stress_n; i++)
		gs_send(stress[(long)arg], 0);
}

static void stress_recv(void *arg)
{
	for (long i = 0; i < stress_n; i++)
		gs_recv(stress[(long)arg], NULL);
}

static void stress_select(void *arg)
{
	gs_chan_of(int) c[4] = {stress[0], stress[1], stress[2], stress[3]};
	long n[4] = {0};

	for (long i = 0; i < 4 * stress_n; i++) {
		int k = arg ? gs_select(GS_SEND(c[3], 0), GS_SEND(c[2], 0), GS_SEND(c[0], 0),
					GS_SEND(c[1], 0))
			    : gs_select(GS_RECV(c[0], NULL), GS_RECV(c[1], NULL),
					GS_RECV(c[2], NULL), GS_RECV(c[3], NULL));

		if (arg)
			k = (int[]){3, 2, 0, 1}[k];
		if (++n[k] == stress_n)
			c[k] = NULL;
	}
}

static void stress_main(void *arg)
{
	static const size_t caps[4] = {0, 0, 2, 3};

	gs_max_procs(10);
	stress_n = ut_count(20000, 500);
	for (long i = 0; i < 4; i++)
		stress[i] = gs_make(int, caps[i]);
	for (long i = 0; i < 4; i++) {
		gs_wg_go(&all, stress_send, (void *)i);
		gs_wg_go(&all, stress_recv, (void *)i);
	}
	gs_wg_go(&all, stress_select, (void *)1);
	gs_wg_go(&all, stress_select, NULL);
	gs_wg_wait(&all);
	for (int i = 0; i < 4; i++)
		gs_free(stress[i]);
}

/* senders, receivers and selects over four channels: it comes out even */
TEST(select_stress)
{
	RUN(stress_main, NULL);
}

static void fair_relay(void *arg)
{
	gs_chan_of(char) *c = arg;
	char b = 0;

	do
		gs_select(GS_RECV(c[2], &b), GS_RECV(c[3], &b), GS_RECV(c[0], &b),
			  GS_RECV(c[1], &b));
	while (gs_select(GS_SEND(c[4], b), GS_RECV(c[5], NULL)) == 0);
}

static void fair_main(void *arg)
{
	int trials = (int)ut_count(10000, 2000);
	long hits[3] = {0};
	gs_chan_of(char) c[6];
	char b = 0;

	for (int i = 0; i < 6; i++)
		c[i] = gs_make(char, i < 2 ? (size_t)trials + 1 : 0);
	for (int i = 0; i <= trials; i++) {
		gs_send(c[0], 1);
		gs_send(c[1], 2);
	}
	gs_wg_go(&all, fair_relay, c);
	for (int i = 0; i < trials; i++) {
		gs_recv(c[4], &b);
		if (CHECK(b == 1 || b == 2))
			hits[(int)b]++;
	}
	ut_check_equal_chance(&hits[1], 2, __LINE__);
	gs_close(c[5]);
	gs_wg_wait(&all);
	for (int i = 0; i < 6; i++)
		gs_free(c[i]);
}

/* two of four are ready: each is taken as often as the other */
TEST(select_fairness)
{
	RUN(fair_main, NULL);
}

static void duplicate_sends_main(void *arg)
{
	gs_chan_of(void *) c = gs_make(void *, 1);
	void *p = &c, *q = &p, *v = NULL;

	gs_send(c, p);
	CHECK_EQ(gs_select(GS_SEND(c, q), GS_DEFAULT), 1);
	CHECK_EQ(gs_select(GS_SEND(c, p), GS_SEND(c, q), GS_DEFAULT), 2);
	CHECK(gs_recv(c, &v) && v == p);
	gs_free(c);
}

/* a full channel in two send cases: the default */
TEST(chan_send_twice)
{
	RUN(duplicate_sends_main, NULL);
}

static void count_bits(void *arg)
{
	long *n = arg;
	int v = 0;

	while (gs_recv((gs_chan_of(int))(void *)n[2], &v)) {
		gs_yield();
		n[v]++;
	}
}

static void random_send_main(void *arg)
{
	for (size_t cap = 0; cap <= 100; cap += 100) {
		gs_chan_of(int) c = gs_make(int, cap);
		long n[3] = {0, 0, (long)c};

		gs_wg_go(&all, count_bits, n);
		for (int i = 0; i < 200; i++)
			gs_select(GS_SEND(c, 1), GS_SEND(c, 0));
		gs_close(c);
		gs_wg_wait(&all);
		CHECK_EQ(n[0] + n[1], 200);
		/* 6.4 standard deviations and more: 1e-10 */
		CHECK_GE(n[0], 54);
		CHECK_GE(n[1], 54);
		gs_free(c);
	}
}

/* two sends on one channel: either is chosen */
TEST(pseudo_random_send)
{
	RUN(random_send_main, NULL);
}

#define NWORK 23

static const int pn[] = {2, 3, 7, 11, 13, 17, 19, 23, 27, 31};
static gs_chan_of(int) work, results;
static long niter;

static void consumer(void *arg)
{
	gs_range(v, work) {
		if (pn[(size_t)arg % ARRAY_SIZE(pn)] == v)
			gs_yield();
		gs_send(results, v);
	}
}

static void feeder(void *arg)
{
	for (long i = 0; i < niter; i++)
		gs_send(work, pn[(size_t)i % ARRAY_SIZE(pn)]);
	gs_close(work);
	gs_wg_wait(&all);
	gs_close(results);
}

static void consumers_main(void *arg)
{
	long expect = 0, n = 0, sum = 0;

	niter = ut_count(271828, 5000);
	work = gs_make(int, NWORK * 3);
	results = gs_make(int, NWORK * 3);
	for (long i = 0; i < niter; i++)
		expect += pn[(size_t)i % ARRAY_SIZE(pn)];
	for (long i = 0; i < NWORK; i++)
		gs_wg_go(&all, consumer, (void *)i);
	gs_go(feeder, NULL);
	gs_range(v, results) {
		n++;
		sum += v;
	}
	CHECK_EQ(n, niter);
	CHECK_EQ(sum, expect);
	gs_free(work);
	gs_free(results);
}

/* 23 consumers of one channel, in no order: nothing is lost */
TEST(multi_consumer)
{
	RUN(consumers_main, NULL);
}

static gs_chan_of(int) dc, dd, de;
static void on_c_twice(void *arg)
{
	CHECK_EQ(gs_select(GS_RECV(dc, NULL), GS_RECV(dc, NULL), GS_RECV(dd, NULL)), 2);
	gs_send(de, 9);
}

static void on_c_once(void *arg)
{
	CHECK(gs_recv(dc, NULL));
}

static void duplicate_main(void *arg)
{
	dc = gs_make(int, 0);
	dd = gs_make(int, 0);
	de = gs_make(int, 0);
	gs_wg_go(&all, on_c_twice, NULL);
	UNTIL(ut_waiting("select", NULL) == 1);
	gs_wg_go(&all, on_c_once, NULL);
	UNTIL(ut_waiting("chan receive", NULL) == 1);
	gs_send(dd, 7);
	gs_recv(de, NULL);
	gs_send(dc, 8);
	gs_wg_wait(&all);
	gs_free(dc);
	gs_free(dd);
	gs_free(de);
}

/* twice on one channel's queue, before another: both places are given up */
TEST(select_duplicate_channel)
{
	ut_set_procs(1);
	RUN(duplicate_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Beyond Go's                                                                 */

static void lifetimes_main(void *arg)
{
	long n = ut_count(ut_long(200000, 10000000), 5000);
	int64_t end = gs_now() + ut_limit(30 * SEC);
	size_t least = SIZE_MAX, grown, most = (size_t)n / 6 / 8 + 1;

	/*
	 * The first part warms up. Each of the runtime's own threads costs something once, and
	 * keeps some of what is freed there: more parts, until there come no new ones.
	 */
	for (int part = 0; part < 6 || (least > most && gs_now() < end); part++) {
		size_t before = mallinfo2().uordblks, after;

		for (long i = 0; i < n / 6; i++) {
			gs_chan_of(int) a = gs_make(int, (size_t)i % 3), b = gs_make(int, 1);
			int v = 0, k;

			k = gs_select(GS_RECV(a, &v), GS_SEND(b, 1), GS_RECV(nilch, NULL));
			CHECK_EQ(k, 1);
			if (i % 16 == 0) {
				gs_wg_go(&all, send_and_count, a);
				CHECK_EQ(gs_select(GS_SEND(b, 2), GS_RECV(a, &v)), 1);
				gs_wg_wait(&all);
			} else if (i % 16 == 8) {
				struct gs_case c[12];

				for (int j = 0; j < 12; j++)
					c[j] = (struct gs_case)GS_RECV(a, NULL);
				c[11] = (struct gs_case)GS_RECV(b, &v);
				CHECK_EQ(gs_select_cases(c, 12), 11);
			}
			gs_free(a);
			gs_free(b);
		}
		after = mallinfo2().uordblks;
		grown = after > before ? after - before : 0;
		if (part && grown < least)
			least = grown;
	}
	CHECK_LE(least, most);
}

/* millions of channels and selects come and go: nothing is left of them */
TEST(lifetimes)
{
	RUN(lifetimes_main, NULL);
}

TEST_HARNESS_MAIN
