// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/config/vhost_blk/NAME: what a device is to be, until `enable` makes it one.
 *
 * Attributes are a table: a row of VINF_CONF_UINT or VINF_CONF_BOOL names a field of struct
 * vinf_params, its range, and nothing else.  All of them are -EBUSY to write while the device is
 * enabled, because it has a copy.
 */
#include <linux/configfs.h>
#include <linux/ctype.h>
#include <linux/kstrtox.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "vinf.h"

/**
 * struct vinf_conf - one directory
 * @item: the directory
 * @lock: outermost, protects the rest
 * @p: what the attributes say; the path is an allocation or NULL
 * @dev: the device while it is enabled; the directory cannot be removed as long
 */
struct vinf_conf {
	struct config_item item;
	struct mutex lock;	/* outermost */
	struct vinf_params p;
	struct vinf_dev *dev;
};

static struct configfs_subsystem vinf_subsys;

static struct vinf_conf *vinf_conf(struct config_item *item)
{
	return container_of(item, struct vinf_conf, item);
}

static bool vinf_any(u32 val)
{
	return true;
}

static bool vinf_pow2(u32 val)
{
	return is_power_of_2(val);
}

static bool vinf_block_size(u32 val)
{
	return !val || (is_power_of_2(val) && val >= SECTOR_SIZE);
}

/*
 * Return: 0 and the number; -EINVAL when it is none, out of range or not @ok.
 */
static int vinf_parse(const char *page, u32 min, u32 max, bool (*ok)(u32 val), u32 *val)
{
	if (kstrtou32(page, 0, val) || *val < min || *val > max || !ok(*val))
		return -EINVAL;
	return 0;
}

#define VINF_CONF_SHOW(_name)									\
static ssize_t vinf_conf_##_name##_show(struct config_item *item, char *page)			\
{												\
	return sysfs_emit(page, "%u\n", READ_ONCE(vinf_conf(item)->p._name));			\
}

/* A number in a range for which @_ok holds. */
#define VINF_CONF_UINT(_name, _min, _max, _ok)							\
VINF_CONF_SHOW(_name)										\
static ssize_t vinf_conf_##_name##_store(struct config_item *item, const char *page,		\
					 size_t len)						\
{												\
	struct vinf_conf *conf = vinf_conf(item);						\
	u32 val;										\
	int ret;										\
												\
	ret = vinf_parse(page, _min, _max, _ok, &val);						\
	if (ret)										\
		return ret;									\
	guard(mutex)(&conf->lock);								\
	if (conf->dev)										\
		return -EBUSY;									\
	WRITE_ONCE(conf->p._name, val);								\
	return len;										\
}												\
CONFIGFS_ATTR(vinf_conf_, _name)

#define VINF_CONF_BOOL(_name)	VINF_CONF_UINT(_name, 0, 1, vinf_any)

VINF_CONF_BOOL(read_only);
VINF_CONF_BOOL(indirect_desc);
VINF_CONF_BOOL(event_idx);
VINF_CONF_BOOL(packed);
VINF_CONF_BOOL(in_order);
VINF_CONF_BOOL(partial_order);
VINF_CONF_BOOL(discard);
VINF_CONF_BOOL(suspend);
VINF_CONF_BOOL(pin_memory);
VINF_CONF_UINT(num_queues, 1, VINF_MAX_QUEUES, vinf_any);
VINF_CONF_UINT(queue_size, 2, VINF_MAX_QUEUE_SIZE, vinf_pow2);
VINF_CONF_UINT(logical_block_size, 0, SZ_4K, vinf_block_size);

/* The attributes that are more than a number, or more than remembered. */

static ssize_t vinf_conf_path_show(struct config_item *item, char *page)
{
	struct vinf_conf *conf = vinf_conf(item);

	guard(mutex)(&conf->lock);
	return sysfs_emit(page, "%s\n", conf->p.path ?: "");
}

static ssize_t vinf_conf_path_store(struct config_item *item, const char *page, size_t len)
{
	struct vinf_conf *conf = vinf_conf(item);
	char *path;

	path = kstrndup(page, len, GFP_KERNEL);
	if (!path)
		return -ENOMEM;
	/* Only the newline that echo adds: a name may well end in a space. */
	path[strcspn(path, "\n")] = '\0';
	guard(mutex)(&conf->lock);
	if (conf->dev) {
		kfree(path);
		return -EBUSY;
	}
	kfree(conf->p.path);
	conf->p.path = path;
	return len;
}

CONFIGFS_ATTR(vinf_conf_, path);

