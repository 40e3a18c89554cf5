/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A lock biased to a proc (libgo-user/src/base/biased.h): NP procs and NT ordinary threads take
 * it TIMES times each. All stores but locked ones go through a store buffer (TSO) that
 * drains at any time later; a locked instruction waits for its own, a membarrier empties
 * everybody's, one after the other. A proc biases the lock to itself whenever it may.
 *
 * Properties:
 *   1 alone   one is inside
 *   2 seen    who is inside sees what those before it did there
 *   3 all     everybody gets in
 *
 * Mistakes:
 *   M_NO_MEMBARRIER  who takes the bias away has a fence of its own only
 *   M_NO_RECHECK     the owner does not look again whether it is one
 *   M_NO_WAIT        who takes the bias away does not wait until the owner is out
 *   M_LATE           ... takes it away after the membarrier
 *   M_TRIES          a release takes another's try for its own hold
 *   M_NEW_OWNER      another proc becomes the owner of a lock that has had one
 */
#ifndef NP
#define NP 2
#endif
#ifndef NT
#define NT 0
#endif
#ifndef TIMES
#define TIMES 3
#endif

#define ACTORS	(NP + NT)
#define SLOTS	6		/* of a store buffer */
#define WORD	0
#define OWNER	1
#define MINE	2
#define BIASED	3
#define DATA	4
#define OUT	0
#define TRIES	1
#define HELD	2

byte mem[5];
byte what[ACTORS * SLOTS];	/* the buffers, oldest first */
byte value[ACTORS * SLOTS];
byte stored[ACTORS];
byte last;			/* under the word */
byte inside, did;		/* ghosts */
byte left = ACTORS;

inline broken(n)
{
	printf("BROKEN %d: inside %d, word %d, owner %d, mine %d\n", n, inside, mem[WORD],
	       mem[OWNER], mem[MINE]);
	assert(false)
}

inline pop(b)
{
	mem[what[(b) * SLOTS]] = value[(b) * SLOTS];
	k = 1;
	do
	:: k < stored[b] ->
		what[(b) * SLOTS + k - 1] = what[(b) * SLOTS + k];
		value[(b) * SLOTS + k - 1] = value[(b) * SLOTS + k];
		k++
	:: else -> break
	od;
	stored[b]--;
	what[(b) * SLOTS + stored[b]] = 0;
	value[(b) * SLOTS + stored[b]] = 0;
	k = 0
}

inline put(v, x)
{
	d_step {
		stored[a] < SLOTS;
		what[a * SLOTS + stored[a]] = v;
		value[a * SLOTS + stored[a]] = x;
		stored[a]++
	}
}

/* Its own newest store, or memory. */
inline get(v, x)
{
	d_step {
		x = mem[v];
		k = 0;
		do
		:: k < stored[a] ->
			if
			:: what[a * SLOTS + k] == v -> x = value[a * SLOTS + k]
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	}
}

inline flush(b)
{
	d_step {
		do
		:: stored[b] -> pop(b)
		:: else -> break
		od
	}
}

inline take_bias()
{
#ifndef M_LATE
	put(BIASED, 0);
#endif
	flush(a);
#ifndef M_NO_MEMBARRIER
	b = 0;
	do
	:: b < ACTORS -> flush(b); b++
	:: else -> b = 0; break
	od;
#endif
#ifdef M_LATE
	put(BIASED, 0);
#endif
#ifndef M_NO_WAIT
	do
	:: get(MINE, x); if :: x == OUT -> break :: else fi
	od;
#endif
	skip
}

proctype actor(byte a; byte me)
{
	byte n, b, k, x, o;

	do
	:: n < TIMES ->
		n++;
		get(BIASED, x);
		get(OWNER, o);
		if
		:: x && o == me ->
			put(MINE, TRIES);
#ifndef M_NO_RECHECK
			get(BIASED, x);
#endif
			if
			:: x -> put(MINE, HELD); goto in
			:: else -> put(MINE, OUT)
			fi
		:: else
		fi;
		/* a locked instruction; whoever waits for the word looks again and again */
		atomic {
			mem[WORD] == 0;
			flush(a);
			mem[WORD] = 1
		}
		get(BIASED, x);
		get(OWNER, o);
		if
		:: x -> take_bias()
#ifdef M_NEW_OWNER
		:: !x && me && last == me ->
#else
		:: !x && me && last == me && (!o || o == me) ->
#endif
			put(OWNER, me);
			put(BIASED, 1)
		:: !x
		fi;
		last = me;
in:		skip;
		d_step {
			inside++;
			if :: inside > 1 -> broken(1) :: else fi
		}
		get(DATA, x);
		d_step {
			if :: x != did -> broken(2) :: else fi;
			did++
		}
		put(DATA, x + 1);
		inside--;
		get(MINE, x);
		if
#ifdef M_TRIES
		:: x -> put(MINE, OUT)
#else
		:: x == HELD -> put(MINE, OUT)
#endif
		:: else -> put(WORD, 0)
		fi
	:: else -> break
	od;
	left--
}

/* The processors: a store leaves a buffer. */
active proctype memory()
{
	byte k;

end:
	do
#define DRAIN(b) :: d_step { b < ACTORS && stored[(b) % ACTORS] -> pop((b) % ACTORS) }
	DRAIN(0)
	DRAIN(1)
	DRAIN(2)
	:: timeout ->
		if
		:: left -> broken(3)
		:: else -> break
		fi
	od
}

init {
	byte i;

	atomic {
		do
		:: i < ACTORS -> run actor(i, (i < NP -> i + 1 : 0)); i++
		:: else -> break
		od
	}
}
