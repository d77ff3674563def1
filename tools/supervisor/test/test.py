#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of vhost-inflightd on files instead of nodes (fake_kernel.c), with the sanitizers on. TAP on stdout.

Each test runs without and with a store of descriptors: Manager speaks the service manager's side of sd_notify(3), so what
is stored comes back just as systemd would pass it.
"""
import array
import contextlib
import ctypes
import json
import mmap
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "build", "test")
DAEMON = os.path.join(BUILD, "vhost-inflightd")
ASK = os.path.join(BUILD, "ask")
WAIT = int(os.environ.get("WAIT", 20))  # seconds for anything that must happen
FREE, OWNED, RUNNING = 0, 1, 2
QUEUES, SIZE = 2, 64
STRIDE = {False: 16 * SIZE + 64, True: 32 * SIZE + 64}
KILLS = int(os.environ.get("KILLS", 20))


class Failed(Exception):
    pass


def expect(cond, what):
    if not cond:
        raise Failed(what)


def until(fn, what):
    end = time.monotonic() + WAIT
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"not in {WAIT} s: {what}")
        time.sleep(0.005)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def same_open_file(a, b):
    """As kcmp(2) has it, by which a service manager finds out whether it has stored that already."""
    kcmp, kcmp_file = 312, 0
    order = ctypes.CDLL(None, use_errno=True).syscall(kcmp, os.getpid(), os.getpid(), kcmp_file, a, b)
    expect(order >= 0, f"kcmp: {os.strerror(ctypes.get_errno())}")
    return order == 0


class Manager:
    """A service manager with a store of descriptors."""

    def __init__(self, path):
        self.path = path
        self.room = None        # what it says of its size, or nothing
        self.store = []         # (name, fd)
        self.ready = threading.Event()
        self.lock = threading.Lock()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind(path)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            data, fds, pid = self.receive()
            lines = dict(line.split("=", 1) for line in data.decode().splitlines())
            if lines.get("STOP"):
                return
            # It is not in a hurry, and of a process that is gone it does not know whose it was.
            time.sleep(random.random() * 0.002)
            known = alive(pid)
            with self.lock:
                if not known:
                    pass
                elif lines.get("FDSTORE") == "1":
                    for fd in fds:
                        if not any(same_open_file(f, fd) for _, f in self.store):
                            self.store.append((lines["FDNAME"], os.dup(fd)))
                elif lines.get("FDSTOREREMOVE") == "1":
                    for entry in [e for e in self.store if e[0] == lines["FDNAME"]]:
                        os.close(entry[1])
                        self.store.remove(entry)
            if lines.get("READY") == "1":
                self.ready.set()
            for fd in fds:      # which is also the answer to BARRIER=1
                os.close(fd)

    def receive(self):
        data, anc, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(64) + socket.CMSG_SPACE(12))
        fds, pid = array.array("i"), 0
        for _, kind, content in anc:
            if kind == socket.SCM_RIGHTS:
                fds.frombytes(content)
            else:
                pid = struct.unpack("iii", content)[0]
        return data, fds, pid

    def names(self):
        with self.lock:
            return sorted(name for name, _ in self.store)

    def sync(self):
        """Until what was sent so far is dealt with."""
        r, w = os.pipe()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(self.path)
            socket.send_fds(s, [b"BARRIER=1"], [w])
        os.close(w)
        os.read(r, 1)
        os.close(r)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(self.path)
            s.send(b"STOP=1")
        self.thread.join()
        for _, fd in self.store:
            os.close(fd)
        self.sock.close()


class Rig:
    """Directories, nodes, and a daemon that can be killed."""

    def __init__(self, stored):
        self.tmp = tempfile.mkdtemp(dir="/dev/shm")
        self.dev = os.path.join(self.tmp, "dev")
        self.run = os.path.join(self.tmp, "run")
        self.log = open(os.path.join(self.tmp, "log"), "w+")
        os.mkdir(self.dev)
        self.stored = stored
        self.manager = Manager(os.path.join(self.tmp, "notify"))
        self.pid = 0
        self.vmms = []
        self.fds = []
        self.nodes = {}

    def start(self):
        fds = []
        self.manager.ready.clear()
        env = dict(os.environ, ASAN_OPTIONS="exitcode=99", UBSAN_OPTIONS="print_stacktrace=1")
        env["NOTIFY_SOCKET"] = self.manager.path
        if self.stored:
            self.manager.sync()
            with self.manager.lock:
                fds = list(self.manager.store)
            if self.manager.room:
                env["FDSTORE"] = str(self.manager.room)
        else:
            env["FDSTORE"] = "0"
        self.pid = os.fork()
        if not self.pid:
            high = [os.dup2(fd, 100 + i) for i, (_, fd) in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
            os.closerange(3 + len(fds), 1024)
            if fds:
                env["LISTEN_PID"] = str(os.getpid())
                env["LISTEN_FDS"] = str(len(fds))
                env["LISTEN_FDNAMES"] = ":".join(name for name, _ in fds)
            os.dup2(self.log.fileno() if self.log.fileno() < 3 else os.open(self.log.name, os.O_WRONLY | os.O_APPEND), 2)
            os.execve(DAEMON, [DAEMON, "--dir", self.run, "--dev", self.dev], env)
        expect(self.manager.ready.wait(WAIT), "it does not say READY=1")

    def kill(self, sig=signal.SIGKILL):
        os.kill(self.pid, sig)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return status

    def restart(self):
        self.kill()
        self.start()

    def close(self):
        if self.pid:
            status = self.kill(signal.SIGTERM)
            expect(status == 0, f"at the end its status is {status:#x}: {self.said()}")
        for vmm in self.vmms:
            vmm.kill()
            vmm.wait()
        for fd in self.fds:
            os.close(fd)
        self.manager.close()
        self.log.close()
        shutil.rmtree(self.tmp)

    def said(self):
        with open(self.log.name) as f:
            return f.read()

    # ---- nodes ----

    def path(self, name):
        return os.path.join(self.dev, f"vhost-blk-{name}")

    def text(self, **words):
        words = {"queues": QUEUES, "size": SIZE, "num": 32, **words}
        return " ".join(f"{k}={v}" for k, v in words.items()).ljust(1000).encode() + b"\n"

    def node(self, name, **words):
        """Makes it, or changes some of it: in one write, as nobody may see a part."""
        self.nodes[name] = {**self.nodes.get(name, {}), **words}
        text = self.text(**{k: v for k, v in self.nodes[name].items() if v is not None})
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, text, 0)
        os.close(fd)

    def node_silently(self, name, **words):
        """The same without an event of inotify."""
        self.nodes[name].update(words)
        fd = os.open(self.path(name), os.O_RDWR)
        self.fds.append(fd)     # its close would be an event
        with mmap.mmap(fd, 0) as m:
            text = self.text(**self.nodes[name])
            m[:len(text)] = text

    # ---- VMMs ----

    def vmm(self):
        """A process that is somebody: the owner of a device."""
        p = subprocess.Popen(["sleep", "1000"])
        self.vmms.append(p)
        return p

    def region(self, in_flight=0, used=0, packed=False, queues=QUEUES):
        """A file without a name; how the fake kernel opens it."""
        data = bytearray(STRIDE[packed] * queues)
        for q in range(queues):
            at = STRIDE[packed] * q
            if packed:
                struct.pack_into("<QHHHHHHBB", data, at, 0, 1, SIZE, 0, 0, 9, used, 1, 1)
            else:
                struct.pack_into("<QHHHH", data, at, 0, 1, SIZE, 0, used)
            for i in range(in_flight):
                data[at + (32 + 32 * i if packed else 16 + 16 * i)] = 1
        return self.memory(bytes(data))

    def memory(self, data=b"guest"):
        fd = os.memfd_create("guest")
        os.write(fd, data)
        self.fds.append(fd)
        return fd

    def fdpath(self, fd):
        return f"/proc/{os.getpid()}/fd/{fd}"

    def runs(self, name, pid, **region):
        """A device with an owner, and a region of its own making."""
        fd = self.region(**region)
        self.node(name, pid=pid, state=RUNNING, status=15, acked=1 << 32, region=self.fdpath(fd), features=1 << 32,
                  packed=int(region.get("packed", False)))
        return fd

    def dies(self, name, vmm=None):
        if vmm:
            vmm.kill()
            vmm.wait()
        self.node(name, pid=0, state=FREE, status=0, acked=0)

    # ---- requests ----

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(os.path.join(self.run, "socket"))
        s.settimeout(WAIT)
        return s

    def packet(self, data, fds=()):
        """What is answered to a packet, and descriptors; None for the end of the connection."""
        with self.connect() as s:
            s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
            try:
                data, fds, _, _ = socket.recv_fds(s, 1 << 18, 16)
            except ConnectionResetError:
                return None, []
            return (json.loads(data) if data else None), fds

    def ask(self, request, device=None, fds=(), **more):
        d = {"request": request, **more}
        if device:
            d["device"] = device
        answer, got = self.packet(json.dumps(d).encode(), fds)
        for fd in got:
            self.fds.append(fd)
        expect(answer is not None, f"{request}: no answer")
        return answer, got

    def ok(self, *args, **kw):
        answer, fds = self.ask(*args, **kw)
        expect(answer["ok"], f"{args[0]} is refused: {answer}")
        return answer, fds

    def no(self, errno, *args, **kw):
        answer, fds = self.ask(*args, **kw)
        expect(not answer["ok"] and answer["errno"] == errno and not fds, f"{args[0]} is not refused with {errno}: {answer}")
        expect(len(answer["error"]) > 10, "without a sentence")

    def keep(self, name, fd, label="ram"):
        return self.ok("keep", name, [fd], label=label)[0]["survives"]

    def listed(self, name):
        return next((d for d in self.ok("list")[0]["devices"] if d["device"] == name), None)

    def held(self, name):
        return self.listed(name)["region"]

    def ticks(self):
        """Time it ran, in hundredths of a second."""
        with open(f"/proc/{self.pid}/stat") as f:
            return sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13])

    def open_fds(self):
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            # it may close one meanwhile
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        return found


def ino(fd):
    return os.fstat(fd).st_ino


def me():
    return os.getpid()


def settled():
    """The looks after an event go on for two seconds, and nothing tells of their end."""
    time.sleep(3)


# ---- the tests: of a rig, the daemon of which runs ----

def nodes_come_and_go(r):
    expect(r.listed("disk0") is None, "a device out of nothing")
    r.node("disk0", state=FREE)
    until(lambda: r.listed("disk0"), "a node that is made is listed")
    r.restart()
    expect(r.listed("disk0"), "a node that was there is listed")
    os.unlink(r.path("disk0"))
    until(lambda: not r.listed("disk0"), "and one that is gone is not")
    until(lambda: not os.path.exists(f"{r.run}/disk0.json"), "neither is its state")
    r.node("bad name", state=FREE)
    r.node("x" * 40, state=FREE)
    r.node("disk1", state=FREE)
    until(lambda: r.listed("disk1"), "after names that are none")
    expect(len(r.ok("list")[0]["devices"]) == 1, "names that are none are devices")


def region_is_taken(r):
    r.node("disk0", state=FREE)
    until(lambda: r.listed("disk0"), "listed")
    vmm = r.vmm()
    r.node("disk0", pid=vmm.pid, state=OWNED)
    until(lambda: r.listed("disk0")["owner_pid"] == vmm.pid, "the owner")
    expect(not r.held("disk0"), "a region out of nothing")
    r.runs("disk0", vmm.pid, in_flight=3)
    until(lambda: r.held("disk0"), "the region")
    d = r.listed("disk0")
    expect(d["running"] and d["in_flight"] == 3 * QUEUES, f"what is in flight: {d}")


def driver_ok_without_an_event(r):
    vmm = r.vmm()
    r.node("disk0", pid=vmm.pid, state=OWNED)
    until(lambda: r.listed("disk0") and r.listed("disk0")["owner_pid"], "the owner")
    settled()
    r.node_silently("disk0", state=RUNNING, region=r.fdpath(r.region()))
    # not by asking: list does not look
    until(lambda: r.held("disk0"), "the region")


def node_is_not_held(r):
    vmm = r.vmm()
    r.runs("disk0", vmm.pid)
    until(lambda: r.listed("disk0") and r.held("disk0"), "the region")
    until(lambda: not any("vhost-blk" in f for f in r.open_fds()), "the node is closed again")


def end_is_noticed(r):
    vmm = r.vmm()
    r.runs("disk0", vmm.pid, in_flight=5)
    until(lambda: r.listed("disk0") and r.held("disk0"), "the region")
    time.sleep(3)       # nothing is looked at any more
    # the device says so, but there is no event but the end of the process
    r.node_silently("disk0", pid=0, state=FREE, status=0, acked=0)
    vmm.kill()
    vmm.wait()
    until(lambda: not r.listed("disk0")["owner_pid"], "the end")
    until(lambda: f"process {vmm.pid}, its owner, is gone and left {5 * QUEUES} requests" in r.said(), "a sentence")
    with open(f"{r.run}/disk0.json") as f:
        state = json.load(f)
    expect(not state["owned"] and state["region"]["queues"][1]["in_flight"] == 5, f"{state}")


def features_are_the_regions(r):
    vmm = r.vmm()
    r.node("disk0", pid=vmm.pid, state=OWNED, status=11, acked=1 << 32)
    until(lambda: r.listed("disk0")["owner_pid"] == vmm.pid, "the owner")
    # it runs, and is gone before anybody looks
    r.node_silently("disk0", pid=0, state=FREE, status=0, acked=0, region=r.fdpath(r.region(in_flight=3)), features=5 << 32)
    vmm.kill()
    vmm.wait()
    until(lambda: r.listed("disk0")["region"], "the region")
    a, _ = r.ok("take", "disk0")
    expect(a["features"] == 5 << 32 and a["queues"][0]["in_flight"] == 3, f"{a}")


def device_lags_behind_its_owner(r):
    vmm = r.vmm()
    r.runs("disk0", vmm.pid)
    until(lambda: r.listed("disk0") and r.held("disk0"), "the region")
    vmm.kill()
    vmm.wait()
    time.sleep(3)       # until it looks seldom
    before = r.ticks()
    time.sleep(2)
    expect(r.ticks() - before < 5, "it spins")
    expect(r.listed("disk0")["owner_pid"], "the device is the one to say so")
    r.node_silently("disk0", pid=0, state=FREE)
    until(lambda: not r.listed("disk0")["owner_pid"], "the end")


def take_gives_all_of_it(r):
    for packed in False, True:
        region = r.runs("disk0", me(), in_flight=4, used=77, packed=packed)
        until(lambda: r.listed("disk0"), "listed")
        ram, state = r.memory(), r.memory()
        r.keep("disk0", ram)
        r.keep("disk0", state, "state")
        until(lambda: r.listed("disk0")["running"], "running")
        r.no(16, "take", "disk0")
        r.dies("disk0")
        a, fds = r.ok("take", "disk0")
        expect([ino(f) for f in fds] == [ino(region), ino(ram), ino(state)], f"descriptors: {a}")
        expect(a["memory"] == ["ram", "state"] and a["features"] == 1 << 32, f"{a}")
        expect(a["region"] == {"mmap_size": QUEUES * STRIDE[packed], "mmap_offset": 0, "num_queues": QUEUES,
                               "queue_size": SIZE}, f"{a}")
        expect(a["queues"] == [{"num": 32, "used": 77 | packed << 15, "in_flight": 4}] * QUEUES, f"{a}")
        r.ok("take", "disk0")       # and again: a successor may die


def who_may_take(r):
    r.no(2, "take", "disk0")
    r.node("disk0", state=FREE)
    until(lambda: r.listed("disk0"), "listed")
    r.no(2, "take", "disk0")
    r.runs("disk0", r.vmm().pid)
    r.no(16, "take", "disk0")
    r.dies("disk0", r.vmms[0])
    r.ok("take", "disk0")
    other = r.vmm()
    r.node("disk0", pid=other.pid, state=OWNED)
    r.no(16, "take", "disk0")
    r.node("disk0", pid=me())
    r.ok("take", "disk0")
    r.node("disk0", state=RUNNING)
    r.no(16, "take", "disk0")


def who_may_keep(r):
    ram = r.memory()
    r.no(2, "keep", "disk0", [ram], label="ram")
    r.node("disk0", pid=r.vmm().pid, state=OWNED)
    until(lambda: r.listed("disk0"), "listed")
    r.no(1, "keep", "disk0", [ram], label="ram")
    r.node("disk0", pid=me(), state=OWNED)
    for label in "", "a b", "../x", "x" * 32, "a\nFDSTOREREMOVE=1", ".", None, 5, ["ram"]:
        r.no(22, "keep", "disk0", [ram], label=label)
    r.no(22, "keep", "disk0", [], label="ram")
    r.no(22, "keep", "disk0", [ram, ram], label="ram")
    r.fds += [os.open(path, os.O_RDONLY) for path in ("/dev/null", __file__, "/dev/shm")] + [*os.pipe(), os.eventfd(0)]
    for fd in r.fds[-6:]:
        r.no(124, "keep", "disk0", [fd], label="ram")
    for i in range(8):
        r.keep("disk0", r.memory(), f"m{i}")
    r.no(28, "keep", "disk0", [ram], label="m8")
    r.keep("disk0", ram, "m3")      # another in its place
    r.dies("disk0")


def memory_survives(r):
    r.runs("disk0", me())
    until(lambda: r.listed("disk0"), "listed")
    nameless = r.memory()
    named = os.open(f"{r.tmp}/ram", os.O_RDWR | os.O_CREAT)
    r.fds.append(named)
    expect(r.keep("disk0", nameless, "nameless") == r.stored, "what is said of a memfd")
    expect(r.keep("disk0", named, "named"), "what is said of a file")
    for _ in range(2):
        r.restart()
        expect(r.listed("disk0")["memory"] == (["nameless"] if r.stored else []) + ["named"], f"{r.listed('disk0')}")
    expect(r.stored or '"nameless" is lost' in r.said(), "without a word")
    r.dies("disk0")
    r.restart()
    a, fds = r.ok("take", "disk0")
    expect(ino(fds[-1]) == ino(named) and a["memory"][-1] == "named", f"{a}")
    os.unlink(f"{r.tmp}/ram")
    os.close(os.open(f"{r.tmp}/ram", os.O_RDWR | os.O_CREAT))
    r.restart()
    expect(("named" in r.listed("disk0")["memory"]) == r.stored, "another file of the same name")


def one_file_twice(r):
    """Two labels, and two devices, for one file: nothing is lost where only one of them is stored."""
    ram = r.memory()
    for name in "disk0", "disk1":
        r.runs(name, me())
        until(lambda: r.listed(name) and r.listed(name)["region"], "the region is held")
        expect(r.keep(name, ram, "a") == r.stored and r.keep(name, ram, "b") == r.stored, "survives")
    r.restart()
    for name in "disk0", "disk1":
        expect(r.listed(name)["memory"] == ["a", "b"] * r.stored, f"after its end: {r.listed(name)}")


def store_is_full(r):
    r.manager.room = 2          # for the region and one more
    r.restart()
    r.runs("disk0", me())
    until(lambda: r.listed("disk0") and r.listed("disk0")["region"], "the region is held")
    expect(r.keep("disk0", r.memory(), "a") == r.stored, "the first one survives")
    for _ in range(2):
        expect(not r.keep("disk0", r.memory(), "b"), "one that there is no room for survives")
    expect(r.keep("disk0", r.memory(), "a") == r.stored, "one in the place of another survives")


def alarm_after_a_restart(r):
    r.runs("disk0", r.vmm().pid)
    until(lambda: r.listed("disk0") and r.listed("disk0")["running"], "running")
    until(lambda: "anon_inode:[pidfd]" in r.open_fds(), "an alarm for the owner's end")
    r.restart()
    until(lambda: "anon_inode:[pidfd]" in r.open_fds(), "the same after a restart")


def node_that_cannot_be_asked(r):
    """It is asked again: what is missed meanwhile has no event any more."""
    r.node("disk0", blind=1)
    until(lambda: r.listed("disk0"), "listed")
    settled()
    r.no(11, "take", "disk0")
    r.no(11, "forget", "disk0")
    settled()
    r.node_silently("disk0", blind=0, pid=me(), state=RUNNING, status=15, acked=1 << 32, region=r.fdpath(r.region()))
    until(lambda: r.listed("disk0")["running"], "what it is once it can be asked")


def many_devices(r):
    names = [f"d{i:03}" for i in range(300)]
    for name in names:
        r.node(name, state=FREE)
    until(lambda: r.ok("list", after=names[-2])[0]["devices"], "the last one is listed")
    first, _ = r.ok("list")
    expect(first["more"] and [d["device"] for d in first["devices"]] == names[:256], "the first 256")
    rest, _ = r.ok("list", after=names[255])
    expect(not rest["more"] and [d["device"] for d in rest["devices"]] == names[256:], "the rest")


def fresh_start_lets_go(r):
    r.runs("disk0", me(), in_flight=1)
    until(lambda: r.listed("disk0"), "listed")
    r.keep("disk0", r.memory())
    until(lambda: r.held("disk0"), "the region")
    r.dies("disk0")
    until(lambda: not r.listed("disk0")["owner_pid"], "the end")
    # a successor goes on with it, and becomes the one whose memory it is
    second = r.vmm()
    r.node("disk0", pid=second.pid, state=RUNNING, acked=1 << 32)
    until(lambda: r.listed("disk0")["running"], "the successor")
    expect(r.listed("disk0")["memory"] == ["ram"], "a successor has the memory")
    # reset, and other features: another region of the same owner
    r.runs("disk0", second.pid, packed=True)
    until(lambda: r.listed("disk0")["in_flight"] == 0, "the other region")
    expect(r.listed("disk0")["memory"] == ["ram"], "and after a reset")
    r.dies("disk0", second)
    until(lambda: not r.listed("disk0")["owner_pid"], "the end")
    # and one that starts afresh has no use for it
    r.runs("disk0", r.vmm().pid)
    until(lambda: r.listed("disk0")["memory"] == [], "the memory is let go of")
    r.restart()
    expect(r.listed("disk0")["memory"] == [] and r.held("disk0"), "for good")
    if r.stored:
        expect(r.manager.names() == ["disk0/region"], f"{r.manager.names()}")


def named_region(r):
    r.no(2, "region", "disk0")
    r.node("disk0", pid=me(), state=OWNED, status=3)
    until(lambda: r.listed("disk0"), "listed")
    r.no(16, "region", "disk0")
    r.node("disk0", status=15, state=RUNNING)
    r.no(16, "region", "disk0")
    r.node("disk0", status=11, state=OWNED, pid=r.vmm().pid)
    r.no(1, "region", "disk0")
    for packed in False, True:
        r.node("disk0", pid=me(), state=OWNED, status=11, acked=1 << 32 | packed << 34, packed=int(packed))
        a, (fd,) = r.ok("region", "disk0")
        expect(a["region"]["mmap_size"] == QUEUES * STRIDE[packed] == os.fstat(fd).st_size, f"{a}")
        expect(os.pread(fd, 1 << 20, 0) == bytes(QUEUES * STRIDE[packed]), "it is not fresh")
        expect(ino(fd) == os.stat(f"{r.run}/disk0.region").st_ino, "its name")
    os.pwrite(fd, b"\1", 8)
    r.node("disk0", state=RUNNING, status=15, region=f"{r.run}/disk0.region")
    until(lambda: r.held("disk0"), "the region")
    # the device and its region go, but the file stays, and that is what the name is for
    r.restart()
    r.dies("disk0")
    r.restart()
    _, fds = r.ok("take", "disk0")
    expect(ino(fds[0]) == ino(fd), "another region")
    # a VMM that begins afresh gets another file, which stays when the one before is let go of
    r.node("disk0", pid=me(), state=OWNED, status=11, acked=1 << 32, packed=0)
    _, (fd,) = r.ok("region", "disk0")
    r.node("disk0", state=RUNNING, status=15)
    until(lambda: r.listed("disk0")["running"], "it runs")
    expect(ino(fd) == os.stat(f"{r.run}/disk0.region").st_ino, "the new region has lost its name")
    r.dies("disk0")
    # QEMU begins afresh: the file has no use any more
    r.runs("disk0", r.vmm().pid)
    until(lambda: not os.path.exists(f"{r.run}/disk0.region"), "the file is gone")


def forget(r):
    r.no(2, "forget", "disk0")
    r.runs("disk0", me())
    until(lambda: r.listed("disk0"), "listed")
    r.keep("disk0", r.memory())
    r.ok("forget", "disk0")
    expect(r.listed("disk0")["memory"] == [], "the memory is there")
    r.keep("disk0", r.memory())
    r.node("disk0", pid=r.vmm().pid)
    r.no(16, "forget", "disk0")
    expect(r.listed("disk0")["memory"] == ["ram"], "the memory is not there")
    r.dies("disk0", r.vmms[0])
    r.node("disk0", region=None)
    r.ok("forget", "disk0")
    expect(not r.held("disk0"), "the region is there")
    r.no(2, "take", "disk0")
    r.restart()
    r.no(2, "take", "disk0")
    expect(r.manager.names() == [], f"{r.manager.names()}")


def region_with_a_hole(r):
    r.node("disk0", pid=r.vmm().pid, state=RUNNING, region="!")
    until(lambda: "a hole was punched" in r.said(), "a sentence")
    r.dies("disk0", r.vmms[0])
    r.no(2, "take", "disk0")


def hostile_packets(r):
    r.node("disk0", pid=me(), state=OWNED)
    until(lambda: r.listed("disk0"), "listed")
    before = len(r.open_fds())
    ram = r.memory()
    for data in (b"\0", b"{", b"[]", b"null", b"1", b'""', b"{}", b"x" * 4096, b"x" * 100000, b'{"request":1}',
                 b'{"request":"list"}\0', b'{"request":"list"}{"request":"list"}', b'{"request":"list\\u0000"}',
                 b'{"request":"keep"}', b'{"request":"keep","device":"../../x"}', b'{"request":"keep","device":["disk0"]}',
                 b'{"request":"take","device":"disk0\\u0000"}', b'[' * 4000, b'{"a":' * 700, b'\xff\xfe{"request":"list"}'):
        answer, fds = r.packet(data)
        expect(answer is None or not answer["ok"], f"{data[:40]} is taken: {answer}")
        answer, fds = r.packet(data, [ram] * 3)
        expect(answer is None or not answer["ok"], f"{data[:40]} is taken: {answer}")
        answer, fds = r.packet(data, [ram] * 200)
        expect(answer is None or not answer["ok"], f"{data[:40]} is taken: {answer}")
    good = b'{"request":"keep","device":"disk0","label":"ram"}'
    rng = random.Random(4)
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            op, at = rng.randrange(3), rng.randrange(len(data))
            if op == 0:
                data[at] = rng.randrange(256)
            elif op == 1:
                del data[at]
            else:
                data[at:at] = bytes(rng.choices(b'{}[]":,\\u019aeE.-', k=3))
        r.packet(bytes(data), [ram] * rng.randrange(3))
    # one that asks and never reads, and more than there is room for
    many = [r.connect() for _ in range(60)]
    for s in many:
        with contextlib.suppress(OSError):
            s.settimeout(0)
            for _ in range(300):
                s.send(b'{"request":"list"}')
    for s in many:
        s.close()
    for _ in range(10):
        expect(r.packet(b"", [ram] * 4)[0] is None, "nothing is answered")
    until(lambda: not r.packet(b'{"request":"list"}')[0] is None, "it answers")
    r.ok("forget", "disk0")
    until(lambda: len(r.open_fds()) <= before + 2, f"no descriptors leak: {before}, {r.open_fds()}")


def other_users_are_refused(r):
    if os.geteuid():
        return
    for path, mode in ((r.tmp, 0o711), (r.run, 0o711), (f"{r.run}/socket", 0o777)):
        expect(path == r.tmp or os.stat(path).st_mode & 0o077 == 0, f"{path} is open to others")
        os.chmod(path, mode)
    pid = os.fork()
    if not pid:
        os.setuid(65534)
        try:
            answer, _ = r.packet(b'{"request":"list"}')
            os._exit(answer is not None)
        except OSError:
            os._exit(0)
    expect(os.waitpid(pid, 0)[1] == 0, "another user is answered")


def garbage_in_the_directory(r):
    r.node("disk0", state=FREE)
    r.node("disk1", state=FREE)
    until(lambda: r.listed("disk1"), "listed")
    with open(f"{r.run}/disk1.json") as f:
        good = f.read()
    for text in ("", "{", "[]", "null", '{"owner": 7, "region": [], "memory": {"a": 1}, "owned": "x"}',
                 '{"region": {"ino": 5, "path": "/dev/null", "num_queues": 64, "queues": [1, null, {"num": -1}]}}',
                 '{"region": {"ino": 1e99, "num_queues": 99999, "queue_size": -1, "mmap_size": 1}}',
                 '{"region": {"ino": 1, "num_queues": 1000, "queue_size": 2, "queues": [{}]}}',
                 '{"memory": [1, {"label": 3}, {"label": "../x"}, {"label": "a", "path": "/dev/zero", "ino": 1}]}',
                 "x" * 100000, good * 2):
        r.kill()
        with open(f"{r.run}/disk0.json", "w") as f:
            f.write(text)
        r.start()
        expect(r.listed("disk0") and r.listed("disk1"), f"after {text[:30]}")
    r.kill()
    os.unlink(f"{r.run}/disk0.json")
    os.mkdir(f"{r.run}/disk0.json")
    with open(f"{r.run}/{'y' * 80}.json", "w") as f:
        f.write("{}")
    r.start()
    expect(r.listed("disk0"), "a directory")
    os.rmdir(f"{r.run}/disk0.json")
    if r.stored:
        fd = r.memory()
        r.kill()
        with r.manager.lock:
            r.manager.store += [(n, os.dup(fd)) for n in ("x", "/", "disk0/", "disk0/memory/", "disk0/memory/a b", "a" * 200,
                                                          "disk0/memory/" + "b" * 99, "stored")]
            r.manager.store.append(("disk0/region", os.open("/dev/null", os.O_RDONLY)))
        r.start()
        expect(r.listed("disk0")["memory"] == [] and not r.held("disk0"), "what is not ours")


def one_at_a_time(r):
    p = subprocess.run([DAEMON, "--dir", r.run, "--dev", r.dev], capture_output=True, text=True, timeout=WAIT)
    expect(p.returncode == 1 and "another supervisor" in p.stderr, p.stderr)
    r.ok("list")


def client_library(r):
    """The calls of a VMM: the process that asks is the owner."""
    def ask(request, *args, **words):
        rd, wr = os.pipe()
        out, in_ = os.pipe()
        pid = os.fork()
        if not pid:
            os.read(rd, 1)
            os.dup2(in_, 1)
            os.execv(ASK, [ASK, f"{r.run}/socket", request, "disk0", *args])
        os.close(in_)
        if words:
            r.node("disk0", pid=pid, **words)
        os.write(wr, b"x")
        with os.fdopen(out) as f:
            text = f.read()
        for fd in rd, wr:
            os.close(fd)
        return os.WEXITSTATUS(os.waitpid(pid, 0)[1]), text.split("\n")[:-1]

    r.node("disk0", state=FREE)
    until(lambda: r.listed("disk0"), "listed")
    ram = f"{r.tmp}/ram"
    os.close(os.open(ram, os.O_RDWR | os.O_CREAT))
    status, text = ask("take")
    expect(status == 1 and "it did not run" in text[0], f"{text}")
    got = ask("region", state=OWNED, status=11, acked=1 << 32)
    expect(got == (0, [f"file {os.stat(f'{r.run}/disk0.region').st_ino} {QUEUES * STRIDE[False]} {QUEUES} {SIZE}"]), f"{got}")
    region = r.region(in_flight=2, used=5)
    got = ask("keep", "ram", ram, state=RUNNING, status=15, region=r.fdpath(region), features=1 << 32)
    expect(got == (0, ["survives 1"]), f"{got}")
    r.dies("disk0")
    got = ask("take")
    expect(got == (0, [f"file {ino(region)} {QUEUES * STRIDE[False]} features 100000000"] + ["queue 32 5 2"] * QUEUES +
                   [f"piece ram {os.stat(ram).st_ino}"]), f"{got}")
    expect(ask("keep", "ram", ram)[1][0].startswith("-1 process"), "keep without owning")
    expect(ask("forget") == (0, []), "forget")
    r.kill()
    expect(ask("take")[1][0].startswith("connect:"), "without a keeper")
    r.start()


def killed_anywhere(r):
    """Whatever it said that it keeps is there again, wherever it was when it was killed."""
    rng = random.Random()
    seed = rng.randrange(1 << 30)
    rng.seed(seed)
    kept = {}
    region = r.runs("disk0", me())
    until(lambda: r.listed("disk0"), "listed")
    for i in range(KILLS):
        killer = threading.Timer(rng.random() * 0.15, os.kill, (r.pid, signal.SIGKILL))
        killer.start()
        unsure = None
        try:
            for _ in range(500):
                label = f"m{rng.randrange(4)}"
                # without a name, where that has to be enough
                fd = os.memfd_create("ram") if r.stored else os.open(f"{r.tmp}/ram{rng.randrange(1 << 30)}",
                                                                     os.O_RDWR | os.O_CREAT)
                unsure = label
                if rng.randrange(4):
                    r.keep("disk0", fd, label)
                    kept[label] = ino(fd)
                else:
                    unsure = "all"
                    r.ok("forget", "disk0")
                    kept = {}
                unsure = None
                r.fds.append(fd)
                if not rng.randrange(10):
                    region = r.runs("disk0", me())
        except (OSError, Failed):
            pass
        killer.join()
        os.waitpid(r.pid, 0)
        if r.pid and not rng.randrange(3):
            r.dies("disk0")
        r.start()
        r.node("disk0", pid=0, state=FREE)
        a, fds = r.ok("take", "disk0")
        expect(ino(fds[0]) == ino(region), f"the region is lost, seed {seed}")
        got = dict(zip(a["memory"], [ino(f) for f in fds[1:]]))
        for label in kept:
            expect(unsure in (label, "all") or got.get(label) == kept[label], f"{label} is lost, seed {seed}: {got}, {kept}")
        for label in got:
            expect(label in kept or unsure == label or unsure == "all", f"{label} is too many, seed {seed}")
        kept = got
        for fd in r.fds:
            if fd != region:
                os.close(fd)
        r.fds = [region]
        r.node("disk0", pid=me(), state=RUNNING)


EACH = [nodes_come_and_go, region_is_taken, driver_ok_without_an_event, node_is_not_held, end_is_noticed,
        features_are_the_regions,
        device_lags_behind_its_owner, take_gives_all_of_it, who_may_take, who_may_keep, memory_survives, one_file_twice,
        store_is_full, alarm_after_a_restart, node_that_cannot_be_asked, many_devices, fresh_start_lets_go,
        named_region, forget, region_with_a_hole, hostile_packets, other_users_are_refused, garbage_in_the_directory,
        one_at_a_time, client_library, killed_anywhere]


# ---- without a rig ----

def command_line():
    def run(*args):
        p = subprocess.run([DAEMON, *args], capture_output=True, text=True, timeout=WAIT)
        return p.returncode, p.stdout, p.stderr

    status, out, err = run("--help")
    expect(status == 0 and "--dir" in out and not err, f"--help: {status} {out} {err}")
    status, out, err = run("--version")
    expect(status == 0 and out.startswith("vhost-inflightd "), f"--version: {out}")
    for args in ["--frob"], ["-x"], ["--dir"], ["what"]:
        status, out, err = run(*args)
        expect(status == 2 and "--help" in err and not out, f"{args}: {status} {err}")
    with tempfile.TemporaryDirectory(dir=BUILD) as tmp:
        status, out, err = run("--dir", tmp)
        expect(status == 1 and "not on a tmpfs" in err, f"not a tmpfs: {err}")
    for args in ["--dir", "/proc/no/such"], ["--dir", "/dev/shm", "--dev", "/no/such"]:
        status, out, err = run(*args)
        expect(status == 1 and len(err.splitlines()) == 1, f"{args}: {status} {err}")


def with_rig(fn, stored):
    r = Rig(stored)
    try:
        r.start()
        fn(r)
        r.close()
    except Exception as e:
        said = r.said()
        if r.pid:
            r.kill()
        with contextlib.suppress(Exception):
            r.close()
        raise Failed(f"{e!r}\nit said: {said[-1500:]}") from e


def main():
    tests = [("command_line", command_line)]
    for stored in False, True:
        for fn in EACH:
            name = f"{fn.__name__}, {'with' if stored else 'without'} a store"
            tests.append((name, lambda fn=fn, stored=stored: with_rig(fn, stored)))
    if len(sys.argv) > 1:
        tests = [t for t in tests if any(word in t[0] for word in sys.argv[1:])]
    failed = 0
    print("TAP version 13", flush=True)
    for nr, (name, fn) in enumerate(tests, 1):
        try:
            fn()
            print(f"ok {nr} {name}", flush=True)
        except Exception as e:
            failed += 1
            print(f"not ok {nr} {name}", flush=True)
            for line in str(e).splitlines():
                print(f"#   {line}")
    print(f"1..{len(tests)}")
    sys.exit(bool(failed))


main()
