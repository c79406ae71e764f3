#pragma once

namespace evoflash {

inline constexpr float kLog2E = 1.4426950408889634f;  // log2(e): e^x is 2^(x * log2(e))

}  // namespace evoflash
