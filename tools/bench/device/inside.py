# SPDX-License-Identifier: GPL-2.0
"""The device against its peers; tools/bench/device/run starts it inside the virtual machine.

Measures what a plan says, in rounds in which each peer has its turn, and writes what came out, all of
it, as JSON. What it means is said by report.py.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
VBENCH = f"{HERE}/vbench"
CONFIGFS = "/sys/kernel/config"
RUN = "/run/bench"
# A ring of this size has room for so many requests of three descriptors; the simulator has no
# larger one and no indirect descriptors.
SIM_DEPTH = 85
# Of ours-polling. A worker does not poll for what takes longer, and in an emulated machine a timer of 100 us
# takes up to 400.
POLL_US = 1000


class BenchError(Exception):
    """Something that has to work did not."""


def run(*argv):
    """A command that has to succeed; what it printed."""
    p = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    if p.returncode:
        raise BenchError(f"{' '.join(argv)}: {p.returncode}: {p.stderr.strip()}")
    return p.stdout


def put(path, value):
    """Writes an attribute."""
    with open(path, "w", encoding="ascii") as attribute:
        attribute.write(str(value))


def until(condition, what, timeout=30):
    """Waits for a condition, which nothing tells of; what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


def say(text):
    """For whoever waits."""
    print(text, flush=True)


# ---- disks ----

def null_blk(name, **attributes):
    """A disk that stores nothing."""
    path = f"{CONFIGFS}/nullb/{name}"
    os.mkdir(path)
    attributes = {"size": 1024, "blocksize": 512, "submit_queues": 2, "hw_queue_depth": 1024,
                  "queue_mode": 2, **attributes, "power": 1}
    for key, value in attributes.items():
        put(f"{path}/{key}", value)
    return f"/dev/{name}"


def make_disk(name):
    """One of the disks that are measured on, by its name in a plan."""
    if name.startswith("null"):     # done as soon as it is asked; a device wants it for itself
        return null_blk(f"bench-{name}", irqmode=0)
    if name == "timer":         # done after 100 us
        return null_blk("bench-timer", irqmode=2, completion_nsec=100000)
    if name == "brd":
        run("modprobe", "brd", "rd_nr=1", "rd_size=131072")
        return "/dev/ram0"
    raise BenchError(f"there is no disk {name}")


# ---- who is measured ----

def rmdir_device(path):
    """Deletes a device of ours, as soon as nobody has its node open."""
    def gone():
        try:
            put(f"{path}/enable", 0)
            os.rmdir(path)
        except OSError:
            return False
        return True
    until(gone, f"rmdir {path}")


class Device:
    """A vhost-blk device of ours."""

    def __init__(self, name, path, **attributes):
        self.path = f"{CONFIGFS}/vhost_blk/{name}"
        os.mkdir(self.path)
        for key, value in {"path": path, **attributes, "enable": 1}.items():
            put(f"{self.path}/{key}", value)
        self.node = f"/dev/vhost-blk-{name}"
        until(lambda: os.path.exists(self.node), self.node)

    def state(self):
        """Where it stands, in a word."""
        with open(f"{self.path}/state", encoding="ascii") as attribute:
            return attribute.read().strip()

    def delete(self):
        """Its owner may have only just gone."""
        rmdir_device(self.path)


