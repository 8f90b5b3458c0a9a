# SPDX-License-Identifier: MIT
"""walkers.py - a program that walks its own stacks with libunwind: its walks must be right, and so must what is recorded."""
import re

from place import Failure, check, mismatches, stack_of

MILLISECONDS = 400

# What a whole stack must be, by its innermost function.
SHAPES = {
    'place': re.compile(r'place_\d<(?:deeper<)+allocator<'),
    'descend': re.compile(r'descend<(?:descend<)*walk_once<(?:stepper|backtracer|remote)<'),
}


def read_books(said, mode):
    books = {name: (int(made), int(freed)) for name, made, freed in re.findall(r'^allocated (\w+) (\d+) (\d+)$', said, re.MULTILINE)}
    walked = {name: int(times) for name, times in re.findall(r'^walked (\w+) (\d+)$', said, re.MULTILINE)}
    least = ('stepper', 'remote', 'backtracer', 'handlers') if mode == 'together' else ('stepper', 'remote')
    few = [name for name in least if walked.get(name, 0) < 10]
    if len(books) != 3 or few:
        raise Failure('the walkers did not do what they should: %s' % said)
    return books, walked


def sums(report):
    """function -> (allocated, freed), and the first stack that cannot be."""
    found, wrong = {}, None
    for row in report['usage']:
        names = [name for name, _ in stack_of(report, row['site'])]
        shape = SHAPES.get(names[0].split('_')[0]) if names else None
        if not shape:
            continue
        if not shape.match('<'.join(names)):
            wrong = wrong or 'a stack that cannot be: %s' % '<'.join(names)
        before = found.get(names[0], (0, 0))
        found[names[0]] = (before[0] + row['allocations'], before[1] + row['frees'])
    return found, wrong


def one(place, program, mode, settings, seed):
    name = 'walkers %s%s (seed %d)' % (mode, ', all stacks compared' if settings else '', seed)
    trace = place.path('walkers.%s.%d' % (mode, len(settings)))
    try:
        said, errors = place.run([program, str(MILLISECONDS), str(seed), mode], 'record=1:exit_check=0:trace=%s%s' % (trace, settings), 60)
        books, walked = read_books(said, mode)
        found, wrong = sums(place.report(trace, '--by=allocs'))
        made, freed = found.pop('descend', (0, 0))
        if made == 0 or made != freed:
            wrong = wrong or 'descend: %d allocated, %d freed' % (made, freed)
        check('%s: %s walks' % (name, '+'.join(str(times) for times in walked.values())), wrong)
        check('%s: blocks by function' % name, None if found == books else '%s, of truth %s' % (found, books))
        if settings:
            check('%s: none differs' % name, mismatches(errors))
    except Failure as failure:
        check(name, str(failure))


def run(place, options):
    program = place.compile('walkers', ['walkers.c', 'walkers_remote.c'], libs=['-lunwind', '-lunwind-x86_64'])
    for mode in ('alone', 'together'):
        for settings in ('', ':check_stacks=1'):
            one(place, program, mode, settings, options.seed)
