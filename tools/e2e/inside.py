# SPDX-License-Identifier: GPL-2.0
"""The end-to-end test; tools/e2e/run starts it inside the host's virtual machine. TAP."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guest import Disk, Guest, insert_kvm, null_blk, run, until  # noqa: E402
from tap import Tap  # noqa: E402

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CTL = f"{TOP}/tools/vhost-blkctl/vhost-blkctl"
QUEUES = 4
CHECK = "cd /mnt/tree && sha256sum -c -s /mnt/sums; s=$?; cd /; [ $s = 0 ]"
FIO = ("fio --thread --ioengine=libaio --direct=1 --rw=randwrite --bsrange=512-64k "
       "--verify=crc32c --verify_fatal=1 --eta=never --minimal --output=/tmp/fio.out ")


class Machine:
    """What the tests share, in the order in which they find it."""

    def __init__(self, kernel, initramfs, modules):
        self.kernel, self.initramfs, self.modules = kernel, initramfs, modules
        self.guest = self.file = self.block = self.full = None

    def disks(self):
        """Those that are there."""
        return [disk for disk in (self.file, self.block, self.full) if disk]


def up(m):
    """two modules, disks on a file, a block device and too small a tmpfs, a guest that has them"""
    run(f"{TOP}/tools/vm/insert", *m.modules)
    insert_kvm()
    run("mkfs.ext4", "-q", "/dev/vda")
    os.makedirs("/run/images", exist_ok=True)
    run("mount", "/dev/vda", "/run/images")
    run("truncate", "-s", "512M", "/run/images/disk.img")
    m.file = Disk(CTL, "file", "/run/images/disk.img", num_queues=QUEUES, serial="on-a-file")
    m.block = Disk(CTL, "block", null_blk("e2e", 256), num_queues=QUEUES,
                   serial="on-a-block-device", packed=True, pin_memory=True)
    os.makedirs("/run/small", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=8m", "small", "/run/small")
    run("truncate", "-s", "64M", "/run/small/disk.img")
    m.full = Disk(CTL, "full", "/run/small/disk.img", num_queues=QUEUES,
                  on_write_error="park-enospc")
    m.guest = Guest(m.kernel, m.initramfs, [disk.node for disk in m.disks()],
                    f"{TOP}/build/log/e2e-guest.log", cpus=QUEUES, memory="1G")
    print(f"# the guest was up after {m.guest.booted():.0f} s", flush=True)


def pinned(m):
    """all of the guest's memory is pinned, once: one of its disks wants it"""
    with open(f"/proc/{m.guest.qemu.pid}/status", encoding="ascii") as f:
        kib = int(next(line.split()[1] for line in f if line.startswith("VmPin:")))
    # Its video memory and firmware are mapped, too.
    assert 1 << 20 <= kib < (1 << 20) + (128 << 10), f"{kib} KiB"


def identity(m):
    """size, serial, queues and layout of the rings as they were asked for"""
    for disk, size, serial, packed in (("vda", 512 << 11, "on-a-file", "0"),
                                       ("vdb", 256 << 11, "on-a-block-device", "1")):
        sys_block = f"/sys/block/{disk}"
        assert int(m.guest.sh(f"cat {sys_block}/size")) == size
        assert m.guest.sh(f"cat {sys_block}/serial") == serial
        assert len(m.guest.sh(f"ls {sys_block}/mq").split()) == QUEUES
        # VIRTIO_F_RING_PACKED as it was negotiated; the first digit is bit 0
        assert m.guest.sh(f"cat {sys_block}/device/features")[34] == packed


def filesystem(m):
    """an ext4 with a file tree, every checksum right"""
    m.guest.sh("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt")
    m.guest.sh("cp -a /tree /mnt/ && (cd /tree && find . -type f | xargs sha256sum) >/mnt/sums", 300)
    m.guest.sh("umount /mnt && mount /dev/vda /mnt")
    m.guest.sh(CHECK, 300)


def reboot(m):
    """the guest reboots, every checksum is still right"""
    m.guest.sh("umount /mnt")
    m.guest.reboot()
    m.guest.sh("mount /dev/vda /mnt")
    m.guest.sh(CHECK, 300)


def fio_both(m, size="16m"):
    """fio --verify on the block device and on a file of the file's disk, all queues"""
    before = [m.file.total("writes"), m.block.total("writes")]
    m.guest.sh(FIO + f"--size={size} --iodepth=16 --numjobs=1 --group_reporting "
               "--name=file --filename=/mnt/fio "
               f"--name=b0 --filename=/dev/vdb --offset=0 "
               f"--name=b1 --filename=/dev/vdb --offset=64m "
               f"--name=b2 --filename=/dev/vdb --offset=128m", 300)
    assert m.file.total("writes") > before[0] and m.block.total("writes") > before[1]


