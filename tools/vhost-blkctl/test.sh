#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of vhost-blkctl on a directory tree instead of configfs, with the kernel's side faked (test/fake_kernel.c) and
# the sanitizers on.  TAP on stdout.
cd "$(dirname "$0")" || exit 2

ctl="$PWD/build/test/vhost-blkctl"
shipped="$PWD/vhost-blkctl"
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
export VHOST_BLKCTL_CONFIGFS="$tmp/config" VHOST_BLKCTL_DEV="$tmp/dev"
export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=print_stacktrace=1
export LC_ALL=C
nr=0 failed=0 failures=""

for need in "$ctl" "$shipped"; do
	[ -x "$need" ] || { echo "Bail out! $need is not built: run make check"; exit 2; }
done

result()	# OK NAME
{
	nr=$((nr + 1))
	if [ "$1" = 0 ]; then
		echo "ok $nr - $2"
	else
		failed=$((failed + 1))
		echo "not ok $nr - $2"
		sed 's/^/# out: /' "$tmp/out"
		sed 's/^/# err: /' "$tmp/err"
	fi
}

# Empty configfs with the module in it.
fresh()
{
	rm -rf "${tmp:?}/config" "${tmp:?}/dev"
	mkdir -p "$tmp/config/vhost_blk" "$tmp/dev"
	failures=""
}

run()
{
	FAKE_ERR="$failures" timeout 30 "$ctl" "$@" > "$tmp/out" 2> "$tmp/err"
}

# t NAME STATUS TEXT ARGS...: exit status, and an extended regular expression that stderr (or stdout, when the status
# is 0) must match; empty: no output at all.  What fails must say so in one line, on stderr.
t()
{
	local name="$1" want="$2" text="$3" got ok=1
	shift 3
	run "$@"
	got=$?
	if [ -z "$text" ]; then
		[ $got = "$want" ] && [ ! -s "$tmp/out" ] && [ ! -s "$tmp/err" ] && ok=0
	elif [ "$want" = 0 ]; then
		[ $got = 0 ] && grep -Eq -- "$text" "$tmp/out" && [ ! -s "$tmp/err" ] && ok=0
	else
		[ $got = "$want" ] && grep -Eq -- "^vhost-blkctl: .*$text" "$tmp/err" &&
			[ "$(wc -l < "$tmp/err")" = 1 ] && ok=0
	fi
	result $ok "$name"
}

# is NAME COMMAND...: the command succeeds.
is()
{
	local name="$1"
	shift
	"$@" >> "$tmp/out" 2>> "$tmp/err"
	result $? "$name"
}

attr()	# NAME ATTRIBUTE VALUE
{
	[ "$(cat "$tmp/config/vhost_blk/$1/$2")" = "$3" ]
}

gone()
{
	[ ! -e "$tmp/config/vhost_blk/$1" ]
}

# json EXPRESSION: a Python expression over the output d.
json()
{
	python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$tmp/out" "$1"
}

# The same over d, the list of the objects that have a line each.
jsonl()
{
	python3 -c 'import json, sys
d = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$tmp/out" "$1"
}

# follow ARGS...: events --follow in the background, as $pid; what it prints can be read from $lines.
follow()
{
	exec {lines}< <(exec "$ctl" events --follow "$@" 2> "$tmp/err")
	pid=$!
	: > "$tmp/out"
}

# said TEXT: the next line it prints has this in it.
said()
{
	local line
	read -r -t 30 line <&"$lines"
	echo "$line" >> "$tmp/out"
	[[ $line == *"$1"* ]]
}

# ended STATUS: it prints nothing more, and has ended with this.
ended()
{
	local line status
	read -r -t 30 line <&"$lines"
	status=$?
	[ $status = 1 ] || { echo "it goes on: $line"; kill -KILL "$pid"; }
	exec {lines}<&-
	wait "$pid"
	[ "$?,$status" = "$1,1" ]
}

# ---- the command line ----
fresh
t "no command" 2 "which command"
t "unknown command" 2 'no command "frob"' frob
t "--help" 0 "^  create " --help
t "help" 0 "^  watch " help
t "-h" 0 "^Usage: " -h
t "--version" 0 "^vhost-blkctl [0-9]" --version
for cmd in create delete events inflight list show resize retry upgrade watch; do
	t "$cmd --help" 0 "^Usage: vhost-blkctl $cmd" $cmd --help
	t "$cmd: unknown option" 2 "$cmd has no option --frob" $cmd --frob
	t "$cmd: unknown short option" 2 "$cmd has no option -x" $cmd -x
	t "$cmd: too many operands" 2 "one argument too many" $cmd a b
	t "$cmd: --json takes no value" 2 "takes no value" $cmd --json=1
done
for cmd in create delete events inflight retry set show watch; do
	t "$cmd: NAME is missing" 2 "$cmd needs a NAME" $cmd
