/* SPDX-License-Identifier: MIT */
/*
 * Every allocating name of the C library, with its rules for arguments and errno; exports.map lists the same
 * names and scripts/check-elf compares. What a name asks for is made into one of three calls: allocate,
 * reallocate, release (recorded.c); malloc, calloc and free try the inlined fast path first.
 *
 * The rules are glibc 2.36's where the standards leave a choice: realloc(p, 0) frees and answers NULL;
 * memalign and aligned_alloc round an alignment up to a power of two; posix_memalign refuses it and leaves
 * errno alone.
 */
#include "preload/face.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/fast.h"
#include "preload/foreign.h"
#include "preload/harden.h"

#define PAGE          4096u
#define ALIGN_DEFAULT 16u

/* The fast path inside the function itself, whatever the compiler thinks of its size, and all of it where a
 * program counter shows that (nested.h). */
#define FAST        __attribute__((flatten)) ALLOC_FAST
#define FAST_SELDOM __attribute__((flatten)) ALLOC_FAST_SELDOM

/* Second names. An alias of the assembler's: the compiler's own would warn of every attribute that malloc has
 * and the alias lacks. */
#define ALSO(name, target)                                                                                   \
    __asm__(".globl " #name "\n\t.set " #name ", " #target "\n\t.type " #name ", @function")

static __attribute__((noinline)) void *malloc_next(size_t size)
{
    if (__builtin_expect(face_state.plainly_recording, 0))
        return malloc_recorded(size);
    void *p = alloc_malloc_next(size);
    return __builtin_expect(p != NULL, 1) ? p : allocate(size, KIND_MALLOC, 0);
}

static inline void *face_malloc(size_t size)
{
    void *p = alloc_malloc_fast(size);
    return __builtin_expect(p != NULL, 1) ? p : malloc_next(size);
}

static __attribute__((noinline)) void free_other(void *p, uintptr_t entry)
{
    if (__builtin_expect(!alloc_free_remote(p, entry), 0))
        release(p, RELEASE_FREE);
}

/* All it calls it ends with: so it has nothing to save. */
static __attribute__((noinline)) void free_next(void *p, struct heap *heap)
{
    uintptr_t entry;
    if (__builtin_expect(heap == SENTINEL_HEAP, 0))
        (face_state.plainly_recording ? free_recorded(p) : release(p, RELEASE_FREE));
    else if (!alloc_free_span(heap, p, &entry))
        free_other(p, entry);
}

static inline void face_free(void *p)
{
    if (__builtin_expect(!alloc_free_fast(p), 0))
        free_next(p, alloc_heap);
}

static __attribute__((noinline)) void *calloc_next(size_t size)
{
    return face_state.plainly_recording ? calloc_recorded(size) : allocate(size, KIND_CALLOC, 0);
}

static inline void *face_calloc(size_t size)
{
    void *p = alloc_malloc_fast(size);
    return __builtin_expect(p != NULL, 1) ? memset(p, 0, size) : calloc_next(size);
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

EXPORT FAST void *malloc(size_t size)
{
    return face_malloc(size);
}

EXPORT FAST void free(void *p)
{
    face_free(p);
}

EXPORT FAST void *calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return no_memory();
    return face_calloc(total);
}

static __attribute__((noinline)) void *realloc_next(void *p, size_t size)
{
    return face_state.plainly_recording ? realloc_recorded(p, size) : reallocate(p, size);
}

static inline void *face_realloc(void *p, size_t size)
{
    if (!p)
        return face_malloc(size);
    if (size) {
        void *q = alloc_realloc_fast(p, size);
        return __builtin_expect(q != NULL, 1) ? q : realloc_next(p, size);
    }
    face_free(p);
    return NULL;
}

EXPORT FAST void *realloc(void *p, size_t size)
{
    return face_realloc(p, size);
}

EXPORT FAST_SELDOM void *reallocarray(void *p, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return no_memory();
    return face_realloc(p, total);
}

/* --- aligned ------------------------------------------------------------------------------------- */

static inline bool is_power_of_two(size_t n)
{
    return n && !(n & (n - 1));
}

static void *face_memalign(size_t alignment, size_t size)
{
    if (alignment <= ALIGN_DEFAULT)
        return allocate(size, KIND_ALIGNED, ALIGN_DEFAULT);
    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    if (!is_power_of_two(alignment))
        alignment = (size_t)1 << (64 - __builtin_clzl(alignment));
    void *p = alloc_aligned_next(alignment, size != 0 ? size : 1);
    return p != NULL ? p : allocate(size, KIND_ALIGNED, alignment);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return face_memalign(alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return face_memalign(alignment, size);
}

EXPORT int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *p = face_memalign(alignment, size);
    errno = saved;
    if (!p)
        return ENOMEM;
    *ret_block = p;
    return 0;
}

EXPORT void *valloc(size_t size)
{
    return face_memalign(PAGE, size);
}

EXPORT void *pvalloc(size_t size)
{
    size_t rounded;
    if (__builtin_add_overflow(size, PAGE - 1, &rounded))
        return no_memory();
    return face_memalign(PAGE, rounded & ~(size_t)(PAGE - 1));
}

/* --- the rest ------------------------------------------------------------------------------------ */

EXPORT size_t malloc_usable_size(void *p)
{
    size_t size = !p ? 0 : face_state.hardened ? harden_usable_size(p) : alloc_usable_size(p);
    return size || !p || alloc_is_ours(p) ? size : foreign_usable_size(p);
}

/* C23: the size (and alignment) are the caller's word for what free knows by itself. */
EXPORT void free_sized(void *p, size_t size);
EXPORT FAST_SELDOM void free_sized(void *p, size_t size)
{
    (void)size;
    face_free(p);
}

EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size);
EXPORT FAST_SELDOM void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    face_free(p);
}

ALSO(cfree, free);
ALSO(__libc_malloc, malloc);
ALSO(__libc_free, free);
ALSO(__libc_calloc, calloc);
ALSO(__libc_realloc, realloc);
ALSO(__libc_memalign, memalign);
ALSO(__libc_valloc, valloc);
ALSO(__libc_pvalloc, pvalloc);
