// Compiles kernels without a GPU: check_nvrtc FOLDER ARCHITECTURE KERNEL… prints a line of JSON for each, or that there is no compiler.
#include <cstdio>
#include <exception>

#include "nvrtc.h"

int main(int count, char** arguments) {
  if (count < 4) return 2;
  if (!slayer::cuda::has_nvrtc()) {
    std::puts("{\"missing\": true}");
    return 0;
  }
  for (int i = 3; i < count; i++) {
    try {
      const std::string cubin = slayer::cuda::compile_kernel(arguments[i], arguments[2], arguments[1]);
      const bool named = cubin.find(arguments[i]) != std::string::npos;
      std::printf("{\"kernel\": \"%s\", \"bytes\": %zu, \"elf\": %s, \"named\": %s}\n", arguments[i], cubin.size(),
                  cubin.rfind("\177ELF", 0) == 0 ? "true" : "false", named ? "true" : "false");
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::printf("{\"kernel\": \"%s\", \"error\": true}\n", arguments[i]);
    }
  }
}
