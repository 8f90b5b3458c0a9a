/* SPDX-License-Identifier: MIT */
/* Allocation before main: in .preinit_array, in constructors, in dlsym's failure; all freed later. */
#include <dlfcn.h>

#include "expect.h"

static void *early[3];

static void before_all(void)
{
    early[0] = malloc(100);
    memset(early[0], 1, 100);
}
__attribute__((section(".preinit_array"), used)) static void (*const before[])(void) = {before_all};

__attribute__((constructor(101))) static void first_constructor(void)
{
    early[1] = calloc(10, 10);
    EXPECT(dlsym(RTLD_DEFAULT, "no_such_name_anywhere") == NULL);
    EXPECT(dlerror() != NULL);
}

__attribute__((constructor)) static void last_constructor(void)
{
    early[2] = realloc(malloc(10), 100000);
}

__attribute__((destructor)) static void at_the_end(void)
{
    free(malloc(1000));
}

int main(void)
{
    for (int i = 0; i < 3; i++) {
        EXPECT(early[i] != NULL);
        early[i] = realloc(early[i], 5000);
        EXPECT(((char *)early[i])[0] == (i == 0) || i == 2);
        free(early[i]);
    }
    return expect_end();
}
