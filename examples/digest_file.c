/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking a tree and hashing a file, as any program would: fts(3), open(2), read(2) and
 * libcrypto, all of which block the thread they run on. Nothing here knows of fibers.
 */
#include "digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

char *next_file(FTS *tree, int *err)
{
	char *path = NULL;
	FTSENT *e;

	do {
		errno = 0;
		e = fts_read(tree);
		*err = e ? e->fts_errno : errno;
	} while (e && !*err && e->fts_info != FTS_F);
	if (e) {
		path = strdup(e->fts_path);
		if (!path)
			*err = ENOMEM;
	}
	return path;
}

static int hash_fd(int fd, struct file *f, EVP_MD_CTX *md, void *buf)
{
	ssize_t n;

	if (!EVP_DigestInit_ex(md, EVP_sha256(), NULL))
		return ENOMEM;
	for (f->size = 0; (n = read(fd, buf, BUFFER)) > 0; f->size += (size_t)n)
		if (!EVP_DigestUpdate(md, buf, (size_t)n))
			return EIO;
	if (n < 0)
		return errno;
	return EVP_DigestFinal_ex(md, f->sum, NULL) ? 0 : EIO;
}

int hash_file(struct file *f)
{
	int fd = open(f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int err = fd < 0 ? errno : ENOMEM;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	void *buf = malloc(BUFFER);

	if (fd >= 0 && md && buf)
		err = hash_fd(fd, f, md, buf);
	free(buf);
	EVP_MD_CTX_free(md);
	if (fd >= 0)
		close(fd);
	return err;
}
