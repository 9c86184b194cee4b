// The parts of the executor's checks.
#pragma once

#include <string>

#include "../executor.h"

void print(const char* name, const std::string& got);
void check_hopper();
void check_maps(const char* driver);
