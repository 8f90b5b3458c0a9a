/* SPDX-License-Identifier: MIT */
#include "preload/misuse.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/face.h"
#include "preload/freed.h"
#include "preload/line.h"
#include "preload/preload.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

#define STACK_SHOWN     32u
#define MISMATCHES_TOLD 16u

/* glibc's own since 2.35, without lock or memory; weak so that the library loads without it. */
extern int _dl_find_object(void *address, struct dl_find_object *ret) __attribute__((weak));

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static const char *program_name(void)
{
    return program_invocation_short_name ? program_invocation_short_name : "?";
}

static void line_end_of_message(struct line *line)
{
    line_text(line, " in ");
    line_text(line, program_name());
    line_text(line, " pid ");
    line_number(line, syscall(SYS_getpid));
    line_write(line, STDERR_FILENO);
}

/* --- what is known of the block ------------------------------------------------------------------ */

struct suspect {
    void *p;
    enum alloc_status status;
    struct alloc_block block; /* start NULL: nothing is known */
    struct ledger_entry entry;
};

/* Where the allocator no longer knows the block, what was freed lately may still name it. */
static void suspect_look_up(struct suspect *suspect)
{
    struct freed_block freed;
    alloc_find(suspect->p, &suspect->block);
    if (suspect->block.start && suspect->block.ledger)
        suspect->entry = *(const struct ledger_entry *)suspect->block.ledger;
    if ((suspect->status != ALLOC_FOREIGN && suspect->status != ALLOC_DOUBLE_FREE) ||
        suspect->entry.state != LEDGER_NEVER || !freed_find(suspect->p, &freed))
        return;
    suspect->status = ALLOC_DOUBLE_FREE;
    if (!suspect->block.start)
        suspect->block = (struct alloc_block){suspect->p, freed.size, NULL};
    if (freed.site != 0)
        suspect->entry = (struct ledger_entry){.site = freed.site,
                                               .size_low = (uint32_t)freed.size,
                                               .size_high = (uint16_t)(freed.size >> 32),
                                               .state = LEDGER_FREED,
                                               .free_site = freed.free_site};
}

static uint64_t suspect_size(const struct suspect *suspect)
{
    return suspect->entry.state != LEDGER_NEVER ? ledger_size(&suspect->entry) : suspect->block.capacity;
}

static void line_block(struct line *line, const struct suspect *suspect)
{
    line_number(line, (int64_t)suspect_size(suspect));
    line_text(line, "-byte block");
}

/* "100-byte block, class 112"; a span and a mapping have no class but a length. */
static void line_block_and_class(struct line *line, const struct suspect *suspect)
{
    uint64_t capacity = suspect->block.capacity;
    if (suspect_size(suspect) == 0 && capacity == 0) {
        line_text(line, "large block");
        return;
    }
    line_block(line, suspect);
    if (capacity <= ALLOC_POOL_SIZE_MAX)
        line_text(line, ", class ");
    else if (((uintptr_t)suspect->block.start & (ALLOC_MAPPING_ALIGNMENT - 1)) == 0)
        line_text(line, ", mapping of ");
    else
        line_text(line, ", span of ");
    line_number(line, (int64_t)capacity);
}

static bool suspect_is_freed(const struct suspect *suspect)
{
    return suspect->entry.state == LEDGER_FREED;
}

static void say_headline(const char *call, const struct suspect *suspect)
{
    struct line line;
    bool freed = suspect->status == ALLOC_DOUBLE_FREE;
    line_start(&line, "heaptally: ");
    if (freed && strcmp(call, "free") == 0) {
        line_text(&line, "double free of ");
    } else {
        line_text(&line, freed ? "" : "invalid ");
        line_text(&line, call);
        line_text(&line, freed ? " of freed " : " of ");
    }
    line_hex(&line, (uintptr_t)suspect->p);
    if (suspect->status == ALLOC_INTERIOR && suspect->block.start) {
        line_text(&line, " (");
        line_number(&line, (char *)suspect->p - (char *)suspect->block.start);
        line_text(&line, " bytes into a ");
        line_block_and_class(&line, suspect);
        line_text(&line, suspect_is_freed(suspect) ? ", that was freed)" : ")");
    } else if (suspect->status == ALLOC_INTERIOR) {
        line_text(&line, " (not the start of a block)");
    } else if (suspect->status == ALLOC_FOREIGN) {
        line_text(&line, " (no memory that malloc gave out)");
    } else if (suspect->status == ALLOC_CORRUPT) {
        line_text(&line, " (memory beside it was overwritten)");
    } else if (suspect->block.start) {
        line_text(&line, " (");
        line_block_and_class(&line, suspect);
        line_text(&line, ")");
    }
    line_end_of_message(&line);
}

/* --- stacks -------------------------------------------------------------------------------------- */

static void line_address(struct line *line, uint64_t ip)
{
    struct dl_find_object found;
    if (!_dl_find_object || _dl_find_object((void *)(uintptr_t)(ip - 1), &found) != 0) {
        line_hex(line, ip);
        return;
    }
    const char *path = found.dlfo_link_map->l_name;
    line_text(line, path && *path ? base_name(path) : program_name());
    line_text(line, "+");
    line_hex(line, ip - found.dlfo_link_map->l_addr);
}

