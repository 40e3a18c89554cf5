// SPDX-License-Identifier: GPL-2.0
/* The part of interrupt.c that is C++17: exceptions that are handled while others are. */
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
bool cxx_rethrow(int depth, long me);
long cxx_local(long set);
long cxx_locals(void);
}

static long alive; /* atomic */

/* An object of each thread, or of each fiber with storage of its own. */
struct local {
	std::string text = "a text that does not fit into the object itself";
	long value = -1;

	local()
	{
		__atomic_add_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	}
	~local()
	{
		__atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	}
};

static thread_local local mine;

/* Sets it, if not to 0; what it is. Not inlined: its address is not kept over a wait. */
__attribute__((noinline)) long cxx_local(long set)
{
	if (set)
		mine.value = set;
	return mine.text.size() == 47 ? mine.value : -2;
}

long cxx_locals(void)
{
	return __atomic_load_n(&alive, __ATOMIC_SEQ_CST);
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
