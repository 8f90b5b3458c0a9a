/* SPDX-License-Identifier: MIT */
/*
 * random_heap.c - a heap made at random from a seed, which says by definition what a leak check must find in it.
 *
 *    random_heap SEED BLOCKS [wait|list]
 *
 *    builders (threads, by turns):  malloc calloc realloc aligned_alloc free | references into blocks and roots
 *    then main:                     reads every word back, classifies all blocks by tracer/graph/graph.h, prints
 *                                   "lost N BYTES", "cycle ...", "indirect ...", "possible ...", "reachable ..."
 *    then:                          exit, or (wait) stay until standard input ends, for a snapshot
 *
 * What a word means is found from its value, so that stale references into memory which was given out again are
 * counted as what they are. The classes are computed from the transitive closure, which shares no idea with the
 * graph's own algorithm.
 *
 * The program itself knows addresses only inverted. Whoever has used a true one scrubs its stack and registers; the
 * builders' stacks are live (some hold references, as roots do) or belong to threads that were joined.
 */
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/leaks/leak.h"

#define BLOCKS_MAX 768
#define WORDS_MAX  16384 /* references that were ever written */
#define THREADS    6     /* builders; the first three stay, the others are joined */
#define STAYING    3
#define ROOTS      12 /* of each kind and place */
#define ROW        (BLOCKS_MAX / 64)

enum { REACHABLE, POSSIBLE, LOST, CYCLE, INDIRECT, CLASSES, NOT_YET };
enum { START, ACCEPTED, WEAK, NONE };

static struct {
    uint64_t hidden; /* ~address; 0: not alive */
    size_t size;
    bool large; /* only its first 64 words are ever written */
} blocks[BLOCKS_MAX];
static unsigned block_count;

static struct {
    unsigned block;
    size_t word;
} written[WORDS_MAX];
static unsigned written_count;

static uint64_t seed;
static bool list;
static sem_t turn[THREADS], done, leave;

/* Where references may stand. The first ROOTS of each are strict. */
static uint64_t global_roots[ROOTS];
static __thread uint64_t tls_roots[ROOTS];
static uint64_t
    *hidden_places[THREADS][2]; /* inverted addresses of tls_roots and of the array on the stack */
static uint64_t hidden_wide[2]; /* a private and a shared mapping */

static uint64_t next_random(void)
{
    seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
    return (unsigned)(next_random() % n);
}

static char *address_of(unsigned block)
{
    return (char *)~blocks[block].hidden;
}

/* --- building --------------------------------------------------------------------------------------------------- */

static size_t random_size(void)
{
    switch (below(40)) {
    case 0:
        return 1 + below(3 << 20);
    case 1:
        return below(2) ? 1 + below(200000) : (size_t)5 << 20;
    case 2:
    case 3:
    case 4:
        return 1 + below(9000);
    case 5:
        return below(9);
    case 6: /* a tree's node, a short string, an array with a count: what interior.h looks at */
        return below(2) ? 24 : 25 + below(40);
    default:
        return 8 * (1 + below(24)) + (below(4) ? 0 : below(8));
    }
}

/* No word of it may look like a pointer; a count before an array is there sometimes. */
static void fill(unsigned block, size_t from)
{
    char *p = address_of(block);
    size_t size = blocks[block].size;
    memset(p + from, below(2) ? 0 : 0x11, size - from);
    if (from == 0 && size >= 24 && below(3) == 0) {
        uint64_t n = 1 + below(6);
        memcpy(p + (below(2) ? 8 : 0), &n, sizeof(n));
    }
}

static void allocate(unsigned block)
{
    size_t size = random_size();
    void *p = NULL;
    bool large = size > 100000;
    if (large)
        p = calloc(1, size);
    else if (below(8) == 0)
        p = aligned_alloc((size_t)16 << below(9), size);
    else if (below(4) == 0)
        p = calloc(1, size);
    else
        p = malloc(size);
    if (!p)
        abort();
    blocks[block].hidden = ~(uint64_t)p;
    blocks[block].size = size;
    blocks[block].large = large;
    if (!large)
        fill(block, 0);
}

static void reallocate(unsigned block)
{
    size_t old = blocks[block].size, size = random_size();
    if (size == 0)
        size = 1;
    void *p = realloc(address_of(block), size);
    if (!p)
        abort();
    blocks[block].hidden = ~(uint64_t)p;
    blocks[block].size = size;
    blocks[block].large = size > 100000;
    if (size > old)
        memset((char *)p + old, 0, size - old);
}

static void release(unsigned block)
{
    free(address_of(block));
    blocks[block].hidden = 0;
}

/* Blocks of one neighbourhood mostly refer to each other, so that heaps have structure. */
static unsigned some_block(unsigned near)
{
    unsigned block = below(3) ? near / 8 * 8 + below(8) : below(block_count);
    block = block < block_count ? block : near;
    if (!blocks[block].hidden)
        allocate(block);
    return block;
}

