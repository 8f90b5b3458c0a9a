/* SPDX-License-Identifier: MIT */
/*
 * converters.c - two of the C library's converters by turns, each for so long that the other one is taken out of memory: so
 * they lie at one place, whose code is much alike. What they allocate is their own; use_UTF_16 and use_UTF_32 say whose.
 */
#include <iconv.h>
#include <stdio.h>

#define OWN __attribute__((noipa))

OWN static int use(const char *name)
{
    iconv_t converter = iconv_open(name, "UTF-8");

    return converter != (iconv_t)-1 && iconv_close(converter) == 0;
}

OWN static int use_UTF_16(void)
{
    return use("UTF-16") + 1;
}

OWN static int use_UTF_32(void)
{
    return use("UTF-32") + 1;
}

/* Ones that allocate nothing. */
OWN static void use_others(const char *name)
{
    for (int i = 0; i < 4; i++)
        (void)use(name);
}

int main(void)
{
    for (int turn = 0; turn < 5; turn++) {
        if (use_UTF_16() != 2 || use_UTF_32() != 2)
            puts("skip: this C library has no such converters");
        use_others(turn % 2 ? "ISO-8859-5" : "ISO-8859-6");
        (void)use_UTF_16();
        use_others("ISO-8859-5");
        (void)use_UTF_32();
        use_others("ISO-8859-6");
    }
    return 0;
}
