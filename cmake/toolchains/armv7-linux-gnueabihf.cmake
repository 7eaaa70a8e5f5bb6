# 32-bit ARM (ARMv7, hard float) with Debian's cross compiler: cmake -DCMAKE_TOOLCHAIN_FILE=cmake/toolchains/armv7-linux-gnueabihf.cmake ...
# The library itself: cmake/install.sh --target armv7-unknown-linux-gnueabihf.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
# What is built runs at once where qemu-user is installed (ctest, try_run).
find_program(_qemu NAMES qemu-arm-static qemu-arm)
if(_qemu)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${_qemu};-L;/usr/arm-linux-gnueabihf")
endif()
unset(_qemu CACHE)
# Programs of this machine, libraries and headers of the target. Packages are looked for in both, because a prefix made by
# cmake/install.sh lies anywhere.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
