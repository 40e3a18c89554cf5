/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk USERS MICROSECONDS: a disk each of whose pages takes that long, its path on stdout;
 * ends when nobody reads that any more. See disk.h.
 */
#include <signal.h>
#include <stdlib.h>

#include "../selftests/slow_disk.h"
#include "disk.h"

_Static_assert(DISK_PAGES == SLOW_DISK_PAGES, "those who touch them count alike");

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc != 3)
		return 2;
	return slow_disk_serve(atol(argv[1]), atol(argv[2]), 1);
}
