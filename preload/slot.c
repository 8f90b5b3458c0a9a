/* SPDX-License-Identifier: MIT */
/* slot.c - where a thread stands: the second half of park.h. */
#include "preload/park.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "preload/kernel.h"

#define ALL_REGISTERS ((1u << THREAD_REGISTERS) - 1)
#define XSAVE_HEADER  64u /* behind the fxsave area */

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

/* Set but switched off for the time of a handler (SS_AUTODISARM), the kernel does not know it: then that handler's sp
 * stands in it, or the frame that the handler came from names it. */
static uint64_t alternate_stack_of(const stack_t *stack)
{
    return stack->ss_flags & SS_DISABLE ? 0 : (uint64_t)(uintptr_t)stack->ss_sp;
}

/* The kernel says in the last bytes of the fxsave area whether more follows, and marks the end of that. */
static uint64_t vector_size_at(const char *area)
{
    struct _fpx_sw_bytes about;
    uint32_t mark;
    memcpy(&about, area + THREAD_FXSAVE - sizeof(about), sizeof(about));
    if (about.magic1 != FP_XSTATE_MAGIC1 || about.extended_size > THREAD_XSAVE_MAX ||
        about.extended_size < THREAD_FXSAVE + XSAVE_HEADER + sizeof(mark))
        return THREAD_FXSAVE;
    memcpy(&mark, area + about.extended_size - sizeof(mark), sizeof(mark));
    return mark == FP_XSTATE_MAGIC2 ? about.extended_size : THREAD_FXSAVE;
}

void slot_from_context(const void *context, struct thread_slot *ret)
{
    const ucontext_t *user = context;
    const greg_t *registers = user->uc_mcontext.gregs;
    slot_begin(ret);
    for (unsigned i = 0; i < THREAD_REGISTERS; i++)
        ret->registers[i] = (uint64_t)registers[context_index[i]];
    ret->ip = (uint64_t)registers[REG_RIP];
    ret->live_registers = ALL_REGISTERS;
    ret->alternate_stack = alternate_stack_of(&user->uc_stack);
    if (user->uc_mcontext.fpregs) {
        ret->vector_start = (uint64_t)(uintptr_t)user->uc_mcontext.fpregs;
        ret->vector_size = vector_size_at((const char *)user->uc_mcontext.fpregs);
    }
}

/* noinline: the frame described must be one below which nothing of the program's lies. */
__attribute__((noinline)) void slot_from_here(struct thread_slot *ret)
{
    uint64_t *r = ret->registers;
    stack_t alternate;
    slot_begin(ret);
    if (kernel_call(SYS_sigaltstack, 0, (long)&alternate, 0) == 0)
        ret->alternate_stack = alternate_stack_of(&alternate);
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
