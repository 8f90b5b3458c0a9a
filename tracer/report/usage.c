/* SPDX-License-Identifier: MIT */
#include "tracer/report/usage.h"

#include <stdlib.h>

#include "tracer/report/print.h"
#include "tracer/report/stack.h"

#define TREE_DEPTH    48u
#define TREE_BRANCHES 12u  /* shown of one node */
#define TREE_SHARE    200u /* of the whole: smaller parts are not shown */

static uint64_t difference(uint64_t more, uint64_t less)
{
    return more > less ? more - less : 0; /* freed by a thread whose tally was read before the allocation's */
}

uint64_t usage_value(const struct rec_usage *usage, enum usage_by by)
{
    switch (by) {
    case USAGE_LIVE:
        return difference(usage->bytes, usage->freed_bytes);
    case USAGE_PEAK:
        return usage->peak;
    case USAGE_ALLOCS:
        return usage->allocations;
    case USAGE_TEMPORARY:
        return usage->temporary;
    default:
        return usage->bytes;
    }
}

static const char *unit(enum usage_by by)
{
    return by == USAGE_ALLOCS ? "allocation" : by == USAGE_TEMPORARY ? "temporary allocation" : "byte";
}

/* --- stacks ------------------------------------------------------------------------------------------------------- */

static void print_figures(const struct rec_usage *usage, enum usage_by by, FILE *out)
{
    print_count(out, usage_value(usage, by), unit(by));
    if (by == USAGE_LIVE) {
        if (usage->margin)
            fprintf(out, " (\302\261 %s)", print_digits(usage->margin).text);
        fputs(" in ", out);
        print_count(out, difference(usage->allocations, usage->frees), "block");
        fputs(" not freed, of ", out);
        print_count(out, usage->allocations, "allocation");
    } else if (by == USAGE_PEAK) {
        fputs(" at most at once; not freed ", out);
        print_count(out, usage_value(usage, USAGE_LIVE), "byte");
    } else if (by == USAGE_TEMPORARY) {
        fputs(" of ", out);
        print_count(out, usage->allocations, "allocation");
    } else if (by == USAGE_ALLOCS) {
        fputs(", ", out);
        print_count(out, usage->bytes, "byte");
    } else {
        fputs(" in ", out);
        print_count(out, usage->allocations, "allocation");
    }
}

static void print_stacks(const struct recording *rec, const struct report_options *options, enum usage_by by,
                         FILE *out)
{
    uint64_t rest = 0, value = 0;
    for (uint32_t i = 0; i < rec->usages_count; i++) {
        const struct rec_usage *usage = &rec->usages[i];
        if (usage->site == REC_NONE) {
            rest += usage_value(usage, by) > 0;
            value += usage_value(usage, by);
            continue;
        }
        fprintf(out, "\n%s", print_style(options->colour, STYLE_YELLOW));
        print_figures(usage, by, out);
        fprintf(out, "%s by\n", print_style(options->colour, STYLE_PLAIN));
        stack_print(rec, options, usage->site, 4, out);
    }
    if (rest == 0)
        return;
    fputs("\n(", out);
    print_count(out, rest, "more stack");
    fputs(" with ", out);
    print_count(out, value, unit(by));
    fputs(": --groups=0)\n", out);
}

/* --- trees -------------------------------------------------------------------------------------------------------- */

struct leaf {
    uint64_t value;
    uint32_t first, end; /* of its frames in rec->frame_list: what a person wants to see */
    /* At the level that is being printed: a frame, or REC_NONE, its stack has ended; and what is the same to a person. */
    uint32_t frame;
    uint64_t key;
};

struct tree {
    const struct recording *rec;
    const struct report_options *options;
    enum usage_by by;
    bool inward; /* from main */
    uint64_t total;
    FILE *out;
};

struct branch {
    uint64_t value;
    uint32_t first, count; /* leaves */
};

static int by_key(const void *a, const void *b)
{
    const struct leaf *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Calls from several places of a function are one. Equal strings of a recording are one, too. */
static uint64_t key_of(const struct recording *rec, uint32_t frame)
{
    const struct rec_frame *f = frame == REC_NONE ? NULL : &rec->frames[frame];
    const struct rec_line *last = f && f->line_count ? &rec->lines[f->first_line + f->line_count - 1] : NULL;
    return last && last->function[0] ? (uintptr_t)last->function : frame;
}

static int by_value(const void *a, const void *b)
{
    const struct branch *x = a, *y = b;
    return x->value > y->value ? -1 : x->value < y->value;
}

static void set_frames(const struct tree *tree, struct leaf *leaves, uint32_t count, uint32_t depth)
{
    for (uint32_t i = 0; i < count; i++) {
        struct leaf *leaf = &leaves[i];
        uint32_t at = tree->inward ? leaf->end - 1 - depth : leaf->first + depth;
        leaf->frame = depth < leaf->end - leaf->first ? tree->rec->frame_list[at] : REC_NONE;
        leaf->key = key_of(tree->rec, leaf->frame);
    }
    qsort(leaves, count, sizeof(*leaves), by_key);
}

static uint32_t find_branches(const struct leaf *leaves, uint32_t count, struct branch *ret)
{
    uint32_t branches = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || leaves[i].key != leaves[i - 1].key)
            ret[branches++] = (struct branch){.first = i};
        ret[branches - 1].value += leaves[i].value;
        ret[branches - 1].count++;
    }
    qsort(ret, branches, sizeof(*ret), by_value);
    return branches;
}

