# SPDX-License-Identifier: GPL-2.0
"""What inside.py measured, as tables: medians, ratios with their spread, targets held or missed."""
import argparse
import json
import statistics
import sys

# What the project wants: a kind of case, a figure, ours against whom, and the bound on the ratio.
# 'iops' is to be at least the bound, everything else at most.
TARGETS = (
    ("polled, depth 32 and 128, null", "iops", "io_uring", 0.9),
    ("polled, depth 32 and 128, null", "iops", "io_uring", 0.9, "ours-pinned"),
    ("polled, depth 32 and 128, null", "iops", "vduse", 1.5),
    ("polled, depth 32 and 128, null", "iops", "vhost-user", 1.5),
    ("polled, depth 32 and 128, null", "iops", "vdpa_sim", 1.2),
    ("evented, depth 1, timer", "mean_us", "io_uring", 1.25),
    ("evented, depth 1, timer", "mean_us", "io_uring", 1.25, "ours-polling"),
    ("evented, depth 1, null", "mean_us", "vduse", 1.0),
    ("evented, depth 1, null", "mean_us", "vhost-user", 1.0),
    ("evented, depth 1, null", "mean_us", "vdpa_sim", 1.0),
)
ICOUNT_TARGETS = (("vduse", 0.5), ("vhost-user", 0.5))
# 90 % of the floor, where client and device have a processor each: then the device is what it waits for.
FLOOR_TARGET = 1.11
AXES = ("queues", "devices", "queues, apart", "devices, apart", "maps", "sparse")
TRACKING_TARGET = 60
# In the order of plots.
PEERS = ("io_uring", "vduse", "vhost-user", "vhost-user-tracked", "vdpa_sim", "ours", "ours-untracked",
         "ours-packed", "ours-polling", "ours-pinned")


def belongs(row, kind):
    """Whether a row is one of those that a target is about."""
    mode, depths, disk = kind.split(", ")
    return (row["mode"] == mode and row["disk"] == disk and
            str(row["depth"]) in depths.replace("and", "").split())


def values(row, peer, figure):
    """A figure in each round."""
    return [r[figure] for r in row["rounds"].get(peer, [])]


def ratios(row, peer, figure, who="ours"):
    """Ours by theirs, round by round."""
    return [a / b for a, b in zip(values(row, who, figure), values(row, peer, figure)) if b]


def spread(numbers, digits=2):
    """Median, and from the least to the largest."""
    if not numbers:
        return "-"
    text = f"{statistics.median(numbers):.{digits}f}"
    if len(numbers) > 1:
        text += f" ({min(numbers):.{digits}f}-{max(numbers):.{digits}f})"
    return text


