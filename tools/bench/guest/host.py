# SPDX-License-Identifier: GPL-2.0
"""A guest with several kinds of disk; tools/bench/guest/run starts it inside the host's virtual machine.

One QEMU has all of them, so that they share a guest, its memory and its vCPU, and fio in the guest drives
one at a time.  Requests are counted where all of them end, at the null_blk; what they cost is read from
the host's scheduler while fio runs.  What came out is written as JSON; what it means is said by tables.py.
"""
import argparse
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
sys.path[:0] = [f"{HERE}/../device", f"{TOP}/tools/e2e"]
from inside import BenchError, Daemon, Device, null_blk, prepare, program, put, run, save, say, until  # noqa: E402
from guest import Guest, GuestError, insert_kvm  # noqa: E402

KVM = "/sys/kernel/debug/kvm"
TRACING = "/sys/kernel/tracing"
MEMORY = "640M"
LEAST = 50      # requests of a window
SIZE = 1024     # MiB of the first disk; each has another size, by which the guest's names are told apart
PEERS = ("ours", "ours-batch", "iothread", "iothread-polls", "vhost-user", "vhost-user-polls")
# An IOThread polls for up to so many nanoseconds before it sleeps, which is QEMU's default, or not at all.
POLLS = {False: 0, True: 32768}
# A guest whose host is emulated now and then loses the only timer that would wake an idle processor. A
# periodic one comes again.
PERIODIC = "nohz=off highres=off nopvspin"
# QEMU's emulation of SVM leaves behind that it has injected an interrupt, until the guest exits or takes an
# exception. When QEMU goes through its main loop before that, as with each timer of the emulated machine,
# the interrupt is delivered once more, and a guest that holds a lock by then spins on it. So let it come
# before the first lock of a handler. That of a local timer acknowledges before all else: let it exit there.
# That of a device locks the interrupt first: have a breakpoint before that, but behind what ftrace may
# patch, and no jump in its place, for both would spare the exception.
EMULATED = ("-cpu", "host,kvm-pv-eoi=off")
BREAKPOINT = (
    "mount -t tracefs none /sys/kernel/tracing && cd /sys/kernel/tracing && echo 0 > tracing_on && "
    "echo 0 > /proc/sys/debug/kprobes-optimization && for at in 9 5 10 11 12; do "
    "echo p:bench handle_edge_irq+$at > kprobe_events && break; done 2>/dev/null && "
    "echo 1 > events/kprobes/bench/enable && cd /")
FIO = ("fio --thread --ioengine=libaio --direct=1 --bs=4k --norandommap --randrepeat=1 --time_based "
       "--runtime=100000 --eta=never --output=/tmp/fio.out --name=bench ")


def disk_of(peer):
    """The same device with another policy of its worker is no other disk."""
    return peer.removesuffix("-batch")


def read(path):
    """An attribute."""
    with open(path, encoding="ascii") as attribute:
        return attribute.read()


# ---- the guest and its disks ----

