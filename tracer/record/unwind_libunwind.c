/* SPDX-License-Identifier: MIT */
/*
 * unwind_libunwind.c - the walker on libunwind's remote interface, turned on our own process.
 *
 *     return address --> rule known? --> two loads                    (nearly always)
 *                            | no
 *                            v
 *                        a probe: libunwind steps once from that address on a made-up stack whose words are
 * their own addresses; where the caller's sp, ip and rbp came from can then be read off, and is the rule
 *
 * libunwind-x86_64 (the "remote" library of the same package) asks its caller for everything: registers,
 * memory, and where the unwind table of an address is. So it never calls dl_iterate_phdr (the loader's lock),
 * never reads an address that we have not found readable, and never guesses past a frame without unwind
 * information; and it can be asked about a stack that does not exist. Each context has an address space of
 * its own, so that their caches of unwind tables are never contended.
 *
 * Frames whose rule is not "register plus offset" (signal frames, realigned stacks, DWARF expressions) are
 * stepped by libunwind each time, with rsp and rbp; when it asks for another register, the whole walk is made
 * again by libunwind with all of them. Measured with 6, 20 and 36 frames: 0.2, 0.6 and 1.1 us a capture;
 * by libunwind's steps alone 5, 13 and 22 us.
 *
 * It is opened with RTLD_LOCAL: with libunwind in the program's name space its _Unwind_* would take over C++
 * exceptions.
 */
#include "tracer/record/unwind.h"

#include <dlfcn.h>
#include <libunwind.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/platform.h"
#include "tracer/record/code.h"
#include "tracer/record/rules.h"

#define LIBRARY   "libunwind-x86_64.so.8"
#define PAGE      4096u
#define PAGE_MASK (~(uint64_t)(PAGE - 1))

/* A probe (see derive_rule) runs on a made-up stack: registers far apart and far from anything real, and
 * words that tell the address they were read from. */
#define PROBE_RSP   0x0000700000000000ull
#define PROBE_RBP   0x0000780000000000ull
#define PROBE_REACH 0x0000010000000000ull
#define PROBE_KEY   0x5a00000000000000ull

/* Which registers access_reg gives out. */
enum registers_known { ALL_REGISTERS, ONLY_RSP_RBP };

struct state {
    unw_addr_space_t space;
    const struct unwind_request *request; /* of the walk going on */
    struct code_object object;            /* the object of the frame being stepped */
    uint64_t known_low, known_high;       /* pages of stack that have been found readable */
    bool no_info;                         /* the look-up for this frame found no unwind information */
    bool probing;                         /* memory outside the object is the made-up stack */
    enum registers_known known;
    uint32_t epoch;                       /* of the module list, for the rules this state uses */
    uint64_t ip;                          /* where the next cursor starts */
    uint64_t registers[UNWIND_REGISTERS]; /* and with which registers */
};

static struct {
    unw_addr_space_t (*create)(unw_accessors_t *, int);
    int (*caching)(unw_addr_space_t, unw_caching_policy_t);
    void (*flush)(unw_addr_space_t, unw_word_t, unw_word_t);
    int (*init)(unw_cursor_t *, unw_addr_space_t, void *);
    int (*step)(unw_cursor_t *);
    int (*get_reg)(unw_cursor_t *, unw_regnum_t, unw_word_t *);
    int (*search)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int, void *);
} lib; /* constant after start */

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
static bool stack_is_readable(struct state *state, uint64_t address)
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

static bool is_made_up(uint64_t address)
{
    return address - (PROBE_RSP - PROBE_REACH) < 2 * PROBE_REACH ||
           address - (PROBE_RBP - PROBE_REACH) < 2 * PROBE_REACH;
}

