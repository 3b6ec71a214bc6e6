// Float RGB to code values of luma and chroma, row by row: each value of the picture is read from memory once, and all
// between that and its code stays in a cache. `codes.py` says what is computed, and has the C interface's other side.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#define INLINE inline __attribute__((always_inline))

extern "C" {
// As in codes.py.
struct EsrganConversion {
    const float* rgb[3];
    const float* beyond[3];  // null where nothing was beyond 0..1
    void* planes[3];
    const float* thresholds;  // 8 x 8, or null
    int64_t row;              // floats from one row of `rgb` to the next
    int64_t beyond_row;
    float weights[3][3];  // of R, G and B in a code of each plane
    float offsets[3];
    float vertical[8];
    float horizontal[8];
    float peak;
    float black;
    int32_t height, width;
    int32_t repeat_y, repeat_x;  // pixels of the picture for each of `beyond`
    int32_t step_y, step_x;      // luma samples for each chroma sample
    int32_t first_y, first_x;    // the first sample that has a weight, counted from the chroma sample's first one
    int32_t taps_y, taps_x;
    int32_t limited;  // whether `rgb` is limited to 0..1
    int32_t num_planes;
    int32_t bytes;  // of a code
};
}

namespace {

using Conversion = EsrganConversion;

constexpr int SIDE = 8;      // of the thresholds, and more taps than there are
constexpr int GROUPS = 8;    // rows of chroma that a thread takes at once: of the dither's 8, for its pattern is a row's
constexpr float ROUND = 12582912.0F;  // 1.5 * 2^23: adding it leaves no bits for fractions, ties to even

int divide_up(int value, int by) { return (value + by - 1) / by; }

// What one thread works in: rows with room on both sides.
class Scratch {
  public:
    explicit Scratch(int width) : stride_(width + 4 * SIDE), memory_(new float[ROWS * stride_]) {}

    float* rgb(int channel) { return row(channel); }
    float* sum(int channel) { return row(3 + channel); }

    // The row of `beyond` that belongs to row `y` of the picture, its values repeated.
    const float* beyond(const Conversion& c, int channel, int y) {
        float* const repeated = row(6 + channel);
        if (held_[channel] != y / c.repeat_y) {
            held_[channel] = y / c.repeat_y;
            const float* value = c.beyond[channel] + held_[channel] * c.beyond_row;
            for (int x = 0; x < c.width; x += c.repeat_x) std::fill_n(repeated + x, c.repeat_x, *value++);
        }
        return repeated;
    }

  private:
    float* row(int index) { return memory_.get() + index * stride_ + SIDE; }

