// SPDX-License-Identifier: GPL-2.0
/* What must compile without a warning, as C11 and as C++17. */
#include "decls.h"

void sends(void);
void receives(void);
void others(void);
void ranges(void);
void selects(gs_context *ctx);
void macros(void);

#ifdef __cplusplus
#define FROM_VOID(T, p) static_cast<T>(p)
#else
#define FROM_VOID(T, p) p
#endif

void makes(void *arg)
{
	gs_chan_of(int) c = FROM_VOID(gs_chan_of(int), arg), nil = NULL;
	const gs_chan_of(int) kept = c;
	gs_chan_of(struct pair) p = gs_make(struct pair, n);
	gs_chan_of(gs_chan_of(int)) cc = gs_make(gs_chan_of(int), 0);
	gs_chan_of(const char *) t = gs_make(const char *, 2);

	ints = gs_make(int, n++);
	if (!c || c == nil || kept == c)
		return;
	makes(c);
	makes(kept);
	makes(gs_as_recv(c));
	gs_free(p);
	gs_free(cc);
	gs_free(t);
	gs_go(makes, c);
}

void sends(void)
{
	const gs_chan_of(int) kept = ints;
	struct node node = {NULL, NULL, NULL};

	gs_send(ints, 1);
	gs_send(ints, l);
	gs_send(ints, 'a');
	gs_send(ints, k);
	gs_send(ints, vol);
	gs_send(ints, bi.f);
	gs_send(ints, n++);
	gs_send(ints, n = 3);
	gs_send(ints, RED);
	gs_send(ints, give());
	gs_send(kept, 1);
	gs_send(in, 1);
	gs_send(table[n++], array[x++]);
	gs_send(doubles, 1);
	gs_send(doubles, 1.5f);
	gs_send(bytes, x);
	gs_send(bools, true);
	gs_send(bools, 3);
	gs_send(colors, GREEN);
	gs_send(pairs, pr);
	gs_send(pairs, cpr);
	gs_send(eithers, ei);
	gs_send(texts, "text");
	gs_send(texts, text);
	gs_send(texts, ctext);
	gs_send(texts, NULL);
	gs_send(texts, 0);
	gs_send(buffers, text);
	gs_send(anys, &x);
	gs_send(anys, any);
	gs_send(anys, ints);
	gs_send(anys, NULL);
	gs_send(pointers, &x);
	gs_send(pointers, array);
	gs_send(functions, give);
	gs_send(functions, NULL);
	gs_send(channels, ints);
	gs_send(channels, table[n++]);
	gs_send(channels, NULL);
	gs_send(ends, gs_as_recv(ints));
	gs_send(ends, out);
	gs_send(gs_as_send(gs_as_send(ints)), 1);
	gs_send(node.out, 1);
	gs_send(node.replies, node.next);
	gs_send(node.next, node);
	if (gs_try_send(ints, 1) == 0 || gs_try_send(in, d > 1) || gs_try_send(texts, "text"))
		gs_send(ints, 1);
	else
		gs_send(ints, 2);
#ifdef __cplusplus
	gs_send(pairs, {1, 2});
	gs_send(pairs, pair{n, 2});
	x = gs_try_send(pairs, {1, 2});
#else
	gs_send(pairs, (struct pair){n, 2});
	gs_send(pairs, (struct pair){.b = n});
	x = gs_try_send(pairs, (struct pair){n, 2});
	gs_send(pointers, any);
	gs_send(buffers, "text");
	gs_send(colors, 1);
	gs_send(bools, xp);
	gs_send(ints, ({
			gs_recv(ints, &x);
			x + 1;
		}));
#endif
}

void receives(void)
{
	int *p = array;
	gs_chan_of(int) c;
	struct node node;

	ok = gs_recv(ints, &x);
	gs_recv(ints, NULL);
	ok = gs_recv(ints, array);
	ok = gs_recv(ints, array + 1);
	ok = gs_recv(ints, p++);
	ok = gs_recv(out, xp);
	ok = gs_recv(table[n++], &table[x++] ? &x : NULL);
	ok = gs_recv(pairs, &pr);
	ok = gs_recv(channels, &c);
	ok = gs_recv(channels, &table[1]);
	ok = gs_recv(texts, &ctext);
	ok = gs_recv(anys, &any);
	ok = gs_recv(pointers, &xp);
	ok = gs_recv(lines(NULL, NULL), &ctext);
	node.next = NULL;
	while (gs_recv(node.next, &node))
		;
	x = gs_try_recv(ints, &x) + gs_try_recv(out, NULL) + gs_try_recv(gs_as_recv(ints), &x);
#ifndef __cplusplus
	ok = gs_recv(ints, any);
#endif
}

