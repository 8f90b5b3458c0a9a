/* SPDX-License-Identifier: MIT */
/*
 * cmd_top.c - `heaptally top -p PID`: what a running program's stacks allocate, from its trace, once a second.
 *
 *    /proc/PID/maps --> the trace it has mapped --> trace_reader_read() --> rows, and what came since the last time
 *                                                     ^                    |-- ncurses, in a terminal
 *                                                     '----- a second -----'-- lines, with --batch=N
 *
 * The program is not stopped, not slowed, and not told: the trace is a file, and is read as one.
 */
#include <curses.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tracer/report/print.h"
#include "tracer/report/stack.h"
#include "tracer/tool/commands.h"
#include "tracer/tool/exit_codes.h"
#include "tracer/tool/procfs.h"
#include "tracer/tool/say.h"
#include "tracer/tool/trace_read.h"

#define ROWS_MOST 200u
#define HEAD_ROWS 4

struct top {
    const struct tool_options *options;
    char path[4200];
    enum usage_by by;
    struct trace_reader *reader;
    const struct recording *now;
    /* The reading before: at first there is none. */
    struct rec_usage *before;
    uint32_t before_count;
    uint64_t before_allocations, before_frees;
    double seconds; /* between the two */
    struct timespec read_at;
};

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* A line of maps: is it the start of a trace? By its path in the program's own view of the file system. */
static bool line_is_trace(int pid, const char *line, char *ret, size_t size)
{
    uint64_t start;
    char mode[5];
    int at = 0;
    if (sscanf(line, "%" SCNx64 "-%*x %4s %*x %*s %*u %n", &start, mode, &at) != 2 || at == 0 ||
        mode[3] != 's' || line[at] != '/')
        return false;
    snprintf(ret, size, "/proc/%d/root%.*s", pid, (int)strcspn(line + at, "\n"), line + at);
    if (trace_base(ret) == start)
        return true;
    ret[strcspn(ret, "\n")] = '\0';
    return false;
}

static bool find_trace(int pid, char *ret, size_t size)
{
    char name[32], line[4400];
    snprintf(name, sizeof(name), "/proc/%d/maps", pid);
    FILE *maps = fopen(name, "re");
    bool found = false;
    while (maps && !found && fgets(line, sizeof(line), maps))
        found = line_is_trace(pid, line, ret, size);
    if (!maps)
        say("there is no process %d that may be looked at: %s", pid, strerror(errno));
    else if (!found)
        say("process %d has no trace: run it with 'heaptally run', or with HEAPTALLY=record=1:trace=PATH",
            pid);
    if (maps)
        fclose(maps);
    return found;
}

/* --- figures ------------------------------------------------------------------------------------------------------- */

static bool keep_before(struct top *top)
{
    free(top->before);
    top->before = calloc((size_t)top->now->usages_count + 1, sizeof(*top->before));
    if (!top->before)
        return false;
    if (top->now->usages_count)
        memcpy(top->before, top->now->usages, top->now->usages_count * sizeof(*top->before));
    top->before_count = top->now->usages_count;
    top->before_allocations = top->now->meta.allocations;
    top->before_frees = top->now->meta.frees;
    return true;
}

static bool read_again(struct top *top)
{
    struct timespec at;
    char error[4500];
    if (top->now && !keep_before(top))
        return false;
    top->now = trace_reader_read(top->reader, top->by, ROWS_MOST, error, sizeof(error));
    if (!top->now)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &at);
    top->seconds =
        (double)(at.tv_sec - top->read_at.tv_sec) + 1e-9 * (double)(at.tv_nsec - top->read_at.tv_nsec);
    top->read_at = at;
    return true;
}

/* By how much it grew a second; nobody knows that the first time. */
static uint64_t rate(const struct top *top, uint64_t now, uint64_t before)
{
    if (!top->before || top->seconds <= 0 || now < before)
        return 0;
    return (uint64_t)((double)(now - before) / top->seconds + 0.5);
}

static const struct rec_usage *same_before(const struct top *top, uint32_t number)
{
    for (uint32_t i = 0; i < top->before_count; i++)
        if (top->before[i].number == number)
            return &top->before[i];
    return NULL;
}

static void write_stack(const struct recording *rec, uint32_t site, FILE *out)
{
    uint32_t first, end;
    stack_shown(rec, site, &first, &end);
    for (uint32_t i = first; i < end; i++) {
        fputs(i > first ? " < " : "", out);
        stack_print_name(rec, rec->frame_list[i], out);
    }
}

static const char *const by_texts[] = {"bytes not freed", "the most not freed at once", "allocations",
                                       "temporary allocations", "bytes allocated"};

