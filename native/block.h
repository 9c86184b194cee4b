// Memory as JavaScript holds it: a Buffer of an addon.
#pragma once

#include <cstddef>

namespace slayer {

// Touched by the main thread only. Freed memory is released once no job uses it.
struct Block {
  virtual ~Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Where it is, on the host or on the device.
  virtual void* address() const = 0;
  void free() {
    freed = true;
    if (jobs == 0) release();
  }
  // Gives the memory back; nothing the second time.
  virtual void release() = 0;

  const size_t bytes;
  int jobs = 0;
  bool freed = false;

 protected:
  explicit Block(size_t size) : bytes(size) {}
};

}  // namespace slayer
