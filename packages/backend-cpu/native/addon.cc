// The addon's interface; src/native.ts describes it in TypeScript. It trusts its caller, the package's own TypeScript, for the
// kinds of arguments, and checks every size, offset and name itself.
#include <napi.h>

#include <algorithm>

#include "../../../native/read_plan.h"
#include "native_buffer.h"
#include "session.h"
#include "tables.h"
#include "thread_pool.h"

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

static Napi::Value to_array(Napi::Env env, const std::vector<double>& values) {
  auto array = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// measurePeaks(isa, threads, bytes, seconds): {fma, copy}, see peaks.h. Blocks: it is for benchmarks.
Napi::Value measure_peaks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  for (const Isa& isa : available_isas()) {
    if (isa.name != name) continue;
    ThreadPool pool(info[1].As<Napi::Number>().Int32Value());
    const double seconds = info[3].As<Napi::Number>().DoubleValue();
    auto result = Napi::Object::New(env);
    result.Set("fma", to_array(env, fma_rates(isa.peaks, pool, seconds)));
    result.Set("copy", to_array(env, copy_rates(isa.peaks, pool, static_cast<int64_t>(read_size(info[2], "bytes")), seconds)));
    return result;
  }
  throw Napi::Error::New(env, "this processor has no instruction set '" + name + "'");
}

}  // namespace slayer

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("isas", Napi::Function::New(env, slayer::isas));
  exports.Set("measurePeaks", Napi::Function::New(env, slayer::measure_peaks));
  exports.Set("Buffer", slayer::NativeBuffer::define(env));
  exports.Set("Session", slayer::Session::define(env));
  return exports;
}

NODE_API_MODULE(slayer_cpu, init)
