/* SPDX-License-Identifier: MIT */
/*
 * walkers_remote.c - a program's own use of libunwind-x86_64, on itself: the same copy of the library, with the same pools
 * and locks, as the recorder's, which is loaded when the program has long been bound to it. One thread uses this.
 */
#include "walkers.h"

#include <libunwind.h>
#include <link.h>
#include <string.h>
#include <ucontext.h>

/* In the library, but in no header that is installed. */
int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int,
                                       void *);

static unw_addr_space_t space;
static ucontext_t here;

/* Where the unwind table of an address is. */
struct table {
    unw_word_t ip, start, end, header;
};

static int look_at(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct table *table = arg;
    bool found = false;
    unw_word_t header = 0;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        unw_word_t start = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_GNU_EH_FRAME)
            header = start;
        if (p->p_type != PT_LOAD || table->ip < start || table->ip >= start + p->p_memsz)
            continue;
        found = true;
        table->start = start;
        table->end = start + p->p_memsz;
    }
    table->header = header;
    return found && header;
}

static int find_proc_info(unw_addr_space_t of, unw_word_t ip, unw_proc_info_t *info, int need, void *arg)
{
    struct table table = {.ip = ip};
    unw_dyn_info_t dyn;
    uint32_t count;

    if (!dl_iterate_phdr(look_at, &table))
        return -UNW_ENOINFO;
    memcpy(&count, (const char *)(uintptr_t)table.header + 8, sizeof(count));
    memset(&dyn, 0, sizeof(dyn));
    dyn.start_ip = table.start;
    dyn.end_ip = table.end;
    dyn.format = UNW_INFO_FORMAT_REMOTE_TABLE;
    dyn.u.rti.segbase = table.header;
    dyn.u.rti.table_data = table.header + 12;
    dyn.u.rti.table_len = (unw_word_t)count * 8 / sizeof(unw_word_t);
    return _Ux86_64_dwarf_search_unwind_table(of, ip, &dyn, info, need, arg);
}

static void put_unwind_info(unw_addr_space_t of, unw_proc_info_t *info, void *arg)
{
    (void)of, (void)info, (void)arg;
}

static int no_list(unw_addr_space_t of, unw_word_t *list, void *arg)
{
    (void)of, (void)list, (void)arg;
    return -UNW_ENOINFO;
}

static int access_mem(unw_addr_space_t of, unw_word_t at, unw_word_t *value, int write, void *arg)
{
    (void)of, (void)arg;
    if (write)
        return -UNW_EINVAL;
    memcpy(value, (const void *)(uintptr_t)at, sizeof(*value));
    return 0;
}

static int access_reg(unw_addr_space_t of, unw_regnum_t number, unw_word_t *value, int write, void *arg)
{
    static const unsigned char where[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                          REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};

    (void)of, (void)arg;
    if (write || number < 0 || number >= (int)sizeof(where))
        return -UNW_EBADREG;
    *value = (unw_word_t)here.uc_mcontext.gregs[where[number]];
    return 0;
}

static int access_fpreg(unw_addr_space_t of, unw_regnum_t number, unw_fpreg_t *value, int write, void *arg)
{
    (void)of, (void)number, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static unw_accessors_t accessors = {
    .find_proc_info = find_proc_info,
    .put_unwind_info = put_unwind_info,
    .get_dyn_info_list_addr = no_list,
    .access_mem = access_mem,
    .access_reg = access_reg,
    .access_fpreg = access_fpreg,
};

bool remote_start(void)
{
    space = unw_create_addr_space(&accessors, 0);
    return space != NULL;
}

/* As deep as its caller, and the remote half's own frame. */
struct met remote_walk(struct range wanted, struct range root)
{
    struct met met = {0};
    unw_cursor_t cursor;
    unw_word_t ip;

    getcontext(&here);
    if (unw_init_remote(&cursor, space, &here) < 0)
        return met;
    do {
        if (unw_get_reg(&cursor, UNW_REG_IP, &ip) < 0)
            break;
        met.frames++;
        met.inside += ip - wanted.low < wanted.high - wanted.low;
        met.root |= ip - root.low < root.high - root.low;
    } while (unw_step(&cursor) > 0);
    return met;
}

bool remote_disturb(unsigned turn)
{
    static const unw_caching_policy_t policies[] = {UNW_CACHE_NONE, UNW_CACHE_GLOBAL, UNW_CACHE_PER_THREAD};

    if (turn % 5 == 0)
        unw_flush_cache(space, 0, 0);
    if (turn % 64 == 0) {
        unw_destroy_addr_space(space);
        return remote_start();
    }
    return unw_set_caching_policy(space, policies[turn % 3]) == 0;
}
