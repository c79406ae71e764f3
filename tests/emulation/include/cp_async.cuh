#pragma once

// Emulated: a copy takes place when its group is waited for, or some of them at once.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline void cp_async(void *smem, const void *gmem, bool pred) {
  const auto copy = [=] { pred ? memcpy(smem, gmem, 16) : memset(smem, 0, 16); };
  if (emulation::happens_once_in(5)) return copy();
  emulation::device.current->open_group.push_back(copy);
}

inline void cp_async_commit() {
  auto &thread = *emulation::device.current;
  thread.groups.push_back(std::move(thread.open_group));
  thread.open_group.clear();
}

template <int kPending>
inline void cp_async_wait() {
  auto &groups = emulation::device.current->groups;
  for (; groups.size() > kPending; groups.pop_front())
    for (const auto &copy : groups.front()) copy();
}

}  // namespace evoflash
#endif
