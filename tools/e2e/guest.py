# SPDX-License-Identifier: GPL-2.0
"""A stock Linux guest on our devices: QEMU, its monitor (QMP) and the guest's serial console.

Used inside a machine of tools/vm/run that has KVM, by tools/e2e/inside.py and tools/demo/inside.py.
"""
import collections
import json
import os
import queue
import re
import shlex
import socket
import subprocess
import tempfile
import threading
import time


class GuestError(Exception):
    """The guest, or QEMU, did not do what it should have done in time."""


class GuestGone(GuestError):
    """The guest began anew, and neither was it told to nor did its kernel say why."""

    # What tools/checks/run looks for: it is the emulator's, and worth a second try.
    SENTENCE = "the machine died and its kernel said nothing of it"


class Lines:
    """Lines from a socket, collected by a thread of its own so that nothing waits for a reader."""

    def __init__(self, sock, log=None):
        self.sock = sock
        self.lines = queue.Queue()
        self.log = log
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        try:
            while data := self.sock.recv(65536):
                if self.log:
                    self.log.write(data)
                    self.log.flush()
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    self.lines.put(line.decode(errors="replace").rstrip("\r"))
        except OSError:
            pass
        self.lines.put(None)

    def get(self, deadline, what):
        """The next line; GuestError when it doesn't come before the deadline."""
        try:
            line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
        except queue.Empty:
            raise GuestError(f"{what}: nothing more came in time") from None
        if line is None:
            self.lines.put(None)    # for whoever asks next
            raise GuestError(f"{what}: QEMU is gone")
        return line


