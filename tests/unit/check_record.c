/* SPDX-License-Identifier: MIT */
/*
 * check_record.c - the recorder's parts, and that a walk by rules tells what libunwind's own steps tell.
 *
 * Built with -O2 and without frame pointers, like the programs it is for.
 */
#include <check.h>
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tracer/record/context.h"
#include "tracer/record/hot.h"
#include "tracer/record/record.h"
#include "tracer/record/rules.h"
#include "tracer/record/sites.h"
#include "tracer/record/trace.h"
#include "tracer/record/unwind.h"

#define NOINLINE  __attribute__((noinline))
#define BARRIER() __asm__ volatile("" ::: "memory")

/* --- rules ---------------------------------------------------------------------------------------------- */

static void put_and_expect(uint64_t pc, uint32_t epoch, struct rule rule)
{
    rules_put(pc, epoch, &rule);
    struct rule got = rules_get(pc, epoch);

    ck_assert_int_eq(got.kind, rule.kind);
    ck_assert_int_eq(got.cfa_from_rbp, rule.cfa_from_rbp);
    ck_assert_int_eq(got.rbp_saved, rule.rbp_saved);
    ck_assert_int_eq(got.cfa_offset, rule.cfa_offset);
    ck_assert_int_eq(got.rbp_offset, rule.rbp_offset);
}

START_TEST(rule_comes_back_as_it_was_put)
{
    const int32_t far = RULE_OFFSET_LIMIT - 1;

    put_and_expect(0x400123, 1, (struct rule){RULE_PLAIN, false, false, 8, 0});
    put_and_expect(0x7fffffffe123, 1, (struct rule){RULE_PLAIN, true, true, 16, -16});
    put_and_expect(0x7fffffffe124, 70000, (struct rule){RULE_PLAIN, false, true, far, -far});
    put_and_expect(0x7fffffffe125, 1, (struct rule){RULE_PLAIN, false, true, -far, far});
    put_and_expect(0x500000, 1, (struct rule){.kind = RULE_SPECIAL});
    put_and_expect(0x500001, 1, (struct rule){.kind = RULE_LAST});
}
END_TEST

START_TEST(rule_is_forgotten_when_code_was_unloaded)
{
    struct rule rule = {RULE_PLAIN, false, false, 8, 0};

    rules_put(0x612345, 5, &rule);
    ck_assert_int_eq(rules_get(0x612345, 5).kind, RULE_PLAIN);
    ck_assert_int_eq(rules_get(0x612345, 6).kind, RULE_UNKNOWN);
    ck_assert_int_eq(rules_get(0x612346, 5).kind, RULE_UNKNOWN);
}
END_TEST

/* --- sites ---------------------------------------------------------------------------------------------- */

static uint32_t path_of(uint64_t seed, unsigned depth)
{
    uint32_t site = SITE_END_COMPLETE;
    uint64_t path = sites_path_of_end(SITE_END_COMPLETE);

    for (unsigned i = 0; i < depth; i++) {
        uint64_t ip = 0x10000 + seed * 977 + i;

        path = sites_path(path, ip);
        site = sites_find(path, ip, site, (uint32_t)(seed % 7));
    }
    /* Another thread may be making a larger index just then. */
    ck_assert(sites_known(path) == site || sites_known(path) == 0);
    return site;
}

static uint64_t path_hash(uint64_t seed, unsigned depth)
{
    uint64_t path = sites_path_of_end(SITE_END_COMPLETE);

    for (unsigned i = 0; i < depth; i++)
        path = sites_path(path, 0x10000 + seed * 977 + i);
    return path;
}

static uint32_t site_below(enum site_end end, uint64_t ip)
{
    return sites_find(sites_path(sites_path_of_end(end), ip), ip, end, 1);
}

START_TEST(equal_stacks_have_one_site_and_others_another)
{
    ck_assert_uint_eq(path_of(1, 9), path_of(1, 9));
    ck_assert_uint_ne(path_of(1, 9), path_of(1, 8));
    ck_assert_uint_ne(path_of(1, 9), path_of(2, 9));
    ck_assert_uint_ne(site_below(SITE_END_COMPLETE, 0x42), site_below(SITE_END_COMPLETE, 0x43));
    ck_assert_uint_ne(site_below(SITE_END_COMPLETE, 0x42), site_below(SITE_END_CUT, 0x42));
}
END_TEST

