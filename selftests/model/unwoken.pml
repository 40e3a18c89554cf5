/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Enqueue (3) and (4) when nobody could be woken (uapi/linux/gsched.h, section 5; libgo-user's
 * sched.c, wake_idle_fenced): a hog on one proc queues fibers behind itself, the other proc is
 * idle at first. A thread comes back to that one, runs its own fiber, does not search, and
 * blocks again; stand-bys are made only once they are missed. The context lock is a step.
 *
 * Property:
 *   1 served   whenever nobody is inside a step: if a fiber is queued, the timer runs, or
 *              somebody searches, or a stand-by is on its way
 *
 * Mistakes:
 *   M_IDLE_ENOUGH    the tick is not asked for when a proc was idle
 *   M_WOKEN_ENOUGH   nor when UNPARK found that nobody need be woken
 */
#ifndef PUTS
#define PUTS 3		/* by the hog */
#endif
#ifndef BACK
#define BACK 3		/* how often the thread comes back */
#endif
#ifndef S
#define S 2		/* stand-bys, all in all */
#endif

#define NOBODY	0
#define BACKER	9	/* who came back */

byte q;			/* fibers behind the hog */
byte owner;		/* of the other proc: a stand-by's number + 1, BACKER or NOBODY */
bit spinning;		/* header.spinning */
bit timer;		/* header.ticking, and it will fire */
byte missing;		/* stand-bys that the spawner is to make */
byte coming;		/* made, and not parked yet */
bit parked[S];
byte busy;		/* actors inside a step */

inline rest()
{
	d_step {
		busy--;
		if
		:: busy == 0 && q > 0 && !timer && !spinning && !coming && !missing ->
			printf("BROKEN 1: queued %d, owner %d\n", q, owner);
			assert(false)
		:: else
		fi
	}
}

/* A stand-by gets the idle proc, to search. */
inline grant(s)
{
	parked[s] = 0;
	owner = s + 1;
	spinning = 1;
	printf("@%d is woken\n", s)
}

/* UNPARK ANY: 1 woken, 0 not needed, 2 -EAGAIN */
inline unpark_any(r)
{
	d_step {
		if
		:: owner != NOBODY || spinning -> r = 0
		:: else ->
			if
			:: parked[0] -> grant(0); r = 1
			:: !parked[0] && parked[1] -> grant(1); r = 1
			:: else -> r = 2
			fi
		fi
	}
}

active proctype hog()
{
	byte puts = PUTS, r;
	bit idle;

end:
	do
	:: puts > 0 ->
		d_step { puts--; busy++; q++; printf("@7 queues a fiber\n") };
		idle = owner == NOBODY;
		r = 0;
		if
		:: idle ->
			if
			:: spinning -> r = 1	/* he answers for it */
			:: else ->
				unpark_any(r);
				if
				:: r == 2 -> missing = 1
				:: else
				fi
			fi
		:: else
		fi;
		if
		:: r == 1
#ifdef M_IDLE_ENOUGH
		:: r != 1 && idle
		:: r != 1 && !idle ->
#else
#ifdef M_WOKEN_ENOUGH
		:: r == 0 && idle
		:: r == 2 || (r == 0 && !idle) ->
#else
		:: r != 1 ->
#endif
#endif
			/* TICK */
			timer = 1
		fi;
		rest()
	od
}

/* It comes back to the idle proc, and blocks again: hand-off looks for demand. */
active proctype backer()
{
	byte back = BACK;

end:
	do
	:: atomic { back > 0 && owner == NOBODY -> owner = BACKER; back--; printf("@9 is back\n") }
	:: atomic { owner == BACKER ->
		busy++;
		owner = NOBODY;
		printf("@9 blocks\n");
		if
		:: q > 0 && !spinning && parked[0] -> grant(0)
		:: q > 0 && !spinning && !parked[0] && parked[1] -> grant(1)
		:: else
		fi };
		rest()
	od
}

active proctype spawner()
{
	byte made;

end:
	do
	:: atomic { missing && made < S -> missing = 0; coming++; run standby(made); made++ }
	/* the cap */
	:: atomic { missing && made == S -> busy++; missing = 0 }; rest()
	od
}

/* PARK, and what it does with the proc: it takes a fiber, or parks again. */
proctype standby(byte s)
{
	bit first = 1;

end:
	do
	:: atomic { owner != s + 1 && !parked[s] ->
		busy++;
		parked[s] = 1;
		if
		:: owner == NOBODY && q > 0 && !spinning -> grant(s)
		:: else
		fi;
		if
		:: first -> first = 0; coming--
		:: else
		fi };
		rest()
	:: owner == s + 1 && spinning ->
		/* the search: a fiber, or none */
		atomic {
			busy++;
			if
			:: q > 0 -> q--; printf("@%d takes a fiber\n", s)
			:: else
			fi
		};
		/* lowered, and then another look: Enqueue (3) of who found one, PARK (3) */
		atomic { spinning = 0; owner = NOBODY };
		atomic {
			if
			:: q > 0 && owner == NOBODY && !spinning -> owner = s + 1; spinning = 1
			:: q > 0 && (owner != NOBODY) && !spinning -> timer = 1
			:: else
			fi
		};
		rest()
	od
}

/* The hog's slice is over: who waited runs, on that proc. */
active proctype tick()
{
end:
	do
	:: atomic { timer ->
		busy++;
		if
		:: q > 0 -> q--; printf("@8 a slice is over\n")
		:: else -> timer = 0
		fi };
		rest()
	od
}
