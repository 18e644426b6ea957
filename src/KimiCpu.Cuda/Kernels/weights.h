// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "device.h"

// A weight on the device, [rows, columns] row-major. Rows begin 16-byte aligned; what pads a row to the stride is zero,
// and so is the scale behind it. The host's DeviceMatrix has the same layout.
struct Matrix {
  const u8* data;
  const u8* scales;     // null for formats without
  u32 rows, columns;
  u32 stride;           // bytes from row to row, a multiple of 16
  u32 scale_rows;       // rows that share a scale
  u32 scale_columns;    // columns that share a scale, a multiple of 16
  u32 scales_per_row;
};

// A format says how many values 16 bytes hold, how a 32-bit word decodes, and what its values are multiplied by. Those of
// 8 bits also say how a word becomes two pairs of BF16, which lose nothing, and the factors of these.
struct Float32 {
  static constexpr u32 values = 4, per_word = 1;
  DEVICE static void decode(u32 word, float* v) { v[0] = as_float(word); }
  DEVICE static float scale(const Matrix&, u32, u32) { return 1.f; }
};
struct BFloat16 {
  static constexpr u32 values = 8, per_word = 2;
  DEVICE static void decode(u32 word, float* v) { v[0] = bf16_low(word); v[1] = bf16_high(word); }
  DEVICE static float scale(const Matrix&, u32, u32) { return 1.f; }
};
// e4m3: its bits, moved to where those of a half-precision number are, are the value / 256; exact for every finite one.
struct Float8 {
  static constexpr u32 values = 16, per_word = 4;
  DEVICE static void decode_pair(u32 spread, float* v) {
    const u32 halves = (spread & 0x80008000u) | ((spread & 0x7f007f00u) >> 1);
    v[0] = from_f16((u16)halves); v[1] = from_f16((u16)(halves >> 16));
  }
  DEVICE static void decode(u32 word, float* v) {
    decode_pair(pick_bytes(word, 0, 0x1404), v);
    decode_pair(pick_bytes(word, 0, 0x3424), v + 2);
  }
  DEVICE static float scale(const Matrix& w, u32 row, u32 column) { return 256.f * factor(w, row, column); }
  // At the place of a BF16's bits they are the value / 2^120; 0x7b80 is 2^120. Bytes come with their signs as the upper ones.
  DEVICE static u32 bf16_pair(u32 spread) { return multiply_add_bf16_pair((spread << 4) & 0x87f087f0u, 0x7b807b80u, 0x80008000u); }
  DEVICE static void bf16_pairs(u32 word, u32 (&pairs)[2]) {
    pairs[0] = bf16_pair(pick_bytes(word, 0, 0x9180));
    pairs[1] = bf16_pair(pick_bytes(word, 0, 0xb3a2));
  }
  DEVICE static float factor(const Matrix& w, u32 row, u32 column) { return factor_at(w.scales + factors_at(w, row), column / w.scale_columns); }
  DEVICE static u64 factors_at(const Matrix& w, u32 row) { return (u64)(row / w.scale_rows) * w.scales_per_row * 4; }
  DEVICE static float factor_at(const u8* of_row, u32 i) { return load_global<float>(of_row + (u64)i * 4); }
};
// Signed bytes; a row's factors are its own. 2^23 + (value + 128) has the biased byte as its lowest one.
struct Int8 {
  static constexpr u32 values = 16, per_word = 4;
  DEVICE static void decode(u32 word, float* v) {
    const u32 biased = word ^ 0x80808080u;
    v[0] = as_float(pick_bytes(biased, 0x4b000000u, 0x7440)) - 8388736.f;
    v[1] = as_float(pick_bytes(biased, 0x4b000000u, 0x7441)) - 8388736.f;
    v[2] = as_float(pick_bytes(biased, 0x4b000000u, 0x7442)) - 8388736.f;
    v[3] = as_float(pick_bytes(biased, 0x4b000000u, 0x7443)) - 8388736.f;
  }
  DEVICE static float scale(const Matrix& w, u32 row, u32 column) { return stored_factor(w.scales + factors_at(w, row), column / w.scale_columns); }
  // A byte is a BF16 / 2^133, the seventh bit that of the exponent: so (value + 128) 2^127 / 2^133 - 2 is the value / 64.
  static constexpr float of_bf16 = 64.f;
  DEVICE static u32 bf16_pair(u32 biased_bytes) { return multiply_add_bf16_pair(biased_bytes, 0x7f007f00u, 0xc000c000u); }
  // Of the first two bytes, and of the others.
  DEVICE static void bf16_pairs(u32 word, u32 (&pairs)[2]) {
    const u32 biased = word ^ 0x80808080u;
    pairs[0] = bf16_pair(pick_bytes(biased, 0, 0x4140));
    pairs[1] = bf16_pair(pick_bytes(biased, 0, 0x4342));
  }
  // Of the first and the third byte, and of the others.
  DEVICE static void bf16_alternate_pairs(u32 word, u32& even, u32& odd) {
    const u32 biased = word ^ 0x80808080u;
    even = bf16_pair(pick_bytes(biased, 0, 0x4240));
    odd = bf16_pair(pick_bytes(biased, 0, 0x4341));
  }
  DEVICE static u64 factors_at(const Matrix& w, u32 row) { return (u64)row * w.scales_per_row * 2; }
  DEVICE static float factor_at(const u8* of_row, u32 i) { return of_bf16 * stored_factor(of_row, i); }
  DEVICE static float stored_factor(const u8* of_row, u32 i) { return from_f16(load_global<u16>(of_row + (u64)i * 2)); }
};

template <typename Format>
DEVICE void decode4(const Words4& w, float (&v)[Format::values]) {
  Format::decode(w.x, v);
  Format::decode(w.y, v + Format::per_word);
  Format::decode(w.z, v + 2 * Format::per_word);
  Format::decode(w.w, v + 3 * Format::per_word);
}

// Four neighbouring values, the first one's column a multiple of 4.
template <typename Format>
DEVICE void load4(const Matrix& w, u32 row, u32 column, float (&v)[4]) {
  const u8* p = w.data + (u64)row * w.stride + column / Format::per_word * 4;
  if constexpr (Format::per_word == 4) {
    Format::decode(*(const u32*)p, v);
  } else if constexpr (Format::per_word == 2) {
    const Words2 words = *(const Words2*)p;
    Format::decode(words.x, v);
    Format::decode(words.y, v + 2);
  } else {
    const Words4 words = *(const Words4*)p;
    decode4<Format>(words, v);
  }
}
