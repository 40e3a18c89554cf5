// SPDX-License-Identifier: GPL-2.0
/*
 * Delays at one of the points of inject.h.
 *
 *	echo "NAME[,NAME...] US" >/sys/kernel/debug/gsched/inject
 *
 * takes up to so many microseconds at each passage of these points from then on; "none 0" ends
 * that. Reading gives a line for each point: its name, and how often it was passed with a
 * delay since it was chosen.
 *
 * And the failures of the module's own start, apart from those of the kernel's loader, which
 * does not take all of its own without a warning: fail_start=N when it is loaded; read
 * afterwards, how many allocations more there would have had to be, 0 if one failed.
 */
#ifdef GSCHED_INJECT
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "inject.h"

/* It is waited with interrupts off, and under locks. */
#define MAX_US	1000

static const char * const names[GSCHED_NR_POINTS] = {
	[GSCHED_POINT_NONE]	= "none",
	[GSCHED_POINT_PARK]	= "park",
	[GSCHED_POINT_WAIT]	= "wait",
	[GSCHED_POINT_HANDOFF]	= "handoff",
	[GSCHED_POINT_LOOK]	= "look",
	[GSCHED_POINT_WAKE]	= "wake",
	[GSCHED_POINT_LEAVE]	= "leave",
	[GSCHED_POINT_FREE]	= "free",
	[GSCHED_POINT_KICK]	= "kick",
	[GSCHED_POINT_FLAG]	= "flag",
	[GSCHED_POINT_IN]	= "in",
	[GSCHED_POINT_RETURN]	= "return",
	[GSCHED_POINT_TELL]	= "tell",
	[GSCHED_POINT_REST]	= "rest",
	[GSCHED_POINT_TICK]	= "tick",
	[GSCHED_POINT_DETACH]	= "detach",
	[GSCHED_POINT_ORPHAN]	= "orphan",
};

static uint fail_start;
module_param(fail_start, uint, 0444);
MODULE_PARM_DESC(fail_start, "the allocation of the module's start that fails, 0 none");

/* Both are read without a lock: a passage may take the old pair or a mixed one. */
static unsigned int chosen; /* bits */
static unsigned int delay_us;
static atomic_t passed[GSCHED_NR_POINTS];

/**
 * gsched_inject() - a passage of a point
 * @point: which
 *
 * Any context. A quarter of the passages are not delayed, and the delays differ: what is
 * slow each time the same way races with nobody.
 */
void gsched_inject(enum gsched_point point)
{
	u32 random;

	if (likely(!(READ_ONCE(chosen) & BIT(point))))
		return;
	random = hash_64(local_clock() + (unsigned long)&random, 32);
	if (random % 4)
		udelay((random >> 8) % (READ_ONCE(delay_us) + 1));
	atomic_inc(&passed[point]);
}

static int inject_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	for (i = GSCHED_POINT_NONE + 1; i < GSCHED_NR_POINTS; i++)
		seq_printf(m, "%s %d\n", names[i], atomic_read(&passed[i]));
	return 0;
}

static ssize_t inject_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	char text[64], list[48], *names_left = list, *name;
	unsigned int us, set = 0;
	int point;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	text[size] = '\0';
	if (sscanf(text, "%47s %u", list, &us) != 2 || us > MAX_US)
		return -EINVAL;
	while ((name = strsep(&names_left, ","))) {
		point = match_string(names, GSCHED_NR_POINTS, name);
		if (point < 0)
			return point;
		if (point != GSCHED_POINT_NONE)
			set |= BIT(point);
	}
	for (point = 0; point < GSCHED_NR_POINTS; point++)
		if (set & BIT(point))
			atomic_set(&passed[point], 0);
	WRITE_ONCE(delay_us, us);
	WRITE_ONCE(chosen, set);
	return size;
}

static int inject_open(struct inode *inode, struct file *file)
{
	return single_open(file, inject_show, NULL);
}

static const struct file_operations inject_fops = {
	.owner = THIS_MODULE,
	.open = inject_open,
	.read = seq_read,
	.write = inject_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/**
 * gsched_inject_start() - the module's start begins: its failures, too
 */
void gsched_inject_start(void)
{
	current->fail_nth = fail_start;
}

/**
 * gsched_inject_started() - it is at its end, good or bad
 */
void gsched_inject_started(void)
{
	fail_start = current->fail_nth;
	current->fail_nth = 0;
}

/**
 * gsched_inject_init() - the file to choose a point by
 * @dir: where
 */
void gsched_inject_init(struct dentry *dir)
{
	debugfs_create_file("inject", 0600, dir, NULL, &inject_fops);
}
#endif /* GSCHED_INJECT */
