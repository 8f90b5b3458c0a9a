/* SPDX-License-Identifier: MIT */
/*
 * plugins/deep_plugin.cc - a C++ library that throws, catches and loses a block.
 */
#include <cstdlib>
#include <stdexcept>

#include "../leak.h"

OWN static void inner(int n)
{
    OPAQUE(new long[8]);
    if (n > 0)
        throw std::runtime_error("thrown in the plugin");
}

extern "C" void plugin_run(int n)
{
    try {
        inner(n);
    } catch (const std::exception &) {
    }
}
