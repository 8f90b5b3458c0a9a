/* SPDX-License-Identifier: MIT */
/* state.c - see state.h. */
#include "allocator/state.h"

#include <stdint.h>

#include "allocator/address_map.h"
#include "allocator/own.h"
#include "allocator/span.h"

const struct pool alloc_empty_pool;

_Static_assert(offsetof(struct no_block, link) == LIST_END, "its address ends a list");
const struct no_block alloc_no_block;

/* Its bins are lists of 0, which its secret leads here: to a place whose link is far from any list. So two words of it are
 * to be relocated, and not one for every class. */
static const struct no_block sentinel_block __attribute__((aligned(16))) = {.link = (uint64_t)1 << 62};
const struct heap alloc_sentinel_heap = {.secret = (uintptr_t)&sentinel_block.link, .own = OWN_NOTHING};

/* Two of its heaps begin to be some as the secret is made. */
struct alloc_state alloc_state = {
    .decay_ms = 1000,
    .no_spans = SPANS_NONE,
};

/* That both sides are equal is what is said. NOLINTNEXTLINE(misc-redundant-expression) */
_Static_assert(ALLOC_POOL_SIZE_MAX == POOL_SIZE_MAX, "what allocator.h says of pools");
/* NOLINTNEXTLINE(misc-redundant-expression) */
_Static_assert(ALLOC_MAPPING_ALIGNMENT == CHUNK_SIZE, "what allocator.h says of mappings");

struct alloc_root alloc_root_data = {
    .magic = LAYOUT_MAGIC,
    .layout_version = LAYOUT_VERSION,
    .root_size = sizeof(struct alloc_root),
    .pool_size = sizeof(struct pool),
    .heap_size = sizeof(struct heap),
    .mapping_size = sizeof(struct mapping),
    .chunk_shift = CHUNK_SHIFT,
    .slot_shift = SLOT_SHIFT,
    .map_leaf_bits = MAP_LEAF_BITS,
    .map_root_bits = MAP_ROOT_BITS,
    .ledger_bytes = ALLOC_LEDGER_BYTES,
    .map = alloc_map,
};

__thread struct heap *alloc_heap __attribute__((tls_model("initial-exec"))) = SENTINEL_HEAP;
__thread struct heap *alloc_ledger_heap __attribute__((tls_model("initial-exec"))) = SENTINEL_HEAP;
__thread struct heap *alloc_own_heap __attribute__((tls_model("initial-exec")));

__thread struct alloc_thread_state alloc_thread __attribute__((tls_model("initial-exec")));

bool state_holds_lock_exactly(void)
{
    for (int rank = 0; rank < LOCK_COUNT; rank++)
        if (platform_lock_is_mine(&alloc_state.lock[rank]))
            return true;
    return false;
}

void state_pass_wakes(void)
{
    for (int rank = 0; rank < LOCK_COUNT; rank++)
        platform_lock_pass(&alloc_state.lock[rank]);
}

void state_unlocked(void)
{
    if (state_holds_lock_exactly())
        return;
    alloc_thread.want_unlock = false;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    alloc_state.on_unlock();
}

void alloc_want_unlock(void)
{
    alloc_thread.want_unlock = alloc_state.on_unlock != NULL;
}

void alloc_on_ledger_gone(void (*tell)(const struct alloc_ledger *ledger))
{
    alloc_state.on_ledger_gone = tell;
}

void alloc_on_unlock(void (*call)(void))
{
    alloc_state.on_unlock = call;
}

const struct alloc_root *alloc_root(void)
{
    return &alloc_root_data;
}

/* Not for ThreadSanitizer, to which a compare-and-swap that comes too late is a write beside the reads of those who came
 * before: every value here is written once, and read after state_start(). */
#define ONCE __attribute__((no_sanitize("thread")))

/* A word that another thread filled before, and may have changed since, stays: it is only looked at. */
ONCE static void heap_begin(struct heap *heap)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct pool *none = NULL;
        if (load_acquire(&heap->current[class]) == NULL)
            (void)cas_acq_rel(&heap->current[class], &none, EMPTY_POOL);
    }
    struct pool **nothing = NULL;
    if (load_acquire(&heap->own) == NULL)
        (void)cas_acq_rel(&heap->own, &nothing, OWN_NOTHING);
}

ONCE static void heap_give_secret(struct heap *heap, uint64_t secret)
{
    if (load_acquire(&heap->secret) != secret)
        store_release(&heap->secret, secret);
}

ONCE void state_start(void)
{
    /* It is written last: who sees it sees all the rest. */
    if (load_acquire(&alloc_state.shared.secret) != 0)
        return;
    heap_begin(&alloc_state.orphanage);
    heap_begin(&alloc_state.shared);
    /* No address has such bits: a list and a link of 0 never look alike. */
    uint64_t secret = platform_random() | (uint64_t)1 << 62;
    /* Whoever is first decides; no block exists before this, so nobody has used another value. */
    uint64_t none = load_acquire(&alloc_root_data.secret);
    if (none != 0 || !cas_acq_rel(&alloc_root_data.secret, &none, secret))
        secret = none;
    heap_give_secret(&alloc_state.orphanage, secret);
    heap_give_secret(&alloc_state.shared, secret);
}

void state_count_mapped(int64_t bytes)
{
    uint64_t now = alloc_root_data.mapped + (uint64_t)bytes;
    store_relaxed(&alloc_root_data.mapped, now);
    if (now > alloc_root_data.mapped_peak)
        store_relaxed(&alloc_root_data.mapped_peak, now);
}

void state_report_corruption(const void *block)
{
    __atomic_fetch_add(&alloc_root_data.corruptions, 1, __ATOMIC_RELAXED);
    void (*tell)(const void *) = alloc_state.on_corruption;
    if (tell != NULL)
        tell(block);
}

void alloc_on_corruption(void (*tell)(const void *block))
{
    alloc_state.on_corruption = tell;
}
