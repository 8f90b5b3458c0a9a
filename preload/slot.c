/* SPDX-License-Identifier: MIT */
/* slot.c - where a thread stands: the second half of park.h. */
#include "preload/park.h"

#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "preload/kernel.h"

#define ALL_REGISTERS ((1u << THREAD_REGISTERS) - 1)

/* Registers of the DWARF numbering as the kernel's context numbers them. */
static const uint8_t context_index[THREAD_REGISTERS] = {
    REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void slot_begin(struct thread_slot *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->tid = kernel_tid();
    ret->fs_base = (uint64_t)(uintptr_t)__builtin_thread_pointer();
    kernel_call(SYS_prctl, PR_GET_NAME, (long)ret->name, 0);
}

void slot_from_context(const void *context, struct thread_slot *ret)
{
    const greg_t *registers = ((const ucontext_t *)context)->uc_mcontext.gregs;
    slot_begin(ret);
    for (unsigned i = 0; i < THREAD_REGISTERS; i++)
        ret->registers[i] = (uint64_t)registers[context_index[i]];
    ret->ip = (uint64_t)registers[REG_RIP];
    ret->live_registers = ALL_REGISTERS;
}

/* noinline: the frame described must be one below which nothing of the program's lies. */
__attribute__((noinline)) void slot_from_here(struct thread_slot *ret)
{
    uint64_t *r = ret->registers;
    slot_begin(ret);
    __asm__ volatile("movq %%rbx, 24(%0)\n\t"
                     "movq %%rbp, 48(%0)\n\t"
                     "movq %%r12, 96(%0)\n\t"
                     "movq %%r13, 104(%0)\n\t"
                     "movq %%r14, 112(%0)\n\t"
                     "movq %%r15, 120(%0)\n\t"
                     "movq %%rsp, 56(%0)"
                     :
                     : "r"(r)
                     : "memory");
    ret->ip = (uint64_t)(uintptr_t)__builtin_return_address(0);
    ret->live_registers = 1u << 3 | 1u << 6 | 1u << THREAD_RSP | 0xfu << 12;
}
