// Zeroed memory aligned to at least 64 bytes.
#pragma once

#include <cstddef>

namespace slayer {

class Memory {
 public:
  Memory() = default;
  // Throws std::bad_alloc. Large pieces come from the system page by page as they are touched, in huge pages where it has them.
  explicit Memory(size_t bytes);
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace slayer
