// SPDX-License-Identifier: GPL-2.0
/* The file with a test behind each of its stores. */
#include "stores.h"
#include "../../drivers/vhost_blk/virtq_split.c"
