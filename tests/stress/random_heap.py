#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""random_heap.py - random heaps that know by definition what must be found in them, against what heaptally finds.

    gcc -D_GNU_SOURCE -I. -O2 -pthread -fomit-frame-pointer -fno-optimize-sibling-calls -o PROGRAM tests/stress/random_heap.c
    tests/stress/random_heap.py PROGRAM HEAPTALLY [--count=N] [--first=SEED]

Every seed is checked at exit, or (each fourth) in a snapshot of the waiting program. Where the classes differ, the
seed is printed: 'PROGRAM SEED BLOCKS list' says which block is what. Reachable blocks are the C library's, too: of
those there may be more. Ends with 'N passed, N failed'.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

SECONDS = 30
EXACT = ('possible', 'lost', 'cycle', 'indirect')


def expected_of(text):
    """'lost 3 144' lines -> {'lost': (3, 144)}"""
    return {name: (int(count), int(size)) for name, count, size in (line.split() for line in text.split('\n') if line)}


def at_exit(options, arguments, where):
    done = subprocess.run([options.heaptally, 'run', '-q', '--groups=1', '--json=' + where + '/report.json',
                           '-o', where + '/recording.htz', options.program, *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True)
    return done.stdout


def in_snapshot(options, arguments, where):
    environment = dict(os.environ, LD_PRELOAD=options.library, HEAPTALLY='record=1')
    with subprocess.Popen([options.program, *arguments, 'wait'], env=environment, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            text = ''
            while not text.startswith('reachable') or text.count('\n') < 5:
                line = child.stdout.readline()
                if not line:
                    raise subprocess.SubprocessError('the program ended early')
                text += line
            wait_until_it_sleeps(child.pid)
            subprocess.run([options.heaptally, 'snapshot', '-q', '--groups=1', '--json=' + where + '/report.json',
                            '-o', where + '/recording.htz', '-p', str(child.pid)],
                           stdin=subprocess.DEVNULL, timeout=SECONDS, check=True)
        finally:
            child.stdin.close()
            child.wait(SECONDS)
    return text


def wait_until_it_sleeps(pid):
    """In read(2): what it printed is out, and its stack is scrubbed."""
    while True:
        with open(f'/proc/{pid}/syscall', encoding='ascii') as file:
            if file.read().startswith('0 0x0 '):
                return


def try_one(options, seed):
    """What differs; empty when nothing does."""
    arguments = [str(seed), str(random.Random(seed).choice((1, 2, 5, 20, 60, 200, 500, 768)))]
    with tempfile.TemporaryDirectory() as where:
        try:
            expected = expected_of((in_snapshot if seed % 4 == 0 else at_exit)(options, arguments, where))
            with open(where + '/report.json', encoding='utf-8') as file:
                classes = json.load(file)['classes']
        except (subprocess.SubprocessError, OSError) as failure:
            return [f'{" ".join(arguments)}: {failure}']
    found = {name: (value['blocks'], value['bytes']) for name, value in classes.items()}
    wrong = [f'{name} {found[name]} not {expected[name]}' for name in EXACT if found[name] != expected[name]]
    if found['reachable'][0] < expected['reachable'][0]:
        wrong.append(f'reachable {found["reachable"]}, fewer than {expected["reachable"]}')
    return [f'{" ".join(arguments)}: ' + ', '.join(wrong)] if wrong else []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program')
    parser.add_argument('heaptally')
    parser.add_argument('--count', type=int, default=40)
    parser.add_argument('--first', type=int, default=1)
    options = parser.parse_args()
    options.library = os.path.join(os.path.dirname(os.path.abspath(options.heaptally)), 'libheaptally.so')
    failed = 0
    print(f'seeds {options.first}..{options.first + options.count - 1}', flush=True)
    for seed in range(options.first, options.first + options.count):
        wrong = try_one(options, seed)
        for line in wrong:
            print(line, flush=True)
        failed += bool(wrong)
    print(f'{options.count - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
