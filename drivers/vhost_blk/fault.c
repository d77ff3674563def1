// SPDX-License-Identifier: GPL-2.0
/*
 * Fault points, where they are built in: which one is wanted, and who is dead. See fault.h.
 *
 *	/sys/kernel/debug/vhost_blk/
 *	  fault			SERIAL QUEUE STEP [NTH], or "off"; reading: what became of it
 *	  fault_steps		the steps there are
 *	insmod vhost_blk.ko 'fault="SERIAL QUEUE STEP [NTH]"'
 *
 * The engine knows a device by its serial number, which is its name unless it was given another.
 * The parameter is for steps of a recovery that happens while the module is inserted.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vhost_inflight.h>

#include "fault.h"

enum fault_state { FAULT_OFF, FAULT_ARMED, FAULT_FIRED };

struct fault {
	enum fault_state state;
	char serial[VINF_SERIAL_LEN + 1];
	u16 queue;
	enum fault_step step;
	unsigned int nth;
};

static DEFINE_SPINLOCK(fault_lock);
static struct fault fault;		/* fault_lock */
static struct fault_queue *fault_turns;	/* fault_lock: queues that somebody is at */
static unsigned int fault_nr_dead;	/* fault_lock to change */
static struct dentry *fault_dir;

static char *fault_param;
module_param_named(fault, fault_param, charp, 0444);
MODULE_PARM_DESC(fault, "die once: SERIAL QUEUE STEP [NTH], as in debugfs vhost_blk/fault");

static const char * const fault_states[] = {
	[FAULT_OFF] = "off", [FAULT_ARMED] = "armed", [FAULT_FIRED] = "fired",
};

static const char * const fault_layouts[] = { [FAULT_ANY] = "any", [FAULT_PACKED] = "packed" };

static const char * const fault_whens[] = {
	[FAULT_SERVE] = "serve", [FAULT_START] = "start", [FAULT_RECOVER] = "recover",
};

/* ---- in the engine ---- */

static struct fault_queue *fault_current(void)
{
	struct fault_queue *fq;

	lockdep_assert_held(&fault_lock);
	for (fq = fault_turns; fq && fq->task != current; fq = fq->next)
		;
	return fq;
}

static bool fault_wanted(const struct vinf_vq *vq, enum fault_step step)
{
	return fault.state == FAULT_ARMED && step == fault.step && vq->index == fault.queue &&
	       !strncmp(fault.serial, vq->limits->serial, VINF_SERIAL_LEN) && !--fault.nth;
}

void fault_here(enum fault_step step)
{
	struct fault_queue *fq;

	if (READ_ONCE(fault.state) != FAULT_ARMED)
		return;
	spin_lock(&fault_lock);
	fq = fault_current();
	if (fq && !fq->dead && fault_wanted(fq->vq, step)) {
		fq->dead = true;
		WRITE_ONCE(fault_nr_dead, fault_nr_dead + 1);
		WRITE_ONCE(fault.state, FAULT_FIRED);
		pr_info("queue %u of %s is dead: %s\n", fault.queue, fault.serial,
			fault_steps[step].name);
	}
	spin_unlock(&fault_lock);
}

bool fault_dead(void)
{
	struct fault_queue *fq;
	bool dead;

	if (!READ_ONCE(fault_nr_dead))
		return false;
	spin_lock(&fault_lock);
	fq = fault_current();
	dead = fq && fq->dead;
	spin_unlock(&fault_lock);
	return dead;
}

void fault_enter(struct fault_queue *fq, const struct vinf_vq *vq)
{
	fq->task = current;
	fq->vq = vq;
	spin_lock(&fault_lock);
	fq->next = fault_turns;
	fault_turns = fq;
	spin_unlock(&fault_lock);
}

void fault_leave(struct fault_queue *fq)
{
	struct fault_queue **at;

	spin_lock(&fault_lock);
	for (at = &fault_turns; *at != fq; at = &(*at)->next)
		;
	*at = fq->next;
	spin_unlock(&fault_lock);
}

