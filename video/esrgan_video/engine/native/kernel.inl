// Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308) with the points 0, +-1/sqrt(2), +-sqrt(2) and infinity,
// whose rounding error is about half of that of 0, +-1, +-2. Included once for each instruction set, with
//   LANES        floats in a vector,
//   VECTORS      vectors of output channels that the inner product accumulates side by side,
//   ROWS         tiles that it accumulates,
//   GROUP        tiles in a job.
// Every output is the sum over input channels in their order, wherever its tile lies in a job: results do not depend
// on how the picture is shared out.

constexpr float A = 0.70710678118654752440F;  // the points
constexpr float B = 1.41421356237309504880F;
constexpr float A2 = 0.5F;
constexpr float B2 = 2.0F;
constexpr float A3 = A * A2;
constexpr float B3 = B * B2;

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
constexpr int HALVES = BLOCK / LANES;  // vectors in a block
constexpr int KEPT = 8;                // columns, a power of two over those of a tile

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// Six inputs to six points, in one dimension.
inline void input_transform(const Vector (&x)[IN], Vector (&y)[IN]) {
    const Vector even_a = x[4] - B2 * x[2], odd_a = x[3] - B2 * x[1];
    const Vector even_b = x[4] - A2 * x[2], odd_b = x[3] - A2 * x[1];
    y[0] = x[4] - (A2 + B2) * x[2] + x[0];
    y[1] = even_a + A * odd_a;
    y[2] = even_a - A * odd_a;
    y[3] = even_b + B * odd_b;
    y[4] = even_b - B * odd_b;
    y[5] = x[5] - (A2 + B2) * x[3] + x[1];
}

// Six points to four outputs, in one dimension.
inline void output_transform(const Vector (&x)[IN], Vector (&y)[OUT]) {
    const Vector sum_a = x[1] + x[2], difference_a = x[1] - x[2];
    const Vector sum_b = x[3] + x[4], difference_b = x[3] - x[4];
    y[0] = x[0] + sum_a + sum_b;
    y[1] = A * difference_a + B * difference_b;
    y[2] = A2 * sum_a + B2 * sum_b;
    y[3] = x[5] + A3 * difference_a + B3 * difference_b;
}

// Transform one block of channels of the tiles of `job`; `to` is (point, tile, channel in block).
void transform_block(const Map& source, int block, const Pass& pass, const Job& job, float* to, size_t point_stride) {
    const float* rows[IN];
    for (int i = 0; i < IN; ++i) {
        const int y = job.row * OUT - 1 + i;
        rows[i] = y < 0 || y >= pass.height ? pass.zeros : source.row(y >> pass.doubled, block);
    }
    for (int half = 0; half < HALVES; ++half) {
        alignas(64) Vector columns[KEPT][IN];  // of the source, transformed: neighbouring tiles share two of six
        int next = (job.first_tile * OUT - 1) >> pass.doubled;
        for (int tile = 0; tile < job.count; ++tile) {
            const int left = (job.first_tile + tile) * OUT - 1;
            for (; next <= (left + IN - 1) >> pass.doubled; ++next) {
                const size_t offset = static_cast<size_t>(next + 1) * BLOCK + half * LANES;
                Vector x[IN], y[IN];
                for (int i = 0; i < IN; ++i) x[i] = load(rows[i] + offset);
                input_transform(x, y);
                for (int i = 0; i < IN; ++i) columns[next & (KEPT - 1)][i] = y[i];
            }
            const Vector* from[IN];
            for (int j = 0; j < IN; ++j) from[j] = columns[((left + j) >> pass.doubled) & (KEPT - 1)];
            float* out = to + tile * BLOCK + half * LANES;
#pragma GCC unroll 6
            for (int i = 0; i < IN; ++i) {
                Vector x[IN], y[IN];
                for (int j = 0; j < IN; ++j) x[j] = from[j][i];
                input_transform(x, y);
                for (int j = 0; j < IN; ++j, out += point_stride) store(out, y[j]);
            }
        }
    }
}

// products[tile][n] = sum over k of in[k][tile] * weights[k][n] for R tiles and N vectors of output channels.
// `in` is (block, tile, channel in block), `weights` (channel in, `width`), `products` (tile, `width`).
template <int R, int N>
void multiply(const float* in, int blocks, const float* weights, int width, float* products) {
    Vector sums[R][N] = {};
    for (int block = 0; block < blocks; ++block) {
#pragma GCC unroll 4
        for (int k = 0; k < BLOCK; ++k) {
            Vector w[N];
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) w[n] = load(weights + n * LANES);
#pragma GCC unroll 32
            for (int r = 0; r < R; ++r) {
                const float x = in[r * BLOCK + k];
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) sums[r][n] += x * w[n];
            }
            weights += width;
        }
        in += GROUP * BLOCK;
    }
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) store(products + r * width + n * LANES, sums[r][n]);
}

