#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""agree.py JSON OWN [--heap-constant]: does `heaptally frag --json` agree with what the program says of itself?

OWN has a line per run, in their order (the allocators of each round, then the accounting run): peak and end bytes asked for,
RSS, Anonymous, LazyFree, all in bytes, read by the program from its own /proc/self/smaps_rollup. Compared, to 5 %: the live
bytes at the peak, every allocator's RSS, and the overhead ratio RSS / live made of nothing but the program's words.
"""
import json
import statistics
import sys

LIMIT = 0.05
failed = 0


def compare(what, ours, theirs):
    global failed
    off = abs(ours - theirs) / theirs if theirs else 1
    bad = off > LIMIT
    failed += bad
    print(f"{'FAIL' if bad else 'ok  '} {what}: heaptally frag {ours:.4g}, the program itself {theirs:.4g}, {100 * off:.2f} % apart")


def main():
    with open(sys.argv[1]) as f:
        study = json.load(f)
    with open(sys.argv[2]) as f:
        own = [[int(word) for word in line.split()] for line in f]
    present = [a for a in study["allocators"] if a["present"]]
    runs = study["rounds"] * len(present)
    if len(own) != runs + 1 or not study["account"]["counted"]:
        print(f"FAIL {len(own)} lines of {runs + 1} runs; counted: {study['account']['counted']}")
        sys.exit(1)
    peak = own[-1][0]
    compare("live bytes at the peak", study["account"]["peak_bytes"], peak)
    compare("live bytes at the end", study["account"]["end_bytes"], own[-1][1])
    for i, allocator in enumerate(present):
        lines = own[i:runs:len(present)]
        rss = statistics.median(line[2] for line in lines)
        compare(f"{allocator['name']}: RSS at the end", allocator["end_rss"]["median"], rss)
        compare(f"{allocator['name']}: RSS / live", allocator["overhead"]["peak_rss"], rss / peak)
        heap = statistics.median(line[3] - line[4] for line in lines) - study["base"]
        compare(f"{allocator['name']}: heap / live", allocator["overhead"]["end_heap"], heap / peak)
    at_peak = study["account"]["heap_at_peak"]
    compare("resident heap, page by page", at_peak["resident"] + study["base"], at_peak["anonymous"])
    sys.exit(failed != 0)


main()