static ssize_t vinf_conf_serial_show(struct config_item *item, char *page)
{
	struct vinf_conf *conf = vinf_conf(item);

	guard(mutex)(&conf->lock);
	return sysfs_emit(page, "%s\n", conf->p.serial);
}

static ssize_t vinf_conf_serial_store(struct config_item *item, const char *page, size_t len)
{
	struct vinf_conf *conf = vinf_conf(item);
	size_t n = strcspn(page, "\n"), i;

	if (n > VINF_SERIAL_LEN || (page[n] && page[n + 1]))
		return -EINVAL;
	for (i = 0; i < n; i++)
		if (!isascii(page[i]) || !isprint(page[i]))
			return -EINVAL;
	guard(mutex)(&conf->lock);
	if (conf->dev)
		return -EBUSY;
	memset(conf->p.serial, 0, sizeof(conf->p.serial));
	memcpy(conf->p.serial, page, n);
	return len;
}

CONFIGFS_ATTR(vinf_conf_, serial);

/* May change while the device is enabled: @apply has it count there. */
static ssize_t vinf_conf_live(struct vinf_conf *conf, u32 *field, u32 val, size_t len,
			      void (*apply)(struct vinf_dev *dev, const struct vinf_params *p))
{
	guard(mutex)(&conf->lock);
	WRITE_ONCE(*field, val);
	if (conf->dev)
		apply(conf->dev, &conf->p);
	return len;
}

/* A number from 0 on. */
#define VINF_CONF_LIVE(_name, _max, _apply)							\
VINF_CONF_SHOW(_name)										\
static ssize_t vinf_conf_##_name##_store(struct config_item *item, const char *page,		\
					 size_t len)						\
{												\
	struct vinf_conf *conf = vinf_conf(item);						\
	u32 val;										\
	int ret;										\
												\
	ret = vinf_parse(page, 0, _max, vinf_any, &val);					\
	return ret ?: vinf_conf_live(conf, &conf->p._name, val, len, _apply);			\
}												\
CONFIGFS_ATTR(vinf_conf_, _name)

/* Whoever finds out that a drain should have a bound has it running. */
static void vinf_apply_drain_timeout(struct vinf_dev *dev, const struct vinf_params *p)
{
	WRITE_ONCE(dev->drain_timeout_ms, p->drain_timeout_ms);
	wake_up_all(&dev->idle_wait);
}

/*
 * What they are good for shows under load.  A worker that polls looks at poll_us all the time, and
 * every worker at sched_batch before it sleeps.
 */
static void vinf_apply_worker(struct vinf_dev *dev, const struct vinf_params *p)
{
	WRITE_ONCE(dev->poll_us, p->poll_us);
	WRITE_ONCE(dev->sched_batch, p->sched_batch);
}

VINF_CONF_LIVE(drain_timeout_ms, INT_MAX, vinf_apply_drain_timeout);
VINF_CONF_LIVE(poll_us, VINF_MAX_POLL_US, vinf_apply_worker);
VINF_CONF_LIVE(sched_batch, 1, vinf_apply_worker);

/* What to do with requests that the disk fails; live as well: that is when it is thought of. */

static const char * const vinf_on_error_names[] = {
	[VHOST_INFLIGHT_ON_ERROR_REPORT]	= "report",
	[VHOST_INFLIGHT_ON_ERROR_PARK_ENOSPC]	= "park-enospc",
	[VHOST_INFLIGHT_ON_ERROR_PARK]		= "park",
};

#define VINF_CONF_ON_ERROR(_name)								\
static ssize_t vinf_conf_##_name##_show(struct config_item *item, char *page)			\
{												\
	return sysfs_emit(page, "%s\n",								\
			  vinf_on_error_names[READ_ONCE(vinf_conf(item)->p._name)]);		\
}												\
												\
static ssize_t vinf_conf_##_name##_store(struct config_item *item, const char *page,		\
					 size_t len)						\
{												\
	struct vinf_conf *conf = vinf_conf(item);						\
	int val = sysfs_match_string(vinf_on_error_names, page);				\
												\
	return val < 0 ? val :									\
			 vinf_conf_live(conf, &conf->p._name, val, len, vinf_park_set);		\
}												\
CONFIGFS_ATTR(vinf_conf_, _name)

VINF_CONF_ON_ERROR(on_read_error);
VINF_CONF_ON_ERROR(on_write_error);

VINF_CONF_LIVE(retry_ms, INT_MAX, vinf_park_set);

