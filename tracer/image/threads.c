/* SPDX-License-Identifier: MIT */
/*
 * Threads: where each one's stack is, and how much of it is alive.
 *
 *    pthread's mapping          [guard | ........ dead ........ | live frames | TLS | struct pthread ]
 *                                low                    sp - 128^       fs_base^                    high
 *    the first thread's         [stack]: up to the mapping's end, with environment and arguments; its TLS is elsewhere
 *
 * The kernel merges neighbouring mappings, so bounds come from struct pthread where it has them.
 */
#include "tracer/image/view.h"

#include <stdlib.h>
#include <string.h>

#define THREADS_MAX (1u << 20)
#define RED_ZONE    128u /* below sp, which a leaf function may use */
#define TLS_GUESS   8192u

/* struct pthread keeps the address and size of its stack side by side; no other pair of its words encloses it and
 * ends right behind it. */
static bool find_stack_bounds(const uint64_t *words, size_t count, uint64_t fs_base, struct range *ret)
{
    for (size_t i = PTHREAD_TID / 8; i + 1 < count; i++) {
        uint64_t start = words[i], size = words[i + 1], end = start + size;
        if (start && start < fs_base && end > fs_base && end - fs_base >= PTHREAD_SIZE - 256 &&
            end - fs_base <= PTHREAD_SIZE + 2 * MEMORY_PAGE && fs_base - start < (uint64_t)1 << 40) {
            *ret = (struct range){start, end};
            return true;
        }
    }
    return false;
}

static const struct map *first_stack(const struct image *image)
{
    for (size_t i = image->maps.count; i-- > 0;)
        if (strcmp(image->maps.items[i].name, "[stack]") == 0)
            return &image->maps.items[i];
    return NULL;
}

/* The first thread: the one whose number is the process's; a snapshot's copy has a number of its own, there it is known by
 * where it stands. */
static bool is_first_thread(const struct image *image, const struct thread_slot *slot)
{
    const struct map *stack = first_stack(image);
    uint64_t sp = slot->registers[THREAD_RSP];
    return slot->tid == image->target.pid ||
           (image->target.reason == WIRE_ON_REQUEST && stack && sp >= stack->start && sp < stack->end);
}

/* The thread's own stack and TLS, from fs_base. */
static void place_thread(const struct image *image, const struct thread_slot *slot, struct thread_place *ret)
{
    uint64_t words[PTHREAD_SIZE / 8];
    struct range piece = {0}, stack = {0};
    uint64_t fs_base = slot->fs_base;
    bool known = fs_base % 8 == 0 && fs_base && memory_read(&image->memory, fs_base, words, sizeof(words)) &&
                 words[PTHREAD_SELF / 8] == fs_base && words[PTHREAD_SELF_TOO / 8] == fs_base;
    bool bounded = known && find_stack_bounds(words, PTHREAD_SIZE / 8, fs_base, &stack);
    ret->main = !bounded && is_first_thread(image, slot);
    if (!bounded && known && image_piece_at(image, fs_base, &piece))
        stack = (struct range){piece.start, (fs_base + PTHREAD_SIZE + MEMORY_PAGE - 1) & -MEMORY_PAGE};
    else if (!bounded)
        stack = (struct range){fs_base, fs_base + PTHREAD_SIZE};
    if (known) {
        uint64_t size = image->target.static_tls_size;
        size = size > PTHREAD_SIZE ? size - PTHREAD_SIZE : TLS_GUESS;
        ret->tls_low = fs_base - size > stack.start && size < fs_base ? fs_base - size : stack.start;
        ret->tls_high = fs_base + PTHREAD_SIZE;
    }
    const struct map *first = ret->main ? first_stack(image) : NULL;
    if (first)
        stack = (struct range){first->start, first->end};
    if (known || first) {
        ret->own_low = stack.start;
        ret->own_high = stack.end;
    }
}

/* Where the frames that sp stands in end. */
static uint64_t stack_end(const struct image *image, uint64_t sp, const struct thread_place *place)
{
    uint64_t offset;
    struct range piece = {0};
    if (sp >= place->own_low && sp < place->own_high)
        return !place->main && place->tls_low > sp ? place->tls_low : place->own_high;
    uint32_t block = finder_find(&image->finder, sp, &offset);
    if (block != FINDER_NONE)
        return image->blocks[block].addr + image->blocks[block].capacity;
    return image_piece_at(image, sp, &piece) ? piece.end : sp;
}

static void bound_stack(const struct image *image, struct image_thread *thread,
                        const struct thread_place *place)
{
    uint64_t sp = thread->slot.registers[THREAD_RSP];
    if (thread->slot.state == THREAD_UNPARKED || sp == 0) {
        thread->stack_low = place->own_low;
        thread->stack_high = place->main || !place->tls_low ? place->own_high : place->tls_low;
        return;
    }
    thread->stack_low = thread->slot.state == THREAD_PARKED ? sp - RED_ZONE : sp;
    thread->stack_high = stack_end(image, sp, place);
}

static int word_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool threads_add_tls_word(struct image *image, uint64_t addr)
{
    if (image->tls_word_count == image->tls_word_capacity) {
        size_t capacity = image->tls_word_capacity ? image->tls_word_capacity * 2 : 64;
        uint64_t *grown = realloc(image->tls_words, capacity * sizeof(*grown));
        if (!grown)
            return false;
        image->tls_words = grown;
        image->tls_word_capacity = capacity;
    }
    image->tls_words[image->tls_word_count++] = addr;
    return true;
}

void threads_sort_tls_words(struct image *image)
{
    if (image->tls_word_count)
        qsort(image->tls_words, image->tls_word_count, sizeof(*image->tls_words), word_compare);
}

static bool read_slots(struct image *image, uint32_t count)
{
    struct thread_slot *slots = calloc((size_t)count + 1, sizeof(*slots));
    bool read = slots && memory_read(&image->memory, image->target.threads, slots, count * sizeof(*slots));
    if (slots && !read && count)
        image_note(image, "the target's list of threads cannot be read: their stacks are no roots");
    for (uint32_t i = 0; read && i < count; i++) {
        image->threads[i].slot = slots[i];
        image->threads[i].slot.name[sizeof(slots[i].name) - 1] = '\0';
    }
    image->thread_count = read ? count : 0;
    free(slots);
    return slots != NULL;
}

bool threads_load(struct image *image)
{
    uint32_t count = image->target.thread_count;
    if (count > THREADS_MAX) {
        image_note(image, "%u threads, of which %u are looked at", count, THREADS_MAX);
        count = THREADS_MAX;
    }
    image->threads = calloc((size_t)count + 1, sizeof(*image->threads));
    image->places = calloc((size_t)count + 1, sizeof(*image->places));
    if (!image->threads || !image->places || !read_slots(image, count))
        return false;
    for (uint32_t i = 0; i < image->thread_count; i++) {
        struct image_thread *thread = &image->threads[i];
        place_thread(image, &thread->slot, &image->places[i]);
        bound_stack(image, thread, &image->places[i]);
        if (image->places[i].tls_low &&
            !threads_add_tls_word(image, thread->slot.fs_base + PTHREAD_TLS_TABLE))
            return false;
    }
    return true;
}

uint32_t image_thread_count(const struct image *image)
{
    return image->thread_count;
}

const struct image_thread *image_threads(const struct image *image)
{
    return image->threads;
}
