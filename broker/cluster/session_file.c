/* SPDX-License-Identifier: Apache-2.0 */
/* The session file: "session=<decimal>\npassword=<32 hex digits>\n". */
#include "broker/cluster/registration_internal.h"
#include "common/base/fsx.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 };

static char *file_path(const char *dir)
{
    return xasprintf("%s/.zookeeper-session", dir);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse(const char *text, struct session_secret *out)
{
    int password_at = 0, end = 0;

    if (sscanf(text, "session=%" SCNd64 "\npassword=%n", &out->id, &password_at) != 1 ||
        password_at == 0 || out->id == 0)
        return false;
    const char *hex = text + password_at;
    for (; end < 32; end += 2) {
        int high = hex_digit(hex[end]);
        int low = high < 0 ? -1 : hex_digit(hex[end + 1]);
        if (low < 0)
            return false;
        out->password[end / 2] = (uint8_t)(high * 16 + low);
    }
    return strcmp(hex + end, "\n") == 0;
}

enum err session_file_read(const char *dir, struct session_secret *out)
{
    char *path = file_path(dir);
    struct buf text = {0};

    memset(out, 0, sizeof *out);
    enum err rc = fsx_read_file(path, FILE_BYTES_MAX, &text);
    if (rc == ERR_OK && !parse(buf_cstr(&text), out)) {
        memset(out, 0, sizeof *out);
        rc = ERR_CORRUPT;
    }
    buf_fini(&text);
    mem_free(path);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err session_file_write(const char *dir, const struct session_secret *s)
{
    char *path = file_path(dir);
    struct buf text = {0};

    buf_printf(&text, "session=%" PRId64 "\npassword=", s->id);
    for (size_t i = 0; i < sizeof s->password; i++)
        buf_printf(&text, "%02x", s->password[i]);
    buf_add(&text, "\n", 1);
    enum err rc = fsx_replace_durably(path, text.p, text.len, 0600);
    buf_fini(&text);
    mem_free(path);
    return rc;
}

void session_file_remove(const char *dir)
{
    char *path = file_path(dir);

    (void)unlink(path); /* one that stays names a session that has ended, which does no harm */
    mem_free(path);
}
