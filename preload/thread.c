/* SPDX-License-Identifier: MIT */
#include "preload/thread.h"

#include <limits.h>
#include <pthread.h>

#include "allocator/allocator.h"
#include "preload/face.h"
#include "tracer/record/record.h"

__thread struct thread_flags thread_flags;
__thread struct thread_face thread_face;

/* Written by the first call, before a second thread exists. */
static pthread_key_t end_key;
static bool end_key_is_made;

/* Other destructors may run after ours and still allocate: ours comes again until the last round there is.
 * The key's value is the round. */
static void thread_ends(void *value)
{
    uintptr_t round = (uintptr_t)value;
    if (round < PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(end_key, (char *)value + 1) == 0)
        return;
    thread_face.life = THREAD_ENDED;
    alloc_thread_exit();
    if (face_state.recording)
        record_thread_exit();
}

static void arm(void)
{
    if (!end_key_is_made)
        return;
    /* First the state: a key past 31 allocates in setspecific, which comes back here. */
    thread_face.life = THREAD_ARMED;
    pthread_setspecific(end_key, (void *)1);
}

/* Neither of these allocates: key_create takes a slot of a static array, and a key below 32 has its value in
 * the thread's own descriptor. With no key left, threads' heaps are found when somebody needs
 * one (allocator/vanished.h); so are those of threads that call us for the first time in a destructor. */
void thread_start(void)
{
    end_key_is_made = pthread_key_create(&end_key, thread_ends) == 0;
    if (thread_face.life == THREAD_FRESH)
        arm();
}

/* Before it takes its first lock. */
void thread_arm(void)
{
    fork_need();
    arm();
}
