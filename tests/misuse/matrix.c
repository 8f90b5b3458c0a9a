/* SPDX-License-Identifier: MIT */
/*
 * Fifteen kinds of wrong use, by size and by setting, and what becomes of each.
 *
 *   matrix LIBRARY                      runs every cell and compares with the table below; a line per surprise
 *   matrix --compare NAME=LIBRARY ...   prints who ends which kind, for any malloc ("" is the C library's own)
 *   matrix --commit KIND SIZE           commits one, in the process that was started for it
 *
 * A cell is one process. It prints the address it is about to misuse, and "went on" when it could go on.
 */
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static void *hidden(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

/* What is to be misused; said before it is. */
static void *victim(void *p)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "%p\n", p);
    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        _exit(3);
    return hidden(p);
}

/* --- the kinds: `n` bytes, at the end of which the crime is done ---------------------------------------- */

static void commit_double(size_t n)
{
    void *p = malloc(n);
    free(p);
    free(victim(p));
}

static void commit_delayed_double(size_t n)
{
    void *p = malloc(n), *others[200];
    for (int i = 0; i < 200; i++)
        others[i] = malloc(300);
    free(p);
    for (int i = 0; i < 200; i++)
        free(others[i]);
    free(victim(p));
}

static void commit_interior(size_t n)
{
    char *p = malloc(n);
    free(victim(p + n / 32 * 16));
}

static void commit_misaligned(size_t n)
{
    char *p = malloc(n);
    free(victim(p + 3));
}

static void commit_stack(size_t n)
{
    char words[64];
    (void)n;
    free(victim(words + 16));
}

static void commit_global(size_t n)
{
    static char words[64];
    (void)n;
    free(victim(words + 16));
}

static void commit_tiny(size_t n)
{
    (void)n;
    free(victim((void *)(uintptr_t)0x10));
}

static void commit_non_canonical(size_t n)
{
    (void)n;
    free(victim((void *)(uintptr_t)0xdead00000000beef));
}

static void commit_realloc_interior(size_t n)
{
    char *p = malloc(n);
    if (realloc(victim(p + n / 32 * 16), n * 2) != NULL)
        puts("realloc answered");
}

static void commit_realloc_freed(size_t n)
{
    void *p = malloc(n);
    free(p);
    if (realloc(victim(p), n * 2) != NULL)
        puts("realloc answered");
}

/* Eight bytes past what was asked for; then the program goes on as programs do. */
static void commit_overflow(size_t n)
{
    char *p = malloc(n);
    memset(victim(p) + n, 'A', 8);
    for (int i = 0; i < 100; i++)
        hidden(malloc(n));
    free(p);
}

static void commit_write_after_free(size_t n)
{
    char *p = malloc(n);
    free(p);
    memset(victim(p), 'w', n < 64 ? n : 64);
    for (size_t i = 0; i < 1000 && i * n < 16 * MIB; i++)
        hidden(malloc(n));
}

/* Free, wait until somebody else has the block, free again. Nobody has it while it is in quarantine. */
static void commit_double_after_reuse(size_t n)
{
    void *p = malloc(n);
    victim(p);
    free(p);
    for (size_t i = 0; i < 2000 && i * n < 16 * MIB; i++) {
        if (malloc(n) == p)
            break;
    }
    free(hidden(p));
}

/* --- what is expected ----------------------------------------------------------------------------------- */

/* What a cell may say, by its letter. ADDRESS is the victim's. '-': nothing; the program goes on. */
static const struct {
    char letter;
    const char *line;
} lines[] = {
    {'D', "double free of ADDRESS \\(BLOCK\\)"},
    {'I', "invalid free of ADDRESS \\([0-9]+ bytes into a BLOCK\\)"},
    {'N', "invalid free of ADDRESS \\(no memory that malloc gave out\\)"},
    {'i', "invalid realloc of ADDRESS \\([0-9]+ bytes into a BLOCK\\)"},
    {'R', "realloc of freed ADDRESS \\(BLOCK\\)"},
    {'O', "overflow of ADDRESS \\(BLOCK\\): byte SIZE was written to, seen by free"},
    {'W', "free memory was written to at ADDRESS \\(BLOCK, that was freed\\)"},
    /* The neighbour of what was overrun was free, and is named. */
    {'w', "free memory was written to at 0x[0-9a-f]+ \\(BLOCK, that was freed\\)"},
};

enum mode { PLAIN, HARDEN, RECORD, RECORD_HARDEN, MODES };
static const char *const settings[MODES] = {"record=0", "harden=1", "record=1", "record=1:harden=1"};

#define SIZES 7
static const size_t sizes[SIZES] = {16, 100, 1000, 5000, 40000, 1 * MIB, 5 * MIB};

/* A letter a size; ' ' where there is no such cell: the same as another one, or no state decides what happens (behind a
 * mapping's end there may be anything). Kinds without a size stand under the first. */
