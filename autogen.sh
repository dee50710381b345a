#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes configure. `./autogen.sh dev` also configures ./build for development (warnings are errors, ASan, UBSan).
set -eu
cd "$(dirname "$0")"
autoreconf -fi
if [ "${1:-}" = dev ]; then
    mkdir -p build
    cd build
    ../configure --enable-werror --enable-asan --enable-ubsan
fi
