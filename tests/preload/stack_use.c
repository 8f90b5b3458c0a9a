/* SPDX-License-Identifier: MIT */
/* How much of its caller's stack a malloc and a free take, of which the stack is seen for the first time. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "expect.h"

#define STACK    ((size_t)256 << 10)
#define MOST     2048 /* with the capture; 1,576 were seen */
#define PAINT    0xa5
#define NOINLINE __attribute__((noinline))

static unsigned char *stack;
static void *volatile block;

/* From the stack's low end to here, but for what this function needs itself. */
static NOINLINE void paint(void)
{
    volatile unsigned char *end = (unsigned char *)__builtin_frame_address(0) - 64;
    for (volatile unsigned char *p = stack; p < end; p++)
        *p = PAINT;
}

static NOINLINE size_t painted_over(void)
{
    unsigned char *p = stack, *here = __builtin_frame_address(0);
    while (p < here && *p == PAINT)
        p++;
    return (size_t)(here - p);
}

static NOINLINE void nothing(void)
{
    __asm__ volatile("" ::: "memory");
}

/* Frames of their own, some with a frame pointer's rule and some without. */
#define DEPTH(name, inner)                                                                                   \
    static NOINLINE void name(void)                                                                          \
    {                                                                                                        \
        volatile char room[24];                                                                              \
        room[0] = 1;                                                                                         \
        inner;                                                                                               \
        (void)room[0];                                                                                       \
    }
DEPTH(first_malloc, block = malloc(40))
DEPTH(second_malloc, first_malloc())
DEPTH(third_malloc, second_malloc())
DEPTH(first_free, free(block))
DEPTH(second_free, first_free())
DEPTH(third_free, second_free())
DEPTH(large_malloc, block = malloc(300))
DEPTH(large_free, free(block))

static void expect_little(void (*call)(void), size_t without)
{
    paint();
    call();
    size_t used = painted_over();
    if (used > without + MOST)
        fprintf(stderr, "%zu bytes of stack, %zu without\n", used, without);
    EXPECT(used <= without + MOST);
}

static void *run(void *unused)
{
    block = malloc(40); /* the thread's own things are made, and the loader has bound the names */
    free(block);
    paint();
    nothing();
    size_t without = painted_over();
    expect_little(third_malloc, without);
    expect_little(third_free, without);
    expect_little(large_malloc, without);
    expect_little(large_free, without);
    for (int i = 0; i < 200; i++)
        expect_little(i % 2 ? third_free : third_malloc, without);
    return unused;
}

int main(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(stack != MAP_FAILED);
    pthread_attr_init(&attributes);
    EXPECT(pthread_attr_setstack(&attributes, stack, STACK) == 0);
    EXPECT(pthread_create(&thread, &attributes, run, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    return expect_end();
}
