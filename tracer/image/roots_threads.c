/* SPDX-License-Identifier: MIT */
/* Roots of threads: TLS, live stack, registers; and what is left of threads that have ended. */
#include "tracer/image/view.h"

#include <string.h>

#define TABLE_MAX    4096u /* entries of a thread's table of TLS blocks that are looked at */
#define ENDED_SEARCH 8192u /* how far below a mapping's end the struct pthread of a kept stack may start */
#define VECTOR_SKIP  32u /* of the fxsave area: codes, and where the last x87 operand was; registers follow */

/* The table of dynamic TLS blocks, where it lies in the loader's memory (in a block of ours it is found by the scan):
 * entry -1 holds the count, each entry two words, the second the block. */
static bool add_tls_table(struct image *image, const struct image_root *root, uint64_t fs_base)
{
    uint64_t table, count, offset;
    if (!memory_word(&image->memory, fs_base + PTHREAD_TLS_TABLE, &table) || table % 8 != 0 || table < 16 ||
        finder_find(&image->finder, table, &offset) != FINDER_NONE ||
        !memory_word(&image->memory, table - 16, &count))
        return true;
    count = count < TABLE_MAX ? count : TABLE_MAX;
    return roots_add(image, root, table - 16, table + 16 * (count + 1));
}

static bool add_registers(struct image *image, uint32_t thread)
{
    const struct thread_slot *slot = &image->threads[thread].slot;
    uint64_t offset;
    if (slot->state == THREAD_UNPARKED)
        return true;
    for (uint32_t reg = 0; reg < THREAD_REGISTERS; reg++) {
        struct image_root root = {.kind = ROOT_REGISTER, .strict = true, .thread = thread, .reg = reg};
        uint64_t value = slot->registers[reg];
        /* A stack that runs in one of our blocks holds that block, wherever sp stands in it. */
        bool stack = reg == THREAD_RSP && finder_find(&image->finder, value, &offset) != FINDER_NONE;
        bool live = reg != THREAD_RSP && slot->live_registers >> reg & 1;
        if ((stack || live) && !roots_add_value(image, &root, value, stack))
            return false;
    }
    return true;
}

/* Stopped in a system call: the instruction is behind it, or before it when the call is to begin again. */
static bool is_in_kernel(struct image *image, uint64_t ip)
{
    static const uint8_t instruction[2] = {0x0f, 0x05};
    uint8_t code[4];
    return memory_read(&image->memory, ip - 2, code, sizeof(code)) &&
           (memcmp(code, instruction, 2) == 0 || memcmp(code + 2, instruction, 2) == 0);
}

/* A function that calls the kernel was called itself, and no vector register outlives a call: those of a thread that waits
 * there are left over, from malloc above all, which has just had the block in one. Of a thread that ran they count. */
static bool add_vector_registers(struct image *image, uint32_t thread)
{
    const struct thread_slot *slot = &image->threads[thread].slot;
    struct image_root root = {.kind = ROOT_VECTOR_REGISTER, .strict = true, .thread = thread};
    if (slot->state == THREAD_UNPARKED || slot->vector_size < THREAD_FXSAVE ||
        slot->vector_size > THREAD_XSAVE_MAX || slot->vector_start % 16 != 0 ||
        slot->vector_start > UINT64_MAX - THREAD_XSAVE_MAX || is_in_kernel(image, slot->ip))
        return true;
    return roots_add(image, &root, slot->vector_start + VECTOR_SKIP,
                     (slot->vector_start + slot->vector_size) & ~UINT64_C(7));
}

/* The kernel goes on using it, wherever in a block of ours it begins (behind a guard page, say). */
static bool add_alternate_stack(struct image *image, uint32_t thread)
{
    struct image_root root = {.kind = ROOT_ALTERNATE_STACK, .strict = true, .thread = thread};
    uint64_t offset, start = image->threads[thread].slot.alternate_stack;
    return finder_find(&image->finder, start, &offset) == FINDER_NONE ||
           roots_add_value(image, &root, start, true);
}

/* A thread that runs on another stack (a signal's, a coroutine's) still has frames on its own. The vector registers come
 * first: they lie in the part of a stack that is dead otherwise. */
