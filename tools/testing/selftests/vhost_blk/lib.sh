# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts of this folder share. Not to be run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../../../.." && pwd)
export VBLK_EXT4=/run/vblk/ext4 VBLK_TMPFS=/run/vblk/tmpfs
export VHOST_BLKCTL=${VHOST_BLKCTL:-$top/tools/vhost-blkctl/vhost-blkctl}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
nr=0 failed=0

# result NAME STATUS: one line of TAP.
result() {
	nr=$((nr + 1))
	if [[ $2 == 0 ]]; then
		echo "ok $nr $1"
	else
		failed=$((failed + 1))
		echo "not ok $nr $1"
	fi
}

# try NAME COMMAND...: a test that passes when the command succeeds; what it said, when not.
try() {
	local name=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	[[ $rc == 0 ]] || echo "# $*: status $rc${out:+: $out}"
	result "$name" $rc
	return $rc
}

# json EXPRESSION COMMAND...: a Python expression over what the command printed, as d.
json() {
	local expr=$1
	shift
	"$@" | python3 -c 'import json, sys
d = json.load(sys.stdin)
sys.exit(0 if eval("(" + sys.argv[1] + ")") else "%s is false for %s" % (sys.argv[1], d))' "$expr"
}

# says TEXT COMMAND...: it fails, in one sentence that has TEXT in it.
says() {
	local text=$1 out
	shift
	out=$("$@" 2>&1) && { echo "it worked"; return 1; }
	[[ $out == *"$text"* && $(wc -l <<<"$out") == 1 ]] || { echo "it said: $out"; return 1; }
}

# path of our module $1 (below a folder $2) for the kernel that runs: in MODDIR, or the newest that the checkout has.
module() {
	local ko
	while read -r ko; do
		[[ $(modinfo -F vermagic "$ko") == "$(uname -r) "* ]] && echo "$ko" && return
	done < <(find "${MODDIR:-$top}" -name "$1.ko" -path "*/${2:-drivers}/*" -printf '%T@ %p\n' | sort -rn |
		cut -d ' ' -f 2-)
}

load_deps() {
	# several may be built in, or not needed by this kernel
	modprobe -q null_blk nr_devices=0
	modprobe -q nbd nbds_max=0
	modprobe -qa configfs vhost_iotlb loop ext4 dm_mod dm_delay dm_thin_pool
	mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
	mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
}

# What is inserted is a copy without debug information, which is ten times smaller.
load_modules() {
	local m ko
	for m in vhost_inflight vhost_blk; do
		[[ -d /sys/module/$m ]] && continue
		ko=/run/vblk/$m.ko
		if [[ ! -e $ko ]] && ! strip -g -o $ko "$(module $m)"; then
			echo "# no $m.ko for $(uname -r) below ${MODDIR:-$top}: give MODDIR" >&2
			return 1
		fi
		insmod "$ko" || return 1
	done
	# Another build of the engine, with fault points, for 'fault'.
	ko=${FAULTDIR:-}/drivers/vhost_blk/vhost_blk.ko
	[[ ! -e $ko ]] || strip -g -o /run/vblk/vhost_blk-fault.ko "$ko"
}

# hung_tasks SECONDS: the kernel is to report a task that sleeps for so long and can't be killed, where it knows how to.
hung_tasks() {
	local knob=/proc/sys/kernel/hung_task_timeout_secs
	[[ ! -w $knob ]] || echo "$1" >$knob
}

unload_modules() {
	rmmod vhost_blk && rmmod vhost_inflight
}

# The disk that records: not ours to ship, so it is there for all of a run.
load_record() {
	[[ -d /sys/module/dm_vblk_record ]] || insmod "$(module dm-vblk-record tools/testing/modules)"
}

# Room for files: a tmpfs, and an ext4 on a loop device on it.
make_room() {
	mkdir -p /run/vblk
	mountpoint -q /run/vblk || mount -t tmpfs -o size=700M none /run/vblk
	mkdir -p $VBLK_TMPFS $VBLK_EXT4
	mountpoint -q $VBLK_EXT4 && return
	truncate -s 256M /run/vblk/ext4.img &&
		mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=0 /run/vblk/ext4.img &&
		mount -o loop /run/vblk/ext4.img $VBLK_EXT4
}
