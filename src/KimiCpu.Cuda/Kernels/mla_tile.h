// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "cache.h"
#include "weights.h"

// Tiles of 32 tokens of Kimi K2's cache, latent 512 and rope 64, in shared memory, and what the tensor cores take of them. Several
// warps have a part of the values each: halves or quarters.
namespace mla_tile {
constexpr u32 latent = 512, rope = 64, width = latent + rope, tile = 32;

// A (16 heads, 16 columns) straight from rows of BF16.
DEVICE void load_query(u32 (&a)[4], const u16* query, u32 stride) {
  const u16* p = query + (lane() >> 2) * stride + (lane() & 3) * 2;
  UNROLL for (u32 i = 0; i < 4; i++) a[i] = *(const u32*)(p + (i & 1) * 8 * stride + (i >> 1) * 8);
}

// d (16 heads, 8 tokens by Octets) += the query times so many sixteens of columns of BF16 keys.
template <u32 Steps, u32 Octets>
DEVICE void multiply_keys(float (&d)[Octets][4], const u32 (*query)[4], const u8* keys, u32 row) {
  const u32 l = lane();
  if constexpr (Octets == 1) {
    // Even and odd steps have sums of their own: a product waits for the one before that adds to the same.
    float odd[4] = {0.f, 0.f, 0.f, 0.f};
    UNROLL for (u32 k = 0; k < Steps; k += 2) {
      u32 b[4];
      load_matrices(b, keys + (l & 7) * row + k * 32 + (l >> 3) * 16);
      multiply_matrices(d[0], query[k], b[0], b[1]);
      multiply_matrices(odd, query[k + 1], b[2], b[3]);
    }
    UNROLL for (u32 i = 0; i < 4; i++) d[0][i] += odd[i];
  } else {
    UNROLL for (u32 k = 0; k < Steps; k++) {
      UNROLL for (u32 n = 0; n < Octets; n += 2) {
        u32 b[4];
        load_matrices(b, keys + (n * 8 + (l & 7) + (l >> 4) * 8) * row + k * 32 + (l >> 3 & 1) * 16);
        multiply_matrices(d[n], query[k], b[0], b[1]);
        multiply_matrices(d[n + 1], query[k], b[2], b[3]);
      }
    }
  }
}

// Rows in shared memory are 16 bytes longer than their values, so that no two rows of a matrix share banks.
struct BFloat16Tile {
  static constexpr u32 row = width * 2 + 16, bytes = tile * row;
  static constexpr u32 groups = 1;   // of columns that have a factor of their own

  // Eight threads a token, nine pieces of 16 bytes each: one address and constants. Tokens behind the end become zeros.
  DEVICE static void load(u8* target, const Cache& cache, const u32* table, u32 first, u32 end) {
    const u32 token = thread_id() / 8, part = thread_id() % 8 * 16;
    const bool inside = first + token < end;
    const u8* source = (const u8*)BFloat16Token::at(cache, table, first).latent + (inside ? token : 0) * (width * 2) + part;
    UNROLL for (u32 i = 0; i < width / 64; i++) copy_async(target + token * row + part + i * 128, source + i * 128, inside);
    copy_async_commit();
  }
  template <u32 Parts>
  DEVICE static void load_query(u32 (&a)[36 / Parts][4], const u16* query, u32 stride, u32 part) {
    UNROLL for (u32 k = 0; k < 36 / Parts; k++) mla_tile::load_query(a[k], query + part * (width / Parts) + k * 16, stride);
  }
  // d (16 heads, 8 tokens by Octets) += a part of the query times that of the keys of the tokens from one on.
  template <u32 Parts, u32 Octets>
  DEVICE static void multiply_part(float (&d)[Octets][4], const u32 (&query)[36 / Parts][4], const u8* tile, u32 token, u32 part) {
    multiply_keys<36 / Parts, Octets>(d, query, tile + token * row + part * (width * 2 / Parts), row);
  }
  DEVICE static void load_factors(float (&factors)[1], const u8*, u32, bool) { factors[0] = 1.f; }
  static constexpr float of_values = 1.f;   // what sums over load_values are multiplied by
  // B (16 tokens, 8 columns by four) of the latents.
  DEVICE static void load_values(u32 (&b)[4][2], const u8* tile, u32 token, u32 column) {
    UNROLL for (u32 i = 0; i < 4; i += 2) {
      u32 r[4];
      load_matrices_transposed(r, tile + (token + (lane() & 15)) * row + (column + i * 8) * 2 + (lane() >> 4) * 16);
      b[i][0] = r[0]; b[i][1] = r[1];
      b[i + 1][0] = r[2]; b[i + 1][1] = r[3];
    }
  }
  // Sums become those of two neighbouring columns each, and which ones: of the 64 that eight of them have.
  DEVICE static void order_columns(float (&)[8][4]) {}
  DEVICE static u32 column_of(u32 i) { return i * 8 + (lane() & 3) * 2; }
};

// Signed bytes are BF16 as they are, and no product is rounded before its factor: those of keys are applied to the sums of 128 columns, and
// those of values to the weight of the token, which is rounded to BF16 with each instead of without any.
struct Int8Tile {
  static constexpr u32 row = latent + rope * 2 + 16, bytes = tile * (row + 8);   // factors are behind the rows
  static constexpr u32 groups = latent / factor_columns;

