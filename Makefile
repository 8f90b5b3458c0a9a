# heaptally: build, test, install. `make help` lists the targets.
#
# VARIANT chooses how things are built and where they land:
#   (empty)  release, build/          debug  assertions and whole-heap verify, build/debug/
#   asan     AddressSanitizer + UBSan, build/asan/      tsan  ThreadSanitizer, build/tsan/
# The preloaded library is a malloc itself, so the sanitizer variants build the pure parts, the command and
# their unit tests, never libheaptally.so.

VERSION := 0.1.0
VARIANT ?=
B       := build$(if $(VARIANT),/$(VARIANT))

ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR  := $(PREFIX)/bin
LIBDIR  := $(PREFIX)/lib/heaptally
INCDIR  := $(PREFIX)/include
MANDIR  := $(PREFIX)/share/man

WARN := -Wall -Wextra -Wundef -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wcast-qual -Wwrite-strings
ifeq ($(CI),true)
WARN += -Werror
endif

OPT_            := -O2 -g
OPT_debug       := -O1 -g -DHEAPTALLY_DEBUG=1
OPT_asan        := -O1 -g -DHEAPTALLY_DEBUG=1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
# What two fences order (preload/freed.c) are atomics in any case; TSan says it does not know fences.
OPT_tsan        := -O1 -g -DHEAPTALLY_DEBUG=1 -fsanitize=thread -Wno-tsan
OPT             := $(OPT_$(VARIANT))

BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. $(WARN) $(OPT) -MMD -MP \
               -DHEAPTALLY_VERSION='"$(VERSION)"' -DHEAPTALLY_LIBDIR='"$(LIBDIR)"'
LIB_CFLAGS  := $(BASE_CFLAGS) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -fno-builtin-calloc \
               -fno-builtin-realloc -fno-builtin-free -fno-stack-protector -U_FORTIFY_SOURCE -fno-exceptions \
               -fasynchronous-unwind-tables -ffunction-sections
TOOL_CFLAGS := $(BASE_CFLAGS)
TOOL_LIBS   := -ldw -lelf -liberty -lzstd -ljansson -lncurses

