/* SPDX-License-Identifier: MIT */
/* Has a RUNPATH of its own: opening libinner.so by its bare name works only when the loader sees this caller.
 */
#include <dlfcn.h>

void *open_inner(void);
void *open_inner(void)
{
    return dlopen("libinner.so", RTLD_NOW);
}
