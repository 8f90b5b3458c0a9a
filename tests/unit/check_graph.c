/* SPDX-License-Identifier: MIT */
/*
 * check_graph.c - verdicts of hand-made graphs, of thousands of random ones beside a model, and of very large
 * ones.
 *
 * Small graphs are written as text, one reference a word:
 *      "S0"     strict root 0 refers to block 0 by its start       "W0"    the wide root does
 *      "0>1"    block 0 refers to block 1 by its start
 *      suffix   a accepted interior, i bare interior, e end        "0>1i", "S0e"
 * and the expected classes as one letter a block: R reachable, P possible, L lost, C cycle, I indirect.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/graph/graph.h"

#define MAX_BLOCKS 16u
#define MAX_REFS   128u
#define ROOTS      4u /* 0 and 1 are strict, 2 and 3 are wide */

struct ref {
    uint32_t from, to; /* from: a block, or a root when by_root */
    bool by_root;
    enum graph_ref kind;
};

struct sketch {
    uint32_t blocks, count;
    struct ref refs[MAX_REFS];
};

static const char class_letters[] = "RPLCI";

/* --- building ------------------------------------------------------------------------------------------- */
static int by_source(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    if (x->by_root != y->by_root)
        return x->by_root ? -1 : 1;
    return x->by_root ? 0 : (x->from > y->from) - (x->from < y->from);
}

static bool sketch_fill(const struct sketch *s, struct graph *g)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct ref *r = &s->refs[i];
        bool ok = r->by_root ? graph_add_root_ref(g, r->from, r->from < 2, r->to, r->kind)
                             : graph_add_ref(g, r->from, r->to, i, r->kind);
        if (!ok)
            return false;
    }
    return graph_solve(g);
}

static struct graph *sketch_solve(const struct sketch *s)
{
    struct graph *g = graph_new(s->blocks, ROOTS);
    ck_assert_ptr_nonnull(g);
    ck_assert(sketch_fill(s, g));
    return g;
}

static struct ref parse_ref(const char *word)
{
    struct ref r = {.kind = GRAPH_START};
    char *rest;
    if (*word == 'S' || *word == 'W') {
        r.by_root = true;
        r.from = *word == 'S' ? 0 : 2;
        rest = (char *)(uintptr_t)word;
    } else {
        r.from = (uint32_t)strtoul(word, &rest, 10);
        ck_assert_msg(*rest == '>', "a test's own text: %s", word);
    }
    r.to = (uint32_t)strtoul(rest + 1, &rest, 10);
    r.kind = *rest == 'a'   ? GRAPH_ACCEPTED
             : *rest == 'i' ? GRAPH_INTERIOR
             : *rest == 'e' ? GRAPH_END
                            : GRAPH_START;
    return r;
}

static struct sketch sketch_of(const char *text, uint32_t blocks)
{
    struct sketch s = {.blocks = blocks};
    char copy[512];
    ck_assert_uint_lt(strlen(text), sizeof(copy));
    strcpy(copy, text);
    for (char *save, *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
        s.refs[s.count++] = parse_ref(word);
    qsort(s.refs, s.count, sizeof(s.refs[0]), by_source);
    return s;
}

/* --- the model: the definitions, word by word, with matrices -------------------------------------------- */
struct model {
    bool firm[MAX_BLOCKS];              /* a path of firm references from a strict root */
    bool any[MAX_BLOCKS];               /* a path of any references from any root */
    bool path[MAX_BLOCKS][MAX_BLOCKS];  /* among the unreachable, one edge or more, self-references aside */
    bool group[MAX_BLOCKS][MAX_BLOCKS]; /* the same strong group */
    char cls[MAX_BLOCKS];
    uint32_t head_first[MAX_BLOCKS]; /* lowest block of its head, or GRAPH_NONE */
    struct graph_counts counts[MAX_BLOCKS];
};

static bool ref_is_firm(const struct ref *r)
{
    return r->kind == GRAPH_START || r->kind == GRAPH_ACCEPTED;
}

static void model_reach(const struct sketch *s, struct model *m)
{
    for (uint32_t round = 0; round <= s->blocks; round++)
        for (uint32_t i = 0; i < s->count; i++) {
            const struct ref *r = &s->refs[i];
            if (r->by_root ? r->from < 2 && ref_is_firm(r) : m->firm[r->from] && ref_is_firm(r))
                m->firm[r->to] = true;
            if (r->by_root || m->any[r->from])
                m->any[r->to] = true;
        }
}

static void model_groups(const struct sketch *s, struct model *m)
{
    uint32_t n = s->blocks;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct ref *r = &s->refs[i];
        if (!r->by_root && r->from != r->to && !m->any[r->from] && !m->any[r->to])
            m->path[r->from][r->to] = true;
    }
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t a = 0; a < n; a++)
            for (uint32_t b = 0; b < n; b++)
                m->path[a][b] = m->path[a][b] || (m->path[a][k] && m->path[k][b]);
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < n; b++)
            m->group[a][b] = a == b || (m->path[a][b] && m->path[b][a]);
}

