// SPDX-License-Identifier: GPL-2.0
/* Builds the file into this module too: it needs no other module of ours. */
#include "../drivers/vhost_inflight/map.c"
