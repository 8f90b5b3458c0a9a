/* SPDX-License-Identifier: MIT */
/*
 * table.c - the study as text.
 *
 *    figures, a column per allocator     medians, with the lowest and highest where they differ
 *    what was live
 *    heaptally's heap, at its peak (when most was resident) and at the end: one line per term of heap.h's equation
 *    size classes by what they waste
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/frag/study.h"

#define MIB          (1024.0 * 1024)
#define NAME_WIDTH   34
#define CELL_WIDTH   22
#define BRIEF        4 /* samples */
#define CLASSES_FEW  6u
#define PERCENT_MOST 1000.0 /* more says only that next to nothing is live */
#define END_SHARE    20     /* ratios at the end, when 1/20 of the peak is still live */

/* --- figures by allocator -------------------------------------------------------------------------------- */

static void cell_figure(FILE *out, const struct frag_figure *f, double unit)
{
    char text[64];
    snprintf(text, sizeof(text), "%.2f", f->median / unit);
    if (f->median > 0 && (f->high - f->low) / f->median > 0.01)
        snprintf(text, sizeof(text), "%.2f (%.2f-%.2f)", f->median / unit, f->low / unit, f->high / unit);
    fprintf(out, "%*s", CELL_WIDTH, text);
}

static const struct figure_row {
    const char *name;
    size_t field;
    double unit;
} figure_rows[] = {
#define ROW(name, field, unit)                                                                               \
    {                                                                                                        \
        name, offsetof(struct frag_allocator, field), unit                                                   \
    }
    ROW("wall time, s", wall, 1),
    ROW("CPU time, s", cpu, 1),
    ROW("peak RSS, MiB", peak_rss, MIB),
    ROW("RSS at the end, MiB", end_rss, MIB),
    ROW("LazyFree at most, MiB", lazy_free, MIB),
    ROW("heap at the peak, MiB", peak_heap, MIB),
    ROW("heap at the end, MiB", end_heap, MIB),
    ROW("heap, mean over time, MiB", mean_heap, MIB),
#undef ROW
};

static const struct frag_figure *figure_at(const struct frag_allocator *allocator, size_t field)
{
    return (const struct frag_figure *)((const char *)allocator + field);
}

static void print_figures(FILE *out, const struct frag_study *study)
{
    for (size_t row = 0; row < sizeof(figure_rows) / sizeof(figure_rows[0]); row++) {
        fprintf(out, "  %-*s", NAME_WIDTH, figure_rows[row].name);
        for (unsigned i = 0; i < study->count; i++)
            if (study->allocator[i].present)
                cell_figure(out, figure_at(&study->allocator[i], figure_rows[row].field),
                            figure_rows[row].unit);
        fputc('\n', out);
    }
}

static void print_ratio(FILE *out, const struct frag_study *study, const char *name, size_t field,
                        double live)
{
    fprintf(out, "  %-*s", NAME_WIDTH, name);
    for (unsigned i = 0; i < study->count; i++) {
        if (!study->allocator[i].present)
            continue;
        double ratio = study_ratio(figure_at(&study->allocator[i], field)->median, live);
        if (ratio > 0)
            fprintf(out, "%*.3f", CELL_WIDTH, ratio);
        else
            fprintf(out, "%*s", CELL_WIDTH, "-");
    }
    fputc('\n', out);
}

static void print_ratios(FILE *out, const struct frag_study *study)
{
    const struct frag_account *account = &study->account;
    if (!account->counted)
        return;
#define FIELD(name) offsetof(struct frag_allocator, name)
    print_ratio(out, study, "peak RSS / peak live", FIELD(peak_rss), (double)account->peak_bytes);
    print_ratio(out, study, "heap / live, at the peak", FIELD(peak_heap), (double)account->peak_bytes);
    print_ratio(out, study, "heap / live, at the end", FIELD(end_heap),
                account->end_bytes >= account->peak_bytes / END_SHARE ? (double)account->end_bytes : 0);
#undef FIELD
}

static void print_heads(FILE *out, const struct frag_study *study)
{
    fprintf(out, "  %-*s", NAME_WIDTH, "");
    for (unsigned i = 0; i < study->count; i++)
        if (study->allocator[i].present)
            fprintf(out, "%*s", CELL_WIDTH, study->allocator[i].name);
    fputc('\n', out);
}

