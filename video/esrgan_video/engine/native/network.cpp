// RRDBNet (Wang et al. 2018, arXiv:1809.00219) as passes of 3x3 convolutions, and the C interface that Python calls.
//
// The layers of a dense block, and those of the upsampler, advance together in bands of rows, each one row of tiles
// behind the one before it: what a layer reads is still in a cache, and only a band of every map has to be kept.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "winograd.h"

namespace esrgan {

#if defined(__x86_64__)
extern const Kernel AVX512, AVX2;
#endif
extern const Kernel PORTABLE;

const Kernel* const KERNELS[] = {
#if defined(__x86_64__)
    &AVX512,
    &AVX2,
#endif
    &PORTABLE,
};
const int NUM_KERNELS = sizeof(KERNELS) / sizeof(KERNELS[0]);

}  // namespace esrgan

// As in bindings.py.
extern "C" {
struct EsrganLayer {
    const float* weights;
    const float* bias;
    int32_t in_blocks;
    int32_t out_blocks;
};
struct EsrganNetwork {
    const EsrganLayer* layers;  // conv_first, five for each dense block, conv_body, conv_up..., conv_hr, conv_last
    int32_t in_channels;
    int32_t out_channels;
    int32_t num_blocks;  // RRDBs, of three dense blocks each
    int32_t num_stages;  // of the upsampler
};
}

namespace {

using namespace esrgan;

constexpr int CONVOLUTIONS = 5;  // in a dense block
constexpr float SLOPE = 0.2F;    // of LeakyReLU
constexpr float BETA = 0.2F;     // the paper's residual scaling
constexpr int BAND_TILES = 320;  // tiles that the first layer of a chain advances by, about
constexpr int MARGIN = 8;        // zero columns right of a map
constexpr size_t ALIGNMENT = 64;

int divide_up(int value, int by) { return (value + by - 1) / by; }
int tiles(int pixels) { return divide_up(pixels, OUT); }
int columns(int width) { return tiles(width) * OUT + MARGIN; }

// The result of one pass of a chain: its rows of tiles, and whether the pass enlarges what it reads.
struct Extent {
    int rows;
    int doubled;
};

// Run one pass of a chain over the rows of tiles from `first` up to `last`.
struct Step {
    int pass;
    int first;
    int last;
};

struct Chain {
    std::vector<Pass> passes;
    std::vector<Step> steps;
};

// The order for passes that each read what the one before makes: the first advances by `band`, the others as far as
// there are rows for them. A row of tiles needs one row of pixels below it.
std::vector<Step> schedule(const std::vector<Extent>& chain, int band) {
    std::vector<Step> steps;
    std::vector<int> done(chain.size(), 0);
    while (done.back() < chain.back().rows) {
        for (size_t i = 0; i < chain.size(); ++i) {
            int stop = chain[i].rows;
            if (i == 0)
                stop = std::min(stop, done[0] + band);
            else if (done[i - 1] < chain[i - 1].rows)
                stop = std::max(done[i], (((done[i - 1] * OUT) << chain[i].doubled) - 1) / OUT);
            if (stop > done[i]) steps.push_back({static_cast<int>(i), done[i], stop});
            done[i] = stop;
        }
    }
    return steps;
}

// Rows of pixels that a map has to keep which pass `maker` makes and the following ones up to `reader` read.
int rows_kept(const std::vector<Extent>& chain, const std::vector<Step>& steps, int maker, int reader) {
    int made = 0, kept = 0;
    for (const Step& step : steps) {
        if (step.pass == maker) made = step.last * OUT;
        if (step.pass <= maker || step.pass > reader) continue;
        const int oldest = (step.first * OUT - 1) >> chain[step.pass].doubled;
        kept = std::max(kept, made - std::max(0, oldest));
    }
    return kept;
}

// Shares out one block of memory; with none it only counts.
class Workspace {
  public:
    explicit Workspace(float* memory) : memory_(memory) {}

