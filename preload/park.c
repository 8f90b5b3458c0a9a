/* SPDX-License-Identifier: MIT */
#include "preload/park.h"

#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "allocator/platform.h"
#include "preload/kernel.h"
#include "preload/tasks.h"

/* Weak: see start.c. */
#pragma weak __libc_single_threaded

#define FIRST_CAPACITY 32u
#define LOOK_EVERY_MS  10u /* at threads that were asked and have not come */
#define DEAF_FOR_MS                                                                                          \
    20u /* asleep with the signal blocked for so long: it is not starting or ending just now */
#define STEP_MS 2u

enum park_state { PARK_WAITING = 1, PARK_ASKED, PARK_ARRIVING, PARK_STANDING, PARK_GONE, PARK_LEFT };

struct park_entry {
    int32_t tid;    /* freezer */
    uint32_t state; /* see park.h */
    uint64_t since; /* freezer: WAITING: first seen deaf, 0 never; ASKED: last looked at */
};

/* One array beside the other, so that a handler's search reads few lines. A table that became too small stays
 * mapped: a late handler may still be reading it. */
struct park_table {
    uint32_t capacity; /* constant */
    uint32_t count;    /* freezer, with release; read by handlers */
    struct park_entry *entries;
    struct thread_slot *slots;
};

static struct park_entry first_entries[FIRST_CAPACITY];
static struct thread_slot first_slots[FIRST_CAPACITY];
static struct park_table first_table = {FIRST_CAPACITY, 0, first_entries, first_slots};

/* The freezer writes all but `arrivals`. */
static struct {
    struct park_table *table; /* never NULL; stored with release */
    uint32_t epoch;           /* + 1 at every release; parked threads sleep on it */
    uint32_t arrivals;        /* any thread: + 1 as it arrives; the freezer sleeps on it */
    uint32_t missed;
    uint32_t added;
    bool unlisted;
    int32_t self;
    int signal;
} park = {.table = &first_table};

/* --- the table ------------------------------------------------------------------------------------------ */

static void state_set(struct park_entry *entry, enum park_state state)
{
    __atomic_store_n(&entry->state, state, __ATOMIC_RELEASE);
}

static uint32_t state_of(const struct park_entry *entry)
{
    return __atomic_load_n(&entry->state, __ATOMIC_ACQUIRE);
}