ALLOC_SRC  := $(wildcard allocator/*.c)
# The walker reads a frozen process from outside, and allocates: it is the command's, never the library's.
LIB_SRC    := $(filter-out allocator/walk%.c,$(ALLOC_SRC)) $(wildcard tracer/record/*.c preload/*.c)
PURE_SRC   := $(wildcard tracer/format/*.c tracer/graph/*.c)
TOOL_PARTS := $(PURE_SRC) $(wildcard tracer/image/*.c tracer/report/*.c tracer/gate/*.c tracer/frag/*.c) $(wildcard allocator/walk*.c)
TOOL_SRC   := $(TOOL_PARTS) $(wildcard tracer/tool/*.c)

lib_obj  = $(patsubst %.c,$(B)/lib/%.o,$(1))
tool_obj = $(patsubst %.c,$(B)/tool/%.o,$(1))

UNIT_SRC  := $(wildcard tests/unit/check_*.c)
UNIT_BIN  := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))

.DEFAULT_GOAL := all

.PHONY: help
help: ## print this
	@echo 'make TARGET [VARIANT=debug|asan|tsan] [PREFIX=/usr/local] [DESTDIR=]'
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | sort | while IFS='|' read -r t w; do \
	    printf '  %-12s %s\n' "$$t" "$$w"; done

.PHONY: all
all: $(if $(filter asan tsan,$(VARIANT)),,$(B)/libheaptally.so) $(B)/heaptally ## build the library and the command

$(B)/libheaptally.so: $(call lib_obj,$(LIB_SRC)) preload/exports.map preload/sections.ld
	@mkdir -p $(@D)
	$(CC) -shared -o $@ $(call lib_obj,$(LIB_SRC)) -Wl,--version-script=preload/exports.map -Wl,-T,preload/sections.ld \
	    -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-soname,libheaptally.so $(LDFLAGS)

$(B)/heaptally: $(call tool_obj,$(TOOL_SRC))
	@mkdir -p $(@D)
	$(CC) $(OPT) -o $@ $^ $(LDFLAGS) $(TOOL_LIBS)

# What every program makes resident, and hardly any runs often (preload/sections.ld): short before fast.
SHORT_SRC := $(addprefix allocator/,metadata.c orphanage.c own.c platform.c pool_pages.c purge.c vanished.c) \
             $(addprefix preload/,delete.c fork.c settings.c start.c sweep.c)
ifeq ($(VARIANT),)
$(call lib_obj,$(SHORT_SRC)): SHORT := -Os
endif

$(B)/lib/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(LIB_CFLAGS) $(SHORT) $(CFLAGS) -c -o $@ $<

$(B)/tool/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(CFLAGS) -c -o $@ $<

# Every unit test links all pure code: the allocator, the recorder, and the command's parts without its main file.
# Objects that only the tests use are kept: they are no intermediate files.
.SECONDARY:
UNIT_OBJ := $(call tool_obj,$(sort $(ALLOC_SRC) $(wildcard tracer/record/*.c) $(TOOL_PARTS) preload/settings.c preload/line.c preload/freed.c preload/quarantine.c $(filter-out tracer/tool/main.c,$(wildcard tracer/tool/*.c))))
$(B)/unit/%: tests/unit/%.c $(UNIT_OBJ)
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(CFLAGS) -o $@ $< $(UNIT_OBJ) $(LDFLAGS) $(TOOL_LIBS) -lcheck -lsubunit -lpthread -lm -lrt

.PHONY: unit
unit: $(UNIT_BIN) ## build the unit tests

$(B)/stress/%: tests/stress/%.c $(call tool_obj,$(ALLOC_SRC))
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(CFLAGS) -o $@ $< $(call tool_obj,$(ALLOC_SRC)) $(LDFLAGS) -lpthread

# The same program over the pure allocator and over malloc.
$(B)/stress/soak_pure $(B)/stress/soak_malloc: $(B)/stress/soak_%: tests/stress/soak.c tests/stress/soak_%.c $(call tool_obj,$(ALLOC_SRC))
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(TOOL_CFLAGS)) $(CFLAGS) -o $@ $(filter tests/%,$^) $(call tool_obj,$(ALLOC_SRC)) $(LDFLAGS) -lpthread -lm

MINUTES ?= 30
.PHONY: soak
soak: all $(B)/stress/soak_pure $(B)/stress/soak_malloc ## two threads for MINUTES=30: no slope in resident memory
	$(B)/stress/soak_pure $(MINUTES) & pure=$$!; \
	LD_PRELOAD=$(abspath $(B)/libheaptally.so) $(B)/stress/soak_malloc $(MINUTES) >$(B)/stress/soak_malloc.log 2>&1; code=$$?; \
	wait $$pure || code=1; tail -1 $(B)/stress/soak_malloc.log; exit $$code

SECONDS_OF_STRESS ?= 10
.PHONY: stress
stress: $(B)/stress/stress_allocator ## threads, forks, purges at once on the pure allocator
	$< $(SECONDS_OF_STRESS)

# Built as the leak corpus is: no frame pointers, every frame kept.
build/stress/random_heap: tests/stress/random_heap.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -O2 -g -pthread -fomit-frame-pointer -fno-optimize-sibling-calls -o $@ $<

SEEDS ?= 200
.PHONY: stress-leaks
stress-leaks: all build/stress/random_heap ## SEEDS=200 random heaps: is what is found what is there by definition?
	tests/stress/random_heap.py build/stress/random_heap $(B)/heaptally --count=$(SEEDS)

# 10^9 operations beside the shadow, over the 20 runs; and every kernel call failing in every way, in longer traces.
MODEL_STEPS ?= 92000000
.PHONY: model-long fault-long
model-long: $(B)/unit/check_model ## a thousand million operations beside a shadow map
	HEAPTALLY_STEPS=$(MODEL_STEPS) $<
fault-long: $(B)/unit/check_fault ## each kernel call failing, in each way
	HEAPTALLY_EVERY=1 HEAPTALLY_STEPS=40000 $<

# The real allocator under a scheduler (tests/interleave/scheduler.h): what may run in any order is instrumented as for
# ThreadSanitizer, whose runtime is not linked. INTERLEAVE_FROM: another tree's allocator, for the selftest.
INTERLEAVE_FROM   ?= .
INTERLEAVE_OUT    ?= $(B)/interleave
INTERLEAVE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I$(INTERLEAVE_FROM) -I. $(WARN) -O1 -g -fno-builtin -fno-pie -MMD -MP
INTERLEAVE_SRC    := $(filter-out allocator/platform.c allocator/walk%.c,$(ALLOC_SRC))
INTERLEAVE_OBJ    := $(patsubst %.c,$(INTERLEAVE_OUT)/%.o,$(INTERLEAVE_SRC) $(wildcard tests/interleave/*.c))
UNSEEN            := $(patsubst %,$(INTERLEAVE_OUT)/tests/interleave/%.o,scheduler scheduler_hooks explore)

$(UNSEEN): $(INTERLEAVE_OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(INTERLEAVE_CFLAGS) -c -o $@ $<
$(INTERLEAVE_OUT)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(INTERLEAVE_CFLAGS) -fsanitize=thread -c -o $@ $<
$(INTERLEAVE_OUT)/%.o: $(INTERLEAVE_FROM)/%.c
	@mkdir -p $(@D)
	$(CC) $(INTERLEAVE_CFLAGS) -fsanitize=thread -c -o $@ $<
$(INTERLEAVE_OUT)/interleave: $(INTERLEAVE_OBJ)
	$(CC) -no-pie -o $@ $^ -Wl,--wrap=memset,--wrap=memcpy,--wrap=memmove

.PHONY: interleave interleave-long
interleave: $(INTERLEAVE_OUT)/interleave ## build the program that runs threads in every order
interleave-long: interleave ## every order of every scenario, to the end
	$(INTERLEAVE_OUT)/interleave --long

# The demo's program: as people build theirs.
build/demo/leaky: scripts/leaky.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O2 -g -o $@ $<

.PHONY: debug asan tsan
debug: ## build everything with assertions, in build/debug
	$(MAKE) VARIANT=debug all unit
asan: ## build the pure parts and their tests with ASan and UBSan, in build/asan
	$(MAKE) VARIANT=asan all unit
tsan: ## build the pure parts and their tests with TSan, in build/tsan
	$(MAKE) VARIANT=tsan all unit

.PHONY: check
check: ## run all quick tests with what is installed; scripts/test installs first and runs more
	scripts/test --no-setup --quick

.PHONY: bench
bench: all ## the million-block check, and the allocator beside four others; BENCH=--rounds=1
	scripts/bench-check
	scripts/bench-allocators --build=$(B) $(BENCH)

.PHONY: bench-readme
bench-readme: all ## measure the allocators, and put the tables into README.md
	scripts/bench-allocators --build=$(B) --readme $(BENCH)

# --- the source itself ---
SOURCES := $(sort $(shell find allocator preload tracer tests scripts -name '*.[ch]' -o -name '*.cc' 2>/dev/null))
LINTED  := $(sort $(LIB_SRC) $(TOOL_SRC))

.PHONY: format
format: ## clang-format over all sources
	clang-format -i $(SOURCES)

.PHONY: lint
lint: ## clang-tidy and cppcheck over the product; any finding fails
	@test -n '$(LINTED)'
	printf '%s\n' $(LINTED) | xargs -P "$$(nproc)" -n 8 sh -c 'clang-tidy --quiet --warnings-as-errors="*" "$$@" -- \
	    -std=gnu17 -D_GNU_SOURCE -I. -DHEAPTALLY_VERSION=\"$(VERSION)\" -DHEAPTALLY_LIBDIR=\"$(LIBDIR)\"' clang-tidy
	cppcheck -j "$$(nproc)" --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    --suppressions-list=scripts/cppcheck.suppressions -I. -D_GNU_SOURCE -D__x86_64__ -DHEAPTALLY_VERSION='""' -DHEAPTALLY_LIBDIR='""' $(LINTED)

# --- installing: bin/heaptally looks for the library in LIBDIR, or beside itself in a build tree ---
MANPAGE := $(firstword $(wildcard tracer/tool/heaptally.1 man/heaptally.1 docs/heaptally.1))

.PHONY: install
install: all ## install under DESTDIR and PREFIX
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(INCDIR) $(DESTDIR)$(MANDIR)/man1
	install -m 755 $(B)/heaptally $(DESTDIR)$(BINDIR)/heaptally
	install -m 644 $(B)/libheaptally.so $(DESTDIR)$(LIBDIR)/libheaptally.so
	install -m 644 preload/heaptally.h $(DESTDIR)$(INCDIR)/heaptally.h
	$(if $(MANPAGE),install -m 644 $(MANPAGE) $(DESTDIR)$(MANDIR)/man1/heaptally.1)

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(BINDIR)/heaptally $(DESTDIR)$(LIBDIR)/libheaptally.so $(DESTDIR)$(INCDIR)/heaptally.h \
	    $(DESTDIR)$(MANDIR)/man1/heaptally.1
	-rmdir $(DESTDIR)$(LIBDIR)

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
