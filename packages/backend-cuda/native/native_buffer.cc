#include "native_buffer.h"

#include "session.h"

namespace slayer::cuda {

Napi::Function NativeBuffer::define(Napi::Env env) {
  return DefineClass(env, "Buffer", {InstanceMethod<&NativeBuffer::free>("free")});
}

NativeBuffer::NativeBuffer(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  Session* const session = Session::Unwrap(info[0].As<Napi::Object>());
  const size_t bytes = read_size(info[1], "bytes");
  try {
    block_ = std::make_shared<DeviceBlock>(session->device(), bytes);
  } catch (const DeviceError& error) {
    throw_coded(info.Env(), error);
  }
}

void NativeBuffer::free(const Napi::CallbackInfo&) { block_->free(); }

}  // namespace slayer::cuda