START_TEST(sites_keep_their_ids_while_the_table_grows)
{
    enum { PATHS = 30000 };
    static uint32_t ids[PATHS];

    for (uint32_t i = 0; i < PATHS; i++)
        ids[i] = path_of(1000 + i, 5);
    for (uint32_t i = 0; i < PATHS; i++) {
        const struct site_node *node = sites_node(ids[i]);

        ck_assert_uint_eq(path_of(1000 + i, 5), ids[i]);
        ck_assert_uint_eq(sites_known(path_hash(1000 + i, 5)), ids[i]);
        ck_assert_ptr_nonnull(node);
        ck_assert_uint_eq(node->ip, 0x10000 + (1000 + (uint64_t)i) * 977 + 4);
        ck_assert_uint_lt(node->parent, ids[i]);
    }
    ck_assert_ptr_null(sites_node(0));
    ck_assert_ptr_null(sites_node(SITE_FIRST - 1));
    ck_assert_ptr_null(sites_node(UINT32_MAX));
}
END_TEST

/* The index grows six times meanwhile, and more threads than processors are stopped anywhere in it. */
enum { RACERS = 8, RACE_PATHS = 4000, RACES = 15 };

static void *race(void *arg)
{
    uint32_t *ids = arg;

    for (uint32_t i = 0; i < RACE_PATHS; i++)
        ids[i] = path_of(500000 + i, 6);
    return NULL;
}

START_TEST(threads_that_meet_a_stack_at_once_agree_on_its_site)
{
    static uint32_t ids[RACERS][RACE_PATHS];
    pthread_t threads[RACERS];

    for (int t = 0; t < RACERS; t++)
        ck_assert_int_eq(pthread_create(&threads[t], NULL, race, ids[t]), 0);
    for (int t = 0; t < RACERS; t++)
        pthread_join(threads[t], NULL);
    for (int t = 1; t < RACERS; t++)
        ck_assert_mem_eq(ids[t], ids[0], sizeof(ids[0]));
}
END_TEST

/* --- modules that went ---------------------------------------------------------------------------------- */

/* One that no code lies in. */
static uint32_t new_module(void)
{
    struct record_root *root = trace_root();
    struct module_entry *modules = (struct module_entry *)(uintptr_t)root->modules;
    uint32_t module = root->module_count;

    ck_assert_uint_lt(module, root->module_capacity);
    modules[module] = (struct module_entry){.start = 1, .end = 1};
    __atomic_store_n(&root->module_count, module + 1, __ATOMIC_RELEASE);
    return module;
}

static void replace_module(uint32_t module)
{
    struct module_entry *modules = (struct module_entry *)(uintptr_t)trace_root()->modules;

    __atomic_store_n(&modules[module].unloaded, 1, __ATOMIC_RELAXED);
    sites_forget();
}

/* Three frames, the middle one in that module. */
static uint32_t path_through(uint64_t seed, uint32_t module)
{
    uint64_t outer = sites_path(sites_path_of_end(SITE_END_COMPLETE), seed * 16 + 1);
    uint64_t middle = sites_path(outer, seed * 16 + 2);
    uint32_t site = sites_find(outer, seed * 16 + 1, SITE_END_COMPLETE, MODULE_NONE);

    site = sites_find(middle, seed * 16 + 2, site, module);
    return sites_find(sites_path(middle, seed * 16 + 3), seed * 16 + 3, site, MODULE_NONE);
}

static uint32_t known_path(uint64_t seed, unsigned depth)
{
    uint64_t path = sites_path_of_end(SITE_END_COMPLETE);

    for (unsigned i = 1; i <= depth; i++)
        path = sites_path(path, seed * 16 + i);
    return sites_known(path);
}

static uint32_t middle_module(uint32_t site)
{
    return sites_node(sites_node(site)->parent)->module;
}

enum { BELOW_GONE = 30000 }; /* enough for the index to grow several times */

