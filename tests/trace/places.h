/* SPDX-License-Identifier: MIT */
/*
 * places.h - eight functions that allocate, whose names a report shows, and a way to each of them by as many stacks as are
 * wanted. Who includes it says what a block of a place takes: size_t place_size(unsigned place).
 */
#ifndef TESTS_TRACE_PLACES_H
#define TESTS_TRACE_PLACES_H

#include <stdlib.h>

#define PLACES    8u
#define BARRIER() __asm__ volatile("" ::: "memory")

static size_t place_size(unsigned place);

#define PLACE(n)                                                                                             \
    static __attribute__((noinline)) void *place_##n(void)                                                   \
    {                                                                                                        \
        void *p = malloc(place_size(n));                                                                     \
        BARRIER();                                                                                           \
        return p;                                                                                            \
    }
PLACE(0)
PLACE(1)
PLACE(2)
PLACE(3)
PLACE(4)
PLACE(5)
PLACE(6)
PLACE(7)

static void *(*const places[PLACES])(void) = {place_0, place_1, place_2, place_3,
                                              place_4, place_5, place_6, place_7};

/* One stack of `end`, a power of two: `way` says at each step by whom the next one is called. */
static __attribute__((noinline, unused)) void *deeper(unsigned way, unsigned end, unsigned place)
{
    void *p;

    if (end <= 1) {
        p = places[place]();
    } else if (way & 1) {
        p = deeper(way >> 1, end >> 1, place);
        __asm__ volatile("nop"); /* else the two calls would be made into one */
    } else {
        p = deeper(way >> 1, end >> 1, place);
    }
    BARRIER();
    return p;
}

#endif
