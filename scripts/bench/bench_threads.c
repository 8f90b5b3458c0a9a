/* SPDX-License-Identifier: MIT */
/*
 * bench_threads.c - blocks that one thread allocates and another frees, and threads that come and go.
 *
 *   larson   P. Larson, M. Krishnan, "Memory allocation for long-running server applications", ISMM 1998: a thread replaces
 *            random blocks for a while, then a new thread inherits them all
 *   xmalloc  C. Lever, D. Boreham, "malloc() performance in a multithreaded Linux environment", USENIX 2000: some threads
 *            only allocate, others only free
 *   swap     mstress of Leijen's mimalloc-bench: threads build small structures, keep some, exchange some
 *   churn    a server with a thread a request: what it allocates it frees, but for an answer that the main thread frees
 */
#include <stdatomic.h>

#include "bench.h"

/* --- larson --- */

#define LARSON_PLACES 1500u
#define LARSON_TURN   6000u

struct heritage {
    const struct workload *w;
    struct random r;
    unsigned generations;
    void *blocks[LARSON_PLACES];
    size_t sizes[LARSON_PLACES];
};

static void *larson_turn(void *arg)
{
    struct heritage *h = arg;

    for (unsigned i = 0; i < LARSON_TURN; i++) {
        unsigned place = random_below(&h->r, LARSON_PLACES);

        if (h->blocks[place])
            marked_free(h->blocks[place], h->sizes[place]);
        h->sizes[place] = random_between(&h->r, h->w->low, h->w->high);
        h->blocks[place] = marked_malloc(h->sizes[place]);
    }
    return NULL;
}

/* One line of generations: a thread each, one after the other. */
static void *larson_line(void *arg)
{
    struct heritage *h = arg;

    for (unsigned i = 0; i < h->generations; i++) {
        pthread_t turn;

        if (pthread_create(&turn, NULL, larson_turn, h) != 0)
            checked(NULL);
        pthread_join(turn, NULL);
    }
    for (unsigned i = 0; i < LARSON_PLACES; i++)
        free(h->blocks[i]);
    return NULL;
}

static void larson(const struct workload *w)
{
    struct heritage *lines = checked(calloc(w->threads, sizeof(*lines)));

    for (unsigned i = 0; i < w->threads; i++) {
        lines[i].w = w;
        lines[i].r.state = 17 + i;
        lines[i].generations = w->steps / w->threads;
    }
    run_threads(w->threads, larson_line, lines, sizeof(*lines));
    free(lines);
}

/* --- xmalloc --- */

#define PARCEL_BLOCKS 120u
#define QUEUE_MOST    64u

struct parcel {
    struct parcel *next;
    void *blocks[PARCEL_BLOCKS];
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct parcel *first;
    unsigned length, makers;
};

struct worker {
    const struct workload *w;
    struct queue *queue;
    unsigned number;
};

