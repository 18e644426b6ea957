// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "device.h"

// What a linear layer makes of its input before multiplying.
constexpr u32 input_plain = 0, input_normalized = 1, input_gated = 2;

// A value of the input, made ready.
DEVICE float prepare(u32 mode, float x, float aside, float norm) {
  return mode == input_normalized ? x * norm * aside : mode == input_gated ? x * sigmoid(x) * aside : x;
}
