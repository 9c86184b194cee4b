#include "read_plan.h"

#include <cmath>
#include <string>

namespace slayer {

namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;
constexpr uintptr_t kAnyAddress = 1 << 20;

DType read_dtype(Napi::Value value) {
  const std::string name = value.ToString();
  for (DType dtype : {DType::f32, DType::bf16, DType::i32}) if (name == name_of(dtype)) return dtype;
  throw Napi::Error::New(value.Env(), "there are no kernels for " + name);
}

Operand read_operand(Napi::Object source, const Blocks& blocks) {
  const Napi::Env env = source.Env();
  Operand operand;
  operand.dtype = read_dtype(source.Get("dtype"));
  operand.data = reinterpret_cast<void*>(kAnyAddress);
  const size_t element = bytes_of(operand.dtype);
  size_t available = static_cast<size_t>(kMaxSafeInteger) / element;
  size_t offset = 0;
  size_t bytes = 0;
  if (source.Has("buffer")) {
    const Block& block = *blocks.at(read_size(source.Get("buffer"), "buffer"));
    offset = read_size(source.Get("offset"), "offset");
    bytes = block.bytes;
    if (block.freed) throw Napi::Error::New(env, "the buffer was freed");
    if (offset % element != 0) {
      throw Napi::Error::New(env, "offset " + std::to_string(offset) + " is no multiple of " + std::to_string(element));
    }
    available = offset > bytes ? 0 : (bytes - offset) / element;
    operand.data = static_cast<std::byte*>(block.address()) + offset;
  }
  const auto shape = source.Get("shape").As<Napi::Array>();
  size_t elements = 1;
  for (uint32_t i = 0; i < shape.Length(); i++) {
    const size_t extent = read_size(shape.Get(i), "extent");
    if (extent == 0) throw Napi::Error::New(env, "an extent is 0");
    // Compared before multiplying, so that nothing overflows.
    if (elements > available / extent) {
      throw Napi::Error::New(env, "it does not fit its buffer: offset " + std::to_string(offset) + " of " +
                                      std::to_string(bytes) + " bytes");
    }
    elements *= extent;
    operand.shape.push_back(static_cast<int64_t>(extent));
  }
  if (elements > available) throw Napi::Error::New(env, "it begins at the end of its buffer");
  return operand;
}

std::vector<Operand> read_operands(Napi::Array source, const char* kind, const Blocks& blocks) {
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

}  // namespace

size_t read_size(Napi::Value value, const char* what) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= 0 && number <= kMaxSafeInteger && number == std::floor(number))) {
    throw Napi::RangeError::New(value.Env(), std::string(what) + " must be an integer from 0, got " +
                                                 value.ToString().Utf8Value());
  }
  return static_cast<size_t>(number);
}

Call read_call(Napi::Object step, const Blocks& blocks) {
  Call call;
  call.op = step.Get("op").As<Napi::String>().Utf8Value();
  const auto attrs = step.Get("attrs").As<Napi::Object>();
  const Napi::Array names = attrs.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); i++) {
    const std::string name = names.Get(i).ToString();
    call.attrs.emplace_back(name, attrs.Get(name).ToNumber().DoubleValue());
  }
  call.in = read_operands(step.Get("inputs").As<Napi::Array>(), "input", blocks);
  call.out = read_operands(step.Get("outputs").As<Napi::Array>(), "output", blocks);
  return call;
}

}  // namespace slayer
