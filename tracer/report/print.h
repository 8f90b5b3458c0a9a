/* SPDX-License-Identifier: MIT */
/*
 * print.h - the small things every part of the text report needs; private to tracer/report.
 *
 *   numbers with separators, the same in every locale; nouns with their number; text from a file made
 * harmless
 *
 * Function and file names come out of other people's files. What a terminal could take for a command (control
 * characters, broken UTF-8) is printed as '?'.
 */
#ifndef HEAPTALLY_PRINT_H
#define HEAPTALLY_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A number with separators fits: 20 digits, 6 commas, the end. */
struct digits {
    char text[28];
};
struct digits print_digits(uint64_t value); /* 1234567 -> 1,234,567 */

/* "1 block", "3 blocks", "1,234 bytes" */
void print_count(FILE *out, uint64_t value, const char *singular);

/* How long ago, in the unit that a person would take: 90 s, 12 min, 47 h, 3 days. */
struct age {
    uint64_t value;
    const char *unit;
};
struct age print_age(uint64_t ms);

/* `limit` columns at most (0: all), then "..."; returns the columns used. */
size_t print_clean(FILE *out, const char *text, size_t limit);

/* Bytes of the printable UTF-8 character at `at`; 0: none. Never looks past the terminating NUL. */
size_t print_character_length(const char *at);

const char *print_base_name(const char *path); /* into path */

/* Styles, "" when colour is off. */
enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_RED, STYLE_GREEN, STYLE_YELLOW, STYLE_DIM };
const char *print_style(bool colour, enum style style);

#endif
