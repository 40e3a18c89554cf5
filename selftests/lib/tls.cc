// SPDX-License-Identifier: GPL-2.0
/* The part of tls.c that is C++17: objects that are thread_local, exceptions. */
#include <exception>
#include <string>

extern "C" {
void cxx_object_set(long v);
long cxx_object_get(void);
long cxx_objects(void);
bool cxx_throws(void (*between)(void), long me);
bool cxx_handles(void (*between)(void), long me);
}

static long alive; /* atomic */

struct object {
	std::string text = "a text that does not fit into the object itself: 0";
	long value = 0;

	object()
	{
		__atomic_add_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	}
	~object()
	{
		__atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	}
};

static thread_local object mine;

/* Not inlined: the address of a thread_local is not kept over a wait. */
__attribute__((noinline)) void cxx_object_set(long v)
{
	mine.value = v;
	mine.text.back() = static_cast<char>('0' + v % 10);
}

__attribute__((noinline)) long cxx_object_get(void)
{
	return mine.text.back() == static_cast<char>('0' + mine.value % 10) ? mine.value : -1;
}

long cxx_objects(void)
{
	return __atomic_load_n(&alive, __ATOMIC_SEQ_CST);
}

/* Waits while it handles an exception, and one within that. */
bool cxx_handles(void (*between)(void), long me)
{
	bool right = true;

	try {
		throw me;
	} catch (long outer) {
		between();
		try {
			throw std::string("inner ") + std::to_string(me);
		} catch (std::string &inner) {
			between();
			right = right && inner == "inner " + std::to_string(me);
			try {
				throw; /* what this fiber handles, not another's */
			} catch (std::string &again) {
				between();
				right = right && &again == &inner;
			}
		}
		between();
		try {
			throw;
		} catch (long again) {
			right = right && again == me && outer == me;
		}
	}
	return right && !std::current_exception() && std::uncaught_exceptions() == 0;
}

struct waits {
	void (*between)(void);
	int *seen;

	~waits()
	{
		between();
		*seen = std::uncaught_exceptions();
	}
};

/* Waits while the stack is being unwound. */
bool cxx_throws(void (*between)(void), long me)
{
	int seen = -1;

	try {
		waits w{between, &seen};
		throw me;
	} catch (long v) {
		return v == me && seen == 1 && std::uncaught_exceptions() == 0;
	}
	return false;
}
