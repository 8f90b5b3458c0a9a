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

CC      ?= gcc
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
OPT_tsan        := -O1 -g -DHEAPTALLY_DEBUG=1 -fsanitize=thread
OPT             := $(OPT_$(VARIANT))

BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. $(WARN) $(OPT) -MMD -MP \
               -DHEAPTALLY_VERSION='"$(VERSION)"' -DHEAPTALLY_LIBDIR='"$(LIBDIR)"'
LIB_CFLAGS  := $(BASE_CFLAGS) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -fno-builtin-calloc \
               -fno-builtin-realloc -fno-builtin-free -fno-stack-protector -U_FORTIFY_SOURCE -fno-exceptions \
               -fasynchronous-unwind-tables
TOOL_CFLAGS := $(BASE_CFLAGS)
TOOL_LIBS   := -ldw -lelf -liberty -lzstd -ljansson

ALLOC_SRC  := $(wildcard allocator/*.c)
LIB_SRC    := $(ALLOC_SRC) $(wildcard tracer/record/*.c preload/*.c)
PURE_SRC   := $(wildcard tracer/format/*.c tracer/graph/*.c)
TOOL_PARTS := $(PURE_SRC) $(wildcard tracer/image/*.c tracer/report/*.c tracer/gate/*.c) $(wildcard allocator/walk*.c)
TOOL_SRC   := $(TOOL_PARTS) $(wildcard tracer/tool/*.c)

lib_obj  = $(patsubst %.c,$(B)/lib/%.o,$(1))
tool_obj = $(patsubst %.c,$(B)/tool/%.o,$(1))

UNIT_SRC  := $(wildcard tests/unit/check_*.c)
UNIT_BIN  := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))

.PHONY: all
all: $(if $(filter asan tsan,$(VARIANT)),,$(B)/libheaptally.so) $(B)/heaptally

$(B)/libheaptally.so: $(call lib_obj,$(LIB_SRC)) preload/exports.map
	@mkdir -p $(@D)
	$(CC) -shared -o $@ $(call lib_obj,$(LIB_SRC)) -Wl,--version-script=preload/exports.map \
	    -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-soname,libheaptally.so $(LDFLAGS)

$(B)/heaptally: $(call tool_obj,$(TOOL_SRC))
	@mkdir -p $(@D)
	$(CC) $(OPT) -o $@ $^ $(LDFLAGS) $(TOOL_LIBS)

$(B)/lib/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(LIB_CFLAGS) $(CFLAGS) -c -o $@ $<

$(B)/tool/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(CFLAGS) -c -o $@ $<

# Every unit test links all pure code: the allocator, and the command's parts without its main file.
UNIT_OBJ := $(call tool_obj,$(sort $(ALLOC_SRC) $(TOOL_PARTS) preload/settings.c preload/line.c $(filter-out tracer/tool/main.c,$(wildcard tracer/tool/*.c))))
$(B)/unit/%: tests/unit/%.c $(UNIT_OBJ)
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(CFLAGS) -o $@ $< $(UNIT_OBJ) $(LDFLAGS) $(TOOL_LIBS) -lcheck -lsubunit -lpthread -lm -lrt

.PHONY: unit
unit: $(UNIT_BIN)

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
