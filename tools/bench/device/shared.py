# SPDX-License-Identifier: GPL-2.0
"""What queues share on the way of a request; tools/bench/device/run --shared starts it in the machine.

Four queues of one device run, each with its worker, and the kernel's own tracepoints say, with stacks:

 - who waited for a lock (lock:contention_begin), and whether workers of two queues waited for the same;
 - which locks are taken at all (lock:lock_acquire: only a kernel with lockdep has it), and which by
   workers of two queues, waited for or not;
 - what is allocated (kmem:*).

Counted is what has a function of ours in its stack, and neither an interrupt nor the scheduler above
that. That there would be something to see is shown by requests of 256 KiB, which allocate, by those to a
regular file, which go through a workqueue, and by processes that open the node at once.
"""
import argparse
import collections
import fcntl
import os
import re
import struct
import subprocess
import sys

import inside
from inside import BenchError, put, run, say, until

TRACING = "/sys/kernel/tracing"
QUEUES = 4
# The buffer of each processor.
BUFFER_KB = 48 << 10
TAKEN = ("lock/lock_acquire",)
WAITS = ("lock/contention_begin",)
ALLOCATIONS = ("kmem/kmalloc", "kmem/kmem_cache_alloc", "kmem/mm_page_alloc")
LOADS = [dict(zip(("disk", "mode", "depth", "block"), load)) for load in (
    ("null", "polled", 32, 4096), ("null", "evented", 32, 4096), ("null", "evented", 1, 4096),
    ("null", "evented", 4, 262144), ("file", "evented", 32, 4096))]
# vhost_inflight.h: VHOST_INFLIGHT_GET_QUEUE, and where requests are in its struct.
GET_QUEUE, QUEUE_SIZE, QUEUE_REQUESTS = 0xE1, 208, 32
OURS = re.compile(r"^(vinf|vblk|virtq|inflight)_")
# What the processor did then was not for the queue.
INTERRUPT = re.compile(r"^(asm_(sysvec|common|exc_nmi)|sysvec_|common_interrupt|irqentry_|(__)?irq_exit|"
                       r"handle_softirqs|__do_softirq|(preempt_|__)?schedule|__cond_resched)")
LINE = re.compile(r"^\s*(\S.*)-\d+\s+\[(\d+)\]\s+\S+\s+[\d.]+: ([^\s:]+):? ?(.*)$")
# Who takes a lock. Elsewhere lock_acquire() is a mark for lockdep, such as might_lock(), or a seqcount.
TAKES = re.compile(r"^(_raw_|raw_spin|(native|__pv)_queued|mutex_|__mutex_|down_|rwsem_|osq_lock|rt_)")


def requests(fd):
    """Requests that each queue has given back."""
    counts = []
    for queue in range(QUEUES):
        info = bytearray(QUEUE_SIZE)
        struct.pack_into("=IH", info, 0, QUEUE_SIZE, queue)
        fcntl.ioctl(fd, 3 << 30 | QUEUE_SIZE << 16 | 0xAF << 8 | GET_QUEUE, info)
        counts.append(struct.unpack_from("=Q", info, QUEUE_REQUESTS)[0])
    return counts


def by_whom(stack):
    """The function of ours that is nearest, and the way from there; None: not ours."""
    for i, function in enumerate(stack):
        if INTERRUPT.match(function):
            return None
        if OURS.match(function):
            return " > ".join(reversed(stack[:i + 1]))
    return None


def takes_itself(stack):
    """Whether it is a function of ours that takes the lock, not one that it calls."""
    above = [function for function in stack if not TAKES.match(function) and
             function not in ("lock_acquire", "__traceiter_contention_begin")]
    return bool(above and OURS.match(above[0]))


def is_taken(stack):
    """Whether it is a lock that lockdep tells of."""
    above = [function for function in stack[:3] if function != "lock_acquire"]
    return bool(above and TAKES.match(above[0]))


def events():
    """What is in the trace: who, which event, its text, its stack."""
    found, last, stack = [], {}, None
    with open(f"{TRACING}/trace", encoding="ascii", errors="replace") as trace:
        for line in trace:
            if line.startswith(" => "):
                if stack is not None:
                    stack.append(line[4:].split()[0])
                continue
            words = LINE.match(line)
            if not words:
                continue
            # Of the last event of this processor; the first may be of one from before it began.
            if words[3] == "<stack":
                stack = last.get(words[2])
                continue
            stack = None
            last[words[2]] = []
            found.append((words[1], words[3], words[4], last[words[2]]))
    return found


def lost():
    """Events that there was no room for."""
    total = 0
    for cpu in os.listdir(f"{TRACING}/per_cpu"):
        with open(f"{TRACING}/per_cpu/{cpu}/stats", encoding="ascii") as stats:
            total += sum(int(line.split()[-1]) for line in stats
                         if line.startswith(("overrun", "dropped")))
    return total


