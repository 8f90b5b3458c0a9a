#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""summary.py JSON... - one table of several `heaptally frag --json=FILE`: a line per program and allocator."""
import json
import os
import sys

MIB = 1 << 20


def row(name, allocator, live):
    def ratio(which):
        value = allocator.get("overhead", {}).get(which, 0)
        return f"{value:.3f}" if value else "-"

    return (f"{name:<10} {allocator['name']:<10} {allocator['wall_s']['median']:>8.2f} {allocator['cpu_s']['median']:>8.2f} "
            f"{live:>10} {allocator['peak_rss']['median'] / MIB:>10.1f} {allocator['end_rss']['median'] / MIB:>10.1f} "
            f"{ratio('peak_rss'):>10} {ratio('peak_heap'):>10} {ratio('end_heap'):>10}")


def split(name, account):
    for when in ("peak", "end"):
        heap = account.get(f"heap_at_{when}")
        if not heap:
            continue
        terms = "  ".join(f"{term} {heap[term] / MIB:.1f}" for term in
                          ("asked", "internal", "external", "cached", "metadata", "untouched"))
        print(f"{name:<10} at the {when}: {terms}")


def main():
    studies = []
    for path in sys.argv[1:]:
        with open(path) as f:
            studies.append((os.path.basename(path).removesuffix(".json"), json.load(f)))
    print(f"{'':<21} {'wall s':>8} {'CPU s':>8} {'live MiB':>10} {'peak RSS':>10} {'end RSS':>10} {'RSS/live':>10} "
          f"{'heap/live':>10} {'at end':>10}")
    for name, study in studies:
        live = f"{study['account']['peak_bytes'] / MIB:.1f}"
        for allocator in study["allocators"]:
            if allocator["present"]:
                print(row(name, allocator, live))
    print("\nheaptally's heap, MiB")
    for name, study in studies:
        split(name, study["account"])


main()
