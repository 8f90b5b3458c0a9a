/* SPDX-License-Identifier: MIT */
/*
 * leak.h - what the corpus programs share: the means that make a verdict certain.
 *
 *   main() ---> build()  OWN: a frame of its own; what it held in registers and on its stack is dead after it
 * returns
 *          ---> scrub()  the dead stack below main and the registers a call may clobber are overwritten
 *          ---> return   only what the program truly holds is left to be found
 *
 * A pointer that is to be lost is never returned to, nor kept in a variable of, a function that is live at
 * the end. A pointer that is to be held in one place only is handed there by an OWN function, and what is
 * left behind is scrubbed. The programs are built at -O2 without frame pointers and without sibling calls, so
 * that the stack is as it is written.
 */
#ifndef LEAK_H
#define LEAK_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Not inlined, not cloned, and its callers assume nothing about the registers it leaves alone. */
#define OWN __attribute__((noipa, unused))

/* Below the deepest the C library goes in malloc under a recorder, and small enough for every stack in the
 * corpus. */
#define SCRUB_BYTES 49152

/* The compiler may not know what p is any more, nor drop the call that made it. */
#define OPAQUE(p)                                                                                            \
    ({                                                                                                       \
        __typeof__(p) opaque_ = (p);                                                                         \
        __asm__ volatile("" : "+r"(opaque_) : : "memory");                                                   \
        opaque_;                                                                                             \
    })

OWN static void scrub_registers(void)
{
    __asm__ volatile(
        "xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\txor %%esi, %%esi\n\t"
        "xor %%edi, %%edi\n\txor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\t"
        "xor %%r11d, %%r11d\n\tpxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\t"
        "pxor %%xmm3, %%xmm3\n\tpxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\t"
        "pxor %%xmm7, %%xmm7"
        :
        :
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
          "xmm5", "xmm6", "xmm7", "memory");
}

OWN static void scrub(void)
{
    volatile unsigned char area[SCRUB_BYTES];

    for (size_t i = 0; i < sizeof(area); i++)
        area[i] = 0;
    scrub_registers();
}

#endif
