/* SPDX-License-Identifier: MIT */
/*
 * platform.c - see platform.h. System calls go through one raw door, which leaves errno alone.
 *
 * x86-64 Linux only, like the rest of the library; another machine adds its door here.
 */
#include "allocator/platform.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "allocator/atomics.h"

#define FAILED(result) ((unsigned long)(result) > -4096ul)

/* --- the door ------------------------------------------------------------------------------------------- */

static long door(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static uint64_t fail_at, fail_end, calls; /* tests: calls number fail_at .. fail_end - 1 fail; 0: none does */
static unsigned fail_kinds = PLATFORM_ALL;

uint64_t platform_fail_some(unsigned kinds, uint64_t first, uint64_t count)
{
    store_relaxed(&fail_kinds, kinds == 0 ? PLATFORM_ALL : kinds);
    store_relaxed(&fail_end, count < UINT64_MAX - first ? first + count : UINT64_MAX);
    store_relaxed(&fail_at, kinds == 0 ? 0 : first);
    return __atomic_exchange_n(&calls, 0, __ATOMIC_RELAXED);
}

uint64_t platform_fail_nth(uint64_t n)
{
    return platform_fail_some(n == 0 ? 0 : PLATFORM_ALL, n, 1);
}

/* Counts the calls that may be made to fail. */
static bool must_fail(enum platform_call kind)
{
    uint64_t first = load_relaxed(&fail_at);
    if ((load_relaxed(&fail_kinds) & kind) == 0)
        return false;
    if (likely(first == 0)) {
        store_relaxed(&calls, load_relaxed(&calls) + 1);
        return false;
    }
    uint64_t call = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    return call >= first && call < load_relaxed(&fail_end);
}

/* --- memory --------------------------------------------------------------------------------------------- */

static void *map_raw(void *hint, size_t size)
{
    long result = door(SYS_mmap, (long)hint, (long)size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return FAILED(result) ? NULL : (void *)result;
}

static void unmap_raw(void *p, size_t size)
{
    if (size != 0)
        door(SYS_munmap, (long)p, (long)size, 0, 0, 0, 0);
}

static bool is_aligned(const void *p, size_t alignment)
{
    return ((uintptr_t)p & (alignment - 1)) == 0;
}

/* Take more than is needed and give the ends back. */
static void *map_and_trim(size_t size, size_t alignment)
{
    if (size > SIZE_MAX - alignment)
        return NULL;
    size_t total = size + alignment - PLATFORM_PAGE;
    unsigned char *p = map_raw(NULL, total);
    if (p == NULL)
        return NULL;
    unsigned char *start = (unsigned char *)(((uintptr_t)p + alignment - 1) & ~(uintptr_t)(alignment - 1));
    unmap_raw(p, (size_t)(start - p));
    unmap_raw(start + size, (size_t)(p + total - (start + size)));
    return start;
}

/* The kernel hands out the top of a gap: the aligned address below what it gave is nearly always free too.
 * This costs no address space beyond the block, which is what counts under RLIMIT_AS. */
static void *map_aligned(void *hint, size_t size, size_t alignment)
{
    unsigned char *p = map_raw(hint, size);
    if (p == NULL || is_aligned(p, alignment))
        return p;
    unmap_raw(p, size);
    unsigned char *below = (unsigned char *)((uintptr_t)p & ~(uintptr_t)(alignment - 1));
    p = map_raw(below, size);
    if (p == NULL || is_aligned(p, alignment))
        return p;
    unmap_raw(p, size);
    return map_and_trim(size, alignment);
}

void *platform_map_near(void *hint, size_t size, size_t alignment)
{
    return must_fail(PLATFORM_MAP) ? NULL : map_aligned(hint, size, alignment);
}

void *platform_map(size_t size, size_t alignment)
{
    return platform_map_near(NULL, size, alignment);
}

bool platform_unmap(void *p, size_t size)
{
    return !must_fail(PLATFORM_UNMAP) && !FAILED(door(SYS_munmap, (long)p, (long)size, 0, 0, 0, 0));
}

bool platform_purge(void *p, size_t size)
{
    return !must_fail(PLATFORM_PURGE) &&
           !FAILED(door(SYS_madvise, (long)p, (long)size, MADV_DONTNEED, 0, 0, 0));
}

/* Shared. Of the file, whose holes it is to fill, nothing is read ahead: that would be zeros, 128 KiB at each. */
static void *map_file(void *at, size_t size, int fd, int flags)
{
    if (must_fail(PLATFORM_MAP))
        return NULL;
    long p = door(SYS_mmap, (long)at, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
    if (FAILED(p))
        return NULL;
    door(SYS_madvise, p, (long)size, MADV_RANDOM, 0, 0, 0);
    return (void *)p;
}

void *platform_map_file(int fd, size_t size)
{
    return map_file(NULL, size, fd, 0);
}

bool platform_remap_file(void *p, size_t size, int fd)
{
    return map_file(p, size, fd, MAP_FIXED) != NULL;
}

bool platform_make_private(void *p, size_t used, size_t size)
{
    size_t pages = (used + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
    char *copy = platform_map(pages, PLATFORM_PAGE);
    if (copy == NULL)
        return false;
    /* A full disk could end the copying of a hole by a signal; being asked first it fails. */
    enum { POPULATE_READ = 22 }; /* MADV_POPULATE_READ, Linux 5.14 */
    long there = door(SYS_madvise, (long)p, (long)pages, POPULATE_READ, 0, 0, 0);
    if (FAILED(there) && there != -EINVAL && there != -EPERM && there != -ENOSYS) {
        (void)platform_unmap(copy, pages);
        return false;
    }
    memcpy(copy, p, used);
    if (FAILED(door(SYS_mremap, (long)copy, (long)pages, (long)pages, MREMAP_MAYMOVE | MREMAP_FIXED, (long)p,
                    0))) {
        (void)platform_unmap(copy, pages);
        return false;
    }
    return pages == size ||
           !FAILED(door(SYS_mmap, (long)p + (long)pages, (long)(size - pages), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));
}

#define HUGE_PAGE ((size_t)2 << 20)

/* To touch 64 MiB took 2.2 us for each 4 KiB, and 0.4 in huge pages. */
void *platform_map_metadata_dense(size_t size)
{
    void *mapped = platform_map_metadata(size);
    uintptr_t start = ((uintptr_t)mapped + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    uintptr_t end = ((uintptr_t)mapped + size) & ~(uintptr_t)(HUGE_PAGE - 1);
    if (mapped != NULL && start < end)
        door(SYS_madvise, (long)start, (long)(end - start), MADV_HUGEPAGE, 0, 0, 0);
    return mapped;
}

void *platform_map_metadata_wiped(void)
{
    void *page = platform_map_metadata(PLATFORM_PAGE);
    if (page == NULL || FAILED(door(SYS_madvise, (long)page, PLATFORM_PAGE, MADV_WIPEONFORK, 0, 0, 0)))
        return NULL;
    return page;
}

void platform_punch(void *p, size_t size)
{
    door(SYS_madvise, (long)p, (long)size, MADV_REMOVE, 0, 0, 0);
}

bool platform_populate(void *p, size_t size)
{
    enum { POPULATE_WRITE = 23 }; /* MADV_POPULATE_WRITE, Linux 5.14 */
    long result = door(SYS_madvise, (long)p, (long)size, POPULATE_WRITE, 0, 0, 0);
    return !FAILED(result) || result == -EINVAL || result == -EPERM || result == -ENOSYS;
}

void platform_avoid_huge_pages(void *p, size_t size)
{
    door(SYS_madvise, (long)p, (long)size, MADV_NOHUGEPAGE, 0, 0, 0);
}

static bool remap_raw(void *p, size_t old_size, size_t new_size, int flags, void *target)
{
    return !FAILED(door(SYS_mremap, (long)p, (long)old_size, (long)new_size, flags, (long)target, 0));
}

bool platform_resize(void *p, size_t old_size, size_t new_size)
{
    return !must_fail(PLATFORM_REMAP) && remap_raw(p, old_size, new_size, 0, NULL);
}

bool platform_move(void *p, size_t old_size, void *target, size_t new_size)
{
    return !must_fail(PLATFORM_REMAP) &&
           remap_raw(p, old_size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, target);
}

#define WINDOW_FIRST 0x200000000000u
#define WINDOW_COUNT 0x300u /* 48 TiB of them, below where Linux puts anything by itself */
#define WINDOW_SHIFT 36     /* 64 GiB */

void *platform_window(uint64_t random)
{
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer's shadow lies there. */
    (void)random;
    return NULL;
#else
    return (void *)(uintptr_t)(WINDOW_FIRST + ((random % WINDOW_COUNT) << WINDOW_SHIFT));
#endif
}

/* --- the rest ------------------------------------------------------------------------------------------- */

static uint64_t scramble(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

/* The C library makes its stack guard and pointer guard of the same 16 bytes, hence the scrambling: knowing
 * our word must not give those away. */
uint64_t platform_random(void)
{
    const void *bytes = (const void *)getauxval(AT_RANDOM); /* on the stack, not aligned */
    uint64_t random[2] = {0, 0};
    if (bytes != NULL)
        memcpy(random, bytes, sizeof random);
    uint64_t word = (uintptr_t)&fail_at ^ (scramble(random[0]) + 0x9e3779b97f4a7c15u * random[1]);
    word = scramble(word);
    return word != 0 ? word : 1;
}

uint64_t platform_now_ms(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int platform_thread_id(void)
{
    return (int)door(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* --- threads that are gone: a claim is the process's generation above the thread's id ------------------- */

#define ID_BITS        22 /* the kernel's own limit */
#define GENERATION_MAX ((1u << (32 - ID_BITS)) - 1)

static uint32_t *generation;  /* in a page that every fork wipes. Whoever makes it first; release */
static uint32_t generations;  /* that this process and those before it have had. Any thread */
static bool generation_fails; /* no such page is to be had. Any thread, one way */

static uint32_t *generation_page(void)
{
    uint32_t *page = load_acquire(&generation), *none = NULL;
    if (page != NULL || load_relaxed(&generation_fails))
        return page;
    page = platform_map_metadata(PLATFORM_PAGE);
    if (page == NULL || FAILED(door(SYS_madvise, (long)page, PLATFORM_PAGE, MADV_WIPEONFORK, 0, 0, 0))) {
        store_relaxed(&generation_fails, true);
        return NULL;
    }
    return cas_acq_rel(&generation, &none, page) ? page : none;
}

/* 0: unknown. Found wiped, it is another process: a number that no claim has had. */
static uint32_t generation_now(void)
{
    uint32_t *page = generation_page(), now = page == NULL ? 0 : load_relaxed(page);
    if (page == NULL || now != 0)
        return now;
    uint32_t next = __atomic_add_fetch(&generations, 1, __ATOMIC_RELAXED);
    if (next > GENERATION_MAX)
        return 0;
    return cas_acq_rel(page, &now, next) ? next : now;
}

/* The clock of a thread's own processor time is named by the thread's id, inverted, above three bits. The C library
 * makes the name from what it keeps of the thread: no system call, and no other thread's id in a vfork child. */
uint32_t platform_thread_claim(void)
{
    clockid_t clock;
    uint32_t process = generation_now();
    if (process == 0 || pthread_getcpuclockid(pthread_self(), &clock) != 0)
        return 0;
    return process << ID_BITS | ((uint32_t) ~(clock >> 3) & ((1u << ID_BITS) - 1));
}

/* A lock of the kind whose owner the kernel knows by its id: an attempt to take it from somebody who is not there
 * is ESRCH. (tgkill() would tell the same, but a sandboxed process that may wait for locks may not always signal.) */
bool platform_thread_is_gone(uint32_t claim)
{
    uint32_t word = claim & ((1u << ID_BITS) - 1);
    return claim >> ID_BITS == generation_now() && claim >> ID_BITS != 0 &&
           door(SYS_futex, (long)&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, 0, 0, 0) == -ESRCH;
}

/* --- locks ---------------------------------------------------------------------------------------------- */

#define SPINS    100
#define SLEEPERS 1u

/* Even, never 0, constant once given; a forked child keeps its parent's. Only its own thread writes it. */
static __thread uint32_t own_number __attribute__((tls_model("initial-exec")));
static uint32_t numbers_given; /* any thread */

/* A handler that comes in the middle gives the number; the thread it interrupted must not give another one. */
static __attribute__((noinline)) uint32_t number_give(void)
{
    uint32_t none = 0, number = 2 * __atomic_add_fetch(&numbers_given, 1, __ATOMIC_RELAXED);
    (void)__atomic_compare_exchange_n(&own_number, &none, number != 0 ? number : 2, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED);
    return own_number;
}

static inline uint32_t number_of_this_thread(void)
{
    uint32_t number = own_number;
    return likely(number != 0) ? number : number_give();
}

bool platform_lock_is_mine(const struct platform_lock *lock)
{
    /* Racy, but the answer cannot change: nobody else writes our number or takes it away. */
    uint32_t word = load_relaxed(&lock->word);
    return word != 0 && (word & ~SLEEPERS) == own_number;
}

static bool lock_take(struct platform_lock *lock, uint32_t word)
{
    uint32_t none = 0;
    return __atomic_compare_exchange_n(&lock->word, &none, word, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

bool platform_try_lock(struct platform_lock *lock)
{
    return lock_take(lock, number_of_this_thread());
}

/* Who has slept takes the lock with the bit set: there may be others. */
static void lock_sleep(struct platform_lock *lock)
{
    uint32_t number = number_of_this_thread();
    while (!lock_take(lock, number | SLEEPERS)) {
        uint32_t word = load_relaxed(&lock->word);
        if (word != 0 && ((word & SLEEPERS) != 0 || cas_acq_rel(&lock->word, &word, word | SLEEPERS)))
            door(SYS_futex, (long)&lock->word, FUTEX_WAIT_PRIVATE, word | SLEEPERS, 0, 0, 0);
    }
}

void platform_lock(struct platform_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        if (load_relaxed(&lock->word) == 0 && platform_try_lock(lock))
            return;
        __builtin_ia32_pause();
    }
    lock_sleep(lock);
}

void platform_unlock(struct platform_lock *lock)
{
    if ((__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) & SLEEPERS) != 0)
        door(SYS_futex, (long)&lock->word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

void platform_lock_pass(struct platform_lock *lock)
{
    door(SYS_futex, (long)&lock->word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

void platform_lock_reset(struct platform_lock *lock)
{
    store_relaxed(&lock->word, 0);
}
