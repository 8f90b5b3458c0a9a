/* SPDX-License-Identifier: MIT */
/* Opens a library that only its own RUNPATH leads to. */
#include <dlfcn.h>

void *open_inner(int mode);

void *open_inner(int mode)
{
    return dlopen("libtrap_inner.so", mode);
}
