/* SPDX-License-Identifier: MIT */
/* Under a memory limit: NULL and ENOMEM, not an end; and memory again once some was freed. */
#include <sys/resource.h>

#include "expect.h"

#define SLOTS 4096

int main(void)
{
    static void *slots[SLOTS];
    static const size_t sizes[] = {64 << 10, 3 << 20, 1000};
    struct rlimit limit = {(rlim_t)96 << 20, (rlim_t)96 << 20};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int round = 0; round < 6; round++) {
        size_t size = sizes[round % 3];
        int count = 0;
        errno = 0;
        while (count < SLOTS && (slots[count] = malloc(size)) != NULL)
            count++;
        EXPECT(count == SLOTS || errno == ENOMEM);
        EXPECT(count > 15);
        void *kept = slots[0];
        EXPECT(realloc(kept, (size_t)90 << 20) == NULL && errno == ENOMEM);
        for (int i = 0; i < count; i++)
            free(slots[i]);
    }
    return expect_end();
}
