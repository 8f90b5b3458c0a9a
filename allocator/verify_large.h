/* SPDX-License-Identifier: MIT */
/*
 * verify_large.h - the part of the validator that looks at caches of spans and mappings. Internal to verify.c.
 */
#ifndef HEAPTALLY_VERIFY_LARGE_H
#define HEAPTALLY_VERIFY_LARGE_H

/* Arena and purge locks held, no other thread in the allocator. The first breach of span.h's and mapping.h's
 * invariants and where it is, or NULL. */
const char *verify_large(const void **ret_where);

#endif
