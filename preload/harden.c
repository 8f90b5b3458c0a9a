/* SPDX-License-Identifier: MIT */
/* harden.c - see harden.h. */
#include "preload/harden.h"

#include <string.h>
#include <sys/mman.h>

#include "allocator/platform.h"
#include "preload/freed.h"
#include "preload/kernel.h"
#include "preload/misuse.h"
#include "preload/quarantine.h"

#define CANARY_MIN  8u
#define CANARY_MAX  256u
#define POISON      0xdf
#define GUARDS_MAX  10000u /* two mappings each, of the 65530 that a process may have */
#define REGIONS     16384u
#define REGION_LOG  22
#define SMALL_WASTE 128u

static uint64_t canary_secret; /* constant after start */
static uint32_t guards;        /* any thread, by addition */
static uint32_t
    region[REGIONS]; /* numbers of 4 MiB regions, by hash, 0: none. Any thread, by compare and swap */

/* --- canaries ------------------------------------------------------------------------------------ */

/* One byte an address; the eight of an aligned word make no address, whatever the program's own bytes in its lower part
 * are. None is below 128, so that no text, no 0 and no 1 passes for it. */
static unsigned char canary_byte(uintptr_t at)
{
    uint64_t word = ((at & ~(uintptr_t)7) ^ canary_secret) * 0x9e3779b97f4a7c15ull;
    word |= 0x8080808080808080ull;
    return (at & 7) == 7 ? 0xa5 : (unsigned char)(word >> (at & 7) * 8);
}

static size_t canary_length(const struct alloc_block *block, uint64_t size, bool guarded)
{
    size_t room = block->capacity - (guarded ? PLATFORM_PAGE : 0);
    room = size < room ? room - size : 0;
    return room < CANARY_MAX ? room : CANARY_MAX;
}

static void canary_write(const struct alloc_block *block, uint64_t size, bool guarded)
{
    unsigned char *at = (unsigned char *)block->start + size;
    size_t length = block->start == NULL ? 0 : canary_length(block, size, guarded);
    for (size_t i = 0; i < length; i++)
        at[i] = canary_byte((uintptr_t)(at + i));
}

const unsigned char *harden_canary_damage(const struct alloc_block *block, const struct ledger_entry *entry)
{
    const unsigned char *at = (const unsigned char *)block->start + ledger_size(entry);
    size_t length = canary_length(block, ledger_size(entry), entry->flags & LEDGER_GUARDED);
    for (size_t i = 0; i < length; i++) {
        if (at[i] != canary_byte((uintptr_t)(at + i)))
            return at + i;
    }
    return NULL;
}

/* --- poison -------------------------------------------------------------------------------------- */

/* What the program had, and the canary behind it. No guard page any more. */
static size_t poison_length(const struct alloc_block *block, const struct ledger_entry *entry)
{
    uint64_t size = ledger_size(entry) < block->capacity ? ledger_size(entry) : block->capacity;
    return size + canary_length(block, size, false);
}

const unsigned char *harden_poison_damage(const struct alloc_block *block, const struct ledger_entry *entry)
{
    const unsigned char *p = block->start;
    size_t length = poison_length(block, entry);
    if (length == 0 || (p[0] == POISON && memcmp(p, p + 1, length - 1) == 0))
        return NULL;
    while (*p == POISON)
        p++;
    return p;
}

/* --- the page that faults ------------------------------------------------------------------------- */

static bool guard_set(const struct alloc_block *block, int protection)
{
    char *page = (char *)block->start + block->capacity - PLATFORM_PAGE;
    return kernel_call(SYS_mprotect, (long)(uintptr_t)page, PLATFORM_PAGE, protection) == 0;
}

static bool guard_raise(const struct alloc_block *block, size_t size)
{
    if (block->capacity <= ALLOC_POOL_SIZE_MAX || block->capacity < size + CANARY_MIN + PLATFORM_PAGE)
        return false;
    if (__atomic_fetch_add(&guards, 1, __ATOMIC_RELAXED) < GUARDS_MAX && guard_set(block, PROT_NONE))
        return true;
    __atomic_fetch_sub(&guards, 1, __ATOMIC_RELAXED);
    return false;
}

