/* SPDX-License-Identifier: MIT */
#include "tracer/image/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/image/image.h"

#define TEXT_MAX        ((size_t)256 << 20) /* maps of a process with max_map_count at its limit is about 6 MiB */
#define PAGE            4096u
#define PAGEMAP_BATCH   1024u
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_FILE    (UINT64_C(1) << 61)

struct text {
    char *bytes;
    size_t length, capacity;
};

/* Room for `more` bytes and a NUL. */
static bool text_reserve(struct text *text, size_t more)
{
    if (text->length + more < text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity * 2 : 16384;
    if (capacity <= text->length + more)
        capacity = text->length + more + 1;
    char *grown = capacity <= TEXT_MAX ? realloc(text->bytes, capacity) : NULL;
    if (!grown)
        return false;
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

static char *read_file(int fd)
{
    struct text text = {0};
    for (;;) {
        if (!text_reserve(&text, 4096))
            break;
        ssize_t got = read(fd, text.bytes + text.length, text.capacity - text.length - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        if (got == 0) {
            text.bytes[text.length] = '\0';
            return text.bytes;
        }
        text.length += (size_t)got;
    }
    free(text.bytes);
    return NULL;
}

/* Takes fd over. */
static char *read_directory(int fd)
{
    struct text text = {0};
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return NULL;
    }
    bool room = text_reserve(&text, 1);
    for (struct dirent *entry; room && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || !(room = text_reserve(&text, length + 1)))
            continue;
        memcpy(text.bytes + text.length, entry->d_name, length);
        text.bytes[text.length + length] = '\n';
        text.length += length + 1;
    }
    closedir(dir);
    if (room)
        text.bytes[text.length] = '\0';
    else
        free(text.bytes);
    return room ? text.bytes : NULL;
}

static int proc_open(pid_t tid, const char *name, int flags)
{
    char path[64];
    int length = snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
    if (tid <= 0 || length < 0 || (size_t)length >= sizeof(path))
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC | flags);
}

char *proc_read(pid_t tid, const char *name)
{
    int fd = proc_open(tid, name, O_DIRECTORY);
    if (fd >= 0)
        return read_directory(fd);
    if (errno != ENOTDIR)
        return NULL;
    fd = proc_open(tid, name, 0);
    if (fd < 0)
        return NULL;
    char *text = read_file(fd);
    close(fd);
    return text;
}

int proc_open_pagemap(pid_t tid)
{
    return proc_open(tid, "pagemap", 0);
}

size_t proc_resident(int pagemap, uint64_t addr, size_t pages, uint8_t *ret)
{
    uint64_t entries[PAGEMAP_BATCH];
    size_t told = 0;
    while (pagemap >= 0 && told < pages) {
        size_t want = pages - told < PAGEMAP_BATCH ? pages - told : PAGEMAP_BATCH;
        ssize_t got = pread(pagemap, entries, want * sizeof(entries[0]),
                            (off_t)((addr / PAGE + told) * sizeof(entries[0])));
        if (got < (ssize_t)sizeof(entries[0]))
            break;
        for (size_t i = 0; i < (size_t)got / sizeof(entries[0]); i++) {
            uint64_t e = entries[i];
            ret[told++] = (uint8_t)((e & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED) ? SOURCE_PRESENT : 0) |
                                    (e & PAGEMAP_FILE ? SOURCE_FILE : 0));
        }
    }
    return told;
}