/* The whole screen as lines; the caller cuts them. */
static void write_all(const struct top *top, uint32_t rows, FILE *out)
{
    const struct recording *rec = top->now;
    uint64_t bytes = 0, blocks = 0;
    for (uint32_t i = 0; i < rec->usages_count; i++) {
        bytes += usage_value(&rec->usages[i], USAGE_LIVE);
        blocks += rec->usages[i].allocations > rec->usages[i].frees
                      ? rec->usages[i].allocations - rec->usages[i].frees
                      : 0;
    }
    fprintf(out, "%s (pid %d), by %s\n", rec->meta.program, rec->meta.pid, by_texts[top->by]);
    fprintf(out, "not freed: %s bytes in %s blocks of %" PRIu32 " stacks; ", print_digits(bytes).text,
            print_digits(blocks).text, rec->usages_count);
    fprintf(out, "%s allocations and ",
            print_digits(rate(top, rec->meta.allocations, top->before_allocations)).text);
    fprintf(out, "%s frees a second\n", print_digits(rate(top, rec->meta.frees, top->before_frees)).text);
    fprintf(out, "%15s %11s %11s %11s %10s  %s\n", "NOT FREED", "BLOCKS", "MOST", "ALLOCS/S", "TEMPORARY",
            "STACK");
    for (uint32_t i = 0; i < rec->usages_count && i < rows && rec->usages[i].site != REC_NONE; i++) {
        const struct rec_usage *u = &rec->usages[i], *before = same_before(top, u->number);
        fprintf(out, "%15s ", print_digits(usage_value(u, USAGE_LIVE)).text);
        fprintf(out, "%11s ", print_digits(u->allocations > u->frees ? u->allocations - u->frees : 0).text);
        fprintf(out, "%11s ", print_digits(u->peak).text);
        fprintf(out, "%11s ", print_digits(rate(top, u->allocations, before ? before->allocations : 0)).text);
        fprintf(out, "%8" PRIu64 " %%  ", u->allocations ? u->temporary * 100 / u->allocations : 0);
        write_stack(rec, u->site, out);
        fputc('\n', out);
    }
}

/* --- the terminal -------------------------------------------------------------------------------------------------- */

static bool draw(const struct top *top)
{
    char *text = NULL, *rest = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return false;
    write_all(top, LINES > HEAD_ROWS ? (uint32_t)(LINES - HEAD_ROWS) : 1, out);
    if (fclose(out) != 0)
        return false;
    erase();
    int row = 0;
    for (char *line = strtok_r(text, "\n", &rest); line && row < LINES - 1;
         line = strtok_r(NULL, "\n", &rest), row++) {
        if (row == 2)
            attron(A_REVERSE);
        mvaddnstr(row, 0, line, COLS - 1);
        attroff(A_REVERSE);
    }
    mvaddnstr(LINES - 1, 0, "l: not freed  p: most at once  a: allocations  t: temporary  b: bytes  q: quit",
              COLS - 1);
    refresh();
    free(text);
    return true;
}

/* false: the person has seen enough. */
static bool wait_for_key(struct top *top)
{
    static const char keys[] = "lpatb";
    timeout((int)top->options->interval * 1000);
    int key = getch();
    const char *which = key > 0 && key < 128 ? strchr(keys, key) : NULL;
    if (which)
        top->by = (enum usage_by)(which - keys);
    return key != 'q' && key != 3;
}

static int show_in_terminal(struct top *top)
{
    bool gone = false;
    if (!initscr())
        return EXIT_TOOL_FAILED;
    noecho();
    cbreak();
    curs_set(0);
    do {
        gone = !read_again(top);
        if (!gone && !draw(top))
            break;
    } while (!gone && wait_for_key(top));
    endwin();
    if (gone)
        say("the program has ended: its trace is gone");
    return EXIT_OK;
}

static int show_lines(struct top *top)
{
    for (uint32_t i = 0; i < top->options->batch; i++) {
        if (i > 0)
            sleep(top->options->interval);
        if (!read_again(top)) {
            say("the program has ended: its trace is gone");
            return EXIT_OK;
        }
        write_all(top, top->options->max_groups == OPTIONS_UNSET ? 25 : top->options->max_groups, stdout);
        fputc('\n', stdout);
        if (fflush(stdout) != 0)
            return EXIT_TOOL_FAILED;
    }
    return EXIT_OK;
}

int cmd_top(const struct tool_options *options)
{
    struct top top = {.options = options, .by = (enum usage_by)options->by};
    int code = EXIT_TOOL_FAILED;
    if (!find_trace(options->pid, top.path, sizeof(top.path)))
        return code;
    if (options->batch == 0 && !isatty(STDOUT_FILENO)) {
        say("top needs a terminal; --batch=N prints N times and ends");
        return code;
    }
    top.reader = trace_reader_new(top.path);
    if (top.reader)
        code = options->batch ? show_lines(&top) : show_in_terminal(&top);
    trace_reader_free(top.reader);
    free(top.before);
    return code;
}
