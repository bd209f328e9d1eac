/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The binary translator engine. */
#include "engine/engine.h"

extern const struct engine_ops engine_dbt;
