#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# usage: explore.sh PROGRAM quick|deep
#
# Explores the ring engine, then its mutations. Prints TAP, ends in "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 2

case ${2:-} in
quick | deep) ;;
*)
	sed -n '4,6s/^# //p' tools/native/explore.sh >&2
	exit 2
	;;
esac

passed=0
failed=0
# step COMMAND...: its TAP, but for the last line, which counts.
step() {
	log=$("$@" 2>&1)
	rc=$?
	sum=$(echo "$log" | sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
	if [ -z "$sum" ]; then
		echo "$log"
		echo "# ended with status $rc: $*"
		sum="0 1"
	else
		echo "$log" | sed '$d'
		if [ $rc -ne 0 ] && [ "${sum#* }" = 0 ]; then
			echo "# status $rc though nothing failed: $*"
			sum="${sum% *} 1"
		fi
	fi
	passed=$((passed + ${sum% *}))
	failed=$((failed + ${sum#* }))
}

step "$1" --jobs "$(nproc)" "$2"
# shellcheck disable=SC2016 # for the shell that runs it
[ "$2" = deep ] || step tools/native/mutate tools/native/explore/mutations \
	'make -s -C tools/native explorer' \
	'build/native/explore/explore --first $MUTATION_ARGS'
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
