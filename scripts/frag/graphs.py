# SPDX-License-Identifier: MIT
"""graphs.py [LINES [TRACED]] - build and drop object graphs; some of each stays.

To be run with PYTHONMALLOC=malloc, since python's own arenas would hide its objects from malloc. With LINES, VmHWM in bytes is
appended there at the end; with TRACED, and python's option -X tracemalloc=1, the peak that tracemalloc counted is written there.
"""
import sys

ROUNDS = 8
NODES = 60000


class Node:
    def __init__(self, number):
        self.number = number
        self.name = "node %d" % number
        self.children = []


def build(first, count):
    nodes = [Node(first + i) for i in range(count)]
    for i in range(1, count):
        nodes[i // 2].children.append(nodes[i])
    return nodes


def high_water():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main():
    kept = []
    for turn in range(ROUNDS):
        graph = build(turn * NODES, NODES)
        index = {node.name: node for node in graph[:: 3 + turn]}
        kept.append({name: str(node.number) * (2 + turn) for name, node in index.items()})
        del graph, index
        if turn % 3 == 2:
            kept.pop(0)
    return kept


result = main()
if len(sys.argv) > 2:
    import tracemalloc

    with open(sys.argv[2], "w") as f:
        f.write("%d\n" % tracemalloc.get_traced_memory()[1])
elif len(sys.argv) > 1:
    with open(sys.argv[1], "a") as f:
        f.write("%d\n" % high_water())
