# SPDX-License-Identifier: GPL-2.0
"""The engine is exchanged under a stock guest whose fio has 128 requests out and checks every block.

tools/e2e/run starts it inside the host's virtual machine. TAP. Two builds of the engine take turns.
What was out when the queues were parked, and for how long they had no engine, is in the events of
the holder; the pause is what 'vhost-blkctl upgrade' says. Below both disks each bio is written
down, and held against what the guest's kernel says of its requests. The guest has two disks: one
that takes all its requests at once, and a slow one with room for a few, so that the holder has some
that never got there.
"""
import os
import re
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guest import Disk, Engines, Guest, GuestError, insert_kvm, null_blk, run, until  # noqa: E402
from tap import Tap  # noqa: E402
from witness import FROM, Witness, self_test  # noqa: E402

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CTL = f"{TOP}/tools/vhost-blkctl/vhost-blkctl"
QUEUES = 4
DEPTH = 32              # of fio, on each queue
LEAST = 64              # requests that are out at an exchange, on all queues
# What an I/O that sees an exchange may take beyond the pause: so many times the longest one without
# an exchange, and this. The processors are emulated, and others use them; at the slow disk chance
# decides which queue gets the room that there is.
TIMES, SLACK_MS = {"wide": 2, "slow": 3}, 300
# name: attributes of null_blk. Both are so slow that the requests are at the device most of the time,
# and not in the guest, whose processors are slow, too.
DISKS = {
    "wide": {"completion_nsec": 150000000, "hw_queue_depth": 256, "submit_queues": 2},
    "slow": {"completion_nsec": 80000000, "hw_queue_depth": 16, "submit_queues": 1},
}
# Of each queue. A run writes every block once, with data that no other run has, and reads all of them
# again; it takes a few seconds.
BLOCKS = {"wide": 512, "slow": 256}
FIO = ("fio --thread --ioengine=libaio --direct=1 --rw=randwrite --bs=4k "
       f"--offset={FROM} --offset_increment=8m --numjobs={QUEUES} --iodepth={DEPTH} "
       "--iodepth_batch_submit=8 --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=8 "
       f"--cpus_allowed=0-{QUEUES - 1} --cpus_allowed_policy=split "
       "--verify=crc32c --verify_fatal=1 --verify_backlog=128 --group_reporting "
       "--eta=never --minimal --terse-version=3 --name=load ")
# Of so many exchanges one is held against both logs, which takes several times as long as itself.
# Where there are many, each is.
WATCHED = 3
# A guest whose host is emulated now and then loses the only timer that would wake an idle processor.
# A periodic one comes again. Nor does a processor always come back that waits for a lock, halted
# with its interrupts off, for another one's hypercall: let it spin.
PERIODIC = "nohz=off highres=off nopvspin"
# Where its line has what is read and written: KiB, and the longest I/O in microseconds.
KIB, LONGEST = (5, 46), (14, 55)


class Events:
    """What the holder says about exchanges."""

    def __init__(self):
        run("mountpoint", "-q", "/sys/kernel/tracing", check=False) or \
            run("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing", check=False)
        self.folder = "/sys/kernel/tracing/instances/upgrade"
        os.mkdir(self.folder)
        self._write("trace_clock", "mono")
        for event in ("vinf_park", "vinf_attach"):
            self._write(f"events/vhost_inflight/{event}/enable", "1")

    def _write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def clear(self):
        """Forgets what was before."""
        self._write("trace", "")

    def exchange(self, name):
        """Milliseconds from the first queue parked to the end; depth and unsent of each queue."""
        with open(f"{self.folder}/trace", encoding="ascii") as file:
            text = file.read()
        parks = re.findall(r" ([\d.]+): vinf_park: (\S+) queue \d+ depth (\d+) unsent (\d+)", text)
        ends = re.findall(r" ([\d.]+): vinf_attach: ret 0\b", text)
        assert parks and len(ends) == 1, text
        return ((float(ends[0]) - float(parks[0][0])) * 1000,
                [(int(depth), int(unsent)) for _, n, depth, unsent in parks if n == name])

    def remove(self):
        """Switches them off."""
        for event in ("vinf_park", "vinf_attach"):
            self._write(f"events/vhost_inflight/{event}/enable", "0")
        os.rmdir(self.folder)


