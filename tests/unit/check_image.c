/* SPDX-License-Identifier: MIT */
/*
 * An image of this very process: the pure allocator hands out blocks, the test puts pointers where they count and
 * where they do not, and asks which reference the scan saw in that word.
 *
 *    put(block) --> word in a global | mapping | stack | block ... --scan--> saw(word) = kind of reference, root
 *
 * Only the word the test wrote is looked at: the process is full of other copies.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "allocator/allocator.h"
#include "tracer/image/image.h"

#define PAGE    4096u
#define NOTHING (-1)

static void *global_word;
static __thread void *tls_word;

static struct memory_source source;
static struct wire_target target;
static struct record_root record;
static struct thread_slot slot;
static struct image *image;
static char notes[4096];

/* What the scan saw of the one word, or of the one root without memory, that the test asks for. */
static struct {
    uint64_t word, to; /* 0 for word: any, of a root without memory */
    int kind;          /* enum image_ref, or NOTHING */
    uint64_t to_offset;
    const struct image_root *root; /* NULL: a block */
    uint64_t holder;
} seen;

/* --- blocks ----------------------------------------------------------------------------------------------------- */

static struct ledger_entry *entry_of(void *p)
{
    struct alloc_block block;
    ck_assert(alloc_find(p, &block) == ALLOC_OK && block.ledger);
    return block.ledger;
}

static void *make_block(size_t size)
{
    void *p = alloc_malloc_zeroed(size);
    ck_assert_ptr_nonnull(p);
    struct ledger_entry *entry = entry_of(p);
    entry->state = LEDGER_LIVE;
    entry->kind = KIND_MALLOC;
    entry->size_low = (uint32_t)size;
    entry->site = SITE_FIRST;
    return p;
}

/* --- opening and scanning --------------------------------------------------------------------------------------- */

static void on_note(void *ctx, const char *line)
{
    (void)ctx;
    size_t used = strlen(notes);
    snprintf(notes + used, sizeof(notes) - used, "%s\n", line);
}

static enum image_status open_image(void)
{
    image_close(image);
    image = NULL;
    notes[0] = '\0';
    return image_open(&source, &target, on_note, NULL, &image);
}