START_TEST(stacks_through_a_module_that_went_are_forgotten)
{
    const uint64_t seed = 77000000;
    uint32_t gone = new_module(), stays = new_module();
    uint32_t first = path_through(seed, gone), other = path_through(seed + 1, stays);

    replace_module(gone);
    ck_assert_uint_ne(known_path(seed, 1), 0);
    ck_assert_uint_eq(known_path(seed, 2), 0);
    ck_assert_uint_eq(known_path(seed, 3), 0);
    ck_assert_uint_eq(known_path(seed + 1, 3), other);
    ck_assert_uint_eq(path_through(seed + 1, stays), other);

    uint32_t next = new_module(), again = path_through(seed, next);
    ck_assert_uint_ne(again, first);
    ck_assert_uint_eq(middle_module(again), next);
    ck_assert_uint_eq(middle_module(first), gone);
    ck_assert_uint_eq(known_path(seed, 3), again);
    ck_assert_uint_eq(path_through(seed, next), again);
}
END_TEST

/* Made by a thread that looked for the outer frame before the module went. */
START_TEST(a_stack_below_one_that_went_is_not_found_although_it_is_newer)
{
    const uint64_t seed = 78000000;
    uint32_t gone = new_module();
    uint64_t path = sites_path(sites_path_of_end(SITE_END_COMPLETE), seed * 16 + 1);
    uint32_t parent = sites_find(path, seed * 16 + 1, SITE_END_COMPLETE, gone);

    replace_module(gone);
    path = sites_path(path, seed * 16 + 2);
    uint32_t late = sites_find(path, seed * 16 + 2, parent, MODULE_NONE);
    ck_assert_uint_eq(sites_known(path), 0);
    ck_assert_uint_ne(sites_find(path, seed * 16 + 2, SITE_END_COMPLETE, MODULE_NONE), late);
}
END_TEST

START_TEST(what_went_is_left_behind_when_the_table_grows)
{
    const uint64_t seed = 79000000;
    uint32_t gone = new_module(), stays = new_module();
    uint32_t first = path_through(seed, gone), other = path_through(seed + 1, stays);

    replace_module(gone);
    for (uint64_t i = 0; i < BELOW_GONE; i++)
        path_through(seed + 2 + i, stays);
    ck_assert_uint_eq(known_path(seed, 3), 0);
    ck_assert_uint_eq(known_path(seed + 1, 3), other);
    uint32_t next = new_module(), again = path_through(seed, next);
    ck_assert_uint_ne(again, first);
    ck_assert_uint_eq(middle_module(again), next);
}
END_TEST

enum { REPLACEMENTS = 100, REPLACED_PATHS = 200, FOUND_MOST = 40000 };
static uint32_t module_now; /* atomic */

/* As a capture does: what was replaced meanwhile is looked for again. */
static void *find_while_replaced(void *arg)
{
    uint64_t *wrong = arg;

    for (uint64_t i = 0; i < FOUND_MOST; i++) {
        uint32_t module = __atomic_load_n(&module_now, __ATOMIC_ACQUIRE);
        uint32_t site = path_through(81000000 + i % REPLACED_PATHS, module);

        (void)path_through(82000000 + i, MODULE_NONE);
        if (__atomic_load_n(&module_now, __ATOMIC_ACQUIRE) == module)
            *wrong += middle_module(site) != module;
    }
    return NULL;
}

START_TEST(threads_find_no_stack_of_a_module_that_went_before)
{
    pthread_t threads[RACERS];
    uint64_t wrong[RACERS] = {0};

    module_now = new_module();
    for (int t = 0; t < RACERS; t++)
        ck_assert_int_eq(pthread_create(&threads[t], NULL, find_while_replaced, &wrong[t]), 0);
    for (int i = 0; i < REPLACEMENTS; i++) {
        uint32_t next = new_module(), before = module_now;
        replace_module(before);
        __atomic_store_n(&module_now, next, __ATOMIC_RELEASE);
        usleep(300);
    }
    for (int t = 0; t < RACERS; t++)
        pthread_join(threads[t], NULL);
    for (int t = 0; t < RACERS; t++)
        ck_assert_uint_eq(wrong[t], 0);
}
END_TEST