class Daemon:
    """QEMU's storage daemon with one export, which has an iothread."""

    def __init__(self, disk, path, kind, *iothread):
        name = f"{kind}-{disk}"
        if kind == "vduse":
            export = f"vduse-blk,name={name},num-queues=1,queue-size=256"
        else:
            self.node = f"{RUN}/{name}"
            export = f"vhost-user-blk,addr.type=unix,addr.path={self.node},num-queues=1"
        self.process = subprocess.Popen([
            "qemu-storage-daemon", "--object", ",".join(("iothread,id=io", *iothread)),
            "--blockdev", f"host_device,node-name=disk,filename={path},cache.direct=on,"
                          "aio=io_uring,locking=off",
            "--export", f"{export},id=export,node-name=disk,writable=on,iothread=io"],
            stdin=subprocess.DEVNULL)
        if kind == "vduse":
            until(lambda: os.path.exists(f"/dev/vduse/{name}"), name)
            self.node = vdpa_node("vduse", name)
        else:
            until(lambda: os.path.exists(self.node), name)

    def stop(self):
        """Ends the process."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def vdpa_node(parent, name):
    """A device of the vdpa bus that vhost-vdpa has a node for."""
    run("vdpa", "dev", "add", "name", name, "mgmtdev", parent)
    bus = f"/sys/bus/vdpa/devices/{name}"
    node = until(lambda: [n for n in os.listdir(bus) if n.startswith("vhost-vdpa-")], bus)[0]
    return until(lambda: os.path.exists(f"/dev/{node}") and f"/dev/{node}", node)


class Peers:
    """All that can be measured, made when it is first asked for."""

    def __init__(self, args):
        self.args = args
        self.disks, self.nodes, self.daemons = {}, {}, []
        self.engine = "vhost_blk"

    def disk(self, name):
        """Path of a disk."""
        if name not in self.disks:
            self.disks[name] = make_disk(name)
        return self.disks[name]

    def load(self, engine):
        """The engine, or the one that tracks nothing."""
        if self.engine == engine:
            return
        run("rmmod", "vhost_blk")
        run("insmod", self.args.untracked if engine == "untracked" else self.args.modules[-1])
        self.engine = engine

    def daemon(self, kind, disk):
        """An export of the storage daemon."""
        if (kind, disk) not in self.nodes:
            self.nodes[kind, disk] = Daemon(disk, self.disk(disk), kind)
            self.daemons.append(self.nodes[kind, disk])
        return self.nodes[kind, disk]

    def ours(self, disk, polling=False, pinned=False):
        """Our device on a disk; with pinned memory it is another one, which wants a disk to itself."""
        disk += "-pinned" * pinned
        if ("ours", disk) not in self.nodes:
            self.nodes["ours", disk] = Device(f"bench-{disk}", self.disk(disk), packed=1,
                                              pin_memory=int(pinned))
        put(f"{self.nodes['ours', disk].path}/poll_us", POLL_US if polling else 0)
        return self.nodes["ours", disk]

    def command(self, peer, case):
        """What vbench is to be told; None: that can't be had."""
        disk, argv = case["disk"], []
        if peer == "io_uring":
            return [self.disk(disk)]
        if peer == "ours-pinned" and disk != "null":
            return None
        if peer.startswith("ours"):
            self.load("untracked" if peer == "ours-untracked" else "vhost_blk")
            return argv + ["--packed"] * (peer == "ours-packed") + \
                [self.ours(disk, peer == "ours-polling", peer == "ours-pinned").node]
        if peer == "vdpa_sim":
            if disk == "timer" or not self.args.sim:
                return None
            if "sim" not in self.nodes:
                self.nodes["sim"] = vdpa_node("vdpasim_blk", "bench-sim")
            return ["--cpu", "vDPA sim worker", "--cpu", "kworker", self.nodes["sim"]]
        kind = peer.removesuffix("-tracked")
        daemon = self.daemon(kind, disk)
        argv = ["--cpu", str(daemon.process.pid)]
        if kind == "vduse":
            argv += ["--cpu", "kworker"]
        return argv + ["--inflight"] * (peer != kind) + [daemon.node]

    def end(self):
        """What would keep the machine from ending."""
        for daemon in self.daemons:
            daemon.stop()


def vbench(*argv):
    """One measurement."""
    p = subprocess.run([VBENCH, "--json", *argv], capture_output=True, text=True, check=False,
                       timeout=120)
    if p.returncode:
        raise BenchError(f"vbench {' '.join(argv)}: {p.stderr.strip()}")
    return json.loads(p.stdout)


def measure(peers, case, peer, *more):
    """A case with a peer; None when it can't be had."""
    target = peers.command(peer, case)
    if target is None:
        return None
    depth = min(case["depth"], SIM_DEPTH) if peer == "vdpa_sim" else case["depth"]
    return vbench("--depth", str(depth), "--mix", case["mix"], "--batch", str(case.get("batch", 1)),
                  "--" + case["mode"], *more, *target)


# ---- what is measured ----

EVERYBODY = ("io_uring", "vduse", "vhost-user", "vdpa_sim", "ours", "ours-packed", "ours-pinned")
TRACKING = ("vhost-user-tracked", "ours-untracked")
POLLING = ("ours-polling",)     # where there is something to gain


def case_of(disk, mode, depth, mix="randread", peers=EVERYBODY, **more):
    """A row of a plan."""
    return {"disk": disk, "mode": mode, "depth": depth, "mix": mix, "peers": peers, **more}


def plan_full():
    """Everything that part 2 of the benchmark compares."""
    cases = [case_of("null", "polled", depth, mix, EVERYBODY + TRACKING + POLLING * (depth == 1))
             for depth in (32, 128, 1) for mix in ("randread", "randwrite")]
    cases += [case_of("null", "evented", depth, mix, EVERYBODY + POLLING * (depth == 1))
              for depth in (1, 32, 128) for mix in ("randread", "randwrite")]
    cases += [case_of("timer", "evented", depth, "randread", EVERYBODY + POLLING * (depth == 1))
              for depth in (1, 32)]
    cases += [case_of("brd", "polled", depth, mix)
              for depth in (1, 32) for mix in ("randread", "randwrite")]
    return cases


