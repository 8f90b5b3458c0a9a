/* SPDX-License-Identifier: MIT */
#include "tracer/record/trace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "allocator/platform.h"
#include "tracer/format/trace.h"

#define SIZE_MOST       ((size_t)TRACE_SIZE_MOST) /* address space; the file is sparse */
#define SIZE_LEAST      ((size_t)1 << 20)
#define ADDRESSES_SHARE 32u /* of RLIMIT_AS */
#define POPULATED       ((size_t)64 << 10)
#define ROOM_AT_THE_END ((size_t)256 << 10) /* a process that ends may still allocate */
#define NAMES_TRIED     100u
#define PATH_SIZE       4096u

struct trace_page {
    struct trace_header header;
    struct record_root root __attribute__((aligned(64)));
};
_Static_assert(sizeof(struct trace_page) <= PLATFORM_PAGE, "one page");

static struct record_root private_root; /* when there is no file */
static struct trace_page *page;         /* the file's, or NULL. Constant after trace_start() */
static char pattern[PATH_SIZE], path[PATH_SIZE + 16];
static uint64_t populated; /* bytes from the start whose disk space is there. Any thread, only ever larger */
static bool due;           /* in a forked child; see trace.h */
static bool has_file;      /* `path` is this process's */
static dev_t device;       /* which file that is: it may have been moved since, and another be there */
static ino_t inode;
static size_t mapped_size; /* header.size, but for a process that ends */

struct record_root *trace_root(void)
{
    return page ? &page->root : &private_root;
}

/* --- the file ------------------------------------------------------------------------------------------------ */

