/* SPDX-License-Identifier: MIT */
/*
 * The text report, for a person at the end of a long day: the verdict first and last, findings largest first,
 * then what the figures are and what to type next. What differs from run to run without meaning (addresses,
 * process ids, times) is left out unless addresses are asked for.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tracer/report/finding.h"
#include "tracer/report/order.h"
#include "tracer/report/print.h"
#include "tracer/report/report.h"

#define VERDICT_SIZE 512

static void print_verdict(const struct recording *rec, const struct report_options *options, FILE *out)
{
    static const enum style styles[] = {
        [REC_NOT_CHECKED] = STYLE_YELLOW, [REC_CLEAN] = STYLE_GREEN, [REC_LEAKS] = STYLE_RED};
    char line[VERDICT_SIZE];
    report_verdict_line(rec, line, sizeof line);
    uint32_t verdict = rec->meta.verdict <= REC_LEAKS ? rec->meta.verdict : REC_NOT_CHECKED;
    struct totals t = order_totals(rec);
    if (verdict == REC_LEAKS && t.lost_blocks + t.cycle_blocks == 0)
        verdict = REC_CLEAN; /* all suppressed */
    fprintf(out, "heaptally: %s", print_style(options->colour, styles[verdict]));
    print_clean(out, line, 0);
    fprintf(out, "%s\n", print_style(options->colour, STYLE_PLAIN));
}

/* --- what ran ------------------------------------------------------------------------------------------- */

static void print_when(const struct rec_meta *m, FILE *out)
{
    if (strcmp(m->reason, "signal") == 0 || strcmp(m->reason, "gone") == 0)
        fprintf(out, "%s %" PRId32, m->reason[0] == 's' ? "at signal" : "ended by signal", m->status);
    else if (strcmp(m->reason, "snapshot") == 0)
        fputs("in a snapshot, while it ran", out);
    else {
        fputs("at ", out);
        print_clean(out, m->reason, 40);
        if (strcmp(m->reason, "exec") != 0)
            fprintf(out, ", exit code %" PRId32, m->status);
    }
}

static void print_run(const struct recording *rec, const struct report_options *options, FILE *out)
{
    const struct rec_meta *m = &rec->meta;
    fputs("  program   ", out);
    print_clean(out, m->command[0] != '\0' ? m->command : m->program, 200);
    if (m->generation > 0)
        fprintf(out, " (a child: %" PRIu32 " fork%s down)", m->generation, m->generation == 1 ? "" : "s");
    if (options->addresses)
        fprintf(out, ", pid %" PRId32, m->pid);
    fputc('\n', out);
    if (m->reason[0] != '\0') {
        fprintf(out, "  %-10s", m->verdict == REC_NOT_CHECKED ? "ended" : "checked");
        print_when(m, out);
        if (m->threads > 0 && m->verdict != REC_NOT_CHECKED) {
            fputs("; ", out);
            print_count(out, m->threads, "thread");
        }
        fputc('\n', out);
    }
    if (options->addresses && m->verdict != REC_NOT_CHECKED)
        fprintf(out, "  time      stood still for %s us, checked in %s us, read by %s\n",
                print_digits(m->freeze_us).text, print_digits(m->check_us).text, m->memory_source);
    fputc('\n', out);
}

/* --- findings ------------------------------------------------------------------------------------------- */

static uint32_t print_groups(const struct recording *rec, const struct report_options *options,
                             const uint32_t *groups, uint32_t count, uint32_t number, FILE *out)
{
    uint32_t shown = options->max_groups != 0 && options->max_groups < count ? options->max_groups : count;
    for (uint32_t i = 0; i < shown; i++)
        finding_print(rec, options, groups[i], number + i, out);
    if (shown == count)
        return number + shown;
    uint64_t blocks = 0, bytes = 0;
    for (uint32_t i = shown; i < count; i++) {
        const struct rec_group *g = &rec->groups[groups[i]];
        blocks += g->blocks + g->indirect_blocks;
        bytes += g->bytes + g->indirect_bytes;
    }
    fputs("... and ", out);
    print_count(out, count - shown, "smaller finding");
    fputs(": ", out);
    print_count(out, blocks, "block");
    fputs(", ", out);
    print_count(out, bytes, "byte");
    fputs(" (--groups=0 prints all)\n\n", out);
    return number + shown;
}

static bool print_findings(const struct recording *rec, const struct report_options *options, FILE *out)
{
    struct order order;
    if (!order_groups(rec, &order))
        return false;
    const uint32_t *at = order.groups;
    uint32_t number = print_groups(rec, options, at, order.findings, 1, out);
    at += order.findings;
    if (options->show_possible)
        number = print_groups(rec, options, at, order.possible, number, out);
    at += order.possible;
    if (options->show_suppressed)
        print_groups(rec, options, at, order.suppressed, number, out);
    order_free(&order);
    return true;
}