static const struct {
    const char *name;
    void (*commit)(size_t n);
    const char *plain, *harden;
} kinds[] = {
    {"double", commit_double, "DDDDDDD", "DDDDDDD"},
    {"delayed double", commit_delayed_double, "DDDDDDD", "DDDDDDD"},
    {"interior", commit_interior, " IIIIII", " IIIIII"},
    {"misaligned", commit_misaligned, "IIIIIII", "IIIIIII"},
    {"stack", commit_stack, "N      ", "N      "},
    {"global", commit_global, "N      ", "N      "},
    {"tiny", commit_tiny, "N      ", "N      "},
    {"non-canonical", commit_non_canonical, "N      ", "N      "},
    {"1 MiB double", commit_double, "     D ", "     D "},
    {"1 MiB interior", commit_interior, "     I ", "     I "},
    {"realloc of interior", commit_realloc_interior, " iiiiii", " iiiiii"},
    {"realloc of freed", commit_realloc_freed, "RRRRRRR", "RRRRRRR"},
    {"overflow by 8", commit_overflow, "w----- ", "OOOOOOO"},
    {"write after free", commit_write_after_free, "WWWW-- ", "WWWWWWW"},
    {"double after reuse", commit_double_after_reuse, "------ ", "DDDDDDD"},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* --- one process ---------------------------------------------------------------------------------------- */

struct cell {
    int status; /* as waitpid's */
    char out[256], err[8192];
};

static void read_all(int fd, char *text, size_t size)
{
    size_t have = 0;
    ssize_t n;
    char rest[512];
    while ((n = read(fd, have < size - 1 ? text + have : rest,
                     have < size - 1 ? size - 1 - have : sizeof(rest))) > 0)
        have += have < size - 1 ? (size_t)n : 0;
    text[have] = '\0';
    close(fd);
}

static void become(const char *self, const char *library, const char *setting, size_t kind, size_t size)
{
    char kind_text[16], size_text[32];
    snprintf(kind_text, sizeof(kind_text), "%zu", kind);
    snprintf(size_text, sizeof(size_text), "%zu", size);
    if (*library)
        setenv("LD_PRELOAD", library, 1);
    setenv("HEAPTALLY", setting, 1);
    alarm(60);
    execl(self, "matrix", "--commit", kind_text, size_text, (char *)NULL);
    _exit(3);
}

/* A file for stderr: a pipe could fill up while stdout is read. */
static bool run_cell(const char *self, const char *library, const char *setting, size_t kind, size_t size,
                     struct cell *ret)
{
    int out[2], err = open(".", O_TMPFILE | O_RDWR, 0600);
    if (err < 0)
        err = fileno(tmpfile());
    if (pipe(out) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        close(out[0]);
        close(out[1]);
        become(self, library, setting, kind, size);
    }
    close(out[1]);
    read_all(out[0], ret->out, sizeof(ret->out));
    bool waited = child > 0 && waitpid(child, &ret->status, 0) == child;
    lseek(err, 0, SEEK_SET);
    read_all(err, ret->err, sizeof(ret->err));
    return waited;
}

/* --- judging -------------------------------------------------------------------------------------------- */

static const char *line_of(char letter)
{
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i].letter == letter)
            return lines[i].line;
    }
    return "";
}

static void replace(char *text, size_t size, const char *word, const char *by)
{
    char *at = strstr(text, word);
    if (!at || strlen(text) + strlen(by) >= size)
        return;
    memmove(at + strlen(by), at + strlen(word), strlen(at + strlen(word)) + 1);
    memcpy(at, by, strlen(by));
}

/* The block by what is known of it: without a ledger the size asked for is not, but its class is. */
static const char *block_pattern(size_t size, enum mode mode, char letter)
{
    static char text[128];
    const char *group = size + (mode == HARDEN || mode == RECORD_HARDEN ? 8 : 0) <= 32 * KIB ? "class"
                        : size <= 2 * MIB - 8 * KIB                                          ? "span of"
                                                                                             : "mapping of";
    if (mode == PLAIN || letter == 'w')
        snprintf(text, sizeof(text), "([0-9]+-byte block, %s [0-9]+|large block)", group);
    else
        snprintf(text, sizeof(text), "%zu-byte block, %s [0-9]+", size, group);
    return text;
}

