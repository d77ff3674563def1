/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _EXPLORE_LITMUS_H
#define _EXPLORE_LITMUS_H

/**
 * litmus() - is the memory what it is said to be?
 * @at: number of the first test
 * @failed: increased by those that fail
 *
 * Prints a line of TAP for each test.
 *
 * Return: how many there are.
 */
unsigned int litmus(unsigned int at, unsigned int *failed);

#endif