static bool add_thread(struct image *image, uint32_t i)
{
    const struct image_thread *thread = &image->threads[i];
    const struct thread_place *place = &image->places[i];
    struct image_root tls = {.kind = ROOT_TLS, .strict = true, .thread = i};
    struct image_root stack = {.kind = ROOT_STACK, .strict = true, .thread = i};
    bool elsewhere = thread->stack_low < place->own_low || thread->stack_low >= place->own_high;
    uint64_t own_end = place->main || !place->tls_low ? place->own_high : place->tls_low;
    if (!add_vector_registers(image, i) || !roots_add(image, &tls, place->tls_low, place->tls_high) ||
        (place->tls_low && !add_tls_table(image, &tls, thread->slot.fs_base)) ||
        !roots_add(image, &stack, thread->stack_low, thread->stack_high) ||
        (elsewhere && !roots_add(image, &stack, place->own_low, own_end)))
        return false;
    return ranges_insert(&image->claimed, place->own_low, place->own_high) && add_registers(image, i) &&
           add_alternate_stack(image, i);
}

bool roots_add_threads(struct image *image)
{
    for (uint32_t i = 0; i < image->thread_count; i++)
        if (!add_thread(image, i))
            return false;
    return true;
}

/* --- ended threads ---------------------------------------------------------------------------------------------- */

/* glibc keeps stacks for threads to come: a mapping with a struct pthread at its top whose thread id is gone. */
static bool find_ended(struct image *image, const struct map *map, uint64_t end, uint64_t *ret_pthread,
                       int32_t *ret_tid)
{
    uint64_t from = end - map->start > ENDED_SEARCH ? end - ENDED_SEARCH : map->start;
    uint64_t words[ENDED_SEARCH / 8];
    size_t count = (size_t)(end - from) / 8;
    if (end < PTHREAD_SIZE || from + PTHREAD_SIZE > end ||
        !memory_read(&image->memory, from, words, count * 8))
        return false;
    for (uint64_t at = (end - PTHREAD_SIZE) & ~UINT64_C(63); at >= from; at -= 64) {
        const uint64_t *p = &words[(at - from) / 8];
        if (p[PTHREAD_SELF / 8] == at && p[PTHREAD_SELF_TOO / 8] == at) {
            *ret_pthread = at;
            memcpy(ret_tid, (const char *)p + PTHREAD_TID, sizeof(*ret_tid));
            return true;
        }
    }
    return false;
}

/* Joined (-1): the stack waits to be used again, with its table of TLS blocks; every other word on it is stale. Not
 * joined, or detached (0): struct pthread still has the thread's result. Alive, but not among those that were parked:
 * the stack counts whole. */
static bool add_kept_stack(struct image *image, uint64_t low, uint64_t end, uint64_t pthread, int32_t tid)
{
    const char *where = tid > 0 ? roots_name(image, "stack of thread id %d, which did not stand still", tid)
                                : "a thread that has ended";
    struct image_root root = {.kind = ROOT_THREAD_DATA, .strict = true, .where = where};
    uint64_t from = tid > 0 ? low : pthread, to = end;
    if (tid == -1) {
        from = pthread + PTHREAD_TLS_TABLE;
        to = from + 8;
    }
    return where && threads_add_tls_word(image, pthread + PTHREAD_TLS_TABLE) &&
           roots_add(image, &root, from, to) && ranges_insert(&image->claimed, low, end);
}

struct ended_search {
    struct image *image;
    const struct map *map;
};

static bool look_for_ended(void *ctx, uint64_t start, uint64_t end)
{
    struct ended_search *search = ctx;
    struct image *image = search->image;
    uint64_t pthread;
    int32_t tid;
    if (!find_ended(image, search->map, end, &pthread, &tid) || pthread < start)
        return true;
    return add_kept_stack(image, start, end, pthread, tid);
}

bool roots_add_ended(struct image *image)
{
    for (size_t i = 0; i < image->maps.count; i++) {
        const struct map *map = &image->maps.items[i];
        struct ended_search search = {image, map};
        if (!map->readable || !map->writable || map->shared || map->name[0])
            continue;
        /* A copy: what is found is claimed, and the walk goes over what was claimed before. */
        struct range piece = {0};
        for (uint64_t at = map->start; at < map->end; at = piece.end) {
            piece.end = map->end;
            if (!image_piece_at(image, at, &piece)) {
                const struct range *taken = ranges_find(&image->claimed, at);
                piece.end = taken ? taken->end : map->end;
            } else if (!look_for_ended(&search, piece.start, piece.end)) {
                return false;
            }
        }
    }
    threads_sort_tls_words(image);
    return true;
}