static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write, void *arg)
{
    struct state *state = arg;

    (void)space;
    if (write)
        return -UNW_EINVAL;
    bool in_object = address >= state->object.start && address + 8 <= state->object.end;
    if (!in_object && state->probing) {
        *value = address ^ PROBE_KEY;
        return is_made_up(address) ? 0 : -UNW_EINVAL;
    }
    if (!in_object && !stack_is_readable(state, address))
        return -UNW_EINVAL;
    memcpy(value, (const void *)(uintptr_t)address, sizeof(*value));
    return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int write, void *arg)
{
    struct state *state = arg;

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
    struct state *state = arg;
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

static unw_accessors_t accessors = {
    .find_proc_info = find_proc_info,
    .put_unwind_info = put_unwind_info,
    .get_dyn_info_list_addr = get_dyn_info_list,
    .access_mem = access_mem,
    .access_reg = access_reg,
    .access_fpreg = access_fpreg,
    .resume = no_resume,
    .get_proc_name = no_proc_name,
};

static bool libunwind_start(const char **ret_why)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    const struct {
        const char *name;
        void **where;
    } wanted[] = {
        {"_Ux86_64_create_addr_space", (void **)&lib.create},
        {"_Ux86_64_set_caching_policy", (void **)&lib.caching},
        {"_Ux86_64_flush_cache", (void **)&lib.flush},
        {"_Ux86_64_init_remote", (void **)&lib.init},
        {"_Ux86_64_step", (void **)&lib.step},
        {"_Ux86_64_get_reg", (void **)&lib.get_reg},
        {"_Ux86_64_dwarf_search_unwind_table", (void **)&lib.search},
    };

    if (!rules_start()) {
        *ret_why = "no memory for the unwind rules";
        return false;
    }
    if (!handle) {
        *ret_why = LIBRARY " cannot be loaded (Debian: apt-get install libunwind8)";
        return false;
    }
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        *wanted[i].where = dlsym(handle, wanted[i].name);
        if (!*wanted[i].where) {
            *ret_why = LIBRARY " lacks a function that the recorder needs";
            return false;
        }
    }
    return true;
}

static void *libunwind_new_state(void)
{
    struct state *state = platform_map_metadata(sizeof(*state));

    if (!state)
        return NULL;
    state->space = lib.create(&accessors, 0);
    if (!state->space)
        return NULL;
    lib.caching(state->space, UNW_CACHE_GLOBAL);
    return state;
}

static void libunwind_forget(void *arg, uint32_t epoch)
{
    struct state *state = arg;

    lib.flush(state->space, 0, 0);
    state->epoch = epoch;
}

/* --- the whole walk with libunwind: every register, every frame
 * --------------------------------------------- */

/* Hand the cursor's frame to the request; false: the walk is over. */
static bool tell(struct state *state, unw_cursor_t *cursor, uint64_t ip, bool exact)
{
    const struct unwind_request *request = state->request;
    uint64_t registers[UNWIND_REGISTERS] = {0};
    struct unwind_frame frame = {.ip = exact ? ip + 1 : ip, .exact = exact};

    if (request->want_registers) {
        for (unsigned i = 0; i < UNWIND_REGISTERS; i++) {
            unw_word_t value;
            registers[i] = lib.get_reg(cursor, (unw_regnum_t)i, &value) == 0 ? value : 0;
        }
        frame.registers = registers;
    }
    return request->frame(request->ctx, &frame);
}

/* The code at ip is the kernel's way back from a signal handler: mov $15,%rax; syscall. */
static bool is_signal_return(const struct code_object *object, uint64_t ip)
{
    static const unsigned char code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

    return ip >= object->start && ip + sizeof(code) <= object->end &&
           memcmp((const void *)(uintptr_t)ip, code, sizeof(code)) == 0;
}

static bool start_cursor(struct state *state, unw_cursor_t *cursor, enum registers_known known)
{
    state->known = known;
    state->no_info = false;
    return lib.init(cursor, state->space, state) >= 0;
}

static enum site_end walk_in_full(struct state *state)
{
    unw_cursor_t cursor;
    unw_word_t ip = state->request->ip;
    bool exact = false;

