/* SPDX-License-Identifier: MIT */
#include "tracer/tool/procfs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_proc(int pid, int tid, const char *name)
{
    char path[96];
    if (tid)
        snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
    else
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    return fopen(path, "re");
}

/* The text behind "Field:\t", without its newline. */
static bool status_field(int pid, int tid, const char *field, char *ret, size_t size)
{
    char line[512];
    size_t length = strlen(field);
    bool found = false;
    FILE *f = open_proc(pid, tid, "status");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f)) {
        found = strncmp(line, field, length) == 0 && line[length] == ':';
        if (found) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(ret, size, "%s", line + length + 1 + strspn(line + length + 1, "\t "));
        }
    }
    fclose(f);
    return found;
}

/* NSpid lists the number in every namespace, ours first. */
static int innermost(int pid, int tid)
{
    char text[256];
    if (!status_field(pid, tid, "NSpid", text, sizeof(text)))
        return 0;
    const char *last = strrchr(text, '\t');
    return atoi(last ? last + 1 : text);
}

int procfs_inner_pid(int pid)
{
    return innermost(pid, 0);
}

/* Calls fn for every thread until it answers true; that thread, or 0. */
static int find_thread(int pid, bool (*fn)(int pid, int tid, int wanted), int wanted)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    int found = 0;
    if (!dir)
        return 0;
    for (struct dirent *e; !found && (e = readdir(dir));) {
        int tid = atoi(e->d_name);
        if (tid > 0 && fn(pid, tid, wanted))
            found = tid;
    }
    closedir(dir);
    return found;
}

static bool is_called(int pid, int tid, int wanted)
{
    return innermost(pid, tid) == wanted;
}

int procfs_thread_here(int pid, int tid)
{
    if (is_called(pid, tid, tid)) /* the common case: one namespace */
        return tid;
    int found = find_thread(pid, is_called, tid);
    return found ? found : tid;
}

static bool is_living(int pid, int tid, int wanted)
{
    char state[64];
    (void)wanted;
    return status_field(pid, tid, "State", state, sizeof(state)) && state[0] != 'Z' && state[0] != 'X';
}

int procfs_living_thread(int pid)
{
    return is_living(pid, pid, 0) ? pid : find_thread(pid, is_living, 0);
}

bool procfs_signal_mask(int pid, const char *field, uint64_t *ret)
{
    char text[64], *end;
    if (!status_field(pid, 0, field, text, sizeof(text)))
        return false;
    *ret = strtoull(text, &end, 16);
    return end != text;
}

bool procfs_ids(int pid, uid_t *ret_euid, gid_t *ret_egid, int *ret_parent)
{
    char text[128];
    unsigned real, effective, real_group, effective_group;
    if (!status_field(pid, 0, "Uid", text, sizeof(text)) || sscanf(text, "%u %u", &real, &effective) != 2)
        return false;
    if (!status_field(pid, 0, "Gid", text, sizeof(text)) ||
        sscanf(text, "%u %u", &real_group, &effective_group) != 2)
        return false;
    if (!status_field(pid, 0, "PPid", text, sizeof(text)))
        return false;
    *ret_euid = effective;
    *ret_egid = effective_group;
    *ret_parent = atoi(text);
    return true;
}

bool procfs_maps_mention(int pid, const char *text)
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    FILE *f = open_proc(pid, procfs_living_thread(pid), "maps");
    if (!f)
        return false;
    while (!found && getline(&line, &size, f) > 0)
        found = strstr(line, text) != NULL;
    free(line);
    fclose(f);
    return found;
}

char *procfs_environment(int pid, const char *name)
{
    char *item = NULL, *value = NULL;
    size_t size = 0, length = strlen(name);
    FILE *f = open_proc(pid, procfs_living_thread(pid), "environ");
    if (!f)
        return NULL;
    while (!value && getdelim(&item, &size, '\0', f) > 0)
        if (strncmp(item, name, length) == 0 && item[length] == '=')
            value = strdup(item + length + 1);
    free(item);
    fclose(f);
    return value;
}

bool procfs_executable(int pid, char *ret, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/exe", pid, procfs_living_thread(pid));
    ssize_t n = readlink(path, ret, size - 1);
    if (n <= 0)
        return false;
    ret[n] = '\0';
    return true;
}

char *procfs_command(int pid)
{
    char *text = NULL, *item = NULL;
    size_t size = 0, text_size;
    FILE *f = open_proc(pid, procfs_living_thread(pid), "cmdline");
    FILE *out = f ? open_memstream(&text, &text_size) : NULL;
    if (!out) {
        if (f)
            fclose(f);
        return NULL;
    }
    for (bool first = true; getdelim(&item, &size, '\0', f) > 0; first = false)
        fprintf(out, "%s%s", first ? "" : " ", item);
    free(item);
    fclose(f);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
