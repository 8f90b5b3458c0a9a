/* SPDX-License-Identifier: MIT */
/* tracer/frag: curves, a heap looked at from outside, the summary, and what is printed of it. */
#include <jansson.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "alloc_help.h"
#include "allocator/layout.h"
#include "tracer/frag/map.h"
#include "tracer/frag/study.h"
#include "tracer/tool/frag_objects.h"

#define MIB  1048576u
#define SPAN 1000000u /* longer than an arena */

/* --- curves ------------------------------------------------------------------------------------------------- */

START_TEST(full_curve_is_thinned_and_keeps_its_mean)
{
    struct frag_curve curve = {0};
    for (unsigned i = 0; i < 10 * CURVE_MAX; i++) {
        struct frag_sample sample = {.s = i * 0.005, .rss = i < 5 * CURVE_MAX ? 1000 : 3000};
        ck_assert(frag_curve_add(&curve, &sample));
        ck_assert_uint_le(curve.count, CURVE_MAX);
    }
    ck_assert_uint_ge(curve.count, CURVE_MAX / 4);
    ck_assert_double_eq(curve.at[0].s, 0);
    for (size_t i = 1; i < curve.count; i++) /* no hole in it */
        ck_assert_double_lt(curve.at[i].s - curve.at[i - 1].s, 10 * CURVE_MAX * 0.005 / (CURVE_MAX / 8));
    ck_assert_double_gt(curve.at[curve.count - 1].s, 0.95 * 10 * CURVE_MAX * 0.005);
    ck_assert_double_eq_tol(frag_curve_mean(&curve, offsetof(struct frag_sample, rss)), 2000, 60);
    frag_curve_free(&curve);
}
END_TEST

