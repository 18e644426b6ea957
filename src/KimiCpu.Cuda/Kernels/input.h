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
  constexpr u32 at_once = 8;
  float squares = 0.f;
  // All of a turn is on its way at once: a thread that has nothing left reads the last value for nothing, since a condition would have each load wait for the one ahead.
  for (u32 first = thread_id(); first < columns; first += at_once * thread_count()) {
    float value[at_once];
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const u32 c = first + j * thread_count();
      value[j] = x[c < columns ? c : columns - 1];
    }
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const float inside = first + j * thread_count() < columns ? value[j] : 0.f;
      squares = multiply_add(inside, inside, squares);
    }
  }
  return inverse_root(divide(block_sum(squares, scratch), (float)columns) + epsilon);
}
