#include "session.h"

#include <string>
#include <system_error>
#include <utility>

#include "native_buffer.h"

namespace slayer {

Napi::Function Session::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&Session::prepare>("prepare"), InstanceMethod<&Session::run>("run"),
                      InstanceMethod<&Session::cancel>("cancel"), InstanceMethod<&Session::close>("close")});
}

Session::Session(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  for (const Isa& isa : available_isas()) {
    if (isa.name == name) isa_ = isa;
  }
  if (isa_.name.empty()) throw Napi::Error::New(env, "this processor has no instruction set '" + name + "'");
  std::shared_ptr<ThreadPool> pool;
  try {
    pool = std::make_shared<ThreadPool>(info[1].As<Napi::Number>().Int32Value());
  } catch (const std::system_error& error) {
    throw Napi::Error::New(env, std::string("cannot start threads: ") + error.what());
  }
  pool_ = pool.get();
  jobs_.emplace(env, [pool = std::move(pool)] {});
}

Napi::Value Session::prepare(const Napi::CallbackInfo& info) {
  auto plan = std::make_shared<BoundPlan>();
  const auto buffers = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < buffers.Length(); i++) {
    plan->blocks.push_back(NativeBuffer::Unwrap(buffers.Get(i).As<Napi::Object>())->block());
  }
  const auto steps = info[0].As<Napi::Array>();
  plan->steps.reserve(steps.Length());
  read_calls(steps, plan->blocks, [&](uint32_t, Call call) {
    const KernelFunction kernel = isa_.find(call.op);
    if (kernel == nullptr) throw std::runtime_error("there is no kernel for it");
    plan->steps.push_back({kernel, std::move(call)});
  });
  auto* const held = new std::shared_ptr<const BoundPlan>(std::move(plan));
  return Executable::New(info.Env(), held, [](Napi::Env, std::shared_ptr<const BoundPlan>* p) { delete p; });
}

Napi::Value Session::run(const Napi::CallbackInfo& info) {
  const std::shared_ptr<const BoundPlan> plan = *info[0].As<Executable>().Data();
  const auto work = [plan, pool = pool_](const std::atomic<bool>& cancelled) {
    for (size_t i = 0; i < plan->steps.size(); i++) {
      if (cancelled) return Job::Outcome::cancelled;
      const BoundStep& step = plan->steps[i];
      try {
        step.kernel(step.call, *pool);
      } catch (const std::exception& error) {
        throw std::runtime_error("step " + std::to_string(i) + ", " + step.call.op + ": " + error.what());
      }
    }
    return Job::Outcome::done;
  };
  return jobs_->submit(info.Env(), work, plan->blocks, info[1].As<Napi::Function>(), {info.This().As<Napi::Object>()});
}

void Session::cancel(const Napi::CallbackInfo& info) { jobs_->cancel(info[0].As<Napi::Number>().Uint32Value()); }

void Session::close(const Napi::CallbackInfo&) { jobs_->close(); }

}  // namespace slayer
