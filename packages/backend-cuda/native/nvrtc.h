// NVIDIA's run-time compiler, where it is installed (the package nvidia-cuda-nvrtc of PyPI, or a CUDA toolkit): for kernels that were not
// shipped. It needs no GPU.
#pragma once

#include <string>

namespace slayer::cuda {

// Whether the library is there; the first call loads it. SLAYER_NVRTC names another file; empty, there is none.
bool has_nvrtc();

// The attention kernel of this name (attention_mma_80, say) for an architecture (sm_90a, say), as a cubin, from the sources in
// `folder`, laid out as kernels/ is. "" if kernels of such a name are not made here. Throws a DeviceError with what the compiler says.
std::string compile_kernel(const std::string& kernel, const std::string& architecture, const std::string& folder);

}  // namespace slayer::cuda