static int vinf_conf_enable(struct vinf_conf *conf)
{
	struct vinf_dev *dev;
	int ret;

	lockdep_assert_held(&conf->lock);
	if (conf->dev)
		return 0;
	/* From here on rmdir is -EBUSY. */
	ret = configfs_depend_item_unlocked(&vinf_subsys, &conf->item);
	if (ret)
		return ret;
	ret = vinf_dev_create(&conf->p, &dev);
	if (ret) {
		configfs_undepend_item(&conf->item);
		return ret;
	}
	conf->dev = dev;
	return 0;
}

static int vinf_conf_disable(struct vinf_conf *conf)
{
	int ret;

	lockdep_assert_held(&conf->lock);
	if (!conf->dev)
		return 0;
	ret = vinf_dev_destroy(conf->dev);
	if (ret)
		return ret;
	conf->dev = NULL;
	configfs_undepend_item(&conf->item);
	return 0;
}

static ssize_t vinf_conf_enable_show(struct config_item *item, char *page)
{
	struct vinf_conf *conf = vinf_conf(item);

	guard(mutex)(&conf->lock);
	return sysfs_emit(page, "%d\n", !!conf->dev);
}

/*
 * Return: what was written; -EINVAL when it is not 0 or 1; the errnos of vinf_dev_create() and
 * vinf_dev_destroy().  To enable what is enabled, or disable what is not, changes nothing.
 */
static ssize_t vinf_conf_enable_store(struct config_item *item, const char *page, size_t len)
{
	struct vinf_conf *conf = vinf_conf(item);
	u32 val;
	int ret;

	ret = vinf_parse(page, 0, 1, vinf_any, &val);
	if (ret)
		return ret;
	guard(mutex)(&conf->lock);
	ret = val ? vinf_conf_enable(conf) : vinf_conf_disable(conf);
	return ret ?: len;
}

CONFIGFS_ATTR(vinf_conf_, enable);

/* Return: what was written; -ENODEV while disabled; the errnos of vinf_dev_resize(). */
static ssize_t vinf_conf_resize_store(struct config_item *item, const char *page, size_t len)
{
	struct vinf_conf *conf = vinf_conf(item);
	int ret;

	guard(mutex)(&conf->lock);
	if (!conf->dev)
		return -ENODEV;
	ret = vinf_dev_resize(conf->dev);
	return ret ?: len;
}

CONFIGFS_ATTR_WO(vinf_conf_, resize);

static ssize_t vinf_conf_capacity_show(struct config_item *item, char *page)
{
	struct vinf_conf *conf = vinf_conf(item);

	guard(mutex)(&conf->lock);
	return sysfs_emit(page, "%llu\n", conf->dev ? READ_ONCE(conf->dev->limits.capacity) : 0);
}

CONFIGFS_ATTR_RO(vinf_conf_, capacity);

static ssize_t vinf_conf_state_show(struct config_item *item, char *page)
{
	struct vinf_conf *conf = vinf_conf(item);

	guard(mutex)(&conf->lock);
	return sysfs_emit(page, "%s\n", conf->dev ? vinf_dev_state_name(conf->dev) : "disabled");
}

CONFIGFS_ATTR_RO(vinf_conf_, state);

static struct configfs_attribute *vinf_conf_attrs[] = {
	&vinf_conf_attr_path,
	&vinf_conf_attr_read_only,
	&vinf_conf_attr_serial,
	&vinf_conf_attr_num_queues,
	&vinf_conf_attr_queue_size,
	&vinf_conf_attr_logical_block_size,
	&vinf_conf_attr_drain_timeout_ms,
	&vinf_conf_attr_on_read_error,
	&vinf_conf_attr_on_write_error,
	&vinf_conf_attr_retry_ms,
	&vinf_conf_attr_poll_us,
	&vinf_conf_attr_sched_batch,
	&vinf_conf_attr_indirect_desc,
	&vinf_conf_attr_event_idx,
	&vinf_conf_attr_packed,
	&vinf_conf_attr_in_order,
	&vinf_conf_attr_partial_order,
	&vinf_conf_attr_discard,
	&vinf_conf_attr_suspend,
	&vinf_conf_attr_pin_memory,
	&vinf_conf_attr_enable,
	&vinf_conf_attr_resize,
	&vinf_conf_attr_capacity,
	&vinf_conf_attr_state,
	NULL,
};

/* ---- directories ---- */

static void vinf_conf_release(struct config_item *item)
{
	struct vinf_conf *conf = vinf_conf(item);

	WARN_ON_ONCE(conf->dev);
	mutex_destroy(&conf->lock);
	kfree(conf->p.path);
	kfree(conf);
}