static size_t limited(size_t size, int resource, unsigned share)
{
    struct rlimit limit;

    if (getrlimit((__rlimit_resource_t)resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur / share < size)
        size = limit.rlim_cur / share;
    return size & ~(size_t)(PLATFORM_PAGE - 1);
}

static char *number(char *at, uint64_t value)
{
    char digits[24];
    size_t count = 0;

    do
        digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* %p is the pid, %% a %. false: too long. */
static bool expand(char *to, size_t room)
{
    char *end = to + room - 32;

    for (const char *at = pattern; *at; at++) {
        if (to >= end)
            return false;
        if (at[0] == '%' && at[1] == 'p')
            to = number(to, (uint64_t)syscall(SYS_getpid)), at++;
        else
            *to++ = *(at[0] == '%' && at[1] == '%' ? ++at : at);
    }
    *to = '\0';
    return true;
}

/* A name that nobody has. Signal-safe, as all here: a child of a threaded program may be anywhere. */
static int create(void)
{
    if (!expand(path, sizeof(path)))
        return -1;
    char *end = path + strlen(path);
    for (unsigned i = 0; i < NAMES_TRIED; i++) {
        if (i > 0) {
            *end = '.';
            *number(end + 1, i) = '\0';
        }
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                              0600);
        if (fd >= 0)
            return fd;
        struct stat there;
        if (lstat(path, &there) != 0)
            return -1;
    }
    return -1;
}

static void forget(int fd)
{
    syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    syscall(SYS_close, fd);
}

static void remember(int fd)
{
    struct stat file;

    has_file = true;
    if (fstat(fd, &file) == 0) {
        device = file.st_dev;
        inode = file.st_ino;
    }
}

/* false: it stays as it is. */
static bool resize(size_t size)
{
    struct stat file;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return false;
    bool done = fstat(fd, &file) == 0 && file.st_dev == device && file.st_ino == inode &&
                limited(size, RLIMIT_FSIZE, 1) >= size && syscall(SYS_ftruncate, fd, size) == 0;
    syscall(SYS_close, fd);
    return done;
}

static void fill_header(size_t size)
{
    struct trace_header *header = &page->header;
    struct timespec now = {0};

    header->version = TRACE_VERSION;
    header->state = TRACE_GOES_ON;
    header->base = (uintptr_t)page;
    header->size = size;
    header->root = (uintptr_t)&page->root;
    header->pid = (int32_t)syscall(SYS_getpid);
    header->parent = (int32_t)syscall(SYS_getppid);
    clock_gettime(CLOCK_REALTIME, &now);
    header->started = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    long n = syscall(SYS_readlink, "/proc/self/exe", header->program, TRACE_PROGRAM_MAX - 1);
    header->program[n > 0 ? n : 0] = '\0';
    __atomic_store_n(&header->magic, TRACE_MAGIC, __ATOMIC_RELEASE);
}

/* Whole paths only: a program may change its directory before it forks. */
static bool keep_pattern(const char *text)
{
    size_t length = 0;

    if (text[0] != '/') {
        if (syscall(SYS_getcwd, pattern, sizeof(pattern) - 1) <= 0)
            return false;
        length = strlen(pattern);
        pattern[length++] = '/';
    }
    if (length + strlen(text) >= sizeof(pattern))
        return false;
    memcpy(pattern + length, text, strlen(text) + 1);
    return true;
}

bool trace_start(const char *text, const char **ret_why)
{
    size_t size = limited(limited(SIZE_MOST, RLIMIT_AS, ADDRESSES_SHARE), RLIMIT_FSIZE, 1);

    if (text[0] == '\0')
        return true;
    *ret_why = "its name is too long";
    if (!keep_pattern(text))
        return false;
    *ret_why = "it cannot be created";
    int fd = create();
    if (fd < 0)
        return false;
    *ret_why = "a limit of the process leaves no room for it";
    struct trace_page *mapped = NULL;
    if (size >= SIZE_LEAST && syscall(SYS_ftruncate, fd, size) == 0)
        mapped = platform_map_metadata_file(fd, size);
    if (!mapped || !platform_populate(mapped, POPULATED)) {
        forget(fd);
        return false;
    }
    remember(fd);
    syscall(SYS_close, fd);
    page = mapped;
    mapped_size = size;
    populated = POPULATED;
    page->header.used = PLATFORM_PAGE;
    page->root = private_root;
    fill_header(size);
    return true;
}

/* --- memory -------------------------------------------------------------------------------------------------- */

/* Up to `end`, which may be what another thread does as well. */
static bool have_space(uint64_t end)
{
    uint64_t now = __atomic_load_n(&populated, __ATOMIC_ACQUIRE);

    while (now < end) {
        uint64_t wanted = (end + POPULATED - 1) & ~(uint64_t)(POPULATED - 1);
        if (wanted > page->header.size)
            wanted = page->header.size;
        if (!platform_populate((char *)page + now, wanted - now))
            return false;
        __atomic_compare_exchange_n(&populated, &now, wanted, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        now = __atomic_load_n(&populated, __ATOMIC_ACQUIRE);
    }
    return true;
}

void *trace_take(size_t size)
{
    size = (size + 63) & ~(size_t)63;
    if (!page)
        return platform_map_metadata_dense(size);
    uint64_t start = __atomic_fetch_add(&page->header.used, size, __ATOMIC_SEQ_CST);
    if (start + size <= __atomic_load_n(&page->header.size, __ATOMIC_SEQ_CST) && have_space(start + size))
        return (char *)page + start;
    __atomic_fetch_add(&page->header.missed, size, __ATOMIC_RELAXED);
    return platform_map_metadata_dense(size);
}

bool trace_has(const void *p)
{
    return !page || (uintptr_t)p - (uintptr_t)page < page->header.size;
}

void trace_give(void *p, size_t size)
{
    uintptr_t start = ((uintptr_t)p + PLATFORM_PAGE - 1) & ~(uintptr_t)(PLATFORM_PAGE - 1);
    uintptr_t end = ((uintptr_t)p + size) & ~(uintptr_t)(PLATFORM_PAGE - 1);

    if (start >= end)
        return;
    if (has_file && start - (uintptr_t)page < page->header.size)
        platform_punch((void *)start, end - start);
    else
        (void)platform_purge((void *)start, end - start);
}

/* The file becomes no longer than what is used of it, and some room: who copies a hole of 256 MiB may write zeros. Who takes
 * more meanwhile adds to `used` before it looks at `size`, and here it is the other way round: one of them sees the other. */
static void trim(void)
{
    uint64_t used = __atomic_load_n(&page->header.used, __ATOMIC_SEQ_CST), size = page->header.size;
    uint64_t enough = (used + ROOM_AT_THE_END) & ~(uint64_t)(PLATFORM_PAGE - 1);

    if (enough >= size)
        return;
    __atomic_store_n(&page->header.size, enough, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&page->header.used, __ATOMIC_SEQ_CST) > enough || !resize(enough))
        __atomic_store_n(&page->header.size, size, __ATOMIC_SEQ_CST);
}

/* The process goes on: there is as much room as before. What was claimed on the disk ended where the file did, or before. */
static void untrim(void)
{
    if (page->header.size != mapped_size && resize(mapped_size))
        __atomic_store_n(&page->header.size, mapped_size, __ATOMIC_SEQ_CST);
}

/* --- the end, and children ----------------------------------------------------------------------------------- */

void trace_end(enum record_ending ending, bool keep)
{
    /* Not in a vfork child, whose memory is its parent's. */
    if (!has_file || page->header.pid != (int32_t)syscall(SYS_getpid))
        return;
    __atomic_store_n(&page->header.state,
                     ending == RECORD_ENDS    ? TRACE_ENDED
                     : ending == RECORD_EXECS ? TRACE_EXEC
                                              : TRACE_GOES_ON,
                     __ATOMIC_RELEASE);
    if (!keep && ending == RECORD_ENDS)
        syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    else if (ending == RECORD_GOES_ON)
        untrim();
    else
        trim();
}

/* What was claimed on the disk, and taken. */
static uint64_t used_bytes(void)
{
    uint64_t used = __atomic_load_n(&page->header.used, __ATOMIC_RELAXED);

    return used < populated ? used : populated;
}

bool trace_fork_child(void)
{
    if (!has_file)
        return true;
    has_file = false;
    due = platform_make_private(page, used_bytes(), page->header.size);
    return due;
}

bool trace_is_due(void)
{
    return due;
}

/* `write` may be cut short. */
static bool write_all(int fd, const char *from, size_t size)
{
    while (size > 0) {
        long n = syscall(SYS_write, fd, from, size);
        if (n <= 0)
            return false;
        from += n;
        size -= (size_t)n;
    }
    return true;
}

/* Without a file the child goes on as its parent would have without one. */
void trace_begin_own(void)
{
    size_t size = page->header.size, used = used_bytes();
    bool allowed = limited(size, RLIMIT_FSIZE, 1) >= size; /* beyond it writing is answered by a signal */

    fill_header(size);
    int fd = allowed ? create() : -1;
    if (fd >= 0 && write_all(fd, (const char *)page, used) && syscall(SYS_ftruncate, fd, size) == 0 &&
        platform_remap_file(page, size, fd)) {
        remember(fd);
        syscall(SYS_close, fd);
        mapped_size = size; /* less than the parent's, if that was about to end */
        /* The rest of what was claimed is a hole of the new file. */
        __atomic_store_n(&populated, used & ~(uint64_t)(PLATFORM_PAGE - 1), __ATOMIC_RELEASE);
    } else if (fd >= 0) {
        forget(fd);
    }
    due = false;
}