def trace(names, only, action):
    """An action with events on; their list."""
    put(f"{TRACING}/tracing_on", 0)
    put(f"{TRACING}/trace", "")
    for name in names:
        put(f"{TRACING}/events/{name}/filter", only or "0")
        put(f"{TRACING}/events/{name}/enable", 1)
    put(f"{TRACING}/tracing_on", 1)
    action()
    put(f"{TRACING}/tracing_on", 0)
    for name in names:
        put(f"{TRACING}/events/{name}/enable", 0)
    if lost():
        raise BenchError(f"{lost()} events are lost")
    return events()


def queue_of(comm):
    """Of a worker by its name; None for others."""
    found = re.match(r"vblk-(\d+)-", comm)
    return int(found[1]) if found else None


def locks(traced, total):
    """By lock: its name, who was at it, from where."""
    found = {}
    for comm, event, text, stack in traced:
        who = by_whom(stack)
        if not who or (event == "lock_acquire" and not is_taken(stack)):
            continue
        address, *words = text.split()
        lock = found.setdefault(address, {"name": " ".join(words), "queues": set(),
                                          "count": 0, "ours": False, "from": collections.Counter()})
        if queue_of(comm) is not None:
            lock["queues"].add(queue_of(comm))
        lock["count"] += 1
        lock["from"][who] += 1
        lock["ours"] |= takes_itself(stack)
    shared = [lock for lock in found.values() if len(lock["queues"]) > 1]
    return {"all": len(traced), "ours": sum(lock["count"] for lock in found.values()),
            "locks": len(found),
            "shared": [{"name": lock["name"], "queues": sorted(lock["queues"]), "ours": lock["ours"],
                        "per_request": lock["count"] / total,
                        "from": lock["from"].most_common(3)}
                       for lock in sorted(shared, key=lambda lock: -lock["count"])],
            "from": collections.Counter({who: n for lock in found.values()
                                         for who, n in lock["from"].items()}).most_common(8)}


def allocations(traced, total):
    """By event and by whom."""
    count, whom = collections.Counter(), collections.Counter()
    for _, event, _, stack in traced:
        who = by_whom(stack)
        if who:
            count[event] += 1
            whom[f"{event}: {who}"] += 1
    names = [name.split("/")[1] for name in ALLOCATIONS]
    return {"all": len(traced), "per_request": {name: count[name] / total for name in names},
            "from": whom.most_common(8)}


def contend(node):
    """How often processes wait that all open a node, which takes a lock of ours: that is seen."""
    code = "import os, sys\nfor _ in range(2000): os.close(os.open(sys.argv[1], os.O_RDWR))"

    def open_it():
        for p in [subprocess.Popen([sys.executable, "-c", code, node]) for _ in range(8)]:
            p.wait()

    return locks(trace(WAITS, None, open_it), 16000)["ours"]


def watch(args, node, load):
    """A load on all queues, and what is seen while it runs."""
    counted = {}
    fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)

    def some(enough):
        """While each queue does so many."""
        begin = requests(fd)
        until(lambda: min(b - a for a, b in zip(begin, requests(fd))) >= enough, node, 120)
        return sum(b - a for a, b in zip(begin, requests(fd)))

    def count():
        counted["n"] = some(args.requests)

    row = dict(load)
    with subprocess.Popen([inside.VBENCH, "--queues", str(QUEUES), "--depth", str(load["depth"]),
                           "--" + load["mode"], "--block-size", str(load["block"]),
                           "--requests", "1000000000", node]) as client:
        try:
            some(args.requests)
            if args.locks:
                traced = trace(TAKEN, 'comm ~ "vblk-*"', count)
                row["taken"] = locks(traced, counted["n"])
            else:
                traced = trace(WAITS, None, count)
                row["waits"] = locks(traced, counted["n"])
                traced = trace(ALLOCATIONS, None, count)
                row["allocations"] = allocations(traced, counted["n"])
            row["requests"] = counted["n"]
        finally:
            client.kill()
            os.close(fd)
    return row


def main():
    """A row for each load, into a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--requests", type=int, default=2000, help="of each queue, at least")
    parser.add_argument("--locks", action="store_true", help="which are taken; nothing else")
    parser.add_argument("--modules", nargs="+", required=True, metavar="MODULE.ko")
    args = parser.parse_args()

    inside.prepare(args.modules)
    if not os.path.exists(f"{TRACING}/trace"):
        run("mount", "-t", "tracefs", "none", TRACING)
    put(f"{TRACING}/buffer_size_kb", BUFFER_KB)
    put(f"{TRACING}/options/stacktrace", 1)
    disk = inside.null_blk("bench-shared", irqmode=0, submit_queues=os.cpu_count())
    file = f"{inside.RUN}/file"
    with open(file, "wb") as f:
        f.truncate(64 << 20)
    rows, control = [], None
    for load in [LOADS[1], LOADS[-1]] if args.locks else LOADS:
        say(f"# {' '.join(map(str, load.values()))}")
        device = inside.Device("s", disk if load["disk"] == "null" else file, num_queues=QUEUES)
        rows.append(watch(args, device.node, load))
        if load is LOADS[0]:
            control = contend(device.node)
        device.delete()
    inside.save(args.out, {"plan": "shared", "rows": rows, "control": control,
                           "kernel": os.uname().release, "cpus": os.cpu_count()})


if __name__ == "__main__":
    inside.program("shared", main)
