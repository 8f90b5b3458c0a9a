/* SPDX-License-Identifier: MIT */
#include "preload/account.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "preload/kernel.h"
#include "tracer/format/account.h"

/* Where a process counts that has no page of a companion's: a forked child. */
static struct account_page nobody;

/* Set by the first call and in a forked child, each with one thread. */
static struct account_page *page = &nobody;

/* The companion has gone. Any thread; once set it stays. */
static bool alone;

static void add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* --- start ----------------------------------------------------------------------------------------------- */

static struct account_page *map_page(int fd)
{
    struct account_page head;
    size_t wanted = offsetof(struct account_page, root);
    if (kernel_read(fd, &head, wanted) != wanted || head.magic != ACCOUNT_MAGIC ||
        head.version != ACCOUNT_VERSION || head.size != sizeof(struct account_page) ||
        head.pid != (uint64_t)kernel_pid())
        return NULL;
    long at =
        kernel_call6(SYS_mmap, 0, sizeof(struct account_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at < 0 ? NULL : (struct account_page *)at;
}

/* What an earlier image of this process had is gone with it. */
static void begin(struct account_page *mine)
{
    memset(&mine->live_bytes, 0, sizeof(*mine) - offsetof(struct account_page, live_bytes));
    mine->event = ACCOUNT_RUNS;
    mine->trigger = mine->first_trigger;
    __atomic_store_n(&mine->root, (uint64_t)(uintptr_t)alloc_root(), __ATOMIC_RELEASE);
    __atomic_fetch_add(&mine->images, 1, __ATOMIC_RELEASE);
}

bool account_start(const char *path)
{
    int fd = kernel_open(path, O_RDWR);
    if (fd < 0)
        return false;
    struct account_page *mine = map_page(fd);
    kernel_close(fd);
    if (mine == NULL)
        return false;
    begin(mine);
    page = mine;
    return true;
}

void account_fork_child(void)
{
    if (page == &nobody) /* nor is a page touched in children of a program that does not count */
        return;
    page = &nobody;
}

/* --- standing still -------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec t = {0};
    kernel_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool companion_is_there(const struct account_page *mine)
{
    return kernel_call(SYS_kill, (long)mine->companion, 0, 0) != -ESRCH;
}

/* Nobody will answer, now or later. */
static void give_up(struct account_page *mine)
{
    __atomic_store_n(&alone, true, __ATOMIC_RELAXED);
    __atomic_store_n(&mine->event, ACCOUNT_RUNS, __ATOMIC_RELEASE);
}

static void wait_for_answer(struct account_page *mine, uint32_t event)
{
    int64_t end = now_ms() + ACCOUNT_PATIENCE_MS;
    while (__atomic_load_n(&mine->event, __ATOMIC_ACQUIRE) == event) {
        struct timespec second = {.tv_sec = 1};
        if (now_ms() >= end || !companion_is_there(mine)) {
            give_up(mine);
            return;
        }
        kernel_call4(SYS_futex, (long)&mine->event, FUTEX_WAIT, event, (long)&second);
    }
}

/* One thread at a time; another one that comes meanwhile just goes on. */
static void __attribute__((noinline, cold)) stand_still(struct account_page *mine, uint32_t event)
{
    uint32_t runs = ACCOUNT_RUNS;
    if (mine == &nobody || __atomic_load_n(&alone, __ATOMIC_RELAXED) ||
        !__atomic_compare_exchange_n(&mine->event, &runs, event, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return;
    kernel_call(SYS_futex, (long)&mine->event, FUTEX_WAKE, 1);
    wait_for_answer(mine, event);
}

void account_end(void)
{
    stand_still(page, ACCOUNT_END);
}

/* --- counting -------------------------------------------------------------------------------------------- */

static void raise_peak(struct account_page *mine, uint64_t live)
{
    uint64_t peak = __atomic_load_n(&mine->peak_bytes, __ATOMIC_RELAXED);
    while (live > peak) {
        if (__atomic_compare_exchange_n(&mine->peak_bytes, &peak, live, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            uint64_t blocks = __atomic_load_n(&mine->live_blocks, __ATOMIC_RELAXED);
            __atomic_store_n(&mine->peak_blocks, blocks, __ATOMIC_RELAXED);
            return;
        }
    }
}

static void count_in(const struct alloc_block *block, size_t size)
{
    struct account_page *mine = page;
    struct account_bucket *bucket = &mine->bucket[account_bucket(block->capacity)];
    add(&mine->allocations, 1);
    add(&mine->asked_bytes, size);
    add(&bucket->bytes, size);
    add(&bucket->blocks, 1);
    add(&mine->live_blocks, 1);
    uint64_t live = __atomic_add_fetch(&mine->live_bytes, size, __ATOMIC_RELAXED);
    raise_peak(mine, live);
    if (__builtin_expect(live >= __atomic_load_n(&mine->trigger, __ATOMIC_RELAXED), 0))
        stand_still(mine, ACCOUNT_LOOK);
}

static void count_out(const struct alloc_block *block, size_t size)
{
    struct account_page *mine = page;
    struct account_bucket *bucket = &mine->bucket[account_bucket(block->capacity)];
    add(&mine->frees, 1);
    add(&bucket->bytes, -(uint64_t)size);
    add(&bucket->blocks, -(uint64_t)1);
    add(&mine->live_blocks, -(uint64_t)1);
    add(&mine->live_bytes, -(uint64_t)size);
}

static void entry_fill(struct ledger_entry *entry, size_t size, enum alloc_kind kind)
{
    entry->size_low = (uint32_t)size;
    entry->size_high = (uint16_t)(size >> 32);
    entry->kind = (uint8_t)kind;
    entry->state = LEDGER_LIVE;
}

static void note(void *p, size_t size, enum alloc_kind kind)
{
    struct alloc_block block = {0};
    alloc_find(p, &block);
    if (block.ledger == NULL)
        return;
    entry_fill(block.ledger, size, kind);
    count_in(&block, size);
}

void *account_allocate(enum alloc_kind kind, size_t size, size_t alignment)
{
    void *p = kind == KIND_CALLOC    ? alloc_malloc_zeroed(size)
              : kind == KIND_ALIGNED ? alloc_malloc_aligned(alignment, size)
                                     : alloc_malloc(size);
    if (p != NULL)
        note(p, size, kind);
    return p;
}

/* Take a block out of the account before it is given up: afterwards its entry may be another thread's. */
static enum alloc_status strike(void *p, struct alloc_block *block, struct ledger_entry *ret_old)
{
    enum alloc_status status = alloc_find(p, block);
    if (status != ALLOC_OK)
        return status;
    struct ledger_entry *entry = block->ledger;
    if (entry == NULL || entry->state == LEDGER_NEVER) {
        add(&page->unknown, 1);
        return ALLOC_OK;
    }
    if (entry->state == LEDGER_FREED)
        return ALLOC_DOUBLE_FREE;
    *ret_old = *entry;
    entry->state = LEDGER_FREED;
    count_out(block, ledger_size(ret_old));
    return ALLOC_OK;
}

/* It was not given up after all. */
static void put_back(const struct alloc_block *block, const struct ledger_entry *old)
{
    if (block->ledger == NULL || old->state != LEDGER_LIVE)
        return;
    *(struct ledger_entry *)block->ledger = *old;
    count_in(block, ledger_size(old));
}

enum alloc_status account_release(void *p)
{
    struct alloc_block block = {0};
    struct ledger_entry old = {0};
    enum alloc_status status = strike(p, &block, &old);
    if (status != ALLOC_OK)
        return status;
    status = alloc_free(p);
    if (status != ALLOC_OK)
        put_back(&block, &old);
    return status;
}

enum alloc_status account_resize(void *p, size_t size, void **ret_block)
{
    struct alloc_block block = {0};
    struct ledger_entry old = {0};
    enum alloc_status status = strike(p, &block, &old);
    if (status != ALLOC_OK)
        return status;
    status = alloc_realloc(p, size, ret_block);
    if (status == ALLOC_OK && *ret_block != NULL)
        note(*ret_block, size, KIND_REALLOC);
    else
        put_back(&block, &old);
    return status;
}
