/* SPDX-License-Identifier: MIT */
/*
 * The check of a whole process: a child makes a heap with the pure allocator and writes the recorder's tables by hand;
 * the parent checks it and looks at the recording.
 *
 *    child: scene() makes blocks, says where its tables are in shared memory, stands still
 *    parent: check_process() --> recording --> what the test expects
 *
 * The child's only root is what a scene puts in `held`: pointers are never left on its stack, of which no frame counts.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocator/allocator.h"
#include "tracer/tool/check.h"

#define NODES     64u
#define BEGAN_MS  5000u
#define FROZEN_MS (BEGAN_MS + 101000u)

/* In the child. */
static void *volatile held[8]; /* nobody reads them: without volatile they would not be written */
static struct site_node nodes[4096];
static struct record_root record;
static struct thread_slot slot;
static unsigned made = 1; /* one a second */

/* Between the two. */
struct handover {
    struct wire_target target;
    volatile int ready;
};
static struct handover *handover;

static void *make(size_t size, uint32_t site, unsigned generation)
{
    struct alloc_block block;
    void *p = alloc_malloc_zeroed(size);
    if (!p || alloc_find(p, &block) != ALLOC_OK)
        _exit(1);
    struct ledger_entry *entry = block.ledger;
    *entry = (struct ledger_entry){.site = site,
                                   .size_low = (uint32_t)size,
                                   .kind = KIND_CALLOC,
                                   .state = LEDGER_LIVE,
                                   .generation = (uint8_t)generation,
                                   .when = (uint16_t)(made++ * LEDGER_WHEN_PER_S)};
    return p;
}

static void **words(size_t size, uint32_t site)
{
    return make(size, site, 1);
}

/* --- scenes ----------------------------------------------------------------------------------------------------- */

static void scene_nothing(void)
{
}

static void scene_all_held(void)
{
    void **p = held[0] = words(64, 20);
    p[1] = words(32, 21);
}

/* Two chains of one site, a block of another. */
static void scene_lost(void)
{
    for (int i = 0; i < 2; i++) {
        void **head = words(40, 20);
        head[2] = words(100, 21);
    }
    words(8, 22);
}

static void scene_cycles(void)
{
    for (int i = 0; i < 2; i++) {
        void **a = words(48, 20), **b = words(48, 21), **c = words(48, 20);
        a[1] = b;
        b[2] = c;
        c[3] = a;
        c[4] = c;
        a[5] = words(16, 22);
    }
}

static void scene_cycles_of_two_lengths(void)
{
    void **a = words(48, 20), **b = words(48, 21);
    a[1] = b;
    b[1] = a;
    void **c = words(48, 20), **d = words(48, 21), **e = words(48, 21);
    c[1] = d;
    d[1] = e;
    e[1] = c;
}

static void scene_possible(void)
{
    void **p = words(64, 20);
    p[1] = words(32, 20);
    held[1] = (char *)p + 24;
}

static void scene_inherited(void)
{
    void **old = make(64, 20, 0);
    old[1] = make(32, 21, 1); /* hung onto it by the child: goes with its head */
    void **own = words(64, 22);
    own[1] = make(32, 23, 0);
}

static void scene_not_recorded(void)
{
    record.magic = 0;
}

static void scene_loop_of_calls(void)
{
    words(40, 30); /* three addresses that nothing is known of stay three findings */
    words(40, 31);
    words(40, 32);
}

/* Made in the first second and the second, by nobody who is known in the third, and in the fourth. */
static void scene_ages(void)
{
    words(40, 20);
    words(40, 20);
    words(64, 0);
    words(32, 21);
}

/* --- child and parent ------------------------------------------------------------------------------------------- */

static void __attribute__((noreturn)) child_main(void (*scene)(void))
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alloc_keep_ledger();
    record = (struct record_root){.magic = RECORD_MAGIC,
                                  .version = RECORD_LAYOUT_VERSION,
                                  .generation = 1,
                                  .site_count = NODES,
                                  .allocations = 7,
                                  .frees = 3,
                                  .began_ms = BEGAN_MS,
                                  .unwinder = "by hand"};
    record.site_segment[0] = (uintptr_t)nodes;
    for (uint32_t id = SITE_FIRST; id < NODES; id++)
        nodes[id] = (struct site_node){.ip = 0x1000 + id, .parent = SITE_END_COMPLETE, .module = MODULE_NONE};
    slot = (struct thread_slot){.tid = getpid(), .state = THREAD_SELF};
    slot.registers[THREAD_RSP] = (uintptr_t)environ & ~UINT64_C(15);
    scene();
    handover->target = (struct wire_target){.reason = WIRE_AT_EXIT,
                                            .pid = getpid(),
                                            .tid = getpid(),
                                            .alloc_root = (uintptr_t)alloc_root(),
                                            .record_root = (uintptr_t)&record,
                                            .threads = (uintptr_t)&slot,
                                            .frozen_ms = FROZEN_MS,
                                            .thread_count = 1};
    handover->ready = 1;
    for (;;)
        pause();
}

