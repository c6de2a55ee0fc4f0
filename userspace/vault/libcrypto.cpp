// SPDX-License-Identifier: Apache-2.0
// The library is the one that the headers are of, by its soname: another major version has other
// types behind the same names. It stays until the process ends.

#include "userspace/vault/libcrypto.hpp"

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>

namespace towline {

namespace {

constexpr const char* kName = "libcrypto.so.3";
static_assert(OPENSSL_VERSION_MAJOR == 3);

[[noreturn]] void missing() {
    // The C library keeps one for each thread.  NOLINTNEXTLINE(concurrency-mt-unsafe)
    const char* why = ::dlerror();
    std::fprintf(stderr, "towline: encryption needs OpenSSL 3 (Debian: the package libssl3): %s\n",
                 why);
    std::_Exit(127);  // as the loader would have
}

void* found(void* library, const char* name) {
    void* function = ::dlsym(library, name);
    if (function == nullptr) missing();
    return function;
}

LibCrypto bind() {
    void* library = ::dlopen(kName, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) missing();
    LibCrypto bound;
#define TOWLINE_BIND(name) \
    bound.name = reinterpret_cast<decltype(bound.name)>(found(library, #name));
    TOWLINE_LIBCRYPTO_FUNCTIONS(TOWLINE_BIND)
#undef TOWLINE_BIND
    return bound;
}

}  // namespace

const LibCrypto& crypto() {
    static const LibCrypto bound = bind();
    return bound;
}

}  // namespace towline
