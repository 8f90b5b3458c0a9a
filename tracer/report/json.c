/* SPDX-License-Identifier: MIT */
/*
 * The whole recording as one JSON document; SCHEMA.md describes it. Arrays keep the recording's order, so
 * that the indices in it are the recording's own. Addresses are strings ("0x7f..."): they do not fit a JSON
 * reader's doubles.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/format/tables.h"
#include "tracer/report/print.h"
#include "tracer/report/report.h"
#include "tracer/report/stack.h"

#define SCHEMA "heaptally/1"

/* --- values: NULL when memory is out, which the setters below pass on ----------------------------------- */

/* Bytes that are no UTF-8 become U+FFFD. Control characters are valid in JSON (escaped) and stay. */
static json_t *text(const char *from)
{
    size_t length = strlen(from);
    json_t *whole = json_stringn(from, length);
    if (whole != NULL)
        return whole;
    char *copy = malloc(length * 3 + 1);
    if (copy == NULL)
        return NULL;
    size_t used = 0;
    while (*from != '\0') {
        size_t n = (unsigned char)*from < 0x80 ? 1 : print_character_length(from);
        memcpy(copy + used, n == 0 ? "\xef\xbf\xbd" : from, n == 0 ? 3 : n);
        used += n == 0 ? 3 : n;
        from += n == 0 ? 1 : n;
    }
    json_t *string = json_stringn(copy, used);
    free(copy);
    return string;
}

/* jansson's integers are signed. */
static json_t *number(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *hex(uint64_t value)
{
    char buf[24];
    snprintf(buf, sizeof buf, "0x%" PRIx64, value);
    return json_string(buf);
}

static json_t *index_or_null(uint32_t value)
{
    return value == REC_NONE ? json_null() : number(value);
}

/* An object under construction; once something failed nothing more is added, and done() gives NULL. */
struct object {
    json_t *json;
    bool failed;
};

static struct object open_object(void)
{
    struct object o = {json_object(), false};
    o.failed = o.json == NULL;
    return o;
}

static void set(struct object *o, const char *name, json_t *value)
{
    /* Takes over the value, also when it fails. */
    if (json_object_set_new(o->json, name, value) != 0)
        o->failed = true;
}

static json_t *done(struct object *o)
{
    if (!o->failed)
        return o->json;
    json_decref(o->json);
    return NULL;
}

/* --- one element of each array -------------------------------------------------------------------------- */

typedef json_t *element_fn(const struct recording *rec, uint32_t i);

static json_t *array_of(const struct recording *rec, uint32_t first, uint32_t count, element_fn *element)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count && array != NULL; i++) {
        if (json_array_append_new(array, element(rec, first + i)) == 0)
            continue;
        json_decref(array);
        array = NULL;
    }
    return array;
}

static json_t *module(const struct recording *rec, uint32_t i)
{
    const struct rec_module *m = &rec->modules[i];
    char id[sizeof m->build_id * 2 + 1] = "";
    for (uint32_t b = 0; b < m->build_id_length && b < sizeof m->build_id; b++)
        snprintf(id + (size_t)b * 2, 3, "%02x", m->build_id[b]);
    struct object o = open_object();
    set(&o, "path", text(m->path));
    set(&o, "build_id", json_string(id));
    set(&o, "start", hex(m->start));
    set(&o, "end", hex(m->end));
    set(&o, "bias", hex(m->bias));
    set(&o, "generation", number(m->generation));
    set(&o, "unloaded", json_boolean(m->unloaded != 0));
    return done(&o);
}

static json_t *line(const struct recording *rec, uint32_t i)
{
    const struct rec_line *l = &rec->lines[i];
    struct object o = open_object();
    set(&o, "function", text(l->function));
    set(&o, "file", text(l->file));
    set(&o, "line", number(l->line));
    set(&o, "column", number(l->column));
    set(&o, "inlined", json_boolean(l->inlined != 0));
    return done(&o);
}

static json_t *frame(const struct recording *rec, uint32_t i)
{
    const struct rec_frame *f = &rec->frames[i];
    struct object o = open_object();
    set(&o, "ip", hex(f->ip));
    set(&o, "module", index_or_null(f->module));
    if (f->module != REC_NONE)
        set(&o, "offset", hex(f->ip - rec->modules[f->module].bias));
    set(&o, "lines", array_of(rec, f->first_line, f->line_count, line));
    return done(&o);
}

