/* SPDX-License-Identifier: MIT */
/*
 * plugins/plugin.c - a library with a global that holds a block.
 */
#include <stdlib.h>

#include "../leak.h"

void *plugin_global;

void plugin_keep(void);

void plugin_keep(void)
{
    plugin_global = OPAQUE(calloc(1, 64));
    OPAQUE(&plugin_global);
}
