// The addon's interface; src/native.ts describes it in TypeScript. It trusts its caller, the package's own TypeScript, for the
// kinds of arguments, and checks every size, offset and name itself.
#include <napi.h>

#include "native_buffer.h"
#include "session.h"
#include "tables.h"

namespace slayer {

// isas(): [{name, ops: string[]}], fastest first.
Napi::Value isas(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto result = Napi::Array::New(env);
  for (const Isa& isa : available_isas()) {
    auto ops = Napi::Array::New(env);
    for (const KernelEntry& entry : isa.kernels) ops.Set(ops.Length(), entry.op);
    auto item = Napi::Object::New(env);
    item.Set("name", std::string(isa.name));
    item.Set("ops", ops);
    result.Set(result.Length(), item);
  }
  return result;
}

}  // namespace slayer

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("isas", Napi::Function::New(env, slayer::isas));
  exports.Set("Buffer", slayer::NativeBuffer::define(env));
  exports.Set("Session", slayer::Session::define(env));
  return exports;
}

NODE_API_MODULE(slayer_cpu, init)
