/* SPDX-License-Identifier: MIT */
/* The one line that says it all, first and last in every report. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "tracer/report/order.h"
#include "tracer/report/print.h"
#include "tracer/report/report.h"

struct line {
    char *buf;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void append(struct line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = l->used + 1 < l->size ? vsnprintf(l->buf + l->used, l->size - l->used, format, args) : 0;
    va_end(args);
    if (n > 0)
        l->used += (size_t)n < l->size - l->used ? (size_t)n : l->size - l->used - 1;
}

static void append_count(struct line *l, const char *before, uint64_t n, const char *noun, uint64_t bytes)
{
    append(l, "%s%s %s%s (%s byte%s)", before, print_digits(n).text, noun, n == 1 ? "" : "s",
           print_digits(bytes).text, bytes == 1 ? "" : "s");
}

static void append_leaks(struct line *l, const struct totals *t)
{
    uint64_t leaks = t->lost_blocks + t->cycles;
    append(l, "%s leak%s: ", print_digits(leaks).text, leaks == 1 ? "" : "s");
    const char *before = "";
    if (t->lost_blocks > 0) {
        append_count(l, before, t->lost_blocks, "lost block", t->lost_bytes);
        before = ", ";
    }
    if (t->cycles > 0) {
        append(l, "%s%s cycle%s", before, print_digits(t->cycles).text, t->cycles == 1 ? "" : "s");
        append_count(l, " of ", t->cycle_blocks, "block", t->cycle_bytes);
    }
    if (t->held_blocks > 0)
        append_count(l, ", which hold ", t->held_blocks, "more block", t->held_bytes);
}

static void append_clean(struct line *l, const struct rec_meta *m, const struct totals *t)
{
    uint64_t live = m->class_blocks[REC_REACHABLE] + m->class_blocks[REC_POSSIBLE];
    append(l, t->suppressed_groups > 0 ? "no leaks but suppressed ones" : "no leaks");
    if (live == 0) {
        append(l, ": no block is left");
        return;
    }
    append(l, ": %s block%s, ", print_digits(live).text, live == 1 ? "" : "s");
    if (m->class_blocks[REC_POSSIBLE] == 0)
        append(l, live == 1 ? "reachable" : "all reachable");
    else
        append(l, "%s reachable, %s possibly lost", print_digits(m->class_blocks[REC_REACHABLE]).text,
               print_digits(m->class_blocks[REC_POSSIBLE]).text);
}

void report_verdict_line(const struct recording *rec, char *buf, size_t size)
{
    if (size == 0)
        return;
    buf[0] = '\0';
    struct line l = {buf, size, 0};
    const struct rec_meta *m = &rec->meta;
    struct totals t = order_totals(rec);
    if (m->verdict == REC_NOT_CHECKED)
        append(&l, "not checked: %s", m->why_not[0] != '\0' ? m->why_not : "no reason was recorded");
    else if (t.lost_blocks + t.cycles + t.cycle_blocks > 0)
        append_leaks(&l, &t);
    else
        append_clean(&l, m, &t);
    if (m->verdict != REC_NOT_CHECKED && t.suppressed_groups > 0)
        append_count(&l, "; suppressed: ", t.suppressed_blocks, "block", t.suppressed_bytes);
}
