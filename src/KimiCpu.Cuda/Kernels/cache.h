// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "device.h"

// Where the tokens of a batch stand in the paged cache of latents. The host's CacheArguments has the same layout.
struct Cache {
  u8* layer;             // the layer's slots in page 0
  const u32* lengths;    // (batch) tokens that a row sees, its own last
  const u32* tables;     // (batch) where the row's page table begins in pages
  const u32* pages;
  u64 page_bytes;        // from page to page
  u32 latent, rope;      // values of a slot, BF16: the latent, then the rotated key
};

constexpr u32 page_tokens = 64;

// A row's cache is cut by its length alone, so that its sums do not depend on what else is in the batch.
constexpr u32 max_splits = 32, split_tokens = 128;
DEVICE u32 splits_of(u32 length) {
  const u32 splits = (length + split_tokens - 1) / split_tokens;
  return splits < max_splits ? splits : max_splits;
}
// The first token of a split; whole tiles of 32 tokens, none across a page's end.
DEVICE u32 split_begin(u32 length, u32 splits, u32 split) {
  const u32 tiles = (length + 31) / 32, per_split = (tiles + splits - 1) / splits, begin = split * per_split * 32;
  return begin < length ? begin : length;
}
DEVICE u16* slot_of(const Cache& c, const u32* table, u32 token) {
  return (u16*)(c.layer + table[token / page_tokens] * c.page_bytes) + (u64)(token % page_tokens) * (c.latent + c.rope);
}

// Both kernels of attention take these.
struct AttendArguments {
  Cache cache;
  const u16* absorbed;   // (batch, heads, latent + rope) BF16, scaled by log2 e
  float* partial;        // (batch, heads, max_splits, latent)
  float* log_sums;       // (batch, heads, max_splits), base 2
  u32 heads;
};
