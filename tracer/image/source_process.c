/* SPDX-License-Identifier: MIT */
/* Memory by process_vm_readv: the fast way, where the kernel allows it. */
#include "tracer/image/image.h"

#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tracer/image/proc.h"

#define PAGE 4096u

struct process {
    pid_t tid;
    int pagemap;
};

static size_t read_some(pid_t tid, uint64_t addr, void *buf, size_t len)
{
    struct iovec local = {buf, len}, remote = {(void *)(uintptr_t)addr, len};
    ssize_t got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
    return got > 0 ? (size_t)got : 0;
}

static size_t process_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
    const struct process *process = ctx;
    size_t done = read_some(process->tid, addr, buf, len);
    /* How far a transfer gets before a page that cannot be read is not promised: go on page by page. */
    while (done < len) {
        size_t step = PAGE - (size_t)((addr + done) % PAGE);
        if (step > len - done)
            step = len - done;
        size_t got = read_some(process->tid, addr + done, (char *)buf + done, step);
        done += got;
        if (got < step)
            break;
    }
    return done;
}

static char *process_maps(void *ctx)
{
    const struct process *process = ctx;
    return proc_read(process->tid, "maps");
}

static char *process_proc(void *ctx, const char *name)
{
    const struct process *process = ctx;
    return proc_read(process->tid, name);
}

static size_t process_resident(void *ctx, uint64_t addr, size_t pages, uint8_t *ret)
{
    const struct process *process = ctx;
    return proc_resident(process->pagemap, addr, pages, ret);
}

static void process_close(void *ctx)
{
    struct process *process = ctx;
    if (process->pagemap >= 0)
        close(process->pagemap);
    free(process);
}

bool source_open_process(int pid, int tid, struct memory_source *ret)
{
    struct process *process = malloc(sizeof(*process));
    if (!process)
        return false;
    process->tid = tid > 0 ? tid : pid;
    process->pagemap = proc_open_pagemap(process->tid);
    *ret = (struct memory_source){.name = "process_vm_readv",
                                  .read = process_read,
                                  .maps = process_maps,
                                  .close = process_close,
                                  .ctx = process,
                                  .proc = process_proc,
                                  .resident = process_resident};
    return true;
}