void fault_forget(struct fault_queue *fq)
{
	spin_lock(&fault_lock);
	if (fq->dead)
		WRITE_ONCE(fault_nr_dead, fault_nr_dead - 1);
	fq->dead = false;
	spin_unlock(&fault_lock);
}

/* ---- what is wanted ---- */

static int fault_find(const char *name)
{
	int i;

	for (i = 0; i < FAULT_NR_STEPS; i++)
		if (!strcmp(fault_steps[i].name, name))
			return i;
	return -ENOENT;
}

static int fault_parse(int argc, char **argv, struct fault *f)
{
	int step;

	*f = (struct fault){ .nth = 1 };
	if (argc == 1 && !strcmp(argv[0], fault_states[FAULT_OFF]))
		return 0;
	if (argc < 3 || argc > 4) {
		pr_err("a fault is SERIAL QUEUE STEP [NTH], or off\n");
		return -EINVAL;
	}
	if (strscpy(f->serial, argv[0]) < 0) {
		pr_err("a fault's device is a serial number, which has at most %d characters\n",
		       VINF_SERIAL_LEN);
		return -EINVAL;
	}
	if (kstrtou16(argv[1], 0, &f->queue) || f->queue >= VINF_MAX_QUEUES) {
		pr_err("a fault's queue is a number below %d, not '%s'\n", VINF_MAX_QUEUES,
		       argv[1]);
		return -EINVAL;
	}
	step = fault_find(argv[2]);
	if (step < 0) {
		pr_err("there is no step '%s' to die at, see vhost_blk/fault_steps in debugfs\n",
		       argv[2]);
		return step;
	}
	if (argc == 4 && (kstrtouint(argv[3], 0, &f->nth) || !f->nth)) {
		pr_err("a fault may be the nth time, counted from 1, not '%s'\n", argv[3]);
		return -EINVAL;
	}
	f->step = step;
	f->state = FAULT_ARMED;
	return 0;
}

static int fault_set(const char *text)
{
	struct fault f;
	char **argv;
	int argc, ret;

	argv = argv_split(GFP_KERNEL, text, &argc);
	if (!argv)
		return -ENOMEM;
	ret = fault_parse(argc, argv, &f);
	argv_free(argv);
	if (ret)
		return ret;
	spin_lock(&fault_lock);
	fault = f;
	spin_unlock(&fault_lock);
	return 0;
}

static int fault_show(struct seq_file *m, void *v)
{
	struct fault f;

	spin_lock(&fault_lock);
	f = fault;
	spin_unlock(&fault_lock);
	seq_puts(m, fault_states[f.state]);
	if (f.state != FAULT_OFF)
		seq_printf(m, " %s %u %s", f.serial, f.queue, fault_steps[f.step].name);
	if (f.state == FAULT_ARMED)
		seq_printf(m, " %u", f.nth);
	seq_putc(m, '\n');
	return 0;
}

static ssize_t fault_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	char *text;
	int ret;

	if (len >= PAGE_SIZE)
		return -EINVAL;
	text = memdup_user_nul(from, len);
	if (IS_ERR(text))
		return PTR_ERR(text);
	ret = fault_set(text);
	kfree(text);
	return ret ?: len;
}

DEFINE_SHOW_STORE_ATTRIBUTE(fault);

static int fault_steps_show(struct seq_file *m, void *v)
{
	int i;

	for (i = 0; i < FAULT_NR_STEPS; i++) {
		const struct fault_row *s = &fault_steps[i];

		seq_printf(m, "%s %s %s: %s; %s\n", s->name, fault_layouts[s->layout],
			   fault_whens[s->when], s->done, s->left);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(fault_steps);

int __init fault_init(void)
{
	int ret = fault_param ? fault_set(fault_param) : 0;

	if (ret)
		return ret;
	fault_dir = debugfs_create_dir("vhost_blk", NULL);
	debugfs_create_file("fault", 0600, fault_dir, NULL, &fault_fops);
	debugfs_create_file("fault_steps", 0400, fault_dir, NULL, &fault_steps_fops);
	return 0;
}

void fault_exit(void)
{
	debugfs_remove(fault_dir);
}
