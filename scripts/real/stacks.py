#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stacks - what traces written under check_stacks=N say of their stacks.

    scripts/real/stacks.py HEAPTALLY TRACE...     one clause; fails when a stack differs, or none was compared

HEAPTALLY is the command. scripts/check-stacks uses what is here, too.
"""
import collections
import json
import os
import re
import subprocess
import sys

COMPLETE = "complete"


def report(tool, trace, *options):
    done = subprocess.run([tool, "report", "--json", "--by=allocs", *options, trace], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace", check=False)
    if done.returncode != 120:
        raise OSError("%s: report ended with %d: %s" % (trace, done.returncode, done.stderr.strip()))
    return json.loads(done.stdout)


class Stacks:
    """Sums over traces. captures: allocations that were recorded, with a stack or without one."""

    def __init__(self):
        self.captures = self.compared = self.mismatches = self.complete = 0

    def add(self, said):
        self.captures += said["run"]["allocations"]
        self.compared += said.get("stacks", {}).get("compared", 0)
        self.mismatches += said.get("stacks", {}).get("mismatches", 0)
        self.complete += sum(usage["allocations"] for usage in said.get("usage", []) if usage["end"] == COMPLETE)

    def share(self):
        return 100 * self.complete / self.captures if self.captures else 0


def read(tool, traces):
    """Of traces that may be written to at this moment. Nothing is named but one stack: that is quick."""
    sums = Stacks()
    for trace in traces:
        sums.add(report(tool, trace, "--groups=1"))
    return sums


# --- where stacks end too early -------------------------------------------------------------------------------------------

Outermost = collections.namedtuple("Outermost", "end module function offset")


class Tables:
    """Which code of a module has unwind tables."""

    def __init__(self):
        self.ranges = {}

    def of_module(self, path):
        said = subprocess.run(["readelf", "--debug-dump=frames", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=False).stdout
        return [(int(start, 16), int(end, 16)) for start, end in re.findall(r"\bFDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", said)]

    def covers(self, path, address):
        if path not in self.ranges:
            self.ranges[path] = self.of_module(path) if os.path.exists(path) else []
        return any(start <= address < end for start, end in self.ranges[path])


def outermost_of(said, usage):
    """The frame that a stack does not get beyond."""
    frames = said["sites"][usage["site"]]["frames"] if usage["site"] is not None else []
    if not frames:
        return Outermost(usage["end"], "", "", 0)
    frame = said["frames"][frames[-1]]
    module = said["modules"][frame["module"]]["path"] if frame["module"] is not None else ""
    function = frame["lines"][-1]["function"] if frame["lines"] else ""
    return Outermost(usage["end"], module, function or "?", int(frame.get("offset", frame["ip"]), 16))


def incomplete(tool, traces):
    """Allocations by the frame that their stacks do not get beyond, most of them first."""
    counts = collections.Counter()
    for trace in traces:
        said = report(tool, trace, "--groups=0")
        for usage in said.get("usage", []):
            if usage["end"] != COMPLETE:
                counts[outermost_of(said, usage)] += usage["allocations"]
    return counts.most_common()


def tell(outermost, tables):
    if not outermost.function:
        return outermost.end
    where = "%s [%s+0x%x]" % (outermost.function, os.path.basename(outermost.module) or "no module", outermost.offset)
    if outermost.end == "cut":
        return "cut at %s" % where
    # The address is one behind the call.
    has = outermost.module and tables.covers(outermost.module, outermost.offset - 1)
    return "%s at %s, which has %s unwind table" % (outermost.end, where, "an" if has else "no")


def main():
    if len(sys.argv) < 3:
        sys.exit("no process left a trace")
    try:
        sums = read(sys.argv[1], sys.argv[2:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print("%d stacks compared%s, %.2f %% complete" %
          (sums.compared, ", %d DIFFER" % sums.mismatches if sums.mismatches else "", sums.share()))
    return 1 if sums.mismatches or not sums.compared else 0


if __name__ == "__main__":
    sys.exit(main())
