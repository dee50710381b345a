/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka's small text files. */
#include "broker/log/checkpoint.h"

#include "common/base/clock.h"
#include "common/base/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CHECKPOINT_BYTES_MAX = 256 << 20, COLUMNS_MAX = 4 };

static bool take_line(struct str *rest, struct str *line)
{
    if (rest->len == 0)
        return false;
    const char *nl = memchr(rest->p, '\n', (size_t)rest->len);
    *line = (struct str){rest->p, nl == NULL ? rest->len : (int32_t)(nl - rest->p)};
    int32_t used = line->len + (nl != NULL);
    rest->p += used;
    rest->len -= used;
    if (line->len > 0 && line->p[line->len - 1] == '\r')
        line->len--;
    return true;
}

/* Words of a line; -1 when there are more than max. */
static int split(struct str line, struct str *words, int max)
{
    int n = 0;

    for (int32_t i = 0; i < line.len;) {
        if (line.p[i] == ' ' || line.p[i] == '\t') {
            i++;
            continue;
        }
        int32_t start = i;
        while (i < line.len && line.p[i] != ' ' && line.p[i] != '\t')
            i++;
        if (n == max)
            return -1;
        words[n++] = (struct str){line.p + start, i - start};
    }
    return n;
}

bool checkpoint_number(struct str word, int64_t *out)
{
    char text[24];
    char *end;

    if (word.len < 1 || (size_t)word.len >= sizeof text || word.p[0] == '+' || word.p[0] == ' ')
        return false;
    memcpy(text, word.p, (size_t)word.len);
    text[word.len] = 0;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == 0;
}

static bool number_line(struct str *rest, int64_t *out)
{
    struct str line, word;

    return take_line(rest, &line) && split(line, &word, 1) == 1 && checkpoint_number(word, out);
}

static enum err parse_checkpoint(struct str text, int columns,
                                 bool (*visit)(void *arg, const struct str *words), void *arg,
                                 struct errtext *why)
{
    struct str line, words[COLUMNS_MAX];
    int64_t version, count, seen = 0;

