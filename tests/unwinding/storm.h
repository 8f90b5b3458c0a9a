/* SPDX-License-Identifier: MIT */
/* storm.h - what storm.c and its plugins know of each other. */
#ifndef TESTS_UNWINDING_STORM_H
#define TESTS_UNWINDING_STORM_H

#include <stddef.h>

/* Which function allocated: pK_leaf, pK_first, pK_last. */
enum kind { KIND_LEAF, KIND_FIRST, KIND_LAST, KINDS };

/* storm.c's: a block that plugin `number` has allocated is kept, and counted. */
void storm_keep(unsigned number, enum kind kind, void *p);

void *plugin_make(unsigned depth, size_t size);
void plugin_drop(void *p);

#endif
