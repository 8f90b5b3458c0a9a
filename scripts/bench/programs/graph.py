# SPDX-License-Identifier: MIT
# Object graphs of a script: classes, dictionaries, lists, strings, cycles; built, walked, dropped. Run with
# PYTHONMALLOC=malloc, so that every object is a block of the allocator's.
import gc


class Person:
    def __init__(self, name, born):
        self.name = name
        self.born = born
        self.friends = []
        self.notes = {}


def generation(number, size):
    people = [Person("person %d of %d" % (i, number), 1900 + i % 100) for i in range(size)]
    for i, one in enumerate(people):
        for step in (1, 7, 31):
            other = people[(i * step + step) % size]
            one.friends.append(other)
            other.notes["from %d" % i] = (one.name, [step, step * 2, str(step * i)])
    return people


def names(people):
    return sorted("%s (%d)" % (p.name.upper(), len(p.notes)) for p in people if p.friends)


kept = []
for number in range(12):
    people = generation(number, 2500)
    text = "\n".join(names(people))
    words = {}
    for word in text.split():
        words.setdefault(word, []).append(len(word))
    kept.append(people[:50])
    if number % 2:
        kept.clear()
        gc.collect()
assert len(words) > 2500