static json_t *frame_index(const struct recording *rec, uint32_t i)
{
    return number(rec->frame_list[i]);
}

static json_t *site_end(uint32_t end)
{
    static const char *const ends[] = {"complete", "cut", "no unwind information", "no stack"};
    return json_string(end <= SITE_END_NO_STACK ? ends[end] : "unknown");
}

static json_t *site(const struct recording *rec, uint32_t i)
{
    const struct rec_site *s = &rec->sites[i];
    struct object o = open_object();
    set(&o, "frames", array_of(rec, s->first_frame, s->frame_count, frame_index));
    set(&o, "end", site_end(s->end));
    return done(&o);
}

static json_t *block(const struct recording *rec, uint32_t i)
{
    const struct rec_block *b = &rec->blocks[i];
    struct object o = open_object();
    set(&o, "address", hex(b->addr));
    set(&o, "size", number(b->size));
    set(&o, "capacity", number(b->capacity));
    set(&o, "site", index_or_null(b->site));
    set(&o, "allocated_by", json_string(stack_kind_name(b->kind)));
    set(&o, "references_start", number(b->refs_start));
    set(&o, "references_interior", number(b->refs_interior));
    set(&o, "references_self", number(b->refs_self));
    set(&o, "instance", number(b->instance));
    set(&o, "age_ms", b->has_age ? number(b->age_ms) : json_null());
    return done(&o);
}

static json_t *edge(const struct recording *rec, uint32_t i)
{
    const struct rec_edge *e = &rec->edges[i];
    struct object o = open_object();
    set(&o, "from_block", index_or_null(e->from_block));
    set(&o, "from_root", index_or_null(e->from_root));
    set(&o, "to_block", number(e->to_block));
    if (e->from_root == REC_NONE)
        set(&o, "offset", number(e->offset));
    else
        set(&o, "address", hex(e->offset));
    set(&o, "to_offset", number(e->to_offset));
    return done(&o);
}

static json_t *root(const struct recording *rec, uint32_t i)
{
    struct object o = open_object();
    set(&o, "name", text(rec->roots[i].name));
    set(&o, "strict", json_boolean(rec->roots[i].strict != 0));
    return done(&o);
}

static json_t *note(const struct recording *rec, uint32_t i)
{
    return text(rec->notes[i]);
}

static json_t *ages(const struct rec_group *g)
{
    struct object o = open_object();
    set(&o, "oldest", number(g->oldest_ms));
    set(&o, "newest", number(g->newest_ms));
    return done(&o);
}

static json_t *group(const struct recording *rec, uint32_t i)
{
    const struct rec_group *g = &rec->groups[i];
    struct object o = open_object();
    set(&o, "class", json_string(rec_class_name(g->cls)));
    set(&o, "site", index_or_null(g->site));
    set(&o, "allocated_by", json_string(stack_kind_name(g->kind)));
    set(&o, "instances", number(g->instances));
    set(&o, "blocks", number(g->blocks));
    set(&o, "bytes", number(g->bytes));
    set(&o, "indirect_blocks", number(g->indirect_blocks));
    set(&o, "indirect_bytes", number(g->indirect_bytes));
    set(&o, "capacity", number(g->capacity));
    set(&o, "age_ms", g->aged_blocks ? ages(g) : json_null());
    set(&o, "references", number(g->references));
    set(&o, "references_self", number(g->from_self));
    set(&o, "references_inside", number(g->from_inside));
    set(&o, "first_block", number(g->first_block));
    set(&o, "block_count", number(g->block_count));
    set(&o, "edges", array_of(rec, g->first_edge, g->edge_count, edge));
    set(&o, "suppressed_by", index_or_null(g->suppressed_by));
    return done(&o);
}

static json_t *usage(const struct recording *rec, uint32_t i)
{
    const struct rec_usage *u = &rec->usages[i];
    struct object o = open_object();
    set(&o, "site", index_or_null(u->site));
    set(&o, "end", site_end(u->end));
    set(&o, "allocations", number(u->allocations));
    set(&o, "frees", number(u->frees));
    set(&o, "bytes", number(u->bytes));
    set(&o, "freed_bytes", number(u->freed_bytes));
    set(&o, "temporary", number(u->temporary));
    set(&o, "peak", number(u->peak));
    set(&o, "margin", number(u->margin));
    return done(&o);
}

