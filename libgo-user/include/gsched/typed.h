/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Typed channels: the calls of chan.h, with the element's type checked.
 *
 *	gs_chan_of(int) c = gs_make(int, 8);
 *
 *	gs_send(c, 1);
 *	gs_close(c);
 *	gs_range (v, c)
 *		printf("%d\n", v);
 *	gs_free(c);
 *
 * Types
 *
 *	gs_chan_of(T)		a channel of T
 *	gs_send_only(T)		its end for senders
 *	gs_recv_only(T)		its end for receivers
 *
 * are pointer types, and structural: gs_chan_of(int) is one and the same type wherever
 * it stands, so it may be a parameter, a member or a result. NULL is the nil channel. T
 * is any object type but an array (wrap that in a struct), and may still be incomplete
 * there; in C++ it is trivially copyable. Behind each stands a gs_chan; C and C++ see the
 * same pointer. It converts to and from void *, as the argument of a fiber does.
 *
 * Calls, all (T), with the semantics of the one named, which says more:
 *
 *	gs_make(T, capacity)	gs_chan_new: a channel with one reference, or NULL
 *	gs_send(c, v)		gs_chan_send
 *	gs_recv(c, p)		gs_chan_recv: false when closed and drained
 *	gs_try_send(c, v)	gs_chan_try_send: 0 or -EAGAIN
 *	gs_try_recv(c, p)	gs_chan_try_recv: 1, 0 when closed and drained, -EAGAIN
 *	gs_close(c)		gs_chan_close
 *	gs_len(c), gs_cap(c)	gs_chan_len, gs_chan_cap
 *	gs_ref(c)		gs_chan_ref; returns c
 *	gs_free(c)		gs_chan_unref
 *	gs_as_send(c), gs_as_recv(c)	that end of a channel: the same reference
 *	gs_range (v, c) statement	declares v; runs the statement with each value
 *				received, until c is closed and drained; break ends it
 *
 * They are macros and evaluate each argument once. v is what may initialise a T: numbers
 * convert; in C++ braces work, too. p is a T * or NULL, if the value is not wanted (in C
 * also any void *). Another pointer, another struct and the wrong end are refused when the
 * program is compiled. A call in progress holds the channel, as chan.h says; gs_range
 * is one call after the other.
 */
#ifndef GSCHED_TYPED_H
#define GSCHED_TYPED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gsched/chan.h>

#ifndef __cplusplus

/*
 * How a type is written into a pointer, in C: as that of a function which returns a
 * function which returns T, and whose parameter tells the end. There is no such function,
 * and nothing is ever read through the pointer. It points to a pointer to the function,
 * not to the function, so that it is an object pointer and converts to and from void * as
 * such. An array is not what a function may return: the compiler refuses it.
 */
struct gs_typed_both;
struct gs_typed_send;
struct gs_typed_recv;

#define GS_TYPED_FUNCTION(...) __typeof__(__typeof__(__VA_ARGS__)(*)(void))
#define GS_TYPED_POINTER(function, end) __typeof__(function(**)(struct end *))

#define gs_chan_of(...) GS_TYPED_POINTER(GS_TYPED_FUNCTION(__VA_ARGS__), gs_typed_both)
#define gs_send_only(...) GS_TYPED_POINTER(GS_TYPED_FUNCTION(__VA_ARGS__), gs_typed_send)
#define gs_recv_only(...) GS_TYPED_POINTER(GS_TYPED_FUNCTION(__VA_ARGS__), gs_typed_recv)

/*
 * What a macro finds out about its arguments; nothing here is evaluated. C is the type of
 * a channel expression, as a name: the macros give it one, each its own, because an
 * expression that is itself such a macro grows with every time it is written down.
 */
#define GS_TYPED_PASTE(a, b) a##b
#define GS_TYPED_NAME(n) GS_TYPED_PASTE(gs_typed_, n)
#define GS_TYPED_UNIQUE GS_TYPED_NAME(__COUNTER__)

