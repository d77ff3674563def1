# SPDX-License-Identifier: GPL-2.0
"""What a guest asked for, held against what the disk below the device was asked to do.

The guest's kernel tells when its driver began and ended each request (block_rq_issue and
block_rq_complete), the target vblk-record when each bio came to the disk and went. Their clocks
differ, by as much for all: that there is a difference by which every bio came after its request
was begun and went before it was ended is a part of the judgement.
"""
import collections
import re
import struct
import subprocess
import time

ENTRY = struct.Struct("=QQQQIBBBB")     # struct vblk_record
ARRIVE, END = 0, 1
OPS = "RW"                              # VBLK_RECORD_READ, VBLK_RECORD_WRITE
TRACING = "/sys/kernel/tracing"
# The guest's log comes by a disk, from here on: a serial line takes a VM exit for each byte.
AT, MOST = 48 << 20, 8 << 20
# Of the requests before AT, from here on: what is before it the host reads most.
FROM = 4 << 20
LINE = re.compile(r" (\d+\.\d+): block_rq_(issue|complete): (\d+,\d+) (\w)\w* (?:\d+ )?\([^)]*\) (\d+) \+ (\d+) ")

Event = collections.namedtuple("Event", "begin key when")       # of the guest's, seconds
Bio = collections.namedtuple("Bio", "key arrive end")           # seconds; end is None: still out
Key = collections.namedtuple("Key", "op sector sectors")


def ours(op, sector):
    """Whether it is judged."""
    return op in OPS and FROM <= sector << 9 < AT


class Wrong(AssertionError):
    """What the disk was asked to do is not what the guest asked for."""


def requests(events):
    """Of each key the requests as (begun, ended); None where that is not in the log."""
    found = collections.defaultdict(list)
    for event in events:
        of = found[event.key]
        waits = of and of[-1][1] is None
        if event.begin:
            # Its driver may have had no room for it: then it is begun once more.
            if waits:
                of.pop()
            of.append((event.when, None))
        elif waits:
            of[-1] = (of[-1][0], event.when)
        elif of:
            raise Wrong(f"{event.key} was ended twice")
        else:
            of.append((None, event.when))
    return found


def judge(events, bios, begin, end):
    """Raises Wrong; how many requests were judged. The guest's log is of all that was between begin
    and end by the disk's clock, and may be of some before and behind."""
    asked = requests(events)
    done = collections.defaultdict(list)
    for bio in bios:
        done[bio.key].append(bio)
    # By the requests that there is no doubt about; a bio between their begin and end has to exist.
    least, most = float("-inf"), float("inf")
    whole = 0
    for key, of in asked.items():
        whole += sum(None not in request for request in of)
        if len(of) == 1 and None not in of[0]:
            if not done[key]:
                raise Wrong(f"{key} was ended and never done")
            if len(done[key]) == 1 and begin <= done[key][0].arrive <= end:
                bio = done[key][0]
                if bio.end is None:
                    raise Wrong(f"{key} was ended while the disk still had it")
                least = max(least, bio.end - of[0][1])
                most = min(most, bio.arrive - of[0][0])
    if least > most:
        raise Wrong(f"a request was done before it was begun, or after it was ended, by {least - most:.6f} s")
    if least == float("-inf"):
        raise Wrong("there is nothing to set the clocks by")
    for key, of in asked.items():
        for begun, ended in of:
            if begun is None or ended is None:
                continue
            n = sum(bio.arrive >= begun + least and bio.end is not None and bio.end <= ended + most
                    for bio in done[key])
            if n != 1:
                raise Wrong(f"{key} was done {n} times from its begin to its end")
    for key, of in done.items():
        for bio in of:
            # The host's udev reads what it likes, when a disk is resumed.
            if key.op != "R" and begin <= bio.arrive <= end and not any(
                    (begun is None or bio.arrive >= begun + least) and
                    (ended is None or (bio.end is not None and bio.end <= ended + most))
                    for begun, ended in asked[key]):
                raise Wrong(f"{key} was done and nobody asked for it then")
    return whole


