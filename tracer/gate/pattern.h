/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - does a name match a suppression's pattern.
 *
 *      ^  src/  *  .c  $        '^' first: at the text's start      '*': any run, also an empty one
 *                               '$': the text's end; what follows it in the pattern is not looked at
 *
 * Without '^' the match may begin anywhere, without '$' end anywhere. An empty text matches nothing, not even
 * "*": a frame without a name is not every frame. An empty pattern matches every text that is not empty, "$"
 * alone none. All this is as in LeakSanitizer. In one thing we take the manual's word instead of the code's:
 * "ab$" matches "abab", where LeakSanitizer tries the first "ab" only and gives up.
 */
#ifndef HEAPTALLY_PATTERN_H
#define HEAPTALLY_PATTERN_H

#include <stdbool.h>

bool pattern_matches(const char *pattern, const char *text);

#endif
