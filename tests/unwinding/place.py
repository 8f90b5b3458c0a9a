# SPDX-License-Identifier: MIT
"""place.py - what the parts of this test share: how programs are built and run, and how a trace is read."""
import json
import os
import re
import signal
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
FLAGS = ['-D_GNU_SOURCE', '-O2', '-g', '-Wall', '-Wextra', '-Werror', '-fno-optimize-sibling-calls', '-fomit-frame-pointer',
         '-pthread']
passed = failed = 0  # pylint: disable=invalid-name


def check(name, why):
    """why: None when it holds."""
    global passed, failed  # pylint: disable=global-statement
    passed += why is None
    failed += why is not None
    print(('ok   %s' % name) if why is None else 'FAIL %s: %s' % (name, why), flush=True)


class Failure(Exception):
    """One clause for the person."""


class Place:
    """Directories and programs of this run."""

    def __init__(self, build, work):
        self.library = os.path.join(build, 'libheaptally.so')
        self.tool = os.path.join(build, 'heaptally')
        self.work = work

    def path(self, name):
        return os.path.join(self.work, name)

    def compile(self, name, sources, *flags, libs=()):
        """flags come after FLAGS."""
        plus = sources[0].endswith('.cc')
        compiler = ['g++', '-std=gnu++17'] if plus else ['gcc', '-std=gnu17']
        subprocess.run([*compiler, *FLAGS, *flags, '-o', self.path(name), *(os.path.join(HERE, source) for source in sources),
                        *libs], check=True)
        return self.path(name)

    def run(self, command, settings, seconds, behind=()):
        """Under the library, and others behind it. What it printed, and what was said on stderr."""
        environment = dict(os.environ, LD_PRELOAD=' '.join([self.library, *behind]), HEAPTALLY=settings)
        return self.finish(command, environment, seconds)

    def finish(self, command, environment, seconds, codes=(0,)):
        """A hang is a failure, and nothing of it stays: neither the program nor what it has started."""
        with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            try:
                said, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise Failure('still running after %d seconds' % seconds) from None
        if process.returncode not in codes:
            raise Failure('ended with %d: %s' % (process.returncode, errors.strip()[-400:]))
        return said, errors

    def report(self, recording, *options, seconds=300):
        """Of a trace, or of a recording."""
        words = [self.tool, 'report', '--json', '--groups=0', *options, recording]
        said, _ = self.finish(words, os.environ, seconds, codes=(0, 120))
        return json.loads(said)


def stack_of(report, site):
    """(function, module's path), innermost first."""
    stack = []
    for index in report['sites'][site]['frames'] if site is not None else []:
        frame = report['frames'][index]
        module = report['modules'][frame['module']]['path'] if frame['module'] is not None else ''
        stack += [(re.sub(r'[(.].*', '', line['function']), module) for line in frame['lines']] or [('?', module)]
    return stack


def mismatches(errors):
    """What check_stacks says at the end. None: all stacks are the same."""
    found = re.search(r'^heaptally: check_stacks: (\d+) stacks compared, (\d+) differ$', errors, re.MULTILINE)
    if not found or int(found[1]) < 1000:
        return 'too few stacks were compared: %s' % errors.strip()[-300:]
    return None if int(found[2]) == 0 else '%s of %s stacks differ from a whole walk' % (found[2], found[1])
