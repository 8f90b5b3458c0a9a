/* SPDX-License-Identifier: MIT */
/*
 * cxx_thread_leaks.cc - lost in the body of a std::thread: the stack reaches the lambda.
 *
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 root=build_in_thread stack=build_in_thread
 */
#include <thread>

#include "leak.h"

OWN static void build_in_thread()
{
    OPAQUE(new long[5]);
}

OWN static void build()
{
    std::thread t([] {
        build_in_thread();
        scrub();
    });

    t.join();
}

int main()
{
    build();
    scrub();
    return 0;
}
