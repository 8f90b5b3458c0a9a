/* SPDX-License-Identifier: MIT */
/* json.c - the study as JSON: SCHEMA.md says what is in it. */
#include <jansson.h>
#include <stdlib.h>

#include "tracer/frag/study.h"

#define SCHEMA_VERSION 1

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *figure(const struct frag_figure *f)
{
    return json_pack("{s:f, s:f, s:f}", "median", f->median, "low", f->low, "high", f->high);
}

static json_t *curve(const struct frag_curve *c, bool live)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->count; i++) {
        const struct frag_sample *s = &c->at[i];
        json_t *row =
            json_pack("[f, o, o, o]", s->s, number(s->rss), number(s->anonymous), number(s->lazy_free));
        if (live)
            json_array_append_new(row, number(s->live));
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *run(const struct frag_run *r, bool live)
{
    json_t *o = json_pack("{s:b, s:b, s:i, s:b, s:f, s:f, s:f, s:o}", "ran", r->ran, "by_signal",
                          r->by_signal, "status", r->status, "children", r->children, "wall_s", r->wall_s,
                          "user_s", r->user_s, "system_s", r->system_s, "peak_rss", number(r->peak_rss));
    if (r->wrong != NULL)
        json_object_set_new(o, "wrong", json_string(r->wrong));
    if (r->has_end)
        json_object_set_new(o, "end",
                            json_pack("{s:f, s:o, s:o, s:o}", "s", r->end.s, "rss", number(r->end.rss),
                                      "anonymous", number(r->end.anonymous), "lazy_free",
                                      number(r->end.lazy_free)));
    json_object_set_new(o, "curve", curve(&r->curve, live));
    return o;
}

static json_t *ratios(const struct frag_study *study, const struct frag_allocator *a)
{
    const struct frag_account *account = &study->account;
    return json_pack("{s:f, s:f, s:f}", "peak_rss",
                     study_ratio(a->peak_rss.median, (double)account->peak_bytes), "peak_heap",
                     study_ratio(a->peak_heap.median, (double)account->peak_bytes), "end_heap",
                     study_ratio(a->end_heap.median, (double)account->end_bytes));
}

static json_t *allocator(const struct frag_study *study, const struct frag_allocator *a)
{
    json_t *o = json_pack("{s:s, s:s, s:b, s:o?}", "name", a->name, "library", a->library, "present",
                          a->present, "note", a->note ? json_string(a->note) : NULL);
    if (!a->present)
        return o;
    json_object_set_new(o, "wall_s", figure(&a->wall));
    json_object_set_new(o, "cpu_s", figure(&a->cpu));
    json_object_set_new(o, "peak_rss", figure(&a->peak_rss));
    json_object_set_new(o, "end_rss", figure(&a->end_rss));
    json_object_set_new(o, "lazy_free", figure(&a->lazy_free));
    json_object_set_new(o, "peak_heap", figure(&a->peak_heap));
    json_object_set_new(o, "end_heap", figure(&a->end_heap));
    json_object_set_new(o, "mean_heap", figure(&a->mean_heap));
    if (study->account.counted)
        json_object_set_new(o, "overhead", ratios(study, a));
    json_t *runs = json_array();
    for (unsigned i = 0; i < a->rounds; i++)
        json_array_append_new(runs, run(&a->run[i], false));
    json_object_set_new(o, "runs", runs);
    return o;
}

static json_t *classes(const struct frag_heap *heap)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++) {
        const struct heap_class *c = &heap->class[i];
        if (c->live == 0)
            continue;
        json_t *size = account_bucket_end(i) == UINT64_MAX ? json_null() : number(account_bucket_end(i));
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "block_up_to", size, "pools",
                                              number(c->pools), "live_blocks", number(c->live), "asked",
                                              number(c->asked), "capacity", number(c->capacity), "external",
                                              number(c->free)));
    }
    return list;
}

static json_t *heap(const struct frag_heap *h)
{
    json_t *o = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"asked", h->asked},       {"blocks", h->blocks},       {"capacity", h->capacity},
        {"internal", h->internal}, {"external", h->external},   {"cached", h->cached},
        {"metadata", h->metadata}, {"ledger", h->ledger},       {"untouched", h->untouched},
        {"resident", h->resident}, {"anonymous", h->anonymous}, {"mapped", h->mapped},
        {"chunks", h->chunks},     {"arenas", h->arenas},       {"pools", h->pools},
        {"spans", h->spans},       {"mappings", h->mappings},   {"mapping_bytes", h->mapping_bytes},
        {"damage", h->damage},
    };
    json_object_set_new(o, "s", json_real(h->s));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        json_object_set_new(o, rows[i].name, number(rows[i].value));
    json_object_set_new(o, "classes", classes(h));
    return o;
}

static json_t *account(const struct frag_account *a)
{
    json_t *o = json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f}", "counted", a->counted,
                          "peak_bytes", number(a->peak_bytes), "peak_blocks", number(a->peak_blocks),
                          "end_bytes", number(a->end_bytes), "end_blocks", number(a->end_blocks),
                          "allocations", number(a->allocations), "frees", number(a->frees), "asked_bytes",
                          number(a->asked_bytes), "mean_bytes", a->mean_bytes);
    if (a->has_peak)
        json_object_set_new(o, "heap_at_peak", heap(&a->peak));
    if (a->has_end)
        json_object_set_new(o, "heap_at_end", heap(&a->end));
    json_object_set_new(o, "run", run(&a->run, true));
    return o;
}

char *study_json(const struct frag_study *study)
{
    json_t *o =
        json_pack("{s:i, s:s, s:s?, s:i, s:i, s:i, s:o}", "schema", SCHEMA_VERSION, "command", study->command,
                  "during", study->during, "rounds", (int)study->rounds, "interval_ms",
                  (int)study->interval_ms, "settle_ms", (int)study->settle_ms, "base", number(study->base));
    json_t *list = json_array();
    for (unsigned i = 0; i < study->count; i++)
        json_array_append_new(list, allocator(study, &study->allocator[i]));
    json_object_set_new(o, "allocators", list);
    json_object_set_new(o, "account", account(&study->account));
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(o);
    return text;
}
