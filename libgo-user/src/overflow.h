/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fiber that ran over the end of its stack is named before the process dies. */
#ifndef GS_OVERFLOW_H
#define GS_OVERFLOW_H

#pragma GCC visibility push(hidden)

/* Once, before the first fiber; a handler that the program has already is left alone. */
void gs_overflow_init(void);

#pragma GCC visibility pop

#endif /* GS_OVERFLOW_H */