  DEVICE static void load(u8* target, const Cache& cache, const u32* table, u32 first, u32 end) {
    const u32 token = thread_id() / 8, part = thread_id() % 8 * 16;
    const bool inside = first + token < end;
    const Int8Token source = Int8Token::at(cache, table, first);
    const u8* latents = (const u8*)source.latent + (inside ? token : 0) * latent + part;
    UNROLL for (u32 i = 0; i < latent / 128; i++) copy_async(target + token * row + part + i * 128, latents + i * 128, inside);
    copy_async(target + token * row + latent + part, (const u8*)source.key + (inside ? token : 0) * (rope * 2) + part, inside);
    // Two tokens a piece, so that there may be one behind the end: whoever takes factors makes its zero.
    if (thread_id() < tile / 2) copy_async(target + tile * row + thread_id() * 16, (const u8*)source.factors + thread_id() * 16, first + thread_id() * 2 < end);
    copy_async_commit();
  }
  // A lane gets four neighbouring bytes of a key at once, of which the first and the third make a pair, and the second and the fourth:
  // so the query's columns are in that order too. What belongs to the rotated key comes last.
  template <u32 Parts>
  DEVICE static void load_query(u32 (&a)[36 / Parts][4], const u16* query, u32 stride, u32 part) {
    const u16* p = query + (lane() >> 2) * stride + part * (latent / Parts) + (lane() & 3) * 4;
    UNROLL for (u32 k = 0; k < 32 / Parts; k++) {
      UNROLL for (u32 upper = 0; upper < 2; upper++) {
        const Words2 columns = *(const Words2*)(p + upper * 8 * stride + k * 16);
        a[k][upper] = pick_bytes(columns.x, columns.y, 0x5410);
        a[k][upper + 2] = pick_bytes(columns.x, columns.y, 0x7632);
      }
    }
    UNROLL for (u32 k = 0; k < 4 / Parts; k++) mla_tile::load_query(a[32 / Parts + k], query + latent + part * (rope / Parts) + k * 16, stride);
  }
  template <u32 Parts, u32 Octets>
  DEVICE static void multiply_part(float (&d)[Octets][4], const u32 (&query)[36 / Parts][4], const u8* tile, u32 token, u32 part) {
    const u32 l = lane();
    UNROLL for (u32 g = 0; g < groups / Parts; g++) {
      float sums[Octets][4];
      UNROLL for (u32 n = 0; n < Octets; n++) { UNROLL for (u32 j = 0; j < 4; j++) sums[n][j] = 0.f; }
      UNROLL for (u32 k = 0; k < factor_columns / 64; k++) {
        UNROLL for (u32 n = 0; n < Octets; n++) {
          u32 words[4];
          load_matrices(words, tile + (token + n * 8 + (l & 7)) * row + part * (latent / Parts) + g * factor_columns + k * 64 + (l >> 3) * 16);
          UNROLL for (u32 i = 0; i < 4; i++) {
            u32 b[2];
            Int8::bf16_alternate_pairs(words[i], b[0], b[1]);
            multiply_matrices(sums[n], query[g * 8 + k * 4 + i], b[0], b[1]);
          }
        }
      }
      UNROLL for (u32 n = 0; n < Octets; n++) {
        UNROLL for (u32 j = 0; j < 2; j++) {
          const float factor = Int8::of_bf16 * from_f16(factors_of(tile, token + n * 8 + (l & 3) * 2 + j)[part * (groups / Parts) + g]);
          d[n][j] = multiply_add(sums[n][j], factor, d[n][j]);
          d[n][j + 2] = multiply_add(sums[n][j + 2], factor, d[n][j + 2]);
        }
      }
    }
    multiply_keys<4 / Parts, Octets>(d, query + 32 / Parts, tile + token * row + latent + part * (rope * 2 / Parts), row);
  }
  static constexpr float of_values = Int8::of_bf16;
  DEVICE static float factor(const u8* tile, u32 token, u32 group) { return from_f16(factors_of(tile, token)[group]); }
  DEVICE static void load_factors(float (&factors)[groups], const u8* tile, u32 token, bool inside) {
    const Words2 halves = *(const Words2*)factors_of(tile, token);
    factors[0] = inside ? from_f16((u16)halves.x) : 0.f;
    factors[1] = inside ? from_f16((u16)(halves.x >> 16)) : 0.f;
    factors[2] = inside ? from_f16((u16)halves.y) : 0.f;
    factors[3] = inside ? from_f16((u16)(halves.y >> 16)) : 0.f;
  }
  // Transposed by twos: a lane has two neighbouring columns of two tokens, one for either of two matrices.
  DEVICE static void load_values(u32 (&b)[4][2], const u8* tile, u32 token, u32 column) {
    u32 words[4];
    load_matrices_transposed(words, tile + (token + (lane() & 15)) * row + column + (lane() >> 4) * 16);
    UNROLL for (u32 i = 0; i < 4; i++) Int8::bf16_alternate_pairs(words[i], b[i & 2][i & 1], b[(i & 2) + 1][i & 1]);
  }
  DEVICE static void order_columns(float (&sums)[8][4]) {
    UNROLL for (u32 i = 0; i < 8; i += 2) {
      UNROLL for (u32 j = 0; j < 4; j += 2) {
        const float second = sums[i + 1][j];
        sums[i + 1][j] = sums[i][j + 1];
        sums[i][j + 1] = second;
      }
    }
  }
  DEVICE static u32 column_of(u32 i) { return (i & ~1u) * 8 + (lane() & 3) * 4 + (i & 1) * 2; }

 private:
  DEVICE static const u16* factors_of(const u8* tile, u32 token) { return (const u16*)(tile + mla_tile::tile * row) + token * groups; }
};
}
