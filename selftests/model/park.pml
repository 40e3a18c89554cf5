/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Park and ready (libgo-user/src/sched.c): a fiber that waits is queued under a lock, leaves
 * its stack, and only then, by its commit function on another stack, releases the lock.
 *
 * One fiber waits for ROUNDS messages; one producer hands each over, by gs_ready if the
 * fiber is queued; two workers run whatever is runnable. The commit may also find that
 * there is a message after all, and refuse (false): then the fiber is readied by its own
 * worker (gs_sched_finish).
 *
 * Properties:
 *   1 stack   a fiber's stack is used by one worker at a time
 *   2 once    a fiber is readied only while it waits
 *   3 all     in the end every message was received: no wake-up is lost
 *
 * Mistakes:
 *   M_EARLY_UNLOCK   the lock is released before the stack is left
 *   M_NO_RECHECK     the fiber looks for a message before it takes the lock, and not again
 *   M_NO_FINISH      a commit that refuses is forgotten
 */
#ifndef ROUNDS
#define ROUNDS 2
#endif

#define CHECK(n, c) if :: (c) :: else -> printf("BROKEN %d:\n", n); assert(false) fi

bit lock, queued, runnable = 1, waiting;
byte sent, seen, received, on_stack;
byte resume;		/* where the fiber goes on: 0 at the look, 1 behind the park */

#define LOCK	atomic { !lock -> lock = 1 }
#define UNLOCK	lock = 0

inline ready()
{
	d_step {
		CHECK(2, waiting);
		waiting = 0;
		runnable = 1
	}
}

proctype worker()
{
	bit park, refuse, again;

	do
	:: received == ROUNDS -> break
	:: atomic { runnable -> runnable = 0; CHECK(1, on_stack == 0); on_stack++ };
		park = 0;
#ifdef M_NO_RECHECK
		/* behind the park it takes what came with the wake-up */
		seen = sent;
		LOCK;
#else
		LOCK;
		seen = sent;
#endif
		if
		:: seen > received ->
			received++;
			UNLOCK;
			if
			:: received < ROUNDS -> again = 1
			:: else -> again = 0
			fi;
			d_step { on_stack--; runnable = again }
		:: else ->
			d_step { queued = 1; waiting = 1 };
#ifdef M_EARLY_UNLOCK
			UNLOCK;
			on_stack--	/* its registers are saved, its stack is left */
#else
			on_stack--;
			/* the commit, on another stack */
			if
			:: UNLOCK
			:: queued = 0; UNLOCK;	/* it refuses, whatever its reason */
#ifndef M_NO_FINISH
				ready()
#endif
			fi
#endif
		fi
	od
}

proctype producer()
{
	bit wake;

	do
	:: sent == ROUNDS -> break
	:: else ->
		LOCK;
		sent++;
		wake = queued;
		queued = 0;
		UNLOCK;
		if
		:: wake -> ready()
		:: else
		fi
	od
}

init
{
	atomic { run worker(); run worker(); run producer() }
	(_nr_pr == 1 || timeout);
	CHECK(3, received == ROUNDS)
}
