// What the schedule (network.cpp) and the kernels (one for each instruction set) share.
#pragma once

#include <cstddef>

namespace esrgan {

constexpr int BLOCK = 16;    // channels lie in blocks of this many, whatever the vector length
constexpr int OUT = 4;       // F(4x4, 3x3): a tile makes 4x4 outputs ...
constexpr int IN = OUT + 2;  // ... of 6x6 inputs ...
constexpr int POINTS = IN * IN;  // ... with one product for each of 36 points
constexpr int CHUNK = 2;     // blocks of output channels that one pass over the transformed input makes

// Features, (row, block, column, channel in block). The first column is the zero left of the picture, and at least
// eight zeros follow it on the right. Only the last `rows` rows are kept where that is fewer than `height`.
struct Map {
    float* data = nullptr;
    int blocks = 0;
    int columns = 0;
    int rows = 0;
    int height = 0;
    int width = 0;

    float* row(int y, int block) const {
        return data + (static_cast<size_t>(y % rows) * blocks + block) * columns * BLOCK;
    }
};

// An addend of the result: result = map + scale * result.
struct Residual {
    const Map* map = nullptr;
    float scale = 1;
};

// A 3x3 convolution over some rows of tiles.
struct Pass {
    const Map* sources[5] = {};  // concatenated along channels
    int num_sources = 0;
    int doubled = 0;             // 1: the input is the source enlarged x2 to its nearest neighbours
    const float* zeros = nullptr;  // a row of zeros as long as the longest row of a source

    const float* weights = nullptr;  // (chunk, point, channel in, channel out in chunk)
    const float* bias = nullptr;
    int in_blocks = 0;
    int out_blocks = 0;

    float slope = 1;                 // of LeakyReLU; 1: none
    Residual residuals[2] = {};
    const Map* target = nullptr;
    float* planes = nullptr;         // (channel, height, width): the target of the last layer
    int num_planes = 0;
    int height = 0;                  // of the result, in pixels
    int width = 0;
};

// Tiles that a thread takes at once: `count` of them, from `first_tile` of tile row `row`.
struct Job {
    int row;
    int first_tile;
    int count;
};

struct Kernel {
    const char* name;
    int group_tiles;  // most tiles in a job
    bool (*is_supported)();
    void (*run)(const Pass&, const Job&, float* scratch);
};

// Floats between the points of a transformed group. One line more than there is to store: powers of two would have all
// points of a tile compete for the same places in a cache.
inline size_t point_stride_of(int in_blocks, int group_tiles) {
    return (static_cast<size_t>(in_blocks) * group_tiles + 1) * BLOCK;
}

// Floats that one thread needs as scratch: products and transformed inputs.
inline size_t scratch_floats(int in_blocks, int group_tiles) {
    return POINTS * (static_cast<size_t>(group_tiles) * CHUNK * BLOCK + point_stride_of(in_blocks, group_tiles));
}

extern const Kernel* const KERNELS[];  // fastest first
extern const int NUM_KERNELS;

}  // namespace esrgan
