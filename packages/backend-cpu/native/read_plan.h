// From the JavaScript plan to a bound one, checking everything that memory safety rests on.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "plan.h"
#include "tables.h"

namespace slayer {

// A size or offset from a JavaScript number; throws a RangeError unless it is an integer from 0 to 2^53.
size_t read_size(Napi::Value value, const char* what);

// `steps` is an array of {op, attrs: {name: number | boolean}, inputs, outputs}, an operand {buffer, offset, dtype, shape} with
// `buffer` an index into `blocks`. Throws an Error that names the step if there is no kernel for its op, an extent is no positive
// integer, or an operand is misaligned or leaves its buffer.
std::vector<BoundStep> read_steps(Napi::Array steps, const std::vector<std::shared_ptr<Block>>& blocks, const Isa& isa);

}  // namespace slayer
