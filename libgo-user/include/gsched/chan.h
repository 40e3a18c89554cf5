/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channels, untyped. Semantics are Go's:
 *
 *  - a nil channel (NULL) blocks for ever in send and receive;
 *  - a send on an unbuffered channel returns when the value has been received;
 *  - a receive from a closed channel gives what is left in the buffer, then zero
 *    and false;
 *  - a send on a closed channel, and closing twice, panics;
 *  - waiters are served first in, first out; close wakes every one of them.
 *
 * What happened before a send is seen after the receive of its value; the k-th
 * receive on a channel of capacity C happens before the send of element k + C
 * returns; a close happens before a receive that returns because of it.
 *
 * All calls may be made in a fiber and on an ordinary thread: (T). None may be made
 * in a signal handler. A call that would block panics between gs_nopreempt_begin and
 * gs_nopreempt_end.
 *
 * Channels are counted: gs_chan_new returns one reference, whoever stores a pointer
 * takes one more. A call in progress needs none of its own: the last reference may
 * go while others are still blocked on the channel. They wait on, in a select until
 * another case is ready, else for ever, since nobody is left to wake them.
 */
#ifndef GSCHED_CHAN_H
#define GSCHED_CHAN_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct gs_chan gs_chan;

/**
 * gs_chan_new - make a channel (T)
 * @elem_size: bytes of an element; 0 is fine: then only the fact is sent
 * @capacity: how many elements it holds before a send blocks; 0: unbuffered
 *
 * Return: a channel with one reference; NULL with errno EOVERFLOW when the sizes
 * multiply beyond the address space, or ENOMEM.
 */
gs_chan *gs_chan_new(size_t elem_size, size_t capacity);

/* One more reference; returns its argument. NULL is fine. (T) */
gs_chan *gs_chan_ref(gs_chan *c);

/*
 * One reference less; the last frees the channel, with what is in its buffer. It
 * does not close it. NULL is fine. (T)
 */
void gs_chan_unref(gs_chan *c);

/**
 * gs_chan_send - send a value (T)
 * @c: the channel; NULL blocks for ever
 * @elem: elem_size bytes, copied; NULL sends a zero value
 *
 * Blocks until a receiver takes the value or the buffer has room. Panics with "send
 * on closed channel" if the channel is, or becomes, closed.
 */
void gs_chan_send(gs_chan *c, const void *elem);

/**
 * gs_chan_recv - receive a value (T)
 * @c: the channel; NULL blocks for ever
 * @elem: gets the value; NULL if it is not wanted
 *
 * Return: true, or false when the channel is closed and drained; *elem is zeroed then.
 */
bool gs_chan_recv(gs_chan *c, void *elem);

/*
 * Send without blocking: 0, or -EAGAIN if it would block (always for NULL). Panics on
 * a closed channel as gs_chan_send. (T)
 */
int gs_chan_try_send(gs_chan *c, const void *elem);

/*
 * Receive without blocking: 1 a value; 0 closed and drained, *elem is zeroed; -EAGAIN
 * if it would block (always for NULL). elem may be NULL. (T)
 */
int gs_chan_try_recv(gs_chan *c, void *elem);

/**
 * gs_chan_close - no more values will be sent (T)
 *
 * Wakes every waiter: receivers get false, blocked senders panic. Panics with "close of
 * nil channel" or "close of closed channel".
 */
void gs_chan_close(gs_chan *c);

/* Elements in the buffer, a moment ago; the capacity. NULL: 0. (T) */
size_t gs_chan_len(const gs_chan *c);
size_t gs_chan_cap(const gs_chan *c);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif /* GSCHED_CHAN_H */
