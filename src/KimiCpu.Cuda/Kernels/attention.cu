// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "cache.h"
#include "weights.h"

// Norms the latent, rotates the key and puts both into the cache; rotates the queries in place.
//   query (batch, heads, nope + rope), latent (batch, latent + rope), gain (latent); rotations: where (batch, 2, rope / 2), cosines, then sines, end, the last row first
//   grid (batch, 1 + parts of the heads), 256 threads: the first block has the latent
struct RopeArguments {
  Cache cache;
  float* query;
  const float* latent;
  const float* gain;
  const float* rotations;
  u32 heads, nope;
  float epsilon;
};
DEVICE void store_latent(const BFloat16Token& slot, const float* x, const float* gain, float norm, u32 columns) {
  for (u32 i = thread_id(); i < columns; i += 256) slot.latent[i] = to_bf16(x[i] * norm * gain[i]);
}

// The least factor whose 127fold is no less than the value; the largest there is where none is.
DEVICE u16 factor_for(float largest) {
  const u16 nearest = to_f16(divide(largest, 127.f)), factor = from_f16(nearest) * 127.f < largest ? nearest + 1 : nearest;
  return factor < 0x7bff ? factor : 0x7bff;
}

// A warp has the 128 columns of a factor. Where one of them is not finite the factor is NaN, and so are all.
DEVICE void store_latent(const Int8Token& slot, const float* x, const float* gain, float norm, u32 columns) {
  for (u32 group = warp(); group * factor_columns < columns; group += 8) {
    float values[4], largest = 0.f;
    bool finite = true;
    UNROLL for (u32 i = 0; i < 4; i++) {
      const u32 column = group * factor_columns + i * 32 + lane();
      values[i] = column < columns ? x[column] * norm * gain[column] : 0.f;
      finite = finite && is_finite(values[i]);
      const float magnitude = __builtin_fabsf(values[i]);
      largest = magnitude > largest ? magnitude : largest;
    }
    const u16 factor = lanes_where(!finite) ? 0x7fff : factor_for(warp_max(largest));
    const float inverse = factor ? divide(1.f, from_f16(factor)) : 0.f;
    UNROLL for (u32 i = 0; i < 4; i++) {
      const u32 column = group * factor_columns + i * 32 + lane();
      const i32 rounded = round_to_integer(values[i] * inverse);
      if (column < columns) slot.latent[column] = (signed char)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
    }
    if (lane() == 0) slot.factors[group] = factor;
  }
}

template <typename Token>
DEVICE void rope_store(const RopeArguments& a) {
  SHARED(float, scratch, 32);
  const Cache& cache = a.cache;
  const u32 row = block_x(), pairs = cache.rope / 2, token = cache.lengths[row] - 1;
  const float* cosines = a.rotations - (u64)(row + 1) * 2 * pairs;
  const float* sines = cosines + pairs;
  if (block_y() > 0) {
    _Pragma("unroll 4") for (u32 j = (block_y() - 1) * 256 + thread_id(); j < a.heads * pairs; j += (grid_y() - 1) * 256) {
      const u32 head = j / pairs, i = j % pairs;
      float* q = a.query + ((u64)row * a.heads + head) * (a.nope + cache.rope) + a.nope + 2 * i;
      const float c = cosines[i], s = sines[i], even = q[0], odd = q[1];
      q[0] = even * c - odd * s;
      q[1] = odd * c + even * s;
    }
    return;
  }
  const float* x = a.latent + (u64)row * (cache.latent + cache.rope);
  const Token slot = Token::at(cache, cache.pages + cache.tables[row], token);
  float squares = 0.f;
  for (u32 i = thread_id(); i < cache.latent; i += 256) squares = multiply_add(x[i], x[i], squares);
  store_latent(slot, x, a.gain, inverse_root(divide(block_sum(squares, scratch), (float)cache.latent) + a.epsilon), cache.latent);
  for (u32 i = thread_id(); i < pairs; i += 256) {
    const float c = cosines[i], s = sines[i], even = x[cache.latent + 2 * i], odd = x[cache.latent + 2 * i + 1];
    slot.key[2 * i] = to_bf16(even * c - odd * s);
    slot.key[2 * i + 1] = to_bf16(odd * c + even * s);
  }
}
KERNEL(256, 2) rope_store_bf16(RopeArguments a) { rope_store<BFloat16Token>(a); }
KERNEL(256, 2) rope_store_int8(RopeArguments a) { rope_store<Int8Token>(a); }

