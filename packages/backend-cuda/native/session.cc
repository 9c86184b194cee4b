#include "session.h"

#include <string>
#include <string_view>
#include <utility>

#include "blas.h"
#include "lower/lowering.h"
#include "native_buffer.h"

namespace slayer::cuda {

Napi::Function Session::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&Session::describe>("describe"), InstanceMethod<&Session::free_bytes>("freeBytes"),
                      InstanceMethod<&Session::supports>("supports"),
                      InstanceMethod<&Session::products>("products"), InstanceMethod<&Session::prefer>("prefer"),
                      InstanceMethod<&Session::workspace_bytes>("workspaceBytes"),
                      InstanceMethod<&Session::prepare>("prepare"), InstanceMethod<&Session::chains>("chains"),
                      InstanceMethod<&Session::run>("run"),
                      InstanceMethod<&Session::write>("write"), InstanceMethod<&Session::read>("read"),
                      InstanceMethod<&Session::cancel>("cancel"), InstanceMethod<&Session::close>("close")});
}

Session::Session(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  try {
    device_ = open_device(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::String>());
  } catch (const DeviceError& error) {
    throw_coded(env, error);
  }
  jobs_.emplace(env, [device = device_] { device->enter_thread(); });
}

Napi::Value Session::describe(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  result.Set("name", device_->name());
  result.Set("totalBytes", static_cast<double>(device_->total_bytes()));
  result.Set("build", device_->build());
  result.Set("multiprocessors", device_->limits().multiprocessors);
  return result;
}

Napi::Value Session::free_bytes(const Napi::CallbackInfo& info) {
  try {
    return Napi::Number::New(info.Env(), static_cast<double>(device_->free_bytes()));
  } catch (const DeviceError& error) {
    throw_coded(info.Env(), error);
  }
}

Napi::Value Session::supports(const Napi::CallbackInfo& info) {
  std::string why;
  try {
    Lowering(limits(), choices_, 0, nullptr).lower(read_call(info[0].As<Napi::Object>(), {}));
  } catch (const Unsupported& error) {
    why = error.what();
  } catch (const Napi::Error& error) {
    why = error.Message();
  }
  return Napi::String::New(info.Env(), why);
}

// The library is loaded only if somebody has measured it, or is about to.
Limits Session::limits() const {
  Limits limits = device_->limits();
  for (const auto& [name, variant] : choices_) limits.blas = limits.blas || (variant == kLibraryProduct && has_blas());
  return limits;
}

Lowering Session::rehearse(const Limits& limits, const Choices& choices, Napi::Array steps) const {
  Lowering lowering(limits, choices, 0, nullptr);
  for (uint32_t i = 0; i < steps.Length(); i++) {
    const Napi::HandleScope scope(steps.Env());
    try {
      lowering.lower(read_call(steps.Get(i).As<Napi::Object>(), {}));
    } catch (const Unsupported&) {  // prepare says so
    } catch (const Napi::Error&) {
    }
  }
  return lowering;
}

