/* SPDX-License-Identifier: MIT */
/*
 * platform_stub.c - allocator/platform.h over the scheduler's memory: a kernel whose calls are one access each, and
 * locks that the scheduler knows. See scheduler.h.
 *
 * Address space is handed out in granules, lowest first, so that what one thread has just returned is what the next
 * one gets. Fresh memory is zeroed only where descriptors lie: no
 * scenario asks for zeroed blocks.
 */
#include "allocator/platform.h"

#include <string.h>

#include "tests/interleave/scheduler.h"

#define GRANULE  ((size_t)4 << 20)
#define GRANULES (SCHEDULER_MEMORY / GRANULE)
#define HEAD     ((size_t)64 << 10) /* zeroed when mapped: a chunk's head lies there */
#define SMALL    ((size_t)3 << 20)  /* metadata, from the first granule, never returned */

#define WHOLE ((size_t)32 << 10)

static unsigned char in_use[GRANULES];
static size_t small_used;
static uint64_t kernel; /* what every call is an access to */

#define HERE __builtin_return_address(0)

static void kernel_enter(const void *pc)
{
    scheduler_access(&kernel, sizeof kernel, ACCESS_WRITE, pc);
    scheduler_atomic_begin();
}

static void kernel_leave(void)
{
    scheduler_atomic_end();
}

static void *place_small(size_t size)
{
    void *p = scheduler_memory + small_used;
    if (small_used + size > GRANULE)
        return NULL;
    small_used += (size + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
    return p;
}

static void *place_granules(size_t count)
{
    for (size_t first = 1, run = 0; first + run < GRANULES;) {
        if (in_use[first + run]) {
            first += run + 1;
            run = 0;
        } else if (++run == count) {
            memset(in_use + first, 1, count);
            memset(scheduler_memory + first * GRANULE, 0, HEAD);
            return scheduler_memory + first * GRANULE;
        }
    }
    return NULL;
}

static size_t granules(size_t size)
{
    return (size + GRANULE - 1) / GRANULE;
}

void *platform_map_near(void *hint, size_t size, size_t alignment)
{
    (void)hint;
    kernel_enter(HERE);
    void *p = alignment < GRANULE && size < GRANULE ? place_small(size) : place_granules(granules(size));
    kernel_leave();
    return p;
}

void *platform_map(size_t size, size_t alignment)
{
    return platform_map_near(NULL, size, alignment);
}

static void unmap_granules(const void *p, size_t size)
{
    memset(in_use + (size_t)((const unsigned char *)p - scheduler_memory) / GRANULE, 0, granules(size));
}

bool platform_unmap(void *p, size_t size)
{
    kernel_enter(HERE);
    unmap_granules(p, size);
    kernel_leave();
    return true;
}

/* What was returned reads as zeros: a list that leads there is broken. Of large runs only the first words of each page,
 * where the blocks of the largest class begin. */
void platform_avoid_huge_pages(void *p, size_t size)
{
    (void)p;
    (void)size;
}

/* Nothing here has a file. */
void *platform_map_file(int fd, size_t size)
{
    (void)fd, (void)size;
    return NULL;
}

bool platform_purge(void *p, size_t size)
{
    size_t piece = size <= WHOLE ? size : 16, stride = size <= WHOLE ? size : PLATFORM_PAGE;
    for (size_t at = 0; at < size; at += stride) {
        scheduler_access((unsigned char *)p + at, piece, ACCESS_WRITE, HERE);
        scheduler_atomic_begin();
        memset((unsigned char *)p + at, 0, piece);
        scheduler_atomic_end();
    }
    return true;
}

bool platform_resize(void *p, size_t old_size, size_t new_size)
{
    (void)p;
    return granules(new_size) == granules(old_size);
}

bool platform_move(void *p, size_t old_size, void *target, size_t new_size)
{
    (void)target;
    (void)new_size;
    return platform_unmap(p, old_size);
}

void *platform_window(uint64_t random)
{
    (void)random;
    return NULL;
}

uint64_t platform_random(void)
{
    return 0x5bd1e9955bd1e995u;
}

/* Time stands still: ticks are called for by the scenarios. */
uint64_t platform_now_ms(void)
{
    return 1;
}

int platform_thread_id(void)
{
    return 1;
}

/* Nobody vanishes here. */
uint32_t platform_thread_claim(void)
{
    return 0;
}

bool platform_thread_is_gone(uint32_t claim)
{
    (void)claim;
    return false;
}

/* --- locks ------------------------------------------------------------------------------------------------------ */

static uint32_t my_word(void)
{
    return (uint32_t)scheduler_who() + 1;
}

void platform_lock(struct platform_lock *lock)
{
    scheduler_access(&lock->word, sizeof lock->word, ACCESS_LOCK, HERE);
    scheduler_atomic_begin();
    lock->word = my_word();
    scheduler_atomic_end();
}

bool platform_lock_is_mine(const struct platform_lock *lock)
{
    scheduler_atomic_begin();
    bool mine = lock->word == my_word();
    scheduler_atomic_end();
    return mine;
}

bool platform_try_lock(struct platform_lock *lock)
{
    scheduler_access(&lock->word, sizeof lock->word, ACCESS_WRITE, HERE);
    scheduler_atomic_begin();
    bool taken = lock->word == 0;
    if (taken)
        lock->word = my_word();
    scheduler_atomic_end();
    return taken;
}

void platform_unlock(struct platform_lock *lock)
{
    scheduler_access(&lock->word, sizeof lock->word, ACCESS_UNLOCK, HERE);
    scheduler_atomic_begin();
    lock->word = 0;
    scheduler_atomic_end();
}

void platform_lock_pass(struct platform_lock *lock)
{
    (void)lock; /* who waits here looks at every step */
}

void platform_lock_reset(struct platform_lock *lock)
{
    scheduler_access(&lock->word, sizeof lock->word, ACCESS_WRITE, HERE);
    scheduler_atomic_begin();
    lock->word = 0;
    scheduler_atomic_end();
}