    float* take(size_t floats) {
        const size_t start = used_;
        used_ += (floats * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * (ALIGNMENT / sizeof(float));
        return memory_ == nullptr ? nullptr : memory_ + start;
    }

    // A map of which `rows` are kept.
    Map map(int blocks, int height, int width, int rows) {
        Map made;
        made.blocks = blocks;
        made.columns = columns(width);
        made.height = height;
        made.width = width;
        made.rows = std::min(rows, height);
        made.data = take(static_cast<size_t>(made.rows) * blocks * made.columns * BLOCK);
        return made;
    }

    size_t bytes() const { return used_ * sizeof(float); }

  private:
    float* memory_;
    size_t used_ = 0;  // floats
};

// Threads that all go through the same sequence of passes and share out the jobs of each.
class Team {
  public:
    explicit Team(int size) : size_(size) {}

    // Run `work(number)` on every thread, this one included. Goes on with fewer where the system has no more.
    template <class Work>
    void run(Work work) {
        std::vector<std::thread> threads;
        {
            const std::lock_guard<std::mutex> hold(start_);
            try {
                threads.reserve(size_);
                for (int number = 1; number < size_; ++number)
                    threads.emplace_back([this, work, number] {
                        { const std::lock_guard<std::mutex> wait(start_); }
                        work(number);
                    });
            } catch (const std::system_error&) {
                size_ = static_cast<int>(threads.size()) + 1;
            }
        }
        work(0);
        for (std::thread& thread : threads) thread.join();
    }

    // Do `job(0)` ... `job(count - 1)`, each on the next thread that is free; return when all are done.
    // `claimed` is the caller's own count of numbers that were given out before.
    template <class Work>
    void share(int64_t& claimed, int count, Work job) {
        for (int64_t next; (next = next_.fetch_add(1) - claimed) < count;) job(static_cast<int>(next));
        claimed += count + size_;
        wait();
    }

  private:
    void wait() {
        const unsigned round = round_.load();
        if (arrived_.fetch_add(1) + 1 == size_) {
            arrived_.store(0);
            {
                const std::lock_guard<std::mutex> hold(mutex_);
                round_.store(round + 1);
            }
            changed_.notify_all();
            return;
        }
        for (int i = 0; i < SPINS; ++i)
            if (round_.load() != round) return;
        std::unique_lock<std::mutex> hold(mutex_);
        changed_.wait(hold, [&] { return round_.load() != round; });
    }

    static constexpr int SPINS = 4000;
    int size_;
    std::mutex start_;
    std::atomic<int64_t> next_{0};
    std::atomic<int> arrived_{0};
    std::atomic<unsigned> round_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
};

// One thread's view of the work.
class Worker {
  public:
    Worker(Team& team, const Kernel& kernel, float* scratch, const volatile int32_t* stopped)
        : team_(team), kernel_(kernel), scratch_(scratch), stopped_(stopped) {}

    // `output` is what `planes` of a pass without a map points at.
    void run(const Chain& chain, float* output) {
        for (const Step& step : chain.steps) run(chain.passes[step.pass], step.first, step.last, output);
    }

    template <class Work>
    void share(int count, Work job) {
        team_.share(claimed_, count, job);
    }

  private:
    // `pass` over the rows of tiles from `first` up to `last`.
    void run(Pass pass, int first, int last, float* output) {
        if (pass.target == nullptr) pass.planes = output;
        const int across = tiles(pass.width);
        const int groups = divide_up(across, kernel_.group_tiles);
        share((last - first) * groups, [&](int number) {
            if (*stopped_) return;  // the result is wanted no more; all threads still go through all passes together
            const int group = number % groups;
            const int start = across * group / groups, stop = across * (group + 1) / groups;
            kernel_.run(pass, Job{first + number / groups, start, stop - start}, scratch_);
        });
    }