START_TEST(mean_is_over_time_not_over_samples)
{
    struct frag_curve curve = {0};
    const struct frag_sample samples[] = {
        {.s = 0, .rss = 0}, {.s = 0.1, .rss = 0}, {.s = 0.2, .rss = 100}, {.s = 10.2, .rss = 100}};
    ck_assert_double_eq(frag_curve_mean(&curve, offsetof(struct frag_sample, rss)), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(frag_curve_add(&curve, &samples[i]));
    ck_assert_double_eq_tol(frag_curve_mean(&curve, offsetof(struct frag_sample, rss)), (5.0 + 1000) / 10.2,
                            0.01);
    frag_curve_free(&curve);
}
END_TEST

START_TEST(rollup_lacking_a_field_is_refused)
{
    struct frag_sample sample = {0};
    ck_assert(frag_rollup_parse(
        "x-y ---p [rollup]\nRss:   12 kB\nAnonymous:  3 kB\nLazyFree: 1 kB\nSwap: 0 kB\n", &sample));
    ck_assert_uint_eq(sample.rss, 12 * 1024);
    ck_assert_uint_eq(sample.anonymous, 3 * 1024);
    ck_assert_uint_eq(sample.lazy_free, 1024);
    ck_assert(!frag_rollup_parse("Rss: 12 kB\nAnonymous: 3 kB\n", &sample));
    ck_assert(!frag_rollup_parse("", &sample));
    ck_assert(frag_rollup_read(getpid(), &sample) && sample.rss > sample.anonymous);
    ck_assert(!frag_rollup_read(0x7ffffff0, &sample));
    ck_assert_uint_ge(frag_high_water(getpid()), sample.rss / 2);
}
END_TEST

START_TEST(every_capacity_lies_in_its_bucket)
{
    for (uint64_t capacity = 1; capacity < 3 * MIB; capacity += capacity < 5000 ? 1 : 4093) {
        unsigned bucket = account_bucket(capacity);
        ck_assert_uint_lt(bucket, ACCOUNT_BUCKETS);
        ck_assert_uint_le(capacity, account_bucket_end(bucket));
        ck_assert(bucket == 0 || capacity > account_bucket_end(bucket - 1));
    }
    ck_assert_uint_eq(account_bucket(UINT64_MAX), ACCOUNT_LAST);
    ck_assert_uint_eq(account_bucket(2 * MIB), ACCOUNT_LAST - 1);
}
END_TEST

/* --- a heap from outside ---------------------------------------------------------------------------------------- */

/* The child's part: 1,000 blocks of 120 bytes of which every second is free again, a span, a mapping of which one page
 * is touched; then it stands still. */
static void fill_heap(struct account_page *page)
{
    static void *block[1000];
    alloc_keep_ledger();
    for (unsigned i = 0; i < 1000; i++)
        memset(block[i] = alloc_malloc(120), 1, 120);
    memset(alloc_malloc(SPAN), 1, SPAN);
    *(char *)alloc_malloc(3 * MIB) = 1;
    for (unsigned i = 0; i < 1000; i += 2)
        alloc_free(block[i]);
    page->live_bytes = 500 * 120 + SPAN + 3 * MIB;
    page->bucket[account_bucket(128)].bytes = 500 * 120;
    __atomic_store_n(&page->root, (uint64_t)(uintptr_t)alloc_root(), __ATOMIC_RELEASE);
    for (;;)
        pause();
}

static struct account_page *page;
static pid_t target;

static void start_target(void)
{
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    target = fork();
    if (target == 0)
        fill_heap(page);
    while (__atomic_load_n(&page->root, __ATOMIC_ACQUIRE) == 0)
        usleep(1000);
}

static void end_target(void)
{
    kill(target, SIGKILL);
    waitpid(target, NULL, 0);
    munmap(page, sizeof(*page));
}

START_TEST(heap_of_another_process_adds_up)
{
    struct frag_heap heap;
    start_target();
    ck_assert_int_eq(frag_heap_read(target, page, &heap), HEAP_OK);
    ck_assert_uint_eq(heap.damage, 0);
    ck_assert_uint_eq(heap.resident, heap.asked + heap.internal + heap.external + heap.cached +
                                         heap.metadata + heap.ledger - heap.untouched);
    const struct heap_class *class = &heap.class[account_bucket(128)];
    ck_assert_uint_eq(class->live, 500);
    ck_assert_uint_eq(class->capacity, 500 * 128);
    ck_assert_uint_eq(class->asked, 500 * 120);
    ck_assert_uint_ge(class->free, 450 * 128); /* the pages of the other 500 are still there */
    ck_assert_uint_eq(heap.spans, 1);
    ck_assert_uint_eq(heap.mappings, 1);
    ck_assert_uint_ge(heap.untouched, 3 * MIB - 64 * 1024);
    ck_assert_uint_ge(heap.ledger, 500 * ALLOC_LEDGER_BYTES);
    ck_assert_uint_gt(heap.metadata, 0);
    frag_heap_free(&heap);
    end_target();
}
END_TEST

/* The figure against the kernel's own, read another way: the process is small, and its heap most of it. */
START_TEST(resident_heap_is_within_the_process)
{
    struct frag_heap heap;
    struct frag_sample sample;
    start_target();
    ck_assert_int_eq(frag_heap_read(target, page, &heap), HEAP_OK);
    ck_assert(frag_rollup_read(target, &sample));
    ck_assert_uint_le(heap.resident, sample.anonymous + 64 * 1024);
    frag_heap_free(&heap);
    end_target();
}
END_TEST

START_TEST(tiles_cover_every_chunk_once)
{
    struct frag_heap heap;
    uint64_t bytes = 0;
    start_target();
    ck_assert_int_eq(frag_heap_read(target, page, &heap), HEAP_OK);
    for (size_t i = 0; i < heap.tiles; i++) {
        bytes += heap.tile[i].bytes;
        ck_assert(i == 0 || heap.tile[i].start >= heap.tile[i - 1].start + heap.tile[i - 1].bytes);
        ck_assert_uint_eq(heap.tile[i].start >> ARENA_SHIFT,
                          (heap.tile[i].start + heap.tile[i].bytes - 1) >> ARENA_SHIFT);
    }
    ck_assert_uint_eq(bytes, heap.chunks * CHUNK_SIZE);
    ck_assert_uint_eq(heap_map_of(&heap).arenas, heap.chunks * CHUNK_ARENAS);
    frag_heap_free(&heap);
    end_target();
}
END_TEST

START_TEST(what_is_no_heap_is_refused)
{
    struct frag_heap heap;
    struct account_page empty = {0};
    ck_assert_int_eq(frag_heap_read(getpid(), &empty, &heap), HEAP_UNREADABLE);
    empty.root = (uint64_t)(uintptr_t)&empty;
    ck_assert_int_eq(frag_heap_read(getpid(), &empty, &heap), HEAP_OTHER_LAYOUT);
    ck_assert_int_eq(frag_heap_read(0x7ffffff0, &empty, &heap), HEAP_UNREADABLE);
}
END_TEST

START_TEST(spare_ledgers_are_no_metadata)
{
    struct frag_heap heap = {.ledger = 10, .metadata = 100};
    frag_heap_deduct_ledger(&heap, 50);
    ck_assert_uint_eq(heap.ledger, 50);
    ck_assert_uint_eq(heap.metadata, 60);
    frag_heap_deduct_ledger(&heap, 20);
    ck_assert_uint_eq(heap.ledger, 50);
    frag_heap_deduct_ledger(&heap, 5000);
    ck_assert_uint_eq(heap.metadata, 0);
}
END_TEST

/* --- the map ------------------------------------------------------------------------------------------------------ */

START_TEST(colours_tell_size_and_occupancy_apart)
{
    struct heap_tile small = {.kind = TILE_POOL, .block_size = 16, .occupancy = 1};
    struct heap_tile large = {.kind = TILE_POOL, .block_size = 32768, .occupancy = 1};
    struct heap_tile sparse = {.kind = TILE_POOL, .block_size = 16, .occupancy = 0.01f};
    ck_assert_uint_eq(heap_map_colour(&small) >> 16, 0); /* blue: no red in it */
    ck_assert_uint_gt(heap_map_colour(&small) & 255, 200);
    ck_assert_uint_gt(heap_map_colour(&large) >> 16, 200); /* red */
    ck_assert_uint_eq(heap_map_colour(&large) & 255, 0);
    ck_assert_uint_gt(heap_map_colour(&sparse) >> 16, 200); /* nearly white */
    ck_assert_uint_le(heap_map_colour(&sparse), 0xffffff);
}
END_TEST

static unsigned lines_of(unsigned arenas)
{
    char *text = NULL;
    size_t size;
    unsigned lines = 0;
    struct frag_heap heap = {.tiles = arenas * 2, .tile = calloc(arenas, 2 * sizeof(struct heap_tile))};
    for (unsigned i = 0; i < arenas * 2; i++)
        heap.tile[i] = (struct heap_tile){.start = (uint64_t)i << (ARENA_SHIFT - 1),
                                          .bytes = 1u << (ARENA_SHIFT - 1),
                                          .kind = i % 2 ? TILE_GONE : TILE_CACHED};
    struct heap_map map = heap_map_of(&heap);
    ck_assert_uint_eq(map.arenas, arenas);
    ck_assert_uint_ge(map.columns * map.rows, arenas);
    FILE *out = open_memstream(&text, &size);
    heap_map_write(&map, &heap, out);
    fclose(out);
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    free(text);
    free(heap.tile);
    return lines;
}

START_TEST(many_arenas_are_drawn_whole)
{
    ck_assert_uint_eq(lines_of(1), 4); /* two colours, half an arena each: four rows of slots */
    ck_assert_uint_eq(lines_of(MAP_FINE_ARENAS), 4 * MAP_FINE_ARENAS);
    ck_assert_uint_eq(lines_of(MAP_FINE_ARENAS + 1), MAP_FINE_ARENAS + 1);
}
END_TEST

/* --- the summary, and what is printed ------------------------------------------------------------------------------ */

static void add_run(struct frag_allocator *a, double wall, uint64_t rss_mib)
{
    struct frag_run *run = &a->run[a->rounds++];
    struct frag_sample sample = {.s = 0, .rss = (rss_mib + 2) * MIB, .anonymous = rss_mib * MIB};
    run->ran = run->has_end = true;
    run->wall_s = wall;
    run->peak_rss = (rss_mib + 3) * MIB; /* a MiB more than any sample saw */
    for (unsigned i = 0; i < 5; i++, sample.s += 1)
        frag_curve_add(&run->curve, &sample);
    run->end = sample;
}

static struct frag_study *small_study(void)
{
    struct frag_study *study = calloc(1, sizeof(*study));
    study->command = strdup("it's a \"program\"\n");
    study->rounds = 3;
    study->count = 2;
    struct frag_allocator *a = study->allocator;
    strcpy(a[0].name, "glibc");
    a[0].present = true;
    add_run(&a[0], 3, 30);
    add_run(&a[0], 1, 10);
    add_run(&a[0], 2, 22);
    strcpy(a[1].name, "other");
    a[1].note = "was not found";
    struct frag_account *account = &study->account;
    account->counted = account->has_peak = true;
    account->peak_bytes = 10 * MIB;
    account->peak = (struct frag_heap){.asked = 10 * MIB,
                                       .capacity = 11 * MIB,
                                       .internal = MIB,
                                       .external = 2 * MIB,
                                       .untouched = MIB,
                                       .resident = 12 * MIB,
                                       .anonymous = 14 * MIB};
    account->peak.class[3] =
        (struct heap_class){.pools = 4, .live = 7, .capacity = 448, .asked = 400, .free = 64};
    return study;
}

START_TEST(summary_takes_medians_and_the_base_off)
{
    struct frag_study *study = small_study();
    study_summarize(study);
    const struct frag_allocator *a = &study->allocator[0];
    ck_assert_uint_eq(study->base, 2 * MIB);
    ck_assert_double_eq(a->wall.median, 2);
    ck_assert_double_eq(a->wall.low, 1);
    ck_assert_double_eq(a->wall.high, 3);
    ck_assert_double_eq(a->peak_rss.median, 25.0 * MIB);
    ck_assert_double_eq(a->end_heap.median, 20.0 * MIB);
    ck_assert_double_eq(a->peak_heap.median, 21.0 * MIB); /* what the kernel saw and no sample did is heap */
    ck_assert_double_eq(study_ratio(a->peak_heap.median, 10.0 * MIB), 2.1);
    ck_assert_double_eq(study_ratio(5, 1000), 0);
    study_free(study);
}
END_TEST

START_TEST(table_tells_failures_and_lacks)
{
    struct frag_study *study = small_study();
    study->allocator[0].run[1].status = 3;
    study->account.run.by_signal = true;
    study->account.run.status = 11;
    study_summarize(study);
    char *text = study_table(study, false);
    ck_assert_ptr_nonnull(strstr(text, "other: was not found"));
    ck_assert_ptr_nonnull(strstr(text, "! under glibc the program ended with exit code 3"));
    ck_assert_ptr_nonnull(strstr(text, "! under accounting the program was ended by signal 11"));
    ck_assert_ptr_nonnull(strstr(text, "2.100"));
    ck_assert_ptr_nonnull(strstr(text, "25.00 (13.00-33.00)"));
    free(text);
    study_free(study);
}
END_TEST

START_TEST(json_says_what_the_table_says)
{
    struct frag_study *study = small_study();
    study_summarize(study);
    char *text = study_json(study);
    json_t *o = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(o);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "schema")), 1);
    json_t *first = json_array_get(json_object_get(o, "allocators"), 0);
    json_t *overhead = json_object_get(first, "overhead");
    ck_assert_double_eq_tol(json_real_value(json_object_get(overhead, "peak_heap")), 2.1, 1e-6);
    ck_assert_uint_eq(json_array_size(json_object_get(first, "runs")), 3);
    json_t *heap = json_object_get(json_object_get(o, "account"), "heap_at_peak");
    ck_assert_int_eq(json_integer_value(json_object_get(heap, "external")), 2 * MIB);
    ck_assert_uint_eq(json_array_size(json_object_get(heap, "classes")), 1);
    json_decref(o);
    free(text);
    study_free(study);
}
END_TEST