class Bench:
    """The disks, who serves them, and the guest that has them all."""

    def __init__(self, args):
        self.args = args
        self.disks = {}         # by disk_of(peer): path on the host
        self.names = {}         # likewise: name in the guest
        self.daemons = {}
        self.device = self.guest = self.trace = None
        self.boots = 0

    def make(self):
        """Disks. What there is when this fails is taken away by end()."""
        for i, disk in enumerate(dict.fromkeys(disk_of(peer) for peer in self.args.peers)):
            self.disks[disk] = null_blk(f"bench-{disk}", irqmode=0, size=SIZE + i)
        if "ours" in self.disks:
            self.device = Device("bench", self.disks["ours"])
        self.trace = Trace()

    def boot(self):
        """Another guest, and daemons for it."""
        self.boots += 1
        nodes, extra = [], [
            *(EMULATED if self.args.icount else ()),
            "-name", "guest,debug-threads=on", "-machine", "memory-backend=memory",
            "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"]
        for peer, path in self.disks.items():
            polls = POLLS[peer.endswith("-polls")]
            if peer == "ours":
                nodes.append(self.device.node)
            elif peer.startswith("iothread"):
                # Its thread is "IO" and the id, and has no name at all when that is more than 15 characters.
                extra += ["-object", f"iothread,id=io{polls},poll-max-ns={polls}",
                          "-blockdev", f"host_device,node-name=disk-{peer},filename={path},"
                                       "cache.direct=on,aio=io_uring",
                          "-device", f"virtio-blk-pci,drive=disk-{peer},iothread=io{polls}"]
            else:
                self.daemons[peer] = Daemon(peer, path, "vhost-user", f"poll-max-ns={polls}")
                extra += ["-chardev", f"socket,id={peer},path={self.daemons[peer].node}",
                          "-device", f"vhost-user-blk-pci,chardev={peer}"]
        self.guest = Guest(self.args.kernel, self.args.initramfs, nodes,
                           f"{TOP}/build/log/bench-guest.log", cpus=1, memory=MEMORY,
                           append=PERIODIC, extra=extra)
        # Half a minute to a whole one. Where instructions are the clock, one that stood still had not used
        # up 100 seconds when the machine below had spent ten minutes on it.
        say(f"# the guest was up after {self.guest.booted(70 if self.args.icount else 300):.0f} s")
        sizes = self.guest.sh("for i in /sys/block/vd?; do echo ${i##*/} $(cat $i/size); done")
        by_size = {int(size) >> 11: name for name, size in map(str.split, sizes.splitlines())}
        self.names = {disk: by_size[SIZE + i] for i, disk in enumerate(self.disks)}
        # Its kernel still has work left over from the boot, which would be on the first disk's account. By
        # time, on an emulated machine, its ticks alone keep it from ever looking as if it were at rest.
        if self.args.icount:
            self.guest.sh(BREAKPOINT)
            until(self.at_rest, "the guest comes to rest", 60)

    def at_rest(self):
        """Whether QEMU does next to nothing."""
        before = sum(ns for _, ns in threads(self.guest.qemu.pid).values())
        time.sleep(0.2)
        return sum(ns for _, ns in threads(self.guest.qemu.pid).values()) - before < 10e6

    def down(self):
        """No guest any more, however it is, and no daemons."""
        guest, self.guest = self.guest, None
        if guest:
            guest.qemu.kill()
            guest.qemu.wait(60)
        while self.daemons:
            self.daemons.popitem()[1].stop()

    def end(self):
        """Nothing of it is left, however far it came."""
        def attempt(what, *args):
            try:
                what(*args)
            except (BenchError, GuestError, OSError, subprocess.SubprocessError) as e:
                print(f"bench: not taken away: {e}", file=sys.stderr)

        attempt(self.down)
        if self.device:
            attempt(self.device.delete)
        for path in self.disks.values():
            attempt(os.rmdir, f"/sys/kernel/config/nullb/{os.path.basename(path)}")
        if self.trace:
            attempt(self.trace.end)

    def policies(self):
        """Of our workers, which take on a new one before they sleep."""
        return {os.sched_getscheduler(tid) for tid, (name, _) in threads(self.guest.qemu.pid).items()
                if name.startswith("vblk-")}

    def requests(self, peer):
        """How many its disk has done."""
        words = read(f"/sys/block/{os.path.basename(self.disks[disk_of(peer)])}/stat").split()
        return int(words[0]) + int(words[4])


# ---- whose time it was ----

def threads(pid):
    """Name and nanoseconds on a processor of each thread."""
    result = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            result[int(tid)] = (read(f"/proc/{pid}/task/{tid}/comm").strip(),
                                int(read(f"/proc/{pid}/task/{tid}/schedstat").split()[0]))
        except (FileNotFoundError, ProcessLookupError):
            pass        # it has just ended
    return result