    Team& team_;
    const Kernel& kernel_;
    float* scratch_;
    const volatile int32_t* stopped_;
    int64_t claimed_ = 0;
};

// A picture's way through the network: where everything lies in memory, and what is done in which order.
class Plan {
  public:
    Plan(const EsrganNetwork& network, int height, int width, const Kernel& kernel, int threads, float* memory)
        : network_(network), height_(height), width_(width), workspace_(memory) {
        const int features = network.layers[0].out_blocks;
        const int band = divide_up(BAND_TILES, tiles(width));
        image_ = workspace_.map(network.layers[0].in_blocks, height, width, height);
        for (Map* map : {&first_, &trunk_, &here_, &there_}) *map = workspace_.map(features, height, width, height);
        zeros_ = workspace_.take(columns(width << network.num_stages) * size_t{BLOCK});
        for (int thread = 0; thread < threads; ++thread)
            scratch_.push_back(workspace_.take(scratch_floats(widest_layer(), kernel.group_tiles)));

        const EsrganLayer* layer = network.layers;
        add_convolution(*layer++, image_, first_, nullptr);
        add_blocks(layer, band);
        add_convolution(*layer++, network.num_blocks > 0 ? trunk_ : first_, here_, &first_);
        add_upsampler(layer, band);
    }

    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    size_t bytes() const { return workspace_.bytes(); }
    float* scratch(int thread) const { return scratch_[thread]; }

    // (channel, height, width) -> (channel, height * scale, width * scale), all threads together.
    void run(Worker& worker, const float* input, float* output) const {
        clear(worker);
        read(worker, input);
        for (const Chain& chain : chains_) worker.run(chain, output);
    }

  private:
    int widest_layer() const {
        const int count = 4 + network_.num_blocks * 3 * CONVOLUTIONS + network_.num_stages;
        int widest = 0;
        for (int i = 0; i < count; ++i) widest = std::max<int>(widest, network_.layers[i].in_blocks);
        return widest;
    }

    Pass convolution(const EsrganLayer& layer, const Map& source, const Map& target, float slope) const {
        Pass pass;
        pass.sources[0] = &source;
        pass.num_sources = 1;
        pass.zeros = zeros_;
        pass.weights = layer.weights;
        pass.bias = layer.bias;
        pass.in_blocks = layer.in_blocks;
        pass.out_blocks = layer.out_blocks;
        pass.slope = slope;
        pass.target = &target;
        pass.height = target.height;
        pass.width = target.width;
        return pass;
    }

    void add_convolution(const EsrganLayer& layer, const Map& source, const Map& target, const Map* skip) {
        Pass pass = convolution(layer, source, target, 1);
        pass.residuals[0] = {skip, 1};
        chains_.push_back({{pass}, {{0, 0, tiles(height_)}}});
    }

    // All dense blocks; moves `layer` on.
    void add_blocks(const EsrganLayer*& layer, int band) {
        if (network_.num_blocks == 0) return;
        const int growth = layer->out_blocks;
        const std::vector<Extent> extents(CONVOLUTIONS, {tiles(height_), 0});
        const std::vector<Step> steps = schedule(extents, band);
        for (int i = 0; i < CONVOLUTIONS - 1; ++i)
            grown_.push_back(workspace_.map(growth, height_, width_, rows_kept(extents, steps, i, CONVOLUTIONS - 1)));
        const Map* features_map = &first_;
        for (int block = 0; block < network_.num_blocks; ++block) {
            chains_.push_back({dense_block(layer, *features_map, here_, nullptr), steps});
            chains_.push_back({dense_block(layer, here_, there_, nullptr), steps});
            chains_.push_back({dense_block(layer, there_, trunk_, features_map), steps});
            features_map = &trunk_;
        }
    }

    // target = source + beta * block(source), or outer + beta * that; moves `layer` on.
    std::vector<Pass> dense_block(const EsrganLayer*& layer, const Map& source, const Map& target,
                                  const Map* outer) const {
        std::vector<Pass> passes;
        for (int i = 0; i < CONVOLUTIONS; ++i) {
            const bool last = i == CONVOLUTIONS - 1;
            Pass pass = convolution(*layer++, source, last ? target : grown_[i], last ? 1 : SLOPE);
            for (int j = 0; j < i; ++j) pass.sources[j + 1] = &grown_[j];
            pass.num_sources = i + 1;
            if (last) {
                pass.residuals[0] = {&source, BETA};
                pass.residuals[1] = {outer, BETA};
            }
            passes.push_back(pass);
        }
        return passes;
    }

