/* SPDX-License-Identifier: MIT */
/*
 * phases.c [MIB] - work that comes in waves: each fills up to MIB (default 48) with sizes of its own, then 80 % of it dies
 * at random, and the program is quiet for a while.
 *
 * The survivors of all waves stay to the end. What an allocator keeps of the dead is seen in the valleys.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WAVES    6u
#define SURVIVOR 5u /* one in so many */
#define QUIET_US 300000u

static uint32_t state = 88675123u;

static uint32_t next_number(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* Small and larger waves by turns: 16..80, 128..640, 48..240 bytes and so on, and a few big ones in each. */
static const uint32_t least[WAVES] = {16, 128, 48, 512, 24, 256};

static uint32_t size_in(unsigned wave)
{
    if (next_number() % 1000 == 0)
        return 4096 + next_number() % 60000;
    return least[wave] + next_number() % (4 * least[wave]);
}

/* Of the program's own mappings: they are not what is looked at. */
static void *table(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int main(int argc, char **argv)
{
    size_t budget = (argc > 1 ? strtoul(argv[1], NULL, 10) : 48) << 20, kept = 0;
    for (unsigned wave = 0; wave < WAVES; wave++) {
        size_t count = 0, room = budget / least[wave] / 2, live = kept;
        char **block = table(room * sizeof(*block));
        uint32_t *size = table(room * sizeof(*size));
        if (block == NULL || size == NULL)
            return 1;
        for (; live < budget && count < room; count++) {
            size[count] = size_in(wave);
            block[count] = malloc(size[count]);
            memset(block[count], 1, size[count]);
            live += size[count];
        }
        for (size_t i = 0; i < count; i++) {
            if (next_number() % SURVIVOR == 0)
                kept += size[i];
            else
                free(block[i]);
        }
        munmap(block, room * sizeof(*block));
        munmap(size, room * sizeof(*size));
        usleep(QUIET_US);
        free(malloc(100)); /* allocators work when they are called */
    }
    return 0;
}
