# SPDX-License-Identifier: GPL-2.0
"""Every combination of the rings' features, each with a disk of its own in a stock guest.

tools/e2e/run starts it inside the host's virtual machine. TAP. Two guests, one after the other:
Debian's Linux 6.12, and a newer one for VIRTIO_F_IN_ORDER, which Linux knows from 7.0 on.
"""
import itertools
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guest import Disk, Guest, GuestError, GuestGone, insert_kvm, null_blk, run  # noqa: E402
from tap import Tap  # noqa: E402

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CTL = f"{TOP}/tools/vhost-blkctl/vhost-blkctl"
DISK = 64 << 20
# Feature bits of virtio 1.4, section 6, and the draft's; VERSION_1 is there always.
BITS = {"indirect": 28, "event_idx": 29, "version_1": 32, "packed": 34, "in_order": 35,
        "partial_order": 39}
# Small and odd sizes read back while more is written, with flushes in between; a mix of reads and
# writes on both queues; ranges that are discarded and written again; chains of many descriptors,
# which fill a ring where nothing is indirect.
FIO = ("fio --thread --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --eta=never "
       "--minimal --output=/tmp/fio.out --filename=/dev/{} "
       "--name=small --rw=randwrite --bsrange=512-4k --iodepth=32 --size=512k "
       "--verify_backlog=64 --fsync=32 "
       "--name=mixed --offset=8m --offset_increment=8m --numjobs=2 --rw=randrw --bsrange=4k-64k "
       "--iodepth=16 --size=3m "
       "--name=discard --offset=32m --rw=trimwrite --bs=16k --iodepth=4 --size=512k "
       "--name=large --offset=48m --rw=randwrite --bs=256k --iodepth=8 --size=4m")


class Combination:
    """A device, what it offers, and what the guest's driver is expected to make of it."""

    def __init__(self, kernel, name, offered, unknown=()):
        self.kernel, self.name, self.disk = kernel, name, None
        self.offered = {"version_1", *offered}
        self.acked = self.offered - set(unknown)
        said = ["packed" if "packed" in offered else "split"]
        said += [f for f in ("indirect", "event_idx", "in_order") if f in self.acked]
        self.title = f"Linux {kernel.version}: " + ", ".join(said)
        left = sorted(self.offered - self.acked)
        if left:
            self.title += "; " + " and ".join(left) + " offered but unknown to it"

    def create(self, path):
        """The device, with two queues."""
        flags = {"packed": "packed" in self.offered, "in_order": "in_order" in self.offered,
                 "partial_order": "partial_order" in self.offered,
                 "no_indirect": "indirect" not in self.offered,
                 "no_event_idx": "event_idx" not in self.offered}
        self.disk = Disk(CTL, self.name, path, num_queues=2, **{k: v for k, v in flags.items() if v})

    def check(self):
        """What was negotiated is right on both sides to the bit, and fio's data is."""
        guest = self.kernel.guest
        disk = self.kernel.disks[self.name]
        # A digit for each bit, 64 of them or, in newer kernels, 128. The first is bit 0.
        seen = guest.sh(f"cat /sys/block/{disk}/device/features").strip()
        assert len(seen) in (64, 128) and not seen.strip("01"), seen
        info = self.disk.show()["info"]
        offered, acked = int(info["features"], 16), int(info["acked_features"], 16)
        for name, bit in BITS.items():
            assert offered >> bit & 1 == (name in self.offered), f"offered {offered:#x}: {name}"
            assert int(seen[bit]) == (name in self.acked), f"in the guest {seen}: {name}"
        # ACCESS_PLATFORM is between QEMU and the device, the guest has no IOMMU.
        assert int(seen[::-1], 2) | 1 << 33 == acked, f"in the guest {seen}, for us {acked:#x}"
        assert acked & ~offered == 0, f"{acked:#x} of {offered:#x}"

        # In the background, so that the guest can be asked what is wrong when it doesn't end.
        guest.sh(f"({FIO.format(disk)} 2>&1; echo FIO-STATUS $?) &")
        try:
            out = guest.wait_for("FIO-STATUS", 90)
        except GuestGone:
            raise
        except GuestError as error:
            raise GuestError(f"{error}\n{self.autopsy(guest, disk)}") from None
        assert out[-1].endswith("FIO-STATUS 0"), "\n".join(out) + guest.sh("cat /tmp/fio.out")
        queues = self.disk.show()["queues"]
        for q in queues:
            assert q["requests"] and not q["ioerrs"] and not q["broken"] and not q["depth"], q
        for counter in ("reads", "writes", "flushes", "discards"):
            assert sum(q[counter] for q in queues), f"no {counter}: {queues}"

    def autopsy(self, guest, disk):
        """What both sides know of requests that don't come to an end."""
        said = [run(CTL, "show", self.name, "--json")]
        try:
            guest.sh("mount -t debugfs none /sys/kernel/debug; dmesg -n 1; echo w >/proc/sysrq-trigger")
            said += [guest.sh(f"cd /sys/kernel/debug/block/{disk} && grep . state hctx*/busy "
                              "hctx*/dispatch hctx*/state hctx*/cpu*/*list; "
                              "grep virtio /proc/interrupts; dmesg | tail -n 150", 30)]
        except GuestError as error:
            said += [str(error)]
        return "\n".join(said)


