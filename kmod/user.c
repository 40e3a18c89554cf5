// SPDX-License-Identifier: GPL-2.0
/*
 * How many contexts each user has. Their memory is charged to its cgroup and their
 * threads are limited like all others, but the tick of a context is an interrupt that is
 * charged to nobody: up to 10,000 a second for each.
 *
 * Whoever makes user namespaces can have any number of user ids in them: all of those are
 * charged to the owner of the outermost one. Who has CAP_SYS_RESOURCE has no limit.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>
#include "gsched.h"

static unsigned int max_contexts = 64;
module_param(max_contexts, uint, 0644);
MODULE_PARM_DESC(max_contexts, "open files after SETUP that a user may have");

/**
 * struct gsched_user - a user with contexts
 * @node: on the list
 * @uid: who
 * @contexts: how many
 */
struct gsched_user {
	struct list_head node;
	kuid_t uid;
	unsigned int contexts;
};

static DEFINE_SPINLOCK(lock);	/* for all here; others wait for it: nothing slow */
static LIST_HEAD(users);

static kuid_t payer(void)
{
	const struct user_namespace *ns = current_user_ns();

	if (ns == &init_user_ns)
		return current_uid();
	while (ns->parent != &init_user_ns)
		ns = ns->parent;
	return ns->owner;
}

static struct gsched_user *find(kuid_t uid)
{
	struct gsched_user *user;

	lockdep_assert_held(&lock);
	list_for_each_entry(user, &users, node)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/**
 * gsched_user_charge() - the calling user makes a context
 *
 * Return: for gsched_user_uncharge(); ERR_PTR(-EUSERS) if it has too many, -ENOMEM.
 */
struct gsched_user *gsched_user_charge(void)
{
	struct gsched_user *user, *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	unsigned int max = READ_ONCE(max_contexts);
	bool unlimited = false;

	if (!fresh)
		return ERR_PTR(-ENOMEM);
	fresh->uid = payer();
	for (;;) {
		spin_lock(&lock);
		user = find(fresh->uid);
		if (unlimited || (user ? user->contexts : 0) < max)
			break;
		spin_unlock(&lock);
		/* Asked only of who needs it: the audit log notes a refusal. */
		unlimited = capable(CAP_SYS_RESOURCE);
		if (!unlimited) {
			kfree(fresh);
			return ERR_PTR(-EUSERS);
		}
	}
	if (!user) {
		list_add(&fresh->node, &users);
		user = fresh;
		fresh = NULL;
	}
	user->contexts++;
	spin_unlock(&lock);
	kfree(fresh);
	return user;
}

/**
 * gsched_user_uncharge() - one of its contexts is gone
 * @user: from gsched_user_charge()
 */
void gsched_user_uncharge(struct gsched_user *user)
{
	bool last;

	spin_lock(&lock);
	last = !--user->contexts;
	if (last)
		list_del(&user->node);
	spin_unlock(&lock);
	if (last)
		kfree(user);
}