static struct recording *rec;

static void check_scene(void (*scene)(void))
{
    struct memory_source source;
    handover = mmap(NULL, sizeof(*handover), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(handover != MAP_FAILED);
    pid_t pid = fork();
    ck_assert(pid >= 0);
    if (pid == 0)
        child_main(scene);
    for (int i = 0; i < 10000 && !handover->ready; i++)
        usleep(1000);
    ck_assert(handover->ready);
    rec = recording_new();
    ck_assert(rec && source_open_process(pid, pid, &source));
    const struct check_request request = {.source = &source, .target = &handover->target};
    bool done = check_process(&request, rec);
    source.close(source.ctx);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    munmap(handover, sizeof(*handover));
    ck_assert(done);
    const char *where = "";
    ck_assert_msg(recording_check(rec, &where), "%s", where);
}

static void tear_down(void)
{
    recording_free(rec);
    rec = NULL;
}

static void check_class(enum rec_class cls, uint64_t blocks, uint64_t bytes)
{
    ck_assert_msg(rec->meta.class_blocks[cls] == blocks && rec->meta.class_bytes[cls] == bytes,
                  "%s: %llu blocks, %llu bytes", rec_class_name(cls),
                  (unsigned long long)rec->meta.class_blocks[cls],
                  (unsigned long long)rec->meta.class_bytes[cls]);
}

static uint64_t first_ip(const struct rec_group *group)
{
    ck_assert(group->site != REC_NONE && rec->sites[group->site].frame_count == 1);
    return rec->frames[rec->frame_list[rec->sites[group->site].first_frame]].ip;
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

START_TEST(a_process_without_blocks_is_clean)
{
    check_scene(scene_nothing);
    ck_assert_uint_eq(rec->meta.verdict, REC_CLEAN);
    ck_assert_uint_eq(rec->groups_count, 0);
    ck_assert(rec->meta.allocations == 7 && rec->meta.frees == 3 && rec->meta.generation == 1);
    ck_assert_str_eq(rec->meta.unwinder, "by hand");
    ck_assert_str_eq(rec->meta.memory_source, "process_vm_readv");
}
END_TEST

START_TEST(what_a_global_holds_is_reachable)
{
    check_scene(scene_all_held);
    ck_assert_uint_eq(rec->meta.verdict, REC_CLEAN);
    check_class(REC_REACHABLE, 2, 96);
}
END_TEST

START_TEST(lost_heads_of_one_site_are_one_group_and_carry_what_they_hold)
{
    check_scene(scene_lost);
    ck_assert_uint_eq(rec->meta.verdict, REC_LEAKS);
    check_class(REC_LOST, 3, 88);
    check_class(REC_INDIRECT, 2, 200);
    ck_assert_uint_eq(rec->groups_count, 2);
    const struct rec_group *g = &rec->groups[0];
    ck_assert(g->cls == REC_LOST && g->instances == 2 && g->blocks == 2 && g->bytes == 80 &&
              g->references == 0);
    ck_assert(g->indirect_blocks == 2 && g->indirect_bytes == 200 && g->kind == KIND_CALLOC);
    ck_assert(g->block_count == 2 && first_ip(g) == 0x1000 + 20);
    ck_assert(rec->groups[1].bytes == 8 && first_ip(&rec->groups[1]) == 0x1000 + 22);
}
END_TEST

START_TEST(a_group_knows_its_oldest_and_its_newest_block_where_a_time_is_known)
{
    check_scene(scene_ages);
    ck_assert_uint_eq(rec->groups_count, 3);
    const struct rec_group *g = rec->groups;
    ck_assert(g[0].bytes == 80 && g[1].bytes == 64 && g[2].bytes == 32);
    ck_assert(g[0].aged_blocks == 2 && g[0].oldest_ms == 100000 && g[0].newest_ms == 99000);
    ck_assert(g[1].aged_blocks == 0 && g[1].oldest_ms == 0);
    ck_assert(g[2].aged_blocks == 1 && g[2].oldest_ms == 97000 && g[2].newest_ms == 97000);
    ck_assert(rec->blocks[g[0].first_block].has_age && rec->blocks[g[0].first_block].age_ms >= 99000);
    ck_assert(!rec->blocks[g[1].first_block].has_age);
}
END_TEST

START_TEST(cycles_of_one_shape_are_one_group_drawn_once)
{
    check_scene(scene_cycles);
    check_class(REC_CYCLE, 6, 288);
    check_class(REC_INDIRECT, 2, 32);
    ck_assert_uint_eq(rec->groups_count, 1);
    const struct rec_group *g = &rec->groups[0];
    ck_assert(g->cls == REC_CYCLE && g->instances == 2 && g->blocks == 6 && g->indirect_blocks == 2);
    ck_assert(g->references == 8 && g->from_self == 2 && g->from_inside == 6);
    ck_assert(g->block_count == 3 && g->edge_count == 4);
    static const uint64_t offsets[] = {8, 16, 24, 32};
    uint64_t seen = 0;
    for (uint32_t i = 0; i < g->edge_count; i++) {
        const struct rec_edge *e = &rec->edges[g->first_edge + i];
        ck_assert(e->from_root == REC_NONE && e->to_offset == 0);
        ck_assert(e->from_block >= g->first_block && e->to_block < g->first_block + 3);
        ck_assert((e->from_block == e->to_block) == (e->offset == 32));
        for (unsigned j = 0; j < 4; j++)
            seen |= (uint64_t)(e->offset == offsets[j]) << j;
    }
    ck_assert_uint_eq(seen, 15);
}
END_TEST

START_TEST(cycles_of_the_same_sites_are_one_group_whatever_their_length)
{
    check_scene(scene_cycles_of_two_lengths);
    ck_assert_uint_eq(rec->groups_count, 1);
    ck_assert(rec->groups[0].instances == 2 && rec->groups[0].blocks == 5 && rec->groups[0].block_count == 2);
}
END_TEST

START_TEST(a_possible_block_names_who_holds_it)
{
    check_scene(scene_possible);
    ck_assert_uint_eq(rec->meta.verdict, REC_CLEAN);
    check_class(REC_POSSIBLE, 2, 96);
    ck_assert(rec->groups_count == 1 && rec->groups[0].cls == REC_POSSIBLE && rec->groups[0].edge_count == 1);
    const struct rec_edge *e = &rec->edges[rec->groups[0].first_edge];
    ck_assert(e->from_root != REC_NONE && e->to_offset == 24);
    ck_assert_msg(strncmp(rec->roots[e->from_root].name, "global held in check_process", 28) == 0, "%s",
                  rec->roots[e->from_root].name);
}
END_TEST

START_TEST(what_was_allocated_before_the_fork_is_counted_apart)
{
    check_scene(scene_inherited);
    ck_assert_uint_eq(rec->meta.verdict, REC_LEAKS);
    check_class(REC_LOST, 1, 64);
    check_class(REC_INDIRECT, 0, 0);
    ck_assert(rec->meta.inherited_blocks == 3 && rec->meta.inherited_bytes == 128);
    ck_assert(rec->groups_count == 1 && first_ip(&rec->groups[0]) == 0x1000 + 22);
}
END_TEST

START_TEST(without_a_recorder_nothing_is_called_clean)
{
    check_scene(scene_not_recorded);
    ck_assert_uint_eq(rec->meta.verdict, REC_NOT_CHECKED);
    ck_assert(rec->meta.why_not[0]);
}
END_TEST

START_TEST(unknown_addresses_stay_findings_of_their_own)
{
    check_scene(scene_loop_of_calls);
    ck_assert_uint_eq(rec->groups_count, 3);
}
END_TEST

START_TEST(a_process_that_is_gone_is_not_checked)
{
    struct memory_source source;
    const struct wire_target target = {.pid = 0x7ffffff0, .tid = 0x7ffffff0, .alloc_root = 0x10000};
    ck_assert(source_open_process(target.pid, target.tid, &source));
    const struct check_request request = {.source = &source, .target = &target};
    rec = recording_new();
    ck_assert(check_process(&request, rec));
    ck_assert_uint_eq(rec->meta.verdict, REC_NOT_CHECKED);
    ck_assert_str_eq(rec->meta.why_not, "its heap cannot be read");
    source.close(source.ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("process");
    TCase *tests = tcase_create("process");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, NULL, tear_down);
    tcase_add_test(tests, a_process_without_blocks_is_clean);
    tcase_add_test(tests, what_a_global_holds_is_reachable);
    tcase_add_test(tests, lost_heads_of_one_site_are_one_group_and_carry_what_they_hold);
    tcase_add_test(tests, a_group_knows_its_oldest_and_its_newest_block_where_a_time_is_known);
    tcase_add_test(tests, cycles_of_one_shape_are_one_group_drawn_once);
    tcase_add_test(tests, cycles_of_the_same_sites_are_one_group_whatever_their_length);
    tcase_add_test(tests, a_possible_block_names_who_holds_it);
    tcase_add_test(tests, what_was_allocated_before_the_fork_is_counted_apart);
    tcase_add_test(tests, without_a_recorder_nothing_is_called_clean);
    tcase_add_test(tests, unknown_addresses_stay_findings_of_their_own);
    tcase_add_test(tests, a_process_that_is_gone_is_not_checked);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
