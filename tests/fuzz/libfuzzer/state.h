/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "state/state.h"

#define STATE_CPU 255

/* state_stream - for state.c's input: the saved state of device `which`, counted round, or the
 * processor's, in the machine that head describes; nothing when there is no such machine. */
void state_stream(const uint8_t *head, size_t len, unsigned which, struct state_buf *out);
