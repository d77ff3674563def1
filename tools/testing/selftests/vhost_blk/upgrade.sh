#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: upgrade.sh
#
# vhost-blkctl upgrade against the real driver: engines exchanged with a node open, and everything
# that does not fit refused, before or by the kernel, with the engine before serving on.
# VHOST_BLKCTL names another tool than the checkout's.
. "$(dirname "$0")/lib.sh"

ctl=$VHOST_BLKCTL
disk=$VBLK_TMPFS/upgrade.img
room=/run/vblk/upgrade
now=/run/vblk/vhost_blk.ko holder=/run/vblk/vhost_inflight.ko
cfs=/sys/kernel/config/vhost_blk
trigger=/sys/kernel/tracing/events/vhost_blk/vblk_publish/trigger

echo "TAP version 13"
load_deps
make_room
load_modules
[[ -x $ctl ]] || { echo "Bail out! $ctl is not built"; exit 1; }
mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing
truncate -s 8M "$disk"
rm -rf $room && mkdir -p $room

# like NAME SED...: the engine's file with other bytes in it, and as many.
like() {
	local name=$1
	shift
	LC_ALL=C sed "$@" $now >"$room/$name.ko"
	! cmp -s $now "$room/$name.ko" && [[ $(stat -c %s $now) == $(stat -c %s "$room/$name.ko") ]]
}

# The same build under another number: a symbol's checksum is another one.
other_crc() {
	python3 - $now $room/crc.ko <<'END'
import sys
ko = bytearray(open(sys.argv[1], "rb").read())
at = ko.index(b"vinf_engine_register\0" + bytes(35))    # in __versions, behind the CRC
ko[at - 8] ^= 1
open(sys.argv[2], "wb").write(ko)
END
}

build() { modinfo -F srcversion "$1"; }
runs() { [[ $(</sys/module/vhost_blk/srcversion) == "$1" && -n $(<$cfs/engine) ]]; }
works() { "$ctl" show upgrade1 --json | grep -q '"engine": *"vhost_blk'; }
upgrade() { "$ctl" upgrade "$@"; }

here_build=$(build $now)
# The first digits of what every module's build is called.
next_build=$(tr '0-9A-F' '1-9A-F0' <<<"$here_build")
try "another build" like next "s/srcversion=$here_build/srcversion=$next_build/"
try "one of another interface" like abi 's/\x00vinf_abi=[0-9]*/\x00vinf_abi=9/'
try "one for another kernel" like release 's/vermagic=[0-9]*\./vermagic=9./'
try "one that the kernel refuses" like refused 's/\(vermagic=.*\) mod_unload /\1 mod_upload /'
try "one for another holder" other_crc
echo "no module" >$room/text.ko

try "a device" "$ctl" create upgrade1 --path "$disk"
exec 9<>/dev/vhost-blk-upgrade1

# ---- it goes ----
try "the build that runs is left alone" eval "upgrade $now | grep -q 'runs already'"
try "and says so" json 'd["upgraded"] is False and d["from_build"] == d["to_build"]' "$ctl" upgrade $now --json
try "unless it is forced" json 'd["upgraded"] is True and d["from_build"] == d["to_build"] and 0 < d["pause_ms"] < 60000' \
	"$ctl" upgrade $now --force --json
try "up" eval "upgrade $room/next.ko --fallback $now | grep -q 'took over from vhost_blk .*(build $here_build), .* paused for'"
try "the other one runs" runs "$next_build"
try "down" json "d['from_build'] == '$next_build' and d['to_build'] == '$here_build'" \
	"$ctl" upgrade $now --fallback $room/next.ko --json
try "and the first again" runs "$here_build"
try "which serves" works

# ---- it does not fit ----
for bad in "text 'is no kernel module'" "abi 'speaks version 9 of the engines'" \
	"release 'was built for kernel 9.'"; do
	eval "set -- $bad"
	try "$1 is refused" says "$2" "$ctl" upgrade "$room/$1.ko" --fallback $now
done
try "the holder is refused" says "is the module vhost_inflight" "$ctl" upgrade $holder --fallback $now
try "no file is refused" says "can't read $room/none.ko: No such file" "$ctl" upgrade $room/none.ko
try "a folder is refused" says "$room" "$ctl" upgrade $room
try "no way back" says "name it with --fallback" "$ctl" upgrade $room/next.ko
try "a way back that is none" says "is not the build that runs" "$ctl" upgrade $room/next.ko --fallback $room/next.ko
try "a way back that is not there" says "can't read $room/none.ko" "$ctl" upgrade $room/next.ko --fallback $room/none.ko
try "nothing of that touched the engine" runs "$here_build"
try "what the kernel refuses" says "the engine before serves on" "$ctl" upgrade $room/refused.ko --force --fallback $now
try "goes back" runs "$here_build"
try "and serves" works

# ---- something holds the module ----
echo enable_event:vhost_blk:vblk_fetch >$trigger
try "an engine that a trace holds stays" says "the engine before serves on" \
	"$ctl" upgrade $now --force --timeout 0.5
echo '!enable_event:vhost_blk:vblk_fetch' >$trigger
try "and serves" works

# ---- what is installed ----
mount -t tmpfs none "/lib/modules/$(uname -r)"
try "nothing is installed" says "no vhost_blk is installed" "$ctl" upgrade
mkdir "/lib/modules/$(uname -r)/updates"
cp $holder "/lib/modules/$(uname -r)/updates"
cp $room/next.ko "/lib/modules/$(uname -r)/updates/vhost_blk.ko"
depmod
try "one for another holder is refused" says "vinf_engine_register differs" "$ctl" upgrade $room/crc.ko --fallback $now
mount -t tmpfs none /var/lib/dkms
try "without a way back it stays" says "no way back" "$ctl" upgrade
kept=/var/lib/dkms/vhost-inflight/0.0.9/$(uname -r)/x86_64/module
mkdir -p "$kept"
cp $now "$kept"
try "what dkms has kept is the way back" "$ctl" upgrade
try "the installed one runs" runs "$next_build"
try "and is the way back" "$ctl" upgrade $now
umount /var/lib/dkms "/lib/modules/$(uname -r)"
try "without a way back if need be" "$ctl" upgrade $room/next.ko --no-fallback
try "what the kernel refuses then" says "stand still until" "$ctl" upgrade $room/refused.ko --no-fallback
try "leaves no engine" test ! -e /sys/module/vhost_blk
try "any that fits goes on" eval "upgrade $now | grep -q 'before there was none'"
try "and serves" works

exec 9>&-
try "the device goes" "$ctl" delete upgrade1
rm -rf "$disk" $room
echo "1..$nr"
((failed == 0))