static uint64_t addr_of(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

static bool on_root_ref(void *ctx, uint32_t root, uint64_t addr, uint32_t block, uint64_t to_offset,
                        enum image_ref kind)
{
    (void)ctx;
    const struct image_block *to = &image_blocks(image)[block];
    if (addr == seen.word && (addr || !seen.to || to->addr == seen.to)) {
        seen.kind = (int)kind;
        seen.to_offset = to_offset;
        seen.root = image_root_at(image, root);
        seen.to = to->addr;
    }
    return true;
}

static bool on_block_ref(void *ctx, uint32_t from, uint64_t offset, uint32_t block, uint64_t to_offset,
                         enum image_ref kind)
{
    uint32_t *last = ctx;
    if (from < *last)
        ck_abort_msg("blocks are told out of order");
    *last = from;
    if (image_blocks(image)[from].addr + offset == seen.word) {
        seen.kind = (int)kind;
        seen.to_offset = to_offset;
        seen.holder = image_blocks(image)[from].addr;
        seen.to = image_blocks(image)[block].addr;
    }
    return true;
}

/* Open, scan, and return the kind of reference in the word, or NOTHING. */
static int look_at(uint64_t word, uint64_t to)
{
    uint32_t last = 0;
    const struct scan_visitor visitor = {.root_ref = on_root_ref, .block_ref = on_block_ref, .ctx = &last};
    memset(&seen, 0, sizeof(seen));
    seen.word = word;
    seen.to = to;
    seen.kind = NOTHING;
    ck_assert(open_image() == IMAGE_OK);
    ck_assert(image_scan(image, &visitor));
    return seen.kind;
}

static int look_at_word(const void *word)
{
    return look_at(addr_of(word), 0);
}

static const struct image_block *find_block(const void *p)
{
    for (uint32_t i = 0; i < image_block_count(image); i++)
        if (image_blocks(image)[i].addr == addr_of(p))
            return &image_blocks(image)[i];
    return NULL;
}

/* --- fixture ---------------------------------------------------------------------------------------------------- */

static void set_up(void)
{
    char here;
    alloc_keep_ledger();
    ck_assert(source_open_process(getpid(), (int)syscall(SYS_gettid), &source));
    record = (struct record_root){.magic = RECORD_MAGIC, .version = RECORD_LAYOUT_VERSION};
    slot = (struct thread_slot){.tid = getpid(), .state = THREAD_SELF};
    slot.fs_base = (uint64_t)(uintptr_t)__builtin_thread_pointer();
    slot.registers[THREAD_RSP] = addr_of(&here) & ~UINT64_C(15);
    target = (struct wire_target){.reason = WIRE_AT_EXIT,
                                  .pid = getpid(),
                                  .tid = getpid(),
                                  .alloc_root = addr_of(alloc_root()),
                                  .record_root = addr_of(&record),
                                  .threads = addr_of(&slot),
                                  .thread_count = 1};
}

static void tear_down(void)
{
    image_close(image);
    image = NULL;
    source.close(source.ctx);
}

/* --- roots ------------------------------------------------------------------------------------------------------ */

START_TEST(a_word_in_a_global_is_a_strict_root)
{
    global_word = make_block(100);
    ck_assert_int_eq(look_at_word(&global_word), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_GLOBAL && seen.root->strict);
    ck_assert(strstr(seen.root->where, "check_image"));
}
END_TEST

START_TEST(a_word_in_tls_is_a_strict_root)
{
    tls_word = make_block(100);
    ck_assert_int_eq(look_at_word(&tls_word), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_TLS && seen.root->strict);
}
END_TEST

START_TEST(a_mapping_of_any_kind_is_a_wide_root)
{
    static const struct {
        int flags, then;
    } kinds[] = {{MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE},
                 {MAP_SHARED | MAP_ANONYMOUS, PROT_READ | PROT_WRITE},
                 {MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ}};
    void **area = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, kinds[_i].flags, -1, 0);
    ck_assert(area != MAP_FAILED);
    area[17 * PAGE / 8 + 3] = make_block(100);
    ck_assert(mprotect(area, 64 * PAGE, kinds[_i].then) == 0);
    ck_assert_int_eq(look_at_word(&area[17 * PAGE / 8 + 3]), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_WIDE && !seen.root->strict);
    munmap(area, 64 * PAGE);
}
END_TEST

START_TEST(a_mapping_that_nobody_may_read_is_no_root)
{
    void **area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(area != MAP_FAILED);
    area[3] = make_block(100);
    ck_assert(mprotect(area, PAGE, PROT_NONE) == 0);
    ck_assert_int_eq(look_at_word(&area[3]), NOTHING);
    munmap(area, PAGE);
}
END_TEST

START_TEST(the_stack_counts_from_sp_upwards_only)
{
    void *words[64];
    for (size_t i = 0; i < 64; i++)
        words[i] = NULL;
    words[10] = words[50] = make_block(100);
    __asm__ volatile("" : : "r"(words) : "memory");
    slot.registers[THREAD_RSP] = addr_of(&words[32]);
    ck_assert_int_eq(look_at_word(&words[50]), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_STACK && seen.root->strict);
    ck_assert_int_eq(look_at_word(&words[10]), NOTHING);
    slot.state = THREAD_PARKED;
    words[31] = words[10];
    __asm__ volatile("" : : "r"(words) : "memory");
    ck_assert_int_eq(look_at_word(&words[31]), IMAGE_START); /* a leaf function's red zone */
    slot.state = THREAD_UNPARKED;
    ck_assert_int_eq(look_at_word(&words[10]), IMAGE_START);
}
END_TEST