def table(lines):
    """Columns as wide as they have to be."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for n, line in enumerate(lines):
        print("  ".join(text.ljust(w) if i == 0 else text.rjust(w)
                        for i, (text, w) in enumerate(zip(line, widths))).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))
    print()


def title(row):
    """A case in words."""
    batch = f", batches of {row['batch']}" if row.get("batch", 1) > 1 else ""
    return f"{row['mode']}, depth {row['depth']}{batch}, {row['mix']}, disk {row['disk']}"


def compare(part):
    """Rows of peers for each case."""
    for row in part["rows"]:
        print(title(row))
        lines = [("", "IOPS", "mean us", "99 % us", "kicks", "calls", "ours: IOPS", "ours: mean")]
        for peer in row["peers"]:
            if not row["rounds"][peer]:
                continue
            lines.append((peer, *(f"{statistics.median(values(row, peer, f)):.{d}f}" for f, d in (
                ("iops", 0), ("mean_us", 1), ("p99_us", 1), ("kicks", 3), ("calls", 3))),
                spread(ratios(row, peer, "iops")), spread(ratios(row, peer, "mean_us"))))
        table(lines)


def icount(part):
    """Instructions of a request, of both sides."""
    for row in part["rows"]:
        print(f"instructions for a request: {title(row)}")
        lines = [("", "client", "device", "together", "ours: device", "ours: together", "kicks", "calls")]
        for peer in row["peers"]:
            rounds = row["rounds"][peer]
            if not rounds:
                continue
            both = [r["client_ns"] + r["device_ns"] for r in rounds]
            ours = [r["client_ns"] + r["device_ns"] for r in row["rounds"]["ours"]]
            lines.append((peer, *(f"{statistics.median(values(row, peer, f)):.0f}"
                                  for f in ("client_ns", "device_ns")), f"{statistics.median(both):.0f}",
                          spread(ratios(row, peer, "device_ns")),
                          spread([a / b for a, b in zip(ours, both)]),
                          *(f"{statistics.median(values(row, peer, f)):.2f}" for f in ("kicks", "calls"))))
        table(lines)


def stages(part):
    """Tracepoint to tracepoint."""
    unit = "instructions / 1000" if part["plan"] == "icount" else "us"
    print(f"from one tracepoint to the next, tracing included, {unit}")
    table([("", "median"), *((name, f"{s['median_us']:.2f}") for name, s in part["stages"].items())])


def many(devices, unit):
    """Making and deleting a lot of devices, one after the other."""
    print(f"{devices['number']} devices: {unit} for one of them")
    lines = [("", "least", "median", "largest", "all, s")]
    for title, what in (("", devices["us"]), ("first tenth: ", devices["first_us"]),
                        ("last tenth: ", devices["last_us"])):
        lines += [(title + step, *(f"{us[k]:.0f}" for k in ("min", "median", "max")),
                   f"{us['sum'] / 1e6:.1f}") for step, us in what.items()]
    table(lines)


def recovery(rows, unit):
    """A stop that preserves, and the next owner."""
    print(f"a stop that preserves, and from the next owner's open(), {unit}")
    lines = [("queues x requests", "stop", "runs", "submitted (one, traced)", "first back", "all back")]
    for name, row in rows.items():
        figures = {f: [r[f] for r in row["rounds"]]
                   for f in ("stop_us", "start_us", "first_us", "all_us")}
        lines.append((name, spread(figures["stop_us"], 1), spread(figures["start_us"], 0),
                      f"{row['submit_us']:.0f}",
                      *(spread(figures[f], 0) for f in ("first_us", "all_us"))))
    table(lines)


def idle(rows, unit):
    """After a busy time."""
    print("a second without requests, after a busy time: of the device's threads")
    table([("", f"on a processor, {unit}", "times that they went to sleep"),
           *((name, *(spread([r[f] for r in rounds], 0) for f in ("idle_us", "idle_sleeps")))
             for name, rounds in rows.items())])


def sweeps(part):
    """Along the axes of scale."""
    unit = "instructions" if part["icount"] else "ns of processor time"
    for name, rounds in part["scale"].items():
        if name not in AXES:
            continue
        print(f"{name}: {unit} for a request")
        lines = [("", "client", "device", "device: first", "switches", "IOPS", "start us", "mapping us", "stop us")]
        first = None
        for value, results in rounds.items():
            device = [r["device_ns"] for r in results]
            first = first or device
            lines.append((value, *(f"{statistics.median(r[f] for r in results):.{d}f}" for f, d in (
                ("client_ns", 0), ("device_ns", 0))), spread([a / b for a, b in zip(device, first)]),
                *(f"{statistics.median(r[f] for r in results):.{d}f}" for f, d in (
                    ("switches", 3), ("iops", 0), ("start_us", 0), ("map_us", 0), ("stop_us", 0)))))
        table(lines)
    if "memory_kib" in part["scale"]:
        print("free memory that a device takes while it runs, without its client's, KiB")
        table([("queues x size", "KiB"), *((k, str(v)) for k, v in part["scale"]["memory_kib"].items())])
    unit = "instructions / 1000" if part["icount"] else "us"
    idle(part["scale"]["idle"], unit)
    recovery(part["scale"]["recovery"], unit)
    many(part["scale"]["many"], unit)


def judge(parts):
    """Each target with the median of its worst case."""
    verdicts = []

    def verdict(what, figure, bound, at_least, held):
        sign = ">=" if at_least else "<="
        verdicts.append({"target": f"{what} {sign} {bound}", "measured": figure, "holds": held})

    for part in parts:
        rows = part.get("rows", [])
        for kind, figure, peer, bound, *who in TARGETS if part["plan"] != "icount" else ():
            least = figure == "iops"
            medians = [statistics.median(r) for r in (
                ratios(row, peer, figure, *who) for row in rows if belongs(row, kind)) if r]
            if medians:
                worst = min(medians) if least else max(medians)
                ours = f"of {who[0]} " if who else ""
                verdict(f"{kind}: {figure} {ours}by that of {peer}", round(worst, 3), bound, least,
                        worst >= bound if least else worst <= bound)
        if part["plan"] != "icount":
            continue
        for peer, bound in ICOUNT_TARGETS:
            worst = max(statistics.median(r) for r in (
                ratios(row, peer, "device_ns") for row in rows) if r)
            verdict(f"instructions of the device by those of {peer}", round(worst, 3), bound, False,
                    worst <= bound)
        for who in (peer for peer in ("ours", "ours-pinned") if peer in rows[0]["rounds"]):
            worst = max(statistics.median(a / b for a, b in zip(
                values(row, who, "device_ns"), values(row, "io_uring", "client_ns")))
                for row in rows if row["depth"] > 1)
            verdict(f"instructions of the device, {who}, by all of io_uring's, depth 32", round(worst, 3),
                    FLOOR_TARGET, False, worst <= FLOOR_TARGET)
        adds = max(statistics.median(values(row, "ours", "device_ns")) -
                   statistics.median(values(row, "ours-untracked", "device_ns")) for row in rows)
        verdict("instructions that tracking adds to a request", round(adds), TRACKING_TARGET, False,
                adds <= TRACKING_TARGET)
    return verdicts


def series(name, numbers):
    """What a plot has of a peer: for each case its numbers, or none."""
    return {"name": name, **{end: [of(n) if n else None for n in numbers] for end, of in
                             (("values", statistics.median), ("low", min), ("high", max))}}


def bars(name, heading, unit, rows, figure, but=()):
    """A plot with a group of bars for each case, as tools/bench/plot wants it."""
    peers = [peer for peer in PEERS
             if peer not in but and any(row["rounds"].get(peer) for row in rows)]
    return {"name": f"device-{name}", "kind": "bars", "title": heading, "y": unit,
            "series": [series(peer, [values(row, peer, figure) for row in rows]) for peer in peers],
            "x": ["\n".join([row["mix"], f"depth {row['depth']}, {row['disk']}",
                              *([f"batches of {row['batch']}"] if "batch" in row else [])])
                  for row in rows]}


def plot_scale(sweep):
    """Cost of a request along each axis, the first value's being 1."""
    axes = ("queues", "devices", "maps")
    at = sorted({int(v) for axis in axes for v in sweep[axis]})
    cost = {axis: {int(v): statistics.median(r["device_ns"] for r in results)
                   for v, results in sweep[axis].items()} for axis in axes}
    return {"name": "device-scale", "kind": "lines", "xlabel": "number of them", "y": "of the first",
            "title": "The device's instructions for a request, by queues, devices, mappings",
            "x": at, "log": True,
            "series": [{"name": axis, "values": [by[n] / by[1] if n in by else None for n in at]}
                       for axis, by in cost.items()]}


