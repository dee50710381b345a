/* SPDX-License-Identifier: Apache-2.0 */
/* json_file - the JSON files that options name. */
#ifndef TOOLS_LIB_JSON_FILE_H
#define TOOLS_LIB_JSON_FILE_H

#include "common/base/base.h"

#include <jansson.h>

/* Reads the file (or pipe) that --option names. *root_out: released with json_decref(), NULL on
 * error. INVALID or what reading gave, with text that names option, file, and the line of a
 * mistake. */
NODISCARD enum err json_file_read(const char *option, const char *path, json_t **root_out,
                                  struct errtext *why);

#endif
