# SPDX-License-Identifier: GPL-2.0
"""Figures of the benchmarks of the ring engine: what many rounds come to, and tables."""
import statistics


def spread(values):
    """Median, and the quartiles around it."""
    values, n = sorted(values), len(values)
    return {'median': statistics.median(values), 'low': values[n // 4], 'high': values[-1 - n // 4]}


def table(title, head, lines):
    """Columns as wide as they have to be."""
    print(f'\n{title}\n')
    widths = [max(len(str(line[i])) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, *lines]:
        print('  ' + '  '.join(str(v).ljust(w) if not i else str(v).rjust(w)
                               for i, (v, w) in enumerate(zip(line, widths))).rstrip())