/* --- what went wrong, and what is not what it seems ------------------------------------------------------- */

static void print_wrong(FILE *out, const char *name, const struct frag_run *run)
{
    if (run->wrong != NULL && run->during_status != 0)
        fprintf(out, "  ! under %s: %s (%d)\n", name, run->wrong, run->during_status);
    else if (run->wrong != NULL)
        fprintf(out, "  ! under %s: %s\n", name, run->wrong);
    if (run->by_signal)
        fprintf(out, "  ! under %s the program was ended by signal %d\n", name, run->status);
    else if (run->status != 0)
        fprintf(out, "  ! under %s the program ended with exit code %d\n", name, run->status);
}

/* The first run of an allocator that went wrong speaks for the others. */
static void print_notes(FILE *out, const struct frag_study *study)
{
    bool children = study->account.run.children, brief = false;
    for (unsigned i = 0; i < study->count; i++) {
        const struct frag_allocator *allocator = &study->allocator[i];
        if (allocator->note != NULL)
            fprintf(out, "  %s: %s\n", allocator->name, allocator->note);
        for (unsigned round = 0; round < allocator->rounds; round++) {
            const struct frag_run *run = &allocator->run[round];
            children |= run->children;
            brief |= run->ran && run->curve.count < BRIEF;
            if (run->wrong != NULL || run->by_signal || run->status != 0) {
                print_wrong(out, allocator->name, run);
                break;
            }
        }
    }
    print_wrong(out, "accounting", &study->account.run);
    if (brief)
        fputs("  ! a run was too short for more than a sample or two: memory is what was seen of it\n", out);
    if (children)
        fputs("  the program had children: their memory is not in these figures, their CPU time is when it "
              "waited "
              "for them\n",
              out);
}

/* --- live bytes, and heaptally's heap ---------------------------------------------------------------------- */

static void print_live(FILE *out, const struct frag_study *study)
{
    const struct frag_account *a = &study->account;
    if (!a->counted) {
        fputs("\nlive bytes: not counted; no ratios\n", out);
        return;
    }
    fprintf(out, "\nlive bytes, as asked for, counted in a run of its own\n");
    fprintf(out,
            "  at the peak %.2f MiB in %llu blocks; at the end %.2f MiB in %llu; mean over time %.2f MiB\n",
            (double)a->peak_bytes / MIB, (unsigned long long)a->peak_blocks, (double)a->end_bytes / MIB,
            (unsigned long long)a->end_blocks, a->mean_bytes / MIB);
    fprintf(out, "  %llu allocations of %.2f MiB together, %llu frees\n", (unsigned long long)a->allocations,
            (double)a->asked_bytes / MIB, (unsigned long long)a->frees);
}

static const struct term {
    const char *name, *text;
    size_t field;
    bool minus;
} terms[] = {
#define TERM(name, text, field, minus)                                                                       \
    {                                                                                                        \
        name, text, offsetof(struct frag_heap, field), minus                                                 \
    }
    TERM("live", "as asked for", asked, false),
    TERM("internal", "rounded up to size classes", internal, false),
    TERM("external", "free blocks in used pools", external, false),
    TERM("cached", "empty, resident, could go back", cached, false),
    TERM("metadata", "descriptors, heaps, address map", metadata, false),
    TERM("untouched", "live, never written to: not resident", untouched, true),
#undef TERM
};

static void print_term(FILE *out, const struct frag_account *a, const char *name, const char *text,
                       size_t field, bool minus)
{
    const struct frag_heap *heaps[] = {a->has_peak ? &a->peak : NULL, a->has_end ? &a->end : NULL};
    fprintf(out, "  %-10s %-38s", name, text);
    for (unsigned i = 0; i < 2; i++) {
        if (heaps[i] == NULL) {
            fprintf(out, "%12s%9s", "-", "");
            continue;
        }
        double value = (double)*(const uint64_t *)((const char *)heaps[i] + field);
        if (field == offsetof(struct frag_heap, resident))
            value -= (double)heaps[i]->ledger; /* which an ordinary run has not */
        double percent = heaps[i]->asked ? 100 * value / (double)heaps[i]->asked : PERCENT_MOST;
        fprintf(out, "%12.2f", minus && value > 0 ? -value / MIB : value / MIB);
        if (percent < PERCENT_MOST)
            fprintf(out, "%8.1f%%", minus && value > 0 ? -percent : percent);
        else
            fprintf(out, "%9s", "-");
    }
    fputc('\n', out);
}

