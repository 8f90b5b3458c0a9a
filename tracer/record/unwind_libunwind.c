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
 * again by libunwind with all of them. Measured with 6, 20 and 36 frames, twice on a shared machine:
 * 0.2 to 0.3, 0.6 to 0.9 and 1.1 to 1.4 us a capture; by libunwind's steps alone, once, 5, 13 and 22 us.
 *
 * It is opened with RTLD_LOCAL: with libunwind in the program's name space its _Unwind_* would take over C++
 * exceptions.
 */
#include "tracer/record/unwind.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/platform.h"
#include "tracer/record/libunwind_state.h"
#include "tracer/record/modules.h"
#include "tracer/record/redirect.h"
#include "tracer/record/rules.h"

#define LIBRARY "libunwind-x86_64.so.8"

struct libunwind_functions lib;

/* --- libunwind's pipe -----------------------------------------------------------------------------------------
 * It opens one at its first use, with which its local half asks whether memory can be read. We never use that half, and the
 * program expects its own files at the numbers the pipe took. */

static int
    free_before[2]; /* the two lowest descriptors free before libunwind was loaded; constant after start */

static void note_free_descriptors(void)
{
    int fd = 0;

    for (int i = 0; i < 2; i++, fd++) {
        while (fd < 1024 && fcntl(fd, F_GETFD) != -1)
            fd++;
        free_before[i] = fd;
    }
}

static bool is_pipe(int fd, ino_t *ret_inode)
{
    struct stat info;

    if (fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode))
        return false;
    *ret_inode = info.st_ino;
    return true;
}

static void libunwind_settle(void)
{
    ino_t in, out;

    if (is_pipe(free_before[0], &in) && is_pipe(free_before[1], &out) && in == out) {
        close(free_before[0]);
        close(free_before[1]);
    }
}

/* libunwind's, in place of libc's (redirect.h). It asks for the old mask when it takes a lock: then nothing is to be unblocked,
 * although its full set, made by libc, lacks 32 and 33. When it gives the mask back, it is given back whole. */
static int whole_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    return (int)syscall(SYS_rt_sigprocmask, old ? SIG_BLOCK : how, set, old, sizeof(uint64_t));
}

static bool libunwind_start(const char **ret_why)
{
    note_free_descriptors();
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
    if (!redirect_import(handle, "sigprocmask", (void *)whole_sigprocmask)) {
        *ret_why = LIBRARY " blocks signals in a way that cannot be made safe";
        return false;
    }
    return true;
}

static void *libunwind_new_state(void (*own_block)(void *block))
{
    struct libunwind_state *state = platform_map_metadata(sizeof(*state));

    if (!state)
        return NULL;
    state->space = lib.create(&libunwind_accessors, 0);
    if (!state->space)
        return NULL;
    own_block(state->space);
    lib.caching(state->space, UNW_CACHE_GLOBAL);
    return state;
}

static void libunwind_forget(void *arg, uint32_t epoch)
{
    struct libunwind_state *state = arg;

    lib.flush(state->space, 0, 0);
    state->known_low = state->known_high = 0;
    state->epoch = epoch;
    modules_opened();
}

/* --- the whole walk with libunwind: every register, every frame
 * --------------------------------------------- */

/* Hand the cursor's frame to the request; false: the walk is over. */
static bool tell(struct libunwind_state *state, unw_cursor_t *cursor, uint64_t ip, bool exact)
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
bool libunwind_is_signal_return(const struct code_object *object, uint64_t ip)
{
    static const unsigned char code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

    return ip >= object->start && ip + sizeof(code) <= object->end &&
           memcmp((const void *)(uintptr_t)ip, code, sizeof(code)) == 0;
}

bool libunwind_start_cursor(struct libunwind_state *state, unw_cursor_t *cursor, enum registers_known known)
{
    state->known = known;
    state->no_info = false;
    return lib.init(cursor, state->space, state) >= 0;
}

static enum site_end walk_in_full(struct libunwind_state *state)
{
    unw_cursor_t cursor;
    unw_word_t ip = state->request->ip;
    bool exact = false;

    state->ip = ip;
    memcpy(state->registers, state->request->registers, sizeof(state->registers));
    if (!libunwind_start_cursor(state, &cursor, ALL_REGISTERS))
        return SITE_END_NO_STACK;
    for (;;) {
        if (!tell(state, &cursor, ip, exact))
            return SITE_END_COMPLETE;
        /* Its bytes may be read next, so the frame's object must be known. */
        if (!code_find(exact ? ip : ip - 1, &state->object))
            return SITE_END_NO_INFO;
        bool signal_frame = libunwind_is_signal_return(&state->object, ip);
        int step = lib.step(&cursor);
        if (state->no_info || step < 0)
            return SITE_END_NO_INFO;
        if (step == 0 || lib.get_reg(&cursor, UNW_REG_IP, &ip) < 0 || ip == 0)
            return SITE_END_COMPLETE;
        exact = signal_frame;
    }
}

static enum site_end libunwind_walk(void *arg, const struct unwind_request *request)
{
    struct libunwind_state *state = arg;
    enum site_end end;

    state->request = request;
    if (!request->want_registers && libunwind_walk_by_rules(state, &end))
        return end;
    request->restart(request->ctx);
    return walk_in_full(state);
}

const struct unwinder unwinder_libunwind = {
    .name = "libunwind",
    .start = libunwind_start,
    .settle = libunwind_settle,
    .new_state = libunwind_new_state,
    .forget = libunwind_forget,
    .walk = libunwind_walk,
    .step = libunwind_step,
    .readable = libunwind_readable,
};