class Guest:
    """QEMU with one vhost-vdpa disk per node in vhostdevs, and a shell in its guest."""

    def __init__(self, kernel, initramfs, vhostdevs, log, cpus=2, memory="640M", append="",
                 extra=()):
        self.log = open(log, "wb")
        self.cpus = cpus
        self.booting = True
        self.said = collections.deque(maxlen=40)
        self.dir = tempfile.TemporaryDirectory()
        qmp, serial = (f"{self.dir.name}/{n}" for n in ("qmp", "serial"))
        self.command = [
            "qemu-system-x86_64", "-machine", "q35,accel=kvm", "-cpu", "host",
            "-smp", str(cpus), "-m", memory, "-nodefaults", "-display", "none",
            "-kernel", kernel, "-initrd", initramfs,
            # One processor boots, booted() adds the rest: booting all at once, they spin on each
            # other, for minutes where the host is emulated too. For the same reason no watchdog.
            "-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off nowatchdog maxcpus=1 "
            + append,
            "-chardev", f"socket,id=serial,path={serial},server=on,wait=on",
            "-serial", "chardev:serial",
            "-qmp", f"unix:{qmp},server=on,wait=off",
        ]
        for node in vhostdevs:
            self.command += ["-device", f"vhost-vdpa-device-pci,vhostdev={node}"]
        self.command += extra
        self.qemu_log = tempfile.TemporaryFile()
        self.qemu = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                     stdout=self.qemu_log, stderr=self.qemu_log)
        # QEMU waits for the console's client before it listens on anything else.
        self.serial = Lines(self._connect(serial), self.log)
        self.serial_sock = self.serial.sock
        self.monitor = self._connect(qmp)
        self.qmp_lines = Lines(self.monitor)
        try:
            self.qmp_lines.get(time.monotonic() + 60, "QMP greeting")
            self.qmp("qmp_capabilities")
        except GuestError as error:
            self.qemu.kill()
            raise GuestError(f"{error}: {self.qemu_said()}") from None

    def _connect(self, path):
        deadline = time.monotonic() + 60
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(path)
                return sock
            except OSError:
                sock.close()
                if self.qemu.poll() is not None:
                    raise GuestError("QEMU did not start: " + self.qemu_said()) from None
                if time.monotonic() > deadline:
                    raise GuestError(f"QEMU doesn't listen on {path}") from None
            # QEMU gives no sign when it listens: look again, the wait is bounded.
            threading.Event().wait(0.05)

    def qemu_said(self):
        """What QEMU wrote to its standard output and error, but for what is no news."""
        self.qemu_log.seek(0)
        said = self.qemu_log.read().decode(errors="replace").splitlines()
        return "\n".join(line for line in said if ": info: " not in line and
                         "exceeds the recommended cpus" not in line)

    def qmp(self, command, timeout=60, **arguments):
        """One QMP command; its result."""
        deadline = time.monotonic() + timeout
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.monitor.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(self.qmp_lines.get(deadline, f"QMP {command}"))
            if "error" in answer:
                raise GuestError(f"QMP {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def state(self):
        """What its processors do, for when it does not answer."""
        try:
            said = [f"status: {self.qmp('query-status')['status']}"]
            registers = self.qmp("human-monitor-command", **{"command-line": "info registers -a"})
        except (GuestError, OSError) as error:
            return f"the monitor does not answer: {error}"
        said += [line for line in registers.splitlines() if line.startswith(("CPU#", "RIP="))]
        return "\n".join(said)

    # What a guest that does not go on waits for.
    WAITS = ("grep -H . /sys/block/vd?/inflight; grep -E 'CPU|virtio|LOC|RES' /proc/interrupts; "
             "for t in $(pgrep -f ioengine | sed 's,.*,/proc/&/task,'); do for i in $t/*; do "
             "echo $i $(cut -d' ' -f2,3 <$i/stat) $(cat $i/wchan); done; done; uptime; true")

    def waits(self):
        """What it waits for, in its own words."""
        try:
            return self.sh(self.WAITS, 20)
        except (GuestError, OSError) as error:
            return f"the guest does not answer: {error}"

    def line(self, deadline, what):
        """The console's next line."""
        line = self.serial.get(deadline, what)
        self.said.append(line)
        if "GUEST-READY" in line and not self.booting:
            self.booting = True
            said = "\n".join(self.said)
            why = GuestError if re.search("panic|Oops|BUG:|RIP:|Call Trace", said) else GuestGone
            raise why(f"{what}: the guest began anew by itself; before that it said:\n{said}")
        return line

    def booted(self, timeout=180):
        """Waits for the guest's shell; seconds it took."""
        start = time.monotonic()
        self.booting = True
        self.wait_for("GUEST-READY", timeout)
        self.booting = False
        for cpu in range(1, self.cpus):
            self.sh(f"echo 1 >/sys/devices/system/cpu/cpu{cpu}/online")
        return time.monotonic() - start

    def wait_for(self, text, timeout=60):
        """Waits for a line with text in it; the lines before it and itself."""
        deadline = time.monotonic() + timeout
        seen = []
        while True:
            line = self.line(deadline, f"waiting for '{text}'")
            seen.append(line)
            if text in line:
                return seen

    def start(self, command):
        """Sends a command to the guest's shell and does not wait for its end."""
        self.serial_sock.sendall(command.encode() + b"\n")

    def finish(self, timeout=120, what="a command"):
        """Status and output of the command that was started last."""
        deadline = time.monotonic() + timeout
        out = []
        while True:
            line = self.line(deadline, what)
            if "GUEST-STATUS " in line:
                head, status = line.split("GUEST-STATUS ", 1)
                if head:
                    out.append(head)
                return int(status.split()[0]), "\n".join(out)
            out.append(line)

    def sh(self, command, timeout=120):
        """Output of a shell command in the guest; GuestError when its status is not 0."""
        self.start(command)
        status, out = self.finish(timeout, command)
        if status:
            raise GuestError(f"in the guest: {command}: status {status}: {out}")
        return out

    def reset(self, timeout=180):
        """system_reset, whatever the guest is doing; seconds until its shell is back."""
        self.booting = True
        self.qmp("system_reset")
        return self.booted(timeout)

    def reboot(self, timeout=180):
        """The guest reboots itself; seconds until its shell is back."""
        self.booting = True
        self.start("sync; reboot -f")
        return self.booted(timeout)

    def quit(self, timeout=60):
        """QEMU ends; its exit status."""
        try:
            self.qmp("quit", timeout)
        except (GuestError, OSError):
            pass
        try:
            return self.qemu.wait(timeout)
        except subprocess.TimeoutExpired:
            self.qemu.kill()
            raise GuestError("QEMU did not end") from None


def until(condition, what, timeout=90):
    """Waits for a condition, which nothing tells of."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise GuestError(f"{what}: not within {timeout} s")
        threading.Event().wait(0.05)


def run(*command, check=True):
    """Output of a command on the host, that is on the outer machine."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if check and done.returncode:
        raise GuestError(f"{shlex.join(command)}: status {done.returncode}: {done.stdout.strip()}")
    return done.stdout.strip()


def insert_kvm():
    """KVM for whichever processor this is."""
    for module in ("kvm_amd", "kvm_intel"):
        if subprocess.run(["modprobe", "-q", module], check=False).returncode == 0:
            break
    if not os.path.exists("/dev/kvm"):
        raise GuestError("this machine has no KVM: it wants 'tools/vm/run --svm'")


def null_blk(name, mib, **attributes):
    """A disk in memory with attributes of the kernel's null_blk, and its node."""
    run("modprobe", "null_blk", "nr_devices=0")
    folder = f"/sys/kernel/config/nullb/{name}"
    os.mkdir(folder)
    attributes = {"size": mib, "blocksize": 512, "memory_backed": 1, **attributes, "power": 1}
    for key, value in attributes.items():
        with open(f"{folder}/{key}", "w", encoding="ascii") as attribute:
            attribute.write(str(value))
    return f"/dev/{name}"


class Engines:
    """Builds of the engine that take each other's place under running devices."""

    def __init__(self, ctl, modules):
        self.ctl, self.files = ctl, []
        for i, module in enumerate(modules):
            # What is installed has no debug information either, and is ten times smaller.
            os.makedirs(f"/run/engines/{i}")
            self.files.append(f"/run/engines/{i}/vhost_blk.ko")
            run("strip", "-g", "-o", self.files[i], module)

    def exchange(self):
        """The next one for the one that runs: what 'vhost-blkctl upgrade --json' says."""
        runs, follows = self.files
        said = json.loads(run(self.ctl, "upgrade", follows, "--fallback", runs, "--json"))
        if not said["upgraded"]:
            raise GuestError(f"nothing was exchanged: {said}")
        self.files.reverse()
        return said


class Disk:
    """One of our devices, handled with vhost-blkctl."""

    def __init__(self, ctl, name, path, **attributes):
        self.ctl, self.name, self.path = ctl, name, path
        self.node = f"/dev/vhost-blk-{name}"
        command = [ctl, "create", name, "--path", path]
        for key, value in attributes.items():
            command.append(f"--{key.replace('_', '-')}")
            if value is not True:
                command.append(str(value))
        self.command = command
        run(*command)

    def show(self):
        """What 'vhost-blkctl show --json' says."""
        return json.loads(run(self.ctl, "show", self.name, "--json"))

    def total(self, counter):
        """A counter's sum over the queues."""
        return sum(q[counter] for q in self.show()["queues"])

    def delete(self):
        """Takes the device away."""
        run(self.ctl, "delete", self.name)
