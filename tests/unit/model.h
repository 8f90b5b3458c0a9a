/* SPDX-License-Identifier: MIT */
/*
 * model.h - random operations on the allocator beside a shadow of what every block must be.
 *
 *   shadow.slot[i]:  p, size, usable, fill, tag     what the program knows of block i; p NULL: there is none
 *
 * A step picks a slot: empty, it allocates (plainly, zeroed, aligned); else it reallocates or frees, after it has
 * looked whether the block still holds what was written. Blocks to about 4 KiB are filled and read whole, larger
 * ones at both ends and some places between, so that a million steps are not a million page faults. What a request
 * is allowed to do is counted, not assumed: `may_fail` says whether NULL is an answer.
 *
 * Sizes come from one of several distributions (`enum model_sizes`), chosen by the seed, since each leads somewhere
 * else: class borders, spans that grow into each other, mappings, a pool filled by one size alone.
 *
 * Threads: a shadow belongs to one thread at a time.
 */
#ifndef HEAPTALLY_TESTS_MODEL_H
#define HEAPTALLY_TESTS_MODEL_H

#include "allocator/class.h"
#include "allocator/fast.h"

#include "tests/unit/alloc_help.h"

#define MODEL_SLOTS 3000
#define MODEL_MIB   ((size_t)1 << 20)
#define WHOLE_BYTES 4096u /* blocks up to this are looked at whole */
#define SAMPLES     4u    /* places looked at in a larger one */

enum model_sizes {
    SIZES_MIXED,
    SIZES_SMALL,
    SIZES_BORDERS,
    SIZES_LOGARITHMIC,
    SIZES_SPANS,
    SIZES_FEW,
    SIZES_KINDS,
    SIZES_BIG, /* what asks the kernel often; no seed's */
};

/* check's own assertions write to a pipe each time, which is dearer than what is tested. */
#define MODEL_EXPECT(condition)                                                                              \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            ck_abort_msg("not so: %s", #condition);                                                          \
    } while (0)

struct model_block {
    unsigned char *p;
    size_t size, usable;
    unsigned char fill;
    uint64_t tag; /* what we wrote into its ledger entry; 0 when it has none */
};

struct model {
    struct model_block slot[MODEL_SLOTS];
    uint64_t seed;
    enum model_sizes sizes;
    bool ledger;   /* every block has an entry, zeroed at first */
    bool may_fail; /* NULL is an answer */
    uint64_t refused, steps;
};

/* --- sizes ---------------------------------------------------------------------------------------------- */

static inline size_t model_size_mixed(uint64_t r, uint64_t n)
{
    if (r % 1000 == 0)
        return n % (6 * MODEL_MIB);
    if (r % 100 == 1)
        return n % (MODEL_MIB / 2);
    return r % 10 == 2 ? n % 40000 : n % (r % 2 == 0 ? 200 : 1500);
}

/* One below a border, on it, one above: of classes, of slots, of the largest pool block and span. */
static inline size_t model_size_border(uint64_t r, uint64_t n)
{
    size_t border = r % 64 == 0   ? (n % 200 + 1) << SLOT_SHIFT
                    : r % 64 == 1 ? SPAN_SIZE_MAX
                    : r % 64 == 2 ? POOL_SIZE_MAX
                                  : alloc_class[n % CLASS_COUNT].size;
    return border + (n >> 32) % 3 - 1;
}

static inline size_t model_size(struct model *model)
{
    uint64_t r = help_random(&model->seed), n = help_random(&model->seed);
    switch (model->sizes) {
    case SIZES_SMALL:
        return n % 129;
    case SIZES_BORDERS:
        return model_size_border(r, n);
    case SIZES_LOGARITHMIC:
        return n % ((size_t)1 << r % 20);
    case SIZES_SPANS:
        if (r % 8 != 0)
            return n % 40000;
        return r % 256 == 0 ? n % (16 * MODEL_MIB) : n % (r % 64 == 8 ? SPAN_SIZE_MAX + 4096 : 200000);
    case SIZES_FEW:
        return (size_t[]){24, 112, 1024, 2500}[n % 4];
    case SIZES_BIG:
        return r % 64 == 0 ? n % (8 * MODEL_MIB) : n % (r % 8 == 1 ? 300000 : 3000);
    default:
        return model_size_mixed(r, n);
    }
}

/* --- contents ------------------------------------------------------------------------------------------- */

static inline size_t model_stride(size_t size)
{
    return size > WHOLE_BYTES ? size / SAMPLES : 1;
}

static inline void model_fill(struct model_block *block, unsigned char value)
{
    block->fill = value;
    for (size_t i = 0; i < block->size; i += model_stride(block->size))
        block->p[i] = value;
    if (block->size != 0)
        block->p[block->size - 1] = value;
}

static inline void model_expect(const struct model_block *block, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i += model_stride(block->size))
        if (block->p[i] != value)
            ck_abort_msg("byte %zu of %zu is %u, not %u", i, block->size, block->p[i], value);
    if (size == block->size && size != 0 && block->p[size - 1] != value)
        ck_abort_msg("the last byte of %zu is %u, not %u", size, block->p[size - 1], value);
}

