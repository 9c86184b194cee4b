#pragma once

#if defined(__CUDACC__)
#include "nvidia_hopper.h"
#else
#include "../cuda-host/hopper.h"
#endif
