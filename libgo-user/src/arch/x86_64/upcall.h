/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What upcall.S and preempt.c must agree on. For the assembler, too. */
#ifndef GS_ARCH_UPCALL_H
#define GS_ARCH_UPCALL_H

/*
 * A worker's upcall area: the frame, up to 11 KiB of AMX state, the calls below gs_upcall,
 * and the handlers of signals that come while the worker waits there. A guard page lies
 * below.
 */
#define GS_UPCALL_AREA 65536

/* A worker's alternate stack for signals, and the guard below it. */
#define GS_UPCALL_GUARD 4096
#define GS_SIGSTACK 65536

#endif /* GS_ARCH_UPCALL_H */
