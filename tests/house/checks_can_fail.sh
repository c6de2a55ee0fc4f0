#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A check that cannot fail holds nothing: each is given a small tree that is in order, and then the
# same tree with one thing wrong.
# shellcheck disable=SC2016  # the inner shell is to expand it
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export TOWLINE_CHECK_ROOT
failures=0

fresh_tree() {
    TOWLINE_CHECK_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/tree.XXXXXX")
    cd "$TOWLINE_CHECK_ROOT"
    mkdir -p io cbt transport kmod tools
    cp "$root/.clang-format" .
    touch CMakeLists.txt
    echo 'licence' | tee LICENSE >kmod/LICENSE
    printf '# Towline\n' >README.md
    printf '# SPDX-License-Identifier: Apache-2.0\n' >CMakeLists.txt
    local folder
    for folder in io cbt transport; do
        printf '// SPDX-License-Identifier: Apache-2.0\n#include "io/a.hpp"\n' >$folder/a.cpp
    done
    printf '// SPDX-License-Identifier: Apache-2.0\n#pragma once\n' >io/a.hpp
    printf '/* SPDX-License-Identifier: GPL-2.0-only */\n' >kmod/a.h
    printf '#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\nset -euo pipefail\n' >tools/a
    chmod +x tools/a
}

drop_tree() {
    cd "$here"
    rm -rf -- "$TOWLINE_CHECK_ROOT"
}

# refuses CHECK NAMED WHAT...: after WHAT, the check fails and names NAMED.
refuses() {
    local check=$1 named=$2 said
    shift 2
    fresh_tree
    if ! said=$("$here/$check.sh" 2>&1); then
        printf '%s fails on a tree in order:\n%s\n' "$check" "$said"
        failures=$((failures + 1))
    fi
    bash -c "$*"
    if said=$("$here/$check.sh" 2>&1); then
        printf '%s did not see: %s\n' "$check" "$*"
        failures=$((failures + 1))
    elif [[ $said != *"$named"* ]]; then
        printf '%s failed without naming %s: %s\n%s\n' "$check" "$named" "$*" "$said"
        failures=$((failures + 1))
    fi
    drop_tree
}

refuses format io/a.cpp 'echo "int  x=1 ;" >>io/a.cpp'
refuses includes io/a.cpp "echo '#include \"cbt/a.hpp\"' >>io/a.cpp"
refuses includes cbt/a.cpp "echo '#include \"transport/a.hpp\"' >>cbt/a.cpp"
refuses includes transport/a.cpp "echo '#include <cbt/a.hpp>' >>transport/a.cpp"
refuses includes transport/a.cpp "echo '#include \"a.hpp\"' >>transport/a.cpp"
refuses includes tools/a.cpp "printf '// SPDX\\n#include \"b.hpp\"\\n' >tools/a.cpp"
refuses includes cbt/a.cpp "echo '#  include \"io/../tools/a.hpp\"' >>cbt/a.cpp"
refuses includes io/a.hpp "echo '#include \"kmod/core.h\"' >>io/a.hpp"
refuses licence cbt/a.cpp 'echo "int x;" >cbt/a.cpp'
refuses licence kmod/a.h 'echo "/* SPDX-License-Identifier: Apache-2.0 */" >kmod/a.h'
refuses licence tools/a 'printf "#!/bin/bash\n" >tools/a'
refuses licence kmod/LICENSE 'rm kmod/LICENSE'
refuses layout library 'mkdir library && touch library/a.c'
refuses layout io/a.cpp 'yes "int x;" | head -n 501 >>io/a.cpp || true'
refuses layout long_one 'printf "long_one() {\n%s\n}\n" "$(yes : | head -n 80)" >>tools/a'
refuses layout README.md 'yes | head -n 121 >README.md || true'
refuses layout README.md 'rm README.md'
refuses shell tools/a 'echo "if then" >>tools/a'
refuses shell tools/a 'chmod -x tools/a'
refuses shell tools/a 'sed -i /pipefail/d tools/a'

[[ $failures -eq 0 ]] || exit 1
