// Streams of the host's driver, for the library beside it.
#pragma once

#include <functional>

namespace slayer::host {

struct Stream;

// Work that is done when somebody waits for it, or with the graph that is being captured.
void push(Stream* stream, std::function<void()> work);

}  // namespace slayer::host
