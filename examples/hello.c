/* SPDX-License-Identifier: 0BSD */
/* A fiber blocks in a call of libc; the others go on. The program of README.md. */
#include <gsched.h>
#include <stdio.h>
#include <unistd.h>

static void nap(void *done)
{
	sleep(1); /* libc's own: it blocks this thread in the kernel */
	gs_chan_close(done);
}

static void hello(void *done)
{
	gs_go(nap, done);
	while (gs_select(GS_RECV(done, NULL), GS_AFTER(300 * 1000000)) == 1)
		puts("hello while it sleeps");
	puts("hello, it is awake");
}

int main(void)
{
	return gs_run(hello, gs_chan_new(0, 0)) != 0;
}
