/* SPDX-License-Identifier: MIT */
/*
 * fuzz_suppress.c - any bytes as a suppressions file; each rule that comes of them is tried on names.
 *
 * clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. tests/fuzz/fuzz_suppress.c
 * tracer/gate/pattern.c tracer/gate/suppress.c
 *
 * Judged: no memory fault, no leak, no hang, and a failure always leaves a message and no list.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/gate/pattern.h"
#include "tracer/gate/suppress.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static size_t warned;

static void count_warning(const char *line)
{
    warned += strlen(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"", "main", "std::vector<int>::push_back(int&&)",
                                        "/usr/lib/libx.so.1"};
    struct suppressions *list = NULL;
    char error[64] = "";
    uint64_t blocks, length;
    bool ok =
        suppressions_parse(&list, (const char *)bytes, size, "fuzz", count_warning, error, sizeof(error));
    if (ok ? !list || error[0] : list || !error[0])
        abort();
    const char *pattern;
    for (uint32_t r = 0; (pattern = suppression_text(list, r, &blocks, &length)) != NULL; r++) {
        for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
            if (pattern_matches(pattern, names[n]) && !names[n][0])
                abort(); /* an empty name matches nothing */
        pattern_matches(pattern, pattern);
    }
    suppressions_free(list);
    return 0;
}
