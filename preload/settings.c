/* SPDX-License-Identifier: MIT */
#include "preload/settings.h"

#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "tracer/record/record.h"

/* A piece of the text; nothing here is NUL-terminated. */
struct piece {
    const char *at;
    size_t length;
};

enum setting_type {
    SETTING_BOOL,
    SETTING_UINT32,
    SETTING_INT64,
    SETTING_CHOICE,
    SETTING_PATH,
    SETTING_SIGNAL,
    SETTING_SIGNALS
};

/* Texts and no pointers to them, here and below: nothing to relocate, which every program would pay for. */
struct setting_row {
    char key[16];
    enum setting_type type;
    uint32_t field;
    char standard[8];  /* the default, as one would write it */
    int64_t low, high; /* numbers only */
    char values[24];   /* what may be written, for people; for SETTING_CHOICE also for the parser */
    char help[56];
};

#define FIELD(name) offsetof(struct settings, name)
static const struct setting_row table[] = {
    {"record", SETTING_CHOICE, FIELD(record), "0", 0, 0, "0|1|off",
     "record allocations' stacks; off: when told to"},
    {"sample", SETTING_INT64, FIELD(sample), "0", 0, INT64_MAX / 2, "0|BYTES",
     "recording: one block in so many bytes"},
    {"socket", SETTING_PATH, FIELD(socket), "", 0, 0, "PATH without ':'", "where the companion listens"},
    {"depth", SETTING_UINT32, FIELD(depth), "128", 1, RECORD_DEPTH_MAX, "1..1024", "frames kept of a stack"},
    {"signal", SETTING_SIGNAL, FIELD(signal), "RTMAX-3", 0, 0, "N|NAME|RTMAX-N",
     "parks threads, asks for snapshots"},
    {"decay", SETTING_INT64, FIELD(decay_ms), "1000", -1, INT64_MAX / 2, "MS|-1",
     "empty memory goes back after; -1 never"},
    {"misuse", SETTING_CHOICE, FIELD(misuse), "abort", 0, 0, "abort|report|ignore", "what a wrong free does"},
    {"free_stacks", SETTING_BOOL, FIELD(free_stacks), "1", 0, 1, "0|1",
     "recording: the stack of every free too"},
    {"check_stacks", SETTING_UINT32, FIELD(check_stacks), "0", 0, 1u << 20, "0|N",
     "recording: walk every N-th stack twice and compare"},
    {"trace", SETTING_PATH, FIELD(trace), "", 0, 0, "PATH without ':'",
     "recording: a file that outlives the process; %p: pid"},
    {"trace_keep", SETTING_BOOL, FIELD(trace_keep), "1", 0, 1, "0|1",
     "0: it goes when the process ends by itself"},
    {"harden", SETTING_BOOL, FIELD(harden), "0", 0, 1, "0|1",
     "find overflows, writes after free, late double frees"},
    {"quarantine", SETTING_UINT32, FIELD(quarantine_kib), "16384", 0, 1u << 30, "KIB",
     "harden: how much freed memory waits"},
    {"children", SETTING_BOOL, FIELD(children), "1", 0, 1, "0|1", "forked and exec'ed children report too"},
    {"exit_check", SETTING_BOOL, FIELD(exit_check), "1", 0, 1, "0|1", "check when the program ends"},
    /* None by default: a program that asks for its signals' dispositions (python for SIGINT) must find them untouched. */
    {"fatal_signals", SETTING_SIGNALS, FIELD(fatal_signals), "none", 0, 0, "NAME+NAME..|none",
     "TERM+INT+..: get a check before they kill"},
    {"park", SETTING_UINT32, FIELD(park_ms), "1000", 0, 3600000, "MS",
     "how long to wait for threads to stand still"},
    {"account", SETTING_PATH, FIELD(account), "", 0, 0, "PATH without ':'",
     "count live bytes on this page (set by frag)"},
    {"help", SETTING_BOOL, FIELD(help), "0", 0, 1, "0|1", "print this table"},
};
#define ROWS (sizeof(table) / sizeof(table[0]))

static const struct {
    char name[7];
    uint8_t number;
} signal_names[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},   {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT}, {"BUS", SIGBUS},       {"FPE", SIGFPE},   {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},
    {"USR2", SIGUSR2}, {"PIPE", SIGPIPE},     {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"POLL", SIGPOLL}, {"PWR", SIGPWR},
    {"SYS", SIGSYS},
};

