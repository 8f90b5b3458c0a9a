/* SPDX-License-Identifier: MIT */
/*
 * check_model.c - random operations beside a shadow map: content, overlap, alignment, zeroing, usable size,
 * ledgers, and the walker's list of live blocks against ours. HEAPTALLY_SEED repeats one run, HEAPTALLY_STEPS
 * lengthens it.
 */
#include "allocator/fast.h"

#include "tests/unit/alloc_help.h"

#define SLOTS 3000
#define MIB   ((size_t)1 << 20)

struct shadow {
    unsigned char *p;
    size_t size, usable;
    unsigned char fill;
    uint64_t tag; /* what we wrote into its ledger entry; 0 when it has none */
};

struct model {
    struct shadow slot[SLOTS];
    uint64_t seed;
    bool ledger;
};
static struct model model;

/* --- the shadow ----------------------------------------------------------------------------------------- */

static size_t model_size(void)
{
    uint64_t r = help_random(&model.seed), n = help_random(&model.seed);
    if (r % 1000 == 0)
        return n % (6 * MIB);
    if (r % 100 == 1)
        return n % (MIB / 2);
    return r % 10 == 2 ? n % 40000 : n % (r % 2 == 0 ? 200 : 1500);
}

/* Large blocks are checked at their ends and in steps. */
static size_t stride(size_t size)
{
    return size > 4096 ? 509 : 1;
}

static void shadow_fill(struct shadow *shadow, unsigned char value)
{
    shadow->fill = value;
    for (size_t i = 0; i < shadow->size; i += stride(shadow->size))
        shadow->p[i] = value;
    if (shadow->size != 0)
        shadow->p[shadow->size - 1] = value;
}

static void shadow_expect(const struct shadow *shadow, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i += stride(shadow->size))
        if (shadow->p[i] != value)
            ck_abort_msg("byte %zu of %zu is %u, not %u", i, shadow->size, shadow->p[i], value);
}

static void *ledger_of(const struct shadow *shadow)
{
    struct alloc_block block;
    ck_assert_int_eq(alloc_find(shadow->p, &block), ALLOC_OK);
    ck_assert_ptr_eq(block.start, shadow->p);
    ck_assert_uint_ge(block.capacity, shadow->size);
    return block.ledger;
}

static void shadow_tag(struct shadow *shadow)
{
    uint64_t zero[2] = {0, 0};
    uint64_t *entry = ledger_of(shadow);
    shadow->tag = 0;
    if (!model.ledger)
        return;
    ck_assert_ptr_nonnull(entry);
    ck_assert_mem_eq(entry, zero, sizeof zero);
    shadow->tag = help_random(&model.seed) | 1;
    entry[0] = entry[1] = shadow->tag;
}

static void shadow_check_tag(const struct shadow *shadow)
{
    if (shadow->tag == 0)
        return;
    uint64_t *entry = ledger_of(shadow);
    ck_assert_uint_eq(entry[0], shadow->tag);
    ck_assert_uint_eq(entry[1], shadow->tag);
}

/* --- the operations ------------------------------------------------------------------------------------- */

static void do_alloc(struct shadow *shadow)
{
    uint64_t how = help_random(&model.seed) % 16;
    size_t size = model_size(), alignment = 16;
    shadow->size = size;
    if (how == 0) {
        alignment = (size_t)1 << help_random(&model.seed) % 17;
        shadow->p = alloc_malloc_aligned(alignment, size);
    } else if (how < 4) {
        shadow->p = alloc_malloc_zeroed(size);
        shadow_expect(shadow, size, 0);
    } else {
        shadow->p = alloc_malloc_fast(size);
        if (shadow->p == NULL)
            shadow->p = alloc_malloc(size);
    }
    ck_assert_ptr_nonnull(shadow->p);
    ck_assert_uint_eq((uintptr_t)shadow->p % (alignment < 16 ? 16 : alignment), 0);
    shadow->usable = alloc_usable_size(shadow->p);
    ck_assert_uint_ge(shadow->usable, size);
    shadow_tag(shadow);
    shadow_fill(shadow, (unsigned char)(help_random(&model.seed) | 1));
}