/* --- what ran ------------------------------------------------------------------------------------------- */

static json_t *run(const struct rec_meta *m)
{
    struct object o = open_object();
    set(&o, "program", text(m->program));
    set(&o, "command", text(m->command));
    set(&o, "pid", json_integer(m->pid));
    set(&o, "parent", json_integer(m->parent));
    set(&o, "generation", number(m->generation));
    set(&o, "reason", text(m->reason));
    set(&o, "status", json_integer(m->status));
    set(&o, "threads", number(m->threads));
    set(&o, "unparked_threads", number(m->unparked_threads));
    set(&o, "allocations", number(m->allocations));
    set(&o, "frees", number(m->frees));
    set(&o, "unrecorded", number(m->unrecorded));
    set(&o, "unwinder", text(m->unwinder));
    set(&o, "started_ms", number(m->started));
    return done(&o);
}

static json_t *check(const struct rec_meta *m)
{
    struct object o = open_object();
    set(&o, "checked_ms", number(m->checked));
    set(&o, "freeze_us", number(m->freeze_us));
    set(&o, "check_us", number(m->check_us));
    set(&o, "memory_source", text(m->memory_source));
    set(&o, "tool_version", text(m->tool_version));
    set(&o, "references", number(m->references));
    return done(&o);
}

static json_t *sum(uint64_t blocks, uint64_t bytes)
{
    struct object o = open_object();
    set(&o, "blocks", number(blocks));
    set(&o, "bytes", number(bytes));
    return done(&o);
}

static json_t *stacks(const struct recording *rec)
{
    struct object o = open_object();
    set(&o, "compared", number(rec->stack_checks));
    set(&o, "mismatches", number(rec->stack_mismatches));
    return done(&o);
}

static json_t *classes(const struct rec_meta *m)
{
    struct object o = open_object();
    for (uint32_t c = 0; c < REC_CLASSES; c++)
        set(&o, rec_class_name(c), sum(m->class_blocks[c], m->class_bytes[c]));
    set(&o, "inherited", sum(m->inherited_blocks, m->inherited_bytes));
    return done(&o);
}

static json_t *document(const struct recording *rec)
{
    char verdict[512];
    report_verdict_line(rec, verdict, sizeof verdict);
    struct object o = open_object();
    set(&o, "schema", json_string(SCHEMA));
    set(&o, "verdict", json_string(rec_verdict_name(rec->meta.verdict)));
    set(&o, "summary", text(verdict));
    set(&o, "why_not_checked", rec->meta.verdict == REC_NOT_CHECKED ? text(rec->meta.why_not) : json_null());
    set(&o, "run", run(&rec->meta));
    set(&o, "check", check(&rec->meta));
    set(&o, "classes", classes(&rec->meta));
    set(&o, "groups", array_of(rec, 0, rec->groups_count, group));
    set(&o, "blocks", array_of(rec, 0, rec->blocks_count, block));
    set(&o, "sites", array_of(rec, 0, rec->sites_count, site));
    set(&o, "frames", array_of(rec, 0, rec->frames_count, frame));
    set(&o, "modules", array_of(rec, 0, rec->modules_count, module));
    set(&o, "roots", array_of(rec, 0, rec->roots_count, root));
    set(&o, "notes", array_of(rec, 0, rec->notes_count, note));
    if (rec->usages_count > 0)
        set(&o, "usage", array_of(rec, 0, rec->usages_count, usage));
    if (rec->usage_sample > 0)
        set(&o, "sample", number(rec->usage_sample));
    if (rec->check_stacks > 0)
        set(&o, "stacks", stacks(rec));
    return done(&o);
}

bool report_json(const struct recording *rec, const struct report_options *options, FILE *out)
{
    (void)options; /* everything, always: a program can leave out what it does not want */
    json_t *doc = document(rec);
    if (doc == NULL) {
        errno = ENOMEM;
        return false;
    }
    bool written = json_dumpf(doc, out, JSON_INDENT(1)) == 0 && fputc('\n', out) != EOF;
    json_decref(doc);
    return fflush(out) == 0 && written && !ferror(out);
}
