/* SPDX-License-Identifier: MIT */
/*
 * cxx_exception.cc - thrown past the frame that should have freed a block; the exception itself is freed by
 * its handler.
 *
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=inner<build<main
 */
#include <stdexcept>
#include <string>

#include "leak.h"

OWN static void inner(int n)
{
    long *p = OPAQUE(new long[5]);

    if (n > 0)
        throw std::runtime_error(std::string(100, 'x'));
    delete[] p;
}

OWN static void build()
{
    for (int i = 0; i < 1; i++) {
        try {
            inner(1);
        } catch (const std::exception &) {
        }
    }
}

int main()
{
    build();
    scrub();
    return 0;
}
