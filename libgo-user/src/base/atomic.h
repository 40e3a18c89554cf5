/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Atomics with the order in the name, so that it shows at the call.
 *
 * A relaxed access is for a word that some lock protects or whose value is only
 * a hint; acquire and release name their partner where they stand; gs_full_fence
 * is the store-load fence of a Dekker pair, and names the other side.
 */
#ifndef GS_BASE_ATOMIC_H
#define GS_BASE_ATOMIC_H

/* SAN=inject: a point where something comes in between (base/inject.h). */
#ifndef GS_INJECT
#define gs_inject() ((void)0)
#endif

#define gs_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define gs_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define gs_load_seq(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define gs_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define gs_store_release(p, v) (gs_inject(), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define gs_store_seq(p, v) (gs_inject(), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define gs_xchg_seq(p, v) (gs_inject(), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define gs_xchg_acquire(p, v) (gs_inject(), __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE))
#define gs_fetch_add_relaxed(p, v) (gs_inject(), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define gs_fetch_add_acq_rel(p, v) (gs_inject(), __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL))
#define gs_fetch_add_seq(p, v) (gs_inject(), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define gs_fetch_sub_relaxed(p, v) (gs_inject(), __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED))
#define gs_fetch_sub_release(p, v) (gs_inject(), __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE))
#define gs_fetch_sub_acq_rel(p, v) (gs_inject(), __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL))
#define gs_fetch_sub_seq(p, v) (gs_inject(), __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST))
#define gs_fetch_and_relaxed(p, v) (gs_inject(), __atomic_fetch_and((p), (v), __ATOMIC_RELAXED))
#define gs_fetch_or_seq(p, v) (gs_inject(), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))

/*
 * Compare-and-swap: true when *p was *old and now is v; else *old is updated, but (save
 * for _seq) without any order: load again before you conclude from it.
 */
#define gs_cas_seq(p, old, v)                                                                      \
	(gs_inject(),                                                                              \
	 __atomic_compare_exchange_n((p), (old), (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define gs_cas_acquire(p, old, v)                                                                  \
	(gs_inject(),                                                                              \
	 __atomic_compare_exchange_n((p), (old), (v), 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
#define gs_cas_release(p, old, v)                                                                  \
	(gs_inject(),                                                                              \
	 __atomic_compare_exchange_n((p), (old), (v), 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
#define gs_cas_acq_rel(p, old, v)                                                                  \
	(gs_inject(),                                                                              \
	 __atomic_compare_exchange_n((p), (old), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))

/*
 * gcc's TSan knows no fences, and refuses them under -Werror; a sequentially
 * consistent read-modify-write on a word of its own orders the same on every
 * machine TSan runs on.
 */
#if defined(__SANITIZE_THREAD__) || defined(GS_RACE)
#define GS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GS_ASAN 1
#endif
#endif

static inline void gs_full_fence(void)
{
	gs_inject();
#ifdef GS_TSAN
	int word = 0;

	(void)gs_fetch_add_seq(&word, 1);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* The same where an exchange or the like has just been made, which is one on x86. */
static inline void gs_full_fence_after_xchg(void)
{
#ifdef __x86_64__
	__asm__ volatile("" ::: "memory");
#else
	gs_full_fence();
#endif
}

/* Stores before it become visible before those after it: the writer of a seqcount. */
static inline void gs_store_fence(void)
{
#ifdef GS_TSAN
	gs_full_fence();
#else
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

#define gs_likely(x) __builtin_expect(!!(x), 1)
#define gs_unlikely(x) __builtin_expect(!!(x), 0)

#endif /* GS_BASE_ATOMIC_H */
