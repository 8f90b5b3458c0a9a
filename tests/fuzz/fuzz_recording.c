/* SPDX-License-Identifier: MIT */
/*
 * The recording's reader, and every printer behind it, against bytes somebody else made.
 *
 *    fuzz_recording [ROUNDS [SEED]]     a loop of its own; prints the seed
 *    with clang -fsanitize=fuzzer, libFuzzer brings its own main and the loop below is not used
 *
 * Half the rounds damage a file as it lies on disk; the other half change the payload and then put every checksum
 * right, since otherwise nearly nothing would get past the first comparison.
 */
#include <stdio.h>
#include <time.h>

#include "tests/format/damage.h"
#include "tests/unit/recording_fixture.h"
#include "tracer/report/report.h"

#define ROUNDS 20000L

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted must be printable, and writable again. */
static void use(const struct recording *rec)
{
    static FILE *nowhere;
    if (nowhere == NULL)
        nowhere = fopen("/dev/null", "w");
    struct report_options options = {
        .show_possible = true, .show_suppressed = true, .addresses = true, .path = "x"};
    unsigned char *bytes;
    size_t length;
    if (!report_text(rec, &options, nowhere) || !report_json(rec, &options, nowhere))
        abort();
    if (recording_encode(rec, &bytes, &length) != FORMAT_OK)
        abort();
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recording *rec;
    const char *where = NULL;
    if (recording_decode(data, size, &rec, &where) == FORMAT_OK) {
        use(rec);
        recording_free(rec);
    } else if (where == NULL) {
        abort();
    }
    return 0;
}

static uint32_t random_value(unsigned *seed)
{
    static const uint32_t edges[] = {0,    1,    2,          3,          5,          7,
                                     0x7f, 0xff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    if (rand_r(seed) % 2 == 0)
        return edges[(unsigned)rand_r(seed) % (sizeof edges / sizeof edges[0])];
    return (uint32_t)rand_r(seed) % 64;
}

static void damage_file(unsigned char *file, size_t length, unsigned *seed)
{
    for (int i = rand_r(seed) % 4; i >= 0; i--)
        file[(size_t)rand_r(seed) % length] = (unsigned char)rand_r(seed);
    if (rand_r(seed) % 2 == 0)
        damage_fix_header(file);
}

static void damage_payload(const struct opened *o, unsigned *seed)
{
    for (int i = rand_r(seed) % 4; i >= 0; i--) {
        size_t at = (size_t)rand_r(seed) % (o->size - 4);
        if (at < 8)
            continue; /* the count of entries: the checksums could not be put right */
        if (rand_r(seed) % 2 == 0)
            put_u32(o->payload + at / 4 * 4, random_value(seed));
        else
            o->payload[at] = (unsigned char)rand_r(seed);
    }
}

/* Only for entries that still lie inside. */
static void fix_sums(const struct opened *o)
{
    unsigned char *entry = o->payload + HTZ_TOC_HEAD_SIZE;
    for (uint32_t i = 0; i < get_u32(o->payload); i++, entry += HTZ_TOC_ENTRY_SIZE) {
        uint64_t offset = get_u64(entry + 8), length = get_u64(entry + 16);
        if (offset <= o->size && length <= o->size - offset)
            put_u32(entry + 24, layout_crc32(o->payload + offset, length));
    }
    damage_fix_toc(o);
}

static void one_round(const unsigned char *bytes, size_t length, unsigned *seed)
{
    unsigned char *file;
    if (rand_r(seed) % 2 == 0) {
        file = malloc(length);
        if (file == NULL)
            abort();
        memcpy(file, bytes, length);
        damage_file(file, length, seed);
    } else {
        struct opened o = damage_open(bytes);
        damage_payload(&o, seed);
        fix_sums(&o);
        file = damage_close(&o, &length);
        free(o.payload);
    }
    LLVMFuzzerTestOneInput(file, length);
    free(file);
}

__attribute__((weak)) int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 0) : ROUNDS;
    unsigned seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : (unsigned)time(NULL);
    struct recording *rec = fixture_recording();
    unsigned char *bytes;
    size_t length;
    if (recording_encode(rec, &bytes, &length) != FORMAT_OK)
        abort();
    printf("fuzz_recording: %ld rounds, seed %u\n", rounds, seed);
    fflush(stdout);
    for (long i = 0; i < rounds; i++)
        one_round(bytes, length, &seed);
    free(bytes);
    recording_free(rec);
    return 0;
}
