# SPDX-License-Identifier: MIT
"""From single measurements to the tables: medians, ratios to the first library, geometric means over the workloads.

results = {"libraries": [name...], "ours": name, "rounds": N, "machine": text,
           "workloads": [{"name", "what", "runs": {library: [{"wall", "cpu", "peak", "end"}...]}, "failed": {library: why}}]}

A library that failed on a workload is left out of its own means, and two libraries are compared only on workloads that
both of them finished.
"""
import math
import statistics

# key, heading, unit, how many of the measured unit make one of the printed
MEASURES = [("wall", "time", "ms", 1000.0), ("cpu", "CPU time", "ms", 1000.0), ("peak", "peak RSS", "MiB", 1024.0),
            ("end", "RSS at the end", "MiB", 1024.0)]
SLOWER = 1.15  # times the best peer: marked


class Tables:
    """typical: what stands for a workload's rounds, the median, or min: on a busy machine the quietest round tells more."""

    def __init__(self, results, typical=statistics.median):
        self.results, self.typical = results, typical
        self.names = results["libraries"]
        self.base, self.ours = self.names[0], results["ours"]
        self.peers = [n for n in self.names if n != self.ours]
        self.workloads = results["workloads"]

    def spread(self, workload, name, key):
        """(what is typical, min, max), or None."""
        values = [run[key] for run in workload["runs"].get(name, [])]
        if not values or name in workload["failed"]:
            return None
        return self.typical(values), min(values), max(values)

    def middle(self, workload, name, key):
        found = self.spread(workload, name, key)
        return found[0] if found else None

    def ratio(self, workload, name, to, key):
        mine, others = self.middle(workload, name, key), self.middle(workload, to, key)
        return mine / others if mine and others else None

    def mean_ratio(self, name, to, key):
        """Geometric mean over what both finished, and of how many workloads."""
        ratios = [r for r in (self.ratio(w, name, to, key) for w in self.workloads) if r]
        return (math.exp(statistics.fmean(math.log(r) for r in ratios)) if ratios else None), len(ratios)

    def best_peer(self, workload, key):
        found = [(self.middle(workload, n, key), n) for n in self.peers if self.middle(workload, n, key)]
        return min(found)[1] if found else None

    def to_best_peer(self, workload, key):
        peer = self.best_peer(workload, key)
        return (self.ratio(workload, self.ours, peer, key) if peer and self.ours in self.names else None), peer

    def failures(self):
        return [(w["name"], name, why) for w in self.workloads for name, why in w["failed"].items()]

    def ranking(self, key):
        """Workloads by how much worse than the best peer ours is, worst first."""
        found = [(self.to_best_peer(w, key)[0], w["name"], self.to_best_peer(w, key)[1]) for w in self.workloads]
        return sorted((f for f in found if f[0]), reverse=True)

    def single_best(self, key):
        """The peer whose geometric mean to the first library is smallest: (name, its mean, ours to it)."""
        means = [(self.mean_ratio(n, self.base, key)[0], n) for n in self.peers]
        means = [m for m in means if m[0]]
        if not means or self.ours not in self.names:
            return None
        mean, name = min(means)
        return name, mean, self.mean_ratio(self.ours, name, key)[0]


def number(value, form="%.2f"):
    return form % value if value else "-"


# --- for the terminal ---

def text_table(t, key, heading, unit, scale):
    others = t.names[1:]
    lines = ["%s: %s in %s, the others as a ratio to it; median [min-max]" % (heading, t.base, unit)]
    lines.append("%-18s%24s" % ("", t.base) + "".join("%20s" % n for n in others) + "  best peer  ours/best")
    for w in t.workloads:
        base = t.spread(w, t.base, key)
        cell = "%.1f [%.1f-%.1f]" % tuple(v / scale for v in base) if base else "FAILED"
        line = "%-18s%24s" % (w["name"], cell)
        for name in others:
            found = t.spread(w, name, key)
            if name in w["failed"]:
                cell = "FAILED"
            elif not found or not base or not base[0]:
                cell = "-"
            else:
                cell = "%.2f [%.2f-%.2f]" % tuple(v / base[0] for v in found)
            line += "%20s" % cell
        ratio, peer = t.to_best_peer(w, key)
        lines.append(line + "  %-10s %5s" % (peer or "-", number(ratio)) + (" <" if ratio and ratio > SLOWER else ""))
    return lines


