#include "session.h"

#include <string>
#include <system_error>
#include <utility>

#include "lower/lowering.h"
#include "native_buffer.h"
#include "read_plan.h"

namespace slayer::cuda {

void throw_device_error(Napi::Env env, const DeviceError& error) {
  auto thrown = Napi::Error::New(env, error.what());
  thrown.Set("code", Napi::String::New(env, error.code()));
  throw thrown;
}

Napi::Function Session::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&Session::describe>("describe"), InstanceMethod<&Session::supports>("supports"),
                      InstanceMethod<&Session::prepare>("prepare"), InstanceMethod<&Session::run>("run"),
                      InstanceMethod<&Session::write>("write"), InstanceMethod<&Session::read>("read"),
                      InstanceMethod<&Session::cancel>("cancel"), InstanceMethod<&Session::close>("close")});
}

Session::Session(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  try {
    device_ = open_device(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::String>());
    runner_ = std::make_unique<Runner>(device_, [this](Job* job) { queue_.BlockingCall(job); });
  } catch (const DeviceError& error) {
    throw_device_error(env, error);
  } catch (const std::system_error& error) {
    throw Napi::Error::New(env, std::string("cannot start a thread: ") + error.what());
  }
  queue_ = Queue::New(env, "slayer run", 0, 1, this);
  queue_.Unref(env);
  // When the environment ends (process.exit, a worker's end), hooks run last first: the thread is joined before the queue goes.
  napi_add_env_cleanup_hook(env, end_with_environment, this);
}

Napi::Value Session::describe(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  result.Set("name", device_->name());
  result.Set("totalBytes", static_cast<double>(device_->total_bytes()));
  return result;
}

Napi::Value Session::supports(const Napi::CallbackInfo& info) {
  std::string why;
  try {
    Lowering(device_->limits(), 0, nullptr).lower(read_call(info[0].As<Napi::Object>(), {}));
  } catch (const Unsupported& error) {
    why = error.what();
  } catch (const Napi::Error& error) {
    why = error.Message();
  }
  return Napi::String::New(info.Env(), why);
}

Napi::Value Session::prepare(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto plan = std::make_shared<BoundPlan>();
  const auto buffers = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < buffers.Length(); i++) {
    plan->blocks.push_back(NativeBuffer::Unwrap(buffers.Get(i).As<Napi::Object>())->block());
  }
  const std::vector<Call> calls = read_calls(info[0].As<Napi::Array>(), plan->blocks);
  const auto lower = [&](Lowering& lowering) {
    for (size_t i = 0; i < calls.size(); i++) {
      try {
        lowering.lower(calls[i]);
      } catch (const Unsupported& error) {
        throw Napi::Error::New(env, "step " + std::to_string(i) + ", " + calls[i].op + ": " + error.what());
      }
    }
  };
  try {
    Lowering measured(device_->limits(), 0, nullptr);
    lower(measured);
    plan->workspace = std::make_unique<Block>(device_, measured.workspace_bytes());
    plan->fault = std::make_unique<Block>(device_, sizeof(Fault));
    Lowering lowering(device_->limits(), plan->workspace->address, reinterpret_cast<Fault*>(plan->fault->address));
    lower(lowering);
    for (const Call& call : calls) plan->ops.push_back(call.op);
    plan->prepared = device_->prepare(lowering.launches(), plan->fault->address);
  } catch (const DeviceError& error) {
    throw_device_error(env, error);
  }
  auto* const held = new std::shared_ptr<BoundPlan>(std::move(plan));
  return Executable::New(env, held, [](Napi::Env, std::shared_ptr<BoundPlan>* p) { delete p; });
}

Napi::Value Session::run(const Napi::CallbackInfo& info) {
  const std::shared_ptr<BoundPlan> plan = *info[0].As<Executable>().Data();
  const auto work = [plan, device = device_](const std::atomic<bool>& cancelled) {
    Fault fault{};
    if (device->run(*plan->prepared, cancelled, fault) == Device::Outcome::cancelled) return Job::Outcome::cancelled;
    if (fault.step == 0) return Job::Outcome::done;
    const size_t step = static_cast<size_t>(fault.step) - 1;
    throw std::runtime_error("step " + std::to_string(step) + ", " + plan->ops.at(step) + ": the value " +
                             std::to_string(fault.value) + " at position " + std::to_string(fault.position) + " is out of range");
  };
  return submit(info.Env(), work, plan->blocks, info[1].As<Napi::Function>(), {});
}

Napi::Value Session::write(const Napi::CallbackInfo& info) { return copy(info, true); }

Napi::Value Session::read(const Napi::CallbackInfo& info) { return copy(info, false); }

Napi::Value Session::copy(const Napi::CallbackInfo& info, bool to_device) {
  const Napi::Env env = info.Env();
  const auto block = NativeBuffer::Unwrap(info[0].As<Napi::Object>())->block();
  const size_t offset = read_size(info[1], "offset");
  auto array = info[2].As<Napi::Uint8Array>();
  const size_t bytes = array.ByteLength();
  if (block->freed) throw Napi::Error::New(env, "the buffer was freed");
  if (offset > block->bytes || bytes > block->bytes - offset) {
    throw Napi::RangeError::New(env, std::to_string(bytes) + " bytes at " + std::to_string(offset) + " are beyond the buffer's " +
                                         std::to_string(block->bytes));
  }
  const uint64_t address = block->address + offset;
  uint8_t* const data = array.Data();
  const auto work = [=, device = device_](const std::atomic<bool>&) {
    if (bytes > 0 && to_device) device->write(address, data, bytes);
    else if (bytes > 0) device->read(data, address, bytes);
    return Job::Outcome::done;
  };
  return submit(env, work, {block}, info[3].As<Napi::Function>(), array);
}

Napi::Value Session::submit(Napi::Env env, std::function<Job::Outcome(const std::atomic<bool>&)> work, Blocks blocks,
                            Napi::Function done, Napi::Object held) {
  if (!runner_) throw Napi::Error::New(env, "the session is closed");
  for (const auto& block : blocks) {
    if (block->freed) throw Napi::Error::New(env, "a buffer of this executable was freed");
  }
  for (const auto& block : blocks) block->jobs++;
  auto job = std::make_shared<Job>();
  job->id = next_id_++;
  job->work = std::move(work);
  if (pending_.empty()) {
    queue_.Ref(env);
    Ref();
  }
  Pending& pending = pending_[job->id];
  pending.job = job;
  pending.blocks = std::move(blocks);
  pending.done = Napi::Persistent(done);
  if (!held.IsEmpty()) pending.held = Napi::Persistent(held);
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
  for (const auto& block : pending.blocks) {
    if (--block->jobs == 0 && block->freed) block->release();
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

}  // namespace slayer::cuda