/* A channel of that type, one of void for a plain gs_chan * and for NULL. */
#define GS_TYPED_EXAMPLE(C)                                                                        \
	_Generic(*(C *)0,                                                                          \
		 gs_chan * : (gs_chan_of(void))0,                                                  \
		 void * : (gs_chan_of(void))0,                                                     \
		 default : *(C *)0)

/* The function that returns T, what it returns, and that one's type. */
#define GS_TYPED_OF(C) __typeof__((*GS_TYPED_EXAMPLE(C))(0))
#define GS_TYPED_VALUE(C) ((*GS_TYPED_EXAMPLE(C))(0)())
#define GS_TYPED_ELEM(C) __typeof__(GS_TYPED_VALUE(C))

#define GS_TYPED_NONE(C) __builtin_types_compatible_p(GS_TYPED_OF(C), void (*)(void))
#define GS_TYPED_IS(C, end) __builtin_types_compatible_p(C, GS_TYPED_POINTER(GS_TYPED_OF(C), end))
#define GS_TYPED_SENDS(C) (GS_TYPED_IS(C, gs_typed_both) || GS_TYPED_IS(C, gs_typed_send))
#define GS_TYPED_RECVS(C) (GS_TYPED_IS(C, gs_typed_both) || GS_TYPED_IS(C, gs_typed_recv))

/* __builtin_classify_type says 1 to 4 for integers, 5 for addresses, 8 and 9 for reals. */
#define GS_TYPED_CLASS(x, set) (((set) >> (__builtin_classify_type(x) & 31)) & 1)
#define GS_TYPED_INTEGER(x) GS_TYPED_CLASS(x, 0x01e)
#define GS_TYPED_NUMBER(x) GS_TYPED_CLASS(x, 0x31e)
#define GS_TYPED_ADDRESS(x) GS_TYPED_CLASS(x, 0x020)
#define GS_TYPED_SCALAR(x) GS_TYPED_CLASS(x, 0x33e)

/* x where it is of that kind, elsewhere something that does no harm */
#define GS_TYPED_IF_INTEGER(x) __builtin_choose_expr(GS_TYPED_INTEGER(x), x, 1)
#define GS_TYPED_IF_ADDRESS(x) __builtin_choose_expr(GS_TYPED_ADDRESS(x), x, (void *)0)
#define GS_TYPED_UNLESS_SCALAR(x) __builtin_choose_expr(GS_TYPED_SCALAR(x), 0, x)

/* The constant 0: (void *) makes a null pointer of it, which takes on any pointer's type. */
#define GS_TYPED_ZERO(x)                                                                           \
	(GS_TYPED_INTEGER(x) &&                                                                    \
	 __builtin_types_compatible_p(                                                             \
		 __typeof__(0 ? (int *)0 : (void *)(intptr_t)GS_TYPED_IF_INTEGER(x)), int *))

/* May the pointer v initialise one like e? Not if e lacks a qualifier of v's. */
#define GS_TYPED_FITS_ADDRESS(e, v)                                                                \
	(__builtin_types_compatible_p(__typeof__(v), void *) ||                                    \
	 __builtin_types_compatible_p(__typeof__(0 ? (e) : (v)), __typeof__(e)))

/* May v initialise one like e? */
#define GS_TYPED_FITS(e, v)                                                                        \
	(GS_TYPED_NUMBER(e)                                                                        \
		 ? GS_TYPED_NUMBER(v) || (GS_TYPED_ADDRESS(v) &&                                   \
					  __builtin_types_compatible_p(__typeof__(e), _Bool))      \
	 : GS_TYPED_ADDRESS(e)                                                                     \
		 ? GS_TYPED_ZERO(v) ||                                                             \
			   (GS_TYPED_ADDRESS(v) &&                                                 \
			    GS_TYPED_FITS_ADDRESS(GS_TYPED_IF_ADDRESS(e), GS_TYPED_IF_ADDRESS(v))) \
		 : !GS_TYPED_SCALAR(v) &&                                                          \
			   __builtin_types_compatible_p(__typeof__(GS_TYPED_UNLESS_SCALAR(e)),     \
							__typeof__(GS_TYPED_UNLESS_SCALAR(v))))

