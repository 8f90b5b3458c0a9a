/* SPDX-License-Identifier: MIT */
/*
 * plugin.c - one of the libraries that storm.c opens and closes. -DNUMBER=K names its functions, -DFRAME=N is the size of their
 * frames: the code of those that differ in these only is as long, so that a return address of one is one of the others, too,
 * with another frame behind it.
 *
 *   pK_leaf < pK_inner < pK_outer < ... < pK_outer < plugin_make      what is asked for
 *   pK_first < (the loader) < dlopen                                  while it is being opened
 *   pK_last < (the loader) < dlclose                                  while it is being closed
 */
#include <stdlib.h>
#include <string.h>

#include "storm.h"

#define JOIN2(a, b, c) a##b##c
#define JOIN(a, b, c)  JOIN2(a, b, c)
#define NAME(what)     JOIN(p, NUMBER, what)
#define OWN            static __attribute__((noipa))
#define BARRIER(p)     __asm__ volatile("" : "+r"(p) : : "memory")

/* More than the static reserve has: the loader allocates it for each thread that touches it. */
static __thread char touched[6000];

/* Only the frame is wanted. */
#define ROOM()                                                                                               \
    char room[FRAME];                                                                                        \
    __asm__ volatile("" : : "r"(room) : "memory")

OWN void *NAME(_leaf)(size_t size)
{
    ROOM();
    void *p = malloc(size);
    BARRIER(p);
    return p;
}

OWN void *NAME(_inner)(size_t size)
{
    ROOM();
    void *p = NAME(_leaf)(size);
    BARRIER(p);
    return p;
}

OWN void *NAME(_outer)(unsigned depth, size_t size)
{
    ROOM();
    void *p = depth > 0 ? NAME(_outer)(depth - 1, size) : NAME(_inner)(size);
    BARRIER(p);
    return p;
}

OWN void NAME(_touch)(void)
{
    touched[NUMBER] = 1;
}

OWN void NAME(_drop)(void *p)
{
    ROOM();
    free(p);
    __asm__ volatile("" : : : "memory");
}

void *plugin_make(unsigned depth, size_t size)
{
    void *p = NAME(_outer)(depth, size);
    BARRIER(p);
    return p;
}

void plugin_drop(void *p)
{
    NAME(_touch)();
    NAME(_drop)(p);
}

__attribute__((constructor)) static void NAME(_first)(void)
{
    void *p = malloc(40 + NUMBER);
    BARRIER(p);
    storm_keep(NUMBER, KIND_FIRST, p);
}

OWN void NAME(_scrap)(void)
{
    void *p = malloc(120);
    BARRIER(p);
    NAME(_drop)(p);
}

/* What is learnt here of this code is learnt when it is about to vanish. */
__attribute__((destructor)) static void NAME(_last)(void)
{
    void *p = malloc(80 + NUMBER);
    BARRIER(p);
    storm_keep(NUMBER, KIND_LAST, p);
    for (int i = 0; i < 3; i++)
        NAME(_scrap)();
}