static uint64_t some_reference(unsigned near, unsigned weak_in)
{
    unsigned to = some_block(near);
    uint64_t value = (uint64_t)address_of(to), size = blocks[to].size;
    if (below(weak_in))
        return value;
    switch (below(6)) {
    case 0:
        return value + size;
    case 1:
        return value + 1 + below(64);
    case 2:
        return value + 8;
    case 3:
        return value + (below(2) ? 16 : 24);
    case 4:
        return value + 1;
    default:
        return value + (size ? next_random() % size : 0);
    }
}

static void refer(unsigned holder)
{
    size_t words = blocks[holder].size / 8;
    if (words == 0 || written_count == WORDS_MAX)
        return;
    size_t word = next_random() % (blocks[holder].large && words > 64 && below(4) ? 64 : words);
    uint64_t value = below(12) ? some_reference(holder, 6) : (uint64_t)address_of(holder);
    memcpy(address_of(holder) + 8 * word, &value, sizeof(value));
    written[written_count].block = holder;
    written[written_count++].word = word;
}

static void step(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        unsigned block = below(block_count), what = below(10);
        if (!blocks[block].hidden)
            allocate(block);
        else if (what == 0)
            release(block), allocate(block);
        else if (what == 1)
            reallocate(block);
        else
            refer(block);
    }
}

/* Fewer roots than blocks, or nothing would be lost. */
OWN static void set_roots(volatile uint64_t *roots, unsigned one_in)
{
    for (unsigned i = 0; i < ROOTS; i++)
        if (below(one_in) == 0)
            roots[i] = some_reference(below(block_count), 3);
}

OWN static void build(unsigned thread, uint64_t *on_stack)
{
    step(3 * block_count / THREADS);
    if (thread < STAYING) {
        set_roots(on_stack, 6);
        set_roots(tls_roots, 6);
    }
}

static void *builder(void *argument)
{
    unsigned thread = (unsigned)(uintptr_t)argument;
    uint64_t on_stack[ROOTS] = {0};
    OPAQUE(&on_stack[0]);
    while (sem_wait(&turn[thread]))
        ;
    build(thread, on_stack);
    hidden_places[thread][0] = (uint64_t *)~(uint64_t)tls_roots;
    hidden_places[thread][1] = (uint64_t *)~(uint64_t)on_stack;
    scrub();
    sem_post(&done);
    if (thread >= STAYING)
        return NULL;
    while (sem_wait(&leave))
        ;
    OPAQUE(&on_stack[0]);
    return NULL;
}

/* --- the definition --------------------------------------------------------------------------------------------- */

static uint64_t edges[BLOCKS_MAX][ROW], firm[BLOCKS_MAX][ROW], closure[BLOCKS_MAX][ROW];
static unsigned char class_of[BLOCKS_MAX];

static bool has(uint64_t (*rows)[ROW], unsigned from, unsigned to)
{
    return rows[from][to / 64] >> to % 64 & 1;
}

static void set(uint64_t (*rows)[ROW], unsigned from, unsigned to)
{
    rows[from][to / 64] |= UINT64_C(1) << to % 64;
}

static uint64_t word_at(unsigned block, size_t offset)
{
    uint64_t word;
    memcpy(&word, address_of(block) + offset, sizeof(word));
    return word;
}

/* As interior.h has it: the count divides what follows; a tree's red link; a string of the old kind. */
static bool is_accepted(unsigned to, size_t offset, unsigned holder, size_t word)
{
    size_t size = blocks[to].size;
    if ((offset == 8 || offset == 16) && size >= offset) {
        uint64_t n = word_at(to, offset - 8), rest = size - offset;
        if (n == 0 ? rest == 0 : rest > 0 && rest % n == 0)
            return true;
    }
    if (offset == 1 && size == 24 && holder < block_count && blocks[holder].size == 24 && word == 1)
        return true;
    if (offset == 24 && size >= 24) {
        uint64_t length = word_at(to, 0), capacity = word_at(to, 8);
        int32_t sharers = (int32_t)(uint32_t)word_at(to, 16);
        return length <= capacity && capacity < size && sharers >= -1 &&
               (size == 25 + capacity || size == 24 + 4 * (capacity + 1));
    }
    return false;
}

/* Which block `value` refers to, if any, and how. holder: block_count for a root. */
static int meaning(uint64_t value, unsigned holder, size_t word, unsigned *ret_to)
{
    int kind = NONE;
    for (unsigned i = 0; i < block_count; i++) {
        if (!blocks[i].hidden)
            continue;
        uint64_t offset = value - ~blocks[i].hidden;
        if (offset > blocks[i].size || (kind != NONE && offset == blocks[i].size && offset))
            continue;
        *ret_to = i;
        kind = offset == 0 ? START : is_accepted(i, offset, holder, word) ? ACCEPTED : WEAK;
        if (offset < blocks[i].size || offset == 0)
            break;
    }
    return kind;
}

static void reach_from(unsigned block, uint64_t (*rows)[ROW], unsigned char cls)
{
    if (class_of[block] != NOT_YET)
        return;
    class_of[block] = cls;
    for (unsigned to = 0; to < block_count; to++)
        if (has(rows, block, to))
            reach_from(to, rows, cls);
}

