/* SPDX-License-Identifier: MIT */
/*
 * capture.h - the site of the stack of this very moment, by what the same thread's stack was the last time.
 *
 *        the stack now                 last (of this context)
 *     malloc                           malloc
 *     parse_word   --------------->    parse_number              stepped over: new frames
 *     parse_line   == ip, rsp, rbp ==  parse_line   site 31      found: the rest is read again, not walked again
 *     main         == the same words = main         site 12
 *     _start                           _start       site 4
 *
 * Two captures of a thread mostly share all but their innermost frames. A frame is told by its ip and rsp, and by rbp if
 * the steps outward from it begin with that. If one of the last walk is met again, the next frame outward is what it was if
 * the words that the step read still are: a return address, and rbp, where that is needed; for a step that libunwind made,
 * all it read. So one comparison a frame, or two, from the one met outward, show that the whole rest is the same stack. A
 * word that differs ends that, and the walk goes on from there. Each word is compared only after all inner ones: it lies
 * where a walk would read now. By induction the outcome is a whole walk's.
 *
 *     last[i]: frame, path, words_end ---.
 *     words:   | the end | frame 0 | frame 1 | ... |      compared from the right to the left
 *
 * That frame and words lead to the next frame is always true of neighbours in `last`, whatever has happened since. So what
 * was not compared, because only so many frames are shown, may stay there.
 *
 * Most calls come from a place, and through a few frames, that were captured before: what led from there to a frame of the
 * last stack is kept as a known call (context.h), by ip and rsp, and compared first (hot.h). So neither is a step made, nor is
 * `last` changed, which stays as the callers that many such calls share. Of a free only the innermost frames are told, and
 * nothing of `last` is needed: the words that led through them are kept by (ip, rsp), too (capture_free.c).
 *
 * And of stacks that come seldom nothing but the site is kept (capture_pass.c).
 *
 * Plain frames are stepped here, on the caller's stack; others, and the first step into a page of the stack, by the
 * unwinder on the context's. A walk that needs more registers than rsp and rbp is made in full, and leaves nothing for the
 * next time. A stack that is deeper than the limit is known by its innermost frames, which alone are compared.
 *
 * Everything here belongs to the context's thread, and is void when the module list's epoch changes. `last` is empty while
 * it is written: a handler that jumps out in the middle leaves nothing half done.
 */
#ifndef HEAPTALLY_CAPTURE_H
#define HEAPTALLY_CAPTURE_H

#include "tracer/record/code.h"
#include "tracer/record/context.h"

/* `self`: the library, whose frames at the inner end are left out. */
void capture_start(const struct code_object *self);
/* The site of the stack whose innermost frame is `from`, a caller's; the library's own frames are left out. 0 when it
 * cannot be had so, but only by capture_in_full(). Takes some hundred bytes of stack. */
uint32_t capture_quickly(struct context *context, const struct record_caller *from);
/* The site of its innermost RECORD_FREE_DEPTH frames; 0 likewise. */
uint32_t capture_freer(struct context *context, const struct record_caller *from);
/* The same by a whole walk with libunwind's steps for every frame, or `by_rules`; the innermost `most` frames. */
uint32_t capture_in_full(struct context *context, uint32_t most, bool by_rules);
/* Any walk of the caller's stack: ip and registers of the request are filled in. */
enum site_end capture_walk(struct context *context, struct unwind_request *request);

#endif
