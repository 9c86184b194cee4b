#include "native_buffer.h"

#include <cstring>
#include <new>
#include <string>

#include "../../../native/read_plan.h"

namespace slayer {

Napi::Function NativeBuffer::define(Napi::Env env) {
  return DefineClass(env, "Buffer",
                     {InstanceMethod<&NativeBuffer::write>("write"), InstanceMethod<&NativeBuffer::read>("read"),
                      InstanceMethod<&NativeBuffer::free>("free")});
}

NativeBuffer::NativeBuffer(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const size_t bytes = read_size(info[0], "bytes");
  try {
    block_ = std::make_shared<HostBlock>(bytes);
  } catch (const std::bad_alloc&) {
    throw Napi::Error::New(info.Env(), "no memory for " + std::to_string(bytes) + " bytes");
  }
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), static_cast<int64_t>(bytes));
}

void NativeBuffer::write(const Napi::CallbackInfo& info) {
  const auto from = info[1].As<Napi::Uint8Array>();
  std::byte* const to = range(info.Env(), read_size(info[0], "offset"), from.ByteLength());
  if (from.ByteLength() > 0) std::memcpy(to, from.Data(), from.ByteLength());
}

Napi::Value NativeBuffer::read(const Napi::CallbackInfo& info) {
  const size_t bytes = read_size(info[1], "bytes");
  const std::byte* const from = range(info.Env(), read_size(info[0], "offset"), bytes);
  auto to = Napi::Uint8Array::New(info.Env(), bytes);
  if (bytes > 0) std::memcpy(to.Data(), from, bytes);
  return to;
}

void NativeBuffer::free(const Napi::CallbackInfo& info) { release(info.Env()); }

std::byte* NativeBuffer::range(Napi::Env env, size_t offset, size_t bytes) const {
  if (block_->freed) throw Napi::Error::New(env, "the buffer was freed");
  if (offset > block_->bytes || bytes > block_->bytes - offset) {
    throw Napi::RangeError::New(env, std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                                         " lie outside a buffer of " + std::to_string(block_->bytes));
  }
  return block_->memory.data() + offset;
}

void NativeBuffer::release(Napi::Env env) {
  if (!block_ || block_->freed) return;
  block_->free();
  Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(block_->bytes));
}

}  // namespace slayer