static void print_heap(FILE *out, const struct frag_study *study)
{
    const struct frag_account *a = &study->account;
    if (!a->has_peak && !a->has_end)
        return;
    fprintf(out, "\nheaptally's heap, MiB and %% of what was live then%20s%21s\n", "at the peak",
            "at the end");
    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++)
        print_term(out, a, terms[i].name, terms[i].text, terms[i].field, terms[i].minus);
    print_term(out, a, "heap", "the sum: resident", offsetof(struct frag_heap, resident), false);
    fprintf(out, "  base: %.2f MiB of anonymous pages are no heap%s\n", (double)study->base / MIB,
            study->base > a->peak.resident / 2
                ? "; it is large, and every \"heap\" above is as good as it is constant"
                : "");
    const struct frag_heap *heap = a->has_peak ? &a->peak : &a->end;
    fprintf(out, "  %s: %llu chunks, %llu arenas in use, %llu pools, %llu spans, %llu mappings\n",
            a->has_peak ? "at the peak" : "at the end", (unsigned long long)heap->chunks,
            (unsigned long long)heap->arenas, (unsigned long long)heap->pools,
            (unsigned long long)heap->spans, (unsigned long long)heap->mappings);
    if (heap->damage != 0)
        fprintf(out, "  ! %llu places were caught in the middle of a change\n",
                (unsigned long long)heap->damage);
}

/* --- size classes -------------------------------------------------------------------------------------------- */

static uint64_t wasted(const struct heap_class *class)
{
    return class->capacity - class->asked + class->free;
}

static const struct frag_heap *sorted_heap;

static int by_waste(const void *a, const void *b)
{
    uint64_t x = wasted(&sorted_heap->class[*(const unsigned *)a]);
    uint64_t y = wasted(&sorted_heap->class[*(const unsigned *)b]);
    return x > y ? -1 : x < y;
}

static void print_class(FILE *out, unsigned bucket, const struct heap_class *class)
{
    char name[32];
    uint64_t end = account_bucket_end(bucket);
    snprintf(name, sizeof(name), "%llu", (unsigned long long)end);
    fprintf(out, "  %12s %10llu %12llu %12.2f %12.2f %12.2f\n", end == UINT64_MAX ? "larger" : name,
            (unsigned long long)class->pools, (unsigned long long)class->live, (double)class->asked / MIB,
            (double)(class->capacity - class->asked) / MIB, (double)class->free / MIB);
}

static void print_classes(FILE *out, const struct frag_heap *heap, bool all)
{
    unsigned order[ACCOUNT_BUCKETS], count = 0;
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++)
        if (heap->class[i].live != 0)
            order[count++] = i;
    if (count == 0)
        return;
    if (!all) {
        sorted_heap = heap;
        qsort(order, count, sizeof(*order), by_waste);
    }
    unsigned shown = all || count < CLASSES_FEW ? count : CLASSES_FEW;
    fprintf(out, "\nsize classes of heaptally%s, MiB\n  %12s %10s %12s %12s %12s %12s\n",
            all ? "" : ", the most wasteful first", "block up to", "pools", "live blocks", "asked for",
            "internal", "external");
    for (unsigned i = 0; i < shown; i++)
        print_class(out, order[i], &heap->class[order[i]]);
    if (shown < count)
        fprintf(out, "  and %u more (-v shows them)\n", count - shown);
}

/* --- the whole ----------------------------------------------------------------------------------------------- */

static void print_study(FILE *out, const struct frag_study *study, bool all)
{
    fprintf(out, "heaptally frag: %s\n", study->command);
    if (study->during != NULL)
        fprintf(out, "  during: %s\n", study->during);
    fprintf(out, "  %u round%s, the allocators in turn; medians (lowest-highest)\n", study->rounds,
            study->rounds == 1 ? "" : "s");
    print_notes(out, study);
    fputc('\n', out);
    print_heads(out, study);
    print_figures(out, study);
    print_ratios(out, study);
    print_live(out, study);
    print_heap(out, study);
    if (study->account.has_peak || study->account.has_end)
        print_classes(out, study->account.has_peak ? &study->account.peak : &study->account.end, all);
}

char *study_table(const struct frag_study *study, bool all)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    print_study(out, study, all);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
