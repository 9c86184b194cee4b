// The addon's interface; src/native.ts describes it in TypeScript. It trusts its caller, the package's own TypeScript, for the
// kinds of arguments, and checks every size, offset and name itself.
#include <napi.h>

#include "native_buffer.h"
#include "session.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Buffer", slayer::cuda::NativeBuffer::define(env));
  exports.Set("Session", slayer::cuda::Session::define(env));
  return exports;
}

NODE_API_MODULE(slayer_cuda, init)