/* false: the kernel would not; the block must never be used again. */
static bool guard_lower(const struct alloc_block *block, const struct ledger_entry *was)
{
    if (!(was->flags & LEDGER_GUARDED))
        return true;
    if (!guard_set(block, PROT_READ | PROT_WRITE))
        return false;
    __atomic_fetch_sub(&guards, 1, __ATOMIC_RELAXED);
    return true;
}

/* --- allocating ---------------------------------------------------------------------------------- */

/* Remembered for the look at the end. Full: that region is not looked at. */
static void region_note(const void *p)
{
    uint32_t number = (uint32_t)((uintptr_t)p >> REGION_LOG);
    for (uint32_t i = number, tries = 0; tries < REGIONS; i++, tries++) {
        uint32_t *at = &region[i % REGIONS], seen = __atomic_load_n(at, __ATOMIC_RELAXED);
        if (seen == 0 &&
            __atomic_compare_exchange_n(at, &seen, number, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return;
        if (seen == number)
            return;
    }
}

size_t harden_regions(uint32_t *numbers, size_t from, size_t max)
{
    size_t count = 0;
    for (; from < REGIONS && count < max; from++)
        numbers[count++] = __atomic_load_n(&region[from], __ATOMIC_RELAXED);
    return count;
}

static void *take(enum alloc_kind kind, size_t size, size_t alignment)
{
    if (kind == KIND_CALLOC)
        return alloc_malloc_zeroed(size);
    if (kind == KIND_ALIGNED)
        return alloc_malloc_aligned(alignment, size);
    return alloc_malloc(size);
}

/* Last of all the state: whoever sees a live entry sees a whole canary. */
static void entry_fill(struct ledger_entry *entry, size_t size, enum alloc_kind kind, bool guarded)
{
    entry->site = 0;
    entry->size_low = (uint32_t)size;
    entry->size_high = (uint16_t)(size >> 32);
    entry->kind = (uint8_t)kind;
    entry->free_site = 0;
    entry->flags = guarded ? LEDGER_GUARDED : 0;
    __atomic_store_n(&entry->state, LEDGER_LIVE, __ATOMIC_RELEASE);
}

/* With `spare` bytes more than asked for: room to grow. */
static void *allocate_with(size_t spare, enum alloc_kind kind, size_t size, size_t alignment)
{
    struct alloc_block block = {0};
    if (size > PTRDIFF_MAX - 2 * PLATFORM_PAGE - spare)
        return NULL;
    size_t padded = size + spare + CANARY_MIN;
    padded += padded > ALLOC_POOL_SIZE_MAX ? PLATFORM_PAGE : 0;
    void *p = take(kind, padded, alignment);
    if (!p && quarantine_empty(padded))
        p = take(kind, padded, alignment);
    if (!p || alloc_find(p, &block) != ALLOC_OK || !block.ledger)
        return p;
    bool guarded = guard_raise(&block, size);
    canary_write(&block, size, guarded);
    entry_fill(block.ledger, size, kind, guarded);
    region_note(p);
    return p;
}

void *harden_allocate(enum alloc_kind kind, size_t size, size_t alignment)
{
    return allocate_with(0, kind, size, alignment);
}

size_t harden_usable_size(const void *p)
{
    struct alloc_block block = {0};
    if (alloc_find(p, &block) != ALLOC_OK)
        return 0;
    const struct ledger_entry *entry = block.ledger;
    return entry && entry->state == LEDGER_LIVE ? ledger_size(entry) : block.capacity;
}

/* --- freeing ------------------------------------------------------------------------------------- */

/* Out of the quarantine. */
static void let_go(void *p)
{
    struct alloc_block block = {0};
    if (alloc_find(p, &block) != ALLOC_OK)
        return;
    quarantine_uncount(block.capacity);
    const struct ledger_entry *entry = block.ledger;
    const unsigned char *damage = harden_poison_damage(&block, entry);
    if (damage)
        misuse_written(&block, entry, damage);
    (void)alloc_free(p);
}

void harden_retire(const struct alloc_block *block, const struct ledger_entry *was)
{
    if (was->state != LEDGER_LIVE) { /* from before there were entries */
        (void)alloc_free(block->start);
        return;
    }
    const unsigned char *damage = harden_canary_damage(block, was);
    if (damage)
        misuse_overflow(block, was, damage, "free");
    if (!guard_lower(block, was))
        return;
    if (!quarantine_takes(block->capacity)) {
        (void)alloc_free(block->start);
        return;
    }
    memset(block->start, POISON, poison_length(block, was));
    quarantine_put(block->start, block->capacity);
}

/* Find the block and mark it freed, whoever else tries. *ret_block's ledger may be NULL. */
static enum alloc_status claim(void *p, struct alloc_block *ret_block, struct ledger_entry *ret_was)
{
    enum alloc_status status = alloc_find(p, ret_block);
    struct ledger_entry *entry = ret_block->ledger;
    if (status != ALLOC_OK || !entry)
        return status;
    *ret_was = *entry;
    ret_was->state = __atomic_exchange_n(&entry->state, LEDGER_FREED, __ATOMIC_ACQ_REL);
    return ret_was->state == LEDGER_FREED ? ALLOC_DOUBLE_FREE : ALLOC_OK;
}

static void note_freed(const struct alloc_block *block, const struct ledger_entry *was)
{
    uint64_t size = was->state == LEDGER_LIVE ? ledger_size(was) : block->capacity;
    freed_note(block->start, &(struct freed_block){.size = size});
}

enum alloc_status harden_free(void *p)
{
    struct alloc_block block = {0};
    struct ledger_entry was = {0};
    enum alloc_status status = claim(p, &block, &was);
    if (status != ALLOC_OK)
        return status;
    note_freed(&block, &was);
    harden_retire(&block, &was);
    return ALLOC_OK;
}

/* --- realloc ------------------------------------------------------------------------------------- */

static size_t room_of(const struct alloc_block *block, const struct ledger_entry *was)
{
    return block->capacity - (was->flags & LEDGER_GUARDED ? PLATFORM_PAGE : 0);
}

/* In place only where no page that faults has to move. */
static bool fits(const struct alloc_block *block, const struct ledger_entry *was, size_t size)
{
    return was->state == LEDGER_LIVE && size <= room_of(block, was) - CANARY_MIN;
}

/* And where not too much would be wasted. */
static bool fits_well(const struct alloc_block *block, const struct ledger_entry *was, size_t size)
{
    size_t room = room_of(block, was);
    return fits(block, was, size) && (size >= room / 2 || room <= SMALL_WASTE);
}

/* What has grown before will again, often by the same step, and here each step is a copy: an eighth is kept for it. */
static size_t spare_for(const struct ledger_entry *was, uint64_t old, size_t size)
{
    return was->kind == KIND_REALLOC && size > old && size > ALLOC_POOL_SIZE_MAX ? size / 8 : 0;
}

static void *resize_in_place(const struct alloc_block *block, const struct ledger_entry *was, size_t size)
{
    const unsigned char *damage = harden_canary_damage(block, was);
    bool guarded = was->flags & LEDGER_GUARDED;
    if (damage)
        misuse_overflow(block, was, damage, "realloc");
    canary_write(block, size, guarded);
    entry_fill(block->ledger, size, KIND_REALLOC, guarded);
    return block->start;
}

void *harden_resize(const struct alloc_block *block, const struct ledger_entry *was, size_t size)
{
    uint64_t old = was->state == LEDGER_LIVE ? ledger_size(was) : block->capacity;
    if (fits_well(block, was, size))
        return resize_in_place(block, was, size);
    void *q = allocate_with(spare_for(was, old, size), KIND_REALLOC, size, 0);
    if (!q) /* shrinking never fails */
        return fits(block, was, size) ? resize_in_place(block, was, size) : NULL;
    memcpy(q, block->start, old < size ? old : size);
    harden_retire(block, was);
    return q;
}

enum alloc_status harden_realloc(void *p, size_t size, void **ret_block)
{
    struct alloc_block block = {0};
    struct ledger_entry was = {0};
    enum alloc_status status = claim(p, &block, &was);
    if (status != ALLOC_OK)
        return status;
    *ret_block = harden_resize(&block, &was, size);
    if (*ret_block && *ret_block != p)
        note_freed(&block, &was);
    if (!*ret_block && block.ledger)
        __atomic_store_n(&((struct ledger_entry *)block.ledger)->state, was.state, __ATOMIC_RELEASE);
    return ALLOC_OK;
}

/* --- start --------------------------------------------------------------------------------------- */

void harden_start(uint64_t bytes)
{
    canary_secret = platform_random() | 1;
    freed_keep_all();
    (void)quarantine_start(bytes, let_go);
}
