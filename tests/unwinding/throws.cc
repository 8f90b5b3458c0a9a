// SPDX-License-Identifier: MIT
//
// throws.cc - exceptions through many frames, with blocks allocated and freed on the way.
//
//   throws FRAMES TIMES EVERY    prints what was caught, how many objects were destroyed, and the sum of what they held
//
// Each 32nd frame has an object that the unwinding must destroy, and at each EVERYth level, of two frames, is a block that it
// must free; 0: at none. What is thrown has a text on the heap, and is caught and thrown anew half way up.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

#define OWN __attribute__((noipa))

static unsigned long caught, destroyed, sum, middle, every;

struct Guard {
    unsigned long level;
    ~Guard()
    {
        destroyed++;
        sum += level;
    }
};

OWN static void descend(unsigned long depth);

OWN static void plain(unsigned long depth)
{
    descend(depth);
    __asm__ volatile("" : : : "memory");
}

OWN static void guarded(unsigned long depth)
{
    Guard guard{depth};
    descend(depth);
    __asm__ volatile("" : : "r"(&guard) : "memory");
}

OWN static void holding(unsigned long depth)
{
    auto held = std::make_unique<std::string>(64 + depth % 100, 'x');
    descend(depth);
    __asm__ volatile("" : : "r"(held.get()) : "memory");
}

OWN static void again(unsigned long depth)
{
    try {
        descend(depth);
    } catch (const std::exception &error) {
        caught++;
        throw std::runtime_error(std::string(error.what()) + ", and again, from half way up");
    }
}

OWN static void descend(unsigned long depth)
{
    if (depth == 0)
        throw std::out_of_range("a text that is too long to be kept in the object itself");
    depth--;
    if (depth == middle)
        again(depth);
    else if (every && depth % every == 0)
        holding(depth);
    else if (depth % 16 == 0)
        guarded(depth);
    else
        plain(depth);
    __asm__ volatile("" : : : "memory");
}

int main(int count, char **words)
{
    unsigned long depth = count == 4 ? strtoul(words[1], nullptr, 10) : 0;
    unsigned long times = count == 4 ? strtoul(words[2], nullptr, 10) : 0;

    if (depth < 8 || times == 0)
        return 2;
    every = strtoul(words[3], nullptr, 10);
    depth /= 2; // each level is two frames
    middle = depth / 2;
    for (unsigned long i = 0; i < times; i++) {
        auto before = std::make_unique<std::string>(200, 'y');
        try {
            descend(depth);
        } catch (const std::exception &error) {
            caught++;
            sum += std::string(error.what()).size();
        }
    }
    printf("caught %lu destroyed %lu sum %lu\n", caught, destroyed, sum);
    return 0;
}
