/* SPDX-License-Identifier: Apache-2.0 */
/* One file, read whole. */
#include "tools/lib/json_file.h"

#include "common/base/fsx.h"

enum { JSON_FILE_BYTES_MAX = 64 * 1024 * 1024 };

enum err json_file_read(const char *option, const char *path, json_t **root_out,
                        struct errtext *why)
{
    struct buf text = {0};
    json_error_t e;
    enum err rc = fsx_read_file(path, JSON_FILE_BYTES_MAX, &text);

    *root_out = NULL;
    if (rc != ERR_OK) {
        errtext_set(why, "--%s %s: %s", option, path, err_reason(rc));
    } else if (text.len == 0) {
        errtext_set(why, "--%s %s: the file is empty, JSON is expected", option, path);
        rc = ERR_INVALID;
    } else {
        *root_out = json_loadb((const char *)text.p, text.len, 0, &e);
        if (*root_out == NULL) {
            errtext_set(why, "--%s %s, line %d: %s", option, path, e.line, e.text);
            rc = ERR_INVALID;
        }
    }
    buf_fini(&text);
    return rc;
}
