# SPDX-License-Identifier: MIT
"""crowd - a trace is as large as there are stacks and threads at once, however many threads and events there ever were."""
import os
import signal
import struct
import subprocess

from place import by_function, check, read_header

PLACES = 8
FIGURES = ('allocations', 'frees', 'bytes', 'freed_bytes')
# Of the format: a tally is a line of 64 bytes, a table begins with one, the first has room for 32; the first segment of
# nodes, the modules and the header are there once.
LINE, FIRST, ONCE = 64, 32, 512 << 10
# What is given back to the disk is whole pages, at instants that differ: what is taken is certain only not to be more.
CLAIMED = 128 << 10


class Crowd:
    def __init__(self, place, alive, threads, rounds, *more):
        """One run: its report, its own books, and the size of the file."""
        program, truth, trace = place.compile('crowd'), os.path.join(place.work, 'truth'), os.path.join(place.work, 'crowd.trace')
        words = [str(word) for word in (alive, threads, rounds, *more)]
        done = subprocess.run([program, truth, *words], env=place.environment('crowd.trace'), stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != -signal.SIGKILL:
            raise ValueError('the program ended with %d: %s' % (done.returncode, done.stderr))
        self.alive, self.header, self.disk = alive, read_header(trace), os.stat(trace).st_blocks * 512
        self.report = place.report(trace, '--by=allocs')
        with open(truth, 'rb') as stream:
            numbers = struct.unpack('%dQ' % (2 * PLACES), stream.read())
        self.allocated, self.freed = numbers[:PLACES], numbers[PLACES:]
        os.unlink(trace)

    def wrong(self):
        """What is not as the program counted, to the byte; or None."""
        for place in range(PLACES):
            size, name = 24 + 40 * place, 'place_%d' % place
            true = (self.allocated[place], self.freed[place], self.allocated[place] * size, self.freed[place] * size)
            said = tuple(by_function(self.report, name, lambda usage, of=of: usage[of]).get(name, 0) for of in FIGURES)
            if said != true:
                return '%s: allocations, frees, bytes, freed bytes are %s, of truth %s' % (name, said, true)
        return None if self.header.missed == 0 and sum(self.allocated) else 'it did not fit: %s' % (self.header,)

    def bound(self, times=1):
        """Bytes that threads alive at once can need: a table with room for twice the stacks, and the smaller ones before it."""
        sites, tables, capacity = len(self.report['usage']), 0, FIRST
        while True:
            tables += LINE * (capacity + 2)
            if capacity >= 2 * sites:
                break
            capacity *= 2
        return ONCE + times * (self.alive + 1) * tables


def run(place):
    try:
        thousand, more = Crowd(place, 200, 1000, 1), Crowd(place, 200, 5000, 1)
        check('1,000 threads, 200 at once: all figures', thousand.wrong())
        check('5,000 threads, 200 at once: all figures', more.wrong())
        fine = more.header.used <= thousand.header.used * 1.02 and more.header.used <= more.bound()
        check('the file is as large as 200 are (%d KiB, bound %d)' % (more.header.used >> 10, more.bound() >> 10),
              None if fine else '%d bytes after 1,000 threads, %d after 5,000, bound %d' %
              (thousand.header.used, more.header.used, more.bound()))
        check('and it takes no more of the disk (%d KiB)' % (more.disk >> 10),
              None if all(one.disk <= one.header.used + CLAIMED for one in (thousand, more)) else (thousand.disk, more.disk))
        few = Crowd(place, 20, 5000, 1)
        check('5,000 threads, 20 at once: all figures, a smaller file', few.wrong() or
              (None if few.header.used <= few.bound() and few.header.used < more.header.used / 4 else (few.header.used, few.bound())))
        unheard = Crowd(place, 60, 3000, 1, 'raw')
        check('threads whose end nobody hears of', unheard.wrong() or
              (None if unheard.header.used <= unheard.bound(3) else (unheard.header.used, unheard.bound(3))))
        short, long = Crowd(place, 4, 4, 100), Crowd(place, 4, 4, 10000)
        events = sum(long.allocated) + sum(long.freed)
        check('%.1f million events: all figures' % (events / 1e6), long.wrong())
        fine = long.header.used == short.header.used and long.disk <= long.header.used + CLAIMED
        check('and not a byte more than %.2f million (%d KiB)' % ((sum(short.allocated) + sum(short.freed)) / 1e6, long.header.used >> 10),
              None if fine else 'used %d and %d, on the disk %d' % (short.header.used, long.header.used, long.disk))
    except (ValueError, OSError) as error:
        check('a crowd', str(error))
