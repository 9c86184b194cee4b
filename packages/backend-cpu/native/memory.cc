#include "memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace slayer {

namespace {

constexpr std::align_val_t kAlignment{64};
constexpr size_t kHugePage = size_t{2} << 20;

// Sanitizers see the ends of what operator new gives, but not those of mapped pages.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kMapFrom = SIZE_MAX;
#else
constexpr size_t kMapFrom = kHugePage;
#endif

std::byte* map_pages(size_t bytes) {
  if (bytes > SIZE_MAX - kHugePage) throw std::bad_alloc();
  // Ask for more, then give back what lies before and behind the aligned range.
  void* const mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* const start = static_cast<std::byte*>(mapped);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
  std::byte* const aligned = start + before;
  constexpr size_t page = 16384;  // a multiple of every system's page
  const size_t used = (bytes + page - 1) / page * page;
  if (before > 0) munmap(start, before);
  if (const size_t behind = kHugePage - before + bytes; behind > used - bytes + page) {
    munmap(aligned + used, (start + bytes + kHugePage) - (aligned + used));
  }
#if defined(MADV_HUGEPAGE)
  madvise(aligned, used, MADV_HUGEPAGE);
#endif
  return aligned;
}

}  // namespace
