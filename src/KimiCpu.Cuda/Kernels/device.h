// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
//
// The language that the kernels are written in: compiler builtins and inline PTX, nothing from a CUDA toolkit.
// clang checks no instruction in inline PTX against the PTX version; the tests' interpreter has a table that does.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i32 = int;
using u64 = unsigned long long;

// Only types that are aligned themselves are loaded and stored by vector instructions.
struct alignas(8) Words2 { u32 x, y; };
struct alignas(16) Words4 { u32 x, y, z, w; };
struct alignas(8) Floats2 { float x, y; };
struct alignas(16) Floats4 { float x, y, z, w; };

#define DEVICE __attribute__((device)) __attribute__((always_inline)) inline
#define KERNEL(threads, blocks) extern "C" __attribute__((global)) __attribute__((launch_bounds(threads, blocks))) void
#define SHARED(type, name, count) alignas(16) static __attribute__((shared)) type name[count]
#define INLINE __attribute__((always_inline))   // of a lambda
#define UNROLL _Pragma("unroll")

// One symbol a module; its size is a launch parameter.
extern __attribute__((shared)) __attribute__((aligned(16))) u8 dynamic_shared[];

DEVICE u32 thread_id() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE u32 thread_count() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE u32 block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE u32 block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE u32 grid_x() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE u32 grid_y() { return __nvvm_read_ptx_sreg_nctaid_y(); }
DEVICE u32 grid_z() { return __nvvm_read_ptx_sreg_nctaid_z(); }
DEVICE u32 lane() { return thread_id() & 31u; }
DEVICE u32 warp() { return thread_id() >> 5; }

DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __nvvm_bar_warp_sync(0xffffffffu); }
DEVICE u32 exchange(u32 value, int mask) { return (u32)__nvvm_shfl_sync_bfly_i32(0xffffffffu, (int)value, mask, 0x1f); }
DEVICE float exchange(float value, int mask) { return __nvvm_shfl_sync_bfly_f32(0xffffffffu, value, mask, 0x1f); }
DEVICE float broadcast(float value, u32 from) { return __nvvm_shfl_sync_idx_f32(0xffffffffu, value, (int)from, 0x1f); }
DEVICE u32 warp_max(u32 value) { return (u32)__nvvm_redux_sync_umax((int)value, 0xffffffffu); }
DEVICE u32 warp_min(u32 value) { return (u32)__nvvm_redux_sync_umin((int)value, 0xffffffffu); }
DEVICE u32 lanes_where(bool condition) { return (u32)__nvvm_vote_ballot_sync(0xffffffffu, condition); }

