// A plan as CUDA graphs.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "device.h"
#include "driver.h"

namespace slayer::cuda {

// Launches in one graph: a plan is cut so that an abort can take effect, while one graph runs and the next waits behind it.
constexpr size_t kGraphLaunches = 256;

class GraphPlan final : public Prepared {
 public:
  ~GraphPlan() override {
    for (CUgraphExec graph : graphs) driver().cuGraphExecDestroy(graph);
  }
  std::vector<CUgraphExec> graphs;
  std::vector<Launch> launches;  // for messages, and for running one by one
  uint64_t fault = 0;
  size_t cleared = 0;  // bytes from there on, before each run

  // Of one graph, for profilers.
  std::string title(size_t graph) const {
    const size_t from = graph * kGraphLaunches;
    const size_t to = std::min(from + kGraphLaunches, launches.size()) - 1;
    return "graph of steps " + std::to_string(launches[from].step) + " to " + std::to_string(launches[to].step);
  }

  // The launches of some of the graphs, for messages.
  std::string describe(size_t from_graph, size_t to_graph) const {
    const size_t from = std::min(from_graph * kGraphLaunches, launches.size());
    const size_t to = std::min(to_graph * kGraphLaunches, launches.size());
    if (from == to) return "the plan";
    std::string kernels;
    std::set<std::string> named;
    for (size_t i = from; i < to && named.size() < 8; i++) {
      if (named.insert(launches[i].kernel).second) kernels += (kernels.empty() ? "" : ", ") + launches[i].kernel;
    }
    const auto step = [&](size_t i) { return std::to_string(launches[i].step); };
    if (to - from == 1) return "step " + step(from) + ", kernel " + kernels;
    return "one of the kernels of steps " + step(from) + " to " + step(to - 1) + " of the plan (" + kernels + (named.size() < 8 ? "" : " …") +
           "; SLAYER_CUDA_SYNC=1 runs them one by one and names the one)";
  }
};

}  // namespace slayer::cuda
