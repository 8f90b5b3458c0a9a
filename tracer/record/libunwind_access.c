/* SPDX-License-Identifier: MIT */
#include "tracer/record/libunwind_state.h"

#include <string.h>
#include <sys/syscall.h>

#define PAGE      4096u
#define PAGE_MASK (~(uint64_t)(PAGE - 1))

/* Is the page at `address` readable? rt_sigprocmask with an invalid `how` reads its mask first: EFAULT or
 * EINVAL, no signal, no descriptor, and allowed in every sandbox that has signals at all. */
static bool page_is_readable(uint64_t address)
{
    long result;

    /* Raw, so that errno stays. */
    __asm__ volatile("movq $8, %%r10\n\tsyscall"
                     : "=a"(result)
                     : "a"(SYS_rt_sigprocmask), "D"(-1l), "S"(address), "d"(0l)
                     : "rcx", "r11", "r10", "memory");
    return result != -14; /* EFAULT */
}

/* The stack is one run of pages; it is learnt page by page as walks go outward, and forgotten when they start
 * elsewhere. */
static bool stack_is_readable(struct libunwind_state *state, uint64_t address)
{
    if (address >= state->known_low && address + 8 <= state->known_high)
        return true;
    uint64_t page = address & PAGE_MASK;
    if (page != ((address + 7) & PAGE_MASK) || !page_is_readable(page))
        return false;
    if (page == state->known_high)
        state->known_high += PAGE;
    else if (page + PAGE == state->known_low)
        state->known_low = page;
    else {
        state->known_low = page;
        state->known_high = page + PAGE;
    }
    return true;
}

bool libunwind_read_stack(struct libunwind_state *state, uint64_t address, uint64_t *ret)
{
    if (!stack_is_readable(state, address))
        return false;
    memcpy(ret, (const void *)(uintptr_t)address, sizeof(*ret));
    return true;
}

bool libunwind_is_made_up(uint64_t address)
{
    return address - (PROBE_RSP - PROBE_REACH) < 2 * PROBE_REACH ||
           address - (PROBE_RBP - PROBE_REACH) < 2 * PROBE_REACH;
}

#define RED_ZONE 128u /* below rsp, a function's own */

static bool is_in_object(const struct code_object *object, uint64_t address)
{
    return (address >= object->start && address + 8 <= object->end) ||
           (address >= object->tables_start && address + 8 <= object->tables_end);
}

/* A coroutine's or a handler's stack may be a variable of the object's, which lie behind its tables. */
static bool is_stack_in_object(const struct libunwind_state *state, uint64_t address)
{
    uint64_t rsp = state->registers[UNWIND_RSP];

    return rsp >= state->object.start && rsp < state->object.end && address + RED_ZONE >= rsp;
}

static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write, void *arg)
{
    struct libunwind_state *state = arg;

    (void)space;
    if (write)
        return -UNW_EINVAL;
    bool in_object = is_in_object(&state->object, address) && !is_stack_in_object(state, address);
    if (!in_object && state->probing) {
        *value = address ^ PROBE_KEY;
        return libunwind_is_made_up(address) ? 0 : -UNW_EINVAL;
    }
    if (!in_object && !stack_is_readable(state, address))
        return -UNW_EINVAL;
    memcpy(value, (const void *)(uintptr_t)address, sizeof(*value));
    if (!in_object && state->reads)
        note_read(state->reads, address, *value);
    return 0;
}

void libunwind_readable(const void *arg, uint64_t *ret_low, uint64_t *ret_high)
{
    const struct libunwind_state *state = arg;

    *ret_low = state->known_low;
    *ret_high = state->known_high;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int write, void *arg)
{
    struct libunwind_state *state = arg;

    (void)space;
    if (write)
        return -UNW_EREADONLYREG;
    bool stack_register = reg == UNW_X86_64_RSP || reg == UNW_X86_64_RBP;
    if (reg == UNW_X86_64_RIP)
        *value = state->ip;
    else if (reg >= 0 && reg < (int)UNWIND_REGISTERS && (stack_register || state->known == ALL_REGISTERS))
        *value = state->registers[reg];
    else
        return -UNW_EBADREG;
    return 0;
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t reg, unw_fpreg_t *value, int write, void *arg)
{
    (void)space, (void)reg, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

/* .eh_frame_hdr: version, three encodings, the table of (function, description) pairs relative to the header.
 */
static bool describe_table(const struct code_object *object, unw_dyn_info_t *info)
{
    const unsigned char *header = (const unsigned char *)(uintptr_t)object->eh_frame_hdr;
    enum { UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b, PCREL_SDATA4 = 0x1b };

    if (!header || header[0] != 1 || header[1] != PCREL_SDATA4 || header[2] != UDATA4 ||
        header[3] != DATAREL_SDATA4)
        return false;
    uint32_t count;
    memcpy(&count, header + 8, sizeof(count));
    memset(info, 0, sizeof(*info));
    info->start_ip = object->start;
    info->end_ip = object->end;
    info->format = UNW_INFO_FORMAT_REMOTE_TABLE;
    info->u.rti.segbase = object->eh_frame_hdr;
    info->u.rti.table_data = object->eh_frame_hdr + 12;
    info->u.rti.table_len = (uint64_t)count * 8 / sizeof(unw_word_t);
    return count > 0;
}

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_unwind_info,
                          void *arg)
{
    struct libunwind_state *state = arg;
    unw_dyn_info_t table;
    int result = -UNW_ENOINFO;

    if (code_find(ip, &state->object) && describe_table(&state->object, &table))
        result = lib.search(space, ip, &table, info, need_unwind_info, arg);
    if (result < 0)
        state->no_info = true;
    return result;
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
    (void)space, (void)info, (void)arg;
}

static int get_dyn_info_list(unw_addr_space_t space, unw_word_t *list, void *arg)
{
    (void)space, (void)list, (void)arg;
    return -UNW_ENOINFO;
}

static int no_resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
    (void)space, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int no_proc_name(unw_addr_space_t space, unw_word_t ip, char *name, size_t size, unw_word_t *offset,
                        void *arg)
{
    (void)space, (void)ip, (void)name, (void)size, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

unw_accessors_t libunwind_accessors = {
    .find_proc_info = find_proc_info,
    .put_unwind_info = put_unwind_info,
    .get_dyn_info_list_addr = get_dyn_info_list,
    .access_mem = access_mem,
    .access_reg = access_reg,
    .access_fpreg = access_fpreg,
    .resume = no_resume,
    .get_proc_name = no_proc_name,
};