Napi::Value Session::workspace_bytes(const Napi::CallbackInfo& info) {
  const size_t bytes = rehearse(limits(), choices_, info[0].As<Napi::Array>()).workspace_bytes();
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

Napi::Value Session::products(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Choices none;
  Limits all = device_->limits();
  all.blas = has_blas();
  const Lowering lowering = rehearse(all, none, info[0].As<Napi::Array>());
  auto result = Napi::Array::New(env);
  for (const Product& product : lowering.products()) {
    auto item = Napi::Object::New(env);
    item.Set("name", product.name);
    item.Set("m", static_cast<double>(product.m));
    item.Set("n", static_cast<double>(product.n));
    item.Set("k", static_cast<double>(product.k));
    item.Set("transposeA", product.transpose_a);
    item.Set("transposeB", product.transpose_b);
    item.Set("f32", product.f32);
    auto variants = Napi::Array::New(env);
    for (const std::string& variant : product.variants) variants.Set(variants.Length(), variant);
    item.Set("variants", variants);
    result.Set(result.Length(), item);
  }
  return result;
}

void Session::prefer(const Napi::CallbackInfo& info) {
  choices_[info[0].As<Napi::String>()] = info[1].As<Napi::String>().Utf8Value();
}

Napi::Value Session::prepare(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto plan = std::make_shared<BoundPlan>();
  const auto buffers = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < buffers.Length(); i++) {
    plan->blocks.push_back(NativeBuffer::Unwrap(buffers.Get(i).As<Napi::Object>())->block());
  }
  std::vector<Call> calls;
  Lowering measured(limits(), choices_, 0, nullptr);
  read_calls(info[0].As<Napi::Array>(), plan->blocks, [&](uint32_t, Call call) {
    measured.lower(call);
    plan->ops.push_back(call.op);
    calls.push_back(std::move(call));
  });
  try {
    if (!workspace_ || workspace_->bytes < measured.workspace_bytes()) {
      try {
        workspace_ = std::make_shared<DeviceBlock>(device_, measured.workspace_bytes());
      } catch (const DeviceError& error) {
        if (error.code() != std::string_view("out-of-memory")) throw;
        throw DeviceError(error.code(), std::string("workspace of the plan (panels of logits, partial sums): ") + error.what());
      }
    }
    plan->workspace = workspace_;
    plan->fault = std::make_unique<DeviceBlock>(device_, measured.cleared_bytes());
    Lowering lowering(limits(), choices_, plan->workspace->at, static_cast<Fault*>(plan->fault->address()));
    for (const Call& call : calls) lowering.lower(call);
    plan->prepared = device_->prepare(lowering.launches(), plan->fault->at, lowering.cleared_bytes());
  } catch (const DeviceError& error) {
    throw_coded(env, error);
  }
  return executable(env, std::move(plan));
}

Napi::Value Session::executable(Napi::Env env, std::shared_ptr<BoundPlan> plan) {
  auto* const held = new std::shared_ptr<BoundPlan>(std::move(plan));
  return Executable::New(env, held, [](Napi::Env, std::shared_ptr<BoundPlan>* p) { delete p; });
}

Napi::Value Session::chains(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto plan = std::make_shared<BoundPlan>();
  plan->ops = {"peak_fma"};
  Launch launch;
  launch.kernel = "peak_fma";
  launch.grid = {info[0].As<Napi::Number>().Uint32Value(), 1, 1};
  launch.block = {256, 1, 1};
  try {
    plan->workspace = std::make_shared<DeviceBlock>(device_, launch.grid.x * size_t{launch.block.x} * sizeof(float));
    plan->fault = std::make_unique<DeviceBlock>(device_, sizeof(Fault));
    launch.set(Chains{static_cast<float*>(plan->workspace->address()), 0.999f, info[1].As<Napi::Number>().Int32Value()});
    plan->prepared = device_->prepare({launch}, plan->fault->at, sizeof(Fault));
  } catch (const DeviceError& error) {
    throw_coded(env, error);
  }
  return executable(env, std::move(plan));
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
  return jobs_->submit(info.Env(), work, plan->blocks, info[1].As<Napi::Function>(), {info.This().As<Napi::Object>()});
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
  const uint64_t address = block->at + offset;
  uint8_t* const data = array.Data();
  const auto work = [=, device = device_](const std::atomic<bool>&) {
    if (bytes > 0 && to_device) device->write(address, data, bytes);
    else if (bytes > 0) device->read(data, address, bytes);
    return Job::Outcome::done;
  };
  return jobs_->submit(env, work, {block}, info[3].As<Napi::Function>(), {info.This().As<Napi::Object>(), array});
}

void Session::cancel(const Napi::CallbackInfo& info) { jobs_->cancel(info[0].As<Napi::Number>().Uint32Value()); }

void Session::close(const Napi::CallbackInfo&) {
  jobs_->close();
  if (workspace_) workspace_->free();  // plans that are still held can't be run any more
}

}  // namespace slayer::cuda
