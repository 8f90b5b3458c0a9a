/* SPDX-License-Identifier: MIT */
#include "tracer/report/symbols_module.h"

#include <dwarf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEBUG_DIRECTORY "/usr/lib/debug/.build-id"

/* The standard search: build id under /usr/lib/debug, then .gnu_debuglink beside the file, in .debug, in
 * /usr/lib/debug. */
static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
};

bool symbols_module_matches(const struct symbols_module *m, const struct rec_module *recorded)
{
    return m->build_id_length == recorded->build_id_length &&
           memcmp(m->build_id, recorded->build_id, m->build_id_length) == 0 &&
           strcmp(m->path, recorded->path) == 0;
}

/* A recorded path may by now name a pipe or a device: opening it must neither block nor be believed. */
static int open_regular(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Without a recorded build id there is nothing to compare, and the path is all there is to go by. */
static bool is_same_build(const struct symbols_module *m, Dwfl_Module *mod)
{
    const unsigned char *bits;
    GElf_Addr vaddr;
    if (m->build_id_length == 0)
        return true;
    int length = dwfl_module_build_id(mod, &bits, &vaddr);
    return length > 0 && (uint32_t)length == m->build_id_length &&
           memcmp(bits, m->build_id, m->build_id_length) == 0;
}

static bool try_file(struct symbols_module *m, const char *path)
{
    int fd = open_regular(path);
    if (fd < 0)
        return false;
    Dwfl *dwfl = dwfl_begin(&callbacks);
    Dwfl_Module *mod = NULL;
    if (dwfl != NULL) {
        dwfl_report_begin(dwfl);
        mod = dwfl_report_elf(dwfl, "", path, fd, 0, true); /* takes the descriptor over when it succeeds */
        dwfl_report_end(dwfl, NULL, NULL);
    }
    if (mod == NULL)
        close(fd);
    if (mod != NULL && is_same_build(m, mod)) {
        m->dwfl = dwfl;
        m->mod = mod;
        return true;
    }
    dwfl_end(dwfl);
    return false;
}

/* The program was deleted or replaced since, but its debug file is known by build id and has all the same
 * tables. */
static bool try_debug_file(struct symbols_module *m)
{
    char path[sizeof DEBUG_DIRECTORY + sizeof m->build_id * 2 + 16];
    if (m->build_id_length < 2)
        return false;
    int used = snprintf(path, sizeof path, "%s/%02x/", DEBUG_DIRECTORY, m->build_id[0]);
    for (uint32_t i = 1; i < m->build_id_length; i++)
        used += snprintf(path + used, sizeof path - (size_t)used, "%02x", m->build_id[i]);
    snprintf(path + used, sizeof path - (size_t)used, ".debug");
    return try_file(m, path);
}

struct symbols_module *symbols_module_open(const struct rec_module *recorded)
{
    struct symbols_module *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->path = strdup(recorded->path);
    if (m->path == NULL) {
        free(m);
        return NULL;
    }
    m->build_id_length =
        recorded->build_id_length < sizeof m->build_id ? recorded->build_id_length : sizeof m->build_id;
    memcpy(m->build_id, recorded->build_id, m->build_id_length);
    /* "[vdso]" and the like are no paths. */
    if (m->path[0] != '/' || !try_file(m, m->path))
        try_debug_file(m);
    return m;
}

void symbols_module_free(struct symbols_module *m)
{
    dwfl_end(m->dwfl); /* NULL is fine */
    symbols_table_free(&m->table);
    free(m->ranges);
    free(m->path);
    free(m);
}

/* --- units by address ----------------------------------------------------------------------------------- */

static bool add_range(struct symbols_module *m, Dwarf_Addr low, Dwarf_Addr high, Dwarf_Off unit)
{
    if (m->range_count == m->range_capacity) {
        size_t capacity = m->range_capacity == 0 ? 64 : m->range_capacity * 2;
        struct cu_range *more = reallocarray(m->ranges, capacity, sizeof *more);
        if (more == NULL)
            return false;
        m->ranges = more;
        m->range_capacity = capacity;
    }
    m->ranges[m->range_count++] = (struct cu_range){low, high, unit};
    return true;
}

static int by_low(const void *left, const void *right)
{
    const struct cu_range *a = left;
    const struct cu_range *b = right;
    return (a->low > b->low) - (a->low < b->low);
}

/* When memory runs out the index is merely incomplete: less is said, nothing is wrong. */
static void build_ranges(struct symbols_module *m, Dwarf *dwarf)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die unit;
    while (dwarf_get_units(dwarf, cu, &cu, NULL, NULL, &unit, NULL) == 0) {
        Dwarf_Addr base, low, high;
        for (ptrdiff_t at = 0; (at = dwarf_ranges(&unit, at, &base, &low, &high)) > 0;)
            if (low < high && !add_range(m, low, high, dwarf_dieoffset(&unit)))
                break;
    }
    if (m->range_count > 0)
        qsort(m->ranges, m->range_count, sizeof *m->ranges, by_low);
}

static const struct cu_range *find_range(const struct symbols_module *m, Dwarf_Addr addr)
{
    size_t low = 0, high = m->range_count; /* the last range that starts at or below addr is at low - 1 */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->ranges[middle].low <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && addr < m->ranges[low - 1].high ? &m->ranges[low - 1] : NULL;
}

Dwarf_Die *symbols_module_unit(struct symbols_module *m, Dwarf_Addr addr, Dwarf_Addr *ret_bias,
                               Dwarf_Die *storage)
{
    Dwarf *dwarf = dwfl_module_getdwarf(m->mod, ret_bias);
    if (dwarf == NULL)
        return NULL;
    Dwarf_Die *unit = dwfl_module_addrdie(m->mod, addr, ret_bias);
    if (unit != NULL)
        return unit;
    if (!m->ranges_built) {
        m->ranges_built = true;
        build_ranges(m, dwarf);
    }
    const struct cu_range *range = find_range(m, addr - *ret_bias);
    return range == NULL ? NULL : dwarf_offdie(dwarf, range->unit, storage);
}
