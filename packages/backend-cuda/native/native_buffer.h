// `new Buffer(session, bytes)` of the addon: one zeroed piece of device memory.
#pragma once

#include <napi.h>

#include <memory>

#include "plan.h"

namespace slayer::cuda {

class NativeBuffer : public Napi::ObjectWrap<NativeBuffer> {
 public:
  static Napi::Function define(Napi::Env env);

  // Throws an Error with a `code` if there is not enough memory.
  explicit NativeBuffer(const Napi::CallbackInfo& info);

  const std::shared_ptr<DeviceBlock>& block() const { return block_; }

 private:
  // free(): at once, or at the end of the jobs that use it.
  void free(const Napi::CallbackInfo& info);

  std::shared_ptr<DeviceBlock> block_;
};

}  // namespace slayer::cuda