START_TEST(a_register_counts_when_it_is_live)
{
    void *p = make_block(100);
    slot.registers[3] = addr_of(p);
    slot.live_registers = 1u << 3;
    ck_assert_int_eq(look_at(0, addr_of(p)), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_REGISTER && seen.root->reg == 3 && seen.root->strict);
    slot.live_registers = 0;
    ck_assert_int_eq(look_at(0, addr_of(p)), NOTHING);
}
END_TEST

START_TEST(vector_registers_in_a_signal_frame_on_the_dead_stack_count)
{
    void *frame[128] __attribute__((aligned(64))) = {NULL};
    frame[40] = frame[2] = frame[20 + 64] = make_block(100);
    __asm__ volatile("" : : "r"(frame) : "memory");
    slot.state = THREAD_PARKED;
    slot.registers[THREAD_RSP] = addr_of(frame) + sizeof(frame) + 256;
    slot.vector_start = addr_of(frame);
    slot.vector_size = THREAD_FXSAVE;
    ck_assert_int_eq(look_at_word(&frame[40]), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_VECTOR_REGISTER && seen.root->strict);
    ck_assert_int_eq(look_at_word(&frame[2]), NOTHING); /* where the last x87 operand was */
    ck_assert_int_eq(look_at_word(&frame[20 + 64]), NOTHING);
    slot.vector_size = sizeof(frame) - 4; /* as the end mark leaves it */
    ck_assert_int_eq(look_at_word(&frame[20 + 64]), IMAGE_START);
    static const uint8_t code[] = {0x90, 0x90, 0x0f, 0x05, 0x90, 0x90, 0x90};
    for (unsigned at = 2; at <= 5; at++) { /* at or behind a system call: what they hold is left over */
        slot.ip = addr_of(&code[at]);
        ck_assert_int_eq(look_at_word(&frame[40]), at % 2 ? IMAGE_START : NOTHING);
    }
    slot.vector_size = THREAD_FXSAVE - 1;
    ck_assert_int_eq(look_at_word(&frame[40]), NOTHING);
    slot.vector_size = THREAD_XSAVE_MAX + 64;
    ck_assert_int_eq(look_at_word(&frame[40]), NOTHING);
}
END_TEST

START_TEST(an_alternate_stack_in_a_block_is_held_wherever_it_begins)
{
    char *p = make_block(8192);
    slot.alternate_stack = addr_of(p);
    ck_assert_int_eq(look_at(0, addr_of(p)), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_ALTERNATE_STACK && seen.root->strict);
    slot.alternate_stack = addr_of(p) + 4096;
    ck_assert_int_eq(look_at(0, addr_of(p)), IMAGE_ACCEPTED);
    slot.alternate_stack = 0;
    ck_assert_int_eq(look_at(0, addr_of(p)), NOTHING);
}
END_TEST

START_TEST(a_stack_in_a_block_holds_that_block_and_its_words_count)
{
    void **stack = make_block(8192);
    stack[600] = make_block(100);
    slot.registers[THREAD_RSP] = addr_of(&stack[500]);
    ck_assert_int_eq(look_at(0, addr_of(stack)), IMAGE_ACCEPTED);
    ck_assert(seen.root && seen.root->kind == ROOT_REGISTER && seen.root->reg == THREAD_RSP);
    uint32_t last = 0;
    const struct scan_visitor only_roots = {.root_ref = on_root_ref, .block_ref = on_block_ref, .ctx = &last};
    seen.word = addr_of(&stack[600]);
    seen.to = 0;
    ck_assert(image_scan(image, &only_roots));
    ck_assert(seen.root && seen.root->kind == ROOT_STACK);
}
END_TEST

START_TEST(what_epoll_and_timers_hold_are_strict_roots)
{
    void *p = make_block(100), *q = make_block(100);
    int pipes[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    ck_assert(pipe(pipes) == 0 && epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event) == 0);
    ck_assert_int_eq(look_at(0, addr_of(p)), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_KERNEL && strstr(seen.root->where, "epoll"));
    close(epoll);
    ck_assert_int_eq(look_at(0, addr_of(p)), NOTHING);
    struct sigevent notify = {
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX, .sigev_value.sival_ptr = q};
    timer_t timer;
    ck_assert(timer_create(CLOCK_MONOTONIC, &notify, &timer) == 0);
    ck_assert_int_eq(look_at(0, addr_of(q)), IMAGE_START);
    ck_assert(seen.root && strstr(seen.root->where, "timer"));
    timer_delete(timer);
}
END_TEST

