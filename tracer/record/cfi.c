/* SPDX-License-Identifier: MIT */
#include "tracer/record/cfi.h"

#include <string.h>

/* The registers that count, by DWARF's numbers. */
#define RBP 6u
#define RSP 7u
#define RA  16u

/* How a pointer is written. */
enum { ABSPTR = 0x00, UDATA4 = 0x03, PCREL_SDATA4 = 0x1b, DATAREL_SDATA4 = 0x3b, INDIRECT = 0x80 };

/* --- bytes ------------------------------------------------------------------------------------------------------- */

/* What is read past the end is 0, and `bad`. */
struct bytes {
    const unsigned char *at, *end;
    bool bad;
};

static const unsigned char *take(struct bytes *from, uint64_t size)
{
    const unsigned char *at = from->at;

    if ((uint64_t)(from->end - at) < size) {
        from->bad = true;
        from->at = from->end;
        return NULL;
    }
    from->at += size;
    return at;
}

static uint32_t take_little(struct bytes *from, unsigned size)
{
    uint32_t value = 0;
    const unsigned char *at = take(from, size);

    if (at)
        memcpy(&value, at, size);
    return value;
}

static uint64_t take_leb(struct bytes *from, bool is_signed)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint32_t byte;

    do {
        byte = take_little(from, 1);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0 && !from->bad);
    if (is_signed && (byte & 0x40) != 0 && shift < 64)
        value |= ~(uint64_t)0 << shift;
    return value;
}

static uint64_t take_unsigned(struct bytes *from)
{
    return take_leb(from, false);
}

static int64_t take_signed(struct bytes *from)
{
    return (int64_t)take_leb(from, true);
}

static struct bytes none(void)
{
    return (struct bytes){.bad = true};
}

/* A CIE or FDE, without the length that it begins with. */
static struct bytes entry_at(const struct code_object *object, uint64_t address)
{
    uint32_t length;

    if (address == 0 || address < object->tables_start || address + sizeof(length) > object->tables_end)
        return none();
    memcpy(&length, (const void *)(uintptr_t)address, sizeof(length));
    address += sizeof(length);
    /* 0xffffffff would be a long one. */
    if (length > object->tables_end - address)
        return none();
    const unsigned char *at = (const unsigned char *)(uintptr_t)address;
    return (struct bytes){.at = at, .end = at + length};
}

/* --- the table --------------------------------------------------------------------------------------------------- */

struct table_entry {
    int32_t function, description; /* from the table's header */
};

static struct table_entry table_at(const unsigned char *entries, uint32_t i)
{
    struct table_entry entry;

    memcpy(&entry, entries + (size_t)i * sizeof(entry), sizeof(entry));
    return entry;
}

/* The FDE that may be pc's. */
static struct bytes find_description(const struct code_object *object, uint64_t pc)
{
    struct bytes header = {.at = (const unsigned char *)(uintptr_t)object->eh_frame_hdr,
                           .end = (const unsigned char *)(uintptr_t)object->tables_end};
    uint32_t low = 0, high;

