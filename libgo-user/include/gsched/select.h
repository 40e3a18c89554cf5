/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * select: wait for the first of several channel operations.
 *
 *	switch (gs_select(GS_RECV(a, &x), GS_SEND(b, y), GS_AFTER(1000000))) {
 *	case 0: ... x came from a ...
 *	case 1: ... y went to b ...
 *	case 2: ... a millisecond passed ...
 *	}
 *
 * Exactly one case runs, and its index is returned. Of several that are ready each is
 * taken with equal chance; the others have no effect at all. Nil channels are never
 * ready. The same channel may stand in several cases, and a select never meets itself.
 */
#ifndef GSCHED_SELECT_H
#define GSCHED_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gsched/chan.h>
#include <gsched/typed.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum { GS_OP_RECV = 1, GS_OP_SEND, GS_OP_AFTER, GS_OP_DEFAULT };

/**
 * struct gs_case - one case of a select
 * @chan: RECV, SEND: the channel; NULL is never ready
 * @elem: RECV: gets the value, zeroed when closed; NULL if it is not wanted.
 *        SEND: the value; NULL sends a zero value
 * @ok: RECV: gets what gs_chan_recv would return; may be NULL
 * @op: GS_OP_RECV, GS_OP_SEND, GS_OP_AFTER, GS_OP_DEFAULT
 * @size: RECV, SEND: sizeof *elem where it is known, else 0
 * @ns: AFTER: nanoseconds from the call; <= 0 is ready at once
 */
struct gs_case {
	gs_chan *chan;
	void *elem;
	bool *ok;
	uint32_t op;
	uint32_t size;
	int64_t ns;
};

/**
 * gs_select_cases - select over an array (T)
 * @cases: the cases; read only, except through elem and ok of the one that runs
 * @n: how many; 0 blocks for ever
 *
 * GS_OP_DEFAULT runs if no other case is ready; of several the first. Of several
 * GS_OP_AFTER the first to elapse runs.
 *
 * Panics with "send on closed channel" if a send case on a closed channel is chosen;
 * if a known size is not the channel's; if an operation is unknown.
 *
 * Return: the index of the case that ran; -ENOMEM, only with more than 8 cases; -EINVAL
 * with more than INT_MAX; with GS_OP_AFTER on an ordinary thread, which starts the
 * runtime, what gs_run returns when it cannot.
 */
int gs_select_cases(struct gs_case *cases, size_t n);

/* See context.h; GS_DONE needs no more of it. */
typedef struct gs_context gs_context;
gs_chan *gs_context_done(gs_context *ctx);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

/*
 * The macros. Each argument is evaluated once. The value of GS_SEND is copied at the
 * call; its copy lives to the end of the enclosing block, so in an array that is built
 * in a loop use GS_SEND_PTR. c is a gs_chan *, for which the size of the element is compared
 * when it runs, or a typed channel: then its end and type are compared when it is compiled.
 *
 *	GS_RECV(c, p)		receive into *p; p may be NULL
 *	GS_RECV_OK(c, p, okp)	and *okp tells whether it was a value
 *	GS_RECV_PTR(c, p, okp)	the same
 *	GS_SEND(c, value...)	send a value; struct literals work
 *	GS_SEND_PTR(c, p)	send *p
 *	GS_AFTER(ns)		ns nanoseconds have passed
 *	GS_DONE(ctx)		the context is cancelled or past its deadline
 *	GS_DEFAULT		nothing else is ready
 */
#ifndef __cplusplus

/* A size only where the pointer tells it: void pointers, so NULL too, do not. */
__extension__ struct gs_case_unsized {
	char none[0];
};
#define GS_CASE_POINTER(p) __typeof__(1 ? (p) : (p))
#define GS_CASE_SIZE(p)                                                                            \
	((uint32_t)sizeof(*_Generic((GS_CASE_POINTER(p))0,                                         \
				    void *: (struct gs_case_unsized *)0,                           \
				    const void *: (struct gs_case_unsized *)0,                     \
				    default: (GS_CASE_POINTER(p))0)))

/* The channel, after what is known of its type has been looked at. */
#define GS_CASE_CHAN(C, c, ...)                                                                    \
	(__extension__({                                                                           \
		 typedef __typeof__(c) C;                                                          \
		 __VA_ARGS__;                                                                      \
	 }),                                                                                       \
	 GS_TYPED_CHAN(c))
#define GS_CASE_RECV(C, what, c, p, okp)                                                           \
	((struct gs_case) {                                                                        \
		.chan = GS_CASE_CHAN(C, c, GS_TYPED_ASSERT_RECVS(C, what);                         \
				     GS_TYPED_ASSERT_INTO(C, what, p)),                            \
		.elem = (void *)(uintptr_t)(p), .ok = (okp), .op = GS_OP_RECV,                     \
		.size = GS_CASE_SIZE(p)                                                            \
	})
#define GS_CASE_SEND_PTR(C, c, p)                                                                  \
	((struct gs_case) {                                                                        \
		.chan = GS_CASE_CHAN(C, c, GS_TYPED_ASSERT_SENDS(C, "GS_SEND_PTR");                \
				     GS_TYPED_ASSERT_FROM(C, "GS_SEND_PTR", p)),                   \
		.elem = (void *)(uintptr_t)(p), .op = GS_OP_SEND, .size = GS_CASE_SIZE(p)          \
	})

/* T of a typed channel, else what the value has */
#define GS_CASE_TYPE(c, ...)                                                                       \
	__typeof__(__builtin_choose_expr(GS_TYPED_NONE(__typeof__(c)), (__VA_ARGS__),              \
					 GS_TYPED_VALUE(__typeof__(c))))
