/* SPDX-License-Identifier: Apache-2.0 */
/* For test_slow_names.py, by LD_PRELOAD: names that end in .slow.test take 60 s to be unknown. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    enum { SLOW_S = 60 };
    static const char end[] = ".slow.test";
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    size_t n = node == NULL ? 0 : strlen(node);

    if (n < sizeof end || strcmp(node + n - (sizeof end - 1), end) != 0)
        return real(node, service, hints, res);
    (void)fprintf(stderr, "slow_names: %s\n", node);
    (void)sleep(SLOW_S);
    return EAI_AGAIN;
}