/* --- walks ---------------------------------------------------------------------------------------------- */

struct trail {
    unsigned count;
    uint64_t ips[600];
};

static bool note_frame(void *arg, const struct unwind_frame *frame)
{
    struct trail *trail = arg;

    trail->ips[trail->count++] = frame->ip;
    return trail->count < sizeof(trail->ips) / sizeof(trail->ips[0]);
}

static void void_trail(void *arg)
{
    ((struct trail *)arg)->count = 0;
}

struct both {
    struct context *context;
    struct unwind_request request;
    struct trail ruled, full;
    enum site_end ruled_end, full_end;
};

static void walk_both(void *arg)
{
    struct both *both = arg;

    both->request.ctx = &both->ruled;
    both->ruled_end = unwinder_libunwind.walk(both->context->state, &both->request);
    both->request.ctx = &both->full;
    both->request.want_registers = true;
    both->full_end = unwinder_libunwind.walk(both->context->state, &both->request);
}

static struct both last;
static unsigned compared, disagreements; /* counted, not asserted: some walks are made in a signal handler */

static bool walks_agree(const struct both *both)
{
    return both->ruled_end == both->full_end && both->ruled.count == both->full.count &&
           memcmp(both->ruled.ips, both->full.ips, both->full.count * sizeof(uint64_t)) == 0;
}

/* Twice: the first walk makes rules, the second uses them. */
static NOINLINE void compare_walks(void)
{
    for (int round = 0; round < 2; round++) {
        memset(&last, 0, sizeof(last));
        last.context = context_get();
        last.request.frame = note_frame;
        last.request.restart = void_trail;
        context_walk_begin(last.context);
        context_run_on_stack(walk_both, &last, last.context->stack_top, &last.request.ip,
                             last.request.registers);
        context_walk_end(last.context);
        compared++;
        disagreements += !walks_agree(&last);
    }
}

static void expect_agreement(enum site_end end)
{
    ck_assert_uint_gt(compared, 0);
    ck_assert_uint_eq(disagreements, 0);
    ck_assert_int_eq(last.full_end, end);
}

static NOINLINE int descend(int depth)
{
    int below = depth > 0 ? descend(depth - 1) : (compare_walks(), 0);

    BARRIER();
    return below + 1;
}

static NOINLINE int with_alloca(size_t size)
{
    char *room = alloca(size);

    memset(room, 1, size);
    BARRIER();
    return descend(3) + room[size / 2];
}

static NOINLINE int with_realigned_stack(int depth)
{
    _Alignas(128) volatile char room[256];

    room[depth] = 1;
    int below = depth > 0 ? with_realigned_stack(depth - 1) : with_alloca(77);
    BARRIER();
    return below + room[depth];
}

START_TEST(rules_tell_what_libunwind_tells_in_plain_frames)
{
    descend(1);
    unsigned shallow = last.full.count;

    descend(201);
    ck_assert_uint_eq(last.full.count, shallow + 200);
    expect_agreement(SITE_END_COMPLETE);
}
END_TEST

START_TEST(rules_tell_what_libunwind_tells_with_alloca_and_realigned_frames)
{
    with_realigned_stack(5);
    expect_agreement(SITE_END_COMPLETE);
    ck_assert_uint_gt(last.full.count, 12);
}
END_TEST

static void on_signal(int signal_number)
{
    (void)signal_number;
    descend(2);
}

START_TEST(rules_tell_what_libunwind_tells_through_a_signal_frame)
{
    static char stack[32768];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};

    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    descend(0);
    unsigned without = last.full.count;
    raise(SIGUSR1);
    expect_agreement(SITE_END_COMPLETE);
    ck_assert_uint_gt(last.full.count, without + 3);
}
END_TEST

static void *in_thread(void *arg)
{
    descend(4);
    context_release();
    return arg;
}

START_TEST(a_walk_ends_at_the_thread_start_also_on_a_16_kib_stack)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, 16384), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, in_thread, NULL), 0);
    pthread_join(thread, NULL);
    expect_agreement(SITE_END_COMPLETE);
    ck_assert_uint_ge(last.full.count, 7);
}
END_TEST

