// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "cache.h"

// Attention of the many new tokens of one sequence over keys and values that have been expanded for every head: of its tokens
// begin … end, whole tiles of 64 from 0 on, a launch for each such block of the past. A block has 128 queries of a head, a warp 16
// of them in registers with their sums; two tiles of keys and values are in shared memory. The rotated part of a key is that of
// all heads, and comes from the cache. What a row carries from launch to launch is exact, so where blocks of the past begin
// changes no bit; nor does it which rows share a block.
//   grid (ceil(batch / 128), heads), 256 threads; dynamic shared memory: expanded::shared_bytes
namespace expanded {
constexpr u32 queries = 128, keys = 64, nope = 128, rope = 64, value = 128;
// Values from row to row: 16 bytes more, so that no two of the eight rows of a matrix share banks.
constexpr u32 key_row = nope + rope + 8, value_row = value + 8;
constexpr u32 stage_values = keys * (key_row + value_row), shared_bytes = 2 * stage_values * 2;
static_assert(shared_bytes == 86016, "KernelSet has this");
static_assert(keys == page_tokens, "a tile has one page");
constexpr u32 steps = (nope + rope) / 16;
}

struct AttendExpandedArguments {
  Cache cache;             // lengths rise by one from row to row; none is more than the sequence has
  const u16* expanded;     // (end - begin, heads, nope + value) BF16
  const float* query;      // (batch, heads, nope + rope)
  float* values;           // (batch, heads, value): of rows that see more than end, their sums so far
  float* state;            // (batch, heads, 2): largest score and sum of weights so far
  u32 heads, batch, begin, end;
  float scale;             // of scores, for powers of two
};

