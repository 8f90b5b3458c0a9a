/* SPDX-License-Identifier: MIT */
/*
 * alloc_help.h - what the allocator's tests share: verify that fails the test, a walk of this very process,
 * random numbers that repeat, what the sanitizers cannot do.
 *
 * Every check test runs in a child of its own (CK_FORK), so each starts with a virgin allocator.
 */
#ifndef HEAPTALLY_ALLOC_HELP_H
#define HEAPTALLY_ALLOC_HELP_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocator/allocator.h"
#include "allocator/walk.h"

#if defined(__SANITIZE_ADDRESS__)
#define HELP_ASAN true
#else
#define HELP_ASAN false
#endif
#if defined(__SANITIZE_THREAD__)
#define HELP_TSAN true
#else
#define HELP_TSAN false
#endif

static inline void help_complain(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "  %s\n", line);
}

static inline void help_verify(void)
{
    ck_assert_uint_eq(alloc_verify(help_complain, NULL), 0);
}

/* xorshift64*: small, and the same everywhere. */
static inline uint64_t help_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static inline bool help_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
    (void)ctx;
    memcpy(buf, (const void *)(uintptr_t)addr, len);
    return true;
}

static const struct walk_source help_self = {help_read, NULL};

static inline bool help_count(void *ctx, const struct walk_block *block)
{
    (void)block;
    ++*(uint64_t *)ctx;
    return true;
}

/* Live blocks as the walker sees them. */
static inline uint64_t help_live(void)
{
    uint64_t count = 0;
    struct walk_visitor visitor = {.block = help_count, .complain = help_complain, .ctx = &count};
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)alloc_root(), &visitor), WALK_OK);
    return count;
}

/* Resident kilobytes of this process. */
static inline long help_rss_kb(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * 4;
}

static inline int help_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
