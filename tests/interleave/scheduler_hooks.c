/* SPDX-License-Identifier: MIT */
/*
 * scheduler_hooks.c - what code compiled with -fsanitize=thread calls: each access becomes the scheduler's. See scheduler.h.
 *
 * The names are the compiler's, so they are declared here and nowhere else.
 */
#include <string.h>

#include "tests/interleave/scheduler.h"

#define HERE __builtin_return_address(0)

#define PLAIN(bytes)                                                                                         \
    void __tsan_read##bytes(void *p);                                                                        \
    void __tsan_read##bytes(void *p)                                                                         \
    {                                                                                                        \
        scheduler_access(p, bytes, ACCESS_READ, HERE);                                                       \
    }                                                                                                        \
    void __tsan_write##bytes(void *p);                                                                       \
    void __tsan_write##bytes(void *p)                                                                        \
    {                                                                                                        \
        scheduler_access(p, bytes, ACCESS_WRITE, HERE);                                                      \
    }                                                                                                        \
    void __tsan_unaligned_read##bytes(void *p);                                                              \
    void __tsan_unaligned_read##bytes(void *p)                                                               \
    {                                                                                                        \
        scheduler_access(p, bytes, ACCESS_READ, HERE);                                                       \
    }                                                                                                        \
    void __tsan_unaligned_write##bytes(void *p);                                                             \
    void __tsan_unaligned_write##bytes(void *p)                                                              \
    {                                                                                                        \
        scheduler_access(p, bytes, ACCESS_WRITE, HERE);                                                      \
    }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

/* The order asked for says nothing here: all is sequentially consistent. */
#define ATOMIC_UPDATE(bits, name, operation)                                                                 \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v, int order);    \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v, int order)     \
    {                                                                                                        \
        (void)order;                                                                                         \
        scheduler_access((void *)(uintptr_t)p, sizeof *p, ACCESS_WRITE, HERE);                               \
        return operation(p, v, __ATOMIC_SEQ_CST);                                                            \
    }

#define ATOMIC_SWAP(bits, name)                                                                              \
    int __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, \
                                     int order, int failed);                                                 \
    int __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, \
                                     int order, int failed)                                                  \
    {                                                                                                        \
        (void)order;                                                                                         \
        (void)failed;                                                                                        \
        scheduler_access((void *)(uintptr_t)p, sizeof *p, ACCESS_WRITE, HERE);                               \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);       \
    }

#define ATOMICS(bits)                                                                                        \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order);                  \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order)                   \
    {                                                                                                        \
        (void)order;                                                                                         \
        scheduler_access((void *)(uintptr_t)p, sizeof *p, ACCESS_READ, HERE);                                \
        return *p;                                                                                           \
    }                                                                                                        \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order);               \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order)                \
    {                                                                                                        \
        (void)order;                                                                                         \
        scheduler_access((void *)(uintptr_t)p, sizeof *p, ACCESS_WRITE, HERE);                               \
        *p = v;                                                                                              \
    }                                                                                                        \
    ATOMIC_UPDATE(bits, exchange, __atomic_exchange_n)                                                       \
    ATOMIC_UPDATE(bits, fetch_add, __atomic_fetch_add)                                                       \
    ATOMIC_UPDATE(bits, fetch_sub, __atomic_fetch_sub)                                                       \
    ATOMIC_UPDATE(bits, fetch_or, __atomic_fetch_or)                                                         \
    ATOMIC_UPDATE(bits, fetch_and, __atomic_fetch_and)                                                       \
    ATOMIC_UPDATE(bits, fetch_xor, __atomic_fetch_xor)                                                       \
    ATOMIC_SWAP(bits, compare_exchange_strong)                                                               \
    ATOMIC_SWAP(bits, compare_exchange_weak)

ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

void __tsan_read_range(void *p, size_t size);
void __tsan_read_range(void *p, size_t size)
{
    scheduler_access(p, size, ACCESS_READ, HERE);
}

void __tsan_write_range(void *p, size_t size);
void __tsan_write_range(void *p, size_t size)
{
    scheduler_access(p, size, ACCESS_WRITE, HERE);
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
    (void)pc;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    (void)order;
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}

/* --- the C library's, which the compiler does not instrument (linked with --wrap) ------------------------------- */

void *__real_memset(void *p, int value, size_t size);
void *__real_memcpy(void *to, const void *from, size_t size);
void *__real_memmove(void *to, const void *from, size_t size);
void *__wrap_memset(void *p, int value, size_t size);
void *__wrap_memcpy(void *to, const void *from, size_t size);
void *__wrap_memmove(void *to, const void *from, size_t size);

void *__wrap_memset(void *p, int value, size_t size)
{
    scheduler_access(p, size, ACCESS_WRITE, HERE);
    return __real_memset(p, value, size);
}

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
    scheduler_access(from, size, ACCESS_READ, HERE);
    scheduler_access(to, size, ACCESS_WRITE, HERE);
    return __real_memcpy(to, from, size);
}

void *__wrap_memmove(void *to, const void *from, size_t size)
{
    scheduler_access(from, size, ACCESS_READ, HERE);
    scheduler_access(to, size, ACCESS_WRITE, HERE);
    return __real_memmove(to, from, size);
}
