# SPDX-License-Identifier: GPL-2.0
"""The demonstration itself; tools/demo/run starts it inside the host's virtual machine."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from guest import Disk, Engines, Guest, GuestError, insert_kvm, run, until  # noqa: E402

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CTL = f"{TOP}/tools/vhost-blkctl/vhost-blkctl"
START = time.monotonic()
EXCHANGES = 4


def tell(text):
    """A line of what is going on."""
    print(f"\n[{time.monotonic() - START:5.1f} s] {text}", flush=True)


def host(*command):
    """A command on the host, shown with its output."""
    print("    host#  " + " ".join(command).replace(TOP + "/", ""), flush=True)
    out = run(*command)
    for line in out.splitlines():
        print("           " + line, flush=True)


def in_guest(guest, command, timeout=300):
    """A command in the guest, shown with its output."""
    print("    guest# " + command, flush=True)
    for line in guest.sh(command, timeout).splitlines():
        print("           " + line, flush=True)


def counters(disk):
    """The device's counters, as the host sees them."""
    print("    host#  vhost-blkctl show demo", flush=True)
    queues = disk.show()["queues"]
    for q in queues:
        print(f"           queue {q['index']}: {q['requests']} requests, {q['reads']} reads "
              f"({q['read_bytes'] >> 20} MiB), {q['writes']} writes ({q['write_bytes'] >> 20} MiB), "
              f"{q['flushes']} flushes, {q['ioerrs']} errors, {q['kicks']} kicks, "
              f"{q['calls']} interrupts", flush=True)


# Copies the file tree and checks the copy, over and over, with nothing left in the guest's cache.
LOAD = ("cd /mnt; n=0; until [ -e /tmp/stop ]; do rm -rf copy; cp -a tree copy; sync; "
        "echo 3 >/proc/sys/vm/drop_caches; (cd copy && sha256sum -c -s /mnt/sums) || break; "
        "n=$((n + 1)); done; rm -rf copy; cd /; echo $n >/tmp/copies")


def upgrades(guest, disk, engines):
    """The engine is exchanged while the guest copies files."""
    print(f"    guest# {LOAD} &", flush=True)
    guest.sh(f"rm -f /tmp/stop; ({LOAD}) >/tmp/said 2>&1 &")
    for _ in range(EXCHANGES):
        # The counters tell that the guest is at work, after the exchange before.
        busy = disk.total("requests") + 100
        until(lambda: disk.total("requests") >= busy, "the guest works with its disk", 120)
        print(f"    host#  vhost-blkctl upgrade {engines.files[1]}", flush=True)
        said = engines.exchange()
        print(f"           {said['to']} took over from {said['from']}, the devices paused for "
              f"{said['pause_ms']:.0f} ms", flush=True)
    print("    guest# touch /tmp/stop; wait", flush=True)
    copies = int(guest.sh("touch /tmp/stop; wait; cat /tmp/copies", 300))
    if not copies or guest.sh("cat /tmp/said"):
        raise GuestError(f"a copy was wrong: {guest.sh('cat /tmp/said')}")
    print(f"           copies made and every file of them right: {copies}", flush=True)
    in_guest(guest, "dmesg | grep -cE 'I/O error|blocked for more' || true")


def fills_up(guest, disk):
    """A disk without space: the guest waits, and goes on when there is some."""
    guest.sh("dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null")
    write = "dd if=/tmp/data of=/dev/vdb bs=1M oflag=direct conv=fsync"
    print(f"    guest# {write} &", flush=True)
    guest.sh(f"({write}; echo $? >/tmp/ended) >/tmp/said 2>&1 &")
    until(lambda: disk.total("parked"), "a parked request", 120)
    host("df", "-h", "--output=size,used,avail", "/run/small")
    host(CTL, "inflight", disk.name)
    host(CTL, "events", disk.name)
    in_guest(guest, "cat /tmp/ended 2>/dev/null || echo dd still waits; "
             "dmesg | grep -c 'I/O error' || true")
    host("mount", "-o", "remount,size=64m", "/run/small")
    host(CTL, "retry", disk.name)
    in_guest(guest, "wait; cat /tmp/said")
    in_guest(guest, "[ $(cat /tmp/ended) = 0 ] && head -c $((16 << 20)) /dev/vdb | cmp - /tmp/data && "
             "echo all 16 MiB are right")
    host(CTL, "events", disk.name)