class Load:
    """fio in the guest, one run after the other until it is told to stop."""

    def __init__(self, guest, disk, blocks):
        self.guest, self.kib = guest, blocks * 4 * QUEUES
        fio = (f"{FIO} --filename=/dev/{disk} --size={blocks * 4}k --randseed=$n "
               "--output=/tmp/fio.$n")
        guest.sh("rm -f /tmp/stop /tmp/fio.* /tmp/failed")
        guest.sh(f"(n=1; while {fio} || ! touch /tmp/failed; do [ ! -e /tmp/stop ] || break; "
                 "n=$((n + 1)); done) >/tmp/said 2>&1 &")

    def stop(self):
        """Longest I/O of all runs in milliseconds; that each block was written and found right."""
        self.guest.sh("touch /tmp/stop; wait", 120)
        assert self.guest.sh("ls /tmp/failed 2>/dev/null || true") == "", \
            self.guest.sh("cat /tmp/said /tmp/fio.*")
        longest, runs = 0, int(self.guest.sh("ls /tmp/fio.* | wc -l"))
        for n in range(1, runs + 1):
            said = self.guest.sh(f"tail -n 1 /tmp/fio.{n}").split(";")
            assert [int(said[i]) for i in KIB] == [self.kib] * 2, said
            longest = max([longest, *(float(said[i]) / 1000 for i in LONGEST)])
        return longest


class Test:
    """What the tests share, in the order in which they find it."""

    def __init__(self, kernel, initramfs, record, every, modules):
        # Whether every exchange is watched.
        self.every = every
        self.kernel, self.initramfs, self.modules = kernel, initramfs, modules
        self.record = record
        self.guest = self.engines = self.events = self.witness = None
        self.judged = 0
        self.disks, self.alone, self.pauses = {}, {}, []

    def boot(self):
        """The modules, both disks and the guest."""
        holder, *engines = self.modules
        run(f"{TOP}/tools/vm/insert", holder, engines[0])
        insert_kvm()
        run("modprobe", "dm_mod")
        run("insmod", self.record)
        self.events = Events()
        for name, attributes in DISKS.items():
            node = null_blk(name, 64, irqmode=2, **attributes)
            run("dmsetup", "create", name, "--table", f"0 {64 << 11} vblk-record {node} 0")
            self.disks[name] = Disk(CTL, name, f"/dev/mapper/{name}", num_queues=QUEUES)
        self.engines = Engines(CTL, engines)
        self.guest = Guest(self.kernel, self.initramfs, [d.node for d in self.disks.values()],
                           f"{TOP}/build/log/upgrade-guest.log", cpus=QUEUES,
                           append=PERIODIC)
        took = self.guest.booted()
        self.witness = Witness(self.guest, "/dev/wide")
        return f"the guest was up after {took:.0f} s"

    def vd(self, name):
        """What the guest calls a disk."""
        return "vd" + "ab"[list(self.disks).index(name)]

    def load(self, name):
        """Starts fio on a disk."""
        return Load(self.guest, self.vd(name), BLOCKS[name])

    def undisturbed(self):
        """What an I/O takes on each disk without an exchange."""
        for name in self.disks:
            self.measure(name)
        return ", ".join(f"longest I/O on the {n} disk {ms:.0f} ms" for n, ms in self.alone.items())

    def measure(self, name):
        """One run of fio without an exchange."""
        self.alone[name] = max(self.alone.get(name, 0), self.load(name).stop())

    def exchange(self, name):
        """One exchange with enough requests out: the pause, the time without an engine, both in
        milliseconds, requests out and of these unsent; None if it was not the right moment."""
        disk = self.disks[name]
        until(lambda: disk.total("depth") >= LEAST, f"{LEAST} requests out")
        self.events.clear()
        said = self.engines.exchange()
        pause = said["pause_ms"]
        without, queues = self.events.exchange(name)
        assert len(queues) == QUEUES and said["from"] != said["to"], (queues, said)
        self.pauses.append(pause)
        out, unsent = (sum(column) for column in zip(*queues))
        right = out >= LEAST and all(depth for depth, _ in queues)
        print(f"# {name}: {said['to']} took over after {pause:.0f} ms, {out} requests out, "
              f"{unsent} of them not at the disk yet{'' if right else ', which does not count'}",
              flush=True)
        return (pause, without, out, unsent) if right else None

    def bound(self, name):
        """How long an I/O may take when it sees an exchange."""
        return max(self.pauses) + TIMES[name] * self.alone[name] + SLACK_MS

    @staticmethod
    def goes_on(disk):
        """Waits until more came back than can have been out, at least by half."""
        enough = disk.total("requests") + QUEUES * DEPTH * 3 // 2
        until(lambda: disk.total("requests") >= enough, "fio goes on")

    def exchanges(self, name, count):
        """So many exchanges on a disk."""
        disk, load, seen = self.disks[name], self.load(name), []
        # Those between two runs of fio do not count.
        attempts = 4 * count
        while len(seen) < count:
            assert attempts, f"only {len(seen)} exchanges with {LEAST} requests out"
            attempts -= 1
            watched = self.every or len(seen) % WATCHED == 0
            if watched:
                self.witness.begin()
            one = self.exchange(name)
            # No I/O sees two of them: all that were out are back.
            self.goes_on(disk)
            if watched:
                self.judged += self.witness.end(self.vd(name))
            if one:
                seen.append(one)
        longest = load.stop()
        pauses, without, out, unsent = zip(*seen)
        if name == "slow":
            assert min(unsent) > 0, unsent
        for _ in range(2):
            # By now others may leave less of the processors.
            if longest > self.bound(name):
                self.measure(name)
        said = (f"{count} exchanges: pause {spread(pauses)} ms (min/median/max), of this "
                f"{spread(without)} ms without an engine; {min(out)} to {max(out)} requests out, "
                f"at least {min(unsent)} of them not at the disk yet; {self.judged} requests, each done "
                f"once, from its begin to its end; longest I/O {longest:.0f} ms, "
                f"without an exchange {self.alone[name]:.0f} ms")
        assert longest <= self.bound(name), f"{said}: more than {self.bound(name):.0f} ms"
        return said

    def frozen(self):
        """An exchange while the disk stands still."""
        disk, load = self.disks["wide"], self.load("wide")
        until(lambda: disk.total("depth") >= LEAST, "fio starts")
        usual = max(self.pauses)
        self.witness.begin()
        run("dmsetup", "suspend", "--nolockfs", "wide")
        before = disk.total("requests")
        try:
            one = self.exchange("wide")
            assert one, "the disk stands still, and its queues are empty"
            assert disk.total("requests") == before, "something came back from a disk that stands still"
        finally:
            run("dmsetup", "resume", "wide")
        self.goes_on(disk)
        judged = self.witness.end(self.vd("wide"))
        assert one[0] <= 3 * usual, f"a pause of {one[0]:.0f} ms, otherwise at most {usual:.0f}"
        load.stop()
        return f"a pause of {one[0]:.0f} ms, {one[2]} requests out, {judged} judged"

    def post_mortem(self):
        """Where everything stands; last, whether an exchange makes it go on. After one each ring is
        looked at and each driver notified: what then goes on with avail_idx where it was waited
        for a notification, and what had it move at once was not served."""
        said = [self.guest.state(), self.guest.waits(), self.indexes()]
        before = sum(d.total("requests") for d in self.disks.values())
        try:
            self.engines.exchange()
            said.append("one more exchange\n" + self.indexes())
            until(lambda: sum(d.total("requests") for d in self.disks.values()) > before,
                  "a request after one more exchange", 20)
            said.append("it went on")
        except GuestError as error:
            said.append(str(error))
        return "\n".join(said)

    def indexes(self):
        """Where the queues stand."""
        return "\n".join(f"{name} queue {q['index']}: avail_idx {q['avail_idx']} used_idx "
                         f"{q['used_idx']} calls {q['calls']} kicks {q['kicks']}"
                         for name, disk in self.disks.items() for q in disk.show()["queues"])

    def silence(self):
        """Nobody saw an error."""
        bad = self.guest.sh("dmesg | grep -E 'I/O error|blk_update_request|critical .* error|hung_task|"
                            "blocked for more|timed out|is not a head|out of range|"
                            "virtio.*(error|fail|warn)|WARNING:|BUG:' || true")
        assert not bad, bad
        for disk in self.disks.values():
            for q in disk.show()["queues"]:
                assert not q["ioerrs"] and not q["broken"] and not q["depth"], q
        self.guest.quit()
        said = self.guest.qemu_said()
        assert not said, said

    def clean(self):
        """Everything can be taken away again."""
        for name, disk in self.disks.items():
            assert disk.show()["state"] == "free", name
            disk.delete()
            run("dmsetup", "remove", name)
        self.witness.log.close()
        run("rmmod", "dm_vblk_record")
        self.events.remove()
        run(f"{TOP}/tools/vm/insert", "--remove", *self.modules[:2])


