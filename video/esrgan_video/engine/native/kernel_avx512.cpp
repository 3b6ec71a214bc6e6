#include "winograd.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#endif

namespace esrgan {
namespace {

constexpr int LANES = 16, VECTORS = 2, ROWS = 14, GROUP = 14;
#include "kernel.inl"

}  // namespace
}  // namespace esrgan

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif

namespace esrgan {
extern const Kernel AVX512 = {
    "avx512", GROUP,
    [] {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("fma");
    },
    run};
}  // namespace esrgan
#endif