// The query of a head in the space of the cached latents, q W_UK, beside its rotated part; both times the scale, rounded to BF16.
// Rows of the batch share a reading of the weight; their sums do not depend on each other.
//   expansion (heads (nope + value), latent), a head's rows: nope, then value; query as above; absorbed (batch, heads, latent + rope)
//   grid (heads, ceil(batch / Rows), ceil(latent / 256)), 256 threads: 64 groups of four columns by four parts of the weight's rows
struct AbsorbArguments {
  Matrix expansion;
  const float* query;
  u16* absorbed;
  u32 nope, rope, value, batch;
  float scale;
};
template <typename Format, u32 Rows>
DEVICE void absorb(const AbsorbArguments& a) {
  constexpr u32 parts = 4, groups = 64, at_once = Rows == 1 ? 16 : 4;
  SHARED(Floats4, others, (parts - 1) * Rows * groups);
  const u32 head = block_x(), nope = a.nope, rope = a.rope, latent = a.expansion.columns, column_group = thread_id() % groups, part = thread_id() / groups;
  const u32 first_row = block_y() * Rows, rows = a.batch - first_row, column = (block_z() * groups + column_group) * 4;
  const float* q = a.query + ((u64)first_row * grid_x() + head) * (nope + rope);
  u16* out = a.absorbed + ((u64)first_row * grid_x() + head) * (latent + rope);
  u32 q_at[Rows];
  UNROLL for (u32 r = 0; r < Rows; r++) q_at[r] = (r < rows ? r : rows - 1) * grid_x() * (nope + rope);   // Rows behind the last one repeat it, and are not stored.
  const u32 of_part = (nope + parts - 1) / parts, begin = part * of_part < nope ? part * of_part : nope, end = begin + of_part < nope ? begin + of_part : nope;
  float sums[Rows][4];
  UNROLL for (u32 r = 0; r < Rows; r++) { UNROLL for (u32 i = 0; i < 4; i++) sums[r][i] = 0.f; }
  if (column < latent) {
    // Several rows are on their way at once, more where there are few sums.
    for (u32 first_n = begin; first_n < end; first_n += at_once) {
      float w[at_once][4], factors[at_once][Rows];
      UNROLL for (u32 j = 0; j < at_once; j++) {
        const bool inside = first_n + j < end;
        const u32 n = inside ? first_n + j : begin, weight_row = head * (nope + a.value) + n;
        load4<Format>(a.expansion, weight_row, column, w[j]);
        const float scale = inside ? Format::scale(a.expansion, weight_row, column) : 0.f;
        UNROLL for (u32 r = 0; r < Rows; r++) factors[j][r] = q[q_at[r] + n] * scale;
      }
      UNROLL for (u32 j = 0; j < at_once; j++) {
        UNROLL for (u32 r = 0; r < Rows; r++) {
          UNROLL for (u32 i = 0; i < 4; i++) sums[r][i] = multiply_add(factors[j][r], w[j][i], sums[r][i]);
        }
      }
    }
  }
  if (part > 0) {
    UNROLL for (u32 r = 0; r < Rows; r++) others[((part - 1) * Rows + r) * groups + column_group] = Floats4{sums[r][0], sums[r][1], sums[r][2], sums[r][3]};
  }
  sync_block();
  if (part == 0) {
    UNROLL for (u32 r = 0; r < Rows; r++) {
      UNROLL for (u32 p = 0; p < parts - 1; p++) {
        const Floats4 other = others[(p * Rows + r) * groups + column_group];
        sums[r][0] += other.x; sums[r][1] += other.y; sums[r][2] += other.z; sums[r][3] += other.w;
      }
      UNROLL for (u32 i = 0; i < 4; i++) {
        if (r < rows && column + i < latent) out[(u64)r * grid_x() * (latent + rope) + column + i] = to_bf16(sums[r][i] * a.scale);
      }
    }
  }
  if (block_z() > 0) return;
  UNROLL for (u32 r = 0; r < Rows; r++) {
    if (r < rows) {
      for (u32 i = thread_id(); i < rope; i += 256) out[(u64)r * grid_x() * (latent + rope) + latent + i] = to_bf16(q[q_at[r] + nope + i] * a.scale);
    }
  }
}

// Merges the splits of a head by their log-sums and expands the values: W_UV times the attended latent.
//   partial (batch, heads, max_splits, latent), log_sums (batch, heads, max_splits), base 2; values (batch, heads, value)
//   grid (heads, batch, parts of the values), 256 threads; dynamic shared memory: latent floats, up to whole sixteens, each of these padded by four
struct ExpandArguments {
  Matrix expansion;
  const float* partial;
  const float* log_sums;
  const u32* lengths;
  float* values;
  u32 nope, value;
  u32 most_splits;   // of the attention that made them
};
// Neighbouring lanes read from sixteens that do not share banks.
DEVICE u32 padded(u32 column) { return column + column / 16 * 4; }

