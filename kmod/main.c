// SPDX-License-Identifier: GPL-2.0
/* The module comes and goes: init ladder and its mirror image. */
#include <linux/module.h>
#include "gsched.h"
#include "inject.h"

/* Frees workers that ended where nothing may sleep. */
struct workqueue_struct *gsched_wq;

static int __init start(void)
{
	int err;

	gsched_wq = alloc_workqueue("gsched", WQ_UNBOUND, 0);
	if (!gsched_wq)
		return -ENOMEM;
	err = gsched_notify_init();
	if (err)
		goto err_wq;
	gsched_debug_init();
	err = gsched_device_init();
	if (err)
		goto err_debug;
	return 0;

err_debug:
	gsched_debug_exit();
	gsched_notify_exit();
err_wq:
	destroy_workqueue(gsched_wq);
	return err;
}

static int __init gsched_init(void)
{
	int err;

	gsched_inject_start();
	err = start();
	gsched_inject_started();
	return err;
}

/*
 * Each context pins the module, so none is left here, nor any worker. What may
 * still run is the tail of the work that dropped the last reference:
 * destroy_workqueue() waits for it, after the device can make no new ones.
 */
static void __exit gsched_exit(void)
{
	gsched_device_exit();
	gsched_debug_exit();
	destroy_workqueue(gsched_wq);
	gsched_worker_exit();
	gsched_notify_exit();
}

module_init(gsched_init);
module_exit(gsched_exit);
MODULE_DESCRIPTION("Hands a thread's right to run on the moment it blocks");
MODULE_LICENSE("GPL");
