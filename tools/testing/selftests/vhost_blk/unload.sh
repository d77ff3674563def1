#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: unload.sh [ROUNDS]
#
# Modules out and in again, ROUNDS (50) times, with a device made, used and removed each time: it
# always works when nothing is open, never when something is, and leaves no memory behind.
. "$(dirname "$0")/lib.sh"

rounds=${1:-50}
disk=$VBLK_TMPFS/unload.img
cfs=/sys/kernel/config/vhost_blk/unload

echo "TAP version 13"
# Where there is kmemleak, whoever started the kernel looks at it in the end, and slabs say nothing:
# they hold what KASAN keeps back.
leaks=''
[[ ! -e /sys/kernel/debug/kmemleak ]] || leaks=1
echo "1..$((leaks ? 6 : 7))"
load_deps
make_room
load_modules
truncate -s 8M "$disk"

make_device() {
	mkdir $cfs && echo "$disk" >$cfs/path && echo 1 >$cfs/enable
}

remove_device() {
	echo 0 >$cfs/enable && rmdir $cfs
}

# Objects in use in all the caches that any of our code allocates from, directly or not.
slabs() {
	awk '/^(kmalloc|vinf|vhost|vblk|vd_|dentry|kernfs|bio|biovec|task_struct|filp|eventpoll|files_cache)/ \
		&& !/rcl/ { n += $2 * $4 } END { print int(n / 1024) }' /proc/slabinfo
}

settle() {
	[[ -z $leaks ]] || return 0
	echo 3 >/proc/sys/vm/drop_caches
	# merged and per-cpu slabs go back when the caches shrink
	for f in /sys/kernel/slab/*/shrink; do
		echo 1 >"$f" 2>/dev/null
	done
}

use_node() {
	"$here/io" -r io.nullb512_direct.counters
}

# ---- refused while in use ----
try "a device is made" make_device
exec 9<>/dev/vhost-blk-unload
refused() { ! rmmod vhost_blk 2>/dev/null && ! rmmod vhost_inflight 2>/dev/null; }
try "rmmod is refused with the node open" refused
exec 9>&-
try "rmmod of the holder is refused while a device is there" eval '! rmmod vhost_inflight 2>/dev/null'
try "the device is removed" remove_device

# ---- again and again ----
cycle() {
	make_device && exec 9<>/dev/vhost-blk-unload && exec 9>&- && remove_device &&
		unload_modules && load_modules
}

bad=0 first=0
for ((i = 1; i <= rounds; i++)); do
	cycle || { bad=$i; break; }
	((i % 25)) || use_node >/dev/null || { bad=$i; break; }
	if ((i == (rounds + 4) / 5)); then
		settle
		first=$(slabs)
	fi
done
try "$rounds times out and in again" test "$bad" = 0 || echo "#   failed in round $bad"
settle
last=$(slabs)
echo "# slabs: $first KiB after $((rounds / 5)) rounds, $last KiB after $rounds"
# one lost page per round would be 4 KiB times the rounds between
[[ $leaks ]] ||
	try "memory in slabs is flat" test $((last - first)) -lt $(((rounds - rounds / 5) * 2 + 64))
try "it still works" use_node
rm -f "$disk"
((failed == 0))