    if (object->eh_frame_hdr == 0 || object->eh_frame_hdr < object->tables_start ||
        object->eh_frame_hdr >= object->tables_end || take_little(&header, 1) != 1 ||
        take_little(&header, 1) != PCREL_SDATA4 || take_little(&header, 1) != UDATA4 ||
        take_little(&header, 1) != DATAREL_SDATA4)
        return none();
    (void)take_little(&header, 4); /* where .eh_frame is */
    high = take_little(&header, 4);
    const unsigned char *entries = take(&header, (uint64_t)high * sizeof(struct table_entry));
    if (!entries)
        return none();
    int64_t wanted = (int64_t)(pc - object->eh_frame_hdr);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (table_at(entries, middle).function <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return none();
    return entry_at(object, object->eh_frame_hdr + (uint64_t)(int64_t)table_at(entries, low - 1).description);
}

/* --- what an FDE and its CIE say before their instructions --------------------------------------------------------- */

struct common {
    uint64_t code_unit;
    int64_t data_unit;
    bool has_augmentation;
    struct bytes instructions;
};

/* Its value does not matter. */
static void skip_pointer(struct bytes *from)
{
    uint32_t encoding = take_little(from, 1) & ~(uint32_t)INDIRECT;

    if (encoding == ABSPTR)
        (void)take(from, 8);
    else if (encoding == PCREL_SDATA4)
        (void)take(from, 4);
    else
        from->bad = true;
}

/* The letters tell what is there; 'S', a signal's frame, is not for us. */
static void read_augmentation(struct bytes *from, const char *letters)
{
    bool pointers_known = false;

    for (; *letters; letters++) {
        if (*letters == 'R')
            pointers_known = take_little(from, 1) == PCREL_SDATA4;
        else if (*letters == 'P')
            skip_pointer(from);
        else if (*letters == 'L')
            (void)take_little(from, 1);
        else
            from->bad = true;
    }
    from->bad |= !pointers_known;
}

/* false: not as expected. */
static bool read_common(struct bytes cie, struct common *ret)
{
    if (take_little(&cie, 4) != 0 || take_little(&cie, 1) != 1)
        return false;
    const char *letters = (const char *)cie.at;
    const unsigned char *last = memchr(cie.at, 0, (size_t)(cie.end - cie.at));
    if (!last || letters[0] != 'z')
        return false;
    cie.at = last + 1;
    ret->code_unit = take_unsigned(&cie);
    ret->data_unit = take_signed(&cie);
    if (take_little(&cie, 1) != RA)
        return false;
    uint64_t length = take_unsigned(&cie);
    const unsigned char *augmentation = take(&cie, length);
    if (!augmentation)
        return false;
    struct bytes inside = {.at = augmentation, .end = augmentation + length};
    read_augmentation(&inside, letters + 1);
    ret->instructions = cie;
    return !cie.bad && !inside.bad;
}

/* --- instructions -------------------------------------------------------------------------------------------------- */

enum place { PLACE_SAME, PLACE_SAVED, PLACE_OTHER };

struct saved {
    enum place place;
    int64_t offset; /* from the CFA */
};

struct row {
    bool cfa_is_plain;
    uint64_t cfa_register;
    int64_t cfa_offset;
    struct saved rbp, ra;
};

#define REMEMBERED 4u

struct machine {
    const struct common *common;
    struct bytes from;
    uint64_t at, pc; /* `row` is that of `at`, and pc is not before it */
    struct row row, first, remembered[REMEMBERED];
    uint32_t depth;
};

static struct saved *saved_of(struct row *row, uint64_t number)
{
    return number == RBP ? &row->rbp : number == RA ? &row->ra : NULL;
}

static void set_place(struct machine *m, uint64_t number, enum place place, int64_t offset)
{
    struct saved *saved = saved_of(&m->row, number);

    /* The caller's rsp is the CFA, where nothing else is said. */
    if (number == RSP)
        m->from.bad = true;
    if (saved)
        *saved = (struct saved){place, offset};
}

static void restore(struct machine *m, uint64_t number)
{
    struct saved *saved = saved_of(&m->row, number);

    if (saved)
        *saved = *saved_of(&m->first, number);
}

static void set_cfa(struct machine *m, uint64_t number, int64_t offset)
{
    m->row.cfa_is_plain = true;
    m->row.cfa_register = number;
    m->row.cfa_offset = offset;
}

static void remember(struct machine *m)
{
    if (m->depth == REMEMBERED)
        m->from.bad = true;
    else
        m->remembered[m->depth++] = m->row;
}

static void recall(struct machine *m)
{
    if (m->depth == 0)
        m->from.bad = true;
    else
        m->row = m->remembered[--m->depth];
}

static void skip_block(struct machine *m)
{
    (void)take(&m->from, take_unsigned(&m->from));
}

/* false: what follows is of an address past pc. */
static bool advance(struct machine *m, uint64_t units)
{
    m->at += units * m->common->code_unit;
    return m->at <= m->pc;
}

/* DW_CFA_* by their numbers: those with a register and something about it. */
static void run_on_register(struct machine *m, uint32_t code)
{
    uint64_t number = take_unsigned(&m->from);

    switch (code) {
    case 0x05: /* offset_extended */
        set_place(m, number, PLACE_SAVED, (int64_t)take_unsigned(&m->from) * m->common->data_unit);
        break;
    case 0x06: /* restore_extended */
        restore(m, number);
        break;
    case 0x08: /* same_value */
        set_place(m, number, PLACE_SAME, 0);
        break;
    case 0x0c: /* def_cfa */
        set_cfa(m, number, (int64_t)take_unsigned(&m->from));
        break;
    case 0x0d: /* def_cfa_register */
        m->row.cfa_register = number;
        break;
    case 0x11: /* offset_extended_sf */
        set_place(m, number, PLACE_SAVED, take_signed(&m->from) * m->common->data_unit);
        break;
    case 0x12: /* def_cfa_sf */
        set_cfa(m, number, take_signed(&m->from) * m->common->data_unit);
        break;
    case 0x07: /* undefined */
        set_place(m, number, PLACE_OTHER, 0);
        break;
    case 0x09: /* register */
    case 0x14: /* val_offset */
        (void)take_unsigned(&m->from);
        set_place(m, number, PLACE_OTHER, 0);
        break;
    case 0x15: /* val_offset_sf */
        (void)take_signed(&m->from);
        set_place(m, number, PLACE_OTHER, 0);
        break;
    case 0x10: /* expression */
    case 0x16: /* val_expression */
        skip_block(m);
        set_place(m, number, PLACE_OTHER, 0);
        break;
    default: /* set_loc, which has no register, and what nobody knows */
        m->from.bad = true;
        break;
    }
}

/* The others. false: past pc. */
static bool run_extended(struct machine *m, uint32_t code)
{
    switch (code) {
    case 0x00: /* nop */
        return true;
    case 0x02: /* advance_loc1 */
        return advance(m, take_little(&m->from, 1));
    case 0x03: /* advance_loc2 */
        return advance(m, take_little(&m->from, 2));
    case 0x04: /* advance_loc4 */
        return advance(m, take_little(&m->from, 4));
    case 0x0a: /* remember_state */
        remember(m);
        return true;
    case 0x0b: /* restore_state */
        recall(m);
        return true;
    case 0x0e: /* def_cfa_offset */
        m->row.cfa_offset = (int64_t)take_unsigned(&m->from);
        return true;
    case 0x0f: /* def_cfa_expression */
        skip_block(m);
        m->row.cfa_is_plain = false;
        return true;
    case 0x13: /* def_cfa_offset_sf */
        m->row.cfa_offset = take_signed(&m->from) * m->common->data_unit;
        return true;
    case 0x2e: /* GNU_args_size */
        (void)take_unsigned(&m->from);
        return true;
    default:
        run_on_register(m, code);
        return true;
    }
}

/* Up to pc. */
static bool run(struct machine *m, struct bytes instructions)
{
    bool goes_on = true;

    m->from = instructions;
    while (goes_on && !m->from.bad && m->from.at < m->from.end) {
        uint32_t code = take_little(&m->from, 1), low = code & 0x3f;

        if (code >> 6 == 1) /* advance_loc */
            goes_on = advance(m, low);
        else if (code >> 6 == 2) /* offset */
            set_place(m, low, PLACE_SAVED, (int64_t)take_unsigned(&m->from) * m->common->data_unit);
        else if (code >> 6 == 3) /* restore */
            restore(m, low);
        else
            goes_on = run_extended(m, code);
    }
    return !m->from.bad;
}

/* --- the rule -------------------------------------------------------------------------------------------------------- */

static bool is_short(int64_t offset)
{
    return offset > -RULE_OFFSET_LIMIT && offset < RULE_OFFSET_LIMIT;
}

static bool rule_of_row(const struct row *row, struct rule *ret)
{
    if (!row->cfa_is_plain || (row->cfa_register != RSP && row->cfa_register != RBP) ||
        row->ra.place != PLACE_SAVED || row->ra.offset != -8 || row->rbp.place == PLACE_OTHER ||
        !is_short(row->cfa_offset) || !is_short(row->rbp.offset))
        return false;
    *ret = (struct rule){.kind = RULE_PLAIN,
                         .cfa_from_rbp = row->cfa_register == RBP,
                         .rbp_saved = row->rbp.place == PLACE_SAVED,
                         .cfa_offset = (int32_t)row->cfa_offset,
                         .rbp_offset = (int32_t)row->rbp.offset};
    return true;
}

bool cfi_rule(const struct code_object *object, uint64_t pc, struct rule *ret)
{
    struct bytes description = find_description(object, pc);
    struct common common;
    uint64_t cie_at = (uintptr_t)description.at;

    cie_at -= take_little(&description, 4);
    if (description.bad || !read_common(entry_at(object, cie_at), &common))
        return false;
    uint64_t start = (uintptr_t)description.at;
    start += (uint64_t)(int64_t)(int32_t)take_little(&description, 4);
    uint64_t size = take_little(&description, 4);
    (void)take(&description, take_unsigned(&description));
    if (description.bad || pc - start >= size)
        return false;
    struct machine m = {.common = &common, .at = 0, .pc = UINT64_MAX};
    if (!run(&m, common.instructions))
        return false;
    m.first = m.row;
    m.at = start;
    m.pc = pc;
    return run(&m, description) && rule_of_row(&m.row, ret);
}
