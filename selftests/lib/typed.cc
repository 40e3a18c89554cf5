// SPDX-License-Identifier: GPL-2.0
/* The part of typed.c that is C++17. */
#include <errno.h>
#include <string.h>

#include <gsched.h>

struct point {
	int64_t x, y, z;
};

/* no default constructor, and a copy that is bytes */
class odd
{
	int64_t v;

      public:
	explicit odd(int64_t n) : v(2 * n + 1) {}
	int64_t get() const
	{
		return v;
	}
};

extern "C" {
gs_recv_only(int64_t) cxx_squares(int64_t n);
int64_t cxx_sum(gs_recv_only(int64_t) c);
void cxx_send_points(gs_send_only(point) c, int64_t n);
const char *cxx_all(void);
}

gs_recv_only(int64_t) cxx_squares(int64_t n)
{
	gs_chan_of(int64_t) c = gs_make(int64_t, static_cast<size_t>(n));

	for (int64_t i = 1; i <= n; i++)
		gs_send(c, i * i);
	gs_close(c);
	return gs_as_recv(c);
}

int64_t cxx_sum(gs_recv_only(int64_t) c)
{
	int64_t sum = 0;

	gs_range(v, c)
		sum += v;
	return sum;
}

struct job {
	gs_send_only(point) out;
	int64_t n;
};

static void send_points(void *arg)
{
	const job *j = static_cast<const job *>(arg);

	for (int64_t i = 1; i <= j->n; i++)
		gs_send(j->out, {i, i + 1, i + 2});
	gs_close(j->out);
	gs_free(j->out);
}

void cxx_send_points(gs_send_only(point) c, int64_t n)
{
	job j = {c, n};

	gs_go_copy(send_points, &j, sizeof(j));
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return #cond;                                                              \
	} while (0)

static int calls;
template <typename C> static C next_chan(C c)
{
	calls++;
	return c;
}

static const char *conversions()
{
	gs_chan_of(int) ints = gs_make(int, 4);
	gs_chan_of(double) doubles = gs_make(double, 1);
	gs_chan_of(const char *) texts = gs_make(const char *, 2);
	gs_chan_of(odd) odds = gs_make(odd, 2);
	const char *text = "";
	volatile int vol = 9;
	odd o(0);
	double d;
	int v;

	gs_send(ints, 'a');
	gs_send(ints, vol);
	CHECK(gs_recv(ints, &v) && v == 'a');
	CHECK(gs_recv(ints, &v) && v == 9);
	gs_send(doubles, 7 / 2);
	CHECK(gs_recv(doubles, &d) && d == 3.0);
	gs_send(texts, "text");
	gs_send(texts, NULL);
	CHECK(gs_recv(texts, &text) && strcmp(text, "text") == 0);
	CHECK(gs_recv(texts, &text) && !text);
	gs_send(odds, odd(3));
	gs_send(odds, odd(4));
	CHECK(gs_recv(odds, &o) && o.get() == 7);
	gs_close(odds);
	int64_t sum = 0;
	gs_range(w, odds)
		sum += w.get();
	CHECK(sum == 9);
	gs_free(ints);
	gs_free(doubles);
	gs_free(texts);
	gs_free(odds);
	return nullptr;
}

static const char *once()
{
	gs_chan_of(int) c = gs_make(int, 8);
	int v = 0, into[3] = {}, *p = into;
	bool oks[2] = {}, *okp = oks;

	calls = 0;
	gs_send(next_chan(c), ++v);
	CHECK(gs_try_send(next_chan(c), ++v) == 0);
	CHECK(calls == 2 && v == 2 && gs_len(c) == 2);
	CHECK(gs_recv(next_chan(c), p++) && gs_try_recv(next_chan(c), p++) == 1);
	CHECK(calls == 4 && p == into + 2 && into[0] == 1 && into[1] == 2);
	CHECK(gs_cap(next_chan(c)) == 8 && gs_len(next_chan(c)) == 0);
	CHECK(gs_ref(next_chan(c)) == c);
	gs_free(next_chan(c));
	CHECK(calls == 8);
	CHECK(gs_select(GS_SEND(next_chan(gs_as_send(c)), ++v)) == 0);
	CHECK(gs_select(GS_RECV_OK(next_chan(gs_as_recv(c)), p++, okp++), GS_AFTER(1000000000)) ==
	      0);
	CHECK(calls == 10 && p == into + 3 && okp == oks + 1 && oks[0] && into[2] == 3);
	p = into;
	CHECK(gs_select(GS_SEND_PTR(next_chan(c), p++)) == 0);
	CHECK(gs_select(GS_RECV_PTR(next_chan(c), p++, nullptr)) == 0);
	CHECK(calls == 12 && p == into + 2 && into[1] == 1);
	gs_send(c, 5);
	gs_send(c, 6);
	gs_send(c, 7);
	v = 0;
	gs_range(n, next_chan(c)) {
		v = v * 10 + n;
		if (n == 6)
			break;
	}
	CHECK(calls == 13 && v == 56);
	gs_close(next_chan(c));
	gs_range(unused, next_chan(c))
		v++;
	CHECK(calls == 15 && v == 57);
	gs_free(c);
	return nullptr;
}

static const char *nil_and_select()
{
	gs_chan_of(int) c = NULL;
	gs_chan_of(point) points = gs_make(point, 1);
	gs_chan *plain = gs_chan_new(sizeof(int), 1);
	gs_cancel cancel;
	gs_context *ctx = gs_with_cancel(gs_background(), &cancel);
	point p = {};
	int v = 3;

	CHECK(gs_try_send(c, 1) == -EAGAIN && gs_try_recv(c, nullptr) == -EAGAIN);
	CHECK(gs_len(c) == 0 && gs_cap(c) == 0 && gs_ref(c) == nullptr);
	gs_free(c);
	CHECK(gs_select(GS_RECV(c, NULL), GS_SEND(points, {1, 2, 3}), GS_RECV(plain, &v)) == 1);
	CHECK(gs_select(GS_RECV(c, &v), GS_RECV(points, &p), GS_DONE(ctx)) == 1);
	CHECK(p.x == 1 && p.y == 2 && p.z == 3);
	CHECK(gs_select(GS_SEND(plain, 4), GS_SEND(c, 1), GS_RECV(NULL, nullptr)) == 0);
	CHECK(gs_select(GS_RECV(plain, &v), GS_DONE(ctx)) == 0 && v == 4);
	gs_cancel_call(&cancel);
	CHECK(gs_select(GS_RECV(points, &p), GS_DONE(ctx)) == 1);
	gs_context_unref(ctx);
	gs_chan_unref(plain);
	gs_free(points);
	return nullptr;
}

const char *cxx_all(void)
{
	const char *failed = conversions();

	if (!failed)
		failed = once();
	if (!failed)
		failed = nil_and_select();
	return failed;
}
