# SPDX-License-Identifier: MIT
"""exhausted - the trace of a process that ran out of memory, or of what it may write, beside the process's own books."""
import os
import re
import resource
import signal
import struct
import subprocess
import time

from place import by_function, check, read_header

SIZES = (24, 72, 200, 1000, 4000, 20000, 70000, 300000)
PLACES = len(SIZES)
MIB = 1 << 20
GROUP_BYTES = 96 * MIB
PATIENCE = 60


class Death:
    """One run to its end. prepare: called in the child before the program is there."""

    def __init__(self, place, threads, words, prepare, pattern='exhausted.trace'):
        def begin():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            prepare()

        self.place, self.threads = place, threads
        truth, self.trace = os.path.join(place.work, 'truth'), os.path.join(place.work, pattern)
        command = [place.compile('exhausted'), truth, str(threads), *words]
        # pylint: disable-next=subprocess-popen-preexec-fn
        with subprocess.Popen(command, env=place.environment(pattern), preexec_fn=begin, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as process:
            try:
                self.errors = process.communicate(timeout=PATIENCE)[1]
            finally:
                process.kill()
            self.code = process.returncode
        with open(truth, 'rb') as stream:
            said = stream.read().ljust(16 * PLACES * threads, b'\0')  # shorter when it died before it began
        self.words = struct.unpack('%dQ' % (2 * PLACES * threads), said)

    def truth(self, place):
        """Blocks allocated and freed."""
        return tuple(sum(self.words[2 * PLACES * t + PLACES * which + place] for t in range(self.threads)) for which in (0, 1))

    def wrong(self, code, slack=0, fits=True):
        """Is everything told, and told as it is? slack: operations that may be one more or less. fits: no figure is missing."""
        if self.code != code:
            return 'the program ended with %d: %s' % (self.code, self.errors.strip())
        if sum(self.words) < 1000:
            return 'nothing was done before it died'
        report = self.place.report(self.trace, '--by=allocs')
        figures = [by_function(report, 'place_', lambda usage, of=of: usage[of]) for of in ('allocations', 'frees', 'bytes', 'freed_bytes')]
        for place, size in enumerate(SIZES):
            allocated, freed = self.truth(place)
            said = [sums.get('place_%d' % place, 0) for sums in figures]
            off = (said[0] - allocated, said[1] - freed)
            fine = max(map(abs, off)) <= slack if fits else max(off) <= slack
            if not fine or said[2] != said[0] * size or said[3] != said[1] * size:
                return 'place_%d: allocations, frees, bytes, freed bytes are %s, of truth %d and %d' % (place, said, allocated, freed)
        told = sum(figures[0].values())
        if not fits and (told < 1000 or not any('found no room in the file' in note for note in report['notes'])):
            return '%d allocations are told, and %s' % (told, report['notes'])
        return self.wrong_words() or (None if fits == (read_header(self.trace).missed == 0) else 'what does not fit is not told so')

    def wrong_words(self):
        """Not freed is what it is called; nobody knows whether it is a leak."""
        text = self.place.text(self.trace)
        if not re.search(r'^not freed: [0-9,]+ bytes in [0-9,]+ blocks; whether anything reaches them was not checked$', text, re.M):
            return 'it is not said that nothing was checked: ' + text[:300]
        claims = re.search(r'\b(leak\w*|lost|unreachable)\b', text.replace(self.place.work, ''))
        if claims:
            return 'it claims what nobody has checked: "%s"' % claims.group()
        return None if re.search(r'bytes (\(.*\) )?in [0-9,]+ blocks? not freed, of [0-9,]+ allocations? by\n +place_', text) else text[:300]

    def done(self):
        if os.path.exists(self.trace):
            os.unlink(self.trace)


def try_it(name, make, **wanted):
    death = None
    try:
        death = make()
        check(name, death.wrong(**wanted))
    except (ValueError, OSError, KeyError, subprocess.TimeoutExpired) as error:
        check(name, str(error))
    if death:
        death.done()


def limits(place):
    def under(what, most):
        return lambda: resource.setrlimit(what, (most, most))

    for name, what, most in (('addresses', resource.RLIMIT_AS, 400 * MIB), ('data', resource.RLIMIT_DATA, 200 * MIB)):
        for threads in (1, 4):
            try_it('malloc refuses, %d MiB of %s, threads: %d' % (most / MIB, name, threads),
                   lambda what=what, most=most, threads=threads: Death(place, threads, ['memory'], under(what, most)),
                   code=-signal.SIGABRT)
    other = os.path.join(place.work, 'other')
    file = resource.RLIMIT_FSIZE
    try_it('a file too large, the trace within the limit', lambda: Death(place, 3, ['file', other], under(file, 4 * MIB)),
           code=-signal.SIGXFSZ)
    try_it('a file too large, more stacks than the trace holds',
           lambda: Death(place, 3, ['file', other, '16384'], under(file, MIB)), code=-signal.SIGXFSZ, fits=False)
    death = Death(place, 1, ['file', other], under(file, MIB // 2))
    fine = death.code == -signal.SIGXFSZ and not os.path.exists(death.trace) and death.errors.count('no trace at') == 1
    check('a file too large, no room for a trace', None if fine else (death.code, death.errors))
    os.unlink(other)


# --- the kernel's killer --------------------------------------------------------------------------------------------------


def read(path):
    with open(path, encoding='ascii') as stream:
        return stream.read()


def write(path, words):
    with open(path, 'w', encoding='ascii') as out:
        out.write(words)


def memory_root():
    """Where groups that limit memory are, and this process's own of them; or why there are none."""
    own = [line.split(':', 2)[1:] for line in read('/proc/self/cgroup').splitlines()]
    for line in read('/proc/self/mountinfo').splitlines():
        before, after = line.split(' - ', 1)
        kind, _, options = after.split(' ', 2)
        mount = before.split(' ')[4]
        mine = [path for names, path in own if (names == '' if kind == 'cgroup2' else 'memory' in names.split(','))]
        if (kind == 'cgroup' and 'memory' in options.split(',') or
                kind == 'cgroup2' and 'memory' in read(os.path.join(mount, 'cgroup.controllers')).split()):
            return mount, mine[0] if mine else '/'
    return None, 'no memory cgroups are mounted'


class Group:
    """A memory cgroup with a limit, of either version. A group that somebody else put this process in is not divided."""

    def __init__(self, parent):
        if parent is None:
            parent, own = memory_root()
            if parent is None:
                raise OSError(own)
            if own != '/':
                raise OSError('this process is in a group of somebody else\'s, %s; --memory-group=DIR names one to use' % own)
        if os.path.exists(os.path.join(parent, 'cgroup.subtree_control')):
            write(os.path.join(parent, 'cgroup.subtree_control'), '+memory')
        self.path = os.path.join(parent, 'heaptally-test.%d' % os.getpid())
        os.mkdir(self.path)
        try:
            self.new = os.path.exists(self.file('memory.max'))
            write(self.file('memory.max' if self.new else 'memory.limit_in_bytes'), str(GROUP_BYTES))
            for name, most in (('memory.swap.max', 0), ('memory.memsw.limit_in_bytes', GROUP_BYTES)):
                if os.path.exists(self.file(name)):
                    write(self.file(name), str(most))
        except OSError:
            self.remove()
            raise

    def file(self, name):
        return os.path.join(self.path, name)

    def enter(self):
        write(self.file('cgroup.procs'), str(os.getpid()))

    def kills(self):
        said = read(self.file('memory.events' if self.new else 'memory.oom_control'))
        return int(re.search(r'^oom_kill (\d+)$', said, re.M).group(1))

    def remove(self):
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)


def killed(place, parent):
    try:
        group = Group(parent)
    except OSError as error:
        print('skip killed by the kernel, out of memory: no cgroup can be made here: %s' % error, flush=True)
        return
    try:
        for number, threads in enumerate((1, 4)):
            try_it('killed by the kernel, out of memory, threads: %d' % threads,
                   lambda threads=threads: Death(place, threads, ['killed'], group.enter), code=-signal.SIGKILL, slack=threads)
            check('and it was the kernel', None if group.kills() == number + 1 else group.kills())
    finally:
        group.remove()


def run(place, parent):
    limits(place)
    killed(place, parent)