done
t "set --help" 0 "^Usage: vhost-blkctl set NAME ATTRIBUTE=VALUE\.\.\. \[OPTION" set --help
is "  lists the attributes" grep -Eq "^  on_write_error +report, park-enospc or park$" "$tmp/out"
is "  and no other" test "$(grep -c "^  [a-z]" "$tmp/out")" = 6
t "set: unknown option" 2 "set has no option --frob" set --frob
t "set without an attribute" 2 "set needs an ATTRIBUTE=VALUE" set a
t "set of what is no assignment" 2 '"retry_ms" is no ATTRIBUTE=VALUE' set a retry_ms
t "set of an attribute that is none" 2 'no attribute "retry" to set' set a retry=1
t "set of an attribute without a name" 2 'no attribute "" to set' set a =1
t "set of a read-only attribute" 2 'no attribute "capacity" to set' set a capacity=1
t "set of an attribute of a disabled device" 2 "num_queues can't be changed while .*: delete it" set a num_queues=2
t "set given twice" 2 "retry_ms is given twice" set a retry_ms=1 retry_ms=2
t "set to a number that is none" 2 'retry_ms takes milliseconds .*, not "1s"' set a retry_ms=1s
t "set to an empty number" 2 'retry_ms takes milliseconds .*, not ""' set a retry_ms=
t "list takes no operand" 2 "one argument too many" list a
t "create without --path" 2 "needs --path" create a
t "create with an empty --path" 2 "needs --path" create a --path=
t "create with a newline in --path" 2 "newline" create a --path $'/dev/x\n'
t "an option without its value" 2 "needs a value: --path PATH" create a --path
t "an option given twice" 2 "given twice" create a --path /x --path /y
t "a flag with a value" 2 "takes no value" create a --path /x --read-only=1
t "a number that is none" 2 'whole number, not "many"' create a --path /x --num-queues many
t "a number with a sign" 2 'whole number, not "-1"' create a --path /x --num-queues -1
t "a number with a tail" 2 'whole number, not "4k"' create a --path /x --queue-size 4k
t "a number beyond 64 bits" 2 "whole number" create a --path /x --queue-size 99999999999999999999
t "a number that the driver would take for octal" 2 "whole number" create a --path /x --queue-size 0256
t "an empty number" 2 "whole number" create a --path /x --queue-size=
for name in "" . .. a/b "a b" ../x "$(printf '%032d' 0)" "nöl"; do
	t "\"$name\" is refused as a name" 2 "is no name" create --path /x -- "$name"
done
t "31 characters are a name" 0 "." create --path /x "$(printf '%031d' 0)"
t "a name with a dash in front" 0 "^-x: " create --path /x -- -x
t "resize with neither" 2 "either a NAME or --backing" resize
t "resize with both" 2 "either a NAME or --backing" resize a --backing /dev/x
t "resize with both, JSON" 2 "either a NAME or --backing" resize a --backing /dev/x --json
t "interval 0" 2 "seconds from 0.1" watch a --interval 0
t "interval nan" 2 "seconds from 0.1" watch a --interval nan
t "interval text" 2 "seconds from 0.1" watch a --interval 1s

# ---- no driver ----
rm -rf "$tmp/config"
t "configfs is not there" 1 "not mounted on $tmp/config: run \"mount" list
mkdir "$tmp/config"
t "configfs is not mounted" 1 "not mounted on $tmp/config: run \"mount" create a --path /x
export FAKE_MOUNTED=1
for cmd in "create a --path /x" "delete a" "events a" "list" "show a" "inflight a" "resize a" "retry a" \
	"set a retry_ms=1" upgrade "watch a"; do
	# shellcheck disable=SC2086
	t "driver not loaded: ${cmd%% *}" 1 "not loaded: run \"modprobe vhost_blk\"" $cmd
done
unset FAKE_MOUNTED
touch "$tmp/disk-1"
t "resize --backing from udev without the driver" 0 "" resize --backing "$tmp/disk-1"

# ---- create ----
fresh
t "create" 0 "^a: $tmp/dev/vhost-blk-a, 1 MiB$" create a --path /dev/x
is "  sets the path" attr a path /dev/x
is "  enables" attr a enable 1
t "create again" 1 "a exists already" create a --path /dev/x
is "  leaves the first one alone" attr a enable 1
t "create with everything" 0 "^b: .*, read-only$" create b --path=/dev/y --read-only --serial "my disk" --num-queues 4 \
	--queue-size 128 --logical-block-size=4096 --drain-timeout 500 --no-discard --no-indirect --no-event-idx \
	--packed --in-order --partial-order --suspend --on-read-error park --on-write-error=park-enospc --retry-ms 0 \
	--poll-us 50 --sched-batch --pin-memory
for pair in path=/dev/y read_only=1 "serial=my disk" num_queues=4 queue_size=128 logical_block_size=4096 \
	drain_timeout_ms=500 discard=0 indirect_desc=0 event_idx=0 packed=1 in_order=1 partial_order=1 suspend=1 \
	on_read_error=park on_write_error=park-enospc retry_ms=0 poll_us=50 sched_batch=1 pin_memory=1; do
	is "  ${pair%%=*}" attr b "${pair%%=*}" "${pair#*=}"
done
t "create of a relative path" 0 "^c:" create c --path disk.img
is "  makes it absolute" attr c path "$PWD/disk.img"
t "create --json" 0 "." create d --path /dev/x --json
is "  schema" json 'd["name"] == "d" and d["state"] == "free" and d["size_bytes"] == 1 << 20 and d["node"].endswith("/vhost-blk-d")
	and d["config"]["num_queues"] == 1 and d["config"]["read_only"] is False and d["config"]["serial"] == ""
	and d["config"]["on_write_error"] == "report" and d["config"]["retry_ms"] == 1000 and d["config"]["suspend"] is False
	and d["config"]["poll_us"] == 0 and d["config"]["sched_batch"] is False and d["config"]["pin_memory"] is False'

