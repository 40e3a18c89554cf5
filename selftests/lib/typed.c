// SPDX-License-Identifier: GPL-2.0
/*
 * Typed channels. What must not compile is in selftests/compile; here is what they do.
 * typed.cc is the same in C++, called through functions of C linkage whose types name
 * typed channels.
 */
#include <pthread.h>

#include "util.h"

#include <gsched.h>

struct point {
	int64_t x, y, z;
};

/* typed.cc */
gs_recv_only(int64_t) cxx_squares(int64_t n);
int64_t cxx_sum(gs_recv_only(int64_t) c);
void cxx_send_points(gs_send_only(struct point) c, int64_t n);
const char *cxx_all(void);

static gs_chan_of(int) next_chan(gs_chan_of(int) c, int *calls)
{
	++*calls;
	return c;
}

static void conversions(void *arg)
{
	gs_chan_of(int) ints = gs_make(int, 4);
	gs_chan_of(double) doubles = gs_make(double, 4);
	gs_chan_of(unsigned char) bytes = gs_make(unsigned char, 1);
	gs_chan_of(bool) bools = gs_make(bool, 1);
	gs_chan_of(const char *) texts = gs_make(const char *, 2);
	gs_chan_of(struct point) points = gs_make(struct point, 2);
	struct point p = {0};
	const char *text;
	unsigned char byte;
	bool b = false;
	double d = 3.9;
	int i;

	gs_send(ints, d);
	gs_send(ints, (char)-1);
	CHECK(gs_recv(ints, &i) && i == 3);
	CHECK(gs_recv(ints, &i) && i == -1);
	gs_send(doubles, 7 / 2);
	gs_send(doubles, 0.25f);
	CHECK(gs_recv(doubles, &d) && d == 3.0);
	CHECK(gs_recv(doubles, &d) && d == 0.25);
	gs_send(bytes, i + 0x200);
	CHECK(gs_recv(bytes, &byte) && byte == 0xff);
	gs_send(bools, 256);
	CHECK(gs_recv(bools, &b) && b);
	gs_send(texts, "text");
	gs_send(texts, NULL);
	CHECK(gs_recv(texts, &text) && strcmp(text, "text") == 0);
	CHECK(gs_recv(texts, &text) && !text);
	gs_send(points, (struct point){1, .z = 3});
	CHECK(gs_recv(points, &p));
	CHECK(p.x == 1 && p.y == 0 && p.z == 3);
	gs_free(ints);
	gs_free(doubles);
	gs_free(bytes);
	gs_free(bools);
	gs_free(texts);
	gs_free(points);
}

/* A value is converted as an initialiser of the channel's type is. */
TEST(values_convert)
{
	RUN(conversions, NULL);
}

