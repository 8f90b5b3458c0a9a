/* SPDX-License-Identifier: MIT */
/* heaptally.h: the names are there under the preload, and the macros do nothing without it. */
#include "preload/heaptally.h"

#include "expect.h"

int main(void)
{
    static void *words[4];
    void *p = malloc(100);
    HEAPTALLY_IGNORE(p);
    HEAPTALLY_IGNORE(words);
    HEAPTALLY_DISABLE();
    void *q = malloc(100);
    q = realloc(q, 100000);
    HEAPTALLY_ENABLE();
    HEAPTALLY_ENABLE();
    for (int i = 0; i < 1000; i++)
        HEAPTALLY_ROOT(words, sizeof(words));
    for (int i = 0; i < 1001; i++)
        HEAPTALLY_NO_ROOT(words, sizeof(words));
    if (getenv("LD_PRELOAD"))
        EXPECT(__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() == 0);
    free(p);
    free(q);
    return expect_end();
}
