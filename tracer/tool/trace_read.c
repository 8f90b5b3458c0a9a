/* SPDX-License-Identifier: MIT */
#include "tracer/tool/trace_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/format/packed.h"
#include "tracer/tool/check_parts.h"

/* Numbers of stacks, frames and modules are the same in every reading, and what they mean does not change: so names are kept,
 * and only what is new is looked up. */
struct trace_reader {
    struct check check; /* its recording, symbols and indices are kept; the rest is this reading's */
    char *path;
    struct trace_header header; /* of the last reading */
    bool complained;            /* this reading has: what it could not read it has no names for */
};

static bool begins_as_trace(const char *path, bool packed_too)
{
    uint64_t magic = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && ((pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == TRACE_MAGIC) ||
                          (packed_too && packed_is(fd)));
    if (fd >= 0)
        close(fd);
    return is;
}

bool trace_is_one(const char *path)
{
    return begins_as_trace(path, true);
}

/* "out.htz" -> "out.trace", "out" -> "out.trace" */
char *trace_beside(const char *recording)
{
    size_t length = strlen(recording);
    char *name;
    if (length > 4 && strcmp(recording + length - 4, ".htz") == 0)
        length -= 4;
    return asprintf(&name, "%.*s.trace", (int)length, recording) < 0 ? NULL : name;
}

static void refuse(const char *path, enum trace_status status, char *error, size_t size)
{
    static const char *const why[] = {
        [TRACE_FOREIGN] = "this is no trace of heaptally's",
        [TRACE_OTHER_VERSION] =
            "this trace was written by another version of heaptally; report it with that one",
        [TRACE_DAMAGED] = "this trace is damaged: its header makes no sense",
        [TRACE_CUT_SHORT] = "this packed trace is damaged, or not all of it is here: it cannot be unpacked",
    };
    snprintf(error, size, "%s: %s", path, status == TRACE_UNREADABLE ? strerror(errno) : why[status]);
}

static void add_note(void *ctx, const char *line)
{
    struct trace_reader *reader = ctx;
    reader->complained = true;
    recording_add_note(reader->check.rec, line);
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

static bool fill_meta(struct recording *rec, const struct record_root *root)
{
    rec->usage_sample = root->sample;
    rec->check_stacks = root->check_stacks;
    rec->stack_checks = root->stack_checks;
    rec->stack_mismatches = root->stack_mismatches;
    rec->meta.allocations = root->allocations;
    rec->meta.frees = root->frees;
    rec->meta.unrecorded = root->unrecorded;
    rec->meta.generation = root->generation;
    return recording_set(&rec->meta.unwinder, root->unwinder);
}

static bool read_tables(struct trace_reader *reader, enum usage_by by, uint32_t named, char *error,
                        size_t size)
{
    struct check *check = &reader->check;
    const struct check_request *request = check->request;
    enum image_status status =
        image_open_tables(request->source, request->target, add_note, reader, &check->image);
    if (status == IMAGE_UNREADABLE) {
        snprintf(error, size,
                 "this trace is damaged, or of another version of heaptally: its tables cannot be read");
        return false;
    }
    snprintf(error, size, "out of memory");
    bool done = status == IMAGE_OK && check_add_usages(check, by, named) &&
                fill_meta(check->rec, image_record(check->image));
    if (status == IMAGE_OK)
        image_close(check->image);
    check->image = NULL;
    return done;
}

uint64_t trace_base(const char *path)
{
    struct trace_header header;
    struct memory_source source;
    if (!begins_as_trace(path, false) || source_open_trace(path, &header, &source) != TRACE_READABLE)
        return 0;
    source.close(source.ctx);
    return header.base;
}

/* --- reading again and again -------------------------------------------------------------------------------------- */

struct trace_reader *trace_reader_new(const char *path)
{
    struct trace_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return NULL;
    reader->path = strdup(path);
    reader->check.symbols = symbols_new();
    if (reader->path && reader->check.symbols)
        return reader;
    trace_reader_free(reader);
    return NULL;
}

static void forget_names(struct trace_reader *reader)
{
    struct symbols *symbols = reader->check.symbols;
    check_names_free(&reader->check);
    recording_free(reader->check.rec);
    reader->check = (struct check){.symbols = symbols};
}

void trace_reader_free(struct trace_reader *reader)
{
    if (!reader)
        return;
    forget_names(reader);
    symbols_free(reader->check.symbols);
    free(reader->path);
    free(reader);
}

/* Another process may have begun a trace under that name. */
static bool is_same_trace(const struct trace_header *a, const struct trace_header *b)
{
    return a->pid == b->pid && a->started == b->started && a->base == b->base && a->root == b->root;
}

/* Of the last reading nothing stays in the recording but names. */
static bool begin(struct trace_reader *reader, const struct trace_header *header)
{
    if (reader->complained || !is_same_trace(&reader->header, header))
        forget_names(reader);
    reader->complained = false;
    reader->header = *header;
    if (!reader->check.rec && !(reader->check.rec = recording_new()))
        return false;
    reader->check.rec->usages_count = reader->check.rec->notes_count = 0;
    return tell_header(header, reader->check.rec);
}

const struct recording *trace_reader_read(struct trace_reader *reader, enum usage_by by, uint32_t named,
                                          char *error, size_t error_size)
{
    struct trace_header header;
    struct memory_source source;
    enum trace_status status = source_open_trace(reader->path, &header, &source);
    if (status != TRACE_READABLE) {
        refuse(reader->path, status, error, error_size);
        return NULL;
    }
    struct wire_target target = {.pid = header.pid, .record_root = header.root};
    struct check_request request = {.source = &source, .target = &target};
    char why[256] = "out of memory";
    bool done = begin(reader, &header);
    reader->check.request = &request;
    done = done && read_tables(reader, by, named, why, sizeof(why));
    reader->check.request = NULL;
    if (!done) {
        snprintf(error, error_size, "%s: %s", reader->path, why);
        reader->complained = true;
    }
    source.close(source.ctx);
    return done ? reader->check.rec : NULL;
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
    struct packer *packer = fd >= 0 ? packer_new(fd) : NULL;
    bool done = packer != NULL;
    while (done && left > 0) {
        size_t got = source.read(source.ctx, at, bite, left < sizeof(bite) ? (size_t)left : sizeof(bite));
        done = got > 0 && packer_add(packer, bite, got);
        at += got;
        left -= got;
    }
    if (packer && !packer_end(packer))
        done = false;
    if (fd >= 0 && close(fd) != 0)
        done = false;
    source.close(source.ctx);
    return done;
}