/* Does p point to where a value goes, or comes from? An array's name does, too. */
#define GS_TYPED_POINTS(p, ...)                                                                    \
	__builtin_types_compatible_p(__typeof__(1 ? GS_TYPED_IF_ADDRESS(p) : (p)), __VA_ARGS__)
#define GS_TYPED_INTO(C, p)                                                                        \
	(GS_TYPED_ZERO(p) || (GS_TYPED_ADDRESS(p) && (GS_TYPED_POINTS(p, void *) ||                \
						      GS_TYPED_POINTS(p, GS_TYPED_ELEM(C) *))))
#define GS_TYPED_FROM(C, p)                                                                        \
	(GS_TYPED_INTO(C, p) ||                                                                    \
	 (GS_TYPED_ADDRESS(p) &&                                                                   \
	  (GS_TYPED_POINTS(p, const void *) || GS_TYPED_POINTS(p, const GS_TYPED_ELEM(C) *))))

#define GS_TYPED_ASSERT_TYPED(C, what)                                                             \
	_Static_assert(!GS_TYPED_NONE(C), what ": not a typed channel")
#define GS_TYPED_ASSERT_SENDS(C, what)                                                             \
	_Static_assert(GS_TYPED_NONE(C) || GS_TYPED_SENDS(C),                                      \
		       what ": this end of the channel is for receivers")
#define GS_TYPED_ASSERT_RECVS(C, what)                                                             \
	_Static_assert(GS_TYPED_NONE(C) || GS_TYPED_RECVS(C),                                      \
		       what ": this end of the channel is for senders")
#define GS_TYPED_ASSERT_FITS(C, what, v)                                                           \
	_Static_assert(                                                                            \
		GS_TYPED_NONE(C) ||                                                                \
			GS_TYPED_FITS(                                                             \
				__builtin_choose_expr(GS_TYPED_NONE(C), 0, GS_TYPED_VALUE(C)), v), \
		what ": the value does not fit the type of the channel")
#define GS_TYPED_ASSERT_INTO(C, what, p)                                                           \
	_Static_assert(GS_TYPED_NONE(C) || GS_TYPED_INTO(C, p),                                    \
		       what ": the pointer is not to the type of the channel")
#define GS_TYPED_ASSERT_FROM(C, what, p)                                                           \
	_Static_assert(GS_TYPED_NONE(C) || GS_TYPED_FROM(C, p),                                    \
		       what ": the pointer is not to the type of the channel")

#define GS_TYPED_CHAN(c) ((gs_chan *)(void *)(c))

/* In blocks, where the copy of a value ends with the call. */
#define GS_TYPED_DO_MAKE(C, T, capacity)                                                           \
	__extension__({                                                                            \
		typedef gs_chan_of(T) C;                                                           \
		_Static_assert(!GS_TYPED_NONE(C), "gs_make: not an object type");                  \
		(C)(void *) gs_chan_new(sizeof(T), (capacity));                                    \
	})
#define GS_TYPED_DO_SEND(C, what, call, c, ...)                                                    \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, what);                                                    \
		GS_TYPED_ASSERT_SENDS(C, what);                                                    \
		GS_TYPED_ASSERT_FITS(C, what, (__VA_ARGS__));                                      \
		call(GS_TYPED_CHAN(c), (GS_TYPED_ELEM(C)[1]){__VA_ARGS__});                        \
	})
#define GS_TYPED_DO_RECV(C, what, call, c, p)                                                      \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, what);                                                    \
		GS_TYPED_ASSERT_RECVS(C, what);                                                    \
		GS_TYPED_ASSERT_INTO(C, what, p);                                                  \
		call(GS_TYPED_CHAN(c), (p));                                                       \
	})
