// Hopper's barriers in shared memory (mbarrier), the copies that they count, and clusters.
#include <algorithm>
#include <cstring>

#include "executor.h"

namespace slayer::host {

namespace {

// What a barrier's eight bytes hold on the host; whoever writes over them is found out.
constexpr uint64_t kMark = 0x7265697272616221;
constexpr uint16_t kCopyEngine = 0xfffe;  // as a thread and a warp

std::string place(uint32_t at) { return "the barrier at byte " + std::to_string(at); }

}  // namespace

void Executor::make_barrier(uint32_t at, unsigned arrivals) {
  Block& block = *current_->block;
  if (at % 8 != 0) return report(place(at) + " is not aligned to 8 bytes");
  if (arrivals == 0 || arrivals >= 1u << 20) return report(place(at) + " is made for " + std::to_string(arrivals) + " arrivals");
  if (block.barriers.contains(at)) return report(place(at) + " is made again");
  std::byte* const bytes = block.shared.write(access(), at, 8);
  if (bytes == nullptr) return;
  std::memcpy(bytes, &kMark, 8);
  Mbarrier& barrier = block.barriers[at];
  barrier.expected = barrier.missing = arrivals;
  barrier.maker = current_;
  barrier.made_in = block.epoch;
  barrier.made_in_cluster = cluster_epoch_;
}

void Executor::fence_barriers() {
  for (auto& [at, barrier] : current_->block->barriers) barrier.fenced = barrier.fenced || barrier.maker == current_;
}

// Null after reporting why it may not be used.
Mbarrier* Executor::barrier_of(Block& block, uint32_t at, const char* what) {
  const bool remote = &block != current_->block;
  const std::string who = "thread " + std::to_string(current_->number) + " " + what + " " + place(at) +
                          (remote ? " of block " + std::to_string(block.rank) + " of its cluster" : "");
  const auto found = block.barriers.find(at);
  if (remote && block.alive == 0) return report(who + ", which has returned"), nullptr;
  if (found == block.barriers.end()) return report(who + ", which nobody has made"), nullptr;
  Mbarrier& barrier = found->second;
  if (std::memcmp(block.shared.data() + at, &kMark, 8) != 0) return report(who + ", which has been overwritten"), nullptr;
  if (remote ? barrier.made_in_cluster == cluster_epoch_ : barrier.made_in == block.epoch && barrier.maker != current_) {
    return report(who + ", with no barrier of the " + (remote ? "cluster" : "block") + " since it was made"), nullptr;
  }
  if (remote && !barrier.fenced) return report(who + ", which its maker has not fenced (fence_barriers)"), nullptr;
  if (remote) {
    barrier.remote = barrier.phase + 1;
    barrier.remote_in = cluster_epoch_;
  }
  return &barrier;
}

void Executor::arrive(uint32_t at, unsigned rank, unsigned bytes) {
  if (rank >= blocks_.size()) return report("block " + std::to_string(rank) + " of a cluster of " + std::to_string(blocks_.size()));
  Block& block = *blocks_[rank];
  Mbarrier* const barrier = barrier_of(block, at, "arrives at");
  if (barrier == nullptr) return;
  if (barrier->missing == 0) {
    if (barrier->announced != barrier->issued) {
      return report("thread " + std::to_string(current_->number) + " arrives at " + place(at) + ", where all " +
                    std::to_string(barrier->expected) + " have arrived and bytes are still to come");
    }
    end_phase(block, *barrier);
  }
  if (barrier->missing == barrier->expected && barrier->seen < barrier->phase) {
    return report("thread " + std::to_string(current_->number) + " arrives at " + place(at) + ", made for " +
                  std::to_string(barrier->expected) + ", when nobody has waited for the phase before");
  }
  barrier->announced += bytes;
  if (barrier->announced >= 1 << 20) report(place(at) + " counts less than 2^20 bytes a phase");
  barrier->missing--;
  end_if_possible(block, *barrier);
}

void Executor::wait_at(uint32_t at, unsigned parity) {
  Block& block = *current_->block;
  Mbarrier* const barrier = barrier_of(block, at, "waits at");
  if (barrier == nullptr) return;
  if (parity > 1) return report("a parity of " + std::to_string(parity));
  if ((barrier->phase & 1) == parity) {
    barrier->waiting++;
    end_if_possible(block, *barrier);
    if ((barrier->phase & 1) == parity) {
      current_->barrier = barrier;
      park();
    }
  }
  barrier->seen = barrier->phase;
}

void Executor::end_if_possible(Block& block, Mbarrier& barrier) {
  if (barrier.missing != 0) return;
  if (barrier.issued > barrier.announced) {
    return report("copies bring " + std::to_string(barrier.issued) + " bytes to a barrier where " + std::to_string(barrier.announced) +
                  " were announced");
  }
  if (barrier.issued == barrier.announced && (barrier.boxes.empty() || barrier.waiting > 0)) end_phase(block, barrier);
}

void Executor::end_phase(Block& block, Mbarrier& barrier) {
  for (const PendingBox& box : barrier.boxes) {
    block.shared.complete_box({kCopyEngine, kCopyEngine, block.epoch, 0}, box.to, box.tensor.box_bytes());
    host::copy_box(box.tensor, box.at, block.shared.data() + box.to);
  }
  barrier.boxes.clear();
  barrier.announced = barrier.issued = 0;
  barrier.missing = barrier.expected;
  barrier.phase++;
  next_epoch();
  if (barrier.waiting == 0) return;
  barrier.waiting = 0;
  Thread* const first = block.warps[0].first;
  for (size_t i = 0; i < threads_.size() / blocks_.size(); i++) {
    if (first[i].barrier != &barrier) continue;
    first[i].barrier = nullptr;
    first[i].state = Thread::State::ready;
  }
}

void Executor::copy_box(uint32_t to, const uint64_t* map, uint32_t at, int rank, const int (&coordinates)[3], bool to_all) {
  TiledTensor tensor;
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0) return report("a tensor map that is not aligned to 64 bytes");
  if (!decode(map, tensor)) return report("a copy by what is not a tensor map");
  if (tensor.rank != rank) return report("a copy of " + std::to_string(rank) + " dimensions by a map of " + std::to_string(tensor.rank));
  if (to % 1024 != 0) return report("a copy of a swizzled box to byte " + std::to_string(to) + ", not a multiple of 1024");
  const uint32_t bytes = tensor.box_bytes();
  for (const auto& each : blocks_) {
    Block& block = *each;
    const bool own = &block == current_->block;
    if (!own && !to_all) continue;
    Mbarrier* const barrier = barrier_of(block, at, "copies a box for");
    if (barrier == nullptr) continue;
    if (!barrier->fenced) return report("a copy for " + place(at) + ", which its maker has not fenced (fence_barriers)");
    const Access by = own ? access() : Access{kCopyEngine, kCopyEngine, block.epoch, 0};
    if (block.shared.begin_copy(by, to, bytes) == nullptr) continue;
    barrier->boxes.push_back({tensor, to, {coordinates[0], coordinates[1], coordinates[2]}});
    barrier->issued += bytes;
    end_if_possible(block, *barrier);
  }
}

void Executor::cluster_barrier() {
  if (++cluster_waiting_ == alive_) release_cluster();
  else park();
}

void Executor::release_cluster() {
  cluster_waiting_ = 0;
  cluster_epoch_++;
  next_epoch();
  for (Thread& thread : threads_) {
    if (thread.state == Thread::State::waiting) thread.state = Thread::State::ready;
  }
}

void Executor::next_epoch() {
  for (const auto& block : blocks_) block->epoch++;
}

// When the last thread of a block returns.
void Executor::check_barriers(Block& block) {
  for (const auto& [at, barrier] : block.barriers) {
    if (barrier.announced != 0 || barrier.issued != 0) {
      report("the block returns while " + std::to_string(std::max(barrier.announced, barrier.issued)) + " bytes may still come to " + place(at));
    }
    // Nobody has waited for the other block's arrivals or copies, so they may come now.
    if (barrier.remote > barrier.seen && barrier.remote_in == cluster_epoch_) {
      report("the block returns while another one of the cluster may still use " + place(at));
    }
  }
}

}  // namespace slayer::host