/* --- figures -------------------------------------------------------------------------------------------- */

static void print_table(const struct rec_meta *m, FILE *out)
{
    static const char *const meaning[REC_CLASSES] = {
        "a root leads to it",
        "only an interior pointer or a doubtful root leads to it",
        "nothing refers to it",
        "blocks that only keep each other",
        "held only by lost blocks or cycles",
    };
    fprintf(out, "  %-10s %14s %18s\n", "class", "blocks", "bytes");
    for (uint32_t c = 0; c < REC_CLASSES; c++)
        fprintf(out, "  %-10s %14s %18s   %s\n", rec_class_name(c), print_digits(m->class_blocks[c]).text,
                print_digits(m->class_bytes[c]).text, meaning[c]);
    if (m->inherited_blocks > 0)
        fprintf(out,
                "  %-10s %14s %18s   unreachable here, but allocated before the fork: not counted above\n",
                "inherited", print_digits(m->inherited_blocks).text, print_digits(m->inherited_bytes).text);
    struct digits allocations = print_digits(m->allocations);
    fprintf(out, "  %s allocations, %s frees, %s references looked at\n", allocations.text,
            print_digits(m->frees).text, print_digits(m->references).text);
}

static void print_footer(const struct recording *rec, FILE *out)
{
    const struct rec_meta *m = &rec->meta;
    struct totals t = order_totals(rec);
    if (t.suppressed_groups > 0) {
        fputs("  suppressed: ", out);
        print_count(out, t.suppressed_groups, "finding");
        fputs(", ", out);
        print_count(out, t.suppressed_blocks, "block");
        fputs(", ", out);
        print_count(out, t.suppressed_bytes, "byte");
        fputc('\n', out);
    }
    if (m->unrecorded > 0) {
        fputs("  note: ", out);
        print_count(out, m->unrecorded, "allocation");
        fprintf(out, " ha%s no stack: the recorder was busy in the same thread\n",
                m->unrecorded == 1 ? "s" : "ve");
    }
    if (m->unparked_threads > 0) {
        fputs("  note: ", out);
        print_count(out, m->unparked_threads, "thread");
        fputs(" could not be stopped; every word of such a stack counts as a reference\n", out);
    }
    for (uint32_t i = 0; i < rec->notes_count; i++) {
        fputs("  note: ", out);
        print_clean(out, rec->notes[i], 0);
        fputc('\n', out);
    }
}

/* A file name as a shell takes it. */
static void print_quoted(const char *path, FILE *out)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:@%";
    if (path[0] != '\0' && path[0] != '-' && path[strspn(path, safe)] == '\0') {
        fputs(path, out);
        return;
    }
    if (path[0] == '-')
        fputs("./", out);
    fputc('\'', out);
    for (const char *c = path; *c != '\0';) {
        size_t length = print_character_length(c);
        if (*c == '\'')
            fputs("'\\''", out);
        else if (length == 0)
            fputc('?', out);
        else
            fwrite(c, 1, length, out);
        c += length == 0 ? 1 : length;
    }
    fputc('\'', out);
}

static void print_command(const char *option, const char *path, const char *why, FILE *out)
{
    fprintf(out, "next: heaptally report %s", option);
    print_quoted(path, out);
    fprintf(out, "   %s\n", why);
}

static void print_next(const struct recording *rec, const struct report_options *options, FILE *out)
{
    const char *path = options->path;
    if (path == NULL || rec->meta.verdict == REC_NOT_CHECKED)
        return;
    struct totals t = order_totals(rec);
    if (!options->show_possible && rec->meta.class_blocks[REC_POSSIBLE] > 0)
        print_command("--possible ", path, "shows possibly lost blocks and who holds them", out);
    if (!options->show_suppressed && t.suppressed_groups > 0)
        print_command("--show-suppressed ", path, "shows the suppressed findings", out);
    if (options->max_groups != 0 && rec->groups_count > options->max_groups)
        print_command("--groups=0 ", path, "shows every finding", out);
    print_command("--json ", path, "for programs", out);
}

bool report_text(const struct recording *rec, const struct report_options *options, FILE *out)
{
    print_verdict(rec, options, out);
    print_run(rec, options, out);
    if (rec->meta.verdict != REC_NOT_CHECKED) {
        if (!print_findings(rec, options, out)) {
            errno = ENOMEM;
            return false;
        }
        print_table(&rec->meta, out);
    } else {
        fputs("  THIS RUN WAS NOT CHECKED. Whether it leaks is not known.\n", out);
    }
    print_footer(rec, out);
    print_next(rec, options, out);
    print_verdict(rec, options, out);
    return fflush(out) == 0 && !ferror(out);
}
