// SPDX-License-Identifier: GPL-2.0
/*
 * A context: what SETUP makes of an open file.
 *
 * It lives as long as the file or one of its workers. The file lives as long
 * as a descriptor, a mapping or a system call on it does; a worker lives until
 * DETACH, the last sched_out of its thread, or exec. Each context pins the
 * module, for a worker may be the last to go, long after the file.
 *
 * The mm is only grabbed: its address is compared, never used.
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "gsched.h"

static void context_free(struct gsched_context *context)
{
	unsigned int i;

	gsched_tick_exit(context);
	for (i = 0; i < GSCHED_MAXCHUNKS && context->chunk[i]; i++) {
		gsched_shared_free(context->chunk[i]->slots);
		kfree(context->chunk[i]);
	}
	gsched_shared_free(context->head);
	gsched_user_uncharge(context->user);
	mmdrop(context->mm);
	mutex_destroy(&context->mutex);
	kfree(context);
	gsched_debug_contexts(-1);
	/* Each caller is held by the file operations or by the workqueue. */
	module_put(THIS_MODULE);
}

static void context_release(struct kref *ref)
{
	context_free(container_of(ref, struct gsched_context, ref));
}

/**
 * gsched_context_create() - a context for the calling process
 * @setup: what the caller asks for, checked
 *
 * Return: a context with one reference, or ERR_PTR().
 */
struct gsched_context *gsched_context_create(const struct gsched_setup *setup)
{
	struct gsched_context *context;
	int err = -ENOMEM;

	context = kzalloc(sizeof(*context), GFP_KERNEL_ACCOUNT);
	if (!context)
		return ERR_PTR(-ENOMEM);
	context->head = gsched_shared_alloc(GSCHED_HEAD_SIZE);
	if (!context->head)
		goto fail;
	context->user = gsched_user_charge();
	if (IS_ERR(context->user)) {
		err = PTR_ERR(context->user);
		goto fail;
	}
	kref_init(&context->ref);
	mutex_init(&context->mutex);
	raw_spin_lock_init(&context->lock);
	INIT_LIST_HEAD(&context->standbys);
	context->mm = current->mm;
	mmgrab(context->mm);
	context->tgid = current->tgid;
	context->header = context->head->addr;
	context->procs = context->head->addr + GSCHED_PROCS_OFFSET;
	context->trampoline = setup->trampoline;
	context->trampoline_size = setup->trampoline_size;
	context->slice_ns = setup->slice_ns;
	context->sigurg = setup->features & GSCHED_F_SIGURG;
	gsched_tick_init(context);
	gsched_proc_setup(context, setup->nproc);
	__module_get(THIS_MODULE);
	gsched_debug_contexts(1);
	return context;

fail:
	gsched_shared_free(context->head);
	kfree(context);
	return ERR_PTR(err);
}

void gsched_context_get(struct gsched_context *context)
{
	kref_get(&context->ref);
}

/* May free, so process context only. */
void gsched_context_put(struct gsched_context *context)
{
	kref_put(&context->ref, context_release);
}

/*
 * Does the caller belong to the process that did SETUP? A vfork child shares
 * the mm, another process that got the descriptor may share nothing.
 */
bool gsched_context_mine(const struct gsched_context *context)
{
	return current->mm == context->mm && current->tgid == context->tgid;
}

/**
 * gsched_context_worker() - find a worker by its index
 * @context: the context, locked
 * @id: any number from user space
 *
 * Return: the worker, good as long as the lock is held, or NULL.
 */
struct gsched_worker *gsched_context_worker(struct gsched_context *context, u32 id)
{
	struct gsched_chunk *chunk;

	lockdep_assert_held(&context->lock);
	if (id >= GSCHED_MAXWORKERS)
		return NULL;
	id = array_index_nospec(id, GSCHED_MAXWORKERS);
	/* Pairs with the release in worker.c:slot_get(). */
	chunk = smp_load_acquire(&context->chunk[id / GSCHED_CHUNK_SLOTS]);
	return chunk ? chunk->worker[id % GSCHED_CHUNK_SLOTS] : NULL;
}
