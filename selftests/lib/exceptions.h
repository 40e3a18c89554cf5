/* SPDX-License-Identifier: GPL-2.0 */
/* C++17: exceptions of a fiber that waits, by between, wherever it has some. */
#ifndef LIB_EXCEPTIONS_H
#define LIB_EXCEPTIONS_H

#include <exception>
#include <string>

/* Waits while it handles an exception, and one within that. */
static inline bool handles_exceptions(void (*between)(void), long me)
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
static inline bool waits_in_destructor(void (*between)(void), long me)
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

#endif /* LIB_EXCEPTIONS_H */
