/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Enqueue against the end of the tick (uapi/linux/gsched.h, sections 5 and 10; kmod/tick.c;
 * libgo-user's sched.c, wake_idle_on): one proc, W workers that have it in turn, NT threads
 * that queue fibers from outside.
 *
 * ALONE is how it is done while there has been one proc only: the worker that holds it
 * queues without a fence, and the timer's handler has that worker's thread end the tick.
 * Without ALONE everybody fences, and the handler ends it itself. Plain stores go
 * through a store buffer (TSO) that drains at any time later, and before a locked
 * instruction; a thread sees its own.
 *
 * Property:
 *   1 stands   whenever nobody is inside a step and all stores are seen: if a fiber is
 *              queued and the proc held, the timer runs, or the proc's owner is asked
 *
 * Mistakes:
 *   M_NO_FENCE       Enqueue's fence is left out, and the handler ends the tick
 *   M_THREAD_SILENT  a thread without the proc leaves it out, too
 *   M_ANY_RESTS      who was asked answers though another one has the proc by now
 *   M_NO_NEED        whoever gets the proc does not start the timer again
 *   M_NO_LOOK        the tick is ended without another look
 */
#ifndef W
#define W 2
#endif
#ifndef NT
#define NT 1
#endif
#ifndef PUTS
#define PUTS 2			/* by all workers together */
#endif
#ifndef EXT
#define EXT 1			/* by threads */
#endif
#ifndef SWAPS
#define SWAPS 2			/* how often the proc is given up */
#endif

#ifdef M_NO_FENCE
#define OWNER_FENCE	0
#define ASKS		0
#else
#ifdef ALONE
#define OWNER_FENCE	0
#define ASKS		1
#else
#define OWNER_FENCE	1
#define ASKS		0
#endif
#endif

#define ACTORS	(W + NT)
#define MAXA	4

byte q;				/* fibers queued, as memory has it */
byte sb[MAXA];			/* and in the store buffer of an actor */
bit ticking = 0;		/* header.ticking */
bit on;				/* context->ticking */
bit resting;			/* context->resting */
bit timer;			/* it will fire */
bit asked[MAXA];		/* worker->rest */
byte owner;			/* w + 1, 0 idle */
bit context_lock;
byte busy;			/* actors inside a step, and stores in buffers */
byte puts = PUTS, ext = EXT, swaps = SWAPS;

inline broken()
{
	printf("BROKEN 1: queued %d, owner %d, ticking %d, on %d, resting %d, timer %d\n",
	       q, owner, ticking, on, resting, timer);
	assert(false)
}

inline rest()
{
	d_step {
		busy--;
		if
		:: busy == 0 && q > 0 && owner > 0 && !timer && !(resting && asked[owner - 1]) ->
			broken()
		:: else
		fi
	}
}

/* A locked instruction of actor a. */
#define FENCE(a)	sb[a] == 0

inline lock(a)	{ atomic { FENCE(a) && context_lock == 0 -> context_lock = 1 } }
inline unlock()	{ context_lock = 0 }

inline drain(a)
{
	d_step { q = q + sb[a]; sb[a] = 0; printf("@%d's stores are seen\n", a) };
	rest()
}

active proctype buffers()
{
end:
	do
	:: atomic { sb[0] != 0 -> drain(0) }
	:: atomic { sb[1] != 0 -> drain(1) }
	:: atomic { sb[2] != 0 -> drain(2) }
	:: atomic { sb[3] != 0 -> drain(3) }
	od
}

inline put(a)
{
	d_step {
		busy++;
		if
		:: sb[a] == 0 -> busy++
		:: else
		fi;
		sb[a]++;
		printf("@%d queues a fiber\n", a)
	}
}

/* start(); the lock is held */
inline start()
{
	d_step {
		if
		:: !on || resting -> on = 1; resting = 0; ticking = 1; timer = 1
		:: else
		fi
	}
}

/* end(); the lock is held. More demand: it goes on */
inline end_tick(a)
{
	d_step { ticking = 0; printf("@%d: the tick stands\n", a) };
#ifdef M_NO_LOOK
	on = 0;
#else
	if
	:: q > 0 -> d_step { ticking = 1; timer = 1; printf("@%d: it goes on\n", a) }
	:: else -> on = 0
	fi
#endif
}

inline enqueue(a, fence)
{
	put(a);
	if
	:: fence -> FENCE(a)
	:: else
	fi;
	if
	:: ticking
	:: else ->
		lock(a);
		start();
		unlock()
	fi;
	rest()
}

/* gsched_tick_rest() */
inline answer(w)
{
	d_step { busy++; printf("@%d is on its way to user mode\n", w) };
	lock(w);
	asked[w] = 0;
	if
#ifdef M_ANY_RESTS
	:: resting ->
#else
	:: resting && owner == w + 1 ->
#endif
		resting = 0;
		if
		:: q > 0 -> timer = 1
		:: else -> end_tick(w)
		fi
	:: else
	fi;
	unlock();
	rest()
}

/* gsched_tick_need(): w got the proc; the lock is held */
inline need()
{
#ifdef M_NO_NEED
	skip
#else
	if
	:: resting || (!on && q > 0) -> start()
	:: else
	fi
#endif
}

inline give_up(w)
{
	d_step { busy++; swaps-- };
	lock(w);
	d_step { owner = 0; printf("@%d gives the proc up\n", w) };
	unlock();
	rest()
}

inline acquire(w)
{
	busy++;
	lock(w);
	if
	:: owner == 0 ->
		d_step { owner = w + 1; printf("@%d has the proc\n", w) };
		need()
	:: else
	fi;
	unlock();
	rest()
}

proctype worker(byte w)
{
end:
	do
	:: atomic { owner == w + 1 && puts > 0 -> puts-- };
		enqueue(w, OWNER_FENCE)
	:: asked[w] -> answer(w)
	:: owner == w + 1 && swaps > 0 -> give_up(w)
	:: owner == 0 -> acquire(w)
	od
}

proctype thread(byte a)
{
end:
	do
	:: atomic { ext > 0 -> ext-- };
#ifdef M_THREAD_SILENT
		enqueue(a, 0)
#else
		enqueue(a, 1)
#endif
	od
}

/* tick(): who waits gets the proc's next slice, and is queued no more */
active proctype handler()
{
end:
	do
	:: atomic { timer -> timer = 0; busy++ };
		atomic { context_lock == 0 -> context_lock = 1 };
		if
		:: q > 0 -> d_step { q--; timer = 1; printf("@8 a slice is over\n") }
		:: else ->
			if
			:: ASKS && owner > 0 ->
				d_step {
					resting = 1;
					asked[owner - 1] = 1;
					printf("@8 asks @%d\n", owner - 1)
				}
			:: else -> end_tick(8)
			fi
		fi;
		unlock();
		rest()
	od
}

init
{
	byte i;

	atomic {
		for (i : 0 .. W - 1) {
			run worker(i)
		}
		for (i : W .. ACTORS - 1) {
			run thread(i)
		}
	}
}