def load(m):
    """Starts fio on both disks in the guest, again and again, and waits until the host sees it."""
    before = [m.file.total("writes"), m.block.total("writes")]
    fio = FIO + ("--size=32m --iodepth=32 --time_based --runtime=15 "
                 "--name=file --filename=/mnt/fio "
                 "--name=b0 --filename=/dev/vdb --offset=0 "
                 "--name=b1 --filename=/dev/vdb --offset=64m")
    m.guest.sh("rm -f /tmp/enough; "
               f"(s=0; while [ $s = 0 ] && [ ! -e /tmp/enough ]; do {fio}; s=$?; done; exit $s) & job=$!")
    until(lambda: m.file.total("writes") > before[0] + 50 and
          m.block.total("writes") > before[1] + 50, "fio gets going")


def stop_cont(m):
    """stop and cont under load: nothing moves while stopped, fio's data is right"""
    load(m)
    # Often: a notification that is lost in one cont of fifty hangs a guest for good.
    for _ in range(50):
        m.guest.qmp("stop")
        frozen = [(d.show()["queues"]) for d in (m.file, m.block)]
        assert all(q["depth"] == 0 for queues in frozen for q in queues), "requests are still out"
        counts = [m.file.total("requests"), m.block.total("requests")]
        m.guest.qmp("query-block")
        assert counts == [m.file.total("requests"), m.block.total("requests")], "it moved"
        m.guest.qmp("cont")
        until(lambda: m.block.total("requests") > counts[1] or
              m.file.total("requests") > counts[0], "it moves after cont", 30)
    m.guest.sh("touch /tmp/enough; wait $job || { cat /tmp/fio.out; false; }", 180)


def full_disk(m):
    """a disk fills up: the guest waits, over stop and cont, and goes on when there is space"""
    m.guest.sh(f"({FIO} --size=24m --iodepth=32 --name=full --filename=/dev/vdc) & job=$!")
    until(lambda: m.full.total("parked") > 0, "a request is parked")
    for _ in range(5):
        m.guest.qmp("stop")
        assert m.full.total("kept") > 0 and m.full.total("depth") == 0, m.full.show()["queues"]
        m.guest.qmp("cont")
        until(lambda: m.full.total("parked") > 0, "it is parked again after cont")
    events = run(CTL, "events", "full")
    assert "parked" in events and "kept" in events and "healed" not in events, events
    # Others do not notice.
    m.guest.sh("dd if=/dev/vdb of=/dev/null bs=1M count=8 iflag=direct 2>/dev/null", 60)
    run("mount", "-o", "remount,size=64m", "/run/small")
    run(CTL, "retry", "full")
    m.guest.sh("wait $job || { cat /tmp/fio.out; false; }", 120)
    assert m.full.total("parked") == 0 and m.full.total("ioerrs") == 0, m.full.show()["queues"]


def system_reset(m):
    """system_reset under load: the file system is whole, both disks work as before"""
    load(m)
    m.guest.reset()
    m.guest.sh("mount /dev/vda /mnt")
    m.guest.sh(CHECK, 300)
    m.guest.sh("umount /mnt && e2fsck -fn /dev/vda")
    m.guest.sh("mount /dev/vda /mnt")
    fio_both(m, size="8m")


def no_errors(m):
    """no request ended in an error, no queue is broken, the guest complained of nothing"""
    for disk in (m.file, m.block):
        for q in disk.show()["queues"]:
            assert q["ioerrs"] == 0 and q["broken"] == 0, q
            assert q["requests"] > 0, f"queue {q['index']} of {disk.name} was never used"
    assert m.full.total("broken") == 0 and m.full.total("ioerrs") == 0, m.full.show()["queues"]
    bad = m.guest.sh("dmesg | grep -iE 'I/O error|EXT4-fs (error|warning)|timed out|blocked' || true")
    assert not bad, bad


def from_outside(m):
    """QEMU ends, the devices are free, and the host finds the same files in the image"""
    m.guest.sh("umount /mnt")
    m.guest.quit()
    said = m.guest.qemu_said()
    assert not said, said
    for disk in m.disks():
        assert disk.show()["state"] == "free", disk.name
        disk.delete()
    os.makedirs("/run/look", exist_ok=True)
    run("modprobe", "loop")
    run("mount", "-o", "loop,ro", "/run/images/disk.img", "/run/look")
    run("bash", "-c", "cd /run/look/tree && sha256sum --quiet -c ../sums")
    run("umount", "/run/look")


def unload(m):
    """both modules can be removed"""
    run(f"{TOP}/tools/vm/insert", "--remove", *m.modules)


TESTS = (up, pinned, identity, filesystem, reboot, fio_both, stop_cont, full_disk, system_reset, no_errors,
         from_outside, unload)


def main():
    kernel, initramfs, *modules = sys.argv[1:]
    m = Machine(kernel, initramfs, modules)
    tap = Tap(len(TESTS))
    for test in TESTS:
        if tap.failed:
            tap.not_run(test.__doc__)
        elif not tap.test(test.__doc__, test, m):
            if m.guest and m.guest.qemu.poll() is None:
                for said in (m.guest.state(), *(run(CTL, "show", disk.name, check=False)
                                                for disk in m.disks())):
                    tap.comment(said)
                m.guest.qemu.kill()
            if m.guest:
                tap.comment("QEMU: " + m.guest.qemu_said())
    tap.end()


if __name__ == "__main__":
    main()