/* pass 0: strict roots by firm references; pass 1: whatever else. */
OWN static void take_roots(const volatile uint64_t *roots, bool strict, unsigned pass)
{
    for (unsigned i = 0; i < ROOTS; i++) {
        unsigned to;
        int kind = meaning(roots[i], block_count, 0, &to);
        if (pass == 0 && strict && (kind == START || kind == ACCEPTED))
            reach_from(to, firm, REACHABLE);
        if (pass == 1 && kind != NONE)
            reach_from(to, edges, POSSIBLE);
    }
}

OWN static void take_all_roots(unsigned pass)
{
    take_roots(global_roots, true, pass);
    for (unsigned thread = 0; thread < STAYING; thread++)
        for (unsigned i = 0; i < 2; i++)
            take_roots((uint64_t *)~(uint64_t)hidden_places[thread][i], true, pass);
    for (unsigned i = 0; i < 2; i++)
        take_roots((uint64_t *)~hidden_wide[i], false, pass);
}

OWN static void find_edges(void)
{
    for (unsigned i = 0; i < written_count; i++) {
        unsigned holder = written[i].block, to;
        if (!blocks[holder].hidden || (written[i].word + 1) * 8 > blocks[holder].size)
            continue;
        int kind = meaning(word_at(holder, written[i].word * 8), holder, written[i].word, &to);
        if (kind == NONE || to == holder)
            continue;
        set(edges, holder, to);
        if (kind != WEAK)
            set(firm, holder, to);
    }
}

static void close_over(void)
{
    for (unsigned from = 0; from < block_count; from++)
        if (class_of[from] == NOT_YET)
            memcpy(closure[from], edges[from], sizeof(closure[from]));
    for (unsigned by = 0; by < block_count; by++)
        for (unsigned from = 0; from < block_count; from++)
            if (has(closure, from, by))
                for (unsigned i = 0; i < ROW; i++)
                    closure[from][i] |= closure[by][i];
}

static unsigned char class_by_definition(unsigned block)
{
    bool in_group = false, held_from_outside = false;
    for (unsigned from = 0; from < block_count; from++) {
        if (from == block || !has(closure, from, block))
            continue;
        if (has(closure, block, from))
            in_group = true;
        else
            held_from_outside = true;
    }
    return held_from_outside ? INDIRECT : in_group ? CYCLE : LOST;
}

OWN static void judge(void)
{
    static const char *const names[] = {"reachable", "possible", "lost", "cycle", "indirect"};
    static char text[256];
    static unsigned long count[CLASSES], bytes[CLASSES];
    int length = 0;
    find_edges();
    memset(class_of, NOT_YET, sizeof(class_of));
    for (unsigned i = 0; i < block_count; i++)
        if (!blocks[i].hidden)
            class_of[i] = CLASSES;
    take_all_roots(0);
    for (unsigned i = 0; i < block_count; i++) /* what reachable blocks hold weakly */
        for (unsigned to = 0; class_of[i] == REACHABLE && to < block_count; to++)
            if (has(edges, i, to))
                reach_from(to, edges, POSSIBLE);
    take_all_roots(1);
    close_over();
    for (unsigned i = 0; i < block_count; i++) {
        unsigned char cls = class_of[i] == NOT_YET ? class_by_definition(i) : class_of[i];
        if (cls == CLASSES)
            continue;
        if (list)
            dprintf(STDOUT_FILENO, "block %#lx %zu %s\n", (unsigned long)address_of(i), blocks[i].size,
                    names[cls]);
        count[cls]++;
        bytes[cls] += blocks[i].size;
    }
    for (unsigned i = 0; i < CLASSES; i++)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%s %lu %lu\n", names[i], count[i],
                           bytes[i]);
    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        abort();
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

OWN static void set_other_roots(void)
{
    set_roots(global_roots, 8);
    set_roots((uint64_t *)~hidden_wide[0], 8);
    set_roots((uint64_t *)~hidden_wide[1], 8);
}

static void run_builders(void)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        if (sem_init(&turn[i], 0, 0) || pthread_create(&threads[i], NULL, builder, (void *)(uintptr_t)i))
            abort();
    for (unsigned i = THREADS; i-- > 0;) {
        sem_post(&turn[i]);
        while (sem_wait(&done))
            ;
        if (i >= STAYING)
            pthread_join(threads[i], NULL);
    }
}

int main(int argc, char **argv)
{
    char byte;
    if (argc < 3 || sem_init(&done, 0, 0) || sem_init(&leave, 0, 0))
        return 2;
    seed = strtoull(argv[1], NULL, 10);
    block_count = (unsigned)strtoul(argv[2], NULL, 10);
    if (block_count == 0 || block_count > BLOCKS_MAX)
        return 2;
    for (unsigned i = 0; i < 2; i++) {
        void *p =
            mmap(NULL, 65536, PROT_READ | PROT_WRITE, (i ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return 2;
        hidden_wide[i] = ~((uint64_t)p + 8192 * i);
    }
    list = argc > 3 && strcmp(argv[3], "list") == 0;
    run_builders();
    set_other_roots();
    judge();
    scrub();
    if (argc > 3 && !list && read(STDIN_FILENO, &byte, 1) != 0)
        return 2;
    return 0;
}