static void print_branch(const struct tree *tree, const struct branch *branch, uint32_t frame, uint32_t depth)
{
    double share = 100.0 * (double)branch->value / (double)tree->total;
    fprintf(tree->out, "%5.1f %%  %*s", share, (int)(2 * depth), "");
    fprintf(tree->out, "%s", print_style(tree->options->colour, STYLE_BOLD));
    stack_print_name(tree->rec, frame, tree->out);
    fprintf(tree->out, "%s  ", print_style(tree->options->colour, STYLE_PLAIN));
    print_count(tree->out, branch->value, unit(tree->by));
    fputc('\n', tree->out);
}

/* false when memory is out. */
static bool print_level(const struct tree *tree, struct leaf *leaves, uint32_t count, uint32_t depth)
{
    struct branch *branches = depth < TREE_DEPTH ? calloc(count, sizeof(*branches)) : NULL;
    bool done = true;
    if (!branches)
        return depth >= TREE_DEPTH;
    set_frames(tree, leaves, count, depth);
    uint32_t found = find_branches(leaves, count, branches);
    for (uint32_t i = 0; done && i < found && i < TREE_BRANCHES; i++) {
        uint32_t frame = leaves[branches[i].first].frame;
        if (branches[i].value < tree->total / TREE_SHARE + 1 || frame == REC_NONE)
            continue;
        print_branch(tree, &branches[i], frame, depth);
        done = print_level(tree, leaves + branches[i].first, branches[i].count, depth + 1);
    }
    free(branches);
    return done;
}

static bool print_tree(const struct recording *rec, const struct report_options *options, enum usage_by by,
                       bool inward, uint64_t total, FILE *out)
{
    struct leaf *leaves = calloc((size_t)rec->usages_count + 1, sizeof(*leaves));
    struct tree tree = {rec, options, by, inward, total, out};
    uint32_t count = 0;
    if (!leaves)
        return false;
    for (uint32_t i = 0; i < rec->usages_count; i++) {
        struct leaf leaf = {.value = usage_value(&rec->usages[i], by)};
        if (rec->usages[i].site == REC_NONE || leaf.value == 0)
            continue;
        stack_shown(rec, rec->usages[i].site, &leaf.first, &leaf.end);
        leaves[count++] = leaf;
    }
    fputc('\n', out);
    bool done = count == 0 || print_level(&tree, leaves, count, 0);
    free(leaves);
    return done;
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

bool report_usage(const struct recording *rec, const struct report_options *options, enum usage_by by,
                  enum usage_tree tree, FILE *out)
{
    struct rec_usage sum = {0};
    uint64_t total = 0;
    for (uint32_t i = 0; i < rec->usages_count; i++) {
        const struct rec_usage *usage = &rec->usages[i];
        sum.allocations += usage->allocations;
        sum.frees += usage->frees;
        sum.bytes += usage->bytes;
        sum.freed_bytes += usage->freed_bytes;
        sum.temporary += usage->temporary;
        total += usage_value(usage, by);
    }
    if (rec->usage_sample)
        fprintf(out,
                "sampled, one block in %s bytes: all figures are estimates, \302\261 is the 95 %% confidence "
                "interval\n",
                print_digits(rec->usage_sample).text);
    fputs("not freed: ", out);
    print_count(out, difference(sum.bytes, sum.freed_bytes), "byte");
    fputs(" in ", out);
    print_count(out, difference(sum.allocations, sum.frees), "block");
    fputs("; whether anything reaches them was not checked\nallocated: ", out);
    print_count(out, sum.bytes, "byte");
    fputs(" in ", out);
    print_count(out, sum.allocations, "allocation");
    fputs(", ", out);
    print_count(out, sum.temporary, "temporary one");
    fputc('\n', out);
    for (uint32_t i = 0; i < rec->notes_count; i++)
        fprintf(out, "note: %s\n", rec->notes[i]);
    if (tree == USAGE_STACKS)
        print_stacks(rec, options, by, out);
    else if (!print_tree(rec, options, by, tree == USAGE_CALLERS, total, out))
        return false;
    return !ferror(out);
}
