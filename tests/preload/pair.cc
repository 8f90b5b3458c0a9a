// SPDX-License-Identifier: MIT
// A program that links a library with operators of its own: every delete goes to them, not to the preloaded
// ones.
#include "expect.h"

extern int pair_deleted;
extern "C" int pair_works(void);

int main()
{
    for (int i = 0; i < 100; i++) {
        int *volatile p = new int(i);
        delete p;
    }
    EXPECT(pair_deleted == 100);
    EXPECT(pair_works());
    return expect_end();
}
