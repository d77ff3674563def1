#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# usage: systemd.sh DIR
#
# Becomes a systemd of its own, the first process of its namespaces, that has no service but those in
# DIR/units. DIR, on a tmpfs, is its /run. It ends with the process that this is.
if [ $# != 1 ] || ! [ -d "$1/units" ]; then
	sed -n 4p "$0" >&2
	exit 2
fi

# shellcheck disable=SC2016 # the inner shell's
exec unshare --pid --mount --cgroup --fork --kill-child --mount-proc sh -c '
	mount --bind "$1" /run && cd / &&
		exec env container=test SYSTEMD_UNIT_PATH=/run/units /lib/systemd/systemd --system \
			--unit=none.target --log-target=null' systemd "$1"