def plots(parts):
    """What tools/bench/plot is to draw."""
    drawn = []
    for part in parts:
        rows = part.get("rows", [])
        if part["plan"] == "scale":
            drawn += [plot_scale(part["scale"])] if part["icount"] else []
        elif part["plan"] == "icount":
            drawn.append(bars("instructions", "Instructions of the device for a request of 4 KiB",
                              "instructions", rows, "device_ns", ("io_uring",)))
        else:
            for disk in {row["disk"]: None for row in rows if row["mode"] == "polled"}:
                of = [row for row in rows if row["mode"] == "polled" and row["disk"] == disk]
                drawn.append(bars(f"iops-{disk}", f"Requests of 4 KiB to {disk}, by a client that polls",
                                  "IOPS", of, "iops"))
            of = [row for row in rows if row["mode"] == "evented" and row["depth"] == 1]
            drawn.append(bars("latency", "One request of 4 KiB at a time, by a client that sleeps",
                              "mean, us", of, "mean_us"))
    return drawn


def given():
    """The arguments, and the results in the files that they name."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--json", required=True, metavar="FILE")
    parser.add_argument("part", nargs="+")
    args = parser.parse_args()
    parts = []
    for name in args.part:
        with open(name, encoding="ascii") as f:
            parts.append(json.load(f))
    return args, parts


def conclude(path, parts, verdicts, **more):
    """Targets on stdout, everything in a file."""
    for v in verdicts:
        print(f"{'holds' if v['holds'] else 'MISSED'}: {v['target']}: {v['measured']}")
    with open(path, "w", encoding="ascii") as f:
        json.dump({"parts": parts, "targets": verdicts, **more}, f, indent=1)
        f.write("\n")


def main():
    """Tables on stdout, everything in a file."""
    args, parts = given()
    for part in parts:
        if part["plan"] == "scale":
            sweeps(part)
        elif part["plan"] == "icount":
            icount(part)
            stages(part)
        else:
            compare(part)
            stages(part)
    conclude(args.json, parts, judge(parts), plots=plots(parts))


if __name__ == "__main__":
    main()