    if (text.len == 0)
        return ERR_OK;
    if (!number_line(&text, &version) || version != 0 || !number_line(&text, &count)) {
        errtext_set(why, "no version 0 and count at its start");
        return ERR_CORRUPT;
    }
    while (take_line(&text, &line)) {
        if (split(line, words, columns) != columns || !visit(arg, words)) {
            errtext_set(why, "malformed line \"%.*s\"", STR_ARG(line));
            return ERR_CORRUPT;
        }
        seen++;
    }
    if (seen != count) {
        errtext_set(why, "%" PRId64 " entries where %" PRId64 " are announced", seen, count);
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

enum err checkpoint_read(const char *path, int columns,
                         bool (*visit)(void *arg, const struct str *words), void *arg,
                         struct errtext *why)
{
    struct buf b = {0};

    ASSERT(columns <= COLUMNS_MAX);
    enum err rc = fsx_read_file(path, CHECKPOINT_BYTES_MAX, &b);
    if (rc == ERR_OK)
        rc = parse_checkpoint((struct str){(const char *)b.p, (int32_t)b.len}, columns, visit, arg,
                              why);
    else
        errtext_set(why, "%s", err_reason(rc));
    if (rc != ERR_OK)
        errtext_wrap(why, "read %s", path);
    buf_fini(&b);
    return rc;
}

void checkpoint_begin(struct buf *out, size_t count)
{
    buf_printf(out, "0\n%zu\n", count);
}

/* ---- meta.properties */
static struct str trim(struct str s)
{
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static enum err meta_line(struct meta_properties *m, struct str key, struct str value,
                          struct errtext *why)
{
    int64_t n;

    if (str_eq_z(key, "version") && !str_eq_z(value, "0")) {
        errtext_set(why, "version=%.*s: not a directory of a broker in ZooKeeper mode",
                    STR_ARG(value));
        return ERR_INVALID;
    }
    if (str_eq_z(key, "broker.id")) {
        if (!checkpoint_number(value, &n) || n < 0 || n > INT32_MAX) {
            errtext_set(why, "broker.id=%.*s is not a broker id", STR_ARG(value));
            return ERR_INVALID;
        }
        m->broker_id = (int32_t)n;
    }
    if (str_eq_z(key, "cluster.id")) {
        if ((size_t)value.len >= sizeof m->cluster_id) {
            errtext_set(why, "cluster.id is too long");
            return ERR_INVALID;
        }
        memcpy(m->cluster_id, value.p, (size_t)value.len);
        m->cluster_id[value.len] = 0;
    }
    return ERR_OK;
}

enum err meta_properties_read(const char *dir, struct meta_properties *out, struct errtext *why)
{
    enum { META_BYTES_MAX = 64 * 1024 };
    char *path = xasprintf("%s/meta.properties", dir);
    struct buf b = {0};
    struct str line;

    *out = (struct meta_properties){.broker_id = -1};
    enum err rc = fsx_read_file(path, META_BYTES_MAX, &b);
    struct str rest = {(const char *)b.p, (int32_t)b.len};
    while (rc == ERR_OK && take_line(&rest, &line)) {
        line = trim(line);
        const char *eq = line.len == 0 ? NULL : memchr(line.p, '=', (size_t)line.len);
        if (eq == NULL || line.p[0] == '#' || line.p[0] == '!')
            continue;
        int32_t at = (int32_t)(eq - line.p);
        rc = meta_line(out, trim((struct str){line.p, at}),
                       trim((struct str){eq + 1, line.len - at - 1}), why);
    }
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        errtext_wrap(why, "read %s", path);
    buf_fini(&b);
    mem_free(path);
    return rc;
}

enum err meta_properties_write(const char *dir, const struct meta_properties *m)
{
    char *path = xasprintf("%s/meta.properties", dir);
    struct buf b = {0};
    char date[64];
    struct tm tm;
    time_t now = (time_t)(clock_wall_ms() / 1000);

    (void)gmtime_r(&now, &tm);
    if (strftime(date, sizeof date, "%a %b %d %H:%M:%S UTC %Y", &tm) == 0)
        date[0] = 0;
    buf_printf(&b, "#\n#%s\ncluster.id=%s\nversion=0\nbroker.id=%" PRId32 "\n", date, m->cluster_id,
               m->broker_id);
    enum err rc = fsx_replace_durably(path, b.p, b.len, 0644);
    buf_fini(&b);
    mem_free(path);
    return rc;
}

/* ---- partition.metadata */
enum err partition_metadata_read(const char *folder, struct uuid *out, struct errtext *why)
{
    enum { METADATA_BYTES_MAX = 4096 };
    char *path = xasprintf("%s/partition.metadata", folder);
    struct buf b = {0};
    struct str line;
    bool has_version = false, has_id = false;

    *out = UUID_ZERO;
    enum err rc = fsx_read_file(path, METADATA_BYTES_MAX, &b);
    struct str rest = {(const char *)b.p, (int32_t)b.len};
    while (rc == ERR_OK && take_line(&rest, &line)) {
        const char *colon = line.len == 0 ? NULL : memchr(line.p, ':', (size_t)line.len);
        if (colon == NULL)
            continue;
        int32_t at = (int32_t)(colon - line.p);
        struct str value = trim((struct str){colon + 1, line.len - at - 1});
        if (str_eq_z((struct str){line.p, at}, "version"))
            has_version = str_eq_z(value, "0");
        else if (str_eq_z((struct str){line.p, at}, "topic_id"))
            has_id = uuid_parse(value, out);
    }
    if (rc == ERR_NOT_FOUND) {
        rc = ERR_OK;
    } else if (rc == ERR_OK && b.len > 0 && !(has_version && has_id)) {
        *out = UUID_ZERO;
        errtext_set(why, "read %s: no version 0 with a topic_id", path);
        rc = ERR_CORRUPT;
    }
    buf_fini(&b);
    mem_free(path);
    return rc;
}

enum err partition_metadata_write(const char *folder, struct uuid id)
{
    char *path = xasprintf("%s/partition.metadata", folder);
    char *tmp = xasprintf("%s.tmp", path);
    char text[UUID_TEXT_LEN + 1], content[64];
    int fd;

    uuid_format(id, text);
    int n = snprintf(content, sizeof content, "version: 0\ntopic_id: %s", text);
    enum err rc = fsx_open(tmp, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd);
    if (rc == ERR_OK) {
        rc = fsx_pwrite_all(fd, content, (size_t)n, 0);
        if (close(fd) != 0 && rc == ERR_OK)
            rc = err_from_errno(errno);
    }
    if (rc == ERR_OK && rename(tmp, path) != 0)
        rc = err_from_errno(errno);
    mem_free(tmp);
    mem_free(path);
    return rc;
}