/* call *%rdi from code that no unwind table knows, as a JIT's is. */
START_TEST(a_walk_stops_with_a_mark_at_code_without_unwind_information)
{
    static const unsigned char code[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x08, 0xc3};
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(page, MAP_FAILED);
    memcpy(page, code, sizeof(code));
    ((void (*)(void (*)(void)))page)(compare_walks);
    expect_agreement(SITE_END_NO_INFO);
    ck_assert_uint_eq(last.full.ips[last.full.count - 1], (uintptr_t)page + 6);
    munmap(page, 4096);
}
END_TEST

/* --- the ledger ----------------------------------------------------------------------------------------- */

START_TEST(a_ledger_entry_holds_site_size_and_kind_and_survives_free)
{
    struct ledger_entry entry = {0};
    const size_t size = 0x123456789abcu;

    record_block(&entry, &entry, 77, size, KIND_CALLOC, false);
    ck_assert_uint_eq(entry.site, 77);
    ck_assert_uint_eq(ledger_size(&entry), size);
    ck_assert_uint_eq(entry.kind, KIND_CALLOC);
    ck_assert_uint_eq(entry.state, LEDGER_LIVE);
    ck_assert(record_free(&entry, &entry, 78, false));
    ck_assert_uint_eq(entry.site, 77);
    ck_assert_uint_eq(ledger_size(&entry), size);
    ck_assert_uint_eq(entry.state, LEDGER_FREED);
    ck_assert_uint_eq(entry.free_site, 78);
    ck_assert(!record_free(&entry, &entry, 79, false)); /* the first one stays named */
    ck_assert_uint_eq(entry.free_site, 78);
}
END_TEST

/* --- when ----------------------------------------------------------------------------------------------- */

START_TEST(times_are_told_to_a_4096th_and_never_later_than_they_were)
{
    const uint64_t most = (uint64_t)8191 << 14, day = 86400u * LEDGER_WHEN_PER_S;

    for (uint64_t t = 0, next; t <= most; t = next) {
        uint64_t told = ledger_sixteenths(ledger_when(t));

        next = t + 1 + t / 40000;
        ck_assert(told <= t && (t - told) * 4096 <= t && (t >= 4096 || told == t));
        ck_assert(ledger_when(next) >= ledger_when(t));
    }
    ck_assert(ledger_when(4095) == 4095 && ledger_when(4096) == 4096 && ledger_when(8191) == 8191);
    ck_assert(ledger_when(8192) == 8192 && ledger_when(8193) == 8192 && ledger_when(8194) == 8193);
    ck_assert(most > 97 * day && most < 98 * day);
    ck_assert(ledger_when(most) == UINT16_MAX && ledger_when(most - (1 << 14)) == UINT16_MAX - 1);
    ck_assert(ledger_when(most * 2) == UINT16_MAX && ledger_when(UINT64_MAX) == UINT16_MAX);
    for (unsigned code = 0; code <= UINT16_MAX; code++)
        ck_assert_uint_eq(ledger_when(ledger_sixteenths((uint16_t)code)), code);
}
END_TEST

static uint16_t when_now(void)
{
    struct ledger_entry entry = {0};

    record_block(&entry, &entry, 77, 1, KIND_MALLOC, false);
    return entry.when;
}

START_TEST(a_block_has_the_time_of_the_last_look_at_the_clock)
{
    struct ledger_entry entry = {0};
    struct site_tally of = {.site = 77, .allocations = 1};

    (void)record_tick();
    uint16_t before = when_now();
    usleep(200000);
    ck_assert_uint_eq(when_now(), before);
    record_tick_due(&of, &entry); /* and the block that brought it about */
    ck_assert_uint_ge(entry.when, before + 2);
    ck_assert_uint_eq(when_now(), entry.when);
    ck_assert_uint_eq(of.tick_at, 2);
    usleep(200000);
    struct record_caller caller = record_caller();
    (void)record_capture_anew(&caller);
    ck_assert_uint_ge(when_now(), entry.when + 2);
}
END_TEST

