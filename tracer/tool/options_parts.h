/* SPDX-License-Identifier: MIT */
/*
 * options_parts.h - what the parsers of options.c and frag_options.c share. Internal to them.
 */
#ifndef HEAPTALLY_OPTIONS_PARTS_H
#define HEAPTALLY_OPTIONS_PARTS_H

#include "tracer/tool/options.h"

/* Each that answers false has said why. */
bool option_read_number(const char *option, const char *text, long low, long high, long *ret);
bool option_read_unsigned(const char *option, const char *text, uint32_t *ret);
bool option_read_pid(struct tool_options *o, const char *text);
bool option_read_by(struct tool_options *o, const char *text);
bool option_read_tree(struct tool_options *o, const char *text);
bool option_read_setting(struct tool_options *o, const char *text);

/* What a parser answers argp. */
error_t option_done(struct tool_options *o, bool ok);
error_t option_tell_unknown(const struct argp_state *state);
/* `heaptally run --help` asks for no program. */
error_t option_complain(struct tool_options *o, const char *line);

#endif