#define GS_TYPED_DO_CLOSE(C, c)                                                                    \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, "gs_close");                                              \
		GS_TYPED_ASSERT_SENDS(C, "gs_close");                                              \
		gs_chan_close(GS_TYPED_CHAN(c));                                                   \
	})
#define GS_TYPED_DO(C, what, call, c)                                                              \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, what);                                                    \
		call(GS_TYPED_CHAN(c));                                                            \
	})
#define GS_TYPED_DO_REF(C, c)                                                                      \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, "gs_ref");                                                \
		(__typeof__(1 ? *(C *)0 : *(C *)0))(void *)gs_chan_ref(GS_TYPED_CHAN(c));          \
	})
#define GS_TYPED_DO_AS(C, what, assert, end, c)                                                    \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, what);                                                    \
		assert(C, what);                                                                   \
		(GS_TYPED_POINTER(GS_TYPED_OF(C), end))(void *)(c);                                \
	})
#define GS_TYPED_DO_VALUE(C, c)                                                                    \
	__extension__({                                                                            \
		typedef __typeof__(c) C;                                                           \
		GS_TYPED_ASSERT_TYPED(C, "gs_range");                                              \
		GS_TYPED_VALUE(C);                                                                 \
	})
/* One declaration for both: the channel first, where v is still what it was outside. */
#define GS_TYPED_DO_RANGE(from, v, c)                                                              \
	for (__typeof__(GS_TYPED_DO_VALUE(GS_TYPED_UNIQUE, c))(*(**from)(struct gs_typed_recv *))( \
		     void) = GS_TYPED_DO_AS(GS_TYPED_UNIQUE, "gs_range", GS_TYPED_ASSERT_RECVS,    \
					    gs_typed_recv, c),                                     \
		 v;                                                                                \
	     gs_chan_recv(GS_TYPED_CHAN(from), &v);)

#define gs_make(T, capacity) GS_TYPED_DO_MAKE(GS_TYPED_UNIQUE, T, capacity)
#define gs_send(c, ...) GS_TYPED_DO_SEND(GS_TYPED_UNIQUE, "gs_send", gs_chan_send, c, __VA_ARGS__)
#define gs_try_send(c, ...)                                                                        \
	GS_TYPED_DO_SEND(GS_TYPED_UNIQUE, "gs_try_send", gs_chan_try_send, c, __VA_ARGS__)
#define gs_recv(c, p) GS_TYPED_DO_RECV(GS_TYPED_UNIQUE, "gs_recv", gs_chan_recv, c, p)
#define gs_try_recv(c, p) GS_TYPED_DO_RECV(GS_TYPED_UNIQUE, "gs_try_recv", gs_chan_try_recv, c, p)
#define gs_close(c) GS_TYPED_DO_CLOSE(GS_TYPED_UNIQUE, c)
#define gs_len(c) GS_TYPED_DO(GS_TYPED_UNIQUE, "gs_len", gs_chan_len, c)
#define gs_cap(c) GS_TYPED_DO(GS_TYPED_UNIQUE, "gs_cap", gs_chan_cap, c)
#define gs_ref(c) GS_TYPED_DO_REF(GS_TYPED_UNIQUE, c)
#define gs_free(c) GS_TYPED_DO(GS_TYPED_UNIQUE, "gs_free", gs_chan_unref, c)
#define gs_as_send(c)                                                                              \
	GS_TYPED_DO_AS(GS_TYPED_UNIQUE, "gs_as_send", GS_TYPED_ASSERT_SENDS, gs_typed_send, c)
#define gs_as_recv(c)                                                                              \
	GS_TYPED_DO_AS(GS_TYPED_UNIQUE, "gs_as_recv", GS_TYPED_ASSERT_RECVS, gs_typed_recv, c)
