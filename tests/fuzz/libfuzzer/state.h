/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "state/state.h"

/* state_stream - for state.c's input: the saved state of device `which` (the number after the last
 * is the processor) in the machine that head describes; nothing when there is no such machine. */
void state_stream(const uint8_t *head, size_t len, unsigned which, struct state_buf *out);
