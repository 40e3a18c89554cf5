/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * gsched: hand a thread's right to run to another thread the moment it blocks.
 *
 * This header is the only contract between the module and user space, and it
 * is the manual of the protocol. User programs do not use it: they use
 * libgo-user, whose backend_kmod.c is the one user of this file.
 *
 * 1. Who is who
 * -------------
 * A *proc* is the right to run fibers, plus a run queue. There are nproc of
 * them, indices 0..nproc-1. A *worker* is a thread that attached itself. A
 * *context* is one open of /dev/gsched: one mm, its procs, its workers. A
 * worker that holds a proc runs fibers; one that holds none either is blocked
 * in the kernel, or waits in PARK for a proc (a *stand-by*), or is a thread
 * that came back from a block to find every proc taken (*lost*).
 *
 * The kernel does three things and makes no policy:
 *   hand-off      a worker that blocks gives its proc away, whatever blocked it
 *   return rule   before it runs user code again it has a proc, or is told not
 *   preemption    a worker that ran a whole slice while others wait is told so
 * Which fiber runs where is the business of user space alone.
 *
 * 2. The shared area
 * ------------------
 * Kernel memory, charged to the memory cgroup, mapped with mmap (shared,
 * readable and writable, not inherited by fork): the head (struct
 * gsched_header and GSCHED_MAXPROCS struct gsched_proc) at GSCHED_OFF_HEAD,
 * and struct gsched_slot in chunks of GSCHED_CHUNK_SLOTS at GSCHED_OFF_CHUNK(n)
 * as workers attach. Every word can be scribbled over by the program; that
 * harms the program alone. The kernel keeps its own truth of who waits, who
 * was granted what and which proc a worker holds, reads a shared word once,
 * checks it and never indexes by it unchecked.
 *
 * Each field below says who writes it: K the kernel, U user space.
 *
 * 3. The owner word of a proc
 * ---------------------------
 *   0                    idle
 *   w + 1                owned by worker w
 *   GSCHED_RETIRED       index >= nproc: never granted, never counted idle
 * Transitions are by compare-and-swap, and these only:
 *   idle -> me       PARK and ACQUIRE by the worker itself, and the return rule
 *   idle -> x        UNPARK, hand-off and PARK on behalf of stand-by x, under
 *                    the context lock
 *   me   -> x        PARK_TO
 *   me   -> idle     PARK, DETACH, hand-off, exit; me -> retired instead when
 *                    the index is >= nproc
 *   idle <-> retired SET_PROCS
 * On this backend the kernel makes all of them; user space only reads. They
 * are made under the context lock from the kernel's own copy, so an exchange
 * serves as the swap, and a word scribbled over heals at its next transition.
 *
 * header.idle counts idle procs and is never below the truth: it is raised
 * *before* any swap to idle and lowered *after* any swap from idle.
 *
 * 4. Demand
 * ---------
 * There is demand for proc p when any of these holds:
 *   a. p's run queue is not empty: runnext != 0 or head != tail
 *   b. header.express_len or header.global_len is not zero
 *   c. header.bound_runnable is not zero
 *   d. any other proc's run queue is not empty while header.spinning is zero
 * The queue "length" is the ring's own head and tail, kept in the shared line:
 * there is no second count to keep true. A reader loads head before tail;
 * equal means empty when tail was read, for both only grow.
 *
 * Under d alone the one who gets the proc starts as a *spinner*: the granter
 * swaps header.spinning 0 -> 1 under the context lock, and passes
 * GSCHED_GRANT_SPIN with the grant. If that swap fails somebody spins already,
 * and there is no demand. header.spinning is therefore raised from zero only
 * together with a worker that certainly searches. Workers may also raise the
 * count by themselves while they hold a proc and search.
 * While somebody spins others queue fibers and wake nobody, so who stops
 * answers for all of them: it lowers the count (a full barrier) and *then*
 * looks. If it found nothing, PARK, not BOUND, looks at every queue again. If
 * it found a fiber, there may be more: when the count is zero now, it does step
 * (3) of Enqueue before it runs that fiber.
 *
 * 5. Hand-off, in this order (keep)
 * ---------------------------------
 * When a worker that holds proc p truly blocks (it is being switched out and
 * is neither runnable, nor stopped or traced, nor frozen) and slot.depth is 0:
 *   (1) idle++; swap owner me -> idle (a full barrier)
 *   (2) *then* read demand for p
 *   (3) if there is demand and a stand-by the reserve allows (section 8): swap
 *       owner idle -> x; idle--; note the grant; wake x.
 * No demand: nobody is woken. (1)-(3) run under the context lock, from the
 * scheduler, and touch kernel memory only. slot.proc becomes 0.
 *
 * Enqueue, in this order, by any thread that makes a fiber runnable:
 *   (1) put the fiber into a queue: store tail, exchange runnext, or store the
 *       length of the global or express queue
 *   (2) full fence
 *   (3) read header.idle and header.spinning; if idle != 0 and spinning == 0,
 *       call UNPARK with GSCHED_UNPARK_ANY
 *   (4) if nobody was woken in (3): read header.ticking; if 0, call TICK.
 * A worker that holds a proc needs neither (2) nor (3) while procs_used is 1: nothing
 * is idle, and the tick does not end before the owner's own thread has looked
 * (section 10). Before SET_PROCS takes procs_used beyond 1 user space must end that: a
 * word of its own that workers read in place of (2), lowered, and then a barrier on
 * every processor that runs one (membarrier).
 * A fiber that is moved from queue to queue is in neither for a while: who
 * moves it does (2) and (3) too, or is a spinner and does it when it stops.
 * Enqueue's fence pairs with the swap in (1) of hand-off and of PARK: either
 * the one who gives up the proc sees the fiber, or the one who queued it sees
 * the idle proc. Swap the first two steps of either and this is possible:
 *
 *      blocking worker                     enqueuing thread
 *      demand? no
 *                                          queue the fiber
 *                                          idle? 0, so no UNPARK
 *      idle++; owner -> idle
 *
 * Forbidden outcome: a fiber is queued, a proc is idle, a stand-by is parked
 * (beyond the reserve), and nobody spins. The protocol is modelled, with these
 * mistakes shown to be mistakes, in selftests/model/.
 *
 * When there is demand but no stand-by, the proc stays idle with work in its
 * queue. Such a proc is a victim of stealing like any other, and the next
 * PARK of any worker finds it (section 6). User space keeps stand-bys ready:
 * see header.standby.
 *
 * 6. PARK
 * -------
 * Gives up the proc the worker holds, if any, and waits for one. Under the
 * context lock:
 *   (1) a latched grant (section 7)? give up what is held, return the grant
 *   (2) if it holds p: idle++; swap me -> idle
 *   (3) unless GSCHED_PARK_BOUND, look again: an idle proc whose own queue is
 *       not empty; else any idle proc when b or c of section 4 holds, or d:
 *       take it, return at once, with GSCHED_GRANT_SPIN if spinning could be
 *       swapped 0 -> 1 (under d alone the proc is taken only then). This for a,
 *       b and c as well: the caller may have been the spinner whom all relied
 *       on, and runs but one of the fibers that were queued
 *   (4) become a stand-by (or, with BOUND, a bound waiter, and then offer p to
 *       a stand-by as in hand-off (2)-(3)); sleep until a grant, the deadline
 *       or a signal.
 * (3) is what makes the "lower spinning, then look again" of a spinner that
 * stops: the swap in (2), or the caller's own full barrier when it lowered
 * spinning, pairs with Enqueue's fence.
 * The wait ends without a proc with -ETIMEDOUT or -EINTR; a grant that arrived
 * first wins over both. The stand-by woken is the one that last ran on the
 * granting CPU if there is one near the top of the list, else the last parked.
 * A worker parked with GSCHED_PARK_BOUND is chosen by nobody: it is woken by
 * name only (UNPARK with GSCHED_UNPARK_WORKER, PARK_TO). Frozen workers and
 * fibers locked to their thread wait this way.
 *
 * PARK_TO(x): swap owner me -> x, wake x, park self, (1) to (4): one call, for
 * bound workers. -ESRCH if x is gone or exiting, -EBUSY if x has a grant
 * already or holds a proc, -EAGAIN if the caller holds no proc that it may
 * give: none, or one beyond nproc (section 12), to be given up by PARK. After
 * an error nothing changed and the caller keeps its proc. If x is not in PARK
 * the grant is latched, as in section 7.
 *
 * 7. UNPARK, ACQUIRE, and latched grants
 * --------------------------------------
 * UNPARK may be called by any thread of the process.
 *   ANY     if a proc is idle, a stand-by waits (beyond the reserve) and
 *           spinning can be swapped 0 -> 1: grant with GSCHED_GRANT_SPIN.
 *           Returns 1 if it woke one, 0 if somebody spins already or no proc is
 *           idle, -EAGAIN if there is no stand-by (user space then makes one).
 *   PROC    the same for proc `target`, without the spinning rule:
 *           1, 0 if it is not idle, -EAGAIN.
 *   WORKER  grants an idle proc to worker `target`, bound or not. Returns 1,
 *           -EAGAIN if no proc is idle, -EBUSY if it has a grant already,
 *           -ESRCH if there is no such worker, or it is exiting.
 * "Beyond the reserve" is section 8: ANY and PROC may use the reserve up while
 * bound_runnable is not zero.
 * A grant to a worker that is not in PARK at that moment is latched: its next
 * PARK first gives up what it holds, by the hand-off rule, then returns the
 * grant. Neither the return rule nor ACQUIRE touches a latched grant.
 *
 * ACQUIRE never blocks: it returns the proc the worker holds, else its old
 * proc if idle, else any idle proc, else -EAGAIN.
 *
 * 8. The reserve
 * --------------
 * header.reserve stand-bys serve bound fibers and fibers interrupted inside
 * libc only (one may hold the lock that everybody waits for): a grant for
 * demand a, b or d leaves at least `reserve` stand-bys parked.
 * header.standby is the number of stand-bys parked now (K). A granted worker
 * that finds it below 2 wakes user space's spawner.
 *
 * 9. Return rule, lost, pending
 * -----------------------------
 * A worker whose proc was handed off looks for a proc before it runs a single
 * user instruction: its old one if idle, else any idle one. Found: slot.proc
 * names it. Not found: slot.proc stays 0 and GSCHED_LOST is due:
 *   - with GSCHED_F_UPCALL and a trampoline given to SETUP the thread is
 *     redirected there: the interrupted instruction pointer in slot.ip, the
 *     reason in slot.reason, slot.depth = 1; the user stack is untouched
 *   - without it, or where the redirect is refused (depth raised, a signal
 *     stack, single-stepping, an rseq section, 32-bit code, …), the bit is set
 *     in slot.pending and the thread runs on without a proc.
 * While it runs on like that, LOST is not told again, but each time it comes
 * back from the scheduler with depth 0 it looks for a proc again; slot.pending
 * is left alone. So GSCHED_LOST is void when slot.proc is not zero.
 * So every entry into the runtime, after it raised slot.depth, looks at
 * slot.proc; if that is 0 it touches nothing that belongs to a proc and calls
 * ACQUIRE; on -EAGAIN the fiber is queued globally and the worker parks.
 * slot.proc of a worker changes only from that thread itself (in the kernel,
 * at depth 0) or while it is in PARK: after depth was raised and slot.proc
 * read non-zero, the proc is kept until depth is 0 or PARK.
 * slot.pending holds reason bits (K sets them, U clears them with an
 * exchange); the decrement of depth to 0 that finds one acts on it.
 *
 * 10. Preemption, TICK and KICK
 * -----------------------------
 * GSCHED_PREEMPT comes by the same upcall, to a worker whose fiber has run a
 * whole slice while there is demand a, b or c for its proc and a stand-by to
 * serve it (or bound fibers wait: PARK_TO needs none), or at once to the owner
 * of the proc named by KICK. A fiber has run since a look first saw that proc.tick had
 * changed, or since its worker came back to a proc from a block. The module looks eight
 * times a slice, but not more often than every 100 us: a slice is that much
 * shorter or longer. While header.bound_runnable is not 0 a third of a slice is
 * enough.
 *
 * It looks only while somebody waits, at once when TICK says so: whoever has had
 * his slice alone since a look saw him gives way then; whom none has seen, because
 * he was scheduled while the tick stood, begins his slice then. header.ticking says
 * that it does look; it lowers the word when it found no demand for any proc that
 * is held, fences, and looks once more; while procs_used is 1, and the proc is held,
 * in its owner's thread, on the way to user mode. Step (4) of Enqueue pairs with
 * that. A worker that gets a proc for which there is demand starts the tick, too.
 * So a lone fiber is never disturbed, and fibers that wait never depend on anybody's
 * call.
 * Without a trampoline nobody is told, and header.ticking is 1 for ever.
 *
 * GSCHED_F_SIGURG in place of GSCHED_F_UPCALL: this kernel cannot redirect (or the
 * module's parameter "sigurg" says so). Both reasons are then told by a bit in
 * slot.pending, and by a SIGURG that the thread sends itself on its way to user mode if
 * slot.depth is 0 there and a bit is still pending. The handler takes the bits by
 * exchange if the depth is 0, and does what the trampoline does. Bits that are set while
 * the depth is raised are left to the final decrement, and so are those that the handler
 * leaves because it must not move the thread from there: as long as GSCHED_LOST is
 * pending, the thread hears of it again whenever it is switched in. SIGURG is sent only
 * if SETUP asked for this feature; else it is as without a trampoline.
 *
 * Such a signal ends no call that sleeps, but for those that do the thread's task work
 * themselves (io_uring_enter): give the handler SA_RESTART. It is one with a SIGURG of the
 * program's own that is pending for the thread: look at the bits whoever sent it. The
 * module's have si_code SI_KERNEL and si_errno GSCHED_SI_ERRNO, which no other signal of
 * the kernel's has. One may come when its bits have been taken already: where the thread
 * was switched in before the handler took them. A thread that blocks SIGURG is told when
 * it unblocks it. The return rule is applied when the thread is switched in, not only when
 * it returns to user mode. A new program never hears of it.
 *
 * 11. Timers and poll_until
 * -------------------------
 * Not the kernel's business, but part of the area: proc.deadline is the
 * earliest timer of a proc, header.poll_until the moment until which user
 * space's poller sleeps (U). The poller stores poll_until, fences, and reads
 * all deadlines again before it sleeps; who arms a timer stores the deadline,
 * fences, reads poll_until and wakes the poller if the new one is earlier,
 * whether the proc is kept or given up. No proc has to be awake for a timer.
 *
 * 12. SET_PROCS
 * -------------
 * Up: retired -> idle (counted first). Down to n: every proc >= n that is idle
 * becomes retired; one that is owned keeps its owner until that worker's next
 * PARK or block, where it becomes retired instead of idle (user space looks at
 * header.nproc at each scheduling). Its queue stays a victim of stealing and
 * counts under d of section 4, for every index below GSCHED_MAXPROCS that was
 * ever in use (header.procs_used). So whenever a proc becomes retired, any
 * idle one is offered in its place as in (2)-(3) of hand-off, and each one that
 * SET_PROCS makes idle is offered, too. Where none is idle the tick (10) starts:
 * a queue that a retired proc left behind is demand for every owner, and user
 * space empties it when one of them gives way.
 *
 * 13. Lifetime
 * ------------
 * A worker ends by DETACH, thread exit, or exec: in each case it gives up its
 * proc by the hand-off rule, and a latched grant likewise. A thread that blocks
 * while it exits gives its proc away at any depth. fork inherits neither worker
 * nor mapping; every ioctl from another mm or thread group than SETUP's fails
 * with -EPERM. The context lives as long as the file or a worker does; the
 * module is busy as long as a context lives.
 *
 * Errors common to all ioctls: -EPERM another process; -EINVAL unknown flags,
 * non-zero padding, an index out of range; -EFAULT; -ENOTTY unknown ioctl;
 * -ENXIO before SETUP; -ESRCH for calls that need an attached caller (DETACH,
 * PARK, PARK_TO, ACQUIRE). mmap: -EINVAL another offset or length, private, or
 * executable; -ENXIO before SETUP, or a chunk that does not exist yet; -EPERM.
 */
#ifndef _UAPI_LINUX_GSCHED_H
#define _UAPI_LINUX_GSCHED_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* A change that breaks old users raises MAJOR; features are bits instead. */
#define GSCHED_ABI_MAJOR	1
#define GSCHED_ABI_MINOR	0

#define GSCHED_MAXPROCS		256
#define GSCHED_MAXWORKERS	16384

#define GSCHED_OWNER_IDLE	0u
#define GSCHED_RETIRED		0xffffffffu

/* What this kernel and module can do (struct gsched_setup.features). */
#define GSCHED_F_HANDOFF	(1ull << 0)	/* sections 5 to 9 */
#define GSCHED_F_UPCALL		(1ull << 1)	/* lost and preempt by redirect */
#define GSCHED_F_TICK		(1ull << 2)	/* preemption by slice */
#define GSCHED_F_SIGURG		(1ull << 3)	/* lost and preempt by signal, section 10 */
#define GSCHED_F_ARENA		(1ull << 4)	/* stack arena */

/* The module's SIGURG: in siginfo.si_errno, which is 0 in what the kernel sends itself. */
#define GSCHED_SI_ERRNO		0x67736368

/* Reasons: bits in slot.pending, one of them in slot.reason. */
#define GSCHED_LOST		(1u << 0)
#define GSCHED_PREEMPT		(1u << 1)

/**
 * struct gsched_header - counts shared by all procs of a context
 * @abi_major: K, GSCHED_ABI_MAJOR of the module
 * @abi_minor: K
 * @nproc: K, procs in use
 * @procs_used: K, highest nproc so far
 * @idle: K, idle procs below nproc, never below the truth
 * @standby: K, workers parked and not bound
 * @workers: K, workers attached
 * @ticking: K, the tick looks after the procs that are held, section 10
 * @spinning: K and U, workers that search for work; atomic, section 4
 * @global_len: U, fibers in the global queue
 * @express_len: U, fibers in the express queue
 * @poll_until: U, section 11
 * @reserve: U, section 8
 * @bound_runnable: U, runnable fibers that are bound to a parked worker
 */
struct gsched_header {
	__u32 abi_major;
	__u32 abi_minor;
	__u32 nproc;
	__u32 procs_used;
	__u32 idle;
	__u32 standby;
	__u32 workers;
	__u32 ticking;
	__u32 _pad0[8];

	__u32 spinning __attribute__((aligned(64)));
	__u32 _pad1[15];

	__u32 global_len __attribute__((aligned(64)));
	__u32 _pad2[15];
	__u32 express_len __attribute__((aligned(64)));
	__u32 _pad3[15];

	__u64 poll_until __attribute__((aligned(64)));
	__u32 reserve;
	__u32 bound_runnable;
	__u64 _pad4[6];
};

/**
 * struct gsched_proc - one proc, one cache line
 * @owner: K, section 3
 * @tick: U, raised when a time slice begins: at each scheduling, but for a fiber that was
 *	readied by the one before it and goes on with its slice
 * @head: U, run queue: index of the next fiber to leave; only grows (wraps)
 * @tail: U, run queue: index of the next free place; only grows (wraps)
 * @runnext: U, non-zero: a fiber that runs next
 * @deadline: U, earliest timer, CLOCK_MONOTONIC ns, 0 none
 * @user: U, the kernel never reads it
 */
struct gsched_proc {
	__u32 owner;
	__u32 tick;
	__u32 head;
	__u32 tail;
	__u64 runnext;
	__u64 deadline;
	__u64 user[4];
};

/**
 * struct gsched_slot - one worker, two cache lines
 * @depth: U, no-preempt depth; K sets it to 1 in an upcall
 * @pending: K sets, U clears: reason bits
 * @ip: K, instruction pointer an upcall interrupted
 * @proc: K, index of the proc held plus 1; 0 none
 * @reason: K, why the upcall came
 * @user: U, the kernel never reads them
 * @blocks: K, times the worker blocked while it held a proc at depth 0
 * @handoffs: K, of these, how often a stand-by got the proc at once
 * @returns: K, came back and found a proc
 * @lost: K, came back and found none
 * @depth_blocks: K, blocked with the depth raised: the proc was kept
 * @grants: K, procs granted to it while it was parked
 * @upcalls: K, upcalls done; with GSCHED_F_SIGURG signals sent
 * @refusals: K, ways out of the kernel at which one that was due was refused
 */
struct gsched_slot {
	__u32 depth;
	__u32 pending;
	__u64 ip;
	__u32 proc;
	__u32 reason;
	__u64 user[5];

	__u64 blocks;
	__u64 handoffs;
	__u64 returns;
	__u64 lost;
	__u64 depth_blocks;
	__u64 grants;
	__u64 upcalls;
	__u64 refusals;
};

#define GSCHED_HEADER_SIZE	4096
#define GSCHED_PROCS_OFFSET	GSCHED_HEADER_SIZE
#define GSCHED_HEAD_SIZE	(GSCHED_HEADER_SIZE + GSCHED_MAXPROCS * 64)
#define GSCHED_CHUNK_SLOTS	512
#define GSCHED_CHUNK_SIZE	(GSCHED_CHUNK_SLOTS * 128)

/* mmap offsets, MAP_SHARED; length exactly GSCHED_HEAD_SIZE, GSCHED_CHUNK_SIZE */
#define GSCHED_OFF_HEAD		0
#define GSCHED_OFF_CHUNK(n)	(0x100000 + (n) * GSCHED_CHUNK_SIZE)

/**
 * struct gsched_setup - makes the context of this open file
 * @size: in, sizeof(struct gsched_setup) of the caller
 * @abi_major: in, GSCHED_ABI_MAJOR of the caller; out, the module's
 * @abi_minor: out
 * @nproc: in, number of procs, 1..GSCHED_MAXPROCS
 * @features: in, features without which the caller cannot run; out, all there are
 * @trampoline: in, where an upcall goes, or 0; with GSCHED_F_SIGURG any number but 0, for
 *	it is the handler that goes there; out, 0 where that was there but not asked for
 * @slice_ns: in, time slice, 0 the module's parameter slice_us; out, the one in
 *	force, from 100 us to 10 s: 0 without GSCHED_F_TICK
 * @trampoline_size: in, bytes of its text, 0 if there is none: a thread whose
 *	instruction pointer lies in it is not redirected
 * @_pad: must be zero
 *
 * The version is checked first, features last; what is "out" is filled in by
 * success and by -EPROTO and -EOPNOTSUPP.
 *
 * Errors: -EBUSY done before; -EPROTO another MAJOR (abi_major is filled in);
 * -EOPNOTSUPP a feature asked for is missing (features is filled in); -EINVAL;
 * -ENOMEM; -EUSERS the user has too many contexts (the module's parameter
 * max_contexts; CAP_SYS_RESOURCE has no limit).
 */
struct gsched_setup {
	__u32 size;
	__u32 abi_major;
	__u32 abi_minor;
	__u32 nproc;
	__u64 features;
	__u64 trampoline;
	__u64 slice_ns;
	__u64 trampoline_size;
	__u64 _pad[2];
};

/**
 * struct gsched_park - argument of PARK and PARK_TO
 * @flags: GSCHED_PARK_*
 * @target: PARK_TO: the worker that gets the proc; else 0
 * @deadline: CLOCK_MONOTONIC ns at which to give up, 0 never
 */
struct gsched_park {
	__u32 flags;
	__u32 target;
	__u64 deadline;
};

#define GSCHED_PARK_BOUND	(1u << 0)

/* PARK, PARK_TO and ACQUIRE return the proc's index, with this bit perhaps. */
#define GSCHED_GRANT_SPIN	(1u << 16)
#define GSCHED_GRANT_PROC	0xffffu

/**
 * struct gsched_unpark - argument of UNPARK
 * @flags: exactly one of GSCHED_UNPARK_*
 * @target: proc or worker; 0 with ANY
 */
struct gsched_unpark {
	__u32 flags;
	__u32 target;
};

#define GSCHED_UNPARK_ANY	(1u << 0)
#define GSCHED_UNPARK_PROC	(1u << 1)
#define GSCHED_UNPARK_WORKER	(1u << 2)

#define GSCHED_IOC_MAGIC	0xB6

#define GSCHED_IOC_SETUP	_IOWR(GSCHED_IOC_MAGIC, 0x00, struct gsched_setup)
/*
 * ATTACH: the calling thread becomes a worker without a proc; returns its
 * index w. Its slot is in chunk w / GSCHED_CHUNK_SLOTS, to be mapped then if it
 * is not yet. -EBUSY attached already (here or elsewhere), -ENOSPC
 * GSCHED_MAXWORKERS, -ENOMEM. The slot starts zeroed, with depth 1.
 */
#define GSCHED_IOC_ATTACH	_IO(GSCHED_IOC_MAGIC, 0x01)
/* DETACH: gives up the proc, if any, and ends the worker. 0 */
#define GSCHED_IOC_DETACH	_IO(GSCHED_IOC_MAGIC, 0x02)
#define GSCHED_IOC_PARK		_IOW(GSCHED_IOC_MAGIC, 0x03, struct gsched_park)
#define GSCHED_IOC_PARK_TO	_IOW(GSCHED_IOC_MAGIC, 0x04, struct gsched_park)
#define GSCHED_IOC_UNPARK	_IOW(GSCHED_IOC_MAGIC, 0x05, struct gsched_unpark)
#define GSCHED_IOC_ACQUIRE	_IO(GSCHED_IOC_MAGIC, 0x06)
/* KICK: the argument is a proc, below GSCHED_MAXPROCS. 0, also if nobody owns it */
#define GSCHED_IOC_KICK		_IO(GSCHED_IOC_MAGIC, 0x07)
/* SET_PROCS: the argument is the new number; returns the old one. */
#define GSCHED_IOC_SET_PROCS	_IO(GSCHED_IOC_MAGIC, 0x08)
/* TICK: start it if it stands, and look at once. 0 */
#define GSCHED_IOC_TICK		_IO(GSCHED_IOC_MAGIC, 0x09)

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct gsched_header) == 320, "shared layout");
_Static_assert(sizeof(struct gsched_proc) == 64, "shared layout");
_Static_assert(sizeof(struct gsched_slot) == 128, "shared layout");
_Static_assert(sizeof(struct gsched_setup) == 64, "shared layout");
#endif

#endif /* _UAPI_LINUX_GSCHED_H */