/* --- pieces of text ------------------------------------------------------------------------------ */

/* The C library's memcmp() lies where nothing else is that a small program runs: up to 64 KiB more of it were mapped. */
static bool same_bytes(const char *a, const char *b, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static bool piece_is(struct piece p, const char *word)
{
    return strlen(word) == p.length && same_bytes(p.at, word, p.length);
}

static struct piece piece_of(const char *text)
{
    return (struct piece){text, strlen(text)};
}

/* Cut the part before the first `mark` off the front of *rest. */
static struct piece piece_cut(struct piece *rest, char mark)
{
    const char *end = rest->length ? memchr(rest->at, mark, rest->length) : NULL;
    struct piece head = {rest->at, end ? (size_t)(end - rest->at) : rest->length};
    size_t gone = head.length + (end != NULL);
    rest->at += gone;
    rest->length -= gone;
    return head;
}

static bool piece_starts(struct piece p, const char *word)
{
    size_t length = strlen(word);
    return p.length >= length && same_bytes(p.at, word, length);
}

static bool read_number(struct piece p, int64_t low, int64_t high, int64_t *ret)
{
    bool minus = p.length > 1 && p.at[0] == '-';
    int64_t value = 0;
    if (p.length == (size_t)minus)
        return false;
    for (size_t i = minus; i < p.length; i++) {
        if (p.at[i] < '0' || p.at[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, p.at[i] - '0', &value))
            return false;
    }
    value = minus ? -value : value;
    if (value < low || value > high)
        return false;
    *ret = value;
    return true;
}

/* --- one reader per type; *field is untouched when the value is no good -------------------------- */

static bool read_bool(struct piece value, bool *field)
{
    bool yes = piece_is(value, "1") || piece_is(value, "yes") || piece_is(value, "on");
    bool no = piece_is(value, "0") || piece_is(value, "no") || piece_is(value, "off");
    if (yes || no)
        *field = yes;
    return yes || no;
}

static bool read_choice(struct piece value, const char *choices, enum misuse_policy *field)
{
    struct piece rest = piece_of(choices);
    for (int i = 0; rest.length; i++) {
        struct piece choice = piece_cut(&rest, '|');
        if (choice.length == value.length && same_bytes(choice.at, value.at, value.length)) {
            *field = (enum misuse_policy)i;
            return true;
        }
    }
    return false;
}

static bool read_path(struct piece value, char *field)
{
    if (value.length >= PRELOAD_PATH_MAX)
        return false;
    if (value.length == 0 && field[0] == '\0')
        return true; /* reading memory that was never written takes none */
    memcpy(field, value.at, value.length);
    field[value.length] = '\0';
    return true;
}

/* "15", "TERM", "SIGTERM", "RTMIN+2", "RTMAX-3". */
static bool read_signal(struct piece value, int *ret)
{
    int64_t number;
    if (read_number(value, 1, SIGRTMAX, &number)) {
        *ret = (int)number;
        return true;
    }
    if (piece_starts(value, "SIG"))
        value = (struct piece){value.at + 3, value.length - 3};
    for (size_t i = 0; i < sizeof(signal_names) / sizeof(signal_names[0]); i++) {
        if (piece_is(value, signal_names[i].name)) {
            *ret = signal_names[i].number;
            return true;
        }
    }
    bool from_top = piece_starts(value, "RTMAX");
    if (!from_top && !piece_starts(value, "RTMIN"))
        return false;
    struct piece offset = {value.at + 5, value.length - 5};
    number = 0;
    if (offset.length) {
        struct piece digits = {offset.at + 1, offset.length - 1};
        if (offset.at[0] != (from_top ? '-' : '+') || !read_number(digits, 0, SIGRTMAX - SIGRTMIN, &number))
            return false;
    }
    *ret = from_top ? SIGRTMAX - (int)number : SIGRTMIN + (int)number;
    return true;
}

static bool read_signals(struct piece value, uint64_t *field)
{
    uint64_t set = 0;
    if (piece_is(value, "none"))
        value.length = 0;
    while (value.length) {
        int number;
        bool more = memchr(value.at, '+', value.length) != NULL;
        if (!read_signal(piece_cut(&value, '+'), &number) || number == SIGKILL || number == SIGSTOP ||
            (more && !value.length))
            return false;
        set |= 1ull << (number - 1);
    }
    *field = set;
    return true;
}

static bool read_value(const struct setting_row *row, struct piece value, struct settings *settings)
{
    void *field = (char *)settings + row->field;
    int64_t number;
    switch (row->type) {
    case SETTING_BOOL:
        return read_bool(value, field);
    case SETTING_UINT32:
        if (!read_number(value, row->low, row->high, &number))
            return false;
        *(uint32_t *)field = (uint32_t)number;
        return true;
    case SETTING_INT64:
        return read_number(value, row->low, row->high, field);
    case SETTING_CHOICE:
        return read_choice(value, row->values, field);
    case SETTING_PATH:
        return read_path(value, field);
    case SETTING_SIGNAL:
        return read_signal(value, field);
    case SETTING_SIGNALS:
        return read_signals(value, field);
    }
    return false;
}

/* --- what is not understood ---------------------------------------------------------------------- */

#define KEY_MAX 31u

/* How many letters must be put in, taken out or changed to make `word` of `key`. */
static unsigned edit_distance(struct piece word, const char *key)
{
    unsigned row[KEY_MAX + 1];
    size_t length = strlen(key);
    if (word.length > KEY_MAX || length > KEY_MAX)
        return UINT_MAX;
    for (unsigned j = 0; j <= length; j++)
        row[j] = j;
    for (unsigned i = 1; i <= word.length; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            unsigned change = corner + (word.at[i - 1] != key[j - 1]);
            unsigned best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            corner = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[length];
}

static void warn_unknown(struct piece key, settings_sink *warn)
{
    const char *nearest = table[0].key;
    unsigned best = UINT_MAX;
    for (size_t i = 0; i < ROWS; i++) {
        unsigned distance = edit_distance(key, table[i].key);
        if (distance < best) {
            best = distance;
            nearest = table[i].key;
        }
    }
    struct line line;
    line_start(&line, "heaptally: unknown setting '");
    line_bytes(&line, key.at, key.length);
    if (best != UINT_MAX) {
        line_text(&line, "'; the nearest is '");
        line_text(&line, nearest);
    }
    line_text(&line, "' (HEAPTALLY=help=1 lists them)");
    warn(&line);
}

static void warn_value(const struct setting_row *row, struct piece value, settings_sink *warn)
{
    struct line line;
    line_start(&line, "heaptally: setting '");
    line_text(&line, row->key);
    line_text(&line, "' cannot be '");
    line_bytes(&line, value.at, value.length);
    line_text(&line, "' (");
    line_text(&line, row->values);
    line_text(&line, "); '");
    line_text(&line, row->standard);
    line_text(&line, "' stays");
    warn(&line);
}

/* --- the surface --------------------------------------------------------------------------------- */

void settings_defaults(struct settings *ret)
{
    /* Every field has a row. The rest of a path is not touched: a page each of memory that most programs never need. */
    for (size_t i = 0; i < ROWS; i++)
        read_value(&table[i], piece_of(table[i].standard), ret);
}

static void parse_item(struct piece item, struct settings *settings, settings_sink *warn)
{
    struct piece value = item, key = piece_cut(&value, '=');
    for (size_t i = 0; i < ROWS; i++) {
        if (!piece_is(key, table[i].key))
            continue;
        if (!read_value(&table[i], value, settings)) {
            /* The last word counts, also when it is no good: an earlier value of the same key does not stay.
             */
            read_value(&table[i], piece_of(table[i].standard), settings);
            warn_value(&table[i], value, warn);
        }
        return;
    }
    warn_unknown(key, warn);
}

void settings_parse(const char *text, struct settings *settings, settings_sink *warn)
{
    struct piece rest = piece_of(text);
    while (rest.length) {
        struct piece item = piece_cut(&rest, ':');
        if (item.length)
            parse_item(item, settings, warn);
    }
}

void settings_help(settings_sink *print)
{
    struct line line;
    line_start(&line, "heaptally: HEAPTALLY=key=value:key=value");
    print(&line);
    for (size_t i = 0; i < ROWS; i++) {
        line_start(&line, "  ");
        line_text(&line, table[i].key);
        line_text(&line, "=");
        line_text(&line, table[i].values);
        line_pad(&line, 38);
        line_text(&line, table[i].help);
        line_text(&line, " (");
        line_text(&line, table[i].standard[0] ? table[i].standard : "none");
        line_text(&line, ")");
        print(&line);
    }
}

/* What comes before the paths is in one page. */
static struct settings storage __attribute__((aligned(64)));

struct settings *settings_storage(void)
{
    return &storage;
}

const struct settings *settings_get(void)
{
    return &storage;
}
