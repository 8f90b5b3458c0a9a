# SPDX-License-Identifier: MIT
"""place - what the tests of the trace share: checks that are counted, programs, and what a report says by function."""
import collections
import json
import os
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
Header = collections.namedtuple('Header', 'magic version state base size used missed root started pid parent')
totals = {'ok': 0, 'FAIL': 0}


def check(name, why):
    """why: None when it holds."""
    totals['ok' if why is None else 'FAIL'] += 1
    print(('ok   %s' % name) if why is None else 'FAIL %s: %s' % (name, why), flush=True)


class Place:
    """Directories and programs of this run."""

    def __init__(self, build, work):
        self.library = os.path.join(os.path.abspath(build), 'libheaptally.so')
        self.tool = os.path.join(os.path.abspath(build), 'heaptally')
        self.work = work

    def compile(self, name):
        program = os.path.join(self.work, name)
        if not os.path.exists(program):
            subprocess.run(['gcc', '-std=gnu17', '-D_GNU_SOURCE', '-O2', '-g', '-Wall', '-Wextra', '-Werror',
                            '-fno-optimize-sibling-calls', '-pthread', '-o', program, os.path.join(HERE, name + '.c')], check=True)
        return program

    def environment(self, pattern, settings=''):
        return dict(os.environ, LD_PRELOAD=self.library,
                    HEAPTALLY='record=1:exit_check=0:trace=%s%s' % (os.path.join(self.work, pattern), settings))

    def report(self, trace, *options):
        done = subprocess.run([self.tool, 'report', '--json', '--groups=0', *options, trace], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 120:
            raise ValueError('report ended with %d: %s' % (done.returncode, done.stderr.strip()))
        return json.loads(done.stdout)

    def text(self, trace, *options):
        done = subprocess.run([self.tool, 'report', *options, trace], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False)
        if done.returncode != 120 or done.stderr:
            raise ValueError('report ended with %d: %s' % (done.returncode, done.stderr.strip()))
        return done.stdout


def read_header(trace):
    with open(trace, 'rb') as stream:
        return Header(*struct.unpack('<QII6Q2i', stream.read(72)))


def live_blocks(usage):
    return usage['allocations'] - usage['frees']


def by_function(report, wanted, figure=live_blocks):
    """Blocks not freed, or another figure, by the innermost function whose name begins so."""
    sums = {}
    for usage in report.get('usage', []):
        if usage['site'] is None:
            continue
        for frame in report['sites'][usage['site']]['frames']:
            names = [line['function'] for line in report['frames'][frame]['lines']]
            found = [name for name in names if name.startswith(wanted)]
            if found:
                sums[found[0]] = sums.get(found[0], 0) + figure(usage)
                break
    return sums
