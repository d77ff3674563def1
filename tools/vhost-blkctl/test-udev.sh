#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: test-udev.sh
#
# The udev rule against the real driver and a real udevd: a disk that grows is told to the guest. To
# be run as root in a virtual machine. TAP on stdout.
# shellcheck source=../testing/selftests/vhost_blk/lib.sh disable=SC2154
. "$(dirname "$0")/../testing/selftests/vhost_blk/lib.sh"

tool=$top/tools/vhost-blkctl
ctl=$tool/vhost-blkctl
rule=/run/udev/rules.d/90-vhost-inflight.rules
disk=$VBLK_TMPFS/udev.img
loop='' own_udevd=''

cleanup() {
	"$ctl" delete udev1 >/dev/null 2>&1
	dmsetup remove vblk-udev 2>/dev/null
	[[ -z $loop ]] || losetup -d "$loop"
	rm -f "$disk" "$rule"
	[[ -z $own_udevd ]] || udevadm control --exit
}
trap cleanup EXIT

echo "TAP version 13"
load_deps
make_room
load_modules || { echo "Bail out! no modules"; exit 1; }
mkdir -p "${rule%/*}"
sed "s|@SBINDIR@|$tool|" "$tool/90-vhost-inflight.rules" >"$rule"
if udevadm control --ping --timeout=5 2>/dev/null; then
	udevadm control --reload
else
	/lib/systemd/systemd-udevd --daemon && own_udevd=1
fi

# grown SECTORS: the events are through, and the device has that size.
grown() {
	local size
	udevadm settle --timeout=30 || return
	size=$(cat /sys/kernel/config/vhost_blk/udev1/capacity)
	[[ $size == "$1" ]] || { echo "it has $size sectors"; return 1; }
}

truncate -s 8M "$disk"
loop=$(losetup -f --show "$disk") || { echo "Bail out! no loop device"; exit 1; }
udevadm settle --timeout=30
try "create on a loop device" "$ctl" create udev1 --path "$loop"
truncate -s 16M "$disk"
losetup -c "$loop"
try "it grows with the loop device" grown $((16 << 11))
try "delete" "$ctl" delete udev1

try "a dm device" dmsetup create vblk-udev --table "0 $((4 << 11)) linear $loop 0"
udevadm settle --timeout=30
try "create on it" "$ctl" create udev1 --path /dev/mapper/vblk-udev
dmsetup suspend vblk-udev
dmsetup reload vblk-udev --table "0 $((12 << 11)) linear $loop 0"
dmsetup resume vblk-udev
try "it grows with the dm device" grown $((12 << 11))
try "delete again" "$ctl" delete udev1
echo "1..$nr"
((failed == 0))