    static constexpr size_t ROWS = 9;
    size_t stride_;
    std::unique_ptr<float[]> memory_;
    int held_[3] = {-1, -1, -1};
};

// A row of one channel as it is to be seen. NaN stays.
INLINE void prepare(const Conversion& c, int channel, int y, Scratch& scratch) {
    const float* __restrict in = c.rgb[channel] + y * c.row;
    float* __restrict out = scratch.rgb(channel);
    if (!c.limited) {
        std::copy_n(in, c.width, out);
        return;
    }
    const int width = c.width;
    for (int x = 0; x < width; ++x) {
        const float low = in[x] < 0.0F ? 0.0F : in[x];
        out[x] = low > 1.0F ? 1.0F : low;
    }
    if (c.beyond[channel] == nullptr) return;
    const float* __restrict more = scratch.beyond(c, channel, y);
    for (int x = 0; x < width; ++x) out[x] += more[x];
}

template <class Code, bool DITHER>
INLINE void write_row(const Conversion& c, int plane, const float* const* rgb, int width, int y) {
    // Copies, since codes of one byte might be anything for all that the compiler knows.
    const float* __restrict red = rgb[0];
    const float* __restrict green = rgb[1];
    const float* __restrict blue = rgb[2];
    const float r = c.weights[plane][0], g = c.weights[plane][1], b = c.weights[plane][2], offset = c.offsets[plane];
    const float peak = c.peak, black = c.black;
    float thresholds[SIDE] = {};
    if (DITHER) std::copy_n(c.thresholds + y % SIDE * SIDE, SIDE, thresholds);
    Code* __restrict out = static_cast<Code*>(c.planes[plane]) + static_cast<size_t>(y) * width;
    for (int x = 0; x < width; ++x) {
        float value = __builtin_fmaf(blue[x], b, __builtin_fmaf(green[x], g, red[x] * r)) + offset;
        if (DITHER) value += thresholds[x % SIDE];
        value = value != value ? black : value;
        value = value < 0.0F ? 0.0F : value;
        value = value > peak ? peak : value;
        out[x] = static_cast<Code>(static_cast<int32_t>((value + ROUND) - ROUND));
    }
}

// sum = in * weight, or sum + in * weight
INLINE void accumulate(const float* __restrict in, float weight, bool is_first, int width, float* __restrict sum) {
    if (is_first)
        for (int x = 0; x < width; ++x) sum[x] = in[x] * weight;
    else
        for (int x = 0; x < width; ++x) sum[x] = __builtin_fmaf(in[x], weight, sum[x]);
}

template <int STEP>
INLINE void gather(const float* __restrict in, const float* weights, int taps, int width, float* __restrict out) {
    for (int x = 0; x < width; ++x) out[x] = in[x * STEP] * weights[0];
    for (int tap = 1; tap < taps; ++tap)
        for (int x = 0; x < width; ++x) out[x] = __builtin_fmaf(in[x * STEP + tap], weights[tap], out[x]);
}

// A row of one channel at the size of chroma. `sum` has room on both sides, where its edges are repeated.
INLINE void reduce(const Conversion& c, float* sum, float* out) {
    std::fill_n(sum - SIDE, SIDE, sum[0]);
    std::fill_n(sum + c.width, SIDE, sum[c.width - 1]);
    const int width = (c.width + c.step_x - 1) / c.step_x;
    const float* in = sum + c.first_x;
    if (c.step_x == 1) gather<1>(in, c.horizontal, c.taps_x, width, out);
    if (c.step_x == 2) gather<2>(in, c.horizontal, c.taps_x, width, out);
    if (c.step_x == 4) gather<4>(in, c.horizontal, c.taps_x, width, out);
}

// Rows of chroma from `first` up to `last`, and the rows of luma that belong to them.
template <class Code, bool DITHER>
INLINE void convert(const Conversion& c, int first, int last, Scratch& scratch) {
    float* const rgb[3] = {scratch.rgb(0), scratch.rgb(1), scratch.rgb(2)};
    float* const sums[3] = {scratch.sum(0), scratch.sum(1), scratch.sum(2)};
    const bool has_chroma = c.num_planes > 1;
    for (int group = first; group < last; ++group) {
        const int top = group * c.step_y, tapped = has_chroma ? top + c.first_y : top;
        const int begin = std::min(top, tapped);
        const int end = std::max(top + c.step_y, has_chroma ? tapped + c.taps_y : top);
        for (int y = begin; y < end; ++y) {
            const int tap = y - tapped;
            const bool is_tapped = has_chroma && tap >= 0 && tap < c.taps_y;
            const bool is_luma = y >= top && y < std::min(top + c.step_y, c.height);
            if (!is_tapped && !is_luma) continue;
            const int row = std::min(std::max(y, 0), c.height - 1);
            for (int channel = 0; channel < 3; ++channel) prepare(c, channel, row, scratch);
            if (is_luma) write_row<Code, DITHER>(c, 0, rgb, c.width, y);
            if (is_tapped)
                for (int channel = 0; channel < 3; ++channel)
                    accumulate(rgb[channel], c.vertical[tap], tap == 0, c.width, sums[channel]);
        }
        if (!has_chroma) continue;
        for (int channel = 0; channel < 3; ++channel) reduce(c, sums[channel], rgb[channel]);
        const int width = (c.width + c.step_x - 1) / c.step_x;
        for (int plane = 1; plane < 3; ++plane) write_row<Code, DITHER>(c, plane, rgb, width, group);
    }
}

INLINE void convert_any(const Conversion& c, int first, int last, Scratch& scratch) {
    const bool dither = c.thresholds != nullptr;
    if (c.bytes == 1)
        dither ? convert<uint8_t, true>(c, first, last, scratch) : convert<uint8_t, false>(c, first, last, scratch);
    else
        dither ? convert<uint16_t, true>(c, first, last, scratch) : convert<uint16_t, false>(c, first, last, scratch);
}

using Convert = void (*)(const Conversion&, int, int, Scratch&);

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))) void convert_avx512(
    const Conversion& c, int first, int last, Scratch& scratch) {
    convert_any(c, first, last, scratch);
}
__attribute__((target("avx2,fma"))) void convert_avx2(const Conversion& c, int first, int last, Scratch& scratch) {
    convert_any(c, first, last, scratch);
}
#elif defined(__FP_FAST_FMAF)
void convert_here(const Conversion& c, int first, int last, Scratch& scratch) {
    convert_any(c, first, last, scratch);
}
#endif

struct Kernel {
    Convert run;
    bool (*is_supported)();
};

// Fastest first. None where a multiplication and an addition are no single instruction: rounding would depend on the
// processor.
const Kernel KERNELS[] = {
#if defined(__x86_64__)
    {convert_avx512,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     }},
    {convert_avx2, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#elif defined(__FP_FAST_FMAF)
    {convert_here, [] { return true; }},
#endif
    {nullptr, nullptr},
};

}  // namespace

extern "C" {

// Whether there is a kernel `number`, and it runs on this processor: 1 or 0; -1 after the last one.
int32_t esrgan_codes_supported(int32_t number) {
    return KERNELS[number].run == nullptr ? -1 : KERNELS[number].is_supported();
}

// Returns what is not zero where memory for a few rows is missing.
int32_t esrgan_codes(const EsrganConversion* conversion, int32_t kernel, int32_t threads) {
    const Conversion& c = *conversion;
    const Convert run = KERNELS[kernel].run;
    const int rows = divide_up(c.height, c.step_y), parts = divide_up(rows, GROUPS);
    try {
        std::vector<Scratch> scratch;
        std::vector<std::thread> others;
        const int count = std::min<int>(std::max<int>(threads, 1), parts);
        for (int i = 0; i < count; ++i) scratch.emplace_back(c.width);
        others.reserve(count);
        std::atomic<int> next{0};
        const auto work = [&](int number) {
            for (int part; (part = next.fetch_add(1)) < parts;)
                run(c, part * GROUPS, std::min(rows, (part + 1) * GROUPS), scratch[number]);
        };
        try {
            for (int i = 1; i < count; ++i) others.emplace_back(work, i);
        } catch (const std::exception&) {  // the system has no more threads: fewer do it
        }
        work(0);
        for (std::thread& other : others) other.join();
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}
}
