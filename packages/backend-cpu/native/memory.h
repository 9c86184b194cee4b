// Zeroed memory aligned to at least 64 bytes.
#pragma once

#include <cstddef>
#include <memory>

namespace slayer {

// Gives memory back to where it came from.
struct Release {
  size_t mapped = 0;  // bytes to unmap; 0 for memory of operator new
  void operator()(std::byte* start) const;
};

class Memory {
 public:
  Memory() = default;
  // Throws std::bad_alloc. A large piece comes from the system page by page as it is touched, in huge pages where there are any.
  explicit Memory(size_t bytes);

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<std::byte, Release> owned_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace slayer
