/* SPDX-License-Identifier: MIT */
/* A library with a pair of operators of its own: blocks from an array, which no malloc has ever seen. */
#include <cstddef>
#include <new>

static char room[1 << 20];
static std::size_t used;
int pair_deleted;

void *operator new(std::size_t size)
{
    void *p = room + used;
    used += (size + 31) & ~(std::size_t)15;
    return p;
}
void operator delete(void *p) noexcept
{
    pair_deleted += p != nullptr;
}
void operator delete(void *p, std::size_t) noexcept
{
    pair_deleted += p != nullptr;
}

extern "C" int pair_works(void)
{
    int before = pair_deleted;
    for (int i = 0; i < 10; i++) {
        int *volatile p = new int(i);
        delete p;
    }
    return pair_deleted - before == 10;
}
