/* SPDX-License-Identifier: MIT */
/*
 * tasks.h - what /proc says of the threads of this process. Raw calls only; one caller at a time (the freeze
 * lock).
 */
#ifndef HEAPTALLY_TASKS_H
#define HEAPTALLY_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum task_mood {
    TASK_GONE,    /* no such thread any more, or only its zombie (a main thread that called pthread_exit) */
    TASK_DEAF,    /* the signal is blocked, or the thread would take it from sigwait() as one of the program's
                     own */
    TASK_LISTENS, /* the signal's handler would run */
};

struct task_look {
    enum task_mood mood;
    bool sleeping; /* in the kernel, waiting */
    bool traced;   /* by a debugger or strace */
};

/* Calls back for every thread, in the order of their numbers; false when the list cannot be had. */
bool tasks_list(void (*each)(void *ctx, int tid), void *ctx);

/* Would `signal` reach that thread's handler now? Where /proc does not tell, TASK_LISTENS. */
struct task_look task_look(int tid, int signal);

/* Its name, 16 bytes with the NUL; "" when not known. */
void task_name(int tid, char *name);

#endif