CHECK = "cd /mnt/tree && sha256sum -c -s /mnt/sums && echo $(wc -l </mnt/sums) files are right; cd /"


def main():
    kernel, initramfs, *modules, other = sys.argv[1:]
    release = os.uname().release
    tell(f"The host: Debian's kernel {release}. Two modules are inserted.")
    host(f"{TOP}/tools/vm/insert", *modules)
    insert_kvm()

    tell("A disk on a file: /dev/vhost-blk-demo appears.")
    run("mkfs.ext4", "-q", "/dev/vda")
    os.makedirs("/run/images", exist_ok=True)
    run("mount", "/dev/vda", "/run/images")
    host("truncate", "-s", "512M", "/run/images/demo.img")
    disk = Disk(CTL, "demo", "/run/images/demo.img", num_queues=2)
    print("    host#  vhost-blkctl " + " ".join(disk.command[1:]))
    host("ls", "-l", disk.node)
    print("    And one on a file of 64 MiB, on a filesystem of 8:", flush=True)
    os.makedirs("/run/small", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=8m", "small", "/run/small")
    host("truncate", "-s", "64M", "/run/small/small.img")
    small = Disk(CTL, "small", "/run/small/small.img", on_write_error="park-enospc",
                 retry_ms=0)
    print("    host#  vhost-blkctl " + " ".join(small.command[1:]))

    tell("An unmodified QEMU under KVM, its guest a stock Debian kernel:")
    host("qemu-system-x86_64", "--version")
    guest = Guest(kernel, initramfs, [disk.node, small.node], f"{TOP}/build/log/demo-guest.log")
    print("    host#  " + " ".join(guest.command[:guest.command.index("-m")])
          + " ... " + " ".join(guest.command[-2:]), flush=True)
    print(f"           the guest is up after {guest.booted():.0f} s", flush=True)
    in_guest(guest, "uname -sr; ls /sys/block/vda/mq; cat /sys/block/vda/serial")

    tell("The guest makes an ext4 and copies a file tree to it: the headers of its kernel.")
    in_guest(guest, "mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt")
    in_guest(guest, "cp -a /tree /mnt/ && (cd /tree && find . -type f | xargs sha256sum) >/mnt/sums")
    in_guest(guest, "umount /mnt && mount /dev/vda /mnt")
    in_guest(guest, CHECK)
    in_guest(guest, "df -h /mnt | tail -n 1")
    tell("What the host sees of it:")
    counters(disk)

    tell("While the guest copies files, the engine is exchanged: for another build, and back.")
    upgrades(guest, disk, Engines(CTL, [modules[1], other]))

    tell("The small disk fills up. The guest waits instead of failing, until there is space.")
    fills_up(guest, small)

    tell("The guest reboots ...")
    guest.start("umount /mnt; reboot -f")
    print(f"           and is back after {guest.booted():.0f} s", flush=True)
    in_guest(guest, "mount /dev/vda /mnt")
    in_guest(guest, CHECK)
    in_guest(guest, "umount /mnt && e2fsck -fn /dev/vda 2>/dev/null | tail -n 1")
    counters(disk)

    tell("QEMU ends. The host looks into the file itself, by a way that is not ours:")
    guest.quit()
    errors = disk.total("ioerrs") + small.total("ioerrs")
    disk.delete()
    small.delete()
    os.makedirs("/run/look", exist_ok=True)
    run("modprobe", "loop")
    host("mount", "-o", "loop,ro", "/run/images/demo.img", "/run/look")
    host("bash", "-c", "cd /run/look/tree && sha256sum --quiet -c ../sums && wc -l <../sums")
    run("umount", "/run/look")
    host(f"{TOP}/tools/vm/insert", "--remove", *modules)
    if errors:
        raise GuestError(f"{errors} requests ended in an error")
    tell("Done: every checksum was right, twice in the guest and once from outside.")


try:
    main()
except GuestError as error:
    print(f"\nThe demonstration failed: {error}", flush=True)
    sys.exit(1)
