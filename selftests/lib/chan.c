// SPDX-License-Identifier: GPL-2.0
/* Channels: every axiom of chan.h, order, hand-over, references, and many at once. */
#include <pthread.h>

#include <gsched/chan.h>
#include <gsched/select.h>
#include <gsched/sync.h>

#include "dump.h"
#include "util.h"

/* ------------------------------------------------------------------------- */
/* Construction                                                                */

/* impossible sizes are EOVERFLOW, too large ones ENOMEM, and neither costs anything */
TEST(new_errors)
{
	errno = 0;
	EXPECT_EQ(NULL, gs_chan_new(SIZE_MAX, 2));
	EXPECT_EQ(EOVERFLOW, errno);
	errno = 0;
	EXPECT_EQ(NULL, gs_chan_new(2, SIZE_MAX));
	EXPECT_EQ(EOVERFLOW, errno);
	errno = 0;
	EXPECT_EQ(NULL, gs_chan_new(1, SIZE_MAX - 8));
	EXPECT_EQ(EOVERFLOW, errno);
#if !defined(UT_ASAN) && !defined(UT_TSAN)
	/* the sanitizers' malloc ends the process instead */
	errno = 0;
	EXPECT_EQ(NULL, gs_chan_new(1, (size_t)1 << 62));
	EXPECT_EQ(ENOMEM, errno);
#endif
	gs_chan_unref(NULL);
	EXPECT_EQ(NULL, gs_chan_ref(NULL));
}

/* length and capacity, also of the nil channel and of one without element size */
TEST(len_cap)
{
	gs_chan *c = gs_chan_new(4, 3), *z = gs_chan_new(0, SIZE_MAX), *u = gs_chan_new(8, 0);
	int v = 7;

	ASSERT_NE(NULL, c);
	ASSERT_NE(NULL, z);
	ASSERT_NE(NULL, u);
	EXPECT_EQ(3, gs_chan_cap(c));
	EXPECT_EQ(SIZE_MAX, gs_chan_cap(z));
	EXPECT_EQ(0, gs_chan_cap(u));
	EXPECT_EQ(0, gs_chan_cap(NULL));
	EXPECT_EQ(0, gs_chan_len(NULL));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(i, gs_chan_len(c));
		gs_chan_send(c, &v);
		gs_chan_send(z, NULL);
	}
	EXPECT_EQ(3, gs_chan_len(c));
	EXPECT_EQ(3, gs_chan_len(z));
	EXPECT_TRUE(gs_chan_recv(z, NULL));
	EXPECT_EQ(2, gs_chan_len(z));
	EXPECT_EQ(-EAGAIN, gs_chan_try_send(c, &v));
	EXPECT_TRUE(gs_chan_recv(c, NULL));
	EXPECT_EQ(2, gs_chan_len(c));
	gs_chan_unref(c);
	gs_chan_unref(z);
	gs_chan_unref(u);
}

/* elements of every size come out as they went in, through buffer and hand-over */
struct sized {
	gs_chan *c;
	size_t size;
	int n;
};

static void fill(unsigned char *p, size_t size, int i)
{
	for (size_t k = 0; k < size; k++)
		p[k] = (unsigned char)(i * 31 + (int)k * 7 + 1);
}

static void sized_sender(void *arg)
{
	struct sized *s = arg;
	unsigned char buf[300];

	for (int i = 0; i < s->n; i++) {
		fill(buf, s->size, i);
		gs_chan_send(s->c, buf);
	}
	gs_chan_close(s->c);
}

static void sized_main(void *arg)
{
	static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 64, 300};

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
		for (size_t cap = 0; cap < 4; cap++) {
			struct sized s = {gs_chan_new(sizes[k], cap), sizes[k], 50};
			unsigned char got[300 + 16], want[300];
			int i = 0;

			CHECK_EQ(gs_go(sized_sender, &s), 0);
			for (;; i++) {
				memset(got, 0xee, sizeof(got));
				if (!gs_chan_recv(s.c, got))
					break;
				fill(want, s.size, i);
				CHECK(memcmp(got, want, s.size) == 0);
				CHECK_EQ(got[s.size], 0xee);
			}
			CHECK_EQ(i, s.n);
			/* zeroed at the end, and nothing behind it */
			memset(want, 0, sizeof(want));
			CHECK(memcmp(got, want, s.size) == 0);
			CHECK_EQ(got[s.size], 0xee);
			gs_chan_unref(s.c);
		}
}

