/* SPDX-License-Identifier: GPL-2.0 */
/*
 * select's once-only commit (libgo-user/src/waitq.h, select.c): a select stands on the
 * queues of two channels and in a timer; each of their wakers takes its sudog off, and the
 * first to swap `done` from 0 to 1 wins, sets the wake value and readies the fiber. Woken,
 * it steps off every queue under its lock, and stops or waits for the timer: then the
 * selection, which lies on its stack, is gone.
 *
 * Properties:
 *   1 once    the fiber is readied once
 *   2 gone    nobody looks at the selection after it is gone
 *   3 value   a sender that believes that it was received has been: the case that select
 *             returns is the winner's; the losers keep their values
 *   4 woken   the select returns
 *
 * Mistakes:
 *   M_NO_SWAP      a waker looks at done and then sets it
 *   M_NO_LOCK      the select steps off without the queue's lock
 *   M_NO_SYNC      it does not wait for a timer that is firing
 *   M_READY_FIRST  the winner readies the fiber before it sets the wake value
 */
#define CHECK(n, c) if :: (c) :: else -> printf("BROKEN %d:\n", n); assert(false) fi

bit done, gone, ready;
byte wake = 9;			/* which case; 2 is the timer's */
bit lock[2], queued[2], believes[3];
bit armed, firing, heap_lock;
bit returned;
byte which;

#define LOCK(l)		atomic { !l -> l = 1 }
#define UNLOCK(l)	l = 0
#define TOUCH		CHECK(2, !gone)

/* i: the caller's case; won: whether it was the first */
inline win(i)
{
#ifdef M_NO_SWAP
	atomic { TOUCH; won = !done };
	if
	:: won -> done = 1
	:: else
	fi;
#else
	atomic { TOUCH; won = !done; done = 1 };
#endif
	if
	:: won -> believes[i] = 1
	:: else
	fi
}

inline wake_up(i)
{
#ifdef M_READY_FIRST
	atomic { CHECK(1, !ready); ready = 1 };
	atomic { TOUCH; wake = i }
#else
	atomic { TOUCH; wake = i };
	atomic { CHECK(1, !ready); ready = 1 }
#endif
}

proctype sender(byte i)
{
	bit won;

	LOCK(lock[i]);
	won = 0;
	if
	:: queued[i] -> queued[i] = 0; win(i);
		if
		:: won -> atomic { TOUCH; wake = i }
		:: else
		fi
	:: else
	fi;
	UNLOCK(lock[i]);
	/* after the lock: the fiber is nobody else's to ready */
	if
	:: won -> atomic { CHECK(1, !ready); ready = 1 }
	:: else
	fi
}

proctype timer()
{
	bit won, fire;

	LOCK(heap_lock);
	fire = armed;
	if
	:: armed -> atomic { firing = 1; armed = 0 }
	:: else
	fi;
	UNLOCK(heap_lock);
	if
	:: fire -> win(2);
		if
		:: won -> wake_up(2)
		:: else
		fi;
		firing = 0
	:: else
	fi
}

proctype selecter()
{
	byte i;
	bit stopped;

	/* both locked: nothing is ready; on both queues, in the heap, and parked */
	LOCK(lock[0]);
	LOCK(lock[1]);
	atomic { queued[0] = 1; queued[1] = 1 };
	LOCK(heap_lock);
	armed = 1;
	UNLOCK(heap_lock);
	UNLOCK(lock[1]);
	UNLOCK(lock[0]);
end:	(ready);
	which = wake;
	if
	:: which != 2 ->
		LOCK(heap_lock);
		stopped = armed;
		armed = 0;
		UNLOCK(heap_lock);
#ifndef M_NO_SYNC
		if
		:: !stopped -> (!firing)
		:: else
		fi
#endif
	:: else
	fi;
	for (i : 0 .. 1) {
#ifndef M_NO_LOCK
		LOCK(lock[i]);
#endif
		queued[i] = 0;
#ifndef M_NO_LOCK
		UNLOCK(lock[i])
#endif
	}
	atomic { gone = 1; returned = 1 }
}

init
{
	atomic { run selecter(); run sender(0); run sender(1); run timer() }
	(_nr_pr == 1 || timeout);
	/* all came before it stood there: it waits on, rightly */
	if
	:: done || believes[0] || believes[1] || believes[2] -> CHECK(4, returned)
	:: else
	fi;
	CHECK(3, believes[0] + believes[1] + believes[2] <= 1 && (!returned || (which < 3 && believes[which])))
}
