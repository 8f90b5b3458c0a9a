/* SPDX-License-Identifier: MIT */
#include "preload/foreign.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/line.h"
#include "preload/thread.h"

/* glibc's block: [previous size][size | flags][program's bytes ...], 16-byte aligned, at least 32 bytes. */
#define CHUNK_IN_USE  1u /* the chunk before this one is in use */
#define CHUNK_MMAPPED 2u
#define CHUNK_ARENA   4u /* not of the main arena */
#define CHUNK_FLAGS   7u
#define CHUNK_MIN     32u
#define ARENA_ALIGN   ((uintptr_t)64 << 20)
#define PAGE          4096u
#define MAPPED_MIN    ((uintptr_t)128 << 10)

enum owner { OWNER_NOBODY, OWNER_C_LIBRARY, OWNER_OTHER_NAMESPACE };

static uintptr_t break_at_start; /* constant after the first call */
static bool other_namespace;     /* set once */

static uintptr_t program_break(void)
{
    return (uintptr_t)syscall(SYS_brk, 0);
}

void foreign_start(void)
{
    break_at_start = program_break();
}

void foreign_namespace_opened(void)
{
    __atomic_store_n(&other_namespace, true, __ATOMIC_RELAXED);
}

/* Read a word that may not be there. The kernel copies a signal set from the address before it looks at
 * `how`, which is nonsense: EFAULT means unreadable, EINVAL readable, and nothing has changed either way. */
static bool read_word(uintptr_t address, uintptr_t *ret)
{
    int saved = errno;
    syscall(SYS_rt_sigprocmask, -1, address, NULL, sizeof(uint64_t));
    bool readable = errno == EINVAL;
    errno = saved;
    if (readable)
        memcpy(ret, (const void *)address, sizeof(*ret));
    return readable;
}

/* --- whose block is it --------------------------------------------------------------------------- */

/* A mapping of its own, whole pages, from the C library's threshold on. What was left on a stack, at a page's start, may
 * look like a shorter one, and giving that back takes a page out of the stack. */
static bool is_mapped_chunk(uintptr_t chunk, uintptr_t before, uintptr_t size)
{
    uintptr_t start = chunk - before, end = chunk + size, last;
    return before < PAGE << 12 && start % PAGE == 0 && end % PAGE == 0 && end > start &&
           end - start >= MAPPED_MIN && read_word(end - sizeof(last), &last);
}

/* The chunk's successor lies below `top` and says that the chunk is in use. */
static bool has_sane_successor(uintptr_t chunk, uintptr_t size, uintptr_t top)
{
    uintptr_t next;
    return chunk + size > chunk && chunk + size + 16 <= top && read_word(chunk + size + 8, &next) &&
           (next & CHUNK_IN_USE) && (next & ~(uintptr_t)CHUNK_FLAGS) >= 16;
}

/* An arena's heap starts with: its arena, the heap before, its size. */
static bool is_arena_chunk(uintptr_t chunk, uintptr_t size)
{
    uintptr_t heap = chunk & ~(ARENA_ALIGN - 1), arena, heap_size;
    return read_word(heap, &arena) && read_word(heap + 16, &heap_size) && heap_size <= ARENA_ALIGN &&
           heap_size % PAGE == 0 && arena % 16 == 0 && arena != 0 &&
           has_sane_successor(chunk, size, heap + heap_size);
}

static enum owner owner_of(const void *p)
{
    uintptr_t chunk = (uintptr_t)p - 16, before, head;
    if ((uintptr_t)p % 16 != 0 || (uintptr_t)p < PAGE || !read_word(chunk, &before) ||
        !read_word(chunk + 8, &head))
        return OWNER_NOBODY;
    uintptr_t size = head & ~(uintptr_t)CHUNK_FLAGS;
    if (size % 16 != 0 || size < CHUNK_MIN)
        return OWNER_NOBODY;
    if (head & CHUNK_MMAPPED)
        return is_mapped_chunk(chunk, before, size) ? OWNER_C_LIBRARY : OWNER_NOBODY;
    if (head & CHUNK_ARENA)
        return is_arena_chunk(chunk, size) ? OWNER_C_LIBRARY : OWNER_NOBODY;
    uintptr_t top = program_break();
    if (break_at_start && chunk >= break_at_start && chunk < top)
        return has_sane_successor(chunk, size, top) ? OWNER_C_LIBRARY : OWNER_NOBODY;
    if (__atomic_load_n(&other_namespace, __ATOMIC_RELAXED) &&
        has_sane_successor(chunk, size, UINTPTR_MAX - PAGE))
        return OWNER_OTHER_NAMESPACE;
    return OWNER_NOBODY;
}

/* --- the C library's own ------------------------------------------------------------------------- */

static void *c_library_function(const char *name)
{
    thread_enter();
    void *found = dlsym(RTLD_NEXT, name);
    thread_leave();
    return found;
}

static void note_left_alone(const void *p)
{
    static bool noted;
    if (__atomic_exchange_n(&noted, true, __ATOMIC_RELAXED))
        return;
    struct line line;
    line_start(&line, "heaptally: note: block ");
    line_hex(&line, (uintptr_t)p);
    line_text(&line, " of another namespace's C library is left alone (and any more of them)");
    line_write(&line, STDERR_FILENO);
}

bool foreign_free(void *p)
{
    enum owner owner = owner_of(p);
    if (owner == OWNER_OTHER_NAMESPACE)
        note_left_alone(p);
    if (owner != OWNER_C_LIBRARY)
        return owner != OWNER_NOBODY;
    void (*c_free)(void *) = (void (*)(void *))c_library_function("__libc_free");
    if (c_free)
        c_free(p);
    return c_free != NULL;
}

bool foreign_realloc(void *p, size_t size, void **ret_block)
{
    void *(*c_realloc)(void *, size_t) = NULL;
    if (owner_of(p) == OWNER_C_LIBRARY)
        c_realloc = (void *(*)(void *, size_t))c_library_function("__libc_realloc");
    if (c_realloc)
        *ret_block = c_realloc(p, size);
    return c_realloc != NULL;
}

size_t foreign_usable_size(void *p)
{
    size_t (*c_size)(void *) = NULL;
    if (owner_of(p) == OWNER_C_LIBRARY)
        c_size = (size_t(*)(void *))c_library_function("malloc_usable_size");
    return c_size ? c_size(p) : 0;
}