/* Leave the state unless the thread itself was faster. */
static bool state_change(struct park_entry *entry, uint32_t from, enum park_state to)
{
    return __atomic_compare_exchange_n(&entry->state, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void table_empty(struct park_table *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        state_set(&table->entries[i], PARK_GONE);
    __atomic_store_n(&table->count, 0, __ATOMIC_RELEASE);
}

/* The list comes in the order of the table but for new threads: looking behind the last hit first makes it
 * cheap. */
static bool table_has(const struct park_table *table, int tid, uint32_t *hint)
{
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t at = *hint + i < table->count ? *hint + i : *hint + i - table->count;
        if (table->entries[at].tid == tid) {
            *hint = at + 1 < table->count ? at + 1 : 0;
            return true;
        }
    }
    return false;
}

static void table_add(struct park_table *table, int tid, enum park_state state)
{
    struct park_entry *entry = &table->entries[table->count];
    __atomic_store_n(&entry->tid, tid, __ATOMIC_RELAXED); /* a late handler may be comparing */
    entry->since = 0;
    memset(&table->slots[table->count], 0, sizeof(struct thread_slot));
    state_set(entry, state);
    __atomic_store_n(&table->count, table->count + 1, __ATOMIC_RELEASE);
}

/* A bigger table; false: no memory. Metadata memory is known to the scanner as no root, but asking for it
 * takes a lock. */
static bool table_grow(uint32_t needed, bool may_lock)
{
    size_t capacity = needed * 2 + FIRST_CAPACITY;
    size_t entry_bytes = capacity * sizeof(struct park_entry),
           slot_bytes = capacity * sizeof(struct thread_slot);
    size_t bytes = sizeof(struct park_table) + slot_bytes + entry_bytes;
    bytes = (bytes + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
    struct park_table *table = may_lock ? platform_map_metadata(bytes) : platform_map(bytes, PLATFORM_PAGE);
    if (!table)
        return false;
    table->capacity = (uint32_t)capacity;
    table->slots = (struct thread_slot *)(table + 1);
    table->entries = (struct park_entry *)(table->slots + capacity);
    __atomic_store_n(&park.table, table, __ATOMIC_RELEASE);
    return true;
}

/* --- a parked thread's side ----------------------------------------------------------------------------- */

static struct park_entry *entry_of(const struct park_table *table, int tid)
{
    uint32_t count = __atomic_load_n(&table->count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++) {
        /* Racy when the signal is late and the freezer fills the table anew: but an entry with our number
         * that is WAITING or ASKED means us, whichever freeze it belongs to, and no other is touched. */
        if (__atomic_load_n(&table->entries[i].tid, __ATOMIC_RELAXED) == tid)
            return &table->entries[i];
    }
    return NULL;
}

void park_stand(const struct thread_slot *here)
{
    uint32_t epoch = __atomic_load_n(&park.epoch, __ATOMIC_ACQUIRE);
    struct park_table *table = __atomic_load_n(&park.table, __ATOMIC_ACQUIRE);
    struct park_entry *entry = entry_of(table, here->tid);
    if (!entry || (!state_change(entry, PARK_ASKED, PARK_ARRIVING) &&
                   !state_change(entry, PARK_WAITING, PARK_ARRIVING)))
        return;
    struct thread_slot *slot = &table->slots[entry - table->entries];
    *slot = *here;
    slot->state = THREAD_PARKED;
    state_set(entry, PARK_STANDING);
    __atomic_add_fetch(&park.arrivals, 1, __ATOMIC_RELEASE);
    kernel_futex_wake(&park.arrivals, 1);
    while (__atomic_load_n(&park.epoch, __ATOMIC_ACQUIRE) == epoch)
        kernel_futex_wait(&park.epoch, epoch, 0);
}

/* --- the freezer's side --------------------------------------------------------------------------------- */

struct listing {
    uint32_t hint;
};

static void list_one(void *ctx, int tid)
{
    struct listing *listing = ctx;
    struct park_table *table = park.table;
    if (table_has(table, tid, &listing->hint))
        return;
    if (table->count == table->capacity) {
        park.missed++;
        return;
    }
    table_add(table, tid, PARK_WAITING);
    park.added++;
}

static void ask(struct park_entry *entry, uint64_t now)
{
    if (!state_change(entry, PARK_WAITING, PARK_ASKED))
        return;
    entry->since = now;
    long result = kernel_call(SYS_tgkill, kernel_pid(), entry->tid, park.signal);
    if (result == -ESRCH)
        state_change(entry, PARK_ASKED, PARK_GONE);
    else if (result != 0) /* -EAGAIN: too many signals are queued already; those that arrive make room */
        state_change(entry, PARK_ASKED, PARK_WAITING);
}

static void step_waiting(struct park_entry *entry, uint64_t now)
{
    struct task_look look = task_look(entry->tid, park.signal);
    if (look.mood == TASK_GONE) {
        state_change(entry, PARK_WAITING, PARK_GONE);
    } else if (look.mood == TASK_LISTENS) {
        ask(entry, now);
    } else if (!entry->since || !look.sleeping) {
        entry->since = now;
    } else if (now - entry->since >= DEAF_FOR_MS) {
        state_change(entry, PARK_WAITING, PARK_LEFT);
    }
}

static void step_asked(struct park_entry *entry, uint64_t now)
{
    if (now - entry->since < LOOK_EVERY_MS)
        return;
    entry->since = now;
    if (task_look(entry->tid, park.signal).mood == TASK_GONE)
        state_change(entry, PARK_ASKED, PARK_GONE);
}

/* true: nothing more is to be expected of this thread. */
static bool step(struct park_entry *entry, uint64_t now)
{
    if (state_of(entry) == PARK_WAITING)
        step_waiting(entry, now);
    else if (state_of(entry) == PARK_ASKED)
        step_asked(entry, now);
    return state_of(entry) >= PARK_STANDING;
}

/* On a busy machine threads come one by one as they get their turn on a processor: the limit is for the next one to
 * come, not for all of them. */
struct patience {
    uint64_t limit, until, last; /* ms; milliseconds on the clock, extended up to `last` */
    uint32_t arrivals;
};

static bool patience_is_over(struct patience *patience, uint64_t now)
{
    uint32_t arrivals = __atomic_load_n(&park.arrivals, __ATOMIC_ACQUIRE);
    if (arrivals != patience->arrivals) {
        patience->arrivals = arrivals;
        patience->until = now + patience->limit;
    }
    return now >= patience->until || now >= patience->last;
}

static void settle(struct patience *patience)
{
    for (;;) {
        uint64_t now = platform_now_ms();
        bool all = true, over = patience_is_over(patience, now);
        for (uint32_t i = 0; i < park.table->count; i++)
            all = step(&park.table->entries[i], now) && all;
        if (all || over)
            return;
        kernel_futex_wait(&park.arrivals, patience->arrivals, STEP_MS);
    }
}

/* Close the door: from here no thread of this freeze can start to arrive. */
static void give_up_waiting(void)
{
    for (uint32_t i = 0; i < park.table->count; i++) {
        struct park_entry *entry = &park.table->entries[i];
        if (!state_change(entry, PARK_WAITING, PARK_LEFT))
            state_change(entry, PARK_ASKED, PARK_LEFT);
        while (state_of(entry) == PARK_ARRIVING)
            kernel_call(SYS_sched_yield, 0, 0, 0);
    }
}

/* One attempt; false: the table is too small. Threads that still run can start others: list until none is
 * new. */
static bool gather(const struct park_request *request)
{
    struct park_table *table = park.table;
    uint64_t now = platform_now_ms();
    struct patience patience = {request->limit_ms, now + request->limit_ms, now + 10ull * request->limit_ms,
                                __atomic_load_n(&park.arrivals, __ATOMIC_ACQUIRE)};
    table_empty(table);
    table_add(table, request->self->tid, PARK_STANDING);
    table->slots[0] = *request->self;
    park.missed = 0;
    park.unlisted = false;
    do {
        struct listing listing = {0};
        park.added = 0;
        if (!tasks_list(list_one, &listing)) {
            park.unlisted = !__libc_single_threaded;
            break;
        }
        /* Not one thread is asked while the table is known to be too small: those that stood would be let go for the next
         * attempt, and a pause() or a wait of theirs would end. */
        if (park.missed)
            break;
        settle(&patience);
    } while (park.added && !patience_is_over(&patience, platform_now_ms()));
    give_up_waiting();
    return !park.missed;
}

/* The threads that are there, one behind the other, as the companion wants them. */
static void result_make(struct park_result *ret)
{
    struct park_table *table = park.table;
    ret->count = ret->left = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t state = state_of(&table->entries[i]);
        if (state != PARK_STANDING && state != PARK_LEFT)
            continue;
        struct thread_slot *slot = &table->slots[ret->count++];
        if (slot != &table->slots[i])
            *slot = table->slots[i];
        if (state == PARK_LEFT) {
            ret->left++;
            slot->tid = table->entries[i].tid;
            slot->state = THREAD_UNPARKED;
            task_name(slot->tid, slot->name);
        }
    }
    ret->slots = table->slots;
    ret->missed = park.missed;
    ret->unlisted = park.unlisted;
}

void park_others(const struct park_request *request, struct park_result *ret)
{
    park.signal = request->signal;
    while (!gather(request)) {
        struct park_table *small = park.table;
        if (!table_grow(small->count + park.missed, request->may_lock))
            break;
        table_empty(small);
        park_release();
    }
    result_make(ret);
}

void park_release(void)
{
    __atomic_add_fetch(&park.epoch, 1, __ATOMIC_RELEASE);
    kernel_futex_wake(&park.epoch, INT_MAX);
}

void park_forget(void)
{
    table_empty(park.table);
}