void others(void)
{
	gs_send_only(int) s = gs_as_send(gs_ref(ints));
	gs_recv_only(int) r = gs_as_recv(gs_ref(ints));
	size_t many = gs_len(ints) + gs_len(s) + gs_len(r) + gs_cap(ints) + gs_cap(s) + gs_cap(r);

	s = gs_ref(s);
	r = gs_ref(r);
	gs_close(ints);
	gs_close(s);
	gs_free(s);
	gs_free(r);
	gs_free(ticks((int64_t)many));
}

void ranges(void)
{
	gs_range(v, ints)
		x += v;
	gs_range(v, out) {
		if (v)
			break;
		if (x)
			continue;
		gs_range(c, channels) {
			gs_range(w, c)
				x += w;
		}
	}
	gs_range(unused, gs_as_recv(ints)) {}
	gs_range(p, pairs) {
		p.a = 1;
		pr = p;
	}
	gs_range(f, functions)
		if (f)
			f();
	gs_range(t, table[n++])
		array[t] = 0;
	gs_range(when, ticks(3))
		l = (long)when;
}

void selects(gs_context *ctx)
{
	int *p = array;

	x = gs_select(GS_RECV(ints, &x), GS_RECV(out, NULL), GS_RECV(plain, &x),
		      GS_RECV(plain, NULL));
	x = gs_select(GS_RECV_OK(ints, array, &ok), GS_RECV_OK(plain, p++, &ok),
		      GS_RECV_OK(pairs, &pr, &ok));
	x = gs_select(GS_RECV_PTR(ints, xp, &ok), GS_RECV_PTR(plain, any, &ok),
		      GS_RECV_PTR(table[n++], p, NULL));
	x = gs_select(GS_SEND(ints, 1), GS_SEND(doubles, 1), GS_SEND(plain, 1L), GS_SEND(in, n++),
		      GS_DEFAULT);
	x = gs_select(GS_SEND(texts, "text"), GS_SEND(texts, NULL), GS_SEND(plain, "text"),
		      GS_SEND(pairs, cpr));
	x = gs_select(GS_SEND(channels, ints), GS_SEND(gs_as_send(table[n++]), bi.f), GS_AFTER(n));
	x = gs_select(GS_SEND_PTR(ints, &x), GS_SEND_PTR(ints, &k), GS_SEND_PTR(plain, any),
		      GS_SEND_PTR(plain, cany));
	x = gs_select(GS_SEND_PTR(ints, NULL), GS_SEND_PTR(plain, &k), GS_RECV(NULL, NULL),
		      GS_RECV(gs_as_recv(ints), &x));
	x = gs_select(GS_DONE(ctx), GS_RECV(gs_context_done(ctx), NULL));
#ifdef __cplusplus
	x = gs_select(GS_SEND(plain, pair{1, 2}), GS_SEND(pairs, {1, 2}));
#else
	x = gs_select(GS_SEND(plain, (struct pair){1, n}), GS_SEND(pairs, (struct pair){1, n}));
	x = gs_select(GS_SEND_PTR(ints, cany), GS_RECV(ints, any));
	struct gs_case cases[] = {GS_SEND(ints, n), GS_RECV(ints, &x), GS_SEND(plain, n)};

	x = gs_select_cases(cases, 3);
#endif
}

/* A header of ours may define macros over these. */
#define FIRST(c, p) gs_recv(c, p)
#define FORWARD(from, to)                                                                          \
	gs_range(v, from)                                                                          \
	gs_send(to, v)

void macros(void)
{
	FORWARD(out, in);
	ok = FIRST(FIRST(channels, &table[0]) ? table[0] : ints, &x);
}
