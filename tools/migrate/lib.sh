# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the tests of vhost-blk-migrate share. Not to be run. Sets: tmp.

tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
nr=0 failed=0

# result OK NAME: one line of TAP.
result() {
	nr=$((nr + 1))
	if [[ $1 == 0 ]]; then
		echo "ok $nr $2"
	else
		failed=$((failed + 1))
		echo "not ok $nr $2"
	fi
}

# t NAME STATUS EXPRESSION SENTENCE TOOL [OPTION...]: the exit status, or several with |; a Python expression over the
# JSON on stdout (d, and the moves that were done in m); a pattern for what is said on stderr, empty for nothing. With
# LATER, that is done the first time that something is said with WHEN in it.
t() {
	local name=$1 status=$2 expr=$3 sentence=$4 rc=0
	shift 4
	timeout -k 5 "${BOUND:-60}" "$@" --json >"$tmp/out" 2> >(later >"$tmp/err") || rc=$?
	wait $!
	if [[ $rc =~ ^($status)$ ]] && said "$sentence" && holds "$expr"; then
		result 0 "$name"
		cat "$tmp/how"
	else
		result 1 "$name"
		echo "# status $rc, not $status; or it was not said: $sentence; or it is not so: $expr"
		tail -n 20 "$tmp/err" | sed 's/^/# err: /'
		tail -n 40 "$tmp/out" | sed 's/^/# out: /'
	fi
	LATER='' WHEN=''
}

later() {
	local line
	while IFS= read -r line; do
		printf '%s\n' "$line"
		if [[ ${LATER:-} && $line == *"$WHEN"* ]]; then
			eval "$LATER"
			LATER=
		fi
	done
}

said() { if [[ $1 ]]; then grep -Eq -- "$1" "$tmp/err"; else [[ ! -s $tmp/err ]]; fi; }

# What there is to tell of the moves is in the file how.
holds() {
	: >"$tmp/how"
	[[ ! $1 ]] || python3 - "$1" "$tmp/out" >"$tmp/how" <<'END'
import json, statistics, sys
d = json.load(open(sys.argv[2], encoding="ascii"))
m = [move for move in d["moves"] if move["moved"]]
if m:
    down = [move["downtime_ms"] for move in m]
    print("# %d moves: downtime %.1f/%.1f/%.1f ms (min/median/max), %d requests moved, %d returned by stops" % (
        len(m), min(down), statistics.median(down), max(down), sum(move["kept"] for move in m),
        sum(move["published"] for move in m)))
sys.exit(not eval(sys.argv[1]))
END
}