static char model_class(const struct sketch *s, const struct model *m, uint32_t b)
{
    if (m->any[b])
        return m->firm[b] ? 'R' : 'P';
    uint32_t size = 0;
    for (uint32_t a = 0; a < s->blocks; a++) {
        size += m->group[a][b];
        /* Somebody outside the group who leads to b: b's group is held. */
        if (m->path[a][b] && !m->group[a][b])
            return 'I';
    }
    return size == 1 ? 'L' : 'C';
}

/* The head with the lowest first block among those that lead to b: for a head's own member, its own lowest.
 */
static uint32_t model_head(const struct sketch *s, const struct model *m, uint32_t b)
{
    for (uint32_t first = 0; first < s->blocks; first++) {
        if (m->cls[first] != 'L' && m->cls[first] != 'C')
            continue;
        if (first == b || m->path[first][b])
            return first;
    }
    return GRAPH_NONE;
}

static void model_counts(const struct sketch *s, struct model *m)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct ref *r = &s->refs[i];
        struct graph_counts *c = &m->counts[r->to];
        bool self = !r->by_root && r->from == r->to;
        c->from_strict += r->by_root && r->from < 2;
        c->from_wide += r->by_root && r->from >= 2;
        c->from_blocks += !r->by_root && !self;
        c->from_self += self;
        c->interior += !self && r->kind != GRAPH_START;
    }
}

static struct model model_of(const struct sketch *s)
{
    struct model m = {0};
    model_reach(s, &m);
    model_groups(s, &m);
    for (uint32_t b = 0; b < s->blocks; b++)
        m.cls[b] = model_class(s, &m, b);
    for (uint32_t b = 0; b < s->blocks; b++)
        m.head_first[b] = m.any[b] ? GRAPH_NONE : model_head(s, &m, b);
    model_counts(s, &m);
    return m;
}

/* --- comparing ------------------------------------------------------------------------------------------ */
static void check_counts(const struct graph *g, const struct model *m, uint32_t b)
{
    struct graph_counts got = graph_counts_of(g, b), want = m->counts[b];
    ck_assert_uint_eq(got.from_strict, want.from_strict);
    ck_assert_uint_eq(got.from_wide, want.from_wide);
    ck_assert_uint_eq(got.from_blocks, want.from_blocks);
    ck_assert_uint_eq(got.from_self, want.from_self);
    ck_assert_uint_eq(got.interior, want.interior);
    if (graph_class_of(g, b) == GRAPH_LOST)
        ck_assert_uint_eq(got.from_strict + got.from_wide + got.from_blocks, 0);
    if (graph_class_of(g, b) == GRAPH_CYCLE)
        ck_assert(got.from_strict + got.from_wide == 0 && got.from_blocks > 0);
}

/* A holder has a reference to what it holds; of the reachable, a firm one, and by a strict root. */
static bool holds(const struct sketch *s, uint32_t root, uint32_t block, uint32_t to, bool firm)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct ref *r = &s->refs[i];
        if (r->to != to || r->from != (r->by_root ? root : block))
            continue;
        if (!firm || (ref_is_firm(r) && (!r->by_root || r->from < 2)))
            return true;
    }
    return false;
}

