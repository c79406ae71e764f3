#pragma once

namespace evoflash {

inline constexpr float kLog2E = 1.4426950408889634f;  // log2(e): e^x is 2^(x * log2(e))

inline constexpr float kLn2 = 0.6931471805599453f;  // ln(2): ln(x) is log2(x) * ln(2)

}  // namespace evoflash