/* The innermost `most` frames. */
static void say_stack(const char *title, int64_t number, uint32_t site, uint32_t most)
{
    uint64_t ips[STACK_SHOWN];
    uint32_t count = record_stack(site, ips, most < STACK_SHOWN ? most : STACK_SHOWN);
    struct line line;
    line_start(&line, title);
    if (number >= 0)
        line_number(&line, number);
    line_text(&line, count ? ":" : ": stack not known");
    line_write(&line, STDERR_FILENO);
    for (uint32_t i = 0; i < count; i++) {
        line_start(&line, "    #");
        line_number(&line, i);
        line_text(&line, " ");
        line_address(&line, ips[i]);
        line_write(&line, STDERR_FILENO);
    }
}

/* What is told from within a call of the library (a canary, poison, a list) comes with one entry more; the stack can be
 * taken all the same, since that call has taken its own already. */
static void say_stacks(const struct suspect *suspect, const char *now, unsigned entries)
{
    struct record_caller caller = record_caller();
    bool may_capture = thread_flags.inside <= entries && thread_face.life != THREAD_ENDED;
    thread_enter();
    if (suspect->entry.state != LEDGER_NEVER && suspect->entry.site != 0)
        say_stack("  the block was allocated by", -1, suspect->entry.site, STACK_SHOWN);
    if (suspect_is_freed(suspect) && suspect->entry.free_site != 0)
        say_stack("  first freed by", -1, suspect->entry.free_site, STACK_SHOWN);
    if (may_capture)
        say_stack(now, syscall(SYS_gettid), record_capture(&caller), STACK_SHOWN);
    thread_leave();
}

#define NOW_FREED "  now freed by thread "
#define FOUND_BY  "  found by thread "

/* The stacks, and what the policy says. */
static void say_rest(const struct suspect *suspect, const char *now, unsigned entries)
{
    if (face_state.recording)
        say_stacks(suspect, now, entries);
    if (settings_get()->misuse == MISUSE_ABORT)
        abort();
}

COLD void misuse_report(const char *call, void *p, enum alloc_status status)
{
    int saved = errno;
    struct suspect suspect = {.p = p, .status = status};
    if (settings_get()->misuse == MISUSE_IGNORE)
        return;
    suspect_look_up(&suspect);
    say_headline(call, &suspect);
    say_rest(&suspect, status == ALLOC_CORRUPT ? FOUND_BY : NOW_FREED, 0);
    errno = saved;
}

COLD void misuse_mismatch(const char *call, void *p, const struct ledger_entry *entry)
{
    static uint32_t told;
    int saved = errno;
    struct suspect suspect = {.p = p, .entry = *entry};
    struct line line;
    if (settings_get()->misuse == MISUSE_IGNORE ||
        __atomic_fetch_add(&told, 1, __ATOMIC_RELAXED) >= MISMATCHES_TOLD)
        return;
    line_start(&line, "heaptally: note: ");
    line_text(&line, call);
    line_text(&line, " of ");
    line_hex(&line, (uintptr_t)p);
    line_text(&line, " (");
    line_block(&line, &suspect);
    line_text(&line, strcmp(call, "free") == 0 ? " of operator new)" : " not of operator new)");
    line_end_of_message(&line);
    say_stacks(&suspect, NOW_FREED, 0);
    errno = saved;
}

/* --- memory that was written to ------------------------------------------------------------------- */

static void say_written(const struct suspect *suspect, const void *at)
{
    struct line line;
    line_start(&line, "heaptally: free memory was written to at ");
    line_hex(&line, (uintptr_t)at);
    if (suspect->block.start) {
        int64_t offset = (const char *)at - (const char *)suspect->block.start;
        line_text(&line, " (");
        if (offset > 0) {
            line_number(&line, offset);
            line_text(&line, " bytes into a ");
        }
        line_block_and_class(&line, suspect);
        line_text(&line, ", that was freed)");
    }
    line_end_of_message(&line);
    say_rest(suspect, FOUND_BY, 1);
}

COLD void misuse_corruption(const void *block)
{
    int saved = errno;
    struct suspect suspect = {.p = (void *)(uintptr_t)block, .status = ALLOC_CORRUPT};
    if (settings_get()->misuse == MISUSE_IGNORE)
        return;
    alloc_find(block, &suspect.block);
    if (suspect.block.start && suspect.block.ledger)
        suspect.entry = *(const struct ledger_entry *)suspect.block.ledger;
    say_written(&suspect, block);
    errno = saved;
}

COLD void misuse_written(const struct alloc_block *block, const struct ledger_entry *entry, const void *at)
{
    int saved = errno;
    struct suspect suspect = {block->start, ALLOC_CORRUPT, *block, *entry};
    if (settings_get()->misuse == MISUSE_IGNORE)
        return;
    say_written(&suspect, at);
    errno = saved;
}

COLD void misuse_overflow(const struct alloc_block *block, const struct ledger_entry *entry, const void *at,
                          const char *seen_by)
{
    int saved = errno;
    struct suspect suspect = {block->start, ALLOC_CORRUPT, *block, *entry};
    struct line line;
    if (settings_get()->misuse == MISUSE_IGNORE)
        return;
    line_start(&line, "heaptally: overflow of ");
    line_hex(&line, (uintptr_t)block->start);
    line_text(&line, " (");
    line_block_and_class(&line, &suspect);
    line_text(&line, "): byte ");
    line_number(&line, (const char *)at - (const char *)block->start);
    line_text(&line, " was written to, seen by ");
    line_text(&line, seen_by);
    line_end_of_message(&line);
    say_rest(&suspect, FOUND_BY, 1);
    errno = saved;
}
