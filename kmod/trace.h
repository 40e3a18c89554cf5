/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints (events/gsched/ in tracefs): what happens to the workers of all contexts.
 * tgid names the context, for a process hardly has two; thread ids are those of the first
 * pid namespace, as everywhere in a trace; proc is -1 for none. All are called with the
 * context locked, so their order is that of what they tell.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM gsched

#if !defined(_GSCHED_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _GSCHED_TRACE_H

#include <linux/tracepoint.h>
#include "gsched.h"

TRACE_DEFINE_ENUM(GSCHED_REFUSED_NOT);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_NO_TRAMPOLINE);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_DEPTH);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_MASKED);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_SIGSTACK);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_STEP);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_MODE);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_RESTART);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_TAIL);
TRACE_DEFINE_ENUM(GSCHED_REFUSED_RSEQ);

DECLARE_EVENT_CLASS(gsched_worker,

	TP_PROTO(const struct gsched_worker *worker, int proc),

	TP_ARGS(worker, proc),

	TP_STRUCT__entry(
		__field(pid_t, tgid)
		__field(pid_t, tid)
		__field(u32, worker)
		__field(int, proc)
	),

	TP_fast_assign(
		__entry->tgid = worker->context->tgid;
		__entry->tid = worker->task->pid;
		__entry->worker = worker->id;
		__entry->proc = proc;
	),

	TP_printk("tgid=%d tid=%d worker=%u proc=%d", __entry->tgid, __entry->tid,
		  __entry->worker, __entry->proc)
);

/* A thread has become a worker. */
DEFINE_EVENT(gsched_worker, gsched_attach,
	TP_PROTO(const struct gsched_worker *worker, int proc),
	TP_ARGS(worker, proc)
);

/* A worker ends; it held this proc. */
DEFINE_EVENT(gsched_worker, gsched_leave,
	TP_PROTO(const struct gsched_worker *worker, int proc),
	TP_ARGS(worker, proc)
);

/* A worker was granted a proc, by whatever way; it may not have woken yet. */
DEFINE_EVENT(gsched_worker, gsched_grant,
	TP_PROTO(const struct gsched_worker *worker, int proc),
	TP_ARGS(worker, proc)
);

/* One that was away is back: the proc it found, or -1, and then it is lost. */
DEFINE_EVENT(gsched_worker, gsched_return,
	TP_PROTO(const struct gsched_worker *worker, int proc),
	TP_ARGS(worker, proc)
);

/* It is to leave its proc to another fiber: its slice is over, or somebody called KICK. */
DEFINE_EVENT(gsched_worker, gsched_kick,
	TP_PROTO(const struct gsched_worker *worker, int proc),
	TP_ARGS(worker, proc)
);

/* A worker that holds a proc blocks. With its depth raised it keeps that. */
TRACE_EVENT(gsched_block,

	TP_PROTO(const struct gsched_worker *worker, int proc, bool kept),

	TP_ARGS(worker, proc, kept),

	TP_STRUCT__entry(
		__field(pid_t, tgid)
		__field(pid_t, tid)
		__field(u32, worker)
		__field(int, proc)
		__field(bool, kept)
	),

	TP_fast_assign(
		__entry->tgid = worker->context->tgid;
		__entry->tid = worker->task->pid;
		__entry->worker = worker->id;
		__entry->proc = proc;
		__entry->kept = kept;
	),

	TP_printk("tgid=%d tid=%d worker=%u proc=%d kept=%d", __entry->tgid, __entry->tid,
		  __entry->worker, __entry->proc, __entry->kept)
);

/* A stand-by got the proc of one that blocked. */
TRACE_EVENT(gsched_handoff,

	TP_PROTO(const struct gsched_worker *worker, const struct gsched_worker *to, int proc),

	TP_ARGS(worker, to, proc),

	TP_STRUCT__entry(
		__field(pid_t, tgid)
		__field(u32, worker)
		__field(u32, to)
		__field(pid_t, to_tid)
		__field(int, proc)
	),

	TP_fast_assign(
		__entry->tgid = worker->context->tgid;
		__entry->worker = worker->id;
		__entry->to = to->id;
		__entry->to_tid = to->task->pid;
		__entry->proc = proc;
	),

	TP_printk("tgid=%d worker=%u to=%u to_tid=%d proc=%d", __entry->tgid, __entry->worker,
		  __entry->to, __entry->to_tid, __entry->proc)
);

/* An upcall, by redirect or by SIGURG; or why it was refused. */
TRACE_EVENT(gsched_upcall,

	TP_PROTO(const struct gsched_worker *worker, u32 reason, enum gsched_refusal why),

	TP_ARGS(worker, reason, why),

	TP_STRUCT__entry(
		__field(pid_t, tgid)
		__field(pid_t, tid)
		__field(u32, worker)
		__field(u32, reason)
		__field(int, why)
	),

	TP_fast_assign(
		__entry->tgid = worker->context->tgid;
		__entry->tid = worker->task->pid;
		__entry->worker = worker->id;
		__entry->reason = reason;
		__entry->why = why;
	),

	TP_printk("tgid=%d tid=%d worker=%u reason=%s refused=%s", __entry->tgid,
		  __entry->tid, __entry->worker,
		  __print_flags(__entry->reason, "|", { GSCHED_LOST, "lost" },
				{ GSCHED_PREEMPT, "preempt" }),
		  __print_symbolic(__entry->why,
				   { GSCHED_REFUSED_NOT, "no" },
				   { GSCHED_REFUSED_NO_TRAMPOLINE, "no-trampoline" },
				   { GSCHED_REFUSED_DEPTH, "depth" },
				   { GSCHED_REFUSED_MASKED, "masked" },
				   { GSCHED_REFUSED_SIGSTACK, "sigstack" },
				   { GSCHED_REFUSED_STEP, "step" },
				   { GSCHED_REFUSED_MODE, "mode" },
				   { GSCHED_REFUSED_RESTART, "restart" },
				   { GSCHED_REFUSED_TAIL, "tail" },
				   { GSCHED_REFUSED_RSEQ, "rseq" }))
);

#endif /* _GSCHED_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