def plan_quick():
    """What the targets are about."""
    return [case_of("null", "polled", 32), case_of("null", "polled", 128),
            case_of("null", "polled", 32, "randwrite"),
            case_of("null", "evented", 1, peers=EVERYBODY + POLLING),
            case_of("timer", "evented", 1, peers=EVERYBODY + POLLING)]


def plan_icount():
    """Instructions: the same each time, so once is enough. On one processor nobody polls."""
    who = EVERYBODY + TRACKING
    return [case_of("null", "evented", 32, mix, who, batch=batch)
            for batch, mix in ((1, "randread"), (32, "randread"), (32, "randwrite"))] + \
        [case_of("null", "evented", 1, "randread", who)]


def compare(args, peers):
    """Rounds of a plan."""
    cases = {"full": plan_full, "quick": plan_quick, "icount": plan_icount}[args.plan]()
    rows = [{**case, "rounds": {peer: [] for peer in case["peers"]}} for case in cases]
    if args.plan == "icount":
        more = ("--requests", "2000", "--time", "0.01", "--warmup", "0.01")
    else:
        more = ("--time", str(args.time), "--warmup", "0.1")
    begin = time.monotonic()
    for n in range(args.rounds):
        say(f"# round {n + 1} of {args.rounds}")
        for row in rows:
            say(f"# {time.monotonic() - begin:.0f} s: {row['mode']} {row['depth']} {row['disk']}")
            for peer in row["peers"]:
                result = measure(peers, row, peer, *more)
                if result:
                    row["rounds"][peer].append(result)
    return {"rows": rows}


# ---- where the time goes ----

STAGES = ("vhost_inflight/vinf_kick", "vhost_blk/vblk_fetch", "vhost_inflight/vinf_submit",
          "vhost_inflight/vinf_done", "vhost_blk/vblk_complete", "vhost_blk/vblk_publish",
          "vhost_inflight/vinf_call")


def traced(events, action):
    """What an action returned, and each of the events meanwhile, with microseconds of CLOCK_MONOTONIC."""
    tracing = "/sys/kernel/tracing"
    if not os.path.exists(f"{tracing}/trace"):
        run("mount", "-t", "tracefs", "none", tracing)
    put(f"{tracing}/trace_clock", "mono")
    put(f"{tracing}/buffer_size_kb", 8192)
    put(f"{tracing}/trace", "")
    put(f"{tracing}/tracing_on", 1)
    for event in events:
        put(f"{tracing}/events/{event}/enable", 1)
    result = action()
    times = []
    with open(f"{tracing}/trace", encoding="ascii") as trace:
        for line in trace:
            words = line.split()
            if line.startswith("#") or len(words) < 5:
                continue
            i = next((i for i, w in enumerate(words) if w.startswith(("vinf_", "vblk_"))), 0)
            if i:
                times.append((words[i].rstrip(":"), float(words[i - 1].rstrip(":")) * 1e6))
    put(f"{tracing}/tracing_on", 0)
    for event in events:
        put(f"{tracing}/events/{event}/enable", 0)
    return result, times


