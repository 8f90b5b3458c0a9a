/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - a check inside a program that has closed its own doors with seccomp.
 *
 * Such filters often answer a call they do not expect with SIGSYS (SECCOMP_RET_TRAP). Between enter and leave
 * the calls of this thread that are trapped fail with ENOSYS instead of ending the program. Filters that kill
 * at once cannot be helped. Holder of the freeze lock only.
 */
#ifndef HEAPTALLY_SANDBOX_H
#define HEAPTALLY_SANDBOX_H

#include "preload/kernel.h"

struct sandbox {
    struct kernel_action theirs;
};

void sandbox_enter(struct sandbox *sandbox);
void sandbox_leave(const struct sandbox *sandbox);

#endif
