#include "session.h"

#include <string>
#include <system_error>
#include <utility>

#include "native_buffer.h"
#include "read_plan.h"

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
  try {
    const int threads = info[1].As<Napi::Number>().Int32Value();
    runner_ = std::make_unique<Runner>(threads, [this](Job* job) { queue_.BlockingCall(job); });
  } catch (const std::system_error& error) {
    throw Napi::Error::New(env, std::string("cannot start threads: ") + error.what());
  }
  queue_ = Queue::New(env, "slayer run", 0, 1, this);
  queue_.Unref(env);
  // When the environment ends (process.exit, a worker's end), hooks run last first: the threads are joined before the queue
  // and the memory they use go.
  napi_add_env_cleanup_hook(env, end_with_environment, this);
}

Napi::Value Session::prepare(const Napi::CallbackInfo& info) {
  auto plan = std::make_shared<BoundPlan>();
  const auto buffers = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < buffers.Length(); i++) {
    plan->blocks.push_back(NativeBuffer::Unwrap(buffers.Get(i).As<Napi::Object>())->block());
  }
  plan->steps = read_steps(info[0].As<Napi::Array>(), plan->blocks, isa_);
  auto* const held = new std::shared_ptr<const BoundPlan>(std::move(plan));
  return Executable::New(info.Env(), held, [](Napi::Env, std::shared_ptr<const BoundPlan>* p) { delete p; });
}

Napi::Value Session::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!runner_) throw Napi::Error::New(env, "the session is closed");
  auto job = std::make_shared<Job>();
  job->id = next_id_++;
  job->plan = *info[0].As<Executable>().Data();
  for (const auto& block : job->plan->blocks) {
    if (block->freed) throw Napi::Error::New(env, "a buffer of this executable was freed");
  }
  for (const auto& block : job->plan->blocks) block->runs++;
  if (pending_.empty()) {
    queue_.Ref(env);
    Ref();
  }
  pending_[job->id] = {job, Napi::Persistent(info[1].As<Napi::Function>())};
  runner_->submit(job);
  return Napi::Number::New(env, job->id);
}

void Session::cancel(const Napi::CallbackInfo& info) {
  const auto found = pending_.find(info[0].As<Napi::Number>().Uint32Value());
  if (found != pending_.end()) found->second.job->cancelled = true;
}

void Session::close(const Napi::CallbackInfo& info) { shut(info.Env()); }

void Session::deliver(Napi::Env env, Napi::Function, Session* session, Job* job) {
  if (env != nullptr) session->finish(env, job);
}

void Session::finish(Napi::Env env, Job* job) {
  const auto node = pending_.extract(job->id);
  const Pending& pending = node.mapped();
  for (const auto& block : job->plan->blocks) {
    if (--block->runs == 0 && block->freed) block->memory = Memory();
  }
  if (pending_.empty()) {
    queue_.Unref(env);
    Unref();
  }
  static constexpr const char* kOutcomes[] = {"done", "cancelled", "failed"};
  const auto outcome = Napi::String::New(env, kOutcomes[static_cast<int>(job->outcome)]);
  pending.done.Call({outcome, Napi::String::New(env, job->message)});
}

void Session::end_with_environment(void* session) { static_cast<Session*>(session)->runner_.reset(); }

void Session::shut(Napi::Env env) {
  if (!runner_) return;
  runner_.reset();
  napi_remove_env_cleanup_hook(env, end_with_environment, this);
  queue_.Release();
}

}  // namespace slayer