static void check_holders(const struct graph *g, const struct sketch *s, uint32_t b)
{
    uint32_t root, block, at = b, steps = 0;
    graph_holder_of(g, b, &root, &block);
    if (graph_class_of(g, b) > GRAPH_POSSIBLE) {
        ck_assert(root == GRAPH_NONE && block == GRAPH_NONE);
        return;
    }
    bool firm = graph_class_of(g, b) == GRAPH_REACHABLE;
    do {
        graph_holder_of(g, at, &root, &block);
        ck_assert((root == GRAPH_NONE) != (block == GRAPH_NONE));
        ck_assert(holds(s, root, block, at, firm));
        ck_assert_uint_le(++steps, s->blocks);
        at = block;
    } while (root == GRAPH_NONE);
}

static void check_heads(const struct graph *g, const struct sketch *s, const struct model *m)
{
    uint32_t last_first = 0, in_heads = 0, unreachable = 0;
    for (uint32_t b = 0; b < s->blocks; b++)
        unreachable += !m->any[b];
    for (uint32_t h = 0; h < graph_head_count(g); h++) {
        struct graph_head head = graph_head_at(g, h);
        const uint32_t *members = graph_head_members(g, h);
        uint32_t charged = 0;
        ck_assert(h == 0 || head.first > last_first);
        last_first = head.first;
        ck_assert_uint_eq(members[0], head.first);
        for (uint32_t i = 0; i < head.members; i++) {
            ck_assert(i == 0 || members[i] > members[i - 1]);
            ck_assert(m->group[head.first][members[i]]);
            ck_assert_int_eq(graph_class_of(g, members[i]), head.cls);
        }
        for (uint32_t b = 0; b < s->blocks; b++)
            charged += graph_head_of(g, b) == h && m->cls[b] == 'I';
        ck_assert_uint_eq(charged, head.indirect_blocks);
        in_heads += head.members + head.indirect_blocks;
    }
    ck_assert_uint_eq(in_heads, unreachable);
}

struct edge_check {
    const struct sketch *s;
    uint32_t next, seen;
};

static bool edge_is_next(void *ctx, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    struct edge_check *c = ctx;
    while (c->s->refs[c->next].by_root)
        c->next++;
    const struct ref *r = &c->s->refs[c->next];
    ck_assert(r->from == from && r->to == to && r->kind == kind && word == c->next);
    c->next++;
    c->seen++;
    return true;
}

static void check_against_model(const struct graph *g, const struct sketch *s)
{
    struct model m = model_of(s);
    struct edge_check edges = {.s = s};
    for (uint32_t b = 0; b < s->blocks; b++) {
        ck_assert_int_eq(class_letters[graph_class_of(g, b)], m.cls[b]);
        uint32_t head = graph_head_of(g, b);
        ck_assert_uint_eq(head == GRAPH_NONE ? head : graph_head_at(g, head).first, m.head_first[b]);
        check_counts(g, &m, b);
        check_holders(g, s, b);
        graph_edges_of(g, b, edge_is_next, &edges);
    }
    uint32_t block_refs = 0;
    for (uint32_t i = 0; i < s->count; i++)
        block_refs += !s->refs[i].by_root;
    ck_assert_uint_eq(edges.seen, block_refs);
    ck_assert_uint_eq(graph_reference_count(g), s->count);
    check_heads(g, s, &m);
}

