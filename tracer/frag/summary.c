/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "tracer/frag/study.h"

/* Below this a ratio says more of the C library's own blocks than of the program's. */
#define RATIO_LEAST (64.0 * 1024)

double study_ratio(double value, double live)
{
    return live >= RATIO_LEAST ? value / live : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static struct frag_figure figure_of(double *values, unsigned count)
{
    if (count == 0)
        return (struct frag_figure){0};
    qsort(values, count, sizeof(*values), by_value);
    double median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    return (struct frag_figure){median, values[0], values[count - 1]};
}

static const struct frag_sample *largest(const struct frag_curve *curve)
{
    const struct frag_sample *most = NULL;
    for (size_t i = 0; i < curve->count; i++)
        if (most == NULL || curve->at[i].rss > most->rss)
            most = &curve->at[i];
    return most;
}

static double at_least_zero(double value)
{
    return value > 0 ? value : 0;
}

static double heap_of(const struct frag_study *study, const struct frag_sample *sample)
{
    return at_least_zero((double)sample->anonymous - (double)sample->lazy_free - (double)study->base);
}

/* The kernel's high-water mark is exact, and its pages that are no heap are those of the fattest sample. */
static double peak_heap(const struct frag_study *study, const struct frag_run *run)
{
    const struct frag_sample *most = largest(&run->curve);
    if (most == NULL)
        return 0;
    return at_least_zero(heap_of(study, most) + (double)run->peak_rss - (double)most->rss);
}

static double most_lazy(const struct frag_run *run)
{
    uint64_t most = 0;
    for (size_t i = 0; i < run->curve.count; i++)
        most = run->curve.at[i].lazy_free > most ? run->curve.at[i].lazy_free : most;
    return (double)most;
}

/* Of anonymous pages over time, less what is no heap. */
static double mean_heap(const struct frag_study *study, const struct frag_run *run)
{
    double anonymous = frag_curve_mean(&run->curve, offsetof(struct frag_sample, anonymous));
    double lazy = frag_curve_mean(&run->curve, offsetof(struct frag_sample, lazy_free));
    return at_least_zero(anonymous - lazy - (double)study->base);
}

static double value_of(const struct frag_study *study, const struct frag_run *run, unsigned what)
{
    switch (what) {
    case 0:
        return run->wall_s;
    case 1:
        return run->user_s + run->system_s;
    case 2:
        return (double)run->peak_rss;
    case 3:
        return (double)run->end.rss;
    case 4:
        return most_lazy(run);
    case 5:
        return peak_heap(study, run);
    case 6:
        return heap_of(study, &run->end);
    default:
        return mean_heap(study, run);
    }
}

static void summarize_allocator(const struct frag_study *study, struct frag_allocator *allocator)
{
    struct frag_figure *const figures[] = {&allocator->wall,     &allocator->cpu,       &allocator->peak_rss,
                                           &allocator->end_rss,  &allocator->lazy_free, &allocator->peak_heap,
                                           &allocator->end_heap, &allocator->mean_heap};
    for (unsigned what = 0; what < sizeof(figures) / sizeof(figures[0]); what++) {
        double values[STUDY_ROUNDS_MAX];
        unsigned count = 0;
        bool at_end = what == 3 || what == 6;
        for (unsigned i = 0; i < allocator->rounds; i++)
            if (allocator->run[i].ran && (!at_end || allocator->run[i].has_end))
                values[count++] = value_of(study, &allocator->run[i], what);
        *figures[what] = figure_of(values, count);
    }
}

/* What is anonymous and no heap: at the peak, if the heap was looked at there. */
static uint64_t base_of(const struct frag_account *account)
{
    const struct frag_heap *heap = account->has_peak ? &account->peak : &account->end;
    return heap->anonymous > heap->resident ? heap->anonymous - heap->resident : 0;
}

void study_summarize(struct frag_study *study)
{
    struct frag_account *account = &study->account;
    study->base = account->has_peak || account->has_end ? base_of(account) : 0;
    account->mean_bytes = frag_curve_mean(&account->run.curve, offsetof(struct frag_sample, live));
    for (unsigned i = 0; i < study->count; i++)
        if (study->allocator[i].present)
            summarize_allocator(study, &study->allocator[i]);
}

void study_free(struct frag_study *study)
{
    for (unsigned i = 0; i < study->count; i++)
        for (unsigned round = 0; round < STUDY_ROUNDS_MAX; round++)
            frag_curve_free(&study->allocator[i].run[round].curve);
    frag_curve_free(&study->account.run.curve);
    frag_heap_free(&study->account.peak);
    frag_heap_free(&study->account.end);
    free(study->command);
    free(study);
}
