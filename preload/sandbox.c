/* SPDX-License-Identifier: MIT */
#include "preload/sandbox.h"

#include <signal.h>
#include <ucontext.h>

#include "preload/kernel.h"

#define FROM_SECCOMP 1 /* SYS_SECCOMP of the kernel's siginfo.h */

static void call_fails(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    if (info->si_code == FROM_SECCOMP)
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}

void sandbox_enter(struct sandbox *sandbox)
{
    struct kernel_action action = {.handler = (void *)(uintptr_t)call_fails,
                                   .flags = SA_SIGINFO | SA_ONSTACK,
                                   .mask = KERNEL_EVERY_SIGNAL};
    kernel_action_get(SIGSYS, &sandbox->theirs);
    kernel_action_set(SIGSYS, &action);
}

void sandbox_leave(const struct sandbox *sandbox)
{
    kernel_action_set(SIGSYS, &sandbox->theirs);
}
