// The part of the CUDA driver that is used, found at run time: neither the toolkit's headers nor its libraries are needed to build or
// install. Types and values as in NVIDIA's "CUDA Driver API" reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "device.h"

namespace slayer::cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;

constexpr CUresult kSuccess = 0;
constexpr CUresult kOutOfMemory = 2;
constexpr CUresult kNoDevice = 100;
constexpr CUresult kInvalidImage = 200;
constexpr CUresult kNoBinaryForGpu = 209;
constexpr CUresult kInvalidPtx = 218;
constexpr CUresult kUnsupportedPtxVersion = 222;
constexpr CUresult kNotFound = 500;

constexpr int kMultiprocessors = 16;  // CUdevice_attribute
constexpr int kMostSharedBytes = 97;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;
constexpr int kRegisters = 4;                // CUfunction_attribute
constexpr int kMostDynamicShared = 8;
constexpr unsigned kNonBlockingStream = 1;
constexpr unsigned kDisableTiming = 2;       // CUevent_flags
constexpr int kCaptureThreadLocal = 1;       // CUstreamCaptureMode

#define SLAYER_DRIVER(X)                                                                                              \
  X(cuInit, "cuInit", unsigned)                                                                                       \
  X(cuDriverGetVersion, "cuDriverGetVersion", int*)                                                                   \
  X(cuGetErrorName, "cuGetErrorName", CUresult, const char**)                                                         \
  X(cuGetErrorString, "cuGetErrorString", CUresult, const char**)                                                     \
  X(cuDeviceGetCount, "cuDeviceGetCount", int*)                                                                       \
  X(cuDeviceGet, "cuDeviceGet", CUdevice*, int)                                                                       \
  X(cuDeviceGetName, "cuDeviceGetName", char*, int, CUdevice)                                                         \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", int*, int, CUdevice)                                                \
  X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", size_t*, CUdevice)                                                       \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", CUcontext*, CUdevice)                                       \
  X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", CUdevice)                                              \
  X(cuCtxSetCurrent, "cuCtxSetCurrent", CUcontext)                                                                    \
  X(cuMemAlloc, "cuMemAlloc_v2", CUdeviceptr*, size_t)                                                                \
  X(cuMemFree, "cuMemFree_v2", CUdeviceptr)                                                                           \
  X(cuMemGetInfo, "cuMemGetInfo_v2", size_t*, size_t*)                                                                \
  X(cuMemAllocHost, "cuMemAllocHost_v2", void**, size_t)                                                              \
  X(cuMemFreeHost, "cuMemFreeHost", void*)                                                                            \
  X(cuMemsetD8Async, "cuMemsetD8Async", CUdeviceptr, unsigned char, size_t, CUstream)                                 \
  X(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", CUdeviceptr, const void*, size_t, CUstream)                            \
  X(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", void*, CUdeviceptr, size_t, CUstream)                                  \
  X(cuStreamCreate, "cuStreamCreate", CUstream*, unsigned)                                                            \
  X(cuStreamDestroy, "cuStreamDestroy_v2", CUstream)                                                                  \
  X(cuStreamSynchronize, "cuStreamSynchronize", CUstream)                                                             \
  X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", CUstream, int)                                                   \
  X(cuStreamEndCapture, "cuStreamEndCapture", CUstream, CUgraph*)                                                     \
  X(cuGraphInstantiate, "cuGraphInstantiateWithFlags", CUgraphExec*, CUgraph, unsigned long long)                     \
  X(cuGraphLaunch, "cuGraphLaunch", CUgraphExec, CUstream)                                                            \
  X(cuGraphDestroy, "cuGraphDestroy", CUgraph)                                                                        \
  X(cuGraphExecDestroy, "cuGraphExecDestroy", CUgraphExec)                                                            \
  X(cuEventCreate, "cuEventCreate", CUevent*, unsigned)                                                               \
  X(cuEventRecord, "cuEventRecord", CUevent, CUstream)                                                                \
  X(cuEventSynchronize, "cuEventSynchronize", CUevent)                                                                \
  X(cuEventDestroy, "cuEventDestroy_v2", CUevent)                                                                     \
  X(cuModuleLoadData, "cuModuleLoadData", CUmodule*, const void*)                                                     \
  X(cuModuleUnload, "cuModuleUnload", CUmodule)                                                                       \
  X(cuModuleGetFunction, "cuModuleGetFunction", CUfunction*, CUmodule, const char*)                                   \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", CUfunction, int, int)                                                   \
  X(cuFuncGetAttribute, "cuFuncGetAttribute", int*, int, CUfunction)                                                  \
  X(cuLaunchKernel, "cuLaunchKernel", CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
    CUstream, void**, void**)

struct Driver {
#define X(name, symbol, ...) CUresult (*name)(__VA_ARGS__) = nullptr;
  SLAYER_DRIVER(X)
#undef X
  // Null where the driver has none. Map, type, rank, address, extents, strides, box, element strides, interleave, swizzle, promotion, fill.
  CUresult (*cuTensorMapEncodeTiled)(void*, int, unsigned, void*, const uint64_t*, const uint64_t*, const uint32_t*, const uint32_t*, int, int, int,
                                     int) = nullptr;

  // 12020 is CUDA 12.2's.
  int version() const;
  // "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered".
  std::string describe(CUresult result) const;
};

// "12.2" of 12020.
std::string version_text(int version);

// Loads the driver and initialises it, once. Throws a DeviceError that says what is missing.
const Driver& driver();

}  // namespace slayer::cuda
