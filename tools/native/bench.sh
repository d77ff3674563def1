#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# bench.sh PROGRAM: a table of what a request costs in the ring engine, and with the parser on top.
# Instructions are counted by callgrind and are net: less those of the driver's side alone.

prog=$1

# Of two lengths the difference: what happens once does not count.
instructions() {
	for n in 32000 64000; do
		valgrind --tool=callgrind --callgrind-out-file=/dev/null "$prog" "$@" $n 2>&1 |
			sed -n 's/.*Collected : //p'
	done | paste -sd' ' | while read -r a b; do echo $(((b - a) / 32000)); done
}

command -v valgrind >/dev/null && counted=1
printf '%-10s %6s %-6s %10s %14s\n' chain batch part ns instructions
for chain in direct indirect; do
	for batch in 1 32; do
		[ -n "$counted" ] && base=$(instructions $chain driver $batch)
		for part in ring parse; do
			n=-
			[ -n "$counted" ] && n=$(($(instructions $chain $part $batch) - base))
			printf '%-10s %6s %-6s %10s %14s\n' $chain $batch $part \
				"$("$prog" $chain $part $batch 10000000)" "$n"
		done
	done
done
