/* SPDX-License-Identifier: 0BSD */
/*
 * pingpong [N]: a number goes to and fro between two fibers N times over two unbuffered
 * channels, one more at each turn. Prints what one hand-over took.
 */
#include <gsched.h>
#include <stdio.h>
#include <stdlib.h>

struct table {
	gs_chan_of(long) ping, pong;
	long rounds;
};

static void ponger(void *arg)
{
	struct table *t = arg;

	gs_range(ball, t->ping)
		gs_send(t->pong, ball + 1);
	gs_close(t->pong);
}

static void pinger(void *arg)
{
	struct table *t = arg;
	int64_t begin = gs_now();
	long ball = 0;

	gs_go(ponger, t);
	for (long i = 0; i < t->rounds; i++) {
		gs_send(t->ping, ball);
		gs_recv(t->pong, &ball);
	}
	gs_close(t->ping);
	while (gs_recv(t->pong, NULL))
		; /* until ponger has said goodbye: then nobody uses t any more */
	printf("%ld rounds, the ball says %ld, %ld ns a hand-over\n", t->rounds, ball,
	       (long)((gs_now() - begin) / (2 * t->rounds)));
}

int main(int argc, char **argv)
{
	struct table t = {
		.ping = gs_make(long, 0),
		.pong = gs_make(long, 0),
		.rounds = argc > 1 ? atol(argv[1]) : 100000,
	};
	int err = 1;

	if (t.rounds < 1)
		fprintf(stderr, "usage: pingpong [rounds]\n");
	else if (t.ping && t.pong)
		err = gs_run(pinger, &t);
	gs_free(t.ping);
	gs_free(t.pong);
	return err != 0;
}
