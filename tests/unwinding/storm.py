# SPDX-License-Identifier: MIT
"""storm.py - plugins that are opened and closed while threads allocate: does every block keep the name of who made it?"""
import os
import re

from place import Failure, check, mismatches, stack_of

# The frames of the first four are as large as their numbers say, and their code is the same else. The others keep a frame
# pointer, so that what the same address says of a stack is of another kind.
PLUGINS = 7


def build(place):
    for number in range(PLUGINS):
        flags = ['-DNUMBER=%d' % number, '-DFRAME=%d' % (512 + 64 * number), '-fPIC', '-shared', '-Wl,--build-id']
        flags += ['-fno-omit-frame-pointer'] if number >= 4 else []
        place.compile('plugin_%d.so' % number, ['plugin.c'], *flags)
    place.compile('late.so', ['late.c'], '-fPIC', '-shared')
    return place.compile('storm', ['storm.c'], '-rdynamic')


def read_books(said):
    """name -> (allocated, freed, lost); how often a plugin lay where another had been."""
    books = {name: tuple(map(int, figures)) for name, *figures in re.findall(r'^allocated (\w+) (\d+) (\d+) (\d+)$', said, re.MULTILINE)}
    moved = re.search(r'^opened (\d+) (\d+)$', said, re.MULTILINE)
    if len(books) != 1 + 3 * PLUGINS or not moved or min(allocated for allocated, _, _ in books.values()) == 0:
        raise Failure('the storm did not do what it should: %s' % said)
    return books, int(moved[1]), int(moved[2])


# What a whole stack must be, by its innermost function.
SHAPES = (
    re.compile(r'p(\d)_leaf<p\1_inner<(?:p\1_outer<)+plugin_make<make_by<(?:run_opener|run_other)<.*'),
    re.compile(r'p(\d)_first<.*<open_one<run_opener<.*'),
    re.compile(r'p(\d)_last<.*<run_opener<.*'),
    re.compile(r'here_leaf<(?:here_outer<)+make_here<run_other<.*'),
)
SPEAKING = re.compile(r'p\d_(?:leaf|first|last)$|here_leaf$')


def wrong_stack(stack):
    """None when the frames are those of one plugin, in their order, and in its file."""
    names = [name for name, _ in stack]
    numbers = {(name[1], module) for name, module in stack if re.match(r'p\d_', name)}
    if len({number for number, _ in numbers}) > 1:
        return 'functions of several plugins: %s' % '<'.join(names)
    for number, module in numbers:
        if os.path.basename(module) != 'plugin_%s.so' % number:
            return 'p%s_ in %s' % (number, module)
    if names and SPEAKING.match(names[0]) and not any(shape.match('<'.join(names)) for shape in SHAPES):
        return 'a stack that cannot be: %s' % '<'.join(names)
    return None


def sums(report, rows, figures):
    """function -> figures, added up; and the first stack that is wrong."""
    found, wrong = {}, None
    for row in rows:
        stack = stack_of(report, row['site'])
        wrong = wrong or wrong_stack(stack)
        name = stack[0][0] if stack else ''
        if SPEAKING.match(name):
            before = found.get(name, (0,) * len(figures))
            found[name] = tuple(a + row[figure] for a, figure in zip(before, figures))
    return found, wrong


def differences(said, books):
    return ', '.join('%s: %s, of truth %s' % (name, said.get(name), books[name]) for name in books if said.get(name) != books[name])


def traced(place, program, options, seconds, settings, behind):
    """One run into a trace. Books, report, and what it said."""
    trace = place.path('storm.trace')
    command = [program, place.work, str(PLUGINS), str(int(seconds * 1000)), str(options.seed)]
    said, errors = place.run(command, 'record=1:exit_check=0:trace=%s%s' % (trace, settings), 30 + 3 * seconds, behind)
    books, opened, moved = read_books(said)
    report = place.report(trace, '--by=allocs')
    os.unlink(trace)
    return books, opened, moved, report, errors


def of_a_trace(place, program, options, seconds, settings='', behind=()):
    name = 'storm, %s (seed %d)' % ('the loader stopped' if behind else 'all stacks compared', options.seed)
    try:
        books, opened, moved, report, errors = traced(place, program, options, seconds, settings, behind)
        truth = {function: figures[:2] for function, figures in books.items()}
        found, wrong = sums(report, report['usage'], ('allocations', 'frees'))
        check('%s: %d plugins opened, %d where another had been' % (name, opened, moved),
              None if moved >= 20 else 'too few to show anything')
        check('%s: every stack is of one plugin' % name, wrong)
        check('%s: blocks by function' % name, differences(found, truth) or None)
        if settings:
            check('%s: none differs' % name, mismatches(errors))
    except Failure as failure:
        check(name, str(failure))


def of_leaks(place, program, options, seconds):
    """What is lost is told by the plugin that lost it, in the recording of the end. A dead word on a stack may hold some."""
    name = 'storm, leaks (seed %d)' % options.seed
    recording = place.path('storm.htz')
    command = [place.tool, 'run', '-q', '-o', recording, program, place.work, str(PLUGINS), str(int(seconds * 1000)), str(options.seed)]
    try:
        said, _ = place.finish(command, os.environ, 60 + 3 * seconds)
        books, _, _ = read_books(said)
        report = place.report(recording)
        groups = [group for group in report['groups'] if group['class'] in ('lost', 'indirect', 'cycle')]
        found, wrong = sums(report, groups, ('blocks',))
        few = [text for function, (_, _, lost) in books.items() if not lost - 8 <= (count := found.get(function, (0,))[0]) <= lost
               for text in ['%s: %d lost, of truth %d' % (function, count, lost)]]
        check('%s: every stack is of one plugin' % name, wrong)
        check('%s: lost blocks by function' % name, ', '.join(few) or None)
    except Failure as failure:
        check(name, str(failure))


def converters(place):
    """The C library opens its converters past our dlopen, and closes them past our dlclose."""
    name = 'converters of the C library'
    trace = place.path('converters.trace')
    try:
        said, _ = place.run([place.compile('converters', ['converters.c'])], 'record=1:exit_check=0:trace=' + trace, 60)
        if 'skip' in said:
            print('skip %s: %s' % (name, said.strip()))
            return
        report, wrong, starts = place.report(trace, '--by=allocs'), None, {}
        for row in report['usage']:
            stack = stack_of(report, row['site'])
            wanted = [function[4:] for function, _ in stack if function.startswith('use_')]
            found = [os.path.basename(module) for function, module in stack if function == 'gconv_init']
            for index in (report['frames'][frame]['module'] for frame in report['sites'][row['site']]['frames'][:1] if found):
                starts.setdefault(report['modules'][index]['start'], set()).update(found)
            if wanted and found and found[0] != wanted[0].replace('_', '-') + '.so':
                wrong = '%d blocks of use_%s are told to be of %s' % (row['allocations'], wanted[0], found[0])
        moved = sum(len(modules) > 1 for modules in starts.values())
        check(name, wrong or (None if moved else 'none lay where another had been'))
    except Failure as failure:
        check(name, str(failure))


def run(place, options):
    program = build(place)
    seconds = options.seconds / 3
    converters(place)
    of_a_trace(place, program, options, seconds, settings=':check_stacks=1')
    of_a_trace(place, program, options, seconds, behind=[place.path('late.so')])
    of_leaks(place, program, options, seconds)
