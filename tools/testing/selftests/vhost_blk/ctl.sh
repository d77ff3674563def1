#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: ctl.sh
#
# vhost-blkctl against the real driver: create, list, show, resize, delete, and what it says when
# the driver refuses. VHOST_BLKCTL names another tool than the checkout's.
. "$(dirname "$0")/lib.sh"

ctl=$VHOST_BLKCTL
disk=$VBLK_TMPFS/ctl.img

echo "TAP version 13"
load_deps
make_room
load_modules
truncate -s 8M "$disk"
[[ -x $ctl ]] || { echo "Bail out! $ctl is not built"; exit 1; }

try "create" "$ctl" create ctl1 --path "$disk" --num-queues 2 --serial "a serial"
try "the node is there" test -c /dev/vhost-blk-ctl1
try "list" eval "'$ctl' list | grep -q '^ctl1 '"
try "list --json" json 'd["devices"][0]["name"] == "ctl1" and d["devices"][0]["state"] == "free"' \
	"$ctl" list --json
try "show" eval "'$ctl' show ctl1 | grep -q 'a serial'"
try "show --json" json 'd["size_bytes"] == 8 << 20 and d["config"]["serial"] == "a serial" and
	len(d["queues"]) == 2 and d["queues"][0]["requests"] == 0 and d["info"]["owner_pid"] is None and
	d["info"]["orphans"] == 0' "$ctl" show ctl1 --json
try "inflight of an idle device" test -z "$("$ctl" inflight ctl1)"
try "inflight --json" json 'd == {"name": "ctl1", "requests": [], "busy_queues": []}' "$ctl" inflight ctl1 --json
truncate -s 16M "$disk"
try "resize" "$ctl" resize ctl1
try "show says so" json 'd["size_bytes"] == 16 << 20' "$ctl" show ctl1 --json
truncate -s 4M "$disk"
try "resize --json" json 'd["resized"][0]["size_bytes"] == 4 << 20' "$ctl" resize ctl1 --json

exec 9<>/dev/vhost-blk-ctl1
try "delete while it is open is refused" says "" "$ctl" delete ctl1
try "and the device is still there" test -c /dev/vhost-blk-ctl1
exec 9>&-
try "delete" "$ctl" delete ctl1
try "the node is gone" test ! -e /dev/vhost-blk-ctl1
try "nothing is left" test ! -e /sys/kernel/config/vhost_blk/ctl1

for bad in "/no/such/file" "/tmp" "/dev/null"; do
	try "create on $bad fails in a sentence" says "$bad" "$ctl" create ctl2 --path "$bad"
	try "and leaves nothing after $bad" test ! -e /sys/kernel/config/vhost_blk/ctl2
done
: >"$disk"
try "create on an empty file fails" says "" "$ctl" create ctl2 --path "$disk"
try "create with a bad queue size fails" says "" "$ctl" create ctl2 --path "$disk" --queue-size 3
try "and leaves nothing" test ! -e /sys/kernel/config/vhost_blk/ctl2
try "show of no device fails" says "ctl2" "$ctl" show ctl2
try "delete of no device fails" says "ctl2" "$ctl" delete ctl2
rm -f "$disk"
echo "1..$nr"
((failed == 0))
