/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Grants by name (uapi/linux/gsched.h, sections 6, 7 and 13): UNPARK WORKER and PARK_TO to a
 * worker that parks, gives up, runs without a proc, or exits. All decide under the context
 * lock, which is a step here; outside of it are PARK's look before it sleeps, the wake-up, and
 * the flag that says that a thread exits (kmod's gsched_proc_park, gsched_worker_wait,
 * find_worker, gsched_proc_handoff, drop_grant).
 *
 * Properties:
 *   1 owner    whenever the lock is free: a proc's owner word names who has it or was granted
 *              it, and nobody else has, or was
 *   2 gone     a thread that is off the CPU in its exit has no proc and no grant
 *   3 woken    whenever nobody is inside a step: nobody sleeps on a grant
 *
 * Left out: who is granted what is chosen by hand-off (handoff.pml); SET_PROCS; the reserve.
 *
 * Mistakes:
 *   M_LOOK_FIRST     PARK looks at its grant before it says that it is about to sleep
 *   M_NO_DROP        a latched grant is given away when the thread is dead only
 *   M_ONLY_OWNER     or at a block in its exit, but by who has a proc only
 *   M_FLAG_LATE      the flag is set after it may have blocked in its exit
 *   M_FLAG_BEFORE    the granter looks at the flag before it takes the lock
 */
#ifndef W
#define W 2
#endif
#ifndef P
#define P 2
#endif
#ifndef PARKS
#define PARKS 2		/* of each worker, before it exits */
#endif
#ifndef GRANTS
#define GRANTS 3	/* UNPARK WORKER, by another thread */
#endif
#define NONE 7

byte owner[P];		/* worker + 1; 0 idle */
byte has[W] = NONE;
byte grant[W] = NONE;
bit exiting[W];
bit off[W];		/* blocked in its exit, or dead */
bit about[W];		/* TASK_INTERRUPTIBLE */
bit asleep[W];
byte busy;
byte lp, lw, ln;	/* look()'s */

inline look()
{
	lp = 0;
	do
	:: lp < P ->
		ln = 0;
		lw = 0;
		do
		:: lw < W ->
			if
			:: has[lw] == lp || grant[lw] == lp ->
				ln++;
				if
				:: owner[lp] != lw + 1 ->
					printf("BROKEN 1: proc %d is worker %d's\n", lp, lw);
					assert(false)
				:: else
				fi
			:: else
			fi;
			lw++
		:: else -> break
		od;
		if
		:: ln > 1 || (ln == 0 && owner[lp] != 0) ->
			printf("BROKEN 1: proc %d has %d\n", lp, ln);
			assert(false)
		:: else
		fi;
		lp++
	:: else -> break
	od;
	lw = 0;
	do
	:: lw < W ->
		if
		:: off[lw] && (has[lw] != NONE || grant[lw] != NONE) ->
			printf("BROKEN 2: worker %d\n", lw);
			assert(false)
		:: busy == 0 && asleep[lw] && grant[lw] != NONE ->
			printf("BROKEN 3: worker %d\n", lw);
			assert(false)
		:: else
		fi;
		lw++
	:: else -> break
	od;
	lp = 0; lw = 0; ln = 0
}

inline leave_step()
{
	d_step {
		busy--;
		look()
	}
}

inline give(w)
{
	if
	:: has[w] != NONE -> owner[has[w]] = 0; has[w] = NONE
	:: else
	fi
}

inline drop(w)
{
	if
	:: grant[w] != NONE -> owner[grant[w]] = 0; grant[w] = NONE
	:: else
	fi
}

inline wake(x)
{
	d_step {
		about[x] = 0;
		asleep[x] = 0
	}
}