#define gs_range(v, c) GS_TYPED_DO_RANGE(GS_TYPED_UNIQUE, v, c)

#else /* __cplusplus */

extern "C++" {

#include <type_traits>

/* These are never defined: there are only pointers to them. */
template <typename T> struct gs_typed_both;
template <typename T> struct gs_typed_send;
template <typename T> struct gs_typed_recv;

template <typename T> struct gs_typed_elem {
	static_assert(std::is_object<T>::value && !std::is_array<T>::value,
		      "a channel's element is of any object type but an array");
	typedef typename std::remove_cv<T>::type type;
};

template <typename T> using gs_typed_both_ptr = gs_typed_both<typename gs_typed_elem<T>::type> *;
template <typename T> using gs_typed_send_ptr = gs_typed_send<typename gs_typed_elem<T>::type> *;
template <typename T> using gs_typed_recv_ptr = gs_typed_recv<typename gs_typed_elem<T>::type> *;

/* What End * is: no member type for anything but a typed channel. */
template <typename End> struct gs_typed_end {
};
template <typename T, bool sender, bool receiver> struct gs_typed_end_of {
	typedef T type;
	/* what initialises a T converts to this; a scalar may be volatile */
	typedef typename std::conditional<std::is_scalar<T>::value, T, const T &>::type value;
	typedef gs_typed_send<T> sending;
	typedef gs_typed_recv<T> receiving;
	static const bool sends = sender;
	static const bool recvs = receiver;
};
template <typename T> struct gs_typed_end<gs_typed_both<T>> : gs_typed_end_of<T, true, true> {
};
template <typename T> struct gs_typed_end<gs_typed_send<T>> : gs_typed_end_of<T, true, false> {
};
template <typename T> struct gs_typed_end<gs_typed_recv<T>> : gs_typed_end_of<T, false, true> {
};

/* The channel, if that may be done with this end. */
template <typename End> inline gs_chan *gs_typed_chan(End *c)
{
	typedef typename gs_typed_end<End>::type type;

	static_assert(std::is_object<type>::value, "not a typed channel");
	return reinterpret_cast<gs_chan *>(c);
}
template <typename End> inline gs_chan *gs_typed_sender(End *c)
{
	typedef typename gs_typed_end<End>::type type;

	static_assert(gs_typed_end<End>::sends, "this end of the channel is for receivers");
	static_assert(std::is_trivially_copyable<type>::value,
		      "a channel's element is copied as bytes: it must be trivially copyable");
	return gs_typed_chan(c);
}
template <typename End> inline gs_chan *gs_typed_receiver(End *c)
{
	typedef typename gs_typed_end<End>::type type;

	static_assert(gs_typed_end<End>::recvs, "this end of the channel is for senders");
	static_assert(std::is_trivially_copyable<type>::value,
		      "a channel's element is copied as bytes: it must be trivially copyable");
	return gs_typed_chan(c);
}

/*
 * Where a value goes: T * and what converts to it, so NULL. Another pointer is matched
 * better by the template, which is there for its message.
 */
template <typename T> struct gs_typed_into {
	T *p;
	gs_typed_into(T *to) : p(to) {}
	template <typename P,
		  typename = typename std::enable_if<!std::is_same<P, T>::value &&
						     !std::is_same<const P, T>::value>::type>
	gs_typed_into(P *) : p(nullptr)
	{
		static_assert(std::is_same<P, T>::value,
			      "the pointer is not to the type of the channel");
	}
};
template <typename End> using gs_typed_into_of = gs_typed_into<typename gs_typed_end<End>::type>;

template <typename T> inline gs_typed_both_ptr<T> gs_typed_make(size_t capacity)
{
	static_assert(std::is_trivially_copyable<T>::value,
		      "a channel's element is copied as bytes: it must be trivially copyable");
	return reinterpret_cast<gs_typed_both_ptr<T>>(gs_chan_new(sizeof(T), capacity));
}
template <typename End> inline void gs_typed_do_send(End *c, typename gs_typed_end<End>::value v)
{
	gs_chan_send(gs_typed_sender(c), &v);
}
template <typename End> inline int gs_typed_do_try_send(End *c, typename gs_typed_end<End>::value v)
{
	return gs_chan_try_send(gs_typed_sender(c), &v);
}
template <typename End> inline bool gs_typed_do_recv(End *c, gs_typed_into_of<End> to)
{
	return gs_chan_recv(gs_typed_receiver(c), to.p);
}
template <typename End> inline int gs_typed_do_try_recv(End *c, gs_typed_into_of<End> to)
{
	return gs_chan_try_recv(gs_typed_receiver(c), to.p);
}
template <typename End> inline void gs_typed_do_close(End *c)
{
	static_assert(gs_typed_end<End>::sends, "this end of the channel is for receivers");
	gs_chan_close(gs_typed_chan(c));
}
template <typename End> inline End *gs_typed_do_ref(End *c)
{
	return reinterpret_cast<End *>(gs_chan_ref(gs_typed_chan(c)));
}
template <typename End> inline typename gs_typed_end<End>::sending *gs_typed_as_send(End *c)
{
	static_assert(gs_typed_end<End>::sends, "this end of the channel is for receivers");
	return reinterpret_cast<typename gs_typed_end<End>::sending *>(c);
}
template <typename End> inline typename gs_typed_end<End>::receiving *gs_typed_as_recv(End *c)
{
	static_assert(gs_typed_end<End>::recvs, "this end of the channel is for senders");
	return reinterpret_cast<typename gs_typed_end<End>::receiving *>(c);
}

/* What "for" goes through: each step receives. */
template <typename T> class gs_typed_values
{
	gs_chan *c;
	union {
		T v; /* set by receiving; T need not have a constructor */
	};

      public:
	struct last {
	};
	struct step {
		gs_chan *c;
		T *v;
		bool ok;

		bool operator!=(last) const
		{
			return ok;
		}
		const T &operator*() const
		{
			return *v;
		}
		void operator++()
		{
			ok = gs_chan_recv(c, v);
		}
	};
	explicit gs_typed_values(gs_chan *from) : c(from) {}
	step begin()
	{
		return step{c, &v, gs_chan_recv(c, &v)};
	}
	last end() const
	{
		return last{};
	}
};
template <typename End>
inline gs_typed_values<typename gs_typed_end<End>::type> gs_typed_range(End *c)
{
	return gs_typed_values<typename gs_typed_end<End>::type>(gs_typed_receiver(c));
}

} /* extern "C++" */