/* --- shapes by hand ------------------------------------------------------------------------------------- */
static const struct shape {
    const char *name, *refs, *expected;
} shapes[] = {
    {"nothing refers to anything", "", "LLL"},
    {"held by a global", "S0", "R"},
    {"held twice and by another", "S0 S0 0>1 S1", "RR"},
    {"lost head", "S0", "RL"},
    {"lost chain", "0>1 1>2 2>3", "LIII"},
    {"chain whose head has the highest number", "3>2 2>1 1>0", "IIIL"},
    {"self-pointer alone", "0>0", "L"},
    {"self-pointer by its middle", "0>0i 0>0", "L"},
    {"self-pointer held by a lost one", "0>1 1>1", "LI"},
    {"3-cycle", "0>1 1>2 2>0", "CCC"},
    {"3-cycle among reachable ones", "S0 1>2 2>3 3>1 1>0", "RCCC"},
    {"cycle with a tail", "0>1 1>0 1>2 2>3", "CCII"},
    {"cycle held by a lost block", "0>1 1>2 2>1", "LII"},
    {"two cycles, one holds the other", "0>1 1>0 1>2 2>3 3>2", "CCII"},
    {"the same, the holder numbered higher", "0>1 1>0 2>3 3>2 3>0", "IICC"},
    {"two cycles that share a block", "0>1 1>0 1>2 2>1", "CCC"},
    {"two cycles apart", "0>2 2>0 1>3 3>1", "CCCC"},
    {"doubly linked list", "0>1 1>2 2>3 3>2 2>1 1>0", "CCCC"},
    {"ring by interior pointers", "0>1i 1>2i 2>0i", "CCC"},
    {"lost head that holds by the middle", "0>1i 1>2e", "LII"},
    {"tree with parent pointers", "0>1 0>2 1>0 2>0", "CCC"},
    {"interior only", "S0i", "P"},
    {"end only", "S0e", "P"},
    {"accepted interior", "S0a 0>1a", "RR"},
    {"interior of a reachable block only", "S0 0>1i 1>2", "RPP"},
    {"interior and, further on, by the start", "S0i S1 1>0", "RR"},
    {"by the start of what is possible", "S0i 0>1", "PP"},
    {"wide root only", "W0 0>1", "PP"},
    {"wide root by the middle", "W0i 0>1e", "PP"},
    {"wide root and strict root", "W0 S0", "R"},
    {"cycle held by a wide root", "W0 0>1 1>0", "PP"},
    {"cycle held by a global", "S1 0>1 1>0", "RR"},
    {"lost one that refers to reachable ones", "S0 1>0 1>1", "RL"},
    {"held by two heads: charged to the first", "1>0 2>0", "ILL"},
    {"diamond", "0>1 0>2 1>3 2>3", "LIII"},
};

START_TEST(shape_gets_its_classes)
{
    const struct shape *shape = &shapes[_i];
    struct sketch s = sketch_of(shape->refs, (uint32_t)strlen(shape->expected));
    struct graph *g = sketch_solve(&s);
    char got[MAX_BLOCKS + 1] = "";
    for (uint32_t b = 0; b < s.blocks; b++)
        got[b] = class_letters[graph_class_of(g, b)];
    ck_assert_msg(strcmp(got, shape->expected) == 0, "%s: %s instead of %s", shape->name, got,
                  shape->expected);
    check_against_model(g, &s);
    graph_free(g);
}
END_TEST

START_TEST(three_cycle_is_one_head_of_three)
{
    struct sketch s = sketch_of("1>2 2>3 3>1 3>4", 5);
    struct graph *g = sketch_solve(&s);
    ck_assert_uint_eq(graph_head_count(g), 2); /* block 0 is lost */
    struct graph_head head = graph_head_at(g, 1);
    ck_assert(head.cls == GRAPH_CYCLE && head.first == 1 && head.members == 3 && head.indirect_blocks == 1);
    graph_free(g);
}
END_TEST

START_TEST(block_of_two_heads_is_charged_to_the_first_only)
{
    struct sketch s = sketch_of("1>0 2>0 2>3", 4);
    struct graph *g = sketch_solve(&s);
    ck_assert_uint_eq(graph_head_at(g, graph_head_of(g, 0)).first, 1);
    ck_assert_uint_eq(graph_head_at(g, 0).indirect_blocks, 1);
    ck_assert_uint_eq(graph_head_at(g, 1).indirect_blocks, 1);
    graph_free(g);
}
END_TEST

START_TEST(self_references_are_told_apart)
{
    struct sketch s = sketch_of("0>0 0>0i 0>1 0>1 0>1i", 2);
    struct graph *g = sketch_solve(&s);
    struct graph_counts self = graph_counts_of(g, 0), held = graph_counts_of(g, 1);
    ck_assert(self.from_self == 2 && self.from_blocks == 0 && self.interior == 0);
    ck_assert(held.from_self == 0 && held.from_blocks == 3 && held.interior == 1);
    graph_free(g);
}
END_TEST