class Witness:
    """Both logs, for a time. The guest's comes by its first disk, which is node here."""

    def __init__(self, guest, node):
        self.guest, self.node = guest, node
        self.log = open("/dev/vblk-record", "rb", buffering=0)
        guest.sh(f"mount -t tracefs tracefs {TRACING}; cd {TRACING} && echo 0 >tracing_on && "
                 "echo mono >trace_clock && echo 4096 >buffer_size_kb && "
                 "echo 1 >events/block/block_rq_issue/enable && "
                 "echo 1 >events/block/block_rq_complete/enable; s=$?; cd /; [ $s = 0 ]")
        self.start = 0

    def _records(self):
        while True:
            chunk = self.log.read(ENTRY.size * 4096)
            if not chunk:
                return
            yield from ENTRY.iter_unpack(chunk)

    def begin(self):
        """From now on."""
        for _ in self._records():
            pass
        self.guest.sh(f"echo >{TRACING}/trace; echo 1 >{TRACING}/tracing_on")
        self.start = time.monotonic()

    def end(self, disk):
        """Until now; how many requests of the guest's disk were judged."""
        end = time.monotonic()
        device = self.guest.sh(f"echo 0 >{TRACING}/tracing_on; cat /sys/block/{disk}/dev")
        bios = self._bios()
        self.guest.sh(f"cat {TRACING}/trace >/tmp/asked && echo end >>/tmp/asked && "
                      f"dd if=/tmp/asked of=/dev/vda bs=1M seek={AT >> 20} conv=sync oflag=direct "
                      "2>/tmp/dd || { cat /tmp/dd; false; }")
        done = subprocess.run(["dd", f"if={self.node}", "bs=1M", f"skip={AT >> 20}",
                               f"count={MOST >> 20}", "iflag=direct", "status=none"],
                              stdout=subprocess.PIPE, check=True)
        text, whole, _ = done.stdout.partition(b"\nend\n")
        if not whole:
            raise Wrong("the guest's log is longer than there is room for")
        return judge(unpack(text.decode(), device.replace(":", ",")), bios, self.start, end)

    def _bios(self):
        """Those that the disk took."""
        out, bios = {}, []
        for ns, of, sector, _, length, what, op, _, error in self._records():
            if what == ARRIVE and ours(OPS[op:op + 1] or "-", sector):
                out[of] = (Key(OPS[op], sector, length >> 9), ns / 1e9)
            elif what == END and of in out:
                key, arrive = out.pop(of)
                if not error:
                    bios.append(Bio(key, arrive, ns / 1e9))
        return bios + [Bio(key, arrive, None) for key, arrive in out.values()]


def unpack(text, device):
    """The guest's events on a disk, in the order in which they were."""
    events = [Event(what == "issue", Key(op, int(sector), int(sectors)), float(when))
              for when, what, of, op, sector, sectors in LINE.findall(text)
              if of == device and ours(op, int(sector))]
    return sorted(events, key=lambda event: event.when)


def self_test():
    """That each of its sentences can be said, of logs that are made up."""
    a, b, c = Key("W", 8, 8), Key("R", 64, 8), Key("R", 32, 8)
    # The guest's clock is 100 s behind.
    events = [Event(True, a, 1.0), Event(True, c, 1.0), Event(True, b, 1.1), Event(False, c, 1.2),
              Event(False, a, 1.3), Event(False, b, 1.5), Event(True, a, 1.6), Event(False, a, 1.8)]
    rest = [Bio(c, 101.05, 101.15)]
    bios = [Bio(a, 101.1, 101.2), Bio(b, 101.2, 101.4), Bio(a, 101.65, 101.7), *rest]
    assert judge(events, bios, 100.9, 102) == 4
    # What is begun at the end, or ended at the begin, may be done or not.
    assert judge([Event(False, Key("R", 0, 8), 0.9), *events, Event(True, b, 1.9)],
                 [*bios, Bio(b, 101.95, None)], 100.9, 102) == 4
    for sentence, *logs in (
            ("never done", events, [bios[0], bios[2], *rest]),
            ("0 times", events, [*bios[:2], *rest]),
            ("2 times", events, [*bios, Bio(a, 101.66, 101.68)]),
            ("nobody asked", events, [*bios, Bio(a, 101.85, 101.9)]),
            ("nobody asked", events, [*bios, Bio(Key("W", 8, 16), 101.2, 101.3)]),
            ("still had it", events, [bios[0], Bio(b, 101.2, None), bios[2], *rest]),
            ("0 times", events, [bios[0], bios[1], Bio(a, 101.65, 102.0), *rest]),
            ("after it was ended", [*events, Event(True, Key("R", 0, 8), 1.0), Event(False, Key("R", 0, 8), 1.1)],
             [*bios, Bio(Key("R", 0, 8), 101.3, 101.4)]),
            ("ended twice", [*events, Event(False, a, 1.85)], bios),
            ("nothing to set", events[-2:-1], [])):
        try:
            judge(*logs, 100.9, 102)
        except Wrong as wrong:
            assert sentence in str(wrong), f"{sentence}: {wrong}"
        else:
            raise AssertionError(f"not noticed: {sentence}")
    return "10 kinds of wrong logs"
