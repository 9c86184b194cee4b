// From a plan in JavaScript (NativeStep of src/native.ts) to calls. Checks everything it reads.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "call.h"
#include "plan.h"

namespace slayer::cuda {

// A non-negative integer. Throws a RangeError that names `what`.
size_t read_size(Napi::Value value, const char* what);

// One step; operands that name a buffer (an index into `blocks`) are checked against it, others get an address that stands for any
// aligned one.
Call read_call(Napi::Object source, const std::vector<std::shared_ptr<Block>>& blocks);

// Throws an Error that names the step and what is wrong with it.
std::vector<Call> read_calls(Napi::Array steps, const std::vector<std::shared_ptr<Block>>& blocks);

}  // namespace slayer::cuda
