// SPDX-License-Identifier: GPL-2.0
/*
 * The engine: whoever serves the rings.  There is at most one.
 */
#include <linux/module.h>

#include "vinf.h"

static DEFINE_MUTEX(vinf_engine_lock);
static const struct vinf_engine_ops *vinf_engine;

/**
 * vinf_engine_register - an engine offers its service
 * @ops: stays valid until vinf_engine_unregister() returned
 *
 * Context: process, may sleep.
 *
 * Return: 0; -EEXIST when another engine is registered; -EPROTO when @ops was built with another
 * ABI.
 */
int vinf_engine_register(const struct vinf_engine_ops *ops)
{
	int ret = 0;

	if (ops->abi_version != VINF_ABI_VERSION || ops->size != sizeof(*ops)) {
		pr_err("engine %s speaks ABI %u (%u bytes), this holder speaks %u (%zu bytes): install both modules from one build\n",
		       ops->name, ops->abi_version, ops->size, VINF_ABI_VERSION, sizeof(*ops));
		return -EPROTO;
	}
	mutex_lock(&vinf_engine_lock);
	if (vinf_engine) {
		pr_err("engine %s refused: %s is registered\n", ops->name, vinf_engine->name);
		ret = -EEXIST;
	} else {
		vinf_engine = ops;
	}
	mutex_unlock(&vinf_engine_lock);
	return ret;
}

/**
 * vinf_engine_unregister - an engine leaves
 * @ops: what it registered
 *
 * Called from the engine's module exit: its module is not in use, so no node is open and no queue
 * runs.
 *
 * Context: process, may sleep.
 */
void vinf_engine_unregister(const struct vinf_engine_ops *ops)
{
	mutex_lock(&vinf_engine_lock);
	WARN_ON(vinf_engine != ops);
	vinf_engine = NULL;
	mutex_unlock(&vinf_engine_lock);
}

/* The registered engine with its module held, or NULL. */
const struct vinf_engine_ops *vinf_engine_get(void)
{
	const struct vinf_engine_ops *ops;

	mutex_lock(&vinf_engine_lock);
	ops = vinf_engine;
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	mutex_unlock(&vinf_engine_lock);
	return ops;
}

void vinf_engine_put(const struct vinf_engine_ops *ops)
{
	if (ops)
		module_put(ops->owner);
}
