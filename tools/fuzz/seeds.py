#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: seeds.py FOLDER

Writes what the fuzz targets start from: FOLDER/TARGET/NAME, one file per input. Inputs that once
found something are in the file 'findings' and are written beside them.
"""

import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15


def le16(*values):
    return b''.join(struct.pack('<H', v & 0xffff) for v in values)


def features(packed=False, event_idx=False, indirect=False, in_order=False, partial=False,
             tight=False):
    return (packed | event_idx << 1 | indirect << 2 | in_order << 3 | partial << 4 | tight << 5)


# ---- ring: a memory image ----

def split_desc(addr, length, flags, link=0):
    return struct.pack('<QIHH', addr, length, flags, link)


def packed_desc(addr, length, flags, link=0):
    return struct.pack('<QIHH', addr, length, link, flags & 0xffff)


# schedule: how the device works, see ring.c; 62: it gives back, completely, asks, and moves
def ring(desc, driver=b'', ram=b'', num=8, schedule=62, used=0, device=b'', ram_size=1024, **feat):
    packed = feat.get('packed', False)
    size = bytes([num - 1]) if packed else bytes([num.bit_length() - 1])
    area = b''.join(le16(len(a)) + a for a in (b''.join(desc), driver, device))
    return (bytes([features(**feat)]) + size + bytes([schedule | packed << 6]) + le16(used) +
            bytes(2) + area + le16(ram_size) + ram)


def avail(*heads, used=0, num=8, used_event=0):
    at = [0] * num
    for i, head in enumerate(heads):
        at[(used + i) % num] = head
    return le16(0, used + len(heads), *at, used_event)


HEADER = struct.pack('<IIQ', 1, 0, 8)       # a write
READ = struct.pack('<IIQ', 0, 0, 0)
DISCARD = struct.pack('<IIQ', 11, 0, 0) + struct.pack('<QII', 8, 8, 0)

S = split_desc


def P(addr, length, flags, link=0):
    return packed_desc(addr, length, flags ^ AVAIL, link)


def table(entries, make):
    return b''.join(make(*e) for e in entries)


def ring_seeds():
    write = [(0, 16, NEXT, 1), (512, 512, NEXT, 2), (1024, 1, WRITE, 0)]
    read = [(0, 16, NEXT, 1), (512, 512, NEXT | WRITE, 2), (1024, 1, WRITE, 0)]
    one = [(0, 16, NEXT, 1), (1024, 1, WRITE, 0)]
    for feat in range(32):
        f = {'event_idx': feat & 1, 'indirect': feat & 2, 'in_order': feat & 4,
             'partial': feat & 8, 'tight': feat & 16}
        f = {k: bool(v) for k, v in f.items()}
        yield f'split_{feat}', ring([S(*d) for d in write + read], avail(0), HEADER, **f)
        yield f'packed_{feat}', ring([P(*d) for d in write], le16(0, feat % 4), HEADER,
                                     packed=True, **f)
    yield 'split_lap', ring([S(*d) for d in one], avail(0, 2, 4, 6, used=65533, used_event=65534),
                            READ, used=65533, event_idx=True)
    yield 'split_table', ring([S(256, 48, INDIRECT)], avail(0),
                              READ + bytes(240) + table(read, S), indirect=True)
    yield 'split_table_behind', ring([S(0, 16, NEXT, 1), S(256, 32, INDIRECT)], avail(0),
                                     READ + bytes(240) + table([(512, 512, 3, 1),
                                                                (1024, 1, 2)], S),
                                     indirect=True)
    yield 'split_table_large', ring([S(0, 16384, INDIRECT)], avail(0),
                                    table([(0, 16, 1, i + 1) for i in range(60)], S),
                                    ram_size=16400, indirect=True)
    yield 'split_table_too_large', ring([S(0, 0xfffffff0, INDIRECT)], avail(0), indirect=True)
    yield 'split_table_no_feature', ring([S(0, 16, INDIRECT)], avail(0), HEADER)
    yield 'split_table_next', ring([S(0, 16, INDIRECT | NEXT)], avail(0), indirect=True)
    yield 'split_table_nested', ring([S(0, 16, INDIRECT)], avail(0), S(0, 16, INDIRECT),
                                     indirect=True)
    yield 'split_table_unmapped', ring([S(1 << 40, 16, INDIRECT)], avail(0), indirect=True)
    yield 'split_table_room', ring([S(0, 256, INDIRECT)], avail(0),
                                   table([(0, 16, 1, i + 1) for i in range(16)], S),
                                   indirect=True, tight=True)
    yield 'split_loop', ring([S(0, 16, NEXT, 1), S(0, 16, NEXT, 0)], avail(0))
    yield 'split_head', ring([S(0, 16, 0)], avail(9))
    yield 'split_next', ring([S(0, 16, NEXT, 8)], avail(0))
    yield 'split_twice', ring([S(0, 16, NEXT, 1), S(0, 1, WRITE)], avail(2, 2), schedule=0)
    yield 'split_runaway', ring([S(0, 16, 0)], le16(0, 9))
    yield 'split_order', ring([S(0, 16, WRITE, 1), S(0, 16, NEXT, 0)], avail(0))
    yield 'split_sum', ring([S(0, 0xffffffff, NEXT, 1), S(0, 2, WRITE)], avail(0))
    yield 'split_wraps', ring([S(2**64 - 8, 16, 0)], avail(0))
    yield 'packed_odd', ring([P(*d) for d in one], num=7, packed=True)
    yield 'packed_1', ring([P(0, 16, 0)], num=1, packed=True)
    yield 'packed_lap', ring([P(0, 16, 0, i) for i in range(8)], used=5, packed=True)
    yield 'packed_table', ring([P(256, 48, INDIRECT)], b'',
                               READ + bytes(240) + table([(0, 16, 0), (512, 512, 2),
                                                          (1024, 1, 2)], packed_desc),
                               packed=True, indirect=True)
    yield 'packed_table_large', ring([P(0, 16384, INDIRECT)], ram_size=16400, packed=True,
                                     indirect=True)
    yield 'packed_table_room', ring([P(0, 256, INDIRECT)], packed=True, indirect=True, tight=True)
    yield 'packed_table_order', ring([P(0, 32, INDIRECT)], b'',
                                     table([(0, 16, 2), (0, 16, 0)], packed_desc), packed=True,
                                     indirect=True)
    yield 'packed_table_next', ring([P(0, 16, INDIRECT | NEXT)], packed=True, indirect=True)
    yield 'packed_table_behind', ring([P(0, 16, NEXT), P(0, 16, INDIRECT)], packed=True,
                                      indirect=True)
    yield 'packed_loop', ring([P(0, 16, NEXT)], packed=True)
    yield 'packed_id', ring([P(0, 16, 0, 8)], packed=True)
    yield 'packed_twice', ring([P(0, 16, 0, 1)], packed=True, schedule=0)
    yield 'packed_order', ring([P(0, 16, WRITE | NEXT), P(0, 16, 0)], packed=True)
    yield 'packed_sum', ring([P(0, 0xffffffff, NEXT), P(0, 2, WRITE)], packed=True)
    yield 'packed_wraps', ring([P(2**64 - 8, 16, 0)], packed=True)
    yield 'packed_not_available', ring([P(0, 16, NEXT), packed_desc(0, 16, 0)], packed=True)
    yield 'packed_position', ring([P(0, 16, 0)], packed=True, schedule=128)


# ---- calls: a program for a driver that behaves, see calls.c ----

def add(segs, out, direct=0, length=32):
    return bytes([0, (segs - 1) | direct << 5, out]) + bytes([length] * segs)


def fetch(n):
    return bytes([7 | (n - 1) << 4])


def publish(*which):
    return bytes([10 | (len(which) - 1) << 4, *which])


def reap(n):
    return bytes([4 | (n - 1) << 4])


KICK, SLEEP, REFUSE, CALL, DEV_SLEEP, NO_KICK = (bytes([n]) for n in (3, 5, 6, 12, 13, 14))
MOVE, RESUME = bytes([15]), bytes([15 | 16])
SHORT = 225             # of device_answer(): not all that could be written


def calls_seeds():
    programs = {
        'one': add(2, 1) + KICK + fetch(1) + publish(0) + CALL + reap(1),
        'sleepy': add(2, 1) + SLEEP + DEV_SLEEP + KICK + fetch(2) + DEV_SLEEP + publish(0) +
                  CALL + reap(2) + SLEEP,
        'in_turn': 4 * add(1, 0) + KICK + fetch(4) + publish(0, 0) + CALL + publish(0, 0) + reap(4),
        'out_of_turn': 6 * add(1, 0) + KICK + fetch(6) + publish(1) + publish(0) + publish(0, 0, 0) +
                       publish(0) + CALL + reap(6),
        'short': 4 * add(2, 0) + KICK + fetch(4) + publish(SHORT + 2, 0, SHORT, 0) + reap(4),
        'laps': 12 * (add(1, 0) + add(2, 1) + KICK + fetch(2) + publish(1, 0) + CALL + reap(2)),
        'moves': add(1, 0) + KICK + MOVE + fetch(1) + MOVE + publish(0) + RESUME + add(1, 1) + KICK +
                 fetch(1) + RESUME,
        'no_wakes': NO_KICK + REFUSE + add(3, 2) + KICK + fetch(1) + publish(0) + CALL,
        'tables': add(12, 6, 4) + add(3, 1, 4) + KICK + fetch(2) + publish(1, 0) + reap(2),
    }
    for feat in range(32):
        for size, (name, program) in enumerate(programs.items()):
            start = (65530, 3, 0)[feat % 3]
            yield (f'{name}_{feat}',
                   bytes([feat, 3 + size]) + le16(start) + program)


# ---- hostile: a program for a driver that does not behave, see hostile.c ----

def hostile_seeds():
    def put(how, addr, length, link):
        return bytes([3, how, addr, length, link])

    def program(feat):
        if feat & 1:
            return put(NEXT, 0, 1, 0) + put(WRITE, 4, 1, 1) + put(INDIRECT, 8, 3, 2)
        return (bytes([1, 0, NEXT, 0, 1, 1, 0]) + bytes([1, 1, WRITE, 4, 1, 0, 0]) +
                bytes([1, 2, INDIRECT, 8, 3, 0, 0]) + bytes([3, 0, 3, 2]))

    for feat in range(64):
        yield (f'once_{feat}',
               bytes([feat, 3, 0, 0]) + program(feat) + fetch(4) + bytes([6, 33, 0]) +
               publish(1) + publish(0, 0) + CALL + DEV_SLEEP + MOVE + NO_KICK + bytes([15 | 48, 1]) +
               program(feat) + fetch(4) + publish(1, 0))


# ---- parse: limits and segments ----

def parse_seeds():
    for kind in range(16):
        for out, nr in ((1, 3), (2, 3), (3, 4), (5, 8)):
            seg = bytes([64, 0]) + bytes([66, 64] * (nr - 2)) + bytes([4, 1])
            yield (f'type_{kind}_{out}_{nr}',
                   bytes([kind & 8, 0, nr - 1, out]) + seg + struct.pack('<IIQ', kind, 0, 8) +
                   struct.pack('<QII', 8, 8, kind & 1) * 3)
    # The last block of a disk as large as can be, and more.
    yield ('capacity', bytes([1]) + struct.pack('<Q', 2**64 - 1) + bytes([0, 2, 2]) +
           bytes([64, 0, 34, 64, 4, 1]) + struct.pack('<IIQ', 1, 0, 2**64 - 8))


SEEDS = {'ring': ring_seeds, 'calls': calls_seeds, 'hostile': hostile_seeds, 'parse': parse_seeds}


def write(folder, target, name, data):
    os.makedirs(os.path.join(folder, target), exist_ok=True)
    with open(os.path.join(folder, target, name), 'wb') as f:
        f.write(data)


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ('-h', '--help'):
        print(__doc__)
        sys.exit(0 if sys.argv[1:2] in (['-h'], ['--help']) else 2)
    for target, seeds in SEEDS.items():
        for name, data in seeds():
            write(sys.argv[1], target, name, data)
    with open(os.path.join(HERE, 'findings'), encoding='ascii') as f:
        for line in f:
            if line.strip() and not line.startswith('#'):
                target, name, data = line.split()
                write(sys.argv[1], target, 'finding_' + name, bytes.fromhex(data))


main()
