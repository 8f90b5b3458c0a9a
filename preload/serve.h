/* SPDX-License-Identifier: MIT */
/*
 * serve.h - a frozen process answers READ and MAPS about itself until the companion says DONE or has gone.
 *
 * Memory is written to the socket from where it lies, without a copy. How much of a range can be read is
 * found out before, page by page, by a system call that fails politely. Needs little stack. Holder of the
 * freeze lock only.
 */
#ifndef HEAPTALLY_SERVE_H
#define HEAPTALLY_SERVE_H

#include <stdbool.h>

#include "preload/channel.h"

/* true: the companion said DONE. false: the connection is over. */
bool serve(struct channel *channel);

#endif