refused()	# ATTRIBUTE ERRNO NUMBER TEXT OPTION...
{
	local attr="$1" err="$2" num="$3" text="$4"
	shift 4
	fresh
	failures="$attr=$num"
	t "create: $attr $err" 1 "$text" create a --path /dev/x "$@"
	is "  nothing is left" gone a
}
refused enable ENOENT 2 "there is no /dev/x: check"
refused enable ENOTDIR 20 "there is no /dev/x"
refused enable ENXIO 6 "/dev/x has no device behind it"
refused enable EISDIR 21 "/dev/x is a directory"
refused enable ENOTBLK 15 "/dev/x is neither a block device"
refused enable EINVAL 22 "the settings of a don't fit /dev/x"
refused enable ENOSPC 28 "/dev/x is smaller than one block"
refused enable EBUSY 16 "/dev/x is in use by something else"
refused enable EROFS 30 "/dev/x can't be written to: serve it with --read-only"
refused enable EACCES 13 "/dev/x can't be written to: serve it with --read-only"
refused enable ENODEV 19 "no engine is loaded"
refused enable EOPNOTSUPP 95 "/dev/x can't be served: zoned"
refused enable ENOMEDIUM 123 "no medium in /dev/x"
refused enable ENOMEM 12 "enable of a failed: Cannot allocate memory"
refused path EINVAL 22 'path takes the absolute path of .*, not "/dev/x"'
refused num_queues EINVAL 22 'num_queues takes 1 to 64, not "65"' --num-queues 65
refused queue_size EINVAL 22 'queue_size takes a power of two .*, not "3"' --queue-size 3
refused logical_block_size EINVAL 22 'logical_block_size takes .*, not "8192"' --logical-block-size 8192
refused serial EINVAL 22 'serial takes at most 20 .*, not "%s{name}"' --serial "%s{name}"
refused on_read_error EINVAL 22 'on_read_error takes report, park-enospc or park, not "stop"' --on-read-error stop
refused on_write_error EINVAL 22 'on_write_error takes report, park-enospc or park, not ""' --on-write-error=
refused retry_ms EINVAL 22 'retry_ms takes milliseconds .*, not "2147483648"' --retry-ms 2147483648
refused poll_us EINVAL 22 'poll_us takes microseconds up to 100000.*, not "100001"' --poll-us 100001
refused sched_batch ENOENT 2 "driver has no sched_batch: it is of another version" --sched-batch
refused pin_memory ENOENT 2 "driver has no pin_memory: it is of another version" --pin-memory
refused suspend ENOENT 2 "driver has no suspend: it is of another version" --suspend
refused discard EACCES 13 "needs root" --no-discard
refused mkdir EPERM 1 "needs root"
refused mkdir EACCES 13 "needs root"
refused mkdir EINVAL 22 "refuses the name a"
refused mkdir ENOMEM 12 "mkdir of a failed"
fresh
failures="enable=16 rmdir=16"
run create a --path /dev/x
is "create: what can't be removed again is said" grep -q "is still there: .vhost-blkctl delete a" "$tmp/err"

# ---- delete ----
fresh
run create a --path /dev/x
t "delete" 0 "^a: deleted$" delete a
is "  it is gone" gone a
t "delete again" 1 "there is no device a" delete a
run create a --path /dev/x
t "delete --json" 0 "." delete a --json
is "  schema" json 'd == {"name": "a", "deleted": True}'
run create a --path /dev/x
failures="enable=16"
FAKE_OWNER=4711 t "delete of an owned device" 1 "a is in use by process 4711" delete a
is "  it is still there" attr a enable 1
FAKE_ORPHANS=3 t "delete with orphans" 1 "to answer 3 requests of a dead VM" delete a
FAKE_ORPHANS=1 t "delete with one orphan" 1 "to answer 1 request of a dead VM" delete a
t "delete of an open device" 1 "stop what has $tmp/dev/vhost-blk-a open" delete a
rm "$tmp/dev/vhost-blk-a"
t "delete of a busy device that can't be asked" 1 "stop what has $tmp/dev/vhost-blk-a open" delete a
failures="rmdir=1"
t "delete: rmdir fails" 1 "needs root" delete a

# ---- list ----
fresh
t "list of nothing" 0 "" list
t "list of nothing, JSON" 0 "." list --json
is "  schema" json 'd == {"devices": []}'
run create b --path /dev/y --read-only
run create a --path /dev/x --num-queues 2
t "list" 0 "^a +free +1 MiB +2 +rw +/dev/x$" list
is "  is sorted" test "$(awk 'NR > 1 { printf $1 }' "$tmp/out")" = ab
is "  shows read-only" grep -Eq "^b .* ro +/dev/y$" "$tmp/out"
t "list --json" 0 "." list --json
is "  schema" json '[x["name"] for x in d["devices"]] == ["a", "b"] and d["devices"][1]["config"]["read_only"] is True'
mkdir "$tmp/config/vhost_blk/half"
t "list with one that can't be read" 0 "^b " list

