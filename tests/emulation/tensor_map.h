// What the emulated driver leaves in a tensor map, and the emulated TMA reads.
#pragma once

struct EmulatedTensorMap {
  unsigned char *base;
  unsigned long long sizes[4], strides[3];  // strides in bytes
  unsigned box[4];
  int swizzle;  // bytes; 0 without
};
static_assert(sizeof(EmulatedTensorMap) <= 128);
