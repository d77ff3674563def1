#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# check.sh NAME PROGRAM...: runs each, passes its KTAP on, adds up, ends in "N passed, N failed".

passed=0
failed=0
while [ $# -ge 2 ]; do
	echo "# ${2##*/} built with $1"
	log=$(timeout 120 "$2" 2>&1)
	rc=$?
	echo "$log"
	sum=$(echo "$log" | sed -n 's/^# \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
	# A sanitizer's report, a crash or a hang ends the program before it can count.
	if [ -z "$sum" ]; then
		echo "# $1: ended with status $rc"
		sum="0 1"
	elif [ $rc -ne 0 ] && [ "${sum#* }" = 0 ]; then
		echo "# $1: exit status $rc though nothing failed"
		sum="${sum% *} 1"
	fi
	passed=$((passed + ${sum% *}))
	failed=$((failed + ${sum#* }))
	shift 2
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