/* A path by blocks of 4 hops against one of 1: the holder must be the near one. */
START_TEST(holders_make_the_shortest_path)
{
    struct sketch s = sketch_of("S0 0>1 1>2 2>3 3>4 0>4", 5);
    struct graph *g = sketch_solve(&s);
    uint32_t root, block;
    graph_holder_of(g, 4, &root, &block);
    ck_assert(root == GRAPH_NONE && block == 0);
    graph_free(g);
}
END_TEST

/* --- bad input ------------------------------------------------------------------------------------------ */
static bool stop_at_first(void *ctx, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    (void)from, (void)to, (void)word, (void)kind;
    return ++*(uint32_t *)ctx < 1;
}

START_TEST(reference_out_of_range_is_refused)
{
    struct graph *g = graph_new(3, 1);
    ck_assert(!graph_add_root_ref(g, 1, true, 0, GRAPH_START));
    ck_assert(!graph_add_root_ref(g, 0, true, 3, GRAPH_START));
    ck_assert(!graph_add_ref(g, 3, 0, 0, GRAPH_START));
    ck_assert(!graph_add_ref(g, 0, GRAPH_NONE, 0, GRAPH_START));
    ck_assert(graph_add_ref(g, 1, 0, 0, GRAPH_START));
    ck_assert(!graph_add_ref(g, 0, 1, 0, GRAPH_START)); /* block 0 was left */
    ck_assert(graph_add_ref(g, 1, 2, 1, GRAPH_START));
    ck_assert_uint_eq(graph_reference_count(g), 2);
    ck_assert(graph_solve(g) && graph_solve(g));
    ck_assert(!graph_add_ref(g, 2, 0, 0, GRAPH_START)); /* solved */
    ck_assert(!graph_add_root_ref(g, 0, true, 0, GRAPH_START));
    ck_assert_int_eq(graph_class_of(g, 1), GRAPH_LOST);
    uint32_t seen = 0;
    graph_edges_of(g, 1, stop_at_first, &seen);
    ck_assert_uint_eq(seen, 1);
    graph_free(g);
}
END_TEST

START_TEST(empty_graph_has_no_heads)
{
    struct graph *g = graph_new(0, 0);
    ck_assert(graph_solve(g));
    ck_assert_uint_eq(graph_head_count(g), 0);
    ck_assert_uint_eq(graph_reference_count(g), 0);
    graph_free(g);
    graph_free(NULL);
}
END_TEST

/* --- random graphs -------------------------------------------------------------------------------------- */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static struct sketch sketch_random(uint64_t seed)
{
    uint64_t state = seed;
    next_random(&state);
    struct sketch s = {.blocks = 1 + (uint32_t)(next_random(&state) % MAX_BLOCKS)};
    uint32_t dense =
        1 + (uint32_t)(next_random(&state) % 3); /* references a block, about: all shapes need few */
    s.count = (uint32_t)(next_random(&state) % (s.blocks * dense + 1));
    uint32_t roots_in = (uint32_t)(next_random(&state) % 12); /* how many references of 12 come from roots */
    for (uint32_t i = 0; i < s.count; i++) {
        struct ref *r = &s.refs[i];
        r->by_root = next_random(&state) % 12 < roots_in && next_random(&state) % 3 == 0;
        r->from = (uint32_t)(next_random(&state) % (r->by_root ? ROOTS : s.blocks));
        r->to = (uint32_t)(next_random(&state) % s.blocks);
        r->kind = next_random(&state) % 2 ? GRAPH_START : (enum graph_ref)(next_random(&state) % 4);
    }
    qsort(s.refs, s.count, sizeof(s.refs[0]), by_source);
    return s;
}

