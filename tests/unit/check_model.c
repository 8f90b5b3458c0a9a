/* SPDX-License-Identifier: MIT */
/*
 * check_model.c - random operations beside a shadow map (model.h): content, overlap, alignment, zeroing, usable
 * size, ledgers, and the walker's list of live blocks against ours; by one thread, by several in turns, and by
 * several at once that hand blocks to each other.
 *
 * HEAPTALLY_SEED repeats one run, HEAPTALLY_STEPS lengthens it (`make model-long`). All but the last test do
 * the same for the same seed, thread switches included.
 */
#include "tests/unit/model.h"

#include <pthread.h>
#include <semaphore.h>

#define SEEDS 4 /* of each kind of run */

/* Steps of one run: a million, but a run under a sanitizer costs ten times as much. */
static uint64_t steps_divided(uint64_t by)
{
    return model_setting("HEAPTALLY_STEPS", HELP_ASAN || HELP_TSAN ? 60000 : 1000000) / by + 1;
}

/* --- the walker beside the shadow ----------------------------------------------------------------------- */

#define SHADOWS_MAX 4

static struct model model;
static struct model_block sorted[MODEL_SLOTS * SHADOWS_MAX];
static size_t walked, expected;

static int by_address(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)((const struct model_block *)a)->p,
              right = (uintptr_t)((const struct model_block *)b)->p;
    return (left > right) - (left < right);
}

static bool compare_block(void *ctx, const struct walk_block *block)
{
    const struct model *shadow = ctx;
    MODEL_EXPECT(walked < expected);
    const struct model_block *known = &sorted[walked++];
    MODEL_EXPECT(block->addr == (uintptr_t)known->p);
    MODEL_EXPECT(block->capacity == known->usable);
    MODEL_EXPECT(!shadow->ledger || block->has_ledger);
    if (known->tag != 0)
        MODEL_EXPECT(memcmp(block->ledger, &known->tag, sizeof known->tag) == 0);
    return true;
}

/* All blocks of `count` shadows: no two overlap, and the walker lists these and no others. */
static void compare_with_walker(struct model *shadow, int count)
{
    struct walk_visitor visitor = {.block = compare_block, .complain = help_complain, .ctx = shadow};
    expected = walked = 0;
    for (int which = 0; which < count; which++)
        for (size_t i = 0; i < MODEL_SLOTS; i++)
            if (shadow[which].slot[i].p != NULL)
                sorted[expected++] = shadow[which].slot[i];
    qsort(sorted, expected, sizeof *sorted, by_address);
    for (size_t i = 1; i < expected; i++)
        MODEL_EXPECT((uintptr_t)sorted[i - 1].p + sorted[i - 1].usable <= (uintptr_t)sorted[i].p);
    help_verify();
    MODEL_EXPECT(walk_allocator(&help_self, (uintptr_t)alloc_root(), &visitor) == WALK_OK);
    MODEL_EXPECT(walked == expected);
}

/* HEAPTALLY_SEED repeats one run. */
static void seed_and_tell(struct model *shadow, uint64_t seed)
{
    seed = model_setting("HEAPTALLY_SEED", seed);
    model_seed(shadow, seed);
    fprintf(stderr, "  HEAPTALLY_SEED=%llu\n", (unsigned long long)seed);
}

/* --- one thread ----------------------------------------------------------------------------------------- */

#define LOOKS 8 /* at everything, in a run */

static void model_run(uint64_t seed, uint64_t steps)
{
    seed_and_tell(&model, seed);
    alloc_set_decay((int64_t)(seed % 3) * 20);
    for (uint64_t step = 0; step < steps; step++) {
        model_step(&model);
        if (step % (steps / LOOKS + 1) == 0)
            compare_with_walker(&model, 1);
        if (step % 50021 == 0)
            (void)alloc_purge();
    }
    model_free_all(&model);
    compare_with_walker(&model, 1);
}

START_TEST(random_operations_agree_with_the_shadow)
{
    model_run((uint64_t)_i + 1, steps_divided(1));
}
END_TEST

START_TEST(random_operations_with_ledgers_agree_with_the_shadow)
{
    alloc_keep_ledger();
    alloc_intercept(true);
    model.ledger = true;
    model_run((uint64_t)_i + 101, steps_divided(1));
}
END_TEST

/* --- several threads, one at a time --------------------------------------------------------------------- */

#define TURNING 3
#define TURN    64 /* steps between two switches */
#define LIFE    40 /* turns, on average, until a thread ends and another takes its place */

static struct {
    sem_t go[TURNING], done;
    bool ends;
} turns;

static void *take_turns(void *arg)
{
    sem_t *go = arg;
    for (bool ends = false; !ends;) {
        sem_wait(go);
        for (int i = 0; i < TURN; i++)
            model_step(&model);
        ends = turns.ends;
        if (ends)
            alloc_thread_exit();
        sem_post(&turns.done);
    }
    return NULL;
}

