// SPDX-License-Identifier: Apache-2.0
// as_user PROGRAM [ARGUMENT...]: runs it as a user without any right.
#include "common.hpp"

int main(int count, char** arguments) {
    if (count < 2) errno = EINVAL, die("as_user PROGRAM...");
    if (setresgid(1000, 1000, 1000) != 0 || setresuid(1000, 1000, 1000) != 0) die("setresuid");
    execvp(arguments[1], arguments + 1);
    die("%s", arguments[1]);
}
