/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calling stack in words. */
#ifndef GS_BACKTRACE_H
#define GS_BACKTRACE_H

#pragma GCC visibility push(hidden)

/*
 * Print the frames above the caller's, the innermost first, two lines a frame:
 *
 *	function(...)
 *		object+0x1234
 *
 * `skip` frames are left out: 0 begins with the caller itself. Where the unwinder is
 * made to walk another stack (gs_unwind_parked) it is that one. No malloc, no stdio.
 */
void gs_backtrace_print(int fd, int skip);

/* The same in two steps: at most max frames, their number is returned; and their words. */
int gs_backtrace_keep(void **pcs, int max, int skip);
void gs_backtrace_print_kept(int fd, void *const *pcs, int n);

#pragma GCC visibility pop

#endif /* GS_BACKTRACE_H */
