# SPDX-License-Identifier: GPL-2.0
"""What host.py measured, as tables: medians, ratios with their spread, targets held or missed."""
import os
import statistics
import sys

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../device")
from report import conclude, given, series, spread, table  # noqa: E402

# Of ours by the IOThread's, whichever of them does better.
HOST_TARGET, IOPS_TARGET = 0.5, 1.0
# Threads whose time is that of the host's side, whole.
OTHERS = ("worker", "iothread", "daemon", "vmm")


def title(row):
    """A case in words."""
    batch = f", batches of {row['batch']}" if row["batch"] > 1 else ""
    return f"{row['mix']}, depth {row['depth']}{batch}"


def values(result, figure):
    """A figure in each window."""
    return [w.get(figure, 0) for w in result["windows"]]


def median(result, figure):
    """Of the windows."""
    return statistics.median(values(result, figure))


def host_side(result):
    """For a request, in each window: the threads that are never in a guest, and of the vCPU what is not.

    The latter is what the traced window says, and has in it what the trace costs.
    """
    vcpu = outside(result)
    return [vcpu + sum(w.get(role, 0) for role in OTHERS) for w in result["windows"]]


def outside(result):
    """Of the vCPU's time for a request, what it did not spend in the guest."""
    return result["traced"]["vcpu"] - result["traced"]["guest"]


def ratios(row, other, figure, who="ours"):
    """Ours by theirs, window by window; nothing where ours is missing."""
    if who not in row["peers"]:
        return []
    return [a / b for a, b in zip(figure(row["peers"][who]), figure(other))]


def iops(result):
    """In each window."""
    return [1e9 / ns for ns in values(result, "ns")]


def by_time(part):
    """IOPS, and processor time with the guest's in it."""
    for row in part["rows"]:
        print(f"by time: {title(row)}")
        lines = [("", "IOPS", "ours: IOPS", "vCPU us", "others us", "exits")]
        for peer, result in row["peers"].items():
            others = sum(median(result, role) for role in OTHERS)
            lines.append((peer, f"{statistics.median(iops(result)):.0f}",
                          spread(ratios(row, result, iops)),
                          f"{median(result, 'vcpu') / 1e3:.1f}", f"{others / 1e3:.1f}",
                          f"{median(result, 'exits'):.2f}"))
        table(lines)


def by_instructions(part):
    """What a request costs, and who does it."""
    for row in part["rows"]:
        print(f"instructions for a request: {title(row)}")
        lines = [("", "host's side", "ours: host", "vCPU", "worker, iothread", "rest of QEMU", "in the guest",
                  "exits", "halts", "IOPS", "ours: IOPS")]
        for peer, result in row["peers"].items():
            service = sum(median(result, role) for role in ("worker", "iothread", "daemon"))
            lines.append((peer, f"{statistics.median(host_side(result)):.0f}",
                          spread(ratios(row, result, host_side)),
                          f"{outside(result):.0f}", f"{service:.0f}", f"{median(result, 'vmm'):.0f}",
                          f"{result['traced']['guest']:.0f}", f"{median(result, 'exits'):.2f}",
                          f"{median(result, 'halt_exits'):.2f}",
                          f"{statistics.median(iops(result)):.0f}",
                          spread(ratios(row, result, iops))))
        table(lines)
        reasons = {peer: sorted(result["traced"]["reasons"].items(), key=lambda r: -r[1])[:5]
                   for peer, result in row["peers"].items()}
        table([("exits for a request", "by reason"),
               *((peer, ", ".join(f"{reason} {n:.2f}" for reason, n in most))
                 for peer, most in reasons.items())])


def judge(part):
    """Each target, in each case, against the better one of the IOThreads."""
    verdicts = []
    how = "instructions" if part["icount"] else "time"
    for row in part["rows"]:
        theirs = [result for peer, result in row["peers"].items() if peer.startswith("iothread")]
        for who in [peer for peer in row["peers"] if peer.startswith("ours")] if theirs else []:
            figures = [("IOPS", IOPS_TARGET, True, max(
                theirs, key=lambda r: statistics.median(iops(r))), iops)]
            if part["icount"]:
                figures.append(("host's instructions", HOST_TARGET, False, min(
                    theirs, key=lambda r: statistics.median(host_side(r))), host_side))
            for name, bound, least, other, figure in figures:
                ratio = statistics.median(ratios(row, other, figure, who))
                verdicts.append({
                    "target": f"by {how}, {title(row)}: {name} of {who} by the IOThread's "
                              f"{'>=' if least else '<='} {bound}",
                    "measured": round(ratio, 3), "holds": ratio >= bound if least else ratio <= bound})
    return verdicts


def plots(part):
    """What tools/bench/plot is to draw."""
    rows = [row for row in part["rows"] if row["peers"]]
    peers = list(dict.fromkeys(peer for row in rows for peer in row["peers"]))
    return [{"name": "guest-instructions", "kind": "bars", "title": "A request of 4 KiB from a guest: the "
             "host's side", "y": "instructions", "x": [title(row).replace(", ", "\n") for row in rows],
             "series": [series(peer, [host_side(row["peers"][peer]) if peer in row["peers"] else None
                                      for row in rows]) for peer in peers]}]


def main():
    """Tables on stdout, everything in a file."""
    args, parts = given()
    verdicts, drawn = [], []
    for part in parts:
        if part["icount"]:
            by_instructions(part)
            drawn += plots(part)
        else:
            by_time(part)
        verdicts += judge(part)
    conclude(args.json, parts, verdicts, plots=drawn)


if __name__ == "__main__":
    main()
