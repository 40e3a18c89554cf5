// SPDX-License-Identifier: GPL-2.0
/* The part of interrupt.c that is C++17: exceptions that are handled while others are. */
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "thread_object.h"

extern "C" {
bool cxx_rethrow(int depth, long me);
long cxx_local(long set);
long cxx_locals(void);
}

static thread_local thread_object mine;

/* Sets it, if not to 0; what it is. Not inlined: its address is not kept over a wait. */
__attribute__((noinline)) long cxx_local(long set)
{
	if (set)
		mine.set(set);
	return mine.get();
}

long cxx_locals(void)
{
	return thread_object::objects();
}

struct counted {
	long *n;

	explicit counted(long *count) : n(count)
	{
		++*n;
	}
	~counted()
	{
		--*n;
	}
};

/* Throws at the bottom; each level on the way up handles it, throws another, goes on. */
static void descend(int depth, long me, long *objects)
{
	counted here(objects);
	std::vector<std::string> kept(3, "text that is too long for the object itself");

	if (depth == 0)
		throw std::runtime_error(std::to_string(me));
	try {
		descend(depth - 1, me, objects);
	} catch (std::runtime_error &e) {
		try {
			throw me + depth;
		} catch (long v) {
			if (v != me + depth)
				throw 0;
		}
		if (e.what() != std::to_string(me))
			throw 0;
		throw;
	}
}

bool cxx_rethrow(int depth, long me)
{
	long objects = 0;
	bool right = false;

	try {
		descend(depth, me, &objects);
	} catch (std::runtime_error &e) {
		right = e.what() == std::to_string(me);
	} catch (...) {
	}
	return right && objects == 0 && !std::current_exception() &&
	       std::uncaught_exceptions() == 0;
}
