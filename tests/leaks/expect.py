# SPDX-License-Identifier: MIT
"""expect.py - what a corpus program's head expects, and the comparison with what was recorded."""
import os

CLASSES = ('lost', 'cycle', 'indirect', 'possible', 'inherited')


def amount(text):
    """'3/144' -> (3, 144); '3' -> (3, None); 'any' -> (None, None)."""
    if text == 'any':
        return None, None
    blocks, _, size = text.partition('/')
    return int(blocks), int(size) if size else None


class Group:
    """One 'group:' line: findings of a class, and what is true of each and of all of them."""

    def __init__(self, words):
        self.cls, *pairs = words.split()
        self.text = words
        self.keys = dict(pair.split('=', 1) for pair in pairs)

    def matches(self, finding):
        """Does the line speak of this finding? By class and stack."""
        return finding.cls == self.cls and ('stack' not in self.keys or
                                            contains_run(finding.stack, self.keys['stack'].split('<')))


def contains_run(stack, wanted):
    """The functions follow each other in the stack, innermost first, and nothing is between them."""
    return any(stack[i:i + len(wanted)] == wanted for i in range(len(stack)))


class Process:
    """What one process, or each child, is to be judged as."""

    def __init__(self):
        self.totals = None
        self.groups = []
        self.held = None
        self.reachable = 0
        self.threads = None
        self.reason = 'exit'


class Expectation:
    """The head of one program, read."""

    def __init__(self, source):
        self.source = source
        self.name = os.path.basename(source).rsplit('.', 1)[0]
        self.flags, self.libs, self.plugins, self.needs = [], [], [], []
        self.exit, self.children, self.exec = 0, None, None
        self.own, self.child = Process(), Process()
        with open(source, encoding='utf-8') as lines:
            for line in lines:
                if line.startswith(' */'):
                    break
                self.read(line.removeprefix(' * ').strip())
        if self.own.totals is None and self.own.held is None:
            raise SystemExit(f'{source}: no total')

    def read(self, line):
        key, colon, value = line.partition(':')
        if not colon:
            return
        value = value.strip()
        process = self.child if key.startswith('child-') else self.own
        key = key.removeprefix('child-')
        if key == 'total':
            process.totals = {c: amount(a) for c, a in (pair.split('=') for pair in value.split())}
        elif key == 'group':
            process.groups.append(Group(value))
        elif key == 'reason':
            process.reason = value
        elif key in ('held', 'reachable', 'threads'):
            setattr(process, key, int(value))
        elif key in ('exit', 'children'):
            setattr(self, key, int(value))
        elif key in ('flags', 'libs'):
            setattr(self, key, value.split())
        elif key == 'plugin':
            self.plugins = value.split()
        elif key == 'needs':
            self.needs = value.split()
        elif key == 'exec':
            self.exec = value

    def override(self, line):
        """For the selftest: the line replaces what was said of its kind."""
        if line.startswith('group:'):
            self.own.groups = []
        self.read(line)


def check_totals(process, recording):
    if process.held is not None:
        # Held by the kernel or by memory of another kind: possible or reachable are both right, a leak is wrong.
        wrong = [f'{c} {recording.totals[c][0]} blocks, held ones expected' for c in ('lost', 'cycle', 'indirect')
                 if recording.totals[c][0]]
        if recording.totals['possible'][0] > process.held:
            wrong.append(f'possible: {recording.totals["possible"][0]} blocks, at most {process.held} expected')
        return wrong
    wrong = []
    for cls in CLASSES:
        blocks, size = process.totals.get(cls, (0, 0))
        found = recording.totals[cls]
        if blocks is None:
            continue
        if found[0] != blocks or (size is not None and found[1] != size):
            wrong.append(f'{cls}: {found[0]} blocks of {found[1]} bytes, expected {blocks} of '
                         f'{"any number of" if size is None else size}')
    if recording.totals['reachable'][0] < process.reachable:
        wrong.append(f'reachable: {recording.totals["reachable"][0]} blocks, expected {process.reachable} or more')
    return wrong


def check_edges(wanted, finding):
    edges = sorted(f'{offset}+{to_offset}' for _, _, offset, to_offset in finding.edges)
    if edges != sorted(wanted.split(',')):
        return [f'edges {",".join(edges)}, expected {wanted}']
    return check_connected(finding)


def check_connected(finding):
    """Every block of the instance shown can be reached from every other along the edges shown."""
    out = {}
    for source, target, _, _ in finding.edges:
        out.setdefault(source, set()).add(target)
    for start in out:
        seen, todo = {start}, [start]
        while todo:
            for target in out.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        if seen != set(out) or len(seen) * finding.instances != finding.blocks:
            return ['the edges shown do not make one ring of the finding\'s blocks']
    return []


