// SPDX-License-Identifier: GPL-2.0
/* A library for interrupt.c to load late: thread-local storage of both kinds. */
#define WORDS 16
#define DEFAULT __attribute__((visibility("default")))

/* static: dlopen gives it room in storage that exists, and fills that in, on every thread */
static __thread long fixed[WORDS] __attribute__((tls_model("initial-exec"))) = {
	4711, 4712, 4713, 4714, 4715,
};
/* dynamic: each thread gets it when it asks first, by malloc */
static __thread long lazy[WORDS] __attribute__((tls_model("global-dynamic"))) = {5001};

DEFAULT long fixed_word(int i);
DEFAULT long fixed_word(int i)
{
	return fixed[i];
}

DEFAULT long lazy_word(long add);
DEFAULT long lazy_word(long add)
{
	lazy[1] += add;
	return lazy[0] + lazy[1];
}
