/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the backend on the module share: backend_kmod.c and kmod_*.c. */
#ifndef GS_KMOD_H
#define GS_KMOD_H

#include "backend.h"

/* In the module's signals: uapi, GSCHED_SI_ERRNO. */
#define GS_KMOD_SI_ERRNO 0x67736368

/* SIGURG is the module's from now on. 0, or -errno: then it must not be asked for. */
int gs_kmod_take_urg(void);

#endif /* GS_KMOD_H */