START_TEST(a_root_region_the_program_declared_is_strict)
{
    static struct annotation entries[2];
    static struct annotation_table table;
    void **area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(area != MAP_FAILED);
    area[3] = area[9] = make_block(100);
    entries[0] =
        (struct annotation){.start = addr_of(area), .end = addr_of(area + 8), .kind = ANNOTATION_ROOT};
    table = (struct annotation_table){.magic = ANNOTATION_MAGIC,
                                      .version = RECORD_LAYOUT_VERSION,
                                      .count = 1,
                                      .capacity = 2,
                                      .entries = addr_of(entries)};
    target.annotations = addr_of(&table);
    ck_assert_int_eq(look_at_word(&area[3]), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_ANNOTATED && seen.root->strict);
    ck_assert_int_eq(look_at_word(&area[9]), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_WIDE);
    table.count = 3; /* more than it has room for */
    ck_assert_int_eq(look_at_word(&area[3]), IMAGE_START);
    ck_assert(seen.root->kind == ROOT_WIDE && strstr(notes, "annotations cannot be read"));
    munmap(area, PAGE);
}
END_TEST

START_TEST(an_ignored_block_is_held_by_the_program_s_word)
{
    void *p = make_block(100);
    entry_of(p)->flags |= LEDGER_IGNORED;
    ck_assert_int_eq(look_at(0, addr_of(p)), IMAGE_START);
    ck_assert(seen.root && seen.root->kind == ROOT_ANNOTATED && seen.root->strict);
    ck_assert(find_block(p)->ignored);
}
END_TEST

START_TEST(no_byte_is_in_two_roots)
{
    ck_assert(open_image() == IMAGE_OK);
    uint64_t last_end = 0;
    for (uint32_t n = image_root_count(image); n > 0;
         n--) { /* selection: the next root by address, each round */
        const struct image_root *next = NULL;
        for (uint32_t i = 0; i < image_root_count(image); i++) {
            const struct image_root *root = image_root_at(image, i);
            if (root->end > root->start && root->start >= last_end && (!next || root->start < next->start))
                next = root;
        }
        if (!next)
            break;
        for (uint32_t i = 0; i < image_root_count(image); i++) {
            const struct image_root *root = image_root_at(image, i);
            if (root != next && root->start < next->end && root->end > next->start && root->end > root->start)
                ck_abort_msg("roots %s and %s share bytes", root->where ? root->where : "?",
                             next->where ? next->where : "?");
        }
        last_end = next->end;
    }
}
END_TEST

/* --- references ------------------------------------------------------------------------------------------------- */

START_TEST(start_interior_and_end_are_told_by_the_size_asked_for)
{
    char *p = make_block(40);
    memset(p, 0x5a, 40);
    global_word = p + 1;
    ck_assert_int_eq(look_at_word(&global_word), IMAGE_INTERIOR);
    ck_assert_uint_eq(seen.to_offset, 1);
    global_word = p + 39;
    ck_assert_int_eq(look_at_word(&global_word), IMAGE_INTERIOR);
    global_word = p + 40;
    ck_assert_int_eq(look_at_word(&global_word), IMAGE_END);
    global_word = p + 41;
    ck_assert_int_eq(look_at_word(&global_word), NOTHING);
    global_word = p - 1;
    ck_assert(look_at_word(&global_word) == NOTHING || seen.to != addr_of(p));
}
END_TEST

