// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/gsched: the only file that reads or writes user memory, and the one
 * that checks what comes from there. What a call means is told in
 * uapi/linux/gsched.h, what it does is in notify.c and proc.c.
 *
 * file->private_data is NULL until SETUP publishes a complete context there,
 * once; it stays until the file is released. So no lock is needed here.
 */
#include <linux/compat.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>
#include "compat.h"
#include "gsched.h"

#if !GSCHED_REDIRECT && !GSCHED_SIGURG
#error "gsched needs CONFIG_USER_RETURN_NOTIFIER (KVM selects it) or task_work_add()"
#endif

#define SLICE_MIN_NS	(100 * NSEC_PER_USEC)
#define SLICE_MAX_NS	(10 * NSEC_PER_SEC)

/* Both are read once by each SETUP: contexts that exist keep what they have. */
static unsigned int slice_us = 10000;
module_param(slice_us, uint, 0644);
MODULE_PARM_DESC(slice_us, "time slice in us where SETUP names none, 100 to 10000000");

static bool sigurg = !GSCHED_REDIRECT;
module_param(sigurg, bool, 0644);
MODULE_PARM_DESC(sigurg, "upcalls by SIGURG where the kernel has task_work_add() for modules");

static u64 features(void)
{
	bool signals = GSCHED_SIGURG && (!GSCHED_REDIRECT || READ_ONCE(sigurg));
	u64 upcall = signals ? GSCHED_F_SIGURG : GSCHED_F_UPCALL;

	return GSCHED_F_HANDOFF | GSCHED_F_TICK | upcall;
}

static struct gsched_context *file_context(struct file *file)
{
	/* Pairs with the cmpxchg in publish(). */
	return smp_load_acquire(&file->private_data);
}

/* The context, if it exists and is the caller's; else ERR_PTR(). */
static struct gsched_context *my_context(struct file *file)
{
	struct gsched_context *context = file_context(file);

	if (!context)
		return ERR_PTR(-ENXIO);
	if (!gsched_context_mine(context))
		return ERR_PTR(-EPERM);
	return context;
}

static bool publish(struct file *file, struct gsched_context *context)
{
	return !cmpxchg(&file->private_data, NULL, context);
}

/* Answers in @setup whatever the result, so that the caller can adapt. */
static int check_setup(struct gsched_setup *setup)
{
	u32 major = setup->abi_major;
	u64 wanted = setup->features;

	setup->abi_major = GSCHED_ABI_MAJOR;
	setup->abi_minor = GSCHED_ABI_MINOR;
	if (major != GSCHED_ABI_MAJOR)
		return -EPROTO;
	if (setup->size != sizeof(*setup) || setup->nproc < 1 ||
	    setup->nproc > GSCHED_MAXPROCS || setup->trampoline >= TASK_SIZE_MAX ||
	    setup->trampoline_size >= TASK_SIZE_MAX - setup->trampoline ||
	    memchr_inv(setup->_pad, 0, sizeof(setup->_pad)))
		return -EINVAL;
	setup->features = features();
	if (wanted & ~setup->features)
		return -EOPNOTSUPP;
	/* Signals are for those who asked for them, and have a handler. */
	if (setup->features & ~wanted & GSCHED_F_SIGURG)
		setup->trampoline = 0;
	if (!setup->slice_ns)
		setup->slice_ns = (u64)READ_ONCE(slice_us) * NSEC_PER_USEC;
	setup->slice_ns = clamp_t(u64, setup->slice_ns, SLICE_MIN_NS, SLICE_MAX_NS);
	return 0;
}

static long do_setup(struct file *file, struct gsched_setup __user *arg)
{
	struct gsched_context *context = file_context(file);
	struct gsched_setup setup;
	int err;

	if (context)
		return gsched_context_mine(context) ? -EBUSY : -EPERM;
	if (copy_from_user(&setup, arg, sizeof(setup)))
		return -EFAULT;
	err = check_setup(&setup);
	if (err && err != -EPROTO && err != -EOPNOTSUPP)
		return err;
	if (!err) {
		context = gsched_context_create(&setup);
		if (IS_ERR(context))
			return PTR_ERR(context);
	}
	if (copy_to_user(arg, &setup, sizeof(setup)))
		err = -EFAULT;
	/* Or another thread was faster. */
	if (!err && !publish(file, context))
		err = -EBUSY;
	if (err && context)
		gsched_context_put(context);
	return err;
}

static long do_park(struct gsched_worker *worker, const struct gsched_park __user *arg,
		    bool to)
{
	struct gsched_park park;

	if (copy_from_user(&park, arg, sizeof(park)))
		return -EFAULT;
	if (park.flags & ~GSCHED_PARK_BOUND)
		return -EINVAL;
	if (to ? park.target >= GSCHED_MAXWORKERS : park.target != 0)
		return -EINVAL;
	return gsched_proc_park(worker, to ? (int)park.target : GSCHED_NONE,
				park.flags & GSCHED_PARK_BOUND, park.deadline);
}

