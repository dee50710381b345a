/* SPDX-License-Identifier: Apache-2.0 */
/* What a person may write into zookeeper.connect and its sisters, checked before anything is done.
 */
#include "common/zk/zk_session_internal.h"

#include <strings.h>

enum { HOSTS_MAX = 100, HOST_BYTES_MAX = 255 };

/* One "host:port" or "[v6]:port" or "host". */
static bool host_is_valid(const char *p, size_t n)
{
    const char *colon;
    size_t host_len = n, port_len = 0;

    if (n > 0 && p[0] == '[') {
        const char *end = memchr(p, ']', n);
        if (end == NULL || end == p + 1)
            return false;
        host_len = (size_t)(end - p) + 1;
        colon = host_len < n ? p + host_len : NULL;
        if (colon != NULL && *colon != ':')
            return false;
    } else {
        colon = memchr(p, ':', n);
        if (colon != NULL)
            host_len = (size_t)(colon - p);
    }
    if (host_len == 0 || host_len > HOST_BYTES_MAX)
        return false;
    for (size_t i = 0; i < host_len; i++)
        if ((unsigned char)p[i] <= ' ' || p[i] == 127)
            return false;
    if (colon == NULL)
        return true;
    int32_t port = 0;
    for (port_len = host_len + 1; port_len < n; port_len++) {
        if (p[port_len] < '0' || p[port_len] > '9' || port > 65535)
            return false;
        port = port * 10 + (p[port_len] - '0');
    }
    return port >= 1 && port <= 65535;
}

enum err coord_check_connect(const char *connect, struct errtext *why)
{
    size_t hosts_len = connect == NULL ? 0 : strcspn(connect, "/");
    int count = 0;

    if (hosts_len == 0) {
        errtext_set(why,
                    "zookeeper.connect is empty: \"host1:2181,host2:2181/chroot\" is expected");
        return ERR_INVALID;
    }
    for (size_t at = 0; at <= hosts_len; count++) {
        const char *end = memchr(connect + at, ',', hosts_len - at);
        size_t n = end == NULL ? hosts_len - at : (size_t)(end - connect) - at;
        if (!host_is_valid(connect + at, n) || count >= HOSTS_MAX) {
            errtext_set(why, "zookeeper.connect: \"%.*s\" is not host:port",
                        (int)size_min(n, HOST_BYTES_MAX), connect + at);
            return ERR_INVALID;
        }
        at += n + 1;
    }
    const char *chroot = connect + hosts_len;
    if (*chroot != 0 && !zk_session_path_is_valid(chroot)) {
        errtext_set(why, "zookeeper.connect: the chroot \"%s\" is not a valid path", chroot);
        return ERR_INVALID;
    }
    return ERR_OK;
}

enum err coord_check_setting(const char *name, const char *value, struct errtext *why)
{
    bool is_off = value == NULL || value[0] == 0 || strcasecmp(value, "false") == 0;

    if (is_off)
        return ERR_OK;
    if (strncmp(name, "zookeeper.ssl.", strlen("zookeeper.ssl.")) == 0 ||
        strcmp(name, "zookeeper.clientCnxnSocket") == 0) {
        errtext_set(why,
                    "%s is set, but the ZooKeeper C client of this system is built without TLS; "
                    "remove it, or put a TLS tunnel before ZooKeeper",
                    name);
        return ERR_UNSUPPORTED;
    }
    if (strcmp(name, "zookeeper.set.acl") == 0) {
        errtext_set(why, "zookeeper.set.acl=true needs SASL or TLS towards ZooKeeper, and the "
                         "ZooKeeper C client of this system is built without both");
        return ERR_UNSUPPORTED;
    }
    return ERR_OK;
}