    state->ip = ip;
    memcpy(state->registers, state->request->registers, sizeof(state->registers));
    if (!start_cursor(state, &cursor, ALL_REGISTERS))
        return SITE_END_NO_STACK;
    for (;;) {
        if (!tell(state, &cursor, ip, exact))
            return SITE_END_COMPLETE;
        /* Its bytes may be read next, so the frame's object must be known. */
        if (!code_find(exact ? ip : ip - 1, &state->object))
            return SITE_END_NO_INFO;
        bool signal_frame = is_signal_return(&state->object, ip);
        int step = lib.step(&cursor);
        if (state->no_info || step < 0)
            return SITE_END_NO_INFO;
        if (step == 0 || lib.get_reg(&cursor, UNW_REG_IP, &ip) < 0 || ip == 0)
            return SITE_END_COMPLETE;
        exact = signal_frame;
    }
}

/* --- rules: asked of libunwind once a return address
 * ---------------------------------------------------------- */

/* Step once from pc on the made-up stack and read off where everything came from. Two registers, known to be
 * far apart, tell which one the CFA was computed from; a word that is its own address tells the slot it was
 * read from. Whatever does not come out as "register plus offset" is special. */
static struct rule read_rule(unw_cursor_t *cursor)
{
    const struct rule special = {.kind = RULE_SPECIAL};
    unw_word_t cfa, ip, rbp;

    if (lib.get_reg(cursor, UNW_REG_SP, &cfa) < 0 || lib.get_reg(cursor, UNW_REG_IP, &ip) < 0 ||
        lib.get_reg(cursor, UNW_X86_64_RBP, &rbp) < 0)
        return special;
    bool from_rbp = cfa > PROBE_RBP - PROBE_REACH;
    int64_t cfa_offset = (int64_t)(cfa - (from_rbp ? PROBE_RBP : PROBE_RSP));
    bool saved = rbp != PROBE_RBP;
    int64_t rbp_offset = saved ? (int64_t)((rbp ^ PROBE_KEY) - cfa) : 0;

    if (!is_made_up(cfa) || (ip ^ PROBE_KEY) != cfa - 8 || (saved && !is_made_up(rbp ^ PROBE_KEY)) ||
        cfa_offset <= -RULE_OFFSET_LIMIT || cfa_offset >= RULE_OFFSET_LIMIT ||
        rbp_offset <= -RULE_OFFSET_LIMIT || rbp_offset >= RULE_OFFSET_LIMIT)
        return special;
    return (struct rule){RULE_PLAIN, from_rbp, saved, (int32_t)cfa_offset, (int32_t)rbp_offset};
}

static struct rule derive_rule(struct state *state, uint64_t pc)
{
    unw_cursor_t cursor;
    struct rule rule = {.kind = RULE_SPECIAL};

    state->ip = pc;
    state->registers[UNWIND_RSP] = PROBE_RSP;
    state->registers[UNWIND_RBP] = PROBE_RBP;
    state->probing = true;
    if (start_cursor(state, &cursor, ONLY_RSP_RBP)) {
        int step = lib.step(&cursor);

        if (state->no_info)
            rule.kind = RULE_NO_INFO;
        else if (step == 0)
            rule.kind = RULE_LAST;
        else if (step > 0)
            rule = read_rule(&cursor);
    }
    state->probing = false;
    return rule;
}

struct place {
    uint64_t ip, rsp, rbp;
    bool exact;
};

enum step_result { STEPPED, STEP_LAST, STEP_NO_INFO, STEP_NEEDS_MORE };

static bool read_stack(struct state *state, uint64_t address, uint64_t *ret)
{
    if (!stack_is_readable(state, address))
        return false;
    memcpy(ret, (const void *)(uintptr_t)address, sizeof(*ret));
    return true;
}

static enum step_result step_plain(struct state *state, struct place *at, const struct rule *rule)
{
    uint64_t cfa = (rule->cfa_from_rbp ? at->rbp : at->rsp) + (uint64_t)(int64_t)rule->cfa_offset;

