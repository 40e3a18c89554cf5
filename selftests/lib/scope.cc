// SPDX-License-Identifier: GPL-2.0
/* The part of scope.c that is C++17: what is left on the way to the caller is destroyed. */
#include <gsched.h>

extern "C" int cxx_scoped(void (*defer)(void (*)(void *), void *), void (*say)(void *),
			  void (*recover)(void *), void (*panic)(int));

static void (*tell)(void *);

struct noisy {
	const char *name;

	~noisy()
	{
		tell(const_cast<char *>(name));
	}
};

static void __attribute__((noinline)) third(void (*panic)(int))
{
	noisy n{"~3"};

	panic(4);
}

static void __attribute__((noinline)) second(void (*panic)(int))
{
	noisy n{"~2"};

	third(panic);
	tell(const_cast<char *>("never"));
}

int __attribute__((noinline))
cxx_scoped(void (*defer)(void (*)(void *), void *), void (*say)(void *), void (*recover)(void *),
	   void (*panic)(int))
{
	GS_DEFER_SCOPE;
	noisy n{"~1"};

	tell = say;
	defer(recover, nullptr);
	defer(say, const_cast<char *>("d"));
	second(panic);
	return 5;
}
