#include "memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

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

}  // namespace

Memory::Memory(size_t bytes) : bytes_(bytes) {
  if (bytes < kMapFrom) {
    auto* const start = static_cast<std::byte*>(::operator new(bytes, kAlignment));
    std::memset(start, 0, bytes);
    owned_ = {start, Release{}};
    data_ = start;
    return;
  }
  // One huge page more than needed, so that the part in use can begin on a boundary. Pages cost nothing until touched.
  if (bytes > SIZE_MAX - kHugePage) throw std::bad_alloc();
  const size_t mapped = bytes + kHugePage;
  void* const pages = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  owned_ = {static_cast<std::byte*>(pages), Release{mapped}};
  data_ = owned_.get() + (kHugePage - reinterpret_cast<uintptr_t>(pages) % kHugePage) % kHugePage;
#if defined(MADV_HUGEPAGE)
  madvise(data_, bytes, MADV_HUGEPAGE);
#endif
}

void Release::operator()(std::byte* start) const {
  if (mapped > 0) munmap(start, mapped);
  else ::operator delete(start, kAlignment);
}

}  // namespace slayer
