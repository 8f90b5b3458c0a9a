/* SPDX-License-Identifier: MIT */
/*
 * plugins/tls_plugin.c - a library with a thread variable too large for the static TLS reserve: it lives in a
 * block of the loader's.
 */
#include <stdlib.h>

#include "../leak.h"

static __thread void *slots[4096];

void plugin_keep(void);

void plugin_keep(void)
{
    slots[4000] = OPAQUE(calloc(1, 64));
    OPAQUE(&slots[4000]);
}
