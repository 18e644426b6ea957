// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "cache.h"
#include "parts.h"

// Latents of neighbouring tokens of one sequence, out of their pages into rows in the order that gemm.cu wants: a warp has a
// token, a lane sixteen columns at once.
//   grid (ceil(tokens / 8)), 256 threads
struct GatherArguments {
  Cache cache;             // tables: of any row of the sequence
  u16* latents;            // (tokens, latent)
  u32 first, tokens;       // in the sequence
  u32 for_bytes;
};
template <typename Token>
DEVICE void gather_latents(const GatherArguments& a) {
  const u32 token = block_x() * 8 + warp();
  if (token >= a.tokens) return;
  const Token slot = Token::at(a.cache, a.cache.pages + a.cache.tables[0], a.first + token);
  u16* row = a.latents + (u64)token * a.cache.latent;
  for (u32 column = lane() * 16; column < a.cache.latent; column += 512) {
    Words4 first, second;
    slot.columns(column, first, second);
    // The order of pair_place.
    *(Words4*)(row + column) = a.for_bytes ? Words4{first.x, first.z, second.x, second.z} : first;
    *(Words4*)(row + column + 8) = a.for_bytes ? Words4{first.y, first.w, second.y, second.w} : second;
  }
}

KERNEL(256, 4) gather_latents_bf16(GatherArguments a) { gather_latents<BFloat16Token>(a); }
KERNEL(256, 4) gather_latents_int8(GatherArguments a) { gather_latents<Int8Token>(a); }
