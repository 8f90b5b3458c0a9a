/* SPDX-License-Identifier: MIT */
/*
 * elf_kind.h - what kind of program a file is, from its first pages.
 *
 *    bytes --> ELF header --> program headers --> PT_INTERP: the loader's path
 *                                             '-> PT_DYNAMIC: a static program has none; a static-pie one has
 * no PT_INTERP
 *
 * Only what decides whether a preload can work; every number in the file is distrusted, and a file that says
 * nonsense is ELF_DAMAGED. Pure: bytes in, answer out, so that a test can feed it anything.
 */
#ifndef HEAPTALLY_ELF_KIND_H
#define HEAPTALLY_ELF_KIND_H

#include <stddef.h>
#include <stdint.h>

enum elf_kind {
    ELF_DYNAMIC, /* 64-bit x86-64, asks for a loader: ret_interp */
    ELF_LOADER,  /* a loader itself, run as a command (ld.so PROG): it preloads too */
    ELF_NOT_ELF, /* not this format at all: a script, perhaps */
    ELF_DAMAGED,
    ELF_STATIC,        /* no loader runs, so nothing is preloaded */
    ELF_OTHER_CLASS,   /* 32-bit */
    ELF_OTHER_MACHINE, /* ret_machine */
    ELF_NOT_PROGRAM,   /* an object file or a core */
};

struct elf_reader {
    /* Copies up to length bytes from offset; returns how many. */
    size_t (*read)(void *ctx, uint64_t offset, void *buf, size_t length);
    void *ctx;
};

struct elf_answer {
    enum elf_kind kind;
    unsigned machine; /* e_machine */
    char interp[256]; /* the loader's path, "" when there is none */
};
struct elf_answer elf_kind_of(const struct elf_reader *reader);

/* "aarch64", "32-bit x86", ... or "machine 123" in buf. */
const char *elf_machine_name(unsigned machine, char *buf, size_t size);

#endif
