/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What valgrind must be told about stacks that are switched by hand, or it takes a switch for
 * a push of many frames. By its client requests, whose code and numbers are its ABI
 * (valgrind.h), so that neither its header nor a library is needed: four rotations that
 * together do nothing, and an exchange that does nothing. Elsewhere they take some cycles.
 */
#ifndef GS_BASE_VALGRIND_H
#define GS_BASE_VALGRIND_H

#include <stddef.h>
#include <stdint.h>

#define GS_VALGRIND_STACK_REGISTER 0x1501
#define GS_VALGRIND_STACK_DEREGISTER 0x1502

/* The request's result; 0 outside valgrind. */
static inline uint64_t gs_valgrind_request(uint64_t request, uint64_t a, uint64_t b)
{
#ifdef __x86_64__
	volatile uint64_t args[6] = {request, a, b, 0, 0, 0};
	uint64_t result = 0;

	__asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n\t"
			 "xchgq %%rbx, %%rbx"
			 : "+d"(result)
			 : "a"(args)
			 : "cc", "memory");
	return result;
#else
	(void)request, (void)a, (void)b;
	return 0;
#endif
}

/*
 * A stack from lo on. Its number is kept in its lowest word, but outside valgrind, where it is
 * 0, nothing is written: that would commit a page.
 */
static inline void gs_valgrind_stack(char *lo, size_t size)
{
	uint64_t id = gs_valgrind_request(GS_VALGRIND_STACK_REGISTER, (uintptr_t)lo,
					  (uintptr_t)lo + size - 1);

	if (id)
		*(uint64_t *)(void *)lo = id;
}

/* It is about to be unmapped. */
static inline void gs_valgrind_stack_gone(char *lo)
{
	if (gs_valgrind_request(0x1001, 0, 0)) /* running on valgrind? */
		gs_valgrind_request(GS_VALGRIND_STACK_DEREGISTER, *(uint64_t *)(void *)lo, 0);
}

#endif /* GS_BASE_VALGRIND_H */