static void once(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 8);
	int calls = 0, v = 0, into[3] = {0}, *p = into;
	bool oks[2] = {false, false}, *okp = oks;
	struct gs_case cases[2];
	int64_t ns = 0;

	gs_send(next_chan(c, &calls), ++v);
	CHECK(calls == 1 && v == 1 && gs_len(c) == 1);
	CHECK_EQ(0, gs_try_send(next_chan(c, &calls), ++v));
	CHECK(calls == 2 && v == 2 && gs_len(c) == 2);
	CHECK(gs_recv(next_chan(c, &calls), p++));
	CHECK(calls == 3 && p == into + 1 && into[0] == 1);
	CHECK_EQ(1, gs_try_recv(next_chan(c, &calls), p++));
	CHECK(calls == 4 && p == into + 2 && into[1] == 2);
	CHECK(gs_cap(next_chan(c, &calls)) == 8 && gs_len(next_chan(c, &calls)) == 0);
	CHECK_EQ(6, calls);
	CHECK(gs_ref(next_chan(c, &calls)) == c);
	gs_free(next_chan(c, &calls));
	CHECK_EQ(8, calls);
	CHECK((void *)gs_as_send(next_chan(c, &calls)) == (void *)c);
	CHECK((void *)gs_as_recv(next_chan(c, &calls)) == (void *)c);
	CHECK_EQ(10, calls);

	calls = v = 0;
	CHECK_EQ(0, gs_select(GS_SEND(next_chan(c, &calls), ++v)));
	CHECK(calls == 1 && v == 1 && gs_len(c) == 1);
	p = into;
	CHECK_EQ(0, gs_select(GS_RECV_OK(next_chan(c, &calls), p++, okp++), GS_AFTER((ns += SEC))));
	CHECK(calls == 2 && p == into + 1 && okp == oks + 1 && oks[0] && into[0] == 1 && ns == SEC);
	p = into;
	CHECK_EQ(0, gs_select(GS_SEND_PTR(next_chan(c, &calls), p++)));
	CHECK(calls == 3 && p == into + 1);
	cases[0] = GS_RECV_PTR(next_chan(c, &calls), ++p, NULL);
	cases[1] = GS_RECV(gs_as_recv(next_chan(c, &calls)), NULL);
	CHECK(calls == 5 && p == into + 2);
	CHECK_GE(gs_select_cases(cases, 2), 0);

	calls = 0;
	gs_send(c, 5);
	gs_send(c, 6);
	gs_close(next_chan(c, &calls));
	v = 0;
	gs_range(n, next_chan(c, &calls))
		v = v * 10 + n;
	CHECK(calls == 2 && v == 56);
	c = gs_make(int, (size_t)(calls += 3));
	CHECK(calls == 5 && gs_cap(c) == 5);
	gs_free(c);
}

/* Every macro evaluates each of its arguments once. */
TEST(arguments_once)
{
	RUN(once, NULL);
}

static void ranges(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 8), empty = gs_make(int, 1);
	gs_chan_of(gs_chan_of(int)) chans = gs_make(gs_chan_of(int), 2);
	int n = 0, v = 40;

	for (int i = 0; i < 6; i++)
		gs_send(c, i);
	gs_range(i, c) {
		if (i == 1)
			continue;
		n += i;
		if (i == 3)
			break;
	}
	CHECK_EQ(5, n);
	CHECK_EQ(2, gs_len(c));
	/* v is a new one, and the one outside is what it was */
	gs_close(c);
	n = 0;
	gs_range(v, c) {
		n = n * 10 + v;
		v = 7;
	}
	CHECK_EQ(45, n);
	CHECK_EQ(40, v);
	gs_close(empty);
	gs_range(i, empty)
		CHECK_EQ(-1, i); /* nothing comes */

	gs_send(chans, gs_make(int, 2));
	gs_send(chans, gs_make(int, 2));
	gs_close(chans);
	n = 0;
	gs_range(inner, chans) {
		gs_send(inner, 1);
		gs_send(inner, 2);
		gs_close(inner);
		/* the same name again: the channel is evaluated outside of it */
		gs_chan_of(int) again = inner;
		gs_range(inner, inner)
			n += inner;
		gs_free(again);
	}
	CHECK_EQ(6, n);
	gs_free(c);
	gs_free(empty);
	gs_free(chans);
}

/* gs_range: every value until closed and drained; break, continue, nesting. */
TEST(range)
{
	RUN(ranges, NULL);
}

/* the two ends as parameters, and a member of its own kind as in a request */
struct request {
	int arg;
	gs_send_only(int) reply;
};

static void generate(void *arg)
{
	gs_send_only(int) out = arg;

	for (int i = 1; i <= 100; i++)
		gs_send(out, i);
	gs_close(out);
	gs_free(out);
}

static void serve(void *arg)
{
	gs_recv_only(struct request) requests = arg;

	gs_range(r, requests)
		gs_send(r.reply, 2 * r.arg);
	gs_free(requests);
}