class Sample:
    """Requests that were done, and the time of each thread, at a moment.

    Of the host's one processor, if it has no more, nobody else gets anything while this looks around.
    """

    def __init__(self, bench, peer):
        self.requests = bench.requests(peer)
        self.roles = {}
        for name, ns in threads(bench.guest.qemu.pid).values():
            role = "vcpu" if name.endswith("/KVM") else "worker" if name.startswith("vblk-") else \
                "iothread" if name.startswith("IO ") else "vmm"
            self._add(role, ns)
        if peer in bench.daemons:
            for name, ns in threads(bench.daemons[peer].process.pid).values():
                self._add("daemon", ns)
        self.exits = {name: int(read(f"{KVM}/{name}")) for name in ("exits", "halt_exits", "irq_exits")}
        self.ns = time.monotonic_ns()
        if os.cpu_count() == 1:
            self.ns -= time.process_time_ns()

    def _add(self, role, ns):
        self.roles[role] = self.roles.get(role, 0) + ns

    def since(self, before):
        """What a request cost between the two."""
        n = self.requests - before.requests
        if n < LEAST:
            raise BenchError(f"{n} requests, which is not enough")
        return {"requests": n, "ns": (self.ns - before.ns) / n,
                **{name: (count - before.exits[name]) / n for name, count in self.exits.items()},
                **{role: (ns - before.roles.get(role, 0)) / n for role, ns in self.roles.items()}}


class Trace:
    """How long the vCPU was in the guest, by KVM's two tracepoints around it."""
    EVENTS = ("kvm_entry", "kvm_exit")
    LINE = re.compile(r" ([\d.]+): (kvm_entry|kvm_exit|tracing_mark_write): (.*)")
    REASON = re.compile(r"reason (\S+)")

    def __init__(self):
        self.folder = f"{TRACING}/instances/bench"
        os.mkdir(self.folder)
        self.put("trace_clock", "local")
        self.put("buffer_size_kb", 32768)

    def put(self, name, value):
        """Writes one of its files."""
        put(f"{self.folder}/{name}", value)

    def on(self, on):
        """Events cost nothing but when they are on."""
        if on:
            self.put("trace", "")
        for event in self.EVENTS:
            self.put(f"events/kvm/{event}/enable", int(on))

    def mark(self, text):
        """A line in between."""
        self.put("trace_marker", text)

    def read(self):
        """Between the marks: nanoseconds in the guest, and exits by their reason."""
        for cpu in os.listdir(f"{self.folder}/per_cpu"):
            if not re.search(r"^overrun: 0$", read(f"{self.folder}/per_cpu/{cpu}/stats"), re.M):
                raise BenchError("the trace has no room for all of it")
        ns, reasons, entered, between = 0, {}, None, False
        with open(f"{self.folder}/trace", encoding="ascii") as lines:
            for line in lines:
                match = self.LINE.search(line)
                if not match:
                    continue
                at, event, text = match.groups()
                if event == "tracing_mark_write":
                    between, entered = text.strip() == "begin", None
                elif between and event == "kvm_entry":
                    entered = float(at)
                elif between and entered is not None:
                    ns += (float(at) - entered) * 1e9
                    entered = None
                    reason = self.REASON.search(text).group(1)
                    reasons[reason] = reasons.get(reason, 0) + 1
        return ns, reasons

    def end(self):
        """Takes it away."""
        self.on(False)
        os.rmdir(self.folder)


# ---- what is measured ----

def case_of(mix, depth, batch=1):
    """A row of the plan."""
    return {"mix": mix, "depth": depth, "batch": batch}


def plan(quick):
    """What the targets are about; and, where there is time, writes and batches."""
    cases = [case_of("randread", 1), case_of("randread", 32)]
    if not quick:
        cases += [case_of("randwrite", 1), case_of("randwrite", 32), case_of("randread", 32, 16)]
    return cases


def window(bench, peer, before):
    """A sample after a while."""
    time.sleep(bench.args.time)
    sample = Sample(bench, peer)
    return sample, sample.since(before)


