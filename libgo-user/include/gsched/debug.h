/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking into a running program. */
#ifndef GSCHED_DEBUG_H
#define GSCHED_DEBUG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * struct gs_stats - what the scheduler did so far
 * @backend: "kmod" or "posix"
 * @procs: procs in use
 * @idle_procs: of these, how many nobody holds
 * @workers: threads attached
 * @standbys: of these, parked and ready to take a proc
 * @spinning: of these, looking for work
 * @fibers: fibers not finished
 * @queued: fibers in run queues
 * @switches: fibers scheduled
 * @blocks: times a worker blocked in the kernel and its proc was given up
 * @handoffs: of these, how often a stand-by got the proc at once
 * @returns: times a worker came back and found a proc
 * @lost: times it came back and found none
 * @depth_blocks: times a worker blocked inside the runtime and kept its proc
 * @grants: procs granted to stand-bys
 * @upcalls: fibers interrupted: they came back and found no proc, or their slice was over
 * @refusals: ways out of the kernel at which that was due, but could not be
 * @travels: of the upcalls, fibers that left their thread and took their thread-local
 *	storage along
 * @freezes: of the upcalls, fibers that kept their thread, which then waited with them
 * @ticks: times a busy worker was looked at because others waited; posix only
 * @preempts: of these, how often its fiber had run a whole slice; posix only
 * @interrupted: system calls of the program's that a signal of the runtime's ended with
 *	EINTR; posix only
 * @kicks: times a busy worker was interrupted for a timer or a descriptor
 * @_reserved: zero
 */
struct gs_stats {
	const char *backend;
	uint32_t procs, idle_procs, workers, standbys, spinning, _pad;
	uint64_t fibers, queued, switches;
	uint64_t blocks, handoffs, returns, lost, depth_blocks, grants;
	uint64_t upcalls, refusals, travels, freezes;
	uint64_t ticks, preempts, interrupted, kicks;
	uint64_t _reserved[4];
};

/* Fill *s; starts the runtime if it is not running. 0 or -errno. (T) */
int gs_stats(struct gs_stats *s);

/*
 * Write every fiber to fd: id, name, state, wait reason, backtrace, and who called gs_go for
 * it. Fibers that run at that moment are shown without a backtrace. (T)
 */
void gs_dump(int fd);

/**
 * gs_leak_check - report what a program that is done should not have left
 * @fd: where the report goes: nothing, if there is nothing to report
 *
 * Every fiber but the caller that has not finished, as gs_dump shows it, with where it was
 * started. "(leaked)" marks those that can never run again, as far as that is certain: they
 * wait on a channel to which nobody has a reference any more, on a nil channel, or in a
 * select without cases. Whether somebody else would ever unlock or send is not for C to
 * know: so call it when all fibers should have ended. With GSCHED_DEBUG=leak=1 in the
 * environment also every channel, timer (ticker, gs_after) and context not freed, with the
 * calls that made it; and then each gs_run does all this on stderr when it ends.
 *
 * Fibers that do not wait get a second to do so, or to end. (T), depth 0. The number of
 * fibers and objects reported. Go: the profiles "goroutine" and
 * "goroutineleak".
 */
int gs_leak_check(int fd);

/**
 * gs_trace_start - record what the scheduler does, into a file
 * @path: made, or emptied
 *
 * The file is JSON in the trace event format: ui.perfetto.dev and chrome://tracing open it.
 * It shows for each proc and each worker thread which fiber ran when and why it stopped,
 * what was made ready by whom (arrows), hand-offs, blocks, steals and timers. Fibers have
 * the names of gs_go_attr. One event is one line; the array needs no end, so the file of a
 * program that died can be read, too. What came too fast for the writer is left out, and
 * counted in the last event, "dropped".
 *
 * (T), at any time. 0; -EBUSY: a trace is going on; -ENOMEM; what open(2) and
 * pthread_create(3) say; what starting the runtime says. Go: runtime/trace.Start.
 */
int gs_trace_start(const char *path);

/**
 * gs_trace_stop - end the trace, and wait until the file is written
 *
 * (T), not between gs_nopreempt_begin and gs_nopreempt_end: it waits for a thread. 0;
 * -EINVAL: no trace is going on; the error of the first write that failed (-ENOSPC...), the
 * file being cut off there. In the child of a fork there is no trace.
 */
int gs_trace_stop(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_DEBUG_H */
