// SPDX-License-Identifier: GPL-2.0
/* The part of static.c that is C++17. */
#include "exceptions.h"

extern "C" {
bool cxx_handles(void (*between)(void), long me);
bool cxx_throws(void (*between)(void), long me);
}

bool cxx_handles(void (*between)(void), long me)
{
	return handles_exceptions(between, me);
}

bool cxx_throws(void (*between)(void), long me)
{
	return waits_in_destructor(between, me);
}