START_TEST(the_end_of_a_full_block_is_its_own_unless_a_neighbour_lives_there)
{
    char *p = make_block(64), *q = make_block(64);
    char *low = p < q ? p : q, *high = p < q ? q : p;
    ck_assert(high == low + 64);
    global_word = high;
    ck_assert(look_at_word(&global_word) == IMAGE_START && seen.to == addr_of(high));
    ck_assert(alloc_free(high) == ALLOC_OK);
    ck_assert(look_at_word(&global_word) == IMAGE_END && seen.to == addr_of(low));
    entry_of(low)->size_low = 56; /* not full: its end is elsewhere */
    ck_assert_int_eq(look_at_word(&global_word), NOTHING);
}
END_TEST

START_TEST(a_word_in_a_block_names_its_holder)
{
    void **p = make_block(64);
    p[5] = make_block(100);
    ck_assert_int_eq(look_at_word(&p[5]), IMAGE_START);
    ck_assert(seen.root == NULL && seen.holder == addr_of(p) && seen.to == addr_of(p[5]));
    p[5] = p;
    ck_assert_int_eq(look_at_word(&p[5]), IMAGE_START); /* itself is told, too */
}
END_TEST

START_TEST(words_past_the_size_asked_for_do_not_count)
{
    void **p = make_block(40);
    p[5] = make_block(100); /* in the slack */
    ck_assert_int_eq(look_at_word(&p[5]), NOTHING);
}
END_TEST

START_TEST(a_block_with_a_page_that_cannot_be_read_is_scanned_round_it)
{
    static const size_t sizes[] = {20000, 1u << 20, 8u << 20};
    char *p = make_block(sizes[_i]);
    uint64_t page = (addr_of(p) + 2 * PAGE) & ~UINT64_C(4095);
    void **hole = (void **)(uintptr_t)page, **behind = (void **)(uintptr_t)(page + PAGE);
    *hole = *behind = make_block(100);
    ck_assert(mprotect(hole, PAGE, PROT_NONE) == 0);
    ck_assert_int_eq(look_at_word(behind), IMAGE_START);
    ck_assert(strstr(notes, "cannot be read"));
    ck_assert_int_eq(look_at_word(hole), NOTHING);
    ck_assert(mprotect(hole, PAGE, PROT_READ | PROT_WRITE) == 0);
}
END_TEST

START_TEST(a_large_block_s_far_word_is_seen)
{
    void **p = make_block((size_t)48 << 20);
    size_t last = ((size_t)48 << 20) / 8 - 1;
    p[last] = make_block(100);
    ck_assert_int_eq(look_at_word(&p[last]), IMAGE_START);
    ck_assert_uint_eq(seen.holder, addr_of(p));
}
END_TEST

/* --- blocks and their ledger ------------------------------------------------------------------------------------ */

START_TEST(the_ledger_is_believed_as_far_as_it_can_be_true)
{
    void *live = make_block(40), *freed = make_block(40), *never = make_block(40), *odd = make_block(40);
    entry_of(live)->generation = 3;
    entry_of(freed)->state = LEDGER_FREED;
    entry_of(never)->state = LEDGER_NEVER;
    entry_of(odd)->size_high = 1;
    entry_of(odd)->kind = 7; /* none there is */
    ck_assert(open_image() == IMAGE_OK);
    const struct image_block *block = find_block(live);
    ck_assert(block && block->size == 40 && block->capacity >= 48 && block->site == SITE_FIRST &&
              block->kind == KIND_MALLOC && block->generation == 3 && !block->ignored);
    ck_assert_ptr_null(find_block(freed)); /* on its way out */
    block = find_block(never);
    ck_assert(block && block->size == block->capacity && block->site == 0 && block->kind == KIND_NONE);
    block = find_block(odd);
    ck_assert(block && block->size == block->capacity && block->kind == KIND_NONE);
}
END_TEST

START_TEST(blocks_ascend)
{
    for (size_t size = 1; size < 3u << 20; size = size * 3 / 2 + 1)
        make_block(size);
    ck_assert(open_image() == IMAGE_OK);
    for (uint32_t i = 1; i < image_block_count(image); i++)
        ck_assert(image_blocks(image)[i].addr > image_blocks(image)[i - 1].addr);
}
END_TEST