static void turn_of(int which, bool ends)
{
    turns.ends = ends;
    sem_post(&turns.go[which]);
    sem_wait(&turns.done);
}

/* Every thread works on the one shadow, so most blocks are freed and reallocated by others than had them made, and
 * many by threads that came after their maker had ended. */
static void turns_run(uint64_t seed, uint64_t steps)
{
    pthread_t thread[TURNING];
    seed_and_tell(&model, seed);
    uint64_t choice = model.seed ^ 1;
    sem_init(&turns.done, 0, 0);
    for (int i = 0; i < TURNING; i++) {
        sem_init(&turns.go[i], 0, 0);
        pthread_create(&thread[i], NULL, take_turns, &turns.go[i]);
    }
    for (uint64_t turn = 0; turn < steps / TURN; turn++) {
        int which = (int)(help_random(&choice) % TURNING);
        bool ends = help_random(&choice) % LIFE == 0;
        turn_of(which, ends);
        if (ends) {
            pthread_join(thread[which], NULL);
            pthread_create(&thread[which], NULL, take_turns, &turns.go[which]);
        }
        if (turn % (steps / TURN / LOOKS + 1) == 0)
            compare_with_walker(&model, 1);
    }
    for (int i = 0; i < TURNING; i++) {
        turn_of(i, true);
        pthread_join(thread[i], NULL);
    }
    model_free_all(&model);
    compare_with_walker(&model, 1);
}

START_TEST(threads_in_turns_agree_with_the_shadow)
{
    turns_run((uint64_t)_i + 201, steps_divided(4));
}
END_TEST

START_TEST(threads_in_turns_with_ledgers_agree_with_the_shadow)
{
    alloc_keep_ledger();
    alloc_intercept(true);
    model.ledger = true;
    turns_run((uint64_t)_i + 301, steps_divided(4));
}
END_TEST

/* --- several threads at once ---------------------------------------------------------------------------- */

#define MAILBOXES 64

static struct model own[SHADOWS_MAX];
static struct model_block *mailbox[MAILBOXES];
static uint64_t steps_each;

/* Our block against the one in a mailbox; the swap is what makes its content ours to read. */
static void hand_over(struct model *mine)
{
    struct model_block *block = &mine->slot[help_random(&mine->seed) % MODEL_SLOTS], *parcel = NULL;
    if (block->p != NULL) {
        parcel = malloc(sizeof *parcel);
        *parcel = *block;
        block->p = NULL;
    }
    parcel = __atomic_exchange_n(&mailbox[help_random(&mine->seed) % MAILBOXES], parcel, __ATOMIC_ACQ_REL);
    if (parcel == NULL)
        return;
    *block = *parcel;
    free(parcel);
}

static void *work_at_once(void *arg)
{
    struct model *mine = arg;
    for (uint64_t step = 0; step < steps_each; step++) {
        if (step % 4 == 0)
            hand_over(mine);
        model_step(mine);
    }
    alloc_thread_exit();
    return NULL;
}

static void mailboxes_empty(void)
{
    for (int i = 0; i < MAILBOXES; i++) {
        if (mailbox[i] == NULL)
            continue;
        model_free(mailbox[i]);
        free(mailbox[i]);
        mailbox[i] = NULL;
    }
}

/* Three generations of threads: each inherits the shadow of one that ended. */
START_TEST(threads_that_hand_over_blocks_agree_with_their_shadows)
{
    int threads = 2 + _i % 3;
    pthread_t thread[SHADOWS_MAX];
    steps_each = steps_divided(4) / (uint64_t)threads / 3;
    for (int i = 0; i < threads; i++)
        seed_and_tell(&own[i], (uint64_t)(_i * SHADOWS_MAX + i) + 401);
    for (int generation = 0; generation < 3; generation++) {
        for (int i = 0; i < threads; i++)
            pthread_create(&thread[i], NULL, work_at_once, &own[i]);
        for (int i = 0; i < threads; i++)
            pthread_join(thread[i], NULL);
        mailboxes_empty();
        compare_with_walker(own, threads);
    }
    for (int i = 0; i < threads; i++)
        model_free_all(&own[i]);
    compare_with_walker(own, threads);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tests = tcase_create("random");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, random_operations_agree_with_the_shadow, 0, SEEDS);
    tcase_add_loop_test(tests, random_operations_with_ledgers_agree_with_the_shadow, 0, SEEDS);
    tcase_add_loop_test(tests, threads_in_turns_agree_with_the_shadow, 0, SEEDS);
    tcase_add_loop_test(tests, threads_in_turns_with_ledgers_agree_with_the_shadow, 0, SEEDS);
    tcase_add_loop_test(tests, threads_that_hand_over_blocks_agree_with_their_shadows, 0, SEEDS);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
