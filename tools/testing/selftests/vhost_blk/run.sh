#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: run.sh [--quick|--all] [--verbose] [--limit S] [PROGRAM [OPTION...]]
#
# Runs all tests of this folder, or one program with options of kselftest_harness.h, on the kernel
# that is running, as root: in a virtual machine. Inserts our modules from below MODDIR (default:
# the newest build in the checkout), and now and then an engine with fault points from below
# FAULTDIR, which 'fault' needs. One stream of TAP, the totals in its last line. --quick: the
# part that a slow debug kernel has the time for; --all: also the variants that are left to long runs;
# --verbose: what passing tests say, too; --limit: how long one program may take, 300 s.
# VHOST_INFLIGHT_PATIENCE=N in the environment multiplies that.
#
# Exit status: 0 all passed, 1 one failed, was skipped or did not run, 2 usage.
# shellcheck source=lib.sh disable=SC2154
. "$(dirname "$0")/lib.sh"

# program, seconds it may take, options with --quick ('-' leaves it out)
programs=(
	"ioctl 120 -v running -v broken"
	"args 60"
	"owner 60"
	"clients 60 -v qemu_10_0_mq"
	"configfs 90 -T many_devices"
	"io 120 -v nullb4096_mixed -v ext4_indirect"
	"types 120 -V ext4 -V loop4096 -T resize_block -T resize_ext4 -T read_only_file"
	"queues 90 -v q2 -v q64 -v nullb_4"
	"features 200 -F matrix -f order -v split_4_in_order -v packed_5_partial"
	"framing 120 -v nullb512_indirect"
	"hostile 90"
	"notify 90 -v event_idx"
	"poll 200 -v packed"
	"policy 200 -v polls"
	"upgrade 300 -v packed -T attributes"
	"fault 300 -T another_engine_goes_on -v packed -F control"
	"iotlb 120 -v v2_memfd -v pinned -v taken"
	"lifecycle 200 -V file -V block"
	"death 200 -V file -V block"
	"inflight 120 -F content -T another_layout"
	"log 120 -V packed -V split_no_event_idx_file"
	"requests 150 -v packed_in_order"
	"record 60"
	"stop 600 -r stop.packed_in_order.preserve_and_go_on -r stop.packed_in_order.exchange_while_stalled -r move.packed_in_order.with_what_is_kept -r narrow.packed_in_order.preserve -r fault.packed_preserve.ends -r dead.split.stalls_at_the_deadline -r pair.split.memory_moves -r dead.split.closed"
	"park 400 -r in_order.packed.stops -r path.packed.whole_ring -r path.packed.exchange -r path.packed.owner_is_killed -r path.packed.reset_gives_back -r full.packed_thin.parked_until_there_is_room -r path.packed.preserve_keeps -r events.of_owners_before"
	"sick 1500 -r sick.path_park_packed.move -r sick.dead_report_split.preserve -r sick.thin_report_split.flush"
	"peers 200 -r peers.packed.b5_a_reset_of_the_guest_voids_what_was_to_be_done_again"
	"kill 200 -v split -v packed_in_order"
	"supervisor 200 -v packed_store"
	"ctl.sh 60 -"
	"upgrade.sh 90 -"
	"../../../vhost-blkctl/test-udev.sh 60 -"
	"unload.sh 480 5"
)

# Of these some variants are left to --all: options
declare -A usual=(
	[poll]="-V split_flags -V packed"
	[stop]="-V split_in_order -V packed"
	[park]="-V split -V packed_file -V split_thin"
	[sick]="-r sick.dead_report_split.preserve -r sick.dead_report_split.exchange -r sick.delay_park_packed.flush -r sick.delay_park_packed.move -r sick.stuck_enospc_split.exchange -r sick.stuck_enospc_split.preserve -r sick.nbd_report_packed.flush -r sick.nbd_report_packed.move -r sick.plain_park_split.exchange -r sick.plain_park_split.preserve -r sick.file_enospc_packed.flush -r sick.file_enospc_packed.move -r sick.thin_report_split.preserve -r sick.thin_report_split.exchange -r sick.path_park_packed.move -r sick.path_park_packed.flush -r worker.path.owner_is_stopped -r worker.nbd.in_a_page_fault -r nbd.none.owner_is_killed -r nbd.deadline.back_in_time -r nbd.below_dm.parked"
)