def stages(peers):
    """Medians of the times between two tracepoints of a request, one at a time."""
    peers.load("vhost_blk")     # before: its events come with it
    _, times = traced(STAGES, lambda: vbench(
        "--depth", "1", "--evented", "--requests", "2000", "--time", "0.01", "--warmup", "0.05",
        peers.ours("null").node))
    spans = {}
    for (before, t0), (after, t1) in zip(times, times[1:]):
        spans.setdefault(f"{before} to {after}", []).append(t1 - t0)
    return {name: {"median_us": sorted(s)[len(s) // 2], "count": len(s)}
            for name, s in spans.items() if len(s) > len(times) / len(STAGES) / 2}


# ---- scale ----

def memory_free():
    """Free memory in KiB, with nothing left in caches that are emptied on request."""
    run("sync")
    put("/proc/sys/vm/drop_caches", 3)
    with open("/proc/meminfo", encoding="ascii") as f:
        info = dict(line.split(":") for line in f)
    return int(info["MemFree"].split()[0])


def scale_memory(peers):
    """KiB that 16 queues more take, with a process that has them running."""
    def taken(queues, size):
        device = Device("bench-memory", peers.disk("null-memory"), num_queues=16, queue_size=1024)
        before = memory_free()
        with subprocess.Popen([VBENCH, "--queues", str(queues), "--depth", "1", "--ring", str(size),
                               "--requests", "1000000000", "--evented", device.node]) as p:
            until(lambda: device.state() == "running", device.node)
            used = before - memory_free()
            with open(f"/proc/{p.pid}/statm", encoding="ascii") as f:
                used -= int(f.read().split()[1]) * 4
            p.kill()
        device.delete()
        return used
    return {f"{queues}x{size}": taken(queues, size)
            for queues, size in ((1, 256), (16, 256), (1, 1024), (16, 1024))}


RECOVERED = ((16, 1024), (16, 1), (1, 1024), (1, 1))     # queues, requests of each


def scale_recovery(args):
    """A stop that preserves so many requests, and the next owner, who goes on with them.

    They are parked: a disk that fails all of them is what makes a device keep as many as one wants.
    """
    # A list of bad blocks has 512 ranges of 512 sectors at most.
    path = null_blk("bench-recovery", irqmode=0, size=64)
    bad, sectors = f"{CONFIGFS}/nullb/bench-recovery/badblocks", f"0-{64 * 2048 - 1}"
    device = Device("bench-recovery", path, num_queues=16, queue_size=1024, packed=1,
                    on_read_error="park", on_write_error="park", retry_ms=0)

    def once(queues, depth, *layout):
        put(bad, f"+{sectors}")
        return vbench("--queues", str(queues), "--depth", str(depth), "--ring", "1024", "--indirect",
                      *layout, *["--evented"] * args.icount, "--recover", f"echo -{sectors} >{bad}",
                      device.node)

    result = {}
    for layout in ("split", "packed"):
        for queues, depth in RECOVERED:
            row = [once(queues, depth, f"--{layout}") for _ in range(args.rounds)]
            again, times = traced(("vhost_inflight/vinf_submit",),
                                  lambda q=queues, d=depth, way=layout: once(q, d, f"--{way}"))
            submitted = [at - again["begun_us"] for _, at in times if at > again["begun_us"]]
            if not submitted:
                raise BenchError("nothing was submitted again")
            result[f"{layout}, {queues} x {depth}"] = {"rounds": row, "submit_us": min(submitted)}
    device.delete()
    return result


def scale_idle(args, peers):
    """What a device does for a second in which nobody wants anything of it, right after a busy time."""
    more = ("--requests", "2000", "--time", "0.01", "--warmup", "0.01", "--evented", "--idle", "1")
    return {who: [vbench(*more, "--depth", str(depth), peers.ours("null", polling).node)
                  for _ in range(args.rounds)]
            for who, depth, polling in (("depth 1", 1, False), ("depth 32", 32, False),
                                        ("depth 1, polling", 1, True))}


def attempt(action, *args):
    """The errno that an action failed with, 0 if it did not."""
    try:
        action(*args)
    except OSError as e:
        return e.errno
    return 0


def summary(numbers):
    """Least, median, largest, and their sum."""
    ordered = sorted(numbers)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1],
            "sum": sum(ordered)}


