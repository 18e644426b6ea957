// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "cache.h"

// Tiles of 32 tokens of Kimi K2's cache, latent 512 and rope 64, in shared memory.
namespace mla_tile {
constexpr u32 width = 576, latent = 512, tile = 32;
constexpr u32 row = 584;   // values from row to row: 16 bytes more than a slot, so that no two rows of a matrix share banks

// Eight threads a slot, nine pieces of 16 bytes each: one address and constants. Tokens behind the end become zeros.
DEVICE void load_tile(u16* target, const Cache& cache, const u32* table, u32 first, u32 end) {
  const u32 token = thread_id() / 8, part = thread_id() % 8 * 8;
  const bool inside = first + token < end;
  const u16* slot = slot_of(cache, table, first) + (inside ? token : 0) * width + part;
  UNROLL for (u32 i = 0; i < width / 64; i++) copy_async(target + token * row + part + i * 64, slot + i * 64, inside);
  copy_async_commit();
}
}