/* --- distrust --------------------------------------------------------------------------------------------------- */

START_TEST(a_target_without_allocator_is_refused)
{
    static char nothing[4096];
    target.alloc_root = 0;
    ck_assert(open_image() == IMAGE_UNREADABLE);
    target.alloc_root = addr_of(nothing);
    ck_assert(open_image() != IMAGE_OK);
}
END_TEST

START_TEST(a_recorder_of_another_kind_gives_no_stacks_but_a_note)
{
    record.magic++;
    ck_assert(open_image() == IMAGE_OK && image_record(image) == NULL && strstr(notes, "no stacks"));
    record.magic--;
    record.version++;
    ck_assert(open_image() == IMAGE_OK && image_record(image) == NULL && strstr(notes, "layout"));
    target.record_root = 8;
    ck_assert(open_image() == IMAGE_OK && image_record(image) == NULL);
    target.record_root = 0;
    ck_assert(open_image() == IMAGE_OK && image_record(image) == NULL && !strstr(notes, "recorder"));
}
END_TEST

START_TEST(numbers_that_cannot_be_are_noted_and_bounded)
{
    struct site_node node;
    record.site_count = 5000;
    record.site_segment[0] = 1;
    record.module_count = 7;
    record.module_capacity = 6;
    ck_assert(open_image() == IMAGE_OK);
    ck_assert(strstr(notes, "stack nodes cannot be read") && strstr(notes, "list of modules is damaged"));
    ck_assert(image_module_count(image) == 0);
    for (uint32_t id = 0; id < 6000; id++) /* all zeros: parent 0 */
        if (image_site_node(image, id, &node))
            ck_assert(node.parent < id);
    record.module_capacity = record.module_count = UINT32_MAX;
    target.thread_count = UINT32_MAX;
    ck_assert(open_image() == IMAGE_OK && image_thread_count(image) == 0);
    ck_assert(strstr(notes, "list of threads cannot be read"));
}
END_TEST

START_TEST(a_parent_that_is_no_older_than_its_child_ends_the_chain)
{
    static struct site_node nodes[4096];
    struct site_node node;
    nodes[20] = (struct site_node){.ip = 1, .parent = 19, .module = 5};
    nodes[21] = (struct site_node){.ip = 1, .parent = 21};
    record.site_segment[0] = addr_of(nodes);
    record.site_count = 22;
    ck_assert(open_image() == IMAGE_OK);
    ck_assert(image_site_node(image, 20, &node) && node.parent == 19 && node.module == MODULE_NONE);
    ck_assert(!image_site_node(image, 21, &node));
    ck_assert(!image_site_node(image, 22, &node));
    ck_assert(!image_site_node(image, 15, &node));
}
END_TEST

/* --- a source that fails ---------------------------------------------------------------------------------------- */

static uint32_t random_state;
static struct memory_source whole;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* One read in thirty is short, or lies. */
static size_t unreliable_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
    size_t got = whole.read(ctx, addr, buf, len);
    switch (draw(90)) {
    case 0:
        return got ? draw((uint32_t)(got < UINT32_MAX ? got : UINT32_MAX)) : 0;
    case 1:
        for (int i = 0; got && i < 4; i++)
            ((unsigned char *)buf)[draw((uint32_t)got)] ^= (unsigned char)(1u << draw(8));
        return got;
    case 2:
        return 0;
    default:
        return got;
    }
}

static char *unreliable_maps(void *ctx)
{
    char *text = whole.maps(ctx);
    for (int i = 0; text && text[0] && i < 3; i++)
        text[draw((uint32_t)strlen(text))] = "\n 0f-z"[draw(6)];
    return text;
}

START_TEST(damage_anywhere_is_survived)
{
    uint32_t last = 0;
    const struct scan_visitor visitor = {.root_ref = on_root_ref, .block_ref = on_block_ref, .ctx = &last};
    whole = source;
    source.read = unreliable_read;
    source.maps = unreliable_maps;
    for (int i = 0; i < 200; i++)
        global_word = make_block(24 + (size_t)i * 40);
    for (uint32_t seed = 1; seed <= 60; seed++) {
        random_state = seed;
        last = 0;
        if (open_image() == IMAGE_OK)
            image_scan(image, &visitor);
    }
}
END_TEST