START_TEST(a_look_at_the_clock_is_due_sooner_where_it_had_moved_or_blocks_are_few)
{
    struct site_tally of = {.allocations = 7};

    tally_ticked(&of, false);
    ck_assert_uint_eq(of.tick_at, 8);
    of.allocations = 80;
    tally_ticked(&of, false);
    ck_assert_uint_eq(of.tick_at, 80 + 1 + 10);
    of.allocations = 1000;
    tally_ticked(&of, false);
    ck_assert_uint_eq(of.tick_at, 1000 + TALLY_TICKS);
    tally_ticked(&of, true);
    ck_assert_uint_eq(of.tick_at, 1001);
}
END_TEST

/* Also where the count has wrapped. */
START_TEST(a_look_at_the_clock_is_due_when_the_count_comes_to_it)
{
    struct tally tally = {0};
    struct site_tally of = {.allocations = UINT32_MAX - 40};

    tally_ticked(&of, false);
    for (unsigned i = 1; i < TALLY_TICKS; i++)
        ck_assert(!tally_allocated_here(&tally, &of, &of, 1));
    ck_assert(tally_allocated_here(&tally, &of, &of, 1));
    tally_ticked(&of, false);
    for (unsigned i = 1; i < TALLY_TICKS; i++)
        ck_assert(!tally_allocated_here(&tally, &of, &of, 1));
    ck_assert(tally_allocated_here(&tally, &of, &of, 1));
    ck_assert(tally_allocated_here(&tally, &of, &of, 1)); /* as long as nobody has looked */
}
END_TEST

START_TEST(a_forked_child_goes_on_with_the_time_and_its_own_generation)
{
    struct ledger_entry entry = {0};

    usleep(200000);
    (void)record_tick();
    uint16_t before = when_now();
    record_fork_prepare();
    record_fork_child();
    record_block(&entry, &entry, 77, 1, KIND_MALLOC, false);
    ck_assert(entry.when == before && before >= 3);
    ck_assert(entry.generation == 1 && entry.state == LEDGER_LIVE && entry.flags == 0);
}
END_TEST

/* Where LeakSanitizer finds what the recorder keeps in memory of its own. */
static void *own_blocks[64];

static void keep_block(void *block)
{
    static unsigned count;

    own_blocks[__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) % 64] = block;
}

static void start_recorder(void)
{
    struct record_config config = {.depth_limit = RECORD_DEPTH_DEFAULT, .own_block = keep_block, .trace = ""};
    const char *why = "";

    ck_assert_msg(record_start(&config, &why), "%s", why);
}

int main(void)
{
    Suite *suite = suite_create("record");
    TCase *tests = tcase_create("record");
    const TTest *all[] = {
        rule_comes_back_as_it_was_put,
        rule_is_forgotten_when_code_was_unloaded,
        equal_stacks_have_one_site_and_others_another,
        sites_keep_their_ids_while_the_table_grows,
        stacks_through_a_module_that_went_are_forgotten,
        a_stack_below_one_that_went_is_not_found_although_it_is_newer,
        what_went_is_left_behind_when_the_table_grows,
        threads_find_no_stack_of_a_module_that_went_before,
        rules_tell_what_libunwind_tells_in_plain_frames,
        rules_tell_what_libunwind_tells_with_alloca_and_realigned_frames,
        rules_tell_what_libunwind_tells_through_a_signal_frame,
        a_walk_ends_at_the_thread_start_also_on_a_16_kib_stack,
        a_walk_stops_with_a_mark_at_code_without_unwind_information,
        a_ledger_entry_holds_site_size_and_kind_and_survives_free,
        times_are_told_to_a_4096th_and_never_later_than_they_were,
        a_block_has_the_time_of_the_last_look_at_the_clock,
        a_look_at_the_clock_is_due_sooner_where_it_had_moved_or_blocks_are_few,
        a_look_at_the_clock_is_due_when_the_count_comes_to_it,
        a_forked_child_goes_on_with_the_time_and_its_own_generation,
    };

    tcase_add_unchecked_fixture(tests, start_recorder, NULL);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        tcase_add_test(tests, all[i]);
    tcase_add_loop_test(tests, threads_that_meet_a_stack_at_once_agree_on_its_site, 0, RACES);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
