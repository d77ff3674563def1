# SPDX-License-Identifier: GPL-2.0
"""What queues share: what shared.py saw, as tables, and cache lines by the layout of the module.

What pahole says of the holder's structs, from the module's debug information, is compared with what is
done with their members while queues run: no queue may write to a line in which another has something.
Exit status: 0; 1 if for requests of 4 KiB on a block device we allocate, take a lock that several queues
take, or have queues share a cache line.
"""
import argparse
import json
import re
import subprocess
import sys

LINE = 64
# Of struct vinf_dev what a queue's worker, or who completes a request, looks at for each of them.
READ = ("backing", "limits", "idle_wait")
# And what is written while queues run, with who does; none of it for an ordinary request.
WRITTEN = {
    "config": "a resize", "config_lock": "a resize", "config_late": "a resize",
    "bounce": "a request that needs a bounce buffer", "parked": "a request that the disk fails",
    "heal_work": "a request that the disk fails", "events": "an event",
    "told": "a broken queue", "needs_reset": "a broken queue", "idle_wait": "who wants it at rest",
    "stop_work": "a stop", "reap_work": "the owner's death", "lock": "ioctls", "stop": "a stop",
    "status": "a stop", "stand": "a stop", "iotlb": "a new mapping", "open_lock": "an open file",
    "opens": "an open file",
}


def layout(module, struct):
    """Size, and the members with their offsets and sizes."""
    text = subprocess.run(["pahole", "-C", struct, module], capture_output=True, text=True,
                          check=True).stdout
    members = [(m[1], int(m[2]), int(m[3])) for m in re.finditer(
        r"(\w+)(?:\[\w*\])?(?: __attribute__\(\(.*?\)\))?;\s+/\*\s+(\d+)\s+(\d+) \*/", text)]
    size = re.search(r"/\* size: (\d+)", text)
    if not size or not members:
        raise ValueError(f"pahole knows no struct {struct} in {module}")
    return int(size[1]), members


def lines_of(member):
    """Numbers of the lines that a member is in."""
    return set(range(member[1] // LINE, (member[1] + member[2] - 1) // LINE + 1))


def check(module):
    """What is shared: a dictionary, with 'faults' in words."""
    queue, members = layout(module, "vinf_queue")
    faults = []
    if queue % LINE:
        last = [name for name, at, size in members if (at + size - 1) // LINE == (queue - 1) // LINE]
        faults.append(f"a queue has {queue} bytes: the next one begins in the line of its "
                      f"{', '.join(last)}")
    size, members = layout(module, "vinf_dev")
    known = {m[0]: m for m in members}
    for name in [*READ, *WRITTEN]:
        if name not in known:
            raise ValueError(f"struct vinf_dev has no member {name}")
    near = []
    for name in READ:
        for other in members:
            if other[0] != name and other[0] in WRITTEN and lines_of(other) & lines_of(known[name]):
                near.append({"read": name, "written": other[0], "by": WRITTEN[other[0]]})
    return {"queue_bytes": queue, "device_bytes": size, "near": near, "faults": faults}


def title(row):
    """A load in words."""
    return f"{row['disk']}, {row['mode']}, depth {row['depth']}, {row['block'] // 1024} KiB"


def short(way):
    """From ours to what was reached: the first steps and the last."""
    steps = [step for step in way.split(" > ")
             if step not in ("lock_acquire", "__traceiter_contention_begin") and
             not step.startswith("trace_event_raw")]
    return " > ".join(steps if len(steps) < 5 else [*steps[:2], "...", *steps[-2:]])


def shared_locks(seen):
    """Those that workers of several queues were at."""
    for lock in seen["shared"]:
        print(f"    {lock['per_request']:7.3f} for a request: {lock['name']}, queues "
              f"{' '.join(map(str, lock['queues']))}, taken by "
              f"{'us' if lock['ours'] else 'the kernel'}: {short(lock['from'][0][0])}")


def waits(row):
    """Who waited, and what was allocated."""
    seen, got = row["waits"], row["allocations"]
    print(f"{title(row)}: {row['requests']} requests on 4 queues")
    print(f"  waits for a lock with us in the stack: {seen['ours']}, for one that several queues wait "
          f"for: {len(seen['shared'])}; waits on the whole machine: {seen['all']}")
    shared_locks(seen)
    print("  allocations for a request: " + ", ".join(
        f"{v:.3f} {k}" for k, v in got["per_request"].items()) +
        f"; on the whole machine: {got['all']} in all")
    for way, n in got["from"][:4]:
        print(f"    {n / row['requests']:7.3f} for a request: {short(way)}")


def taken(row):
    """All locks, by lockdep."""
    seen = row["taken"]
    print(f"{title(row)}: {row['requests']} requests on 4 queues, debug kernel")
    print(f"  locks that workers take: {seen['ours'] / row['requests']:.2f} for a request, {seen['locks']} "
          f"different ones, {len(seen['shared'])} by workers of several queues")
    shared_locks(seen)


def main():
    """Tables, JSON, a verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", required=True, metavar="FILE")
    parser.add_argument("--module", required=True, metavar="vhost_inflight.ko")
    parser.add_argument("part", nargs="+")
    args = parser.parse_args()
    parts, faults = [], []
    for name in args.part:
        with open(name, encoding="ascii") as f:
            parts.append(json.load(f))
    for row in (row for part in parts for row in part["rows"]):
        (taken if "taken" in row else waits)(row)
        print()
        if row["disk"] == "file" or row["block"] > 4096:
            continue
        faults += [f"{title(row)}: several queues take {lock['name']}"
                   for lock in row.get("taken", row.get("waits"))["shared"] if lock["ours"]]
        faults += [f"{title(row)}: {v:.3f} of {k} for a request"
                   for k, v in row.get("allocations", {"per_request": {}})["per_request"].items()
                   if v > 0.001]
    for part in parts:
        if part["control"] is None:
            continue
        print(f"8 processes that open the node 2000 times each wait for our locks {part['control']} times")
        if not part["control"]:
            faults.append("waits are not seen")
    layouts = check(args.module)
    print(f"a queue has {layouts['queue_bytes']} bytes, {layouts['queue_bytes'] / LINE:g} lines; "
          f"a device {layouts['device_bytes']}")
    for near in layouts["near"]:
        print(f"  dev.{near['read']}, which every request looks at, has dev.{near['written']} in its "
              f"line, written by {near['by']}")
    faults += layouts["faults"]
    for fault in faults:
        print(f"SHARED: {fault}")
    with open(args.json, "w", encoding="ascii") as f:
        json.dump({"parts": parts, "lines": layouts, "faults": faults}, f, indent=1)
        f.write("\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
