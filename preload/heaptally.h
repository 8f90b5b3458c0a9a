/* SPDX-License-Identifier: MIT */
/*
 * heaptally.h - tell heaptally what it cannot see: for programs, to be included and linked with nothing.
 *
 *    __lsan_ignore_object(p);            this block is kept on purpose; so is all that it points to
 *    __lsan_disable(); ... __lsan_enable();   and so is all that this thread allocates meanwhile
 *    __lsan_register_root_region(a, n);  pointers in here count: memory that no scanner would take for a root
 *
 * Names and meaning are those of <sanitizer/lsan_interface.h>, so that a program annotated for LeakSanitizer
 * needs no second set. The declarations are weak: without the preloaded library the HEAPTALLY_ forms do
 * nothing.
 */
#ifndef HEAPTALLY_H
#define HEAPTALLY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEAPTALLY_WEAK __attribute__((weak))

HEAPTALLY_WEAK void __lsan_ignore_object(const void *p);
HEAPTALLY_WEAK void __lsan_register_root_region(const void *p, size_t size);
HEAPTALLY_WEAK void __lsan_unregister_root_region(const void *p, size_t size);
HEAPTALLY_WEAK void __lsan_disable(void);
HEAPTALLY_WEAK void __lsan_enable(void);

/* There for programs that call them; the check is made when the program ends or the companion asks. */
HEAPTALLY_WEAK void __lsan_do_leak_check(void);
HEAPTALLY_WEAK int __lsan_do_recoverable_leak_check(void);

#define HEAPTALLY_IGNORE(p)     (__lsan_ignore_object ? __lsan_ignore_object(p) : (void)0)
#define HEAPTALLY_ROOT(p, size) (__lsan_register_root_region ? __lsan_register_root_region(p, size) : (void)0)
#define HEAPTALLY_NO_ROOT(p, size)                                                                           \
    (__lsan_unregister_root_region ? __lsan_unregister_root_region(p, size) : (void)0)
#define HEAPTALLY_DISABLE() (__lsan_disable ? __lsan_disable() : (void)0)
#define HEAPTALLY_ENABLE()  (__lsan_enable ? __lsan_enable() : (void)0)

#ifdef __cplusplus
}
#endif

#endif
