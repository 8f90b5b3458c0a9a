// SPDX-License-Identifier: MIT
// operator new and delete in all forms.
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "expect.h"

struct alignas(64) wide {
    char bytes[128];
};

static void all_forms(void)
{
    int *volatile a = new int(1);
    delete a;
    int *volatile b = new int[100];
    delete[] b;
    std::string *volatile c = new std::string[10];
    delete[] c;
    wide *volatile d = new wide, *volatile e = new wide[3];
    EXPECT((uintptr_t)d % 64 == 0 && (uintptr_t)e % 64 == 0);
    delete d;
    delete[] e;
    int *volatile f = new (std::nothrow) int(1);
    operator delete(f, std::nothrow);
    delete (int *)nullptr;
    std::vector<std::string> words;
    for (int i = 0; i < 1000; i++)
        words.push_back(std::string((std::size_t)i, 'x'));
}

static void too_much_throws(void)
{
    bool thrown = false;
    volatile std::size_t much = SIZE_MAX / 4;
    try {
        delete[] new char[much * 2];
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    EXPECT(thrown);
}

int main()
{
    all_forms();
    too_much_throws();
    return expect_end();
}
