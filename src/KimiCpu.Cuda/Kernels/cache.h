// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "device.h"

// Where the tokens of a batch stand in the paged cache of latents. The host's CacheArguments has the same layout.
struct Cache {
  u8* layer;             // the layer's part of page 0
  const u32* lengths;    // (batch) tokens that a row sees, its own last
  const u32* tables;     // (batch) where the row's page table begins in pages
  const u32* pages;
  u64 page_bytes;        // from page to page
  u32 latent, rope;      // values of a token: the latent, then the rotated key
};

constexpr u32 page_tokens = 64;

DEVICE u8* page_of(const Cache& c, const u32* table, u32 token) { return c.layer + table[token / page_tokens] * c.page_bytes; }

// Where a token's values are, in one of two formats; the host's CacheLayout has them too. In BF16 a latent has its key behind it.
struct BFloat16Token {
  u16* latent;
  u16* key;
  DEVICE static BFloat16Token at(const Cache& c, const u32* table, u32 token) {
    u16* latent = (u16*)page_of(c, table, token) + (u64)(token % page_tokens) * (c.latent + c.rope);
    return BFloat16Token{latent, latent + c.latent};
  }
  // Of the latent and its key.
  DEVICE float value(const Cache&, u32 i) const { return from_bf16(latent[i]); }
  // From the key of a token to that of the next one on its page.
  DEVICE static u32 key_stride(const Cache& c) { return c.latent + c.rope; }
  // Sixteen columns of the latent from one that is a multiple of it.
  DEVICE void columns(u32 first, Words4& low, Words4& high) const {
    low = *(const Words4*)(latent + first);
    high = *(const Words4*)(latent + first + 8);
  }
};

// In 8 bits a page has first the latents of its tokens, signed bytes, then their keys, BF16, and last their factors, a binary16 for
// 128 columns. Each part begins aligned whatever the sizes, no token is padded (648 bytes of Kimi K2, 40 and a half times 16), and
// the factors of neighbouring tokens are copied together.
constexpr u32 factor_columns = 128;
struct Int8Token {
  signed char* latent;
  u16* key;
  u16* factors;
  DEVICE static Int8Token at(const Cache& c, const u32* table, u32 token) {
    u8* page = page_of(c, table, token);
    const u32 slot = token % page_tokens, groups = (c.latent + factor_columns - 1) / factor_columns;
    u16* keys = (u16*)(page + page_tokens * c.latent);
    return Int8Token{(signed char*)page + slot * c.latent, keys + slot * c.rope, keys + page_tokens * c.rope + slot * groups};
  }
  DEVICE float value(const Cache& c, u32 i) const {
    return i < c.latent ? (float)latent[i] * from_f16(factors[i / factor_columns]) : from_bf16(key[i - c.latent]);
  }
  DEVICE static u32 key_stride(const Cache& c) { return c.rope; }
  // Their values rounded to BF16.
  DEVICE void columns(u32 first, Words4& low, Words4& high) const {
    const Words4 bytes = *(const Words4*)(latent + first);
    const float factor = from_f16(factors[first / factor_columns]);
    low = Words4{pair(bytes.x, factor), pair(bytes.x >> 16, factor), pair(bytes.y, factor), pair(bytes.y >> 16, factor)};
    high = Words4{pair(bytes.z, factor), pair(bytes.z >> 16, factor), pair(bytes.w, factor), pair(bytes.w >> 16, factor)};
  }
  DEVICE static u32 pair(u32 bytes, float factor) {
    return to_bf16_pair((float)((int)(bytes << 24) >> 24) * factor, (float)((int)(bytes << 16) >> 24) * factor);
  }
};

// A row's cache is cut by its length and by what the card takes at once, most, so that its sums do not depend on what else is in the batch.
constexpr u32 max_splits = 32, split_tokens = 128;
DEVICE u32 splits_of(u32 length, u32 most) {
  const u32 splits = (length + split_tokens - 1) / split_tokens;
  return splits < most ? splits : most;
}
// The first token of a split; whole tiles of 32 tokens, none across a page's end.
DEVICE u32 split_begin(u32 length, u32 splits, u32 split) {
  const u32 tiles = (length + 31) / 32, per_split = (tiles + splits - 1) / splits, begin = split * per_split * 32;
  return begin < length ? begin : length;
}

// Both kernels of attention take these.
struct AttendArguments {
  Cache cache;
  const u16* absorbed;   // (batch, heads, latent + rope) BF16, scaled by log2 e
  float* partial;        // (batch, heads, max_splits, latent)
  float* log_sums;       // (batch, heads, max_splits), base 2
  u32 heads;
  u32 most_splits;       // 1 … max_splits, the same for all rows of a model
};