    // conv_up..., conv_hr and conv_last.
    void add_upsampler(const EsrganLayer* layer, int band) {
        std::vector<Extent> extents;
        for (int stage = 1; stage <= network_.num_stages; ++stage)
            extents.push_back({tiles(height_ << stage), 1});
        const int large = network_.num_stages;
        for (int i = 0; i < 2; ++i) extents.push_back({tiles(height_ << large), 0});
        const std::vector<Step> steps = schedule(extents, band);
        for (int i = 0; i <= large; ++i) {
            const int stage = std::min(i + 1, large);
            large_.push_back(workspace_.map(layer->out_blocks, height_ << stage, width_ << stage,
                                            rows_kept(extents, steps, i, i + 1)));
        }
        std::vector<Pass> passes;
        const Map* source = &here_;
        for (int i = 0; i <= large; ++i) {
            passes.push_back(convolution(*layer++, *source, large_[i], SLOPE));
            passes.back().doubled = extents[i].doubled;
            source = &large_[i];
        }
        passes.push_back(convolution(*layer, *source, *source, 1));
        passes.back().target = nullptr;
        passes.back().num_planes = network_.out_channels;
        chains_.push_back({passes, steps});
    }

    // The borders of maps must be zero, and so must channels that only fill a block.
    void clear(Worker& worker) const {
        for (const Map* map : {&image_, &first_, &trunk_, &here_, &there_}) clear(worker, *map);
        for (const Map& map : grown_) clear(worker, map);
        for (const Map& map : large_) clear(worker, map);
        worker.share(1, [&](int) { std::fill_n(zeros_, columns(width_ << network_.num_stages) * size_t{BLOCK}, 0.0F); });
    }

    static void clear(Worker& worker, const Map& map) {
        const size_t row = static_cast<size_t>(map.blocks) * map.columns * BLOCK;
        worker.share(map.rows, [&](int y) { std::fill_n(map.data + y * row, row, 0.0F); });
    }

    void read(Worker& worker, const float* input) const {
        worker.share(height_, [&](int y) {
            for (int channel = 0; channel < network_.in_channels; ++channel) {
                const float* from = input + (static_cast<size_t>(channel) * height_ + y) * width_;
                float* to = image_.row(y, channel / BLOCK) + BLOCK + channel % BLOCK;
                for (int x = 0; x < width_; ++x) to[static_cast<size_t>(x) * BLOCK] = from[x];
            }
        });
    }

    const EsrganNetwork& network_;
    int height_;
    int width_;
    Workspace workspace_;
    Map image_, first_, trunk_, here_, there_;
    std::deque<Map> grown_, large_;  // passes point at them
    float* zeros_ = nullptr;
    std::vector<float*> scratch_;
    std::vector<Chain> chains_;
};

}  // namespace

extern "C" {

// The name of kernel `index`, fastest first; null after the last. `supported` says whether this processor runs it.
const char* esrgan_kernel(int32_t index, int32_t* supported) {
    if (index < 0 || index >= NUM_KERNELS) return nullptr;
    *supported = KERNELS[index]->is_supported() ? 1 : 0;
    return KERNELS[index]->name;
}

// Bytes of workspace that a picture needs.
int64_t esrgan_workspace(const EsrganNetwork* network, int32_t height, int32_t width, int32_t kernel,
                         int32_t threads) {
    try {
        return static_cast<int64_t>(Plan(*network, height, width, *KERNELS[kernel], threads, nullptr).bytes());
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

// Upscale one picture. `workspace` is aligned to 64 bytes. Once `stopped` is not 0 it returns soon, and `output` is
// worth nothing. 0: done; 1: out of memory.
int32_t esrgan_run(const EsrganNetwork* network, const float* input, float* output, int32_t height, int32_t width,
                   int32_t kernel, int32_t threads, float* workspace, const volatile int32_t* stopped) {
    try {
        const Plan plan(*network, height, width, *KERNELS[kernel], threads, workspace);
        Team team(threads);
        team.run([&](int number) {
            Worker worker(team, *KERNELS[kernel], plan.scratch(number), stopped);
            plan.run(worker, input, output);
        });
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
}
