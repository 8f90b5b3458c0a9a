#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""agree.py - does `heaptally frag --json` agree, to 5 %, with what a program says of itself and with /proc read otherwise?

   agree.py own JSON LINES      a line per run in their order, the accounting run last: peak and end bytes asked for, RSS,
                                Anonymous, LazyFree, in bytes, as the program read its own /proc/self/smaps_rollup
   agree.py redis JSON DIR      DIR/info.ALLOCATOR.ACCOUNTING: INFO memory, taken where the run ends. used_memory is redis's own
                                account, of usable sizes (malloc_usable_size), so it is compared with live capacity
   agree.py python JSON LINES TRACED    LINES: a line per run, VmHWM in bytes; TRACED: the peak that tracemalloc counted in
                                a run of its own

Every overhead ratio is made twice: by heaptally frag, and of nothing but the other side's words.
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
    print(f"{'FAIL' if bad else 'ok  '} {what}: heaptally frag {ours:.5g}, otherwise {theirs:.5g}, {100 * off:.2f} % apart")


def give_up(why):
    print(f"FAIL {why}")
    sys.exit(1)


def read_lines(study, path):
    """A list of figures per run; by allocator, and those of the accounting run."""
    with open(path) as f:
        lines = [[int(word) for word in line.split()] for line in f]
    present = [a for a in study["allocators"] if a["present"]]
    runs = study["rounds"] * len(present)
    if len(lines) != runs + 1:
        give_up(f"{len(lines)} lines of {runs + 1} runs in {path}")
    return [(a, lines[i:runs:len(present)]) for i, a in enumerate(present)], lines[-1]


def add_up(study, heap):
    """The heap page by page, and the base, are all that is anonymous."""
    compare("the heap and what is none", heap["resident"] + study["base"], heap["anonymous"])


def own(study, path):
    allocators, accounting = read_lines(study, path)
    account = study["account"]
    peak = accounting[0]
    compare("live bytes at the peak", account["peak_bytes"], peak)
    compare("live bytes at the end", account["end_bytes"], accounting[1])
    for allocator, lines in allocators:
        rss = statistics.median(line[2] for line in lines)
        heap = statistics.median(line[3] - line[4] for line in lines) - study["base"]
        compare(f"{allocator['name']}: RSS at the end", allocator["end_rss"]["median"], rss)
        compare(f"{allocator['name']}: RSS / live", allocator["overhead"]["peak_rss"], rss / peak)
        compare(f"{allocator['name']}: heap / live", allocator["overhead"]["end_heap"], heap / peak)
    add_up(study, account["heap_at_peak"])


def read_info(path):
    with open(path) as f:
        return dict(line.strip().split(":", 1) for line in f if ":" in line)


def redis(study, directory):
    heap = study["account"]["heap_at_end"]
    info = read_info(f"{directory}/info.heaptally.1")
    compare("live capacity at the end", heap["capacity"], int(info["used_memory"]))
    for allocator in study["allocators"]:
        if not allocator["present"]:
            continue
        info = read_info(f"{directory}/info.{allocator['name']}.0")
        rss, used = int(info["used_memory_rss"]), int(info["used_memory"])
        compare(f"{allocator['name']}: RSS at the end", allocator["end_rss"]["median"], rss)
        if allocator["name"] == "heaptally":
            compare("heaptally: RSS / live capacity", allocator["end_rss"]["median"] / heap["capacity"], rss / used)
    add_up(study, heap)


def python(study, path, traced):
    with open(traced) as f:
        live = int(f.read())
    allocators, _ = read_lines(study, path)
    compare("live bytes at the peak", study["account"]["peak_bytes"], live)
    for allocator, lines in allocators:
        rss = statistics.median(line[0] for line in lines)
        compare(f"{allocator['name']}: peak RSS", allocator["peak_rss"]["median"], rss)
        compare(f"{allocator['name']}: RSS / live", allocator["overhead"]["peak_rss"], rss / live)
    add_up(study, study["account"]["heap_at_peak"])


def main():
    ways = {"own": own, "redis": redis, "python": python}
    if len(sys.argv) < 4 or sys.argv[1] not in ways:
        give_up(__doc__)
    with open(sys.argv[2]) as f:
        study = json.load(f)
    if not study["account"]["counted"]:
        give_up("nothing was counted")
    ways[sys.argv[1]](study, *sys.argv[3:])
    sys.exit(failed != 0)


main()