# A recorded time is never later than the true one.
AGE_LESS, AGE_MORE = 0.005, 0.5


def check_ages(wanted, finding):
    if not finding.ages:
        return ['its age is not known']
    ages = [float(seconds) for seconds in wanted.split('..')]
    if all(true - AGE_LESS <= said <= true + AGE_MORE for said, true in zip(finding.ages, ages)):
        return []
    return ['allocated %.3f to %.3f s ago, expected %s' % (*finding.ages, wanted)]


def check_finding(group, finding):
    """What a group line says of one finding."""
    keys, wrong = group.keys, []
    for key, found in (('blocks', finding.blocks), ('bytes', finding.bytes), ('instances', finding.instances),
                       ('self', finding.self_references)):
        if key in keys and int(keys[key]) != found:
            wrong.append(f'{key}={found}, expected {keys[key]}')
    if 'indirect' in keys and amount(keys['indirect']) != (finding.indirect_blocks, finding.indirect_bytes):
        wrong.append(f'indirect={finding.indirect_blocks}/{finding.indirect_bytes}, expected {keys["indirect"]}')
    if 'frames' in keys and len(finding.stack) < int(keys['frames']):
        wrong.append(f'{len(finding.stack)} frames, expected {keys["frames"]} or more')
    if 'times' in keys:
        function, times = keys['times'].split(':')
        if finding.stack.count(function) != int(times):
            wrong.append(f'{finding.stack.count(function)} times {function}, expected {times}')
    if 'module' in keys and not any(os.path.basename(m) == keys['module'] for m in finding.modules):
        wrong.append(f'no frame in {keys["module"]}')
    if 'age' in keys:
        wrong += check_ages(keys['age'], finding)
    if 'edges' in keys:
        wrong += check_edges(keys['edges'], finding)
    return [f'{group.text}: {w}' for w in wrong]


def check_groups(process, recording):
    """Every leak found is spoken of by a line and complete up to its root; every line found something."""
    wrong, used = [], {}
    for finding in recording.findings:
        group = next((g for g in process.groups if g.matches(finding)), None)
        if group is None:
            if process.held is None:
                wrong.append(f'unexpected {finding.cls}: {finding.blocks} blocks, {"<".join(finding.stack[:12])}')
            continue
        used.setdefault(group.text, []).append(finding)
        root = group.keys.get('root', 'main')
        if root not in finding.stack:
            wrong.append(f'{finding.cls}: the stack does not reach {root}: {"<".join(finding.stack[-6:])}')
        wrong += check_finding(group, finding)
    for group in process.groups:
        found = len(used.get(group.text, []))
        if found == 0 or ('groups' in group.keys and found != int(group.keys['groups'])):
            wrong.append(f'{group.text}: {found} findings')
    return wrong[:12]


def check_process(process, recording, what):
    if recording.verdict == 'not checked':
        return [f'{what}: not checked: {recording.why_not}']
    wrong = check_totals(process, recording) + check_groups(process, recording)
    leaky = recording.totals['lost'][0] + recording.totals['cycle'][0] > 0
    if recording.verdict != ('leaks' if leaky else 'clean'):
        wrong.append(f'verdict {recording.verdict} beside its own figures')
    if recording.reason != process.reason:
        wrong.append(f'reason {recording.reason}, expected {process.reason}')
    if process.threads is not None and recording.threads != process.threads:
        wrong.append(f'{recording.threads} threads, expected {process.threads}')
    return [f'{what}: {w}' for w in wrong]


def check(expectation, status, recordings):
    """All that is wrong, as clauses."""
    wrong = [] if status == expectation.exit else [f'exit code {status}, expected {expectation.exit}']
    own = [r for r in recordings if r.generation == 0 and r.program == expectation.name]
    others = [r for r in recordings if r not in own]
    if len(own) != 1:
        return wrong + [f'{len(own)} recordings of the program itself, expected one']
    wrong += check_process(expectation.own, own[0], 'program')
    if expectation.exec is not None:
        if [r.program for r in others] != [expectation.exec]:
            wrong.append(f'recorded besides: {[r.program for r in others]}, expected {expectation.exec}')
        return wrong
    children = expectation.children
    if children is None:
        children = 1 if expectation.child.totals is not None else 0
    if len(others) != children:
        wrong.append(f'{len(others)} recordings of children, expected {children}')
    for number, child in enumerate(others):
        wrong += check_process(expectation.child, child, f'child {number}')
    return wrong[:12]
