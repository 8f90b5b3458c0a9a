/* SPDX-License-Identifier: MIT */
#include "tracer/report/stack.h"

#include <inttypes.h>
#include <string.h>

#include "tracer/format/tables.h"
#include "tracer/report/print.h"

#define FUNCTION_COLUMNS 28   /* what most C names need; longer ones push their line to the right */
#define FUNCTION_MAX     120u /* C++ templates; the JSON has them whole */
#define LIBRARY_MAX      60u  /* of the C++ library's own insides only the beginning says something */
#define PLACE_COLUMNS    26

const char *stack_kind_name(uint32_t kind)
{
    static const char *const names[] = {
        [KIND_NONE] = "an unknown call",     [KIND_MALLOC] = "malloc",         [KIND_CALLOC] = "calloc",
        [KIND_REALLOC] = "realloc",          [KIND_ALIGNED] = "aligned_alloc", [KIND_NEW] = "operator new",
        [KIND_NEW_ARRAY] = "operator new[]",
    };
    return kind <= KIND_NEW_ARRAY ? names[kind] : names[KIND_NONE];
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_one_of(const char *name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static bool is_allocator_function(const char *name)
{
    static const char *const plain[] = {
        "malloc",        "calloc",         "realloc", "reallocarray",  "memalign", "valloc",
        "aligned_alloc", "posix_memalign", "pvalloc", "__libc_malloc", NULL};
    static const char *const plumbing[] = {"operator new(",
                                           "operator new[](",
                                           "std::allocator<",
                                           "std::__new_allocator<",
                                           "__gnu_cxx::new_allocator<",
                                           "std::allocator_traits<",
                                           "__gnu_cxx::__alloc_traits<",
                                           NULL};
    if (is_one_of(name, plain))
        return true;
    for (const char *const *p = plumbing; *p != NULL; p++)
        if (starts_with(name, *p))
            return true;
    return false;
}

static bool is_start_function(const char *name)
{
    static const char *const names[] = {
        "_start",  "__libc_start_main",      "__libc_start_call_main", "clone",    "clone3",
        "__clone", "__libc_start_main_impl", "start_thread",           "__clone3", NULL};
    /* A symbol version may follow the name. */
    return is_one_of(name, names) || starts_with(name, "__libc_start_main@");
}

static bool is_library_function(const char *name)
{
    return starts_with(name, "std::") || starts_with(name, "__gnu_cxx::");
}

static const struct rec_frame *frame_at(const struct recording *rec, const struct rec_site *s, uint32_t i)
{
    return &rec->frames[rec->frame_list[s->first_frame + i]];
}

static const char *module_of(const struct recording *rec, const struct rec_frame *f)
{
    return f->module == REC_NONE ? NULL : print_base_name(rec->modules[f->module].path);
}

/* All of a frame's lines must be plumbing: a program's function with an inlined allocator in it stays. */
static bool is_all(const struct recording *rec, const struct rec_frame *f, bool (*test)(const char *name))
{
    for (uint32_t i = 0; i < f->line_count; i++)
        if (!test(rec->lines[f->first_line + i].function))
            return false;
    return f->line_count > 0;
}

static bool is_inner_plumbing(const struct recording *rec, const struct rec_frame *f)
{
    const char *module = module_of(rec, f);
    return (module != NULL && starts_with(module, "libheaptally.so")) ||
           is_all(rec, f, is_allocator_function);
}

static bool is_main(const struct recording *rec, const struct rec_frame *f)
{
    return f->line_count > 0 && strcmp(rec->lines[f->first_line + f->line_count - 1].function, "main") == 0;
}

/* In a library without debug information what calls main has no name; but what is outside main is never the
 * program's. */
static void trim(const struct recording *rec, const struct rec_site *s, uint32_t *first, uint32_t *end)
{
    uint32_t inner = 0, outer = s->frame_count;
    while (inner < outer && is_inner_plumbing(rec, frame_at(rec, s, inner)))
        inner++;
    for (uint32_t i = inner; i < outer; i++)
        if (is_main(rec, frame_at(rec, s, i)))
            outer = i + 1;
    while (outer > inner && is_all(rec, frame_at(rec, s, outer - 1), is_start_function))
        outer--;
    *first = inner == outer ? 0 : inner;
    *end = inner == outer ? s->frame_count : outer;
}

static void pad(FILE *out, size_t used, size_t columns)
{
    fprintf(out, "%*s", used < columns ? (int)(columns - used) : 0, "");
}

static size_t print_place(const struct rec_line *l, FILE *out)
{
    if (l->file[0] == '\0')
        return print_clean(out, "(no line known)", 0);
    size_t used = print_clean(out, l->file, 0);
    char number[16];
    return used +
           (l->line == 0
                ? 0
                : print_clean(out, (snprintf(number, sizeof number, ":%" PRIu32, l->line), number), 0));
}

static void print_module(const struct recording *rec, const struct report_options *options,
                         const struct rec_frame *f, bool offset, FILE *out)
{
    fputs(print_style(options->colour, STYLE_DIM), out);
    fputc('[', out);
    const char *module = module_of(rec, f);
    print_clean(out, module == NULL || module[0] == '\0' ? "no module" : module, 0);
    if (module != NULL && offset)
        fprintf(out, "+0x%" PRIx64, f->ip - rec->modules[f->module].bias);
    if (f->module != REC_NONE && rec->modules[f->module].unloaded)
        fputs(", unloaded", out);
    fprintf(out, "]%s", print_style(options->colour, STYLE_PLAIN));
    if (options->addresses)
        fprintf(out, " 0x%" PRIx64, f->ip);
}

static void print_line(const struct recording *rec, const struct report_options *options,
                       const struct rec_frame *f, const struct rec_line *l, int indent, FILE *out)
{
    fprintf(out, "%*s", indent, "");
    bool library = is_library_function(l->function);
    fputs(print_style(options->colour, library ? STYLE_DIM : STYLE_BOLD), out);
    const char *name = l->function[0] == '\0' ? "(no name)" : l->function;
    size_t used = print_clean(out, name, library ? LIBRARY_MAX : FUNCTION_MAX);
    fputs(print_style(options->colour, STYLE_PLAIN), out);
    pad(out, used, FUNCTION_COLUMNS);
    fputs("  ", out);
    used = print_place(l, out);
    pad(out, used, PLACE_COLUMNS);
    fputs("  ", out);
    if (l->inlined)
        fputs("inlined", out);
    else
        print_module(rec, options, f, l->file[0] == '\0', out);
    fputc('\n', out);
}

/* A frame of which no line is known: the offset in its module is at least the same from run to run. */
static void print_bare(const struct recording *rec, const struct report_options *options,
                       const struct rec_frame *f, int indent, FILE *out)
{
    fprintf(out, "%*s%-*s  %-*s  ", indent, "", FUNCTION_COLUMNS, "(no name)", PLACE_COLUMNS,
            "(no debug information)");
    print_module(rec, options, f, true, out);
    fputc('\n', out);
}

static void print_frame(const struct recording *rec, const struct report_options *options,
                        const struct rec_frame *f, bool innermost, int indent, FILE *out)
{
    uint32_t skip = 0;
    if (innermost) /* an allocator inlined into the program's own function */
        while (skip + 1 < f->line_count && is_allocator_function(rec->lines[f->first_line + skip].function))
            skip++;
    for (uint32_t i = skip; i < f->line_count; i++)
        print_line(rec, options, f, &rec->lines[f->first_line + i], indent, out);
    if (f->line_count == 0)
        print_bare(rec, options, f, indent, out);
}

static const char *end_text(uint32_t end)
{
    switch (end) {
    case SITE_END_CUT:
        return "(outer frames beyond the depth limit were not kept)";
    case SITE_END_NO_INFO:
        return "(the stack ends here: the next frame has no unwind information)";
    case SITE_END_NO_STACK:
        return "(no stack could be taken here)";
    default:
        return NULL;
    }
}

void stack_print(const struct recording *rec, const struct report_options *options, uint32_t site, int indent,
                 FILE *out)
{
    if (site == REC_NONE) {
        fprintf(out, "%*s(no stack: allocated before recording began, or not sampled)\n", indent, "");
        return;
    }
    const struct rec_site *s = &rec->sites[site];
    uint32_t first, end;
    trim(rec, s, &first, &end);
    uint32_t limit = options->max_frames == 0 ? s->frame_count : options->max_frames;
    for (uint32_t i = first; i < end && i - first < limit; i++)
        print_frame(rec, options, frame_at(rec, s, i), i == first, indent, out);
    if (end - first > limit) {
        fprintf(out, "%*s(", indent, "");
        print_count(out, end - first - limit, "more frame");
        fputs(": --frames=0)\n", out);
    } else if (end == s->frame_count && end_text(s->end) != NULL) {
        fprintf(out, "%*s%s\n", indent, "", end_text(s->end));
    }
}

void stack_shown(const struct recording *rec, uint32_t site, uint32_t *ret_first, uint32_t *ret_end)
{
    const struct rec_site *s = &rec->sites[site];
    trim(rec, s, ret_first, ret_end);
    *ret_first += s->first_frame;
    *ret_end += s->first_frame;
}

void stack_print_name(const struct recording *rec, uint32_t frame, FILE *out)
{
    const struct rec_frame *f = &rec->frames[frame];
    const struct rec_line *last = f->line_count ? &rec->lines[f->first_line + f->line_count - 1] : NULL;
    const char *module = module_of(rec, f);
    if (last && last->function[0])
        print_clean(out, last->function, FUNCTION_MAX);
    else if (module && *module)
        fprintf(out, "[%s+0x%" PRIx64 "]", module, f->ip - rec->modules[f->module].bias);
    else
        fputs("(no name)", out);
}