def spread(numbers):
    """Smallest, median and largest."""
    return f"{min(numbers):.0f}/{statistics.median(numbers):.0f}/{max(numbers):.0f}"


def main():
    kernel, initramfs, count, record, *modules = sys.argv[1:]
    half = (int(count) + 1) // 2
    t = Test(kernel, initramfs, record, int(count) > 50, modules)
    tests = (
        ("a log that is wrong is noticed", self_test),
        ("a guest with a wide and a slow disk of four queues", t.boot),
        ("fio --verify on both, nothing is exchanged", t.undisturbed),
        (f"{half} exchanges under load", t.exchanges, "wide", half),
        (f"{half} exchanges under load with requests that the disk had no room for", t.exchanges,
         "slow", half),
        ("an exchange while the disk stands still", t.frozen),
        ("no error in the guest, at the devices and of QEMU", t.silence),
        ("the devices and modules can be removed", t.clean),
    )
    tap = Tap(len(tests))
    lost = False
    for title, function, *arguments in tests:
        if lost:
            tap.not_run(title)
        elif not tap.test(title, function, *arguments):
            lost = True
            if t.guest and t.guest.qemu.poll() is None:
                tap.comment(t.post_mortem())
            for disk in t.disks.values():
                tap.comment(run(CTL, "show", disk.name, check=False))
    if t.guest and t.guest.qemu.poll() is None:
        t.guest.qemu.kill()
        t.guest.qemu.wait()
        tap.comment("QEMU: " + t.guest.qemu_said())
    tap.end()


if __name__ == "__main__":
    main()
