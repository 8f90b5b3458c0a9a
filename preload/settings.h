/* SPDX-License-Identifier: MIT */
/*
 * settings.h - HEAPTALLY=key=value:key=value, from one table.
 *
 *    environment text --> settings_parse() --> struct settings (preload.h)
 *                              |
 *                              '--> one warning line per unknown key or bad value
 *
 * The table's rows (settings.c) serve parsing, defaults, the help text and the tests. ':' ends a value,
 * always: there is no escape, so a socket's path must not contain one. An empty item ("a=1::b=2") is skipped.
 * A key that comes twice takes its last value. Nothing in the text can make the program fail: what is not
 * understood is told in one line and its default stays.
 *
 * Parser and help are pure: no environment, no memory, no output but through the callbacks.
 */
#ifndef HEAPTALLY_SETTINGS_H
#define HEAPTALLY_SETTINGS_H

#include "preload/line.h"
#include "preload/preload.h"

/* Takes a line without its newline; may change it (line_write() does). */
typedef void settings_sink(struct line *line);

void settings_defaults(struct settings *ret);

/* Apply `text` to *settings. */
void settings_parse(const char *text, struct settings *settings, settings_sink *warn);

/* The table, a line per setting. */
void settings_help(settings_sink *print);

/* What settings_get() answers. Written once, by the first call into the library. */
struct settings *settings_storage(void);

#endif
