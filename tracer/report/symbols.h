/* SPDX-License-Identifier: MIT */
/*
 * symbols.h - return addresses to functions, files, lines and inlined calls, by libdw, outside the target.
 *
 *    module (path, bias, build id) + ip  -->  rec_line, rec_line ... innermost inline first, demangled
 * (libiberty)
 *
 * Looks in the module itself, then in separate debug files (by build id under /usr/lib/debug/.build-id, by
 * .gnu_debuglink, through .gnu_debugaltlink), then in .symtab/.dynsym. A file whose build id differs from the
 * recorded one is not believed: the frame then has the module and offset only. Never fails on bad debug
 * information: less is said.
 */
#ifndef HEAPTALLY_SYMBOLS_H
#define HEAPTALLY_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/format/recording.h"

struct symbols; /* opaque; caches one Dwfl module a recorded module */

struct symbols *symbols_new(void);
void symbols_free(struct symbols *s);

/* Append the lines of `ip` to rec and fill frame->first_line, line_count. `ip` is a return address unless
 * exact: then the call is at ip - 1. `module` may be NULL (nothing known). false only when memory is out. */
bool symbols_resolve(struct symbols *s, struct recording *rec, const struct rec_module *module, uint64_t ip,
                     bool exact, struct rec_frame *frame);

/* The name of the data object that holds `addr` (for "global g_cache in libfoo.so"): symbol and offset. false
 * when not known. */
bool symbols_data_name(struct symbols *s, const struct rec_module *module, uint64_t addr, char *buf,
                       uint32_t size, uint64_t *ret_offset);

#endif
