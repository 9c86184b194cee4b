#include "shared_memory.h"

#include <algorithm>
#include <utility>

namespace slayer::host {

SharedMemory::SharedMemory() : memory_(kMost), granules_(kMost / 2), multiplied_(kMost / 16), fences_(1 << 16) {}

void SharedMemory::begin_block(size_t bytes) {
  block_++;
  std::fill_n(multiplied_.begin(), std::min(bytes, kMost) / 16, uint16_t{0});
  bytes_ = bytes;
  // NaN: what slips through the checks below shows in the result.
  std::fill_n(memory_.begin(), std::min(bytes, kMost), std::byte{0xff});
}

const std::byte* SharedMemory::read(const Access& by, uint32_t at, uint32_t bytes) {
  if (!inside(at, bytes, "read")) return nullptr;
  for (uint32_t i = at / 2; i < (at + bytes + 1) / 2; i++) {
    check_read(granules_[i], by, 2 * i);
    note_read(granules_[i], by);
  }
  return memory_.data() + at;
}

void SharedMemory::check_read(const Granule& g, const Access& by, uint32_t at) {
  if (g.written_in != block_) report("read of shared memory that nobody has written, " + place(by, at));
  else if (g.copying) report("read of shared memory that an asynchronous copy is filling, " + place(by, at));
  else if (g.writer != by.thread && g.write_epoch == by.block_epoch && !(g.writer_warp == by.warp && g.write_warp_epoch < by.warp_epoch)) {
    report("read of shared memory that thread " + std::to_string(g.writer) + " wrote, with no barrier between, " + place(by, at));
  }
}

void SharedMemory::note_read(Granule& g, const Access& by) {
  if (g.read_in != block_ || g.read_epoch != by.block_epoch) {
    g.read_in = block_;
    g.read_epoch = by.block_epoch;
    g.reader = by.thread;
    g.reader_warp = by.warp;
  } else {
    if (g.reader != by.thread) g.reader = kMany;
    if (g.reader_warp != by.warp) g.reader_warp = kMany;
  }
  g.read_warp_epoch = by.warp_epoch;
}

std::byte* SharedMemory::write(const Access& by, uint32_t at, uint32_t bytes) {
  if (!inside(at, bytes, "write")) return nullptr;
  for (uint32_t i = at / 2; i < (at + bytes + 1) / 2; i++) note_write(granules_[i], by, 2 * i, true);
  return memory_.data() + at;
}

std::byte* SharedMemory::begin_copy(const Access& by, uint32_t at, uint32_t bytes) {
  std::byte* const to = write(by, at, bytes);
  if (to != nullptr) {
    for (uint32_t i = at / 2; i < (at + bytes) / 2; i++) granules_[i].copying = true;
  }
  return to;
}

void SharedMemory::complete_copy(const Access& by, uint32_t at, uint32_t bytes) {
  for (uint32_t i = at / 2; i < (at + bytes) / 2; i++) {
    granules_[i].copying = false;
    note_write(granules_[i], by, 2 * i, false);
  }
}

void SharedMemory::complete_box(const Access& by, uint32_t at, uint32_t bytes) {
  complete_copy(by, at, bytes);
  for (uint32_t i = at / 2; i < (at + bytes) / 2; i++) granules_[i].by_copy_engine = true;
}

void SharedMemory::begin_product(const Access& by, uint32_t at) {
  if (!inside(at, 16, "product")) return;
  for (uint32_t i = at / 2; i < at / 2 + 8; i++) {
    const Granule& g = granules_[i];
    check_read(g, by, 2 * i);
    if (!g.by_copy_engine && g.write_fence == fences_[g.writer]) {
      report("a product reads what thread " + std::to_string(g.writer) + " wrote, which fenced nothing since (fence_for_products), " +
             place(by, 2 * i));
    }
  }
  multiplied_[at / 16]++;
}

void SharedMemory::end_product(const Access& by, uint32_t at) {
  if (at + size_t{16} > bytes_) return;
  for (uint32_t i = at / 2; i < at / 2 + 8; i++) note_read(granules_[i], by);
  multiplied_[at / 16]--;
}

void SharedMemory::note_write(Granule& g, const Access& by, uint32_t at, bool check) {
  if (check && g.written_in == block_) {
    if (g.copying) report("write to shared memory that an asynchronous copy is filling, " + place(by, at));
    else if (g.writer != by.thread && g.write_epoch == by.block_epoch &&
             !(g.writer_warp == by.warp && g.write_warp_epoch < by.warp_epoch)) {
      report("write to shared memory that thread " + std::to_string(g.writer) + " wrote, with no barrier between, " +
             place(by, at));
    }
  }
  if (check && multiplied_[at / 16] != 0) report("write to shared memory that a product reads, not yet waited for, " + place(by, at));
  if (check && g.read_in == block_ && g.read_epoch == by.block_epoch && g.reader != by.thread &&
      !(g.reader_warp == by.warp && g.read_warp_epoch < by.warp_epoch)) {
    report("write to shared memory that another thread reads, with no barrier between, " + place(by, at));
  }
  g.written_in = block_;
  g.write_epoch = by.block_epoch;
  g.write_warp_epoch = by.warp_epoch;
  g.writer = by.thread;
  g.writer_warp = by.warp;
  g.write_fence = fences_[by.thread];
  g.by_copy_engine = false;
}

bool SharedMemory::inside(uint32_t at, uint32_t bytes, const char* what) {
  if (at + size_t{bytes} <= bytes_) return true;
  report(std::string(what) + " of " + std::to_string(bytes) + " bytes at " + std::to_string(at) + " of " +
         std::to_string(bytes_) + " bytes of shared memory");
  return false;
}

std::string SharedMemory::place(const Access& by, uint32_t at) const {
  return "byte " + std::to_string(at) + ", thread " + std::to_string(by.thread);
}

void SharedMemory::report(std::string problem) {
  if (problem_.empty()) problem_ = std::move(problem);
}

std::string SharedMemory::take_problem() { return std::exchange(problem_, {}); }

}  // namespace slayer::host
