#include "winograd.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

namespace esrgan {
namespace {

constexpr int LANES = 8, VECTORS = 2, ROWS = 6, GROUP = 12;
#include "kernel.inl"

}  // namespace
}  // namespace esrgan

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif

namespace esrgan {
extern const Kernel AVX2 = {
    "avx2", GROUP, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, run};
}  // namespace esrgan
#endif
