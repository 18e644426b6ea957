// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "device.h"

// The tensor cores take BF16, 8 bits of a value. Activations come to them as the sum of two: what rounding leaves is
// rounded again, so that 17 bits count. A row of parts: all high ones, then all low ones, stride values each.
struct Parts { u32 high, low; };   // of two neighbouring columns
DEVICE Parts split_pair(float first, float second) {
  const u32 high = to_bf16_pair(first, second);
  return Parts{high, to_bf16_pair(first - bf16_low(high), second - bf16_high(high))};
}

// Where a pair of columns stands in a row. A thread gets four neighbouring bytes of a weight of 8 bits at once and not two
// by two, so the columns of sixteen are in the order 0 1 4 5 8 9 12 13 2 3 6 7 10 11 14 15 for these.
DEVICE u32 pair_place(u32 pair, u32 for_bytes) {
  return for_bytes ? (pair & ~7u) | ((pair & 7) >> 1) | ((pair & 1) << 2) : pair;
}