TEST(element_sizes)
{
	RUN(sized_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Nil and closed                                                              */

static gs_waitgroup all;
static int step[4]; /* atomic: 1 before, 2 after */

static void nil_send(void *arg)
{
	int v = 1;

	STORE(step[0], 1);
	gs_chan_send(NULL, &v);
	STORE(step[0], 2);
}

static void nil_recv(void *arg)
{
	int v;

	STORE(step[1], 1);
	gs_chan_recv(NULL, &v);
	STORE(step[1], 2);
}

static void *nil_thread(void *arg)
{
	int v;

	STORE(step[2], 1);
	gs_chan_recv(NULL, &v);
	STORE(step[2], 2);
	return NULL;
}

static void nil_main(void *arg)
{
	pthread_t t;
	int v = 1;

	CHECK_EQ(gs_chan_try_send(NULL, &v), -EAGAIN);
	CHECK_EQ(gs_chan_try_recv(NULL, &v), -EAGAIN);
	CHECK_EQ(v, 1);
	gs_go(nil_send, NULL);
	gs_go(nil_recv, NULL);
	CHECK_EQ(pthread_create(&t, NULL, nil_thread, NULL), 0);
	UNTIL(LOAD(step[0]) && LOAD(step[1]) && LOAD(step[2]));
	ut_let_run(50);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(LOAD(step[i]), 1);
}

/* the nil channel blocks for ever, fibers and threads; try operations fail */
TEST(nil_blocks)
{
	RUN(nil_main, NULL);
}

/* receive from closed: the rest of the buffer, then zero and false, again and again */
TEST(closed_receive)
{
	gs_chan *c = gs_chan_new(sizeof(int), 4);
	int v;

	for (v = 1; v <= 3; v++)
		gs_chan_send(c, &v);
	gs_chan_close(c);
	EXPECT_EQ(3, gs_chan_len(c));
	EXPECT_TRUE(gs_chan_recv(c, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(1, gs_chan_try_recv(c, &v));
	EXPECT_EQ(2, v);
	EXPECT_TRUE(gs_chan_recv(c, NULL));
	for (int i = 0; i < 3; i++) {
		v = 99;
		EXPECT_FALSE(gs_chan_recv(c, &v));
		EXPECT_EQ(0, v);
		v = 99;
		EXPECT_EQ(0, gs_chan_try_recv(c, &v));
		EXPECT_EQ(0, v);
		EXPECT_FALSE(gs_chan_recv(c, NULL));
	}
	gs_chan_unref(c);
}

/* try operations: done when they would not block, else -EAGAIN and nothing changes */
TEST(try_ops)
{
	gs_chan *c = gs_chan_new(sizeof(int), 1), *u = gs_chan_new(sizeof(int), 0);
	int v = 5;

	EXPECT_EQ(-EAGAIN, gs_chan_try_recv(c, &v));
	EXPECT_EQ(5, v);
	EXPECT_EQ(0, gs_chan_try_send(c, &v));
	v = 6;
	EXPECT_EQ(-EAGAIN, gs_chan_try_send(c, &v));
	EXPECT_EQ(1, gs_chan_try_recv(c, &v));
	EXPECT_EQ(5, v);
	EXPECT_EQ(-EAGAIN, gs_chan_try_send(u, &v));
	EXPECT_EQ(-EAGAIN, gs_chan_try_recv(u, &v));
	EXPECT_EQ(0, gs_chan_try_send(c, NULL));
	EXPECT_EQ(1, gs_chan_try_recv(c, &v));
	EXPECT_EQ(0, v);
	gs_chan_close(u);
	EXPECT_EQ(0, gs_chan_try_recv(u, NULL));
	gs_chan_unref(c);
	gs_chan_unref(u);
}

/* What a fiber's panic says, recovered; then its text stands here. */
static char said[4][100];

static void recover_into(void *arg)
{
	const char *text = gs_recover();

	if (text)
		strncpy(arg, text, sizeof(said[0]) - 1);
}

static void send_closed(void *arg)
{
	int v = 1;

	gs_defer(recover_into, said[0]);
	gs_chan_send(arg, &v);
	CHECK(!"reached");
}

static void try_send_closed(void *arg)
{
	int v = 1;

	gs_defer(recover_into, said[1]);
	gs_chan_try_send(arg, &v);
	CHECK(!"reached");
}

static void close_closed(void *arg)
{
	gs_defer(recover_into, said[2]);
	gs_chan_close(arg);
	CHECK(!"reached");
}

static void close_nil(void *arg)
{
	gs_defer(recover_into, said[3]);
	gs_chan_close(NULL);
	CHECK(!"reached");
}

static void misuse_main(void *arg)
{
	gs_chan *c = gs_chan_new(sizeof(int), 1);
	int v = 4;

	gs_chan_close(c);
	memset(said, 0, sizeof(said));
	gs_wg_go(&all, send_closed, c);
	gs_wg_go(&all, try_send_closed, c);
	gs_wg_go(&all, close_closed, c);
	gs_wg_go(&all, close_nil, NULL);
	gs_wg_wait(&all);
	CHECK(strcmp(said[0], "send on closed channel") == 0);
	CHECK(strcmp(said[1], "send on closed channel") == 0);
	CHECK(strcmp(said[2], "close of closed channel") == 0);
	CHECK(strcmp(said[3], "close of nil channel") == 0);
	/* and the channel works on */
	CHECK_EQ(gs_chan_try_recv(c, &v), 0);
	CHECK_EQ(v, 0);
	gs_chan_unref(c);
}

/* send on closed, close of closed and close of nil panic with Go's texts, recoverably */
TEST(misuse_recovered)
{
	RUN(misuse_main, NULL);
}

static void die_send(void *arg)
{
	gs_chan *c = gs_chan_new(1, 1);

	gs_chan_close(c);
	gs_chan_send(c, "x");
}

static void die_close_twice(void *arg)
{
	gs_chan *c = gs_chan_new(1, 1);

	gs_chan_close(c);
	gs_chan_close(c);
}

static void die_close_nil(void *arg)
{
	gs_chan_close(NULL);
}

static void in_run(void *arg)
{
	void (*fn)(void *);

	memcpy(&fn, arg, sizeof(fn));
	gs_run(fn, NULL);
}

/* without recover they end the process with status 2, in a fiber and in a thread */
TEST(misuse_ends_process)
{
	static void (*const fns[])(void *) = {die_send, die_close_twice, die_close_nil};
	static const char *const texts[] = {
		"panic: send on closed channel\n",
		"panic: close of closed channel\n",
		"panic: close of nil channel\n",
	};

	for (int i = 0; i < 3; i++) {
		struct ut_child *c = ut_child_run(fns[i], NULL, 20 * SEC);

		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, texts[i]);
		EXPECT_SAYS(c, "\nthread ");
		EXPECT_SAYS(c, " [running]:\n");
		free(c);
		c = ut_child_run(in_run, (void *)&fns[i], 20 * SEC);
		EXPECT_EQ(2, c->status);
		EXPECT_SAYS(c, texts[i]);
		EXPECT_SAYS(c, "\nfiber 1 [running]:\n");
		free(c);
	}
}

/* ------------------------------------------------------------------------- */
/* Rendezvous, order, hand-over                                                */

static gs_chan *chan;
static int sent, got; /* atomic */

static void send_one(void *arg)
{
	int v = 42;

	gs_chan_send(chan, &v);
	STORE(sent, 1);
}

static void rendezvous_main(void *arg)
{
	long n = ut_count(2000, 50);
	int v;

	for (long i = 0; i < n; i++) {
		STORE(sent, 0);
		gs_go(send_one, NULL);
		for (int k = 0; k < 5; k++) {
			gs_yield();
			CHECK_EQ(LOAD(sent), 0);
		}
		CHECK(gs_chan_recv(chan, &v));
		CHECK_EQ(v, 42);
		UNTIL(LOAD(sent));
	}
}

/* a send on an unbuffered channel returns only when it was received */
TEST(unbuffered_rendezvous)
{
	chan = gs_chan_new(sizeof(int), 0);
	RUN(rendezvous_main, NULL);
	gs_chan_unref(chan);
}

#define WAITERS 20

static struct {
	int value; /* what it sends or got */
	bool ok;
} waiter[WAITERS];
static int served; /* atomic */

static void wait_recv(void *arg)
{
	int i = (int)(intptr_t)arg;

	waiter[i].ok = gs_chan_recv(chan, &waiter[i].value);
	ADD(served, 1); /* the last: another round may come */
}

static void wait_send(void *arg)
{
	int i = (int)(intptr_t)arg;

	waiter[i].value = 1000 + i;
	gs_chan_send(chan, &waiter[i].value);
	ADD(served, 1);
}

/* Each is on the queue before the next comes. */
static void queue_up(void (*fn)(void *), const char *reason)
{
	memset(waiter, 0, sizeof(waiter));
	STORE(served, 0);
	for (int i = 0; i < WAITERS; i++) {
		CHECK_EQ(gs_go(fn, (void *)(intptr_t)i), 0);
		UNTIL(ut_waiting(reason, NULL) == i + 1);
	}
}

static void fifo_recv_main(void *arg)
{
	chan = gs_chan_new(sizeof(int), (size_t)(intptr_t)arg);
	queue_up(wait_recv, "chan receive");
	for (int i = 0; i < WAITERS; i++) {
		int v = 7 * i;

		gs_chan_send(chan, &v);
		/* it is in the receiver's own buffer, whether that ran or not */
		CHECK_EQ(waiter[i].value, v);
		CHECK_EQ(gs_chan_len(chan), 0u);
	}
	UNTIL(LOAD(served) == WAITERS);
	for (int i = 0; i < WAITERS; i++) {
		CHECK(waiter[i].ok);
		CHECK_EQ(waiter[i].value, 7 * i);
	}
	gs_chan_unref(chan);
}

/* receivers are served first in, first out, directly into their buffers */
TEST(fifo_receivers)
{
	ut_set_procs(1);
	RUN(fifo_recv_main, (void *)0);
	RUN(fifo_recv_main, (void *)3);
}

static void fifo_send_main(void *arg)
{
	size_t cap = (size_t)(intptr_t)arg;
	int v;

	chan = gs_chan_new(sizeof(int), cap);
	for (size_t i = 0; i < cap; i++) {
		v = (int)i;
		gs_chan_send(chan, &v);
	}
	queue_up(wait_send, "chan send");
	CHECK_EQ(LOAD(served), 0);
	for (size_t i = 0; i < cap; i++) {
		CHECK(gs_chan_recv(chan, &v));
		CHECK_EQ(v, (int)i);
		/* a waiting sender's value moved up at once */
		CHECK_EQ(gs_chan_len(chan), cap);
	}
	for (int i = 0; i < WAITERS; i++) {
		CHECK(gs_chan_recv(chan, &v));
		CHECK_EQ(v, 1000 + i);
	}
	CHECK_EQ(gs_chan_try_recv(chan, &v), -EAGAIN);
	UNTIL(LOAD(served) == WAITERS);
	gs_chan_unref(chan);
}

/* senders too, behind what is in the buffer */
TEST(fifo_senders)
{
	ut_set_procs(1);
	RUN(fifo_send_main, (void *)0);
	RUN(fifo_send_main, (void *)1);
	RUN(fifo_send_main, (void *)5);
}

/* ------------------------------------------------------------------------- */
/* Close                                                                       */

static void close_recv_main(void *arg)
{
	chan = gs_chan_new(sizeof(int), (size_t)(intptr_t)arg);
	memset(waiter, 0xff, sizeof(waiter));
	queue_up(wait_recv, "chan receive");
	for (int i = 0; i < WAITERS; i++)
		waiter[i].value = -1;
	gs_chan_close(chan);
	gs_chan_unref(chan);
	UNTIL(LOAD(served) == WAITERS);
	for (int i = 0; i < WAITERS; i++) {
		CHECK(!waiter[i].ok);
		CHECK_EQ(waiter[i].value, 0);
	}
}

/* close wakes every receiver with zero and false; the last reference may go at once */
TEST(close_wakes_receivers)
{
	ut_set_procs(1);
	RUN(close_recv_main, (void *)0);
	RUN(close_recv_main, (void *)2);
}

static int panicked; /* atomic */

static void expect_send_closed(void *arg)
{
	const char *text = gs_recover();

	if (text && strcmp(text, "send on closed channel") == 0)
		ADD(panicked, 1);
}

static void wait_send_closed(void *arg)
{
	gs_defer(expect_send_closed, NULL);
	wait_send(arg);
	CHECK(!"reached");
}

static void close_send_main(void *arg)
{
	size_t cap = (size_t)(intptr_t)arg;
	int v = 3;

	chan = gs_chan_new(sizeof(int), cap);
	for (size_t i = 0; i < cap; i++)
		gs_chan_send(chan, &v);
	STORE(panicked, 0);
	queue_up(wait_send_closed, "chan send");
	gs_chan_close(chan);
	UNTIL(LOAD(panicked) == WAITERS);
	CHECK_EQ(gs_chan_len(chan), cap);
	gs_chan_unref(chan);
}

/* close makes every blocked sender panic; their values are not sent */
TEST(close_wakes_senders)
{
	ut_set_procs(1);
	RUN(close_send_main, (void *)0);
	RUN(close_send_main, (void *)2);
}

static long sums[2], counts[2]; /* atomic: sent and received */

static void storm_sender(void *arg)
{
	long base = (long)(intptr_t)arg * 1000000;

	gs_defer(expect_send_closed, NULL);
	for (long i = 1;; i++) {
		long v = base + i;

		gs_chan_send(chan, &v);
		ADD(sums[0], v);
		ADD(counts[0], 1);
	}
}

static void storm_receiver(void *arg)
{
	long v;

	while (gs_chan_recv(chan, &v)) {
		ADD(sums[1], v);
		ADD(counts[1], 1);
	}
	CHECK_EQ(v, 0);
}

static void storm_main(void *arg)
{
	long rounds = ut_count(300, 10);

	for (long r = 0; r < rounds; r++) {
		gs_chan *c = gs_chan_new(sizeof(long), (size_t)r % 4);

		memset(sums, 0, sizeof(sums));
		memset(counts, 0, sizeof(counts));
		STORE(panicked, 0);
		chan = c;
		for (int i = 0; i < 8; i++) {
			gs_wg_go(&all, storm_sender, (void *)(intptr_t)i);
			gs_wg_go(&all, storm_receiver, NULL);
		}
		UNTIL(LOAD(counts[1]) > r * 3);
		gs_chan_close(c);
		gs_wg_wait(&all);
		CHECK_EQ(panicked, 8);
		/* a send that returned was received, one that panicked was not */
		CHECK_EQ(counts[0], counts[1]);
		CHECK_EQ(sums[0], sums[1]);
		gs_chan_unref(c);
	}
}

/* closed under fire: what was sent is received, what panicked is not, nobody hangs */
TEST(close_storm)
{
	RUN(storm_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Many to many                                                                */

struct crowd {
	gs_chan *c;
	int senders, receivers;
	long n;		     /* items in all */
	long next, left;     /* atomic */
	unsigned char *seen; /* atomic: how often each item came out */
};

static void crowd_send(struct crowd *w)
{
	long i;

	while ((i = ADD(w->next, 1) - 1) < w->n) {
		gs_chan_send(w->c, &i);
		if (ADD(w->left, -1) == 0)
			gs_chan_close(w->c);
	}
}

static void crowd_recv(struct crowd *w)
{
	long i;

	while (gs_chan_recv(w->c, &i))
		if (CHECK(i >= 0 && i < w->n))
			ADD(w->seen[i], 1);
}

static void crowd_sender(void *arg)
{
	crowd_send(arg);
}

static void crowd_receiver(void *arg)
{
	crowd_recv(arg);
}

static void *crowd_send_thread(void *arg)
{
	crowd_send(arg);
	return NULL;
}

static void *crowd_recv_thread(void *arg)
{
	crowd_recv(arg);
	return NULL;
}

static void crowd_run(int senders, int receivers, size_t cap, int threads)
{
	struct crowd w = {.c = gs_chan_new(sizeof(long), cap),
			  .senders = senders,
			  .receivers = receivers,
			  .n = ut_count(20000, 500)};
	gs_waitgroup wg = {0};
	pthread_t t[16];
	int nt = 0;

	w.left = w.n;
	w.seen = calloc((size_t)w.n, 1);
	for (int i = 0; i < receivers; i++)
		if (threads && i % 2)
			CHECK_EQ(pthread_create(&t[nt++], NULL, crowd_recv_thread, &w), 0);
		else
			CHECK_EQ(gs_wg_go(&wg, crowd_receiver, &w), 0);
	for (int i = 0; i < senders; i++)
		if (threads && i % 2 == 0)
			CHECK_EQ(pthread_create(&t[nt++], NULL, crowd_send_thread, &w), 0);
		else
			CHECK_EQ(gs_wg_go(&wg, crowd_sender, &w), 0);
	gs_wg_wait(&wg);
	for (int i = 0; i < nt; i++)
		pthread_join(t[i], NULL);
	for (long i = 0; i < w.n; i++)
		CHECK_EQ(w.seen[i], 1);
	CHECK_EQ(gs_chan_len(w.c), 0u);
	free(w.seen);
	gs_chan_unref(w.c);
}

static void crowd_main(void *arg)
{
	static const int sizes[] = {1, 2, 4, 8};
	static const size_t caps[] = {0, 1, 7, 128};

	for (int s = 0; s < 4; s++)
		for (int r = 0; r < 4; r++)
			for (int c = 0; c < 4; c++)
				crowd_run(sizes[s], sizes[r], caps[c], 0);
}

/* 1 to 8 senders and receivers: every item comes out exactly once */
TEST(many_to_many)
{
	RUN(crowd_main, NULL);
}

static void crowd_threads_main(void *arg)
{
	static const size_t caps[] = {0, 1, 64};

	for (int c = 0; c < 3; c++) {
		crowd_run(1, 1, caps[c], 1);
		crowd_run(2, 2, caps[c], 1);
		crowd_run(6, 6, caps[c], 1);
	}
}

/* the same with ordinary threads among the fibers */
TEST(many_to_many_threads)
{
	RUN(crowd_threads_main, NULL);
}

static void *pingpong_thread(void *arg)
{
	gs_chan **c = arg;
	long v;

	while (gs_chan_recv(c[0], &v)) {
		v++;
		gs_chan_send(c[1], &v);
	}
	return NULL;
}

/* two threads and no runtime: channels are all they need */
TEST(threads_alone)
{
	gs_chan *c[2] = {gs_chan_new(sizeof(long), 0), gs_chan_new(sizeof(long), 0)};
	long n = ut_count(5000, 200), v = 0;
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, pingpong_thread, c));
	for (long i = 0; i < n; i++) {
		gs_chan_send(c[0], &v);
		ASSERT_TRUE(gs_chan_recv(c[1], &v));
		ASSERT_EQ(i + 1, v);
	}
	gs_chan_close(c[0]);
	pthread_join(t, NULL);
	gs_chan_unref(c[0]);
	gs_chan_unref(c[1]);
}

/* ------------------------------------------------------------------------- */
/* References                                                                  */

static void reply(void *arg)
{
	int v = 9;

	gs_chan_send(arg, &v);
}

static void *reply_thread(void *arg)
{
	reply(arg);
	return NULL;
}

static void free_early_main(void *arg)
{
	long n = ut_count(20000, 500);
	pthread_t t;
	int v;

	for (long i = 0; i < n; i++) {
		gs_chan *c = gs_chan_new(sizeof(int), (size_t)i % 3);

		gs_go(reply, c);
		CHECK(gs_chan_recv(c, &v));
		gs_chan_unref(c); /* the sender may still be on its way out */
	}
	for (long i = 0; i < n / 50; i++) {
		gs_chan *c = gs_chan_new(sizeof(int), (size_t)i % 3);

		CHECK_EQ(pthread_create(&t, NULL, reply_thread, c), 0);
		CHECK(gs_chan_recv(c, &v));
		gs_chan_unref(c);
		pthread_join(t, NULL);
	}
}

/* the receiver of its only value may free a channel, though the send still returns */
TEST(free_after_last_value)
{
	RUN(free_early_main, NULL);
}

struct orphan {
	gs_chan *c, *quit;
	int op;
};

static void orphan_select(void *arg)
{
	struct orphan *o = arg;
	struct gs_case cases[2] = {{.chan = o->c, .op = (uint32_t)o->op},
				   {.chan = o->quit, .op = GS_OP_RECV}};

	CHECK_EQ(gs_select_cases(cases, 2), 1);
	ADD(got, 1);
}

static void orphan_main(void *arg)
{
	long n = ut_count(300, 30);

	for (long i = 0; i < n; i++) {
		struct orphan o = {gs_chan_new(4, 0), gs_chan_new(0, 0),
				   i % 2 ? GS_OP_SEND : GS_OP_RECV};

		STORE(got, 0);
		gs_go(orphan_select, &o);
		gs_go(orphan_select, &o);
		gs_yield();
		UNTIL(ut_waiting("select", NULL) == 2);
		gs_chan_unref(o.c); /* they stand on it, and come back through quit */
		gs_chan_close(o.quit);
		UNTIL(LOAD(got) == 2);
		gs_chan_unref(o.quit);
	}
}

/* the last reference goes while selects wait on the channel: they go on by another case */
TEST(unref_under_select)
{
	ut_set_procs(1);
	RUN(orphan_main, NULL);
}

static void ref_holder(void *arg)
{
	int v;

	while (gs_chan_recv(arg, &v))
		;
	gs_chan_unref(arg);
}

static void refs_main(void *arg)
{
	long n = ut_count(2000, 50);

	for (long i = 0; i < n; i++) {
		gs_chan *c = gs_chan_new(sizeof(int), 2);
		int v = 1;

		for (int k = 0; k < 4; k++)
			gs_wg_go(&all, ref_holder, gs_chan_ref(c));
		gs_chan_send(c, &v);
		gs_chan_close(c);
		gs_chan_unref(c);
	}
	gs_wg_wait(&all);
}

/* whoever is last frees it (leaks and double frees show under ASan) */
TEST(references)
{
	RUN(refs_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* A lock that one proc has had for long, and then others                      */

#define ALONE 1200 /* operations after which it is biased: base/biased.c */

static gs_chan *common;
static int64_t sent_sum, received_sum; /* atomic */

static void both_ways(long from, long n)
{
	long in = 0, out = 0, v;

	for (long i = from; i < from + n; i++) {
		v = i;
		if (gs_chan_try_send(common, &v) == 0)
			in += i;
		if (gs_chan_try_recv(common, &v) == 1)
			out += v;
	}
	ADD(sent_sum, in);
	ADD(received_sum, out);
}

static void common_fiber(void *arg)
{
	for (int i = 0; i < 20; i++) {
		both_ways((intptr_t)arg, 100);
		gs_yield();
	}
}

static void *common_thread(void *arg)
{
	both_ways((intptr_t)arg, 500);
	return NULL;
}

static void biased_main(void *arg)
{
	int n = ut_count(100, 20);

	for (int round = 0; round < n; round++) {
		pthread_t t[2];
		long v;

		common = gs_chan_new(sizeof(long), 5);
		STORE(sent_sum, 0);
		STORE(received_sum, 0);
		both_ways(1, ALONE);
		for (intptr_t i = 0; i < 3; i++)
			gs_wg_go(&all, common_fiber, (void *)(i * 10000));
		for (intptr_t i = 0; i < 2; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, common_thread, (void *)(i * 20000)),
				 0);
		/* now and then alone for long enough again */
		both_ways(50000, round % 4 ? ALONE : 20 * ALONE);
		gs_wg_wait(&all);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(pthread_join(t[i], NULL), 0);
		while (gs_chan_try_recv(common, &v) == 1)
			ADD(received_sum, v);
		CHECK_EQ(LOAD(sent_sum), LOAD(received_sum));
		gs_chan_unref(common);
	}
}

/* no value is lost or taken twice when its owner and others meet there */
TEST(biased)
{
	RUN(biased_main, NULL);
}

TEST_HARNESS_MAIN
