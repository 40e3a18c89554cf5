/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The backend on /dev/gsched: each call is one ioctl, the protocol is the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/gsched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "backend.h"
#include "base/lock.h"
#include "base/syscall.h"
#include "kmod.h"
#include "redirect.h"
#include "sigwrap.h"

#define SAME(ours, theirs, field)                                                                  \
	_Static_assert(offsetof(struct ours, field) == offsetof(struct theirs, field),             \
		       "backend.h has the layout of the uapi")

SAME(gs_header, gsched_header, nproc);
SAME(gs_header, gsched_header, procs_used);
SAME(gs_header, gsched_header, idle);
SAME(gs_header, gsched_header, standby);
SAME(gs_header, gsched_header, workers);
SAME(gs_header, gsched_header, ticking);
SAME(gs_header, gsched_header, spinning);
SAME(gs_header, gsched_header, global_len);
SAME(gs_header, gsched_header, express_len);
SAME(gs_header, gsched_header, poll_until);
SAME(gs_header, gsched_header, reserve);
SAME(gs_header, gsched_header, bound_runnable);
SAME(gs_line, gsched_proc, owner);
SAME(gs_line, gsched_proc, tick);
SAME(gs_line, gsched_proc, head);
SAME(gs_line, gsched_proc, tail);
SAME(gs_line, gsched_proc, runnext);
SAME(gs_line, gsched_proc, deadline);
SAME(gs_slot, gsched_slot, depth);
SAME(gs_slot, gsched_slot, pending);
SAME(gs_slot, gsched_slot, ip);
SAME(gs_slot, gsched_slot, proc);
SAME(gs_slot, gsched_slot, reason);
SAME(gs_slot, gsched_slot, blocks);
SAME(gs_slot, gsched_slot, handoffs);
SAME(gs_slot, gsched_slot, returns);
SAME(gs_slot, gsched_slot, lost);
SAME(gs_slot, gsched_slot, depth_blocks);
SAME(gs_slot, gsched_slot, grants);
SAME(gs_slot, gsched_slot, upcalls);
SAME(gs_slot, gsched_slot, refusals);
_Static_assert(offsetof(struct gs_slot, tls) == offsetof(struct gsched_slot, user), "user words");
_Static_assert(sizeof(struct gs_line) == sizeof(struct gsched_proc), "line");
_Static_assert(sizeof(struct gs_slot) == sizeof(struct gsched_slot), "slot");
_Static_assert(GS_MAXPROCS == GSCHED_MAXPROCS, "procs");
_Static_assert(GS_GRANT_SPIN == GSCHED_GRANT_SPIN, "grant");
_Static_assert(GS_GRANT_PROC == GSCHED_GRANT_PROC, "grant");
_Static_assert(GS_RETIRED == GSCHED_RETIRED, "owner word");
_Static_assert(GS_PENDING_LOST == GSCHED_LOST, "reason bits");
_Static_assert(GS_PENDING_PREEMPT == GSCHED_PREEMPT, "reason bits");
_Static_assert(GS_KMOD_SI_ERRNO == GSCHED_SI_ERRNO, "whose signal");

#define CHUNKS (GSCHED_MAXWORKERS / GSCHED_CHUNK_SLOTS)

static int dev = -1;
static bool by_signal; /* written once: upcalls are made by SIGURG */
static bool upcalls;   /* written once: by whatever */
static struct gs_lock chunk_lock;
static struct gs_slot *chunks[CHUNKS]; /* chunk_lock */

static long call(unsigned long nr, const void *arg)
{
	return gs_syscall3(SYS_ioctl, dev, nr, arg);
}

/*
 * Upcalls by redirect if the module can, else by SIGURG, else none: then slot.pending tells
 * what it can. `setup` comes back with what there is.
 */
static long set_up(struct gsched_setup *setup)
{
	const struct gsched_setup wanted = *setup;
	long r;

	setup->features |= wanted.trampoline ? GSCHED_F_UPCALL : 0;
	r = call(GSCHED_IOC_SETUP, setup);
	if (r != -EOPNOTSUPP || !wanted.trampoline)
		return r;
	by_signal = (setup->features & GSCHED_F_SIGURG) && gs_kmod_take_urg() == 0;
	*setup = wanted;
	if (by_signal)
		setup->features |= GSCHED_F_SIGURG;
	else
		setup->trampoline = setup->trampoline_size = 0;
	return call(GSCHED_IOC_SETUP, setup);
}