def attempts(bench, case, peer):
    """A case with a peer, on another guest when it stands still; None when none of them comes to an end.

    On an emulated machine it may, whichever disk it has: see EMULATED.
    """
    for _ in range(bench.args.tries):
        try:
            if not bench.guest:
                bench.boot()
            return measure(bench, case, peer)
        except (BenchError, GuestError) as e:
            say(f"# {e}; the guest: {bench.guest.state() if bench.guest else 'none'}")
            bench.trace.on(False)
            bench.down()
    return None


def measure(bench, case, peer):
    """A case with a peer: windows in which nobody looks, and one with the trace."""
    args, guest = bench.args, bench.guest
    if bench.device:
        put(f"{bench.device.path}/sched_batch", int(peer == "ours-batch"))
    guest.sh(f"{FIO} --rw={case['mix']} --iodepth={case['depth']} "
             f"--iodepth_batch_submit={case['batch']} --iodepth_batch_complete_min={case['batch']} "
             f"--iodepth_batch_complete_max={case['depth']} --filename=/dev/{bench.names[disk_of(peer)]} "
             "& job=$!", args.patience)
    begin = bench.requests(peer)
    until(lambda: bench.requests(peer) >= begin + args.warmup, "fio begins", args.patience)
    if disk_of(peer) == "ours":
        policy = os.SCHED_BATCH if peer == "ours-batch" else os.SCHED_OTHER
        until(lambda: bench.policies() == {policy}, "the worker has its policy", args.patience)
    before, windows = Sample(bench, peer), []
    for _ in range(args.rounds):
        before, result = window(bench, peer, before)
        windows.append(result)
    traced = None
    if args.icount:
        bench.trace.on(True)
        bench.trace.mark("begin")
        _, traced = window(bench, peer, Sample(bench, peer))
        bench.trace.mark("end")
        bench.trace.on(False)
    guest.sh("kill -INT $job; wait $job; grep -q 'err= 0' /tmp/fio.out", args.patience)
    if traced:
        ns, reasons = bench.trace.read()
        traced["guest"] = ns / traced["requests"]
        traced["reasons"] = {reason: n / traced["requests"] for reason, n in reasons.items()}
    return {"windows": windows, "traced": traced}


def main():
    """The plan, and its results in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--icount", action="store_true", help="nanoseconds are instructions")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--time", type=float, default=0.05, help="seconds of a window")
    parser.add_argument("--warmup", type=int, default=500, help="requests before the first")
    parser.add_argument("--patience", type=float, default=4, help="seconds for what the guest is told")
    parser.add_argument("--tries", type=int, default=4, help="guests for a case")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initramfs", required=True)
    parser.add_argument("--modules", nargs="+", required=True, metavar="MODULE.ko")
    args = parser.parse_args()

    prepare(args.modules)
    insert_kvm()
    if args.icount:
        # Before a vCPU without work sleeps KVM polls for a while, which is all instructions and on one
        # processor never of use.
        put("/sys/module/kvm/parameters/halt_poll_ns", 0)
    for kind, path in (("debugfs", os.path.dirname(KVM)), ("tracefs", TRACING)):
        if not os.listdir(path):
            run("mount", "-t", kind, "none", path)
    begin = time.monotonic()
    rows = [{**case, "peers": {}} for case in plan(args.quick)]
    bench = Bench(args)
    try:
        bench.make()
        # Before all else, but not what it starts: QEMU and the daemons.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        for row in rows:
            for peer in args.peers:
                say(f"# {time.monotonic() - begin:.0f} s: {row['mix']}, depth {row['depth']}, {peer}")
                result = attempts(bench, row, peer)
                if result:
                    row["peers"][peer] = result
                save(args.out, {"rows": rows, "icount": args.icount, "kernel": os.uname().release,
                                "cpus": os.cpu_count(), "boots": bench.boots,
                                "took": time.monotonic() - begin})
    finally:
        bench.end()
    missing = [f"{row['mix']}, depth {row['depth']}, {peer}" for row in rows for peer in args.peers
               if peer not in row["peers"]]
    if missing:
        raise BenchError(f"no guest came to an end with: {'; '.join(missing)}")


if __name__ == "__main__":
    program("bench", main, GuestError)
