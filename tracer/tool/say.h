/* SPDX-License-Identifier: MIT */
/*
 * say.h - lines for the person, on stderr, each "heaptally: ..." and each one write.
 *
 * The traced program shares our stderr: a line that is written at once is never torn by it. Control
 * characters are shown as '?', since program names and file names come from elsewhere and the terminal obeys
 * what it is sent. Nothing here fails: whoever closed stderr does not want to hear.
 */
#ifndef HEAPTALLY_SAY_H
#define HEAPTALLY_SAY_H

#include <stdbool.h>
#include <stdint.h>

/* One line; the newline is added. Keeps errno. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* May this descriptor be sent colours? A terminal, NO_COLOR not set, and not a dumb one. */
bool say_colour_allowed(int fd);

/*
 * A progress line on a terminal, from the second second on, rewritten in place and wiped at the end.
 *
 *    started --1 s--> shown --every 0.1 s--> shown ... --say_progress_end--> wiped
 */
struct progress {
    bool terminal; /* stderr is one: otherwise nothing is ever shown */
    bool shown;
    uint64_t start_ms, last_ms;
    const char *what; /* the program's name */
};
void say_progress_start(struct progress *p, bool wanted, const char *what);
void say_progress(void *p, const char *phase, uint64_t done, uint64_t total);
void say_progress_end(struct progress *p);

/* CLOCK_MONOTONIC, and the calendar, in ms. */
uint64_t say_monotonic_ms(void);
uint64_t say_calendar_ms(void);

#endif