static void do_realloc(struct shadow *shadow)
{
    size_t size = model_size() + 1, old = shadow->size;
    void *moved;
    ck_assert_int_eq(alloc_realloc(shadow->p, size, &moved), ALLOC_OK);
    ck_assert_ptr_nonnull(moved);
    bool stayed = moved == shadow->p;
    shadow->p = moved;
    shadow->size = size;
    shadow->usable = alloc_usable_size(moved);
    if (stride(old) == 1 && stride(size) == 1)
        shadow_expect(shadow, old < size ? old : size, shadow->fill);
    if (stayed)
        shadow_check_tag(shadow);
    else
        shadow_tag(shadow);
    shadow_fill(shadow, shadow->fill);
}

static void do_free(struct shadow *shadow)
{
    shadow_expect(shadow, shadow->size, shadow->fill);
    shadow_check_tag(shadow);
    if (!alloc_free_fast(shadow->p))
        ck_assert_int_eq(alloc_free(shadow->p), ALLOC_OK);
    shadow->p = NULL;
}

/* --- the walker beside the shadow ----------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)((const struct shadow *)a)->p,
              right = (uintptr_t)((const struct shadow *)b)->p;
    return (left > right) - (left < right);
}

static struct shadow sorted[SLOTS];
static size_t walked, expected;

static bool compare_block(void *ctx, const struct walk_block *block)
{
    (void)ctx;
    ck_assert_uint_lt(walked, expected);
    const struct shadow *shadow = &sorted[walked++];
    ck_assert_uint_eq(block->addr, (uintptr_t)shadow->p);
    ck_assert_uint_eq(block->capacity, shadow->usable);
    ck_assert(!model.ledger || block->has_ledger);
    if (shadow->tag != 0)
        ck_assert_mem_eq(block->ledger, &shadow->tag, sizeof shadow->tag);
    return true;
}

static void compare_with_walker(void)
{
    struct walk_visitor visitor = {.block = compare_block, .complain = help_complain};
    expected = walked = 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (model.slot[i].p != NULL)
            sorted[expected++] = model.slot[i];
    qsort(sorted, expected, sizeof *sorted, by_address);
    for (size_t i = 1; i < expected; i++)
        /* no overlap */
        ck_assert_uint_le((uintptr_t)sorted[i - 1].p + sorted[i - 1].usable, (uintptr_t)sorted[i].p);
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)alloc_root(), &visitor), WALK_OK);
    ck_assert_uint_eq(walked, expected);
}

/* --- runs ----------------------------------------------------------------------------------------------- */

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

static void model_run(uint64_t seed, uint64_t steps)
{
    model.seed = setting("HEAPTALLY_SEED", seed) * 0x9e3779b97f4a7c15u;
    fprintf(stderr, "  HEAPTALLY_SEED=%llu\n", (unsigned long long)setting("HEAPTALLY_SEED", seed));
    alloc_set_decay((int64_t)(seed % 3) * 20);
    for (uint64_t step = 0; step < steps; step++) {
        struct shadow *shadow = &model.slot[help_random(&model.seed) % SLOTS];
        if (shadow->p == NULL)
            do_alloc(shadow);
        else if (help_random(&model.seed) % 5 == 0)
            do_realloc(shadow);
        else
            do_free(shadow);
        if (step % (steps / 8) == 0) {
            help_verify();
            compare_with_walker();
        }
        if (step % 50021 == 0)
            (void)alloc_purge();
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (model.slot[i].p != NULL)
            do_free(&model.slot[i]);
    help_verify();
    compare_with_walker();
}

static uint64_t steps(void)
{
    return setting("HEAPTALLY_STEPS", HELP_ASAN || HELP_TSAN ? 60000 : 150000);
}

START_TEST(random_operations_agree_with_the_shadow)
{
    model_run((uint64_t)_i + 1, steps());
}
END_TEST

START_TEST(random_operations_with_ledgers_agree_with_the_shadow)
{
    alloc_keep_ledger();
    alloc_intercept(true);
    model.ledger = true;
    model_run((uint64_t)_i + 101, steps());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tests = tcase_create("random");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, random_operations_agree_with_the_shadow, 0, 4);
    tcase_add_loop_test(tests, random_operations_with_ledgers_agree_with_the_shadow, 0, 4);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
