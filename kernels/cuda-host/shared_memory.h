// A block's shared memory, with what is known about each piece of it: so that reads of what nobody wrote, and accesses of two
// threads that no barrier orders, are found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace slayer::host {

// Who is accessing, and when. Epochs count barriers passed: two accesses by different threads of a block are ordered if the
// block passed a barrier between them, and two of one warp also if the warp did.
struct Access {
  uint16_t thread;
  uint16_t warp;
  uint32_t block_epoch;
  uint32_t warp_epoch;
};

class SharedMemory {
 public:
  // Largest of any device that kernels are written for (compute capability 9.0), in bytes.
  static constexpr size_t kMost = 227 << 10;

  SharedMemory();

  // A new block begins: what earlier ones wrote counts as unwritten. Access beyond `bytes` is an error.
  void begin_block(size_t bytes);

  // Each returns where the bytes are, or null after reporting that they lie outside. Granules are 2 bytes.
  const std::byte* read(const Access& by, uint32_t at, uint32_t bytes);
  std::byte* write(const Access& by, uint32_t at, uint32_t bytes);
  // An asynchronous copy into this range has begun: until it is complete the range may not be touched.
  std::byte* begin_copy(const Access& by, uint32_t at, uint32_t bytes);
  void complete_copy(const Access& by, uint32_t at, uint32_t bytes);

  // The copy engine has filled the range.
  void complete_box(const Access& by, uint32_t at, uint32_t bytes);

  // A product reads 16 bytes, from when it is issued until it is complete.
  void begin_product(const Access& by, uint32_t at);
  void end_product(const Access& by, uint32_t at);
  // The thread has made what it wrote visible to products and copies.
  void fence(uint16_t thread) { fences_[thread]++; }
  // Past all checks.
  std::byte* data() { return memory_.data(); }

  // The first thing that was wrong since the last call, or "".
  std::string take_problem();
  void report(std::string problem);

 private:
  struct Granule {
    uint32_t written_in = 0;  // block number; 0 never
    uint32_t write_epoch = 0;
    uint32_t write_warp_epoch = 0;
    uint32_t read_in = 0;
    uint32_t read_epoch = 0;
    uint32_t read_warp_epoch = 0;
    uint16_t writer = 0;
    uint16_t writer_warp = 0;
    uint16_t reader = 0;       // kMany: more than one
    uint16_t reader_warp = 0;  // kMany: more than one
    bool copying = false;
    bool by_copy_engine = false;
    uint32_t write_fence = 0;  // how many fences its writer had passed
  };
  static constexpr uint16_t kMany = 0xffff;

  void check_read(const Granule& g, const Access& by, uint32_t at);
  void note_read(Granule& g, const Access& by);
  bool inside(uint32_t at, uint32_t bytes, const char* what);
  void note_write(Granule& g, const Access& by, uint32_t at, bool check);
  std::string place(const Access& by, uint32_t at) const;

  std::vector<std::byte> memory_;
  std::vector<Granule> granules_;
  std::vector<uint16_t> multiplied_;  // by 16 bytes: products that read them
  std::vector<uint32_t> fences_;      // by thread
  size_t bytes_ = 0;
  uint32_t block_ = 0;
  std::string problem_;
};

}  // namespace slayer::host