using Multiply = void (*)(const float*, int, const float*, int, float*);

template <int R, int N>
struct Table {
    static Multiply find(int rows) { return rows == R ? multiply<R, N> : Table<R - 1, N>::find(rows); }
};
template <int N>
struct Table<0, N> {
    static Multiply find(int) { return nullptr; }
};

template <int N>
void multiply_tiles(const float* in, int blocks, const float* weights, int width, float* products, int count) {
    for (int tile = 0; tile < count; tile += ROWS) {
        const int rows = count - tile < ROWS ? count - tile : ROWS;
        Table<ROWS, N>::find(rows)(in + tile * BLOCK, blocks, weights, width, products + tile * width);
    }
}

// All 36 products of one chunk of output channels; `products` is (point, tile, channel out in chunk).
void multiply_chunk(const float* in, size_t point_stride, const Pass& pass, const float* weights, int width,
                    float* products, int count) {
    for (int point = 0; point < POINTS; ++point) {
        int done = 0;
        for (; done + VECTORS * LANES <= width; done += VECTORS * LANES)
            multiply_tiles<VECTORS>(in, pass.in_blocks, weights + done, width, products + done, count);
        for (; done < width; done += LANES)
            multiply_tiles<1>(in, pass.in_blocks, weights + done, width, products + done, count);
        in += point_stride;
        weights += static_cast<size_t>(pass.in_blocks) * BLOCK * width;
        products += GROUP * width;
    }
}

inline Vector finish(Vector value, const Pass& pass, int block, int y, int x, int lane) {
    const Vector scaled = value * pass.slope;
    value = value > 0 ? value : scaled;  // not a number stays that
    for (const Residual& residual : pass.residuals) {
        if (residual.map == nullptr) break;
        const float* from = residual.map->row(y, block) + static_cast<size_t>(x + 1) * BLOCK + lane;
        value = load(from) + residual.scale * value;
    }
    return value;
}

// Products to pixels: inverse transform, bias, activation, residuals.
void write_block(const float* products, int width, int block, const Pass& pass, const Job& job) {
    for (int lane = 0; lane < BLOCK; lane += LANES) {
        const Vector bias = load(pass.bias + block * BLOCK + lane);
        for (int tile = 0; tile < job.count; ++tile) {
            const float* from = products + tile * width + lane;
            alignas(64) Vector half_done[OUT][IN];
            for (int j = 0; j < IN; ++j) {
                Vector x[IN], y[OUT];
                for (int i = 0; i < IN; ++i) x[i] = load(from + static_cast<size_t>(i * IN + j) * GROUP * width);
                output_transform(x, y);
                for (int i = 0; i < OUT; ++i) half_done[i][j] = y[i];
            }
            const int left = (job.first_tile + tile) * OUT;
            const int columns = pass.width - left < OUT ? pass.width - left : OUT;
            for (int i = 0; i < OUT; ++i) {
                const int row = job.row * OUT + i;
                if (row >= pass.height) break;
                Vector y[OUT];
                output_transform(half_done[i], y);
                for (int j = 0; j < columns; ++j) {
                    const Vector value = finish(y[j] + bias, pass, block, row, left + j, lane);
                    if (pass.planes == nullptr) {
                        store(pass.target->row(row, block) + static_cast<size_t>(left + j + 1) * BLOCK + lane, value);
                        continue;
                    }
                    for (int n = 0; n < LANES && block * BLOCK + lane + n < pass.num_planes; ++n) {
                        const size_t plane = static_cast<size_t>(block * BLOCK + lane + n) * pass.height + row;
                        pass.planes[plane * pass.width + left + j] = value[n];
                    }
                }
            }
        }
    }
}

void run(const Pass& pass, const Job& job, float* scratch) {
    float* products = scratch;
    float* in = scratch + static_cast<size_t>(POINTS) * GROUP * CHUNK * BLOCK;
    const size_t point_stride = point_stride_of(pass.in_blocks, GROUP);
    float* to = in;
    for (int source = 0; source < pass.num_sources; ++source) {
        const Map& map = *pass.sources[source];
        for (int block = 0; block < map.blocks; ++block, to += GROUP * BLOCK)
            transform_block(map, block, pass, job, to, point_stride);
    }
    for (int chunk = 0; chunk * CHUNK < pass.out_blocks; ++chunk) {
        const int blocks = pass.out_blocks - chunk * CHUNK < CHUNK ? pass.out_blocks - chunk * CHUNK : CHUNK;
        const float* weights =
            pass.weights + static_cast<size_t>(chunk) * CHUNK * BLOCK * pass.in_blocks * BLOCK * POINTS;
        multiply_chunk(in, point_stride, pass, weights, blocks * BLOCK, products, job.count);
        for (int block = 0; block < blocks; ++block)
            write_block(products + block * BLOCK, blocks * BLOCK, chunk * CHUNK + block, pass, job);
    }
}
