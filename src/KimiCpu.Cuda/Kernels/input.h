// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "device.h"

// What a linear layer makes of its input before multiplying.
constexpr u32 input_plain = 0, input_normalized = 1, input_gated = 2;

// What becomes of its output: stored, added to what is there, or, of two weights, silu(first) * second in the first one's place.
constexpr u32 output_stored = 0, output_added = 1, output_gated = 2;

// A value of the input, made ready.
DEVICE float prepare(u32 mode, float x, float aside, float norm) {
  return mode == input_normalized ? x * norm * aside : mode == input_gated ? x * sigmoid(x) * aside : x;
}

// 1 / rms of a row, for every thread of a block of whole warps. Scratch as for block_sum.
DEVICE float inverse_norm(const float* x, u32 columns, float epsilon, float* scratch) {
  float squares = 0.f;
  _Pragma("unroll 8") for (u32 c = thread_id(); c < columns; c += thread_count()) squares = multiply_add(x[c], x[c], squares);
  return inverse_root(divide(block_sum(squares, scratch), (float)columns) + epsilon);
}
