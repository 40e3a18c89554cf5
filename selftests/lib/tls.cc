// SPDX-License-Identifier: GPL-2.0
/* The part of tls.c that is C++17: objects that are thread_local, exceptions. */
#include "exceptions.h"
#include "thread_object.h"

extern "C" {
void cxx_object_set(long v);
long cxx_object_get(void);
long cxx_objects(void);
bool cxx_throws(void (*between)(void), long me);
bool cxx_handles(void (*between)(void), long me);
}

static thread_local thread_object mine;

/* Not inlined: the address of a thread_local is not kept over a wait. */
__attribute__((noinline)) void cxx_object_set(long v)
{
	mine.set(v);
}

__attribute__((noinline)) long cxx_object_get(void)
{
	return mine.get();
}

long cxx_objects(void)
{
	return thread_object::objects();
}

bool cxx_handles(void (*between)(void), long me)
{
	return handles_exceptions(between, me);
}

bool cxx_throws(void (*between)(void), long me)
{
	return waits_in_destructor(between, me);
}
