/* SPDX-License-Identifier: MIT */
/* A program without C++ opens a plugin that has: its operators bind to the preloaded ones first. */
#include <dlfcn.h>

#include "expect.h"

int main(void)
{
    void *plugin = dlopen("./lib_pair.so", RTLD_NOW | RTLD_LOCAL);
    EXPECT(plugin != NULL);
    if (plugin)
        EXPECT(((int (*)(void))dlsym(plugin, "pair_works"))());
    return expect_end();
}
