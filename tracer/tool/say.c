/* SPDX-License-Identifier: MIT */
#include "tracer/tool/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4600 /* a path and some words */

static void write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

void say(const char *format, ...)
{
    static const char head[] = "heaptally: ";
    char line[LINE_MAX_BYTES];
    int saved = errno;
    va_list args;

    memcpy(line, head, sizeof(head));
    size_t room = sizeof(line) - sizeof(head);
    va_start(args, format);
    int n = vsnprintf(line + sizeof(head) - 1, room, format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    size_t length = sizeof(head) - 1 + ((size_t)n < room ? (size_t)n : room - 1);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[length++] = '\n';
    write_all(line, length);
    errno = saved;
}

bool say_colour_allowed(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t say_monotonic_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

uint64_t say_calendar_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

void say_progress_start(struct progress *p, bool wanted, const char *what)
{
    *p = (struct progress){.terminal = wanted && isatty(STDERR_FILENO), .what = what};
    p->start_ms = p->last_ms = say_monotonic_ms();
}

void say_progress(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
    struct progress *p = ctx;
    uint64_t now = say_monotonic_ms();
    char line[256];

    if (!p->terminal || now - p->start_ms < 1000 || (p->shown && now - p->last_ms < 100))
        return;
    p->shown = true;
    p->last_ms = now;
    unsigned percent = total ? (unsigned)(100.0 * (double)done / (double)total) : 0;
    int n = snprintf(line, sizeof(line), "\r\033[Kheaptally: checking %.40s: %.40s", p->what, phase);
    if (n > 0 && total && percent <= 100)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " %u %%", percent);
    if (n > 0)
        write_all(line, (size_t)n);
}

void say_progress_end(struct progress *p)
{
    if (p->shown)
        write_all("\r\033[K", 4);
    p->shown = false;
}