static int kmod_init(int nproc, const struct gs_upcall_setup *upcall, const char **why)
{
	struct gsched_setup setup = {
		.size = sizeof(setup),
		.abi_major = GSCHED_ABI_MAJOR,
		.nproc = (uint32_t)nproc,
		.features = GSCHED_F_HANDOFF,
		.trampoline = upcall->entry,
		.trampoline_size = upcall->size,
		.slice_ns = (uint64_t)upcall->slice_ns,
	};
	char *head;
	long r;

	dev = (int)gs_syscall6(SYS_openat, AT_FDCWD, (long)"/dev/gsched", O_RDWR | O_CLOEXEC, 0, 0,
			       0);
	if (dev < 0) {
		r = dev;
		*why = r == -ENOENT   ? "/dev/gsched: the gsched module is not loaded"
		       : r == -EACCES ? "/dev/gsched: permission denied (join the group gsched)"
				      : "/dev/gsched: cannot be opened";
		return (int)r;
	}
	r = set_up(&setup);
	if (r) {
		*why = r == -EPROTO	  ? "/dev/gsched: the module speaks another ABI version"
		       : r == -EOPNOTSUPP ? "/dev/gsched: the module lacks a feature"
					  : "/dev/gsched: SETUP failed";
		goto fail;
	}
	r = gs_syscall6(SYS_mmap, 0, GSCHED_HEAD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, dev,
			GSCHED_OFF_HEAD);
	if (r < 0 && r > -4096) {
		*why = "/dev/gsched: the shared area cannot be mapped";
		goto fail;
	}
	head = (char *)r;
	gs_hdr = (struct gs_header *)head;
	gs_lines = (struct gs_line *)(head + GSCHED_PROCS_OFFSET);
	if (!by_signal)
		gs_sig_mind_urg();
	upcalls = setup.trampoline;
	*why = by_signal ? ", fibers are interrupted by SIGURG" : "";
	return 0;
fail:
	gs_syscall3(SYS_close, dev, 0, 0);
	dev = -1;
	return (int)r;
}

static bool kmod_interrupts(void)
{
	return upcalls;
}

static struct gs_slot *chunk_of(uint32_t n)
{
	struct gs_slot *c;

	gs_lock_acquire(&chunk_lock);
	if (!chunks[n]) {
		long p = gs_syscall6(SYS_mmap, 0, GSCHED_CHUNK_SIZE, PROT_READ | PROT_WRITE,
				     MAP_SHARED, dev, GSCHED_OFF_CHUNK(n));

		if (p > 0 || p <= -4096)
			chunks[n] = (struct gs_slot *)p;
	}
	c = chunks[n];
	gs_lock_release(&chunk_lock);
	return c;
}

static struct gs_slot *kmod_attach(uint32_t *id, int *err)
{
	long r = call(GSCHED_IOC_ATTACH, NULL);
	struct gs_slot *c;

	if (r < 0) {
		*err = (int)r;
		return NULL;
	}
	c = chunk_of((uint32_t)r / GSCHED_CHUNK_SLOTS);
	if (!c) {
		call(GSCHED_IOC_DETACH, NULL);
		*err = -ENOMEM;
		return NULL;
	}
	*id = (uint32_t)r;
	return c + r % GSCHED_CHUNK_SLOTS;
}

static void kmod_detach(struct gs_slot *slot)
{
	(void)slot;
	call(GSCHED_IOC_DETACH, NULL);
}

static int kmod_park(struct gs_slot *slot, int64_t deadline, bool bound)
{
	struct gsched_park park = {
		.deadline = (uint64_t)deadline,
		.flags = bound ? GSCHED_PARK_BOUND : 0,
	};

	(void)slot;
	return (int)call(GSCHED_IOC_PARK, &park);
}

static int kmod_park_to(struct gs_slot *slot, uint32_t to, int64_t deadline, bool bound)
{
	struct gsched_park park = {
		.deadline = (uint64_t)deadline,
		.flags = bound ? GSCHED_PARK_BOUND : 0,
		.target = to,
	};

	(void)slot;
	return (int)call(GSCHED_IOC_PARK_TO, &park);
}

static int kmod_acquire(struct gs_slot *slot)
{
	(void)slot;
	return (int)call(GSCHED_IOC_ACQUIRE, NULL);
}

static int kmod_unpark_any(void)
{
	static const struct gsched_unpark any = {.flags = GSCHED_UNPARK_ANY};

	return (int)call(GSCHED_IOC_UNPARK, &any);
}

static int kmod_unpark_worker(uint32_t to)
{
	struct gsched_unpark worker = {.flags = GSCHED_UNPARK_WORKER, .target = to};

	return (int)call(GSCHED_IOC_UNPARK, &worker);
}

static void kmod_tick(void)
{
	call(GSCHED_IOC_TICK, NULL);
}

static void kmod_kick(uint32_t proc)
{
	call(GSCHED_IOC_KICK, (void *)(uintptr_t)proc);
}

static int kmod_set_procs(int n)
{
	return (int)call(GSCHED_IOC_SET_PROCS, (void *)(intptr_t)n);
}

/* The rest is in fdinfo. */
static void kmod_counts(struct gs_backend_counts *c)
{
	c->interrupted = gs_load_relaxed(&gs_redirect_interrupted);
}

const struct gs_backend gs_backend_kmod = {
	.name = "kmod",
	.init = kmod_init,
	.interrupts = kmod_interrupts,
	.attach = kmod_attach,
	.detach = kmod_detach,
	.park = kmod_park,
	.park_to = kmod_park_to,
	.acquire = kmod_acquire,
	.unpark_any = kmod_unpark_any,
	.unpark_worker = kmod_unpark_worker,
	.tick = kmod_tick,
	.kick = kmod_kick,
	.set_procs = kmod_set_procs,
	.counts = kmod_counts,
};
