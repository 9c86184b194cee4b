// `new Buffer(bytes)` of the addon: one zeroed piece of memory.
#pragma once

#include <napi.h>

#include <memory>

#include "../../../native/block.h"
#include "memory.h"

namespace slayer {

class NativeBuffer : public Napi::ObjectWrap<NativeBuffer> {
 public:
  static Napi::Function define(Napi::Env env);

  // Throws an Error if there is not enough memory.
  explicit NativeBuffer(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override { release(env); }

  std::shared_ptr<Block> block() const { return block_; }

 private:
  struct HostBlock final : Block {
    explicit HostBlock(size_t size) : Block(size), memory(size) {}
    void* address() const override { return memory.data(); }
    void release() override { memory = Memory(); }
    Memory memory;
  };

  // write(offset, bytes: Uint8Array), read(offset, bytes): Uint8Array, free(). Offsets are checked.
  void write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  void free(const Napi::CallbackInfo& info);

  std::byte* range(Napi::Env env, size_t offset, size_t bytes) const;
  void release(Napi::Env env);

  std::shared_ptr<HostBlock> block_;
};

}  // namespace slayer