/* --- ledgers -------------------------------------------------------------------------------------------- */

static inline void *model_ledger_of(const struct model_block *block)
{
    struct alloc_block found;
    MODEL_EXPECT(alloc_find(block->p, &found) == ALLOC_OK);
    MODEL_EXPECT(found.start == block->p);
    MODEL_EXPECT(found.capacity >= block->size);
    return found.ledger;
}

static inline void model_tag(struct model *model, struct model_block *block)
{
    static const uint64_t zero[2] = {0, 0};
    uint64_t *entry = model_ledger_of(block);
    block->tag = 0;
    if (!model->ledger)
        return;
    MODEL_EXPECT(entry != NULL);
    MODEL_EXPECT(memcmp(entry, zero, sizeof zero) == 0);
    block->tag = help_random(&model->seed) | 1;
    entry[0] = entry[1] = block->tag;
}

static inline void model_check_tag(const struct model_block *block)
{
    if (block->tag == 0)
        return;
    uint64_t *entry = model_ledger_of(block);
    MODEL_EXPECT(entry[0] == block->tag);
    MODEL_EXPECT(entry[1] == block->tag);
}

/* --- the operations ------------------------------------------------------------------------------------- */

static inline bool model_got(struct model *model, const void *p)
{
    if (p != NULL)
        return true;
    if (!model->may_fail)
        ck_abort_msg("memory is out");
    model->refused++;
    return false;
}

static inline void model_alloc(struct model *model, struct model_block *block)
{
    uint64_t how = help_random(&model->seed) % 16;
    size_t size = model_size(model), alignment = 16;
    *block = (struct model_block){.size = size};
    if (how == 0) {
        alignment = (size_t)1 << help_random(&model->seed) % 17;
        block->p = alloc_malloc_aligned(alignment, size);
    } else if (how < 4) {
        block->p = alloc_malloc_zeroed(size);
    } else {
        block->p = alloc_malloc_fast(size);
        if (block->p == NULL)
            block->p = alloc_malloc(size);
    }
    if (!model_got(model, block->p))
        return;
    if (how >= 1 && how < 4)
        model_expect(block, size, 0);
    MODEL_EXPECT((uintptr_t)block->p % (alignment < 16 ? 16 : alignment) == 0);
    block->usable = alloc_usable_size(block->p);
    MODEL_EXPECT(block->usable >= size);
    model_tag(model, block);
    model_fill(block, (unsigned char)(help_random(&model->seed) | 1));
}

/* Any other size, or half or twice as much: so large blocks stay large, and are stretched and moved. */
static inline size_t model_new_size(struct model *model, size_t old)
{
    uint64_t how = help_random(&model->seed) % 4;
    size_t size = how == 0 ? old / 2 : how == 1 && old < 4 * MODEL_MIB ? old * 2 : model_size(model);
    return size + 1;
}

/* What a moved block must still hold: all of the smaller size, when both are looked at whole; its first byte always.
 */
static inline void model_realloc(struct model *model, struct model_block *block)
{
    size_t old = block->size, size = model_new_size(model, old);
    void *moved;
    MODEL_EXPECT(alloc_realloc(block->p, size, &moved) == ALLOC_OK);
    if (!model_got(model, moved))
        return;
    bool stayed = moved == block->p;
    block->p = moved;
    block->size = size;
    block->usable = alloc_usable_size(moved);
    MODEL_EXPECT(block->usable >= size);
    size_t kept = old < size ? old : size;
    if (kept != 0)
        model_expect(block, model_stride(old) == 1 && model_stride(size) == 1 ? kept : 1, block->fill);
    if (stayed)
        model_check_tag(block);
    else
        model_tag(model, block);
    model_fill(block, block->fill);
}

static inline void model_free(struct model_block *block)
{
    model_expect(block, block->size, block->fill);
    model_check_tag(block);
    if (!alloc_free_fast(block->p))
        MODEL_EXPECT(alloc_free(block->p) == ALLOC_OK);
    block->p = NULL;
}

static inline void model_step(struct model *model)
{
    struct model_block *block = &model->slot[help_random(&model->seed) % MODEL_SLOTS];
    model->steps++;
    if (block->p == NULL)
        model_alloc(model, block);
    else if (help_random(&model->seed) % 5 == 0)
        model_realloc(model, block);
    else
        model_free(block);
}

static inline void model_free_all(struct model *model)
{
    for (size_t i = 0; i < MODEL_SLOTS; i++)
        if (model->slot[i].p != NULL)
            model_free(&model->slot[i]);
}

/* --- settings ------------------------------------------------------------------------------------------- */

static inline uint64_t model_setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

/* The seed decides the distribution too. */
static inline void model_seed(struct model *model, uint64_t seed)
{
    model->seed = seed * 0x9e3779b97f4a7c15u;
    model->sizes = (enum model_sizes)(seed % SIZES_KINDS);
}

#endif
