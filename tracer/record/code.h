/* SPDX-License-Identifier: MIT */
/*
 * code.h - which loaded object a code address lies in, without a lock.
 *
 * _dl_find_object (glibc 2.35) is wait-free and async-signal-safe, and knows every object of every namespace,
 * the vdso included. dl_iterate_phdr would take the loader's lock inside malloc: the classic deadlock with a
 * dlopen in another thread.
 */
#ifndef HEAPTALLY_CODE_H
#define HEAPTALLY_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct code_object {
    uint64_t start, end;   /* mapped range; of a program whose segments do not adjoin, the segment */
    uint64_t bias;         /* load bias */
    uint64_t eh_frame_hdr; /* 0: none */
    uint64_t tables_start, tables_end; /* the mapped range that it lies in, with .eh_frame */
    const void *link_map;              /* identity, together with the range */
    const char *path;                  /* l_name; "" for the main program */
};

bool code_find(uint64_t address, struct code_object *ret);

/* The object's build id, copied; the length, 0 when it has none. The object must be loaded (its frames are on
 * the stack). */
uint32_t code_build_id(const struct code_object *object, uint8_t *id, uint32_t max);

#endif