START_TEST(random_graphs_agree_with_the_model)
{
    uint64_t seen[5] = {0}, first = 1, last = 20000;
    printf("check_graph: seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)last);
    for (uint64_t seed = first; seed <= last; seed++) {
        struct sketch s = sketch_random(seed);
        struct graph *g = sketch_solve(&s);
        check_against_model(g, &s);
        for (uint32_t b = 0; b < s.blocks; b++)
            seen[graph_class_of(g, b)]++;
        graph_free(g);
    }
    /* Graphs that are all lost, or all reachable, would prove nothing about the rest. */
    for (int c = 0; c < 5; c++)
        ck_assert_uint_gt(seen[c], last / 8);
}
END_TEST

/* --- depth ---------------------------------------------------------------------------------------------- */
static struct graph *list_of(uint32_t blocks, bool ring, bool held)
{
    struct graph *g = graph_new(blocks, 1);
    if (held)
        ck_assert(graph_add_root_ref(g, 0, true, 0, GRAPH_START));
    for (uint32_t b = 0; b + 1 < blocks; b++)
        if (!graph_add_ref(g, b, b + 1, 0, GRAPH_START))
            ck_abort_msg("memory is out");
    if (ring)
        ck_assert(graph_add_ref(g, blocks - 1, 0, 0, GRAPH_START));
    ck_assert(graph_solve(g));
    return g;
}

#define DEEP 10000000u

START_TEST(list_of_ten_million_needs_no_stack)
{
    struct graph *g = list_of(DEEP, false, false);
    ck_assert_uint_eq(graph_head_count(g), 1);
    ck_assert_uint_eq(graph_head_at(g, 0).indirect_blocks, DEEP - 1);
    graph_free(g);
    g = list_of(DEEP, true, false);
    ck_assert_uint_eq(graph_head_count(g), 1);
    ck_assert_uint_eq(graph_head_at(g, 0).members, DEEP);
    graph_free(g);
    g = list_of(DEEP, false, true);
    ck_assert_uint_eq(graph_head_count(g), 0);
    ck_assert_int_eq(graph_class_of(g, DEEP - 1), GRAPH_REACHABLE);
    graph_free(g);
}
END_TEST

/* --- memory that runs out ------------------------------------------------------------------------------- */
struct ration {
    uint32_t left; /* how many requests succeed; then one fails, later ones succeed again */
    uint32_t asked;
    int64_t live;
};

static void *ration_resize(void *ctx, void *old, size_t bytes)
{
    struct ration *r = ctx;
    if (bytes == 0) {
        r->live -= old != NULL;
        free(old);
        return NULL;
    }
    if (r->asked++ == r->left)
        return NULL;
    void *fresh = realloc(old, bytes);
    r->live += !old && fresh;
    return fresh;
}

START_TEST(every_failing_request_is_told_and_leaks_nothing)
{
    struct sketch s = sketch_of("S0 W1 0>2i 3>4 4>5 5>4 6>7 8>9 9>8 9>4", 10);
    uint32_t failures = 0;
    for (;; failures++) {
        struct ration r = {.left = failures};
        struct graph *g = graph_new_using(s.blocks, ROOTS, ration_resize, &r);
        bool done = g && sketch_fill(&s, g);
        ck_assert(done == (r.asked <= r.left)); /* a refused request is never passed over */
        if (done)
            check_against_model(g, &s);
        else if (g)
            ck_assert_uint_eq(graph_head_count(g), 0);
        graph_free(g);
        ck_assert_int_eq(r.live, 0);
        if (done)
            break;
    }
    ck_assert_uint_gt(failures, 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph");
    TCase *tc = tcase_create("graph");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, shape_gets_its_classes, 0, (int)(sizeof(shapes) / sizeof(shapes[0])));
    tcase_add_test(tc, three_cycle_is_one_head_of_three);
    tcase_add_test(tc, block_of_two_heads_is_charged_to_the_first_only);
    tcase_add_test(tc, self_references_are_told_apart);
    tcase_add_test(tc, holders_make_the_shortest_path);
    tcase_add_test(tc, reference_out_of_range_is_refused);
    tcase_add_test(tc, empty_graph_has_no_heads);
    tcase_add_test(tc, random_graphs_agree_with_the_model);
    tcase_add_test(tc, list_of_ten_million_needs_no_stack);
    tcase_add_test(tc, every_failing_request_is_told_and_leaks_nothing);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
