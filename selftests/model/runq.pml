/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The local run queue (libgo-user/src/runq.c): a ring with one producer, its owner, and
 * consumers that are the owner and NT thieves; and the place beside it, runnext.
 *
 * The owner puts F fibers, by gs_runq_put or gs_runq_put_next, in every order with its own
 * gs_runq_get; a full ring gives half of itself away (put_slow). A thief takes half of what
 * it sees (gs_runq_steal), or runnext. Loads, stores and swaps are single steps; the
 * ring has two places. Orders weaker than program order are not modelled: acquire and
 * release are what x86 does, and head's release pairs as runq.c says.
 *
 * Properties:
 *   1 once    no fiber is taken twice
 *   2 all     in the end every fiber was taken, once
 *   3 room    a place is filled only when what stood there was taken
 *
 * Mistakes:
 *   M_STEAL_STORE   a thief moves head by a store, not by compare-and-swap
 *   M_GET_STORE     the owner does
 *   M_LATE_READ     a thief reads the places after it moved head
 *   M_NEXT_STORE    runnext is emptied by a store after the load, not by an exchange
 *   M_SLOW_STORE    put_slow moves head by a store
 */
#ifndef NT
#define NT 1
#endif
#ifndef F
#define F 4
#endif
#define SIZE 2

#define CHECK(n, c) if :: (c) :: else -> printf("BROKEN %d:\n", n); assert(false) fi

byte head, tail, runnext;	/* fibers are 1 to F; 0 none */
byte ring[SIZE];
byte taken[F + 1];
bit standing[SIZE];		/* ghost: the place holds a fiber that nobody took */
byte done;			/* the owner has put all, and found the queue empty */

inline take(f)
{
	CHECK(1, taken[f] == 0);
	taken[f]++
}

#ifdef M_STEAL_STORE
#define STEAL_CAS(h, n)	head = h + n; ok = 1
#else
#define STEAL_CAS(h, n)	if :: head == h -> head = h + n; ok = 1 :: else -> ok = 0 fi
#endif
#ifdef M_GET_STORE
#define GET_CAS(h)	head = h + 1; ok = 1
#else
#define GET_CAS(h)	if :: head == h -> head = h + 1; ok = 1 :: else -> ok = 0 fi
#endif
#ifdef M_SLOW_STORE
#define SLOW_CAS(h)	head = h + SIZE / 2; ok = 1
#else
#define SLOW_CAS(h)	if :: head == h -> head = h + SIZE / 2; ok = 1 :: else -> ok = 0 fi
#endif

/* gs_runq_put: f into the ring; if it is full half of it and f go to the global queue */
inline put(f)
{
	ok = 0;
	do
	:: ok -> break
	:: else ->
		h = head;
		if
		:: tail - h < SIZE ->
			d_step {
				CHECK(3, !standing[tail % SIZE]);
				ring[tail % SIZE] = f;
				standing[tail % SIZE] = 1
			}
			tail = tail + 1;
			ok = 1
		:: else ->
			g = ring[h % SIZE];
			d_step { SLOW_CAS(h); if :: ok -> standing[h % SIZE] = 0 :: else fi }
			if
			:: ok -> d_step { take(g); take(f) }
			:: else
			fi
		fi
	od
}

inline take_runnext()
{
	g = runnext;
	if
	:: g ->
#ifdef M_NEXT_STORE
		runnext = 0;
#else
		d_step { g = runnext; runnext = 0 };
#endif
		if
		:: g -> d_step { printf("@%d took runnext %d\n", _pid, g); take(g) }
		:: else
		fi
	:: else
	fi
}

inline ring_get()
{
	ok = 0;
	do
	:: h = head;
		if
		:: h == tail -> g = 0; break
		:: else ->
			g = ring[h % SIZE];
			d_step { GET_CAS(h); if :: ok -> standing[h % SIZE] = 0 :: else fi }
			if
			:: ok -> d_step { printf("@%d got %d\n", _pid, g); take(g) }; break
			:: else
			fi
		fi
	od
}

proctype owner()
{
	byte f = 1, h, g, old;
	bit ok;

	do
	:: f <= F -> put(f); f++
	:: f <= F ->
		d_step { old = runnext; runnext = f };
		f++;
		if
		:: old -> put(old)
		:: else
		fi
	:: take_runnext(); if :: !g -> ring_get() :: else fi;
		if
		:: !g && f > F -> break
		:: else
		fi
	od;
	done = 1
}

proctype thief()
{
	byte h, t, n, a;
	byte g, i;
	bit ok;

	do
	:: done -> break
	:: h = head;
		t = tail;
		n = t - h;
		n = n - n / 2;
		if
		:: n == 0 -> take_runnext()
		:: n > SIZE / 2 -> skip	/* head and tail are from different times */
		:: else ->
#ifdef M_LATE_READ
			d_step { STEAL_CAS(h, n); if :: ok -> standing[h % SIZE] = 0 :: else fi };
			if
			:: ok -> a = ring[h % SIZE]; d_step { printf("@%d stole %d\n", _pid, a); take(a) }
			:: else
			fi
#else
			a = ring[h % SIZE];
			d_step { STEAL_CAS(h, n); if :: ok -> standing[h % SIZE] = 0 :: else fi };
			if
			:: ok -> d_step { printf("@%d stole %d\n", _pid, a); take(a) }
			:: else
			fi
#endif
		fi
	od
}

init
{
	byte i;

	atomic {
		run owner();
		for (i : 1 .. NT) { run thief() }
	}
	(_nr_pr == 1);
	for (i : 1 .. F) { CHECK(2, taken[i] == 1) }
}
