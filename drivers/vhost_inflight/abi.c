// SPDX-License-Identifier: GPL-2.0
/*
 * The exports.  This file includes the ABI header and nothing private, so that the CRC of each
 * symbol depends on the ABI alone: with struct vinf_dev in sight, a new field in it would make
 * every built engine unloadable.
 */
#include <linux/export.h>
#include <linux/vhost_inflight.h>

EXPORT_SYMBOL_GPL(vinf_engine_register);
EXPORT_SYMBOL_GPL(vinf_engine_unregister);
EXPORT_SYMBOL_GPL(vinf_copy_from);
EXPORT_SYMBOL_GPL(vinf_copy_to);
EXPORT_SYMBOL_GPL(vinf_req_submit);
EXPORT_SYMBOL_GPL(vinf_req_finish);
EXPORT_SYMBOL_GPL(vinf_vq_call);
EXPORT_SYMBOL_GPL(vinf_vq_broken);
