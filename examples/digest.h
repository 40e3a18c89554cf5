/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What examples/digest is made of. */
#ifndef DIGEST_H
#define DIGEST_H

#include <fts.h>
#include <stddef.h>
#include <stdint.h>

struct file {
	char *path; /* the owner frees it */
	uint64_t size;
	unsigned char sum[32];
};

/* digest_file.c: ordinary blocking code, which knows nothing of fibers. */

/* The path of the next regular file, or of what made *err; to be freed. NULL at the end. */
char *next_file(FTS *tree, int *err);

/* Read f->path and fill in the rest. 0 or an errno. */
int hash_file(struct file *f);

/* digest_check.c: the result, compared with that of another program. */

/*
 * Print the files, sorted by path, on stdout; run sha256sum over the same and compare
 * byte for byte. 0, or 1 with the reason on stderr.
 */
int report(struct file *files, size_t n);

/* What the scheduler did, on stderr. */
void print_stats(int64_t elapsed_ns);

#endif /* DIGEST_H */