static void send_parcel(struct queue *q, struct parcel *parcel)
{
    pthread_mutex_lock(&q->lock);
    while (q->length == QUEUE_MOST)
        pthread_cond_wait(&q->changed, &q->lock);
    parcel->next = q->first;
    q->first = parcel;
    if (q->length++ == 0)
        pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

/* NULL: the makers have gone and nothing is left. */
static struct parcel *receive_parcel(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (!q->first && q->makers)
        pthread_cond_wait(&q->changed, &q->lock);
    struct parcel *parcel = q->first;
    if (parcel) {
        q->first = parcel->next;
        if (q->length-- == QUEUE_MOST)
            pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return parcel;
}

static void make_parcels(const struct worker *me)
{
    struct random r = {me->number};

    for (unsigned i = 0; i < me->w->steps / (me->w->threads / 2); i++) {
        struct parcel *parcel = checked(malloc(sizeof(*parcel)));

        for (unsigned k = 0; k < PARCEL_BLOCKS; k++)
            parcel->blocks[k] = marked_malloc(random_log(&r, me->w->low, me->w->high));
        send_parcel(me->queue, parcel);
    }
    pthread_mutex_lock(&me->queue->lock);
    me->queue->makers--;
    pthread_cond_broadcast(&me->queue->changed);
    pthread_mutex_unlock(&me->queue->lock);
}

/* Even ones make, odd ones break. */
static void *xmalloc_body(void *arg)
{
    const struct worker *me = arg;
    struct parcel *parcel;

    if (me->number % 2 == 0) {
        make_parcels(me);
        return NULL;
    }
    while ((parcel = receive_parcel(me->queue))) {
        for (unsigned k = 0; k < PARCEL_BLOCKS; k++)
            free(parcel->blocks[k]);
        free(parcel);
    }
    return NULL;
}

static void xmalloc(const struct workload *w)
{
    struct queue queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, w->threads / 2};
    struct worker workers[8];

    for (unsigned i = 0; i < w->threads; i++)
        workers[i] = (struct worker){w, &queue, i};
    run_threads(w->threads, xmalloc_body, workers, sizeof(workers[0]));
}

/* --- swap --- */

#define SHARED_PLACES 1000u
#define OWN_PLACES    1000u

struct thing {
    struct thing *next;
    size_t size;
};

/* Any thread takes and puts, by exchange. */
static struct thing *_Atomic shared[SHARED_PLACES];

static struct thing *make_things(struct random *r)
{
    struct thing *first = NULL;

    for (unsigned i = random_below(r, 6) + 1; i > 0; i--) {
        size_t size = random_below(r, 50) ? random_between(r, 16, 300) : random_between(r, 300, 8000);
        struct thing *thing = marked_malloc(size);

        thing->size = size;
        thing->next = first;
        first = thing;
    }
    return first;
}

static void drop_things(struct thing *thing)
{
    while (thing) {
        struct thing *next = thing->next;

        free(thing);
        thing = next;
    }
}

static void *swap_body(void *arg)
{
    const struct worker *me = arg;
    struct random r = {me->number + 100};
    struct thing **own = checked(calloc(OWN_PLACES, sizeof(struct thing *)));

    for (unsigned i = 0; i < me->w->steps / me->w->threads; i++) {
        unsigned place = random_below(&r, OWN_PLACES);

        if (i % 3 == 0) {
            own[place] = atomic_exchange(&shared[random_below(&r, SHARED_PLACES)], own[place]);
        } else {
            drop_things(own[place]);
            own[place] = make_things(&r);
        }
    }
    for (unsigned i = 0; i < OWN_PLACES; i++)
        drop_things(own[i]);
    free(own);
    return NULL;
}

static void swap(const struct workload *w)
{
    struct worker workers[8];

    for (unsigned i = 0; i < w->threads; i++)
        workers[i] = (struct worker){w, NULL, i};
    run_threads(w->threads, swap_body, workers, sizeof(workers[0]));
    for (unsigned i = 0; i < SHARED_PLACES; i++)
        drop_things(shared[i]);
}

/* --- churn --- */

#define WAVE 4u

struct request {
    struct random r;
    void *answer;
};

static void *serve(void *arg)
{
    struct request *request = arg;
    void *parts[100];
    char *text = NULL;
    size_t length = 0;

    for (unsigned i = 0; i < 100; i++)
        parts[i] = marked_malloc(random_usual(&request->r));
    for (unsigned i = 0; i < 20; i++) {
        text = checked(realloc(text, length + 60));
        memset(text + length, 'a', 60);
        length += 60;
    }
    for (unsigned i = 0; i < 100; i++)
        free(parts[i]);
    request->answer = text;
    return NULL;
}

/* One step: four requests, a thread each. */
static void churn(const struct workload *w)
{
    for (unsigned i = 0; i < w->steps; i++) {
        struct request requests[WAVE];

        for (unsigned k = 0; k < WAVE; k++)
            requests[k] = (struct request){{i * WAVE + k}, NULL};
        run_threads(WAVE, serve, requests, sizeof(requests[0]));
        for (unsigned k = 0; k < WAVE; k++)
            free(requests[k].answer);
    }
}

const struct workload thread_workloads[] = {
    {"larson-2", larson, 2, 1200, 10, 500,
     "threads inherit blocks from dead ones (after larson), 2 at a time"},
    {"larson-4", larson, 4, 1200, 10, 500, "the same, 4 at a time"},
    {"xmalloc-2", xmalloc, 2, 20000, 16, 512, "one thread allocates, one frees (after xmalloc-test)"},
    {"xmalloc-4", xmalloc, 4, 20000, 16, 512, "two threads allocate, two free"},
    {"swap-4", swap, 4, 2000000, 0, 0, "4 threads exchange small structures (after mstress)"},
    {"churn", churn, 4, 1000, 0, 0, "a short-lived thread a request"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