def summary_rows(t):
    """Heading row, then a row a measure: geometric means, and ours beside the best single peer."""
    rows = [["geometric mean, ratio to %s" % t.base] + t.names[1:] + ["best single peer", "ours / best"]]
    for key, heading, _, _ in MEASURES:
        row = [heading]
        for name in t.names[1:]:
            mean, count = t.mean_ratio(name, t.base, key)
            row.append(number(mean) + ("" if count == len(t.workloads) else " (of %d)" % count))
        best = t.single_best(key)
        rows.append(row + ([best[0], number(best[2])] if best else ["-", "-"]))
    return rows


def text(t):
    lines = [t.results["machine"], "%d workloads, %d rounds" % (len(t.workloads), t.results["rounds"]), ""]
    for measure in MEASURES:
        lines += text_table(t, *measure) + [""]
    for row in summary_rows(t):
        lines.append("%-34s" % row[0] + "".join("%18s" % cell for cell in row[1:]))
    lines.append("")
    for key, heading, _, _ in MEASURES[:3]:
        worse = [f for f in t.ranking(key) if f[0] > SLOWER]
        lines.append("%s: worse than %.2f x the best peer on %d of %d workloads: %s"
                     % (heading, SLOWER, len(worse), len(t.workloads),
                        ", ".join("%s %.2f (%s)" % (name, ratio, peer) for ratio, name, peer in worse) or "none"))
    best = t.single_best("wall")
    if best:
        lines.append("ours / best single peer (geomean of time): %.3f, the peer is %s with %.3f x %s"
                     % (best[2], best[0], best[1], t.base))
    lines += ["FAILED: %s on %s: %s; left out of its means" % (name, workload, why) for workload, name, why in t.failures()]
    return "\n".join(lines)


# --- for the README ---

def markdown_row(cells):
    return "| " + " | ".join(cells) + " |"


def markdown(t):
    lines = ["%s. %d workloads, medians of %d interleaved rounds, as ratios to %s: below 1 is better than %s."
             % (t.results["machine"], len(t.workloads), t.results["rounds"], t.base, t.base), ""]
    rows = summary_rows(t)
    lines += [markdown_row(rows[0]), "|---" * len(rows[0]) + "|"] + [markdown_row(row) for row in rows[1:]]
    lines += ["", "A workload a row: time / peak RSS. **Bold**: slower than %.2f × the best peer there." % SLOWER, ""]
    lines.append(markdown_row(["workload", t.base] + t.names[1:] + ["best peer's time", "ours / it"]))
    lines.append("|---" * (len(t.names) + 3) + "|")
    for w in t.workloads:
        time, peak = t.middle(w, t.base, "wall"), t.middle(w, t.base, "peak")
        cells = [w["name"], "%.0f ms / %.1f MiB" % (time / 1000, peak / 1024) if time and peak else "failed"]
        for name in t.names[1:]:
            ratios = t.ratio(w, name, t.base, "wall"), t.ratio(w, name, t.base, "peak")
            cells.append("failed" if name in w["failed"] else "%s / %s" % tuple(number(r) for r in ratios))
        ratio, peer = t.to_best_peer(w, "wall")
        shown = number(ratio)
        lines.append(markdown_row(cells + [peer or "-", "**%s**" % shown if ratio and ratio > SLOWER else shown]))
    for workload, name, why in t.failures():
        lines += ["", "%s failed on %s (%s) and is left out of its means." % (name, workload, why)]
    return "\n".join(lines)