# ---- show ----
fresh
run create a --path /dev/x --serial S
t "show" 0 "^a: running$" show a
is "  configuration" grep -Eq "^  serial +S$" "$tmp/out"
is "  features by name" grep -Eq "^  features +flush indirect_desc version_1 access_platform suspend bit-60$" "$tmp/out"
is "  backend features by name" grep -Eq "^  backend features +iotlb_msg_v2 suspend stop$" "$tmp/out"
is "  a line per queue" test "$(grep -Ec '^ +[01] running +128 +3 ' "$tmp/out")" = 2
is "  totals" grep -Eq "^  read_bytes +819200$" "$tmp/out"
is "  how often requests were parked" grep -Eq "^  parks +17$" "$tmp/out"
is "  what came of polling" test "$(grep -Ec "^  poll_(hits +8|misses +3)$" "$tmp/out")" = 2
is "  nothing of parked and kept ones when there are none" test "$(grep -Ec "parked|kept" "$tmp/out")" = 0
t "show --json" 0 "." show a --json
is "  device" json 'd["state"] == "running" and d["info"]["owner_pid"] is None and d["info"]["engine"] == "fake"'
is "  bits" json 'd["info"]["features"] == "0x1000080310000200" and d["info"]["features_names"][-1] == "bit-60"
	and d["info"]["status_names"] == ["acknowledge", "driver", "driver_ok", "features_ok"]'
is "  queues" json 'len(d["queues"]) == 2 and d["queues"][1]["index"] == 1 and d["queues"][1]["reads"] == 100'
is "  64-bit counters" json 'd["queues"][0]["broken"] == 2 ** 64 - 1'
is "  no parked ones" json 'd["info"]["parked"] == 0 and d["queues"][0]["parked"] == 0 and d["queues"][0]["kept"] == 0'
is "  every counter of the header" json "all(k in d['queues'][0] for k in '''$(sed -n '/^struct vhost_inflight_queue_info/,/^}/s/.*__u64 \(.*\);/\1/p' ../../include/uapi/linux/vhost_inflight.h)'''.split())"
n=0
for state in free owned running suspended error stopping stalled stopped unknown; do
	FAKE_STATE=$n t "show of a device that is $state" 0 "^a: $state$" show a
	n=$((n + 1))
done
FAKE_STATUS=63 t "show: every bit of the status" 0 "^  status +acknowledge driver driver_ok features_ok suspend stop$" \
	show a
FAKE_PARKED=3 FAKE_KEPT=2 t "show of parked and kept requests" 0 "^  parked requests +3$" show a
is "  of which queue" grep -Eq "^    0 running .* [0-9]  3 parked  2 kept$" "$tmp/out"
is "  and not the other" grep -Eq "^    1 running .* [0-9]$" "$tmp/out"
FAKE_PARKED=3 FAKE_KEPT=2 t "show of parked and kept requests, JSON" 0 "." show a --json
is "  schema" json 'd["info"]["parked"] == 3 and
	[(q["parked"], q["kept"], q["parks"]) for q in d["queues"]] == [(3, 2, 17), (0, 0, 0)]'
FAKE_OLD=1 FAKE_PARKED=3 t "show: a driver that parks nothing" 0 "^a: running$" show a
is "  counts none" grep -Eq "^  parks +0$" "$tmp/out"
is "  shows none" test "$(grep -c parked "$tmp/out")" = 0
is "  and what it does know" grep -Eq "^  read_bytes +819200$" "$tmp/out"
FAKE_OWNER=12 t "show of an owned device" 0 "owner \(process\) +12" show a
FAKE_QUEUES=64 t "show of 64 queues" 0 "^   63 running" show a
FAKE_QUEUES=0 t "show of no queues" 0 "^a:" show a
failures="ioctl=6"
t "show: no engine" 1 "no engine is loaded to serve a" show a
failures="ioctl=19"
t "show: being deleted" 1 "a is being deleted" show a
failures="ioctl=25"
t "show: a driver of another version" 1 "of another version" show a
is "  what configfs has is shown" grep -Eq "^  path +/dev/x$" "$tmp/out"
failures=""
rm "$tmp/dev/vhost-blk-a"
t "show: the node is missing" 1 "vhost-blk-a is not there" show a --json
is "  JSON has the rest" json 'd["info"] is None and d["queues"] is None and d["config"]["path"] == "/dev/x"'
printf disabled > "$tmp/config/vhost_blk/a/state"
printf 0 > "$tmp/config/vhost_blk/a/capacity"
t "show of a disabled device" 0 "^a: disabled$" show a
t "show of a disabled device, JSON" 0 "." show a --json
is "  schema" json 'd["node"] is None and d["info"] is None and d["queues"] is None and d["size_bytes"] == 0'
t "show of no device" 1 "there is no device b" show b
rm "$tmp/config/vhost_blk/a/discard"
t "show: an attribute this driver does not have" 0 "^a: disabled$" show a
rm "$tmp/config/vhost_blk/a/state"
t "show: no state" 1 "can't be read" show a

