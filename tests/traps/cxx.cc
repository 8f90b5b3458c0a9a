/* SPDX-License-Identifier: MIT */
/* C++: operator new throws, its other forms do not, and exceptions work where memory is out. */
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

extern "C" {
#include "trap.h"
}

static volatile size_t too_much = SIZE_MAX / 4;
static void *volatile kept; /* what is kept nowhere may be left out by the compiler */

template <typename Function> static bool throws_bad_alloc(Function function)
{
    try {
        function();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void new_throws_bad_alloc()
{
    for (int i = 0; i < 100; i++) {
        CHECK(throws_bad_alloc([] { return ::operator new(too_much); }));
        CHECK(throws_bad_alloc([] { return ::operator new[](too_much); }));
        CHECK(throws_bad_alloc([] { kept = new char[too_much]; }));
        CHECK(throws_bad_alloc([] { kept = new double[too_much / 8 + 1]; }));
        CHECK(throws_bad_alloc([] { return ::operator new(too_much, std::align_val_t(64)); }));
    }
}

static void nothrow_new_is_null()
{
    CHECK(new (std::nothrow) char[too_much] == nullptr);
    CHECK(::operator new(too_much, std::nothrow) == nullptr);
    CHECK(::operator new(too_much, std::align_val_t(128), std::nothrow) == nullptr);
    char *p = new (std::nothrow) char[100];
    CHECK(p != nullptr);
    delete[] p;
}

static int handled;
static void handler_gives_up()
{
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

static void new_handler_is_asked()
{
    std::set_new_handler(handler_gives_up);
    CHECK(throws_bad_alloc([] { return ::operator new(too_much); }));
    CHECK(handled == 3);
}

struct alignas(256) Wide {
    char text[300];
};

static void aligned_new_is_aligned()
{
    for (int i = 0; i < 200; i++) {
        auto one = std::make_unique<Wide>();
        auto many = std::make_unique<Wide[]>(3);
        CHECK(reinterpret_cast<uintptr_t>(one.get()) % 256 == 0 &&
              reinterpret_cast<uintptr_t>(many.get()) % 256 == 0);
        void *p = ::operator new(1, std::align_val_t(4096));
        CHECK(reinterpret_cast<uintptr_t>(p) % 4096 == 0);
        ::operator delete(p, std::align_val_t(4096));
        CHECK(reinterpret_cast<uintptr_t>(::operator new(8)) % 16 == 0);
    }
}

static void every_delete_takes_its_block()
{
    for (size_t size = 1; size < 100000; size *= 3) {
        ::operator delete(::operator new(size));
        ::operator delete(::operator new(size), size);
        ::operator delete[](::operator new[](size));
        ::operator delete[](::operator new[](size), size);
        ::operator delete(::operator new(size, std::nothrow), std::nothrow);
        ::operator delete(::operator new(size, std::align_val_t(64)), size, std::align_val_t(64));
        ::operator delete[](::operator new[](size, std::align_val_t(64)), std::align_val_t(64));
    }
    ::operator delete(nullptr);
}

static void memory_runs_out()
{
    struct rlimit limit = {64 << 20, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    void *p, *chain = nullptr;
    for (size_t size : {1 << 20, 4096, 16})
        while ((p = std::malloc(size)) != nullptr)
            *static_cast<void **>(p) = chain, chain = p;
}

/* The exception itself must come from somewhere: libstdc++ keeps a pool for it, taken from us before main. */
static void exceptions_work_when_memory_is_out()
{
    memory_runs_out();
    int caught = 0;
    for (int i = 0; i < 1000; i++) {
        try {
            if (i % 2)
                throw i;
            kept = new char[1 << 20];
        } catch (const std::bad_alloc &) {
            caught++;
        } catch (int) {
            caught++;
        }
    }
    CHECK(caught == 1000);
}

static void vectors_recover_from_bad_alloc()
{
    struct rlimit limit = {100 << 20, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int round = 0; round < 5; round++) {
        std::vector<std::string> texts;
        CHECK(throws_bad_alloc([&] {
            for (;;)
                texts.emplace_back(1000 + round, 'x');
        }));
        CHECK(texts.size() > 10000);
    }
}

static void exceptions_in_threads()
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([] {
            for (int j = 0; j < 3000; j++) {
                try {
                    throw std::runtime_error(std::string(200, 'e'));
                } catch (const std::exception &error) {
                    CHECK(std::strlen(error.what()) == 200);
                }
            }
        });
    for (auto &thread : threads)
        thread.join();
}

extern "C" const struct trap traps[] = {
    {"new_throws_bad_alloc", new_throws_bad_alloc, 0},
    {"nothrow_new_is_null", nothrow_new_is_null, 0},
    {"new_handler_is_asked", new_handler_is_asked, 0},
    {"aligned_new_is_aligned", aligned_new_is_aligned, 0},
    {"every_delete_takes_its_block", every_delete_takes_its_block, 0},
    {"exceptions_work_when_memory_is_out", exceptions_work_when_memory_is_out, 0},
    {"vectors_recover_from_bad_alloc", vectors_recover_from_bad_alloc, 0},
    {"exceptions_in_threads", exceptions_in_threads, 0},
    {nullptr, nullptr, 0},
};
