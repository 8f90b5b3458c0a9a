/* SPDX-License-Identifier: MIT */
/*
 * recording_strings.h - the strings of one recording, private to tracer/format.
 *
 *    slots (open addressing)  -->  chunk | chunk | chunk     bytes never move: pointers into them stay good
 *
 * Function and file names repeat thousands of times in a recording; each is kept once. A reader hands over
 * its whole string section as one chunk instead of copying string by string; those are not entered into the
 * slots, so that opening a file hashes nothing (a string added later may then be there twice, which costs
 * memory and nothing else).
 */
#ifndef HEAPTALLY_RECORDING_STRINGS_H
#define HEAPTALLY_RECORDING_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

struct rec_strings;

struct rec_strings *rec_strings_new(void); /* NULL when memory is out */
void rec_strings_free(struct rec_strings *strings);

/* The one copy of `text`, cut at REC_STRING_MAX; NULL text is "". NULL when memory is out. */
char *rec_strings_intern(struct rec_strings *strings, const char *text);

/* Takes over a malloc'd area that holds strings. False when memory is out: it stays the caller's. */
bool rec_strings_adopt(struct rec_strings *strings, char *bytes);

#endif
