// From a plan in JavaScript (FlatStep of packages/tensor/src/flat-plan.ts) to calls, checking everything that memory safety rests on.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "block.h"
#include "call.h"

namespace slayer {

using Blocks = std::vector<std::shared_ptr<Block>>;

// A size or offset from a JavaScript number; throws a RangeError that names `what` unless it is an integer from 0 to 2^53.
size_t read_size(Napi::Value value, const char* what);

// {op, attrs: {name: number | boolean}, inputs, outputs}; an operand is {buffer, offset, dtype, shape} with `buffer` an index into
// `blocks`, or {dtype, shape}, which gets an address that stands for any aligned one. Throws an Error if an extent is no positive
// integer, or an operand is misaligned or leaves its buffer.
Call read_call(Napi::Object step, const Blocks& blocks);

// All of a plan. `each` is called with a step's number and call; what it and read_call throw is thrown as an Error that names the step.
template <class Each>
void read_calls(Napi::Array steps, const Blocks& blocks, Each each) {
  for (uint32_t i = 0; i < steps.Length(); i++) {
    const Napi::HandleScope scope(steps.Env());  // plans are long, handles would pile up
    const auto step = steps.Get(i).As<Napi::Object>();
    std::string why;
    try {
      each(i, read_call(step, blocks));
      continue;
    } catch (const std::exception& error) {  // Napi::Error is one
      why = error.what();
    }
    throw Napi::Error::New(steps.Env(), "step " + std::to_string(i) + ", " + step.Get("op").ToString().Utf8Value() + ": " + why);
  }
}

}  // namespace slayer
