# SPDX-License-Identifier: MIT
"""reading.py - recordings, read through 'heaptally report --json', as the few things expect.py asks about.

Nothing else in the corpus knows the document's layout (tracer/report/SCHEMA.md).
"""
import json
import os
import re
import subprocess
from dataclasses import dataclass

SCHEMA = 'heaptally/1'


@dataclass
class Finding:
    """One group of the report."""
    cls: str
    instances: int
    blocks: int
    bytes: int
    indirect_blocks: int
    indirect_bytes: int
    self_references: int
    stack: list  # function names, innermost first, inlined ones too
    modules: list  # paths, of all frames
    ages: tuple  # of its newest and its oldest block, seconds; None: not known
    edges: list  # (from block, to block, offset, target offset), from blocks only


@dataclass
class Recording:
    """One process."""
    program: str
    generation: int
    verdict: str
    why_not: str
    reason: str
    threads: int
    totals: dict  # class -> (blocks, bytes)
    findings: list


def plain_name(function):
    """'build(int) [clone .constprop.0]' and 'build(int)' and 'build' are 'build'."""
    return re.sub(r'\(.*|\[.*|\.(constprop|isra|part|cold).*', '', function).strip().removeprefix('(anonymous namespace)::')


def stack_of(document, site):
    names, modules = [], []
    if site is None:
        return names, modules
    for index in document['sites'][site]['frames']:
        frame = document['frames'][index]
        names += [plain_name(line['function']) for line in frame['lines']] or ['?']
        if frame['module'] is not None:
            modules.append(document['modules'][frame['module']]['path'])
    return names, modules


def finding_of(document, group):
    stack, modules = stack_of(document, group['site'])
    edges = [(e['from_block'], e['to_block'], e['offset'], e['to_offset'])
             for e in group['edges'] if e['from_block'] is not None]
    age = group['age_ms']
    ages = age and (age['newest'] / 1000, age['oldest'] / 1000)
    return Finding(group['class'], group['instances'], group['blocks'], group['bytes'], group['indirect_blocks'],
                   group['indirect_bytes'], group['references_self'], stack, modules, ages, edges)


def recording_of(document):
    if document['schema'] != SCHEMA:
        raise SystemExit(f'schema {document["schema"]}, this runner reads {SCHEMA}')
    run = document['run']
    return Recording(program=os.path.basename(run['program']), generation=run['generation'], verdict=document['verdict'],
                     why_not=document['why_not_checked'] or '', reason=run['reason'], threads=run['threads'],
                     totals={name: (c['blocks'], c['bytes']) for name, c in document['classes'].items()},
                     findings=[finding_of(document, group) for group in document['groups']])


def read_recordings(heaptally, directory):
    """Every recording in the directory, by name."""
    found = []
    for name in sorted(os.listdir(directory)):
        if not name.endswith('.htz'):
            continue
        done = subprocess.run([heaptally, 'report', '--json', os.path.join(directory, name)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
        try:
            found.append(recording_of(json.loads(done.stdout)))
        except ValueError:
            raise SystemExit(f'{directory}/{name}: report --json: {done.stderr.decode()[:200]}') from None
    return found