class Kernel:
    """A guest's kernel: its version, its combinations, and the guest once it runs."""

    def __init__(self, number, image, initramfs, release):
        self.number, self.image, self.initramfs, self.release = number, image, initramfs, release
        self.version = ".".join(release.split(".")[:2])
        self.guest, self.disks, self.lost = None, {}, None
        knows_in_order = tuple(int(n) for n in self.version.split(".")) >= (7, 0)
        base = {"in_order"} if knows_in_order else set()
        unknown = {"partial_order"} if knows_in_order else {"in_order", "partial_order"}
        sets = [base | {f for f, on in zip(("packed", "indirect", "event_idx"), bits) if on}
                for bits in itertools.product((0, 1), repeat=3)]
        sets += [{"indirect", "event_idx", "in_order", "partial_order"} | packed
                 for packed in (set(), {"packed"})]
        self.combinations = [Combination(self, f"k{number}-{i}", s, s & unknown)
                             for i, s in enumerate(sets)]

    def boot(self):
        """The guest with all the disks of this kernel's combinations."""
        self.guest = Guest(self.image, self.initramfs, [c.disk.node for c in self.combinations],
                           f"{TOP}/build/log/features-{self.number}-guest.log", cpus=2)
        took = self.guest.booted()
        release = self.guest.sh("uname -r").strip()
        assert release == self.release, release
        lines = self.guest.sh("cd /sys/block; for d in vd*; do echo $d $(cat $d/serial); done")
        self.disks = {serial: disk for disk, serial in map(str.split, lines.splitlines())}
        return f"{took:.0f} s"

    def end(self):
        """The guest complained of nothing and QEMU ends; the devices are free."""
        bad = self.guest.sh("dmesg | grep -E 'I/O error|is not a head|out of range|blocked for more"
                            "|virtio.*(error|fail)' || true")
        assert not bad, bad
        self.guest.quit()
        said = self.guest.qemu_said()
        assert not said, said
        for c in self.combinations:
            assert c.disk.show()["state"] == "free", c.name

    def do(self, function):
        """Calls a function of one of the above; a guest that does not answer is not asked again."""
        assert not self.lost, f"not run: {self.lost}"
        try:
            return function()
        except Exception as error:
            if isinstance(error, GuestError) or function == self.boot:
                self.lost = str(error).split("\n", 1)[0] or type(error).__name__
            raise


def prepare(modules, kernels):
    """The modules, and a disk for each combination.

    The disks are striped over a fast and a slow device: requests come back in another order than
    they were made in.
    """
    combinations = [c for k in kernels for c in k.combinations]
    assert any("in_order" in c.acked for c in combinations), "no guest knows IN_ORDER"
    run(f"{TOP}/tools/vm/insert", *modules)
    insert_kvm()
    run("modprobe", "dm_mod")
    half = (len(combinations) * DISK // 2) >> 20
    fast = null_blk("fast", half, discard=1)
    slow = null_blk("slow", half, discard=1, irqmode=2, completion_nsec=1000000)
    sectors = DISK // 512
    for i, c in enumerate(combinations):
        run("dmsetup", "create", c.name, "--table", f"0 {sectors} striped 2 16 "
            f"{fast} {i * sectors // 2} {slow} {i * sectors // 2}")
        c.create(f"/dev/mapper/{c.name}")


def clean(modules, kernels):
    """Everything can be taken away again."""
    for c in [c for k in kernels for c in k.combinations]:
        c.disk.delete()
        run("dmsetup", "remove", c.name)
    run(f"{TOP}/tools/vm/insert", "--remove", *modules)


def main():
    modules = sys.argv[1].split()
    kernels = [Kernel(i, *argument.split(",")) for i, argument in enumerate(sys.argv[2:])]
    tap = Tap(2 + sum(2 + len(k.combinations) for k in kernels))

    if not tap.test("a device for each combination", prepare, modules, kernels):
        sys.exit(1)
    for k in kernels:
        tap.test(f"Linux {k.version} boots", k.do, k.boot)
        for c in k.combinations:
            tap.test(c.title, k.do, c.check)
        tap.test(f"Linux {k.version} ends without a complaint", k.do, k.end)
        if k.guest and k.guest.qemu.poll() is None:
            k.guest.qemu.kill()
            k.guest.qemu.wait()
            print("#   QEMU: " + k.guest.qemu_said().replace("\n", "\n#   "), flush=True)
    tap.test("the devices and modules can be removed", clean, modules, kernels)
    tap.end()


if __name__ == "__main__":
    main()
