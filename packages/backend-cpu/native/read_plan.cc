#include "read_plan.h"

#include <cmath>
#include <string>

namespace slayer {

namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

DType read_dtype(Napi::Value value) {
  const std::string name = value.As<Napi::String>();
  if (name == "f32") return DType::f32;
  if (name == "bf16") return DType::bf16;
  if (name == "i32") return DType::i32;
  throw Napi::Error::New(value.Env(), "there are no kernels for " + name);
}

Operand read_operand(Napi::Object source, const std::vector<std::shared_ptr<Block>>& blocks) {
  const Napi::Env env = source.Env();
  Operand operand;
  operand.dtype = read_dtype(source.Get("dtype"));
  const size_t element = operand.dtype == DType::bf16 ? 2 : 4;
  const auto shape = source.Get("shape").As<Napi::Array>();
  const Block& block = *blocks.at(read_size(source.Get("buffer"), "buffer"));
  const size_t offset = read_size(source.Get("offset"), "offset");
  if (block.freed) throw Napi::Error::New(env, "the buffer was freed");
  if (offset % element != 0) {
    throw Napi::Error::New(env, "offset " + std::to_string(offset) + " is no multiple of " + std::to_string(element));
  }
  const size_t available = offset > block.bytes ? 0 : (block.bytes - offset) / element;
  size_t elements = 1;
  for (uint32_t i = 0; i < shape.Length(); i++) {
    const size_t extent = read_size(shape.Get(i), "extent");
    if (extent == 0) throw Napi::Error::New(env, "an extent is 0");
    // Compared before multiplying, so that nothing overflows.
    if (elements > available / extent) {
      throw Napi::Error::New(env, "it does not fit its buffer: offset " + std::to_string(offset) + " of " +
                                      std::to_string(block.bytes) + " bytes");
    }
    elements *= extent;
    operand.shape.push_back(static_cast<int64_t>(extent));
  }
  if (elements > available) throw Napi::Error::New(env, "it begins at the end of its buffer");
  operand.data = block.memory.data() + offset;
  return operand;
}

std::vector<Operand> read_operands(Napi::Array source, const char* kind, const std::vector<std::shared_ptr<Block>>& blocks) {
  std::vector<Operand> operands;
  for (uint32_t i = 0; i < source.Length(); i++) {
    try {
      operands.push_back(read_operand(source.Get(i).As<Napi::Object>(), blocks));
    } catch (const Napi::Error& error) {
      throw Napi::Error::New(source.Env(), std::string(kind) + " " + std::to_string(i) + ": " + error.Message());
    }
  }
  return operands;
}

BoundStep read_step(Napi::Object source, const std::vector<std::shared_ptr<Block>>& blocks, const Isa& isa) {
  const Napi::Env env = source.Env();
  BoundStep step;
  step.op = source.Get("op").As<Napi::String>().Utf8Value();
  step.kernel = isa.find(step.op);
  if (step.kernel == nullptr) throw Napi::Error::New(env, "there is no kernel for it");
  const auto attrs = source.Get("attrs").As<Napi::Object>();
  const Napi::Array names = attrs.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); i++) {
    const std::string name = names.Get(i).ToString();
    step.call.attrs.emplace_back(name, attrs.Get(name).ToNumber().DoubleValue());
  }
  step.call.in = read_operands(source.Get("inputs").As<Napi::Array>(), "input", blocks);
  step.call.out = read_operands(source.Get("outputs").As<Napi::Array>(), "output", blocks);
  return step;
}

}  // namespace

size_t read_size(Napi::Value value, const char* what) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= 0 && number <= kMaxSafeInteger && number == std::floor(number))) {
    throw Napi::RangeError::New(value.Env(), std::string(what) + " must be an integer from 0, got " +
                                                 value.ToString().Utf8Value());
  }
  return static_cast<size_t>(number);
}

std::vector<BoundStep> read_steps(Napi::Array steps, const std::vector<std::shared_ptr<Block>>& blocks, const Isa& isa) {
  std::vector<BoundStep> result;
  result.reserve(steps.Length());
  for (uint32_t i = 0; i < steps.Length(); i++) {
    const Napi::HandleScope scope(steps.Env());  // plans are long, handles would pile up
    const auto source = steps.Get(i).As<Napi::Object>();
    try {
      result.push_back(read_step(source, blocks, isa));
    } catch (const Napi::Error& error) {
      const std::string op = source.Get("op").ToString();
      throw Napi::Error::New(steps.Env(), "step " + std::to_string(i) + ", " + op + ": " + error.Message());
    }
  }
  return result;
}

}  // namespace slayer