static size_t resident_of_zeros(void *ctx, uint64_t addr, size_t pages, uint8_t *ret)
{
    (void)ctx;
    (void)addr;
    memset(ret, 0, pages);
    return pages;
}

START_TEST(a_kernel_that_says_no_page_exists_is_not_believed)
{
    source.resident = resident_of_zeros;
    global_word = make_block(100);
    ck_assert_int_eq(look_at_word(&global_word), IMAGE_START);
    source.resident = NULL;
    ck_assert_int_eq(look_at_word(&global_word), IMAGE_START);
}
END_TEST

START_TEST(a_target_that_goes_away_fails_the_scan)
{
    uint32_t last = 0;
    const struct scan_visitor visitor = {.root_ref = on_root_ref, .block_ref = on_block_ref, .ctx = &last};
    ck_assert(open_image() == IMAGE_OK);
    target.alloc_root = 0; /* the image has its own copy */
    ck_assert(image_scan(image, &visitor));
    whole = source;
    random_state = 0;
    source.close(source.ctx);
    ck_assert(source_open_process(0x7ffffff0, 0x7ffffff0, &source));
    ck_assert(!image_scan(image, &visitor));
    ck_assert(strstr(notes, "went away"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image");
    TCase *tests = tcase_create("image");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_word_in_a_global_is_a_strict_root);
    tcase_add_test(tests, a_word_in_tls_is_a_strict_root);
    tcase_add_loop_test(tests, a_mapping_of_any_kind_is_a_wide_root, 0, 3);
    tcase_add_test(tests, a_mapping_that_nobody_may_read_is_no_root);
    tcase_add_test(tests, the_stack_counts_from_sp_upwards_only);
    tcase_add_test(tests, a_register_counts_when_it_is_live);
    tcase_add_test(tests, vector_registers_in_a_signal_frame_on_the_dead_stack_count);
    tcase_add_test(tests, an_alternate_stack_in_a_block_is_held_wherever_it_begins);
    tcase_add_test(tests, a_stack_in_a_block_holds_that_block_and_its_words_count);
    tcase_add_test(tests, what_epoll_and_timers_hold_are_strict_roots);
    tcase_add_test(tests, a_root_region_the_program_declared_is_strict);
    tcase_add_test(tests, an_ignored_block_is_held_by_the_program_s_word);
    tcase_add_test(tests, no_byte_is_in_two_roots);
    tcase_add_test(tests, start_interior_and_end_are_told_by_the_size_asked_for);
    tcase_add_test(tests, the_end_of_a_full_block_is_its_own_unless_a_neighbour_lives_there);
    tcase_add_test(tests, a_word_in_a_block_names_its_holder);
    tcase_add_test(tests, words_past_the_size_asked_for_do_not_count);
    tcase_add_loop_test(tests, a_block_with_a_page_that_cannot_be_read_is_scanned_round_it, 0, 3);
    tcase_add_test(tests, a_large_block_s_far_word_is_seen);
    tcase_add_test(tests, the_ledger_is_believed_as_far_as_it_can_be_true);
    tcase_add_test(tests, blocks_ascend);
    tcase_add_test(tests, a_target_without_allocator_is_refused);
    tcase_add_test(tests, a_recorder_of_another_kind_gives_no_stacks_but_a_note);
    tcase_add_test(tests, numbers_that_cannot_be_are_noted_and_bounded);
    tcase_add_test(tests, a_parent_that_is_no_older_than_its_child_ends_the_chain);
    tcase_add_test(tests, damage_anywhere_is_survived);
    tcase_add_test(tests, a_kernel_that_says_no_page_exists_is_not_believed);
    tcase_add_test(tests, a_target_that_goes_away_fails_the_scan);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
