#include "nvrtc.h"

#include <dlfcn.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <vector>

#include "../../../native/runner.h"

namespace slayer::cuda {

namespace {

using Program = struct NvrtcProgram*;
using Result = int;

#define SLAYER_NVRTC(X)                                                                                                \
  X(version, "nvrtcVersion", int*, int*)                                                                               \
  X(create, "nvrtcCreateProgram", Program*, const char*, const char*, int, const char* const*, const char* const*)     \
  X(compile, "nvrtcCompileProgram", Program, int, const char* const*)                                                  \
  X(log_size, "nvrtcGetProgramLogSize", Program, size_t*)                                                              \
  X(log, "nvrtcGetProgramLog", Program, char*)                                                                         \
  X(cubin_size, "nvrtcGetCUBINSize", Program, size_t*)                                                                 \
  X(cubin, "nvrtcGetCUBIN", Program, char*)                                                                            \
  X(destroy, "nvrtcDestroyProgram", Program*)

struct Nvrtc {
#define X(name, symbol, ...) Result (*name)(__VA_ARGS__) = nullptr;
  SLAYER_NVRTC(X)
#undef X
};

const Nvrtc* load() {
  const char* const named = std::getenv("SLAYER_NVRTC");
  if (named != nullptr && *named == '\0') return nullptr;
  void* library = nullptr;
  for (const char* file : {"libnvrtc.so.13", "libnvrtc.so.12"}) {
    if (library == nullptr) library = dlopen(named == nullptr ? file : named, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) return nullptr;
  auto* const nvrtc = new Nvrtc;
  bool complete = true;
#define X(name, symbol, ...)                                                       \
  nvrtc->name = reinterpret_cast<Result (*)(__VA_ARGS__)>(dlsym(library, symbol)); \
  complete = complete && nvrtc->name != nullptr;
  SLAYER_NVRTC(X)
#undef X
  if (!complete) return nullptr;
  // It asks for a library of its own by name, which the system finds beside it only where folders are set so; once loaded, it is found.
  int major = 0, minor = 0;
  Dl_info place{};
  if (nvrtc->version(&major, &minor) == 0 && dladdr(reinterpret_cast<void*>(nvrtc->version), &place) != 0) {
    const std::string path = place.dli_fname;
    const std::string builtins = "/libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
    dlopen((path.substr(0, path.rfind('/')) + builtins).c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  return nvrtc;
}

// Never unloaded: a process may exit while a thread is in it.
const Nvrtc* nvrtc() {
  static const Nvrtc* const loaded = load();
  return loaded;
}

void check(Result result, const std::string& what) {
  if (result != 0) throw CodedError("no-kernels", what + ": NVRTC's error " + std::to_string(result));
}

}  // namespace

bool has_nvrtc() { return nvrtc() != nullptr; }

std::string compile_kernel(const std::string& kernel, const std::string& architecture, const std::string& folder) {
  std::smatch parts;
  if (!std::regex_match(kernel, parts, std::regex("attention(_dq|_dkv)?_mma_([0-9]+)"))) return {};
  const std::string file = parts[1].length() == 0 ? "attention_mma.cu" : "attention_backward_mma.cu";
  std::ifstream stream(folder + "/attention/" + file);
  const std::string source{std::istreambuf_iterator<char>(stream), {}};
  if (source.empty()) throw CodedError("no-kernels", "cannot read " + folder + "/attention/" + file);
  const Nvrtc& rtc = *nvrtc();
  Program program = nullptr;
  check(rtc.create(&program, source.c_str(), file.c_str(), 0, nullptr, nullptr), kernel);
  struct Destroy {
    const Nvrtc& rtc;
    Program& program;
    ~Destroy() { rtc.destroy(&program); }
  } const destroy{rtc, program};
  const std::vector<std::string> options{"--std=c++20", "--gpu-architecture=" + architecture, "-DSLAYER_HEAD=" + parts[2].str(),
                                         "-I" + folder + "/attention", "-I" + folder + "/cuda/nvrtc"};
  std::vector<const char*> texts;
  for (const std::string& option : options) texts.push_back(option.c_str());
  const Result compiled = rtc.compile(program, static_cast<int>(texts.size()), texts.data());
  size_t size = 0;
  if (compiled != 0) {
    check(rtc.log_size(program, &size), kernel);
    std::string log(size, '\0');
    check(rtc.log(program, log.data()), kernel);
    throw CodedError("no-kernels", kernel + " for " + architecture + " does not compile: " + log.c_str());
  }
  check(rtc.cubin_size(program, &size), kernel);
  std::string cubin(size, '\0');
  check(rtc.cubin(program, cubin.data()), kernel);
  return cubin;
}

}  // namespace slayer::cuda
