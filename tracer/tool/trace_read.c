/* SPDX-License-Identifier: MIT */
#include "tracer/tool/trace_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/tool/check_parts.h"
#include "tracer/tool/say.h"

bool trace_is_one(const char *path)
{
    uint64_t magic = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == TRACE_MAGIC;
    if (fd >= 0)
        close(fd);
    return is;
}

static bool refuse(const char *path, enum trace_status status, char *error, size_t size)
{
    static const char *const why[] = {
        [TRACE_FOREIGN] = "this is no trace of heaptally's",
        [TRACE_OTHER_VERSION] =
            "this trace was written by another version of heaptally; report it with that one",
        [TRACE_DAMAGED] = "this trace is damaged: its header makes no sense",
    };
    snprintf(error, size, "%s: %s", path, status == TRACE_UNREADABLE ? strerror(errno) : why[status]);
    return false;
}

static void add_note(void *ctx, const char *line)
{
    recording_add_note(ctx, line);
}

static bool tell_header(const struct trace_header *header, struct recording *rec)
{
    static const char *const why[] = {
        [TRACE_GOES_ON] = "it was killed, or still runs: this is its trace",
        [TRACE_ENDED] = "this is the trace of a process that has ended",
        [TRACE_EXEC] = "this is the trace of a process that became another program",
    };
    struct rec_meta *meta = &rec->meta;
    char line[128];
    meta->verdict = REC_NOT_CHECKED;
    meta->pid = header->pid;
    meta->parent = header->parent;
    meta->started = header->started;
    if (header->missed) {
        snprintf(line, sizeof(line), "%llu bytes found no room in the file: what was in them is not told",
                 (unsigned long long)header->missed);
        if (!recording_add_note(rec, line))
            return false;
    }
    return recording_set(&meta->program, header->program) && recording_set(&meta->command, header->program) &&
           recording_set(&meta->memory_source, "trace") &&
           recording_set(&meta->why_not, why[header->state <= TRACE_EXEC ? header->state : TRACE_GOES_ON]);
}

struct ordered {
    uint64_t value;
    const struct site_tally *tally;
};

/* Newton's method: libm for one root is not worth it. */
static double root_of(double x)
{
    double root = x > 1 ? x / 2 : 1;
    for (int i = 0; i < 200; i++)
        root = (root + x / root) / 2;
    return root;
}

static uint64_t margin_of(const struct site_tally *tally)
{
    return tally->variance > 0 && tally->variance < 1e30 ? (uint64_t)(1.96 * root_of(tally->variance) + 0.5)
                                                         : 0;
}

static struct rec_usage usage_of(const struct site_tally *tally)
{
    return (struct rec_usage){.site = REC_NONE,
                              .number = tally->site,
                              .allocations = tally->allocations,
                              .frees = tally->frees,
                              .bytes = tally->bytes,
                              .freed_bytes = tally->freed_bytes,
                              .temporary = tally->temporary,
                              .margin = margin_of(tally),
                              .peak = (int64_t)tally->peak > 0 ? tally->peak : 0};
}

static int by_value(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->tally->site < y->tally->site ? -1 : x->tally->site > y->tally->site;
}

static bool add_usages(struct check *check, enum usage_by by, uint32_t named)
{
    uint32_t count = image_usage_count(check->image);
    const struct site_tally *all = image_usages(check->image);
    struct ordered *ordered = calloc((size_t)count + 1, sizeof(*ordered));
    bool done = ordered != NULL;
    for (uint32_t i = 0; done && i < count; i++) {
        struct rec_usage usage = usage_of(&all[i]);
        ordered[i] = (struct ordered){usage_value(&usage, by), &all[i]};
    }
    if (done)
        qsort(ordered, count, sizeof(*ordered), by_value);
    for (uint32_t i = 0; done && i < count; i++) {
        struct rec_usage usage = usage_of(ordered[i].tally);
        if (ordered[i].value > 0 && (named == 0 || i < named))
            done = check_name_site(check, ordered[i].tally->site, &usage.site);
        usage.end = check_site_end(check, ordered[i].tally->site);
        done = done && recording_add_usage(check->rec, &usage) != REC_NONE;
    }
    free(ordered);
    return done;
}

static bool read_tables(struct check *check, enum usage_by by, uint32_t named, char *error, size_t size)
{
    const struct check_request *request = check->request;
    enum image_status status =
        image_open_tables(request->source, request->target, add_note, check->rec, &check->image);
    if (status == IMAGE_UNREADABLE) {
        snprintf(error, size,
                 "this trace is damaged, or of another version of heaptally: its tables cannot be read");
        return false;
    }
    snprintf(error, size, "out of memory");
    if (status == IMAGE_OK && !check->symbols)
        check->symbols = symbols_new();
    if (status != IMAGE_OK || !check->symbols || !add_usages(check, by, named))
        return false;
    const struct record_root *root = image_record(check->image);
    check->rec->usage_sample = root->sample;
    check->rec->check_stacks = root->check_stacks;
    check->rec->stack_checks = root->stack_checks;
    check->rec->stack_mismatches = root->stack_mismatches;
    check->rec->meta.allocations = root->allocations;
    check->rec->meta.frees = root->frees;
    check->rec->meta.unrecorded = root->unrecorded;
    check->rec->meta.generation = root->generation;
    return recording_set(&check->rec->meta.unwinder, root->unwinder);
}

uint64_t trace_base(const char *path)
{
    struct trace_header header;
    struct memory_source source;
    if (source_open_trace(path, &header, &source) != TRACE_READABLE)
        return 0;
    source.close(source.ctx);
    return header.base;
}

bool trace_read(const char *path, enum usage_by by, uint32_t named, struct symbols *symbols,
                struct recording *rec, char *error, size_t error_size)
{
    struct trace_header header;
    struct memory_source source;
    enum trace_status status = source_open_trace(path, &header, &source);
    if (status != TRACE_READABLE)
        return refuse(path, status, error, error_size);
    struct wire_target target = {.pid = header.pid, .record_root = header.root};
    struct check_request request = {.source = &source, .target = &target};
    struct check check = {.request = &request, .rec = rec, .symbols = symbols};
    char why[256] = "out of memory";
    bool done = tell_header(&header, rec) && read_tables(&check, by, named, why, sizeof(why));
    if (!done)
        snprintf(error, error_size, "%s: %s", path, why);
    check_names_free(&check);
    if (!symbols)
        symbols_free(check.symbols);
    image_close(check.image);
    source.close(source.ctx);
    return done;
}

bool trace_copy(const char *from, const char *to)
{
    struct trace_header header;
    struct memory_source source;
    char bite[65536];
    if (source_open_trace(from, &header, &source) != TRACE_READABLE)
        return false;
    uint64_t left = header.used < header.size ? header.used : header.size, at = header.base;
    int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0;
    while (done && left > 0) {
        size_t got = source.read(source.ctx, at, bite, left < sizeof(bite) ? (size_t)left : sizeof(bite));
        done = got > 0 && write(fd, bite, got) == (ssize_t)got;
        at += got;
        left -= got;
    }
    if (fd >= 0 && close(fd) != 0)
        done = false;
    source.close(source.ctx);
    return done;
}
