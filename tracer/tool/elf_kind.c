/* SPDX-License-Identifier: MIT */
#include "tracer/tool/elf_kind.h"

#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MAX_HEADERS 512u /* programs have a dozen; more is damage, and would only cost time */

static bool read_exactly(const struct elf_reader *reader, uint64_t offset, void *buf, size_t length)
{
    return reader->read(reader->ctx, offset, buf, length) == length;
}

static bool read_interp(const struct elf_reader *reader, const Elf64_Phdr *ph, struct elf_answer *answer)
{
    if (ph->p_filesz < 2 || ph->p_filesz >= sizeof(answer->interp) ||
        !read_exactly(reader, ph->p_offset, answer->interp, ph->p_filesz))
        return false;
    answer->interp[ph->p_filesz] = '\0';
    return answer->interp[0] != '\0';
}

/* A loader has no PT_INTERP but a DT_SONAME; a static-pie program has neither. The flag DF_1_PIE tells
 * linkers' newer static-pie programs apart, too, but older ones lack it: the name is asked, it is the only
 * one that never lies. */
static bool is_loader(const struct elf_reader *reader, const Elf64_Phdr *dynamic)
{
    bool named = false;
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic->p_filesz && at < 4096; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn entry;
        if (!read_exactly(reader, dynamic->p_offset + at, &entry, sizeof(entry)) || entry.d_tag == DT_NULL)
            break;
        if (entry.d_tag == DT_NEEDED)
            return false;
        named |= entry.d_tag == DT_SONAME;
    }
    return named;
}

static enum elf_kind kind_from_headers(const struct elf_reader *reader, const Elf64_Ehdr *eh,
                                       struct elf_answer *answer)
{
    bool has_dynamic = false;
    Elf64_Phdr dynamic = {0};

    if (eh->e_phnum == 0 || eh->e_phnum > MAX_HEADERS || eh->e_phentsize != sizeof(Elf64_Phdr))
        return ELF_DAMAGED;
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr ph;
        if (!read_exactly(reader, eh->e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
            return ELF_DAMAGED;
        if (ph.p_type == PT_INTERP && !read_interp(reader, &ph, answer))
            return ELF_DAMAGED;
        if (ph.p_type == PT_DYNAMIC) {
            has_dynamic = true;
            dynamic = ph;
        }
    }
    if (answer->interp[0])
        return ELF_DYNAMIC;
    return has_dynamic && eh->e_type == ET_DYN && is_loader(reader, &dynamic) ? ELF_LOADER : ELF_STATIC;
}

struct elf_answer elf_kind_of(const struct elf_reader *reader)
{
    struct elf_answer answer = {.kind = ELF_NOT_ELF};
    unsigned char head[sizeof(Elf64_Ehdr)] = {0};
    Elf64_Ehdr eh;

    size_t got = reader->read(reader->ctx, 0, head, sizeof(head));
    if (got < SELFMAG || memcmp(head, ELFMAG, SELFMAG) != 0)
        return answer;
    /* Class, byte order, type and machine are at the same place in every ELF. */
    memcpy(&eh, head, sizeof(eh));
    bool named = got >= offsetof(Elf64_Ehdr, e_version);
    answer.machine = eh.e_ident[EI_DATA] == ELFDATA2MSB ? (unsigned)(head[18] << 8 | head[19]) : eh.e_machine;
    if (named &&
        (eh.e_ident[EI_DATA] != ELFDATA2LSB || (answer.machine != EM_X86_64 && answer.machine != EM_386)))
        answer.kind = ELF_OTHER_MACHINE;
    else if (named && eh.e_ident[EI_CLASS] != ELFCLASS64)
        answer.kind = ELF_OTHER_CLASS;
    else if (got < sizeof(head) || answer.machine != EM_X86_64)
        answer.kind = ELF_DAMAGED;
    else if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
        answer.kind = ELF_NOT_PROGRAM;
    else
        answer.kind = kind_from_headers(reader, &eh, &answer);
    return answer;
}

const char *elf_machine_name(unsigned machine, char *buf, size_t size)
{
    static const struct {
        unsigned machine;
        const char *name;
    } names[] = {
        {EM_X86_64, "x86-64"},   {EM_386, "32-bit x86"}, {EM_AARCH64, "aarch64"},     {EM_ARM, "32-bit ARM"},
        {EM_RISCV, "RISC-V"},    {EM_PPC64, "ppc64"},    {EM_S390, "s390x"},          {EM_MIPS, "MIPS"},
        {EM_SPARCV9, "sparc64"}, {EM_IA_64, "Itanium"},  {EM_LOONGARCH, "LoongArch"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].machine == machine)
            return names[i].name;
    snprintf(buf, size, "machine %u", machine);
    return buf;
}