/* an array of one: a brace around a struct expression would initialise its first member */
#define GS_CASE_SEND(C, c, ...)                                                                    \
	((struct gs_case) {                                                                        \
		.chan = GS_CASE_CHAN(C, c, GS_TYPED_ASSERT_SENDS(C, "GS_SEND");                    \
				     GS_TYPED_ASSERT_FITS(C, "GS_SEND", (__VA_ARGS__))),           \
		.elem = (void *)(uintptr_t)(GS_CASE_TYPE(c, __VA_ARGS__)[1]){__VA_ARGS__},         \
		.op = GS_OP_SEND, .size = sizeof(GS_CASE_TYPE(c, __VA_ARGS__))                     \
	})

#define GS_RECV(c, p) GS_CASE_RECV(GS_TYPED_UNIQUE, "GS_RECV", c, p, NULL)
#define GS_RECV_OK(c, p, okp) GS_CASE_RECV(GS_TYPED_UNIQUE, "GS_RECV_OK", c, p, okp)
#define GS_RECV_PTR(c, p, okp) GS_CASE_RECV(GS_TYPED_UNIQUE, "GS_RECV_PTR", c, p, okp)
#define GS_SEND_PTR(c, p) GS_CASE_SEND_PTR(GS_TYPED_UNIQUE, c, p)
#define GS_SEND(c, ...) GS_CASE_SEND(GS_TYPED_UNIQUE, c, __VA_ARGS__)
#define GS_DONE(ctx) GS_RECV(gs_context_done(ctx), NULL)
#define GS_AFTER(after) ((struct gs_case){.op = GS_OP_AFTER, .ns = (after)})
#define GS_DEFAULT ((struct gs_case){.op = GS_OP_DEFAULT})

#define gs_select(...)                                                                             \
	__extension__({                                                                            \
		struct gs_case gs_cases_[] = {__VA_ARGS__};                                        \
		gs_select_cases(gs_cases_, sizeof(gs_cases_) / sizeof(struct gs_case));            \
	})

#else /* __cplusplus */

extern "C++" {

#include <initializer_list>

template <typename T> struct gs_case_size {
	static const uint32_t value = sizeof(T);
};
template <> struct gs_case_size<void> {
	static const uint32_t value = 0;
};
template <> struct gs_case_size<const void> {
	static const uint32_t value = 0;
};

/* const only where it is sent. A temporary lives as long as the select. */
template <typename T> inline gs_case gs_case_make(gs_chan *c, T *p, bool *ok, uint32_t op)
{
	return gs_case{
		c, const_cast<void *>(static_cast<const void *>(p)), ok, op, gs_case_size<T>::value,
		0};
}
inline gs_case gs_case_make(gs_chan *c, decltype(nullptr), bool *ok, uint32_t op)
{
	return gs_case{c, nullptr, ok, op, 0, 0};
}

/* Receive; the plain channel first, then the typed. */
template <typename T> inline gs_case gs_case_recv(gs_chan *c, T *p, bool *ok)
{
	return gs_case_make(c, p, ok, GS_OP_RECV);
}
inline gs_case gs_case_recv(gs_chan *c, decltype(nullptr), bool *ok)
{
	return gs_case_make(c, nullptr, ok, GS_OP_RECV);
}
template <typename End> inline gs_case gs_case_recv(End *c, gs_typed_into_of<End> to, bool *ok)
{
	return gs_case_make(gs_typed_receiver(c), to.p, ok, GS_OP_RECV);
}

template <typename T> inline gs_case gs_case_send(gs_chan *c, const T &v)
{
	return gs_case_make(c, &v, nullptr, GS_OP_SEND);
}
template <typename End>
inline gs_case gs_case_send(End *c, const typename gs_typed_end<End>::type &v)
{
	return gs_case_make(gs_typed_sender(c), &v, nullptr, GS_OP_SEND);
}

template <typename T> inline gs_case gs_case_send_ptr(gs_chan *c, T *p)
{
	return gs_case_make(c, p, nullptr, GS_OP_SEND);
}
inline gs_case gs_case_send_ptr(gs_chan *c, decltype(nullptr))
{
	return gs_case_make(c, nullptr, nullptr, GS_OP_SEND);
}
template <typename End>
inline gs_case gs_case_send_ptr(End *c, gs_typed_into<const typename gs_typed_end<End>::type> from)
{
	return gs_case_make(gs_typed_sender(c), from.p, nullptr, GS_OP_SEND);
}

inline int gs_select_list(std::initializer_list<gs_case> cases)
{
	return gs_select_cases(const_cast<gs_case *>(cases.begin()), cases.size());
}

} /* extern "C++" */

#define GS_RECV(c, p) gs_case_recv((c), (p), nullptr)
#define GS_RECV_OK(c, p, okp) gs_case_recv((c), (p), (okp))
#define GS_RECV_PTR(c, p, okp) gs_case_recv((c), (p), (okp))
#define GS_SEND_PTR(c, p) gs_case_send_ptr((c), (p))
#define GS_SEND(c, ...) gs_case_send((c), __VA_ARGS__)
#define GS_DONE(ctx) gs_case_recv(gs_context_done(ctx), nullptr, nullptr)
#define GS_AFTER(after)                                                                            \
	gs_case                                                                                    \
	{                                                                                          \
		nullptr, nullptr, nullptr, GS_OP_AFTER, 0, (after)                                 \
	}
#define GS_DEFAULT                                                                                 \
	gs_case                                                                                    \
	{                                                                                          \
		nullptr, nullptr, nullptr, GS_OP_DEFAULT, 0, 0                                     \
	}
#define gs_select(...) gs_select_list({__VA_ARGS__})

#endif /* __cplusplus */

#endif /* GSCHED_SELECT_H */