static void ends(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 0), reply = gs_make(int, 0);
	gs_chan_of(struct request) requests = gs_make(struct request, 0);
	int sum = 0, got;

	gs_go(generate, gs_as_send(gs_ref(c)));
	gs_go(serve, gs_as_recv(gs_ref(requests)));
	gs_range(v, c) {
		gs_send(requests, (struct request){v, gs_as_send(reply)});
		CHECK(gs_recv(reply, &got));
		sum += got;
	}
	CHECK_EQ(10100, sum);
	gs_close(requests);
	gs_free(requests);
	gs_free(reply);
	gs_free(c);
}

/* Ends go to other fibers as void *, and stand in structs that are sent. */
TEST(both_ends)
{
	RUN(ends, NULL);
}

static void freed_by_receiver(void *arg)
{
	gs_chan_of(struct point) c = arg;
	struct point p;

	CHECK(gs_recv(c, &p) && p.x == 1);
	gs_free(c); /* the last reference, while the sender's call may still return */
}

static void references(void *arg)
{
	long n = ut_count(20000, 500);

	for (long i = 0; i < n; i++) {
		gs_chan_of(struct point) c = gs_make(struct point, 0);

		gs_go(freed_by_receiver, c);
		gs_send(c, (struct point){1, 2, 3});
	}
	CHECK(!gs_ref((gs_chan_of(int))NULL));
	gs_free((gs_chan_of(int))NULL);
}

/* A call in progress holds the channel: the receiver may drop the last reference. */
TEST(call_holds_channel)
{
	RUN(references, NULL);
}

static void nil(void *arg)
{
	gs_chan_of(int) c = NULL;
	int v = 3;

	CHECK_EQ(-EAGAIN, gs_try_send(c, 1));
	CHECK_EQ(-EAGAIN, gs_try_recv(c, &v));
	CHECK(gs_len(c) == 0 && gs_cap(c) == 0);
	CHECK_EQ(2, gs_select(GS_SEND(c, 1), GS_RECV(c, &v), GS_DEFAULT));
	errno = 0;
	c = gs_make(int, SIZE_MAX / 2);
	CHECK(!c);
	CHECK_EQ(EOVERFLOW, ut_errno());
	c = gs_make(int, 0);
	gs_close(c);
	CHECK(!gs_recv(c, &v) && v == 0);
	v = 3;
	CHECK(gs_try_recv(c, &v) == 0 && v == 0);
	gs_free(c);
}

/* NULL is the nil channel; what cannot be made is NULL; closed gives zero and false. */
TEST(nil_and_closed)
{
	RUN(nil, NULL);
}

static void close_twice(void *arg)
{
	gs_chan_of(int) c = gs_make(int, 0);

	gs_close(c);
	if (arg)
		gs_send(c, 1);
	gs_close(c);
}

static void close_nil(void *arg)
{
	gs_chan_of(int) c = NULL;

	gs_close(c);
}

static void run_in_child(void *fn)
{
	gs_run(*(void (**)(void *))fn, NULL);
}

static void run_in_child_arg(void *fn)
{
	gs_run(*(void (**)(void *))fn, fn);
}