/* A quote in a name must not end gnuplot's string: what follows it would be a command. */
START_TEST(picture_quotes_names)
{
    struct frag_study *study = small_study();
    study_summarize(study);
    char *text = study_picture(study, "a'b.svg", "svg");
    ck_assert_ptr_nonnull(strstr(text, "set output 'a''b.svg'\n"));
    ck_assert_ptr_nonnull(strstr(text, "'it''s a \"program\"?'"));
    ck_assert_ptr_nonnull(strstr(text, "title 'RSS, glibc (2.00 s)'"));
    free(text);
    study_free(study);
}
END_TEST

START_TEST(libraries_are_read_off_the_loaders_list)
{
    struct frag_objects objects = {0};
    frag_objects_line("\tlinux-vdso.so.1 (0x00007ffd)\n", &objects);
    frag_objects_line("\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x1)\n", &objects);
    ck_assert(objects.other[0] == '\0' && objects.libc[0] == '\0');
    frag_objects_line("\tlibjemalloc.so.2 => /lib/x86_64-linux-gnu/libjemalloc.so.2 (0x1)\n", &objects);
    frag_objects_line("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x1)\n", &objects);
    frag_objects_line("\tlibgone.so => not found\n", &objects);
    ck_assert_str_eq(objects.other, "libjemalloc.so.2");
    ck_assert_str_eq(objects.libc, "/lib/x86_64-linux-gnu/libc.so.6");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frag");
    TCase *all = tcase_create("all");
    tcase_add_test(all, full_curve_is_thinned_and_keeps_its_mean);
    tcase_add_test(all, mean_is_over_time_not_over_samples);
    tcase_add_test(all, rollup_lacking_a_field_is_refused);
    tcase_add_test(all, every_capacity_lies_in_its_bucket);
    tcase_add_test(all, what_is_no_heap_is_refused);
    tcase_add_test(all, spare_ledgers_are_no_metadata);
    tcase_add_test(all, colours_tell_size_and_occupancy_apart);
    tcase_add_test(all, many_arenas_are_drawn_whole);
    tcase_add_test(all, summary_takes_medians_and_the_base_off);
    tcase_add_test(all, table_tells_failures_and_lacks);
    tcase_add_test(all, json_says_what_the_table_says);
    tcase_add_test(all, picture_quotes_names);
    tcase_add_test(all, libraries_are_read_off_the_loaders_list);
    if (!HELP_TSAN) { /* which shadows the whole address space: its walk of the pages takes minutes */
        tcase_add_test(all, heap_of_another_process_adds_up);
        tcase_add_test(all, resident_heap_is_within_the_process);
        tcase_add_test(all, tiles_cover_every_chunk_once);
    }
    suite_add_tcase(suite, all);
    return help_run(suite);
}