/* PARK, from where the proc is given up on. It may give up waiting at any time. */
inline wait_for_grant(me)
{
#ifdef M_LOOK_FIRST
	if
	:: grant[me] == NONE -> about[me] = 1
	:: else
	fi;
#else
	about[me] = 1;
	if
	:: grant[me] != NONE -> about[me] = 0
	:: else
	fi;
#endif
	d_step {
		asleep[me] = about[me];
		busy--;
		printf("@%d parks\n", me);
		look()
	};
	atomic {
		/* woken; or its deadline, or a signal, if it has not been granted one */
		if
		:: !asleep[me]
		:: asleep[me] && grant[me] == NONE && gives_up > 0 -> gives_up--; asleep[me] = 0
		fi;
		about[me] = 0;
		busy++
	};
	d_step {
		if
		:: grant[me] != NONE ->
			has[me] = grant[me];
			grant[me] = NONE;
			printf("@%d takes proc %d\n", me, has[me])
		:: else
		fi
	};
	leave_step()
}

proctype worker(byte me)
{
	byte parks = PARKS, gives_up = PARKS, x = (me + 1) % W;
	bit said, seen;

	do
	:: parks > 0 ->
		parks--;
		busy++;
		d_step {
			if
			:: grant[me] != NONE ->
				/* latched: it goes on with that one */
				give(me);
				has[me] = grant[me];
				grant[me] = NONE;
				said = 1
			:: else -> give(me); said = 0
			fi
		};
		if
		:: said -> leave_step()
		:: else -> wait_for_grant(me)
		fi
	/* PARK_TO */
	:: parks > 0 && has[me] != NONE ->
		parks--;
		busy++;
#ifdef M_FLAG_BEFORE
		seen = exiting[x];
#endif
		d_step {
#ifndef M_FLAG_BEFORE
			seen = exiting[x];
#endif
			said = 0;
			if
			:: has[me] != NONE && !seen && grant[x] == NONE && has[x] == NONE && grant[me] == NONE ->
				owner[has[me]] = x + 1;
				grant[x] = has[me];
				has[me] = NONE;
				said = 1;
				printf("@%d gives to %d\n", me, x)
			:: else
			fi
		};
		if
		:: said -> wake(x); wait_for_grant(me)
		:: else -> leave_step()
		fi
	:: break
	od;
	/* its exit, in which it blocks before it is dead */
	busy++;
#ifndef M_FLAG_LATE
	exiting[me] = 1;
#endif
	d_step {
#ifdef M_FLAG_LATE
		/* what may come back keeps its proc at a raised depth */
		skip;
#else
#ifdef M_ONLY_OWNER
		if
		:: has[me] != NONE -> give(me); drop(me)
		:: else
		fi;
#else
		give(me);
#ifndef M_NO_DROP
		drop(me);
#endif
#endif
#endif
		off[me] = 1;
		printf("@%d blocks in its exit\n", me)
	};
	leave_step();
	busy++;
	exiting[me] = 1;
	d_step { give(me); drop(me); printf("@%d is dead\n", me) };
	leave_step()
}

/* UNPARK WORKER, of any of them. */
proctype thread()
{
	byte left = GRANTS, x, p;
	bit said, seen;

	do
	:: left > 0 ->
		left--;
		if
		:: x = 0
		:: x = W - 1
		fi;
		busy++;
#ifdef M_FLAG_BEFORE
		seen = exiting[x];
#endif
		d_step {
#ifndef M_FLAG_BEFORE
			seen = exiting[x];
#endif
			said = 0;
			p = 0;
			do
			:: p < P && owner[p] != 0 -> p++
			:: else -> break
			od;
			if
			:: p < P && !seen && grant[x] == NONE && has[x] == NONE ->
				owner[p] = x + 1;
				grant[x] = p;
				said = 1;
				printf("@8 grants proc %d to %d\n", p, x)
			:: else
			fi
		};
		if
		:: said -> wake(x)
		:: else
		fi;
		leave_step()
	:: left == 0 -> break
	od
}

init
{
	byte i;

	atomic {
		/* the first has a proc */
		has[0] = 0;
		owner[0] = 1;
		run thread();
		i = 0;
		do
		:: i < W -> run worker(i); i++
		:: else -> break
		od
	}
}