/* Misuse panics with Go's words. */
TEST(panics)
{
	void (*fn)(void *) = close_twice;
	struct ut_child *c = ut_child_run(run_in_child, &fn, 20 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: close of closed channel");
	free(c);
	c = ut_child_run(run_in_child_arg, &fn, 20 * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: send on closed channel");
	free(c);
	fn = close_nil;
	c = ut_child_run(run_in_child, &fn, 20 * SEC);
	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: close of nil channel");
	free(c);
}

static void select_typed(void *arg)
{
	gs_chan_of(int64_t) a = gs_make(int64_t, 1);
	gs_chan_of(struct point) b = gs_make(struct point, 1);
	gs_chan *plain = gs_chan_new(sizeof(int), 1);
	struct point p = {0};
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	int64_t v = 0;
	bool ok = true;
	int i = 0;

	CHECK_EQ(0, gs_select(GS_SEND(a, 7), GS_RECV(b, &p), GS_RECV(plain, &i)));
	CHECK_EQ(0, gs_select(GS_RECV(gs_as_recv(a), &v), GS_RECV(b, &p), GS_RECV(plain, &i)));
	CHECK_EQ(7, v);
	CHECK_EQ(1,
		 gs_select(GS_RECV(a, &v), GS_SEND(b, (struct point){.y = 2}), GS_RECV(plain, &i)));
	CHECK_EQ(1, gs_select(GS_RECV(a, &v), GS_RECV_OK(b, &p, &ok), GS_DONE(ctx)));
	CHECK(p.y == 2 && ok);
	CHECK_EQ(2, gs_select(GS_RECV(a, &v), GS_RECV(b, &p), GS_SEND(plain, 5)));
	CHECK_EQ(2, gs_select(GS_RECV(a, &v), GS_RECV(b, &p), GS_RECV(plain, &i), GS_DONE(ctx)));
	CHECK_EQ(5, i);
	CHECK_EQ(1, gs_select(GS_RECV(a, &v), GS_AFTER(1), GS_DONE(ctx)));
	gs_cancel_call(&cancel);
	CHECK_EQ(1, gs_select(GS_RECV(a, &v), GS_DONE(ctx)));
	CHECK_EQ(0, gs_select(GS_DONE(ctx), GS_DEFAULT));
	gs_context_unref(ctx);
	gs_free(a);
	gs_free(b);
	gs_chan_unref(plain);
}

/* select takes typed and untyped channels together, and a context. */
TEST(in_select)
{
	RUN(select_typed, NULL);
}

static void from_cxx(void *arg)
{
	gs_recv_only(int64_t) squares = cxx_squares(10);
	gs_chan_of(int64_t) numbers = gs_make(int64_t, 3);
	gs_chan_of(struct point) points = gs_make(struct point, 0);
	int64_t sum = 0;

	gs_range(s, squares)
		sum += s;
	CHECK_EQ(385, sum);
	gs_free(squares);
	for (int i = 0; i < 3; i++)
		gs_send(numbers, i + 1);
	gs_close(numbers);
	CHECK_EQ(6, cxx_sum(gs_as_recv(numbers)));
	gs_free(numbers);
	cxx_send_points(gs_as_send(gs_ref(points)), 3);
	sum = 0;
	gs_range(p, points)
		sum += p.x * p.y * p.z;
	CHECK_EQ(1 * 2 * 3 + 2 * 3 * 4 + 3 * 4 * 5, sum);
	gs_free(points);
}

/* C and C++ pass typed channels to each other. */
TEST(with_cxx)
{
	RUN(from_cxx, NULL);
}

static void all_cxx(void *arg)
{
	const char *failed = cxx_all();

	if (failed)
		ut_fail(__FILE__, __LINE__, "typed.cc: %s", failed);
}

/* The macros of C++ do what those of C do. */
TEST(in_cxx)
{
	RUN(all_cxx, NULL);
}

static int plain_thread_sum; /* atomic */

static void *receiving_thread(void *arg)
{
	gs_recv_only(int) c = arg;

	gs_range(v, c)
		ADD(plain_thread_sum, v);
	return NULL;
}

static void to_thread(void *arg)
{
	generate(arg);
}

/* The macros are (T): an ordinary thread ranges over what a fiber sends. */
TEST(ordinary_thread)
{
	gs_chan_of(int) c = gs_make(int, 0);
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, receiving_thread, gs_as_recv(c)));
	RUN(to_thread, gs_as_send(gs_ref(c)));
	ASSERT_EQ(0, pthread_join(t, NULL));
	EXPECT_EQ(5050, LOAD(plain_thread_sum));
	gs_free(c);
}

TEST_HARNESS_MAIN