#define gs_chan_of(...) gs_typed_both_ptr<__VA_ARGS__>
#define gs_send_only(...) gs_typed_send_ptr<__VA_ARGS__>
#define gs_recv_only(...) gs_typed_recv_ptr<__VA_ARGS__>

#define gs_make(T, capacity) gs_typed_make<T>(capacity)
#define gs_send(c, ...) gs_typed_do_send((c), __VA_ARGS__)
#define gs_try_send(c, ...) gs_typed_do_try_send((c), __VA_ARGS__)
#define gs_recv(c, p) gs_typed_do_recv((c), (p))
#define gs_try_recv(c, p) gs_typed_do_try_recv((c), (p))
#define gs_close(c) gs_typed_do_close(c)
#define gs_len(c) gs_chan_len(gs_typed_chan(c))
#define gs_cap(c) gs_chan_cap(gs_typed_chan(c))
#define gs_ref(c) gs_typed_do_ref(c)
#define gs_free(c) gs_chan_unref(gs_typed_chan(c))
#define gs_as_send(c) gs_typed_as_send(c)
#define gs_as_recv(c) gs_typed_as_recv(c)
#define gs_range(v, c) for ([[maybe_unused]] auto v : gs_typed_range(c))

#endif /* __cplusplus */

#endif /* GSCHED_TYPED_H */