# ---- inflight ----
fresh
run create a --path /dev/x
t "inflight" 0 "^    0     3         41 out +1024 +4096 submitted +61.500 s$" inflight a
is "  in the order they were taken" test "$(awk 'NR > 1 { printf $2 " " }' "$tmp/out")" = "9 3 10 "
is "  with its error" grep -Eq " in +8 +512 done +61.504 s  Input/output error$" "$tmp/out"
is "  whose owner is gone" grep -Eq " unknown +0 +0 unknown .* of a VM that is gone$" "$tmp/out"
t "inflight --json" 0 "." inflight a --json
is "  schema" json 'd["name"] == "a" and d["busy_queues"] == [] and [r["id"] for r in d["requests"]] == [9, 3, 10]
	and d["requests"][0] == {"queue": 0, "id": 9, "counter": 40, "type": 0, "type_name": "in", "sector": 8,
	"length": 512, "state": "done", "error": 5, "rewindable": True, "orphan": False, "age_ms": 61504}'
is "  64-bit counter" json 'd["requests"][2]["counter"] == 2 ** 64 - 1 and d["requests"][2]["orphan"] is True'
FAKE_REQUESTS=4 t "inflight of a parked request" 0 " 42 out +2048 +512 parked +0.000 s  No space left on device$" inflight a
FAKE_REQUESTS=0 t "inflight of nothing" 0 "" inflight a
FAKE_REQUESTS=0 t "inflight of nothing, JSON" 0 "." inflight a --json
is "  schema" json 'd == {"name": "a", "requests": [], "busy_queues": []}'
FAKE_REQUESTS=5000 t "inflight of more than there can be" 0 "." inflight a
FAKE_QUEUES=0 t "inflight of no queues" 0 "" inflight a
FAKE_STUCK=2 t "inflight with a queue that is stuck" 1 "queue 1 of a does not come to the end of a turn" inflight a
is "  the others are listed" grep -Eq " 41 out " "$tmp/out"
FAKE_STUCK=2 t "inflight with a queue that is stuck, JSON" 1 "queue 1 of a" inflight a --json
is "  is said" json 'd["busy_queues"] == [1] and len(d["requests"]) == 3'
failures="ioctl=25"
t "inflight: a driver of another version" 1 "of another version" inflight a
failures=""
printf disabled > "$tmp/config/vhost_blk/a/state"
t "inflight of a disabled device" 1 "a is disabled" inflight a
t "inflight of no device" 1 "there is no device b" inflight b

# ---- retry ----
fresh
run create a --path /dev/x
t "retry of nothing" 0 "^a: no request to try again$" retry a
FAKE_PARKED=1 t "retry of one" 0 "^a: 1 request is tried again$" retry a
FAKE_PARKED=3 t "retry" 0 "^a: 3 requests are tried again$" retry a
FAKE_PARKED=3 t "retry --json" 0 "." retry a --json
is "  schema" json 'd == {"name": "a", "retried": 3}'
FAKE_OLD=1 t "retry: a driver of another version" 1 "of another version" retry a
failures="ioctl=4"
t "retry that is interrupted" 1 "can't be asked: Interrupted" retry a
failures=""
rm "$tmp/dev/vhost-blk-a"
t "retry: the node is missing" 1 "vhost-blk-a is not there" retry a
printf disabled > "$tmp/config/vhost_blk/a/state"
t "retry of a disabled device" 1 "a is disabled" retry a
t "retry of no device" 1 "there is no device b" retry b

# ---- events ----
fresh
run create a --path /dev/x
stamp="[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}"
t "events of a device that has none" 0 "" events a
t "events of a device that has none, JSON" 0 "" events a --json
export FAKE_EVENTS="1 2 3 4 5 6 7 8"
request="queue 1  out  sector 2048  4096 bytes"
t "events" 0 "^$stamp  parked    $request  No space left on device  3 parked$" events a
for event in healed dropped kept; do
	is "  a request that was $event" grep -Eq "^$stamp  $event +$request  0 parked$" "$tmp/out"
done
for event in stopped stalled resumed; do
	is "  a device that was $event" grep -Eq "^$stamp  $event +0 parked$" "$tmp/out"
done
is "  a queue that was broken" grep -Eq "^$stamp  broken    queue 1  Invalid argument  0 parked$" "$tmp/out"
is "  a line each" test "$(wc -l < "$tmp/out")" = 8
t "events --json" 0 "." events a --json
is "  schema" jsonl 'len(d) == 8 and d[0].pop("time") and d[0].pop("time_ns") and d[0] == {"name": "a", "seq": 1,
	"lost": 0, "event": 1, "event_name": "parked", "queue": 1, "id": 7, "counter": 2 ** 64 - 1, "type": 1,
	"type_name": "out", "sector": 2048, "length": 4096, "error": 28, "parked": 3}'
is "  of a device" jsonl 'd[5]["event_name"] == "stalled" and all(d[5][k] is None for k in
	("queue", "id", "counter", "type", "type_name", "sector", "length"))'
is "  of a queue" jsonl 'd[7]["event_name"] == "broken" and d[7]["queue"] == 1 and d[7]["error"] == 22 and
	d[7]["type"] is None'
