// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
//
// All kernels, one module: kimi.ptx is made of this file by eng/build-ptx.sh.
#include "attention.cu"
#include "expert_gemm.cu"
#include "experts.cu"
#include "gemm.cu"
#include "latents.cu"
#include "linear.cu"
#include "linear_any.cu"
#include "mla_512.cu"
#include "mla_any.cu"
#include "mla_expanded.cu"
#include "mla_rows.cu"
#include "residual.cu"
#include "router.cu"
#include "split.cu"
#include "warm.cu"