def scale_devices(number):
    """Making and deleting that many, each on a file: microseconds of each step."""
    steps = {step: [] for step in ("mkdir", "path", "enable", "disable", "rmdir")}

    def timed(step, action, *args):
        begin = time.monotonic()
        action(*args)
        steps[step].append((time.monotonic() - begin) * 1e6)

    def off(path):
        """udev may have the node open still."""
        until(lambda: not attempt(put, f"{path}/enable", 0), path)

    for i in range(number):
        with open(f"{RUN}/disk-{i}", "wb") as f:
            f.truncate(1 << 20)
    paths = [f"{CONFIGFS}/vhost_blk/many-{i}" for i in range(number)]
    for i, path in enumerate(paths):
        timed("mkdir", os.mkdir, path)
        timed("path", put, f"{path}/path", f"{RUN}/disk-{i}")
        timed("enable", put, f"{path}/enable", 1)
    run("udevadm", "settle", "--timeout=60")    # it opens each node for a moment
    for path in paths:
        timed("disable", off, path)
        timed("rmdir", os.rmdir, path)
    create = [sum(t) for t in zip(*(steps[s] for s in ("mkdir", "path", "enable")))]
    delete = [sum(t) for t in zip(*(steps[s] for s in ("disable", "rmdir")))]
    return {"number": number, "us": {"create": summary(create), "delete": summary(delete),
                                     **{step: summary(us) for step, us in steps.items()}},
            "first_us": {"create": summary(create[:number // 10]),
                         "delete": summary(delete[:number // 10])},
            "last_us": {"create": summary(create[-number // 10:]),
                        "delete": summary(delete[-number // 10:])}}


def sweep(args, name, values, argv_of):
    """vbench along an axis, in rounds."""
    rounds = {str(v): [] for v in values}
    if args.icount:
        # So many that what the last of them still had out is nothing beside.
        more = ("--requests", "10000", "--time", "0.01", "--warmup", "0.01", "--evented")
    else:
        more = ("--time", str(args.time), "--warmup", "0.1")
    for _ in range(args.rounds):
        for v in values:
            rounds[str(v)].append(vbench(*more, *argv_of(v)))
    say(f"# {name}: done")
    return rounds


def apart(args, many, devices):
    """The same with a processor for the client and the others for all workers, so that no worker moves."""
    shape = ["--apart", "--depth", "16", "--batch", "4"]
    return {
        "queues, apart": sweep(args, "queues, apart", (1, 4, 16), lambda n: [
            *shape, "--queues", str(n), many.node]),
        "devices, apart": sweep(args, "devices, apart", (1, 4, 16), lambda n: [
            *shape, *[d.node for d in devices[:n]]]),
    }


def scale(args, peers):
    """Cost over queues, devices, mappings; memory, many devices, a large guest."""
    many = Device("bench-queues", peers.disk("null-queues"), num_queues=16)
    devices = [Device(f"bench-d{i}", peers.disk(f"null-{i}")) for i in range(64)]
    ours = peers.ours("null").node
    result = {
        "queues": sweep(args, "queues", (1, 2, 4, 16), lambda n: [
            "--queues", str(n), "--depth", "32", "--batch", "8", many.node]),
        "devices": sweep(args, "devices", (1, 4, 16, 64), lambda n: [
            "--depth", "16", "--batch", "4", *[d.node for d in devices[:n]]]),
        **({} if args.icount else apart(args, many, devices)),
        "maps": sweep(args, "mappings", (1, 10, 100, 1000), lambda n: [
            "--depth", "64", "--maps", str(n), ours]),
        "sparse": sweep(args, "64 GiB", (0, 64), lambda n: [
            *(["--sparse", str(n)] if n else []), ours]),
    }
    for device in devices + [many]:
        device.delete()
    if not args.icount:
        result["memory_kib"] = scale_memory(peers)
        say("# memory: done")
    result["idle"] = scale_idle(args, peers)
    result["recovery"] = scale_recovery(args)
    say("# recovery: done")
    result["many"] = scale_devices(args.devices)
    say(f"# {args.devices} devices: done")
    return result


def prepare(modules):
    """Our modules, and null_blk."""
    os.makedirs(RUN, exist_ok=True)
    run(f"{TOP}/tools/vm/insert", *modules)
    run("modprobe", "null_blk", "nr_devices=0")


def save(path, result):
    """What was measured, as JSON."""
    with open(path, "w", encoding="ascii") as f:
        json.dump(result, f, indent=1)
        f.write("\n")


def program(name, function, *errors):
    """Exit status 1 and a line, if one of the errors that are to be expected ends it."""
    try:
        function()
    except (BenchError, OSError, subprocess.SubprocessError, *errors) as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        print(f"{name}: {where.name}, line {where.lineno}: {e}", file=sys.stderr)
        sys.exit(1)


def main():
    """The plan, and its results in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", choices=("full", "quick", "icount", "scale"), required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--time", type=float, default=0.5)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--icount", action="store_true")
    parser.add_argument("--untracked", required=True, metavar="MODULE.ko")
    parser.add_argument("--sim", nargs="*", default=[], metavar="MODULE.ko")
    parser.add_argument("--modules", nargs="+", required=True, metavar="MODULE.ko")
    args = parser.parse_args()

    prepare(args.modules)
    run("modprobe", "vhost_vdpa")
    run("modprobe", "vduse")
    if args.sim:
        run(f"{TOP}/tools/vm/insert", *args.sim)
    peers = Peers(args)
    begin = time.monotonic()
    try:
        if args.plan == "scale":
            result = {"scale": scale(args, peers)}
        else:
            result = compare(args, peers)
            result["stages"] = stages(peers)
    finally:
        peers.end()
    result.update(plan=args.plan, icount=args.icount, rounds=args.rounds, time=args.time,
                  kernel=os.uname().release, cpus=os.cpu_count(), took=time.monotonic() - begin)
    save(args.out, result)


if __name__ == "__main__":
    program("bench", main)
