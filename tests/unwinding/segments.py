# SPDX-License-Identifier: MIT
"""segments.py - a program whose segments do not adjoin, as node's: the loader names the segment that an address is in, and the
unwind tables are in another one."""
from place import Failure, check, mismatches, stack_of

HOLES = ['-no-pie', '-Wl,-z,separate-code', '-Wl,-z,max-page-size=0x200000']


def run(place, options):  # pylint: disable=unused-argument
    name = 'segments that do not adjoin'
    trace = place.path('segments.trace')
    try:
        program = place.compile('segments', ['segments.c'], *HOLES)
        _, errors = place.run([program], 'record=1:check_stacks=1:exit_check=0:trace=' + trace, 60)
        check('%s: none differs' % name, mismatches(errors))
        report = place.report(trace, '--by=allocs')
        stacks = [(row['allocations'], [function for function, _ in stack_of(report, row['site'])]) for row in report['usage']]
        whole = sum(allocations for allocations, stack in stacks if stack[:1] == ['deeper'] and 'main' in stack)
        told = [module['build_id'] for module in report['modules'] if module['path'] == program]
        check('%s: its build id' % name, None if told and all(told) else 'not told: %s' % told)
        check('%s: all stacks reach main' % name, None if whole == 3000 else '%d of 3000' % whole)
    except Failure as failure:
        check(name, str(failure))