DEVICE float exp2_approximate(float x) { return __nvvm_ex2_approx_f(x); }
// Without subnormal results, which take three more instructions: they become zeros.
DEVICE float exp2_flushed(float x) { return __nvvm_ex2_approx_ftz_f(x); }
// Of the two that is no NaN, where one is.
DEVICE float maximum(float a, float b) { return __nvvm_fmax_f(a, b); }
DEVICE float log2_approximate(float x) { return __nvvm_lg2_approx_f(x); }
DEVICE float inverse_root(float x) { return __nvvm_rsqrt_approx_f(x); }
DEVICE float divide(float a, float b) { return __nvvm_div_rn_f(a, b); }
DEVICE float multiply_add(float a, float b, float c) { return __nvvm_fma_rn_f(a, b, c); }
// Each rounded on its own, never fused.
DEVICE float multiply(float a, float b) { return __nvvm_mul_rn_f(a, b); }
DEVICE float add(float a, float b) { return __nvvm_add_rn_f(a, b); }
// To the nearest, ties to even.
DEVICE i32 round_to_integer(float x) { return __nvvm_f2i_rn(x); }
// c plus the products of four unsigned bytes with four signed ones.
DEVICE i32 dot_bytes(u32 a, u32 b, i32 c) { i32 r; asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
DEVICE float as_float(u32 bits) { return __builtin_bit_cast(float, bits); }
DEVICE u32 as_bits(float value) { return __builtin_bit_cast(u32, value); }
// Greater where the value is, which is no NaN; never zero. Both zeros are one.
DEVICE u32 ordered_bits(float value) {
  const u32 bits = as_bits(value + 0.f);
  return bits ^ ((u32)((i32)bits >> 31) | 0x80000000u);
}
DEVICE bool is_finite(float value) { return (as_bits(value) & 0x7f800000u) != 0x7f800000u; }
DEVICE bool is_nan(float value) { return value != value; }

constexpr float log2_e = 1.4426950408889634f;

// 1 / (1 + e^-x); 0 and 1 at the ends, since 2^-x is then infinity or 0.
DEVICE float sigmoid(float x) { return divide(1.f, 1.f + exp2_approximate(x * -log2_e)); }

DEVICE u32 fetch_add(u32* counter, u32 value) { return (u32)__nvvm_atom_add_gen_i((int*)counter, (int)value); }
DEVICE void fence_system() { __nvvm_membar_sys(); }

// Bytes of (a, b), four selectors of 4 bits: 0 … 3 are the bytes of a, 4 … 7 those of b.
DEVICE u32 pick_bytes(u32 a, u32 b, u32 selectors) { return (u32)__nvvm_prmt(a, b, selectors); }

// A BF16 is the upper half of a float; packing rounds to nearest, ties to even.
DEVICE float bf16_low(u32 pair) { return as_float(pair << 16); }
DEVICE float bf16_high(u32 pair) { return as_float(pair & 0xffff0000u); }
DEVICE float from_bf16(u16 bits) { return as_float((u32)bits << 16); }
DEVICE u16 to_bf16(float value) { u16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(value)); return r; }
// Two values, the first one in the lower half.
DEVICE u32 to_bf16_pair(float low, float high) { u32 r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r; }
// a b + c in either half, rounded once; subnormal numbers count.
DEVICE u32 multiply_add_bf16_pair(u32 a, u32 b, u32 c) { u32 r; asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
DEVICE u16 to_f16(float value) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(value)); return r; }
DEVICE float from_f16(u16 bits) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits)); return r; }

// Where the compiler cannot see that an address is one of global memory, after a choice of two.
template <typename T>
DEVICE T load_global(const void* p) { return *(const __attribute__((address_space(1))) T*)p; }

// Inline PTX takes addresses of one memory, not generic ones.
DEVICE u64 global_address(const void* p) { return (u64)(const __attribute__((address_space(1))) void*)p; }
DEVICE u32 shared_address(const void* p) { return (u32)(u64)(const __attribute__((address_space(3))) void*)p; }

// Weights are read once: they go around the first-level cache.
DEVICE Words4 load_stream(const void* p) {
  Words4 r;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w) : "l"(global_address(p)));
  return r;
}

// Into the second-level cache, the line that an address is in; nobody waits for it.
DEVICE void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(global_address(p))); }

// 16 bytes; zeros where the condition is false, the source is then not read.
DEVICE void copy_async(void* target, const void* source, bool condition) {
  int bytes = condition ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)), "l"(global_address(source)), "r"(bytes) : "memory");
}
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory"); }

// Four 8 x 8 matrices of 16-bit values; lane 8 m + r gives the address of row r of matrix m.
DEVICE void load_matrices(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
DEVICE void load_matrices_transposed(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}

// D (16 x 8, float) += A (16 x 16, BF16) B (16 x 8, BF16).
DEVICE void multiply_matrices(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// D (16 x 8, integers) += A (16 x 32, unsigned bytes) B (32 x 8, signed bytes).
DEVICE void multiply_bytes(u32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEVICE float warp_sum(float value) {
  UNROLL for (int m = 16; m; m >>= 1) value += exchange(value, m);
  return value;
}
DEVICE float warp_max(float value) {
  UNROLL for (int m = 16; m; m >>= 1) { const float other = exchange(value, m); value = other > value ? other : value; }
  return value;
}

// Every thread of a block of whole warps gets the sum. Scratch: 32 floats that no thread uses until the next barrier.
DEVICE float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  if (lane() == 0) scratch[warp()] = value;
  sync_block();
  value = warp_sum(lane() < (thread_count() >> 5) ? scratch[lane()] : 0.f);
  sync_block();
  return value;
}
