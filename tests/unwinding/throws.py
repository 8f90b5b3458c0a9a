# SPDX-License-Identifier: MIT
"""throws.py - what an exception through thousands of frames costs with recording and without, counted in instructions.

Of two runs that throw so and so often the difference is taken: what is done once is in neither figure. valgrind counts, so the
figures are the same on a busy machine.
"""
import os
import re
import shutil

from place import Failure, check

FRAMES = 2000
FEW, MANY = 4, 12

# How a block is allocated: at each so many levels, of two frames; and how much dearer recording may make it all. The first has
# the allocations of the exceptions alone, whose stacks are as deep as they can be.
FORMS = ((0, 1.08), (100, 1.15))


def run_once(place, program, times, every, record):
    """Instructions, and what the program said."""
    command = ['valgrind', '--tool=cachegrind', '--cache-sim=no', '--cachegrind-out-file=/dev/null', program, str(FRAMES), str(times), str(every)]
    said, errors = place.run(command, 'exit_check=0:decay=-1:record=%d' % record, 300)
    refs = re.search(r'I +refs: +([0-9,]+)', errors)
    if not refs or 'heaptally: ' in errors:
        raise Failure('valgrind counted nothing, or the library complains: %s' % errors.strip()[-400:])
    return int(refs[1].replace(',', '')), said


def cost(place, program, every, record):
    """Instructions an exception, and what was said of the run with many."""
    few, _ = run_once(place, program, FEW, every, record)
    many, said = run_once(place, program, MANY, every, record)
    return (many - few) / (MANY - FEW), said


def one(place, name, program, every, most):
    try:
        without, said_without = cost(place, program, every, 0)
        recorded, said = cost(place, program, every, 1)
        ratio = recorded / without
        check('%s: %.0f instructions an exception, recorded %.0f, %.3f times' % (name, without, recorded, ratio),
              None if ratio <= most else 'more than %.2f times' % most)
        truth, _ = place.finish([program, str(FRAMES), str(MANY), str(every)], os.environ, 60)
        fine = said == said_without == truth and 'caught %d ' % (2 * MANY) in said
        check('%s: caught and destroyed' % name, None if fine else '%s, of truth %s' % (said, truth))
    except Failure as failure:
        check(name, str(failure))


def run(place, options):  # pylint: disable=unused-argument
    program = place.compile('throws', ['throws.cc'])
    # libunwind's functions take over from the compiler's: who linked it so had it so before.
    theirs = place.compile('throws_unwind', ['throws.cc'], libs=['-Wl,--no-as-needed', '-lunwind'])
    if not shutil.which('valgrind'):
        print('skip throws: valgrind is not installed (scripts/setup test)')
        return
    for every, most in FORMS:
        one(place, 'throws, blocks at each %d levels' % every if every else 'throws, no blocks', program, every, most)
    one(place, 'throws by libunwind', theirs, FORMS[1][0], FORMS[1][1])