static struct configfs_item_operations vinf_conf_item_ops = {
	.release	= vinf_conf_release,
};

static const struct config_item_type vinf_conf_type = {
	.ct_owner	= THIS_MODULE,
	.ct_item_ops	= &vinf_conf_item_ops,
	.ct_attrs	= vinf_conf_attrs,
};

/* It becomes part of a device node's name and of the default serial. */
static bool vinf_name_ok(const char *name)
{
	size_t n = strlen(name), i;

	if (!n || n >= VINF_NAME_LEN || name[0] == '.')
		return false;
	for (i = 0; i < n; i++)
		if (!isascii(name[i]) || (!isalnum(name[i]) && !strchr("_.-", name[i])))
			return false;
	return true;
}

/*
 * mkdir.
 *
 * Return: the directory; -EINVAL for a name that is too long or has other characters than letters,
 * digits, and _.-
 */
static struct config_item *vinf_conf_make(struct config_group *group, const char *name)
{
	struct vinf_conf *conf;

	if (!vinf_name_ok(name))
		return ERR_PTR(-EINVAL);
	conf = kzalloc(sizeof(*conf), GFP_KERNEL_ACCOUNT);
	if (!conf)
		return ERR_PTR(-ENOMEM);
	mutex_init(&conf->lock);
	strscpy(conf->p.name, name);
	memcpy(conf->p.serial, name, min_t(size_t, strlen(name), VINF_SERIAL_LEN));
	conf->p.num_queues = 1;
	conf->p.queue_size = VINF_DEFAULT_QUEUE_SIZE;
	conf->p.indirect_desc = true;
	conf->p.event_idx = true;
	conf->p.discard = true;
	conf->p.retry_ms = VINF_DEFAULT_RETRY_MS;
	config_item_init_type_name(&conf->item, name, &vinf_conf_type);
	return &conf->item;
}

/* ---- the directory of all devices: which engine serves them ---- */

static ssize_t vinf_subsys_engine_show(struct config_item *item, char *page)
{
	char name[VHOST_INFLIGHT_ENGINE_LEN];

	vinf_engine_name(name, sizeof(name));
	return sysfs_emit(page, "%s\n", name);
}
CONFIGFS_ATTR_RO(vinf_subsys_, engine);

/* What an engine must have been built with. */
static ssize_t vinf_subsys_engine_abi_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", VINF_ABI_VERSION);
}
CONFIGFS_ATTR_RO(vinf_subsys_, engine_abi);

/* Milliseconds, the bound on waiting. */
static ssize_t vinf_subsys_detach_store(struct config_item *item, const char *page, size_t len)
{
	unsigned int ms;
	int ret;

	ret = kstrtouint(page, 0, &ms);
	if (ret)
		return ret;
	if (ms > INT_MAX)
		return -EINVAL;
	ret = vinf_engine_detach(ms);
	return ret ?: len;
}
CONFIGFS_ATTR_WO(vinf_subsys_, detach);

static ssize_t vinf_subsys_attach_store(struct config_item *item, const char *page, size_t len)
{
	bool on;
	int ret;

	ret = kstrtobool(page, &on);
	if (ret)
		return ret;
	if (!on)
		return -EINVAL;
	ret = vinf_engine_attach();
	return ret ?: len;
}
CONFIGFS_ATTR_WO(vinf_subsys_, attach);

static struct configfs_attribute *vinf_subsys_attrs[] = {
	&vinf_subsys_attr_engine,
	&vinf_subsys_attr_engine_abi,
	&vinf_subsys_attr_detach,
	&vinf_subsys_attr_attach,
	NULL,
};

static struct configfs_group_operations vinf_subsys_ops = {
	.make_item	= vinf_conf_make,
};

static const struct config_item_type vinf_subsys_type = {
	.ct_owner	= THIS_MODULE,
	.ct_group_ops	= &vinf_subsys_ops,
	.ct_attrs	= vinf_subsys_attrs,
};

static struct configfs_subsystem vinf_subsys = {
	.su_group.cg_item = {
		.ci_namebuf	= "vhost_blk",
		.ci_type	= &vinf_subsys_type,
	},
};

/**
 * vinf_configfs_init - make /sys/kernel/config/vhost_blk
 *
 * Return: 0 or the errnos of configfs_register_subsystem().
 */
int vinf_configfs_init(void)
{
	config_group_init(&vinf_subsys.su_group);
	mutex_init(&vinf_subsys.su_mutex);
	return configfs_register_subsystem(&vinf_subsys);
}

void vinf_configfs_exit(void)
{
	configfs_unregister_subsystem(&vinf_subsys);
}