    /* A caller's frame lies above; anything else is damage, and following it might never end. */
    if (cfa <= at->rsp || !read_stack(state, cfa - 8, &at->ip))
        return STEP_NO_INFO;
    if (rule->rbp_saved && !read_stack(state, cfa + (uint64_t)(int64_t)rule->rbp_offset, &at->rbp))
        return STEP_NO_INFO;
    at->rsp = cfa;
    at->exact = false;
    return at->ip ? STEPPED : STEP_LAST;
}

/* With libunwind, knowing rsp and rbp only: should the frame's rule need another register, the step fails,
 * and the walk has to be made again with all of them. */
static enum step_result step_special(struct state *state, struct place *at)
{
    unw_cursor_t cursor;
    unw_word_t ip, rsp, rbp;
    bool signal_frame = is_signal_return(&state->object, at->ip);

    state->ip = at->exact ? at->ip : at->ip - 1;
    state->registers[UNWIND_RSP] = at->rsp;
    state->registers[UNWIND_RBP] = at->rbp;
    if (!start_cursor(state, &cursor, ONLY_RSP_RBP))
        return STEP_NEEDS_MORE;
    int step = lib.step(&cursor);
    if (state->no_info)
        return STEP_NO_INFO;
    if (step == 0)
        return STEP_LAST;
    if (step < 0 || lib.get_reg(&cursor, UNW_REG_IP, &ip) < 0 || lib.get_reg(&cursor, UNW_REG_SP, &rsp) < 0 ||
        lib.get_reg(&cursor, UNW_X86_64_RBP, &rbp) < 0)
        return STEP_NEEDS_MORE;
    *at = (struct place){ip, rsp, rbp, signal_frame};
    return ip ? STEPPED : STEP_LAST;
}

static enum step_result step(struct state *state, struct place *at)
{
    uint64_t pc = at->exact ? at->ip : at->ip - 1;
    struct rule rule = rules_get(pc, state->epoch);

    if (__builtin_expect(rule.kind == RULE_PLAIN, 1))
        return step_plain(state, at, &rule);
    if (!code_find(pc, &state->object))
        return STEP_NO_INFO;
    if (rule.kind == RULE_UNKNOWN) {
        rule = derive_rule(state, pc);
        rules_put(pc, state->epoch, &rule);
    }
    switch (rule.kind) {
    case RULE_PLAIN:
        return step_plain(state, at, &rule);
    case RULE_LAST:
        return STEP_LAST;
    case RULE_NO_INFO:
        return STEP_NO_INFO;
    default:
        return step_special(state, at);
    }
}

/* false: a frame needs a register that rules do not carry. */
static bool walk_by_rules(struct state *state, enum site_end *ret)
{
    const struct unwind_request *request = state->request;
    struct place at = {request->ip, request->registers[UNWIND_RSP], request->registers[UNWIND_RBP], false};

    for (;;) {
        struct unwind_frame frame = {.ip = at.exact ? at.ip + 1 : at.ip, .exact = at.exact};

        *ret = SITE_END_COMPLETE;
        if (!request->frame(request->ctx, &frame))
            return true;
        switch (step(state, &at)) {
        case STEPPED:
            break;
        case STEP_LAST:
            return true;
        case STEP_NO_INFO:
            *ret = SITE_END_NO_INFO;
            return true;
        case STEP_NEEDS_MORE:
            return false;
        }
    }
}

static enum site_end libunwind_walk(void *arg, const struct unwind_request *request)
{
    struct state *state = arg;
    enum site_end end;

    state->request = request;
    if (!request->want_registers && walk_by_rules(state, &end))
        return end;
    request->restart(request->ctx);
    return walk_in_full(state);
}

const struct unwinder unwinder_libunwind = {
    .name = "libunwind",
    .start = libunwind_start,
    .new_state = libunwind_new_state,
    .forget = libunwind_forget,
    .walk = libunwind_walk,
};
