/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hand-off, return rule, ACQUIRE, PARK, UNPARK ANY, Enqueue and spinning, as
 * uapi/linux/gsched.h has them, for spin (selftests/model/run).
 *
 * Step in the model            header    what it is
 * -------------------------    ------    ------------------------------------------
 * block:, blocked:             5, 9      hand-off (1)-(3); return rule, lost
 * enqueue(), unpark_any()      5, 7      Enqueue (1)-(3); UNPARK ANY
 * dispatch:, found:            4         search, steal, start and stop of a spinner
 * park:                        6         PARK (2)-(4), also after a timeout or signal
 * give_up(), take_idle()       3         the swaps, with the count of idle procs
 * offer()                      4, 5      demand a, b, d, and a grant with or without SPIN
 *
 * Actors: NW workers of which RUNNING start with a proc each and run a fiber, the
 * others start with PARK; NP procs; NT ordinary threads that enqueue globally. A
 * running fiber may make others runnable (own or global queue), block, or end, as
 * often as the budgets READIES, BLOCKS, EXT and TIMEOUTS allow together, in every
 * order. Every interleaving of all steps is looked at.
 *
 * Memory model. What user space does with plain stores (tail, the global length)
 * goes into a store buffer (TSO), one entry for each actor, that drains at any time
 * later; a fence, or a locked instruction, waits until it is empty. Swaps, counts of
 * spinners and what the kernel does under the context lock are sequentially
 * consistent, for they are locked instructions. Loads are single steps in program order, so that
 * each may be outdated when it is used.
 *
 * Properties, checked at every step of every run, by name as `run` prints them:
 *   forbidden  whenever nobody is inside a step of the protocol (fibers run or are
 *              blocked, workers are parked, store buffers are empty), not all of:
 *              a fiber is queued, a proc is idle, a stand-by is parked beyond the
 *              reserve, nobody spins. A fiber may run for ever, so this is the same
 *              as "does not persist".
 *   idle       header.idle is never below the number of idle procs
 *   owner      no proc is used by two workers, nor by one the owner word does not name
 *   grant      only a parked worker is granted a proc, and none while it has one
 *   spinning   never below zero, and zero when nobody is inside a step
 *   run        in the end everybody is parked and every fiber has been run (all that
 *              block return): nothing is lost, nobody is stuck
 *
 * Left out: which stand-by is woken, which victim is searched first (taken in order
 * of index: the choice is one of performance); the ring's own head and tail (the header says
 * why reading them is as good as an atomic "empty?"); runnext and the express queue
 * (as the local and the global queue); preemption (to the protocol the preempted fiber
 * is one that readies itself and ends); grants by name, exit (grants.pml); depth, BOUND
 * workers, SET_PROCS; posix's retake; lies told by user space.
 *
 * Mistakes (-D), each shown to be one by `run`:
 *   M_DEMAND_FIRST    hand-off reads demand before the swap to idle
 *   M_IDLE_EARLY      idle is lowered before the swap from idle
 *   M_IDLE_LATE       idle is raised after the swap to idle
 *   M_NO_OTHERS       demand d (other procs' queues) is left out
 *   M_NO_LOOK_AGAIN   PARK (3) is left out
 *   M_NO_FENCE        Enqueue (2) is left out
 *   M_SPIN_LATE       a spinner that stops lowers the count after its last look
 *   M_SPIN_USER       the caller of UNPARK ANY raises spinning itself, and lowers it
 *                     when the call woke nobody
 *   M_FOUND_SILENT    a spinner that found work lowers the count and does not look at
 *                     idle and spinning again
 *   M_AGAIN_SILENT    a PARK that takes a proc again for a or b does not make its caller
 *                     a spinner: while it was one, others queued and left it at that,
 *                     perhaps more than the one fiber that it now runs
 *   M_MOVE_SILENT     a batch is taken from the global queue before it is stored in
 *                     the local one, without Enqueue's (2) and (3) after it
 * and choices that turn out to be right, too, each of them in `run`:
 *   V_LATE_HARMLESS   M_IDLE_LATE with the count raised before demand is read, without
 *                     the property "idle": the count is wrong for a moment, but nothing
 *                     is lost by it: who misses it has queued before demand is read. The
 *                     order is kept in the header for it is the simpler rule.
 *   V_EARLY_HARMLESS  M_IDLE_EARLY, likewise: under the lock the swap certainly follows
 *   V_UNLOCKED        return rule and ACQUIRE swap without the context lock, which the
 *                     kernel takes for what it keeps beside the shared area
 *   V_FOUND_LOOKS     a spinner that found work wakes another only if it sees a queue
 *                     that is not empty (Go wakes one in any case)
 *   V_ALONE           with one proc, whoever runs a fiber on it leaves Enqueue's (2) and (3)
 *                     out, as the header allows; and, with more, a mistake
 *   V_MOVE_ORDER      a batch is stored in the local queue before the global length is
 *                     lowered, without Enqueue's (2) and (3): right on TSO only, and
 *                     only because b is read before d
 */
#ifndef NW
#define NW 3
#endif
#ifndef NP
#define NP 2
#endif
#ifndef NT
#define NT 1
#endif
#ifndef RUNNING
#define RUNNING 1
#endif
#ifndef RESERVE
#define RESERVE 0
#endif
#ifndef READIES
#define READIES 2
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef EXT
#define EXT 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0
#endif

#ifdef V_LATE_HARMLESS
#define M_IDLE_LATE
#define NO_IDLE_CHECK
#endif
#ifdef V_EARLY_HARMLESS
#define M_IDLE_EARLY
#define NO_IDLE_CHECK
#endif

#define MAXW	4
#define MAXP	3
#define GLOBAL	NP		/* target of an enqueue: a proc's index, or this */
#define NONE	7
#define SPIN	8		/* flag in a grant */

/* header and procs */
byte idle, spinning, standby;
byte owner[MAXP];		/* 0 idle, w + 1 */
byte q[MAXP];			/* tail - head */
byte gq;			/* global_len */

/* kernel memory */
bit context_lock;
bit parked[MAXW];
byte grant[MAXW];		/* p + 1, perhaps | SPIN */

/* user space */
bit gq_lock;
byte sb[MAXW];			/* store buffer of an actor: target + 1, 0 empty */

/* budgets */
byte readies = READIES, blocks = BLOCKS, timeouts = TIMEOUTS;

/* for the properties */
byte busy;			/* actors inside a step, and stores in buffers */
byte live;			/* fibers that have not ended */
byte users[MAXP];		/* workers that believe that they hold p */

#if NP == 1
#define TRULY_IDLE	(owner[0] == 0)
#define A_QUEUED	(q[0] > 0)
#elif NP == 2
#define TRULY_IDLE	((owner[0] == 0) + (owner[1] == 0))
#define A_QUEUED	(q[0] > 0 || q[1] > 0)
#else
#define TRULY_IDLE	((owner[0] == 0) + (owner[1] == 0) + (owner[2] == 0))
#define A_QUEUED	(q[0] > 0 || q[1] > 0 || q[2] > 0)
#endif

/* In what is printed, @n is actor n: a worker, or from NW on a thread. */

/* ---- properties ---- */

#define P_FORBIDDEN	1
#define P_IDLE		2
#define P_OWNER		3
#define P_GRANT		4
#define P_SPINNING	5
#define P_RUN		6

inline broken(what)
{
	printf("BROKEN %d: queues %d %d %d, global %d, ", what, q[0], q[1], q[2], gq);
	printf("idle %d, standby %d, spinning %d, ", idle, standby, spinning);
	printf("owners %d %d %d\n", owner[0], owner[1], owner[2]);
	assert(false)
}

inline check_idle()
{
#ifndef NO_IDLE_CHECK
	if
	:: idle < TRULY_IDLE || idle > NP -> broken(P_IDLE)
	:: else
	fi
#else
	skip
#endif
}

/* An actor leaves its rest, and comes to rest again. */
#define ENTER	busy++

inline rest()
{
	d_step {
		busy--;
		if
		:: busy == 0 && TRULY_IDLE > 0 && standby > RESERVE && spinning == 0 &&
		   (A_QUEUED || gq > 0) -> broken(P_FORBIDDEN)
		:: busy == 0 && spinning != 0 -> broken(P_SPINNING)
		:: else
		fi
	}
}

/* ---- what the machine does ---- */

/* A locked instruction, or a fence, of actor a. */
#define FENCE(a)	sb[a] == 0

inline lock_context(a)	{ atomic { FENCE(a) && context_lock == 0 -> context_lock = 1 } }
inline unlock_context()	{ context_lock = 0 }

/*
 * Under the context lock, what touches owner words, grants and the list of stand-bys
 * only is one step: nobody else looks at them.
 */
#ifdef V_UNLOCKED
#define ONE_STEP
#else
#define ONE_STEP atomic
#endif

/* A plain store that makes a fiber seen in queue `to`, some time later. */
inline store_fiber(a, to)
{
	d_step {
		sb[a] = to + 1;
		busy++;
		printf("@%d stores a fiber into queue %d\n", a, to)
	}
}

inline drain(a)
{
	if
	:: sb[a] == GLOBAL + 1 -> gq++
	:: else -> q[sb[a] - 1]++
	fi;
	sb[a] = 0;
	printf("@%d's store is seen by all\n", a);
	rest()
}

/* The global queue's lock is held from before the store until after it drained. */
#define MAY_DRAIN(a)	(sb[a] != 0 && (sb[a] != GLOBAL + 1 || !gq_lock))

active proctype buffers()
{
end:
	do
	:: d_step { MAY_DRAIN(0) -> drain(0) }
	:: d_step { MAY_DRAIN(1) -> drain(1) }
	:: d_step { MAY_DRAIN(2) -> drain(2) }
	:: d_step { MAY_DRAIN(3) -> drain(3) }
	od
}

/* ---- section 3: owner words and the count of idle procs ---- */

/* me -> idle: the count first */
inline give_up(w, p)
{
	d_step {
		if
		:: owner[p] != w + 1 || users[p] != 1 -> broken(P_OWNER)
		:: else
		fi;
		users[p]--;
		hold = NONE;
#ifdef M_IDLE_LATE
		late = 1;
		owner[p] = 0;
		printf("@%d proc %d -> idle\n", w, p);
		check_idle()
#else
		idle++;
		printf("@%d idle++ (%d)\n", w, idle)
#endif
	};
#ifdef M_IDLE_LATE
#ifdef V_LATE_HARMLESS
	d_step { idle++; late = 0; printf("@%d idle++ (%d)\n", w, idle) }
#endif
#else
	d_step {
		owner[p] = 0;
		printf("@%d proc %d -> idle\n", w, p);
		check_idle()
	}
#endif
}

/* What M_IDLE_LATE does after step (3): too late altogether. */
inline count_late(a)
{
#if defined(M_IDLE_LATE) && !defined(V_LATE_HARMLESS)
	d_step {
		if
		:: late -> idle++; late = 0; printf("@%d idle++ (%d), only now\n", a, idle)
		:: else
		fi
	}
#else
	skip
#endif
}

/* idle -> y, by actor a. ok: the swap succeeded; then lower_idle() has to follow */
inline swap_idle(a, y, p)
{
#ifdef M_IDLE_EARLY
	d_step { idle--; printf("@%d idle-- (%d)\n", a, idle); check_idle() };
#endif
	d_step {
		ok = (owner[p] == 0);
		if
		:: ok -> owner[p] = y + 1; printf("@%d proc %d -> worker %d\n", a, p, y)
		:: else ->
#ifdef M_IDLE_EARLY
			idle++;
#endif
			printf("@%d proc %d is no longer idle\n", a, p)
		fi
	}
}

inline lower_idle()
{
#ifndef M_IDLE_EARLY
	d_step { idle--; check_idle() }
#else
	skip
#endif
}

/* The first idle proc of all is swapped to y, if there is one: ok, and v its index. */
inline swap_any(a, y)
{
	v = 0; ok = 0;
	do
	:: v < NP && !ok ->
		if
		:: owner[v] == 0 -> swap_idle(a, y, v)
		:: else
		fi;
		if
		:: !ok -> v++
		:: else
		fi
	:: else -> break
	od
}

/* Worker w believes now that it holds p. */
inline hold_proc(w, p)
{
	d_step {
		hold = p;
		old = p;
		users[p]++;
		if
		:: users[p] != 1 || owner[p] != w + 1 -> broken(P_OWNER)
		:: else
		fi
	}
}

/* ---- sections 4 and 5: demand and grants; the context lock is held ---- */

/* 0 -> 1, by a granter. ok: done */
inline raise_spinning(a)
{
	d_step {
		ok = (spinning == 0);
		if
		:: ok -> spinning = 1; printf("@%d spinning 0 -> 1\n", a)
		:: else
		fi
	}
}

inline lower_spinning(a)
{
	d_step {
		if
		:: spinning == 0 -> broken(P_SPINNING)
		:: else
		fi;
		spinning--;
		printf("@%d spinning-- (%d)\n", a, spinning)
	}
}

/* Is any queue but p's not empty? Then v is its index, else NP. */
inline read_others(p)
{
	v = 0;
	do
	:: v < NP ->
		if
		:: v != p && q[v] > 0 -> break
		:: else -> v++
		fi
	:: else -> break
	od
}

/* d is read after b. dem: NONE, 0 (a or b), or SPIN (d alone) */
inline read_demand(p)
{
	if
	:: q[p] > 0 -> dem = 0
	:: else ->
		if
		:: gq > 0 -> dem = 0
		:: else ->
#ifdef M_NO_OTHERS
			dem = NONE
#else
			read_others(p);
			if
			:: v < NP -> dem = SPIN
			:: else -> dem = NONE
			fi;
			v = 0
#endif
		fi
	fi
}

inline choose_standby()
{
	if
	:: parked[0] -> x = 0
	:: parked[1] -> x = 1
	:: parked[2] -> x = 2
	:: parked[3] -> x = 3
	fi
}

inline note_grant(a, p, flag)
{
	d_step {
		if
		:: !parked[x] || grant[x] != 0 || owner[p] != x + 1 -> broken(P_GRANT)
		:: else
		fi;
		parked[x] = 0;
		standby--;
		ENTER;			/* on behalf of x, which wakes up */
		grant[x] = (p + 1) | flag;
		printf("@%d wakes worker %d with proc %d (spin %d)\n", a, x, p, flag == SPIN);
		x = 0
	}
}

/* Hand-off (2) and (3) for p, which has become idle. */
inline offer(w, p)
{
#ifndef M_DEMAND_FIRST
	read_demand(p);
#endif
	d_step {
		printf("@%d demand for proc %d: %d (0 queued, 8 others, 7 none); standby %d\n",
			w, p, dem, standby);
		ok = (dem != NONE && standby > RESERVE)
	};
	ONE_STEP {
		if
		:: ok && dem == SPIN -> raise_spinning(w)
		:: else
		fi;
		if
		:: ok -> choose_standby(); swap_idle(w, x, p)
		:: else -> dem = NONE
		fi
	};
	ONE_STEP {
		if
		:: ok -> lower_idle(); note_grant(w, p, dem)
		:: !ok && dem == SPIN -> lower_spinning(w)
		:: else
		fi;
		dem = 0; x = 0; ok = 0
	}
}

/* ---- section 7 ---- */

inline unpark_any(a)
{
#ifdef M_SPIN_USER
	raise_spinning(a);
	if
	:: ok ->
		lock_context(a);
		ok = 0;
		ONE_STEP {
			if
			:: TRULY_IDLE > 0 && standby > RESERVE -> choose_standby(); swap_any(a, x)
			:: else -> printf("@%d UNPARK ANY: no idle proc, or no stand-by\n", a)
			fi
		};
		if
		:: ok -> atomic { lower_idle(); note_grant(a, v, SPIN); unlock_context() }
		:: else -> unlock_context(); lower_spinning(a)
		fi
	:: else
	fi;
#else
	lock_context(a);
	ONE_STEP {
		if
		:: TRULY_IDLE > 0 && standby > RESERVE -> raise_spinning(a)
		:: else -> printf("@%d UNPARK ANY: no idle proc, or no stand-by\n", a)
		fi;
		if
		:: ok ->
			choose_standby();
			swap_any(a, x);
			if
			:: !ok -> lower_spinning(a)
			:: else
			fi
		:: else
		fi
	};
	atomic {
		if
		:: ok -> lower_idle(); note_grant(a, v, SPIN)
		:: else
		fi;
		unlock_context()
	};
#endif
	d_step { v = 0; x = 0; ok = 0 }
}

/* Enqueue (2) and (3) */
inline wake_idle(a)
{
#ifndef M_NO_FENCE
	FENCE(a);
#endif
	ok = (idle > 0);
	ok = (ok && spinning == 0);
	if
	:: ok -> ok = 0; unpark_any(a)
	:: else -> printf("@%d sees idle %d, spinning %d: no UNPARK\n", a, idle, spinning)
	fi
}

/* ---- actors ---- */

proctype thread(byte me; byte n)
{
	byte x, v;
	bit ok;

	do
	:: n > 0 ->
		atomic { n--; live++; ENTER; store_fiber(me, GLOBAL) };
		wake_idle(me);
		rest()
	:: else -> break
	od
}

proctype worker(byte me; byte hold)
{
	byte old = hold, x, v, dem;
	bit ok, spin;
#ifdef M_IDLE_LATE
	bit late;
#endif

	if
	:: hold != NONE -> goto running
	:: else -> goto park
	fi;

running:	/* at rest */
	if
	:: atomic { readies > 0 && FENCE(me) -> readies--; live++; ENTER;
		if
		:: store_fiber(me, hold)
		:: store_fiber(me, GLOBAL)
		fi };
#ifdef V_ALONE
		rest();
#else
		wake_idle(me);
		atomic { FENCE(me); rest() };
#endif
		goto running
	:: atomic { blocks > 0 -> blocks--; ENTER };
		goto block
	:: atomic { ENTER; live--; printf("@%d its fiber ends\n", me) };
		goto dispatch
	fi;

block:		/* section 5 */
	lock_context(me);
#ifdef M_DEMAND_FIRST
	read_demand(old);
#endif
	give_up(me, old);
	offer(me, old);
	count_late(me);
	atomic { unlock_context(); rest() };

		/* blocked, at rest; section 9 */
	atomic { ENTER; printf("@%d comes back from its block\n", me) };
return_rule:
#ifndef V_UNLOCKED
	lock_context(me);
#endif
	ONE_STEP {
		if
		:: owner[old] == 0 -> swap_idle(me, me, old); v = old
		:: else
		fi;
		if
		:: !ok -> swap_any(me, me)
		:: else
		fi;
	};
	if
	:: ok ->
		atomic {
			lower_idle();
			hold_proc(me, v);
			ok = 0; v = 0; spin = 0;
#ifndef V_UNLOCKED
			unlock_context();
#endif
			rest()
		};
		goto running
	:: else ->
		v = 0;
#ifndef V_UNLOCKED
		unlock_context()
#endif
	fi;
	if
	:: spin -> spin = 0	/* ACQUIRE, and it failed */
	:: !spin ->		/* no upcall: runs on, which is rest, until ACQUIRE */
		atomic { spin = 1; rest() };
		ENTER;
		goto return_rule
	:: !spin		/* upcall */
	fi;
	atomic {
		printf("@%d is lost, queues its fiber globally and parks\n", me);
		store_fiber(me, GLOBAL)
	};
	wake_idle(me);
	goto park;

dispatch:	/* depth is raised, a proc is held */
	if
	:: atomic { FENCE(me) && q[hold] > 0 -> q[hold]--; printf("@%d pops\n", me) };
		goto found
	:: FENCE(me) && q[hold] == 0
	fi;
	if
	:: atomic { gq > 0 && !gq_lock -> gq--; printf("@%d takes a global fiber\n", me) };
		goto found
#ifdef V_MOVE_ORDER
	:: atomic { gq > 1 && !gq_lock -> gq_lock = 1; store_fiber(me, hold) };
		/* the next store drains after this one by itself */
		atomic { FENCE(me) -> gq = gq - 2; gq_lock = 0 };
		goto found
#else
	:: atomic { gq > 1 && !gq_lock -> gq = gq - 2; printf("@%d takes two\n", me) };
		store_fiber(me, hold);
#ifndef M_MOVE_SILENT
		wake_idle(me);
#endif
		goto found
#endif
	:: gq == 0
	fi;
	if
	:: spin
	:: !spin -> goto park		/* enough of us spin */
	:: !spin -> atomic { spinning++; spin = 1; printf("@%d spins\n", me) }
	fi;
	v = 0;
	do
	:: v < NP ->
		if
		:: atomic { v != hold && q[v] > 0 ->
				q[v]--; printf("@%d steals from queue %d\n", me, v); v = 0 };
			goto found
		:: atomic { v != hold && q[v] > 1 ->
				q[v] = q[v] - 2; printf("@%d steals two from queue %d\n", me, v);
				v = 0 };
			store_fiber(me, hold);
			goto found
		:: v == hold || q[v] == 0 -> v++
		fi
	:: else -> break
	od;
	v = 0;
#ifndef M_SPIN_LATE
	lower_spinning(me);
	spin = 0;
#endif
	goto park;

found:		/* section 4: a spinner stops with work */
	if
	:: spin ->
		atomic { FENCE(me) -> lower_spinning(me); spin = 0; ok = (spinning == 0) };
#ifndef M_FOUND_SILENT
#ifdef V_FOUND_LOOKS
		if
		:: ok && gq > 0
		:: ok && gq == 0 ->
			read_others(NONE);
			ok = (v < NP); v = 0
		:: else
		fi;
#endif
		if
		:: ok -> wake_idle(me)
		:: else
		fi;
#endif
		ok = 0
	:: else
	fi;
	atomic { FENCE(me); rest() };
	goto running;

park:		/* section 6 */
	lock_context(me);
	if
	:: hold != NONE -> give_up(me, old); hold = NONE
	:: else
	fi;
#ifndef M_NO_LOOK_AGAIN
	v = 0;
	do		/* an idle proc whose own queue is not empty */
	:: v < NP && !ok ->
		if
		:: atomic { owner[v] == 0 && q[v] > 0 -> swap_idle(me, me, v) }
		:: owner[v] != 0 || q[v] == 0
		fi;
		if
		:: !ok -> v++
		:: else
		fi
	:: else -> break
	od;
	if
	:: !ok && gq > 0 -> ONE_STEP { swap_any(me, me) }
	:: else
	fi;
	if
#if !defined(M_AGAIN_SILENT) && !defined(M_SPIN_LATE)
	:: ok ->		/* for a or b: a spinner nevertheless, if there is none */
		d_step { raise_spinning(me); spin = ok; ok = 1 }
#endif
	:: !ok && TRULY_IDLE > 0 ->
		read_others(NONE);
		ONE_STEP {
			if
			:: v == NP
#ifdef M_SPIN_LATE
			:: v < NP && spin -> ok = 1
			:: v < NP && !spin -> raise_spinning(me)
#else
			:: v < NP -> raise_spinning(me)
#endif
			fi;
			if
			:: ok ->
				spin = 1;
				swap_any(me, me);
				if
				:: !ok -> lower_spinning(me); spin = 0
				:: else
				fi
			:: else
			fi
		}
	:: else
	fi;
	if
	:: ok ->
		atomic {
			printf("@%d PARK returns at once with proc %d (spin %d)\n", me, v, spin);
			lower_idle();
			hold_proc(me, v)
		};
		count_late(me);
		atomic { unlock_context(); ok = 0; v = 0 };
		goto dispatch
	:: else
	fi;
#endif
	count_late(me);
#ifdef M_SPIN_LATE
	d_step {
		parked[me] = 1; standby++; v = 0; unlock_context();
		printf("@%d is a stand-by\n", me)
	};
	atomic {
		if
		:: spin -> lower_spinning(me); spin = 0
		:: else
		fi;
		rest()
	};
#else
	d_step {
		parked[me] = 1; standby++; v = 0; unlock_context();
		printf("@%d is a stand-by\n", me);
		rest()
	};
#endif

end:		/* parked, at rest */
	if
	:: atomic {
		grant[me] != 0 ->
			spin = ((grant[me] & SPIN) != 0);
			v = (grant[me] & NONE) - 1;
			grant[me] = 0;
			hold_proc(me, v);
			v = 0
		};
		goto dispatch
	:: atomic { parked[me] && timeouts > 0 -> timeouts--; ENTER };
		atomic {
			FENCE(me) && context_lock == 0 ->
			if
			:: parked[me] -> parked[me] = 0; standby--; printf("@%d times out\n", me)
			:: else -> busy--; goto end	/* the grant came first */
			fi
		};
		goto park
	fi
}

/* When nobody can do anything any more: is everything done? */
active proctype finish()
{
	timeout ->
	d_step {
		if
		:: live != 0 || standby != NW || context_lock -> broken(P_RUN)
		:: else
		fi
	}
}

init {
	byte i;

	atomic {
		idle = NP - RUNNING;
		live = RUNNING;
		busy = NW - RUNNING;
		i = 0;
		do
		:: i < NW ->
			if
			:: i < RUNNING -> owner[i] = i + 1; users[i] = 1; run worker(i, i)
			:: else -> run worker(i, NONE)
			fi;
			i++
		:: else -> break
		od;
		do
		:: i < NW + NT -> run thread(i, EXT); i++
		:: else -> break
		od
	}
}