# Of these nobody may sleep for long who can't be killed: SECONDS for the kernel to report it.
declare -A sleepless=([stop]=5 [park]=5 [sick]=5)

quick='' all='' verbose='' limit=300
while [[ ${1:-} == -* ]]; do
	case $1 in
	--quick) quick=1 ;;
	--all) all=1 ;;
	--verbose) verbose=1 ;;
	--limit) limit=$2 && shift ;;
	-h | --help) sed -n '3,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
	*) sed -n 4p "$0" >&2; exit 2 ;;
	esac
	shift
done

[[ -z $quick ]] || export VBLK_QUICK=1
pass=0 fail=0 skip=0 count=0
log=$(mktemp)

report() {
	count=$((count + 1))
	case $1 in
	pass) pass=$((pass + 1)) && echo "ok $count $2" ;;
	skip) skip=$((skip + 1)) && echo "ok $count $2 # SKIP" ;;
	*) fail=$((fail + 1)) && echo "not ok $count $2" ;;
	esac
}

# The program's own TAP, flattened: results get our numbers, the rest is shown where something failed.
digest() {
	local prog=$1 line said=()
	while IFS= read -r line; do
		case $line in
		"ok "*"# SKIP"*) line=${line#ok * } && report skip "$prog: ${line%% # SKIP*}" ;;
		"ok "*) report pass "$prog: ${line#ok * }" && said=() ;;
		"not ok "*)
			report fail "$prog: ${line#not ok * }"
			[[ $verbose ]] || { ((${#said[@]} == 0)) || printf '#   %s\n' "${said[@]}"; }
			said=()
			;;
		TAP* | 1..* | "# Totals"* | "# Starting"* | "# PASSED"* | "# FAILED"*) ;;
		*)
			[[ -z $verbose ]] || echo "#   $line"
			[[ $line == *" RUN "* || $line == *"  OK  "* ]] || said+=("${line#\# }")
			;;
		esac
	done <"$log"
	((${#said[@]} == 0)) || printf '#   %s\n' "${said[@]}"
}

run_one() {
	local prog=$1 limit=$(($2 * ${VHOST_INFLIGHT_PATIENCE:-1})) planned ran before=$count start=$SECONDS rc
	shift 2
	hung_tasks "${sleepless[$prog]:-120}"
	timeout -k 5 "$limit" "$here/$prog" "$@" >"$log" 2>&1 </dev/null
	rc=$?
	hung_tasks 120
	digest "$prog"
	ran=$((count - before))
	planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$log" | head -n 1)
	if [[ $rc == 124 || $rc == 137 ]]; then
		report fail "$prog: still running after $limit s"
	elif ((ran == 0 || ran < ${planned:-1})); then
		report fail "$prog: $ran of ${planned:-?} tests ran, status $rc"
	fi
	echo "# $prog: $((SECONDS - start)) s"
}

# All of it is read before any of it runs: the script may change under a run that takes minutes.
main() {
	echo "TAP version 13"
	load_deps
	if ! make_room || ! load_modules || ! load_record; then
		echo "Bail out! the modules or the file systems for the tests are not there"
		exit 1
	fi
	if (($#)); then
		[[ -x $here/$1 ]] || { echo "Bail out! there is no $1"; exit 2; }
		local prog=$1
		shift
		run_one "$prog" "$limit" "$@"
	else
		for entry in "${programs[@]}"; do
			read -ra words <<<"$entry"
			if [[ ! $quick ]]; then
				words=("${words[@]:0:2}")
				# shellcheck disable=SC2206 # options, one by one
				[[ $all ]] || words+=(${usual[${words[0]}]:-})
			fi
			[[ -z $quick ]] || words[1]=$((words[1] * 3))
			[[ ${words[2]:-} == - ]] || run_one "${words[@]}"
		done
		if unload_modules && rmmod dm_vblk_record; then
			report pass "modules can be removed at the end"
		else
			report fail "modules can be removed at the end"
		fi
	fi
	rm -f "$log"
	echo "1..$count"
	echo "# totals pass $pass fail $fail skip $skip"
	((fail == 0 && skip == 0 && pass > 0))
}

main "$@"
exit
