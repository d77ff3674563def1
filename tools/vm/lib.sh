# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of tools/vm, tools/demo, tools/e2e and tools/checks share: where things are, how
# to talk to the user, which kernel is Debian's, where built kernels are kept.
#
# To be sourced. Sets: top, cache, kernel_series.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${VHOST_INFLIGHT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vhost-inflight}
kernel_series=6.12
# shellcheck disable=SC2034 # used by those who source this
build=$top/build

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { warn "$1"; exit "${2:-1}"; }

# The comment block at the head of a script is its --help.
usage() { sed -n '3,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; }

# debian_release: the release string of the newest installed Debian kernel of our series whose
# headers are there as well, e.g. 6.12.90+deb12-amd64; nothing if there is none.
debian_release() {
	local h
	for h in $(printf '%s\n' /usr/src/linux-headers-"$kernel_series".*-amd64 | sort -rV); do
		h=${h##*/linux-headers-}
		if [[ -e /boot/vmlinuz-$h && -d /lib/modules/$h/build ]]; then
			printf '%s\n' "$h"
			return
		fi
	done
}

# source_version: Debian's version of the installed kernel source package.
source_version() {
	# shellcheck disable=SC2016 # dpkg's own format string
	dpkg-query -W -f '${Version}' "linux-source-$kernel_series" 2>/dev/null
}

source_dir() { printf '%s\n' "$cache/src/linux-source-$kernel_series"; }

# apt_mirror: the mirror that this machine uses for bookworm, from a deb822 file or else from one-line
# entries; nothing if there is none.
apt_mirror() {
	local f
	{
		for f in /etc/apt/sources.list.d/*.sources; do
			[[ -e $f && $f != */vhost-inflight.sources ]] || continue
			awk -v RS= '{
				uri = suites = ""
				n = split($0, lines, "\n")
				for (i = 1; i <= n; i++) {
					if (lines[i] ~ /^URIs:/) { split(lines[i], w, " "); uri = w[2] }
					if (lines[i] ~ /^Suites:/) suites = lines[i] " "
				}
				if (uri && suites ~ /[ \t]bookworm[ \t]/) { print uri; exit }
			}' "$f"
		done
		for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
			[[ -e $f ]] || continue
			sed -nE 's/^deb[ \t]+(\[[^]]*\][ \t]+)?([^ \t]+)[ \t]+bookworm[ \t].*/\2/p' "$f"
		done
	} | head -n 1
}

# with_progress TOTAL LOG CMD...: runs CMD with its output in LOG and says every 20 seconds how
# many of about TOTAL lines there are; with a TOTAL of 0, which is the last. Prints the end of LOG
# when CMD fails.
with_progress() {
	local total=$1 log=$2 pid n pct start=$SECONDS next rc=0
	shift 2
	"$@" </dev/null >"$log" 2>&1 &
	pid=$!
	next=$((SECONDS + 20))
	while kill -0 "$pid" 2>/dev/null; do
		# Polls for the end of the child, the wait is bounded by its life.
		read -rt 1 <> <(:) || :
		if ((SECONDS >= next)); then
			n=$(wc -l <"$log")
			if ((total)); then
				pct=$((n * 100 / total))
				say "  $((pct < 99 ? pct : 99))% ($n of about $total steps, $((SECONDS - start)) s)"
			else
				say "  $((SECONDS - start)) s: $(tail -n 1 "$log" | cut -c1-80)"
			fi
			next=$((SECONDS + 20))
		fi
	done
	wait "$pid" || rc=$?
	if ((rc)); then
		tail -n 30 "$log" >&2
		warn "failed after $((SECONDS - start)) s, the whole log is in $log"
	fi
	return "$rc"
}

# project_files [PATTERN...]: the files of the project that match a pattern, tracked or about to
# be; all without one. Works in an unpacked archive as well as in a clone.
project_files() {
	local f p
	{
		git -C "$top" -c "safe.directory=$top" ls-files -co --exclude-standard 2>/dev/null ||
			# An archive: what is text, but for what the build makes.
			(cd "$top" && find . \( -name .git -o -name build \) -prune -o -type f \
				! -name '*.mod.c' ! -name '.*.cmd' ! -name '*.symvers' ! -name '*.order' \
				-print0 | xargs -0 grep -Il . | sed 's|^\./||')
	} | sort | while IFS= read -r f; do
		[[ -f $top/$f ]] || continue
		(($#)) || printf '%s\n' "$f"
		for p; do
			# shellcheck disable=SC2053 # a pattern
			[[ $f != $p ]] || { printf '%s\n' "$f"; break; }
		done
	done
}
