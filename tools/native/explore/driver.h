/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _EXPLORE_DRIVER_H
#define _EXPLORE_DRIVER_H

#include "explore.h"

/* The two programs, ready for the configuration that is set. */
struct ex_program driver_program(void);
struct ex_program device_program(void);
/* Asserted where nothing goes on. */
void device_end(void);

#endif