static long do_unpark(struct gsched_context *context, const struct gsched_unpark __user *arg)
{
	struct gsched_unpark unpark;

	if (copy_from_user(&unpark, arg, sizeof(unpark)))
		return -EFAULT;
	switch (unpark.flags) {
	case GSCHED_UNPARK_ANY:
		return unpark.target ? -EINVAL : gsched_proc_unpark_any(context);
	case GSCHED_UNPARK_PROC:
		return gsched_proc_unpark_proc(context, unpark.target);
	case GSCHED_UNPARK_WORKER:
		if (unpark.target >= GSCHED_MAXWORKERS)
			return -EINVAL;
		return gsched_proc_unpark_worker(context, unpark.target);
	default:
		return -EINVAL;
	}
}

static long do_kick(struct gsched_context *context, unsigned long proc)
{
	if (proc >= GSCHED_MAXPROCS)
		return -EINVAL;
	gsched_tick_kick(context, array_index_nospec(proc, GSCHED_MAXPROCS));
	return 0;
}

static long do_set_procs(struct gsched_context *context, unsigned long nproc)
{
	if (nproc < 1 || nproc > GSCHED_MAXPROCS)
		return -EINVAL;
	return gsched_proc_resize(context, nproc);
}

/* The calls that any thread of the process may make, else -ENOTTY. */
static long context_ioctl(struct gsched_context *context, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case GSCHED_IOC_ATTACH:
		return gsched_notify_attach(context);
	case GSCHED_IOC_UNPARK:
		return do_unpark(context, (void __user *)arg);
	case GSCHED_IOC_SET_PROCS:
		return do_set_procs(context, arg);
	case GSCHED_IOC_KICK:
		return do_kick(context, arg);
	case GSCHED_IOC_TICK:
		gsched_tick_start(context);
		return 0;
	default:
		return -ENOTTY;
	}
}

/* The calls of a worker, else -ENOTTY. */
static long worker_ioctl(struct gsched_worker *worker, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case GSCHED_IOC_PARK:
		return do_park(worker, (void __user *)arg, false);
	case GSCHED_IOC_PARK_TO:
		return do_park(worker, (void __user *)arg, true);
	case GSCHED_IOC_ACQUIRE:
		return gsched_proc_acquire(worker);
	case GSCHED_IOC_DETACH:
		gsched_notify_detach(worker);
		return 0;
	default:
		return -ENOTTY;
	}
}

static bool for_workers(unsigned int cmd)
{
	return cmd == GSCHED_IOC_PARK || cmd == GSCHED_IOC_PARK_TO ||
	       cmd == GSCHED_IOC_ACQUIRE || cmd == GSCHED_IOC_DETACH;
}

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct gsched_context *context;
	struct gsched_worker *worker;

	if (_IOC_TYPE(cmd) != GSCHED_IOC_MAGIC)
		return -ENOTTY;
	if (cmd == GSCHED_IOC_SETUP)
		return do_setup(file, (void __user *)arg);
	context = my_context(file);
	if (IS_ERR(context))
		return PTR_ERR(context);
	if (!for_workers(cmd))
		return context_ioctl(context, cmd, arg);
	worker = gsched_notify_current();
	if (!worker || worker->context != context)
		return -ESRCH;
	return worker_ioctl(worker, cmd, arg);
}

static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct gsched_context *context = my_context(file);

	return IS_ERR(context) ? PTR_ERR(context) : gsched_shared_mmap(context, vma);
}

/* misc_open() left a pointer of its own. */
static int device_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

/* For each descriptor that is closed, also by exec. */
static int device_flush(struct file *file, fl_owner_t id)
{
	struct gsched_context *context = file_context(file);

	if (context)
		gsched_notify_close(context);
	return 0;
}

/* For the last descriptor or mapping. Workers may go on for a while. */
static int device_release(struct inode *inode, struct file *file)
{
	struct gsched_context *context = file_context(file);

	if (context)
		gsched_context_put(context);
	return 0;
}

static void device_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct gsched_context *context = file_context(file);

	if (context)
		gsched_debug_fdinfo(m, context);
}

static const struct file_operations device_fops = {
	.owner		= THIS_MODULE,
	.open		= device_open,
	.flush		= device_flush,
	.release	= device_release,
	.unlocked_ioctl	= device_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= device_mmap,
	.show_fdinfo	= device_show_fdinfo,
	.llseek		= noop_llseek,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "gsched",
	.fops	= &device_fops,
	.mode	= 0660,
};

int gsched_device_init(void)
{
	return misc_register(&device);
}

void gsched_device_exit(void)
{
	misc_deregister(&device);
}

MODULE_ALIAS("devname:gsched");
