// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "input.h"
#include "weights.h"

// y[r, o] (+)= sum over c of f(x)[r, c] W[o, c], for the rows of one or two weights with the same input. f: nothing; x / rms(x) * gain;
// or silu(x) * up.
struct LinearArguments {
  Matrix first, second;   // second.rows is 0 where there is one weight
  float* first_output;    // (batch, first.rows)
  float* second_output;
  const float* input;     // (batch, columns)
  const float* aside;     // gain (columns) or up (batch, columns)
  const u32* row_map;     // which row of the input a row of the batch is; null for the same
  u32 batch, mode, output;
  float epsilon;
};

// The row of the input that a row of the batch is; rows behind the last one repeat it, and their sums are not stored.
DEVICE u32 source_row(const LinearArguments& a, u32 row) {
  const u32 wanted = row < a.batch ? row : a.batch - 1;
  return a.row_map ? a.row_map[wanted] : wanted;
}