static bool matches(const char *pattern, const char *text)
{
    regex_t compiled;
    if (regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        abort();
    bool same = regexec(&compiled, text, 0, NULL, 0) == 0;
    regfree(&compiled);
    return same;
}

/* Both stacks, where there are two: who allocated, who freed first. */
static bool has_stacks(char letter, const char *text)
{
    bool first = strstr(text, "\n  first freed by:\n    #0 matrix+0x") != NULL;
    bool allocated = strstr(text, "\n  the block was allocated by:\n    #0 matrix+0x") != NULL;
    if (strchr("DRW", letter))
        return allocated && first;
    return strchr("IiO", letter) ? allocated && !first : true;
}

static const char *judge(const struct cell *cell, char letter, size_t size, enum mode mode)
{
    char pattern[512], address[64] = "", number[32];
    if (letter == '-')
        return !strstr(cell->out, "went on\n") || cell->err[0] || cell->status != 0 ? "not silent" : NULL;
    if (!WIFSIGNALED(cell->status) || WTERMSIG(cell->status) != SIGABRT)
        return "no abort";
    snprintf(address, sizeof(address), "%.*s", (int)strcspn(cell->out, "\n"), cell->out);
    snprintf(number, sizeof(number), "%zu", size);
    snprintf(pattern, sizeof(pattern), "^heaptally: %s in matrix pid [0-9]+\n", line_of(letter));
    replace(pattern, sizeof(pattern), "ADDRESS", address);
    replace(pattern, sizeof(pattern), "BLOCK", block_pattern(size, mode, letter));
    replace(pattern, sizeof(pattern), "SIZE", number);
    if (!matches(pattern, cell->err))
        return "other text";
    if ((mode == PLAIN || mode == HARDEN) && strchr(cell->err, '\n')[1] != '\0')
        return "more than a line";
    if ((mode == RECORD || mode == RECORD_HARDEN) && !has_stacks(letter, cell->err))
        return "not its stacks";
    return NULL;
}

/* --- the table ------------------------------------------------------------------------------------------ */

static int check_all(const char *self, const char *library)
{
    int runs = 0, failed = 0;
    static struct cell cell;
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < SIZES * MODES; i++) {
            enum mode mode = (enum mode)(i % MODES);
            size_t size = sizes[i / MODES];
            char letter =
                (mode == PLAIN || mode == RECORD ? kinds[kind].plain : kinds[kind].harden)[i / MODES];
            if (letter == ' ')
                continue;
            const char *wrong = run_cell(self, library, settings[mode], kind, size, &cell)
                                    ? judge(&cell, letter, size, mode)
                                    : "did not run";
            runs++;
            failed += wrong != NULL;
            if (wrong)
                printf("tests/misuse: %s, %zu bytes, %s: %s (expected %c, status %#x)\n%.300s",
                       kinds[kind].name, size, settings[mode], wrong, letter, cell.status, cell.err);
        }
    }
    printf("tests/misuse: matrix: %d runs, %d failed\n", runs, failed);
    return failed != 0 || runs == 0;
}

/* Ended by a signal or with an error: seen. Went on with 0: silent. Out of time: hangs. */
static char outcome(const struct cell *cell)
{
    if (WIFSIGNALED(cell->status))
        return WTERMSIG(cell->status) == SIGALRM ? 'h' : WTERMSIG(cell->status) == SIGSEGV ? 's' : 'X';
    return strstr(cell->out, "went on\n") && WEXITSTATUS(cell->status) == 0 ? '-' : 'e';
}

static int compare(const char *self, char **peers, int count)
{
    static struct cell cell;
    printf("sizes 16 100 1000 5000 40000 1M 5M; X ended by abort, s by a fault, e an error, h hung, - "
           "silent\n%-20s",
           "");
    for (int peer = 0; peer < count; peer++)
        printf(" %-14.*s", (int)strcspn(peers[peer], "="), peers[peer]);
    for (size_t kind = 0; kind < KINDS; kind++) {
        printf("\n%-20s", kinds[kind].name);
        for (int peer = 0; peer < count; peer++) {
            char row[SIZES + 1] = "       ";
            const char *library = strchr(peers[peer], '=');
            const char *setting = strstr(peers[peer], "+harden=") ? "harden=1" : "record=0";
            for (int i = 0; i < SIZES; i++) {
                if (kinds[kind].harden[i] != ' ' &&
                    run_cell(self, library ? library + 1 : "", setting, kind, sizes[i], &cell))
                    row[i] = outcome(&cell);
            }
            printf(" %-14s", row);
        }
        fflush(stdout);
    }
    putchar('\n');
    return 0;
}

int main(int count, char **words)
{
    if (count == 4 && strcmp(words[1], "--commit") == 0) {
        kinds[strtoul(words[2], NULL, 10) % KINDS].commit(strtoul(words[3], NULL, 10));
        for (int i = 0; i < 10; i++)
            free(malloc(100));
        puts("went on");
        return 0;
    }
    if (count > 2 && strcmp(words[1], "--compare") == 0)
        return compare(words[0], words + 2, count - 2);
    if (count == 2)
        return check_all(words[0], words[1]);
    fprintf(stderr, "matrix LIBRARY | matrix --compare NAME=LIBRARY ...\n");
    return 2;
}
