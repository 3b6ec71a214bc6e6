#include "winograd.h"

namespace esrgan {
namespace {

constexpr int LANES = 4, VECTORS = 4, ROWS = 6, GROUP = 12;
#include "kernel.inl"

}  // namespace

extern const Kernel PORTABLE = {"portable", GROUP, [] { return true; }, run};
}  // namespace esrgan