namespace expanded {
// Eight threads a key. Tokens behind the last one become zeros.
template <typename Token>
DEVICE void load(u16* stage, const AttendExpandedArguments& a, const u32* table, u32 head, u32 first) {
  const Cache& cache = a.cache;
  const u32 part = thread_id() % 8 * 8;
  const u16* rotated = Token::at(cache, table, first).key + part;
  UNROLL for (u32 j = 0; j < 2; j++) {
    const u32 key = thread_id() / 8 + j * 32;
    const bool inside = first + key < a.end;
    const u16* source = a.expanded + ((u64)(first - a.begin + (inside ? key : 0)) * a.heads + head) * (nope + value) + part;
    u16* target = stage + key * key_row + part;
    copy_async(target, source, inside);
    copy_async(target + 64, source + 64, inside);
    copy_async(target + nope, rotated + (inside ? key : 0) * Token::key_stride(cache), inside);
    target = stage + keys * key_row + key * value_row + part;
    copy_async(target, source + nope, inside);
    copy_async(target + 64, source + nope + 64, inside);
  }
  copy_async_commit();
}

DEVICE bool is_finite_pair(u32 pair) { return (pair & 0x7f80u) != 0x7f80u && (pair & 0x7f800000u) != 0x7f800000u; }
DEVICE u32 finite_or_zero(u32 pair) {
  return ((pair & 0x7f80u) != 0x7f80u ? pair & 0xffffu : 0) | ((pair & 0x7f800000u) != 0x7f800000u ? pair & 0xffff0000u : 0);
}

// sums (16 rows, value) += weights times the values of a tile's first keys, in sixteens.
template <bool Clean>
DEVICE void add_values(float (&sums)[16][4], const u32 (&weights)[4][4], const u16* values, u32 count) {
  UNROLL for (u32 k = 0; k < 4; k++) {
    if (k * 16 < count) {
      UNROLL for (u32 n = 0; n < 16; n += 2) {
        u32 v[4];
        load_matrices_transposed(v, values + (k * 16 + (lane() & 15)) * value_row + n * 8 + (lane() >> 4) * 8);
        if constexpr (Clean) { UNROLL for (u32 i = 0; i < 4; i++) v[i] = finite_or_zero(v[i]); }
        multiply_matrices(sums[n], weights[k], v[0], v[1]);
        multiply_matrices(sums[n + 1], weights[k], v[2], v[3]);
      }
    }
  }
}

// A weight of zero does not keep a NaN away: values that some of a warp's rows see and others do not.
DEVICE bool all_finite(const u16* values, u32 begin, u32 end) {
  bool finite = true;
  for (u32 piece = begin * 16 + lane(); piece < end * 16; piece += 32) {
    const Words4 v = *(const Words4*)(values + piece / 16 * value_row + piece % 16 * 8);
    finite &= is_finite_pair(v.x) && is_finite_pair(v.y) && is_finite_pair(v.z) && is_finite_pair(v.w);
  }
  return lanes_where(!finite) == 0;
}

// Makes NaN of the sums that see a value which is not finite: what add_values has left out.
DEVICE void mark(float (&sums)[16][4], const u16* values, const u32 (&seen)[2]) {
  for (u32 key = 0; key < keys; key++) {
    UNROLL for (u32 n = 0; n < 16; n++) {
      const u32 pair = *(const u32*)(values + key * value_row + n * 8 + (lane() & 3) * 2);
      UNROLL for (u32 i = 0; i < 4; i++) {
        if (key < seen[i >> 1] && !is_finite_pair(i & 1 ? pair & 0xffff0000u : pair & 0xffffu)) sums[n][i] = as_float(0x7fffffffu);
      }
    }
  }
}

template <typename Token>
DEVICE void attend(const AttendExpandedArguments& a) {
  const Cache& cache = a.cache;
  u16* stages = (u16*)dynamic_shared;
  // The rows that see most come first.
  const u32 first_row = (grid_x() - 1 - block_x()) * queries, head = block_y(), l = lane();
  const u32* table = cache.pages + cache.tables[0];
  const u32 last = (first_row + queries < a.batch ? first_row + queries : a.batch) - 1, longest = cache.lengths[last], end = longest < a.end ? longest : a.end;
  if (end <= a.begin) return;

  load<Token>(stages, a, table, head, a.begin);
  // Of the warp's rows, how much the first one sees and the last one; of this lane's two, where they are and what they see.
  const u32 warp_row = first_row + warp() * 16;
  const u32 fewest = warp_row <= last ? cache.lengths[warp_row] : 0, most = warp_row <= last ? cache.lengths[warp_row + 15 < last ? warp_row + 15 : last] : 0;
  u32 length[2];
  u64 place[2];
  UNROLL for (u32 i = 0; i < 2; i++) {
    const u32 row = warp_row + (l >> 2) + i * 8;
    length[i] = row <= last ? cache.lengths[row] : 0;
    place[i] = (u64)(row <= last ? row : last) * a.heads + head;
  }
  u32 query[steps][4];
  UNROLL for (u32 k = 0; k < steps; k++) {
    UNROLL for (u32 i = 0; i < 4; i++) {
      const float* q = a.query + place[i & 1] * (nope + rope) + k * 16 + (i >> 1) * 8 + (l & 3) * 2;
      query[k][i] = to_bf16_pair(q[0] * a.scale, q[1] * a.scale);
    }
  }
  float sums[16][4], top[2], total[2];
  UNROLL for (u32 i = 0; i < 2; i++) {
    const bool goes_on = a.begin > 0 && length[i] > a.begin;
    const float* so_far = a.values + place[i] * value + (l & 3) * 2;
    top[i] = goes_on ? a.state[place[i] * 2] : -1e30f;
    total[i] = goes_on ? a.state[place[i] * 2 + 1] : 0.f;
    UNROLL for (u32 n = 0; n < 16; n++) {
      sums[n][i * 2] = goes_on ? so_far[n * 8] : 0.f;
      sums[n][i * 2 + 1] = goes_on ? so_far[n * 8 + 1] : 0.f;
    }
  }

  u32 current = 0;
  for (u32 first = a.begin; first < end; first += keys, current ^= 1) {
    // This tile is there for all, and nobody still reads the one before.
    copy_async_wait<0>();
    sync_block();
    if (first + keys < end) load<Token>(stages + (current ^ 1) * stage_values, a, table, head, first + keys);
    if (most <= first) continue;   // The tile is behind all of the warp's rows.
    const u16* loaded = stages + current * stage_values;
    float scores[8][4];
    UNROLL for (u32 n = 0; n < 8; n++) { UNROLL for (u32 i = 0; i < 4; i++) scores[n][i] = 0.f; }
    UNROLL for (u32 k = 0; k < steps; k++) {
      UNROLL for (u32 n = 0; n < 8; n += 2) {
        u32 b[4];
        load_matrices(b, loaded + (n * 8 + (l & 7) + (l >> 4) * 8) * key_row + k * 16 + (l >> 3 & 1) * 8);
        multiply_matrices(scores[n], query[k], b[0], b[1]);
        multiply_matrices(scores[n + 1], query[k], b[2], b[3]);
      }
    }
    const bool partly = fewest < first + keys;
    if (partly) {
      UNROLL for (u32 n = 0; n < 8; n++) {
        UNROLL for (u32 i = 0; i < 4; i++) {
          if (first + n * 8 + (l & 3) * 2 + (i & 1) >= length[i >> 1]) scores[n][i] = -1e30f;
        }
      }
    }
    // Softmax so far: four lanes have a row.
    UNROLL for (u32 i = 0; i < 2; i++) {
      float best = top[i];
      UNROLL for (u32 n = 0; n < 8; n++) {
        best = scores[n][i * 2] > best ? scores[n][i * 2] : best;
        best = scores[n][i * 2 + 1] > best ? scores[n][i * 2 + 1] : best;
      }
      UNROLL for (int m = 1; m <= 2; m <<= 1) { const float other = exchange(best, m); best = other > best ? other : best; }
      const float keep = exp2_approximate(top[i] - best);
      float tile_total = 0.f;
      UNROLL for (u32 n = 0; n < 8; n++) {
        scores[n][i * 2] = exp2_approximate(scores[n][i * 2] - best);
        scores[n][i * 2 + 1] = exp2_approximate(scores[n][i * 2 + 1] - best);
        tile_total += scores[n][i * 2] + scores[n][i * 2 + 1];
      }
      UNROLL for (int m = 1; m <= 2; m <<= 1) tile_total += exchange(tile_total, m);
      total[i] = multiply_add(total[i], keep, tile_total);
      top[i] = best;
      UNROLL for (u32 n = 0; n < 16; n++) { sums[n][i * 2] *= keep; sums[n][i * 2 + 1] *= keep; }
    }
    u32 weights[4][4];
    UNROLL for (u32 k = 0; k < 4; k++) {
      UNROLL for (u32 i = 0; i < 4; i++) weights[k][i] = to_bf16_pair(scores[k * 2 + (i >> 1)][(i & 1) * 2], scores[k * 2 + (i >> 1)][(i & 1) * 2 + 1]);
    }
    const u16* values = loaded + keys * key_row;
    const u32 seen = most - first < keys ? most - first : keys;
    if (!partly || all_finite(values, fewest > first ? fewest - first : 0, (seen + 15) / 16 * 16)) {
      add_values<false>(sums, weights, values, seen);
    } else {
      add_values<true>(sums, weights, values, seen);
      const u32 seen_of[2] = {length[0] > first ? length[0] - first : 0, length[1] > first ? length[1] - first : 0};
      mark(sums, values, seen_of);
    }
  }

  UNROLL for (u32 i = 0; i < 2; i++) {
    if (length[i] <= a.begin) continue;   // Behind the last row, or done.
    const bool done = length[i] <= a.end;
    const float norm = done ? divide(1.f, total[i]) : 1.f;
    float* out = a.values + place[i] * value + (l & 3) * 2;
    UNROLL for (u32 n = 0; n < 16; n++) {
      out[n * 8] = sums[n][i * 2] * norm;
      out[n * 8 + 1] = sums[n][i * 2 + 1] * norm;
    }
    if (!done && (l & 3) == 0) {
      a.state[place[i] * 2] = top[i];
      a.state[place[i] * 2 + 1] = total[i];
    }
  }
}
}

KERNEL(256, 1) mla_expanded_bf16(AttendExpandedArguments a) { expanded::attend<BFloat16Token>(a); }
KERNEL(256, 1) mla_expanded_int8(AttendExpandedArguments a) { expanded::attend<Int8Token>(a); }