template <typename Format>
DEVICE void expand(const ExpandArguments& a) {
  float* attended = (float*)dynamic_shared;
  const u32 head = block_x(), row = block_y(), value = a.value, latent = a.expansion.columns, splits = splits_of(a.lengths[row], a.most_splits);
  const u64 place = (u64)row * grid_x() + head;
  const float* parts = a.partial + place * max_splits * latent;
  const float* logs = a.log_sums + place * max_splits;
  // What the block's warps read first of their weights, 512 bytes of neighbouring rows, is on its way while the splits are merged. All of it would be more than some
  // second-level caches hold.
  constexpr u32 at_once = 8, line = 128;
  const u32 first_value = block_z() * 8 * at_once, row_bytes = a.expansion.stride;
  if (first_value < value) {
    const u8* weights = a.expansion.data + (u64)(head * (a.nope + value) + a.nope + first_value) * row_bytes;
    const u32 rows = value - first_value < 8 * at_once ? value - first_value : 8 * at_once;
    const u32 ahead = thread_id() / 4, at = thread_id() % 4 * line;
    if (ahead < rows && at < row_bytes) prefetch(weights + ahead * row_bytes + at);
  }
  // Each warp has the splits' weights, one a lane.
  static_assert(max_splits == 32);
  const float log = lane() < splits ? logs[lane()] : -__builtin_inff(), largest = warp_max(log);
  const float weight = lane() < splits ? exp2_approximate(log - largest) : 0.f, norm = divide(1.f, warp_sum(weight));
  // Of two columns sixteen splits are on their way at once, all of them in two turns.
  constexpr u32 columns = 2, merged = 16;
  for (u32 first_column = thread_id(); first_column < (latent + 255) / 256 * 256; first_column += columns * 256) {
    float sums[columns] = {};
    UNROLL for (u32 first = 0; first < max_splits; first += merged) {
      if (first >= splits) break;
      float part[columns][merged];
      UNROLL for (u32 i = 0; i < columns; i++) {
        const u32 c = first_column + i * 256;
        UNROLL for (u32 j = 0; j < merged; j++) part[i][j] = first + j < splits && c < latent ? parts[(u64)(first + j) * latent + c] : 0.f;
      }
      UNROLL for (u32 j = 0; j < merged; j++) {
        const float w = broadcast(weight, first + j);
        UNROLL for (u32 i = 0; i < columns; i++) sums[i] = multiply_add(w, part[i][j], sums[i]);
      }
    }
    UNROLL for (u32 i = 0; i < columns; i++) {
      const u32 c = first_column + i * 256;
      if (c < (latent + 15) / 16 * 16) attended[padded(c)] = sums[i] * norm;
    }
  }
  sync_block();
  for (u32 first = block_z() * 8 * at_once + warp(); first < value; first += grid_z() * 8 * at_once) {
    float sums[at_once];
    UNROLL for (u32 j = 0; j < at_once; j++) sums[j] = 0.f;
    for (u32 c = lane() * Format::values; c < latent; c += 32 * Format::values) {
      Words4 loaded[at_once];
      float scale[at_once];
      UNROLL for (u32 j = 0; j < at_once; j++) {
        const u32 v = first + j * 8, weight_row = head * (a.nope + value) + a.nope + (v < value ? v : first);
        loaded[j] = load_stream(a.expansion.data + (u64)weight_row * a.expansion.stride + c / Format::per_word * 4);
        scale[j] = Format::scale(a.expansion, weight_row, c);
      }
      Floats4 x[Format::values / 4];
      UNROLL for (u32 i = 0; i < Format::values / 4; i++) x[i] = *(const Floats4*)(attended + padded(c + i * 4));
      UNROLL for (u32 j = 0; j < at_once; j++) {
        float w[Format::values], dot = 0.f;
        decode4<Format>(loaded[j], w);
        UNROLL for (u32 i = 0; i < Format::values / 4; i++) {
          dot = multiply_add(w[4 * i], x[i].x, dot);
          dot = multiply_add(w[4 * i + 1], x[i].y, dot);
          dot = multiply_add(w[4 * i + 2], x[i].z, dot);
          dot = multiply_add(w[4 * i + 3], x[i].w, dot);
        }
        sums[j] = multiply_add(scale[j], dot, sums[j]);
      }
    }
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const float sum = warp_sum(sums[j]);
      if (lane() == 0 && first + j * 8 < value) a.values[place * value + first + j * 8] = sum;
    }
  }
}

#define ATTENTION(name, format) \
  KERNEL(256, 2) absorb_##name##_1(AbsorbArguments a) { absorb<format, 1>(a); } \
  KERNEL(256, 2) absorb_##name##_8(AbsorbArguments a) { absorb<format, 8>(a); } \
  KERNEL(256, 2) expand_##name(ExpandArguments a) { expand<format>(a); }
ATTENTION(f32, Float32)
ATTENTION(bf16, BFloat16)
ATTENTION(fp8, Float8)
ATTENTION(int8, Int8)
