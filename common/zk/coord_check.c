/* SPDX-License-Identifier: Apache-2.0 */
/* What a person may write into zookeeper.connect and the other zookeeper.* options, checked before anything is done.
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

/* The next entry between commas of the hosts [at, len), without blanks around it; its length, which
 * may be 0. *at goes on behind it. */
static size_t next_host(const char *hosts, size_t len, size_t *at, const char **host_out)
{
    const char *p = hosts + *at, *end = memchr(p, ',', len - *at);
    size_t n = end == NULL ? len - *at : (size_t)(end - p);

    *at += n + 1;
    while (n > 0 && (p[0] == ' ' || p[0] == '\t')) {
        p++;
        n--;
    }
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    *host_out = p;
    return n;
}

char *zk_session_library_connect(const char *connect)
{
    static const char default_port[] = ":2181";
    size_t hosts_len = strcspn(connect, "/"), n = 0;
    /* each entry is longer by the port and its comma at most */
    char *text = xmalloc(strlen(connect) + (hosts_len + 1) * sizeof default_port + 1);

    for (size_t at = 0; at <= hosts_len;) {
        const char *host;
        size_t len = next_host(connect, hosts_len, &at, &host);
        if (len == 0)
            continue;
        if (n > 0)
            text[n++] = ',';
        memcpy(text + n, host, len);
        n += len;
        /* a colon inside brackets belongs to an IPv6 address */
        const char *bracket = memchr(host, ']', len);
        const char *from = bracket == NULL ? host : bracket;
        if (memchr(from, ':', len - (size_t)(from - host)) == NULL) {
            memcpy(text + n, default_port, sizeof default_port - 1);
            n += sizeof default_port - 1;
        }
    }
    memcpy(text + n, connect + hosts_len, strlen(connect + hosts_len) + 1);
    return text;
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
    for (size_t at = 0; at <= hosts_len;) {
        const char *host;
        size_t n = next_host(connect, hosts_len, &at, &host);
        if (n == 0)
            continue;
        if (!host_is_valid(host, n) || count >= HOSTS_MAX) {
            errtext_set(why, "zookeeper.connect: \"%.*s\" is not host:port",
                        (int)size_min(n, HOST_BYTES_MAX), host);
            return ERR_INVALID;
        }
        count++;
    }
    if (count == 0) {
        errtext_set(why, "zookeeper.connect: there is no host in \"%s\"", connect);
        return ERR_INVALID;
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