is "  in their order" jsonl '[(e["seq"], e["event"]) for e in d] == [(n, n) for n in range(1, 9)]'
types=$(sed -n 's/^.VHOST_INFLIGHT_EVENT_\([A-Z_]*\)\t.*/\L\1/p' ../../include/uapi/linux/vhost_inflight.h)
is "  every type of the header" test "$types" = "$(sed -n 's/.*"event_name":"\([^"]*\)".*/\1/p' "$tmp/out")"
# The clock of the events is that since boot; the test knows only the one on the wall.
is "  the time in UTC" jsonl 'abs(__import__("datetime").datetime.strptime(d[0]["time"], "%Y-%m-%dT%H:%M:%S.%fZ")
	.replace(tzinfo=__import__("datetime").timezone.utc).timestamp() - __import__("time").time()) < 300'
TZ=XYZ-5 t "events in another time zone" 0 "." events a
is "  the local time" python3 -c 'import datetime, sys, time
at = datetime.datetime.fromisoformat(open(sys.argv[1]).readline()[:23]).replace(tzinfo=datetime.timezone.utc)
sys.exit(not abs(at.timestamp() - 5 * 3600 - time.time()) < 300)' "$tmp/out"
FAKE_EVENTS="1/5 2/1 2" t "events that were lost" 0 "^ {23}  lost      5 events before the next one$" events a
is "  one" grep -Eq "^ {23}  lost      1 event before the next one$" "$tmp/out"
is "  and none" test "$(wc -l < "$tmp/out")" = 5
FAKE_EVENTS="1/5 2" t "events that were lost, JSON" 0 "." events a --json
is "  schema" jsonl '[(e["seq"], e["lost"]) for e in d] == [(6, 5), (7, 0)]'
FAKE_EVENTS="99" t "an event of an unknown type" 0 "^$stamp  event-99  queue 1  out  sector 2048 " events a
FAKE_EVENTS="99" t "an event of an unknown type, JSON" 0 "." events a --json
is "  schema" jsonl 'd[0]["event"] == 99 and d[0]["event_name"] == "event-99" and d[0]["sector"] == 2048'
FAKE_EVENTS="eintr 1 eintr 2" t "events that are interrupted" 0 " healed " events a
FAKE_EVENTS="1 wait 2" t "events end where there is none" 0 " parked " events a
is "  at once" test "$(wc -l < "$tmp/out")" = 1
FAKE_EVENTS="1 nodev" t "events of a device that goes away" 1 "a is being deleted" events a
is "  those before it are printed" grep -q " parked " "$tmp/out"
FAKE_OLD=1 t "events: a driver of another version" 1 "of another version" events a
FAKE_OLD=1 t "events --follow: a driver of another version" 1 "of another version" events a --follow

FAKE_EVENTS="1 wait 2 wait eintr 3 eintr 4 wait wait 5 hup" t "events --follow until the device is gone" \
	1 "a is being deleted" events a --follow
is "  what came meanwhile" test "$(awk '{ printf $3 " " }' "$tmp/out")" = "parked healed dropped kept stopped "
FAKE_EVENTS="wait err 6" t "events --follow, an error of poll()" 1 "a is being deleted" events a --follow
is "  what came with it" grep -q " stalled " "$tmp/out"
FAKE_EVENTS="1 wait nodev" t "events --follow, an error of the node" 1 "a is being deleted" events a --follow
FAKE_EVENTS="hup" t "events --follow of nothing" 1 "a is being deleted" events a --follow
for sig in INT TERM; do
	FAKE_EVENTS="1 wait 2" follow a
	is "events --follow, to be interrupted by $sig" said " parked "
	is "  another one" said " healed "
	kill -$sig "$pid"
	is "  ends well" ended 0
	is "  without a word" test ! -s "$tmp/err"
done
FAKE_EVENTS="1 wait eintr 5/2" follow --json a
is "events --follow --json: a line at once" said '"event_name":"parked"'
is "  and the next" said '"event_name":"stopped"'
kill -TERM "$pid"
is "  ends well" ended 0
FAKE_EVENTS="" follow a
exec {lines}<&-
is "events --follow ends when nobody reads" timeout 30 tail -s 0.1 --pid="$pid" -f /dev/null
wait "$pid"
is "  and well" test $? = 0
# A pipe that nobody reads from the beginning.
mkfifo "$tmp/pipe"
exec {reads}<>"$tmp/pipe"
exec {writes}>"$tmp/pipe" {reads}<&-
for option in "" --json; do
	FAKE_EVENTS="1 2 wait 5/2" "$ctl" events --follow $option a 2> "$tmp/err" 1>&"$writes"
	is "events --follow $option that nobody reads, with events to print" test $? = 0
	is "  without a word" test ! -s "$tmp/err"
done
exec {writes}>&-
unset FAKE_EVENTS
rm "$tmp/dev/vhost-blk-a"
t "events: the node is missing" 1 "vhost-blk-a is not there" events a --follow
printf disabled > "$tmp/config/vhost_blk/a/state"
t "events of a disabled device" 1 "a is disabled" events a
t "events --follow of a disabled device" 1 "a is disabled" events a --follow
t "events of no device" 1 "there is no device b" events b

# ---- set ----
fresh
run create a --path /dev/x
t "set" 0 "^a: retry_ms 250, was 1000$" set a retry_ms=250
is "  writes it" attr a retry_ms 250
is "  and nothing else" attr a on_write_error report
t "set of everything" 0 "^a: on_read_error park, was report$" set a retry_ms=0 on_write_error=park-enospc \
	drain_timeout_ms=7 on_read_error=park poll_us=100000 sched_batch=1
for pair in retry_ms=0 on_write_error=park-enospc drain_timeout_ms=7 on_read_error=park poll_us=100000 sched_batch=1; do
	is "  ${pair%%=*}" attr a "${pair%%=*}" "${pair#*=}"
done
is "  a line each" test "$(wc -l < "$tmp/out")" = 6
t "set to what it is" 0 "^a: retry_ms still 0$" set a retry_ms=0
t "set --json" 0 "." set a retry_ms=5 --json
is "  schema" json 'd["name"] == "a" and d["config"]["retry_ms"] == 5 and d["config"]["on_read_error"] == "park"'
failures="retry_ms=22"
t "set that is refused" 1 'retry_ms takes milliseconds .*, not "4294967295"' set a on_read_error=report \
	retry_ms=4294967295
is "  changes nothing" attr a on_read_error park
failures="on_write_error=22"
t "set to a word that is none" 1 'on_write_error takes report, park-enospc or park, not "stop"' \
	set a on_write_error=stop
t "set to no word" 1 'on_write_error takes report, park-enospc or park, not ""' set a on_write_error=
failures="sched_batch=22"
t "set to what is neither 0 nor 1" 1 'sched_batch takes 0 or 1, not "2"' set a sched_batch=2
failures="drain_timeout_ms=13"
t "set without the right" 1 "needs root" set a drain_timeout_ms=1
failures=""
rm "$tmp/config/vhost_blk/a/on_read_error"
t "set of what this driver does not have" 1 "driver has no on_read_error: it is of another version" \
	set a drain_timeout_ms=1 on_read_error=park
is "  changes nothing" attr a drain_timeout_ms 7
rm "$tmp/config/vhost_blk/a/state"
t "set of a device that can't be read" 1 "configuration of a can't be read" set a retry_ms=1
t "set of no device" 1 "there is no device b" set b retry_ms=1

# ---- resize ----
fresh
touch "$tmp/disk-1" "$tmp/disk-2" "$tmp/plain"
ln -sf disk-1 "$tmp/disk-1-by-id"
run create a --path "$tmp/disk-1"
run create b --path "$tmp/disk-2"
run create c --path "$tmp/plain"
run create d --path "$tmp/disk-1-by-id"
t "resize" 0 "^a: still 1 MiB$" resize a
export FAKE_GROW=4096
t "resize of a larger one" 0 "^a: 2 MiB, was 1 MiB$" resize a
t "resize --backing" 0 "^d: 2 MiB, was 1 MiB$" resize --backing "$tmp/disk-1"
is "  finds all of them" grep -q "^a: still 2 MiB$" "$tmp/out"
is "  and no other" test "$(wc -l < "$tmp/out")" = 2
is "  b is untouched" attr b capacity 2048
t "resize --json" 0 "." resize b --json
is "  schema" json 'd == {"resized": [{"name": "b", "old_size_bytes": 1 << 20, "size_bytes": 2 << 20}]}'
t "resize --backing of a file" 2 "is no block device" resize --backing "$tmp/plain"
t "resize --backing of nothing" 1 "No such file" resize --backing "$tmp/none"
printf disabled > "$tmp/config/vhost_blk/b/state"
t "resize --backing passes over a disabled one" 0 "" resize --backing "$tmp/disk-2"
failures="resize=22"
t "resize of a disabled one" 1 "b is disabled" resize b
failures="resize=28"
t "resize of one that shrunk to nothing" 1 "shrunk to less than one block" resize a
failures="resize=5"
t "resize that fails" 1 "resize of a failed: Input/output error" resize a
run resize --backing "$tmp/disk-1"
is "resize --backing tries all and fails" test "$? $(wc -l < "$tmp/err")" = "1 2"
t "resize of no device" 1 "there is no device x" resize x
unset FAKE_GROW

# ---- upgrade; what takes a kernel is tested on a real one, selftests/vhost_blk/upgrade.sh ----
fresh
t "upgrade: timeout 0" 2 "seconds from 0.1" upgrade --timeout 0
t "upgrade with a driver that can't" 1 "can't exchange engines: it is of another version" upgrade
echo "fake 1" > "$tmp/config/vhost_blk/engine"
t "upgrade to a file that is not there" 1 "can't read $tmp/none.ko: No such file" upgrade "$tmp/none.ko"
t "upgrade to a folder" 1 "is no kernel module: Is a directory" upgrade "$tmp"
echo "no module" > "$tmp/text.ko"
t "upgrade to a file that is no module" 1 "$tmp/text.ko is no kernel module" upgrade "$tmp/text.ko"
: > "$tmp/empty.ko"
t "upgrade to an empty file" 1 "$tmp/empty.ko is no kernel module" upgrade "$tmp/empty.ko"
head -c 4096 "$ctl" > "$tmp/elf.ko"
t "upgrade to a cut off program" 1 "$tmp/elf.ko is no kernel module" upgrade "$tmp/elf.ko"
t "upgrade to a program" 1 "is no kernel module" upgrade "$ctl"

# ---- watch ----
fresh
run create a --path /dev/x
t "watch" 0 "^running +[0-9.]+" watch a --interval 0.1 --count 2
is "  a heading and two lines" test "$(wc -l < "$tmp/out")" = 3
t "watch --json" 0 "." watch a --interval 0.1 --count 1 --json
is "  schema" json 'd["name"] == "a" and d["state"] == "running" and d["depth"] == 6 and d["seconds"] > 0
	and abs(d["per_second"]["reads"] * d["seconds"] - 200) < 5 and d["per_second"]["broken"] >= 0'
failures="ioctl=25"
t "watch: the driver does not know" 1 "of another version" watch a --count 1
failures=""
printf disabled > "$tmp/config/vhost_blk/a/state"
t "watch of a disabled device" 1 "a is disabled" watch a --count 1
t "watch of no device" 1 "there is no device b" watch b

# ---- completion ----
fresh
run create abc --path /dev/x
t "complete: commands" 0 "^show$" --complete s
t "complete: devices" 0 "^abc$" --complete show a
t "complete: options" 0 "^--no-event-idx$" --complete create x --no
t "complete: nothing for create's NAME" 0 "" --complete create a
t "complete: unknown command" 0 "" --complete frob x
t "complete: words" 0 "^park-enospc$" --complete create x --on-read-error park
is "  that begin like it" test "$(wc -l < "$tmp/out")" = 2
t "complete: words after =, by bash" 0 "^report$" --complete create x --on-read-error = r
t "complete: options after one that takes no value" 0 "^--pin-memory$" --complete create x --sched-batch --pi
t "complete: no words for one that takes none" 0 "" --complete create x --sched-batch ""
t "complete: no words for a number" 0 "" --complete create x --retry-ms = 1
t "complete: set's NAME" 0 "^abc$" --complete set a
t "complete: set's attributes" 0 "^on_write_error=$" --complete set abc on_
is "  that begin like it" test "$(wc -l < "$tmp/out")" = 2
t "complete: set's attributes, the second" 0 "^retry_ms=$" --complete set abc on_read_error = park ""
t "complete: set's words" 0 "^park$" --complete set abc on_write_error =
is "  all of them" test "$(wc -l < "$tmp/out")" = 3
t "complete: set's words that begin like it" 0 "^park$" --complete set abc on_write_error = p
is "  and no other" test "$(wc -l < "$tmp/out")" = 2
t "complete: set's 0 and 1" 0 "^1$" --complete set abc sched_batch = ""
is "  both of them" test "$(wc -l < "$tmp/out")" = 2
t "complete: set's options" 0 "^--json$" --complete set abc --j
t "complete: no word" 0 "^create$" --complete
rm -rf "$tmp/config"
t "complete: without the driver" 0 "" --complete show a

# As bash calls it: WORD...; what is offered in a line, and the options that it asked for.
shell_completes()
{
	bash -c 'compopt() { asked+=" $*"; }
. ./vhost-blkctl.bash-completion
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_vhost_blkctl
echo "${COMPREPLY[*]}$asked"' bash "$ctl" "$@" > "$tmp/out" 2> "$tmp/err"
}
fresh
run create abc --path /dev/x
shell_completes set a
is "in the shell: a device" grep -qx "abc" "$tmp/out"
shell_completes set abc on_w
is "in the shell: an attribute, no space behind it" grep -qx "on_write_error= -o nospace" "$tmp/out"
shell_completes set abc on_write_error = p
is "in the shell: its words" grep -qx "park-enospc park" "$tmp/out"
shell_completes create x --path "$tmp/con"
is "in the shell: files" grep -qx "$tmp/config -o filenames" "$tmp/out"
shell_completes upgrade "$tmp/con"
is "in the shell: a module" grep -qx "$tmp/config -o filenames" "$tmp/out"
shell_completes upgrade --fall
is "in the shell: options of a command that takes a file" grep -qx -e "--fallback" "$tmp/out"
shell_completes frob x
is "in the shell: nothing" grep -qx "" "$tmp/out"

# ---- what is shipped ----
fresh
mkdir "$tmp/config/vhost_blk/a"
printf free > "$tmp/config/vhost_blk/a/state"
"$shipped" show a > "$tmp/out" 2> "$tmp/err"
is "the shipped binary asks the real system: no node" grep -q "is not there" "$tmp/err"
touch "$tmp/dev/vhost-blk-a"
"$shipped" show a > "$tmp/out" 2> "$tmp/err"
is "  and a node that is none" grep -q "does not know this tool" "$tmp/err"
if [ -e /dev/full ]; then
	"$shipped" list --json > /dev/full 2> "$tmp/err"
	is "  output that can't be written is an error" grep -q "can't write the output: No space" "$tmp/err"
fi
make -s install DESTDIR="$tmp/inst" PREFIX=/usr > "$tmp/out" 2> "$tmp/err"
is "install" test -x "$tmp/inst/usr/sbin/vhost-blkctl" -a -s "$tmp/inst/usr/share/man/man8/vhost-blkctl.8"
is "  the udev rule names the installed tool" grep -q '"/usr/sbin/vhost-blkctl resize --backing' \
	"$tmp/inst/lib/udev/rules.d/90-vhost-inflight.rules"
for word in $("$shipped" --complete) $(for c in $("$shipped" --complete); do "$shipped" --complete "$c" --; done); do
	is "the man page has $word" grep -Fqe "${word//-/\\-}" vhost-blkctl.8
done

echo "1..$nr"
echo "# $((nr - failed)) passed, $failed failed"
[ $failed = 0 ]
